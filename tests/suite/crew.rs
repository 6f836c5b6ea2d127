//! A capture with a crew of many threads writes the bytes of one without, whatever the source does.

use tamis_core::arch::paging::TableCache;
use tamis_core::capture::crew::{self, Batch, Crew, EncodedPage, Queue, Slot};
use tamis_core::capture::threads::StdCrew;
use tamis_core::capture::{CaptureError, Notice, Observer, Phase, Report};
use tamis_core::endian::{Endian, Word};
use tamis_core::io::{Append, Flattened};
use tamis_core::io::{IoError, IoKind, RandomAccess};
use tamis_core::units::PfnSpan;
use tamis_core::wire::elf;
use tamis_core::wire::machine::EM_X86_64;
use tamis_core::{Codec, DumpLevel, Headers, Options, Output, Session, Storage};
use tamis_tests::disk::MemoryFile;
use tamis_tests::rig::{CODECS, encoder, lent};

const PAGE: usize = 4096;
const PAGES: usize = 240;
const DATA: usize = 0x1000;

/// A vmcore of text, noise and zeros in turn, in two ranges with a hole between them.
fn vmcore() -> Vec<u8> {
    let half = (PAGES / 2 * PAGE) as u64;
    let load = |offset, paddr| elf::ProgramHeader {
        kind: elf::PT_LOAD,
        offset,
        paddr,
        filesz: half,
        memsz: half,
        ..Default::default()
    };
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
    let mut bytes = vec![0; DATA];
    header.emit(2, &mut bytes[..64]).unwrap();
    for (at, ph) in [(64, load(DATA as u64, 0)), (120, load(DATA as u64 + half, 2 * half))] {
        ph.emit(Word::Bits64, Endian::Little, &mut bytes[at..at + 56]).unwrap();
    }
    let mut x = 1u64;
    for page in 0..PAGES {
        for word in 0..PAGE / 8 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = match page % 7 {
                0 | 1 => 0,
                2 => x,
                _ => (word as u64 / 5) << 32 | page as u64 | (x >> 60) << 8,
            };
            bytes.extend(value.to_le_bytes());
        }
    }
    bytes
}

/// A file some of whose pages cannot be read, or only seem to be there when they are mapped.
#[derive(Clone, Copy)]
struct Faulty<'f> {
    bytes: &'f [u8],
    bad: &'f [bool],
    maps: bool,
    broke: bool,
}

impl Faulty<'_> {
    fn is_bad(&self, at: u64, len: usize) -> bool {
        let page = |byte: u64| (byte as usize).saturating_sub(DATA) / PAGE;
        at as usize >= DATA && (page(at)..=page(at + len as u64 - 1)).any(|p| self.bad[p])
    }
}

impl RandomAccess for Faulty<'_> {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        if self.is_bad(at, buf.len()) {
            return Err(IoError { kind: IoKind::Poisoned, code: 133 });
        }
        self.bytes.read_at(at, buf)
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        if !self.maps {
            return None;
        }
        // As with a mapping: zeros, and word of it afterwards.
        self.broke |= self.is_bad(at, len);
        if self.is_bad(at, len) { Some(&[0; 1 << 20][..len]) } else { self.bytes.window(at, len) }
    }

    fn window_broke(&mut self) -> bool {
        std::mem::take(&mut self.broke)
    }
}

struct Stream<'v>(&'v mut Vec<u8>);

impl Append for Stream<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[derive(Default)]
struct Heard(Vec<Notice>);

impl Observer for Heard {
    fn progress(&mut self, _: Phase, _: u64, _: u64) {}
    fn notice(&mut self, notice: Notice) {
        self.0.push(notice);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    File,
    Parts,
    Full,
    Stream,
    Elf,
    FullElf,
}

impl Form {
    fn is_full(self) -> bool {
        matches!(self, Form::Full | Form::FullElf)
    }
}

type Outcome = (Vec<Vec<u8>>, Vec<Notice>, Result<Report, CaptureError>);

struct Run<'f> {
    file: Faulty<'f>,
    level: u8,
    form: Form,
    threads: usize,
    window: usize,
    batch: usize,
    /// One of [`CODECS`].
    codec: &'static str,
}

impl Run<'_> {
    fn run(&self) -> Outcome {
        let mut file = self.file;
        let headers = Headers::read(&mut file).unwrap();
        let bytes = |len: usize| vec![0; len].into();
        let storage = Storage {
            bitmap: bytes(self.window),
            run: bytes(16 * PAGE),
            data: bytes(1 << 16),
            descriptors: bytes(2400),
            mem_map: bytes(0),
            tables: bytes(TableCache::STORAGE),
            sections: bytes(PAGE),
            vmcoreinfo: bytes(0),
            ranges: vec![Default::default(); 2].into(),
            places: vec![Default::default(); 2].into(),
        };
        let level = DumpLevel::from_bits(self.level).unwrap();
        let options = Options { level, ..Options::default() };
        let mut session = Session::load(file, headers, storage, None, &options).unwrap();
        let mut others: Vec<_> = (1..self.threads).map(|_| session.dump().reopen(file)).collect();

        let count = 2 * self.threads;
        let mut made = vec![EncodedPage::default(); count * self.batch.max(1)];
        let mut data = vec![0; count * (Codec::Zlib.bound(self.batch * PAGE))];
        let made = made.chunks_exact_mut(self.batch.max(1));
        let data = data.chunks_exact_mut(Codec::Zlib.bound(self.batch * PAGE));
        let mut batches: Vec<_> = made.zip(data).map(|(m, d)| Batch::new(m, d)).collect();
        let mut slots: Vec<_> = (0..count).map(|_| Slot::default()).collect();
        let queue = Queue::new(&mut slots, &mut batches);
        let monitor = StdCrew::new(queue);

        let (mut heard, mut own) = (Heard::default(), encoder(self.codec));
        let mut write = |output: Output<'_, '_>, crew: Option<&dyn Crew<'_>>| match output {
            Output::Elf(sink) => session.write_elf_with(sink, &mut heard, crew),
            output => session.write_with(output, lent(&mut own), &mut heard, crew),
        };
        let (mut outputs, result) = std::thread::scope(|scope| {
            for source in &mut others {
                let (monitor, codec) = (&monitor, self.codec);
                scope.spawn(move || {
                    let mut run = vec![0; 3 * PAGE];
                    crew::work(monitor, source, lent(&mut encoder(codec)), &mut run);
                });
            }
            let crew: Option<&dyn Crew<'_>> = if self.threads > 1 { Some(&monitor) } else { None };
            let memory = |room: usize| MemoryFile::new(room as u64);
            let done = match self.form {
                Form::File | Form::Full | Form::Elf | Form::FullElf => {
                    let limit = if self.form.is_full() { 120_000 } else { usize::MAX };
                    let mut file = memory(limit);
                    let done = if matches!(self.form, Form::Elf | Form::FullElf) {
                        write(Output::Elf(&mut file), crew)
                    } else {
                        write(Output::Kdump(&mut file), crew)
                    };
                    (vec![file.bytes], done)
                }
                Form::Parts => {
                    let mut files = [usize::MAX; 3].map(memory);
                    let [a, b, c] = &mut files;
                    let done = write(
                        Output::Split {
                            sinks: &mut [a, b, c],
                            ranges: &mut [PfnSpan::default(); 3],
                            block: 64,
                        },
                        crew,
                    );
                    (files.map(|f| f.bytes).to_vec(), done)
                }
                Form::Stream => {
                    let mut bytes = Vec::new();
                    let done = {
                        let mut stream = Flattened::new(Stream(&mut bytes));
                        write(Output::Kdump(&mut stream), crew)
                    };
                    (vec![bytes], done)
                }
            };
            crew::stop(&monitor, self.threads - 1);
            done
        });
        outputs.retain(|bytes| !bytes.is_empty());
        (outputs, heard.0, result)
    }
}

fn same_for_every_number(file: Faulty<'_>, codec: &'static str) {
    for (level, form, window) in [
        (0, Form::File, 1 << 10),
        (1, Form::File, 16),
        (1, Form::Parts, 1 << 10),
        (1, Form::Full, 16),
        (0, Form::Stream, 16),
        (1, Form::Stream, 1 << 10),
        (0, Form::Elf, 16),
        (1, Form::Elf, 1 << 10),
        (1, Form::Elf, 8),
        (1, Form::FullElf, 16),
    ] {
        // In an ELF file pages are as they are.
        let plain = matches!(form, Form::Elf | Form::FullElf);
        let codec = if plain { "" } else { codec };
        let run = |threads, batch| Run { file, level, form, threads, window, batch, codec }.run();
        let want = run(1, 1);
        assert_eq!(want.2.is_err(), form.is_full());
        assert_eq!(want.1.is_empty(), !file.bad.contains(&true));
        for (threads, batch) in [(2, 1), (2, 32), (3, 7), (8, 5)] {
            let got = run(threads, batch);
            assert!(
                got == want,
                "{threads} threads, batches of {batch}, level {level}, {form:?}: other bytes"
            );
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let (bytes, bad) = (vmcore(), [false; PAGES]);
    for (n, codec) in CODECS.into_iter().enumerate() {
        let maps = n % 2 == 0;
        same_for_every_number(Faulty { bytes: &bytes, bad: &bad, maps, broke: false }, codec);
    }
}

#[test]
fn nor_do_they_where_pages_cannot_be_read() {
    let bytes = vmcore();
    let mut bad = [false; PAGES];
    for (page, bad) in bad.iter_mut().enumerate() {
        // Single ones, a long run, the first and the last of all.
        *bad = page % 97 == 3 || (100..150).contains(&page) || page == 0 || page == PAGES - 1;
    }
    for maps in [false, true] {
        for codec in ["-c", "-l"] {
            same_for_every_number(Faulty { bytes: &bytes, bad: &bad, maps, broke: false }, codec);
        }
    }
}

#[test]
fn a_source_without_a_readable_page_ends_too() {
    let bytes = vmcore();
    for maps in [false, true] {
        let file = Faulty { bytes: &bytes, bad: &[true; PAGES], maps, broke: false };
        same_for_every_number_unfull(file, "-l");
    }
}

fn same_for_every_number_unfull(file: Faulty<'_>, codec: &'static str) {
    let run = |threads| {
        Run { file, level: 1, form: Form::File, threads, window: 64, batch: 8, codec }.run()
    };
    let want = run(1);
    assert_eq!(want.1.len(), PAGES);
    assert!(run(8) == want && run(2) == want);
}

#[test]
fn batches_without_room_are_no_crew() {
    let (bytes, bad) = (vmcore(), [false; PAGES]);
    let file = Faulty { bytes: &bytes, bad: &bad, maps: false, broke: false };
    let codec = "-l";
    let run = |threads, batch| {
        Run { file, level: 1, form: Form::File, threads, window: 64, batch, codec }.run()
    };
    assert!(run(2, 0) == run(1, 1));
}
