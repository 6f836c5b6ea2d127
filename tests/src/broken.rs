//! A vmcore of which parts cannot be read.

use std::ops::Range;

use tamis_core::io::{IoError, IoKind, RandomAccess};

/// How a read of a broken part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing is lent; reads fail with an I/O error.
    Error,
    /// Nothing is lent; reads fail as broken memory does.
    Poisoned,
    /// Windows are lent, but their bytes turn out to be zeros; reads fail.
    Fault,
    /// As [`Way::Fault`], but reads of the part alone work: the mapping was the trouble.
    FaultOnly,
}

/// A vmcore in memory with broken parts.
pub struct Broken<'v> {
    bytes: &'v [u8],
    parts: Vec<Range<u64>>,
    way: Way,
    scratch: Vec<u8>,
    broke: bool,
    /// Reads that failed.
    pub failed: u64,
}

impl<'v> Broken<'v> {
    /// `parts` are ranges of file offsets.
    pub fn new(bytes: &'v [u8], parts: Vec<Range<u64>>, way: Way) -> Broken<'v> {
        Broken { bytes, parts, way, scratch: Vec::new(), broke: false, failed: 0 }
    }

    fn hit(&self, at: u64, len: u64) -> bool {
        self.parts.iter().any(|part| part.start < at + len && at < part.end)
    }
}

impl RandomAccess for &mut Broken<'_> {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        if self.hit(at, buf.len() as u64) && self.way != Way::FaultOnly {
            self.failed += 1;
            let kind = if self.way == Way::Poisoned { IoKind::Poisoned } else { IoKind::Other };
            return Err(IoError { kind, code: 5 });
        }
        (&mut &*self.bytes).read_at(at, buf)
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        let there = self.bytes.get(at as usize..(at as usize).checked_add(len)?)?;
        if !self.hit(at, len as u64) {
            return matches!(self.way, Way::Fault | Way::FaultOnly).then_some(there);
        }
        if matches!(self.way, Way::Error | Way::Poisoned) {
            return None;
        }
        // As the handler of a bus error does it: the page of the fault becomes zeros.
        self.broke = true;
        self.scratch.clear();
        self.scratch.extend_from_slice(there);
        let parts = self.parts.clone();
        for part in parts {
            let from = part.start.clamp(at, at + len as u64) - at;
            let until = part.end.clamp(at, at + len as u64) - at;
            self.scratch[from as usize..until as usize].fill(0);
        }
        Some(&self.scratch)
    }

    fn window_broke(&mut self) -> bool {
        std::mem::take(&mut self.broke)
    }
}
