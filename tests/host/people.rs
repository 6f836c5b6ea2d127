//! How it is to use the tool: terminals and pipes, help and mistakes.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::process::{Command, Stdio};

use crate::common::Bench;
use tamis_tests::run::host_command;
use tamis_tests::synth::{KernelStyle, LogLine};
use tamis_tests::zoo::zoo;

const COMMANDS: [&str; 34] = [
    "info",
    "verify",
    "dmesg",
    "vmcoreinfo",
    "notes",
    "map",
    "pages",
    "stats",
    "why",
    "read",
    "vtop",
    "sym",
    "print",
    "tasks",
    "modules",
    "bt",
    "slabs",
    "top",
    "report",
    "diff",
    "refilter",
    "convert",
    "estimate",
    "rearrange",
    "reassemble",
    "split",
    "repair",
    "seal",
    "unseal",
    "initramfs",
    "doctor",
    "keygen",
    "completions",
    "man",
];

fn bench() -> Bench {
    let lines: Vec<LogLine> = (0..40).map(|n| LogLine::new(n, 1, "a line of the log")).collect();
    let bench = Bench::of(&zoo(KernelStyle::V6_12).log(&lines, 0).build());
    bench.capture("-c -d 31", &["dump"]);
    bench
}

#[test]
fn every_command_has_help_and_refuses_what_it_does_not_know() {
    let bench = Bench::new();
    let list = bench.tamis("--help");
    for command in COMMANDS {
        list.expect(0).says(&format!("\n  {command} "));
        let help = bench.tamis(&format!("help {command}"));
        help.expect(0).says("Examples:").says("Exit status: 0 ");
        assert_eq!(bench.tamis(&format!("{command} --help")).stdout, help.stdout);
        let wrong = bench.tamis(&format!("{command} --no-such-option"));
        wrong.expect(64).says("--no-such-option").says("Usage: tamis");
        assert!(wrong.stdout.is_empty(), "{command}");
    }
}

/// Whoever reads the output goes away before there is any: no message, and the status of SIGPIPE.
#[test]
fn closed_pipes_are_quiet() {
    let bench = bench();
    for words in [
        "info dump",
        "info --json dump",
        "verify dump",
        "dmesg dump",
        "dmesg --json dump",
        "vmcoreinfo dump",
        "vmcoreinfo --json dump",
        "notes dump",
        "map dump",
        "pages dump",
        "stats dump",
        "read dump --pfn 0x100",
        "read --json dump --pfn 0x100",
        "vtop dump ffffffff81001000",
        "diff dump dump",
        "estimate --exact --raw dump",
        "completions bash",
        "man",
        "refilter -f --json -c dump out",
        "repair -f --json dump out",
        "refilter --to flat dump -",
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = host_command()
            .current_dir(bench.file("."))
            .args(words.split(' '))
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("running tamis");
        let said = String::from_utf8_lossy(&output.stderr);
        // What was done is told all the same.
        let lines: Vec<_> = said.lines().filter(|line| !line.contains("pages")).collect();
        assert!(lines.is_empty(), "{words}: {said}");
        assert_eq!(output.status.code(), Some(141), "{words}: {said}");
    }
}

/// Nobody writes to the FIFO: it is refused, not waited for.
#[test]
fn what_cannot_be_read_anywhere_is_refused() {
    let bench = Bench::new();
    let made = Command::new("mkfifo").arg(bench.file("fifo")).status().expect("running mkfifo");
    assert!(made.success());
    for words in ["info fifo", "verify fifo", "repair fifo out", "refilter -c fifo out"] {
        bench.tamis(words).expect(3).says("give it as standard input, named -");
    }
    bench.tamis("info -").expect(3).says("standard input: an empty file");
    bench.tamis("info /proc/self/mem").expect(3).says("/proc/self/mem: finding its end: ");
}

/// Runs a command on a terminal; gives what it shows there.
fn on_terminal(bench: &Bench, words: &str, env: &[(&str, &str)]) -> String {
    let (mut ours, mut theirs) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both places for a descriptor are there, and no name, settings or size is given.
    let done = unsafe { libc::openpty(&mut ours, &mut theirs, null, null.cast(), null.cast()) };
    assert_eq!(done, 0, "openpty: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptors are new, open, and nobody else's.
    let (mut ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
    let mut command = host_command();
    command.current_dir(bench.file(".")).args(words.split(' '));
    command.env("TERM", "xterm-256color").envs(env.iter().copied());
    command.stdin(theirs.try_clone().expect("a terminal"));
    command.stdout(theirs.try_clone().expect("a terminal")).stderr(theirs);
    let mut child = command.spawn().expect("running tamis");
    drop(command);
    let mut shown = Vec::new();
    let mut part = [0; 4096];
    // It ends with an error when the last one who has the other end is gone.
    while let Ok(len @ 1..) = ours.read(&mut part) {
        shown.extend_from_slice(&part[..len]);
    }
    child.wait().expect("waiting");
    String::from_utf8_lossy(&shown).into_owned()
}

/// Letters of a line that are seen.
fn columns(line: &str) -> usize {
    let mut parts = line.trim_end().split('\x1b');
    let first = parts.next().unwrap_or_default().chars().count();
    first + parts.map(|part| part.chars().skip_while(|c| *c != 'm').skip(1).count()).sum::<usize>()
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let bench = bench();
    for words in ["info dump", "verify dump", "read dump --pfn 0x100", "map dump"] {
        assert!(on_terminal(&bench, words, &[]).contains("\x1b["), "{words}: no colours");
        for env in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let shown = on_terminal(&bench, words, &[env]);
            assert!(!shown.contains('\x1b') && !shown.is_empty(), "{words} {env:?}: {shown}");
        }
        let piped = bench.tamis(words);
        assert!(!piped.expect(0).stdout.contains(&0x1b), "{words}: colours in a pipe");
    }
    let map = on_terminal(&bench, "map dump", &[]);
    assert!(map.contains('\u{2580}') || map.contains('\u{2584}'), "no picture: {map}");
    assert!(map.lines().all(|line| columns(line) <= 80), "wider than the terminal: {map}");
    assert!(map.contains("[38;5;") && !map.contains("[38;2;"), "256 colours: {map}");
    let map = on_terminal(&bench, "map dump", &[("COLORTERM", "truecolor")]);
    assert!(map.contains("[38;2;"), "all colours: {map}");
    // A terminal is no place for a dump, and none to read one from.
    let refused = on_terminal(&bench, "refilter --to flat dump -", &[]);
    assert!(refused.contains("standard output is a terminal"), "{refused}");
    let refused = on_terminal(&bench, "info -", &[]);
    assert!(refused.contains("standard input is a terminal"), "{refused}");
}
