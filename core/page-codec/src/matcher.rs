//! The match finder that all encoders share.
//!
//! A page needs no window and no state from page to page: a table of 4096 `u16` positions, found by
//! a hash of the next bytes, cleared for each page. Positions up to 65,535 fit, so pages of up to
//! 64 KiB do.

use crate::bytes::{load, part, try_load};

/// Entries of the table.
const ENTRIES: usize = 4096;
/// The last position of every string of 4 to 6 bytes seen, by its hash.
pub(crate) type Table = [u16; ENTRIES];
/// Bytes of the largest page.
pub(crate) const MOST: usize = 1 << 16;

/// Literals, then a match.
pub(crate) struct Sequence {
    /// Where in the page the literals begin.
    pub(crate) start: u32,
    /// How many literals; the match begins behind them.
    pub(crate) literals: u32,
    /// Bytes of the match, at least 4.
    pub(crate) len: u32,
    /// How far back its source is, at least 1.
    pub(crate) distance: u32,
}

/// What a format makes of the sequences of a page.
pub(crate) trait Emitter {
    /// Furthest match source.
    const FURTHEST: u32;
    /// Bytes at the end of the page that no match covers.
    const TAIL: u32 = 0;
    /// Bytes that the hash covers: 4 to 6. More of them make fewer and longer matches.
    const HASHED: u32 = 5;
    /// Misses, as a power of two, after which the search starts to skip positions.
    const PATIENCE: u32 = 6;
    /// Whether to look for a longer match one byte later.
    const LAZY: bool = false;
    /// Whether matches are made longer towards the front.
    const BACKWARD: bool = true;
    /// How many positions before the end of a match get an entry.
    const ENTERED: u32 = 1;
    /// Whether to look for the last distance first.
    const REPEAT: bool = false;

    /// Takes the next sequence of `page`; false to give the page up.
    fn sequence(&mut self, page: &[u8], sequence: Sequence) -> bool;
}

#[inline(always)]
fn slot<E: Emitter>(bytes: u64) -> usize {
    match E::HASHED {
        6 => ((bytes << 16).wrapping_mul(227_718_039_650_203) >> 52) as usize,
        5 => ((bytes << 24).wrapping_mul(889_523_592_379) >> 52) as usize,
        _ => ((bytes as u32).wrapping_mul(2_654_435_761) >> 20) as usize,
    }
}

/// The entry at `place`, replaced by `at`.
#[inline(always)]
fn swap(table: &mut Table, place: usize, at: u32) -> u32 {
    match table.get_mut(place) {
        Some(entry) => u32::from(core::mem::replace(entry, at as u16)),
        None => 0,
    }
}

/// Bytes that are the same at `at` and at `from`, which is before it, up to the tail.
#[inline(always)]
fn common<E: Emitter>(page: &[u8], at: u32, from: u32) -> u32 {
    let most = |n: u32| if E::TAIL == 0 { n } else { n.min(page.len() as u32 - E::TAIL - at) };
    let mut n = 0;
    // Most matches end here, without a branch on where.
    if let (Some(a), Some(b)) = (try_load(page, at), try_load(page, from)) {
        let differ = u128::from_le_bytes(a) ^ u128::from_le_bytes(b);
        if differ != 0 {
            return most(differ.trailing_zeros() / 8);
        }
        n = 16;
    }
    most(more(page, at, from, n))
}

/// [`common`] beyond `n` bytes.
#[inline(never)]
fn more(page: &[u8], at: u32, from: u32, n: u32) -> u32 {
    let a = part(page, (at + n) as usize..);
    let b = part(page, (from + n) as usize..);
    let mut len = 0;
    for (a, b) in a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0) {
        if a != b {
            break;
        }
        len += 32;
    }
    let (a, b) = (part(a, len..), part(b, len..));
    let n = n + len as u32;
    let mut len = 0;
    for (a, b) in a.as_chunks().0.iter().zip(b.as_chunks().0) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return n + len + differ.trailing_zeros() / 8;
        }
        len += 8;
    }
    let rest = a.iter().zip(b).skip(len as usize);
    n + len + rest.take_while(|(a, b)| a == b).count() as u32
}

/// Bytes that are the same before `at` and before `from`: at most eight, and at most what there is.
#[inline(always)]
fn before(page: &[u8], at: u32, from: u32) -> u32 {
    match (try_load(page, at.wrapping_sub(8)), try_load(page, from.wrapping_sub(8))) {
        // Without a branch on how many.
        (Some(a), Some(b)) => {
            let differ = u64::from_le_bytes(a) ^ u64::from_le_bytes(b);
            differ.leading_zeros() / 8
        }
        _ => {
            let mut n = 0;
            while n < from && load::<1>(page, at - 1 - n) == load::<1>(page, from - 1 - n) {
                n += 1;
            }
            n
        }
    }
}

/// Whether the low four of `bytes` are also at `from`.
#[inline(always)]
fn again(page: &[u8], from: u32, bytes: u64) -> bool {
    try_load(page, from).is_some_and(|found| u32::from_le_bytes(found) == bytes as u32)
}

/// Hands the sequences of a page to `emit`. Returns where the literals behind the last of them
/// begin, or `None` where it gave the page up.
#[inline(always)]
pub(crate) fn parse<E: Emitter>(page: &[u8], table: &mut Table, emit: &mut E) -> Option<u32> {
    table.fill(0);
    // Eight bytes can be read of this wherever a match may begin. LZ4 asks for twelve more behind
    // that place; no match begins in a page that is too short.
    let keep = if E::TAIL > 0 { 4 } else { 0 };
    let starts = page.get(..page.len().wrapping_sub(keep)).unwrap_or(&[]);
    let mut anchor = 0u32;
    // Position 0 needs no entry: it is what an empty entry says.
    let mut at = 1u32;
    let (mut repeat, mut other) = (1, 4);
    loop {
        let mut misses = 1 << E::PATIENCE;
        let (mut here, mut from) = loop {
            let Some(bytes) = try_load(starts, at) else { return Some(anchor) };
            let bytes = u64::from_le_bytes(bytes);
            let from = swap(table, slot::<E>(bytes), at);
            if E::REPEAT {
                // One that lies before the page wraps, and is not found.
                let before = (at + 1).wrapping_sub(repeat);
                if again(page, before, bytes >> 8) {
                    break (at + 1, before);
                }
            }
            if again(page, from, bytes) && (E::FURTHEST >= 65_535 || at - from <= E::FURTHEST) {
                break (at, from);
            }
            at += misses >> E::PATIENCE;
            misses += 1;
        };
        let mut size = 4 + common::<E>(page, here + 4, from + 4);
        if E::LAZY {
            while size < 32 {
                let next = here + 1;
                let Some(bytes) = try_load(starts, next) else { break };
                let bytes = u64::from_le_bytes(bytes);
                let old = swap(table, slot::<E>(bytes), next);
                if !again(page, old, bytes) || next - old > E::FURTHEST {
                    break;
                }
                let longer = 4 + common::<E>(page, next + 4, old + 4);
                if longer <= size {
                    break;
                }
                (here, from, size) = (next, old, longer);
            }
        }
        if E::BACKWARD {
            let back = before(page, here, from).min(here - anchor);
            here -= back;
            from -= back;
            size += back;
        }
        if repeat != here - from {
            other = core::mem::replace(&mut repeat, here - from);
        }
        let next = Sequence { start: anchor, literals: here - anchor, len: size, distance: repeat };
        anchor = here + size;
        at = anchor;
        if !emit.sequence(page, next) {
            return None;
        }
        // Few entries near the end of the match: more cost more than they find.
        for back in 1..=E::ENTERED {
            let Some(bytes) = try_load(starts, at - back) else { break };
            swap(table, slot::<E>(u64::from_le_bytes(bytes)), at - back);
        }
        while E::REPEAT
            && let Some(bytes) = try_load(starts, at).map(u64::from_le_bytes)
            && again(page, at.wrapping_sub(other), bytes)
        {
            swap(table, slot::<E>(bytes), at);
            core::mem::swap(&mut repeat, &mut other);
            let size = 4 + common::<E>(page, at + 4, at - repeat + 4);
            let next = Sequence { start: at, literals: 0, len: size, distance: repeat };
            at += size;
            anchor = at;
            if !emit.sequence(page, next) {
                return None;
            }
        }
    }
}
