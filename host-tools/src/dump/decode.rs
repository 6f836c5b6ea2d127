//! Decoders of the five page codecs: the engine's own, except where others are faster: lz4_flex, and
//! the C library for zstd.

use lz4_flex::block::{DecompressError, decompress_into};
use page_codec::{Decode, DecodeError, Decoders};
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
            _ => "an unknown codec",
        };
        let len = match codec {
            Codec::Zstd => {
                let decoder = match &mut self.zstd {
                    Some(decoder) => decoder,
                    none => {
                        let new = zstd::bulk::Decompressor::new();
                        none.insert(new.map_err(|_| "no memory for zstd")?)
                    }
                };
                decoder.decompress_to_buffer(stored, page).map_err(|_| damaged)?
            }
            Codec::Lz4 => decompress_into(stored, page).map_err(|error| match error {
                DecompressError::OutputTooSmall { .. } => OTHER_LENGTH,
                _ => damaged,
            })?,
            _ => {
                return self.own.decode(codec, stored, page).map_err(|error| match error {
                    DecodeError::TooLong | DecodeError::TooShort => OTHER_LENGTH,
                    _ => damaged,
                });
            }
        };
        if len == page.len() { Ok(()) } else { Err(OTHER_LENGTH) }
    }
}
