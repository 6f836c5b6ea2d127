//! The bytes that the page encoders write are the same on every run and every machine: their
//! hashes are in `tests/golden/codecs.txt`.
//!
//! ```sh
//! cargo test -p tamis-bytes
//! cargo +nightly miri test -p tamis-bytes --target s390x-unknown-linux-gnu   # big-endian
//! ```
#![cfg(test)]

use page_codec::{Decode, Decoders, Deflate, Encode, Lz4, Lzo, Snappy, Zstd};
use std::fmt::Write;

const GOLDEN: &str = include_str!("../golden/codecs.txt");

fn encoders() -> [(&'static str, Box<dyn Encode>); 7] {
    [
        ("zlib", Box::new(Deflate::new())),
        ("zlib 0", Box::new(Deflate::fixed())),
        ("lzo", Box::new(Lzo::new())),
        ("snappy", Box::new(Snappy::new())),
        ("zstd", Box::new(Zstd::new())),
        ("zstd 2", Box::new(Zstd::lazy())),
        ("lz4", Box::new(Lz4::new())),
    ]
}

/// xorshift64*.
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Pages made up of integers alone, written lowest byte first.
fn pages() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = 0x9e37_79b9_7f4a_7c15;
    let mut structures = Vec::new();
    while structures.len() < 4096 {
        let at = structures.len() as u64;
        structures.extend((0xffff_8880_0012_0000 + next(&mut random) % 64 * 64).to_le_bytes());
        structures.extend((next(&mut random) as u32 & 3).to_le_bytes());
        structures.extend([0; 12]);
        structures.extend((0xffff_8880_0012_0000 + at).to_le_bytes());
    }
    structures.truncate(4096);
    let equal = ("equal", vec![0x5a; 4096]);
    if cfg!(miri) {
        return vec![("structures", structures), equal];
    }
    let words = ["struct", "page", "0x", "ffff", " = ", "\n", "node", "lock", "/usr/lib/"];
    let mut text = String::new();
    while text.len() < 16_384 {
        text.push_str(words[(next(&mut random) % 9) as usize]);
    }
    // Few repeats, skewed bytes.
    let code = (0..4096).map(|_| (next(&mut random) & next(&mut random)) as u8).collect();
    let noise = (0..4096).map(|_| next(&mut random) as u8).collect();
    let sparse = (0..65_536u32).map(|i| if i % 509 == 0 { (i / 509) as u8 } else { 0 }).collect();
    let mut text = text.into_bytes();
    text.truncate(16_384);
    vec![
        ("structures", structures),
        ("text", text),
        ("code", code),
        ("noise", noise),
        ("sparse", sparse),
        equal,
    ]
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn bytes_are_those_of_every_machine() {
    let mut found = String::new();
    let mut decoders = Decoders::new();
    // Miri is slow: it gets two pages, which go through most of what depends on the order of bytes.
    let mut kinds = Vec::new();
    for (kind, page) in pages() {
        kinds.push(kind);
        writeln!(found, "{kind}: {} bytes, {:016x}", page.len(), hash(&page)).unwrap();
        for (name, mut encoder) in encoders() {
            let mut out = vec![0xa5; encoder.bound(page.len())];
            match encoder.encode(&page, &mut out) {
                None => writeln!(found, "  {name}: raw").unwrap(),
                Some(len) => {
                    let mut back = vec![0; page.len()];
                    assert_eq!(decoders.decode(encoder.codec(), &out[..len], &mut back), Ok(()));
                    assert!(back == page, "{kind}, {name}: read back as other bytes");
                    writeln!(found, "  {name}: {len}, {:016x}", hash(&out[..len])).unwrap();
                }
            }
        }
    }
    let (mut wanted, mut wants) = (String::new(), false);
    for line in GOLDEN.lines() {
        if let Some((kind, _)) = line.split_once(':').filter(|(kind, _)| !kind.starts_with(' ')) {
            wants = kinds.contains(&kind);
        }
        if wants {
            writeln!(wanted, "{line}").unwrap();
        }
    }
    assert!(found == wanted, "other than tests/golden/codecs.txt:\n{found}");
}
