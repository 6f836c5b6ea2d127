//! Black-box tests of `tamis-capture`: synthetic vmcores in, dumps and messages out.
//!
//! The binary under test is the static release build, made at the first use.

mod common;

mod classes;
mod dmesg;
mod elf_output;
mod flattened;
mod formats;
mod paging;
mod size;
mod split;
mod windows;
