//! Counting the pages of a dump by class.

use crate::classes::zones::{Zone, zones};
use crate::classes::{Class, Classes};
use crate::dump::bits::stored;
use crate::dump::opened::{Dump, Opened};
use crate::dump::survey::zero_pages;
use crate::fail::Result;
use crate::pool::in_order;
use crate::render::progress::Progress;
use tamis_core::bitmap::Bitmap;
use tamis_core::codec::is_zero;
use tamis_core::level::DumpLevel;
use tamis_core::memory::PhysMemory as _;
use tamis_core::units::{PageShift, Pfn, PhysAddr};
use tamis_core::wire::page_desc::PageDesc;

/// Pages of a class.
#[derive(Clone, Copy, Default)]
pub struct Count {
    /// All.
    pub pages: u64,
    /// In the dump.
    pub stored: u64,
    /// In the dump, and zeros.
    pub zero: u64,
    /// In the dump, but not to be had.
    pub unreadable: u64,
}

/// By class.
pub type Counts = [Count; Class::COUNT];

/// What a walk over all pages found.
pub struct Stats {
    /// All pages.
    pub classes: Counts,
    /// Pages of each zone; stored and zero pages are not counted there.
    pub zones: Vec<(Zone, [u64; Class::COUNT])>,
    /// See [`Classes::always`].
    pub always: bool,
}

impl Stats {
    /// Pages that a level leaves of this dump, and how many of them are zeros.
    pub fn left(&self, level: DumpLevel) -> (u64, u64) {
        let stay = Class::ALL.into_iter().filter(|c| !c.left_out(level, self.always));
        let counts = stay.map(|class| self.classes[class.index()]);
        counts.fold((0, 0), |(pages, zero), c| (pages + c.stored, zero + c.zero))
    }
}

/// Pages that a thread looks at at a time.
const PIECE: usize = 4096;

struct Worker {
    dump: Dump,
    page: Vec<u8>,
    zeros: Vec<Option<PageDesc>>,
    shift: PageShift,
}

impl Worker {
    /// Whether a page is zeros; `None` if it cannot be read.
    fn is_zero(&mut self, pfn: Pfn) -> Option<bool> {
        if let Dump::Kdump(kdump) = &mut self.dump {
            let (desc, part) = kdump.descriptor(pfn).ok()?;
            if self.zeros.get(part) == Some(&Some(desc)) {
                return Some(true);
            }
            kdump.decode(desc, part, &mut self.page).ok()?;
        } else {
            let at = PhysAddr(pfn.0 << self.shift.bits());
            self.dump.read(at, &mut self.page).ok()?;
        }
        Some(is_zero(&self.page))
    }
}

/// Counts all pages.
pub fn count(opened: &mut Opened, threads: usize) -> Result<Stats> {
    let mut classes = Classes::of_any(opened);
    let zeros = opened.kdump().map(zero_pages).unwrap_or_default();
    let (shift, bytes) = (opened.shift, opened.shift.bytes());
    let mut workers: Vec<_> = opened
        .twins(threads)?
        .into_iter()
        .map(|dump| Worker { dump, page: vec![0; bytes], zeros: zeros.clone(), shift })
        .collect();
    let mut stats = Stats {
        classes: Counts::default(),
        zones: zones(opened).into_iter().map(|zone| (zone, [0; Class::COUNT])).collect(),
        always: classes.always(),
    };
    let mut progress = Progress::new("Counting pages");
    let mut bits = vec![0; 32 << 10];
    while let Some(window) = classes.next(opened) {
        let map = stored(opened, window, &mut bits);
        let pages = classes.classes();
        let work = |worker: &mut Worker, piece: u64| count_piece(worker, pages, piece, &map);
        in_order(&mut workers, pages.len().div_ceil(PIECE) as u64, work, |counts| {
            for (sum, count) in stats.classes.iter_mut().zip(counts) {
                sum.pages += count.pages;
                sum.stored += count.stored;
                sum.zero += count.zero;
                sum.unreadable += count.unreadable;
            }
            Ok(())
        })?;
        for (zone, counts) in &mut stats.zones {
            let span = zone.span.clip(window);
            let from = (span.start.0 - window.start.0) as usize;
            for class in pages.iter().skip(from).take(span.len() as usize) {
                counts[class.index()] += 1;
            }
        }
        progress.set(window.end.0, opened.max_pfn.0);
    }
    opened.put_back(workers.into_iter().map(|w| w.dump).collect());
    Ok(stats)
}

fn count_piece(worker: &mut Worker, pages: &[Class], piece: u64, map: &Bitmap<'_>) -> Counts {
    let mut counts = Counts::default();
    let first = piece as usize * PIECE;
    let pfns = (map.span().start.0 + first as u64..).map(Pfn);
    for (pfn, class) in pfns.zip(pages.iter().skip(first).take(PIECE)) {
        let count = &mut counts[class.index()];
        count.pages += 1;
        if map.get(pfn) && *class != Class::Hole {
            count.stored += 1;
            match worker.is_zero(pfn) {
                Some(zero) => count.zero += u64::from(zero),
                None => count.unreadable += 1,
            }
        }
    }
    counts
}
