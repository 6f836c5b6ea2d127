//! What a page is for, read off its `struct page`.
//!
//! Which rule holds is decided by which keys VMCOREINFO has; a kernel version only where no key
//! tells. Where a key is missing, the class that needs it is kept, and the key is named
//! ([`Classifier::doubts`]). `core/docs/differences.md` lists where this is stricter than
//! makedumpfile.

use crate::arch::Arch;
use crate::bitmap::Bitmap;
use crate::endian::{Endian, Word};
use crate::level::Level;
use crate::memory::Machine;
use crate::tally::{Judged, Reason};
use crate::units::{Pfn, PfnSpan};
use crate::vmcoreinfo::{Info, MissingKey, Version};
use crate::wire::vmcoreinfo::Kind;

/// A class that cannot be told from others, so that its pages are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doubt {
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
    level: Level,
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
    doubts: [Option<Doubt>; 12],
}

/// What becomes of a page, and of those after it that share its fate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// So many pages from this one on go, for this reason.
    Drop(Reason, u64),
}

/// A range that is dropped and goes on past what was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carry {
    /// One past its last pfn.
    pub end: Pfn,
    /// Why it is dropped.
    pub reason: Reason,
}

impl Classifier {
    /// Resolves all keys. An error means that nothing can be told about any page: `SIZE(page)`,
    /// `OFFSET(page.flags)`, `OFFSET(page.mapping)` or the reference count is missing.
    pub fn new(
        info: &Info<'_>,
        arch: &Arch,
        machine: Machine,
        page_shift: u32,
        level: Level,
    ) -> Result<Classifier, MissingKey> {
        let Machine { endian, word, .. } = machine;
        let long = word.bytes();
        let size = info.need(Kind::Size, "page")? as usize;
        // A member that does not lie in the structure is none.
        let member = |name: &str, len: usize| {
            info.offset(name).filter(|o| o.checked_add(len).is_some_and(|end| end <= size))
        };
        if info.get(Kind::Offset, "page._refcount").is_none() {
            info.get(Kind::Offset, "page._count")
                .ok_or(MissingKey(Kind::Offset, "page._refcount"))?;
        }
        if !(2 * long..=4096).contains(&size) {
            return Err(MissingKey(Kind::Size, "page"));
        }
        let need = |name: &'static str| member(name, long).ok_or(MissingKey(Kind::Offset, name));
        let number = |name: &str| info.get(Kind::Number, name);
        // Flag numbers are below 64, page types are 32 bits wide.
        let flag = |name: &str| number(name).filter(|&n| n < 8 * long as u64).map(|n| 1u64 << n);
        let kind = |name: &str| number(name).map(|v| v as u32);
        let version = info.version();
        let before = |v: Version| version.is_some_and(|have| have < v);
        // Before 2.6.26 the flags were fixed numbers and not all of them are exported.
        let fixed = |bit: u64| before(Version(2, 6, 26)).then_some(1 << bit);

        let mut c = Classifier {
            level,
            endian,
            word,
            size,
            flags: need("page.flags")?,
            mapping: need("page.mapping")?,
            mapcount: member("page._mapcount", 4),
            private: member("page.private", long),
            compound_head: member("page.compound_head", long)
                .or_else(|| member("page.compound_info", long)),
            tails_known: true,
            head_mask: number("PG_head_mask").unwrap_or(0),
            lru: 0,
            private_flag: flag("PG_private").or(fixed(11)),
            swapcache: 0,
            swapbacked: 0,
            hwpoison: flag("PG_hwpoison").unwrap_or(0),
            slab: SlabBy::Unknown,
            buddy: None,
            unaccepted: None,
            offline: None,
            order: OrderAt::Unknown,
            hugetlb: HugetlbBy::Unknown,
            max_order: arch.max_compound_order(page_shift).into(),
            doubts: [None; 12],
        };
        let has_mapcount = c.mapcount.is_some();
        c.slab = match kind("PAGE_SLAB_MAPCOUNT_VALUE").filter(|_| has_mapcount) {
            Some(value) => SlabBy::Type(value),
            // Exported from 3.10 to 6.9; before that it is bit 7 in every configuration.
            None => match flag("PG_slab").or(before(Version(3, 10, 0)).then_some(1 << 7)) {
                Some(mask) => SlabBy::Flag(mask),
                None => SlabBy::Unknown,
            },
        };
        // Kernels before 4.6 do not export it; their tails match no class by themselves.
        c.tails_known = c.compound_head.is_some() || before(Version(4, 6, 0));
        c.resolve_compound(info, &member, &kind, &flag, &before);

        // The names of today, or those that this kernel would have had.
        let slab_key = MissingKey(
            Kind::Number,
            if before(Version(6, 10, 0)) { "PG_slab" } else { "PAGE_SLAB_MAPCOUNT_VALUE" },
        );
        let slab_known = c.slab != SlabBy::Unknown;
        let head_key = MissingKey(
            Kind::Offset,
            if before(Version(7, 1, 0)) { "page.compound_head" } else { "page.compound_info" },
        );

        if c.head_mask == 0 {
            let key = MissingKey(Kind::Number, "PG_head_mask");
            c.doubt("large pages, but for their first page", key);
        }
        if level.cache() || level.cache_private() {
            let class = "page cache";
            match flag("PG_lru").or(fixed(5)) {
                None => c.doubt(class, MissingKey(Kind::Number, "PG_lru")),
                Some(_) if !c.tails_known => c.doubt(class, head_key),
                Some(_) if c.private_flag.is_none() && !level.cache_private() => {
                    c.doubt(class, MissingKey(Kind::Number, "PG_private"));
                }
                Some(mask) => {
                    c.lru = mask;
                    c.resolve_swapcache(&flag, &fixed, &number);
                    if !slab_known {
                        c.doubt("page cache that may be anonymous", slab_key);
                    }
                }
            }
        }
        if level.user() {
            if !c.tails_known {
                c.doubt("memory of processes", head_key);
            } else if !slab_known {
                c.doubt("anonymous memory", slab_key);
            }
            if c.head_mask != 0 && c.hugetlb == HugetlbBy::Unknown {
                let key = MissingKey(Kind::Number, "PAGE_HUGETLB_MAPCOUNT_VALUE");
                c.doubt("huge pages of hugetlbfs", key);
            }
        }
        let orders = info.get(Kind::Length, "zone.free_area").filter(|&n| (1..=64).contains(&n));
        if level.free() {
            let value = kind("PAGE_BUDDY_MAPCOUNT_VALUE");
            let missing = [
                (value.is_none(), MissingKey(Kind::Number, "PAGE_BUDDY_MAPCOUNT_VALUE")),
                (!has_mapcount, MissingKey(Kind::Offset, "page._mapcount")),
                (c.private.is_none(), MissingKey(Kind::Offset, "page.private")),
                (orders.is_none(), MissingKey(Kind::Length, "zone.free_area")),
                (!slab_known, slab_key),
            ];
            match (missing.iter().find(|m| m.0), value, orders) {
                (None, Some(value), Some(orders)) => c.buddy = Some((value, orders)),
                (Some((_, key)), ..) => c.doubt("free memory", *key),
                _ => {}
            }
            if let (Some(value), true) = (kind("PAGE_UNACCEPTED_MAPCOUNT_VALUE"), has_mapcount) {
                match orders {
                    Some(orders) => c.unaccepted = Some((value, orders)),
                    None => {
                        c.doubt("unaccepted memory", MissingKey(Kind::Length, "zone.free_area"))
                    }
                }
            }
        }
        if let Some(value) = kind("PAGE_OFFLINE_MAPCOUNT_VALUE") {
            let class = "offline memory";
            if !has_mapcount {
                c.doubt(class, MissingKey(Kind::Offset, "page._mapcount"));
            } else if !slab_known {
                c.doubt(class, slab_key);
            } else {
                c.offline = Some(value);
            }
        }
        Ok(c)
    }

    /// Order of compound pages and the mark of hugetlbfs.
    fn resolve_compound(
        &mut self,
        info: &Info<'_>,
        member: &dyn Fn(&str, usize) -> Option<usize>,
        kind: &dyn Fn(&str) -> Option<u32>,
        flag: &dyn Fn(&str) -> Option<u64>,
        before: &dyn Fn(Version) -> bool,
    ) {
        let size = self.size;
        // Offsets in a folio count from the head: its second page starts at SIZE(page).
        let in_tail = |name: &str| info.offset(name)?.checked_sub(size).filter(|&o| o < size);
        let dtor_id = info.get(Kind::Number, "HUGETLB_PAGE_DTOR");
        let dtor_address = info.get(Kind::Symbol, "free_huge_page");
        let long = self.word.bytes();
        if let (Some(value), true) = (kind("PAGE_HUGETLB_MAPCOUNT_VALUE"), self.mapcount.is_some())
        {
            self.order = OrderAt::FlagsByte;
            self.hugetlb = HugetlbBy::Type(value);
        } else if let Some(mask) = flag("PG_hugetlb") {
            self.order = OrderAt::FlagsByte;
            self.hugetlb = HugetlbBy::TailFlag(mask);
        } else if let (Some(order), Some(dtor)) =
            (in_tail("folio._folio_order"), in_tail("folio._folio_dtor"))
        {
            self.order = OrderAt::Byte(order);
            if let Some(id) = dtor_id {
                self.hugetlb = HugetlbBy::DtorByte(dtor, id);
            }
        } else if let (Some(order), Some(dtor)) =
            (member("page.compound_order", 1), member("page.compound_dtor", 1))
        {
            // The two members are neighbours: their distance is their width.
            let wide = match order.abs_diff(dtor) {
                1 => false,
                2 => true,
                _ => before(Version(4, 16, 0)),
            };
            match (dtor_id, dtor_address) {
                (Some(id), _) if wide => {
                    self.order = OrderAt::Short(order);
                    self.hugetlb = HugetlbBy::DtorShort(dtor, id);
                }
                (Some(id), _) => {
                    self.order = OrderAt::Byte(order);
                    self.hugetlb = HugetlbBy::DtorByte(dtor, id);
                }
                (None, Some(address)) if before(Version(4, 4, 0)) => {
                    self.order = OrderAt::Word(order);
                    self.hugetlb = HugetlbBy::DtorPointer(dtor, address);
                }
                _ if before(Version(4, 4, 0)) => self.order = OrderAt::Word(order),
                _ if wide => self.order = OrderAt::Short(order),
                _ => self.order = OrderAt::Byte(order),
            }
        } else if before(Version(4, 4, 0))
            && let (Some(lru), Some(next), Some(prev)) = (
                member("page.lru", 2 * long),
                info.offset("list_head.next").filter(|o| *o <= long),
                info.offset("list_head.prev").filter(|o| *o <= long),
            )
        {
            self.order = OrderAt::Word(lru + prev);
            if let Some(address) = dtor_address {
                self.hugetlb = HugetlbBy::DtorPointer(lru + next, address);
            }
        }
        // Two-byte and word-wide members must not reach past the structure.
        let fits = |at: usize, len: usize| at + len <= size;
        let bad_order = match self.order {
            OrderAt::Short(at) => !fits(at, 2),
            OrderAt::Word(at) => !fits(at, long),
            _ => false,
        };
        let bad_dtor = match self.hugetlb {
            HugetlbBy::DtorShort(at, _) => !fits(at, 2),
            HugetlbBy::DtorPointer(at, _) => !fits(at, long),
            _ => false,
        };
        if bad_order || bad_dtor {
            self.order = OrderAt::Unknown;
            self.hugetlb = HugetlbBy::Unknown;
        }
    }

    /// Swap cache pages need not be on an LRU list. From 4.10 on PG_swapcache is another name for
    /// a bit that others use, meaningful only together with PG_swapbacked.
    fn resolve_swapcache(
        &mut self,
        flag: &dyn Fn(&str) -> Option<u64>,
        fixed: &dyn Fn(u64) -> Option<u64>,
        number: &dyn Fn(&str) -> Option<u64>,
    ) {
        let class = "swap cache off the LRU lists";
        let Some(swapcache) = flag("PG_swapcache").or(fixed(15)) else {
            return self.doubt(class, MissingKey(Kind::Number, "PG_swapcache"));
        };
        // Without the other number nothing says that the bit is not shared.
        let own_bit = fixed(15).is_some()
            || number("PG_private").zip(number("PG_swapcache")).is_some_and(|(p, s)| p < s);
        match flag("PG_swapbacked") {
            Some(swapbacked) => {
                self.swapcache = swapcache;
                self.swapbacked = swapbacked;
            }
            // A shared bit is numbered below PG_private; a bit of its own is above.
            None if own_bit => {
                self.swapcache = swapcache;
            }
            None => {
                // Kernels without a shared bit do not export the other name.
                let private = number("PG_private").is_none();
                let name = if private { "PG_private" } else { "PG_swapbacked" };
                self.doubt(class, MissingKey(Kind::Number, name));
            }
        }
    }

    fn doubt(&mut self, kept: &'static str, key: MissingKey) {
        if let Some(slot) = self.doubts.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(Doubt { kept, key });
        }
    }

    /// Classes that this level would drop but that cannot be told apart.
    pub fn doubts(&self) -> impl Iterator<Item = Doubt> + '_ {
        self.doubts.iter().flatten().copied()
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
        self.level.number() & !1 != 0 || self.hwpoison != 0
    }

    /// Judges `page`, the `struct page` of `pfn`; `next` is the one after it, where there is one.
    pub fn classify(&self, page: &[u8], next: Option<&[u8]>, pfn: Pfn) -> Verdict {
        self.judge(&Any { endian: self.endian, word: self.word }, page, next, pfn)
    }

    /// The rules, in order; the first that matches decides.
    #[inline]
    fn judge<R: Fields>(&self, read: &R, page: &[u8], next: Option<&[u8]>, pfn: Pfn) -> Verdict {
        let flags = read.word(page, self.flags);
        let tail = self.compound_head.is_some_and(|at| read.word(page, at) & 1 != 0);
        if tail {
            // Its head decides for it, unless it is broken itself.
            return match flags & self.hwpoison {
                0 => Verdict::Keep,
                _ => Verdict::Drop(Reason::HwPoison, 1),
            };
        }
        let kind = self.mapcount.map_or(0, |at| read.u32(page, at));
        let slab = match self.slab {
            SlabBy::Type(value) => kind == value,
            SlabBy::Flag(mask) => flags & mask != 0,
            SlabBy::Unknown => false,
        };
        if let Some((value, orders)) = self.buddy
            && kind == value
            && !slab
        {
            let order = self.private.map_or(u64::MAX, |at| read.word(page, at));
            // The buddy allocator only makes naturally aligned blocks below the highest order.
            return match flags & self.hwpoison {
                _ if order < orders && aligned(pfn, order) => {
                    Verdict::Drop(Reason::Free, 1 << order)
                }
                0 => Verdict::Keep,
                _ => Verdict::Drop(Reason::HwPoison, 1),
            };
        }
        if let Some((value, orders)) = self.unaccepted
            && kind == value
        {
            return match (orders - 1, flags & self.hwpoison) {
                (order, _) if aligned(pfn, order) => Verdict::Drop(Reason::Free, 1 << order),
                (_, 0) => Verdict::Keep,
                _ => Verdict::Drop(Reason::HwPoison, 1),
            };
        }
        let odd_mapping = read.word(page, self.mapping) & 1 != 0;
        let cache = flags & self.lru != 0
            || (flags & self.swapcache != 0
                && (self.swapbacked == 0 || flags & self.swapbacked != 0));
        // Where slab pages cannot be recognised, a page that might be anonymous is no cache.
        if cache && self.lru != 0 && (!odd_mapping || slab) {
            let private = self.private_flag.is_none_or(|mask| flags & mask != 0);
            if self.level.cache() && !private {
                return Verdict::Drop(Reason::Cache, self.compound(read, page, flags, next, pfn).0);
            }
            if self.level.cache_private() {
                let reason = if private { Reason::CachePrivate } else { Reason::Cache };
                return Verdict::Drop(reason, self.compound(read, page, flags, next, pfn).0);
            }
        }
        if self.level.user() && self.tails_known {
            let anon = odd_mapping && !slab && self.slab != SlabBy::Unknown;
            if anon || flags & self.head_mask != 0 {
                let (pages, hugetlb) = self.compound(read, page, flags, next, pfn);
                if anon || hugetlb {
                    return Verdict::Drop(Reason::User, pages);
                }
            }
        }
        if flags & self.hwpoison != 0 {
            let pages = self.compound(read, page, flags, next, pfn).0;
            return Verdict::Drop(Reason::HwPoison, pages);
        }
        if self.offline == Some(kind) && !slab {
            let pages = self.compound(read, page, flags, next, pfn).0;
            return Verdict::Drop(Reason::Offline, pages);
        }
        Verdict::Keep
    }

    /// Number of pages of the compound page whose head this is (1 for others), and whether it is
    /// one of hugetlbfs. An order that cannot be is taken as 0.
    fn compound<R: Fields>(
        &self,
        read: &R,
        page: &[u8],
        flags: u64,
        next: Option<&[u8]>,
        pfn: Pfn,
    ) -> (u64, bool) {
        let (0.., Some(next)) = (flags & self.head_mask, next) else { return (1, false) };
        if flags & self.head_mask == 0 {
            return (1, false);
        }
        let order = match self.order {
            OrderAt::Unknown => 0,
            OrderAt::FlagsByte => read.word(next, self.flags) & 0xff,
            OrderAt::Byte(at) => read.byte(next, at),
            OrderAt::Short(at) => read.short(next, at),
            OrderAt::Word(at) => read.word(next, at),
        };
        let hugetlb = match self.hugetlb {
            HugetlbBy::Unknown => false,
            HugetlbBy::Type(value) => self.mapcount.is_some_and(|at| read.u32(page, at) == value),
            HugetlbBy::TailFlag(mask) => read.word(next, self.flags) & mask != 0,
            HugetlbBy::DtorByte(at, id) => read.byte(next, at) == id,
            HugetlbBy::DtorShort(at, id) => read.short(next, at) == id,
            HugetlbBy::DtorPointer(at, address) => read.word(next, at) == address,
        };
        let plausible = order <= self.max_order && aligned(pfn, order);
        (if plausible { 1 << order } else { 1 }, hugetlb)
    }

    /// Judges the pages from `first` up to `until` whose `struct page`s are in `slice` (which may
    /// hold more, to let the last be judged with the one after it) and clears the bits of those
    /// that go.
    ///
    /// Pages whose bit is clear already are not looked at. Gives the first pfn that is not
    /// decided yet, which is past `until` where a range runs over it, and the rest of a range that
    /// runs over the end of `map`.
    pub fn scan(
        &self,
        slice: &[u8],
        first: Pfn,
        until: Pfn,
        map: &mut Bitmap<'_>,
        tally: &mut dyn Judged,
    ) -> (Pfn, Option<Carry>) {
        match (self.endian, self.word, self.size) {
            // The usual layout with its constants inlined.
            (Endian::Little, Word::Bits64, 64) => {
                self.scan_sized(&Le64, slice, 64, first, until, map, tally)
            }
            (endian, word, size) => {
                self.scan_sized(&Any { endian, word }, slice, size, first, until, map, tally)
            }
        }
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "inlined into `scan`, twice")]
    fn scan_sized<R: Fields>(
        &self,
        read: &R,
        slice: &[u8],
        size: usize,
        first: Pfn,
        until: Pfn,
        map: &mut Bitmap<'_>,
        tally: &mut dyn Judged,
    ) -> (Pfn, Option<Carry>) {
        let mut pfn = first;
        while pfn < until {
            // Runs of set bits, no further than this: what is not there needs no look.
            let rest = until.0 - pfn.0;
            let Some(run) = map.next_run(pfn, rest).filter(|run| run.start < until) else {
                return (until, None);
            };
            pfn = run.start;
            let end = run.end.min(until);
            while pfn < end {
                let at = (pfn.0 - first.0) as usize * size;
                let Some(page) = slice.get(at..at + size) else { return (until, None) };
                let next = slice.get(at + size..at + 2 * size);
                match self.judge(read, page, next, pfn) {
                    Verdict::Keep => pfn.0 += 1,
                    Verdict::Drop(reason, pages) => {
                        let stop = Pfn(pfn.0.saturating_add(pages));
                        let span = PfnSpan::new(pfn, stop);
                        let gone = map.clear_span(span);
                        tally.dropped(reason, span, gone);
                        pfn = stop;
                        if stop > map.span().end {
                            return (stop, Some(Carry { end: stop, reason }));
                        }
                    }
                }
            }
        }
        (pfn, None)
    }
}

/// Whether a block of `1 << order` pages can begin at `pfn`.
fn aligned(pfn: Pfn, order: u64) -> bool {
    order < 64 && pfn.0 & ((1 << order) - 1) == 0
}

/// Reads members of a `struct page`; what lies outside reads as 0.
trait Fields {
    fn order(&self) -> (Endian, Word);

    #[inline(always)]
    fn word(&self, page: &[u8], at: usize) -> u64 {
        let (endian, word) = self.order();
        endian.word(word, page, at).unwrap_or(0)
    }

    #[inline(always)]
    fn u32(&self, page: &[u8], at: usize) -> u32 {
        self.order().0.u32(page, at).unwrap_or(0)
    }

    #[inline(always)]
    fn short(&self, page: &[u8], at: usize) -> u64 {
        self.order().0.u16(page, at).unwrap_or(0).into()
    }

    #[inline(always)]
    fn byte(&self, page: &[u8], at: usize) -> u64 {
        page.get(at).copied().unwrap_or(0).into()
    }
}

/// Little-endian 64-bit machines, with nothing left to decide at run time.
struct Le64;

impl Fields for Le64 {
    #[inline(always)]
    fn order(&self) -> (Endian, Word) {
        (Endian::Little, Word::Bits64)
    }
}

/// Any other machine.
struct Any {
    endian: Endian,
    word: Word,
}

impl Fields for Any {
    #[inline(always)]
    fn order(&self) -> (Endian, Word) {
        (self.endian, self.word)
    }
}
