//! A block device onto which a dump was written without a file system: its first block says so, and
//! where the dump begins.
//!
//! | at | bytes | what |
//! |--:|--:|---|
//! | 0 | 8 | `TAMISRAW` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | 1 while the dump is written, 2 when it is complete |
//! | 16 | 8 | offset of the dump in bytes |
//!
//! Integers are little-endian; the rest of the block is zero.

/// What the block begins with.
const MAGIC: [u8; 8] = *b"TAMISRAW";
/// The one version that there is.
const VERSION: u32 = 1;
const INCOMPLETE: u32 = 1;
const COMPLETE: u32 = 2;

/// What the first block of such a device says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawTarget {
    /// Whether the dump was written to its end.
    pub complete: bool,
    /// Where the dump begins, in bytes from the start of the device.
    pub base: u64,
}

impl RawTarget {
    /// Bytes that [`RawTarget::parse`] needs.
    pub const LEN: usize = 24;
    /// Bytes of the block, and where `tamis-capture` lets the dump begin.
    pub const BLOCK: usize = 4096;

    /// Reads the start of a device; `None` if it does not begin with such a block.
    pub fn parse(head: &[u8]) -> Option<RawTarget> {
        let (magic, rest) = head.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (status, rest) = rest.split_first_chunk()?;
        let (base, _) = rest.split_first_chunk()?;
        (*magic == MAGIC && u32::from_le_bytes(*version) == VERSION).then_some(RawTarget {
            complete: u32::from_le_bytes(*status) == COMPLETE,
            base: u64::from_le_bytes(*base),
        })
    }

    /// The block to be written.
    pub fn block(self) -> [u8; RawTarget::BLOCK] {
        let status = if self.complete { COMPLETE } else { INCOMPLETE };
        let fields = MAGIC
            .into_iter()
            .chain(VERSION.to_le_bytes())
            .chain(status.to_le_bytes())
            .chain(self.base.to_le_bytes());
        let mut block = [0; RawTarget::BLOCK];
        block.iter_mut().zip(fields).for_each(|(to, byte)| *to = byte);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_laid_out_as_its_table_says_and_reads_back() {
        let target = RawTarget { complete: true, base: 0x1122_3344_5566 };
        let block = target.block();
        assert_eq!(
            block[..RawTarget::LEN],
            *b"TAMISRAW\x01\0\0\0\x02\0\0\0\x66\x55\x44\x33\x22\x11\0\0"
        );
        assert!(block[RawTarget::LEN..].iter().all(|b| *b == 0));
        assert_eq!(RawTarget::parse(&block[..RawTarget::LEN]), Some(target));
        let begun = RawTarget { complete: false, base: 4096 };
        assert_eq!(begun.block()[12], 1);
        assert_eq!(RawTarget::parse(&begun.block()), Some(begun));
    }

    #[test]
    fn other_blocks_are_not_taken_for_one() {
        let block = RawTarget { complete: true, base: 4096 }.block();
        for len in 0..RawTarget::LEN {
            assert_eq!(RawTarget::parse(&block[..len]), None, "{len}");
        }
        for at in 0..12 {
            let mut other = block;
            other[at] ^= 2;
            assert_eq!(RawTarget::parse(&other), None, "{at}");
        }
    }
}
