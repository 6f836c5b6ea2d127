//! What a `struct page` says, for people to read.

use super::classifier::{Classifier, HugetlbBy, SlabBy};
use super::fields::{Any, Fields as _};
use crate::units::Pfn;

/// What the rules compare of a `struct page`; `None` where VMCOREINFO does not say where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct About {
    /// `flags`, with the numbers of zone and node in its upper bits.
    pub flags: u64,
    /// `_refcount`, or `_count`: who has a reference to the page.
    pub references: u32,
    /// `_mapcount`: one less than how often the page is mapped, or in the same place the type of a page that is
    /// mapped nowhere.
    pub mapcount: Option<u32>,
    /// Which type that is, of those that the rules know.
    pub kind: Option<&'static str>,
    /// `mapping`: what the page is cache of. The lowest bit marks anonymous memory.
    pub mapping: u64,
    /// `private`: of a free block its order, else what its owner makes of it.
    pub private: Option<u64>,
    /// The two pointers of `lru`, the list that it is on.
    pub list: Option<[u64; 2]>,
    /// Whether it is a tail of a compound page: its head speaks for it.
    pub is_tail: bool,
    /// Pages of the compound page whose head this is; 1 of others.
    pub pages: u64,
    /// Whether that is one of hugetlbfs.
    pub is_hugetlb: bool,
}

impl Classifier {
    /// What `page` says, the `struct page` of `pfn`; `next` is the one after it, where there is one.
    pub fn about(&self, page: &[u8], next: Option<&[u8]>, pfn: Pfn) -> About {
        let (at, read) = (&self.layout, Any { endian: self.layout.endian, word: self.layout.word });
        let flags = read.word(page, at.flags);
        let mapcount = at.mapcount.map(|at| read.u32(page, at));
        let hugetlb = match self.compound.hugetlb {
            HugetlbBy::Type(kind) => Some(kind),
            _ => None,
        };
        let kinds = [
            (self.buddy.map(|buddy| buddy.kind), "free"),
            (self.unaccepted.map(|unaccepted| unaccepted.kind), "unaccepted"),
            (self.offline, "offline"),
            (if let SlabBy::Type(kind) = self.slab { Some(kind) } else { None }, "slab"),
            (hugetlb, "hugetlb"),
        ];
        let kind = kinds.into_iter().find(|(kind, _)| kind.is_some() && *kind == mapcount);
        let is_tail = at.compound_head.is_some_and(|at| read.word(page, at) & 1 != 0);
        let (pages, is_hugetlb) = match is_tail {
            true => (1, false),
            false => self.compound(&read, page, flags, next, pfn),
        };
        About {
            flags,
            references: read.u32(page, at.count),
            mapcount,
            kind: kind.map(|(_, name)| name),
            mapping: read.word(page, at.mapping),
            private: at.private.map(|at| read.word(page, at)),
            list: at
                .lru
                .map(|at| [at, at + self.layout.word.bytes()].map(|at| read.word(page, at))),
            is_tail,
            pages,
            is_hugetlb,
        }
    }

    /// Names of the page flags whose numbers are known, and their masks.
    pub fn known_flags(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let cache = self.cache;
        let slab = if let SlabBy::Flag(mask) = self.slab { mask } else { 0 };
        [
            ("head", self.compound.head_mask),
            ("lru", cache.lru),
            ("private", cache.private.unwrap_or(0)),
            ("swapcache", cache.swapcache),
            ("swapbacked", cache.swapbacked),
            ("slab", slab),
            ("hwpoison", self.hwpoison),
        ]
        .into_iter()
        .filter(|(_, mask)| *mask != 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::arch::Arch;
    use crate::endian::{Endian, Word};
    use crate::kernel::page::Classifier;
    use crate::level::DumpLevel;
    use crate::memory::Machine;
    use crate::testing::info;
    use crate::units::Pfn;
    use std::vec::Vec;

    const TEXT: &str = "OSRELEASE=6.12.0\nSYMBOL(init_top_pgt)=ffffffff82000000\nNUMBER(phys_base)=0\n\
        SIZE(page)=64\nOFFSET(page.flags)=0\nOFFSET(page._refcount)=52\nOFFSET(page.mapping)=24\n\
        OFFSET(page.lru)=8\nOFFSET(page._mapcount)=48\nOFFSET(page.private)=40\n\
        OFFSET(page.compound_head)=8\nLENGTH(zone.free_area)=11\nNUMBER(PG_lru)=5\nNUMBER(PG_private)=14\n\
        NUMBER(PG_head_mask)=64\nNUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-193\n\
        NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-257\n";

    #[test]
    fn members_are_those_of_the_page() {
        let machine = Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 };
        let facts = info(TEXT);
        let arch = Arch::new(machine, &facts, &[]).unwrap();
        let classifier = Classifier::new(&facts, &arch, machine, 12, DumpLevel::all()).unwrap();
        let mut pages = [0; 128];
        let mut put =
            |at: usize, value: u64| pages[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(0, 1 << 5 | 64 | 1 << 60);
        put(8, 0xffff_8880_0000_1000);
        put(16, 0xffff_8880_0000_2000);
        put(24, 0xffff_8880_0000_3001);
        put(40, 7);
        put(48, 3 << 32 | 2);
        put(64, 4);
        put(72, 0xffff_ea00_0000_0001);
        let about = classifier.about(&pages[..64], Some(&pages[64..]), Pfn(0x40));
        assert_eq!(about.flags, 1 << 5 | 64 | 1 << 60);
        assert_eq!((about.references, about.mapcount, about.kind), (3, Some(2), None));
        assert_eq!((about.mapping, about.private), (0xffff_8880_0000_3001, Some(7)));
        assert_eq!(about.list, Some([0xffff_8880_0000_1000, 0xffff_8880_0000_2000]));
        assert_eq!((about.is_tail, about.pages, about.is_hugetlb), (false, 16, false));
        let known = |flags| classifier.known_flags().filter(move |(_, mask)| flags & mask != 0);
        assert_eq!(known(about.flags).map(|known| known.0).collect::<Vec<_>>(), ["head", "lru"]);
        let tail = classifier.about(&pages[64..], None, Pfn(0x41));
        assert_eq!((tail.is_tail, tail.pages), (true, 1));
        for (kind, name) in [(-129i32, "free"), (-193, "slab"), (-257, "hugetlb")] {
            pages[48..52].copy_from_slice(&kind.to_le_bytes());
            let about = classifier.about(&pages[..64], Some(&pages[64..]), Pfn(0x40));
            assert_eq!((about.kind, about.is_hugetlb), (Some(name), name == "hugetlb"));
        }
    }
}
