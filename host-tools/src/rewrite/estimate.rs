//! How large a dump would be.

use crate::classes::ByClass;
use crate::classes::Class;
use crate::classes::Classes;
use crate::dump::bits::Held;
use crate::dump::gaps;
use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::json::{Document, Members};
use crate::render::progress::Progress;
use crate::render::text::{columns, number, size};
use crate::rewrite::refilter::{Format, Work, write};
use page_codec::{Codec, Effort, Encode, is_zero};
use serde::Serialize;
use std::time::{Duration, Instant};
use tamis_core::capture::plan::Needs;
use tamis_core::io::Discard;
use tamis_core::level::DumpLevel;
use tamis_core::memory::{PhysMemory as _, Ranges as _};
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};
use tamis_core::wire::page_desc;
use tamis_core::{Options, Plan};

/// Pages of each class that are looked at, at most.
const SAMPLES: u64 = 4096;
/// Pages of each class that are looked at, if it has as many.
const AT_LEAST: u64 = 64;

/// A number that has nothing to do with those of the neighbours of `pfn`: what memory holds often
/// comes again after 2, 4, 8 pages. The mixing of splitmix64.
fn scattered(pfn: Pfn) -> u64 {
    let x = pfn.0.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A way to store pages: its name, and the codec with an encoder if there is one.
type Candidate = (&'static str, Option<(Codec, Box<dyn Encode + Send>)>);

fn candidates() -> [Candidate; 6] {
    let all = [Codec::Zlib, Codec::Lzo, Codec::Snappy, Codec::Zstd, Codec::Lz4];
    let [zlib, lzo, snappy, zstd, lz4] =
        all.map(|codec| (codec.name(), Some((codec, codec.encoder(Effort::Normal)))));
    [("raw", None), zlib, lzo, snappy, zstd, lz4]
}

/// A number for each codec, by its name.
pub type ByCodec = Members<&'static str, u64>;

/// What was worked out of a sample.
#[derive(Serialize)]
pub struct Sampled {
    /// No.
    pub exact: bool,
    /// What dump levels come to.
    pub levels: Vec<Level>,
    /// The least memory limit of `tamis-capture`, in bytes.
    pub least_memory_limit: ByCodec,
}

impl Document for Sampled {
    const SCHEMA: &'static str = "tamis.estimate/2";
}

/// A level, and what comes of it with each codec.
#[derive(Serialize)]
pub struct Level {
    /// The level.
    pub level: u8,
    /// Pages in the dump.
    pub pages: u64,
    /// Bytes of pages and descriptors.
    pub bytes: ByCodec,
    /// Time of one CPU.
    pub cpu_milliseconds: ByCodec,
}

impl Sampled {
    /// A table, and the memory that a capture takes.
    pub fn text(&self) -> String {
        let mut head = vec!["".into(), "pages".into()];
        head.extend(self.least_memory_limit.0.iter().map(|(name, _)| (*name).to_owned()));
        let mut table = vec![head];
        for row in &self.levels {
            let mut line = vec![format!("level {}", row.level), number(row.pages)];
            line.extend(row.bytes.0.iter().map(|(_, bytes)| size(*bytes)));
            table.push(line);
            let mut line = vec!["  CPU seconds".to_owned(), String::new()];
            let seconds = |(_, ms): &(_, u64)| format!("{:.1}", *ms as f64 / 1000.0);
            line.extend(row.cpu_milliseconds.0.iter().map(seconds));
            table.push(line);
        }
        let most = self.least_memory_limit.0.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let (bytes, kib) = (size(most), most.div_ceil(1024));
        let memory = format!("tamis-capture takes {bytes} at least for it: --memory-limit {kib}K");
        format!("{}\n{memory}\n", columns(&table))
    }
}

/// What came out of doing all the work.
#[derive(Serialize)]
pub struct Exact {
    /// Yes.
    pub exact: bool,
    /// What dump levels come to.
    pub levels: Vec<ExactLevel>,
}

impl Document for Exact {
    const SCHEMA: &'static str = "tamis.estimate/2";
}

/// A level, and what came of it.
#[derive(Serialize)]
pub struct ExactLevel {
    /// The level.
    pub level: u8,
    /// Bytes of the dump.
    pub bytes: u64,
    /// Pages in it.
    pub pages: u64,
}

impl Exact {
    /// A line for each level.
    pub fn text(&self) -> String {
        let line = |l: &ExactLevel| {
            format!("level {:>2}: {:>12} in {} pages\n", l.level, size(l.bytes), number(l.pages))
        };
        self.levels.iter().map(line).collect()
    }
}

/// Does all the work for each level, without writing anything.
pub fn exact(opened: &mut Opened, work: &Work, levels: &[DumpLevel]) -> Result<Exact> {
    let levels = levels.iter().map(|level| {
        let (report, _) =
            write(opened, Some(*level), work, Format::Kdump, &mut [&mut Discard], &[], 0)?;
        let (bytes, pages) = (report.bytes, report.tally.kept);
        Ok(ExactLevel { level: level.bits(), bytes, pages })
    });
    Ok(Exact { exact: true, levels: levels.collect::<Result<_>>()? })
}

/// What was seen of a class.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Pages in the dump.
    pages: u64,
    /// Of those looked at: how many, how many of them were zeros, and the bytes of the others.
    looked: u64,
    zero: u64,
    bytes: [u64; 6],
    time: [Duration; 6],
}

impl Seen {
    /// Adds pages of zeros, of which one in `step` belongs to the sample.
    fn add_zeros(&mut self, pages: u64, step: u64) {
        self.pages += pages;
        let due = (pages / step).max(AT_LEAST.saturating_sub(self.looked).min(pages));
        let due = due.min((4 * SAMPLES).saturating_sub(self.looked));
        self.looked += due;
        self.zero += due;
    }

    /// The share of `what` of one page.
    fn each(&self, what: f64) -> f64 {
        if self.looked == 0 { 0.0 } else { what / self.looked as f64 }
    }
}

/// The pages of the running kernel that no vmcore of it has: those that are reserved for the crash
/// kernel.
fn reserved(opened: &Opened) -> Vec<PfnSpan> {
    let text = std::fs::read_to_string("/proc/iomem").unwrap_or_default();
    crash_kernel(&text).map(|(at, len)| opened.shift.touched(at, len)).collect()
}

/// Starts and lengths of the ranges for the crash kernel, of the text of /proc/iomem.
fn crash_kernel(iomem: &str) -> impl Iterator<Item = (PhysAddr, u64)> {
    iomem.lines().filter_map(|line| {
        let (range, name) = line.split_once(':')?;
        let (start, end) = range.trim().split_once('-')?;
        let [start, end] = [start, end].map(|word| u64::from_str_radix(word, 16).ok());
        let (start, end) = (start?, end?);
        // Without the rights to see them all addresses are 0.
        let seen = name.trim() == "Crash kernel" && start < end;
        seen.then(|| (PhysAddr(start), (end - start).saturating_add(1)))
    })
}

/// Looks at a sample of the pages of a dump, or of the running kernel if it is `live`, and works out
/// what levels come to.
pub fn sample(opened: &mut Opened, live: bool, levels: &[DumpLevel]) -> Sampled {
    let mut seen = ByClass::<Seen>::default();
    let reserved = if live { reserved(opened) } else { Vec::new() };
    let mut classes = Classes::of_any(opened);
    let mut candidates = candidates();
    let page = opened.shift.bytes();
    // Sample one page in `step`; for rare classes also the first few.
    let memory: u64 = opened.dump.ranges().iter().map(|s| s.len / page as u64).sum();
    let step = (memory / (4 * SAMPLES)).max(1);
    let mut bits = vec![0; 32 << 10];
    let (held, data) = (Held::of(opened), gaps::pages(opened));
    let (mut bytes, mut out) = (vec![0; page], vec![0; Codec::Zlib.bound(page)]);
    let mut progress = Progress::new("Looking at pages");
    while let Some(window) = classes.next(opened) {
        let mut map = held.bits(opened, window, &mut bits);
        for span in &reserved {
            map.clear_span(*span);
        }
        if data.as_ref().is_some_and(|data| gaps::is_gap(data, window)) {
            // All of them are zeros: no page has to be read to know that of a sample.
            let mut at = window.start;
            for run in classes.classes().chunk_by(PartialEq::eq) {
                let span = PfnSpan::new(at, Pfn(at.0 + run.len() as u64));
                at = span.end;
                if run[0] != Class::Hole {
                    seen[run[0]].add_zeros(map.count_span(span), step);
                }
            }
            progress.set(window.end.0, opened.max_pfn.0);
            continue;
        }
        for (pfn, class) in classes.pages() {
            let seen = &mut seen[class];
            if class == Class::Hole || !map.get(pfn) {
                continue;
            }
            seen.pages += 1;
            let due = seen.looked < AT_LEAST || scattered(pfn).is_multiple_of(step);
            if due && seen.looked < 4 * SAMPLES {
                look(opened, pfn, &mut bytes, &mut out, &mut candidates, seen);
            }
        }
        progress.set(window.end.0, opened.max_pfn.0);
    }
    drop(progress);
    let names = candidates.each_ref().map(|(name, ..)| *name);
    let always = classes.always();
    let least = candidates.iter().map(|(name, encoder)| {
        let codec = encoder.as_ref().map(|(codec, _)| *codec);
        (*name, least(opened, live, codec))
    });
    Sampled {
        exact: false,
        levels: levels.iter().map(|l| level(*l, &seen, always, page, names)).collect(),
        least_memory_limit: Members(least.collect()),
    }
}

/// Compresses a page with every codec.
fn look(
    opened: &mut Opened,
    pfn: Pfn,
    bytes: &mut [u8],
    out: &mut [u8],
    candidates: &mut [Candidate; 6],
    seen: &mut Seen,
) {
    let at = PhysAddr(pfn.0 << opened.shift.bits());
    if opened.dump.read(at, bytes).is_err() {
        return;
    }
    seen.looked += 1;
    if is_zero(bytes) {
        seen.zero += 1;
        return;
    }
    for (n, (_, encoder)) in candidates.iter_mut().enumerate() {
        let started = Instant::now();
        let stored = encoder.as_mut().and_then(|(_, encoder)| encoder.encode(bytes, out));
        seen.time[n] += started.elapsed();
        seen.bytes[n] += stored.unwrap_or(bytes.len()) as u64;
    }
}

/// What comes of a level with each codec.
fn level(
    level: DumpLevel,
    seen: &ByClass<Seen>,
    always: bool,
    page: usize,
    names: [&'static str; 6],
) -> Level {
    let (mut pages, mut bytes, mut seconds) = (0, [0.0; 6], [0.0; 6]);
    for class in Class::ALL.into_iter().filter(|c| !c.left_out(level, always)) {
        let seen = &seen[class];
        let all = seen.pages as f64;
        pages += seen.pages;
        for (n, (bytes, seconds)) in bytes.iter_mut().zip(&mut seconds).enumerate() {
            *bytes += all * seen.each(seen.bytes[n] as f64);
            *seconds += all * seen.each(seen.time[n].as_secs_f64());
            if !level.contains(DumpLevel::ZERO) {
                // Each codec makes some tens of bytes of a page of zeros.
                let zero = if n == 0 { page as f64 } else { 32.0 };
                *bytes += all * seen.each(seen.zero as f64) * zero;
            }
        }
    }
    let descriptors = page_desc::SIZE as u64 * pages;
    let bytes = bytes.map(|bytes| bytes.round() as u64 + descriptors);
    let milliseconds = seconds.map(|seconds| (seconds * 1000.0) as u64);
    let by_codec = |numbers: [u64; 6]| Members(names.into_iter().zip(numbers).collect());
    Level {
        level: level.bits(),
        pages,
        bytes: by_codec(bytes),
        cpu_milliseconds: by_codec(milliseconds),
    }
}

/// The least memory limit of a capture of this machine.
fn least(opened: &Opened, live: bool, codec: Option<Codec>) -> u64 {
    // A crash adds a line to VMCOREINFO, CRASHTIME, and what is reserved splits ranges.
    let (more_text, more_segments) = if live { (32, 4) } else { (0, 0) };
    let segments = opened.dump.ranges().len() as u64 + more_segments;
    Plan::least(&Needs {
        page_struct: opened.info().page_struct().unwrap_or(0),
        max_pfn: opened.max_pfn.0,
        segments,
        vmcoreinfo: opened.text.len() as u64 + more_text,
        ..Needs::of(&Options { codec, ..Options::default() }, opened.shift)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_for_the_crash_kernel_is_found() {
        let iomem = "00001000-0009ffff : System RAM\n\
            00100000-1ffdffff : System RAM\n  \
              01000000-01ffffff : Kernel code\n  \
              15000000-1effffff : Crash kernel\n\
            100000000-1ffffffff : System RAM\n  \
              1f0000000-1ffffffff : Crash kernel\n";
        let found: Vec<_> = crash_kernel(iomem).map(|(at, len)| (at.0, len)).collect();
        assert_eq!(found, [(0x1500_0000, 0xa00_0000), (0x1_f000_0000, 0x1000_0000)]);
        let nobodys = "00000000-00000000 : Crash kernel\nx-y : Crash kernel\nCrash kernel\n";
        assert_eq!(crash_kernel(nobodys).count(), 0);
    }
}
