//! Pass A: the mem_map of a window, slice by slice.

use super::{Notice, Observer};
use crate::arch::Arch;
use crate::arch::paging::TableCache;
use crate::bitmap::Bitmap;
use crate::error::part_mut;
use crate::kernel::mem_map::{MemMap, RootCache, State};
use crate::kernel::memory::KernelMemory;
use crate::kernel::page::{Carry, Classifier};
use crate::memory::Dump;
use crate::storage::ManagedSlice;
use crate::tally::DropObserver;
use crate::units::{Pfn, PfnSpan, VirtAddr};

/// Clears the bits of pages that their `struct page` says are not needed.
pub struct Scanner<'m> {
    arch: Arch,
    tables: TableCache<'m>,
    roots: RootCache<'m>,
    mem_map: MemMap,
    classifier: Classifier,
    slice: ManagedSlice<'m, u8>,
    carry: Option<Carry>,
}

impl<'m> Scanner<'m> {
    /// `slice` takes `struct page`s: 16 at least.
    pub fn new(
        arch: Arch,
        tables: TableCache<'m>,
        roots: RootCache<'m>,
        mem_map: MemMap,
        classifier: Classifier,
        slice: impl Into<ManagedSlice<'m, u8>>,
    ) -> Scanner<'m> {
        Scanner { arch, tables, roots, mem_map, classifier, slice: slice.into(), carry: None }
    }

    /// Begins a new pass: a range left over from the last window is forgotten.
    pub fn rewind(&mut self) {
        self.carry = None;
    }

    /// Judges the pages of `map`, whose bits say which pages there are.
    ///
    /// Windows of a pass must come in ascending order: a range (a huge page, a free block) that
    /// runs over the end of one is remembered for the next.
    pub fn scan<S: Dump>(
        &mut self,
        source: &mut S,
        map: &mut Bitmap<'_>,
        tally: &mut impl DropObserver,
        observer: &mut dyn Observer,
    ) {
        if !self.classifier.is_needed() {
            return;
        }
        let window = map.span();
        let mut pfn = window.start;
        if let Some(carry) = self.carry.take()
            && carry.end > pfn
        {
            let span = PfnSpan::new(pfn, carry.end);
            let pages = map.clear_span(span);
            tally.dropped(carry.reason, span, pages);
            if carry.end > window.end {
                self.carry = Some(carry);
                return;
            }
            pfn = carry.end;
        }
        let mut memory = KernelMemory::new(source, self.arch, &mut self.tables);
        // From one page that is there to the next.
        while let Some(run) = map.next_run(pfn, 1) {
            let part = self.mem_map.run_at(run.start, &mut memory, &mut self.roots);
            let span = part.span.intersect(window);
            let left = match part.state {
                State::At(at) => {
                    let mut slices = Slices {
                        memory: &mut memory,
                        classifier: &self.classifier,
                        buffer: &mut self.slice,
                        part: part.span,
                        at,
                    };
                    let (next, carry) = slices.scan(span, map, tally, observer);
                    pfn = next;
                    carry
                }
                State::Absent => {
                    pfn = keep(span, map, tally, observer, Notice::NoSection);
                    None
                }
                State::Offline => {
                    pfn = keep(span, map, tally, observer, Notice::OfflineSection);
                    None
                }
                State::Unreadable => {
                    pfn = keep(span, map, tally, observer, Notice::MemMapUnreadable);
                    None
                }
            };
            if left.is_some() {
                self.carry = left;
                return;
            }
        }
    }
}

/// Counts pages that stay because nothing is known about them.
fn keep(
    span: PfnSpan,
    map: &mut Bitmap<'_>,
    tally: &mut impl DropObserver,
    observer: &mut dyn Observer,
    notice: fn(PfnSpan) -> Notice,
) -> Pfn {
    let pages = map.count_span(span);
    if pages > 0 {
        tally.undecided(span, pages);
        observer.notice(notice(span));
    }
    span.end
}

/// The `struct page`s of one part of the mem_map.
struct Slices<'a, 'b, 'c, S> {
    memory: &'a mut KernelMemory<'b, 'c, S>,
    classifier: &'a Classifier,
    buffer: &'a mut [u8],
    part: PfnSpan,
    at: VirtAddr,
}

impl<S: Dump> Slices<'_, '_, '_, S> {
    /// Judges the pages of `span`, which lies in the part.
    fn scan(
        &mut self,
        span: PfnSpan,
        map: &mut Bitmap<'_>,
        tally: &mut impl DropObserver,
        observer: &mut dyn Observer,
    ) -> (Pfn, Option<Carry>) {
        let size = self.classifier.page_struct();
        // A power of two, so that slices end at even pfns: the head of a compound page is never
        // the last of a slice, and has the page after it to be judged with.
        let batch = 1u64 << (self.buffer.len() / size).max(2).ilog2();
        let mut pfn = span.start;
        while pfn < span.end {
            // Pages that are not there need no look.
            pfn = match map.next_run(pfn, 1) {
                Some(run) if run.start < span.end => run.start,
                _ => return (span.end, None),
            };
            let stop = Pfn((pfn.0 / batch + 1) * batch).min(self.part.end);
            let until = stop.min(span.end);
            let (next, carry) = self.slice(pfn, stop, until, map, tally, observer);
            if carry.is_some() {
                return (next, carry);
            }
            pfn = next;
        }
        (pfn, None)
    }

    fn slice(
        &mut self,
        first: Pfn,
        stop: Pfn,
        until: Pfn,
        map: &mut Bitmap<'_>,
        tally: &mut impl DropObserver,
        observer: &mut dyn Observer,
    ) -> (Pfn, Option<Carry>) {
        let size = self.classifier.page_struct();
        let address = |pfn: Pfn| {
            VirtAddr(self.at.0.wrapping_add((pfn.0 - self.part.start.0).wrapping_mul(size as u64)))
        };
        let len = (stop.0 - first.0) as usize * size;
        let Some(buffer) = self.buffer.get_mut(..len) else {
            return (
                keep(PfnSpan::new(first, until), map, tally, observer, Notice::MemMapUnreadable),
                None,
            );
        };
        // In place where the source lends its bytes. A fault there turns bytes into zeros, and a
        // struct page of zeros is kept; one that lies in two pages could be half zeros, so those
        // are read.
        if 4096 % size == 0
            && let Some(bytes) = self.memory.window(address(first), len)
        {
            let done = self.classifier.scan(bytes, first, until, map, tally);
            if self.memory.source.window_broke() {
                let span = PfnSpan::new(first, until);
                keep(span, map, tally, observer, Notice::MemMapUnreadable);
            }
            return done;
        }
        if self.memory.read(address(first), buffer).is_ok() {
            return self.classifier.scan(buffer, first, until, map, tally);
        }
        // What can be read of it, two by two (see `batch`).
        let mut pfn = first;
        let mut bad: Option<PfnSpan> = None;
        while pfn < until {
            let end = Pfn((pfn.0 | 1) + 1).min(stop);
            let len = (end.0 - pfn.0) as usize * size;
            let piece = part_mut(buffer, 0..len);
            if self.memory.read(address(pfn), piece).is_err() {
                let from = bad.map_or(pfn, |b| b.start);
                pfn = end.min(until);
                bad = Some(PfnSpan::new(from, pfn));
                continue;
            }
            if let Some(span) = bad.take() {
                keep(span, map, tally, observer, Notice::MemMapUnreadable);
            }
            let (next, carry) = self.classifier.scan(piece, pfn, end.min(until), map, tally);
            if carry.is_some() {
                return (next, carry);
            }
            pfn = next;
        }
        if let Some(span) = bad {
            keep(span, map, tally, observer, Notice::MemMapUnreadable);
        }
        (pfn, None)
    }
}
