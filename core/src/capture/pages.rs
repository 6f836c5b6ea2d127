//! Pass B: pages out of the source, into descriptors and data.

use super::CaptureError;
use super::error::{Bug, FailedWrite, Step};
use crate::checksum::Crc32;
use crate::endian::Endian;
use crate::error::{part, part_mut};
use crate::io::{BLOCK, Sink, SinkError};
use crate::memory::{Dump, ReadError};
use crate::units::{PageShift, Pfn, PfnSpan, PhysAddr};
use crate::wire::page_desc::{self, CodecFlags, PageDesc};
use page_codec::{Codec, Encode, is_zero};

/// Data that may be written between two syncs: a power cut cannot leave descriptors of more data
/// than this that never reached the disk.
pub(super) const SYNC_EVERY: u64 = 64 << 20;

/// Bytes of pages that are looked at in one go where they lie.
pub(super) const LOOK: usize = 1 << 20;

/// Sees pages of a dump on their way out, and may change them.
///
/// Every page that a dump keeps passes it, whatever the format, the codec, the number of threads and the input
/// are, before anything is decided by its bytes: a page that the filter makes zero is a page of zeros.
pub trait PageFilter: Sync {
    /// Whether [`PageFilter::apply`] must see any of `pages`. Pages that it need not see may go in bulk. The
    /// answer for a page is always the same.
    fn wants(&self, pages: PfnSpan) -> bool;

    /// Sees `pages`, whose bytes are `bytes`, and may change those of them that it wants. This happens once for
    /// each page, but for those of an ELF file, which are looked at before they are copied: the change must be
    /// the same each time.
    fn apply(&self, pages: PfnSpan, bytes: &mut [u8]);
}

fn one(pfn: Pfn) -> PfnSpan {
    PfnSpan { start: pfn, end: Pfn(pfn.0.saturating_add(1)) }
}

/// The one point that every page passes on its way into a dump: [`PageReader::lend`], [`PageReader::read`] and
/// [`PageReader::stored`] ask the filter, and nothing else in this directory reads pages.
///
/// Pages come one by one: lent ones as they are, others read ahead in runs.
pub(super) struct PageReader<'b> {
    buffer: &'b mut [u8],
    shift: PageShift,
    filter: Option<&'b dyn PageFilter>,
    held: PfnSpan,
}

impl<'b> PageReader<'b> {
    /// `buffer` holds one page at least.
    pub(super) fn new(
        buffer: &'b mut [u8],
        shift: PageShift,
        filter: Option<&'b dyn PageFilter>,
    ) -> PageReader<'b> {
        PageReader { buffer, shift, filter, held: PfnSpan::default() }
    }

    fn wants(&self, pages: PfnSpan) -> bool {
        self.filter.is_some_and(|filter| filter.wants(pages))
    }

    /// As many of the first of `pages` as can be looked at where they lie, but no more than `most`: none, if the
    /// source does not lend them or the filter wants one of them.
    pub(super) fn lend<'s, S: Dump>(
        &self,
        source: &'s mut S,
        mut pages: PfnSpan,
        most: usize,
    ) -> Option<&'s [u8]> {
        let size = self.shift.bytes();
        let most = pages.len().min(most.min(LOOK / size) as u64) as usize;
        pages.end.0 = pages.start.0 + most as u64;
        if self.wants(pages) {
            return None;
        }
        let lent = source.window(self.shift.addr(pages.start)?, most * size);
        lent.filter(|bytes| bytes.len() == most * size)
    }

    /// What the source holds compressed of a page that the filter does not want.
    fn stored<S: Dump>(
        &self,
        source: &mut S,
        pfn: Pfn,
        codec: Codec,
        room: &mut [u8],
    ) -> Option<usize> {
        if self.wants(one(pfn)) { None } else { source.stored_page(pfn, codec, room) }
    }

    /// Reads pages into the start of the buffer, and leaves them as the filter does.
    fn read<S: Dump>(&mut self, source: &mut S, pages: PfnSpan) -> Result<(), ReadError> {
        let at = self.shift.addr(pages.start).unwrap_or(PhysAddr(u64::MAX));
        let len = pages.len() as usize * self.shift.bytes();
        self.held = PfnSpan::default();
        let bytes = self.buffer.get_mut(..len).ok_or(ReadError::Absent(at))?;
        source.read(at, bytes)?;
        if let Some(filter) = self.filter {
            filter.apply(pages, bytes);
        }
        self.held = pages;
        Ok(())
    }

    /// The bytes of `pfn`. Those up to `until` are wanted next.
    ///
    /// If [`crate::memory::PhysMemory::window_broke`] says so after they were looked at, they are worthless: ask
    /// [`PageReader::again`].
    pub(super) fn page<'a, S: Dump>(
        &'a mut self,
        source: &'a mut S,
        pfn: Pfn,
        until: Pfn,
    ) -> Result<&'a [u8], ReadError> {
        let size = self.shift.bytes();
        if !self.held.contains(pfn) {
            // Asked twice, as the borrow checker cannot see that nothing is lent otherwise.
            if self.lend(source, one(pfn), 1).is_some() {
                let lent = self.lend(source, one(pfn), 1);
                return lent.ok_or(ReadError::Absent(PhysAddr(u64::MAX)));
            }
            let most = (self.buffer.len() / size).max(1) as u64;
            let end = Pfn(until.0.min(pfn.0 + most).max(pfn.0 + 1));
            if self.read(source, PfnSpan::new(pfn, end)).is_err() {
                return self.again(source, pfn);
            }
        }
        let at = (pfn.0 - self.held.start.0) as usize * size;
        self.buffer.get(at..at + size).ok_or(ReadError::Absent(PhysAddr(u64::MAX)))
    }

    /// The bytes of `pfn`, read for itself.
    pub(super) fn again<S: Dump>(&mut self, source: &mut S, pfn: Pfn) -> Result<&[u8], ReadError> {
        self.read(source, one(pfn))?;
        Ok(part(self.buffer, 0..self.shift.bytes()))
    }

    /// Compresses the bytes of `pfn` into `room`, which has what [`Encode::bound`] asks for, or
    /// copies them there if they do not shrink or there is no `encoder`. Pages of zeros are nothing but that, with `drop_zeros`. Those up to
    /// `until` are wanted next.
    pub(super) fn make<S: Dump>(
        &mut self,
        source: &mut S,
        (pfn, until): (Pfn, Pfn),
        drop_zeros: bool,
        mut encoder: Option<&mut (dyn Encode + '_)>,
        room: &mut [u8],
    ) -> Encoded {
        let codec = encoder.as_ref().map(|encoder| encoder.codec());
        let kept = codec.and_then(|codec| self.stored(source, pfn, codec, room));
        let mut make = |page: &[u8]| make(page, drop_zeros, kept, encoder.as_deref_mut(), room);
        let mut made = self.page(source, pfn, until).map(&mut make);
        if source.window_broke() {
            made = self.again(source, pfn).map(make);
        }
        made.unwrap_or_else(Encoded::Lost)
    }

    /// Whether all bytes of `pfn` are zero.
    pub(super) fn is_zero<S: Dump>(
        &mut self,
        source: &mut S,
        pfn: Pfn,
        until: Pfn,
    ) -> Result<bool, ReadError> {
        let zero = self.page(source, pfn, until).map(is_zero);
        if source.window_broke() {
            return self.again(source, pfn).map(is_zero);
        }
        zero
    }
}

/// What became of a page, not yet part of the dump.
#[derive(Clone, Copy)]
pub(super) enum Encoded {
    Zero,
    Bytes { len: u32, flags: CodecFlags },
    Lost(ReadError),
}

/// See [`PageReader::make`]; `kept` is the length of what `room` has already.
fn make(
    page: &[u8],
    drop_zeros: bool,
    kept: Option<usize>,
    encoder: Option<&mut (dyn Encode + '_)>,
    room: &mut [u8],
) -> Encoded {
    if drop_zeros && is_zero(page) {
        return Encoded::Zero;
    }
    if let Some(encoder) = encoder
        && let Some(len) = kept.or_else(|| encoder.encode(page, room))
    {
        return Encoded::Bytes { len: len as u32, flags: encoder.codec().into() };
    }
    if let Some(to) = room.get_mut(..page.len()) {
        to.copy_from_slice(page);
    }
    Encoded::Bytes { len: page.len() as u32, flags: CodecFlags::empty() }
}

/// Bytes of descriptors that are held back from a stream: those of 128 pages. What a stream that is cut off
/// has of data behind its last descriptors is lost.
const STREAM_HOLDS: usize = 128 * page_desc::SIZE;

/// Writes the page data and descriptors of one dump file. Data goes out before the descriptors that
/// point at it.
///
/// Data goes out in whole [`BLOCK`]s from the start of the buffer: a sink that gets these at their
/// places may write them past the system's cache. A block that is begun stays in the buffer, and is
/// written again when it is full.
pub(super) struct PageWriter<'b> {
    data: &'b mut [u8],
    data_len: usize,
    /// Bytes at the start of `data` that the sink has, of a block that is not full.
    data_out: usize,
    /// File offset of the first byte in `data`.
    data_at: u64,
    descriptors: &'b mut [u8],
    descriptors_len: usize,
    /// Bytes of descriptors that may be held.
    descriptors_most: usize,
    /// File offset of the first descriptor in `descriptors`.
    descriptors_at: u64,
    /// End of the room for descriptors.
    descriptors_end: u64,
    /// End of the data whose descriptors are written.
    described: u64,
    /// What makes checksums, if pages have some.
    sums: Option<&'b Crc32>,
    /// The descriptor of all zero pages, but for its checksum, and the CRC of their data.
    zero: Option<(PageDesc, u32)>,
    /// Data and descriptors that a sync has not seen yet: bytes of the former, and the offset of
    /// the first of the latter with the pages that they are of.
    unsynced: u64,
    unsure_from: u64,
    unsure: u64,
    sync_every: u64,
    endian: Endian,
    /// Which of the files this is.
    pub(super) part: usize,
    /// Bytes handed to the sink.
    pub(super) written: u64,
    /// Pages whose descriptors the sink has.
    pub(super) saved: u64,
}

/// The CRC of stored bytes; 0 where pages have no checksums.
fn crc_of(sums: Option<&Crc32>, stored: &[u8]) -> u32 {
    sums.map_or(0, |sums| sums.update(0, stored))
}

/// Where the pages of a dump file go.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// File offset of the first descriptor of the file.
    pub(super) descriptors: u64,
    /// End of the room for descriptors.
    pub(super) descriptors_end: u64,
    /// File offset of the data, but for the page of zeros.
    pub(super) data: u64,
}

impl<'b> PageWriter<'b> {
    pub(super) fn new(
        data: &'b mut [u8],
        descriptors: &'b mut [u8],
        endian: Endian,
        sync_every: u64,
        sums: Option<&'b Crc32>,
    ) -> PageWriter<'b> {
        PageWriter {
            sums,
            sync_every,
            data,
            data_len: 0,
            data_out: 0,
            data_at: 0,
            descriptors,
            descriptors_len: 0,
            descriptors_most: 0,
            descriptors_at: 0,
            descriptors_end: 0,
            described: 0,
            zero: None,
            unsynced: 0,
            unsure_from: 0,
            unsure: 0,
            endian,
            part: 0,
            written: 0,
            saved: 0,
        }
    }

    /// Begins a file. With `zero_page` (a page of zeros), that page comes first, right behind the
    /// descriptors, and all zero pages share it.
    pub(super) fn begin(
        &mut self,
        part: usize,
        places: Places,
        zero_page: Option<usize>,
        sink: &mut dyn Sink,
    ) -> Result<(), CaptureError> {
        self.part = part;
        self.data_at = places.data;
        (self.data_len, self.data_out) = (0, 0);
        self.descriptors_at = places.descriptors;
        self.descriptors_len = 0;
        let room = self.descriptors.len();
        self.descriptors_most = if sink.can_rewrite() { room } else { room.min(STREAM_HOLDS) };
        self.descriptors_end = places.descriptors_end;
        self.described = places.data;
        (self.unsynced, self.unsure_from, self.unsure) = (0, places.descriptors, 0);
        self.zero = None;
        if let Some(size) = zero_page {
            let zeros = self.data.get_mut(..size).ok_or(CaptureError::OUTSIDE)?;
            zeros.fill(0);
            let crc = crc_of(self.sums, zeros);
            let wrote = sink.write_at(places.descriptors_end, zeros);
            self.count_data(wrote.map_or_else(|error| error.written, |()| size as u64));
            wrote.map_err(|error| self.data_failed(error, sink))?;
            let offset = places.descriptors_end;
            self.zero = Some((
                PageDesc { offset, size: size as u32, flags: CodecFlags::empty(), page_flags: 0 },
                crc,
            ));
        }
        Ok(())
    }

    /// Makes room for a page that takes up to `bound` bytes.
    pub(super) fn reserve(
        &mut self,
        bound: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), CaptureError> {
        if self.data.len() - self.data_len < bound {
            self.flush_data(false, sink)?;
        }
        if self.data.len() - self.data_len < bound {
            self.flush_data(true, sink)?;
            self.forget_data();
        }
        if self.descriptors_most.saturating_sub(self.descriptors_len) < page_desc::SIZE {
            self.flush(sink)?;
        }
        Ok(())
    }

    /// The room that [`PageWriter::reserve`] made, and whether pages of zeros share one. Nothing
    /// changes before [`PageWriter::commit`].
    pub(super) fn room(&mut self) -> (&mut [u8], bool) {
        let end = self.data.len();
        (part_mut(self.data, self.data_len..end), self.zero.is_some())
    }

    /// Makes a page part of the dump, whose data is in the room.
    pub(super) fn commit(&mut self, pfn: Pfn, made: Encoded) -> Result<(), CaptureError> {
        let (mut desc, crc) = match (made, self.zero) {
            (Encoded::Bytes { len, flags }, _) => {
                let offset = self.data_at + self.data_len as u64;
                let end = self.data_len + len as usize;
                let stored = self.data.get(self.data_len..end).ok_or(CaptureError::OUTSIDE)?;
                self.data_len = end;
                let desc = PageDesc { offset, size: len, flags, page_flags: 0 };
                (desc, crc_of(self.sums, stored))
            }
            (Encoded::Zero, Some(zero)) => zero,
            (Encoded::Zero, None) => return Err(CaptureError::Internal(Bug::NoZeroPage)),
            (Encoded::Lost(_), _) => return self.describe(PageDesc::LOST),
        };
        if let Some(sums) = self.sums {
            desc.page_flags = sums.page_flags(crc, pfn, desc.flags.bits());
        }
        self.describe(desc)
    }

    fn describe(&mut self, desc: PageDesc) -> Result<(), CaptureError> {
        // One more page than was counted would reach into the data.
        let end = self.descriptors_at + (self.descriptors_len + page_desc::SIZE) as u64;
        let slot = self
            .descriptors
            .get_mut(self.descriptors_len..self.descriptors_len + page_desc::SIZE)
            .filter(|_| end <= self.descriptors_end)
            .ok_or(CaptureError::InputChanged)?;
        slot.copy_from_slice(&desc.emit(self.endian));
        self.descriptors_len += page_desc::SIZE;
        Ok(())
    }

    /// Makes the first of `pages` part of the dump, where they can be looked at as they lie: those that are zero,
    /// or else, with `plain`, those that are not, as they are. Returns their number and whether they are zero;
    /// with 0, nothing happened.
    ///
    /// They are copied, although the sink could have them from where they lie: a system that is to
    /// write past its cache holds on to what it writes until that is done, and of a mapped file that
    /// may be more than the memory that the program is allowed (what `/proc/vmcore` maps it would
    /// not take at all).
    pub(super) fn bulk<S: Dump>(
        &mut self,
        source: &mut S,
        reader: &PageReader<'_>,
        pages: PfnSpan,
        plain: bool,
    ) -> Result<(u64, bool), CaptureError> {
        let nothing = Ok((0, false));
        if !plain && self.zero.is_none() {
            return nothing;
        }
        let size = reader.shift.bytes();
        let descriptors =
            self.descriptors_most.saturating_sub(self.descriptors_len) / page_desc::SIZE;
        let Some(bytes) = reader.lend(source, pages, descriptors) else { return nothing };
        let whole = bytes.chunks_exact(size);
        let zeros = match self.zero {
            Some(_) => whole.clone().take_while(|page| is_zero(page)).count(),
            None => 0,
        };
        let (count, made) = if zeros > 0 {
            (zeros, Encoded::Zero)
        } else if plain {
            let room = self.data.get_mut(self.data_len..).ok_or(CaptureError::OUTSIDE)?;
            let whole = whole.take(room.len() / size);
            let count = match self.zero {
                Some(_) => whole.take_while(|page| !is_zero(page)).count(),
                None => whole.len(),
            };
            let to = room.get_mut(..count * size).ok_or(CaptureError::OUTSIDE)?;
            to.copy_from_slice(bytes.get(..count * size).ok_or(CaptureError::OUTSIDE)?);
            (count, Encoded::Bytes { len: size as u32, flags: CodecFlags::empty() })
        } else {
            return nothing;
        };
        // A page that cannot be read looks like zeros: page by page it will show which one it is.
        if source.window_broke() {
            return nothing;
        }
        for number in 0..count as u64 {
            self.commit(Pfn(pages.start.0 + number), made)?;
        }
        Ok((count as u64, zeros > 0))
    }

    /// Makes the first of `pages`, which are known to be zeros, part of the dump, as many as there is room for. Returns
    /// their number; 0 if pages of zeros do not share one.
    pub(super) fn zeros(&mut self, pages: PfnSpan) -> Result<u64, CaptureError> {
        let room = self.descriptors_most.saturating_sub(self.descriptors_len) / page_desc::SIZE;
        let count = if self.zero.is_some() { pages.len().min(room as u64) } else { 0 };
        for number in 0..count {
            self.commit(Pfn(pages.start.0 + number), Encoded::Zero)?;
        }
        Ok(count)
    }

    /// Writes the data that is held, but for a block that is not full; with `whole`, that too.
    fn flush_data(&mut self, whole: bool, sink: &mut dyn Sink) -> Result<(), CaptureError> {
        let begun = self.begun(self.data_len);
        let end = if whole { self.data_len } else { self.data_len.saturating_sub(begun) };
        if end <= self.data_out {
            return Ok(());
        }
        // A block that was written in part is written whole, where that is allowed.
        let start = if sink.can_rewrite() { 0 } else { self.data_out };
        let bytes = self.data.get(start..end).ok_or(CaptureError::OUTSIDE)?;
        let wrote = sink.write_at(self.data_at + start as u64, bytes);
        let there = wrote.map_or_else(|error| start + error.written as usize, |()| end);
        self.count_data(there.saturating_sub(self.data_out) as u64);
        self.data_out = there.max(self.data_out);
        if let Err(error) = wrote {
            self.data_len = self.data_out;
            return Err(self.data_failed(error, sink));
        }
        let begun = self.begun(end);
        let done = if begun < end && sink.can_rewrite() { end - begun } else { end };
        self.data.copy_within(done..self.data_len, 0);
        self.data_at += done as u64;
        self.data_len -= done;
        self.data_out -= done;
        Ok(())
    }

    /// Bytes of a block that is not full, if this many bytes are held.
    fn begun(&self, held: usize) -> usize {
        ((self.data_at + held as u64) % BLOCK) as usize
    }

    /// Holds none of the data that the sink has: the rest of a block is written for itself.
    fn forget_data(&mut self) {
        self.data_at += self.data_len as u64;
        (self.data_len, self.data_out) = (0, 0);
    }

    fn count_data(&mut self, len: u64) {
        self.written += len;
        self.unsynced += len;
    }

    /// After data could not be written: what did reach the file is as good as ever.
    fn data_failed(&mut self, error: SinkError, sink: &mut dyn Sink) -> CaptureError {
        self.rescue(sink);
        CaptureError::Sink(FailedWrite::new(Step::Data, self.part, error))
    }

    /// Ends a file early: what is held goes out, as far as the sink still takes it, and then
    /// nothing is held any more. Errors do not matter: there is one already.
    pub(super) fn rescue(&mut self, sink: &mut dyn Sink) {
        let bytes = part(self.data, self.data_out..self.data_len);
        let written = match sink.write_at(self.data_at + self.data_out as u64, bytes) {
            Ok(()) => bytes.len() as u64,
            Err(error) => error.written,
        };
        self.count_data(written);
        self.data_at += self.data_out as u64 + written;
        (self.data_len, self.data_out) = (0, 0);
        // The descriptors of pages whose data is not there are empty.
        let held = part_mut(self.descriptors, 0..self.descriptors_len);
        for raw in held.chunks_exact_mut(page_desc::SIZE) {
            let there = PageDesc::parse(self.endian, raw)
                .is_some_and(|d| d.offset.saturating_add(d.size.into()) <= self.data_at);
            if !there {
                raw.fill(0);
            }
        }
        while self.descriptors_len > 0
            && self.sync(sink).and_then(|()| self.write_descriptors(sink)).is_err()
        {
            // A stream takes as many as there is room for. On a disk the data of the others may
            // have taken the room: they are given up.
            let from = self.descriptors_len / 2 / page_desc::SIZE * page_desc::SIZE;
            let (held, rest) = self.descriptors.split_at_mut(from);
            let ends = held.chunks_exact(page_desc::SIZE).filter_map(|raw| {
                PageDesc::parse(self.endian, raw).map(|d| d.offset.saturating_add(d.size.into()))
            });
            let end = ends.max().unwrap_or(0).max(self.described);
            if sink.can_rewrite() {
                // Some of them may have been written.
                let len = self.descriptors_len.saturating_sub(from);
                let gone = part_mut(rest, 0..len);
                gone.fill(0);
                let _ = sink.write_at(self.descriptors_at + from as u64, gone);
                if end < self.data_at {
                    sink.truncate(end);
                    self.data_at = end;
                }
            }
            self.descriptors_len = from;
        }
        let _ = self.sync(sink);
    }

    /// Writes what is held: data, then descriptors.
    pub(super) fn flush(&mut self, sink: &mut dyn Sink) -> Result<(), CaptureError> {
        self.flush_data(true, sink)?;
        if self.unsynced >= self.sync_every || sink.wants_sync() {
            self.sync(sink)?;
        }
        self.write_descriptors(sink)
    }

    /// Ends a file: all of it is on the medium then.
    pub(super) fn end(&mut self, sink: &mut dyn Sink) -> Result<(), CaptureError> {
        self.flush(sink)?;
        self.sync(sink)
    }

    fn write_descriptors(&mut self, sink: &mut dyn Sink) -> Result<(), CaptureError> {
        let held = self.descriptors.get(..self.descriptors_len).ok_or(CaptureError::OUTSIDE)?;
        if held.is_empty() {
            return Ok(());
        }
        let failed =
            |error| CaptureError::Sink(FailedWrite::new(Step::Descriptors, self.part, error));
        sink.write_at(self.descriptors_at, held).map_err(failed)?;
        let there = held.chunks_exact(page_desc::SIZE).filter(|raw| !is_zero(raw)).count() as u64;
        self.saved += there;
        self.unsure += there;
        self.written += held.len() as u64;
        self.descriptors_at += held.len() as u64;
        self.descriptors_len = 0;
        self.described = self.data_at + self.data_out as u64;
        Ok(())
    }

    /// Waits for the medium. If it does not take what it was given, it is not known which data it
    /// has: the descriptors of all that is in doubt become empty.
    fn sync(&mut self, sink: &mut dyn Sink) -> Result<(), CaptureError> {
        let synced = sink.sync();
        if synced.is_err() {
            self.descriptors_len = 0;
            let zeros = [0; 64 * page_desc::SIZE];
            let mut at = self.unsure_from;
            while at < self.descriptors_at {
                let len = (self.descriptors_at - at).min(zeros.len() as u64) as usize;
                let _ = sink.write_at(at, part(&zeros, 0..len));
                at += len as u64;
            }
            self.saved -= self.unsure;
        }
        (self.unsynced, self.unsure_from, self.unsure) = (0, self.descriptors_at, 0);
        let failed = |error| CaptureError::Sink(FailedWrite::new(Step::Data, self.part, error));
        synced.map_err(failed)
    }
}
