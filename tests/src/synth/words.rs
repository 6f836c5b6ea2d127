//! Byte order and width of a kernel's words.

/// What an `unsigned long` of a kernel looks like in memory, and numbers of fixed sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The most significant byte comes first.
    pub big: bool,
    /// An `unsigned long` has 64 bits, not 32.
    pub wide: bool,
}

impl Words {
    /// 64 bits, little-endian.
    pub const USUAL: Words = Words { big: false, wide: true };

    /// Bytes of an `unsigned long`.
    pub fn bytes(self) -> u64 {
        if self.wide { 8 } else { 4 }
    }

    /// An `unsigned long`; of a number that is too large, what fits.
    pub fn long(self, value: u64) -> Vec<u8> {
        if self.wide { self.u64(value).to_vec() } else { self.u32(value as u32).to_vec() }
    }

    /// A number of 16 bits.
    pub fn u16(self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A number of 32 bits.
    pub fn u32(self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A number of 64 bits.
    pub fn u64(self, value: u64) -> [u8; 8] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// The number that these bytes are; eight at most.
    pub fn number(self, bytes: &[u8]) -> u64 {
        let add = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
        match self.big {
            true => bytes.iter().fold(0, add),
            false => bytes.iter().rev().fold(0, add),
        }
    }
}
