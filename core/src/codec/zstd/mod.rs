//! zstd frames (RFC 8878): one per page, with its size in the header, no window and no checksum.
//!
//! Literals are Huffman-coded or raw; sequences use the predefined tables or their own, whichever is
//! smaller. Offsets of earlier matches have short codes; about half of all matches in kernel pages
//! use them.

mod decode;
mod fse;
mod tables;

pub use decode::DecodeZstd;

use super::bits::Bits;
use super::block::{Block, Coder, Collector, STEPS, Step, histogram};
use super::bytes::{Out, SLACK};
use super::huffman;
use super::matcher::{MOST, Table, parse};
use super::{Encoder, Stored, flag};

/// Longest Huffman code.
const LIMIT: usize = 11;
/// Fewer literals are stored as they are.
const FEW_LITERALS: usize = 48;
/// Fewer sequences use the predefined tables.
const FEW_STEPS: usize = 16;

/// Compresses each page into a zstd frame.
pub struct Zstd {
    table: Table,
    block: Block,
    /// Codes of literal length, offset and match length.
    codes: [[u8; 3]; STEPS],
}

impl Zstd {
    /// Bytes of the state. While it encodes, 8 KiB of stack come on top.
    pub const STATE: usize = size_of::<Zstd>();

    /// An encoder for pages of up to 64 KiB.
    pub const fn new() -> Zstd {
        Zstd { table: [0; _], block: Block::new(), codes: [[0; 3]; _] }
    }
}

impl Default for Zstd {
    fn default() -> Zstd {
        Zstd::new()
    }
}

impl Encoder for Zstd {
    fn flag(&self) -> u32 {
        flag::ZSTD
    }

    fn bound(&self, page_size: usize) -> usize {
        page_size + SLACK
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Stored {
        // Sizes that the two bytes in the header can say.
        if page.len() > MOST || page.len() < 256 {
            return Stored::Raw;
        }
        self.block.clear();
        let mut out = Out::new(out, page.len());
        out.put(0xfd2f_b528u32.to_le_bytes());
        // A single segment; two bytes of size.
        out.put([1 << 6 | 1 << 5]);
        out.put(
            (page.len() as u32 - 256).to_le_bytes().first_chunk::<2>().copied().unwrap_or_default(),
        );
        let coder = Frame { out, codes: &mut self.codes, recent: [1, 4, 8], page: page.len() };
        let mut blocks = Collector { block: &mut self.block, coder };
        let Some(rest) = parse(page, &mut self.table, &mut blocks) else { return Stored::Raw };
        if !blocks.finish(page.get(rest as usize..).unwrap_or_default()) {
            return Stored::Raw;
        }
        Stored::if_smaller(&blocks.coder.out, page)
    }
}

struct Frame<'s, 'o> {
    out: Out<'o>,
    codes: &'s mut [[u8; 3]; STEPS],
    recent: [u32; 3],
    page: usize,
}

impl Coder for Frame<'_, '_> {
    const FURTHEST: u32 = 65_535;
    const LONGEST: u32 = 65_535;
    const LAZY: bool = false;
    const REPEAT: bool = true;
    const HASHED: u32 = 5;

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
        if let Some(to) = super::bytes::room(self.out.bytes, begin) {
            *to = [a, b, c];
        }
        true
    }
}

/// A Huffman code: bits in the low half, their number in the high half.
type Code = u32;

impl Frame<'_, '_> {
    fn bits(&mut self) -> Bits<'_> {
        Bits::new(Out { bytes: &mut *self.out.bytes, at: self.out.at })
    }

    /// The literals section; false where coding them will not make the page smaller.
    fn literals(&mut self, literals: &[u8], alone: bool) -> bool {
        let n = literals.len();
        let mut counts = [0; 256];
        if n >= FEW_LITERALS {
            histogram(literals, &mut counts);
            let most = usize::from(counts.iter().max().copied().unwrap_or_default());
            if most == n {
                self.literal_header(1, n);
                self.out.copy(literals.get(..1).unwrap_or_default());
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
        let mut lens = [0u8; 256];
        huffman::lengths(counts, LIMIT, &mut lens);
        let bits: u32 =
            counts.iter().zip(&lens).map(|(n, len)| u32::from(*n) * u32::from(*len)).sum();
        let four = n >= 256;
        if bits as usize / 8 + 16 + 3 >= n {
            return false;
        }
        let header = self.out.at;
        let header_len = if n < 1024 { 3 } else { 4 };
        self.out.at += header_len;
        let begin = self.out.at;
        let longest = lens.iter().max().copied().unwrap_or_default();
        if !self.weights(&lens, longest) {
            self.out.at = header;
            return false;
        }
        // Codes grow from the longest, which starts at 0.
        let mut next = [0u16; LIMIT + 2];
        for len in &lens {
            if let Some(count) = next.get_mut(usize::from(*len)) {
                *count += 1;
            }
        }
        let mut code = 0;
        for count in next.iter_mut().skip(1).rev() {
            let here = core::mem::replace(count, code);
            code = (code + here) >> 1;
        }
        let mut codes = [0u32; 256];
        for (len, code) in lens.iter().zip(&mut codes).filter(|(len, _)| **len > 0) {
            if let Some(next) = next.get_mut(usize::from(*len)) {
                *code = u32::from(*next) | u32::from(*len) << 16;
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
                    && let Some(to) = super::bytes::room(self.out.bytes, sizes + 2 * i)
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
            if let Some(to) = super::bytes::room(self.out.bytes, header) {
                *to = [a, b, c];
            }
        } else if let Some(to) = super::bytes::room(self.out.bytes, header) {
            *to = (2 | 2 << 2 | n << 4 | size << 18).to_le_bytes();
        }
        true
    }

    /// The weights of all symbols but the last one, as 4 bits each or FSE-coded.
    fn weights(&mut self, lens: &[u8; 256], longest: u8) -> bool {
        let mut weights = [0u8; 256];
        let mut counts = [0u16; LIMIT + 1];
        for (weight, len) in weights.iter_mut().zip(lens).filter(|(_, len)| **len > 0) {
            *weight = longest + 1 - len;
        }
        let n = weights.iter().rposition(|weight| *weight > 0).unwrap_or_default();
        let weights = weights.get(..n).unwrap_or_default();
        for weight in weights {
            if let Some(count) = counts.get_mut(usize::from(*weight)) {
                *count += 1;
            }
        }
        let begin = self.out.at;
        let varied = counts.iter().filter(|count| **count > 0).count() > 1;
        if n > 8 && varied {
            let log = if n > 64 { 6 } else { 5 };
            let shares = fse::shares(&counts, n as u32, log);
            let mut table = fse::Table::new();
            table.build(shares.get(..counts.len()).unwrap_or_default(), log);
            self.out.at += 1;
            let mut bits = self.bits();
            fse::describe(&mut bits, &shares, log);
            // Two states take turns; the first symbol is the first state's.
            let mut states = [0; 2];
            for (i, weight) in weights.iter().enumerate().rev() {
                let Some(state) = states.get_mut(i & 1) else { continue };
                *state = if i + 2 >= n {
                    table.first(*weight)
                } else {
                    table.encode(&mut bits, *state, *weight)
                };
                // At most 6 bits each.
                if i % 8 == 0 {
                    bits.flush();
                }
            }
            bits.flush();
            table.last(&mut bits, states[1]);
            table.last(&mut bits, states[0]);
            bits.seal();
            let size = bits.out.at - begin - 1;
            if size < 128 && (size < n.div_ceil(2) || n > 128) {
                if let Some(to) = self.out.bytes.get_mut(begin) {
                    *to = size as u8;
                }
                self.out.at = begin + 1 + size;
                return true;
            }
            self.out.at = begin;
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
        let (mut lit_table, mut off_table, mut match_table) =
            (fse::Table::new(), fse::Table::new(), fse::Table::new());
        let n = n as u32;
        let a = self.table(&mut lit_table, lit_counts, n, &tables::LITERAL_SHARES, 6);
        let b = self.table(&mut off_table, off_counts, n, &tables::OFFSET_SHARES, 5);
        let c = self.table(&mut match_table, match_counts, n, &tables::MATCH_SHARES, 6);
        if let Some(to) = self.out.bytes.get_mut(modes) {
            *to = a << 6 | b << 4 | c << 2;
        }
        let mut bits = Bits::new(Out { bytes: &mut *self.out.bytes, at: self.out.at });
        let mut all = steps.iter().zip(self.codes.iter()).rev();
        let Some((step, codes)) = all.next() else { return };
        let mut lit = lit_table.first(codes[0]);
        let mut off = off_table.first(codes[1]);
        let mut mat = match_table.first(codes[2]);
        extra(&mut bits, step, codes);
        for (step, codes) in all {
            off = off_table.encode(&mut bits, off, codes[1]);
            mat = match_table.encode(&mut bits, mat, codes[2]);
            lit = lit_table.encode(&mut bits, lit, codes[0]);
            extra(&mut bits, step, codes);
        }
        match_table.last(&mut bits, mat);
        off_table.last(&mut bits, off);
        lit_table.last(&mut bits, lit);
        bits.seal();
        self.out.at = bits.out.at;
    }

    /// Chooses and writes the table of one kind of code; returns its mode.
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
            let kinds = counts.iter().filter(|count| **count > 0).count() as u32;
            let log = (n.ilog2().saturating_sub(2)).clamp(5, fse::MOST_LOG);
            let log = log.max(kinds.ilog2() + 1);
            let shares = fse::shares(counts, n, log);
            let own = fse::cost(counts, &shares, log) / 256 + 5 * kinds;
            let given = fse::cost(counts, predefined, predefined_log) / 256;
            if own < given {
                table.build(&shares, log);
                let mut bits = self.bits();
                fse::describe(&mut bits, &shares, log);
                self.out.at = bits.out.at;
                return 2;
            }
        }
        table.build(predefined, predefined_log);
        0
    }
}

/// The extra bits of a sequence.
#[inline(always)]
fn extra(bits: &mut Bits<'_>, step: &Step, codes: &[u8; 3]) {
    let of =
        |table: &[(u32, u8)], code: u8| table.get(usize::from(code)).copied().unwrap_or_default();
    let (base, count) = of(&tables::LITERALS, codes[0]);
    bits.add(u32::from(step.literals).wrapping_sub(base), count.into());
    bits.flush();
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
#[inline(always)]
fn offset_value(recent: &mut [u32; 3], step: &Step) -> u32 {
    let distance = u32::from(step.distance);
    let [a, b, c] = *recent;
    if step.literals > 0 {
        if distance == a {
            return 1;
        }
        let value = if distance == b {
            2
        } else if distance == c {
            3
        } else {
            distance + 3
        };
        *recent = [distance, a, if value == 2 { c } else { b }];
        return value;
    }
    let value = if distance == b {
        1
    } else if distance == c {
        2
    } else if distance == a - 1 {
        3
    } else {
        distance + 3
    };
    *recent = [distance, a, if value == 1 { c } else { b }];
    value
}
