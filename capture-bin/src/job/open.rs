//! Opening a vmcore, as far as its headers and then as a whole.

use super::error::JobError;
use super::outputs::Parts;
use super::plan::{SLACK, codec, map, plan, threads};
use super::report::what_it_is;
use super::rules::RulesFile;
use crate::arena::Arena;
use crate::cli::Args;
use crate::console::Console;
use crate::crew;
use crate::exit::Exit;
use crate::input::{Input, Vmcore};
use crate::sys::{self, File, FileKind};
use tamis_core::capture::session::{Carve, PROGRAM, VMCOREINFO_MAX};
use tamis_core::input::elf::{OpenError, Place};
use tamis_core::io::IoKind;
use tamis_core::memory::{Dump as _, MemoryRange};
use tamis_core::storage::ManagedSlice;
use tamis_core::units::PageShift;
use tamis_core::vmcoreinfo::Info;
use tamis_core::{DumpLevel, Headers, Options, Plan, Session};

/// The vmcore, opened as far as its headers, and what is to be done with it.
pub(crate) struct Opened<'a> {
    pub(super) input: Input,
    pub(super) headers: Headers,
    pub(super) file_text: Option<&'static [u8]>,
    pub(super) rules: Option<RulesFile<'a>>,
    pub(super) options: Options,
    pub(super) plan: Plan,
    pub(super) args: &'a Args<'a>,
}

/// Opens the vmcore and makes the memory plan. Why that failed has been printed.
pub(crate) fn open<'a>(args: &'a Args<'a>, console: &Console) -> Result<Opened<'a>, Exit> {
    let name = args.vmcore.unwrap_or_default();
    let mut input = Input::open(name, args.mapping)
        .map_err(|io| JobError::Open { name, io }.report(console))?;
    let mut headers = Headers::read(&mut input).map_err(|error| {
        let error = match error {
            OpenError::Read { what, at, io } if io.kind != IoKind::Eof => {
                JobError::Header { name, what, at, io }
            }
            error => JobError::NotVmcore { name, error, looks: what_it_is(&mut input, args) },
        };
        error.report(console)
    })?;
    if headers.elf().notes_damaged {
        console.warn(format_args!("the notes of {} are damaged", name.escape_ascii()));
    }
    let info_file = match args.vmcoreinfo {
        None => None,
        Some(name) => {
            let opened = File::open(name).and_then(|file| Ok((file.kind()?, file)));
            match opened.map_err(|io| JobError::Open { name, io }.report(console))? {
                (FileKind::Regular(size), file) if size <= VMCOREINFO_MAX => Some((file, size)),
                _ => {
                    let why = "is not a VMCOREINFO text: too large";
                    return Err(JobError::NotInfo { name, why }.report(console));
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
    let rules = args.rules.and_then(|name| RulesFile::open(name, console));
    let (codec, effort) = codec(args.compress);
    let options = Options {
        level: level(args.levels().first().copied().unwrap_or(0)),
        skip_classes: false,
        #[cfg(target_arch = "x86_64")]
        exclude_guests: args.exclude_guests,
        codec,
        effort,
        limit: args.memory_limit.unwrap_or(args.usual_limit),
        bitmap: args.cyclic_buffer_kib.map(|kib| kib.saturating_mul(1024)),
        whole_bitmap: args.non_cyclic,
        threads: threads(args),
        thread_stack: crew::STACK,
        program: PROGRAM + Parts::bytes(args),
        info_file: file_len,
        rules: rules.as_ref().map_or(0, RulesFile::bytes),
        page_shift: PageShift::of_size(sys::page_size()).unwrap_or(PageShift::FOUR_KIB),
        page_checksums: args.page_checksums,
    };
    // The first look, before anything is allocated: the file's text must fit beside the rest.
    let mut file_text = None;
    if let (Some((file, _)), Some(name)) = (info_file, args.vmcoreinfo) {
        plan(&headers, &options, args, console)?;
        let text = map(file_len, console)?.take(file_len as usize);
        file.read_at(0, text).map_err(|io| JobError::Read { name, io }.report(console))?;
        if Info::new(None, Some(text)).file_release().is_none() {
            let why = "has no OSRELEASE: it is not a VMCOREINFO text";
            return Err(JobError::NotInfo { name, why }.report(console));
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
        return Err(JobError::SplitBlock { kib, page }.report(console));
    }
    let (plan, options) = plan(&headers, &options, args, console)?;
    Ok(Opened { input, headers, file_text, rules, options, plan, args })
}

impl<'a> Opened<'a> {
    /// Loads the vmcore for what needs no memory but that of page tables and of reads: the log.
    pub(crate) fn load_log(mut self, console: &Console) -> Result<Vmcore, Exit> {
        self.options.skip_classes = true;
        self.plan =
            Plan { bitmap: 0, mem_map: 0, sections: 0, data: 0, descriptors: 0, ..self.plan };
        let Plan { tables, run, vmcoreinfo, segments, .. } = self.plan;
        let mut arena = map(tables + run + vmcoreinfo + segments + SLACK, console)?;
        self.load(&mut arena, console)
    }

    pub(super) fn load(self, arena: &mut Arena, console: &Console) -> Result<Vmcore, Exit> {
        let Opened { input, headers, file_text, options, plan, args, .. } = self;
        let name = args.vmcore.unwrap_or_default();
        let storage = plan.carve(&headers, arena);
        let mut vmcore = Session::load(input, headers, storage, file_text, &options)
            .map_err(|error| JobError::Load { name, error }.report(console))?;
        vmcore.set_crc_fold(sys::crc_fold());
        #[cfg(target_arch = "x86_64")]
        if let Some(name) = args.xen_info {
            // Xen's own has no more than a page either.
            let mut text = [0; 4096];
            let read = File::open(name).and_then(|file| match file.kind()? {
                FileKind::Regular(size) if size <= 4096 => {
                    let text = text.get_mut(..size as usize).unwrap_or(&mut []);
                    file.read_at(0, text).map(|()| true)
                }
                _ => Ok(false),
            });
            if !read.map_err(|io| JobError::Read { name, io }.report(console))? {
                let why = "is not a text of VMCOREINFO_XEN: too large";
                return Err(JobError::NotInfo { name, why }.report(console));
            }
            vmcore.find_host(Some(&text));
        }
        let name = name.escape_ascii();
        // Callers take these two from the debug messages.
        let (release, died) = (vmcore.utsname().release(), vmcore.crash_time());
        if !release.is_empty() {
            console.debug(format_args!("OSRELEASE={}\n", release.escape_ascii()));
        }
        if died > 0 {
            console.debug(format_args!("CRASHTIME={died}\n"));
        }
        if headers.vmcoreinfo_len() > 0 && vmcore.note_is_empty() {
            console.warn(format_args!("reading VMCOREINFO of {name}: it cannot be read"));
        }
        if headers.vmcoreinfo_len() == 0 && !vmcore.note_is_empty() {
            console.warn(format_args!(
                "{name} has no VMCOREINFO in its notes: the kernel's own copy in memory is used"
            ));
        }
        if vmcore.dump().is_truncated() {
            console.warn(format_args!(
                "{name} ends long before its memory ranges do: the dump will be incomplete"
            ));
        }
        Ok(vmcore)
    }
}

/// Looks at the kernel's own tables for facts that VMCOREINFO lacks, if one of the levels needs them.
#[cfg(feature = "symbols")]
pub(super) fn complete(vmcore: &mut Vmcore, args: &Args<'_>, console: &Console) {
    let first = level(args.levels().first().copied().unwrap_or(0));
    let lacks = args.levels().iter().map(|number| level(*number)).any(|level| {
        vmcore.set_level(level);
        level.needs_mem_map() && vmcore.lacks_facts()
    });
    let asked = if lacks { vmcore.ask_tables() } else { Ok(()) };
    vmcore.set_level(first);
    if let Err(error) = asked {
        // What stays missing is named, with the pages that are kept for the lack of it.
        console.debug(format_args!("The kernel's own tables do not say all: {error}\n"));
    }
    if lacks && console.debugs() {
        vmcore.facts_of_tables(&mut |kind, name, source| {
            let kind = kind.word();
            console.debug(format_args!("From {source}, as VMCOREINFO lacks it: {kind}({name})\n"));
        });
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
pub(super) fn level(number: u8) -> DumpLevel {
    DumpLevel::from_bits(number).unwrap_or_default()
}
