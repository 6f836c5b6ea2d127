//! `tamis diff`.

use crate::about::compare::{Found, Kind, compare};
use crate::args::threads::Threads;
use crate::dump::open::open;
use crate::dump::opened::{Dump, Opened};
use crate::fail::{DONE, Fail, NO, Result};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use crate::render::text::{Style, number};
use std::path::PathBuf;

/// Compare two dumps page by page.
///
/// Whatever their formats and codecs: two dumps are the same if they hold the same pages with the
/// same bytes. Pages that only one of them holds, and pages that differ, are listed as runs of
/// pfns, --runs lines at most. Kernel release, dump level and VMCOREINFO are compared too. Works in
/// all cores.
///
/// Exit status: 0 the same; 1 different; 3 it could not be done.
///
/// Examples:
///   $ tamis diff vmcore.kdump vmcore.elf
///   $ tamis diff --json before after
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A dump
    a: PathBuf,
    /// Another one
    b: PathBuf,
    /// Print JSON (schema tamis.diff/1)
    #[arg(long)]
    json: bool,
    /// Runs of pages to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    runs: usize,
    #[command(flatten)]
    threads: Threads,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut a = open(std::slice::from_ref(&args.a))?;
    let mut b = open(std::slice::from_ref(&args.b))?;
    if a.shift != b.shift {
        return Err(Fail::new(format_args!(
            "{} has pages of {} bytes, {} of {}: they are of different machines",
            a.name(),
            a.shift.bytes(),
            b.name(),
            b.shift.bytes()
        )));
    }
    let mut heads = Vec::new();
    let mut head = |what: &str, of: &dyn Fn(&Opened) -> String| {
        let (x, y) = (of(&a), of(&b));
        if x != y {
            heads.push((what.to_owned(), x, y));
        }
    };
    head("kernel", &|o| {
        String::from_utf8_lossy(o.info().release().unwrap_or_default()).into_owned()
    });
    head("dump level", &|o| match &o.dump {
        Dump::Kdump(k) => k.facts().sub.dump_level.to_string(),
        Dump::Elf(_) => "none".into(),
    });
    head("VMCOREINFO", &|o| format!("{} bytes", o.text.len()));
    if a.text[..] != b.text[..] && a.text.len() == b.text.len() {
        heads.push(("VMCOREINFO".into(), "one text".into(), "another".into()));
    }
    let mut found = Found { most: args.runs, ..Found::default() };
    compare(&mut a, &mut b, &mut found, args.threads.count())?;
    let level_only = heads.iter().all(|(what, ..)| what == "dump level");
    let differ = found.counts.iter().any(|c| *c > 0) || !level_only;
    if args.json {
        let runs: Vec<Json> = found
            .runs
            .iter()
            .map(|(kind, start, end)| {
                Object::new()
                    .with("what", kind.word())
                    .with("start_pfn", *start)
                    .with("end_pfn", *end)
                    .into()
            })
            .collect();
        let heads: Vec<Json> = heads
            .iter()
            .map(|(what, x, y)| {
                Object::new()
                    .with("what", what.as_str())
                    .with("first", x.as_str())
                    .with("second", y.as_str())
                    .into()
            })
            .collect();
        let document = Object::document("tamis.diff/1")
            .with("same", !differ)
            .with(
                "pages",
                Object::new()
                    .with("same", found.same)
                    .with("only_in_first", found.counts[0])
                    .with("only_in_second", found.counts[1])
                    .with("different", found.counts[2])
                    .with("unreadable", found.counts[3]),
            )
            .with("headers", Json::List(heads))
            .with("runs", Json::List(runs))
            .with("runs_not_listed", found.more);
        print(format!("{}\n", Json::from(document)))?;
    } else {
        let style = Style::stdout();
        let mut text = String::new();
        for (what, x, y) in &heads {
            text += &format!("{what}: {x} and {y}\n");
        }
        for (kind, start, end) in &found.runs {
            let pages = end - start;
            text += &match pages {
                1 => format!("pfn {start:#x}: {}\n", kind.word()),
                _ => format!(
                    "pfns {start:#x} to {:#x} ({} pages): {}\n",
                    end - 1,
                    number(pages),
                    kind.word()
                ),
            };
        }
        if found.more > 0 {
            text += &format!("and {} more; --runs NUMBER lists more\n", number(found.more));
        }
        let verdict = if differ { style.bad("different") } else { style.good("the same") };
        text += &format!("{verdict}: {} pages alike", number(found.same));
        for (kind, count) in [Kind::Differs, Kind::OnlyA, Kind::OnlyB, Kind::Unreadable]
            .into_iter()
            .map(|kind| (kind, found.counts[kind as usize]))
            .filter(|(_, count)| *count > 0)
        {
            text += &format!(", {} {}", number(count), kind.word());
        }
        text.push('\n');
        print(text)?;
    }
    Ok(if differ { NO } else { DONE })
}
