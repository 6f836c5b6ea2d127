//! riscv64: Sv39, Sv48 and Sv57, Svnapot (RISC-V Instruction Set Manual vol. II, chapters "Supervisor-Level ISA"
//! and "Svnapot"; Linux `Documentation/arch/riscv/vm-layout.rst`, `arch/riscv/include/asm/pgtable-64.h`,
//! `arch/riscv/kernel/vmcore_info.c`).

use super::linear::{Linear, LinearRange};
use super::paging::{Entry, PagingForm, TableCache, Tables, Walk};
use super::{AddressSpace, Route, Rules};
use crate::endian::{Endian, Word};
use crate::facts::{Facts, KernelVersion, MissingKey};
use crate::memory::{MemoryRange, PhysMemory};
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// Leaves may be on any level.
const FORM: PagingForm =
    PagingForm { shifts: &[12, 21, 30, 39, 48], entry: Word::Bits64, largest_leaf: 4 };

/// V bit of an entry.
const VALID: u64 = 1;
/// R, W and X: an entry with any of them is a leaf.
const LEAF: u64 = 0xe;
/// N bit: several entries map one block (Svnapot). On CPUs of T-Head it is one of the memory type.
const NAPOT: u64 = 1 << 63;
/// Low bits of the page number in an entry of a block of 64 KiB, the only size that there is.
const NAPOT_64_KIB: u64 = 0x8000;
/// log2 of its bytes.
const NAPOT_BITS: u8 = 16;

/// No kernel image is larger, with its `.bss`.
const IMAGE_SIZE: u64 = 512 << 20;
/// The last bytes of the address space have modules and the kernel image; all else lies below.
const MODULES_AND_IMAGE: u64 = 4 << 30;

/// One riscv64 kernel.
#[derive(Clone, Copy, Debug)]
pub struct Riscv64 {
    space: AddressSpace,
    /// `kernel_map.va_kernel_pa_offset`: virtual less physical address of the kernel image.
    image: u64,
    /// Where the image begins: it is linked to `KERNEL_LINK_ADDR`. Below it are modules.
    image_start: u64,
    page_offset: u64,
}

impl Riscv64 {
    /// Keys: `NUMBER(VA_BITS)`, `NUMBER(PAGE_OFFSET)`, `NUMBER(phys_ram_base)`, `NUMBER(KERNEL_LINK_ADDR)` and
    /// `NUMBER(va_kernel_pa_offset)`, which a kernel of 6.x exports, `SYMBOL(swapper_pg_dir)`; `KERNELOFFSET`
    /// where the kernel can be moved (6.6 and later).
    pub fn new(facts: &dyn Facts) -> Result<Riscv64, MissingKey> {
        let bits = facts.need(Kind::Number, "VA_BITS")?;
        let bits = match bits {
            39 | 48 | 57 => bits as u8,
            _ => return Err(MissingKey(Kind::Number, "VA_BITS")),
        };
        let root = facts.need(Kind::Symbol, "swapper_pg_dir")?;
        let image = facts.need(Kind::Number, "va_kernel_pa_offset")?;
        let linked = facts.need(Kind::Number, "KERNEL_LINK_ADDR")?;
        let page_offset = facts.need(Kind::Number, "PAGE_OFFSET")?;
        let phys_base = facts.need(Kind::Number, "phys_ram_base")?;
        let half = 1u64 << (bits - 1);
        let space = AddressSpace {
            tables: Tables {
                form: &FORM,
                bits,
                endian: Endian::Little,
                root: PhysAddr(root.wrapping_sub(image)),
            },
            kernel_start: half.wrapping_neg(),
            user_end: half,
            top_byte_ignored: false,
            phys_base,
            // `ARCH_PFN_OFFSET`.
            first_pfn: Pfn(phys_base >> 12),
            section_bits: 27,
            physmem_bits: 56,
            // 1 GiB pages.
            largest_huge_page_bits: 30,
        };
        let moved = facts.kaslr_offset().map_or(0, |offset| offset.value);
        Ok(Riscv64 { space, image, image_start: linked.wrapping_add(moved), page_offset })
    }
}

impl Entry for Riscv64 {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        // Bits 10 to 53 are the page number.
        let to = (raw >> 10 & ((1 << 44) - 1)) << 12;
        match (raw & VALID, raw & LEAF) {
            (0, _) => Walk::None,
            (_, 0) => Walk::Table(to),
            _ if level == 0 && raw & NAPOT != 0 && to & 0xf000 == NAPOT_64_KIB => {
                Walk::BlockOf { base: to, bits: NAPOT_BITS }
            }
            _ => Walk::Leaf(to),
        }
    }
}

impl Rules for Riscv64 {
    fn space(&self) -> &AddressSpace {
        &self.space
    }

    fn route(&self, at: VirtAddr) -> Route {
        self.space.route(at)
    }

    /// The kernel image, and the linear map as far as there is memory. Before 6.4 ("riscv: Use PUD/P4D/PGD
    /// pages for the linear mapping") that began where the kernel had been loaded, which no key says.
    fn linear(
        &self,
        facts: &dyn Facts,
        ram: &[MemoryRange],
        _: &mut impl PhysMemory,
        _: &mut TableCache<'_>,
    ) -> Linear {
        let mut linear = Linear::default();
        let virt = self.image_start;
        let len = IMAGE_SIZE.min(virt.wrapping_neg());
        linear.add(LinearRange { virt, len, phys: virt.wrapping_sub(self.image) });
        if facts.version().is_some_and(|v| v >= KernelVersion(6, 4, 0)) {
            let phys = self.space.phys_base;
            let end = ram.iter().map(MemoryRange::end).max().unwrap_or(0);
            let room = self.page_offset.wrapping_neg().saturating_sub(MODULES_AND_IMAGE);
            let len = end.saturating_sub(phys).min(room);
            linear.add(LinearRange { virt: self.page_offset, len, phys });
        }
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

    const RAM: u64 = 0x8000_0000;
    /// The image at RAM + 2 MiB, the root 64 KiB into it.
    const LOADED: u64 = RAM + 0x20_0000;
    const ROOT: u64 = LOADED + 0x1_0000;
    const LINK: u64 = 0xffff_ffff_8000_0000;

    fn text(bits: u32, page_offset: u64) -> String {
        moved(bits, page_offset, 0)
    }

    fn moved(bits: u32, page_offset: u64, offset: u64) -> String {
        format!(
            "OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={:x}\nNUMBER(VA_BITS)={bits}\n\
             NUMBER(phys_ram_base)={RAM}\nNUMBER(PAGE_OFFSET)=0x{page_offset:x}\n\
             NUMBER(KERNEL_LINK_ADDR)=0x{LINK:x}\nNUMBER(va_kernel_pa_offset)=0x{:x}\nKERNELOFFSET={offset:x}\n",
            LINK + offset + 0x1_0000,
            LINK + offset - LOADED,
        )
    }

    const SV39: u64 = 0xffff_ffd6_0000_0000;
    const SV48: u64 = 0xffff_af80_0000_0000;
    const SV57: u64 = 0xff60_0000_0000_0000;

    fn walk(text: &str, memory: &mut Memory, at: u64) -> Result<Mapping, WalkError> {
        let arch = Arch::Riscv64(Riscv64::new(&info(text)).unwrap());
        let mut storage = vec![0; TableCache::STORAGE];
        arch.translate(VirtAddr(at), memory, &mut TableCache::new(&mut storage[..]))
    }

    fn found(phys: u64, len: u64) -> Result<Mapping, WalkError> {
        Ok(Mapping { phys: PhysAddr(phys), len })
    }

    fn not(at: u64, level: &'static str) -> Result<Mapping, WalkError> {
        Err(WalkError::NotMapped { at: VirtAddr(at), level })
    }

    fn bad(at: u64, level: &'static str) -> Result<Mapping, WalkError> {
        Err(WalkError::BadEntry { at: VirtAddr(at), level })
    }

    /// A pointer to a table at `to`, a multiple of 4 KiB.
    fn table(to: u64) -> u64 {
        to >> 2 | 1
    }

    /// A leaf that can be read and written, as the kernel makes it: V R W G A D.
    fn leaf(to: u64) -> u64 {
        to >> 2 | 0xe7
    }

    #[test]
    fn sv39_has_three_levels_and_leaves_on_each() {
        let text = text(39, SV39);
        let mut m = Memory::new(LOADED, 0x4_0000);
        m.put64(ROOT + 8 * 0x158, leaf(0x8000_0000)); // 0xffffffd6_00000000: 1 GiB
        m.put64(ROOT + 8 * 0x159, table(ROOT + 0x1000));
        m.put64(ROOT + 0x1000, leaf(0xc020_0000)); // 2 MiB
        m.put64(ROOT + 0x1000 + 8, table(ROOT + 0x2000));
        m.put64(ROOT + 0x2000 + 8 * 5, leaf(0x1234_5000));
        m.put64(ROOT + 0x2000 + 8 * 6, leaf(0x1234_5000) & !1); // V clear
        m.put64(ROOT + 0x2000 + 8 * 7, table(ROOT)); // no leaf on the last level
        assert_eq!(walk(&text, &mut m, SV39 + 0x1234), found(0x8000_1234, (1 << 30) - 0x1234));
        let next = SV39 + (1 << 30);
        assert_eq!(walk(&text, &mut m, next + 0x10), found(0xc020_0010, 0x1f_fff0));
        assert_eq!(walk(&text, &mut m, next + 0x20_5123), found(0x1234_5123, 0xedd));
        assert_eq!(walk(&text, &mut m, next + 0x20_6000), not(next + 0x20_6000, "PTE"));
        assert_eq!(walk(&text, &mut m, next + 0x20_7000), bad(next + 0x20_7000, "PTE"));
        assert_eq!(walk(&text, &mut m, next + 0x40_0000), not(next + 0x40_0000, "PMD"));
        assert_eq!(walk(&text, &mut m, next + (1 << 30)), not(next + (1 << 30), "PGD"));
        for odd in [0x40_0000_0000, 0xffff_ffbf_ffff_f000] {
            assert_eq!(walk(&text, &mut m, odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
        }
    }

    #[test]
    fn sv48_and_sv57_have_a_level_more_each() {
        let mut m = Memory::new(LOADED, 0x4_0000);
        // Bits 47:39 and 38:30 of 0xffffaf8000000000 are 0x15f and 0.
        m.put64(ROOT + 8 * 0x15f, table(ROOT + 0x1000));
        m.put64(ROOT + 0x1000, leaf(0x8000_0000));
        m.put64(ROOT + 8 * 0x160, leaf(0x100_0000_0000)); // 512 GiB, which the hardware takes
        let four = text(48, SV48);
        assert_eq!(walk(&four, &mut m, SV48 + 8), found(0x8000_0008, (1 << 30) - 8));
        let above = SV48 + (1 << 39);
        assert_eq!(walk(&four, &mut m, above + 8), found(0x100_0000_0008, (1 << 39) - 8));

        let mut m = Memory::new(LOADED, 0x4_0000);
        // Bits 56:48 of 0xff60000000000000 are 0x160.
        m.put64(ROOT + 8 * 0x160, table(ROOT + 0x1000));
        m.put64(ROOT + 0x1000, table(ROOT + 0x2000));
        m.put64(ROOT + 0x2000, table(ROOT + 0x3000));
        m.put64(ROOT + 0x3000, leaf(0x8020_0000));
        let five = text(57, SV57);
        assert_eq!(walk(&five, &mut m, SV57 + 8), found(0x8020_0008, 0x1f_fff8));
        assert_eq!(walk(&five, &mut m, SV57 + (1 << 39)), not(SV57 + (1 << 39), "P4D"));
    }

    #[test]
    fn only_the_page_number_of_an_entry_is_an_address() {
        let text = text(39, SV39);
        let mut m = Memory::new(LOADED, 0x4_0000);
        m.put64(ROOT + 8 * 0x158, table(ROOT + 0x1000));
        m.put64(ROOT + 0x1000, table(ROOT + 0x2000));
        // Reserved bits, and a memory type of Svpbmt.
        m.put64(ROOT + 0x2000, leaf(0x1234_5000) | 0x7fc0_0000_0000_0000);
        // All of 56 bits; to be executed only; written only, which is a shadow stack.
        m.put64(ROOT + 0x2000 + 8, 0x003f_ffff_ffff_fc00 | 0x9);
        m.put64(ROOT + 0x2000 + 16, 0x1234_5000 >> 2 | 0x5);
        assert_eq!(walk(&text, &mut m, SV39), found(0x1234_5000, 0x1000));
        assert_eq!(walk(&text, &mut m, SV39 + 0x1000), found(0xff_ffff_ffff_f000, 0x1000));
        assert_eq!(walk(&text, &mut m, SV39 + 0x2000), found(0x1234_5000, 0x1000));
    }

    #[test]
    fn sixteen_entries_of_svnapot_map_one_block() {
        let text = text(39, SV39);
        let mut m = Memory::new(LOADED, 0x4_0000);
        m.put64(ROOT + 8 * 0x158, table(ROOT + 0x1000));
        m.put64(ROOT + 0x1000, table(ROOT + 0x2000));
        for entry in 16..32 {
            m.put64(ROOT + 0x2000 + 8 * entry, NAPOT | leaf(0x1234_8000));
        }
        // The same bit on a CPU of T-Head, and of a size that there is not.
        m.put64(ROOT + 0x2000 + 8 * 32, NAPOT | leaf(0x1234_5000));
        // A block of 2 MiB is one as it is.
        m.put64(ROOT + 0x1000 + 8, NAPOT | leaf(0x1220_0000));
        assert_eq!(walk(&text, &mut m, SV39 + 0x1_0000), found(0x1234_0000, 0x1_0000));
        assert_eq!(walk(&text, &mut m, SV39 + 0x1_8123), found(0x1234_8123, 0x7edd));
        assert_eq!(walk(&text, &mut m, SV39 + 0x1_ffff), found(0x1234_ffff, 1));
        assert_eq!(walk(&text, &mut m, SV39 + 0x2_0123), found(0x1234_5123, 0xedd));
        assert_eq!(walk(&text, &mut m, SV39 + 0x20_0000), found(0x1220_0000, 0x20_0000));
    }

    #[test]
    fn the_image_and_the_linear_map_are_found_without_tables() {
        let range = |phys: u64, len: u64| MemoryRange {
            phys: PhysAddr(phys),
            len,
            ..MemoryRange::default()
        };
        let ram = [range(RAM, 0x1000), range(0xa000_0000, 0x1000_0000)];
        let find = |text: &str, at: u64| {
            let (mut none, mut cache) = (Memory::new(0, 0), TableCache::new(&mut [][..]));
            let linear = Riscv64::new(&info(text)).unwrap();
            let linear = linear.linear(&info(text), &ram, &mut none, &mut cache);
            linear.find(VirtAddr(at)).map(|m| m.phys.0)
        };
        let plain = text(57, SV57);
        assert_eq!(find(&plain, LINK + 0x1234), Some(LOADED + 0x1234));
        assert_eq!(find(&plain, LINK - 1), None, "modules");
        assert_eq!(find(&plain, SV57), Some(RAM));
        assert_eq!(find(&plain, SV57 + 0x2fff_ffff), Some(0xafff_ffff));
        assert_eq!(find(&plain, SV57 + 0x3000_0000), None, "no memory");
        assert_eq!(find(&plain, SV57 - 1), None);
        // Moved: below the image are modules, above where it was linked to.
        let moved = moved(57, SV57, 0x1460_0000);
        assert_eq!(find(&moved, LINK + 0x1460_1234), Some(LOADED + 0x1234));
        assert_eq!(find(&moved, LINK + 0x145f_ffff), None);
        // Where the linear map began before 6.4, the tables alone say.
        let old = plain.replace("6.12.0", "6.1.0");
        assert_eq!((find(&old, SV57), find(&old, LINK)), (None, Some(LOADED)));
    }

    #[test]
    fn memory_begins_where_the_kernel_says() {
        let arch = Riscv64::new(&info(&text(48, SV48))).unwrap();
        assert_eq!((arch.space.first_pfn, arch.space.phys_base), (Pfn(0x8_0000), RAM));
        assert_eq!(arch.space.tables.root, PhysAddr(ROOT));
        let moved = Riscv64::new(&info(&moved(48, SV48, 0x1460_0000))).unwrap();
        assert_eq!(moved.space.tables.root, PhysAddr(ROOT));
    }

    #[test]
    fn what_is_missing_or_cannot_be_is_named() {
        let whole = text(48, SV48);
        for name in [
            "VA_BITS",
            "phys_ram_base",
            "PAGE_OFFSET",
            "KERNEL_LINK_ADDR",
            "va_kernel_pa_offset",
            "swapper_pg_dir",
        ] {
            let MissingKey(_, missing) =
                Riscv64::new(&info(&whole.replace(name, "x"))).unwrap_err();
            assert_eq!(missing, name);
        }
        for bits in ["0", "32", "64", "-1", "304"] {
            let text = whole.replace("VA_BITS)=48", &format!("VA_BITS)={bits}"));
            assert!(Riscv64::new(&info(&text)).is_err(), "{bits}");
        }
    }
}
