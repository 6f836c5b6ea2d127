//! Counting in a bitmap that stays in its file: one number for every block of pfns, made in one
//! pass, and at most a few hundred bytes to count for an answer.

use crate::bitmap::count_ones;
use crate::error::{part, part_mut};
use crate::io::{IoError, RandomAccess};
use crate::storage::{ManagedSlice, Table, finish};

/// log2 of the pfns whose bits are read at a time.
const PIECE_BITS: u32 = 12;
/// Bytes of a piece.
const PIECE: usize = 1 << (PIECE_BITS - 3);
/// Pieces that are read at a time where all are counted.
const TOGETHER: u64 = 16;

/// Set bits before each block of a bitmap.
pub(super) struct Rank<'t> {
    before: Table<'t, u64>,
    block_bits: u32,
    at: u64,
    end: u64,
    total: u64,
    /// The piece at hand: its number, and the set bits before it.
    held: Option<(u64, u64)>,
    piece: [u8; PIECE],
}

impl<'t> Rank<'t> {
    /// Numbers of storage with which an answer takes one read. With fewer it takes more.
    pub(super) fn storage(pfns: u64) -> u64 {
        pfns.div_ceil(1 << PIECE_BITS).max(1)
    }

    /// Counts the bits of pfns below `pfns`, in the bitmap at file offset `at`.
    pub(super) fn count(
        file: &mut impl RandomAccess,
        at: u64,
        pfns: u64,
        mut before: ManagedSlice<'t, u64>,
    ) -> Result<Rank<'t>, IoError> {
        let room = (before.len() as u64).max(1);
        let mut block_bits = PIECE_BITS;
        while block_bits < 63 && pfns.div_ceil(1 << block_bits) > room {
            block_bits += 1;
        }
        let mut rank = Rank {
            before: Table::default(),
            block_bits,
            at,
            end: pfns,
            total: 0,
            held: None,
            piece: [0; PIECE],
        };
        let mut slots = before.iter_mut();
        let mut bytes = [0; TOGETHER as usize * PIECE];
        let pieces = pfns.div_ceil(1 << PIECE_BITS);
        for first in (0..pieces).step_by(TOGETHER as usize) {
            let start = first << PIECE_BITS;
            let bits = (pfns - start).min(TOGETHER << PIECE_BITS);
            let part = part_mut(&mut bytes, 0..bits.div_ceil(8) as usize);
            file.read_at(at.saturating_add(start / 8), part)?;
            // Bits past the end do not count.
            if let Some(last) = part.last_mut().filter(|_| !bits.is_multiple_of(8)) {
                *last &= (1 << (bits % 8)) - 1;
            }
            for (piece, bytes) in (first..).zip(part.chunks(PIECE)) {
                if (piece << PIECE_BITS).is_multiple_of(1 << block_bits)
                    && let Some(slot) = slots.next()
                {
                    *slot = rank.total;
                }
                rank.total += count_ones(bytes);
            }
        }
        let len = before.len();
        rank.before = finish(before, len);
        Ok(rank)
    }

    /// The same numbers, for another reader.
    pub(super) fn reopen(&self) -> Rank<'t> {
        Rank { before: self.before.clone(), held: None, ..*self }
    }

    /// Number of set bits.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Reads a piece; bits past the end do not count. Returns the number of set bits.
    fn read(&mut self, file: &mut impl RandomAccess, piece: u64) -> Result<u64, IoError> {
        self.held = None;
        let first = piece << PIECE_BITS;
        let bits = self.end.saturating_sub(first).min(1 << PIECE_BITS);
        let len = bits.div_ceil(8) as usize;
        let (bytes, rest) = self.piece.split_at_mut(len.min(PIECE));
        rest.fill(0);
        file.read_at(self.at.saturating_add(first / 8), bytes)?;
        if let Some(last) = bytes.last_mut().filter(|_| !bits.is_multiple_of(8)) {
            *last &= (1 << (bits % 8)) - 1;
        }
        Ok(count_ones(&self.piece))
    }

    /// The bit of `pfn`, and the number of set bits before it.
    pub(super) fn ask(
        &mut self,
        file: &mut impl RandomAccess,
        pfn: u64,
    ) -> Result<(bool, u64), IoError> {
        if pfn >= self.end {
            return Ok((false, self.total));
        }
        let wanted = pfn >> PIECE_BITS;
        let before = match self.held {
            Some((piece, before)) if piece == wanted => before,
            _ => {
                let block = pfn >> self.block_bits;
                let mut before = self.before.get(block as usize).copied().unwrap_or(0);
                let mut piece = block << (self.block_bits - PIECE_BITS);
                while piece < wanted {
                    before += self.read(file, piece)?;
                    piece += 1;
                }
                self.read(file, wanted)?;
                self.held = Some((wanted, before));
                before
            }
        };
        let inside = (pfn & ((1 << PIECE_BITS) - 1)) as usize;
        let byte = self.piece.get(inside / 8).copied().unwrap_or(0);
        let whole = count_ones(part(&self.piece, 0..inside / 8));
        let inner = (byte & ((1u8 << (inside % 8)) - 1)).count_ones();
        Ok((byte >> (inside % 8) & 1 != 0, before + whole + u64::from(inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[test]
    fn answers_do_not_depend_on_the_storage() {
        let mut x = 7u64;
        let bits: Vec<u8> = (0..5003)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (x >> 40) as u8 & (x >> 50) as u8
            })
            .collect();
        let file: Vec<u8> = [vec![0xff; 100], bits.clone(), vec![0xff; 100]].concat();
        let end = 5003 * 8 - 3;
        for storage in [1, 2, 3, 10, 100] {
            let mut numbers = vec![0; storage];
            let mut bytes = &file[..];
            let mut rank = Rank::count(&mut bytes, 100, end, (&mut numbers[..]).into()).unwrap();
            let mut count = 0;
            let mut want = Vec::new();
            for pfn in 0..end {
                let bit = bits[pfn as usize / 8] >> (pfn % 8) & 1 != 0;
                want.push((bit, count));
                count += u64::from(bit);
            }
            assert_eq!(rank.total(), count);
            for pfn in (0..end).step_by(7).chain((0..end).rev().step_by(4099)) {
                assert_eq!(rank.ask(&mut bytes, pfn).unwrap(), want[pfn as usize], "{pfn}");
            }
            assert_eq!(rank.ask(&mut bytes, end).unwrap(), (false, count));
        }
    }

    #[test]
    fn a_bitmap_past_the_end_of_the_file_is_an_error() {
        let mut bytes = &[0u8; 100][..];
        assert!(Rank::count(&mut bytes, 0, 801, [0; 4].as_mut_slice().into()).is_err());
        assert!(Rank::count(&mut bytes, u64::MAX, 8, [0; 4].as_mut_slice().into()).is_err());
    }
}
