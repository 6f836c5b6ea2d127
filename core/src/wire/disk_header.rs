//! The two headers of a kdump-compressed dump: as a writer makes them (version 6,
//! `core/docs/format.md`), and as readers find them (versions 0 to 6, [`ReadMain`], [`ReadSub`]).
//! The layouts of 32-bit machines follow the ABI of `struct timeval`, `unsigned long` and 64-bit integers
//! there: the writer's, who may have a `time_t` of 64 bits on a machine of 32.

use super::WireError;
use super::page_desc::CodecFlags;
use crate::endian::{Emit, Endian, Word};
use crate::units::PageShift;

/// Bytes of the main header (64-bit machines; 32-bit ones have 452, or 460 or 464 where a `time_t` has 64 bits).
pub const MAIN: usize = 464;
/// Bytes of the sub-header (64-bit machines; 32-bit ones have 80 or 96).
pub const SUB: usize = 104;
/// Offset of the crash time (`struct timeval`) and of the status behind it.
const TIME: usize = 408;
const STATUS: usize = 424;
/// On a 32-bit machine, with a `struct timeval` of 4-byte members, which begins at the next multiple of 4.
const TIME_32: usize = 404;
const STATUS_32: usize = 412;
/// i386 with a `time_t` of 64 bits, which needs no more than that alignment.
const STATUS_PACKED_64: usize = 420;
/// All offsets that the status may have.
const STATUSES: [usize; 3] = [STATUS, STATUS_32, STATUS_PACKED_64];

bitflags::bitflags! {
    /// The status: the flags of the codecs that pages are compressed with, and whether all pages are there.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Status: u32 {
        /// The dump ended early, pages are missing.
        const INCOMPLETE = 0x8;
        // Codecs, and what other programs write.
        const _ = !0;
    }
}

impl From<CodecFlags> for Status {
    fn from(flags: CodecFlags) -> Status {
        Status::from_bits_retain(flags.bits())
    }
}

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
    /// The signature that a file begins with.
    pub fn of(bytes: &[u8]) -> Option<Signature> {
        [Signature::Kdump, Signature::Tamis].into_iter().find(|s| bytes.starts_with(s.bytes()))
    }

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
    /// Of its pages' codec, and whether it is incomplete.
    pub status: Status,
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

/// Where a main header has its time and what comes behind it: that is up to the writer's `time_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MainLayout {
    /// Offset of the status, which is another one in each.
    status: usize,
}

impl MainLayout {
    /// What a writer has whose `time_t` is of this size, and which aligns 64-bit integers to 4 bytes only
    /// (`packed`) or to 8.
    pub fn of(time: Word, packed: bool) -> MainLayout {
        let status = match (time, packed) {
            (Word::Bits64, false) => STATUS,
            (Word::Bits32, _) => STATUS_32,
            (Word::Bits64, true) => STATUS_PACKED_64,
        };
        MainLayout { status }
    }

    /// Bytes of the record.
    pub fn size(self) -> usize {
        self.status + (MAIN - STATUS)
    }

    fn time(self) -> usize {
        if self.status == STATUS { TIME } else { TIME_32 }
    }

    /// Size of a `time_t`.
    fn word(self) -> Word {
        if self.status == STATUS_32 { Word::Bits32 } else { Word::Bits64 }
    }
}

impl MainHeader<'_> {
    /// Fills `record`, of [`MainLayout::size`] bytes.
    pub fn emit(&self, layout: MainLayout, endian: Endian, record: &mut [u8]) -> Option<()> {
        let rest = layout.status;
        Emit::new(endian, record)
            .bytes(0, self.signature.bytes())
            .u32(8, VERSION)
            .bytes(12, self.utsname)
            .word(layout.word(), layout.time(), self.crash_time)
            .u32(rest, self.status.bits())
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
    /// Fills `record`, of [`SubLayout::size`] bytes.
    pub fn emit(&self, layout: &SubLayout, endian: Endian, record: &mut [u8]) -> Option<()> {
        let (start, end) = self.split.unwrap_or((0, 0));
        let word = layout.word();
        let narrow = |value: u64| if word == Word::Bits64 { value } else { value & 0xffff_ffff };
        let most = |pfn: u64| pfn.min(u32::MAX.into());
        Emit::new(endian, record)
            .word(word, 0, narrow(self.phys_base))
            .u32(layout.level, self.dump_level)
            .u32(layout.split, u32::from(self.split.is_some()))
            .word(word, layout.start, most(start))
            .word(word, layout.end, most(end))
            .u64(layout.vmcoreinfo.0, self.vmcoreinfo.0)
            .word(word, layout.vmcoreinfo.1, self.vmcoreinfo.1)
            .u64(layout.notes.0, self.notes.0)
            .word(word, layout.notes.1, self.notes.1)
            .u64(layout.start_64, start)
            .u64(layout.end_64, end)
            .u64(layout.max_64, self.max_mapnr)
            .done()
    }
}

/// Newest header version whose fields are known.
pub const VERSION: u32 = 6;

/// A main header as it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadMain {
    /// File kind.
    pub signature: Signature,
    /// Offset of `status`, which goes by the writer's word size and `time_t`.
    pub status_at: usize,
    /// Byte order of the dumped machine.
    pub endian: Endian,
    /// Header version.
    pub version: u32,
    /// The six utsname strings, 65 bytes each.
    pub utsname: [u8; UTS],
    /// Crash time in seconds since 1970; 0 where unknown.
    pub crash_time: u64,
    /// Of its pages' codecs, and whether it is incomplete.
    pub status: Status,
    /// Page size.
    pub shift: PageShift,
    /// Blocks of sub-header and notes.
    pub sub_hdr_size: u32,
    /// Blocks of the bitmaps together.
    pub bitmap_blocks: u32,
    /// One past the last pfn, saturated.
    pub max_mapnr: u32,
    /// Number of CPUs with a register note.
    pub nr_cpus: u32,
}

impl ReadMain {
    /// Reads the header from the first [`MAIN`] bytes of a file (a file of a 32-bit machine may
    /// have fewer).
    ///
    /// Nothing in it says which layout and byte order it has: of the six ways to read it, the one is
    /// taken in which version, block size and the sizes of the other parts can be true.
    pub fn parse(bytes: &[u8]) -> Result<ReadMain, WireError> {
        let Some(signature) = Signature::of(bytes) else {
            let magic = Endian::Big.u64(bytes, 0).unwrap_or(0);
            return Err(WireError::Invalid { what: "dump signature", value: magic });
        };
        let least = MainLayout { status: STATUS_32 }.size();
        if bytes.len() < least {
            let (need, have) = (least as u64, bytes.len() as u64);
            return Err(WireError::Truncated { what: "dump header", need, have });
        }
        let mut best: Option<ReadMain> = None;
        for status_at in STATUSES {
            for endian in [Endian::Little, Endian::Big] {
                let found = ReadMain::plausible(signature, status_at, endian, bytes);
                // The block sizes 4096 and 1 MiB are each other's mirror image. In the wrong byte
                // order the notes would take millions of blocks.
                let better = |h: &ReadMain| best.is_none_or(|b| h.sub_hdr_size < b.sub_hdr_size);
                best = found.filter(better).or(best);
            }
        }
        if let Some(header) = best {
            return Ok(header);
        }
        // Where the block size can be true, it is not what is wrong.
        for at in STATUSES.map(|status| status + 4) {
            for endian in [Endian::Little, Endian::Big] {
                let field = |at| endian.u32(bytes, at).unwrap_or(0).into();
                if PageShift::of_size(field(at)).is_some() && field(8) <= 0xff {
                    return Err(match field(at + 4) {
                        sub @ (0 | 0x8000_0000..) => WireError::Invalid {
                            what: "sub_hdr_size in the dump header",
                            value: sub,
                        },
                        _ => {
                            let value = field(at + 8);
                            WireError::Invalid { what: "bitmap_blocks in the dump header", value }
                        }
                    });
                }
            }
        }
        let value = Endian::Little.u32(bytes, 428).unwrap_or(0).into();
        Err(WireError::Invalid { what: "block size in the dump header", value })
    }

    fn plausible(
        signature: Signature,
        status_at: usize,
        endian: Endian,
        bytes: &[u8],
    ) -> Option<ReadMain> {
        let layout = MainLayout { status: status_at };
        let rest = status_at;
        let header = ReadMain {
            signature,
            status_at,
            endian,
            version: endian.u32(bytes, 8)?,
            utsname: *bytes.get(12..)?.first_chunk::<UTS>()?,
            crash_time: endian.word(layout.word(), bytes, layout.time())?,
            status: Status::from_bits_retain(endian.u32(bytes, rest)?),
            shift: PageShift::of_size(endian.u32(bytes, rest + 4)?.into())?,
            sub_hdr_size: endian.u32(bytes, rest + 8)?,
            bitmap_blocks: endian.u32(bytes, rest + 12)?,
            max_mapnr: endian.u32(bytes, rest + 16)?,
            nr_cpus: endian.u32(bytes, rest + 36)?,
        };
        let bits = u64::from(header.bitmap_blocks) << (header.shift.bits() + 3);
        let saturated = header.max_mapnr == u32::MAX;
        let true_enough = header.version <= 0xff
            && header.sub_hdr_size != 0
            && header.sub_hdr_size <= i32::MAX as u32
            && (header.bitmap_blocks != 0 || header.max_mapnr == 0)
            && (bits >= header.max_mapnr.into() || saturated);
        true_enough.then_some(header)
    }

    /// Size of the `time_t` of the program that wrote it.
    pub fn time(&self) -> Word {
        MainLayout { status: self.status_at }.word()
    }

    /// One of the six utsname strings, up to its end: 0 sysname, 1 nodename, 2 release, 3 version,
    /// 4 machine, 5 domainname.
    pub fn uts(&self, index: usize) -> &[u8] {
        // There are six, and what is before the first zero may be nothing.
        let field = self.utsname.chunks_exact(UTS_FIELD).nth(index).unwrap_or(&[]);
        field.split(|&b| b == 0).next().unwrap_or(&[])
    }
}

/// A sub-header as it was found; fields that its version does not have are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadSub {
    /// Bytes of the record: 104; 80 or 96 on 32-bit machines.
    pub size: usize,
    /// `phys_base` as it stands, two's complement; of a 32-bit machine widened.
    pub phys_base: u64,
    /// Dump level (version 1).
    pub dump_level: u32,
    /// The pfns of this file of a split set (version 2).
    pub split: Option<(u64, u64)>,
    /// File offset and bytes of the VMCOREINFO text (version 3).
    pub vmcoreinfo: (u64, u64),
    /// File offset and bytes of the notes (version 4).
    pub notes: (u64, u64),
    /// File offset and bytes of the erase information (version 5).
    pub eraseinfo: (u64, u64),
    /// One past the last pfn (version 6); 0 where only the main header has it.
    pub max_mapnr: u64,
}

/// Offsets of the fields of a sub-header, in the order of [`ReadSub`].
#[derive(PartialEq, Eq, Debug)]
pub struct SubLayout {
    /// Bytes of the record.
    pub size: usize,
    level: usize,
    split: usize,
    start: usize,
    end: usize,
    vmcoreinfo: (usize, usize),
    notes: (usize, usize),
    eraseinfo: (usize, usize),
    start_64: usize,
    end_64: usize,
    max_64: usize,
}

const WIDE: SubLayout = SubLayout {
    size: 104,
    level: 8,
    split: 12,
    start: 16,
    end: 24,
    vmcoreinfo: (32, 40),
    notes: (48, 56),
    eraseinfo: (64, 72),
    start_64: 80,
    end_64: 88,
    max_64: 96,
};

/// 32-bit machines that align 64-bit integers to 4 bytes (i386), and all that QEMU writes.
const PACKED: SubLayout = SubLayout {
    size: 80,
    level: 4,
    split: 8,
    start: 12,
    end: 16,
    vmcoreinfo: (20, 28),
    notes: (32, 40),
    eraseinfo: (44, 52),
    start_64: 56,
    end_64: 64,
    max_64: 72,
};

/// 32-bit machines that align 64-bit integers to 8 bytes (ARM, MIPS, PowerPC).
const PADDED: SubLayout = SubLayout {
    size: 96,
    level: 4,
    split: 8,
    start: 12,
    end: 16,
    vmcoreinfo: (24, 32),
    notes: (40, 48),
    eraseinfo: (56, 64),
    start_64: 72,
    end_64: 80,
    max_64: 88,
};

impl SubLayout {
    /// What a writer has on a machine of this word size, which aligns 64-bit integers to 4 bytes only
    /// (`packed`) or to 8.
    pub fn of(word: Word, packed: bool) -> &'static SubLayout {
        match (word, packed) {
            (Word::Bits64, _) => &WIDE,
            (Word::Bits32, true) => &PACKED,
            (Word::Bits32, false) => &PADDED,
        }
    }

    /// Whether its writer aligns 64-bit integers to 4 bytes only.
    pub fn is_packed(&self) -> bool {
        self.size == PACKED.size
    }

    /// Size of an `unsigned long` there.
    pub fn word(&self) -> Word {
        if self.size == SUB { Word::Bits64 } else { Word::Bits32 }
    }
}

impl ReadSub {
    /// Reads the sub-header that belongs to `main`, from the first [`SUB`] bytes of block 1.
    ///
    /// Of the forms that a writer with such a main header can have, the one is taken whose offsets point
    /// at where such parts lie.
    pub fn parse(main: &ReadMain, bytes: &[u8]) -> Result<ReadSub, WireError> {
        let cut = |fields: &SubLayout| WireError::Truncated {
            what: "dump sub-header",
            need: fields.size as u64,
            have: bytes.len() as u64,
        };
        let read = |fields| ReadSub::with(main, fields, bytes).ok_or(cut(fields));
        let (usual, other) = match main.status_at {
            STATUS => (&WIDE, &PADDED),
            STATUS_32 => (&PACKED, &PADDED),
            _ => return read(&PACKED),
        };
        let usual = read(usual)?;
        match read(other) {
            Ok(other) if other.points(main) > usual.points(main) => Ok(other),
            _ => Ok(usual),
        }
    }

    /// Where its fields are; `None` for what was not read.
    fn layout(&self) -> Option<&'static SubLayout> {
        [&WIDE, &PACKED, &PADDED].into_iter().find(|layout| layout.size == self.size)
    }

    /// Size of an `unsigned long` on the machine that wrote it.
    pub fn word(&self) -> Word {
        self.layout().map_or(Word::Bits32, SubLayout::word)
    }

    fn with(main: &ReadMain, at: &SubLayout, bytes: &[u8]) -> Option<ReadSub> {
        let (word, endian) = (at.word(), main.endian);
        let since = |version: u32| main.version >= version;
        let place = |version: u32, (offset, size): (usize, usize)| {
            if !since(version) {
                return Some((0, 0));
            }
            Some((endian.u64(bytes, offset)?, endian.word(word, bytes, size)?))
        };
        let mut sub = ReadSub {
            size: at.size,
            phys_base: endian.word(word, bytes, 0)?,
            dump_level: endian.u32(bytes, at.level).filter(|_| since(1)).unwrap_or(0),
            split: None,
            vmcoreinfo: place(3, at.vmcoreinfo)?,
            notes: place(4, at.notes)?,
            eraseinfo: place(5, at.eraseinfo)?,
            max_mapnr: if since(6) { endian.u64(bytes, at.max_64)? } else { 0 },
        };
        if since(2) && endian.u32(bytes, at.split)? != 0 {
            sub.split = Some(if since(6) {
                (endian.u64(bytes, at.start_64)?, endian.u64(bytes, at.end_64)?)
            } else {
                (endian.word(word, bytes, at.start)?, endian.word(word, bytes, at.end)?)
            });
        }
        Some(sub)
    }

    /// Makes of the record of a file of a split set (`raw`, from which this one was read) that of
    /// the whole dump, whose erase information is at `eraseinfo`.
    pub fn join(&self, main: &ReadMain, raw: &mut [u8], eraseinfo: (u64, u64)) -> Option<()> {
        let at = self.layout()?;
        let (word, long) = (at.word(), at.word().bytes());
        let mut put = |offset: usize, bytes: &[u8]| {
            raw.get_mut(offset..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(())
        };
        let none = [0; 8];
        if main.version >= 2 {
            put(at.split, none.get(..4)?)?;
            put(at.start, none.get(..long)?)?;
            put(at.end, none.get(..long)?)?;
        }
        if main.version >= 6 {
            put(at.start_64, &none)?;
            put(at.end_64, &none)?;
        }
        if main.version >= 5 {
            put(at.eraseinfo.0, &main.endian.put64(eraseinfo.0))?;
            match word {
                Word::Bits64 => put(at.eraseinfo.1, &main.endian.put64(eraseinfo.1))?,
                Word::Bits32 => put(at.eraseinfo.1, &main.endian.put32(eraseinfo.1 as u32))?,
            }
        }
        Some(())
    }

    /// How much speaks for having read the right form.
    fn points(&self, main: &ReadMain) -> u32 {
        let block = main.shift.bytes() as u64;
        let end = block.saturating_mul(1 + u64::from(main.sub_hdr_size));
        let own = block + self.size as u64;
        let inside = |(at, len): (u64, u64)| {
            if (at, len) == (0, 0) {
                1
            } else if at >= own && len != 0 && at.saturating_add(len) <= end {
                2
            } else {
                0
            }
        };
        // The notes follow the sub-header directly.
        let notes = if self.notes.0 == own { 4 } else { 0 };
        let narrow = self.max_mapnr.min(u32::MAX.into()) == u64::from(main.max_mapnr);
        let max = if main.version >= 6 && narrow { 4 } else { 0 };
        inside(self.vmcoreinfo) + inside(self.notes) + notes + max
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
            status: Status::from(CodecFlags::ZLIB) | Status::INCOMPLETE,
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
        main_header(&uts).emit(MainLayout { status: STATUS }, Endian::Little, &mut r).unwrap();
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
    fn a_main_header_is_as_long_as_time_t_makes_it() {
        let uts = [b'u'; UTS];
        let mut r = [0xa5; 452];
        let layout = MainLayout::of(Word::Bits32, false);
        main_header(&uts).emit(layout, Endian::Big, &mut r).unwrap();
        assert_eq!(r[404..408], [0xff; 4]); // saturated
        assert_eq!(r[412..416], [0, 0, 0, 9]);
        assert_eq!(r[448..452], [0, 0, 0, 3]);
        assert!(main_header(&uts).emit(layout, Endian::Big, &mut r[..451]).is_none());
        assert_eq!(layout, MainLayout::of(Word::Bits32, true));
        // i386 and others, with 64 bits.
        for (packed, time) in [(true, 404), (false, 408)] {
            let mut r = [0xa5; MAIN];
            let layout = MainLayout::of(Word::Bits64, packed);
            assert_eq!(layout.size(), time + 56);
            main_header(&uts).emit(layout, Endian::Little, &mut r[..layout.size()]).unwrap();
            assert_eq!(r[time..][..8], [0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0]);
            assert_eq!(r[time + 8..][..8], [0; 8]);
            assert_eq!(r[time + 16..][..4], [9, 0, 0, 0]);
            assert_eq!(r[layout.size() - 4..layout.size()], [3, 0, 0, 0]);
        }
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
        sub.emit(SubLayout::of(Word::Bits64, false), Endian::Little, &mut r).unwrap();
        let long = |at| Endian::Little.u64(&r, at).unwrap();
        assert_eq!(long(0), u64::MAX - 1);
        assert_eq!(r[8..16], [31, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!((long(16), long(24)), (0xffff_ffff, 0xffff_ffff));
        assert_eq!((long(32), long(40), long(48), long(56)), (4580, 77, 4200, 712));
        assert_eq!((long(64), long(72)), (0, 0));
        assert_eq!((long(80), long(88), long(96)), (0x1_0000_0000, 0x2_0000_0000, 2304));

        let mut r = [0xa5; 96];
        sub.emit(SubLayout::of(Word::Bits32, false), Endian::Big, &mut r).unwrap();
        assert_eq!(r[..4], [0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(Endian::Big.u64(&r, 24), Some(4580));
        assert_eq!(Endian::Big.u64(&r, 88), Some(2304));

        let mut r = [0xa5; 80];
        sub.emit(SubLayout::of(Word::Bits32, true), Endian::Little, &mut r).unwrap();
        assert_eq!(r[..4], [0xfe, 0xff, 0xff, 0xff]);
        assert_eq!(Endian::Little.u64(&r, 20), Some(4580));
        assert_eq!((Endian::Little.u64(&r, 32), r[40]), (Some(4200), 0xc8));
        assert_eq!(Endian::Little.u64(&r, 72), Some(2304));
    }

    #[test]
    fn headers_of_every_word_size_and_order_read_back() {
        let mut uts = [0; UTS];
        uts[130..135].copy_from_slice(b"6.1.0");
        uts[260..266].copy_from_slice(b"x86_64");
        let (wide, narrow) = (Word::Bits64, Word::Bits32);
        for (word, time, packed, status_at) in [
            (wide, wide, false, 424),
            (narrow, narrow, false, 412),
            (narrow, narrow, true, 412),
            (narrow, wide, false, 424),
            (narrow, wide, true, 420),
        ] {
            for endian in [Endian::Little, Endian::Big] {
                let mut r = [0; MAIN];
                let header = main_header(&uts);
                let layout = MainLayout::of(time, packed);
                header.emit(layout, endian, &mut r[..layout.size()]).unwrap();
                let read = ReadMain::parse(&r).unwrap();
                assert_eq!((read.status_at, read.endian, read.version), (status_at, endian, 6));
                assert_eq!(read.time(), time);
                assert_eq!((read.uts(2), read.uts(4)), (&b"6.1.0"[..], &b"x86_64"[..]));
                assert_eq!(
                    (read.status.bits(), read.shift, read.nr_cpus),
                    (9, PageShift::FOUR_KIB, 3)
                );

                let layout = SubLayout::of(word, packed);
                let sub = SubHeader {
                    phys_base: 7,
                    dump_level: 31,
                    split: Some((16, 32)),
                    vmcoreinfo: (0, 0),
                    notes: (4096 + layout.size as u64, 12),
                    max_mapnr: 1 << 40,
                };
                let mut r = [0; SUB];
                sub.emit(layout, endian, &mut r[..layout.size]).unwrap();
                let back = ReadSub::parse(&read, &r).unwrap();
                assert_eq!((back.size, back.phys_base, back.dump_level), (layout.size, 7, 31));
                assert_eq!((back.split, back.notes), (sub.split, sub.notes));
                assert_eq!(back.max_mapnr, sub.max_mapnr);
                // An older version has only the older fields, and is from before 64 bits for a time.
                if word != time {
                    continue;
                }
                let old = ReadSub::parse(&ReadMain { version: 1, ..read }, &r).unwrap();
                assert_eq!((old.dump_level, old.split, old.notes), (31, None, (0, 0)));
            }
        }
    }

    #[test]
    fn packed_sub_headers_of_32_bit_machines_are_told_from_padded_ones() {
        let uts = [0; UTS];
        let mut r = [0; MAIN];
        let header = MainHeader { max_mapnr: 77, ..main_header(&uts) };
        header.emit(MainLayout { status: STATUS_32 }, Endian::Little, &mut r[..452]).unwrap();
        let main = ReadMain::parse(&r).unwrap();
        let mut r = [0; SUB];
        r[4] = 1; // level
        r[32..36].copy_from_slice(&(4096u32 + 80).to_le_bytes());
        r[40] = 36; // size_note
        r[72] = 77; // max_mapnr_64
        let sub = ReadSub::parse(&main, &r).unwrap();
        assert_eq!((sub.size, sub.notes, sub.max_mapnr), (80, (4176, 36), 77));
    }

    #[test]
    fn headers_that_cannot_be_true_are_refused() {
        let mut r = [0; MAIN];
        main_header(&[0; UTS]).emit(MainLayout { status: STATUS }, Endian::Little, &mut r).unwrap();
        for len in 0..452 {
            assert!(ReadMain::parse(&r[..len]).is_err(), "{len}");
        }
        for (at, value) in [(0, 0), (9, 9), (428, 1), (432, 0), (436, 0)] {
            let mut bad = r;
            bad[at] = value;
            // max_mapnr that no bitmap of this size holds
            bad[440..444].copy_from_slice(&0x1000u32.to_le_bytes());
            assert!(ReadMain::parse(&bad).is_err(), "{at}");
        }
    }
}
