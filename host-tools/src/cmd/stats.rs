//! `tamis stats`.

use super::diff::stored;
use super::refilter::{both_levels, whole};
use crate::classes::survey::zero_pages;
use crate::classes::zones::{Zone, zones};
use crate::classes::{Class, Classes};
use crate::dump::open::{Dump, Opened, open};
use crate::fail::{DONE, Result};
use crate::pool::{Threads, in_order};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use crate::render::progress::Progress;
use crate::render::text::{Style, columns, number, percent, size};
use crate::rewrite::refilter::level_of;
use std::path::PathBuf;
use tamis_core::bitmap::Bitmap;
use tamis_core::codec::is_zero;
use tamis_core::level::DumpLevel;
use tamis_core::memory::PhysMemory as _;
use tamis_core::units::{PageShift, Pfn, PhysAddr};
use tamis_core::wire::page_desc::PageDesc;

/// Count the pages of a dump by what the dead kernel used them for.
///
/// Looks at the struct page of every page of memory, and at all pages for zeros. The first table
/// has for each class how many pages there are, how many of them are in the dump, and how many of
/// those are zeros. The second one has the same classes by node and zone, where the kernel says
/// what those are. The third has what dump levels would leave: the pages in the dump, and the
/// bytes of those that are not zeros (or, at levels without 1, of all) before compression. What is
/// not in the dump cannot come back: levels are those of the dump and the one named together.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis stats vmcore
///   $ tamis stats --json vmcore | jq .classes.free.pages
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.stats/2)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
}

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

/// Levels that the table has, as far as they differ for this dump.
pub fn levels(old: DumpLevel, wanted: &[u8]) -> Vec<DumpLevel> {
    let mut levels: Vec<DumpLevel> =
        wanted.iter().map(|level| both_levels(old, Some(*level))).collect();
    levels.sort_unstable_by_key(|level| level.bits());
    levels.dedup();
    levels
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    whole(&mut opened)?;
    let stats = count(&mut opened, args.threads.count())?;
    let page = opened.shift.bytes() as u64;
    let levels = levels(level_of(&opened), &[0, 1, 2, 4, 8, 16, 31]);
    let left = |level: DumpLevel| {
        let (pages, zero) = stats.left(level);
        (pages, page * (pages - if level.contains(DumpLevel::ZERO) { zero } else { 0 }))
    };
    if args.json {
        print(format!("{}\n", Json::from(json(&stats, page, &levels, left))))?;
        return Ok(DONE);
    }
    let style = Style::stdout();
    let exist: u64 = Class::ALL.iter().map(|c| stats.classes[c.index()].pages).sum();
    let head = ["", "pages", "", "size", "in the dump", "of them zeros"];
    let row = |name: &str, c: Count| {
        [
            name.to_owned(),
            number(c.pages),
            percent(c.pages, exist),
            size(c.pages * page),
            number(c.stored),
            number(c.zero),
        ]
    };
    let mut rows = vec![head.map(str::to_owned)];
    let mut all = Count::default();
    for class in Class::ALL {
        let c = stats.classes[class.index()];
        if c.pages > 0 {
            rows.push(row(class.name(), c));
        }
        all.pages += c.pages;
        all.stored += c.stored;
        all.zero += c.zero;
        all.unreadable += c.unreadable;
    }
    rows.push(row("all", all));
    let mut text = columns(&rows, style);
    if all.unreadable > 0 {
        let line = format!("{} pages of the dump cannot be read\n", number(all.unreadable));
        text += &style.bad(&line);
    }
    if !stats.zones.is_empty() {
        let used = |class: &Class| stats.classes[class.index()].pages > 0;
        let shown: Vec<Class> = Class::ALL.into_iter().filter(used).collect();
        let mut head = vec![String::new(), "first pfn".into(), "last pfn".into()];
        head.extend(shown.iter().map(|class| class.name().to_owned()));
        let mut rows = vec![head];
        for (zone, counts) in &stats.zones {
            let last = Pfn(zone.span.end.0 - 1);
            let mut row = vec![zone_name(zone), zone.span.start.to_string(), last.to_string()];
            row.extend(shown.iter().map(|class| number(counts[class.index()])));
            rows.push(row);
        }
        text.push('\n');
        text += &columns(&rows, style);
    }
    let mut rows = vec![["", "pages", "bytes before compression"].map(str::to_owned)];
    for level in levels {
        let (pages, bytes) = left(level);
        rows.push([format!("level {level}"), number(pages), size(bytes)]);
    }
    text.push('\n');
    text += &columns(&rows, style);
    print(text)?;
    Ok(DONE)
}

fn zone_name(zone: &Zone) -> String {
    match zone.zone {
        Some(number) => format!("node {} zone {number}", zone.node),
        None => format!("node {}", zone.node),
    }
}

fn json(
    stats: &Stats,
    page: u64,
    levels: &[DumpLevel],
    left: impl Fn(DumpLevel) -> (u64, u64),
) -> Object {
    let mut classes = Object::new();
    for class in Class::ALL {
        let c = stats.classes[class.index()];
        let count = Object::new()
            .with("pages", c.pages)
            .with("stored", c.stored)
            .with("zero", c.zero)
            .with("unreadable", c.unreadable);
        classes = classes.with(class.key(), count);
    }
    let zones = stats.zones.iter().map(|(zone, counts)| {
        let mut pages = Object::new();
        for class in Class::ALL {
            pages = pages.with(class.key(), counts[class.index()]);
        }
        Object::new()
            .with("node", zone.node)
            .with("zone", zone.zone)
            .with("start_pfn", zone.span.start.0)
            .with("end_pfn", zone.span.end.0)
            .with("pages", pages)
    });
    let levels = levels.iter().map(|level| {
        let (pages, bytes) = left(*level);
        Object::new().with("level", level.bits()).with("pages", pages).with("bytes", bytes)
    });
    Object::document("tamis.stats/2")
        .with("page_size", page)
        .with("classes", classes)
        .with("zones", zones.collect::<Vec<_>>())
        .with("levels", levels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_do_not_differ_are_one() {
        let numbers = |old: u8| {
            let levels = levels(DumpLevel::from_bits(old).unwrap(), &[0, 1, 17, 31]);
            levels.into_iter().map(|level| level.bits()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(0), [0, 1, 17, 31]);
        assert_eq!(numbers(1), [1, 17, 31]);
        assert_eq!(numbers(31), [31]);
    }
}
