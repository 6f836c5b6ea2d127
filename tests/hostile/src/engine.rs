//! A whole capture without a process: the steps of `tamis-capture`, its plan and its buffers, from
//! a file in memory into one.

use crate::overlay::{Overlay, Steps};
use page_codec::{Decode, Decoders, Effort, Encode, is_zero};
use tamis_core::bitmap::Bitmap;
use tamis_core::capture::crew::{self, Crew};
use tamis_core::capture::plan::OverBudget;
use tamis_core::capture::threads::{Batches, with_threads};
use tamis_core::capture::{CaptureError, Notice, Observer, Phase, Report};
use tamis_core::input::elf::ElfVmcore;
use tamis_core::input::kdump;
use tamis_core::io::{Append, Flattened, IoError, Sink};
use tamis_core::kernel::log::{self, LogReport};
use tamis_core::memory::{MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::tally::{Reason, Tally};
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};
use tamis_core::{Codec, DumpLevel, Headers, Options, Output, Plan, Session};
use tamis_tests::disk::MemoryFile;
use tamis_tests::rig::lent;

/// Messages that are remembered.
const SAID: usize = 1000;
/// Pages that a thread does at a time.
const BATCH: usize = 5;

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// kdump-compressed.
    Kdump,
    /// ELF.
    Elf,
    /// kdump-compressed, as a stream.
    Flat,
    /// Two parts of a split dump.
    Split,
}

/// The options of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Dump level.
    pub level: u8,
    /// Which file.
    pub form: Form,
    /// 0 none, 1 zlib, 2 lzo, 3 snappy, 4 zstd, 5 LZ4.
    pub codec: u8,
    /// Memory limit.
    pub limit: u64,
    /// Bitmap buffer.
    pub bitmap: Option<u64>,
    /// Bytes that the output may have.
    pub room: u64,
    /// Threads beside the one that captures.
    pub others: usize,
}

impl Default for Setup {
    fn default() -> Setup {
        let (limit, room) = (4 << 20, 24 << 20);
        Setup { level: 31, form: Form::Kdump, codec: 0, limit, bitmap: None, room, others: 0 }
    }
}

/// Why there was no capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The file is no vmcore.
    Open(String),
    /// It does not fit the memory limit.
    Budget(OverBudget),
}

/// What came of a capture.
#[derive(Debug)]
pub struct Done {
    /// What it counted.
    pub report: Report,
    /// How it ended.
    pub error: Option<CaptureError>,
    /// Whether a mem_map was looked at.
    pub scanned: bool,
    /// The files, in their order; the stream of [`Form::Flat`].
    pub files: Vec<Vec<u8>>,
    /// How often observers were told something.
    pub notices: u64,
    /// What was read.
    pub steps: Steps,
}

struct Stream<'s>(&'s mut MemoryFile);

impl Append for Stream<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        let at = self.0.bytes.len() as u64;
        self.0.write_at(at, bytes).map_err(|e| e.io)
    }
}

#[derive(Default)]
struct Ears {
    notices: u64,
    said: Vec<String>,
    percent: (u64, u64),
}

impl Observer for Ears {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total} pages are done");
        let now = (u64::from(phase == Phase::Copy), done);
        self.percent = now;
    }
    fn notice(&mut self, notice: Notice) {
        self.notices += 1;
        if self.said.len() < SAID {
            self.said.push(notice.to_string());
        }
    }
}

fn codec(number: u8) -> Option<Codec> {
    match number {
        0 => None,
        1 => Some(Codec::Zlib),
        2 => Some(Codec::Lzo),
        3 => Some(Codec::Snappy),
        4 => Some(Codec::Zstd),
        _ => Some(Codec::Lz4),
    }
}

fn encoder(number: u8) -> Option<Box<dyn Encode + Send>> {
    Some(codec(number)?.encoder(Effort::Normal))
}

/// A vmcore in memory, with what is known of its kernel.
type Opened<'o, 'f> = Session<'static, ElfVmcore<'static, &'o mut Overlay<'f>>>;

fn open<'o, 'f>(mut file: &'o mut Overlay<'f>, setup: &Setup) -> Result<Opened<'o, 'f>, Refused> {
    let refused = |e: &dyn std::fmt::Display| Refused::Open(e.to_string());
    let headers = Headers::read(&mut file).map_err(|e| refused(&e))?;
    let options = Options {
        level: DumpLevel::from_bits(setup.level & 31).unwrap_or_default(),
        codec: codec(setup.codec),
        limit: setup.limit,
        bitmap: setup.bitmap,
        ..Options::default()
    };
    // Before anything is allocated by a length out of the file.
    let plan = Plan::new(&headers, &options).map_err(Refused::Budget)?;
    assert!(plan.total() <= setup.limit, "the plan is larger than its limit");
    let storage = plan.allocate(&headers);
    Session::load(file, headers, storage, None, &options).map_err(|e| refused(&e))
}

fn room(bytes: u64) -> Vec<u8> {
    vec![0; bytes as usize]
}

/// Captures.
pub fn capture(file: &mut Overlay<'_>, setup: &Setup) -> Result<Done, Refused> {
    let before = file.steps;
    let mut session = open(file, setup)?;
    for doubt in session.unclassified() {
        let _ = std::hint::black_box(doubt.key.to_string());
    }
    let end = session.dump().facts().mem_end.div_ceil(session.page_shift().bytes() as u64);
    assert!(session.max_pfn().0 <= end, "the mem_map is longer than memory");
    // Each thread reads the file for itself.
    let mut copies: Vec<Overlay<'_>> =
        (0..setup.others).map(|_| Overlay::clone(session.dump().file())).collect();
    let mut sources: Vec<_> = copies.iter_mut().map(|copy| session.dump().reopen(copy)).collect();
    let scanned = session.why_only_zeros().is_none();
    let mut ears = Ears::default();
    let mut encoder = encoder(setup.codec);
    let page = session.page_shift().bytes();
    let target = || MemoryFile::new(setup.room);
    let (mut first, mut second) = (target(), target());
    let run_all = |crew: Option<&dyn Crew<'_>>| {
        let mut write = |output: Output<'_, '_>| {
            session.write_with(output, lent(&mut encoder), &mut ears, crew)
        };
        match setup.form {
            Form::Kdump => write(Output::Kdump(&mut first)),
            Form::Elf => write(Output::Elf(&mut first)),
            Form::Flat => write(Output::Kdump(&mut Flattened::new(Stream(&mut first)))),
            Form::Split => write(Output::Split {
                sinks: &mut [&mut first, &mut second],
                ranges: &mut [PfnSpan::default(); 2],
                block: 16,
            }),
        }
    };
    let work = |crew: &dyn Crew<'_>, source: &mut _| {
        crew::work(crew, source, lent(&mut self::encoder(setup.codec)), &mut room(3 * page as u64));
    };
    let bytes = Codec::Zlib.bound(BATCH * page);
    let batches = Batches { pages: BATCH, bytes, filter: None };
    let ended = with_threads(&mut sources, batches, work, run_all).expect("threads");
    let report = session.report();
    let files = match setup.form {
        Form::Split => vec![first.bytes, second.bytes],
        _ => vec![first.bytes],
    };
    let notices = ears.notices;
    drop(session);
    let calls = file.steps.calls - before.calls;
    let steps = Steps { calls, bytes: file.steps.bytes - before.bytes };
    Ok(Done { report, error: ended.err(), scanned, files, notices, steps })
}

/// What a look at the mem_map gives.
#[derive(Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Whether there was a mem_map to look at.
    pub scanned: bool,
    /// One past the last pfn.
    pub max_pfn: u64,
    /// Bit for bit, the pages that are kept.
    pub kept: Vec<u8>,
    /// Why the others are not.
    pub tally: Tally,
    /// What observers were told, as far as there was room for it.
    pub said: Vec<String>,
    /// What was read.
    pub steps: Steps,
}

impl Scanned {
    /// Whether a page is kept.
    pub fn keeps(&self, pfn: u64) -> bool {
        self.kept.get(pfn as usize / 8).is_some_and(|byte| byte >> (pfn % 8) & 1 != 0)
    }
}

/// Classifies all pages, and copies none. A machine with more than `most` pages is not looked at.
pub fn scan(file: &mut Overlay<'_>, setup: &Setup, most: u64) -> Result<Scanned, Refused> {
    let before = file.steps;
    let mut session = open(file, setup)?;
    let shift = session.page_shift();
    let max_pfn = session.max_pfn().0;
    let mut kept = room(max_pfn.min(most).div_ceil(8));
    let mut tally = Tally::default();
    let (mut scanned, mut ears) = (false, Ears::default());
    if max_pfn <= most {
        let mut map = Bitmap::clear(&mut kept, PfnSpan::new(Pfn(0), Pfn(max_pfn)));
        for s in session.dump().ranges() {
            map.set(
                shift.touched(s.phys, s.stored_len).intersect(PfnSpan::new(Pfn(0), Pfn(max_pfn))),
            );
        }
        if let Ok((mut scanner, dump)) = session.scanner() {
            scanner.scan(dump, &mut map, &mut tally, &mut ears);
            scanned = true;
        }
    }
    drop(session);
    let calls = file.steps.calls - before.calls;
    let steps = Steps { calls, bytes: file.steps.bytes - before.bytes };
    Ok(Scanned { scanned, max_pfn, kept, tally, said: ears.said, steps })
}

/// A log that was read: what became of its records, its text, and whether page tables had to be
/// done without.
pub type Log = (LogReport, Vec<u8>, bool);

/// Reads the log; with `arithmetic`, also where page tables have no answer, or (`true`) before they
/// are asked.
pub fn log(
    file: &mut Overlay<'_>,
    since_clear: bool,
    arithmetic: Option<bool>,
) -> Result<Log, String> {
    let mut session = open(file, &Setup::default()).map_err(|e| format!("{e:?}"))?;
    let ranges = session.dump().ranges().to_vec();
    let mut out = Vec::new();
    let read = session.with_memory(|memory, info, scratch| {
        if let Some(first) = arithmetic {
            memory.allow_arithmetic(info, &ranges, first);
        }
        let options = log::Options { since_clear, strict: false };
        let report = log::dump(info, memory, options, scratch, &mut |text| {
            out.extend(text);
            Ok::<(), std::convert::Infallible>(())
        });
        (report, memory.is_by_arithmetic())
    });
    let (report, by_arithmetic) = read.map_err(|e| e.to_string())?;
    report.map(|report| (report, out, by_arithmetic)).map_err(|e| e.to_string())
}

/// Opens the dump that was made and holds every page of it against the vmcore.
pub fn read_back(file: &mut Overlay<'_>, done: &Done, codec: u8) {
    let dump = &done.files[0][..];
    let facts = kdump::probe(&mut &*dump, dump.len() as u64).expect("a dump of our own");
    assert_eq!(facts.incomplete(), done.report.incomplete);
    assert_eq!(facts.max_pfn, done.report.max_pfn);
    let block = facts.main.shift.bytes();
    let rank = vec![0; facts.rank_storage()];
    let ranges = vec![MemoryRange::default(); 4096];
    let (pages, stored) = (vec![0; block], vec![0; block]);
    let storage = kdump::Storage {
        rank: rank.into(),
        ranges: ranges.into(),
        pages: pages.into(),
        stored: stored.into(),
    };
    let parts = vec![kdump::Part::new(dump, facts)];
    let mut dump =
        kdump::Kdump::load(parts, storage, Unpacker::default()).expect("a dump of our own");
    let (exist, kept) = dump.counts();
    let tally = done.report.tally;
    assert_eq!((exist, kept), (tally.exist, tally.kept));

    let setup = Setup { codec, limit: u64::MAX >> 1, ..Setup::default() };
    let mut session = open(file, &setup).expect("it was opened before");
    let shift = session.page_shift();
    let vmcore = session.dump_mut();
    let (mut lost, mut zero, mut seen) = (0, 0, 0);
    let (mut page, mut memory) = (vec![0; block], vec![0; block]);
    for index in 0..facts.max_pfn.0.div_ceil(8) {
        let mut byte = [0];
        dump.bits(true, Pfn(index * 8), &mut byte).expect("the bitmap is there");
        for pfn in (0..8).filter(|bit| byte[0] >> bit & 1 != 0).map(|bit| index * 8 + bit) {
            seen += 1;
            let there = dump.descriptor(Pfn(pfn));
            let read = vmcore.read(PhysAddr(pfn << shift.bits()), &mut memory);
            match there {
                Err(kdump::PageFault::Lost) => {
                    lost += 1;
                    assert!(read.is_err(), "pfn {pfn:#x} is lost, but can be read");
                }
                Err(fault) => panic!("pfn {pfn:#x}: {fault}"),
                Ok((desc, part)) => {
                    dump.decode(Pfn(pfn), desc, part, &mut page).expect("a page of our own");
                    assert_eq!(read, Ok(()));
                    assert!(page == memory, "pfn {pfn:#x} is not what memory holds");
                    zero += u64::from(is_zero(&page));
                }
            }
        }
    }
    assert_eq!((seen, lost), (kept, tally.unreadable));
    if setup.level & 1 != 0 && done.report.tally.of(Reason::Zero) > 0 {
        assert_eq!(zero, tally.of(Reason::Zero));
    }
}

/// The engine's own decoders, for its reader.
#[derive(Default)]
struct Unpacker(Decoders);

impl kdump::Unpack for Unpacker {
    fn unpack(
        &mut self,
        codec: kdump::Codec,
        stored: &[u8],
        page: &mut [u8],
    ) -> Result<(), &'static str> {
        self.0.decode(codec, stored, page).map_err(|_| "damaged")
    }
}
