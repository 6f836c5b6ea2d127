//! One dump out of the files of a split one.

use crate::dump::bits::Runs;
use crate::dump::opened::KdumpFile;
use crate::dump::out::OutFile;
use crate::fail::{DONE, Fail, INCOMPLETE, Result};
use crate::render::progress::Progress;
use crate::rewrite::finish::mark_incomplete;
use tamis_core::checksum::Crc32;
use tamis_core::input::kdump::PageFault;
use tamis_core::units::Pfn;
use tamis_core::wire::page_desc;
use tamis_core::wire::page_desc::{CodecFlags, PageDesc};

/// Page data and descriptors on their way to the file.
struct Writer<'o> {
    out: &'o mut OutFile,
    bytes: Vec<u8>,
    at: u64,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= 1 << 20 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.out.put(self.at, &self.bytes)?;
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

/// Writes the whole; returns the exit status.
pub fn write(kdump: &mut KdumpFile, out: &mut OutFile, name: &str) -> Result<u8> {
    let facts = *kdump.facts();
    let (_, total) = kdump.counts();
    let block = facts.main.shift.bytes();
    let zero_at = facts.descriptors + total * page_desc::SIZE as u64;
    let zeros = facts.sub.dump_level & 1 != 0;
    let behind = zero_at + if zeros { block as u64 } else { 0 };
    let data_at = data_start(kdump, zeros.then_some(zero_at), behind)?;
    let reading = |at: u64| move |e| Fail::new(format_args!("{name}: reading offset {at}: {e}"));
    out.set_len(data_at)?;

    // Everything up to the descriptors, as the first file has it.
    let mut progress = Progress::new("Reassembling");
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < facts.descriptors {
        let len = (facts.descriptors - at).min(buf.len() as u64) as usize;
        let len = len.min((facts.len.saturating_sub(at)) as usize);
        if len == 0 {
            break;
        }
        let part = &mut buf[..len];
        kdump.read_file(0, at, part).map_err(reading(at))?;
        if part.iter().any(|b| *b != 0) {
            out.put(at, part)?;
        }
        at += len as u64;
    }

    let mut data = vec![0; block];
    let mut descriptors =
        Writer { out: &mut out.reopen()?, bytes: Vec::new(), at: facts.descriptors };
    let mut writer = Writer { out, bytes: Vec::new(), at: data_at };
    let mut next = data_at;
    if zeros {
        writer.out.put(zero_at, &vec![0; block])?;
    }
    let zero_crc = Crc32::new().update(0, &vec![0; block]);
    let (mut runs, mut done, mut lost) = (Runs::new(true), 0u64, 0u64);
    while let Some(run) = runs.next(kdump)? {
        for pfn in run.start.0..run.end.0 {
            let stored = kdump.descriptor(Pfn(pfn)).and_then(|(desc, part)| {
                // Every part has its zero page first in its data.
                if zeros && desc.offset == zero_at {
                    let desc = PageDesc { size: block as u32, flags: CodecFlags::empty(), ..desc };
                    kdump.check_crc(Pfn(pfn), desc, zero_crc)?;
                    return Ok(desc);
                }
                kdump.stored(Pfn(pfn), desc, part, &mut data)?;
                Ok(desc)
            });
            let desc = match stored {
                Ok(zero) if zeros && zero.offset == zero_at => zero,
                Ok(desc) => {
                    writer.put(&data[..desc.size as usize])?;
                    let offset = next;
                    next += u64::from(desc.size);
                    PageDesc { offset, ..desc }
                }
                Err(PageFault::Lost | PageFault::CutOff(_)) => {
                    lost += 1;
                    PageDesc::LOST
                }
                Err(fault) => {
                    return Err(Fail::new(format_args!("{name}: pfn {pfn:#x}: {fault}"))
                        .next("`tamis verify` lists all damage"));
                }
            };
            descriptors.put(&desc.emit(facts.main.endian))?;
            done += 1;
        }
        progress.set(done, total);
    }
    descriptors.flush()?;
    writer.flush()?;

    // What was erased, of all parts.
    let mut erased = Vec::new();
    for index in 0..kdump.parts().len() {
        let (at, len) = kdump.parts()[index].facts.sub.eraseinfo;
        let there = kdump.parts()[index].facts.len.saturating_sub(at).min(len).min(1 << 30);
        let mut text = vec![0; there as usize];
        kdump.read_file(index, at, &mut text).map_err(reading(at))?;
        erased.extend_from_slice(&text);
    }
    let eraseinfo = if erased.is_empty() { (0, 0) } else { (next, erased.len() as u64) };
    out.put(next, &erased)?;

    // The sub-header of the whole, and the header, which may have to say incomplete.
    let mut sub = vec![0; facts.sub.size];
    kdump.read_file(0, block as u64, &mut sub).map_err(reading(block as u64))?;
    if facts.sub.join(&facts.main, &mut sub, eraseinfo).is_none() {
        return Err(Fail::new(format_args!("{name}: the sub-header cannot be rewritten")));
    }
    out.put(block as u64, &sub)?;
    let said = kdump.incomplete();
    if said || lost > 0 {
        mark_incomplete(out, &facts)?;
        return Ok(INCOMPLETE);
    }
    Ok(DONE)
}

/// Where the pages of the whole begin, as if one program had written all parts: directly `behind`
/// what comes before them (makedumpfile), or with the next page (tamis). The first stored
/// page other than the page of zeros shows which.
fn data_start(kdump: &mut KdumpFile, zero_at: Option<u64>, behind: u64) -> Result<u64> {
    let page = behind.next_multiple_of(kdump.facts().main.shift.bytes() as u64);
    let mut runs = Runs::new(true);
    while let Some(run) = runs.next(kdump)? {
        for pfn in run.start.0..run.end.0 {
            match kdump.descriptor(Pfn(pfn)) {
                Ok((desc, _)) if Some(desc.offset) == zero_at => {}
                Ok((desc, _)) => return Ok(if desc.offset == page { page } else { behind }),
                // Of a page that is lost nothing is in the data.
                Err(_) => {}
            }
        }
    }
    Ok(behind)
}
