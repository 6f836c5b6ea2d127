//! ELF core headers (System V gABI, chapter "Object Files"; `PN_XNUM`: `man 5 elf`), both classes
//! and both byte orders.

use super::WireError;
use crate::endian::{Emit, Endian, Word};

/// Bytes of the largest ELF header (64-bit class).
pub const HEADER_MAX: usize = 64;
/// Bytes of the largest program header (64-bit class).
pub const PROGRAM_HEADER_MAX: usize = 56;
/// Bytes of the section header that carries an extended program header count (64-bit class).
pub const SECTION_HEADER: usize = 64;
/// `p_type` of a memory range.
pub const PT_LOAD: u32 = 1;
/// `p_type` of the notes.
pub const PT_NOTE: u32 = 4;
/// `e_phnum` value that says: the count is in `sh_info` of section header 0.
pub const PN_XNUM: u16 = 0xffff;
const ET_CORE: u16 = 4;

bitflags::bitflags! {
    /// `e_flags`: a machine's own bits, and one that is a dump's.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Flags: u32 {
        /// The ELF dump ended early (`DUMP_ELF_INCOMPLETE` of makedumpfile).
        const INCOMPLETE = 1;
        // The machine's.
        const _ = !0;
    }
}

/// The ELF header of a core file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Word size of the dumped machine.
    pub word: Word,
    /// Byte order of the dumped machine.
    pub endian: Endian,
    /// `e_machine`.
    pub machine: u16,
    /// File offset of the program headers.
    pub phoff: u64,
    /// File offset of the section headers; used with [`PN_XNUM`] only.
    pub shoff: u64,
    /// `e_flags`.
    pub flags: Flags,
    /// Size of one program header; at least what the class needs.
    pub phentsize: u16,
    /// `e_phnum` as it stands; [`PN_XNUM`] means look at the section header.
    pub phnum: u16,
}

impl Header {
    /// Reads the header of an ELF core file from its first bytes (up to [`HEADER_MAX`]).
    pub fn parse(bytes: &[u8]) -> Result<Header, WireError> {
        let cut =
            |need: u64| WireError::Truncated { what: "ELF header", need, have: bytes.len() as u64 };
        let ident = bytes.first_chunk::<16>().ok_or(cut(16))?;
        let [0x7f, b'E', b'L', b'F', class, data, version, ..] = *ident else {
            let magic = Endian::Big.u32(ident, 0).unwrap_or(0);
            return Err(WireError::Invalid { what: "ELF magic", value: magic.into() });
        };
        let word = match class {
            1 => Word::Bits32,
            2 => Word::Bits64,
            _ => return Err(WireError::Invalid { what: "EI_CLASS", value: class.into() }),
        };
        let endian = match data {
            1 => Endian::Little,
            2 => Endian::Big,
            _ => return Err(WireError::Invalid { what: "EI_DATA", value: data.into() }),
        };
        if version != 1 {
            return Err(WireError::Invalid { what: "EI_VERSION", value: version.into() });
        }
        let size = header_size(word);
        let at = |narrow: usize, wide: usize| if word == Word::Bits32 { narrow } else { wide };
        let short = |offset| endian.u16(bytes, offset).ok_or(cut(size as u64));
        let long = |offset| endian.word(word, bytes, offset).ok_or(cut(size as u64));
        if bytes.len() < size {
            return Err(cut(size as u64));
        }
        let header = Header {
            word,
            endian,
            machine: short(18)?,
            phoff: long(at(28, 32))?,
            shoff: long(at(32, 40))?,
            flags: Flags::from_bits_retain(
                endian.u32(bytes, flags_at(word)).ok_or(cut(size as u64))?,
            ),
            phentsize: short(at(42, 54))?,
            phnum: short(at(44, 56))?,
        };
        let kind = short(16)?;
        if kind != ET_CORE {
            return Err(WireError::Invalid {
                what: "e_type (a core file has 4)",
                value: kind.into(),
            });
        }
        if usize::from(header.phentsize) < program_header_size(word) {
            return Err(WireError::Invalid { what: "e_phentsize", value: header.phentsize.into() });
        }
        Ok(header)
    }

    /// Fills `record` (of [`header_size`] bytes) with the header of a core file whose program
    /// headers follow it directly. From 0xffff program headers on, a 64-bit file says
    /// [`PN_XNUM`] and its one section header stands right after them.
    pub fn emit(&self, phnum: u64, record: &mut [u8]) -> Option<()> {
        let wide = self.word == Word::Bits64;
        let (ehsize, phentsize) = (header_size(self.word), program_header_size(self.word));
        let extended = phnum >= u64::from(PN_XNUM);
        let shoff =
            if extended { ehsize as u64 + phnum.checked_mul(phentsize as u64)? } else { 0 };
        let at = |narrow: usize, wide_at: usize| if wide { wide_at } else { narrow };
        let mut emit = Emit::new(self.endian, record);
        emit.bytes(0, &[0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }])
            .bytes(5, &[if self.endian == Endian::Little { 1 } else { 2 }, 1])
            .u16(16, ET_CORE)
            .u16(18, self.machine)
            .u32(20, 1)
            .word(self.word, at(28, 32), ehsize as u64)
            .word(self.word, at(32, 40), shoff)
            .u32(flags_at(self.word), self.flags.bits())
            .u16(ehsize_at(self.word), ehsize as u16)
            .u16(at(42, 54), phentsize as u16)
            .u16(at(44, 56), if extended { PN_XNUM } else { phnum as u16 });
        if extended {
            emit.u16(at(46, 58), SECTION_HEADER as u16).u16(at(48, 60), 1);
        }
        emit.done()
    }
}

/// Offset of `e_flags`.
pub fn flags_at(word: Word) -> usize {
    if word == Word::Bits32 { 36 } else { 48 }
}

/// Bytes of an ELF header.
pub fn header_size(word: Word) -> usize {
    if word == Word::Bits32 { 52 } else { HEADER_MAX }
}

/// Offset of `e_ehsize` in an ELF header.
pub fn ehsize_at(word: Word) -> usize {
    if word == Word::Bits32 { 40 } else { 52 }
}

/// Bytes of a program header.
pub fn program_header_size(word: Word) -> usize {
    if word == Word::Bits32 { 32 } else { PROGRAM_HEADER_MAX }
}

/// The true number of program headers out of section header 0 (`sh_info`), for a file that says
/// [`PN_XNUM`]. Only the 64-bit class has this.
pub fn extended_count(endian: Endian, section_header: &[u8]) -> Result<u32, WireError> {
    endian.u32(section_header, 44).ok_or(WireError::Truncated {
        what: "section header 0 (extended program header count)",
        need: SECTION_HEADER as u64,
        have: section_header.len() as u64,
    })
}

/// Fills `record` (of [`SECTION_HEADER`] bytes) with the section header that carries an extended
/// program header count.
pub fn emit_extended_count(endian: Endian, phnum: u64, record: &mut [u8]) -> Option<()> {
    Emit::new(endian, record).u64(32, 1).u32(44, u32::try_from(phnum).ok()?).done()
}

/// One program header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProgramHeader {
    /// `p_type`.
    pub kind: u32,
    /// `p_flags`.
    pub flags: u32,
    /// File offset of the data.
    pub offset: u64,
    /// Virtual address.
    pub vaddr: u64,
    /// Physical address; all ones where there is none.
    pub paddr: u64,
    /// Bytes in the file.
    pub filesz: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// `p_align`.
    pub align: u64,
}

impl ProgramHeader {
    /// Reads one program header.
    pub fn parse(word: Word, endian: Endian, bytes: &[u8]) -> Result<ProgramHeader, WireError> {
        let cut = WireError::Truncated {
            what: "program header",
            need: program_header_size(word) as u64,
            have: bytes.len() as u64,
        };
        // Offsets of: flags offset vaddr paddr filesz memsz align.
        let [flags, offset, vaddr, paddr, filesz, memsz, align] = fields(word);
        let long = |at| endian.word(word, bytes, at).ok_or(cut);
        let mut header = ProgramHeader {
            kind: endian.u32(bytes, 0).ok_or(cut)?,
            flags: endian.u32(bytes, flags).ok_or(cut)?,
            offset: long(offset)?,
            vaddr: long(vaddr)?,
            paddr: long(paddr)?,
            filesz: long(filesz)?,
            memsz: long(memsz)?,
            align: long(align)?,
        };
        if word == Word::Bits32 && header.paddr == u64::from(u32::MAX) {
            header.paddr = u64::MAX;
        }
        Ok(header)
    }

    /// Whether the segment has a physical address at all (`/proc/kcore` and Xen have some
    /// without: all ones).
    pub fn has_paddr(&self) -> bool {
        self.paddr != u64::MAX
    }

    /// Fills `record` (of [`program_header_size`] bytes).
    pub fn emit(&self, word: Word, endian: Endian, record: &mut [u8]) -> Option<()> {
        let [flags, offset, vaddr, paddr, filesz, memsz, align] = fields(word);
        Emit::new(endian, record)
            .u32(0, self.kind)
            .u32(flags, self.flags)
            .word(word, offset, self.offset)
            .word(word, vaddr, self.vaddr)
            .word(word, paddr, self.paddr)
            .word(word, filesz, self.filesz)
            .word(word, memsz, self.memsz)
            .word(word, align, self.align)
            .done()
    }
}

/// Offsets of flags, offset, vaddr, paddr, filesz, memsz and align in a program header.
fn fields(word: Word) -> [usize; 7] {
    match word {
        Word::Bits32 => [24, 4, 8, 12, 16, 20, 28],
        Word::Bits64 => [4, 8, 16, 24, 32, 40, 48],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::machine::EM_X86_64;
    use std::vec;

    fn header(word: Word, endian: Endian) -> Header {
        Header {
            word,
            endian,
            machine: EM_X86_64,
            phoff: header_size(word) as u64,
            shoff: 0,
            // Of a dump, and of ARM (EABI 5).
            flags: Flags::INCOMPLETE | Flags::from_bits_retain(0x0500_0000),
            phentsize: program_header_size(word) as u16,
            phnum: 7,
        }
    }

    #[test]
    fn headers_of_both_classes_and_orders_read_back() {
        for word in [Word::Bits32, Word::Bits64] {
            for endian in [Endian::Little, Endian::Big] {
                let want = header(word, endian);
                let mut record = vec![0xa5; header_size(word)];
                want.emit(7, &mut record).unwrap();
                assert_eq!(Header::parse(&record), Ok(want));
                let ph = ProgramHeader {
                    kind: PT_LOAD,
                    flags: 7,
                    offset: 0x1000,
                    vaddr: 0xc000_0000,
                    paddr: 0x10_0000,
                    filesz: 0x2000,
                    memsz: 0x3000,
                    align: 4,
                };
                let mut record = vec![0xa5; program_header_size(word)];
                ph.emit(word, endian, &mut record).unwrap();
                assert_eq!(ProgramHeader::parse(word, endian, &record), Ok(ph));
            }
        }
    }

    #[test]
    fn many_program_headers_move_the_count_to_a_section_header() {
        let mut record = [0; HEADER_MAX];
        let h = header(Word::Bits64, Endian::Little);
        h.emit(0xfffe, &mut record).unwrap();
        assert_eq!(Header::parse(&record).unwrap().phnum, 0xfffe);
        h.emit(70_000, &mut record).unwrap();
        let back = Header::parse(&record).unwrap();
        assert_eq!((back.phnum, back.shoff), (PN_XNUM, 64 + 70_000 * 56));
        let mut section = [0; SECTION_HEADER];
        emit_extended_count(Endian::Little, 70_000, &mut section).unwrap();
        assert_eq!(extended_count(Endian::Little, &section), Ok(70_000));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let mut record = [0; HEADER_MAX];
        header(Word::Bits64, Endian::Little).emit(1, &mut record).unwrap();
        for len in 0..HEADER_MAX {
            assert!(Header::parse(&record[..len]).is_err(), "{len}");
        }
        for len in 0..PROGRAM_HEADER_MAX {
            assert!(ProgramHeader::parse(Word::Bits64, Endian::Little, &record[..len]).is_err());
        }
    }

    #[test]
    fn what_is_not_a_core_file_is_named() {
        let mut record = [0; HEADER_MAX];
        header(Word::Bits64, Endian::Little).emit(1, &mut record).unwrap();
        for (at, bad, what) in [
            (0, 0, "ELF magic"),
            (4, 3, "EI_CLASS"),
            (5, 0, "EI_DATA"),
            (6, 2, "EI_VERSION"),
            (16, 2, "e_type (a core file has 4)"),
            (54, 55, "e_phentsize"),
        ] {
            let mut broken = record;
            broken[at] = bad;
            match Header::parse(&broken) {
                Err(WireError::Invalid { what: found, .. }) => assert_eq!(found, what),
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}
