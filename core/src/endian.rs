//! Byte order as a run-time value: a property of the dump, never of the host. The only place that
//! turns bytes into integers and back.

/// Byte order of the dumped machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Size of an `unsigned long` of the dumped machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// 4 bytes.
    Bits32,
    /// 8 bytes.
    Bits64,
}

impl Word {
    /// Size in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Word::Bits32 => 4,
            Word::Bits64 => 8,
        }
    }

    /// What is left of a sum of addresses: those of 32 bits wrap at 4 GiB.
    pub fn wrap(self, address: u64) -> u64 {
        match self {
            Word::Bits32 => address & 0xffff_ffff,
            Word::Bits64 => address,
        }
    }
}

fn at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

impl Endian {
    /// The 16-bit integer at byte `offset`; `None` past the end.
    pub fn u16(self, bytes: &[u8], offset: usize) -> Option<u16> {
        let raw = at(bytes, offset)?;
        Some(match self {
            Endian::Little => u16::from_le_bytes(raw),
            Endian::Big => u16::from_be_bytes(raw),
        })
    }

    /// The 32-bit integer at byte `offset`; `None` past the end.
    pub fn u32(self, bytes: &[u8], offset: usize) -> Option<u32> {
        let raw = at(bytes, offset)?;
        Some(match self {
            Endian::Little => u32::from_le_bytes(raw),
            Endian::Big => u32::from_be_bytes(raw),
        })
    }

    /// The 64-bit integer at byte `offset`; `None` past the end.
    pub fn u64(self, bytes: &[u8], offset: usize) -> Option<u64> {
        let raw = at(bytes, offset)?;
        Some(match self {
            Endian::Little => u64::from_le_bytes(raw),
            Endian::Big => u64::from_be_bytes(raw),
        })
    }

    /// The `unsigned long` at byte `offset`, widened; `None` past the end.
    pub fn word(self, size: Word, bytes: &[u8], offset: usize) -> Option<u64> {
        match size {
            Word::Bits32 => self.u32(bytes, offset).map(u64::from),
            Word::Bits64 => self.u64(bytes, offset),
        }
    }

    /// `value` as it stands in the dump.
    pub fn put16(self, value: u16) -> [u8; 2] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }

    /// `value` as it stands in the dump.
    pub fn put32(self, value: u32) -> [u8; 4] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }

    /// `value` as it stands in the dump.
    pub fn put64(self, value: u64) -> [u8; 8] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }
}

/// Writes fields of a record of known size at their offsets. A field that would not fit is left
/// out and remembered: [`Emit::done`] is `None` then, so a wrong table of offsets cannot pass a
/// test.
pub struct Emit<'b> {
    endian: Endian,
    record: &'b mut [u8],
    fits: bool,
}

impl<'b> Emit<'b> {
    /// Clears `record` and begins.
    pub fn new(endian: Endian, record: &'b mut [u8]) -> Emit<'b> {
        record.fill(0);
        Emit { endian, record, fits: true }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        match self.record.get_mut(offset..).and_then(|r| r.get_mut(..bytes.len())) {
            Some(field) => field.copy_from_slice(bytes),
            None => self.fits = false,
        }
        self
    }

    /// A 16-bit field.
    pub fn u16(&mut self, offset: usize, value: u16) -> &mut Self {
        let raw = self.endian.put16(value);
        self.bytes(offset, &raw)
    }

    /// A 32-bit field.
    pub fn u32(&mut self, offset: usize, value: u32) -> &mut Self {
        let raw = self.endian.put32(value);
        self.bytes(offset, &raw)
    }

    /// A 64-bit field.
    pub fn u64(&mut self, offset: usize, value: u64) -> &mut Self {
        let raw = self.endian.put64(value);
        self.bytes(offset, &raw)
    }

    /// An `unsigned long`; a value that does not fit 32 bits saturates there.
    pub fn word(&mut self, size: Word, offset: usize, value: u64) -> &mut Self {
        match size {
            Word::Bits32 => self.u32(offset, u32::try_from(value).unwrap_or(u32::MAX)),
            Word::Bits64 => self.u64(offset, value),
        }
    }

    /// Whether every field found its place.
    pub fn done(&self) -> Option<()> {
        self.fits.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(Endian::Little.u16(&bytes, 1), Some(0x0302));
        assert_eq!(Endian::Big.u16(&bytes, 1), Some(0x0203));
        assert_eq!(Endian::Little.u32(&bytes, 5), Some(0x09080706));
        assert_eq!(Endian::Big.u64(&bytes, 1), Some(0x0203040506070809));
        assert_eq!(Endian::Little.u64(&bytes, 2), None);
        assert_eq!(Endian::Little.u16(&bytes, usize::MAX), None);
        assert_eq!(Endian::Big.word(Word::Bits32, &bytes, 0), Some(0x01020304));
    }

    #[test]
    fn emitted_fields_read_back_and_misfits_show() {
        for endian in [Endian::Little, Endian::Big] {
            let mut record = [0xa5; 16];
            let mut emit = Emit::new(endian, &mut record);
            assert!(
                emit.u16(0, 0x1234)
                    .u32(4, 0xdeadbeef)
                    .word(Word::Bits32, 8, 1 << 40)
                    .done()
                    .is_some()
            );
            assert_eq!(endian.u16(&record, 0), Some(0x1234));
            assert_eq!(endian.u32(&record, 4), Some(0xdeadbeef));
            assert_eq!(endian.u32(&record, 8), Some(u32::MAX));
            assert_eq!(record[2..4], [0, 0]);
            assert!(Emit::new(endian, &mut record).u64(9, 1).done().is_none());
        }
    }
}
