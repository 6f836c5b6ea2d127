//! Why the kernel died, according to its log.

use crate::about::log::message;
use crate::render::json::Hex;
use crate::render::text::plain;
use serde::Serialize;

/// The task that was running when the kernel died.
#[derive(Debug, PartialEq, Serialize)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Number of its CPU.
    pub cpu: u32,
    /// Program counter.
    pub pc: Option<Hex>,
    /// Stack pointer.
    pub sp: Option<Hex>,
}

/// The line `CPU: 1 PID: 164 Comm: name` of the log that belongs to the panic: the first behind it,
/// or the last before it.
pub fn panic_task(log: &[u8]) -> Option<Task> {
    let text = String::from_utf8_lossy(log);
    let mut found = None;
    let mut panic = false;
    for line in text.lines() {
        panic |= line.contains("Kernel panic - not syncing");
        let Some((head, name)) = line.split_once(" Comm: ") else { continue };
        let after = |key: &str| {
            let rest = head.split(key).nth(1)?;
            rest.split(' ').find(|word| !word.is_empty())?.parse().ok()
        };
        let (Some(cpu), Some(pid)) = (after("CPU: "), after("PID: ")) else { continue };
        let behind = [" Not tainted", " Tainted:", " Kdump: loaded"];
        let name = behind.iter().fold(name, |name, end| name.split(end).next().unwrap_or_default());
        let name = plain(name.trim_end().as_bytes());
        found = Some(Task { name, pid, cpu, pc: None, sp: None });
        if panic {
            break;
        }
    }
    found
}

/// What a panic begins with.
pub const PANIC: &str = "Kernel panic - not syncing";

/// Whether an oops begins with this line.
fn is_oops(line: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "BUG: ",
        "Unable to handle kernel",
        "kernel BUG at",
        "general protection fault",
        "Internal error: Oops",
        "Oops: ",
        "double fault: ",
        "Unrecoverable",
        "Machine Check",
    ];
    let said = message(line);
    OTHERS.iter().any(|o| said.starts_with(o)) || said.contains("BUG: unable to handle")
}

/// The line of a kernel log that shows best why the kernel died: the panic, or else the first
/// line of the first oops.
pub fn panic_line(log: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(log);
    let panic = text.lines().find(|line| line.contains(PANIC));
    let found = panic.or_else(|| text.lines().find(|line| is_oops(line)));
    found.map(|line| plain(message(line).as_bytes()))
}

/// The lines of a log from the first oops or panic on, with a few before it; where there is none, the last ones. Of very
/// many, the first and the last; a line says how many are between the two.
pub fn end_of_life(log: &str) -> Vec<String> {
    const BEFORE: usize = 5;
    const LAST: usize = 60;
    const MOST: usize = 400;
    let lines: Vec<&str> = log.lines().collect();
    let begins = lines.iter().position(|line| line.contains(PANIC) || is_oops(line));
    let from = begins.map_or(lines.len().saturating_sub(LAST), |at| at.saturating_sub(BEFORE));
    let (_, shown) = lines.split_at(from);
    if shown.len() <= MOST {
        return shown.iter().map(ToString::to_string).collect();
    }
    let (head, rest) = shown.split_at(MOST / 2);
    let (between, tail) = rest.split_at(rest.len() - MOST / 2);
    let gap = format!("... {} lines ...", between.len());
    let ends = [head, &[gap.as_str()], tail];
    ends.concat().into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panic_is_found_behind_stamps_and_callers() {
        let log = b"[    1.0] BUG: unable to handle page fault\n[    2.000001] [  T12] Kernel \
            panic - not syncing: sysrq triggered crash\n[    3.0] later\n";
        assert_eq!(panic_line(log).unwrap(), "Kernel panic - not syncing: sysrq triggered crash");
        let oops = b"[    1.0] usb BUG: no\n[    1.0] Oops: 0002 [#1] SMP\n";
        assert_eq!(panic_line(oops).unwrap(), "Oops: 0002 [#1] SMP");
        assert_eq!(panic_line(b"all fine\n"), None);
        assert_eq!(panic_line(b""), None);
    }

    #[test]
    fn the_end_begins_with_the_first_oops() {
        let log = |lines: &[&str]| end_of_life(&lines.join("\n"));
        let early = ["a"; 70];
        assert_eq!(log(&early).len(), 60);
        let oops =
            [&early[..], &["[ 1.0] Oops: 0002", "b", "Kernel panic - not syncing: x"]].concat();
        assert_eq!(
            log(&oops),
            ["a", "a", "a", "a", "a", "[ 1.0] Oops: 0002", "b", "Kernel panic - not syncing: x"]
        );
        let long = [&["BUG: first"][..], &["c"; 500], &["last"]].concat();
        let shown = log(&long);
        assert_eq!(
            (shown.len(), shown[0].as_str(), shown[400].as_str()),
            (401, "BUG: first", "last")
        );
        assert_eq!(shown[200], "... 102 lines ...");
    }

    #[test]
    fn the_task_of_the_panic_is_the_first_behind_it_or_the_last_before() {
        let task =
            |cpu, pid, name: &str| Some(Task { name: name.into(), pid, cpu, pc: None, sp: None });
        let warning = "[ 1.0] CPU: 3 PID: 9 Comm: old one Not tainted 6.1\n";
        let oops = "[ 2.0] CPU: 0 UID: 0 PID: 42 Comm: cat Tainted: G  W  6.12\n";
        let panic = "[ 3.0] Kernel panic - not syncing: Fatal exception\n";
        let after = "[ 3.1] [   T1] CPU: 1 PID: 1 Comm: init Not tainted\n";
        let of = |lines: &[&str]| panic_task(lines.concat().as_bytes());
        assert_eq!(of(&[warning, panic, after]), task(1, 1, "init"));
        assert_eq!(of(&[warning, oops, panic]), task(0, 42, "cat"));
        assert_eq!(of(&[warning]), task(3, 9, "old one"));
        let kdump = "[ 5.7] CPU: 1 UID: 0 PID: 7 Comm: a b Kdump: loaded Not tainted 6.12.0 #1\n";
        assert_eq!(of(&[panic, kdump]), task(1, 7, "a b"));
        assert_eq!(of(&["CPU: x PID: 1 Comm: a\n", " Comm: \n", panic]), None);
    }
}
