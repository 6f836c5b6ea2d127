//! One dump in several files.

use std::ffi::OsStr;
use std::path::PathBuf;

use tamis_tests::check;
use tamis_tests::dumpread::Dump;
use tamis_tests::oracle::{Fate, expect};
use tamis_tests::run;
use tamis_tests::synth::{Content, Image, KernelStyle};
use tamis_tests::zoo::{zoo, zoo_at};

use crate::common::Bench;

fn split(bench: &Bench, options: &[&str], files: usize) -> Vec<Dump> {
    let outputs: Vec<PathBuf> = (0..files).map(|n| bench.file(&format!("part{n}"))).collect();
    let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    args.push("--split".as_ref());
    args.push(bench.vmcore.as_os_str());
    args.extend(outputs.iter().map(|path| path.as_os_str()));
    let run = run::capture(args);
    run.expect(0);
    let dumps = outputs.iter().map(|path| {
        let dump = Dump::open(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        std::fs::remove_file(path).unwrap();
        dump
    });
    dumps.collect()
}

/// Ranges as the reference cuts them: blocks of `block` frames go to a file until it has its
/// share of the pages kept; the last file takes the rest.
fn ranges(kept: &[bool], block: u64, files: u64) -> Vec<(u64, u64)> {
    let end = kept.len() as u64;
    let counts: Vec<u64> = kept
        .chunks(block as usize)
        .map(|chunk| chunk.iter().filter(|kept| **kept).count() as u64)
        .collect();
    let share = counts.iter().sum::<u64>() / files;
    let mut next = 0;
    let mut out = Vec::new();
    for file in 0..files {
        let start = (next as u64 * block).min(end);
        let mut need = share as i64;
        while file + 1 < files && need > 0 && next < counts.len() {
            need -= counts[next] as i64;
            next += 1;
        }
        let stop = if file + 1 == files { end } else { (next as u64 * block).min(end) };
        out.push((start, stop));
    }
    out
}

fn check_set(image: &Image, level: u32, dumps: &[Dump], block: u64) {
    let expected = expect(image, level);
    let kept: Vec<bool> = expected.fates.iter().map(|fate| *fate == Fate::Keep).collect();
    let first = &dumps[0];
    let wanted = ranges(&kept, block, dumps.len() as u64);
    let found: Vec<_> =
        dumps.iter().map(|d| (d.header.start_pfn_64, d.header.end_pfn_64)).collect();
    assert_eq!(found, wanted, "ranges of {} files", dumps.len());
    for (n, dump) in dumps.iter().enumerate() {
        let what = format!("part {n} of {} at level {level}", dumps.len());
        assert_eq!(dump.header.split, 1, "{what}");
        assert_eq!(dump.header.dump_level, level as i32, "{what}");
        assert!(dump.bytes()[..464] == first.bytes()[..464], "{what}: another common header");
        assert!(dump.notes() == first.notes(), "{what}: other notes");
        for bitmap in [1, 2] {
            assert!(dump.bitmap(bitmap) == first.bitmap(bitmap), "{what}: bitmap {bitmap}");
        }
        for (pfn, kept) in kept.iter().enumerate() {
            assert_eq!(dump.bit(2, pfn as u64), *kept, "{what}: frame {pfn:#x}");
        }
        dump.check_dense().unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let faults = check::page_faults(dump, image);
        assert!(faults.is_empty(), "{what}: {}", faults[0]);
    }
}

fn machine() -> Image {
    let mut machine = zoo(KernelStyle::V6_12);
    for base in [0x1800, 0x7c00, 0x2_7800] {
        machine = zoo_at(machine, base);
    }
    machine.meta_at(0x1_0000 << 12, 32 << 20).fill(0x2_8500..0x2_8580, Content::Noise).build()
}

#[test]
fn sets_of_two_to_five() {
    let bench = Bench::new(machine());
    for level in [0, 1, 31] {
        for files in 2..=5 {
            let level_text = level.to_string();
            let options = ["-d", &level_text, "--splitblock-size", "1024"];
            check_set(&bench.image, level, &split(&bench, &options, files), 256);
        }
    }
}

#[test]
fn as_many_parts_as_there_is_memory_for() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    for files in [65, 300] {
        let options = ["-d", "31", "--splitblock-size", "4"];
        check_set(&bench.image, 31, &split(&bench, &options, files), 1);
    }
    // Each takes memory, which is part of the plan.
    let limit = |files: usize| {
        let names = (0..files).map(|n| bench.file(&format!("part{n}")).into_os_string());
        let words = ["--memory-limit", "300K", "--split"].map(std::ffi::OsString::from);
        let vmcore = [bench.vmcore.clone().into_os_string()];
        run::capture(words.into_iter().chain(vmcore).chain(names))
    };
    limit(2).expect(0);
    (0..2).for_each(|n| std::fs::remove_file(bench.file(&format!("part{n}"))).unwrap());
    limit(1000).expect(1).says("try --memory-limit ");
    assert!(!bench.file("part0").exists());
}

#[test]
fn sets_in_small_windows_are_the_same() {
    let bench = Bench::new(machine());
    for options in [&["-d", "31"][..], &["-d", "31", "-c"], &["-d", "17", "--lz4"]] {
        let block = ["--splitblock-size", "4096"];
        let whole = split(&bench, &[options, &block].concat(), 3);
        for kib in ["1", "2", "3"] {
            let all = [options, &block, &["--cyclic-buffer", kib]].concat();
            for (n, (a, b)) in whole.iter().zip(&split(&bench, &all, 3)).enumerate() {
                assert!(a.bytes() == b.bytes(), "{all:?}: part {n} differs");
            }
        }
    }
}

#[test]
fn blocks_of_a_gibibyte_unless_told_otherwise() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    let dumps = split(&bench, &["-d", "31"], 3);
    check_set(&bench.image, 31, &dumps, 1 << 18);
    let end = dumps[0].header.max_mapnr_64;
    assert_eq!((dumps[0].header.start_pfn_64, dumps[0].header.end_pfn_64), (0, end));
    assert_eq!((dumps[2].header.start_pfn_64, dumps[2].header.end_pfn_64), (end, end));
}

#[test]
fn sizes_of_blocks_that_cannot_be() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    for size in ["0", "3", "4097", "x"] {
        let (a, b) = (bench.file("a"), bench.file("b"));
        let args = [
            OsStr::new("--splitblock-size"),
            size.as_ref(),
            "--split".as_ref(),
            bench.vmcore.as_ref(),
            a.as_ref(),
            b.as_ref(),
        ];
        run::capture(args).expect(1);
        assert!(!a.exists() && !b.exists(), "--splitblock-size {size}: a file is left");
    }
}

/// makedumpfile knows the page of zeros of a part by its place, and when it reassembles a set stores
/// every zero page for itself if that one lies elsewhere.
#[test]
fn the_page_of_zeros_is_directly_behind_the_descriptors() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    let mut shared = 0;
    let parts = split(&bench, &["-c", "-d", "1", "--splitblock-size", "1024"], 3);
    // Each part has room for the descriptors of all.
    let all: usize = parts.iter().map(|part| part.frames().count()).sum();
    for part in parts {
        let at = part.descriptors_at() + 24 * all as u64;
        for (pfn, descriptor) in part.descriptors().unwrap() {
            if part.decode(descriptor).unwrap().iter().all(|byte| *byte == 0) {
                assert_eq!(descriptor.offset, at, "pfn {pfn:#x}");
                shared += 1;
            }
        }
    }
    assert!(shared > 100, "only {shared} pages of zeros");
}
