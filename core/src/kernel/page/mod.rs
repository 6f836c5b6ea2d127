//! What a page is for, read off its `struct page`.
//!
//! Which rule holds is decided by which keys VMCOREINFO has; by the kernel version only where no
//! key decides. Where a key is missing, the class that needs it is kept, and the key is named
//! ([`Classifier::unclassified`]). `core/docs/differences.md` lists where this is stricter than
//! makedumpfile.
//!
//! # How to add a rule
//! 1. What it compares, resolved once, as a field of [`Classifier`].
//! 2. A row of `RULES` in `keys.rs`: the class, the dump levels that drop it, and the function that
//!    looks for the facts.
//! 3. Its place in `rules.rs`: the first rule that matches decides.

mod keys;
mod rules;
mod scan;

pub use rules::Verdict;
pub use scan::Carry;

use crate::endian::{Endian, Word};
use crate::facts::MissingKey;
use crate::level::DumpLevel;
use keys::RULES;

/// A class of pages that this kernel's VMCOREINFO does not let us recognise: its pages are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unclassified {
    /// The class.
    pub kept: &'static str,
    /// The key that would have to be known.
    pub key: MissingKey,
}

/// Where the members of a `struct page` lie.
#[derive(Clone, Copy, Debug)]
struct Layout {
    endian: Endian,
    word: Word,
    size: usize,
    flags: usize,
    mapping: usize,
    mapcount: Option<usize>,
    private: Option<usize>,
    compound_head: Option<usize>,
}

/// How slab pages are told from others: they use other members for their own ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SlabBy {
    /// Not known.
    Unknown,
    /// A page type (6.10 and later).
    Type(u32),
    /// A page flag.
    Flag(u64),
}

/// Large pages: several pages of which the first `struct page` (the head) speaks for all.
#[derive(Clone, Copy, Debug)]
struct Compound {
    /// Flags of a head; 0 where not known.
    head_mask: u64,
    order: OrderAt,
    hugetlb: HugetlbBy,
    /// The largest order that a huge page of this architecture has.
    max_order: u64,
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

/// Flags of page cache. A flag that is not known is 0: no page has it.
#[derive(Clone, Copy, Debug, Default)]
struct Cache {
    lru: u64,
    /// Where not known, every page has private data.
    private: Option<u64>,
    swapcache: u64,
    /// Without it, `swapcache` means something else; 0 where it is a bit of its own.
    swapbacked: u64,
}

/// Blocks of pages whose first page has a page type.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    /// The page type.
    kind: u32,
    /// Their orders are below this one.
    orders: u64,
}

/// Offsets in a `struct page` and values in it, resolved once. A rule whose value is missing never
/// matches.
#[derive(Clone, Copy, Debug)]
pub struct Classifier {
    level: DumpLevel,
    layout: Layout,
    slab: SlabBy,
    compound: Compound,
    /// Whether pages can be told from tails of compound ones.
    tails_known: bool,
    hwpoison: u64,
    cache: Cache,
    user: bool,
    buddy: Option<Blocks>,
    unaccepted: Option<Blocks>,
    offline: Option<u32>,
    /// What each rule lacks.
    missing: [Option<MissingKey>; RULES.len()],
}

impl Classifier {
    /// Classes that this level would drop but that cannot be recognised.
    pub fn unclassified(&self) -> impl Iterator<Item = Unclassified> + '_ {
        let missing = RULES.iter().zip(&self.missing);
        missing.filter_map(|(rule, key)| Some(Unclassified { kept: rule.class, key: (*key)? }))
    }

    /// Bytes of a `struct page`.
    pub fn page_struct(&self) -> usize {
        self.layout.size
    }

    /// Whether looking at the mem_map can drop anything.
    ///
    /// At levels 0 and 1 it is looked at only where broken memory can be recognised, as
    /// makedumpfile does.
    pub fn is_needed(&self) -> bool {
        self.level.needs_mem_map() || self.hwpoison != 0
    }
}
