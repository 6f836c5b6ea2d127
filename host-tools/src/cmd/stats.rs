//! `tamis stats`.

use crate::args::level::levels;
use crate::args::threads::Threads;
use crate::classes::Class;
use crate::classes::stats::{Count, Stats, count};
use crate::classes::zones::Zone;
use crate::dump::open::open;
use crate::dump::opened::{level_of, whole};
use crate::fail::{DONE, Result};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use crate::render::text::{Style, columns, number, percent, size};
use std::path::PathBuf;
use tamis_core::level::DumpLevel;
use tamis_core::units::Pfn;

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
