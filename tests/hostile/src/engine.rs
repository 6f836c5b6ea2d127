//! A whole capture without a process: the steps of `tamis-capture`, its plan and its buffers, from
//! a file in memory into one.

use crate::overlay::{Overlay, Steps};
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::bitmap::Bitmap;
use tamis_core::capture::crew::{self, Batch, Crew, PageMade, Queue, Slot};
use tamis_core::capture::plan::{Needs, OverBudget, Plan};
use tamis_core::capture::{
    About, Buffers, Capture, CaptureError, Notice, Observer, Phase, Report, Scanner,
};
use tamis_core::codec::{self, Decoders, Deflate, Encoder, Lz4, Lzo, NoCodec, Snappy, Zstd};
use tamis_core::input::elf::{ElfVmcore, Facts, Place, probe};
use tamis_core::input::kdump;
use tamis_core::io::{Append, Flattened, Sink};
use tamis_core::io::{IoError, RandomAccess};
use tamis_core::kernel::log::{self, LogReport};
use tamis_core::kernel::mem_map::{MemMap, RootCache};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::page::Classifier;
use tamis_core::kernel::utsname::Utsname;
use tamis_core::level::DumpLevel;
use tamis_core::memory::{MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::tally::{Reason, Tally};
use tamis_core::units::{PageShift, Pfn, PfnSpan, PhysAddr};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::vmcoreinfo::Kind;
use tamis_tests::disk::MemoryFile;
use tamis_tests::rig::Monitor;

/// VMCOREINFO is a page of text; `tamis-capture` takes no more than this.
const INFO_MOST: u64 = 1 << 20;

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
    percent: (u64, u64),
}

impl Observer for Ears {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total} pages are done");
        let now = (u64::from(phase == Phase::Copy), done);
        self.percent = now;
    }
    fn notice(&mut self, notice: Notice) {
        // The message must be one.
        let _ = std::hint::black_box(notice.to_string());
        self.notices += 1;
    }
}

fn encoder(codec: u8) -> (Box<dyn Encoder>, u64) {
    match codec {
        0 => (Box::new(NoCodec), 0),
        1 => (Box::new(Deflate::new()), Deflate::STATE as u64),
        2 => (Box::new(Lzo::new()), Lzo::STATE as u64),
        3 => (Box::new(Snappy::new()), Snappy::STATE as u64),
        4 => (Box::new(Zstd::new()), Zstd::STATE as u64),
        _ => (Box::new(Lz4::new()), Lz4::STATE as u64),
    }
}

/// A vmcore in memory, opened.
type Vmcore<'t, 'o, 'f> = ElfVmcore<'t, &'o mut Overlay<'f>>;

/// The storage of an open vmcore.
#[derive(Default)]
struct Tables {
    segments: Vec<MemoryRange>,
    places: Vec<Place>,
}

/// What is known before memory is looked at.
struct Known {
    facts: Facts,
    text: Option<Vec<u8>>,
    plan: Plan,
    shift: PageShift,
}

fn open<'t, 'o, 'f>(
    mut file: &'o mut Overlay<'f>,
    setup: &Setup,
    tables: &'t mut Tables,
) -> Result<(Vmcore<'t, 'o, 'f>, Known), Refused> {
    let refused = |e: &dyn std::fmt::Display| Refused::Open(e.to_string());
    let facts = probe(&mut file).map_err(|e| refused(&e))?;
    let text_len = facts.vmcoreinfo.map_or(0, |(_, len)| len);
    let text_len = if text_len > INFO_MOST { 0 } else { text_len };
    let mut needs = Needs {
        page_size: 4096,
        page_struct: 0,
        max_pfn: facts.mem_end.div_ceil(4096),
        segments: facts.segments as u64,
        vmcoreinfo: text_len,
        info_file: 0,
        codec: encoder(setup.codec).1,
        codec_bound: 4096 + codec::SLACK as u64,
        program: 128 << 10,
        bitmap: setup.bitmap,
        whole: false,
        threads: 1,
        thread_stack: 0,
    };
    let plan = |needs: &Needs| {
        let plan = Plan::fit(setup.limit, needs).map_err(Refused::Budget)?;
        assert!(plan.total() <= setup.limit, "the plan is larger than its limit");
        Ok(plan)
    };
    // Before anything is allocated by a length out of the file.
    plan(&needs)?;
    tables.segments = vec![MemoryRange::default(); facts.segments];
    tables.places = vec![Place::default(); facts.segments];
    let text = facts.vmcoreinfo.filter(|_| text_len > 0).and_then(|(at, _)| {
        let mut text = vec![0; text_len as usize];
        file.read_at(facts.notes.0.checked_add(at)?, &mut text).ok()?;
        Some(text)
    });
    let info = Info::new(text.as_deref(), None);
    let shift = info.page_shift().unwrap_or(PageShift::FOUR_KIB);
    needs.page_size = shift.bytes() as u64;
    needs.page_struct =
        info.get(Kind::Size, "page").filter(|s| (8..=4096).contains(s)).unwrap_or(0);
    needs.max_pfn = facts.mem_end.div_ceil(needs.page_size);
    needs.codec_bound = needs.page_size + codec::SLACK as u64;
    let plan = plan(&needs)?;
    let vmcore =
        ElfVmcore::load(file, facts, shift, &mut tables.segments[..], &mut tables.places[..])
            .map_err(|e| refused(&e))?;
    Ok((vmcore, Known { facts, text, plan, shift }))
}

fn room(bytes: u64) -> Vec<u8> {
    vec![0; bytes as usize]
}

/// What the kernel of an open vmcore is like.
struct Kernel {
    arch: Option<Arch>,
    mem_map: Option<MemMap>,
    classifier: Option<Classifier>,
    uts: Utsname,
    max_pfn: Pfn,
}

fn look(
    vmcore: &mut Vmcore<'_, '_, '_>,
    info: &Info<'_>,
    setup: &Setup,
    shift: PageShift,
    mem_end: u64,
    tables: &mut [u8],
    sections: &mut [u8],
) -> Kernel {
    let machine = vmcore.machine();
    let arch = Arch::new(machine, info, vmcore.ranges()).ok();
    let mut cache = TableCache::new(tables);
    let mut max_pfn = Pfn(mem_end.div_ceil(shift.bytes() as u64));
    let mut mem_map = None;
    let uts = {
        let mut memory = arch.map(|a| KernelMemory::new(vmcore, a, &mut cache));
        let uts = Utsname::read(memory.as_mut(), info, machine);
        if let Some(memory) = &mut memory {
            let mut roots = RootCache::new(sections);
            let size = info.get(Kind::Size, "page").unwrap_or(0);
            let found = MemMap::find(info, memory, &mut roots, shift, size, max_pfn);
            if let Ok(found) = found {
                assert!(found.max_pfn() <= max_pfn, "the mem_map is longer than memory");
                max_pfn = found.max_pfn();
                mem_map = Some(found);
            }
        }
        uts
    };
    let level = DumpLevel::from_bits(setup.level & 31).unwrap_or_default();
    let classifier = arch
        .filter(|_| mem_map.is_some())
        .and_then(|a| Classifier::new(info, &a, machine, shift.bits(), level).ok());
    Kernel { arch, mem_map, classifier, uts, max_pfn }
}

/// Captures.
pub fn capture(file: &mut Overlay<'_>, setup: &Setup) -> Result<Done, Refused> {
    let before = file.steps;
    let mut tables = Tables::default();
    let (mut vmcore, Known { facts, text, plan, shift }) = open(file, setup, &mut tables)?;
    let info = Info::new(text.as_deref(), None);
    let (mut walk, mut sections) = (room(plan.tables), room(plan.sections));
    let kernel = look(&mut vmcore, &info, setup, shift, facts.mem_end, &mut walk, &mut sections);
    let level = DumpLevel::from_bits(setup.level & 31).unwrap_or_default();
    // Each thread reads the file for itself.
    let mut copies: Vec<Overlay<'_>> =
        (0..setup.others).map(|_| Overlay::clone(vmcore.file())).collect();
    let mut sources: Vec<_> = copies.iter_mut().map(|copy| vmcore.reopen(copy)).collect();
    let about = About {
        level,
        utsname: &kernel.uts.raw,
        crash_time: info.crash_time().unwrap_or(0),
        phys_base: kernel.arch.as_ref().map_or(0, Arch::phys_base),
        cpus: facts.cpus,
        vmcoreinfo: facts.vmcoreinfo,
    };
    let mut slice = room(plan.mem_map);
    let scanner = match (kernel.arch, kernel.mem_map, kernel.classifier) {
        (Some(arch), Some(map), Some(classifier)) => {
            for doubt in classifier.unclassified() {
                let _ = std::hint::black_box(doubt.key.to_string());
            }
            let (walk, roots) = (TableCache::new(&mut walk), RootCache::new(&mut sections));
            Some(Scanner::new(arch, walk, roots, map, classifier, &mut slice))
        }
        _ => None,
    };
    let scanned = scanner.is_some();
    let (mut bitmap, mut run) = (room(plan.bitmap), room(plan.run));
    let (mut data, mut descriptors) = (room(plan.data), room(plan.descriptors));
    let buffers = Buffers {
        bitmap: &mut bitmap,
        run: &mut run,
        data: &mut data,
        descriptors: &mut descriptors,
    };
    let mut ears = Ears::default();
    let mut encoder = encoder(setup.codec).0;
    let mut capture = Capture::new(
        &mut vmcore,
        scanner,
        buffers,
        &mut ears,
        &mut *encoder,
        shift,
        kernel.max_pfn,
        level,
    );
    let target = || MemoryFile::new(setup.room);
    let (mut first, mut second) = (target(), target());
    let mut run_all = |crew: Option<&dyn Crew<'_>>| match setup.form {
        Form::Kdump => capture.kdump_with(&about, &mut [&mut first], 0, crew),
        Form::Elf => capture.elf(&mut first),
        Form::Flat => {
            let mut stream = Flattened::new(Stream(&mut first));
            capture.kdump_with(&about, &mut [&mut stream], 0, crew)
        }
        Form::Split => capture.kdump_with(&about, &mut [&mut first, &mut second], 16, crew),
    };
    let ended = if sources.is_empty() {
        run_all(None)
    } else {
        let page = shift.bytes();
        let count = crew::batches(sources.len() as u64) as usize;
        let mut made = vec![PageMade::default(); count * BATCH];
        let mut rooms = vec![0; count * (BATCH * page + codec::SLACK)];
        let rooms = rooms.chunks_exact_mut(BATCH * page + codec::SLACK);
        let mut batches: Vec<_> =
            made.chunks_exact_mut(BATCH).zip(rooms).map(|(m, d)| Batch::new(m, d)).collect();
        let mut slots: Vec<_> = (0..count).map(|_| Slot::default()).collect();
        let monitor = Monitor::new(Queue::new(&mut slots, &mut batches));
        let workers = sources.len();
        std::thread::scope(|scope| {
            for source in &mut sources {
                let monitor = &monitor;
                scope.spawn(move || {
                    let (mut encoder, mut run) =
                        (self::encoder(setup.codec).0, room(3 * page as u64));
                    crew::work(monitor, source, &mut *encoder, &mut run);
                });
            }
            let ended = run_all(Some(&monitor));
            crew::stop(&monitor, workers);
            ended
        })
    };
    let report = capture.report();
    let files = match setup.form {
        Form::Split => vec![first.bytes, second.bytes],
        _ => vec![first.bytes],
    };
    let notices = ears.notices;
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
    let mut tables = Tables::default();
    let (mut vmcore, Known { facts, text, plan, shift }) = open(file, setup, &mut tables)?;
    let info = Info::new(text.as_deref(), None);
    let (mut walk, mut sections) = (room(plan.tables), room(plan.sections));
    let kernel = look(&mut vmcore, &info, setup, shift, facts.mem_end, &mut walk, &mut sections);
    let max_pfn = kernel.max_pfn.0;
    let mut kept = room(max_pfn.min(most).div_ceil(8));
    let mut tally = Tally::default();
    let mut slice = room(plan.mem_map);
    let mut scanned = false;
    if max_pfn <= most {
        let mut map = Bitmap::clear(&mut kept, PfnSpan::new(Pfn(0), Pfn(max_pfn)));
        for s in vmcore.ranges() {
            map.set(shift.touched(s.phys, s.stored_len).clip(PfnSpan::new(Pfn(0), Pfn(max_pfn))));
        }
        if let (Some(arch), Some(mem_map), Some(classifier)) =
            (kernel.arch, kernel.mem_map, kernel.classifier)
        {
            let (walk, roots) = (TableCache::new(&mut walk), RootCache::new(&mut sections));
            let mut scanner = Scanner::new(arch, walk, roots, mem_map, classifier, &mut slice);
            scanner.scan(&mut vmcore, &mut map, &mut tally, &mut Ears::default());
            scanned = true;
        }
    }
    let calls = file.steps.calls - before.calls;
    let steps = Steps { calls, bytes: file.steps.bytes - before.bytes };
    Ok(Scanned { scanned, max_pfn, kept, tally, steps })
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
    let mut tables = Tables::default();
    let (mut vmcore, Known { text, plan, .. }) =
        open(file, &Setup::default(), &mut tables).map_err(|e| format!("{e:?}"))?;
    let info = Info::new(text.as_deref(), None);
    let arch = Arch::new(vmcore.machine(), &info, vmcore.ranges()).map_err(|e| e.to_string())?;
    let mut walk = room(plan.tables);
    let mut cache = TableCache::new(&mut walk);
    let ranges = vmcore.ranges().to_vec();
    let mut memory = KernelMemory::new(&mut vmcore, arch, &mut cache);
    if let Some(first) = arithmetic {
        memory.allow_arithmetic(&info, &ranges, first);
    }
    let mut out = Vec::new();
    let mut scratch = room(plan.run);
    let options = log::Options { since_clear };
    let report = log::dump(&info, &mut memory, options, &mut scratch, &mut |text| {
        out.extend(text);
        Ok::<(), std::convert::Infallible>(())
    });
    let by_arithmetic = memory.is_by_arithmetic();
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

    let mut tables = Tables::default();
    let setup = Setup { codec, limit: u64::MAX >> 1, ..Setup::default() };
    let (mut vmcore, known) = open(file, &setup, &mut tables).expect("it was opened before");
    let (mut lost, mut zero, mut seen) = (0, 0, 0);
    let (mut page, mut memory) = (vec![0; block], vec![0; block]);
    for index in 0..facts.max_pfn.0.div_ceil(8) {
        let mut byte = [0];
        dump.bits(true, Pfn(index * 8), &mut byte).expect("the bitmap is there");
        for pfn in (0..8).filter(|bit| byte[0] >> bit & 1 != 0).map(|bit| index * 8 + bit) {
            seen += 1;
            let there = dump.descriptor(Pfn(pfn));
            let read = vmcore.read(PhysAddr(pfn << known.shift.bits()), &mut memory);
            match there {
                Err(kdump::PageFault::Lost) => {
                    lost += 1;
                    assert!(read.is_err(), "pfn {pfn:#x} is lost, but can be read");
                }
                Err(fault) => panic!("pfn {pfn:#x}: {fault}"),
                Ok((desc, part)) => {
                    dump.decode(desc, part, &mut page).expect("a page of our own");
                    assert_eq!(read, Ok(()));
                    assert!(page == memory, "pfn {pfn:#x} is not what memory holds");
                    zero += u64::from(codec::is_zero(&page));
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
        self.0.decode(codec.flag(), stored, page).map_err(|_| "damaged")
    }
}
