//! 32-bit ARM: short descriptors, or long ones (LPAE); memory that begins above 0 (Arm Architecture Reference
//! Manual for ARMv7-A, chapter B3 "Virtual Memory System Architecture"; Linux
//! `arch/arm/include/asm/pgtable-2level-hwdef.h`, `pgtable-3level-hwdef.h`, `Documentation/arch/arm/memory.rst`).

use super::linear::{Linear, LinearRange};
use super::paging::{Entry, PagingForm, TableCache, Tables, Walk};
use super::{AddressSpace, Route, Rules};
use crate::endian::{Endian, Word};
use crate::facts::{Facts, MissingKey};
use crate::memory::{MemoryRange, PhysMemory};
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// Short descriptors as the hardware sees them. Linux sees pairs of first-level entries, whose tables share a
/// page, and keeps its own copies of the last level's entries in front of them.
const SHORT: PagingForm = PagingForm { shifts: &[12, 20], entry: Word::Bits32, largest_leaf: 1 };
const LONG: PagingForm = PagingForm { shifts: &[12, 21, 30], entry: Word::Bits64, largest_leaf: 2 };
/// Bit 18 of a section's descriptor: 16 MiB.
const SUPERSECTION: u64 = 1 << 18;
/// Bits 12 to 39 of a long descriptor.
const LONG_ADDRESS: u64 = 0xff_ffff_f000;

/// What `PAGE_OFFSET` can be (`CONFIG_VMSPLIT_*`) is a multiple of this; the kernel image is smaller.
const SPLIT: u64 = 1 << 28;
/// Below `PAGE_OFFSET` are modules.
const MODULES: u64 = 16 << 20;
/// `VMALLOC_START` lies no higher where the machine has more memory than the direct map takes.
const LOW_MEMORY_END: u64 = 0xf080_0000;
/// log2 of the bytes of a memory section (`SECTION_SIZE_BITS`) of most machines.
const SECTION_BITS: u8 = 28;

/// One kernel of 32-bit ARM.
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    space: AddressSpace,
    page_offset: u64,
    lpae: bool,
}

impl Arm {
    /// Keys: `SYMBOL(swapper_pg_dir)`, `SYMBOL(_stext)`, `CONFIG_ARM_LPAE=y`, which says that descriptors are long
    /// ones. No key says where memory begins: the memory ranges do. Tables have the byte order of the kernel.
    pub fn new(facts: &dyn Facts, ram: &[MemoryRange], endian: Endian) -> Result<Arm, MissingKey> {
        let lpae = facts.is_configured("CONFIG_ARM_LPAE");
        let root = facts.need(Kind::Symbol, "swapper_pg_dir")?;
        let page_offset = facts.need(Kind::Symbol, "_stext")? & !(SPLIT - 1);
        // `PHYS_OFFSET`: by a range in the direct map, or else the lowest address of all.
        let by_range = ram.iter().find_map(|range| {
            let in_map = range.virt.0.checked_sub(page_offset)?;
            range.phys.0.checked_sub(in_map).filter(|_| range.virt.0 < 0xffff_ffff)
        });
        let lowest = || ram.iter().map(|range| range.phys.0).min();
        let phys_base = by_range.or_else(lowest).unwrap_or(0);
        // Sections, where there are any, lie in a plain array.
        let sections = facts.get(Kind::Length, "mem_section").filter(|n| n.is_power_of_two());
        let kernel_start = page_offset.saturating_sub(MODULES);
        let space = AddressSpace {
            tables: Tables {
                form: if lpae { &LONG } else { &SHORT },
                bits: 32,
                endian,
                root: PhysAddr(root.wrapping_sub(page_offset).wrapping_add(phys_base)),
            },
            kernel_start,
            user_end: kernel_start,
            top_byte_ignored: false,
            phys_base,
            // `PHYS_PFN_OFFSET`.
            first_pfn: Pfn(phys_base >> 12),
            section_bits: SECTION_BITS,
            physmem_bits: sections.map_or(36, |n| SECTION_BITS + n.ilog2().min(12) as u8),
            // 2 MiB; but compound pages are made of what the page allocator has, up to 16 MiB.
            largest_huge_page_bits: 24,
        };
        Ok(Arm { space, page_offset, lpae })
    }
}

impl Entry for Arm {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let long = raw & LONG_ADDRESS;
        match (self.lpae, level, raw & 3) {
            (true, _, 0 | 2) | (false, _, 0) => Walk::None,
            (true, 0, 1) => Walk::Bad,
            (true, 0, _) | (true, _, 1) => Walk::Leaf(long),
            (true, ..) => Walk::Table(long),
            (false, 0, 1) => Walk::BlockOf { base: raw, bits: 16 },
            (false, 0, _) => Walk::Leaf(raw),
            (false, _, 1) => Walk::Table(raw & 0xffff_fc00),
            (false, ..) if raw & SUPERSECTION != 0 => {
                let base = raw & 0xff00_0000 | (raw >> 20 & 0xf) << 32 | (raw >> 5 & 0xf) << 36;
                Walk::BlockOf { base, bits: 24 }
            }
            (false, ..) => Walk::Leaf(raw),
        }
    }
}

impl Rules for Arm {
    fn space(&self) -> &AddressSpace {
        &self.space
    }

    fn route(&self, at: VirtAddr) -> Route {
        self.space.route(at)
    }

    /// The direct map, with the kernel image in it.
    fn linear(
        &self,
        facts: &dyn Facts,
        _: &[MemoryRange],
        _: &mut impl PhysMemory,
        _: &mut TableCache<'_>,
    ) -> Linear {
        let virt = self.page_offset;
        // Exported since 6.9.
        let end = facts.get(Kind::Number, "VMALLOC_START").map(|end| end & 0xffff_ffff);
        let len = end.unwrap_or(LOW_MEMORY_END).saturating_sub(virt);
        let mut linear = Linear::default();
        linear.add(LinearRange { virt, len, phys: self.space.phys_base });
        linear
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::arch::paging::{Mapping, WalkError};
    use crate::testing::{Memory, info};
    use std::vec;

    const BASE: u64 = 0x4000_0000;
    const ROOT: u64 = BASE + 0x4000;
    const TEXT: &str = "OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=c0004000\n\
        SYMBOL(_stext)=c0100000\n";

    fn range(virt: u64, phys: u64) -> MemoryRange {
        let (virt, phys) = (VirtAddr(virt), PhysAddr(phys));
        MemoryRange { virt, phys, len: 0x1000, ..MemoryRange::default() }
    }

    fn new(text: &str, ram: &[MemoryRange], endian: Endian) -> Result<Arm, MissingKey> {
        Arm::new(&info(text), ram, endian)
    }

    fn walk(
        endian: Endian,
        lpae: bool,
        memory: &mut Memory,
        at: u64,
    ) -> Result<Mapping, WalkError> {
        let text = std::format!("{TEXT}CONFIG_ARM_LPAE={}\n", if lpae { "y" } else { "n" });
        let arch = Arch::Arm(new(&text, &[range(0xc000_0000, BASE)], endian).unwrap());
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
    fn short_descriptors_have_leaves_of_four_sizes() {
        for endian in [Endian::Little, Endian::Big] {
            let mut m = Memory::new(BASE, 0x1_0000);
            let mut put = |at: u64, entry: u32| {
                m.put(
                    at,
                    &if endian == Endian::Big { entry.to_be_bytes() } else { entry.to_le_bytes() },
                );
            };
            put(ROOT + 4 * 0xc00, 0x4001_141e); // a section of 1 MiB
            put(ROOT + 4 * 0xc01, 0x4011_141f); // one with PXN
            for repeated in 0..16 {
                put(ROOT + 4 * (0xd00 + repeated), 0x4535_1c1e | 1 << 18 | 5 << 5); // 16 MiB
            }
            // A pair of tables in a page, behind Linux' copies of them.
            put(ROOT + 4 * 0xf08, (BASE + 0x8800) as u32 | 1);
            put(ROOT + 4 * 0xf09, (BASE + 0x8c00) as u32 | 1);
            put(BASE + 0x8800 + 4 * 5, 0x4567_845e); // a small page
            put(BASE + 0x8800 + 4 * 6, 0x4567_945f); // one with XN
            put(BASE + 0x8c00 + 4 * 0x13, 0x4568_0455); // a page of 64 KiB, of 16 entries
            let mut find = |at| walk(endian, false, &mut m, at);
            assert_eq!(find(0xc001_2345), found(BASE + 0x1_2345, 0xe_dcbb));
            assert_eq!(find(0xc011_2345), found(BASE + 0x11_2345, 0xe_dcbb));
            let high = 0x53_4500_0000;
            assert_eq!(find(0xd012_3456), found(high + 0x12_3456, 0xed_cbaa));
            assert_eq!(find(0xd0f2_3456), found(high + 0xf2_3456, 0xd_cbaa));
            assert_eq!(find(0xf080_5123), found(0x4567_8123, 0xedd));
            assert_eq!(find(0xf080_6123), found(0x4567_9123, 0xedd));
            assert_eq!(find(0xf091_3123), found(0x4568_3123, 0xcedd));
            assert_eq!(find(0xf080_7000), not(0xf080_7000, "PTE"));
            assert_eq!(find(0xc020_0000), not(0xc020_0000, "PGD"));
            let odd = 0xffff_ffff_c001_2345;
            assert_eq!(find(odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
        }
    }

    #[test]
    fn long_descriptors_have_three_levels() {
        let mut m = Memory::new(BASE, 0x1_0000);
        m.put64(ROOT + 8 * 3, BASE + 0x5003); // 0xc0000000 on
        m.put64(ROOT + 8 * 2, 0x0060_0001_4000_0711); // 1 GiB
        m.put64(BASE + 0x5000, 0x0060_0002_4000_0711); // 2 MiB
        m.put64(BASE + 0x5000 + 8 * 0x184, BASE + 0x6003);
        m.put64(BASE + 0x6000 + 8 * 5, 0x0060_00ff_1234_575f);
        m.put64(BASE + 0x6000 + 8 * 6, 0x0060_0000_1234_575d);
        m.put64(BASE + 0x6000 + 8 * 7, 0x0060_0000_1234_575e);
        let mut find = |at| walk(Endian::Little, true, &mut m, at);
        assert_eq!(find(0xc012_3456), found(0x2_4012_3456, 0xd_cbaa));
        assert_eq!(find(0x8012_3456), found(0x1_4012_3456, 0x3fed_cbaa));
        assert_eq!(find(0xf080_5123), found(0xff_1234_5123, 0xedd));
        let bad = Err(WalkError::BadEntry { at: VirtAddr(0xf080_6000), level: "PTE" });
        assert_eq!(find(0xf080_6000), bad);
        assert_eq!(find(0xf080_7000), not(0xf080_7000, "PTE"));
        assert_eq!(find(0xc020_0000), not(0xc020_0000, "PMD"));
        assert_eq!(find(0), not(0, "PGD"));
    }

    #[test]
    fn memory_begins_where_the_ranges_say() {
        let at = |text: &str, ram: &[MemoryRange]| {
            let space = new(text, ram, Endian::Little).unwrap().space;
            (space.phys_base, space.first_pfn.0, space.tables.root.0, space.kernel_start)
        };
        let want = (BASE, BASE >> 12, ROOT, 0xbf00_0000);
        assert_eq!(at(TEXT, &[range(0xc000_0000, BASE)]), want);
        // By the direct map, even if the first range begins later or another one lies lower.
        let high = range(0xffff_ffff, 0x7000_0000);
        let later = range(0xc100_0000, BASE + 0x100_0000);
        assert_eq!(at(TEXT, &[high, later, range(0, 0x1000_0000)]), want);
        // No range has an address.
        assert_eq!(at(TEXT, &[range(0, 0x7000_0000), range(0, BASE)]), want);
        let split = TEXT.replace("=c0", "=80");
        assert_eq!(at(&split, &[range(0, BASE)]), (BASE, BASE >> 12, ROOT, 0x7f00_0000));
        for key in ["SYMBOL(swapper_pg_dir)", "SYMBOL(_stext)"] {
            let text = TEXT.replace(key, "SYMBOL(x)");
            let missing = new(&text, &[], Endian::Little).unwrap_err();
            assert_eq!(std::format!("{missing}"), std::format!("{key} is missing in VMCOREINFO"));
        }
        let low = new(&TEXT.replace("c0100000", "100"), &[], Endian::Little).unwrap();
        assert_eq!(low.space.kernel_start, 0, "not below it");
    }

    #[test]
    fn arithmetic_ends_where_vmalloc_begins() {
        let mut m = Memory::new(BASE, 0x1000);
        let mut storage = vec![0; TableCache::STORAGE];
        let mut find = |text: &str, at: u64| {
            let mut cache = TableCache::new(&mut storage[..]);
            let ram = [range(0xc000_0000, BASE)];
            let arch = Arch::Arm(new(text, &ram, Endian::Little).unwrap());
            arch.linear(&info(text), &ram, &mut m, &mut cache).find(VirtAddr(at)).map(|m| m.phys.0)
        };
        assert_eq!(find(TEXT, 0xc012_3456), Some(BASE + 0x12_3456));
        assert_eq!(find(TEXT, 0xf07f_ffff), Some(BASE + 0x307f_ffff));
        assert_eq!(find(TEXT, 0xf080_0000), None);
        let said = std::format!("{TEXT}NUMBER(VMALLOC_START)=0xe0800000\n");
        assert_eq!(find(&said, 0xe080_0000), None);
        assert_eq!(find(TEXT, 0xbfff_ffff), None);
    }

    #[test]
    fn the_number_of_sections_says_how_many_bits_an_address_has() {
        let bits = |length: &str| {
            let text = std::format!("{TEXT}LENGTH(mem_section)={length}\n");
            new(&text, &[], Endian::Little).unwrap().space.physmem_bits
        };
        assert_eq!((bits("16"), bits("256"), bits("?")), (32, 36, 36));
    }
}
