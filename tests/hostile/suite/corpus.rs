//! The corpus of `tests/fuzz`, and the seeds it grew from.

use std::path::{Path, PathBuf};
use tamis_hostile::{Reach, TARGETS, Target, target};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// Inputs of a target: its seeds, then its files.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> =
        (target.seeds)().into_iter().enumerate().map(|(n, s)| (format!("seed {n}"), s)).collect();
    // Git keeps no empty folders.
    let entries = std::fs::read_dir(folder().join(target.name)).into_iter().flatten();
    for entry in entries {
        let path = entry.expect("an entry").path();
        all.push((path.display().to_string(), std::fs::read(&path).expect("reading an input")));
    }
    all
}

/// Runs everything, and says which goals were never reached.
#[test]
fn every_target_gets_to_all_its_goals() {
    let mut shallow = Vec::new();
    let only = std::env::var("TAMIS_TARGET").ok();
    for target in TARGETS.iter().filter(|t| only.as_ref().is_none_or(|name| *name == t.name)) {
        let mut reach = Reach::new(target);
        for (name, input) in inputs(target) {
            let run = std::panic::AssertUnwindSafe(|| (target.run)(&input, &mut reach));
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("{}: {name} made it panic", target.name);
                std::panic::resume_unwind(panic);
            }
        }
        if !reach.missing().is_empty() {
            shallow.push(format!("{} never reaches: {}", target.name, reach.missing().join(", ")));
        }
    }
    assert!(shallow.is_empty(), "{}", shallow.join("\n"));
}

#[test]
fn every_folder_of_the_corpus_is_a_targets() {
    for entry in std::fs::read_dir(folder()).expect("the corpus") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(target(&name).is_some(), "{name} is no target");
    }
}
