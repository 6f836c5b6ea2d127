//! What a page is for, read off its `struct page`.
//!
//! Which rule holds is decided by which keys VMCOREINFO has; a kernel version only where no key
//! tells. Where a key is missing, the class that needs it is kept, and the key is named
//! ([`Classifier::unclassified`]). `core/docs/differences.md` lists where this is stricter than
//! makedumpfile.

mod keys;
mod rules;
mod scan;

pub use rules::Verdict;
pub use scan::Carry;

use crate::endian::{Endian, Word};
use crate::facts::MissingKey;
use crate::level::DumpLevel;

/// A class that cannot be told from others, so that its pages are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unclassified {
    /// The class.
    pub kept: &'static str,
    /// What would have to be known.
    pub key: MissingKey,
}

/// Where the order (log2 of the pages) of a compound page is. It stands in the second `struct
/// page` (the first tail).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OrderAt {
    /// Nowhere: every page counts for itself.
    Unknown,
    /// Low byte of the flags word (6.6 and later).
    FlagsByte,
    /// A byte (4.16 to 6.5).
    Byte(usize),
    /// 16 bits (4.4 to 4.15).
    Short(usize),
    /// An `unsigned long` (before 4.4).
    Word(usize),
}

/// What makes a compound page one of hugetlbfs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HugetlbBy {
    /// Not known.
    Unknown,
    /// A page type in the head's `_mapcount` (6.9 and later).
    Type(u32),
    /// A bit in the flags of the first tail (6.6 to 6.8).
    TailFlag(u64),
    /// The destructor's number in the first tail, a byte (4.16 to 6.5).
    DtorByte(usize, u64),
    /// The same in 16 bits (4.4 to 4.15).
    DtorShort(usize, u64),
    /// The destructor's address in the first tail (before 4.4).
    DtorPointer(usize, u64),
}

/// How slab pages are told from others: they use other fields for their own ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SlabBy {
    Unknown,
    /// A page type (6.10 and later).
    Type(u32),
    /// A page flag.
    Flag(u64),
}

/// Offsets in a `struct page` and values in it, resolved once.
#[derive(Clone, Copy, Debug)]
pub struct Classifier {
    level: DumpLevel,
    endian: Endian,
    word: Word,
    size: usize,
    flags: usize,
    mapping: usize,
    mapcount: Option<usize>,
    private: Option<usize>,
    compound_head: Option<usize>,
    /// Whether pages can be told from tails of compound ones.
    tails_known: bool,
    head_mask: u64,
    lru: u64,
    private_flag: Option<u64>,
    swapcache: u64,
    swapbacked: u64,
    hwpoison: u64,
    slab: SlabBy,
    /// Value of a free block's `_mapcount`, number of orders.
    buddy: Option<(u32, u64)>,
    unaccepted: Option<(u32, u64)>,
    offline: Option<u32>,
    order: OrderAt,
    hugetlb: HugetlbBy,
    max_order: u64,
    unclassified: [Option<Unclassified>; 12],
}

impl Classifier {
    /// Classes that this level would drop but that cannot be told apart.
    pub fn unclassified(&self) -> impl Iterator<Item = Unclassified> + '_ {
        self.unclassified.iter().flatten().copied()
    }

    /// Bytes of a `struct page`.
    pub fn page_struct(&self) -> usize {
        self.size
    }

    /// Whether looking at the mem_map can drop anything.
    ///
    /// At levels 0 and 1 it is looked at only where broken memory can be recognised, as
    /// makedumpfile does.
    pub fn is_needed(&self) -> bool {
        self.level.needs_mem_map() || self.hwpoison != 0
    }
}
