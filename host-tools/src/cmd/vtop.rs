//! `tamis vtop`.

use crate::args::address::address;
use crate::classes::pages::presence;
use crate::dump::open::open;
use crate::fail::{DONE, NO, Result};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use crate::render::text::{Style, Table, size};
use std::path::PathBuf;
use tamis_core::arch::paging::{Step, TableCache};
use tamis_core::units::VirtAddr;

/// Translate a virtual address of the kernel to a physical one.
///
/// Walks the dead kernel's page tables, and shows each entry on the way: the physical address
/// where it stands, and its value. Tells the physical address, its page frame number, how far the
/// same mapping goes on, and whether the page is in the dump. The address, the last argument, is
/// hexadecimal, with or without 0x.
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

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let arch = opened.arch()?;
    let mut tables = vec![0; TableCache::STORAGE];
    let mut cache = TableCache::new(&mut tables[..]);
    let found = arch.translate(VirtAddr(args.address), &mut opened.dump, &mut cache);
    let steps: Vec<Step> = cache.steps().collect();
    let status = if found.is_ok() { DONE } else { NO };
    if args.json {
        let walk = steps.iter().map(|step| {
            Object::new()
                .with("level", step.level)
                .with("entry_at", format!("{:#x}", step.entry_at.0))
                .with("entry", format!("{:#x}", step.entry))
        });
        let mut document = Object::document("tamis.vtop/1")
            .with("virtual", format!("{:#x}", args.address))
            .with("walk", walk.collect::<Vec<_>>());
        document = match found {
            Ok(mapping) => {
                let pfn = opened.shift.pfn(mapping.phys);
                document
                    .with("physical", format!("{:#x}", mapping.phys.0))
                    .with("pfn", pfn.0)
                    .with("contiguous", mapping.len)
                    .with("page", presence(&mut opened, mapping.phys, pfn))
                    .with("error", Json::Null)
            }
            Err(error) => document.with("physical", Json::Null).with("error", error.to_string()),
        };
        print(format!("{}\n", Json::from(document)))?;
        return Ok(status);
    }
    let mut table = Table::default();
    table.row("virtual", format!("{:016x}", args.address));
    for step in &steps {
        table.row(step.level, format!("{:016x}  at {:016x}", step.entry, step.entry_at.0));
    }
    if let Ok(mapping) = found {
        let pfn = opened.shift.pfn(mapping.phys);
        table.row("physical", format!("{:016x}", mapping.phys.0));
        table.row("pfn", pfn.to_string());
        table.row("contiguous", size(mapping.len));
        table.row("page", presence(&mut opened, mapping.phys, pfn));
    }
    print(table.text(Style::stdout()))?;
    if let Err(error) = found {
        crate::render::console::remark(format_args!("{}: {error}", opened.name()));
    }
    Ok(status)
}
