//! Tests of the host tool `tamis` from outside: it is run, and what it says and writes is looked
//! at. Dumps come from the capture binary, and from [`make`], which knows every form of the format
//! and shares nothing with the code under test.

mod common;
mod conclude;
mod convert;
mod every;
mod forms;
mod huge;
mod images;
mod kernel;
mod log;
mod makedumpfile;
mod memory;
mod more;
mod narrow;
mod outputs;
mod own;
mod people;
mod refilter;
mod refuse;
mod report;
mod sealed;
mod sets;
mod stranger;
mod sums;
mod verify;
mod vmlinux;
mod why;
mod xen;
