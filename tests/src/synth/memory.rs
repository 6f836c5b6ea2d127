//! The physical memory of a synthetic machine and its page tables.

use std::collections::BTreeMap;

use super::content::PAGE;

/// Size of the mapping made by one page table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// An entry of the last level: 4 KiB.
    Page,
    /// One of the level above: 2 MiB.
    Block,
    /// One of the level above that: 1 GiB.
    Giant,
    /// 64 KiB, in sixteen PTEs of riscv64 that are alike (Svnapot).
    Run,
}

impl Leaf {
    /// Bytes mapped by one entry.
    pub fn bytes(self) -> u64 {
        match self {
            Leaf::Page => 1 << 12,
            Leaf::Block => 1 << 21,
            Leaf::Giant => 1 << 30,
            Leaf::Run => 1 << 16,
        }
    }

    /// Level of the table that holds the entry: 1 for ptes.
    fn level(self) -> u32 {
        match self {
            Leaf::Page | Leaf::Run => 1,
            Leaf::Block => 2,
            Leaf::Giant => 3,
        }
    }
}

/// What the entries of page tables look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// x86_64, with these bits set in every address (memory encryption).
    X86 {
        /// The bits.
        mask: u64,
    },
    /// arm64 with pages of 4 KiB: addresses of 48 bits, or of 52 with five levels.
    Arm64,
    /// riscv64.
    Riscv64,
}

impl Entries {
    /// Present, writable, accessed, dirty.
    const X86_PRESENT: u64 = 0x63;
    const X86_HUGE: u64 = 0x80;
    const X86_GLOBAL_NX: u64 = 1 << 63 | 0x100;
    /// Not executable, contiguous hint unset; accessed.
    const ARM64_PAGE: u64 = 0x0068_0000_0000_0400;
    /// Inner shareable; with addresses of 52 bits these are two bits of the address.
    const ARM64_SHAREABLE: u64 = 0x300;

    /// Valid, readable, writable, global, accessed, dirty.
    const RISCV_PAGE: u64 = 0xe7;
    const RISCV_NAPOT: u64 = 1 << 63;

    /// The bits of an index into a table of a level (1 for ptes).
    fn indexes(self, level: u32) -> u64 {
        // 52 bits leave four for the first of five levels.
        if self == Entries::Arm64 && level == 5 { 0xf } else { 0x1ff }
    }

    /// The entry that maps memory at `pa`, in tables of so many levels.
    fn leaf(self, pa: u64, leaf: Leaf, levels: u32) -> u64 {
        match self {
            Entries::X86 { mask } => {
                let huge = if leaf == Leaf::Page { 0 } else { Self::X86_HUGE };
                pa | mask | Self::X86_PRESENT | huge | Self::X86_GLOBAL_NX
            }
            Entries::Arm64 => {
                let kind = if leaf == Leaf::Page { 3 } else { 1 };
                let share = if levels == 4 { Self::ARM64_SHAREABLE } else { 0 };
                pa | Self::ARM64_PAGE | share | kind
            }
            // A block of 64 KiB says so by the lowest bits of its first page number.
            Entries::Riscv64 if leaf == Leaf::Run => {
                (pa | 0x8000) >> 2 | Self::RISCV_PAGE | Self::RISCV_NAPOT
            }
            Entries::Riscv64 => pa >> 2 | Self::RISCV_PAGE,
        }
    }

    /// The entry that points at a table.
    fn table(self, at: u64) -> u64 {
        match self {
            Entries::X86 { mask } => at | mask | Self::X86_PRESENT,
            Entries::Arm64 => at | 3,
            Entries::Riscv64 => at >> 2 | 1,
        }
    }

    /// Whether an entry above the last level maps memory itself.
    fn is_block(self, entry: u64) -> bool {
        match self {
            Entries::X86 { .. } => entry & Self::X86_HUGE != 0,
            Entries::Arm64 => entry & 3 == 1,
            Entries::Riscv64 => entry & 0xe != 0,
        }
    }

    /// The address in an entry that points at a table.
    fn address(self, entry: u64) -> u64 {
        match self {
            Entries::X86 { mask } => entry & 0x000f_ffff_ffff_f000 & !mask,
            Entries::Arm64 => entry & 0x0000_ffff_ffff_f000,
            Entries::Riscv64 => entry << 2 & 0x00ff_ffff_ffff_f000,
        }
    }
}

/// Pages written so far, by frame number; all others read as the machine's [`super::Content`].
#[derive(Clone, Default, Debug)]
pub struct Memory {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    /// Virtual address to (physical address, bytes, leaf).
    maps: BTreeMap<u64, (u64, u64, Leaf)>,
}

impl Memory {
    /// The page written at `pfn`, if any byte of it was.
    pub fn page(&self, pfn: u64) -> Option<&[u8; PAGE]> {
        self.pages.get(&pfn).map(|page| &**page)
    }

    /// Frame numbers of the pages written.
    pub fn written(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    /// Writes at a physical address.
    pub fn write_phys(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let offset = at as usize % PAGE;
            let n = bytes.len().min(PAGE - offset);
            let page = self.pages.entry(at / PAGE as u64).or_insert_with(|| Box::new([0; PAGE]));
            page[offset..offset + n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            at += n as u64;
        }
    }

    /// Reads eight bytes at a physical address, which are zero where nothing was written.
    pub fn read_phys_u64(&self, at: u64) -> u64 {
        let offset = at as usize % PAGE;
        self.page(at / PAGE as u64)
            .map_or(0, |page| u64::from_le_bytes(page[offset..offset + 8].try_into().unwrap()))
    }

    /// Maps `len` bytes at `va` to `pa` by entries of one size.
    pub fn map(&mut self, va: u64, pa: u64, len: u64, leaf: Leaf) {
        let size = leaf.bytes();
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
        while !bytes.is_empty() {
            let n = bytes.len().min(PAGE - va as usize % PAGE);
            let pa = self.translate(va).unwrap_or_else(|| panic!("{va:#x} is not mapped"));
            self.write_phys(pa, &bytes[..n]);
            bytes = &bytes[n..];
            va += n as u64;
        }
    }

    /// Writes page tables for every mapping. `top` is the physical address of the top table,
    /// `levels` 4 or 5, `alloc` gives the physical addresses of further zeroed tables.
    pub fn write_tables(
        &mut self,
        top: u64,
        levels: u32,
        entries: Entries,
        mut alloc: impl FnMut() -> u64,
    ) {
        let maps: Vec<_> = self.maps.iter().map(|(va, map)| (*va, *map)).collect();
        for (start, (pa, len, leaf)) in maps {
            let step = leaf.bytes();
            for i in 0..len / step {
                let (va, pa) = (start + i * step, pa + i * step);
                let mut table = top;
                let mut level = levels;
                loop {
                    let slot = table + (va >> (12 + 9 * (level - 1)) & entries.indexes(level)) * 8;
                    if level == leaf.level() {
                        let count = if leaf == Leaf::Run { 16 } else { 1 };
                        let entry = entries.leaf(pa, leaf, levels).to_le_bytes();
                        (0..count).for_each(|n| self.write_phys(slot + 8 * n, &entry));
                        break;
                    }
                    let entry = self.read_phys_u64(slot);
                    assert!(!entries.is_block(entry), "{va:#x} is mapped twice");
                    table = if entry & 1 != 0 {
                        entries.address(entry)
                    } else {
                        let table = alloc();
                        self.write_phys(slot, &entries.table(table).to_le_bytes());
                        table
                    };
                    level -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A walk written apart from `write_tables`, straight from the processor manual.
    fn walk(memory: &Memory, top: u64, levels: u32, mask: u64, va: u64) -> Option<u64> {
        let mut table = top;
        for shift in (0..levels).rev().map(|n| 12 + 9 * n) {
            let entry = memory.read_phys_u64(table + ((va >> shift) % 512) * 8);
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

    #[test]
    fn tables_translate_what_was_mapped() {
        for (levels, mask) in [(4, 0), (5, 0), (4, 1 << 47), (5, 1 << 51)] {
            let mut memory = Memory::default();
            let base = if levels == 4 { 0xffff_8880_0000_0000 } else { 0xff11_0000_0000_0000 };
            memory.map(base, 0, 1 << 30, Leaf::Giant);
            memory.map(base + (2 << 30), 2 << 30, 4 << 20, Leaf::Block);
            memory.map(0xffff_ffff_8100_0000, 0x160_0000, 0x3000, Leaf::Page);
            let mut next = 0x10_0000;
            memory.write_tables(0x8000, levels, Entries::X86 { mask }, || {
                next += 0x1000;
                next
            });
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
        }
    }

    #[test]
    fn writes_cross_pages_by_virtual_address() {
        let mut memory = Memory::default();
        memory.map(0x1000, 0x9000, 0x1000, Leaf::Page);
        memory.map(0x2000, 0x5000, 0x1000, Leaf::Page);
        memory.write(0x1ffe, &[1, 2, 3, 4]);
        assert_eq!(&memory.page(9).unwrap()[4094..], &[1, 2]);
        assert_eq!(&memory.page(5).unwrap()[..2], &[3, 4]);
    }
}
