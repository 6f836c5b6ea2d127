//! `tamis report`.

use crate::args::threads::Threads;
use crate::dump::open::open;
use crate::dump::opened::whole;
use crate::dump::out::create;
use crate::fail::{DONE, Result};
use crate::report::report;
use std::path::PathBuf;

/// Write a page for a ticket: what died, and how, and what the dump is.
///
/// One HTML file that needs nothing beside it, and no scripts: what died, when and of what; the end
/// of the kernel log, from the first oops on; the stack of the task that panicked; the registers of
/// each CPU; what tainted the kernel, and its modules; a picture of its memory, which names what is
/// under the pointer; pages by class, and what each dump level leaves of them; whether the dump is
/// complete and sound; its files with their SHA-256.
///
/// It has no contents of memory but those: it can be shown to whoever may see the kernel's log,
/// which tells names, and its command line. Every page of the dump is read, as `tamis verify` does.
///
/// Exit status: 0 done, whatever the state of the dump is; 3 it could not be done.
///
/// Examples:
///   $ tamis report vmcore -o crash.html
///   $ tamis report part1 part2 -o crash.html
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Write the page to this file, for its owner only
    #[arg(short, long, value_name = "FILE", required = true)]
    output: PathBuf,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    threads: Threads,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    whole(&mut opened)?;
    let mut file = create(&args.output, args.force, &args.dumps)?;
    let page = report(&mut opened, args.threads.count())?;
    file.put(0, page.as_bytes())?;
    file.done()?;
    Ok(DONE)
}
