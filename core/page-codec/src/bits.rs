//! Writing of bits.

use crate::bytes::{Out, room};

/// Bits, lowest first.
pub(crate) struct Bits<'o> {
    pub(crate) out: Out<'o>,
    held: u64,
    count: u32,
}

impl<'o> Bits<'o> {
    /// From a byte boundary.
    #[inline(always)]
    pub(crate) fn new(out: Out<'o>) -> Bits<'o> {
        Bits { out, held: 0, count: 0 }
    }

    /// A copy for an inner loop, which the compiler can keep in registers; hand
    /// [`Bits::state`] of it to [`Bits::resume`].
    #[inline(always)]
    pub(crate) fn lend(&mut self) -> Bits<'_> {
        let out = Out { bytes: &mut *self.out.bytes, at: self.out.at };
        Bits { out, held: self.held, count: self.count }
    }

    #[inline(always)]
    pub(crate) fn state(&self) -> (usize, u64, u32) {
        (self.out.at, self.held, self.count)
    }

    #[inline(always)]
    pub(crate) fn resume(&mut self, (at, held, count): (usize, u64, u32)) {
        self.out.at = at;
        self.held = held;
        self.count = count;
    }

    /// Adds bits; at most 63 may be held before [`Bits::flush`].
    #[inline(always)]
    pub(crate) fn add(&mut self, bits: u32, count: u32) {
        self.held |= u64::from(bits) << (self.count & 63);
        self.count += count;
    }

    /// Writes whole bytes; fewer than 8 bits stay.
    #[inline(always)]
    pub(crate) fn flush(&mut self) {
        if let Some(to) = room::<8>(self.out.bytes, self.out.at) {
            *to = self.held.to_le_bytes();
        }
        self.out.at += (self.count / 8) as usize;
        self.held >>= self.count & 56;
        self.count &= 7;
    }

    pub(crate) fn finish(mut self) -> Out<'o> {
        self.count += 7;
        self.flush();
        self.out
    }

    /// Fills up the last byte with zeros and writes it.
    pub(crate) fn pad(&mut self) {
        self.flush();
        self.count = self.count.div_ceil(8) * 8;
        self.flush();
    }

    /// Ends bits that are read from the last one on: a 1, then zeros up to a byte.
    pub(crate) fn seal(&mut self) {
        self.flush();
        self.add(1, 1);
        self.pad();
    }
}
