//! Finite state entropy coding (RFC 8878, section 4.1), the writing side.

use crate::bits::Bits;
use crate::bytes::room;

/// Largest table.
pub(super) const MOST_LOG: u32 = 7;
/// Most symbols: the codes of match lengths.
pub(super) const SYMBOLS: usize = 53;

/// What a symbol does to a state. States are below 256, so 8 bits of fraction do.
#[derive(Clone, Copy)]
struct Change {
    /// Added to the state: its high byte is then the number of bits to write.
    bits: u16,
    /// Added to what is left of the state: the place of the next one.
    find: i16,
}

/// An encoding table.
pub(super) struct Table {
    next: [u8; 1 << MOST_LOG],
    changes: [Change; SYMBOLS],
    log: u32,
}

/// Shares of symbols out of `1 << log`; -1 is a share of less than one.
pub(super) type Shares = [i16; SYMBOLS];

impl Table {
    pub(super) const fn new() -> Table {
        Table { next: [0; _], changes: [Change { bits: 0, find: 0 }; _], log: 0 }
    }

    /// The table of `shares`.
    pub(super) fn of(shares: &[i16], log: u32) -> Table {
        let mut table = Table::new();
        table.build(shares, log);
        table
    }

    /// Makes the table of `shares`, which add up to `1 << log`.
    #[inline(never)]
    pub(super) fn build(&mut self, shares: &[i16], log: u32) {
        let size = 1usize << log;
        let mask = size - 1;
        self.log = log;
        // Symbols in their order, as often as they have shares; those of less than one go to the
        // end of the table.
        let mut in_order = [0u8; (1 << MOST_LOG) + 8];
        let mut symbols = [0u8; 1 << MOST_LOG];
        let mut starts = [0u8; SYMBOLS];
        let mut high = mask;
        let mut used = 0usize;
        let mut total = 0u32;
        for (symbol, ((share, start), change)) in
            shares.iter().zip(&mut starts).zip(&mut self.changes).enumerate()
        {
            *start = total as u8;
            let count = u32::from(share.unsigned_abs());
            let most = log - (count.saturating_sub(1) | 1).ilog2();
            *change = Change {
                bits: (most << 8).wrapping_sub(count << most) as u16,
                find: total as i16 - count as i16,
            };
            total += count;
            if *share < 0 {
                if let Some(slot) = symbols.get_mut(high) {
                    *slot = symbol as u8;
                }
                high = high.wrapping_sub(1);
                continue;
            }
            // Eight at a time: what is too much is written over.
            let mut at = used;
            used += count as usize;
            loop {
                if let Some(to) = room::<8>(&mut in_order, at) {
                    *to = [symbol as u8; 8];
                }
                at += 8;
                if at >= used {
                    break;
                }
            }
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut at = 0;
        for symbol in in_order.iter().take(used) {
            if let Some(slot) = symbols.get_mut(at) {
                *slot = *symbol;
            }
            at = (at + step) & mask;
            while at > high {
                at = (at + step) & mask;
            }
        }
        for (i, symbol) in symbols.iter().take(size).enumerate() {
            if let Some(start) = starts.get_mut(usize::from(*symbol)) {
                if let Some(next) = self.next.get_mut(usize::from(*start)) {
                    *next = (size + i) as u8;
                }
                *start = start.wrapping_add(1);
            }
        }
    }

    #[inline(always)]
    fn change(&self, symbol: u8) -> (u32, u32) {
        match self.changes.get(usize::from(symbol)) {
            Some(change) => (change.bits.into(), change.find as u32),
            None => (0, 0),
        }
    }

    #[inline(always)]
    fn at(&self, place: u32) -> u32 {
        self.next.get(place as usize & ((1 << MOST_LOG) - 1)).copied().unwrap_or_default().into()
    }

    /// The state that stands for `symbol` alone.
    #[inline(always)]
    pub(super) fn first(&self, symbol: u8) -> u32 {
        let (change, find) = self.change(symbol);
        let bits = (change.wrapping_add(1 << 8) & 0xffff) >> 8;
        let value = ((bits << 8).wrapping_sub(change)) & 0xffff;
        self.at((value >> bits).wrapping_add(find))
    }

    /// Emits the low bits of `state` and returns the next state, for `symbol`.
    #[inline(always)]
    pub(super) fn encode(&self, bits: &mut Bits<'_>, state: u32, symbol: u8) -> u32 {
        let (change, find) = self.change(symbol);
        let count = ((state + change) >> 8) & 15;
        bits.add(state & ((1 << count) - 1), count);
        self.at((state >> count).wrapping_add(find))
    }

    /// Writes the last state, with which a decoder starts.
    #[inline(always)]
    pub(super) fn last(&self, bits: &mut Bits<'_>, state: u32) {
        bits.add(state & ((1 << self.log) - 1), self.log);
    }
}

/// Scales `counts`, which add up to `total`, to shares of `1 << log`. At least two symbols occur.
pub(super) fn shares(counts: &[u16], total: u32, log: u32) -> Shares {
    let mut shares = [0i16; SYMBOLS];
    let mut left = 1i32 << log;
    let (mut most, mut most_at) = (0, 0);
    // Of one, in 1/2^20: fewer than 2^11 are counted.
    let part = (1u32 << (log + 20)) / total;
    for (i, (count, share)) in counts.iter().zip(&mut shares).enumerate() {
        let scaled = (u32::from(*count) * part + (1 << 19)) >> 20;
        *share = scaled.max(u32::from(*count > 0)) as i16;
        left -= i32::from(*share);
        if *share > most {
            (most, most_at) = (*share, i);
        }
    }
    if left >= 0 || i32::from(most) / 2 > -left {
        if let Some(share) = shares.get_mut(most_at) {
            *share += left as i16;
        }
        return shares;
    }
    // Many rare symbols: take from the largest, one by one.
    while left < 0 {
        let Some(share) = shares.iter_mut().max().filter(|share| **share > 1) else { break };
        *share -= 1;
        left += 1;
    }
    shares
}

/// Writes the description of `shares`.
pub(super) fn describe(bits: &mut Bits<'_>, shares: &[i16], log: u32) {
    bits.add(log - 5, 4);
    let mut remaining = (1i32 << log) + 1;
    let mut threshold = 1i32 << log;
    let mut width = log + 1;
    let mut symbols = shares.iter().peekable();
    while remaining > 1 {
        let Some(share) = symbols.next() else { break };
        let most = 2 * threshold - 1 - remaining;
        remaining -= i32::from(share.abs());
        let mut value = i32::from(*share) + 1;
        if value >= threshold {
            value += most;
        }
        bits.add(value as u32, width - u32::from(value < most));
        bits.flush();
        if *share == 0 {
            let mut zeros = 0;
            while symbols.next_if_eq(&&0).is_some() {
                zeros += 1;
            }
            while zeros >= 3 {
                bits.add(3, 2);
                bits.flush();
                zeros -= 3;
            }
            bits.add(zeros, 2);
        }
        while remaining < threshold {
            width -= 1;
            threshold >>= 1;
        }
    }
    bits.pad();
}

/// Bits, in 1/256, that `counts` take with `shares`.
pub(super) fn cost(counts: &[u16], shares: &[i16], log: u32) -> u32 {
    let costs = counts.iter().zip(shares).map(|(count, share)| {
        let share = u32::from(share.unsigned_abs()) | u32::from(*share == 0);
        let whole = share.ilog2();
        // Between powers of two, a straight line.
        let part = ((share << 8) >> whole) - 256;
        u32::from(*count) * ((log << 8) - (whole << 8) - part)
    });
    costs.sum()
}
