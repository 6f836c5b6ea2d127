//! What codecs there are, and what an encoder and a decoder of pages do.

use core::fmt;

/// Room that an encoder may use past the page size: a page that does not shrink is noticed late.
pub(crate) const SLACK: usize = 64;

/// A compressed format of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Codec {
    /// A zlib stream (RFC 1950) of deflate blocks (RFC 1951).
    Zlib,
    /// An LZO1X stream, as `Documentation/staging/lzo.rst` of the Linux kernel describes it.
    Lzo,
    /// A raw snappy block, as `format_description.txt` of the snappy library describes it.
    Snappy,
    /// A zstd frame (RFC 8878).
    Zstd,
    /// An LZ4 block, as `doc/lz4_Block_format.md` of the LZ4 library describes it.
    Lz4,
}

impl Codec {
    /// All codecs.
    pub const ALL: &[Codec] = &[Codec::Zlib, Codec::Lzo, Codec::Snappy, Codec::Zstd, Codec::Lz4];

    /// The usual name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Zlib => "zlib",
            Codec::Lzo => "lzo",
            Codec::Snappy => "snappy",
            Codec::Zstd => "zstd",
            Codec::Lz4 => "lz4",
        }
    }

    /// Bytes of output room that the encoders of this crate need for a page of `page_size` bytes.
    #[must_use]
    pub const fn bound(self, page_size: usize) -> usize {
        page_size.saturating_add(SLACK)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much time an encoder may take. A codec that does not have an effort does as with
/// [`Effort::Normal`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Effort {
    /// Faster and larger: zlib with the fixed Huffman codes.
    Low,
    /// The encoder's usual way.
    #[default]
    Normal,
    /// Slower and smaller: zstd with shorter matches, looked for twice.
    High,
}

/// Compresses pages of one codec. The state is made once and reset for each page, so that the
/// output depends on the page alone.
///
/// Meant to be used as `&mut dyn Encode`: one call per page, against microseconds of work.
pub trait Encode {
    /// What it compresses to.
    fn codec(&self) -> Codec;

    /// Bytes of output room that a page of `page_size` bytes needs; at least the page size.
    fn bound(&self, page_size: usize) -> usize {
        self.codec().bound(page_size)
    }

    /// Compresses `page` into `out`, which has at least [`Encode::bound`] bytes. Returns how many
    /// of them the compressed page takes, always fewer than the page has; `None` if it would not be
    /// smaller than the page, which is then to be stored as it is.
    #[must_use]
    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize>;
}

/// An encoder on the heap is one.
#[cfg(feature = "alloc")]
impl<E: Encode + ?Sized> Encode for alloc::boxed::Box<E> {
    fn codec(&self) -> Codec {
        (**self).codec()
    }

    fn bound(&self, page_size: usize) -> usize {
        (**self).bound(page_size)
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        (**self).encode(page, out)
    }
}

/// Decompresses pages of any codec that it knows.
pub trait Decode {
    /// Decompresses `stored` into `page`, which must be exactly filled. After an error the bytes of
    /// `page` are unspecified.
    fn decode(&mut self, codec: Codec, stored: &[u8], page: &mut [u8]) -> Result<(), DecodeError>;
}

/// Why a page could not be decompressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// The stored bytes are not a valid stream of the codec.
    Corrupt,
    /// The stream holds more bytes than the page.
    TooLong,
    /// The stream holds fewer bytes than the page.
    TooShort,
    /// This decoder does not know the codec.
    Unsupported(Codec),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Corrupt => f.write_str("corrupt page data"),
            DecodeError::TooLong => f.write_str("page data of more than a page"),
            DecodeError::TooShort => f.write_str("page data of less than a page"),
            DecodeError::Unsupported(codec) => write!(f, "no decoder for {codec}"),
        }
    }
}

impl core::error::Error for DecodeError {}
