//! `tamis rearrange`.

use crate::dump::out::{OutFile, create};
use crate::fail::{DONE, Fail, Result};
use crate::render::console::remark;
use crate::render::progress::Progress;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use tamis_core::wire::flattened::{Head, RECORD, START, is_start, parse};

/// Make a dump file of a flattened stream.
///
/// A flattened stream is what `makedumpfile -F` and `tamis-capture -F` write to a pipe. All other
/// commands read one as it is; crash and drgn are faster with a file. The result has the same bytes
/// as that of `makedumpfile -R`.
///
/// The stream is written as it comes in, so that one over the network needs no room but that of the
/// dump. A stream without an end is refused, and what was written of it removed: `tamis repair`
/// makes the best of one.
///
/// Exit status: 0 done; 3 it could not be done, as with a stream that is cut off.
///
/// Examples:
///   $ ssh host cat /var/crash/vmcore.flat | tamis rearrange - vmcore
///   $ tamis rearrange vmcore.flat vmcore
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The stream; - is standard input
    stream: PathBuf,
    /// The dump file to write
    out: PathBuf,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let stdin = args.stream == Path::new("-");
    let name = if stdin { "standard input".into() } else { args.stream.display().to_string() };
    let (mut input, len): (Box<dyn Read>, u64) = if stdin {
        (Box::new(std::io::stdin().lock()), 0)
    } else {
        let file = File::open(&args.stream).map_err(|e| Fail::file(&args.stream, e))?;
        let len = file.metadata().map_or(0, |m| m.len());
        (Box::new(file), len)
    };
    let mut start = vec![0; START];
    let read = fill(&mut input, &mut start, &name)?;
    if read < START || !is_start(&start) {
        let text = format_args!("{name}: not a flattened stream");
        let next = "`tamis info` tells what it is; other dumps need no rearranging";
        return Err(Fail::new(text).next(next));
    }
    let mut out = create(&args.out, args.force, std::slice::from_ref(&args.stream))?;
    match copy(&mut input, &name, len, &mut out) {
        Ok(()) => {
            out.done()?;
            let mut behind = [0];
            if fill(&mut input, &mut behind, &name)? > 0 {
                remark(format_args!("{name}: there are bytes behind the end of the stream"));
            }
            Ok(DONE)
        }
        Err(fail) => {
            out.remove();
            Err(fail)
        }
    }
}

/// Reads until `buf` is full or the input ends.
fn fill(input: &mut dyn Read, buf: &mut [u8], name: &str) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match input.read(&mut buf[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Fail::new(format_args!("{name}: reading: {e}"))),
        }
    }
    Ok(done)
}

fn copy(input: &mut dyn Read, name: &str, len: u64, out: &mut OutFile) -> Result<()> {
    let mut at = START as u64;
    let mut buf = vec![0; 1 << 20];
    let mut progress = Progress::new("Rearranging");
    let cut = |at: u64| {
        Fail::new(format_args!("{name}: cut off at offset {at}: the stream has no end"))
            .next("`tamis repair` makes a dump of what is there")
    };
    loop {
        let mut head = [0; RECORD];
        if fill(input, &mut head, name)? < RECORD {
            return Err(cut(at));
        }
        let (mut to, mut left) = match parse(&head) {
            Ok(Head::End) => return Ok(()),
            Ok(Head::Data(to, left)) => (to, left),
            Err((to, left)) => {
                return Err(Fail::new(format_args!(
                    "{name}: invalid record at offset {at}: {left} bytes for offset {to}"
                ))
                .next("the stream is damaged; `tamis repair` makes a dump of what is before it"));
            }
        };
        at += RECORD as u64;
        while left > 0 {
            let part = left.min(buf.len() as u64) as usize;
            let got = fill(input, &mut buf[..part], name)?;
            if got < part {
                return Err(cut(at + got as u64));
            }
            out.put(to, &buf[..part])?;
            (to, left, at) = (to + part as u64, left - part as u64, at + part as u64);
            progress.set(at, len);
        }
    }
}
