//! Why there are no symbols, or no types.

use crate::kernel::memory::TranslateError;
use crate::units::VirtAddr;
use core::fmt;

/// That a part of the kernel's tables cannot be used. Which, and why, is what [`Reader::error`] says: carried along
/// by every call, it would make the program a good deal larger.
///
/// [`Reader::error`]: super::Reader::error
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

/// Why the kernel's tables say nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SymbolsError {
    /// A part of them could not be read.
    Read {
        /// Which.
        what: &'static str,
        /// Where.
        at: VirtAddr,
        /// Why.
        why: TranslateError,
    },
    /// A part of them is not what it must be.
    Malformed {
        /// Which.
        what: &'static str,
        /// Where.
        at: VirtAddr,
    },
    /// Nothing like it is in the kernel's image.
    NotFound(&'static str),
    /// Nothing says where the kernel's image is, so that it cannot be searched.
    NoImage,
    /// What symbols say does not agree with what is known of this one.
    Unproven(&'static str),
}

impl fmt::Display for SymbolsError {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SymbolsError::Read { what, at, why } => write!(f, "reading {what} at {at}: {why}"),
            SymbolsError::Malformed { what, at } => write!(f, "{what} at {at} cannot be right"),
            SymbolsError::NotFound(what) => {
                write!(f, "there are no {what} in the kernel's image")
            }
            SymbolsError::NoImage => f.write_str(
                "nothing says where the kernel's image is (SYMBOL(_stext), NUMBER(phys_base))",
            ),
            SymbolsError::Unproven(name) => {
                write!(f, "kallsyms have another address for {name} than the kernel")
            }
        }
    }
}

impl core::error::Error for SymbolsError {
    #[inline]
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            SymbolsError::Read { why, .. } => Some(why),
            _ => None,
        }
    }
}
