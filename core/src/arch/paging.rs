//! Page tables as data: one walk for every architecture, and the small cache that it reads tables
//! through.
//!
//! An architecture says how many bits of an address each level takes, how large an entry is and which
//! levels may hold leaves ([`PagingForm`]), and what an entry means ([`Entry`]).

use crate::endian::{Endian, Word};
use crate::memory::{PhysMemory, ReadError};
use crate::storage::ManagedSlice;
use crate::units::{PhysAddr, VirtAddr};
use core::fmt;

/// Most levels of any architecture.
pub const LEVELS: usize = 5;

/// How page tables take an address apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PagingForm {
    /// log2 of the bytes that an entry maps, from the last level to the top; at most [`LEVELS`] levels.
    /// `[12, 21, 30, 39, 48]` is x86_64, `[12, 20]` ARM with short descriptors. The bits of an address from
    /// there to those of the level above index a table.
    pub shifts: &'static [u8],
    /// Size of an entry.
    pub entry: Word,
    /// The highest level whose entries may be leaves; the last level is 0.
    pub largest_leaf: u8,
}

/// A level of page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// 0 for the last one, whose entries are always leaves.
    pub number: u8,
    /// log2 of the bytes that an entry maps.
    pub shift: u8,
    /// log2 of the bytes that a table maps.
    pub table: u8,
}

impl Level {
    /// Entries of a table.
    pub fn entries(self) -> u64 {
        1 << (self.table - self.shift)
    }

    /// Which entry maps an address.
    pub fn index(self, at: u64) -> u64 {
        at >> self.shift & (self.entries() - 1)
    }
}

/// What an entry of a page table says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// The next table is at this physical address.
    Table(u64),
    /// A page or block of the size that an entry of this level maps. Bits of its physical address below
    /// that size do not count.
    Leaf(u64),
    /// A block of another size, such as the 16 MiB of an ARM supersection, whose entry is repeated.
    BlockOf {
        /// Physical address; bits below the size do not count.
        base: u64,
        /// log2 of its size.
        bits: u8,
    },
    /// Nothing is mapped.
    None,
    /// The hardware does not allow such an entry.
    Bad,
}

/// The meaning of entries.
pub trait Entry {
    /// What `raw` says, an entry of the level with this number (0 is the last one).
    fn classify(&self, level: u8, raw: u64) -> Walk;
}

/// The page tables of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tables {
    /// Their form.
    pub form: &'static PagingForm,
    /// Bits of an address that are translated: where those of the top table's index end. A kernel does
    /// without levels that begin there or above: with 48, x86_64 has four.
    pub bits: u8,
    /// Byte order of entries, which on some machines is not that of the kernel.
    pub endian: Endian,
    /// The first table.
    pub root: PhysAddr,
}

/// Linux's name of a level: `PGD` for the first one, whichever it is.
fn name(is_first: bool, number: u8) -> &'static str {
    const BELOW: [&str; LEVELS - 1] = ["PTE", "PMD", "PUD", "P4D"];
    let below = BELOW.get(usize::from(number)).filter(|_| !is_first);
    below.copied().unwrap_or("PGD")
}

impl Tables {
    /// The levels, from the top to the last.
    pub fn levels(&self) -> impl Iterator<Item = Level> {
        let mut table = self.bits;
        let there = (0..LEVELS as u8).zip(self.form.shifts);
        there.rev().filter(move |(_, shift)| **shift < table).map(move |(number, shift)| {
            let level = Level { number, shift: *shift, table };
            table = *shift;
            level
        })
    }

    /// Linux's name of a level.
    fn name(&self, number: u8) -> &'static str {
        let above = self.form.shifts.get(usize::from(number) + 1);
        name(above.is_none_or(|shift| *shift >= self.bits), number)
    }

    /// Finds the page or block that `at` lies in.
    pub fn walk(
        &self,
        rules: &impl Entry,
        at: VirtAddr,
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Result<Mapping, WalkError> {
        cache.trail = [None; LEVELS];
        let (mut table, mut number, mut bad) = (self.root, 0, false);
        for level in self.levels() {
            number = level.number;
            let entry = cache
                .entry(self, level, table, level.index(at.0), source)
                .map_err(|fault| WalkError::Table { at, fault })?;
            let may_be_leaf = number <= self.form.largest_leaf;
            let (base, bits) = match rules.classify(number, entry) {
                Walk::Table(next) if number > 0 => {
                    table = PhysAddr(next);
                    continue;
                }
                Walk::Leaf(base) if may_be_leaf => (base, level.shift),
                Walk::BlockOf { base, bits } if may_be_leaf => (base, bits),
                Walk::None => break,
                _ => {
                    bad = true;
                    break;
                }
            };
            return Ok(Mapping::in_leaf(at, base, bits));
        }
        let level = self.name(number);
        Err(if bad {
            WalkError::BadEntry { at, level }
        } else {
            WalkError::NotMapped { at, level }
        })
    }
}

/// Why a virtual address has no physical one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WalkError {
    /// An entry of the page tables is not present.
    NotMapped {
        /// The virtual address.
        at: VirtAddr,
        /// The level of the entry.
        level: &'static str,
    },
    /// An entry of the page tables is not one that the hardware accepts.
    BadEntry {
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
    /// The page tables do not cover the address.
    NotCanonical(VirtAddr),
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalkError::NotMapped { at, level } => {
                write!(f, "virtual address {at} is not mapped ({level} entry)")
            }
            WalkError::BadEntry { at, level } => {
                write!(f, "virtual address {at} has a {level} entry that is not valid")
            }
            WalkError::Table { at, fault } => {
                write!(f, "page tables of virtual address {at}: {fault}")
            }
            WalkError::NotCanonical(at) => write!(f, "virtual address {at} is not canonical"),
        }
    }
}

impl core::error::Error for WalkError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            WalkError::Table { fault, .. } => Some(fault),
            _ => None,
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
    fn in_leaf(at: VirtAddr, base: u64, shift: u8) -> Mapping {
        let mask = (1 << shift) - 1;
        let inside = at.0 & mask;
        Mapping { phys: PhysAddr(base & !mask | inside), len: mask + 1 - inside }
    }
}

/// Reads page tables through a small cache: a block of one table per level, so that a sequential walk
/// reads each block once.
pub struct TableCache<'b> {
    blocks: ManagedSlice<'b, u8>,
    held: [Option<PhysAddr>; LEVELS],
    pub(super) leaf: Option<(VirtAddr, Mapping)>,
    /// Where the last walk read an entry, and what it was, by number of the level.
    trail: [Option<(PhysAddr, u64)>; LEVELS],
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
    /// Bytes of a table that are read at a time: all of it where pages have 4 KiB.
    pub const BLOCK: usize = 4096;
    /// Bytes of storage it needs.
    pub const STORAGE: usize = LEVELS * Self::BLOCK;

    /// An empty cache over [`TableCache::STORAGE`] bytes.
    pub fn new(blocks: impl Into<ManagedSlice<'b, u8>>) -> TableCache<'b> {
        TableCache {
            blocks: blocks.into(),
            held: [None; LEVELS],
            leaf: None,
            trail: [None; LEVELS],
        }
    }

    /// The entries that the last walk met, from the top on.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let met = (0..LEVELS as u8).zip(&self.trail).rev();
        let met = met.filter_map(|(number, met)| met.map(|met| (number, met)));
        met.enumerate().map(|(n, (number, (entry_at, entry)))| {
            let level = name(n == 0, number);
            Step { level, entry_at, entry }
        })
    }

    /// The block of a level that an architecture with fewer levels has not got, to keep something else in, and what
    /// it is that is held there.
    #[cfg(feature = "ppc64")]
    pub(super) fn spare(&mut self) -> Option<(&mut Option<PhysAddr>, &mut [u8])> {
        self.trail = [None; LEVELS];
        let start = (LEVELS - 1) * Self::BLOCK;
        Some((self.held.last_mut()?, self.blocks.get_mut(start..start + Self::BLOCK)?))
    }

    /// The entry `index` of `table`, from the cache or read.
    pub(super) fn entry(
        &mut self,
        tables: &Tables,
        level: Level,
        table: PhysAddr,
        index: u64,
        source: &mut impl PhysMemory,
    ) -> Result<u64, ReadError> {
        let (absent, size) = (ReadError::Absent(table), tables.form.entry);
        let offset = index * size.bytes() as u64;
        let entry_at = table.checked_add(offset).ok_or(absent)?;
        // Where entries are aligned to their size, none lies in two blocks.
        let inside = entry_at.0 % Self::BLOCK as u64;
        let block = PhysAddr(entry_at.0 - inside);
        let number = usize::from(level.number);
        let held = self.held.get_mut(number).ok_or(absent)?;
        let start = number * Self::BLOCK;
        let bytes = self.blocks.get_mut(start..start + Self::BLOCK).ok_or(absent)?;
        if *held != Some(block) {
            *held = None;
            source.read(block, bytes)?;
            *held = Some(block);
        }
        let entry = tables.endian.word(size, bytes, inside as usize).ok_or(absent)?;
        if let Some(met) = self.trail.get_mut(number) {
            *met = Some((entry_at, entry));
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests;
