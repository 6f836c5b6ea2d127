//! `tamis map`.

use crate::classes::Class;
use crate::classes::map::{
    Cell, ROWS, ROWS_ON_TERMINAL, draw, half_blocks, picture_of, ranges, title, walk,
};
use crate::dump::bits::{next_stored, stored};
use crate::dump::open::open;
use crate::dump::opened::Opened;
use crate::dump::out::create;
use crate::fail::{DONE, Fail, Result};
use crate::render::console::{print, remark};
use crate::render::json::{Json, Object};
use crate::render::text::{Style, number, percent, size};
use std::path::{Path, PathBuf};
use tamis_core::units::{Pfn, PfnSpan};

/// Show the physical memory of the dead machine: a picture, or range by range.
///
/// With -o, writes a picture as SVG or PNG, as the name ends. Each cell is a block of memory in the
/// colour of the class that most of its pages are of, paler the fewer of them are in the dump; the
/// legend has the totals. Memory that is not there is left out. On a terminal that shows colours
/// the same picture is printed.
///
/// Otherwise there is a line for each range of memory: first and last address, size, and how many
/// of its pages are in the dump. `tamis pages` tells what became of each page, `tamis stats`
/// counts them.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis map vmcore
///   $ tamis map -o memory.svg vmcore
///   $ tamis map --json part1 part2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Write a picture to this file, whose name ends in .svg or .png
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long, requires = "output")]
    force: bool,
    /// Print JSON (schema tamis.map/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    if let Some(path) = &args.output {
        return write(&mut opened, path, args);
    }
    if args.json {
        return json(&mut opened);
    }
    if Style::stdout().shows() {
        let map = picture_of(&mut opened, ROWS_ON_TERMINAL);
        print(half_blocks(&opened, &map))?;
        return Ok(DONE);
    }
    let shift = opened.shift;
    let mut text = String::new();
    let mut bits = vec![0; 32 << 10];
    let ranges = ranges(&opened);
    let mut counts = vec![0; ranges.len()];
    // Window by window: there may be more ranges than windows, and each asks for all segments.
    let (mut at, mut index) = (Pfn(0), 0);
    while let Some(next) = next_stored(&opened, at).filter(|next| *next < opened.max_pfn) {
        let start = Pfn(next.0 & !7);
        let end = Pfn((start.0 + 8 * bits.len() as u64).min(opened.max_pfn.0));
        let window = PfnSpan::new(start, end);
        let mut map = stored(&mut opened, window, &mut bits);
        while let (Some(range), Some(count)) = (ranges.get(index), counts.get_mut(index)) {
            *count += map.count_span(range.clip(window));
            if range.end > end {
                break;
            }
            index += 1;
        }
        at = end;
    }
    for (range, pages) in ranges.iter().zip(counts) {
        let (first, last) = (range.start.0 << shift.bits(), (range.end.0 << shift.bits()) - 1);
        text += &format!(
            "{first:#018x} {last:#018x} {:>12} {:>14} pages in the dump ({})\n",
            size(range.len() << shift.bits()),
            number(pages),
            percent(pages, range.len())
        );
    }
    print(text)?;
    Ok(DONE)
}

fn write(opened: &mut Opened, path: &Path, args: &Args) -> Result<u8> {
    let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if !["svg", "png"].contains(&kind) {
        return Err(
            Fail::file(path, "a picture of which kind?").next("end the name in .svg or .png")
        );
    }
    let mut file = create(path, args.force, &args.dumps)?;
    let map = picture_of(opened, ROWS);
    let picture = draw(opened, &map);
    let bytes = if kind == "svg" { picture.svg().into_bytes() } else { picture.png() };
    if let Err(fail) = file.put(0, &bytes) {
        file.remove();
        return Err(fail);
    }
    file.done()?;
    remark(format_args!("{}: {}", path.display(), title(opened, &map)));
    Ok(DONE)
}

fn json(opened: &mut Opened) -> Result<u8> {
    let ranges = ranges(opened);
    let mut cells = vec![Cell::default(); ranges.len()];
    let mut index = 0;
    walk(opened, |pfn, class, stored| {
        while ranges.get(index).is_some_and(|range| pfn >= range.end) {
            index += 1;
        }
        if let Some(cell) = cells.get_mut(index) {
            cell.add(class, stored);
        }
    });
    let bits = opened.shift.bits();
    let list = ranges.iter().zip(cells).map(|(range, cell)| {
        let mut classes = Object::new();
        for class in Class::ALL {
            classes = classes.with(class.key(), cell.classes[class.index()]);
        }
        Object::new()
            .with("start", format!("{:#x}", range.start.0 << bits))
            .with("size", range.len() << bits)
            .with("pages", range.len())
            .with("stored", cell.stored)
            .with("classes", classes)
    });
    let document = Object::document("tamis.map/1").with("ranges", list.collect::<Vec<_>>());
    print(format!("{}\n", Json::from(document)))?;
    Ok(DONE)
}
