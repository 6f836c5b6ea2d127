//! Counting the pages of a dump by class.

use crate::classes::{ByClass, Class, Classes};
use crate::dump::bits::Held;
use crate::dump::gaps;
use crate::dump::opened::{Dump, Opened};
use crate::dump::survey::zero_pages;
use crate::fail::Result;
use crate::kernel::lists::string;
use crate::kernel::with_kernel;
use crate::pool::in_order;
use crate::render::json::Document;
use crate::render::progress::Progress;
use crate::render::text::{bad, columns, number, percent, size};
use page_codec::is_zero;
use serde::Serialize;
use std::ops::AddAssign;
use std::sync::Arc;
use tamis_core::bitmap::Bitmap;
use tamis_core::error::part;
use tamis_core::input::kdump::PageFault;
use tamis_core::kernel::zones::{Zone, zones};
use tamis_core::level::DumpLevel;
use tamis_core::memory::{Dump as _, PhysMemory as _};
use tamis_core::units::{PageShift, Pfn, PfnSpan, PhysAddr};
use tamis_core::wire::page_desc::PageDesc;

/// The pages of a dump by class.
#[derive(Serialize)]
pub struct Stats {
    /// Bytes of a page.
    pub page_size: u64,
    /// Whether a Xen hypervisor was below the kernel: pages are frames of the machine.
    pub xen: bool,
    /// All pages.
    pub classes: ByClass<Count>,
    /// Of a Xen host, its guests, in the order of Xen's list; those that it does not have at the end.
    pub guests: Vec<Guest>,
    /// The pages of each zone.
    pub zones: Vec<ZonePages>,
    /// What dump levels would leave.
    pub levels: Vec<Left>,
}

impl Document for Stats {
    const SCHEMA: &'static str = "tamis.stats/2";
}

/// A guest of a Xen host.
#[derive(Serialize)]
pub struct Guest {
    /// Its identifier; `None` of what is not on Xen's list: pages that guests share, or a domain that is being
    /// made or destroyed.
    pub id: Option<u16>,
    /// Its pages.
    pub pages: u64,
}

/// Pages of a class.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Count {
    /// All.
    pub pages: u64,
    /// In the dump.
    pub stored: u64,
    /// In the dump, and zeros.
    pub zero: u64,
    /// In the dump, but they cannot be read.
    pub unreadable: u64,
}

impl AddAssign<&Count> for Count {
    fn add_assign(&mut self, other: &Count) {
        self.pages += other.pages;
        self.stored += other.stored;
        self.zero += other.zero;
        self.unreadable += other.unreadable;
    }
}

/// The pages of a zone.
#[derive(Serialize)]
pub struct ZonePages {
    /// Number of the node.
    pub node: u64,
    /// Number of the zone in the node, where it is known.
    pub zone: Option<u64>,
    /// The kernel's name of it, where its symbols are there: `DMA`, `DMA32`, `Normal`, `Movable`.
    pub name: Option<String>,
    /// The first.
    pub start_pfn: u64,
    /// The one behind the last.
    pub end_pfn: u64,
    /// By class.
    pub pages: ByClass<u64>,
}

impl ZonePages {
    fn new(zone: Zone, names: &[String]) -> ZonePages {
        let Zone { node, zone, span, .. } = zone;
        let name = zone.and_then(|zone| names.get(zone as usize)).cloned();
        let pages = ByClass::default();
        ZonePages { node, zone, name, start_pfn: span.start.0, end_pfn: span.end.0, pages }
    }

    fn label(&self) -> String {
        match (&self.name, self.zone) {
            (Some(name), _) => format!("node {} {name}", self.node),
            (None, Some(zone)) => format!("node {} zone {zone}", self.node),
            (None, None) => format!("node {}", self.node),
        }
    }
}

/// What a dump level would leave of a dump.
#[derive(Serialize)]
pub struct Left {
    /// The level.
    pub level: u8,
    /// Pages.
    pub pages: u64,
    /// Their bytes before compression, without pages of zeros if the level drops those.
    pub bytes: u64,
}

impl Stats {
    fn left(&self, level: DumpLevel, always: bool) -> Left {
        let stay = Class::ALL.into_iter().filter(|c| !c.left_out(level, always));
        let mut all = Count::default();
        stay.for_each(|class| all += &self.classes[class]);
        let dropped = if level.contains(DumpLevel::ZERO) { all.zero } else { 0 };
        let bytes = self.page_size * (all.stored - dropped);
        Left { level: level.bits(), pages: all.stored, bytes }
    }

    /// Tables: by class, by guest, by zone and class, by level.
    pub fn text(&self) -> String {
        let mut text = self.class_table();
        if !self.guests.is_empty() {
            let mut rows = vec![["", "pages", "size"].map(str::to_owned)];
            rows.extend(self.guests.iter().map(|guest| {
                let name =
                    guest.id.map_or("guest without a number".into(), |id| format!("domain {id}"));
                [name, number(guest.pages), size(guest.pages * self.page_size)]
            }));
            text.push('\n');
            text += &columns(&rows);
        }
        if !self.zones.is_empty() {
            text.push('\n');
            text += &self.zone_table();
        }
        let mut rows = vec![["", "pages", "bytes before compression"].map(str::to_owned)];
        rows.extend(
            self.levels.iter().map(|left| {
                [format!("level {}", left.level), number(left.pages), size(left.bytes)]
            }),
        );
        text.push('\n');
        text += &columns(&rows);
        text
    }

    fn class_table(&self) -> String {
        let exist: u64 = Class::ALL.iter().map(|class| self.classes[*class].pages).sum();
        let row = |name: &str, c: &Count| {
            [
                name.to_owned(),
                number(c.pages),
                percent(c.pages, exist),
                size(c.pages * self.page_size),
                number(c.stored),
                number(c.zero),
            ]
        };
        let head = ["", "pages", "", "size", "in the dump", "of them zeros"];
        let mut rows = vec![head.map(str::to_owned)];
        let mut all = Count::default();
        for class in Class::ALL {
            let count = &self.classes[class];
            if count.pages > 0 {
                rows.push(row(class.name(), count));
            }
            all += count;
        }
        rows.push(row("all", &all));
        let mut text = columns(&rows);
        if all.unreadable > 0 {
            let pages = number(all.unreadable);
            text += &format!("{}\n", bad(&format!("{pages} pages of the dump cannot be read")));
        }
        text
    }

    /// Two tables, as one is wider than terminals: where the zones are, and what is in them.
    fn zone_table(&self) -> String {
        let used = |class: &Class| self.classes[*class].pages > 0;
        let shown: Vec<Class> = Class::ALL.into_iter().filter(used).collect();
        let mut places = vec![["", "first pfn", "last pfn", "pages"].map(str::to_owned)];
        let mut head = vec![String::new()];
        head.extend(shown.iter().map(|class| class.short_name().to_owned()));
        let mut rows = vec![head];
        for zone in &self.zones {
            let (first, last) = (Pfn(zone.start_pfn), Pfn(zone.end_pfn - 1));
            let pages = Class::ALL.iter().map(|class| zone.pages[*class]).sum();
            places.push([zone.label(), first.to_string(), last.to_string(), number(pages)]);
            let mut row = vec![zone.label()];
            row.extend(shown.iter().map(|class| number(zone.pages[*class])));
            rows.push(row);
        }
        format!("{}\n{}", columns(&places), columns(&rows))
    }
}

/// Zones of a node that have names.
const MOST_ZONES: u64 = 16;

/// Pages that a thread looks at at a time.
const PIECE: usize = 4096;

struct Worker {
    dump: Dump,
    /// See [`gaps::pages`].
    data: Option<Arc<Vec<PfnSpan>>>,
    page: Vec<u8>,
    zeros: Vec<Option<PageDesc>>,
    shift: PageShift,
}

impl Worker {
    /// Whether a page is zeros; `None` if it cannot be read.
    fn is_zero(&mut self, pfn: Pfn) -> Option<bool> {
        if let Dump::Kdump(kdump) = &mut self.dump {
            let (desc, part) = match kdump.descriptor(pfn) {
                Err(PageFault::Absent) if kdump.facts().absent_are_zeros() => return Some(true),
                found => found.ok()?,
            };
            if self.zeros.get(part) == Some(&Some(desc.place())) {
                return Some(true);
            }
            kdump.decode(pfn, desc, part, &mut self.page).ok()?;
        } else {
            if self
                .data
                .as_ref()
                .is_some_and(|data| gaps::is_gap(data, PfnSpan::new(pfn, Pfn(pfn.0 + 1))))
            {
                return Some(true);
            }
            let at = PhysAddr(pfn.0 << self.shift.bits());
            self.dump.read(at, &mut self.page).ok()?;
        }
        Some(is_zero(&self.page))
    }
}

/// All zones, in the order of nodes; none where they cannot be found.
pub fn zones_of(opened: &mut Opened) -> Vec<Zone> {
    // Those of domain 0 are of its own numbers for pages.
    if opened.dump.origin().xen.is_xen() {
        return Vec::new();
    }
    let found = opened.with_memory(|memory, info| {
        let mut found = Vec::new();
        zones(info, memory, &mut |zone| found.push(zone)).map(|()| found)
    });
    found.ok().and_then(|zones| zones.ok()).unwrap_or_default()
}

/// The kernel's names of the zones of every node, `zone_names`, by number; none where its symbols are not there.
fn zone_names(opened: &mut Opened, zones: &[Zone]) -> Vec<String> {
    let count = zones.iter().filter_map(|zone| zone.zone).max().map_or(0, |last| last + 1);
    let found = with_kernel(opened, |kernel| {
        let Some(at) = kernel.address("zone_names")? else { return Ok(Vec::new()) };
        let word = kernel.word();
        let name = |number| {
            let name = kernel.number(at.wrapping_add(number * word), word)?;
            string(kernel, name)
        };
        (0..count.min(MOST_ZONES)).map(name).collect::<Result<_>>()
    });
    found.unwrap_or_default()
}

/// Counts all pages, and what these levels would leave.
pub fn count(opened: &mut Opened, levels: &[DumpLevel], threads: usize) -> Result<Stats> {
    let mut classes = Classes::of_any(opened);
    let zeros = opened.kdump().map(zero_pages).unwrap_or_default();
    let (shift, bytes) = (opened.shift, opened.shift.bytes());
    let data = gaps::pages(opened).map(Arc::new);
    let mut workers: Vec<_> = opened
        .twins(threads)?
        .into_iter()
        .map(|dump| {
            let (data, zeros) = (data.clone(), zeros.clone());
            Worker { dump, data, page: vec![0; bytes], zeros, shift }
        })
        .collect();
    let zones = zones_of(opened);
    let names = zone_names(opened, &zones);
    let mut stats = Stats {
        page_size: bytes as u64,
        xen: opened.dump.origin().xen.is_xen(),
        classes: ByClass::default(),
        guests: Vec::new(),
        zones: zones.into_iter().map(|zone| ZonePages::new(zone, &names)).collect(),
        levels: Vec::new(),
    };
    let mut progress = Progress::new("Counting pages");
    let mut bits = vec![0; 32 << 10];
    let held = Held::of(opened);
    while let Some(window) = classes.next(opened) {
        let mut map = held.bits(opened, window, &mut bits);
        let pages = classes.classes();
        if data.as_ref().is_some_and(|data| gaps::is_gap(data, window)) {
            count_zeros(pages, &mut map, &mut stats.classes);
        } else {
            let work = |worker: &mut Worker, piece: u64| count_piece(worker, pages, piece, &map);
            in_order(&mut workers, pages.len().div_ceil(PIECE) as u64, work, |counts| {
                for class in Class::ALL {
                    stats.classes[class] += &counts[class];
                }
                Ok(())
            })?;
        }
        for zone in &mut stats.zones {
            let span = PfnSpan::new(Pfn(zone.start_pfn), Pfn(zone.end_pfn)).intersect(window);
            let from = (span.start.0 - window.start.0) as usize;
            let pages = part(pages, from..from + span.len() as usize);
            for run in pages.chunk_by(PartialEq::eq) {
                zone.pages[run[0]] += run.len() as u64;
            }
        }
        progress.set(window.end.0, opened.max_pfn.0);
    }
    opened.put_back(workers.into_iter().map(|w| w.dump).collect());
    let guests = classes.guests(opened).into_iter();
    stats.guests = guests.map(|(id, pages)| Guest { id, pages }).collect();
    let always = classes.always();
    stats.levels = levels.iter().map(|level| stats.left(*level, always)).collect();
    Ok(stats)
}

/// Counts pages that are zeros where the dump has them: no more of them is looked at than their classes.
fn count_zeros(pages: &[Class], map: &mut Bitmap<'_>, counts: &mut ByClass<Count>) {
    let mut at = map.span().start;
    for run in pages.chunk_by(PartialEq::eq) {
        let span = PfnSpan::new(at, Pfn(at.0 + run.len() as u64));
        at = span.end;
        let stored = if run[0] == Class::Hole { 0 } else { map.count_span(span) };
        counts[run[0]] += &Count { pages: span.len(), stored, zero: stored, unreadable: 0 };
    }
}

fn count_piece(
    worker: &mut Worker,
    pages: &[Class],
    piece: u64,
    map: &Bitmap<'_>,
) -> ByClass<Count> {
    let mut counts = ByClass::<Count>::default();
    let first = piece as usize * PIECE;
    let pfns = (map.span().start.0 + first as u64..).map(Pfn);
    for (pfn, class) in pfns.zip(pages.iter().skip(first).take(PIECE)) {
        let count = &mut counts[*class];
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
