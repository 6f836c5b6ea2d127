//! Writes a machine as an ELF core file: ELF64, of machines of 32 bits ELF32.
//!
//! Layout as `/proc/vmcore` presents it: ELF header, program headers, notes at a page boundary,
//! then each PT_LOAD at a file offset that equals its physical address modulo the page size.
//! Bytes of the file that no PT_LOAD claims are filled with [`UNCLAIMED`], so that a reader that
//! takes them for memory is found out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use super::content::{Content, PAGE};
use super::machine::Machine;
use super::memory::Memory;
use super::words::Words;

/// Fills the rest of a page beside an unaligned segment.
pub const UNCLAIMED: u8 = 0xa5;

/// `p_paddr` that says "none".
pub const NO_PADDR: u64 = u64::MAX;

/// One PT_LOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Virtual address.
    pub vaddr: u64,
    /// Physical address, or [`NO_PADDR`].
    pub paddr: u64,
    /// Bytes in the file.
    pub filesz: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// `p_flags`.
    pub flags: u32,
    /// `p_align`.
    pub align: u64,
    /// File offset; chosen by the writer if none.
    pub offset: Option<u64>,
    /// Bytes to store in place of the machine's memory, where two segments shall differ.
    pub fill: Option<u8>,
    /// Bytes of a page.
    pub page: u64,
}

impl Load {
    /// A segment stored whole.
    pub fn new(vaddr: u64, paddr: u64, bytes: u64) -> Self {
        Load {
            vaddr,
            paddr,
            filesz: bytes,
            memsz: bytes,
            flags: 7,
            align: 0,
            offset: None,
            fill: None,
            page: PAGE as u64,
        }
    }

    /// The same of a machine whose pages have so many bytes, not 4 KiB.
    pub fn paged(self, page: u64) -> Self {
        Load { page, ..self }
    }

    /// Whether it has a physical address at all.
    pub fn is_physical(&self) -> bool {
        self.paddr != NO_PADDR
    }

    /// Frames touched by the part in memory.
    pub fn frames(&self) -> Range<u64> {
        self.paddr / self.page..(self.paddr + self.memsz).div_ceil(self.page)
    }

    /// Frames touched by the part in the file.
    pub fn stored_frames(&self) -> Range<u64> {
        let end = (self.paddr + self.filesz).div_ceil(self.page);
        if self.filesz == 0 {
            return 0..0;
        }
        self.paddr / self.page..end
    }
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The name with its NUL, and further padding if the producer counted it.
    pub name: Vec<u8>,
    /// Type.
    pub kind: u32,
    /// Descriptor.
    pub desc: Vec<u8>,
}

impl Note {
    /// A note with a plain name.
    pub fn new(name: &str, kind: u32, desc: impl Into<Vec<u8>>) -> Self {
        let mut name = name.as_bytes().to_vec();
        name.push(0);
        Note { name, kind, desc: desc.into() }
    }

    /// A device dump: name "LINUX" padded to 8, a 44-byte device name, then the data.
    pub fn device_dump(device: &str, data: &[u8]) -> Self {
        let mut desc = vec![0; 44];
        desc[..device.len()].copy_from_slice(device.as_bytes());
        desc.extend(data);
        Note { name: b"LINUX\0\0\0".to_vec(), kind: 0x700, desc }
    }

    /// As it stands in the file of a little-endian machine.
    pub fn little(&self) -> Vec<u8> {
        self.bytes(Words { wide: true, big: false })
    }

    fn bytes(&self, words: Words) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [self.name.len() as u32, self.desc.len() as u32, self.kind] {
            out.extend(words.u32(word));
        }
        for part in [&self.name, &self.desc] {
            out.extend(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }
}

/// A built machine: its memory, and the headers it will be written with.
#[derive(Clone, Debug)]
pub struct Image {
    /// What was described.
    pub machine: Machine,
    /// PT_LOADs in table order. A test may change them before writing.
    pub loads: Vec<Load>,
    /// All notes in order.
    pub notes: Vec<Note>,
    /// RAM, the builder's own included; frames, ascending.
    pub ram: Vec<Range<u64>>,
    /// Numbers of the memory sections that are present.
    pub sections: BTreeSet<u64>,
    /// The VMCOREINFO text.
    pub vmcoreinfo: String,
    /// `e_machine`; 62 unless a test says otherwise.
    pub e_machine: u16,
    /// Write `e_phnum` as PN_XNUM even where the count would fit.
    pub force_xnum: bool,
    /// Where the program headers start.
    pub e_phoff: u64,
    /// ELF64, which machines of 32 bits may have, too.
    pub wide_elf: bool,
    words: Words,
    memory: Memory,
    /// Loads by frame, for images of very many small loads; made at the first question.
    by_frame: OnceLock<BTreeMap<u64, Vec<usize>>>,
}

impl Image {
    pub(super) fn new(
        machine: Machine,
        memory: Memory,
        ram: Vec<Range<u64>>,
        loads: Vec<Load>,
        vmcoreinfo: String,
    ) -> Self {
        let mut notes = machine.front_notes.clone();
        let (words, (bytes, counter)) = (machine.facts.words, machine.cpu.prstatus());
        for cpu in 0..machine.cpus {
            let mut prstatus = vec![0; bytes];
            let pid = if words.wide { 32 } else { 24 };
            prstatus[pid..pid + 4].copy_from_slice(&words.u32(cpu as u32 + 1));
            let at = words.long(0xffff_ffff_8100_0000);
            prstatus[counter..counter + at.len()].copy_from_slice(&at);
            notes.push(Note::new("CORE", 1, prstatus));
        }
        if machine.has_vmcoreinfo {
            notes.push(Note::new("VMCOREINFO", 0, vmcoreinfo.as_bytes()));
        }
        notes.extend(machine.back_notes.iter().cloned());
        Image {
            machine,
            loads,
            notes,
            ram,
            sections: BTreeSet::new(),
            vmcoreinfo,
            e_machine: 62,
            force_xnum: false,
            e_phoff: if words.wide { 64 } else { 52 },
            words,
            wide_elf: words.wide,
            memory,
            by_frame: OnceLock::new(),
        }
    }

    /// Whether there is a VMCOREINFO note.
    pub fn vmcoreinfo_present(&self) -> bool {
        self.machine.has_vmcoreinfo
    }

    /// The note segment's bytes.
    pub fn note_bytes(&self) -> Vec<u8> {
        self.notes.iter().flat_map(|note| note.bytes(self.words)).collect()
    }

    /// What the machine has in a frame.
    pub fn page(&self, pfn: u64) -> Vec<u8> {
        match self.memory.page(pfn) {
            Some(page) => page.to_vec(),
            None => self.content(pfn).bytes(pfn, self.machine.page() as usize),
        }
    }

    fn content(&self, pfn: u64) -> Content {
        let found = self.machine.contents.iter().rev().find(|(frames, _)| frames.contains(&pfn));
        found.map_or(Content::Zero, |(_, content)| *content)
    }

    /// Loads that store bytes of a frame, in table order.
    fn storing(&self, pfn: u64) -> Vec<&Load> {
        let stores = |load: &&Load| load.is_physical() && load.stored_frames().contains(&pfn);
        if self.loads.len() < 1000 {
            return self.loads.iter().filter(stores).collect();
        }
        let index = self.by_frame.get_or_init(|| {
            let mut index: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            for (n, load) in self.loads.iter().enumerate().filter(|(_, load)| load.is_physical()) {
                for pfn in load.stored_frames() {
                    index.entry(pfn).or_default().push(n);
                }
            }
            index
        });
        index.get(&pfn).into_iter().flatten().map(|n| &self.loads[*n]).collect()
    }

    /// What a reader of the vmcore has to find in a frame: each byte from the first PT_LOAD, in
    /// table order, that stores it; zero where none does. Nothing if none stores any byte.
    pub fn expected_page(&self, pfn: u64) -> Option<Vec<u8>> {
        let size = self.machine.page();
        let start = pfn * size;
        let memory = self.page(pfn);
        let storing = self.storing(pfn);
        let first = *storing.first()?;
        if first.fill.is_none()
            && first.paddr <= start
            && start + size <= first.paddr + first.filesz
        {
            return Some(memory); // the usual case
        }
        let mut page = vec![0; size as usize];
        let mut done = vec![false; size as usize];
        for load in storing {
            let from = load.paddr.max(start);
            let to = (load.paddr + load.filesz).min(start + size);
            for at in from..to.max(from) {
                let i = (at - start) as usize;
                if !done[i] {
                    page[i] = load.fill.unwrap_or(memory[i]);
                    done[i] = true;
                }
            }
        }
        done.contains(&true).then_some(page)
    }

    /// Whether a reader of the vmcore finds zero bytes only in a frame that is stored.
    pub fn expects_zero(&self, pfn: u64) -> bool {
        let untouched = self.memory.page(pfn).is_none() && self.content(pfn).is_zero();
        if untouched && self.storing(pfn).iter().all(|load| load.fill.is_none()) {
            return true;
        }
        self.expected_page(pfn).is_some_and(|page| page.iter().all(|&byte| byte == 0))
    }

    /// Frames whose content is not zero.
    fn filled(&self) -> BTreeSet<u64> {
        let mut frames: BTreeSet<u64> = self.memory.written().collect();
        for (range, content) in &self.machine.contents {
            if !content.is_zero() {
                frames.extend(range.clone());
            }
        }
        frames
    }

    /// Writes the vmcore, with holes where memory is zero.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let count = self.loads.len() + 1;
        let xnum = self.force_xnum || count >= 0xffff;
        let form = Words { wide: self.wide_elf, ..self.words };
        let headers = self.e_phoff + if form.wide { 56 } else { 32 } * count as u64;
        let shoff = headers;
        let notes = self.note_bytes();
        let page = self.machine.page();
        let section = if form.wide { 64 } else { 40 };
        let notes_at = (headers + if xnum { section } else { 0 }).next_multiple_of(page);
        let mut next = (notes_at + notes.len() as u64).next_multiple_of(page);

        let mut table = phdr(form, 4, 0, notes_at, 0, 0, notes.len() as u64, notes.len() as u64, 0);
        let filled = self.filled();
        for load in &self.loads {
            let skew = if load.is_physical() { load.paddr % page } else { 0 };
            let offset = load.offset.unwrap_or(next + skew);
            table.extend(phdr(
                form,
                1,
                load.flags,
                offset,
                load.vaddr,
                load.paddr,
                load.filesz,
                load.memsz,
                load.align,
            ));
            self.write_load(&file, load, offset, &filled)?;
            next = next.max((offset + load.filesz).next_multiple_of(page));
        }
        file.write_all_at(&self.ehdr(count, xnum.then_some(shoff)), 0)?;
        file.write_all_at(&table, self.e_phoff)?;
        if xnum {
            let mut shdr = vec![0; section as usize];
            let (size, info) = if form.wide { (32, 44) } else { (20, 28) };
            let one = form.long(1);
            shdr[size..size + one.len()].copy_from_slice(&one);
            shdr[info..info + 4].copy_from_slice(&form.u32(count as u32));
            file.write_all_at(&shdr, shoff)?;
        }
        file.write_all_at(&notes, notes_at)?;
        if file.metadata()?.len() < next {
            file.set_len(next)?;
        }
        Ok(())
    }

    fn write_load(
        &self,
        file: &File,
        load: &Load,
        offset: u64,
        filled: &BTreeSet<u64>,
    ) -> io::Result<()> {
        if !load.is_physical() || load.filesz == 0 {
            return Ok(());
        }
        let (end, size) = (load.paddr + load.filesz, self.machine.page());
        if load.offset.is_none() {
            let before = load.paddr % size;
            file.write_all_at(&vec![UNCLAIMED; before as usize], offset - before)?;
            let after = end.next_multiple_of(size) - end;
            file.write_all_at(&vec![UNCLAIMED; after as usize], offset + load.filesz)?;
        }
        let put = |pfn: u64, page: &[u8]| {
            let start = pfn * size;
            let (from, to) = (load.paddr.max(start), end.min(start + size));
            let bytes = &page[(from - start) as usize..(to - start) as usize];
            file.write_all_at(bytes, offset + (from - load.paddr))
        };
        match load.fill {
            Some(byte) => {
                let page = vec![byte; size as usize];
                load.stored_frames().try_for_each(|pfn| put(pfn, &page))
            }
            None => {
                filled.range(load.stored_frames()).try_for_each(|&pfn| put(pfn, &self.page(pfn)))
            }
        }
    }

    fn ehdr(&self, count: usize, shoff: Option<u64>) -> Vec<u8> {
        let form = Words { wide: self.wide_elf, ..self.words };
        let mut out = b"\x7fELF".to_vec();
        out.extend([1 + u8::from(form.wide), 1 + u8::from(form.big), 1]);
        out.resize(16, 0);
        out.extend(form.u16(4));
        out.extend(form.u16(self.e_machine));
        out.extend(form.u32(1));
        out.extend(form.long(0));
        out.extend(form.long(self.e_phoff));
        out.extend(form.long(shoff.unwrap_or(0)));
        out.extend(form.u32(0));
        let phnum = if shoff.is_some() { 0xffff } else { count as u16 };
        let [ehsize, phentsize, shentsize] = if form.wide { [64, 56, 64] } else { [52, 32, 40] };
        let sections = if shoff.is_some() { (shentsize, 1u16) } else { (0, 0) };
        for half in [ehsize, phentsize, phnum, sections.0, sections.1, 0] {
            out.extend(form.u16(half));
        }
        out
    }
}

#[allow(clippy::too_many_arguments)] // one for each field of Elf64_Phdr, in its order
fn phdr(
    form: Words,
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
) -> Vec<u8> {
    let mut out = form.u32(kind).to_vec();
    if form.wide {
        out.extend(form.u32(flags));
    }
    let words = [offset, vaddr, paddr, filesz, memsz];
    words.iter().for_each(|word| out.extend(form.long(*word)));
    if !form.wide {
        out.extend(form.u32(flags));
    }
    out.extend(form.long(align));
    out
}
