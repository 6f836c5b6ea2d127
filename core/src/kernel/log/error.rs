//! Why the log could not be written.

use crate::facts::MissingKey;
use crate::kernel::memory::TranslateError;
use core::fmt;

/// Why the log could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LogError<E> {
    /// A fact about the kernel is missing.
    Missing(MissingKey),
    /// A variable or structure without which no record is found could not be read.
    Memory {
        /// Its name.
        what: &'static str,
        /// Where, and what happened.
        fault: TranslateError,
    },
    /// A value without which no record is found is impossible.
    Implausible {
        /// Its name.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// The text could not be written.
    Write(E),
}

impl<E: fmt::Display> fmt::Display for LogError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Missing(key) => key.fmt(f),
            LogError::Memory { what, fault } => write!(f, "reading {what}: {fault}"),
            LogError::Implausible { what, value } => {
                write!(f, "invalid {what} 0x{value:x}")
            }
            LogError::Write(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for LogError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            LogError::Missing(key) => Some(key),
            LogError::Memory { fault, .. } => Some(fault),
            LogError::Implausible { .. } => None,
            LogError::Write(e) => Some(e),
        }
    }
}

/// What a log cannot be read without.
#[derive(Clone, Copy)]
pub(super) enum Lack {
    Key(MissingKey),
    Memory { what: &'static str, fault: TranslateError },
    Implausible { what: &'static str, value: u64 },
}

impl<E> From<Lack> for LogError<E> {
    fn from(lack: Lack) -> LogError<E> {
        match lack {
            Lack::Key(key) => LogError::Missing(key),
            Lack::Memory { what, fault } => LogError::Memory { what, fault },
            Lack::Implausible { what, value } => LogError::Implausible { what, value },
        }
    }
}
