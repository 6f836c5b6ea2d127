//! Why no mem_map was found.

use crate::facts::MissingKey;
use crate::kernel::memory::TranslateError;
use crate::units::VirtAddr;
use core::fmt;

/// Why no mem_map was found. All pages that are not zero are kept then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MemMapError {
    /// A key is missing.
    Missing(MissingKey),
    /// A memory model that tamis does not support.
    Model(&'static str),
    /// The table could not be read.
    Unreadable(TranslateError),
    /// What lies at the address named by VMCOREINFO is not such a table.
    Implausible(VirtAddr),
}

impl fmt::Display for MemMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemMapError::Missing(key) => key.fmt(f),
            MemMapError::Model(name) => write!(f, "the {name} memory model is not supported"),
            MemMapError::Unreadable(fault) => write!(f, "looking for the mem_map: {fault}"),
            MemMapError::Implausible(at) => write!(f, "no mem_section table at {at}"),
        }
    }
}

impl core::error::Error for MemMapError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            MemMapError::Missing(key) => Some(key),
            MemMapError::Unreadable(fault) => Some(fault),
            MemMapError::Model(_) | MemMapError::Implausible(_) => None,
        }
    }
}

impl From<MissingKey> for MemMapError {
    fn from(key: MissingKey) -> MemMapError {
        MemMapError::Missing(key)
    }
}
