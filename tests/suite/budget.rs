//! The memory budget: what is refused, what is enough, and what is really used.

use std::ffi::OsStr;
use std::path::Path;

use tamis_tests::check;
use tamis_tests::dumpread::Dump;
use tamis_tests::oracle::expect;
use tamis_tests::peak::peak_rss_kib;
use tamis_tests::run::{Run, capture_binary};
use tamis_tests::synth::{Content, Image, KernelStyle, Machine};
use tamis_tests::zoo::{zoo, zoo_at};

use crate::common::Bench;
use crate::formats::crumbs;

/// The bytes that a refusal names: the one number of five digits or more besides the limit asked
/// for.
#[track_caller]
fn least(run: &Run, asked: u64) -> u64 {
    let text = run.text();
    let mut numbers: Vec<u64> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .filter(|number| *number != asked && *number >= 10_000)
        .collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 1, "one number that would do, in:\n{text}");
    numbers[0]
}

/// Asks for too little, takes the number given, and asks for one byte less.
fn refused_and_named(bench: &Bench, options: &[&str]) -> u64 {
    let output = bench.file("budget");
    let run = bench.run(&[options, &["--memory-limit", "4096"]].concat(), &output);
    run.expect(1);
    assert!(!output.exists(), "{options:?}: something was written before the refusal");
    let number = least(&run, 4096);
    let exactly = number.to_string();
    let run = bench.run(&[options, &["--memory-limit", &exactly]].concat(), &output);
    run.expect(0);
    std::fs::remove_file(&output).unwrap();
    let less = (number - 1).to_string();
    let run = bench.run(&[options, &["--memory-limit", &less]].concat(), &output);
    run.expect(1);
    assert_eq!(least(&run, number - 1), number, "{options:?}: the refusals disagree");
    assert!(!output.exists(), "{options:?}: something was written before the refusal");
    number
}

#[test]
fn too_small_a_limit_is_refused_with_the_number_that_would_do() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    for options in [
        &["-d", "31"][..],
        &["-d", "31", "-c"],
        &["-d", "31", "-c0"],
        &["-d", "31", "-z2"],
        &["-d", "31", "-l"],
        &["-d", "31", "-p"],
        &["-d", "31", "-z"],
        &["-d", "31", "--lz4"],
        &["-d", "31", "-E"],
        &["-d", "31", "-c", "--mmap"],
        &["-d", "31", "--cyclic-buffer", "64"],
        &["-d", "31", "--non-cyclic"],
    ] {
        let number = refused_and_named(&bench, options);
        assert!(number <= 1 << 20, "{options:?}: {number} bytes are more than 1 MiB");
    }
}

#[test]
fn a_tight_limit_gives_the_same_dump() {
    let mut machine = zoo(KernelStyle::V6_12);
    for base in [0x7c00, 0x2_7800] {
        machine = zoo_at(machine, base);
    }
    let bench = Bench::new(machine.build());
    let (_, whole) = bench.check(31, &["-c"]);
    for limit in ["1M", "1024K", "1048576", "64M"] {
        let (_, dump) = bench.dump(&["-d", "31", "-c", "--memory-limit", limit]);
        assert!(dump.bytes() == whole.bytes(), "--memory-limit {limit} gives another file");
    }
}

#[test]
fn a_buffer_too_large_for_the_default_limit_gets_smaller() {
    // A smaller buffer beats no dump; only a limit that was asked for may refuse the run.
    let bench = Bench::new(zoo_at(zoo(KernelStyle::V6_12), 0x2_7800).build());
    let (run, _) = bench.check(31, &["--cyclic-buffer", "1048576"]);
    run.says("cyclic-buffer");
}

#[test]
fn limits_that_are_no_sizes() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    for limit in ["", "x", "0", "-1", "1MiB", "1.5M", "99999999999999999999"] {
        let output = bench.file("limit");
        bench.run(&["--memory-limit", limit], &output).expect(1).says("--memory-limit");
        assert!(!output.exists());
    }
}

#[test]
fn many_loads_need_more_and_the_refusal_says_how_much() {
    let bench = Bench::new(crumbs());
    refused_and_named(&bench, &["-d", "1"]);
}

/// A vmcore of this many MiB, every 16th page filled.
fn large(mib: u64) -> Image {
    let end = mib << 8;
    let mut machine = Machine::new(KernelStyle::V6_12).meta_at(16 << 20, 64 << 20);
    machine = machine.ram(0x6000..end);
    for pfn in (0x6000..end).step_by(0x400) {
        machine = machine.fill(pfn..pfn + 0x40, Content::Text);
    }
    machine.build()
}

/// Runs with reads only, so that no page of the vmcore counts, and gives the peak in KiB.
fn peak(bench: &Bench, options: &[&str], output: &Path) -> u64 {
    let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    args.extend(["--non-mmap".as_ref(), bench.vmcore.as_os_str(), output.as_os_str()]);
    let (code, kib) = peak_rss_kib(capture_binary().as_os_str(), args).expect("tracing the run");
    assert_eq!(code, Some(0), "{options:?}");
    kib
}

fn stays_below(mib: u64) {
    let bench = Bench::new(large(mib));
    let expected = expect(&bench.image, 31);
    for (options, limit) in [
        (&["-d", "31"][..], 4096),
        (&["-d", "31", "-c"], 4096),
        (&["-d", "31", "--lz4"], 4096),
        (&["-d", "31", "-E"], 4096),
        (&["-d", "31", "-c", "--memory-limit", "2M"], 2048),
        (&["-d", "31", "-c", "--memory-limit", "1M"], 1024),
    ] {
        let output = bench.file("peak");
        let kib = peak(&bench, options, &output);
        assert!(kib <= limit, "{options:?}: {kib} KiB resident, {limit} KiB allowed");
        if limit < 4096 {
            let dump = Dump::open(&output).unwrap();
            check::assert_dump(&dump, &bench.image, &expected, "a large vmcore");
        }
        std::fs::remove_file(output).unwrap();
    }
}

#[test]
fn resident_memory_for_400_mib() {
    stays_below(400);
}

#[test]
fn resident_memory_for_3_gib() {
    stays_below(3 << 10);
}
