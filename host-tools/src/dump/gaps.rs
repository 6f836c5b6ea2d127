//! Gaps of a file: what lies in them is zeros, and need not be gone through.

use crate::dump::bits::{joined, spans_from};
use crate::dump::input::Raw;
use crate::dump::opened::{Dump, Opened};
use tamis_core::input::image::Place;
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};

/// Smaller gaps are read with what lies around them.
const GAP_LEAST: u64 = 1 << 20;

/// Memory that lies in the file as it is, in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in memory.
    pub phys: PhysAddr,
    /// Bytes.
    pub len: u64,
}

/// The memory of a vmcore without what lies in gaps of its file, range by range. Of another dump, and of a stream,
/// only the ranges are known.
pub fn extents(opened: &Opened) -> Vec<Extent> {
    if !opened.pieces.is_empty() {
        return of_image(opened);
    }
    let plain = opened.files.first().filter(|file| file.stream.is_none());
    let raw = plain.filter(|_| opened.image.is_none()).map(|file| &file.raw);
    let offsets = opened.offsets.iter().copied().map(Some).chain(std::iter::repeat(None));
    let mut found = Vec::new();
    for ((range, held), offset) in opened.held().zip(offsets) {
        match raw.zip(offset) {
            Some((raw, offset)) => in_file(raw, offset, held, |from, len| {
                found.push(Extent { phys: PhysAddr(range.phys.0 + (from - offset)), len });
            }),
            None if held > 0 => found.push(Extent { phys: range.phys, len: held }),
            None => {}
        }
    }
    found
}

/// As [`extents`], of an image, whose memory may lie in several files.
fn of_image(opened: &Opened) -> Vec<Extent> {
    let mut found = Vec::new();
    for piece in &opened.pieces {
        let phys = PhysAddr(piece.phys);
        match piece.place {
            Place::At { file, offset } => {
                let Some(file) = opened.files.get(file as usize) else { continue };
                in_file(&file.raw, offset, piece.len, |from, len| {
                    found.push(Extent { phys: PhysAddr(phys.0 + (from - offset)), len });
                });
            }
            Place::Packed { .. } => found.push(Extent { phys, len: piece.len }),
            Place::LeftOut => {}
        }
    }
    found
}

/// Calls `each` with the data among `len` bytes of a file.
fn in_file(raw: &Raw, offset: u64, len: u64, mut each: impl FnMut(u64, u64)) {
    let end = offset.saturating_add(len);
    let mut from = raw.next_data(offset).min(end);
    while from < end {
        let mut until = raw.next_gap(from).min(end);
        let mut next = raw.next_data(until).min(end);
        while until < end && next < end && next - until < GAP_LEAST {
            until = raw.next_gap(next).min(end);
            next = raw.next_data(until).min(end);
        }
        each(from, until - from);
        from = next;
    }
}

/// The pages that may hold anything but zeros; `None` if all may.
pub fn pages(opened: &Opened) -> Option<Vec<PfnSpan>> {
    let shift = opened.shift;
    let vmcore = matches!(opened.dump, Dump::Elf(_));
    let touched = |extent: Extent| shift.touched(extent.phys, extent.len);
    vmcore.then(|| joined(extents(opened).into_iter().map(touched).collect()))
}

/// Whether pages lie in none of the spans that have data, which are in order.
pub fn is_gap(data: &[PfnSpan], pages: PfnSpan) -> bool {
    spans_from(data, pages.start).next().is_none_or(|span| pages.end <= span.start)
}

/// The pages that the dump holds, and that are zeros as they lie in gaps.
pub fn zeros(opened: &Opened) -> Vec<PfnSpan> {
    let Some(data) = pages(opened) else { return Vec::new() };
    let shift = opened.shift;
    let page = shift.bytes() as u64;
    let whole = opened.held().map(|(range, held)| {
        let end = range.phys.0.saturating_add(held) / page;
        PfnSpan::new(Pfn(range.phys.0.div_ceil(page)), Pfn(end))
    });
    let held = joined(whole.filter(|span| !span.is_empty()).collect());
    held.into_iter().flat_map(|span| without(span, &data)).collect()
}

/// What `data`, which is in order, leaves of a span.
fn without(span: PfnSpan, data: &[PfnSpan]) -> impl Iterator<Item = PfnSpan> {
    let mut from = span.start;
    let end = PfnSpan::new(span.end, span.end);
    let within = spans_from(data, span.start).take_while(move |data| data.start < span.end);
    let left = within.copied().chain([end]).map(move |data| {
        let left = PfnSpan::new(from, data.start);
        from = data.end;
        left
    });
    left.filter(|left| !left.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_data_leaves() {
        let span = |start, end| PfnSpan::new(Pfn(start), Pfn(end));
        let data = [span(0, 2), span(5, 7), span(9, 12), span(20, 21)];
        let left = |start, end| without(span(start, end), &data).collect::<Vec<_>>();
        assert_eq!(left(0, 30), [span(2, 5), span(7, 9), span(12, 20), span(21, 30)]);
        assert_eq!(left(1, 10), [span(2, 5), span(7, 9)]);
        assert_eq!(left(6, 7), []);
        assert_eq!(left(13, 15), [span(13, 15)]);
    }
}
