//! `tamis repair`.

use super::reassemble::mark_incomplete;
use crate::classes::survey::Runs;
use crate::dump::open::{Input, Raw, flat, open_raw, scan_leniently};
use crate::dump::out::{OutFile, create};
use crate::fail::{DONE, Fail, INCOMPLETE, Result};
use crate::render::console::{print, remark};
use crate::render::json::{Json, Object};
use crate::render::progress::Progress;
use crate::render::text::number;
use std::path::PathBuf;
use tamis_core::endian::Endian;
use tamis_core::input::kdump::PageFault;
use tamis_core::input::{Form, Layer, form};
use tamis_core::io::RandomAccess;
use tamis_core::units::Pfn;
use tamis_core::wire::page_desc::SIZE;
use tamis_core::wire::{elf, flattened};

/// Make of a damaged or unfinished dump one that readers open.
///
/// A capture that ran out of space or whose machine was switched off leaves a dump with pages
/// missing, or a stream without an end. This writes a copy that says the truth about itself:
/// headers say that it is incomplete, and a page whose data is missing or damaged has an empty
/// descriptor, which makes readers report that page instead of showing garbage. Every page that is
/// sound stays. Of an ELF vmcore that is cut off, the memory ranges are shortened to what is there.
///
/// A flattened stream becomes a file. What cannot be repaired is a file that ends before its
/// bitmaps do: nothing says which pages it has.
///
/// Exit status: 0 nothing was missing after all; 2 pages are missing; 3 it could not be done.
///
/// Examples:
///   $ tamis repair vmcore.incomplete vmcore
///   $ tamis repair vmcore.flat vmcore && echo complete
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump or stream; - is standard input
    dump: PathBuf,
    /// The file to write
    out: PathBuf,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
    /// Print what was done as JSON (schema tamis.repair/1)
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Default)]
struct Found {
    complete: bool,
    /// Of a kdump dump: pages that are good, missing, damaged.
    pages: Option<(u64, u64, u64)>,
    /// Of an ELF vmcore: bytes of memory that are missing.
    missing_bytes: Option<u64>,
}

impl Found {
    fn json(&self) -> Json {
        let pages = self.pages.map(|(good, missing, damaged)| {
            Object::new().with("good", good).with("missing", missing).with("damaged", damaged)
        });
        Object::document("tamis.repair/1")
            .with("complete", self.complete)
            .with("pages", pages)
            .with("missing_bytes", self.missing_bytes)
            .into()
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let raw = Raw::open(&args.dump)?;
    let mut head = vec![0; raw.len.min(flattened::START as u64) as usize];
    let mut input: Input = Layer::Plain(raw.reader());
    input.read_at(0, &mut head).map_err(|e| raw.fail(e))?;
    let (mut len, mut ends) = (raw.len, true);
    if form(&head) == Some(Form::Flattened) {
        let stream = scan_leniently(&raw)?;
        ends = stream.ends;
        let file = flat(&raw, stream.records)?;
        len = file.len();
        input = Layer::Flat(file);
    }
    let mut out = create(&args.out, args.force, std::slice::from_ref(&args.dump))?;
    match copy(&mut input, len, &raw, &mut out).and_then(|()| mend(&args.out, &mut out, ends)) {
        Ok(found) => {
            out.done()?;
            if args.json {
                print(format!("{}\n", found.json()))?;
            }
            Ok(if found.complete { DONE } else { INCOMPLETE })
        }
        Err(fail) => {
            out.remove();
            Err(fail)
        }
    }
}

fn copy(input: &mut Input, len: u64, raw: &Raw, out: &mut OutFile) -> Result<()> {
    let mut progress = Progress::new("Copying");
    let mut buf = vec![0; 1 << 20];
    out.set_len(len)?;
    let mut at = 0;
    while at < len {
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
fn mend(path: &std::path::Path, out: &mut OutFile, ends: bool) -> Result<Found> {
    let mut opened = open_raw(Raw::open(path)?)?;
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
        let run = run.clip(range);
        for pfn in run.start.0..run.end.0 {
            let at = facts.descriptors + index * SIZE as u64;
            index += 1;
            let result = kdump
                .descriptor(Pfn(pfn))
                .and_then(|(desc, part)| kdump.decode(desc, part, &mut page));
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
    let pages = Some((index - lost - damaged, lost, damaged));
    if !complete {
        mark_incomplete(out, &facts)?;
        remark(format_args!(
            "{}: {} pages are good, {} missing, {} damaged; it is marked incomplete",
            path.display(),
            number(index - lost - damaged),
            number(lost),
            number(damaged)
        ));
    } else {
        remark(format_args!("{}: all {} pages are good", path.display(), number(index)));
    }
    Ok(Found { complete, pages, missing_bytes: None })
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
    if cut == 0 && ends && header.flags & elf::FLAG_INCOMPLETE == 0 {
        remark(format_args!("nothing is missing"));
        return Ok(Found { complete: true, pages: None, missing_bytes: Some(0) });
    }
    let at = if size == elf::PROGRAM_HEADER_MAX { 48 } else { 36 };
    let flags = header.flags | elf::FLAG_INCOMPLETE;
    let bytes = match header.endian {
        Endian::Little => flags.to_le_bytes(),
        Endian::Big => flags.to_be_bytes(),
    };
    out.put(at, &bytes)?;
    remark(format_args!("{cut} bytes of memory are missing; it is marked incomplete"));
    Ok(Found { complete: false, pages: None, missing_bytes: Some(cut) })
}
