use super::print;
use crate::fail::{DONE, Fail, INCOMPLETE, NO, Result};
use crate::io::open::{Dump, Opened, open_all};
use crate::render::json::{Json, Object};
use crate::render::progress::Progress;
use crate::render::text::{Style, number};
use crate::survey::{KdumpFile, Runs};
use std::path::PathBuf;
use tamis_core::reader::kdump::PageFault;
use tamis_core::source::Source;
use tamis_core::units::{Pfn, PhysAddr};
use tamis_core::wire::disk_header::VERSION;
use tamis_core::wire::elf;

/// Read every page of a dump, and tell which ones are damaged.
///
/// Checks headers, notes, both bitmaps, every page descriptor, and that the data of every page
/// decompresses to exactly one page. Pages that are stored raw have no checksum: of those it can
/// only be said that they are there. Of an ELF vmcore every byte is read.
///
/// What is wrong is listed with its pfns, runs of the same fault in one line, --faults lines at
/// most.
///
/// Exit status: 0 sound; 1 damaged; 2 sound as far as it goes, but pages are missing: the writer
/// ran out of space or died, the file was cut off, or files of a split dump were not given.
///
/// Examples:
///   $ tamis verify vmcore && echo sound
///   $ tamis verify part1 part2 part3
///   $ tamis verify --json vmcore | jq '.dumps[0].verdict'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Dumps, or all files of split ones; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.verify/1)
    #[arg(long)]
    json: bool,
    /// Faults to list, runs of pfns counting as one
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    faults: usize,
}

/// How bad a fault is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Missing,
    Damage,
}

/// A run of pages with the same fault, or one about something else.
struct Fault {
    weight: Weight,
    pfns: Option<(u64, u64)>,
    text: String,
}

/// What was found.
struct Findings {
    faults: Vec<Fault>,
    most: usize,
    /// Faults past the most that are kept.
    more: u64,
    good: u64,
    damaged: u64,
    missing: u64,
    worst: Option<Weight>,
}

impl Findings {
    fn add(&mut self, weight: Weight, pfns: Option<(u64, u64)>, text: String) {
        self.worst = self.worst.max(Some(weight));
        if let (Some(last), Some((start, end))) = (self.faults.last_mut(), pfns)
            && let Some((_, to)) = &mut last.pfns
            && *to == start
            && last.text == text
            && self.more == 0
        {
            *to = end;
        } else if self.faults.len() < self.most {
            self.faults.push(Fault { weight, pfns, text });
        } else {
            self.more += 1;
        }
    }

    fn whole(&mut self, weight: Weight, text: impl Into<String>) {
        self.add(weight, None, text.into());
    }

    fn page(&mut self, pfn: u64, fault: &PageFault) {
        let weight = match fault {
            PageFault::Lost | PageFault::MissingPart | PageFault::CutOff(_) => Weight::Missing,
            _ => Weight::Damage,
        };
        match weight {
            Weight::Missing => self.missing += 1,
            Weight::Damage => self.damaged += 1,
        }
        // Offsets differ from page to page; those of missing pages tell nothing.
        let text = match fault {
            PageFault::CutOff(_) => "data past the end of the file".into(),
            other => other.to_string(),
        };
        self.add(weight, Some((pfn, pfn + 1)), text);
    }

    fn verdict(&self) -> (&'static str, u8) {
        match self.worst {
            None => ("sound", DONE),
            Some(Weight::Missing) => ("incomplete", INCOMPLETE),
            Some(Weight::Damage) => ("damaged", NO),
        }
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let style = Style::stdout();
    let (mut status, mut list, mut text) = (DONE, Vec::new(), String::new());
    for mut opened in open_all(&args.dumps)? {
        let found = verify(&mut opened, args.faults)?;
        let (verdict, code) = found.verdict();
        // Damage is worse than what is missing, though its number is smaller.
        status = match (status, code) {
            (NO, _) | (_, NO) => NO,
            (a, b) => a.max(b),
        };
        if args.json {
            list.push(json(&opened, &found, verdict).into());
            continue;
        }
        let name = opened.name();
        for fault in &found.faults {
            let place = match fault.pfns {
                Some((start, end)) if end == start + 1 => format!("pfn {start:#x}: "),
                Some((start, end)) => {
                    format!("pfns {start:#x} to {:#x} ({} pages): ", end - 1, number(end - start))
                }
                None => String::new(),
            };
            let line = format!("{place}{}", fault.text);
            text += &match fault.weight {
                Weight::Damage => style.bad(&line),
                Weight::Missing => style.warn(&line),
            };
            text.push('\n');
        }
        if found.more > 0 {
            text +=
                &format!("and {} more; --faults NUMBER lists more of them\n", number(found.more));
        }
        let word = match code {
            DONE => style.good(verdict),
            NO => style.bad(verdict),
            _ => style.warn(verdict),
        };
        text += &format!("{name}: {word}: {} pages good", number(found.good));
        for (count, what) in [(found.damaged, "damaged"), (found.missing, "missing")] {
            if count > 0 {
                text += &format!(", {} {what}", number(count));
            }
        }
        text.push('\n');
    }
    if args.json {
        let document = Object::document("tamis.verify/1").with("dumps", Json::List(list));
        text = format!("{}\n", Json::from(document));
    }
    print(text)?;
    Ok(status)
}

fn json(opened: &Opened, found: &Findings, verdict: &str) -> Object {
    let faults: Vec<Json> = found
        .faults
        .iter()
        .map(|f| {
            Object::new()
                .with("kind", if f.weight == Weight::Damage { "damage" } else { "missing" })
                .with("start_pfn", f.pfns.map(|(start, _)| start))
                .with("end_pfn", f.pfns.map(|(_, end)| end))
                .with("text", f.text.as_str())
                .into()
        })
        .collect();
    let paths: Vec<String> =
        opened.files.iter().map(|f| f.raw.path.display().to_string()).collect();
    Object::new()
        .with("files", paths)
        .with("verdict", verdict)
        .with(
            "pages",
            Object::new()
                .with("good", found.good)
                .with("damaged", found.damaged)
                .with("missing", found.missing),
        )
        .with("faults", Json::List(faults))
        .with("faults_not_listed", found.more)
}

fn verify(opened: &mut Opened, most: usize) -> Result<Findings> {
    let mut found = Findings {
        faults: Vec::new(),
        most,
        more: 0,
        good: 0,
        damaged: 0,
        missing: 0,
        worst: None,
    };
    for file in &opened.files {
        if file.stream.is_some_and(|(_, ends)| !ends) {
            found.whole(
                Weight::Missing,
                format!("{}: the stream has no end: its writer died", file.raw.name()),
            );
        }
    }
    let name = opened.name();
    match &mut opened.dump {
        Dump::Kdump(kdump) => pages(kdump, &mut found, &name)?,
        Dump::Elf(_) => segments(opened, &mut found),
    }
    Ok(found)
}

/// What can be said without looking at pages.
fn headers(kdump: &KdumpFile, found: &mut Findings) {
    let facts = kdump.facts();
    if facts.main.version > VERSION {
        found.whole(
            Weight::Damage,
            format!("header version {} is not known: {VERSION} is the newest", facts.main.version),
        );
    }
    if facts.sub.dump_level > 31 {
        found.whole(Weight::Damage, format!("dump level {} is none", facts.sub.dump_level));
    }
    if facts.notes_damaged {
        found.whole(Weight::Damage, "the notes end in something that is no note".to_owned());
    }
    if facts.incomplete() {
        found.whole(Weight::Missing, "its header says that it ended early");
    }
    if let Some(span) = kdump.missing_part() {
        let last = Pfn(span.end.0 - 1);
        found.whole(Weight::Missing, format!("no file for pfns {} to {last}", span.start));
    }
    let mut end = Pfn(0);
    for part in kdump.parts() {
        let range = part.facts.range();
        if range.start < end {
            found.whole(Weight::Damage, format!("two files have pfn {}", range.start));
        }
        end = end.max(range.end);
    }
}

fn pages(kdump: &mut KdumpFile, found: &mut Findings, name: &str) -> Result<()> {
    headers(kdump, found);
    let size = kdump.facts().main.shift.bytes();
    let (_, total) = kdump.counts();

    // A page that is stored must exist.
    let mut runs = Runs::new(true);
    let mut exist = vec![0u8; 32 << 10];
    let mut window = (0u64, 0u64);
    while let Some(run) = runs.next(kdump)? {
        for pfn in run.start.0..run.end.0 {
            if !(window.0..window.1).contains(&pfn) {
                let start = pfn & !7;
                window = (start, start + 8 * exist.len() as u64);
                kdump
                    .bits(false, Pfn(start), &mut exist)
                    .map_err(|e| Fail::new(format_args!("{name}: reading bitmap 1: {e}")))?;
            }
            let at = (pfn - window.0) as usize;
            if exist[at / 8] >> (at % 8) & 1 == 0 {
                let text = "is stored, but bitmap 1 says that there is no such page";
                found.add(Weight::Damage, Some((pfn, pfn + 1)), text.into());
            }
        }
    }

    let mut progress = Progress::new("Reading pages");
    let mut page = vec![0; size];
    let mut runs = Runs::new(true);
    let mut done = 0u64;
    let mut zero = None;
    while let Some(run) = runs.next(kdump)? {
        for pfn in run.start.0..run.end.0 {
            let result = kdump.descriptor(Pfn(pfn)).and_then(|(desc, part)| {
                // The page that all zero pages share need not be read again and again.
                if zero != Some((desc, part)) {
                    kdump.decode(desc, part, &mut page)?;
                    if desc.flags == 0 && tamis_core::codec::is_zero(&page) {
                        zero = Some((desc, part));
                    }
                }
                Ok(())
            });
            match result {
                Ok(()) => found.good += 1,
                Err(fault) => found.page(pfn, &fault),
            }
            done += 1;
            if done.is_multiple_of(1024) {
                progress.set(done, total);
            }
        }
    }
    Ok(())
}

fn segments(opened: &mut Opened, found: &mut Findings) {
    let Some((facts, header)) = opened.elf else { return };
    if facts.notes_damaged {
        found.whole(Weight::Damage, "the notes end in something that is no note");
    }
    if header.flags & elf::FLAG_INCOMPLETE != 0 {
        found.whole(Weight::Missing, "its header says that it ended early");
    }
    let len = opened.files.first().map_or(0, |f| f.len);
    let page = opened.shift.bytes() as u64;
    let segments: Vec<_> = opened.dump.segments().to_vec();
    let total: u64 = segments.iter().map(|s| s.file_len).sum();
    let mut progress = Progress::new("Reading memory");
    let mut done = 0u64;
    let mut buf = vec![0; 1 << 20];
    for s in &segments {
        let there = s.file_len.min(len.saturating_sub(s.file_at));
        let first = s.phys.0 / page;
        let last = s.phys.0.saturating_add(s.file_len).div_ceil(page);
        if there < s.file_len {
            let from = s.phys.0.saturating_add(there) / page;
            found.missing += last - from;
            found.add(Weight::Missing, Some((from, last)), "past the end of the file".into());
        }
        let mut at = 0;
        let mut good = s.phys.0.saturating_add(there).div_ceil(page).saturating_sub(first);
        while at < there {
            let step = (there - at).min(buf.len() as u64);
            let part = &mut buf[..step as usize];
            if let Err(e) = opened.dump.read(PhysAddr(s.phys.0 + at), part) {
                let pfns = ((s.phys.0 + at) / page, (s.phys.0 + at + step).div_ceil(page));
                found.add(Weight::Damage, Some(pfns), e.to_string());
                found.damaged += pfns.1 - pfns.0;
                good = good.saturating_sub(pfns.1 - pfns.0);
            }
            at += step;
            done += step;
            progress.set(done, total);
        }
        found.good += good;
    }
}
