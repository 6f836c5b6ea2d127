//! The flattened stream.

use std::ffi::OsStr;
use std::fs;

use tamis_tests::flat;
use tamis_tests::run;
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::{zoo, zoo_at};

use crate::common::Bench;

fn stream(bench: &Bench, options: &[&str]) -> flat::Stream {
    let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    args.extend([OsStr::new("-F"), bench.vmcore.as_os_str()]);
    let run = run::capture(args);
    run.expect(0);
    flat::rearrange(&run.stdout).unwrap_or_else(|fault| panic!("{:?}: {fault}", run.args))
}

/// The stream, put in order, has to be the file that a run without -F writes.
fn same_as_direct(bench: &Bench, options: &[&str]) {
    let output = bench.file("direct");
    bench.run(options, &output).expect(0);
    let direct = fs::read(&output).unwrap();
    fs::remove_file(output).unwrap();
    let stream = stream(bench, options);
    // A file may end in a hole that a stream cannot say; nothing here ends in one.
    assert!(stream.file == direct, "{options:?}: the stream is not the direct file");
}

#[test]
fn rearranged_it_is_the_direct_file() {
    for style in [KernelStyle::V5_10, KernelStyle::V6_12] {
        let bench = Bench::new(zoo(style).build());
        for level in ["0", "1", "16", "31"] {
            for codec in [&[][..], &["-c"], &["--lz4"]] {
                same_as_direct(&bench, &[&["-d", level], codec].concat());
            }
        }
    }
}

#[test]
fn rearranged_it_is_the_direct_file_in_many_windows() {
    let bench = Bench::new(zoo_at(zoo_at(zoo(KernelStyle::V6_12), 0x7c00), 0x2_7800).build());
    for kib in ["1", "2", "3"] {
        same_as_direct(&bench, &["-d", "31", "--cyclic-buffer", kib]);
    }
}

#[test]
fn rearranged_elf_is_the_direct_file() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    for level in ["0", "31"] {
        same_as_direct(&bench, &["-E", "-d", level]);
    }
}

#[test]
fn the_header_comes_first_and_once() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    let stream = stream(&bench, &["-d", "31", "-c"]);
    assert_eq!(stream.records[0].offset, 0, "a reader sees what it is from the first record");
}

#[test]
fn messages_stay_out_of_the_stream() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    let args = [OsStr::new("-F"), "-D".as_ref(), "--show-stats".as_ref(), bench.vmcore.as_ref()];
    let run = run::capture(args);
    run.expect(0);
    flat::rearrange(&run.stdout).unwrap();
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(text.contains("Original pages"), "the report is on standard error:\n{text}");
}

#[test]
fn a_stream_without_its_reader() {
    // Standard output is a pipe nobody reads: the run fails in order, and no signal ends it.
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    let mut command = std::process::Command::new(run::capture_binary());
    command.args([OsStr::new("-F"), bench.vmcore.as_ref()]).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
