//! The kdump-compressed format, in one file or split into several (`core/docs/format.md`).
//!
//! Order of writes, so that the file tells the truth wherever it is cut off: it is first made long
//! enough for its bitmaps; then notes and sub-header; then the header, saying *incomplete*; only
//! from then on a reader opens it. Then the bitmaps, page data before the descriptors that point at
//! it, and at the end the header again.

use super::crew::{Crew, CrewHandle};
use super::error::{FailedWrite, Step};
use super::pages::{Encoded, PageReader, PageWriter, Places};
use super::pass::{About, Capture, known_zeros};
use super::{CaptureError, Notice, Observer, Phase, Report};
use crate::bitmap::Bitmap;
use crate::endian::{Endian, Word};
use crate::error::part_mut;
use crate::io::{BLOCK, Sink};
use crate::level::DumpLevel;
use crate::memory::{Dump, Machine};
use crate::tally::{Reason, Tally};
use crate::units::{Pfn, PfnSpan};
use crate::wire::disk_header::{
    self, MainHeader, MainLayout, Signature, Status, SubHeader, SubLayout,
};
use crate::wire::machine::KnownMachine;
use crate::wire::page_desc::{self, CodecFlags};

/// Where the parts of a file are.
struct Layout {
    sub: &'static SubLayout,
    block: u64,
    notes: u64,
    notes_len: u64,
    sub_hdr_size: u32,
    bitmap_blocks: u32,
    /// What the bits of a pfn lie at, less its pfn in bytes: bitmap 1, and bitmap 2.
    bitmap1: u64,
    bitmap2: u64,
    descriptors: u64,
}

impl Layout {
    fn new<S: Dump>(capture: &Capture<'_, S>) -> Option<Layout> {
        let block = capture.shift.bytes() as u64;
        let layout = sub_layout(capture.source.machine());
        let sub = layout.size as u64;
        let notes_len = capture.source.notes().len;
        let sub_hdr_size = sub.checked_add(notes_len)?.div_ceil(block);
        let all = capture.all();
        let half = all.len().div_ceil(8).div_ceil(block).max(1);
        let bitmap1 = sub_hdr_size.checked_add(1)?.checked_mul(block)?;
        let half_bytes = half.checked_mul(block)?;
        Some(Layout {
            sub: layout,
            block,
            notes: block + sub,
            notes_len,
            sub_hdr_size: i32::try_from(sub_hdr_size).ok()? as u32,
            bitmap_blocks: u32::try_from(half.checked_mul(2)?).ok()?,
            // Windows begin at the same bit of a byte as the first pfn does.
            bitmap1: bitmap1.wrapping_sub(all.start.0 / 8),
            bitmap2: bitmap1.checked_add(half_bytes)?.wrapping_sub(all.start.0 / 8),
            descriptors: bitmap1.checked_add(half_bytes.checked_mul(2)?)?,
        })
    }

    /// Where the pages go, if there are `kept` of them. The page of zeros, if there is one, comes
    /// first, as makedumpfile has it; the data of the others begins with a block.
    fn places(&self, kept: u64, zero_page: bool) -> Option<Places> {
        let len = kept.checked_mul(page_desc::SIZE as u64)?;
        let descriptors_end = self.descriptors.checked_add(len)?;
        let zero_page = if zero_page { self.block } else { 0 };
        let data = descriptors_end
            .checked_add(zero_page)?
            .checked_next_multiple_of(self.block.max(BLOCK))?;
        Some(Places { descriptors: self.descriptors, descriptors_end, data })
    }
}

fn failed(step: Step, part: usize) -> impl Fn(crate::io::SinkError) -> CaptureError {
    move |error| CaptureError::Sink(FailedWrite::new(step, part, error))
}

/// Writes a kdump-compressed dump. With more than one sink it is split into one part each, in blocks of
/// `split_block` pages; such sinks must be ones that can be read back.
#[inline(never)] // called from two places: one copy is enough
pub(super) fn write<S: Dump>(
    c: &mut Capture<'_, S>,
    about: &About<'_>,
    sinks: &mut [&mut dyn Sink],
    ranges: &mut [PfnSpan],
    split_block: u64,
    crew: Option<&dyn Crew<'_>>,
) -> Result<(), CaptureError> {
    let layout = Layout::new(c).ok_or(CaptureError::TooLarge(c.max_pfn.0))?;
    // A range for each.
    let parts = sinks.len().min(ranges.len());
    let (sinks, ranges) = (part_mut(sinks, 0..parts), part_mut(ranges, 0..parts));
    let splits = parts > 1;
    let endian = c.source.machine().endian;

    for (part, sink) in sinks.iter_mut().enumerate() {
        sink.extend(layout.descriptors).map_err(failed(Step::Head, part))?;
    }
    let mut headers = Headers { about, layout: &layout, splits, endian, all: c.all() };
    let codec = c.encoder.as_ref().map(|encoder| CodecFlags::from(encoder.codec()));
    let codec = Status::from(codec.unwrap_or_default());
    // A file has its header when it can be opened, and says that it is incomplete; a stream has it
    // once and first, as it is to be in the end.
    let can_rewrite = sinks.iter().all(|s| s.can_rewrite());
    if !can_rewrite {
        for (part, sink) in sinks.iter_mut().enumerate() {
            c.report.bytes += headers.main(part, codec, *sink)?;
        }
    }
    write_notes(c, &layout, sinks)?;
    for (part, sink) in sinks.iter_mut().enumerate() {
        c.report.bytes += headers.sub(part, PfnSpan::default(), *sink)?;
        if can_rewrite {
            // Not before what it stands for: a reader would map what is not there.
            sink.sync().map_err(failed(Step::Head, part))?;
            c.report.bytes += headers.main(part, codec | Status::INCOMPLETE, *sink)?;
        }
    }

    // The page data buffer is still unused: borrow it.
    let held = core::mem::take(&mut c.buffers.data);
    write_bitmap1(c, &layout, held, sinks)?;
    let reads_back = sinks.iter().all(|s| s.can_read_back());
    let one_window = c.window_len() >= c.all().len();
    let mut tally = c.report.tally;
    let kept = pass_a(c, &layout, held, sinks, reads_back, &mut tally)?;
    c.buffers.data = held;
    tally.kept = kept;
    c.report.tally = tally;

    let places = layout
        .places(kept, c.level.contains(DumpLevel::ZERO))
        .ok_or(CaptureError::TooLarge(c.max_pfn.0))?;
    for (part, sink) in sinks.iter_mut().enumerate() {
        sink.extend(places.data).map_err(failed(Step::Descriptors, part))?;
        sink.reserve(places.descriptors, places.data);
    }
    if splits {
        divide(c, &layout, sinks, kept, split_block, ranges)?;
        for (part, (sink, range)) in sinks.iter_mut().zip(&*ranges).enumerate() {
            headers.sub(part, *range, *sink)?;
        }
    } else if let Some(range) = ranges.first_mut() {
        *range = c.all();
    }

    // Descriptors are counted by the bits: they must not be there without all of those.
    for (part, sink) in sinks.iter_mut().enumerate() {
        sink.sync().map_err(failed(Step::Bitmaps, part))?;
    }
    let from = if reads_back {
        Bits::File
    } else if one_window {
        Bits::Memory
    } else {
        Bits::Again
    };
    pass_b(c, &layout, sinks, ranges, places, from, crew)?;

    let incomplete = c.report.incomplete;
    for (part, sink) in sinks.iter_mut().enumerate() {
        if can_rewrite {
            let status = if incomplete { codec | Status::INCOMPLETE } else { codec };
            headers.main(part, status, *sink)?;
            sink.finish().map_err(failed(Step::Header, part))?;
        } else if !incomplete {
            // The end record is what makes a stream a complete one.
            sink.finish().map_err(failed(Step::End, part))?;
        }
    }
    Ok(())
}

fn sub_layout(machine: Machine) -> &'static SubLayout {
    SubLayout::of(machine.word, machine.known().is_some_and(KnownMachine::is_packed))
}

/// Main header and sub-header of every part.
struct Headers<'a> {
    about: &'a About<'a>,
    layout: &'a Layout,
    splits: bool,
    endian: Endian,
    all: PfnSpan,
}

impl Headers<'_> {
    fn main(
        &mut self,
        part: usize,
        status: Status,
        sink: &mut dyn Sink,
    ) -> Result<u64, CaptureError> {
        let packed = self.layout.sub.is_packed();
        // Systems of 32 bits have gone over to 64 for a time, but for i386.
        let usual = if packed { Word::Bits32 } else { Word::Bits64 };
        let layout = MainLayout::of(self.about.time.unwrap_or(usual), packed);
        let header = MainHeader {
            signature: match status.contains(CodecFlags::LZ4.into()) {
                true => Signature::Tamis,
                false => Signature::Kdump,
            },
            utsname: self.about.utsname,
            crash_time: self.about.crash_time,
            status,
            block_size: self.layout.block as u32,
            sub_hdr_size: self.layout.sub_hdr_size,
            bitmap_blocks: self.layout.bitmap_blocks,
            max_mapnr: self.all.len(),
            nr_cpus: self.about.cpus,
        };
        let mut raw = [0; disk_header::MAIN];
        let raw = part_mut(&mut raw, 0..layout.size());
        header.emit(layout, self.endian, raw).ok_or(CaptureError::OUTSIDE)?;
        sink.write_at(0, raw).map_err(failed(Step::Header, part))?;
        Ok(raw.len() as u64)
    }

    fn sub(
        &mut self,
        part: usize,
        range: PfnSpan,
        sink: &mut dyn Sink,
    ) -> Result<u64, CaptureError> {
        let l = self.layout;
        let layout = l.sub;
        let none = (0, 0);
        let bit = |pfn: Pfn| pfn.0.saturating_sub(self.all.start.0);
        let header = SubHeader {
            phys_base: self.about.phys_base,
            dump_level: self.about.level.bits().into(),
            split: self.splits.then_some((bit(range.start), bit(range.end))),
            vmcoreinfo: self.about.vmcoreinfo.map_or(none, |(at, len)| (l.notes + at, len)),
            notes: if l.notes_len > 0 { (l.notes, l.notes_len) } else { none },
            max_mapnr: self.all.len(),
        };
        let mut raw = [0; disk_header::SUB];
        let raw = part_mut(&mut raw, 0..layout.size);
        header.emit(layout, self.endian, raw).ok_or(CaptureError::OUTSIDE)?;
        sink.write_at(l.block, raw).map_err(failed(Step::SubHeader, part))?;
        Ok(raw.len() as u64)
    }
}

fn write_notes<S: Dump>(
    c: &mut Capture<'_, S>,
    layout: &Layout,
    sinks: &mut [&mut dyn Sink],
) -> Result<(), CaptureError> {
    let mut at = 0;
    while at < layout.notes_len {
        let chunk = c.notes(at)?;
        for (part, sink) in sinks.iter_mut().enumerate() {
            sink.write_at(layout.notes + at, chunk).map_err(failed(Step::Notes, part))?;
        }
        let len = chunk.len() as u64;
        c.report.bytes += len * sinks.len() as u64;
        at += len;
    }
    Ok(())
}

fn write_all(
    at: u64,
    bytes: &[u8],
    step: Step,
    sinks: &mut [&mut dyn Sink],
) -> Result<(), CaptureError> {
    for (part, sink) in sinks.iter_mut().enumerate() {
        sink.write_at(at, bytes).map_err(failed(step, part))?;
    }
    Ok(())
}

/// Writes the bits of windows that lie side by side in one go: of small windows there are many.
struct BitWriter<'b> {
    held: &'b mut [u8],
    len: usize,
    /// File offset of what is held.
    at: u64,
    step: Step,
}

impl<'b> BitWriter<'b> {
    fn new(held: &'b mut [u8], step: Step) -> BitWriter<'b> {
        BitWriter { held, len: 0, at: 0, step }
    }

    /// Takes the bits of a window, if there are any, for the bitmap at `base`. Returns their number.
    fn put(
        &mut self,
        map: &Bitmap<'_>,
        base: u64,
        sinks: &mut [&mut dyn Sink],
    ) -> Result<u64, CaptureError> {
        let (count, bytes) = (map.count(), map.bytes());
        let at = base.wrapping_add(map.span().start.0 / 8);
        if count > 0 {
            if at != self.at + self.len as u64 || self.held.len() - self.len < bytes.len() {
                self.flush(sinks)?;
                self.at = at;
            }
            match self.held.get_mut(self.len..self.len + bytes.len()) {
                Some(to) => {
                    to.copy_from_slice(bytes);
                    self.len += bytes.len();
                }
                None => write_all(at, bytes, self.step, sinks)?,
            }
        }
        Ok(count)
    }

    fn flush(&mut self, sinks: &mut [&mut dyn Sink]) -> Result<(), CaptureError> {
        let held = self.held.get(..self.len).ok_or(CaptureError::OUTSIDE)?;
        self.len = 0;
        if held.is_empty() { Ok(()) } else { write_all(self.at, held, self.step, sinks) }
    }
}

/// Writes the bits of every window that exist, to the place of bitmap 1. `held` is room to gather
/// them in.
fn write_bitmap1<S: Dump>(
    c: &mut Capture<'_, S>,
    layout: &Layout,
    held: &mut [u8],
    sinks: &mut [&mut dyn Sink],
) -> Result<(), CaptureError> {
    let mut exist = 0;
    let mut at = Pfn(0);
    let mut writer = BitWriter::new(held, Step::Bitmap1);
    while let Some(window) = c.next_window(at) {
        exist += writer.put(&c.existing(window), layout.bitmap1, sinks)?;
        at = window.end;
    }
    writer.flush(sinks)?;
    c.report.tally.exist = exist;
    c.report.holes = c.all().len().saturating_sub(exist);
    c.report.bytes += 2 * sinks.len() as u64 * c.all().len().div_ceil(8);
    Ok(())
}

/// Classifies every window. Where the output can be read back, its bits go to their place in the
/// file; otherwise those of the last window stay in the buffer. Returns the number of pages kept.
fn pass_a<S: Dump>(
    c: &mut Capture<'_, S>,
    layout: &Layout,
    held: &mut [u8],
    sinks: &mut [&mut dyn Sink],
    reads_back: bool,
    tally: &mut Tally,
) -> Result<u64, CaptureError> {
    let all = c.all();
    let total = all.end.0;
    let (mut kept, mut stored) = (0, 0);
    let mut at = Pfn(0);
    let mut writer = BitWriter::new(held, Step::Bitmap2);
    c.rewind();
    c.observer.progress(Phase::Classify, 0, total);
    while let Some(window) = c.next_window(at) {
        if c.observer.stopped() {
            return Err(CaptureError::Stopped);
        }
        let before = tally.dropped();
        let map = c.wanted(window, all, tally);
        let count = if reads_back { writer.put(&map, layout.bitmap2, sinks)? } else { map.count() };
        kept += count;
        stored += count + tally.dropped() - before;
        at = window.end;
        c.observer.progress(Phase::Classify, at.0, total);
    }
    writer.flush(sinks)?;
    c.observer.progress(Phase::Classify, total, total);
    tally.no_data = tally.exist.saturating_sub(stored);
    Ok(kept)
}

/// Where pass B has its bits from.
#[derive(Clone, Copy, PartialEq)]
enum Bits {
    /// Bitmap 2 of the (first) file.
    File,
    /// The one window is still in the buffer.
    Memory,
    /// Classifying once more.
    Again,
}

fn read_bits<'b>(
    bitmap: &'b mut [u8],
    window: PfnSpan,
    base: u64,
    sinks: &mut [&mut dyn Sink],
) -> Result<Bitmap<'b>, CaptureError> {
    let len = window.len().div_ceil(8) as usize;
    let bytes = bitmap.get_mut(..len).ok_or(CaptureError::OUTSIDE)?;
    if let Some(first) = sinks.first_mut() {
        let at = base.wrapping_add(window.start.0 / 8);
        first.read_back(at, bytes).map_err(failed(Step::ReadBack, 0))?;
    }
    Ok(Bitmap::over(bytes, window))
}

/// Divides the pfns among the parts of a split dump: each gets whole blocks of `block` pfns, as
/// many as it takes to reach its share of the kept pages.
fn divide<S: Dump>(
    c: &mut Capture<'_, S>,
    layout: &Layout,
    sinks: &mut [&mut dyn Sink],
    kept: u64,
    block: u64,
    ranges: &mut [PfnSpan],
) -> Result<(), CaptureError> {
    let (all, block) = (c.all(), block.max(1));
    let parts = ranges.len();
    let share = kept / parts.max(1) as u64;
    let (mut part, mut start, mut in_part) = (0, all.start.0, 0);
    let mut in_block = 0;
    // The end of a block decides whether the part is full.
    let mut close = |end: u64, count: u64, ranges: &mut [PfnSpan]| {
        in_part += count;
        if part + 1 < parts && in_part >= share {
            if let Some(range) = ranges.get_mut(part) {
                *range = PfnSpan::new(Pfn(start), Pfn(end));
            }
            (part, start, in_part) = (part + 1, end, 0);
        }
    };
    let mut at = Pfn(0);
    let mut next_block = all.start.0.saturating_add(block);
    while let Some(window) = c.next_window(at) {
        let mut map = read_bits(c.buffers.bitmap, window, layout.bitmap2, sinks)?;
        let mut pfn = window.start.0;
        while pfn < window.end.0 {
            // Blocks that ended in a gap between windows hold nothing more.
            if next_block <= pfn {
                close(next_block, in_block, ranges);
                in_block = 0;
                next_block = (pfn / block + 1).saturating_mul(block);
            }
            let stop = next_block.min(window.end.0);
            in_block += map.count_span(PfnSpan::new(Pfn(pfn), Pfn(stop)));
            pfn = stop;
        }
        at = window.end;
    }
    if next_block < all.end.0 {
        close(next_block, in_block, ranges);
    }
    for (index, range) in ranges.iter_mut().enumerate().skip(part) {
        let from = if index == part { Pfn(start) } else { all.end };
        *range = PfnSpan::new(from, all.end);
    }
    Ok(())
}

/// The pages of pass B becoming part of the dump, or of its parts, in the order of their pfns.
struct PartWriter<'a, 'b> {
    writer: &'a mut PageWriter<'b>,
    ranges: &'a [PfnSpan],
    places: Places,
    zero_page: Option<usize>,
    bound: usize,
    part: usize,
    done: u64,
    total: u64,
}

impl PartWriter<'_, '_> {
    /// Turns to the next part.
    fn next_part(&mut self, sinks: &mut [&mut dyn Sink]) -> Result<(), CaptureError> {
        if let Some(sink) = sinks.get_mut(self.part) {
            self.writer.end(*sink)?;
        }
        self.part += 1;
        match sinks.get_mut(self.part) {
            Some(sink) => self.writer.begin(self.part, self.places, self.zero_page, *sink),
            None => Ok(()),
        }
    }

    /// Makes room for `page`, in the part that it belongs to. Returns the end of that part.
    fn reserve(&mut self, page: Pfn, sinks: &mut [&mut dyn Sink]) -> Result<Pfn, CaptureError> {
        while self.ranges.get(self.part).is_some_and(|r| page >= r.end)
            && self.part + 1 < sinks.len()
        {
            self.next_part(sinks)?;
        }
        let end = self.ranges.get(self.part).map_or(Pfn(u64::MAX), |range| range.end);
        let sink = sinks.get_mut(self.part).ok_or(CaptureError::InputChanged)?;
        self.writer.reserve(self.bound, *sink)?;
        Ok(end)
    }

    /// Makes a page part of the dump; its data is in the writer's room.
    fn commit(
        &mut self,
        page: Pfn,
        made: Encoded,
        report: &mut Report,
        observer: &mut dyn Observer,
    ) -> Result<(), CaptureError> {
        match made {
            Encoded::Zero => report.tally.add(Reason::Zero, 1),
            Encoded::Bytes { .. } => {}
            Encoded::Lost(fault) => {
                report.incomplete = true;
                report.tally.unreadable += 1;
                observer.notice(Notice::PageLost(page, fault));
            }
        }
        self.writer.commit(page, made)?;
        self.done += 1;
        if self.done.is_multiple_of(256) {
            observer.progress(Phase::Copy, self.done, self.total);
        }
        Ok(())
    }
}

fn pass_b<S: Dump>(
    c: &mut Capture<'_, S>,
    layout: &Layout,
    sinks: &mut [&mut dyn Sink],
    ranges: &[PfnSpan],
    places: Places,
    from: Bits,
    crew: Option<&dyn Crew<'_>>,
) -> Result<(), CaptureError> {
    // The writer and the reader take their buffers for the whole pass.
    let (run, data_buffer, descriptors) = (
        core::mem::take(&mut c.buffers.run),
        core::mem::take(&mut c.buffers.data),
        core::mem::take(&mut c.buffers.descriptors),
    );
    let (endian, sums) = (c.source.machine().endian, c.sums);
    let mut writer = PageWriter::new(data_buffer, descriptors, endian, c.sync_every, sums);
    let copied = copy(c, layout, sinks, ranges, places, from, crew, run, &mut writer);
    if copied.is_err()
        && let Some(sink) = sinks.get_mut(writer.part)
    {
        writer.rescue(*sink);
    }
    c.report.bytes += writer.written;
    c.report.saved = writer.saved;
    copied
}

#[expect(clippy::too_many_arguments, reason = "the inside of pass_b")]
fn copy<S: Dump>(
    c: &mut Capture<'_, S>,
    layout: &Layout,
    sinks: &mut [&mut dyn Sink],
    ranges: &[PfnSpan],
    places: Places,
    from: Bits,
    crew: Option<&dyn Crew<'_>>,
    run: &mut [u8],
    writer: &mut PageWriter<'_>,
) -> Result<(), CaptureError> {
    let all = c.all();
    let total = c.report.tally.kept;
    let size = c.shift.bytes();
    let mut at = Pfn(0);
    c.rewind();
    c.observer.progress(Phase::Copy, 0, total);
    let mut reader = PageReader::new(run, c.shift, c.filter);
    let mut parts = PartWriter {
        writer,
        ranges,
        places,
        zero_page: c.level.contains(DumpLevel::ZERO).then_some(size),
        bound: c.encoder.as_ref().map_or(size, |encoder| encoder.bound(size).max(size)),
        part: 0,
        done: 0,
        total,
    };
    if let Some(sink) = sinks.first_mut() {
        parts.writer.begin(0, parts.places, parts.zero_page, *sink)?;
    }
    let crew = CrewHandle::new(crew, c.filter, c.shift, parts.bound)?;
    while let Some(window) = c.next_window(at) {
        match from {
            Bits::File => {
                read_bits(c.buffers.bitmap, window, layout.bitmap2, sinks)?;
            }
            Bits::Memory => {}
            Bits::Again => {
                // In a stream the bits of a window come after the pages of the one before.
                if let Some(crew) = &crew {
                    while take_in(c, crew, &mut reader, &mut parts, sinks)? {}
                }
                c.wanted(window, all, &mut Tally::default());
            }
        }
        let map = Bitmap::over(c.buffers.bitmap, window);
        if from != Bits::File {
            BitWriter::new(&mut [], Step::Bitmap2).put(&map, layout.bitmap2, sinks)?;
        }
        match &crew {
            Some(crew) => give_out(c, crew, window, &mut reader, &mut parts, sinks)?,
            None => save(c, window, window, &mut reader, &mut parts, sinks)?,
        }
        at = window.end;
    }
    if let Some(crew) = &crew {
        while take_in(c, crew, &mut reader, &mut parts, sinks)? {}
    }
    // Parts that got no page still have their zero page.
    while parts.part < sinks.len() {
        parts.next_part(sinks)?;
    }
    c.observer.progress(Phase::Copy, total, total);
    Ok(())
}

/// Saves the pages of a window, those of `work`.
fn save<S: Dump>(
    c: &mut Capture<'_, S>,
    window: PfnSpan,
    work: PfnSpan,
    reader: &mut PageReader<'_>,
    parts: &mut PartWriter<'_, '_>,
    sinks: &mut [&mut dyn Sink],
) -> Result<(), CaptureError> {
    let map = Bitmap::over(c.buffers.bitmap, window);
    let mut pfn = work.start;
    while let Some(run) = map.next_run(pfn, work.end.0.saturating_sub(pfn.0)) {
        let run = run.intersect(work);
        if run.is_empty() {
            break;
        }
        let mut page = run.start;
        while page < run.end {
            if c.observer.stopped() {
                return Err(CaptureError::Stopped);
            }
            let end = parts.reserve(page, sinks)?;
            let rest = PfnSpan::new(page, end.min(run.end));
            // Up to pages that are known to be zeros, or those.
            let known = known_zeros(c.zeros, c.filter, rest);
            let of_known = if known.start == page { parts.writer.zeros(known)? } else { 0 };
            if of_known > 0 {
                c.report.tally.add(Reason::Zero, of_known);
                page.0 += of_known;
                parts.done += of_known;
                c.observer.progress(Phase::Copy, parts.done, parts.total);
                continue;
            }
            // Pages of zeros, and those that are stored as they are, need not be looked at one by one.
            let plain = c.encoder.is_none();
            let (ahead, zeros) = parts.writer.bulk(c.source, reader, rest, plain)?;
            c.report.tally.add(Reason::Zero, if zeros { ahead } else { 0 });
            if ahead > 0 {
                page.0 += ahead;
                parts.done += ahead;
                c.observer.progress(Phase::Copy, parts.done, parts.total);
                continue;
            }
            let (room, drop_zeros) = parts.writer.room();
            let pfns = (page, run.end);
            let encoder = c.encoder.as_deref_mut();
            let made = reader.make(c.source, pfns, drop_zeros, encoder, room);
            parts.commit(page, made, &mut c.report, c.observer)?;
            page.0 += 1;
        }
        pfn = run.end;
    }
    Ok(())
}

/// Hands out the pages of a window. What comes back meanwhile is saved; some may still be on their
/// way afterwards.
fn give_out<'m, S: Dump>(
    c: &mut Capture<'_, S>,
    crew: &CrewHandle<'_, 'm>,
    window: PfnSpan,
    reader: &mut PageReader<'_>,
    parts: &mut PartWriter<'_, '_>,
    sinks: &mut [&mut dyn Sink],
) -> Result<(), CaptureError> {
    let mut pfn = window.start;
    loop {
        let rest = PfnSpan::new(pfn, window.end);
        // Pages of zeros are not worth a thread's while.
        let known = match parts.zero_page {
            Some(_) => known_zeros(c.zeros, c.filter, rest),
            None => PfnSpan::new(rest.end, rest.end),
        };
        if known.start == pfn && !known.is_empty() {
            while take_in(c, crew, reader, parts, sinks)? {}
            save(c, window, known, reader, parts, sinks)?;
            pfn = known.end;
            continue;
        }
        let Some(batch) = crew.free() else {
            take_in(c, crew, reader, parts, sinks)?;
            continue;
        };
        batch.clear(c.shift, parts.bound, parts.zero_page.is_some());
        let more = batch.fill(&Bitmap::over(c.buffers.bitmap, window), &mut pfn, known.start);
        crew.put(batch);
        if !more {
            pfn = known.start;
            if pfn >= window.end {
                return Ok(());
            }
        }
    }
}

/// Saves the pages of the oldest batch. `false` if there is none.
fn take_in<'m, S: Dump>(
    c: &mut Capture<'_, S>,
    crew: &CrewHandle<'_, 'm>,
    reader: &mut PageReader<'_>,
    parts: &mut PartWriter<'_, '_>,
    sinks: &mut [&mut dyn Sink],
) -> Result<bool, CaptureError> {
    let Some(batch) = crew.oldest(c.source, reader, c.encoder.as_deref_mut()) else {
        return Ok(false);
    };
    let saved = batch.each(|page, made, data| {
        if c.observer.stopped() {
            return Err(CaptureError::Stopped);
        }
        parts.reserve(page, sinks)?;
        let (room, _) = parts.writer.room();
        room.get_mut(..data.len()).ok_or(CaptureError::OUTSIDE)?.copy_from_slice(data);
        parts.commit(page, made, &mut c.report, c.observer)
    });
    crew.put_back(batch);
    saved.map(|()| true)
}
