//! Whether a dump is sound.

use crate::about::bookkeeping;
use crate::about::facts::union;
use crate::about::findings::{Findings, Report, Weight};
use crate::about::readers;
use crate::classes::Classes;
use crate::dump::gaps::{Extent, extents};
use crate::dump::opened::KdumpFile;
use crate::dump::opened::{Dump, Opened};
use crate::fail::Result;
use crate::pool::in_order;
use crate::render::console::remark;
use crate::render::progress::Progress;
use crate::render::text::size;
use page_codec::is_zero;
use tamis_core::bitmap::Bitmap;
use tamis_core::capture::session::KernelError;
use tamis_core::checksum::{Crc32, PageSum};
use tamis_core::kernel::mem_map::MemMapError;
use tamis_core::memory::PhysMemory as _;
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};
use tamis_core::wire::disk_header::VERSION;
use tamis_core::wire::elf;
use tamis_core::wire::page_desc::PageDesc;
use tamis_core::wire::vmcoreinfo::VmcoreInfo;

/// Looks at all of a dump; lists `most` faults.
pub fn verify(opened: &mut Opened, most: usize, threads: usize) -> Result<Report> {
    let mut found = Findings::new(most);
    for file in &opened.files {
        if file.stream.is_some_and(|(_, ends)| !ends) {
            found.whole(
                Weight::Missing,
                format!("{}: the stream has no end: its writer died", file.raw.name()),
            );
        }
    }
    match &mut opened.dump {
        Dump::Kdump(kdump) => {
            headers(kdump, &mut found);
            bookkeeping::headers(kdump, &mut found);
        }
        Dump::Elf(_) => elf_headers(opened, &mut found),
    }
    text(opened, &mut found);
    match opened.dump {
        Dump::Kdump(_) => pages(opened, &mut found, threads)?,
        Dump::Elf(_) => segments(opened, &mut found, threads)?,
    }
    mem_map(opened, &mut found);
    let warnings = readers::warnings(opened);
    warnings.iter().for_each(|text| remark(format_args!("{}: {text}", opened.name())));
    Ok(found.report(opened, warnings))
}

/// Lines of VMCOREINFO are keys and values.
fn text(opened: &Opened, found: &mut Findings) {
    let claimed = match &opened.dump {
        Dump::Kdump(kdump) => kdump.facts().sub.vmcoreinfo.1,
        Dump::Elf(_) => 0,
    };
    if claimed > 0 && opened.text.is_empty() {
        found.whole(Weight::Damage, "VMCOREINFO is not where the sub-header says");
    }
    let bad = |line: &&[u8]| {
        let text = line.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
        !text || !line.contains(&b'=')
    };
    let count = VmcoreInfo::new(&opened.text).lines().filter(bad).count();
    if count > 0 {
        found.whole(Weight::Damage, format!("VMCOREINFO has {count} malformed lines"));
    }
}

/// The `struct page` of every page must be there: without it no reader finds anything.
fn mem_map(opened: &mut Opened, found: &mut Findings) {
    let mut classes = match Classes::new(opened) {
        Ok(classes) => classes,
        Err(KernelError::MemMap(
            why @ (MemMapError::Unreadable(_)
            | MemMapError::LeftOut(_)
            | MemMapError::Implausible(_)),
        )) => {
            return found.whole(Weight::Missing, format!("no mem_map: {why}"));
        }
        // Nothing claims that there is one.
        Err(_) => return,
    };
    let mut progress = Progress::new("Reading the mem_map");
    let end = opened.max_pfn.0;
    while let Some(window) = classes.next(opened) {
        progress.set(window.end.0, end);
    }
    for span in classes.unreadable() {
        let text = "the struct pages of these cannot be read".to_owned();
        found.add(Weight::Missing, Some((span.start.0, span.end.0)), text);
    }
}

/// Checks that need no pages.
fn headers(kdump: &KdumpFile, found: &mut Findings) {
    let facts = kdump.facts();
    if facts.main.version > VERSION {
        found.whole(
            Weight::Damage,
            format!("header version {} is not known: {VERSION} is the newest", facts.main.version),
        );
    }
    if facts.sub.dump_level > 31 {
        found.whole(
            Weight::Damage,
            format!("invalid dump level {} (0 to 31)", facts.sub.dump_level),
        );
    }
    if facts.notes_damaged {
        found.whole(Weight::Damage, "the notes end in something that is not a note".to_owned());
    }
    if kdump.incomplete() {
        found.whole(Weight::Missing, "its header says that it ended early");
    }
    if let Some(span) = kdump.missing_part() {
        let last = Pfn(span.end.0 - 1);
        found.whole(Weight::Missing, format!("no file for pfns {} to {last}", span.start));
    }
    let mut end = Pfn(0);
    for part in kdump.parts() {
        let range = part.facts.range();
        if range.start < end {
            found.whole(Weight::Damage, format!("two files have pfn {}", range.start));
        }
        end = end.max(range.end);
    }
}

/// Pages whose bits are read at a time, and that a thread works on.
const PIECE: u64 = 8192;

/// What a thread needs.
struct Worker {
    dump: Dump,
    page: Vec<u8>,
    /// Where the page is that all zero pages share: it need not be read again and again.
    zero: Option<(PageDesc, usize)>,
    /// The CRC of a page of zeros.
    zero_crc: u32,
}

impl Worker {
    /// Looks at the pages of one piece.
    fn pages(&mut self, start: Pfn, most: usize) -> Findings {
        let mut found = Findings::new(most);
        let Dump::Kdump(kdump) = &mut self.dump else { return found };
        let span = PfnSpan::new(start, Pfn(start.0 + PIECE).min(kdump.facts().max_pfn));
        let mut bits = [0; PIECE as usize / 8];
        let mut exist = [0; PIECE as usize / 8];
        for (stored, bits) in [(true, &mut bits), (false, &mut exist)] {
            if let Err(e) = kdump.bits(stored, start, bits) {
                let which = if stored { 2 } else { 1 };
                let text = format!("reading bitmap {which}: {e}");
                found.add(Weight::Damage, Some((span.start.0, span.end.0)), text);
                return found;
            }
        }
        let (map, exist) = (Bitmap::over(&mut bits, span), Bitmap::over(&mut exist, span));
        let mut at = start;
        while let Some(run) = map.next_run(at, u64::MAX) {
            at = run.end;
            for pfn in (run.start.0..run.end.0).map(Pfn) {
                if !exist.get(pfn) {
                    let text = "is stored, but bitmap 1 says that there is no such page";
                    found.add(Weight::Damage, Some((pfn.0, pfn.0 + 1)), text.into());
                }
                let mut sum = PageSum::None;
                let result = kdump.descriptor(pfn).and_then(|(desc, part)| {
                    sum = desc.sum();
                    if self.zero == Some((desc.place(), part)) {
                        kdump.check_crc(pfn, desc, self.zero_crc)?;
                    } else {
                        kdump.check(desc, part)?;
                        let read = kdump.decode(pfn, desc, part, &mut self.page);
                        let zero = read.is_ok() && desc.flags.is_empty() && is_zero(&self.page);
                        found.extents.add(pfn, desc, part, zero);
                        read?;
                        if zero {
                            self.zero = Some((desc.place(), part));
                        }
                    }
                    Ok(())
                });
                match result {
                    Ok(()) => {
                        found.pages.good += 1;
                        match sum {
                            PageSum::None => {}
                            PageSum::Crc(_) => found.pages.checksums += 1,
                            PageSum::Unknown(bits) => {
                                let text = format!("its page_flags {bits:#x} are no checksum");
                                found.add(Weight::Damage, Some((pfn.0, pfn.0 + 1)), text);
                            }
                        }
                    }
                    Err(fault) => found.page(pfn.0, &fault),
                }
            }
        }
        found
    }
}

fn pages(opened: &mut Opened, found: &mut Findings, threads: usize) -> Result<()> {
    let end = opened.max_pfn.0;
    let pieces = end.div_ceil(PIECE);
    let page = opened.shift.bytes();
    let twins = opened.twins(threads.min(pieces as usize))?;
    let zero_crc = Crc32::new().update(0, &vec![0; page]);
    let worker = |dump| Worker { dump, page: vec![0; page], zero: None, zero_crc };
    let mut workers: Vec<_> = twins.into_iter().map(worker).collect();
    let mut progress = Progress::new("Reading pages");
    let (mut done, most) = (0, found.most);
    let (_, total) = opened.kdump().map_or((0, 0), |k| k.counts());
    let work = |worker: &mut Worker, piece| worker.pages(Pfn(piece * PIECE), most);
    in_order(&mut workers, pieces, work, |next| {
        done += next.pages.good + next.pages.damaged + next.pages.missing;
        found.append(next);
        progress.set(done, total);
        Ok(())
    })?;
    opened.put_back(workers.into_iter().map(|w| w.dump).collect());
    let extents = std::mem::take(&mut found.extents);
    if let Some(kdump) = opened.kdump() {
        bookkeeping::layout(kdump, extents, found);
    }
    Ok(())
}

fn elf_headers(opened: &Opened, found: &mut Findings) {
    let Some((facts, header)) = opened.elf else { return };
    if let Some(image) = opened.image.filter(|image| image.missing > 0) {
        let text =
            format!("{} of memory are not in the file, which is cut off", size(image.missing));
        found.whole(Weight::Missing, text);
    }
    if facts.notes_damaged {
        found.whole(Weight::Damage, "the notes end in something that is not a note");
    }
    if header.flags.contains(elf::Flags::INCOMPLETE) {
        found.whole(Weight::Missing, "its header says that it ended early");
    }
}

fn segments(opened: &mut Opened, found: &mut Findings, threads: usize) -> Result<()> {
    let page = opened.shift.bytes() as u64;
    // A page is one page, however many ranges have it: as kernel text, and as memory.
    let (mut claimed, mut whole, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    for (s, there) in opened.held() {
        let first = s.phys.0 / page;
        let last = s.phys.0.saturating_add(s.stored_len).div_ceil(page);
        claimed.push((first, last));
        if there < s.stored_len {
            let from = s.phys.0.saturating_add(there) / page;
            found.add(Weight::Missing, Some((from, last)), "past the end of the file".into());
            whole.push((first, from));
        } else {
            whole.push((first, last));
        }
    }
    // Gaps of a file read as zeros: there is nothing to be found.
    let extents = extents(opened);
    const STEP: u64 = 1 << 20;
    // The pieces of all extents are numbered through.
    let mut pieces = 0;
    let number = |extent: &Extent| {
        let first = pieces;
        pieces += extent.len.div_ceil(STEP);
        first
    };
    let first_pieces: Vec<u64> = extents.iter().map(number).collect();
    let total: u64 = extents.iter().map(|extent| extent.len).sum();
    let mut progress = Progress::new("Reading memory");
    let mut done = 0u64;
    let twins = opened.twins(threads)?;
    let mut workers: Vec<_> = twins.into_iter().map(|d| (d, vec![0; STEP as usize])).collect();
    let work = |(dump, buf): &mut (Dump, Vec<u8>), piece: u64| {
        let index = first_pieces.partition_point(|first| *first <= piece) - 1;
        let Extent { phys, len } = extents[index];
        let inside = (piece - first_pieces[index]) * STEP;
        let (at, step) = (phys.0 + inside, (len - inside).min(STEP));
        (at, step, dump.read(PhysAddr(at), &mut buf[..step as usize]))
    };
    in_order(&mut workers, pieces, work, |(at, step, result)| {
        if let Err(e) = result {
            let pfns = (at / page, (at + step).div_ceil(page));
            found.add(Weight::Damage, Some(pfns), e.to_string());
            damaged.push(pfns);
        }
        done += step;
        progress.set(done, total);
        Ok(())
    })?;
    let [claimed, whole, damaged] = [claimed, whole, damaged].map(union);
    found.pages.missing += claimed.saturating_sub(whole);
    found.pages.damaged += damaged;
    found.pages.good += whole.saturating_sub(damaged);
    opened.put_back(workers.into_iter().map(|w| w.0).collect());
    Ok(())
}
