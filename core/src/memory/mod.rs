//! Where the dead kernel's memory comes from: the consumer's side only.

use crate::bitmap::Bitmap;
use crate::endian::{Endian, Word};
use crate::io::IoError;
use crate::units::{PageShift, Pfn, PhysAddr, VirtAddr};
use crate::wire::machine::{self, KnownMachine};
use core::fmt;

/// Why bytes of physical memory could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFault {
    /// The source does not hold this address.
    Absent(PhysAddr),
    /// The hardware says that this memory is broken.
    Poisoned(PhysAddr),
    /// Reading failed.
    Io(PhysAddr, IoError),
}

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadFault::Absent(at) => write!(f, "physical address {at} is not in the vmcore"),
            ReadFault::Poisoned(at) => write!(f, "memory at physical address {at} is broken"),
            ReadFault::Io(at, e) => write!(f, "reading physical address {at}: {e}"),
        }
    }
}

/// A range of physical memory as the source describes it (a PT_LOAD).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// Physical address of the first byte.
    pub phys: PhysAddr,
    /// Virtual address of the first byte; only -E output and old kernels' `phys_base` need it.
    pub virt: VirtAddr,
    /// Offset of the first byte in the source's file.
    pub file_at: u64,
    /// Bytes that the source holds, from the first on; at most `mem_len`.
    pub file_len: u64,
    /// Bytes that exist.
    pub mem_len: u64,
    /// `p_flags`, for -E output.
    pub flags: u32,
    /// `p_align`, for -E output.
    pub align: u64,
}

impl Segment {
    /// One past the last byte that exists.
    pub fn mem_end(&self) -> u64 {
        self.phys.0.saturating_add(self.mem_len)
    }

    /// One past the last byte that the source holds.
    pub fn file_end(&self) -> u64 {
        self.phys.0.saturating_add(self.file_len)
    }
}

/// What machine the memory is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// ELF `e_machine`.
    pub elf_machine: u16,
    /// Byte order.
    pub endian: Endian,
    /// Word size.
    pub word: Word,
}

impl Machine {
    /// What is known about such machines; `None` if tamis has not heard of them.
    pub fn known(self) -> Option<&'static KnownMachine> {
        machine::find(self.elf_machine, self.word, self.endian)
    }

    /// Name as `uname -m` prints it.
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|known| known.name)
    }
}

/// The dead kernel's memory. Wrappers that inject faults, count or trace are Sources too.
pub trait Source {
    /// What machine the memory is of.
    fn machine(&self) -> Machine;

    /// Ranges of memory in the order of the source; they may overlap and need no order.
    fn segments(&self) -> &[Segment];

    /// Gives `each` the segments that have a byte in `[from, until)`; any order will do.
    fn segments_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&Segment)) {
        for segment in self.segments() {
            if segment.phys < until && from.0 < segment.mem_end() {
                each(segment);
            }
        }
    }

    /// The first byte of memory at `from` or later.
    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
        let there = self.segments().iter().filter(|s| from.0 < s.mem_end());
        there.map(|s| s.phys.max(from)).min()
    }

    /// Whether more is missing than [`Source::segments`] tell: a dump of this is incomplete.
    fn is_cut(&self) -> bool {
        false
    }

    /// Tells the page size as soon as it is known; 4 KiB before.
    fn set_page_shift(&mut self, shift: PageShift);

    /// Clears the bits of pages that [`Source::segments`] has but that do not exist; with
    /// `stored`, also those whose data the source does not hold. A dump has bitmaps that say so
    /// page by page; a vmcore says everything with its segments.
    fn clip(&mut self, map: &mut Bitmap<'_>, stored: bool) {
        let _ = (map, stored);
    }

    /// Fills `buf` from `at`, whole or not at all. Bytes that the source does not hold read as
    /// zeros where their page has others that it holds; a page without any is
    /// [`ReadFault::Absent`].
    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadFault>;

    /// The bytes `[at, at + len)` without copying them, where the source can lend them.
    ///
    /// What is lent may turn out to be unreadable only while it is looked at: ask
    /// [`Source::window_broke`] afterwards.
    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]>;

    /// Whether bytes of a lent window had to be replaced by zeros since the last call. If so,
    /// whatever came out of the window is worthless: [`Source::read`] the pages one by one.
    fn window_broke(&mut self) -> bool;

    /// Puts the page `pfn` into `out` as the source has it stored, if that is smaller than a page,
    /// compressed with the codec of this page flag, and to be left as it is; gives its length.
    /// Whether it is the page, reading the page tells.
    fn stored(&mut self, pfn: Pfn, flag: u32, out: &mut [u8]) -> Option<usize> {
        let _ = (pfn, flag, out);
        None
    }

    /// Bytes of the notes.
    fn notes_len(&self) -> u64;

    /// `p_flags` and `p_align` of the notes' program header, which an ELF dump inherits.
    fn notes_flags_and_align(&self) -> (u32, u64) {
        (0, 0)
    }

    /// Fills `buf` with the notes from byte `at` on.
    fn read_notes(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError>;
}
