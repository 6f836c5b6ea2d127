//! `cargo xtask count`: instructions of the engine's inner loops and of whole small captures, held
//! to the numbers in `tests/limits.toml`.
//!
//! Seconds depend on the machine and on what else it does; instructions under Valgrind do not. Both
//! programs are the static ones for the musl target, built as the capture binary is: no C library
//! chooses its `memcpy` by the processor, and the code is that for any x86_64 (the default
//! `target-cpu`).

use super::{output, root};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use tamis_tests::run::{TempDir, capture_binary, counted_loops};
use tamis_tests::synth::{Content, KernelStyle, Leaf, Machine};
use tamis_tests::zoo::{self, zoo_at};

pub const USAGE: &str = "\
cargo xtask count [OPTIONS]

Counts, with Valgrind, the instructions of the inner loops (per page, struct page, call) and of captures
(per page of the machine, and for what is done once), prints them beside the accepted numbers of
tests/limits.toml, and fails where one is more than 2 % worse (25 % for what is done once). The numbers do
not depend on the machine or its load (those of captures hardly: they look at the clock).

  --accept        take over what is better, and what is new
  --accept-worse  take over everything, what is worse too: say why in the commit
  --only TEXT     only those whose names contain TEXT";

/// How much worse than the accepted number may be, in percent.
const TOLERANCE: f64 = 2.0;
/// The same for what a capture does once, whatever the machine's size: some microseconds.
const START_TOLERANCE: f64 = 25.0;
/// What the names of these begin with.
const START: &str = "start-of-";
/// Rounds of a loop in the shorter of two runs; the longer one has twice as many.
const ROUNDS: u64 = 2;
/// Frames of the zoo that belong to the kernel: no dump level leaves them out.
const KERNEL: Range<u64> = 0xa00..0xb00;
/// The lines of limits.toml that this file looks at and writes begin behind this one.
const SECTION: &str = "[instructions]";

/// Runs it.
pub fn run(mut words: impl Iterator<Item = OsString>) -> Result<(), String> {
    let (mut accept, mut worse, mut only) = (false, false, None);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--accept") => accept = true,
            Some("--accept-worse") => (accept, worse) = (true, true),
            Some("--only") => {
                only = Some(words.next().ok_or(USAGE)?.to_string_lossy().into_owned());
            }
            _ => return Err(USAGE.into()),
        }
    }
    let version = output(Command::new("valgrind").arg("--version"))
        .map_err(|why| format!("{why}\nvalgrind is needed (Debian: apt-get install valgrind)"))?;
    println!("{}; instructions per item", version.trim());
    let is_wanted = |name: &str| only.as_deref().is_none_or(|text| name.contains(text));

    let path = root().join("tests/limits.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let accepted = accepted(&text)?;
    let counts: BTreeMap<String, f64> =
        loops(&is_wanted)?.into_iter().chain(captures(&is_wanted)?).collect();

    let mut complaints = String::new();
    let mut next = accepted.clone();
    println!("\n| {:<28} | {:>12} | {:>12} | {:>8} |", "", "now", "accepted", "change");
    println!("|{:-<30}|{:->13}:|{:->13}:|{:->9}:|", "", "", "", "");
    for (name, &now) in &counts {
        let Some(&then) = accepted.get(name) else {
            println!("| {name:<28} | {now:>12.2} | {:>12} | {:>8} |", "-", "-");
            next.insert(name.clone(), now);
            if !accept {
                let _ = writeln!(
                    complaints,
                    "{name}: has no accepted number (--accept takes over {now:.2})"
                );
            }
            continue;
        };
        let change = 100.0 * (now / then - 1.0);
        let tolerance = if name.starts_with(START) { START_TOLERANCE } else { TOLERANCE };
        println!("| {name:<28} | {now:>12.2} | {then:>12.2} | {change:>+6.2} % |");
        if now < then || worse {
            next.insert(name.clone(), now);
        } else if change > tolerance {
            let _ = writeln!(
                complaints,
                "{name}: {now:.2} instructions instead of the accepted {then:.2}, {change:.2} % more; \
                 at most {tolerance} % is allowed"
            );
        }
    }
    for name in accepted.keys().filter(|name| is_wanted(name) && !counts.contains_key(*name)) {
        next.remove(name);
        if !accept {
            let _ = writeln!(
                complaints,
                "{name}: is in limits.toml, but nothing counts it (--accept removes it)"
            );
        }
    }
    if accept && next != accepted {
        std::fs::write(&path, with(&text, &next))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        println!("\nnumbers taken over into {}", path.display());
    }
    if complaints.is_empty() { Ok(()) } else { Err(format!("\n{}", complaints.trim_end())) }
}

/// The numbers in the text of limits.toml.
fn accepted(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let lines = text.lines().skip_while(|line| line.trim() != SECTION).skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let wrong = || format!("tests/limits.toml: not `name = number`: {line}");
            let (name, number) = line.split_once('=').ok_or_else(wrong)?;
            Ok((name.trim().to_owned(), number.trim().parse().map_err(|_| wrong())?))
        })
        .collect()
}

/// That text with these numbers instead, behind the comments of the section.
fn with(text: &str, numbers: &BTreeMap<String, f64>) -> String {
    let (mut before, mut after, mut place) = (String::new(), String::new(), 0);
    for line in text.lines() {
        if line.starts_with('[') {
            place = if line.trim() == SECTION { 1 } else { place.min(1) * 2 };
        }
        let _ = match place {
            0 => writeln!(before, "{line}"),
            1 if line.starts_with(['[', '#']) => writeln!(before, "{line}"),
            1 => Ok(()),
            _ => writeln!(after, "{line}"),
        };
    }
    for (name, number) in numbers {
        let _ = writeln!(before, "{name} = {number:.2}");
    }
    if after.is_empty() { before } else { before + "\n" + &after }
}

/// Instructions of a whole run.
fn instructions(program: &Path, words: &[&str]) -> Result<f64, String> {
    let mut command = Command::new("valgrind");
    // The environment is on the stack: a larger one moves what lies below it.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args(words);
    let done = command.output().map_err(|e| format!("valgrind: {e}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    let count = said
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok())
        .filter(|_| done.status.success());
    count.map(|count| count as f64).ok_or_else(|| format!("{command:?}: {}\n{said}", done.status))
}

/// The inner loops, each without what prepares it: a longer run minus a shorter one.
fn loops(is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<(String, f64)>, String> {
    let program = counted_loops();
    let mut counts = Vec::new();
    for line in output(&mut Command::new(&program))?.lines() {
        let (name, items) = line.split_once(' ').ok_or("tamis-count lists no such loop")?;
        if !is_wanted(name) {
            continue;
        }
        let items: f64 = items.parse().map_err(|_| format!("tamis-count: {line}"))?;
        let short = instructions(&program, &[name, &ROUNDS.to_string()])?;
        let long = instructions(&program, &[name, &(2 * ROUNDS).to_string()])?;
        counts.push((name.to_owned(), (long - short) / (ROUNDS as f64 * items)));
    }
    Ok(counts)
}

/// The capture binary on a machine of 13 MiB with a page of every kind and some text, and on one with
/// all of that twice: the difference is what the pages cost, the rest what is done once.
fn captures(is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<(String, f64)>, String> {
    let forms: [(&str, &[&str]); 4] = [
        ("capture-zlib", &["-c", "-d", "31"]),
        ("capture-plain", &["-d", "31"]),
        ("capture-elf", &["-E", "-d", "31"]),
        ("capture-all", &["-d", "0"]),
    ];
    let dir = TempDir::new();
    let dump = dir.file("dump").to_string_lossy().into_owned();
    // As kernels map memory and vmemmap.
    let mut machine =
        Machine::new(KernelStyle::V6_12).leaves(Leaf::Block, Leaf::Block, Leaf::Block);
    let mut vmcores = Vec::new();
    for base in [0, 0x1000] {
        machine = zoo_at(machine, base).fill(base + KERNEL.start..base + KERNEL.end, Content::Text);
        let path = dir.file(&format!("vmcore-{base}"));
        machine.build().write(&path).map_err(|e| e.to_string())?;
        vmcores.push(path.to_string_lossy().into_owned());
    }
    let mut counts = Vec::new();
    for (name, options) in forms {
        let start = format!("{START}{name}");
        if !is_wanted(name) && !is_wanted(&start) {
            continue;
        }
        let mut runs = [0.0; 2];
        for (run, vmcore) in runs.iter_mut().zip(&vmcores) {
            // Nothing is printed on the way: how often depends on the time.
            let mut words = vec!["-f", "--message-level", "4", "--cyclic-buffer", "64"];
            words.extend(options);
            words.extend([vmcore, dump.as_str()]);
            *run = instructions(capture_binary(), &words)?;
        }
        let pages = runs[1] - runs[0];
        let both =
            [(name.to_owned(), pages / (zoo::END - zoo::START) as f64), (start, runs[0] - pages)];
        counts.extend(both.into_iter().filter(|(name, _)| is_wanted(name)));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_taken_over_stand_where_the_others_stood() {
        let text =
            "# a\n[capture-binary]\nmax = 5\n\n[instructions]\n# b\nx = 1.5\ny = 2\n\n[z]\nq = 1\n";
        let mut numbers = accepted(text).unwrap();
        assert_eq!(
            numbers.iter().map(|(k, v)| (k.as_str(), *v)).collect::<Vec<_>>(),
            [("x", 1.5), ("y", 2.0)]
        );
        numbers.insert("y".into(), 1.25);
        numbers.remove("x");
        let next = with(text, &numbers);
        assert_eq!(accepted(&next).unwrap(), numbers);
        for line in ["# a", "max = 5", "# b", "[z]", "q = 1"] {
            assert_eq!(next.lines().filter(|l| *l == line).count(), 1, "{next}");
        }
        assert!(accepted("[instructions]\nx\n").is_err());
    }
}
