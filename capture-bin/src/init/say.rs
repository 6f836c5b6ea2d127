//! What PID 1 says on the console.

use crate::console::{Line, Why};
use crate::job::Ended;
use crate::sys;
use core::fmt::Write;
use tamis_core::io::{IoError, IoKind};

/// Prints a step of PID 1.
pub(super) fn say(text: core::fmt::Arguments<'_>) {
    let mut line = Line::new(sys::STDERR);
    line.bytes(b"tamis-capture: ");
    let _ = line.write_fmt(text);
    line.bytes(b"\n");
}

/// What the failure of one step means for the whole.
pub(super) fn failed(what: &str, path: &[u8], io: IoError) -> Ended {
    say(format_args!("{what} {}: {}", path.escape_ascii(), Why(io)));
    if io.kind == IoKind::NoSpace { Ended::NoSpace } else { Ended::Failed }
}
