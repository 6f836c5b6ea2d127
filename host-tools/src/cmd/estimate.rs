//! `tamis estimate`.

use crate::args::codec::{Codec, Effort};
use crate::args::level::levels;
use crate::dump::open::open;
use crate::dump::opened::{Opened, level_of, whole};
use crate::fail::{DONE, Fail, Result};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use crate::render::text::{Style, columns, number, size};
use crate::rewrite::estimate::{Least, Row, sample};
use crate::rewrite::refilter::{Format, write};
use std::path::PathBuf;
use tamis_core::io::Discard;
use tamis_core::level::DumpLevel;

/// The memory of the running kernel.
const KCORE: &str = "/proc/kcore";

/// Tell how large a dump would be at other levels, with each codec, and how long it would take.
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
/// What is not in a dump cannot be told: the level in effect is that of the dump and the one asked
/// for together.
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
    if args.exact { exact(args, &mut opened, &levels) } else { sampled(args, &mut opened, &levels) }
}

fn exact(args: &Args, opened: &mut Opened, levels: &[DumpLevel]) -> Result<u8> {
    let (mut text, mut list) = (String::new(), Vec::new());
    for level in levels.iter().copied() {
        let work = args.effort.work(&args.codec, true);
        let report = write(opened, level, &work, Format::Kdump, &mut [&mut Discard], 0)?;
        text += &format!(
            "level {:>2}: {:>12} in {} pages\n",
            level,
            size(report.bytes),
            number(report.tally.kept)
        );
        list.push(
            Object::new()
                .with("level", level.bits())
                .with("bytes", report.bytes)
                .with("pages", report.tally.kept)
                .into(),
        );
    }
    if args.json {
        let document = Object::document("tamis.estimate/2")
            .with("exact", true)
            .with("levels", Json::List(list));
        text = format!("{}\n", Json::from(document));
    }
    print(text)?;
    Ok(DONE)
}

fn sampled(args: &Args, opened: &mut Opened, levels: &[DumpLevel]) -> Result<u8> {
    let live = args.dumps == [PathBuf::from(KCORE)];
    let (rows, least) = sample(opened, live, levels);
    if args.json {
        print(format!("{}\n", Json::from(json(&rows, &least))))?;
        return Ok(DONE);
    }
    let names = least.iter().map(|(name, ..)| (*name).to_owned());
    let mut table = vec![vec!["".into(), "pages".into()]];
    table[0].extend(names);
    for row in &rows {
        let mut line = vec![format!("level {}", row.level), number(row.pages)];
        line.extend(row.bytes.map(size));
        table.push(line);
        let mut line = vec!["  CPU seconds".to_owned(), String::new()];
        line.extend(row.seconds.map(|s| format!("{s:.1}")));
        table.push(line);
    }
    let style = Style::stdout();
    let mut text = columns(&table, style);
    let most = least.iter().map(|(.., bytes)| *bytes).max().unwrap_or(0);
    text += &format!(
        "\ntamis-capture takes {} at least for it: --memory-limit {}K\n",
        size(most),
        most.div_ceil(1024)
    );
    print(text)?;
    Ok(DONE)
}

fn json(rows: &[Row], least: &[Least]) -> Object {
    let by_codec = |of: &dyn Fn(usize) -> Json| {
        let names = least.iter().enumerate();
        names.fold(Object::new(), |object, (n, (name, ..))| object.with(*name, of(n)))
    };
    let levels = rows.iter().map(|row| {
        Object::new()
            .with("level", row.level)
            .with("pages", row.pages)
            .with("bytes", by_codec(&|n| row.bytes[n].into()))
            .with("cpu_milliseconds", by_codec(&|n| ((row.seconds[n] * 1000.0) as u64).into()))
    });
    Object::document("tamis.estimate/2")
        .with("exact", false)
        .with("levels", levels.collect::<Vec<_>>())
        .with("least_memory_limit", by_codec(&|n| least[n].2.into()))
}
