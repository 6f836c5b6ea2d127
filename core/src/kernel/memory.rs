//! The dead kernel's virtual memory.

use crate::arch::Arch;
use crate::arch::linear::Linear;
use crate::arch::paging::{Mapping, TableCache, WalkError};
use crate::endian::{Endian, Word};
use crate::facts::Facts;
use crate::memory::{MemoryRange, PhysMemory, ReadError};
use crate::units::{PhysAddr, VirtAddr};
use core::fmt;

/// Why a kernel structure could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TranslateError {
    /// The address has no page.
    Walk(WalkError),
    /// The page could not be read.
    Read(ReadError),
}

impl fmt::Display for TranslateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TranslateError::Walk(e) => e.fmt(f),
            TranslateError::Read(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for TranslateError {}

/// The dead kernel's virtual memory.
pub struct KernelMemory<'a, 'b, S> {
    /// Where physical memory comes from.
    pub source: &'a mut S,
    arch: Arch,
    cache: &'a mut TableCache<'b>,
    endian: Endian,
    word: Word,
    linear: Linear,
    linear_first: bool,
    by_arithmetic: bool,
}

impl<'a, 'b, S: PhysMemory> KernelMemory<'a, 'b, S> {
    /// Over a source, with the page tables that `arch` knows how to walk.
    pub fn new(
        source: &'a mut S,
        arch: Arch,
        cache: &'a mut TableCache<'b>,
    ) -> KernelMemory<'a, 'b, S> {
        let machine = source.machine();
        KernelMemory {
            source,
            arch,
            cache,
            endian: machine.endian,
            word: machine.word,
            linear: Linear::default(),
            linear_first: false,
            by_arithmetic: false,
        }
    }

    /// Finds out where the kernel image and the direct map are, for addresses that the page tables
    /// have no answer to; with `first`, the page tables are only asked where arithmetic has none.
    pub fn allow_arithmetic(&mut self, facts: &dyn Facts, ram: &[MemoryRange], first: bool) {
        self.linear = self.arch.linear(facts, ram, self.source, self.cache);
        self.linear_first = first;
    }

    /// Whether any address was found by arithmetic.
    pub fn is_by_arithmetic(&self) -> bool {
        self.by_arithmetic
    }

    /// Physical less virtual address, which is the same for all of the direct map.
    pub(super) fn distance(&mut self, at: VirtAddr) -> Option<u64> {
        Some(self.translate(at).ok()?.phys.0.wrapping_sub(at.0))
    }

    /// The physical address of `at`.
    pub fn physical(&mut self, at: VirtAddr) -> Result<PhysAddr, WalkError> {
        self.translate(at).map(|found| found.phys)
    }

    /// How many bytes from `at` on one entry of the page tables maps; 0 if none does.
    pub fn mapped(&mut self, at: VirtAddr) -> u64 {
        self.translate(at).map_or(0, |found| found.len)
    }

    #[inline(never)] // called from several places: one copy is enough
    fn translate(&mut self, at: VirtAddr) -> Result<Mapping, WalkError> {
        let linear = self.linear.find(at);
        if let (Some(found), true) = (linear, self.linear_first) {
            self.by_arithmetic = true;
            return Ok(found);
        }
        self.arch.translate(at, self.source, self.cache).or_else(|error| {
            self.by_arithmetic |= linear.is_some();
            linear.ok_or(error)
        })
    }

    /// Where an address is in physical memory, and how many bytes from there on; `None` where it is nowhere.
    #[cfg(feature = "rules")]
    pub(super) fn place(&mut self, at: VirtAddr) -> Option<(PhysAddr, u64)> {
        let map = self.translate(at).ok()?;
        Some((map.phys, map.len))
    }

    /// The architecture.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// Byte order of integers in this memory.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// Size of an `unsigned long` and of a pointer in this memory.
    pub fn word_size(&self) -> Word {
        self.word
    }

    /// Fills `buf` from `at`, mapping by mapping.
    pub fn read(&mut self, at: VirtAddr, buf: &mut [u8]) -> Result<(), TranslateError> {
        let (mut at, mut rest) = (at, buf);
        while !rest.is_empty() {
            let map = self.translate(at).map_err(TranslateError::Walk)?;
            let len = map.len.min(rest.len() as u64).max(1) as usize;
            let (part, after) = rest.split_at_mut(len);
            self.source.read(map.phys, part).map_err(TranslateError::Read)?;
            rest = after;
            at = VirtAddr(at.0.wrapping_add(len as u64));
        }
        Ok(())
    }

    /// The bytes at `at` without copying them, where they lie in one mapping and the source lends
    /// them. See [`PhysMemory::window`].
    pub fn window(&mut self, at: VirtAddr, len: usize) -> Option<&[u8]> {
        let map = self.translate(at).ok()?;
        if map.len < len as u64 {
            return None;
        }
        self.source.window(map.phys, len)
    }

    /// The 32-bit integer at `at`.
    pub fn u32(&mut self, at: VirtAddr) -> Result<u32, TranslateError> {
        let mut raw = [0; 4];
        self.read(at, &mut raw)?;
        Ok(self.endian.u32(&raw, 0).unwrap_or(0))
    }

    /// The 64-bit integer at `at`.
    pub fn u64(&mut self, at: VirtAddr) -> Result<u64, TranslateError> {
        let mut raw = [0; 8];
        self.read(at, &mut raw)?;
        Ok(self.endian.u64(&raw, 0).unwrap_or(0))
    }

    /// The `unsigned long` (or pointer) at `at`.
    pub fn word(&mut self, at: VirtAddr) -> Result<u64, TranslateError> {
        match self.word {
            Word::Bits32 => self.u32(at).map(u64::from),
            Word::Bits64 => self.u64(at),
        }
    }
}
