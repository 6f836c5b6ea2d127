//! `tamis verify`.

use crate::about::findings::{Reports, Verdict};
use crate::about::verify::verify;
use crate::args::threads::Threads;
use crate::dump::open::open_all;
use crate::fail::{DONE, INCOMPLETE, NO, Result};
use crate::render::console::paint;
use crate::render::json::show;
use std::path::PathBuf;

/// Read every page of a dump, and list those that are damaged.
///
/// Checks headers, notes, VMCOREINFO, both bitmaps, every page descriptor, that the data of every
/// page decompresses to exactly one page, and that every page's struct page can be read. Pages
/// that tamis wrote have checksums of their data and pfn. Of others, those that are stored raw can
/// only be verified to be there, and which page is whose is proved by counts: as many descriptors
/// as bitmap 2 has bits, data without gaps, and none that two pages have. Of an ELF vmcore every
/// byte is read. Works in all cores.
///
/// What is wrong is listed with its pfns, runs of the same fault in one line, --faults lines at
/// most.
///
/// Exit status: 0 sound; 1 damaged; 2 sound as far as it goes, but pages are missing: the writer
/// ran out of space or died, the file was cut off, or files of a split dump were not given; 3 it
/// could not be done.
///
/// Examples:
///   $ tamis verify vmcore && echo sound
///   $ tamis verify part1 part2 part3
///   $ tamis verify --json vmcore | jq '.dumps[].verdict'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Dumps, or all files of split ones; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.verify/1)
    #[arg(long)]
    json: bool,
    /// Faults to list, runs of pfns counting as one
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    faults: usize,
    #[command(flatten)]
    threads: Threads,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let threads = args.threads.count();
    let opened = open_all(&args.dumps)?;
    let reports = opened.map(|dump| verify(&mut dump?, args.faults, threads));
    let reports = Reports { dumps: reports.collect::<Result<_>>()? };
    if args.json {
        show(&reports)?;
    } else {
        paint(reports.dumps.iter().map(|report| report.text()).collect())?;
    }
    // Damage is worse than what is missing, though its number is smaller.
    let any = |verdict| reports.dumps.iter().any(|report| report.verdict == verdict);
    Ok(match (any(Verdict::Damaged), any(Verdict::Incomplete)) {
        (true, _) => NO,
        (false, true) => INCOMPLETE,
        (false, false) => DONE,
    })
}
