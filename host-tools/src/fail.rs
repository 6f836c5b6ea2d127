//! How a run ends when it does not end well.

use crate::render::text::harmless;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Exit status: success.
pub const DONE: u8 = 0;
/// Exit status: the answer is no: damaged, different.
pub const NO: u8 = 1;
/// Exit status: the dump is sound as far as it goes, but pages are missing that it should have.
pub const INCOMPLETE: u8 = 2;
/// Exit status: it could not be done: no such file, not a dump, disk full.
pub const FAILED: u8 = 3;
/// Exit status: the command line is not valid.
pub const USAGE: u8 = 64;
/// The reader of the output went away: the status that shells report for SIGPIPE.
const PIPE: u8 = 128 + 13;

/// Why a command failed.
#[derive(Debug)]
pub enum Fail {
    /// One line, and what to do next.
    Error {
        /// What went wrong: names the file, and the offset or pfn where there is one.
        text: String,
        /// What to do next; may be empty.
        next: String,
    },
    /// The reader of standard output is gone.
    Pipe,
}

/// What commands return.
pub type Result<T> = std::result::Result<T, Fail>;

impl Fail {
    /// With nothing to suggest.
    pub fn new(text: impl Display) -> Fail {
        Fail::Error { text: text.to_string(), next: String::new() }
    }

    /// About a file.
    pub fn file(path: &Path, text: impl Display) -> Fail {
        Fail::new(format_args!("{}: {text}", path.display()))
    }

    /// Adds what to do next.
    pub fn next(self, hint: impl Display) -> Fail {
        match self {
            Fail::Error { text, .. } => Fail::Error { text, next: hint.to_string() },
            Fail::Pipe => Fail::Pipe,
        }
    }

    /// The message as one line.
    pub fn line(&self) -> String {
        match self {
            Fail::Error { text, next } if next.is_empty() => text.clone(),
            Fail::Error { text, next } => format!("{text}; {next}"),
            Fail::Pipe => String::new(),
        }
    }

    /// Prints it to standard error; returns the exit status.
    pub fn report(&self) -> ExitCode {
        if let Fail::Pipe = self {
            return ExitCode::from(PIPE);
        }
        // Nothing can be done if stderr is closed.
        let _ = writeln!(io::stderr(), "tamis: {}", harmless(&self.line()));
        ExitCode::from(FAILED)
    }
}

/// For writing to standard output.
impl From<io::Error> for Fail {
    fn from(error: io::Error) -> Fail {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Fail::Pipe,
            _ => Fail::new(format_args!("writing to standard output: {error}")),
        }
    }
}
