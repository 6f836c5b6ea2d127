//! `tamis notes`.

use crate::dump::open::{Opened, open};
use crate::fail::{DONE, NO, Result};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use crate::render::text::plain;
use std::fmt::Write;
use std::path::PathBuf;
use tamis_core::memory::{Machine, PhysMemory as _};
use tamis_core::wire::note;

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

/// A note.
pub struct Note {
    /// Where it begins.
    pub at: usize,
    /// Its name, without NUL.
    pub name: String,
    /// Its type.
    pub kind: u32,
    /// Its contents.
    pub desc: Vec<u8>,
}

/// The notes, and whether they end in something that is none.
pub fn notes(opened: &mut Opened) -> Result<(Vec<Note>, bool)> {
    let endian = opened.dump.machine().endian;
    let raw = opened.notes()?;
    let (mut notes, mut at) = (Vec::new(), 0usize);
    while let Some(rest) = raw.get(at..).filter(|r| r.len() >= note::HEADER) {
        let Ok(found) = note::NoteHeader::parse(endian, rest) else { break };
        if found.is_empty() {
            break;
        }
        let name = rest.get(note::HEADER..note::HEADER.saturating_add(found.name_len as usize));
        let desc_at = found.desc_at() as usize;
        let desc = rest.get(desc_at..desc_at.saturating_add(found.desc_len as usize));
        let (Some(name), Some(desc)) = (name, desc) else { break };
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        notes.push(Note { at, name: plain(name), kind: found.kind, desc: desc.to_vec() });
        at = at.saturating_add(found.padded_len() as usize);
    }
    let rest = raw.get(at..).unwrap_or_default();
    let damaged = opened.notes_damaged() || rest.iter().any(|b| *b != 0);
    Ok((notes, damaged))
}

impl Note {
    /// What it is.
    fn meaning(&self) -> &'static str {
        match (self.name.as_str(), self.kind) {
            ("CORE", 1) => "registers of a CPU",
            ("VMCOREINFO", 0) => "the kernel's description of itself",
            ("VMCOREINFO_XEN", 0) => "Xen's description of itself",
            ("ERASEINFO", 0) => "what was erased from the dump",
            ("QEMU", 0) => "state of a virtual CPU, as QEMU has it",
            ("LINUX", 0x700) => "dump of a device",
            ("LINUX", 0x202) => "extended state of a CPU (XSAVE)",
            ("LINUX", 0x300..=0x3ff) => "registers of a CPU (s390)",
            ("LINUX", 0x400..=0x4ff) => "registers of a CPU (arm)",
            ("LINUX", 0x100..=0x1ff) => "registers of a CPU (powerpc)",
            ("Xen", 0x100_0001) => "Xen's crash information",
            ("Xen", 0x100_0002) => "registers of a CPU under Xen",
            ("CORE", 2) => "floating point registers",
            _ => "",
        }
    }

    /// Process, program counter and stack pointer of a register note.
    pub fn registers(&self, machine: Machine) -> Option<(u32, u64, u64)> {
        if self.name != "CORE" || self.kind != note::NT_PRSTATUS {
            return None;
        }
        let state = machine.known()?.cpu_state(machine.endian, &self.desc)?;
        Some((state.pid, state.pc, state.sp))
    }
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
