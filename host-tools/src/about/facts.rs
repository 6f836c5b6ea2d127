//! What a dump is.

use crate::about::log::log;
use crate::about::notes;
use crate::about::panic::{Task, panic_line, panic_task};
use crate::dump::opened::{Dump, Opened};
use crate::dump::survey::{Survey, survey};
use crate::fail::Result;
use crate::render::json::{Json, Object};
use crate::render::progress::Progress;
use crate::render::text::{Style, Table, number, percent, plain, size, time};
use std::io;
use tamis_core::endian::{Endian, Word};
use tamis_core::input::kdump::Codec;
use tamis_core::kernel::log::Options;
use tamis_core::memory::{Machine, PhysMemory as _, Ranges as _};
use tamis_core::wire::disk_header::Signature;
use tamis_core::wire::elf;

/// What there is to tell.
pub struct Facts {
    format: String,
    writer: &'static str,
    release: String,
    version: String,
    node: String,
    machine: String,
    level: Option<u32>,
    pages: Pages,
    survey: Option<Survey>,
    memory: u64,
    file: u64,
    /// Why the dump is not complete; empty if it is.
    missing: Vec<String>,
    notes: usize,
    notes_damaged: bool,
    cpus: u32,
    keys: usize,
    crash_time: Option<u64>,
    panic: Option<String>,
    task: Option<Task>,
    /// Process, program counter and stack pointer of each CPU.
    registers: Vec<(u32, u64, u64)>,
    log: std::result::Result<u64, String>,
}

/// Pages by state, in any format.
#[derive(Default)]
struct Pages {
    max_pfn: u64,
    exist: u64,
    stored: u64,
    /// Stored, or meant to be.
    kept: u64,
}

/// Name of a machine, as `uname -m` prints it.
fn machine_name(machine: Machine) -> String {
    match (machine.name(), machine.elf_machine) {
        (Some(name), _) => name.into(),
        (None, 0) => "unknown".into(),
        (None, other) => format!("ELF machine {other}"),
    }
}

impl Facts {
    /// Finds it all out.
    pub fn of(opened: &mut Opened) -> Result<Facts> {
        let page = opened.shift.bytes() as u64;
        let (all_notes, notes_damaged) = notes::notes(opened)?;
        let qemu = all_notes.iter().any(|n| n.name == "QEMU");
        let cpus =
            all_notes.iter().filter(|n| (n.name.as_str(), n.kind) == ("CORE", 1)).count() as u32;
        let mut missing = Vec::new();
        for file in &opened.files {
            if file.stream.is_some_and(|(_, ends)| !ends) {
                missing.push(format!("{}: the stream has no end", file.raw.name()));
            }
        }
        let info = opened.info();
        let release = |raw: Option<&[u8]>| plain(raw.unwrap_or_default());
        let mut facts = Facts {
            format: String::new(),
            writer: "unknown",
            release: release(info.release()),
            version: String::new(),
            node: String::new(),
            machine: machine_name(opened.dump.machine()),
            level: None,
            pages: Pages { max_pfn: opened.max_pfn.0, ..Pages::default() },
            survey: None,
            memory: 0,
            file: opened.files.iter().map(|f| f.raw.len).sum(),
            missing,
            notes: all_notes.len(),
            notes_damaged,
            cpus,
            keys: opened
                .text
                .split(|b| *b == b'\n' || *b == 0)
                .filter(|line| line.contains(&b'='))
                .count(),
            crash_time: info.crash_time(),
            panic: None,
            task: None,
            registers: all_notes
                .iter()
                .filter_map(|note| note.registers(opened.dump.machine()))
                .collect(),
            log: Ok(0),
        };
        if opened.elf.is_some() {
            facts.elf(opened, qemu);
        } else {
            facts.kdump(opened, qemu)?;
        }
        facts.memory = facts.pages.exist * page;
        facts.kernel_log(opened);
        Ok(facts)
    }

    fn elf(&mut self, opened: &Opened, qemu: bool) {
        self.format = "ELF core".into();
        let segments = opened.dump.ranges();
        let spans = |len: fn(&tamis_core::memory::MemoryRange) -> u64| {
            union(
                segments
                    .iter()
                    .map(|s| opened.shift.touched(s.phys, len(s)))
                    .map(|s| (s.start.0, s.end.0))
                    .collect(),
            )
        };
        self.pages.exist = spans(|s| s.len);
        self.pages.stored = spans(|s| s.stored_len);
        self.pages.kept = self.pages.stored;
        let filtered = segments.iter().any(|s| s.stored_len < s.len);
        self.writer = if qemu {
            "QEMU"
        } else if filtered {
            "makedumpfile or tamis-capture"
        } else {
            "a kernel (/proc/vmcore), or a tool that copied it"
        };
        let ends = segments.iter().zip(&opened.offsets);
        let end = ends.map(|(s, at)| at.saturating_add(s.stored_len)).max().unwrap_or(0);
        let len = opened.files.first().map_or(0, |f| f.len);
        if end > len {
            self.missing.push(format!("the file ends {} bytes too early", end - len));
        }
        let flags = opened.elf.as_ref().map_or(0, |(_, header)| header.flags);
        if flags & elf::FLAG_INCOMPLETE != 0 {
            self.missing.push("its header says that it ended early".into());
        }
    }

    fn kdump(&mut self, opened: &mut Opened, qemu: bool) -> Result<()> {
        let parts = opened.files.len();
        let Some(kdump) = opened.kdump() else { return Ok(()) };
        let head = *kdump.facts();
        let lz4 = head.main.signature == Signature::Tamis;
        self.format = format!("kdump-compressed, version {}", head.main.version);
        self.writer = match (qemu, lz4) {
            (_, true) => "tamis-capture",
            (true, _) => "QEMU",
            _ => "makedumpfile or tamis-capture",
        };
        if !head.main.uts(2).is_empty() {
            self.release = plain(head.main.uts(2));
        }
        self.version = plain(head.main.uts(3));
        self.node = plain(head.main.uts(1));
        self.level = (head.main.version >= 1).then_some(head.sub.dump_level);
        self.crash_time = self.crash_time.or(Some(head.main.crash_time).filter(|t| *t != 0));
        if head.main.version < 4 {
            self.cpus = head.main.nr_cpus;
        }
        if kdump.incomplete() {
            self.missing.push("its header says that it ended early".into());
        }
        if let Some(span) = kdump.missing_part() {
            let hint = if parts == 1 { " (name the other files too)" } else { "" };
            self.missing.push(format!(
                "no file for pfns {} to {:#x}{hint}",
                span.start,
                span.end.0 - 1
            ));
        }
        let mut progress = Progress::new("Counting pages");
        let found = survey(kdump, |done, total| progress.set(done, total))?;
        drop(progress);
        for (pages, what) in [
            (found.lost, "with empty descriptors"),
            (found.cut_off, "past the end of the file"),
            (found.bad, "with impossible descriptors"),
        ] {
            if pages > 0 {
                self.missing.push(format!("{} pages {what}", number(pages)));
            }
        }
        self.pages.exist = found.exist;
        self.pages.stored = found.kept - found.missing() - found.bad;
        self.pages.kept = found.kept;
        self.survey = Some(found);
        Ok(())
    }

    fn kernel_log(&mut self, opened: &mut Opened) {
        let mut lines = Vec::new();
        let result = log(opened, Options::default(), &mut |text| {
            // A log is some megabytes at most.
            if lines.len() < 64 << 20 {
                lines.extend_from_slice(text);
            }
            io::Result::Ok(())
        });
        match result {
            Ok(read) => self.log = Ok(read.report.records),
            Err(fail) => self.log = Err(fail.line()),
        }
        self.panic = panic_line(&lines);
        self.task = panic_task(&lines).map(|mut task| {
            // Idle tasks all have the process 0: the notes are in the order of the CPUs.
            let of_cpu = self.registers.get(task.cpu as usize).filter(|(pid, ..)| *pid == task.pid);
            let of_task = self.registers.iter().find(|(pid, ..)| *pid == task.pid);
            task.at = of_cpu.or(of_task).map(|(_, pc, sp)| (*pc, *sp));
            task
        });
    }

    /// For people.
    pub fn text(&self, opened: &Opened) -> String {
        let style = Style::stdout();
        let mut t = Table::default();
        let or = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        t.row("dump", opened.name());
        t.row("format", self.format.clone());
        for file in &opened.files {
            if let Some((records, _)) = file.stream {
                t.row(
                    "flattened",
                    format!("{} in {} records", size(file.len), number(records as u64)),
                );
            }
        }
        if let Dump::Kdump(kdump) = &opened.dump
            && kdump.facts().sub.split.is_some()
        {
            for part in kdump.parts() {
                let range = part.facts.range();
                t.row("part", format!("pfns {} to {} (exclusive)", range.start, range.end));
            }
        }
        t.row("written by", self.writer);
        t.row("kernel", or(&self.release));
        if !self.version.is_empty() {
            t.row("version", self.version.clone());
        }
        if !self.node.is_empty() {
            t.row("host", self.node.clone());
        }
        t.row(
            "architecture",
            format!("{}, pages of {}", self.machine, size(opened.shift.bytes() as u64)),
        );
        t.row("CPUs", self.cpus.to_string());
        t.row("crashed", self.crash_time.map_or("unknown".into(), time));
        t.row(
            "panic",
            match (&self.panic, &self.log) {
                (Some(line), _) => line.clone(),
                (None, Ok(_)) => "not in the kernel log".into(),
                (None, Err(_)) => "unknown: the kernel log cannot be read".into(),
            },
        );
        if let Some(task) = &self.task {
            let mut text = format!("{} (pid {}) on CPU {}", task.name, task.pid, task.cpu);
            if let Some((pc, sp)) = task.at {
                text += &format!(", pc {pc:#x}, sp {sp:#x}");
            }
            t.row("panic task", text);
        }
        if let Some(level) = self.level {
            t.row("dump level", format!("{level} ({})", level_words(level)));
        }
        let pages = &self.pages;
        t.row("memory", format!("{} in {} pages", size(self.memory), number(pages.exist)));
        t.row(
            "in the dump",
            format!("{} pages ({})", number(pages.stored), percent(pages.stored, pages.exist)),
        );
        t.row("left out", format!("{} pages", number(pages.exist.saturating_sub(pages.kept))));
        if let Some(s) = &self.survey {
            for (codec, amount) in &s.codecs {
                t.row(
                    format!("  {}", codec.name()),
                    format!("{} pages, {}", number(amount.pages), size(amount.bytes)),
                );
            }
            if s.raw.pages > 0 {
                t.row("  raw", format!("{} pages, {}", number(s.raw.pages), size(s.raw.bytes)));
            }
            if s.zero > 0 {
                t.row("  zero", format!("{} pages, sharing one", number(s.zero)));
            }
            if s.missing() > 0 {
                t.row("  missing", format!("{} pages", number(s.missing())));
            }
        }
        let ratio = match &self.survey {
            Some(s) if s.data() > 0 => {
                let stored = s.raw.pages + s.codecs.values().map(|a| a.pages).sum::<u64>();
                let bytes = stored * opened.shift.bytes() as u64;
                format!(", page data compressed {:.2} : 1", bytes as f64 / s.data() as f64)
            }
            _ => String::new(),
        };
        t.row(
            "file size",
            format!("{} ({} of memory){ratio}", size(self.file), percent(self.file, self.memory)),
        );
        let damaged = if self.notes_damaged { ", then something that is no note" } else { "" };
        t.row("notes", format!("{}{damaged}", self.notes));
        t.row(
            "VMCOREINFO",
            if self.keys == 0 { "none".into() } else { format!("{} keys", self.keys) },
        );
        if let Ok(records) = self.log {
            t.row("kernel log", format!("{} lines", number(records)));
        }
        match self.missing.as_slice() {
            [] => t.row("complete", style.good("yes")),
            why => {
                for (index, why) in why.iter().enumerate() {
                    let label = if index == 0 { "complete" } else { "" };
                    let no = if index == 0 { "no: " } else { "    " };
                    t.row(label, style.bad(&format!("{no}{why}")));
                }
            }
        }
        t.text(style)
    }

    /// An entry of `dumps` of tamis.info.
    pub fn json(&self, opened: &Opened) -> Object {
        let kdump = match &opened.dump {
            Dump::Kdump(kdump) => Some(kdump),
            Dump::Elf(_) => None,
        };
        let split = kdump.is_some_and(|k| k.facts().sub.split.is_some());
        let files: Vec<Json> = opened
            .files
            .iter()
            .map(|f| {
                let stream = f.stream.map(|(records, ends)| {
                    Object::new().with("records", records).with("has_end", ends).with("size", f.len)
                });
                Object::new()
                    .with("path", f.raw.path.display().to_string())
                    .with("size", f.raw.len)
                    .with("flattened", stream)
                    .into()
            })
            .collect();
        let parts = split.then(|| {
            kdump.map_or(Vec::new(), |k| {
                k.parts()
                    .iter()
                    .map(|p| {
                        Object::new()
                            .with("start_pfn", p.facts.range().start.0)
                            .with("end_pfn", p.facts.range().end.0)
                            .into()
                    })
                    .collect::<Vec<Json>>()
            })
        });
        let machine = opened.dump.machine();
        let text = |s: &str| Some(s.to_owned()).filter(|s| !s.is_empty());
        let mut pages = Object::new()
            .with("max_pfn", self.pages.max_pfn)
            .with("exist", self.pages.exist)
            .with("stored", self.pages.stored)
            .with("left_out", self.pages.exist.saturating_sub(self.pages.kept));
        let mut codecs = Vec::new();
        if let Some(s) = &self.survey {
            pages = pages
                .with("zero", s.zero)
                .with("lost", s.lost)
                .with("cut_off", s.cut_off)
                .with("in_other_files", s.elsewhere)
                .with("bad_descriptors", s.bad);
            let entry = |name: &str, pages: u64, bytes: u64| {
                Object::new().with("codec", name).with("pages", pages).with("bytes", bytes)
            };
            for codec in Codec::ALL {
                if let Some(a) = s.codecs.get(&codec) {
                    codecs.push(entry(codec.name(), a.pages, a.bytes).into());
                }
            }
            if s.raw.pages > 0 {
                codecs.push(entry("raw", s.raw.pages, s.raw.bytes).into());
            }
        }
        let kernel = Object::new()
            .with("release", text(&self.release))
            .with("version", text(&self.version))
            .with("host", text(&self.node))
            .with("crash_time", self.crash_time)
            .with("panic", self.panic.clone())
            .with(
                "panic_task",
                self.task.as_ref().map(|task| {
                    let at = |at: fn(&(u64, u64)) -> u64| {
                        task.at.as_ref().map(|both| format!("{:#x}", at(both)))
                    };
                    Object::new()
                        .with("name", task.name.as_str())
                        .with("pid", task.pid)
                        .with("cpu", task.cpu)
                        .with("pc", at(|both| both.0))
                        .with("sp", at(|both| both.1))
                }),
            )
            .with("log_lines", self.log.clone().ok())
            .with("log_error", self.log.clone().err());
        let word = if machine.word == Word::Bits64 { 64u8 } else { 32 };
        Object::new()
            .with("files", Json::List(files))
            .with("format", if kdump.is_some() { "kdump" } else { "elf" })
            .with("header_version", kdump.map(|k| k.facts().main.version))
            .with(
                "signature",
                kdump.map(|k| match k.facts().main.signature {
                    Signature::Kdump => "KDUMP",
                    Signature::Tamis => "TAMIS",
                }),
            )
            .with("written_by", self.writer)
            .with("split", parts.map(Json::List))
            .with("kernel", kernel)
            .with(
                "machine",
                Object::new()
                    .with("name", self.machine.as_str())
                    .with("elf_machine", machine.elf_machine)
                    .with("word_bits", word)
                    .with("big_endian", machine.endian == Endian::Big)
                    .with("page_size", opened.shift.bytes())
                    .with("cpus", self.cpus),
            )
            .with("dump_level", self.level)
            .with("pages", pages)
            .with("codecs", Json::List(codecs))
            .with(
                "bytes",
                Object::new()
                    .with("memory", self.memory)
                    .with("files", self.file)
                    .with("page_data", self.survey.as_ref().map(Survey::data)),
            )
            .with("notes", self.notes)
            .with("notes_damaged", self.notes_damaged)
            .with("vmcoreinfo_keys", self.keys)
            .with("complete", self.missing.is_empty())
            .with("missing", self.missing.clone())
    }
}

/// What a dump level leaves out.
pub fn level_words(level: u32) -> String {
    const BITS: [&str; 5] =
        ["zero pages", "page cache", "private page cache", "memory of processes", "free pages"];
    let words: Vec<&str> =
        BITS.iter().enumerate().filter(|(bit, _)| level >> bit & 1 != 0).map(|(_, w)| *w).collect();
    match (words.as_slice(), level) {
        (_, 32..) => "not a level".into(),
        ([], _) => "nothing left out".into(),
        (words, _) => format!("without {}", words.join(", ")),
    }
}

/// Length of the union of ranges.
fn union(mut ranges: Vec<(u64, u64)>) -> u64 {
    ranges.sort_unstable();
    let (mut sum, mut end) = (0, 0);
    for (from, to) in ranges {
        let from = from.max(end);
        if to > from {
            sum += to - from;
            end = to;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_ranges_count_once() {
        assert_eq!(union(vec![(5, 9), (1, 3), (2, 6), (9, 9)]), 8);
        assert_eq!(union(vec![]), 0);
    }

    #[test]
    fn levels_are_told_in_words() {
        assert_eq!(level_words(0), "nothing left out");
        assert_eq!(level_words(17), "without zero pages, free pages");
        assert_eq!(level_words(99), "not a level");
    }
}
