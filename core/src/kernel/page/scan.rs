//! The loop over the `struct page`s of a window.

use super::classifier::Classifier;
use super::fields::{Any, Fields, Le64};
use super::rules::Verdict;
use crate::bitmap::Bitmap;
use crate::endian::{Endian, Word};
use crate::tally::{DropObserver, Reason};
use crate::units::{Pfn, PfnSpan};

/// A range that is dropped and goes on past what was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carry {
    /// One past its last pfn.
    pub end: Pfn,
    /// Why it is dropped.
    pub reason: Reason,
}

impl Classifier {
    /// Classifies the pages from `first` up to `until` whose `struct page`s are in `slice` (which
    /// may hold more, so that the last is seen with the one after it) and clears the bits of those
    /// that are dropped.
    ///
    /// Pages whose bit is clear already are not looked at. Returns the first pfn that is not
    /// decided yet, which is past `until` where a range runs over it, and the rest of a range that
    /// runs over the end of `map`.
    pub fn scan(
        &self,
        slice: &[u8],
        first: Pfn,
        until: Pfn,
        map: &mut Bitmap<'_>,
        tally: &mut dyn DropObserver,
    ) -> (Pfn, Option<Carry>) {
        match (self.layout.endian, self.layout.word, self.layout.size) {
            // The usual layout with its constants inlined.
            (Endian::Little, Word::Bits64, 64) => {
                self.scan_sized(&Le64, slice, 64, first, until, map, tally)
            }
            (endian, word, size) => {
                self.scan_sized(&Any { endian, word }, slice, size, first, until, map, tally)
            }
        }
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "inlined into `scan`, twice")]
    fn scan_sized<R: Fields>(
        &self,
        read: &R,
        slice: &[u8],
        size: usize,
        first: Pfn,
        until: Pfn,
        map: &mut Bitmap<'_>,
        tally: &mut dyn DropObserver,
    ) -> (Pfn, Option<Carry>) {
        let mut pfn = first;
        while pfn < until {
            // Runs of set bits up to `until`: pages that do not exist are passed over.
            let rest = until.0 - pfn.0;
            let Some(run) = map.next_run(pfn, rest).filter(|run| run.start < until) else {
                return (until, None);
            };
            pfn = run.start;
            let end = run.end.min(until);
            while pfn < end {
                let at = (pfn.0 - first.0) as usize * size;
                let Some(page) = slice.get(at..at + size) else { return (until, None) };
                let next = slice.get(at + size..at + 2 * size);
                match self.classify_with(read, page, next, pfn) {
                    Verdict::Keep => pfn.0 += 1,
                    Verdict::Drop(reason, pages) => {
                        let stop = Pfn(pfn.0.saturating_add(pages));
                        let span = PfnSpan::new(pfn, stop);
                        let gone = map.clear_span(span);
                        tally.dropped(reason, span, gone);
                        pfn = stop;
                        if stop > map.span().end {
                            return (stop, Some(Carry { end: stop, reason }));
                        }
                    }
                }
            }
        }
        (pfn, None)
    }
}
