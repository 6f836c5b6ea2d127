//! Bits of a window of pfns over borrowed bytes, in the dump's own order: the `n`th pfn is bit `n & 7` of
//! byte `n >> 3`, least significant first, so that the bytes go to the file as they are.

use crate::error::part_mut;
use crate::units::{Pfn, PfnSpan};

/// The bits of one window.
pub struct Bitmap<'b> {
    bytes: &'b mut [u8],
    span: PfnSpan,
}

impl<'b> Bitmap<'b> {
    /// Cleared bits for `span`, cut where `bytes` end.
    pub fn clear(bytes: &'b mut [u8], span: PfnSpan) -> Bitmap<'b> {
        let map = Bitmap::over(bytes, span);
        map.bytes.fill(0);
        map
    }

    /// Bits as they stand in `bytes`.
    pub fn over(bytes: &'b mut [u8], span: PfnSpan) -> Bitmap<'b> {
        let room = (bytes.len() as u64).saturating_mul(8);
        let end = Pfn(span.end.0.min(span.start.0.saturating_add(room)));
        let span = PfnSpan::new(span.start, end);
        let len = span.len().div_ceil(8) as usize;
        Bitmap { bytes: part_mut(bytes, 0..len), span }
    }

    /// The pfns it is about.
    pub fn span(&self) -> PfnSpan {
        self.span
    }

    /// The bytes of it, for the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Whether the bit of `pfn` is set; pfns outside are not.
    pub fn get(&self, pfn: Pfn) -> bool {
        if !self.span.contains(pfn) {
            return false;
        }
        let at = pfn.0 - self.span.start.0;
        self.bytes.get((at >> 3) as usize).is_some_and(|byte| byte >> (at & 7) & 1 != 0)
    }

    /// Sets the bits of `span`, as far as they are in the window.
    pub fn set(&mut self, span: PfnSpan) {
        self.over_bytes(span, |byte, mask| {
            *byte |= mask;
            0
        });
    }

    /// Clears the bits of `span`, as far as they are in the window; gives the number that were
    /// set.
    pub fn clear_span(&mut self, span: PfnSpan) -> u64 {
        self.over_bytes(span, |byte, mask| {
            let was = (*byte & mask).count_ones();
            *byte &= !mask;
            was.into()
        })
    }

    /// Number of set bits in `span`, as far as it is in the window.
    pub fn count_span(&mut self, span: PfnSpan) -> u64 {
        self.over_bytes(span, |byte, mask| (*byte & mask).count_ones().into())
    }

    /// Clears the bits that `other` has not; `other` begins at byte `at` of this window, and bits
    /// past its end stay.
    pub fn retain(&mut self, at: usize, other: &[u8]) {
        for (mine, theirs) in self.bytes.iter_mut().skip(at).zip(other) {
            *mine &= theirs;
        }
    }

    /// Number of set bits.
    pub fn count(&self) -> u64 {
        count_ones(self.bytes)
    }

    /// The first set bit at `from` or later, and how many more follow it directly, `limit` at
    /// most (and at least one).
    pub fn next_run(&self, from: Pfn, limit: u64) -> Option<PfnSpan> {
        let start = self.next(from, self.span.end, true)?;
        let stop = Pfn(start.0.saturating_add(limit.max(1)).min(self.span.end.0));
        Some(PfnSpan::new(start, self.next(start, stop, false).unwrap_or(stop)))
    }

    /// The first pfn at `from` or later, but before `until` (which is in the window, or its end),
    /// whose bit is `value`. No further is looked.
    fn next(&self, from: Pfn, until: Pfn, value: bool) -> Option<Pfn> {
        let mut at = from.max(self.span.start).0 - self.span.start.0;
        let end = until.0.saturating_sub(self.span.start.0);
        let flip = if value { 0 } else { 0xff };
        while at < end {
            // By words where a whole word is there, by bytes at the end.
            let rest = self.bytes.get((at >> 3) as usize..)?;
            let (raw, width) = match rest.first_chunk::<8>() {
                Some(word) => (u64::from_le_bytes(*word) ^ u64::from_le_bytes([flip; 8]), 64),
                None => (u64::from(*rest.first()? ^ flip), 8),
            };
            let left = raw >> (at & 7);
            if left != 0 {
                let pfn = Pfn(self.span.start.0 + at + u64::from(left.trailing_zeros()));
                return (pfn < until).then_some(pfn);
            }
            at += width - (at & 7);
        }
        None
    }

    /// Gives `change` each byte that `span` touches, with a mask of the touched bits; sums what it
    /// returns.
    fn over_bytes(&mut self, span: PfnSpan, mut change: impl FnMut(&mut u8, u8) -> u64) -> u64 {
        let span = span.intersect(self.span);
        if span.is_empty() {
            return 0;
        }
        let (first, last) = (span.start.0 - self.span.start.0, span.end.0 - 1 - self.span.start.0);
        let (head, tail) = (0xffu8 << (first & 7), 0xffu8 >> (7 - (last & 7)));
        let range = (first >> 3) as usize..=(last >> 3) as usize;
        // `over` made sure that the bytes of the span are there.
        match self.bytes.get_mut(range).unwrap_or(&mut []) {
            [] => {
                debug_assert!(false, "a span outside of its bits");
                0
            }
            [only] => change(only, head & tail),
            [start, middle @ .., end] => {
                change(start, head)
                    + middle.iter_mut().map(|byte| change(byte, 0xff)).sum::<u64>()
                    + change(end, tail)
            }
        }
    }
}

/// Set bits of `bytes`.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().map(|w| u64::from(u64::from_le_bytes(*w).count_ones())).sum::<u64>()
        + rest.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    fn span(start: u64, end: u64) -> PfnSpan {
        PfnSpan::new(Pfn(start), Pfn(end))
    }

    #[test]
    fn every_span_sets_and_clears_exactly_its_bits() {
        // A window may begin at any pfn.
        for window in [span(64, 64 + 37), span(63, 63 + 38)] {
            for (start, end) in
                (60..105).flat_map(|start| (start..106).map(move |end| (start, end)))
            {
                let mut bytes = [0; 5];
                let mut map = Bitmap::clear(&mut bytes, window);
                map.set(span(start, end));
                let want: Vec<u64> = (start..end).filter(|&p| window.contains(Pfn(p))).collect();
                let got: Vec<u64> = (0..200).filter(|&p| map.get(Pfn(p))).collect();
                assert_eq!(got, want);
                assert_eq!(map.count(), want.len() as u64);
                assert_eq!(map.clear_span(span(start, end)), want.len() as u64);
                assert_eq!(map.clear_span(span(start, end)), 0);
                assert_eq!(map.count(), 0);
            }
        }
    }

    #[test]
    fn runs_are_found_over_bytes_and_words() {
        let mut bytes = vec![0; 64];
        let mut map = Bitmap::clear(&mut bytes, span(8, 8 + 500));
        for s in [span(9, 10), span(15, 30), span(70, 300), span(505, 508)] {
            map.set(s);
        }
        let mut runs = Vec::new();
        let mut at = Pfn(0);
        while let Some(run) = map.next_run(at, 100) {
            runs.push((run.start.0, run.end.0));
            at = run.end;
        }
        assert_eq!(runs, [(9, 10), (15, 30), (70, 170), (170, 270), (270, 300), (505, 508)]);
    }

    #[test]
    fn the_first_pfn_is_the_low_bit_of_the_first_byte() {
        let mut bytes = [0; 2];
        let mut map = Bitmap::clear(&mut bytes, span(16, 32));
        map.set(span(16, 17));
        map.set(span(25, 26));
        assert_eq!(map.bytes(), [1, 2]);
    }

    #[test]
    fn a_window_is_cut_where_its_bytes_end() {
        let mut bytes = [0xff; 4];
        let map = Bitmap::clear(&mut bytes, span(3, 1000));
        assert_eq!(map.span(), span(3, 35));
        assert!(map.next_run(Pfn(0), 10).is_none());
        assert!(map.next_run(Pfn(u64::MAX), 10).is_none());
    }
}
