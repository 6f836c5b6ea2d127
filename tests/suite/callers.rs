//! The lines by which distributions' scripts call makedumpfile, run as they stand, with the program under that
//! name: statuses, what goes where, and the messages that are parsed.

use std::fs;
use std::os::unix::fs::symlink;

use tamis_tests::dumpread::{Dump, STATUS_INCOMPLETE};
use tamis_tests::elfread::Elf;
use tamis_tests::flat;
use tamis_tests::run::{self, Run, capture_binary};
use tamis_tests::synth::{KernelStyle, LogLine};
use tamis_tests::zoo::zoo;

use crate::common::Bench;

fn bench() -> Bench {
    let lines = [LogLine::new(1_000_000, 0, "Kernel panic - not syncing: sysrq")];
    let bench = Bench::new(zoo(KernelStyle::V6_12).log(&lines, 0).build());
    for name in ["makedumpfile", "vmcore-dmesg"] {
        symlink(capture_binary(), bench.file(name)).unwrap();
    }
    bench
}

/// Runs a line of a script in the folder of the vmcore.
fn shell(bench: &Bench, line: &str) -> Run {
    run::shell(bench.vmcore.parent().unwrap(), line)
}

/// A file in the folder, which then is removed.
fn take(bench: &Bench, name: &str) -> Vec<u8> {
    let bytes = fs::read(bench.file(name)).unwrap();
    fs::remove_file(bench.file(name)).unwrap();
    bytes
}

fn complete(bytes: Vec<u8>) {
    assert_eq!(Dump::new(bytes).unwrap().header.status & STATUS_INCOMPLETE, 0);
}

fn stream(bytes: &[u8]) -> Vec<u8> {
    flat::rearrange(bytes).unwrap().file
}

#[test]
fn kdump_utils_to_a_file_system() {
    let bench = bench();
    for options in [
        "-l --message-level 7 -d 31",
        "-c --message-level 1 -d 31",
        "-l --message-level 7 -d 31 --num-threads=64",
        "-E -d 31",
    ] {
        shell(&bench, &format!("makedumpfile {options} vmcore vmcore-incomplete >told 2>&1"))
            .expect(0);
        assert!(bench.file("told").metadata().unwrap().len() > 0);
        let bytes = take(&bench, "vmcore-incomplete");
        if options.starts_with("-E") {
            Elf::parse(&bytes).unwrap();
        } else {
            complete(bytes);
        }
        // The image is built only if the line passes.
        shell(&bench, &format!("makedumpfile --check-params {options} vmcore dumpfile")).expect(0);
        assert!(!bench.file("dumpfile").exists());
    }
}

#[test]
fn kdump_utils_to_another_machine_or_a_raw_device() {
    let bench = bench();
    let options = "-l --message-level 7 -d 31 -F";
    let run = shell(&bench, &format!("makedumpfile {options} vmcore | dd bs=512 of=vmcore.flat"));
    run.expect(0);
    complete(stream(&take(&bench, "vmcore.flat")));
    shell(&bench, &format!("makedumpfile --check-params {options} vmcore")).expect(0);
    // The device is longer than the stream, and held another one.
    shell(&bench, "head -c 16M /dev/urandom > device").expect(0);
    let line = "makedumpfile -F -c -d 31 vmcore | dd of=device bs=4k conv=notrunc";
    shell(&bench, line).expect(0);
    assert_eq!(bench.file("device").metadata().unwrap().len(), 16 << 20);
    let (dump, ended) = flat::rearrange_cut(&take(&bench, "device")).unwrap();
    assert!(ended);
    complete(dump);
}

/// The result goes to standard output, progress to standard error; what a machine has for CPUs is no promise of
/// memory for as many threads.
#[test]
fn threads_give_way_and_messages_have_their_places() {
    let bench = bench();
    for limit in ["", "--memory-limit 400K"] {
        let line = format!("makedumpfile -l --message-level 7 -d 31 --num-threads=4096 {limit}");
        let run = shell(&bench, &format!("{line} vmcore vmcore-incomplete"));
        let (stdout, stderr) = (run.expect(0).stdout.clone(), run.stderr.clone());
        let stdout = String::from_utf8(stdout).unwrap();
        assert!(stdout.starts_with("\nThe dumpfile is saved to vmcore-incomplete.\n"), "{stdout}");
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(stderr.contains("Copying data  ") && stderr.contains(" : [100.0 %] "), "{stderr}");
        complete(take(&bench, "vmcore-incomplete"));
    }
}

#[test]
fn the_log_under_the_name_of_the_program_that_prints_it() {
    let bench = bench();
    let wanted = bench.file("wanted");
    bench.run(&["--dump-dmesg"], &wanted).expect(0);
    let run = shell(&bench, "vmcore-dmesg vmcore > vmcore-dmesg-incomplete.txt");
    run.expect(0);
    assert!(take(&bench, "vmcore-dmesg-incomplete.txt") == fs::read(&wanted).unwrap());
    let run = shell(&bench, "vmcore-dmesg none");
    assert!(run.expect(1).stdout.is_empty());
    run.says("none").says("No such file or directory");
    // It writes to no file of its own.
    shell(&bench, "vmcore-dmesg vmcore log").expect(1).says("wrong number of file names");
}

#[test]
fn suse_log_and_dump() {
    let bench = bench();
    shell(&bench, "mkfifo FIFO").expect(0);
    let line = "makedumpfile -F --message-level 8 --dump-dmesg vmcore > FIFO 2> FILE";
    let run = shell(&bench, &format!("cat FIFO > log & {line}; status=$?; wait; exit $status"));
    run.expect(0);
    let wanted = bench.file("wanted");
    bench.run(&["--dump-dmesg"], &wanted).expect(0);
    assert_eq!(take(&bench, "log"), fs::read(&wanted).unwrap());
    assert!(wanted.metadata().unwrap().len() > 0);
    let told = String::from_utf8(take(&bench, "FILE")).unwrap();
    let value = |name: &str| {
        let mut lines = told.lines().filter_map(|line| line.split_once('='));
        lines.find_map(|(key, value)| (key == name).then(|| value.to_owned()))
    };
    assert_eq!(value("CRASHTIME").as_deref(), Some("1700000000"), "{told}");
    assert!(value("OSRELEASE").is_some_and(|release| release.starts_with("6.12")), "{told}");

    for format in ["-E", "-c", "-l", "-p", "-z"] {
        for threads in ["", "--num-threads 4"] {
            for level in ["6", "7", "14", "15"] {
                let line = format!(
                    "makedumpfile -F {format} {threads} --message-level {level} -d 31 vmcore > FIFO"
                );
                let line = format!("cat FIFO > dump & {line}; status=$?; wait; exit $status");
                shell(&bench, &line).expect(0);
                let bytes = stream(&take(&bench, "dump"));
                if format == "-E" {
                    Elf::parse(&bytes).unwrap();
                } else {
                    complete(bytes);
                }
            }
        }
    }
}

#[test]
fn kdump_tools_log_and_dump() {
    let bench = bench();
    shell(&bench, "makedumpfile --dump-dmesg vmcore dmesg.202611271200").expect(0);
    assert!(!take(&bench, "dmesg.202611271200").is_empty());
    let line = "makedumpfile -F -c -d 31 vmcore | gzip > dump-incomplete.gz";
    shell(&bench, line).expect(0);
    let run = shell(&bench, "gzip -dc dump-incomplete.gz");
    complete(stream(&run.stdout));
    // Nothing that looks like a dump where nothing was saved: the status of a pipe is not this program's.
    let run = shell(&bench, "makedumpfile -F -c -d 31 none | cat");
    assert!(run.expect(0).stdout.is_empty());
}

#[test]
fn variables_and_embedded_systems() {
    let bench = bench();
    let run = shell(
        &bench,
        "DMESG_CMD=--dump-dmesg COREDUMP_CMD='-z -d 31'
        makedumpfile ${DMESG_CMD} vmcore dmesg.txt && makedumpfile ${COREDUMP_CMD} vmcore out",
    );
    run.expect(0).says("The dmesg log is saved to dmesg.txt.");
    run.says("The dumpfile is saved to out.").says("Completed.");
    complete(take(&bench, "out"));
    shell(&bench, "makedumpfile -c -d 31 vmcore OUT").expect(0);
    complete(take(&bench, "OUT"));
}

#[test]
fn the_version_that_it_stands_for() {
    let bench = bench();
    for word in ["-v", "--version"] {
        let run = shell(&bench, &format!("makedumpfile {word}"));
        let text = run.expect(0).text();
        // The first x.y.z, which scripts compare.
        assert!(text.starts_with("makedumpfile: version 1.7.9 "), "{text}");
        assert!(text.contains(env!("CARGO_PKG_VERSION")) && text.contains("\nlzo\tenabled\n"));
        let own = tamis_tests::run::capture([word]);
        let wanted = concat!("tamis-capture: version ", env!("CARGO_PKG_VERSION"), "\n");
        assert!(own.text().starts_with(wanted), "{}", own.text());
    }
}

#[test]
fn a_system_that_is_no_crash_kernel_is_told_so() {
    let bench = bench();
    shell(&bench, "makedumpfile -c -d 31 /proc/vmcore out").expect(1).says("kexec -p");
    let other = shell(&bench, "makedumpfile -c -d 31 /proc/vmcores out");
    assert!(!other.expect(1).text().contains("kexec -p"));
}

#[test]
fn debug_information_in_a_collector_line_loses_no_dump() {
    let bench = bench();
    shell(&bench, "makedumpfile -x vmlinux -c -d 31 vmcore out").expect(0).says("-x has no effect");
    complete(take(&bench, "out"));
}

#[test]
fn a_dump_in_place_of_a_vmcore() {
    let bench = bench();
    bench.run(&["-d", "31"], &bench.file("dump")).expect(0);
    shell(&bench, "makedumpfile -F -d 31 vmcore > flat").expect(0);
    fs::write(bench.file("image"), [&b"EMiL\x01\0\0\0"[..], &[0; 100]].concat()).unwrap();
    for (line, command) in [
        ("makedumpfile --dump-dmesg dump log", "`tamis dmesg`"),
        ("makedumpfile --dump-dmesg flat log", "`tamis dmesg`"),
        ("makedumpfile -c -d 31 dump out", "`tamis refilter`"),
        ("makedumpfile -E dump out", "`tamis refilter --to elf`"),
        ("makedumpfile --split dump a b", "`tamis split`"),
        ("makedumpfile -c flat out", "`tamis rearrange`"),
        ("makedumpfile -c -d 31 flat out", "`tamis refilter`"),
        ("makedumpfile -F -d 0,31 dump", "`tamis refilter`"),
        ("makedumpfile -E flat out", "`tamis refilter --to elf`"),
        ("makedumpfile --split flat a b", "`tamis split`"),
        ("makedumpfile --dry-run --show-stats -d 31 dump", "`tamis refilter`"),
        ("makedumpfile --mem-usage dump", "`tamis stats VMCORE`"),
        ("makedumpfile --vtop ffffffff81000000 dump out", "`tamis vtop ADDRESS VMCORE`"),
        ("makedumpfile -R out < flat", "`tamis rearrange "),
        ("makedumpfile --reassemble a b out", "`tamis reassemble "),
        ("makedumpfile --mem-usage /proc/kcore", "`tamis estimate`"),
        ("makedumpfile -g info -x vmlinux", "`tamis vmcoreinfo "),
        ("makedumpfile -c -d 31 image out", "`tamis convert` makes a dump"),
    ] {
        let run = shell(&bench, line);
        run.expect(1).says(command);
        // It begins with what it is.
        assert!(!run.text().contains("vmcore: invalid"), "{line}: {}", run.text());
        assert!(!bench.file("out").exists() && !bench.file("log").exists(), "{line}");
    }
}
