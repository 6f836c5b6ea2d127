//! The log of the dead kernel.

use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::json::Document;
use crate::render::text::date;
use serde::Serialize;
use std::io;
use tamis_core::kernel::log::{LogError, LogReport, Options, dump};
use tamis_core::memory::Ranges as _;

/// A log, line by line.
#[derive(Serialize)]
pub struct Lines {
    /// Records; of a plain ring, lines.
    pub records: u64,
    /// Records that are missing, damaged or were not finished.
    pub records_left_out: u64,
    /// Whether page tables that are missing had to be done without.
    pub by_arithmetic: bool,
    /// As they are printed.
    pub lines: Vec<String>,
    /// The same, taken apart.
    pub entries: Vec<Entry>,
}

/// A record of a log; of a plain ring, and of what stands in front of the first stamp, a line.
#[derive(Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Microseconds since the kernel was started.
    pub time: Option<u64>,
    /// `T1` for a task, `C0` for a CPU, where the kernel noted that.
    pub caller: Option<String>,
    /// Its lines.
    pub text: String,
}

/// The microseconds of the time stamp that a line begins with, and what stands behind it: six digits behind the point.
pub fn stamp(line: &str) -> Option<(u64, &str)> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (seconds, micros) = stamp.trim_start_matches(' ').split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(micros) || micros.len() != 6 {
        return None;
    }
    let micros: u64 = micros.parse().ok()?;
    let time = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?;
    Some((time, rest))
}

/// A line of a log behind its time stamp, and behind the caller if there is one.
pub fn message(line: &str) -> &str {
    let mut rest = line;
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once("] ")) {
        rest = after;
    }
    rest
}

/// The caller that stands behind a time stamp, and the text.
fn caller(rest: &str) -> (Option<&str>, &str) {
    let found = rest.strip_prefix('[').and_then(|inside| inside.split_once("] "));
    let is_one = |name: &str| {
        name.strip_prefix(['T', 'C']).is_some_and(|n| !n.is_empty() && n.parse::<u32>().is_ok())
    };
    match found.map(|(name, text)| (name.trim_start_matches(' '), text)) {
        // Its width tells it from a text that begins in the same way.
        Some((name, text)) if is_one(name) && rest.len() - text.len() >= 11 => (Some(name), text),
        _ => (None, rest),
    }
}

/// Takes the lines of a log apart. Lines of a record behind its first one are indented by as much as that has in front of
/// its text, so that no text can pass for a record.
pub fn entries(lines: &[String]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut indent = 0;
    for line in lines {
        match (stamp(line), entries.last_mut()) {
            (Some((time, rest)), _) => {
                let (caller, text) = caller(rest);
                indent = line.len() - text.len();
                let caller = caller.map(str::to_owned);
                entries.push(Entry { time: Some(time), caller, text: text.to_owned() });
            }
            (None, Some(last)) if last.time.is_some() => {
                last.text.push('\n');
                let all = line.len() - line.trim_start_matches(' ').len();
                last.text += line.split_at(indent.min(all)).1;
            }
            (None, _) => entries.push(Entry { time: None, caller: None, text: line.clone() }),
        }
    }
    entries
}

/// The log with dates in place of its time stamps, as `dmesg -T` has them, in UTC; `ended` is when the kernel wrote the
/// last line, in seconds since 1970.
pub fn dated(log: &[u8], ended: u64) -> Vec<u8> {
    let text = String::from_utf8_lossy(log);
    let last = text.lines().rev().find_map(stamp).map_or(0, |(time, _)| time / 1_000_000);
    let began = ended.saturating_sub(last);
    let mut out = String::new();
    for line in text.lines() {
        match stamp(line) {
            Some((time, rest)) => {
                out += &format!("[{}] {rest}\n", date(began.saturating_add(time / 1_000_000)));
            }
            None => {
                out += line;
                out.push('\n');
            }
        }
    }
    out.into_bytes()
}

impl Document for Lines {
    const SCHEMA: &'static str = "tamis.dmesg/1";
}

impl Lines {
    /// The lines of what was read.
    pub fn new(read: Read, text: &[u8]) -> Lines {
        let lines: Vec<String> = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
        Lines {
            records: read.report.records,
            records_left_out: read.report.skipped,
            by_arithmetic: read.by_arithmetic,
            entries: entries(&lines),
            lines,
        }
    }
}

/// A log that was read.
#[derive(Clone, Copy)]
pub struct Read {
    /// What was written.
    pub report: LogReport,
    /// Whether page tables that are missing had to be done without.
    pub by_arithmetic: bool,
}

/// Reads the log of a dump.
pub fn log(
    opened: &mut Opened,
    options: Options,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<Read> {
    let mut scratch = vec![0; 256 << 10];
    let ram = opened.dump.ranges().to_vec();
    let mut read = |opened: &mut Opened, first: bool| {
        opened.with_memory(|memory, info| {
            memory.allow_arithmetic(info, &ram, first);
            let result = dump(info, memory, options, &mut scratch, out);
            result.map(|report| Read { report, by_arithmetic: memory.is_by_arithmetic() })
        })
    };
    let mut found = read(opened, false)?;
    // What VMCOREINFO lacks, the kernel's own tables may have.
    if matches!(found, Err(LogError::Missing(_))) && opened.kernel_facts().is_ok() {
        found = read(opened, false)?;
    }
    let found = match found {
        Err(LogError::Write(e)) => return Err(e.into()),
        Ok(found) if found.report.records > 0 => Ok(found),
        // Nothing came out. Page tables may be there that are wrong.
        none => match read(opened, true)? {
            Err(LogError::Write(e)) => return Err(e.into()),
            Ok(found) if found.report.records > 0 => Ok(found),
            _ => none,
        },
    };
    found.map_err(|error| {
        let next = "`tamis verify` reports whether the dump is damaged";
        opened.fail(format_args!("the kernel log: {error}")).next(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let lines = [
            "before",
            "[    1.500000] [      T7] one",
            "                          [    2.000000] of it",
            "[    2.000000] [T7] no caller",
            "[12345.000001] [     C12] ",
            "[    3.0] no stamp",
        ];
        let entry = |time, caller: Option<&str>, text: &str| Entry {
            time,
            caller: caller.map(str::to_owned),
            text: text.to_owned(),
        };
        assert_eq!(
            entries(&lines.map(str::to_owned)),
            [
                entry(None, None, "before"),
                entry(Some(1_500_000), Some("T7"), "one\n[    2.000000] of it"),
                entry(Some(2_000_000), None, "[T7] no caller"),
                entry(Some(12_345_000_001), Some("C12"), "\n[    3.0] no stamp"),
            ]
        );
        assert_eq!(stamp("[99999999999999999999.000000] x"), None);
        assert_eq!(stamp("[18446744073709551.999999] x"), None);
    }

    #[test]
    fn stamps_become_dates() {
        let log = b"[    0.000000] a\n               b\n[   60.900000] [      T1] c\n";
        assert_eq!(
            String::from_utf8(dated(log, 1_700_000_060)).unwrap(),
            "[Tue Nov 14 22:13:20 2023] a\n               b\n[Tue Nov 14 22:14:20 2023] [      T1] c\n"
        );
        assert_eq!(dated(b"plain\n", 5), b"plain\n");
    }
}
