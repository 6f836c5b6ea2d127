//! What a dump that was written needs beside its pages, and a look at it.

use crate::dump::open::open_raw;
use crate::dump::opened::Opened;
use crate::dump::out::OutFile;
use crate::dump::survey::survey;
use crate::fail::{Fail, Result};
use crate::render::progress::Progress;
use std::path::Path;
use tamis_core::capture::Report;
use tamis_core::input::kdump;

/// What was erased from the input before.
pub fn erased(opened: &mut Opened) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(kdump) = opened.kdump() {
        for index in 0..kdump.parts().len() {
            let facts = kdump.parts()[index].facts;
            let (at, len) = facts.sub.eraseinfo;
            let len = len.min(facts.len.saturating_sub(at)).min(1 << 30);
            let mut part = vec![0; len as usize];
            kdump.read_file(index, at, &mut part).map_err(|e| {
                Fail::new(format_args!("reading the erase information at offset {at}: {e}"))
            })?;
            text.extend_from_slice(&part);
        }
    }
    Ok(text)
}

/// What the engine does not know about a dump that it wrote: that its input was incomplete, and
/// what was erased from it.
pub fn finish(file: &mut OutFile, incomplete: bool, erased: &[u8]) -> Result<()> {
    if !incomplete && erased.is_empty() {
        return Ok(());
    }
    let (mut reader, len) = file.reader()?;
    let facts = kdump::probe(&mut reader, len)
        .map_err(|e| Fail::new(format_args!("reading what was written: {e}")))?;
    if incomplete {
        mark_incomplete(file, &facts)?;
    }
    if !erased.is_empty() {
        use tamis_core::io::RandomAccess;
        let block = facts.main.shift.bytes() as u64;
        let mut sub = vec![0; facts.sub.size];
        reader
            .read_at(block, &mut sub)
            .map_err(|e| Fail::new(format_args!("reading what was written: {e}")))?;
        file.put(len, erased)?;
        if facts.sub.join(&facts.main, &mut sub, (len, erased.len() as u64)).is_some() {
            file.put(block, &sub)?;
        }
    }
    Ok(())
}

/// Marks an ELF dump as incomplete.
pub fn elf_incomplete(file: &mut OutFile) -> Result<()> {
    use tamis_core::io::RandomAccess;
    use tamis_core::wire::elf;
    let failed = |e: &dyn std::fmt::Display| {
        Fail::new(format_args!("reading the ELF header that was written: {e}"))
    };
    let mut head = [0; elf::HEADER_MAX];
    file.reader()?.0.read_at(0, &mut head).map_err(|e| failed(&e))?;
    let header = elf::Header::parse(&head).map_err(|e| failed(&e))?;
    mark_elf_incomplete(file, &header)
}

/// Sets the flag in the header that an ELF dump has.
pub fn mark_elf_incomplete(
    file: &mut OutFile,
    header: &tamis_core::wire::elf::Header,
) -> Result<()> {
    use tamis_core::wire::elf;
    let flags = header.flags | elf::Flags::INCOMPLETE;
    let flags = header.endian.put32(flags.bits());
    file.put(elf::flags_at(header.word) as u64, &flags)
}

/// Looks at what was written: every page descriptor, and that the counts are those that were
/// meant. The data was checked page by page before it was written.
pub fn look_at(file: &OutFile, out: &Path, report: &Report) -> Result<()> {
    let mut opened = open_raw(file.raw()?)?;
    let wrong = |what: &str| {
        let next = "the disk or this program is at fault";
        Err(Fail::file(out, format_args!("not as it was written: {what}")).next(next))
    };
    let Some(kdump) = opened.kdump() else {
        let whole = opened.held().all(|(range, held)| held == range.stored_len);
        return if whole { Ok(()) } else { wrong("memory past the end of the file") };
    };
    let mut progress = Progress::new("Looking at what was written");
    let found = survey(kdump, |done, total| progress.set(done, total))?;
    let tally = &report.tally;
    if (found.exist, found.kept) != (tally.exist, tally.kept) {
        return wrong("the bitmaps have other numbers of pages");
    }
    match (found.lost == tally.unreadable, found.cut_off + found.bad) {
        (true, 0) => Ok(()),
        _ => wrong("there are page descriptors that make no sense"),
    }
}

/// Sets the status bit of a dump whose header is in the file already.
pub fn mark_incomplete(out: &mut OutFile, facts: &tamis_core::input::kdump::Facts) -> Result<()> {
    let status = facts.main.status | tamis_core::wire::disk_header::Status::INCOMPLETE;
    out.put(facts.main.status_at as u64, &facts.main.endian.put32(status.bits()))
}
