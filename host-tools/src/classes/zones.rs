//! Nodes and zones of the dead kernel, as far as VMCOREINFO leads to them.

use crate::dump::opened::Opened;
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::memory::PhysMemory;
use tamis_core::units::{Pfn, PfnSpan, VirtAddr};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::vmcoreinfo::Kind;

/// A zone of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zone {
    /// Number of the node.
    pub node: u64,
    /// Number of the zone in the node; none where only the node is known.
    pub zone: Option<u64>,
    /// Its pfns.
    pub span: PfnSpan,
}

/// More than any machine has.
const NODES_MOST: u64 = 1 << 12;
const ZONES_MOST: u64 = 8;

/// All zones, in the order of nodes; none where they cannot be found.
pub fn zones(opened: &mut Opened) -> Vec<Zone> {
    let found = opened.with_memory(|memory, info| read(memory, info).unwrap_or_default());
    found.unwrap_or_default()
}

fn read<S: PhysMemory>(memory: &mut KernelMemory<'_, '_, S>, info: &Info<'_>) -> Option<Vec<Zone>> {
    let word = memory.word_size().bytes() as u64;
    let offset = |name: &str| info.get(Kind::Offset, name);
    let start_at = offset("pglist_data.node_start_pfn")?;
    let spanned_at = offset("pglist_data.node_spanned_pages")?;
    let mut nodes = Vec::new();
    if let Some(table) = info.get(Kind::Symbol, "node_data") {
        let count = info.get(Kind::Length, "node_data")?.min(NODES_MOST);
        for index in 0..count {
            match memory.word(VirtAddr(table.checked_add(index * word)?)) {
                Ok(0) => {}
                Ok(node) => nodes.push((index, node)),
                Err(_) => break,
            }
        }
    } else {
        nodes.push((0, info.get(Kind::Symbol, "contig_page_data")?));
    }
    let mut found = Vec::new();
    for (index, node) in nodes {
        let at = |offset: u64| Some(VirtAddr(node.checked_add(offset)?));
        let start = memory.word(at(start_at)?).ok()?;
        let spanned = memory.word(at(spanned_at)?).ok()?;
        let whole = PfnSpan::new(Pfn(start), Pfn(start.checked_add(spanned)?));
        if whole.is_empty() {
            continue;
        }
        let zones = of_node(memory, info, node, whole).filter(|zones| !zones.is_empty());
        match zones {
            Some(zones) => {
                found.extend(zones.into_iter().map(|(zone, span)| Zone {
                    node: index,
                    zone: Some(zone),
                    span,
                }));
            }
            None => found.push(Zone { node: index, zone: None, span: whole }),
        }
    }
    Some(found)
}

/// The zones of a node, if what is read looks like zones: one behind the other, inside the node.
fn of_node<S: PhysMemory>(
    memory: &mut KernelMemory<'_, '_, S>,
    info: &Info<'_>,
    node: u64,
    whole: PfnSpan,
) -> Option<Vec<(u64, PfnSpan)>> {
    let word = memory.word_size().bytes() as u64;
    let zones_at = info.get(Kind::Offset, "pglist_data.node_zones")?;
    let count_at = info.get(Kind::Offset, "pglist_data.nr_zones")?;
    let size = info.get(Kind::Size, "zone")?;
    let spanned_at = info.get(Kind::Offset, "zone.spanned_pages")?;
    let count = memory.u32(VirtAddr(node.checked_add(count_at)?)).ok()?;
    // zone_start_pfn is not in VMCOREINFO. In include/linux/mmzone.h it stands before
    // spanned_pages, since 3.11 with managed_pages between them.
    'layout: for back in [2 * word, word] {
        let start_at = spanned_at.checked_sub(back)?;
        let (mut found, mut end) = (Vec::new(), whole.start.0);
        for index in 0..u64::from(count).min(ZONES_MOST) {
            let zone = node.checked_add(zones_at)?.checked_add(index.checked_mul(size)?)?;
            let spanned = memory.word(VirtAddr(zone.checked_add(spanned_at)?)).ok()?;
            let start = memory.word(VirtAddr(zone.checked_add(start_at)?)).ok()?;
            if spanned == 0 {
                continue;
            }
            let next = start.checked_add(spanned).filter(|next| *next <= whole.end.0);
            let Some(next) = next.filter(|_| start >= end) else { continue 'layout };
            found.push((index, PfnSpan::new(Pfn(start), Pfn(next))));
            end = next;
        }
        return Some(found);
    }
    None
}
