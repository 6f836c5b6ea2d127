//! One file under several names: nothing that is read, or written, is overwritten by another output.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use tamis_tests::dumpread::Dump;
use tamis_tests::run::{Run, capture_binary};
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

use crate::common::Bench;

fn bench() -> Bench {
    Bench::new(zoo(KernelStyle::V6_12).build())
}

/// Runs in the folder of the vmcore.
fn run_in<S: AsRef<OsStr>>(bench: &Bench, words: &[S], streams: [Option<Stdio>; 3]) -> Run {
    let mut command = Command::new(capture_binary());
    let [input, output, error] = streams;
    command.args(words).current_dir(bench.vmcore.parent().unwrap());
    command.stdin(input.unwrap_or_else(Stdio::null));
    command.stdout(output.unwrap_or_else(Stdio::piped));
    command.stderr(error.unwrap_or_else(Stdio::piped));
    let out = command.output().unwrap();
    let args = words.iter().map(|word| word.as_ref().to_owned()).collect();
    Run { code: out.status.code(), signal: None, stdout: out.stdout, stderr: out.stderr, args }
}

/// Opens a file at its end, as `>>` does.
fn append(path: &Path) -> Option<Stdio> {
    Some(File::options().append(true).create(true).open(path).unwrap().into())
}

#[test]
fn what_is_read_is_not_overwritten() {
    let bench = bench();
    let file = |name: &str| bench.file(name);
    let whole = fs::read(&bench.vmcore).unwrap();
    let kept = |what: &str| assert!(fs::read(&bench.vmcore).unwrap() == whole, "{what}: not kept");
    fs::create_dir(file("folder")).unwrap();
    symlink(".", file("link")).unwrap();
    fs::write(file("info"), &bench.image.vmcoreinfo).unwrap();
    let info = fs::read(file("info")).unwrap();
    for words in [
        "-f vmcore ./vmcore",
        "-f vmcore folder/../vmcore",
        "-f vmcore link/vmcore",
        "-f link/vmcore vmcore",
        "-f -E vmcore ./vmcore",
        "-f --dump-dmesg vmcore ./vmcore",
        "-f --split vmcore a ./vmcore",
        "-f --split vmcore ./vmcore b",
        "-f -i ./info vmcore info",
        "-f -i info --dump-dmesg vmcore ./info",
        "vmcore ./vmcore",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let run = run_in(&bench, &words, [None, None, None]);
        run.expect(1).says("is the same file as").says("nothing was written");
        kept(&format!("{words:?}"));
        assert!(fs::read(file("info")).unwrap() == info, "{words:?}");
        assert!(!file("a").exists() && !file("b").exists(), "{words:?}");
    }
    // A hard link is the same file, too; a symbolic link in the way is replaced, as it always was.
    fs::hard_link(&bench.vmcore, file("hard")).unwrap();
    run_in(&bench, &["-f", "vmcore", "hard"], [None, None, None]).expect(1);
    kept("hard link");
    symlink("vmcore", file("soft")).unwrap();
    run_in(&bench, &["-f", "vmcore", "soft"], [None, None, None]).expect(0);
    kept("symbolic link");
    assert!(Dump::open(&file("soft")).is_ok() && !file("soft").is_symlink());
}

#[test]
fn standard_streams_are_files_like_others() {
    let bench = bench();
    let file = |name: &str| bench.file(name);
    let whole = fs::read(&bench.vmcore).unwrap();
    for streams in [[None, append(&bench.vmcore), None], [None, None, append(&bench.vmcore)]] {
        let run = run_in(&bench, &["-F", "-d", "31", "vmcore"], streams);
        assert_eq!(run.code, Some(1), "{}", run.text());
        // Where messages go to the vmcore, it gets those; the memory in it is untouched.
        assert!(fs::read(&bench.vmcore).unwrap().starts_with(&whole));
    }
    // The messages of a run are in a file; the dump may not take its place, nor that of the input.
    fs::write(file("told"), "before\n").unwrap();
    for streams in [
        [None, append(&file("told")), None],
        [None, None, append(&file("told"))],
        [Some(File::open(file("told")).unwrap().into()), None, None],
    ] {
        run_in(&bench, &["-f", "vmcore", "./told"], streams).expect(1);
        assert!(fs::read(file("told")).unwrap().starts_with(b"before\n"));
    }
}

#[test]
fn parts_are_files_of_their_own() {
    let bench = bench();
    let file = |name: &str| bench.file(name);
    for there in [false, true] {
        for words in
            ["-f --split vmcore a ./a", "-f --split vmcore a b ./a", "--split vmcore a ./a"]
        {
            if there {
                fs::write(file("a"), "older").unwrap();
            }
            let words: Vec<&str> = words.split(' ').collect();
            let run = run_in(&bench, &words, [None, None, None]);
            run.expect(1);
            assert!(!file("b").exists(), "{words:?}");
            if words[0] == "-f" {
                run.says("./a is the same file as a");
                assert!(!file("a").exists(), "{words:?}: half a dump is left");
            }
            let _ = fs::remove_file(file("a"));
        }
    }
}
