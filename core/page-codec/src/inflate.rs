//! Reading zlib streams (RFC 1950) of deflate blocks (RFC 1951). It takes exactly what the C library
//! takes.
//!
//! A page has few symbols, so small tables that are quickly made are worth more than large ones that
//! know every code: longer codes are decoded bit by bit.

use crate::adler::adler32;
use crate::bytes::{part, room, try_load};
use crate::codec::DecodeError;
use crate::stream::Output;
use DecodeError::{Corrupt, TooLong};
use core::mem::replace;

/// Literals, end of block, and lengths.
const LITERALS: usize = 288;
const DISTANCES: usize = 32;
/// Longest code.
const LONGEST: usize = 15;
/// Bits that the tables are entered with.
const LITERAL_LOG: u32 = 10;
const DISTANCE_LOG: u32 = 8;

/// What some bits mean: from the lowest bit, how many bits the code has with its extra bits (8), how
/// many without them (4), [`OTHER`]; in the high half a literal, or what extra bits are added to;
/// [`LITERAL`]. 0 where the code is longer than the bits, or is not a code.
type Entry = u32;
const LITERAL: Entry = 1 << 31;
/// The end of the block, or, with something in the high half, no symbol at all.
const OTHER: Entry = 1 << 15;
const NOTHING: Entry = OTHER | 1 << 16;

/// The entry of every literal and length, but for the length of its code.
const LITERAL_ENTRIES: [Entry; LITERALS] = {
    let mut table = [NOTHING; LITERALS];
    let mut rest: &mut [Entry] = &mut table;
    let mut symbol = 0u32;
    let mut base = 3;
    while let Some((slot, more)) = rest.split_first_mut() {
        if symbol < 256 {
            *slot = LITERAL | symbol << 16;
        } else if symbol == 256 {
            *slot = OTHER;
        } else if symbol < 285 {
            let extra = if symbol < 261 { 0 } else { (symbol - 261) / 4 };
            *slot = base << 16 | extra;
            base += 1 << extra;
        } else if symbol == 285 {
            *slot = 258 << 16;
        }
        symbol += 1;
        rest = more;
    }
    table
};

/// The entry of every distance, but for the length of its code.
const DISTANCE_ENTRIES: [Entry; DISTANCES] = {
    let mut table = [NOTHING; DISTANCES];
    let mut rest: &mut [Entry] = &mut table;
    let mut symbol = 0u32;
    let mut base = 1;
    while let Some((slot, more)) = rest.split_first_mut() {
        if symbol < 30 {
            let extra = if symbol < 2 { 0 } else { symbol / 2 - 1 };
            *slot = base << 16 | extra;
            base += 1 << extra;
        }
        symbol += 1;
        rest = more;
    }
    table
};

/// The 19 symbols that code lengths are written with.
const LENGTH_ENTRIES: [Entry; 19] = {
    let mut table = [0; 19];
    let mut rest: &mut [Entry] = &mut table;
    let mut symbol = 0u32;
    while let Some((slot, more)) = rest.split_first_mut() {
        *slot = symbol << 16;
        symbol += 1;
        rest = more;
    }
    table
};

/// A Huffman code, read with the next bits: a table of `SIZE` entries, and all that is longer.
struct Code<const SIZE: usize, const SYMBOLS: usize> {
    table: [Entry; SIZE],
    /// How many symbols have each length.
    counts: [u16; LONGEST + 1],
    /// Symbols in the order of their codes.
    sorted: [u16; SYMBOLS],
}

impl<const SIZE: usize, const SYMBOLS: usize> Code<SIZE, SYMBOLS> {
    const fn new() -> Self {
        Code { table: [0; _], counts: [0; _], sorted: [0; _] }
    }

    /// Makes the code of these lengths. It must be complete; if `alone`, a single code of one bit,
    /// or none, will do.
    fn build(
        &mut self,
        lens: &[u8],
        entries: &[Entry; SYMBOLS],
        alone: bool,
    ) -> Result<(), DecodeError> {
        let mut counts = [0u16; LONGEST + 1];
        // One length after the other, which makes vectors of it.
        for part in lens.chunks(128) {
            for (len, count) in counts.iter_mut().enumerate().skip(1) {
                *count += u16::from(part.iter().map(|l| u8::from(*l == len as u8)).sum::<u8>());
            }
        }
        let mut left = 1i32;
        let mut places = [0u16; LONGEST + 1];
        let mut used = 0;
        for (count, place) in counts.iter().zip(&mut places).skip(1) {
            left = 2 * left - i32::from(*count);
            if left < 0 {
                return Err(Corrupt);
            }
            *place = used;
            used += *count;
        }
        if left > 0 && !(alone && used == counts[1]) {
            return Err(Corrupt);
        }
        for (symbol, len) in lens.iter().enumerate() {
            if *len > 0
                && let Some(place) = places.get_mut(usize::from(*len))
            {
                let at = usize::from(replace(place, *place + 1));
                if let Some(slot) = self.sorted.get_mut(at) {
                    *slot = symbol as u16;
                }
            }
        }
        self.counts = counts;
        // The table doubles with each length: what has a shorter code is there twice, what has none
        // yet is 0.
        if let Some(first) = self.table.first_mut() {
            *first = 0;
        }
        let mut symbols = self.sorted.iter();
        let mut code = 0usize;
        let mut size = 1;
        for (len, count) in counts.iter().enumerate().skip(1) {
            if size == SIZE {
                break;
            }
            self.table.copy_within(..size, size);
            size *= 2;
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                let entry = entries.get(usize::from(*symbol)).copied().unwrap_or(NOTHING);
                if let Some(slot) = self.table.get_mut(code & (SIZE - 1)) {
                    *slot = entry + len as u32 * 0x101;
                }
                // The next code, counted from its highest bit, which is the last here.
                let zeros = (size - 1) ^ code;
                let bit = (1 << zeros.checked_ilog2().unwrap_or(0)) & zeros;
                code = code & bit.wrapping_sub(1) | bit;
            }
        }
        Ok(())
    }

    /// What the next bits mean.
    #[inline(always)]
    fn at(&self, bits: u64) -> Entry {
        self.table.get(bits as usize & (SIZE - 1)).copied().unwrap_or_default()
    }

    /// The entry for which there was none in the table.
    #[cold]
    #[inline(never)]
    fn long(&self, mut bits: u64, entries: &[Entry; SYMBOLS]) -> Entry {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for (len, count) in self.counts.iter().enumerate().skip(1) {
            let count = usize::from(*count);
            code |= (bits & 1) as usize;
            bits >>= 1;
            if code < first + count {
                let symbol = self.sorted.get(index + code - first).copied().unwrap_or_default();
                let entry = entries.get(usize::from(symbol)).copied().unwrap_or(NOTHING);
                return entry + len as u32 * 0x101;
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        NOTHING
    }
}

/// Bits of an entry's code and extra bits.
#[inline(always)]
fn width(entry: Entry) -> u32 {
    entry & 63
}

/// The base of an entry with its extra bits.
#[inline(always)]
fn value(entry: Entry, bits: u64) -> usize {
    let extra = (bits & ((1 << width(entry)) - 1)) >> (entry >> 8 & 15);
    (entry >> 16) as usize + extra as usize
}

/// Bits from the first on; zeros behind the end.
#[derive(Clone, Copy)]
struct Bits<'i> {
    bytes: &'i [u8],
    /// Where the next bytes come from. Some bytes behind the end may be taken.
    at: u32,
    held: u64,
    /// Its low 6 bits say how many of the held bits count: what is above those may be set, too.
    count: u32,
}

impl Bits<'_> {
    /// At least 56 bits.
    #[inline(always)]
    fn refill(&mut self) {
        match try_load(self.bytes, self.at) {
            Some(bytes) => self.held |= u64::from_le_bytes(bytes) << (self.count & 63),
            None => self.held |= last(self.bytes, self.at) << (self.count & 63),
        }
        self.at += (63 - (self.count & 63)) >> 3;
        self.count |= 56;
    }

    /// Drops as many bits as the low 6 bits of `entry` say; the others do no harm to the count.
    #[inline(always)]
    fn drop(&mut self, entry: u32) {
        self.held >>= entry & 63;
        self.count = self.count.wrapping_sub(entry);
    }

    /// Where the next whole byte is.
    fn place(&self) -> usize {
        (self.at - (self.count & 63) / 8) as usize
    }

    /// The next bits, of those held.
    #[inline(always)]
    fn take(&mut self, count: u32) -> u32 {
        let bits = self.held & ((1 << count) - 1);
        self.drop(count);
        bits as u32
    }

    /// Goes to the next byte boundary; where that is. An error behind the end.
    fn align(&mut self) -> Result<usize, DecodeError> {
        let at = self.place();
        if at > self.bytes.len() {
            return Err(Corrupt);
        }
        (self.at, self.held, self.count) = (at as u32, 0, 0);
        Ok(at)
    }
}

/// Up to eight bytes at `at`.
#[cold]
#[inline(never)]
fn last(bytes: &[u8], at: u32) -> u64 {
    // Nothing is left behind the end.
    let rest = bytes.get(at as usize..).unwrap_or(&[]);
    rest.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Reads zlib streams.
pub struct Inflate {
    literals: Code<{ 1 << LITERAL_LOG }, LITERALS>,
    distances: Code<{ 1 << DISTANCE_LOG }, DISTANCES>,
}

impl Default for Inflate {
    fn default() -> Inflate {
        Inflate { literals: Code::new(), distances: Code::new() }
    }
}

impl Inflate {
    /// Decompresses `stored` into `page`, which must be exactly filled.
    pub fn decode(&mut self, stored: &[u8], page: &mut [u8]) -> Result<(), DecodeError> {
        // Positions are `u32`, and go a little beyond the end.
        if stored.len() > 1 << 30 {
            return Err(Corrupt);
        }
        let (head, blocks) = stored.split_first_chunk::<2>().ok_or(Corrupt)?;
        // Deflate, a window of up to 32 KiB, no dictionary.
        if head[0] & 15 != 8
            || head[0] >> 4 > 7
            || head[1] & 0x20 != 0
            || !u16::from_be_bytes(*head).is_multiple_of(31)
        {
            return Err(Corrupt);
        }
        let mut bits = Bits { bytes: blocks, at: 0, held: 0, count: 0 };
        let mut output = Output::new(page);
        loop {
            bits.refill();
            let last = bits.take(1) == 1;
            match bits.take(2) {
                0 => stored_block(&mut bits, &mut output)?,
                1 => {
                    self.fixed()?;
                    self.block(&mut bits, &mut output)?;
                }
                2 => {
                    self.dynamic(&mut bits)?;
                    self.block(&mut bits, &mut output)?;
                }
                _ => return Err(Corrupt),
            }
            if last {
                break;
            }
        }
        let sum = part(blocks, bits.align()?..);
        output.end()?;
        if *sum == adler32(page).to_be_bytes() { Ok(()) } else { Err(Corrupt) }
    }
}

fn stored_block(bits: &mut Bits<'_>, output: &mut Output<'_>) -> Result<(), DecodeError> {
    let at = bits.align()?;
    let rest = part(bits.bytes, at..);
    let ([a, b, c, d], rest) = rest.split_first_chunk().ok_or(Corrupt)?;
    let len = u16::from_le_bytes([*a, *b]);
    if u16::from_le_bytes([*c, *d]) != !len {
        return Err(Corrupt);
    }
    let from = rest.get(..usize::from(len)).ok_or(Corrupt)?;
    let end = output.at + from.len();
    output.page.get_mut(output.at..end).ok_or(TooLong)?.copy_from_slice(from);
    output.at = end;
    bits.at += 4 + u32::from(len);
    Ok(())
}

impl Inflate {
    fn fixed(&mut self) -> Result<(), DecodeError> {
        let mut lens = [8; LITERALS];
        for (symbol, len) in lens.iter_mut().enumerate() {
            *len = match symbol {
                144..=255 => 9,
                256..=279 => 7,
                _ => 8,
            };
        }
        self.literals.build(&lens, &LITERAL_ENTRIES, false)?;
        self.distances.build(&[5; DISTANCES], &DISTANCE_ENTRIES, false)
    }

    /// Reads the codes of a block.
    fn dynamic(&mut self, bits: &mut Bits<'_>) -> Result<(), DecodeError> {
        bits.refill();
        let literals = 257 + bits.take(5) as usize;
        let distances = 1 + bits.take(5) as usize;
        if literals > 286 || distances > 30 {
            return Err(Corrupt);
        }
        let listed = 4 + bits.take(4) as usize;
        let mut lens = [0u8; 19];
        let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        for (i, symbol) in order.into_iter().take(listed).enumerate() {
            // 19 of them are 57 bits.
            if i % 16 == 0 {
                bits.refill();
            }
            if let Some(len) = lens.get_mut(symbol) {
                *len = bits.take(3) as u8;
            }
        }
        let mut code = Code::<128, 19>::new();
        code.build(&lens, &LENGTH_ENTRIES, false)?;
        // Runs go on from one alphabet to the next. A run of 138 may begin at the last length.
        let mut lens = [0u8; 286 + 30 + 138];
        let end = literals + distances;
        let mut at = 0;
        while at < end {
            bits.refill();
            // Four of them take at most 56 bits.
            for _ in 0..4 {
                let entry = code.at(bits.held);
                bits.drop(entry);
                let symbol = entry >> 16;
                if symbol < 16 {
                    if let Some(len) = lens.get_mut(at) {
                        *len = symbol as u8;
                    }
                    at += 1;
                } else {
                    // Runs of zeros are there already.
                    let run = match symbol {
                        16 => {
                            let before = at.checked_sub(1).ok_or(Corrupt)?;
                            let len = lens.get(before).copied().unwrap_or_default();
                            if let Some(slots) = room::<6>(&mut lens, at) {
                                *slots = [len; 6];
                            }
                            let run = 3 + bits.take(2);
                            // Zero the entries past the end of the table again.
                            if let Some(slots) = room::<3>(&mut lens, at + run as usize) {
                                *slots = [0; 3];
                            }
                            run
                        }
                        17 => 3 + bits.take(3),
                        _ => 11 + bits.take(7),
                    };
                    at += run as usize;
                }
                if at >= end {
                    break;
                }
            }
        }
        // A block without an end is refused before its codes are.
        if at > end || lens.get(256) == Some(&0) {
            return Err(Corrupt);
        }
        let (literal_lens, rest) = lens.split_at_checked(literals).ok_or(Corrupt)?;
        self.literals.build(literal_lens, &LITERAL_ENTRIES, true)?;
        self.distances.build(rest.get(..distances).ok_or(Corrupt)?, &DISTANCE_ENTRIES, true)
    }

    /// Reads the symbols of a block.
    fn block(&self, input: &mut Bits<'_>, output: &mut Output<'_>) -> Result<(), DecodeError> {
        // In registers.
        let mut bits = *input;
        let mut out = Output { page: &mut *output.page, at: output.at };
        let end = loop {
            bits.refill();
            let mut entry = self.literals.at(bits.held);
            // Three literals of 10 bits, and 20 for a length.
            for _ in 0..3 {
                if entry & LITERAL == 0 {
                    break;
                }
                bits.drop(entry);
                *out.page.get_mut(out.at).ok_or(TooLong)? = (entry >> 16) as u8;
                out.at += 1;
                entry = self.literals.at(bits.held);
            }
            if entry & LITERAL != 0 {
                continue;
            }
            if entry == 0 {
                entry = self.literals.long(bits.held, &LITERAL_ENTRIES);
                if entry & LITERAL != 0 {
                    bits.drop(entry);
                    *out.page.get_mut(out.at).ok_or(TooLong)? = (entry >> 16) as u8;
                    out.at += 1;
                    continue;
                }
            }
            if entry & OTHER != 0 {
                break entry;
            }
            let len = value(entry, bits.held);
            bits.drop(entry);
            bits.refill();
            let mut entry = self.distances.at(bits.held);
            if entry == 0 {
                entry = self.distances.long(bits.held, &DISTANCE_ENTRIES);
            }
            if entry & OTHER != 0 {
                return Err(Corrupt);
            }
            out.copy(value(entry, bits.held), len)?;
            bits.drop(entry);
        };
        bits.drop(end);
        let at = out.at;
        *input = bits;
        output.at = at;
        // What came from behind the end of the input was no symbol.
        if end >> 16 == 0 && bits.place() <= bits.bytes.len() { Ok(()) } else { Err(Corrupt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_the_standard() {
        let of = |entry: Entry| (entry >> 16, entry & 63);
        assert_eq!(of(LITERAL_ENTRIES[257]), (3, 0));
        assert_eq!(of(LITERAL_ENTRIES[264]), (10, 0));
        assert_eq!(of(LITERAL_ENTRIES[265]), (11, 1));
        assert_eq!(of(LITERAL_ENTRIES[273]), (35, 3));
        assert_eq!(of(LITERAL_ENTRIES[284]), (227, 5));
        assert_eq!(of(LITERAL_ENTRIES[285]), (258, 0));
        assert_eq!(LITERAL_ENTRIES[286..], [NOTHING; 2]);
        assert_eq!(of(DISTANCE_ENTRIES[0]), (1, 0));
        assert_eq!(of(DISTANCE_ENTRIES[4]), (5, 1));
        assert_eq!(of(DISTANCE_ENTRIES[29]), (24_577, 13));
        assert_eq!(DISTANCE_ENTRIES[30..], [NOTHING; 2]);
    }

    /// A stream of one block with fixed codes: codes from their first bit on.
    fn stream(codes: &str) -> std::vec::Vec<u8> {
        let bits: std::vec::Vec<u8> = codes.bytes().filter(|c| *c != b' ').map(|c| c & 1).collect();
        let bytes = bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |all, bit| all << 1 | bit));
        [0x78, 0x01].into_iter().chain(bytes).collect()
    }

    #[test]
    fn symbols_that_are_none_are_refused() {
        let mut page = [0; 8];
        let mut read = |codes: &str, of: &[u8]| {
            let mut stream = stream(codes);
            stream.extend(adler32(of).to_be_bytes());
            page.fill(0);
            Inflate::default().decode(&stream, page.get_mut(..of.len()).unwrap())
        };
        // Literal 0x61, then three bytes from distance 1, 30 or 31; lengths 286, of which there is
        // none, and 258.
        assert_eq!(read("110 10010001 0000001 00000 0000000", b"aaaa"), Ok(()));
        assert_eq!(read("110 10010001 0000001 11110 0000000", b"aaaa"), Err(Corrupt));
        assert_eq!(read("110 10010001 0000001 11111 0000000", b"aaaa"), Err(Corrupt));
        assert_eq!(read("110 10010001 11000110 00000 0000000", b"aaaa"), Err(Corrupt));
        assert_eq!(read("110 10010001 11000101 00000 0000000", b"aaaa"), Err(TooLong));
        // Further back than the page begins; no end; another checksum.
        assert_eq!(read("110 10010001 0000001 00001 0000000", b"aaaa"), Err(Corrupt));
        assert_eq!(read("110 10010001", b"a"), Err(Corrupt));
        assert_eq!(read("110 10010001 0000000", b"a"), Ok(()));
        assert_eq!(read("110 10010001 0000000", b"b"), Err(Corrupt));
    }
}
