use super::print;
use super::read::address;
use crate::fail::{DONE, NO, Result};
use crate::io::open::{Dump, open};
use crate::render::json::{Json, Object};
use crate::render::text::{Style, Table, size};
use std::path::PathBuf;
use tamis_core::arch::TableCache;
use tamis_core::source::Source;
use tamis_core::units::{PhysAddr, VirtAddr};

/// Translate a virtual address of the kernel to a physical one.
///
/// Walks the dead kernel's page tables. Tells the physical address, its page frame number, how far
/// the same mapping goes on, and whether the page is in the dump. The address is hexadecimal, with
/// or without 0x.
///
/// Exit status 1 says that the address is not mapped.
///
/// Examples:
///   $ tamis vtop vmcore ffffffff82a00100
///   $ tamis vtop --json vmcore 0xffffea0000000000
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump; - is standard input
    dump: PathBuf,
    /// Virtual address
    #[arg(value_parser = address)]
    address: u64,
    /// Print JSON (schema tamis.vtop/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(std::slice::from_ref(&args.dump))?;
    let arch = opened.arch()?;
    let mut tables = vec![0; TableCache::STORAGE];
    let mut cache = TableCache::new(&mut tables);
    let found = arch.translate(VirtAddr(args.address), &mut opened.dump, &mut cache);
    let mapping = match found {
        Ok(mapping) => mapping,
        Err(error) if args.json => {
            let document = Object::document("tamis.vtop/1")
                .with("virtual", format!("{:#x}", args.address))
                .with("physical", Json::Null)
                .with("error", error.to_string());
            print(format!("{}\n", Json::from(document)))?;
            return Ok(NO);
        }
        Err(error) => {
            super::remark(format_args!("{}: {error}", opened.name()));
            return Ok(NO);
        }
    };
    let pfn = opened.shift.pfn(mapping.phys);
    let state = state(&mut opened.dump, mapping.phys, pfn);
    if args.json {
        let document = Object::document("tamis.vtop/1")
            .with("virtual", format!("{:#x}", args.address))
            .with("physical", format!("{:#x}", mapping.phys.0))
            .with("pfn", pfn.0)
            .with("contiguous", mapping.len)
            .with("page", state)
            .with("error", Json::Null);
        print(format!("{}\n", Json::from(document)))?;
    } else {
        let mut table = Table::default();
        table.row("virtual", format!("{:016x}", args.address));
        table.row("physical", format!("{:016x}", mapping.phys.0));
        table.row("pfn", pfn.to_string());
        table.row("contiguous", size(mapping.len));
        table.row("page", state);
        print(table.text(Style::stdout()))?;
    }
    Ok(DONE)
}

/// Whether the page is there.
fn state(dump: &mut Dump, at: PhysAddr, pfn: tamis_core::units::Pfn) -> String {
    match dump {
        Dump::Kdump(kdump) => match kdump.page(pfn) {
            Ok(_) => "in the dump".into(),
            Err(fault) => fault.to_string(),
        },
        Dump::Elf(elf) => match elf.read(at, &mut [0]) {
            Ok(()) => "in the dump".into(),
            Err(fault) => fault.to_string(),
        },
    }
}
