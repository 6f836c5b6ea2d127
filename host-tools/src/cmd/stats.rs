//! `tamis stats`.

use crate::args::level::levels;
use crate::args::threads::Threads;
use crate::classes::stats::count;
use crate::dump::open::open;
use crate::dump::opened::{level_of, whole};
use crate::fail::{DONE, Result};
use crate::render::console::paint;
use crate::render::json::show;
use std::path::PathBuf;

/// Count the pages of a dump by what the dead kernel used them for.
///
/// Looks at the struct page of every page of memory, and at all pages for zeros. The first table
/// has for each class how many pages there are, how many of them are in the dump, and how many of
/// those are zeros. The next two have where the zones of each node are, and the same classes by zone,
/// where the kernel says what those are. The last has what dump levels would leave: the pages in the
/// dump, and the bytes of those that are not zeros (or, at levels without 1, of all) before
/// compression. What is not in the dump cannot come back: levels are those of the dump and the one
/// named together.
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
    let levels = levels(level_of(&opened), &[0, 1, 2, 4, 8, 16, 31]);
    let stats = count(&mut opened, &levels, args.threads.count())?;
    if args.json {
        show(&stats)?;
    } else {
        paint(stats.text())?;
    }
    Ok(DONE)
}
