//! Snappy's framing format (github.com/google/snappy, `framing_format.txt`): a stream of chunks, each of which
//! decompresses by itself to 64 KiB at most.

use super::error::ImageError;
use crate::error::{part, part_mut};
use crate::io::{IoError, IoKind, RandomAccess};
use alloc::vec::Vec;
use page_codec::{Codec, Decode, Decoders};

/// Bytes that a chunk decompresses to, at most.
pub const CHUNK_MOST: usize = 1 << 16;
/// Bytes that a chunk of so many bytes takes, at most, and something over.
const STORED_MOST: u32 = 1 << 17;

/// Types of chunks; 0 is a compressed one.
const PLAIN: u8 = 0x01;
const STREAM: u8 = 0xff;
/// Chunks from here on may be skipped.
const SKIPPABLE: u8 = 0x80;

/// A chunk with data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Whether it is compressed.
    pub packed: bool,
    /// Where its data begins.
    pub offset: u64,
    /// Bytes of it.
    pub stored: u32,
    /// Bytes that come of it.
    pub len: u32,
    /// Checksum of them, as it is stored.
    pub sum: u32,
}

/// The next chunk with data at `at` or later, and where the one behind it begins. Chunks before it are passed over,
/// a thousand of them at most.
pub fn next(file: &mut impl RandomAccess, at: &mut u64) -> Result<Chunk, ImageError> {
    const WHAT: &str = "snappy chunk";
    for _ in 0..1000 {
        let here = *at;
        let mut head = [0; 8];
        let failed = |io| ImageError::Read { what: WHAT, at: here, io };
        file.read_at(here, part_mut(&mut head, 0..4)).map_err(failed)?;
        let [kind, a, b, c, ..] = head;
        let len = u32::from_le_bytes([a, b, c, 0]);
        let end = here.saturating_add(4 + u64::from(len));
        *at = end;
        if kind == STREAM || kind >= SKIPPABLE {
            continue;
        }
        let invalid = |value| ImageError::Invalid { what: WHAT, at: here, value };
        if kind > PLAIN || !(5..=STORED_MOST).contains(&len) {
            return Err(invalid(u64::from(u32::from_le_bytes([kind, a, b, c]))));
        }
        file.read_at(here, &mut head).map_err(failed)?;
        let [.., w, x, y, z] = head;
        let sum = u32::from_le_bytes([w, x, y, z]);
        let (offset, stored) = (here.saturating_add(8), len - 4);
        if kind == PLAIN {
            return Ok(Chunk { packed: false, offset, stored, len: stored, sum });
        }
        // The block begins with its length, seven bits a byte.
        let mut first = [0; 3];
        let first = part_mut(&mut first, 0..stored.min(3) as usize);
        file.read_at(offset, first).map_err(failed)?;
        let (mut len, mut shift, mut ended) = (0u32, 0, false);
        for byte in first.iter() {
            len |= u32::from(byte & 0x7f) << shift;
            shift += 7;
            ended = byte & 0x80 == 0;
            if ended {
                break;
            }
        }
        if !ended || len == 0 || len as usize > CHUNK_MOST {
            return Err(invalid(len.into()));
        }
        return Ok(Chunk { packed: true, offset, stored, len, sum });
    }
    Err(ImageError::Invalid { what: "row of empty snappy chunks", at: *at, value: 1000 })
}

/// A chunk that is kept.
struct Kept {
    offset: u64,
    used: u64,
    bytes: Vec<u8>,
}

/// The last few chunks, decompressed.
pub struct Chunks {
    kept: Vec<Kept>,
    most: usize,
    clock: u64,
    stored: Vec<u8>,
    decoders: Decoders,
}

const BROKEN: IoError = IoError { kind: IoKind::Other, code: 0 };

impl Chunks {
    /// Of which so many are kept.
    pub fn new(most: usize) -> Chunks {
        let decoders = Decoders::default();
        Chunks { kept: Vec::new(), most, clock: 0, stored: Vec::new(), decoders }
    }

    /// The bytes of a chunk, of which there are `len`. One that is damaged cannot be read.
    pub fn get(
        &mut self,
        file: &mut impl RandomAccess,
        (offset, stored, sum): (u64, u32, u32),
        len: usize,
    ) -> Result<&[u8], IoError> {
        self.clock += 1;
        let found = self.kept.iter().position(|kept| kept.offset == offset);
        let index = match found {
            Some(index) => index,
            None => {
                self.stored.resize(stored.min(STORED_MOST) as usize, 0);
                file.read_at(offset, &mut self.stored)?;
                let mut slot = match self.kept.len() < self.most {
                    true => Kept { offset, used: 0, bytes: Vec::new() },
                    false => {
                        let oldest = self.kept.iter().enumerate().min_by_key(|(_, k)| k.used);
                        self.kept.swap_remove(oldest.map_or(0, |(index, _)| index))
                    }
                };
                slot.offset = offset;
                slot.bytes.resize(len.min(CHUNK_MOST), 0);
                let done = self.decoders.decode(Codec::Snappy, &self.stored, &mut slot.bytes);
                if done.is_err() || masked(&slot.bytes) != sum {
                    return Err(BROKEN);
                }
                self.kept.push(slot);
                self.kept.len() - 1
            }
        };
        let slot = self.kept.get_mut(index).ok_or(BROKEN)?;
        slot.used = self.clock;
        Ok(part(&slot.bytes, 0..slot.bytes.len()))
    }
}

/// CRC-32C (polynomial 0x1edc6f41, bits reversed), byte by byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[n] = crc;
        }
        n += 1;
    }
    table
};

/// The checksum of a chunk's bytes, masked as it is stored.
fn masked(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        crc >> 8 ^ TABLE.get(index as usize).copied().unwrap_or_default()
    };
    let crc = !bytes.iter().fold(!0, step);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // RFC 3720, B.4: 32 bytes of zeros, and of ones.
        let unmasked = |bytes: &[u8]| masked(bytes).wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(unmasked(&[0; 32]), 0x8a91_36aa);
        assert_eq!(unmasked(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn chunks_are_found_and_lies_refused() {
        let mut bytes = b"\xff\x06\0\0sNaPpY".to_vec();
        bytes.extend([0xfe, 2, 0, 0, 9, 9]); // padding
        bytes.extend([1, 7, 0, 0, 1, 2, 3, 4, 5, 6, 7]);
        let mut at = 0;
        let found = next(&mut &bytes[..], &mut at).unwrap();
        let want = Chunk { packed: false, offset: 24, stored: 3, len: 3, sum: 0x0403_0201 };
        assert_eq!((found, at), (want, bytes.len() as u64));
        assert!(matches!(next(&mut &bytes[..], &mut at), Err(ImageError::Read { .. })));
        for bad in
            [&[0, 5, 0, 0, 0, 0, 0, 0, 0x80][..], &[2, 9, 0, 0], &[0, 4, 0, 0], &[1, 0, 0, 9]]
        {
            let mut bad = bad.to_vec();
            bad.resize(20, 0x80);
            let error = next(&mut &bad[..], &mut 0).unwrap_err();
            assert!(matches!(error, ImageError::Invalid { .. }), "{error:?}");
        }
        let skipped = vec![0xfe; 1 << 16];
        assert!(next(&mut &skipped[..], &mut 0).is_err());
    }
}
