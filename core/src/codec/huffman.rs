//! Huffman code lengths of a limited size, in place and without a heap: Moffat and Katajainen,
//! "In-Place Calculation of Minimum-Redundancy Codes" (1995).

const LONGEST: usize = 15;
/// Counts up to this are sorted by counting, the few above it by insertion.
const COUNTED: usize = 128;

#[inline(always)]
fn get(list: &[u32; 512], at: usize) -> u32 {
    list.get(at & 511).copied().unwrap_or_default()
}

#[inline(always)]
fn set(list: &mut [u32; 512], at: usize, value: u32) {
    if let Some(slot) = list.get_mut(at & 511) {
        *slot = value;
    }
}

/// Writes the code length of every symbol (0 for those that do not occur), none longer than
/// `limit`. A lone symbol gets one bit. Returns how many symbols occur.
pub(super) fn lengths(counts: &[u16], limit: usize, lengths: &mut [u8]) -> usize {
    // Symbols in the order of their counts: a stable counting sort, then insertion for the large.
    let mut sorted = [0u16; 512];
    let mut weights = [0u32; 512];
    let mut places = [0u16; COUNTED];
    for count in counts.iter().filter(|count| **count > 0) {
        if let Some(place) = places.get_mut(usize::from(*count).min(COUNTED - 1)) {
            *place += 1;
        }
    }
    let mut n = 0usize;
    for place in &mut places {
        n += usize::from(core::mem::replace(place, n as u16));
    }
    let large = places.last().map_or(0, |place| usize::from(*place));
    for (symbol, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        if let Some(place) = places.get_mut(usize::from(*count).min(COUNTED - 1)) {
            let at = usize::from(*place) & 511;
            *place += 1;
            if let Some(slot) = sorted.get_mut(at) {
                *slot = symbol as u16;
            }
            set(&mut weights, at, u32::from(*count));
        }
    }
    for i in large + 1..n {
        let (weight, symbol) = (get(&weights, i), sorted.get(i).copied().unwrap_or_default());
        let mut to = i;
        while to > large && get(&weights, to - 1) > weight {
            let before = get(&weights, to - 1);
            set(&mut weights, to, before);
            let before = sorted.get(to - 1).copied().unwrap_or_default();
            if let Some(slot) = sorted.get_mut(to) {
                *slot = before;
            }
            to -= 1;
        }
        set(&mut weights, to, weight);
        if let Some(slot) = sorted.get_mut(to) {
            *slot = symbol;
        }
    }

    lengths.fill(0);
    if n < 2 {
        if let Some(len) = sorted.first().and_then(|s| lengths.get_mut(usize::from(*s))) {
            *len = n as u8;
        }
        return n;
    }
    let mut of_len = depths(&mut weights, n);
    shorten(&mut of_len, limit);
    // The rarest symbols get the longest codes.
    let mut order = sorted.iter().take(n);
    for (len, count) in of_len.iter().enumerate().rev() {
        for symbol in order.by_ref().take(usize::from(*count)) {
            if let Some(slot) = lengths.get_mut(usize::from(*symbol)) {
                *slot = len as u8;
            }
        }
    }
    n
}

/// How many leaves of the optimal tree are at each depth, those below 15 counted at 15. `weights`
/// are in ascending order.
fn depths(a: &mut [u32; 512], n: usize) -> [u16; LONGEST + 1] {
    let (mut root, mut leaf) = (0, 0);
    for next in 0..n - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            if leaf >= n || (root < next && get(a, root) < get(a, leaf)) {
                sum += get(a, root);
                set(a, root, next as u32);
                root += 1;
            } else {
                sum += get(a, leaf);
                leaf += 1;
            }
        }
        set(a, next, sum);
    }
    set(a, n - 2, 0);
    for next in (0..n - 2).rev() {
        let depth = get(a, get(a, next) as usize) + 1;
        set(a, next, depth);
    }
    let mut of_len = [0u16; LONGEST + 1];
    let (mut room, mut depth, mut inner) = (1usize, 0usize, n - 1);
    while room > 0 && depth < 512 {
        let mut used = 0;
        while inner > 0 && get(a, inner - 1) as usize == depth {
            used += 1;
            inner -= 1;
        }
        if let Some(count) = of_len.get_mut(depth.min(LONGEST)) {
            *count += room.saturating_sub(used) as u16;
        }
        room = 2 * used;
        depth += 1;
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
pub(super) fn first_codes(lengths: &[u8]) -> [u16; LONGEST + 1] {
    let mut of_len = [0u16; LONGEST + 1];
    for len in lengths.iter().filter(|len| **len > 0) {
        if let Some(count) = of_len.get_mut(usize::from(*len)) {
            *count += 1;
        }
    }
    let mut code = 0u16;
    for count in &mut of_len {
        let here = core::mem::replace(count, code);
        code = code.wrapping_add(here) << 1;
    }
    // Each entry held the code before the shift of its own length.
    of_len
}
