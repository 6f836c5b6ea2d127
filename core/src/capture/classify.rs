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
use crate::tally::{DropObserver, Tally};
use crate::units::{Pfn, PfnSpan, VirtAddr};

/// Where so many pages say that they are stray, and none that it is not, no more are asked.
const STRAYS: u32 = 4;
/// As many pages as a slice has that is read to find the first page that goes; a power of two.
const PROBED: u64 = 32;
/// Where no list tells anything, no more pages of a slice are looked at.
const LOOKED_AT: u64 = 8;

/// Clears the bits of pages that their `struct page` says are not needed.
pub struct Scanner<'m> {
    pub(super) arch: Arch,
    pub(super) tables: TableCache<'m>,
    pub(super) roots: RootCache<'m>,
    pub(super) mem_map: MemMap,
    pub(super) classifier: Classifier,
    pub(super) slice: ManagedSlice<'m, u8>,
    carry: Option<Block>,
    leaf: Leaf,
}

/// What one entry of the page tables maps, or several that make a slice, as far as it was looked at.
#[derive(Clone, Copy, Default)]
struct Leaf {
    from: u64,
    until: u64,
    trust: Trust,
}

/// Whether `struct page`s are those that they should be.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Trust {
    /// Not known yet: no page goes.
    #[default]
    Unknown,
    Sure,
    /// They are not: all their pages stay.
    Stray,
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
        let (slice, leaf) = (slice.into(), Leaf::default());
        Scanner { arch, tables, roots, mem_map, classifier, slice, carry: None, leaf }
    }

    /// Begins a new pass: a range left over from the last window is forgotten.
    pub fn rewind(&mut self) {
        self.carry = None;
        self.leaf = Leaf::default();
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
        self.scan_structs(source, map, tally, observer);
        #[cfg(feature = "free-lists")]
        if let Some(lists) = self.classifier.free_lists() {
            let mut memory = KernelMemory::new(source, self.arch, &mut self.tables);
            let is_first = map.span().start == Pfn(0);
            let mut kept = |span, order: Option<u64>| {
                observer.notice(
                    order.map_or(Notice::UnknownZones(span), |o| Notice::DamagedFreeList(span, o)),
                );
            };
            let (mem_map, roots) = (&self.mem_map, &mut self.roots);
            let done = lists.clear(&mut memory, mem_map, roots, map, tally, &mut kept);
            if let (Err(why), true) = (done, is_first) {
                observer.notice(Notice::NoZones(why));
            }
        }
    }

    fn scan_structs<S: Dump>(
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
                        leaf: &mut self.leaf,
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
    leaf: &'a mut Leaf,
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
        let held = self.buffer.len().checked_div(size).unwrap_or(0);
        let batch = 1u64 << held.max(2).ilog2();
        let mut pfn = span.start;
        while pfn < span.end {
            // Pages that are not there need no look.
            pfn = match map.next_run(pfn, 1) {
                Some(run) if run.start < span.end => run.start,
                _ => return (span.end, None),
            };
            let leaf_end = self.leaf_end(pfn, batch);
            if self.leaf.trust == Trust::Stray {
                let stray = PfnSpan::new(pfn, leaf_end).intersect(span);
                pfn = keep(stray, map, tally, observer, Notice::StrayStructs(stray));
                continue;
            }
            // What may have to be read again is little.
            let width = if self.leaf.trust == Trust::Unknown { batch.min(PROBED) } else { batch };
            let stop = Pfn((pfn.0 / width + 1) * width).min(leaf_end);
            let until = stop.min(span.end);
            let (next, block) = self.slice(pfn, stop, until, map, tally, observer);
            pfn = next;
            let Some(block) = block else { continue };
            if self.leaf.trust == Trust::Unknown {
                let stray = self.is_stray(pfn, leaf_end);
                self.leaf.trust = if stray == Some(true) { Trust::Stray } else { Trust::Sure };
                if stray.is_none() {
                    // Nothing tells: the next slice is asked again.
                    self.leaf.until = self.address(Pfn((pfn.0 / batch + 1) * batch)).0;
                }
                continue;
            }
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

    /// One past the last pfn of which the `struct page` lies in the same mapping as that of `pfn`, or in the same slice if
    /// that is more: to look at each of the smallest pages for itself would make the scan a fifth slower.
    #[inline(never)]
    fn leaf_end(&mut self, pfn: Pfn, batch: u64) -> Pfn {
        let size = self.classifier.page_struct() as u64;
        let (at, last) = (self.address(pfn).0, self.address(Pfn(pfn.0 + 1)).0.wrapping_sub(1));
        if last < self.leaf.from || last >= self.leaf.until {
            let least = batch.saturating_mul(size);
            let until = last.saturating_add(self.memory.mapped(VirtAddr(last)).max(least));
            *self.leaf = Leaf { from: at, until, trust: Trust::Unknown };
        }
        // Slices end at even pfns.
        let held = self.leaf.until.saturating_sub(at).checked_div(size).unwrap_or(0);
        let end = Pfn(pfn.0.saturating_add(held) & !1);
        if end > pfn { end.min(self.part.end) } else { self.part.end }
    }

    /// Whether the `struct page`s from that of `pfn` on, as far as one entry of the page tables maps them, are others
    /// than they should be: pages that go say so, by the lists that they are on, and none that it is not so;
    /// `None` if none says anything.
    #[inline(never)]
    fn is_stray(&mut self, pfn: Pfn, end: Pfn) -> Option<bool> {
        let size = self.classifier.page_struct();
        let end = end.min(Pfn(pfn.0.saturating_add(LOOKED_AT)));
        let (mut pfn, mut strays) = (pfn, 0);
        while pfn < end && strays < STRAYS {
            let at = self.address(pfn);
            let two = part_mut(self.buffer, 0..2 * size);
            if self.memory.read(at, two).is_err() {
                break;
            }
            let after = Pfn(pfn.0 + 1);
            let mut bit = [1];
            let mut map = Bitmap::over(&mut bit, PfnSpan::new(pfn, after));
            let unheard = &mut Tally::default();
            let (_, block) = self.classifier.scan(two, pfn, after, &mut map, unheard, false);
            pfn = block.map_or(after, |block| block.span.end);
            match block.and_then(|block| self.classifier.is_listed(two, at, block, self.memory)) {
                // The usual case: the first one is where it should be.
                Some(true) => return Some(false),
                Some(false) => strays += 1,
                None => {}
            }
        }
        (strays > 0).then_some(true)
    }

    /// Whether the pages of a block that are not checked yet are of it: a block that is shorter than its order says ends
    /// at a power of two.
    #[inline(never)]
    fn holds(&mut self, block: &Block) -> bool {
        let size = self.classifier.page_struct();
        let at = self.address(block.span.start);
        let three = part_mut(self.buffer, 0..3 * size);
        let Some((two, third)) = three.split_at_mut_checked(2 * size) else { return false };
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
        let (all, sure) = (PfnSpan::new(first, until), self.leaf.trust == Trust::Sure);
        // In place where the source lends its bytes. A fault there turns bytes into zeros, and a
        // struct page of zeros is kept; one that lies in two pages could be half zeros, so those
        // are read.
        if size.is_power_of_two()
            && size <= 4096
            && let Some(bytes) = self.memory.window(at, len)
        {
            let done = self.classifier.scan(bytes, first, until, map, tally, sure);
            if !self.memory.source.window_broke() {
                return done;
            }
            if sure && done.1.is_some() {
                keep(all, map, tally, observer, Notice::MemMapUnreadable(all));
                return done;
            }
            // What goes by now went by bytes that were there. The others are read.
        }
        let Some(buffer) = self.buffer.get_mut(..len) else {
            return (keep(all, map, tally, observer, Notice::MemMapUnreadable(all)), None);
        };
        if self.memory.read(at, buffer).is_ok() {
            return self.classifier.scan(buffer, first, until, map, tally, sure);
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
            let (next, block) = self.classifier.scan(piece, pfn, end.min(until), map, tally, sure);
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
