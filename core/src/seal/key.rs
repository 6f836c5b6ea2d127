//! Keys as people have them: `age1...` is public, `AGE-SECRET-KEY-1...` is not.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use core::fmt;
use core::str::FromStr;
use x25519_dalek::{PublicKey, StaticSecret};

const PUBLIC: &str = "age";
const SECRET: &str = "age-secret-key-";

/// Why a text is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// It is no Bech32 text, or a letter of it is wrong.
    Text,
    /// It is a key of another kind.
    Kind,
    /// It has not 32 bytes.
    Length,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::Text => "is no key: a letter is wrong, or missing",
            KeyError::Kind => "is a key of another kind: public ones begin with age1, secret ones with AGE-SECRET-KEY-1",
            KeyError::Length => "has not the 32 bytes of an X25519 key",
        })
    }
}

impl core::error::Error for KeyError {}

/// The 32 bytes of a key with this prefix.
fn bytes_of(text: &str, prefix: &str) -> Result<[u8; 32], KeyError> {
    let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| KeyError::Text)?;
    if !checked.hrp().lowercase_char_iter().eq(prefix.chars()) {
        return Err(KeyError::Kind);
    }
    let mut key = [0; 32];
    let mut bytes = checked.byte_iter();
    for to in &mut key {
        *to = bytes.next().ok_or(KeyError::Length)?;
    }
    if bytes.next().is_some() { Err(KeyError::Length) } else { Ok(key) }
}

fn write_key(f: &mut dyn fmt::Write, prefix: &str, key: &[u8; 32], upper: bool) -> fmt::Result {
    let prefix = Hrp::parse(prefix).map_err(|_| fmt::Error)?;
    let done = if upper {
        bech32::encode_upper_to_fmt::<Bech32, _>(&mut Through(f), prefix, key)
    } else {
        bech32::encode_lower_to_fmt::<Bech32, _>(&mut Through(f), prefix, key)
    };
    done.map_err(|_| fmt::Error)
}

/// A sized writer, as the encoder wants one.
struct Through<'w>(&'w mut dyn fmt::Write);

impl fmt::Write for Through<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

/// A public key: who may open what is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipient(pub(super) [u8; 32]);

impl FromStr for Recipient {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Recipient, KeyError> {
        bytes_of(text, PUBLIC).map(Recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, PUBLIC, &self.0, false)
    }
}

/// A secret key. Its text is written by [`Identity::write_text`] alone, so that no message has it by chance.
pub struct Identity(pub(super) StaticSecret);

impl Identity {
    /// Of 32 random bytes.
    pub fn new(random: [u8; 32]) -> Identity {
        Identity(StaticSecret::from(random))
    }

    /// Whom to seal to, so that this opens it.
    pub fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0).to_bytes())
    }

    /// Writes the secret as text.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write_key(out, SECRET, &self.0.to_bytes(), true)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

impl FromStr for Identity {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Identity, KeyError> {
        bytes_of(text, SECRET).map(Identity::new)
    }
}
