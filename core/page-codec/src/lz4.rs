//! LZ4 blocks.
//!
//! > Each sequence starts with a token: the literal length in its high 4 bits, the match length
//! > less 4 in its low ones; 15 means that bytes to add follow. The last 5 bytes are literals, and
//! > the last match starts at least 12 bytes before the end.

#[cfg(feature = "encode")]
use crate::bytes::{Out, part, room, try_load};
#[cfg(feature = "decode")]
use crate::codec::DecodeError;
#[cfg(feature = "encode")]
use crate::codec::{Codec, Encode};
#[cfg(feature = "encode")]
use crate::matcher::{Emitter, MOST, Sequence, Table, parse};
#[cfg(feature = "decode")]
use crate::stream::{Input, Output};

/// Compresses each page into an LZ4 block.
pub struct Lz4 {
    #[cfg(feature = "encode")]
    table: Table,
}

#[cfg(feature = "encode")]
impl Lz4 {
    /// Bytes of the state; nothing else is kept, and the stack is small.
    pub const STATE: usize = size_of::<Lz4>();

    /// An encoder for pages of up to 64 KiB.
    pub const fn new() -> Lz4 {
        Lz4 { table: [0; _] }
    }
}

#[cfg(feature = "encode")]
impl Default for Lz4 {
    fn default() -> Lz4 {
        Lz4::new()
    }
}

#[cfg(feature = "encode")]
impl Encode for Lz4 {
    fn codec(&self) -> Codec {
        Codec::Lz4
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        if page.len() > MOST {
            return None;
        }
        let mut block = Block { out: Out::new(out, page.len()) };
        let rest = parse(page, &mut self.table, &mut block)?;
        let mut block = Block { out: block.out };
        block.finish(part(page, rest as usize..));
        block.out.smaller_than(page)
    }
}

#[cfg(feature = "encode")]
struct Block<'o> {
    out: Out<'o>,
}

#[cfg(feature = "encode")]
impl Block<'_> {
    /// What a token's 15 leaves of a length: bytes of 255, then one below.
    fn more(&mut self, mut rest: u32) {
        while rest >= 255 {
            self.out.put([255]);
            rest -= 255;
        }
        self.out.put([rest as u8]);
    }

    fn finish(&mut self, rest: &[u8]) {
        let len = rest.len() as u32;
        self.out.put([(len.min(15) << 4) as u8]);
        if len >= 15 {
            self.more(len - 15);
        }
        self.out.copy(rest);
    }

    #[cold]
    #[inline(never)]
    fn long(mut self, page: &[u8], s: &Sequence) -> Option<usize> {
        let len = s.len - 4;
        self.out.put([((s.literals.min(15) << 4) | len.min(15)) as u8]);
        if s.literals >= 15 {
            self.more(s.literals - 15);
        }
        let start = s.start as usize;
        self.out.copy(part(page, start..start + s.literals as usize));
        self.out.put((s.distance as u16).to_le_bytes());
        if len >= 15 {
            self.more(len - 15);
        }
        self.out.fits().then_some(self.out.at)
    }
}

#[cfg(feature = "encode")]
impl Emitter for Block<'_> {
    const FURTHEST: u32 = 65_535;
    const TAIL: u32 = 5;
    const PATIENCE: u32 = 7;

    #[inline(always)]
    fn sequence(&mut self, page: &[u8], s: Sequence) -> bool {
        // The usual case: at most 14 literals, copied as 16 bytes with what follows them.
        if s.literals < 15
            && s.len < 4 + 15 + 255
            && let Some(bytes) = try_load::<16>(page, s.start)
            && let Some(to) = room::<24>(self.out.bytes, self.out.at)
        {
            let len = s.len - 4;
            let literals = s.literals as usize & 15;
            if let Some(to) = to.get_mut(1..17) {
                to.copy_from_slice(&bytes);
            }
            if let Some(to) = room::<2>(to, 1 + literals) {
                *to = (s.distance as u16).to_le_bytes();
            }
            to[0] = ((s.literals << 4) | len.min(15)) as u8;
            self.out.at += 3 + literals;
            // Written either way: whether it counts cannot be guessed.
            if let Some(to) = to.get_mut(3 + literals) {
                *to = len.wrapping_sub(15) as u8;
            }
            self.out.at += usize::from(len >= 15);
            return true;
        }
        // By value, so that the usual case keeps what it has in registers.
        let whole = Block { out: Out { bytes: &mut *self.out.bytes, at: self.out.at } };
        match whole.long(page, &s) {
            Some(at) => {
                self.out.at = at;
                true
            }
            None => false,
        }
    }
}

#[cfg(feature = "decode")]
/// Literals that a block ends with, at least.
const LAST: usize = 5;
#[cfg(feature = "decode")]
/// How far from the end the last match begins, at least.
const LAST_MATCH: usize = 12;

#[cfg(feature = "decode")]
impl Lz4 {
    /// Decompresses `stored` into `page`, which must be exactly filled.
    pub fn decode(stored: &[u8], page: &mut [u8]) -> Result<(), DecodeError> {
        let mut input = Input { rest: stored };
        let mut output = Output::new(page);
        loop {
            let token = input.byte()?;
            let literals = length(&mut input, token >> 4)?;
            output.literals(&mut input, literals)?;
            if input.rest.is_empty() {
                return output.end();
            }
            if output.at + LAST_MATCH > output.page.len() {
                return Err(DecodeError::Corrupt);
            }
            let distance = input.u16()?;
            let len = length(&mut input, token & 15)? + 4;
            // What is left is at least that much.
            let end = output.page.len() - LAST;
            output.copy_before(distance.into(), len, end)?;
        }
    }
}

#[cfg(feature = "decode")]
/// A length whose token half is `nibble`.
#[inline(always)]
fn length(input: &mut Input<'_>, nibble: u8) -> Result<usize, DecodeError> {
    let mut len = usize::from(nibble);
    if nibble == 15 {
        loop {
            let byte = input.byte()?;
            len += usize::from(byte);
            if byte != 255 {
                break;
            }
        }
    }
    Ok(len)
}

#[cfg(all(test, feature = "decode"))]
mod tests {
    use super::*;

    /// A literal, a match of it, and what the page has beyond that as literals.
    fn block(page: usize, len: usize) -> Result<(), DecodeError> {
        let mut bytes = [0; 64];
        let rest = page - 1 - len;
        bytes[..5].copy_from_slice(&[0x10 | (len - 4) as u8, 7, 1, 0, (rest as u8) << 4]);
        Lz4::decode(&bytes[..5 + rest], &mut [0xff; 64][..page])
    }

    #[test]
    fn a_block_ends_with_literals() {
        assert_eq!(block(14, 8), Ok(()));
        assert_eq!(block(14, 9), Err(DecodeError::TooLong));
        // The last match begins 12 bytes before the end.
        assert_eq!(block(13, 7), Ok(()));
        assert_eq!(block(12, 4), Err(DecodeError::Corrupt));
    }
}
