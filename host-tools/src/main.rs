//! `tamis`: what an engineer does with Linux kernel dumps on a workstation.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match tamis_host::cli::run() {
        Ok(status) => ExitCode::from(status),
        Err(fail) => fail.report(),
    }
}
