//! Huffman code lengths of a limited size, in place and without a heap: Moffat and Katajainen,
//! "In-Place Calculation of Minimum-Redundancy Codes" (1995).

use crate::bytes::part;
use core::hint::select_unpredictable;

const LONGEST: usize = 15;
/// Room for all symbols and two more, and a power of two.
const ROOM: usize = 512;
/// Counts below this are sorted by counting, the few above it by insertion.
const COUNTED: usize = 64;

/// Most symbols: literals, end of block, and lengths of deflate.
pub(crate) const SYMBOLS: usize = 288;

/// The code lengths of an alphabet.
pub(crate) struct Lengths {
    /// Of every symbol; 0 for those that do not occur.
    pub(crate) of: [u8; SYMBOLS],
    /// How many symbols have each length.
    pub(crate) by_len: [u16; LONGEST + 1],
    symbols: [u16; SYMBOLS],
    used: usize,
}

impl Lengths {
    /// The symbols that occur, in their order.
    pub(crate) fn symbols(&self) -> &[u16] {
        part(&self.symbols, ..self.used)
    }
}

#[inline(always)]
fn get<T: Copy + Default>(list: &[T; ROOM], at: usize) -> T {
    list.get(at & (ROOM - 1)).copied().unwrap_or_default()
}

#[inline(always)]
fn set<T>(list: &mut [T; ROOM], at: usize, value: T) {
    if let Some(slot) = list.get_mut(at & (ROOM - 1)) {
        *slot = value;
    }
}

/// The code length of every symbol, none longer than `limit`. A lone symbol gets one bit.
///
/// Which symbols occur and how the tree grows cannot be guessed, so none of the loops branches on
/// it.
#[inline(never)]
pub(crate) fn lengths(counts: &[u16], limit: usize) -> Lengths {
    let mut lengths = Lengths { of: [0; _], by_len: [0; _], symbols: [0; _], used: 0 };
    let mut n = 0usize;
    for (symbol, count) in counts.iter().enumerate() {
        if let Some(slot) = lengths.symbols.get_mut(n) {
            *slot = symbol as u16;
        }
        n += usize::from(*count > 0);
    }
    lengths.used = n;
    // Count in the high half, symbol in the low half: in the order of their counts.
    let mut sorted = [0u32; ROOM];
    let mut places = [0u16; COUNTED];
    let count = |symbol: u16| counts.get(usize::from(symbol)).copied().unwrap_or_default();
    let place = |count: u16| usize::from(count).min(COUNTED - 1);
    for symbol in lengths.symbols() {
        if let Some(place) = places.get_mut(place(count(*symbol))) {
            *place += 1;
        }
    }
    let mut total = 0;
    for place in &mut places {
        total += core::mem::replace(place, total);
    }
    let large = places.last().map_or(0, |place| usize::from(*place));
    for symbol in lengths.symbols() {
        let count = count(*symbol);
        if let Some(place) = places.get_mut(place(count)) {
            set(&mut sorted, usize::from(*place), u32::from(count) << 16 | u32::from(*symbol));
            *place += 1;
        }
    }
    for i in large + 1..n {
        let key = get(&sorted, i);
        let mut to = i;
        while to > large && get(&sorted, to - 1) > key {
            let before = get(&sorted, to - 1);
            set(&mut sorted, to, before);
            to -= 1;
        }
        set(&mut sorted, to, key);
    }
    if n < 2 {
        if let Some(len) = lengths.of.get_mut((get(&sorted, 0) & 0xffff) as usize) {
            *len = n as u8;
        }
        if let Some(count) = lengths.by_len.get_mut(n) {
            *count += 1;
        }
        return lengths;
    }
    lengths.by_len = depths(&mut sorted, n);
    shorten(&mut lengths.by_len, limit);
    // The rarest symbols get the longest codes.
    let mut order = sorted.iter().take(n);
    for (len, count) in lengths.by_len.iter().enumerate().rev() {
        for key in order.by_ref().take(usize::from(*count)) {
            if let Some(slot) = lengths.of.get_mut((*key & 0xffff) as usize) {
                *slot = len as u8;
            }
        }
    }
    lengths
}

/// How many leaves of the optimal tree are at each depth, those below 15 counted at 15. The counts
/// in the high halves of the first `n` of `sorted` are in ascending order.
fn depths(sorted: &mut [u32; ROOM], n: usize) -> [u16; LONGEST + 1] {
    // Sentinels: larger than any frequency.
    set(sorted, n, u32::MAX);
    set(sorted, n + 1, u32::MAX);
    let mut weights = [u16::MAX; ROOM];
    let mut parents = [0u16; ROOM];
    let (mut root, mut leaf) = (0, 0);
    for next in 0..n - 1 {
        let of_leaf = |at| get(sorted, at) >> 16;
        let of_root = |at| u32::from(get(&weights, at));
        let (leaf_a, leaf_b) = (of_leaf(leaf), of_leaf(leaf + 1));
        let (root_a, root_b) = (of_root(root), of_root(root + 1));
        // Written again when it is really taken.
        set(&mut parents, root, next as u16);
        set(&mut parents, root + 1, next as u16);
        let (roots, leaves) = (root_b < leaf_a, leaf_b <= root_a);
        let mut sum = select_unpredictable(roots, root_a + root_b, leaf_a + root_a);
        sum = select_unpredictable(leaves, leaf_a + leaf_b, sum);
        let taken = 1 + usize::from(roots) - usize::from(leaves);
        root += taken;
        leaf += 2 - taken;
        set(&mut weights, next, sum as u16);
    }
    let mut inner = [0u16; LONGEST + 2];
    let mut of = [0u8; ROOM];
    for next in (0..n - 1).rev() {
        // The last one is the root, at depth 0.
        let above = get(&of, usize::from(get(&parents, next)));
        let depth = if next == n - 2 { 0 } else { above + 1 };
        set(&mut of, next, depth);
        if let Some(count) = inner.get_mut(usize::from(depth).min(LONGEST + 1)) {
            *count += 1;
        }
    }
    // Every inner node has two children; those that are not inner nodes are leaves.
    let mut of_len = [0u16; LONGEST + 1];
    let mut leaves = 0;
    for (depth, count) in of_len.iter_mut().enumerate().skip(1) {
        let of = |depth: usize| inner.get(depth).copied().unwrap_or_default();
        *count = 2 * of(depth - 1) - of(depth);
        leaves += *count;
    }
    if let Some(count) = of_len.last_mut() {
        *count += n as u16 - leaves;
    }
    of_len
}

/// Moves codes longer than `limit` up, and makes room for them by lengthening short ones.
fn shorten(of_len: &mut [u16; LONGEST + 1], limit: usize) {
    let mut below = 0;
    for count in of_len.iter_mut().skip(limit + 1) {
        below += core::mem::take(count);
    }
    if let Some(count) = of_len.get_mut(limit) {
        *count += below;
    }
    let whole = 1u32 << limit;
    let mut used: u32 = of_len
        .iter()
        .enumerate()
        .skip(1)
        .take(limit)
        .map(|(len, c)| u32::from(*c) << (limit - len))
        .sum();
    while used > whole {
        let Some(short) = (1..limit).rev().find(|len| of_len.get(*len).is_some_and(|c| *c > 0))
        else {
            return;
        };
        let mut step = |len: usize, by: i16| {
            if let Some(count) = of_len.get_mut(len) {
                *count = count.wrapping_add_signed(by);
            }
        };
        step(limit, -1);
        step(short, -1);
        step(short + 1, 2);
        used -= 1;
    }
}

/// The first code of each length, for canonical codes that grow with the length.
pub(crate) fn first_codes(by_len: &[u16; LONGEST + 1]) -> [u16; LONGEST + 1] {
    let mut first = *by_len;
    let mut code = 0u16;
    for count in &mut first {
        let here = core::mem::replace(count, code);
        code = code.wrapping_add(here) << 1;
    }
    first
}
