//! `tamis vmcoreinfo`.

use crate::dump::open::open_notes;
use crate::dump::out::create;
use crate::fail::{DONE, NO, Result};
use crate::render::console::{print, remark};
use crate::render::json::{Document, Members, show};
use crate::render::text::plain;
use crate::vmlinux;
use serde::Serialize;
use std::collections::HashSet;
use std::path::PathBuf;

/// Print the VMCOREINFO text of a dump, or write one out of a vmlinux.
///
/// VMCOREINFO is what the dead kernel exported about itself: release, page size, addresses of symbols,
/// offsets of structure members. Everything that tools find in a dump they find through it.
///
/// With KEYs, only their values are printed, a line each, in the order of the command line. A key
/// that is missing is named on standard error.
///
/// With -x, the text is made out of a vmlinux: its symbols and its types (DWARF and BTF; where it has
/// both, they must agree). `tamis-capture -i FILE` takes it for what a vmcore does not say itself.
/// What a kernel knows only when it runs is not in it: where it lies, how wide addresses are.
///
/// Exit status: 0 done; 1 a key is missing; 3 it could not be done.
///
/// Examples:
///   $ tamis vmcoreinfo vmcore
///   $ tamis vmcoreinfo vmcore OSRELEASE 'NUMBER(phys_base)'
///   $ tamis vmcoreinfo --json vmcore | jq -r '.keys["KERNELOFFSET"]'
///   $ tamis vmcoreinfo -x /usr/lib/debug/boot/vmlinux-6.1.0 -o vmcoreinfo.txt
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump; - is standard input
    #[arg(required_unless_present = "vmlinux", conflicts_with = "vmlinux")]
    dump: Option<PathBuf>,
    /// Keys, as they stand before the equals sign
    keys: Vec<String>,
    /// Another file of the dump, if it has several; once for each
    #[arg(long, value_name = "FILE", requires = "dump")]
    file: Vec<PathBuf>,
    /// Make the text out of this vmlinux
    #[arg(short = 'x', long, value_name = "VMLINUX")]
    vmlinux: Option<PathBuf>,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE", requires = "vmlinux", conflicts_with = "json")]
    output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long, requires = "output")]
    force: bool,
    /// Print JSON (schema tamis.vmcoreinfo/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    if let Some(vmlinux) = &args.vmlinux {
        return make(args, vmlinux);
    }
    let files: Vec<PathBuf> = args.dump.iter().chain(&args.file).cloned().collect();
    let opened = open_notes(&files)?;
    if opened.text.is_empty() {
        return Err(opened.fail("it has no VMCOREINFO").next("`tamis notes` shows what it has"));
    }
    if args.json {
        return json(args, &opened.text);
    }
    if args.keys.is_empty() {
        // Older kernels end it without a newline.
        let end = opened.text.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        let text = opened.text.get(..end).unwrap_or(&[]);
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        print(text.split(|b| *b == b'\n').map(|line| plain(line) + "\n").collect::<String>())?;
        return Ok(DONE);
    }
    let mut status = DONE;
    let mut out = String::new();
    for key in &args.keys {
        match lines(&opened.text).find(|(name, _)| *name == key.as_bytes()) {
            Some((_, value)) => {
                out += &plain(value);
                out.push('\n');
            }
            None => {
                remark(format_args!("{}: no key {key} in VMCOREINFO", opened.name()));
                status = NO;
            }
        }
    }
    print(out)?;
    Ok(status)
}

/// The text that a vmlinux gives.
fn make(args: &Args, vmlinux: &PathBuf) -> Result<u8> {
    let made = vmlinux::vmcoreinfo(vmlinux)?;
    made.remarks.iter().for_each(|line| remark(format_args!("{line}")));
    if args.json {
        return json(args, made.text.as_bytes());
    }
    match &args.output {
        Some(path) => {
            let mut file = create(path, args.force, std::slice::from_ref(vmlinux))?;
            file.put(0, made.text.as_bytes())?;
            file.done()?;
        }
        None => print(made.text)?,
    }
    Ok(DONE)
}

/// Keys and their values.
fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == b'\n' || *b == 0).filter_map(|line| {
        let equals = line.iter().position(|b| *b == b'=')?;
        Some((&line[..equals], &line[equals + 1..]))
    })
}

/// Keys and their values; those that are missing have none.
#[derive(Serialize)]
pub(crate) struct Keys {
    pub(crate) keys: Members<String, Option<String>>,
}

impl Document for Keys {
    const SCHEMA: &'static str = "tamis.vmcoreinfo/1";
}

fn json(args: &Args, all: &[u8]) -> Result<u8> {
    let (mut keys, mut seen) = (Vec::new(), HashSet::new());
    let text = plain;
    if args.keys.is_empty() {
        // The first one counts.
        let first = lines(all).filter(|(key, _)| seen.insert(*key));
        keys.extend(first.map(|(key, value)| (text(key), Some(text(value)))));
    }
    for key in &args.keys {
        let found = lines(all).find(|(name, _)| *name == key.as_bytes());
        keys.push((key.clone(), found.map(|(_, value)| text(value))));
    }
    let status = if keys.iter().all(|(_, value)| value.is_some()) { DONE } else { NO };
    show(&Keys { keys: Members(keys) })?;
    Ok(status)
}
