//! Pass A: the mem_map of a window, slice by slice.

use super::{Notice, Observer};
use crate::arch::Arch;
use crate::arch::paging::TableCache;
use crate::bitmap::Bitmap;
use crate::error::part_mut;
use crate::kernel::mem_map::{MemMap, RootCache, State};
use crate::kernel::memory::KernelMemory;
use crate::kernel::page::{Block, Classifier};
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
    carry: Option<Block>,
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
            && carry.span.end > pfn
        {
            let end = carry.span.end;
            let span = PfnSpan::new(pfn, end);
            let pages = map.clear_span(span);
            tally.dropped(carry.reason, span, pages);
            if end > window.end {
                self.carry = Some(carry);
                return;
            }
            pfn = end;
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
                other => {
                    let notice = match other {
                        State::Offline => Notice::OfflineSection(span),
                        State::Damaged(number, doubt) => {
                            Notice::DamagedSection(span, number, doubt)
                        }
                        State::Unreadable => Notice::MemMapUnreadable(span),
                        State::Absent | State::At(_) => Notice::NoSection(span),
                    };
                    pfn = keep(span, map, tally, observer, notice);
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
    notice: Notice,
) -> Pfn {
    let pages = map.count_span(span);
    if pages > 0 {
        tally.undecided(span, pages);
        observer.notice(notice);
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
    ) -> (Pfn, Option<Block>) {
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
            let (next, block) = self.slice(pfn, stop, until, map, tally, observer);
            pfn = next;
            let Some(block) = block else { continue };
            if block.is_done() {
                return (pfn, Some(block));
            }
            if block.checked > 0 && self.holds(&block) {
                pfn = block.span.end;
                if block.clear(map, tally) {
                    return (pfn, Some(block));
                }
                continue;
            }
            pfn.0 += 1;
            tally.undecided(PfnSpan::new(next, pfn), 1);
            observer.notice(Notice::DoubtfulBlock(block.span));
        }
        (pfn, None)
    }

    #[inline(never)]
    fn address(&self, pfn: Pfn) -> VirtAddr {
        let size = self.classifier.page_struct() as u64;
        VirtAddr(self.at.0.wrapping_add((pfn.0 - self.part.start.0).wrapping_mul(size)))
    }

    /// Whether the pages of a block that are not checked yet are of it: a block that is shorter than its order says ends
    /// at a power of two.
    #[inline(never)]
    fn holds(&mut self, block: &Block) -> bool {
        let size = self.classifier.page_struct();
        let at = self.address(block.span.start);
        let (two, third) = part_mut(self.buffer, 0..3 * size).split_at_mut(2 * size);
        if self.memory.read(at, two).is_err() {
            return false;
        }
        let mut index = block.checked.next_power_of_two();
        // The largest huge pages have several sections: no other block is as long as one.
        while index < block.span.len() && block.span.start.0 + index < self.part.end.0 {
            let at = VirtAddr(at.0.wrapping_add(index.wrapping_mul(size as u64)));
            // What cannot be read contradicts nothing.
            if self.memory.read(at, third).is_ok()
                && !self.classifier.is_part(block.reason, two, third)
            {
                return false;
            }
            index *= 2;
        }
        true
    }

    fn slice(
        &mut self,
        first: Pfn,
        stop: Pfn,
        until: Pfn,
        map: &mut Bitmap<'_>,
        tally: &mut impl DropObserver,
        observer: &mut dyn Observer,
    ) -> (Pfn, Option<Block>) {
        let size = self.classifier.page_struct();
        let at = self.address(first);
        let len = (stop.0 - first.0) as usize * size;
        let all = PfnSpan::new(first, until);
        // In place where the source lends its bytes. A fault there turns bytes into zeros, and a
        // struct page of zeros is kept; one that lies in two pages could be half zeros, so those
        // are read.
        if 4096 % size == 0
            && let Some(bytes) = self.memory.window(at, len)
        {
            let done = self.classifier.scan(bytes, first, until, map, tally);
            if self.memory.source.window_broke() {
                keep(all, map, tally, observer, Notice::MemMapUnreadable(all));
            }
            return done;
        }
        let Some(buffer) = self.buffer.get_mut(..len) else {
            return (keep(all, map, tally, observer, Notice::MemMapUnreadable(all)), None);
        };
        if self.memory.read(at, buffer).is_ok() {
            return self.classifier.scan(buffer, first, until, map, tally);
        }
        // What can be read of it, two by two (see `batch`).
        let mut pfn = first;
        let mut bad: Option<PfnSpan> = None;
        while pfn < until {
            let end = Pfn((pfn.0 | 1) + 1).min(stop);
            let len = (end.0 - pfn.0) as usize * size;
            let at = self.address(pfn);
            let piece = part_mut(self.buffer, 0..len);
            if self.memory.read(at, piece).is_err() {
                let from = bad.map_or(pfn, |b| b.start);
                pfn = end.min(until);
                bad = Some(PfnSpan::new(from, pfn));
                continue;
            }
            if let Some(span) = bad.take() {
                keep(span, map, tally, observer, Notice::MemMapUnreadable(span));
            }
            let (next, block) = self.classifier.scan(piece, pfn, end.min(until), map, tally);
            pfn = next;
            if block.is_some() {
                return (pfn, block);
            }
        }
        if let Some(span) = bad {
            keep(span, map, tally, observer, Notice::MemMapUnreadable(span));
        }
        (pfn, None)
    }
}
