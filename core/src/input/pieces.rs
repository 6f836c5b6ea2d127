//! Notes that are in several places of a file, as one.

use crate::io::{IoError, IoKind, RandomAccess};
use core::mem::take;

/// Places at most. Places that lie side by side are one, so that notes of thousands of CPUs need no more.
pub const MOST: usize = 16;

/// Bytes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Piece {
    /// Where they are among all.
    at: u64,
    /// Where they are in the file.
    offset: u64,
    /// How many.
    len: u64,
}

/// Places of a file, read as if they were one: each begins at a multiple of 4 bytes, as notes do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pieces {
    all: [Piece; MOST],
    count: usize,
}

impl Pieces {
    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.pieces().last().map_or(0, |last| last.at + last.len)
    }

    /// Offset in the file of the first byte.
    pub fn start(&self) -> u64 {
        self.pieces().first().map_or(0, |first| first.offset)
    }

    /// Offset in the file and bytes of each, in their order.
    pub fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        self.pieces().iter().map(|piece| (piece.offset, piece.len))
    }

    /// Offset in the file of the byte at `at`: a note is never in two pieces.
    pub fn offset(&self, at: u64) -> u64 {
        let piece = self.pieces().iter().rfind(|piece| piece.at <= at);
        piece.map_or(0, |piece| piece.offset.saturating_add(at - piece.at))
    }

    fn pieces(&self) -> &[Piece] {
        self.all.get(..self.count).unwrap_or(&self.all)
    }

    /// Adds `len` bytes at `offset` of the file, and returns where they are among all; `None` if there is
    /// no room.
    pub fn push(&mut self, offset: u64, len: u64) -> Option<u64> {
        let at = self.bytes().checked_next_multiple_of(4)?;
        at.checked_add(len)?;
        let last = self.count.checked_sub(1).and_then(|last| self.all.get_mut(last));
        match last {
            Some(last)
                if last.at + last.len == at
                    && last.offset.checked_add(last.len) == Some(offset) =>
            {
                last.len += len;
            }
            _ => {
                *self.all.get_mut(self.count)? = Piece { at, offset, len };
                self.count += 1;
            }
        }
        Some(at)
    }

    /// Reads at an offset among all; what is between two pieces reads as zeros.
    pub fn read(
        &self,
        file: &mut impl RandomAccess,
        mut at: u64,
        mut buf: &mut [u8],
    ) -> Result<(), IoError> {
        for piece in self.pieces() {
            let end = piece.at + piece.len;
            if buf.is_empty() || at >= end {
                continue;
            }
            let gap = piece.at.saturating_sub(at).min(buf.len() as u64);
            let (zeros, rest) = take(&mut buf).split_at_mut(gap as usize);
            zeros.fill(0);
            at += gap;
            if rest.is_empty() {
                return Ok(());
            }
            let here = end.saturating_sub(at).min(rest.len() as u64);
            let (bytes, rest) = rest.split_at_mut(here as usize);
            file.read_at(piece.offset.saturating_add(at - piece.at), bytes)?;
            at += here;
            buf = rest;
        }
        if buf.is_empty() { Ok(()) } else { Err(IoError { kind: IoKind::Eof, code: 0 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_one() {
        let file: [u8; 40] = core::array::from_fn(|at| at as u8);
        let mut pieces = Pieces::default();
        // The second lies behind the first; the third begins at a multiple of 4.
        for (offset, len, at) in [(4, 8, 0), (12, 3, 8), (30, 2, 12), (20, 4, 16)] {
            assert_eq!(pieces.push(offset, len), Some(at));
        }
        assert_eq!((pieces.bytes(), pieces.start(), pieces.count), (20, 4, 3));
        assert_eq!([0, 10, 13, 17].map(|at| pieces.offset(at)), [4, 14, 31, 21]);
        let all = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 30, 31, 0, 0, 20, 21, 22, 23];
        for from in 0..20 {
            for until in from..20 {
                let mut buf = [99; 20];
                let buf = &mut buf[..until - from];
                pieces.read(&mut &file[..], from as u64, buf).unwrap();
                assert_eq!(*buf, all[from..until]);
            }
        }
        let past = pieces.read(&mut &file[..], 18, &mut [0; 3]);
        assert_eq!(past.unwrap_err().kind, IoKind::Eof);
    }

    #[test]
    fn there_is_an_end_of_them() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.push(0, u64::MAX), Some(0));
        assert_eq!(pieces.push(0, 8), None);
        let mut pieces = Pieces::default();
        let room = (0..100).filter(|n| pieces.push(100 * n, 4).is_some()).count();
        assert_eq!(room, MOST);
    }
}
