//! The binary itself: how large it is, and that it needs nothing else.

use std::{env, fs, path::Path};

use tamis_tests::elfread::Elf;
use tamis_tests::run::{TARGET, capture_binary};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// A value of limits.toml, a file of plain `key = value` lines.
fn limit(key: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("limits.toml");
    let text = fs::read_to_string(path).unwrap();
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"').to_string())
    });
    value.unwrap_or_else(|| panic!("limits.toml has no {key}"))
}

#[test]
fn small_enough() {
    assert_eq!(limit("target"), TARGET);
    let max: u64 = limit("max-bytes").parse().unwrap();
    let len = fs::metadata(capture_binary()).unwrap().len();
    assert!(len <= max, "tamis-capture has {len} bytes, {} too many", len - max);
}

#[test]
fn static_and_without_an_executable_stack() {
    let bytes = fs::read(capture_binary()).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.of_kind(PT_INTERP).count(), 0, "it asks for an interpreter");
    for phdr in elf.of_kind(PT_DYNAMIC) {
        let dynamic = elf.segment(&bytes, phdr).unwrap();
        for entry in dynamic.chunks_exact(16) {
            let tag = u64::from_le_bytes(entry[..8].try_into().unwrap());
            assert_ne!(tag, 1, "it needs a shared library");
        }
    }
    let stack = elf.of_kind(PT_GNU_STACK).next().expect("a word about the stack");
    assert_eq!(stack.flags & 1, 0, "its stack is executable");
    for phdr in elf.of_kind(PT_LOAD) {
        assert_ne!(phdr.flags & 3, 3, "a segment is writable and executable: {phdr:?}");
    }
}
