//! Why an architecture cannot be used.

use crate::facts::MissingKey;
use crate::memory::Machine;
use core::fmt;

/// Why an architecture cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ArchError {
    /// tamis does not know its page tables (yet).
    Unknown(Machine),
    /// A fact about this kernel is missing.
    Missing(MissingKey),
    /// A line of VMCOREINFO that has no parentheses is missing, or its value is malformed.
    #[cfg(any(feature = "ppc64", feature = "s390x"))]
    MissingLine(&'static str),
    /// Kernels before this one had other tables.
    #[cfg(feature = "ppc64")]
    OlderThan(&'static str),
    /// Between the kernel's addresses and the machine's is a Xen hypervisor.
    Xen,
}

impl fmt::Display for ArchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchError::Unknown(machine) => match machine.name() {
                Some(name) => write!(f, "page tables of {name} are not supported"),
                None => {
                    let number = machine.elf_machine;
                    write!(f, "page tables of ELF machine {number} are not supported")
                }
            },
            ArchError::Missing(key) => key.fmt(f),
            #[cfg(any(feature = "ppc64", feature = "s390x"))]
            ArchError::MissingLine(key) => write!(f, "{key}= is missing in VMCOREINFO"),
            #[cfg(feature = "ppc64")]
            ArchError::OlderThan(first) => {
                write!(f, "page tables of kernels before {first} are not supported on this machine")
            }
            ArchError::Xen => {
                f.write_str("it is a Xen host's, whose kernel has other page numbers")
            }
        }
    }
}

impl core::error::Error for ArchError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            ArchError::Missing(key) => Some(key),
            #[cfg(any(feature = "ppc64", feature = "s390x"))]
            ArchError::MissingLine(_) => None,
            #[cfg(feature = "ppc64")]
            ArchError::OlderThan(_) => None,
            ArchError::Unknown(_) | ArchError::Xen => None,
        }
    }
}

impl From<MissingKey> for ArchError {
    fn from(key: MissingKey) -> ArchError {
        ArchError::Missing(key)
    }
}
