//! The ELF format (-E): one PT_LOAD after the other, cut where 256 or more pages in a row are
//! dropped (`core/docs/format.md`).
//!
//! Shorter runs of dropped pages stay inside a segment, as holes that read as zeros: nothing that
//! was dropped reaches the file. Made of a dump that says page by page what it holds
//! ([`Dump::says_by_page`]), the file holds the same pages: holes are pages of zeros, and every run of
//! dropped pages ends a segment.
//!
//! A segment's data comes before the header that points at it. Where a header can be written again,
//! the one of the open segment grows with it, so that a file that is cut off loses no more than what
//! was not written.

use super::crew::{Crew, CrewHandle};
use super::error::{FailedWrite, Step};
use super::pages::{Encoded, LOOK, PageReader};
use super::pass::{Capture, known_zeros};
use super::{CaptureError, Notice, Observer, Phase};
use crate::bitmap::Bitmap;
use crate::endian::{Endian, Word};
use crate::io::{BLOCK, Sink};
use crate::level::DumpLevel;
use crate::memory::{Dump, MemoryRange, ReadError};
use crate::tally::{Reason, Tally};
use crate::units::{PageShift, Pfn, PfnSpan, PhysAddr};
use crate::wire::elf;
use page_codec::is_zero;

/// A run of dropped pages as long as this ends a segment.
fn split_run<S: Dump>(source: &S) -> u64 {
    if source.says_by_page() { 1 } else { 256 }
}

fn failed(step: Step) -> impl Fn(crate::io::SinkError) -> CaptureError {
    move |error| CaptureError::Sink(FailedWrite::new(step, 0, error))
}

/// A piece of output segment, in bytes of physical memory: where, and whether it is in the dump.
#[derive(Clone, Copy)]
struct Piece {
    at: u64,
    len: u64,
    keep: bool,
}

/// The output segment being put together from pieces in ascending order.
#[derive(Clone, Copy, Default)]
struct OpenSegment {
    phys: u64,
    filesz: u64,
    memsz: u64,
    /// Dropped pages, and their bytes, since the last kept piece.
    run: u64,
    run_bytes: u64,
}

/// What a piece does to the output.
enum Effect {
    /// Nothing to write.
    None,
    /// Write the piece this many bytes into the segment.
    Write(u64),
    /// Close this segment; write the piece at the start of the next.
    Cut(OpenSegment),
}

impl OpenSegment {
    fn at(phys: u64) -> OpenSegment {
        OpenSegment { phys, ..OpenSegment::default() }
    }

    /// As [`OpenSegment::push`] for each page of a span, of which none is in the dump.
    fn skip(&mut self, segment: &MemoryRange, gap: PfnSpan, shift: PageShift) {
        let at = |pfn| shift.addr(pfn).map_or(u64::MAX, |at| at.0);
        let end = at(gap.end).min(segment.end());
        let bytes = end.saturating_sub(at(gap.start).max(segment.phys.0));
        self.run = self.run.saturating_add(gap.len());
        self.run_bytes = self.run_bytes.saturating_add(bytes);
        self.memsz = self.memsz.saturating_add(bytes);
    }

    /// As [`OpenSegment::push`] for this many pieces that are kept, behind one that is.
    fn grow(&mut self, pieces: u64, len: u64) {
        let bytes = pieces.saturating_mul(len);
        self.filesz = self.filesz.saturating_add(bytes);
        self.memsz = self.memsz.saturating_add(bytes);
    }

    /// The next piece. As many dropped pages as `split` end a segment.
    fn push(&mut self, piece: Piece, split: u64) -> Effect {
        if !piece.keep {
            self.run += 1;
            self.run_bytes += piece.len;
            self.memsz += piece.len;
            return Effect::None;
        }
        if self.run >= split {
            let closed = *self;
            *self =
                OpenSegment { filesz: piece.len, memsz: piece.len, ..OpenSegment::at(piece.at) };
            return Effect::Cut(closed);
        }
        let at = self.filesz + self.run_bytes;
        self.filesz = at + piece.len;
        self.memsz += piece.len;
        (self.run, self.run_bytes) = (0, 0);
        Effect::Write(at)
    }
}

/// The class of the file: 32 bits where the machine has no more, and all of memory's addresses and of the
/// file's offsets fit into them (as with PAE they need not).
fn class(machine: Word, ranges: &[MemoryRange], bytes: u64) -> Word {
    let room = u64::from(u32::MAX);
    let fits = |r: &MemoryRange| r.virt.0 <= room && r.end() <= room + 1;
    // Headers and notes have the rest, which is a quarter.
    let small = bytes <= room / 4 * 3 && ranges.iter().all(fits);
    if machine == Word::Bits32 && small { Word::Bits32 } else { Word::Bits64 }
}

/// Writes an ELF dump. Pages go out as they are: neither this capture nor a crew has encoders.
#[inline(never)] // called from two places: one copy is enough
pub(super) fn write<S: Dump>(
    c: &mut Capture<'_, S>,
    sink: &mut dyn Sink,
    crew: Option<&dyn Crew<'_>>,
) -> Result<(), CaptureError> {
    let page = c.shift.bytes();
    let crew = CrewHandle::new(crew, c.filter, c.shift, page)?;
    let crew = crew.as_ref();
    let too_large = CaptureError::TooLarge(c.max_pfn.0);
    let machine = c.source.machine();
    let endian = machine.endian;
    let pages = c.source.ranges().iter().map(|s| c.shift.touched(s.phys, s.len).len());
    let pages = pages.fold(0u64, u64::saturating_add);

    let word = class(machine.word, c.source.ranges(), pages.saturating_mul(page as u64));

    // Count the segments: their headers come before the data.
    let mut count = Count::default();
    let mut progress = Progress { phase: Phase::Classify, done: 0, total: pages };
    c.observer.progress(progress.phase, 0, pages);
    for index in 0..c.source.ranges().len() {
        segment(c, index, &mut progress, &mut count, crew)?;
    }
    c.observer.progress(progress.phase, pages, pages);
    c.report.tally = count.tally;
    c.report.holes = c.all().len().saturating_sub(count.tally.exist);

    let phentsize = elf::program_header_size(word) as u64;
    let table = elf::header_size(word) as u64;
    let phnum = count.loads + 1;
    let extended = phnum >= u64::from(elf::PN_XNUM);
    let table_end =
        phnum.checked_mul(phentsize).and_then(|l| l.checked_add(table)).ok_or(too_large)?;
    let notes_at = table_end + if extended { elf::SECTION_HEADER as u64 } else { 0 };
    let notes = c.source.notes();
    let notes_len = notes.len;
    let head = notes_at.checked_add(notes_len).ok_or(too_large)?;
    let block = BLOCK.max(c.shift.bytes() as u64);
    let data_at = head.checked_next_multiple_of(block).ok_or(too_large)?;

    sink.reserve(0, data_at);
    sink.extend(head).map_err(failed(Step::Head))?;
    let mut out = Out {
        sink,
        word,
        endian,
        next: table,
        end: table_end,
        data_at,
        data_end: head,
        block,
        buffer: core::mem::take(&mut c.buffers.data),
        held: (data_at, 0),
        held_pages: 0,
        written: data_at,
        described: data_at,
        synced: data_at,
        sync_every: c.sync_every,
        page: c.shift.bytes() as u64,
        zeros_are_holes: c.source.says_by_page(),
        bytes: 0,
        pages: 0,
        saved: 0,
        lost: 0,
        medium_failed: false,
    };
    // A file has its header when it can be opened, and says that it is incomplete; a stream has it
    // once and first, as it is to be in the end.
    let can_rewrite = out.sink.can_rewrite();
    if !can_rewrite {
        out.header(machine.elf_machine, elf::Flags::empty(), phnum)?;
    }
    out.next = out.program_header(&elf::ProgramHeader {
        kind: elf::PT_NOTE,
        flags: notes.flags,
        align: notes.align,
        offset: notes_at,
        filesz: notes_len,
        memsz: notes_len,
        ..Default::default()
    })?;
    if extended {
        let mut raw = [0; elf::SECTION_HEADER];
        elf::emit_extended_count(endian, phnum, &mut raw).ok_or(too_large)?;
        out.write(table_end, &raw, Step::SectionHeader)?;
    }
    let mut at = 0;
    while at < notes_len {
        let chunk = c.notes(at)?;
        out.write(notes_at + at, chunk, Step::Notes)?;
        at += chunk.len() as u64;
    }
    if can_rewrite {
        out.sink.sync().map_err(failed(Step::Head))?;
        out.header(machine.elf_machine, elf::Flags::INCOMPLETE, phnum)?;
    }

    progress = Progress { phase: Phase::Copy, done: 0, total: pages };
    c.observer.progress(progress.phase, 0, pages);
    let mut result = Ok(());
    for index in 0..c.source.ranges().len() {
        result = segment(c, index, &mut progress, &mut out, crew);
        if result.is_err() {
            break;
        }
    }
    c.report.bytes += out.bytes;
    c.report.saved = out.saved;
    c.report.tally.unreadable = out.lost;
    c.report.incomplete |= out.lost > 0;
    result?;
    c.report.bytes += out.end - table;
    if out.next != out.end {
        return Err(CaptureError::InputChanged);
    }
    c.observer.progress(progress.phase, pages, pages);

    if can_rewrite {
        // The last page may be one that was lost, and end in a hole.
        out.sink.extend(out.data_end).map_err(failed(Step::Data))?;
        out.sink.sync().map_err(failed(Step::Data))?;
        if !c.report.incomplete {
            out.header(machine.elf_machine, elf::Flags::empty(), phnum)?;
        }
        out.sink.finish().map_err(failed(Step::Header))
    } else if !c.report.incomplete {
        // The end record is what makes a stream a complete one.
        out.sink.finish().map_err(failed(Step::End))
    } else {
        Ok(())
    }
}

struct Progress {
    phase: Phase,
    done: u64,
    total: u64,
}

impl Progress {
    /// Counts `pages` more as done.
    fn add(&mut self, pages: u64, observer: &mut dyn Observer) {
        let before = self.done / 1024;
        self.done = self.done.saturating_add(pages);
        if self.done / 1024 > before {
            observer.progress(self.phase, self.done, self.total);
        }
    }
}

/// What is done with the pieces of the segments: counted first, written then.
trait SegmentVisitor {
    /// Whether kept pieces must come with their bytes.
    const COPY: bool;
    /// Pages by what becomes of them, where they count.
    fn tally(&mut self) -> Option<&mut Tally>;
    /// A piece begins a new output segment; `closed` is the one before it.
    fn next_segment(
        &mut self,
        from: &MemoryRange,
        closed: &OpenSegment,
    ) -> Result<(), CaptureError>;
    /// `bytes` belong `inside` bytes into the open segment; `None` is a page that is lost.
    fn bytes(&mut self, inside: u64, bytes: Option<&[u8]>) -> Result<(), CaptureError>;
    /// The first of these pages, as many as can be had in one go, belong `inside` bytes into the open
    /// segment. Returns their number; with 0, nothing happened.
    fn pages<S: Dump>(
        &mut self,
        inside: u64,
        source: &mut S,
        reader: &PageReader<'_>,
        pages: PfnSpan,
    ) -> Result<u64, CaptureError>;
    /// As [`SegmentVisitor::pages`] for all of these pages, which are zeros.
    fn zeros(&mut self, pages: PfnSpan);
    /// Takes back the bytes given last.
    fn retract(&mut self, len: usize);
    /// After a page: `open` is the segment that it went into.
    fn along(&mut self, from: &MemoryRange, open: &OpenSegment) -> Result<(), CaptureError>;
    /// The capture ends early, `open` being the segment that was gathered. Errors do not matter.
    fn abandon(&mut self, from: &MemoryRange, open: &OpenSegment);
    /// The last output segment of an input segment ends.
    fn close(&mut self, from: &MemoryRange, last: &OpenSegment) -> Result<(), CaptureError>;
}

#[derive(Default)]
struct Count {
    loads: u64,
    tally: Tally,
}

impl SegmentVisitor for Count {
    const COPY: bool = false;

    fn tally(&mut self) -> Option<&mut Tally> {
        Some(&mut self.tally)
    }

    fn next_segment(&mut self, _: &MemoryRange, _: &OpenSegment) -> Result<(), CaptureError> {
        self.loads += 1;
        Ok(())
    }

    fn bytes(&mut self, _: u64, _: Option<&[u8]>) -> Result<(), CaptureError> {
        Ok(())
    }

    fn pages<S: Dump>(
        &mut self,
        _: u64,
        _: &mut S,
        _: &PageReader<'_>,
        pages: PfnSpan,
    ) -> Result<u64, CaptureError> {
        Ok(pages.len())
    }

    fn zeros(&mut self, _: PfnSpan) {}

    fn retract(&mut self, _: usize) {}

    fn along(&mut self, _: &MemoryRange, _: &OpenSegment) -> Result<(), CaptureError> {
        Ok(())
    }

    fn abandon(&mut self, _: &MemoryRange, _: &OpenSegment) {}

    fn close(&mut self, _: &MemoryRange, _: &OpenSegment) -> Result<(), CaptureError> {
        self.loads += 1;
        Ok(())
    }
}

/// The output: program headers one after the other, data gathered into large writes.
struct Out<'s, 'b> {
    sink: &'s mut dyn Sink,
    word: Word,
    endian: Endian,
    /// File offset of the next program header, and of the end of their table.
    next: u64,
    end: u64,
    /// File offset of the open segment's first byte, and of the end of the data before it. A
    /// segment begins with a block.
    data_at: u64,
    data_end: u64,
    block: u64,
    buffer: &'b mut [u8],
    /// File offset and length of what is in `buffer`, and the pages it is of.
    held: (u64, usize),
    held_pages: u64,
    /// End of the data that the sink has, of what a program header describes, and of what is on
    /// the medium.
    written: u64,
    described: u64,
    synced: u64,
    sync_every: u64,
    page: u64,
    /// Whether pages of zeros are not written.
    zeros_are_holes: bool,
    /// Bytes that the sink has.
    bytes: u64,
    /// Pages that the sink has, and those that a program header describes.
    pages: u64,
    saved: u64,
    lost: u64,
    /// Whether the medium did not take what it was given.
    medium_failed: bool,
}

impl Out<'_, '_> {
    fn write(&mut self, at: u64, bytes: &[u8], step: Step) -> Result<(), CaptureError> {
        self.bytes += bytes.len() as u64;
        self.sink.write_at(at, bytes).map_err(failed(step))
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        let (at, len) = self.held;
        if len == 0 {
            return Ok(());
        }
        let bytes = self.buffer.get(..len).ok_or(CaptureError::OUTSIDE)?;
        let wrote = self.sink.write_at(at, bytes);
        let there = wrote.map_or_else(|error| error.written, |()| len as u64);
        self.bytes += there;
        self.pages +=
            if wrote.is_ok() { self.held_pages } else { there >> self.page.trailing_zeros() };
        // In front of data that is not there the file may end, or have a hole.
        if there > 0 {
            self.written = at + there;
        }
        self.held = (at + there, 0);
        self.held_pages = 0;
        wrote.map_err(failed(Step::Data))
    }

    /// Waits for the medium every now and then, so that a power cut cannot leave a program header
    /// of more data than that.
    fn sync(&mut self) -> Result<(), CaptureError> {
        let much = self.written.saturating_sub(self.synced) >= self.sync_every;
        if much || self.sink.wants_sync() {
            let synced = self.sink.sync();
            self.medium_failed |= synced.is_err();
            self.synced = self.written;
            return synced.map_err(failed(Step::Data));
        }
        Ok(())
    }

    fn header(&mut self, machine: u16, flags: elf::Flags, phnum: u64) -> Result<(), CaptureError> {
        let size = elf::header_size(self.word);
        let header = elf::Header {
            word: self.word,
            endian: self.endian,
            machine,
            phoff: size as u64,
            shoff: 0,
            flags,
            phentsize: elf::program_header_size(self.word) as u16,
            phnum: 0,
        };
        let mut raw = [0; elf::HEADER_MAX];
        let raw = raw.get_mut(..size).ok_or(CaptureError::OUTSIDE)?;
        header.emit(phnum, raw).ok_or(CaptureError::TooLarge(phnum))?;
        self.write(0, raw, Step::ElfHeader)
    }

    /// Writes the next program header. It stays the next one until `self.next` is moved on.
    fn program_header(&mut self, ph: &elf::ProgramHeader) -> Result<u64, CaptureError> {
        let mut raw = [0; elf::PROGRAM_HEADER_MAX];
        let raw =
            raw.get_mut(..elf::program_header_size(self.word)).ok_or(CaptureError::OUTSIDE)?;
        ph.emit(self.word, self.endian, raw).ok_or(CaptureError::TooLarge(ph.paddr))?;
        let end = self.next + raw.len() as u64;
        if end > self.end {
            return Err(CaptureError::InputChanged);
        }
        self.sink.write_at(self.next, raw).map_err(failed(Step::ProgramHeader))?;
        Ok(end)
    }

    /// Writes the program header of this many bytes of a segment.
    fn load(
        &mut self,
        from: &MemoryRange,
        phys: u64,
        offset: u64,
        (filesz, memsz): (u64, u64),
    ) -> Result<u64, CaptureError> {
        let end = self.program_header(&elf::ProgramHeader {
            kind: elf::PT_LOAD,
            flags: from.flags,
            offset,
            vaddr: from.virt.0.wrapping_add(phys - from.phys.0),
            paddr: phys,
            filesz,
            memsz,
            align: from.align,
        })?;
        self.described = offset + filesz;
        self.saved = self.pages;
        Ok(end)
    }

    /// Data first, then the header that points at it.
    fn segment(
        &mut self,
        from: &MemoryRange,
        open: &OpenSegment,
        offset: u64,
    ) -> Result<(), CaptureError> {
        self.flush()?;
        self.sync()?;
        self.next = self.load(from, open.phys, offset, (open.filesz, open.memsz))?;
        if open.filesz > 0 {
            self.data_end = self.data_at + open.filesz;
            self.data_at = self.data_end.next_multiple_of(self.block);
        }
        Ok(())
    }

    /// Room for as much as `len` bytes at file offset `to`, of which there is `least`: what is held
    /// goes out first if it must.
    fn room(&mut self, to: u64, least: usize, len: usize) -> Result<&mut [u8], CaptureError> {
        let (at, held) = self.held;
        if to != at + held as u64 || self.buffer.len() - held < least {
            self.flush()?;
            self.held = (to, 0);
        }
        let end = self.buffer.len().min(self.held.1.saturating_add(len));
        let room = self.buffer.get_mut(self.held.1..end).filter(|room| room.len() >= least);
        room.ok_or(CaptureError::OUTSIDE)
    }

    /// Tells about what there is of the open segment.
    fn so_far(&mut self, from: &MemoryRange, open: &OpenSegment) -> Result<(), CaptureError> {
        let there = self.written.saturating_sub(self.data_at).min(open.filesz);
        // Whole pages.
        let rest = (open.phys + there) & (self.page - 1);
        let len = there.saturating_sub(if there == open.filesz { 0 } else { rest });
        if len > 0 && self.data_at + len > self.described {
            self.load(from, open.phys, self.data_at, (len, len))?;
        }
        Ok(())
    }
}

impl SegmentVisitor for Out<'_, '_> {
    const COPY: bool = true;

    fn tally(&mut self) -> Option<&mut Tally> {
        None
    }

    fn next_segment(
        &mut self,
        from: &MemoryRange,
        closed: &OpenSegment,
    ) -> Result<(), CaptureError> {
        let offset = if closed.filesz == 0 { 0 } else { self.data_at };
        self.segment(from, closed, offset)
    }

    fn bytes(&mut self, inside: u64, bytes: Option<&[u8]>) -> Result<(), CaptureError> {
        let Some(bytes) = bytes else {
            self.lost += 1;
            return Ok(());
        };
        // They are never taken back: only mapped files have windows that break.
        if self.zeros_are_holes && is_zero(bytes) {
            self.pages += 1;
            return Ok(());
        }
        let room = self.room(self.data_at + inside, bytes.len(), bytes.len())?;
        room.get_mut(..bytes.len()).ok_or(CaptureError::OUTSIDE)?.copy_from_slice(bytes);
        self.held.1 += bytes.len();
        self.held_pages += 1;
        Ok(())
    }

    fn pages<S: Dump>(
        &mut self,
        inside: u64,
        source: &mut S,
        reader: &PageReader<'_>,
        pages: PfnSpan,
    ) -> Result<u64, CaptureError> {
        // Zeros are looked for page by page.
        if self.zeros_are_holes {
            return Ok(0);
        }
        let (size, to) = (self.page as usize, self.data_at + inside);
        let most = pages.len().min((LOOK / size) as u64) as usize * size;
        let room = self.room(to, size, most)?;
        let Some(bytes) = reader.lend(source, pages, room.len() / size) else { return Ok(0) };
        let len = bytes.len();
        room.get_mut(..len).ok_or(CaptureError::OUTSIDE)?.copy_from_slice(bytes);
        if source.window_broke() {
            return Ok(0);
        }
        let count = (len / size) as u64;
        self.held.1 += len;
        self.held_pages += count;
        Ok(count)
    }

    fn zeros(&mut self, pages: PfnSpan) {
        self.pages += pages.len();
    }

    fn retract(&mut self, len: usize) {
        self.held.1 = self.held.1.saturating_sub(len);
        self.held_pages = self.held_pages.saturating_sub(1);
    }

    fn along(&mut self, from: &MemoryRange, open: &OpenSegment) -> Result<(), CaptureError> {
        // Not for every page: when the buffer went out.
        if self.written <= self.described
            || self.written <= self.data_at
            || !self.sink.can_rewrite()
        {
            return Ok(());
        }
        self.sync()?;
        self.so_far(from, open)?;
        self.described = self.described.max(self.written);
        Ok(())
    }

    fn abandon(&mut self, from: &MemoryRange, open: &OpenSegment) {
        let _ = self.flush();
        self.medium_failed |= self.sink.sync().is_err();
        // It is not known what a medium that failed has: nothing more is said about it.
        if !self.medium_failed {
            let _ = self.so_far(from, open);
            let _ = self.sink.sync();
        }
    }

    fn close(&mut self, from: &MemoryRange, last: &OpenSegment) -> Result<(), CaptureError> {
        self.segment(from, last, self.data_at)
    }
}

/// Classifies the pages of one input segment, zero pages included, and gives them to `to` piece
/// by piece: a page, or the part of it that the segment has.
fn segment<S: Dump, P: SegmentVisitor>(
    c: &mut Capture<'_, S>,
    index: usize,
    progress: &mut Progress,
    to: &mut P,
    crew: Option<&CrewHandle<'_, '_>>,
) -> Result<(), CaptureError> {
    let Some(&segment) = c.source.ranges().get(index) else { return Ok(()) };
    // A range inside another one (the kernel image) holds pages that are counted there.
    // Of two equal ones, the one that is first in the file.
    let same = |s: &MemoryRange| s.phys == segment.phys && s.len == segment.len;
    let (mut counts, mut twins) = (true, 0);
    c.source.ranges_in(segment.phys, PhysAddr(segment.end()), &mut |s| {
        twins += u32::from(same(s));
        counts &= same(s) || s.phys > segment.phys || segment.end() > s.end();
    });
    if twins > 1 {
        counts &= c.source.ranges().iter().position(same) == Some(index);
    }
    let mut open = OpenSegment::at(segment.phys.0);
    c.rewind();
    let result = pieces(c, &segment, counts, &mut open, progress, to, crew);
    let result = result.and_then(|()| to.close(&segment, &open));
    if result.is_err() {
        to.abandon(&segment, &open);
    }
    result
}

/// A segment of the input becoming one or more of the output, page by page.
struct SegmentWriter<'a, P> {
    segment: &'a MemoryRange,
    /// Its first page.
    first: Pfn,
    shift: PageShift,
    /// As many dropped pages end an output segment.
    split: u64,
    open: &'a mut OpenSegment,
    to: &'a mut P,
    progress: &'a mut Progress,
}

impl<P: SegmentVisitor> SegmentWriter<'_, P> {
    /// The next page. Returns the piece of it whose bytes are to be handed over, and how far inside
    /// the output segment they are.
    fn page(&mut self, pfn: Pfn, stays: bool) -> Result<Option<(u64, Piece)>, CaptureError> {
        let piece = piece(self.segment, pfn, self.first, self.shift, stays);
        let inside = match self.open.push(piece, self.split) {
            Effect::None => None,
            Effect::Write(inside) => Some(inside),
            Effect::Cut(closed) => {
                if let Err(error) = self.to.next_segment(self.segment, &closed) {
                    *self.open = closed;
                    return Err(error);
                }
                Some(0)
            }
        };
        // Of a page that is dropped but must have its place, there is a hole.
        Ok(inside.filter(|_| P::COPY && stays).map(|inside| (inside, piece)))
    }

    /// Hands over the piece of a page, or says that the page is lost.
    fn bytes(
        &mut self,
        pfn: Pfn,
        inside: u64,
        piece: &Piece,
        page: Result<&[u8], ReadError>,
        observer: &mut dyn Observer,
    ) -> Result<(), CaptureError> {
        match page {
            Ok(page) => {
                self.to.bytes(inside, Some(part(page, piece).ok_or(CaptureError::OUTSIDE)?))
            }
            Err(fault) => {
                observer.notice(Notice::PageLost(pfn, fault));
                self.to.bytes(inside, None)
            }
        }
    }

    /// After this many pages.
    fn along(&mut self, pages: u64, observer: &mut dyn Observer) -> Result<(), CaptureError> {
        self.to.along(self.segment, self.open)?;
        self.progress.add(pages, observer);
        Ok(())
    }

    /// Pages that are dropped.
    fn skip(&mut self, pages: PfnSpan, observer: &mut dyn Observer) -> Result<(), CaptureError> {
        let mut rest = pages;
        if rest.contains(self.first) {
            // It may have to have its place.
            self.page(self.first, false)?;
            rest.start.0 += 1;
        }
        if !rest.is_empty() {
            self.open.skip(self.segment, rest, self.shift);
        }
        self.along(pages.len(), observer)
    }

    /// The whole pages behind one that stays and lies so far inside the output segment, itself
    /// included, that do not need to be looked at one by one. Returns their number; 0 if it does. `known_zeros` are the
    /// first among them that are zeros.
    fn pages<S: Dump>(
        &mut self,
        inside: u64,
        source: &mut S,
        reader: &PageReader<'_>,
        pages: PfnSpan,
        known_zeros: PfnSpan,
    ) -> Result<u64, CaptureError> {
        let whole = pages.intersect(PfnSpan::new(
            Pfn(self.segment.phys.0.div_ceil(self.shift.bytes() as u64)),
            self.shift.pfn(PhysAddr(self.segment.end())),
        ));
        if whole.is_empty() || whole.start != pages.start {
            return Ok(0);
        }
        let zeros = known_zeros.intersect(whole);
        let taken = if zeros.start == whole.start && !zeros.is_empty() {
            self.to.zeros(zeros);
            Ok(zeros.len())
        } else {
            let until = if zeros.is_empty() { whole.end } else { zeros.start };
            self.to.pages(inside, source, reader, PfnSpan::new(whole.start, until))
        };
        // After an error, some of them may be there.
        let count = taken.unwrap_or(whole.len());
        self.open.grow(count.saturating_sub(1), self.shift.bytes() as u64);
        taken
    }
}

/// Hands the pieces of a segment to `to`. After an error `open` is what was being put together.
fn pieces<S: Dump, P: SegmentVisitor>(
    c: &mut Capture<'_, S>,
    segment: &MemoryRange,
    counts: bool,
    open: &mut OpenSegment,
    progress: &mut Progress,
    to: &mut P,
    crew: Option<&CrewHandle<'_, '_>>,
) -> Result<(), CaptureError> {
    let shift = c.shift;
    let pages = shift.touched(segment.phys, segment.len);
    let (first, split) = (pages.start, split_run(c.source));
    let mut segments = SegmentWriter { segment, first, shift, split, open, to, progress };
    // Pages past the last one that the kernel knows are dropped.
    let within = pages.intersect(c.all());
    let mut at = pages.start;
    while at < pages.end {
        // What no range stores goes at once: there may be more of it than could be gone over.
        let stored = next_stored(c.source, shift, segment, PfnSpan::new(at, pages.end));
        if at > pages.start && stored > at {
            let gap = PfnSpan::new(at, stored);
            segments.open.skip(segment, gap, shift);
            let there = gap.intersect(within).len();
            if let Some(tally) = segments.to.tally().filter(|_| counts) {
                tally.exist += there;
                tally.no_data += there;
            }
            segments.progress.add(gap.len(), c.observer);
            at = stored;
            continue;
        }
        let len = c.window_len();
        let start = (at.0 / len * len).max(pages.start.0 & !7);
        let end = Pfn((start.saturating_add(len) / len * len).min(pages.end.0));
        let window = PfnSpan::new(Pfn(start), end);
        let mut tally = Tally::default();
        let stored = c.wanted(window, within, &mut tally).count();
        let there = PfnSpan::new(at, end).intersect(within).len();
        tally.exist += there;
        tally.no_data += there.saturating_sub(stored + tally.dropped());

        let work = PfnSpan::new(at, end);
        match crew {
            // Pages need not be read only to be counted, nor at all where they are known to be zeros.
            Some(crew) if c.level.contains(DumpLevel::ZERO) || (P::COPY && c.zeros.is_empty()) => {
                helped(c, crew, window, work, &mut segments, &mut tally)?;
            }
            _ => alone(c, window, work, &mut segments, &mut tally)?,
        }
        if let Some(sum) = segments.to.tally().filter(|_| counts) {
            sum.join(&tally);
        }
        at = end;
    }
    Ok(())
}

/// Goes over the pages of a window, those of `work`, with the bits of those that stay in the
/// buffer.
fn alone<S: Dump, P: SegmentVisitor>(
    c: &mut Capture<'_, S>,
    window: PfnSpan,
    work: PfnSpan,
    segments: &mut SegmentWriter<'_, P>,
    tally: &mut Tally,
) -> Result<(), CaptureError> {
    drop_known_zeros(c, window, tally);
    let mut map = Bitmap::over(&mut *c.buffers.bitmap, window);
    let mut reader = PageReader::new(&mut *c.buffers.run, c.shift, c.filter);
    if c.level.contains(DumpLevel::ZERO) {
        drop_zero_pages(c.source, &mut reader, &mut map, tally);
    }
    tally.kept += map.count();
    let mut at = work.start;
    let mut run_end = at;
    while at < work.end {
        if c.observer.stopped() {
            return Err(CaptureError::Stopped);
        }
        if at >= run_end {
            let run = map.next_run(at, u64::MAX).unwrap_or(PfnSpan::new(work.end, work.end));
            let next = run.start.min(work.end);
            if next > at {
                segments.skip(PfnSpan::new(at, next), c.observer)?;
                at = next;
                continue;
            }
            run_end = run.end.min(work.end);
        }
        let place = segments.page(at, true)?;
        let inside = place.map_or(0, |(inside, _)| inside);
        let rest = PfnSpan::new(at, run_end);
        let zeros = known_zeros(c.zeros, c.filter, rest);
        let taken = segments.pages(inside, c.source, &reader, rest, zeros)?;
        if taken > 0 {
            segments.along(taken, c.observer)?;
            at.0 += taken;
            continue;
        }
        if let Some((inside, piece)) = place {
            segments.bytes(at, inside, &piece, reader.page(c.source, at, run_end), c.observer)?;
            if c.source.window_broke() {
                segments.to.retract(piece.len as usize);
                segments.bytes(at, inside, &piece, reader.again(c.source, at), c.observer)?;
            }
        }
        segments.along(1, c.observer)?;
        at.0 += 1;
    }
    Ok(())
}

/// [`alone`], with a crew that reads the pages and finds which are zero.
fn helped<S: Dump, P: SegmentVisitor>(
    c: &mut Capture<'_, S>,
    crew: &CrewHandle<'_, '_>,
    window: PfnSpan,
    work: PfnSpan,
    segments: &mut SegmentWriter<'_, P>,
    tally: &mut Tally,
) -> Result<(), CaptureError> {
    drop_known_zeros(c, window, tally);
    let map = Bitmap::over(&mut *c.buffers.bitmap, window);
    let mut reader = PageReader::new(&mut *c.buffers.run, c.shift, c.filter);
    let page_size = c.shift.bytes();
    // Up to where pages are given out, and up to where they are back.
    let (mut out, mut at) = (work.start, work.start);
    let mut more = true;
    loop {
        let batch = if more { crew.free() } else { None };
        if let Some(batch) = batch {
            batch.clear(c.shift, page_size, c.level.contains(DumpLevel::ZERO));
            more = batch.fill(&map, &mut out, window.end);
            crew.put(batch);
            continue;
        }
        let Some(batch) = crew.oldest(c.source, &mut reader, None) else { break };
        let done = batch.each(|pfn, made, data| {
            if c.observer.stopped() {
                return Err(CaptureError::Stopped);
            }
            segments.skip(PfnSpan::new(at, pfn), c.observer)?;
            at = Pfn(pfn.0 + 1);
            let stays = !matches!(made, Encoded::Zero);
            tally.kept += u64::from(stays);
            tally.add(Reason::Zero, u64::from(!stays));
            if let Some((inside, piece)) = segments.page(pfn, stays)? {
                let page = if let Encoded::Lost(fault) = made { Err(fault) } else { Ok(data) };
                segments.bytes(pfn, inside, &piece, page, c.observer)?;
            }
            segments.along(1, c.observer)
        });
        crew.put_back(batch);
        done?;
    }
    segments.skip(PfnSpan::new(at, work.end), c.observer)
}

/// The first of `pages`, which are the last ones of `segment`, that a range stores a byte of; their end if
/// there is none.
fn next_stored<S: Dump>(
    source: &S,
    shift: PageShift,
    segment: &MemoryRange,
    pages: PfnSpan,
) -> Pfn {
    if shift.touched(segment.phys, segment.stored_len).contains(pages.start) {
        return pages.start;
    }
    // Twice as far each time: however many ranges there are, few are looked at for each step taken.
    let (mut found, mut len) = (pages.end, 1u64);
    loop {
        let until = Pfn(pages.start.0.saturating_add(len).min(pages.end.0));
        let address = |pfn| shift.addr(pfn).unwrap_or(PhysAddr(u64::MAX));
        source.ranges_in(address(pages.start), address(until), &mut |s| {
            let stored = shift.touched(s.phys, s.stored_len).intersect(pages);
            if !stored.is_empty() {
                found = found.min(stored.start);
            }
        });
        if found < until || until == pages.end {
            return found;
        }
        len = len.saturating_mul(2);
    }
}

/// The part of page `pfn` that the segment has. The part of a page that a segment begins with
/// always has its place in the output, as makedumpfile does it.
fn piece(segment: &MemoryRange, pfn: Pfn, first: Pfn, shift: PageShift, stays: bool) -> Piece {
    let at = shift.addr(pfn).map_or(u64::MAX, |a| a.0).max(segment.phys.0);
    let end = shift.addr(Pfn(pfn.0 + 1)).map_or(u64::MAX, |a| a.0).min(segment.end());
    let head = pfn == first && at & (shift.bytes() as u64 - 1) != 0;
    Piece { at, len: end.saturating_sub(at), keep: stays || head }
}

/// The bytes of a piece out of its page.
fn part<'p>(page: &'p [u8], piece: &Piece) -> Option<&'p [u8]> {
    let skip = piece.at as usize & page.len().saturating_sub(1);
    page.get(skip..skip + piece.len as usize)
}

/// Clears the bits of pages that are known to be zeros, if the level drops them.
fn drop_known_zeros<S: Dump>(c: &mut Capture<'_, S>, window: PfnSpan, tally: &mut Tally) {
    let mut rest = window;
    while c.level.contains(DumpLevel::ZERO) && !rest.is_empty() {
        let zeros = known_zeros(c.zeros, c.filter, rest);
        let dropped = Bitmap::over(&mut *c.buffers.bitmap, window).clear_span(zeros);
        tally.add(Reason::Zero, dropped);
        rest.start = zeros.end;
    }
}

/// Clears the bits of zero pages. One that cannot be read stays, and is found again, and named,
/// when it is to be copied.
fn drop_zero_pages<S: Dump>(
    source: &mut S,
    reader: &mut PageReader<'_>,
    map: &mut Bitmap<'_>,
    tally: &mut Tally,
) {
    let mut pfn = map.span().start;
    while let Some(run) = map.next_run(pfn, u64::MAX) {
        while pfn.max(run.start) < run.end {
            pfn = pfn.max(run.start);
            let next = Pfn(pfn.0 + 1);
            if reader.is_zero(source, pfn, run.end) == Ok(true) {
                tally.add(Reason::Zero, map.clear_span(PfnSpan::new(pfn, next)));
            }
            pfn = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(start: u64, split: u64, keep: &[(u64, bool)]) -> std::vec::Vec<(u64, u64, u64)> {
        let mut open = OpenSegment::at(start);
        let mut at = start;
        let mut found = std::vec::Vec::new();
        for &(pages, keep) in keep {
            for _ in 0..pages {
                if let Effect::Cut(c) = open.push(Piece { at, len: 0x1000, keep }, split) {
                    found.push((c.phys, c.filesz, c.memsz));
                }
                at += 0x1000;
            }
        }
        found.push((open.phys, open.filesz, open.memsz));
        found
    }

    // The worked example of the format description: pages 0x100, 0x101, 0x201-0x204, 0x305-0x330
    // and 0x800 of [0x100000, 0x1100000) are not zero.
    #[test]
    fn runs_of_256_dropped_pages_end_a_segment_and_shorter_ones_do_not() {
        let keep = [
            (2, true),
            (255, false),
            (4, true),
            (0x305 - 0x205, false),
            (0x331 - 0x305, true),
            (0x800 - 0x331, false),
            (1, true),
            (0x1100 - 0x801, false),
        ];
        assert_eq!(
            segments(0x10_0000, 256, &keep),
            [
                (0x10_0000, 0x10_5000, 0x20_5000),
                (0x30_5000, 0x2_c000, 0x4f_b000),
                (0x80_0000, 0x1000, 0x90_0000)
            ]
        );
    }

    #[test]
    fn each_run_ends_a_segment_of_what_says_by_page_what_it_holds() {
        assert_eq!(
            segments(0x1000, 1, &[(1, false), (2, true), (1, false), (1, true), (3, false)]),
            [(0x1000, 0, 0x1000), (0x2000, 0x2000, 0x3000), (0x5000, 0x1000, 0x4000)]
        );
    }

    #[test]
    fn a_segment_that_begins_with_a_long_run_has_no_data() {
        assert_eq!(
            segments(0x1000, 256, &[(256, false), (1, true)]),
            [(0x1000, 0, 0x10_0000), (0x10_1000, 0x1000, 0x1000)]
        );
        assert_eq!(segments(0x1000, 256, &[(300, false)]), [(0x1000, 0, 300 << 12)]);
    }
}
