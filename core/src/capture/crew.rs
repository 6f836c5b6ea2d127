//! Several threads: workers read and compress pages, and one thread makes them part of the dump in
//! the order of their pfns. The bytes are the same for every number of threads.
//!
//! With the feature `std`, `capture::threads` makes the threads. Without it the engine makes none: a program that
//! has some lends them a lock in front of a [`Queue`], with two places to wait at ([`Crew`]); its threads run
//! [`work`], and the one that captures gets the crew with [`super::session::Session::write_with`]. The capturing
//! thread mostly waits for the disk, so there should be as many workers as processors. Where there is no
//! worker, it does their work. No thread spins.

use super::CaptureError;
use super::error::Bug;
use super::pages::{Encoded, PageFilter, PageReader};
use crate::bitmap::Bitmap;
use crate::error::part_mut;
use crate::memory::Dump;
use crate::units::{PageShift, Pfn, PfnSpan};
use page_codec::Encode;

/// Runs of pfns in a batch, at most.
const SPANS: usize = 32;

/// Bytes of pages in a batch where there is memory enough.
pub const BATCH: u64 = 64 << 10;

/// Batches for each thread: one that is worked on, one that is done, and one to be done next.
pub const BATCHES_PER_THREAD: u64 = 3;

/// Number of batches for this many workers and the capturing thread.
pub const fn batches(workers: u64) -> u64 {
    workers.saturating_add(1).saturating_mul(BATCHES_PER_THREAD)
}

/// What became of a page of a batch.
#[derive(Clone, Copy)]
pub struct EncodedPage(Encoded);

impl Default for EncodedPage {
    fn default() -> EncodedPage {
        EncodedPage(Encoded::Zero)
    }
}

/// Some pages, and what was made of them.
pub struct Batch<'m> {
    spans: [PfnSpan; SPANS],
    used: usize,
    pages: usize,
    most: usize,
    shift: PageShift,
    drop_zeros: bool,
    made: &'m mut [EncodedPage],
    data: &'m mut [u8],
}

impl<'m> Batch<'m> {
    /// Room for as many pages as `made` is long. `data` has a page for each, and what the encoder
    /// wants beyond a page ([`Encode::bound`]); with less, fewer pages are taken.
    pub fn new(made: &'m mut [EncodedPage], data: &'m mut [u8]) -> Batch<'m> {
        Batch {
            spans: [PfnSpan::default(); SPANS],
            used: 0,
            pages: 0,
            most: 0,
            shift: PageShift::FOUR_KIB,
            drop_zeros: false,
            made,
            data,
        }
    }

    /// Forgets its pages. With `drop_zeros`, pages of zeros will be distinguished from others.
    pub(super) fn clear(&mut self, shift: PageShift, bound: usize, drop_zeros: bool) {
        (self.used, self.pages, self.shift, self.drop_zeros) = (0, 0, shift, drop_zeros);
        let page = shift.bytes();
        let beyond = bound.saturating_sub(page);
        self.most = (self.data.len().saturating_sub(beyond) / page).min(self.made.len());
    }

    /// Adds pages from the start of `run` on. Returns their number: fewer than `run` has if there is
    /// no more room.
    fn add(&mut self, run: PfnSpan) -> u64 {
        let count = run.len().min((self.most - self.pages.min(self.most)) as u64);
        match self.spans.get_mut(self.used) {
            Some(slot) if count > 0 => {
                *slot = PfnSpan::new(run.start, Pfn(run.start.0 + count));
                self.used += 1;
                self.pages += count as usize;
                count
            }
            _ => 0,
        }
    }

    /// Adds pages whose bits are set, from `at` up to `until`; `at` moves on to behind them. Returns whether there
    /// are more than it had room for.
    pub(super) fn fill(&mut self, map: &Bitmap<'_>, at: &mut Pfn, until: Pfn) -> bool {
        // No more than a batch may hold: the rest of a long run need not be gone over for each.
        while let Some(run) = map.next_run(*at, 1024) {
            let run = PfnSpan::new(run.start, run.end.min(until));
            if run.is_empty() {
                return false;
            }
            *at = Pfn(run.start.0 + self.add(run));
            if *at < run.end {
                return true;
            }
        }
        false
    }

    /// Whether it has no page.
    pub(super) fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Reads and compresses its pages.
    pub(super) fn make<S: Dump>(
        &mut self,
        source: &mut S,
        reader: &mut PageReader<'_>,
        mut encoder: Option<&mut (dyn Encode + '_)>,
    ) {
        let (mut len, mut results) = (0, self.made.iter_mut());
        for span in self.spans.iter().take(self.used) {
            let mut pfn = span.start;
            while pfn < span.end {
                let end = self.data.len();
                let room = part_mut(self.data, len..end);
                let pfns = (pfn, span.end);
                let encoder = encoder.as_deref_mut();
                let done = reader.make(source, pfns, self.drop_zeros, encoder, room);
                if let Encoded::Bytes { len: more, .. } = done {
                    len += more as usize;
                }
                if let Some(result) = results.next() {
                    *result = EncodedPage(done);
                }
                pfn.0 += 1;
            }
        }
    }

    /// Gives `each` its pages in order: the pfn, what became of it, its data.
    pub(super) fn each(
        &self,
        mut each: impl FnMut(Pfn, Encoded, &[u8]) -> Result<(), CaptureError>,
    ) -> Result<(), CaptureError> {
        let (mut at, mut results) = (0, self.made.iter());
        for span in self.spans.iter().take(self.used) {
            let mut pfn = span.start;
            while pfn < span.end {
                let Some(&EncodedPage(made)) = results.next() else { return Ok(()) };
                let len = match made {
                    Encoded::Bytes { len, .. } => len as usize,
                    _ => 0,
                };
                each(pfn, made, self.data.get(at..at + len).ok_or(CaptureError::OUTSIDE)?)?;
                at += len;
                pfn.0 += 1;
            }
        }
        Ok(())
    }
}

/// A place for a batch in a [`Queue`].
#[derive(Default)]
pub struct Slot<'m> {
    batch: Option<&'m mut Batch<'m>>,
    done: bool,
}

/// The batches on their way, in a ring: those given out, oldest first, then those that are free.
pub struct Queue<'m> {
    slots: &'m mut [Slot<'m>],
    /// The oldest that is given out.
    head: usize,
    /// How many are given out, and how many of these somebody has taken up.
    out: usize,
    taken: usize,
    pub(super) stopped: bool,
    filter: Option<&'m dyn PageFilter>,
}

impl<'m> Queue<'m> {
    /// Of these batches, a slot for each.
    pub fn new(slots: &'m mut [Slot<'m>], batches: &'m mut [Batch<'m>]) -> Queue<'m> {
        for (slot, batch) in slots.iter_mut().zip(batches) {
            slot.batch = Some(batch);
        }
        Queue { slots, head: 0, out: 0, taken: 0, stopped: false, filter: None }
    }

    /// Lets the pages of every batch pass this filter: the one of the capture
    /// ([`super::session::Session::set_filter`]).
    pub fn set_filter(&mut self, filter: Option<&'m dyn PageFilter>) {
        self.filter = filter;
    }

    /// As new. No thread may be at work.
    pub fn reset(&mut self) {
        (self.head, self.out, self.taken, self.stopped) = (0, 0, 0, false);
        self.slots.iter_mut().for_each(|slot| slot.done = false);
    }

    fn slot(&mut self, number: usize) -> Option<&mut Slot<'m>> {
        let at = self.head.wrapping_add(number).checked_rem(self.slots.len())?;
        self.slots.get_mut(at)
    }

    /// A free batch, if there is one; it is to be put back.
    fn free(&mut self) -> Option<&'m mut Batch<'m>> {
        if self.out == self.slots.len() { None } else { self.slot(self.out)?.batch.take() }
    }

    /// Puts a batch back. With `give_out` there is work in it.
    fn put(&mut self, batch: &'m mut Batch<'m>, give_out: bool) {
        let out = self.out;
        if let Some(slot) = self.slot(out) {
            slot.batch = Some(batch);
            self.out += usize::from(give_out);
        }
    }

    /// The oldest batch that no thread has taken up, and its place.
    fn take(&mut self) -> Option<(usize, &'m mut Batch<'m>)> {
        if self.taken == self.out {
            return None;
        }
        let place = self.head.wrapping_add(self.taken).checked_rem(self.slots.len())?;
        let batch = self.slots.get_mut(place)?.batch.take()?;
        self.taken += 1;
        Some((place, batch))
    }

    /// Marks a batch as done. Returns whether finished batches should be collected now.
    fn done(&mut self, place: usize, batch: &'m mut Batch<'m>) -> bool {
        if let Some(slot) = self.slots.get_mut(place) {
            (slot.batch, slot.done) = (Some(batch), true);
        }
        // Not for each of them: the switch from thread to thread would cost more than it gives while
        // the next batch of every worker is there.
        let next = self.out - self.taken;
        next <= self.slots.len() / BATCHES_PER_THREAD as usize
            && self.slots.get(self.head).is_some_and(|oldest| oldest.done)
    }

    /// The oldest batch, if it is done: it is free then, and to be put back at once.
    fn oldest(&mut self) -> Option<&'m mut Batch<'m>> {
        let slot = self.slot(0).filter(|slot| slot.done)?;
        slot.done = false;
        let batch = slot.batch.take()?;
        self.head = self.head.wrapping_add(1).checked_rem(self.slots.len())?;
        (self.out, self.taken) = (self.out - 1, self.taken - 1);
        Some(batch)
    }

    /// Puts back what [`Queue::oldest`] gave.
    fn put_oldest_back(&mut self, batch: &'m mut Batch<'m>) {
        let last = self.slots.len().saturating_sub(1);
        if let Some(slot) = self.slot(last) {
            slot.batch = Some(batch);
        }
    }
}

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The thread that captures.
    Capture,
    /// One of those that run [`work`].
    Worker,
}

/// What to do after a look at the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// There is nothing to do: wait, then look again.
    Wait,
    /// Go on.
    Go,
    /// Go on, and wake one that waits on the other side.
    GoAndWake,
}

/// A lock in front of a queue, and two places to wait at.
pub trait Crew<'m> {
    /// Calls `look` with the queue locked, again and again until it says to go on. In between the
    /// lock is open and the thread sleeps, until another one on the other side wakes this `side`.
    fn wait(&self, side: Side, look: &mut dyn FnMut(&mut Queue<'m>) -> Next);
}

/// What a thread of the crew does until [`stop`].
///
/// `source` is its own way to the same memory, `encoder` of the same kind as everybody's, or `None` for
/// pages that are stored as they are; `run` takes pages that are read, one at least.
pub fn work<'m, S: Dump>(
    crew: &dyn Crew<'m>,
    source: &mut S,
    mut encoder: Option<&mut (dyn Encode + '_)>,
    run: &mut [u8],
) {
    loop {
        let (mut taken, mut filter) = (None, None);
        crew.wait(Side::Worker, &mut |queue| {
            if queue.stopped {
                return Next::Go;
            }
            (taken, filter) = (queue.take(), queue.filter);
            if taken.is_some() { Next::Go } else { Next::Wait }
        });
        let Some((place, batch)) = taken else { return };
        let mut reader = PageReader::new(&mut *run, batch.shift, filter);
        batch.make(source, &mut reader, encoder.as_deref_mut());
        finish(crew, Side::Worker, place, batch);
    }
}

/// Ends [`work`] in `workers` threads, each after the batch that it is at.
pub fn stop(crew: &dyn Crew<'_>, workers: usize) {
    // At least once, so that also those that do not wait hear of it.
    for _ in 0..workers.max(1) {
        crew.wait(Side::Capture, &mut |queue| {
            queue.stopped = true;
            Next::GoAndWake
        });
    }
}

fn finish<'m>(crew: &dyn Crew<'m>, side: Side, place: usize, batch: &'m mut Batch<'m>) {
    let mut batch = Some(batch);
    crew.wait(side, &mut |queue| match batch.take().map(|b| queue.done(place, b)) {
        Some(true) if side == Side::Worker => Next::GoAndWake,
        _ => Next::Go,
    });
}

/// The capturing thread's side.
pub(super) struct CrewHandle<'c, 'm>(&'c dyn Crew<'m>);

impl<'c, 'm> CrewHandle<'c, 'm> {
    /// Of a crew whose batches have room for a page at least; `None` if they have not, or if there is none.
    /// Its filter must be the one of the capture, so that no page goes past it.
    pub(super) fn new(
        crew: Option<&'c dyn Crew<'m>>,
        filter: Option<&dyn PageFilter>,
        shift: PageShift,
        bound: usize,
    ) -> Result<Option<CrewHandle<'c, 'm>>, CaptureError> {
        let Some(crew) = crew.map(CrewHandle) else { return Ok(None) };
        let address = |filter: &dyn PageFilter| core::ptr::from_ref(filter).cast::<()>();
        let mut same = false;
        crew.0.wait(Side::Capture, &mut |queue| {
            same = queue.filter.map(address) == filter.map(address);
            Next::Go
        });
        if !same {
            return Err(CaptureError::Internal(Bug::CrewWithoutFilter));
        }
        Ok(Some(crew).filter(|crew| crew.has_room(shift, bound)))
    }

    /// A free batch, if there is one.
    pub(super) fn free(&self) -> Option<&'m mut Batch<'m>> {
        let mut free = None;
        self.0.wait(Side::Capture, &mut |queue| {
            free = queue.free();
            Next::Go
        });
        free
    }

    /// Whether there are batches, with room for a page at least.
    fn has_room(&self, shift: PageShift, bound: usize) -> bool {
        let Some(batch) = self.free() else { return false };
        batch.clear(shift, bound, false);
        let room = batch.most > 0;
        self.put(batch);
        room
    }

    /// Puts a batch back, with work in it or without.
    pub(super) fn put(&self, batch: &'m mut Batch<'m>) {
        let mut batch = Some(batch);
        self.0.wait(Side::Capture, &mut |queue| match batch.take() {
            Some(batch) if batch.is_empty() => {
                queue.put(batch, false);
                Next::Go
            }
            Some(batch) => {
                queue.put(batch, true);
                Next::GoAndWake
            }
            None => Next::Go,
        });
    }

    /// The oldest batch, done, by this thread where no other has taken it up; `None` if there is none
    /// on its way. It is to be put back with [`CrewHandle::put_back`].
    pub(super) fn oldest<S: Dump>(
        &self,
        source: &mut S,
        reader: &mut PageReader<'_>,
        mut encoder: Option<&mut (dyn Encode + '_)>,
    ) -> Option<&'m mut Batch<'m>> {
        loop {
            let (mut oldest, mut taken) = (None, None);
            self.0.wait(Side::Capture, &mut |queue| {
                oldest = queue.oldest();
                if oldest.is_some() || queue.out == 0 {
                    return Next::Go;
                }
                // A worker takes up the oldest before all others.
                if queue.taken == 0 {
                    taken = queue.take();
                }
                if taken.is_some() { Next::Go } else { Next::Wait }
            });
            let Some((place, batch)) = taken else { return oldest };
            batch.make(source, reader, encoder.as_deref_mut());
            finish(self.0, Side::Capture, place, batch);
        }
    }

    /// After [`CrewHandle::oldest`].
    pub(super) fn put_back(&self, batch: &'m mut Batch<'m>) {
        let mut batch = Some(batch);
        self.0.wait(Side::Capture, &mut |queue| {
            if let Some(batch) = batch.take() {
                queue.put_oldest_back(batch);
            }
            Next::Go
        });
    }
}
