//! Free pages by the lists that they are on: before Linux 3.10, VMCOREINFO has no mark of them (Linux `mm/page_alloc.c`,
//! `include/linux/mmzone.h`).
//!
//! A list counts whole or not at all: it has to lead back to its head, each entry to the one before it, and to be in a
//! `struct page` of a pfn in the zone, at a multiple of the block's pages. That page has no users, nor have those at the
//! powers of two behind it: of a longer block than it is, others' would be among them.

use super::mem_map::{MemMap, RootCache, State};
use super::memory::KernelMemory;
use super::zones::{Nodes, Zone, ZonesError};
use crate::bitmap::Bitmap;
use crate::facts::{Facts, MissingKey};
use crate::memory::PhysMemory;
use crate::tally::{DropObserver, Reason};
use crate::units::{Pfn, PfnSpan, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// Lists of an order at most: one for each kind of mobility.
const LISTS_MOST: u64 = 16;
/// Lists of all zones of all nodes: the largest machines have a third of this.
const LISTS_ALL: u32 = 1 << 20;

/// Where the free lists of all zones are.
#[derive(Clone, Copy, Debug)]
pub struct FreeLists {
    nodes: Nodes,
    /// Offset of `free_area` in a zone, its size, and how many of it there are: one for each order.
    area: (u64, u64, u64),
    /// Offset of `free_list` in that, the size of a list's head, and how many lists there are.
    list: (u64, u64, u64),
    /// Offsets in a list's head.
    next: u64,
    prev: u64,
    /// Offsets in a `struct page`: its place on a list, its users.
    lru: u64,
    count: u64,
    /// Its flags, which may have the number of its section.
    flags: u64,
    /// `SIZE(page)`.
    page: u64,
}

impl FreeLists {
    /// Facts: those of nodes and zones (see [`super::zones::zones`]), `OFFSET(zone.free_area)`,
    /// `LENGTH(zone.free_area)`, `SIZE(free_area)`, `OFFSET(free_area.free_list)`, `SIZE(list_head)`,
    /// `OFFSET(list_head.next)`, `.prev`, `SIZE(page)`, `OFFSET(page.lru)`, `OFFSET(page._count)`, `OFFSET(page.flags)`; where it is
    /// exported (since 2.6.24), `LENGTH(free_area.free_list)`.
    pub fn find(facts: &dyn Facts) -> Result<FreeLists, MissingKey> {
        let offset = |name| facts.need(Kind::Offset, name);
        let (areas, heads) =
            (facts.need(Kind::Size, "free_area")?, facts.need(Kind::Size, "list_head")?);
        let lists = facts.get(Kind::Length, "free_area.free_list").unwrap_or(1);
        let orders = facts.need(Kind::Length, "zone.free_area")?;
        Nodes::need_zones(facts)?;
        Ok(FreeLists {
            nodes: Nodes::find(facts)?,
            area: (offset("zone.free_area")?, areas, orders.min(64)),
            list: (offset("free_area.free_list")?, heads, lists.min(LISTS_MOST)),
            next: offset("list_head.next")?,
            prev: offset("list_head.prev")?,
            lru: offset("page.lru")?,
            count: offset("page._count").or_else(|_| offset("page._refcount"))?,
            flags: offset("page.flags")?,
            page: facts.need(Kind::Size, "page")?,
        })
    }

    /// Whether the zones of some node are known: no free page is found without.
    pub(crate) fn are_known<S: PhysMemory>(&self, memory: &mut KernelMemory<'_, '_, S>) -> bool {
        let mut known = false;
        let _ = self.nodes.each(memory, &mut |_, zone| known |= zone.at.is_some());
        known
    }

    /// Clears the bits of free pages, as far as they are in `map`. The pages of a list that is damaged stay; the pfns of
    /// its zone, and its order, go to `kept`; of a node whose zones are not known, its pfns do.
    pub(crate) fn clear<S: PhysMemory>(
        &self,
        memory: &mut KernelMemory<'_, '_, S>,
        mem_map: &MemMap,
        roots: &mut RootCache<'_>,
        map: &mut Bitmap<'_>,
        tally: &mut impl DropObserver,
        kept: &mut dyn FnMut(PfnSpan, Option<u64>),
    ) -> Result<(), ZonesError> {
        let (window, mut left) = (map.span(), LISTS_ALL);
        self.nodes.each(memory, &mut |memory, zone| {
            if zone.span.intersect(window).is_empty() {
                return;
            }
            // Said once, not in every window.
            let is_first = window.contains(zone.span.start);
            let Some(at) = zone.at else {
                if is_first {
                    kept(zone.span, None);
                }
                return;
            };
            // The first pfn that has a `struct page`.
            let mut near = zone.span.start;
            while near < zone.span.end {
                let run = mem_map.run_at(near, memory, roots);
                if matches!(run.state, State::At(_)) {
                    break;
                }
                near = run.span.end;
            }
            let mut walk = Walk { lists: self, mem_map, roots, zone, near };
            for order in 0..self.area.2 {
                for list in 0..self.list.2 {
                    let head = self.head(at, order, list).filter(|_| left > 0);
                    let Some(head) = head else { continue };
                    left -= 1;
                    let whole = walk.follow(memory, head, order, &mut |_| {});
                    if whole.is_none() {
                        if is_first {
                            kept(zone.span, Some(order));
                        }
                        continue;
                    }
                    let _ = walk.follow(memory, head, order, &mut |block| {
                        let pages = map.clear_span(block);
                        tally.dropped(Reason::Free, block, pages);
                    });
                }
            }
        })
    }

    /// Address of a list's head.
    fn head(&self, zone: VirtAddr, order: u64, list: u64) -> Option<u64> {
        let ((area, areas, _), (lists, heads, _)) = (self.area, self.list);
        zone.0
            .checked_add(area)?
            .checked_add(order.checked_mul(areas)?)?
            .checked_add(lists)?
            .checked_add(list.checked_mul(heads)?)
    }
}

/// On the way along the lists of a zone.
struct Walk<'w, 'r> {
    lists: &'w FreeLists,
    mem_map: &'w MemMap,
    roots: &'w mut RootCache<'r>,
    zone: Zone,
    /// A pfn of which the `struct page` may lie in the same array as the next one.
    near: Pfn,
}

impl Walk<'_, '_> {
    /// Hands the blocks of a list to `each`. `None` where it turns out to be damaged.
    fn follow<S: PhysMemory>(
        &mut self,
        memory: &mut KernelMemory<'_, '_, S>,
        head: u64,
        order: u64,
        each: &mut dyn FnMut(PfnSpan),
    ) -> Option<()> {
        let lists = self.lists;
        let pages = 1u64.checked_shl(order as u32).filter(|_| order < 64)?;
        let word = |memory: &mut KernelMemory<'_, '_, S>, at: u64, member: u64| {
            memory.word(VirtAddr(at.checked_add(member)?)).ok()
        };
        let mut at = head;
        // A zone has no more blocks; nor does a list that an entry leads back into go on, by `prev`.
        for _ in 0..=self.zone.span.len() / pages {
            let next = word(memory, at, lists.next)?;
            if word(memory, next, lists.prev)? != at {
                return None;
            }
            if next == head {
                return Some(());
            }
            let page = next.checked_sub(lists.lru)?;
            for pages in [0].into_iter().chain((0..order).map(|bit| 1 << bit)) {
                let behind = lists.page.checked_mul(pages)?.checked_add(lists.count)?;
                let users = memory.u32(VirtAddr(page.checked_add(behind)?)).ok()?;
                if users != 0 {
                    return None;
                }
            }
            let flags = word(memory, page, lists.flags)?;
            let start = self.mem_map.pfn_of(VirtAddr(page), self.near, flags, memory, self.roots);
            let start = start.filter(|start| start.0 % pages == 0)?;
            let block = PfnSpan::new(start, Pfn(start.0.checked_add(pages)?));
            if block.intersect(self.zone.span) != block {
                return None;
            }
            each(block);
            (at, self.near) = (next, start);
        }
        None
    }
}
