//! Why a memory image cannot be used.

use crate::io::IoError;
use core::fmt;

/// Why an image cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// A part of it cannot be read.
    Read {
        /// Which.
        what: &'static str,
        /// Where in its file.
        at: u64,
        /// The system's answer.
        io: IoError,
    },
    /// A part of it is not what it must be.
    Invalid {
        /// Which.
        what: &'static str,
        /// Where in its file.
        at: u64,
        /// What is there.
        value: u64,
    },
    /// Something does not belong together.
    Mismatch(&'static str),
    /// A version that is not known.
    Version(&'static str, u64),
    /// More pieces than are read: the number of them at most.
    Pieces(usize),
    /// It has no memory.
    Empty,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Read { what, at, io } => write!(f, "reading {what} at offset {at}: {io}"),
            ImageError::Invalid { what, at, value } => {
                write!(f, "invalid {what} at offset {at}: {value:#x}")
            }
            ImageError::Mismatch(what) => f.write_str(what),
            ImageError::Version(what, version) => write!(f, "{what} {version} is not known"),
            ImageError::Pieces(most) => write!(f, "its memory is in more than {most} pieces"),
            ImageError::Empty => f.write_str("it has no memory"),
        }
    }
}

impl core::error::Error for ImageError {}
