//! Members of a `struct page`, of one kind of machine or of any.

use crate::endian::{Endian, Word};

/// Reads members of a `struct page`; what lies outside reads as 0.
pub(super) trait Fields {
    fn order(&self) -> (Endian, Word);

    #[inline(always)]
    fn word(&self, page: &[u8], at: usize) -> u64 {
        let (endian, word) = self.order();
        endian.word(word, page, at).unwrap_or(0)
    }

    #[inline(always)]
    fn u32(&self, page: &[u8], at: usize) -> u32 {
        self.order().0.u32(page, at).unwrap_or(0)
    }

    #[inline(always)]
    fn short(&self, page: &[u8], at: usize) -> u64 {
        self.order().0.u16(page, at).unwrap_or(0).into()
    }

    #[inline(always)]
    fn byte(&self, page: &[u8], at: usize) -> u64 {
        page.get(at).copied().unwrap_or(0).into()
    }
}

/// Little-endian 64-bit machines, with nothing left to decide at run time.
pub(super) struct Le64;

impl Fields for Le64 {
    #[inline(always)]
    fn order(&self) -> (Endian, Word) {
        (Endian::Little, Word::Bits64)
    }
}

/// Any other machine.
pub(super) struct Any {
    pub(super) endian: Endian,
    pub(super) word: Word,
}

impl Fields for Any {
    #[inline(always)]
    fn order(&self) -> (Endian, Word) {
        (self.endian, self.word)
    }
}
