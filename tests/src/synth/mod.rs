//! Synthetic machines of every architecture, described page by page and written as ELF vmcores.
//!
//! A test says what is in a machine ([`Machine`]), builds it ([`Machine::build`]), may bend the
//! program headers of the [`Image`], and writes it. Nothing here is shared with the code under
//! test: all offsets and writers are this module's own, so that a mistake in either shows.
//!
//! Where things are in a machine's physical memory: the pages a test asked for, anywhere; and one
//! region of the builder's own ([`Machine::meta_at`]) which holds the kernel image (symbols, the
//! top page table), page tables, the array of `struct page`, sections and log buffers.

pub mod content;
mod cpu;
mod elf;
mod info;
mod log;
mod machine;
mod memmap;
mod memory;
mod own;
mod page;
mod style;
mod tables;
mod words;
pub mod xen;
mod zones;

pub use content::{Content, Noise, PAGE, marker};
pub use cpu::Cpu;
pub use elf::{Image, Load, NO_PADDR, Note, UNCLAIMED};
pub use log::{LogLine, LogState, expected_text};
pub use machine::{BentList, Block, Fault, Machine, MemModel, SectionTable, ZONE_END};
pub use page::{Class, Use};
pub use style::{BuddyMark, Facts, HugetlbMark, KernelStyle, LogStyle};
pub use tables::Leaf;
pub use words::Words;

/// Pages of one memory section on x86_64 (128 MiB).
pub const SECTION_PAGES: u64 = 1 << 15;
