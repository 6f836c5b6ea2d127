//! The subcommands, one file each. The doc comment of `Args` is the manual page.

pub mod completions;
pub mod diff;
pub mod dmesg;
pub mod estimate;
pub mod info;
pub mod initramfs;
pub mod man;
pub mod map;
pub mod notes;
pub mod pages;
pub mod read;
pub mod rearrange;
pub mod reassemble;
pub mod refilter;
pub mod repair;
pub mod split;
pub mod stats;
pub mod verify;
pub mod vmcoreinfo;
pub mod vtop;

use crate::fail::Result;
use std::io::{BufWriter, StdoutLock, Write};

/// Standard output, buffered.
fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, std::io::stdout().lock())
}

/// Writes a text to standard output, all of it.
fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = stdout();
    out.write_all(text.as_ref())?;
    out.flush()?;
    Ok(())
}

/// Says something on standard error that is no failure.
pub fn remark(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "tamis: {text}");
}
