//! Carry-less multiplication, for checksums.

use tamis_core::checksum::Fold;

/// What makes checksums fast on this processor, if it can.
#[cfg(target_arch = "x86_64")]
pub fn crc_fold() -> Option<Fold> {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    const PCLMULQDQ: u32 = 1 << 1;
    /// With the one that says that the system saves registers of 256 bits.
    const AVX: u32 = 1 << 27 | 1 << 28;
    const AVX2: u32 = 1 << 5;
    const VPCLMULQDQ: u32 = 1 << 10;
    let (first, seventh) = (__cpuid(1).ecx, __cpuid_count(7, 0));
    let is_wide = first & AVX == AVX && seventh.ebx & AVX2 != 0 && seventh.ecx & VPCLMULQDQ != 0;
    // SAFETY: the system lets programs ask that, as it says.
    if is_wide && first & PCLMULQDQ != 0 && unsafe { saves_wide() } {
        return Some(|crc, blocks| {
            // SAFETY: the processor has the instructions, and the system saves their registers; see above.
            unsafe { fold_wide(crc, blocks) }
        });
    }
    (first & PCLMULQDQ != 0).then_some(|crc, blocks| {
        // SAFETY: the processor has the one instruction that not every x86_64 has; `crc_fold` is the only way here.
        unsafe { fold(crc, blocks) }
    })
}

/// Whether the system saves registers of 256 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "xsave")]
fn saves_wide() -> bool {
    const SSE_AND_AVX: u64 = 6;
    // SAFETY: register 0 is there wherever the instruction is.
    unsafe { core::arch::x86_64::_xgetbv(0) & SSE_AND_AVX == SSE_AND_AVX }
}

/// What makes checksums fast on this processor: nothing that this program knows.
#[cfg(not(target_arch = "x86_64"))]
pub fn crc_fold() -> Option<Fold> {
    None
}

/// The remainder of a block times x to the power of 128 is that of its lower half times the first of these, and its
/// upper half times the second, bits reversed.
#[cfg(target_arch = "x86_64")]
const BY_ONE: [i64; 2] = [0x1_7519_97d0, 0xccaa_009e];

/// The same for x to the power of 512, which is four blocks.
#[cfg(target_arch = "x86_64")]
const BY_FOUR: [i64; 2] = [0x1_5444_2bd4, 0x1_c6e4_1596];

/// The same for x to the power of 1024, which is eight blocks.
#[cfg(target_arch = "x86_64")]
const BY_EIGHT: [i64; 2] = [0x1_e88e_f372, 0x1_4a7f_e880];

/// As [`fold`], eight blocks at a time, two in a register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
fn fold_wide(crc: u32, blocks: &[[u8; 16]]) -> [u8; 16] {
    use core::arch::x86_64::*;
    let (groups, rest) = blocks.as_chunks::<8>();
    let Some((first, groups)) = groups.split_first() else { return fold(crc, blocks) };
    let load = |group: &[[u8; 16]; 8], at: usize| {
        let (pairs, _) = group.as_chunks::<2>();
        let pair = pairs.get(at).unwrap_or(&[[0; 16]; 2]);
        // SAFETY: 32 bytes, which need no alignment.
        unsafe { _mm256_loadu_si256(pair.as_ptr().cast()) }
    };
    let [low, high] = BY_EIGHT;
    let powers = _mm256_set_epi64x(high, low, high, low);
    let before = _mm256_zextsi128_si256(_mm_cvtsi32_si128(crc as i32));
    let mut all =
        [_mm256_xor_si256(load(first, 0), before), load(first, 1), load(first, 2), load(first, 3)];
    for group in groups {
        for (at, two) in all.iter_mut().enumerate() {
            let low = _mm256_clmulepi64_epi128::<0x00>(*two, powers);
            let high = _mm256_clmulepi64_epi128::<0x11>(*two, powers);
            *two = _mm256_xor_si256(_mm256_xor_si256(low, high), load(group, at));
        }
    }
    // What is left, with these in front of it.
    let mut left = [[0; 16]; 15];
    for (pair, two) in left.as_chunks_mut::<2>().0.iter_mut().zip(all) {
        // SAFETY: 32 bytes, which need no alignment.
        unsafe { _mm256_storeu_si256(pair.as_mut_ptr().cast(), two) }
    }
    for (to, block) in left.iter_mut().skip(8).zip(rest) {
        *to = *block;
    }
    fold(0, left.get(..8 + rest.len()).unwrap_or(&left))
}

/// Four blocks at a time, each with a remainder of its own: a multiplication waits for the last one of its own
/// remainder only.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "pclmulqdq")]
fn fold(crc: u32, blocks: &[[u8; 16]]) -> [u8; 16] {
    use core::arch::x86_64::*;
    /// What follows `$all` by as many blocks as `$powers` are of, folded into it.
    macro_rules! next {
        ($all:expr, $powers:expr, $block:expr) => {{
            let low = _mm_clmulepi64_si128::<0x00>($all, $powers);
            let high = _mm_clmulepi64_si128::<0x11>($all, $powers);
            _mm_xor_si128(_mm_xor_si128(low, high), $block)
        }};
    }
    macro_rules! load {
        ($block:expr) => {{
            let block: &[u8; 16] = $block;
            // SAFETY: 16 bytes, which need no alignment.
            unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
        }};
    }
    let by = |[low, high]: [i64; 2]| _mm_set_epi64x(high, low);
    let (by_one, by_four) = (by(BY_ONE), by(BY_FOUR));
    let before = _mm_cvtsi32_si128(crc as i32);
    let (groups, mut rest) = blocks.as_chunks::<4>();
    let mut all = if let Some(([a, b, c, d], groups)) = groups.split_first() {
        let (mut a, mut b) = (_mm_xor_si128(load!(a), before), load!(b));
        let (mut c, mut d) = (load!(c), load!(d));
        for [next_a, next_b, next_c, next_d] in groups {
            a = next!(a, by_four, load!(next_a));
            b = next!(b, by_four, load!(next_b));
            c = next!(c, by_four, load!(next_c));
            d = next!(d, by_four, load!(next_d));
        }
        next!(next!(next!(a, by_one, b), by_one, c), by_one, d)
    } else if let Some((first, others)) = rest.split_first() {
        rest = others;
        _mm_xor_si128(load!(first), before)
    } else {
        before
    };
    for block in rest {
        all = next!(all, by_one, load!(block));
    }
    let low = _mm_cvtsi128_si64(all) as u64;
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(all, all)) as u64;
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::vec::Vec;
    use tamis_core::checksum::Crc32;

    #[test]
    fn folding_makes_the_same_checksums() {
        let fold = crc_fold();
        assert!(fold.is_some(), "every x86_64 since 2010 can do it");
        let plain = Crc32::new();
        // Whatever this processor has, with four blocks at a time as well.
        // SAFETY: it has the instruction, as was seen.
        let four: Fold = |crc, blocks| unsafe { super::fold(crc, blocks) };
        let bytes: Vec<u8> = (0..5000u32).map(|n| ((n * n) >> 5) as u8).collect();
        for len in (0..300).chain([4095, 4096, 4097]) {
            for from in [0, 1, 7] {
                let bytes = &bytes[from..from + len];
                let wanted = plain.update(0x1234_5678, bytes);
                for fold in [fold, Some(four)] {
                    let folding = Crc32::folding(fold);
                    assert_eq!(folding.update(0x1234_5678, bytes), wanted, "{len} bytes");
                }
            }
        }
    }
}
