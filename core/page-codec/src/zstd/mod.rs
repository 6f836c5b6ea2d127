//! zstd frames (RFC 8878): one per page, with its size in the header, no window and no checksum.
//!
//! Literals are Huffman-coded or raw; sequences use the predefined tables or their own, whichever is
//! smaller. Offsets of earlier matches have short codes; about half of all matches in kernel pages
//! use them.

mod fse;

use crate::bits::Bits;
use crate::block::{Block, Coder, Collector, STEPS, Step, histogram};
use crate::bytes::{Out, part, room};
use crate::codec::{Codec, Encode};
use crate::huffman;
use crate::matcher::{MOST, Table, parse};
use crate::zstd_tables as tables;
use core::hint::select_unpredictable;

/// Longest Huffman code.
const LIMIT: usize = 11;
/// Minimum number of literals worth Huffman-coding.
const FEW_LITERALS: usize = 48;
/// Fewer sequences use the predefined tables.
const FEW_STEPS: usize = 16;

/// Compresses each page into a zstd frame.
pub struct Zstd {
    table: Table,
    block: Block,
    /// Codes of literal length, offset and match length.
    codes: [[u8; 3]; STEPS],
    weight_tables: [fse::Table; 3],
    /// Of literal lengths, offsets and match lengths.
    predefined: [fse::Table; 3],
    lazy: bool,
}

impl Zstd {
    /// Bytes of the state. While it encodes, 8 KiB of stack come on top.
    pub const STATE: usize = size_of::<Zstd>();

    /// An encoder for pages of up to 64 KiB.
    pub fn new() -> Zstd {
        Zstd {
            table: [0; _],
            block: Block::new(),
            codes: [[0; 3]; _],
            weight_tables: tables::WEIGHT_SHARES.map(|shares| fse::Table::of(&shares, 6)),
            predefined: [
                fse::Table::of(&tables::LITERAL_SHARES, 6),
                fse::Table::of(&tables::OFFSET_SHARES, 5),
                fse::Table::of(&tables::MATCH_SHARES, 6),
            ],
            lazy: false,
        }
    }

    /// An encoder with a minimum match of 4 and one-step lazy matching: slower, better ratio.
    pub fn lazy() -> Zstd {
        let mut zstd = Zstd::new();
        zstd.lazy = true;
        zstd
    }
}

impl Default for Zstd {
    fn default() -> Zstd {
        Zstd::new()
    }
}

impl Encode for Zstd {
    fn codec(&self) -> Codec {
        Codec::Zstd
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        // Sizes that the two bytes in the header can say.
        if page.len() > MOST || page.len() < 256 {
            return None;
        }
        self.block.clear();
        let mut out = Out::new(out, page.len());
        out.put(0xfd2f_b528u32.to_le_bytes());
        // A single segment; two bytes of size.
        out.put([1 << 6 | 1 << 5]);
        out.put(((page.len() - 256) as u16).to_le_bytes());
        let Zstd { table, block, codes, weight_tables, predefined, lazy } = self;
        let recent = [1, 4, 8];
        let frame = Frame { out, codes, weight_tables, predefined, recent, page: page.len() };
        if *lazy {
            collect(page, table, block, Parser::<true>(frame))
        } else {
            collect(page, table, block, Parser::<false>(frame))
        }
    }
}

fn collect<const LAZY: bool>(
    page: &[u8],
    table: &mut Table,
    block: &mut Block,
    coder: Parser<'_, '_, LAZY>,
) -> Option<usize> {
    let mut blocks = Collector { block, coder };
    let rest = parse(page, table, &mut blocks)?;
    if !blocks.finish(part(page, rest as usize..)) {
        return None;
    }
    blocks.coder.0.out.smaller_than(page)
}

/// A frame, and how the page is parsed into matches.
struct Parser<'s, 'o, const LAZY: bool>(Frame<'s, 'o>);

impl<const LAZY: bool> Coder for Parser<'_, '_, LAZY> {
    const FURTHEST: u32 = 65_535;
    const LONGEST: u32 = 65_535;
    const LAZY: bool = LAZY;
    const REPEAT: bool = true;
    const HASHED: u32 = if LAZY { 4 } else { 6 };
    const PATIENCE: u32 = 6;

    fn block(&mut self, block: &mut Block, last: bool) -> bool {
        self.0.block(block, last)
    }
}

struct Frame<'s, 'o> {
    out: Out<'o>,
    codes: &'s mut [[u8; 3]; STEPS],
    weight_tables: &'s [fse::Table; 3],
    predefined: &'s [fse::Table; 3],
    recent: [u32; 3],
    page: usize,
}

/// A Huffman code: bits in the low half, their number in the high half.
type Code = u32;

impl Frame<'_, '_> {
    /// See [`Coder::block`].
    #[inline(never)]
    fn block(&mut self, block: &mut Block, last: bool) -> bool {
        let begin = self.out.at;
        self.out.put([0; 3]);
        let (literals, steps) = block.parts();
        if !self.literals(literals, last && steps.is_empty()) {
            return false;
        }
        self.steps(steps);
        if self.out.at >= self.page {
            return false;
        }
        let size = self.out.at - begin - 3;
        let [a, b, c, _] = (u32::from(last) | 2 << 1 | (size as u32) << 3).to_le_bytes();
        if let Some(to) = room(self.out.bytes, begin) {
            *to = [a, b, c];
        }
        true
    }

    fn bits(&mut self) -> Bits<'_> {
        Bits::new(Out { bytes: &mut *self.out.bytes, at: self.out.at })
    }

    /// The literals section; false where coding them will not make the page smaller.
    fn literals(&mut self, literals: &[u8], alone: bool) -> bool {
        let n = literals.len();
        let mut counts = [0; 256];
        if n >= FEW_LITERALS {
            histogram(literals, &mut counts);
            // As i16, which has vector instructions everywhere.
            let most = counts.iter().fold(0, |most: i16, n| most.max(*n as i16)) as usize;
            if most == n {
                self.literal_header(1, n);
                self.out.copy(part(literals, ..1));
                return true;
            }
            if most > n / 128 + 4 && self.huffman(literals, &counts) {
                return true;
            }
            if alone {
                return false;
            }
        }
        self.literal_header(0, n);
        self.out.copy(literals);
        true
    }

    /// The header of literals that are raw (0) or one repeated byte (1).
    fn literal_header(&mut self, kind: u32, n: usize) {
        let n = n as u32;
        if n < 32 {
            self.out.put([(kind | n << 3) as u8]);
        } else if n < 4096 {
            let [a, b, ..] = (kind | 1 << 2 | n << 4).to_le_bytes();
            self.out.put([a, b]);
        } else {
            let [a, b, c, _] = (kind | 3 << 2 | n << 4).to_le_bytes();
            self.out.put([a, b, c]);
        }
    }

    /// Huffman-codes the literals; false where that takes no fewer bytes.
    fn huffman(&mut self, literals: &[u8], counts: &[u16; 256]) -> bool {
        let n = literals.len();
        let lengths = huffman::lengths(counts, LIMIT);
        // As i16, which has vector instructions everywhere: no count is larger.
        let product = |(n, len): (&u16, &u8)| i32::from(*n as i16) * i32::from(i16::from(*len));
        let bits: i32 = counts.iter().zip(&lengths.of).map(product).sum();
        let four = n >= 256;
        if bits as usize / 8 + 16 + 3 >= n {
            return false;
        }
        let header = self.out.at;
        let header_len = if n < 1024 { 3 } else { 4 };
        self.out.at += header_len;
        let begin = self.out.at;
        if !self.weights(&lengths) {
            self.out.at = header;
            return false;
        }
        // Codes grow from the longest, which starts at 0.
        let mut next = lengths.by_len;
        let mut code = 0;
        for count in next.iter_mut().skip(1).rev() {
            let here = core::mem::replace(count, code);
            code = (code + here) >> 1;
        }
        let mut codes = [0u32; 256];
        for symbol in lengths.symbols() {
            let symbol = usize::from(*symbol) & 255;
            let len = lengths.of.get(symbol).copied().unwrap_or_default();
            if let (Some(code), Some(next)) =
                (codes.get_mut(symbol), next.get_mut(usize::from(len)))
            {
                *code = u32::from(*next) | u32::from(len) << 16;
                *next += 1;
            }
        }
        if four {
            let sizes = self.out.at;
            self.out.at += 6;
            for (i, part) in literals.chunks(n.div_ceil(4)).enumerate() {
                let from = self.out.at;
                self.stream(part, &codes);
                let size = (self.out.at - from) as u16;
                if i < 3
                    && let Some(to) = room(self.out.bytes, sizes + 2 * i)
                {
                    *to = size.to_le_bytes();
                }
            }
        } else {
            self.stream(literals, &codes);
        }
        let size = self.out.at - begin;
        if size + header_len >= n + 2 || !self.out.fits() {
            self.out.at = header;
            return false;
        }
        let (n, size) = (n as u32, size as u32);
        if header_len == 3 {
            let [a, b, c, _] = (2 | u32::from(four) << 2 | n << 4 | size << 14).to_le_bytes();
            if let Some(to) = room(self.out.bytes, header) {
                *to = [a, b, c];
            }
        } else if let Some(to) = room(self.out.bytes, header) {
            *to = (2 | 2 << 2 | n << 4 | size << 18).to_le_bytes();
        }
        true
    }

    /// The weights of all symbols but the last one, as 4 bits each or FSE-coded with one of three
    /// tables: making one for the page would take longer than it is worth.
    fn weights(&mut self, lengths: &huffman::Lengths) -> bool {
        let Some((last, symbols)) = lengths.symbols().split_last() else { return false };
        let n = usize::from(*last) & 255;
        let longest = lengths.by_len.iter().rposition(|count| *count > 0).unwrap_or_default() as u8;
        let mut weights = [0u8; 256];
        for (weight, len) in weights.iter_mut().zip(&lengths.of) {
            *weight = if *len > 0 { longest.wrapping_add(1).wrapping_sub(*len) } else { 0 };
        }
        let of_last = weights.get(n).copied().unwrap_or_default();
        let weights = part(&weights, ..n);
        // How often each weight occurs.
        let mut counts = [0u16; tables::WEIGHTS];
        for (weight, count) in counts.iter_mut().enumerate() {
            let len = usize::from(longest).wrapping_add(1).wrapping_sub(weight);
            *count = lengths.by_len.get(len).copied().unwrap_or_default()
                - u16::from(weight == usize::from(of_last));
        }
        counts[0] = (n - symbols.len()) as u16;
        let costs = tables::WEIGHT_SHARES.map(|shares| fse::cost(&counts, &shares, 6));
        let (best, cost) =
            costs.into_iter().enumerate().min_by_key(|(_, cost)| *cost).unwrap_or_default();
        let begin = self.out.at;
        // A first guess, in bytes; the description of the table is among the 12.
        let guess = cost as usize / 2048 + 12;
        if n > 8
            && guess < 128 + 8
            && (n > 128 || guess < n.div_ceil(2))
            && let (Some(table), Some(shares)) =
                (self.weight_tables.get(best), tables::WEIGHT_SHARES.get(best))
        {
            let mut bits = Bits::new(Out { bytes: &mut *self.out.bytes, at: self.out.at + 1 });
            fse::describe(&mut bits, shares, 6);
            write_weights(&mut bits, table, weights);
            let size = bits.out.at - begin - 1;
            if size < 128 {
                if let Some(to) = self.out.bytes.get_mut(begin) {
                    *to = size as u8;
                }
                self.out.at = begin + 1 + size;
                return true;
            }
        }
        if n > 128 {
            return false;
        }
        self.out.put([127 + n as u8]);
        for pair in weights.chunks(2) {
            let (high, low) = (pair.first(), pair.get(1));
            self.out.put([high.map_or(0, |w| w << 4) | low.copied().unwrap_or_default()]);
        }
        true
    }

    /// One Huffman stream: read from its end, so written from the last literal on.
    fn stream(&mut self, literals: &[u8], codes: &[Code; 256]) {
        let mut bits = self.bits();
        let code = |byte: u8| codes.get(usize::from(byte)).copied().unwrap_or_default();
        let (rest, fours) = literals.as_rchunks::<4>();
        for four in fours.iter().rev() {
            for byte in four.iter().rev() {
                let code = code(*byte);
                bits.add(code & 0xffff, code >> 16);
            }
            bits.flush();
        }
        for byte in rest.iter().rev() {
            let code = code(*byte);
            bits.add(code & 0xffff, code >> 16);
        }
        bits.seal();
        self.out.at = bits.out.at;
    }

    /// The sequences section.
    fn steps(&mut self, steps: &mut [Step]) {
        let n = steps.len();
        if n < 128 {
            self.out.put([n as u8]);
        } else {
            self.out.put([(n >> 8) as u8 + 128, n as u8]);
        }
        if n == 0 {
            return;
        }
        let mut counts = [[0u16; fse::SYMBOLS]; 3];
        let [lit_counts, off_counts, match_counts] = &mut counts;
        let up = |counts: &mut [u16; fse::SYMBOLS], code: u8| {
            if let Some(count) = counts.get_mut(usize::from(code)) {
                *count += 1;
            }
        };
        for (step, codes) in steps.iter_mut().zip(self.codes.iter_mut()) {
            let offset = offset_value(&mut self.recent, step);
            let off = offset.ilog2();
            step.distance = (offset - (1 << off)) as u16;
            *codes = [literal_code(step.literals.into()), off as u8, match_code(step.len.into())];
            up(lit_counts, codes[0]);
            up(off_counts, codes[1]);
            up(match_counts, codes[2]);
        }
        let modes = self.out.at;
        self.out.put([0]);
        let mut own = [const { fse::Table::new() }; 3];
        let [lit_own, off_own, match_own] = &mut own;
        let [lit_given, off_given, match_given] = self.predefined;
        let n = n as u32;
        let a = self.table(lit_own, lit_counts, n, &tables::LITERAL_SHARES, 6);
        let b = self.table(off_own, off_counts, n, &tables::OFFSET_SHARES, 5);
        let c = self.table(match_own, match_counts, n, &tables::MATCH_SHARES, 6);
        if let Some(to) = self.out.bytes.get_mut(modes) {
            *to = a << 6 | b << 4 | c << 2;
        }
        let lit_table = if a == 0 { lit_given } else { lit_own };
        let off_table = if b == 0 { off_given } else { off_own };
        let match_table = if c == 0 { match_given } else { match_own };
        let mut bits = Bits::new(Out { bytes: &mut *self.out.bytes, at: self.out.at });
        let mut all = steps.iter().zip(self.codes.iter()).rev();
        let Some((step, codes)) = all.next() else { return };
        let mut lit = lit_table.first(codes[0]);
        let mut off = off_table.first(codes[1]);
        let mut mat = match_table.first(codes[2]);
        // Of a larger page, the bits of a sequence do not fit 64.
        let large = self.page > 4096;
        extra(&mut bits, step, codes, large);
        for (step, codes) in all {
            off = off_table.encode(&mut bits, off, codes[1]);
            mat = match_table.encode(&mut bits, mat, codes[2]);
            lit = lit_table.encode(&mut bits, lit, codes[0]);
            extra(&mut bits, step, codes, large);
        }
        match_table.last(&mut bits, mat);
        off_table.last(&mut bits, off);
        lit_table.last(&mut bits, lit);
        bits.seal();
        self.out.at = bits.out.at;
    }

    /// Chooses and writes the table of one kind of code; returns its mode: 0 for the predefined
    /// one, with which `table` is left as it is.
    fn table(
        &mut self,
        table: &mut fse::Table,
        counts: &[u16; fse::SYMBOLS],
        n: u32,
        predefined: &[i16],
        predefined_log: u32,
    ) -> u8 {
        if let Some(symbol) = counts.iter().position(|count| u32::from(*count) == n) {
            self.out.put([symbol as u8]);
            let mut shares = [0; fse::SYMBOLS];
            if let Some(share) = shares.get_mut(symbol) {
                *share = 1;
            }
            table.build(&shares, 0);
            return 1;
        }
        if n as usize >= FEW_STEPS {
            let used = counts.iter().rposition(|count| *count > 0).unwrap_or_default() + 1;
            let counts = part(counts, ..used);
            let kinds = counts.iter().map(|count| u32::from(*count > 0)).sum::<u32>();
            let log = (n.ilog2().saturating_sub(2)).clamp(5, fse::MOST_LOG);
            let log = log.max(kinds.ilog2() + 1);
            let shares = fse::shares(counts, n, log);
            let shares = part(&shares, ..used);
            let own = fse::cost(counts, shares, log) / 256 + 5 * kinds;
            let given = fse::cost(counts, predefined, predefined_log) / 256;
            if own < given {
                table.build(shares, log);
                let mut bits = self.bits();
                fse::describe(&mut bits, shares, log);
                self.out.at = bits.out.at;
                return 2;
            }
        }
        0
    }
}

/// Writes weights, at least two, from the last one on. Two states take turns; the first weight is
/// the first state's.
fn write_weights(bits: &mut Bits<'_>, table: &fse::Table, weights: &[u8]) {
    let (pairs, odd) = weights.as_chunks::<2>();
    let (mut even_state, mut odd_state);
    let mut pairs = pairs.iter().rev();
    let Some([a, b]) = pairs.next() else { return };
    if let [last] = odd {
        even_state = table.first(*last);
        odd_state = table.first(*b);
        even_state = table.encode(bits, even_state, *a);
    } else {
        odd_state = table.first(*b);
        even_state = table.first(*a);
    }
    for [a, b] in pairs {
        odd_state = table.encode(bits, odd_state, *b);
        even_state = table.encode(bits, even_state, *a);
        bits.flush();
    }
    table.last(bits, odd_state);
    table.last(bits, even_state);
    bits.seal();
}

/// The extra bits of a sequence.
#[inline(always)]
fn extra(bits: &mut Bits<'_>, step: &Step, codes: &[u8; 3], large: bool) {
    let of =
        |table: &[(u32, u8)], code: u8| table.get(usize::from(code)).copied().unwrap_or_default();
    let (base, count) = of(&tables::LITERALS, codes[0]);
    bits.add(u32::from(step.literals).wrapping_sub(base), count.into());
    if large {
        bits.flush();
    }
    let (base, count) = of(&tables::MATCHES, codes[2]);
    bits.add(u32::from(step.len).wrapping_sub(base), count.into());
    bits.add(step.distance.into(), codes[1].into());
    bits.flush();
}

#[inline(always)]
fn literal_code(literals: u32) -> u8 {
    match tables::LITERAL_CODES.get(literals as usize) {
        Some(code) => *code,
        None => literals.ilog2() as u8 + 19,
    }
}

#[inline(always)]
fn match_code(len: u32) -> u8 {
    let rest = len.wrapping_sub(3);
    match tables::MATCH_CODES.get(rest as usize) {
        Some(code) => *code,
        None => rest.ilog2() as u8 + 36,
    }
}

/// The offset as it is written: 1 to 3 for one of the last three, else the distance and 3.
///
/// Which it is cannot be guessed, so nothing branches on it.
#[inline(always)]
fn offset_value(recent: &mut [u32; 3], step: &Step) -> u32 {
    let distance = u32::from(step.distance);
    let [a, b, c] = *recent;
    let after = step.literals > 0;
    // Right after a match, the last distance is no choice.
    let pick = |yes, no| select_unpredictable(after, yes, no);
    let mut value = select_unpredictable(distance == pick(c, a.wrapping_sub(1)), 3, distance + 3);
    value = select_unpredictable(distance == pick(b, c), 2, value);
    value = select_unpredictable(distance == pick(a, b), 1, value);
    let same = after & (distance == a);
    *recent = [
        distance,
        select_unpredictable(same, b, a),
        select_unpredictable(same | (distance == b), c, b),
    ];
    value
}
