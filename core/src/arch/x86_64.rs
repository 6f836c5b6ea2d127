//! x86_64: 4- and 5-level paging, KASLR, SME (Intel SDM vol. 3A chapter 5 "Paging"; Linux
//! `Documentation/arch/x86/x86_64/mm.rst`, `arch/x86/kernel/vmcore_info_64.c`).

use super::linear::{Linear, LinearRange};
use super::paging::{Entry, PagingForm, TableCache, Tables, Walk};
use super::{AddressSpace, Route, Rules};
use crate::endian::{Endian, Word};
use crate::facts::{Facts, KernelVersion, MissingKey};
use crate::memory::{MemoryRange, PhysMemory};
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// `__START_KERNEL_map`: where the kernel image is linked to.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// Bits 12 to 51 of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1;
/// PS bit of a PUD or PMD entry: a 1 GiB or 2 MiB page.
const LARGE: u64 = 1 << 7;
/// Number of the level of PUDs, the highest that has pages.
const PUD: u8 = 2;
/// `KERNEL_IMAGE_SIZE` of kernels that do not export it (before 4.11) and may not be moved.
const IMAGE_SIZE: u64 = 512 << 20;
/// Physical addresses have no more bits.
const PHYSICAL_BITS: u32 = 52;

const FORM: PagingForm =
    PagingForm { shifts: &[12, 21, 30, 39, 48], entry: Word::Bits64, largest_leaf: PUD };
/// Bits of an address that five levels of page tables translate; four have 48.
const FIVE_LEVELS: u8 = 57;

/// One x86_64 kernel.
#[derive(Clone, Copy, Debug)]
pub struct X86_64 {
    space: AddressSpace,
    /// Bits of an entry that are those of an address: not the one that says that the memory is encrypted.
    address: u64,
    /// Whether it is Xen's domain 0.
    #[cfg(feature = "xen")]
    is_domain0: bool,
}

impl X86_64 {
    /// Keys: `SYMBOL(init_top_pgt)` (4.13 and later) or `SYMBOL(init_level4_pgt)`, or
    /// `SYMBOL(swapper_pg_dir)`, an alias of both; `NUMBER(phys_base)` (4.10 and later; before
    /// that the PT_LOAD of the kernel image has it), `NUMBER(pgtable_l5_enabled)`,
    /// `NUMBER(sme_mask)`.
    pub fn new(facts: &dyn Facts, ram: &[MemoryRange]) -> Result<X86_64, MissingKey> {
        let root = ["init_level4_pgt", "init_top_pgt", "swapper_pg_dir"]
            .iter()
            .find_map(|name| facts.get(Kind::Symbol, name))
            .ok_or(MissingKey(Kind::Symbol, "init_top_pgt"))?;
        let phys_base = facts.get(Kind::Number, "phys_base").unwrap_or_else(|| {
            ram.iter()
                .find(|s| s.virt.0 >= KERNEL_MAP)
                .map_or(0, |s| s.phys.0.wrapping_sub(s.virt.0 - KERNEL_MAP))
        });
        let five_levels = facts.get(Kind::Number, "pgtable_l5_enabled").unwrap_or(0) != 0;
        let address = ADDRESS & !facts.get(Kind::Number, "sme_mask").unwrap_or(0);
        let bits = if five_levels { FIVE_LEVELS } else { 48 };
        let half = 1u64 << (bits - 1);
        let root = root.wrapping_sub(KERNEL_MAP).wrapping_add(phys_base);
        let space = AddressSpace {
            tables: Tables {
                form: &FORM,
                bits,
                endian: Endian::Little,
                root: PhysAddr(root & address),
            },
            kernel_start: half.wrapping_neg(),
            user_end: half,
            top_byte_ignored: false,
            phys_base,
            first_pfn: Pfn(0),
            section_bits: 27,
            // Of kernels that do not export it (before 5.9).
            physmem_bits: match facts.version() {
                _ if five_levels => 52,
                Some(v) if v < KernelVersion(2, 6, 26) => 40,
                Some(v) if v < KernelVersion(2, 6, 31) => 44,
                _ => 46,
            },
            // 1 GiB pages.
            largest_huge_page_bits: 30,
        };
        Ok(X86_64 {
            space,
            address,
            #[cfg(feature = "xen")]
            is_domain0: false,
        })
    }

    /// The page tables of a Xen hypervisor, which has four levels.
    #[cfg(feature = "xen")]
    pub fn of_xen(root: PhysAddr) -> X86_64 {
        let space = AddressSpace {
            tables: Tables { form: &FORM, bits: 48, endian: Endian::Little, root },
            kernel_start: 0xffff_8000_0000_0000,
            user_end: 0,
            top_byte_ignored: false,
            phys_base: 0,
            first_pfn: Pfn(0),
            section_bits: 27,
            physmem_bits: 52,
            largest_huge_page_bits: 30,
        };
        X86_64 { space, address: ADDRESS, is_domain0: false }
    }

    /// This kernel as the domain 0 of a Xen host: its page tables hold addresses of the machine, and nothing is where
    /// arithmetic has it. `None` where the first table cannot be found.
    #[cfg(feature = "xen")]
    pub(super) fn of_domain0(mut self, dump: &mut impl crate::memory::Dump) -> Option<X86_64> {
        let root = &mut self.space.tables.root;
        let frame = super::xen::machine_frame(dump, Pfn(root.0 >> 12))?;
        *root = PhysAddr(frame.0.checked_mul(4096)?);
        self.is_domain0 = true;
        Some(self)
    }

    /// `__PAGE_OFFSET` of kernels that are not moved. It changed in 4.20 ("x86/mm: Move LDT remap out
    /// of KASLR region on 5-level paging"), and in updates of 4.14 and 4.19.
    fn usual_base(&self, facts: &dyn Facts) -> Option<u64> {
        match (facts.version()?, self.space.tables.bits == FIVE_LEVELS) {
            (v, false) if v < KernelVersion(2, 6, 27) => Some(0xffff_8100_0000_0000),
            (v, false) if v < KernelVersion(4, 14, 0) => Some(0xffff_8800_0000_0000),
            (v, _) if v < KernelVersion(4, 20, 0) => None,
            (_, false) => Some(0xffff_8880_0000_0000),
            (_, true) => Some(0xff11_0000_0000_0000),
        }
    }

    /// The lowest kernel address that the PUDs know, which is that of the first byte of memory.
    fn lowest_mapped(
        &self,
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Option<u64> {
        let tables = &self.space.tables;
        // The upper half of the top table is that of the kernel.
        let (mut table, mut virt) = (tables.root, self.space.kernel_start);
        for level in tables.levels().take_while(|level| level.number >= PUD) {
            let mut index = level.index(virt);
            let entry = loop {
                match cache.entry(tables, level, table, index, source).ok()? {
                    entry if entry & PRESENT != 0 => break entry,
                    _ if index + 1 < level.entries() => index += 1,
                    _ => return None,
                }
            };
            virt |= index << level.shift;
            table = PhysAddr(entry & self.address);
        }
        Some(virt)
    }
}

impl Entry for X86_64 {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let to = raw & self.address;
        match (raw & PRESENT, level, raw & LARGE) {
            (0, ..) => Walk::None,
            (_, 1.., 0) => Walk::Table(to),
            _ => Walk::Leaf(to),
        }
    }
}

impl Rules for X86_64 {
    fn space(&self) -> &AddressSpace {
        &self.space
    }

    fn route(&self, at: VirtAddr) -> Route {
        self.space.route(at)
    }

    /// The kernel image, which is mapped as a whole, and the direct map. Where that begins is told
    /// by the PT_LOADs of a vmcore; in a dump by the upper page tables, some of which are in the
    /// image: nothing is mapped below it. Without those, a kernel that was not moved has it where
    /// all such kernels have it.
    fn linear(
        &self,
        facts: &dyn Facts,
        ram: &[MemoryRange],
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Linear {
        let mut linear = Linear::default();
        #[cfg(feature = "xen")]
        if self.is_domain0 {
            return linear;
        }
        let size = facts.get(Kind::Number, "KERNEL_IMAGE_SIZE").unwrap_or(IMAGE_SIZE);
        linear.add(LinearRange {
            virt: KERNEL_MAP,
            len: size.min(KERNEL_MAP.wrapping_neg()),
            phys: self.space.phys_base,
        });
        let is_direct = |at: VirtAddr| self.space.is_kernel_address(at) && at.0 < KERNEL_MAP;
        let by_range =
            ram.iter().find(|s| is_direct(s.virt)).map(|s| s.virt.0.wrapping_sub(s.phys.0));
        let base = by_range.or_else(|| self.lowest_mapped(source, cache)).or_else(|| {
            self.usual_base(facts)
                .filter(|_| facts.kaslr_offset().is_none_or(|offset| offset.value == 0))
        });
        if let Some(virt) = base {
            let len = (KERNEL_MAP - virt.min(KERNEL_MAP)).min(1 << PHYSICAL_BITS);
            linear.add(LinearRange { virt, len, phys: 0 });
        }
        linear
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::arch::paging::{Mapping, Step, WalkError};
    use crate::testing::{Memory, info};
    use std::vec;

    const TEXT: &str = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(init_top_pgt)=ffffffff81001000\n\
        NUMBER(phys_base)=16777216\n";

    fn arch(text: &str) -> Arch {
        Arch::X86_64(X86_64::new(&info(text), &[]).unwrap())
    }

    fn walk(text: &str, memory: &mut Memory, at: u64) -> Result<Mapping, WalkError> {
        let mut storage = vec![0; TableCache::STORAGE];
        arch(text).translate(VirtAddr(at), memory, &mut TableCache::new(&mut storage[..]))
    }

    // phys_base 16 MiB: the root of TEXT is at physical 0x2001000.
    fn tables() -> Memory {
        let mut m = Memory::new(0x200_0000, 0x10000);
        m.put64(0x200_1000 + 8 * 0x1ff, 0x200_2003); // top of the address space
        m.put64(0x200_2000 + 8 * 0x1fe, 0x200_3003);
        m.put64(0x200_3000, 0x200_4063); // 4 KiB pages
        m.put64(0x200_3000 + 8, 0x8000_0000_4000_10e3); // 2 MiB, NX and PAT set
        m.put64(0x200_4000 + 8 * 5, 0x8000_0000_1234_5163);
        m.put64(0x200_2000 + 8 * 0x1fd, 0xc000_00e3); // 1 GiB
        m
    }

    #[test]
    fn leaves_of_every_size_are_found() {
        let mut m = tables();
        assert_eq!(
            walk(TEXT, &mut m, 0xffff_ffff_8000_5123),
            Ok(Mapping { phys: PhysAddr(0x1234_5123), len: 0xedd })
        );
        assert_eq!(
            walk(TEXT, &mut m, 0xffff_ffff_8020_0010),
            Ok(Mapping { phys: PhysAddr(0x4000_0010), len: 0x1f_fff0 })
        );
        assert_eq!(
            walk(TEXT, &mut m, 0xffff_ffff_7fff_fff0),
            Ok(Mapping { phys: PhysAddr(0xffff_fff0), len: 0x10 })
        );
    }

    #[test]
    fn every_entry_on_the_way_is_told() {
        let mut storage = vec![0; TableCache::STORAGE];
        let mut cache = TableCache::new(&mut storage[..]);
        let step = |level, entry_at, entry| Step { level, entry_at: PhysAddr(entry_at), entry };
        let large = step("PMD", 0x200_3008, 0x8000_0000_4000_10e3);
        let top = [step("PGD", 0x200_1ff8, 0x200_2003), step("PUD", 0x200_2ff0, 0x200_3003)];
        let small =
            [step("PMD", 0x200_3000, 0x200_4063), step("PTE", 0x200_4028, 0x8000_0000_1234_5163)];
        for (at, low) in [
            (0xffff_ffff_8000_5123, &small[..]),
            (0xffff_ffff_8020_0010, &[large]),
            (0xffff_ffff_8000_5123, &small),
        ] {
            arch(TEXT).translate(VirtAddr(at), &mut tables(), &mut cache).unwrap();
            let steps: vec::Vec<_> = cache.steps().collect();
            assert_eq!(steps, [&top, low].concat());
        }
    }

    #[test]
    fn holes_name_their_level() {
        let mut m = tables();
        let not = |at, level| Err(WalkError::NotMapped { at: VirtAddr(at), level });
        assert_eq!(walk(TEXT, &mut m, 0xffff_ffff_8000_4000), not(0xffff_ffff_8000_4000, "PTE"));
        assert_eq!(walk(TEXT, &mut m, 0xffff_ffff_8040_0000), not(0xffff_ffff_8040_0000, "PMD"));
        assert_eq!(walk(TEXT, &mut m, 0xffff_ffff_c000_0000), not(0xffff_ffff_c000_0000, "PUD"));
        assert_eq!(walk(TEXT, &mut m, 0xffff_8000_0000_0000), not(0xffff_8000_0000_0000, "PGD"));
        let odd = 0x1234_5678_9abc_def0;
        assert_eq!(walk(TEXT, &mut m, odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
    }

    #[test]
    fn five_levels_and_the_sme_bit() {
        let mut m = Memory::new(0x200_0000, 0x10000);
        let c = 1u64 << 47;
        m.put64(0x200_1000 + 8 * 0x110, 0x200_2003 | c);
        m.put64(0x200_2000 + 8 * 3, 0x200_3003 | c);
        m.put64(0x200_3000 + 8 * 4, 0x1_0000_00e3 | c);
        let text = std::format!("{TEXT}NUMBER(pgtable_l5_enabled)=1\nNUMBER(sme_mask)={c}\n");
        let at = 0xff10_0000_0000_0000u64 + (3 << 39) + (4 << 30) + 0x1234;
        assert_eq!(
            walk(&text, &mut m, at),
            Ok(Mapping { phys: PhysAddr(0x1_0000_1234), len: (1 << 30) - 0x1234 })
        );
    }

    #[test]
    fn tables_outside_memory_and_loops_end() {
        let mut m = Memory::new(0x200_0000, 0x10000);
        m.put64(0x200_1000 + 8 * 0x1ff, 0x9_0000_0003);
        assert!(matches!(walk(TEXT, &mut m, u64::MAX), Err(WalkError::Table { .. })));
        m.put64(0x200_1000 + 8 * 0x1ff, 0x200_1003); // the root points at itself
        assert!(walk(TEXT, &mut m, u64::MAX).is_ok());
    }

    #[test]
    fn the_image_and_the_direct_map_are_found_without_lower_tables() {
        let mut m = Memory::new(0x200_0000, 0x10000);
        let mut storage = vec![0; TableCache::STORAGE];
        let mut find = |text: &str, ram: &[MemoryRange], m: &mut Memory, at: u64| {
            let mut cache = TableCache::new(&mut storage[..]);
            arch(text).linear(&info(text), ram, m, &mut cache).find(VirtAddr(at)).map(|m| m.phys.0)
        };
        // Nothing but the image: no table is there.
        assert_eq!(find(TEXT, &[], &mut m, 0xffff_ffff_8123_4567), Some(0x223_4567));
        assert_eq!(find(TEXT, &[], &mut m, 0xffff_ffff_a000_0000), None);
        let sized = std::format!("{TEXT}NUMBER(KERNEL_IMAGE_SIZE)=1073741824\n");
        assert_eq!(find(&sized, &[], &mut m, 0xffff_ffff_a000_0000), Some(0x2100_0000));
        assert_eq!(find(&sized, &[], &mut m, 0xffff_ffff_c000_0000), None);
        assert_eq!(find(TEXT, &[], &mut m, 0xffff_8880_0012_3000), Some(0x12_3000));
        let moved = std::format!("{TEXT}KERNELOFFSET=2ea00000\n");
        assert_eq!(find(&moved, &[], &mut m, 0xffff_8880_0012_3000), None);
        let old = TEXT.replace("6.1.0", "3.2.0");
        assert_eq!(find(&old, &[], &mut m, 0xffff_8800_0012_3000), Some(0x12_3000));
        // The root and a PUD in the image; the lower half is not the kernel's.
        m.put64(0x200_1000 + 8 * 0x12, 0x200_5003);
        m.put64(0x200_1000 + 8 * 0x136, 0x200_2003);
        m.put64(0x200_2000 + 8 * 0x5d, 0x9_0000_0003);
        let base = 0xffff_9b17_4000_0000;
        assert_eq!(find(TEXT, &[], &mut m, base), Some(0));
        assert_eq!(find(TEXT, &[], &mut m, base + 0x1_2345_6789), Some(0x1_2345_6789));
        assert_eq!(find(TEXT, &[], &mut m, base - 1), None);
        let five = std::format!("{TEXT}NUMBER(pgtable_l5_enabled)=1\n");
        let mut m5 = Memory::new(0x200_0000, 0x10000);
        m5.put64(0x200_1000 + 8 * 0x18a, 0x200_2003);
        m5.put64(0x200_2000 + 8 * 0xa5, 0x200_3003);
        m5.put64(0x200_3000 + 8 * 0x6e, 0x9_0000_0003);
        let base = 0xff8a_529b_8000_0000;
        assert_eq!(find(&five, &[], &mut m5, base + 5), Some(5));
        // A vmcore tells it.
        let load = MemoryRange {
            phys: PhysAddr(0x10_0000),
            virt: VirtAddr(0xffff_8880_0010_0000),
            ..MemoryRange::default()
        };
        let image = MemoryRange { virt: VirtAddr(0xffff_ffff_8100_0000), ..MemoryRange::default() };
        assert_eq!(find(TEXT, &[image, load], &mut m, 0xffff_8880_0000_1000), Some(0x1000));
    }

    #[test]
    fn phys_base_comes_from_the_image_segment_where_no_key_has_it() {
        let text = "OSRELEASE=3.10.0\nPAGESIZE=4096\nSYMBOL(init_level4_pgt)=ffffffff81c0d000\n";
        let image = MemoryRange {
            phys: PhysAddr(0x200_0000),
            virt: VirtAddr(0xffff_ffff_8100_0000),
            ..MemoryRange::default()
        };
        let arch = X86_64::new(&info(text), &[MemoryRange::default(), image]).unwrap();
        assert_eq!(
            (arch.space.phys_base, arch.space.tables.root),
            (0x100_0000, PhysAddr(0x2c0_d000))
        );
        let missing = X86_64::new(&info("OSRELEASE=3.10.0\nPAGESIZE=4096\n"), &[]).unwrap_err();
        assert_eq!(std::format!("{missing}"), "SYMBOL(init_top_pgt) is missing in VMCOREINFO");
    }
}
