//! Which facts each rule needs: one resolver a rule.

use super::classifier::{
    self, Blocks, Cache, Classifier, Compound, HugetlbBy, Layout, OrderAt, SlabBy, Unclassified,
};
use crate::arch::Arch;
use crate::endian::{Endian, Word};
use crate::facts::{Facts, KernelVersion, MissingKey};
#[cfg(feature = "free-lists")]
use crate::kernel::free_lists::FreeLists;
use crate::level::DumpLevel;
use crate::memory::Machine;
use crate::wire::vmcoreinfo::Kind;

/// A rule that needs facts.
struct Rule {
    /// The pages that are kept where a fact is missing.
    class: &'static str,
    /// The levels that drop them.
    levels: DumpLevel,
    /// Looks for the facts.
    resolve: fn(&mut Classifier, &Keys<'_>) -> Result<(), MissingKey>,
}

/// Page cache, with private data or without.
const CACHES: DumpLevel = DumpLevel::CACHE.union(DumpLevel::CACHE_PRIVATE);
/// At level 0, too, where hwpoison pages (large ones by their heads) and offline memory are recognised.
const EVERY: DumpLevel = DumpLevel::empty();

/// All of them. Later ones may need what earlier ones resolved.
const RULES: [Rule; classifier::RULES] = [
    Rule { class: "large pages, but for their first page", levels: EVERY, resolve: large },
    Rule { class: "page cache", levels: CACHES, resolve: cache },
    Rule { class: "swap cache off the LRU lists", levels: CACHES, resolve: swap_cache },
    Rule { class: "page cache that may be anonymous", levels: CACHES, resolve: cache_or_slab },
    Rule { class: "user pages", levels: DumpLevel::USER, resolve: user },
    Rule { class: "anonymous memory", levels: DumpLevel::USER, resolve: anonymous },
    Rule { class: "huge pages of hugetlbfs", levels: DumpLevel::USER, resolve: hugetlbfs },
    Rule { class: "free memory", levels: DumpLevel::FREE, resolve: free },
    Rule { class: "unaccepted memory", levels: DumpLevel::FREE, resolve: unaccepted },
    Rule { class: "offline memory", levels: EVERY, resolve: offline },
];

fn offset(name: &'static str) -> MissingKey {
    MissingKey(Kind::Offset, name)
}

fn number(name: &'static str) -> MissingKey {
    MissingKey(Kind::Number, name)
}

/// The facts of one kernel, as the rules ask for them.
struct Keys<'f> {
    facts: &'f dyn Facts,
    version: Option<KernelVersion>,
    word: Word,
    /// Bytes of a `struct page`.
    size: usize,
}

impl Keys<'_> {
    /// Offset of a member of `len` bytes, if it is aligned and all of it lies in the structure.
    fn member(&self, name: &str, len: usize) -> Option<usize> {
        let align = len.min(self.word.bytes());
        let inside = |o: &usize| o.checked_add(len).is_some_and(|end| end <= self.size);
        self.facts.offset(name).filter(inside).filter(|o| o % align == 0)
    }

    /// Offset in the second structure of a folio. Offsets in a folio count from the head: its
    /// second page starts at `SIZE(page)`.
    fn in_tail(&self, name: &str) -> Option<usize> {
        self.facts.offset(name)?.checked_sub(self.size).filter(|&o| o < self.size)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.facts.get(Kind::Number, name)
    }

    /// The mask of a page flag, which is exported as the number of its bit.
    fn flag(&self, name: &str) -> Option<u64> {
        let bits = 8 * self.word.bytes() as u64;
        self.number(name).filter(|&n| n < bits).map(|n| 1u64 << n)
    }

    /// As [`Keys::flag`]; before 2.6.26 the flags were fixed numbers, not all of which are
    /// exported.
    fn flag_or_fixed(&self, name: &str, bit: u32) -> Option<u64> {
        self.flag(name).or(self.flags_fixed().then_some(1 << bit))
    }

    fn flags_fixed(&self) -> bool {
        self.before(KernelVersion(2, 6, 26))
    }

    /// A page type, of 32 bits.
    fn kind(&self, name: &str) -> Option<u32> {
        self.number(name).map(|v| v as u32)
    }

    /// Whether the kernel is known to be older than `version`.
    fn before(&self, version: KernelVersion) -> bool {
        self.version.is_some_and(|have| have < version)
    }

    /// Number of orders of free blocks.
    fn orders(&self) -> Option<u64> {
        self.facts.get(Kind::Length, "zone.free_area").filter(|n| (1..=64).contains(n))
    }

    /// What would tell slab pages from others: the key of today, or the one that this kernel would
    /// have had.
    fn slab_key(&self) -> MissingKey {
        let old = self.before(KernelVersion(6, 10, 0));
        number(if old { "PG_slab" } else { "PAGE_SLAB_MAPCOUNT_VALUE" })
    }

    /// The same for tails.
    fn head_key(&self) -> MissingKey {
        let old = self.before(KernelVersion(7, 1, 0));
        offset(if old { "page.compound_head" } else { "page.compound_info" })
    }
}

impl Classifier {
    /// Resolves all keys. Without `SIZE(page)`, `OFFSET(page.flags)`, `OFFSET(page.mapping)` and
    /// the reference count no page can be classified.
    pub fn new(
        facts: &dyn Facts,
        arch: &Arch,
        machine: Machine,
        page_shift: u32,
        level: DumpLevel,
    ) -> Result<Classifier, MissingKey> {
        let size = facts.need(Kind::Size, "page")? as usize;
        let keys = Keys { facts, version: facts.version(), word: machine.word, size };
        let layout = layout(&keys, machine)?;
        let mut classifier = Classifier {
            level,
            slab: slab(&keys, &layout),
            compound: compound(&keys, &layout, arch.max_compound_order(page_shift)),
            // Kernels before 4.6 do not export it; their tails match no class by themselves.
            tails_known: layout.compound_head.is_some() || keys.before(KernelVersion(4, 6, 0)),
            layout,
            hwpoison: keys.flag("PG_hwpoison").unwrap_or(0),
            cache: Cache::default(),
            user: false,
            buddy: None,
            #[cfg(feature = "free-lists")]
            free_lists: None,
            #[cfg(feature = "free-lists")]
            lists_known: true,
            unaccepted: None,
            offline: None,
            missing: [None; classifier::RULES],
        };
        let mut missing = [None; classifier::RULES];
        for (rule, missing) in RULES.iter().zip(&mut missing) {
            if rule.levels.is_empty() || level.intersects(rule.levels) {
                let resolved = (rule.resolve)(&mut classifier, &keys);
                *missing = resolved.err().map(|key| Unclassified { kept: rule.class, key });
            }
        }
        classifier.missing = missing;
        Ok(classifier)
    }

    /// The key without which slab pages cannot be distinguished from others.
    fn need_slab(&self, keys: &Keys<'_>) -> Result<(), MissingKey> {
        if self.slab == SlabBy::Unknown { Err(keys.slab_key()) } else { Ok(()) }
    }

    /// The key without which pages cannot be distinguished from tails of compound pages.
    fn need_tails(&self, keys: &Keys<'_>) -> Result<(), MissingKey> {
        if self.tails_known { Ok(()) } else { Err(keys.head_key()) }
    }

    fn need_mapcount(&self) -> Result<usize, MissingKey> {
        self.layout.mapcount.ok_or(offset("page._mapcount"))
    }
}

/// Where the members are. Those that cannot all be where VMCOREINFO says contradict each other: which
/// of them is wrong, nothing tells.
fn layout(keys: &Keys<'_>, machine: Machine) -> Result<Layout, MissingKey> {
    let Machine { endian, word, .. } = machine;
    let long = word.bytes();
    if !(2 * long..=4096).contains(&keys.size) || !keys.size.is_multiple_of(long) {
        return Err(MissingKey(Kind::Size, "page"));
    }
    let (mut taken, mut clash) = (0u64, None);
    let mut place = |name: &'static str, len: usize| {
        let at = keys.member(name, len)?;
        // A bit for every four bytes, as far as members ever lie.
        let bits = ((1u64 << (len / 4)) - 1).checked_shl(at as u32 / 4).unwrap_or(0);
        if taken & bits != 0 {
            clash = Some(offset(name));
        }
        taken |= bits;
        Some(at)
    };
    let flags = place("page.flags", long).ok_or(offset("page.flags"))?;
    // What has no reference count is not a `struct page`.
    let count = place("page._refcount", 4).or_else(|| place("page._count", 4));
    let count = count.ok_or(offset("page._refcount"))?;
    let mapping = place("page.mapping", long).ok_or(offset("page.mapping"))?;
    let (mapcount, private) = (place("page._mapcount", 4), place("page.private", long));
    // Heads have the list where tails have this.
    let tail = ["page.compound_head", "page.compound_info"];
    let compound_head = tail.iter().find_map(|name| place(name, 2 * long));
    let lru = keys.facts.offset("page.lru");
    match (compound_head, lru) {
        (None, _) => drop(place("page.lru", 2 * long)),
        (Some(_), None) => {}
        (Some(_), Some(_)) if lru == compound_head => {}
        (Some(_), Some(_)) => clash = Some(offset("page.lru")),
    }
    let low = if endian == Endian::Little { 0 } else { long - 1 };
    let tail_at = compound_head.map_or(keys.size, |at| at + low);
    let layout = Layout {
        endian,
        word,
        size: keys.size,
        flags,
        mapping,
        count,
        mapcount,
        private,
        compound_head,
        tail_at,
        lru,
    };
    clash.map_or(Ok(layout), Err)
}

fn slab(keys: &Keys<'_>, layout: &Layout) -> SlabBy {
    if let (Some(kind), true) = (keys.kind("PAGE_SLAB_MAPCOUNT_VALUE"), layout.mapcount.is_some()) {
        return SlabBy::Type(kind);
    }
    // Exported from 3.10 to 6.9; before that it is bit 7 in every configuration.
    let flag = keys.flag("PG_slab").or(keys.before(KernelVersion(3, 10, 0)).then_some(1 << 7));
    flag.map_or(SlabBy::Unknown, SlabBy::Flag)
}

/// Order of compound pages and the mark of hugetlbfs, as kernels of one era have them.
type Marks = (OrderAt, HugetlbBy);

fn compound(keys: &Keys<'_>, layout: &Layout, max_order: u32) -> Compound {
    let marks = marks_by_type(keys, layout)
        .or_else(|| marks_by_flag(keys))
        .or_else(|| marks_in_folio(keys))
        .or_else(|| marks_in_page(keys))
        .or_else(|| marks_in_list(keys));
    // Members of several bytes must not reach past the structure.
    let fits = |at: usize, len: usize| at + len <= keys.size;
    let long = keys.word.bytes();
    let marks = marks.filter(|(order, hugetlb)| {
        let order = match *order {
            OrderAt::Short(at) => fits(at, 2),
            OrderAt::Word(at) => fits(at, long),
            _ => true,
        };
        let hugetlb = match *hugetlb {
            HugetlbBy::DtorShort(at, _) => fits(at, 2),
            HugetlbBy::DtorPointer(at, _) => fits(at, long),
            _ => true,
        };
        order && hugetlb
    });
    let (order, hugetlb) = marks.unwrap_or((OrderAt::Unknown, HugetlbBy::Unknown));
    let head_mask = keys.number("PG_head_mask").unwrap_or(0);
    Compound { head_mask, order, hugetlb, max_order: max_order.into() }
}

/// Linux 6.9 and later.
fn marks_by_type(keys: &Keys<'_>, layout: &Layout) -> Option<Marks> {
    layout.mapcount?;
    Some((OrderAt::FlagsByte, HugetlbBy::Type(keys.kind("PAGE_HUGETLB_MAPCOUNT_VALUE")?)))
}

/// Linux 6.6 to 6.8.
fn marks_by_flag(keys: &Keys<'_>) -> Option<Marks> {
    Some((OrderAt::FlagsByte, HugetlbBy::TailFlag(keys.flag("PG_hugetlb")?)))
}

/// Linux 5.16 to 6.5.
fn marks_in_folio(keys: &Keys<'_>) -> Option<Marks> {
    let order = OrderAt::Byte(keys.in_tail("folio._folio_order")?);
    let dtor = keys.in_tail("folio._folio_dtor")?;
    let hugetlb = keys.number("HUGETLB_PAGE_DTOR");
    Some((order, hugetlb.map_or(HugetlbBy::Unknown, |id| HugetlbBy::DtorByte(dtor, id))))
}

/// Kernels that export the members themselves.
fn marks_in_page(keys: &Keys<'_>) -> Option<Marks> {
    let order = keys.member("page.compound_order", 1)?;
    let dtor = keys.member("page.compound_dtor", 1)?;
    // The two members are neighbours: their distance is their width.
    let wide = match order.abs_diff(dtor) {
        1 => false,
        2 => true,
        _ => keys.before(KernelVersion(4, 16, 0)),
    };
    let pointer = keys.before(KernelVersion(4, 4, 0));
    let address = keys.facts.get(Kind::Symbol, "free_huge_page");
    Some(match (keys.number("HUGETLB_PAGE_DTOR"), address) {
        (Some(id), _) if wide => (OrderAt::Short(order), HugetlbBy::DtorShort(dtor, id)),
        (Some(id), _) => (OrderAt::Byte(order), HugetlbBy::DtorByte(dtor, id)),
        (None, Some(address)) if pointer => {
            (OrderAt::Word(order), HugetlbBy::DtorPointer(dtor, address))
        }
        _ if pointer => (OrderAt::Word(order), HugetlbBy::Unknown),
        _ if wide => (OrderAt::Short(order), HugetlbBy::Unknown),
        _ => (OrderAt::Byte(order), HugetlbBy::Unknown),
    })
}

/// Before Linux 4.4: the first tail's list head holds both.
fn marks_in_list(keys: &Keys<'_>) -> Option<Marks> {
    if !keys.before(KernelVersion(4, 4, 0)) {
        return None;
    }
    let long = keys.word.bytes();
    let lru = keys.member("page.lru", 2 * long)?;
    let in_list = |name| keys.facts.offset(name).filter(|o| *o <= long);
    let (next, prev) = (in_list("list_head.next")?, in_list("list_head.prev")?);
    let dtor = keys.facts.get(Kind::Symbol, "free_huge_page");
    let hugetlb = dtor.map_or(HugetlbBy::Unknown, |at| HugetlbBy::DtorPointer(lru + next, at));
    Some((OrderAt::Word(lru + prev), hugetlb))
}

fn large(c: &mut Classifier, _: &Keys<'_>) -> Result<(), MissingKey> {
    if c.compound.head_mask == 0 { Err(number("PG_head_mask")) } else { Ok(()) }
}

fn cache(c: &mut Classifier, keys: &Keys<'_>) -> Result<(), MissingKey> {
    let lru = keys.flag_or_fixed("PG_lru", 5).ok_or(number("PG_lru"))?;
    c.need_tails(keys)?;
    let private = keys.flag_or_fixed("PG_private", 11);
    if private.is_none() && !c.level.contains(DumpLevel::CACHE_PRIVATE) {
        return Err(number("PG_private"));
    }
    c.cache = Cache { lru, private, ..Cache::default() };
    Ok(())
}

/// Swap cache pages need not be on an LRU list. From 4.10 on PG_swapcache is another name for a bit
/// that others use, meaningful only together with PG_swapbacked.
fn swap_cache(c: &mut Classifier, keys: &Keys<'_>) -> Result<(), MissingKey> {
    if c.cache.lru == 0 {
        return Ok(());
    }
    let swapcache = keys.flag_or_fixed("PG_swapcache", 15).ok_or(number("PG_swapcache"))?;
    let swapbacked = match (keys.flag("PG_swapbacked"), keys.number("PG_private")) {
        (Some(swapbacked), _) => swapbacked,
        (None, _) if keys.flags_fixed() => 0,
        // A shared bit is numbered below PG_private; a bit of its own is above. Without the other
        // number nothing says that the bit is not shared.
        (None, Some(private)) => match keys.number("PG_swapcache") {
            Some(own) if private < own => 0,
            // Kernels without a shared bit do not export the other name.
            _ => return Err(number("PG_swapbacked")),
        },
        (None, None) => return Err(number("PG_private")),
    };
    c.cache = Cache { swapcache, swapbacked, ..c.cache };
    Ok(())
}

/// Where slab pages are not known, a page whose `mapping` looks anonymous is no page cache.
fn cache_or_slab(c: &mut Classifier, keys: &Keys<'_>) -> Result<(), MissingKey> {
    if c.cache.lru != 0 { c.need_slab(keys) } else { Ok(()) }
}

fn user(c: &mut Classifier, keys: &Keys<'_>) -> Result<(), MissingKey> {
    c.need_tails(keys)?;
    c.user = true;
    Ok(())
}

fn anonymous(c: &mut Classifier, keys: &Keys<'_>) -> Result<(), MissingKey> {
    if c.user { c.need_slab(keys) } else { Ok(()) }
}

fn hugetlbfs(c: &mut Classifier, _: &Keys<'_>) -> Result<(), MissingKey> {
    if c.compound.head_mask != 0 && c.compound.hugetlb == HugetlbBy::Unknown {
        return Err(number("PAGE_HUGETLB_MAPCOUNT_VALUE"));
    }
    Ok(())
}

/// Blocks of the buddy allocator.
fn free(c: &mut Classifier, keys: &Keys<'_>) -> Result<(), MissingKey> {
    let key = "PAGE_BUDDY_MAPCOUNT_VALUE";
    // Exported since 3.10.
    #[cfg(feature = "free-lists")]
    if keys.kind(key).is_none() && keys.before(KernelVersion(3, 10, 0)) {
        c.free_lists = FreeLists::find(keys.facts).ok();
        if c.free_lists.is_some() {
            return Ok(());
        }
    }
    let kind = keys.kind(key).ok_or(number(key))?;
    c.need_mapcount()?;
    c.layout.private.ok_or(offset("page.private"))?;
    let orders = keys.orders().ok_or(MissingKey(Kind::Length, "zone.free_area"))?;
    c.need_slab(keys)?;
    c.buddy = Some(Blocks { kind, orders });
    Ok(())
}

/// Memory of a confidential guest that was not accepted yet (6.5 and later): blocks of the highest
/// order.
fn unaccepted(c: &mut Classifier, keys: &Keys<'_>) -> Result<(), MissingKey> {
    if let (Some(kind), Ok(_)) = (keys.kind("PAGE_UNACCEPTED_MAPCOUNT_VALUE"), c.need_mapcount()) {
        let orders = keys.orders().ok_or(MissingKey(Kind::Length, "zone.free_area"))?;
        c.unaccepted = Some(Blocks { kind, orders });
    }
    Ok(())
}

fn offline(c: &mut Classifier, keys: &Keys<'_>) -> Result<(), MissingKey> {
    if let Some(kind) = keys.kind("PAGE_OFFLINE_MAPCOUNT_VALUE") {
        c.need_mapcount()?;
        c.need_slab(keys)?;
        c.offline = Some(kind);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endian::Endian;
    use crate::facts::{Chain, Fact, FactSource};
    use crate::testing::info;
    use crate::units::PageShift;
    use std::{format, string::String, string::ToString, vec, vec::Vec};

    const MACHINE: Machine =
        Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 };

    /// What Linux 6.12 exports.
    const NEW: &str = "OSRELEASE=6.12.0\nSYMBOL(init_top_pgt)=ffffffff82000000\nNUMBER(phys_base)=0\n\
        SIZE(page)=64\nOFFSET(page.flags)=0\nOFFSET(page._refcount)=52\nOFFSET(page.mapping)=24\n\
        OFFSET(page.lru)=8\nOFFSET(page._mapcount)=48\nOFFSET(page.private)=40\n\
        OFFSET(page.compound_head)=8\nLENGTH(zone.free_area)=11\nNUMBER(PG_lru)=5\nNUMBER(PG_private)=14\n\
        NUMBER(PG_swapcache)=10\nNUMBER(PG_swapbacked)=19\nNUMBER(PG_hwpoison)=22\nNUMBER(PG_head_mask)=64\n\
        NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-193\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\n\
        NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-257\nNUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-258\n\
        NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)=-274\n";

    fn new(facts: &dyn Facts, level: DumpLevel) -> Result<Classifier, MissingKey> {
        let arch = Arch::new(MACHINE, facts, &[]).unwrap();
        Classifier::new(facts, &arch, MACHINE, 12, level)
    }

    fn lacking(text: &str, level: DumpLevel) -> Vec<String> {
        let classifier = new(&info(text), level).unwrap();
        let name = |key: MissingKey| format!("{}({})", key.0.word(), key.1);
        classifier.unclassified().map(|u| format!("{}: {}", u.kept, name(u.key))).collect()
    }

    fn without(keys: &[&str]) -> String {
        let kept = |line: &&str| !keys.iter().any(|key| line.starts_with(key));
        NEW.lines().filter(kept).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn each_missing_fact_is_reported_for_the_class_that_needs_it() {
        assert_eq!(lacking(NEW, DumpLevel::all()), [""; 0]);
        let free = DumpLevel::FREE;
        let user = DumpLevel::USER;
        let cache = DumpLevel::CACHE;
        let none = DumpLevel::empty();
        for (key, level, want) in [
            ("NUMBER(PG_head_mask)", none, "large pages, but for their first page"),
            ("NUMBER(PG_lru)", cache, "page cache"),
            ("NUMBER(PG_private)", cache, "page cache"),
            ("NUMBER(PG_swapcache)", cache, "swap cache off the LRU lists"),
            ("NUMBER(PG_swapbacked)", cache, "swap cache off the LRU lists"),
            ("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", cache, "page cache that may be anonymous"),
            ("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", user, "anonymous memory"),
            ("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", free, "free memory"),
            ("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", none, "offline memory"),
            ("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)", user, "huge pages of hugetlbfs"),
            ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", free, "free memory"),
            ("OFFSET(page._mapcount)", free, "free memory"),
            ("OFFSET(page._mapcount)", none, "offline memory"),
            ("OFFSET(page.private)", free, "free memory"),
            ("LENGTH(zone.free_area)", free, "free memory"),
            ("LENGTH(zone.free_area)", free, "unaccepted memory"),
        ] {
            let found = lacking(&without(&[key]), level);
            let want = format!("{want}: {key}");
            assert!(found.contains(&want), "{want} is not in {found:?}");
        }
        // A class that no level asks for is not missed.
        assert_eq!(lacking(&without(&["NUMBER(PG_lru)"]), free | user), [""; 0]);
        // Private data does not matter where page cache goes with it.
        let both = cache | DumpLevel::CACHE_PRIVATE;
        assert_eq!(lacking(&without(&["NUMBER(PG_private)"]), both), [""; 0]);
        // What another rule lacks already is said once.
        let found = lacking(&without(&["OFFSET(page.compound_head)"]), cache | user);
        let key = "OFFSET(page.compound_head)";
        assert_eq!(found, [format!("page cache: {key}"), format!("user pages: {key}")]);
    }

    #[test]
    fn the_level_in_effect_has_the_bits_of_which_a_class_is_known() {
        let effect = |gone: &[&str], level: u8| {
            let level = DumpLevel::from_bits(level).unwrap();
            new(&info(&without(gone)), level).unwrap().level_in_effect().bits()
        };
        for level in 0..32 {
            assert_eq!(effect(&[], level), level);
            assert_eq!(effect(&["NUMBER(PG_lru)"], level), level & !6);
            // Of user pages those of hugetlbfs are left, of free ones those that were not accepted.
            let slab = "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)";
            assert_eq!(effect(&[slab], level), level);
            assert_eq!(effect(&[slab, "NUMBER(PAGE_HUGETLB"], level), level & !8);
            assert_eq!(effect(&[slab, "NUMBER(PG_head_mask)"], level), level & !8);
            let free = ["NUMBER(PAGE_BUDDY", "NUMBER(PAGE_UNACCEPTED"];
            assert_eq!(effect(&free[..1], level), level);
            assert_eq!(effect(&free, level), level & !16);
            assert_eq!(effect(&["OFFSET(page.private)", free[1]], level), level & !16);
            assert_eq!(effect(&["OFFSET(page.compound_head)"], level), level & !14);
        }
    }

    #[test]
    fn members_that_cannot_all_be_there_are_not_believed() {
        let changed = |member: &str, offset: u64| {
            let line = |line: &str| match line.starts_with(&format!("OFFSET(page.{member})=")) {
                true => format!("OFFSET(page.{member})={offset}\n"),
                false => format!("{line}\n"),
            };
            NEW.lines().map(line).collect::<String>()
        };
        // The structure of today: flags 0, lru and compound_head 8, mapping 24, private 40, _mapcount 48,
        // _refcount 52. What is at 32 is not exported.
        let long = ["flags", "mapping", "private", "compound_head", "lru"];
        for member in long.into_iter().chain(["_mapcount", "_refcount"]) {
            for at in 0..70 {
                let error = new(&info(&changed(member, at)), DumpLevel::all()).err();
                let width = if long.contains(&member) { 8 } else { 4 };
                let mine = match member {
                    "flags" => 0..8,
                    "mapping" => 24..32,
                    "private" => 40..48,
                    "_mapcount" => 48..52,
                    "_refcount" => 52..56,
                    _ => 8..8,
                };
                let mut free = (at..at + width).filter(|byte| !mine.contains(byte));
                let free = free.all(|byte| (32..40).contains(&byte) || (56..64).contains(&byte));
                let (aligned, pair) = (at % width == 0, mine == (8..8));
                let right = if pair { at == 8 } else { aligned && free };
                // Without these, classes are missing, but not all.
                let spared = ["private", "_mapcount", "compound_head", "lru"].contains(&member);
                let spared = spared && (!aligned || at + if pair { 16 } else { width } > 64);
                // The list of heads is compared as it stands.
                let spared = spared && member != "lru";
                assert_eq!(error.is_none(), right || spared, "{member} at {at}: {error:?}");
                if let Some(error) = error {
                    assert_eq!(error.0, Kind::Offset, "{member} at {at}");
                }
            }
        }
        let text = NEW.replace("SIZE(page)=64", "SIZE(page)=60");
        assert_eq!(new(&info(&text), DumpLevel::all()).unwrap_err().1, "page");
    }

    #[test]
    fn without_the_layout_no_page_is_classified() {
        for (key, want) in [
            ("SIZE(page)", "SIZE(page)"),
            ("OFFSET(page.flags)", "OFFSET(page.flags)"),
            ("OFFSET(page.mapping)", "OFFSET(page.mapping)"),
            ("OFFSET(page._refcount)", "OFFSET(page._refcount)"),
        ] {
            let error = new(&info(&without(&[key])), DumpLevel::all()).unwrap_err();
            assert_eq!(error.to_string(), format!("{want} is missing in VMCOREINFO, or invalid"));
        }
        for size in ["15", "4097"] {
            let text = NEW.replace("SIZE(page)=64", &format!("SIZE(page)={size}"));
            assert_eq!(new(&info(&text), DumpLevel::all()).unwrap_err().1, "page", "{size}");
        }
        let outside = NEW.replace("OFFSET(page.mapping)=24", "OFFSET(page.mapping)=57");
        assert_eq!(new(&info(&outside), DumpLevel::all()).unwrap_err().1, "page.mapping");
        let count = NEW.replace("page._refcount", "page._count");
        assert!(new(&info(&count), DumpLevel::all()).is_ok());
    }

    /// Type information of the same kernel, as another provider than VMCOREINFO may have it.
    struct Types;

    impl Facts for Types {
        fn fact(&self, kind: Kind, name: &str) -> Option<Fact<u64>> {
            let value = match (kind, name) {
                (Kind::Offset, "page.private") => 40,
                (Kind::Offset, "page.mapping") => 24,
                (Kind::Number, "PG_lru") => 5,
                _ => return None,
            };
            Some(Fact { value, source: FactSource::Other })
        }
        fn plain(&self, _: &str) -> Option<Fact<&[u8]>> {
            None
        }
        fn release(&self) -> Option<Fact<&[u8]>> {
            None
        }
        fn page_shift(&self) -> Option<Fact<PageShift>> {
            None
        }
        fn kaslr_offset(&self) -> Option<Fact<u64>> {
            None
        }
    }

    #[test]
    fn what_vmcoreinfo_lacks_another_provider_may_know() {
        let text = without(&["NUMBER(PG_lru)", "OFFSET(page.private)", "OFFSET(page.mapping)"]);
        assert!(new(&info(&text), DumpLevel::all()).is_err());
        let classifier = new(&Chain(&info(&text), Some(&Types)), DumpLevel::all()).unwrap();
        assert_eq!(classifier.unclassified().collect::<Vec<_>>(), vec![]);
        assert_eq!(classifier.layout.mapping, 24);
        assert_eq!(classifier.cache.lru, 1 << 5);
    }
}
