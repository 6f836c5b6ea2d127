//! The match finder that all encoders share.
//!
//! A page needs no window and no state from page to page: a table of 4096 `u16` positions, found by
//! a hash of the next bytes, cleared for each page. Positions up to 65,535 fit, so pages of up to
//! 64 KiB do.

use super::bytes::{load, load64, try_load};

/// Entries of the table.
const ENTRIES: usize = 4096;
/// The last position of every 4- or 5-byte string seen, by its hash.
pub(super) type Table = [u16; ENTRIES];
/// Bytes of the largest page.
pub(super) const MOST: usize = 1 << 16;

/// Bytes at the end of a page where no match begins. LZ4 asks for twelve; elsewhere they are worth
/// nothing.
const NO_START: u32 = 12;

/// Literals, then a match.
pub(super) struct Sequence {
    /// Where in the page the literals begin.
    pub(super) start: u32,
    /// How many literals; the match begins behind them.
    pub(super) literals: u32,
    /// Bytes of the match, at least 4.
    pub(super) len: u32,
    /// How far back its source is, at least 1.
    pub(super) distance: u32,
}

/// What a format makes of the sequences of a page.
pub(super) trait Emitter {
    /// Furthest match source.
    const FURTHEST: u32;
    /// Bytes at the end of the page that no match covers.
    const TAIL: u32 = 0;
    /// Bytes that the hash covers: 4 or 5.
    const HASHED: u32 = 4;
    /// Misses, as a power of two, after which the search starts to skip positions.
    const PATIENCE: u32 = 5;
    /// Whether to look for a longer match one byte later.
    const LAZY: bool = false;
    /// Whether to look for the last distance first.
    const REPEAT: bool = false;

    /// Takes the next sequence of `page`; false to give the page up.
    fn sequence(&mut self, page: &[u8], sequence: Sequence) -> bool;
}

#[inline(always)]
fn slot<E: Emitter>(bytes: u64) -> usize {
    if E::HASHED == 5 {
        ((bytes << 24).wrapping_mul(889_523_592_379) >> 52) as usize
    } else {
        ((bytes as u32).wrapping_mul(2_654_435_761) >> 20) as usize
    }
}

/// The entry for `bytes`, replaced by `at`.
#[inline(always)]
fn swap<E: Emitter>(table: &mut Table, bytes: u64, at: u32) -> u32 {
    match table.get_mut(slot::<E>(bytes)) {
        Some(entry) => u32::from(core::mem::replace(entry, at as u16)),
        None => 0,
    }
}

/// Bytes that are the same at `at` and at `from`, which is before it, up to `end`.
#[inline(always)]
fn common(page: &[u8], at: u32, from: u32, end: u32) -> u32 {
    let mut n = 0;
    // Most matches end here, without a branch on where.
    if let (Some(a), Some(b)) = (try_load(page, at), try_load(page, from)) {
        let differ = u128::from_le_bytes(a) ^ u128::from_le_bytes(b);
        if differ != 0 {
            return (differ.trailing_zeros() / 8).min(end - at);
        }
        n = 16;
    }
    while let (Some(a), Some(b)) = (try_load(page, at + n), try_load(page, from + n)) {
        let differ = u64::from_le_bytes(a) ^ u64::from_le_bytes(b);
        if differ != 0 {
            return (n + differ.trailing_zeros() / 8).min(end - at);
        }
        n += 8;
    }
    while at + n < end && load::<1>(page, at + n) == load::<1>(page, from + n) {
        n += 1;
    }
    n.min(end - at)
}

/// Whether the low four of `bytes` are also at `from`.
#[inline(always)]
fn again(page: &[u8], from: u32, bytes: u64) -> bool {
    try_load(page, from).is_some_and(|found| u32::from_le_bytes(found) == bytes as u32)
}

/// Looks for a match at `at`, whose bytes are in `bytes`, after the last distance at the next
/// place. Returns where it is and where its source is.
#[inline(always)]
fn look<E: Emitter>(
    page: &[u8],
    table: &mut Table,
    bytes: u64,
    at: u32,
    repeat: u32,
) -> Option<(u32, u32)> {
    let from = swap::<E>(table, bytes, at);
    // One that lies before the page wraps, and is not found.
    let before = (at + 1).wrapping_sub(repeat);
    if E::REPEAT && again(page, before, bytes >> 8) {
        return Some((at + 1, before));
    }
    (again(page, from, bytes) && (E::FURTHEST >= 65_535 || at - from <= E::FURTHEST))
        .then_some((at, from))
}

/// Hands the sequences of a page to `emit`. Returns where the literals behind the last of them
/// begin, or `None` where it gave the page up.
#[inline(always)]
pub(super) fn parse<E: Emitter>(page: &[u8], table: &mut Table, emit: &mut E) -> Option<u32> {
    table.fill(0);
    let len = page.len() as u32;
    let Some(last) = len.checked_sub(NO_START) else { return Some(0) };
    let end = len - E::TAIL;
    let mut anchor = 0u32;
    // Position 0 needs no entry: it is what an empty entry says.
    let mut at = 1u32;
    let (mut repeat, mut before) = (1, 4);
    loop {
        // While positions are not skipped, eight bytes do for four of them.
        let patient = at.saturating_add(1 << E::PATIENCE).min(last.saturating_sub(3));
        let (mut here, mut from) = 'search: {
            while at < patient {
                let bytes = load64(page, at);
                for ahead in 0..4 {
                    let found = look::<E>(page, table, bytes >> (8 * ahead), at + ahead, repeat);
                    if let Some(found) = found {
                        break 'search found;
                    }
                }
                at += 4;
            }
            let mut misses = if at + 4 > last { 1 << E::PATIENCE } else { 2 << E::PATIENCE };
            loop {
                if at > last {
                    return Some(anchor);
                }
                if let Some(found) = look::<E>(page, table, load64(page, at), at, repeat) {
                    break 'search found;
                }
                at += misses >> E::PATIENCE;
                misses += 1;
            }
        };
        let mut size = 4 + common(page, here + 4, from + 4, end);
        if E::LAZY {
            while here < last && size < 64 {
                let next = here + 1;
                let bytes = load64(page, next);
                let old = swap::<E>(table, bytes, next);
                if !again(page, old, bytes) || next - old > E::FURTHEST {
                    break;
                }
                let longer = 4 + common(page, next + 4, old + 4, end);
                if longer <= size {
                    break;
                }
                (here, from, size) = (next, old, longer);
            }
        }
        while here > anchor && from > 0 && load::<1>(page, here - 1) == load::<1>(page, from - 1) {
            here -= 1;
            from -= 1;
            size += 1;
        }
        if repeat != here - from {
            before = core::mem::replace(&mut repeat, here - from);
        }
        let next = Sequence { start: anchor, literals: here - anchor, len: size, distance: repeat };
        anchor = here + size;
        at = anchor;
        if !emit.sequence(page, next) {
            return None;
        }
        if at > last {
            return Some(anchor);
        }
        swap::<E>(table, load64(page, at - 2), at - 2);
        while E::REPEAT && again(page, at.wrapping_sub(before), load64(page, at)) {
            let size = 4 + common(page, at + 4, at - before + 4, end);
            swap::<E>(table, load64(page, at), at);
            core::mem::swap(&mut repeat, &mut before);
            anchor = at + size;
            let next = Sequence { start: at, literals: 0, len: size, distance: repeat };
            if !emit.sequence(page, next) {
                return None;
            }
            at = anchor;
            if at > last {
                return Some(anchor);
            }
        }
    }
}
