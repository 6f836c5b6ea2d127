//! ELF note headers as kernel core files have them: name and descriptor padded to 4 bytes in both
//! classes (Linux `fs/proc/vmcore.c`, `include/linux/elfcore.h`).

use super::WireError;
use crate::endian::Endian;
use crate::io::IoError;

/// Bytes of a note header.
pub const HEADER: usize = 12;
/// Type of a note with the registers of one CPU, name `CORE`.
pub const NT_PRSTATUS: u32 = 1;
/// Name of the note that holds the kernel's description of itself, type 0.
pub const VMCOREINFO: &[u8] = b"VMCOREINFO\0";
/// Type of the note in which a Xen hypervisor says that it died, name `Xen`: `XEN_ELFNOTE_CRASH_INFO`
/// (Xen's `public/elfnote.h`).
pub const XEN_CRASH_INFO: u32 = 0x100_0001;
/// Type of the note with the control registers of one CPU under Xen, name `Xen`: `XEN_ELFNOTE_CRASH_REGS`.
pub const XEN_CRASH_REGISTERS: u32 = 0x100_0002;
/// Name of the note that holds a Xen hypervisor's description of itself, type 0.
pub const VMCOREINFO_XEN: &[u8] = b"VMCOREINFO_XEN\0";
/// Longest name that is looked at.
pub const NAME_MAX: usize = 16;

/// Notes that are looked at: ten for each of 100,000 CPUs. A length that promises more, over a gap that
/// reads as zeros, is a lie that would take hours to go over.
pub const MOST: usize = 1 << 20;
/// Bytes of notes that are looked at. Drivers leave megabytes; over a gap, a lie is as long as it likes.
pub const LEN_MOST: u64 = 1 << 30;
/// Notes without name, descriptor and type, one after the other, behind which nothing is looked for:
/// more than a page of zeros. The kernel ends its lists of notes with a single one
/// (`include/linux/elfcore.h`, `kernel/crash_core.c`: `final_note`).
pub const EMPTY_MOST: usize = 4096 / HEADER + 1;

/// The header of one note and where its parts lie, relative to the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoteHeader {
    /// Bytes of the name, its NUL included.
    pub name_len: u32,
    /// Bytes of the descriptor.
    pub desc_len: u32,
    /// Type, unique per name.
    pub kind: u32,
}

impl NoteHeader {
    /// Reads a note header.
    pub fn parse(endian: Endian, bytes: &[u8]) -> Result<NoteHeader, WireError> {
        let cut = WireError::Truncated {
            what: "note header",
            need: HEADER as u64,
            have: bytes.len() as u64,
        };
        Ok(NoteHeader {
            name_len: endian.u32(bytes, 0).ok_or(cut)?,
            desc_len: endian.u32(bytes, 4).ok_or(cut)?,
            kind: endian.u32(bytes, 8).ok_or(cut)?,
        })
    }

    /// Whether nothing is said: what zeros look like.
    pub fn is_empty(&self) -> bool {
        (self.name_len, self.desc_len, self.kind) == (0, 0, 0)
    }

    /// Offset of the descriptor from the start of the note.
    pub fn desc_at(&self) -> u64 {
        HEADER as u64 + u64::from(self.name_len).next_multiple_of(4)
    }

    /// Bytes of the whole note, padding included.
    pub fn padded_len(&self) -> u64 {
        self.desc_at() + u64::from(self.desc_len).next_multiple_of(4)
    }
}

/// Where in the notes a Xen hypervisor says what it was: offsets and bytes of descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct XenNotes {
    /// Its crash information, of which only the first CPU has a note.
    pub crash: Option<(u64, u64)>,
    /// Its VMCOREINFO_XEN.
    pub text: Option<(u64, u64)>,
}

impl XenNotes {
    /// Adds those of notes that begin at byte `at` of these, if they have a place there.
    pub fn add(&mut self, other: XenNotes, at: Option<u64>) {
        let Some(at) = at else { return };
        let moved = |(inside, len): (u64, u64)| (at.saturating_add(inside), len);
        self.crash = self.crash.or(other.crash.map(moved));
        self.text = self.text.or(other.text.map(moved));
    }

    /// Whether the memory is a Xen hypervisor's.
    pub fn is_xen(&self) -> bool {
        self.crash.is_some()
    }
}

/// What a walk over notes found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Walk {
    /// Offset and bytes of the VMCOREINFO text, of the last such note.
    pub vmcoreinfo: Option<(u64, u64)>,
    /// Notes with the registers of a CPU.
    pub cpus: u32,
    /// Bytes of the first such note's descriptor.
    pub registers: Option<u32>,
    /// What a Xen hypervisor left.
    pub xen: XenNotes,
    /// Bytes up to the end of the last sound note that is not empty.
    pub sound: u64,
    /// What ended it.
    pub end: End,
}

impl Walk {
    /// How many of the `len` bytes that were walked over are kept: what comes behind something that is not a
    /// note is, for somebody to look at, unless there is too much of it.
    pub fn kept(&self, len: u64) -> u64 {
        let too_much = self.end == End::Endless || len.saturating_sub(self.sound) > LEN_MOST;
        if too_much { self.sound } else { len }
    }
}

/// Why a walk over notes ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum End {
    /// All of it was notes.
    #[default]
    Whole,
    /// Something that is no note, or cannot be read.
    Damaged,
    /// Too many notes, or too many empty ones together.
    Endless,
}

/// Walks the headers of `len` bytes of notes; `read` reads at an offset in them. Notes are a
/// convenience: what cannot be read ends the walk, and is no error.
pub fn walk(
    endian: Endian,
    len: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), IoError>,
) -> Walk {
    let mut walk = Walk::default();
    let (mut at, mut empty) = (0, 0);
    for number in 0.. {
        let left = len.saturating_sub(at);
        if left < HEADER as u64 {
            break;
        }
        if number == MOST || empty == EMPTY_MOST || at > LEN_MOST {
            walk.end = End::Endless;
            break;
        }
        // The header and as much of the name as is looked at.
        let mut raw = [0; HEADER + NAME_MAX];
        let there = usize::try_from(left).map_or(raw.len(), |left| left.min(raw.len()));
        let (raw, _) = raw.split_at_mut(there);
        let parsed = read(at, raw)
            .ok()
            .and_then(|()| NoteHeader::parse(endian, raw).ok())
            // The last note's padding may be missing.
            .filter(|n| n.desc_at() + u64::from(n.desc_len) <= left.min(LEN_MOST));
        let Some(found) = parsed else {
            walk.end = End::Damaged;
            break;
        };
        let (_, name) = raw.split_at(HEADER);
        // A name that is longer than what was read of it is not one of these.
        let name = name.get(..found.name_len as usize).unwrap_or(&[]);
        let desc = Some((at + found.desc_at(), u64::from(found.desc_len)));
        if name == VMCOREINFO && found.kind == 0 {
            walk.vmcoreinfo = desc;
        } else if name == b"CORE\0" && found.kind == NT_PRSTATUS {
            walk.cpus += 1;
            walk.registers = walk.registers.or(Some(found.desc_len));
        } else if name == b"Xen\0" && found.kind == XEN_CRASH_INFO {
            walk.xen.crash = walk.xen.crash.or(desc);
        } else if name == VMCOREINFO_XEN && found.kind == 0 {
            walk.xen.text = desc;
        }
        at += found.padded_len();
        if found.is_empty() {
            empty += 1;
        } else {
            (empty, walk.sound) = (0, at.min(len));
        }
    }
    walk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_padded_to_four_bytes() {
        let raw = [11, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0];
        let note = NoteHeader::parse(Endian::Little, &raw).unwrap();
        assert_eq!((note.desc_at(), note.padded_len()), (24, 32));
        assert!(NoteHeader::parse(Endian::Little, &raw[..11]).is_err());
    }

    #[test]
    fn the_largest_lengths_do_not_overflow() {
        let note = NoteHeader { name_len: u32::MAX, desc_len: u32::MAX, kind: 0 };
        assert_eq!(note.padded_len(), 12 + (1 << 33));
    }
}
