//! `tamis verify`.

use crate::about::verify::{Findings, Weight, verify};
use crate::args::threads::Threads;
use crate::dump::open::open_all;
use crate::dump::opened::Opened;
use crate::fail::{DONE, NO, Result};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use crate::render::text::{Style, number};
use std::path::PathBuf;

/// Read every page of a dump, and tell which ones are damaged.
///
/// Checks headers, notes, VMCOREINFO, both bitmaps, every page descriptor, that the data of every
/// page decompresses to exactly one page, and that every page's struct page can be read. Pages
/// that are stored raw have no checksum: of those it can only be said that they are there. Of an
/// ELF vmcore every byte is read. Works in all cores.
///
/// What is wrong is listed with its pfns, runs of the same fault in one line, --faults lines at
/// most.
///
/// Exit status: 0 sound; 1 damaged; 2 sound as far as it goes, but pages are missing: the writer
/// ran out of space or died, the file was cut off, or files of a split dump were not given; 3 it could
/// not be done.
///
/// Examples:
///   $ tamis verify vmcore && echo sound
///   $ tamis verify part1 part2 part3
///   $ tamis verify --json vmcore | jq '.dumps[].verdict'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Dumps, or all files of split ones; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.verify/1)
    #[arg(long)]
    json: bool,
    /// Faults to list, runs of pfns counting as one
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    faults: usize,
    #[command(flatten)]
    threads: Threads,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let style = Style::stdout();
    let (mut status, mut list, mut text) = (DONE, Vec::new(), String::new());
    for mut opened in open_all(&args.dumps)? {
        let found = verify(&mut opened, args.faults, args.threads.count())?;
        let (verdict, code) = found.verdict();
        // Damage is worse than what is missing, though its number is smaller.
        status = match (status, code) {
            (NO, _) | (_, NO) => NO,
            (a, b) => a.max(b),
        };
        if args.json {
            list.push(json(&opened, &found, verdict).into());
            continue;
        }
        let name = opened.name();
        for fault in &found.faults {
            let place = match fault.pfns {
                Some((start, end)) if end == start + 1 => format!("pfn {start:#x}: "),
                Some((start, end)) => {
                    format!("pfns {start:#x} to {:#x} ({} pages): ", end - 1, number(end - start))
                }
                None => String::new(),
            };
            let line = format!("{place}{}", fault.text);
            text += &match fault.weight {
                Weight::Damage => style.bad(&line),
                Weight::Missing => style.warn(&line),
            };
            text.push('\n');
        }
        if found.more > 0 {
            text +=
                &format!("and {} more; --faults NUMBER lists more of them\n", number(found.more));
        }
        let word = match code {
            DONE => style.good(verdict),
            NO => style.bad(verdict),
            _ => style.warn(verdict),
        };
        text += &format!("{name}: {word}: {} pages good", number(found.good));
        for (count, what) in [(found.damaged, "damaged"), (found.missing, "missing")] {
            if count > 0 {
                text += &format!(", {} {what}", number(count));
            }
        }
        text.push('\n');
    }
    if args.json {
        let document = Object::document("tamis.verify/1").with("dumps", Json::List(list));
        text = format!("{}\n", Json::from(document));
    }
    print(text)?;
    Ok(status)
}

fn json(opened: &Opened, found: &Findings, verdict: &str) -> Object {
    let faults: Vec<Json> = found
        .faults
        .iter()
        .map(|f| {
            Object::new()
                .with("kind", if f.weight == Weight::Damage { "damage" } else { "missing" })
                .with("start_pfn", f.pfns.map(|(start, _)| start))
                .with("end_pfn", f.pfns.map(|(_, end)| end))
                .with("text", f.text.as_str())
                .into()
        })
        .collect();
    let paths: Vec<String> =
        opened.files.iter().map(|f| f.raw.path.display().to_string()).collect();
    Object::new()
        .with("files", paths)
        .with("verdict", verdict)
        .with(
            "pages",
            Object::new()
                .with("good", found.good)
                .with("damaged", found.damaged)
                .with("missing", found.missing),
        )
        .with("faults", Json::List(faults))
        .with("faults_not_listed", found.more)
}
