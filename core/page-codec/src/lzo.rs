//! LZO1X streams, as the Linux kernel documents them (`Documentation/staging/lzo.rst`).
//!
//! > A stream is a sequence of instructions. The low two bits of an instruction that copies a match
//! > (of its first byte, or of its little-endian distance) say how many literals, 0 to 3, follow
//! > it; more of them take an instruction of their own. A distance of 16384 in the last form ends
//! > the stream.

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
#[cfg(feature = "encode")]
use core::hint::select_unpredictable;

/// Compresses each page into an LZO1X stream.
pub struct Lzo {
    #[cfg(feature = "encode")]
    table: Table,
}

#[cfg(feature = "encode")]
impl Lzo {
    /// Bytes of the state; nothing else is kept, and the stack is small.
    pub const STATE: usize = size_of::<Lzo>();

    /// An encoder for pages of up to 64 KiB.
    pub const fn new() -> Lzo {
        Lzo { table: [0; _] }
    }
}

#[cfg(feature = "encode")]
impl Default for Lzo {
    fn default() -> Lzo {
        Lzo::new()
    }
}

#[cfg(feature = "encode")]
impl Encode for Lzo {
    fn codec(&self) -> Codec {
        Codec::Lzo
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        if page.len() > MOST {
            return None;
        }
        let out = Out::new(out, page.len());
        if page.len() <= NEAR {
            Stream::<true> { out }.encode(page, &mut self.table)
        } else {
            Stream::<false> { out }.encode(page, &mut self.table)
        }
    }
}

#[cfg(feature = "encode")]
/// Furthest that a match instruction of three bytes reaches.
const NEAR: usize = 16_384;

#[cfg(feature = "encode")]
/// A stream. Of a page that is `SMALL`, no match is beyond [`NEAR`].
struct Stream<'o, const SMALL: bool> {
    out: Out<'o>,
}

#[cfg(feature = "encode")]
impl<const SMALL: bool> Stream<'_, SMALL> {
    fn encode(mut self, page: &[u8], table: &mut Table) -> Option<usize> {
        let rest = parse(page, table, &mut self)?;
        self.literals(part(page, rest as usize..));
        self.out.put([0b0001_0001, 0, 0]);
        self.out.smaller_than(page)
    }

    /// Adds `count` (1 to 3) literals to the match instruction before them.
    #[inline(always)]
    fn join(&mut self, count: u32) {
        if let Some(byte) = self.out.bytes.get_mut(self.out.at.wrapping_sub(2)) {
            *byte |= count as u8;
        }
    }

    /// What a length field of zero leaves: zeros worth 255 each, then 1 to 255.
    fn more(&mut self, mut rest: u32) {
        while rest > 255 {
            self.out.put([0]);
            rest -= 255;
        }
        self.out.put([rest as u8]);
    }

    #[inline(never)]
    fn literals(&mut self, bytes: &[u8]) -> bool {
        let len = bytes.len() as u32;
        match len {
            0 => {}
            1..=238 if self.out.at == 0 => self.out.put([(17 + len) as u8]),
            1..=3 => self.join(len),
            4..=18 => self.out.put([(len - 3) as u8]),
            _ => {
                self.out.put([0]);
                self.more(len - 18);
            }
        }
        self.out.copy(bytes);
        self.out.fits()
    }

    /// Any literals, any match; where the stream then ends.
    #[cold]
    #[inline(never)]
    fn odd(mut self, page: &[u8], s: &Sequence) -> Option<usize> {
        let start = s.start as usize;
        if !self.literals(part(page, start..start + s.literals as usize)) {
            return None;
        }
        if s.len <= 8 && s.distance <= 2048 {
            let offset = s.distance - 1;
            self.out.put([(((s.len - 1) << 5) | ((offset & 7) << 2)) as u8, (offset >> 3) as u8]);
        } else {
            self.far(s.len, s.distance);
        }
        Some(self.out.at)
    }

    /// A match that is longer or further than two bytes say.
    #[inline(always)]
    fn far(&mut self, len: u32, distance: u32) {
        let (tag, most, offset) = if distance <= NEAR as u32 {
            (0b0010_0000, 33, distance - 1)
        } else {
            let offset = distance - NEAR as u32;
            (0b0001_0000 | ((offset >> 11) & 8), 9, offset & 0x3fff)
        };
        if len <= most {
            self.out.put([(tag | (len - 2)) as u8]);
        } else {
            self.out.put([tag as u8]);
            self.more(len - most);
        }
        self.out.put(((offset << 2) as u16).to_le_bytes());
    }
}

#[cfg(feature = "encode")]
impl<const SMALL: bool> Emitter for Stream<'_, SMALL> {
    const FURTHEST: u32 = if SMALL { 65_535 } else { 49_151 };
    // Many short matches that are found quickly: what is behind a match is tried at once, and is
    // worth more than what is before it.
    const HASHED: u32 = 4;
    const PATIENCE: u32 = 4;
    const BACKWARD: bool = false;
    const ENTERED: u32 = 0;

    #[inline(always)]
    fn sequence(&mut self, page: &[u8], s: Sequence) -> bool {
        let near = (s.len <= 8) & (s.distance <= 2048);
        let offset = s.distance - 1;
        // The usual case: few literals, and a match of two to four bytes.
        if s.literals <= 16
            && s.len <= 33 + 255
            && (SMALL || s.distance <= NEAR as u32)
            && let Some(bytes) = try_load::<16>(page, s.start)
            // From the two bytes that end the match before; the first sequence has none.
            && let Some(to) = room::<42>(self.out.bytes, self.out.at.wrapping_sub(2))
        {
            // No branch on how many literals there are, or how far and how long the match is: none
            // of it can be guessed.
            let tagged = s.literals > 3;
            to[0] |= select_unpredictable(tagged, 0, s.literals) as u8;
            to[2] = s.literals.wrapping_sub(3) as u8;
            let mut at = 2 + usize::from(tagged);
            if let Some(to) = room::<16>(to, at) {
                *to = bytes;
            }
            at += (s.literals & 31) as usize;
            let short = ((s.len - 1) << 5) | ((offset & 7) << 2) | ((offset >> 3) << 8);
            let middle = 0b0010_0000 | (s.len - 2) | (offset << 10);
            let long = 0b0010_0000 | (s.len.wrapping_sub(33) << 8) | (offset << 18);
            let more = s.len > 33;
            let word = select_unpredictable(near, short, select_unpredictable(more, long, middle));
            if let Some(to) = room::<4>(to, at) {
                *to = word.to_le_bytes();
            }
            self.out.at += at + 1 + usize::from(more) - usize::from(near);
            return true;
        }
        // By value, so that the usual case keeps what it has in registers.
        let whole = Stream::<SMALL> { out: Out { bytes: &mut *self.out.bytes, at: self.out.at } };
        match whole.odd(page, &s) {
            Some(at) => {
                self.out.at = at;
                true
            }
            None => false,
        }
    }
}

#[cfg(feature = "decode")]
impl Lzo {
    /// Decompresses `stored` into `page`, which must be exactly filled.
    pub fn decode(stored: &[u8], page: &mut [u8]) -> Result<(), DecodeError> {
        let mut input = Input { rest: stored };
        let mut output = Output::new(page);
        // Literals that the last instruction copied: 0 to 3, or 4 for more.
        let mut state = 0;
        match stored.first() {
            Some(first @ 18..) => {
                input.byte()?;
                let len = usize::from(*first) - 17;
                output.literals(&mut input, len)?;
                state = len.min(4);
            }
            // 17 would begin a stream of the kernel's own version 1 (LZO-RLE).
            Some(17) => return Err(DecodeError::Corrupt),
            _ => {}
        }
        loop {
            let tag = input.byte()?;
            let bits = usize::from(tag);
            let (len, distance, after);
            match tag {
                0..=15 if state == 0 => {
                    let len = 3 + length(&mut input, bits, 15)?;
                    output.literals(&mut input, len)?;
                    state = 4;
                    continue;
                }
                0..=15 => {
                    let high = usize::from(input.byte()?) << 2;
                    after = bits & 3;
                    (len, distance) = match state {
                        4 => (3, high + (bits >> 2) + 2049),
                        _ => (2, high + (bits >> 2) + 1),
                    };
                }
                16..=31 => {
                    len = 2 + length(&mut input, bits & 7, 7)?;
                    let low = usize::from(input.u16()?);
                    after = low & 3;
                    distance = 16_384 + ((bits & 8) << 11) + (low >> 2);
                    if distance == 16_384 {
                        // The end has a length of 3 and nothing behind it.
                        if tag != 17 || !input.rest.is_empty() {
                            return Err(DecodeError::Corrupt);
                        }
                        return output.end();
                    }
                }
                32..=63 => {
                    len = 2 + length(&mut input, bits & 31, 31)?;
                    let low = usize::from(input.u16()?);
                    after = low & 3;
                    distance = (low >> 2) + 1;
                }
                64.. => {
                    len = (bits >> 5) + 1;
                    after = bits & 3;
                    distance = (usize::from(input.byte()?) << 3) + ((bits >> 2) & 7) + 1;
                }
            }
            output.copy(distance, len)?;
            output.literals(&mut input, after)?;
            state = after;
        }
    }
}

#[cfg(feature = "decode")]
/// A length whose field in the tag is `field`; 0 there means that more bytes follow, on top of
/// `most`.
#[inline(always)]
fn length(input: &mut Input<'_>, field: usize, most: usize) -> Result<usize, DecodeError> {
    if field != 0 {
        return Ok(field);
    }
    let mut len = most;
    loop {
        match input.byte()? {
            0 => len += 255,
            byte => return Ok(len + usize::from(byte)),
        }
    }
}
