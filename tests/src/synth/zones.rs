//! Nodes with zones, and the lists of free blocks of those.

use std::ops::Range;

use super::machine::{BentList, Kit, Machine, ZONE_END};

/// Offsets in `pglist_data`, as [`super::info`] has them.
const NR_ZONES: u64 = 5000;
const NODE_START: u64 = 5008;
const NODE_SPANNED: u64 = 5024;
/// Those in `zone`, and its size.
const ZONE_SIZE: u64 = 1664;
const SPANNED: u64 = 112;
const FREE_AREA: u64 = 192;
/// Lists of an order.
const LISTS: u64 = 5;

/// Writes the node at `node`, with zones that have these free blocks: frame, order, address of the structure.
pub(super) fn write(
    machine: &Machine,
    kit: &mut Kit,
    node: u64,
    span: Range<u64>,
    free: &[(u64, u32, u64)],
) {
    let long = kit.words.bytes();
    kit.write_long(node + NODE_START, span.start);
    kit.write_long(node + NODE_SPANNED, span.end - span.start);
    let count = kit.words.u32(3);
    kit.memory.write(node + NR_ZONES, &count);
    let middle = ZONE_END.clamp(span.start, span.end);
    let bent = |order| machine.bent.filter(|(bent, _)| *bent == order).map(|(_, how)| how);
    for (number, zone) in [span.start..middle, middle..span.end].into_iter().enumerate() {
        let at = node + ZONE_SIZE * number as u64;
        // zone_start_pfn is in front of spanned_pages.
        kit.write_long(at + SPANNED - long, zone.start);
        let beyond = if machine.strange_zones { span.end } else { 0 };
        kit.write_long(at + SPANNED, zone.end - zone.start + beyond);
        for order in 0..machine.facts.free_orders {
            let mut lists: [Vec<u64>; LISTS as usize] = Default::default();
            let blocks = free.iter().filter(|(pfn, of, _)| {
                let elsewhere = bent(*of) == Some(BentList::OtherZone);
                let order_of = of + u32::from(bent(*of) == Some(BentList::OtherOrder));
                order_of == order && span.contains(pfn) && zone.contains(pfn) != elsewhere
            });
            for (n, (_, _, va)) in blocks.enumerate() {
                lists[n % LISTS as usize].push(*va + machine.facts.page.lru);
            }
            let area = at + FREE_AREA + 11 * long * u64::from(order);
            for (n, list) in lists.iter().enumerate() {
                let head = area + 2 * long * n as u64;
                link(kit, head, list);
                let Some(first) = list.first() else { continue };
                match bent(order) {
                    Some(BentList::Ring) => kit.write_long(list[list.len() - 1], *first),
                    Some(BentList::Nowhere) => kit.write_long(*first, 0),
                    Some(BentList::InUse) => {
                        let page = first - machine.facts.page.lru;
                        let users = kit.words.u32(1);
                        kit.memory.write(page + machine.facts.page.count, &users);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Makes a list of these entries, behind its head.
fn link(kit: &mut Kit, head: u64, entries: &[u64]) {
    let long = kit.words.bytes();
    let ring: Vec<u64> = [&[head][..], entries].concat();
    for (n, at) in ring.iter().enumerate() {
        kit.write_long(*at, ring[(n + 1) % ring.len()]);
        kit.write_long(at + long, ring[(n + ring.len() - 1) % ring.len()]);
    }
}
