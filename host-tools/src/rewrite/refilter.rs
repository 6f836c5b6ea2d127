//! Writing a dump out of a dump: the engine's capture, with a dump as its source.

use crate::crew;
use crate::crew::{RUN, Worker};
use crate::dump::gaps;
use crate::dump::opened::{Dump, Opened, level_of};
use crate::dump::survey::codec_of;
use crate::fail::{Fail, Result};
use crate::render::console::remark;
use crate::render::progress::Progress;
use crate::render::text::number;
use crate::rewrite::codec::{Checked, Compress};
use crate::rewrite::plan::{DATA, DESCRIPTORS, Needs};
use crate::session::{other_sources, session_for, unclassified};
use page_codec::{Codec, Encode};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use tamis_core::Options;
use tamis_core::Output;
use tamis_core::capture::{Bug, CaptureError, Notice, Observer, Phase, Report};
use tamis_core::endian::Word;
use tamis_core::io::Sink;
use tamis_core::kernel::rules::{Given, PageRules};
use tamis_core::level::DumpLevel;
use tamis_core::memory::Ranges as _;
use tamis_core::units::PfnSpan;

/// Runs of pages that rules keep and drop, together: 1 MiB.
const RUNS: usize = 1 << 16;
/// Remarks of one kind before the rest are only counted.
const REMARKS: usize = 5;

/// How the work is done.
#[derive(Clone, Copy)]
pub struct Work {
    /// How pages are compressed.
    pub compress: Compress,
    /// Whether pages that are compressed with that codec already stay as they are.
    pub keep: bool,
    /// Whether each page gets a checksum.
    pub page_checksums: bool,
    /// Threads, at most.
    pub threads: usize,
    /// Bytes of memory, at most.
    pub memory: u64,
    /// Bits of a time in the header of a 32-bit machine's dump, if the input does not decide that.
    pub time: Option<Word>,
    /// Whether the memory of a Xen host's guests is left out.
    pub exclude_guests: bool,
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
        self.progress.aside(|| remark(format_args!("{}: {notice}", self.name)));
    }
}

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Kdump-compressed.
    Kdump,
    /// ELF.
    Elf,
}

/// The codec that pages of the input have, where none was asked for; says so where they get another one.
pub fn codec_of_input(opened: &mut Opened) -> Option<Codec> {
    let found = codec_of(opened.kdump()?);
    if found == Some(Codec::Lz4) {
        let name = opened.name();
        remark(format_args!(
            "{name}: its pages are compressed with lz4, those of the output with zstd; -c, -l and -p are other codecs"
        ));
    }
    found
}

/// Writes the dump at a level; without one, with every page that it has. Reports what cannot be dropped, and
/// why. The bytes do not depend on threads and memory. `names` are those of the sinks, where messages are to name them.
pub fn write(
    opened: &mut Opened,
    level: Option<DumpLevel>,
    work: &Work,
    format: Format,
    sinks: &mut [&mut dyn Sink],
    names: &[PathBuf],
    split_block: u64,
) -> Result<(Report, DumpLevel)> {
    write_by_rules(opened, (level, &[]), work, format, sinks, names, split_block)
}

/// As [`write()`], but for pages that stay or go by a rule. One that cannot be followed is reported, and drops nothing.
pub fn write_by_rules(
    opened: &mut Opened,
    (level, rules): (Option<DumpLevel>, &[Given<'_>]),
    work: &Work,
    format: Format,
    sinks: &mut [&mut dyn Sink],
    names: &[PathBuf],
    split_block: u64,
) -> Result<(Report, DumpLevel)> {
    let shift = opened.shift;
    let page = shift.bytes();
    let name = opened.name();
    if format == Format::Elf && opened.kdump().is_some_and(|kdump| kdump.ranges_are_joined()) {
        let ranges = number(opened.dump.ranges().len() as u64);
        let fail = opened.fail(format_args!("it has more than {ranges} separate ranges of memory"));
        return Err(fail.next("a kdump-compressed dump (--to kdump) has room for them"));
    }
    // An ELF dump is not compressed.
    let compress = if format == Format::Elf { Compress::Raw } else { work.compress };
    let plan = Needs::of(opened, compress).plan(work.memory, work.threads)?;
    if let Some(kdump) = opened.kdump() {
        kdump.keep_stored(work.keep);
    }
    let bad = AtomicU64::new(0);
    let mut encoder = Checked::new(compress, page, &bad)?;
    // Where pages only have to be copied, the kernel does the work, and threads gain nothing.
    let copies = compress == Compress::Raw && matches!(opened.dump, Dump::Elf(_));
    let helpers = if copies { 0 } else { plan.workers };
    let mut workers: Vec<Worker<'_>> = Vec::new();
    for dump in opened.twins(helpers)? {
        let encoder = Checked::new(compress, page, &bad)?;
        let encoder = encoder.map(|encoder| -> Box<dyn Encode + Send> { Box::new(encoder) });
        workers.push(Worker { dump, encoder });
    }
    let bound = encoder.as_ref().map_or(page, |encoder| encoder.bound(page).max(page));
    let sizes = [plan.bits, page.max(RUN), DATA + bound, DESCRIPTORS];
    let input_time = opened.kdump().and_then(|kdump| kdump.facts().header_time());
    // Pages of zeros that share one go on to do so.
    let mut level_or_none = level.unwrap_or(level_of(opened) & DumpLevel::ZERO);
    if format == Format::Elf && opened.kdump().is_some() {
        // They are in a kdump-compressed dump of this level, too, and holes cost nothing.
        level_or_none.remove(DumpLevel::ZERO);
    }
    let zeros = gaps::zeros(opened);
    if format == Format::Kdump && !zeros.is_empty() {
        // There may be terabytes of them: they share one, too.
        level_or_none.insert(DumpLevel::ZERO);
    }
    if level.is_some_and(DumpLevel::needs_mem_map) {
        for source in other_sources(opened) {
            remark(format_args!("{name}: {source}"));
        }
    }
    let by_rules = !rules.is_empty();
    let mut runs = vec![PfnSpan::default(); if by_rules { RUNS } else { 0 }];
    let mut kept = vec![0; if by_rules { plan.bits } else { 0 }];
    let exclude_guests = work.exclude_guests;
    let options = Options {
        level: level_or_none,
        skip_classes: level.is_none() && !by_rules,
        exclude_guests,
        ..Options::default()
    };
    let mut session = session_for(opened, &options, sizes);
    if by_rules {
        let found = PageRules::new(&mut runs, &mut kept);
        session.follow_rules(rules, found, &mut |index, done| {
            let rule = &rules[index];
            let word = if rule.keep { "keep" } else { "drop" };
            let said = match done {
                Ok(objects) => format!("{} objects", number(objects.into())),
                Err(error) if rule.keep => format!("not followed to its end: {error}"),
                Err(error) => format!("not followed, its pages are kept: {error}"),
            };
            remark(format_args!("{name}: {word} {}: {said}", rule.text));
        });
    }
    session.set_header_time(work.time.or(input_time));
    session.set_page_checksums(work.page_checksums);
    session.set_zeros(&zeros);
    for doubt in unclassified(&session) {
        remark(format_args!("{name}: {doubt}"));
    }
    let by_class = level.is_some_and(DumpLevel::needs_mem_map);
    match session.host() {
        Err(why) if exclude_guests => {
            let fail = Fail::new(format_args!("{name}: guests cannot be left out: {why}"));
            return Err(fail.next("without -X, the memory of all domains is kept"));
        }
        Ok(host) if by_class || exclude_guests => {
            if host.layout.is_none() {
                remark(format_args!(
                    "{name}: free frames of Xen are kept: nothing tells how its table marks them"
                ));
            }
            if !exclude_guests {
                remark(format_args!("{name}: the memory of guests is kept; -X leaves it out"));
            }
        }
        _ => {}
    }
    if let (Some(why), true) = (session.why_only_zeros(), by_class) {
        let free = if session.host().is_ok() { " and Xen's free frames" } else { "" };
        remark(format_args!("{name}: only pages of zeros{free} can be dropped: {why}"));
    }
    let mut watch = Watch { progress: Progress::new(""), said: 0, unsaid: 0, name: name.clone() };
    let done = crew::serve(&mut workers, page, bound, |crew| match (format, sinks) {
        (Format::Kdump, sinks) => {
            let mut ranges = vec![PfnSpan::default(); sinks.len()];
            let output = Output::Split { sinks, ranges: &mut ranges, block: split_block };
            let encoder = encoder.as_mut().map(|encoder| -> &mut dyn Encode { encoder });
            session.write_with(output, encoder, &mut watch, crew)
        }
        (Format::Elf, [sink, ..]) => session.write_elf_with(*sink, &mut watch, crew),
        (Format::Elf, []) => Err(CaptureError::Internal(Bug::NoOutput)),
    })?;
    if watch.unsaid > 0 {
        remark(format_args!("{name}: and {} more such remarks", watch.unsaid));
    }
    drop(watch);
    let in_effect = session.level_in_effect();
    opened.put_back(workers.into_iter().map(|worker| worker.dump).collect());
    match bad.into_inner() {
        0 => {}
        pages => remark(format_args!(
            "{pages} pages did not come back as they were from their compressed form: they are \
             stored as they are"
        )),
    }
    done.map(|report| (report, in_effect)).map_err(|e| match e {
        CaptureError::Sink(failed) if failed.io().code != 0 => {
            let why = io::Error::from_raw_os_error(failed.io().code);
            if why.kind() == io::ErrorKind::BrokenPipe {
                return Fail::Pipe;
            }
            let text = format!("writing {} at offset {}: {why}", failed.step, failed.at);
            names
                .get(failed.part())
                .map_or_else(|| Fail::new(&text), |name| Fail::file(name, &text))
        }
        other => Fail::new(other),
    })
}
