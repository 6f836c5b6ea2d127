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

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod adler;
mod bits;
mod block;
mod bytes;
mod codec;
mod decoders;
mod deflate;
mod encoders;
mod huffman;
mod inflate;
mod lz4;
mod lzo;
mod matcher;
mod snappy;
mod stream;
#[cfg(feature = "zstd-decode")]
mod unzstd;
mod zstd;
mod zstd_tables;

pub use codec::{Codec, Decode, DecodeError, Effort, Encode};
pub use decoders::Decoders;
pub use deflate::Deflate;
pub use inflate::Inflate;
pub use lz4::Lz4;
pub use lzo::Lzo;
pub use snappy::Snappy;
#[cfg(feature = "zstd-decode")]
pub use unzstd::DecodeZstd;
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
