//! `tamis sym`.

use crate::args::address::address;
use crate::dump::open::open;
use crate::dump::opened::Opened;
use crate::fail::{DONE, NO, Result};
use crate::kernel::names::{Named, Names};
use crate::kernel::with_kernel;
use crate::render::console::{paint, remark};
use crate::render::json::{Document, Hex, show};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Name the symbol at an address of the kernel, or show the address of a symbol.
///
/// Symbols are those of the kernel itself and of its modules: their own tables, which lie in memory
/// and so in every dump. No debug information is needed. An address is hexadecimal, and one with 0x is
/// taken for an address where a symbol could be meant as well; everything else is a name. Names of
/// static functions and variables need not be unique: all of them are shown. Behind a symbol of a
/// module is its name in brackets; modules are found by the kernel's own types (BTF).
///
/// Exit status: 0 found; 1 not found; 3 it could not be done.
///
/// Examples:
///   $ tamis sym vmcore ffffffff82a00100
///   $ tamis sym vmcore init_task
///   $ tamis sym --json vmcore panic
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Name of a symbol, or virtual address
    #[arg(value_name = "NAME|ADDRESS")]
    symbol: String,
    /// Print JSON (schema tamis.sym/1)
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
pub(crate) struct Symbols {
    pub(crate) symbols: Vec<Found>,
}

impl Document for Symbols {
    const SCHEMA: &'static str = "tamis.sym/1";
}

/// A symbol.
#[derive(Serialize)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) module: Option<String>,
    pub(crate) address: Hex,
    pub(crate) offset: u64,
    pub(crate) size: Option<u64>,
    pub(crate) letter: char,
}

impl Found {
    fn new(named: Named) -> Found {
        let Named { name, module, letter, address, offset, size } = named;
        Found { name, module, address: Hex(address), offset, size, letter }
    }
}

/// The symbols of this name.
fn by_name(opened: &mut Opened, name: &str) -> Result<Vec<Found>> {
    with_kernel(opened, |kernel| {
        Ok(Names::default().of_name(kernel, name)?.into_iter().map(Found::new).collect())
    })
}

/// The symbol that an address is in.
fn by_address(opened: &mut Opened, address: u64) -> Result<Vec<Found>> {
    with_kernel(opened, |kernel| {
        Ok(Names::default().at(kernel, address).map(Found::new).into_iter().collect())
    })
}

fn text(symbols: &[Found]) -> String {
    let mut text = String::new();
    for Found { name, module, address, offset, size, .. } in symbols {
        let _ = write!(text, "{:016x}  {name}", address.0 + offset);
        if *offset > 0 {
            let _ = write!(text, "+{offset:#x}");
        }
        if let Some(module) = module {
            let _ = write!(text, " [{module}]");
        }
        if let Some(size) = size {
            let _ = write!(text, "  of {size:#x} bytes");
        }
        text.push('\n');
    }
    text
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let prefixed = args.symbol.starts_with("0x") || args.symbol.starts_with("0X");
    let symbols = match address(&args.symbol) {
        Ok(address) if prefixed => by_address(&mut opened, address)?,
        // A name may have the digits of a number only.
        Ok(address) => match by_name(&mut opened, &args.symbol)? {
            none if none.is_empty() => by_address(&mut opened, address)?,
            found => found,
        },
        Err(_) => by_name(&mut opened, &args.symbol)?,
    };
    let found = Symbols { symbols };
    if args.json {
        show(&found)?;
    } else {
        paint(text(&found.symbols))?;
        if found.symbols.is_empty() {
            let (dump, what) = (opened.name(), &args.symbol);
            remark(format_args!("{dump}: its kernel has no symbol {what}"));
        }
    }
    Ok(if found.symbols.is_empty() { NO } else { DONE })
}
