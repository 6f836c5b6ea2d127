//! The memory plan: every byte has an owner before the first write.
//!
//! Pure arithmetic. The caller takes the storage that the plan names, once, and hands each part to
//! its owner. `core/docs/memory.md` has the table with its reasons.

use crate::arch::paging::TableCache;
#[cfg(feature = "write")]
use crate::capture::crew::{self, BATCH, Batch, EncodedPage, Slot};
use crate::input::elf::Place;
use crate::io::BLOCK;
use crate::memory::MemoryRange;
use core::fmt;

/// Bytes of the program's stack that a look at the kernel's own symbols and types takes
/// (`kernel::symbols`), before anything is written.
const KERNEL_TABLES: u64 = if cfg!(feature = "symbols") { 36 << 10 } else { 0 };

/// Memory limit where none is given: 4 MiB.
pub const DEFAULT_LIMIT: u64 = 4 << 20;

/// Bitmap buffer where none is given: 1 MiB, enough for 32 GiB of 4 KiB pages at a time.
const BITMAP: u64 = 1 << 20;
/// Pages that a thread reads at a time.
#[cfg(feature = "write")]
const WORKER_RUN: u64 = 64 << 10;
/// Smallest bitmap buffer.
const BITMAP_LEAST: u64 = 1 << 10;

/// What a run needs to know to plan its memory.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Bytes of a page.
    pub page_size: u64,
    /// Bytes of a `struct page`; 0 where unknown.
    pub page_struct: u64,
    /// One past the last pfn.
    pub max_pfn: u64,
    /// Memory ranges of the input.
    pub segments: u64,
    /// Bytes of the VMCOREINFO text in the input.
    pub vmcoreinfo: u64,
    /// Bytes of a VMCOREINFO file beside the input.
    pub info_file: u64,
    /// Bytes that rules take beside a bit of each page of a window; 0 without rules.
    pub rules: u64,
    /// Bytes that the page codec keeps.
    pub codec: u64,
    /// Bytes of output room that the codec wants for a page.
    pub codec_bound: u64,
    /// Bytes that the program has whatever it does: its stack and static data.
    pub program: u64,
    /// Bitmap buffer asked for, in bytes.
    pub bitmap: Option<u64>,
    /// Whether the whole bitmap must be in memory at once.
    pub whole: bool,
    /// Threads that compress. From two on, the one that captures is not among them.
    pub threads: u64,
    /// Bytes of stack for each thread but the one that captures.
    pub thread_stack: u64,
}

/// Who gets how much, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The bits of one window, bitmap 1 and bitmap 2 in turn.
    pub bitmap: u64,
    /// `struct page`s at a time.
    pub mem_map: u64,
    /// Page tables at hand, one a level.
    pub tables: u64,
    /// One block of memory sections.
    pub sections: u64,
    /// Pages read at a time.
    pub run: u64,
    /// Page data before it is written.
    pub data: u64,
    /// Page descriptors before they are written.
    pub descriptors: u64,
    /// Memory ranges of the input.
    pub segments: u64,
    /// VMCOREINFO text of the input.
    pub vmcoreinfo: u64,
    /// VMCOREINFO file.
    pub info_file: u64,
    /// Rules, the pages that they reach, and bits of a window.
    pub rules: u64,
    /// State of the page codec.
    pub codec: u64,
    /// Stack and static data.
    pub program: u64,
    /// Threads beside the one that captures.
    pub workers: u64,
    /// Their stacks.
    pub worker_stacks: u64,
    /// Pages that they read at a time.
    pub worker_runs: u64,
    /// State of their codecs.
    pub worker_codecs: u64,
    /// Pages of a batch.
    pub batch_pages: u64,
    /// All batches: pages compressed, not yet in their order.
    pub batches: u64,
}

/// A limit that cannot be met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverBudget {
    /// The limit, in bytes.
    pub limit: u64,
    /// The least limit that works for the same request, in bytes.
    pub least: u64,
    /// Threads for which the limit is enough, if fewer would do.
    pub threads: u64,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes of memory are not enough for this run: it needs at least {} bytes",
            self.limit, self.least
        )?;
        match self.threads {
            0 => Ok(()),
            1 => f.write_str("; it is enough for one thread"),
            threads => write!(f, "; it is enough for {threads} threads"),
        }
    }
}

impl core::error::Error for OverBudget {}

/// Each step halves the I/O buffers; the last has them at their least.
const STEPS: u32 = 6;

/// What rules take with a bitmap buffer.
fn rules(needs: &Needs, bitmap: u64) -> u64 {
    if needs.rules > 0 { needs.rules.saturating_add(bitmap) } else { 0 }
}

fn shift_of(step: u32) -> u32 {
    if step == STEPS { u32::MAX } else { step }
}

impl Plan {
    /// The best plan within `limit` bytes: buffers shrink before anything is refused, the bitmap
    /// buffer last. A bitmap buffer that was asked for is not shrunk.
    ///
    /// Threads get what is left over, so that the other buffers, and the pieces in which a stream
    /// is written, are the same for every number of threads; only where that is too little, the
    /// buffers give way.
    pub fn fit(limit: u64, needs: &Needs) -> Result<Plan, OverBudget> {
        let over = |threads| OverBudget { limit, least: Plan::least(needs), threads };
        let alone = Plan::fit_alone(limit, needs).ok_or(over(0))?;
        for step in 0..=STEPS {
            let plan = alone.with_workers(needs, step);
            if plan.total() <= limit {
                return Ok(plan);
            }
        }
        let crew = alone.with_workers(needs, STEPS);
        let rest = limit.saturating_sub(crew.total() - alone.total());
        if let Some(less) = Plan::fit_alone(rest, needs) {
            return Ok(less.with_workers(needs, STEPS));
        }
        let (mut some, mut too_many) = (1, needs.threads);
        while too_many - some > 1 {
            let middle = some + (too_many - some) / 2;
            let fits = Plan::least(&Needs { threads: middle, ..*needs }) <= limit;
            (some, too_many) = if fits { (middle, too_many) } else { (some, middle) };
        }
        Err(over(some))
    }

    /// The best plan without any other thread.
    fn fit_alone(limit: u64, needs: &Needs) -> Option<Plan> {
        let whole = needs.max_pfn.div_ceil(8).max(1);
        for step in 0..=STEPS {
            let plan = Plan::with(needs, shift_of(step), 0);
            // Rules have as many bits beside it.
            let share = if needs.rules > 0 { 2 } else { 1 };
            let room = limit.saturating_sub(plan.total()) / share;
            let asked = Plan::asked(needs);
            let bitmap = match asked {
                Some(bitmap) => bitmap,
                None => {
                    let useful = whole.checked_next_power_of_two().unwrap_or(BITMAP);
                    let most = useful.clamp(BITMAP_LEAST, BITMAP);
                    let fits = 1u64.checked_shl(room.max(1).ilog2()).unwrap_or(0);
                    // Rather smaller I/O buffers than a bitmap of a few pages.
                    let least = if step < STEPS { most.min(64 << 10) } else { BITMAP_LEAST };
                    most.min(fits).max(least)
                }
            };
            if bitmap <= room {
                return Some(Plan { bitmap, rules: rules(needs, bitmap), ..plan });
            }
        }
        None
    }

    /// The least limit that works, in bytes.
    pub fn least(needs: &Needs) -> u64 {
        let bitmap = Plan::asked(needs).unwrap_or(BITMAP_LEAST);
        Plan::with(needs, u32::MAX, bitmap).with_workers(needs, STEPS).total()
    }

    /// Nothing is written: there are no other threads.
    #[cfg(not(feature = "write"))]
    fn with_workers(&self, _: &Needs, _: u32) -> Plan {
        *self
    }

    /// The plan with the other threads' part, at `full >> step`.
    #[cfg(feature = "write")]
    #[inline(never)] // not hot; one copy keeps the code small
    fn with_workers(&self, needs: &Needs, step: u32) -> Plan {
        let workers = needs.threads;
        if workers <= 1 {
            return *self;
        }
        let page = needs.page_size.max(1);
        let shrunk = |full: u64| full.checked_shr(shift_of(step)).unwrap_or(0);
        let batch_pages = (shrunk(BATCH) / page).max(1);
        let beyond = needs.codec_bound.saturating_sub(page);
        let batch = batch_pages
            .saturating_mul(page + size_of::<EncodedPage>() as u64)
            .saturating_add(beyond + (size_of::<Slot<'_>>() + size_of::<Batch<'_>>()) as u64);
        let count = crew::batches(workers);
        Plan {
            workers,
            worker_stacks: workers.saturating_mul(needs.thread_stack),
            worker_runs: workers.saturating_mul(shrunk(WORKER_RUN).max(page)),
            worker_codecs: workers.saturating_mul(needs.codec),
            batch_pages,
            // What aligning the tables in front of the data may cost.
            batches: count.saturating_mul(batch.saturating_add(8)),
            ..*self
        }
    }

    /// The bitmap buffer that was asked for, but no more than the machine has bits for.
    #[inline(never)]
    fn asked(needs: &Needs) -> Option<u64> {
        let whole = needs.max_pfn.div_ceil(8).max(1);
        let whole = whole.checked_next_multiple_of(1024).unwrap_or(whole);
        if needs.whole { Some(whole) } else { needs.bitmap.map(|b| b.max(BITMAP_LEAST).min(whole)) }
    }

    /// The plan with I/O buffers at `full >> step`, but no smaller than what works.
    #[inline(never)]
    fn with(needs: &Needs, step: u32, bitmap: u64) -> Plan {
        let page = needs.page_size;
        let shrunk = |full: u64, least: u64| (full.checked_shr(step).unwrap_or(0)).max(least);
        let page_struct = if needs.page_struct == 0 { 64 } else { needs.page_struct };
        Plan {
            bitmap,
            mem_map: shrunk(512 * page_struct, 16 * page_struct),
            tables: TableCache::STORAGE as u64,
            sections: page,
            run: shrunk((256 << 10u64).max(page), page),
            // A block that is begun, and a page beside it; in whole blocks.
            data: shrunk((512 << 10u64).max(page), page.max(needs.codec_bound) + (BLOCK - 1))
                .next_multiple_of(BLOCK),
            descriptors: shrunk(96 << 10, 24 * 32),
            segments: needs
                .segments
                .saturating_mul((size_of::<MemoryRange>() + size_of::<Place>()) as u64),
            vmcoreinfo: needs.vmcoreinfo,
            info_file: needs.info_file,
            rules: rules(needs, bitmap),
            codec: needs.codec,
            program: needs.program,
            workers: 0,
            worker_stacks: 0,
            worker_runs: 0,
            worker_codecs: 0,
            batch_pages: 0,
            batches: 0,
        }
    }

    /// The plan as a printable table. What a look at the kernel's own symbols and types takes is on the stack.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let alone = [
            ("bitmap window", self.bitmap),
            ("struct pages", self.mem_map),
            ("page tables", self.tables),
            ("memory sections", self.sections),
            ("page reads", self.run),
            ("page data", self.data),
            ("page descriptors", self.descriptors),
            ("memory ranges", self.segments),
            ("VMCOREINFO", self.vmcoreinfo),
            ("VMCOREINFO file", self.info_file),
            ("page codec", self.codec),
            #[cfg(feature = "symbols")]
            ("kernel's symbols, types", KERNEL_TABLES),
            ("stack and static data", self.program.saturating_sub(KERNEL_TABLES)),
        ];
        let more = [
            ("rules", self.rules),
            ("threads' stacks", self.worker_stacks),
            ("threads' page reads", self.worker_runs),
            ("threads' page codecs", self.worker_codecs),
            ("batches of pages", self.batches),
        ];
        alone.into_iter().chain(more.into_iter().filter(|(_, bytes)| *bytes > 0))
    }

    /// Sum of all rows.
    #[inline(never)]
    pub fn total(&self) -> u64 {
        self.rows().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(bytes))
    }

    /// Pfns of a window.
    pub fn window(&self) -> u64 {
        self.bitmap.saturating_mul(8)
    }

    /// Windows ("cycles") that a machine with pfns up to `max_pfn` takes.
    pub fn cycles(&self, max_pfn: u64) -> u64 {
        max_pfn.div_ceil(self.window().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> Needs {
        Needs {
            page_size: 4096,
            page_struct: 64,
            max_pfn: 1 << 34, // 64 TiB
            segments: 40,
            vmcoreinfo: 4096,
            info_file: 0,
            rules: 0,
            codec: 328 << 10,
            codec_bound: 4096,
            program: 128 << 10,
            bitmap: None,
            whole: false,
            threads: 1,
            thread_stack: 64 << 10,
        }
    }

    #[test]
    fn the_default_plan_has_a_window_of_a_mebibyte_and_stays_below_its_limit() {
        let plan = Plan::fit(DEFAULT_LIMIT, &needs()).unwrap();
        assert_eq!(plan.bitmap, 1 << 20);
        assert!(plan.total() < 3_500_000, "{}", plan.total());
        // N = physical memory / (page size * 8 * buffer)
        assert_eq!(plan.cycles(1 << 34), (64u64 << 40) / (4096 * 8 * (1 << 20)));
    }

    #[test]
    fn every_limit_from_the_least_on_is_met_and_none_below() {
        let needs = needs();
        let least = Plan::least(&needs);
        assert!(least <= 1 << 20, "{least}");
        let mut last = 0;
        for limit in (least..least + 4096).chain((least..DEFAULT_LIMIT * 2).step_by(997)) {
            let plan = Plan::fit(limit, &needs).unwrap();
            assert!(plan.total() <= limit, "{limit}: {plan:?}");
            assert!(plan.bitmap.is_power_of_two());
            last = last.max(plan.total());
        }
        assert!(last < 3_500_000);
        for limit in [0, 1, least / 2, least - 1] {
            assert_eq!(Plan::fit(limit, &needs), Err(OverBudget { limit, least, threads: 0 }));
        }
    }

    #[test]
    fn a_buffer_that_was_asked_for_is_kept_or_refused() {
        for bitmap in [1 << 10, 3 << 10, 1 << 20, 16 << 20] {
            let needs = Needs { bitmap: Some(bitmap), ..needs() };
            let least = Plan::least(&needs);
            assert_eq!(Plan::fit(least, &needs).unwrap().bitmap, bitmap);
            assert!(Plan::fit(least - 1, &needs).is_err());
        }
        let whole = Needs { whole: true, max_pfn: 1 << 20, ..needs() };
        assert_eq!(Plan::fit(DEFAULT_LIMIT, &whole).unwrap().bitmap, 1 << 17);
        assert!(Plan::fit(DEFAULT_LIMIT, &Needs { whole: true, ..needs() }).is_err());
    }

    #[test]
    fn hostile_sizes_do_not_overflow() {
        let hostile = Needs {
            page_size: 1 << 20,
            page_struct: 4096,
            max_pfn: u64::MAX,
            segments: u32::MAX.into(),
            vmcoreinfo: u64::MAX,
            info_file: u64::MAX,
            whole: true,
            threads: u64::MAX,
            thread_stack: u64::MAX,
            ..needs()
        };
        assert!(Plan::fit(u64::MAX - 1, &hostile).is_err());
    }

    #[test]
    fn threads_get_what_is_left_over() {
        for codec in [8 << 10, 21 << 10] {
            let needs = |threads| Needs { codec, threads, ..needs() };
            let alone = Plan::fit(DEFAULT_LIMIT, &needs(1)).unwrap();
            for threads in 2..=4 {
                let plan = Plan::fit(DEFAULT_LIMIT, &needs(threads)).unwrap();
                assert!(plan.total() <= DEFAULT_LIMIT, "{threads}: {plan:?}");
                assert_eq!(plan.workers, threads);
                assert!(plan.batch_pages >= 8, "{threads}: {plan:?}");
                // The bytes of a stream depend on these two.
                assert_eq!((plan.data, plan.descriptors), (alone.data, alone.descriptors));
            }
        }
    }

    #[test]
    fn the_threads_that_a_limit_is_enough_for_are_named() {
        for limit in [700_000, 1 << 20, DEFAULT_LIMIT, 16 << 20] {
            let needs = |threads| Needs { codec: 21 << 10, threads, ..needs() };
            let over = Plan::fit(limit, &needs(1000)).unwrap_err();
            let fit = over.threads;
            assert!(Plan::fit(limit, &needs(fit)).unwrap().total() <= limit, "{limit}: {over}");
            let more = Plan::fit(limit, &needs(fit + 1)).unwrap_err();
            assert_eq!(more.threads, fit);
            assert_eq!(Plan::fit(more.least, &needs(fit + 1)).unwrap().workers, fit + 1);
            assert!(Plan::fit(more.least - 1, &needs(fit + 1)).is_err());
        }
    }

    #[test]
    fn small_machines_get_small_windows() {
        let plan = Plan::fit(DEFAULT_LIMIT, &Needs { max_pfn: 1 << 17, ..needs() }).unwrap();
        assert_eq!((plan.bitmap, plan.cycles(1 << 17)), (1 << 14, 1));
    }
}
