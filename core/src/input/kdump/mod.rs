//! Kdump-compressed dumps, header versions 0 to 6, whole or split into parts.
//!
//! Opened in two steps, so that the caller provides the memory: [`probe`] looks at the headers of
//! one file and says how much its tables need; [`Kdump::load`] takes the files of a set, in any
//! order, and the storage.

mod rank;

use crate::bitmap::Bitmap;
use crate::checksum::{Crc32, PageSum};
use crate::endian::{Endian, Word};
use crate::error::{part, part_mut};
use crate::io::{IoError, IoKind, RandomAccess};
use crate::memory::{Dump, Machine, MemoryRange, Notes, Origin, PhysMemory, Ranges, ReadError};
use crate::storage::{ManagedSlice, Table, finish};
use crate::units::{Pfn, PfnSpan, PhysAddr, VirtAddr};
use crate::wire::disk_header::{self, ReadMain, ReadSub, Signature, Status, SubLayout};
use crate::wire::machine::{self, KnownMachine};
use crate::wire::page_desc::{self, CodecFlags, PageDesc};
use crate::wire::{WireError, note};
use core::fmt;
pub use page_codec::Codec;
use rank::Rank;

/// Physical addresses have at most this many bits: more is a damaged header.
const PHYS_BITS: u32 = 56;
/// Most numbers that the rank index of a bitmap takes (4 MiB): one for 4096 pfns up to 8 TiB of
/// 4 KiB pages, for 32,768 at 64 TiB.
const RANK_MOST: u64 = 1 << 19;
/// Bytes of a bitmap that may lie in the gaps of a stream: that of 64 TiB in pages of 4 KiB.
const GAPS_MOST: u64 = 1 << 31;
/// Pages that can be kept decoded.
const SLOTS: usize = 64;

/// The codec that a page flag names, in a file with this signature: LZ4 is one only in files signed `TAMIS   `.
pub fn codec_of(flags: CodecFlags, signature: Signature) -> Option<Codec> {
    let codec = Codec::ALL.iter().copied().find(|codec| CodecFlags::from(*codec) == flags);
    codec.filter(|codec| *codec != Codec::Lz4 || signature == Signature::Tamis)
}

/// Decompresses pages.
pub trait Unpack {
    /// Fills `page`, exactly, from `stored`; or says what is wrong with it.
    fn unpack(&mut self, codec: Codec, stored: &[u8], page: &mut [u8]) -> Result<(), &'static str>;
}

/// Why a file cannot be used as a dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DumpError {
    /// A part of it could not be read.
    Read {
        /// Which part.
        what: &'static str,
        /// Its file offset.
        at: u64,
        /// The system's answer.
        io: IoError,
    },
    /// A header is not what it must be.
    Wire(WireError),
    /// The file ends before its bitmaps do: not a page of it can be found.
    Short {
        /// Bytes it must have.
        need: u64,
        /// Bytes it has.
        have: u64,
    },
    /// It has no pages: `max_mapnr` is 0.
    Empty,
    /// The bitmaps of a stream would lie in its gaps: it claims more memory than there is.
    Hollow {
        /// Bytes of a bitmap.
        bitmap: u64,
        /// Bytes of the stream.
        stream: u64,
    },
    /// A file does not belong to the same dump as the first one: its index, and what differs.
    Foreign(usize, &'static str),
    /// The storage given is too small.
    Storage,
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpError::Read { what, at, io } => write!(f, "reading {what} at offset {at}: {io}"),
            DumpError::Wire(e) => e.fmt(f),
            DumpError::Short { need, have } => {
                write!(f, "cut off inside its bitmaps: {have} of at least {need} bytes are there")
            }
            DumpError::Empty => f.write_str("it has no pages (max_mapnr 0)"),
            DumpError::Hollow { bitmap, stream } => {
                write!(f, "a bitmap of {bitmap} bytes in a stream of {stream} bytes")
            }
            DumpError::Foreign(_, what) => {
                write!(f, "belongs to another dump than the first file: {what} differs")
            }
            DumpError::Storage => f.write_str("the file changed while it was being read"),
        }
    }
}

impl core::error::Error for DumpError {}

/// Why a page cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PageFault {
    /// The page is not in the dump: there is no such memory, or it was left out.
    Absent,
    /// It is in a file of the set that is not here.
    MissingPart,
    /// The dump ended before this page was written, or it could not be read when it was: its
    /// descriptor is empty.
    Lost,
    /// Its descriptor holds what none can.
    Descriptor(PageDesc, &'static str),
    /// Its data lies past the end of the file.
    CutOff(PageDesc),
    /// Reading failed at this file offset.
    Io(u64, IoError),
    /// Its data cannot be decompressed.
    Data(PageDesc, &'static str),
    /// Its stored bytes, or its pfn, are not those that its checksum is of.
    Checksum(PageDesc),
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |f: &mut fmt::Formatter<'_>, d: &PageDesc, why: &str| {
            write!(f, "{why} ({} bytes at offset {}, flags 0x{:x})", d.size, d.offset, d.flags)
        };
        match self {
            PageFault::Absent => f.write_str("not in the dump"),
            PageFault::MissingPart => f.write_str("in a part of the dump that was not given"),
            PageFault::Lost => f.write_str("lost: its descriptor is empty"),
            PageFault::Descriptor(d, why) => at(f, d, why),
            PageFault::CutOff(d) => at(f, d, "data past the end of the file"),
            PageFault::Io(offset, io) => write!(f, "reading offset {offset}: {io}"),
            PageFault::Data(d, why) => at(f, d, why),
            PageFault::Checksum(d) => at(f, d, "damaged: its checksum is that of other data"),
        }
    }
}

/// What the headers of one file tell.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The main header.
    pub main: ReadMain,
    /// The sub-header.
    pub sub: ReadSub,
    /// Whose memory.
    pub machine: Machine,
    /// The pfn that the first bit of the bitmaps is of: 0, but where 32-bit ARM's own makedumpfile wrote
    /// them, which counts from the first page of memory on.
    pub first_pfn: Pfn,
    /// One past the last pfn.
    pub max_pfn: Pfn,
    /// File offset of bitmap 1.
    pub bitmap1: u64,
    /// File offset of bitmap 2; that of bitmap 1 where there is only one.
    pub bitmap2: u64,
    /// File offset of the page descriptors.
    pub descriptors: u64,
    /// File offset and bytes of the notes, as far as they are inside their blocks and the file.
    pub notes: (u64, u64),
    /// Offset in the notes and bytes of the VMCOREINFO text.
    pub vmcoreinfo: Option<(u64, u64)>,
    /// Whether the notes are made up here around the VMCOREINFO text (header version 3).
    pub bare_info: bool,
    /// CPUs with a register note.
    pub cpus: u32,
    /// Where the notes of a Xen hypervisor are, offsets in the notes.
    pub xen: note::XenNotes,
    /// Whether the notes end in something that is not a note.
    pub notes_damaged: bool,
    /// Bytes of the file.
    pub len: u64,
}

impl Facts {
    /// Bytes that bitmaps and headers take: where the page descriptors begin.
    pub fn head(&self) -> u64 {
        self.descriptors
    }

    /// Whether pages that exist and are not in the file are pages of zeros: before version 1.
    pub fn absent_are_zeros(&self) -> bool {
        self.main.version == 0
    }

    /// All pfns that the bitmaps have a bit for.
    pub fn all(&self) -> PfnSpan {
        PfnSpan::new(self.first_pfn, self.max_pfn)
    }

    /// Bits of a bitmap: what the headers call `max_mapnr`.
    pub fn max_mapnr(&self) -> u64 {
        self.all().len()
    }

    /// The pfns of this file.
    pub fn range(&self) -> PfnSpan {
        let pfn = |bit: u64| Pfn(self.first_pfn.0.saturating_add(bit));
        self.sub.split.map_or(self.all(), |(start, end)| PfnSpan::new(pfn(start), pfn(end)))
    }

    /// Size of the `time_t` of the machine's own program that wrote this; `None` if it was another one: QEMU
    /// packs the sub-header, whatever the machine is.
    pub fn header_time(&self) -> Option<Word> {
        let Machine { word, .. } = self.machine;
        let packed = self.machine.known().is_some_and(KnownMachine::is_packed);
        (self.sub.size == SubLayout::of(word, packed).size).then(|| self.main.time())
    }

    /// Whether the header says that pages are missing.
    pub fn incomplete(&self) -> bool {
        self.main.status.contains(Status::INCOMPLETE)
    }

    /// Whether this can be the dump in a flattened stream of this many bytes. What a stream does not
    /// hold reads as zeros, so that a few bytes can claim bitmaps of terabytes, and every look at
    /// them would take days.
    pub fn check_stream(&self, stream: u64) -> Result<(), DumpError> {
        let bitmap = self.max_mapnr().div_ceil(8);
        if bitmap > GAPS_MOST.max(stream) {
            return Err(DumpError::Hollow { bitmap, stream });
        }
        Ok(())
    }

    /// Numbers of storage for [`Kdump::load`].
    pub fn rank_storage(&self) -> usize {
        Rank::storage(self.max_mapnr()).min(RANK_MOST) as usize
    }

    /// Whether `other` is a file of the same dump, split as this one is.
    fn foreign(&self, other: &Facts) -> Option<&'static str> {
        let (a, b) = (&self.main, &other.main);
        if (a.status_at, a.endian, a.shift) != (b.status_at, b.endian, b.shift) {
            return Some("the page size or architecture");
        }
        if a.utsname != b.utsname || a.crash_time != b.crash_time {
            return Some("the kernel or the time of its crash");
        }
        if self.max_pfn != other.max_pfn || self.bitmap2 != other.bitmap2 {
            return Some("the size of memory");
        }
        if a.signature != b.signature || self.sub.dump_level != other.sub.dump_level {
            return Some("the dump level or format");
        }
        (self.sub.split.is_none() || other.sub.split.is_none())
            .then_some("that only one is part of a split dump")
    }
}

/// Reads the headers of one file of `len` bytes.
pub fn probe(file: &mut impl RandomAccess, len: u64) -> Result<Facts, DumpError> {
    let facts = probe_notes(file, len)?;
    if facts.max_pfn == Pfn(0) {
        return Err(DumpError::Empty);
    }
    Ok(facts)
}

/// As [`probe`], of a file that need not have any pages: its notes can be read still.
pub fn probe_notes(file: &mut impl RandomAccess, len: u64) -> Result<Facts, DumpError> {
    let mut raw = [0; disk_header::MAIN];
    let have = len.min(raw.len() as u64) as usize;
    let head = part_mut(&mut raw, 0..have);
    file.read_at(0, head).map_err(|io| DumpError::Read { what: "the header", at: 0, io })?;
    let main = ReadMain::parse(head).map_err(DumpError::Wire)?;

    let block = main.shift.bytes() as u64;
    let mut raw = [0; disk_header::SUB];
    let have = len.saturating_sub(block).min(raw.len() as u64) as usize;
    let head = part_mut(&mut raw, 0..have);
    let read = |io| DumpError::Read { what: "the sub-header", at: block, io };
    file.read_at(block, head).map_err(read)?;
    let sub = ReadSub::parse(&main, head).map_err(DumpError::Wire)?;

    let max_mapnr = if main.version >= 6 && sub.max_mapnr != 0 {
        sub.max_mapnr
    } else {
        u64::from(main.max_mapnr)
    };
    let bad = |what, value| DumpError::Wire(WireError::Invalid { what, value });
    if max_mapnr > 1 << (PHYS_BITS - main.shift.bits()) {
        return Err(bad("max_mapnr", max_mapnr));
    }
    // 32 bits times a block size cannot overflow 64.
    let bitmap1 = (1 + u64::from(main.sub_hdr_size)) * block;
    let bitmaps = u64::from(main.bitmap_blocks) * block;
    let least = max_mapnr.div_ceil(8).div_ceil(block) * block;
    if bitmaps < least {
        return Err(bad("bitmap_blocks", main.bitmap_blocks.into()));
    }
    // Old writers, and diskdump, have one bitmap for both.
    let two = bitmaps / 2 >= least;
    let bitmap2 = if two { bitmap1 + bitmaps / 2 } else { bitmap1 };
    let need = bitmap2 + max_mapnr.div_ceil(8);
    if len < need {
        return Err(DumpError::Short { need, have: len });
    }

    let mut facts = Facts {
        main,
        sub,
        machine: Machine { elf_machine: 0, endian: main.endian, word: sub.word() },
        first_pfn: Pfn(0),
        max_pfn: Pfn(max_mapnr),
        bitmap1,
        bitmap2,
        descriptors: bitmap1 + bitmaps,
        notes: (0, 0),
        vmcoreinfo: None,
        bare_info: false,
        cpus: 0,
        xen: note::XenNotes::default(),
        notes_damaged: false,
        len,
    };
    // Notes and text lie between the sub-header and the bitmaps; QEMU of some versions has the
    // VMCOREINFO elsewhere, so that only the end of the file bounds it.
    let clip = |(at, size): (u64, u64), end: u64| (at, size.min(end.saturating_sub(at)));
    let among_pages = sub.notes.0 >= bitmap1;
    facts.notes = clip(sub.notes, if among_pages { len } else { bitmap1 });
    facts.notes_damaged = facts.notes != sub.notes;
    let registers = walk_notes(file, &mut facts, among_pages);
    let text = clip(sub.vmcoreinfo, len);
    let text = (text.0, text.1.min(u32::MAX.into()));
    if facts.vmcoreinfo.is_none() && text.1 > 0 {
        let (start, size) = facts.notes;
        if text.0 >= start && text.0 + text.1 <= start + size {
            facts.vmcoreinfo = Some((text.0 - start, text.1));
        } else if size == 0 {
            // The note around it is made up: see `note_head`.
            let note_len = BARE_HEAD as u64 + text.1.next_multiple_of(4);
            facts.notes = (text.0, note_len);
            facts.vmcoreinfo = Some((BARE_HEAD as u64, text.1));
            facts.bare_info = true;
        }
    }
    if let Some(known) = known_machine(&facts, registers) {
        facts.machine.elf_machine = known.elf_machine;
        facts.machine.word = known.word;
    }
    let at = bitmap1;
    let first =
        counts_from(file, &facts).map_err(|io| DumpError::Read { what: "bitmap 1", at, io })?;
    (facts.first_pfn, facts.max_pfn) = (first, Pfn(first.0 + max_mapnr));
    Ok(facts)
}

/// The pfn that the first bit is of. Makedumpfile on 32-bit ARM counts from `phys_base` on, where memory
/// begins; QEMU, which has the same `phys_base`, counts from 0: then no bit below it is set.
fn counts_from(file: &mut impl RandomAccess, facts: &Facts) -> Result<Pfn, IoError> {
    let phys_base = facts.sub.phys_base;
    // More than 32 bits are no ARM's: the header is damaged.
    if facts.machine.elf_machine != machine::EM_ARM || phys_base > u32::MAX.into() {
        return Ok(Pfn(0));
    }
    let first = facts.main.shift.pfn(PhysAddr(phys_base));
    let below = PfnSpan::new(Pfn(0), first).intersect(facts.all());
    let mut bytes = [0; 4096];
    let mut at = below.start;
    while at < below.end {
        read_bits(file, facts, facts.bitmap1, at, &mut bytes)?;
        if Bitmap::over(&mut bytes, PfnSpan::new(at, below.end)).count_span(below) > 0 {
            return Ok(first);
        }
        at.0 += 8 * bytes.len() as u64;
    }
    Ok(Pfn(0))
}

/// Bytes of note header and padded name in front of a VMCOREINFO text.
const BARE_HEAD: usize = 24;

/// Walks the notes; gives the bytes of the first register note's descriptor. What comes behind something
/// that is no note is kept for somebody to look at, unless there is too much of it, or it is pages.
fn walk_notes(file: &mut impl RandomAccess, facts: &mut Facts, among_pages: bool) -> Option<u32> {
    let (start, len) = facts.notes;
    let walk =
        note::walk(facts.main.endian, len, |at, buf| file.read_at(start.saturating_add(at), buf));
    facts.vmcoreinfo = walk.vmcoreinfo;
    facts.cpus = walk.cpus;
    facts.xen = walk.xen;
    facts.notes_damaged |= walk.end != note::End::Whole;
    facts.notes.1 = if among_pages { walk.sound } else { walk.kept(facts.notes.1) };
    walk.registers
}

/// The machine that `utsname` names; where it names none, the one whose register notes have descriptors of
/// this many bytes.
fn known_machine(facts: &Facts, registers: Option<u32>) -> Option<&'static KnownMachine> {
    let by_notes = || machine::by_registers(facts.machine.word, facts.main.endian, registers?);
    machine::by_name(facts.main.uts(4)).or_else(by_notes)
}

/// One file of a dump.
pub struct Part<F> {
    /// The file.
    pub file: F,
    /// What [`probe`] found in it.
    pub facts: Facts,
    /// Descriptors of pages before this file's.
    skipped: u64,
    /// File offset of the first byte behind its own descriptors; there may be room for more.
    data: u64,
}

impl<F> Part<F> {
    /// A file and what [`probe`] found in it.
    pub fn new(file: F, facts: Facts) -> Part<F> {
        Part { file, facts, skipped: 0, data: facts.descriptors }
    }

    /// File offset of the first byte behind the descriptors of its pages; set by [`Kdump::load`].
    pub fn descriptors_end(&self) -> u64 {
        self.data
    }

    /// The same part, for [`Kdump::reopen`]; `again` gives the same file once more.
    pub fn reopen(&self, again: impl FnOnce(&F) -> F) -> Part<F> {
        Part { file: again(&self.file), ..*self }
    }
}

/// Memory for an open dump.
pub struct Storage<'t> {
    /// As many as [`Facts::rank_storage`] says.
    pub rank: ManagedSlice<'t, u64>,
    /// Memory ranges, as many as [`count_ranges`] says; with fewer, the last one covers the rest.
    pub ranges: ManagedSlice<'t, MemoryRange>,
    /// Decoded pages: as many as fit, one at least.
    pub pages: ManagedSlice<'t, u8>,
    /// A page: where compressed data is put that the file cannot lend.
    pub stored: ManagedSlice<'t, u8>,
}

/// An open dump: a [`crate::memory::Dump`].
pub struct Kdump<'t, F, U> {
    parts: ManagedSlice<'t, Part<F>>,
    facts: Facts,
    ranges: Table<'t, MemoryRange>,
    joined: bool,
    exist: u64,
    rank: Rank<'t>,
    pages: ManagedSlice<'t, u8>,
    /// The pfn in each slot of `pages`.
    held: [Option<u64>; SLOTS],
    stored: ManagedSlice<'t, u8>,
    unpack: U,
    /// Whether [`crate::memory::Dump::stored_page`] gives anything.
    sums: Crc32,
    keep: bool,
}

impl<'t, F: RandomAccess, U: Unpack> Kdump<'t, F, U> {
    /// Opens the files of one dump; they are put into the order of their pfns.
    pub fn load(
        parts: impl Into<ManagedSlice<'t, Part<F>>>,
        storage: Storage<'t>,
        unpack: U,
    ) -> Result<Kdump<'t, F, U>, DumpError> {
        let Storage { rank, mut ranges, pages, stored } = storage;
        let mut parts = parts.into();
        let facts = parts.first().ok_or(DumpError::Storage)?.facts;
        for (index, part) in parts.iter().enumerate().skip(1) {
            if let Some(what) = facts.foreign(&part.facts) {
                return Err(DumpError::Foreign(index, what));
            }
        }
        parts.sort_unstable_by_key(|p| p.facts.range().start);
        let file = &mut parts.first_mut().ok_or(DumpError::Storage)?.file;
        let read = |what, at| move |io| DumpError::Read { what, at, io };
        let mut rank = Rank::count(file, facts.bitmap2, facts.max_mapnr(), rank)
            .map_err(read("bitmap 2", facts.bitmap2))?;
        let (count, exist) =
            fill_ranges(file, &facts, &mut ranges).map_err(read("bitmap 1", facts.bitmap1))?;
        let joined = count > ranges.len();
        for part in parts.iter_mut() {
            // Every part has the same bitmaps.
            let range = part.facts.range();
            let mut before = |pfn: Pfn| {
                let asked = rank.ask(&mut part.file, pfn.0 - facts.first_pfn.0);
                asked.map(|(_, before)| before).map_err(read("bitmap 2", facts.bitmap2))
            };
            part.skipped = before(range.start)?;
            let count = before(range.end)?.saturating_sub(part.skipped);
            part.data = part.facts.descriptors + count * page_desc::SIZE as u64;
        }
        let size = facts.main.shift.bytes();
        if pages.len() < size || stored.len() < size {
            return Err(DumpError::Storage);
        }
        Ok(Kdump {
            parts,
            facts,
            ranges: finish(ranges, count),
            joined,
            exist,
            rank,
            pages,
            held: [None; SLOTS],
            stored,
            unpack,
            sums: Crc32::new(),
            keep: false,
        })
    }

    /// A second reader with the same tables, for another thread. `parts` are those of this one, reopened:
    /// [`Kdump::parts`] in their order; `pages` and `stored` as in [`Storage`].
    pub fn reopen(
        &self,
        parts: impl Into<ManagedSlice<'t, Part<F>>>,
        pages: impl Into<ManagedSlice<'t, u8>>,
        stored: impl Into<ManagedSlice<'t, u8>>,
        unpack: U,
    ) -> Result<Kdump<'t, F, U>, DumpError> {
        let (parts, pages, stored) = (parts.into(), pages.into(), stored.into());
        let size = self.facts.main.shift.bytes();
        if parts.len() != self.parts.len() || pages.len() < size || stored.len() < size {
            return Err(DumpError::Storage);
        }
        Ok(Kdump {
            parts,
            facts: self.facts,
            ranges: self.ranges.clone(),
            joined: self.joined,
            exist: self.exist,
            rank: self.rank.reopen(),
            pages,
            held: [None; SLOTS],
            stored,
            unpack,
            sums: Crc32::new(),
            keep: self.keep,
        })
    }

    /// Whether pages of a dump that is made of this one are to stay as they are stored here, where
    /// the codec is the same ([`crate::memory::Dump::stored_page`]). Twins do as this one does when they are made.
    pub fn keep_stored(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// Whether a header says that pages are missing: one of any file.
    pub fn incomplete(&self) -> bool {
        self.parts.iter().any(|part| part.facts.incomplete())
    }

    /// What the headers of the file given first tell.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The files, in the order of their pfns.
    pub fn parts(&self) -> &[Part<F>] {
        &self.parts
    }

    /// Pages that exist, and pages that are in the dump.
    pub fn counts(&self) -> (u64, u64) {
        (self.exist, self.rank.total())
    }

    /// Whether the last memory range covers several, as there was no room for all.
    pub fn ranges_are_joined(&self) -> bool {
        self.joined
    }

    /// The first pfns that no file here is for.
    pub fn missing_part(&self) -> Option<PfnSpan> {
        let all = self.facts.all();
        let mut at = all.start;
        for range in self.parts.iter().map(|p| p.facts.range()) {
            // A header may claim any pfns.
            if range.is_empty() {
                continue;
            }
            let range = PfnSpan::new(range.start.min(all.end), range.end.min(all.end));
            if range.start > at {
                return Some(PfnSpan::new(at, range.start));
            }
            at = at.max(range.end);
        }
        (at < all.end).then_some(PfnSpan::new(at, all.end))
    }

    /// Fills `bits` with bitmap 1, or with bitmap 2 if `stored`, from `pfn` on; bits before the first pfn and
    /// past the last one are zero.
    pub fn bits(&mut self, stored: bool, pfn: Pfn, bits: &mut [u8]) -> Result<(), IoError> {
        let base = if stored { self.facts.bitmap2 } else { self.facts.bitmap1 };
        let first = self.parts.first_mut().ok_or(IoError { kind: IoKind::Other, code: 0 })?;
        read_bits(&mut first.file, &self.facts, base, pfn, bits)
    }

    /// The descriptor of a page, and which file it is in.
    pub fn descriptor(&mut self, pfn: Pfn) -> Result<(PageDesc, usize), PageFault> {
        let first = self.parts.first_mut().ok_or(PageFault::Absent)?;
        let bit = pfn.0.checked_sub(self.facts.first_pfn.0).ok_or(PageFault::Absent)?;
        let bitmap = self.facts.bitmap2 + bit / 8;
        let (there, before) =
            self.rank.ask(&mut first.file, bit).map_err(|io| PageFault::Io(bitmap, io))?;
        if !there {
            return Err(PageFault::Absent);
        }
        let index = self
            .parts
            .iter()
            .position(|p| p.facts.range().contains(pfn))
            .ok_or(PageFault::MissingPart)?;
        let part = self.parts.get_mut(index).ok_or(PageFault::MissingPart)?;
        let number = before.saturating_sub(part.skipped);
        let at = part.facts.descriptors + number * page_desc::SIZE as u64;
        let mut raw = [0; page_desc::SIZE];
        match part.file.read_at(at, &mut raw) {
            // Cut off before this descriptor.
            Err(io) if io.kind == IoKind::Eof => return Err(PageFault::Lost),
            Err(io) => return Err(PageFault::Io(at, io)),
            Ok(()) => {}
        }
        let desc = PageDesc::parse(self.facts.main.endian, &raw).unwrap_or_default();
        // Cut off inside of a descriptor there is an offset, but no size.
        if desc.size == 0 {
            return Err(PageFault::Lost);
        }
        Ok((desc, index))
    }

    /// What is wrong with a descriptor that was read from a file of this dump; or how its page is
    /// compressed.
    pub fn check(&self, desc: PageDesc, part: usize) -> Result<Option<Codec>, PageFault> {
        let size = self.facts.main.shift.bytes() as u32;
        let bad = |why| Err(PageFault::Descriptor(desc, why));
        let codec = codec_of(desc.flags, self.facts.main.signature);
        if codec.is_none() && !desc.flags.is_empty() {
            return bad("unknown page flags");
        }
        if desc.size > size || desc.size == 0 || (codec.is_none() && desc.size != size) {
            return bad("impossible size");
        }
        let (data, len) = self.parts.get(part).map_or((0, 0), |p| (p.data, p.facts.len));
        if desc.offset < data {
            return bad("data inside the headers");
        }
        match desc.offset.checked_add(desc.size.into()) {
            Some(end) if end <= len => Ok(codec),
            _ => Err(PageFault::CutOff(desc)),
        }
    }

    /// Decodes the page that a descriptor of this dump stands for, past all caches; for those who
    /// look at every page once.
    pub fn decode(
        &mut self,
        pfn: Pfn,
        desc: PageDesc,
        part: usize,
        page: &mut [u8],
    ) -> Result<(), PageFault> {
        let codec = self.check(desc, part)?;
        let file = &mut self.parts.get_mut(part).ok_or(PageFault::MissingPart)?.file;
        let failed = |io| PageFault::Io(desc.offset, io);
        let Some(codec) = codec else {
            file.read_at(desc.offset, page).map_err(failed)?;
            return is_right(&self.sums, pfn, desc, page);
        };
        let len = desc.size as usize;
        let bad = |why| PageFault::Data(desc, why);
        if let Some(lent) = file.window(desc.offset, len) {
            is_right(&self.sums, pfn, desc, lent)?;
            return self.unpack.unpack(codec, lent, page).map_err(bad);
        }
        let stored = part_mut(&mut self.stored, 0..len);
        file.read_at(desc.offset, stored).map_err(failed)?;
        is_right(&self.sums, pfn, desc, stored)?;
        self.unpack.unpack(codec, stored, page).map_err(bad)
    }

    /// What is wrong with the checksum of a page whose stored bytes are known, by their CRC: those of a page of zeros
    /// that many share need not be read for each.
    pub fn check_crc(&self, pfn: Pfn, desc: PageDesc, crc: u32) -> Result<(), PageFault> {
        has_crc(&self.sums, pfn, desc, crc)
    }

    /// Copies the stored bytes of the page that a descriptor of this dump stands for to the start of `out`, which
    /// is at least as long as they are. Returns how they are compressed.
    pub fn stored(
        &mut self,
        pfn: Pfn,
        desc: PageDesc,
        part: usize,
        out: &mut [u8],
    ) -> Result<Option<Codec>, PageFault> {
        let codec = self.check(desc, part)?;
        let failed = |io| PageFault::Io(desc.offset, io);
        let short = IoError { kind: IoKind::Other, code: 0 };
        let out = out.get_mut(..desc.size as usize).ok_or(failed(short))?;
        self.read_file(part, desc.offset, out).map_err(failed)?;
        is_right(&self.sums, pfn, desc, out)?;
        Ok(codec)
    }

    /// The bytes of a page.
    pub fn page(&mut self, pfn: Pfn) -> Result<&[u8], PageFault> {
        let size = self.facts.main.shift.bytes();
        let slots = (self.pages.len() / size).clamp(1, SLOTS);
        let slot = (pfn.0 % slots as u64) as usize;
        let (start, end) = (slot * size, (slot + 1) * size);
        if self.held.get(slot).copied().flatten() != Some(pfn.0) {
            let (desc, part) = match self.descriptor(pfn) {
                Ok(found) => found,
                Err(PageFault::Absent) if self.facts.absent_are_zeros() && self.exists(pfn) => {
                    self.hold(slot, None);
                    let page = part_mut(&mut self.pages, start..end);
                    page.fill(0);
                    return Ok(page);
                }
                Err(fault) => return Err(fault),
            };
            self.hold(slot, None);
            // The pages are taken out while the rest is borrowed.
            let none = ManagedSlice::Borrowed(&mut [][..]);
            let mut pages = core::mem::replace(&mut self.pages, none);
            let page = part_mut(&mut pages, start..end);
            let done = self.decode(pfn, desc, part, page);
            self.pages = pages;
            done?;
            self.hold(slot, Some(pfn.0));
        }
        Ok(part(&self.pages, start..end))
    }

    fn hold(&mut self, slot: usize, pfn: Option<u64>) {
        if let Some(held) = self.held.get_mut(slot) {
            *held = pfn;
        }
    }

    fn exists(&mut self, pfn: Pfn) -> bool {
        let mut byte = [0];
        let read = self.bits(false, pfn, &mut byte);
        read.is_ok() && byte.first().is_some_and(|b| b & 1 != 0)
    }

    /// Reads bytes of one of the files.
    pub fn read_file(&mut self, part: usize, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let other = IoError { kind: IoKind::Other, code: 0 };
        self.parts.get_mut(part).ok_or(other)?.file.read_at(at, buf)
    }
}

/// Looks whether stored bytes are those of the checksum that the page's descriptor has, if it has one. All stored
/// bytes of pages come by here, before anything is made of them.
fn is_right(sums: &Crc32, pfn: Pfn, desc: PageDesc, stored: &[u8]) -> Result<(), PageFault> {
    match desc.sum() {
        PageSum::Crc(_) => has_crc(sums, pfn, desc, sums.update(0, stored)),
        _ => Ok(()),
    }
}

fn has_crc(sums: &Crc32, pfn: Pfn, desc: PageDesc, crc: u32) -> Result<(), PageFault> {
    match desc.sum() {
        PageSum::Crc(sum) if sums.of_page(crc, pfn, desc.flags.bits()) != sum => {
            Err(PageFault::Checksum(desc))
        }
        _ => Ok(()),
    }
}

/// Reads bits from the bitmap at file offset `base`, from `pfn` on; bits of pfns that it has none for are zero.
fn read_bits(
    file: &mut impl RandomAccess,
    facts: &Facts,
    base: u64,
    pfn: Pfn,
    bits: &mut [u8],
) -> Result<(), IoError> {
    let all = facts.all();
    bits.fill(0);
    // Whole bytes before the first pfn stay as they are.
    let before = all.start.0.saturating_sub(pfn.0) / 8;
    let before = usize::try_from(before).unwrap_or(usize::MAX).min(bits.len());
    let start = pfn.0.saturating_add(8 * before as u64);
    let len = all.end.0.saturating_sub(start).div_ceil(8).min((bits.len() - before) as u64);
    let bits = part_mut(bits, before..before + len as usize);
    if bits.is_empty() {
        return Ok(());
    }
    // As the file counts, which may be at another bit of a byte, and is below zero within the byte of the
    // first pfn.
    let bit = start.wrapping_sub(all.start.0) as i64;
    let (byte, by) = (bit >> 3, (bit & 7) as u32);
    let place = |byte: i64| base.saturating_add_signed(byte);
    if by == 0 {
        file.read_at(place(byte), bits)?;
    } else {
        let mut low = [0];
        if byte >= 0 {
            file.read_at(place(byte), &mut low)?;
        }
        // The last bits of a bitmap may all be in the byte that was read.
        let there = (all.len().div_ceil(8) as i64 - byte - 1).clamp(0, bits.len() as i64);
        file.read_at(place(byte + 1), part_mut(bits, 0..there as usize))?;
        let [mut low] = low;
        for byte in &mut *bits {
            let high = core::mem::replace(byte, low >> by | *byte << (8 - by));
            low = high;
        }
    }
    let left = all.end.0 - start;
    if left < len * 8
        && let Some(last) = bits.last_mut()
    {
        *last &= (1u8 << (left % 8)) - 1;
    }
    Ok(())
}

/// Number of memory ranges of a dump, which are the runs of bitmap 1; for [`Storage::ranges`].
pub fn count_ranges(file: &mut impl RandomAccess, facts: &Facts) -> Result<usize, DumpError> {
    let mut count = 0;
    let counted = memory_ranges(file, facts, |_| count += 1);
    counted.map_err(|io| DumpError::Read { what: "bitmap 1", at: facts.bitmap1, io })?;
    Ok(count)
}

/// Fills `table` with the runs of bitmap 1; returns their number and that of the pages in them. If
/// there are more runs than `table` takes, the last entry covers the rest.
fn fill_ranges(
    file: &mut impl RandomAccess,
    facts: &Facts,
    table: &mut [MemoryRange],
) -> Result<(usize, u64), IoError> {
    let shift = facts.main.shift;
    let most = table.len().saturating_sub(1);
    let mut count = 0usize;
    let pages = memory_ranges(file, facts, |run| {
        if let Some(slot) = table.get_mut(count.min(most)) {
            let phys = PhysAddr(run.start.0 << shift.bits());
            let end = run.end.0 << shift.bits();
            // More runs than slots: the last one grows.
            let from = if count > most { slot.phys } else { phys };
            let len = end - from.0;
            *slot = MemoryRange {
                phys: from,
                virt: VirtAddr(0),
                stored_len: len,
                len,
                flags: 7,
                align: 0,
            };
        }
        count += 1;
    })?;
    Ok((count, pages))
}

/// Calls `each` with the runs of bitmap 1, in order; returns the number of the pages in them.
fn memory_ranges(
    file: &mut impl RandomAccess,
    facts: &Facts,
    mut each: impl FnMut(PfnSpan),
) -> Result<u64, IoError> {
    let mut bytes = [0; 4096];
    let mut pages = 0u64;
    let mut last: Option<PfnSpan> = None;
    let mut at = facts.first_pfn;
    while at < facts.max_pfn {
        let window = PfnSpan::new(at, Pfn((at.0 + bytes.len() as u64 * 8).min(facts.max_pfn.0)));
        let len = window.len().div_ceil(8) as usize;
        let part = part_mut(&mut bytes, 0..len);
        read_bits(file, facts, facts.bitmap1, at, part)?;
        let map = Bitmap::over(part, window);
        pages += map.count();
        let mut from = at;
        while let Some(run) = map.next_run(from, u64::MAX) {
            last = match last {
                Some(l) if l.end == run.start => Some(PfnSpan::new(l.start, run.end)),
                Some(l) => {
                    each(l);
                    Some(run)
                }
                None => Some(run),
            };
            from = run.end;
        }
        at = window.end;
    }
    last.into_iter().for_each(each);
    Ok(pages)
}

impl<F: RandomAccess, U: Unpack> Kdump<'_, F, U> {
    /// Clears the bits of pages that bitmap 1 does not have, or bitmap 2 if `stored`.
    fn intersect(&mut self, map: &mut Bitmap<'_>, stored: bool) {
        let span = map.span();
        let mut bytes = [0; 4096];
        let mut at = 0usize;
        while ((at * 8) as u64) < span.len() {
            let pfn = Pfn(span.start.0 + at as u64 * 8);
            // Bits that cannot be read now cannot be read later either: the pages would be lost
            // one by one, and named.
            if self.bits(stored, pfn, &mut bytes).is_ok() {
                map.retain(at, &bytes);
            }
            at += bytes.len();
        }
    }
}

impl<F: RandomAccess, U: Unpack> PhysMemory for Kdump<'_, F, U> {
    fn machine(&self) -> Machine {
        self.facts.machine
    }

    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, mut rest) = (at, buf);
        let size = self.facts.main.shift.bytes();
        while !rest.is_empty() {
            let inside = (at.0 & (size as u64 - 1)) as usize;
            let len = (size - inside).min(rest.len());
            let pfn = self.facts.main.shift.pfn(at);
            let (part, after) = rest.split_at_mut(len);
            match self.page(pfn) {
                Ok(page) => {
                    part.copy_from_slice(crate::error::part(page, inside..inside + len));
                }
                Err(fault) => return Err(source_fault(at, fault)),
            }
            at = at.checked_add(len as u64).unwrap_or(PhysAddr(u64::MAX));
            rest = after;
        }
        Ok(())
    }

    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        let size = self.facts.main.shift.bytes();
        let inside = (at.0 & (size as u64 - 1)) as usize;
        if len > size - inside {
            return None;
        }
        let page = self.page(self.facts.main.shift.pfn(at)).ok()?;
        page.get(inside..)?.get(..len)
    }

    fn window_broke(&mut self) -> bool {
        false
    }
}

impl<F, U> Ranges for Kdump<'_, F, U> {
    fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
    }

    fn ranges_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&MemoryRange)) {
        let first = self.ranges.partition_point(|r| r.end() <= from.0);
        let rest = part(&self.ranges, first..self.ranges.len());
        rest.iter().take_while(|r| r.phys < until).for_each(each);
    }

    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
        let first = self.ranges.partition_point(|r| r.end() <= from.0);
        self.ranges.get(first).map(|r| r.phys.max(from))
    }
}

impl<F: RandomAccess, U: Unpack> Dump for Kdump<'_, F, U> {
    fn origin(&self) -> Origin {
        let Facts { main, sub, cpus, vmcoreinfo, xen, .. } = &self.facts;
        Origin {
            utsname: Some(main.utsname),
            crash_time: Some(main.crash_time).filter(|time| *time != 0),
            cpus: if *cpus == 0 { main.nr_cpus } else { *cpus },
            phys_base: Some(sub.phys_base),
            vmcoreinfo: *vmcoreinfo,
            xen: *xen,
        }
    }

    fn is_truncated(&self) -> bool {
        false
    }

    fn keep_existing(&mut self, map: &mut Bitmap<'_>) {
        self.intersect(map, false);
    }

    fn keep_held(&mut self, map: &mut Bitmap<'_>) {
        self.intersect(map, !self.facts.absent_are_zeros());
    }

    fn says_by_page(&self) -> bool {
        true
    }

    fn stored_page(&mut self, pfn: Pfn, codec: Codec, out: &mut [u8]) -> Option<usize> {
        if !self.keep {
            return None;
        }
        let (desc, part) = self.descriptor(pfn).ok()?;
        let stored = self.check(desc, part).ok()??;
        let len = desc.size as usize;
        if stored != codec || len >= self.facts.main.shift.bytes() {
            return None;
        }
        self.stored(pfn, desc, part, out).ok()?;
        Some(len)
    }

    fn notes(&self) -> Notes {
        Notes { len: self.facts.notes.1, ..Notes::default() }
    }

    fn read_notes(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let (start, len) = self.facts.notes;
        let eof = IoError { kind: IoKind::Eof, code: 0 };
        if at.checked_add(buf.len() as u64).is_none_or(|end| end > len) {
            return Err(eof);
        }
        if !self.facts.bare_info {
            return self.read_file(0, start + at, buf);
        }
        let text = self.facts.vmcoreinfo.map_or(0, |(_, len)| len);
        let head = note_head(self.facts.main.endian, text as u32);
        for (index, byte) in buf.iter_mut().enumerate() {
            let at = at + index as u64;
            *byte = match usize::try_from(at).ok().and_then(|at| head.get(at)) {
                Some(byte) => *byte,
                None if at - (BARE_HEAD as u64) < text => {
                    let mut one = [0];
                    self.read_file(0, start + at - BARE_HEAD as u64, &mut one)?;
                    one.first().copied().unwrap_or(0)
                }
                None => 0,
            };
        }
        Ok(())
    }
}

/// Header and name of a VMCOREINFO note.
fn note_head(endian: Endian, text: u32) -> [u8; BARE_HEAD] {
    let mut head = [0; BARE_HEAD];
    crate::endian::Emit::new(endian, &mut head)
        .u32(0, note::VMCOREINFO.len() as u32)
        .u32(4, text)
        .bytes(note::HEADER, note::VMCOREINFO);
    head
}

fn source_fault(at: PhysAddr, fault: PageFault) -> ReadError {
    match fault {
        PageFault::Absent | PageFault::MissingPart | PageFault::Lost => ReadError::Absent(at),
        PageFault::Io(_, io) => ReadError::Io(at, io),
        PageFault::CutOff(_) => ReadError::Io(at, IoError { kind: IoKind::Eof, code: 0 }),
        PageFault::Descriptor(..) | PageFault::Data(..) | PageFault::Checksum(_) => {
            ReadError::Damaged(at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::disk_header::{MainHeader, SubHeader, UTS, UTS_FIELD};
    use std::{vec, vec::Vec};

    /// A page is stored if its bytes are one value; the value comes first, with flags of zlib.
    struct Fill;

    impl Unpack for Fill {
        fn unpack(&mut self, _: Codec, stored: &[u8], page: &mut [u8]) -> Result<(), &'static str> {
            match stored {
                [value] => page.fill(*value),
                _ => return Err("not one value"),
            }
            Ok(())
        }
    }

    const MAX: u64 = 40_000;
    const PFNS: [u64; 7] = [1, 2, 3, 4095, 4096, 32_768, 39_999];

    fn dump(split: Option<(u64, u64)>) -> Vec<u8> {
        let mut bytes = vec![0; 4096 * 8];
        let main = MainHeader {
            signature: Signature::Kdump,
            utsname: &[0; UTS],
            crash_time: 1,
            status: CodecFlags::ZLIB.into(),
            block_size: 4096,
            sub_hdr_size: 1,
            bitmap_blocks: 4,
            max_mapnr: MAX,
            nr_cpus: 1,
        };
        let layout = disk_header::MainLayout::of(Word::Bits64, false);
        main.emit(layout, Endian::Little, &mut bytes[..disk_header::MAIN]).unwrap();
        let sub = SubHeader {
            phys_base: 0,
            dump_level: 0,
            split,
            vmcoreinfo: (4096 + 104 + 24, 4),
            notes: (4096 + 104, 28),
            max_mapnr: MAX,
        };
        sub.emit(
            disk_header::SubLayout::of(Word::Bits64, false),
            Endian::Little,
            &mut bytes[4096..4200],
        )
        .unwrap();
        let head = note_head(Endian::Little, 4);
        bytes[4200..4224].copy_from_slice(&head);
        bytes[4224..4228].copy_from_slice(b"A=B\n");
        for pfn in PFNS {
            bytes[8192 + pfn as usize / 8] |= 1 << (pfn % 8);
            bytes[16384 + pfn as usize / 8] |= 1 << (pfn % 8);
        }
        bytes[8192] |= 1; // exists, but is left out
        let descriptors = 6 * 4096;
        bytes.truncate(descriptors);
        let (start, end) = split.unwrap_or((0, MAX));
        let own: Vec<u64> = PFNS.into_iter().filter(|p| (start..end).contains(p)).collect();
        let data = descriptors + 24 * PFNS.len();
        for (index, _) in own.iter().enumerate() {
            let desc = PageDesc {
                offset: (data + index) as u64,
                size: 1,
                flags: CodecFlags::ZLIB,
                page_flags: 0,
            };
            bytes.extend(desc.emit(Endian::Little));
        }
        bytes.resize(data, 0);
        bytes.extend(own.iter().map(|pfn| *pfn as u8));
        bytes
    }

    /// A pfn, and the first byte of its page.
    type Visit = (u64, Result<u8, PageFault>);

    /// Opens files and does everything with them that can be done.
    fn visit(files: &[&[u8]]) -> Result<Vec<Visit>, DumpError> {
        let mut parts = Vec::new();
        for file in files {
            let facts = probe(&mut &**file, file.len() as u64)?;
            parts.push(Part::new(*file, facts));
        }
        let facts = parts[0].facts;
        let size = facts.main.shift.bytes();
        let mut rank = vec![0; facts.rank_storage().min(100)];
        let mut ranges = [MemoryRange::default(); 3];
        let (mut pages, mut stored) = (vec![0; 2 * size], vec![0; size]);
        let storage = Storage {
            rank: (&mut rank[..]).into(),
            ranges: (&mut ranges[..]).into(),
            pages: (&mut pages[..]).into(),
            stored: (&mut stored[..]).into(),
        };
        let mut kdump = Kdump::load(&mut parts[..], storage, Fill)?;
        let mut notes = vec![0; kdump.notes().len.min(9999) as usize];
        let _ = kdump.read_notes(0, &mut notes);
        if let Some(span) = kdump.missing_part() {
            assert!(!span.is_empty() && span.end <= facts.max_pfn, "{span:?}");
        }
        let mut reopened_parts: Vec<_> =
            kdump.parts().iter().map(|p| p.reopen(|file| *file)).collect();
        let (mut pages_again, mut stored_again) = (vec![0; size], vec![0; size]);
        let mut reopened = kdump.reopen(
            &mut reopened_parts[..],
            &mut pages_again[..],
            &mut stored_again[..],
            Fill,
        )?;
        for pfn in (0..6).chain(PFNS).chain([MAX]) {
            assert_eq!(reopened.page(Pfn(pfn)), kdump.page(Pfn(pfn)), "the reopened, pfn {pfn}");
        }
        let mut bits = vec![0; 8192];
        let map = &mut Bitmap::over(&mut bits, PfnSpan::new(Pfn(0), Pfn(65536)));
        map.set(PfnSpan::new(Pfn(0), Pfn(65536)));
        kdump.keep_existing(map);
        kdump.keep_held(map);
        let mut found = Vec::new();
        for pfn in (0..6).chain(PFNS).chain([MAX, u64::MAX >> 12, u64::MAX]) {
            let page = kdump.page(Pfn(pfn)).map(|page| page[0]);
            let at = PhysAddr(pfn.wrapping_mul(size as u64).wrapping_add(9));
            let _ = kdump.read(at, &mut [0; 20]);
            let _ = kdump.window(at, 20);
            found.push((pfn, page));
        }
        Ok(found)
    }

    #[test]
    fn bitmaps_in_the_gaps_of_a_stream_are_those_of_real_machines() {
        let bytes = dump(None);
        let facts = probe(&mut &bytes[..], bytes.len() as u64).unwrap();
        assert_eq!(facts.check_stream(100), Ok(()));
        let facts = Facts { max_pfn: Pfn((64 << 40) / 4096), ..facts };
        assert_eq!(facts.check_stream(100), Ok(()));
        let facts = Facts { max_pfn: Pfn((64 << 40) / 4096 + 1), ..facts };
        let hollow = DumpError::Hollow { bitmap: (1 << 31) + 1, stream: 100 };
        assert_eq!(facts.check_stream(100), Err(hollow));
        assert_eq!(facts.check_stream(1 << 32), Ok(()));
    }

    #[test]
    fn parts_that_claim_pfns_which_do_not_exist_miss_none_of_them() {
        visit(&[&dump(Some((MAX + 9, MAX + 99)))]).unwrap();
        visit(&[&dump(Some((0, 7))), &dump(Some((MAX - 1, u64::MAX)))]).unwrap();
        visit(&[&dump(Some((9, 9)))]).unwrap();
    }

    #[test]
    fn pages_are_found_in_one_file_and_in_parts_in_any_order() {
        let check = |found: Vec<Visit>| {
            for (pfn, page) in found {
                let want = if PFNS.contains(&pfn) { Ok(pfn as u8) } else { Err(PageFault::Absent) };
                assert_eq!(page, want, "{pfn}");
            }
        };
        check(visit(&[&dump(None)]).unwrap());
        let (a, b, c) = (dump(Some((0, 3))), dump(Some((3, 4096))), dump(Some((4096, MAX))));
        check(visit(&[&a, &b, &c]).unwrap());
        check(visit(&[&c, &a, &b]).unwrap());
        let lacks = visit(&[&a, &c]).unwrap();
        assert!(lacks.contains(&(3, Err(PageFault::MissingPart))));
        assert!(matches!(visit(&[&a, &dump(None)]), Err(DumpError::Foreign(1, _))));
    }

    #[test]
    fn memory_ranges_that_do_not_fit_are_covered_by_the_last() {
        let bytes = dump(None);
        let facts = probe(&mut &bytes[..], bytes.len() as u64).unwrap();
        let mut table = [MemoryRange::default(); 3];
        assert_eq!(count_ranges(&mut &bytes[..], &facts), Ok(4));
        let (count, pages) = fill_ranges(&mut &bytes[..], &facts, &mut table).unwrap();
        assert_eq!((count, pages), (4, 8));
        assert_eq!((table[0].phys, table[0].len), (PhysAddr(0), 4 * 4096));
        assert_eq!(table[1].phys, PhysAddr(4095 * 4096));
        assert_eq!(table[2].phys, PhysAddr(32_768 * 4096));
        assert_eq!(table[2].end(), MAX * 4096);
    }

    #[test]
    fn a_text_without_a_note_gets_one() {
        let mut bytes = dump(None);
        bytes[8] = 3; // before notes
        let facts = probe(&mut &bytes[..], bytes.len() as u64).unwrap();
        assert!(facts.bare_info);
        assert_eq!((facts.notes.1, facts.vmcoreinfo), (28, Some((24, 4))));
        let wanted = bytes[4200..4228].to_vec();
        let mut parts = [Part::new(&bytes[..], facts)];
        let (mut rank, mut pages, mut stored) = ([0; 10], vec![0; 4096], vec![0; 4096]);
        let mut ranges = [MemoryRange::default(); 9];
        let storage = Storage {
            rank: (&mut rank[..]).into(),
            ranges: (&mut ranges[..]).into(),
            pages: (&mut pages[..]).into(),
            stored: (&mut stored[..]).into(),
        };
        let mut kdump = Kdump::load(&mut parts[..], storage, Fill).unwrap();
        let mut notes = [0; 28];
        kdump.read_notes(0, &mut notes).unwrap();
        assert_eq!(notes[..], wanted[..]);
        assert!(kdump.read_notes(1, &mut notes).is_err());
    }

    #[test]
    fn notes_that_claim_too_much_end_at_the_bitmaps() {
        let good = dump(None);
        let place = sub_header_place(&good, 28);
        // Up to the end of the file, and beyond; what comes behind the note is zeros and the bitmaps.
        for claimed in [20_000u64, 1 << 40, u64::MAX] {
            let mut bytes = good.clone();
            bytes[place..place + 8].copy_from_slice(&claimed.to_le_bytes());
            let facts = probe(&mut &bytes[..], bytes.len() as u64).unwrap();
            assert_eq!((facts.notes, facts.notes_damaged), ((4200, 3992), true), "{claimed:#x}");
            assert_eq!(facts.vmcoreinfo, Some((24, 4)));
        }
        // With something that is not a note behind it: kept, but not the bitmaps.
        let mut bytes = good.clone();
        bytes[4228..8192].fill(0xff);
        bytes[place..place + 8].copy_from_slice(&20_000u64.to_le_bytes());
        let facts = probe(&mut &bytes[..], bytes.len() as u64).unwrap();
        assert_eq!((facts.notes, facts.notes_damaged), ((4200, 8192 - 4200), true));
        // Among the pages: no note, so that the text gets one.
        bytes[place - 8..place].copy_from_slice(&24_576u64.to_le_bytes());
        let facts = probe(&mut &bytes[..], bytes.len() as u64).unwrap();
        assert_eq!((facts.notes, facts.notes_damaged), ((4224, 28), true));
    }

    /// Where the sub-header says this, in 64 bits.
    fn sub_header_place(bytes: &[u8], value: u64) -> usize {
        let fields = bytes[4096..4200].chunks_exact(8);
        let index = fields.clone().position(|f| f == value.to_le_bytes()).expect("it says so");
        4096 + 8 * index
    }

    /// Makes a dump one of 32-bit ARM, by name; with its own form it need not come.
    fn of_arm(mut bytes: Vec<u8>, phys_base: u64) -> Vec<u8> {
        bytes[12 + 4 * UTS_FIELD..][..6].copy_from_slice(b"armv7l");
        bytes[4096..4104].copy_from_slice(&phys_base.to_le_bytes());
        bytes
    }

    #[test]
    fn bits_of_arm_count_from_its_memory_on_wherever_they_are_asked_for() {
        let first = |bytes: &[u8]| probe(&mut &*bytes, bytes.len() as u64).unwrap().first_pfn;
        assert_eq!(first(&of_arm(dump(None), 0x4000_0000)), Pfn(0x4_0000));
        assert_eq!(first(&of_arm(dump(None), 0x1000)), Pfn(1)); // pfn 0 exists
        assert_eq!(first(&of_arm(dump(None), 0)), Pfn(0));
        assert_eq!(first(&of_arm(dump(None), 1 << 60)), Pfn(0));
        let mut absolute = of_arm(dump(None), 0x1000);
        absolute[8192] &= !1; // now it does not
        assert_eq!(first(&absolute), Pfn(0));

        for base in [0u64, 8, 13, 0x4_0003] {
            let bytes = of_arm(dump(None), base * 4096);
            let facts = probe(&mut &bytes[..], bytes.len() as u64).unwrap();
            assert_eq!(facts.all(), PfnSpan::new(Pfn(base), Pfn(base + MAX)));
            let want = |pfn: u64| PFNS.iter().any(|p| p + base == pfn);
            let (mut runs, mut last) = (Vec::new(), None);
            memory_ranges(&mut &bytes[..], &facts, |run| runs.push(run)).unwrap();
            for pfn in runs.iter().flat_map(|run| run.start.0..run.end.0) {
                assert!(last < Some(pfn), "base {base}, pfn {pfn} twice or late");
                last = Some(pfn);
            }
            let in_runs = |pfn| runs.iter().any(|run| run.contains(Pfn(pfn)));
            let exists =
                |pfn: u64| bytes[8192 + (pfn - base) as usize / 8] >> ((pfn - base) % 8) & 1 != 0;
            for pfn in base..base + MAX {
                assert_eq!(in_runs(pfn), exists(pfn), "base {base}, pfn {pfn}");
            }
            for from in (base.saturating_sub(20)..base + 20).chain(base + MAX - 20..base + MAX + 9)
            {
                let mut bits = [0xff; 3];
                read_bits(&mut &bytes[..], &facts, facts.bitmap2, Pfn(from), &mut bits).unwrap();
                for n in 0..24 {
                    let bit = bits[n as usize / 8] >> (n % 8) & 1 != 0;
                    assert_eq!(bit, want(from + n), "base {base}, pfn {}", from + n);
                }
            }
        }
    }

    #[test]
    fn no_damage_makes_it_panic() {
        ruin(dump(Some((0, MAX))));
        ruin(of_arm(dump(Some((0, MAX))), 0x4000_3000));
    }

    fn ruin(good: Vec<u8>) {
        let mut x = 0x2545_f491_4f6c_dd1du64;
        let mut random = |below: usize| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x % below as u64) as usize
        };
        let places: Vec<usize> =
            [8..464, 4096..4230, 16384..16390, 24576..24751].into_iter().flatten().collect();
        for _ in 0..5000 {
            let mut bad = good.clone();
            for _ in 0..1 + random(5) {
                bad[places[random(places.len())]] = [0, 1, 0x7f, 0x80, 0xff][random(5)];
            }
            if random(3) == 0 {
                bad.truncate(random(bad.len() + 1));
            }
            let _ = visit(&[&bad]);
        }
    }
}
