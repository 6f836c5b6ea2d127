//! Whether the parts of a kdump dump agree about which data belongs to which page.
//!
//! A descriptor does not say which page it is of: its place among the others does, counted in bitmap 2.
//! One bit too few, and every page behind it is its neighbour's, each of them as good as before. What
//! gives that away is that as many descriptors are there as there are bits, that they end where data
//! begins, and that all data is some page's, and no data that of two.

use crate::about::extents::{Extents, Run};
use crate::about::findings::{Findings, Weight};
use crate::dump::opened::KdumpFile;
use crate::render::console::remark;
use tamis_core::input::kdump::Facts;
use tamis_core::units::Pfn;
use tamis_core::wire::disk_header::{ReadMain, ReadSub, SUB, VERSION};
use tamis_core::wire::page_desc::SIZE;

/// Bytes behind the last descriptor that are looked at.
const BEHIND: u64 = 1 << 20;

/// Looks whether headers agree with each other, and bitmaps with headers.
pub(super) fn headers(kdump: &mut KdumpFile, found: &mut Findings) {
    for index in 0..kdump.parts().len() {
        let facts = kdump.parts()[index].facts;
        let name = if kdump.parts().len() == 1 { String::new() } else { part_name(&facts) };
        for text in of_header(&facts) {
            found.whole(Weight::Damage, format!("{name}{text}"));
        }
        if let Some(text) = newer_fields(kdump, index, &facts) {
            found.whole(Weight::Damage, format!("{name}{text}"));
        }
        bitmaps(kdump, index, &facts, &name, found);
    }
}

fn part_name(facts: &Facts) -> String {
    let range = facts.range();
    format!("the file of pfns {} to {:#x}: ", range.start, range.end.0.saturating_sub(1))
}

/// What numbers of the header do not agree.
fn of_header(facts: &Facts) -> Vec<String> {
    let (main, sub) = (&facts.main, &facts.sub);
    let mut texts = Vec::new();
    if main.version >= 6 && u64::from(main.max_mapnr) != sub.max_mapnr.min(u32::MAX.into()) {
        let (narrow, wide) = (main.max_mapnr, sub.max_mapnr);
        texts.push(format!("max_mapnr is {narrow:#x}, but max_mapnr_64 {wide:#x}"));
    }
    let block = main.shift.bytes() as u64;
    let max = Pfn(facts.max_mapnr());
    let least = max.0.div_ceil(8).div_ceil(block);
    let blocks = u64::from(main.bitmap_blocks);
    if blocks != least && blocks != 2 * least {
        let right = 2 * least;
        texts.push(format!("bitmap_blocks is {blocks}, but max_mapnr {max} takes {right}"));
    }
    if let Some((start, end)) = sub.split
        && (start > end || end > max.0)
    {
        texts.push(format!("its pfns are {start:#x} to {end:#x}, of memory that ends at {max}"));
    }
    texts
}

/// Whether a header of an old version has fields of a newer one. What an old writer leaves in their
/// places is anything, but not what is right.
fn newer_fields(kdump: &mut KdumpFile, index: usize, facts: &Facts) -> Option<String> {
    let said = facts.main.version;
    if said >= VERSION {
        return None;
    }
    let block = facts.main.shift.bytes() as u64;
    let mut raw = [0; SUB];
    kdump.read_file(index, block, &mut raw).ok()?;
    let newest = ReadMain { version: VERSION, ..facts.main };
    let sub = ReadSub::parse(&newest, &raw).ok()?;
    let behind = block + sub.size as u64;
    let (notes, len) = sub.notes;
    let room = (1 + u64::from(facts.main.sub_hdr_size)) * block;
    let max = sub.max_mapnr == facts.max_mapnr();
    let has_notes = notes == behind && len > 0 && notes.saturating_add(len) <= room;
    let version = match (max, has_notes) {
        (true, _) => 6,
        (_, true) if said < 4 => 4,
        _ => return None,
    };
    Some(format!("its header says version {said}, but has what only version {version} has"))
}

/// Bits past the last page are clear, and all files have the same bits.
fn bitmaps(kdump: &mut KdumpFile, index: usize, facts: &Facts, name: &str, found: &mut Findings) {
    let half = facts.descriptors.saturating_sub(facts.bitmap2);
    let bits = facts.max_mapnr();
    let bytes = bits.div_ceil(8);
    let one = facts.bitmap1 == facts.bitmap2;
    for (number, base) in [(1, facts.bitmap1), (2, facts.bitmap2)] {
        if number == 1 && one {
            continue;
        }
        if has_bits(kdump, index, base + bytes, half.saturating_sub(bytes))
            || last_bits(kdump, index, base, bits)
        {
            let text = format!("{name}bitmap {number} has bits past the end of memory");
            found.whole(Weight::Damage, text);
        }
        if index > 0 && !same_bits(kdump, index, base, bytes) {
            let text = format!("{name}bitmap {number} is not that of the first file");
            found.whole(Weight::Damage, text);
        }
    }
}

/// Whether there is anything but zeros.
fn has_bits(kdump: &mut KdumpFile, part: usize, at: u64, len: u64) -> bool {
    let mut buf = vec![0; 64 << 10];
    let (mut at, mut left) = (at, len);
    while left > 0 {
        let step = left.min(buf.len() as u64);
        let bytes = &mut buf[..step as usize];
        // What is not there is not wrong.
        if kdump.read_file(part, at, bytes).is_err() {
            return false;
        }
        if bytes.iter().any(|b| *b != 0) {
            return true;
        }
        (at, left) = (at + step, left - step);
    }
    false
}

/// Whether the byte of the last page has bits of later ones.
fn last_bits(kdump: &mut KdumpFile, part: usize, base: u64, end: u64) -> bool {
    let mut last = [0];
    let read = kdump.read_file(part, base + end / 8, &mut last);
    !end.is_multiple_of(8) && read.is_ok() && last[0] >> (end % 8) != 0
}

fn same_bits(kdump: &mut KdumpFile, part: usize, base: u64, len: u64) -> bool {
    let mut bufs = [vec![0; 64 << 10], vec![0; 64 << 10]];
    let mut at = 0;
    while at < len {
        let step = (len - at).min(64 << 10);
        let [first, other] = bufs.each_mut().map(|buf| &mut buf[..step as usize]);
        let read = kdump
            .read_file(0, base + at, first)
            .and_then(|()| kdump.read_file(part, base + at, other));
        if read.is_err() || first != other {
            return false;
        }
        at += step;
    }
    true
}

/// Looks whether descriptors end where data begins, and whether all data is that of one page.
pub(super) fn layout(kdump: &mut KdumpFile, extents: Extents, found: &mut Findings) {
    let block = kdump.facts().main.shift.bytes() as u64;
    let zeros = extents.zeros.iter().map(|(part, start)| Run {
        part: *part,
        start: *start,
        end: start + block,
        pfn: Pfn(u64::MAX),
    });
    let mut runs: Vec<Run> = extents.runs.iter().copied().chain(zeros).collect();
    runs.sort_unstable();
    if extents.overflow {
        remark(format_args!("page data is in no order: whether it overlaps was not looked at"));
    }
    // Data of pages that were lost, or that a repair took out, belongs to no page.
    let whole = found.all_good() && !kdump.incomplete() && !extents.overflow;
    for part in 0..kdump.parts().len() {
        let own = runs.iter().filter(|run| run.part == part);
        let Some(first) = own.clone().next() else { continue };
        let from = kdump.parts()[part].descriptors_end();
        let behind = first.start.saturating_sub(from).min(BEHIND);
        if let Some(records) = records(kdump, part, from, behind) {
            found.whole(
                Weight::Damage,
                format!(
                    "{records} page descriptors more than bitmap 2 has bits: pages from some pfn on \
                     are those of others"
                ),
            );
        }
        let mut end = first.start;
        for run in own {
            let pfns = Some(run.pfn.0).filter(|pfn| *pfn != u64::MAX).map(|pfn| (pfn, pfn + 1));
            // Room up to the next page is not data.
            if run.start < end {
                let text = "its data is that of another page, too";
                found.add(Weight::Damage, pfns, text.into());
            } else if whole && has_bits(kdump, part, end, (run.start - end).min(BEHIND)) {
                let text = format!("{} bytes before its data are no page's", run.start - end);
                found.add(Weight::Damage, pfns, text);
            }
            end = end.max(run.end);
        }
    }
}

/// How many descriptors there are in `len` bytes that should be zeros, as far as the last one that is
/// not empty.
fn records(kdump: &mut KdumpFile, part: usize, at: u64, len: u64) -> Option<u64> {
    let mut bytes = vec![0; len as usize];
    kdump.read_file(part, at, &mut bytes).ok()?;
    let last = bytes.iter().rposition(|b| *b != 0)?;
    Some(last as u64 / SIZE as u64 + 1)
}
