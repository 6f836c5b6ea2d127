//! The VMCOREINFO text: the kernel's own description of itself, one `KEY=value` a line
//! (Linux `Documentation/admin-guide/kdump/vmcoreinfo.rst`, `include/linux/vmcore_info.h`).
//!
//! A key whose value does not parse counts as missing. The first of two equal keys wins.

/// The text of a VMCOREINFO note, or of a file in the same form.
#[derive(Clone, Copy, Debug, Default)]
pub struct VmcoreInfo<'t> {
    text: &'t [u8],
}

/// The kinds of line that carry a name in parentheses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `SYMBOL(name)=`: a run-time address, hexadecimal without `0x`.
    Symbol,
    /// `SIZE(struct)=`: bytes, decimal.
    Size,
    /// `OFFSET(struct.member)=`: bytes, decimal.
    Offset,
    /// `LENGTH(array)=`: elements, decimal.
    Length,
    /// `NUMBER(name)=`: signed decimal, or hexadecimal with `0x`.
    Number,
}

impl Kind {
    /// The word before the parenthesis.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Symbol => "SYMBOL",
            Kind::Size => "SIZE",
            Kind::Offset => "OFFSET",
            Kind::Length => "LENGTH",
            Kind::Number => "NUMBER",
        }
    }
}

impl<'t> VmcoreInfo<'t> {
    /// The text as it is; nothing is checked before a key is asked for.
    pub fn new(text: &'t [u8]) -> VmcoreInfo<'t> {
        VmcoreInfo { text }
    }

    /// The text itself.
    pub fn text(&self) -> &'t [u8] {
        self.text
    }

    /// Lines, without their ends. The last one may lack its newline (kernels before 3.12 append
    /// CRASHTIME without one).
    pub fn lines(&self) -> impl Iterator<Item = &'t [u8]> {
        self.text.split(|&b| b == b'\n' || b == 0).filter(|line| !line.is_empty())
    }

    /// Value of a plain key such as `OSRELEASE`.
    pub fn value(&self, key: &str) -> Option<&'t [u8]> {
        self.lines().find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
    }

    /// The text after the key of this name.
    fn named(&self, kind: Kind, name: &str) -> Option<&'t [u8]> {
        self.lines().find_map(|line| {
            let rest = line.strip_prefix(kind.word().as_bytes())?.strip_prefix(b"(")?;
            rest.strip_prefix(name.as_bytes())?.strip_prefix(b")=")
        })
    }

    /// Value of a key with a name, as bits: negative numbers in two's complement. `None` where the
    /// key is missing or its value is malformed (for a symbol also 0 and all ones).
    pub fn get(&self, kind: Kind, name: &str) -> Option<u64> {
        let raw = self.named(kind, name)?;
        match kind {
            Kind::Symbol => hex(raw).filter(|&v| v != 0 && v != u64::MAX),
            Kind::Number => number(raw),
            Kind::Size | Kind::Offset | Kind::Length => {
                number(raw).filter(|&v| v <= i64::MAX as u64)
            }
        }
    }

    /// A plain decimal key such as `PAGESIZE`.
    pub fn decimal(&self, key: &str) -> Option<u64> {
        number(self.value(key)?)
    }

    /// A plain hexadecimal key such as `KERNELOFFSET`.
    pub fn hexadecimal(&self, key: &str) -> Option<u64> {
        hex(self.value(key)?)
    }
}

/// Hexadecimal digits with or without `0x`, all of them, at most 64 bits.
fn hex(raw: &[u8]) -> Option<u64> {
    let raw = raw.trim_ascii();
    let digits = raw.strip_prefix(b"0x").or_else(|| raw.strip_prefix(b"0X")).unwrap_or(raw);
    digits_of(digits, 16)
}

/// Signed decimal, or hexadecimal: with `0x`, or (as readers have always done) where the text is no
/// decimal number but a hexadecimal one.
fn number(raw: &[u8]) -> Option<u64> {
    let raw = raw.trim_ascii();
    if let Some(positive) = raw.strip_prefix(b"-") {
        let value = digits_of(positive, 10)?;
        return (value <= 1 << 63).then(|| value.wrapping_neg());
    }
    digits_of(raw, 10).or_else(|| hex(raw))
}

fn digits_of(digits: &[u8], base: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = char::from(digit).to_digit(base)?;
        value.checked_mul(base.into())?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"OSRELEASE=6.1.0-37-cloud-amd64\nPAGESIZE=4096\n\
        SYMBOL(init_uts_ns)=ffffffff9a61a5c0\nOFFSET(page.flags)=0\nOFFSET(page.lru)=8\n\
        NUMBER(phys_base)=-278921216\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\n\
        NUMBER(VMALLOC_START)=0xff39d4c7c0000000\nLENGTH(zone.free_area)=11\n\
        SYMBOL(zero)=0\nSIZE(bad)=12x\nSIZE(neg)=-1\nSIZE(page)=64\nSIZE(page)=56\n\
        KERNELOFFSET=18000000\nCRASHTIME=1700000000";

    #[test]
    fn keys_of_every_kind_are_found() {
        let info = VmcoreInfo::new(TEXT);
        assert_eq!(info.value("OSRELEASE"), Some(&b"6.1.0-37-cloud-amd64"[..]));
        assert_eq!(info.decimal("PAGESIZE"), Some(4096));
        assert_eq!(info.hexadecimal("KERNELOFFSET"), Some(0x18000000));
        assert_eq!(info.decimal("CRASHTIME"), Some(1_700_000_000));
        assert_eq!(info.get(Kind::Symbol, "init_uts_ns"), Some(0xffff_ffff_9a61_a5c0));
        assert_eq!(info.get(Kind::Offset, "page.flags"), Some(0));
        let offset = |name| info.get(Kind::Offset, name);
        assert_eq!(offset("page.lru"), Some(8));
        assert_eq!((offset("page.l"), offset("pag.lru")), (None, None));
        assert_eq!(info.get(Kind::Number, "phys_base"), Some((-278_921_216i64) as u64));
        assert_eq!(info.get(Kind::Number, "VMALLOC_START"), Some(0xff39_d4c7_c000_0000));
        assert_eq!(info.get(Kind::Length, "zone.free_area"), Some(11));
    }

    #[test]
    fn the_first_of_two_keys_wins() {
        assert_eq!(VmcoreInfo::new(TEXT).get(Kind::Size, "page"), Some(64));
    }

    #[test]
    fn malformed_and_absent_keys_are_missing() {
        let info = VmcoreInfo::new(TEXT);
        for (kind, name) in [
            (Kind::Symbol, "zero"),
            (Kind::Size, "bad"),
            (Kind::Size, "neg"),
            (Kind::Size, "pag"),
            (Kind::Offset, "page"),
            (Kind::Number, "nothing"),
        ] {
            assert_eq!(info.get(kind, name), None, "{name}");
        }
        assert_eq!(
            VmcoreInfo::new(b"NUMBER(x)=99999999999999999999\n").get(Kind::Number, "x"),
            None
        );
        assert_eq!(VmcoreInfo::new(b"NUMBER(x)=\n").get(Kind::Number, "x"), None);
        assert_eq!(VmcoreInfo::new(b"NUMBER(x)=-9223372036854775809").get(Kind::Number, "x"), None);
    }
}
