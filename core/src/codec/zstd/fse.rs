//! Finite state entropy coding (RFC 8878, section 4.1), the writing side.

use super::super::bits::Bits;

/// Largest table.
pub(super) const MOST_LOG: u32 = 7;
/// Most symbols: the codes of match lengths.
pub(super) const SYMBOLS: usize = 53;

/// What a symbol does to a state.
#[derive(Clone, Copy)]
struct Change {
    /// Added to the state: its high half is then the number of bits to write.
    bits: u32,
    /// Added to what is left of the state: the place of the next one.
    find: i32,
}

/// An encoding table.
pub(super) struct Table {
    next: [u16; 1 << MOST_LOG],
    changes: [Change; SYMBOLS],
    log: u32,
}

/// Shares of symbols out of `1 << log`; -1 is a share of less than one.
pub(super) type Shares = [i16; SYMBOLS];

impl Table {
    pub(super) fn new() -> Table {
        Table { next: [0; _], changes: [Change { bits: 0, find: 0 }; _], log: 0 }
    }

    /// Makes the table of `shares`, which add up to `1 << log`.
    pub(super) fn build(&mut self, shares: &[i16], log: u32) {
        let size = 1usize << log;
        let mask = size - 1;
        self.log = log;
        let mut symbols = [0u8; 1 << MOST_LOG];
        let mut starts = [0u16; SYMBOLS];
        let mut high = mask;
        let mut total = 0u16;
        for (symbol, (share, start)) in shares.iter().zip(&mut starts).enumerate() {
            *start = total;
            if *share == -1 {
                if let Some(slot) = symbols.get_mut(high) {
                    *slot = symbol as u8;
                }
                high = high.wrapping_sub(1);
            }
            total += share.unsigned_abs();
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut at = 0;
        for (symbol, share) in shares.iter().enumerate() {
            for _ in 0..*share {
                if let Some(slot) = symbols.get_mut(at) {
                    *slot = symbol as u8;
                }
                loop {
                    at = (at + step) & mask;
                    if at <= high || high > mask {
                        break;
                    }
                }
            }
        }
        for (i, symbol) in symbols.iter().take(size).enumerate() {
            if let Some(start) = starts.get_mut(usize::from(*symbol)) {
                if let Some(next) = self.next.get_mut(usize::from(*start)) {
                    *next = (size + i) as u16;
                }
                *start += 1;
            }
        }
        let mut total = 0i32;
        for (share, change) in shares.iter().zip(&mut self.changes) {
            let share = u32::from(share.unsigned_abs());
            if share == 0 {
                continue;
            }
            *change = if share == 1 {
                Change { bits: (log << 16).wrapping_sub(1 << log), find: total - 1 }
            } else {
                let most = log - (share - 1).ilog2();
                Change {
                    bits: (most << 16).wrapping_sub(share << most),
                    find: total - share as i32,
                }
            };
            total += share as i32;
        }
    }

    #[inline(always)]
    fn change(&self, symbol: u8) -> Change {
        self.changes.get(usize::from(symbol)).copied().unwrap_or(Change { bits: 0, find: 0 })
    }

    #[inline(always)]
    fn at(&self, place: i32) -> u32 {
        self.next.get(place as usize & ((1 << MOST_LOG) - 1)).copied().unwrap_or_default().into()
    }

    /// The state that stands for `symbol` alone.
    #[inline(always)]
    pub(super) fn first(&self, symbol: u8) -> u32 {
        let change = self.change(symbol);
        let bits = change.bits.wrapping_add(1 << 15) >> 16;
        let value = (bits << 16).wrapping_sub(change.bits);
        self.at((value >> bits) as i32 + change.find)
    }

    /// Writes what `state` must shed before `symbol`; the state after it.
    #[inline(always)]
    pub(super) fn encode(&self, bits: &mut Bits<'_>, state: u32, symbol: u8) -> u32 {
        let change = self.change(symbol);
        let count = state.wrapping_add(change.bits) >> 16;
        bits.add(state & ((1 << count) - 1), count);
        self.at((state >> count) as i32 + change.find)
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
    for (i, (count, share)) in counts.iter().zip(&mut shares).enumerate() {
        if *count == 0 {
            continue;
        }
        let scaled = ((u32::from(*count) << (log + 1)) / total).div_ceil(2) as i16;
        *share = scaled.max(1);
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
    let costs = counts.iter().zip(shares).filter(|(count, _)| **count > 0).map(|(count, share)| {
        let share = u32::from(share.unsigned_abs()).max(1);
        let whole = share.ilog2();
        // Between powers of two, a straight line.
        let part = ((share << 8) >> whole) - 256;
        u32::from(*count) * ((log << 8) - (whole << 8) - part)
    });
    costs.sum()
}
