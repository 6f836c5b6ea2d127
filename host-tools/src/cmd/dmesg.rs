//! `tamis dmesg`.

use crate::about::log::{Lines, dated, log};
use crate::dump::open::open;
use crate::dump::out::create;
use crate::fail::{DONE, NO, Result};
use crate::kernel::annotate::annotate;
use crate::render::console::{remark, stdout};
use crate::render::json::show;
use std::io::Write;
use std::path::PathBuf;
use tamis_core::kernel::log::Options;

/// Print the dead kernel's log, as dmesg would have.
///
/// Reads the log buffer out of the dump: the ring of Linux 5.10 and later, the records of 3.5 to
/// 5.9, and the plain ring before. Records that are missing, damaged or were not finished when the
/// kernel died are left out and counted on standard error. Bytes that do not belong on a terminal are
/// printed as \xNN, and a backslash as \x5c.
///
/// Where page tables are missing, as in a dump that was cut off, the log is looked for where the
/// kernel image and the direct map have it (x86_64 and arm64); a remark reports it.
///
/// With --symbols, addresses have the names of the kernel's and its modules' symbols behind them, out
/// of the kernel's own memory: CR2: ffffffff81a0c000 <init_task+0x40>.
///
/// With -T, dates stand in place of the time stamps, in UTC: counted back from the time of the crash,
/// which is when the last line was written, to a second. The kernel's clock stops in suspend.
///
/// Give all files of a split dump, in any order.
///
/// Exit status: 0 all of it; 1 records are missing, damaged or unfinished; 3 it could not be done.
///
/// Examples:
///   $ tamis dmesg vmcore | tail -40
///   $ tamis dmesg --since-clear part1 part2
///   $ tamis dmesg -o dmesg.txt vmcore
///   $ tamis dmesg -T vmcore | tail -20
///   $ tamis dmesg --symbols vmcore | grep RIP
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Only what was logged since the log was last cleared (dmesg -c)
    #[arg(long)]
    since_clear: bool,
    /// Put the names of symbols behind addresses
    #[arg(long)]
    symbols: bool,
    /// Dates in UTC instead of seconds since the kernel was started
    #[arg(short = 'T', long = "ctime", conflicts_with = "json")]
    dates: bool,
    /// Write to a file, for its owner only, instead of standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long, requires = "output")]
    force: bool,
    /// Print JSON (schema tamis.dmesg/1)
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let options = Options { since_clear: args.since_clear, strict: true };
    let mut file = match &args.output {
        Some(path) => Some(create(path, args.force, &args.dumps)?),
        None => None,
    };
    let read = if args.json || args.symbols || args.dates || file.is_some() {
        let mut text = Vec::new();
        let read = log(&mut opened, options, &mut |part| text.write_all(part))?;
        if args.symbols {
            text = annotate(&mut opened, &text);
        }
        if args.dates {
            let ended = opened.crash_time().ok_or_else(|| {
                opened
                    .fail("when its kernel died is not known, so that its log cannot be dated")
                    .next("without -T it has seconds since the kernel was started")
            })?;
            text = dated(&text, ended);
        }
        match file.take() {
            _ if args.json => show(&Lines::new(read, &text))?,
            Some(mut file) => {
                file.put(0, &text)?;
                file.done()?;
            }
            None => {
                let mut out = stdout();
                out.write_all(&text)?;
                out.flush()?;
            }
        }
        read
    } else {
        let mut out = stdout();
        let read = log(&mut opened, options, &mut |text| out.write_all(text))?;
        out.flush()?;
        read
    };
    let report = read.report;
    if read.by_arithmetic {
        remark(format_args!(
            "{}: page tables are missing or damaged: where the log is was worked out from where the \
             kernel image and the direct map begin",
            opened.name()
        ));
    }
    if report.skipped > 0 {
        remark(format_args!(
            "{}: {} of {} records are missing, damaged or unfinished and are left out",
            opened.name(),
            report.skipped,
            report.records + report.skipped
        ));
        return Ok(NO);
    }
    Ok(DONE)
}
