//! The file: its sections, its symbols, and the memory that it is loaded into.

use crate::fail::{Fail, Result};
use flate2::read::ZlibDecoder;
use object::read::ReadCache;
use object::{
    CompressionFormat, Object as _, ObjectKind, ObjectSection as _, ObjectSegment as _,
    ObjectSymbol as _,
};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use tamis_core::endian::{Endian, Word};
use tamis_core::kernel::memory::TranslateError;
use tamis_core::kernel::symbols::VirtMemory;
use tamis_core::units::{PhysAddr, VirtAddr};

/// Bytes of a section that is held in memory.
const HELD: u64 = 1 << 30;
/// Bytes of a section that is read piece by piece.
const LARGEST: u64 = 8 << 30;
/// Bytes of the notes.
const NOTES: u64 = 1 << 20;

/// A symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Symbol {
    /// The address that it was linked for.
    pub address: u64,
    /// Bytes; 0 where that is not known.
    pub size: u64,
}

/// Bytes of the file, as they are in memory.
#[derive(Clone, Copy)]
struct Segment {
    address: u64,
    offset: u64,
    /// Bytes in the file.
    len: u64,
    /// Bytes in memory; those that are not in the file are zeros.
    size: u64,
}

/// How a section is packed.
#[derive(Clone, Copy)]
enum Packed {
    Plain,
    Zlib,
    Zstd,
}

/// Where a section is.
#[derive(Clone, Copy)]
struct Section {
    offset: u64,
    len: u64,
    /// Bytes once it is unpacked.
    size: u64,
    packed: Packed,
}

/// An ELF file that is linked.
pub(super) struct Elf {
    path: PathBuf,
    file: File,
    endian: Endian,
    word: Word,
    segments: Vec<Segment>,
    sections: HashMap<String, Section>,
}

impl Elf {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Elf> {
        let file = File::open(path).map_err(|error| Fail::file(path, error))?;
        let is_file = file.metadata().map_err(|error| Fail::file(path, error))?.is_file();
        if !is_file {
            return Err(Fail::file(path, "is no file").next("name a vmlinux"));
        }
        let cache = ReadCache::new(&file);
        let bad = |error: object::Error| {
            Fail::file(path, format_args!("it is no ELF file: {error}"))
                .next("a kernel that is packed (vmlinuz, bzImage) has neither symbols nor types: name its vmlinux")
        };
        let parsed = object::File::parse(&cache).map_err(bad)?;
        if !matches!(parsed.kind(), ObjectKind::Executable | ObjectKind::Dynamic) {
            return Err(Fail::file(path, "it is an ELF file, but not one that was linked")
                .next("name a vmlinux"));
        }
        let endian = if parsed.is_little_endian() { Endian::Little } else { Endian::Big };
        let word = if parsed.is_64() { Word::Bits64 } else { Word::Bits32 };
        let segment = |segment: object::Segment<'_, '_, _>| {
            let (offset, len) = segment.file_range();
            Segment { address: segment.address(), offset, len, size: segment.size() }
        };
        let segments = parsed.segments().map(segment).collect();
        let mut sections = HashMap::new();
        for section in parsed.sections() {
            let Ok(name) = section.name() else { continue };
            if !name.starts_with(".debug_") && name != ".notes" {
                continue;
            }
            let Ok(range) = section.compressed_file_range() else { continue };
            let packed = match range.format {
                CompressionFormat::None => Packed::Plain,
                CompressionFormat::Zlib => Packed::Zlib,
                CompressionFormat::Zstandard => Packed::Zstd,
                _ => continue,
            };
            let (offset, len, size) =
                (range.offset, range.compressed_size, range.uncompressed_size);
            sections.entry(name.to_owned()).or_insert(Section { offset, len, size, packed });
        }
        drop(parsed);
        drop(cache);
        Ok(Elf { path: path.to_owned(), file, endian, word, segments, sections })
    }

    /// Bytes of an `unsigned long` and of a pointer.
    pub(super) fn word(&self) -> u64 {
        self.word.bytes() as u64
    }

    /// Those of these symbols that are there once, or several times with the same address.
    pub(super) fn symbols(
        &self,
        wanted: &HashSet<&'static str>,
    ) -> Result<HashMap<&'static str, Symbol>> {
        let bad =
            |error: object::Error| Fail::file(&self.path, format_args!("its symbols: {error}"));
        let cache = ReadCache::new(&self.file);
        let parsed = object::File::parse(&cache).map_err(bad)?;
        let mut found: HashMap<&'static str, Symbol> = HashMap::new();
        let mut several = HashSet::new();
        for symbol in parsed.symbols() {
            let Some(name) = symbol.name().ok().and_then(|name| wanted.get(name)) else { continue };
            if symbol.is_undefined() {
                continue;
            }
            let symbol = Symbol { address: symbol.address(), size: symbol.size() };
            match found.get(name) {
                Some(other) if other.address != symbol.address => drop(several.insert(*name)),
                Some(other) if other.size >= symbol.size => {}
                _ => drop(found.insert(name, symbol)),
            }
        }
        found.retain(|name, _| !several.contains(name));
        Ok(found)
    }

    /// A section, from its start, unpacked: a reader, and how many bytes it has. `None` if there is none.
    pub(super) fn section(&self, name: &str) -> Result<Option<(Box<dyn Read>, u64)>> {
        let Some(section) = self.sections.get(name).filter(|section| section.size > 0) else {
            return Ok(None);
        };
        let bad =
            |error: std::io::Error| Fail::file(&self.path, format_args!("section {name}: {error}"));
        if section.size > LARGEST {
            let text = format_args!("section {name} claims to have {} bytes", section.size);
            return Err(Fail::file(&self.path, text));
        }
        let mut file = File::open(&self.path).map_err(bad)?;
        file.seek(SeekFrom::Start(section.offset)).map_err(bad)?;
        let raw = BufReader::with_capacity(1 << 20, file.take(section.len));
        let reader: Box<dyn Read> = match section.packed {
            Packed::Plain => Box::new(raw),
            Packed::Zlib => Box::new(ZlibDecoder::new(raw).take(section.size)),
            Packed::Zstd => Box::new(
                zstd::stream::read::Decoder::with_buffer(raw).map_err(bad)?.take(section.size),
            ),
        };
        Ok(Some((reader, section.size)))
    }

    /// The bytes of a section; none if there is no such section.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let Some((mut reader, size)) = self.section(name)? else { return Ok(Vec::new()) };
        if size > HELD {
            let text = format_args!("section {name} claims to have {size} bytes");
            return Err(Fail::file(&self.path, text));
        }
        let mut bytes = Vec::new();
        // As far as it goes.
        let _ = reader.read_to_end(&mut bytes);
        Ok(bytes)
    }

    /// What identifies the build, out of its note (`NT_GNU_BUILD_ID`).
    pub(super) fn build_id(&self) -> Option<Vec<u8>> {
        self.sections.get(".notes").filter(|section| section.size <= NOTES)?;
        let bytes = self.bytes(".notes").ok()?;
        let mut rest = &bytes[..];
        while rest.len() >= 12 {
            let field = |at| self.endian.u32(rest, at).unwrap_or(0) as usize;
            let (name, desc, kind) = (field(0), field(4), field(8));
            let at = 12usize.checked_add(name.checked_next_multiple_of(4)?)?;
            let end = at.checked_add(desc.checked_next_multiple_of(4)?)?;
            if kind == 3 && rest.get(12..12 + name)? == b"GNU\0" && (1..=64).contains(&desc) {
                return rest.get(at..at + desc).map(<[u8]>::to_vec);
            }
            rest = rest.get(end..)?;
        }
        None
    }

    /// Fills `buf` from an address, as far as the file has it; returns how many bytes those are.
    pub(super) fn read_up_to(&self, at: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let at = at.wrapping_add(done as u64);
            let Some(segment) = self.segments.iter().find(|s| at.wrapping_sub(s.address) < s.size)
            else {
                break;
            };
            let inside = at - segment.address;
            let left = (segment.size - inside).min((buf.len() - done) as u64);
            let in_file = segment.len.saturating_sub(inside).min(left) as usize;
            let part = &mut buf[done..done + left as usize];
            let (from_file, zeros) = part.split_at_mut(in_file);
            let place = segment.offset.checked_add(inside);
            if place.is_none_or(|place| self.file.read_exact_at(from_file, place).is_err())
                && !from_file.is_empty()
            {
                break;
            }
            zeros.fill(0);
            done += left as usize;
        }
        done
    }
}

/// The memory that the file is loaded into; what is between its segments is zeros.
impl VirtMemory for Elf {
    fn fill(&mut self, at: VirtAddr, buf: &mut [u8]) -> std::result::Result<(), TranslateError> {
        let mut done = 0;
        while done < buf.len() {
            let len = self.read_up_to(at.0.wrapping_add(done as u64), &mut buf[done..]);
            done += len;
            if let Some(byte) = buf.get_mut(done) {
                *byte = 0;
                done += 1;
            }
        }
        Ok(())
    }

    fn place(&mut self, _: VirtAddr) -> Option<(PhysAddr, u64)> {
        None
    }

    fn byte_order(&self) -> Endian {
        self.endian
    }

    fn long(&self) -> Word {
        self.word
    }
}
