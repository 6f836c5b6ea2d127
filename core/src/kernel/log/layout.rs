//! What all forms of the log ask: sizes and members, checked, and where the buffer is.

use super::error::Lack;
use crate::facts::{Facts, MissingKey};
use crate::kernel::memory::{KernelMemory, TranslateError};
use crate::memory::PhysMemory;
use crate::units::VirtAddr;
use crate::wire::vmcoreinfo::Kind;

/// log2 of `LOG_BUF_LEN_MAX`: no kernel has a larger log.
pub(super) const LOG_MAX_BITS: u32 = 31;
/// Unreadable memory is skipped in steps of the smallest page there is.
pub(super) const STEP: u64 = 4096;

/// Asks for what a log cannot be read without. Answers are 0 from the first lack on, which [`Self::all`] tells:
/// carried through every call, errors were a third of the code.
pub(super) struct Asked<'f> {
    facts: &'f dyn Facts,
    lack: Option<Lack>,
}

impl<'f> Asked<'f> {
    pub(super) fn new(facts: &'f dyn Facts) -> Asked<'f> {
        Asked { facts, lack: None }
    }

    /// What was lacking first, if anything was.
    pub(super) fn all(self) -> Result<(), Lack> {
        self.lack.map_or(Ok(()), Err)
    }

    fn lacks(&mut self, lack: Lack) {
        self.lack.get_or_insert(lack);
    }

    pub(super) fn get(&mut self, kind: Kind, name: &'static str) -> u64 {
        self.facts.get(kind, name).unwrap_or_else(|| {
            self.lacks(Lack::Key(MissingKey(kind, name)));
            0
        })
    }

    /// The address of a variable.
    pub(super) fn symbol(&mut self, name: &'static str) -> VirtAddr {
        VirtAddr(self.get(Kind::Symbol, name))
    }

    /// Takes `value` only if it is plausible.
    pub(super) fn plausible(&mut self, what: &'static str, value: u64, yes: bool) -> u64 {
        if yes {
            return value;
        }
        self.lacks(Lack::Implausible { what, value });
        0
    }

    /// The size of a structure: 1 to `most` bytes.
    pub(super) fn size(&mut self, name: &'static str, most: usize) -> usize {
        let value = self.get(Kind::Size, name);
        self.plausible(name, value, (1..=most as u64).contains(&value)) as usize
    }

    pub(super) fn offset(&mut self, name: &'static str) -> usize {
        let value = self.get(Kind::Offset, name);
        self.plausible(name, value, usize::try_from(value).is_ok()) as usize
    }

    /// The offset of a member of `len` bytes, `plus` bytes further on, in its structure of `size` bytes.
    pub(super) fn member(
        &mut self,
        name: &'static str,
        plus: usize,
        len: usize,
        size: usize,
    ) -> usize {
        let at = self.offset(name).saturating_add(plus);
        let inside = at.checked_add(len).is_some_and(|end| end <= size);
        self.plausible(name, at as u64, inside) as usize
    }

    /// As [`Self::member`], of one that older kernels do not have.
    pub(super) fn optional(
        &mut self,
        name: &'static str,
        len: usize,
        size: usize,
    ) -> Option<usize> {
        self.facts.offset(name)?;
        Some(self.member(name, 0, len, size))
    }

    /// What was read of the variable or structure `what`.
    pub(super) fn read<T: Default>(
        &mut self,
        what: &'static str,
        read: Result<T, TranslateError>,
    ) -> T {
        read.unwrap_or_else(|fault| {
            self.lacks(Lack::Memory { what, fault });
            T::default()
        })
    }

    /// The 32-bit value of a variable.
    pub(super) fn int<S: PhysMemory>(
        &mut self,
        memory: &mut KernelMemory<'_, '_, S>,
        name: &'static str,
    ) -> u64 {
        let at = self.symbol(name);
        u64::from(self.read(name, memory.u32(at)))
    }

    /// The value of a variable as long as a word.
    pub(super) fn long<S: PhysMemory>(
        &mut self,
        memory: &mut KernelMemory<'_, '_, S>,
        name: &'static str,
    ) -> u64 {
        let at = self.symbol(name);
        self.read(name, memory.word(at))
    }
}
