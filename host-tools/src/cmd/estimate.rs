//! `tamis estimate`.

use crate::args::codec::{Codec, Effort};
use crate::args::level::levels;
use crate::dump::open::open;
use crate::dump::opened::{level_of, whole};
use crate::fail::{DONE, Fail, Result};
use crate::render::console::{paint, print};
use crate::render::json::show;
use crate::rewrite::estimate::{exact, sample};
use std::path::PathBuf;

/// The memory of the running kernel.
const KCORE: &str = "/proc/kcore";

/// Estimate how large a dump would be at other levels, with each codec, and how long it would take.
///
/// Of a dump, or of the running kernel through /proc/kcore, which is what is looked at where
/// nothing is named (as root); what is reserved for a crash kernel does not count then. Counts the
/// pages of each class, and compresses some thousands of them, spread over all memory, with every
/// codec: sizes are estimates, and so are the times, which are those of one CPU of this machine,
/// without reading and writing. The last lines are the least --memory-limit that tamis-capture
/// takes for that machine.
///
/// With --exact, does all the work of `tamis refilter` without writing anything, once for each
/// level, with one codec.
///
/// What is not in a dump cannot be estimated: the level in effect is that of the dump and that of
/// -d together.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   # tamis estimate
///   $ tamis estimate -d 1,31 vmcore
///   $ tamis estimate --exact -z19 -d 31 vmcore
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(value_name = "DUMP", default_value = KCORE)]
    dumps: Vec<PathBuf>,
    /// Dump levels, 0 to 31, apart by commas
    #[arg(short = 'd', long, value_name = "LEVELS", value_delimiter = ',', default_value = "0,1,17,31",
        value_parser = clap::value_parser!(u8).range(0..=31))]
    levels: Vec<u8>,
    /// Do all the work, with the codec that is given
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    codec: Codec,
    #[command(flatten)]
    effort: Effort,
    /// Print JSON (schema tamis.estimate/2)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    if args.codec.is_given() && !args.exact {
        return Err(Fail::new("all codecs are looked at").next("--exact takes one"));
    }
    let mut opened = open(&args.dumps)?;
    whole(&mut opened)?;
    let levels = levels(level_of(&opened), &args.levels);
    if args.exact {
        let exact = exact(&mut opened, &args.effort.work(&args.codec, None, true, true), &levels)?;
        if args.json { show(&exact)? } else { print(exact.text())? }
    } else {
        let sampled = sample(&mut opened, args.dumps == [PathBuf::from(KCORE)], &levels);
        if args.json { show(&sampled)? } else { paint(sampled.text())? }
    }
    Ok(DONE)
}
