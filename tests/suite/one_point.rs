//! Every page of a dump passes one point, where a filter sees it once and may change it, whatever the
//! format, the codec, the number of threads and the input are.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tamis_core::arch::paging::TableCache;
use tamis_core::capture::crew::{self, Crew};
use tamis_core::capture::session::{Options, Output, Session, Storage};
use tamis_core::capture::threads::{Batches, with_threads};
use tamis_core::capture::{CaptureError, PageFilter, Report};
use tamis_core::endian::{Endian, Word};
use tamis_core::input::elf::{ElfVmcore, probe};
use tamis_core::input::kdump::{self, Codec, Kdump, Unpack as _};
use tamis_core::io::{Append, Flattened, IoError, RandomAccess, Sink};
use tamis_core::level::DumpLevel;
use tamis_core::memory;
use tamis_core::memory::ReadError;
use tamis_core::memory::layers::Faulty;
use tamis_core::units::{PageShift, Pfn, PfnSpan, PhysAddr};
use tamis_core::wire::elf;
use tamis_core::wire::machine::EM_X86_64;
use tamis_core::wire::page_desc::CodecFlags;
use tamis_tests::disk::MemoryFile;
use tamis_tests::dumpread::{Descriptor, Dump};
use tamis_tests::elfread::Elf;
use tamis_tests::flat;
use tamis_tests::judge::Own;
use tamis_tests::rig::{CODECS, encoder, lent};

const PAGE: usize = 4096;
/// Pages of the first range, and of the second, behind a hole of as many.
const HALF: usize = 120;
/// Where a range of a whole page and two halves begins.
const ODD: u64 = (3 * HALF * PAGE + PAGE / 2) as u64;
const ODD_LEN: u64 = 2 * PAGE as u64;
const END: u64 = 3 * HALF as u64 + 3;

/// Contents of page `pfn` of the machine, if it has one.
fn contents(pfn: u64) -> Option<Vec<u8>> {
    let half = HALF as u64;
    if pfn / half == 1 || pfn >= END {
        return None;
    }
    let mut noise = pfn.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes: Vec<u8> = (0..PAGE as u64 / 8)
        .flat_map(|word| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = match pfn % 7 {
                // Zeros in runs, single pages of noise, text.
                0 | 1 => 0,
                2 => noise,
                _ => (word / 5) << 32 | pfn | (noise >> 60) << 8,
            };
            value.to_le_bytes()
        })
        .collect();
    // Long runs of either kind.
    if (60..80).contains(&pfn) {
        bytes.fill(0);
    } else if (80..110).contains(&pfn) {
        bytes.fill(pfn as u8);
    }
    if pfn == 3 * half {
        bytes[..PAGE / 2].fill(0);
    } else if pfn == END - 1 {
        bytes[PAGE / 2..].fill(0);
    }
    Some(bytes)
}

fn all_pages() -> BTreeMap<u64, Vec<u8>> {
    (0..END).filter_map(|pfn| Some((pfn, contents(pfn)?))).collect()
}

fn vmcore() -> Vec<u8> {
    let half = (HALF * PAGE) as u64;
    let mut bytes = vec![0; PAGE];
    let header = elf::Header {
        word: Word::Bits64,
        endian: Endian::Little,
        machine: EM_X86_64,
        phoff: 64,
        shoff: 0,
        flags: elf::Flags::empty(),
        phentsize: 56,
        phnum: 0,
    };
    header.emit(3, &mut bytes[..64]).unwrap();
    let pages = all_pages();
    for (n, (paddr, len)) in [(0, half), (2 * half, half), (ODD, ODD_LEN)].into_iter().enumerate() {
        let load = elf::ProgramHeader {
            kind: elf::PT_LOAD,
            offset: bytes.len() as u64,
            paddr,
            filesz: len,
            memsz: len,
            ..Default::default()
        };
        let at = 64 + 56 * n;
        load.emit(Word::Bits64, Endian::Little, &mut bytes[at..at + 56]).unwrap();
        let first = paddr / PAGE as u64;
        let touched = (paddr + len).div_ceil(PAGE as u64) - first;
        let run: Vec<u8> = (first..first + touched).flat_map(|pfn| pages[&pfn].clone()).collect();
        let skip = paddr as usize % PAGE;
        bytes.extend_from_slice(&run[skip..skip + len as usize]);
    }
    bytes
}

/// A vmcore in memory, which is lent, or only read, or lent wrongly.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Lends {
    Windows,
    Nothing,
    TooLittle,
}

#[derive(Clone, Copy)]
struct File<'f>(&'f [u8], Lends);

impl RandomAccess for File<'_> {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.0.read_at(at, buf)
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        match self.1 {
            Lends::Windows => self.0.window(at, len),
            Lends::Nothing => None,
            Lends::TooLittle => self.0.window(at, len).map(|bytes| &bytes[..len - 1]),
        }
    }

    fn window_broke(&mut self) -> bool {
        false
    }
}

/// Counts what it sees, and changes the pages chosen.
struct Filter {
    wants_all: bool,
    changes: bool,
    seen: Mutex<BTreeMap<u64, usize>>,
}

impl Filter {
    fn new(wants_all: bool, changes: bool) -> Filter {
        Filter { wants_all, changes, seen: Mutex::default() }
    }

    fn is_wanted(&self, pfn: u64) -> bool {
        self.wants_all || is_chosen(pfn)
    }
}

/// Single pages of all kinds, and a run across both kinds of runs.
fn is_chosen(pfn: u64) -> bool {
    pfn % 11 == 3 || (70..90).contains(&pfn) || pfn == 3 * HALF as u64 || pfn == END - 1
}

/// What the filter does to a page that is chosen.
fn change(pfn: u64, page: &mut [u8]) {
    if pfn % 22 == 3 {
        page.fill(0);
    } else {
        page[2048..2056].copy_from_slice(&(!pfn).to_le_bytes());
    }
}

impl PageFilter for Filter {
    fn wants(&self, pages: PfnSpan) -> bool {
        (pages.start.0..pages.end.0).any(|pfn| self.is_wanted(pfn))
    }

    fn apply(&self, pages: PfnSpan, bytes: &mut [u8]) {
        assert_eq!(bytes.len() as u64, pages.len() * PAGE as u64);
        for (pfn, page) in (pages.start.0..).zip(bytes.chunks_exact_mut(PAGE)) {
            assert_eq!(Some(&*page), contents(pfn).as_deref(), "page {pfn} is not the input's");
            *self.seen.lock().unwrap().entry(pfn).or_default() += 1;
            if self.changes && is_chosen(pfn) {
                change(pfn, page);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    File,
    Parts,
    Stream,
    Elf,
}

#[derive(Clone, Copy, Debug)]
struct Wish {
    form: Form,
    codec: &'static str,
    level: u8,
    threads: usize,
    /// Whether the source says which pages are zeros.
    knows_zeros: bool,
}

/// Pages that are zeros, as the source may say.
static ZEROS: [PfnSpan; 2] =
    [PfnSpan { start: Pfn(0), end: Pfn(2) }, PfnSpan { start: Pfn(61), end: Pfn(80) }];

struct Stream<'v>(&'v mut Vec<u8>);

impl Append for Stream<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn write<D: memory::Dump + Send>(
    wish: Wish,
    source: D,
    mut others: Vec<D>,
    filter: Option<&Filter>,
    crew_filter: Option<&Filter>,
) -> (Vec<Vec<u8>>, Result<Report, CaptureError>) {
    const BATCH: usize = 7;
    let bytes = |len: usize| vec![0; len].into();
    let storage = Storage {
        bitmap: bytes(16),
        run: bytes(5 * PAGE),
        data: bytes(1 << 16),
        descriptors: bytes(2400),
        mem_map: bytes(0),
        tables: bytes(TableCache::STORAGE),
        sections: bytes(PAGE),
        vmcoreinfo: bytes(0),
        ranges: Vec::new().into(),
        places: Vec::new().into(),
    };
    let level = DumpLevel::from_bits(wish.level).unwrap();
    let options = Options { level, ..Options::default() };
    let (text, shift) = (Vec::new().into(), PageShift::FOUR_KIB);
    let mut session = Session::over(source, text, None, shift, Pfn(END), storage, &options);
    session.set_zeros(if wish.knows_zeros { &ZEROS } else { &[] });
    session.set_filter(filter.map(|filter| filter as &dyn PageFilter));

    let mut own = encoder(wish.codec);
    let filter = crew_filter.map(|filter| filter as &dyn PageFilter);
    let batches = Batches { pages: BATCH, bytes: Codec::Zlib.bound(BATCH * PAGE), filter };
    let work = |crew: &dyn Crew<'_>, source: &mut _| {
        crew::work(crew, source, lent(&mut encoder(wish.codec)), &mut [0; 3 * PAGE]);
    };
    let done = with_threads(&mut others, batches, work, |crew| {
        let mut write = |output: Output<'_, '_>| match output {
            Output::Elf(sink) => session.write_elf_with(sink, &mut (), crew),
            output => session.write_with(output, lent(&mut own), &mut (), crew),
        };
        let mut files = [(); 3].map(|()| MemoryFile::new(u64::MAX));
        let [a, b, c] = &mut files;
        let mut stream = Vec::new();
        let result = match wish.form {
            Form::File => write(Output::Kdump(a)),
            Form::Elf => write(Output::Elf(a)),
            Form::Parts => {
                let sinks: &mut [&mut dyn Sink] = &mut [a, b, c];
                write(Output::Split { sinks, ranges: &mut [PfnSpan::default(); 3], block: 64 })
            }
            Form::Stream => write(Output::Kdump(&mut Flattened::new(Stream(&mut stream)))),
        };
        let mut outputs: Vec<_> = files.into_iter().map(|file| file.bytes).collect();
        if wish.form == Form::Stream {
            outputs = vec![flat::rearrange(&stream).map(|s| s.file).unwrap_or_default()];
        }
        outputs.retain(|bytes| !bytes.is_empty());
        (outputs, result)
    });
    done.expect("threads")
}

fn others_of(wish: Wish) -> usize {
    wish.threads - 1
}

fn open(file: File<'_>) -> ElfVmcore<'static, File<'_>> {
    let mut file = file;
    let facts = probe(&mut file).unwrap();
    let (table, places) = (vec![Default::default(); 3], vec![Default::default(); 3]);
    ElfVmcore::load(file, facts, PageShift::FOUR_KIB, table, places).unwrap()
}

fn from_vmcore(
    wish: Wish,
    file: File<'_>,
    filter: Option<&Filter>,
    crew_filter: Option<&Filter>,
) -> (Vec<Vec<u8>>, Result<Report, CaptureError>) {
    let others = (0..others_of(wish)).map(|_| open(file)).collect();
    write(wish, open(file), others, filter, crew_filter)
}

/// Decodes a page, with the engine's decoders where the independent reader has none.
fn decode(dump: &Dump, descriptor: Descriptor) -> Vec<u8> {
    let at = descriptor.offset as usize;
    let codec = [Codec::Lzo, Codec::Snappy, Codec::Zstd];
    let Some(codec) =
        codec.into_iter().find(|codec| CodecFlags::from(*codec).bits() == descriptor.flags)
    else {
        return dump.decode(descriptor).unwrap();
    };
    let mut page = vec![0; PAGE];
    let stored = &dump.bytes()[at..at + descriptor.size as usize];
    Own::default().unpack(codec, stored, &mut page).unwrap();
    page
}

fn from_dump(
    wish: Wish,
    dump: &[u8],
    filter: &Filter,
) -> (Vec<Vec<u8>>, Result<Report, CaptureError>) {
    let open = || {
        let facts = kdump::probe(&mut &*dump, dump.len() as u64).unwrap();
        let storage = kdump::Storage {
            rank: vec![0; facts.rank_storage()].into(),
            ranges: vec![Default::default(); 8].into(),
            pages: vec![0; 4 * PAGE].into(),
            stored: vec![0; PAGE].into(),
        };
        let parts = vec![kdump::Part::new(dump, facts)];
        let mut dump = Kdump::load(parts, storage, Own::default()).unwrap();
        dump.keep_stored(true);
        dump
    };
    let others = (0..others_of(wish)).map(|_| open()).collect();
    write(wish, open(), others, Some(filter), Some(filter))
}

/// The pages that independent readers find in the outputs.
fn read(form: Form, outputs: &[Vec<u8>]) -> BTreeMap<u64, Vec<u8>> {
    let mut found = BTreeMap::new();
    for bytes in outputs {
        if form == Form::Elf {
            let elf = Elf::parse(bytes).unwrap();
            for load in elf.of_kind(1) {
                let data = elf.segment(bytes, load).unwrap();
                for at in 0..load.memsz {
                    let (pfn, inside) =
                        ((load.paddr + at) / PAGE as u64, (load.paddr + at) as usize % PAGE);
                    let page: &mut Vec<u8> = found.entry(pfn).or_insert_with(|| vec![0; PAGE]);
                    page[inside] = data.get(at as usize).copied().unwrap_or(0);
                }
            }
        } else {
            let dump = Dump::new(bytes.clone()).unwrap();
            for (pfn, descriptor) in dump.descriptors().unwrap() {
                let twice = found.insert(pfn, decode(&dump, descriptor));
                assert!(twice.is_none(), "page {pfn:#x} is there twice");
            }
        }
    }
    found
}

/// Compares a dump made with `filter` with what it must be, and what the filter saw.
fn check(
    what: &str,
    wish: Wish,
    filter: &Filter,
    (outputs, result): (Vec<Vec<u8>>, Result<Report, CaptureError>),
) {
    let what = format!("{what}, {wish:?}");
    let report = result.unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut want = all_pages();
    for (pfn, page) in &mut want {
        if filter.changes && is_chosen(*pfn) {
            change(*pfn, page);
        }
    }
    if wish.form == Form::Elf && what.starts_with("Lends") {
        // Of the pages at its ends, a segment has its own part; a dump has whole pages.
        want.get_mut(&(3 * HALF as u64)).unwrap()[..PAGE / 2].fill(0);
        want.get_mut(&(END - 1)).unwrap()[PAGE / 2..].fill(0);
    }
    let found = read(wish.form, &outputs);
    assert_eq!(found.len(), want.len(), "{what}: number of pages");
    for (pfn, page) in &want {
        assert!(found.get(pfn) == Some(page), "{what}: page {pfn} differs");
    }

    let seen = filter.seen.lock().unwrap();
    // Those of an ELF file are looked at for zeros when they are counted, and again when they are copied.
    let most = if wish.form == Form::Elf && wish.level == 1 { 3 } else { 1 };
    for (pfn, times) in &*seen {
        assert!(*times <= most, "{what}: page {pfn} was seen {times} times");
    }
    for pfn in want.keys().filter(|pfn| filter.is_wanted(**pfn)) {
        assert!(seen.contains_key(pfn), "{what}: page {pfn} was not seen");
    }
    if wish.level == 1 {
        // The halves that an ELF file has not count with their page.
        let zeros = want.values().filter(|page| page.iter().all(|byte| *byte == 0)).count() as u64;
        assert_eq!(report.tally.dropped(), zeros, "{what}: pages of zeros");
    }
}

fn wishes() -> Vec<Wish> {
    let mut wishes = Vec::new();
    for threads in [1, 3] {
        for level in [0, 1] {
            for codec in CODECS {
                for form in [Form::File, Form::Parts, Form::Stream] {
                    wishes.push(Wish { form, codec, level, threads, knows_zeros: false });
                }
            }
            wishes.push(Wish { form: Form::Elf, codec: "", level, threads, knows_zeros: false });
        }
    }
    wishes
}

#[test]
fn a_filter_sees_every_page_of_a_vmcore_once_and_what_it_changes_is_in_the_dump() {
    let vmcore = vmcore();
    for wish in wishes() {
        for lends in [Lends::Windows, Lends::Nothing] {
            for (wants_all, changes) in [(true, false), (true, true), (false, true)] {
                let filter = Filter::new(wants_all, changes);
                let file = File(&vmcore, lends);
                let done = from_vmcore(wish, file, Some(&filter), Some(&filter));
                check(&format!("Lends {lends:?}"), wish, &filter, done);
            }
        }
    }
}

#[test]
fn a_filter_sees_the_pages_of_a_dump_too_whose_compressed_bytes_are_copied() {
    let vmcore = vmcore();
    let dumps = CODECS.map(|codec| {
        let wish = Wish { form: Form::File, codec, level: 0, threads: 1, knows_zeros: false };
        let (mut dumps, result) = from_vmcore(wish, File(&vmcore, Lends::Windows), None, None);
        result.unwrap();
        (codec, dumps.remove(0))
    });
    for wish in wishes() {
        for (codec, dump) in &dumps {
            // Into an ELF file from all; else what is copied, and one that is not.
            if wish.form != Form::Elf && *codec != wish.codec && *codec != "-l" {
                continue;
            }
            for (wants_all, changes) in [(true, false), (false, true)] {
                let filter = Filter::new(wants_all, changes);
                let done = from_dump(wish, dump, &filter);
                check(&format!("a dump with {codec:?}"), wish, &filter, done);
            }
        }
    }
}

#[test]
fn pages_that_are_known_to_be_zeros_are_not_read_but_by_a_filter() {
    let vmcore = vmcore();
    let lost = |at: PhysAddr, len: usize| {
        let pages =
            PfnSpan::new(Pfn(at.0 / PAGE as u64), Pfn((at.0 + len as u64).div_ceil(PAGE as u64)));
        let is_zeros = ZEROS.iter().any(|zeros| !zeros.intersect(pages).is_empty());
        is_zeros.then_some(ReadError::Poisoned(at))
    };
    for wish in wishes() {
        // In a dump of level 0, each page has bytes of its own.
        if wish.form != Form::Elf && wish.level == 0 {
            continue;
        }
        for lends in [Lends::Windows, Lends::Nothing] {
            let file = File(&vmcore, lends);
            let (want, as_before) = from_vmcore(wish, file, None, None);
            let open = || Faulty::new(open(file), lost);
            let knowing = Wish { knows_zeros: true, ..wish };
            let others = (0..others_of(wish)).map(|_| open()).collect();
            let (found, report) = write(knowing, open(), others, None, None);
            let [report, as_before] = [report, as_before].map(Result::unwrap);
            assert!(found == want, "{lends:?}, {wish:?}: other bytes");
            assert_eq!(report.tally, as_before.tally, "{lends:?}, {wish:?}");
            assert_eq!(report.saved, as_before.saved, "{lends:?}, {wish:?}");
            let filter = Filter::new(false, true);
            let done = write(knowing, self::open(file), Vec::new(), Some(&filter), None);
            check(&format!("Lends::{lends:?}"), wish, &filter, done);
        }
    }
}

#[test]
fn a_crew_without_the_filter_of_its_capture_saves_nothing() {
    let vmcore = vmcore();
    let (one, other) = (Filter::new(true, false), Filter::new(true, false));
    for form in [Form::File, Form::Elf] {
        let wish = Wish { form, codec: "", level: 1, threads: 2, knows_zeros: false };
        for filters in [(Some(&one), None), (None, Some(&one)), (Some(&one), Some(&other))] {
            let file = File(&vmcore, Lends::Windows);
            let (_, result) = from_vmcore(wish, file, filters.0, filters.1);
            assert!(matches!(result, Err(CaptureError::Internal(_))), "{wish:?}: {result:?}");
        }
    }
}

#[test]
fn a_window_that_is_lent_short_is_none() {
    let vmcore = vmcore();
    for wish in wishes() {
        let [right, short] = [Lends::Windows, Lends::TooLittle].map(|lends| {
            let (outputs, result) = from_vmcore(wish, File(&vmcore, lends), None, None);
            result.unwrap();
            outputs
        });
        assert!(right == short, "{wish:?}");
    }
}
