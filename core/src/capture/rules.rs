//! Pages that rules keep or drop, window by window.
//!
//! What stays is taken out of the window before its classes are looked at, and put back behind: whatever class a page
//! is of, and whatever block it is in, it stays. What goes is taken out for good.

use super::classify::Scanner;
use crate::bitmap::Bitmap;
use crate::kernel::mem_map::State;
use crate::kernel::memory::KernelMemory;
use crate::kernel::rules::{Of, Owner, PageRules};
use crate::memory::Dump;
use crate::tally::{DropObserver, Reason};
use crate::units::{Pfn, PfnSpan, VirtAddr};

/// What rules say of pages, and room for the bits of those of a window that stay.
pub(super) struct View<'v> {
    keep: &'v [PfnSpan],
    drop: &'v [PfnSpan],
    owners: &'v [Owner],
    slab_cache: Option<usize>,
    kept: &'v mut [u8],
}

/// Calls `each` with the part of every run that is in the window.
fn inside(runs: &[PfnSpan], window: PfnSpan, each: &mut dyn FnMut(PfnSpan)) {
    let first = runs.partition_point(|run| run.end <= window.start);
    let some = runs.iter().skip(first).take_while(|run| run.start < window.end);
    some.for_each(|run| each(run.intersect(window)));
}

/// Moves the bits of `span` from one to the other.
fn move_bits(from: &mut Bitmap<'_>, to: &mut Bitmap<'_>, span: PfnSpan) {
    let mut pfn = span.start;
    while let Some(run) = from.next_run(pfn, u64::MAX).filter(|run| run.start < span.end) {
        let run = run.intersect(span);
        to.set(run);
        from.clear_span(run);
        pfn = run.end;
    }
}

impl<'v> View<'v> {
    pub(super) fn of(rules: &'v mut PageRules<'_>) -> View<'v> {
        View {
            keep: rules.keep.all(),
            drop: rules.drop.all(),
            owners: &rules.owners,
            slab_cache: rules.slab_cache.and_then(|at| usize::try_from(at).ok()),
            kept: rules.kept,
        }
    }

    /// Takes out of the window what stays, and what goes.
    pub(super) fn before<S: Dump>(
        &mut self,
        scanner: Option<&mut Scanner<'_>>,
        source: &mut S,
        map: &mut Bitmap<'_>,
        tally: &mut dyn DropObserver,
    ) {
        let window = map.span();
        let mut kept = Bitmap::clear(self.kept, window);
        inside(self.keep, window, &mut |run| move_bits(map, &mut kept, run));
        if let Some(scanner) = scanner.filter(|_| !self.owners.is_empty()) {
            let (owners, slab_cache) = (self.owners, self.slab_cache);
            scanner.owned(source, map, slab_cache, &mut |map, slab, at, pages| {
                let of = if slab { Of::Slab } else { Of::Cache };
                let mut mine = owners.iter().filter(|owner| owner.of == of && owner.at == at);
                let Some(first) = mine.next() else { return };
                if first.keep || mine.any(|owner| owner.keep) {
                    move_bits(map, &mut kept, pages);
                } else {
                    let gone = map.clear_span(pages);
                    tally.dropped(Reason::Rule, pages, gone);
                }
            });
        }
        inside(self.drop, window, &mut |run| {
            let gone = map.clear_span(run);
            tally.dropped(Reason::Rule, run, gone);
        });
    }

    /// Puts back what stays.
    pub(super) fn after(&mut self, map: &mut Bitmap<'_>) {
        let window = map.span();
        move_bits(&mut Bitmap::over(self.kept, window), map, window);
    }
}

/// Hears of pages that belong to something: whether it is a slab cache, and its address.
type Owned<'o> = &'o mut dyn FnMut(&mut Bitmap<'_>, bool, u64, PfnSpan);

impl Scanner<'_> {
    /// Looks at the `struct page`s of a window for what their pages belong to. Those that cannot be read belong to
    /// nothing.
    fn owned<S: Dump>(
        &mut self,
        source: &mut S,
        map: &mut Bitmap<'_>,
        slab_cache: Option<usize>,
        each: Owned<'_>,
    ) {
        let (window, size) = (map.span(), self.classifier.page_struct());
        // A power of two, so that the first of a block has the one behind it beside it.
        let batch = 1u64 << (self.slice.len() / size).max(2).ilog2();
        let mut memory = KernelMemory::new(source, self.arch, &mut self.tables);
        let mut pfn = window.start;
        while let Some(run) = map.next_run(pfn, 1) {
            let part = self.mem_map.run_at(run.start, &mut memory, &mut self.roots);
            let span = part.span.intersect(window);
            let State::At(base) = part.state else {
                pfn = span.end.max(Pfn(run.start.0 + 1));
                continue;
            };
            pfn = run.start;
            let stop = Pfn((pfn.0 / batch + 1) * batch).min(part.span.end);
            let place = (pfn.0 - part.span.start.0).wrapping_mul(size as u64);
            let len = (stop.0 - pfn.0) as usize * size;
            let Some(slice) = self.slice.get_mut(..len) else { return };
            let at = VirtAddr(base.0.wrapping_add(place));
            let readable = memory.read(at, slice).is_ok();
            let (first, end) = (pfn, stop.min(span.end));
            while readable && pfn < end {
                let at = (pfn.0 - first.0) as usize * size;
                let Some(page) = slice.get(at..at + size) else { break };
                let next = slice.get(at + size..at + 2 * size);
                let belongs = self.classifier.belongs(page, next, pfn, slab_cache);
                let pages = belongs.map_or(1, |belongs| belongs.pages);
                let block = PfnSpan { start: pfn, end: Pfn(pfn.0.saturating_add(pages)) };
                if let Some(belongs) = belongs {
                    each(map, belongs.slab, belongs.at, block.intersect(window));
                }
                pfn = block.end;
            }
            pfn = pfn.max(end);
        }
    }
}
