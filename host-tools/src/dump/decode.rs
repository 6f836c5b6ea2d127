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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::refilter::Compress;
    use tamis_core::codec::{Encoder, Lz4, Stored};

    #[test]
    fn every_codec_reads_what_its_encoder_wrote_and_refuses_other_data() {
        let page: Vec<u8> = (0..4096u32).map(|n| (n / 9 % 50) as u8).collect();
        let packed = |mut encoder: Box<dyn Encoder + Send>| {
            let mut out = vec![0; encoder.bound(4096)];
            let Stored::Compressed(len) = encoder.encode(&page, &mut out) else {
                panic!("it shrinks");
            };
            out.truncate(len);
            (encoder.flag(), out)
        };
        let own = [Compress::Zlib, Compress::Lzo, Compress::Snappy, Compress::Zstd(1)];
        let mut stored: Vec<_> = own.map(|c| packed(c.encoder().unwrap())).into();
        stored.push(packed(Compress::Zstd(19).encoder().unwrap()));
        stored.push(packed(Box::new(Lz4::new())));
        let mut all = Unpackers::default();
        for (flag, stored) in stored {
            let codec = Codec::ALL.into_iter().find(|codec| codec.flag() == flag).unwrap();
            let mut out = vec![0; 4096];
            assert_eq!(all.unpack(codec, &stored, &mut out), Ok(()), "{codec:?}");
            assert_eq!(out, page);
            // Twice the length, half the data, none, noise.
            assert!(all.unpack(codec, &stored, &mut vec![0; 8192]).is_err(), "{codec:?}");
            assert!(all.unpack(codec, &stored, &mut vec![0; 2048]).is_err(), "{codec:?}");
            assert!(all.unpack(codec, &stored[..stored.len() / 2], &mut out).is_err());
            assert!(all.unpack(codec, &[], &mut out).is_err());
            assert!(all.unpack(codec, &[0xa7; 300], &mut out).is_err());
        }
    }
}
