//! Why the kernel died, according to its log.

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

/// The line of a kernel log that shows best why the kernel died: the panic, or else the first
/// line of the first oops.
pub fn panic_line(log: &[u8]) -> Option<String> {
    const PANIC: &str = "Kernel panic - not syncing";
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
    let text = String::from_utf8_lossy(log);
    let message = |line: &str| {
        // Behind the time stamp, and the caller if there is one.
        let mut rest = line;
        while let Some((_, after)) =
            rest.strip_prefix('[').and_then(|inside| inside.split_once("] "))
        {
            rest = after;
        }
        rest.to_owned()
    };
    let panic = text.lines().find(|line| line.contains(PANIC));
    let found = panic.or_else(|| {
        text.lines().find(|line| {
            let line = message(line);
            OTHERS.iter().any(|o| line.starts_with(o)) || line.contains("BUG: unable to handle")
        })
    });
    found.map(|line| plain(message(line).as_bytes()))
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
