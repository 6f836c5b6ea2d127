//! `--num-threads`: whatever their number, the bytes are the same.
//!
//! The program takes no more threads than there are CPUs; `crew.rs` has the engine run
//! with more than that.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use tamis_tests::peak::peak_rss_kib;
use tamis_tests::run::{self, Run, capture_binary};
use tamis_tests::synth::{Content, Image, KernelStyle, Machine};
use tamis_tests::zoo::{zoo, zoo_at};

use crate::common::Bench;

const THREADS: [&str; 4] = ["1", "2", "3", "8"];
const CODECS: [&str; 7] = ["-c", "-c0", "-l", "-p", "-z", "-z2", "--lz4"];

/// Enough pages for many batches: the zoo twice, and 24 MiB of all contents between.
fn image() -> Image {
    let mut machine = zoo_at(zoo(KernelStyle::V6_12), 0x7c00).ram(0x1000..0x2800);
    for (n, start) in (0x1000..0x2800).step_by(0x60).enumerate() {
        let contents = [Content::Text, Content::Noise, Content::Zero, Content::Stamp];
        machine = machine.fill(start..start + 0x60, contents[n % 4]);
    }
    machine.build()
}

/// Runs with so many threads; gives what was said and the outputs' bytes.
fn run(bench: &Bench, options: &[&str], files: usize, threads: &str) -> (Run, Vec<Vec<u8>>) {
    let outputs: Vec<PathBuf> = (0..files).map(|n| bench.file(&format!("out{n}"))).collect();
    let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    args.extend(["--num-threads", threads].map(OsStr::new));
    args.push(bench.vmcore.as_os_str());
    args.extend(outputs.iter().map(|path| path.as_os_str()));
    let mut run = run::capture(args);
    let mut bytes: Vec<Vec<u8>> = outputs
        .iter()
        .map(|path| {
            let bytes = fs::read(path).unwrap_or_else(|e| panic!("{options:?}: {e}"));
            fs::remove_file(path).unwrap();
            bytes
        })
        .collect();
    if files == 0 {
        bytes.push(std::mem::take(&mut run.stdout));
    }
    (run, bytes)
}

#[track_caller]
fn same_for_every_number(bench: &Bench, options: &[&str], files: usize, code: i32) {
    let (first, want) = run(bench, options, files, THREADS[0]);
    first.expect(code);
    assert!(want.iter().map(Vec::len).sum::<usize>() > 1 << 20, "{options:?}: hardly anything");
    for threads in &THREADS[1..] {
        let (run, got) = run(bench, options, files, threads);
        run.expect(code);
        assert!(got == want, "{options:?}: {threads} threads give other bytes");
    }
}

#[test]
fn every_codec_and_format() {
    let bench = Bench::new(image());
    for codec in CODECS {
        same_for_every_number(&bench, &[codec, "-d", "31"], 1, 0);
        same_for_every_number(&bench, &[codec, "-d", "1", "-F"], 0, 0);
    }
    let split = ["-c", "-d", "1", "--split", "--splitblock-size", "1024"];
    same_for_every_number(&bench, &split, 3, 0);
    same_for_every_number(&bench, &["-l", "-d", "0"], 1, 0);
    same_for_every_number(&bench, &["-l", "-d", "31", "--mmap"], 1, 0);
    same_for_every_number(&bench, &["-l", "-d", "1", "--cyclic-buffer", "1"], 1, 0);
    same_for_every_number(&bench, &["-l", "-d", "1", "--cyclic-buffer", "1", "-F"], 0, 0);
    // No codec, no threads: accepted, and said.
    same_for_every_number(&bench, &["-d", "31"], 1, 0);
    same_for_every_number(&bench, &["-E", "-d", "31"], 1, 0);
    same_for_every_number(&bench, &["-E", "-d", "1", "-F"], 0, 0);
}

#[test]
fn the_next_level_after_one_that_did_not_fit() {
    let bench = Bench::new(image());
    let (_, small) = run(&bench, &["-c", "-d", "31"], 1, "1");
    let limit = (small[0].len() + 4096).to_string();
    let (one, want) = run(&bench, &["-c", "-d", "0,1,31", "-L", &limit], 1, "1");
    one.expect(0).says("trying again with dump level 31");
    for threads in &THREADS[1..] {
        let (more, got) = run(&bench, &["-c", "-d", "0,1,31", "-L", &limit], 1, threads);
        more.expect(0).says("trying again with dump level 31");
        assert!(got == want && got == small, "{threads} threads give other bytes");
    }
}

#[test]
fn what_cannot_be_read_is_lost_alike() {
    // The end of the vmcore is cut off in the middle of a page.
    let mut image = image();
    let last = image.loads.remove(1);
    image.loads.push(last);
    let bench = Bench::new(image);
    let file = fs::OpenOptions::new().write(true).open(&bench.vmcore).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - 200 * 4096 - 100).unwrap();
    for codec in CODECS {
        for mode in [&["-d", "0"][..], &["-d", "1", "--mmap"], &["-d", "0", "-F"]] {
            let options = [&[codec], mode].concat();
            let files = usize::from(!mode.contains(&"-F"));
            same_for_every_number(&bench, &options, files, 1);
        }
    }
    let lost = |threads| {
        let (run, _) = run(&bench, &["-c", "-d", "0"], 1, threads);
        let lines = String::from_utf8_lossy(&run.stderr).into_owned();
        lines.lines().filter(|l| l.contains(" lost: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let want = lost("1");
    assert!(!want.is_empty(), "nothing was said to be lost");
    assert_eq!(lost("2"), want);
}

#[test]
fn a_full_disk_leaves_the_same_incomplete_dump() {
    let bench = Bench::new(image());
    for codec in ["-c", "-l"] {
        let options = [codec, "-d", "1", "-L", "6000000"];
        same_for_every_number(&bench, &options, 1, 1);
    }
}

#[test]
fn threads_are_part_of_the_memory_limit() {
    let bench = Bench::new(image());
    let output = bench.file("budget");
    let ask = |threads: &str, limit: &str| {
        let words = ["-c", "-d", "31", "-f", "--num-threads", threads, "--memory-limit", limit];
        bench.run(&words, &output)
    };
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!(cpus >= 2, "this test needs two CPUs");
    let few = ask("2", "250000");
    few.expect(1).says("it is enough for one thread");
    assert!(!output.exists(), "something was written before the refusal");
    let text = few.text();
    let least = text.split("try --memory-limit ").nth(1).and_then(|t| t.split(' ').next()).unwrap();
    ask("2", least).expect(0);
    let less = (least.parse::<u64>().unwrap() - 1).to_string();
    ask("2", &less).expect(1);
    ask("1", &less).expect(0);
    // More threads than CPUs would only wait for each other.
    ask("31", "64M").expect(0);
    let many = (cpus + 1).to_string();
    ask(&many, "64M").expect(0).says(&format!("taking {}", cpus.min(32)));
}

#[test]
fn threads_stay_below_the_limit() {
    let mut machine = Machine::new(KernelStyle::V6_12).meta_at(8 << 20, 16 << 20);
    machine = machine.ram(0x2000..0x1_0000);
    machine = machine.fill(0x2000..0x1_0000, Content::Text);
    let bench = Bench::new(machine.build());
    let output = bench.file("peak");
    for (codec, limit, kib) in [("-c", "4M", 4096), ("-z", "4M", 4096), ("-c", "1M", 1024)] {
        let words =
            ["--non-mmap", "-d", "31", codec, "--num-threads", "2", "--memory-limit", limit];
        let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        args.extend([bench.vmcore.as_os_str(), output.as_os_str()]);
        let (code, peak) = peak_rss_kib(capture_binary().as_os_str(), args).unwrap();
        assert_eq!(code, Some(0), "{words:?}");
        assert!(peak <= kib, "{words:?}: {peak} KiB resident, {kib} allowed");
        fs::remove_file(&output).unwrap();
    }
}
