use super::{remark, stdout};
use crate::fail::{DONE, Fail, NO, Result};
use crate::io::open::{Opened, open};
use std::io::{self, Write};
use std::path::PathBuf;
use tamis_core::dmesg::{DmesgError, DmesgReport, Options, dump};

/// Print the dead kernel's log, as dmesg would have.
///
/// Reads the log buffer out of the dump: the ring of Linux 5.10 and later, the records of 3.5 to
/// 5.9, and the plain ring before. Records that are damaged or were not finished when the kernel
/// died are left out and counted on standard error; then the exit status is 1. Bytes that do not
/// belong on a terminal are printed as \xNN.
///
/// Give all files of a split dump, in any order.
///
/// Examples:
///   $ tamis dmesg vmcore | tail -40
///   $ tamis dmesg --since-clear part1 part2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Only what was logged since the log was last cleared (dmesg -c)
    #[arg(long)]
    since_clear: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let mut out = stdout();
    let options = Options { since_clear: args.since_clear };
    let report = log(&mut opened, options, &mut |text| out.write_all(text))?;
    out.flush()?;
    if report.skipped > 0 {
        remark(format_args!(
            "{}: {} of {} records were damaged or unfinished and are left out",
            opened.name(),
            report.skipped,
            report.records + report.skipped
        ));
        return Ok(NO);
    }
    Ok(DONE)
}

/// Reads the log of a dump.
pub fn log(
    opened: &mut Opened,
    options: Options,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<DmesgReport> {
    let mut scratch = vec![0; 256 << 10];
    let result =
        opened.with_memory(|memory, info| dump(info, memory, options, &mut scratch, out))?;
    result.map_err(|e| match e {
        DmesgError::Write(e) => Fail::from(e),
        other => opened
            .fail(format_args!("the kernel log: {other}"))
            .next("`tamis verify` tells whether the dump is damaged"),
    })
}
