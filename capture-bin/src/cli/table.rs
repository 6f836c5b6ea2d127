//! The table of options: every way to write each of them, and which exclude each other.

use super::ArgError;

/// Every option that means something; also its bit in `Parser::seen`.
#[derive(Clone, Copy)]
pub(super) enum Opt {
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
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
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

const NO_XEN: &str = "dumps of a Xen host are not supported: leave it out";
const NO_DEBUG_INFO: &str =
    "debug information is not read: leave it out, or give VMCOREINFO with -i";
const NO_ERASE: &str =
    "data cannot be erased or filtered this way: leave it out only if the dump may hold that data";
const NO_SADUMP: &str = "sadump disk sets are not supported: name one VMCORE";
const NO_VMEMMAP: &str = "unused vmemmap pages are always kept: leave it out";
const NO_MEM_USAGE: &str = "not supported: on a VMCORE, --dry-run --show-stats counts the pages";
const IN_TAMIS: &str = "not done in a crash kernel: use the workstation tool tamis";

pub(super) static ROWS: &[Row] = &[
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
pub(super) static CONFLICTS: &[(Opt, Opt, &str)] = &[
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
