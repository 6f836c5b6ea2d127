//! Decoders of the five page codecs.

use tamis_core::reader::kdump::{Codec, Unpack};

/// All of them; contexts are made when first needed and used again.
#[derive(Default)]
pub struct Unpackers {
    snappy: Option<snap::raw::Decoder>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Unpack for Unpackers {
    fn unpack(&mut self, codec: Codec, stored: &[u8], page: &mut [u8]) -> Result<(), &'static str> {
        let len = match codec {
            Codec::Zlib => {
                // The checksum is part of it.
                miniz_oxide::inflate::decompress_slice_iter_to_slice(
                    page,
                    core::iter::once(stored),
                    true,
                    false,
                )
                .map_err(|_| "damaged zlib data")?
            }
            Codec::Lzo => {
                lzokay::decompress::decompress(stored, page).map_err(|_| "damaged LZO data")?
            }
            Codec::Snappy => {
                let decoder = self.snappy.get_or_insert_with(snap::raw::Decoder::new);
                match snap::raw::decompress_len(stored) {
                    Ok(len) if len == page.len() => {
                        decoder.decompress(stored, page).map_err(|_| "damaged Snappy data")?
                    }
                    _ => return Err("damaged Snappy data"),
                }
            }
            Codec::Zstd => {
                let decoder = match &mut self.zstd {
                    Some(decoder) => decoder,
                    none => none
                        .insert(zstd::bulk::Decompressor::new().map_err(|_| "no memory for zstd")?),
                };
                decoder.decompress_to_buffer(stored, page).map_err(|_| "damaged zstd data")?
            }
            Codec::Lz4 => {
                lz4_flex::block::decompress_into(stored, page).map_err(|_| "damaged LZ4 data")?
            }
        };
        if len == page.len() { Ok(()) } else { Err("data of another length than a page") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_core::codec::Encoder;

    #[test]
    fn every_codec_reads_what_its_encoder_wrote_and_refuses_other_data() {
        let page: Vec<u8> = (0..4096u32).map(|n| (n / 9 % 50) as u8).collect();
        let zlib = miniz_oxide::deflate::compress_to_vec_zlib(&page, 1);
        let snappy = snap::raw::Encoder::new().compress_vec(&page).unwrap();
        let zstd = zstd::bulk::compress(&page, 1).unwrap();
        let mut lz4 = vec![0; 8192];
        let mut encoder = tamis_core::codec::lz4::Lz4::new(4096);
        let tamis_core::codec::Stored::Compressed(len) = encoder.encode(&page, &mut lz4) else {
            panic!("it shrinks");
        };
        lz4.truncate(len);
        let mut all = Unpackers::default();
        for (codec, stored) in
            [(Codec::Zlib, zlib), (Codec::Snappy, snappy), (Codec::Zstd, zstd), (Codec::Lz4, lz4)]
        {
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
        assert!(all.unpack(Codec::Lzo, &[0xa7; 300], &mut [0; 4096]).is_err());
    }
}
