//! What is left of a dump that is damaged or cut off.

use crate::dump::bits::Runs;
use crate::dump::input::Raw;
use crate::dump::open::open_raw;
use crate::dump::opened::Input;
use crate::dump::out::OutFile;
use crate::fail::{Fail, Result};
use crate::render::console::remark;
use crate::render::json::Document;
use crate::render::progress::Progress;
use crate::render::text::number;
use crate::rewrite::finish::{mark_elf_incomplete, mark_incomplete};
use serde::Serialize;
use tamis_core::input::MaybeFlattened;
use tamis_core::input::kdump::PageFault;
use tamis_core::io::RandomAccess;
use tamis_core::units::Pfn;
use tamis_core::wire::elf;
use tamis_core::wire::page_desc::SIZE;

/// What was found.
#[derive(Default, Serialize)]
pub struct Found {
    /// Whether nothing was missing.
    pub complete: bool,
    /// Of a kdump dump.
    pub pages: Option<Pages>,
    /// Of an ELF vmcore: bytes of memory that are missing.
    pub missing_bytes: Option<u64>,
}

impl Document for Found {
    const SCHEMA: &'static str = "tamis.repair/1";
}

/// Pages of a kdump dump by state.
#[derive(Clone, Copy, Serialize)]
pub struct Pages {
    /// Pages that are good.
    pub good: u64,
    /// Pages that are missing.
    pub missing: u64,
    /// Pages that are damaged.
    pub damaged: u64,
}

/// Copies the input, leaving holes for zeros.
pub fn copy(input: &mut Input, len: u64, raw: &Raw, out: &mut OutFile) -> Result<()> {
    let mut progress = Progress::new("Copying");
    let mut buf = vec![0; 1 << 20];
    out.set_len(len)?;
    let mut at = 0;
    let plain = matches!(input, MaybeFlattened::Plain(_)) && raw.len == len;
    while at < len {
        // Gaps stay gaps, however large.
        if plain {
            at = raw.next_data(at);
            if at >= len {
                break;
            }
        }
        let part = (len - at).min(buf.len() as u64) as usize;
        let part = &mut buf[..part];
        input.read_at(at, part).map_err(|e| raw.fail(format_args!("reading offset {at}: {e}")))?;
        if part.iter().any(|b| *b != 0) {
            out.put(at, part)?;
        }
        at += part.len() as u64;
        progress.set(at, len);
    }
    Ok(())
}

/// Mends the copy in its place.
pub fn mend(path: &std::path::Path, out: &mut OutFile, ends: bool) -> Result<Found> {
    let mut opened = open_raw(out.raw()?)?;
    if opened.elf.is_some() {
        return mend_elf(out, ends);
    }
    let Some(kdump) = opened.kdump() else { return Ok(Found::default()) };
    let facts = *kdump.facts();
    let (_, total) = kdump.counts();
    let range = facts.range();
    let mut page = vec![0; facts.main.shift.bytes()];
    let mut progress = Progress::new("Reading pages");
    let (mut index, mut lost, mut damaged) = (0u64, 0u64, 0u64);
    let mut runs = Runs::new(true);
    while let Some(run) = runs.next(kdump)? {
        let run = run.intersect(range);
        for pfn in run.start.0..run.end.0 {
            let at = facts.descriptors + index * SIZE as u64;
            index += 1;
            let result = kdump
                .descriptor(Pfn(pfn))
                .and_then(|(desc, part)| kdump.decode(Pfn(pfn), desc, part, &mut page));
            match result {
                Ok(()) => {}
                Err(PageFault::Lost) => lost += 1,
                Err(fault) => {
                    match fault {
                        PageFault::CutOff(_) => lost += 1,
                        _ => damaged += 1,
                    }
                    out.put(at, &[0; SIZE])?;
                }
            }
        }
        progress.set(index, total);
    }
    drop(progress);
    // Readers map the descriptors: they must be there, if empty.
    out.extend_to(facts.descriptors + total * SIZE as u64)?;
    let complete = ends && lost + damaged == 0 && !facts.incomplete();
    let pages = Pages { good: index - lost - damaged, missing: lost, damaged };
    if !complete {
        mark_incomplete(out, &facts)?;
        remark(format_args!(
            "{}: {} pages are good, {} missing, {} damaged; it is marked incomplete",
            path.display(),
            number(pages.good),
            number(pages.missing),
            number(pages.damaged)
        ));
    } else {
        remark(format_args!("{}: all {} pages are good", path.display(), number(index)));
    }
    Ok(Found { complete, pages: Some(pages), missing_bytes: None })
}

fn mend_elf(out: &mut OutFile, ends: bool) -> Result<Found> {
    let (mut reader, len) = out.reader()?;
    let failed = |e: &dyn std::fmt::Display| {
        Fail::new(format_args!("the program headers cannot be mended: {e}"))
    };
    let mut head = vec![0; len.min(elf::HEADER_MAX as u64) as usize];
    reader.read_at(0, &mut head).map_err(|e| failed(&e))?;
    let header = elf::Header::parse(&head).map_err(|e| failed(&e))?;
    let mut count = u32::from(header.phnum);
    if header.phnum == elf::PN_XNUM {
        let mut raw = [0; elf::SECTION_HEADER];
        reader.read_at(header.shoff, &mut raw).map_err(|e| failed(&e))?;
        count = elf::extended_count(header.endian, &raw).map_err(|e| failed(&e))?;
    }
    let size = elf::program_header_size(header.word);
    let mut cut = 0u64;
    for index in 0..u64::from(count) {
        let at = header.phoff.saturating_add(index * u64::from(header.phentsize));
        let mut raw = vec![0; size];
        reader.read_at(at, &mut raw).map_err(|e| failed(&e))?;
        let mut ph =
            elf::ProgramHeader::parse(header.word, header.endian, &raw).map_err(|e| failed(&e))?;
        let there = len.saturating_sub(ph.offset);
        if ph.kind == elf::PT_LOAD && ph.filesz > there {
            cut += ph.filesz - there;
            ph.filesz = there;
            if ph.emit(header.word, header.endian, &mut raw).is_some() {
                out.put(at, &raw)?;
            }
        }
    }
    if cut == 0 && ends && !header.flags.contains(elf::Flags::INCOMPLETE) {
        remark(format_args!("nothing is missing"));
        return Ok(Found { complete: true, pages: None, missing_bytes: Some(0) });
    }
    mark_elf_incomplete(out, &header)?;
    remark(format_args!("{cut} bytes of memory are missing; it is marked incomplete"));
    Ok(Found { complete: false, pages: None, missing_bytes: Some(cut) })
}
