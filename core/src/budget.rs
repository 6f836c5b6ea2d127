//! The memory plan: every byte has an owner before the first write.
//!
//! Pure arithmetic. The caller takes the storage that the plan names, once, and gives the pieces to
//! those who need them. `core/docs/memory.md` has the table with its reasons.

use crate::arch::TableCache;
use crate::elf_vmcore::Place;
use crate::source::Segment;
use core::fmt;

/// Memory limit where none is given: 4 MiB.
pub const DEFAULT_LIMIT: u64 = 4 << 20;

/// Bitmap buffer where none is given: 1 MiB, enough for 32 GiB of 4 KiB pages at a time.
const BITMAP: u64 = 1 << 20;
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
    /// State of the page codec.
    pub codec: u64,
    /// Stack and static data.
    pub program: u64,
}

/// A limit that cannot be met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverBudget {
    /// The limit, in bytes.
    pub limit: u64,
    /// The least limit that works for the same request, in bytes.
    pub least: u64,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes of memory are not enough for this run: it needs at least {} bytes",
            self.limit, self.least
        )
    }
}

impl core::error::Error for OverBudget {}

impl Plan {
    /// The best plan within `limit` bytes: buffers shrink before anything is refused, the bitmap
    /// buffer last. A bitmap buffer that was asked for is not shrunk.
    pub fn fit(limit: u64, needs: &Needs) -> Result<Plan, OverBudget> {
        // Each step halves the I/O buffers; the last has them at their least.
        const STEPS: u32 = 6;
        let whole = needs.max_pfn.div_ceil(8).max(1);
        for step in 0..=STEPS {
            let plan = Plan::with(needs, if step == STEPS { u32::MAX } else { step }, 0);
            let room = limit.saturating_sub(plan.total());
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
                return Ok(Plan { bitmap, ..plan });
            }
        }
        Err(OverBudget { limit, least: Plan::least(needs) })
    }

    /// The least limit that works, in bytes.
    pub fn least(needs: &Needs) -> u64 {
        Plan::with(needs, u32::MAX, Plan::asked(needs).unwrap_or(BITMAP_LEAST)).total()
    }

    /// The bitmap buffer that was asked for, but no more than the machine has bits for.
    fn asked(needs: &Needs) -> Option<u64> {
        let whole = needs.max_pfn.div_ceil(8).max(1);
        let whole = whole.checked_next_multiple_of(1024).unwrap_or(whole);
        if needs.whole { Some(whole) } else { needs.bitmap.map(|b| b.max(BITMAP_LEAST).min(whole)) }
    }

    /// The plan with I/O buffers at `full >> step`, but no smaller than what works.
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
            data: shrunk((512 << 10u64).max(page), page.max(needs.codec_bound)),
            descriptors: shrunk(96 << 10, 24 * 32),
            segments: needs
                .segments
                .saturating_mul((size_of::<Segment>() + size_of::<Place>()) as u64),
            vmcoreinfo: needs.vmcoreinfo,
            info_file: needs.info_file,
            codec: needs.codec,
            program: needs.program,
        }
    }

    /// Owners and their bytes, for people.
    pub fn rows(&self) -> [(&'static str, u64); 12] {
        [
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
            ("stack and static data", self.program),
        ]
    }

    /// Sum of all rows.
    pub fn total(&self) -> u64 {
        self.rows().iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes))
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
            codec: 328 << 10,
            codec_bound: 4096,
            program: 128 << 10,
            bitmap: None,
            whole: false,
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
            assert_eq!(Plan::fit(limit, &needs), Err(OverBudget { limit, least }));
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
            ..needs()
        };
        assert!(Plan::fit(u64::MAX - 1, &hostile).is_err());
    }

    #[test]
    fn small_machines_get_small_windows() {
        let plan = Plan::fit(DEFAULT_LIMIT, &Needs { max_pfn: 1 << 17, ..needs() }).unwrap();
        assert_eq!((plan.bitmap, plan.cycles(1 << 17)), (1 << 14, 1));
    }
}
