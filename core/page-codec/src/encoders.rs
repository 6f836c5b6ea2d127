//! Picks an encoder by codec and effort.

use crate::codec::{Codec, Effort};
use crate::deflate::Deflate;
use crate::lz4::Lz4;
use crate::lzo::Lzo;
use crate::snappy::Snappy;
use crate::zstd::Zstd;
#[cfg(feature = "alloc")]
use {crate::codec::Encode, alloc::boxed::Box};

impl Codec {
    /// Bytes of an encoder's state. While it encodes, up to 8 KiB of stack come on top.
    #[must_use]
    pub const fn encoder_state(self, effort: Effort) -> usize {
        match (self, effort) {
            (Codec::Zlib, _) => Deflate::STATE,
            (Codec::Lzo, _) => Lzo::STATE,
            (Codec::Snappy, _) => Snappy::STATE,
            (Codec::Zstd, _) => Zstd::STATE,
            (Codec::Lz4, _) => Lz4::STATE,
        }
    }

    /// An encoder on the heap: one allocation of [`Codec::encoder_state`] bytes.
    #[cfg(feature = "alloc")]
    #[must_use]
    #[inline] // as the caller's code: it runs once, and need not be fast
    pub fn encoder(self, effort: Effort) -> Box<dyn Encode + Send> {
        match (self, effort) {
            (Codec::Zlib, Effort::Low) => Box::new(Deflate::fixed()),
            (Codec::Zlib, _) => Box::new(Deflate::new()),
            (Codec::Lzo, _) => Box::new(Lzo::new()),
            (Codec::Snappy, _) => Box::new(Snappy::new()),
            (Codec::Zstd, Effort::High) => Box::new(Zstd::lazy()),
            (Codec::Zstd, _) => Box::new(Zstd::new()),
            (Codec::Lz4, _) => Box::new(Lz4::new()),
        }
    }
}
