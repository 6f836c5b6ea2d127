//! The command line: what is refused, what is said, and what is left behind.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use tamis_tests::check;
use tamis_tests::dumpread::{Descriptor, Dump, STATUS_INCOMPLETE};
use tamis_tests::oracle::expect;
use tamis_tests::run::{self, Run};
use tamis_tests::synth::{Content, KernelStyle};
use tamis_tests::zoo::zoo;

use crate::common::Bench;

fn bench() -> Bench {
    Bench::new(zoo(KernelStyle::V6_12).build())
}

fn args<'a>(words: &'a [&'a str], bench: &'a Bench, outputs: &'a [&'a OsStr]) -> Vec<&'a OsStr> {
    let mut all: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    all.push(bench.vmcore.as_os_str());
    all.extend(outputs);
    all
}

/// Runs what must be refused: exit 1, nothing written.
#[track_caller]
fn refused(bench: &Bench, words: &[&str]) -> Run {
    let output = bench.file("refused");
    let run = bench.run(words, &output);
    run.expect(1);
    assert!(!output.exists(), "{words:?}: a file is left");
    run
}

#[test]
fn what_tamis_has_not_is_refused_by_name() {
    let bench = bench();
    for words in [
        &["--xen_phys_start", "0x100000"][..],
        &["--config", "erase.conf"],
        &["--eppic", "erase.c"],
        &["--extension", "some.so"],
        &["--diskset=one"],
        &["--mem-usage"],
        &["-e"],
        &["-g", "info"],
        &["-R"],
        &["--reassemble"],
        &["--vtop", "0xffffffff81000000"],
    ] {
        let run = refused(&bench, words);
        let name = words[0].split('=').next().unwrap();
        run.says(name);
        assert_eq!(
            run.text().trim_end().lines().count(),
            1,
            "{words:?}: one line:\n{}",
            run.text()
        );
    }
}

#[test]
fn options_that_do_not_go_together() {
    let bench = bench();
    for words in [
        &["-c", "-E"][..],
        &["-l", "-E"],
        &["-p", "-E"],
        &["-z", "-E"],
        &["--lz4", "-E"],
        &["-F", "--split"],
        &["--split", "-E"],
        &["--partial-dmesg"],
        &["--dry-run", "--dump-dmesg"],
    ] {
        refused(&bench, words);
    }
}

#[test]
fn numbers_that_are_none() {
    let bench = bench();
    for words in [
        &["-d", "32"][..],
        &["-d", "-1"],
        &["-d", "x"],
        &["-d", "1,,2"],
        &["-d", "31,"],
        &["-d", ""],
        &["-L", "0"],
        &["-L", "12Q"],
        &["-L", "x"],
        &["--message-level", "32"],
        &["--message-level", "-1"],
        &["--message-level", "x"],
        &["--cyclic-buffer", "x"],
    ] {
        refused(&bench, words);
    }
    let too_many = vec!["1"; 33].join(",");
    refused(&bench, &["-d", &too_many]);
}

#[test]
fn unknown_options_and_wrong_counts_of_names() {
    let bench = bench();
    refused(&bench, &["--no-such-option"]).says("--no-such-option");
    refused(&bench, &["-q"]).says("q");
    let none: [&str; 0] = [];
    run::capture(none).expect(1);
    run::capture(args(&[], &bench, &[])).expect(1);
    run::capture(args(&[], &bench, &["a".as_ref(), "b".as_ref()])).expect(1);
    let output = bench.file("only");
    run::capture(args(&["--split"], &bench, &[output.as_ref()])).expect(1);
    run::capture(args(&["-F"], &bench, &[output.as_ref()])).expect(1);
    assert!(!output.exists());
}

#[test]
fn help_and_version() {
    for word in ["-h", "--help"] {
        let run = run::capture([word]);
        run.expect(0);
        for option in [
            "-c",
            "--lz4",
            "-d",
            "-E",
            "-F",
            "-f",
            "-L",
            "-i",
            "-D",
            "--cyclic-buffer",
            "--non-cyclic",
            "--memory-limit",
            "--split",
            "--splitblock-size",
            "--message-level",
            "--show-stats",
            "--dry-run",
            "--check-params",
            "--dump-dmesg",
            "--partial-dmesg",
            "--non-mmap",
            "--mmap",
            "--num-threads",
        ] {
            let text = String::from_utf8_lossy(&run.stdout);
            assert!(text.contains(option), "{word} is silent about {option}:\n{text}");
        }
        assert!(run.stderr.is_empty());
    }
    let run = run::capture(["-v"]);
    run.expect(0);
    assert!(String::from_utf8_lossy(&run.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn options_may_follow_the_names() {
    let bench = bench();
    let output = bench.file("after");
    let words = [bench.vmcore.as_os_str(), "-d".as_ref(), "31".as_ref(), output.as_ref()];
    run::capture(words.into_iter().chain([OsStr::new("-c")])).expect(0);
    let dump = Dump::open(&output).unwrap();
    check::assert_dump(&dump, &bench.image, &expect(&bench.image, 31), "options last");
    assert_eq!(dump.header.status, 1);
}

#[test]
fn the_last_codec_wins() {
    let bench = bench();
    assert_eq!(bench.check(31, &["--lz4", "-c"]).1.header.status, 1);
    assert_eq!(bench.check(31, &["-c", "--lz4"]).1.header.status, 0x40);
}

#[test]
fn options_without_effect_say_so() {
    let bench = bench();
    let (_, plain) = bench.check::<&str>(31, &[]);
    for words in [
        &["-b", "8"][..],
        &["--work-dir", "/nowhere"],
        &["--rules", "/none"],
        &["--num-threads", "4"],
    ] {
        let (run, dump) = bench.check(31, words);
        run.says(words[0]).says("no effect");
        assert!(dump.bytes() == plain.bytes(), "{words:?} gives another file");
    }
}

#[test]
fn only_checking_the_command_line() {
    let bench = bench();
    let output = bench.file("checked");
    let run = bench.run(&["--check-params", "-c", "-d", "31"], &output);
    run.expect(0);
    assert!(!run.text().contains("ompleted"), "{}", run.text());
    bench.run(&["--check-params", "-c", "-E"], &output).expect(1);
    bench.run(&["--check-params", "-d", "99"], &output).expect(1);
    assert!(!output.exists());
}

#[test]
fn dumps_are_private() {
    let bench = bench();
    for options in [&["-d", "31"][..], &["-d", "31", "-E"]] {
        let output = bench.file("private");
        bench.run(options, &output).expect(0);
        assert_eq!(fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(output).unwrap();
    }
}

#[test]
fn existing_files_are_overwritten_only_when_told() {
    let bench = bench();
    let output = bench.file("there");
    fs::write(&output, [7; 100_000]).unwrap();
    let run = bench.run(&["-d", "31"], &output);
    run.expect(1).says("File exists");
    run.says(output.to_str().unwrap());
    assert_eq!(fs::read(&output).unwrap(), [7; 100_000]);
    bench.run(&["-d", "31", "-f"], &output).expect(0);
    let dump = Dump::open(&output).unwrap();
    check::assert_dump(&dump, &bench.image, &expect(&bench.image, 31), "an overwritten file");
}

#[test]
fn a_longer_file_that_is_overwritten_leaves_nothing() {
    let bench = bench();
    let output = bench.file("long");
    bench.run(&["-d", "0"], &output).expect(0);
    bench.run(&["-d", "31", "-c", "-f"], &output).expect(0);
    let dump = Dump::open(&output).unwrap();
    check::assert_dump(&dump, &bench.image, &expect(&bench.image, 31), "after a longer one");
}

#[test]
fn a_dry_run_writes_nothing() {
    let bench = bench();
    let output = bench.file("dry");
    let run = bench.run(&["--dry-run", "--show-stats", "-d", "31", "-c"], &output);
    run.expect(0);
    assert!(!output.exists());
    crate::common::assert_report(&run, &expect(&bench.image, 31));
}

#[test]
fn a_vmcore_or_a_directory_that_is_not_there() {
    let bench = bench();
    let output = bench.file("out");
    let missing = bench.file("missing");
    run::capture([missing.as_os_str(), output.as_ref()]).expect(1).says("missing");
    assert!(!output.exists());
    let nowhere = bench.file("nowhere").join("dump");
    bench.run(&["-d", "31"], &nowhere).expect(1).says("nowhere");
}

#[test]
fn the_next_level_is_tried_when_the_limit_is_reached() {
    let bench = bench();
    let output = bench.file("list");
    let (_, at_31) = bench.check::<&str>(31, &[]);
    let limit = (at_31.bytes().len() + 4096).to_string();
    let run = bench.run(&["-d", "0,1,31", "-L", &limit], &output);
    run.expect(0).says("31");
    assert!(fs::read(&output).unwrap() == at_31.bytes(), "the dump of the last level");
    let run = bench.run(&["-f", "-d", "31,0", "-L", "1G"], &output);
    run.expect(0);
    assert!(fs::read(&output).unwrap() == at_31.bytes(), "the first level fits");
}

/// A dump cut by -L: marked, and right as far as it goes.
fn check_partial(bench: &Bench, level: u32, output: &std::path::Path) {
    let dump = Dump::open(output).unwrap();
    assert_ne!(dump.header.status & STATUS_INCOMPLETE, 0, "not marked incomplete");
    assert_eq!(dump.header.dump_level, level as i32);
    let mut lost = 0;
    for (pfn, descriptor) in dump.descriptors().unwrap() {
        if descriptor == (Descriptor { offset: 0, size: 0, flags: 0 }) {
            lost += 1;
            continue;
        }
        let page = dump.decode(descriptor).unwrap();
        assert!(page == bench.image.expected_page(pfn).unwrap(), "frame {pfn:#x}");
    }
    assert!(lost > 0, "nothing is missing from a dump that did not fit");
}

#[test]
fn the_partial_dump_of_the_last_level_stays() {
    let machine = zoo(KernelStyle::V6_12).ram(0x1000..0x1400).fill(0x1000..0x1400, Content::Noise);
    let bench = Bench::new(machine.build());
    let output = bench.file("partial");
    for (options, level) in [
        (&["-d", "0,31", "-L", "1M"][..], 31),
        (&["-d", "31", "-L", "1048577", "-c"], 31),
        (&["-d", "1", "-L", "400K", "--lz4"], 1),
        (&["-d", "31", "-L", "1M", "--cyclic-buffer", "1"], 31),
    ] {
        let run = bench.run(options, &output);
        run.expect(1);
        run.says("incomplete");
        let limit = if options.contains(&"400K") { 400 << 10 } else { 1_048_577 };
        assert!(fs::metadata(&output).unwrap().len() <= limit, "{options:?}: over the limit");
        check_partial(&bench, level, &output);
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn a_partial_elf_file_is_marked() {
    let machine = zoo(KernelStyle::V6_12).ram(0x1000..0x1400).fill(0x1000..0x1400, Content::Noise);
    let bench = Bench::new(machine.build());
    let output = bench.file("partial");
    bench.run(&["-E", "-d", "31", "-L", "1M"], &output).expect(1);
    let bytes = fs::read(&output).unwrap();
    let elf = tamis_tests::elfread::Elf::parse(&bytes).unwrap();
    assert_eq!(elf.e_flags & 1, 1);
}

#[test]
fn vmcoreinfo_from_a_file() {
    let image = zoo(KernelStyle::V6_12).build();
    let text = image.vmcoreinfo.clone();
    let mut bare = image.clone();
    bare.notes.retain(|note| note.name != b"VMCOREINFO\0");
    let bench = Bench::new(bare);
    let info = bench.file("info");
    fs::write(&info, &text).unwrap();
    let output = bench.file("out");
    bench.run(&["-d", "31", "-i", info.to_str().unwrap()], &output).expect(0);
    let dump = Dump::open(&output).unwrap();
    let expected = expect(&image, 31);
    for (pfn, fate) in expected.fates.iter().enumerate() {
        let kept = *fate == tamis_tests::oracle::Fate::Keep;
        assert_eq!(dump.bit(2, pfn as u64), kept, "frame {pfn:#x}");
    }
    fs::remove_file(&output).unwrap();

    // Another kernel's file.
    fs::write(&info, text.replace("OSRELEASE=6.12.9-synth", "OSRELEASE=6.12.8-synth")).unwrap();
    let run = bench.run(&["-d", "31", "-i", info.to_str().unwrap()], &output);
    run.expect(2).says("6.12.8-synth").says("6.12.9-synth");
    assert!(!output.exists());
    fs::remove_file(&info).unwrap();
    bench.run(&["-d", "31", "-i", info.to_str().unwrap()], &output).expect(1).says("info");
}

#[test]
fn message_levels() {
    let bench = bench();
    let output = bench.file("words");
    let said = |level: &str, more: &[&str]| {
        let run =
            bench.run(&[&["-f", "-d", "31", "--message-level", level], more].concat(), &output);
        run.expect(0);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&run.stdout), text(&run.stderr))
    };
    assert_eq!(said("0", &[]), (String::new(), String::new()));
    let (out, err) = said("1", &[]);
    assert_eq!(out, "");
    assert!(err.contains("Copying data") && err.contains("[100.0 %]"), "{err}");
    let (out, err) = said("2", &[]);
    assert!(out.contains("The dumpfile is saved to") && out.contains("Completed."), "{out}");
    assert_eq!(err, "");
    assert!(said("0", &["--show-stats"]).0.contains("Original pages"));
    let (quiet, loud) = (said("7", &[]).0, said("7", &["-D"]).0);
    assert!(loud.len() > quiet.len() && loud.contains("Memory plan"), "{loud}");
}
