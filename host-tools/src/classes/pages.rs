//! What became of each page.

use crate::classes::{Class, Classes, left_out};
use crate::dump::bits::Held;
use crate::dump::opened::{Dump, Opened};
use crate::dump::survey::zero_pages;
use crate::render::json::Document;
use crate::render::text::number;
use serde::{Serialize, Serializer};
use std::cell::Cell;
use std::fmt;
use tamis_core::bitmap::Bitmap;
use tamis_core::input::kdump::PageFault;
use tamis_core::memory::{PhysMemory as _, ReadError};
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};
use tamis_core::wire::page_desc::PageDesc;

/// Pages in a row with the same state and of the same class.
#[derive(Clone, Copy, Serialize)]
pub struct Run {
    /// The first.
    pub start_pfn: u64,
    /// The one behind the last.
    pub end_pfn: u64,
    /// Their bytes in the file.
    pub bytes: u64,
    /// What became of them.
    pub state: &'static str,
    /// What they were used for.
    #[serde(serialize_with = "class_key")]
    pub class: Class,
}

fn class_key<S: Serializer>(class: &Class, json: S) -> Result<S::Ok, S::Error> {
    json.serialize_str(class.key())
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { start_pfn: start, end_pfn: end, bytes, state, class } = self;
        let (last, pages, class) = (end - 1, number(end - start), class.name());
        write!(f, "{start:#14x} {last:#14x} {pages:>14} {bytes:>14} {state:<8} {class}")
    }
}

/// Runs as a document; written as they are found, as there may be more than memory has room for.
#[derive(Serialize)]
pub struct RunList<I: Iterator<Item = Run>> {
    #[serde(serialize_with = "each")]
    runs: Cell<Option<I>>,
}

impl<I: Iterator<Item = Run>> RunList<I> {
    /// Of these runs.
    pub fn new(runs: I) -> RunList<I> {
        RunList { runs: Cell::new(Some(runs)) }
    }
}

fn each<I: Iterator<Item = Run>, S: Serializer>(
    runs: &Cell<Option<I>>,
    json: S,
) -> Result<S::Ok, S::Error> {
    json.collect_seq(runs.take().into_iter().flatten())
}

impl<I: Iterator<Item = Run>> Document for RunList<I> {
    const SCHEMA: &'static str = "tamis.pages/1";
}

/// Goes over the pages of a dump, run by run.
pub struct Runs<'o> {
    opened: &'o mut Opened,
    all: PfnSpan,
    held: Held,
    zeros: Vec<Option<PageDesc>>,
    classes: Classes,
    /// The pages that `classes` is at, and which of them are in the dump.
    window: PfnSpan,
    bits: Vec<u8>,
    at: Pfn,
    last: Option<Run>,
}

impl Runs<'_> {
    /// Of the pages of a span.
    pub fn new(opened: &mut Opened, all: PfnSpan) -> Runs<'_> {
        let zeros = opened.kdump().map(zero_pages).unwrap_or_default();
        let held = Held::of(opened);
        let mut classes = Classes::of_any(opened);
        classes.skip_to(all.start);
        Runs {
            opened,
            all,
            held,
            zeros,
            classes,
            window: PfnSpan::default(),
            bits: vec![0; 32 << 10],
            at: Pfn(0),
            last: None,
        }
    }

    /// Goes on to the next window.
    fn advance(&mut self) -> bool {
        if self.window.end >= self.all.end {
            return false;
        }
        let next = self.classes.next(self.opened).filter(|window| window.start < self.all.end);
        let Some(window) = next else {
            // Nothing is left: what lies between the last window and the end are no pages to go over.
            (self.window, self.at) = (PfnSpan::new(self.all.end, self.all.end), self.all.end);
            return false;
        };
        self.held.bits(self.opened, window, &mut self.bits);
        (self.window, self.at) = (window, window.start);
        true
    }

    /// The next page that there is, as a run; of a vmcore, several that are alike.
    fn page(&mut self) -> Option<Run> {
        loop {
            if self.at >= self.window.end && !self.advance() {
                return None;
            }
            let pfn = self.at;
            let class = self.classes.class(pfn);
            let map = Bitmap::over(&mut self.bits, self.window);
            let held = map.get(pfn);
            let mut run = PfnSpan::new(pfn, Pfn(pfn.0 + 1));
            if let Dump::Elf(_) = self.opened.dump {
                // Its pages differ in no more than that.
                let end = match held {
                    true => map.next_run(pfn, u64::MAX).map(|run| run.end),
                    false => map.next_run(pfn, 1).map(|run| run.start),
                };
                let rest = PfnSpan::new(pfn, end.unwrap_or(self.window.end).min(self.window.end));
                run.end = Pfn(pfn.0 + self.classes.alike(rest).max(1));
            }
            self.at = run.end;
            let run = run.intersect(self.all);
            if class == Class::Hole || run.is_empty() {
                continue;
            }
            let (state, bytes) = state(self.opened, &self.zeros, pfn, held);
            let bytes = bytes * run.len();
            return Some(Run { start_pfn: run.start.0, end_pfn: run.end.0, bytes, state, class });
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        while let Some(page) = self.page() {
            match &mut self.last {
                Some(run)
                    if (run.end_pfn, run.state, run.class)
                        == (page.start_pfn, page.state, page.class) =>
                {
                    run.end_pfn = page.end_pfn;
                    run.bytes += page.bytes;
                }
                last => {
                    if let Some(run) = last.replace(page) {
                        return Some(run);
                    }
                }
            }
        }
        self.last.take()
    }
}

/// What became of a page, and its bytes in the file.
pub fn state(
    opened: &mut Opened,
    zeros: &[Option<PageDesc>],
    pfn: Pfn,
    stored: bool,
) -> (&'static str, u64) {
    let page = opened.shift.bytes() as u64;
    let kdump = match &mut opened.dump {
        _ if !stored => return ("left out", 0),
        Dump::Elf(_) => return ("raw", page),
        Dump::Kdump(kdump) => kdump,
    };
    match kdump.descriptor(pfn) {
        Ok((desc, part)) => match kdump.check(desc, part) {
            Ok(_) if zeros.get(part) == Some(&Some(desc.place())) => ("zero", 0),
            Ok(codec) => (codec.map_or("raw", |c| c.name()), u64::from(desc.size)),
            Err(PageFault::CutOff(_)) => ("lost", 0),
            Err(_) => ("damaged", 0),
        },
        Err(PageFault::Absent) if kdump.facts().absent_are_zeros() => ("zero", 0),
        Err(PageFault::Absent) => ("left out", 0),
        Err(PageFault::MissingPart) => ("in another file", 0),
        Err(PageFault::Lost) => ("lost", 0),
        Err(_) => ("damaged", 0),
    }
}

/// Whether the page is there.
pub fn presence(opened: &mut Opened, at: PhysAddr, pfn: Pfn) -> String {
    let fault = match &mut opened.dump {
        Dump::Kdump(kdump) => match kdump.page(pfn) {
            Ok(_) => None,
            Err(PageFault::Absent) => Some(left_out(opened, pfn)),
            Err(fault) => Some(fault.to_string()),
        },
        Dump::Elf(elf) => match elf.read(at, &mut [0]) {
            Ok(()) => None,
            Err(ReadError::Absent(_)) => Some(left_out(opened, pfn)),
            Err(fault) => Some(fault.to_string()),
        },
    };
    fault.unwrap_or_else(|| "in the dump".into())
}
