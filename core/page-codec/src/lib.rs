//! Page codecs: every page of a dump is compressed on its own.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::todo
    )
)]

#[cfg(test)]
extern crate std;

mod bits;
mod block;
mod bytes;
mod decoders;
mod deflate;
mod huffman;
mod inflate;
mod lz4;
mod lzo;
mod matcher;
mod snappy;
mod stream;
mod zstd;

pub use bytes::SLACK;
pub use decoders::Decoders;
pub use deflate::Deflate;
pub use inflate::Inflate;
pub use lz4::{DecodeLz4, Lz4};
pub use lzo::{DecodeLzo, Lzo};
pub use snappy::{DecodeSnappy, Snappy};
pub use stream::{DecodeError, Decoder};
pub use zstd::{DecodeZstd, Zstd};

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
    /// An LZ4 block; only in files signed `TAMIS   `, as other tools do not know it.
    pub const LZ4: u32 = 0x40;
}

/// What became of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// It shrank to so many bytes of the output.
    Compressed(usize),
    /// It did not shrink: keep it as it is.
    Raw,
}

impl Stored {
    /// What `out` holds of `page`, if that is all of it and smaller.
    fn if_smaller(out: &bytes::Out<'_>, page: &[u8]) -> Stored {
        if out.fits() && out.at < page.len() { Stored::Compressed(out.at) } else { Stored::Raw }
    }
}

/// Compresses pages. The state is made once and reset for each page, so that the output depends on
/// the page alone.
///
/// Used as `&mut dyn Encoder`: one call per page, against microseconds of work.
pub trait Encoder {
    /// Page flag, and status bit of the main header.
    fn flag(&self) -> u32;

    /// Bytes of output room that a page of `page_size` bytes needs; at least the page size.
    fn bound(&self, page_size: usize) -> usize {
        page_size
    }

    /// Compresses `page` into `out`, which has at least [`Encoder::bound`] bytes. Anything that
    /// would not be smaller than the page is [`Stored::Raw`].
    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Stored;
}

/// Keeps pages as they are.
#[derive(Default)]
pub struct NoCodec;

impl Encoder for NoCodec {
    fn flag(&self) -> u32 {
        0
    }

    fn encode(&mut self, _: &[u8], _: &mut [u8]) -> Stored {
        Stored::Raw
    }
}

/// Whether every byte is zero.
///
/// By blocks of eight words; stops at the first block that has a bit. Words are put together by
/// hand: whether a loop over bytes becomes vector code depends on how a program is built.
#[inline(never)]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let (blocks, words) = words.as_chunks::<8>();
    blocks.iter().all(|[a, b, c, d, e, f, g, h]| {
        let [a, b, c, d] = [a, b, c, d].map(|word| u64::from_ne_bytes(*word));
        let [e, f, g, h] = [e, f, g, h].map(|word| u64::from_ne_bytes(*word));
        (a | b | c | d) | (e | f | g | h) == 0
    }) && words.iter().all(|word| u64::from_ne_bytes(*word) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn one_bit_anywhere_is_not_zero() {
        for len in [0, 1, 255, 256, 257, 4096] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for at in 0..len {
                bytes[at] = 0x10;
                assert!(!is_zero(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
