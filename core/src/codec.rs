//! Page codecs as they were before `page-codec` named them: by the flags of page descriptors. To go
//! once nothing here uses it.

pub use page_codec::{
    Codec, Decode, DecodeError, Decoders, Deflate, Encode, Inflate, Lz4, Lzo, Snappy, Zstd, is_zero,
};

use crate::wire::page_desc;
pub use page_desc::flag;

/// Room beyond a page that an encoder needs.
pub const SLACK: usize = Codec::Zlib.bound(0);

/// What became of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// It shrank to this many bytes of the output.
    Compressed(usize),
    /// It did not shrink: keep it as it is.
    Raw,
}

/// Compresses pages.
pub trait Encoder {
    /// Page flag, and status bit of the main header.
    fn flag(&self) -> u32;

    /// Bytes of output room that a page of `page_size` bytes needs; at least the page size.
    fn bound(&self, page_size: usize) -> usize {
        page_size
    }

    /// See [`Encode::encode`].
    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Stored;
}

impl<E: Encode> Encoder for E {
    fn flag(&self) -> u32 {
        page_desc::flag_of(self.codec())
    }

    fn bound(&self, page_size: usize) -> usize {
        Encode::bound(self, page_size)
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Stored {
        Encode::encode(self, page, out).map_or(Stored::Raw, Stored::Compressed)
    }
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
