//! The notes of a dump.

use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::text::plain;
use tamis_core::memory::{Machine, PhysMemory as _};
use tamis_core::wire::note;

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
    pub fn meaning(&self) -> &'static str {
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
