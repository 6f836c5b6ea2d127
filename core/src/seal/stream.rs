//! The payload: chunks, each with its tag. Its number, and whether it is the last, are part of what the tag is of.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use core::fmt;

/// Bytes of a chunk before it is sealed; the last one is shorter, unless it is full by chance.
pub const CHUNK: usize = 64 << 10;
/// Bytes of the tag behind each chunk.
pub const TAG: usize = 16;
/// Bytes of a whole chunk in the file.
pub const SEALED_CHUNK: usize = CHUNK + TAG;

/// A cipher with the number of the next chunk.
struct Chunks {
    cipher: ChaCha20Poly1305,
    next: u64,
}

impl Chunks {
    fn new(key: [u8; 32]) -> Chunks {
        Chunks { cipher: ChaCha20Poly1305::new(&Key::from(key)), next: 0 }
    }

    /// Eleven bytes of the chunk's number, big-endian, and one that says whether it is the last.
    fn nonce(&self, last: bool) -> Nonce {
        let [a, b, c, d, e, f, g, h] = self.next.to_be_bytes();
        Nonce::from([0, 0, 0, a, b, c, d, e, f, g, h, u8::from(last)])
    }
}

/// Seals chunks, one after the other.
pub struct Sealer(Chunks);

impl Sealer {
    pub(super) fn new(key: [u8; 32]) -> Sealer {
        Sealer(Chunks::new(key))
    }

    /// Seals a chunk where it lies; its tag follows it in the file. All but the last have [`CHUNK`] bytes; the last
    /// has at least one, unless it is the only one. `None`: it is longer than a chunk may be, or there are too many.
    pub fn seal(&mut self, chunk: &mut [u8], last: bool) -> Option<[u8; TAG]> {
        if chunk.len() > CHUNK {
            return None;
        }
        let nonce = self.0.nonce(last);
        self.0.next = self.0.next.checked_add(1)?;
        let tag = self.0.cipher.encrypt_inout_detached(&nonce, &[], chunk.into()).ok()?;
        Some(tag.into())
    }
}

/// A chunk that is not what was sealed: it was changed, belongs elsewhere, or is not the last one, as was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// Its number, from 0 on.
    pub chunk: u64,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk {} is not what was sealed", self.chunk)
    }
}

impl core::error::Error for Damaged {}

/// Opens chunks, one after the other.
pub struct Opener(Chunks);

impl Opener {
    pub(super) fn new(key: [u8; 32]) -> Opener {
        Opener(Chunks::new(key))
    }

    /// Number of the chunk that is next.
    pub fn next(&self) -> u64 {
        self.0.next
    }

    /// Opens a chunk where it lies. One that is damaged is left as it was, and stays the next one.
    ///
    /// # Errors
    ///
    /// [`Damaged`], also if `last` is not true of it.
    pub fn open(&mut self, chunk: &mut [u8], tag: &[u8; TAG], last: bool) -> Result<(), Damaged> {
        let damaged = Damaged { chunk: self.0.next };
        let next = self.0.next.checked_add(1).ok_or(damaged)?;
        let (nonce, tag) = (self.0.nonce(last), Tag::from(*tag));
        self.0
            .cipher
            .decrypt_inout_detached(&nonce, &[], chunk.into(), &tag)
            .map_err(|_| damaged)?;
        self.0.next = next;
        Ok(())
    }
}
