//! Encoders of pages, and a check of what they make.

use crate::dump::decode::Unpackers;
use crate::fail::{Fail, Result};
use page_codec::{Codec, Effort, Encode};
use std::sync::atomic::{AtomicU64, Ordering};
use tamis_core::input::kdump::Unpack;

/// Compresses with the C library's zstd, for levels that take time.
struct SlowZstd(zstd::bulk::Compressor<'static>);

impl Encode for SlowZstd {
    fn codec(&self) -> Codec {
        Codec::Zstd
    }

    fn bound(&self, page_size: usize) -> usize {
        zstd::zstd_safe::compress_bound(page_size)
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.compress_to_buffer(page, out).ok().filter(|len| *len < page.len())
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
    /// The encoder, if there is one.
    pub fn encoder(self) -> Result<Option<Box<dyn Encode + Send>>> {
        let codec = match self {
            Compress::Raw => return Ok(None),
            Compress::Zlib => Codec::Zlib,
            Compress::Lzo => Codec::Lzo,
            Compress::Snappy => Codec::Snappy,
            Compress::Zstd(1) => Codec::Zstd,
            Compress::Zstd(level) => {
                let made = zstd::bulk::Compressor::new(level);
                let made = made.map_err(|e| Fail::new(format_args!("zstd: {e}")))?;
                return Ok(Some(Box::new(SlowZstd(made))));
            }
        };
        Ok(Some(codec.encoder(Effort::Normal)))
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
    encoder: Box<dyn Encode + Send>,
    unpack: Unpackers,
    page: Vec<u8>,
    bad: &'a AtomicU64,
}

impl<'a> Checked<'a> {
    /// Over the encoder of `compress`, if there is one; counts pages that do not come back in `bad`.
    pub fn new(compress: Compress, page: usize, bad: &'a AtomicU64) -> Result<Option<Checked<'a>>> {
        let unpack = Unpackers::default();
        let over = |encoder| Checked { encoder, unpack, page: vec![0; page], bad };
        Ok(compress.encoder()?.map(over))
    }
}

impl Encode for Checked<'_> {
    fn codec(&self) -> Codec {
        self.encoder.codec()
    }

    fn bound(&self, page_size: usize) -> usize {
        self.encoder.bound(page_size)
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        let len = self.encoder.encode(page, out)?;
        let good = out.get(..len).is_some_and(|stored| {
            self.unpack.unpack(self.encoder.codec(), stored, &mut self.page).is_ok()
                && self.page == page
        });
        if good {
            return Some(len);
        }
        // As it is it cannot be wrong.
        self.bad.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::codec::Compress;

    #[test]
    fn every_codec_reads_what_its_encoder_wrote_and_refuses_other_data() {
        let page: Vec<u8> = (0..4096u32).map(|n| (n / 9 % 50) as u8).collect();
        let packed = |mut encoder: Box<dyn Encode + Send>| {
            let mut out = vec![0; encoder.bound(4096)];
            let len = encoder.encode(&page, &mut out).expect("it shrinks");
            out.truncate(len);
            (encoder.codec(), out)
        };
        let own = [Compress::Zlib, Compress::Lzo, Compress::Snappy, Compress::Zstd(1)];
        let mut stored: Vec<_> = own.map(|c| packed(c.encoder().unwrap().unwrap())).into();
        stored.push(packed(Compress::Zstd(19).encoder().unwrap().unwrap()));
        stored.push(packed(Codec::Lz4.encoder(Effort::Normal)));
        let mut all = Unpackers::default();
        for (codec, stored) in stored {
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
