use super::print;
use super::refilter::{Codec, Effort, both_levels, whole};
use crate::fail::{DONE, Result};
use crate::io::open::open;
use crate::refilter::{Format, level_of, write};
use crate::render::json::{Json, Object};
use crate::render::text::{number, size};
use std::path::PathBuf;
use tamis_core::sink::Discard;

/// Tell how large a dump would be at other levels.
///
/// Does all the work of `tamis refilter` without writing anything, once for each level. What is not
/// in the dump cannot be told: the level in effect is that of the dump and the one asked for
/// together.
///
/// Examples:
///   $ tamis estimate vmcore
///   $ tamis estimate -z19 -d 31 vmcore
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Dump levels, 0 to 31, apart by commas
    #[arg(short = 'd', long, value_name = "LEVELS", value_delimiter = ',', default_value = "0,1,17,31",
        value_parser = clap::value_parser!(u8).range(0..=31))]
    levels: Vec<u8>,
    #[command(flatten)]
    codec: Codec,
    #[command(flatten)]
    effort: Effort,
    /// Print JSON (schema tamis.estimate/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    whole(&mut opened)?;
    let old = level_of(&opened);
    let mut levels: Vec<u8> =
        args.levels.iter().map(|l| both_levels(old, Some(*l)).number()).collect();
    levels.sort_unstable();
    levels.dedup();
    let (mut text, mut list) = (String::new(), Vec::new());
    for level in levels {
        let work = args.effort.work(args.codec.compress());
        let level = both_levels(old, Some(level));
        let report = write(&mut opened, level, &work, Format::Kdump, &mut [&mut Discard], 0)?;
        text += &format!(
            "level {:>2}: {:>12} in {} pages\n",
            level.number(),
            size(report.bytes),
            number(report.tally.kept)
        );
        list.push(
            Object::new()
                .with("level", level.number())
                .with("bytes", report.bytes)
                .with("pages", report.tally.kept)
                .into(),
        );
    }
    if args.json {
        let document = Object::document("tamis.estimate/1").with("levels", Json::List(list));
        text = format!("{}\n", Json::from(document));
    }
    print(text)?;
    Ok(DONE)
}
