//! The main job on a made-up crash: builds the vmcore of a machine of half a gigabyte, builds the
//! static capture binary, and captures the vmcore under a memory limit of 1 MiB.
//!
//! `cargo demo [FOLDER]`; without a folder it is `target/demo`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use tamis_tests::run::capture_binary;
use tamis_tests::synth::{KernelStyle, Machine};
use tamis_tests::zoo::zoo_at;

/// Copies of the small machine with a page of every kind, one behind the other.
const ZOOS: u64 = 32;
/// Frames from one to the next.
const STEP: u64 = 0x1000;
/// The first one: below it the builder puts the kernel itself.
const FIRST: u64 = 0x4000;

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(|| "target/demo".into(), PathBuf::from);
    match demo(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn demo(folder: &Path) -> Result<(), String> {
    let says = |what: &str| {
        let what = format!("{what} in {}", folder.display());
        move |e: std::io::Error| format!("{what}: {e}")
    };
    std::fs::create_dir_all(folder).map_err(says("making a folder"))?;
    let (vmcore, dump) = (folder.join("vmcore"), folder.join("dump"));

    println!("Making the vmcore of a machine that looks like Linux 6.12: {}", vmcore.display());
    let machine =
        (0..ZOOS).fold(Machine::new(KernelStyle::V6_12), |m, n| zoo_at(m, FIRST + n * STEP));
    machine.build().write(&vmcore).map_err(says("writing the vmcore"))?;

    println!("Building the static binary");
    let binary = capture_binary();
    let options = ["-c", "-d", "31", "--memory-limit", "1M", "-D", "--show-stats", "-f"];
    println!("\n$ tamis-capture {} {} {}\n", options.join(" "), vmcore.display(), dump.display());
    let status = Command::new(binary)
        .args(options)
        .args([&vmcore, &dump])
        .status()
        .map_err(|e| format!("running {}: {e}", binary.display()))?;
    if !status.success() {
        return Err(format!("tamis-capture ended with {status}"));
    }
    let size = |path: &Path| std::fs::metadata(path).map(|m| m.len()).map_err(says("looking"));
    println!("vmcore {} bytes, dump {} bytes: {}", size(&vmcore)?, size(&dump)?, dump.display());
    println!("The binary: {} ({} bytes)", binary.display(), size(binary)?);
    Ok(())
}
