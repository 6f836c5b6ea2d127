//! The header: the file key, wrapped for each recipient, under a MAC.

use super::key::{Identity, Recipient};
use super::stream::{Opener, Sealer, TAG};
use crate::error::part;
use base64ct::{Base64Unpadded, Encoding};
use chacha20poly1305::aead::{AeadInOut, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use core::fmt;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};

/// Recipients that a file can be sealed to here. Others' files may have more.
pub const MOST_RECIPIENTS: usize = 16;
/// Bytes of a header that is read; longer ones are refused.
pub const HEADER_MOST: usize = 64 << 10;

const VERSION: &[u8] = b"age-encryption.org/v1";
const X25519: &[u8] = b"X25519";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const MAC_LINE: &[u8] = b"---";
/// Letters of 32 bytes in Base64.
const LETTERS: usize = 43;
/// Letters of a full line of a stanza's body.
const LINE: usize = 64;
/// Bytes of the file key, and of the nonce before the payload.
const SMALL: usize = 16;
/// `-> X25519 `, a share, the wrapped key, and the ends of two lines.
const STANZA: usize = 10 + LETTERS + 1 + LETTERS + 1;
const OURS: usize =
    VERSION.len() + 1 + MOST_RECIPIENTS * STANZA + MAC_LINE.len() + 1 + LETTERS + 1 + SMALL;

/// A header as it stands in the file, with the nonce behind it: the payload follows.
pub type Header = heapless::Vec<u8, OURS>;

/// Why nothing was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SealError<E> {
    /// There is nobody to seal to, or there are more than [`MOST_RECIPIENTS`].
    Recipients,
    /// A recipient's key is one of the few with which everybody could open the file.
    Weak,
    /// There were no random bytes: a fixed number in their place would give everything away.
    Random(E),
}

impl<E: fmt::Display> fmt::Display for SealError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SealError::Recipients => {
                write!(f, "a file is sealed to 1 to {MOST_RECIPIENTS} recipients")
            }
            SealError::Weak => {
                f.write_str("a recipient's key is no key: whoever has the file could open it")
            }
            SealError::Random(error) => write!(f, "no random bytes: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for SealError<E> {}

/// Makes keys of `key`, HKDF with SHA-256.
fn derived(key: &[u8], salt: &[u8], info: &[u8]) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), key).expand(info, &mut out).ok()?;
    Some(out)
}

/// The key that wraps the file key for a recipient: of the secret that both have. `None`: the secret is none.
fn wrap_key(
    secret: &StaticSecret,
    other: &PublicKey,
    share: &[u8; 32],
    recipient: &Recipient,
) -> Option<[u8; 32]> {
    let shared = secret.diffie_hellman(other);
    if !shared.was_contributory() {
        return None;
    }
    let mut salt = [0; 64];
    let (first, second) = salt.split_at_mut(32);
    first.copy_from_slice(share);
    second.copy_from_slice(&recipient.0);
    derived(shared.as_bytes(), &salt, LABEL)
}

fn mac_of(file_key: &[u8; SMALL], header: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&derived(file_key, &[], b"header")?).ok()?;
    mac.update(header);
    Some(mac)
}

fn payload_key(file_key: &[u8; SMALL], nonce: &[u8]) -> Option<[u8; 32]> {
    derived(file_key, nonce, b"payload")
}

/// Begins a file: its header, and what seals its chunks. `random` fills a buffer with random bytes.
///
/// # Errors
///
/// As [`SealError`] says; nothing is to be written then.
pub fn seal<E>(
    recipients: &[Recipient],
    mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(Header, Sealer), SealError<E>> {
    if recipients.is_empty() || recipients.len() > MOST_RECIPIENTS {
        return Err(SealError::Recipients);
    }
    let (mut file_key, mut nonce) = ([0; SMALL], [0; SMALL]);
    random(&mut file_key).map_err(SealError::Random)?;
    random(&mut nonce).map_err(SealError::Random)?;
    let mut header = Header::new();
    // There is room for all of it: what is put is counted above.
    let put = |header: &mut Header, bytes: &[u8]| drop(header.extend_from_slice(bytes));
    let encoded = |header: &mut Header, bytes: &[u8]| {
        let mut letters = [0; LETTERS];
        if let Ok(text) = Base64Unpadded::encode(bytes, &mut letters) {
            drop(header.extend_from_slice(text.as_bytes()));
        }
    };
    put(&mut header, VERSION);
    put(&mut header, b"\n");
    for recipient in recipients {
        let mut bytes = [0; 32];
        random(&mut bytes).map_err(SealError::Random)?;
        let secret = StaticSecret::from(bytes);
        let share = PublicKey::from(&secret).to_bytes();
        let key = wrap_key(&secret, &PublicKey::from(recipient.0), &share, recipient)
            .ok_or(SealError::Weak)?;
        let mut wrapped = [0; SMALL + TAG];
        let (body, tag) = wrapped.split_at_mut(SMALL);
        body.copy_from_slice(&file_key);
        let cipher = ChaCha20Poly1305::new(&Key::from(key));
        let made = cipher.encrypt_inout_detached(&Nonce::default(), &[], body.into());
        tag.copy_from_slice(&made.map_err(|_| SealError::Weak)?);
        put(&mut header, b"-> ");
        put(&mut header, X25519);
        put(&mut header, b" ");
        encoded(&mut header, &share);
        put(&mut header, b"\n");
        encoded(&mut header, &wrapped);
        put(&mut header, b"\n");
    }
    put(&mut header, MAC_LINE);
    let mac = mac_of(&file_key, &header).ok_or(SealError::Recipients)?.finalize().into_bytes();
    put(&mut header, b" ");
    encoded(&mut header, &mac);
    put(&mut header, b"\n");
    put(&mut header, &nonce);
    let key = payload_key(&file_key, &nonce).ok_or(SealError::Recipients)?;
    Ok((header, Sealer::new(key)))
}

/// Why a file cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// It does not begin as a sealed file does.
    NotSealed,
    /// The header ends early, or is longer than [`HEADER_MOST`].
    Cut,
    /// A line of the header is not as it has to be.
    Line {
        /// Its number, from 1 on.
        line: u32,
    },
    /// None of the identities is that of a recipient.
    NoIdentity {
        /// X25519 recipients that the file has.
        recipients: u32,
        /// Recipients of other kinds: passphrases, plugins, SSH keys.
        others: u32,
    },
    /// The header was changed.
    Mac,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NotSealed => {
                f.write_str("is not sealed: it does not begin with age-encryption.org/v1")
            }
            OpenError::Cut => {
                f.write_str("ends in its header: what is missing cannot be made up for")
            }
            OpenError::Line { line } => write!(f, "line {line} of its header is damaged"),
            OpenError::NoIdentity { recipients, others: 0 } => {
                write!(f, "is sealed to {recipients} recipients, of whom none has this key")
            }
            OpenError::NoIdentity { recipients, others } => write!(
                f,
                "is sealed to {recipients} recipients, of whom none has this key, and {others} of other kinds, which age may open"
            ),
            OpenError::Mac => f.write_str("has a header that was changed after it was sealed"),
        }
    }
}

impl core::error::Error for OpenError {}

/// Lines with their numbers, and where each ends.
struct Lines<'h> {
    head: &'h [u8],
    at: usize,
    line: u32,
}

impl<'h> Lines<'h> {
    /// The next line, without its end.
    fn next(&mut self) -> Result<&'h [u8], OpenError> {
        let rest = part(self.head, self.at..self.head.len());
        let len = rest.iter().position(|&b| b == b'\n').ok_or(OpenError::Cut)?;
        self.at += len + 1;
        self.line += 1;
        Ok(part(rest, 0..len))
    }

    fn damaged(&self) -> OpenError {
        OpenError::Line { line: self.line }
    }
}

/// Bytes of a text in Base64 that has exactly these.
fn decoded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let len = Base64Unpadded::decode(text, &mut out).ok()?.len();
    (len == N).then_some(out)
}

/// The file key, if it was wrapped for one of these.
fn unwrapped(
    identities: &[Identity],
    share: &[u8; 32],
    body: &[u8; SMALL + TAG],
) -> Option<[u8; SMALL]> {
    identities.iter().find_map(|identity| {
        let key = wrap_key(&identity.0, &PublicKey::from(*share), share, &identity.recipient())?;
        let (mut file_key, mut tag) = ([0; SMALL], [0; TAG]);
        file_key.copy_from_slice(body.get(..SMALL)?);
        tag.copy_from_slice(body.get(SMALL..)?);
        let cipher = ChaCha20Poly1305::new(&Key::from(key));
        let opened = cipher.decrypt_inout_detached(
            &Nonce::default(),
            &[],
            file_key.as_mut_slice().into(),
            &Tag::from(tag),
        );
        opened.ok().map(|()| file_key)
    })
}

/// Reads the header at the beginning of a file; returns what opens its chunks, and where the first one begins. `head`
/// is the file's first [`HEADER_MOST`] bytes, or all of a shorter one.
///
/// # Errors
///
/// As [`OpenError`] says.
pub fn open(head: &[u8], identities: &[Identity]) -> Result<(Opener, usize), OpenError> {
    let head = head.get(..HEADER_MOST).unwrap_or(head);
    if !head.starts_with(VERSION) {
        return Err(OpenError::NotSealed);
    }
    let mut lines = Lines { head, at: 0, line: 0 };
    if lines.next()? != VERSION {
        return Err(OpenError::NotSealed);
    }
    let (mut file_key, mut recipients, mut others) = (None, 0, 0);
    let (mac, signed) = loop {
        let begin = lines.at;
        let line = lines.next()?;
        if let Some(mac) = line.strip_prefix(MAC_LINE) {
            let mac = mac.strip_prefix(b" ").and_then(decoded::<32>).ok_or(lines.damaged())?;
            break (mac, begin + MAC_LINE.len());
        }
        let words = line.strip_prefix(b"-> ").ok_or(lines.damaged())?;
        let mut words = words.split(|&b| b == b' ');
        let kind = words.next().unwrap_or_default();
        let (share, more) = (words.next(), words.next());
        // The body: full lines, and a shorter one, which may be empty.
        let body = lines.next()?;
        let mut line = body;
        while line.len() >= LINE {
            if line.len() > LINE {
                return Err(lines.damaged());
            }
            line = lines.next()?;
        }
        if kind != X25519 {
            others += 1;
            continue;
        }
        recipients += 1;
        let share =
            share.filter(|_| more.is_none()).and_then(decoded::<32>).ok_or(lines.damaged())?;
        let body = decoded::<{ SMALL + TAG }>(body).ok_or(lines.damaged())?;
        file_key = file_key.or_else(|| unwrapped(identities, &share, &body));
    };
    let file_key = file_key.ok_or(OpenError::NoIdentity { recipients, others })?;
    let signed = part(head, 0..signed);
    let sound = mac_of(&file_key, signed).ok_or(OpenError::Mac)?.verify_slice(&mac).is_ok();
    if !sound {
        return Err(OpenError::Mac);
    }
    let nonce = head.get(lines.at..lines.at + SMALL).ok_or(OpenError::Cut)?;
    let key = payload_key(&file_key, nonce).ok_or(OpenError::Mac)?;
    Ok((Opener::new(key), lines.at + SMALL))
}
