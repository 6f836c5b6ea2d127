//! `tamis split`.

use crate::args::codec::{Codec, Effort};
use crate::dump::open::open;
use crate::dump::opened::{is_incomplete, whole};
use crate::dump::out::{OutFile, create, done};
use crate::fail::{DONE, INCOMPLETE, Result};
use crate::rewrite::refilter::{Format, codec_of_input, write};
use std::path::PathBuf;
use tamis_core::io::Sink;

/// Split a dump into files of about the same number of pages.
///
/// As `makedumpfile --split` does: each file has all headers and its own pages, and crash opens all
/// of them together. Files are divided at multiples of --block bytes of memory. `tamis reassemble`
/// makes them one again. Pages are compressed as `tamis refilter` does it.
///
/// Exit status: 0 done; 2 pages could not be read: the files are marked incomplete; 3 it could not be
/// done.
///
/// Examples:
///   $ tamis split vmcore part1 part2 part3
///   $ tamis split -c --block 64 vmcore part1 part2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump; - is standard input
    dump: PathBuf,
    /// The files to write
    #[arg(required = true, num_args = 2.., value_name = "PART")]
    parts: Vec<PathBuf>,
    /// MiB of memory in which files are divided
    #[arg(long, value_name = "MIB", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    block: u64,
    #[command(flatten)]
    codec: Codec,
    /// Compress also pages anew that are compressed with that codec already
    #[arg(long)]
    recompress: bool,
    /// Leave out the checksum that each page has
    #[arg(long)]
    no_page_checksums: bool,
    #[command(flatten)]
    effort: Effort,
    /// Overwrite existing files
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(std::slice::from_ref(&args.dump))?;
    whole(&mut opened)?;
    if is_incomplete(&opened) {
        return Err(opened.fail("it is incomplete").next("`tamis repair` makes the best of it"));
    }
    let create = |path: &PathBuf| create(path, args.force, std::slice::from_ref(&args.dump));
    let mut files = args.parts.iter().map(create).collect::<Result<Vec<OutFile>>>()?;
    let input = if args.codec.is_given() { None } else { codec_of_input(&mut opened) };
    let work = args.effort.work(&args.codec, input, args.recompress, !args.no_page_checksums);
    let block = (args.block << 20) / opened.shift.bytes() as u64;
    let mut sinks: Vec<&mut dyn Sink> = files.iter_mut().map(|f| f as &mut dyn Sink).collect();
    let (report, _) =
        write(&mut opened, None, &work, Format::Kdump, &mut sinks, &args.parts, block.max(1))?;
    done(files)?;
    Ok(if report.incomplete { INCOMPLETE } else { DONE })
}
