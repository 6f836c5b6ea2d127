//! Pfns whose `struct page`s lie one behind the other.

use crate::units::{PfnSpan, VirtAddr};
use core::fmt;

/// What is known about the `struct page`s of some pfns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// They are there; the address of the first one.
    At(VirtAddr),
    /// The kernel has none for them.
    Absent,
    /// The kernel took the section offline: they may hold anything.
    Offline,
    /// The table with their section could not be read.
    Unreadable,
    /// What the kernel says of this section contradicts itself.
    Damaged(u64, Doubt),
}

/// What is wrong with a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// `section_mem_map` is not zero, and lacks what that of a section has: flags, or an address of the kernel's.
    HalfWord,
    /// The sections of a vmemmap share one array of `struct page`s, and this one has another.
    OtherArray,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::HalfWord => "its word in the section table is neither zero nor whole",
            Doubt::OtherArray => "its struct pages are not where those of the others are",
        })
    }
}

/// Pfns in a row that share a [`State`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Which pfns.
    pub span: PfnSpan,
    /// Their state.
    pub state: State,
}
