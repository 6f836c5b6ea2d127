//! Opens dumps by what is in them: one file, a split set in any order, flattened or not, or
//! standard input.
//!
//! The tables of an open dump live until the program ends: a run opens a handful of dumps, each
//! once.

use super::decode::Unpackers;
use super::file::BlockFile;
use crate::fail::{Fail, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tamis_boot::raw_target::RawTarget;
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::input::elf::{self, ElfVmcore};
use tamis_core::input::flat::{Extent, Flat, FlatError, Record, Scan, Step};
use tamis_core::input::kdump::{self, Kdump, Part, Storage};
use tamis_core::input::{Form, Layer, form};
use tamis_core::io::{IoError, RandomAccess};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::memory::{Dump as _, MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::units::{PageShift, Pfn};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::{elf as elf_wire, note};

/// A file, or the one that a flattened stream stands for.
pub type Input = Layer<'static, BlockFile>;
/// An open dump.
pub type Dump = tamis_core::input::AnyDump<'static, Input, Unpackers>;

/// VMCOREINFO is a page of text; more than this is none.
const INFO_MOST: u64 = 1 << 20;
/// Physical memory of any machine ends below this.
const MEMORY_MOST: u64 = 1 << 53;
/// Bytes of decoded pages that are kept.
pub const PAGES_KEPT: usize = 1 << 20;

/// An input file before anything is known about it.
pub struct Raw {
    /// As it was given.
    pub path: PathBuf,
    file: Arc<File>,
    /// Where the dump begins: not 0 on a device that tamis-capture wrote as PID 1.
    base: u64,
    /// Bytes.
    pub len: u64,
}

/// Where the dump begins: behind the first block of a device that was written with `fstype=raw`
/// (capture-bin/docs/init.md), at 0 of anything else.
fn base_of(file: &File, len: u64) -> u64 {
    let mut head = [0; RawTarget::LEN];
    let read = file.read_exact_at(&mut head, 0);
    match read.ok().and_then(|()| RawTarget::parse(&head)) {
        Some(target) if target.base < len => target.base,
        _ => 0,
    }
}

impl Raw {
    /// Opens a file; `-` is standard input, copied to a temporary file unless it is one already.
    pub fn open(path: &Path) -> Result<Raw> {
        let named = |e: io::Error| Fail::file(path, e);
        if path == Path::new("-") {
            if io::stdin().is_terminal() {
                return Err(Fail::new("standard input is a terminal")
                    .next("give it a dump, or name a file instead of -"));
            }
            let file = spool().map_err(|e| {
                Fail::new(format_args!("standard input: copying to a temporary file: {e}"))
                    .next("TMPDIR names the directory for it")
            })?;
            let len = file.metadata().map_err(named)?.len();
            return Ok(Raw::of(path, file, len));
        }
        // Not opened first: a FIFO would wait for somebody who writes.
        let kind = std::fs::metadata(path).map_err(named)?.file_type();
        if kind.is_dir() {
            return Err(Fail::file(path, "is a directory").next("name the dump in it"));
        }
        if kind.is_fifo() || kind.is_char_device() || kind.is_socket() {
            return Err(Fail::file(path, "cannot be read at any place, as a dump must")
                .next("give it as standard input, named -"));
        }
        let mut file = File::open(path).map_err(named)?;
        let len = file
            .seek(SeekFrom::End(0))
            .map_err(|e| Fail::file(path, format_args!("finding its end: {e}")))?;
        Ok(Raw::of(path, file, len))
    }

    fn of(path: &Path, file: File, len: u64) -> Raw {
        let base = base_of(&file, len);
        Raw { path: path.to_owned(), file: Arc::new(file), base, len: len - base }
    }

    /// How it is called in messages.
    pub fn name(&self) -> String {
        if self.path == Path::new("-") {
            "standard input".into()
        } else {
            self.path.display().to_string()
        }
    }

    /// A new reader of it.
    pub fn reader(&self) -> BlockFile {
        BlockFile::part(self.file.clone(), self.base, self.len)
    }

    /// An error about it.
    pub fn fail(&self, text: impl std::fmt::Display) -> Fail {
        Fail::new(format_args!("{}: {text}", self.name()))
    }

    fn head(&self) -> Result<Vec<u8>> {
        let mut head = vec![0; self.len.min(8192) as usize];
        self.file
            .read_exact_at(&mut head, self.base)
            .map_err(|e| self.fail(format_args!("reading offset 0: {e}")))?;
        Ok(head)
    }
}

/// Standard input as a file without a name.
fn spool() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("tamis-{}", std::process::id()));
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    Ok(file)
}

/// The records of a flattened stream.
pub struct Stream {
    /// In the order of the stream.
    pub records: Vec<Record>,
    /// Whether the end record is there; without it the writer died.
    pub ends: bool,
}

/// Finds the records of a flattened stream. What is there of a record that is cut off counts.
pub fn scan(raw: &Raw) -> Result<Stream> {
    let (stream, error) = records(raw);
    match error {
        None => Ok(stream),
        Some(e) => Err(raw.fail(e).next("`tamis repair` makes a dump of what is before it")),
    }
}

/// Like [`scan`], but a stream that is damaged ends before the damage.
pub fn scan_leniently(raw: &Raw) -> Result<Stream> {
    match records(raw) {
        (stream, Some(e)) if stream.records.is_empty() => Err(raw.fail(e)),
        (stream, _) => Ok(stream),
    }
}

fn records(raw: &Raw) -> (Stream, Option<FlatError>) {
    let mut file = raw.reader();
    let mut stream = Stream { records: Vec::new(), ends: false };
    let mut scan = match Scan::new(&mut file, raw.len) {
        Ok(scan) => scan,
        Err(e) => return (stream, Some(e)),
    };
    loop {
        match scan.next(&mut file) {
            Ok(Step::Record(record)) => stream.records.push(record),
            Ok(Step::End(_)) => {
                stream.ends = true;
                return (stream, None);
            }
            Ok(Step::Cut(part)) => {
                if part.len > 0 {
                    stream.records.push(part);
                }
                return (stream, None);
            }
            Err(e) => return (stream, Some(e)),
        }
    }
}

/// The file that a flattened stream stands for.
pub fn flat(raw: &Raw, records: Vec<Record>) -> Result<Flat<'static, BlockFile>> {
    let extents = vec![Extent::default(); Flat::<BlockFile>::extents_for(records.len())];
    Flat::load(raw.reader(), records, extents).map_err(|e| raw.fail(e))
}

/// What is known about one file of a dump.
pub struct FileInfo {
    /// As it was given.
    pub raw: Raw,
    /// Bytes of the dump; of a flattened stream, of the file that it stands for.
    pub len: u64,
    /// For a flattened stream: the number of its records, and whether it has its end.
    pub stream: Option<(usize, bool)>,
}

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
    let mut input = Layer::Plain(info.raw.reader());
    if kind == Form::Flattened {
        let stream = scan(&info.raw)?;
        info.stream = Some((stream.records.len(), stream.ends));
        let flat = flat(&info.raw, stream.records)?;
        info.len = flat.len();
        input = Layer::Flat(flat);
        let mut head = vec![0; info.len.min(8192) as usize];
        input.read_at(0, &mut head).map_err(|e| info.raw.fail(e))?;
        kind = match form(&head) {
            Some(Form::Flattened) | None => {
                let fail = info.raw.fail("a flattened stream with no dump in it");
                let cut = info.stream.is_some_and(|(_, ends)| !ends);
                let next = "it is cut off, and there is no page to be had from it";
                return Err(if cut { fail.next(next) } else { fail });
            }
            Some(kind) => kind,
        };
    }
    if kind == Form::Kdump {
        let found = kdump::probe(&mut input, info.len).and_then(|facts| {
            if info.stream.is_some() {
                facts.check_stream(info.raw.len)?;
            }
            Ok(facts)
        });
        let facts =
            found.map_err(|e| info.raw.fail(e).next("there is no page to be had from it"))?;
        return Ok((info, Probed::Kdump(Box::new(Part::new(input, facts)))));
    }
    let mut head = vec![0; info.len.min(elf_wire::HEADER_MAX as u64) as usize];
    input.read_at(0, &mut head).map_err(|e| info.raw.fail(e))?;
    let facts = elf_wire::Header::parse(&head)
        .map_err(elf::OpenError::Wire)
        .and_then(|header| Ok((elf::probe(&mut input)?, header)));
    match facts {
        Ok((facts, _)) if is_process(&facts, &mut input) => {
            Err(info.raw.fail("the core file of a process, not of a kernel").next("try gdb"))
        }
        Ok((facts, header)) => Ok((info, Probed::Elf(Box::new(facts), header, input))),
        Err(e) => Err(match Header::of(&head) {
            Header::Executable => info
                .raw
                .fail("an ELF executable or library, perhaps vmlinux, not a dump")
                .next("name the vmcore"),
            Header::Other => info.raw.fail(format_args!("an ELF file, but no vmcore: {e}")),
        }),
    }
}

enum Header {
    Executable,
    Other,
}

impl Header {
    fn of(head: &[u8]) -> Header {
        let big = head.get(5) == Some(&2);
        match head.get(16..18) {
            Some([2 | 3, 0]) if !big => Header::Executable,
            Some([0, 2 | 3]) if big => Header::Executable,
            _ => Header::Other,
        }
    }
}

/// Whether the notes are those of a process: one with `NT_PRPSINFO` and nothing of a kernel.
fn is_process(facts: &elf::Facts, input: &mut Input) -> bool {
    const NT_PRPSINFO: u32 = 3;
    let (start, len) = facts.notes;
    let mut process = false;
    let mut at = 0;
    while facts.vmcoreinfo.is_none() && at + note::HEADER as u64 <= len {
        let mut raw = [0; note::HEADER];
        let read = input.read_at(start.saturating_add(at), &mut raw);
        let Ok(found) = note::NoteHeader::parse(facts.machine.endian, &raw) else { break };
        if read.is_err() {
            break;
        }
        process |= found.kind == NT_PRPSINFO && found.name_len == 5;
        at += found.padded_len();
    }
    process
}

/// Says what a file that is no dump looks like.
fn refuse(raw: &Raw, head: &[u8]) -> Fail {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|h| h.starts_with(magic));
    let magics: [(&[u8], &str, &str); 24] = [
        (b"\x1f\x8b", "compressed with gzip", "gunzip it first"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unzstd it first"),
        (b"\xfd7zXZ\0", "compressed with xz", "unxz it first"),
        (b"BZh", "compressed with bzip2", "bunzip2 it first"),
        (b"\x04\x22\x4d\x18", "compressed with lz4", "unlz4 it first"),
        (b"\x02\x21\x4c\x18", "compressed with lz4", "unlz4 it first"),
        (b"LUKS\xba\xbe", "a LUKS encrypted volume", "unlock it first"),
        (b"PK\x03\x04", "a zip archive", "unpack it first"),
        (b"sadump\0\0", "a dump of sadump", "makedumpfile converts it"),
        (b"sadu", "a dump of sadump", "makedumpfile converts it"),
        (b"DISKDUMP", "a dump of diskdump", "crash reads it"),
        (b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "a dump of LKCD", "crash of old reads it"),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xed", "a dump of LKCD", "crash of old reads it"),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", "a stand-alone dump of s390", "zgetdump converts it"),
        (b"EMiL", "a LiME memory image", "it has no dump header"),
        (b"QEVM", "a saved machine of QEMU", "make a dump of it with dump-guest-memory"),
        (b"QFI\xfb", "a qcow2 disk image", "the dump is a file in it"),
        (b"PAGEDU", "a Windows crash dump", "tamis is for Linux"),
        (b"MDMP", "a minidump", "tamis is for kernel dumps"),
        (b"\xd0\xbe\xd2\xbe", "a VMware snapshot", "vmss2core converts it"),
        (b"\xd2\xbe\xd2\xbe", "a VMware snapshot", "vmss2core converts it"),
        (b"LibvirtQemudSave", "a saved machine of libvirt", "make a dump with virsh dump"),
        (b"LibvirtQemudPart", "an unfinished save of libvirt", "make a dump with virsh dump"),
        (b"OSRELEASE=", "a VMCOREINFO text", "name the dump that it belongs to"),
    ];
    let refused = |what: &str, next: &str| raw.fail(format_args!("{what}, not a dump")).next(next);
    if head.is_empty() {
        return raw.fail("an empty file").next("the capture failed before it began");
    }
    if let Some((_, what, next)) = magics.iter().find(|(magic, ..)| at(0, magic)) {
        return refused(what, next);
    }
    if at(4096, b"sadump\0\0") || at(4096, b"sadu") {
        return refused("a dump of sadump", "makedumpfile converts it");
    }
    if at(257, b"ustar") {
        return refused("a tar archive", "unpack it first");
    }
    if at(1080, b"\x53\xef") {
        return refused("a file system (ext2, ext3 or ext4)", "the dump is a file in it");
    }
    let starts: [&[u8]; 4] = [b"KDUMP   ", b"TAMIS   ", b"\x7fELF", b"makedumpfile\0\0\0\0"];
    if starts.iter().any(|s| s.starts_with(head)) || at(0, b"makedumpfile\0\0\0\0") {
        return raw
            .fail(format_args!("a dump cut off in its header: {} bytes are there", raw.len))
            .next("there is no page to be had from it");
    }
    if head.iter().all(|b| *b == 0) {
        let text = "begins with zeros: a dump whose header was never written, or none at all";
        return raw.fail(text).next("check that the capture ended");
    }
    if head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        return refused("a text", "name a dump");
    }
    let begins = head.get(..8).unwrap_or(head).escape_ascii().to_string();
    raw.fail(format_args!("not a dump: it begins with \"{begins}\""))
        .next("a dump is an ELF core, a kdump file or a flattened stream")
}

/// An open dump and all that belongs to it.
pub struct Opened {
    /// The memory.
    pub dump: Dump,
    /// The files, in the order they were given.
    pub files: Vec<FileInfo>,
    /// Header facts of an ELF vmcore.
    pub elf: Option<(elf::Facts, elf_wire::Header)>,
    /// Offsets in the file of an ELF vmcore's memory ranges, in their order.
    pub offsets: Vec<u64>,
    /// Page size.
    pub shift: PageShift,
    /// One past the last pfn.
    pub max_pfn: Pfn,
    /// The VMCOREINFO text; empty if there is none.
    pub text: &'static [u8],
    /// Offset in the notes and bytes of the text.
    pub text_at: Option<(u64, u64)>,
    tables: Vec<u8>,
    /// Readers for other threads that nobody uses now.
    twins: Vec<Dump>,
}

impl Opened {
    /// As many more readers of the dump as asked for, for other threads; to be given back to
    /// [`Opened::put_back`], as their tables live on.
    pub fn twins(&mut self, count: usize) -> Result<Vec<Dump>> {
        let mut twins = std::mem::take(&mut self.twins);
        self.twins = twins.split_off(count.min(twins.len()));
        while twins.len() < count {
            let file = |input: &Input| input.twin(BlockFile::twin);
            twins.push(match &self.dump {
                Dump::Elf(elf) => Dump::Elf(elf.reopen(file(elf.file()))),
                Dump::Kdump(kdump) => {
                    let parts: Vec<_> = kdump.parts().iter().map(|p| p.twin(file)).collect();
                    let page = self.shift.bytes();
                    let storage = || vec![0; page];
                    let twin = kdump.twin(parts, storage(), storage(), Unpackers::default());
                    Dump::Kdump(twin.map_err(|e| self.fail(e))?)
                }
            });
        }
        Ok(twins)
    }

    /// Takes readers back.
    pub fn put_back(&mut self, twins: Vec<Dump>) {
        self.twins.extend(twins);
    }

    /// What the kernel tells about itself.
    pub fn info(&self) -> Info<'static> {
        Info::new((!self.text.is_empty()).then_some(self.text), None)
    }

    /// The kdump reader, if it is such a dump.
    pub fn kdump(&mut self) -> Option<&mut Kdump<'static, Input, Unpackers>> {
        match &mut self.dump {
            Dump::Kdump(k) => Some(k),
            Dump::Elf(_) => None,
        }
    }

    /// Memory ranges, and for each the bytes that the file has of it: a file that is cut off has fewer than it
    /// says.
    pub fn held(&self) -> impl Iterator<Item = (&MemoryRange, u64)> {
        let len = self.files.first().map_or(0, |f| f.len);
        let room = self.offsets.iter().map(move |at| len.saturating_sub(*at));
        let room = room.chain(std::iter::repeat(u64::MAX));
        self.dump.ranges().iter().zip(room).map(|(range, room)| (range, range.stored_len.min(room)))
    }

    /// Names of the files, for messages.
    pub fn name(&self) -> String {
        self.files.iter().map(|f| f.raw.name()).collect::<Vec<_>>().join(", ")
    }

    /// An error about it.
    pub fn fail(&self, text: impl std::fmt::Display) -> Fail {
        Fail::new(format_args!("{}: {text}", self.name()))
    }

    /// How its addresses are translated.
    pub fn arch(&self) -> Result<Arch> {
        if self.text.is_empty() {
            return Err(self
                .fail("it has no VMCOREINFO, so that its kernel's addresses mean nothing")
                .next("only physical addresses can be read"));
        }
        Arch::new(self.dump.machine(), &self.info(), self.dump.ranges())
            .map_err(|e| self.fail(e).next("only physical addresses can be read"))
    }

    /// Does something with the kernel's virtual memory.
    pub fn with_memory<T>(
        &mut self,
        act: impl FnOnce(&mut KernelMemory<'_, '_, Dump>, &Info<'static>) -> T,
    ) -> Result<T> {
        let arch = self.arch()?;
        let info = self.info();
        let mut cache = TableCache::new(&mut self.tables);
        let mut memory = KernelMemory::new(&mut self.dump, arch, &mut cache);
        Ok(act(&mut memory, &info))
    }

    /// Whether the notes end in something that is no note, as far as headers tell.
    pub fn notes_damaged(&self) -> bool {
        match &self.dump {
            Dump::Elf(_) => self.elf.is_some_and(|(facts, _)| facts.notes_damaged),
            Dump::Kdump(kdump) => kdump.facts().notes_damaged,
        }
    }

    /// All bytes of the notes.
    pub fn notes(&mut self) -> Result<Vec<u8>> {
        let len = self.dump.notes().len;
        let most: u64 = self.files.iter().map(|f| f.len).sum();
        let len = usize::try_from(len.min(most.saturating_add(64))).unwrap_or(0);
        let mut notes = vec![0; len];
        self.dump
            .read_notes(0, &mut notes)
            .map_err(|e| self.fail(format_args!("reading the notes: {e}")))?;
        Ok(notes)
    }
}

/// Opens files that are one dump: a single file, or a split set.
pub fn open(paths: &[PathBuf]) -> Result<Opened> {
    let mut sets = open_all(paths)?;
    match sets.pop() {
        Some(one) if sets.is_empty() => Ok(one),
        Some(other) => Err(other
            .fail("not of the same split dump as the file before it")
            .next("name the files of one dump")),
        None => Err(Fail::new("no dump was named")),
    }
}

/// Opens one file that is open already.
pub fn open_raw(raw: Raw) -> Result<Opened> {
    assemble(vec![probe(raw)?])
}

/// Opens files that may be several dumps; the parts of a split one may come in any order.
pub fn open_all(paths: &[PathBuf]) -> Result<Vec<Opened>> {
    let mut sets: Vec<Vec<(FileInfo, Probed)>> = Vec::new();
    for path in paths {
        let probed = probe(Raw::open(path)?)?;
        let home = sets.iter_mut().find(|set| belongs(&set[0].1, &probed.1));
        match home {
            Some(set) => set.push(probed),
            None => sets.push(vec![probed]),
        }
    }
    sets.into_iter().map(assemble).collect()
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

/// Entries of the table of memory ranges.
pub fn segments(facts: &kdump::Facts) -> u64 {
    Kdump::<Input, Unpackers>::segments_for(facts) as u64
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
    let segments = segments(&facts) as usize;
    let storage = Storage {
        rank: vec![0; facts.rank_storage()].into(),
        ranges: vec![MemoryRange::default(); segments].into(),
        pages: vec![0; PAGES_KEPT.max(page)].into(),
        stored: vec![0; page].into(),
    };
    let mut kdump = Kdump::load(parts, storage, Unpackers::default()).map_err(|e| match e {
        kdump::DumpError::Foreign(index, _) => files[index].raw.fail(e),
        _ => first.fail(e),
    })?;
    let (shift, at) = (facts.main.shift, facts.vmcoreinfo);
    let text = text(at, |at, buf| kdump.read_notes(at, buf));
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
    let text = text(facts.vmcoreinfo, |at, buf| input.read_at(facts.notes.0 + at, buf));
    let info = Info::new(Some(&text), None);
    let shift = info.page_shift().unwrap_or(PageShift::FOUR_KIB);
    let vmcore =
        ElfVmcore::load(input, facts, shift, table, places).map_err(|e| files[0].raw.fail(e))?;
    let max_pfn = Pfn(facts.mem_end.div_ceil(shift.bytes() as u64));
    let (dump, elf) = (Dump::Elf(vmcore), Some((facts, header)));
    Ok(finish(files, dump, elf, shift, max_pfn, text, facts.vmcoreinfo))
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

fn finish(
    files: Vec<FileInfo>,
    dump: Dump,
    elf: Option<(elf::Facts, elf_wire::Header)>,
    shift: PageShift,
    max_pfn: Pfn,
    text: Vec<u8>,
    text_at: Option<(u64, u64)>,
) -> Opened {
    let text_at = text_at.filter(|_| !text.is_empty());
    let (tables, twins) = (vec![0; TableCache::STORAGE], Vec::new());
    let mut offsets = Vec::new();
    if let Dump::Elf(vmcore) = &dump {
        offsets.resize(vmcore.ranges().len(), 0);
        vmcore.file_offsets().for_each(|(index, at)| offsets[index] = at);
    }
    Opened { dump, files, elf, offsets, shift, max_pfn, text: text.leak(), text_at, tables, twins }
}
