//! The engine inside the test's own process: a capture of a machine's vmcore into any sink, with
//! buffers so small that a dump takes many writes.

use page_codec::{Codec, Effort, Encode};
use tamis_core::arch::paging::TableCache;
use tamis_core::capture::crew::{self, Crew};
use tamis_core::capture::threads::{Batches, with_threads};
use tamis_core::capture::{CaptureError, Notice, Observer, Phase, Report};
use tamis_core::input::elf::Place;
use tamis_core::io::{RandomAccess, Sink};
use tamis_core::memory::MemoryRange;
use tamis_core::units::PfnSpan;
use tamis_core::{DumpLevel, Headers, Options, Output, Session, Storage};

/// Bytes of the largest pages.
const PAGE_MOST: usize = 64 << 10;

/// The page codecs, by the options of the command line.
pub const CODECS: [&str; 6] = ["", "-c", "-l", "-p", "-z", "--lz4"];

/// A new encoder of one of [`CODECS`]; none for pages that are stored as they are.
pub fn encoder(option: &str) -> Option<Box<dyn Encode + Send>> {
    let codec = match option {
        "" => return None,
        "-c" => Codec::Zlib,
        "-l" => Codec::Lzo,
        "-p" => Codec::Snappy,
        "-z" => Codec::Zstd,
        "--lz4" => Codec::Lz4,
        other => panic!("no codec {other}"),
    };
    Some(codec.encoder(Effort::Normal))
}

/// The encoder, as the engine takes it.
pub fn lent(encoder: &mut Option<Box<dyn Encode + Send>>) -> Option<&mut dyn Encode> {
    encoder.as_deref_mut().map(|encoder| -> &mut dyn Encode { encoder })
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
        let sizes = [1024, Codec::Zlib.bound(4096), 24 * 32];
        Wish { codec, elf: false, level, sizes, split_block: 64, sync_every: 0 }
    }

    /// An ELF file.
    pub fn elf(self) -> Wish {
        Wish { elf: true, ..self }
    }
}

/// Receives what happens, and can stop the capture.
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
    let headers = Headers::read(&mut file).expect("a vmcore");
    let bytes = |len: usize| vec![0; len].into();
    let [bitmap, data, descriptors] = wish.sizes.map(bytes);
    let storage = Storage {
        bitmap,
        data,
        descriptors,
        mem_map: bytes(16 * 256),
        tables: bytes(TableCache::STORAGE),
        sections: bytes(4096),
        run: bytes(8 * PAGE_MOST),
        vmcoreinfo: bytes(headers.vmcoreinfo_len() as usize),
        ranges: vec![MemoryRange::default(); headers.elf().segments].into(),
        places: vec![Place::default(); headers.elf().segments].into(),
    };
    let level = DumpLevel::from_bits(wish.level).expect("a level");
    let options = Options { level, ..Options::default() };
    let mut session = Session::load(file, headers, storage, None, &options).expect("a vmcore");
    session.set_sync_every(wish.sync_every);
    let mut others: Vec<_> = others.into_iter().map(|file| session.dump().reopen(file)).collect();
    const BATCH: usize = 5;
    let mut encoder = encoder(wish.codec);
    let work = |crew: &dyn Crew<'_>, source: &mut _| {
        crew::work(crew, source, lent(&mut self::encoder(wish.codec)), &mut [0; 3 * PAGE_MOST]);
    };
    let bytes = Codec::Zlib.bound(BATCH * PAGE_MOST);
    let batches = Batches { pages: BATCH, bytes, filter: None };
    let result = with_threads(&mut others, batches, work, |crew| match sinks {
        [sink] if wish.elf => session.write_elf_with(*sink, watch, crew),
        sinks => {
            let mut ranges = vec![PfnSpan::default(); sinks.len()];
            let block = wish.split_block;
            let output = Output::Split { sinks, ranges: &mut ranges, block };
            session.write_with(output, lent(&mut encoder), watch, crew)
        }
    });
    let result = result.expect("threads");
    Outcome { result: result.map(drop), report: session.report() }
}

/// The bytes of a machine's vmcore.
pub fn vmcore(image: &crate::synth::Image) -> Vec<u8> {
    let dir = crate::run::TempDir::new();
    let path = dir.file("vmcore");
    image.write(&path).expect("writing the vmcore");
    std::fs::read(&path).expect("reading the vmcore")
}
