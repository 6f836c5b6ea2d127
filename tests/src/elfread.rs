//! An independent reader of ELF files: core dumps and the binary itself.

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
        let start = bytes_at::<7>(bytes, 0)?;
        let [class, order] = [start[4], start[5]];
        if &start[..4] != b"\x7fELF" || ![1, 2].contains(&class) || ![1, 2].contains(&order) {
            return Err("not an ELF file".into());
        }
        let (wide, big) = (class == 2, order == 2);
        let number = |at: u64, len: u64| {
            let found = bytes.get(at as usize..(at + len) as usize);
            let found = found.ok_or(format!("the file ends before {at:#x} + {len}"))?;
            let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
            Ok::<u64, String>(match big {
                true => found.iter().fold(0, add),
                false => found.iter().rev().fold(0, add),
            })
        };
        let half = |at| number(at, 2).map(|n| n as u16);
        let word = |at| number(at, 4).map(|n| n as u32);
        let long = |at| number(at, if wide { 8 } else { 4 });
        // Where e_phoff, e_shoff, e_flags and e_phentsize are, and bytes of a program header.
        let [phoff, shoff, flags, entsize, size] =
            if wide { [32, 40, 48, 54, 56] } else { [28, 32, 36, 42, 32] };
        let (e_phoff, e_shoff, e_phnum) = (long(phoff)?, long(shoff)?, half(entsize + 2)?);
        if u64::from(half(entsize)?) != size {
            return Err(format!("e_phentsize is {}", half(entsize)?));
        }
        let info = if wide { 44 } else { 28 };
        let count = if e_phnum == 0xffff { word(e_shoff + info)? } else { e_phnum.into() };
        // Members after p_type, the flags left out.
        let members: [u64; 6] = if wide { [8, 16, 24, 32, 40, 48] } else { [4, 8, 12, 16, 20, 28] };
        let phdrs = (0..u64::from(count)).map(|n| {
            let at = e_phoff + size * n;
            let member = |index: usize| long(at + members[index]);
            Ok(Phdr {
                kind: word(at)?,
                flags: word(at + if wide { 4 } else { 24 })?,
                offset: member(0)?,
                vaddr: member(1)?,
                paddr: member(2)?,
                filesz: member(3)?,
                memsz: member(4)?,
                align: member(5)?,
            })
        });
        Ok(Elf {
            e_type: half(16)?,
            e_machine: half(18)?,
            e_phoff,
            e_shoff,
            e_flags: word(flags)?,
            e_phnum,
            e_shentsize: half(entsize + 4)?,
            e_shnum: half(entsize + 6)?,
            e_shstrndx: half(entsize + 8)?,
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
