//! What differs between architectures, one file each, chosen from the ELF machine at run time: one
//! binary reads every architecture it knows.

pub mod aarch64;
pub mod linear;
pub mod paging;
pub mod x86_64;

use crate::facts::{Facts, MissingKey};
use crate::memory::{Machine, MemoryRange, PhysMemory};
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::machine::{EM_AARCH64, EM_X86_64};
use core::fmt;
use linear::Linear;
use paging::{Mapping, TableCache, WalkError};

/// An architecture, with what it had to know about this kernel.
#[derive(Clone, Copy, Debug)]
pub enum Arch {
    /// x86_64.
    X86_64(x86_64::X86_64),
    /// aarch64.
    Aarch64(aarch64::Aarch64),
}

/// Why an architecture cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArchError {
    /// tamis does not know it (yet): the ELF machine number.
    Unknown(u16),
    /// A fact about this kernel is missing.
    Missing(MissingKey),
}

impl core::error::Error for ArchError {}

impl fmt::Display for ArchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchError::Unknown(m) => write!(f, "page tables of ELF machine {m} are not supported"),
            ArchError::Missing(key) => key.fmt(f),
        }
    }
}

impl From<MissingKey> for ArchError {
    fn from(key: MissingKey) -> ArchError {
        ArchError::Missing(key)
    }
}

impl Arch {
    /// The architecture of `machine`, from what VMCOREINFO and the memory ranges tell.
    pub fn new(
        machine: Machine,
        facts: &dyn Facts,
        ram: &[MemoryRange],
    ) -> Result<Arch, ArchError> {
        match machine.elf_machine {
            EM_X86_64 => Ok(Arch::X86_64(x86_64::X86_64::new(facts, ram)?)),
            EM_AARCH64 => Ok(Arch::Aarch64(aarch64::Aarch64::new(facts)?)),
            other => Err(ArchError::Unknown(other)),
        }
    }

    /// What the sub-header has as `phys_base`: where the kernel image lies physically, less its link
    /// address; on aarch64, where the linear map begins.
    pub fn phys_base(&self) -> u64 {
        match self {
            Arch::X86_64(a) => a.phys_base,
            Arch::Aarch64(a) => a.phys_base,
        }
    }

    /// The pfn of `mem_map[0]` where the memory model is FLATMEM (`ARCH_PFN_OFFSET`).
    pub fn first_pfn(&self) -> Pfn {
        match self {
            Arch::X86_64(_) | Arch::Aarch64(_) => Pfn(0),
        }
    }

    /// log2 of the bytes of a memory section, where VMCOREINFO does not say.
    pub fn default_section_bits(&self, facts: &dyn Facts) -> u32 {
        match self {
            Arch::X86_64(_) => x86_64::SECTION_BITS,
            Arch::Aarch64(a) => a.section_bits(facts),
        }
    }

    /// log2 of the largest physical address, where VMCOREINFO does not say.
    pub fn default_physmem_bits(&self, facts: &dyn Facts) -> u32 {
        match self {
            Arch::X86_64(a) => a.physmem_bits(facts),
            Arch::Aarch64(a) => a.physmem_bits(),
        }
    }

    /// Largest order (log2 of pages) of a compound page: what the largest huge page has.
    pub fn max_compound_order(&self, page_shift: u32) -> u32 {
        let bits = match self {
            Arch::X86_64(_) => x86_64::LARGEST_HUGE_PAGE_BITS,
            Arch::Aarch64(a) => a.largest_huge_page_bits(),
        };
        bits.saturating_sub(page_shift)
    }

    /// Whether a pointer can be one into the kernel's own address space.
    pub fn is_kernel_address(&self, at: VirtAddr) -> bool {
        match self {
            Arch::X86_64(a) => a.is_kernel_address(at),
            Arch::Aarch64(a) => a.is_kernel_address(at),
        }
    }

    /// What can be known of this kernel's addresses without its page tables. `ram` are the memory
    /// ranges, which in a vmcore tell where the direct map is.
    pub fn linear(
        &self,
        facts: &dyn Facts,
        ram: &[MemoryRange],
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Linear {
        match self {
            Arch::X86_64(a) => a.linear(facts, ram, source, cache),
            Arch::Aarch64(a) => a.linear(facts),
        }
    }

    /// Translates a kernel virtual address. The leaf found last answers for its neighbours.
    pub fn translate(
        &self,
        at: VirtAddr,
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Result<Mapping, WalkError> {
        if let Some((start, leaf)) = cache.leaf {
            let inside = at.0.wrapping_sub(start.0);
            if inside < leaf.len {
                let phys = PhysAddr(leaf.phys.0.wrapping_add(inside));
                return Ok(Mapping { phys, len: leaf.len - inside });
            }
        }
        let found = match self {
            Arch::X86_64(a) => a.walk(at, source, cache)?,
            Arch::Aarch64(a) => a.walk(at, source, cache)?,
        };
        cache.leaf = Some((at, found));
        Ok(found)
    }
}
