//! `tamis` in the place of makedumpfile on a running system: the lines that scripts have, run by a shell.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::Bench;
use tamis_tests::run::{self, Run, host_command};
use tamis_tests::synth::{KernelStyle, LogLine};
use tamis_tests::zoo::zoo;

fn bench() -> Bench {
    let lines = [LogLine::new(1_000_000, 0, "Kernel panic - not syncing: sysrq")];
    let bench = Bench::of(&zoo(KernelStyle::V6_12).log(&lines, 0).build());
    symlink(host_command().get_program(), bench.file("makedumpfile")).unwrap();
    bench
}

/// Runs a line of a script.
fn shell(bench: &Bench, line: &str) -> Run {
    run::shell(bench.file("makedumpfile").parent().unwrap(), line)
}

#[track_caller]
fn says_on_stdout(run: &Run, text: &str) {
    let stdout = String::from_utf8_lossy(&run.stdout);
    assert!(stdout.contains(text), "{:?}: no '{text}' in:\n{stdout}", run.args);
}

#[test]
fn a_stream_on_a_device_becomes_a_dump() {
    let bench = bench();
    bench.capture("-c -d 31", &["whole"]);
    bench.capture_stream("-c -d 31", "device");
    // A device goes on behind the stream.
    let mut device = bench.get("device");
    device.resize(device.len() + (1 << 20), 0x5a);
    bench.put("device", &device);
    let run = shell(&bench, "makedumpfile -R out < device");
    says_on_stdout(run.expect(0), "\nThe dumpfile is saved to out.\n\nmakedumpfile Completed.\n");
    bench.assert_same("out", "whole", "-R");
    let again = shell(&bench, "makedumpfile -R out < device");
    again.expect(1).says("it is there already").says("makedumpfile Failed.");
    shell(&bench, "makedumpfile -f -R out < device").expect(0);
    shell(&bench, "makedumpfile -c -R other < device").expect(1).says("-R takes no compression");
    shell(&bench, "makedumpfile -R other < whole").expect(1);
    assert!(!bench.file("other").exists());
}

#[test]
fn parts_become_a_dump() {
    let bench = bench();
    bench.capture("-l -d 31", &["whole"]);
    bench.capture("-l -d 31 --split --splitblock-size 1024", &["a", "b", "c"]);
    let run = shell(&bench, "makedumpfile --reassemble c a b out");
    says_on_stdout(run.expect(0), "The dumpfile is saved to out.\n\nmakedumpfile Completed.\n");
    bench.assert_same("out", "whole", "--reassemble");
    shell(&bench, "makedumpfile --reassemble a out2").expect(1);
}

#[test]
fn the_log_of_a_dump() {
    let bench = bench();
    bench.capture("-l -d 31", &["vmcore.kd"]);
    let run = shell(&bench, "makedumpfile --dump-dmesg vmcore.kd log");
    says_on_stdout(run.expect(0), "The dmesg log is saved to log.\n\nmakedumpfile Completed.\n");
    let log = String::from_utf8(bench.get("log")).unwrap();
    assert!(log.contains("Kernel panic - not syncing: sysrq\n"), "{log}");
    shell(&bench, "makedumpfile --dump-dmesg vmcore.kd log").expect(1).says("it is there already");
    let stream = shell(&bench, "makedumpfile --dump-dmesg -F vmcore.kd 2> said");
    assert_eq!(stream.expect(0).stdout, bench.get("log"));
    assert!(String::from_utf8(bench.get("said")).unwrap().contains("is saved to STDOUT."));
}

#[test]
fn dumps_out_of_vmcores_and_dumps() {
    let bench = bench();
    for (line, same) in [
        ("makedumpfile -c -d 31 --message-level 7 vmcore out", "refilter -c -d 31 vmcore same"),
        ("makedumpfile -l --message-level 31 -d 31 vmcore out", "refilter -l -d 31 vmcore same"),
        ("makedumpfile -d 1 --num-threads=2 vmcore out", "refilter --raw -d 1 vmcore same"),
        ("makedumpfile -E -d 17 vmcore out", "refilter --to elf -d 17 vmcore same"),
        ("makedumpfile -F -zd31 vmcore > out", "refilter --to flat -z -d 31 vmcore same"),
        ("makedumpfile vmcore out -x vmlinux", "refilter --raw -d 0 vmcore same"),
        (
            "makedumpfile --no-page-checksums -p vmcore out",
            "refilter -p -d 0 --no-page-checksums vmcore same",
        ),
    ] {
        let run = shell(&bench, line);
        let done =
            if line.contains("-F") { "saved to STDOUT.\n\nmake" } else { "saved to out.\n\nmake" };
        run.expect(0).says(done);
        bench.tamis(same).expect(0);
        bench.assert_same("out", "same", line);
        fs::remove_file(bench.file("out")).unwrap();
        fs::remove_file(bench.file("same")).unwrap();
    }
    let quiet = shell(&bench, "makedumpfile -c -d 31 --message-level 4 vmcore small");
    assert!(quiet.expect(0).stdout.is_empty());
    shell(&bench, "makedumpfile -c -d 31 small smaller").expect(0);
    bench.assert_same("small", "smaller", "of a dump");
    shell(&bench, "makedumpfile --split small a b").expect(0).says("saved to a and b.\n");
    bench.tamis("verify a b").expect(0);
    shell(&bench, "makedumpfile --split -d 31 small c d").expect(1).says("`tamis split ");
    assert!(!bench.file("c").exists());
}

#[test]
fn questions() {
    let bench = bench();
    bench.capture("-l -d 1", &["dump"]);
    let usage = shell(&bench, "makedumpfile --mem-usage dump");
    assert_eq!(usage.expect(0).stdout, bench.tamis("stats dump").expect(0).stdout);
    let estimate = shell(&bench, "makedumpfile --dry-run --show-stats -c -d 31 dump");
    assert_eq!(estimate.expect(0).stdout, bench.tamis("estimate --exact -c -d 31 dump").stdout);
    let version = shell(&bench, "makedumpfile -v");
    says_on_stdout(version.expect(0), "makedumpfile: version 1.7.9 (tamis 0.1.0)\nzlib\tenabled\n");
    assert_eq!(bench.tamis("makedumpfile -v").expect(0).stdout, version.stdout);
    let help = shell(&bench, "makedumpfile --help");
    says_on_stdout(help.expect(0), "Usage: makedumpfile [OPTIONS] VMCORE DUMPFILE");
    says_on_stdout(help.expect(0), "makedumpfile [-f] -R DUMPFILE < STREAM");
    assert!(
        shell(&bench, "makedumpfile --check-params -l -d 31 vmcore x").expect(0).stdout.is_empty()
    );
    shell(&bench, "makedumpfile --check-params -d 99 vmcore x")
        .expect(1)
        .says("-d '99' is not valid");
    shell(&bench, "makedumpfile -X -d 1 vmcore x").expect(1).says("guests cannot be left out");
    shell(&bench, "makedumpfile nowhere x")
        .expect(1)
        .says("nowhere: ")
        .says("makedumpfile Failed.");
    assert!(!bench.file("x").exists());
}
