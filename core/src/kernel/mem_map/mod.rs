//! Where the `struct page` of a pfn is: SPARSEMEM (with roots or plain, vmemmap or not), FLATMEM and
//! DISCONTIGMEM, one file each.

mod error;
mod flat;
#[cfg(feature = "discontig")]
mod nodes;
mod run;
mod sparse;

pub use error::MemMapError;
pub use run::{Doubt, Run, State};
pub use sparse::RootCache;

use super::memory::KernelMemory;
use crate::facts::{Facts, MissingKey};
use crate::memory::PhysMemory;
use crate::units::{PageShift, Pfn, VirtAddr};
use crate::wire::vmcoreinfo::Kind;
use flat::Flat;
#[cfg(feature = "discontig")]
use nodes::Nodes;
use sparse::Sections;

/// How the kernel finds the `struct page` of a pfn.
#[derive(Clone, Copy, Debug)]
enum Model {
    Flat(Flat),
    Sparse(Sections),
    #[cfg(feature = "discontig")]
    Nodes(Nodes),
}

/// The table of nodes of a DISCONTIGMEM kernel: only it, and FLATMEM, which has `mem_map` beside it, export where a
/// node has its array.
fn table_of_nodes(facts: &dyn Facts) -> Option<VirtAddr> {
    facts.get(Kind::Offset, "pglist_data.node_mem_map")?;
    let symbol = |name| facts.get(Kind::Symbol, name).map(VirtAddr);
    // The second is ia64's.
    symbol("node_data").or_else(|| symbol("pgdat_list"))
}

/// The dead kernel's array of `struct page`.
#[derive(Clone, Copy, Debug)]
pub struct MemMap {
    model: Model,
    page_struct: u64,
    max_pfn: Pfn,
}

impl MemMap {
    /// Finds the mem_map of a machine whose pfns end at `max_pfn`. `page_struct` is `SIZE(page)`.
    ///
    /// Keys: `mem_section` (symbol, `SIZE`, `OFFSET(.section_mem_map)`, `LENGTH`),
    /// `SECTION_SIZE_BITS`, `MAX_PHYSMEM_BITS`; or `SYMBOL(mem_map)`; or, with the feature `discontig`, `node_data` (symbol, `LENGTH`) and
    /// `OFFSET(pglist_data.node_mem_map)`, `.node_start_pfn`, `.node_spanned_pages`.
    pub fn find<S: PhysMemory>(
        facts: &dyn Facts,
        memory: &mut KernelMemory<'_, '_, S>,
        cache: &mut RootCache<'_>,
        shift: PageShift,
        page_struct: u64,
        max_pfn: Pfn,
    ) -> Result<MemMap, MemMapError> {
        let over = |model| MemMap { model, page_struct, max_pfn };
        if let Some(symbol) = facts.get(Kind::Symbol, "mem_section") {
            let symbol = VirtAddr(symbol);
            let sections =
                Sections::find(facts, memory, cache, shift, symbol, page_struct, max_pfn)?;
            return Ok(over(Model::Sparse(sections)));
        }
        if let Some(symbol) = facts.get(Kind::Symbol, "mem_map") {
            return Ok(over(Model::Flat(Flat::find(memory, VirtAddr(symbol))?)));
        }
        match table_of_nodes(facts) {
            #[cfg(feature = "discontig")]
            Some(table) => Ok(over(Model::Nodes(Nodes::find(facts, memory, table)?))),
            #[cfg(not(feature = "discontig"))]
            Some(_) => Err(MemMapError::Model("DISCONTIGMEM")),
            None => Err(MissingKey(Kind::Symbol, "mem_section").into()),
        }
    }

    /// One past the last pfn that the kernel manages: the end of the last section that is there, or of which nothing
    /// can be read.
    pub fn end(&self) -> Pfn {
        match &self.model {
            Model::Flat(_) => self.max_pfn,
            #[cfg(feature = "discontig")]
            Model::Nodes(_) => self.max_pfn,
            Model::Sparse(sections) => sections.end(),
        }
    }

    /// The state of `pfn` and of those after it, as far as it is the same.
    #[inline(never)]
    pub fn run_at<S: PhysMemory>(
        &self,
        pfn: Pfn,
        memory: &mut KernelMemory<'_, '_, S>,
        cache: &mut RootCache<'_>,
    ) -> Run {
        match &self.model {
            Model::Flat(flat) => flat.run_at(pfn, self.page_struct, self.max_pfn),
            Model::Sparse(s) => s.run_at(pfn, self.page_struct, memory, cache),
            #[cfg(feature = "discontig")]
            Model::Nodes(nodes) => nodes.run_at(pfn, self.page_struct, self.max_pfn, memory),
        }
    }

    /// The pfn of which the `struct page` is at `at`: one in the array that has that of `near`, or one of the section
    /// of which `flags` has the number in its upper bits (`SECTIONS_PGSHIFT`).
    #[cfg(feature = "free-lists")]
    pub(super) fn pfn_of<S: PhysMemory>(
        &self,
        at: VirtAddr,
        near: Pfn,
        flags: u64,
        memory: &mut KernelMemory<'_, '_, S>,
        cache: &mut RootCache<'_>,
    ) -> Option<Pfn> {
        let size = self.page_struct as i64;
        let section = match &self.model {
            Model::Sparse(sections) => sections.first_pfn(flags, memory.word_size()),
            _ => near,
        };
        [near, section].into_iter().find_map(|start| {
            let run = self.run_at(start, memory, cache);
            let State::At(base) = run.state else { return None };
            let distance = at.0.wrapping_sub(base.0) as i64;
            let pages = distance.checked_div(size).filter(|pages| pages * size == distance)?;
            let pfn = Pfn(start.0.checked_add_signed(pages).filter(|pfn| *pfn < self.max_pfn.0)?);
            (self.run_at(pfn, memory, cache).state == State::At(at)).then_some(pfn)
        })
    }
}
