//! What VMCOREINFO says about the dead kernel, as facts: keys, versions, and which key is missing.

use crate::units::PageShift;
use crate::wire::vmcoreinfo::{Kind, VmcoreInfo};
use core::fmt;

/// A fact about the kernel that VMCOREINFO does not have (or has in a form that is none).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingKey(pub Kind, pub &'static str);

impl fmt::Display for MissingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}) is missing in VMCOREINFO", self.0.word(), self.1)
    }
}

impl core::error::Error for MissingKey {}

/// A kernel release as far as it is compared: 6.1.0-37-cloud is 6, 1, 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads the start of a release string; a part that is not there is 0.
    pub fn parse(release: &[u8]) -> Option<Version> {
        let mut parts = release.split(|b| !b.is_ascii_digit()).map(|digits| {
            digits.iter().try_fold(0u32, |n, d| {
                n.checked_mul(10)?.checked_add(u32::from(d.wrapping_sub(b'0')))
            })
        });
        let major =
            parts.next().flatten().filter(|_| release.first().is_some_and(u8::is_ascii_digit))?;
        Some(Version(
            major,
            parts.next().flatten().unwrap_or(0),
            parts.next().flatten().unwrap_or(0),
        ))
    }
}

/// What the kernel tells about itself: the note in the vmcore and, where one is given, a file in
/// the same form.
///
/// The note wins: it was written by the very kernel whose memory this is. The file fills the gaps;
/// its symbols are link-time addresses, to which the note's `KERNELOFFSET` is added.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info<'t> {
    note: Option<VmcoreInfo<'t>>,
    file: Option<VmcoreInfo<'t>>,
}

impl<'t> Info<'t> {
    /// Either may be missing.
    pub fn new(note: Option<&'t [u8]>, file: Option<&'t [u8]>) -> Info<'t> {
        Info { note: note.map(VmcoreInfo::new), file: file.map(VmcoreInfo::new) }
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.note.is_none() && self.file.is_none()
    }

    /// Value of a key with a name; see [`VmcoreInfo::get`].
    pub fn get(&self, kind: Kind, name: &str) -> Option<u64> {
        if let Some(value) = self.note.and_then(|n| n.get(kind, name)) {
            return Some(value);
        }
        let value = self.file?.get(kind, name)?;
        Some(match kind {
            Kind::Symbol => value.wrapping_add(self.kaslr_offset()),
            _ => value,
        })
    }

    /// Value of a key that cannot be done without.
    pub fn need(&self, kind: Kind, name: &'static str) -> Result<u64, MissingKey> {
        self.get(kind, name).ok_or(MissingKey(kind, name))
    }

    /// A member's offset or an array's length as an index.
    pub fn offset(&self, name: &str) -> Option<usize> {
        usize::try_from(self.get(Kind::Offset, name)?).ok()
    }

    /// How far the kernel runs from where it was linked to.
    pub fn kaslr_offset(&self) -> u64 {
        self.note.and_then(|n| n.hexadecimal("KERNELOFFSET")).unwrap_or(0)
    }

    fn plain(&self, key: &str) -> Option<&'t [u8]> {
        let of = |info: Option<VmcoreInfo<'t>>| info.and_then(|i| i.value(key));
        of(self.note).or_else(|| of(self.file))
    }

    /// `OSRELEASE`.
    pub fn release(&self) -> Option<&'t [u8]> {
        self.plain("OSRELEASE").map(|r| r.get(..64).unwrap_or(r)).filter(|r| !r.is_empty())
    }

    /// `OSRELEASE` of the file given beside the vmcore.
    pub fn file_release(&self) -> Option<&'t [u8]> {
        self.file.and_then(|f| f.value("OSRELEASE"))
    }

    /// `OSRELEASE`, as far as versions are compared.
    pub fn version(&self) -> Option<Version> {
        Version::parse(self.release()?)
    }

    /// `PAGESIZE`.
    pub fn page_shift(&self) -> Option<PageShift> {
        let of = |info: Option<VmcoreInfo<'t>>| {
            info.and_then(|i| i.decimal("PAGESIZE")).and_then(PageShift::of_size)
        };
        of(self.note).or_else(|| of(self.file))
    }

    /// `CRASHTIME`: seconds since 1970 at which the kernel died. Dumps of live machines have none.
    pub fn crash_time(&self) -> Option<u64> {
        self.note.and_then(|n| n.decimal("CRASHTIME"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_their_numbers() {
        assert_eq!(Version::parse(b"6.1.0-37-cloud-amd64"), Some(Version(6, 1, 0)));
        assert_eq!(Version::parse(b"7.1-rc3"), Some(Version(7, 1, 0)));
        assert_eq!(Version::parse(b"2.6.32-431.el6"), Some(Version(2, 6, 32)));
        assert_eq!(Version::parse(b""), None);
        assert_eq!(Version::parse(b"x.1"), None);
        assert_eq!(Version::parse(b"99999999999.1"), None);
        assert!(Version(2, 6, 39) < Version(3, 0, 0) && Version(6, 9, 0) < Version(6, 10, 0));
    }

    #[test]
    fn a_file_fills_gaps_and_its_symbols_are_moved() {
        let note = b"PAGESIZE=4096\nKERNELOFFSET=1000000\nOFFSET(page.lru)=8\n";
        let file = b"PAGESIZE=65536\nOFFSET(page.lru)=16\nOFFSET(page.private)=40\n\
            SYMBOL(mem_section)=ffffffff82000000\nOSRELEASE=6.1.0\n";
        let info = Info::new(Some(note), Some(file));
        assert_eq!(info.page_shift(), Some(PageShift::FOUR_KIB));
        assert_eq!(info.offset("page.lru"), Some(8));
        assert_eq!(info.offset("page.private"), Some(40));
        assert_eq!(info.get(Kind::Symbol, "mem_section"), Some(0xffff_ffff_8300_0000));
        assert_eq!(info.release(), Some(&b"6.1.0"[..]));
    }
}
