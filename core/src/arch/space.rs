//! What an architecture makes of what is known of a kernel.

use super::linear::Linear;
use super::paging::{Entry, Mapping, TableCache, Tables};
use crate::facts::Facts;
use crate::memory::{MemoryRange, PhysMemory};
use crate::units::{Pfn, VirtAddr};
#[cfg(any(feature = "ppc64", feature = "s390x"))]
use crate::wire::vmcoreinfo::Kind;

/// One kernel's addresses, and what its architecture says where VMCOREINFO does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressSpace {
    /// Its page tables.
    pub tables: Tables,
    /// The lowest kernel address.
    pub kernel_start: u64,
    /// One past the highest user address that the same tables translate; 0 where user space has others.
    pub user_end: u64,
    /// Whether the top byte of a pointer may hold a tag, which the hardware ignores.
    pub top_byte_ignored: bool,
    /// What the sub-header has as `phys_base`: where the kernel image lies physically, less its link
    /// address; on aarch64, where the linear map begins. Two's complement.
    pub phys_base: u64,
    /// The pfn of `mem_map[0]` where the memory model is FLATMEM (`ARCH_PFN_OFFSET`).
    pub first_pfn: Pfn,
    /// log2 of the bytes of a memory section, where VMCOREINFO does not say.
    pub section_bits: u8,
    /// log2 of one past the largest physical address, where VMCOREINFO does not say.
    pub physmem_bits: u8,
    /// log2 of the bytes of the largest huge page.
    pub largest_huge_page_bits: u8,
}

/// Who says where a virtual address lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// The page tables.
    Tables,
    /// The hardware itself: the address is in a window onto physical memory.
    Window(Mapping),
    /// A list of pieces that the kernel keeps.
    #[cfg(feature = "ppc64")]
    Chunks,
    /// Nobody: it is no address of the kernel's.
    Nowhere,
}

/// What an architecture does by itself.
pub trait Rules: Entry {
    /// Its addresses.
    fn space(&self) -> &AddressSpace;

    /// Who says where `at` lies: [`AddressSpace::route`], where there are no windows.
    fn route(&self, at: VirtAddr) -> Route;

    /// What can be known of this kernel's addresses without its page tables, or with the upper ones alone.
    /// `ram` are the memory ranges, which in a vmcore tell where the direct map is.
    fn linear(
        &self,
        facts: &dyn Facts,
        ram: &[MemoryRange],
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Linear;
}

impl AddressSpace {
    /// log2 of one past the largest physical address, by the number of roots of sections (or, in a plain table, of
    /// sections), where that is one of `candidates`, in ascending order.
    #[cfg(any(feature = "ppc64", feature = "s390x"))]
    pub(super) fn physmem_by_length(
        facts: &dyn Facts,
        section_bits: u8,
        candidates: &[u8],
    ) -> Option<u8> {
        let length = facts.get(Kind::Length, "mem_section")?;
        let page = facts.page_shift()?.value.bytes() as u64;
        let per_root =
            page.checked_div(facts.get(Kind::Size, "mem_section")?).filter(|n| *n > 0)?;
        let fits = |per_root: u64| {
            let sections = |bits: &u8| 1u64.checked_shl((bits.saturating_sub(section_bits)).into());
            let fits = |bits: &&u8| sections(bits).map(|n| n.div_ceil(per_root)) == Some(length);
            candidates.iter().find(fits).copied()
        };
        fits(per_root).or_else(|| fits(1))
    }

    /// `at` without its tag.
    pub(super) fn untagged(&self, at: VirtAddr) -> u64 {
        if self.top_byte_ignored { ((at.0 << 8) as i64 >> 8) as u64 } else { at.0 }
    }

    /// Whether a pointer can be one into the kernel's own address space.
    pub fn is_kernel_address(&self, at: VirtAddr) -> bool {
        self.untagged(at) >= self.kernel_start
    }

    /// Who says where `at` lies: page tables, if anybody.
    #[inline(always)]
    pub fn route(&self, at: VirtAddr) -> Route {
        if self.is_translated(at) { Route::Tables } else { Route::Nowhere }
    }

    /// Whether the page tables say anything about an address: its bits above those that they translate
    /// are the kernel's, or it is a user's.
    pub(super) fn is_translated(&self, at: VirtAddr) -> bool {
        let at = self.untagged(at);
        let other = at ^ self.kernel_start;
        let same = other.checked_shr(self.tables.bits.into()).unwrap_or(0) == 0;
        at < self.user_end || same && at >= self.kernel_start
    }
}
