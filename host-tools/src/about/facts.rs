//! What a dump is: the document that `tamis info` prints, as a text or as JSON.

use crate::about::log::log;
use crate::about::notes::{Notes, Registers, notes};
use crate::about::panic::{Task, panic_line, panic_task};
use crate::about::system::{System, duration, taint_words};
use crate::about::xen::hypervisor;
use crate::dump::input::FileInfo;
use crate::dump::machines;
use crate::dump::opened::{About, Dump, Opened};
use crate::dump::survey::{Survey, survey};
use crate::fail::Result;
use crate::render::json::{Document, Hex};
use crate::render::progress::Progress;
use crate::render::text::{Table, bad, good, number, percent, plain, size, time};
use serde::Serialize;
use std::io;
use tamis_core::endian::{Endian, Word};
use tamis_core::input::image::Kind;
use tamis_core::input::kdump::Codec;
use tamis_core::kernel::log::Options;
use tamis_core::kernel::utsname::Utsname;
use tamis_core::memory::{Dump as _, MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::units::{Pfn, PfnSpan};
use tamis_core::wire::disk_header::Signature;
use tamis_core::wire::elf;

/// What several dumps are.
#[derive(Serialize)]
pub struct Info {
    /// Each of them.
    pub dumps: Vec<Facts>,
}

impl Document for Info {
    const SCHEMA: &'static str = "tamis.info/1";
}

/// What one dump is.
#[derive(Serialize)]
pub struct Facts {
    /// Its files.
    pub files: Vec<File>,
    /// `kdump`, `elf`, or of a memory image `sadump`, `lime`, `vmware` or `raw`.
    pub format: &'static str,
    /// The format of a memory image in words.
    #[serde(skip)]
    pub form: Option<&'static str>,
    /// Whether VMCOREINFO was found in memory.
    #[serde(skip)]
    pub text_found: bool,
    /// Of a kdump dump.
    pub header_version: Option<u32>,
    /// Of a kdump dump, `KDUMP` or `TAMIS`.
    pub signature: Option<&'static str>,
    /// The program that wrote it, in words: a conclusion.
    pub written_by: &'static str,
    /// The pfns of each file of a split dump.
    pub split: Option<Vec<Span>>,
    /// The kernel that died.
    pub kernel: Kernel,
    /// Its machine.
    pub machine: Machine,
    /// The dump level, where dumps of that version have one.
    pub dump_level: Option<u32>,
    /// Its pages.
    pub pages: Pages,
    /// How they are stored.
    pub codecs: Vec<Stored>,
    /// Their bytes.
    pub bytes: Bytes,
    /// Number of notes.
    pub notes: usize,
    /// Whether the notes end in something that is not a note.
    pub notes_damaged: bool,
    /// Number of keys in VMCOREINFO.
    pub vmcoreinfo_keys: usize,
    /// Whether all is there.
    pub complete: bool,
    /// If not, why.
    pub missing: Vec<String>,
}

/// A file of a dump.
#[derive(Serialize)]
pub struct File {
    /// As it was given.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// If it is a flattened stream.
    pub flattened: Option<Flattened>,
}

/// A flattened stream.
#[derive(Serialize)]
pub struct Flattened {
    /// Number of its records.
    pub records: usize,
    /// Whether its end is there.
    pub has_end: bool,
    /// Bytes of the file that it stands for.
    pub size: u64,
}

/// A range of pfns.
#[derive(Serialize)]
pub struct Span {
    /// The first.
    pub start_pfn: u64,
    /// The one behind the last.
    pub end_pfn: u64,
}

/// The kernel that died.
#[derive(Default, Serialize)]
pub struct Kernel {
    /// As `uname -r` prints it.
    pub release: Option<String>,
    /// As `uname -v` prints it.
    pub version: Option<String>,
    /// The name of its host.
    pub host: Option<String>,
    /// Seconds since 1970.
    pub crash_time: Option<u64>,
    /// Seconds that it ran, by the last time stamp of its log.
    pub uptime: Option<u64>,
    /// Its command line.
    pub command_line: Option<String>,
    /// Letters of what tainted it, as its log has them, without G; empty for nothing.
    pub taint: Option<String>,
    /// A line of its log.
    pub panic: Option<String>,
    /// The task that ran then.
    pub panic_task: Option<Task>,
    /// Lines of its log.
    pub log_lines: Option<u64>,
    /// Why there is no log.
    pub log_error: Option<String>,
}

/// The machine of a dump.
#[derive(Serialize)]
pub struct Machine {
    /// As `uname -m` prints it.
    pub name: String,
    /// `e_machine` of ELF.
    pub elf_machine: u16,
    /// 32 or 64.
    pub word_bits: u8,
    /// Whether it is a big-endian one.
    pub big_endian: bool,
    /// Bytes of a page.
    pub page_size: usize,
    /// Whether nothing in the dump says that size, and the machine has others.
    pub page_size_assumed: bool,
    /// Whether a Xen hypervisor was below the kernel: page numbers are the machine's.
    pub xen: bool,
    /// That hypervisor and its guests, or why nothing is known of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// Number of its CPUs.
    pub cpus: u32,
    /// Where each CPU was, as the register notes have it, in their order.
    pub cpu_states: Vec<Registers>,
}

/// Pages of a dump by state.
#[derive(Default, Serialize)]
pub struct Pages {
    /// One past the last pfn.
    pub max_pfn: u64,
    /// Pages of memory.
    pub exist: u64,
    /// Pages in the dump.
    pub stored: u64,
    /// Pages that were left out of it on purpose.
    pub left_out: u64,
    /// Of a kdump dump.
    #[serde(flatten)]
    pub descriptors: Option<Descriptors>,
}

/// Page descriptors by state.
#[derive(Clone, Copy, Serialize)]
pub struct Descriptors {
    /// Pages of zeros, which share one.
    pub zero: u64,
    /// Empty descriptors.
    pub lost: u64,
    /// Data past the end of the file.
    pub cut_off: u64,
    /// Pages in files that were not given.
    pub in_other_files: u64,
    /// Impossible descriptors.
    pub bad_descriptors: u64,
}

/// Pages that are stored in one way.
#[derive(Serialize)]
pub struct Stored {
    /// Name of the codec, or `raw`.
    pub codec: &'static str,
    /// Number of the pages.
    pub pages: u64,
    /// Their bytes in the file.
    pub bytes: u64,
}

/// Sizes of a dump.
#[derive(Serialize)]
pub struct Bytes {
    /// Of memory.
    pub memory: u64,
    /// Of the files.
    pub files: u64,
    /// Of the pages in a kdump dump.
    pub page_data: Option<u64>,
}

fn known(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn file(info: &FileInfo) -> File {
    let stream = info.stream;
    File {
        path: info.raw.path.display().to_string(),
        size: info.raw.len,
        flattened: stream.map(|(records, has_end)| Flattened { records, has_end, size: info.len }),
    }
}

/// Whether headers are as only QEMU writes them, on machines whose notes are not its own either.
fn is_of_qemu(opened: &Opened) -> bool {
    match (&opened.dump, &opened.elf) {
        (Dump::Elf(_), Some((_, header))) => {
            // It has the size of a pointer for that of the header, and sections come first.
            let size = elf::header_size(header.word);
            let at = elf::ehsize_at(header.word);
            let head = opened.files.first().and_then(|file| file.raw.head().ok());
            let size_at = head.and_then(|head| header.endian.u16(&head, at));
            size_at.is_some_and(|size| size == 8 || size == 4) || header.shoff == size as u64
        }
        (Dump::Kdump(kdump), _) => {
            // A stream, with no more of utsname than the machine.
            let main = &kdump.facts().main;
            let nameless = [0, 2, 3].iter().all(|field| main.uts(*field).is_empty());
            let stream = opened.files.iter().all(|file| file.stream.is_some());
            stream && nameless && main.crash_time == 0 && kdump.facts().sub.dump_level == 1
        }
        _ => false,
    }
}

/// Where CPUs were.
fn states(notes: &Notes) -> impl Iterator<Item = &Registers> {
    notes.notes.iter().map(|note| &note.registers).filter(|state| state.pid.is_some())
}

impl Kernel {
    /// When it crashed, and how long it had run.
    pub fn crashed(&self) -> String {
        let uptime = self.uptime.map_or(String::new(), |s| format!(", up {}", duration(s)));
        self.crash_time.map_or("unknown".into(), time) + &uptime
    }
}

/// The machine; its CPUs are counted from the notes.
fn machine(opened: &mut Opened, notes: &Notes) -> Machine {
    let machine = opened.dump.machine();
    Machine {
        name: machines::name(machine),
        elf_machine: machine.elf_machine,
        word_bits: if machine.word == Word::Bits64 { 64 } else { 32 },
        big_endian: machine.endian == Endian::Big,
        page_size: opened.shift.bytes(),
        page_size_assumed: opened.page_size_assumed,
        xen: opened.dump.origin().xen.is_xen(),
        hypervisor: hypervisor(opened),
        cpus: notes.notes.iter().filter(|note| note.is_of_cpu()).count() as u32,
        cpu_states: states(notes).cloned().collect(),
    }
}

/// The ways in which pages are stored.
fn codecs(survey: &Survey) -> Vec<Stored> {
    let codecs =
        Codec::ALL.iter().filter_map(|codec| Some((codec.name(), survey.codecs.get(codec)?)));
    let raw = Some(("raw", &survey.raw)).filter(|(_, raw)| raw.pages > 0);
    let stored = codecs.chain(raw);
    stored.map(|(codec, a)| Stored { codec, pages: a.pages, bytes: a.bytes }).collect()
}

impl Facts {
    /// Finds it all out.
    pub fn of(opened: &mut Opened) -> Result<Facts> {
        let mut notes = notes(opened)?;
        notes.name(opened);
        let of_qemu = |opened: &Opened| opened.image.is_none() && is_of_qemu(opened);
        let qemu = notes.notes.iter().any(|n| n.name == "QEMU") || of_qemu(opened);
        let streams = opened.files.iter().filter(|f| f.stream.is_some_and(|(_, ends)| !ends));
        let missing = streams.map(|f| format!("{}: the stream has no end", f.raw.name())).collect();
        let info = opened.info();
        let kernel = Kernel {
            release: info.release().map(plain).and_then(known),
            crash_time: opened.crash_time(),
            ..Kernel::default()
        };
        let machine = machine(opened, &notes);
        let lines = opened.text.split(|b| *b == b'\n' || *b == 0);
        let mut facts = Facts {
            files: opened.files.iter().map(file).collect(),
            format: opened.image.map_or("elf", |image| image.kind.name()),
            form: opened.image.map(|image| image.form),
            text_found: opened.text_found,
            header_version: None,
            signature: None,
            written_by: "unknown",
            split: None,
            kernel,
            machine,
            dump_level: None,
            pages: Pages { max_pfn: opened.max_pfn.0, ..Pages::default() },
            codecs: Vec::new(),
            bytes: Bytes {
                memory: 0,
                files: opened.files.iter().map(|f| f.raw.len).sum(),
                page_data: None,
            },
            notes: notes.notes.len(),
            notes_damaged: notes.damaged,
            vmcoreinfo_keys: lines.filter(|line| line.contains(&b'=')).count(),
            complete: false,
            missing,
        };
        if opened.elf.is_some() {
            facts.elf(opened, qemu);
            facts.names(opened);
        } else {
            facts.kdump(opened, qemu)?;
        }
        facts.bytes.memory = facts.pages.exist * opened.shift.bytes() as u64;
        facts.kernel_log(opened, &notes);
        facts.complete = facts.missing.is_empty();
        Ok(facts)
    }

    fn elf(&mut self, opened: &Opened, qemu: bool) {
        let ranges = opened.dump.ranges();
        let pages = |len: fn(&MemoryRange) -> u64| {
            let spans = ranges.iter().map(|r| opened.shift.touched(r.phys, len(r)));
            union(spans.map(|s| (s.start.0, s.end.0)).collect())
        };
        self.pages.exist = pages(|r| r.len);
        self.pages.stored = pages(|r| r.stored_len);
        self.pages.left_out = self.pages.exist.saturating_sub(self.pages.stored);
        let filtered = ranges.iter().any(|r| r.stored_len < r.len);
        self.written_by = if let Some(image) = opened.image {
            match image.kind {
                Kind::Sadump => "the machine's firmware",
                Kind::Lime if image.form.starts_with("AVML") => "AVML",
                Kind::Lime => "LiME or AVML",
                Kind::Vmware => "VMware",
                Kind::Raw => "unknown",
            }
        } else if qemu {
            "QEMU"
        } else if filtered {
            "makedumpfile or tamis-capture"
        } else if self.vmcoreinfo_keys > 0 || self.machine.xen {
            "a kernel (/proc/vmcore), or a tool that copied it"
        } else {
            "unknown"
        };
        let ends = ranges.iter().zip(&opened.offsets).filter(|(r, _)| r.stored_len > 0);
        let end = ends.map(|(r, at)| at.saturating_add(r.stored_len)).max().unwrap_or(0);
        let len = opened.files.first().map_or(0, |f| f.len);
        if end > len {
            self.missing.push(format!("the file ends {} bytes too early", end - len));
        }
        if let Some(About { missing, .. }) = opened.image.filter(|image| image.missing > 0) {
            self.missing
                .push(format!("{} of memory are not in the file, which is cut off", size(missing)));
        }
        let header = opened.elf.as_ref().map(|(_, header)| header);
        if header.is_some_and(|header| header.flags.contains(elf::Flags::INCOMPLETE)) {
            self.missing.push("its header says that it ended early".into());
        }
    }

    /// What the header of a kdump dump would have.
    fn names(&mut self, opened: &mut Opened) {
        let machine = opened.dump.machine();
        let read = opened.with_memory(|memory, info| Utsname::read(Some(memory), info, machine));
        if let Ok(uts) = read
            && uts.read
        {
            self.kernel.version = known(plain(uts.version()));
            self.kernel.host = known(plain(uts.nodename()));
        }
    }

    fn kdump(&mut self, opened: &mut Opened, qemu: bool) -> Result<()> {
        let files = opened.files.len();
        let Some(kdump) = opened.kdump() else { return Ok(()) };
        let head = *kdump.facts();
        let lz4 = head.main.signature == Signature::Tamis;
        self.format = "kdump";
        self.header_version = Some(head.main.version);
        self.signature = Some(if lz4 { "TAMIS" } else { "KDUMP" });
        self.written_by = match (qemu, lz4) {
            (_, true) => "tamis-capture",
            (true, _) => "QEMU",
            _ => "makedumpfile or tamis-capture",
        };
        let span = |PfnSpan { start, end }| Span { start_pfn: start.0, end_pfn: end.0 };
        let parts = || kdump.parts().iter().map(|part| span(part.facts.range())).collect();
        self.split = head.sub.split.is_some().then(parts);
        let uts = |field| known(plain(head.main.uts(field)));
        self.kernel.release = uts(2).or(self.kernel.release.take());
        self.kernel.version = uts(3);
        self.kernel.host = uts(1);
        self.dump_level = (head.main.version >= 1).then_some(head.sub.dump_level);
        if head.main.version < 4 {
            self.machine.cpus = head.main.nr_cpus;
        }
        if kdump.incomplete() {
            self.missing.push("its header says that it ended early".into());
        }
        if let Some(span) = kdump.missing_part() {
            let hint = if files == 1 { " (name the other files too)" } else { "" };
            let (first, last) = (span.start, Pfn(span.end.0 - 1));
            self.missing.push(format!("no file for pfns {first} to {last}{hint}"));
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
        self.pages.left_out = found.exist.saturating_sub(found.kept);
        self.pages.descriptors = Some(Descriptors {
            zero: found.zero,
            lost: found.lost,
            cut_off: found.cut_off,
            in_other_files: found.elsewhere,
            bad_descriptors: found.bad,
        });
        self.codecs = codecs(&found);
        self.bytes.page_data = Some(found.data());
        Ok(())
    }

    fn kernel_log(&mut self, opened: &mut Opened, notes: &Notes) {
        let mut lines = Vec::new();
        let result = log(opened, Options { since_clear: false, strict: true }, &mut |text| {
            // A log is some megabytes at most.
            if lines.len() < 64 << 20 {
                lines.extend_from_slice(text);
            }
            io::Result::Ok(())
        });
        match result {
            Ok(read) => self.kernel.log_lines = Some(read.report.records),
            Err(fail) => self.kernel.log_error = Some(fail.line()),
        }
        let System { command_line, taint, uptime } = System::of(opened, &lines);
        (self.kernel.command_line, self.kernel.taint) = (command_line, taint);
        self.kernel.uptime = uptime;
        self.kernel.panic = panic_line(&lines);
        self.kernel.panic_task = panic_task(&lines).map(|task| {
            let cpus = || states(notes);
            // Idle tasks all have the process 0: the notes are in the order of the CPUs.
            let of_cpu = cpus().nth(task.cpu as usize).filter(|r| r.pid == Some(task.pid));
            let at = of_cpu.or_else(|| cpus().find(|r| r.pid == Some(task.pid)));
            Task { pc: at.and_then(|r| r.pc), sp: at.and_then(|r| r.sp), ..task }
        });
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut t = Table::default();
        let or = |text: &Option<String>| text.clone().unwrap_or("unknown".into());
        let names = self.files.iter().map(|file| match file.path.as_str() {
            "-" => "standard input".to_owned(),
            path => plain(path.as_bytes()),
        });
        t.row("dump", names.collect::<Vec<_>>().join(", "));
        let version = self.header_version;
        let kdump = |version| format!("kdump-compressed, version {version}");
        t.row("format", version.map_or(self.form.unwrap_or("ELF core").into(), kdump));
        for stream in self.files.iter().filter_map(|file| file.flattened.as_ref()) {
            let (bytes, records) = (size(stream.size), number(stream.records as u64));
            t.row("flattened", format!("{bytes} in {records} records"));
        }
        for part in self.split.iter().flatten() {
            let (start, end) = (Hex(part.start_pfn), Hex(part.end_pfn));
            t.row("part", format!("pfns {start} to {end} (exclusive)"));
        }
        t.row("written by", self.written_by);
        self.kernel_rows(&mut t, or);
        self.page_rows(&mut t);
        let damaged = if self.notes_damaged { ", then something that is not a note" } else { "" };
        t.row("notes", format!("{}{damaged}", self.notes));
        t.row(
            "VMCOREINFO",
            match self.vmcoreinfo_keys {
                0 => "none".into(),
                keys if self.text_found => format!("{keys} keys, found in memory"),
                keys => format!("{keys} keys"),
            },
        );
        if let Some(lines) = self.kernel.log_lines {
            t.row("kernel log", format!("{} lines", number(lines)));
        }
        if self.complete {
            t.row("complete", good("yes"));
        }
        for (index, why) in self.missing.iter().enumerate() {
            let (label, no) = if index == 0 { ("complete", "no: ") } else { ("", "    ") };
            t.row(label, bad(&format!("{no}{why}")));
        }
        t.text()
    }

    fn kernel_rows(&self, t: &mut Table, or: impl Fn(&Option<String>) -> String) {
        let (kernel, machine) = (&self.kernel, &self.machine);
        t.row("kernel", or(&kernel.release));
        for (label, value) in [("version", &kernel.version), ("host", &kernel.host)] {
            if let Some(value) = value {
                t.row(label, value.clone());
            }
        }
        let page = size(machine.page_size as u64);
        let assumed = if machine.page_size_assumed { " (assumed: nothing says it)" } else { "" };
        t.row("architecture", format!("{}, pages of {page}{assumed}", machine.name));
        if let Some(hypervisor) = &machine.hypervisor {
            t.row("hypervisor", hypervisor.clone());
        }
        t.row("CPUs", machine.cpus.to_string());
        self.cpu_rows(t);
        t.row("crashed", kernel.crashed());
        t.row(
            "panic",
            match (&kernel.panic, &kernel.log_error) {
                (Some(line), _) => line.clone(),
                (None, None) => "not in the kernel log".into(),
                (None, Some(_)) => "unknown: the kernel log cannot be read".into(),
            },
        );
        if let Some(task) = &kernel.panic_task {
            let mut text = format!("{} (pid {}) on CPU {}", task.name, task.pid, task.cpu);
            if let (Some(pc), Some(sp)) = (task.pc, task.sp) {
                text += &format!(", pc {pc}, sp {sp}");
            }
            t.row("panic task", text);
        }
        if let Some(letters) = &kernel.taint {
            t.row("taint", taint_words(letters));
        }
        if let Some(line) = &kernel.command_line {
            t.row("command line", line.clone());
        }
    }

    /// Where CPUs were, if there are symbols; of many, the first ones.
    fn cpu_rows(&self, t: &mut Table) {
        const SHOWN: usize = 16;
        let states = &self.machine.cpu_states;
        if states.iter().all(|state| state.symbol.is_none()) {
            return;
        }
        for (index, state) in states.iter().take(SHOWN).enumerate() {
            let pc = state.pc.map_or(String::new(), |pc| pc.to_string());
            let place = state.symbol.as_ref().map_or(pc.clone(), |symbol| format!("{pc} {symbol}"));
            let pid = state.pid.unwrap_or(0);
            t.row(format!("  CPU {index}"), format!("process {pid} at {place}"));
        }
        if states.len() > SHOWN {
            t.row("", format!("and {} more (tamis notes)", states.len() - SHOWN));
        }
    }

    fn page_rows(&self, t: &mut Table) {
        if let Some(level) = self.dump_level {
            t.row("dump level", format!("{level} ({})", level_words(level)));
        }
        let (pages, bytes) = (&self.pages, &self.bytes);
        t.row("memory", format!("{} in {} pages", size(bytes.memory), number(pages.exist)));
        t.row(
            "in the dump",
            format!("{} pages ({})", number(pages.stored), percent(pages.stored, pages.exist)),
        );
        for stored in &self.codecs {
            let text = format!("{} pages, {}", number(stored.pages), size(stored.bytes));
            t.row(format!("  {}", stored.codec), text);
        }
        if let Some(d) = pages.descriptors {
            if d.zero > 0 {
                t.row("  zero", format!("{} pages, sharing one", number(d.zero)));
            }
            let missing = d.lost + d.cut_off + d.in_other_files;
            if missing > 0 {
                t.row("  missing", format!("{} pages", number(missing)));
            }
        }
        t.row("left out", format!("{} pages", number(pages.left_out)));
        let ratio = bytes.page_data.filter(|data| *data > 0).map(|data| {
            let stored = self.codecs.iter().map(|stored| stored.pages).sum::<u64>();
            let plain = stored * self.machine.page_size as u64;
            format!(", page data compressed {:.2} : 1", plain as f64 / data as f64)
        });
        let part = percent(bytes.files, bytes.memory);
        let ratio = ratio.unwrap_or_default();
        t.row("file size", format!("{} ({part} of memory){ratio}", size(bytes.files)));
    }
}

/// What a dump level leaves out.
pub fn level_words(level: u32) -> String {
    const BITS: [&str; 5] = ["zero", "page cache", "private page cache", "user", "free"];
    let words: Vec<&str> =
        BITS.iter().enumerate().filter(|(bit, _)| level >> bit & 1 != 0).map(|(_, w)| *w).collect();
    match (words.as_slice(), level) {
        (_, 32..) => "not a level".into(),
        ([], _) => "nothing left out".into(),
        (words, _) => format!("left out: {}", words.join(", ")),
    }
}

/// Length of the union of ranges.
pub(super) fn union(mut ranges: Vec<(u64, u64)>) -> u64 {
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
        assert_eq!(level_words(17), "left out: zero, free");
        assert_eq!(level_words(99), "not a level");
    }
}
