//! The names of symbols, compressed, and the markers behind them.

use super::tokens::Tokens;
use super::{Reader, SymbolsError, limits};
use crate::error::part;
use crate::units::VirtAddr;

use super::limits::NAME;

/// Names of one marker: each says where a block of so many begins.
pub(super) const BLOCK: u32 = 256;

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
}

impl Expanded {
    /// An empty one.
    pub(super) fn new() -> Expanded {
        Expanded { bytes: [0; NAME], len: 0 }
    }

    /// The letter of the type, as nm has it; it is not to be relied on.
    pub(super) fn letter(&self) -> u8 {
        self.bytes.first().copied().filter(|_| self.len > 0).unwrap_or(b'?')
    }

    /// The name.
    pub(super) fn name(&self) -> &[u8] {
        part(&self.bytes, self.len.min(1)..self.len)
    }
}

impl Names {
    /// Bytes of the length of the name at `offset`, and its tokens.
    fn length(&self, reader: &mut Reader<'_>, offset: u64) -> Result<(u64, u64), SymbolsError> {
        const WHAT: &str = "kallsyms_names";
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
            return Err(SymbolsError::Malformed { what: WHAT, at: VirtAddr(at) });
        }
        Ok((size, len))
    }

    /// Offset of the name behind the one at `offset`.
    pub(super) fn skip(&self, reader: &mut Reader<'_>, offset: u64) -> Result<u64, SymbolsError> {
        let (size, len) = self.length(reader, offset)?;
        Ok(offset + size + len)
    }

    /// Expands the name at `offset`; returns the offset of the next.
    pub(super) fn expand(
        &self,
        reader: &mut Reader<'_>,
        offset: u64,
        name: &mut Expanded,
    ) -> Result<u64, SymbolsError> {
        const WHAT: &str = "kallsyms_names";
        let (size, len) = self.length(reader, offset)?;
        let end = offset + size + len;
        let mut at = offset + size;
        name.len = 0;
        while at < end {
            let piece = reader.piece(WHAT, self.at.wrapping_add(at))?;
            let tokens = part(piece, 0..piece.len().min((end - at) as usize));
            for token in tokens {
                let string = self.tokens.get(*token);
                let slot = name.bytes.get_mut(name.len..name.len + string.len());
                let Some(slot) = slot else {
                    let at = VirtAddr(self.at.wrapping_add(offset));
                    return Err(SymbolsError::Malformed { what: "a name in kallsyms", at });
                };
                slot.copy_from_slice(string);
                name.len += string.len();
            }
            at += tokens.len() as u64;
        }
        Ok(end)
    }

    /// Calls `each` with every name and its number, until it says that it has seen enough. Returns the offset
    /// behind the last one.
    pub(super) fn walk(
        &self,
        reader: &mut Reader<'_>,
        each: &mut dyn FnMut(u32, u64, &Expanded) -> bool,
    ) -> Result<u64, SymbolsError> {
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

/// Reads all names, which `see` gets, looks for the markers behind them, and holds the two against each other. Returns where the
/// markers are.
pub(super) fn finish(
    reader: &mut Reader<'_>,
    names: &Names,
    see: &mut dyn FnMut(u32, &[u8]),
) -> Result<u64, SymbolsError> {
    if names.count == 0 || names.count > limits::SYMBOLS {
        let what = "kallsyms_num_syms";
        return Err(SymbolsError::Malformed { what, at: VirtAddr(names.at) });
    }
    let (mut second, mut last) = (None, 0);
    let end = names.walk(reader, &mut |index, offset, name| {
        if index == BLOCK {
            second = Some(offset);
        }
        if index % BLOCK == 0 {
            last = offset;
        }
        see(index, name.name());
        false
    })?;
    let end = names.at.wrapping_add(end);
    let blocks = u64::from(names.count.div_ceil(BLOCK));
    for align in [4, 8] {
        let at = end.wrapping_add(align - 1) & !(align - 1);
        let marker = |reader: &mut Reader<'_>, index: u64| {
            reader.u32("kallsyms_markers", at.wrapping_add(4 * index)).map(u64::from)
        };
        if marker(reader, 0)? == 0
            && second.map_or(Ok(true), |offset| Ok(marker(reader, 1)? == offset))?
            && marker(reader, blocks - 1)? == last
        {
            return Ok(at);
        }
    }
    Err(SymbolsError::Malformed { what: "kallsyms_markers", at: VirtAddr(end) })
}
