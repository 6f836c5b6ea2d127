//! `tamis info`.

use crate::about::facts::{Facts, Info};
use crate::dump::open::open_all;
use crate::fail::{DONE, Result};
use crate::render::console::paint;
use crate::render::json::show;
use std::path::PathBuf;

/// Show what a dump is: kernel, machine, pages, sizes, and whether it is complete.
///
/// Reads the headers, the page descriptors and the kernel log, not the pages themselves; `tamis
/// verify` reads those. Several dumps can be named, and the files of split ones in any order.
///
/// "Written by" is a conclusion: dumps do not say who wrote them. The panic is the line of the
/// kernel log that shows best why the kernel died.
///
/// Exit status: 0 done, whatever the state of the dump is; 3 it could not be done, as with a file
/// that is not a dump.
///
/// Examples:
///   $ tamis info vmcore
///   $ tamis info part1 part2 other.elf
///   $ ssh host cat vmcore.flat | tamis info -
///   $ tamis info --json vmcore | jq -r '.dumps[].kernel.release'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Dumps, or all files of split ones; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.info/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let dumps = open_all(&args.dumps)?.map(|dump| Facts::of(&mut dump?));
    if args.json {
        show(&Info { dumps: dumps.collect::<Result<_>>()? })?;
        return Ok(DONE);
    }
    // One by one: of many, only the text of one is held.
    for (index, facts) in dumps.enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        paint(format!("{gap}{}", facts?.text()))?;
    }
    Ok(DONE)
}
