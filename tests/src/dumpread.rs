//! An independent reader of kdump-compressed dumps (header version 6; 64-bit machines of both byte orders, i386 and
//! 32-bit ARM).
//!
//! It is strict: what a tolerant reader would let pass is an error here, so that the writer is
//! held to the format and not to one reader's habits.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

/// Page flag of LZ4, in files whose signature says that they may hold it.
pub const FLAG_LZ4: u32 = 0x40;
/// Page flag of zlib.
pub const FLAG_ZLIB: u32 = 0x1;
/// Status bit of a dump that is not whole.
pub const STATUS_INCOMPLETE: u32 = 0x8;

/// Where things are, which goes by the machine and by the `time_t` of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forms {
    /// Offset of `status`.
    pub status: usize,
    /// Offset of `timestamp`, and whether its members have 64 bits.
    time: (usize, bool),
    /// Bytes of the sub-header.
    pub sub: u64,
    /// The most significant byte comes first.
    pub big: bool,
}

impl Forms {
    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let raw = bytes[at..at + 4].try_into().unwrap();
        if self.big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) }
    }

    /// A checksum in the lower half, and its mark in the upper one.
    fn sum(self, bytes: &[u8], at: usize) -> u64 {
        u64::from(self.u32(bytes, at + 4)) << 32 | u64::from(self.u32(bytes, at))
    }

    fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let raw = bytes[at..at + 8].try_into().unwrap();
        if self.big { u64::from_be_bytes(raw) } else { u64::from_le_bytes(raw) }
    }
}

/// `disk_dump_header` and `kdump_sub_header`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the fields carry the names of the format
pub struct Header {
    pub signature: [u8; 8],
    pub header_version: i32,
    /// sysname, nodename, release, version, machine, domainname.
    pub utsname: [String; 6],
    pub tv_sec: i64,
    pub tv_usec: i64,
    pub status: u32,
    pub block_size: u32,
    pub sub_hdr_size: u32,
    pub bitmap_blocks: u32,
    pub max_mapnr: u32,
    pub total_ram_blocks: u32,
    pub device_blocks: u32,
    pub written_blocks: u32,
    pub current_cpu: u32,
    pub nr_cpus: i32,
    pub phys_base: u64,
    pub dump_level: i32,
    pub split: i32,
    pub start_pfn: u64,
    pub end_pfn: u64,
    pub offset_vmcoreinfo: u64,
    pub size_vmcoreinfo: u64,
    pub offset_note: u64,
    pub size_note: u64,
    pub offset_eraseinfo: u64,
    pub size_eraseinfo: u64,
    pub start_pfn_64: u64,
    pub end_pfn_64: u64,
    pub max_mapnr_64: u64,
}

/// One page descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Absolute file offset of the data.
    pub offset: u64,
    /// Bytes stored.
    pub size: u32,
    /// 0 for raw, else the encoding.
    pub flags: u32,
}

/// A dump, read whole.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Both headers.
    pub header: Header,
    /// Their form.
    pub forms: Forms,
    /// The pfn of the first bit of the bitmaps: not 0 where 32-bit ARM counts from `phys_base` on.
    pub first: u64,
    bytes: Vec<u8>,
    /// Frames of the descriptors.
    frames: Vec<u64>,
}

impl Dump {
    /// Opens and checks a file.
    pub fn open(path: &Path) -> Result<Dump, String> {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Dump::new(bytes)
    }

    /// Checks the bytes of a dump: headers, sizes, bitmaps, and that nothing stands where nothing
    /// may.
    pub fn new(bytes: Vec<u8>) -> Result<Dump, String> {
        if bytes.len() < 8192 {
            return Err(format!("only {} bytes: no header and sub-header", bytes.len()));
        }
        let forms = forms(&bytes)?;
        let header = parse(&bytes, forms);
        let mut dump = Dump { header, forms, first: 0, bytes, frames: Vec::new() };
        let h = &dump.header;
        let ensure = |ok: bool, what: &str| match ok {
            true => Ok(()),
            false => Err(format!("{what}: {h:?}")),
        };
        ensure([*b"KDUMP   ", *b"TAMIS   "].contains(&h.signature), "unknown signature")?;
        ensure(h.header_version == 6, "header version is not 6")?;
        ensure(BLOCKS.contains(&h.block_size), "the block size is not that of pages")?;
        let block = u64::from(h.block_size);
        ensure(dump.bytes.len() as u64 >= 2 * block, "no room for header and sub-header")?;
        let (time, _) = forms.time;
        ensure(
            dump.bytes[forms.status + 40..block as usize].iter().all(|&b| b == 0),
            "block 0 has bytes past the header",
        )?;
        ensure(dump.bytes[402..time].iter().all(|&b| b == 0), "padding of the header is not zero")?;
        ensure(h.tv_usec == 0, "tv_usec is not 0")?;
        ensure(
            [h.total_ram_blocks, h.device_blocks, h.written_blocks, h.current_cpu] == [0; 4],
            "obsolete header fields are not 0",
        )?;
        ensure(
            u64::from(h.max_mapnr) == h.max_mapnr_64.min(u32::MAX.into()),
            "max_mapnr and max_mapnr_64 disagree",
        )?;
        let half = h.max_mapnr_64.div_ceil(8).div_ceil(block);
        ensure(u64::from(h.bitmap_blocks) == 2 * half, "bitmap_blocks is not right")?;
        ensure(
            u64::from(h.sub_hdr_size) == (forms.sub + h.size_note).div_ceil(block),
            "sub_hdr_size is not right",
        )?;
        ensure(h.size_note == 0 || h.offset_note == block + forms.sub, "offset_note is not right")?;
        ensure(h.start_pfn == h.start_pfn_64.min(u32::MAX.into()), "start_pfn differs")?;
        ensure(h.end_pfn == h.end_pfn_64.min(u32::MAX.into()), "end_pfn differs")?;
        ensure(dump.descriptors_at() <= dump.bytes.len() as u64, "the file ends in its bitmaps")?;
        if h.size_vmcoreinfo != 0 {
            ensure(
                h.offset_vmcoreinfo >= h.offset_note
                    && h.offset_vmcoreinfo + h.size_vmcoreinfo <= h.offset_note + h.size_note,
                "vmcoreinfo is not inside the notes",
            )?;
        }
        for (which, bitmap) in [(1, dump.bitmap(1)), (2, dump.bitmap(2))] {
            let is_set = |bit: &u64| bitmap[*bit as usize / 8] >> (bit % 8) & 1 != 0;
            if let Some(bit) = (h.max_mapnr_64..8 * bitmap.len() as u64).find(is_set) {
                return Err(format!("bitmap {which} has bit {bit:#x} past the end: {h:?}"));
            }
        }
        let base = dump.header.phys_base >> 12;
        let arm = dump.header.utsname[4].starts_with("armv");
        let last = base.min(dump.header.max_mapnr_64);
        if arm && (0..last).any(|bit| dump.bitmap(1)[bit as usize / 8] >> (bit % 8) & 1 != 0) {
            dump.first = base;
        }
        dump.frames = dump.frames().collect();
        Ok(dump)
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bitmap 1 or 2, whole blocks.
    pub fn bitmap(&self, which: u64) -> &[u8] {
        let block = u64::from(self.header.block_size);
        let len = u64::from(self.header.bitmap_blocks) / 2 * block;
        let at = (1 + u64::from(self.header.sub_hdr_size)) * block + (which - 1) * len;
        &self.bytes[at as usize..(at + len) as usize]
    }

    /// Whether a bit of bitmap 1 or 2 is set.
    pub fn bit(&self, which: u64, pfn: u64) -> bool {
        let Some(bit) = pfn.checked_sub(self.first) else { return false };
        bit < self.header.max_mapnr_64 && self.bitmap(which)[bit as usize / 8] >> (bit % 8) & 1 != 0
    }

    /// Frames of bitmap 2 in this file's own range, ascending.
    pub fn frames(&self) -> impl Iterator<Item = u64> {
        let range = match self.header.split {
            0 => 0..self.header.max_mapnr_64,
            _ => self.header.start_pfn_64..self.header.end_pfn_64,
        };
        range.map(|bit| self.first + bit).filter(|pfn| self.bit(2, *pfn))
    }

    /// File offset of the first descriptor.
    pub fn descriptors_at(&self) -> u64 {
        let h = &self.header;
        let blocks = 1 + u64::from(h.sub_hdr_size) + u64::from(h.bitmap_blocks);
        blocks * u64::from(h.block_size)
    }

    /// File offset of the page data. In a split file there is room for all descriptors.
    pub fn data_at(&self) -> u64 {
        let all: u64 = self.bitmap(2).iter().map(|byte| u64::from(byte.count_ones())).sum();
        self.descriptors_at() + 24 * all
    }

    /// Descriptor number `n`, if it has the form of one. Its page may be another than that of its checksum.
    pub fn descriptor(&self, n: u64) -> Result<Descriptor, String> {
        let at = (self.descriptors_at() + 24 * n) as usize;
        let Some(raw) = self.bytes.get(at..at + 24) else {
            return Err(format!("descriptor {n} is past the end of the file"));
        };
        let f = self.forms;
        let descriptor =
            Descriptor { offset: f.u64(raw, 0), size: f.u32(raw, 8), flags: f.u32(raw, 12) };
        match f.sum(raw, 16) {
            bits if bits >> 32 == SUM_TAG => Ok(descriptor),
            // None, or the file is cut off in it.
            _ if raw[23] == 0 => Ok(descriptor),
            bits => Err(format!("descriptor {n} has page_flags {bits:#x}")),
        }
    }

    /// Descriptor number `n`, if its page is that of its checksum.
    pub fn checked(&self, n: u64) -> Result<Descriptor, String> {
        let descriptor = self.descriptor(n)?;
        let at = (self.descriptors_at() + 24 * n) as usize + 16;
        match (self.forms.sum(&self.bytes, at), self.sum_of(n, descriptor)) {
            (0, _) => Ok(descriptor),
            // What is wrong with a page that ends behind the file is said where it is decoded.
            (_, None) => Ok(descriptor),
            (bits, Some(sum)) if self.is_begun(bits, SUM_TAG << 32 | u64::from(sum)) => {
                Ok(descriptor)
            }
            (bits, sum) => Err(format!("descriptor {n} has page_flags {bits:#x}, not {sum:x?}")),
        }
    }

    /// The checksum that the page of descriptor `n` should have; none where its bytes are not there.
    fn sum_of(&self, n: u64, descriptor: Descriptor) -> Option<u32> {
        let at = descriptor.offset as usize;
        let stored = self.bytes.get(at..at.checked_add(descriptor.size as usize)?)?;
        let pfn = self.frames.get(n as usize)?;
        let mut sum = flate2::Crc::new();
        sum.update(stored);
        sum.update(&pfn.to_le_bytes());
        sum.update(&descriptor.flags.to_le_bytes());
        Some(sum.sum())
    }

    /// Whether the first bytes of this number in the file are those of another, and the others zero.
    fn is_begun(&self, number: u64, of: u64) -> bool {
        let half = |value: u64| {
            let value = value as u32;
            if self.forms.big { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let bytes = |value: u64| [half(value), half(value >> 32)].concat();
        let (number, of) = (bytes(number), bytes(of));
        (0..=8).any(|len| number[..len] == of[..len] && number[len..].iter().all(|b| *b == 0))
    }

    /// Descriptors that have a checksum.
    pub fn sums(&self) -> usize {
        let at = |n: usize| self.descriptors_at() as usize + 24 * n + 16;
        let has = |n: &usize| self.bytes.get(at(*n)..at(*n) + 8).is_some_and(|b| b != [0; 8]);
        (0..self.frames.len()).filter(has).count()
    }

    /// The bytes of the file without any checksum.
    pub fn without_sums(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for n in 0..self.frames.len() {
            let at = self.descriptors_at() as usize + 24 * n + 16;
            bytes[at..at + 8].fill(0);
        }
        bytes
    }

    /// All descriptors with their frames, in order, each checked.
    pub fn descriptors(&self) -> Result<Vec<(u64, Descriptor)>, String> {
        let numbered = self.frames().zip(0..);
        numbered.map(|(pfn, n)| Ok((pfn, self.checked(n)?))).collect()
    }

    /// Decodes the data behind a descriptor.
    pub fn decode(&self, descriptor: Descriptor) -> Result<Vec<u8>, String> {
        let at = descriptor.offset as usize;
        let size = descriptor.size as usize;
        let block = self.header.block_size as usize;
        if size > block {
            return Err(format!("{descriptor:?} is larger than a page"));
        }
        if descriptor.offset < self.descriptors_at() {
            return Err(format!("{descriptor:?} is inside the headers"));
        }
        let Some(stored) = self.bytes.get(at..at + size) else {
            return Err(format!("{descriptor:?} is past the end of the file"));
        };
        let page = match descriptor.flags {
            0 => stored.to_vec(),
            FLAG_ZLIB => {
                let mut page = Vec::new();
                let mut decoder = flate2::read::ZlibDecoder::new(stored);
                decoder.read_to_end(&mut page).map_err(|e| format!("{descriptor:?}: {e}"))?;
                if decoder.total_in() != size as u64 {
                    return Err(format!("{descriptor:?}: bytes behind the zlib stream"));
                }
                page
            }
            FLAG_LZ4 if &self.header.signature == b"TAMIS   " => {
                lz4_flex::block::decompress(stored, block)
                    .map_err(|e| format!("{descriptor:?}: {e}"))?
            }
            flags => return Err(format!("a page flag this file may not have: {flags:#x}")),
        };
        if page.len() != block {
            return Err(format!("{descriptor:?}: {} bytes are no page", page.len()));
        }
        Ok(page)
    }

    /// The page of frame `pfn`; none where bitmap 2 says it is left out. Slow: counts bits.
    pub fn page(&self, pfn: u64) -> Result<Option<Vec<u8>>, String> {
        let Some(n) = self.frames().position(|frame| frame == pfn) else { return Ok(None) };
        self.decode(self.checked(n as u64)?).map(Some)
    }

    /// The copy of the note segment.
    pub fn notes(&self) -> &[u8] {
        let h = &self.header;
        &self.bytes[h.offset_note as usize..(h.offset_note + h.size_note) as usize]
    }

    /// The VMCOREINFO text.
    pub fn vmcoreinfo(&self) -> &[u8] {
        let h = &self.header;
        &self.bytes[h.offset_vmcoreinfo as usize..][..h.size_vmcoreinfo as usize]
    }

    /// Checks that data stands dense and in order: the zero page first if the level has bit 1, then,
    /// from the next whole page on, each page right behind the one before; the file ends with the
    /// last.
    pub fn check_dense(&self) -> Result<(), String> {
        let (mut next, block) = (self.data_at(), u64::from(self.header.block_size));
        let zero = next;
        if self.header.dump_level & 1 != 0 {
            let page = self.bytes.get(zero as usize..(zero + block) as usize);
            if page.is_none_or(|page| page.iter().any(|&b| b != 0)) {
                return Err("the shared zero page is not there or not zero".into());
            }
            next += block;
        }
        next = next.next_multiple_of(block);
        let shared = Descriptor { offset: zero, size: self.header.block_size, flags: 0 };
        for (pfn, descriptor) in self.descriptors()? {
            if self.header.dump_level & 1 != 0 && descriptor == shared {
                continue;
            }
            if descriptor.offset != next {
                return Err(format!("frame {pfn:#x}: {descriptor:?}, expected offset {next}"));
            }
            next += u64::from(descriptor.size);
        }
        if next != self.bytes.len() as u64 {
            return Err(format!("data ends at {next}, the file at {}", self.bytes.len()));
        }
        Ok(())
    }
}

/// Bytes of a page: of arm64 any of them, of all other machines here the first.
const BLOCKS: [u32; 3] = [4096, 16_384, 65_536];
/// Upper half of page flags that are a checksum.
const SUM_TAG: u64 = 0x5443_5243;

/// The form that the headers have: the machine says where the sub-header has its fields, the place of the
/// block size what a `time_t` is.
fn forms(bytes: &[u8]) -> Result<Forms, String> {
    let big = bytes[8..12] == 6u32.to_be_bytes();
    let machine = &bytes[12 + 4 * 65..][..65];
    let is = |name: &[u8]| machine.starts_with(name);
    let (candidates, sub) = if is(b"i686") {
        (vec![(412, 404), (420, 404)], 80)
    } else if is(b"armv") {
        (vec![(412, 404), (424, 408)], 96)
    } else {
        (vec![(424, 408)], 104)
    };
    let forms = |(status, time)| Forms { status, time: (time, status != 412), sub, big };
    let mut found = candidates.into_iter().map(forms);
    let found = found.find(|forms| BLOCKS.contains(&forms.u32(bytes, forms.status + 4)));
    found.ok_or("no block size of any page where it should be".into())
}

fn parse(bytes: &[u8], forms: Forms) -> Header {
    let string = |at: usize| {
        let field = &bytes[at..at + 65];
        let end = field.iter().position(|&b| b == 0).unwrap_or(65);
        let mut text = String::from_utf8_lossy(&field[..end]).into_owned();
        if field[end..].iter().any(|&b| b != 0) {
            let _ = write!(text, " (and bytes behind its NUL)");
        }
        text
    };
    let sub = &bytes[forms.u32(bytes, forms.status + 4) as usize..];
    let long = |bytes: &[u8], at: usize, wide: bool| {
        if wide { forms.u64(bytes, at) } else { forms.u32(bytes, at).into() }
    };
    let (time, wide_time) = forms.time;
    let second = time + if wide_time { 8 } else { 4 };
    let rest = |index: usize| forms.u32(bytes, forms.status + 4 * index);
    // level split start end vmcoreinfo(2) notes(2) erased(2) start64 end64 max64
    let at: [usize; 13] = match forms.sub {
        80 => [4, 8, 12, 16, 20, 28, 32, 40, 44, 52, 56, 64, 72],
        96 => [4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88],
        _ => [8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96],
    };
    let own = |index: usize| long(sub, at[index], forms.sub == 104);
    Header {
        signature: bytes[..8].try_into().unwrap(),
        header_version: forms.u32(bytes, 8) as i32,
        utsname: [12, 77, 142, 207, 272, 337].map(string),
        tv_sec: long(bytes, time, wide_time) as i64,
        tv_usec: long(bytes, second, wide_time) as i64,
        status: rest(0),
        block_size: rest(1),
        sub_hdr_size: rest(2),
        bitmap_blocks: rest(3),
        max_mapnr: rest(4),
        total_ram_blocks: rest(5),
        device_blocks: rest(6),
        written_blocks: rest(7),
        current_cpu: rest(8),
        nr_cpus: rest(9) as i32,
        phys_base: long(sub, 0, forms.sub == 104),
        dump_level: forms.u32(sub, at[0]) as i32,
        split: forms.u32(sub, at[1]) as i32,
        start_pfn: own(2),
        end_pfn: own(3),
        offset_vmcoreinfo: forms.u64(sub, at[4]),
        size_vmcoreinfo: own(5),
        offset_note: forms.u64(sub, at[6]),
        size_note: own(7),
        offset_eraseinfo: forms.u64(sub, at[8]),
        size_eraseinfo: own(9),
        start_pfn_64: forms.u64(sub, at[10]),
        end_pfn_64: forms.u64(sub, at[11]),
        max_mapnr_64: forms.u64(sub, at[12]),
    }
}
