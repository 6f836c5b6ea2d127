//! Pfns whose `struct page`s lie one behind the other.

use crate::units::{PfnSpan, VirtAddr};

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
}

/// Pfns in a row that share a [`State`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Which pfns.
    pub span: PfnSpan,
    /// Their state.
    pub state: State,
}
