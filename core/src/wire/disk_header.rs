//! The two headers of a kdump-compressed dump, version 6, as a writer makes them
//! (`core/docs/format.md`). The layouts of 32-bit machines follow the ABI of `struct timeval` and
//! `unsigned long` there.

use crate::endian::{Emit, Endian, Word};

/// Bytes of the main header (64-bit machines; 32-bit ones have 452).
pub const MAIN: usize = 464;
/// Bytes of the sub-header (64-bit machines; 32-bit ones have 80 or 96).
pub const SUB: usize = 104;
/// Status bit: the dump ended early, pages are missing.
pub const INCOMPLETE: u32 = 0x8;
/// Bytes of one utsname string.
pub const UTS_FIELD: usize = 65;
/// Bytes of the six utsname strings.
pub const UTS: usize = 6 * UTS_FIELD;

/// The first eight bytes of a dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signature {
    /// `KDUMP   `: what every reader knows.
    Kdump,
    /// `TAMIS   `: the same layout with LZ4 pages, which other readers would take for raw garbage.
    Tamis,
}

impl Signature {
    fn bytes(self) -> &'static [u8; 8] {
        match self {
            Signature::Kdump => b"KDUMP   ",
            Signature::Tamis => b"TAMIS   ",
        }
    }
}

/// The main header (block 0).
#[derive(Clone, Copy, Debug)]
pub struct MainHeader<'u> {
    /// File kind.
    pub signature: Signature,
    /// The six utsname strings, 65 bytes each, as they stand in the dead kernel's memory.
    pub utsname: &'u [u8; UTS],
    /// Crash time in seconds since 1970; 0 where unknown.
    pub crash_time: u64,
    /// Codec bit, [`INCOMPLETE`].
    pub status: u32,
    /// Page size in bytes.
    pub block_size: u32,
    /// Blocks of sub-header and notes.
    pub sub_hdr_size: u32,
    /// Blocks of both bitmaps together.
    pub bitmap_blocks: u32,
    /// One past the last pfn; saturates in this header.
    pub max_mapnr: u64,
    /// Number of CPUs with a register note.
    pub nr_cpus: u32,
}

impl MainHeader<'_> {
    /// Bytes of the record.
    pub fn size(word: Word) -> usize {
        if word == Word::Bits64 { MAIN } else { 452 }
    }

    /// Fills `record`, of [`MainHeader::size`] bytes.
    pub fn emit(&self, word: Word, endian: Endian, record: &mut [u8]) -> Option<()> {
        // 32-bit machines have a `struct timeval` of 4-byte members at 404.
        let (time, rest) = if word == Word::Bits64 { (408, 424) } else { (404, 412) };
        Emit::new(endian, record)
            .bytes(0, self.signature.bytes())
            .u32(8, 6)
            .bytes(12, self.utsname)
            .word(word, time, self.crash_time)
            .u32(rest, self.status)
            .u32(rest + 4, self.block_size)
            .u32(rest + 8, self.sub_hdr_size)
            .u32(rest + 12, self.bitmap_blocks)
            .u32(rest + 16, u32::try_from(self.max_mapnr).unwrap_or(u32::MAX))
            .u32(rest + 36, self.nr_cpus)
            .done()
    }
}

/// The sub-header (block 1); the notes follow it directly.
#[derive(Clone, Copy, Debug)]
pub struct SubHeader {
    /// `phys_base` of the dead kernel, two's complement.
    pub phys_base: u64,
    /// Dump level in effect.
    pub dump_level: u32,
    /// The pfns of this file of a split set; `None` for a dump in one file.
    pub split: Option<(u64, u64)>,
    /// File offset and bytes of the VMCOREINFO text, inside the notes.
    pub vmcoreinfo: (u64, u64),
    /// File offset and bytes of the notes.
    pub notes: (u64, u64),
    /// One past the last pfn.
    pub max_mapnr: u64,
}

impl SubHeader {
    /// Bytes of the record: 32-bit machines have the padded form (ARM, MIPS, PowerPC).
    pub fn size(word: Word) -> usize {
        if word == Word::Bits64 { SUB } else { 96 }
    }

    /// Fills `record`, of [`SubHeader::size`] bytes.
    pub fn emit(&self, word: Word, endian: Endian, record: &mut [u8]) -> Option<()> {
        let (start, end) = self.split.unwrap_or((0, 0));
        let narrow = |pfn: u64| pfn.min(u32::MAX.into());
        let at = |padded32: usize, wide: usize| if word == Word::Bits64 { wide } else { padded32 };
        Emit::new(endian, record)
            .word(
                word,
                0,
                if word == Word::Bits64 { self.phys_base } else { self.phys_base & 0xffff_ffff },
            )
            .u32(at(4, 8), self.dump_level)
            .u32(at(8, 12), u32::from(self.split.is_some()))
            .word(word, at(12, 16), narrow(start))
            .word(word, at(16, 24), narrow(end))
            .u64(at(24, 32), self.vmcoreinfo.0)
            .word(word, at(32, 40), self.vmcoreinfo.1)
            .u64(at(40, 48), self.notes.0)
            .word(word, at(48, 56), self.notes.1)
            .u64(at(72, 80), start)
            .u64(at(80, 88), end)
            .u64(at(88, 96), self.max_mapnr)
            .done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main_header(uts: &[u8; UTS]) -> MainHeader<'_> {
        MainHeader {
            signature: Signature::Kdump,
            utsname: uts,
            crash_time: 0x1122_3344_5566,
            status: 1 | INCOMPLETE,
            block_size: 4096,
            sub_hdr_size: 2,
            bitmap_blocks: 6,
            max_mapnr: 1 << 34,
            nr_cpus: 3,
        }
    }

    // Offsets as other readers of the format document them, byte by byte.
    #[test]
    fn the_main_header_has_its_fields_where_readers_look() {
        let mut uts = [0; UTS];
        uts[130..135].copy_from_slice(b"6.1.0");
        let mut r = [0xa5; MAIN];
        main_header(&uts).emit(Word::Bits64, Endian::Little, &mut r).unwrap();
        assert_eq!(&r[..8], b"KDUMP   ");
        assert_eq!(r[8..12], [6, 0, 0, 0]);
        assert_eq!(&r[142..147], b"6.1.0");
        assert_eq!(r[402..408], [0; 6]);
        assert_eq!(r[408..416], [0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0]);
        assert_eq!(r[424..428], [9, 0, 0, 0]);
        assert_eq!(r[428..432], [0, 16, 0, 0]);
        assert_eq!(r[432..436], [2, 0, 0, 0]);
        assert_eq!(r[436..440], [6, 0, 0, 0]);
        assert_eq!(r[440..444], [0xff; 4]);
        assert_eq!(r[444..460], [0; 16]);
        assert_eq!(r[460..464], [3, 0, 0, 0]);
    }

    #[test]
    fn narrow_machines_have_a_shorter_main_header() {
        let uts = [b'u'; UTS];
        let mut r = [0xa5; 452];
        main_header(&uts).emit(Word::Bits32, Endian::Big, &mut r).unwrap();
        assert_eq!(r[404..408], [0xff; 4]); // saturated
        assert_eq!(r[412..416], [0, 0, 0, 9]);
        assert_eq!(r[448..452], [0, 0, 0, 3]);
        assert!(main_header(&uts).emit(Word::Bits32, Endian::Big, &mut r[..451]).is_none());
    }

    #[test]
    fn the_sub_header_has_its_fields_where_readers_look() {
        let sub = SubHeader {
            phys_base: (-2i64) as u64,
            dump_level: 31,
            split: Some((0x1_0000_0000, 0x2_0000_0000)),
            vmcoreinfo: (4580, 77),
            notes: (4200, 712),
            max_mapnr: 2304,
        };
        let mut r = [0xa5; SUB];
        sub.emit(Word::Bits64, Endian::Little, &mut r).unwrap();
        let long = |at| Endian::Little.u64(&r, at).unwrap();
        assert_eq!(long(0), u64::MAX - 1);
        assert_eq!(r[8..16], [31, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!((long(16), long(24)), (0xffff_ffff, 0xffff_ffff));
        assert_eq!((long(32), long(40), long(48), long(56)), (4580, 77, 4200, 712));
        assert_eq!((long(64), long(72)), (0, 0));
        assert_eq!((long(80), long(88), long(96)), (0x1_0000_0000, 0x2_0000_0000, 2304));

        let mut r = [0xa5; 96];
        sub.emit(Word::Bits32, Endian::Big, &mut r).unwrap();
        assert_eq!(r[..4], [0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(Endian::Big.u64(&r, 24), Some(4580));
        assert_eq!(Endian::Big.u64(&r, 88), Some(2304));
    }
}
