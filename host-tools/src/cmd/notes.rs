//! `tamis notes`.

use crate::about::notes::notes;
use crate::dump::open::open;
use crate::fail::{DONE, NO, Result};
use crate::render::console::{print, remark};
use crate::render::json::show;
use std::path::PathBuf;

/// List the ELF notes of a dump.
///
/// The notes hold the registers of each CPU at the time of the crash, VMCOREINFO, and what
/// hypervisors and drivers added. A line each: where it begins in the notes, the bytes of its
/// contents, its type, its name and what it is. Of register notes of x86_64 and arm64, the process
/// and where its CPU was are shown.
///
/// Exit status: 0 done; 1 the notes end in something that is no note; 3 it could not be done.
///
/// Examples:
///   $ tamis notes vmcore
///   $ tamis notes --json vmcore
///   $ tamis notes --raw vmcore > notes.bin
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump; - is standard input
    dump: PathBuf,
    /// Print JSON (schema tamis.notes/1)
    #[arg(long)]
    json: bool,
    /// Write all notes as they are
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(std::slice::from_ref(&args.dump))?;
    if args.raw {
        print(opened.notes()?)?;
        return Ok(DONE);
    }
    let found = notes(&mut opened)?;
    if args.json {
        show(&found)?;
    } else {
        print(found.text())?;
        if found.damaged {
            remark(format_args!("{}: the notes end in something that is no note", opened.name()));
        }
    }
    Ok(if found.damaged { NO } else { DONE })
}
