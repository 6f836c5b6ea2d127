use super::read::number as parse;
use super::stdout;
use crate::fail::{DONE, Fail, Result};
use crate::io::open::{Dump, open};
use crate::render::text::number;
use std::io::Write;
use std::path::PathBuf;
use tamis_core::reader::kdump::PageFault;
use tamis_core::units::{Pfn, PfnSpan};

/// List the pages of a dump: where there is memory, and what became of it.
///
/// A line for each run of pages in the same state: first and last pfn, number of pages, bytes in
/// the file, and the state: zlib, lzo, snappy, zstd, lz4 or raw for pages that are stored, zero for
/// those that share the page of zeros, "left out", lost, or damaged. Holes are not listed.
/// pfns are hexadecimal in the output; --from and --to are decimal, or hexadecimal with 0x.
///
/// Examples:
///   $ tamis pages vmcore | head
///   $ tamis pages --from 0x100000 --to 0x100200 vmcore
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// First pfn
    #[arg(long, value_name = "PFN", value_parser = parse, default_value = "0")]
    from: u64,
    /// One past the last pfn
    #[arg(long, value_name = "PFN", value_parser = parse)]
    to: Option<u64>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let max = opened.max_pfn;
    let all = PfnSpan::new(Pfn(args.from), Pfn(args.to.unwrap_or(max.0).min(max.0)));
    let mut out = stdout();
    let mut line = |start: u64, end: u64, bytes: u64, state: &str| -> Result<()> {
        let pages = number(end - start);
        writeln!(out, "{start:#14x} {:#14x} {pages:>14} {bytes:>14} {state}", end - 1)?;
        Ok(())
    };
    let kdump = match &mut opened.dump {
        Dump::Kdump(kdump) => kdump,
        Dump::Elf(elf) => {
            let page = opened.shift.bytes() as u64;
            use tamis_core::source::Source;
            for s in elf.segments().to_vec() {
                let stored = opened.shift.touched(s.phys, s.file_len).clip(all);
                let rest = opened.shift.touched(s.phys, s.mem_len);
                let rest = PfnSpan::new(stored.end.max(rest.start), rest.end).clip(all);
                if !stored.is_empty() {
                    line(stored.start.0, stored.end.0, stored.len() * page, "raw")?;
                }
                if !rest.is_empty() {
                    line(rest.start.0, rest.end.0, 0, "left out")?;
                }
            }
            out.flush()?;
            return Ok(DONE);
        }
    };
    let zeros = crate::survey::zero_pages(kdump);
    let mut runs = crate::survey::Runs::new(false);
    let mut open_run: Option<(u64, u64, u64, &'static str)> = None;
    while let Some(run) = runs.next(kdump)? {
        let run = run.clip(all);
        for pfn in run.start.0..run.end.0 {
            let (state, bytes) = match kdump.descriptor(Pfn(pfn)) {
                Ok((desc, part)) => match kdump.check(desc, part) {
                    Ok(_) if zeros.get(part) == Some(&Some(desc)) => ("zero", 0),
                    Ok(codec) => (codec.map_or("raw", |c| c.name()), u64::from(desc.size)),
                    Err(PageFault::CutOff(_)) => ("lost", 0),
                    Err(_) => ("damaged", 0),
                },
                Err(PageFault::Absent) => ("left out", 0),
                Err(PageFault::MissingPart) => ("in another file", 0),
                Err(PageFault::Lost) => ("lost", 0),
                Err(fault) => return Err(Fail::new(format_args!("pfn {pfn:#x}: {fault}"))),
            };
            open_run = match open_run {
                Some((start, end, sum, was)) if end == pfn && was == state => {
                    Some((start, pfn + 1, sum + bytes, was))
                }
                before => {
                    if let Some((start, end, sum, was)) = before {
                        line(start, end, sum, was)?;
                    }
                    Some((pfn, pfn + 1, bytes, state))
                }
            };
        }
    }
    if let Some((start, end, sum, was)) = open_run {
        line(start, end, sum, was)?;
    }
    out.flush()?;
    Ok(DONE)
}
