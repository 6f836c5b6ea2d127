//! Standard output and standard error.

use crate::fail::Result;
use crate::render::text::harmless;
use anstream::{AutoStream, ColorChoice, adapter::strip_str};
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

/// Whether standard output shows colours: it is a terminal that has them, and the user has not turned
/// them off (`NO_COLOR`).
pub fn shows_colours() -> bool {
    AutoStream::choice(&std::io::stdout()) != ColorChoice::Never
}

/// Whether standard output shows all colours, not 256 of them: terminals that do say so in `COLORTERM`.
pub fn shows_all_colours() -> bool {
    std::env::var("COLORTERM").is_ok_and(|value| ["truecolor", "24bit"].contains(&value.as_str()))
}

/// Letters in a line of standard output, 80 where it does not say.
pub fn width() -> u16 {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => 80,
    }
}

/// The text as standard output shows it: without its colours where it has none.
pub fn shown(text: String) -> String {
    if shows_colours() { text } else { strip_str(&text).to_string() }
}

/// Writes a text with colours to standard output, all of it.
pub fn paint(text: String) -> Result<()> {
    print(shown(text))
}

/// Prints a remark, which is not a failure, to standard error.
pub fn remark(text: std::fmt::Arguments<'_>) {
    // Names of files and texts of dumps are in it.
    let text = harmless(&text.to_string());
    let _ = writeln!(std::io::stderr(), "tamis: {text}");
}
