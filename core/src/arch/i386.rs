//! i386: two levels of page tables, or three with PAE; memory above the direct map (Intel SDM vol. 3A
//! chapter 5 "Paging"; Linux `arch/x86/include/asm/pgtable-2level.h`, `pgtable-3level.h`,
//! `arch/x86/kernel/vmcore_info_32.c`).

use super::linear::{Linear, LinearRange};
use super::paging::{Entry, PagingForm, TableCache, Tables, Walk};
use super::{AddressSpace, Route, Rules};
use crate::endian::{Endian, Word};
use crate::facts::{Facts, KernelVersion, MissingKey};
use crate::memory::{MemoryRange, PhysMemory};
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

const PRESENT: u64 = 1;
/// PS bit of the entry of a large page.
const LARGE: u64 = 1 << 7;
/// Bits 12 to 51 of an entry of PAE.
const PAE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const TWO_LEVELS: PagingForm =
    PagingForm { shifts: &[12, 22], entry: Word::Bits32, largest_leaf: 1 };
const PAE: PagingForm = PagingForm { shifts: &[12, 21, 30], entry: Word::Bits64, largest_leaf: 1 };

/// What `__PAGE_OFFSET` can be (`CONFIG_VMSPLIT_*`), in descending order.
const SPLITS: [u64; 5] = [0xc000_0000, 0xb000_0000, 0x8000_0000, 0x7800_0000, 0x4000_0000];
/// The direct map ends here at the latest: `VMALLOC_RESERVE`, fixed mappings and the like have 128 MiB.
const LOW_MEMORY_END: u64 = 0xf800_0000;

/// One i386 kernel.
#[derive(Clone, Copy, Debug)]
pub struct I386 {
    space: AddressSpace,
    pae: bool,
}

impl I386 {
    /// Keys: `SYMBOL(swapper_pg_dir)`, `CONFIG_X86_PAE=y` (which says that tables have three levels), and where
    /// no memory range has a virtual address, `SYMBOL(_stext)`.
    pub fn new(facts: &dyn Facts, ram: &[MemoryRange]) -> Result<I386, MissingKey> {
        let pae = facts.is_configured("CONFIG_X86_PAE");
        let root = facts.need(Kind::Symbol, "swapper_pg_dir")?;
        let page_offset = match ram.iter().find_map(direct) {
            Some(page_offset) => page_offset,
            // KASLR moves the kernel by less than any two of these are apart, but for the smallest distances.
            None => {
                let text = facts.need(Kind::Symbol, "_stext")?;
                let split = SPLITS.iter().find(|split| **split <= text);
                *split.ok_or(MissingKey(Kind::Symbol, "_stext"))?
            }
        };
        let old = facts.version().is_some_and(|v| v < KernelVersion(2, 6, 26));
        let space = AddressSpace {
            tables: Tables {
                form: if pae { &PAE } else { &TWO_LEVELS },
                bits: 32,
                endian: Endian::Little,
                root: PhysAddr(root.wrapping_sub(page_offset) & 0xffff_ffff),
            },
            kernel_start: page_offset,
            user_end: page_offset,
            top_byte_ignored: false,
            phys_base: 0,
            first_pfn: Pfn(0),
            section_bits: match pae {
                true if old => 30,
                true => 29,
                false => 26,
            },
            physmem_bits: if pae { 36 } else { 32 },
            // Compound pages of 4 MiB are made of pages that are no huge pages, too.
            largest_huge_page_bits: 22,
        };
        Ok(I386 { space, pae })
    }
}

/// `__PAGE_OFFSET`, as a memory range in the direct map has it. Memory above it comes with an address of all ones.
fn direct(range: &MemoryRange) -> Option<u64> {
    let split = range.virt.0.checked_sub(range.phys.0).filter(|_| range.virt.0 < 0xffff_ffff)?;
    SPLITS.contains(&split).then_some(split)
}

impl Entry for I386 {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let large = level == 1 && raw & LARGE != 0;
        match (raw & PRESENT, self.pae) {
            (0, _) => Walk::None,
            (_, true) if level == 0 || large => Walk::Leaf(raw & PAE_ADDRESS),
            (_, true) => Walk::Table(raw & PAE_ADDRESS),
            // Bits 20:13 of an entry for 4 MiB are bits 39:32 of the address (PSE-36).
            (_, false) if large => Walk::Leaf(raw & 0xffc0_0000 | (raw >> 13 & 0xff) << 32),
            (_, false) if level == 0 => Walk::Leaf(raw & 0xffff_f000),
            (_, false) => Walk::Table(raw & 0xffff_f000),
        }
    }
}

impl Rules for I386 {
    fn space(&self) -> &AddressSpace {
        &self.space
    }

    fn route(&self, at: VirtAddr) -> Route {
        self.space.route(at)
    }

    /// The direct map, with the kernel image in it: as far as the memory ranges say, or else as far as it can be.
    fn linear(
        &self,
        _: &dyn Facts,
        ram: &[MemoryRange],
        _: &mut impl PhysMemory,
        _: &mut TableCache<'_>,
    ) -> Linear {
        let virt = self.space.kernel_start;
        let most = LOW_MEMORY_END - virt;
        let ends = ram.iter().filter(|range| direct(range) == Some(virt)).map(MemoryRange::end);
        let len = ends.max().unwrap_or(most).min(most);
        let mut linear = Linear::default();
        linear.add(LinearRange { virt, len, phys: 0 });
        linear
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::arch::paging::{Mapping, WalkError};
    use crate::testing::{Memory, info};
    use std::string::String;
    use std::vec;

    const TEXT: &str = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=c1e01000\n\
        SYMBOL(_stext)=c1000000\n";
    const ROOT: u64 = 0x1e0_1000;

    /// [`TEXT`], of a kernel with PAE or without.
    fn text(pae: bool) -> String {
        std::format!("{TEXT}CONFIG_X86_PAE={}\n", if pae { "y" } else { "n" })
    }

    fn arch(pae: bool) -> Arch {
        Arch::I386(I386::new(&info(&text(pae)), &[]).unwrap())
    }

    fn walk(pae: bool, memory: &mut Memory, at: u64) -> Result<Mapping, WalkError> {
        let mut storage = vec![0; TableCache::STORAGE];
        arch(pae).translate(VirtAddr(at), memory, &mut TableCache::new(&mut storage[..]))
    }

    fn found(phys: u64, len: u64) -> Result<Mapping, WalkError> {
        Ok(Mapping { phys: PhysAddr(phys), len })
    }

    fn not(at: u64, level: &'static str) -> Result<Mapping, WalkError> {
        Err(WalkError::NotMapped { at: VirtAddr(at), level })
    }

    #[test]
    fn two_levels_have_entries_of_four_bytes() {
        let mut m = Memory::new(0x1e0_0000, 0x10000);
        let mut put = |at: u64, entry: u32| m.put(at, &entry.to_le_bytes());
        put(ROOT + 4 * 0x300, 0x0000_01e3); // 0xc0000000: 4 MiB
        put(ROOT + 4 * 0x301, 0x0040_21e3 | 0xfe << 13); // 4 MiB above 4 GiB
        put(ROOT + 4 * 0x3e2, 0x01e0_2063); // 0xf8800000: a table
        put(0x1e0_2000 + 4 * 5, 0x1234_5163);
        put(0x1e0_2000 + 4 * 6, 0x1234_5162);
        assert_eq!(walk(false, &mut m, 0xc012_3456), found(0x12_3456, 0x2d_cbaa));
        assert_eq!(walk(false, &mut m, 0xc040_0010), found(0xff_0040_0010, 0x3f_fff0));
        assert_eq!(walk(false, &mut m, 0xf880_5123), found(0x1234_5123, 0xedd));
        assert_eq!(walk(false, &mut m, 0xf880_6000), not(0xf880_6000, "PTE"));
        assert_eq!(walk(false, &mut m, 0xc080_0000), not(0xc080_0000, "PGD"));
        let odd = 0x1_c012_3456;
        assert_eq!(walk(false, &mut m, odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
    }

    #[test]
    fn pae_has_three_levels_and_entries_of_eight_bytes() {
        let mut m = Memory::new(0x1e0_0000, 0x10000);
        m.put64(ROOT + 8 * 3, 0x1e0_2001); // 0xc0000000 on
        m.put64(0x1e0_2000, 0x1e3); // 2 MiB
        m.put64(0x1e0_2000 + 8, 0x8000_0001_4020_00e3); // 2 MiB above 4 GiB, NX
        m.put64(0x1e0_2000 + 8 * 0x1c4, 0x1e0_3063); // 0xf8800000
        m.put64(0x1e0_3000 + 8 * 5, 0x8000_0002_1234_5163);
        m.put64(ROOT, 0x81); // bit 7 means nothing here
        assert_eq!(walk(true, &mut m, 0xc012_3456), found(0x12_3456, 0xd_cbaa));
        assert_eq!(walk(true, &mut m, 0xc020_0010), found(0x1_4020_0010, 0x1f_fff0));
        assert_eq!(walk(true, &mut m, 0xf880_5123), found(0x2_1234_5123, 0xedd));
        assert_eq!(walk(true, &mut m, 0xf880_6000), not(0xf880_6000, "PTE"));
        assert_eq!(walk(true, &mut m, 0xc040_0000), not(0xc040_0000, "PMD"));
        assert_eq!(walk(true, &mut m, 0x4000_0000), not(0x4000_0000, "PGD"));
        assert!(matches!(walk(true, &mut m, 0), Err(WalkError::Table { .. })));
    }

    fn range(virt: u64, phys: u64, len: u64) -> MemoryRange {
        let (virt, phys) = (VirtAddr(virt), PhysAddr(phys));
        MemoryRange { virt, phys, len, ..MemoryRange::default() }
    }

    #[test]
    fn where_the_direct_map_begins_the_ranges_say_or_the_kernel() {
        let start = |text: &str, ram: &[MemoryRange]| {
            let arch = I386::new(&info(text), ram).unwrap();
            (arch.space.kernel_start, arch.space.tables.root.0)
        };
        assert_eq!(start(TEXT, &[]), (0xc000_0000, ROOT));
        // Moved by KASLR.
        let moved = TEXT.replace("c1000000", "d7000000").replace("c1e01000", "d7e01000");
        assert_eq!(start(&moved, &[]), (0xc000_0000, 0x17e0_1000));
        let split = TEXT.replace("c1", "81");
        assert_eq!(start(&split, &[]), (0x8000_0000, ROOT));
        // Memory above the direct map has all ones, in files of either class; QEMU's has 0.
        let high =
            [range(0xffff_ffff, 0x3780_0000, 0x1000), range(u64::MAX, 0x1_0000_0000, 0x1000)];
        let none = range(0, 0x10_0000, 0x1000);
        assert_eq!(start(TEXT, &[none, high[0], high[1]]), (0xc000_0000, ROOT));
        let low = range(0xb010_0000, 0x10_0000, 0x1000);
        let third = TEXT.replace("c1", "b1");
        assert_eq!(start(&third, &[high[0], high[1], low]), (0xb000_0000, ROOT));
        for key in ["SYMBOL(swapper_pg_dir)", "SYMBOL(_stext)"] {
            let missing = I386::new(&info(&TEXT.replace(key, "SYMBOL(x)")), &[]).unwrap_err();
            assert_eq!(std::format!("{missing}"), std::format!("{key} is missing in VMCOREINFO"));
        }
        let low = range(0xc010_0000, 0x10_0000, 0x1000);
        assert!(I386::new(&info("SYMBOL(swapper_pg_dir)=c1e01000\n"), &[low]).is_ok());
    }

    #[test]
    fn arithmetic_ends_with_low_memory() {
        let mut m = Memory::new(0, 0x1000);
        let mut storage = vec![0; TableCache::STORAGE];
        let mut find = |ram: &[MemoryRange], at: u64| {
            let mut cache = TableCache::new(&mut storage[..]);
            let arch = Arch::I386(I386::new(&info(TEXT), ram).unwrap());
            arch.linear(&info(TEXT), ram, &mut m, &mut cache).find(VirtAddr(at)).map(|m| m.phys.0)
        };
        assert_eq!(find(&[], 0xc012_3456), Some(0x12_3456));
        assert_eq!(find(&[], 0xf7ff_ffff), Some(0x37ff_ffff));
        assert_eq!(find(&[], 0xf800_0000), None);
        let ram = [range(0xc000_1000, 0x1000, 0x9e000), range(0xc010_0000, 0x10_0000, 0x2000_0000)];
        assert_eq!(find(&ram, 0xe00f_ffff), Some(0x200f_ffff));
        assert_eq!(find(&ram, 0xe010_0000), None);
        assert_eq!(find(&ram, 0xbfff_ffff), None);
    }

    #[test]
    fn sections_of_kernels_that_do_not_export_their_size() {
        let bits = |version: &str, pae| {
            let text = text(pae).replace("6.1.0", version);
            let space = I386::new(&info(&text), &[]).unwrap().space;
            (space.section_bits, space.physmem_bits)
        };
        assert_eq!((bits("2.6.25", true), bits("2.6.26", true)), ((30, 36), (29, 36)));
        assert_eq!(bits("2.6.26", false), (26, 32));
    }
}
