//! Gaps of a file: what lies in them is zeros, and need not be gone through.

use crate::dump::bits::joined;
use crate::dump::input::Raw;
use crate::dump::opened::{Dump, Opened};
use tamis_core::units::{PfnSpan, PhysAddr};

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
