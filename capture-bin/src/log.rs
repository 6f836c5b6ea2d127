//! `--dump-dmesg`: the dead kernel's log into a text file.

use crate::cli::Args;
use crate::console::{Console, Why};
use crate::exit::Exit;
use crate::input::Vmcore;
use crate::job::{Job, clash, hint, open};
use crate::out::Pipe;
use crate::sys::{self, File};
use tamis_core::error::{part, part_mut};
use tamis_core::io::Append;
use tamis_core::io::IoError;
use tamis_core::kernel::log::{self, LogError, Options};

/// Bytes of the log that are held before they are written.
const HELD: usize = 4096;

/// Gathers small pieces into larger writes.
struct Gather {
    out: Pipe,
    held: [u8; HELD],
    len: usize,
}

impl Gather {
    fn add(&mut self, mut bytes: &[u8]) -> Result<(), IoError> {
        while !bytes.is_empty() {
            if self.len == HELD {
                self.flush()?;
            }
            let room = part_mut(&mut self.held, self.len..HELD);
            let n = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.len += n;
            bytes = part(bytes, n..bytes.len());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        let len = core::mem::take(&mut self.len);
        self.out.append(part(&self.held, 0..len))
    }
}

/// Writes the log as the command line says. Returns how the run ended.
pub(crate) fn dmesg(args: &Args<'_>) -> Exit {
    let console = Console::new(args.messages, args.flattened);
    sys::ignore_write_signals();
    for line in args.notices.lines() {
        console.warn(format_args!("{line}"));
    }
    // None with -F.
    let name = args.outputs().first().copied();
    let opened = open(args, &console).and_then(|opened| opened.load_log(&console));
    let saved = opened.and_then(|mut vmcore| write(&mut vmcore, args, name, args.force, &console));
    let (status, verdict) = match saved {
        Ok(()) => (Exit::Done, "Completed"),
        Err(status) => (status, "Failed"),
    };
    console.say(format_args!("\ntamis-capture {verdict}.\n"));
    status
}

/// Writes the log of a vmcore that is open for a capture; whether that worked. If not, the reason has been
/// printed.
pub(crate) fn save(job: &mut Job<'_>, name: &[u8], console: &Console) -> bool {
    let (vmcore, args) = job.parts();
    write(vmcore, args, Some(name), true, console).is_ok()
}

fn write(
    vmcore: &mut Vmcore,
    args: &Args<'_>,
    name: Option<&[u8]>,
    force: bool,
    console: &Console,
) -> Result<(), Exit> {
    let no_kernel = |error| {
        console.warn(format_args!("the log cannot be found: {error}"));
        Exit::Failed
    };
    vmcore.arch().map_err(no_kernel)?;
    if let Some((name, other)) = clash(vmcore, args, name.as_slice()) {
        console.warn_same(name, other);
        return Err(Exit::Failed);
    }
    let file = name.map_or_else(|| Ok(File::stdout()), |name| File::create(name, force));
    let shown = name.unwrap_or(b"STDOUT");
    let file = file.map_err(|io| {
        console.warn(format_args!("creating {}: {}{}", shown.escape_ascii(), Why(io), hint(io)));
        Exit::Failed
    })?;
    let mut out = Gather { out: Pipe::new(file, args.size_limit), held: [0; HELD], len: 0 };
    let options = Options { since_clear: args.partial_dmesg, strict: false };
    let written = vmcore.with_memory(|memory, info, scratch| {
        log::dump(info, memory, options, scratch, &mut |b| out.add(b))
    });
    let written = written.map_err(no_kernel)?;
    let flushed = out.flush();
    let failed_to_write = |io| {
        console.warn(format_args!("writing {}: {}", shown.escape_ascii(), Why(io)));
        console.warn(format_args!("the log is incomplete; what was written can be read"));
        Exit::Failed
    };
    match written {
        Ok(report) => {
            flushed.map_err(failed_to_write)?;
            if name.is_some() && out.out.is_deleted() {
                console.warn_gone(shown);
                return Err(Exit::Failed);
            }
            if report.skipped > 0 {
                console.warn(format_args!(
                    "{} damaged or overwritten records were left out, {} were written",
                    report.skipped, report.records
                ));
            }
            console.say(format_args!("\nThe dmesg log is saved to {}.\n", shown.escape_ascii()));
            Ok(())
        }
        Err(LogError::Write(io)) => Err(failed_to_write(io)),
        Err(error) => {
            console.warn(format_args!("the log cannot be read: {error}"));
            // Nothing is left behind of a log that was not found.
            if let Some(name) = name
                && out.out.is_untouched()
            {
                let _ = sys::unlink_regular(name);
            }
            Err(Exit::Failed)
        }
    }
}
