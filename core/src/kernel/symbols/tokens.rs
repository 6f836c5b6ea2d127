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
    /// Reads `kallsyms_token_table`, and holds `kallsyms_token_index` against it. Without the address of that, it is
    /// looked for behind the table. Returns it, too.
    #[inline]
    pub(super) fn find(
        reader: &mut Reader<'_>,
        table: u64,
        index: Option<u64>,
    ) -> Result<(Tokens, u64), Failed> {
        const WHAT: &str = "the token table";
        let mut tokens = Tokens { starts: [0; COUNT + 1], bytes: [0; limits::TOKENS] };
        // Each begins where the one before ends.
        let (mut token, mut at) = (1, 0u16);
        while token <= COUNT {
            let byte = reader.u8(WHAT, table.wrapping_add(at.into()))?;
            let Some(slot) = tokens.bytes.get_mut(usize::from(at)) else {
                return Err(reader.malformed(WHAT, table));
            };
            *slot = byte;
            at += 1;
            if let Some(next) = tokens.starts.get_mut(token).filter(|_| byte == 0) {
                *next = at;
                token += 1;
            }
        }
        let end = table.wrapping_add(at.into());
        let behind = [end.wrapping_add(3) & !3, end.wrapping_add(7) & !7];
        for index in index.map_or(behind, |index| [index; 2]) {
            let mut places = (index..).step_by(2).zip(tokens.starts.iter().take(COUNT));
            if places.all(|(place, start)| reader.u16(WHAT, place) == Ok(*start)) {
                return Ok((tokens, index));
            }
        }
        Err(reader.malformed("the index of tokens", end))
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
