//! The engine inside the test's own process: a capture of a machine's vmcore into any sink, with
//! buffers so small that a dump takes many writes.

use std::sync::{Condvar, Mutex};

use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;

use tamis_core::capture::crew::{self, Batch, Crew, Next, PageMade, Queue, Side, Slot};
use tamis_core::capture::{
    About, Buffers, Capture, CaptureError, Notice, Observer, Phase, Report, Scanner,
};
use tamis_core::codec::{Deflate, Encoder, Lz4, Lzo, NoCodec, SLACK, Snappy, Zstd};
use tamis_core::input::elf::{ElfVmcore, Place, probe};
use tamis_core::io::RandomAccess;
use tamis_core::io::Sink;
use tamis_core::kernel::mem_map::{MemMap, RootCache};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::page::Classifier;
use tamis_core::kernel::utsname::Utsname;
use tamis_core::level::DumpLevel;
use tamis_core::memory::{MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::units::{PageShift, Pfn};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::vmcoreinfo::Kind;

/// The page codecs, by the options of the command line.
pub const CODECS: [&str; 6] = ["", "-c", "-l", "-p", "-z", "--lz4"];

/// A new encoder of one of [`CODECS`].
pub fn encoder(option: &str) -> Box<dyn Encoder + Send> {
    match option {
        "" => Box::new(NoCodec),
        "-c" => Box::new(Deflate::new()),
        "-l" => Box::new(Lzo::new()),
        "-p" => Box::new(Snappy::new()),
        "-z" => Box::new(Zstd::new()),
        "--lz4" => Box::new(Lz4::new()),
        other => panic!("no codec {other}"),
    }
}

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// One of [`CODECS`].
    pub codec: &'static str,
    /// An ELF file.
    pub elf: bool,
    /// Dump level.
    pub level: u8,
    /// Bytes of the bitmap, page data and descriptor buffers.
    pub sizes: [usize; 3],
    /// Pages of a block of a split dump.
    pub split_block: u64,
    /// Bytes of page data between two syncs.
    pub sync_every: u64,
}

impl Wish {
    /// A kdump-compressed dump with the smallest buffers, synced before every descriptor.
    pub fn new(codec: &'static str, level: u8) -> Wish {
        let sizes = [1024, 4096 + SLACK, 24 * 32];
        Wish { codec, elf: false, level, sizes, split_block: 64, sync_every: 0 }
    }

    /// An ELF file.
    pub fn elf(self) -> Wish {
        Wish { elf: true, ..self }
    }
}

/// Hears what happens, and can stop the capture.
#[derive(Default)]
pub struct Watch {
    /// What was told, in order.
    pub notices: Vec<Notice>,
    /// Questions whether to stop that are still answered with no; none for always.
    pub patience: Option<u64>,
}

impl Observer for Watch {
    fn progress(&mut self, _: Phase, _: u64, _: u64) {}

    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    fn stopped(&mut self) -> bool {
        match &mut self.patience {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }
}

/// What came of a capture.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub result: Result<(), CaptureError>,
    /// What it did up to then.
    pub report: Report,
}

/// The lock that the engine asks for, out of the standard library.
pub struct Monitor<T> {
    value: Mutex<T>,
    places: [Condvar; 2],
}

impl<T> Monitor<T> {
    /// Nobody waits.
    pub fn new(value: T) -> Monitor<T> {
        Monitor { value: Mutex::new(value), places: Default::default() }
    }
}

impl<'m> Crew<'m> for Monitor<Queue<'m>> {
    fn wait(&self, side: Side, look: &mut dyn FnMut(&mut Queue<'m>) -> Next) {
        let (own, other) = match side {
            Side::Capture => (0, 1),
            Side::Worker => (1, 0),
        };
        let mut value = self.value.lock().expect("the queue");
        loop {
            match look(&mut value) {
                Next::Wait => value = self.places[own].wait(value).expect("the queue"),
                Next::Go => return,
                Next::GoAndWake => return self.places[other].notify_one(),
            }
        }
    }
}

/// Captures a vmcore with one thread.
pub fn capture<F: RandomAccess + Send>(
    file: F,
    wish: Wish,
    sinks: &mut [&mut dyn Sink],
    watch: &mut Watch,
) -> Outcome {
    capture_with(file, Vec::new(), wish, sinks, watch)
}

/// Captures a vmcore with a thread more for each of `others`, the same file.
pub fn capture_with<F: RandomAccess + Send>(
    mut file: F,
    others: Vec<F>,
    wish: Wish,
    sinks: &mut [&mut dyn Sink],
    watch: &mut Watch,
) -> Outcome {
    let facts = probe(&mut file).expect("a vmcore");
    let table = vec![MemoryRange::default(); facts.segments];
    let places = vec![Place::default(); facts.segments];
    let mut text = vec![0; facts.vmcoreinfo.map_or(0, |(_, len)| len as usize)];
    if let Some((at, _)) = facts.vmcoreinfo {
        file.read_at(facts.notes.0 + at, &mut text).expect("VMCOREINFO");
    }
    let info = Info::new(Some(&text).filter(|t| !t.is_empty()).map(|t| &**t), None);
    let shift = PageShift::FOUR_KIB;
    let mut source = ElfVmcore::load(file, facts, shift, table, places).expect("a vmcore");
    let arch = Arch::new(source.machine(), &info, source.ranges()).expect("an architecture");
    let mut max_pfn = Pfn(facts.mem_end.div_ceil(4096));
    let level = DumpLevel::from_bits(wish.level).expect("a level");
    let machine = source.machine();
    let (mut tables, mut sections) = (vec![0; TableCache::STORAGE], vec![0; 4096]);
    let mut cache = TableCache::new(&mut tables);
    let mut memory = KernelMemory::new(&mut source, arch, &mut cache);
    let uts = Utsname::read(Some(&mut memory), &info, machine);
    let mut roots = RootCache::new(&mut sections);
    let size = info.get(Kind::Size, "page").unwrap_or(0);
    let found = MemMap::find(&info, &mut memory, &mut roots, shift, size, max_pfn).ok();
    max_pfn = found.map_or(max_pfn, |map| max_pfn.min(map.max_pfn()));
    let classifier = Classifier::new(&info, &arch, source.machine(), shift.bits(), level).ok();
    let mut slice = vec![0; 16 * size as usize];
    let mut others: Vec<_> = others.into_iter().map(|file| source.reopen(file)).collect();
    const BATCH: usize = 5;
    let count = 2 * (others.len() + 1);
    let mut made = vec![PageMade::default(); count * BATCH];
    let mut room = vec![0; count * (BATCH * 4096 + SLACK)];
    let room = room.chunks_exact_mut(BATCH * 4096 + SLACK);
    let mut batches: Vec<_> =
        made.chunks_exact_mut(BATCH).zip(room).map(|(m, d)| Batch::new(m, d)).collect();
    let mut slots: Vec<_> = (0..count).map(|_| Slot::default()).collect();
    let monitor = Monitor::new(Queue::new(&mut slots, &mut batches));
    let scanner = found.zip(classifier).map(|(map, classifier)| {
        let tables = TableCache::new(&mut tables);
        let roots = RootCache::new(&mut sections);
        Scanner::new(arch, tables, roots, map, classifier, &mut slice)
    });
    let about = About {
        level,
        utsname: &uts.raw,
        crash_time: info.crash_time().unwrap_or(0),
        phys_base: arch.phys_base(),
        cpus: facts.cpus,
        vmcoreinfo: facts.vmcoreinfo,
    };
    let mut encoder = encoder(wish.codec);
    let [bitmap, data, descriptors] = &mut wish.sizes.map(|bytes| vec![0; bytes]);
    let mut run = vec![0; 8 * 4096];
    let mut capture = Capture::new(
        &mut source,
        scanner,
        Buffers { bitmap, run: &mut run, data, descriptors },
        watch,
        &mut *encoder,
        shift,
        max_pfn,
        level,
    );
    capture.set_sync_every(wish.sync_every);
    let workers = others.len();
    let result = std::thread::scope(|scope| {
        for source in &mut others {
            let monitor = &monitor;
            scope.spawn(move || {
                crew::work(monitor, source, &mut *self::encoder(wish.codec), &mut [0; 3 * 4096]);
            });
        }
        let lent: Option<&dyn Crew<'_>> = if workers > 0 { Some(&monitor) } else { None };
        let result = match sinks {
            [sink] if wish.elf => capture.elf_with(*sink, lent),
            sinks => capture.kdump_with(&about, sinks, wish.split_block, lent),
        };
        crew::stop(&monitor, workers);
        result
    });
    Outcome { result: result.map(drop), report: capture.report() }
}

/// The bytes of a machine's vmcore.
pub fn vmcore(image: &crate::synth::Image) -> Vec<u8> {
    let dir = crate::run::TempDir::new();
    let path = dir.file("vmcore");
    image.write(&path).expect("writing the vmcore");
    std::fs::read(&path).expect("reading the vmcore")
}
