//! Reading pages back. No input makes a decoder panic, loop for ever, or leave its slices: every
//! step takes input or gives output, and the page bounds the output.

use crate::bytes::{load, part, room};
use crate::codec::DecodeError;

/// What is left of the stored bytes.
pub(crate) struct Input<'i> {
    pub(crate) rest: &'i [u8],
}

impl<'i> Input<'i> {
    #[inline(always)]
    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::Corrupt)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// Two bytes, as a number: were they an array, they would be loaded one by one.
    #[inline(always)]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Corrupt)?;
        self.rest = rest;
        Ok(u16::from_le_bytes(*bytes))
    }

    /// Four bytes, as a number.
    #[inline(always)]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Corrupt)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    #[cfg(feature = "zstd-decode")]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Corrupt)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline(always)]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'i [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Corrupt)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// The page as far as it is written.
pub(crate) struct Output<'p> {
    pub(crate) page: &'p mut [u8],
    pub(crate) at: usize,
}

impl<'p> Output<'p> {
    pub(crate) fn new(page: &'p mut [u8]) -> Output<'p> {
        Output { page, at: 0 }
    }

    /// Appends `len` bytes of the input.
    #[inline(always)]
    pub(crate) fn literals(
        &mut self,
        input: &mut Input<'_>,
        len: usize,
    ) -> Result<(), DecodeError> {
        // Short runs, as 16 bytes where both sides have them.
        if len <= 16 {
            let to = self.page.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<16>);
            if let (Some(from), Some(to)) = (input.rest.first_chunk::<16>(), to) {
                *to = *from;
                input.rest = part(input.rest, len..);
                self.at += len;
                return Ok(());
            }
        }
        let from = input.take(len)?;
        let to = self.page.get_mut(self.at..self.at + len).ok_or(DecodeError::TooLong)?;
        to.copy_from_slice(from);
        self.at += len;
        Ok(())
    }

    /// Appends `len` bytes from `distance` back; they may overlap what they make.
    #[inline(always)]
    pub(crate) fn copy(&mut self, distance: usize, len: usize) -> Result<(), DecodeError> {
        self.copy_before(distance, len, self.page.len())
    }

    /// The same, leaving what is from `end` on alone.
    #[inline(always)]
    pub(crate) fn copy_before(
        &mut self,
        distance: usize,
        len: usize,
        end: usize,
    ) -> Result<(), DecodeError> {
        let from = self.at.checked_sub(distance).ok_or(DecodeError::Corrupt)?;
        if distance == 0 {
            return Err(DecodeError::Corrupt);
        }
        if len > end.min(self.page.len()).saturating_sub(self.at) {
            return Err(DecodeError::TooLong);
        }
        // Up to 16 bytes behind the match are written too: they come later.
        let to = self.at + len;
        if to + 16 <= end.min(self.page.len()) {
            match distance {
                16.. => self.chunks::<16>(from, to),
                8.. => self.chunks::<8>(from, to),
                _ => self.pattern(from, distance, to),
            }
            self.at = to;
            return Ok(());
        }
        // Each pass doubles what there is to copy.
        while self.at < to {
            let part = (self.at - from).min(to - self.at);
            self.page.copy_within(from..from + part, self.at);
            self.at += part;
        }
        Ok(())
    }

    /// Copies by `N` bytes from at least as far back, until `to` is reached.
    #[inline(always)]
    fn chunks<const N: usize>(&mut self, mut from: usize, to: usize) {
        let mut at = self.at;
        loop {
            let chunk = load::<N>(self.page, from as u32);
            let Some(slot) = room::<N>(self.page, at) else { return };
            *slot = chunk;
            at += N;
            from += N;
            if at >= to {
                return;
            }
        }
    }

    /// Repeats fewer than 8 bytes until `to` is reached.
    #[inline(always)]
    fn pattern(&mut self, from: usize, distance: usize, to: usize) {
        let bits = 8 * distance as u32;
        let mut word = u64::from_le_bytes(load(self.page, from as u32)) & ((1 << bits) - 1);
        word |= word << bits;
        word |= word.unbounded_shl(2 * bits);
        word |= word.unbounded_shl(4 * bits);
        // As many whole ones as eight bytes have.
        let step = [0, 8, 8, 6, 8, 5, 6, 7].get(distance).copied().unwrap_or(8);
        let mut at = self.at;
        while at < to
            && let Some(slot) = room(self.page, at)
        {
            *slot = word.to_le_bytes();
            at += step;
        }
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.at == self.page.len() { Ok(()) } else { Err(DecodeError::TooShort) }
    }
}
