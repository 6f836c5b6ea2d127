//! The binary itself: how large it is, and that it needs nothing else.

use std::fs;

use tamis_tests::elfread::Elf;
use tamis_tests::run::capture_binary;
use tamis_tests::targets::TARGETS;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;

#[test]
fn small_enough() {
    TARGETS[0].small_enough(capture_binary()).unwrap();
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
