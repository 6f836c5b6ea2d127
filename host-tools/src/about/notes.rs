//! The notes of a dump.

use crate::about::xen::detail;
use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::kernel::names::names;
use crate::render::json::{Document, Hex};
use crate::render::text::plain;
use serde::Serialize;
use std::fmt::Write;
use tamis_core::memory::{Dump as _, Machine, PhysMemory as _};
use tamis_core::wire::note;

/// All notes.
#[derive(Serialize)]
pub struct Notes {
    /// Whether they end in something that is not a note.
    pub damaged: bool,
    /// In the order of the dump.
    pub notes: Vec<Note>,
}

impl Document for Notes {
    const SCHEMA: &'static str = "tamis.notes/1";
}

/// A note.
#[derive(Serialize)]
pub struct Note {
    /// Where it begins.
    pub offset: u64,
    /// Its name, without NUL.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: u32,
    /// Bytes of its contents.
    pub size: u64,
    /// Where they begin.
    #[serde(skip)]
    pub desc_at: u64,
    /// What it is, if that is known.
    pub meaning: Option<&'static str>,
    /// What it says, of notes of Xen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of the dump of a device, its name.
    pub device: Option<String>,
    /// Of register notes, where the CPU was.
    #[serde(flatten)]
    pub registers: Registers,
}

/// Where a CPU was; nothing for notes that are not about one.
#[derive(Clone, Default, Serialize)]
pub struct Registers {
    /// The process that it ran.
    pub pid: Option<u32>,
    /// Its program counter.
    pub pc: Option<Hex>,
    /// Its stack pointer.
    pub sp: Option<Hex>,
    /// The symbol that its program counter is in.
    pub symbol: Option<String>,
}

/// Bytes of a name, and of contents, that are looked at.
const LOOK: u64 = 4096;

/// Reads the notes: their headers, names, and the first bytes of what is in them, whatever size they claim.
pub fn notes(opened: &mut Opened) -> Result<Notes> {
    let machine = opened.dump.machine();
    let len = opened.dump.notes().len;
    let (mut notes, mut at) = (Vec::new(), 0u64);
    let mut read = |at: u64, wanted: u64| {
        let mut bytes = vec![0; wanted.min(LOOK) as usize];
        opened.dump.read_notes(at, &mut bytes).ok().map(|()| bytes)
    };
    while notes.len() < note::MOST && len.saturating_sub(at) >= note::HEADER as u64 {
        let Some(head) = read(at, note::HEADER as u64) else { break };
        let Ok(found) = note::NoteHeader::parse(machine.endian, &head) else { break };
        // The last note's padding may be missing.
        let end = found.desc_at() + u64::from(found.desc_len);
        if found.is_empty() || end > len - at {
            break;
        }
        let desc_at = at + found.desc_at();
        let name = read(at + note::HEADER as u64, found.name_len.into());
        let (Some(name), Some(desc)) = (name, read(desc_at, found.desc_len.into())) else { break };
        // Up to its NUL, or all of it.
        let name = plain(name.split(|b| *b == 0).next().unwrap_or(&name));
        notes.push(Note {
            detail: None,
            offset: at,
            kind: found.kind,
            size: found.desc_len.into(),
            desc_at,
            meaning: meaning(&name, found.kind),
            device: is_device(&name, found.kind).then(|| plain(device_name(&desc))),
            registers: registers(machine, &name, found.kind, &desc).unwrap_or_default(),
            name,
        });
        at += found.padded_len();
    }
    for note in notes.iter_mut().filter(|note: &&mut Note| note.name == "Xen") {
        let mut desc = vec![0; note.size.min(80) as usize];
        if opened.dump.read_notes(note.desc_at, &mut desc).is_ok() {
            note.detail = detail(opened, &note.name, note.kind, &desc);
        }
    }
    // The loop ended at their end, or at what is behind the last one.
    let mut rest = vec![0; len.saturating_sub(at).min(LOOK) as usize];
    let _ = opened.dump.read_notes(at, &mut rest);
    let damaged = opened.notes_damaged() || rest.iter().any(|b| *b != 0);
    Ok(Notes { damaged, notes })
}

/// The contents of the register notes, in the order of the dump.
pub fn cpu_notes(opened: &mut Opened) -> Result<Vec<Vec<u8>>> {
    let found = notes(opened)?;
    let of_cpus = found.notes.iter().filter(|note| note.is_of_cpu());
    of_cpus
        .map(|note| {
            let mut desc = vec![0; note.size.min(LOOK) as usize];
            let read = opened.dump.read_notes(note.desc_at, &mut desc);
            read.map_err(|error| opened.fail(format_args!("reading the notes: {error}")))?;
            Ok(desc)
        })
        .collect()
}

/// Bytes of a device's name before what it left (`include/uapi/linux/vmcore.h`, `VMCOREDD_MAX_NAME_BYTES`).
const DEVICE_NAME: usize = 44;

/// Whether it is the dump of a device: NT_VMCOREDD.
fn is_device(name: &str, kind: u32) -> bool {
    (name, kind) == ("LINUX", 0x700)
}

fn device_name(desc: &[u8]) -> &[u8] {
    let name = desc.get(..DEVICE_NAME).unwrap_or(desc);
    name.split(|b| *b == 0).next().unwrap_or(name)
}

/// Where in the notes is what a device left, without its name, and its bytes.
pub fn device(opened: &mut Opened, wanted: &str) -> Result<(u64, u64)> {
    let found = notes(opened)?;
    let devices = || found.notes.iter().filter_map(|note| Some((note, note.device.as_ref()?)));
    let Some((note, _)) = devices().find(|(_, name)| *name == wanted) else {
        let names: Vec<&str> = devices().map(|(_, name)| name.as_str()).collect();
        let fail = opened.fail(format_args!("its notes have no dump of a device {wanted}"));
        return Err(match names.as_slice() {
            [] => fail.next("no device left one"),
            names => fail.next(format_args!("there are those of {}", names.join(", "))),
        });
    };
    let name = (DEVICE_NAME as u64).min(note.size);
    Ok((note.desc_at + name, note.size - name))
}

/// What a note is.
fn meaning(name: &str, kind: u32) -> Option<&'static str> {
    Some(match (name, kind) {
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
        _ => return None,
    })
}

/// Process, program counter and stack pointer of a register note.
fn registers(machine: Machine, name: &str, kind: u32, desc: &[u8]) -> Option<Registers> {
    if name != "CORE" || kind != note::NT_PRSTATUS {
        return None;
    }
    let state = machine.known()?.cpu_state(machine.endian, desc)?;
    let (pid, pc, sp) = (Some(state.pid), Some(Hex(state.pc)), Some(Hex(state.sp)));
    Some(Registers { pid, pc, sp, symbol: None })
}

impl Note {
    /// Whether it has the registers of a CPU.
    pub fn is_of_cpu(&self) -> bool {
        (self.name.as_str(), self.kind) == ("CORE", note::NT_PRSTATUS)
    }
}

impl Notes {
    /// Names the symbols that program counters are in, where the dump has them.
    pub fn name(&mut self, opened: &mut Opened) {
        let of_cpus = || self.notes.iter().filter_map(|note| Some(note.registers.pc?.0));
        let named = names(opened, &of_cpus().collect::<Vec<_>>());
        let notes = self.notes.iter_mut().filter(|note| note.registers.pc.is_some());
        notes.zip(named).for_each(|(note, symbol)| note.registers.symbol = symbol);
    }

    /// A line for each.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for n in &self.notes {
            let mut meaning = n.meaning.unwrap_or("").to_owned();
            if let Some(device) = &n.device {
                meaning += &format!(" {device}");
            }
            let _ = write!(
                text,
                "{:>8}  {:>8} bytes  type {:#x}  {:<11} {meaning}",
                n.offset, n.size, n.kind, n.name
            );
            if let Some(detail) = &n.detail {
                let _ = write!(text, ": {detail}");
            }
            if let Registers { pid: Some(pid), pc: Some(pc), sp: Some(sp), symbol } = &n.registers {
                let _ = write!(text, ": process {pid}, pc {pc}, sp {sp}");
                if let Some(symbol) = symbol {
                    let _ = write!(text, ", in {symbol}");
                }
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}
