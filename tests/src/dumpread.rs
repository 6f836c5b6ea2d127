//! An independent reader of kdump-compressed dumps (64-bit, little-endian, header version 6).
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
    bytes: Vec<u8>,
}

/// Start of the sub-header's own bytes to their end.
const SUB_HEADER: u64 = 104;

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
        let header = parse(&bytes);
        let dump = Dump { header, bytes };
        let h = &dump.header;
        let ensure = |ok: bool, what: &str| match ok {
            true => Ok(()),
            false => Err(format!("{what}: {h:?}")),
        };
        ensure([*b"KDUMP   ", *b"TAMIS   "].contains(&h.signature), "unknown signature")?;
        ensure(h.header_version == 6, "header version is not 6")?;
        ensure(h.block_size == 4096, "block size is not 4096")?;
        ensure(dump.bytes[464..4096].iter().all(|&b| b == 0), "block 0 has bytes past the header")?;
        ensure(dump.bytes[402..408].iter().all(|&b| b == 0), "padding of the header is not zero")?;
        ensure(h.tv_usec == 0, "tv_usec is not 0")?;
        ensure(
            [h.total_ram_blocks, h.device_blocks, h.written_blocks, h.current_cpu] == [0; 4],
            "obsolete header fields are not 0",
        )?;
        ensure(
            u64::from(h.max_mapnr) == h.max_mapnr_64.min(u32::MAX.into()),
            "max_mapnr and max_mapnr_64 disagree",
        )?;
        let half = h.max_mapnr_64.div_ceil(8).div_ceil(4096);
        ensure(u64::from(h.bitmap_blocks) == 2 * half, "bitmap_blocks is not right")?;
        ensure(
            u64::from(h.sub_hdr_size) == (SUB_HEADER + h.size_note).div_ceil(4096),
            "sub_hdr_size is not right",
        )?;
        ensure(h.size_note == 0 || h.offset_note == 4096 + SUB_HEADER, "offset_note is not right")?;
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
        Ok(dump)
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bitmap 1 or 2, whole blocks.
    pub fn bitmap(&self, which: u64) -> &[u8] {
        let len = u64::from(self.header.bitmap_blocks) / 2 * 4096;
        let at = (1 + u64::from(self.header.sub_hdr_size)) * 4096 + (which - 1) * len;
        &self.bytes[at as usize..(at + len) as usize]
    }

    /// Whether a bit of bitmap 1 or 2 is set.
    pub fn bit(&self, which: u64, pfn: u64) -> bool {
        pfn < self.header.max_mapnr_64 && self.bitmap(which)[pfn as usize / 8] >> (pfn % 8) & 1 != 0
    }

    /// Frames of bitmap 2 in this file's own range, ascending.
    pub fn frames(&self) -> impl Iterator<Item = u64> {
        let range = match self.header.split {
            0 => 0..self.header.max_mapnr_64,
            _ => self.header.start_pfn_64..self.header.end_pfn_64,
        };
        range.filter(|pfn| self.bit(2, *pfn))
    }

    /// File offset of the first descriptor.
    pub fn descriptors_at(&self) -> u64 {
        let h = &self.header;
        (1 + u64::from(h.sub_hdr_size) + u64::from(h.bitmap_blocks)) * 4096
    }

    /// File offset of the page data. In a split file there is room for all descriptors.
    pub fn data_at(&self) -> u64 {
        let all: u64 = self.bitmap(2).iter().map(|byte| u64::from(byte.count_ones())).sum();
        self.descriptors_at() + 24 * all
    }

    /// Descriptor number `n`.
    pub fn descriptor(&self, n: u64) -> Result<Descriptor, String> {
        let at = (self.descriptors_at() + 24 * n) as usize;
        let Some(raw) = self.bytes.get(at..at + 24) else {
            return Err(format!("descriptor {n} is past the end of the file"));
        };
        if u64_at(raw, 16) != 0 {
            return Err(format!("descriptor {n} has page_flags {:#x}", u64_at(raw, 16)));
        }
        Ok(Descriptor { offset: u64_at(raw, 0), size: u32_at(raw, 8), flags: u32_at(raw, 12) })
    }

    /// All descriptors with their frames, in order.
    pub fn descriptors(&self) -> Result<Vec<(u64, Descriptor)>, String> {
        let numbered = self.frames().zip(0..);
        numbered.map(|(pfn, n)| Ok((pfn, self.descriptor(n)?))).collect()
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
        self.decode(self.descriptor(n as u64)?).map(Some)
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
        let mut next = self.data_at();
        let zero = next;
        if self.header.dump_level & 1 != 0 {
            let page = self.bytes.get(zero as usize..zero as usize + 4096);
            if page.is_none_or(|page| page.iter().any(|&b| b != 0)) {
                return Err("the shared zero page is not there or not zero".into());
            }
            next += 4096;
        }
        next = next.next_multiple_of(4096);
        let shared = Descriptor { offset: zero, size: 4096, flags: 0 };
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

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn parse(bytes: &[u8]) -> Header {
    let string = |at: usize| {
        let field = &bytes[at..at + 65];
        let end = field.iter().position(|&b| b == 0).unwrap_or(65);
        let mut text = String::from_utf8_lossy(&field[..end]).into_owned();
        if field[end..].iter().any(|&b| b != 0) {
            let _ = write!(text, " (and bytes behind its NUL)");
        }
        text
    };
    let sub = &bytes[4096..];
    Header {
        signature: bytes[..8].try_into().unwrap(),
        header_version: u32_at(bytes, 8) as i32,
        utsname: [12, 77, 142, 207, 272, 337].map(string),
        tv_sec: u64_at(bytes, 408) as i64,
        tv_usec: u64_at(bytes, 416) as i64,
        status: u32_at(bytes, 424),
        block_size: u32_at(bytes, 428),
        sub_hdr_size: u32_at(bytes, 432),
        bitmap_blocks: u32_at(bytes, 436),
        max_mapnr: u32_at(bytes, 440),
        total_ram_blocks: u32_at(bytes, 444),
        device_blocks: u32_at(bytes, 448),
        written_blocks: u32_at(bytes, 452),
        current_cpu: u32_at(bytes, 456),
        nr_cpus: u32_at(bytes, 460) as i32,
        phys_base: u64_at(sub, 0),
        dump_level: u32_at(sub, 8) as i32,
        split: u32_at(sub, 12) as i32,
        start_pfn: u64_at(sub, 16),
        end_pfn: u64_at(sub, 24),
        offset_vmcoreinfo: u64_at(sub, 32),
        size_vmcoreinfo: u64_at(sub, 40),
        offset_note: u64_at(sub, 48),
        size_note: u64_at(sub, 56),
        offset_eraseinfo: u64_at(sub, 64),
        size_eraseinfo: u64_at(sub, 72),
        start_pfn_64: u64_at(sub, 80),
        end_pfn_64: u64_at(sub, 88),
        max_mapnr_64: u64_at(sub, 96),
    }
}
