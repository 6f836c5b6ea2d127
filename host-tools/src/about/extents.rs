//! Where page data lies in the files of a dump.

use std::collections::BTreeSet;
use tamis_core::units::Pfn;
use tamis_core::wire::page_desc::PageDesc;

/// Runs of data that are remembered. Every known writer puts data in the order of pages: one run.
const RUNS_MOST: usize = 1 << 20;

/// Where page data lies in the files of a dump, as far as descriptors say.
#[derive(Default)]
pub(super) struct Extents {
    pub(super) runs: Vec<Run>,
    /// Pages of zeros that do not follow what comes before them: one that many share, most likely.
    pub(super) zeros: BTreeSet<(usize, u64)>,
    pub(super) overflow: bool,
}

/// Data of pages that follow each other in the file, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) part: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    /// The first page.
    pub(super) pfn: Pfn,
}

impl Extents {
    /// Adds the next page.
    pub(super) fn add(&mut self, pfn: Pfn, desc: PageDesc, part: usize, zero: bool) {
        let (start, end) = (desc.offset, desc.offset.saturating_add(desc.size.into()));
        match self.runs.last_mut() {
            Some(last) if (last.part, last.end) == (part, start) => last.end = end,
            _ if zero => {
                self.zeros.insert((part, start));
            }
            _ => self.push(Run { part, start, end, pfn }),
        }
    }

    fn push(&mut self, run: Run) {
        if self.runs.len() < RUNS_MOST {
            self.runs.push(run);
        } else {
            self.overflow = true;
        }
    }

    /// Adds those of the pages that come next.
    pub(super) fn append(&mut self, next: Extents) {
        for run in next.runs {
            match self.runs.last_mut() {
                Some(last) if (last.part, last.end) == (run.part, run.start) => last.end = run.end,
                _ => self.push(run),
            }
        }
        self.zeros.extend(next.zeros);
        self.overflow |= next.overflow;
    }
}
