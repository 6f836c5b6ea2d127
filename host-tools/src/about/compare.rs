//! In what two dumps differ.

use crate::dump::bits::{Held, joined, spans_from};
use crate::dump::gaps;
use crate::dump::opened::{Dump, Opened};
use crate::fail::{Fail, Result};
use crate::pool::in_order;
use crate::render::json::Document;
use crate::render::progress::Progress;
use crate::render::text::{bad, good, number};
use page_codec::is_zero;
use serde::Serialize;
use tamis_core::bitmap::Bitmap;
use tamis_core::error::part;
use tamis_core::memory::PhysMemory as _;
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};

/// What a page is in one dump and the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Kind {
    /// Only the first has it.
    #[serde(rename = "only in the first")]
    OnlyFirst,
    /// Only the second has it.
    #[serde(rename = "only in the second")]
    OnlySecond,
    /// Both have it, with other bytes.
    #[serde(rename = "different")]
    Different,
    /// It cannot be read.
    #[serde(rename = "unreadable")]
    Unreadable,
}

impl Kind {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Kind::OnlyFirst => "only in the first",
            Kind::OnlySecond => "only in the second",
            Kind::Different => "different",
            Kind::Unreadable => "unreadable",
        }
    }
}

/// In what two dumps differ.
#[derive(Default, Serialize)]
pub struct Differences {
    /// Whether they do not.
    pub same: bool,
    /// Pages.
    pub pages: Pages,
    /// What the headers say.
    pub headers: Vec<Header>,
    /// Runs of pages that are not the same.
    pub runs: Vec<Run>,
    /// Runs past the most that are listed.
    pub runs_not_listed: u64,
    #[serde(skip)]
    most: usize,
}

impl Document for Differences {
    const SCHEMA: &'static str = "tamis.diff/1";
}

/// Numbers of pages.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Pages {
    /// The same in both.
    pub same: u64,
    /// See [`Kind::OnlyFirst`].
    pub only_in_first: u64,
    /// See [`Kind::OnlySecond`].
    pub only_in_second: u64,
    /// See [`Kind::Different`].
    pub different: u64,
    /// See [`Kind::Unreadable`].
    pub unreadable: u64,
}

impl Pages {
    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::OnlyFirst => &mut self.only_in_first,
            Kind::OnlySecond => &mut self.only_in_second,
            Kind::Different => &mut self.different,
            Kind::Unreadable => &mut self.unreadable,
        }
    }
}

/// Something that the headers of both do not agree about.
#[derive(Serialize)]
pub struct Header {
    /// What it is.
    pub what: &'static str,
    /// Its value in the first.
    pub first: String,
    /// Its value in the second.
    pub second: String,
}

/// Pages of the same kind.
#[derive(Serialize)]
pub struct Run {
    /// Which kind.
    pub what: Kind,
    /// The first.
    pub start_pfn: u64,
    /// The one behind the last.
    pub end_pfn: u64,
}

impl Differences {
    fn add(&mut self, what: Kind, pfn: u64) {
        *self.pages.of(what) += 1;
        let room = self.runs.len() < self.most;
        match self.runs.last_mut() {
            Some(run) if run.what == what && run.end_pfn == pfn && self.runs_not_listed == 0 => {
                run.end_pfn += 1;
            }
            _ if room => self.runs.push(Run { what, start_pfn: pfn, end_pfn: pfn + 1 }),
            _ => self.runs_not_listed += 1,
        }
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Header { what, first, second } in &self.headers {
            text += &format!("{what}: {first} and {second}\n");
        }
        for Run { what, start_pfn: start, end_pfn: end } in &self.runs {
            let (what, last) = (what.word(), end - 1);
            text += &match end - start {
                1 => format!("pfn {start:#x}: {what}\n"),
                pages => {
                    format!("pfns {start:#x} to {last:#x} ({} pages): {what}\n", number(pages))
                }
            };
        }
        if self.runs_not_listed > 0 {
            let more = number(self.runs_not_listed);
            text += &format!("and {more} more; --runs NUMBER lists more\n");
        }
        let verdict = if self.same { good("the same") } else { bad("different") };
        text += &format!("{verdict}: {} pages alike", number(self.pages.same));
        let mut pages = self.pages;
        for kind in [Kind::Different, Kind::OnlyFirst, Kind::OnlySecond, Kind::Unreadable] {
            let count = *pages.of(kind);
            if count > 0 {
                text += &format!(", {} {}", number(count), kind.word());
            }
        }
        text.push('\n');
        text
    }
}

/// What the headers do not agree about.
fn headers(a: &Opened, b: &Opened) -> Vec<Header> {
    let mut headers = Vec::new();
    let mut add = |what, of: &dyn Fn(&Opened) -> String| {
        let (first, second) = (of(a), of(b));
        if first != second {
            headers.push(Header { what, first, second });
        }
    };
    add("kernel", &|o| {
        o.info().release().map_or("unknown".into(), |r| String::from_utf8_lossy(r).into())
    });
    add("machine", &|o| o.dump.machine().name().unwrap_or("unknown").into());
    add("dump level", &|o| match &o.dump {
        Dump::Kdump(k) => k.facts().sub.dump_level.to_string(),
        Dump::Elf(_) => "none".into(),
    });
    add("VMCOREINFO", &|o| format!("{} bytes", o.text.len()));
    if a.text[..] != b.text[..] && a.text.len() == b.text.len() {
        let (first, second) = ("one text".into(), "another".into());
        headers.push(Header { what: "VMCOREINFO", first, second });
    }
    headers
}

/// Compares two dumps; lists `most` runs of pages.
pub fn compare(a: &mut Opened, b: &mut Opened, most: usize, threads: usize) -> Result<Differences> {
    // What one dump only assumes, the other may know.
    if a.page_size_assumed && !b.page_size_assumed {
        a.assume(b.shift);
    } else if b.page_size_assumed && !a.page_size_assumed {
        b.assume(a.shift);
    }
    if a.shift != b.shift {
        return Err(Fail::new(format_args!(
            "{} has pages of {} bytes, {} of {}: they are of different machines",
            a.name(),
            a.shift.bytes(),
            b.name(),
            b.shift.bytes()
        )));
    }
    let mut found = Differences { headers: headers(a, b), most, ..Differences::default() };
    pages(a, b, &mut found, threads)?;
    let Pages { same: _, only_in_first, only_in_second, different, unreadable } = found.pages;
    let none = only_in_first + only_in_second + different + unreadable == 0;
    // The level is only what was to be left out.
    found.same = none && found.headers.iter().all(|header| header.what == "dump level");
    Ok(found)
}

/// Pages that a thread compares at a time.
const PIECE: u64 = 2048;

/// What a thread needs.
struct Worker {
    dumps: [Dump; 2],
    pages: [Vec<u8>; 2],
}

impl Worker {
    /// Compares the pages of a piece; `bits` are its bits in both dumps. Returns how many are the
    /// same, and the others.
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
                (true, false) => others.push((Kind::OnlyFirst, pfn)),
                (false, true) => others.push((Kind::OnlySecond, pfn)),
                _ => {
                    let phys = PhysAddr(pfn.0 << shift);
                    let [a, b] = &mut self.dumps;
                    let [page_a, page_b] = &mut self.pages;
                    match (a.read(phys, page_a), b.read(phys, page_b)) {
                        (Ok(()), Ok(())) if page_a == page_b => same += 1,
                        (Ok(()), Ok(())) => others.push((Kind::Different, pfn)),
                        _ => others.push((Kind::Unreadable, pfn)),
                    }
                }
            }
        }
    }
}

/// Clears the bits of pages that both have, and of which neither has data: they are zeros, and the same. Returns
/// their number.
fn take_zeros(bits_a: &mut [u8], bits_b: &mut [u8], data: &[u8]) -> u64 {
    let mut same = 0;
    for ((a, b), data) in bits_a.iter_mut().zip(bits_b).zip(data) {
        let zeros = *a & *b & !data;
        same += u64::from(zeros.count_ones());
        (*a, *b) = (*a & !zeros, *b & !zeros);
    }
    same
}

fn pages(a: &mut Opened, b: &mut Opened, found: &mut Differences, threads: usize) -> Result<()> {
    let (shift, page) = (a.shift.bits(), a.shift.bytes());
    let end = a.max_pfn.max(b.max_pfn).0;
    let mut progress = Progress::new("Comparing");
    let mut bits = [vec![0; 32 << 10], vec![0; 32 << 10]];
    let twins = a.twins(threads)?.into_iter().zip(b.twins(threads)?);
    let worker = |(a, b)| Worker { dumps: [a, b], pages: [vec![0; page], vec![0; page]] };
    let mut workers: Vec<Worker> = twins.map(worker).collect();
    let mut at = 0;
    let (held_a, held_b) = (Held::of(a), Held::of(b));
    // Where either may hold anything but zeros.
    let data = gaps::pages(a).zip(gaps::pages(b)).map(|(a, b)| joined([a, b].concat()));
    let mut data_bits = vec![0; 32 << 10];
    loop {
        // On to where either has something.
        let next = [held_a.next(Pfn(at)), held_b.next(Pfn(at))].into_iter().flatten().min();
        let Some(next) = next.map(|pfn| pfn.0 & !7).filter(|pfn| *pfn < end) else { break };
        at = next.max(at);
        let [bits_a, bits_b] = &mut bits;
        let window = PfnSpan::new(Pfn(at), Pfn((at + 8 * bits_a.len() as u64).min(end)));
        held_a.bits(a, window, bits_a);
        held_b.bits(b, window, bits_b);
        if let Some(data) = &data {
            let mut map = Bitmap::clear(&mut data_bits, window);
            let spans = spans_from(data, window.start);
            spans.take_while(|span| span.start < window.end).for_each(|span| map.set(*span));
            let same = take_zeros(bits_a, bits_b, map.bytes());
            found.pages.same += same;
            let used = 0..map.bytes().len();
            if is_zero(part(bits_a, used.clone())) && is_zero(part(bits_b, used)) {
                at = window.end.0;
                continue;
            }
        }
        let compare = |worker: &mut Worker, number: u64| {
            let start = window.start.0 + number * PIECE;
            let piece = PfnSpan::new(Pfn(start), Pfn((start + PIECE).min(window.end.0)));
            let from = (number * PIECE / 8) as usize;
            let range = from..from + piece.len().div_ceil(8) as usize;
            let part = |bits: &Vec<u8>| part(bits, range.clone()).to_vec();
            (piece, worker.compare(piece, shift, bits.each_ref().map(part)))
        };
        in_order(
            &mut workers,
            window.len().div_ceil(PIECE),
            compare,
            |(piece, (same, others))| {
                found.pages.same += same;
                others.into_iter().for_each(|(kind, pfn)| found.add(kind, pfn.0));
                progress.set(piece.end.0, end);
                Ok(())
            },
        )?;
        at = window.end.0;
    }
    Ok(())
}
