//! What VMCOREINFO says about the dead kernel: the first provider of facts.

use crate::facts::{Fact, FactSource, Facts, KernelVersion};
use crate::units::PageShift;
use crate::wire::vmcoreinfo::{Kind, VmcoreInfo};

/// VMCOREINFO: the note in the vmcore and, where one is given, a file in the same form.
///
/// The note wins: it was written by the very kernel whose memory this is. The file fills the gaps;
/// its symbols are link-time addresses, to which the note's `KERNELOFFSET` is added.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info<'t> {
    note: Option<VmcoreInfo<'t>>,
    file: Option<VmcoreInfo<'t>>,
}

/// Whether a `struct page` may have this many bytes.
pub(crate) fn is_page_struct(bytes: &u64) -> bool {
    (8..=4096).contains(bytes)
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

    /// The value of a key with a name; see [`VmcoreInfo::get`].
    pub fn get(&self, kind: Kind, name: &str) -> Option<u64> {
        (self as &dyn Facts).get(kind, name)
    }

    /// What `look` finds in the note, else in the file.
    fn find<T>(&self, look: impl Fn(VmcoreInfo<'t>) -> Option<T>) -> Option<Fact<T>> {
        let of =
            |text: Option<VmcoreInfo<'t>>, source| look(text?).map(|value| Fact { value, source });
        of(self.note, FactSource::Vmcoreinfo).or_else(|| of(self.file, FactSource::VmcoreinfoFile))
    }

    /// `OSRELEASE`, at most 64 bytes of it.
    pub fn release(&self) -> Option<&'t [u8]> {
        self.found_release().map(|fact| fact.value)
    }

    fn found_release(&self) -> Option<Fact<&'t [u8]>> {
        let mut found = self.find(|text| text.value("OSRELEASE"))?;
        found.value = found.value.get(..64).unwrap_or(found.value);
        Some(found).filter(|release| !release.value.is_empty())
    }

    /// `OSRELEASE` of the file given beside the vmcore.
    pub fn file_release(&self) -> Option<&'t [u8]> {
        self.file.and_then(|f| f.value("OSRELEASE"))
    }

    /// `OSRELEASE`, as far as versions are compared.
    pub fn version(&self) -> Option<KernelVersion> {
        KernelVersion::parse(self.release()?)
    }

    /// `PAGESIZE`.
    pub fn page_shift(&self) -> Option<PageShift> {
        Facts::page_shift(self).map(|fact| fact.value)
    }

    /// `SIZE(page)`, if a `struct page` may have this many bytes.
    pub fn page_struct(&self) -> Option<u64> {
        self.get(Kind::Size, "page").filter(is_page_struct)
    }

    /// `CRASHTIME`: seconds since 1970 at which the kernel died. Dumps of live machines have none.
    pub fn crash_time(&self) -> Option<u64> {
        self.note.and_then(|n| n.decimal("CRASHTIME"))
    }
}

impl Facts for Info<'_> {
    fn fact(&self, kind: Kind, name: &str) -> Option<Fact<u64>> {
        let mut found = self.find(|text| text.get(kind, name))?;
        if kind == Kind::Symbol && found.source == FactSource::VmcoreinfoFile {
            let moved = self.kaslr_offset().map_or(0, |offset| offset.value);
            found.value = found.value.wrapping_add(moved);
        }
        Some(found)
    }

    fn plain(&self, key: &str) -> Option<Fact<&[u8]>> {
        self.find(|text| text.value(key))
    }

    fn release(&self) -> Option<Fact<&[u8]>> {
        self.found_release()
    }

    fn page_shift(&self) -> Option<Fact<PageShift>> {
        self.find(|text| text.decimal("PAGESIZE").and_then(PageShift::of_size))
    }

    fn kaslr_offset(&self) -> Option<Fact<u64>> {
        let value = self.note?.hexadecimal("KERNELOFFSET")?;
        Some(Fact { value, source: FactSource::Vmcoreinfo })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_fills_gaps_and_its_symbols_are_moved() {
        let note = b"PAGESIZE=4096\nKERNELOFFSET=1000000\nOFFSET(page.lru)=8\n";
        let file = b"PAGESIZE=65536\nOFFSET(page.lru)=16\nOFFSET(page.private)=40\n\
            SYMBOL(mem_section)=ffffffff82000000\nOSRELEASE=6.1.0\n";
        let info = Info::new(Some(note), Some(file));
        assert_eq!(info.page_shift(), Some(PageShift::FOUR_KIB));
        assert_eq!(info.get(Kind::Offset, "page.lru"), Some(8));
        assert_eq!(info.get(Kind::Offset, "page.private"), Some(40));
        assert_eq!(info.get(Kind::Symbol, "mem_section"), Some(0xffff_ffff_8300_0000));
        assert_eq!(info.release(), Some(&b"6.1.0"[..]));
        let source = |name| info.fact(Kind::Offset, name).map(|fact| fact.source);
        assert_eq!(source("page.lru"), Some(FactSource::Vmcoreinfo));
        assert_eq!(source("page.private"), Some(FactSource::VmcoreinfoFile));
    }
}
