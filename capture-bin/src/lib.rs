//! The capture program: `makedumpfile`'s command line in front of [`tamis_core`].
//!
//! Unsafe code is in [`sys`] (system calls) and [`arena`] (memory) and nowhere else.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::todo
    )
)]

extern crate alloc;

#[expect(unsafe_code, reason = "the one place that hands out raw memory")]
pub mod arena;
pub mod console;
mod crew;
pub mod exit;
pub mod init;
mod input;
mod job;
mod log;
mod out;
#[expect(unsafe_code, reason = "the one place that calls the system")]
pub mod sys;

pub use tamis_boot::cli;

use cli::Mode;
use core::fmt::Write;
use exit::Exit;

/// Runs the program; `argv` are the words of the command line, the program's name first.
pub fn run(heap: &'static arena::Heap, argv: impl Iterator<Item = &'static [u8]>) -> Exit {
    sys::settle();
    if sys::is_pid_1() {
        return init::run(heap, core::iter::empty());
    }
    let mut argv = argv.peekable();
    // Scripts look up in a table which kernels the makedumpfile that they have may be used for.
    let name = argv.next().unwrap_or(b"");
    let stands_in = name.ends_with(b"makedumpfile");
    if argv.next_if(|word| *word == b"--init").is_some() {
        return init::run(heap, argv);
    }
    // Others call a program that prints the log of the vmcore that they name.
    let implied: &[&[u8]] =
        if name.ends_with(b"vmcore-dmesg") { &[b"--dump-dmesg", b"-F"] } else { &[] };
    let args = match cli::parse(implied.iter().copied().chain(argv)) {
        Ok(args) => args,
        Err(error) => {
            let mut line = console::Line::new(sys::STDERR);
            let _ = writeln!(line, "tamis-capture: {error}");
            return Exit::Failed;
        }
    };
    match args.mode {
        Mode::Help => {
            let mut line = console::Line::new(sys::STDOUT);
            let _ = line.write_str(cli::HELP);
            Exit::Done
        }
        Mode::Version => {
            let mut line = console::Line::new(sys::STDOUT);
            let _ = line.write_str(if stands_in {
                concat!(
                    "makedumpfile: version 1.7.9 (tamis-capture ",
                    env!("CARGO_PKG_VERSION"),
                    ")\n"
                )
            } else {
                concat!("tamis-capture: version ", env!("CARGO_PKG_VERSION"), "\n")
            });
            let _ = line.write_str("zlib\tenabled\nlzo\tenabled\n");
            let _ = line.write_str("snappy\tenabled\nzstd\tenabled\nlz4\tenabled\n");
            Exit::Done
        }
        _ if args.check_params => Exit::Done,
        Mode::Capture => job::capture(heap, &args),
        Mode::Dmesg => log::dmesg(&args),
    }
}
