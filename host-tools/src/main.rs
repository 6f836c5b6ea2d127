//! `tamis`: what an engineer does with Linux kernel dumps on a workstation.
//!
//! * [`cli`] is the command line; [`cmd`] has one file per subcommand, whose doc comment is its
//!   manual.
//! * [`io`] opens dumps by what is in them and writes files; [`render`] makes text and JSON.
//!
//! Everything about the formats is `tamis-core`'s; this crate only owns memory and files.
#![forbid(unsafe_code)]

mod classes;
mod cli;
mod cmd;
mod crew;
mod fail;
mod io;
mod memory;
mod parallel;
mod refilter;
mod render;
mod survey;
mod zones;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(status) => ExitCode::from(status),
        Err(fail) => fail.report(),
    }
}
