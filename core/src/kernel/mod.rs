//! What the dead kernel's memory means.

pub mod mem_map;
pub mod page;
pub mod utsname;

use crate::arch::{Arch, Linear, Mapping, TableCache, WalkError};
use crate::endian::{Endian, Word};
use crate::memory::{ReadFault, Segment, Source};
use crate::units::{PageShift, VirtAddr};
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

/// Why a kernel structure could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VirtFault {
    /// The address has no page.
    Walk(WalkError),
    /// The page could not be read.
    Read(ReadFault),
}

impl fmt::Display for VirtFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VirtFault::Walk(e) => e.fmt(f),
            VirtFault::Read(e) => e.fmt(f),
        }
    }
}

/// The dead kernel's virtual memory.
pub struct Memory<'a, 'b, S> {
    /// Where physical memory comes from.
    pub source: &'a mut S,
    arch: Arch,
    cache: &'a mut TableCache<'b>,
    endian: Endian,
    word: Word,
    linear: Linear,
    linear_first: bool,
    by_arithmetic: bool,
}

impl<'a, 'b, S: Source> Memory<'a, 'b, S> {
    /// Over a source, with the page tables that `arch` knows how to walk.
    pub fn new(source: &'a mut S, arch: Arch, cache: &'a mut TableCache<'b>) -> Memory<'a, 'b, S> {
        let machine = source.machine();
        Memory {
            source,
            arch,
            cache,
            endian: machine.endian,
            word: machine.word,
            linear: Linear::default(),
            linear_first: false,
            by_arithmetic: false,
        }
    }

    /// Finds out where the kernel image and the direct map are, for addresses that the page tables
    /// have no answer to; with `first`, the page tables are only asked where arithmetic has none.
    pub fn allow_arithmetic(&mut self, info: &Info<'_>, ram: &[Segment], first: bool) {
        self.linear = self.arch.linear(info, ram, self.source, self.cache);
        self.linear_first = first;
    }

    /// Whether any address was found by arithmetic.
    pub fn is_by_arithmetic(&self) -> bool {
        self.by_arithmetic
    }

    fn translate(&mut self, at: VirtAddr) -> Result<Mapping, WalkError> {
        let linear = self.linear.find(at);
        if let (Some(found), true) = (linear, self.linear_first) {
            self.by_arithmetic = true;
            return Ok(found);
        }
        self.arch.translate(at, self.source, self.cache).or_else(|error| {
            self.by_arithmetic |= linear.is_some();
            linear.ok_or(error)
        })
    }

    /// The architecture.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// Byte order of integers in this memory.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// Size of an `unsigned long` and of a pointer in this memory.
    pub fn word_size(&self) -> Word {
        self.word
    }

    /// Fills `buf` from `at`, mapping by mapping.
    pub fn read(&mut self, at: VirtAddr, buf: &mut [u8]) -> Result<(), VirtFault> {
        let (mut at, mut rest) = (at, buf);
        while !rest.is_empty() {
            let map = self.translate(at).map_err(VirtFault::Walk)?;
            let len = map.len.clamp(1, rest.len() as u64) as usize;
            let (part, after) = rest.split_at_mut_checked(len).unwrap_or_default();
            self.source.read(map.phys, part).map_err(VirtFault::Read)?;
            rest = after;
            at = VirtAddr(at.0.wrapping_add(len as u64));
        }
        Ok(())
    }

    /// The bytes at `at` without copying them, where they lie in one mapping and the source lends
    /// them. See [`Source::window`].
    pub fn window(&mut self, at: VirtAddr, len: usize) -> Option<&[u8]> {
        let map = self.translate(at).ok()?;
        if map.len < len as u64 {
            return None;
        }
        self.source.window(map.phys, len)
    }

    /// The 32-bit integer at `at`.
    pub fn u32(&mut self, at: VirtAddr) -> Result<u32, VirtFault> {
        let mut raw = [0; 4];
        self.read(at, &mut raw)?;
        Ok(self.endian.u32(&raw, 0).unwrap_or(0))
    }

    /// The 64-bit integer at `at`.
    pub fn u64(&mut self, at: VirtAddr) -> Result<u64, VirtFault> {
        let mut raw = [0; 8];
        self.read(at, &mut raw)?;
        Ok(self.endian.u64(&raw, 0).unwrap_or(0))
    }

    /// The `unsigned long` (or pointer) at `at`.
    pub fn word(&mut self, at: VirtAddr) -> Result<u64, VirtFault> {
        match self.word {
            Word::Bits32 => self.u32(at).map(u64::from),
            Word::Bits64 => self.u64(at),
        }
    }
}

/// Small pieces of memory for unit tests.
#[cfg(test)]
#[expect(missing_docs, reason = "small helpers of tests")]
pub mod testing {
    use super::Info;
    use crate::endian::{Endian, Word};
    use crate::io::IoError;
    use crate::memory::{Machine, ReadFault, Segment, Source};
    use crate::units::{PageShift, PhysAddr};
    use std::{vec, vec::Vec};

    /// Physical memory `[start, start + len)`.
    pub struct Memory {
        segment: [Segment; 1],
        pub bytes: Vec<u8>,
    }

    impl Memory {
        pub fn new(start: u64, len: usize) -> Memory {
            let len64 = len as u64;
            let segment = Segment {
                phys: PhysAddr(start),
                file_len: len64,
                mem_len: len64,
                ..Segment::default()
            };
            Memory { segment: [segment], bytes: vec![0; len] }
        }

        pub fn put(&mut self, at: u64, bytes: &[u8]) {
            let at = (at - self.segment[0].phys.0) as usize;
            self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        }

        pub fn put64(&mut self, at: u64, value: u64) {
            self.put(at, &value.to_le_bytes());
        }
    }

    impl Source for Memory {
        fn machine(&self) -> Machine {
            Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 }
        }
        fn segments(&self) -> &[Segment] {
            &self.segment
        }
        fn set_page_shift(&mut self, _: PageShift) {}
        fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadFault> {
            let part = self.window(at, buf.len()).ok_or(ReadFault::Absent(at))?;
            buf.copy_from_slice(part);
            Ok(())
        }
        fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
            let at = at.0.checked_sub(self.segment[0].phys.0)? as usize;
            self.bytes.get(at..)?.get(..len)
        }
        fn window_broke(&mut self) -> bool {
            false
        }
        fn notes_len(&self) -> u64 {
            0
        }
        fn read_notes(&mut self, _: u64, _: &mut [u8]) -> Result<(), IoError> {
            Ok(())
        }
    }

    /// The facts of a VMCOREINFO text.
    pub fn info(text: &str) -> Info<'_> {
        Info::new(Some(text.as_bytes()), None)
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
