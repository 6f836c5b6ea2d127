//! zlib streams (RFC 1950) with miniz_oxide, level 1.

use super::{Encoder, Stored};
use crate::wire::page_desc;
use alloc::boxed::Box;
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress, create_comp_flags_from_zip_params,
};

/// Compresses each page into a zlib stream of its own.
///
/// The state is on the heap: about 320 KB, all of it allocated by [`Zlib::new`].
pub struct Zlib {
    state: Box<CompressorOxide>,
}

/// Heap bytes of a [`Zlib`], for the memory plan; a test holds them against what is really
/// allocated.
pub const HEAP: usize = 328 * 1024;

/// Fast deflate, as `compress2(.., 1)` of zlib.
const LEVEL: i32 = 1;
/// Positive: write the zlib header and checksum.
const WINDOW_BITS: i32 = 15;
/// Default strategy.
const STRATEGY: i32 = 0;

impl Zlib {
    /// Allocates the state; nothing is allocated later.
    pub fn new() -> Zlib {
        let flags = create_comp_flags_from_zip_params(LEVEL, WINDOW_BITS, STRATEGY);
        Zlib { state: Box::new(CompressorOxide::new(flags)) }
    }
}

impl Default for Zlib {
    fn default() -> Zlib {
        Zlib::new()
    }
}

impl Encoder for Zlib {
    fn flag(&self) -> u32 {
        page_desc::ZLIB
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Stored {
        self.state.reset();
        // Room for one byte less than the page: what does not fit did not shrink.
        let room = page.len().saturating_sub(1).min(out.len());
        let out = out.get_mut(..room).unwrap_or_default();
        match compress(&mut self.state, page, out, TDEFLFlush::Finish) {
            (TDEFLStatus::Done, _, len) => Stored::Compressed(len),
            _ => Stored::Raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::inflate::decompress_to_vec_zlib;
    use std::{vec, vec::Vec};

    fn noise(len: usize) -> Vec<u8> {
        let mut x = 0x2545_f491_4f6c_dd1du64;
        (0..len)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x >> 32) as u8
            })
            .collect()
    }

    #[test]
    fn pages_read_back_and_do_not_depend_on_the_one_before() {
        let mut codec = Zlib::new();
        let mut out = vec![0; 4096];
        let text: Vec<u8> = (0..4096u32).map(|i| (i / 7 % 64) as u8).collect();
        let mut first = Vec::new();
        for page in [&text, &noise(4096), &text, &vec![3; 4096], &text] {
            match codec.encode(page, &mut out) {
                Stored::Compressed(len) => {
                    assert!(len < 4096);
                    assert_eq!(decompress_to_vec_zlib(&out[..len]).unwrap(), *page);
                    if *page == text {
                        if first.is_empty() {
                            first = out[..len].to_vec();
                        }
                        assert_eq!(out[..len], first[..]);
                    }
                }
                Stored::Raw => assert_eq!(*page, noise(4096)),
            }
        }
    }
}
