//! What comes out of the dead kernel's memory: the log and VMCOREINFO, from dumps of every kind.

use crate::common::{Bench, json};
use tamis_tests::synth::{KernelStyle, LogLine, expected_text};
use tamis_tests::zoo::zoo;

fn lines() -> Vec<LogLine> {
    (0..60).map(|n| LogLine::new(n * 1_000_000, 7, &format!("line {n} of the log"))).collect()
}

#[test]
fn the_log_is_the_same_from_every_kind_of_dump() {
    for style in [KernelStyle::V4_18, KernelStyle::V6_12] {
        let lines = lines();
        let image = zoo(style).log(&lines, 20).build();
        let wanted = expected_text(style.facts().log, &lines);
        let bench = Bench::of(&image);
        bench.capture("-d 31", &["raw"]);
        bench.capture("-c -d 31", &["zlib"]);
        bench.capture("-c -d 1 --split", &["a", "b"]);
        bench.capture("-E -d 31", &["elf"]);
        bench.capture_stream("-c -d 31", "flat");
        for dump in ["vmcore", "raw", "zlib", "b a", "elf", "flat"] {
            let run = bench.tamis(&format!("dmesg {dump}"));
            assert_eq!(run.expect(0).stdout, wanted, "{dump}");
        }
        let run = bench.tamis_with("dmesg -", "flat");
        assert_eq!(run.expect(0).stdout, wanted);
        let since = bench.tamis("dmesg --since-clear zlib");
        assert_eq!(since.expect(0).stdout, expected_text(style.facts().log, &lines[20..]));
    }
}

#[test]
fn the_panic_is_told() {
    let style = KernelStyle::V6_12;
    let mut lines = lines();
    lines.push(LogLine::new(99_000_000, 7, "Kernel panic - not syncing: of no consequence"));
    let bench = Bench::of(&zoo(style).log(&lines, 0).build());
    bench.capture("-d 31", &["dump"]);
    let run = bench.tamis("info --json dump");
    assert_eq!(json(&run, "panic"), "Kernel panic - not syncing: of no consequence");
    assert_eq!(json(&run, "log_lines"), "61");
}

#[test]
fn vmcoreinfo_whole_and_by_key() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-d 31", &["dump"]);
    let whole = bench.tamis("vmcoreinfo vmcore");
    assert_eq!(whole.expect(0).stdout, bench.tamis("vmcoreinfo dump").stdout);
    let run = bench.tamis("vmcoreinfo dump PAGESIZE OSRELEASE");
    run.expect(0);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.starts_with("4096\n6.12"), "{text}");
    bench.tamis("vmcoreinfo dump NOTHING PAGESIZE").expect(1).says("no key NOTHING");
    let bare = Bench::of(&zoo(KernelStyle::V6_12).without_vmcoreinfo().build());
    bare.capture("-d 1", &["dump"]);
    bare.tamis("vmcoreinfo dump").expect(3).says("has no VMCOREINFO");
    bare.tamis("dmesg dump").expect(3).says("has no VMCOREINFO");
    bare.tamis("info dump").expect(0).says("unknown: the kernel log cannot be read");
}
