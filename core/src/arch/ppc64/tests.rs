//! Tables and lists of chunks, written by hand.

use super::*;
use crate::arch::Arch;
use crate::testing::{Memory, info};
use std::{format, string::String, vec, vec::Vec};

const ROOT: u64 = 0x10_0000;
const VMALLOC: u64 = 0xc008_0000_0000_0000;
const VMEMMAP: u64 = 0xc00c_0000_0000_0000;

fn text(page: u64, radix: u32) -> String {
    format!(
        "OSRELEASE=6.12.0\nPAGESIZE={page}\nSYMBOL(swapper_pg_dir)={:x}\nNUMBER(RADIX_MMU)={radix}\n\
         SYMBOL(vmemmap_list)=c000000000001000\nSIZE(vmemmap_backing)=24\nOFFSET(vmemmap_backing.list)=0\n\
         OFFSET(vmemmap_backing.phys)=8\nOFFSET(vmemmap_backing.virt_addr)=16\n\
         SYMBOL(mmu_vmemmap_psize)=c000000000001100\nSYMBOL(mmu_psize_defs)=c000000000001200\n\
         SIZE(mmu_psize_def)=144\nOFFSET(mmu_psize_def.shift)=4\n",
        LINEAR + ROOT
    )
}

fn settled(text: &str, memory: &mut Memory) -> Result<Ppc64, ArchError> {
    Ppc64::new(&info(text), Endian::Little)?.settled(&info(text), memory)
}

fn walk(text: &str, memory: &mut Memory, at: u64) -> Result<Mapping, WalkError> {
    let arch = Arch::Ppc64(settled(text, memory).unwrap());
    let mut storage = vec![0; TableCache::STORAGE];
    arch.translate(VirtAddr(at), memory, &mut TableCache::new(&mut storage[..]))
}

fn found(phys: u64, len: u64) -> Result<Mapping, WalkError> {
    Ok(Mapping { phys: PhysAddr(phys), len })
}

fn not(at: u64, level: &'static str) -> Result<Mapping, WalkError> {
    Err(WalkError::NotMapped { at: VirtAddr(at), level })
}

/// Entries are big-endian in memory.
fn put(memory: &mut Memory, at: u64, entry: u64) {
    memory.put(at, &entry.to_be_bytes());
}

/// A pointer to a table whose index has so many bits, which radix tables say.
fn table(to: u64, bits: u64) -> u64 {
    1 << 63 | to | bits
}

/// A page of the kernel: present, PTE, dirty, accessed, read and write.
fn leaf(to: u64) -> u64 {
    0xc000_0000_0000_018e | to
}

#[test]
fn the_linear_map_needs_no_tables() {
    let mut m = Memory::new(0, 0);
    let text = text(0x1_0000, 1);
    assert_eq!(walk(&text, &mut m, LINEAR + 0x1234), found(0x1234, (8 << 48) - 0x1234));
    for odd in [0, 0x1234, LINEAR - 1] {
        assert_eq!(walk(&text, &mut m, odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
    }
    let arch = Ppc64::new(&info(&text), Endian::Little).unwrap();
    assert_eq!(arch.space.tables.root, PhysAddr(ROOT));
    assert!(arch.space.is_kernel_address(VirtAddr(VMEMMAP)));
    assert!(!arch.space.is_kernel_address(VirtAddr(LINEAR - 1)));
}

#[test]
fn radix_tables_of_64_kib_pages() {
    let mut m = Memory::new(0, 0x20_0000);
    let text = text(0x1_0000, 1);
    let (puds, pmds, ptes) = (0x12_0000, 0x12_1000, 0x12_2000);
    // Bits 51:39, 38:30, 29:21 and 20:16 of 0xc00c000000000000 are 0x1800, 0, 0 and 0.
    put(&mut m, ROOT + 8 * 0x1800, table(puds, 9));
    put(&mut m, puds + 8 * 3, leaf(0x1_c000_0000)); // 1 GiB
    put(&mut m, puds, table(pmds, 9));
    put(&mut m, pmds + 8 * 3, leaf(0x12_3460_0000)); // 2 MiB
    put(&mut m, pmds + 8 * 4, table(ptes, 5));
    put(&mut m, ptes + 8 * 7, leaf(0x5555_0000) | 0x2f00_0000_0000_3000); // with bits of Linux's own
    put(&mut m, ptes + 8 * 8, leaf(0x5555_0000) & !PRESENT); // a swap entry
    put(&mut m, ptes + 8 * 9, table(ROOT, 5)); // no table below the last one
    let mib = 1 << 20;
    assert_eq!(
        walk(&text, &mut m, VMEMMAP + 3 * (1 << 30) + 5),
        found(0x1_c000_0005, (1 << 30) - 5)
    );
    assert_eq!(walk(&text, &mut m, VMEMMAP + 6 * mib + 16), found(0x12_3460_0010, 2 * mib - 16));
    let at = VMEMMAP + 8 * mib;
    assert_eq!(walk(&text, &mut m, at + 0x7_1234), found(0x5555_1234, 0xedcc));
    assert_eq!(walk(&text, &mut m, at + 0x8_0000), not(at + 0x8_0000, "PTE"));
    let bad = WalkError::BadEntry { at: VirtAddr(at + 0x9_0000), level: "PTE" };
    assert_eq!(walk(&text, &mut m, at + 0x9_0000), Err(bad));
    assert_eq!(walk(&text, &mut m, at + 2 * mib), not(at + 2 * mib, "PMD"));
    assert_eq!(walk(&text, &mut m, VMALLOC), not(VMALLOC, "PGD"));
    // Bits between the region's and those that are translated.
    for odd in [0xc010_0000_0000_0000, 0xcf0c_0000_0000_0000, u64::MAX] {
        assert_eq!(walk(&text, &mut m, odd), Err(WalkError::NotCanonical(VirtAddr(odd))));
    }
}

#[test]
fn radix_tables_of_4_kib_pages() {
    let mut m = Memory::new(0, 0x20_0000);
    let text = text(0x1000, 1);
    let (puds, pmds, ptes) = (0x12_0000, 0x12_1000, 0x12_2000);
    put(&mut m, ROOT + 8 * 0x1000, table(puds, 9));
    put(&mut m, puds, table(pmds, 9));
    put(&mut m, pmds, table(ptes, 9));
    put(&mut m, ptes + 8 * 0x1ff, leaf(0x1234_5000));
    assert_eq!(walk(&text, &mut m, VMALLOC + 0x1f_f123), found(0x1234_5123, 0xedd));
    assert_eq!(walk(&text, &mut m, VMALLOC + 0x1f_e123), not(VMALLOC + 0x1f_e123, "PTE"));
}

/// Memory with what says the sizes of chunks, and a list of chunks at these virtual addresses; each lies where its
/// number on the list says, in MiB, from 1 GiB on.
fn listed(psize: u32, bits: u32, chunks: &[u64]) -> Memory {
    let mut m = Memory::new(0, 0x20_0000);
    m.put(0x1100, &psize.to_le_bytes());
    m.put(0x1200 + 144 * u64::from(psize) + 4, &bits.to_le_bytes());
    let mut link = 0x1000;
    for (n, virt) in chunks.iter().enumerate() {
        let element = 0x1_0000 + 24 * n as u64;
        m.put64(link, LINEAR + element);
        m.put64(element + 8, (1 << 30) + ((n as u64) << 20));
        m.put64(element + 16, *virt);
        link = element;
    }
    m
}

#[test]
fn hashed_tables_are_for_vmalloc_and_a_list_is_for_struct_pages() {
    let text = text(0x1_0000, 0);
    let chunk = |n: u64| VMEMMAP + (n << 16);
    let mut m = listed(2, 16, &[chunk(5), chunk(1000), chunk(0), chunk(512)]);
    assert_eq!(walk(&text, &mut m, chunk(5) + 8), found((1 << 30) + 8, 0xfff8));
    assert_eq!(walk(&text, &mut m, chunk(1000) + 8), found((1 << 30) + (1 << 20) + 8, 0xfff8));
    assert_eq!(walk(&text, &mut m, chunk(1) - 1), found((1 << 30) + (2 << 20) + 0xffff, 1));
    for gap in [chunk(1), chunk(6), chunk(511), chunk(513), chunk(1 << 20)] {
        assert_eq!(walk(&text, &mut m, gap), not(gap, "vmemmap_list"));
    }
    // The same cache answers for all of them, in any order, and for tables in between.
    let (puds, pmds, ptes) = (0x12_0000, 0x12_2000, 0x12_4000);
    // Bits 51:44, 43:34, 33:24 and 23:16 of 0xc008000000010000 are 0x80, 0, 0 and 1.
    put(&mut m, ROOT + 8 * 0x80, table(puds, 0));
    put(&mut m, puds, table(pmds, 0));
    put(&mut m, pmds, table(ptes, 0));
    put(&mut m, ptes + 8, leaf(0x7777_0000) | 0x00e0_0000_0000_3000);
    let arch = Arch::Ppc64(settled(&text, &mut m).unwrap());
    let mut storage = vec![0; TableCache::STORAGE];
    let mut cache = TableCache::new(&mut storage[..]);
    for _ in 0..2 {
        for (n, at) in [chunk(5), chunk(1000), chunk(0), chunk(512)].into_iter().enumerate() {
            let mapping = arch.translate(VirtAddr(at), &mut m, &mut cache);
            assert_eq!(mapping, found((1 << 30) + ((n as u64) << 20), 0x1_0000));
            let mapping = arch.translate(VirtAddr(VMALLOC + 0x1_0010), &mut m, &mut cache);
            assert_eq!(mapping, found(0x7777_0010, 0xfff0));
            let gap = VirtAddr(chunk(6));
            assert_eq!(arch.translate(gap, &mut m, &mut cache), not(gap.0, "vmemmap_list"));
        }
    }
}

#[test]
fn chunks_have_the_size_of_the_pages_that_map_them() {
    let text = text(0x1_0000, 0);
    let mut m = listed(9, 24, &[VMEMMAP + (1 << 24), VMEMMAP]);
    assert_eq!(
        walk(&text, &mut m, VMEMMAP + 0x12_3456),
        found((1 << 30) + (1 << 20) + 0x12_3456, 0xed_cbaa)
    );
    assert_eq!(walk(&text, &mut m, VMEMMAP + (1 << 24)), found(1 << 30, 1 << 24));
    // An address that no chunk can have.
    let mut m = listed(9, 24, &[VMEMMAP + 0x1000]);
    assert_eq!(walk(&text, &mut m, VMEMMAP + 0x1000), not(VMEMMAP + 0x1000, "vmemmap_list"));
}

#[test]
fn a_list_that_is_empty_or_no_list() {
    let text = text(0x1_0000, 0);
    // SPARSEMEM without VMEMMAP.
    let mut m = listed(2, 16, &[]);
    assert_eq!(walk(&text, &mut m, VMEMMAP), not(VMEMMAP, "PGD"));
    let error = |m: &mut Memory| format!("{}", settled(&text, m).unwrap_err());
    let no_list = "SYMBOL(vmemmap_list) is missing in VMCOREINFO";
    let mut m = listed(2, 16, &[VMEMMAP, VMEMMAP + 0x1_0000]);
    m.put64(0x1_0018, LINEAR + 0x1_0000);
    assert_eq!(error(&mut m), no_list, "a loop");
    m.put64(0x1_0018, LINEAR + 0x4000_0000);
    assert_eq!(error(&mut m), no_list, "outside of memory");
    assert_eq!(error(&mut listed(2, 16, &[VMALLOC - 0x1_0000])), no_list, "memory itself");
    let no_size = "SYMBOL(mmu_vmemmap_psize) is missing in VMCOREINFO";
    for (psize, bits) in [(2, 11), (2, 35), (64, 16)] {
        assert_eq!(error(&mut listed(psize, bits, &[VMEMMAP])), no_size, "{psize} {bits}");
    }
    // The tables of a radix kernel have the struct pages; the list says what it did not use.
    let radix = text.replace("RADIX_MMU)=0", "RADIX_MMU)=1");
    assert_eq!(walk(&radix, &mut listed(2, 16, &[VMEMMAP]), VMEMMAP), not(VMEMMAP, "PGD"));
}

#[test]
fn where_no_number_says_it_the_cpu_does() {
    let old =
        text(0x1_0000, 0).replace("NUMBER(RADIX_MMU)=0", "SYMBOL(cur_cpu_spec)=c000000000002000");
    let text = old.clone() + "OFFSET(cpu_spec.mmu_features)=16\n";
    let mut m = listed(2, 16, &[VMEMMAP]);
    m.put64(0x2000, LINEAR + 0x3000);
    m.put(0x3010, &0xffff_ffbf_u32.to_le_bytes());
    assert_eq!(walk(&text, &mut m, VMEMMAP), found(1 << 30, 1 << 16));
    m.put(0x3010, &0x40_u32.to_le_bytes());
    assert_eq!(walk(&text, &mut m, VMEMMAP), not(VMEMMAP, "PGD"));
    let missing = "NUMBER(RADIX_MMU) is missing in VMCOREINFO";
    assert_eq!(format!("{}", settled(&old, &mut m).unwrap_err()), missing);
    m.put64(0x2000, LINEAR + 0x3000_0000);
    assert_eq!(format!("{}", settled(&text, &mut m).unwrap_err()), missing);
}

#[test]
fn kernels_have_had_other_tables_and_regions() {
    let space = |page: u64, radix, release: &str| {
        let text = text(page, radix).replace("6.12.0", release);
        let arch = Ppc64::new(&info(&text), Endian::Little).unwrap();
        let index = |level: super::super::paging::Level| level.entries().ilog2();
        let levels: Vec<u32> = arch.space.tables.levels().map(index).collect();
        (levels, arch.vmalloc)
    };
    let (one, other) = (VMALLOC, 0xd000_0000_0000_0000);
    assert_eq!(space(0x1_0000, 1, "5.10.0"), (vec![13, 9, 9, 5], one));
    assert_eq!(space(0x1000, 1, "4.7.0"), (vec![13, 9, 9, 9], one));
    assert_eq!(space(0x1_0000, 0, "5.2.0"), (vec![8, 10, 10, 8], one));
    assert_eq!(space(0x1_0000, 0, "5.1.0"), (vec![8, 10, 10, 8], other));
    assert_eq!(space(0x1_0000, 0, "4.16.0"), (vec![8, 7, 10, 8], other));
    assert_eq!(space(0x1_0000, 0, "4.11.0"), (vec![12, 5, 5, 8], other));
    assert_eq!(space(0x1000, 0, "6.12.0"), (vec![9, 9, 7, 9], 0xc000_3d00_0000_0000));
    assert_eq!(space(0x1000, 0, "5.1.0"), (vec![9, 9, 7, 9], other));
    let told = text(0x1_0000, 1) + "NUMBER(VMALLOC_START)=0xc00a000000000000\n";
    let arch = Ppc64::new(&info(&told), Endian::Little).unwrap();
    assert_eq!(arch.vmalloc, 0xc00a_0000_0000_0000);
    let error = |text: &str| format!("{}", Ppc64::new(&info(text), Endian::Little).unwrap_err());
    let old = text(0x1_0000, 0).replace("6.12.0", "4.6.0");
    assert_eq!(error(&old), "page tables of kernels before 4.7 are not supported on this machine");
}

#[test]
fn what_is_missing_is_named() {
    let whole = text(0x1_0000, 0);
    let mut m = listed(2, 16, &[VMEMMAP]);
    let mut error = |text: &str| format!("{}", settled(text, &mut m).unwrap_err());
    assert_eq!(error(&whole.replace("OSRELEASE", "x")), "OSRELEASE= is missing in VMCOREINFO");
    assert_eq!(error(&whole.replace("=65536", "=16384")), "PAGESIZE= is missing in VMCOREINFO");
    for key in ["SYMBOL(swapper_pg_dir)", "SYMBOL(mmu_vmemmap_psize)", "SYMBOL(mmu_psize_defs)"] {
        let missing = format!("{key} is missing in VMCOREINFO");
        assert_eq!(error(&whole.replace(key, "x")), missing);
    }
    let sizes = ["SIZE(vmemmap_backing)", "SIZE(mmu_psize_def)"];
    let offsets =
        ["list", "phys", "virt_addr"].map(|name| format!("OFFSET(vmemmap_backing.{name})"));
    let shift = String::from("OFFSET(mmu_psize_def.shift)");
    for key in sizes.map(String::from).into_iter().chain(offsets).chain([shift]) {
        let missing = format!("{key} is missing in VMCOREINFO, or invalid");
        assert_eq!(error(&whole.replace(&key, "x")), missing);
    }
    for bad in ["backing)=23", "backing)=65", "backing)=18446744073709551615"] {
        let text = whole.replace("backing)=24", bad);
        assert_eq!(error(&text), "SIZE(vmemmap_backing) is missing in VMCOREINFO, or invalid");
    }
    // A kernel of plain SPARSEMEM has no list.
    assert!(settled(&whole.replace("SYMBOL(vmemmap_list)", "x"), &mut m).is_ok());
}

#[test]
fn the_length_of_the_section_table_says_how_much_memory_there_may_be() {
    let bits = |page, length: &str| {
        let text = text(page, 1) + "SIZE(mem_section)=32\n" + length;
        Ppc64::new(&info(&text), Endian::Little).unwrap().space.physmem_bits
    };
    assert_eq!(bits(0x1_0000, "LENGTH(mem_section)=65536\n"), 51);
    assert_eq!(bits(0x1_0000, "LENGTH(mem_section)=2048\n"), 46);
    assert_eq!(bits(0x1000, "LENGTH(mem_section)=65536\n"), 47);
    assert_eq!(bits(0x1000, "LENGTH(mem_section)=1048576\n"), 51);
    assert_eq!(bits(0x1000, "LENGTH(mem_section)=1048576\n"), 51);
    assert_eq!(bits(0x1_0000, "LENGTH(mem_section)=1048576\n"), 44, "a plain table");
    for odd in ["", "LENGTH(mem_section)=0\n", "LENGTH(mem_section)=3\n"] {
        assert_eq!(bits(0x1000, odd), 51);
    }
}
