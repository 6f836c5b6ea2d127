//! Standard output and standard error.

use crate::fail::Result;
use std::io::{BufWriter, StdoutLock, Write};

/// Standard output, buffered.
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, std::io::stdout().lock())
}

/// Writes a text to standard output, all of it.
pub fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = stdout();
    out.write_all(text.as_ref())?;
    out.flush()?;
    Ok(())
}

/// Says something on standard error that is no failure.
pub fn remark(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "tamis: {text}");
}
