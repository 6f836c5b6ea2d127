//! Where the dead kernel's memory comes from: the consumer's side only.
//!
//! Three traits, each small enough to wrap: [`PhysMemory`] reads bytes, [`Ranges`] says where there is memory,
//! and [`Dump`] adds what a file holds beside it. None has default bodies: what a wrapper could forget, the
//! compiler asks for. [`layers`] has wrappers that count and that fail.

pub mod layers;

use crate::bitmap::Bitmap;
use crate::endian::{Endian, Word};
use crate::io::IoError;
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::disk_header::UTS;
use crate::wire::machine::{self, KnownMachine};
use crate::wire::note::XenNotes;
use core::fmt;
use page_codec::Codec;

/// Why bytes of physical memory could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The input does not hold this address.
    Absent(PhysAddr),
    /// The hardware reports this memory as poisoned.
    Poisoned(PhysAddr),
    /// Reading failed.
    Io(PhysAddr, IoError),
    /// The dump holds it, but not as it was written.
    Damaged(PhysAddr),
}

impl ReadError {
    /// The physical address that could not be read.
    #[must_use]
    pub fn at(&self) -> PhysAddr {
        match self {
            ReadError::Absent(at)
            | ReadError::Poisoned(at)
            | ReadError::Io(at, _)
            | ReadError::Damaged(at) => *at,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Absent(at) => write!(f, "physical address {at} is not in the vmcore"),
            ReadError::Poisoned(at) => {
                write!(f, "memory at physical address {at} is hardware-poisoned")
            }
            ReadError::Io(at, e) => write!(f, "reading physical address {at}: {e}"),
            ReadError::Damaged(at) => {
                write!(f, "the page at {at} is damaged; see `tamis verify`")
            }
        }
    }
}

impl core::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            ReadError::Io(_, io) => Some(io),
            ReadError::Absent(_) | ReadError::Poisoned(_) | ReadError::Damaged(_) => None,
        }
    }
}

/// A range of physical memory as the input describes it (a PT_LOAD of an ELF file, a run of bits of bitmap 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryRange {
    /// Physical address of the first byte.
    pub phys: PhysAddr,
    /// Virtual address of the first byte; only -E output and old kernels' `phys_base` need it.
    pub virt: VirtAddr,
    /// Bytes that the input holds, from the first on; at most `len`.
    pub stored_len: u64,
    /// Bytes that exist.
    pub len: u64,
    /// `p_flags`, for -E output.
    pub flags: u32,
    /// `p_align`, for -E output.
    pub align: u64,
}

impl MemoryRange {
    /// One past the last byte that exists.
    pub fn end(&self) -> u64 {
        self.phys.0.saturating_add(self.len)
    }

    /// One past the last byte that the input holds.
    pub fn stored_end(&self) -> u64 {
        self.phys.0.saturating_add(self.stored_len)
    }
}

/// The machine that the memory is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// ELF `e_machine`.
    pub elf_machine: u16,
    /// Byte order.
    pub endian: Endian,
    /// Size of an `unsigned long`, of the machine itself: the file that its memory is in may have another.
    pub word: Word,
}

impl Machine {
    /// The machine that a file of this word size says it is of: what is known of the machine decides, as
    /// 32-bit headers can hold the memory of a 64-bit machine, and 64-bit ones that of a 32-bit one.
    pub fn in_file(elf_machine: u16, endian: Endian, file: Word) -> Machine {
        let known = machine::find(elf_machine, file, endian);
        Machine { elf_machine, endian, word: known.map_or(file, |known| known.word) }
    }

    /// What is known about such machines; `None` if tamis has not heard of them.
    pub fn known(self) -> Option<&'static KnownMachine> {
        machine::find(self.elf_machine, self.word, self.endian)
    }

    /// Name as `uname -m` prints it.
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|known| known.name)
    }
}

/// The ELF notes of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// Bytes of the notes.
    pub len: u64,
    /// `p_flags` of their program header, which an ELF dump inherits; 0 where there was none.
    pub flags: u32,
    /// `p_align` of their program header, as well.
    pub align: u64,
}

/// Physical memory of a machine.
pub trait PhysMemory {
    /// The machine that the memory is of.
    fn machine(&self) -> Machine;

    /// Fills `buf` from `at`, whole or not at all. Bytes that the input does not hold read as
    /// zeros where their page has others that it holds; a page without any is
    /// [`ReadError::Absent`].
    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError>;

    /// The bytes `[at, at + len)` without copying them, where the input can lend them.
    ///
    /// What is lent may turn out to be unreadable only while it is looked at: ask
    /// [`PhysMemory::window_broke`] afterwards.
    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]>;

    /// Whether bytes of a lent window had to be replaced by zeros since the last call. If so,
    /// whatever came out of the window is worthless: [`PhysMemory::read`] the pages one by one.
    fn window_broke(&mut self) -> bool;
}

/// Where there is memory.
pub trait Ranges {
    /// Ranges of memory in the order of the input; they may overlap and need no order.
    fn ranges(&self) -> &[MemoryRange];

    /// Calls `each` with the ranges that have a byte in `[from, until)`, in any order. Where there is no
    /// index, [`ranges_in`] does it.
    fn ranges_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&MemoryRange));

    /// The first byte of memory at `from` or later. Where there is no index, [`next_memory`] finds it.
    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr>;
}

/// [`Ranges::ranges_in`] by looking at every range.
pub fn ranges_in(
    ranges: &[MemoryRange],
    from: PhysAddr,
    until: PhysAddr,
    each: &mut dyn FnMut(&MemoryRange),
) {
    ranges.iter().filter(|r| r.phys < until && from.0 < r.end()).for_each(each);
}

/// [`Ranges::next_memory`] by looking at every range.
pub fn next_memory(ranges: &[MemoryRange], from: PhysAddr) -> Option<PhysAddr> {
    ranges.iter().filter(|r| from.0 < r.end()).map(|r| r.phys.max(from)).min()
}

/// What the headers of an input say of the machine and its crash, beside the kernel's own VMCOREINFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// The six utsname strings; any may be empty.
    pub utsname: Option<[u8; UTS]>,
    /// Seconds since 1970.
    pub crash_time: Option<u64>,
    /// CPUs with a register note.
    pub cpus: u32,
    /// Physical base of the kernel image. QEMU writes a wrong one: VMCOREINFO counts first.
    pub phys_base: Option<u64>,
    /// Offset in the notes and bytes of the VMCOREINFO text, if there is one.
    pub vmcoreinfo: Option<(u64, u64)>,
    /// The notes of a Xen hypervisor: where it is one's memory, addresses are the machine's, and not those that
    /// the kernel in it has.
    pub xen: XenNotes,
}

/// A dead machine's memory in a file: a vmcore, or a dump made of one.
pub trait Dump: PhysMemory + Ranges {
    /// What the headers say of the machine.
    fn origin(&self) -> Origin;

    /// Whether more is missing than [`Ranges::ranges`] say: a dump made of this one is incomplete.
    fn is_truncated(&self) -> bool;

    /// Clears the bits of pages that do not exist although [`Ranges::ranges`] have them. A dump has a bitmap
    /// that says so page by page; a vmcore says everything with its ranges.
    fn keep_existing(&mut self, map: &mut Bitmap<'_>);

    /// As [`Dump::keep_existing`], and clears those of pages whose bytes the input does not hold.
    fn keep_held(&mut self, map: &mut Bitmap<'_>);

    /// Whether the dump says page by page what it holds, so that what it lacks was left out. An ELF file that is
    /// made of it holds the same pages: each page that is left out ends a segment, and pages of zeros are holes.
    fn says_by_page(&self) -> bool;

    /// Copies the compressed bytes of page `pfn` into `out`, and returns their length, if the input holds the
    /// page compressed with this codec, in fewer bytes than a page has, and it may stay as it is. The bytes are
    /// not verified: read the page to check them.
    fn stored_page(&mut self, pfn: Pfn, codec: Codec, out: &mut [u8]) -> Option<usize>;

    /// The notes.
    fn notes(&self) -> Notes;

    /// Fills `buf` with the notes from byte `at` on.
    fn read_notes(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError>;
}

/// A memory that is lent is one.
impl<M: PhysMemory + ?Sized> PhysMemory for &mut M {
    fn machine(&self) -> Machine {
        (**self).machine()
    }

    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        (**self).read(at, buf)
    }

    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        (**self).window(at, len)
    }

    fn window_broke(&mut self) -> bool {
        (**self).window_broke()
    }
}

impl<M: Ranges + ?Sized> Ranges for &mut M {
    fn ranges(&self) -> &[MemoryRange] {
        (**self).ranges()
    }

    fn ranges_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&MemoryRange)) {
        (**self).ranges_in(from, until, each);
    }

    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
        (**self).next_memory(from)
    }
}

impl<M: Dump + ?Sized> Dump for &mut M {
    fn origin(&self) -> Origin {
        (**self).origin()
    }

    fn is_truncated(&self) -> bool {
        (**self).is_truncated()
    }

    fn keep_existing(&mut self, map: &mut Bitmap<'_>) {
        (**self).keep_existing(map);
    }

    fn keep_held(&mut self, map: &mut Bitmap<'_>) {
        (**self).keep_held(map);
    }

    fn says_by_page(&self) -> bool {
        (**self).says_by_page()
    }

    fn stored_page(&mut self, pfn: Pfn, codec: Codec, out: &mut [u8]) -> Option<usize> {
        (**self).stored_page(pfn, codec, out)
    }

    fn notes(&self) -> Notes {
        (**self).notes()
    }

    fn read_notes(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        (**self).read_notes(at, buf)
    }
}
