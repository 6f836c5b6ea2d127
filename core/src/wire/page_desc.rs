//! The page descriptor of a kdump-compressed dump: 24 bytes on every architecture, in the dump's
//! byte order (`core/docs/format.md`).

use crate::endian::{Emit, Endian};
use page_codec::Codec;

/// Bytes of a descriptor.
pub const SIZE: usize = 24;

/// Page flags, which are also status bits of the main header.
pub mod flag {
    /// A zlib stream (RFC 1950).
    pub const ZLIB: u32 = 0x1;
    /// An LZO1X stream.
    pub const LZO: u32 = 0x2;
    /// A snappy block.
    pub const SNAPPY: u32 = 0x4;
    /// A zstd frame (RFC 8878).
    pub const ZSTD: u32 = 0x20;
    /// An LZ4 block; only in files signed [`TAMIS`], as other tools do not know it.
    ///
    /// [`TAMIS`]: super::super::disk_header::Signature::Tamis
    pub const LZ4: u32 = 0x40;
}

/// The flag of a codec.
pub fn flag_of(codec: Codec) -> u32 {
    match codec {
        Codec::Zlib => flag::ZLIB,
        Codec::Lzo => flag::LZO,
        Codec::Snappy => flag::SNAPPY,
        Codec::Zstd => flag::ZSTD,
        Codec::Lz4 => flag::LZ4,
        _ => 0,
    }
}

/// Where the bytes of one page are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageDesc {
    /// File offset of the bytes; 0 means that the page could not be saved.
    pub offset: u64,
    /// Bytes in the file; the page size where flags are 0.
    pub size: u32,
    /// Which codec; 0 is none.
    pub flags: u32,
}

impl PageDesc {
    /// The descriptor of a page whose data is lost: it keeps its place, so that later ones keep
    /// theirs.
    pub const LOST: PageDesc = PageDesc { offset: 0, size: 0, flags: 0 };

    /// The 24 bytes of it.
    pub fn emit(&self, endian: Endian) -> [u8; SIZE] {
        let mut record = [0; SIZE];
        Emit::new(endian, &mut record).u64(0, self.offset).u32(8, self.size).u32(12, self.flags);
        record
    }

    /// Reads a descriptor; `None` where there are fewer than [`SIZE`] bytes.
    pub fn parse(endian: Endian, bytes: &[u8]) -> Option<PageDesc> {
        endian.u64(bytes, 16)?;
        Some(PageDesc {
            offset: endian.u64(bytes, 0)?,
            size: endian.u32(bytes, 8)?,
            flags: endian.u32(bytes, 12)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_reads_back_in_both_orders() {
        let desc = PageDesc { offset: 0x1_2345_6789, size: 59, flags: flag::ZLIB };
        for endian in [Endian::Little, Endian::Big] {
            let raw = desc.emit(endian);
            assert_eq!(PageDesc::parse(endian, &raw), Some(desc));
            assert_eq!(PageDesc::parse(endian, &raw[..23]), None);
            assert_eq!(raw[16..], [0; 8]);
        }
        assert_eq!(desc.emit(Endian::Big)[..8], 0x1_2345_6789u64.to_be_bytes());
    }
}
