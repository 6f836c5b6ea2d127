//! DISCONTIGMEM: an array for each node (Linux before 5.14, `include/linux/mmzone.h`,
//! `include/asm-generic/memory_model.h`).

use super::error::MemMapError;
use super::run::{Run, State};
use crate::facts::{Facts, MissingKey};
use crate::kernel::memory::{KernelMemory, TranslateError};
use crate::memory::PhysMemory;
use crate::units::{Pfn, PfnSpan, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// More than any machine has (`MAX_NUMNODES`).
const MOST: u64 = 1 << 12;

/// The nodes of a DISCONTIGMEM kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nodes {
    /// Array of pointers to `struct pglist_data`, null where there is no node.
    table: VirtAddr,
    count: u64,
    /// Offsets in that structure.
    map_at: u64,
    start_at: u64,
    spanned_at: u64,
}

/// Pfns of a node, and the address of the first one's `struct page`.
type Node = (PfnSpan, VirtAddr);

impl Nodes {
    /// Keys: `LENGTH(node_data)` or `LENGTH(pgdat_list)`, `OFFSET(pglist_data.node_mem_map)`, `.node_start_pfn`,
    /// `.node_spanned_pages`.
    pub(super) fn find<S: PhysMemory>(
        facts: &dyn Facts,
        memory: &mut KernelMemory<'_, '_, S>,
        table: VirtAddr,
    ) -> Result<Nodes, MemMapError> {
        let length = facts.get(Kind::Length, "node_data");
        let length = length.or_else(|| facts.get(Kind::Length, "pgdat_list"));
        let member = |name| facts.need(Kind::Offset, name);
        let nodes = Nodes {
            table,
            count: length.ok_or(MissingKey(Kind::Length, "node_data"))?.min(MOST),
            map_at: member("pglist_data.node_mem_map")?,
            start_at: member("pglist_data.node_start_pfn")?,
            spanned_at: member("pglist_data.node_spanned_pages")?,
        };
        let mut fault = None;
        for index in 0..nodes.count {
            match nodes.node(index, memory) {
                Ok(Some(_)) => return Ok(nodes),
                Ok(None) => {}
                Err(e) => fault = Some(e),
            }
        }
        Err(match fault {
            Some(fault) => MemMapError::unreadable(memory.arch(), fault),
            None => MemMapError::Implausible(table),
        })
    }

    /// A node, if there is one with memory. One whose array is no address of the kernel's has an address of 0.
    fn node<S: PhysMemory>(
        &self,
        index: u64,
        memory: &mut KernelMemory<'_, '_, S>,
    ) -> Result<Option<Node>, TranslateError> {
        let word = memory.word_size().bytes() as u64;
        let at = memory.word(VirtAddr(self.table.0.wrapping_add(index * word)))?;
        if at == 0 {
            return Ok(None);
        }
        let mut member = |offset| memory.word(VirtAddr(at.wrapping_add(offset)));
        let (start, spanned) = (member(self.start_at)?, member(self.spanned_at)?);
        let map = VirtAddr(member(self.map_at)?);
        if spanned == 0 {
            return Ok(None);
        }
        let span = PfnSpan::new(Pfn(start), Pfn(start.saturating_add(spanned)));
        let map = if memory.arch().is_kernel_address(map) { map } else { VirtAddr(0) };
        Ok(Some((span, map)))
    }

    /// The state of `pfn` and of the following pfns that share it. Nodes are looked at one by one: there are few, and
    /// a run ends where a node does. Two that have the same pfn contradict each other: its page is kept.
    pub(super) fn run_at<S: PhysMemory>(
        &self,
        pfn: Pfn,
        page_struct: u64,
        max_pfn: Pfn,
        memory: &mut KernelMemory<'_, '_, S>,
    ) -> Run {
        if pfn >= max_pfn {
            return Run { span: PfnSpan::new(pfn, Pfn(u64::MAX)), state: State::Absent };
        }
        let (mut end, mut found, mut unknown) = (max_pfn, None, false);
        for index in 0..self.count {
            match self.node(index, memory) {
                Ok(Some((span, map))) if span.start <= pfn && pfn < span.end => {
                    end = end.min(span.end);
                    unknown |= found.is_some();
                    let inside = (pfn.0 - span.start.0).checked_mul(page_struct);
                    let at =
                        inside.filter(|_| map.0 != 0).and_then(|inside| map.checked_add(inside));
                    unknown |= at.is_none();
                    found = at;
                }
                Ok(Some((span, _))) if span.start > pfn => end = end.min(span.start),
                Ok(_) => {}
                // It may be this node that has the pfn.
                Err(_) => unknown = true,
            }
        }
        let state = match found {
            _ if unknown => State::Unreadable,
            Some(at) => State::At(at),
            None => State::Absent,
        };
        Run { span: PfnSpan::new(pfn, end), state }
    }
}
