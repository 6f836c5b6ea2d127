//! Reading zstd frames: all that RFC 8878 allows but dictionaries, and windows of 4 GiB and more.
//!
//! The literals of a block are decoded into the end of the page, where there is room as long as the
//! frame is no longer than the page; sequences fill the page from its start.

use crate::bytes::part_mut;
use crate::codec::DecodeError;
use crate::stream::{Input, Output};
use crate::zstd_tables as tables;
use DecodeError::{Corrupt, TooLong};

/// Largest FSE tables of literal lengths, offsets, and match lengths.
const LOGS: [u32; 3] = [9, 8, 9];
/// Longest Huffman code.
const LONGEST: u32 = 11;

/// What a state means: symbol, bits to read, and what they are added to.
#[derive(Clone, Copy)]
struct Cell {
    symbol: u8,
    bits: u8,
    base: u16,
}

/// A decoding table; not made yet where the log is above 9.
struct Fse {
    cells: [Cell; 512],
    log: u32,
}

const UNMADE: u32 = 99;

impl Fse {
    const fn new() -> Fse {
        Fse { cells: [Cell { symbol: 0, bits: 0, base: 0 }; _], log: UNMADE }
    }

    #[inline(always)]
    fn cell(&self, state: usize) -> Cell {
        self.cells.get(state & 511).copied().unwrap_or(Cell { symbol: 0, bits: 0, base: 0 })
    }

    /// Always the same symbol.
    fn single(&mut self, symbol: u8) {
        self.log = 0;
        if let Some(cell) = self.cells.first_mut() {
            *cell = Cell { symbol, bits: 0, base: 0 };
        }
    }

    /// From shares that add up to `1 << log`.
    fn build(&mut self, shares: &[i16], log: u32) {
        self.log = log;
        let size = 1usize << log;
        let mask = size - 1;
        let mut next = [0u16; 64];
        let mut high = size;
        for (symbol, (share, next)) in shares.iter().zip(&mut next).enumerate() {
            *next = share.unsigned_abs();
            if *share == -1 {
                high -= 1;
                if let Some(cell) = self.cells.get_mut(high) {
                    cell.symbol = symbol as u8;
                }
            }
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut at = 0;
        for (symbol, share) in shares.iter().enumerate() {
            for _ in 0..*share {
                if let Some(cell) = self.cells.get_mut(at) {
                    cell.symbol = symbol as u8;
                }
                at = (at + step) & mask;
                // The step visits every place once in `size` turns.
                for _ in 0..size {
                    if at < high {
                        break;
                    }
                    at = (at + step) & mask;
                }
            }
        }
        for cell in self.cells.iter_mut().take(size) {
            let Some(next) = next.get_mut(usize::from(cell.symbol)) else { continue };
            let bits = log - u32::from(*next).max(1).ilog2();
            cell.bits = bits as u8;
            cell.base = ((u32::from(*next) << bits) as usize).wrapping_sub(size) as u16;
            *next += 1;
        }
    }

    /// Reads a description and makes the table.
    fn read(
        &mut self,
        input: &mut Input<'_>,
        most: u32,
        symbols: usize,
    ) -> Result<(), DecodeError> {
        self.log = UNMADE;
        let mut bits = Forward { bytes: input.rest, at: 0 };
        let log = bits.read(4) + 5;
        if log > most {
            return Err(Corrupt);
        }
        let mut shares = [0i16; 64];
        let mut remaining = (1i32 << log) + 1;
        let mut symbol = 0;
        while remaining > 1 {
            // A value of up to `remaining`: the lower ones take one bit less.
            let width = (remaining as u32).ilog2() + 1;
            let threshold = 1i32 << (width - 1);
            let few = 2 * threshold - 1 - remaining;
            let short = bits.peek(width - 1) as i32;
            let value = if short < few {
                bits.at += width as usize - 1;
                short
            } else {
                let long = bits.read(width) as i32;
                if long >= threshold { long - few } else { long }
            };
            let share = value - 1;
            remaining -= share.abs();
            if symbol >= symbols {
                return Err(Corrupt);
            }
            if let Some(slot) = shares.get_mut(symbol) {
                *slot = share as i16;
            }
            symbol += 1;
            if share == 0 {
                loop {
                    let zeros = bits.read(2) as usize;
                    symbol += zeros;
                    if symbol > symbols {
                        return Err(Corrupt);
                    }
                    if zeros < 3 {
                        break;
                    }
                }
            }
            if bits.at > bits.bytes.len() * 8 {
                return Err(Corrupt);
            }
        }
        if remaining != 1 {
            return Err(Corrupt);
        }
        input.take(bits.at.div_ceil(8))?;
        self.build(&shares, log);
        Ok(())
    }
}

/// Up to eight bytes at `at`, zeros behind the end.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    // Nothing is left behind the end.
    let rest = bytes.get(at..).unwrap_or(&[]);
    match rest.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Bits from the first on.
struct Forward<'i> {
    bytes: &'i [u8],
    at: usize,
}

impl Forward<'_> {
    fn peek(&self, count: u32) -> u32 {
        (word(self.bytes, self.at / 8) >> (self.at & 7)) as u32 & ((1 << count) - 1)
    }

    fn read(&mut self, count: u32) -> u32 {
        let bits = self.peek(count);
        self.at += count as usize;
        bits
    }
}

/// Bits from the last on; zeros before the first.
struct Backward<'i> {
    bytes: &'i [u8],
    left: i64,
}

impl<'i> Backward<'i> {
    fn new(bytes: &'i [u8]) -> Result<Backward<'i>, DecodeError> {
        let last = bytes.last().filter(|last| **last != 0).ok_or(Corrupt)?;
        Ok(Backward { bytes, left: bytes.len() as i64 * 8 - 8 + i64::from(last.ilog2()) })
    }

    /// The next bits, at most 32.
    #[inline(always)]
    fn peek(&self, count: u32) -> u32 {
        let at = self.left - i64::from(count);
        let mask = (1u64 << count) - 1;
        if at >= 0 {
            return ((word(self.bytes, at as usize / 8) >> (at & 7)) & mask) as u32;
        }
        let known = word(self.bytes, 0) & ((1u64 << self.left.clamp(0, 63)) - 1);
        ((known << (-at).min(63)) & mask) as u32
    }

    #[inline(always)]
    fn read(&mut self, count: u32) -> u32 {
        let bits = self.peek(count);
        self.left -= i64::from(count);
        bits
    }
}

/// Reads zstd frames.
pub struct DecodeZstd {
    /// Symbol and length of the code that some bits begin with.
    huffman: [(u8, u8); 1 << LONGEST],
    huffman_log: u32,
    tables: [Fse; 3],
}

impl Default for DecodeZstd {
    fn default() -> DecodeZstd {
        DecodeZstd { huffman: [(0, 0); _], huffman_log: UNMADE, tables: [const { Fse::new() }; 3] }
    }
}

impl DecodeZstd {
    /// Decompresses `stored` into `page`, which must be exactly filled.
    pub fn decode(&mut self, stored: &[u8], page: &mut [u8]) -> Result<(), DecodeError> {
        let mut input = Input { rest: stored };
        if input.u32()? != 0xfd2f_b528 {
            return Err(Corrupt);
        }
        let head = input.byte()?;
        let single = head & 0x20 != 0;
        if head & 0x08 != 0 {
            return Err(Corrupt);
        }
        let window = if single { None } else { Some(input.byte()?) };
        // A dictionary may be named only as 0, which is none.
        let dictionary = input.take((1 << (head & 3)) >> 1)?;
        if dictionary.iter().any(|byte| *byte != 0) {
            return Err(Corrupt);
        }
        let size = match (head >> 6, single) {
            (0, false) => None,
            (0, true) => Some(u64::from(input.byte()?)),
            (1, _) => Some(u64::from(input.u16()?) + 256),
            (2, _) => Some(input.u32()?.into()),
            _ => Some(u64::from_le_bytes(input.array()?)),
        };
        match size {
            Some(size) if size < page.len() as u64 => return Err(DecodeError::TooShort),
            Some(size) if size > page.len() as u64 => return Err(TooLong),
            _ => {}
        }
        // No block is larger than the window or 128 KiB.
        let most = match window {
            None => page.len(),
            Some(window) => {
                let log = 10 + (window >> 3);
                if log > 31 {
                    return Err(Corrupt);
                }
                (1 << log) + (1 << log >> 3) * usize::from(window & 7)
            }
        };
        let most = most.min(128 << 10);
        self.huffman_log = UNMADE;
        for table in &mut self.tables {
            table.log = UNMADE;
        }
        let mut recent = [1, 4, 8];
        let mut output = Output::new(page);
        loop {
            let [a, b, c] = input.array()?;
            let header = u32::from_le_bytes([a, b, c, 0]);
            let size = (header >> 3) as usize;
            if size > most {
                return Err(Corrupt);
            }
            let start = output.at;
            match header >> 1 & 3 {
                0 => output.literals(&mut input, size)?,
                1 => {
                    let byte = input.byte()?;
                    let to = output.page.get_mut(output.at..output.at + size).ok_or(TooLong)?;
                    to.fill(byte);
                    output.at += size;
                }
                2 => {
                    let mut block = Input { rest: input.take(size)? };
                    self.block(&mut block, &mut output, &mut recent)?;
                }
                _ => return Err(Corrupt),
            }
            if output.at - start > most {
                return Err(Corrupt);
            }
            if header & 1 != 0 {
                break;
            }
        }
        let sum = if head & 4 != 0 { Some(input.u32()?) } else { None };
        if !input.rest.is_empty() {
            return Err(Corrupt);
        }
        output.end()?;
        match sum {
            Some(sum) if sum != xxh64(page) as u32 => Err(Corrupt),
            _ => Ok(()),
        }
    }
}

/// The hash whose low half is the checksum of a frame: xxHash-64 with seed 0, as
/// `doc/xxhash_spec.md` of the xxHash library describes it.
fn xxh64(bytes: &[u8]) -> u64 {
    const PRIMES: [u64; 5] = [
        0x9e37_79b1_85eb_ca87,
        0xc2b2_ae3d_27d4_eb4f,
        0x1656_67b1_9e37_79f9,
        0x85eb_ca77_c2b2_ae63,
        0x27d4_eb2f_1656_67c5,
    ];
    let [p1, p2, p3, p4, p5] = PRIMES;
    let round = |lane: u64, word: u64| {
        lane.wrapping_add(word.wrapping_mul(p2)).rotate_left(31).wrapping_mul(p1)
    };
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut hash = p5;
    if !blocks.is_empty() {
        let mut lanes = [p1.wrapping_add(p2), p2, 0, p1.wrapping_neg()];
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks().0) {
                *lane = round(*lane, u64::from_le_bytes(*word));
            }
        }
        let turned = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
        hash = turned.fold(0, u64::wrapping_add);
        for lane in lanes {
            hash = (hash ^ round(0, lane)).wrapping_mul(p1).wrapping_add(p4);
        }
    }
    hash = hash.wrapping_add(bytes.len() as u64);
    let (words, rest) = rest.as_chunks();
    for word in words {
        let word = round(0, u64::from_le_bytes(*word));
        hash = (hash ^ word).rotate_left(27).wrapping_mul(p1).wrapping_add(p4);
    }
    let (halves, rest) = rest.as_chunks();
    for half in halves {
        let half = u64::from(u32::from_le_bytes(*half)).wrapping_mul(p1);
        hash = (hash ^ half).rotate_left(23).wrapping_mul(p2).wrapping_add(p3);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(p5)).rotate_left(11).wrapping_mul(p1);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(p2);
    hash = (hash ^ hash >> 29).wrapping_mul(p3);
    hash ^ hash >> 32
}

impl DecodeZstd {
    fn block(
        &mut self,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        recent: &mut [usize; 3],
    ) -> Result<(), DecodeError> {
        let mut literals = self.literals(input, output)?;
        let first = input.byte()?;
        let count = match first {
            0..128 => usize::from(first),
            128..255 => (usize::from(first) - 128) << 8 | usize::from(input.byte()?),
            255 => usize::from(input.u16()?) + 0x7f00,
        };
        if count > 0 {
            let modes = input.byte()?;
            if modes & 3 != 0 {
                return Err(Corrupt);
            }
            for (i, table) in self.tables.iter_mut().enumerate() {
                let (shares, log, symbols): (&[i16], _, _) = match i {
                    0 => (&tables::LITERAL_SHARES, 6, 36),
                    1 => (&tables::OFFSET_SHARES, 5, 32),
                    _ => (&tables::MATCH_SHARES, 6, 53),
                };
                match modes >> (6 - 2 * i) & 3 {
                    0 => table.build(shares, log),
                    1 => {
                        let symbol = input.byte()?;
                        if usize::from(symbol) >= symbols {
                            return Err(Corrupt);
                        }
                        table.single(symbol);
                    }
                    2 => table.read(input, LOGS.get(i).copied().unwrap_or_default(), symbols)?,
                    _ if table.log == UNMADE => return Err(Corrupt),
                    _ => {}
                }
            }
            self.sequences(input, count, output, recent, &mut literals)?;
        } else if !input.rest.is_empty() {
            return Err(Corrupt);
        }
        let len = output.page.len() - literals;
        move_down(output, &mut literals, len)
    }

    fn sequences(
        &self,
        input: &mut Input<'_>,
        count: usize,
        output: &mut Output<'_>,
        recent: &mut [usize; 3],
        literals: &mut usize,
    ) -> Result<(), DecodeError> {
        let mut bits = Backward::new(input.rest)?;
        let [lits, offs, mats] = &self.tables;
        let mut lit = bits.read(lits.log) as usize;
        let mut off = bits.read(offs.log) as usize;
        let mut mat = bits.read(mats.log) as usize;
        for i in 0..count {
            let (l, o, m) = (lits.cell(lit), offs.cell(off), mats.cell(mat));
            if o.symbol > 31 {
                return Err(Corrupt);
            }
            let offset = (1usize << o.symbol) + bits.read(o.symbol.into()) as usize;
            let (base, extra) = entry(&tables::MATCHES, m.symbol);
            let len = base as usize + bits.read(extra.into()) as usize;
            let (base, extra) = entry(&tables::LITERALS, l.symbol);
            let run = base as usize + bits.read(extra.into()) as usize;
            if i + 1 < count {
                lit = usize::from(l.base) + bits.read(l.bits.into()) as usize;
                mat = usize::from(m.base) + bits.read(m.bits.into()) as usize;
                off = usize::from(o.base) + bits.read(o.bits.into()) as usize;
            }
            if bits.left < 0 {
                return Err(Corrupt);
            }
            let [a, b, c] = *recent;
            let distance = match (offset, run) {
                (1, 1..) => a,
                (1, 0) | (2, 1..) => b,
                (2, 0) | (3, 1..) => c,
                (3, 0) => a - 1,
                _ => offset - 3,
            };
            if distance == 0 {
                return Err(Corrupt);
            }
            *recent = if distance == a && run > 0 && offset == 1 {
                [a, b, c]
            } else if (offset == 1 && run == 0) || (offset == 2 && run > 0) {
                [b, a, c]
            } else {
                [distance, a, b]
            };
            move_down(output, literals, run)?;
            // The literals still to come must not be overwritten.
            output.copy_before(distance, len, *literals)?;
        }
        if bits.left == 0 { Ok(()) } else { Err(Corrupt) }
    }

    /// Decodes the literals into the end of the page; returns where they begin.
    fn literals(
        &mut self,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
    ) -> Result<usize, DecodeError> {
        let word = word(input.rest, 0);
        let kind = word & 3;
        let form = word >> 2 & 3;
        let room = output.page.len() - output.at;
        let (header, n) = match (kind, form) {
            (0 | 1, 0 | 2) => (1, word >> 3 & 0x1f),
            (0 | 1, 1) => (2, word >> 4 & 0xfff),
            (0 | 1, _) => (3, word >> 4 & 0xf_ffff),
            (_, 0 | 1) => (3, word >> 4 & 0x3ff),
            (_, 2) => (4, word >> 4 & 0x3fff),
            _ => (5, word >> 4 & 0x3_ffff),
        };
        let n = n as usize;
        input.take(header)?;
        if n > room {
            return Err(TooLong);
        }
        let start = output.page.len() - n;
        let end = output.page.len();
        let to = part_mut(output.page, start..end);
        if kind == 0 {
            to.copy_from_slice(input.take(n)?);
            return Ok(start);
        }
        if kind == 1 {
            to.fill(input.byte()?);
            return Ok(start);
        }
        let size = match form {
            0 | 1 => word >> 14 & 0x3ff,
            2 => word >> 18 & 0x3fff,
            _ => word >> 22 & 0x3_ffff,
        };
        let mut input = Input { rest: input.take(size as usize)? };
        if kind == 2 {
            self.weights(&mut input)?;
        } else if self.huffman_log == UNMADE {
            return Err(Corrupt);
        }
        if form == 0 {
            self.stream(input.rest, to)?;
            return Ok(start);
        }
        let sizes = [input.u16()?, input.u16()?, input.u16()?];
        let part = n.div_ceil(4);
        // Four streams are for six literals or more: then none of them is empty.
        if n < 6 {
            return Err(Corrupt);
        }
        let mut sizes = sizes.into_iter();
        let (mut to, mut left) = (to, 4);
        while left > 0 {
            let bytes = match sizes.next() {
                Some(size) => input.take(size.into())?,
                None => input.rest,
            };
            let len = if left == 1 { to.len() } else { part };
            let (now, later) = to.split_at_mut_checked(len).ok_or(Corrupt)?;
            self.stream(bytes, now)?;
            to = later;
            left -= 1;
        }
        Ok(start)
    }

    fn stream(&self, bytes: &[u8], to: &mut [u8]) -> Result<(), DecodeError> {
        let mut bits = Backward::new(bytes)?;
        for slot in to {
            let at = bits.peek(self.huffman_log) as usize;
            let (symbol, len) = self.huffman.get(at).copied().unwrap_or_default();
            *slot = symbol;
            bits.left -= i64::from(len);
        }
        if bits.left == 0 { Ok(()) } else { Err(Corrupt) }
    }

    /// Reads the weights of a Huffman code and makes its table.
    fn weights(&mut self, input: &mut Input<'_>) -> Result<(), DecodeError> {
        self.huffman_log = UNMADE;
        let mut weights = [0u8; 256];
        let header = input.byte()?;
        let mut n = 0;
        if header >= 128 {
            n = usize::from(header) - 127;
            let bytes = input.take(n.div_ceil(2))?;
            for (pair, byte) in weights.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                *pair = [byte >> 4, byte & 15];
            }
            if let Some(odd) = weights.get_mut(n) {
                *odd = 0;
            }
        } else {
            let mut input = Input { rest: input.take(header.into())? };
            // Borrowed: the three tables may be repeated by later blocks.
            let mut table = Fse::new();
            // A weight is at most the length of the longest code, so no share of a larger one may be
            // described, even if it is never used.
            table.read(&mut input, 6, LONGEST as usize + 1)?;
            let mut bits = Backward::new(input.rest)?;
            let mut this = bits.read(table.log) as usize;
            let mut other = bits.read(table.log) as usize;
            if bits.left < 0 {
                return Err(Corrupt);
            }
            loop {
                let cell = table.cell(this);
                *weights.get_mut(n).filter(|_| n < 254).ok_or(Corrupt)? = cell.symbol;
                n += 1;
                this = usize::from(cell.base) + bits.read(cell.bits.into()) as usize;
                if bits.left < 0 {
                    *weights.get_mut(n).ok_or(Corrupt)? = table.cell(other).symbol;
                    n += 1;
                    break;
                }
                core::mem::swap(&mut this, &mut other);
            }
        }
        // The last weight fills up the next power of two.
        let mut total = 0u32;
        for weight in weights.iter().take(n) {
            if u32::from(*weight) > LONGEST {
                return Err(Corrupt);
            }
            total += (1 << weight) >> 1;
        }
        if total == 0 {
            return Err(Corrupt);
        }
        let log = total.ilog2() + 1;
        let left = (1 << log) - total;
        if log > LONGEST || !left.is_power_of_two() {
            return Err(Corrupt);
        }
        *weights.get_mut(n).ok_or(Corrupt)? = left.ilog2() as u8 + 1;
        // The longest codes, of weight 1, come in pairs; of a code of another form, the lengths
        // would not be those that the weights say.
        if !weights.contains(&1) {
            return Err(Corrupt);
        }
        let mut at = 0;
        for weight in 1..=log {
            for (symbol, _) in weights.iter().enumerate().filter(|(_, w)| u32::from(**w) == weight)
            {
                let span = 1usize << (weight - 1);
                let cells = self.huffman.get_mut(at..at + span).ok_or(Corrupt)?;
                cells.fill((symbol as u8, (log + 1 - weight) as u8));
                at += span;
            }
        }
        self.huffman_log = log;
        Ok(())
    }
}

#[inline(always)]
fn entry(table: &[(u32, u8)], code: u8) -> (u32, u8) {
    table.get(usize::from(code)).copied().unwrap_or_default()
}

/// Moves the next `len` literals from the end of the page to where they belong.
#[inline(always)]
fn move_down(output: &mut Output<'_>, literals: &mut usize, len: usize) -> Result<(), DecodeError> {
    if len > output.page.len() - *literals {
        return Err(Corrupt);
    }
    output.page.copy_within(*literals..*literals + len, output.at);
    *literals += len;
    output.at += len;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights of a Huffman code; their FSE table has shares of a weight of 12 in the first of them.
    #[test]
    fn a_table_of_weights_ends_with_the_longest_code() {
        let mut bytes = [
            0x1c, 0x01, 0x13, 0x8d, 0xa4, 0x48, 0x07, 0x00, 0x8c, 0x94, 0xdc, 0x5e, 0x5f, 0xec,
            0x10, 0xdb, 0x4f, 0x68, 0xef, 0x07, 0x30, 0x3b, 0x13, 0x86, 0xd0, 0xca, 0x32, 0xb2,
            0xb1,
        ];
        let mut decoder = DecodeZstd::default();
        assert_eq!(decoder.weights(&mut Input { rest: &bytes }), Err(Corrupt));
        assert_eq!(decoder.huffman_log, UNMADE);
        bytes[5] = 0x49;
        assert_eq!(decoder.weights(&mut Input { rest: &bytes }), Ok(()));
        assert_eq!(decoder.huffman_log, 8);
    }

    #[test]
    fn the_longest_codes_are_a_pair() {
        // Two codes of weight 2 would have two bits, and leave half of the table empty.
        let mut decoder = DecodeZstd::default();
        assert_eq!(decoder.weights(&mut Input { rest: &[128, 0x20] }), Err(Corrupt));
        assert_eq!(decoder.weights(&mut Input { rest: &[128, 0x10] }), Ok(()));
        assert_eq!(decoder.weights(&mut Input { rest: &[129, 0x21] }), Ok(()));
    }

    /// Frames of pages of one byte, as a window of 1 KiB or a single segment allows it.
    #[test]
    fn no_block_is_larger_than_the_window() {
        let mut frame = [0x28, 0xb5, 0x2f, 0xfd, 0x40, 0, 0, 0x07, 0x03, 0x40, 0, 7];
        let block = |size: u32| {
            let [a, b, c, _] = (1 | 1 << 1 | size << 3).to_le_bytes();
            [a, b, c]
        };
        frame[8..11].copy_from_slice(&block(2048));
        let mut page = [0; 2048];
        let mut decoder = DecodeZstd::default();
        assert_eq!(decoder.decode(&frame, &mut page), Err(Corrupt));
        // 2 KiB; then the largest window there is.
        frame[5] = 1 << 3;
        assert_eq!(decoder.decode(&frame, &mut page), Ok(()));
        assert_eq!(page, [7; 2048]);
        frame[5] = 0xff;
        assert_eq!(decoder.decode(&frame, &mut page), Err(Corrupt));
    }
}
