//! Picks a decoder by codec.

use crate::codec::{Codec, Decode, DecodeError};
use crate::inflate::Inflate;
use crate::lz4::Lz4;
use crate::lzo::Lzo;
use crate::snappy::Snappy;
#[cfg(feature = "zstd-decode")]
use crate::unzstd::DecodeZstd;

/// All decoders of this crate: about 6 KiB, or 17 KiB with the feature `zstd-decode`.
#[derive(Default)]
pub struct Decoders {
    zlib: Inflate,
    #[cfg(feature = "zstd-decode")]
    zstd: DecodeZstd,
}

impl Decoders {
    /// Bytes of the state.
    pub const STATE: usize = size_of::<Decoders>();

    /// New decoders; each may be used for any number of pages.
    #[must_use]
    pub fn new() -> Decoders {
        Decoders::default()
    }
}

impl Decode for Decoders {
    fn decode(&mut self, codec: Codec, stored: &[u8], page: &mut [u8]) -> Result<(), DecodeError> {
        match codec {
            Codec::Zlib => self.zlib.decode(stored, page),
            Codec::Lzo => Lzo::decode(stored, page),
            Codec::Snappy => Snappy::decode(stored, page),
            #[cfg(feature = "zstd-decode")]
            Codec::Zstd => self.zstd.decode(stored, page),
            #[cfg(not(feature = "zstd-decode"))]
            Codec::Zstd => Err(DecodeError::Unsupported(codec)),
            Codec::Lz4 => Lz4::decode(stored, page),
        }
    }
}
