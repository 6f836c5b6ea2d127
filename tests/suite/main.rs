//! Black-box tests of `tamis-capture`: synthetic vmcores in, dumps and messages out.
//!
//! The binary under test is the static release build, made at the first use.

mod common;
mod crew;

mod budget;
mod callers;
mod classes;
mod cli;
mod containers;
mod cut;
mod dmesg;
mod elf_output;
mod flattened;
mod formats;
mod free_lists;
mod golden;
mod inherited;
mod layers;
mod limits;
mod odd;
mod one_point;
mod paging;
mod random;
mod regress;
mod same_file;
mod secrets;
mod size;
mod space;
mod split;
mod threads;
mod unreadable;
mod windows;
