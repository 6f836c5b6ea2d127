//! The walk over forms of tables that other architectures have. The tables are laid out by division, from
//! lists of what an entry maps, and their entries are written as the manuals of the hardware have them; the
//! code of the walk is not used for it.

use super::*;
use crate::testing::Memory;
use std::collections::BTreeMap;
use std::{format, vec, vec::Vec};

/// Physical address of the memory that holds the tables.
const BASE: u64 = 0x10_0000;

/// Tables in the making.
struct Layout {
    memory: Memory,
    /// What is tested.
    under_test: Tables,
    /// From the top on: entries of a table, bytes that an entry maps.
    levels: &'static [(u64, u64)],
    entry: u64,
    endian: Endian,
    /// The entry that points at a table of level `n` from the top, which lies at an address.
    pointer: fn(usize, u64) -> u64,
    /// Tables below the first one, by level and by which part of the address space they map.
    tables: BTreeMap<(usize, u64), u64>,
    next: u64,
}

impl Layout {
    fn new(
        (form, bits): (&'static PagingForm, u8),
        levels: &'static [(u64, u64)],
        entry: u64,
        endian: Endian,
        pointer: fn(usize, u64) -> u64,
    ) -> Layout {
        let memory = Memory::new(BASE, 8 << 20);
        let under_test = Tables { form, bits, endian, root: PhysAddr(BASE) };
        let next = BASE + (levels[0].0 * entry).next_multiple_of(0x1_0000);
        let tables = BTreeMap::new();
        Layout { memory, under_test, levels, entry, endian, pointer, tables, next }
    }

    fn put(&mut self, at: u64, raw: u64) {
        let mut bytes = raw.to_le_bytes()[..self.entry as usize].to_vec();
        if self.endian == Endian::Big {
            bytes.reverse();
        }
        self.memory.put(at, &bytes);
    }

    /// Where the entry of level `n` from the top is that maps `virt`; tables down to it are made.
    fn slot(&mut self, virt: u64, n: usize) -> u64 {
        let mut table = BASE;
        for above in 0..n {
            let part = virt / self.levels[above].1;
            if !self.tables.contains_key(&(above, part)) {
                let size = self.levels[above + 1].0 * self.entry;
                let new = self.next.next_multiple_of(size);
                self.next = new + size;
                let slot = table + part % self.levels[above].0 * self.entry;
                self.put(slot, (self.pointer)(above + 1, new));
                self.tables.insert((above, part), new);
            }
            table = self.tables[&(above, part)];
        }
        let (entries, size) = self.levels[n];
        table + virt / size % entries * self.entry
    }

    /// Makes `raw` the entry of level `n` from the top that maps `virt`.
    fn map(&mut self, virt: u64, n: usize, raw: u64) {
        let slot = self.slot(virt, n);
        self.put(slot, raw);
    }

    fn walk(&mut self, rules: &impl Entry, at: u64) -> Result<Mapping, WalkError> {
        let mut storage = vec![0; TableCache::STORAGE];
        let mut cache = TableCache::new(&mut storage[..]);
        let mut walk = |at| self.under_test.walk(rules, VirtAddr(at), &mut self.memory, &mut cache);
        let found = walk(at);
        // What a cache has met before makes no difference.
        for other in [at ^ 0x1000, at ^ 1 << 21, at] {
            let _ = walk(other);
        }
        assert_eq!(walk(at), found);
        found
    }

    /// All of `[virt, virt + len)` is found at `phys`, in one piece.
    #[track_caller]
    fn maps(&mut self, rules: &impl Entry, virt: u64, phys: u64, len: u64) {
        for inside in [0, 1, len / 2 + 3, len - 1] {
            let expected = Mapping { phys: PhysAddr(phys + inside), len: len - inside };
            assert_eq!(self.walk(rules, virt + inside), Ok(expected), "{virt:x}+{inside:x}");
        }
    }

    #[track_caller]
    fn lacks(&mut self, rules: &impl Entry, at: u64, level: &'static str) {
        let expected = WalkError::NotMapped { at: VirtAddr(at), level };
        assert_eq!(self.walk(rules, at), Err(expected));
    }
}

const fn form(shifts: &'static [u8], entry: Word, largest_leaf: u8) -> PagingForm {
    PagingForm { shifts, entry, largest_leaf }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// i386 without PAE; a large page has bits 39:32 of its address in bits 20:13 (PSE-36).
struct I386;

impl Entry for I386 {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        match (raw & 1, level, raw & 0x80) {
            (0, ..) => Walk::None,
            (_, 1, 0x80) => Walk::Leaf(raw & 0xffc0_0000 | (raw >> 13 & 0xff) << 32),
            (_, 0, _) => Walk::Leaf(raw & 0xffff_f000),
            _ => Walk::Table(raw & 0xffff_f000),
        }
    }
}

#[test]
fn two_levels_of_entries_of_four_bytes() {
    const FORM: PagingForm = form(&[12, 22], Word::Bits32, 1);
    let levels = &[(1024, 4 * MIB), (1024, 4 * KIB)];
    let mut t = Layout::new((&FORM, 32), levels, 4, Endian::Little, |_, at| at | 0x63);
    t.map(0xc000_0000, 0, 0x0040_00e3);
    t.map(0xffc0_0000, 0, 0xffc0_00e3 | 0x12 << 13);
    t.map(0xf800_0000, 1, 0xffff_f063);
    t.map(0xf83f_f000, 1, 0x0123_4163);
    t.map(0, 1, 0x0000_1063);
    t.maps(&I386, 0xc000_0000, 0x40_0000, 4 * MIB);
    t.maps(&I386, 0xffc0_0000, 0x12_ffc0_0000, 4 * MIB);
    t.maps(&I386, 0xf800_0000, 0xffff_f000, 4 * KIB);
    t.maps(&I386, 0xf83f_f000, 0x123_4000, 4 * KIB);
    t.maps(&I386, 0, 0x1000, 4 * KIB);
    t.lacks(&I386, 0xf800_1000, "PTE");
    t.lacks(&I386, 0x1000, "PTE");
    t.lacks(&I386, 0xf840_0000, "PGD");
}

/// i386 with PAE: as x86_64, but that the first of three levels has four entries.
struct Pae;

impl Entry for Pae {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let address = raw & 0x000f_ffff_ffff_f000;
        match (raw & 1, level, raw & 0x80) {
            (0, ..) => Walk::None,
            (_, 0, _) | (_, 1, 0x80) => Walk::Leaf(address),
            _ => Walk::Table(address),
        }
    }
}

#[test]
fn a_first_table_of_four_entries() {
    const FORM: PagingForm = form(&[12, 21, 30], Word::Bits64, 1);
    let levels = &[(4, GIB), (512, 2 * MIB), (512, 4 * KIB)];
    let mut t = Layout::new((&FORM, 32), levels, 8, Endian::Little, |n, at| {
        at | if n == 1 { 1 } else { 0x63 }
    });
    t.map(0xc020_0000, 1, 0x8000_0003_3340_10e3);
    t.map(0xffff_f000, 2, 0x8000_0001_2345_6163);
    t.maps(&Pae, 0xc020_0000, 0x3_3340_0000, 2 * MIB);
    t.maps(&Pae, 0xffff_f000, 0x1_2345_6000, 4 * KIB);
    t.lacks(&Pae, 0, "PGD");
    t.lacks(&Pae, 0xc040_0000, "PMD");
    t.lacks(&Pae, 0xffff_e000, "PTE");
}

/// s390x: region tables and segment tables of 16 KiB, page tables of 2 KiB.
struct S390;

impl Entry for S390 {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let invalid = if level == 0 { 0x400 } else { 0x20 };
        match level {
            _ if raw & invalid != 0 => Walk::None,
            0 => Walk::Leaf(raw & !0xfff),
            1 | 2 if raw & 0x400 != 0 => Walk::Leaf(raw & !0xfffff),
            1 => Walk::Table(raw & !0x7ff),
            _ => Walk::Table(raw & !0xfff),
        }
    }
}

#[test]
fn five_levels_of_big_endian_region_segment_and_page_tables() {
    const LEVELS: &[(u64, u64)] =
        &[(2048, 1 << 53), (2048, 1 << 42), (2048, 1 << 31), (2048, MIB), (256, 4 * KIB)];
    let pointer = |level, at| match level {
        4 => at,                               // a segment table's entry: type 0
        n => at | (3 - n as u64 + 1) << 2 | 3, // types 3, 2, 1, table length 3
    };
    const FORM: PagingForm = form(&[12, 20, 31, 42, 53], Word::Bits64, 2);
    let mut t = Layout::new((&FORM, 64), LEVELS, 8, Endian::Big, pointer);
    // Nothing is invalid but what says so.
    let hole = 0x7fe0_0000_0000_0000;
    t.map(hole, 0, 0x2c);
    let at = (5 << 53) + (0x7ff << 42) + (1 << 31) + (0x123 << 20) + (0xab << 12);
    t.map(at, 4, 0x0000_0123_4567_8000);
    t.map(at + 0x1000, 4, 0x400);
    t.map(at + MIB, 3, 0x0000_0077_7000_0600); // EDAT1, protected
    t.map(at + 2 * MIB, 3, 0x20);
    t.map(at + (1 << 31), 2, 0x0000_0088_8000_0407); // EDAT2
    t.map(at + (1 << 42), 1, 0x28);
    t.maps(&S390, at, 0x123_4567_8000, 4 * KIB);
    t.maps(&S390, (at + MIB) & !(MIB - 1), 0x77_7000_0000, MIB);
    t.maps(&S390, (at + 2 * GIB) & !(2 * GIB - 1), 0x88_8000_0000, 2 * GIB);
    t.lacks(&S390, at + 0x1000, "PTE");
    t.lacks(&S390, at + 2 * MIB, "PMD");
    t.lacks(&S390, at + (1 << 42), "P4D");
    t.lacks(&S390, hole, "PGD");

    // Three levels, as kernels have them.
    let mut t = Layout::new((&FORM, 42), &LEVELS[2..], 8, Endian::Big, |level, at| match level {
        1 => at | 7,
        _ => at,
    });
    t.map(0x3ff_ffff_f000, 2, 0x1000);
    t.map(0x3ff_ffe0_0000, 1, 0x7070_0420); // invalid, although large
    t.maps(&S390, 0x3ff_ffff_f000, 0x1000, 4 * KIB);
    t.lacks(&S390, 0x3ff_ffe0_0000, "PMD");
}

/// ARM with short descriptors.
struct ArmShort;

impl Entry for ArmShort {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        match (level, raw & 3) {
            (_, 0) => Walk::None,
            (0, 1) => Walk::BlockOf { base: raw & 0xffff_0000, bits: 16 },
            (0, _) => Walk::Leaf(raw & 0xffff_f000),
            (_, 1) => Walk::Table(raw & 0xffff_fc00),
            (_, _) if raw & 1 << 18 != 0 => {
                let high = (raw >> 20 & 0xf) << 32 | (raw >> 5 & 0xf) << 36;
                Walk::BlockOf { base: raw & 0xff00_0000 | high, bits: 24 }
            }
            _ => Walk::Leaf(raw & 0xfff0_0000),
        }
    }
}

#[test]
fn blocks_that_repeat_their_entry_are_one_piece() {
    const FORM: PagingForm = form(&[12, 20], Word::Bits32, 1);
    let levels = &[(4096, MIB), (256, 4 * KIB)];
    let mut t = Layout::new((&FORM, 32), levels, 4, Endian::Little, |_, at| at | 0x11);
    t.map(0xc000_0000, 0, 0x4001_141e);
    for n in 0..16 {
        t.map(0xd000_0000 + n * MIB, 0, 0x2056_14ae | 1 << 18);
        t.map(0xe001_0000 + n * 4 * KIB, 1, 0x6789_04cd);
    }
    t.map(0xe000_1000, 1, 0x1234_545f);
    t.maps(&ArmShort, 0xc000_0000, 0x4000_0000, MIB);
    t.maps(&ArmShort, 0xd000_0000, 0x55_2000_0000, 16 * MIB);
    t.maps(&ArmShort, 0xe001_0000, 0x6789_0000, 64 * KIB);
    t.maps(&ArmShort, 0xe000_1000, 0x1234_5000, 4 * KIB);
    t.lacks(&ArmShort, 0xc010_0000, "PGD");
    t.lacks(&ArmShort, 0xe000_2000, "PTE");
}

/// ppc64 with radix tables, whose entries are big-endian whatever the kernel is.
struct Radix;

impl Entry for Radix {
    fn classify(&self, _: u8, raw: u64) -> Walk {
        match raw >> 62 {
            3 => Walk::Leaf(raw & 0x001f_ffff_ffff_f000),
            2 => Walk::Table(raw & 0x0fff_ffff_ffff_ff00),
            _ => Walk::None,
        }
    }
}

#[test]
fn levels_of_different_sizes() {
    const FORM: PagingForm = form(&[16, 21, 30, 39], Word::Bits64, 2);
    let levels = &[(8192, 1 << 39), (512, GIB), (512, 2 * MIB), (32, 64 * KIB)];
    let mut t = Layout::new((&FORM, 52), levels, 8, Endian::Big, |level, at| {
        at | 1 << 63 | [0, 9, 9, 5][level] // how many bits the next level has
    });
    let linear = 0xc000_0000_0000_0000;
    let vmemmap = 0xc00c_0000_0000_0000;
    t.map(linear + 3 * GIB, 1, 0xc000_0000_c000_018e);
    t.map(vmemmap + 6 * MIB, 2, 0xc000_0012_3460_018e);
    t.map(vmemmap + 8 * MIB + 7 * 64 * KIB, 3, 0xc000_0000_5555_018e);
    t.map(vmemmap + 8 * MIB, 3, 0x4000_0000_5555_018e); // not present
    t.maps(&Radix, linear + 3 * GIB, 3 * GIB, GIB);
    t.maps(&Radix, vmemmap + 6 * MIB, 0x12_3460_0000, 2 * MIB);
    t.maps(&Radix, vmemmap + 8 * MIB + 7 * 64 * KIB, 0x5555_0000, 64 * KIB);
    t.lacks(&Radix, vmemmap + 8 * MIB, "PTE");
    t.lacks(&Radix, linear + (1 << 40), "PGD");
}

/// riscv64: any level has leaves; a leaf of the last one may be of 64 KiB (Svnapot).
struct Riscv;

impl Entry for Riscv {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        let base = (raw >> 10 & 0xfff_ffff_ffff) << 12;
        match raw & 0xf {
            bits if bits & 1 == 0 => Walk::None,
            1 => Walk::Table(base),
            _ if level == 0 && raw >> 63 == 1 && base & 0xf000 == 0x8000 => {
                Walk::BlockOf { base, bits: 16 }
            }
            _ => Walk::Leaf(base),
        }
    }
}

#[test]
fn leaves_on_every_level() {
    const LEVELS: &[(u64, u64)] =
        &[(512, 1 << 48), (512, 1 << 39), (512, GIB), (512, 2 * MIB), (512, 4 * KIB)];
    const FORM: PagingForm = form(&[12, 21, 30, 39, 48], Word::Bits64, 4);
    let mut t = Layout::new((&FORM, 57), LEVELS, 8, Endian::Little, |_, at| at >> 2 | 1);
    let at = 0xff60_0000_0000_0000u64;
    let leaf = |phys: u64| phys >> 2 | 0xcf;
    for (n, phys) in
        [(4, 0x8765_4000), (3, 0x8aa0_0000), (2, 0x1_c000_0000), (1, 3 << 39), (0, 5 << 48)]
    {
        let virt = at + 7 * LEVELS[n].1;
        t.map(virt, n, leaf(phys));
        t.maps(&Riscv, virt, phys, LEVELS[n].1);
    }
    let big = at + 9 * 2 * MIB + 64 * KIB;
    for n in 0..16 {
        t.map(big + n * 4 * KIB, 4, leaf(0x8123_8000) | 1 << 63);
    }
    t.maps(&Riscv, big, 0x8123_0000, 64 * KIB);
    t.lacks(&Riscv, big - 1, "PTE");
}

#[test]
fn entries_that_cannot_be_are_told_from_those_that_are_not_there() {
    const FORM: PagingForm = form(&[12, 21, 30, 39, 48], Word::Bits64, 4);
    let levels = &[(512, 1 << 48), (512, 1 << 39), (512, GIB), (512, 2 * MIB), (512, 4 * KIB)];
    let mut t = Layout::new((&FORM, 57), levels, 8, Endian::Little, |_, at| at >> 2 | 1);
    let bad = |at, level| Err(WalkError::BadEntry { at: VirtAddr(at), level });
    t.map(0, 4, 0x1234_5401); // points at a table, on the last level
    assert_eq!(t.walk(&Riscv, 0x123), bad(0x123, "PTE"));
    let at = 1 << 39;
    t.map(at, 1, 0xcf);
    t.maps(&Riscv, at, 0, 1 << 39);
    const SMALL_LEAVES: PagingForm = PagingForm { largest_leaf: 2, ..FORM };
    t.under_test.form = &SMALL_LEAVES;
    assert_eq!(t.walk(&Riscv, at), bad(at, "P4D"));
    let error = t.walk(&Riscv, at).unwrap_err();
    assert_eq!(
        format!("{error}"),
        "virtual address 0x8000000000 has a P4D entry that is not valid"
    );

    struct Never;
    impl Entry for Never {
        fn classify(&self, level: u8, raw: u64) -> Walk {
            if level == 4 { Walk::Table(raw) } else { Walk::Bad }
        }
    }
    t.map(3 << 48, 0, BASE);
    let at = 3 << 48 | 5 << 39;
    assert_eq!(t.walk(&Never, at), bad(at, "P4D"));
}

#[test]
fn tables_outside_of_memory_and_loops_end() {
    const FORM: PagingForm = form(&[12, 20, 31, 42, 53], Word::Bits64, 2);
    struct Anywhere;
    impl Entry for Anywhere {
        fn classify(&self, level: u8, raw: u64) -> Walk {
            if level == 0 { Walk::Leaf(raw) } else { Walk::Table(raw) }
        }
    }
    let mut t =
        Layout::new((&FORM, 64), &[(2048, 1 << 53), (2048, 1 << 42)], 8, Endian::Big, |_, at| at);
    t.map(0, 0, BASE); // the root points at itself
    t.maps(&Anywhere, 0, BASE & !0xfff, 4 * KIB);
    // Outside, at the end of the address space, and where an entry would lie in two blocks.
    for table in [0, BASE - 1, u64::MAX, u64::MAX - 7, BASE + 0xffc] {
        t.map(1 << 53, 0, table);
        let found = t.walk(&Anywhere, 1 << 53);
        assert!(matches!(found, Err(WalkError::Table { .. })), "{table:x}: {found:?}");
    }
}

#[test]
fn forms_are_taken_apart_as_linux_names_their_levels() {
    fn levels(form: &'static PagingForm, bits: u8) -> Vec<(&'static str, u8, u64, u8)> {
        let tables = Tables { form, bits, endian: Endian::Little, root: PhysAddr(0) };
        let level = |l: Level| (tables.name(l.number), l.number, l.entries(), l.shift);
        tables.levels().map(level).collect()
    }
    macro_rules! of {
        ($shifts:expr, $bits:expr) => {
            levels(const { &form($shifts, Word::Bits64, 2) }, $bits)
        };
    }
    const X86: &[u8] = &[12, 21, 30, 39, 48];
    let (pud, pmd, pte) = (("PUD", 2, 512, 30), ("PMD", 1, 512, 21), ("PTE", 0, 512, 12));
    let p4d = ("P4D", 3, 512, 39);
    assert_eq!(of!(X86, 57), [("PGD", 4, 512, 48), p4d, pud, pmd, pte]);
    assert_eq!(of!(X86, 52), [("PGD", 4, 16, 48), p4d, pud, pmd, pte]);
    assert_eq!(of!(X86, 48), [("PGD", 3, 512, 39), pud, pmd, pte]);
    assert_eq!(of!(X86, 39), [("PGD", 2, 512, 30), pmd, pte]);
    assert_eq!(of!(X86, 36), [("PGD", 2, 64, 30), pmd, pte]);
    assert_eq!(of!(&[14, 25, 36, 47], 36), [("PGD", 1, 2048, 25), ("PTE", 0, 2048, 14)]);
    assert_eq!(of!(&[14, 25, 36, 47], 48)[..2], [("PGD", 3, 2, 47), ("PUD", 2, 2048, 36)]);
    assert_eq!(
        of!(&[12, 20, 31, 42, 53], 42),
        [("PGD", 2, 2048, 31), ("PMD", 1, 2048, 20), ("PTE", 0, 256, 12)]
    );
    assert_eq!(of!(&[12, 20], 32), [("PGD", 1, 4096, 20), ("PTE", 0, 256, 12)]);
    assert_eq!(of!(&[], 48), []);
    assert_eq!(of!(X86, 12), []);
    assert_eq!(of!(X86, 0), []);
}
