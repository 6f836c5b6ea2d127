//! Addresses that are found by arithmetic.

use super::paging::Mapping;
use crate::units::{PhysAddr, VirtAddr};
use heapless::Vec;

/// Where virtual addresses lie by arithmetic, without page tables: the kernel image and the direct
/// map, as far as it is known where these begin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Linear {
    ranges: Vec<LinearRange, 4>,
}

/// A run of virtual addresses that lie behind each other physically.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinearRange {
    /// The first virtual address.
    pub virt: u64,
    /// Bytes from there on.
    pub len: u64,
    /// Physical address of the first byte, two's complement.
    pub phys: u64,
}

impl Linear {
    /// Adds a range; where two have an address, the first one counts. No architecture has more ranges than
    /// there is room for: a range too many is not added.
    pub fn add(&mut self, range: LinearRange) {
        let added = self.ranges.push(range);
        debug_assert!(added.is_ok(), "more linear ranges than any architecture has");
    }

    /// Where `at` lies.
    pub fn find(&self, at: VirtAddr) -> Option<Mapping> {
        self.ranges.iter().find_map(|range| {
            let inside = at.0.wrapping_sub(range.virt);
            let len = range.len.checked_sub(inside).filter(|len| *len > 0)?;
            Some(Mapping { phys: PhysAddr(range.phys.wrapping_add(inside)), len })
        })
    }
}
