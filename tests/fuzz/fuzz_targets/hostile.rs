//! All targets in one program, so that there is one build: TAMIS_TARGET names the one to run.
//! With TAMIS_SEEDS, the seeds of all of them are written into that folder instead.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::OnceLock;
use tamis_hostile::{Reach, TARGETS, Target, target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();
thread_local! {
    static REACH: RefCell<Option<Reach>> = const { RefCell::new(None) };
}

fn start() {
    if let Some(folder) = std::env::var_os("TAMIS_SEEDS").map(PathBuf::from) {
        for target in TARGETS {
            let folder = folder.join(target.name);
            std::fs::create_dir_all(&folder).expect("making a folder");
            for (number, seed) in (target.seeds)().iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{number}")), seed).expect("writing a seed");
            }
        }
        std::process::exit(0);
    }
    let name = std::env::var("TAMIS_TARGET").unwrap_or_default();
    let Some(chosen) = target(&name) else {
        let names: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
        eprintln!("TAMIS_TARGET is one of: {}", names.join(" "));
        std::process::exit(1);
    };
    let _ = CHOSEN.set(chosen);
}

fuzz_target!(init: start(), |data: &[u8]| {
    if let Some(chosen) = CHOSEN.get() {
        REACH.with_borrow_mut(|reach| {
            let reach = reach.get_or_insert_with(|| Reach::new(chosen));
            (chosen.run)(data, reach);
        });
    }
});
