//! Numbers and pieces out of the bytes of an input. Past its end everything is zero, so that every
//! prefix of an input is one.

/// What is left of an input.
pub struct Input<'i> {
    rest: &'i [u8],
}

impl<'i> Input<'i> {
    /// All of it.
    pub fn new(bytes: &'i [u8]) -> Input<'i> {
        Input { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes, little-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from(self.byte()) | u16::from(self.byte()) << 8
    }

    /// The next four bytes, little-endian.
    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    /// The next eight bytes, little-endian.
    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    /// A number below `n`, out of as many bytes as it takes.
    pub fn below(&mut self, n: u64) -> u64 {
        let value = match n {
            0 | 1 => return 0,
            2..=0x100 => self.byte().into(),
            0x101..=0x1_0000 => self.u16().into(),
            0x1_0001..=0x1_0000_0000 => self.u32().into(),
            _ => self.u64(),
        };
        value % n
    }

    /// The next `len` bytes, or what there is of them.
    pub fn take(&mut self, len: usize) -> &'i [u8] {
        let (part, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        part
    }

    /// Everything else.
    pub fn rest(&mut self) -> &'i [u8] {
        self.take(usize::MAX)
    }
}

/// A stream of numbers from a seed (splitmix64): the same on every machine.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.number() as u8).collect()
    }
}
