//! Memory images as firmware, hypervisors and forensic tools leave them: writers that know nothing of how the code under
//! test reads them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::synth::{Image, PAGE};

/// Memory that an image is made of.
pub struct Memory<'m> {
    /// Frames that are RAM, ascending.
    pub ram: Vec<Range<u64>>,
    /// Frames of them that the image leaves out.
    pub left_out: Vec<Range<u64>>,
    /// What is in a frame.
    page: Box<dyn Fn(u64) -> Vec<u8> + 'm>,
    /// Frames with other bytes.
    over: BTreeMap<u64, Vec<u8>>,
}

impl<'m> Memory<'m> {
    /// Of frames, and what gives their bytes.
    pub fn new(ram: Vec<Range<u64>>, page: impl Fn(u64) -> Vec<u8> + 'm) -> Memory<'m> {
        Memory { ram, left_out: Vec::new(), page: Box::new(page), over: BTreeMap::new() }
    }

    /// Of a made-up machine, with the kernel's note about itself in some frame, as kernels have it.
    pub fn of(image: &'m Image, note_at: u64) -> Memory<'m> {
        let mut memory = Memory::new(image.ram.clone(), |pfn| image.page(pfn));
        memory.put_note(note_at, &image.vmcoreinfo);
        memory
    }

    /// Puts a note with VMCOREINFO into memory, from the beginning of a frame on.
    pub fn put_note(&mut self, pfn: u64, text: &str) {
        let mut bytes = Vec::new();
        for word in [11, text.len() as u32, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"VMCOREINFO\0\0");
        bytes.extend(text.bytes());
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
        for (pfn, page) in (pfn..).zip(bytes.chunks(PAGE)) {
            self.over.insert(pfn, page.to_vec());
        }
    }

    /// What is in a frame.
    pub fn page(&self, pfn: u64) -> Vec<u8> {
        self.over.get(&pfn).cloned().unwrap_or_else(|| (self.page)(pfn))
    }

    fn is_in(ranges: &[Range<u64>], pfn: u64) -> bool {
        ranges.iter().any(|range| range.contains(&pfn))
    }

    /// Frames that the image stores.
    fn stored(&self) -> impl Iterator<Item = u64> {
        self.ram.iter().cloned().flatten().filter(|pfn| !Self::is_in(&self.left_out, *pfn))
    }

    fn end(&self) -> u64 {
        self.ram.iter().map(|range| range.end).max().unwrap_or(0)
    }
}

/// Registers that a CPU had, by name.
pub type Registers<'r> = &'r [(&'r str, u64)];

/// Where sadump has them in what a CPU leaves behind: a low and a high half, each of 4 bytes.
const HALVES: [(&str, usize, usize); 18] = [
    ("r15", 796, 800),
    ("r14", 804, 808),
    ("r13", 812, 816),
    ("r12", 820, 824),
    ("r11", 828, 832),
    ("r10", 836, 840),
    ("r9", 844, 848),
    ("r8", 852, 856),
    ("rax", 860, 864),
    ("rcx", 868, 872),
    ("rdx", 876, 880),
    ("rbx", 884, 888),
    ("rsp", 892, 896),
    ("rbp", 900, 904),
    ("rsi", 908, 912),
    ("rdi", 916, 920),
    ("idt", 660, 472),
    ("gdt", 652, 464),
];
const LONGS: [(&str, usize); 5] =
    [("rip", 984), ("eflags", 1000), ("cr3", 1008), ("cr0", 1016), ("efer", 992)];
const WORDS: [(&str, usize); 7] =
    [("cr4", 576), ("es", 936), ("cs", 940), ("ss", 944), ("ds", 948), ("fs", 952), ("gs", 956)];

fn state(registers: Registers<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    for (name, value) in registers {
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        if let Some((_, low, high)) = HALVES.iter().find(|(known, ..)| known == name) {
            put(*low, &(*value as u32).to_le_bytes());
            put(*high, &((value >> 32) as u32).to_le_bytes());
        } else if let Some((_, at)) = LONGS.iter().find(|(known, _)| known == name) {
            put(*at, &value.to_le_bytes());
        } else if let Some((_, at)) = WORDS.iter().find(|(known, _)| known == name) {
            put(*at, &(*value as u32).to_le_bytes());
        } else {
            panic!("{name} is not in there");
        }
    }
    bytes
}

const SIGNATURE: [u32; 2] = [0x7564_6173, 0x706d];
const SYSTEM: [u8; 16] = [0x51; 16];
const SET: [u8; 16] = [0x5e; 16];

/// 2026-11-28 09:30:15, in no time zone.
const EFI_TIME: [u8; 16] = [0xea, 7, 11, 28, 9, 30, 15, 0, 0, 0, 0, 0, 0xff, 7, 0, 0];
/// The same in seconds since 1970.
pub const SADUMP_TIME: u64 = 1_795_858_215;

/// A dump of sadump: single partition, backup medium, or disks of a set.
pub struct Sadump<'s> {
    /// Its memory.
    pub memory: &'s Memory<'s>,
    /// Its CPUs.
    pub cpus: Vec<Registers<'s>>,
    /// Bytes of a block.
    pub block: usize,
}

impl Sadump<'_> {
    fn partition_header(&self, disk: u32, used: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = SIGNATURE.iter().flat_map(|word| word.to_le_bytes()).collect();
        // Enabled, no delay, not compressed, not used again.
        bytes.extend([1u32, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
        bytes.resize(88, 0);
        bytes.extend(SYSTEM);
        bytes.extend(SET);
        bytes.extend([disk as u8; 16]);
        bytes.extend(EFI_TIME);
        bytes.extend(disk.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(used.to_le_bytes());
        let mut number = 0x1234_5678u32;
        for _ in 0..982 {
            bytes.extend(number.to_le_bytes());
            number = (number.wrapping_add(7)).wrapping_mul(11);
        }
        assert_eq!(bytes.len(), 4096);
        bytes.resize(self.block, 0);
        bytes
    }

    fn media_header(&self) -> Vec<u8> {
        let mut bytes = [&SYSTEM[..], &SET, &EFI_TIME, &[1, 0, 0, 1]].concat();
        bytes.resize(self.block, 0);
        bytes
    }

    /// Dump header, sub-header and bitmaps.
    fn headers(&self) -> Vec<u8> {
        let block = self.block;
        let end = self.memory.end();
        let frames = |each: &dyn Fn(u64) -> bool| {
            let mut bits = vec![0u8; (end as usize).div_ceil(8)];
            for pfn in self.memory.ram.iter().cloned().flatten().filter(|pfn| each(*pfn)) {
                bits[pfn as usize / 8] |= 0x80 >> (pfn % 8);
            }
            bits.resize(bits.len().next_multiple_of(block), 0);
            bits
        };
        let ram = frames(&|_| true);
        let dumped = frames(&|pfn| !Memory::is_in(&self.memory.left_out, pfn));
        let mut sub = ((1024 * self.cpus.len()) as u32).to_le_bytes().to_vec();
        for cpu in 0..self.cpus.len() as u64 {
            sub.extend(cpu.to_le_bytes());
            sub.extend(0u64.to_le_bytes());
        }
        self.cpus.iter().for_each(|registers| sub.extend(state(registers)));
        sub.resize(sub.len().next_multiple_of(block), 0);
        let pages = self.memory.ram.iter().map(|range| range.end - range.start).sum::<u64>();
        let stored = self.memory.stored().count() as u64;
        let mut head = b"sadump\0\0".to_vec();
        head.extend(1u32.to_le_bytes());
        head.extend(0u32.to_le_bytes());
        head.extend(EFI_TIME);
        for word in [
            0,
            0,
            block,
            0,
            sub.len() / block,
            ram.len() / block,
            dumped.len() / block,
            end as usize,
            pages as usize,
            stored as usize,
            stored as usize,
            0,
            self.cpus.len(),
            0,
        ] {
            head.extend((word as u32).to_le_bytes());
        }
        for long in [end, pages, stored, stored] {
            head.extend(long.to_le_bytes());
        }
        head.resize(block, 0);
        [head, sub, ram, dumped].concat()
    }

    fn pages(&self) -> Vec<u8> {
        self.memory.stored().flat_map(|pfn| self.memory.page(pfn)).collect()
    }

    /// On a partition.
    pub fn partition(&self) -> Vec<u8> {
        let (headers, pages) = (self.headers(), self.pages());
        let used = self.block + headers.len() + pages.len();
        [self.partition_header(0, used as u64), headers, pages].concat()
    }

    /// On a backup medium.
    pub fn medium(&self) -> Vec<u8> {
        [self.media_header(), self.partition()].concat()
    }

    /// On disks, each of which takes so many pages beside its headers; the last one takes the rest.
    pub fn disks(&self, pages: &[usize]) -> Vec<Vec<u8>> {
        let (headers, mut data) = (self.headers(), self.pages());
        let count = pages.len() + 1;
        let mut table = [1, count as u32].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        table.extend(((headers.len() + data.len()) as u64).to_le_bytes());
        for disk in 2..=count {
            table.extend([disk as u8; 16]);
            table.extend((1u64 << 40).to_le_bytes());
            table.extend([0; 8]);
        }
        table.resize(self.block, 0);
        let mut disks = Vec::new();
        for (index, room) in pages.iter().map(|pages| pages * PAGE).chain([usize::MAX]).enumerate()
        {
            let rest = data.split_off(room.min(data.len()));
            let head = if index == 0 { [&table[..], &headers].concat() } else { Vec::new() };
            let used = self.block + head.len() + data.len();
            let first = self.partition_header(index as u32 + 1, used as u64);
            disks.push([first, head, data].concat());
            data = rest;
        }
        disks
    }
}

fn lime_header(magic: &[u8], version: u32, first: u64, end: u64) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(version.to_le_bytes());
    for word in [first, end - 1, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

fn runs(memory: &Memory<'_>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for pfn in memory.stored() {
        match runs.last_mut() {
            Some(last) if last.end == pfn => last.end += 1,
            _ => runs.push(pfn..pfn + 1),
        }
    }
    runs
}

/// A LiME image of version 1.
pub fn lime(memory: &Memory<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in runs(memory) {
        bytes.extend(lime_header(b"EMiL", 1, run.start * PAGE as u64, run.end * PAGE as u64));
        run.for_each(|pfn| bytes.extend(memory.page(pfn)));
    }
    bytes
}

/// CRC-32C, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// A stream of snappy frames.
fn snappy(data: &[u8]) -> Vec<u8> {
    let mut out = b"\xff\x06\0\0sNaPpY".to_vec();
    for (number, part) in data.chunks(1 << 16).enumerate() {
        let sum = crc(part);
        let sum = sum.rotate_right(15).wrapping_add(0xa282_ead8);
        let packed = snappy_block(part);
        let (kind, body) = if packed.len() < part.len() { (0, &packed[..]) } else { (1, part) };
        out.extend([&[kind][..], &(body.len() as u32 + 4).to_le_bytes()[..3]].concat());
        out.extend(sum.to_le_bytes());
        out.extend(body);
        if number % 3 == 0 && (number + 1) << 16 < data.len() {
            out.extend([0xfe, 3, 0, 0, 0, 0, 0]); // padding
        }
    }
    out
}

/// A block: literals, and copies of the byte before for runs of one byte.
fn snappy_block(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut len = data.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    let literal = |out: &mut Vec<u8>, bytes: &[u8]| {
        for part in bytes.chunks(60) {
            out.push((part.len() as u8 - 1) << 2);
            out.extend(part);
        }
    };
    let (mut at, mut from) = (0, 0);
    while at < data.len() {
        let run = data[at..].iter().take_while(|byte| **byte == data[at]).count();
        if run >= 16 {
            literal(&mut out, &data[from..=at]);
            let mut left = run - 1;
            while left > 0 {
                let step = left.min(64);
                out.extend([(step as u8 - 1) << 2 | 2, 1, 0]);
                left -= step;
            }
            from = at + run;
        }
        at += run;
    }
    literal(&mut out, &data[from..]);
    out
}

/// An image of AVML, compressed: ranges of so many pages at most.
pub fn avml(memory: &Memory<'_>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in runs(memory) {
        let mut start = run.start;
        while start < run.end {
            let end = run.end.min(start + most);
            bytes.extend(lime_header(b"AVML", 2, start * PAGE as u64, end * PAGE as u64));
            let data: Vec<u8> = (start..end).flat_map(|pfn| memory.page(pfn)).collect();
            let stream = snappy(&data);
            bytes.extend(&stream);
            bytes.extend((stream.len() as u64).to_le_bytes());
            start = end;
        }
    }
    bytes
}

/// The state of a machine of VMware and its memory, from frame 0 on: regions as they are given, one behind the other.
pub fn vmware(memory: &Memory<'_>, regions: &[Range<u64>]) -> (Vec<u8>, Vec<u8>) {
    let tag = |name: &str, indices: &[u32], value: &[u8]| {
        let mut bytes = vec![(indices.len() as u8) << 6 | value.len() as u8, name.len() as u8];
        bytes.extend(name.bytes());
        indices.iter().for_each(|index| bytes.extend(index.to_le_bytes()));
        bytes.extend(value);
        bytes
    };
    let word = |value: usize| (value as u32).to_le_bytes();
    let mut tags = tag("align_mask", &[], &word(0xffff));
    tags.extend(tag("regionsCount", &[], &word(regions.len())));
    let (mut vmem, mut at) = (Vec::new(), 0);
    for (index, region) in (0u32..).zip(regions) {
        tags.extend(tag("regionPageNum", &[index], &word(at)));
        tags.extend(tag("regionPPN", &[index], &word(region.start as usize)));
        tags.extend(tag("regionSize", &[index], &word((region.end - region.start) as usize)));
        at += (region.end - region.start) as usize;
        let is_ram = |pfn: u64| memory.ram.iter().any(|range| range.contains(&pfn));
        for pfn in region.clone() {
            vmem.extend(if is_ram(pfn) { memory.page(pfn) } else { vec![0; PAGE] });
        }
    }
    tags.extend([0, 0]);
    let mut state = [0xbed2_bed2u32, 8, 2].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
    let start = 12 + 2 * 80;
    for (name, at, len) in [("cpu", start, 0), ("memory", start, tags.len())] {
        let mut group = name.as_bytes().to_vec();
        group.resize(64, 0);
        group.extend((at as u64).to_le_bytes());
        group.extend((len as u64).to_le_bytes());
        state.extend(group);
    }
    state.extend(tags);
    (state, vmem)
}
