//! What is wrong with a dump.

use crate::about::extents::Extents;
use crate::dump::opened::Opened;
use crate::render::json::Document;
use crate::render::text::{bad, good, number, warn};
use serde::Serialize;
use tamis_core::input::kdump::PageFault;

/// The reports on several dumps.
#[derive(Serialize)]
pub struct Reports {
    /// Each of them.
    pub dumps: Vec<Report>,
}

impl Document for Reports {
    const SCHEMA: &'static str = "tamis.verify/1";
}

/// The report on one dump.
#[derive(Serialize)]
pub struct Report {
    /// Its files.
    pub files: Vec<String>,
    /// Whether it is sound.
    pub verdict: Verdict,
    /// Its pages.
    pub pages: Pages,
    /// What is wrong, runs of the same fault in one.
    pub faults: Vec<Fault>,
    /// Faults past the most that are listed.
    pub faults_not_listed: u64,
    /// What makes other readers refuse it, and what mends that.
    pub warnings: Vec<String>,
}

/// Pages by state.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Pages {
    /// Pages that are good.
    pub good: u64,
    /// Pages that are damaged.
    pub damaged: u64,
    /// Pages that are missing.
    pub missing: u64,
    /// Good pages that have a checksum.
    pub checksums: u64,
}

/// Whether a dump is sound.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is wrong.
    Sound,
    /// Sound as far as it goes, but pages are missing.
    Incomplete,
    /// Something is wrong.
    Damaged,
}

impl Verdict {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Sound => "sound",
            Verdict::Incomplete => "incomplete",
            Verdict::Damaged => "damaged",
        }
    }
}

/// How bad a fault is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Something that should be there is not.
    Missing,
    /// Something is wrong.
    Damage,
}

/// A run of pages with the same fault, or one about something else.
#[derive(Serialize)]
pub struct Fault {
    /// How bad it is.
    pub kind: Weight,
    /// The first pfn that it is about, if it is about pages.
    pub start_pfn: Option<u64>,
    /// The one behind the last.
    pub end_pfn: Option<u64>,
    /// What is wrong.
    pub text: String,
}

impl Fault {
    fn pfns(&self) -> Option<(u64, u64)> {
        self.start_pfn.zip(self.end_pfn)
    }
}

/// What was found up to now.
#[derive(Default)]
pub(super) struct Findings {
    faults: Vec<Fault>,
    /// How many are kept.
    pub(super) most: usize,
    /// Faults past those.
    more: u64,
    /// The last fault, which may go on.
    last: Option<Fault>,
    pub(super) pages: Pages,
    worst: Option<Weight>,
    /// Where data of pages is.
    pub(super) extents: Extents,
}

impl Findings {
    /// Nothing yet; `most` faults will be kept.
    pub(super) fn new(most: usize) -> Findings {
        Findings { most, ..Findings::default() }
    }

    pub(super) fn add(&mut self, weight: Weight, pfns: Option<(u64, u64)>, text: String) {
        self.worst = self.worst.max(Some(weight));
        if let (Some(last), Some((start, end))) = (&mut self.last, pfns)
            && last.end_pfn == Some(start)
            && last.text == text
        {
            last.end_pfn = Some(end);
            return;
        }
        self.close();
        let (start_pfn, end_pfn) = pfns.unzip();
        self.last = Some(Fault { kind: weight, start_pfn, end_pfn, text });
    }

    /// The last fault does not go on.
    fn close(&mut self) {
        match self.last.take() {
            Some(fault) if self.faults.len() < self.most => self.faults.push(fault),
            Some(_) => self.more += 1,
            None => {}
        }
    }

    /// Adds what was found in the pages that come next.
    pub(super) fn append(&mut self, next: Findings) {
        for fault in next.faults {
            self.add(fault.kind, fault.pfns(), fault.text);
        }
        self.more += next.more;
        if let Some(fault) = next.last {
            self.add(fault.kind, fault.pfns(), fault.text);
        }
        self.worst = self.worst.max(next.worst);
        self.pages.good += next.pages.good;
        self.pages.damaged += next.pages.damaged;
        self.pages.missing += next.pages.missing;
        self.pages.checksums += next.pages.checksums;
        self.extents.append(next.extents);
    }

    /// Whether every page of bitmap 2 was there and good.
    pub(super) fn all_good(&self) -> bool {
        self.pages.missing + self.pages.damaged == 0
    }

    pub(super) fn whole(&mut self, weight: Weight, text: impl Into<String>) {
        self.add(weight, None, text.into());
    }

    pub(super) fn page(&mut self, pfn: u64, fault: &PageFault) {
        let weight = match fault {
            PageFault::Lost | PageFault::MissingPart | PageFault::CutOff(_) => Weight::Missing,
            _ => Weight::Damage,
        };
        match weight {
            Weight::Missing => self.pages.missing += 1,
            Weight::Damage => self.pages.damaged += 1,
        }
        // Offsets differ from page to page; those of missing pages mean nothing.
        let text = match fault {
            PageFault::CutOff(_) => "data past the end of the file".into(),
            other => other.to_string(),
        };
        self.add(weight, Some((pfn, pfn + 1)), text);
    }

    /// The report on a dump when all was looked at.
    pub(super) fn report(mut self, opened: &Opened, warnings: Vec<String>) -> Report {
        self.close();
        Report {
            files: opened.files.iter().map(|f| f.raw.path.display().to_string()).collect(),
            verdict: match self.worst {
                None => Verdict::Sound,
                Some(Weight::Missing) => Verdict::Incomplete,
                Some(Weight::Damage) => Verdict::Damaged,
            },
            pages: self.pages,
            faults: self.faults,
            faults_not_listed: self.more,
            warnings,
        }
    }
}

impl Report {
    /// As text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for fault in &self.faults {
            let place = match fault.pfns() {
                Some((start, end)) if end == start + 1 => format!("pfn {start:#x}: "),
                Some((start, end)) => {
                    format!("pfns {start:#x} to {:#x} ({} pages): ", end - 1, number(end - start))
                }
                None => String::new(),
            };
            let line = format!("{place}{}", fault.text);
            text += &match fault.kind {
                Weight::Damage => bad(&line),
                Weight::Missing => warn(&line),
            };
            text.push('\n');
        }
        if self.faults_not_listed > 0 {
            let more = number(self.faults_not_listed);
            text += &format!("and {more} more; --faults NUMBER lists more of them\n");
        }
        let word = match self.verdict {
            Verdict::Sound => good(self.verdict.word()),
            Verdict::Incomplete => warn(self.verdict.word()),
            Verdict::Damaged => bad(self.verdict.word()),
        };
        let names = self.files.iter().map(|path| match path.as_str() {
            "-" => "standard input",
            path => path,
        });
        let name = names.collect::<Vec<_>>().join(", ");
        text += &format!("{name}: {word}: {} pages good", number(self.pages.good));
        for (count, what) in [(self.pages.damaged, "damaged"), (self.pages.missing, "missing")] {
            if count > 0 {
                text += &format!(", {} {what}", number(count));
            }
        }
        match self.pages.checksums {
            0 => {}
            all if all == self.pages.good => text += "; each has a checksum",
            some => {
                let (some, rest) = (number(some), number(self.pages.good - some));
                text += &format!("; {some} have a checksum, {rest} none");
            }
        }
        text.push('\n');
        text
    }
}
