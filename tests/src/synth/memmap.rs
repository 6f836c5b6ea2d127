//! Writes the array of `struct page` and the tables that lead to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::cpu::Cpu;
use super::machine::{Fault, Kit, Machine, MemModel, SectionTable};
use super::page::{self, Class, Use};
use super::style::HugetlbMark;
use super::tables::Leaf;
use super::zones;

/// `LENGTH(node_data)`.
pub(super) const NODES: usize = 16;
/// `OFFSET(pglist_data.node_mem_map)`.
pub(super) const NODE_MEM_MAP: u64 = 4992;
/// `SIZE(pglist_data)`.
pub(super) const NODE_SIZE: u64 = 5888;
/// A physical address that no RAM of any test covers.
const NOWHERE: u64 = 0x3f_0000_0000;

/// Writes structures of all blocks, and sections or the flat array's pointer. Gives the numbers of
/// the sections that are present.
pub(super) fn write(machine: &Machine, kit: &mut Kit) -> BTreeSet<u64> {
    let place = Place::new(machine, kit);
    let (frames, listed, free) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut written = Structures { machine, place: &place, kit, frames, listed, free };
    for block in &machine.blocks {
        written.block(block.pfn, block.class);
    }
    for &pfn in &machine.poisoned {
        if !written.frames.contains(&pfn) {
            written.block(pfn, Class::Poisoned);
        }
    }
    written.link();
    let free = std::mem::take(&mut written.free);
    place.finish(machine, kit);
    match machine.model {
        MemModel::Flat => {
            let (_, start) = place.arrays[0];
            let start = kit.words.long(start);
            kit.variable("mem_map", &start);
        }
        MemModel::Nodes => nodes(machine, kit, &place, &free),
        MemModel::SparsePlain => sections_plain(machine, kit, &place),
        MemModel::Vmemmap | MemModel::SparseExtreme => sections_extreme(machine, kit, &place),
    }
    if machine.zones && machine.model != MemModel::Nodes {
        let ends = machine.frames(kit).into_iter().map(|range| range.end);
        let span = machine.first_pfn..ends.max().unwrap_or(0);
        let node = vec![0; NODE_SIZE as usize];
        let at = kit.variable("contig_page_data", &node);
        zones::write(machine, kit, at, span, &free);
    }
    if let Cpu::Ppc64le { radix } = machine.cpu {
        let spec = kit.alloc_va(64);
        let features = kit.words.u32(if radix { 0x40 } else { 0x1 });
        kit.memory.write(spec + 36, &features);
        let pointer = kit.words.long(spec);
        kit.variable("cur_cpu_spec", &pointer);
        chunks(machine, kit, if radix { &[] } else { &place.pieces });
    }
    place.sections.into_keys().collect()
}

/// Where the structure of each frame is.
struct Place {
    size: u64,
    /// Pages of a section.
    pages: u64,
    /// Virtual and physical addresses of the large pieces that vmemmap is made of.
    pieces: Vec<(u64, u64)>,
    /// Virtual address of each present section's first structure.
    sections: BTreeMap<u64, u64>,
    /// Arrays of frames: one, or one for each node.
    arrays: Vec<(Range<u64>, u64)>,
}

impl Place {
    fn new(machine: &Machine, kit: &mut Kit) -> Self {
        let size = machine.page_struct;
        let pages = machine.section_pages();
        let bytes = (pages * size).next_multiple_of(kit.page);
        let (sections, arrays, pieces) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut place = Place { size, pages, sections, arrays, pieces };
        if matches!(machine.model, MemModel::Flat | MemModel::Nodes) {
            let end = machine.frames(kit).iter().map(|range| range.end).max().unwrap_or(0);
            let (first, upper) = (machine.first_pfn, machine.meta_at / kit.page);
            let below = match machine.model {
                MemModel::Flat => end,
                _ => first + (upper - first) / 2,
            };
            let spans = [first..below, upper..end];
            let count = if below == end { 1 } else { 2 };
            place.arrays = spans
                .into_iter()
                .take(count)
                .map(|span| (span.clone(), kit.alloc_va((span.end - span.start) * size)))
                .collect();
            return place;
        }
        let leaf = machine.cpu.tables(machine.levels, 0).bytes(machine.vmemmap_leaf);
        let giant = machine.vmemmap_leaf == Leaf::Giant;
        if giant {
            // The leaf at physical 0: structure of frame n at n * size.
            let last = machine.present_sections(kit).last().copied().unwrap_or(0);
            let end = ((last + 1) * bytes).div_ceil(kit.page);
            kit.extra_ram.push(0..end);
            kit.memory.map(machine.vmemmap, 0, leaf, Leaf::Giant);
        }
        let sections = machine.present_sections(kit);
        let mut chunks = BTreeSet::new();
        for section in sections {
            let va = match machine.model {
                MemModel::Vmemmap => machine.vmemmap + section * pages * size,
                _ => kit.alloc_va(bytes),
            };
            place.sections.insert(section, va);
            chunks.extend(va / leaf..(va + bytes).div_ceil(leaf));
        }
        if machine.model == MemModel::Vmemmap && !giant && machine.vmemmap_leaf != Leaf::Page {
            for chunk in chunks {
                let at = kit.alloc(leaf, leaf);
                kit.memory.map(chunk * leaf, at, leaf, machine.vmemmap_leaf);
                place.pieces.push((chunk * leaf, at));
            }
        }
        place
    }

    /// Virtual address of a frame's structure; none where no section has it.
    fn of(&self, pfn: u64) -> Option<u64> {
        if let Some((span, start)) = self.arrays.iter().find(|(span, _)| span.contains(&pfn)) {
            return Some(start + (pfn - span.start) * self.size);
        }
        let start = self.sections.get(&(pfn / self.pages))?;
        Some(start + pfn % self.pages * self.size)
    }

    /// Maps what nothing was written to, and takes away what must not be readable.
    fn finish(&self, machine: &Machine, kit: &mut Kit) {
        if machine.model != MemModel::Vmemmap || machine.vmemmap_leaf != Leaf::Page {
            assert!(machine.faults.is_empty(), "faults need vmemmap in single pages");
            return;
        }
        let page = kit.page;
        let zeros = kit.alloc(page, page);
        for start in self.sections.values() {
            let end = start + self.pages * self.size;
            for va in (start / page * page..end).step_by(page as usize) {
                if kit.memory.translate(va).is_none() {
                    kit.memory.map(va, zeros, page, Leaf::Page);
                }
            }
        }
        for (frames, fault) in &machine.faults {
            let pages: BTreeSet<u64> =
                frames.clone().filter_map(|pfn| self.of(pfn)).map(|va| va / page * page).collect();
            for va in pages {
                kit.memory.unmap(va);
                if *fault == Fault::NotInFile {
                    kit.memory.map(va, NOWHERE, page, Leaf::Page);
                }
            }
        }
    }
}

struct Structures<'a> {
    machine: &'a Machine,
    place: &'a Place,
    kit: &'a mut Kit,
    frames: BTreeSet<u64>,
    /// Addresses of the structures that are on a list, each with its copies ("fake heads").
    listed: Vec<Vec<u64>>,
    /// Free blocks that zones have lists of: frame, order, and address of the structure.
    free: Vec<(u64, u32, u64)>,
}

impl Structures<'_> {
    fn put(&mut self, pfn: u64, mut page: page::PageStruct<'_>) {
        self.frames.insert(pfn);
        if self.machine.poisoned.contains(&pfn) {
            page.flag(self.machine.facts.flags.hwpoison);
        }
        let width = self.machine.section_width();
        if self.machine.zones && width > 0 {
            page.section(pfn / self.machine.section_pages(), width);
        }
        let Some(va) = self.place.of(pfn) else { return };
        let size = self.kit.page;
        let (first, last) = (va / size * size, (va + self.place.size - 1) / size * size);
        for page_va in [first, last] {
            if self.kit.memory.translate(page_va).is_none() {
                let at = self.kit.alloc(size, size);
                self.kit.memory.map(page_va, at, size, Leaf::Page);
            }
        }
        self.kit.memory.write(va, page.bytes());
    }

    fn block(&mut self, pfn: u64, class: Class) {
        let (facts, size) = (&self.machine.facts, self.place.size);
        self.put(pfn, page::head(facts, size, class));
        let zoned = match class {
            Class::Free { order } if self.machine.zones && order < facts.free_orders => Some(order),
            _ => None,
        };
        if let (Some(order), Some(va)) = (zoned, self.place.of(pfn)) {
            self.free.push((pfn, order, va));
        } else if class.is_listed(facts) {
            self.listed.extend(self.place.of(pfn).map(|va| vec![va]));
        }
        let Class::Compound { order, of } = class else {
            // A kernel that does not know such blocks has pages of its own there.
            let known = class != Class::Unaccepted || facts.unaccepted.is_some();
            for tail in (pfn + 1..pfn + class.pages(facts)).filter(|_| known) {
                self.put(tail, page::free_tail(facts, size));
            }
            return;
        };
        let head_va = self.place.of(pfn).unwrap_or(0);
        let free_huge_page = self.kit.text_va + 0x3000;
        let shared = of == Use::HugetlbHvo && !matches!(facts.hugetlb, HugetlbMark::Lru { .. });
        // With the structures' memory given back, what one page of them holds is what all hold.
        let period = if shared { self.kit.page / size } else { u64::MAX };
        for index in 1..1u64 << order {
            let seen = if shared { index % period } else { index };
            let page = match seen {
                0 => {
                    if let (Some(copies), Some(va)) =
                        (self.listed.last_mut(), self.place.of(pfn + index))
                    {
                        copies.push(va);
                    }
                    page::head(facts, size, class)
                }
                _ => page::tail(facts, size, order, of, seen, head_va, free_huge_page),
            };
            self.put(pfn + index, page);
        }
    }

    /// Makes a ring of all structures that are on a list: each points at the next and at the one before.
    fn link(&mut self) {
        let (lru, words) = (self.machine.facts.page.lru, self.kit.words);
        let ring = self.listed.iter().map(|copies| copies[0] + lru).collect::<Vec<u64>>();
        for (n, copies) in self.listed.iter().enumerate() {
            let (next, before) = ((n + 1) % ring.len(), (n + ring.len() - 1) % ring.len());
            let pair = [words.long(ring[next]), words.long(ring[before])].concat();
            for va in copies {
                self.kit.memory.write(va + lru, &pair);
            }
        }
    }
}

/// A table of nodes: in places 1 and 3 of it, the upper one first.
fn nodes(machine: &Machine, kit: &mut Kit, place: &Place, free: &[(u64, u32, u64)]) {
    let mut table = [0u64; NODES];
    for (n, (span, start)) in place.arrays.iter().rev().enumerate() {
        let node = kit.alloc_va(NODE_SIZE);
        for (offset, value) in
            [(NODE_MEM_MAP, *start), (5008, span.start), (5024, span.end - span.start)]
        {
            kit.write_long(node + offset, value);
        }
        if machine.zones {
            zones::write(machine, kit, node, span.clone(), free);
        }
        table[1 + 2 * n] = node;
    }
    let bytes: Vec<u8> = table.iter().flat_map(|node| kit.words.long(*node)).collect();
    kit.variable("node_data", &bytes);
}

/// The list of the pieces that vmemmap is made of, in no order, and what says how large they are: ppc64 with hashed
/// tables.
fn chunks(machine: &Machine, kit: &mut Kit, pieces: &[(u64, u64)]) {
    let mut pieces = pieces.to_vec();
    pieces.reverse();
    let third = pieces.len() / 3;
    pieces.rotate_left(third);
    let list = kit.alloc_va(24 * pieces.len() as u64);
    for (n, (virt, phys)) in pieces.iter().enumerate() {
        let at = list + 24 * n as u64;
        let next = if n + 1 == pieces.len() { 0 } else { at + 24 };
        for (word, value) in [next, *phys, *virt].into_iter().enumerate() {
            kit.write_long(at + 8 * word as u64, value);
        }
    }
    let words = kit.words;
    let (number, bits) = machine.cpu.chunk();
    kit.variable("vmemmap_list", &words.long(if pieces.is_empty() { 0 } else { list }));
    kit.variable("mmu_vmemmap_psize", &words.u32(number as u32));
    let mut sizes = vec![0; 88 * 16];
    sizes[88 * number as usize + 4..][..4].copy_from_slice(&words.u32(bits));
    kit.variable("mmu_psize_defs", &sizes);
}

/// `section_mem_map` of a section: where its structures would start if it began at frame 0, and
/// flags in the low bits.
fn encoded(machine: &Machine, section: u64, start: u64) -> u64 {
    let base = start.wrapping_sub(section * machine.section_pages() * machine.page_struct);
    assert_eq!(base & 63, 0, "the encoded pointer leaves no room for flags");
    let online = machine.facts.section_online.unwrap_or(0);
    let flags = machine.facts.section_flags;
    base | if machine.offline.contains(&section) { flags & !online } else { flags }
}

fn sections_plain(machine: &Machine, kit: &mut Kit, place: &Place) {
    let count = sections(machine);
    let size = machine.facts.mem_section_size;
    let table = kit.table("mem_section", count * size);
    for (&section, &start) in &place.sections {
        kit.write_long(table + section * size, encoded(machine, section, start));
    }
}

fn sections_extreme(machine: &Machine, kit: &mut Kit, place: &Place) {
    let (size, long) = (machine.facts.mem_section_size, kit.words.bytes());
    let per_root = kit.page / size;
    let bytes = roots(machine) * long;
    let table = match machine.table {
        SectionTable::Array => kit.table("mem_section", bytes),
        SectionTable::PointedTo => {
            let table = kit.alloc_va(bytes);
            kit.symbols.push(("mem_section".into(), table));
            table
        }
        SectionTable::Variable => {
            let table = kit.alloc_va(bytes);
            let pointer = kit.words.long(table);
            kit.variable("mem_section", &pointer);
            table
        }
    };
    let mut pages = BTreeMap::new();
    for (&section, &start) in &place.sections {
        let root = *pages.entry(section / per_root).or_insert_with(|| {
            let page = kit.alloc_va(kit.page);
            kit.write_long(table + section / per_root * long, page);
            page
        });
        let at = root + section % per_root * size;
        kit.write_long(at, encoded(machine, section, start));
        // The word behind it (pageblock flags or usage map) is a pointer in real kernels.
        kit.write_long(at + long, root);
    }
}

/// Sections that memory may have: `LENGTH(mem_section)` of a plain table.
pub(super) fn sections(machine: &Machine) -> u64 {
    1 << (machine.physmem_bits - machine.section_bits)
}

/// Entries of the root array: `LENGTH(mem_section)` with SPARSEMEM_EXTREME.
pub(super) fn roots(machine: &Machine) -> u64 {
    sections(machine).div_ceil(machine.page() / machine.facts.mem_section_size)
}
