//! `tamis diff`.

use crate::dump::open::{Dump, Opened, open};
use crate::fail::{DONE, Fail, NO, Result};
use crate::pool::{Threads, in_order};
use crate::render::console::print;
use crate::render::json::{Json, Object};
use crate::render::progress::Progress;
use crate::render::text::{Style, number};
use std::path::PathBuf;
use tamis_core::bitmap::Bitmap;
use tamis_core::memory::{Dump as _, PhysMemory as _};
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};

/// Compare two dumps page by page.
///
/// Whatever their formats and codecs: two dumps are the same if they hold the same pages with the
/// same bytes. Pages that only one of them holds, and pages that differ, are listed as runs of
/// pfns, --runs lines at most. Kernel release, dump level and VMCOREINFO are compared too. Works in
/// all cores.
///
/// Exit status: 0 the same; 1 different; 3 it could not be done.
///
/// Examples:
///   $ tamis diff vmcore.kdump vmcore.elf
///   $ tamis diff --json before after
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A dump
    a: PathBuf,
    /// Another one
    b: PathBuf,
    /// Print JSON (schema tamis.diff/1)
    #[arg(long)]
    json: bool,
    /// Runs of pages to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    runs: usize,
    #[command(flatten)]
    threads: Threads,
}

/// What a page is in one dump and the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    OnlyA,
    OnlyB,
    Differs,
    Unreadable,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::OnlyA => "only in the first",
            Kind::OnlyB => "only in the second",
            Kind::Differs => "different",
            Kind::Unreadable => "unreadable",
        }
    }
}

/// Runs of pages, and how many of each kind.
#[derive(Default)]
struct Found {
    runs: Vec<(Kind, u64, u64)>,
    more: u64,
    most: usize,
    counts: [u64; 4],
    same: u64,
}

impl Found {
    fn add(&mut self, kind: Kind, pfn: u64) {
        self.counts[kind as usize] += 1;
        let room = self.runs.len() < self.most;
        match self.runs.last_mut() {
            Some((k, _, end)) if *k == kind && *end == pfn && self.more == 0 => *end += 1,
            _ if room => self.runs.push((kind, pfn, pfn + 1)),
            _ => self.more += 1,
        }
    }
}

/// The pfns of the memory ranges that the dump holds (of a kdump dump: may hold).
fn spans(opened: &Opened) -> impl Iterator<Item = PfnSpan> {
    opened.held().map(|(range, held)| opened.shift.touched(range.phys, held))
}

/// The first pfn at `from` or later that the dump may hold.
pub fn next_stored(opened: &Opened, from: Pfn) -> Option<Pfn> {
    spans(opened).filter(|s| s.end > from && !s.is_empty()).map(|s| s.start.max(from)).min()
}

/// The bits of the pages that a dump holds.
pub fn stored<'b>(opened: &mut Opened, window: PfnSpan, bits: &'b mut [u8]) -> Bitmap<'b> {
    let mut map = Bitmap::clear(bits, window);
    spans(opened).for_each(|span| map.set(span));
    opened.dump.keep_held(&mut map);
    map
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut a = open(std::slice::from_ref(&args.a))?;
    let mut b = open(std::slice::from_ref(&args.b))?;
    if a.shift != b.shift {
        return Err(Fail::new(format_args!(
            "{} has pages of {} bytes, {} of {}: they are of different machines",
            a.name(),
            a.shift.bytes(),
            b.name(),
            b.shift.bytes()
        )));
    }
    let mut heads = Vec::new();
    let mut head = |what: &str, of: &dyn Fn(&Opened) -> String| {
        let (x, y) = (of(&a), of(&b));
        if x != y {
            heads.push((what.to_owned(), x, y));
        }
    };
    head("kernel", &|o| {
        String::from_utf8_lossy(o.info().release().unwrap_or_default()).into_owned()
    });
    head("dump level", &|o| match &o.dump {
        Dump::Kdump(k) => k.facts().sub.dump_level.to_string(),
        Dump::Elf(_) => "none".into(),
    });
    head("VMCOREINFO", &|o| format!("{} bytes", o.text.len()));
    if a.text != b.text && a.text.len() == b.text.len() {
        heads.push(("VMCOREINFO".into(), "one text".into(), "another".into()));
    }
    let mut found = Found { most: args.runs, ..Found::default() };
    pages(&mut a, &mut b, &mut found, args.threads.count())?;
    let level_only = heads.iter().all(|(what, ..)| what == "dump level");
    let differ = found.counts.iter().any(|c| *c > 0) || !level_only;
    if args.json {
        let runs: Vec<Json> = found
            .runs
            .iter()
            .map(|(kind, start, end)| {
                Object::new()
                    .with("what", kind.word())
                    .with("start_pfn", *start)
                    .with("end_pfn", *end)
                    .into()
            })
            .collect();
        let heads: Vec<Json> = heads
            .iter()
            .map(|(what, x, y)| {
                Object::new()
                    .with("what", what.as_str())
                    .with("first", x.as_str())
                    .with("second", y.as_str())
                    .into()
            })
            .collect();
        let document = Object::document("tamis.diff/1")
            .with("same", !differ)
            .with(
                "pages",
                Object::new()
                    .with("same", found.same)
                    .with("only_in_first", found.counts[0])
                    .with("only_in_second", found.counts[1])
                    .with("different", found.counts[2])
                    .with("unreadable", found.counts[3]),
            )
            .with("headers", Json::List(heads))
            .with("runs", Json::List(runs))
            .with("runs_not_listed", found.more);
        print(format!("{}\n", Json::from(document)))?;
    } else {
        let style = Style::stdout();
        let mut text = String::new();
        for (what, x, y) in &heads {
            text += &format!("{what}: {x} and {y}\n");
        }
        for (kind, start, end) in &found.runs {
            let pages = end - start;
            text += &match pages {
                1 => format!("pfn {start:#x}: {}\n", kind.word()),
                _ => format!(
                    "pfns {start:#x} to {:#x} ({} pages): {}\n",
                    end - 1,
                    number(pages),
                    kind.word()
                ),
            };
        }
        if found.more > 0 {
            text += &format!("and {} more; --runs NUMBER lists more\n", number(found.more));
        }
        let verdict = if differ { style.bad("different") } else { style.good("the same") };
        text += &format!("{verdict}: {} pages alike", number(found.same));
        for (kind, count) in [Kind::Differs, Kind::OnlyA, Kind::OnlyB, Kind::Unreadable]
            .into_iter()
            .map(|kind| (kind, found.counts[kind as usize]))
            .filter(|(_, count)| *count > 0)
        {
            text += &format!(", {} {}", number(count), kind.word());
        }
        text.push('\n');
        print(text)?;
    }
    Ok(if differ { NO } else { DONE })
}

/// Pages that a thread compares at a time.
const PIECE: u64 = 2048;

/// What a thread needs.
struct Worker {
    dumps: [Dump; 2],
    pages: [Vec<u8>; 2],
}

impl Worker {
    /// Compares the pages of a piece, of whose bits `bits` are those of both dumps. Gives how many
    /// are the same, and the others.
    fn compare(
        &mut self,
        piece: PfnSpan,
        shift: u32,
        mut bits: [Vec<u8>; 2],
    ) -> (u64, Vec<(Kind, Pfn)>) {
        let [in_a, in_b] = bits.each_mut().map(|bits| Bitmap::over(bits, piece));
        let (mut same, mut others, mut at) = (0, Vec::new(), piece.start);
        // From one page that either has to the next.
        loop {
            let next = [&in_a, &in_b].into_iter().filter_map(|m| m.next_run(at, 1));
            let Some(pfn) = next.map(|run| run.start).min() else { return (same, others) };
            at = Pfn(pfn.0 + 1);
            match (in_a.get(pfn), in_b.get(pfn)) {
                (true, false) => others.push((Kind::OnlyA, pfn)),
                (false, true) => others.push((Kind::OnlyB, pfn)),
                _ => {
                    let phys = PhysAddr(pfn.0 << shift);
                    let [a, b] = &mut self.dumps;
                    let [page_a, page_b] = &mut self.pages;
                    match (a.read(phys, page_a), b.read(phys, page_b)) {
                        (Ok(()), Ok(())) if page_a == page_b => same += 1,
                        (Ok(()), Ok(())) => others.push((Kind::Differs, pfn)),
                        _ => others.push((Kind::Unreadable, pfn)),
                    }
                }
            }
        }
    }
}

fn pages(a: &mut Opened, b: &mut Opened, found: &mut Found, threads: usize) -> Result<()> {
    let (shift, page) = (a.shift.bits(), a.shift.bytes());
    let end = a.max_pfn.max(b.max_pfn).0;
    let mut progress = Progress::new("Comparing");
    let mut bits = [vec![0; 32 << 10], vec![0; 32 << 10]];
    let twins = a.twins(threads)?.into_iter().zip(b.twins(threads)?);
    let worker = |(a, b)| Worker { dumps: [a, b], pages: [vec![0; page], vec![0; page]] };
    let mut workers: Vec<Worker> = twins.map(worker).collect();
    let mut at = 0;
    loop {
        // On to where either has something.
        let next = [next_stored(a, Pfn(at)), next_stored(b, Pfn(at))].into_iter().flatten().min();
        let Some(next) = next.map(|pfn| pfn.0 & !7).filter(|pfn| *pfn < end) else { break };
        at = next.max(at);
        let [bits_a, bits_b] = &mut bits;
        let window = PfnSpan::new(Pfn(at), Pfn((at + 8 * bits_a.len() as u64).min(end)));
        stored(a, window, bits_a);
        stored(b, window, bits_b);
        let compare = |worker: &mut Worker, number: u64| {
            let start = window.start.0 + number * PIECE;
            let piece = PfnSpan::new(Pfn(start), Pfn((start + PIECE).min(window.end.0)));
            let from = (number * PIECE / 8) as usize;
            let range = from..from + piece.len().div_ceil(8) as usize;
            let part = |bits: &Vec<u8>| bits.get(range.clone()).unwrap_or_default().to_vec();
            (piece, worker.compare(piece, shift, bits.each_ref().map(part)))
        };
        in_order(
            &mut workers,
            window.len().div_ceil(PIECE),
            compare,
            |(piece, (same, others))| {
                found.same += same;
                others.into_iter().for_each(|(kind, pfn)| found.add(kind, pfn.0));
                progress.set(piece.end.0, end);
                Ok(())
            },
        )?;
        at = window.end.0;
    }
    Ok(())
}
