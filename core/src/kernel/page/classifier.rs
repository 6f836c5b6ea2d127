//! What the rules compare, resolved once.

use crate::endian::{Endian, Word};
use crate::facts::MissingKey;
#[cfg(feature = "free-lists")]
use crate::kernel::free_lists::FreeLists;
use crate::level::DumpLevel;

/// Number of rules that need facts.
pub(super) const RULES: usize = 10;

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
pub(super) struct Layout {
    pub(super) endian: Endian,
    pub(super) word: Word,
    pub(super) size: usize,
    pub(super) flags: usize,
    pub(super) mapping: usize,
    /// The reference count.
    pub(super) count: usize,
    pub(super) mapcount: Option<usize>,
    pub(super) private: Option<usize>,
    pub(super) compound_head: Option<usize>,
    /// The byte of that whose lowest bit tails have; past the structure where it is not known.
    pub(super) tail_at: usize,
    /// The two pointers of the list that a page is on.
    pub(super) lru: Option<usize>,
}

/// How slab pages are distinguished from others: they use other members for their own ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SlabBy {
    /// Not known.
    Unknown,
    /// A page type (6.10 and later).
    Type(u32),
    /// A page flag.
    Flag(u64),
}

/// Large pages: several pages of which the first `struct page` (the head) speaks for all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compound {
    /// Flags of a head; 0 where not known.
    pub(super) head_mask: u64,
    pub(super) order: OrderAt,
    pub(super) hugetlb: HugetlbBy,
    /// The largest order that a huge page of this architecture has.
    pub(super) max_order: u64,
}

/// Where the order (log2 of the pages) of a compound page is. It stands in the second `struct
/// page` (the first tail).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OrderAt {
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
pub(super) enum HugetlbBy {
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
pub(super) struct Cache {
    pub(super) lru: u64,
    /// Where not known, every page has private data.
    pub(super) private: Option<u64>,
    pub(super) swapcache: u64,
    /// Without it, `swapcache` means something else; 0 where it is a bit of its own.
    pub(super) swapbacked: u64,
}

/// Blocks of pages whose first page has a page type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    /// The page type.
    pub(super) kind: u32,
    /// Their orders are below this one.
    pub(super) orders: u64,
}

/// Offsets in a `struct page` and values in it, resolved once. A rule whose value is missing never
/// matches.
#[derive(Clone, Copy, Debug)]
pub struct Classifier {
    pub(super) level: DumpLevel,
    pub(super) layout: Layout,
    pub(super) slab: SlabBy,
    pub(super) compound: Compound,
    /// Whether pages can be distinguished from tails of compound pages.
    pub(super) tails_known: bool,
    pub(super) hwpoison: u64,
    pub(super) cache: Cache,
    pub(super) user: bool,
    pub(super) buddy: Option<Blocks>,
    /// Where free pages are looked for, if nothing marks them.
    #[cfg(feature = "free-lists")]
    pub(super) free_lists: Option<FreeLists>,
    /// Whether there are any.
    #[cfg(feature = "free-lists")]
    pub(super) lists_known: bool,
    pub(super) unaccepted: Option<Blocks>,
    pub(super) offline: Option<u32>,
    /// What each rule lacks.
    pub(super) missing: [Option<Unclassified>; RULES],
}

impl Classifier {
    /// Classes that this level would drop but that cannot be recognised.
    pub fn unclassified(&self) -> impl Iterator<Item = Unclassified> + '_ {
        self.missing.iter().flatten().copied()
    }

    /// Whether a fact is missing that the kernel may have elsewhere, also the one for the lack of which no class is
    /// kept: which page cache has private data. A kernel that does not name the flag of hwpoison pages was built
    /// without it.
    #[cfg(feature = "symbols")]
    pub fn lacks_facts(&self) -> bool {
        let private = self.cache.lru != 0 && self.cache.private.is_none();
        private || self.unclassified().next().is_some()
    }

    /// The bits of the level of which at least one class can be recognised.
    pub fn level_in_effect(&self) -> DumpLevel {
        let large = self.compound.head_mask != 0 && self.compound.hugetlb != HugetlbBy::Unknown;
        let mut known = DumpLevel::ZERO;
        known.set(DumpLevel::CACHE | DumpLevel::CACHE_PRIVATE, self.cache.lru != 0);
        known.set(DumpLevel::USER, self.user && (large || self.slab != SlabBy::Unknown));
        #[cfg(feature = "free-lists")]
        let listed = self.free_lists.is_some() && self.lists_known;
        #[cfg(not(feature = "free-lists"))]
        let listed = false;
        known.set(DumpLevel::FREE, listed || self.buddy.is_some() || self.unaccepted.is_some());
        self.level & known
    }

    /// The lists that free pages are looked for on, if nothing marks them.
    #[cfg(feature = "free-lists")]
    pub(crate) fn free_lists(&self) -> Option<FreeLists> {
        self.free_lists
    }

    /// Says whether there are such lists, which only the kernel's memory tells.
    #[cfg(feature = "free-lists")]
    pub(crate) fn set_lists_known(&mut self, known: bool) {
        self.lists_known = known;
    }

    /// Bytes of a `struct page`.
    pub fn page_struct(&self) -> usize {
        self.layout.size
    }

    /// Whether looking at the mem_map can drop anything.
    ///
    /// At levels 0 and 1 it is looked at only where hwpoison pages can be recognised, as
    /// makedumpfile does.
    pub fn is_needed(&self) -> bool {
        self.level.needs_mem_map() || self.hwpoison != 0
    }
}
