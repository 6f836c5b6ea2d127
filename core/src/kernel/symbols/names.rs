//! The names of symbols, compressed, and the markers behind them.

use super::tokens::Tokens;
use super::{Failed, Reader, limits};
use crate::error::part;

use super::limits::NAME;

/// Names of one marker: each says where a block of so many begins.
pub(super) const BLOCK: u32 = 256;

const WHAT: &str = "kallsyms_names";

/// Where names are.
pub(super) struct Names {
    /// Virtual address of the first.
    pub(super) at: u64,
    pub(super) count: u32,
    pub(super) tokens: Tokens,
    /// Whether a length may have two bytes (6.1 and later).
    pub(super) wide: bool,
}

/// A name with the letter of its type in front.
pub(super) struct Expanded {
    bytes: [u8; NAME],
    len: usize,
    /// The first byte of the name itself, and the last one.
    ends: (u8, u8),
}

impl Expanded {
    /// An empty one.
    #[inline]
    pub(super) fn new() -> Expanded {
        Expanded { bytes: [0; NAME], len: 0, ends: (0, 0) }
    }

    /// The letter of the type, as nm has it; it is not to be relied on.
    #[inline]
    pub(super) fn letter(&self) -> u8 {
        self.bytes.first().copied().filter(|_| self.len > 0).unwrap_or(b'?')
    }

    /// The name.
    #[inline]
    pub(super) fn name(&self) -> &[u8] {
        part(&self.bytes, self.len.min(1)..self.len)
    }
}

/// A symbol that is looked for by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted<'n> {
    /// Its name.
    pub name: &'n str,
    /// The number of the first symbol of this name.
    pub index: Option<u32>,
    /// Symbols of this name: names of static functions and variables are not unique.
    pub count: u32,
    /// Address of the first.
    pub address: u64,
    /// Whether others have another address.
    pub ambiguous: bool,
}

impl<'n> Wanted<'n> {
    /// Not found yet.
    #[inline]
    pub fn new(name: &'n str) -> Wanted<'n> {
        Wanted { name, index: None, count: 0, address: 0, ambiguous: false }
    }

    /// The address, if there is one, and one only.
    #[inline]
    pub fn unique(&self) -> Option<u64> {
        Some(self.address).filter(|_| self.count > 0 && !self.ambiguous)
    }
}

/// Names that are looked for: a bit for the length, the first and the last byte of each. Few others have the same.
pub(super) struct Filter {
    bits: [u64; 64],
}

impl Filter {
    /// Without a name, no name passes.
    #[inline]
    pub(super) fn new() -> Filter {
        Filter { bits: [0; 64] }
    }

    #[inline]
    fn place(len: usize, first: u8, last: u8) -> (usize, u64) {
        let hash = len * 61 + usize::from(first) * 7 + usize::from(last);
        (hash >> 6 & 63, 1u64 << (hash & 63))
    }

    /// Lets a name pass.
    #[inline]
    pub(super) fn add(&mut self, name: &[u8]) {
        if let (Some(first), Some(last)) = (name.first(), name.last()) {
            let (word, bit) = Filter::place(name.len(), *first, *last);
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
            }
        }
    }
}

impl Names {
    /// Bytes of the length of the name at `offset`, and its tokens.
    #[inline]
    fn length(&self, reader: &mut Reader<'_>, offset: u64) -> Result<(u64, u64), Failed> {
        let at = self.at.wrapping_add(offset);
        let first = reader.u8(WHAT, at)?;
        let (size, len) = if first & 0x80 != 0 && self.wide {
            let high = reader.u8(WHAT, at.wrapping_add(1))?;
            (2, u64::from(first & 0x7f) | u64::from(high) << 7)
        } else {
            (1, first.into())
        };
        // Each has the letter of its type at least.
        if len == 0 || len > 0x3fff || offset > limits::NAMES {
            return Err(reader.malformed(WHAT, at));
        }
        Ok((size, len))
    }

    /// Offset of the name behind the one at `offset`.
    #[inline]
    pub(super) fn skip(&self, reader: &mut Reader<'_>, offset: u64) -> Result<u64, Failed> {
        let (size, len) = self.length(reader, offset)?;
        Ok(offset + size + len)
    }

    /// Passes over the name at `offset`: notes its length and its ends and, if `whole`, all of it. Returns the offset of
    /// the next.
    #[inline]
    fn read(
        &self,
        reader: &mut Reader<'_>,
        offset: u64,
        name: &mut Expanded,
        whole: bool,
    ) -> Result<u64, Failed> {
        let (size, tokens) = self.length(reader, offset)?;
        let (mut at, end) = (offset + size, offset + size + tokens);
        let (mut len, (mut first, mut last)) = (0, (0, 0));
        while at < end {
            let piece = reader.piece(WHAT, self.at.wrapping_add(at))?;
            let tokens = part(piece, 0..piece.len().min((end - at) as usize));
            for token in tokens {
                let string = self.tokens.get(*token);
                if len < 2 {
                    first = string.get(1 - len).copied().unwrap_or(first);
                }
                last = string.last().copied().unwrap_or(last);
                if whole && let Some(slot) = name.bytes.get_mut(len..len + string.len()) {
                    slot.copy_from_slice(string);
                }
                len += string.len();
            }
            at += tokens.len() as u64;
        }
        if len > NAME {
            return Err(reader.malformed("a name in kallsyms", self.at.wrapping_add(offset)));
        }
        (name.len, name.ends) = (len, (first, last));
        Ok(end)
    }

    /// Expands the name at `offset`; returns the offset of the next.
    #[inline]
    pub(super) fn expand(
        &self,
        reader: &mut Reader<'_>,
        offset: u64,
        name: &mut Expanded,
    ) -> Result<u64, Failed> {
        self.read(reader, offset, name, true)
    }

    /// Passes over the name at `offset`, and expands it where it may be one of those looked for. Returns the offset of
    /// the next, and whether it is.
    #[inline]
    pub(super) fn pass(
        &self,
        reader: &mut Reader<'_>,
        offset: u64,
        filter: &Filter,
        name: &mut Expanded,
    ) -> Result<(u64, bool), Failed> {
        let end = self.read(reader, offset, name, false)?;
        let (word, bit) = Filter::place(name.len.saturating_sub(1), name.ends.0, name.ends.1);
        let passes = filter.bits.get(word).is_some_and(|word| word & bit != 0);
        if passes {
            self.read(reader, offset, name, true)?;
        }
        Ok((end, passes))
    }

    /// Calls `each` with every name and its number, until it says that it has seen enough. Returns the offset
    /// behind the last one.
    #[inline]
    pub(super) fn walk(
        &self,
        reader: &mut Reader<'_>,
        each: &mut dyn FnMut(u32, u64, &Expanded) -> bool,
    ) -> Result<u64, Failed> {
        let (mut offset, mut name) = (0, Expanded::new());
        for index in 0..self.count {
            let next = self.expand(reader, offset, &mut name)?;
            if each(index, offset, &name) {
                return Ok(next);
            }
            offset = next;
        }
        Ok(offset)
    }
}
