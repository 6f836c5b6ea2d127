//! zlib streams (RFC 1950) of deflate blocks (RFC 1951).
//!
//! The sequences of a block are collected while their symbols are counted; then the codes are made
//! and the block is written. A page of 4 KiB is one block; larger pages get more where they need
//! them.

use crate::adler::adler32;
use crate::bits::Bits;
use crate::block::{Block, Coder, Collector, histogram};
use crate::bytes::{Out, load, part};
use crate::codec::{Codec, Encode};
use crate::huffman;
use crate::matcher::{MOST, Table, parse};
use core::hint::select_unpredictable;

/// Literals, end of block, and lengths.
const LITERALS: usize = huffman::SYMBOLS;
const DISTANCES: usize = 32;
const END: usize = 256;
/// Four literals and the rest of a byte fit 64 bits.
const LIMIT: usize = 14;
/// Longest match.
const LONGEST: u32 = 258;

/// A code: bits in the low half, their number in the high half.
type Code = u32;

/// Compresses each page into a zlib stream: dynamic Huffman codes or the fixed ones, whichever is
/// smaller, or always the fixed ones.
pub struct Deflate {
    table: Table,
    block: Block,
    counts: [u16; LITERALS],
    far_counts: [u16; DISTANCES],
    codes: [Code; LITERALS],
    far_codes: [Code; DISTANCES],
    fixed: bool,
}

impl Deflate {
    /// Bytes of the state. While it encodes, 8 KiB of stack come on top.
    pub const STATE: usize = size_of::<Deflate>();

    /// An encoder for pages of up to 64 KiB.
    pub const fn new() -> Deflate {
        Deflate {
            table: [0; _],
            block: Block::new(),
            counts: [0; _],
            far_counts: [0; _],
            codes: [0; _],
            far_codes: [0; _],
            fixed: false,
        }
    }

    /// One that makes no codes of its own: faster, and a seventh larger.
    pub const fn fixed() -> Deflate {
        let mut deflate = Deflate::new();
        deflate.fixed = true;
        deflate
    }
}

impl Default for Deflate {
    fn default() -> Deflate {
        Deflate::new()
    }
}

impl Encode for Deflate {
    fn codec(&self) -> Codec {
        Codec::Zlib
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        if page.len() > MOST {
            return None;
        }
        let Deflate { table, block, counts, far_counts, codes, far_codes, fixed } = self;
        block.clear();
        let mut out = Out::new(out, page.len());
        // Deflate with a window of 32 KiB; check bits for the fastest level.
        out.put([0x78, 0x01]);
        let bits = Bits::new(out);
        let fixed = *fixed;
        let coder = Stream { bits, counts, far_counts, codes, far_codes, fixed, page: page.len() };
        let mut blocks = Collector { block, coder };
        let rest = parse(page, table, &mut blocks)?;
        if !blocks.finish(part(page, rest as usize..)) {
            return None;
        }
        let mut out = blocks.coder.bits.finish();
        if out.at + 4 >= page.len() {
            return None;
        }
        out.put(adler32(page).to_be_bytes());
        out.smaller_than(page)
    }
}

/// Symbol, extra bits and their number of a match length.
#[inline(always)]
fn len_symbol(len: u32) -> (usize, u32, u32) {
    if len == LONGEST {
        return (285, 0, 0);
    }
    let rest = len.wrapping_sub(3) & 255;
    let extra = (rest | 4).ilog2() - 2;
    (257 + (extra * 4 + (rest >> extra)) as usize, rest & ((1 << extra) - 1), extra)
}

/// Symbol, extra bits and their number of a distance.
#[inline(always)]
fn far_symbol(distance: u32) -> (usize, u32, u32) {
    let rest = distance.wrapping_sub(1);
    let extra = (rest | 2).ilog2() - 1;
    ((2 * extra + (rest >> extra)) as usize, rest & ((1 << extra) - 1), extra)
}

/// Bits of the fixed codes.
const FIXED: [u8; LITERALS] = {
    let mut table = [8; LITERALS];
    let mut rest: &mut [u8] = &mut table;
    let mut symbol = 0;
    while let Some((slot, more)) = rest.split_first_mut() {
        *slot = match symbol {
            144..=255 => 9,
            256..=279 => 7,
            _ => 8,
        };
        symbol += 1;
        rest = more;
    }
    table
};

/// The fixed codes.
const FIXED_CODES: [Code; LITERALS] = {
    let mut table = [0; LITERALS];
    let mut rest: &mut [Code] = &mut table;
    let mut symbol = 0u32;
    while let Some((slot, more)) = rest.split_first_mut() {
        let (code, len) = match symbol {
            0..=143 => (0x30 + symbol, 8),
            144..=255 => (0x190 + symbol - 144, 9),
            256..=279 => (symbol - 256, 7),
            _ => (0xc0 + symbol - 280, 8),
        };
        *slot = code.reverse_bits() >> (32 - len) | len << 16;
        symbol += 1;
        rest = more;
    }
    table
};

const FIXED_FAR_CODES: [Code; DISTANCES] = {
    let mut table = [0; DISTANCES];
    let mut rest: &mut [Code] = &mut table;
    let mut symbol = 0u32;
    while let Some((slot, more)) = rest.split_first_mut() {
        *slot = symbol.reverse_bits() >> 27 | 5 << 16;
        symbol += 1;
        rest = more;
    }
    table
};

/// Extra bits of the symbols of lengths.
const LEN_EXTRA: [u8; LITERALS] = {
    let mut table = [0; LITERALS];
    let mut rest: &mut [u8] = &mut table;
    let mut symbol = 0u32;
    while let Some((slot, more)) = rest.split_first_mut() {
        if symbol >= 257 + 8 && symbol < 257 + 28 {
            *slot = ((symbol - 257) / 4 - 1) as u8;
        }
        symbol += 1;
        rest = more;
    }
    table
};

/// Extra bits of the symbols of distances.
const FAR_EXTRA: [u8; DISTANCES] = {
    let mut table = [0; DISTANCES];
    let mut rest: &mut [u8] = &mut table;
    let mut symbol = 0u8;
    while let Some((slot, more)) = rest.split_first_mut() {
        *slot = (symbol / 2).saturating_sub(1);
        symbol += 1;
        rest = more;
    }
    table
};

impl Bits<'_> {
    #[inline(always)]
    fn code(&mut self, code: Code) {
        self.add(code & 0xffff, code >> 16);
    }

    /// Writes literals by fours; returns where fewer are left.
    #[inline(always)]
    fn literals(&mut self, codes: &[Code; LITERALS], from: &[u8], mut at: u32, end: u32) -> u32 {
        while at + 4 <= end {
            for byte in load::<4>(from, at) {
                self.code(code(codes, usize::from(byte)));
            }
            self.flush();
            at += 4;
        }
        at
    }
}

struct Stream<'s, 'o> {
    bits: Bits<'o>,
    counts: &'s mut [u16; LITERALS],
    far_counts: &'s mut [u16; DISTANCES],
    codes: &'s mut [Code; LITERALS],
    far_codes: &'s mut [Code; DISTANCES],
    fixed: bool,
    /// Bytes of the page.
    page: usize,
}

#[inline(always)]
fn count<const N: usize>(counts: &mut [u16; N], symbol: usize) {
    if let Some(count) = counts.get_mut(symbol) {
        *count += 1;
    }
}

#[inline(always)]
fn code<const N: usize>(codes: &[Code; N], symbol: usize) -> Code {
    codes.get(symbol).copied().unwrap_or_default()
}

impl Coder for Stream<'_, '_> {
    const FURTHEST: u32 = 32_768;
    const PATIENCE: u32 = 6;
    const LONGEST: u32 = LONGEST;
    const LAZY: bool = true;
    const REPEAT: bool = false;
    const HASHED: u32 = 4;

    #[inline(never)]
    fn block(&mut self, block: &mut Block, last: bool) -> bool {
        let header = u32::from(last);
        if self.fixed {
            self.bits.add(header | 1 << 1, 3);
            (*self.codes, *self.far_codes) = (FIXED_CODES, FIXED_FAR_CODES);
        } else {
            self.count(block);
            // Nothing repeats and no byte stands out: Huffman codes will not help either.
            if block.steps().is_empty() && last {
                let most = self.counts.iter().take(END).max().copied().unwrap_or_default();
                if usize::from(most) <= self.page / 128 + 4 {
                    return false;
                }
            }
            if !self.choose(header) {
                return false;
            }
        }
        self.write(block);
        self.bits.out.at < self.page
    }
}

impl Stream<'_, '_> {
    fn count(&mut self, block: &Block) {
        self.counts.fill(0);
        self.far_counts.fill(0);
        if let Some(bytes) = self.counts.first_chunk_mut() {
            histogram(block.literals(), bytes);
        }
        for step in block.steps() {
            count(self.counts, len_symbol(step.len.into()).0);
            count(self.far_counts, far_symbol(step.distance.into()).0);
        }
        count(self.counts, END);
    }

    /// Writes the header of the block with the shorter codes.
    fn choose(&mut self, header: u32) -> bool {
        let literal_lens = huffman::lengths(self.counts, LIMIT);
        let far_lens = huffman::lengths(self.far_counts, 15);
        let most = |symbols: &[u16]| symbols.last().map_or(1, |last| usize::from(*last) + 1);
        let (literals, far) = (most(literal_lens.symbols()), most(far_lens.symbols()));
        let mut own =
            product(self.counts, &literal_lens.of) + product(self.far_counts, &far_lens.of);
        let fixed = product(self.counts, &FIXED) + product(self.far_counts, &[5; DISTANCES]);
        let extra = product(self.counts, &LEN_EXTRA) + product(self.far_counts, &FAR_EXTRA);
        let mut runs = Runs { items: [0; _], used: 0, counts: [0; 19] };
        runs.collect(&literal_lens);
        runs.collect(&far_lens);
        let run_lens = huffman::lengths(&runs.counts, 7);
        let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let len_of = |symbol: usize| run_lens.of.get(symbol).copied().unwrap_or_default();
        let listed = order.iter().rposition(|s| len_of(*s) > 0).map_or(0, |last| last + 1).max(4);
        own += 14 + 3 * listed as u32;
        for (symbol, n) in runs.counts.iter().enumerate() {
            own += u32::from(*n) * (u32::from(len_of(symbol)) + run_extra(symbol));
        }
        let bytes = (own.min(fixed) + extra) / 8;
        if self.bits.out.at + bytes as usize + 5 >= self.page {
            return false;
        }
        if fixed <= own {
            self.bits.add(header | 1 << 1, 3);
            (*self.codes, *self.far_codes) = (FIXED_CODES, FIXED_FAR_CODES);
            return true;
        }
        self.bits.add(header | 2 << 1, 3);
        self.bits.add((literals - 257) as u32 | ((far - 1) as u32) << 5, 10);
        self.bits.add(listed as u32 - 4, 4);
        self.bits.flush();
        for symbol in order.iter().take(listed) {
            self.bits.add(len_of(*symbol).into(), 3);
            self.bits.flush();
        }
        let mut run_codes = [0; 19];
        codes_of(&run_lens, &mut run_codes);
        for item in runs.items.iter().take(runs.used) {
            let symbol = usize::from(item & 31);
            self.bits.code(code(&run_codes, symbol));
            self.bits.add(u32::from(item >> 5), run_extra(symbol));
            self.bits.flush();
        }
        codes_of(&literal_lens, self.codes);
        codes_of(&far_lens, self.far_codes);
        true
    }

    fn write(&mut self, block: &Block) {
        // Kept out of memory.
        let mut bits = self.bits.lend();
        bits.flush();
        let padded = block.padded();
        let mut at = 0u32;
        for step in block.steps() {
            let end = at + u32::from(step.literals);
            at = bits.literals(self.codes, padded, at, end);
            // The rest, up to three, without a branch that depends on how many.
            let mut mask = u32::MAX;
            for (i, byte) in load::<3>(padded, at).into_iter().enumerate() {
                mask = if at + i as u32 == end { 0 } else { mask };
                bits.code(code(self.codes, usize::from(byte)) & mask);
            }
            at = end;
            bits.flush();
            let (symbol, extra, count) = len_symbol(step.len.into());
            bits.code(code(self.codes, symbol));
            bits.add(extra, count);
            let (symbol, extra, count) = far_symbol(step.distance.into());
            bits.code(code(self.far_codes, symbol));
            bits.add(extra, count);
            bits.flush();
        }
        let literals = block.literals();
        at = bits.literals(self.codes, padded, at, literals.len() as u32);
        for byte in part(literals, at as usize..) {
            bits.code(code(self.codes, usize::from(*byte)));
        }
        bits.flush();
        bits.code(code(self.codes, END));
        bits.flush();
        let end = bits.state();
        self.bits.resume(end);
    }
}

/// The code lengths of a header as symbols: a length, or one of three kinds of runs.
struct Runs {
    /// Symbol in the low 5 bits, extra bits above.
    items: [u16; LITERALS + DISTANCES + 2],
    used: usize,
    counts: [u16; 19],
}

fn run_extra(symbol: usize) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

impl Runs {
    /// Adds one item, or none to two plain ones, without a branch on how many: it cannot be
    /// guessed.
    #[inline(always)]
    fn push(&mut self, symbol: usize, extra: usize, times: usize) {
        let item = (symbol | extra << 5) as u16;
        if let Some(to) = self.items.get_mut(self.used..).and_then(<[u16]>::first_chunk_mut) {
            *to = [item; 2];
        }
        self.used += times;
        if let Some(count) = self.counts.get_mut(symbol) {
            *count += times as u16;
        }
    }

    /// Lengths of zero.
    #[inline(always)]
    fn zeros(&mut self, mut left: usize) {
        while left > 138 {
            self.push(18, 127, 1);
            left -= 138;
        }
        let (few, short) = (left < 3, left < 11);
        let symbol = select_unpredictable(few, 0, select_unpredictable(short, 17, 18));
        let base = select_unpredictable(few, left, select_unpredictable(short, 3, 11));
        self.push(symbol, left - base, select_unpredictable(few, left, 1));
    }

    /// The same length up to six times more.
    #[inline(always)]
    fn repeats(&mut self, len: usize, run: usize) {
        let few = run < 3;
        self.push(
            select_unpredictable(few, len, 16),
            run - select_unpredictable(few, run, 3),
            select_unpredictable(few, run, 1),
        );
    }

    /// The lengths of an alphabet. Runs could go on into the next one, but do not here.
    fn collect(&mut self, lens: &huffman::Lengths) {
        if lens.symbols().is_empty() {
            self.push(0, 0, 1);
        }
        let mut next = 0;
        let mut len = 0;
        let mut run = 0;
        for symbol in lens.symbols() {
            let symbol = usize::from(*symbol);
            let this = usize::from(lens.of.get(symbol).copied().unwrap_or_default());
            if this == len && symbol == next {
                if run == 6 {
                    self.push(16, 3, 1);
                    run = 0;
                }
                run += 1;
            } else {
                self.repeats(len, run);
                run = 0;
                self.zeros(symbol - next);
                self.push(this, 0, 1);
                len = this;
            }
            next = symbol + 1;
        }
        self.repeats(len, run);
    }
}

/// Bits of all symbols together: how often each occurs times its length. As i16, which has vector
/// instructions everywhere: no count is larger.
fn product(counts: &[u16], bits: &[u8]) -> u32 {
    let bits =
        counts.iter().zip(bits).map(|(n, bits)| i32::from(*n as i16) * i32::from(i16::from(*bits)));
    bits.sum::<i32>() as u32
}

/// Canonical codes, bit-reversed, as deflate writes them.
fn codes_of(lens: &huffman::Lengths, codes: &mut [Code]) {
    codes.fill(0);
    let mut next = huffman::first_codes(&lens.by_len);
    for symbol in lens.symbols() {
        let symbol = usize::from(*symbol);
        let len = lens.of.get(symbol).copied().unwrap_or_default();
        if let (Some(code), Some(next)) = (codes.get_mut(symbol), next.get_mut(usize::from(len))) {
            *code = turned(*next) >> (16 - u32::from(len)) | u32::from(len) << 16;
            *next += 1;
        }
    }
}

/// Table of bit-reversed bytes.
const TURNED: [u8; 256] = {
    let mut table = [0; 256];
    let mut rest: &mut [u8] = &mut table;
    let mut byte = 0u8;
    while let Some((slot, more)) = rest.split_first_mut() {
        *slot = byte.reverse_bits();
        byte = byte.wrapping_add(1);
        rest = more;
    }
    table
};

fn turned(code: u16) -> u32 {
    let [low, high] = code.to_le_bytes();
    let of = |byte: u8| u32::from(TURNED.get(usize::from(byte)).copied().unwrap_or_default());
    of(low) << 8 | of(high)
}
