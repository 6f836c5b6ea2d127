//! Addresses that are found by arithmetic.

use super::paging::Mapping;
use crate::units::{PhysAddr, VirtAddr};

/// Where virtual addresses lie by arithmetic, without page tables: the kernel image and the direct
/// map, as far as it is known where these begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Linear {
    pub(super) ranges: [LinearRange; 2],
}

/// A run of virtual addresses that lie behind each other physically.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LinearRange {
    pub(super) virt: u64,
    pub(super) len: u64,
    pub(super) phys: u64,
}

impl Linear {
    /// Where `at` lies.
    pub fn find(&self, at: VirtAddr) -> Option<Mapping> {
        self.ranges.iter().find_map(|range| {
            let inside = at.0.wrapping_sub(range.virt);
            let len = range.len.checked_sub(inside).filter(|len| *len > 0)?;
            Some(Mapping { phys: PhysAddr(range.phys.wrapping_add(inside)), len })
        })
    }
}
