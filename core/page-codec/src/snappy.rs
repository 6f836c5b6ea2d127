//! Snappy raw blocks.
//!
//! > The uncompressed length as a little-endian varint, then elements. The low two bits of an
//! > element's tag say what it is: 00 a literal, 01 a copy of 4 to 11 bytes from less than 2048
//! > bytes back, 10 a copy of 1 to 64 bytes from less than 65536 bytes back, 11 one with a 32-bit
//! > offset.

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
#[cfg(feature = "decode")]
use core::cmp::Ordering;

/// Compresses each page into a snappy block.
pub struct Snappy {
    #[cfg(feature = "encode")]
    table: Table,
}

#[cfg(feature = "encode")]
impl Snappy {
    /// Bytes of the state; nothing else is kept, and the stack is small.
    pub const STATE: usize = size_of::<Snappy>();

    /// An encoder for pages of up to 64 KiB.
    pub const fn new() -> Snappy {
        Snappy { table: [0; _] }
    }
}

#[cfg(feature = "encode")]
impl Default for Snappy {
    fn default() -> Snappy {
        Snappy::new()
    }
}

#[cfg(feature = "encode")]
impl Encode for Snappy {
    fn codec(&self) -> Codec {
        Codec::Snappy
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        if page.len() > MOST {
            return None;
        }
        let mut block = Block { out: Out::new(out, page.len()) };
        let mut len = page.len();
        while len >= 0x80 {
            block.out.put([len as u8 | 0x80]);
            len >>= 7;
        }
        block.out.put([len as u8]);
        let rest = parse(page, &mut self.table, &mut block)?;
        block.literals(part(page, rest as usize..));
        block.out.smaller_than(page)
    }
}

#[cfg(feature = "encode")]
struct Block<'o> {
    out: Out<'o>,
}

#[cfg(feature = "encode")]
impl Block<'_> {
    #[inline(never)]
    fn literals(&mut self, bytes: &[u8]) -> bool {
        match bytes.len() {
            0 => {}
            len @ 1..=60 => self.out.put([(len as u8 - 1) << 2]),
            len @ 61..=256 => self.out.put([60 << 2, (len - 1) as u8]),
            len => {
                let [low, high] = ((len - 1) as u16).to_le_bytes();
                self.out.put([61 << 2, low, high]);
            }
        }
        self.out.copy(bytes);
        self.out.fits()
    }

    /// A copy of up to 64 bytes.
    #[inline(always)]
    fn copy(&mut self, len: u32, distance: u32) {
        // Both forms begin at the same place and the third byte of the shorter one is not kept, so
        // that nothing depends on which it is.
        let [low, high] = (distance as u16).to_le_bytes();
        let short = len < 12 && distance < 2048;
        let tag = if short {
            1 | ((len - 4) << 2) | ((distance >> 8) << 5)
        } else {
            2 | ((len - 1) << 2)
        };
        if let Some(to) = room::<3>(self.out.bytes, self.out.at) {
            *to = [tag as u8, low, high];
        } else if let Some(to) = room::<2>(self.out.bytes, self.out.at).filter(|_| short) {
            *to = [tag as u8, low];
        }
        self.out.at += 3 - usize::from(short);
    }
}

#[cfg(feature = "encode")]
impl Emitter for Block<'_> {
    const FURTHEST: u32 = 65_535;

    #[inline(always)]
    fn sequence(&mut self, page: &[u8], s: Sequence) -> bool {
        if s.literals <= 16
            && let Some(bytes) = try_load::<16>(page, s.start)
        {
            let Some(to) = room::<17>(self.out.bytes, self.out.at) else { return false };
            to[0] = (s.literals.wrapping_sub(1) << 2) as u8;
            if let Some(to) = to.get_mut(1..) {
                to.copy_from_slice(&bytes);
            }
            // Without literals, the match is written over this.
            self.out.at += s.literals as usize + usize::from(s.literals > 0);
        } else {
            let start = s.start as usize;
            if !self.literals(part(page, start..start + s.literals as usize)) {
                return false;
            }
        }
        let mut len = s.len;
        while len >= 68 {
            self.copy(64, s.distance);
            len -= 64;
        }
        if len > 64 {
            self.copy(60, s.distance);
            len -= 60;
        }
        self.copy(len, s.distance);
        true
    }
}

#[cfg(feature = "decode")]
impl Snappy {
    /// Decompresses `stored` into `page`, which must be exactly filled.
    pub fn decode(stored: &[u8], page: &mut [u8]) -> Result<(), DecodeError> {
        let mut input = Input { rest: stored };
        let mut size = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = input.byte()?;
            size |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
            if shift == 28 {
                return Err(DecodeError::Corrupt);
            }
        }
        match size.cmp(&(page.len() as u64)) {
            Ordering::Less => return Err(DecodeError::TooShort),
            Ordering::Greater => return Err(DecodeError::TooLong),
            Ordering::Equal => {}
        }
        let mut output = Output::new(page);
        while !input.rest.is_empty() {
            let tag = input.byte()?;
            let high = usize::from(tag >> 2);
            match tag & 3 {
                0 => {
                    let len = if high < 60 {
                        high
                    } else {
                        let mut len = [0; 4];
                        for slot in len.iter_mut().take(high - 59) {
                            *slot = input.byte()?;
                        }
                        u32::from_le_bytes(len) as usize
                    };
                    let len = len.checked_add(1).filter(|len| *len <= output.page.len());
                    output.literals(&mut input, len.ok_or(DecodeError::TooLong)?)?;
                }
                1 => {
                    let low = input.byte()?;
                    output.copy((high >> 3) << 8 | usize::from(low), (high & 7) + 4)?;
                }
                2 => output.copy(input.u16()?.into(), high + 1)?,
                _ => output.copy(input.u32()? as usize, high + 1)?,
            }
        }
        output.end()
    }
}
