//! Picks a decoder by page flag.

use crate::flag;
use crate::inflate::Inflate;
use crate::lz4::DecodeLz4;
use crate::lzo::DecodeLzo;
use crate::snappy::DecodeSnappy;
use crate::stream::{DecodeError, Decoder};
use crate::zstd::DecodeZstd;

/// All decoders, about 17 KiB; picks by page flag.
#[derive(Default)]
pub struct Decoders {
    zlib: Inflate,
    zstd: DecodeZstd,
}

impl Decoders {
    /// Bytes of the state.
    pub const STATE: usize = size_of::<Decoders>();

    /// New ones.
    pub fn new() -> Decoders {
        Decoders::default()
    }

    /// Decodes `stored`, whose page descriptor has `flags`; 0 is a page as it is.
    pub fn decode(
        &mut self,
        flags: u32,
        stored: &[u8],
        page: &mut [u8],
    ) -> Result<(), DecodeError> {
        match flags {
            0 => {
                if stored.len() > page.len() {
                    return Err(DecodeError::TooLong);
                }
                if stored.len() < page.len() {
                    return Err(DecodeError::TooShort);
                }
                page.copy_from_slice(stored);
                Ok(())
            }
            flag::ZLIB => self.zlib.decode(stored, page),
            flag::LZO => DecodeLzo.decode(stored, page),
            flag::SNAPPY => DecodeSnappy.decode(stored, page),
            flag::ZSTD => self.zstd.decode(stored, page),
            flag::LZ4 => DecodeLz4.decode(stored, page),
            other => Err(DecodeError::UnknownFlag(other)),
        }
    }
}
