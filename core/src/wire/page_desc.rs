//! The page descriptor of a kdump-compressed dump: 24 bytes on every architecture, in the dump's
//! byte order (`core/docs/format.md`).

use crate::checksum::PageSum;
use crate::endian::{Emit, Endian};
use page_codec::Codec;

/// Bytes of a descriptor.
pub const SIZE: usize = 24;

bitflags::bitflags! {
    /// Which codec a page is compressed with: one bit, or none for a page that is stored as it is.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct CodecFlags: u32 {
        /// A zlib stream (RFC 1950).
        const ZLIB = 0x1;
        /// An LZO1X stream.
        const LZO = 0x2;
        /// A snappy block.
        const SNAPPY = 0x4;
        /// A zstd frame (RFC 8878).
        const ZSTD = 0x20;
        /// An LZ4 block; only in files signed [`TAMIS`], as other tools do not know it.
        ///
        /// [`TAMIS`]: super::disk_header::Signature::Tamis
        const LZ4 = 0x40;
        // What other programs write, and damage, is kept and reported.
        const _ = !0;
    }
}

/// The flag of a codec.
impl From<Codec> for CodecFlags {
    fn from(codec: Codec) -> CodecFlags {
        match codec {
            Codec::Zlib => CodecFlags::ZLIB,
            Codec::Lzo => CodecFlags::LZO,
            Codec::Snappy => CodecFlags::SNAPPY,
            Codec::Zstd => CodecFlags::ZSTD,
            Codec::Lz4 => CodecFlags::LZ4,
            _ => CodecFlags::empty(),
        }
    }
}

/// Where the bytes of one page are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageDesc {
    /// File offset of the bytes; 0 means that the page could not be saved.
    pub offset: u64,
    /// Bytes in the file; the page size where flags are 0.
    pub size: u32,
    /// Which codec, if any.
    pub flags: CodecFlags,
    /// 0, or a checksum: see [`PageDesc::sum`]. The lower half is what comes first in the file, whatever the byte order.
    pub page_flags: u64,
}

impl PageDesc {
    /// The descriptor of a page whose data is lost: it keeps its place, so that later ones keep
    /// theirs.
    pub const LOST: PageDesc =
        PageDesc { offset: 0, size: 0, flags: CodecFlags::empty(), page_flags: 0 };

    /// The 24 bytes of it.
    pub fn emit(&self, endian: Endian) -> [u8; SIZE] {
        let mut record = [0; SIZE];
        Emit::new(endian, &mut record)
            .u64(0, self.offset)
            .u32(8, self.size)
            .u32(12, self.flags.bits())
            .u32(16, self.page_flags as u32)
            .u32(20, (self.page_flags >> 32) as u32);
        record
    }

    /// The page's checksum.
    pub fn sum(&self) -> PageSum {
        PageSum::of(self.page_flags)
    }

    /// Without the checksum, which is another for each page: where its data is, which pages can share.
    #[must_use]
    pub fn place(self) -> PageDesc {
        PageDesc { page_flags: 0, ..self }
    }

    /// Reads a descriptor; `None` where there are fewer than [`SIZE`] bytes.
    pub fn parse(endian: Endian, bytes: &[u8]) -> Option<PageDesc> {
        Some(PageDesc {
            offset: endian.u64(bytes, 0)?,
            size: endian.u32(bytes, 8)?,
            flags: CodecFlags::from_bits_retain(endian.u32(bytes, 12)?),
            page_flags: page_flags(endian, bytes)?,
        })
    }
}

/// A mark whose last byte is missing is that of a file that is cut off there: nothing is known of the page's checksum.
fn page_flags(endian: Endian, bytes: &[u8]) -> Option<u64> {
    let (crc, mark) = (endian.u32(bytes, 16)?, endian.u32(bytes, 20)?);
    let whole = bytes.get(SIZE - 1).is_some_and(|last| *last != 0);
    Some(if whole { u64::from(mark) << 32 | u64::from(crc) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_reads_back_in_both_orders() {
        // Of a codec that there is, and a bit that nobody has a name for.
        let flags = CodecFlags::ZLIB | CodecFlags::from_bits_retain(1 << 31);
        let page_flags = 0x5443_5243_0102_0304;
        let desc = PageDesc { offset: 0x1_2345_6789, size: 59, flags, page_flags };
        for endian in [Endian::Little, Endian::Big] {
            let raw = desc.emit(endian);
            assert_eq!(PageDesc::parse(endian, &raw), Some(desc));
            assert_eq!(PageDesc::parse(endian, &raw[..23]), None);
            assert_eq!(desc.place().emit(endian)[16..], [0; 8]);
            for end in 16..SIZE {
                let mut torn = raw;
                torn[end..].fill(0);
                assert_eq!(PageDesc::parse(endian, &torn), Some(desc.place()), "{end} bytes");
            }
        }
        assert_eq!(desc.emit(Endian::Big)[..8], 0x1_2345_6789u64.to_be_bytes());
    }
}
