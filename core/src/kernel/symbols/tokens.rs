//! The pieces that names of symbols are put together from.

use super::{Reader, SymbolsError, limits};
use crate::units::VirtAddr;

/// Tokens: one for each value of a byte.
pub(super) const COUNT: usize = 256;

/// 256 strings.
pub(super) struct Tokens {
    starts: [u16; COUNT],
    bytes: [u8; limits::TOKENS],
}

impl Tokens {
    /// Reads `kallsyms_token_table` and `kallsyms_token_index`, and holds one against the other.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        table: u64,
        index: u64,
    ) -> Result<Tokens, SymbolsError> {
        let malformed = |what, at| SymbolsError::Malformed { what, at: VirtAddr(at) };
        let mut tokens = Tokens { starts: [0; COUNT], bytes: [0; limits::TOKENS] };
        let mut starts = tokens.starts;
        for (at, start) in (index..).step_by(2).zip(&mut starts) {
            *start = reader.u16("the index of tokens", at)?;
        }
        tokens.starts = starts;
        // Each begins where the one before ends.
        let mut at = 0usize;
        for start in starts {
            if usize::from(start) != at {
                return Err(malformed("the index of tokens", index));
            }
            loop {
                let byte = reader.u8("the token table", table.wrapping_add(at as u64))?;
                match tokens.bytes.get_mut(at) {
                    Some(slot) => *slot = byte,
                    None => return Err(malformed("the token table", table)),
                }
                at += 1;
                if byte == 0 {
                    break;
                }
            }
        }
        Ok(tokens)
    }

    /// The string of a token.
    pub(super) fn get(&self, token: u8) -> &[u8] {
        let start = self.starts.get(usize::from(token)).map_or(0, |start| usize::from(*start));
        let from = self.bytes.get(start..).unwrap_or(&[]);
        let len = from.iter().position(|byte| *byte == 0).unwrap_or(0);
        from.get(..len).unwrap_or(&[])
    }
}
