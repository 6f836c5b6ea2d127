//! The command line: what makedumpfile's callers write, read the way `getopt_long` reads it.
//!
//! Options may follow operands, short options cluster (`-cd31`), a long option may be shortened as
//! far as it stays unambiguous, and `--` ends the options. Two things differ from makedumpfile on
//! purpose: garbage where a number belongs is an error instead of a silent 0, and an option that
//! this program does not have is refused by name instead of being ignored.
//!
//! [`parse`] only looks at words. Whether a file exists, or a size suits the page size of the
//! dump, is found out later.

use core::fmt;

/// How many dump levels one `-d` may list.
pub const MAX_LEVELS: usize = 32;

/// How many output files `--split` may name.
pub const MAX_OUTPUTS: usize = 64;

/// The message level without `--message-level`: progress, common messages and errors.
pub const DEFAULT_MESSAGE_LEVEL: u8 = 7;

/// The message bit that `-D` adds.
pub const MESSAGE_DEBUG: u8 = 8;

/// The message bit that `--show-stats` adds.
pub const MESSAGE_REPORT: u8 = 16;

/// The text of `--help`.
pub const HELP: &str = "\
Usage: tamis-capture [OPTIONS] VMCORE DUMPFILE
       tamis-capture [OPTIONS] -F VMCORE > DUMPFILE.flat
       tamis-capture [OPTIONS] --split VMCORE DUMPFILE1 DUMPFILE2 [...]
       tamis-capture [OPTIONS] --dump-dmesg [--partial-dmesg] VMCORE LOGFILE

Writes the memory of a crashed Linux kernel, without the pages nobody will read,
into a dump file. VMCORE is /proc/vmcore or a copy of it.

What to write:
  -d LEVEL[,LEVEL...]     dump level, 0 to 31 (default 0); the next one in the
                          list is tried when the target has no space left
  -c, -c0                 compress each page with zlib; 0: faster, larger
  -l                      compress each page with lzo
  -p                      compress each page with snappy
  -z, -z2                 compress each page with zstd; 2: slower, smaller
  --lz4                   compress each page with LZ4 (needs tamis to read)
  -E                      write an ELF file (never compressed)
  -F                      write a flattened stream to standard output
  -f                      overwrite existing files
  -L SIZE                 stop at SIZE bytes of output (suffix K M G T P E)
  -i FILE                 read VMCOREINFO from FILE instead of from VMCORE
  --split                 spread the dump over two or more files
  --splitblock-size KIB   with --split, cut at multiples of KIB kibibytes
  --dump-dmesg            write only the kernel log, as text
  --partial-dmesg         with --dump-dmesg, only since the log was last cleared
  --dry-run               do everything but write (DUMPFILE may be left out)

How to work:
  --memory-limit SIZE     use no more memory than this (default 4M)
  --cyclic-buffer KIB     bitmap buffer in kibibytes (0: automatic)
  --non-cyclic            one buffer for all of memory, if it fits the limit
  --non-mmap              read VMCORE with read(), never map it
  --mmap                  map VMCORE, also where it is not in /proc
  --num-threads N         threads that compress (default 1)
  -b ORDER                accepted, without effect
  --work-dir DIR          accepted, without effect

What to say:
  --message-level N       sum of 1 progress, 2 common, 4 error, 8 debug,
                          16 report (default 7)
  -D                      add debug messages
  --show-stats            add the report on pages
  --check-params          only check this command line
  -h, --help              print this text
  -v, --version           print the version

Dump level: the sum of what to leave out.
   1  pages filled with zeros
   2  page cache, without private pages
   4  page cache, with private pages
   8  pages of user processes
  16  free pages
  31  all of these

Exit status:
   0  success
   1  failure; also a dump that is incomplete
   2  the file given with -i belongs to another kernel release

Examples:
  /etc/kdump.conf:           core_collector tamis-capture -c -d 31
    to ssh or a raw device:  core_collector tamis-capture -F -c -d 31
  /etc/default/kdump-tools, tamis-capture installed under the name makedumpfile:
                             MAKEDUMP_ARGS=\"-c -d 31\"
";

/// What the command line asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
    /// Write a dump.
    Capture,
    /// Write the kernel log.
    Dmesg,
}

/// Whether the vmcore is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// Where it is in /proc: each page is copied for a reader there, and none for a window. Of an
    /// ordinary file the page table of a window costs more than the copy.
    Auto,
    /// `--mmap`: wherever it can be.
    Always,
    /// `--non-mmap`.
    Never,
}

/// How page data is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Pages are stored as they are.
    None,
    /// `-c`.
    Zlib,
    /// `-c0`: zlib with fixed codes, faster and larger.
    ZlibFixed,
    /// `-l`.
    Lzo,
    /// `-p`.
    Snappy,
    /// `-z`.
    Zstd,
    /// `-z2`: zstd with a closer look, slower and smaller.
    ZstdTwice,
    /// `--lz4`.
    Lz4,
}

/// Options that are accepted for the sake of existing scripts and change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notices {
    /// `-b ORDER` was given.
    pub write_cache: bool,
    /// `--work-dir DIR` was given.
    pub work_dir: bool,
    /// `--num-threads N` was given, with N above 1 and without compression.
    pub num_threads: bool,
}

impl Notices {
    /// One line for the user per option that changes nothing.
    pub fn lines(self) -> impl Iterator<Item = &'static str> {
        [
            (self.write_cache, "-b has no effect: the write buffer is part of the memory limit"),
            (self.work_dir, "--work-dir has no effect: there are no temporary files"),
            (self.num_threads, "--num-threads has no effect: only compression is done by threads"),
        ]
        .into_iter()
        .filter_map(|(given, line)| given.then_some(line))
    }
}

/// A command line that makes sense. Names are borrowed from `argv`.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    /// What to do. In the modes `Help` and `Version` nothing else has been checked.
    pub mode: Mode,
    /// `--check-params`: stop here, with status 0.
    pub check_params: bool,
    /// `-c` or `--lz4`, whichever came last.
    pub compress: Compression,
    /// `-E`.
    pub elf: bool,
    /// `-F`: the output is a stream on standard output.
    pub flattened: bool,
    /// `-f`: existing outputs may be overwritten.
    pub force: bool,
    /// `-L`, in bytes; never 0.
    pub size_limit: Option<u64>,
    /// `-i`: the file that holds VMCOREINFO.
    pub vmcoreinfo: Option<&'a [u8]>,
    /// `--cyclic-buffer`, in KiB; `None` when automatic. Times 1024 it still fits 64 bits.
    pub cyclic_buffer_kib: Option<u64>,
    /// `--non-cyclic`.
    pub non_cyclic: bool,
    /// `--memory-limit`, in bytes; never 0.
    pub memory_limit: Option<u64>,
    /// The limit where none is given, in bytes.
    pub usual_limit: u64,
    /// `--split`.
    pub split: bool,
    /// `--splitblock-size`, in KiB; never 0. Times 1024 it still fits 64 bits.
    pub splitblock_kib: Option<u64>,
    /// The message bits, after `-D`, `--show-stats` and `--check-params` had their say.
    pub message_level: u8,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--partial-dmesg`.
    pub partial_dmesg: bool,
    /// `--mmap` or `--non-mmap`.
    pub mapping: Mapping,
    /// `--num-threads`; at least 1.
    pub num_threads: u64,
    /// What was accepted without effect.
    pub notices: Notices,
    /// The first operand. Always there in the modes `Capture` and `Dmesg`.
    pub vmcore: Option<&'a [u8]>,
    levels: [u8; MAX_LEVELS],
    level_count: usize,
    outputs: [&'a [u8]; MAX_OUTPUTS],
    output_count: usize,
}

impl<'a> Args<'a> {
    /// The dump levels in the order in which to try them; at least one.
    pub fn levels(&self) -> &[u8] {
        self.levels.get(..self.level_count).unwrap_or_default()
    }

    /// The operands after the vmcore: none for a stream, one for a dump file or a log, two or more
    /// with `--split`.
    pub fn outputs(&self) -> &[&'a [u8]] {
        self.outputs.get(..self.output_count).unwrap_or_default()
    }
}

/// Why a command line was refused. `Display` gives one line for the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgError<'a> {
    /// No short option has this letter.
    UnknownShort {
        /// The letter.
        letter: u8,
        /// The word it stands in.
        word: &'a [u8],
    },
    /// No long option has, or begins with, this name.
    UnknownLong(&'a [u8]),
    /// Several long options begin with this name.
    Ambiguous {
        /// The name as given.
        given: &'a [u8],
        /// One option that it may mean.
        one: &'static str,
        /// Another one.
        other: &'static str,
    },
    /// The last word is an option that wants a value.
    MissingValue(&'static str),
    /// `--option=value`, but the option takes none.
    UnexpectedValue {
        /// The option.
        option: &'static str,
        /// What came after the equals sign.
        value: &'a [u8],
    },
    /// A value that the option cannot have.
    BadValue {
        /// The option.
        option: &'static str,
        /// The value, or the item in the list of values.
        value: &'a [u8],
        /// What it has to be.
        wants: &'static str,
    },
    /// An option of makedumpfile that this program does not have.
    Refused {
        /// The option.
        option: &'static str,
        /// Why not, and what to do instead.
        instead: &'static str,
    },
    /// Options that exclude each other.
    Conflict(&'static str),
    /// Too few or too many operands.
    Operands {
        /// The operands that belong here.
        wants: &'static str,
        /// How many there are.
        given: usize,
    },
    /// More than [`MAX_OUTPUTS`] output files.
    TooManyOutputs,
    /// Two operands are the same file name.
    SameFile(&'a [u8]),
}

impl fmt::Display for ArgError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ArgError::UnknownShort { letter, word } => {
                write!(f, "unknown option -{} in {}", letter.escape_ascii(), Quoted(word))
            }
            ArgError::UnknownLong(name) => write!(f, "unknown option {}", Quoted(name)),
            ArgError::Ambiguous { given, one, other } => {
                write!(f, "option {} may mean {one} or {other}: write more of it", Quoted(given))
            }
            ArgError::MissingValue(option) => write!(f, "{option} needs a value"),
            ArgError::UnexpectedValue { option, value } => {
                write!(f, "{option} takes no value, but got {}", Quoted(value))
            }
            ArgError::BadValue { option, value, wants } => {
                write!(f, "{option} {} is not valid: it takes {wants}", Quoted(value))
            }
            ArgError::Refused { option, instead } => write!(f, "{option}: {instead}"),
            ArgError::Conflict(why) => f.write_str(why),
            ArgError::Operands { wants, given } => {
                write!(f, "wrong number of file names: wants {wants}, got {given}")
            }
            ArgError::TooManyOutputs => write!(f, "more than {MAX_OUTPUTS} output files"),
            ArgError::SameFile(name) => write!(f, "{} is named twice", Quoted(name)),
        }?;
        f.write_str("; see tamis-capture --help")
    }
}

/// Bytes from the command line, on one line whatever they are, and not too long.
struct Quoted<'a>(&'a [u8]);

/// How many bytes of a word a message shows.
const SHOWN: usize = 64;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(SHOWN) {
            Some((head, tail)) if !tail.is_empty() => write!(f, "'{}...'", head.escape_ascii()),
            _ => write!(f, "'{}'", self.0.escape_ascii()),
        }
    }
}

/// Reads a command line, without the name of the program.
///
/// # Errors
/// The first thing wrong, in the order of the words; then conflicts between options; then
/// operands. With `--help` or `--version`, only the words themselves are checked.
pub fn parse<'a, I: Iterator<Item = &'a [u8]>>(mut argv: I) -> Result<Args<'a>, ArgError<'a>> {
    let mut parser = Parser::new();
    let mut only_operands = false;
    while let Some(word) = argv.next() {
        match word {
            b"--" if !only_operands => only_operands = true,
            [b'-', b'-', long @ ..] if !only_operands => {
                let (name, value) = match long.iter().position(|&byte| byte == b'=') {
                    Some(at) => (long.get(..at).unwrap_or_default(), long.get(at + 1..)),
                    None => (long, None),
                };
                let row = find_long(word, name)?;
                match (row.takes, value) {
                    (Takes::Nothing(opt), None) => parser.flag(opt),
                    (Takes::Nothing(_), Some(value)) => {
                        return Err(ArgError::UnexpectedValue { option: row.name, value });
                    }
                    (Takes::Value(opt), value) => {
                        let value = value
                            .or_else(|| argv.next())
                            .ok_or(ArgError::MissingValue(row.name))?;
                        parser.value(opt, row.name, value)?;
                    }
                    (Takes::Refused(instead), _) => {
                        return Err(ArgError::Refused { option: row.name, instead });
                    }
                }
            }
            // A lone `-` is an operand.
            [b'-', letters @ ..] if !only_operands && !letters.is_empty() => {
                let mut rest = letters;
                while let [letter, tail @ ..] = rest {
                    rest = tail;
                    let row = find_short(*letter)
                        .ok_or(ArgError::UnknownShort { letter: *letter, word })?;
                    match row.takes {
                        Takes::Nothing(opt) => {
                            parser.flag(opt);
                            // A level is part of the word: `-c VMCORE` must not swallow a name.
                            let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
                            if let Opt::Zlib | Opt::Zstd = opt
                                && let Some((level @ [_, ..], after)) =
                                    tail.split_at_checked(digits)
                            {
                                parser.level(opt, row.name, level)?;
                                rest = after;
                            }
                        }
                        Takes::Value(opt) => {
                            let attached = (!tail.is_empty()).then_some(tail);
                            let value = attached
                                .or_else(|| argv.next())
                                .ok_or(ArgError::MissingValue(row.name))?;
                            parser.value(opt, row.name, value)?;
                            rest = &[];
                        }
                        Takes::Refused(instead) => {
                            return Err(ArgError::Refused { option: row.name, instead });
                        }
                    }
                }
            }
            operand => parser.operand(operand)?,
        }
    }
    parser.finish()
}

/// Every option that means something; also its bit in [`Parser::seen`].
#[derive(Clone, Copy)]
enum Opt {
    Help,
    Version,
    Zlib,
    Lzo,
    Snappy,
    Zstd,
    Lz4,
    Levels,
    Elf,
    Flattened,
    Force,
    WriteCache,
    Debug,
    Vmcoreinfo,
    SizeLimit,
    MemoryLimit,
    Split,
    SplitBlock,
    NumThreads,
    CyclicBuffer,
    NonCyclic,
    WorkDir,
    NonMmap,
    Mmap,
    MessageLevel,
    ShowStats,
    DumpDmesg,
    PartialDmesg,
    CheckParams,
    DryRun,
}

impl Opt {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

#[derive(Clone, Copy)]
enum Takes {
    Nothing(Opt),
    Value(Opt),
    /// Not an option of ours: why, and what to do instead.
    Refused(&'static str),
}

/// One way to write one option.
struct Row {
    /// With its dashes.
    name: &'static str,
    takes: Takes,
}

const fn flag(name: &'static str, opt: Opt) -> Row {
    Row { name, takes: Takes::Nothing(opt) }
}

const fn value(name: &'static str, opt: Opt) -> Row {
    Row { name, takes: Takes::Value(opt) }
}

const fn refused(name: &'static str, instead: &'static str) -> Row {
    Row { name, takes: Takes::Refused(instead) }
}

const NO_XEN: &str = "dumps of a Xen host are not supported: leave it out";
const NO_DEBUG_INFO: &str =
    "debug information is not read: leave it out, or give VMCOREINFO with -i";
const NO_ERASE: &str =
    "data cannot be erased or filtered this way: leave it out only if the dump may hold that data";
const NO_SADUMP: &str = "sadump disk sets are not supported: name one VMCORE";
const NO_VMEMMAP: &str = "unused vmemmap pages are always kept: leave it out";
const NO_MEM_USAGE: &str = "not supported: on a VMCORE, --dry-run --show-stats counts the pages";
const IN_TAMIS: &str = "not done in a crash kernel: use the workstation tool tamis";

static ROWS: &[Row] = &[
    flag("-h", Opt::Help),
    flag("--help", Opt::Help),
    flag("-v", Opt::Version),
    flag("--version", Opt::Version),
    flag("-c", Opt::Zlib),
    flag("-l", Opt::Lzo),
    flag("-p", Opt::Snappy),
    flag("-z", Opt::Zstd),
    flag("--lz4", Opt::Lz4),
    value("-d", Opt::Levels),
    flag("-E", Opt::Elf),
    flag("-F", Opt::Flattened),
    flag("-f", Opt::Force),
    value("-b", Opt::WriteCache),
    flag("-D", Opt::Debug),
    refused("-e", NO_VMEMMAP),
    refused("-g", IN_TAMIS),
    value("-i", Opt::Vmcoreinfo),
    refused("-x", NO_DEBUG_INFO),
    value("-L", Opt::SizeLimit),
    refused("-R", IN_TAMIS),
    refused("-X", NO_XEN),
    flag("--split", Opt::Split),
    refused("--reassemble", IN_TAMIS),
    value("--num-threads", Opt::NumThreads),
    value("--cyclic-buffer", Opt::CyclicBuffer),
    flag("--non-cyclic", Opt::NonCyclic),
    value("--memory-limit", Opt::MemoryLimit),
    value("--splitblock-size", Opt::SplitBlock),
    value("--work-dir", Opt::WorkDir),
    flag("--non-mmap", Opt::NonMmap),
    flag("--mmap", Opt::Mmap),
    refused("--config", NO_ERASE),
    refused("--eppic", NO_ERASE),
    refused("--extension", NO_ERASE),
    refused("--diskset", NO_SADUMP),
    refused("--xen-syms", NO_XEN),
    refused("--xen-vmcoreinfo", NO_XEN),
    refused("--xen_phys_start", NO_XEN),
    value("--message-level", Opt::MessageLevel),
    refused("--vtop", IN_TAMIS),
    flag("--dump-dmesg", Opt::DumpDmesg),
    flag("--partial-dmesg", Opt::PartialDmesg),
    refused("--mem-usage", NO_MEM_USAGE),
    flag("--check-params", Opt::CheckParams),
    flag("--dry-run", Opt::DryRun),
    flag("--show-stats", Opt::ShowStats),
];

/// Options that exclude each other.
static CONFLICTS: &[(Opt, Opt, &str)] = &[
    (Opt::Zlib, Opt::Elf, "-c cannot be used with -E: an ELF file is never compressed"),
    (Opt::Lzo, Opt::Elf, "-l cannot be used with -E: an ELF file is never compressed"),
    (Opt::Snappy, Opt::Elf, "-p cannot be used with -E: an ELF file is never compressed"),
    (Opt::Zstd, Opt::Elf, "-z cannot be used with -E: an ELF file is never compressed"),
    (Opt::Lz4, Opt::Elf, "--lz4 cannot be used with -E: an ELF file is never compressed"),
    (Opt::Flattened, Opt::Split, "-F cannot be used with --split: a stream is one output"),
    (Opt::DryRun, Opt::DumpDmesg, "--dry-run cannot be used with --dump-dmesg"),
    (Opt::Split, Opt::Elf, "--split cannot be used with -E: only kdump files can be split"),
    (Opt::Mmap, Opt::NonMmap, "--mmap cannot be used with --non-mmap"),
    (Opt::NonCyclic, Opt::CyclicBuffer, "--non-cyclic cannot be used with --cyclic-buffer"),
    (Opt::DumpDmesg, Opt::Flattened, "--dump-dmesg cannot be used with -F: a log is plain text"),
    (Opt::DumpDmesg, Opt::Split, "--dump-dmesg cannot be used with --split: a log is one file"),
];

fn find_short(letter: u8) -> Option<&'static Row> {
    ROWS.iter().find(|row| *row.name.as_bytes() == [b'-', letter])
}

/// `name` is what stands between the dashes and an equals sign of `word`.
fn find_long<'a>(word: &'a [u8], name: &[u8]) -> Result<&'static Row, ArgError<'a>> {
    let mut found: Option<&Row> = None;
    let mut rival = None;
    for row in ROWS {
        let Some(long) = row.name.strip_prefix("--") else { continue };
        if long.as_bytes() == name {
            return Ok(row);
        }
        if long.as_bytes().starts_with(name) {
            match found {
                None => found = Some(row),
                Some(_) => rival = Some(row),
            }
        }
    }
    match (found, rival) {
        (None, _) => Err(ArgError::UnknownLong(word)),
        (Some(row), None) => Ok(row),
        (Some(one), Some(other)) => {
            Err(ArgError::Ambiguous { given: word, one: one.name, other: other.name })
        }
    }
}

/// The command line as far as it is read.
struct Parser<'a> {
    args: Args<'a>,
    /// One bit per [`Opt`] given.
    seen: u32,
}

impl<'a> Parser<'a> {
    fn new() -> Self {
        let args = Args {
            mode: Mode::Capture,
            check_params: false,
            compress: Compression::None,
            elf: false,
            flattened: false,
            force: false,
            size_limit: None,
            vmcoreinfo: None,
            cyclic_buffer_kib: None,
            non_cyclic: false,
            memory_limit: None,
            usual_limit: tamis_core::capture::plan::DEFAULT_LIMIT,
            split: false,
            splitblock_kib: None,
            message_level: DEFAULT_MESSAGE_LEVEL,
            dry_run: false,
            partial_dmesg: false,
            mapping: Mapping::Auto,
            num_threads: 1,
            notices: Notices { write_cache: false, work_dir: false, num_threads: false },
            vmcore: None,
            levels: [0; MAX_LEVELS],
            level_count: 1,
            outputs: [&[]; MAX_OUTPUTS],
            output_count: 0,
        };
        Parser { args, seen: 0 }
    }

    fn has(&self, opt: Opt) -> bool {
        self.seen & opt.bit() != 0
    }

    fn flag(&mut self, opt: Opt) {
        self.seen |= opt.bit();
        match opt {
            Opt::Zlib => self.args.compress = Compression::Zlib,
            Opt::Lzo => self.args.compress = Compression::Lzo,
            Opt::Snappy => self.args.compress = Compression::Snappy,
            Opt::Zstd => self.args.compress = Compression::Zstd,
            Opt::Lz4 => self.args.compress = Compression::Lz4,
            _ => {}
        }
    }

    /// The level behind `-c` or `-z`. Only levels that make a difference are there: one that is
    /// asked for and does nothing would be a promise not kept.
    fn level(&mut self, opt: Opt, name: &'static str, level: &'a [u8]) -> Result<(), ArgError<'a>> {
        self.args.compress = match (opt, level) {
            (Opt::Zlib, b"0") => Compression::ZlibFixed,
            (Opt::Zlib, b"1") => Compression::Zlib,
            (Opt::Zstd, b"1") => Compression::Zstd,
            (Opt::Zstd, b"2") => Compression::ZstdTwice,
            _ => {
                let wants = match opt {
                    Opt::Zlib => "no level, 1 (the same), or 0 (faster, larger)",
                    _ => "no level, 1 (the same), or 2 (slower, smaller)",
                };
                return Err(ArgError::BadValue { option: name, value: level, wants });
            }
        };
        Ok(())
    }

    /// `name` is how messages call the option.
    fn value(&mut self, opt: Opt, name: &'static str, value: &'a [u8]) -> Result<(), ArgError<'a>> {
        let bad = |wants| ArgError::BadValue { option: name, value, wants };
        self.seen |= opt.bit();
        let args = &mut self.args;
        match opt {
            Opt::Levels => args.level_count = read_levels(name, value, &mut args.levels)?,
            Opt::SizeLimit | Opt::MemoryLimit => {
                let bytes = size(value).ok_or(bad(
                    "a number above 0 (decimal, 0x or 0), then one of K M G T P E or nothing",
                ))?;
                if matches!(opt, Opt::SizeLimit) {
                    args.size_limit = Some(bytes);
                } else {
                    args.memory_limit = Some(bytes);
                }
            }
            Opt::CyclicBuffer => {
                let kib = kib(value).ok_or(bad("a decimal number of KiB, 0 for automatic"))?;
                args.cyclic_buffer_kib = (kib > 0).then_some(kib);
            }
            Opt::SplitBlock => {
                let kib = kib(value).filter(|&kib| kib > 0);
                args.splitblock_kib = Some(kib.ok_or(bad("a decimal number of KiB above 0"))?);
            }
            Opt::MessageLevel => {
                args.message_level = up_to_31(value).ok_or(bad(FROM_0_TO_31))?;
            }
            Opt::NumThreads => {
                let count = threads(value).ok_or(bad("a decimal number"))?;
                args.num_threads = count.max(1);
            }
            Opt::WriteCache => {
                decimal(value).ok_or(bad("a decimal number"))?;
            }
            Opt::Vmcoreinfo => {
                args.vmcoreinfo = Some(value).filter(|name| !name.is_empty());
                args.vmcoreinfo.ok_or(bad("the name of a file"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn operand(&mut self, word: &'a [u8]) -> Result<(), ArgError<'a>> {
        let args = &mut self.args;
        if args.vmcore.is_none() {
            args.vmcore = Some(word);
        } else {
            let slot = args.outputs.get_mut(args.output_count).ok_or(ArgError::TooManyOutputs)?;
            *slot = word;
            args.output_count += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Args<'a>, ArgError<'a>> {
        self.args.mode = if self.has(Opt::Help) {
            Mode::Help
        } else if self.has(Opt::Version) {
            Mode::Version
        } else if self.has(Opt::DumpDmesg) {
            Mode::Dmesg
        } else {
            Mode::Capture
        };
        self.args.check_params = self.has(Opt::CheckParams);
        self.args.elf = self.has(Opt::Elf);
        self.args.flattened = self.has(Opt::Flattened);
        self.args.force = self.has(Opt::Force);
        self.args.non_cyclic = self.has(Opt::NonCyclic);
        self.args.split = self.has(Opt::Split);
        self.args.dry_run = self.has(Opt::DryRun);
        self.args.partial_dmesg = self.has(Opt::PartialDmesg);
        self.args.mapping = match (self.has(Opt::Mmap), self.has(Opt::NonMmap)) {
            (true, _) => Mapping::Always,
            (false, true) => Mapping::Never,
            (false, false) => Mapping::Auto,
        };
        self.args.notices = Notices {
            write_cache: self.has(Opt::WriteCache),
            work_dir: self.has(Opt::WorkDir),
            num_threads: self.args.num_threads > 1 && self.args.compress == Compression::None,
        };
        if self.has(Opt::Debug) {
            self.args.message_level |= MESSAGE_DEBUG;
        }
        if self.has(Opt::ShowStats) {
            self.args.message_level |= MESSAGE_REPORT;
        }
        if self.args.check_params {
            self.args.message_level = DEFAULT_MESSAGE_LEVEL;
        }
        if !matches!(self.args.mode, Mode::Help | Mode::Version) {
            self.check_conflicts()?;
            check_operands(&self.args)?;
        }
        Ok(self.args)
    }

    fn check_conflicts(&self) -> Result<(), ArgError<'a>> {
        for &(one, other, why) in CONFLICTS {
            if self.has(one) && self.has(other) {
                return Err(ArgError::Conflict(why));
            }
        }
        if self.has(Opt::PartialDmesg) && !self.has(Opt::DumpDmesg) {
            return Err(ArgError::Conflict("--partial-dmesg needs --dump-dmesg"));
        }
        Ok(())
    }
}

fn check_operands<'a>(args: &Args<'a>) -> Result<(), ArgError<'a>> {
    let (wants, min, max) = if matches!(args.mode, Mode::Dmesg) {
        ("VMCORE LOGFILE", 1, 1)
    } else if args.flattened {
        ("only VMCORE, with -F", 0, 0)
    } else if args.split {
        ("VMCORE and at least two DUMPFILEs, with --split", 2, MAX_OUTPUTS)
    } else if args.dry_run {
        ("VMCORE, and DUMPFILE if you like, with --dry-run", 0, 1)
    } else {
        ("VMCORE DUMPFILE", 1, 1)
    };
    let mut names = args.outputs();
    if args.vmcore.is_none() || !(min..=max).contains(&names.len()) {
        let given = usize::from(args.vmcore.is_some()) + names.len();
        return Err(ArgError::Operands { wants, given });
    }
    // An output that is also the vmcore would, with -f, be truncated before it is read.
    if let Some(vmcore) = args.vmcore
        && names.contains(&vmcore)
    {
        return Err(ArgError::SameFile(vmcore));
    }
    while let [name, others @ ..] = names {
        if others.contains(name) {
            return Err(ArgError::SameFile(name));
        }
        names = others;
    }
    Ok(())
}

const FROM_0_TO_31: &str = "a decimal number from 0 to 31";

/// Reads a comma separated list; returns how many levels there are.
fn read_levels<'a>(
    option: &'static str,
    list: &'a [u8],
    levels: &mut [u8; MAX_LEVELS],
) -> Result<usize, ArgError<'a>> {
    let mut count = 0;
    for item in list.split(|&byte| byte == b',') {
        let bad = |value, wants| ArgError::BadValue { option, value, wants };
        if item.is_empty() {
            return Err(bad(list, "decimal numbers from 0 to 31 with a comma between two"));
        }
        let level = up_to_31(item).ok_or(bad(item, FROM_0_TO_31))?;
        *levels.get_mut(count).ok_or(bad(list, "at most 32 levels"))? = level;
        count += 1;
    }
    Ok(count)
}

/// Reads digits as far as they go; at least one. The rest of the text comes back with the number.
fn digits(text: &[u8], radix: u32) -> Option<(u64, &[u8])> {
    let mut number: u64 = 0;
    let mut rest = text;
    while let [byte, tail @ ..] = rest
        && let Some(digit) = char::from(*byte).to_digit(radix)
    {
        number = number.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))?;
        rest = tail;
    }
    (rest.len() < text.len()).then_some((number, rest))
}

fn decimal(text: &[u8]) -> Option<u64> {
    digits(text, 10).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

fn up_to_31(text: &[u8]) -> Option<u8> {
    decimal(text).and_then(|number| u8::try_from(number).ok()).filter(|&number| number <= 31)
}

/// A number of KiB that is also a number of bytes.
fn kib(text: &[u8]) -> Option<u64> {
    decimal(text).filter(|&kib| kib <= u64::MAX / 1024)
}

/// A number of threads; below zero means none.
fn threads(text: &[u8]) -> Option<u64> {
    let (negative, number) = match text {
        [b'-', number @ ..] => (true, number),
        _ => (false, text),
    };
    let count = decimal(number).filter(|&count| i64::try_from(count).is_ok())?;
    Some(if negative { 0 } else { count })
}

/// A size above zero: a number as C writes it, then perhaps a unit in steps of 1024.
fn size(text: &[u8]) -> Option<u64> {
    let (number, unit) = match text {
        [b'0', b'x' | b'X', hex @ ..] => digits(hex, 16),
        [b'0', ..] => digits(text, 8),
        _ => digits(text, 10),
    }?;
    let unit = match unit {
        [] => 1,
        [letter] => {
            let steps = b"KMGTPE".iter().position(|unit| *unit == letter.to_ascii_uppercase())?;
            1024_u64.checked_pow(u32::try_from(steps).ok()?.checked_add(1)?)?
        }
        _ => return None,
    };
    number.checked_mul(unit).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    extern crate std;

    use std::borrow::ToOwned;
    use std::string::{String, ToString};
    use std::vec::Vec;
    use std::{format, vec};

    use super::*;

    /// A command line of words without blanks.
    fn line(text: &str) -> Result<Args<'_>, ArgError<'_>> {
        parse(text.split_ascii_whitespace().map(str::as_bytes))
    }

    /// The same with a vmcore and a dump file behind it.
    #[track_caller]
    fn capture(options: &'static str) -> Args<'static> {
        let words = options.split_ascii_whitespace().chain(["core", "dump"]);
        let args = parse(words.map(str::as_bytes)).expect(options);
        assert_eq!(args.mode, Mode::Capture);
        assert_eq!(args.vmcore, Some(&b"core"[..]));
        assert_eq!(args.outputs(), [b"dump"]);
        args
    }

    #[track_caller]
    fn fails(text: &str) -> ArgError<'_> {
        line(text).expect_err(text)
    }

    /// The message, which has to be one bounded line of printable ASCII.
    #[track_caller]
    fn message(error: ArgError<'_>) -> String {
        let text = error.to_string();
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
        assert!(text.len() < 450, "{} bytes: {text}", text.len());
        assert!(text.ends_with("; see tamis-capture --help"), "{text}");
        text
    }

    #[track_caller]
    fn bad_value(text: &str, option: &str, value: &str) {
        match fails(text) {
            error @ ArgError::BadValue { option: got, value: shown, .. } => {
                assert_eq!((got, shown), (option, value.as_bytes()), "{text}");
                assert!(message(error).contains(&format!("{option} '{value}'")), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn nothing_but_names() {
        let args = capture("");
        assert!(!args.check_params && !args.elf && !args.flattened && !args.force);
        assert!(!args.non_cyclic && !args.split && !args.dry_run && !args.partial_dmesg);
        assert_eq!(args.mapping, Mapping::Auto);
        assert_eq!(args.compress, Compression::None);
        assert_eq!(args.levels(), [0]);
        assert_eq!(args.message_level, 7);
        assert_eq!((args.size_limit, args.memory_limit), (None, None));
        assert_eq!((args.cyclic_buffer_kib, args.splitblock_kib), (None, None));
        assert_eq!((args.vmcoreinfo, args.num_threads), (None, 1));
        assert_eq!(args.notices.lines().count(), 0);
    }

    #[test]
    fn flags() {
        assert!(capture("-E").elf);
        assert!(capture("-f").force);
        assert_eq!(capture("--non-mmap").mapping, Mapping::Never);
        assert_eq!(capture("--mmap").mapping, Mapping::Always);
        assert!(capture("--non-cyclic").non_cyclic);
        assert!(capture("--dry-run").dry_run);
        assert!(capture("--check-params").check_params);
        assert!(line("-F core").unwrap().flattened);
    }

    #[test]
    fn last_compression_wins() {
        assert_eq!(capture("-c").compress, Compression::Zlib);
        assert_eq!(capture("--lz4").compress, Compression::Lz4);
        assert_eq!(capture("-c0").compress, Compression::ZlibFixed);
        assert_eq!(capture("-c1d31").compress, Compression::Zlib);
        assert_eq!(capture("-fc0D").compress, Compression::ZlibFixed);
        assert_eq!(capture("-l").compress, Compression::Lzo);
        assert_eq!(capture("-c -p").compress, Compression::Snappy);
        assert_eq!(capture("-p -z").compress, Compression::Zstd);
        assert_eq!(capture("-z1").compress, Compression::Zstd);
        assert_eq!(capture("-Dz1d31").compress, Compression::Zstd);
        assert_eq!(capture("-z2d31").compress, Compression::ZstdTwice);
        assert!(message(fails("-c7 core dump")).starts_with("-c '7' is not valid"));
        assert!(message(fails("-c10 core dump")).starts_with("-c '10' is not valid"));
        assert!(message(fails("-z0 core dump")).starts_with("-z '0' is not valid"));
        assert!(message(fails("-z3 core dump")).starts_with("-z '3' is not valid"));
        assert!(message(fails("-z19f core dump")).starts_with("-z '19' is not valid"));
        // A word of its own is a name, never a level.
        assert_eq!(line("-c 1 dump").unwrap().vmcore, Some(&b"1"[..]));
        assert_eq!(capture("-c --lz4").compress, Compression::Lz4);
        assert_eq!(capture("--lz4 -d1 -c").compress, Compression::Zlib);
        assert_eq!(fails("-l3 core dump"), ArgError::UnknownShort { letter: b'3', word: b"-l3" });
    }

    #[test]
    fn help_and_version() {
        for text in ["-h", "--help", "--he", "-vh", "-E -c --help", "core -h", "--split -hE"] {
            assert_eq!(line(text).unwrap().mode, Mode::Help, "{text}");
        }
        for text in ["-v", "--version", "--vers", "--dump-dmesg -v", "-cE a b c -v"] {
            assert_eq!(line(text).unwrap().mode, Mode::Version, "{text}");
        }
        // The words themselves still have to be right.
        assert_eq!(fails("--help --bogus"), ArgError::UnknownLong(b"--bogus"));
    }

    #[test]
    fn levels() {
        for text in ["-d31", "-d 31", "-cd31", "-cd 31", "-fcd 031", "-d 1 -d 31"] {
            assert_eq!(capture(text).levels(), [31], "{text}");
        }
        assert_eq!(capture("-d 0,1,2,31").levels(), [0, 1, 2, 31]);
        assert_eq!(capture("-d 1,2,3 -d 4").levels(), [4]);
        bad_value("-d 32 core dump", "-d", "32");
        bad_value("-d 1,32,2 core dump", "-d", "32");
        bad_value("-d31c core dump", "-d", "31c");
        bad_value("-d 0x1f core dump", "-d", "0x1f");
        bad_value("-d -1 core dump", "-d", "-1");
        bad_value("-d +1 core dump", "-d", "+1");
        bad_value("-d 1, core dump", "-d", "1,");
        bad_value("-d ,1 core dump", "-d", ",1");
        bad_value("-d 1,,2 core dump", "-d", "1,,2");
        bad_value("-d , core dump", "-d", ",");
        bad_value("-d /proc/vmcore dump", "-d", "/proc/vmcore");
        bad_value("-d 18446744073709551616 c d", "-d", "18446744073709551616");
        bad_value("-d 256 c d", "-d", "256");
        let empty = parse([&b"-d"[..], b"", b"core", b"dump"].into_iter());
        assert!(matches!(empty, Err(ArgError::BadValue { option: "-d", value: b"", .. })));
    }

    #[test]
    fn at_most_32_levels() {
        let list = |count| vec!["7"; count].join(",");
        let most = format!("-d {} core dump", list(32));
        assert_eq!(line(&most).unwrap().levels(), [7; 32]);
        let list = list(33);
        let text = format!("-d {list} core dump");
        assert!(message(fails(&text)).contains("at most 32 levels"));
    }

    #[test]
    fn sizes() {
        let limit = |text: &str| {
            let owned = format!("-L {text} core dump");
            line(&owned).map(|args| args.size_limit.unwrap()).map_err(|error| error.to_string())
        };
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("0x10", 16),
            ("0X1fK", 31 << 10),
            ("010", 8),
            ("010k", 8 << 10),
            ("3K", 3 << 10),
            ("3m", 3 << 20),
            ("3G", 3 << 30),
            ("3t", 3 << 40),
            ("3P", 3 << 50),
            ("3e", 3 << 60),
            ("0x1E", 0x1e),
            ("0x1G", 1 << 30),
            ("15E", 15 << 60),
            ("18446744073709551615", u64::MAX),
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(limit(text), Ok(bytes), "{text}");
        }
        for text in [
            "0",
            "00",
            "0x0",
            "0K",
            "0x",
            "0xg",
            "08",
            "K",
            "1KB",
            "1KiB",
            "1Kk",
            "1B",
            "1.5G",
            "-1",
            "+1",
            "16E",
            "18446744073709551616",
            "0x10000000000000000",
            "18014398509481984K",
            "1Z",
            "core",
        ] {
            bad_value(&format!("-L {text} core dump"), "-L", text);
            bad_value(&format!("--memory-limit={text} c d"), "--memory-limit", text);
        }
        assert_eq!(capture("-L1M").size_limit, Some(1 << 20));
        assert_eq!(capture("--memory-limit 2M").memory_limit, Some(2 << 20));
        assert_eq!(capture("--memory-limit=2M -L 1").memory_limit, Some(2 << 20));
        assert_eq!(capture("-L 1 -L 2").size_limit, Some(2));
        let empty = parse([&b"-L"[..], b"", b"core", b"dump"].into_iter());
        assert!(matches!(empty, Err(ArgError::BadValue { option: "-L", value: b"", .. })));
    }

    #[test]
    fn kibibytes() {
        assert_eq!(capture("--cyclic-buffer 1024").cyclic_buffer_kib, Some(1024));
        assert_eq!(capture("--cyclic-buffer=0").cyclic_buffer_kib, None);
        assert_eq!(capture("--cyclic-buffer=9 --cyclic-buffer 0").cyclic_buffer_kib, None);
        assert_eq!(capture("--splitblock-size 8").splitblock_kib, Some(8));
        let most = (u64::MAX / 1024).to_string();
        let owned = format!("--cyclic-buffer {most} --splitblock-size {most} c d");
        assert_eq!(line(&owned).unwrap().cyclic_buffer_kib, Some(u64::MAX / 1024));
        assert_eq!(line(&owned).unwrap().splitblock_kib, Some(u64::MAX / 1024));
        bad_value("--splitblock-size 0 c d", "--splitblock-size", "0");
        for option in ["--cyclic-buffer", "--splitblock-size"] {
            for text in ["1K", "x", "-1", "1,", "0x10", "18014398509481984", "99999999999999999999"]
            {
                bad_value(&format!("{option} {text} c d"), option, text);
            }
            bad_value(&format!("{option}= c d"), option, "");
        }
    }

    #[test]
    fn message_levels() {
        assert_eq!(capture("--message-level 0").message_level, 0);
        assert_eq!(capture("--message-level=31").message_level, 31);
        // The additions count wherever they stand.
        assert_eq!(capture("-D").message_level, 15);
        assert_eq!(capture("-D --message-level 1").message_level, 9);
        assert_eq!(capture("--show-stats --message-level 1").message_level, 17);
        assert_eq!(capture("--message-level 1 -D --show-stats").message_level, 25);
        assert_eq!(capture("--check-params --message-level 31").message_level, 7);
        assert_eq!(capture("-D --show-stats --check-params").message_level, 7);
        for text in ["32", "-1", "x", "7x", "0x7", "300", "99999999999999999999"] {
            bad_value(&format!("--message-level {text} c d"), "--message-level", text);
        }
    }

    #[test]
    fn accepted_without_effect() {
        let args = capture("-b 4 --work-dir /tmp --num-threads 2");
        assert_eq!(args.notices, Notices { write_cache: true, work_dir: true, num_threads: true });
        let lines: Vec<_> = args.notices.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("-b "));
        assert!(lines[1].starts_with("--work-dir "));
        assert!(lines[2].starts_with("--num-threads "));
        assert_eq!(capture("-b4").notices.lines().count(), 1);
        bad_value("-b c core dump", "-b", "c");
        // An order is a number: a forgotten one must not swallow the vmcore.
        bad_value("-b core dump", "-b", "core");
    }

    #[test]
    fn thread_numbers() {
        assert_eq!(capture("--num-threads 3").num_threads, 3);
        for text in ["--num-threads 0", "--num-threads -7", "--num-threads=-0"] {
            assert_eq!(capture(text).num_threads, 1, "{text}");
            assert!(!capture(text).notices.num_threads, "{text}");
        }
        let args = capture("--num-threads 4 -E");
        assert!(args.elf && args.notices.num_threads);
        for text in ["x", "2x", "-", "--", "--2", "1.0", "9223372036854775808"] {
            bad_value(&format!("--num-threads {text} c d"), "--num-threads", text);
        }
    }

    #[test]
    fn vmcoreinfo_file() {
        assert_eq!(capture("-i info").vmcoreinfo, Some(&b"info"[..]));
        assert_eq!(capture("-ciinfo").vmcoreinfo, Some(&b"info"[..]));
        assert_eq!(capture("-i a -i b").vmcoreinfo, Some(&b"b"[..]));
        // As with getopt, the next word is the value, whatever it looks like.
        assert_eq!(capture("-i --").vmcoreinfo, Some(&b"--"[..]));
        assert_eq!(capture("-i -f").vmcoreinfo, Some(&b"-f"[..]));
        let empty = parse([&b"-i"[..], b"", b"core", b"dump"].into_iter());
        assert!(matches!(empty, Err(ArgError::BadValue { option: "-i", .. })));
    }

    #[test]
    fn any_order() {
        for text in [
            "-c -d 31 core dump",
            "core -c -d 31 dump",
            "core dump -c -d 31",
            "core -cd31 dump",
            "core dump -cd 31",
            "-d31 core dump -c",
            "-cd31 -- core dump",
            "core -cd31 -- dump",
            "core dump -cd31 --",
        ] {
            let args = line(text).expect(text);
            assert_eq!(args.vmcore, Some(&b"core"[..]), "{text}");
            assert_eq!(args.outputs(), [b"dump"], "{text}");
            assert_eq!(args.compress, Compression::Zlib, "{text}");
            assert_eq!(args.levels(), [31], "{text}");
        }
    }

    #[test]
    fn dashes_as_operands() {
        let args = line("-c -- -x --").unwrap();
        assert_eq!((args.vmcore, args.outputs()), (Some(&b"-x"[..]), &[&b"--"[..]][..]));
        let args = line("- dump").unwrap();
        assert_eq!(args.vmcore, Some(&b"-"[..]));
        let args = line("-- --split -d").unwrap();
        assert_eq!((args.split, args.outputs()), (false, &[&b"-d"[..]][..]));
    }

    #[test]
    fn names_need_not_be_text() {
        let args = parse([&b"\xff\xfe"[..], b"-f", b"a\n\x00"].into_iter()).unwrap();
        assert_eq!(args.vmcore, Some(&b"\xff\xfe"[..]));
        assert_eq!(args.outputs(), [b"a\n\x00"]);
    }

    #[test]
    fn abbreviations() {
        for (short, full) in [
            ("--dry", "--dry-run"),
            ("--sh", "--show-stats"),
            ("--ch", "--check-params"),
            ("--non-m", "--non-mmap"),
            ("--non-c", "--non-cyclic"),
            ("--lz", "--lz4"),
            ("--nu 2", "--num-threads 2"),
            ("--cy=64", "--cyclic-buffer=64"),
            ("--memo 8M", "--memory-limit 8M"),
            ("--mes=3", "--message-level=3"),
            ("--splitb 4", "--splitblock-size 4"),
            ("--w d", "--work-dir d"),
        ] {
            let (short, full) = (capture(short), capture(full));
            assert_eq!(format!("{short:?}"), format!("{full:?}"));
        }
        // A whole name is not ambiguous with a longer one.
        assert!(line("--split core a b").unwrap().split);
        for text in [
            "--s", "--d", "--n", "--non", "--m", "--mem", "--c", "--e", "--v", "--x", "--=", "--=1",
        ] {
            let error = fails(text);
            assert!(matches!(error, ArgError::Ambiguous { .. }), "{text}: {error:?}");
            assert!(message(error).contains(text), "{text}");
        }
        assert_eq!(line("--du core log").unwrap().mode, Mode::Dmesg);
        assert!(line("--du --pa core log").unwrap().partial_dmesg);
    }

    #[test]
    fn every_prefix_means_one_thing() {
        let longs: Vec<&str> = ROWS.iter().filter_map(|row| row.name.strip_prefix("--")).collect();
        for long in &longs {
            for end in 0..=long.len() {
                let prefix = &long.as_bytes()[..end];
                let matching =
                    longs.iter().filter(|other| other.as_bytes().starts_with(prefix)).count();
                match find_long(b"--word", prefix) {
                    Ok(row) => {
                        let found = row.name.as_bytes().strip_prefix(b"--").unwrap();
                        assert!(found == prefix || matching == 1, "{long} {end}");
                        assert!(found.starts_with(prefix), "{long} {end}");
                    }
                    Err(ArgError::Ambiguous { one, other, .. }) => {
                        assert!(matching > 1 && one != other, "{long} {end}");
                    }
                    Err(other) => panic!("{long} {end}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn unknown_options() {
        assert_eq!(fails("-q c d"), ArgError::UnknownShort { letter: b'q', word: b"-q" });
        assert_eq!(fails("-cq c d"), ArgError::UnknownShort { letter: b'q', word: b"-cq" });
        assert_eq!(fails("--bogus=1"), ArgError::UnknownLong(b"--bogus=1"));
        assert_eq!(fails("--splits"), ArgError::UnknownLong(b"--splits"));
        assert_eq!(fails("--Split"), ArgError::UnknownLong(b"--Split"));
        assert_eq!(fails("---"), ArgError::UnknownLong(b"---"));
        assert_eq!(fails("-c-"), ArgError::UnknownShort { letter: b'-', word: b"-c-" });
        assert_eq!(
            message(fails("-cq c d")),
            "unknown option -q in '-cq'; see tamis-capture --help"
        );
    }

    #[test]
    fn values_missing_or_too_many() {
        for row in ROWS {
            match row.takes {
                Takes::Value(_) => assert_eq!(fails(row.name), ArgError::MissingValue(row.name)),
                Takes::Nothing(_) if row.name.starts_with("--") => {
                    for value in ["", "x"] {
                        let text = format!("{}={value} c d", row.name);
                        let error = fails(&text);
                        let value = value.as_bytes();
                        assert_eq!(error, ArgError::UnexpectedValue { option: row.name, value });
                        message(error);
                    }
                }
                _ => {}
            }
        }
        assert_eq!(fails("c d -fd"), ArgError::MissingValue("-d"));
        assert_eq!(
            message(fails("--split=2 c d")),
            "--split takes no value, but got '2'; see tamis-capture --help"
        );
    }

    #[test]
    fn refusals() {
        let names = [
            "-x",
            "-X",
            "-e",
            "-g",
            "-R",
            "--reassemble",
            "--vtop",
            "--xen-syms",
            "--xen-vmcoreinfo",
            "--xen_phys_start",
            "--config",
            "--eppic",
            "--extension",
            "--diskset",
            "--mem-usage",
        ];
        for name in names {
            let mut texts = vec![name.to_owned(), format!("core dump {name} file")];
            if name.starts_with("--") {
                texts.push(format!("{name}=value core dump"));
            } else {
                texts.push(format!("-cf{} core dump", &name[1..]));
            }
            for text in texts {
                match fails(&text) {
                    error @ ArgError::Refused { option, .. } => {
                        assert_eq!(option, name, "{text}");
                        assert!(message(error).starts_with(&format!("{name}: ")), "{text}");
                    }
                    other => panic!("{text}: {other:?}"),
                }
            }
        }
        let refused =
            ROWS.iter().filter(|row| matches!(row.takes, Takes::Refused(_))).map(|row| row.name);
        let mut table: Vec<_> = refused.collect();
        let mut names = names.to_vec();
        table.sort_unstable();
        names.sort_unstable();
        assert_eq!(table, names);
        for name in ["-g", "-R", "--reassemble", "--vtop"] {
            assert!(message(fails(name)).contains("the workstation tool tamis"));
        }
    }

    #[test]
    fn conflicts() {
        let mut messages = Vec::new();
        for (text, one, other) in [
            ("-c -E core dump", "-c", "-E"),
            ("-E -l core dump", "-l", "-E"),
            ("-E -p core dump", "-p", "-E"),
            ("-E -z core dump", "-z", "-E"),
            ("-E --lz4 core dump", "--lz4", "-E"),
            ("-F --split core a b", "-F", "--split"),
            ("--partial-dmesg core log", "--partial-dmesg", "--dump-dmesg"),
            ("--dry-run --dump-dmesg core log", "--dry-run", "--dump-dmesg"),
            ("--split -E core a b", "--split", "-E"),
            ("--non-cyclic --cyclic-buffer 64 core dump", "--non-cyclic", "--cyclic-buffer"),
            ("--non-cyclic --cyclic-buffer 0 core dump", "--non-cyclic", "--cyclic-buffer"),
            ("--mmap --non-mmap core dump", "--mmap", "--non-mmap"),
            ("--dump-dmesg -F core", "--dump-dmesg", "-F"),
            ("--dump-dmesg --split core a b", "--dump-dmesg", "--split"),
        ] {
            let error = fails(text);
            assert!(matches!(error, ArgError::Conflict(_)), "{text}: {error:?}");
            let text = message(error);
            assert!(text.contains(one) && text.contains(other), "{text}");
            messages.push(text);
        }
        messages.sort_unstable();
        messages.dedup();
        assert_eq!(messages.len(), CONFLICTS.len() + 1);
        // A parameter check finds them too.
        assert!(matches!(fails("--check-params -cE core dump"), ArgError::Conflict(_)));
    }

    #[test]
    fn operands() {
        for (text, given) in [
            ("", 0),
            ("core", 1),
            ("core a b", 3),
            ("-F", 0),
            ("-F core dump", 2),
            ("--split core", 1),
            ("--split core a", 2),
            ("--split --dry-run core", 1),
            ("--dump-dmesg", 0),
            ("--dump-dmesg core", 1),
            ("--dump-dmesg core a b", 3),
            ("--dry-run", 0),
            ("--dry-run core a b", 3),
            ("--dry-run -F core a", 2),
            ("--check-params", 0),
            ("--check-params core", 1),
        ] {
            match fails(text) {
                error @ ArgError::Operands { given: got, .. } => {
                    assert_eq!(got, given, "{text}");
                    assert!(message(error).contains(&format!("got {given};")), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(line("-F core").unwrap().outputs().len(), 0);
        assert_eq!(line("-F --dry-run core").unwrap().outputs().len(), 0);
        assert_eq!(line("--dry-run core").unwrap().outputs().len(), 0);
        assert_eq!(line("--dry-run core dump").unwrap().outputs().len(), 1);
        assert_eq!(line("--split core a b").unwrap().outputs(), [b"a", b"b"]);
        let args = line("--dump-dmesg --partial-dmesg core log").unwrap();
        assert_eq!((args.mode, args.partial_dmesg), (Mode::Dmesg, true));
        assert_eq!((args.vmcore, args.outputs()), (Some(&b"core"[..]), &[&b"log"[..]][..]));
    }

    #[test]
    fn at_most_64_outputs() {
        let names = |count: usize| {
            let mut text = String::from("--split core");
            for number in 0..count {
                text.push_str(&format!(" dump{number}"));
            }
            text
        };
        let most = names(64);
        let args = line(&most).unwrap();
        assert_eq!(args.outputs().len(), 64);
        assert_eq!(args.outputs()[63], b"dump63");
        let text = names(65);
        assert_eq!(fails(&text), ArgError::TooManyOutputs);
        assert!(message(fails(&text)).contains("more than 64 output files"));
    }

    #[test]
    fn the_same_name_twice() {
        assert_eq!(fails("--split core a b a"), ArgError::SameFile(b"a"));
        assert_eq!(fails("--split core a b b"), ArgError::SameFile(b"b"));
        assert_eq!(fails("core core"), ArgError::SameFile(b"core"));
        assert_eq!(fails("--dump-dmesg -f core core"), ArgError::SameFile(b"core"));
        assert_eq!(fails("--split core a core"), ArgError::SameFile(b"core"));
        assert!(message(fails("--split core a a")).starts_with("'a' is named twice"));
    }

    #[test]
    fn what_callers_write() {
        for text in [
            "-c --message-level 7 -d 31 /proc/vmcore /var/crash/vmcore-incomplete",
            "-F -c --message-level 1 -d 31 /proc/vmcore",
            "-F -c -d 31 vmcore",
            "--check-params -c --message-level 7 -d 31 vmcore dumpfile",
            "-c -d 31 /proc/vmcore /var/crash/dump-incomplete",
            "--dump-dmesg /proc/vmcore /var/crash/dmesg",
        ] {
            line(text).expect(text);
        }
    }

    #[test]
    fn messages_quote_hostile_text() {
        let word = [b"--\n\x1b[2J\xff'".as_slice(), &[b'\n'; 10_000]].concat();
        let text = message(parse([word.as_slice()].into_iter()).unwrap_err());
        assert!(text.starts_with(r"unknown option '--\n\x1b[2J\xff\'\n"), "{text}");
        assert!(text.contains("...'"), "{text}");
        assert_eq!(Quoted(&[b'a'; SHOWN]).to_string(), format!("'{}'", "a".repeat(SHOWN)));
        assert_eq!(Quoted(&[b'a'; SHOWN + 1]).to_string(), format!("'{}...'", "a".repeat(SHOWN)));
        let text = message(parse([&b"-\n"[..]].into_iter()).unwrap_err());
        assert_eq!(text, r"unknown option -\n in '-\n'; see tamis-capture --help");
    }

    #[test]
    fn help_names_every_option() {
        for row in ROWS {
            let listed = HELP.lines().filter(|line| {
                line.starts_with("  -")
                    && line.split([' ', ',']).take(6).any(|word| word == row.name)
            });
            let expected = usize::from(!matches!(row.takes, Takes::Refused(_)));
            assert_eq!(listed.count(), expected, "{}", row.name);
        }
        assert!(HELP.lines().all(|line| line.len() <= 80 && line == line.trim_end()));
        assert!(HELP.is_ascii() && HELP.ends_with('\n'));
        // What the examples show has to be accepted.
        for (example, options, names) in [
            ("core_collector tamis-capture ", "-c -d 31", " core dump"),
            ("core_collector tamis-capture ", "-F -c -d 31", " core"),
            ("MAKEDUMP_ARGS=", "\"-c -d 31\"", " core dump"),
        ] {
            let shown = format!("{example}{options}");
            assert!(HELP.lines().any(|line| line.ends_with(&shown)), "{shown}");
            line(&(options.replace('"', "") + names)).expect(&shown);
        }
    }

    #[test]
    fn every_option_has_its_own_bit_and_name() {
        for (at, row) in ROWS.iter().enumerate() {
            assert!(ROWS.iter().skip(at + 1).all(|other| other.name != row.name), "{}", row.name);
            assert!(row.name.starts_with("--") || row.name.len() == 2, "{}", row.name);
        }
        assert!((Opt::DryRun as u32) < u32::BITS);
    }

    #[test]
    fn hostile_words_never_panic() {
        const PIECES: [&[u8]; 36] = [
            b"-",
            b"--",
            b"=",
            b"--=",
            b"",
            b"d",
            b"c",
            b"-d",
            b"-L",
            b"-i",
            b"-b",
            b"0",
            b"31",
            b"32",
            b",",
            b"x",
            b"K",
            b"E",
            b"--split",
            b"--num-threads",
            b"--cyclic-buffer",
            b"--memory-limit",
            b"--message-level",
            b"--dump-dmesg",
            b"--dry-run",
            b"--help",
            b"--s",
            b"\x00",
            b"\n",
            b"\xff",
            b"18446744073709551615",
            b"0x",
            b"F",
            b"core",
            b"dump",
            b"\xe2\x82\xac",
        ];
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below).unwrap()
        };
        let (mut good, mut bad) = (0, 0);
        for round in 0..60_000 {
            let most = if round % 100 == 0 { 100 } else { 7 };
            let words: Vec<Vec<u8>> = (0..random(most))
                .map(|_| {
                    let mut word = Vec::new();
                    for _ in 0..=random(3) {
                        if random(8) == 0 {
                            word.push(u8::try_from(random(256)).unwrap());
                        } else {
                            word.extend_from_slice(PIECES[random(36)]);
                        }
                    }
                    word
                })
                .collect();
            match parse(words.iter().map(Vec::as_slice)) {
                Ok(args) => {
                    good += 1;
                    assert!(!args.levels().is_empty());
                    assert!(args.levels().iter().all(|&level| level <= 31));
                    assert!(args.message_level <= 31);
                    if matches!(args.mode, Mode::Capture | Mode::Dmesg) {
                        assert!(args.vmcore.is_some());
                        assert_eq!(args.split, args.outputs().len() > 1);
                    }
                }
                Err(error) => {
                    bad += 1;
                    message(error);
                }
            }
        }
        assert!(good > 100 && bad > 10_000, "{good} {bad}");
    }
}
