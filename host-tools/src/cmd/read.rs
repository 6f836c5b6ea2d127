//! `tamis read`.

use crate::args::address::{address, number};
use crate::args::size::size;
use crate::classes::left_out;
use crate::dump::open::open;
use crate::dump::opened::Opened;
use crate::dump::out::create;
use crate::fail::{DONE, Fail, Result};
use crate::render::console::{shown, stdout};
use crate::render::json::{Document, Hex, show};
use crate::render::text::dim;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use tamis_core::input::kdump::PageFault;
use tamis_core::kernel::memory::TranslateError;
use tamis_core::memory::{PhysMemory as _, ReadError};
use tamis_core::units::{Pfn, PhysAddr, VirtAddr};

/// Read memory out of a dump.
///
/// The place is a physical address, a virtual address of the kernel, or a page frame number.
/// Addresses are hexadecimal, with or without 0x; pfns and lengths are decimal, or hexadecimal with
/// 0x; a length may be a size such as 4K. Without --len, 256 bytes are read, and of a pfn its page.
///
/// Prints offsets, bytes and characters, 16 bytes a line; --raw writes the bytes themselves, with -o
/// to a file, which is not there unless all of them are. Memory that is not in the dump ends the
/// output, with the reason as far as the mem_map shows it ("left out (free)").
///
/// Exit status: 0 all bytes are there; 3 they are not, or it could not be done.
///
/// Examples:
///   $ tamis read vmcore --virt ffffffff82a00100 --len 64
///   $ tamis read vmcore --phys 0x1000000
///   $ tamis read vmcore --pfn 0x1a2b --raw > page
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(group = clap::ArgGroup::new("place").required(true).args(["phys", "virt", "pfn"]))]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Physical address
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    phys: Option<u64>,
    /// Virtual address of the kernel
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    virt: Option<u64>,
    /// Page frame number
    #[arg(long, value_name = "PFN", value_parser = number)]
    pfn: Option<u64>,
    /// Bytes to read
    #[arg(long, value_name = "BYTES", value_parser = length)]
    len: Option<u64>,
    /// Write the bytes as they are
    #[arg(long)]
    raw: bool,
    /// Write them to this file
    #[arg(short, long, value_name = "FILE", requires = "raw")]
    output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long, requires = "output")]
    force: bool,
    /// Print JSON (schema tamis.read/1); of 16 MiB at most
    #[arg(long, conflicts_with = "raw")]
    json: bool,
}

/// Bytes that are printed as JSON, at most: that is one text, in memory.
const JSON_MOST: u64 = 16 << 20;

/// What was read.
#[derive(Serialize)]
pub(crate) struct Bytes {
    pub(crate) address: Hex,
    pub(crate) kind: &'static str,
    pub(crate) length: u64,
    pub(crate) read: usize,
    pub(crate) bytes: String,
    pub(crate) error: Option<String>,
}

impl Document for Bytes {
    const SCHEMA: &'static str = "tamis.read/1";
}

/// A length: a number, or a size with a unit.
fn length(text: &str) -> std::result::Result<u64, String> {
    number(text).or_else(|why| size(text).map_err(|_| why))
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let page = opened.shift.bytes() as u64;
    let (start, is_virt, default) = match (args.phys, args.virt, args.pfn) {
        (Some(at), ..) => (at, false, 256),
        (_, Some(at), _) => (at, true, 256),
        (.., Some(pfn)) => {
            let at = opened
                .shift
                .addr(Pfn(pfn))
                .ok_or_else(|| opened.fail(format_args!("pfn {pfn:#x} is past all memory")))?;
            (at.0, false, page)
        }
        _ => return Err(Fail::new("no address was given")),
    };
    let len = args.len.unwrap_or(default);
    if args.json && len > JSON_MOST {
        let text = format_args!("{len} bytes are too many for JSON");
        return Err(opened.fail(text).next("--raw writes any number of them"));
    }
    let mut hex = String::new();
    let document = |bytes: String, error: Option<String>| Bytes {
        address: Hex(start),
        kind: if is_virt { "virtual" } else { "physical" },
        length: len,
        read: bytes.len() / 2,
        bytes,
        error,
    };
    let mut file = match &args.output {
        Some(path) => Some(create(path, args.force, &args.dumps)?),
        None => None,
    };
    let mut out = stdout();
    let mut buf = vec![0; page as usize];
    let mut done = 0;
    while done < len {
        let at = start.wrapping_add(done);
        // Up to the end of the page: what can be read of it, can be read whole.
        let step = (page - at % page).min(len - done) as usize;
        let part = &mut buf[..step];
        let read = if is_virt {
            let read = opened.with_memory(|memory, _| memory.read(VirtAddr(at), part))?;
            read.map_err(|e| match e {
                TranslateError::Read(fault) => absent(&mut opened, fault.at().0, fault),
                TranslateError::Walk(walk) => walk.to_string(),
            })
        } else {
            opened.dump.read(PhysAddr(at), part).map_err(|e| absent(&mut opened, at, e))
        };
        if let Err(e) = read {
            out.flush()?;
            drop(out);
            if args.json {
                show(&document(hex, Some(e.clone())))?;
            }
            return Err(opened.fail(format_args!("{done} of {len} bytes read: {e}")));
        }
        if let Some(file) = &mut file {
            file.put(done, part)?;
        } else if args.json {
            for byte in part.iter() {
                let _ = write!(hex, "{byte:02x}");
            }
        } else if args.raw {
            out.write_all(part)?;
        } else {
            out.write_all(shown(hexdump(at, part)).as_bytes())?;
        }
        done += step as u64;
    }
    out.flush()?;
    drop(out);
    if let Some(file) = file {
        file.done()?;
    }
    if args.json {
        show(&document(hex, None))?;
    }
    Ok(DONE)
}

/// Why a page cannot be read, more exactly than a source can say.
fn absent(opened: &mut Opened, at: u64, fault: ReadError) -> String {
    let pfn = opened.shift.pfn(PhysAddr(at));
    let why = match (opened.kdump().map(|k| k.page(pfn).map(|_| ())), fault) {
        (Some(Err(PageFault::Absent)), _) | (None, ReadError::Absent(_)) => left_out(opened, pfn),
        (Some(Err(why @ PageFault::Checksum(_))), _) => {
            format!("{why}; `tamis verify` lists all damage, `tamis repair` keeps what is good")
        }
        (Some(Err(why)), _) => why.to_string(),
        _ => return fault.to_string(),
    };
    format!("pfn {pfn} (physical {at:#x}) is {why}")
}

/// Lines of 16 bytes.
fn hexdump(at: u64, bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, line) in bytes.chunks(16).enumerate() {
        let address = format!("{:016x}", at.wrapping_add(16 * index as u64));
        text += &dim(&address);
        text.push(' ');
        for half in 0..2 {
            text.push(' ');
            for n in 8 * half..8 * half + 8 {
                match line.get(n) {
                    Some(byte) => {
                        let _ = write!(text, "{byte:02x} ");
                    }
                    None => text.push_str("   "),
                }
            }
        }
        text.push('|');
        for byte in line {
            let shown = if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'.' };
            text.push(char::from(shown));
        }
        text.push_str("|\n");
    }
    text
}
