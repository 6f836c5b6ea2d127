//! s390x: region, segment and page tables, big-endian; kernels that run where they lie, and kernels with addresses
//! of their own (z/Architecture Principles of Operation, chapter 3 "Storage", "Dynamic Address Translation"; Linux
//! `arch/s390/include/asm/pgtable.h`, `lowcore.h`, `arch/s390/kernel/machine_kexec.c`).

use super::error::ArchError;
use super::linear::{Linear, LinearRange};
use super::paging::{Entry, PagingForm, TableCache, Tables, Walk};
use super::{AddressSpace, Route, Rules};
use crate::endian::{Endian, Word};
use crate::facts::{Facts, KernelVersion};
use crate::memory::{MemoryRange, PhysMemory};
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// Tables of 2,048 entries, but for page tables, which have 256. Regions of 2 GiB (EDAT2) and segments of 1 MiB
/// (EDAT1) may be mapped by one entry.
const FORM: PagingForm =
    PagingForm { shifts: &[12, 20, 31, 42, 53], entry: Word::Bits64, largest_leaf: 2 };
/// Bits of an address that the tables translate, by the type of the first one: segment table, region-third,
/// region-second and region-first table.
const BITS: [u8; 4] = [31, 42, 53, 64];
/// The type in bits 2 and 3 of an entry of every table but page tables; empty entries have it, too.
const TYPE: u64 = 3;
const TYPE_AT: u32 = 2;

/// I bit of an entry of a region or segment table, and of one of a page table.
const INVALID: u64 = 0x20;
const PAGE_INVALID: u64 = 0x400;
/// Format control: the entry of a region-third or segment table maps memory itself.
const LARGE: u64 = 0x400;
/// Page tables have 2 KiB, all other tables 16.
const PAGE_TABLE_ALIGN: u64 = 0x800;
const TABLE_ALIGN: u64 = 0x1000;

/// The prefix area, which every CPU has its own of, at the same addresses everywhere.
const LOWCORE: u64 = 0x2000;
/// No kernel image is larger, with its `.bss`.
const IMAGE_SIZE: u64 = 512 << 20;
/// In absolute storage: `lowcore.vmcore_info`, where the note of VMCOREINFO is.
const NOTE_POINTER: PhysAddr = PhysAddr(0xe0c);
/// That note up to its text: three words, and its name padded to words.
const NOTE_HEAD: usize = 24;

/// Where a kernel of 6.10 or later has put things that lie elsewhere physically.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// `IDENTITYBASE`: virtual address of physical 0.
    identity: u64,
    /// `KERNELOFFSET` and `KERNELOFFPHYS`: where the image begins.
    image: u64,
    image_phys: u64,
    /// `SAMODE31` and `EAMODE31`: code that lies below 2 GiB, and has the same addresses there.
    low_code: (u64, u64),
}

impl Layout {
    fn new(facts: &dyn Facts) -> Result<Option<Layout>, ArchError> {
        let line = |key| hexadecimal(facts.plain(key)?.value);
        let need = |key| line(key).ok_or(ArchError::MissingLine(key));
        let identity = match line("IDENTITYBASE") {
            Some(identity) => identity,
            // Older kernels run at the addresses at which they lie.
            None if facts.version().is_some_and(|v| v < KernelVersion(6, 10, 0)) => {
                return Ok(None);
            }
            None => return Err(ArchError::MissingLine("IDENTITYBASE")),
        };
        Ok(Some(Layout {
            identity,
            image: need("KERNELOFFSET")?,
            image_phys: need("KERNELOFFPHYS")?,
            low_code: (need("SAMODE31")?, need("EAMODE31")?),
        }))
    }

    /// Where these addresses lie; where two have one, the first counts.
    fn ranges(&self, memory_end: u64) -> [LinearRange; 4] {
        let same = |virt, len| LinearRange { virt, len, phys: virt };
        let (low, low_end) = self.low_code;
        [
            same(0, LOWCORE),
            same(low, low_end.saturating_sub(low)),
            LinearRange { virt: self.image, len: IMAGE_SIZE, phys: self.image_phys },
            LinearRange { virt: self.identity, len: memory_end, phys: 0 },
        ]
    }
}

/// Hexadecimal digits, all of them.
fn hexadecimal(raw: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(raw.trim_ascii()).ok()?;
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// One s390x kernel.
#[derive(Clone, Copy, Debug)]
pub struct S390x {
    space: AddressSpace,
    layout: Option<Layout>,
}

impl S390x {
    /// Keys: `SYMBOL(swapper_pg_dir)`, and of a kernel of 6.10 or later the lines `IDENTITYBASE`, `KERNELOFFSET`,
    /// `KERNELOFFPHYS`, `SAMODE31` and `EAMODE31`, in hexadecimal; of others `OSRELEASE`, which says that they are
    /// older. None says how many levels the tables have: see [`S390x::settled`].
    pub fn new(facts: &dyn Facts) -> Result<S390x, ArchError> {
        let root = facts.need(Kind::Symbol, "swapper_pg_dir")?;
        let layout = Layout::new(facts)?;
        let root = match layout {
            None => PhysAddr(root),
            Some(layout) => {
                let mut linear = Linear::default();
                layout.ranges(u64::MAX).into_iter().for_each(|range| linear.add(range));
                linear.find(VirtAddr(root)).map_or(PhysAddr(root), |found| found.phys)
            }
        };
        let space = AddressSpace {
            tables: Tables { form: &FORM, bits: 42, endian: Endian::Big, root },
            // Small addresses are as good as others.
            kernel_start: 0,
            user_end: 0,
            top_byte_ignored: false,
            phys_base: 0,
            first_pfn: Pfn(0),
            section_bits: 28,
            physmem_bits: AddressSpace::physmem_by_length(facts, 28, &[42, 46]).unwrap_or(46),
            largest_huge_page_bits: 31,
        };
        Ok(S390x { space, layout })
    }

    /// This kernel with as many levels of tables as it has, which the entries of the first one say. The usual
    /// three, where that cannot be read.
    pub fn settled(mut self, source: &mut impl PhysMemory) -> S390x {
        let mut raw = [0; 8];
        if source.read(self.space.tables.root, &mut raw).is_ok() {
            let kind = u64::from_be_bytes(raw) >> TYPE_AT & TYPE;
            self.space.tables.bits = BITS.get(kind as usize).copied().unwrap_or(42);
        }
        self
    }
}

/// Where the text of VMCOREINFO is, and its bytes, in the memory of a machine that has left its note nowhere else:
/// the dumps that QEMU makes have none, nor have those of the firmware.
pub fn vmcoreinfo(source: &mut impl PhysMemory) -> Option<(PhysAddr, u64)> {
    let mut pointer = [0; 8];
    source.read(NOTE_POINTER, &mut pointer).ok()?;
    let note = u64::from_be_bytes(pointer);
    let mut head = [0; NOTE_HEAD];
    source.read(PhysAddr(note), &mut head).ok()?;
    let word = |at| Endian::Big.u32(&head, at);
    let is_it = note != 0 && word(0) == Some(11) && head.get(12..23) == Some(b"VMCOREINFO\0");
    let len = word(4).filter(|_| is_it)?;
    Some((PhysAddr(note.checked_add(NOTE_HEAD as u64)?), len.into()))
}

impl Entry for S390x {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let invalid = if level == 0 { PAGE_INVALID } else { INVALID };
        let kind = raw >> TYPE_AT & TYPE;
        match level {
            _ if raw & invalid != 0 => Walk::None,
            0 => Walk::Leaf(raw),
            // What is no bit of the hardware may be one of Linux, and more so in later versions.
            _ if kind + 1 != level.into() => Walk::Bad,
            1 | 2 if raw & LARGE != 0 => Walk::Leaf(raw),
            1 => Walk::Table(raw & !(PAGE_TABLE_ALIGN - 1)),
            _ => Walk::Table(raw & !(TABLE_ALIGN - 1)),
        }
    }
}

impl Rules for S390x {
    fn space(&self) -> &AddressSpace {
        &self.space
    }

    fn route(&self, at: VirtAddr) -> Route {
        self.space.route(at)
    }

    /// All memory, and what has addresses of its own.
    fn linear(
        &self,
        _: &dyn Facts,
        ram: &[MemoryRange],
        _: &mut impl PhysMemory,
        _: &mut TableCache<'_>,
    ) -> Linear {
        let end = ram.iter().map(MemoryRange::end).max().unwrap_or(0);
        let mut linear = Linear::default();
        match &self.layout {
            None => linear.add(LinearRange { virt: 0, len: end, phys: 0 }),
            Some(layout) => layout.ranges(end).into_iter().for_each(|range| linear.add(range)),
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

    const IMAGE: u64 = 0x10_0000;
    const ROOT: u64 = IMAGE + 0x8000;
    /// An empty entry of a region-third table.
    const EMPTY_THIRD: u64 = 0x24;

    /// A kernel that runs where it lies.
    fn old() -> String {
        format!("OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={ROOT:x}\n")
    }

    const OFFSET: u64 = 0x3ff_fe3a_8000;

    /// One that was moved.
    fn new(identity: u64) -> String {
        format!(
            "OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={:x}\nSAMODE31=3000\nEAMODE31=5000\n\
             IDENTITYBASE={identity:x}\nKERNELOFFSET={OFFSET:x}\nKERNELOFFPHYS={IMAGE:x}\n",
            OFFSET + ROOT - IMAGE
        )
    }

    fn walk(text: &str, memory: &mut Memory, at: u64) -> Result<Mapping, WalkError> {
        let arch = Arch::S390x(S390x::new(&info(text)).unwrap().settled(memory));
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

    fn put(memory: &mut Memory, at: u64, entry: u64) {
        memory.put(at, &entry.to_be_bytes());
    }

    #[test]
    fn three_levels_with_pages_segments_and_regions() {
        let mut m = Memory::new(IMAGE, 0x4_0000);
        let (segments, pages) = (ROOT + 0x4000, ROOT + 0x8800);
        (0..2048).for_each(|n| put(&mut m, ROOT + 8 * n, EMPTY_THIRD));
        put(&mut m, ROOT, segments | 0x07); // whole table, region-third
        put(&mut m, ROOT + 8 * 5, 0x1_8000_0000 | 0x8000_0000 | 0xf507); // 2 GiB, with Linux's own bits
        put(&mut m, ROOT + 8 * 6, 0x1_8000_0000 | 0x507 | 0x20);
        put(&mut m, ROOT + 8 * 7, segments | 0x0b); // of a region-second table
        put(&mut m, segments + 8 * 3, pages | 0x01); // with what 6.x calls "present"
        put(&mut m, segments + 8 * 4, 0x77_7000_0000 | 0xf701); // 1 MiB
        put(&mut m, segments + 8 * 5, 0x20);
        put(&mut m, segments + 8 * 6, 0x77_7000_0000 | 0x4); // a region's entry
        put(&mut m, pages + 8 * 0xff, 0x1234_5000 | 0xb37);
        put(&mut m, pages + 8 * 0xfe, 0x1234_5000 | 0x400);
        let old = old();
        let mib = 1 << 20;
        assert_eq!(walk(&old, &mut m, 3 * mib + 0xf_f123), found(0x1234_5123, 0xedd));
        assert_eq!(walk(&old, &mut m, 3 * mib + 0xf_e123), not(3 * mib + 0xf_e123, "PTE"));
        assert_eq!(walk(&old, &mut m, 4 * mib + 0x10), found(0x77_7000_0010, mib - 16));
        assert_eq!(walk(&old, &mut m, 5 * mib), not(5 * mib, "PMD"));
        assert_eq!(walk(&old, &mut m, 6 * mib), bad(6 * mib, "PMD"));
        let region = |n: u64| n << 31;
        assert_eq!(walk(&old, &mut m, region(5) + 8), found(0x1_8000_0008, (1 << 31) - 8));
        assert_eq!(walk(&old, &mut m, region(6)), not(region(6), "PGD"));
        assert_eq!(walk(&old, &mut m, region(7)), bad(region(7), "PGD"));
        assert_eq!(walk(&old, &mut m, region(2047)), not(region(2047), "PGD"));
        for odd in [1 << 42, 1 << 53, u64::MAX] {
            assert_eq!(walk(&old, &mut m, odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
        }
    }

    #[test]
    fn the_first_table_says_how_many_levels_there_are() {
        let bits = |entry: u64| {
            let mut m = Memory::new(IMAGE, 0x4_0000);
            put(&mut m, ROOT, entry);
            S390x::new(&info(&old())).unwrap().settled(&mut m).space.tables.bits
        };
        assert_eq!([bits(0x20), bits(0x24), bits(0x28), bits(0x2c)], [31, 42, 53, 64]);
        assert_eq!(bits(ROOT | 0xb), 53);
        let lost = S390x::new(&info(&old())).unwrap().settled(&mut Memory::new(0, 0));
        assert_eq!(lost.space.tables.bits, 42);
    }

    #[test]
    fn four_and_five_levels_go_through_second_and_first_regions() {
        let (thirds, segments) = (ROOT + 0x4000, ROOT + 0x8000);
        let mut m = Memory::new(IMAGE, 0x4_0000);
        (0..2048).for_each(|n| put(&mut m, ROOT + 8 * n, 0x28));
        put(&mut m, ROOT + 8 * 0x7ff, thirds | 0x0b);
        put(&mut m, thirds + 8 * 9, segments | 0x07);
        put(&mut m, segments, 0x40_0000 | 0x400);
        let at = (0x7ff << 42) + (9 << 31);
        assert_eq!(walk(&old(), &mut m, at + 5), found(0x40_0005, (1 << 20) - 5));
        // Memory that never was a table.
        assert_eq!(walk(&old(), &mut m, at + (1 << 31)), bad(at + (1 << 31), "PUD"));
        // A region-first table above; its entries map nothing themselves.
        let mut m = Memory::new(IMAGE, 0x4_0000);
        (0..2048).for_each(|n| put(&mut m, ROOT + 8 * n, 0x2c));
        put(&mut m, ROOT + 8 * 0x400, thirds | 0x0f);
        put(&mut m, thirds, segments | 0x40b);
        put(&mut m, segments, 0x1_0000_0000 | 0x407);
        let at = 0x400 << 53;
        assert_eq!(walk(&old(), &mut m, at + 5), found(0x1_0000_0005, (1 << 31) - 5));
        put(&mut m, thirds, 0x1_0000_0000 | 0x407);
        assert_eq!(walk(&old(), &mut m, at), bad(at, "P4D"));
        assert_eq!(walk(&old(), &mut m, u64::MAX), not(u64::MAX, "PGD"));
    }

    fn find(text: &str, at: u64) -> Option<u64> {
        let ram = [MemoryRange { len: 0x1000_0000, ..MemoryRange::default() }];
        let arch = Arch::S390x(S390x::new(&info(text)).unwrap());
        let mut storage = vec![0; TableCache::STORAGE];
        let mut cache = TableCache::new(&mut storage[..]);
        let linear = arch.linear(&info(text), &ram, &mut Memory::new(0, 0), &mut cache);
        linear.find(VirtAddr(at)).map(|found| found.phys.0)
    }

    #[test]
    fn arithmetic_knows_memory_and_what_was_moved() {
        let old = old();
        assert_eq!((find(&old, 0x1234), find(&old, 0xfff_ffff)), (Some(0x1234), Some(0xfff_ffff)));
        assert_eq!(find(&old, 0x1000_0000), None);
        let moved = new(1 << 40);
        assert_eq!((find(&moved, 0x1fff), find(&moved, 0x2000)), (Some(0x1fff), None));
        assert_eq!((find(&moved, 0x3010), find(&moved, 0x5000)), (Some(0x3010), None));
        assert_eq!(find(&moved, OFFSET + 0x1234), Some(IMAGE + 0x1234));
        assert_eq!(find(&moved, (1 << 40) + 0x1234), Some(0x1234));
        assert_eq!(find(&moved, (1 << 40) + 0x1000_0000), None);
        assert_eq!(find(&new(0), 0x1234_5678 >> 4), Some(0x1234_5678 >> 4));
    }

    #[test]
    fn the_root_lies_where_the_image_does() {
        let root = |text: &str| S390x::new(&info(text)).unwrap().space.tables.root;
        assert_eq!(root(&old()), PhysAddr(ROOT));
        assert_eq!((root(&new(0)), root(&new(1 << 40))), (PhysAddr(ROOT), PhysAddr(ROOT)));
        let arch = Arch::S390x(S390x::new(&info(&new(0))).unwrap());
        assert!(arch.is_kernel_address(VirtAddr(8)) && arch.is_kernel_address(VirtAddr(OFFSET)));
        assert_eq!((arch.phys_base(), arch.max_compound_order(12)), (0, 19));
    }

    #[test]
    fn the_length_of_the_section_table_says_how_much_memory_there_may_be() {
        for (length, bits) in [(128, 42), (2048, 46), (7, 46)] {
            let text = format!("{}SIZE(mem_section)=32\nLENGTH(mem_section)={length}\n", old());
            assert_eq!(S390x::new(&info(&text)).unwrap().space.physmem_bits, bits, "{length}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |text: &str| format!("{}", S390x::new(&info(text)).unwrap_err());
        assert_eq!(error("OSRELEASE=6.1.0\n"), "SYMBOL(swapper_pg_dir) is missing in VMCOREINFO");
        for key in ["IDENTITYBASE", "KERNELOFFSET", "KERNELOFFPHYS", "SAMODE31", "EAMODE31"] {
            let missing = format!("{key}= is missing in VMCOREINFO");
            assert_eq!(error(&new(0).replace(&format!("{key}="), "x=")), missing);
            assert_eq!(error(&new(0).replace(&format!("{key}="), &format!("{key}=g"))), missing);
        }
        // Nothing says that it is an old one.
        assert_eq!(
            error(&old().replace("OSRELEASE", "x")),
            "IDENTITYBASE= is missing in VMCOREINFO"
        );
        assert!(S390x::new(&info(&old().replace("6.1.0", "6.9.99"))).is_ok());
        assert!(S390x::new(&info(&old().replace("6.1.0", "6.10.0"))).is_err());
    }

    #[test]
    fn the_note_is_found_by_its_pointer() {
        let mut m = Memory::new(0, 0x4000);
        assert_eq!(vmcoreinfo(&mut m), None);
        let mut note = [0, 0, 0, 11, 0, 0, 0x12, 0x34, 0, 0, 0, 0].to_vec();
        note.extend(b"VMCOREINFO\0\0OSRELEASE=6.1.0\n");
        put(&mut m, 0xe0c, 0x2ffc);
        m.put(0x2ffc, &note);
        assert_eq!(vmcoreinfo(&mut m), Some((PhysAddr(0x2ffc + 24), 0x1234)));
        m.put(0x2ffc + 12, b"VMCOREINFX");
        assert_eq!(vmcoreinfo(&mut m), None);
        m.put(0x2ffc + 12, b"VMCOREINFO");
        m.put(0x2fff, &[12]);
        assert_eq!(vmcoreinfo(&mut m), None);
        for nowhere in [0x3ff0, 1 << 40, u64::MAX, u64::MAX - 20] {
            put(&mut m, 0xe0c, nowhere);
            assert_eq!(vmcoreinfo(&mut m), None, "{nowhere:x}");
        }
    }
}
