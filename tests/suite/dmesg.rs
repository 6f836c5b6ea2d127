//! The kernel log of the dead kernel.

use std::fs;

use tamis_tests::synth::{KernelStyle, LogLine, LogState, LogStyle, Machine, expected_text};
use tamis_tests::zoo::zoo;

use crate::common::Bench;

/// Lines enough to wrap every kind of buffer.
fn lines() -> Vec<LogLine> {
    let mut lines = vec![
        LogLine::new(0, 0, "Linux version 9.9.9 (synth) #1 SMP"),
        LogLine::new(1_000, 1, "tabs\tand \"quotes\" \\ backslash"),
        LogLine::new(999_999_999, 0x8000_0003, "first\nsecond\n\nfourth"),
        LogLine::new(1_000_000_000, u32::MAX >> 1, "a long caller id"),
    ];
    for n in 0..60u64 {
        let text = format!("usb {n}-1: new device {}", "number ".repeat(n as usize % 17));
        lines.push(LogLine::new(2_000_000_000 + n * 123_456_789, n as u32, &text));
    }
    lines.push(LogLine::new(98_765_432_109_876, 7, "Kernel panic - not syncing: sysrq"));
    lines
}

fn style_log(style: KernelStyle) -> LogStyle {
    style.facts().log
}

fn dmesg(machine: Machine, options: &[&str]) -> Vec<u8> {
    let bench = Bench::new(machine.build());
    let output = bench.file("log");
    bench.run(&[&["--dump-dmesg"], options].concat(), &output).expect(0);
    fs::read(output).unwrap()
}

#[track_caller]
fn same_text(found: &[u8], wanted: &[u8]) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(found), text(wanted));
    assert_eq!(found, wanted);
}

#[test]
fn every_generation() {
    let lines = lines();
    for style in KernelStyle::ALL {
        let found = dmesg(zoo(style).log(&lines, 0), &[]);
        same_text(&found, &expected_text(style_log(style), &lines));
    }
}

#[test]
fn every_generation_moved_and_in_small_reads() {
    let lines = lines();
    for style in [KernelStyle::V4_18, KernelStyle::V5_10, KernelStyle::V7_1] {
        let machine = zoo(style).five_level().kaslr(0x200_0000, 0x600_0000).log(&lines, 0);
        for way in ["--mmap", "--non-mmap"] {
            let found = dmesg(machine.clone(), &[way]);
            same_text(&found, &expected_text(style_log(style), &lines));
        }
    }
}

#[test]
fn since_the_log_was_cleared() {
    let lines = lines();
    for style in [KernelStyle::V3_16, KernelStyle::V5_1, KernelStyle::V5_10, KernelStyle::V6_12] {
        for clear in [0, 1, 40] {
            let found = dmesg(zoo(style).log(&lines, clear), &["--partial-dmesg"]);
            same_text(&found, &expected_text(style_log(style), &lines[clear..]));
        }
    }
}

#[test]
fn bytes_that_do_not_print_are_escaped() {
    let mut line = LogLine::new(5, 5, "");
    line.text = b"esc \x1b[31m bell \x07 utf8 \xc3\xa9 high \xff nul \x00 del \x7f end".to_vec();
    let lines = [LogLine::new(1, 1, "before"), line, LogLine::new(9, 9, "after")];
    for style in [KernelStyle::V3_10, KernelStyle::V5_1, KernelStyle::V6_12] {
        let found = dmesg(zoo(style).log(&lines, 0), &[]);
        same_text(&found, &expected_text(style_log(style), &lines));
    }
}

#[test]
fn records_of_the_ring_that_are_not_whole() {
    use LogState::*;
    let mut lines = lines();
    for (n, state) in [(3, Reserved), (5, NoText), (7, Committed), (11, Stale), (60, Committed)] {
        lines[n].state = state;
    }
    for style in [KernelStyle::V5_10, KernelStyle::V6_12, KernelStyle::V7_1] {
        let found = dmesg(zoo(style).log(&lines, 0), &[]);
        same_text(&found, &expected_text(style_log(style), &lines));
    }
}

#[test]
fn a_character_ring_that_has_not_wrapped() {
    let lines = [LogLine::new(0, 0, "one"), LogLine::new(1_500_000, 0, "two")];
    let found = dmesg(zoo(KernelStyle::V2_6_24).log(&lines, 0), &[]);
    same_text(&found, b"<6>[    0.000000] one\n<6>[    0.001500] two\n");
}

#[test]
fn a_kernel_without_a_log() {
    for machine in [zoo(KernelStyle::V6_12), zoo(KernelStyle::V6_12).without_vmcoreinfo()] {
        let bench = Bench::new(machine.build());
        let output = bench.file("log");
        let run = bench.run(&["--dump-dmesg"], &output);
        run.expect(1);
        assert!(!run.text().trim().is_empty(), "no word why");
    }
}

#[test]
fn the_file_is_private_and_not_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new(zoo(KernelStyle::V6_12).log(&lines(), 0).build());
    let output = bench.file("log");
    bench.run(&["--dump-dmesg"], &output).expect(0).says("dmesg");
    assert_eq!(fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);
    bench.run(&["--dump-dmesg"], &output).expect(1).says("File exists");
    bench.run(&["--dump-dmesg", "-f"], &output).expect(0);
}
