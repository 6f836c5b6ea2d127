//! What marks a free page, by the pages that are on the kernel's free lists.
//!
//! Up to Linux 6.9 the mark is a macro, which types do not have; where VMCOREINFO lacks it, free pages
//! themselves show it: each list is of one order, which its pages have in `private`, and all of them have the
//! same mark in `_mapcount`.

use super::VirtMemory;
use crate::facts::Facts;
use crate::units::VirtAddr;
use crate::wire::vmcoreinfo::Kind;

/// Zones of a node, orders, and lists of an order at most.
const ZONES: u64 = 8;
const ORDERS: u64 = 64;
const LISTS: u64 = 16;
/// Pages of a list that are looked at.
const PAGES: u32 = 4;
/// Pages that must agree, and orders that these must be of.
const ENOUGH: (u32, u32) = (8, 2);

/// What must be known of the lists, in the order of [`Layout`].
const FACTS: [(Kind, &str); 13] = [
    (Kind::Size, "zone"),
    (Kind::Offset, "zone.free_area"),
    (Kind::Size, "free_area"),
    (Kind::Offset, "free_area.free_list"),
    (Kind::Size, "list_head"),
    (Kind::Length, "zone.free_area"),
    (Kind::Offset, "page.lru"),
    (Kind::Offset, "page.private"),
    (Kind::Offset, "page._mapcount"),
    (Kind::Offset, "list_head.next"),
    (Kind::Offset, "list_head.prev"),
    (Kind::Offset, "pglist_data.node_zones"),
    (Kind::Offset, "pglist_data.nr_zones"),
];

/// Where the members of a page on a list are.
struct Layout {
    lru: u64,
    private: u64,
    mapcount: u64,
    next: u64,
    prev: u64,
}

/// Reads numbers.
struct Numbers<'m> {
    memory: &'m mut dyn VirtMemory,
}

impl Numbers<'_> {
    #[inline]
    fn word(&mut self, at: u64) -> Option<u64> {
        let (size, mut raw) = (self.memory.long(), [0; 8]);
        self.memory.fill(VirtAddr(at), raw.get_mut(..size.bytes())?).ok()?;
        self.memory.byte_order().word(size, &raw, 0)
    }

    #[inline]
    fn u32(&mut self, at: u64) -> Option<u32> {
        let mut raw = [0; 4];
        self.memory.fill(VirtAddr(at), &mut raw).ok()?;
        self.memory.byte_order().u32(&raw, 0)
    }
}

/// The mark of free pages, if all pages of the first node's lists that are looked at have the same, and the order
/// of their list; `None` where there are too few, or one is different.
#[inline]
pub(super) fn buddy_mark(memory: &mut dyn VirtMemory, facts: &dyn Facts) -> Option<u32> {
    let mut known = [0; FACTS.len()];
    for (fact, (kind, name)) in known.iter_mut().zip(FACTS) {
        *fact = facts.get(kind, name)?;
    }
    let [zone, area, area_size, list, list_size, orders, known @ ..] = known;
    let [lru, private, mapcount, next, prev, node_zones, nr_zones] = known;
    let layout = Layout { lru, private, mapcount, next, prev };
    // Behind them is the number of pages.
    let lists = area_size.checked_sub(memory.long().bytes() as u64)?.checked_div(list_size)?;
    let mut numbers = Numbers { memory };
    let node = match facts.get(Kind::Symbol, "node_data") {
        Some(table) => numbers.word(table)?,
        None => facts.get(Kind::Symbol, "contig_page_data")?,
    };
    let count = numbers.u32(node.wrapping_add(nr_zones))?;
    let (mut mark, mut pages, mut seen_orders) = (None, 0, 0u64);
    let mut zone_at = node.wrapping_add(node_zones).wrapping_add(area);
    for _ in 0..u64::from(count).min(ZONES) {
        let mut area_at = zone_at;
        for order in 0..orders.min(ORDERS) {
            let mut head = area_at.wrapping_add(list);
            for _ in 0..lists.min(LISTS) {
                let seen = layout.follow(&mut numbers, head, order, &mut mark)?;
                pages += seen;
                if seen > 0 {
                    seen_orders |= 1 << order;
                }
                head = head.wrapping_add(list_size);
            }
            area_at = area_at.wrapping_add(area_size);
        }
        zone_at = zone_at.wrapping_add(zone);
    }
    mark.filter(|_| pages >= ENOUGH.0 && seen_orders.count_ones() >= ENOUGH.1)
}

impl Layout {
    /// Looks at the first pages of a list; returns how many there are. `None` if one of them is not what a page
    /// of this list is.
    #[inline]
    fn follow(
        &self,
        numbers: &mut Numbers<'_>,
        head: u64,
        order: u64,
        mark: &mut Option<u32>,
    ) -> Option<u32> {
        let mut at = head;
        for seen in 0..PAGES {
            let next = numbers.word(at.wrapping_add(self.next))?;
            if next == head {
                return Some(seen);
            }
            if numbers.word(next.wrapping_add(self.prev))? != at {
                return None;
            }
            let page = next.wrapping_sub(self.lru);
            let value = numbers.u32(page.wrapping_add(self.mapcount))?;
            let found = *mark.get_or_insert(value);
            // A count is not negative, and that of a page without users is -1.
            let is_mark = value >> 31 == 1 && value != u32::MAX;
            let private = numbers.word(page.wrapping_add(self.private))?;
            if found != value || !is_mark || private != order {
                return None;
            }
            at = next;
        }
        Some(PAGES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endian::{Endian, Word};
    use crate::kernel::symbols::testing::{Flat, IMAGE};
    use crate::testing::info;
    use std::format;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    const NODE: u64 = IMAGE + 0x1000;
    const PAGES_AT: u64 = IMAGE + 0x8000;

    fn facts() -> String {
        format!(
            "SYMBOL(contig_page_data)={NODE:x}\nSIZE(zone)=1024\nSIZE(free_area)=40\n\
             SIZE(list_head)=16\nOFFSET(zone.free_area)=64\nOFFSET(free_area.free_list)=0\n\
             LENGTH(zone.free_area)=11\nOFFSET(page.lru)=8\nOFFSET(page.private)=40\n\
             OFFSET(page._mapcount)=48\nOFFSET(list_head.next)=0\nOFFSET(list_head.prev)=8\n\
             OFFSET(pglist_data.node_zones)=0\nOFFSET(pglist_data.nr_zones)=4096\n"
        )
    }

    fn put(memory: &mut Flat, at: u64, bytes: &[u8]) {
        let at = (at - IMAGE) as usize;
        memory.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Two zones of 11 orders of two lists, the second of which have so many pages.
    fn machine(pages: u64, orders: core::ops::Range<u64>) -> Flat {
        let bytes = vec![0; 0x2_0000];
        let mut memory = Flat { base: IMAGE, bytes, endian: Endian::Little, word: Word::Bits64 };
        put(&mut memory, NODE + 4096, &2u32.to_le_bytes());
        let mut next_page = PAGES_AT;
        for zone in 0..2 {
            for order in 0..11 {
                for list in 0..2 {
                    let head = NODE + 1024 * zone + 64 + 40 * order + 16 * list;
                    let mut ring = vec![head];
                    if list == 1 && orders.contains(&order) && zone == 1 {
                        for _ in 0..pages {
                            put(&mut memory, next_page + 40, &order.to_le_bytes());
                            put(&mut memory, next_page + 48, &(-129i32).to_le_bytes());
                            ring.push(next_page + 8);
                            next_page += 64;
                        }
                    }
                    let rest: Vec<u64> = ring[1..].iter().copied().chain([head]).collect();
                    for (at, next) in ring.iter().zip(rest) {
                        put(&mut memory, *at, &next.to_le_bytes());
                        put(&mut memory, next + 8, &at.to_le_bytes());
                    }
                }
            }
        }
        memory
    }

    fn mark(memory: &mut Flat) -> Option<i32> {
        buddy_mark(memory, &info(&facts())).map(|mark| mark as i32)
    }

    #[test]
    fn free_pages_show_their_mark() {
        assert_eq!(mark(&mut machine(3, 2..6)), Some(-129));
        assert_eq!(mark(&mut machine(40, 0..2)), Some(-129));
        // Too few pages, too few orders, none.
        assert_eq!(mark(&mut machine(3, 2..4)), None);
        assert_eq!(mark(&mut machine(40, 3..4)), None);
        assert_eq!(mark(&mut machine(0, 0..11)), None);
    }

    #[test]
    fn one_page_that_is_different_is_enough_to_know_nothing() {
        let whole = || machine(3, 2..6);
        for (at, value) in [
            // Another mark, none, a count.
            (PAGES_AT + 48 + 64, -257i32),
            (PAGES_AT + 48 + 64, -1),
            (PAGES_AT + 48, 0),
            // Another order, and a list that does not lead back.
            (PAGES_AT + 40 + 128, 7),
            (PAGES_AT + 16, 8),
        ] {
            let mut memory = whole();
            put(&mut memory, at, &value.to_le_bytes());
            assert_eq!(mark(&mut memory), None, "{at:#x}");
        }
        let mut memory = whole();
        for page in 0..12 {
            put(&mut memory, PAGES_AT + 48 + 64 * page, &(-1i32).to_le_bytes());
        }
        assert_eq!(mark(&mut memory), None);
    }

    #[test]
    fn without_a_fact_nothing_is_looked_at() {
        let text = facts();
        for line in text.lines() {
            let without = text.replace(line, "");
            assert_eq!(buddy_mark(&mut machine(3, 2..6), &info(&without)), None, "{line}");
        }
    }
}
