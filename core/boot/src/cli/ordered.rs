//! The options of a capture by PID 1: the order `args`.

use super::{ArgError, Args, Mode, parse};
use crate::orders::words;
use core::fmt;

/// What stands for the operands that PID 1 has: it reads here, and writes below its target.
const OPERANDS: [&[u8]; 2] = [b"/proc/vmcore", b"vmcore"];

/// Options of ways to write, or not to, that PID 1 does not have.
const NOT_HERE: [&str; 7] =
    ["-F", "--split", "--dump-dmesg", "--help", "--version", "--dry-run", "--check-params"];

/// Why the options of the order `args` cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OrderedError<'a> {
    /// They are no options of a capture.
    Args(ArgError<'a>),
    /// Options of ways to write that PID 1 does not have: which of them are given.
    NotHere([bool; NOT_HERE.len()]),
}

impl fmt::Display for OrderedError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderedError::Args(error) => write!(f, "tamis.args: {error}"),
            OrderedError::NotHere(options) => {
                f.write_str("tamis.args contains options not allowed in init mode:")?;
                let mut given = options.iter().zip(NOT_HERE).filter(|(given, _)| **given);
                given.try_for_each(|(_, name)| write!(f, " {name}"))
            }
        }
    }
}

impl core::error::Error for OrderedError<'_> {}

/// Parses the options of a capture by PID 1: words as on a command line, those in double quotes
/// without them, and no file names.
///
/// # Errors
///
/// What [`parse`] refuses, and options of ways to write that PID 1 does not have.
pub fn parse_ordered(text: &[u8]) -> Result<Args<'_>, OrderedError<'_>> {
    let given =
        words(text).map(|w| w.strip_prefix(b"\"").and_then(|w| w.strip_suffix(b"\"")).unwrap_or(w));
    let parsed = parse(given.chain(OPERANDS)).map_err(OrderedError::Args)?;
    let not_here = [
        parsed.flattened,
        parsed.split,
        parsed.mode == Mode::Dmesg,
        parsed.mode == Mode::Help,
        parsed.mode == Mode::Version,
        parsed.dry_run,
        parsed.check_params,
    ];
    match not_here.contains(&true) {
        false => Ok(parsed),
        true => Err(OrderedError::NotHere(not_here)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_which_there_is_no_place_are_refused() {
        assert!(parse_ordered(b"-c -d 31").is_ok());
        assert!(parse_ordered(b"-E -d \"31\"").is_ok());
        for bad in [
            &b"-F"[..],
            b"--split",
            b"--dump-dmesg",
            b"--frobnicate",
            b"--help",
            b"-v",
            b"--dry-run",
            b"--check-params",
            b"extra",
        ] {
            assert!(parse_ordered(bad).is_err(), "{}", bad.escape_ascii());
        }
        let text = std::format!("{}", parse_ordered(b"--help --dump-dmesg -F").unwrap_err());
        assert_eq!(text, "tamis.args contains options not allowed in init mode: -F --help");
    }
}
