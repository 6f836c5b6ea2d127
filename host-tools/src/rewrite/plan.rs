//! `--memory-limit`: how much memory a run takes, worked out before it begins.

use crate::crew::{RUN, batch_pages};
use crate::dump::file::BlockFile;
use crate::dump::opened;
use crate::dump::opened::{Dump, Opened};
use crate::fail::{Fail, Result};
use crate::render::text::size;
use crate::rewrite::codec::Compress;
use tamis_core::capture::crew::BATCHES_PER_THREAD;
use tamis_core::memory::Ranges as _;
use tamis_core::wire::page_desc;

/// The program itself, its libraries and stack, and what is small.
const BASE: u64 = 5 << 20;
/// A thread's stack as far as it is used, and what its allocator keeps.
const THREAD: u64 = 256 << 10;
/// Decoders of all codecs.
const DECODERS: u64 = 256 << 10;
/// Bytes of the bits of pages at a time, least and most: for 512 MiB and for 1 TiB of memory.
const BITS_LEAST: u64 = 16 << 10;
const BITS_MOST: u64 = 32 << 20;
/// Page data and descriptors on their way to the output.
pub const DATA: usize = 1 << 20;
/// Bytes of descriptors that are written in one go.
pub const DESCRIPTORS: usize = page_desc::SIZE * 4096;
/// Without `--memory-limit`.
pub const DEFAULT: u64 = 256 << 20;

/// What a run may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Threads beside the first, which does their work where there are none.
    pub workers: usize,
    /// Bytes of the bits of pages.
    pub bits: usize,
    /// All of it.
    pub total: u64,
}

/// What is known about a run.
#[derive(Clone, Copy)]
pub struct Needs {
    fixed: u64,
    thread: u64,
    bits: u64,
}

impl Needs {
    /// For writing `opened` anew.
    pub fn of(opened: &Opened, compress: Compress) -> Needs {
        let page = opened.shift.bytes() as u64;
        let files = opened.files.len() as u64;
        let rank = match &opened.dump {
            Dump::Kdump(kdump) => 8 * kdump.facts().rank_storage() as u64,
            Dump::Elf(_) => 0,
        };
        let segments = opened.dump.ranges().len() as u64;
        let segment = size_of::<tamis_core::memory::MemoryRange>() as u64;
        let pieces = opened.image.map_or(0, |image| 48 * image.pieces as u64);
        let tables = rank + segments * segment + pieces;
        // Of a flattened stream: each record, and where it begins and ends.
        let records: u64 = opened.files.iter().filter_map(|f| f.stream).map(|s| s.0 as u64).sum();
        let batches = BATCHES_PER_THREAD * (batch_pages(page as usize) as u64 + 1) * (page + 64);
        let codec = compress.state() + DECODERS + 3 * page;
        let own = batches + RUN.max(page as usize) as u64 + codec;
        Needs {
            // Twice the tables: what was written is looked at, too.
            fixed: BASE
                + 2 * tables
                + 64 * records
                + (files + 1) * BlockFile::MOST
                + 2 * opened::PAGES_KEPT as u64
                + (DATA + DESCRIPTORS) as u64
                + own,
            thread: THREAD + files * BlockFile::REOPENED_MOST + own,
            bits: opened.max_pfn.0.div_ceil(8).next_power_of_two().clamp(1024, BITS_MOST),
        }
    }

    /// The least that will do.
    pub fn least(&self) -> u64 {
        self.fixed + self.bits.min(BITS_LEAST)
    }

    /// As many workers as threads are wanted and fit, but no single one; what is left is for the bits
    /// of pages.
    pub fn fit(&self, limit: u64, threads: usize) -> Option<Plan> {
        let left = limit.checked_sub(self.least())?;
        let fit = (left / self.thread).min(threads as u64);
        let workers = if fit > 1 { fit } else { 0 };
        let left = left - workers * self.thread + self.bits.min(BITS_LEAST);
        // A power of two, so that windows begin where blocks of memory do.
        let room = if left.is_power_of_two() { left } else { left.next_power_of_two() / 2 };
        let bits = room.min(self.bits);
        let total = self.fixed + workers * self.thread + bits;
        Some(Plan { workers: workers as usize, bits: bits as usize, total })
    }

    /// The same, or why not.
    pub fn plan(&self, limit: u64, threads: usize) -> Result<Plan> {
        self.fit(limit, threads).ok_or_else(|| {
            let mib = self.least().div_ceil(1 << 20);
            Fail::new(format_args!("a memory limit of {} is not enough", size(limit)))
                .next(format_args!("this dump takes --memory-limit {mib}M at least"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_stay_within_the_limit_and_use_it() {
        let needs = Needs { fixed: 10 << 20, thread: 1 << 20, bits: 1 << 20 };
        assert_eq!(needs.least(), (10 << 20) + BITS_LEAST);
        assert_eq!(needs.fit(needs.least() - 1, 4), None);
        assert_eq!(needs.fit(needs.least(), 4).unwrap().workers, 0);
        assert_eq!(needs.fit(40 << 20, 1).unwrap().workers, 0);
        for limit in (needs.least()..40 << 20).step_by(123_456) {
            let plan = needs.fit(limit, 8).unwrap();
            assert!(plan.total <= limit, "{limit}: {plan:?}");
            assert!(plan.workers == 8 || limit - plan.total < 3 << 20, "{limit}: {plan:?}");
        }
        let plan = needs.fit(40 << 20, 8).unwrap();
        assert_eq!(plan, Plan { workers: 8, bits: 1 << 20, total: 19 << 20 });
    }
}
