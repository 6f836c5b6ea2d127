//! One capture, from the command line to the exit status.

use crate::arena::{Arena, Heap};
use crate::cli::{Args, Compression};
use crate::console::{Console, Why};
use crate::crew::{self, Crew};
use crate::input::Input;
use crate::out::{DumpFile, Pipe};
use crate::sys::{self, File, FileKind};
use crate::{DONE, FAILED, OTHER_KERNEL};
use alloc::boxed::Box;
use core::fmt::Write;
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::capture::plan::{Needs, Plan};
use tamis_core::capture::{
    self, About, Buffers, Capture, CaptureError, MAX_PARTS, Report, Scanner,
};
use tamis_core::codec::{self, Deflate, Encoder, Lz4, Lzo, NoCodec, Snappy, Zstd};
use tamis_core::input::elf::{ElfVmcore, Facts, OpenError, Place, probe};
use tamis_core::io::{Discard, Flattened, Sink};
use tamis_core::io::{IoError, IoKind, RandomAccess};
use tamis_core::kernel::mem_map::{MemMap, RootCache};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::page::Classifier;
use tamis_core::kernel::utsname::Utsname;
use tamis_core::level::DumpLevel;
use tamis_core::memory::{Dump as _, MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::units::{PageShift, Pfn};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::vmcoreinfo::Kind;

/// Bytes that the program has whatever it does: its stack and its static data. A test runs it with
/// a stack of less.
pub const PROGRAM: u64 = 128 << 10;

/// Address space that the kernel maps into every process for its own ends (vdso, guard pages, the
/// rounding of each piece to pages).
const KERNELS_OWN: u64 = 64 << 10;

/// VMCOREINFO is a page of text; more than this is no such text.
const INFO_MOST: u64 = 1 << 20;

/// Blocks in which a split dump is divided where none are asked for: 1 GiB.
const SPLIT_BLOCK: u64 = 1 << 30;

/// What stays the same over the levels that are tried: the vmcore and what it tells.
pub(crate) struct Opened<'a> {
    pub(crate) vmcore: ElfVmcore<'static, Input>,
    pub(crate) facts: Facts,
    pub(crate) info: Info<'static>,
    pub(crate) plan: Plan,
    pub(crate) shift: PageShift,
    pub(crate) args: &'a Args<'a>,
}

/// Opens the vmcore and makes the memory plan. An error is an exit status; its reason was printed.
pub(crate) fn open<'a>(args: &'a Args<'a>, console: &Console) -> Result<Opened<'a>, i32> {
    let name = args.vmcore.unwrap_or_default();
    let mut input = Input::open(name, args.mapping).map_err(|io| {
        console.warn(format_args!("opening {}: {}", name.escape_ascii(), Why(io)));
        FAILED
    })?;
    let facts = probe(&mut input).map_err(|error| {
        let name = name.escape_ascii();
        match error {
            OpenError::Read { what, at, io } if io.kind != IoKind::Eof => {
                console.warn(format_args!("reading {what} of {name} at offset {at}: {}", Why(io)));
            }
            error => {
                let looks = what_it_is(&mut input);
                console.warn(format_args!("{name} is no vmcore: {error}; {looks}"));
            }
        }
        FAILED
    })?;
    if facts.notes_damaged {
        console.warn(format_args!("the notes of {} are damaged", name.escape_ascii()));
    }
    let info_file = match args.vmcoreinfo {
        None => None,
        Some(path) => {
            let opened = File::open(path).and_then(|file| Ok((file.kind()?, file)));
            match opened {
                Ok((FileKind::Regular(size), file)) if size <= INFO_MOST => Some((file, size)),
                Ok(_) => {
                    let path = path.escape_ascii();
                    console.warn(format_args!("{path} is no VMCOREINFO text: too large"));
                    return Err(FAILED);
                }
                Err(io) => {
                    console.warn(format_args!("opening {}: {}", path.escape_ascii(), Why(io)));
                    return Err(FAILED);
                }
            }
        }
    };
    console.debug(format_args!(
        "The memory of the kernel is {}.\n",
        if input.is_mapped() { "mapped" } else { "read, not mapped" }
    ));
    let text_len = facts.vmcoreinfo.map_or(0, |(_, len)| len);
    if text_len > INFO_MOST {
        console.warn(format_args!("VMCOREINFO is {text_len} bytes long: it is not used"));
    }
    let text_len = if text_len > INFO_MOST { 0 } else { text_len };
    let file_len = info_file.as_ref().map_or(0, |(_, size)| *size);

    let mut needs = Needs {
        page_size: 4096,
        page_struct: 0,
        max_pfn: facts.mem_end.div_ceil(4096),
        segments: facts.segments as u64,
        vmcoreinfo: text_len,
        info_file: file_len,
        codec: codec_needs(args.compress, 4096).0,
        codec_bound: codec_needs(args.compress, 4096).1,
        program: PROGRAM,
        bitmap: args.cyclic_buffer_kib.map(|kib| kib.saturating_mul(1024)),
        whole: args.non_cyclic,
        threads: threads(args),
        thread_stack: crew::STACK,
    };
    // The first look, before anything is allocated: the texts and the table must fit beside the
    // rest.
    plan(&needs, args, console)?;

    let ranges = needs.segments * (size_of::<MemoryRange>() + size_of::<Place>()) as u64;
    let early = text_len + file_len + ranges + 64;
    let mut arena = map(early, console)?;
    let table = arena.take_slice(facts.segments, MemoryRange::default());
    let places = arena.take_slice(facts.segments, Place::default());
    let note = read_info(&mut input, &facts, arena.take(text_len as usize), console);
    let mut file_text = None;
    if let (Some((file, _)), Some(path)) = (info_file, args.vmcoreinfo) {
        let text = arena.take(file_len as usize);
        if let Err(io) = file.read_at(0, text) {
            console.warn(format_args!("reading {}: {}", path.escape_ascii(), Why(io)));
            return Err(FAILED);
        }
        file_text = Some(&*text);
    }
    let info = Info::new(note, file_text);
    if file_text.is_some() && info.file_release().is_none() {
        let path = args.vmcoreinfo.unwrap_or_default().escape_ascii();
        console.warn(format_args!("{path} has no OSRELEASE: it is no VMCOREINFO text"));
        return Err(FAILED);
    }

    let shift = info.page_shift().unwrap_or_else(|| {
        let shift = PageShift::of_size(sys::page_size()).unwrap_or(PageShift::FOUR_KIB);
        console.warn(format_args!(
            "PAGESIZE is missing in VMCOREINFO: taking pages of {} bytes",
            shift.bytes()
        ));
        shift
    });
    let page = shift.bytes() as u64;
    if let Some(kib) = args.splitblock_kib
        && !(kib * 1024).is_multiple_of(page)
    {
        console
            .warn(format_args!("--splitblock-size {kib} is no multiple of a page, {page} bytes"));
        return Err(FAILED);
    }
    needs.page_size = page;
    needs.page_struct =
        info.get(Kind::Size, "page").filter(|s| (8..=4096).contains(s)).unwrap_or(0);
    needs.max_pfn = facts.mem_end.div_ceil(page);
    (needs.codec, needs.codec_bound) = codec_needs(args.compress, page);
    let plan = plan(&needs, args, console)?;

    let vmcore = ElfVmcore::load(input, facts, shift, table, places).map_err(|error| {
        console.warn(format_args!("reading {}: {error}", name.escape_ascii()));
        FAILED
    })?;
    if vmcore.is_truncated() {
        console.warn(format_args!(
            "{} ends long before its memory ranges do: the dump will be incomplete",
            name.escape_ascii()
        ));
    }
    Ok(Opened { vmcore, facts, info, plan, shift, args })
}

/// Threads that are of use: no more than CPUs, and one where nothing is compressed.
fn threads(args: &Args<'_>) -> u64 {
    if args.compress == Compression::None {
        return 1;
    }
    let most = sys::cpus().min(sys::MAX_THREADS) as u64;
    args.num_threads.clamp(1, most)
}

/// Bytes of a codec's state, and of the output room that it wants for a page.
fn codec_needs(compress: Compression, page: u64) -> (u64, u64) {
    let state = match compress {
        Compression::None => 0,
        Compression::Zlib | Compression::ZlibFixed => Deflate::STATE,
        Compression::Lzo => Lzo::STATE,
        Compression::Snappy => Snappy::STATE,
        Compression::Zstd | Compression::ZstdTwice => Zstd::STATE,
        Compression::Lz4 => Lz4::STATE,
    };
    (state as u64, page + codec::SLACK as u64)
}

fn encoder(compress: Compression) -> Box<dyn Encoder + Send> {
    match compress {
        Compression::None => Box::new(NoCodec),
        Compression::Zlib => Box::new(Deflate::new()),
        Compression::ZlibFixed => Box::new(Deflate::fixed()),
        Compression::Lzo => Box::new(Lzo::new()),
        Compression::Snappy => Box::new(Snappy::new()),
        Compression::Zstd => Box::new(Zstd::new()),
        Compression::ZstdTwice => Box::new(Zstd::twice()),
        Compression::Lz4 => Box::new(Lz4::new()),
    }
}

/// The memory plan. A request that cannot be met is an explicit limit's fault and refused;
/// otherwise the request gives way, or at last the default limit: a dump matters more.
fn plan(needs: &Needs, args: &Args<'_>, console: &Console) -> Result<Plan, i32> {
    let limit = args.memory_limit.unwrap_or(args.usual_limit);
    let over = match Plan::fit(limit, needs) {
        Ok(plan) => return Ok(plan),
        Err(over) => over,
    };
    if args.memory_limit.is_some() || needs.whole {
        console.warn(format_args!("{over}"));
        console
            .warn(format_args!("try --memory-limit {} or more; nothing was written", over.least));
        return Err(FAILED);
    }
    let fewer = Needs { threads: over.threads.max(1), ..*needs };
    let freed = Needs { bitmap: None, threads: 1, ..*needs };
    let plan = Plan::fit(limit, &fewer)
        .or_else(|_| Plan::fit(limit, &freed))
        .or_else(|over| Plan::fit(over.least, &freed));
    plan.map_err(|over| {
        console.warn(format_args!("{over}"));
        FAILED
    })
}

/// Says what had to give way for the plan.
fn explain_plan(opened: &Opened<'_>, max_pfn: Pfn, console: &Console) {
    let (plan, args) = (&opened.plan, opened.args);
    let limit = args.memory_limit.unwrap_or(args.usual_limit);
    if let Some(kib) = args.cyclic_buffer_kib
        && plan.bitmap < kib.saturating_mul(1024)
    {
        console.warn(format_args!(
            "--cyclic-buffer {kib} is too large for {limit} bytes of memory: taking {} KiB",
            plan.bitmap / 1024
        ));
    }
    let threads = plan.workers.max(1);
    if args.num_threads > threads && args.compress != Compression::None {
        console.warn(format_args!(
            "--num-threads {}: taking {threads}, for {} CPUs and {limit} bytes of memory",
            args.num_threads,
            sys::cpus()
        ));
    }
    if plan.total() > limit {
        console.warn(format_args!(
            "the input needs {} bytes of memory, more than the usual {limit}",
            plan.total()
        ));
    }
    if console.debugs() || args.dry_run {
        let mut table = console.table();
        let _ = writeln!(table, "Memory plan");
        for (owner, bytes) in plan.rows() {
            let _ = writeln!(table, "  {owner:<24}{bytes:>10} bytes");
        }
        let _ = writeln!(table, "  {:<24}{:>10} bytes of {limit}", "total", plan.total());
        let maps = opened.vmcore.file().is_mapped();
        let window = if maps { sys::Window::LEN * (plan.workers + 1) } else { 0 };
        let space = plan.total() + sys::image_size() + window + KERNELS_OWN;
        let _ = writeln!(table, "  {:<24}{space:>10} bytes", "address space");
    }
    console.debug(format_args!(
        "Buffer for the cyclic mode: {} bytes, number of cycles: {}\n",
        plan.bitmap,
        plan.cycles(max_pfn.0)
    ));
}

pub(crate) fn map(len: u64, console: &Console) -> Result<Arena, i32> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    Arena::map(len).map_err(|io| {
        console.warn(format_args!("reserving {len} bytes of memory: {}", Why(io)));
        FAILED
    })
}

fn read_info<'t>(
    input: &mut Input,
    facts: &Facts,
    text: &'t mut [u8],
    console: &Console,
) -> Option<&'t [u8]> {
    let (at, _) = facts.vmcoreinfo.filter(|_| !text.is_empty())?;
    match input.read_at(facts.notes.0.saturating_add(at), text) {
        Ok(()) => Some(text),
        Err(io) => {
            console.warn(format_args!("reading VMCOREINFO: {}", Why(io)));
            None
        }
    }
}

/// What a file that is no vmcore looks like.
fn what_it_is(input: &mut Input) -> &'static str {
    let mut head = [0; 16];
    let _ = input.read_at(0, &mut head);
    match &head {
        [b'K', b'D', b'U', b'M', b'P', ..] => {
            "it is a kdump-compressed dump already: `tamis refilter` drops more pages from it"
        }
        b"makedumpfile\0\0\0\0" => {
            "it is a flattened dump: `tamis rearrange` makes a dump file of it"
        }
        [0x1f, 0x8b, ..] => "it is compressed with gzip: unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd: unpack it first",
        [0, 0, 0, 0, 0, 0, 0, 0, ..] => "it begins with zeros, or is shorter than an ELF header",
        _ => "a vmcore is an ELF core file, such as /proc/vmcore in a crash kernel",
    }
}

/// Writes a dump as the command line says. Gives the exit status.
pub(crate) fn capture(heap: &'static Heap, args: &Args<'_>) -> i32 {
    let mut console = Console::new(args.message_level, args.flattened);
    for line in args.notices.lines() {
        console.warn(format_args!("{line}"));
    }
    sys::ignore_write_signals();
    sys::stop_on_signals();
    let outputs = Outputs { names: args.outputs(), base: 0, force: args.force };
    let status = match Job::prepare(heap, args, &mut console) {
        Ok(mut job) => job.write(&outputs, &mut console).status(),
        Err(status) => status,
    };
    let verdict = if status == DONE { "Completed" } else { "Failed" };
    console.say(format_args!("\ntamis-capture {verdict}.\n"));
    status
}

/// Where a dump goes.
pub(crate) struct Outputs<'o> {
    /// Names of files or devices; none for a stream or a dry run.
    pub(crate) names: &'o [&'o [u8]],
    /// Bytes to leave free at the start of a device.
    pub(crate) base: u64,
    /// Whether existing files are overwritten.
    pub(crate) force: bool,
}

/// How a dump ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// All of it is there.
    Done,
    /// It is incomplete, or was not begun.
    Failed,
    /// As [`Ended::Failed`]: there was no space for more, at any of the levels.
    NoSpace,
}

impl Ended {
    /// The exit status that says so.
    pub(crate) fn status(self) -> i32 {
        if self == Ended::Done { DONE } else { FAILED }
    }
}

/// A vmcore with all that is needed to save it, as often as it takes.
pub(crate) struct Job<'a> {
    opened: Opened<'a>,
    memory: Storage,
    encoder: Box<dyn Encoder + Send>,
    crew: Option<Crew>,
    arch: Option<Arch>,
    mem_map: Option<(Arch, MemMap)>,
    uts: Utsname,
    max_pfn: Pfn,
}

impl<'a> Job<'a> {
    /// Opens the vmcore, takes the memory of the plan, and finds out about the kernel. An error is
    /// an exit status; its reason was printed.
    pub(crate) fn prepare(
        heap: &'static Heap,
        args: &'a Args<'a>,
        console: &mut Console,
    ) -> Result<Job<'a>, i32> {
        let mut opened = open(args, console)?;
        let plan = opened.plan;
        // Everything else, at once.
        let rest = plan.total() - plan.program - plan.segments - plan.vmcoreinfo - plan.info_file;
        let mut arena = map(rest, console)?;
        // First, where it is aligned for anything: page data, in whole blocks.
        let data = arena.take(plan.data as usize);
        heap.give(arena.take((plan.codec + plan.worker_codecs) as usize));
        let memory = Storage {
            bitmap: arena.take(plan.bitmap as usize),
            mem_map: arena.take(plan.mem_map as usize),
            tables: arena.take(plan.tables as usize),
            sections: arena.take(plan.sections as usize),
            run: arena.take(plan.run as usize),
            data,
            descriptors: arena.take(plan.descriptors as usize),
        };
        let (page, compress) = (opened.shift.bytes(), args.compress);
        let encoder = encoder(compress);
        let crew = (plan.workers > 0).then(|| {
            let beyond = (codec_needs(compress, 0)).1 as usize;
            Crew::new(&plan, page, beyond, &mut arena, || self::encoder(compress))
        });
        heap.seal();

        let page = opened.shift;
        let machine = opened.vmcore.machine();
        let arch = Arch::new(machine, &opened.info, opened.vmcore.ranges());
        let uts = {
            let mut cache = TableCache::new(&mut *memory.tables);
            let mut kernel =
                arch.as_ref().ok().map(|a| KernelMemory::new(&mut opened.vmcore, *a, &mut cache));
            Utsname::read(kernel.as_mut(), &opened.info, machine)
        };
        if let Some(file) = opened.info.file_release()
            && uts.read
            && file != uts.release()
        {
            console.warn(format_args!(
                "the VMCOREINFO file is of kernel {}, the vmcore of kernel {}",
                file.escape_ascii(),
                uts.release().escape_ascii()
            ));
            return Err(OTHER_KERNEL);
        }
        if !uts.read && !opened.info.is_empty() {
            console.warn(format_args!(
                "utsname cannot be read from the vmcore: the header says what VMCOREINFO says"
            ));
        }
        let max_pfn = Pfn(opened.facts.mem_end.div_ceil(page.bytes() as u64));
        let mut job = Job {
            opened,
            memory,
            encoder,
            crew,
            arch: arch.as_ref().ok().copied(),
            mem_map: None,
            uts,
            max_pfn,
        };
        match arch {
            Ok(arch) => job.find_mem_map(arch, console),
            Err(error) => job.without_mem_map(&error, console),
        }
        explain_plan(&job.opened, job.max_pfn, console);
        Ok(job)
    }

    /// When the kernel died, in seconds since 1970; 0 where unknown.
    pub(crate) fn crash_time(&self) -> u64 {
        self.opened.info.crash_time().unwrap_or(0)
    }

    /// The dead machine's name.
    pub(crate) fn nodename(&self) -> &[u8] {
        self.uts.nodename()
    }

    /// The open vmcore, memory for page tables, and memory for other things.
    pub(crate) fn parts(&mut self) -> (&mut Opened<'a>, &mut [u8], &mut [u8]) {
        (&mut self.opened, self.memory.tables, self.memory.run)
    }

    fn find_mem_map(&mut self, arch: Arch, console: &Console) {
        let info = &self.opened.info;
        let mut cache = TableCache::new(&mut *self.memory.tables);
        let mut kernel = KernelMemory::new(&mut self.opened.vmcore, arch, &mut cache);
        let mut roots = RootCache::new(&mut *self.memory.sections);
        let size = info.get(Kind::Size, "page").unwrap_or(0);
        let shift = self.opened.shift;
        match MemMap::find(info, &mut kernel, &mut roots, shift, size, self.max_pfn) {
            Ok(found) => {
                self.max_pfn = self.max_pfn.min(found.max_pfn());
                self.mem_map = Some((arch, found));
            }
            Err(error) => self.without_mem_map(&error, console),
        }
    }

    /// Says what it means that there is no mem_map, to those who wanted pages dropped by it.
    fn without_mem_map(&self, why: &dyn core::fmt::Display, console: &Console) {
        if self.opened.args.levels().iter().all(|level| level & !1 == 0) {
            return;
        }
        if self.opened.info.is_empty() {
            console.warn(format_args!("there is no VMCOREINFO: only pages of zeros are dropped"));
        } else {
            console.warn(format_args!("only pages of zeros are dropped: {why}"));
        }
    }

    /// Writes the dump, with one dump level after the other until there is space for it.
    pub(crate) fn write(&mut self, outputs: &Outputs<'_>, console: &mut Console) -> Ended {
        let args = self.opened.args;
        let levels = args.levels();
        for (try_nr, number) in levels.iter().enumerate() {
            let level = DumpLevel::from_bits(*number).unwrap_or_default();
            let (result, report) = self.write_level(level, outputs, console);
            let next = levels.get(try_nr + 1);
            let ended = finish(result, &report, args, outputs, next.is_none(), console);
            let (Ended::NoSpace, Some(next)) = (ended, next) else { return ended };
            console.warn(format_args!("trying again with dump level {next}"));
            for name in outputs.names {
                let _ = sys::unlink_regular(name);
            }
        }
        Ended::Failed
    }

    fn write_level(
        &mut self,
        level: DumpLevel,
        outputs: &Outputs<'_>,
        console: &mut Console,
    ) -> (Result<Report, Failure>, Report) {
        let Job { opened, memory, encoder, crew, arch, mem_map, uts, max_pfn } = self;
        let (machine, page) = (opened.vmcore.machine(), opened.shift);
        let about = About {
            level,
            utsname: &uts.raw,
            crash_time: opened.info.crash_time().unwrap_or(0),
            phys_base: arch.as_ref().map_or(0, Arch::phys_base),
            cpus: opened.facts.cpus,
            vmcoreinfo: opened.facts.vmcoreinfo,
        };
        let classifier = mem_map.and_then(|(arch, map)| {
            match Classifier::new(&opened.info, &arch, machine, page.bits(), level) {
                Ok(classifier) => Some((arch, map, classifier)),
                Err(key) => {
                    if level.needs_mem_map() {
                        console.warn(format_args!("only pages of zeros are dropped: {key}"));
                    }
                    None
                }
            }
        });
        if let Some((.., classifier)) = &classifier {
            for doubt in classifier.unclassified() {
                console.warn(format_args!("{}: kept, as {}", doubt.kept, doubt.key));
            }
        }
        let scanner = classifier.map(|(arch, map, classifier)| {
            let tables = TableCache::new(&mut *memory.tables);
            let roots = RootCache::new(&mut *memory.sections);
            Scanner::new(arch, tables, roots, map, classifier, &mut *memory.mem_map)
        });
        let buffers = Buffers {
            bitmap: &mut *memory.bitmap,
            run: &mut *memory.run,
            data: &mut *memory.data,
            descriptors: &mut *memory.descriptors,
        };
        let crew = crew.as_mut().map(|crew| crew.ready(&opened.vmcore));
        let mut capture = Capture::new(
            &mut opened.vmcore,
            scanner,
            buffers,
            console,
            &mut **encoder,
            page,
            *max_pfn,
            level,
        );
        let args = opened.args;
        let mut result = Ok(Report::default());
        let mut run = |crew: Option<&dyn capture::crew::Crew<'_>>| {
            result = write(&mut capture, &about, args, outputs, page, crew);
        };
        match crew {
            Some(crew) => crew.serve(&mut run),
            None => run(None),
        }
        (result, capture.report())
    }
}

/// The pieces of the arena.
struct Storage {
    bitmap: &'static mut [u8],
    mem_map: &'static mut [u8],
    tables: &'static mut [u8],
    sections: &'static mut [u8],
    run: &'static mut [u8],
    data: &'static mut [u8],
    descriptors: &'static mut [u8],
}

/// Why nothing, or not all, was written.
enum Failure {
    /// An output could not be created.
    Create { part: usize, io: IoError },
    /// An output is of a kind that does not take this format.
    Kind(&'static str),
    /// The capture ended early.
    Capture(CaptureError),
}

/// Creates the outputs and writes them.
fn write(
    capture: &mut Capture<'_, ElfVmcore<'static, Input>>,
    about: &About<'_>,
    args: &Args<'_>,
    outputs: &Outputs<'_>,
    page: PageShift,
    crew: Option<&dyn capture::crew::Crew<'_>>,
) -> Result<Report, Failure> {
    let mut one = |sink: &mut dyn Sink| {
        let written = if args.elf {
            capture.elf(sink)
        } else {
            capture.kdump_with(about, &mut [sink], 0, crew)
        };
        written.map_err(Failure::Capture)
    };
    if args.dry_run {
        return one(&mut Discard);
    }
    if args.flattened {
        return one(&mut Flattened::new(Pipe::new(File::stdout(), args.size_limit)));
    }
    let mut files = heapless::Vec::<DumpFile, MAX_PARTS>::new();
    for (part, name) in outputs.names.iter().enumerate() {
        match DumpFile::create(name, outputs.force, args.size_limit, outputs.base) {
            Ok(file) if args.elf && file.is_block_device() => {
                return Err(Failure::Kind("an ELF dump needs a file, not a block device"));
            }
            Ok(file) => drop(files.push(file)),
            Err(io) => {
                // Nothing is left behind of the others.
                for made in outputs.names.iter().take(part) {
                    let _ = sys::unlink_regular(made);
                }
                return Err(Failure::Create { part, io });
            }
        }
    }
    match files.as_mut_slice() {
        [file] => one(file),
        _ => {
            let block = args.splitblock_kib.map_or(SPLIT_BLOCK, |kib| kib.saturating_mul(1024));
            let mut sinks = heapless::Vec::<&mut dyn Sink, MAX_PARTS>::new();
            for file in &mut files {
                let _ = sinks.push(file);
            }
            capture
                .kdump_with(about, &mut sinks, block >> page.bits(), crew)
                .map_err(Failure::Capture)
        }
    }
}

/// What to do about an output that could not be created.
pub(crate) fn hint(io: IoError) -> &'static str {
    if io.code == libc::EEXIST { "; -f overwrites an existing file" } else { "" }
}

/// Tells how it went. `last` says that no other level is to be tried.
fn finish(
    result: Result<Report, Failure>,
    report: &Report,
    args: &Args<'_>,
    outputs: &Outputs<'_>,
    last: bool,
    console: &mut Console,
) -> Ended {
    console.summary();
    let name = |part: usize| outputs.names.get(part).copied().unwrap_or(b"STDOUT");
    let failure = match result {
        Ok(report) => {
            console.report(&report, args.elf);
            if args.dry_run {
                console.say(format_args!("\nDry run: nothing was written.\n"));
                return Ended::Done;
            }
            if report.incomplete {
                console.warn(format_args!(
                    "the dump is incomplete: {} of {} pages could not be read",
                    report.tally.unreadable, report.tally.kept
                ));
            }
            console.saved(outputs.names);
            return if report.incomplete { Ended::Failed } else { Ended::Done };
        }
        Err(failure) => failure,
    };
    let error = match failure {
        Failure::Create { part, io } => {
            let name = name(part).escape_ascii();
            console.warn(format_args!("creating {name}: {}{}", Why(io), hint(io)));
            let full = io.kind == IoKind::NoSpace;
            return if full { Ended::NoSpace } else { Ended::Failed };
        }
        Failure::Kind(why) => {
            console.warn(format_args!("{why}"));
            return Ended::Failed;
        }
        Failure::Capture(error) => error,
    };
    match error {
        CaptureError::Sink { step, part, error } => {
            let (name, at) = (name(part).escape_ascii(), error.at);
            let why = Why(error.io);
            console.warn(format_args!("writing {step} to {name} at offset {at}: {why}"));
        }
        other => console.warn(format_args!("{other}")),
    }
    if last || args.flattened || !error.is_no_space() {
        console.report(report, args.elf);
        tell_what_is_saved(report, args, console);
    }
    if error.is_no_space() && !args.flattened { Ended::NoSpace } else { Ended::Failed }
}

/// Says what a dump has that ended early.
fn tell_what_is_saved(report: &Report, args: &Args<'_>, console: &Console) {
    let (saved, kept, bytes) = (report.saved, report.tally.kept, report.bytes);
    if saved == 0 {
        console.warn(format_args!("there is no dump: not one page could be saved"));
        return;
    }
    console.warn(format_args!(
        "the dump is incomplete: {saved} of {kept} pages are saved ({bytes} bytes), {} are missing",
        kept.saturating_sub(saved)
    ));
    console.warn(format_args!(
        "{}",
        match (args.flattened, args.elf) {
            (true, _) => "the stream has no end, which says so; `tamis repair` makes a dump of it",
            (_, true) => "its header says so; readers open it, for what it has",
            _ => "its header says so; readers open it, and report pages that it does not have",
        }
    ));
}
