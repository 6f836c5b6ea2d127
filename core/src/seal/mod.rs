//! Sealed dumps: files of the age format, version 1, for X25519 recipients.
//!
//! Whoever seals needs public keys alone, so that a crash kernel's initramfs has no secret in it; `age -d` and
//! [`open`] read what comes of it. A file is a header with the file key, wrapped for each recipient, and the payload
//! in chunks of 64 KiB, each with a tag of its own: cut anywhere, what came through in whole chunks opens.
//!
//! Source of all layouts: the specification of the format, <https://c2sp.org/age> (C2SP, age.md, version 1).

mod header;
mod key;
mod stream;

pub use header::{HEADER_MOST, Header, MOST_RECIPIENTS, OpenError, SealError, open, seal};
pub use key::{Identity, KeyError, Recipient};
pub use stream::{CHUNK, Damaged, Opener, SEALED_CHUNK, Sealer, TAG};

#[cfg(test)]
mod tests;
