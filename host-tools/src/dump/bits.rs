//! Which pages a dump holds.

use crate::dump::opened::KdumpFile;
use crate::dump::opened::Opened;
use crate::fail::{Fail, Result};
use tamis_core::bitmap::Bitmap;
use tamis_core::memory::Dump as _;
use tamis_core::units::{Pfn, PfnSpan};

/// The pfns of the memory ranges that the dump holds (of a kdump dump: may hold).
fn spans(opened: &Opened) -> impl Iterator<Item = PfnSpan> {
    opened.held().map(|(range, held)| opened.shift.touched(range.phys, held))
}

/// The first pfn at `from` or later that the dump may hold.
pub fn next_stored(opened: &Opened, from: Pfn) -> Option<Pfn> {
    spans(opened).filter(|s| s.end > from && !s.is_empty()).map(|s| s.start.max(from)).min()
}

/// The bits of the pages that a dump holds.
pub fn stored<'b>(opened: &mut Opened, window: PfnSpan, bits: &'b mut [u8]) -> Bitmap<'b> {
    let mut map = Bitmap::clear(bits, window);
    spans(opened).for_each(|span| map.set(span));
    opened.dump.keep_held(&mut map);
    map
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
