//! The loop over the `struct page`s of a window.

use super::classifier::Classifier;
use super::fields::{Any, Fields, Le64};
use super::rules::Verdict;
use crate::bitmap::Bitmap;
use crate::endian::{Endian, Word};
use crate::tally::{DropObserver, Reason};
use crate::units::{Pfn, PfnSpan};

/// A block of pages: its first page says that all of them go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Its pfns.
    pub span: PfnSpan,
    /// Why they go.
    pub reason: Reason,
    /// Pages from its first one on that are of it, as far as their `struct page`s tell: all of them, or those in the
    /// slice; none if one of these says that it is not.
    pub checked: u64,
}

impl Classifier {
    /// Classifies the pages from `first` up to `until` whose `struct page`s are in `slice` (which
    /// may hold more, so that the last is seen with the one after it) and clears the bits of those
    /// that are dropped.
    ///
    /// Pages whose bit is clear already are not looked at. Returns the first pfn that is not
    /// decided yet, which is past `until` where a range runs over it; and a block that ends the scan: its
    /// bits are cleared and it runs over the end of `map`, or it is not decided what becomes of it. Where it is not
    /// `sure` that these are `struct page`s, nothing is decided about the first block that goes for another reason than
    /// hwpoison, of which no list can tell.
    pub fn scan(
        &self,
        slice: &[u8],
        first: Pfn,
        until: Pfn,
        map: &mut Bitmap<'_>,
        tally: &mut dyn DropObserver,
        sure: bool,
    ) -> (Pfn, Option<Block>) {
        match (self.layout.endian, self.layout.word, self.layout.size) {
            // The usual layout with its constants inlined.
            (Endian::Little, Word::Bits64, 64) => {
                self.scan_sized(&Le64, slice, 64, first, until, map, tally, sure)
            }
            (endian, word, size) => {
                self.scan_sized(&Any { endian, word }, slice, size, first, until, map, tally, sure)
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
        sure: bool,
    ) -> (Pfn, Option<Block>) {
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
                        let span = PfnSpan::new(pfn, Pfn(pfn.0.saturating_add(pages)));
                        let mut block = Block { span, reason, checked: 1 };
                        if pages > 1 || reason == Reason::Free || !sure {
                            if !sure && reason != Reason::HwPoison {
                                return (pfn, Some(block));
                            }
                            self.check(slice.get(at..).unwrap_or(&[]), &mut block);
                            if !block.is_done() {
                                return (pfn, Some(block));
                            }
                        }
                        pfn = span.end;
                        if block.clear(map, tally) {
                            return (pfn, Some(block));
                        }
                    }
                }
            }
        }
        (pfn, None)
    }
}

impl Block {
    /// Whether all its pages are of it.
    pub fn is_done(&self) -> bool {
        self.checked >= self.span.len()
    }

    /// Clears its bits. Returns whether it runs over the end of `map`.
    pub fn clear(&self, map: &mut Bitmap<'_>, tally: &mut dyn DropObserver) -> bool {
        let gone = map.clear_span(self.span);
        tally.dropped(self.reason, self.span, gone);
        self.span.end > map.span().end
    }
}
