//! The pieces that names of symbols are put together from.

use super::{Failed, Reader, limits};

/// Tokens: one for each value of a byte.
pub(super) const COUNT: usize = 256;

/// 256 strings.
pub(super) struct Tokens {
    /// Where each begins, and where the one behind the last would.
    starts: [u16; COUNT + 1],
    bytes: [u8; limits::TOKENS],
}

impl Tokens {
    /// Reads `kallsyms_token_table` and `kallsyms_token_index`, and holds one against the other.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'_>, table: u64, index: u64) -> Result<Tokens, Failed> {
        let mut tokens = Tokens { starts: [0; COUNT + 1], bytes: [0; limits::TOKENS] };
        // Each begins where the one before ends.
        let mut at = 0usize;
        for (token, place) in (index..).step_by(2).take(COUNT).enumerate() {
            if usize::from(reader.u16("the index of tokens", place)?) != at {
                return Err(reader.malformed("the index of tokens", index));
            }
            loop {
                let byte = reader.u8("the token table", table.wrapping_add(at as u64))?;
                match tokens.bytes.get_mut(at) {
                    Some(slot) => *slot = byte,
                    None => return Err(reader.malformed("the token table", table)),
                }
                at += 1;
                if byte == 0 {
                    break;
                }
            }
            if let Some(next) = tokens.starts.get_mut(token + 1) {
                *next = at as u16;
            }
        }
        Ok(tokens)
    }

    /// The string of a token.
    #[inline]
    pub(super) fn get(&self, token: u8) -> &[u8] {
        let start = |token: usize| self.starts.get(token).map_or(0, |start| usize::from(*start));
        // Without the NUL.
        let end = start(usize::from(token) + 1).saturating_sub(1);
        self.bytes.get(start(usize::from(token))..end).unwrap_or(&[])
    }
}
