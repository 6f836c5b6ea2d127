//! Console output. Nothing here allocates.

use crate::cli::Messages;
use crate::sys::{self, File};
use core::fmt::{self, Write};
use tamis_core::capture::{Notice, Observer, Phase, Report};
use tamis_core::error::{part, part_mut};
use tamis_core::io::{IoError, IoKind};
use tamis_core::tally::Reason;

/// Bytes of a [`Line`].
const LINE: usize = 512;
/// How many notices of one kind are printed one by one.
const NOTICES: u64 = 8;

/// A small buffer in front of a file descriptor; written when full and when dropped.
pub struct Line {
    fd: i32,
    len: usize,
    text: [u8; LINE],
}

impl Line {
    /// An empty one.
    pub fn new(fd: i32) -> Line {
        Line { fd, len: 0, text: [0; LINE] }
    }

    /// Writes what it holds.
    pub fn flush(&mut self) {
        let held = part(&self.text, 0..self.len);
        if !held.is_empty() {
            sys::print(self.fd, held);
        }
        self.len = 0;
    }

    /// Bytes that need not be text, such as file names.
    pub fn bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.len == LINE {
                self.flush();
            }
            let room = part_mut(&mut self.text, self.len..LINE);
            let n = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.len += n;
            bytes = part(bytes, n..bytes.len());
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.flush();
    }
}

/// An error of the system, with the system's words for it.
pub struct Why(pub IoError);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.kind, self.0.code) {
            (IoKind::NoSpace, 0) => f.write_str("the size limit (-L) is reached"),
            (_, 0) => self.0.fmt(f),
            (_, code) => write!(f, "{}", sys::describe(code).escape_ascii()),
        }
    }
}

/// Prints messages by kind, and progress as one line a phase.
pub struct Console {
    messages: Messages,
    common: i32,
    terminal: bool,
    started: u64,
    phase: Option<Phase>,
    phase_started: u64,
    last: u64,
    shown: u64,
    counts: [u64; 6],
    spin: usize,
    watchdog: Option<File>,
    fed: u64,
    /// Least memory that was free, in bytes, where it is watched.
    least_free: Option<u64>,
    looked: u64,
}

impl Console {
    /// `stream` says that standard output is the dump: all messages go to standard error then.
    pub fn new(messages: Messages, stream: bool) -> Console {
        let now = sys::now();
        Console {
            messages,
            common: if stream { sys::STDERR } else { sys::STDOUT },
            terminal: sys::is_terminal(sys::STDERR),
            started: now,
            phase: None,
            phase_started: now,
            last: 0,
            shown: 0,
            counts: [0; 6],
            spin: 0,
            watchdog: None,
            fed: 0,
            least_free: None,
            looked: 0,
        }
    }

    /// Starts feeding this watchdog.
    pub fn feed(&mut self, watchdog: File) {
        self.watchdog = Some(watchdog);
        self.still_alive();
    }

    /// Disarms the watchdog if its driver supports that ("magic close").
    pub fn leave_watchdog(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.write(b"V");
        }
    }

    /// Feeds the watchdog once more and leaves it armed, and open: it complains when it is closed.
    pub fn leave_watchdog_armed(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            let _ = core::mem::ManuallyDrop::new(watchdog).write(b"\0");
        }
    }

    /// From now on looks, ten times a second at most, how much memory is free.
    pub fn watch_memory(&mut self) {
        self.least_free = Some(sys::memory().1);
    }

    /// The least memory that was free, in bytes.
    pub fn least_free(&self) -> Option<u64> {
        self.least_free
    }

    /// Feeds the watchdog, once a second at most, and looks at the memory.
    pub fn still_alive(&mut self) {
        let now = sys::now();
        if let Some(least) = &mut self.least_free
            && now.saturating_sub(self.looked) >= 100_000_000
        {
            *least = sys::memory().1.min(*least);
            self.looked = now;
        }
        if let Some(watchdog) = &self.watchdog
            && now.saturating_sub(self.fed) >= 1_000_000_000
        {
            let _ = watchdog.write(b"\0");
            self.fed = now;
        }
    }

    fn to(&self, kind: Messages, fd: i32, text: fmt::Arguments<'_>) {
        if self.messages.contains(kind) {
            let _ = Line::new(fd).write_fmt(text);
        }
    }

    /// An ordinary message.
    pub fn say(&self, text: fmt::Arguments<'_>) {
        self.to(Messages::COMMON, self.common, text);
    }

    /// Whether ordinary messages are wanted.
    pub fn says(&self) -> bool {
        self.messages.contains(Messages::COMMON)
    }

    /// Says where the dump is.
    pub fn saved(&self, names: &[&[u8]]) {
        if !self.says() {
            return;
        }
        let mut line = self.table();
        line.bytes(if names.len() > 1 {
            b"\nThe dumpfiles are saved to "
        } else {
            b"\nThe dumpfile is saved to "
        });
        if names.is_empty() {
            line.bytes(b"STDOUT");
        }
        for (index, name) in names.iter().enumerate() {
            line.bytes(match index {
                0 => b"",
                i if i + 1 == names.len() => b" and ",
                _ => b", ",
            });
            line.bytes(name);
        }
        line.bytes(b".\n");
    }

    /// A debug message, for -D.
    pub fn debug(&self, text: fmt::Arguments<'_>) {
        self.to(Messages::DEBUG, self.common, text);
    }

    /// Whether debug messages are wanted.
    pub fn debugs(&self) -> bool {
        self.messages.contains(Messages::DEBUG)
    }

    /// Something that went wrong, or that is not as asked for.
    pub fn warn(&self, text: fmt::Arguments<'_>) {
        if self.messages.contains(Messages::ERROR) {
            let mut line = Line::new(sys::STDERR);
            line.bytes(b"tamis-capture: ");
            let _ = line.write_fmt(text);
            line.bytes(b"\n");
        }
    }

    /// Two names are one file: nothing was done to it.
    pub fn warn_same(&self, name: &[u8], other: &[u8]) {
        let (name, other) = (name.escape_ascii(), other.escape_ascii());
        self.warn(format_args!("{name} is the same file as {other}: nothing was written"));
    }

    /// A file is not there under its name any more.
    pub fn warn_gone(&self, name: &[u8]) {
        let name = name.escape_ascii();
        self.warn(format_args!("{name} was deleted while it was written: nothing is saved"));
    }

    /// A table in which a plan or a report is laid out; to the ordinary messages.
    pub fn table(&self) -> Line {
        Line::new(self.common)
    }

    fn bar(&mut self, phase: Phase, done: u64, total: u64, now: u64) {
        if !self.messages.contains(Messages::PROGRESS) {
            return;
        }
        let mut line = Line::new(sys::STDERR);
        let mills = if total == 0 { 1000 } else { u128::from(done) * 1000 / u128::from(total) };
        let mills = mills.min(1000) as u64;
        let spinner = b"/|\\-".get(self.spin % 4).copied().unwrap_or(b' ');
        self.spin += 1;
        if self.terminal {
            line.bytes(b"\r");
        }
        let _ = write!(line, "{:<50}: [", label(phase));
        let _ = write!(line, "{:3}.{} %] {}  ", mills / 10, mills % 10, char::from(spinner));
        let elapsed = now.saturating_sub(self.phase_started) / 1_000_000;
        let _ = match elapsed.checked_mul(1000 - mills).and_then(|e| e.checked_div(mills)) {
            Some(left) if mills < 1000 => write!(line, "{:>16}", Eta(left / 1000)),
            _ => write!(line, "{:>16}", ""),
        };
        if !self.terminal {
            line.bytes(b"\n");
        }
        self.shown = mills;
    }

    fn end_phase(&mut self) {
        let Some(phase) = self.phase.take() else { return };
        if self.terminal && self.messages.contains(Messages::PROGRESS) {
            sys::print(sys::STDERR, b"\n");
        }
        let took = sys::now().saturating_sub(self.phase_started) / 1000;
        self.to(
            Messages::REPORT,
            self.common,
            format_args!(
                "STEP [{:<27}] : {}.{:06} seconds\n",
                label(phase),
                took / 1_000_000,
                took % 1_000_000
            ),
        );
    }

    /// The table of --show-stats, in makedumpfile's words. With `elf`, the pages left out of an
    /// ELF dump.
    pub fn report(&mut self, report: &Report, elf: bool) {
        self.end_phase();
        let (tally, fd, kind) = (&report.tally, self.common, Messages::REPORT);
        let original = tally.exist;
        let remaining = if elf { tally.kept } else { tally.kept - tally.of(Reason::Zero) };
        let row = |label: &str, pages: u64| {
            self.to(kind, fd, format_args!("{label}: 0x{pages:016x}\n"));
        };
        row("\nOriginal pages  ", original);
        row("  Excluded pages   ", tally.dropped());
        for (label, reason) in [
            ("    Pages filled with zero  ", Reason::Zero),
            ("    Non-private cache pages ", Reason::Cache),
            ("    Private cache pages     ", Reason::CachePrivate),
            ("    User process data pages ", Reason::User),
            ("    Free pages              ", Reason::Free),
            ("    Hwpoison pages          ", Reason::HwPoison),
            ("    Offline pages           ", Reason::Offline),
        ] {
            row(label, tally.of(reason));
        }
        #[cfg(feature = "rules")]
        if tally.of(Reason::Rule) > 0 {
            row("    Pages by rules          ", tally.of(Reason::Rule));
        }
        if tally.of(Reason::Guest) > 0 {
            row("    Xen guests' pages       ", tally.of(Reason::Guest));
        }
        if tally.no_data > 0 {
            row("  Not in the input ", tally.no_data);
        }
        row("  Remaining pages  ", remaining);
        let percent =
            (u128::from(remaining) * 100).checked_div(original.into()).unwrap_or(0) as u64;
        self.to(kind, fd, format_args!("  (The number of pages is reduced to {percent}%.)\n"));
        if tally.undecided > 0 {
            row("  Kept, undecided  ", tally.undecided);
        }
        if tally.unreadable > 0 {
            row("  Unreadable pages ", tally.unreadable);
        }
        row("Memory Hole     ", report.holes);
        self.to(kind, fd, format_args!("{:-<50}\n", ""));
        // Of 32-bit ARM, whose bits begin where memory does, fewer than the last pfn.
        row("Total pages     ", original.saturating_add(report.holes));
        self.to(kind, fd, format_args!("Write bytes     : {}\n\n", report.bytes));
    }

    /// Says how many notices were not printed one by one.
    pub fn summary(&mut self) {
        self.end_phase();
        let whats = [
            "stretches of struct pages were unreadable",
            "stretches have no memory section",
            "memory sections are offline",
            "pages could not be read",
            "stretches of the notes could not be read",
            "stretches are in doubt, as facts contradict each other",
        ];
        for (what, count) in whats.iter().zip(self.counts) {
            if count > NOTICES {
                self.warn(format_args!("in all, {count} {what}"));
            }
        }
    }

    /// Nanoseconds since the start.
    pub fn elapsed(&self) -> u64 {
        sys::now().saturating_sub(self.started)
    }
}

fn label(phase: Phase) -> &'static str {
    match phase {
        Phase::Classify => "Excluding unnecessary pages",
        Phase::Copy => "Copying data",
    }
}

/// Seconds to go, as the reference writes them.
struct Eta(u64);

impl fmt::Display for Eta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0;
        let mut text = heapless::String::<24>::new();
        let _ = match s {
            0..100 => write!(text, "eta: {s}s"),
            100..6000 => write!(text, "eta: {}m{}s", s / 60, s % 60),
            6000..172_800 => write!(text, "eta: {}h{}m", s / 3600, s / 60 % 60),
            172_800..8_640_000 => write!(text, "eta: {}d{}h", s / 86_400, s / 3600 % 24),
            _ => write!(text, "eta: >100day"),
        };
        f.pad(&text)
    }
}

impl Observer for Console {
    fn stopped(&mut self) -> bool {
        sys::stop_asked()
    }

    fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        self.still_alive();
        panic_if_told(phase, done);
        let now = sys::now();
        if self.phase != Some(phase) {
            self.end_phase();
            self.phase = Some(phase);
            self.phase_started = now;
            self.last = 0;
            self.shown = 0;
        }
        // Seconds between two reports: a terminal wants to see life, a log wants to stay short.
        let pause = if self.terminal { 1_000_000_000 } else { 5_000_000_000 };
        let end = done >= total;
        if end && self.shown < 1000 || !end && now.saturating_sub(self.last) >= pause {
            // Phases that are done at once need no more than their end.
            if end || self.last != 0 || self.terminal {
                self.bar(phase, done, total, now);
            }
            self.last = now;
        }
    }

    fn notice(&mut self, notice: Notice) {
        let kind = match notice {
            Notice::MemMapUnreadable(_) => 0,
            Notice::NoSection(_) => 1,
            Notice::OfflineSection(_) => 2,
            Notice::PageLost(..) => 3,
            Notice::NotesLost(..) => 4,
            // What is damaged.
            _ => 5,
        };
        let Some(count) = self.counts.get_mut(kind) else { return };
        *count += 1;
        if *count <= NOTICES {
            if self.terminal && self.phase.is_some() && self.shown > 0 {
                sys::print(sys::STDERR, b"\n");
            }
            self.warn(format_args!("{notice}"));
        }
    }
}

/// Panics once this many pages are copied, in a program that is built with TAMIS_PANIC_AT set to their
/// number: a test of what becomes of the dump and the machine then. In any other there is nothing of it.
#[expect(clippy::panic, reason = "what it is for")]
fn panic_if_told(phase: Phase, done: u64) {
    const AT: Option<&str> = option_env!("TAMIS_PANIC_AT");
    if let Some(at) = AT
        && phase == Phase::Copy
        && at.parse().is_ok_and(|at: u64| done >= at)
    {
        panic!("{done} pages are copied, and TAMIS_PANIC_AT was {at}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_go_are_short() {
        let text = |s| std::format!("{}", Eta(s));
        assert_eq!(text(7), "eta: 7s");
        assert_eq!(text(125), "eta: 2m5s");
        assert_eq!(text(7260), "eta: 2h1m");
        assert_eq!(text(200_000), "eta: 2d7h");
        assert_eq!(text(u64::MAX), "eta: >100day");
        assert_eq!(std::format!("{:>16}", Eta(7)), "         eta: 7s");
    }
}
