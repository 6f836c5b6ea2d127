//! Why nothing is known of a Xen hypervisor's frames.

use crate::facts::MissingKey;
use crate::units::VirtAddr;
use core::fmt;

/// Why nothing is known of a Xen hypervisor's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum XenError {
    /// There is no note of a Xen hypervisor.
    NotXen,
    /// The machine is not one whose Xen is known.
    Machine,
    /// The note of Xen's crash has a size that it never has, or cannot be read.
    CrashNote,
    /// Xen before 3.3 does not say where it lay.
    NoAddress,
    /// Xen before this one kept its frames otherwise.
    Older(u64, u64),
    /// There is no VMCOREINFO_XEN, or it cannot be read.
    NoText,
    /// VMCOREINFO_XEN lacks this key, or has an impossible value for it.
    Key(MissingKey),
    /// Xen's page tables do not lead to themselves.
    Tables,
    /// Something could not be read.
    Unreadable(&'static str, VirtAddr),
    /// Domain 0 is not on the list of domains.
    NoDomain0,
    /// No frame belongs to domain 0.
    NothingOwned,
    /// Xen's map of all memory goes backwards, as no Xen's does.
    Backwards,
}

impl fmt::Display for XenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            XenError::NotXen => "it is not a Xen host's",
            XenError::Machine => "it is a Xen of another machine than x86_64",
            XenError::CrashNote => "Xen's note about its crash is damaged",
            XenError::NoAddress => "Xen before 3.3 does not say where it lay",
            XenError::Older(major, minor) => {
                return write!(f, "Xen {major}.{minor}, before 4.0, had other tables of frames");
            }
            XenError::NoText => "there is no VMCOREINFO_XEN",
            XenError::Key(MissingKey(kind, name)) => {
                let kind = kind.word();
                return write!(f, "{kind}({name}) is missing in VMCOREINFO_XEN, or invalid");
            }
            XenError::Tables => "Xen's page tables do not lead to themselves",
            XenError::Unreadable(what, at) => {
                return write!(f, "{what}, at {at}, cannot be read");
            }
            XenError::NoDomain0 => "domain 0 is not on Xen's list of domains",
            XenError::NothingOwned => "no frame of Xen's table belongs to domain 0",
            XenError::Backwards => "Xen's map of the memory goes backwards",
        };
        f.write_str(text)
    }
}

impl core::error::Error for XenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            XenError::Key(key) => Some(key),
            _ => None,
        }
    }
}
