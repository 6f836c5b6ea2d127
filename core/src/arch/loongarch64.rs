//! loongarch64: direct mapped windows, pages of 4, 16 and 64 KiB, two to four levels (LoongArch Reference Manual
//! vol. 1, chapter 5 "Virtual and Physical Memory"; Linux `Documentation/arch/loongarch/introduction.rst`,
//! `arch/loongarch/include/asm/addrspace.h`, `pgtable.h`, `pgtable-bits.h`).

use super::linear::Linear;
use super::paging::{Entry, Mapping, PagingForm, TableCache, Tables, Walk};
use super::{AddressSpace, Route, Rules};
use crate::endian::{Endian, Word};
use crate::facts::{Facts, MissingKey};
use crate::memory::{MemoryRange, PhysMemory};
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// Bits of a physical address, and of an address within a window.
const PHYSICAL_BITS: u8 = 48;
const PHYSICAL: u64 = (1 << PHYSICAL_BITS) - 1;
/// Addresses of the kernel begin here: with the windows, of which it uses three of the four there are room for.
const WINDOWS: u64 = 0x8000_0000_0000_0000;

/// V bit of a page's entry.
const VALID: u64 = 1;
/// `_PAGE_PRESENT`, by which Linux knows a page that is there though the hardware may not use it yet.
const PRESENT: u64 = 1 << 7;
/// In an entry above the last level: a page of that size, not a table.
const HUGE: u64 = 1 << 6;
/// Low bits of an entry that are not those of an address, whatever the size of a page.
const FLAGS: u64 = 0xfff;

/// What depends on the size of pages: levels, of which a kernel may have fewer.
struct Granule {
    page_bits: u32,
    form: PagingForm,
    /// Where the indexes of so many levels end, for each number of levels that Linux can be built with; the
    /// usual one first.
    bits: [u8; 2],
    /// What the PMDs map; with the smallest pages, what the PUDs do.
    largest_huge_page_bits: u8,
}

const fn form(shifts: &'static [u8], largest_leaf: u8) -> PagingForm {
    PagingForm { shifts, entry: Word::Bits64, largest_leaf }
}

static GRANULES: [Granule; 3] = [
    Granule {
        page_bits: 12,
        form: form(&[12, 21, 30, 39], 2),
        bits: [48, 39],
        largest_huge_page_bits: 30,
    },
    Granule {
        page_bits: 14,
        form: form(&[14, 25, 36], 1),
        bits: [47, 36],
        largest_huge_page_bits: 25,
    },
    Granule {
        page_bits: 16,
        form: form(&[16, 29, 42], 1),
        bits: [55, 42],
        largest_huge_page_bits: 29,
    },
];

/// One loongarch64 kernel.
#[derive(Clone, Copy, Debug)]
pub struct Loongarch64 {
    space: AddressSpace,
    /// The other number of bits that tables of this page size can translate.
    other_bits: u8,
}

impl Loongarch64 {
    /// Keys: `SYMBOL(swapper_pg_dir)`, `PAGESIZE` (16 KiB where it is missing). None says how many levels the
    /// tables have: see [`Loongarch64::settled`].
    pub fn new(facts: &dyn Facts) -> Result<Loongarch64, MissingKey> {
        let root = facts.need(Kind::Symbol, "swapper_pg_dir")?;
        let page_bits = facts.page_shift().map_or(14, |shift| shift.value.bits());
        let granule = GRANULES.iter().find(|granule| granule.page_bits == page_bits);
        let granule = granule.ok_or(MissingKey(Kind::Symbol, "swapper_pg_dir"))?;
        let [bits, other_bits] = granule.bits;
        let space = AddressSpace {
            tables: Tables {
                form: &granule.form,
                bits,
                endian: Endian::Little,
                root: PhysAddr(root & PHYSICAL),
            },
            kernel_start: WINDOWS,
            user_end: 0,
            top_byte_ignored: false,
            phys_base: 0,
            first_pfn: Pfn(0),
            section_bits: 29,
            physmem_bits: PHYSICAL_BITS,
            largest_huge_page_bits: granule.largest_huge_page_bits,
        };
        Ok(Loongarch64 { space, other_bits })
    }

    /// This kernel with as many levels of tables as it has. An empty entry of a table above the last ones points at
    /// a table of nothing but empty entries, and so on down to one of pages: two equal entries beside each other in
    /// the first table are empty ones, and the way down from there is as long as every other.
    pub fn settled(mut self, source: &mut impl PhysMemory) -> Loongarch64 {
        let other = Tables { bits: self.other_bits, ..self.space.tables };
        if self.depth(source) == Some(other.levels().count()) {
            self.other_bits = self.space.tables.bits;
            self.space.tables = other;
        }
        self
    }

    /// Tables on the way from an empty entry of the first table to one of a page.
    fn depth(&self, source: &mut impl PhysMemory) -> Option<usize> {
        let root = self.space.tables.root.0;
        let entries = self.space.tables.levels().next()?.entries();
        let mut read = |at: u64| {
            let mut raw = [0; 8];
            source.read(PhysAddr(at), &mut raw).ok()?;
            Some(u64::from_le_bytes(raw))
        };
        let (mut index, mut entry) = (1, read(root)?);
        let mut empty = loop {
            match read(root.checked_add(8 * index)?)? {
                next if next == entry => break next,
                next => entry = next,
            }
            index += 1;
            if index == entries {
                return None;
            }
        };
        let levels = self.space.tables.form.shifts.len();
        // An entry of a page that is not there is 0, or has a flag.
        (1..=levels).find(|_| {
            let is_page = empty == 0 || empty & FLAGS != 0;
            if !is_page {
                empty = read(empty & PHYSICAL).unwrap_or(0);
            }
            is_page
        })
    }
}

impl Entry for Loongarch64 {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let to = raw & PHYSICAL & !FLAGS;
        match (level, raw & HUGE, raw & (VALID | PRESENT)) {
            (1.., 0, _) if to != 0 => Walk::Table(to),
            (1.., 0, _) | (.., 0) => Walk::None,
            // Of a huge page's entry, bits 12 up to its size are no address either.
            _ => Walk::Leaf(to),
        }
    }
}

impl Rules for Loongarch64 {
    fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// The windows have the kernel image and all memory; page tables are for what lies above them.
    fn route(&self, at: VirtAddr) -> Route {
        match at.0 >> 62 {
            2 => {
                let inside = at.0 & PHYSICAL;
                Route::Window(Mapping { phys: PhysAddr(inside), len: PHYSICAL + 1 - inside })
            }
            3 => Route::Tables,
            _ => Route::Nowhere,
        }
    }

    /// None but the windows, which are no guess.
    fn linear(
        &self,
        _: &dyn Facts,
        _: &[MemoryRange],
        _: &mut impl PhysMemory,
        _: &mut TableCache<'_>,
    ) -> Linear {
        Linear::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::arch::paging::WalkError;
    use crate::testing::{Memory, info};
    use std::{format, string::String, vec};

    /// Where the image and its tables are.
    const IMAGE: u64 = 0x20_0000;
    const ROOT: u64 = IMAGE + 0x1_0000;

    fn text(page: u64) -> String {
        format!(
            "OSRELEASE=7.2.0\nPAGESIZE={page}\nSYMBOL(swapper_pg_dir)={:x}\n",
            0x9000_0000_0000_0000 + ROOT
        )
    }

    /// A pointer to a table, as the kernel has it: an address in the cached window.
    fn table(to: u64) -> u64 {
        0x9000_0000_0000_0000 + to
    }

    /// A page that is there: V D, cached, G, P, W.
    const PAGE: u64 = 0x1d3;
    /// A huge page: the bit of G says so, that of the page is bit 12.
    const BLOCK: u64 = 0x11d3;

    /// Memory with a first table of nothing but empty entries, whose way down has so many tables.
    fn memory(page: u64, levels: u64) -> Memory {
        let mut m = Memory::new(IMAGE, 0x10_0000);
        for level in 0..levels {
            let to = if level + 1 < levels { table(ROOT + page * (level + 1)) } else { 0x40 };
            for entry in 0..page / 8 {
                m.put64(ROOT + page * level + 8 * entry, to);
            }
        }
        m
    }

    fn settled(page: u64, memory: &mut Memory) -> Arch {
        Arch::Loongarch64(Loongarch64::new(&info(&text(page))).unwrap().settled(memory))
    }

    fn walk(page: u64, memory: &mut Memory, at: u64) -> Result<Mapping, WalkError> {
        let arch = settled(page, memory);
        let mut storage = vec![0; TableCache::STORAGE];
        arch.translate(VirtAddr(at), memory, &mut TableCache::new(&mut storage[..]))
    }

    fn found(phys: u64, len: u64) -> Result<Mapping, WalkError> {
        Ok(Mapping { phys: PhysAddr(phys), len })
    }

    fn not(at: u64, level: &'static str) -> Result<Mapping, WalkError> {
        Err(WalkError::NotMapped { at: VirtAddr(at), level })
    }

    #[test]
    fn windows_need_no_tables() {
        let mut m = Memory::new(0, 0);
        for window in [0x8000, 0x9000, 0xa000] {
            let at = (window << 48) + 0x1234;
            assert_eq!(walk(0x4000, &mut m, at), found(0x1234, (1 << 48) - 0x1234), "{at:x}");
        }
        for odd in [0, 0x1_2000_0000, 0x7fff_ffff_ffff_ffff] {
            assert_eq!(walk(0x4000, &mut m, odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
        }
        let arch = settled(0x4000, &mut m);
        assert!(arch.is_kernel_address(VirtAddr(0x9000_0000_0020_0000)));
        assert!(arch.is_kernel_address(VirtAddr(0xffff_febf_fe00_0000)));
        assert!(!arch.is_kernel_address(VirtAddr(0x1234)));
    }

    #[test]
    fn three_levels_of_16_kib_pages() {
        let mut m = memory(0x4000, 3);
        let free = ROOT + 0x1_0000;
        // Bits 46:36, 35:25 and 24:14 of 0xfffffebffe000000 are 0x7eb, 0x7ff and 0.
        let at = 0xffff_febf_fe00_0000;
        m.put64(ROOT + 8 * 0x7eb, table(free));
        for entry in 0..2048 {
            m.put64(free + 8 * entry, table(ROOT + 0x8000));
        }
        m.put64(free + 8 * 0x7ff, 0x8600_0000 | BLOCK); // 32 MiB
        // By a physical address, as hardware that walks the tables by itself would take it.
        m.put64(free + 8 * 0x7fe, free + 0x4000);
        m.put64(free + 0x4000 + 8 * 5, 0x4000_0000_1234_4000 | PAGE); // NX
        m.put64(free + 0x4000 + 8 * 6, 0x1234_4000 | PAGE & !1); // P, but not V
        m.put64(free + 0x4000 + 8 * 7, 0x1234_4000 | PAGE & !0x81);
        assert_eq!(walk(0x4000, &mut m, at + 0x10), found(0x8600_0010, (32 << 20) - 16));
        let below = at - (32 << 20);
        assert_eq!(walk(0x4000, &mut m, below + 0x1_4123), found(0x1234_4123, 0x3edd));
        assert_eq!(walk(0x4000, &mut m, below + 0x1_8000), found(0x1234_4000, 0x4000));
        assert_eq!(walk(0x4000, &mut m, below + 0x1_c000), not(below + 0x1_c000, "PTE"));
        // Through empty entries, to the last level.
        assert_eq!(walk(0x4000, &mut m, below - 1), not(below - 1, "PTE"));
        assert_eq!(walk(0x4000, &mut m, at - (1 << 40)), not(at - (1 << 40), "PTE"));
        // A huge page that is not there.
        m.put64(free + 8 * 0x7ff, 0x8600_0000 | BLOCK & !0x81);
        assert_eq!(walk(0x4000, &mut m, at), not(at, "PMD"));
    }

    #[test]
    fn the_empty_entries_say_how_many_levels_there_are() {
        let bits = |page: u64, levels| {
            let arch = settled(page, &mut memory(page, levels));
            arch.space().tables.bits
        };
        assert_eq!((bits(0x1000, 4), bits(0x1000, 3)), (48, 39));
        assert_eq!((bits(0x4000, 3), bits(0x4000, 2)), (47, 36));
        assert_eq!((bits(0x1_0000, 3), bits(0x1_0000, 2)), (55, 42));
        // The usual number, where the tables do not say.
        let usual = |memory: &mut Memory| settled(0x4000, memory).space().tables.bits;
        assert_eq!(usual(&mut Memory::new(0, 0)), 47);
        let mut m = Memory::new(IMAGE, 0x10_0000);
        (0..2048).for_each(|entry| m.put64(ROOT + 8 * entry, table(entry << 14)));
        assert_eq!(usual(&mut m), 47, "no two entries are equal");
        (0..2048).for_each(|entry| m.put64(ROOT + 8 * entry, table(ROOT)));
        assert_eq!(usual(&mut m), 47, "a loop");
    }

    #[test]
    fn fewer_levels_are_walked() {
        let mut m = memory(0x4000, 2);
        let free = ROOT + 0x1_0000;
        // Bits 35:25 of 0xfffffffffe000000 are 0x7ff.
        m.put64(ROOT + 8 * 0x7ff, table(free));
        m.put64(free + 8 * 5, 0x1234_4000 | PAGE);
        let at = 0xffff_ffff_fe01_4000;
        assert_eq!(walk(0x4000, &mut m, at + 1), found(0x1234_4001, 0x3fff));
        assert_eq!(walk(0x4000, &mut m, at + 0x4000), not(at + 0x4000, "PTE"));
    }

    #[test]
    fn pages_of_4_kib_have_blocks_of_a_gibibyte() {
        let mut m = memory(0x1000, 4);
        let free = ROOT + 0x1_0000;
        m.put64(ROOT + 8 * 0x1ff, table(free));
        m.put64(free + 8 * 0x1ff, 0x4000_0000 | BLOCK);
        m.put64(free + 8 * 0x1fe, table(free + 0x1000));
        m.put64(free + 0x1000 + 8 * 0x1ff, 0x20_0000 | BLOCK);
        let at = 0xffff_ffff_c000_0000;
        assert_eq!(walk(0x1000, &mut m, at + 8), found(0x4000_0008, (1 << 30) - 8));
        assert_eq!(walk(0x1000, &mut m, at - 8), found(0x3f_fff8, 8));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = Loongarch64::new(&info("PAGESIZE=16384\n")).unwrap_err();
        assert_eq!(missing, MissingKey(Kind::Symbol, "swapper_pg_dir"));
        assert!(Loongarch64::new(&info(&text(0x2000))).is_err(), "no such page");
    }
}
