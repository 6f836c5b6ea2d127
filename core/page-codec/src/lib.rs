#![doc = include_str!("../README.md")]
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
// What only one of the two uses.
#![cfg_attr(not(all(feature = "encode", feature = "decode")), allow(dead_code))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(any(feature = "encode", feature = "decode"))]
mod adler;
#[cfg(feature = "encode")]
mod bits;
#[cfg(feature = "encode")]
mod block;
#[cfg(any(feature = "encode", feature = "decode"))]
mod bytes;
mod codec;
#[cfg(feature = "decode")]
mod decoders;
#[cfg(feature = "encode")]
mod deflate;
#[cfg(feature = "encode")]
mod encoders;
#[cfg(feature = "encode")]
mod huffman;
#[cfg(feature = "decode")]
mod inflate;
#[cfg(any(feature = "encode", feature = "decode"))]
mod lz4;
#[cfg(any(feature = "encode", feature = "decode"))]
mod lzo;
#[cfg(feature = "encode")]
mod matcher;
#[cfg(any(feature = "encode", feature = "decode"))]
mod snappy;
#[cfg(feature = "decode")]
mod stream;
#[cfg(feature = "zstd-decode")]
mod unzstd;
#[cfg(feature = "encode")]
mod zstd;
#[cfg(any(feature = "encode", feature = "zstd-decode"))]
mod zstd_tables;

pub use codec::{Codec, Decode, DecodeError, Effort, Encode};
#[cfg(feature = "decode")]
pub use decoders::Decoders;
#[cfg(feature = "encode")]
pub use deflate::Deflate;
#[cfg(feature = "decode")]
pub use inflate::Inflate;
#[cfg(any(feature = "encode", feature = "decode"))]
pub use lz4::Lz4;
#[cfg(any(feature = "encode", feature = "decode"))]
pub use lzo::Lzo;
#[cfg(any(feature = "encode", feature = "decode"))]
pub use snappy::Snappy;
#[cfg(feature = "zstd-decode")]
pub use unzstd::DecodeZstd;
#[cfg(feature = "encode")]
pub use zstd::Zstd;

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
