//! LZ4 blocks with lz4_flex.

use super::{Encoder, Stored};
use crate::wire::page_desc;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

/// Compresses each page into an LZ4 block of its own. The match table (8 KiB) is inline; nothing
/// is on the heap.
pub struct Lz4 {
    table: CompressTable,
}

impl Lz4 {
    /// For pages of `page_size` bytes.
    pub fn new(page_size: usize) -> Lz4 {
        let small = page_size < usize::from(u16::MAX);
        Lz4 { table: if small { CompressTable::small() } else { CompressTable::large() } }
    }
}

impl Encoder for Lz4 {
    fn flag(&self) -> u32 {
        page_desc::LZ4
    }

    fn bound(&self, page_size: usize) -> usize {
        get_maximum_output_size(page_size)
    }

    fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Stored {
        match compress_into_with_table(page, out, &mut self.table) {
            Ok(len) if len < page.len() => Stored::Compressed(len),
            _ => Stored::Raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[test]
    fn pages_of_every_size_read_back() {
        for size in [4096, 16384, 65536] {
            let mut codec = Lz4::new(size);
            let mut out = vec![0; codec.bound(size)];
            let text: Vec<u8> = (0..size).map(|i| (i / 9 % 50) as u8).collect();
            let mut first = None;
            for page in [&text, &vec![0xab; size], &text] {
                let Stored::Compressed(len) = codec.encode(page, &mut out) else {
                    panic!("{size}: did not shrink");
                };
                let mut back = vec![0; size];
                lz4_flex::block::decompress_into(&out[..len], &mut back).unwrap();
                assert_eq!(back, *page);
                if *page == text {
                    let packed = first.get_or_insert_with(|| out[..len].to_vec());
                    assert_eq!(out[..len], packed[..]);
                }
            }
        }
    }
}
