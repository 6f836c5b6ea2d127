//! `tamis notes`.

use crate::about::notes::notes;
use crate::dump::open::open;
use crate::fail::{DONE, NO, Result};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use std::fmt::Write;
use std::path::PathBuf;
use tamis_core::memory::PhysMemory as _;

/// List the ELF notes of a dump.
///
/// The notes hold the registers of each CPU at the time of the crash, VMCOREINFO, and what
/// hypervisors and drivers added. A line each: where it begins in the notes, the bytes of its
/// contents, its type, its name and what it is. Of register notes of x86_64 and arm64, the process
/// and where its CPU was are shown.
///
/// Exit status: 0 done; 1 the notes end in something that is no note; 3 it could not be done.
///
/// Examples:
///   $ tamis notes vmcore
///   $ tamis notes --json vmcore
///   $ tamis notes --raw vmcore > notes.bin
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump; - is standard input
    dump: PathBuf,
    /// Print JSON (schema tamis.notes/1)
    #[arg(long)]
    json: bool,
    /// Write all notes as they are
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(std::slice::from_ref(&args.dump))?;
    if args.raw {
        print(opened.notes()?)?;
        return Ok(DONE);
    }
    let machine = opened.dump.machine();
    let (notes, damaged) = notes(&mut opened)?;
    if args.json {
        let list: Vec<Json> = notes
            .iter()
            .map(|n| {
                let registers = n.registers(machine);
                Object::new()
                    .with("offset", n.at)
                    .with("name", n.name.as_str())
                    .with("type", n.kind)
                    .with("size", n.desc.len())
                    .with("meaning", Some(n.meaning()).filter(|m| !m.is_empty()))
                    .with("pid", registers.map(|r| r.0))
                    .with("pc", registers.map(|r| format!("{:#x}", r.1)))
                    .with("sp", registers.map(|r| format!("{:#x}", r.2)))
                    .into()
            })
            .collect();
        let document = Object::document("tamis.notes/1")
            .with("damaged", damaged)
            .with("notes", Json::List(list));
        print(format!("{}\n", Json::from(document)))?;
    } else {
        let mut text = String::new();
        for n in &notes {
            let _ = write!(
                text,
                "{:>8}  {:>8} bytes  type {:#x}  {:<12}{}",
                n.at,
                n.desc.len(),
                n.kind,
                n.name,
                n.meaning()
            );
            if let Some((pid, pc, sp)) = n.registers(machine) {
                let _ = write!(text, ": process {pid}, pc {pc:#x}, sp {sp:#x}");
            }
            text = text.trim_end().to_owned();
            text.push('\n');
        }
        print(text)?;
        if damaged {
            crate::render::console::remark(format_args!(
                "{}: the notes end in something that is no note",
                opened.name()
            ));
        }
    }
    Ok(if damaged { NO } else { DONE })
}
