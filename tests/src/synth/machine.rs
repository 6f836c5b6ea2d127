//! The description of a machine.

use std::collections::BTreeSet;
use std::ops::Range;

use super::content::Content;
use super::cpu::{Cpu, LINK, Placed};
use super::elf::{Image, Load, Note};
use super::log::{self, LogLine};
use super::memmap;
use super::memory::Memory;
use super::page::Class;
use super::style::{Facts, KernelStyle};
use super::tables::{Leaf, Room};
use super::words::Words;
use super::{info, own};

/// A page or block of pages in one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First page frame.
    pub pfn: u64,
    /// What it is used for.
    pub class: Class,
}

/// How the kernel finds the `struct page` of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemModel {
    /// SPARSEMEM_EXTREME with one virtual array for all sections.
    Vmemmap,
    /// SPARSEMEM_EXTREME with an array per section in the direct map.
    SparseExtreme,
    /// SPARSEMEM with a static table of all sections; needs few physical address bits.
    SparsePlain,
    /// One array for all frames from 0.
    Flat,
    /// DISCONTIGMEM: the frames of the builder's region, and those above, are a node of their own. Between the two
    /// nodes is a hole: from half of the first frame of that region on.
    Nodes,
}

/// What `SYMBOL(mem_section)` is the address of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionTable {
    /// The array of roots, in the kernel image (before 4.15).
    Array,
    /// The array of roots, allocated at boot (4.15 on, as the kernel prints it).
    PointedTo,
    /// The variable that points at the array (as in symbol files).
    Variable,
}

/// Why a part of the array of `struct page` cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The page tables have no entry.
    Unmapped,
    /// The page tables point at memory that no PT_LOAD covers.
    NotInFile,
}

/// What is wrong with the lists of free blocks of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BentList {
    /// The last block leads back to the first one, not to the head of the list.
    Ring,
    /// The first block is in use.
    InUse,
    /// It is on the list of the order above.
    OtherOrder,
    /// It is on the list of the other zone.
    OtherZone,
    /// The first block's list leads nowhere.
    Nowhere,
}

/// A machine under description. Frame numbers and byte addresses are physical.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) facts: Facts,
    pub(super) ram: Vec<Range<u64>>,
    pub(super) meta_at: u64,
    pub(super) meta_cap: u64,
    pub(super) blocks: Vec<Block>,
    pub(super) poisoned: BTreeSet<u64>,
    pub(super) contents: Vec<(Range<u64>, Content)>,
    pub(super) model: MemModel,
    pub(super) table: SectionTable,
    pub(super) page_struct: u64,
    pub(super) levels: u32,
    pub(super) sme_mask: u64,
    pub(super) cpu: Cpu,
    /// log2 of the bytes of a memory section.
    pub(super) section_bits: u32,
    /// The frame that the linear map and a flat array begin with.
    pub(super) first_pfn: u64,
    pub(super) kernel_offset: u64,
    pub(super) phys_load: Option<u64>,
    pub(super) page_offset: u64,
    pub(super) vmemmap: u64,
    pub(super) physmem_bits: u32,
    pub(super) direct_leaf: Leaf,
    pub(super) vmemmap_leaf: Leaf,
    pub(super) text_leaf: Leaf,
    pub(super) absent: BTreeSet<u64>,
    pub(super) offline: BTreeSet<u64>,
    pub(super) faults: Vec<(Range<u64>, Fault)>,
    pub(super) removed_keys: Vec<String>,
    pub(super) added_lines: Vec<String>,
    pub(super) has_vmcoreinfo: bool,
    pub(super) trailing_newline: Option<bool>,
    pub(super) cpus: usize,
    pub(super) front_notes: Vec<Note>,
    pub(super) back_notes: Vec<Note>,
    pub(super) log: Option<(Vec<LogLine>, usize)>,
    pub(super) own_tables: bool,
    pub(super) zones: bool,
    pub(super) strange_zones: bool,
    pub(super) bent: Option<(u32, BentList)>,
}

/// Where the first zone of a node ends, if it has more than one.
pub const ZONE_END: u64 = 0x1000;
/// Bytes of the kernel image.
const IMAGE: u64 = 4 << 20;
/// Offset in the image of `init_uts_ns`.
const UTS_AT: u64 = 0x1000;
/// Offset in the image of `free_huge_page`.
const FREE_HUGE_PAGE_AT: u64 = 0x3000;
/// Offset in the image of `mem_section`, `mem_map` and of the log's variables.
const VARIABLES_AT: u64 = 0x4000;
/// Offset in the image of static tables.
const TABLES_AT: u64 = 0x10_0000;

impl Machine {
    /// A machine without RAM of its own, 4-level page tables, no address randomisation, and the
    /// memory model usual for the generation: SPARSEMEM_EXTREME with a virtual array.
    pub fn new(style: KernelStyle) -> Self {
        let facts = style.facts();
        Machine {
            ram: Vec::new(),
            meta_at: 48 << 20,
            meta_cap: 32 << 20,
            blocks: Vec::new(),
            poisoned: BTreeSet::new(),
            contents: Vec::new(),
            model: MemModel::Vmemmap,
            table: if facts.mem_section_pointer {
                SectionTable::PointedTo
            } else {
                SectionTable::Array
            },
            page_struct: facts.page.size,
            levels: 4,
            sme_mask: 0,
            cpu: Cpu::X86_64,
            section_bits: 27,
            first_pfn: 0,
            kernel_offset: 0,
            phys_load: None,
            page_offset: facts.page_offset,
            vmemmap: facts.vmemmap,
            physmem_bits: facts.physmem_bits,
            direct_leaf: Leaf::Block,
            vmemmap_leaf: Leaf::Page,
            text_leaf: Leaf::Block,
            absent: BTreeSet::new(),
            offline: BTreeSet::new(),
            faults: Vec::new(),
            removed_keys: Vec::new(),
            added_lines: Vec::new(),
            has_vmcoreinfo: true,
            trailing_newline: None,
            cpus: 2,
            front_notes: Vec::new(),
            back_notes: Vec::new(),
            log: None,
            own_tables: false,
            zones: false,
            strange_zones: false,
            bent: None,
            facts,
        }
    }

    /// Adds RAM: page frames `pfns`, zero-filled until [`Machine::fill`] says otherwise.
    pub fn ram(mut self, pfns: Range<u64>) -> Self {
        self.ram.push(pfns);
        self
    }

    /// Puts the builder's own region at this physical address, a multiple of 2 MiB, which must
    /// leave room for `cap` bytes without touching the RAM of the test.
    pub fn meta_at(mut self, at: u64, cap: u64) -> Self {
        (self.meta_at, self.meta_cap) = (at, cap);
        self
    }

    /// Puts a page or block in use at `pfn`.
    pub fn put(mut self, pfn: u64, class: Class) -> Self {
        self.blocks.push(Block { pfn, class });
        self
    }

    /// Sets `PG_hwpoison` on the structure of `pfn`, whatever its use.
    pub fn poison(mut self, pfn: u64) -> Self {
        self.poisoned.insert(pfn);
        self
    }

    /// Fills page frames; later calls win.
    pub fn fill(mut self, pfns: Range<u64>, content: Content) -> Self {
        self.contents.push((pfns, content));
        self
    }

    /// Chooses the memory model. Plain SPARSEMEM gets 36 physical address bits, so that its table
    /// stays small; only kernels that export `MAX_PHYSMEM_BITS` can say so.
    pub fn model(mut self, model: MemModel) -> Self {
        self.model = model;
        if model == MemModel::SparsePlain {
            self.physmem_bits = self.physmem_bits.min(36);
        }
        self
    }

    /// Sets `LENGTH(zone.free_area)`: the highest order of a free block, plus one.
    pub fn free_orders(mut self, orders: u32) -> Self {
        self.facts.free_orders = orders;
        self
    }

    /// Chooses what `SYMBOL(mem_section)` means.
    pub fn section_table(mut self, table: SectionTable) -> Self {
        self.table = table;
        self
    }

    /// Sets `sizeof(struct page)` to another number of bytes.
    pub fn page_struct(mut self, bytes: u64) -> Self {
        self.page_struct = bytes;
        self
    }

    /// Five levels of page tables, with the address layout that goes with them.
    pub fn five_level(mut self) -> Self {
        assert!(self.facts.exports_l5, "this generation has no fifth level");
        self.levels = 5;
        self.physmem_bits = 52;
        self.page_offset = 0xff11_0000_0000_0000;
        self.vmemmap = 0xffd4_0000_0000_0000;
        self
    }

    /// Makes it an arm64 machine with pages of 4 KiB and addresses of 48 bits, or of 52 (LPA2), whose
    /// linear map begins at physical 0.
    pub fn arm64(self, bits: u32) -> Self {
        self.arm64_paged(12, bits, bits)
    }

    /// The same with pages of `1 << page` bytes, and a kernel that is built for `built` bits of address.
    pub fn arm64_paged(self, page: u32, built: u32, bits: u32) -> Self {
        assert!(bits <= built && built <= 52, "{bits} bits of address of {built}");
        self.on(Cpu::Arm64 { page, built, bits })
    }

    /// Makes it a riscv64 machine: Sv39, Sv48 or Sv57.
    pub fn riscv64(self, bits: u32) -> Self {
        self.on(Cpu::Riscv64 { bits })
    }

    /// Makes it a machine of another architecture. Kernels of 32 bits have neither a vmemmap nor roots of sections:
    /// they get one array, unless the memory model is one that they have.
    pub fn on(mut self, cpu: Cpu) -> Self {
        self.cpu = cpu;
        let plain = self.model == MemModel::SparsePlain;
        if !cpu.words().wide {
            self.facts = self.facts.narrow();
            self.page_struct = self.facts.page.size;
            if matches!(self.model, MemModel::Vmemmap | MemModel::SparseExtreme) {
                self.model = MemModel::Flat;
            }
        }
        self.facts.words = cpu.words();
        (self.page_offset, self.vmemmap) = cpu.bases(&self.facts);
        (self.section_bits, self.physmem_bits) = cpu.sizes(&self.facts);
        if cpu.page_bits() > 12 {
            // All frames are so much further up, and blocks larger than the image.
            self.meta_at <<= cpu.page_bits() - 12;
            self.text_leaf = Leaf::Page;
        }
        if plain {
            self.physmem_bits = self.physmem_bits.min(36);
        }
        if cpu.has_chunks() {
            self.vmemmap_leaf = Leaf::Run;
        }
        self
    }

    /// Moves memory up by `pfns`, a multiple of 1 GiB: the linear map and a flat array begin there, as on
    /// boards of ARM and riscv64 whose memory does not begin at 0.
    pub fn memory_from(mut self, pfns: u64) -> Self {
        let name = self.cpu.name();
        assert!(self.cpu.counts_from_its_memory(), "{name} counts from physical 0");
        let bytes = pfns * self.page();
        self.first_pfn = pfns;
        self.page_offset = self.page_offset.wrapping_sub(bytes);
        self.vmemmap = self.vmemmap.wrapping_sub(pfns * self.page_struct);
        self.meta_at += bytes;
        self
    }

    /// Moves the kernel: `offset` is `KERNELOFFSET` (virtual), `phys_load` where the image lies.
    /// Both are multiples of 2 MiB.
    pub fn kaslr(mut self, offset: u64, phys_load: u64) -> Self {
        (self.kernel_offset, self.phys_load) = (offset, Some(phys_load));
        self
    }

    /// Moves the direct map and vmemmap, as memory randomisation does; multiples of 1 GiB.
    pub fn bases(mut self, page_offset: u64, vmemmap: u64) -> Self {
        (self.page_offset, self.vmemmap) = (page_offset, vmemmap);
        self
    }

    /// Sets the memory encryption bit in every page table entry.
    pub fn sme_mask(mut self, mask: u64) -> Self {
        self.sme_mask = mask;
        self
    }

    /// Chooses page table entry sizes of the direct map, of vmemmap and of the kernel image. A
    /// 1 GiB leaf under vmemmap lies at physical 0, so the machine's RAM has to start above the
    /// structures of all its sections (2 MiB for each 128 MiB).
    pub fn leaves(mut self, direct: Leaf, vmemmap: Leaf, text: Leaf) -> Self {
        (self.direct_leaf, self.vmemmap_leaf, self.text_leaf) = (direct, vmemmap, text);
        self
    }

    /// Leaves a section out of the section table though RAM lies in it.
    pub fn absent_section(mut self, section: u64) -> Self {
        self.absent.insert(section);
        self
    }

    /// Marks a section present, but not online.
    pub fn offline_section(mut self, section: u64) -> Self {
        self.offline.insert(section);
        self
    }

    /// Makes the structures of these frames unreadable, in whole pages of structures; vmemmap of
    /// 4 KiB pages only.
    pub fn fault(mut self, pfns: Range<u64>, fault: Fault) -> Self {
        self.faults.push((pfns, fault));
        self
    }

    /// Leaves out the VMCOREINFO line that starts with `key` and `=`.
    pub fn without_key(mut self, key: &str) -> Self {
        self.removed_keys.push(format!("{key}="));
        self
    }

    /// Adds a VMCOREINFO line (without newline) before `CRASHTIME`.
    pub fn line(mut self, line: &str) -> Self {
        self.added_lines.push(line.to_string());
        self
    }

    /// Leaves out the VMCOREINFO note.
    pub fn without_vmcoreinfo(mut self) -> Self {
        self.has_vmcoreinfo = false;
        self
    }

    /// Forces the last VMCOREINFO line to end with a newline, or not to.
    pub fn trailing_newline(mut self, newline: bool) -> Self {
        self.trailing_newline = Some(newline);
        self
    }

    /// Sets the number of CPUs, that is of NT_PRSTATUS notes.
    pub fn cpus(mut self, cpus: usize) -> Self {
        self.cpus = cpus;
        self
    }

    /// Adds a note before all others, as device dumps are.
    pub fn front_note(mut self, note: Note) -> Self {
        self.front_notes.push(note);
        self
    }

    /// Adds a note behind VMCOREINFO.
    pub fn back_note(mut self, note: Note) -> Self {
        self.back_notes.push(note);
        self
    }

    /// Puts a log buffer of the generation's kind into memory; `clear_from` is the index of the
    /// first line after the last clearing of the log.
    pub fn log(mut self, lines: &[LogLine], clear_from: usize) -> Self {
        self.log = Some((lines.to_vec(), clear_from));
        self
    }

    /// Gives the kernel its own symbols and types, with two tasks and a module.
    pub fn own_tables(mut self) -> Self {
        self.own_tables = true;
        self
    }

    /// Gives the kernel zones with lists of their free blocks, two in each node: up to [`ZONE_END`], and above.
    pub fn zones(mut self) -> Self {
        self.zones = true;
        self
    }

    /// Damages the lists of free blocks of an order.
    pub fn bend_lists(mut self, order: u32, how: BentList) -> Self {
        self.bent = Some((order, how));
        self
    }

    /// Has zones reach past the end of their node, so that they cannot be what they are taken for.
    pub fn strange_zones(mut self) -> Self {
        self.strange_zones = true;
        self
    }

    /// Whether the kernel has zones that can be found.
    pub fn has_zones(&self) -> bool {
        self.zones && !self.strange_zones
    }

    /// Whether free blocks of this order are on lists that are as they should be.
    pub fn lists_free(&self, order: u32) -> bool {
        self.has_zones() && self.bent.is_none_or(|(bent, _)| bent != order)
    }

    /// What the generation is like.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The blocks put so far.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether a VMCOREINFO with this key is in the vmcore.
    pub fn has_key(&self, key: &str) -> bool {
        self.has_vmcoreinfo
            && info::text(self, &Default::default())
                .lines()
                .any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with('=')))
    }

    /// The frames given [`Machine::poison`].
    pub fn poisoned(&self) -> &BTreeSet<u64> {
        &self.poisoned
    }

    /// The architecture.
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// Pages of a memory section.
    pub fn section_pages(&self) -> u64 {
        1 << (self.section_bits - self.cpu.page_bits())
    }

    /// Bytes of a page.
    pub fn page(&self) -> u64 {
        1 << self.cpu.page_bits()
    }

    /// The address of a byte of memory in the direct map.
    pub(super) fn direct_va(&self, at: u64) -> u64 {
        let va = self.page_offset.wrapping_add(at);
        if self.facts.words.wide { va } else { va & 0xffff_ffff }
    }

    /// One past the last byte of memory that the direct map has.
    pub(super) fn direct_end(&self) -> u64 {
        (self.first_pfn * self.page()).saturating_add(self.cpu.direct_len())
    }

    /// Bits of the number of a section in the flags of a `struct page`: none where a vmemmap makes it superfluous.
    pub(super) fn section_width(&self) -> u32 {
        match self.model {
            MemModel::SparseExtreme | MemModel::SparsePlain => {
                self.physmem_bits - self.section_bits
            }
            _ => 0,
        }
    }

    /// The memory model.
    pub fn mem_model(&self) -> MemModel {
        self.model
    }

    /// Whether a section was marked offline.
    pub fn is_offline(&self, section: u64) -> bool {
        self.offline.contains(&section)
    }

    /// Frames whose structures lie, in part at least, in pages that cannot be read.
    pub fn unreadable_frames(&self) -> Vec<Range<u64>> {
        let (page, size) = (self.page(), self.page_struct);
        let around = |frames: &Range<u64>| {
            let start = frames.start * size / page * page / size;
            let end = ((frames.end * size).next_multiple_of(page)).div_ceil(size);
            start..end
        };
        self.faults.iter().map(|(frames, _)| around(frames)).collect()
    }

    /// Builds memory, page tables and headers.
    pub fn build(&self) -> Image {
        let (load_at, page) = (self.phys_load.unwrap_or(self.meta_at), self.page());
        let image_is_meta = load_at == self.meta_at;
        let tables = self.cpu.tables(self.levels, self.sme_mask);
        let mapped_apart = self.cpu.text().map(|text| text + self.kernel_offset);
        let mut kit = Kit {
            memory: Memory::new(tables),
            next: self.meta_at + if image_is_meta { IMAGE } else { 0 },
            end: self.meta_at + self.meta_cap,
            text_va: mapped_apart.unwrap_or_else(|| self.direct_va(load_at)),
            symbols: Vec::new(),
            variables: 0,
            tables: 0,
            extra_ram: Vec::new(),
            page_offset: self.page_offset,
            words: self.facts.words,
            page,
        };
        let text_va = kit.text_va;
        if mapped_apart.is_some() {
            kit.memory.map(text_va, load_at, IMAGE, self.text_leaf);
        }
        let mut mapped = self.ram.clone();
        let meta_frames = self.meta_at / page..kit.end / page;
        let image_frames = load_at / page..(load_at + IMAGE) / page;
        mapped.push(meta_frames.clone());
        if !image_is_meta {
            mapped.push(image_frames.clone());
            kit.extra_ram.push(image_frames);
        }
        self.map_direct(&mut kit.memory, &mapped, tables.bytes(self.direct_leaf));

        let top_table_at = self.cpu.top_table_at();
        kit.symbols.push(("_stext".into(), text_va));
        kit.symbols.push(("swapper_pg_dir".into(), text_va + top_table_at));
        if self.cpu == Cpu::X86_64 {
            kit.symbols.push((self.facts.top_table.into(), text_va + top_table_at));
        }
        kit.symbols.push(("init_uts_ns".into(), text_va + UTS_AT));
        kit.symbols.push(("free_huge_page".into(), text_va + FREE_HUGE_PAGE_AT));
        let uts = uts(self.facts.release, self.cpu.name());
        kit.memory.write(text_va + UTS_AT + self.facts.uts_name.0, &uts);
        let online = self.facts.words.long(1);
        kit.variable("node_online_map", &online);
        let sections = memmap::write(self, &mut kit);
        if let Some((lines, clear_from)) = &self.log {
            log::write(self, &mut kit, lines, *clear_from);
        }
        if self.own_tables {
            own::write(self, &mut kit);
        }
        let mut next = kit.next.next_multiple_of(page);
        kit.memory.write_tables(
            load_at + top_table_at,
            |va| self.cpu.is_in_tables(va),
            |Room { len, align }| {
                let at = next.next_multiple_of(align);
                next = at + len;
                at
            },
        );
        kit.next = next;
        assert!(kit.next <= kit.end, "the builder's region is too small: give meta_at more room");

        let mut ram = self.ram.clone();
        ram.extend(kit.extra_ram.iter().cloned());
        ram.push(self.meta_at / page..kit.next.div_ceil(page));
        ram.sort_by_key(|range| range.start);
        for pair in ram.windows(2) {
            assert!(pair[0].end <= pair[1].start, "RAM {:x?} overlaps {:x?}", pair[0], pair[1]);
        }
        let mut loads = Vec::new();
        if mapped_apart.is_some() {
            loads.push(Load::new(text_va, load_at, IMAGE).paged(page));
        }
        let direct_end = self.direct_end();
        for range in &ram {
            let (start, end) = (range.start * page, range.end * page);
            let below = end.min(direct_end);
            if start < below {
                loads.push(Load::new(self.direct_va(start), start, below - start).paged(page));
            }
            // What has no address: all ones of 32 bits.
            let start = start.max(direct_end);
            if start < end {
                loads.push(Load::new(0xffff_ffff, start, end - start).paged(page));
            }
        }
        let facts = info::Addresses {
            symbols: kit.symbols,
            phys_base: load_at.wrapping_sub(LINK + self.kernel_offset) as i64,
            placed: Placed {
                text: text_va,
                load: load_at,
                memory: self.first_pfn * page,
                page_offset: self.page_offset,
                section_bits: self.section_bits,
                physmem_bits: self.physmem_bits,
            },
        };
        let mut image = Image::new(self.clone(), kit.memory, ram, loads, info::text(self, &facts));
        image.sections = sections;
        image.e_machine = self.cpu.elf_machine();
        image
    }

    /// Maps these frames in the direct map, as far as it goes, by entries of so many bytes.
    fn map_direct(&self, memory: &mut Memory, ram: &[Range<u64>], leaf: u64) {
        let (frames, end) = (leaf / self.page(), self.direct_end() / leaf);
        let chunks: BTreeSet<u64> = ram
            .iter()
            .filter(|range| !range.is_empty())
            .flat_map(|range| range.start / frames..range.end.div_ceil(frames).min(end))
            .collect();
        let mut chunks = chunks.into_iter().peekable();
        while let Some(first) = chunks.next() {
            let mut end = first + 1;
            while chunks.next_if_eq(&end).is_some() {
                end += 1;
            }
            let at = first * leaf;
            memory.map(self.direct_va(at), at, (end - first) * leaf, self.direct_leaf);
        }
    }

    /// Numbers of all sections that the section table calls present.
    pub(super) fn present_sections(&self, kit: &Kit) -> BTreeSet<u64> {
        let pages = self.section_pages();
        self.frames(kit)
            .iter()
            .filter(|range| !range.is_empty())
            .flat_map(|range| range.start / pages..range.end.div_ceil(pages))
            .filter(|section| !self.absent.contains(section))
            .collect()
    }

    /// All frames that may be RAM, the builder's region at its full size.
    pub(super) fn frames(&self, kit: &Kit) -> Vec<Range<u64>> {
        let mut ram = self.ram.clone();
        ram.extend(kit.extra_ram.iter().cloned());
        ram.push(self.meta_at / self.page()..kit.end / self.page());
        ram
    }
}

/// What is at hand while a machine is built.
pub(super) struct Kit {
    pub memory: Memory,
    pub next: u64,
    pub end: u64,
    pub text_va: u64,
    pub symbols: Vec<(String, u64)>,
    variables: u64,
    tables: u64,
    pub extra_ram: Vec<Range<u64>>,
    page_offset: u64,
    pub words: Words,
    /// Bytes of a page.
    pub page: u64,
}

impl Kit {
    /// Physical memory of the builder's region, aligned.
    pub fn alloc(&mut self, len: u64, align: u64) -> u64 {
        let at = self.next.next_multiple_of(align);
        self.next = at + len;
        at
    }

    /// The same, by its address in the direct map.
    pub fn alloc_va(&mut self, len: u64) -> u64 {
        let va = self.page_offset.wrapping_add(self.alloc(len, self.page));
        if self.words.wide { va } else { va & 0xffff_ffff }
    }

    /// Writes an `unsigned long` at a virtual address.
    pub fn write_long(&mut self, va: u64, value: u64) {
        self.memory.write(va, &self.words.long(value));
    }

    /// A variable in the kernel image; its symbol becomes known.
    pub fn variable(&mut self, name: &str, value: &[u8]) -> u64 {
        let at = self.text_va + VARIABLES_AT + self.variables;
        self.variables += (value.len() as u64).next_multiple_of(64) + 64;
        assert!(VARIABLES_AT + self.variables <= TABLES_AT, "too many variables in the image");
        self.memory.write(at, value);
        self.symbols.push((name.into(), at));
        at
    }

    /// A zeroed static table in the kernel image; its symbol becomes known.
    pub fn table(&mut self, name: &str, len: u64) -> u64 {
        let at = self.text_va + TABLES_AT + self.tables;
        self.tables += len.next_multiple_of(self.page);
        assert!(TABLES_AT + self.tables <= IMAGE, "too large a table in the image");
        self.symbols.push((name.into(), at));
        at
    }
}

/// Six strings of 65 bytes, as in `struct new_utsname`.
fn uts(release: &str, machine: &str) -> Vec<u8> {
    let strings = ["Linux", "synth", release, "#1 SMP synthetic", machine, "(none)"];
    let mut out = Vec::new();
    for text in strings {
        let mut field = [0; 65];
        field[..text.len()].copy_from_slice(text.as_bytes());
        out.extend(field);
    }
    out
}
