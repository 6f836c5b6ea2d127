//! Codes of lengths, and the predefined distributions (RFC 8878, sections 3.1.1.3.2.1 and
//! 3.1.1.3.2.2).

/// First literal length and extra bits of each code.
pub(crate) const LITERALS: [(u32, u8); 36] = codes(16, 0, &[1, 1, 1, 1, 2, 2, 3, 3, 4, 6]);
/// First match length and extra bits of each code.
pub(crate) const MATCHES: [(u32, u8); 53] = codes(32, 3, &[1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7]);

/// `plain` codes of one value from `first`, then those with `extra` bits, then one bit more each.
const fn codes<const N: usize>(plain: usize, first: u32, extra: &[u8]) -> [(u32, u8); N] {
    let mut codes = [(0, 0); N];
    let mut base = first;
    let mut bits = 0;
    let mut i = 0;
    let mut rest: &mut [(u32, u8)] = &mut codes;
    let mut extra = extra;
    while let Some((code, more)) = rest.split_first_mut() {
        if i >= plain {
            match extra.split_first() {
                Some((next, more)) => (bits, extra) = (*next, more),
                None => bits += 1,
            }
        }
        *code = (base, bits);
        base += 1 << bits;
        rest = more;
        i += 1;
    }
    codes
}

/// Predefined shares of literal length codes, out of 64.
pub(crate) const LITERAL_SHARES: [i16; 36] = [
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
    -1, -1, -1, -1,
];
/// Predefined shares of match length codes, out of 64.
pub(crate) const MATCH_SHARES: [i16; 53] = [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
];
/// Predefined shares of offset codes, out of 32.
pub(crate) const OFFSET_SHARES: [i16; 29] =
    [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1];

/// Kinds of weights of Huffman codes of at most 11 bits.
pub(crate) const WEIGHTS: usize = 12;
/// Shares of weights, out of 64: three clusters of what pages of kernels have. Where few bytes
/// occur, most weights are 0.
pub(crate) const WEIGHT_SHARES: [[i16; WEIGHTS]; 3] = [
    [47, 3, 3, 2, 1, 1, 1, 2, 1, 1, 1, 1],
    [28, 14, 8, 5, 2, 1, 1, 1, 1, 1, 1, 1],
    [5, 10, 15, 14, 9, 4, 2, 1, 1, 1, 1, 1],
];

/// The code of a literal length below 64.
pub(crate) const LITERAL_CODES: [u8; 64] = lookup(&LITERALS);
/// The code of a match length below 131, by what it exceeds 3.
pub(crate) const MATCH_CODES: [u8; 128] = lookup(&MATCHES);

const fn lookup<const N: usize>(codes: &[(u32, u8)]) -> [u8; N] {
    let mut table = [0; N];
    let mut rest: &mut [u8] = &mut table;
    let mut codes = codes;
    let mut code = 0;
    let mut left = 0;
    while let Some((slot, more)) = rest.split_first_mut() {
        if left == 0
            && let Some(((_, bits), later)) = codes.split_first()
        {
            left = 1u32 << *bits;
            codes = later;
            code += 1;
        }
        *slot = code - 1;
        left -= 1;
        rest = more;
    }
    table
}
