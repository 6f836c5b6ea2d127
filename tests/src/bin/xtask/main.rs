//! Chores of the workspace: `cargo xtask bench`, `circles`, `count`, `dist` and `packages`.

mod bench;
mod circles;
mod count;
mod dist;

use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let done = match words.next().as_deref().and_then(|word| word.to_str()) {
        Some("bench") => bench::run(words),
        Some("circles") => circles::run(words),
        Some("count") => count::run(words),
        Some("dist") => dist::run(words),
        Some("packages") => dist::packages(words),
        _ => {
            let all = [bench::USAGE, circles::USAGE, count::USAGE, dist::USAGE];
            Err(format!("{}\n\n{}", all.join("\n\n"), dist::USAGE_OF_PACKAGES))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root")
}

/// What a command prints, or what it complains about.
fn output(command: &mut Command) -> Result<String, String> {
    let done = command.output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr)))
    }
}
