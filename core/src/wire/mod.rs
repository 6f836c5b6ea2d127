//! On-disk records, one file each. Parsers take bytes and check once; writers fill a record of the
//! exact size. Nothing here does I/O.

pub mod disk_header;
pub mod elf;
pub mod flattened;
pub mod machine;
pub mod note;
pub mod page_desc;
pub mod vmcoreinfo;

use core::fmt;

/// What is wrong with a record. The value that was found is inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WireError {
    /// The record needs more bytes than there are.
    Truncated {
        /// Which record.
        what: &'static str,
        /// Bytes it needs.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// A field holds a value that the format does not allow.
    Invalid {
        /// Which field.
        what: &'static str,
        /// What it holds.
        value: u64,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            WireError::Truncated { what, need, have } => {
                write!(f, "{what} is cut off: it needs {need} bytes, {have} are there")
            }
            WireError::Invalid { what, value } => write!(f, "invalid {what}: 0x{value:x}"),
        }
    }
}

impl core::error::Error for WireError {}
