//! One capture, from the command line to the exit status.

mod error;
mod open;
mod outputs;
mod plan;
mod report;
mod rules;

pub(crate) use open::open;
pub(crate) use outputs::{Outputs, clash, hint};
pub(crate) use report::Ended;

use self::error::JobError;
#[cfg(feature = "symbols")]
use self::open::complete;
use self::open::level;
use self::outputs::{Failure, Parts, write};
use self::plan::{SLACK, codec, explain_plan, map};
use self::report::finish;
use crate::arena::Heap;
use crate::cli::Args;
use crate::console::Console;
use crate::crew::Crew;
use crate::exit::Exit;
use crate::input::Vmcore;
use crate::sys;
use alloc::boxed::Box;
use page_codec::Encode;
use tamis_core::DumpLevel;
use tamis_core::capture::session::KernelError;
use tamis_core::capture::{self, Report};
use tamis_core::vmcoreinfo::Info;

/// Writes a dump as the command line says. Returns how the run ended.
pub(crate) fn capture(heap: &'static Heap, args: &Args<'_>) -> Exit {
    let mut console = Console::new(args.messages, args.flattened);
    for line in args.notices.lines() {
        console.warn(format_args!("{line}"));
    }
    sys::ignore_write_signals();
    sys::stop_on_signals();
    let outputs = Outputs { names: args.outputs(), base: 0, force: args.force };
    let status = match Job::prepare(heap, args, &mut console) {
        Ok(mut job) => job.write(&outputs, &mut console).exit(),
        Err(status) => status,
    };
    let verdict = if status == Exit::Done { "Completed" } else { "Failed" };
    console.say(format_args!("\ntamis-capture {verdict}.\n"));
    status
}

/// A vmcore with all that is needed to save it, as often as it takes.
pub(crate) struct Job<'a> {
    vmcore: Vmcore,
    encoder: Option<Box<dyn Encode + Send>>,
    crew: Option<Crew>,
    parts: Parts,
    args: &'a Args<'a>,
}

impl<'a> Job<'a> {
    /// Opens the vmcore, takes the memory of the plan, and finds out about the kernel. Why that failed has been
    /// printed.
    pub(crate) fn prepare(
        heap: &'static Heap,
        args: &'a Args<'a>,
        console: &mut Console,
    ) -> Result<Job<'a>, Exit> {
        let mut opened = open(args, console)?;
        let rules = opened.rules.take();
        let (plan, compress) = (opened.plan, args.compress);
        let page = opened.headers.page_shift().unwrap_or(opened.options.page_shift).bytes();
        // Everything else, at once.
        let mapped = plan.total() - plan.program - plan.info_file + Parts::bytes(args);
        let mut arena = map(mapped + SLACK, console)?;
        let file_release = Info::new(None, opened.file_text).file_release();
        let mut vmcore = opened.load(&mut arena, console)?;
        #[cfg(feature = "symbols")]
        complete(&mut vmcore, args, console);
        if let Some(rules) = rules {
            rules.follow(&mut vmcore, plan.bitmap, &mut arena, console);
        }
        heap.give(arena.take((plan.codec + plan.worker_codecs) as usize));
        let (codec, effort) = codec(compress);
        let encoder = || codec.map(|codec| codec.encoder(effort));
        let own = encoder();
        let crew = (plan.workers > 0).then(|| {
            let beyond = tamis_core::Codec::Zlib.bound(0);
            Crew::new(&plan, page, beyond, &mut arena, encoder)
        });
        let parts = Parts::new(args, &mut arena);
        heap.seal();

        let (info, uts) = (vmcore.info(), vmcore.utsname());
        if let Some(file) = file_release
            && uts.read
            && file != uts.release()
        {
            // A field of utsname fits.
            let vmcore = heapless::Vec::from_slice(uts.release()).unwrap_or_default();
            return Err(JobError::OtherKernel { file, vmcore }.report(console));
        }
        if !uts.read && !info.is_empty() {
            console.warn(format_args!(
                "utsname cannot be read from the vmcore: the header says what VMCOREINFO says"
            ));
        }
        #[cfg(target_arch = "x86_64")]
        match vmcore.host() {
            Err(why) if args.exclude_guests => return Err(JobError::Guests(why).report(console)),
            Ok(host) if host.layout.is_none() => console.warn(format_args!(
                "free frames of Xen are kept: nothing tells how its table marks them"
            )),
            _ => {}
        }
        #[cfg(not(target_arch = "x86_64"))]
        if args.exclude_guests {
            return Err(JobError::Guests.report(console));
        }
        // Which keys are missing is reported for each level.
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
        Ok(Job { vmcore, encoder: own, crew, parts, args })
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
            let again = next.filter(|_| ended == Ended::NoSpace);
            self.parts.close(outputs.names, again.is_none());
            let Some(next) = again else { return ended };
            console.warn(format_args!("trying again with dump level {next}"));
        }
        Ended::Failed
    }

    fn write_level<'n>(
        &mut self,
        level: DumpLevel,
        outputs: &Outputs<'n>,
        console: &mut Console,
    ) -> (Result<Report, Failure<'n>>, Report)
    where
        'a: 'n,
    {
        let Job { vmcore, encoder, crew, parts, args } = self;
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
            let encoder = encoder.as_deref_mut().map(|encoder| encoder as &mut dyn Encode);
            result = write(vmcore, encoder, console, args, outputs, parts, crew);
        };
        match crew {
            Some(crew) => crew.serve(&mut run),
            None => run(None),
        }
        (result, vmcore.report())
    }
}
