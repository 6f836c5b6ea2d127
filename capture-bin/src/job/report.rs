//! How it went.

use super::outputs::{Failure, Outputs, hint};
use crate::cli::{Args, Mode};
use crate::console::{Console, Why};
use crate::exit::Exit;
use crate::input::Input;
use tamis_core::capture::{CaptureError, Report};
use tamis_core::io::{IoKind, RandomAccess};

/// How a dump ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// All of it is there.
    Done,
    /// It is incomplete, or was not begun.
    Failed,
    /// As [`Ended::Failed`]: there was no space for more, at any of the levels.
    NoSpace,
}

impl Ended {
    /// The end of the run that writes it.
    pub(crate) fn exit(self) -> Exit {
        if self == Ended::Done { Exit::Done } else { Exit::Incomplete }
    }
}

/// What a file that is not a vmcore looks like, and the tool for it.
pub(super) fn what_it_is(input: &mut Input, args: &Args<'_>) -> &'static str {
    let mut head = [0; 16];
    let _ = input.read_at(0, &mut head);
    let stream = head == *b"makedumpfile\0\0\0\0";
    match &head {
        _ if stream || head.starts_with(b"KDUMP") => match () {
            () if args.mode == Mode::Dmesg => {
                "it is a dump already: `tamis dmesg` prints the log that is in it"
            }
            () if args.elf => {
                "it is a dump already: `tamis refilter --to elf` makes an ELF file of it"
            }
            () if args.split => "it is a dump already: `tamis split` divides it",
            () if stream && *args.levels() == [0] => {
                "it is a flattened dump: `tamis rearrange` makes a dump file of it"
            }
            () => "it is a dump already: `tamis refilter` drops more pages from it",
        },
        [b'E', b'M', b'i', b'L', ..]
        | [b'A', b'V', b'M', b'L', ..]
        | [b's', b'a', b'd', b'u', b'm', b'p', 0, 0, ..] => {
            "it is a memory image: `tamis convert` makes a dump of it, `tamis dmesg` prints its log"
        }
        [0x1f, 0x8b, ..] => "it is compressed with gzip: unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd: unpack it first",
        [0, 0, 0, 0, 0, 0, 0, 0, ..] => "it begins with zeros, or is shorter than an ELF header",
        _ => "a vmcore is an ELF core file, such as /proc/vmcore in a crash kernel",
    }
}

/// Reports how it went. With `last`, no other level is to be tried.
pub(super) fn finish(
    result: Result<Report, Failure<'_>>,
    report: &Report,
    args: &Args<'_>,
    outputs: &Outputs<'_>,
    last: bool,
    console: &mut Console,
) -> Ended {
    console.summary();
    let name = |part: usize| outputs.names.get(part).copied().unwrap_or(b"STDOUT");
    let failure = match result {
        Ok(report) => {
            console.report(&report, args.elf);
            if args.dry_run {
                console.say(format_args!("\nDry run: nothing was written.\n"));
                return Ended::Done;
            }
            if report.incomplete {
                console.warn(format_args!(
                    "the dump is incomplete: {} of {} pages could not be read",
                    report.tally.unreadable, report.tally.kept
                ));
            }
            console.saved(outputs.names);
            return if report.incomplete { Ended::Failed } else { Ended::Done };
        }
        Err(failure) => failure,
    };
    let error = match failure {
        Failure::Create { part, io } => {
            let name = name(part).escape_ascii();
            console.warn(format_args!("creating {name}: {}{}", Why(io), hint(io)));
            let full = io.kind == IoKind::NoSpace;
            return if full { Ended::NoSpace } else { Ended::Failed };
        }
        Failure::Same { name, other } => {
            console.warn_same(name, other);
            return Ended::Failed;
        }
        Failure::Gone { part } => {
            console.warn_gone(name(part));
            return Ended::Failed;
        }
        Failure::Kind(why) => {
            console.warn(format_args!("{why}"));
            return Ended::Failed;
        }
        Failure::Capture(error) => error,
    };
    match error {
        CaptureError::Sink(failed) => {
            let (name, step, at) = (name(failed.part()).escape_ascii(), failed.step, failed.at);
            let why = Why(failed.io());
            console.warn(format_args!("writing {step} to {name} at offset {at}: {why}"));
        }
        other => console.warn(format_args!("{other}")),
    }
    if last || args.flattened || !error.is_no_space() {
        console.report(report, args.elf);
        tell_what_is_saved(report, args, console);
    }
    if error.is_no_space() && !args.flattened { Ended::NoSpace } else { Ended::Failed }
}

/// Says what a dump has that ended early.
fn tell_what_is_saved(report: &Report, args: &Args<'_>, console: &Console) {
    let (saved, kept, bytes) = (report.saved, report.tally.kept, report.bytes);
    if saved == 0 {
        console.warn(format_args!("there is no dump: not one page could be saved"));
        return;
    }
    console.warn(format_args!(
        "the dump is incomplete: {saved} of {kept} pages are saved ({bytes} bytes), {} are missing",
        kept.saturating_sub(saved)
    ));
    console.warn(format_args!(
        "{}",
        match (args.flattened, args.elf) {
            (true, _) => "the stream has no end, which says so; `tamis repair` makes a dump of it",
            (_, true) => "its header says so; readers open it, for what it has",
            _ => "its header says so; readers open it, and report pages that it does not have",
        }
    ));
}
