//! In what two dumps differ.

use crate::dump::bits::{next_stored, stored};
use crate::dump::opened::{Dump, Opened};
use crate::fail::Result;
use crate::pool::in_order;
use crate::render::progress::Progress;
use tamis_core::bitmap::Bitmap;
use tamis_core::memory::PhysMemory as _;
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};

/// What a page is in one dump and the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only the first has it.
    OnlyA,
    /// Only the second has it.
    OnlyB,
    /// Both have it, with other bytes.
    Differs,
    /// It cannot be read.
    Unreadable,
}

impl Kind {
    /// In words.
    pub fn word(self) -> &'static str {
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
pub struct Found {
    /// Runs of pfns, the end not included.
    pub runs: Vec<(Kind, u64, u64)>,
    /// Runs past the most that are kept.
    pub more: u64,
    /// Runs that are kept, at most.
    pub most: usize,
    /// Pages of each [`Kind`].
    pub counts: [u64; 4],
    /// Pages that are the same.
    pub same: u64,
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

/// Compares all pages.
pub fn compare(a: &mut Opened, b: &mut Opened, found: &mut Found, threads: usize) -> Result<()> {
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
