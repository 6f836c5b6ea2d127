//! The dump level.

/// The dump level: which classes are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Level(u8);

impl Level {
    /// Levels are 0 to 31.
    pub fn new(level: u8) -> Option<Level> {
        (level <= 31).then_some(Level(level))
    }

    /// The number of it.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Bit 1: pages of zeros.
    pub fn zero(self) -> bool {
        self.0 & 1 != 0
    }

    /// Bit 2: page cache without private data.
    pub fn cache(self) -> bool {
        self.0 & 2 != 0
    }

    /// Bit 4: all page cache.
    pub fn cache_private(self) -> bool {
        self.0 & 4 != 0
    }

    /// Bit 8: memory of processes.
    pub fn user(self) -> bool {
        self.0 & 8 != 0
    }

    /// Bit 16: free memory.
    pub fn free(self) -> bool {
        self.0 & 16 != 0
    }
}
