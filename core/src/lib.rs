//! The engine of tamis: it reads a dead kernel's memory, decides which pages a reader of the dump
//! needs, and writes them in a format that `crash`, `drgn`, `gdb` and libkdumpfile open.
//!
//! # Words
//! - **vmcore**: the dead kernel's memory as an ELF core (`/proc/vmcore`, or a file).
//!   **dump**: what is written. **capture kernel**: the kernel this code runs under.
//! - **pfn**: page frame number. **span**: half-open range of pfns.
//! - **window** (one *cycle*): the span whose bitmap is in memory at once.
//! - **mem_map**: the dead kernel's array of `struct page`.
//! - **bitmap 1**: pfns that exist. **bitmap 2**: pfns whose data is in the dump.
//!   **page descriptor**: the 24-byte record of one bit of bitmap 2.
//! - **reason**: why a page is dropped. **tally**: pages per reason.
//!
//! # Flow
//! 1. [`input::elf`] reads the ELF headers and finds the notes ([`memory::Dump`]).
//! 2. [`wire::vmcoreinfo`] is the kernel's own description of itself; [`vmcoreinfo::Info`] asks it.
//! 3. [`arch`] walks the page tables; [`kernel::mem_map`] finds the `struct page` of a pfn.
//! 4. [`capture::plan::Plan`] gives every byte an owner before the first write.
//! 5. [`capture`] goes over the pfns in windows: classify (pass A), then save (pass B), into a
//!    [`io::Sink`]. [`Session`] holds all of this together.
//!
//! Nothing here allocates without the feature `alloc`: storage comes in through constructors.
//!
//! # Non-goals
//! tamis never guesses. Where a fact about the kernel is missing, the page is kept and the fact is named.
#![cfg_attr(all(feature = "std", feature = "write"), doc = include_str!("../README.md"))]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::todo
    )
)]
// What only one of the two uses.
#![cfg_attr(not(all(feature = "decode", feature = "write")), allow(dead_code))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod arch;
pub mod bitmap;
pub mod capture;
pub mod checksum;
pub mod endian;
pub mod error;
pub mod facts;
pub mod input;
pub mod io;
pub mod kernel;
pub mod level;
pub mod memory;
#[cfg(feature = "seal")]
pub mod seal;
pub mod storage;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod units;
pub mod vmcoreinfo;
pub mod wire;

pub use capture::plan::Plan;
#[cfg(feature = "write")]
pub use capture::session::Output;
pub use capture::session::{Error, Headers, Options, Session, Storage};
pub use level::DumpLevel;
pub use page_codec::{Codec, Effort, Encode};
