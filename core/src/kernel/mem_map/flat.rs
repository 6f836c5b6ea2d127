//! FLATMEM: one array for all pfns (Linux `include/asm-generic/memory_model.h`).

use super::error::MemMapError;
use super::run::{Run, State};
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::units::{Pfn, PfnSpan, VirtAddr};

/// The array of a FLATMEM kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flat {
    /// Address of its first `struct page`.
    base: VirtAddr,
    /// The pfn of that one (`ARCH_PFN_OFFSET`).
    first_pfn: Pfn,
}

impl Flat {
    /// Reads the pointer `mem_map`, which lies at `symbol`.
    pub(super) fn find<S: PhysMemory>(
        memory: &mut KernelMemory<'_, '_, S>,
        symbol: VirtAddr,
    ) -> Result<Flat, MemMapError> {
        let base = memory.word(symbol);
        let base = VirtAddr(base.map_err(|e| MemMapError::unreadable(memory.arch(), e))?);
        if !memory.arch().is_kernel_address(base) {
            return Err(MemMapError::Implausible(symbol));
        }
        Ok(Flat { base, first_pfn: memory.arch().space().first_pfn })
    }

    /// The state of `pfn` and of the following pfns that share it, on a machine whose pfns end at
    /// `max_pfn`.
    pub(super) fn run_at(&self, pfn: Pfn, page_struct: u64, max_pfn: Pfn) -> Run {
        let (end, state) = match pfn.0.checked_sub(self.first_pfn.0) {
            None => (self.first_pfn, State::Absent),
            Some(_) if pfn >= max_pfn => (Pfn(u64::MAX), State::Absent),
            Some(index) => {
                let at = index.checked_mul(page_struct).and_then(|o| self.base.checked_add(o));
                (max_pfn, at.map_or(State::Absent, State::At))
            }
        };
        Run { span: PfnSpan::new(pfn, end), state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: VirtAddr = VirtAddr(0xffff_8880_1000_0000);

    fn run(start: u64, end: u64, state: State) -> Run {
        Run { span: PfnSpan::new(Pfn(start), Pfn(end)), state }
    }

    #[test]
    fn the_first_structure_is_that_of_the_first_pfn() {
        let flat = Flat { base: BASE, first_pfn: Pfn(0x4_0000) };
        let at = |pfn| flat.run_at(Pfn(pfn), 64, Pfn(0x6_0000));
        assert_eq!(at(0x4_0000), run(0x4_0000, 0x6_0000, State::At(BASE)));
        assert_eq!(at(0x4_0005), run(0x4_0005, 0x6_0000, State::At(VirtAddr(BASE.0 + 5 * 64))));
        assert_eq!(at(0), run(0, 0x4_0000, State::Absent));
        assert_eq!(at(0x3_ffff), run(0x3_ffff, 0x4_0000, State::Absent));
        assert_eq!(at(0x6_0000), run(0x6_0000, u64::MAX, State::Absent));
    }

    #[test]
    fn where_memory_begins_at_zero_the_pfn_is_the_index() {
        let flat = Flat { base: BASE, first_pfn: Pfn(0) };
        assert_eq!(
            flat.run_at(Pfn(9), 56, Pfn(100)),
            run(9, 100, State::At(VirtAddr(BASE.0 + 9 * 56)))
        );
        let past_the_end = flat.run_at(Pfn(1 << 60), 56, Pfn(u64::MAX));
        assert_eq!(past_the_end, run(1 << 60, u64::MAX, State::Absent), "not a wrapped address");
    }
}
