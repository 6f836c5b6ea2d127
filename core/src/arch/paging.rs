//! Page tables: how they are read, and what a walk finds.

use crate::endian::Endian;
use crate::memory::{PhysMemory, ReadError};
use crate::storage::ManagedSlice;
use crate::units::{PhysAddr, VirtAddr};
use core::cmp::Ordering;
use core::fmt;

/// Why a virtual address has no physical one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkError {
    /// An entry of the page tables is not present.
    NotMapped {
        /// The virtual address.
        at: VirtAddr,
        /// The level of the entry.
        level: &'static str,
    },
    /// A page table could not be read.
    Table {
        /// The virtual address that was looked up.
        at: VirtAddr,
        /// What happened.
        fault: ReadError,
    },
    /// The address is none that the hardware allows.
    NotCanonical(VirtAddr),
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalkError::NotMapped { at, level } => {
                write!(f, "virtual address {at} is not mapped ({level} entry)")
            }
            WalkError::Table { at, fault } => {
                write!(f, "page tables of virtual address {at}: {fault}")
            }
            WalkError::NotCanonical(at) => write!(f, "virtual address {at} is not canonical"),
        }
    }
}

/// Where a virtual address lies, and how far the same mapping goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Physical address of the virtual address that was asked for.
    pub phys: PhysAddr,
    /// Bytes from there on that are physically contiguous in this leaf.
    pub len: u64,
}

impl Mapping {
    /// Where `at` lies in a page or block of `1 << shift` bytes that begins at physical `base`; bits
    /// of `base` below `shift` do not count.
    pub(super) fn in_leaf(at: VirtAddr, base: u64, shift: u32) -> Mapping {
        let mask = (1 << shift) - 1;
        let inside = at.0 & mask;
        Mapping { phys: PhysAddr(base & !mask | inside), len: mask + 1 - inside }
    }
}

/// Reads page tables through a small cache: a block of one table per level, so that a sequential walk
/// reads each block once.
pub struct TableCache<'b> {
    blocks: ManagedSlice<'b, u8>,
    held: [Option<PhysAddr>; TableCache::LEVELS],
    pub(super) leaf: Option<(VirtAddr, Mapping)>,
    /// Where the last walk read an entry, and what it was, by level.
    trail: [Option<(PhysAddr, u64)>; TableCache::LEVELS],
}

/// An entry of a page table, on the way to a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The level: `PGD`, `P4D`, `PUD`, `PMD` or `PTE`.
    pub level: &'static str,
    /// Where the entry is.
    pub entry_at: PhysAddr,
    /// The entry as it stands there.
    pub entry: u64,
}

impl<'b> TableCache<'b> {
    /// Most levels of any architecture here.
    pub const LEVELS: usize = 5;
    /// Bytes of a table that are read at a time: all of it where pages have 4 KiB.
    pub const BLOCK: usize = 4096;
    /// Bytes of storage it needs.
    pub const STORAGE: usize = Self::LEVELS * Self::BLOCK;

    /// An empty cache over [`TableCache::STORAGE`] bytes.
    pub fn new(blocks: impl Into<ManagedSlice<'b, u8>>) -> TableCache<'b> {
        let (held, trail) = ([None; Self::LEVELS], [None; Self::LEVELS]);
        TableCache { blocks: blocks.into(), held, leaf: None, trail }
    }

    /// The entries that the last walk met, from the top on.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        const NAMES: [&str; TableCache::LEVELS] = ["PTE", "PMD", "PUD", "P4D", "PGD"];
        let met = self.trail.iter().zip(NAMES).rev();
        let met = met.filter_map(|(met, name)| met.map(|met| (met, name)));
        met.enumerate().map(|(n, ((entry_at, entry), name))| {
            let level = if n == 0 { "PGD" } else { name };
            Step { level, entry_at, entry }
        })
    }

    /// The 64-bit entry `index` of the table at `table`, from the cache or read. Entries are
    /// aligned to their size.
    pub fn entry(
        &mut self,
        source: &mut impl PhysMemory,
        endian: Endian,
        level: usize,
        table: PhysAddr,
        index: u64,
    ) -> Result<u64, ReadError> {
        let absent = ReadError::Absent(table);
        let at = index.checked_mul(8).and_then(|offset| table.checked_add(offset)).ok_or(absent)?;
        let inside = at.0 % Self::BLOCK as u64;
        let block = PhysAddr(at.0 - inside);
        let held = self.held.get_mut(level).ok_or(absent)?;
        let start = level * Self::BLOCK;
        let bytes = self.blocks.get_mut(start..start + Self::BLOCK).ok_or(absent)?;
        if *held != Some(block) {
            *held = None;
            source.read(block, bytes)?;
            *held = Some(block);
        }
        let entry = endian.u64(bytes, inside as usize).ok_or(absent)?;
        for (n, met) in self.trail.iter_mut().enumerate() {
            match n.cmp(&level) {
                Ordering::Less => *met = None,
                Ordering::Equal => *met = Some((at, entry)),
                Ordering::Greater => {}
            }
        }
        Ok(entry)
    }
}
