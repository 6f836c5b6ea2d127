//! One capture, from the command line to the exit status.

mod outputs;
mod plan;
mod report;

pub(crate) use outputs::{Outputs, hint};
pub(crate) use plan::map;
pub(crate) use report::Ended;

use self::outputs::{Failure, write};
use self::plan::{PROGRAM, codec_needs, encoder, explain_plan, plan, threads};
use self::report::{finish, what_it_is};
use crate::arena::Heap;
use crate::cli::Args;
use crate::console::{Console, Why};
use crate::crew::{self, Crew};
use crate::input::Input;
use crate::sys::{self, File, FileKind};
use crate::{DONE, FAILED, OTHER_KERNEL};
use alloc::boxed::Box;
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::capture::plan::{Needs, Plan};
use tamis_core::capture::{self, About, Buffers, Capture, Report, Scanner};
use tamis_core::codec::Encoder;
use tamis_core::input::elf::{ElfVmcore, Facts, OpenError, Place, probe};
use tamis_core::io::{IoKind, RandomAccess};
use tamis_core::kernel::mem_map::{MemMap, RootCache};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::page::Classifier;
use tamis_core::kernel::utsname::Utsname;
use tamis_core::level::DumpLevel;
use tamis_core::memory::{Dump as _, MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::units::{PageShift, Pfn};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::vmcoreinfo::Kind;

/// VMCOREINFO is a page of text; more than this is no such text.
const INFO_MOST: u64 = 1 << 20;

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
        let (opened, is_mapped) = (&job.opened, job.opened.vmcore.file().is_mapped());
        explain_plan(&opened.plan, args, is_mapped, job.max_pfn, console);
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
