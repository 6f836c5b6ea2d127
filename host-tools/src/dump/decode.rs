//! Decoders of the five page codecs: the engine's own, but for zstd the C library, which is faster.

use tamis_core::codec::{DecodeError, Decoders};
use tamis_core::input::kdump::{Codec, Unpack};

/// All of them; the context of zstd is made when first needed and used again.
#[derive(Default)]
pub struct Unpackers {
    own: Decoders,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Unpack for Unpackers {
    fn unpack(&mut self, codec: Codec, stored: &[u8], page: &mut [u8]) -> Result<(), &'static str> {
        const OTHER_LENGTH: &str = "data of another length than a page";
        let damaged = match codec {
            Codec::Zlib => "damaged zlib data",
            Codec::Lzo => "damaged LZO data",
            Codec::Snappy => "damaged Snappy data",
            Codec::Zstd => "damaged zstd data",
            Codec::Lz4 => "damaged LZ4 data",
        };
        if codec != Codec::Zstd {
            return self.own.decode(codec.flag(), stored, page).map_err(|error| match error {
                DecodeError::TooLong | DecodeError::TooShort => OTHER_LENGTH,
                _ => damaged,
            });
        }
        let decoder = match &mut self.zstd {
            Some(decoder) => decoder,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(|_| "no memory for zstd")?),
        };
        let len = decoder.decompress_to_buffer(stored, page).map_err(|_| damaged)?;
        if len == page.len() { Ok(()) } else { Err(OTHER_LENGTH) }
    }
}
