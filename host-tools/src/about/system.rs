//! How the kernel was started, how long it ran, and what had tainted it: from its memory by symbols, or else from its
//! log.

use crate::about::log::{message, stamp};
use crate::dump::opened::Opened;
use crate::kernel::lists::bytes;
use crate::kernel::{Kernel, with_kernel};
use crate::render::text::plain;

/// Letters of the bits of `tainted_mask` and what they mean (`Documentation/admin-guide/tainted-kernels.rst`).
const TAINTS: [(char, &str); 20] = [
    ('P', "proprietary module"),
    ('F', "module loaded by force"),
    ('S', "out of specification"),
    ('R', "module unloaded by force"),
    ('M', "machine check"),
    ('B', "bad page"),
    ('U', "by the user"),
    ('D', "died before"),
    ('A', "ACPI table overridden"),
    ('W', "warning"),
    ('C', "staging driver"),
    ('I', "firmware bug worked around"),
    ('O', "out-of-tree module"),
    ('E', "unsigned module"),
    ('L', "soft lockup"),
    ('K', "live patch"),
    ('X', "by the distribution"),
    ('T', "randomised structures"),
    ('N', "test"),
    ('J', "mutating firmware call"),
];

/// Bytes of a command line at most: more than any machine's `COMMAND_LINE_SIZE`.
const COMMAND_LINE: usize = 8 << 10;

/// What is known of a kernel's run.
#[derive(Default)]
pub struct System {
    /// Its command line.
    pub command_line: Option<String>,
    /// Letters of what tainted it; empty for nothing.
    pub taint: Option<String>,
    /// Seconds that it ran.
    pub uptime: Option<u64>,
}

impl System {
    /// Looks it up.
    pub fn of(opened: &mut Opened, log: &[u8]) -> System {
        let mut found = with_kernel(opened, |kernel| Ok(of_memory(kernel))).unwrap_or_default();
        let text = String::from_utf8_lossy(log);
        found.command_line = found.command_line.or_else(|| command_line(&text));
        found.taint = found.taint.or_else(|| taint(&text));
        found.uptime = text.lines().rev().find_map(stamp).map(|(time, _)| time / 1_000_000);
        found
    }
}

fn of_memory(kernel: &mut Kernel<'_>) -> System {
    let mask = kernel.variable("tainted_mask", kernel.word()).ok().flatten();
    System { command_line: saved_command_line(kernel), taint: mask.map(letters), uptime: None }
}

/// `char *saved_command_line`.
fn saved_command_line(kernel: &mut Kernel<'_>) -> Option<String> {
    let at = kernel.variable("saved_command_line", kernel.word()).ok()??;
    let raw = bytes(kernel, at, COMMAND_LINE).ok()?;
    Some(plain(raw.trim_ascii())).filter(|line| !line.is_empty())
}

fn letters(mask: u64) -> String {
    let set = |(bit, (letter, _)): (usize, &(char, _))| (mask >> bit & 1 != 0).then_some(*letter);
    TAINTS.iter().enumerate().filter_map(set).collect()
}

/// What tainted a kernel, in words: `G` says that no module is a proprietary one, and is nothing.
pub fn taint_words(letters: &str) -> String {
    let words = letters.chars().map(|letter| {
        let known = TAINTS.iter().find(|(known, _)| *known == letter);
        format!("{letter} ({})", known.map_or("unknown", |(_, word)| word))
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "not tainted".into() } else { words.join(", ") }
}

fn command_line(log: &str) -> Option<String> {
    let found = log.lines().find_map(|line| {
        let line = message(line);
        line.strip_prefix("Kernel command line: ").or(line.strip_prefix("Command line: "))
    });
    found.map(|line| plain(line.trim().as_bytes())).filter(|line| !line.is_empty())
}

/// The letters of the last line that names the task, which every oops and panic prints.
fn taint(log: &str) -> Option<String> {
    log.lines().rev().filter(|line| line.contains(" Comm: ")).find_map(|line| {
        if line.contains(" Not tainted ") {
            return Some(String::new());
        }
        let (_, rest) = line.split_once(" Tainted: ")?;
        let flags = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == ' ');
        Some(flags.filter(|c| !matches!(c, ' ' | 'G')).collect())
    })
}

/// Seconds in days, hours, minutes and seconds, the two largest.
pub fn duration(seconds: u64) -> String {
    let units = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let shown = units[first..].iter().take(2).map(|(count, unit)| format!("{count} {unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taint_is_told_in_letters_and_words() {
        assert_eq!(letters(0), "");
        assert_eq!(letters(1 << 9 | 1 << 12 | 1 << 13), "WOE");
        assert_eq!(letters(u64::MAX).len(), TAINTS.len());
        assert_eq!(taint_words(""), "not tainted");
        assert_eq!(taint_words("PQ"), "P (proprietary module), Q (unknown)");
    }

    #[test]
    fn the_log_says_what_memory_does_not() {
        let log = "[    0.000000] [      T0] Command line: a=\u{1b} b  \n\
            [    5.000001] CPU: 1 PID: 3 Comm: x Not tainted 6.1 #1\n\
            [90061.999999] CPU: 1 PID: 3 Comm: cat Tainted: G      D W  OE      6.1.0 #1\n\
            \u{20}                 continued\n";
        assert_eq!(command_line(log).unwrap(), "a=\\x1b b");
        assert_eq!(taint(log).unwrap(), "DWOE");
        let first: String = log.split_inclusive('\n').take(2).collect();
        assert_eq!(taint(&first).unwrap(), "");
        assert_eq!(taint("nothing\n"), None);
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(3600), "1 h 0 min");
        assert_eq!(duration(90_061), "1 d 1 h");
    }
}
