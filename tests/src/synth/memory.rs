//! The physical memory of a synthetic machine and its page tables.

use std::collections::BTreeMap;

use super::tables::{Entries, Leaf, Room, Tables};

/// Pages written so far, by frame number; all others read as the machine's [`super::Content`].
#[derive(Clone, Debug)]
pub struct Memory {
    tables: Tables,
    pages: BTreeMap<u64, Box<[u8]>>,
    /// Virtual address to (physical address, bytes, leaf).
    maps: BTreeMap<u64, (u64, u64, Leaf)>,
}

impl Memory {
    /// Memory without anything in it, which will be mapped by such tables.
    pub fn new(tables: Tables) -> Memory {
        Memory { tables, pages: BTreeMap::new(), maps: BTreeMap::new() }
    }

    /// Bytes of a page.
    fn page_bytes(&self) -> usize {
        1 << self.tables.shifts[0]
    }

    /// The page written at `pfn`, if any byte of it was.
    pub fn page(&self, pfn: u64) -> Option<&[u8]> {
        self.pages.get(&pfn).map(|page| &**page)
    }

    /// Frame numbers of the pages written.
    pub fn written(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    /// Writes at a physical address.
    pub fn write_phys(&mut self, mut at: u64, mut bytes: &[u8]) {
        let size = self.page_bytes();
        while !bytes.is_empty() {
            let offset = at as usize % size;
            let n = bytes.len().min(size - offset);
            let page = self.pages.entry(at / size as u64).or_insert_with(|| vec![0; size].into());
            page[offset..offset + n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            at += n as u64;
        }
    }

    /// Reads up to eight bytes at a physical address, which are zero where nothing was written.
    fn read_phys(&self, at: u64, len: u64) -> [u8; 8] {
        let (offset, len) = (at as usize % self.page_bytes(), len as usize);
        let mut raw = [0; 8];
        if let Some(page) = self.page(at / self.page_bytes() as u64) {
            raw[..len].copy_from_slice(&page[offset..offset + len]);
        }
        raw
    }

    /// Maps `len` bytes at `va` to `pa` by entries of one size.
    pub fn map(&mut self, va: u64, pa: u64, len: u64, leaf: Leaf) {
        let size = self.tables.bytes(leaf);
        assert!(
            va.is_multiple_of(size) && pa.is_multiple_of(size) && len.is_multiple_of(size),
            "a mapping of {va:#x} to {pa:#x}, {len:#x} bytes, is not aligned to its {leaf:?} leaf"
        );
        if len != 0 {
            self.maps.insert(va, (pa, len, leaf));
        }
    }

    /// Removes a mapping made by one [`Memory::map`] call that starts at `va`.
    pub fn unmap(&mut self, va: u64) -> bool {
        self.maps.remove(&va).is_some()
    }

    /// The physical address behind `va`.
    pub fn translate(&self, va: u64) -> Option<u64> {
        let (start, (pa, len, _)) = self.maps.range(..=va).next_back()?;
        (va - start < *len).then(|| pa + (va - start))
    }

    /// Writes at a virtual address, which must be mapped.
    pub fn write(&mut self, mut va: u64, mut bytes: &[u8]) {
        let size = self.page_bytes();
        while !bytes.is_empty() {
            let n = bytes.len().min(size - va as usize % size);
            let pa = self.translate(va).unwrap_or_else(|| panic!("{va:#x} is not mapped"));
            self.write_phys(pa, &bytes[..n]);
            bytes = &bytes[n..];
            va += n as u64;
        }
    }

    /// Writes page tables for every mapping that is in them. `top` is the physical address of the top table, `alloc`
    /// gives those of further ones, zeroed.
    pub fn write_tables(
        &mut self,
        top: u64,
        is_in: impl Fn(u64) -> bool,
        mut alloc: impl FnMut(Room) -> u64,
    ) {
        let tables = self.tables;
        let first = tables.levels() - 1;
        // For each level, where a table of nothing is that stands for what is not mapped.
        let mut nothing = vec![0; tables.levels()];
        if tables.entries == Entries::Loongarch64 {
            for level in 1..tables.levels() {
                let at = alloc(tables.room(level - 1));
                self.clear_table(at, level - 1, nothing[level - 1]);
                nothing[level] = at;
            }
        }
        self.clear_table(top, first, nothing[first]);
        let size = tables.words.bytes();
        let maps: Vec<_> = self.maps.iter().map(|(va, map)| (*va, *map)).collect();
        for (start, (pa, len, leaf)) in maps.into_iter().filter(|(va, _)| is_in(*va)) {
            let step = tables.bytes(leaf);
            for i in 0..len / step {
                let (va, pa) = (start + i * step, pa + i * step);
                let (mut table, mut level) = (top, first);
                loop {
                    let slot = table + tables.index(level, va) * size;
                    if level == tables.level(leaf) {
                        let count = if leaf == Leaf::Run { 16 } else { 1 };
                        let entry = tables.words.long(tables.leaf(pa, leaf));
                        (0..count).for_each(|n| self.write_phys(slot + size * n, &entry));
                        break;
                    }
                    let raw = self.read_phys(slot, size);
                    let entry = tables.words.number(&raw[..size as usize]);
                    assert!(!tables.is_block(entry), "{va:#x} is mapped twice");
                    table = if entry == tables.empty(level, nothing[level]) {
                        let next = alloc(tables.room(level - 1));
                        self.clear_table(next, level - 1, nothing[level - 1]);
                        self.write_phys(slot, &tables.words.long(tables.table(next, level)));
                        next
                    } else {
                        tables.address(entry)
                    };
                    level -= 1;
                }
            }
        }
    }

    /// Writes the entries of an empty table, where they are not zero.
    fn clear_table(&mut self, at: u64, level: usize, nothing: u64) {
        let empty = self.tables.empty(level, nothing);
        if empty != 0 {
            let entry = self.tables.words.long(empty);
            self.write_phys(at, &entry.repeat(self.tables.count(level) as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::Words;
    use super::*;

    /// A walk written apart from `write_tables`, straight from the processor manual.
    fn walk(memory: &Memory, top: u64, levels: u32, mask: u64, va: u64) -> Option<u64> {
        let mut table = top;
        for shift in (0..levels).rev().map(|n| 12 + 9 * n) {
            let entry = u64::from_le_bytes(memory.read_phys(table + ((va >> shift) % 512) * 8, 8));
            if entry & 1 == 0 {
                return None;
            }
            let address = entry & !mask & 0x000f_ffff_ffff_f000;
            if shift == 12 || entry & 0x80 != 0 {
                return Some((address >> shift << shift) + va % (1 << shift));
            }
            table = address;
        }
        None
    }

    /// Gives out room from here on.
    fn from(mut next: u64) -> impl FnMut(Room) -> u64 {
        move |room| {
            let at = next.next_multiple_of(room.align);
            next = at + room.len;
            at
        }
    }

    #[test]
    fn tables_translate_what_was_mapped() {
        for (levels, mask) in [(4, 0), (5, 0), (4, 1 << 47), (5, 1 << 51)] {
            let mut memory = Memory::new(Tables::x86(levels, mask));
            let base = if levels == 4 { 0xffff_8880_0000_0000 } else { 0xff11_0000_0000_0000 };
            memory.map(base, 0, 1 << 30, Leaf::Giant);
            memory.map(base + (2 << 30), 2 << 30, 4 << 20, Leaf::Block);
            memory.map(0xffff_ffff_8100_0000, 0x160_0000, 0x3000, Leaf::Page);
            memory.map(0xffff_ffff_9000_0000, 0x170_0000, 0x1000, Leaf::Page);
            memory.write_tables(0x8000, |va| va != 0xffff_ffff_9000_0000, from(0x10_0000));
            for (va, pa) in [
                (base + 0x1234_5678, Some(0x1234_5678)),
                (base + (1 << 30), None),
                (base + (2 << 30) + 0x20_1008, Some((2 << 30) + 0x20_1008)),
                (0xffff_ffff_8100_2ff8, Some(0x160_2ff8)),
                (0xffff_ffff_8100_3000, None),
            ] {
                assert_eq!(walk(&memory, 0x8000, levels, mask, va), pa, "{va:#x}");
                assert_eq!(memory.translate(va), pa, "{va:#x}");
            }
            assert_eq!(walk(&memory, 0x8000, levels, mask, 0xffff_ffff_9000_0000), None);
        }
    }

    /// Empty tables of s390x are not zero, page tables take half a page, and all is big-endian.
    #[test]
    fn tables_of_another_byte_order() {
        let tables = Tables {
            words: Words { big: true, wide: true },
            ..Tables::wide(Entries::S390x, &[12, 20, 31, 42, 53], 42)
        };
        let mut memory = Memory::new(tables);
        memory.map(0, 0, 1 << 20, Leaf::Block);
        memory.map(3 << 31, 2 << 31, 1 << 31, Leaf::Giant);
        memory.map(0x7ff1_2000, 0x5000, 0x1000, Leaf::Page);
        memory.write_tables(0x8000, |_| true, from(0x10_0000));
        let at = |at| memory.read_phys(at, 8);
        assert_eq!(at(0x8000), 0x10_0007u64.to_be_bytes());
        assert_eq!(at(0x8000 + 8 * 3), (2 << 31 | 0xf507u64).to_be_bytes());
        assert_eq!(at(0x8000 + 8 * 2047), 0x24u64.to_be_bytes());
        assert_eq!(at(0x10_0000), 0xf501u64.to_be_bytes());
        assert_eq!(at(0x10_0008), 0x20u64.to_be_bytes());
        assert_eq!(at(0x10_0000 + 8 * 2047), 0x10_4001u64.to_be_bytes());
        assert_eq!(at(0x10_4000 + 8 * 0x12), 0x5137u64.to_be_bytes());
        assert_eq!(at(0x10_4000 + 8 * 0xff), 0x400u64.to_be_bytes());
    }

    #[test]
    fn writes_cross_pages_by_virtual_address() {
        let mut memory = Memory::new(Tables::x86(4, 0));
        memory.map(0x1000, 0x9000, 0x1000, Leaf::Page);
        memory.map(0x2000, 0x5000, 0x1000, Leaf::Page);
        memory.write(0x1ffe, &[1, 2, 3, 4]);
        assert_eq!(&memory.page(9).unwrap()[4094..], &[1, 2]);
        assert_eq!(&memory.page(5).unwrap()[..2], &[3, 4]);
    }
}
