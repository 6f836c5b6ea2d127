//! The log of the dead kernel.

use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::json::Document;
use serde::Serialize;
use std::io;
use tamis_core::kernel::log::{LogError, LogReport, Options, dump};
use tamis_core::memory::Ranges as _;

/// A log, line by line.
#[derive(Serialize)]
pub struct Lines {
    /// Records; of a plain ring, lines.
    pub records: u64,
    /// Records that are missing, damaged or were not finished.
    pub records_left_out: u64,
    /// Whether page tables that are missing had to be done without.
    pub by_arithmetic: bool,
    /// As they are printed.
    pub lines: Vec<String>,
}

impl Document for Lines {
    const SCHEMA: &'static str = "tamis.dmesg/1";
}

impl Lines {
    /// The lines of what was read.
    pub fn new(read: Read, text: &[u8]) -> Lines {
        Lines {
            records: read.report.records,
            records_left_out: read.report.skipped,
            by_arithmetic: read.by_arithmetic,
            lines: String::from_utf8_lossy(text).lines().map(str::to_owned).collect(),
        }
    }
}

/// A log that was read.
#[derive(Clone, Copy)]
pub struct Read {
    /// What was written.
    pub report: LogReport,
    /// Whether page tables that are missing had to be done without.
    pub by_arithmetic: bool,
}

/// Reads the log of a dump.
pub fn log(
    opened: &mut Opened,
    options: Options,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<Read> {
    let mut scratch = vec![0; 256 << 10];
    let ram = opened.dump.ranges().to_vec();
    let mut read = |opened: &mut Opened, first: bool| {
        opened.with_memory(|memory, info| {
            memory.allow_arithmetic(info, &ram, first);
            let result = dump(info, memory, options, &mut scratch, out);
            result.map(|report| Read { report, by_arithmetic: memory.is_by_arithmetic() })
        })
    };
    let mut found = read(opened, false)?;
    // What VMCOREINFO lacks, the kernel's own tables may have.
    if matches!(found, Err(LogError::Missing(_))) && opened.kernel_facts().is_ok() {
        found = read(opened, false)?;
    }
    let found = match found {
        Err(LogError::Write(e)) => return Err(e.into()),
        Ok(found) if found.report.records > 0 => Ok(found),
        // Nothing came out. Page tables may be there that are wrong.
        none => match read(opened, true)? {
            Err(LogError::Write(e)) => return Err(e.into()),
            Ok(found) if found.report.records > 0 => Ok(found),
            _ => none,
        },
    };
    found.map_err(|error| {
        let next = "`tamis verify` reports whether the dump is damaged";
        opened.fail(format_args!("the kernel log: {error}")).next(next)
    })
}
