//! Addresses, page frame numbers and spans, as types that do not mix.

use core::fmt;

/// A physical address of the dead kernel. 64 bits on every host, so that a 32-bit build can read
/// the dump of a 64-bit machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PhysAddr(pub u64);

/// A virtual address of the dead kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct VirtAddr(pub u64);

/// A page frame number: a physical address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Pfn(pub u64);

impl PhysAddr {
    /// The address `bytes` further on, unless it would leave the address space.
    pub fn checked_add(self, bytes: u64) -> Option<PhysAddr> {
        self.0.checked_add(bytes).map(PhysAddr)
    }
}

impl VirtAddr {
    /// The address `bytes` further on, unless it would leave the address space.
    pub fn checked_add(self, bytes: u64) -> Option<VirtAddr> {
        self.0.checked_add(bytes).map(VirtAddr)
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// log2 of the page size: 9 to 20 (512 bytes to 1 MiB); Linux has 12 to 18.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageShift(u8);

impl PageShift {
    /// 4 KiB pages.
    pub const FOUR_KIB: PageShift = PageShift(12);

    /// The shift of a page of `bytes` bytes, if that is a power of two that can be a page.
    pub fn of_size(bytes: u64) -> Option<PageShift> {
        let shift = bytes.trailing_zeros();
        (bytes.is_power_of_two() && (9..=20).contains(&shift)).then_some(PageShift(shift as u8))
    }

    /// log2 of the page size.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// Page size in bytes.
    pub fn bytes(self) -> usize {
        1 << self.0
    }

    /// The page an address lies in.
    pub fn pfn(self, at: PhysAddr) -> Pfn {
        Pfn(at.0 >> self.0)
    }

    /// First address of a page; `None` past the end of the address space.
    pub fn addr(self, pfn: Pfn) -> Option<PhysAddr> {
        let at = pfn.0 << self.0;
        (at >> self.0 == pfn.0).then_some(PhysAddr(at))
    }

    /// Number of pages that `[at, at + len)` touches, as a span.
    pub fn touched(self, at: PhysAddr, len: u64) -> PfnSpan {
        if len == 0 {
            return PfnSpan::new(self.pfn(at), self.pfn(at));
        }
        let last = at.0.saturating_add(len - 1);
        PfnSpan::new(self.pfn(at), Pfn((last >> self.0) + 1))
    }
}

/// A half-open range of pfns, `start <= end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PfnSpan {
    /// First pfn.
    pub start: Pfn,
    /// One past the last pfn.
    pub end: Pfn,
}

impl PfnSpan {
    /// `[start, end)`; empty at `start` where `end` is before it.
    pub fn new(start: Pfn, end: Pfn) -> PfnSpan {
        PfnSpan { start, end: if end < start { start } else { end } }
    }

    /// Number of pages.
    pub fn len(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Whether it holds no page.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether `pfn` lies in it.
    pub fn contains(self, pfn: Pfn) -> bool {
        self.start <= pfn && pfn < self.end
    }

    /// The part that both have; empty where they do not meet.
    pub fn intersect(self, to: PfnSpan) -> PfnSpan {
        PfnSpan::new(self.start.max(to.start), self.end.min(to.end))
    }
}

/// What [`parse_size`] takes, for messages.
pub const SIZE_SYNTAX: &str =
    "a number above 0 (decimal, 0x or 0), then one of K M G T P E or nothing";

/// The bytes of a size on a command line: a number above zero as C writes it (`10`, `0x10`, `010`), then
/// perhaps a unit in steps of 1024, in either case (`64k`, `4M`, `1T`). `None` for anything else, and for
/// more than 64 bits.
#[must_use]
pub fn parse_size(text: &[u8]) -> Option<u64> {
    let (number, unit) = match text {
        [b'0', b'x' | b'X', hex @ ..] => leading_digits(hex, 16),
        [b'0', ..] => leading_digits(text, 8),
        _ => leading_digits(text, 10),
    }?;
    let unit = match unit {
        [] => 1,
        [letter] => {
            let steps = b"KMGTPE".iter().position(|unit| *unit == letter.to_ascii_uppercase())?;
            1024_u64.checked_pow(u32::try_from(steps).ok()?.checked_add(1)?)?
        }
        _ => return None,
    };
    number.checked_mul(unit).filter(|&bytes| bytes > 0)
}

/// The number that a text begins with, and what is behind it.
fn leading_digits(text: &[u8], radix: u32) -> Option<(u64, &[u8])> {
    let mut number: u64 = 0;
    let mut rest = text;
    while let [byte, tail @ ..] = rest
        && let Some(digit) = char::from(*byte).to_digit(radix)
    {
        number = number.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))?;
        rest = tail;
    }
    (rest.len() < text.len()).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_of_c_with_a_unit() {
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("64k", 64 << 10),
            ("256M", 256 << 20),
            ("2G", 2 << 30),
            ("1T", 1 << 40),
            ("3P", 3 << 50),
            ("4E", 4 << 60),
            ("0x10000000", 0x1000_0000),
            ("0X1fK", 31 << 10),
            ("0x1E", 0x1e),
            ("010k", 8 << 10),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text.as_bytes()), Some(bytes), "{text}");
        }
        for bad in [
            "",
            "0",
            "0K",
            "0x",
            "0xg",
            "08",
            "K",
            "1KB",
            "1KiB",
            "1.5G",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1Z",
            "16E",
            "18446744073709551616",
            "99999999999G",
            "0x10000000000000000",
            "1\u{e9}",
        ] {
            assert_eq!(parse_size(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn page_sizes_are_powers_of_two_in_range() {
        assert_eq!(PageShift::of_size(4096), Some(PageShift::FOUR_KIB));
        assert_eq!(PageShift::of_size(65536).map(PageShift::bits), Some(16));
        for bad in [0, 1, 256, 4095, 4097, 12288, 1 << 21, 1 << 63, u64::MAX] {
            assert_eq!(PageShift::of_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn touched_pages_include_partial_ones() {
        let s = PageShift::FOUR_KIB;
        assert_eq!(s.touched(PhysAddr(0x1000), 0x1000), PfnSpan::new(Pfn(1), Pfn(2)));
        assert_eq!(s.touched(PhysAddr(0x1fff), 2), PfnSpan::new(Pfn(1), Pfn(3)));
        assert!(s.touched(PhysAddr(0x1fff), 0).is_empty());
        assert_eq!(s.touched(PhysAddr(u64::MAX - 1), 9).end, Pfn(1 << 52));
    }

    #[test]
    fn clipping_spans_that_do_not_meet_gives_nothing() {
        let a = PfnSpan::new(Pfn(4), Pfn(8));
        assert_eq!(a.intersect(PfnSpan::new(Pfn(6), Pfn(20))), PfnSpan::new(Pfn(6), Pfn(8)));
        assert!(a.intersect(PfnSpan::new(Pfn(9), Pfn(20))).is_empty());
        assert!(a.intersect(PfnSpan::new(Pfn(0), Pfn(2))).is_empty());
    }
}
