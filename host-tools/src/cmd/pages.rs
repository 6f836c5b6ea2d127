//! `tamis pages`.

use crate::args::address::number as parse;
use crate::classes::pages::{RunList, Runs};
use crate::dump::open::open;
use crate::fail::{DONE, Result};
use crate::render::console::stdout;
use crate::render::json::write as write_json;
use std::io::Write;
use std::path::PathBuf;
use tamis_core::units::{Pfn, PfnSpan};

/// List the pages of a dump: what they were used for, and what became of them.
///
/// A line for each run of pages of the same kind: first and last pfn, number of pages, bytes in
/// the file, the state, and the class. The state is zlib, lzo, snappy, zstd, lz4 or raw for pages
/// that are stored, zero for those that share the page of zeros, "left out", lost, or damaged. The
/// class is what the dead kernel used the page for, as its mem_map says: free, page cache, private
/// page cache, user pages, hwpoison, offline, "kernel and other", or unknown where there is
/// no readable struct page. Holes are not listed.
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

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let runs = Runs::new(&mut opened, args.pfn.unwrap_or(PfnSpan::new(Pfn(0), Pfn(u64::MAX))));
    let mut out = stdout();
    if args.json {
        // Each run in a line.
        write_json(&mut out, &RunList::new(runs), 2)?;
    } else {
        for run in runs {
            writeln!(out, "{run}")?;
        }
    }
    out.flush()?;
    Ok(DONE)
}
