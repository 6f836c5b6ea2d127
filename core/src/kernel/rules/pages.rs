//! What rules reach: runs of pages, and what owns pages.

use crate::units::{Pfn, PfnSpan};
use heapless::Vec;

/// Slab caches and files that rules may name together.
pub const OWNERS: usize = 16;

/// What pages belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// A `struct kmem_cache`.
    Slab,
    /// A `struct address_space`.
    Cache,
}

/// The owner of pages, and what becomes of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// What it is.
    pub of: Of,
    /// Its address.
    pub at: u64,
    /// Whether its pages stay; else they go.
    pub keep: bool,
}

/// Runs of pages in ascending order, in a fixed piece of memory.
pub struct Runs<'s> {
    runs: &'s mut [PfnSpan],
    len: usize,
    full: bool,
}

impl<'s> Runs<'s> {
    /// None; what `runs` holds does not matter.
    pub fn new(runs: &'s mut [PfnSpan]) -> Runs<'s> {
        Runs { runs, len: 0, full: false }
    }

    /// The runs.
    pub fn all(&self) -> &[PfnSpan] {
        self.runs.get(..self.len).unwrap_or(&[])
    }

    /// Whether there was no room for all.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Adds pages. Where there is no room, they are not added, or, with `widen`, those between two runs are added, too.
    pub fn add(&mut self, pages: PfnSpan, widen: bool) {
        let PfnSpan { mut start, mut end } = pages;
        if pages.is_empty() {
            return;
        }
        // Runs that touch these pages become one with them.
        let first = self.all().partition_point(|run| run.end < start);
        let behind = self.all().partition_point(|run| run.start <= end);
        if let Some(touching) = self.runs.get(first..behind)
            && let (Some(low), Some(high)) = (touching.first(), touching.last())
        {
            (start, end) = (start.min(low.start), end.max(high.end));
        }
        let one = PfnSpan { start, end };
        if first < behind {
            self.runs.copy_within(behind..self.len, first + 1);
            self.len -= behind - first - 1;
        } else if self.len < self.runs.len() {
            self.runs.copy_within(first..self.len, first + 1);
            self.len += 1;
        } else {
            self.full = true;
            // The run behind it, or the last one, grows.
            let near = if first < self.len { first } else { first.saturating_sub(1) };
            if let Some(run) = self.runs.get_mut(near).filter(|_| widen) {
                *run = PfnSpan { start: run.start.min(start), end: run.end.max(end) };
            }
            return;
        }
        if let Some(slot) = self.runs.get_mut(first) {
            *slot = one;
        }
    }

    /// The first run that has pages at `from` or behind it.
    pub fn at(&self, from: Pfn) -> usize {
        self.all().partition_point(|run| run.end <= from)
    }
}

/// Which pages rules keep, and which they drop. Kept ones win.
pub struct PageRules<'s> {
    /// Pages that stay, whatever their class is.
    pub keep: Runs<'s>,
    /// Pages that go.
    pub drop: Runs<'s>,
    /// Owners of pages.
    pub owners: Vec<Owner, OWNERS>,
    /// Where a slab page has its cache, in a `struct page`.
    pub slab_cache: Option<u64>,
    /// Room for a bit of each page of a window.
    pub kept: &'s mut [u8],
}

impl<'s> PageRules<'s> {
    /// No rules. `runs` is shared by pages that stay and pages that go; `kept` is as large as the bits of a window.
    pub fn new(runs: &'s mut [PfnSpan], kept: &'s mut [u8]) -> PageRules<'s> {
        let (keep, drop) = runs.split_at_mut(runs.len() / 2);
        let (keep, drop) = (Runs::new(keep), Runs::new(drop));
        PageRules { keep, drop, owners: Vec::new(), slab_cache: None, kept }
    }

    /// Whether nothing is kept or dropped.
    pub fn is_empty(&self) -> bool {
        self.keep.all().is_empty() && self.drop.all().is_empty() && self.owners.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn span(start: u64, end: u64) -> PfnSpan {
        PfnSpan { start: Pfn(start), end: Pfn(end) }
    }

    #[test]
    fn runs_are_those_of_a_set() {
        let mut seed = 1u64;
        let mut dice = |sides: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % sides
        };
        for _ in 0..200 {
            let mut room = vec![PfnSpan::default(); 64];
            let mut runs = Runs::new(&mut room);
            let mut set = [false; 200];
            for _ in 0..40 {
                let start = dice(180);
                let end = start + dice(12);
                runs.add(span(start, end), false);
                set[start as usize..end as usize].fill(true);
            }
            let mut wanted: Vec<PfnSpan> = Vec::new();
            for (pfn, _) in set.iter().enumerate().filter(|(_, set)| **set) {
                match wanted.last_mut() {
                    Some(run) if run.end == Pfn(pfn as u64) => run.end.0 += 1,
                    _ => wanted.push(span(pfn as u64, pfn as u64 + 1)),
                }
            }
            assert_eq!(runs.all(), wanted);
            assert!(!runs.is_full());
            for from in 0..200 {
                let first = wanted.iter().position(|run| run.end > Pfn(from));
                assert_eq!(runs.at(Pfn(from)), first.unwrap_or(wanted.len()));
            }
        }
    }

    #[test]
    fn without_room_fewer_pages_go_and_more_stay() {
        let wanted: Vec<_> =
            (0..20).map(|n| span(100 * (n * 7 % 20), 100 * (n * 7 % 20) + 3)).collect();
        for widen in [false, true] {
            let mut room = [PfnSpan::default(); 5];
            let mut runs = Runs::new(&mut room);
            wanted.iter().for_each(|pages| runs.add(*pages, widen));
            assert!(runs.is_full() && runs.all().len() <= 5);
            let all = runs.all();
            assert!(all.windows(2).all(|two| two[0].start < two[1].start));
            for pages in &wanted {
                let inside = all.iter().any(|run| run.start <= pages.start && pages.end <= run.end);
                assert!(inside || !widen, "{pages:?} of {all:?}");
            }
            let pages: u64 = all.iter().map(|run| run.len()).sum();
            assert!(widen || pages == 15, "{all:?}");
        }
    }
}
