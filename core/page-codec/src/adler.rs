//! The checksum of zlib streams.

/// The checksum of RFC 1950.
pub(crate) fn adler32(bytes: &[u8]) -> u32 {
    const WIDTH: usize = 32;
    let (mut low, mut high) = (1u32, 0u32);
    // Sums of 4096 bytes fit.
    for part in bytes.chunks(4096) {
        // Per column: the sum, and the sum of the sums before each block. No column waits for
        // another, so these are vectors; those of 16 blocks fit 16 bits.
        for part in part.chunks(16 * WIDTH) {
            let (blocks, rest) = part.as_chunks::<WIDTH>();
            let (mut sums, mut before) = ([0u16; WIDTH], [0u16; WIDTH]);
            for block in blocks {
                for ((sum, before), byte) in sums.iter_mut().zip(&mut before).zip(block) {
                    *before += *sum;
                    *sum += u16::from(*byte);
                }
            }
            high += low * (blocks.len() * WIDTH) as u32;
            for (i, (sum, before)) in sums.iter().zip(&before).enumerate() {
                high += u32::from(*before) * WIDTH as u32 + u32::from(*sum) * (WIDTH - i) as u32;
                low += u32::from(*sum);
            }
            for byte in rest {
                low += u32::from(*byte);
                high += low;
            }
        }
        low %= 65_521;
        high %= 65_521;
    }
    high << 16 | low
}
