//! Texts with addresses in them, and the symbols of these.

use super::names::names;
use crate::dump::opened::Opened;

/// Digits of an address of 64 bits, and the fewest that are taken for one.
const DIGITS: usize = 16;
const FEWEST: usize = 8;

/// An address in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    address: u64,
    /// Where its symbol goes.
    end: usize,
}

/// Where the next word begins and ends, from `at` on: letters, digits and underscores.
fn word(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let start = at + text.get(at..)?.iter().position(is_word)?;
    let len = text[start..].iter().position(|byte| !is_word(byte)).unwrap_or(text.len() - start);
    Some((start, start + len))
}

/// The addresses of a text: hexadecimal numbers that a kernel would print with `%px` or `%016lx`.
fn addresses(text: &[u8]) -> Vec<Found> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some((start, end)) = word(text, at) {
        at = end;
        let digits = text[start..end].strip_prefix(b"0x").unwrap_or(&text[start..end]);
        if !(FEWEST..=DIGITS).contains(&digits.len()) {
            continue;
        }
        let Some(digits) = std::str::from_utf8(digits).ok() else { continue };
        if let Ok(address) = u64::from_str_radix(digits, 16) {
            // Of a kind of old: [<ffffffff81000000>].
            let end = end + if text[end..].starts_with(b">]") { 2 } else { 0 };
            all.push(Found { address, end });
        }
    }
    all
}

/// The text with the symbol of each address behind it, where there is one: `ffffffff81000010 <_stext+0x10>`.
pub fn annotate(opened: &mut Opened, text: &[u8]) -> Vec<u8> {
    let found = addresses(text);
    let all: Vec<u64> = found.iter().map(|found| found.address).collect();
    let symbols = names(opened, &all);
    insert(text, found.into_iter().zip(symbols))
}

fn insert(text: &[u8], found: impl Iterator<Item = (Found, Option<String>)>) -> Vec<u8> {
    let (mut out, mut done) = (Vec::with_capacity(text.len()), 0);
    for (found, symbol) in found {
        let Some(symbol) = symbol else { continue };
        out.extend(&text[done..found.end]);
        out.extend(format!(" <{symbol}>").bytes());
        done = found.end;
    }
    out.extend(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let found = addresses(text.as_bytes());
        let names = found.iter().map(|found| (*found, Some(format!("{:x}", found.address & 0xff))));
        String::from_utf8(insert(text.as_bytes(), names)).unwrap()
    }

    #[test]
    fn addresses_are_found_in_a_log() {
        assert_eq!(shown("CR2: ffffffff81000012"), "CR2: ffffffff81000012 <12>");
        assert_eq!(shown("[<ffffffff81000012>] ?"), "[<ffffffff81000012>] <12> ?");
        assert_eq!(shown("R1:c0100034,x 0xc01000ff."), "R1:c0100034 <34>,x 0xc01000ff <ff>.");
        for none in
            ["", "f+0x10/0x20", "ffffffff8100001g", "_ffffffff81000012", "1234567", &"f".repeat(17)]
        {
            assert_eq!(shown(none), none);
        }
    }

    #[test]
    fn what_has_no_symbol_stays_as_it_is() {
        let text = b"a ffffffff81000012 b";
        assert_eq!(insert(text, addresses(text).into_iter().map(|found| (found, None))), text);
    }
}
