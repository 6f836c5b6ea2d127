//! Opens dumps by what is in them: one file, a split set in any order, flattened or not, or
//! standard input.
//!
//! The tables of an open dump live until the program ends: a run opens a handful of dumps, each
//! once.

use crate::dump::decode::Unpackers;
use crate::dump::input::{FileInfo, Raw};
use crate::dump::machines;
use crate::dump::opened::{Dump, Input, Opened, PAGES_KEPT, finish};
use crate::dump::refuse::{Header, foreign_elf, refuse};
use crate::dump::stream::scan;
use crate::fail::{Fail, Result};
use crate::render::text::{number, size};
use std::path::PathBuf;
use tamis_core::arch::s390x;
use tamis_core::endian::Word;
use tamis_core::input::elf;
use tamis_core::input::elf::ElfVmcore;
use tamis_core::input::kdump::{Kdump, Part, Storage};
use tamis_core::input::{Form, MaybeFlattened, form, kdump};
use tamis_core::io::{IoError, RandomAccess};
use tamis_core::memory::{Dump as _, MemoryRange, PhysMemory, Ranges as _};
use tamis_core::units::{Pfn, PhysAddr};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::elf as elf_wire;
use tamis_core::wire::machine::EM_S390;

/// Physical memory of any machine ends below this.
const MEMORY_MOST: u64 = 1 << 53;
/// No machine has more memory than this: 128 TiB. To go over more pages than that would take hours.
const TOTAL_MOST: u64 = 1 << 47;
/// Bytes of a bitmap that are believed of a file that holds less: those of 8 TiB.
const BITMAP_MOST: u64 = 256 << 20;
/// Memory ranges that are kept apart (192 MiB of them). Machines have tens, and a guest from which memory was taken
/// has as many as it has blocks.
const RANGES_MOST: usize = 4 << 20;

/// A file whose headers were read.
enum Probed {
    Elf(Box<elf::Facts>, elf_wire::Header, Input),
    Kdump(Box<Part<Input>>),
}

/// Opens one file as far as its headers.
fn probe(raw: Raw) -> Result<(FileInfo, Probed)> {
    let head = raw.head()?;
    let Some(mut kind) = form(&head) else { return Err(refuse(&raw, &head)) };
    let mut info = FileInfo { len: raw.len, raw, stream: None };
    let mut input = MaybeFlattened::Plain(info.raw.reader());
    if kind == Form::Flattened {
        let stream = scan(&info.raw)?;
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
    let mut sets: Vec<Vec<Probe>> = Vec::new();
    for path in paths {
        let mut probed = probe(Raw::open(path)?)?;
        probed.1.forget();
        let home = sets.iter_mut().find(|set| belongs(&set[0].1, &probed.1));
        match home {
            Some(set) => set.push(probed),
            None => sets.push(vec![probed]),
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
        };
        match input {
            MaybeFlattened::Plain(file) => file.forget(),
            MaybeFlattened::Flat(flat) => flat.stream().forget(),
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
        _ => false,
    }
}

fn assemble(set: Vec<(FileInfo, Probed)>) -> Result<Opened> {
    let mut files = Vec::new();
    let mut parts = Vec::new();
    for (file, probed) in set {
        files.push(file);
        match probed {
            Probed::Kdump(part) => parts.push(*part),
            Probed::Elf(facts, header, input) => return elf(files, *facts, header, input),
        }
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
    Ok(finish(files, Dump::Kdump(kdump), None, shift, facts.max_pfn, text, at))
}

fn elf(
    files: Vec<FileInfo>,
    facts: elf::Facts,
    header: elf_wire::Header,
    mut input: Input,
) -> Result<Opened> {
    if facts.mem_end > MEMORY_MOST {
        return Err(files[0]
            .raw
            .fail(format_args!("its memory ends at {:#x}: no machine has that much", facts.mem_end))
            .next("its program headers are damaged"));
    }
    // As many program headers as the file has room for, at most.
    let table = vec![MemoryRange::default(); facts.segments];
    let places = vec![elf::Place::default(); facts.segments];
    let text = text(facts.vmcoreinfo, |at, buf| facts.notes.read(&mut input, at, buf));
    let info = Info::new(Some(&text), None);
    let (usual, only) = machines::page_size(facts.machine);
    let (shift, assumed) = match info.page_shift() {
        Some(shift) => (shift, false),
        None => (usual, !only),
    };
    let mut vmcore =
        ElfVmcore::load(input, facts, shift, table, places).map_err(|e| files[0].raw.fail(e))?;
    let total = vmcore.ranges().iter().fold(0u64, |sum, range| sum.saturating_add(range.len));
    if total > TOTAL_MOST {
        let text = format_args!("it claims {} of memory: no machine has that much", size(total));
        return Err(files[0].raw.fail(text).next("its program headers are damaged"));
    }
    if is_process(&vmcore) {
        let text = "the core file of a process, not of a kernel";
        return Err(files[0].raw.fail(text).next("try gdb"));
    }
    let max_pfn = Pfn(facts.mem_end.div_ceil(shift.bytes() as u64));
    let text = or_in_memory(text, &mut vmcore);
    let (dump, elf) = (Dump::Elf(vmcore), Some((facts, header)));
    let mut opened = finish(files, dump, elf, shift, max_pfn, text, facts.vmcoreinfo);
    opened.page_size_assumed = assumed;
    Ok(opened)
}

/// Whether it is the memory of a process: its ranges have no physical addresses, which is to say that all
/// of them are 0. Where there is one range only, a kernel's may begin there, but not at an address of a
/// process. Notes do not show it: netdump wrote those of a process, too.
fn is_process(vmcore: &ElfVmcore<'_, Input>) -> bool {
    let wide = vmcore.machine().word == Word::Bits64;
    let first_of_kernel = if wide { 1 << 63 } else { 0xc000_0000 };
    let none = vmcore.ranges().iter().all(|range| range.phys == PhysAddr(0));
    match vmcore.ranges() {
        _ if vmcore.facts().vmcoreinfo.is_some() => false,
        [one] => none && (1..first_of_kernel).contains(&one.virt.0),
        ranges => none && !ranges.is_empty(),
    }
}

/// The text of VMCOREINFO; one that cannot be read, or that is too long, is one that is missing.
fn text(
    at: Option<(u64, u64)>,
    read: impl FnOnce(u64, &mut [u8]) -> std::result::Result<(), IoError>,
) -> Vec<u8> {
    let Some((at, len)) = at.filter(|(_, len)| (1..=INFO_MOST).contains(len)) else {
        return Vec::new();
    };
    let mut text = vec![0; len as usize];
    if read(at, &mut text).is_err() {
        text.clear();
    }
    text
}

/// The text, or where the file has none, the one that the kernel of an s390x machine has left in memory.
fn or_in_memory(mut text: Vec<u8>, memory: &mut impl PhysMemory) -> Vec<u8> {
    let machine = memory.machine();
    if text.is_empty() && (machine.elf_machine, machine.word) == (EM_S390, Word::Bits64) {
        let found = s390x::vmcoreinfo(memory).filter(|(_, len)| *len <= INFO_MOST);
        if let Some((at, len)) = found {
            text.resize(len as usize, 0);
            if memory.read(at, &mut text).is_err() {
                text.clear();
            }
        }
    }
    text
}

/// VMCOREINFO is about one page; anything longer than this is rejected.
const INFO_MOST: u64 = 1 << 20;
