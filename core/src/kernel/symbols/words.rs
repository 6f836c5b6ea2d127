//! Names that are looked for among many.

use heapless::Vec;

/// A name that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Word<'n> {
    /// The name.
    pub text: &'n str,
    hash: u32,
    /// Where it is among the strings; 0 where it is not.
    pub offset: u32,
}

/// Up to as many names, each once, by the order of their hashes: 40 bytes for each at most.
#[derive(Clone, Debug, Default)]
pub struct Words<'n, const MOST: usize = 192> {
    words: Vec<Word<'n>, MOST>,
}

/// FNV-1a, byte by byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hash(pub(super) u32);

impl Hash {
    pub(super) const NONE: Hash = Hash(0x811c_9dc5);

    #[inline]
    pub(super) fn with(self, bytes: &[u8]) -> Hash {
        let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        Hash(bytes.iter().fold(self.0, step))
    }
}

impl<'n, const MOST: usize> Words<'n, MOST> {
    /// None.
    #[inline]
    pub fn new() -> Words<'n, MOST> {
        Words { words: Vec::new() }
    }

    /// Adds a name; `false` if there is no room for it.
    #[inline]
    pub fn add(&mut self, text: &'n str) -> bool {
        let hash = Hash::NONE.with(text.as_bytes()).0;
        let at = self.words.partition_point(|word| (word.hash, word.text) < (hash, text));
        match self.words.get(at) {
            Some(word) if word.text == text => true,
            _ => self.words.insert(at, Word { text, hash, offset: 0 }).is_ok(),
        }
    }

    /// Adds all words of a path: `zone.free_area` has two.
    #[inline]
    pub fn add_path(&mut self, path: &'n str) -> bool {
        path.split(['.', '[', ']']).filter(|word| !word.is_empty()).all(|word| self.add(word))
    }

    /// Where a name is among the strings; `None` if it is not, or was not looked for.
    #[inline]
    pub fn offset(&self, text: &str) -> Option<u32> {
        self.words.iter().find(|word| word.text == text).map(|w| w.offset).filter(|o| *o != 0)
    }

    /// The name that is there among the strings.
    #[inline]
    pub fn at(&self, offset: u32) -> Option<&Word<'n>> {
        self.words.iter().find(|word| word.offset == offset)
    }

    /// Notes where a string is, if it is one of the names, and was not found before.
    #[inline]
    pub(super) fn found(&mut self, hash: Hash, bytes: &[u8], offset: u32) {
        let from = self.words.partition_point(|word| word.hash < hash.0);
        let same = self.words.iter_mut().skip(from).take_while(|word| word.hash == hash.0);
        for word in same {
            if word.text.as_bytes() == bytes && word.offset == 0 {
                word.offset = offset;
            }
        }
    }
}
