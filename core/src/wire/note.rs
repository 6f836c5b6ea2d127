//! ELF note headers as kernel core files have them: name and descriptor padded to 4 bytes in both
//! classes (Linux `fs/proc/vmcore.c`, `include/linux/elfcore.h`).

use super::WireError;
use crate::endian::Endian;

/// Bytes of a note header.
pub const HEADER: usize = 12;
/// Type of a note with the registers of one CPU, name `CORE`.
pub const NT_PRSTATUS: u32 = 1;
/// Name of the note that holds the kernel's description of itself, type 0.
pub const VMCOREINFO: &[u8] = b"VMCOREINFO\0";
/// Longest name that is looked at.
pub const NAME_MAX: usize = 16;

/// Notes that are looked at: ten for each of 100,000 CPUs. A length that promises more, over a gap that
/// reads as zeros, is a lie that would take hours to go over.
pub const MOST: usize = 1 << 20;

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

    /// Offset of the descriptor from the start of the note.
    pub fn desc_at(&self) -> u64 {
        HEADER as u64 + u64::from(self.name_len).next_multiple_of(4)
    }

    /// Bytes of the whole note, padding included.
    pub fn padded_len(&self) -> u64 {
        self.desc_at() + u64::from(self.desc_len).next_multiple_of(4)
    }
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
