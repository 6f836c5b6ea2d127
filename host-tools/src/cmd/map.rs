//! `tamis map`.

use crate::classes::map::{
    COLUMNS, ROWS, ROWS_ON_TERMINAL, classes_of_ranges, columns_of, draw, half_blocks,
    lines_of_ranges, picture_of, title,
};
use crate::dump::open::open;
use crate::dump::opened::Opened;
use crate::dump::out::create;
use crate::fail::{DONE, Fail, Result};
use crate::render::console::{print, remark, shows_all_colours, shows_colours, stdout, width};
use crate::render::json::show;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Show the physical memory of the dead machine: a picture, or range by range.
///
/// With -o, writes a picture as SVG or PNG, as the name ends. Each cell is a block of memory in the
/// colour of the class that most of its pages are of, paler the fewer of them are in the dump; the
/// legend has the totals; an SVG names the class under the pointer. Memory that is not there is
/// left out. On a terminal that shows colours the same picture is printed, as wide as fits.
///
/// Otherwise there is a line for each range of memory: first and last address, size, and how many
/// of its pages are in the dump. `tamis pages` lists what became of each page, `tamis stats`
/// counts them.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis map vmcore
///   $ tamis map -o memory.svg vmcore
///   $ tamis map --json part1 part2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Write a picture to this file, whose name ends in .svg or .png
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long, requires = "output")]
    force: bool,
    /// Print JSON (schema tamis.map/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    if let Some(path) = &args.output {
        write(&mut opened, path, args)?;
    } else if args.json {
        show(&classes_of_ranges(&mut opened))?;
    } else if shows_colours() {
        let map = picture_of(&mut opened, columns_of(width()), ROWS_ON_TERMINAL);
        print(half_blocks(&opened, &map, shows_all_colours()))?;
    } else {
        let mut out = stdout();
        lines_of_ranges(&mut opened, &mut out)?;
        out.flush()?;
    }
    Ok(DONE)
}

fn write(opened: &mut Opened, path: &Path, args: &Args) -> Result<()> {
    let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if !["svg", "png"].contains(&kind) {
        return Err(
            Fail::file(path, "a picture of which kind?").next("end the name in .svg or .png")
        );
    }
    let mut file = create(path, args.force, &args.dumps)?;
    let map = picture_of(opened, COLUMNS, ROWS);
    let picture = draw(opened, &map);
    let bytes = match kind {
        "svg" => picture.svg().into_bytes(),
        _ => picture.png().map_err(|e| Fail::file(path, format_args!("making a PNG: {e}")))?,
    };
    file.put(0, &bytes)?;
    file.done()?;
    remark(format_args!("{}: {}", path.display(), title(opened, &map)));
    Ok(())
}
