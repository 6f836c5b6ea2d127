//! What stands in the pages of a synthetic machine.

/// Bytes of a page of all machines but those that say otherwise.
pub const PAGE: usize = 4096;

/// Contents of one page, computed from its frame number so that no copy has to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zero bytes only.
    Zero,
    /// The page's [`marker`], repeated: shrinks well and names the page it came from.
    Stamp,
    /// The marker once, then lines of words.
    Text,
    /// The marker once, then bytes that no encoder shrinks.
    Noise,
    /// Zero bytes but for the very last one.
    LastByte,
    /// Zero bytes but for the first one.
    FirstByte,
}

/// Sixteen bytes that occur in no page but this one: `TAMISPFN` and the frame number in hex, its lower 32 bits.
pub fn marker(pfn: u64) -> [u8; 16] {
    let text = format!("TAMISPFN{:08x}", pfn as u32);
    let mut out = [0; 16];
    out.copy_from_slice(text.as_bytes());
    out
}

/// A small generator (xorshift64*), the same on every machine.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// Any seed will do.
    pub fn new(seed: u64) -> Self {
        Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Content {
    /// Whether the page holds zero bytes only.
    pub fn is_zero(self) -> bool {
        self == Content::Zero
    }

    /// The bytes of page `pfn`, as many as a page has.
    pub fn bytes(self, pfn: u64, size: usize) -> Vec<u8> {
        const WORDS: [&[u8]; 8] = [
            b"kernel ",
            b"memory ",
            b"process ",
            b"the quick brown fox ",
            b"0x0000000000000000 ",
            b"inode cache entry\n",
            b"null\0\0\0\0",
            b"page ",
        ];
        let mut page = vec![0; size];
        match self {
            Content::Zero => {}
            Content::Stamp => {
                for chunk in page.chunks_exact_mut(16) {
                    chunk.copy_from_slice(&marker(pfn));
                }
            }
            Content::Text => {
                let mut noise = Noise::new(pfn + 1);
                page[..16].copy_from_slice(&marker(pfn));
                let mut at = 16;
                while at < size {
                    let word = WORDS[(noise.next_u64() >> 40) as usize % WORDS.len()];
                    let n = word.len().min(size - at);
                    page[at..at + n].copy_from_slice(&word[..n]);
                    at += n;
                }
            }
            Content::Noise => {
                let mut noise = Noise::new(pfn + 1);
                for chunk in page.chunks_exact_mut(8) {
                    chunk.copy_from_slice(&noise.next_u64().to_le_bytes());
                }
                page[..16].copy_from_slice(&marker(pfn));
            }
            Content::LastByte => page[size - 1] = 1,
            Content::FirstByte => page[0] = 0x80,
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_what_they_say() {
        for content in
            [Content::Stamp, Content::Text, Content::Noise, Content::LastByte, Content::FirstByte]
        {
            assert!(content.bytes(7, PAGE).iter().any(|&b| b != 0), "{content:?}");
        }
        assert_eq!(Content::Zero.bytes(7, PAGE), [0; PAGE]);
        assert_eq!(&Content::Noise.bytes(0x1234, PAGE)[..16], b"TAMISPFN00001234");
        assert_ne!(Content::Noise.bytes(1, PAGE)[16..], Content::Noise.bytes(2, PAGE)[16..]);
    }
}
