//! Encoders of pages, and a check of what they make.

use crate::dump::decode::Unpackers;
use crate::fail::{Fail, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use tamis_core::codec;
use tamis_core::codec::{Encoder, NoCodec, Stored, flag};
use tamis_core::input::kdump::{Unpack, codec_of};
use tamis_core::wire::disk_header::Signature;

/// Compresses with the C library's zstd, for levels that take time.
struct SlowZstd(zstd::bulk::Compressor<'static>);

impl Encoder for SlowZstd {
    fn flag(&self) -> u32 {
        flag::ZSTD
    }

    fn bound(&self, page_size: usize) -> usize {
        zstd::zstd_safe::compress_bound(page_size)
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Stored {
        match self.0.compress_to_buffer(page, out) {
            Ok(len) if len < page.len() => Stored::Compressed(len),
            _ => Stored::Raw,
        }
    }
}

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    /// Not at all.
    Raw,
    /// As `tamis-capture -c`.
    Zlib,
    /// As `tamis-capture -l`.
    Lzo,
    /// As `tamis-capture -p`.
    Snappy,
    /// As `tamis-capture -z` at level 1; higher levels are those of the C library.
    Zstd(i32),
}

impl Compress {
    /// The encoder.
    pub fn encoder(self) -> Result<Box<dyn Encoder + Send>> {
        Ok(match self {
            Compress::Raw => Box::new(NoCodec),
            Compress::Zlib => Box::new(codec::Deflate::new()),
            Compress::Lzo => Box::new(codec::Lzo::new()),
            Compress::Snappy => Box::new(codec::Snappy::new()),
            Compress::Zstd(1) => Box::new(codec::Zstd::new()),
            Compress::Zstd(level) => {
                let made = zstd::bulk::Compressor::new(level);
                Box::new(SlowZstd(made.map_err(|e| Fail::new(format_args!("zstd: {e}")))?))
            }
        })
    }

    /// Bytes of memory that an encoder takes, and a little more.
    pub fn state(self) -> u64 {
        match self {
            Compress::Raw => 0,
            Compress::Zstd(level) if level > 1 => 2 << 20,
            _ => 64 << 10,
        }
    }
}

/// An encoder that decompresses every page again to see that it is the same.
pub struct Checked<'a> {
    encoder: Box<dyn Encoder + Send>,
    unpack: Unpackers,
    page: Vec<u8>,
    bad: &'a AtomicU64,
}

impl<'a> Checked<'a> {
    /// Over the encoder of `compress`; counts pages that do not come back in `bad`.
    pub fn new(compress: Compress, page: usize, bad: &'a AtomicU64) -> Result<Checked<'a>> {
        let (encoder, unpack) = (compress.encoder()?, Unpackers::default());
        Ok(Checked { encoder, unpack, page: vec![0; page], bad })
    }
}

impl Encoder for Checked<'_> {
    fn flag(&self) -> u32 {
        self.encoder.flag()
    }

    fn bound(&self, page_size: usize) -> usize {
        self.encoder.bound(page_size)
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Stored {
        let Stored::Compressed(len) = self.encoder.encode(page, out) else { return Stored::Raw };
        let codec = codec_of(self.encoder.flag(), Signature::Tamis);
        let good = codec.zip(out.get(..len)).is_some_and(|(codec, stored)| {
            self.unpack.unpack(codec, stored, &mut self.page).is_ok() && self.page == page
        });
        if good {
            return Stored::Compressed(len);
        }
        // As it is it cannot be wrong.
        self.bad.fetch_add(1, Ordering::Relaxed);
        Stored::Raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::codec::Compress;
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
            let codec = codec_of(flag, Signature::Tamis).unwrap();
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
