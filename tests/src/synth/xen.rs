//! The memory of a Xen host: a hypervisor with its page tables, its table of frames, and domains. After Xen's public
//! headers and what dumps of real hosts show; shares nothing with the code under test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::content::PAGE;
use super::elf::{Image, Note};

/// Where in machine memory the image of the hypervisor begins.
const IMAGE_AT: u64 = 0x20_0000;
/// Where in its addresses.
const IMAGE: u64 = 0xffff_82d0_4000_0000;
const M2P: u64 = 0xffff_8280_0000_0000;
/// The first frame of memory above the hole, if there is one, and where it is in the direct map.
const HIGH: u64 = 0x10_0000;
/// The first frame that is neither low memory nor the hypervisor's.
pub const FIRST: u64 = 0x800;

/// Whose a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The hypervisor's, of no domain: its image and tables.
    Xen,
    /// Its heap; shared with a domain or not.
    Heap {
        /// The domain.
        shared: Option<u16>,
    },
    /// That of I/O memory: the lowest MiB.
    Io,
    /// A domain's; 0 is the privileged one. `marks` are more bits of `count_info`.
    Domain {
        /// Its identifier.
        id: u16,
        /// Bits that say how it is used.
        marks: u64,
    },
    /// Nobody's.
    Free {
        /// Whether what was in it still is.
        dirty: bool,
    },
    /// Reported by the hardware.
    Broken,
    /// Taken out of use.
    Offline,
    /// That of an owner who is no domain.
    Stray,
}

/// How a hypervisor is built.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Major and minor version.
    pub version: (u64, u64),
    /// Whether the state of frames is where it is since 2022.
    pub late: bool,
    /// For more than 16 TiB.
    pub big: bool,
    /// Whether the direct map has small pages only.
    pub small_pages: bool,
}

impl Build {
    /// As most hosts have it.
    pub const USUAL: Build = Build { version: (4, 17), late: true, big: false, small_pages: false };
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    build: Build,
    /// Frames below and above the hole.
    ram: [Range<u64>; 2],
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    owners: BTreeMap<u64, Owner>,
    /// Frame of each domain's structure, in the order of the list.
    domains: Vec<(u16, u64)>,
    next_heap: u64,
    next_table: u64,
    /// Frames that the direct map does not have.
    unmapped: BTreeSet<u64>,
    /// Domain 0's pfns by frame.
    m2p: BTreeMap<u64, u64>,
    p2m: BTreeMap<u64, u64>,
    p2m_list: u64,
    /// Lines of the text that are left out, and what is put behind it.
    without: Vec<String>,
    more: String,
    has_text: bool,
    info: Option<String>,
}

impl Host {
    /// A host with `low` frames from 0 on, a multiple of 512, and `high` ones behind a hole.
    pub fn new(build: Build, low: u64, high: u64) -> Host {
        assert!(low.is_multiple_of(512) && high.is_multiple_of(512) && low > FIRST);
        let mut host = Host {
            build,
            ram: [0..low, HIGH..HIGH + high],
            pages: BTreeMap::new(),
            owners: BTreeMap::new(),
            domains: Vec::new(),
            next_heap: 0x7c0,
            next_table: IMAGE_AT / PAGE as u64 + 16,
            unmapped: BTreeSet::new(),
            m2p: BTreeMap::new(),
            p2m: BTreeMap::new(),
            p2m_list: 0,
            without: Vec::new(),
            more: String::new(),
            has_text: true,
            info: None,
        };
        host.give(0..0x100, Owner::Io);
        host.give(0x100..FIRST, Owner::Xen);
        for ram in host.ram.clone() {
            host.give(ram.start.max(FIRST)..ram.end.max(FIRST), Owner::Free { dirty: false });
        }
        host.domain(0);
        for (id, text) in [(0x7ff2, "xen"), (0x7ff1, "io"), (0x7ff3, "cow")] {
            host.domain(id);
            let frame = host.frame_of(id);
            host.put(frame * PAGE as u64 + 512, text.as_bytes());
        }
        host
    }

    /// Adds a domain, which owns nothing yet.
    pub fn domain(&mut self, id: u16) {
        let frame = self.next_heap;
        self.next_heap += 1;
        assert!(self.next_heap <= FIRST, "no room for more domains");
        self.owners.insert(frame, Owner::Heap { shared: None });
        self.put(frame * PAGE as u64, &id.to_le_bytes());
        self.domains.push((id, frame));
    }

    /// Gives frames to somebody. What a guest has, or had, is full of marks.
    pub fn give(&mut self, frames: Range<u64>, owner: Owner) {
        for frame in frames {
            self.owners.insert(frame, owner);
            let mark = match owner {
                Owner::Domain { id: 0, .. } => "the privileged domain".to_owned(),
                Owner::Domain { id, .. } => format!("{GUEST} {id}"),
                Owner::Free { dirty: true } => format!("{GUEST} that is gone"),
                Owner::Broken | Owner::Offline => format!("{GUEST} of bad memory"),
                Owner::Heap { shared: None } | Owner::Stray => "the heap".to_owned(),
                _ => continue,
            };
            let mut page = Box::new([0; PAGE]);
            for (at, bytes) in page.chunks_mut(32).enumerate() {
                let text = format!("{mark} {frame:x} {at}");
                bytes[..text.len()].copy_from_slice(text.as_bytes());
            }
            self.pages.insert(frame, page);
        }
    }

    /// Makes a kernel's machine domain 0: its frames are scattered over those from `from` on, and its page tables hold
    /// the addresses of the machine's.
    pub fn domain0(&mut self, image: &Image, from: u64) {
        let pfns: Vec<u64> = image.ram.iter().cloned().flatten().collect();
        for (next, pfn) in (from..).zip(&pfns) {
            // Eight in a row are in another order.
            let frame = next ^ 5;
            self.owners.insert(frame, Owner::Domain { id: 0, marks: 0 });
            self.p2m.insert(*pfn, frame);
            self.m2p.insert(frame, *pfn);
            let page: [u8; PAGE] = image.page(*pfn).try_into().expect("a page of 4 KiB");
            if page.iter().any(|byte| *byte != 0) {
                self.pages.insert(frame, Box::new(page));
            } else {
                self.pages.remove(&frame);
            }
        }
        let root =
            info_value(&image.vmcoreinfo, &["SYMBOL(init_top_pgt)=", "SYMBOL(swapper_pg_dir)="])
                .expect("a root of page tables");
        let base = info_value(&image.vmcoreinfo, &["NUMBER(phys_base)="]).unwrap_or(0);
        let root = root.wrapping_sub(0xffff_ffff_8000_0000).wrapping_add(base) / PAGE as u64;
        self.translate_table(root, 4, &mut BTreeSet::new());
        self.write_p2m();
        self.info = Some(image.vmcoreinfo.clone());
    }

    /// Makes machine addresses of those in a page table, and in those below it.
    fn translate_table(&mut self, pfn: u64, level: u32, done: &mut BTreeSet<u64>) {
        if !done.insert(pfn) {
            return;
        }
        let frame = self.p2m[&pfn];
        for slot in 0..512u64 {
            let at = frame * PAGE as u64 + 8 * slot;
            let entry = self.long(at);
            if entry & 1 == 0 {
                continue;
            }
            assert!(level == 1 || entry & 0x80 == 0, "domain 0 has small pages only");
            let to = (entry & 0x000f_ffff_ffff_f000) / PAGE as u64;
            if level > 1 {
                self.translate_table(to, level - 1, done);
            }
            // What leads out of its memory leads nowhere.
            let machine = self.p2m.get(&to).copied().unwrap_or(0xf_ffff_ffff);
            let entry = (entry & !0x000f_ffff_ffff_f000) | (machine * PAGE as u64);
            self.put(at, &entry.to_le_bytes());
        }
    }

    /// The list of lists of domain 0's frames, in frames of its own.
    fn write_p2m(&mut self) {
        let end = self.p2m.keys().next_back().map_or(0, |pfn| pfn + 1);
        // It takes the place of pages of zeros.
        let mut spare: Vec<u64> =
            self.m2p.keys().copied().filter(|frame| !self.pages.contains_key(frame)).collect();
        let mut take = || spare.pop().expect("a page of zeros");
        let (list, middle, missing) = (take(), take(), take());
        let fill = |host: &mut Host, frame: u64, value: u64| {
            (0..512)
                .for_each(|slot| host.put(frame * PAGE as u64 + 8 * slot, &value.to_le_bytes()));
        };
        fill(self, missing, u64::MAX);
        // All that is not there is one page.
        let nothing = take();
        fill(self, nothing, missing);
        fill(self, list, nothing);
        fill(self, middle, missing);
        self.put(list * PAGE as u64, &middle.to_le_bytes());
        assert!(end <= 512 * 512);
        for first in (0..end).step_by(512) {
            let leaf = take();
            fill(self, leaf, u64::MAX);
            for pfn in first..(first + 512).min(end) {
                // Where there is no memory, devices: identity.
                let entry = self.p2m.get(&pfn).copied().unwrap_or(pfn | 1 << 62);
                self.put(leaf * PAGE as u64 + 8 * (pfn - first), &entry.to_le_bytes());
            }
            self.put(middle * PAGE as u64 + 8 * (first / 512), &leaf.to_le_bytes());
        }
        self.p2m_list = list;
    }

    /// Says that a page of domain 0 is one that a guest has granted to it.
    pub fn grant(&mut self, pfn: u64, frame: u64) {
        let leaf = self.long(self.p2m_list * PAGE as u64);
        let leaf = self.long(leaf * PAGE as u64 + 8 * (pfn / 512));
        self.put(leaf * PAGE as u64 + 8 * (pfn % 512), &(frame | 1 << 63).to_le_bytes());
    }

    /// Leaves a frame out of the direct map, which must have small pages.
    pub fn unmap(&mut self, frame: u64) {
        assert!(self.build.small_pages);
        self.unmapped.insert(frame);
    }

    /// Leaves a line out of the text.
    pub fn without_key(&mut self, key: &str) {
        self.without.push(key.to_owned());
    }

    /// Puts a line behind the text, which replaces the one with that key.
    pub fn line(&mut self, key: &str, value: &str) {
        self.without.push(key.to_owned());
        self.more += &format!("{key}={value}\n");
    }

    /// Leaves out VMCOREINFO_XEN.
    pub fn without_text(&mut self) {
        self.has_text = false;
    }

    /// Whose a frame is.
    pub fn owner(&self, frame: u64) -> Option<Owner> {
        self.owners.get(&frame).copied()
    }

    /// All frames.
    pub fn frames(&self) -> impl Iterator<Item = u64> + '_ {
        self.owners.keys().copied()
    }

    /// What is in a frame.
    pub fn page(&self, frame: u64) -> [u8; PAGE] {
        self.pages.get(&frame).map_or([0; PAGE], |page| **page)
    }

    /// The frame of a page of domain 0.
    pub fn machine_frame(&self, pfn: u64) -> Option<u64> {
        self.p2m.get(&pfn).copied()
    }

    /// Writes at a machine address.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        for (at, byte) in (at..).zip(bytes) {
            let page = self.pages.entry(at / PAGE as u64).or_insert_with(|| Box::new([0; PAGE]));
            page[at as usize % PAGE] = *byte;
        }
    }

    fn long(&self, at: u64) -> u64 {
        let page = self.page(at / PAGE as u64);
        let from = at as usize % PAGE;
        u64::from_le_bytes(page[from..from + 8].try_into().expect("eight bytes"))
    }

    fn frame_of(&self, id: u16) -> u64 {
        self.domains.iter().find(|domain| domain.0 == id).expect("a domain").1
    }

    /// Index of a frame in the table: the hole is left out.
    fn pdx(&self, frame: u64) -> u64 {
        if frame < HIGH { frame } else { frame - HIGH + self.ram[0].end }
    }

    fn direct(&self) -> u64 {
        if self.build.big { 0xffff_8480_0000_0000 } else { 0xffff_8300_0000_0000 }
    }

    /// Bytes of an entry of the table, and where in it the count and the owner are.
    fn entry(&self) -> (u64, u64, u64) {
        if self.build.big { (48, 16, 40) } else { (32, 8, 24) }
    }

    fn table(&self) -> u64 {
        if self.build.big { 0xffff_8300_0000_0000 } else { 0xffff_82e0_0000_0000 }
    }

    fn map(&mut self, virt: u64, phys: u64, shift: u32) {
        let mut table = IMAGE_AT + 0x2000;
        for level in [39, 30, 21, 12] {
            let slot = table + 8 * (virt >> level & 511);
            if level == shift {
                let large = if level > 12 { 0x80 } else { 0 };
                self.put(slot, &(phys | 0x63 | large).to_le_bytes());
                return;
            }
            if self.long(slot) == 0 {
                let next = self.next_table * PAGE as u64;
                self.next_table += 1;
                assert!(self.next_table < 0x400, "no room for more page tables");
                self.put(slot, &(next | 0x63).to_le_bytes());
            }
            table = self.long(slot) & 0x000f_ffff_ffff_f000;
        }
    }

    /// What a frame's entry says: the count, and the word of its owner.
    fn words(&self, owner: Owner) -> (u64, u64) {
        let (state, broken) = if self.build.late { (58, 60) } else { (55, 57) };
        let of = |id: u16| self.pdx(self.frame_of(id));
        let allocated = 1u64 << 63 | 1;
        match owner {
            Owner::Xen => (0, 0),
            Owner::Heap { shared: None } => (1 << 62, 0),
            Owner::Heap { shared: Some(id) } => (1 << 62 | allocated, of(id)),
            Owner::Io => (allocated, of(0x7ff1)),
            Owner::Domain { id, marks } => (allocated | marks, of(id)),
            // The word is the order of the block.
            Owner::Free { dirty } => (u64::from(dirty) << 63 | 3 << state, 9),
            Owner::Broken => (allocated | 1 << broken, of(0)),
            Owner::Offline => (2 << state, 0),
            Owner::Stray => (allocated, self.pdx(FIRST)),
        }
    }

    /// Writes the hypervisor's tables.
    fn finish(&mut self) {
        let (size, count_at, owner_at) = self.entry();
        let direct = self.direct();
        // Its image, by a large page.
        self.map(IMAGE, IMAGE_AT, 21);
        let frames: Vec<(u64, Owner)> = self.owners.iter().map(|(f, o)| (*f, *o)).collect();
        let at = 0x40_0000;
        let mut bytes = 0;
        for (frame, owner) in &frames {
            let (count, word) = self.words(*owner);
            let entry = at + self.pdx(*frame) * size;
            self.put(entry + count_at, &count.to_le_bytes());
            let width = if self.build.big { 8 } else { 4 };
            self.put(entry + owner_at, &word.to_le_bytes()[..width]);
            bytes = bytes.max(entry + size - at);
        }
        assert!(at + bytes <= 0x70_0000, "no room for the table of frames");
        for page in 0..bytes.div_ceil(PAGE as u64) {
            let offset = page * PAGE as u64;
            self.map(self.table() + offset, at + offset, 12);
        }
        // The numbers that domains have for their frames, of those below the hole.
        let m2p = 0x70_0000;
        let end = 8 * self.ram[0].end;
        assert!(m2p + end <= 0x7c_0000, "no room for M2P");
        for frame in self.ram[0].clone() {
            let pfn = self.m2p.get(&frame).copied().unwrap_or(u64::MAX);
            self.put(m2p + 8 * frame, &pfn.to_le_bytes());
        }
        for offset in (0..end).step_by(PAGE) {
            self.map(M2P + offset, m2p + offset, 12);
        }
        for ram in self.ram.clone() {
            if !self.build.small_pages {
                for frame in ram.step_by(512) {
                    self.map(direct + self.pdx(frame) * PAGE as u64, frame * PAGE as u64, 21);
                }
                continue;
            }
            for frame in ram.filter(|frame| !self.unmapped.contains(frame)).collect::<Vec<_>>() {
                self.map(direct + self.pdx(frame) * PAGE as u64, frame * PAGE as u64, 12);
            }
        }
        let address = |host: &Host, id| direct + host.pdx(host.frame_of(id)) * PAGE as u64;
        let listed: Vec<u16> =
            self.domains.iter().map(|domain| domain.0).filter(|id| *id < 0x7ff0).collect();
        for pair in listed.windows(2) {
            let next = address(self, pair[1]);
            self.put(self.frame_of(pair[0]) * PAGE as u64 + 136, &next.to_le_bytes());
        }
        let variables = [
            self.table(),
            self.ram[1].end,
            address(self, 0),
            address(self, 0x7ff2),
            address(self, 0x7ff1),
        ];
        for (n, value) in variables.into_iter().enumerate() {
            self.put(IMAGE_AT + 0x1000 + 8 * n as u64, &value.to_le_bytes());
        }
        self.put(IMAGE_AT + 0x100, b".5\0");
    }

    fn text(&self) -> String {
        let (size, count_at, owner_at) = self.entry();
        let at = |n: u64| IMAGE + 0x1000 + 8 * n;
        let lines = [
            "PAGESIZE=4096".to_owned(),
            format!("SYMBOL(domain_list)={:x}", at(2)),
            format!("SYMBOL(frame_table)={:x}", at(0)),
            format!("SYMBOL(max_page)={:x}", at(1)),
            format!("SIZE(page_info)={size}"),
            "SIZE(domain)=3072".to_owned(),
            format!("OFFSET(page_info.count_info)={count_at}"),
            format!("OFFSET(page_info._domain)={owner_at}"),
            "OFFSET(domain.domain_id)=0".to_owned(),
            "OFFSET(domain.next_in_list)=136".to_owned(),
            format!("SYMBOL(dom_xen)={:x}", at(3)),
            format!("SYMBOL(dom_io)={:x}", at(4)),
            format!("SYMBOL(pgd_l4)={:x}", IMAGE + 0x2000),
        ];
        let stays =
            |line: &&String| !self.without.iter().any(|key| line.starts_with(&format!("{key}=")));
        let text: String = lines.iter().filter(stays).map(|line| format!("{line}\n")).collect();
        text + &self.more
    }

    /// The notes, as the kernel merges them.
    fn notes(&self) -> Vec<Note> {
        let mut words = [0u64; 10];
        (words[0], words[1]) = self.build.version;
        words[2] = IMAGE_AT + 0x100;
        (words[8], words[9]) = (IMAGE_AT, self.p2m_list);
        let crash: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let registers: Vec<u8> = [0x8005_003bu64, 0, 0x12_3000, 0x6f0]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let mut state = vec![0; 336];
        state[112 + 16 * 8..112 + 17 * 8].copy_from_slice(&(IMAGE + 0x1234).to_le_bytes());
        let cpu = || {
            [Note::new("CORE", 1, state.clone()), Note::new("Xen", 0x100_0002, registers.clone())]
        };
        let mut notes = Vec::from(cpu());
        notes.push(Note::new("Xen", 0x100_0001, crash));
        notes.extend(cpu());
        if self.has_text {
            let mut text = self.text().into_bytes();
            text.resize(4068, 0);
            notes.push(Note::new("VMCOREINFO_XEN", 0, text));
        }
        notes
    }

    /// The VMCOREINFO text of domain 0's kernel, which no note has.
    pub fn info(&self) -> &str {
        self.info.as_deref().unwrap_or_default()
    }

    /// Writes VMCOREINFO_XEN as a file.
    pub fn xen_info(&self) -> String {
        self.text()
    }

    /// Writes the vmcore.
    pub fn write(&mut self, path: &Path) -> io::Result<()> {
        self.finish();
        let notes: Vec<u8> = self.notes().iter().flat_map(Note::little).collect();
        // As kexec-tools has them: the first range ends in the middle of a page, addresses mean nothing.
        let low = self.ram[0].end * PAGE as u64;
        let loads = [
            (0, 0x9_fc00),
            (0x10_0000, low - 0x10_0000),
            (HIGH * PAGE as u64, (self.ram[1].end - HIGH) * PAGE as u64),
        ];
        let loads: Vec<(u64, u64)> = loads.into_iter().filter(|(_, len)| *len > 0).collect();
        let file = File::create(path)?;
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(16, 0);
        header.extend([4, 0, 62, 0, 1, 0, 0, 0]);
        for long in [0u64, 64, 0] {
            header.extend(long.to_le_bytes());
        }
        for half in [0u16, 0, 64, 56, loads.len() as u16 + 1, 0, 0, 0] {
            header.extend(half.to_le_bytes());
        }
        let mut at = 0x1000;
        let mut segment = |kind: u32, virt: u64, phys: u64, len: u64| {
            header.extend([kind.to_le_bytes(), 7u32.to_le_bytes()].concat());
            for long in [at, virt, phys, len, len, 0] {
                header.extend(long.to_le_bytes());
            }
            let here = at;
            at = (at + len).next_multiple_of(PAGE as u64);
            here
        };
        let notes_at = segment(4, 0, 0, notes.len() as u64);
        let mut places = Vec::new();
        for (phys, len) in &loads {
            places.push(segment(1, 0xffff_8880_0000_0000 + phys, *phys, *len));
        }
        file.write_all_at(&header, 0)?;
        file.write_all_at(&notes, notes_at)?;
        for (frame, page) in &self.pages {
            let start = frame * PAGE as u64;
            for ((phys, len), at) in loads.iter().zip(&places) {
                let end = (start + PAGE as u64).min(phys + len);
                if start >= *phys && start < end {
                    file.write_all_at(&page[..(end - start) as usize], at + start - phys)?;
                }
            }
        }
        file.set_len(at)
    }
}

/// What the memory of guests is full of.
pub const GUEST: &str = "SECRET";

fn info_value(text: &str, keys: &[&str]) -> Option<u64> {
    let line = text.lines().find_map(|line| keys.iter().find_map(|key| line.strip_prefix(key)))?;
    if keys[0].starts_with("SYMBOL") {
        u64::from_str_radix(line, 16).ok()
    } else {
        // Below the address that it was linked for, with a sign.
        line.parse::<i64>().ok().map(|number| number as u64)
    }
}
