//! `tamis diff`.

use crate::about::compare::compare;
use crate::args::threads::Threads;
use crate::dump::open::{open, open_all};
use crate::fail::{DONE, Fail, NO, Result};
use crate::render::console::paint;
use crate::render::json::show;
use std::path::PathBuf;

/// Compare two dumps page by page.
///
/// Whatever their formats and codecs: two dumps are the same if they hold the same pages with the
/// same bytes. Pages that only one of them holds, and pages that differ, are listed as runs of
/// pfns, --runs lines at most. Kernel release, dump level and VMCOREINFO are compared too. Of a dump
/// in several files, name all of them, in any order. Works in all cores.
///
/// Exit status: 0 the same; 1 different; 3 it could not be done.
///
/// Examples:
///   $ tamis diff vmcore.kdump vmcore.elf
///   $ tamis diff --json before after
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Two dumps; of a split one, all its files
    #[arg(required = true, num_args = 2.., value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.diff/1)
    #[arg(long)]
    json: bool,
    /// Runs of pages to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    runs: usize,
    #[command(flatten)]
    threads: Threads,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut both = match &args.dumps[..] {
        // Two files are two dumps, even if they are parts of one.
        [a, b] => vec![open(std::slice::from_ref(a))?, open(std::slice::from_ref(b))?],
        files => open_all(files)?.collect::<Result<Vec<_>>>()?,
    };
    let [a, b] = &mut both[..] else {
        let fail = Fail::new(format_args!("{} dumps were named, not two", both.len()));
        return Err(fail.next("name all files of two dumps"));
    };
    let found = compare(a, b, args.runs, args.threads.count())?;
    if args.json {
        show(&found)?;
    } else {
        paint(found.text())?;
    }
    Ok(if found.same { DONE } else { NO })
}
