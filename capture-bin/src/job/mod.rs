//! One capture, from the command line to the exit status.

mod outputs;
mod plan;
mod report;

pub(crate) use outputs::{Outputs, hint};
pub(crate) use report::Ended;

use self::outputs::{Failure, write};
use self::plan::{SLACK, codec_needs, encoder, explain_plan, map, plan, threads};
use self::report::{finish, what_it_is};
use crate::arena::{Arena, Heap};
use crate::cli::Args;
use crate::console::{Console, Why};
use crate::crew::{self, Crew};
use crate::input::Input;
use crate::sys::{self, File, FileKind};
use crate::{DONE, FAILED, OTHER_KERNEL};
use alloc::boxed::Box;
use tamis_core::capture::session::{Carve, KernelError, PROGRAM, VMCOREINFO_MAX};
use tamis_core::capture::{self, Report};
use tamis_core::codec::Encoder;
use tamis_core::input::elf::{ElfVmcore, OpenError, Place};
use tamis_core::io::IoKind;
use tamis_core::memory::{Dump as _, MemoryRange};
use tamis_core::storage::ManagedSlice;
use tamis_core::units::PageShift;
use tamis_core::vmcoreinfo::Info;
use tamis_core::{DumpLevel, Headers, Options, Plan, Session};

/// The vmcore, opened as far as its headers, and what is to be done with it.
pub(crate) struct Opened<'a> {
    input: Input,
    headers: Headers,
    file_text: Option<&'static [u8]>,
    options: Options,
    plan: Plan,
    args: &'a Args<'a>,
}

/// A vmcore, and all that is known of its kernel.
pub(crate) type Vmcore = Session<'static, ElfVmcore<'static, Input>>;

/// Opens the vmcore and makes the memory plan. An error is an exit status; its reason was printed.
pub(crate) fn open<'a>(args: &'a Args<'a>, console: &Console) -> Result<Opened<'a>, i32> {
    let name = args.vmcore.unwrap_or_default();
    let mut input = Input::open(name, args.mapping).map_err(|io| {
        console.warn(format_args!("opening {}: {}", name.escape_ascii(), Why(io)));
        FAILED
    })?;
    let mut headers = Headers::read(&mut input).map_err(|error| {
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
    if headers.elf().notes_damaged {
        console.warn(format_args!("the notes of {} are damaged", name.escape_ascii()));
    }
    let info_file = match args.vmcoreinfo {
        None => None,
        Some(path) => {
            let opened = File::open(path).and_then(|file| Ok((file.kind()?, file)));
            match opened {
                Ok((FileKind::Regular(size), file)) if size <= VMCOREINFO_MAX => Some((file, size)),
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
    let text_len = headers.elf().vmcoreinfo.map_or(0, |(_, len)| len);
    if text_len > VMCOREINFO_MAX {
        console.warn(format_args!("VMCOREINFO is {text_len} bytes long: it is not used"));
    }
    let file_len = info_file.as_ref().map_or(0, |(_, size)| *size);
    let options = Options {
        level: level(args.levels().first().copied().unwrap_or(0)),
        log_only: false,
        codec: codec_needs(args.compress),
        limit: args.memory_limit.unwrap_or(args.usual_limit),
        bitmap: args.cyclic_buffer_kib.map(|kib| kib.saturating_mul(1024)),
        whole_bitmap: args.non_cyclic,
        threads: threads(args),
        thread_stack: crew::STACK,
        program: PROGRAM,
        info_file: file_len,
        page_shift: PageShift::of_size(sys::page_size()).unwrap_or(PageShift::FOUR_KIB),
    };
    // The first look, before anything is allocated: the file's text must fit beside the rest.
    let mut file_text = None;
    if let (Some((file, _)), Some(path)) = (info_file, args.vmcoreinfo) {
        plan(&headers, &options, args, console)?;
        let text = map(file_len, console)?.take(file_len as usize);
        if let Err(io) = file.read_at(0, text) {
            console.warn(format_args!("reading {}: {}", path.escape_ascii(), Why(io)));
            return Err(FAILED);
        }
        if Info::new(None, Some(text)).file_release().is_none() {
            let path = path.escape_ascii();
            console.warn(format_args!("{path} has no OSRELEASE: it is no VMCOREINFO text"));
            return Err(FAILED);
        }
        headers = headers.with_file(text);
        file_text = Some(&*text);
    }
    if headers.page_shift().is_none() {
        console.warn(format_args!(
            "PAGESIZE is missing in VMCOREINFO: taking pages of {} bytes",
            options.page_shift.bytes()
        ));
    }
    let page = headers.page_shift().unwrap_or(options.page_shift).bytes() as u64;
    if let Some(kib) = args.splitblock_kib
        && !(kib * 1024).is_multiple_of(page)
    {
        console
            .warn(format_args!("--splitblock-size {kib} is no multiple of a page, {page} bytes"));
        return Err(FAILED);
    }
    let (plan, options) = plan(&headers, &options, args, console)?;
    Ok(Opened { input, headers, file_text, options, plan, args })
}

impl Opened<'_> {
    /// Loads the vmcore for what needs no memory but that of page tables and of reads: the log.
    pub(crate) fn load_log(mut self, console: &Console) -> Result<Vmcore, i32> {
        self.options.log_only = true;
        self.plan =
            Plan { bitmap: 0, mem_map: 0, sections: 0, data: 0, descriptors: 0, ..self.plan };
        let Plan { tables, run, vmcoreinfo, segments, .. } = self.plan;
        let mut arena = map(tables + run + vmcoreinfo + segments + SLACK, console)?;
        self.load(&mut arena, console)
    }

    fn load(self, arena: &mut Arena, console: &Console) -> Result<Vmcore, i32> {
        let Opened { input, headers, file_text, options, plan, args } = self;
        let name = args.vmcore.unwrap_or_default().escape_ascii();
        let storage = plan.carve(&headers, arena);
        let vmcore =
            Session::load(input, headers, storage, file_text, &options).map_err(|error| {
                console.warn(format_args!("reading {name}: {error}"));
                FAILED
            })?;
        if headers.vmcoreinfo_len() > 0 && vmcore.note_is_empty() {
            console.warn(format_args!("reading VMCOREINFO of {name}: it cannot be read"));
        }
        if vmcore.dump().is_truncated() {
            console.warn(format_args!(
                "{name} ends long before its memory ranges do: the dump will be incomplete"
            ));
        }
        Ok(vmcore)
    }
}

impl Carve<'static> for Arena {
    #[inline(never)]
    fn bytes(&mut self, len: usize) -> ManagedSlice<'static, u8> {
        self.take(len).into()
    }

    fn ranges(&mut self, len: usize) -> ManagedSlice<'static, MemoryRange> {
        self.take_slice(len, MemoryRange::default()).into()
    }

    fn places(&mut self, len: usize) -> ManagedSlice<'static, Place> {
        self.take_slice(len, Place::default()).into()
    }
}

/// The dump level of a number that the command line has checked.
fn level(number: u8) -> DumpLevel {
    DumpLevel::from_bits(number).unwrap_or_default()
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
    vmcore: Vmcore,
    encoder: Box<dyn Encoder + Send>,
    crew: Option<Crew>,
    args: &'a Args<'a>,
}

impl<'a> Job<'a> {
    /// Opens the vmcore, takes the memory of the plan, and finds out about the kernel. An error is
    /// an exit status; its reason was printed.
    pub(crate) fn prepare(
        heap: &'static Heap,
        args: &'a Args<'a>,
        console: &mut Console,
    ) -> Result<Job<'a>, i32> {
        let opened = open(args, console)?;
        let (plan, compress) = (opened.plan, args.compress);
        let page = opened.headers.page_shift().unwrap_or(opened.options.page_shift).bytes();
        // Everything else, at once.
        let mut arena = map(plan.total() - plan.program - plan.info_file + SLACK, console)?;
        let vmcore = opened.load(&mut arena, console)?;
        heap.give(arena.take((plan.codec + plan.worker_codecs) as usize));
        let encoder = encoder(compress);
        let crew = (plan.workers > 0).then(|| {
            let beyond = codec_needs(compress).1 as usize;
            Crew::new(&plan, page, beyond, &mut arena, || self::encoder(compress))
        });
        heap.seal();

        let (info, uts) = (vmcore.info(), vmcore.utsname());
        if let Some(file) = info.file_release()
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
        if !uts.read && !info.is_empty() {
            console.warn(format_args!(
                "utsname cannot be read from the vmcore: the header says what VMCOREINFO says"
            ));
        }
        // Which keys are missing is said for each level.
        match vmcore.why_only_zeros() {
            None | Some(KernelError::Key(_)) => {}
            Some(_) if args.levels().iter().all(|number| !level(*number).needs_mem_map()) => {}
            Some(KernelError::NoInfo) => {
                console
                    .warn(format_args!("there is no VMCOREINFO: only pages of zeros are dropped"));
            }
            Some(why) => console.warn(format_args!("only pages of zeros are dropped: {why}")),
        }
        explain_plan(&plan, &vmcore, args, console);
        Ok(Job { vmcore, encoder, crew, args })
    }

    /// When the kernel died, in seconds since 1970; 0 where unknown.
    pub(crate) fn crash_time(&self) -> u64 {
        self.vmcore.crash_time()
    }

    /// The dead machine's name.
    pub(crate) fn nodename(&self) -> &[u8] {
        self.vmcore.utsname().nodename()
    }

    /// The open vmcore, and the command line.
    pub(crate) fn parts(&mut self) -> (&mut Vmcore, &'a Args<'a>) {
        (&mut self.vmcore, self.args)
    }

    /// Writes the dump, with one dump level after the other until there is space for it.
    pub(crate) fn write(&mut self, outputs: &Outputs<'_>, console: &mut Console) -> Ended {
        let args = self.args;
        let levels = args.levels();
        for (try_nr, number) in levels.iter().enumerate() {
            let (result, report) = self.write_level(level(*number), outputs, console);
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
        let Job { vmcore, encoder, crew, args } = self;
        vmcore.set_level(level);
        if let (Some(KernelError::Key(key)), true) =
            (vmcore.why_only_zeros(), level.needs_mem_map())
        {
            console.warn(format_args!("only pages of zeros are dropped: {key}"));
        }
        for doubt in vmcore.unclassified() {
            console.warn(format_args!("{}: kept, as {}", doubt.kept, doubt.key));
        }
        let crew = crew.as_mut().map(|crew| crew.ready(vmcore.dump()));
        let mut result = Ok(Report::default());
        let mut run = |crew: Option<&dyn capture::crew::Crew<'_>>| {
            result = write(vmcore, &mut **encoder, console, args, outputs, crew);
        };
        match crew {
            Some(crew) => crew.serve(&mut run),
            None => run(None),
        }
        (result, vmcore.report())
    }
}
