//! `tamis notes`.

use crate::about::notes::{device, notes};
use crate::dump::open::open_notes;
use crate::dump::opened::Opened;
use crate::dump::out::create;
use crate::fail::{DONE, Fail, NO, Result};
use crate::render::console::{print, remark, stdout};
use crate::render::json::show;
use std::io::Write;
use std::path::PathBuf;
use tamis_core::memory::Dump as _;

/// List the ELF notes of a dump.
///
/// The notes hold the registers of each CPU at the time of the crash, VMCOREINFO, and what
/// hypervisors and drivers added. A line each: where it begins in the notes, the bytes of its
/// contents, its type, its name and what it is. Of register notes of x86_64 and arm64, the process
/// and where its CPU was are shown, with the symbol where the dump has the kernel's. Nothing of the
/// memory has to be there.
///
/// Drivers can leave dumps of their devices (NT_VMCOREDD): they are named, and --device writes what
/// one left, as it is, to standard output or to a file.
///
/// Exit status: 0 done; 1 the notes end in something that is not a note; 3 it could not be done.
///
/// Examples:
///   $ tamis notes vmcore
///   $ tamis notes --json vmcore
///   $ tamis notes --raw vmcore > notes.bin
///   $ tamis notes --device cxgb4_0000:05:00.4 -o firmware.log vmcore
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.notes/1)
    #[arg(long)]
    json: bool,
    /// Write all notes as they are
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Write the dump of this device
    #[arg(long, value_name = "NAME", conflicts_with_all = ["json", "raw"])]
    device: Option<String>,
    /// Write that, or with --raw all notes, to this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long, requires = "output")]
    force: bool,
}

/// Writes bytes of the notes to the output that was named.
fn write(args: &Args, opened: &mut Opened, at: u64, len: u64) -> Result<u8> {
    match &args.output {
        None => {
            let mut out = stdout();
            opened.copy_notes(at, len, &mut |_, bytes| Ok(out.write_all(bytes)?))?;
            out.flush()?;
        }
        Some(path) => {
            let mut file = create(path, args.force, &args.dumps)?;
            opened.copy_notes(at, len, &mut |at, bytes| file.put(at, bytes))?;
            file.done()?;
        }
    }
    Ok(DONE)
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open_notes(&args.dumps)?;
    if args.raw {
        let len = opened.dump.notes().len;
        if len == 0 {
            remark(format_args!("{}: it has no notes", opened.name()));
        }
        return write(args, &mut opened, 0, len);
    }
    if let Some(name) = &args.device {
        let (at, len) = device(&mut opened, name)?;
        return write(args, &mut opened, at, len);
    }
    if args.output.is_some() {
        return Err(Fail::new("a list of notes goes to standard output")
            .next("--raw and --device write to a file"));
    }
    let mut found = notes(&mut opened)?;
    found.name(&mut opened);
    if args.json {
        show(&found)?;
    } else {
        print(found.text())?;
        if found.notes.is_empty() && !found.damaged {
            remark(format_args!("{}: it has no notes", opened.name()));
        }
        if found.damaged {
            remark(format_args!(
                "{}: the notes end in something that is not a note",
                opened.name()
            ));
        }
    }
    Ok(if found.damaged { NO } else { DONE })
}
