//! Which keys of VMCOREINFO each rule needs.

use super::{Classifier, HugetlbBy, OrderAt, SlabBy, Unclassified};
use crate::arch::Arch;
use crate::facts::{Facts, KernelVersion, MissingKey};
use crate::level::DumpLevel;
use crate::memory::Machine;
use crate::wire::vmcoreinfo::Kind;

impl Classifier {
    /// Resolves all keys. An error means that nothing can be told about any page: `SIZE(page)`,
    /// `OFFSET(page.flags)`, `OFFSET(page.mapping)` or the reference count is missing.
    pub fn new(
        facts: &dyn Facts,
        arch: &Arch,
        machine: Machine,
        page_shift: u32,
        level: DumpLevel,
    ) -> Result<Classifier, MissingKey> {
        let Machine { endian, word, .. } = machine;
        let long = word.bytes();
        let size = facts.need(Kind::Size, "page")? as usize;
        // A member that does not lie in the structure is none.
        let member = |name: &str, len: usize| {
            facts.offset(name).filter(|o| o.checked_add(len).is_some_and(|end| end <= size))
        };
        if facts.get(Kind::Offset, "page._refcount").is_none() {
            facts
                .get(Kind::Offset, "page._count")
                .ok_or(MissingKey(Kind::Offset, "page._refcount"))?;
        }
        if !(2 * long..=4096).contains(&size) {
            return Err(MissingKey(Kind::Size, "page"));
        }
        let need = |name: &'static str| member(name, long).ok_or(MissingKey(Kind::Offset, name));
        let number = |name: &str| facts.get(Kind::Number, name);
        // Flag numbers are below 64, page types are 32 bits wide.
        let flag = |name: &str| number(name).filter(|&n| n < 8 * long as u64).map(|n| 1u64 << n);
        let kind = |name: &str| number(name).map(|v| v as u32);
        let version = facts.version();
        let before = |v: KernelVersion| version.is_some_and(|have| have < v);
        // Before 2.6.26 the flags were fixed numbers and not all of them are exported.
        let fixed = |bit: u64| before(KernelVersion(2, 6, 26)).then_some(1 << bit);

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
            unclassified: [None; 12],
        };
        let has_mapcount = c.mapcount.is_some();
        c.slab = match kind("PAGE_SLAB_MAPCOUNT_VALUE").filter(|_| has_mapcount) {
            Some(value) => SlabBy::Type(value),
            // Exported from 3.10 to 6.9; before that it is bit 7 in every configuration.
            None => match flag("PG_slab").or(before(KernelVersion(3, 10, 0)).then_some(1 << 7)) {
                Some(mask) => SlabBy::Flag(mask),
                None => SlabBy::Unknown,
            },
        };
        // Kernels before 4.6 do not export it; their tails match no class by themselves.
        c.tails_known = c.compound_head.is_some() || before(KernelVersion(4, 6, 0));
        c.resolve_compound(facts, &member, &kind, &flag, &before);

        // The names of today, or those that this kernel would have had.
        let slab_key = MissingKey(
            Kind::Number,
            if before(KernelVersion(6, 10, 0)) { "PG_slab" } else { "PAGE_SLAB_MAPCOUNT_VALUE" },
        );
        let slab_known = c.slab != SlabBy::Unknown;
        let head_key = MissingKey(
            Kind::Offset,
            if before(KernelVersion(7, 1, 0)) {
                "page.compound_head"
            } else {
                "page.compound_info"
            },
        );

        if c.head_mask == 0 {
            let key = MissingKey(Kind::Number, "PG_head_mask");
            c.cannot_tell("large pages, but for their first page", key);
        }
        if level.intersects(DumpLevel::CACHE | DumpLevel::CACHE_PRIVATE) {
            let class = "page cache";
            match flag("PG_lru").or(fixed(5)) {
                None => c.cannot_tell(class, MissingKey(Kind::Number, "PG_lru")),
                Some(_) if !c.tails_known => c.cannot_tell(class, head_key),
                Some(_)
                    if c.private_flag.is_none() && !level.contains(DumpLevel::CACHE_PRIVATE) =>
                {
                    c.cannot_tell(class, MissingKey(Kind::Number, "PG_private"));
                }
                Some(mask) => {
                    c.lru = mask;
                    c.resolve_swapcache(&flag, &fixed, &number);
                    if !slab_known {
                        c.cannot_tell("page cache that may be anonymous", slab_key);
                    }
                }
            }
        }
        if level.contains(DumpLevel::USER) {
            if !c.tails_known {
                c.cannot_tell("memory of processes", head_key);
            } else if !slab_known {
                c.cannot_tell("anonymous memory", slab_key);
            }
            if c.head_mask != 0 && c.hugetlb == HugetlbBy::Unknown {
                let key = MissingKey(Kind::Number, "PAGE_HUGETLB_MAPCOUNT_VALUE");
                c.cannot_tell("huge pages of hugetlbfs", key);
            }
        }
        let orders = facts.get(Kind::Length, "zone.free_area").filter(|&n| (1..=64).contains(&n));
        if level.contains(DumpLevel::FREE) {
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
                (Some((_, key)), ..) => c.cannot_tell("free memory", *key),
                _ => {}
            }
            if let (Some(value), true) = (kind("PAGE_UNACCEPTED_MAPCOUNT_VALUE"), has_mapcount) {
                match orders {
                    Some(orders) => c.unaccepted = Some((value, orders)),
                    None => c.cannot_tell(
                        "unaccepted memory",
                        MissingKey(Kind::Length, "zone.free_area"),
                    ),
                }
            }
        }
        if let Some(value) = kind("PAGE_OFFLINE_MAPCOUNT_VALUE") {
            let class = "offline memory";
            if !has_mapcount {
                c.cannot_tell(class, MissingKey(Kind::Offset, "page._mapcount"));
            } else if !slab_known {
                c.cannot_tell(class, slab_key);
            } else {
                c.offline = Some(value);
            }
        }
        Ok(c)
    }

    /// Order of compound pages and the mark of hugetlbfs.
    fn resolve_compound(
        &mut self,
        facts: &dyn Facts,
        member: &dyn Fn(&str, usize) -> Option<usize>,
        kind: &dyn Fn(&str) -> Option<u32>,
        flag: &dyn Fn(&str) -> Option<u64>,
        before: &dyn Fn(KernelVersion) -> bool,
    ) {
        let size = self.size;
        // Offsets in a folio count from the head: its second page starts at SIZE(page).
        let in_tail = |name: &str| facts.offset(name)?.checked_sub(size).filter(|&o| o < size);
        let dtor_id = facts.get(Kind::Number, "HUGETLB_PAGE_DTOR");
        let dtor_address = facts.get(Kind::Symbol, "free_huge_page");
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
                _ => before(KernelVersion(4, 16, 0)),
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
                (None, Some(address)) if before(KernelVersion(4, 4, 0)) => {
                    self.order = OrderAt::Word(order);
                    self.hugetlb = HugetlbBy::DtorPointer(dtor, address);
                }
                _ if before(KernelVersion(4, 4, 0)) => self.order = OrderAt::Word(order),
                _ if wide => self.order = OrderAt::Short(order),
                _ => self.order = OrderAt::Byte(order),
            }
        } else if before(KernelVersion(4, 4, 0))
            && let (Some(lru), Some(next), Some(prev)) = (
                member("page.lru", 2 * long),
                facts.offset("list_head.next").filter(|o| *o <= long),
                facts.offset("list_head.prev").filter(|o| *o <= long),
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
            return self.cannot_tell(class, MissingKey(Kind::Number, "PG_swapcache"));
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
                self.cannot_tell(class, MissingKey(Kind::Number, name));
            }
        }
    }

    fn cannot_tell(&mut self, kept: &'static str, key: MissingKey) {
        if let Some(slot) = self.unclassified.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(Unclassified { kept, key });
        }
    }
}
