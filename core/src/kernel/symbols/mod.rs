//! What a kernel carries of its own description: its symbols ([`kallsyms`]) and its types ([`btf`]).
//!
//! Both are read-only data in the kernel's image, and so in every vmcore and in every dump made of one: no
//! level leaves them out. With them a name becomes an address, an address a name, and a member of a structure
//! an offset, without debug information beside the dump.
//!
//! # Memory
//! Nothing is allocated, and no table of all symbols or types is made: what is asked for is looked up in one
//! pass over the kernel's own tables, piece by piece. [`Reader`] holds two pieces of 4 KiB each, [`Kallsyms`]
//! the tokens, less than 5 KiB, [`Btf`] an index of the types, which is as large as its owner
//! wants (4 KiB do), and [`Words`] 32 bytes for each name that is looked for. All together that is less than 32 KiB with 192
//! names.
//!
//! # Trust
//! The tables lie in memory that a dying kernel may have overwritten, and a dump may be made to deceive. Every
//! length is held against a bound ([`limits`]), every walk ends after a number of steps, and symbols are
//! believed only where they agree with what is known from elsewhere: the addresses in VMCOREINFO, or
//! the kernel's own banner. Where something does not hold, there are no symbols, or no types, and the
//! error says which part of the tables it was.
//!
//! # Size
//! All of this runs once, if at all, and takes its place in the capture program. So errors are small ([`Failed`]), and
//! functions are `#[inline]`: they are compiled with whoever calls them, there for size.
//!
//! # Sources
//! Linux `kernel/kallsyms.c`, `scripts/kallsyms.c`, `include/uapi/linux/btf.h`,
//! `Documentation/bpf/btf.rst`.

pub mod btf;
mod error;
mod find;
mod free_lists;
mod image;
pub mod kallsyms;
pub mod limits;
pub mod members;
mod modules;
mod names;
mod numbers;
mod provider;
mod reader;
#[cfg(test)]
pub(in crate::kernel) mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

pub use btf::Btf;
pub use error::{Failed, SymbolsError};
pub use image::{Image, ImageMemory};
pub use kallsyms::{Kallsyms, NAME, Rule, Symbol, Wanted};
pub use members::{Member, Members, Place};
pub use modules::{MODULE_MEMBERS, ModuleSymbol, ModuleSymbols};
pub use provider::{Disagreement, KernelFacts, mark_of_bit, mark_of_byte};
pub use reader::{Reader, VirtMemory};
pub use words::{Word, Words};
