//! `tamis repair`.

use crate::dump::input::Raw;
use crate::dump::opened::Input;
use crate::dump::out::create;
use crate::dump::stream::scan_leniently;
use crate::fail::{DONE, INCOMPLETE, Result};
use crate::render::json::show;
use crate::rewrite::repair::{copy, mend};
use std::path::PathBuf;
use tamis_core::input::image::kind;
use tamis_core::input::{Form, MaybeFlattened, form};
use tamis_core::io::RandomAccess;
use tamis_core::wire::flattened;

/// Make of a damaged or unfinished dump one that readers open.
///
/// A capture that ran out of space or whose machine was switched off leaves a dump with pages
/// missing, or a stream without an end. This writes a copy whose headers are true:
/// they mark it as incomplete, and a page whose data is missing or damaged has an empty
/// descriptor, which makes readers report that page instead of showing garbage. Every page that is
/// sound stays. Of an ELF vmcore that is cut off, the memory ranges are shortened to what is there.
///
/// A flattened stream becomes a file. What cannot be repaired is a file that ends before its
/// bitmaps do: nothing says which pages it has.
///
/// Exit status: 0 nothing was missing after all; 2 pages are missing; 3 it could not be done.
///
/// Examples:
///   $ tamis repair vmcore.incomplete vmcore
///   $ tamis repair vmcore.flat vmcore && echo complete
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump or stream; - is standard input
    dump: PathBuf,
    /// The file to write
    out: PathBuf,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
    /// Print what was done as JSON (schema tamis.repair/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let raw = Raw::open(&args.dump)?;
    let mut head = vec![0; raw.len.min(flattened::START as u64) as usize];
    if let Some(kind) = kind(&raw.head()?) {
        let fail = raw.fail(format_args!("a memory image ({}): repair mends dumps", kind.name()));
        return Err(fail.next("`tamis convert` makes a dump of what it holds"));
    }
    let mut input: Input = MaybeFlattened::Plain(raw.reader());
    input.read_at(0, &mut head).map_err(|e| raw.fail(e))?;
    let (mut len, mut ends) = (raw.len, true);
    if form(&head) == Some(Form::Flattened) {
        let stream = scan_leniently(&raw)?;
        ends = stream.ends;
        (input, len) = stream.layer(&raw)?;
    }
    let mut out = create(&args.out, args.force, std::slice::from_ref(&args.dump))?;
    copy(&mut input, len, &raw, &mut out)?;
    let found = mend(&args.out, &mut out, ends)?;
    out.done()?;
    if args.json {
        show(&found)?;
    }
    Ok(if found.complete { DONE } else { INCOMPLETE })
}
