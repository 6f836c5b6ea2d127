//! The command line: what makedumpfile's callers write, read the way `getopt_long` reads it.
//!
//! Options may follow operands, short options cluster (`-cd31`), a long option may be shortened as
//! far as it stays unambiguous, and `--` ends the options. Two things differ from makedumpfile on
//! purpose: garbage where a number belongs is an error instead of a silent 0, and an option that
//! this program does not have is refused by name instead of being ignored.
//!
//! [`parse`] only looks at words. Whether a file exists, or a size suits the page size of the
//! dump, is found out later.

mod help;
mod ordered;
mod parse;
mod table;
#[cfg(test)]
mod tests;

pub use help::HELP;
pub use ordered::{OrderedError, parse_ordered};
pub use parse::parse;

use core::fmt;
use tamis_core::error::part;

/// What a program says that cannot follow rules, and others do not have in them.
pub const NO_RULES: &str =
    "--rules has no effect: this tamis-capture is built without the feature rules";

/// How many dump levels one `-d` may list.
pub const MAX_LEVELS: usize = 32;

/// How many output files `--split` may name.
pub const MAX_OUTPUTS: usize = 1024;

bitflags::bitflags! {
    /// Which messages are printed: the number of `--message-level`, 0 to 31.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Messages: u8 {
        /// Progress.
        const PROGRESS = 1;
        /// Ordinary messages.
        const COMMON = 2;
        /// Errors and warnings.
        const ERROR = 4;
        /// What `-D` adds.
        const DEBUG = 8;
        /// What `--show-stats` adds.
        const REPORT = 16;
    }
}

impl Messages {
    /// What is printed without `--message-level`.
    pub const DEFAULT: Messages = Messages::PROGRESS.union(Messages::COMMON).union(Messages::ERROR);
}

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
    ZstdLazy,
    /// `--lz4`.
    Lz4,
}

/// Options that are accepted for the sake of existing scripts and change nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Notices {
    /// `-b ORDER` was given.
    pub write_cache: bool,
    /// `--work-dir DIR` was given.
    pub work_dir: bool,
    /// `-x FILE` was given.
    pub debug_info: bool,
    /// `--xen-syms FILE` was given.
    pub xen_symbols: bool,
    /// `--num-threads N` was given, with N above 1 and without compression.
    pub num_threads: bool,
}

impl Notices {
    /// One line for the user per option that changes nothing.
    pub fn lines(self) -> impl Iterator<Item = &'static str> {
        [
            (self.write_cache, "-b has no effect: the write buffer is part of the memory limit"),
            (self.work_dir, "--work-dir has no effect: there are no temporary files"),
            (
                self.debug_info,
                "-x has no effect: all that is needed of the kernel is in VMCOREINFO",
            ),
            (self.xen_symbols, "--xen-syms has no effect: Xen describes itself in the notes"),
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
    /// `-F`: the output goes to standard output: a dump as a stream, a log as it is.
    pub flattened: bool,
    /// `-f`: existing outputs may be overwritten.
    pub force: bool,
    /// `-L`, in bytes; never 0.
    pub size_limit: Option<u64>,
    /// `-i`: the file that holds VMCOREINFO.
    pub vmcoreinfo: Option<&'a [u8]>,
    /// `--rules`: the file with rules by which pages stay or go.
    pub rules: Option<&'a [u8]>,
    /// `-X`: of a Xen host, the memory of guests is left out.
    pub exclude_guests: bool,
    /// `--xen-vmcoreinfo`: the file that holds VMCOREINFO_XEN.
    pub xen_info: Option<&'a [u8]>,
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
    /// The messages, after `-D`, `--show-stats` and `--check-params` had their say.
    pub messages: Messages,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--partial-dmesg`.
    pub partial_dmesg: bool,
    /// `--mmap` or `--non-mmap`.
    pub mapping: Mapping,
    /// `--num-threads`; at least 1.
    pub num_threads: u64,
    /// Not `--no-page-checksums`.
    pub page_checksums: bool,
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
        part(&self.levels, 0..self.level_count)
    }

    /// The operands after the vmcore: none for a stream, one for a dump file or a log, two or more
    /// with `--split`.
    pub fn outputs(&self) -> &[&'a [u8]] {
        part(&self.outputs, 0..self.output_count)
    }
}

/// Why a command line was refused. `Display` prints one line for the user.
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
