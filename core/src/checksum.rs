//! CRC-32 (IEEE 802.3), and the checksum of a page that is made of it (`core/docs/format.md`).
//!
//! With the feature `std` the processor's instructions are used where it has some. Without it there are tables of
//! 4 KiB, filled when they are made: in a program they take none of its file.

use crate::units::Pfn;

/// What marks page flags as a checksum: their upper half, the number of the letters `TCRC`.
pub const TAG: u32 = 0x5443_5243;

/// The checksum that a page descriptor may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageSum {
    /// There is none: zero, as in descriptors of other writers, or not all of one, where a file is cut off.
    None,
    /// This one.
    Crc(u32),
    /// Something that is neither: no writer is known that puts it there.
    Unknown(u64),
}

impl PageSum {
    /// What the 64 bits of `page_flags` say.
    #[must_use]
    pub fn of(page_flags: u64) -> PageSum {
        match page_flags {
            0 => PageSum::None,
            bits if bits >> 32 == u64::from(TAG) => PageSum::Crc(bits as u32),
            bits => PageSum::Unknown(bits),
        }
    }
}

/// Folds blocks, of which there is at least one, into one that has the same remainder, with the help of the
/// processor: `crc` is the complement of the CRC of what comes before them, that of the result is of nothing before.
pub type Fold = fn(crc: u32, blocks: &[[u8; 16]]) -> [u8; 16];

/// Computes checksums.
pub struct Crc32 {
    #[cfg(not(feature = "std"))]
    tables: table::Tables,
    #[cfg(not(feature = "std"))]
    fold: Option<Fold>,
}

impl Default for Crc32 {
    fn default() -> Crc32 {
        Crc32::new()
    }
}

impl Crc32 {
    /// Fills the tables.
    #[must_use]
    pub fn new() -> Crc32 {
        Crc32::folding(None)
    }

    /// With what the processor has for it. With the feature `std` that is found out without `fold`.
    #[must_use]
    #[cfg_attr(feature = "std", expect(unused_variables, reason = "crc32fast knows it"))]
    pub fn folding(fold: Option<Fold>) -> Crc32 {
        Crc32 {
            #[cfg(not(feature = "std"))]
            tables: table::fill(),
            #[cfg(not(feature = "std"))]
            fold,
        }
    }

    /// The CRC of bytes of which those before `bytes` have `crc`: 0 for none.
    #[must_use]
    pub fn update(&self, crc: u32, bytes: &[u8]) -> u32 {
        #[cfg(not(feature = "std"))]
        return table::update(&self.tables, self.fold, crc, bytes);
        #[cfg(feature = "std")]
        {
            let mut hasher = crc32fast::Hasher::new_with_initial(crc);
            hasher.update(bytes);
            hasher.finalize()
        }
    }

    /// The checksum of a page whose stored bytes have `crc`: that of these bytes, the pfn and the flags of the
    /// descriptor.
    #[must_use]
    pub fn of_page(&self, crc: u32, pfn: Pfn, flags: u32) -> u32 {
        let mut own = [0; 12];
        let (number, codec) = own.split_at_mut(8);
        number.copy_from_slice(&pfn.0.to_le_bytes());
        codec.copy_from_slice(&flags.to_le_bytes());
        self.update(crc, &own)
    }

    /// `page_flags` with that checksum.
    #[must_use]
    pub fn page_flags(&self, crc: u32, pfn: Pfn, flags: u32) -> u64 {
        u64::from(TAG) << 32 | u64::from(self.of_page(crc, pfn, flags))
    }
}

/// Four bytes at a time, without instructions of the processor's own.
#[cfg(any(test, not(feature = "std")))]
mod table {
    use super::Fold;

    /// What a byte adds that is followed by none, one, two or three others.
    pub(super) type Tables = [[u32; 256]; 4];

    /// The polynomial, bits reversed.
    const POLYNOMIAL: u32 = 0xedb8_8320;

    pub(super) fn fill() -> Tables {
        let mut tables = [[0; 256]; 4];
        for byte in 0..=255u8 {
            let mut crc = u32::from(byte);
            for table in &mut tables {
                for _ in 0..8 {
                    crc = crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
                }
                if let Some(entry) = table.get_mut(usize::from(byte)) {
                    *entry = crc;
                }
            }
        }
        tables
    }

    fn entry(table: &[u32; 256], byte: u8) -> u32 {
        // A byte is below 256.
        table.get(usize::from(byte)).copied().unwrap_or(0)
    }

    pub(super) fn update(tables: &Tables, fold: Option<Fold>, crc: u32, bytes: &[u8]) -> u32 {
        let (blocks, rest) = bytes.as_chunks::<16>();
        match fold {
            Some(fold) if !blocks.is_empty() => {
                let folded = by_words(tables, 0, &fold(!crc, blocks));
                !by_words(tables, folded, rest)
            }
            _ => !by_words(tables, !crc, bytes),
        }
    }

    fn by_words(tables: &Tables, mut crc: u32, bytes: &[u8]) -> u32 {
        let [last, second, third, first] = tables;
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            let [a, b, c, d] = (crc ^ u32::from_le_bytes(*word)).to_le_bytes();
            crc = entry(first, a) ^ entry(third, b) ^ entry(second, c) ^ entry(last, d);
        }
        for byte in rest {
            crc = entry(last, crc as u8 ^ byte) ^ crc >> 8;
        }
        crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Bit by bit, as the standard says it.
    fn by_bits(bytes: &[u8]) -> u32 {
        let mut crc = !0;
        for bit in bytes.iter().flat_map(|byte| (0..8).map(move |n| u32::from(byte >> n & 1))) {
            let out = (crc ^ bit) & 1;
            crc = (crc >> 1) ^ (out * 0xedb8_8320);
        }
        !crc
    }

    #[test]
    fn the_crc_is_that_of_the_standard() {
        let sums = Crc32::new();
        // The check value of the catalogue of CRCs.
        assert_eq!(sums.update(0, b"123456789"), 0xcbf4_3926);
        let bytes: Vec<u8> = (0..200u32).map(|n| ((n * n) >> 3) as u8).collect();
        let tables = table::fill();
        for len in 0..bytes.len() {
            let part = &bytes[..len];
            let wanted = by_bits(part);
            assert_eq!(sums.update(0, part), wanted, "{len} bytes");
            assert_eq!(table::update(&tables, None, 0, part), wanted, "{len} bytes, with tables");
            let (first, rest) = part.split_at(len / 3);
            assert_eq!(sums.update(sums.update(0, first), rest), wanted, "{len} bytes in two");
            let crc = table::update(&tables, None, 0, first);
            assert_eq!(table::update(&tables, None, crc, rest), wanted);
        }
    }

    #[test]
    fn a_page_sum_is_that_of_bytes_pfn_and_flags() {
        let sums = Crc32::new();
        let mut all = b"stored bytes".to_vec();
        let crc = sums.update(0, &all);
        all.extend([0x21, 0x43, 0x65, 0x87, 0, 0, 0, 0, 0x20, 0, 0, 0]);
        let flags = sums.page_flags(crc, Pfn(0x8765_4321), 0x20);
        assert_eq!(PageSum::of(flags), PageSum::Crc(by_bits(&all)));
        assert_eq!(flags >> 32, 0x5443_5243);
        assert_eq!(PageSum::of(0), PageSum::None);
        for bit in 32..64 {
            let other = flags ^ 1 << bit;
            assert_eq!(PageSum::of(other), PageSum::Unknown(other));
        }
    }
}
