//! aarch64: pages of 4, 16 and 64 KiB, two to five levels, LPA and LPA2 (Arm Architecture Reference
//! Manual, chapter D8 "The AArch64 Virtual Memory System Architecture"; Linux
//! `Documentation/arch/arm64/memory.rst`, `arch/arm64/kernel/vmcore_info.c`).

use super::linear::{Linear, LinearRange};
use super::paging::{Entry, PagingForm, TableCache, Tables, Walk};
use super::{AddressSpace, Route, Rules};
use crate::endian::{Endian, Word};
use crate::facts::{Facts, KernelVersion, MissingKey};
use crate::memory::{MemoryRange, PhysMemory};
use crate::units::{PageShift, Pfn, PhysAddr, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// Bits 1:0 of a descriptor: a table above the last level, a page on it.
const TABLE_OR_PAGE: u64 = 3;
/// Bits 1:0 of a descriptor above the last level: a block.
const BLOCK: u64 = 1;

/// No kernel image is larger, with its `.bss`; behind it there may be modules.
const IMAGE_SIZE: u64 = 64 << 20;
/// `_stext` is in the first part of the image, of this many bytes; the image begins at a multiple of this.
const IMAGE_BEFORE: u64 = 64 << 10;

/// What depends on the size of pages.
struct Granule {
    page_bits: u32,
    /// The largest blocks are those of 1 GiB, of 32 MiB, or of 512 MiB: Linux makes none on the levels
    /// above (`pud_sect_supported` of `arch/arm64/include/asm/vmalloc.h`), and not all hardware would
    /// take them there.
    form: PagingForm,
    section_bits: u8,
    /// CONT_PMD of 64 KiB pages is 16 GiB.
    largest_huge_page_bits: u8,
}

const fn form(shifts: &'static [u8], largest_leaf: u8) -> PagingForm {
    PagingForm { shifts, entry: Word::Bits64, largest_leaf }
}

static GRANULES: [Granule; 3] = [
    Granule {
        page_bits: 12,
        form: form(&[12, 21, 30, 39, 48], 2),
        section_bits: 27,
        largest_huge_page_bits: 30,
    },
    Granule {
        page_bits: 14,
        form: form(&[14, 25, 36, 47], 1),
        section_bits: 27,
        largest_huge_page_bits: 30,
    },
    Granule {
        page_bits: 16,
        form: form(&[16, 29, 42], 1),
        section_bits: 29,
        largest_huge_page_bits: 34,
    },
];

/// Where a descriptor has bits 51:48 of an address.
#[derive(Clone, Copy, Debug)]
enum High {
    /// Nowhere: they are 0.
    None,
    /// Where a page of 64 KiB has no address bits.
    Lpa,
    /// Bits 49:48 in place, 51:50 in bits 9:8: so if and only if the kernel translates 52 bits.
    Lpa2,
}

/// One aarch64 kernel.
#[derive(Clone, Copy, Debug)]
pub struct Aarch64 {
    space: AddressSpace,
    /// `kimage_voffset`: virtual less physical address of the kernel image.
    image: u64,
    page: PageShift,
    high: High,
    /// Bits of a virtual address as the kernel runs.
    used_bits: u8,
    /// `VA_BITS` of the kernel's configuration.
    built_bits: u8,
}

impl Aarch64 {
    /// Keys: `NUMBER(VA_BITS)`, `NUMBER(kimage_voffset)` and `NUMBER(PHYS_OFFSET)` (4.12 and later,
    /// the first with kdump), `SYMBOL(swapper_pg_dir)`, `PAGESIZE` (4 KiB where it is missing);
    /// `NUMBER(TCR_EL1_T1SZ)` (5.9 and later): how many bits the CPU really translates. Tables have the byte
    /// order of the kernel.
    pub fn new(facts: &dyn Facts, endian: Endian) -> Result<Aarch64, MissingKey> {
        let key = |name| MissingKey(Kind::Number, name);
        let page = facts.page_shift().map_or(PageShift::FOUR_KIB, |shift| shift.value);
        let built_bits = facts
            .get(Kind::Number, "VA_BITS")
            .and_then(|bits| u8::try_from(bits).ok())
            .filter(|bits| (36..=52).contains(bits))
            .ok_or(key("VA_BITS"))?;
        let used_bits = match facts.get(Kind::Number, "TCR_EL1_T1SZ") {
            Some(size) => u8::try_from(size)
                .ok()
                .and_then(|size| 64u8.checked_sub(size))
                .filter(|bits| (36..=built_bits).contains(bits))
                .ok_or(key("TCR_EL1_T1SZ"))?,
            None => built_bits,
        };
        // Kernels of 64 KiB pages that could have 52 bits keep the table of 52 bits when they run
        // with 48, and use the upper end of it; others drop its top level.
        let bits = if page.bits() == 16 { built_bits } else { used_bits };
        let granule = GRANULES.iter().find(|g| g.page_bits == page.bits()).ok_or(key("VA_BITS"))?;
        let symbol = facts.need(Kind::Symbol, "swapper_pg_dir")?;
        let image = facts.need(Kind::Number, "kimage_voffset")?;
        let phys_base = facts.need(Kind::Number, "PHYS_OFFSET")?;
        let space = AddressSpace {
            tables: Tables {
                form: &granule.form,
                bits,
                endian,
                root: PhysAddr(symbol.wrapping_sub(image)),
            },
            kernel_start: (1u64 << used_bits).wrapping_neg(),
            // Users have TTBR0_EL1.
            user_end: 0,
            top_byte_ignored: true,
            phys_base,
            // `PHYS_PFN_OFFSET`. Where memory lies below the linear map's start, that is negative, and no
            // pfn is looked up.
            first_pfn: Pfn(phys_base >> page.bits()),
            // Of kernels that do not export it (before 5.13).
            section_bits: match facts.version() {
                // Made smaller in 5.12 ("arm64/sparsemem: reduce SECTION_SIZE_BITS").
                Some(v) if v < KernelVersion(5, 12, 0) => 30,
                _ => granule.section_bits,
            },
            // Of kernels that do not export it (before 5.9).
            physmem_bits: if built_bits == 52 { 52 } else { 48 },
            largest_huge_page_bits: granule.largest_huge_page_bits,
        };
        let high = match page.bits() {
            16 => High::Lpa,
            _ if used_bits > 48 => High::Lpa2,
            _ => High::None,
        };
        Ok(Aarch64 { space, image, page, high, used_bits, built_bits })
    }

    /// The physical address in a descriptor.
    fn output(&self, entry: u64) -> u64 {
        let low = entry & ((1 << 48) - (1 << self.page.bits()));
        low | match self.high {
            High::None => 0,
            High::Lpa => (entry >> 12 & 0xf) << 48,
            High::Lpa2 => entry & (0x3 << 48) | (entry >> 8 & 0x3) << 50,
        }
    }
}

impl Entry for Aarch64 {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let to = self.output(raw);
        match (raw & TABLE_OR_PAGE, level) {
            (TABLE_OR_PAGE, 1..) => Walk::Table(to),
            (TABLE_OR_PAGE, 0) | (BLOCK, 1..) => Walk::Leaf(to),
            (BLOCK, 0) => Walk::Bad,
            _ => Walk::None,
        }
    }
}

impl Rules for Aarch64 {
    fn space(&self) -> &AddressSpace {
        &self.space
    }

    fn route(&self, at: VirtAddr) -> Route {
        self.space.route(at)
    }

    /// The kernel image, where `SYMBOL(_stext)` says where it is, and the linear map: the lower
    /// half of the kernel's addresses since 5.4 ("arm64: mm: Flip kernel VA space"), the upper one
    /// before.
    fn linear(
        &self,
        facts: &dyn Facts,
        _: &[MemoryRange],
        _: &mut impl PhysMemory,
        _: &mut TableCache<'_>,
    ) -> Linear {
        let mut linear = Linear::default();
        if let Some(text) = facts.get(Kind::Symbol, "_stext") {
            let virt = text & !(IMAGE_BEFORE - 1);
            linear.add(LinearRange { virt, len: IMAGE_SIZE, phys: virt.wrapping_sub(self.image) });
        }
        // A kernel built for 52 bits has its linear map there also where it runs with 48.
        let (start, half) = (1u64 << self.built_bits, 1u64 << (self.used_bits - 1));
        let flipped = facts.version().is_none_or(|v| v >= KernelVersion(5, 4, 0));
        let virt = if flipped { start } else { half }.wrapping_neg();
        let len = if flipped { start - half } else { half };
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
    use std::{format, string::String, vec};

    const BASE: u64 = 0x4000_0000;

    /// The image at 0xffff_8000_8000_0000 and BASE, the root 64 KiB into it.
    fn text(page: u64, built: u32, used: u32) -> String {
        let image = 0xffff_8000_8000_0000u64;
        format!(
            "OSRELEASE=6.12.0\nPAGESIZE={page}\nNUMBER(VA_BITS)={built}\n\
             NUMBER(kimage_voffset)=0x{:x}\nNUMBER(PHYS_OFFSET)=0x{BASE:x}\n\
             NUMBER(TCR_EL1_T1SZ)=0x{:x}\nSYMBOL(swapper_pg_dir)={:x}\n",
            image - BASE,
            64 - used,
            image + 0x1_0000
        )
    }

    fn new(text: &str) -> Result<Aarch64, MissingKey> {
        Aarch64::new(&info(text), Endian::Little)
    }

    fn walk(text: &str, memory: &mut Memory, at: u64) -> Result<Mapping, WalkError> {
        let arch = Arch::Aarch64(new(text).unwrap());
        let mut storage = vec![0; TableCache::STORAGE];
        arch.translate(VirtAddr(at), memory, &mut TableCache::new(&mut storage[..]))
    }

    fn found(phys: u64, len: u64) -> Result<Mapping, WalkError> {
        Ok(Mapping { phys: PhysAddr(phys), len })
    }

    const ROOT: u64 = BASE + 0x1_0000;

    #[test]
    fn four_levels_of_4_kib_pages() {
        let text = text(4096, 48, 48);
        let mut m = Memory::new(BASE, 0x8_0000);
        m.put64(ROOT + 8 * 0x100, ROOT + 0x1000 + 3); // 0xffff_8000_...
        m.put64(ROOT + 0x1000 + 8 * 2, ROOT + 0x2000 + 3); // + 2 GiB
        m.put64(ROOT + 0x1000 + 8 * 3, 0x0060_0001_0000_0701); // a block of 1 GiB
        m.put64(ROOT + 0x2000, ROOT + 0x3000 + 3);
        m.put64(ROOT + 0x2000 + 8, 0x0060_0000_4020_0701); // a block of 2 MiB
        m.put64(ROOT + 0x3000 + 8 * 5, 0x0068_0000_1234_5703);
        m.put64(ROOT + 0x3000 + 8 * 6, 0x0068_0000_1234_5701); // no page on the last level
        let at = 0xffff_8000_8000_0000;
        assert_eq!(walk(&text, &mut m, at + 0x5123), found(0x1234_5123, 0xedd));
        assert_eq!(walk(&text, &mut m, at + 0x20_0010), found(0x4020_0010, 0x1f_fff0));
        assert_eq!(
            walk(&text, &mut m, at + (1 << 30) + 0x10),
            found(0x1_0000_0010, (1 << 30) - 16)
        );
        let not = |at, level| Err(WalkError::NotMapped { at: VirtAddr(at), level });
        let bad = |at, level| Err(WalkError::BadEntry { at: VirtAddr(at), level });
        assert_eq!(walk(&text, &mut m, at + 0x6000), bad(at + 0x6000, "PTE"));
        assert_eq!(walk(&text, &mut m, at + 0x7000), not(at + 0x7000, "PTE"));
        assert_eq!(walk(&text, &mut m, at + 0x40_0000), not(at + 0x40_0000, "PMD"));
        assert_eq!(walk(&text, &mut m, at - 1), not(at - 1, "PUD"));
        m.put64(ROOT + 8 * 0x101, 0x0060_0000_0000_0701); // a block of 512 GiB, which there is not
        assert_eq!(walk(&text, &mut m, at + (1 << 39)), bad(at + (1 << 39), "PGD"));
        assert_eq!(walk(&text, &mut m, u64::MAX), not(u64::MAX, "PGD"));
        for odd in [0x1234, 0x0000_8000_8000_5123, 0x00ff_8000_8000_5123 & !(1 << 55)] {
            assert_eq!(walk(&text, &mut m, odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
        }
        // The hardware ignores the top byte.
        assert_eq!(walk(&text, &mut m, (at + 0x5123) & !(0x0d << 56)), found(0x1234_5123, 0xedd));
    }

    #[test]
    fn lpa2_has_five_levels_and_two_more_address_bits() {
        let text = text(4096, 52, 52);
        let mut m = Memory::new(BASE, 0x8_0000);
        // 52 bits: 4 of them index the first table.
        m.put64(ROOT + 8 * 0xf, ROOT + 0x1000 + 3);
        m.put64(ROOT + 0x1000 + 8 * 0x100, ROOT + 0x2000 + 3);
        m.put64(ROOT + 0x2000 + 8 * 2, ROOT + 0x3000 + 3);
        m.put64(ROOT + 0x3000, ROOT + 0x4000 + 3);
        // Bits 51:50 of the address in bits 9:8, bits 49:48 in place.
        m.put64(ROOT + 0x4000, 0x0061_0000_0000_1603);
        let at = 0xffff_8000_8000_0000;
        assert_eq!(walk(&text, &mut m, at), found(0x9_0000_0000_1000, 0x1000));
        // The same kernel on a CPU without LPA2: bits 9:8 are the shareability.
        let text = self::text(4096, 52, 48);
        m.put64(ROOT + 8 * 0x100, ROOT + 0x2000 + 3);
        m.put64(ROOT + 0x4000, 0x0068_0000_0000_1703);
        assert_eq!(walk(&text, &mut m, at), found(0x1000, 0x1000));
    }

    #[test]
    fn sixty_four_kib_pages_use_the_upper_end_of_a_table_made_for_52_bits() {
        let mut m = Memory::new(BASE, 0x10_0000);
        // Bits 51:42 of 0xffff_8000_8000_0000.
        m.put64(ROOT + 8 * 0x3e0, ROOT + 0x1_0000 + 3);
        m.put64(ROOT + 0x1_0000 + 8 * 4, ROOT + 0x2_0000 + 3);
        m.put64(ROOT + 0x2_0000 + 8 * 0x1fff, 0x0068_0000_1235_5703); // bits 15:12: 51:48
        let at = 0xffff_8000_9fff_0000;
        for used in [48, 52] {
            let text = text(65_536, 52, used);
            assert_eq!(walk(&text, &mut m, at + 7), found(0x5_0000_1235_0007, 0xfff9));
        }
    }

    #[test]
    fn sixteen_kib_pages_have_indexes_of_eleven_bits() {
        let mut m = Memory::new(BASE, 0x10_0000);
        // 47 bits: three levels. Bits 46:36 of 0xffff_8000_8000_0000 are 0.
        m.put64(ROOT, ROOT + 0x4000 + 3);
        m.put64(ROOT + 0x4000 + 8 * 0x40, 0x0060_0000_0600_0701); // a block of 32 MiB
        let text = text(16_384, 47, 47);
        let at = 0xffff_8000_8000_0000u64;
        assert_eq!(walk(&text, &mut m, at + 0x10), found(0x600_0010, (32 << 20) - 16));
        m.put64(ROOT + 8, 0x0060_0000_0000_0701); // a block of 64 GiB, which there is not
        let above = at + (1 << 36);
        assert_eq!(
            walk(&text, &mut m, above),
            Err(WalkError::BadEntry { at: VirtAddr(above), level: "PGD" })
        );
    }

    #[test]
    fn tables_of_a_big_endian_kernel_are_big_endian() {
        let text = text(65_536, 48, 48);
        let mut m = Memory::new(BASE, 0x10_0000);
        m.put(ROOT + 8 * 0x20, &(ROOT + 0x1_0000 + 3).to_be_bytes());
        m.put(ROOT + 0x1_0000 + 8 * 4, &0x0060_0000_4000_0701u64.to_be_bytes());
        let arch = |endian| Arch::Aarch64(Aarch64::new(&info(&text), endian).unwrap());
        let mut find = |endian| {
            let mut storage = vec![0; TableCache::STORAGE];
            let at = VirtAddr(0xffff_8000_8000_1234);
            arch(endian).translate(at, &mut m, &mut TableCache::new(&mut storage[..]))
        };
        assert_eq!(find(Endian::Big), found(0x4000_1234, (512 << 20) - 0x1234));
        assert!(find(Endian::Little).is_err());
    }

    #[test]
    fn the_first_pfn_is_that_of_the_linear_map() {
        let first = |text: &str| new(text).unwrap().space.first_pfn;
        assert_eq!(first(&text(4096, 48, 48)), Pfn(BASE >> 12));
        assert_eq!(first(&text(65_536, 48, 48)), Pfn(BASE >> 16));
    }

    #[test]
    fn the_image_and_the_linear_map_are_found_without_tables() {
        let find = |text: &str, at: u64| {
            let (mut none, mut cache) = (Memory::new(0, 0), TableCache::new(&mut [][..]));
            let linear = new(text).unwrap().linear(&info(text), &[], &mut none, &mut cache);
            linear.find(VirtAddr(at)).map(|m| m.phys.0)
        };
        let image = 0xffff_8000_8000_0000u64;
        let plain = text(4096, 48, 48);
        assert_eq!(find(&plain, image + 0x1234), None, "no _stext");
        let moved = format!("{plain}SYMBOL(_stext)={:x}\n", image + 0x1_0000);
        assert_eq!(find(&moved, image + 0x12_3456), Some(BASE + 0x12_3456));
        assert_eq!(find(&moved, image + (1 << 30)), None);
        assert_eq!(find(&plain, 0xffff_0000_0012_3456), Some(BASE + 0x12_3456));
        assert_eq!(find(&plain, 0xfffe_ffff_ffff_ffff), None);
        let old = plain.replace("6.12.0", "4.19.0");
        assert_eq!(find(&old, 0xffff_8000_0012_3456), Some(BASE + 0x12_3456));
        assert_eq!(find(&old, 0xffff_0000_0012_3456), None);
        // LVA on a CPU with it, and on one without.
        let wide = text(65_536, 52, 52);
        assert_eq!(find(&wide, 0xfff0_0000_0000_0042), Some(BASE + 0x42));
        // There PHYS_OFFSET is less than where memory begins, by what the two differ in.
        let narrow = text(65_536, 52, 48);
        assert_eq!(find(&narrow, 0xffff_0000_0000_0042), Some(BASE + 0xf_0000_0000_0042));
        assert_eq!(find(&narrow, 0xffff_8000_0000_0042), None);
    }

    #[test]
    fn loops_and_tables_outside_memory_end() {
        let text = text(4096, 48, 48);
        let mut m = Memory::new(BASE, 0x8_0000);
        m.put64(ROOT + 8 * 0x1ff, 0x9_0000_0003);
        assert!(matches!(walk(&text, &mut m, u64::MAX), Err(WalkError::Table { .. })));
        m.put64(ROOT + 8 * 0x1ff, ROOT + 3); // the root points at itself
        assert!(walk(&text, &mut m, u64::MAX).is_ok());
    }

    #[test]
    fn what_is_missing_or_cannot_be_is_named() {
        let whole = text(4096, 48, 48);
        for name in ["VA_BITS", "kimage_voffset", "PHYS_OFFSET", "swapper_pg_dir"] {
            let without: String =
                whole.lines().filter(|l| !l.contains(name)).flat_map(|l| [l, "\n"]).collect();
            let MissingKey(_, missing) = new(&without).unwrap_err();
            assert_eq!(missing, name);
        }
        for bad in ["TCR_EL1_T1SZ)=0x0", "TCR_EL1_T1SZ)=0x40", "TCR_EL1_T1SZ)=-1"] {
            let text = whole.replace("TCR_EL1_T1SZ)=0x10", bad);
            assert!(new(&text).is_err(), "{bad}");
        }
        for bits in ["0", "64", "-1"] {
            let text = whole.replace("VA_BITS)=48", &format!("VA_BITS)={bits}"));
            assert!(new(&text).is_err(), "{bits}");
        }
    }

    #[test]
    fn sections_have_the_size_of_their_kernel() {
        let bits = |page, release: &str| {
            let text = text(page, 48, 48).replace("6.12.0", release);
            new(&text).unwrap().space.section_bits
        };
        assert_eq!((bits(4096, "5.10.0"), bits(65_536, "5.10.0")), (30, 30));
        assert_eq!((bits(4096, "5.12.0"), bits(65_536, "5.12.0")), (27, 29));
    }
}
