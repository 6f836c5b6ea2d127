//! Whole message texts, compared with files in `golden/`. `TAMIS_UPDATE=1` rewrites the files.

use std::path::Path;
use std::{env, fs};

use tamis_tests::synth::{KernelStyle, LogLine, Machine};
use tamis_tests::zoo::zoo;

use crate::common::Bench;

/// Takes out what differs from run to run: times, rates, and the names of temporary files.
fn blank(text: &str, bench: &Bench) -> String {
    let dir = bench.file("").display().to_string();
    let text = text.replace(dir.trim_end_matches('/'), "DIR").replace('\r', "\n");
    let mut out = String::new();
    for line in text.lines() {
        let line = line.trim_end();
        // This one grows with the program's text.
        if let Some(label) = line.trim_start().strip_prefix("address space") {
            assert!(label.trim_end().ends_with("bytes"), "{line}");
            out.push_str("  address space N bytes\n");
            continue;
        }
        // A progress line is there or not as time goes by; the last of each is always there.
        if line.contains(" %]") {
            if line.contains("100.0 %") {
                out.push_str(line.split("100.0 %").next().unwrap_or(line));
                out.push_str("100.0 %]\n");
            }
            continue;
        }
        let (mut word, mut blanked) = (String::new(), String::new());
        let flush = |word: &mut String, out: &mut String| {
            let seconds = word.split_once('.').is_some_and(|(whole, part)| {
                let digits =
                    |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                digits(whole) && digits(part) && part.len() == 6
            });
            out.push_str(if seconds { "S.uuuuuu" } else { word });
            word.clear();
        };
        for c in line.chars() {
            if c.is_ascii_digit() || c == '.' {
                word.push(c);
            } else {
                flush(&mut word, &mut blanked);
                blanked.push(c);
            }
        }
        flush(&mut word, &mut blanked);
        out.push_str(&blanked);
        out.push('\n');
    }
    out
}

fn golden(name: &str, machine: Machine, options: &[&str]) {
    let bench = Bench::new(machine.build());
    let run = bench.run(options, &bench.file("dump"));
    let found = format!(
        "exit {:?}\n== standard output\n{}== standard error\n{}",
        run.code,
        blank(&String::from_utf8_lossy(&run.stdout), &bench),
        blank(&String::from_utf8_lossy(&run.stderr), &bench),
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"));
    if env::var_os("TAMIS_UPDATE").is_some() {
        fs::write(&path, &found).unwrap();
        return;
    }
    let wanted = fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; TAMIS_UPDATE=1 writes it", path.display()));
    assert!(
        found == wanted,
        "{name} differs; TAMIS_UPDATE=1 rewrites it if the change is meant.\n{}",
        difference(&wanted, &found)
    );
}

/// The first lines that differ.
fn difference(wanted: &str, found: &str) -> String {
    let (mut wanted, mut found) = (wanted.lines(), found.lines());
    for n in 1.. {
        match (wanted.next(), found.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => return format!("line {n}\n- {}\n+ {}", a.unwrap_or(""), b.unwrap_or("")),
        }
    }
    String::new()
}

#[test]
fn everything_said_about_a_dump() {
    let options = ["-d", "31", "--show-stats", "-D", "--message-level", "31"];
    golden("dump-6.12", zoo(KernelStyle::V6_12), &options);
}

#[test]
fn everything_said_about_an_elf_file() {
    golden("elf-5.10", zoo(KernelStyle::V5_10), &["-E", "-d", "31", "--show-stats"]);
}

#[test]
fn everything_said_about_a_plan() {
    golden("dry-run-6.12", zoo(KernelStyle::V6_12), &["-c", "-d", "31", "--dry-run"]);
}

#[test]
fn everything_said_where_nothing_is_known() {
    let machine = zoo(KernelStyle::V6_12).without_vmcoreinfo();
    golden("no-vmcoreinfo", machine, &["-d", "31"]);
}

#[test]
fn everything_said_about_an_old_kernel() {
    golden("old-kernel", zoo(KernelStyle::V2_6_24), &["-d", "31"]);
}

#[test]
fn everything_said_about_a_log() {
    let machine = zoo(KernelStyle::V6_12).log(&[LogLine::new(0, 0, "one")], 0);
    golden("dmesg-6.12", machine, &["--dump-dmesg"]);
}
