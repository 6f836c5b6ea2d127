//! `tamis refilter`.

use crate::args::codec::{Codec, Effort};
use crate::args::level::both_levels;
use crate::dump::open::open;
use crate::dump::opened::{Opened, level_of};
use crate::dump::opened::{is_incomplete, whole};
use crate::dump::out::{OutFile, Stream, create};
use crate::fail::{DONE, Fail, INCOMPLETE, Result};
use crate::render::console::remark;
use crate::render::json::{Document, show};
use crate::render::text::{number, size};
use crate::rewrite::finish::{elf_incomplete, erased, finish, look_at};
use crate::rewrite::image;
use crate::rewrite::refilter::{Format, Work, codec_of_input, write_by_rules};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use tamis_core::capture::Report;
use tamis_core::endian::Word;
use tamis_core::io::Flattened;
use tamis_core::kernel::rules::{Given, Rule};
use tamis_core::level::DumpLevel;
use tamis_core::memory::{Dump as _, PhysMemory as _};
use tamis_core::tally::Reason;

/// Leave more out of a dump, compress it another way, or change its format.
///
/// The level in effect is that of the input and that of -d together: what is not in the
/// input cannot come back. Levels add up: 1 pages of zeros, 2 page cache, 4 private page cache,
/// 8 user pages, 16 free pages; 31 is all of them. Without -d, only the format and the
/// compression change, and pages in the gaps of a vmcore's file share one page of zeros (level 1).
/// Where tamis cannot know what a kernel used a page for, it keeps the page and reports that.
///
/// Without an option for the codec, the output has that of the input, and zstd where that has none
/// that is written here. A page that is compressed with it already stays as it is, after a check
/// that it decompresses to a page: how small it is depends on its writer. With a level of
/// zstd (-z1, -z19) or with --recompress every page is compressed anew.
///
/// Of a Xen host, whose memory is that of all its domains, -X keeps the hypervisor's and domain 0's.
/// Xen's table says of each frame whose it is; what Xen shares with a guest is kept.
///
/// The input is never written to. The same input makes the same bytes, with any number of threads,
/// and so does the output when it is refiltered once more. Every compressed page is decompressed
/// again to see that it is the same, and what was written is looked at in the end. Errors that QEMU
/// makes in its dumps (phys_base) are mended.
///
/// The formats: kdump is what crash and drgn read fastest; elf is for gdb and others, and not
/// compressed; flat is a kdump dump as a stream, which can go to standard output (-); lime and raw
/// are memory images without notes (see tamis help convert).
///
/// Exit status: 0 done; 2 pages that the input should have are missing: the output is marked
/// incomplete, as the input was; 3 it could not be done, and there is no output.
///
/// Examples:
///   $ tamis refilter -d 31 vmcore small
///   $ tamis refilter -z19 vmcore archive
///   $ tamis refilter -c part1 part2 whole
///   $ tamis refilter --rules rules -d 31 vmcore small
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
    /// Of a Xen host, leave out the memory of guests, and frames that are free or out of use
    #[arg(short = 'X', long)]
    exclude_guests: bool,
    #[command(flatten)]
    codec: Codec,
    /// Compress also pages anew that are compressed with that codec already
    #[arg(long)]
    recompress: bool,
    /// Leave out the checksum that each page has
    #[arg(long)]
    no_page_checksums: bool,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = To::Kdump, value_name = "FORMAT")]
    to: To,
    /// Bits of a time in the header of a 32-bit machine's dump: 32 or 64, as the makedumpfile and crash that
    /// are to read it have them (armhf of Debian: 64 since 13). As the input has it if not given; of a vmcore,
    /// 32 for i386 and 64 for others
    #[arg(long, value_name = "BITS", value_parser = time_bits)]
    time_bits: Option<Word>,
    /// Keep pages that a rule reaches, whatever their class is; may be given several times (core/docs/rules.md)
    #[arg(long, value_name = "RULE")]
    keep: Vec<String>,
    /// Leave out pages that a rule reaches and no --keep does; may be given several times
    #[arg(long, value_name = "RULE")]
    drop: Vec<String>,
    /// More rules: a file with a rule in each line, keep or drop in front
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    #[command(flatten)]
    effort: Effort,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
    /// Print what was done as JSON (schema tamis.refilter/1)
    #[arg(long)]
    json: bool,
}

/// Size of a `time_t`.
fn time_bits(text: &str) -> std::result::Result<Word, &'static str> {
    match text {
        "32" => Ok(Word::Bits32),
        "64" => Ok(Word::Bits64),
        _ => Err("32 or 64"),
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
    /// Memory image of LiME
    Lime,
    /// Memory as it is
    Raw,
}

impl To {
    /// Whether it is kdump-compressed, as a file or as a stream.
    fn is_kdump(self) -> bool {
        matches!(self, To::Kdump | To::Flat)
    }
}

/// The rules of the command line and of the file.
fn rules<'t>(args: &'t Args, text: &'t str) -> Result<Vec<Given<'t>>> {
    let mut rules = Vec::new();
    for (keep, option, texts) in [(true, "--keep", &args.keep), (false, "--drop", &args.drop)] {
        for text in texts {
            Rule::parse(text).map_err(|e| Fail::new(format_args!("{option} {text}: {e}")))?;
            rules.push(Given { keep, text });
        }
    }
    let file = args.rules.as_deref().unwrap_or(Path::new(""));
    for (number, line) in (1..).zip(text.lines()) {
        let given = Given::line(line);
        rules.extend(given.map_err(|e| Fail::file(file, format_args!("line {number}, {e}")))?);
    }
    Ok(rules)
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let Some((out, inputs)) = args.files.split_last() else { return Err(Fail::new("no files")) };
    let file = args.rules.as_ref();
    let text = file.map(|name| std::fs::read_to_string(name).map_err(|e| Fail::file(name, e)));
    let text = text.transpose()?.unwrap_or_default();
    let rules = rules(args, &text)?;
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
    let what = (args.level.map(|_| level), &rules[..]);
    if args.to == To::Elf && args.codec.asked() {
        return Err(Fail::new("an ELF dump is not compressed").next("use --to kdump"));
    }
    let filters = args.level.is_some() || args.exclude_guests || !rules.is_empty();
    if args.image().is_some() && (args.codec.asked() || filters) {
        let text = "a memory image is not compressed, and holds the pages that the input has";
        return Err(Fail::new(text).next("leave pages out of a dump first, then convert that"));
    }
    let wide = opened.dump.machine().word == Word::Bits64;
    if args.time_bits.is_some_and(|time| !args.to.is_kdump() || (wide && time == Word::Bits32)) {
        let text = "--time-bits is for kdump dumps of 32-bit machines";
        return Err(Fail::new(text).next("leave it out"));
    }
    let erased = erased(&mut opened)?;
    let incomplete = is_incomplete(&opened);
    // An output with pages of a codec has that of the input, if nothing else was said.
    let keeps = args.to.is_kdump() && !args.codec.is_given();
    let input = if keeps { codec_of_input(&mut opened) } else { None };
    let work = args.effort.work(&args.codec, input, args.recompress, !args.no_page_checksums);
    let work = Work { time: args.time_bits, exclude_guests: args.exclude_guests, ..work };

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
        let (report, _) =
            write_by_rules(&mut opened, what, &work, Format::Kdump, &mut [&mut sink], &[], 0)?;
        std::io::stdout().flush()?;
        return Ok(report_on(&opened, &report, incomplete, !erased.is_empty()));
    }
    let mut file = create(out, args.force, inputs)?;
    if let Some(format) = args.image() {
        return write_image(&mut opened, args, format, file, incomplete);
    }
    let result = match args.to {
        To::Kdump | To::Elf | To::Lime | To::Raw => {
            let format = if args.to == To::Elf { Format::Elf } else { Format::Kdump };
            write_by_rules(&mut opened, what, &work, format, &mut [&mut file], &[], 0)
        }
        To::Flat => {
            let mut stream = std::io::BufWriter::with_capacity(1 << 20, file.appender()?);
            let mut sink = Flattened::new(Stream(&mut stream));
            let done =
                write_by_rules(&mut opened, what, &work, Format::Kdump, &mut [&mut sink], &[], 0);
            done.and_then(|written| {
                stream.flush().map_err(|e| Fail::new(format_args!("writing the stream: {e}")))?;
                Ok(written)
            })
        }
    };
    let named = |fail: Fail| match fail {
        Fail::Pipe => fail,
        fail => Fail::file(out, fail.line()),
    };
    match result {
        Ok((report, level)) => {
            let mut lost_text = !erased.is_empty();
            if args.to == To::Kdump {
                finish(&mut file, incomplete && !report.incomplete, &erased)?;
                lost_text = false;
            } else if args.to == To::Elf && incomplete && !report.incomplete {
                elf_incomplete(&mut file)?;
            }
            if file.can_look() {
                look_at(&file, out, &report)?;
            }
            file.done()?;
            if args.json {
                show(&Done::new(level, &report, incomplete || report.incomplete))?;
            }
            Ok(report_on(&opened, &report, incomplete, lost_text))
        }
        Err(fail) => Err(named(fail)),
    }
}

impl Args {
    /// The format of the output, if it is a memory image.
    fn image(&self) -> Option<image::Format> {
        match self.to {
            To::Lime => Some(image::Format::Lime),
            To::Raw => Some(image::Format::Raw),
            To::Kdump | To::Elf | To::Flat => None,
        }
    }
}

/// Writes a memory image.
fn write_image(
    opened: &mut Opened,
    args: &Args,
    format: image::Format,
    mut file: OutFile,
    was_incomplete: bool,
) -> Result<u8> {
    let path = args.files.last().map_or(Path::new(""), |path| path);
    let written = image::write(opened, format, &mut file, path)?;
    file.done()?;
    let incomplete = was_incomplete || written.lost > 0;
    let level = level_of(opened);
    if args.json {
        let (kept, lost, bytes) = (written.pages, written.lost, written.bytes);
        let pages = Pages { exist: kept + lost, kept, left_out: 0, lost };
        show(&Done { level: level.bits(), pages, bytes, complete: !incomplete })?;
    }
    let (pages, bytes) = (number(written.pages), size(written.bytes));
    remark(format_args!("{}: {pages} pages kept, {bytes} written", opened.name()));
    let notes = opened.dump.notes().len > 0;
    if notes {
        remark(format_args!(
            "the notes, with the CPUs' registers and VMCOREINFO, are not in the image"
        ));
    }
    if incomplete {
        remark(format_args!("{} pages of the input cannot be read", number(written.lost)));
        return Ok(INCOMPLETE);
    }
    Ok(DONE)
}

/// What was done.
#[derive(Serialize)]
pub(crate) struct Done {
    pub(crate) level: u8,
    pub(crate) pages: Pages,
    pub(crate) bytes: u64,
    pub(crate) complete: bool,
}

/// Pages by what became of them.
#[derive(Serialize)]
pub(crate) struct Pages {
    pub(crate) exist: u64,
    pub(crate) kept: u64,
    pub(crate) left_out: u64,
    pub(crate) lost: u64,
}

impl Document for Done {
    const SCHEMA: &'static str = "tamis.refilter/1";
}

impl Done {
    fn new(level: DumpLevel, report: &Report, incomplete: bool) -> Done {
        let tally = &report.tally;
        let pages = Pages {
            exist: tally.exist,
            kept: tally.kept - tally.unreadable,
            left_out: tally.exist.saturating_sub(tally.kept),
            lost: tally.unreadable,
        };
        Done { level: level.bits(), pages, bytes: report.bytes, complete: !incomplete }
    }
}

/// Reports what became of the pages; returns the exit status.
fn report_on(opened: &Opened, report: &Report, was_incomplete: bool, lost_text: bool) -> u8 {
    let tally = &report.tally;
    remark(format_args!(
        "{}: {} pages kept, {} left out, {} written",
        opened.name(),
        number(tally.kept - tally.unreadable),
        number(tally.exist.saturating_sub(tally.kept)),
        size(report.bytes)
    ));
    let by_rules = tally.of(Reason::Rule);
    if by_rules > 0 {
        remark(format_args!("{} pages left out by rules", number(by_rules)));
    }
    if lost_text {
        remark(format_args!("the input's list of erased data is not in the output"));
    }
    if report.incomplete || was_incomplete {
        remark(format_args!("the output is incomplete, as the input is"));
        return INCOMPLETE;
    }
    DONE
}
