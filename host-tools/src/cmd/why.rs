//! `tamis why`.

use crate::args::address::{address, number};
use crate::classes::why::Why;
use crate::dump::open::open;
use crate::dump::opened::Opened;
use crate::fail::{DONE, Result};
use crate::render::console::paint;
use crate::render::json::show;
use std::path::PathBuf;
use tamis_core::units::{Pfn, PhysAddr, VirtAddr};

/// Show why a page is in a dump, or is not.
///
/// Shows what the page's struct page says (flags by name where the kernel has its own types), the class
/// that follows from it and by which rule, the block that it is of, the dump levels that leave it out,
/// and where its bytes are in this dump.
///
/// WHERE is a page frame number (decimal, or hexadecimal with 0x) or a virtual address of the kernel;
/// with --phys, a physical address, hexadecimal.
///
/// Exit status: 0 shown; 3 it could not be done.
///
/// Examples:
///   $ tamis why 0x1a2b vmcore
///   $ tamis why ffff888012345000 vmcore
///   $ tamis why --phys 12345000 --json part1 part2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The page
    #[arg(value_name = "WHERE")]
    place: String,
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// WHERE is a physical address
    #[arg(long)]
    phys: bool,
    /// Print JSON (schema tamis.why/1)
    #[arg(long)]
    json: bool,
}

/// The page that is meant.
fn page(opened: &mut Opened, args: &Args) -> Result<Pfn> {
    let text = args.place.as_str();
    let value = match args.phys {
        true => address(text),
        false => number(text).or_else(|_| address(text)),
    };
    let value = value.map_err(|why| {
        opened.fail(format_args!("{text}: {why}")).next("name a pfn, or an address of the kernel")
    })?;
    let shift = opened.shift;
    if args.phys {
        return Ok(shift.pfn(PhysAddr(value)));
    }
    if value < opened.max_pfn.0 {
        return Ok(Pfn(value));
    }
    let last = opened.max_pfn;
    let arch = opened.arch();
    if !arch.is_ok_and(|arch| arch.is_kernel_address(VirtAddr(value))) {
        let text = format_args!("{value:#x} is no address of the kernel, and pfns end at {last}");
        return Err(opened.fail(text).next("--phys is for physical addresses"));
    }
    let found = opened.with_memory(|memory, _| memory.physical(VirtAddr(value)))?;
    found.map(|at| shift.pfn(at)).map_err(|e| opened.fail(e))
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let pfn = page(&mut opened, args)?;
    let why = Why::of(&mut opened, pfn);
    if args.json {
        show(&why)?
    } else {
        paint(why.text().text())?
    }
    Ok(DONE)
}
