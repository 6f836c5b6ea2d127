//! The table of options: every way to write each of them, and which exclude each other.

use super::ArgError;

bitflags::bitflags! {
    /// Every option that means something: one of them in a [`Row`], a set of them in what was given.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) struct Opt: u64 {
        const HELP = 1 << 0;
        const VERSION = 1 << 1;
        const ZLIB = 1 << 2;
        const LZO = 1 << 3;
        const SNAPPY = 1 << 4;
        const ZSTD = 1 << 5;
        const LZ4 = 1 << 6;
        const LEVELS = 1 << 7;
        const ELF = 1 << 8;
        const FLATTENED = 1 << 9;
        const FORCE = 1 << 10;
        const WRITE_CACHE = 1 << 11;
        const DEBUG = 1 << 12;
        const VMCOREINFO = 1 << 13;
        const SIZE_LIMIT = 1 << 14;
        const MEMORY_LIMIT = 1 << 15;
        const SPLIT = 1 << 16;
        const SPLIT_BLOCK = 1 << 17;
        const NUM_THREADS = 1 << 18;
        const CYCLIC_BUFFER = 1 << 19;
        const NON_CYCLIC = 1 << 20;
        const WORK_DIR = 1 << 21;
        const NON_MMAP = 1 << 22;
        const MMAP = 1 << 23;
        const MESSAGE_LEVEL = 1 << 24;
        const SHOW_STATS = 1 << 25;
        const DUMP_DMESG = 1 << 26;
        const PARTIAL_DMESG = 1 << 27;
        const CHECK_PARAMS = 1 << 28;
        const DRY_RUN = 1 << 29;
        const NO_PAGE_CHECKSUMS = 1 << 30;
        const DEBUG_INFO = 1 << 31;
        const RULES = 1 << 32;
        const EXCLUDE_GUESTS = 1 << 33;
        const XEN_INFO = 1 << 34;
        const XEN_SYMBOLS = 1 << 35;
    }
}

#[derive(Clone, Copy)]
pub(super) enum Takes {
    Nothing(Opt),
    Value(Opt),
    /// Not an option of ours: why, and what to do instead.
    Refused(&'static str),
}

/// One way to write one option.
pub(super) struct Row {
    /// With its dashes.
    pub(super) name: &'static str,
    pub(super) takes: Takes,
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

const NO_XEN: &str = "Xen says it since 3.3: leave it out";
const NO_ERASE: &str =
    "data cannot be erased or filtered this way: leave it out only if the dump may hold that data";
const NO_SADUMP: &str = "sadump disk sets are not supported: name one VMCORE";
const NO_VMEMMAP: &str = "unused vmemmap pages are always kept: leave it out";
const NO_GENERATE: &str = "`tamis vmcoreinfo -x VMLINUX -o FILE` writes it, on a workstation";
const NO_MEM_USAGE: &str = "`tamis estimate` counts the pages of this machine, `tamis stats VMCORE` those of a vmcore or dump";
const NO_REARRANGE: &str = "`tamis rearrange STREAM DUMPFILE` does it";
const NO_REASSEMBLE: &str = "`tamis reassemble PART1 PART2 [...] DUMPFILE` does it";
const NO_VTOP: &str = "`tamis vtop ADDRESS VMCORE` does it";

pub(super) static ROWS: &[Row] = &[
    flag("-h", Opt::HELP),
    flag("--help", Opt::HELP),
    flag("-v", Opt::VERSION),
    flag("--version", Opt::VERSION),
    flag("-c", Opt::ZLIB),
    flag("-l", Opt::LZO),
    flag("-p", Opt::SNAPPY),
    flag("-z", Opt::ZSTD),
    flag("--lz4", Opt::LZ4),
    value("-d", Opt::LEVELS),
    flag("-E", Opt::ELF),
    flag("-F", Opt::FLATTENED),
    flag("-f", Opt::FORCE),
    value("-b", Opt::WRITE_CACHE),
    flag("-D", Opt::DEBUG),
    refused("-e", NO_VMEMMAP),
    refused("-g", NO_GENERATE),
    value("-i", Opt::VMCOREINFO),
    value("-x", Opt::DEBUG_INFO),
    value("-L", Opt::SIZE_LIMIT),
    value("--rules", Opt::RULES),
    refused("-R", NO_REARRANGE),
    flag("-X", Opt::EXCLUDE_GUESTS),
    flag("--split", Opt::SPLIT),
    refused("--reassemble", NO_REASSEMBLE),
    value("--num-threads", Opt::NUM_THREADS),
    value("--cyclic-buffer", Opt::CYCLIC_BUFFER),
    flag("--non-cyclic", Opt::NON_CYCLIC),
    value("--memory-limit", Opt::MEMORY_LIMIT),
    value("--splitblock-size", Opt::SPLIT_BLOCK),
    value("--work-dir", Opt::WORK_DIR),
    flag("--non-mmap", Opt::NON_MMAP),
    flag("--mmap", Opt::MMAP),
    refused("--config", NO_ERASE),
    refused("--eppic", NO_ERASE),
    refused("--extension", NO_ERASE),
    refused("--diskset", NO_SADUMP),
    value("--xen-syms", Opt::XEN_SYMBOLS),
    value("--xen-vmcoreinfo", Opt::XEN_INFO),
    refused("--xen_phys_start", NO_XEN),
    value("--message-level", Opt::MESSAGE_LEVEL),
    refused("--vtop", NO_VTOP),
    flag("--dump-dmesg", Opt::DUMP_DMESG),
    flag("--partial-dmesg", Opt::PARTIAL_DMESG),
    refused("--mem-usage", NO_MEM_USAGE),
    flag("--check-params", Opt::CHECK_PARAMS),
    flag("--dry-run", Opt::DRY_RUN),
    flag("--show-stats", Opt::SHOW_STATS),
    flag("--no-page-checksums", Opt::NO_PAGE_CHECKSUMS),
];

/// Options that exclude each other.
pub(super) static CONFLICTS: &[(Opt, Opt, &str)] = &[
    (Opt::ZLIB, Opt::ELF, "-c cannot be used with -E: an ELF file is never compressed"),
    (Opt::LZO, Opt::ELF, "-l cannot be used with -E: an ELF file is never compressed"),
    (Opt::SNAPPY, Opt::ELF, "-p cannot be used with -E: an ELF file is never compressed"),
    (Opt::ZSTD, Opt::ELF, "-z cannot be used with -E: an ELF file is never compressed"),
    (Opt::LZ4, Opt::ELF, "--lz4 cannot be used with -E: an ELF file is never compressed"),
    (Opt::FLATTENED, Opt::SPLIT, "-F cannot be used with --split: a stream is one output"),
    (Opt::DRY_RUN, Opt::DUMP_DMESG, "--dry-run cannot be used with --dump-dmesg"),
    (Opt::SPLIT, Opt::ELF, "--split cannot be used with -E: only kdump files can be split"),
    (Opt::MMAP, Opt::NON_MMAP, "--mmap cannot be used with --non-mmap"),
    (Opt::NON_CYCLIC, Opt::CYCLIC_BUFFER, "--non-cyclic cannot be used with --cyclic-buffer"),
    (Opt::DUMP_DMESG, Opt::SPLIT, "--dump-dmesg cannot be used with --split: a log is one file"),
];

pub(super) fn find_short(letter: u8) -> Option<&'static Row> {
    ROWS.iter().find(|row| *row.name.as_bytes() == [b'-', letter])
}

/// `name` is what stands between the dashes and an equals sign of `word`.
pub(super) fn find_long<'a>(word: &'a [u8], name: &[u8]) -> Result<&'static Row, ArgError<'a>> {
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
