use super::diff::{next_stored, stored};
use super::print;
use crate::fail::{DONE, Result};
use crate::io::open::open;
use crate::render::json::{Json, Object};
use crate::render::text::{number, percent, size};
use std::path::PathBuf;
use tamis_core::source::Source;
use tamis_core::units::{Pfn, PfnSpan};

/// Show the physical memory of the dead machine, range by range.
///
/// A line for each range of memory: first and last address, size, and how many of its pages are in
/// the dump. `tamis pages` tells what became of each page.
///
/// Examples:
///   $ tamis map vmcore
///   $ tamis map --json part1 part2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.map/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let shift = opened.shift;
    let mut spans: Vec<PfnSpan> =
        opened.dump.segments().iter().map(|s| shift.touched(s.phys, s.mem_len)).collect();
    spans.sort_unstable_by_key(|s| (s.start, s.end));
    // Overlapping ranges are one.
    let mut ranges: Vec<PfnSpan> = Vec::new();
    for span in spans {
        match ranges.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => ranges.push(span),
        }
    }
    let (mut text, mut list) = (String::new(), Vec::new());
    let mut bits = vec![0; 32 << 10];
    for range in ranges {
        let (mut at, mut pages) = (range.start, 0);
        while let Some(next) = next_stored(&opened, at).filter(|next| *next < range.end) {
            at = next;
            let start = Pfn(at.0 & !7);
            let end = Pfn((start.0 + 8 * bits.len() as u64).min(range.end.0));
            let mut map = stored(&mut opened, PfnSpan::new(start, end), &mut bits);
            pages += map.count_span(PfnSpan::new(at, end));
            at = end;
        }
        let bytes = range.len() << shift.bits();
        let (first, last) = (range.start.0 << shift.bits(), (range.end.0 << shift.bits()) - 1);
        text += &format!(
            "{first:#018x} {last:#018x} {:>12} {:>14} pages in the dump ({})\n",
            size(bytes),
            number(pages),
            percent(pages, range.len())
        );
        list.push(
            Object::new()
                .with("start", format!("{first:#x}"))
                .with("size", bytes)
                .with("pages", range.len())
                .with("stored", pages)
                .into(),
        );
    }
    if args.json {
        let document = Object::document("tamis.map/1").with("ranges", Json::List(list));
        text = format!("{}\n", Json::from(document));
    }
    print(text)?;
    Ok(DONE)
}
