//! Writing a dump out of a dump: the engine's capture, with a dump as its source.

use crate::crew;
use crate::crew::{RUN, Worker};
use crate::dump::opened::{Dump, Opened};
use crate::fail::{Fail, Result};
use crate::render::console::remark;
use crate::render::progress::Progress;
use crate::rewrite::codec::{Checked, Compress};
use crate::rewrite::plan::{DATA, DESCRIPTORS, Needs};
use crate::session::Kernel;
use std::io;
use std::sync::atomic::AtomicU64;
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::capture::{About, Buffers, Capture, CaptureError, Notice, Observer, Phase, Report};
use tamis_core::codec::Encoder;
use tamis_core::io::Sink;
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::utsname::Utsname;
use tamis_core::level::DumpLevel;
use tamis_core::memory::{PhysMemory as _, Ranges as _};
use tamis_core::wire::disk_header::UTS;
use tamis_core::wire::vmcoreinfo::Kind;

/// Remarks of one kind before the rest are only counted.
const REMARKS: usize = 5;

/// How the work is done.
#[derive(Clone, Copy)]
pub struct Work {
    /// How pages are compressed.
    pub compress: Compress,
    /// Whether pages that are compressed with that codec already stay as they are.
    pub keep: bool,
    /// Threads, at most.
    pub threads: usize,
    /// Bytes of memory, at most.
    pub memory: u64,
}

/// Progress and notices of a capture.
struct Watch {
    progress: Progress,
    said: usize,
    unsaid: usize,
    name: String,
}

impl Observer for Watch {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        self.progress.phase(match phase {
            Phase::Classify => "Looking at pages",
            Phase::Copy => "Copying pages",
        });
        self.progress.set(done, total);
    }

    fn notice(&mut self, notice: Notice) {
        if self.said == REMARKS {
            self.unsaid += 1;
            return;
        }
        self.said += 1;
        self.progress.clear();
        remark(format_args!("{}: {notice}", self.name));
    }
}

/// In which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Kdump-compressed.
    Kdump,
    /// ELF.
    Elf,
}

/// Writes the dump at a level. Says what cannot be dropped, and why. The bytes do not depend on
/// threads and memory.
pub fn write(
    opened: &mut Opened,
    level: DumpLevel,
    work: &Work,
    format: Format,
    sinks: &mut [&mut dyn Sink],
    split_block: u64,
) -> Result<Report> {
    let shift = opened.shift;
    let page = shift.bytes();
    let machine = opened.dump.machine();
    let name = opened.name();
    let info = opened.info();
    // An ELF dump is not compressed.
    let compress = if format == Format::Elf { Compress::Raw } else { work.compress };
    let plan = Needs::of(opened, compress).plan(work.memory, work.threads)?;
    if let Some(kdump) = opened.kdump() {
        kdump.keep_stored(work.keep);
    }
    let bad = AtomicU64::new(0);
    let mut encoder = Checked::new(compress, page, &bad)?;
    let mut max_pfn = opened.max_pfn;
    let mut tables = vec![0; TableCache::STORAGE];
    let arch = Arch::new(machine, &info, opened.dump.ranges());
    let wants_more = level.needs_mem_map();
    let kernel = Kernel::find(opened, level).and_then(|kernel| {
        max_pfn = max_pfn.min(kernel.map.max_pfn());
        for doubt in kernel.doubts() {
            remark(format_args!("{name}: {doubt}"));
        }
        kernel.scanner(opened)
    });
    if let Err(why) = &kernel
        && wants_more
    {
        remark(format_args!("{name}: only pages of zeros can be dropped: {why}"));
    }
    let scanner = kernel.ok();

    // Who it was: what the dump says, or else what the kernel's memory does.
    let mut uts = Utsname::of_header(&[0; UTS]);
    let (mut crash_time, mut phys_base) = (info.crash_time(), 0);
    let cpus;
    match &opened.dump {
        Dump::Kdump(kdump) => {
            let main = &kdump.facts().main;
            uts = Utsname::of_header(&main.utsname);
            crash_time = Some(main.crash_time).filter(|t| *t != 0).or(crash_time);
            cpus = if kdump.facts().cpus == 0 { main.nr_cpus } else { kdump.facts().cpus };
            phys_base = kdump.facts().sub.phys_base;
        }
        Dump::Elf(elf) => cpus = elf.facts().cpus,
    }
    if !uts.is_complete() {
        let mut cache = TableCache::new(&mut tables);
        let mut memory =
            arch.as_ref().ok().map(|a| KernelMemory::new(&mut opened.dump, *a, &mut cache));
        uts.fill_from(&Utsname::read(memory.as_mut(), &info, machine));
    }
    // QEMU writes a wrong one into the sub-header.
    let phys_base = match (info.get(Kind::Number, "phys_base"), &arch) {
        (Some(told), _) => told,
        (None, Ok(arch)) if matches!(opened.dump, Dump::Elf(_)) => arch.phys_base(),
        _ => phys_base,
    };
    let about = About {
        level,
        utsname: &uts.raw,
        crash_time: crash_time.unwrap_or(0),
        phys_base,
        cpus,
        vmcoreinfo: opened.text_at,
    };

    // Where pages only have to be copied, the kernel does the work, and threads gain nothing.
    let copies = compress == Compress::Raw && matches!(opened.dump, Dump::Elf(_));
    let helpers = if copies { 0 } else { plan.workers };
    let mut workers: Vec<Worker<'_>> = Vec::new();
    for dump in opened.twins(helpers)? {
        workers.push(Worker { dump, encoder: Box::new(Checked::new(compress, page, &bad)?) });
    }
    let bound = encoder.bound(page).max(page);
    let mut buffers =
        [vec![0; plan.bits], vec![0; page.max(RUN)], vec![0; DATA + bound], vec![0; DESCRIPTORS]];
    let [bitmap, run, data, descriptors] = &mut buffers;
    let mut watch = Watch { progress: Progress::new(""), said: 0, unsaid: 0, name: name.clone() };
    let mut capture = Capture::new(
        &mut opened.dump,
        scanner,
        Buffers { bitmap, run, data, descriptors },
        &mut watch,
        &mut encoder,
        shift,
        max_pfn,
        level,
    );
    let done = crew::serve(&mut workers, page, bound, |crew| match format {
        Format::Kdump => capture.kdump_with(&about, sinks, split_block, crew),
        Format::Elf => match sinks {
            [sink, ..] => capture.elf_with(*sink, crew),
            [] => Err(CaptureError::TooLarge(0)),
        },
    })?;
    if watch.unsaid > 0 {
        remark(format_args!("{name}: and {} more such remarks", watch.unsaid));
    }
    drop(watch);
    opened.put_back(workers.into_iter().map(|worker| worker.dump).collect());
    match bad.into_inner() {
        0 => {}
        pages => remark(format_args!(
            "{pages} pages did not come back as they were from their compressed form: they are \
             stored as they are"
        )),
    }
    done.map_err(|e| match e {
        CaptureError::Sink { error, .. }
            if io::Error::from_raw_os_error(error.io.code).kind() == io::ErrorKind::BrokenPipe =>
        {
            Fail::Pipe
        }
        other => Fail::new(other),
    })
}
