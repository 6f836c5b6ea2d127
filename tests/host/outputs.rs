//! Outputs have their names when they are whole, and never those of inputs.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::Bench;
use tamis_tests::make::{Make, USUAL, flatten};
use tamis_tests::run::{Run, capture_binary, host_binary, inherit_signals};

/// What is in the folder.
fn names(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.file(".")).expect("reading the folder");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names
}

/// A folder with a dump in several forms.
fn bench() -> Bench {
    let bench = Bench::new();
    let dump = Make::new(USUAL).with_info(&"OSRELEASE=6.1.0\nPAGESIZE=4096\n".repeat(20)).bytes();
    bench.put("dump", &dump);
    bench.put("flat", &flatten(&dump, 9000));
    bench.tamis("split dump part1 part2").expect(0);
    bench.put("program", &fs::read(capture_binary()).expect("the program"));
    fs::create_dir(bench.file("modules")).expect("a folder");
    bench.put("modules/modules.dep", b"");
    bench
}

/// Every command that writes a file: its words, its inputs and its outputs.
const WRITERS: [(&str, &[&str], &[&str]); 12] = [
    ("refilter --raw dump out", &["dump"], &["out"]),
    ("refilter --to elf dump out", &["dump"], &["out"]),
    ("refilter --raw --to flat dump out", &["dump"], &["out"]),
    ("split --raw dump out out2", &["dump"], &["out", "out2"]),
    ("reassemble part1 part2 out", &["part1", "part2"], &["out"]),
    ("rearrange flat out", &["flat"], &["out"]),
    ("repair dump out", &["dump"], &["out"]),
    ("map -o out.svg dump", &["dump"], &["out.svg"]),
    ("map -o out.png dump", &["dump"], &["out.png"]),
    ("read --pfn 3 --raw -o out dump", &["dump"], &["out"]),
    ("notes --raw -o out dump", &["dump"], &["out"]),
    (
        "initramfs -o out --capture program --kernel 6.1 --modules-dir modules --target /dev/vdb",
        &["program"],
        &["out"],
    ),
];

/// Runs a command with files of no more than 512 bytes.
fn limited(bench: &Bench, words: &str) -> Run {
    limited_to(1, bench, words)
}

/// As [`limited`], to so many blocks of 512 or of 1024 bytes: shells differ.
fn limited_to(blocks: u32, bench: &Bench, words: &str) -> Run {
    let script = format!("ulimit -f {blocks}; exec \"$0\" {words}");
    let mut command = Command::new("sh");
    command.current_dir(bench.file(".")).arg("-c").arg(script).arg(host_binary());
    let output = command.stdin(Stdio::null()).output().expect("running sh");
    Run {
        code: output.status.code(),
        signal: output.status.signal(),
        stdout: output.stdout,
        stderr: output.stderr,
        args: vec![words.into()],
    }
}

#[test]
fn a_disk_that_is_full_leaves_nothing_new_and_what_was_there() {
    let bench = bench();
    let before = names(&bench);
    for (words, _, outs) in WRITERS {
        let run = limited(&bench, words);
        run.expect(3).says("File too large (os error 27)");
        let named = outs.iter().any(|out| run.text().contains(&format!("{out}: writing")));
        let named =
            named || outs.iter().any(|out| run.text().contains(&format!("{out}: extending")));
        assert!(named, "{words}: which file is it?\n{}", run.text());
        assert_eq!(names(&bench), before, "{words}\n{}", run.text());
        for out in outs {
            bench.put(out, b"old");
        }
        let run = limited(&bench, &format!("{words} --force"));
        run.expect(3).says(" 27)");
        for out in outs {
            assert_eq!(bench.get(out), b"old", "{words}\n{}", run.text());
            fs::remove_file(bench.file(out)).expect("removing");
        }
        assert_eq!(names(&bench), before, "{words}\n{}", run.text());
        // And with room, all is well.
        bench.tamis(words).expect(0);
        for out in outs {
            fs::remove_file(bench.file(out)).expect("removing");
        }
    }
    let pages = bench.file("pages");
    fs::create_dir(&pages).expect("a folder");
    limited(&bench, "man ./pages").expect(3).says(" 27)");
    assert_eq!(fs::read_dir(&pages).expect("reading").count(), 0);
    // Of many files, some have room.
    let run = limited_to(4, &bench, "man ./pages");
    run.expect(3).says("none of the files was written");
    assert_eq!(fs::read_dir(&pages).expect("reading").count(), 0);
}

#[test]
fn what_cannot_be_printed_is_a_failure() {
    let bench = bench();
    for words in ["info dump", "man info", "--version", "--help", "help info", "info --help"] {
        let mut command = Command::new("sh");
        command.current_dir(bench.file(".")).arg("-c");
        command.arg(format!("exec \"$0\" {words} > /dev/full")).arg(host_binary());
        let output = command.output().expect("running sh");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{words}: {said}");
        assert!(said.contains("writing to standard output: No space left"), "{words}: {said}");
    }
}

#[test]
fn no_output_is_an_input_by_any_path_or_link() {
    let bench = bench();
    for (words, inputs, outs) in WRITERS {
        for input in inputs {
            let kind = outs[0].strip_prefix("out").unwrap_or_default();
            fs::hard_link(bench.file(input), bench.file(&format!("hard{kind}"))).expect("linking");
            std::os::unix::fs::symlink(input, bench.file(&format!("soft{kind}"))).expect("linking");
            let before = bench.get(input);
            for name in ["hard", "soft", "./soft"] {
                let words = words.replacen(outs[0], &format!("{name}{kind}"), 1);
                let run = bench.tamis(&format!("{words} --force"));
                run.expect(3).says("is the input itself");
                assert!(bench.get(input) == before, "{words}");
            }
            for name in ["hard", "soft"] {
                fs::remove_file(bench.file(&format!("{name}{kind}"))).expect("removing");
            }
        }
    }
    bench.tamis_with("repair --force - dump", "dump").expect(3).says("is the input itself");
    bench.tamis_with("rearrange --force - flat", "flat").expect(3).says("is the input itself");
    bench.tamis("split --force dump a ./a").expect(3).says("is another output of this run");
    assert!(!names(&bench).contains(&"a".into()));
}

/// Signals that end the tool.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// A stream that has come half of its way; the output has another name then.
fn half_way(bench: &Bench, words: &str) -> (Child, std::process::ChildStdin, String) {
    let mut command = Command::new("sh");
    inherit_signals(&mut command, ENDING, &[]);
    command.current_dir(bench.file(".")).arg("-c").arg(words).arg(host_binary());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("running tamis");
    let mut stdin = child.stdin.take().expect("stdin");
    let stream = bench.get("flat");
    stdin.write_all(&stream[..40_000]).expect("writing half of it");
    (child, stdin, unfinished(bench))
}

/// The name of the output as soon as something is in it.
fn unfinished(bench: &Bench) -> String {
    let began = Instant::now();
    loop {
        let wanted = |name: &String| name.starts_with(".out.") && name.ends_with(".unfinished");
        let name = names(bench).into_iter().find(wanted);
        if let Some(name) = name
            && fs::metadata(bench.file(&name)).is_ok_and(|found| found.len() > 0)
        {
            return name;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const REARRANGE: &str = "exec \"$0\" rearrange --force - out";

#[test]
fn a_signal_takes_what_is_unfinished_with_it() {
    let bench = bench();
    bench.put("out", b"old");
    let before = names(&bench);
    for signal in ENDING {
        let (child, stdin, _) = half_way(&bench, REARRANGE);
        // SAFETY: a signal to a child that is not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
        let output = child.wait_with_output().expect("waiting");
        drop(stdin);
        assert_eq!(output.status.signal(), Some(signal));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("interrupted: out: unfinished, and removed"), "{said}");
        assert_eq!(names(&bench), before);
        assert_eq!(bench.get("out"), b"old");
    }
    // Ignored by whoever started it.
    let words = format!("trap '' HUP; {REARRANGE}");
    let (child, mut stdin, _) = half_way(&bench, &words);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGHUP) }, 0);
    stdin.write_all(&bench.get("flat")[40_000..]).expect("writing the rest");
    drop(stdin);
    assert!(child.wait_with_output().expect("waiting").status.success());
    bench.assert_same("dump", "out", "nohup");
}

#[test]
fn a_killed_run_leaves_the_name_as_it_was() {
    let bench = bench();
    for old in [None, Some(b"old")] {
        if let Some(old) = old {
            bench.put("out", old);
        }
        let before = names(&bench);
        let (mut child, stdin, name) = half_way(&bench, REARRANGE);
        child.kill().expect("killing");
        child.wait().expect("waiting");
        drop(stdin);
        let mut after = names(&bench);
        after.retain(|found| *found != name);
        assert_eq!(after, before);
        assert!(old.is_none_or(|old| bench.get("out") == old));
        fs::remove_file(bench.file(&name)).expect("removing");
    }
}

#[test]
fn another_file_under_a_name_is_left_alone() {
    let bench = bench();
    // Without --force: a file that came meanwhile.
    let (child, mut stdin, _) = half_way(&bench, "exec \"$0\" rearrange - out");
    bench.put("out", b"another");
    stdin.write_all(&bench.get("flat")[40_000..]).expect("writing the rest");
    drop(stdin);
    let output = child.wait_with_output().expect("waiting");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there by now"));
    assert_eq!(bench.get("out"), b"another");
    // Under the name of what is unfinished.
    let before = names(&bench);
    let (child, stdin, name) = half_way(&bench, REARRANGE);
    fs::remove_file(bench.file(&name)).expect("removing");
    bench.put(&name, b"another");
    // SAFETY: a signal to a child that is not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    child.wait_with_output().expect("waiting");
    drop(stdin);
    assert_eq!(bench.get(&name), b"another");
    fs::remove_file(bench.file(&name)).expect("removing");
    assert_eq!(names(&bench), before);
}

#[test]
fn pipes_are_written_as_they_are() {
    let bench = bench();
    let status = Command::new("mkfifo").arg(bench.file("pipe")).status().expect("running mkfifo");
    assert!(status.success());
    let pipe = bench.file("pipe");
    let reader = std::thread::spawn(move || fs::read(pipe).expect("reading the pipe"));
    bench.tamis("refilter --raw --to flat --force dump pipe").expect(0);
    let found = reader.join().expect("the reader");
    bench.tamis("refilter --raw --to flat dump file").expect(0);
    assert!(found == bench.get("file"), "{} bytes", found.len());
}
