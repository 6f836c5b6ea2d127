//! Nodes and zones: which pfns the kernel manages together (Linux `include/linux/mmzone.h`).

use crate::facts::{Facts, MissingKey};
use crate::kernel::memory::{KernelMemory, TranslateError};
use crate::memory::PhysMemory;
use crate::units::{Pfn, PfnSpan, VirtAddr};
use crate::wire::vmcoreinfo::Kind;
use core::fmt;

/// A zone of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zone {
    /// Number of the node.
    pub node: u64,
    /// Number of the zone in the node; `None` where only the node is known.
    pub zone: Option<u64>,
    /// Its pfns.
    pub span: PfnSpan,
    /// Address of its `struct zone`; `None` where only the node is known.
    pub at: Option<VirtAddr>,
}

/// Why zones could not be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ZonesError {
    /// A fact about the kernel is missing.
    Missing(MissingKey),
    /// A node could not be read.
    Unreadable {
        /// Number of the node.
        node: u64,
        /// Where, and what happened.
        fault: TranslateError,
    },
    /// A node's pfns or addresses run over the end of all numbers.
    Implausible {
        /// Number of the node.
        node: u64,
    },
}

impl fmt::Display for ZonesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZonesError::Missing(key) => key.fmt(f),
            ZonesError::Unreadable { node, fault } => write!(f, "reading node {node}: {fault}"),
            ZonesError::Implausible { node } => write!(f, "implausible node {node}"),
        }
    }
}

impl core::error::Error for ZonesError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            ZonesError::Missing(key) => Some(key),
            ZonesError::Unreadable { fault, .. } => Some(fault),
            ZonesError::Implausible { .. } => None,
        }
    }
}

impl From<MissingKey> for ZonesError {
    fn from(key: MissingKey) -> ZonesError {
        ZonesError::Missing(key)
    }
}

/// More than any machine has (`MAX_NUMNODES`).
const NODES_MOST: u64 = 1 << 12;
/// More than any kernel has (`MAX_NR_ZONES`).
const ZONES_MOST: usize = 8;

/// Hands all zones to `each`, in the order of nodes. A node whose zones are not known, or look
/// implausible, comes as a whole.
///
/// Facts: `node_data` (symbol, `LENGTH`) or `contig_page_data`,
/// `OFFSET(pglist_data.node_start_pfn)`, `.node_spanned_pages`; for zones
/// `OFFSET(pglist_data.node_zones)`, `.nr_zones`, `SIZE(zone)`, `OFFSET(zone.spanned_pages)`.
pub fn zones<S: PhysMemory>(
    facts: &dyn Facts,
    memory: &mut KernelMemory<'_, '_, S>,
    each: &mut dyn FnMut(Zone),
) -> Result<(), ZonesError> {
    Nodes::find(facts)?.each(memory, &mut |_, zone| each(zone))
}

/// Where the nodes are, and what is in them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nodes {
    /// Address of the table of nodes, and how many it has room for; or of the only node.
    table: Result<(u64, u64), u64>,
    layout: NodeLayout,
}

impl Nodes {
    /// See [`zones`].
    pub(super) fn find(facts: &dyn Facts) -> Result<Nodes, MissingKey> {
        let layout = NodeLayout {
            start: facts.need(Kind::Offset, "pglist_data.node_start_pfn")?,
            spanned: facts.need(Kind::Offset, "pglist_data.node_spanned_pages")?,
            zones: ZoneLayout::find(facts).ok(),
        };
        let table = match facts.get(Kind::Symbol, "node_data") {
            Some(table) => Ok((table, facts.need(Kind::Length, "node_data")?.min(NODES_MOST))),
            None => Err(facts.need(Kind::Symbol, "contig_page_data")?),
        };
        Ok(Nodes { table, layout })
    }

    /// The key without which no zones of a node are known.
    #[cfg(feature = "free-lists")]
    pub(super) fn need_zones(facts: &dyn Facts) -> Result<(), MissingKey> {
        ZoneLayout::find(facts).map(drop)
    }

    /// Hands all zones to `each`, with the memory that they are in.
    pub(super) fn each<S: PhysMemory>(
        &self,
        memory: &mut KernelMemory<'_, '_, S>,
        each: &mut dyn FnMut(&mut KernelMemory<'_, '_, S>, Zone),
    ) -> Result<(), ZonesError> {
        let (table, count) = match self.table {
            Ok(table) => table,
            Err(node) => return self.layout.node(memory, 0, node, each),
        };
        let word = memory.word_size().bytes() as u64;
        for index in 0..count {
            let at = table.checked_add(index * word);
            let at = at.ok_or(ZonesError::Implausible { node: index })?;
            match memory.word(VirtAddr(at)) {
                Ok(0) => {}
                Ok(node) => self.layout.node(memory, index, node, each)?,
                // The rest of the table is gone, too.
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Offsets in `struct pglist_data`.
#[derive(Clone, Copy, Debug)]
struct NodeLayout {
    start: u64,
    spanned: u64,
    zones: Option<ZoneLayout>,
}

impl NodeLayout {
    fn node<S: PhysMemory>(
        &self,
        memory: &mut KernelMemory<'_, '_, S>,
        index: u64,
        node: u64,
        each: &mut dyn FnMut(&mut KernelMemory<'_, '_, S>, Zone),
    ) -> Result<(), ZonesError> {
        let implausible = ZonesError::Implausible { node: index };
        let mut member = |offset: u64| {
            let at = node.checked_add(offset).ok_or(implausible)?;
            memory.word(VirtAddr(at)).map_err(|fault| ZonesError::Unreadable { node: index, fault })
        };
        let (start, spanned) = (member(self.start)?, member(self.spanned)?);
        let end = start.checked_add(spanned).ok_or(implausible)?;
        let whole = PfnSpan::new(Pfn(start), Pfn(end));
        if whole.is_empty() {
            return Ok(());
        }
        let zones = self.zones.as_ref().and_then(|zones| zones.read(memory, node, whole));
        match zones.filter(|zones| zones.iter().any(|span| !span.is_empty())) {
            Some(zones) => {
                for (zone, span) in (0..).zip(zones).filter(|(_, span)| !span.is_empty()) {
                    let at = self.zones.as_ref().and_then(|zones| zones.at(node, zone));
                    each(memory, Zone { node: index, zone: Some(zone), span, at });
                }
            }
            None => each(memory, Zone { node: index, zone: None, span: whole, at: None }),
        }
        Ok(())
    }
}

/// Where the zones of a node are, and offsets in `struct zone`.
#[derive(Clone, Copy, Debug)]
struct ZoneLayout {
    zones: u64,
    count: u64,
    size: u64,
    spanned: u64,
}

impl ZoneLayout {
    fn find(facts: &dyn Facts) -> Result<ZoneLayout, MissingKey> {
        Ok(ZoneLayout {
            zones: facts.need(Kind::Offset, "pglist_data.node_zones")?,
            count: facts.need(Kind::Offset, "pglist_data.nr_zones")?,
            size: facts.need(Kind::Size, "zone")?,
            spanned: facts.need(Kind::Offset, "zone.spanned_pages")?,
        })
    }

    /// Address of a zone of a node.
    fn at(&self, node: u64, zone: u64) -> Option<VirtAddr> {
        let inside = self.zones.checked_add(self.size.checked_mul(zone)?)?;
        node.checked_add(inside).map(VirtAddr)
    }

    /// The zones of a node by their numbers, if what is read looks like zones: in ascending order,
    /// inside the node.
    fn read<S: PhysMemory>(
        &self,
        memory: &mut KernelMemory<'_, '_, S>,
        node: u64,
        whole: PfnSpan,
    ) -> Option<[PfnSpan; ZONES_MOST]> {
        let word = memory.word_size().bytes() as u64;
        let count = memory.u32(VirtAddr(node.checked_add(self.count)?)).ok()? as usize;
        // VMCOREINFO lacks zone_start_pfn. It stands before spanned_pages, since 3.11 with
        // managed_pages between them.
        'layout: for back in [2 * word, word] {
            let start_at = self.spanned.checked_sub(back)?;
            let mut found = [PfnSpan::new(Pfn(0), Pfn(0)); ZONES_MOST];
            let mut end = whole.start.0;
            for (index, zone) in (0..).zip(found.iter_mut().take(count)) {
                let VirtAddr(at) = self.at(node, index)?;
                let spanned = memory.word(VirtAddr(at.checked_add(self.spanned)?)).ok()?;
                let start = memory.word(VirtAddr(at.checked_add(start_at)?)).ok()?;
                if spanned == 0 {
                    continue;
                }
                let next = start.checked_add(spanned).filter(|next| *next <= whole.end.0);
                let Some(next) = next.filter(|_| start >= end) else { continue 'layout };
                *zone = PfnSpan::new(Pfn(start), Pfn(next));
                end = next;
            }
            return Some(found);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::arch::paging::TableCache;
    use crate::testing::{Memory, info};
    use std::{format, string::String, string::ToString, vec, vec::Vec};

    /// Of a zone: its node, its number, its first pfn, its pfns.
    type Found = (u64, Option<u64>, u64, u64);

    /// The kernel image's addresses, mapped to physical 0 on.
    const IMAGE: u64 = 0xffff_ffff_8000_0000;
    const TABLE: u64 = 0x4000;
    const NODES: [u64; 2] = [0x5000, 0x6000];

    /// x86_64 page tables and two nodes: the first with zones of 64 bytes at 0x100, whose pfns
    /// begin `back` bytes before `spanned_pages`, the second without zones.
    fn machine(back: u64) -> Memory {
        let mut memory = Memory::new(0, 0x20_0000);
        memory.put64(0x1000 + 8 * 511, 0x2003);
        memory.put64(0x2000 + 8 * 510, 0x3003);
        memory.put64(0x3000, 0xe3);
        for (index, (node, (start, spanned))) in (0..).zip(NODES.iter().zip([(1, 999), (1000, 24)]))
        {
            memory.put64(TABLE + 16 * index, IMAGE + node);
            memory.put64(node + 8, start);
            memory.put64(node + 16, spanned);
        }
        memory.put(NODES[0] + 24, &3u32.to_le_bytes());
        for (index, (start, spanned)) in (0..).zip([(1, 99), (77, 0), (100, 900)]) {
            let spanned_at = NODES[0] + 0x100 + 64 * index + 32;
            memory.put64(spanned_at - back, start);
            memory.put64(spanned_at, spanned);
        }
        memory
    }

    fn text() -> String {
        format!(
            "OSRELEASE=6.1.0\nSYMBOL(init_top_pgt)={:x}\nNUMBER(phys_base)=0\n\
             SYMBOL(node_data)={:x}\nLENGTH(node_data)=3\nOFFSET(pglist_data.node_start_pfn)=8\n\
             OFFSET(pglist_data.node_spanned_pages)=16\nOFFSET(pglist_data.nr_zones)=24\n\
             OFFSET(pglist_data.node_zones)=256\nSIZE(zone)=64\nOFFSET(zone.spanned_pages)=32\n",
            IMAGE + 0x1000,
            IMAGE + TABLE
        )
    }

    fn found(text: &str, memory: &mut Memory) -> Result<Vec<Found>, ZonesError> {
        let info = info(text);
        let arch = Arch::new(memory.machine(), &info, &[]).unwrap();
        let mut storage = vec![0; TableCache::STORAGE];
        let mut cache = TableCache::new(&mut storage[..]);
        let mut memory = KernelMemory::new(memory, arch, &mut cache);
        let mut found = Vec::new();
        zones(&info, &mut memory, &mut |zone| {
            found.push((zone.node, zone.zone, zone.span.start.0, zone.span.end.0));
        })?;
        Ok(found)
    }

    #[test]
    fn zones_are_found_with_managed_pages_between_and_without() {
        for back in [8, 16] {
            let zones = found(&text(), &mut machine(back)).unwrap();
            let first = [(0, Some(0), 1, 100), (0, Some(2), 100, 1000)];
            assert_eq!(zones, [first[0], first[1], (2, None, 1000, 1024)], "{back}");
        }
    }

    #[test]
    fn zones_that_do_not_look_like_zones_leave_the_node() {
        let whole = [(0, None, 1, 1000), (2, None, 1000, 1024)];
        // One that ends behind its node, and one that begins before the zone in front of it ends.
        for (zone, start, spanned) in [(2, 100, 901), (2, 99, 901), (0, 0, 100)] {
            let mut memory = machine(16);
            let at = NODES[0] + 0x100 + 64 * zone;
            memory.put64(at + 16, start);
            memory.put64(at + 24, u64::MAX);
            memory.put64(at + 32, spanned);
            assert_eq!(found(&text(), &mut memory).unwrap(), whole, "{zone} {start}");
        }
        let without = text().replace("SIZE(zone)", "SIZE(other)");
        assert_eq!(found(&without, &mut machine(16)).unwrap(), whole);
    }

    #[test]
    fn without_nodes_the_error_says_why() {
        let error = |text: &str, memory: &mut Memory| found(text, memory).unwrap_err().to_string();
        let key = "OFFSET(pglist_data.node_start_pfn)";
        let missing = text().replace(key, "OFFSET(other)");
        assert_eq!(
            error(&missing, &mut machine(16)),
            format!("{key} is missing in VMCOREINFO, or invalid")
        );
        let missing = text().replace("SYMBOL(node_data)", "SYMBOL(other)");
        assert_eq!(
            error(&missing, &mut machine(16)),
            "SYMBOL(contig_page_data) is missing in VMCOREINFO"
        );
        let one = format!("{missing}SYMBOL(contig_page_data)={:x}\n", IMAGE + NODES[1]);
        assert_eq!(found(&one, &mut machine(16)).unwrap(), [(0, None, 1000, 1024)]);
        let mut memory = machine(16);
        memory.put64(NODES[1] + 8, u64::MAX);
        assert_eq!(error(&text(), &mut memory), "implausible node 2");
        memory.put64(TABLE, IMAGE + 0x20_0000);
        assert!(error(&text(), &mut memory).starts_with("reading node 0: "));
    }
}
