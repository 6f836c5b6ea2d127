//! Addresses and numbers of the command line.

/// Hexadecimal, with or without `0x`.
pub fn address(text: &str) -> std::result::Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    match u64::from_str_radix(digits, 16) {
        Ok(value) if plain => Ok(value),
        _ => Err("not a hexadecimal address of 64 bits".into()),
    }
}

/// Decimal, or hexadecimal with `0x`.
pub fn number(text: &str) -> std::result::Result<u64, String> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(_) => address(text).map_err(|_| "not a hexadecimal number".into()),
        None if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map_err(|_| "not a number of 64 bits".into())
        }
        None => Err("not a number; hexadecimal ones begin with 0x".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers() {
        assert_eq!(address("ffffffff82a00100"), Ok(0xffff_ffff_82a0_0100));
        assert_eq!(address("0x10"), Ok(16));
        assert_eq!(address("10"), Ok(16));
        assert_eq!(number("10"), Ok(10));
        assert_eq!(number("0x10"), Ok(16));
        for bad in ["", "0x", "+1", "-1", "g", "1ffffffffffffffff", "1 "] {
            assert!(address(bad).is_err(), "{bad}");
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
