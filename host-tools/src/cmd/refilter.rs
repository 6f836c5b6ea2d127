//! `tamis refilter`.

use super::reassemble::mark_incomplete;
use crate::classes::survey::survey;
use crate::dump::open::{Dump, Opened, open};
use crate::dump::out::{OutFile, Stream, create};
use crate::fail::{DONE, Fail, INCOMPLETE, Result};
use crate::pool::Threads;
use crate::render::console::{print, remark};
use crate::render::json::{Json, Object};
use crate::render::progress::Progress;
use crate::render::text::{number, size};
use crate::rewrite::plan::{DEFAULT, parse};
use crate::rewrite::refilter::{Compress, Format, Work, level_of, write};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use tamis_core::capture::Report;
use tamis_core::input::kdump;
use tamis_core::io::Flattened;
use tamis_core::level::DumpLevel;
use tamis_core::memory::PhysMemory as _;

/// Leave more out of a dump, compress it another way, or change its format.
///
/// The level in effect is that of the input and the one asked for together: what is not in the
/// input cannot come back. Levels add up: 1 pages of zeros, 2 page cache, 4 private page cache,
/// 8 memory of processes, 16 free pages; 31 is all of them. Without -d, only the format and the
/// compression change. Where tamis does not know enough about a kernel to tell what a page is, it
/// keeps the page and says so.
///
/// A page that is compressed with the codec in question already stays as it is, once it was seen
/// that it decompresses to a page: how small it is depends on who compressed it. With a level of
/// zstd (-z1, -z19) or with --recompress every page is compressed anew.
///
/// The input is never written to. The same input gives the same bytes, with any number of threads,
/// and so does the output when it is refiltered once more. Every compressed page is decompressed
/// again to see that it is the same, and what was written is looked at in the end. Errors that QEMU
/// makes in its dumps (phys_base) are mended.
///
/// The formats: kdump is what crash and drgn read fastest; elf is for gdb and others, and not
/// compressed; flat is a kdump dump as a stream, which can go to standard output (-).
///
/// Exit status: 0 done; 2 pages that the input should have are missing: the output is marked
/// incomplete, as the input was; 3 it could not be done, and there is no output.
///
/// Examples:
///   $ tamis refilter -d 31 vmcore small
///   $ tamis refilter -z19 vmcore archive
///   $ tamis refilter -c part1 part2 whole
///   $ tamis refilter -d 31 --to flat vmcore - | ssh host 'tamis rearrange - vmcore'
#[derive(clap::Args)]
#[command(verbatim_doc_comment, override_usage = "tamis refilter [OPTIONS] IN... OUT")]
pub struct Args {
    /// The dump (or all files of a split one; - is standard input), and last the file to write
    #[arg(required = true, num_args = 2.., value_names = ["IN", "OUT"])]
    files: Vec<PathBuf>,
    /// Dump level, 0 to 31
    #[arg(short = 'd', long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=31))]
    level: Option<u8>,
    #[command(flatten)]
    codec: Codec,
    /// Compress also pages anew that are compressed with that codec already
    #[arg(long)]
    recompress: bool,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = To::Kdump, value_name = "FORMAT")]
    to: To,
    #[command(flatten)]
    effort: Effort,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
    /// Print what was done as JSON (schema tamis.refilter/1)
    #[arg(long)]
    json: bool,
}

/// Threads and memory.
#[derive(clap::Args)]
pub struct Effort {
    #[command(flatten)]
    threads: Threads,
    /// Most memory to use, in bytes, or with K, M or G in KiB, MiB or GiB; 256M if not given.
    /// With little, threads are fewer
    #[arg(long, value_name = "SIZE", value_parser = parse)]
    memory_limit: Option<u64>,
}

impl Effort {
    /// What it comes to. With `recompress` no page stays as it is.
    pub fn work(&self, codec: &Codec, recompress: bool) -> Work {
        let memory = self.memory_limit.unwrap_or(DEFAULT);
        let keep = !recompress && codec.zstd_level().is_none();
        Work { compress: codec.compress(), keep, threads: self.threads.count(), memory }
    }
}

/// How pages are compressed.
#[derive(clap::Args)]
#[group(id = "codec", multiple = false)]
pub struct Codec {
    /// Compress pages with zlib
    #[arg(short = 'c', long)]
    zlib: bool,
    /// Compress pages with LZO
    #[arg(short = 'l', long)]
    lzo: bool,
    /// Compress pages with Snappy
    #[arg(short = 'p', long)]
    snappy: bool,
    /// Compress pages with zstd, at a level from 1 to 19 (-z19, --zstd=19); the default, at level 1
    #[arg(short = 'z', long, value_name = "LEVEL", num_args = 0..=1, require_equals = true,
        value_parser = clap::value_parser!(i32).range(1..=19))]
    zstd: Option<Option<i32>>,
    /// Do not compress pages
    #[arg(long)]
    raw: bool,
}

impl Codec {
    /// The one that was asked for.
    pub fn compress(&self) -> Compress {
        if self.zlib {
            Compress::Zlib
        } else if self.lzo {
            Compress::Lzo
        } else if self.snappy {
            Compress::Snappy
        } else if self.raw {
            Compress::Raw
        } else {
            Compress::Zstd(self.zstd_level().unwrap_or(1))
        }
    }

    fn zstd_level(&self) -> Option<i32> {
        self.zstd.flatten()
    }

    fn asked(&self) -> bool {
        self.zlib || self.lzo || self.snappy || self.zstd.is_some()
    }

    /// Whether any was asked for, also none.
    pub fn is_given(&self) -> bool {
        self.asked() || self.raw
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// kdump-compressed
    Kdump,
    /// ELF core
    Elf,
    /// kdump-compressed, as a flattened stream
    Flat,
}

/// The level of the output: what was left out of the input stays out.
pub fn both_levels(old: DumpLevel, asked: Option<u8>) -> DumpLevel {
    DumpLevel::from_bits(old.bits() | asked.unwrap_or(0)).unwrap_or(old)
}

/// Refuses a set that lacks files: its pages would count as lost.
pub fn whole(opened: &mut Opened) -> Result<()> {
    let Some(span) = opened.kdump().and_then(|k| k.missing_part()) else { return Ok(()) };
    Err(opened
        .fail(format_args!("no file for pfns {} to {:#x}", span.start, span.end.0 - 1))
        .next("name all files of the dump"))
}

/// Whether the input says, or shows, that pages are missing.
pub fn is_incomplete(opened: &Opened) -> bool {
    let said = match &opened.dump {
        Dump::Kdump(kdump) => kdump.incomplete(),
        Dump::Elf(_) => opened
            .elf
            .as_ref()
            .is_some_and(|(_, h)| h.flags & tamis_core::wire::elf::FLAG_INCOMPLETE != 0),
    };
    said || opened.files.iter().any(|f| f.stream.is_some_and(|(_, ends)| !ends))
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let Some((out, inputs)) = args.files.split_last() else { return Err(Fail::new("no files")) };
    let mut opened = open(inputs)?;
    whole(&mut opened)?;
    let old = level_of(&opened);
    let level = both_levels(old, args.level);
    if args.level.is_some_and(|asked| asked != level.bits()) {
        remark(format_args!(
            "{}: its level is {} already: the level in effect is {}",
            opened.name(),
            old,
            level
        ));
    }
    if args.to == To::Elf && args.codec.asked() {
        return Err(Fail::new("an ELF dump is not compressed").next("use --to kdump"));
    }
    let erased = erased(&mut opened)?;
    let incomplete = is_incomplete(&opened);
    let work = args.effort.work(&args.codec, args.recompress);

    if out == Path::new("-") {
        if args.to != To::Flat {
            return Err(Fail::new("only a stream can go to standard output").next("add --to flat"));
        }
        if args.json {
            let next = "name a file for the dump";
            return Err(Fail::new("standard output is taken by the dump").next(next));
        }
        if std::io::stdout().is_terminal() {
            return Err(Fail::new("standard output is a terminal").next("redirect it"));
        }
        let mut sink = Flattened::new(Stream(std::io::stdout().lock()));
        let report = write(&mut opened, level, &work, Format::Kdump, &mut [&mut sink], 0)?;
        std::io::stdout().flush()?;
        return Ok(told(&opened, &report, incomplete, !erased.is_empty()));
    }
    let mut file = create(out, args.force, inputs)?;
    let result = match args.to {
        To::Kdump | To::Elf => {
            let format = if args.to == To::Elf { Format::Elf } else { Format::Kdump };
            write(&mut opened, level, &work, format, &mut [&mut file], 0)
        }
        To::Flat => {
            let mut stream = std::io::BufWriter::with_capacity(1 << 20, file.appender()?);
            let mut sink = Flattened::new(Stream(&mut stream));
            let done = write(&mut opened, level, &work, Format::Kdump, &mut [&mut sink], 0);
            done.and_then(|report| {
                stream.flush().map_err(|e| Fail::file(out, e))?;
                Ok(report)
            })
        }
    };
    let named = |fail: Fail| match fail {
        Fail::Pipe => fail,
        fail => Fail::file(out, fail.line()),
    };
    match result {
        Ok(report) => {
            let mut lost_text = !erased.is_empty();
            if args.to == To::Kdump {
                finish(&mut file, incomplete && !report.incomplete, &erased)?;
                lost_text = false;
            } else if args.to == To::Elf && incomplete && !report.incomplete {
                elf_incomplete(&mut file, &opened)?;
            }
            file.done()?;
            look_at(out, &report)?;
            if args.json {
                let document = json(level, &report, incomplete || report.incomplete);
                print(format!("{document}\n"))?;
            }
            Ok(told(&opened, &report, incomplete, lost_text))
        }
        Err(fail) => {
            file.remove();
            Err(named(fail))
        }
    }
}

/// What was erased from the input before.
fn erased(opened: &mut Opened) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(kdump) = opened.kdump() {
        for index in 0..kdump.parts().len() {
            let facts = kdump.parts()[index].facts;
            let (at, len) = facts.sub.eraseinfo;
            let len = len.min(facts.len.saturating_sub(at)).min(1 << 30);
            let mut part = vec![0; len as usize];
            kdump.read_file(index, at, &mut part).map_err(|e| {
                Fail::new(format_args!("reading the erase information at offset {at}: {e}"))
            })?;
            text.extend_from_slice(&part);
        }
    }
    Ok(text)
}

/// What the engine does not know about a dump that it wrote: that its input was incomplete, and
/// what was erased from it.
fn finish(file: &mut OutFile, incomplete: bool, erased: &[u8]) -> Result<()> {
    if !incomplete && erased.is_empty() {
        return Ok(());
    }
    let (mut reader, len) = file.reader()?;
    let facts = kdump::probe(&mut reader, len)
        .map_err(|e| Fail::new(format_args!("reading what was written: {e}")))?;
    if incomplete {
        mark_incomplete(file, &facts)?;
    }
    if !erased.is_empty() {
        use tamis_core::io::RandomAccess;
        let block = facts.main.shift.bytes() as u64;
        let mut sub = vec![0; facts.sub.size];
        reader
            .read_at(block, &mut sub)
            .map_err(|e| Fail::new(format_args!("reading what was written: {e}")))?;
        file.put(len, erased)?;
        if facts.sub.join(&facts.main, &mut sub, (len, erased.len() as u64)).is_some() {
            file.put(block, &sub)?;
        }
    }
    Ok(())
}

fn elf_incomplete(file: &mut OutFile, opened: &Opened) -> Result<()> {
    use tamis_core::endian::Word;
    let machine = opened.dump.machine();
    let at = if machine.word == Word::Bits64 { 48 } else { 36 };
    file.put(at, &machine.endian.put32(tamis_core::wire::elf::FLAG_INCOMPLETE))
}

/// Looks at what was written: every page descriptor, and that the counts are those that were
/// meant. That the data is good was seen page by page before it was written.
fn look_at(out: &Path, report: &Report) -> Result<()> {
    let mut opened = open(&[out.to_owned()])?;
    let wrong = |what: &str| {
        let next = "the disk or this program is at fault: do not use the file";
        Err(Fail::file(out, format_args!("not as it was written: {what}")).next(next))
    };
    let Some(kdump) = opened.kdump() else {
        let whole = opened.held().all(|(range, held)| held == range.stored_len);
        return if whole { Ok(()) } else { wrong("memory past the end of the file") };
    };
    let mut progress = Progress::new("Looking at what was written");
    let found = survey(kdump, |done, total| progress.set(done, total))?;
    let tally = &report.tally;
    if (found.exist, found.kept) != (tally.exist, tally.kept) {
        return wrong("the bitmaps have other numbers of pages");
    }
    match (found.lost == tally.unreadable, found.cut_off + found.bad) {
        (true, 0) => Ok(()),
        _ => wrong("there are page descriptors that make no sense"),
    }
}

fn json(level: DumpLevel, report: &Report, incomplete: bool) -> Json {
    let tally = &report.tally;
    Object::document("tamis.refilter/1")
        .with("level", level.bits())
        .with(
            "pages",
            Object::new()
                .with("exist", tally.exist)
                .with("kept", tally.kept - tally.unreadable)
                .with("left_out", tally.exist.saturating_sub(tally.kept))
                .with("lost", tally.unreadable),
        )
        .with("bytes", report.bytes)
        .with("complete", !incomplete)
        .into()
}

/// Says what became of the pages; gives the exit status.
fn told(opened: &Opened, report: &Report, was_incomplete: bool, lost_text: bool) -> u8 {
    let tally = &report.tally;
    remark(format_args!(
        "{}: {} pages kept, {} left out, {} written",
        opened.name(),
        number(tally.kept - tally.unreadable),
        number(tally.exist.saturating_sub(tally.kept)),
        size(report.bytes)
    ));
    if lost_text {
        remark(format_args!("what the input says about erased data is not in the output"));
    }
    if report.incomplete || was_incomplete {
        remark(format_args!("the output is incomplete, as the input is"));
        return INCOMPLETE;
    }
    DONE
}
