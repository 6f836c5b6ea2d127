//! All that is known of a dump on one page, for whoever is told of the crash.

mod html;

use crate::about::facts::{Facts, level_words};
use crate::about::findings::Verdict;
use crate::about::log::log;
use crate::about::notes::{cpu_notes, notes};
use crate::about::panic::{PANIC, end_of_life};
use crate::about::registers::registers;
use crate::about::system::taint_words;
use crate::about::verify::verify;
use crate::args::level::levels;
use crate::classes::Class;
use crate::classes::map::{COLUMNS, ROWS, draw, picture_of};
use crate::classes::stats::{Stats, count};
use crate::dump::opened::{Opened, level_of};
use crate::fail::Result;
use crate::kernel::lists::modules;
use crate::kernel::stack::{Which, stacks};
use crate::render::progress::Progress;
use crate::render::text::{number, percent, plain, size};
use anstream::adapter::strip_str;
use html::Page;
use sha2::{Digest, Sha256};
use std::io;
use tamis_core::io::RandomAccess as _;
use tamis_core::kernel::log::Options;
use tamis_core::memory::PhysMemory as _;

/// Faults that are listed.
const FAULTS: usize = 20;
/// CPUs whose registers are shown.
const CPUS: usize = 1024;
/// Bytes of a log at most.
const LOG: usize = 64 << 20;

/// Looks at a dump, all of it, in so many threads; makes a page of HTML of what it is and why its kernel died. It has
/// no contents of memory, but for registers, and the end of the log.
pub fn report(opened: &mut Opened, threads: usize) -> Result<String> {
    let facts = Facts::of(opened)?;
    let title = match (&facts.kernel.panic, &facts.kernel.release) {
        (Some(line), _) => line.clone(),
        (None, Some(release)) => format!("Dump of Linux {release}"),
        (None, None) => "Dump of a kernel".to_owned(),
    };
    let mut page = Page::new(&title);
    page.pairs(&died(&facts));
    log_part(&mut page, opened);
    stack_part(&mut page, opened);
    cpu_part(&mut page, opened)?;
    module_part(&mut page, opened);
    let known = level_of(opened);
    let stats = count(opened, &levels(known, &[0, 1, 2, 4, 8, 16, 31]), threads)?;
    memory_part(&mut page, opened, &stats);
    dump_part(&mut page, opened, &facts, threads)?;
    Ok(page.end(&format!(
        "Made by tamis {}. This page has names, messages of the kernel, its command line and registers, and no other \
         contents of its memory.",
        env!("CARGO_PKG_VERSION")
    )))
}

fn pair(label: &str, value: impl Into<String>) -> (String, String) {
    (label.to_owned(), value.into())
}

/// What died, when, and doing what.
fn died(facts: &Facts) -> Vec<(String, String)> {
    let (kernel, machine) = (&facts.kernel, &facts.machine);
    let release = kernel.release.as_deref().unwrap_or("unknown");
    let version = kernel.version.as_ref().map_or(String::new(), |version| format!(" {version}"));
    let mut rows = vec![pair("kernel", format!("Linux {release}{version}"))];
    if let Some(host) = &kernel.host {
        rows.push(pair("host", host.clone()));
    }
    let cpus = if machine.cpus == 1 { "1 CPU".into() } else { format!("{} CPUs", machine.cpus) };
    rows.push(pair(
        "machine",
        format!("{}, {cpus}, {} of memory", machine.name, size(facts.bytes.memory)),
    ));
    rows.push(pair("crashed", kernel.crashed()));
    let why = match (&kernel.panic, &kernel.log_error) {
        (Some(line), _) => line.clone(),
        (None, None) => "not in the kernel log".into(),
        (None, Some(error)) => error.clone(),
    };
    rows.push(pair("died of", why));
    if let Some(task) = &kernel.panic_task {
        let states = &machine.cpu_states;
        let state = states.iter().find(|state| state.pc.is_some() && state.pc == task.pc);
        let place = state.and_then(|state| state.symbol.as_ref());
        let place = place.map_or(String::new(), |place| format!(", in {place}"));
        let text = format!("{} (pid {}) on CPU {}{place}", task.name, task.pid, task.cpu);
        rows.push(pair("task", text));
    }
    if let Some(letters) = &kernel.taint {
        rows.push(pair("taint", taint_words(letters)));
    }
    if let Some(line) = &kernel.command_line {
        rows.push(pair("command line", line.clone()));
    }
    rows
}

fn log_part(page: &mut Page, opened: &mut Opened) {
    page.heading("End of the kernel log");
    let mut text = Vec::new();
    let options = Options { since_clear: false, strict: true };
    let read = log(opened, options, &mut |part| {
        if text.len() < LOG {
            text.extend_from_slice(part);
        }
        io::Result::Ok(())
    });
    if let Err(fail) = read {
        return page.words(&fail.line());
    }
    let lines = end_of_life(&String::from_utf8_lossy(&text));
    let marks = [PANIC, "BUG: ", "RIP: ", "Oops: "];
    page.lines(&lines, |line| marks.iter().any(|mark| line.contains(mark)));
}

fn stack_part(page: &mut Page, opened: &mut Opened) {
    // Kernels without types, and machines whose stacks are not known, have none here; the log has its own.
    let Ok(found) = stacks(opened, &Which::Panic) else { return };
    page.heading("Stack of the task that panicked");
    let lines: Vec<String> = found.text().lines().map(str::to_owned).collect();
    page.lines(&lines, |_| false);
}

fn cpu_part(page: &mut Page, opened: &mut Opened) -> Result<()> {
    page.heading("CPUs");
    let machine = opened.dump.machine();
    let contents = cpu_notes(opened)?;
    let mut found = notes(opened)?;
    found.name(opened);
    let states = found.notes.iter().filter(|note| note.is_of_cpu());
    let word = machine.word.bytes() * 2;
    for (index, (state, desc)) in states.zip(&contents).take(CPUS).enumerate() {
        let state = &state.registers;
        let of = state.pid.map_or(String::new(), |pid| format!(": process {pid}"));
        let place = state.symbol.clone().or_else(|| state.pc.map(|pc| pc.to_string()));
        let place = place.map_or(String::new(), |place| format!(" in {place}"));
        let registers = registers(machine, desc);
        page.folded(&format!("CPU {index}{of}{place}"), index == 0, |page| {
            let each = |(name, value): &(&str, u64)| format!("{name:>9} {value:0word$x}");
            let lines =
                registers.chunks(4).map(|four| four.iter().map(each).collect::<Vec<_>>().join(""));
            page.lines(&lines.collect::<Vec<_>>(), |_| false);
        });
    }
    if contents.is_empty() {
        page.words("The dump has no registers.");
    } else if contents.len() > CPUS {
        page.words(&format!("And {} more (tamis notes).", contents.len() - CPUS));
    }
    Ok(())
}

fn module_part(page: &mut Page, opened: &mut Opened) {
    page.heading("Modules");
    match modules(opened) {
        Ok(found) => {
            let names = found.modules.iter().map(|m| format!("{} ({})", m.name, size(m.size)));
            let names: Vec<_> = names.collect();
            page.words(&if names.is_empty() { "none".to_owned() } else { names.join(", ") });
            if let Some(error) = found.error {
                page.words(&format!("There may be more: {error}"));
            }
        }
        Err(fail) => {
            page.words(&format!("Not known: {}. An oops in the log lists them.", fail.line()))
        }
    }
}

fn memory_part(page: &mut Page, opened: &mut Opened, stats: &Stats) {
    page.heading("Memory");
    let map = picture_of(opened, COLUMNS, ROWS);
    page.picture(&draw(opened, &map).svg());
    let exist: u64 = Class::ALL.iter().map(|class| stats.classes[*class].pages).sum();
    let head = ["used for", "pages", "", "size", "in the dump", "of them zeros"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for class in Class::ALL {
        let found = &stats.classes[class];
        if found.pages > 0 {
            rows.push(vec![
                class.name().to_owned(),
                number(found.pages),
                percent(found.pages, exist),
                size(found.pages * stats.page_size),
                number(found.stored),
                number(found.zero),
            ]);
        }
    }
    page.columns(&rows);
    page.heading("Dump levels");
    let head = ["level", "pages it leaves", "bytes before compression"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for left in &stats.levels {
        let words = level_words(left.level.into());
        let level = format!("{} ({words})", left.level);
        rows.push(vec![level, number(left.pages), size(left.bytes)]);
    }
    page.columns(&rows);
}

fn dump_part(page: &mut Page, opened: &mut Opened, facts: &Facts, threads: usize) -> Result<()> {
    page.heading("The dump");
    let found = verify(opened, FAULTS, threads)?;
    let mut rows = Vec::new();
    let format = match facts.header_version {
        Some(version) => format!("kdump-compressed, version {version}"),
        None => facts.form.unwrap_or("ELF core").to_owned(),
    };
    rows.push(pair("format", format));
    rows.push(pair("written by", facts.written_by));
    if let Some(level) = facts.dump_level {
        rows.push(pair("dump level", format!("{level} ({})", level_words(level))));
    }
    let pages = &facts.pages;
    rows.push(pair(
        "in the dump",
        format!("{} pages ({})", number(pages.stored), percent(pages.stored, pages.exist)),
    ));
    rows.push(pair("left out", format!("{} pages", number(pages.left_out))));
    let codec =
        |s: &crate::about::facts::Stored| format!("{} pages of {}", number(s.pages), s.codec);
    let codecs: Vec<String> = facts.codecs.iter().map(codec).collect();
    if !codecs.is_empty() {
        rows.push(pair("stored as", codecs.join(", ")));
    }
    rows.push(pair("complete", if facts.complete { "yes" } else { "no" }));
    rows.extend(facts.missing.iter().map(|why| pair("", why.clone())));
    let sums = match found.pages.checksums {
        0 => "none has a checksum".to_owned(),
        some => format!("{} of them have a checksum", number(some)),
    };
    let mut verdict =
        format!("{}: {} pages good, {sums}", found.verdict.word(), number(found.pages.good));
    for (count, what) in [(found.pages.damaged, "damaged"), (found.pages.missing, "missing")] {
        if count > 0 {
            verdict += &format!(", {} {what}", number(count));
        }
    }
    rows.push(pair("verified", verdict));
    page.pairs(&rows);
    if found.verdict != Verdict::Sound {
        // The last line has the verdict, and the file's name.
        let text = strip_str(&found.text()).to_string();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let lines = lines.split_last().map_or(&[][..], |(_, faults)| faults);
        page.lines(lines, |_| false);
    }
    found.warnings.iter().for_each(|warning| page.words(warning));
    let mut rows = vec![["file", "bytes", "SHA-256"].map(str::to_owned).to_vec()];
    for (path, bytes, sum) in sums_of(opened)? {
        rows.push(vec![path, number(bytes), sum]);
    }
    page.columns(&rows);
    Ok(())
}

/// Each file, as it is on disk: its name, its bytes and their SHA-256.
fn sums_of(opened: &Opened) -> Result<Vec<(String, u64, String)>> {
    const STEP: usize = 1 << 20;
    let mut progress = Progress::new("Hashing");
    let total: u64 = opened.files.iter().map(|file| file.raw.len).sum();
    let (mut done, mut sums, mut buf) = (0, Vec::new(), vec![0; STEP]);
    for file in &opened.files {
        let (mut reader, mut at, mut sum) = (file.raw.reader(), 0, Sha256::new());
        while at < file.raw.len {
            let part = &mut buf[..(file.raw.len - at).min(STEP as u64) as usize];
            let read = reader.read_at(at, part);
            read.map_err(|error| file.raw.fail(format_args!("reading offset {at}: {error}")))?;
            sum.update(&*part);
            at += part.len() as u64;
            done += part.len() as u64;
            progress.set(done, total);
        }
        let sum = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        // Whoever gets the page knows the folders of another machine not.
        let name = file
            .raw
            .path
            .file_name()
            .map_or("standard input".into(), |name| plain(name.as_encoded_bytes()));
        sums.push((if name == "-" { "standard input".into() } else { name }, file.raw.len, sum));
    }
    Ok(sums)
}
