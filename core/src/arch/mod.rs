//! What differs between architectures, one file each, chosen from the ELF machine at run time: one
//! binary reads every architecture it knows.

pub mod aarch64;
pub mod x86_64;

use crate::endian::Endian;
use crate::kernel::{Info, MissingKey};
use crate::memory::{Machine, ReadFault, Segment, Source};
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
        fault: ReadFault,
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
    fn in_leaf(at: VirtAddr, base: u64, shift: u32) -> Mapping {
        let mask = (1 << shift) - 1;
        let inside = at.0 & mask;
        Mapping { phys: PhysAddr(base & !mask | inside), len: mask + 1 - inside }
    }
}

/// Where virtual addresses lie by arithmetic, without page tables: the kernel image and the direct
/// map, as far as it is known where these begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Linear {
    ranges: [LinearRange; 2],
}

/// A run of virtual addresses that lie behind each other physically.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct LinearRange {
    virt: u64,
    len: u64,
    phys: u64,
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

/// Reads page tables through a small cache: a block of one table per level, so that a sequential walk
/// reads each block once.
pub struct TableCache<'b> {
    blocks: &'b mut [u8],
    held: [Option<PhysAddr>; TableCache::LEVELS],
    leaf: Option<(VirtAddr, Mapping)>,
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
    pub fn new(blocks: &'b mut [u8]) -> TableCache<'b> {
        let (held, trail) = ([None; Self::LEVELS], [None; Self::LEVELS]);
        TableCache { blocks, held, leaf: None, trail }
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
        source: &mut impl Source,
        endian: Endian,
        level: usize,
        table: PhysAddr,
        index: u64,
    ) -> Result<u64, ReadFault> {
        let absent = ReadFault::Absent(table);
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
    pub fn new(machine: Machine, info: &Info<'_>, ram: &[Segment]) -> Result<Arch, ArchError> {
        match machine.elf_machine {
            x86_64::ELF_MACHINE => Ok(Arch::X86_64(x86_64::X86_64::new(info, ram)?)),
            aarch64::ELF_MACHINE => Ok(Arch::Aarch64(aarch64::Aarch64::new(info)?)),
            other => Err(ArchError::Unknown(other)),
        }
    }

    /// Name as `uname -m` gives it; `None` for machines that tamis does not know.
    pub fn machine_name(machine: Machine) -> Option<&'static str> {
        match machine.elf_machine {
            x86_64::ELF_MACHINE => Some(x86_64::NAME),
            aarch64::ELF_MACHINE => Some(aarch64::NAME),
            _ => None,
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

    /// log2 of the bytes of a memory section, where VMCOREINFO does not say.
    pub fn default_section_bits(&self, info: &Info<'_>) -> u32 {
        match self {
            Arch::X86_64(_) => x86_64::SECTION_BITS,
            Arch::Aarch64(a) => a.section_bits(info),
        }
    }

    /// log2 of the largest physical address, where VMCOREINFO does not say.
    pub fn default_physmem_bits(&self, info: &Info<'_>) -> u32 {
        match self {
            Arch::X86_64(a) => a.physmem_bits(info),
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
        info: &Info<'_>,
        ram: &[Segment],
        source: &mut impl Source,
        cache: &mut TableCache<'_>,
    ) -> Linear {
        match self {
            Arch::X86_64(a) => a.linear(info, ram, source, cache),
            Arch::Aarch64(a) => a.linear(info),
        }
    }

    /// Translates a kernel virtual address. The leaf found last answers for its neighbours.
    pub fn translate(
        &self,
        at: VirtAddr,
        source: &mut impl Source,
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
