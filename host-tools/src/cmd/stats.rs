use super::print;
use super::refilter::whole;
use crate::fail::{DONE, Result};
use crate::io::open::open;
use crate::refilter::{Compress, Format, write};
use crate::render::json::{Json, Object};
use crate::render::text::{Style, Table, number, percent, size};
use std::path::PathBuf;
use tamis_core::kernel::page::Level;
use tamis_core::sink::Discard;
use tamis_core::tally::Reason;

/// Count the pages of a dump by what the dead kernel used them for.
///
/// Looks at the struct page of every page, as a capture with dump level 31 would, and at the pages
/// for zeros. What a level would leave out of this dump can be read off: free pages are level 16,
/// and so on. "Not in the dump" are pages that are of use but that the dump does not hold.
///
/// Examples:
///   $ tamis stats vmcore
///   $ tamis stats --json vmcore | jq .pages.free
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.stats/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    whole(&mut opened)?;
    let level = Level::new(31).unwrap_or_default();
    let mut encoder = Compress::Raw.encoder()?;
    let report = write(&mut opened, level, &mut *encoder, Format::Kdump, &mut [&mut Discard], 0)?;
    let tally = report.tally;
    let rest = tally.kept.saturating_sub(tally.of(Reason::Zero) + tally.unreadable);
    let rows: [(&str, &str, u64); 11] = [
        ("kernel", "kernel and other", rest),
        ("zero", "zeros (1)", tally.of(Reason::Zero)),
        ("cache", "page cache (2)", tally.of(Reason::Cache)),
        ("cache_private", "private page cache (4)", tally.of(Reason::CachePrivate)),
        ("user", "memory of processes (8)", tally.of(Reason::User)),
        ("free", "free (16)", tally.of(Reason::Free)),
        ("hwpoison", "broken", tally.of(Reason::HwPoison)),
        ("offline", "offline", tally.of(Reason::Offline)),
        ("unreadable", "unreadable", tally.unreadable),
        ("not_in_dump", "not in the dump", tally.no_data),
        ("undecided", "kept for lack of a struct page", tally.undecided),
    ];
    let page = opened.shift.bytes() as u64;
    if args.json {
        let mut pages = Object::new().with("exist", tally.exist);
        for (key, _, count) in rows {
            pages = pages.with(key, count);
        }
        let document =
            Object::document("tamis.stats/1").with("page_size", page).with("pages", pages);
        print(format!("{}\n", Json::from(document)))?;
        return Ok(DONE);
    }
    let mut table = Table::default();
    let mut row = |label: &str, pages: u64| {
        let part = percent(pages, tally.exist);
        table.row(
            label,
            format!("{:>14} pages {:>8} {:>12}", number(pages), part, size(pages * page)),
        );
    };
    for (_, label, count) in rows {
        if count > 0 {
            row(label, count);
        }
    }
    row("all", tally.exist);
    print(table.text(Style::stdout()))?;
    Ok(DONE)
}
