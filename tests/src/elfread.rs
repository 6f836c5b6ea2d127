//! An independent reader of ELF64 little-endian files: core dumps and the binary itself.

/// One program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields carry the names of the format
pub struct Phdr {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub paddr: u64,
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

/// The headers of an ELF file.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Elf {
    pub e_type: u16,
    pub e_machine: u16,
    pub e_phoff: u64,
    pub e_shoff: u64,
    pub e_flags: u32,
    pub e_phnum: u16,
    pub e_shentsize: u16,
    pub e_shnum: u16,
    pub e_shstrndx: u16,
    pub phdrs: Vec<Phdr>,
}

fn bytes_at<const N: usize>(bytes: &[u8], at: u64) -> Result<[u8; N], String> {
    let found = bytes.get(at as usize..at as usize + N);
    found.map(|b| b.try_into().unwrap()).ok_or(format!("the file ends before {at:#x} + {N}"))
}

impl Elf {
    /// Reads the headers, extended numbering included.
    pub fn parse(bytes: &[u8]) -> Result<Elf, String> {
        if bytes_at::<7>(bytes, 0)? != *b"\x7fELF\x02\x01\x01" {
            return Err("not an ELF64 little-endian file".into());
        }
        let half = |at| bytes_at(bytes, at).map(u16::from_le_bytes);
        let word = |at| bytes_at(bytes, at).map(u32::from_le_bytes);
        let long = |at| bytes_at(bytes, at).map(u64::from_le_bytes);
        let (e_phoff, e_shoff, e_phnum) = (long(32)?, long(40)?, half(56)?);
        if half(54)? != 56 {
            return Err(format!("e_phentsize is {}", half(54)?));
        }
        let count = if e_phnum == 0xffff { word(e_shoff + 44)? } else { e_phnum.into() };
        let phdrs = (0..u64::from(count)).map(|n| {
            let at = e_phoff + 56 * n;
            Ok(Phdr {
                kind: word(at)?,
                flags: word(at + 4)?,
                offset: long(at + 8)?,
                vaddr: long(at + 16)?,
                paddr: long(at + 24)?,
                filesz: long(at + 32)?,
                memsz: long(at + 40)?,
                align: long(at + 48)?,
            })
        });
        Ok(Elf {
            e_type: half(16)?,
            e_machine: half(18)?,
            e_phoff,
            e_shoff,
            e_flags: word(48)?,
            e_phnum,
            e_shentsize: half(58)?,
            e_shnum: half(60)?,
            e_shstrndx: half(62)?,
            phdrs: phdrs.collect::<Result<_, String>>()?,
        })
    }

    /// Program headers of one type.
    pub fn of_kind(&self, kind: u32) -> impl Iterator<Item = &Phdr> {
        self.phdrs.iter().filter(move |phdr| phdr.kind == kind)
    }

    /// The bytes of a segment that are in the file.
    pub fn segment<'a>(&self, bytes: &'a [u8], phdr: &Phdr) -> Result<&'a [u8], String> {
        bytes
            .get(phdr.offset as usize..(phdr.offset + phdr.filesz) as usize)
            .ok_or(format!("{phdr:?} is past the end of the file"))
    }
}
