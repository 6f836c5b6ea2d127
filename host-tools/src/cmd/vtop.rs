//! `tamis vtop`.

use crate::args::address::address;
use crate::classes::pages::presence;
use crate::dump::open::open;
use crate::dump::opened::Opened;
use crate::fail::{DONE, NO, Result};
use crate::kernel::names::names;
use crate::render::console::{paint, remark};
use crate::render::json::{Document, Hex, show};
use crate::render::text::{Table, size};
use serde::Serialize;
use std::path::PathBuf;
use tamis_core::arch::paging::{Step, TableCache};
use tamis_core::units::VirtAddr;

/// Translate a virtual address of the kernel to a physical one.
///
/// Walks the dead kernel's page tables, and shows each entry on the way: the physical address
/// where it stands, and its value. Shows the symbol that the address is in, the physical address,
/// its page frame number, how far the same mapping goes on, and whether the page is in the dump. The
/// address, the last argument, is hexadecimal, with or without 0x.
///
/// Exit status: 0 mapped; 1 not mapped; 3 it could not be done.
///
/// Examples:
///   $ tamis vtop vmcore ffffffff82a00100
///   $ tamis vtop --json part1 part2 0xffffea0000000000
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Virtual address
    #[arg(value_parser = address)]
    address: u64,
    /// Print JSON (schema tamis.vtop/1)
    #[arg(long)]
    json: bool,
}

/// A translation.
#[derive(Serialize)]
pub(crate) struct Translation {
    #[serde(rename = "virtual")]
    pub(crate) address: Hex,
    pub(crate) symbol: Option<String>,
    pub(crate) walk: Vec<Entry>,
    pub(crate) physical: Option<Hex>,
    #[serde(flatten)]
    pub(crate) mapped: Option<Mapped>,
    pub(crate) error: Option<String>,
}

/// An entry of a page table.
#[derive(Serialize)]
pub(crate) struct Entry {
    pub(crate) level: &'static str,
    pub(crate) entry_at: Hex,
    pub(crate) entry: Hex,
}

/// What is at an address that is mapped.
#[derive(Serialize)]
pub(crate) struct Mapped {
    pub(crate) pfn: u64,
    pub(crate) contiguous: u64,
    pub(crate) page: String,
}

impl Document for Translation {
    const SCHEMA: &'static str = "tamis.vtop/1";
}

fn translate(opened: &mut Opened, address: u64) -> Result<Translation> {
    let arch = opened.arch()?;
    let mut tables = vec![0; TableCache::STORAGE];
    let mut cache = TableCache::new(&mut tables[..]);
    let found = arch.translate(VirtAddr(address), &mut opened.dump, &mut cache);
    let entry =
        |s: Step| Entry { level: s.level, entry_at: Hex(s.entry_at.0), entry: Hex(s.entry) };
    let walk = cache.steps().map(entry).collect();
    let mapped = found.as_ref().ok().map(|mapping| {
        let pfn = opened.shift.pfn(mapping.phys);
        let page = presence(opened, mapping.phys, pfn);
        Mapped { pfn: pfn.0, contiguous: mapping.len, page }
    });
    let physical = found.as_ref().ok().map(|mapping| Hex(mapping.phys.0));
    let error = found.err().map(|error| error.to_string());
    let symbol = names(opened, &[address]).pop().flatten();
    Ok(Translation { address: Hex(address), symbol, walk, physical, mapped, error })
}

fn text(found: &Translation) -> Table {
    let mut table = Table::default();
    let digits = |number: Hex| format!("{:016x}", number.0);
    table.row("virtual", digits(found.address));
    if let Some(symbol) = &found.symbol {
        table.row("symbol", symbol.clone());
    }
    for step in &found.walk {
        table.row(step.level, format!("{}  at {}", digits(step.entry), digits(step.entry_at)));
    }
    if let (Some(physical), Some(mapped)) = (found.physical, &found.mapped) {
        table.row("physical", digits(physical));
        table.row("pfn", Hex(mapped.pfn).to_string());
        table.row("contiguous", size(mapped.contiguous));
        table.row("page", mapped.page.clone());
    }
    table
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let found = translate(&mut opened, args.address)?;
    if args.json {
        show(&found)?;
    } else {
        paint(text(&found).text())?;
        if let Some(error) = &found.error {
            remark(format_args!("{}: {error}", opened.name()));
        }
    }
    Ok(if found.error.is_none() { DONE } else { NO })
}
