//! Which pages a dump holds.

use crate::dump::opened::KdumpFile;
use crate::dump::opened::Opened;
use crate::fail::{Fail, Result};
use tamis_core::bitmap::Bitmap;
use tamis_core::error::part;
use tamis_core::memory::Dump as _;
use tamis_core::units::{Pfn, PfnSpan};

/// Where a dump has pages, as its memory ranges say; a kdump-compressed one may lack some of them.
pub struct Held {
    /// Apart from each other, in order.
    spans: Vec<PfnSpan>,
}

impl Held {
    /// Of a dump.
    pub fn of(opened: &Opened) -> Held {
        let held = opened.held().map(|(range, held)| opened.shift.touched(range.phys, held));
        Held { spans: joined(held.filter(|span| !span.is_empty()).collect()) }
    }

    /// The first pfn at `from` or later that the dump may hold.
    pub fn next(&self, from: Pfn) -> Option<Pfn> {
        spans_from(&self.spans, from).next().map(|span| span.start.max(from))
    }

    /// The bits of the pages that the dump, which is the same one, holds.
    pub fn bits<'b>(&self, opened: &mut Opened, window: PfnSpan, bits: &'b mut [u8]) -> Bitmap<'b> {
        let mut map = Bitmap::clear(bits, window);
        let spans = spans_from(&self.spans, window.start);
        spans.take_while(|span| span.start < window.end).for_each(|span| map.set(*span));
        opened.dump.keep_held(&mut map);
        map
    }
}

/// Of spans in order, those that end behind `from`.
pub fn spans_from(spans: &[PfnSpan], from: Pfn) -> impl Iterator<Item = &PfnSpan> {
    let first = spans.partition_point(|span| span.end <= from);
    part(spans, first..spans.len()).iter()
}

/// The same pfns in order; spans that overlap or touch are one.
pub fn joined(mut spans: Vec<PfnSpan>) -> Vec<PfnSpan> {
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    spans.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    spans
}

/// Runs of pfns whose bit is set in one of the bitmaps, in order. A run may come in pieces.
pub struct Runs {
    stored: bool,
    bits: Vec<u8>,
    window: PfnSpan,
    at: Pfn,
}

impl Runs {
    /// Of bitmap 2 if `stored`, else of bitmap 1.
    pub fn new(stored: bool) -> Runs {
        Runs { stored, bits: vec![0; 32 << 10], window: PfnSpan::default(), at: Pfn(0) }
    }

    /// The next run.
    pub fn next(&mut self, kdump: &mut KdumpFile) -> Result<Option<PfnSpan>> {
        let max = kdump.facts().max_pfn;
        loop {
            if self.at >= max {
                return Ok(None);
            }
            if self.at >= self.window.end {
                let end = Pfn((self.at.0 + 8 * self.bits.len() as u64).min(max.0));
                self.window = PfnSpan::new(self.at, end);
                kdump.bits(self.stored, self.at, &mut self.bits).map_err(|e| {
                    Fail::new(format_args!("reading the bitmap at pfn {}: {e}", self.at))
                })?;
            }
            let map = Bitmap::over(&mut self.bits, self.window);
            match map.next_run(self.at, u64::MAX) {
                Some(run) => {
                    self.at = run.end;
                    return Ok(Some(run));
                }
                None => self.at = self.window.end,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> PfnSpan {
        PfnSpan::new(Pfn(start), Pfn(end))
    }

    #[test]
    fn spans_that_overlap_or_touch_are_one() {
        let spans = joined(vec![span(9, 12), span(1, 3), span(3, 4), span(10, 11), span(20, 21)]);
        assert_eq!(spans, [span(1, 4), span(9, 12), span(20, 21)]);
        for from in 0..25 {
            let want: Vec<_> = spans.iter().filter(|span| span.end.0 > from).collect();
            assert_eq!(spans_from(&spans, Pfn(from)).collect::<Vec<_>>(), want, "{from}");
        }
    }
}
