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

/// Up to as many names, each once: 32 bytes for each, and 512 more.
#[derive(Clone, Debug)]
pub struct Words<'n, const MOST: usize = 192> {
    words: Vec<Word<'n>, MOST>,
    /// A bit for the hash of each.
    filter: [u64; 64],
}

impl<const MOST: usize> Default for Words<'_, MOST> {
    fn default() -> Self {
        Words::new()
    }
}

/// The first word of a path, and those behind the dot.
#[inline]
pub(super) fn cut(path: &str) -> (&str, &str) {
    let dot = path.bytes().position(|byte| byte == b'.').unwrap_or(path.len());
    (path.get(..dot).unwrap_or(""), path.get(dot + 1..).unwrap_or(""))
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
        Words { words: Vec::new(), filter: [0; 64] }
    }

    /// The word of the filter for a hash, and the bit in it.
    #[inline]
    fn bit(hash: u32) -> (usize, u64) {
        ((hash >> 6 & 63) as usize, 1 << (hash & 63))
    }

    /// Adds a name; `false` if there is no room for it.
    #[inline]
    pub fn add(&mut self, text: &'n str) -> bool {
        if self.words.iter().any(|word| word.text == text) {
            return true;
        }
        let hash = Hash::NONE.with(text.as_bytes()).0;
        let (index, bit) = Self::bit(hash);
        if let Some(word) = self.filter.get_mut(index) {
            *word |= bit;
        }
        self.words.push(Word { text, hash, offset: 0 }).is_ok()
    }

    /// Adds all words of a path: `zone.free_area` has two.
    #[inline]
    pub fn add_path(&mut self, path: &'n str) -> bool {
        let (mut rest, mut room) = (path, true);
        while !rest.is_empty() {
            let word;
            (word, rest) = cut(rest);
            room &= self.add(word);
        }
        room
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
        let (index, bit) = Self::bit(hash.0);
        if self.filter.get(index).is_none_or(|word| word & bit == 0) {
            return;
        }
        for word in &mut self.words {
            if word.hash == hash.0 && word.text.as_bytes() == bytes && word.offset == 0 {
                word.offset = offset;
            }
        }
    }
}
