//! Opens dumps by what is in them: one file, a split set in any order, flattened or not, or
//! standard input.
//!
//! The tables of an open dump live until the program ends: a run opens a handful of dumps, each
//! once.

use crate::dump::decode::Unpackers;
use crate::dump::file::BlockFile;
use crate::dump::image::{self, Source};
use crate::dump::input::{FileInfo, Raw};
use crate::dump::opened::{Dump, Input, Opened, PAGES_KEPT, finish};
use crate::dump::refuse::{Header, foreign_elf, refuse};
use crate::dump::scan;
use crate::dump::stream;
use crate::dump::vmcore::{elf as open_elf, or_in_memory, text};
use crate::fail::{Fail, Result};
use crate::render::text::{number, size};
use std::path::PathBuf;
use tamis_core::input::elf;
use tamis_core::input::image::kind as image_kind;
use tamis_core::input::kdump::{Kdump, Part, Storage};
use tamis_core::input::{Form, MaybeFlattened, form, kdump};
use tamis_core::io::RandomAccess;
use tamis_core::memory::{Dump as _, MemoryRange};
use tamis_core::units::Pfn;
use tamis_core::wire::elf as elf_wire;

/// Bytes of a bitmap that are believed of a file that holds less: those of 64 TiB in pages of 4 KiB. Most of a bitmap of
/// so large a machine may be a gap of the file, which is gone through in a second or two.
const BITMAP_MOST: u64 = 2 << 30;
/// Memory ranges that are kept apart (192 MiB of them). Machines have tens, and a guest from which memory was taken
/// has as many as it has blocks.
const RANGES_MOST: usize = 4 << 20;

/// A file whose headers were read.
enum Probed {
    Elf(Box<elf::Facts>, elf_wire::Header, Input),
    Kdump(Box<Part<Input>>),
    Image(Source),
}

/// A file as it is.
fn file(raw: Raw) -> FileInfo {
    FileInfo { len: raw.len, raw, stream: None }
}

/// Opens one file as far as its headers.
fn probe(raw: Raw) -> Result<(FileInfo, Probed)> {
    let head = raw.head()?;
    let Some(mut kind) = form(&head) else {
        return match Source::of(&raw, &head)? {
            Some(image) => Ok((file(raw), Probed::Image(image))),
            None => Err(refuse(&raw, &head)),
        };
    };
    let mut info = file(raw);
    let mut input = MaybeFlattened::Plain(info.raw.reader());
    if kind == Form::Flattened {
        let stream = stream::scan(&info.raw)?;
        info.stream = Some((stream.count, stream.ends));
        (input, info.len) = stream.layer(&info.raw)?;
        let mut head = vec![0; info.len.min(8192) as usize];
        input.read_at(0, &mut head).map_err(|e| info.raw.fail(e))?;
        kind = match form(&head) {
            Some(Form::Flattened) | None => {
                let fail = info.raw.fail("a flattened stream with no dump in it");
                let cut = info.stream.is_some_and(|(_, ends)| !ends);
                let next = "it is cut off, and no page can be read from it";
                return Err(if cut { fail.next(next) } else { fail });
            }
            Some(kind) => kind,
        };
    }
    if kind == Form::Kdump {
        let found = kdump::probe_notes(&mut input, info.len).and_then(|facts| {
            if info.stream.is_some() {
                facts.check_stream(info.raw.len)?;
            }
            Ok(facts)
        });
        let facts = found.map_err(|e| info.raw.fail(e).next("no page can be read from it"))?;
        return Ok((info, Probed::Kdump(Box::new(Part::new(input, facts)))));
    }
    let mut head = vec![0; info.len.min(elf_wire::HEADER_MAX as u64) as usize];
    input.read_at(0, &mut head).map_err(|e| info.raw.fail(e))?;
    if let Some(fail) = foreign_elf(&info.raw, &head) {
        return Err(fail);
    }
    let facts = elf_wire::Header::parse(&head)
        .map_err(elf::OpenError::Wire)
        .and_then(|header| Ok((elf::probe_notes(&mut input)?, header)));
    match facts {
        Ok((facts, header)) => Ok((info, Probed::Elf(Box::new(facts), header, input))),
        Err(e) => Err(match Header::of(&head) {
            Header::Executable => info
                .raw
                .fail("an ELF executable or library, perhaps vmlinux, not a dump")
                .next("name the vmcore"),
            Header::Object => info
                .raw
                .fail("an ELF object file, perhaps a kernel module, not a dump")
                .next("name the vmcore"),
            Header::Other => info.raw.fail(format_args!("an ELF file, but no vmcore: {e}")),
        }),
    }
}

/// Opens files that are one dump: a single file, or a split set.
pub fn open(paths: &[PathBuf]) -> Result<Opened> {
    one(open_all(paths)?)
}

/// The same, of files that need not hold any memory: for what is in their headers and notes.
pub fn open_notes(paths: &[PathBuf]) -> Result<Opened> {
    one(sets(paths)?.into_iter().map(assemble))
}

fn one(mut sets: impl Iterator<Item = Result<Opened>>) -> Result<Opened> {
    match (sets.next(), sets.last()) {
        (Some(one), None) => one,
        (_, Some(other)) => Err(other?
            .fail("not of the same split dump as the file before it")
            .next("name the files of one dump")),
        (None, None) => Err(Fail::new("no dump was named")),
    }
}

/// Opens one file that is open already.
pub fn open_raw(raw: Raw) -> Result<Opened> {
    memory(assemble(vec![probe(raw)?])?)
}

/// Refuses what has no memory.
fn memory(opened: Opened) -> Result<Opened> {
    if opened.max_pfn > Pfn(0) {
        return Ok(opened);
    }
    let fail = match opened.dump {
        Dump::Kdump(_) => opened.fail(kdump::DumpError::Empty),
        Dump::Elf(_) => opened.fail(elf::OpenError::NoLoad),
    };
    Err(fail.next("`tamis notes` and `tamis vmcoreinfo` show what it has"))
}

/// Opens files that may be several dumps; the parts of a split one may come in any order. Their headers are read
/// at once, each dump is opened when its turn comes: of the others, nothing but headers is held.
pub fn open_all(paths: &[PathBuf]) -> Result<impl Iterator<Item = Result<Opened>>> {
    Ok(sets(paths)?.into_iter().map(|set| memory(assemble(set)?)))
}

/// A file and its headers.
type Probe = (FileInfo, Probed);

/// The files of each dump, and their headers.
fn sets(paths: &[PathBuf]) -> Result<Vec<Vec<Probe>>> {
    if image::are_raw(paths.len())? {
        let part = |path: &PathBuf| Ok((file(Raw::open(path)?), Probed::Image(Source::Raw)));
        return Ok(vec![paths.iter().map(part).collect::<Result<_>>()?]);
    }
    let mut sets: Vec<Vec<Probe>> = Vec::new();
    let mut strangers = Vec::new();
    for path in paths {
        let raw = Raw::open(path)?;
        if paths.len() > 1 {
            let head = raw.head()?;
            if form(&head).is_none() && image_kind(&head).is_none() {
                strangers.push(raw);
                continue;
            }
        }
        let mut probed = probe(raw)?;
        probed.1.forget();
        let home = sets.iter_mut().find(|set| belongs(&set[0].1, &probed.1));
        match home {
            Some(set) => set.push(probed),
            None => sets.push(vec![probed]),
        }
    }
    // What is nothing by itself may be the memory of a machine whose state is in another file.
    for raw in strangers {
        let state = sets.iter_mut().find(|set| match set.as_slice() {
            [(_, Probed::Image(image))] => image.takes_memory(),
            _ => false,
        });
        match state {
            Some(set) => set.push((file(raw), Probed::Image(Source::Raw))),
            None => return Err(refuse(&raw, &raw.head()?)),
        }
    }
    Ok(sets)
}

impl Probed {
    /// Frees the blocks of the file that were read for its headers.
    fn forget(&mut self) {
        let input = match self {
            Probed::Elf(_, _, input) => input,
            Probed::Kdump(part) => &mut part.file,
            Probed::Image(_) => return,
        };
        match input {
            MaybeFlattened::Plain(file) => file.forget(),
            MaybeFlattened::Flat(flat) => flat.stream().forget(),
            MaybeFlattened::Image(image) => image.files().iter_mut().for_each(BlockFile::forget),
        }
    }
}

/// Whether two files are parts of one split dump.
fn belongs(a: &Probed, b: &Probed) -> bool {
    match (a, b) {
        (Probed::Kdump(a), Probed::Kdump(b)) => {
            let (a, b) = (&a.facts, &b.facts);
            a.sub.split.is_some()
                && b.sub.split.is_some()
                && a.main.utsname == b.main.utsname
                && a.main.crash_time == b.main.crash_time
                && (a.max_pfn, a.bitmap2) == (b.max_pfn, b.bitmap2)
        }
        (Probed::Image(a), Probed::Image(b)) => a.belongs(b),
        _ => false,
    }
}

fn assemble(set: Vec<(FileInfo, Probed)>) -> Result<Opened> {
    let (mut files, mut parts, mut images) = (Vec::new(), Vec::new(), Vec::new());
    for (file, probed) in set {
        match probed {
            Probed::Kdump(part) => parts.push(*part),
            Probed::Elf(facts, header, input) => {
                let opened = open_elf(vec![file], *facts, header, input)?;
                return Ok(with_text_in_memory(opened));
            }
            Probed::Image(source) => {
                images.push((file, source));
                continue;
            }
        }
        files.push(file);
    }
    if !images.is_empty() {
        return image::open(images);
    }
    let first = &files[0].raw;
    let facts = parts[0].facts;
    let page = facts.main.shift.bytes();
    let bitmap = facts.max_mapnr().div_ceil(8);
    if bitmap > BITMAP_MOST && first.stored() < bitmap / 64 {
        let (pages, stored) = (number(facts.max_mapnr()), size(first.stored()));
        let text = format_args!("it claims {pages} pages, in a file of which {stored} are there");
        return Err(first.fail(text).next("its header is damaged"));
    }
    let ranges = kdump::count_ranges(&mut parts[0].file, &facts).map_err(|e| first.fail(e))?;
    let storage = Storage {
        rank: vec![0; facts.rank_storage()].into(),
        ranges: vec![MemoryRange::default(); ranges.min(RANGES_MOST)].into(),
        pages: vec![0; PAGES_KEPT.max(page)].into(),
        stored: vec![0; page].into(),
    };
    let mut kdump = Kdump::load(parts, storage, Unpackers::default()).map_err(|e| match e {
        kdump::DumpError::Foreign(index, _) => files[index].raw.fail(e),
        _ => first.fail(e),
    })?;
    let (shift, at) = (facts.main.shift, facts.vmcoreinfo);
    let text = text(at, |at, buf| kdump.read_notes(at, buf));
    let text = or_in_memory(text, &mut kdump);
    let opened = finish(files, Dump::Kdump(kdump), None, shift, facts.max_pfn, text, at);
    Ok(with_text_in_memory(opened))
}

/// With VMCOREINFO out of memory, where it is in no note.
fn with_text_in_memory(mut opened: Opened) -> Opened {
    if opened.text.is_empty()
        && let Some(text) = scan::vmcoreinfo(&mut opened)
    {
        opened.take_text(text);
    }
    opened
}
