//! `tamis pages`.

use crate::args::address::number as parse;
use crate::classes::pages::state;
use crate::classes::{Class, Classes};
use crate::dump::bits::stored;
use crate::dump::open::open;
use crate::dump::survey::zero_pages;
use crate::fail::{DONE, Result};
use crate::render::console::stdout;
use crate::render::json::{Json, Object};
use crate::render::text::number;
use std::io::Write;
use std::path::PathBuf;
use tamis_core::units::{Pfn, PfnSpan};

/// List the pages of a dump: what they were used for, and what became of them.
///
/// A line for each run of pages of the same kind: first and last pfn, number of pages, bytes in
/// the file, the state, and the class. The state is zlib, lzo, snappy, zstd, lz4 or raw for pages
/// that are stored, zero for those that share the page of zeros, "left out", lost, or damaged. The
/// class is what the dead kernel used the page for, as its mem_map says: free, page cache, private
/// page cache, memory of processes, broken, offline, "kernel and other", or unknown where there is
/// no struct page to be had. Holes are not listed.
///
/// pfns are hexadecimal in the output; those of --pfn are decimal, or hexadecimal with 0x.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis pages vmcore | head
///   $ tamis pages --pfn 0x100000-0x1001ff vmcore
///   $ tamis pages vmcore | grep 'zlib.*free'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Only this page, or those from the first to the last of two pfns
    #[arg(long, value_name = "FIRST[-LAST]", value_parser = span)]
    pfn: Option<PfnSpan>,
    /// Print JSON (schema tamis.pages/1)
    #[arg(long)]
    json: bool,
}

/// A pfn, or two with a dash between them; the last one is in the span.
fn span(text: &str) -> std::result::Result<PfnSpan, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse(first)?, parse(last)?);
    if first > last {
        return Err("the first is behind the last".into());
    }
    Ok(PfnSpan::new(Pfn(first), Pfn(last.saturating_add(1))))
}

/// Pages of the same kind.
#[derive(Clone, Copy)]
struct Run {
    start: u64,
    end: u64,
    bytes: u64,
    state: &'static str,
    class: Class,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let all = args.pfn.unwrap_or(PfnSpan::new(Pfn(0), Pfn(u64::MAX)));
    let mut out = stdout();
    if args.json {
        write!(out, "{{\n  \"schema\": \"tamis.pages/1\",\n  \"runs\": [")?;
    }
    let mut first = true;
    let mut line = |run: Run| -> Result<()> {
        let Run { start, end, bytes, state, class } = run;
        if !args.json {
            let (pages, last) = (number(end - start), end - 1);
            let class = class.name();
            writeln!(out, "{start:#14x} {last:#14x} {pages:>14} {bytes:>14} {state:<8} {class}")?;
            return Ok(());
        }
        let object = Object::new()
            .with("start_pfn", start)
            .with("end_pfn", end)
            .with("bytes", bytes)
            .with("state", state)
            .with("class", class.key());
        let comma = if std::mem::take(&mut first) { "" } else { "," };
        write!(out, "{comma}\n    {}", Json::from(object).line())?;
        Ok(())
    };
    let zeros = opened.kdump().map(zero_pages).unwrap_or_default();
    let mut classes = Classes::of_any(&mut opened);
    classes.skip_to(all.start);
    let mut bits = vec![0; 32 << 10];
    let mut last: Option<Run> = None;
    while let Some(window) = classes.next(&mut opened).filter(|w| w.start < all.end) {
        let map = stored(&mut opened, window, &mut bits);
        for (pfn, class) in classes.pages() {
            if class == Class::Hole || !all.contains(pfn) {
                continue;
            }
            let (state, bytes) = state(&mut opened, &zeros, pfn, map.get(pfn));
            match &mut last {
                Some(run) if (run.end, run.state, run.class) == (pfn.0, state, class) => {
                    run.end += 1;
                    run.bytes += bytes;
                }
                _ => {
                    let next = Run { start: pfn.0, end: pfn.0 + 1, bytes, state, class };
                    last.replace(next).map_or(Ok(()), &mut line)?;
                }
            }
        }
    }
    last.map_or(Ok(()), &mut line)?;
    if args.json {
        writeln!(out, "\n  ]\n}}")?;
    }
    out.flush()?;
    Ok(DONE)
}
