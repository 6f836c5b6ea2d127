//! `tamis rearrange`.

use crate::dump::out::create;
use crate::fail::{DONE, Fail, Result};
use crate::render::console::remark;
use crate::rewrite::rearrange::copy;
use crate::streams::{Input, fill, input};
use std::path::PathBuf;
use tamis_core::wire::flattened::{START, is_start};

/// Make a dump file of a flattened stream.
///
/// A flattened stream is what `makedumpfile -F` and `tamis-capture -F` write to a pipe. All other
/// commands read one as it is; crash and drgn are faster with a file. The result has the same bytes
/// as that of `makedumpfile -R`.
///
/// The stream is written as it comes in, so that one over the network needs no room but that of the
/// dump. A stream without an end is refused, and what was written of it removed: `tamis repair`
/// makes the best of one.
///
/// Exit status: 0 done; 3 it could not be done, as with a stream that is cut off.
///
/// Examples:
///   $ ssh host cat /var/crash/vmcore.flat | tamis rearrange - vmcore
///   $ tamis rearrange vmcore.flat vmcore
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The stream; - is standard input
    stream: PathBuf,
    /// The dump file to write
    out: PathBuf,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let Input { bytes: mut input, name, len } = input(&args.stream)?;
    let mut start = vec![0; START];
    let read = fill(&mut input, &mut start, &name)?;
    if read < START || !is_start(&start) {
        let text = format_args!("{name}: not a flattened stream");
        let next = "`tamis info` shows what it is; other dumps need no rearranging";
        return Err(Fail::new(text).next(next));
    }
    let mut out = create(&args.out, args.force, std::slice::from_ref(&args.stream))?;
    copy(&mut input, &name, len, &mut out)?;
    out.done()?;
    let mut behind = [0];
    if fill(&mut input, &mut behind, &name)? > 0 {
        remark(format_args!("{name}: there are bytes behind the end of the stream"));
    }
    Ok(DONE)
}
