//! Outputs that end early, for real: size limits of the system, full devices, readers that go away or do
//! not come, signals. `tests/vm/space` does it with file systems and devices.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tamis_tests::dumpread::{Descriptor, Dump, STATUS_INCOMPLETE};
use tamis_tests::elfread::Elf;
use tamis_tests::flat;
use tamis_tests::run::{Run, capture_binary, inherit_signals, run_command};
use tamis_tests::synth::{Content, Image, KernelStyle, Machine};
use tamis_tests::zoo::zoo;

use crate::common::Bench;

/// A machine whose dump takes about 4 MiB.
fn bench() -> Bench {
    let machine = zoo(KernelStyle::V6_12).ram(0x1000..0x1400).fill(0x1000..0x1400, Content::Noise);
    Bench::new(machine.build())
}

/// Runs with files of so many bytes at most (`ulimit -f`).
fn run_limited(bench: &Bench, options: &[&str], outputs: &[&Path], bytes: u64) -> Run {
    let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    args.push(bench.vmcore.as_os_str());
    args.extend(outputs.iter().map(|path| path.as_os_str()));
    let mut command = Command::new(capture_binary());
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: between fork and exec only setrlimit(2) is called, which is a bare system call.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let words = args.iter().map(|word| (*word).to_owned()).collect();
    run_command(command.args(&args), words)
}

/// What a message says about a dump that is incomplete: pages saved, of how many.
#[track_caller]
fn told(run: &Run) -> (u64, u64) {
    let text = run.text();
    let rest = text.split("the dump is incomplete: ").nth(1).expect("a word about what is saved");
    let numbers: Vec<u64> = rest
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .take(4)
        .collect();
    let [saved, kept, bytes, missing] = numbers[..] else { panic!("four numbers in:\n{text}") };
    assert_eq!(saved + missing, kept, "{text}");
    assert!(bytes > 0, "{text}");
    (saved, kept)
}

/// Checks that a dump calls itself incomplete and has no wrong page; gives the pages it has.
#[track_caller]
fn saved(dump: &Dump, image: &Image) -> u64 {
    assert_ne!(dump.header.status & STATUS_INCOMPLETE, 0, "not marked incomplete");
    let mut count = 0;
    for (n, pfn) in dump.frames().enumerate() {
        let Ok(Descriptor { size: 1.., .. }) = dump.descriptor(n as u64) else { continue };
        // What the reader has no decoder for is held against the machine elsewhere.
        let page = dump.decode(dump.descriptor(n as u64).unwrap()).unwrap();
        assert!(page == image.expected_page(pfn).unwrap(), "frame {pfn:#x}");
        count += 1;
    }
    count
}

#[test]
fn the_largest_size_of_a_file() {
    let bench = bench();
    let output = bench.file("limited");
    for options in [&["-d", "31"][..], &["-d", "31", "-c"], &["-d", "0", "--lz4"]] {
        for kib in [300, 700, 1500] {
            let run = run_limited(&bench, options, &[&output], kib << 10);
            run.expect(1).says("File too large");
            let dump = Dump::open(&output).unwrap();
            assert_eq!(saved(&dump, &bench.image), told(&run).0, "{options:?} {kib} KiB");
            assert!(dump.bytes().len() as u64 <= kib << 10);
            fs::remove_file(&output).unwrap();
        }
    }
    // Not even the bitmaps.
    let run = run_limited(&bench, &["-d", "31"], &[&output], 8192);
    run.expect(1).says("there is no dump");
}

#[test]
fn the_largest_size_of_an_elf_file() {
    let bench = bench();
    let output = bench.file("limited");
    let run = run_limited(&bench, &["-d", "31", "-E"], &[&output], 3 << 20);
    run.expect(1).says("File too large");
    let bytes = fs::read(&output).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.e_flags & 1, 1, "marked incomplete");
    let mut pages = 0;
    for load in elf.of_kind(1) {
        for (n, page) in elf.segment(&bytes, load).unwrap().chunks(4096).enumerate() {
            let pfn = load.paddr / 4096 + n as u64;
            if page.iter().any(|b| *b != 0) {
                assert!(page == bench.image.expected_page(pfn).unwrap(), "frame {pfn:#x}");
                pages += 1;
            }
        }
    }
    let (saved, kept) = told(&run);
    assert_eq!(pages, saved);
    assert!(saved > 300 && saved < kept, "{saved} of {kept}");
}

#[test]
fn the_largest_size_of_the_parts_of_a_split_dump() {
    let bench = bench();
    let outputs = [0, 1, 2].map(|n| bench.file(&format!("part{n}")));
    let paths = outputs.each_ref().map(|path| path.as_path());
    let run =
        run_limited(&bench, &["-d", "31", "--split", "--splitblock-size", "256"], &paths, 1 << 20);
    run.expect(1).says("File too large");
    let dumps = outputs.each_ref().map(|path| Dump::open(path).unwrap());
    let there: u64 = dumps
        .iter()
        .map(|dump| match dump.header.status & STATUS_INCOMPLETE {
            0 => dump.frames().count() as u64,
            _ => saved(dump, &bench.image),
        })
        .sum();
    assert_eq!(there, told(&run).0);
}

#[test]
fn the_next_level_where_a_file_may_not_be_large() {
    let bench = bench();
    let output = bench.file("levels");
    bench.run(&["-d", "31", "-c"], &output).expect(0);
    let whole = fs::read(&output).unwrap();
    fs::remove_file(&output).unwrap();
    // Level 0 has all the zero pages as well.
    let limit = whole.len() as u64 + 8192;
    let run = run_limited(&bench, &["-d", "0,31", "-c"], &[&output], limit);
    run.expect(0).says("trying again with dump level 31");
    assert!(fs::read(&output).unwrap() == whole);
}

#[test]
fn a_stream_into_a_full_device() {
    let bench = bench();
    let mut command = Command::new(capture_binary());
    command.args(["-F", "-d", "31"]).arg(&bench.vmcore);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = command.stdin(Stdio::null()).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
}

/// Signals that tell a capture to end.
const ENDING: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
/// Signals of a machine, or a caller, that will not wait for much longer.
const WARNING: [i32; 8] = [
    libc::SIGPWR,
    libc::SIGXCPU,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGIO,
];

/// The program, with these signals ignored and the others not, whatever our own caller ignores.
fn ignoring(ignored: &'static [i32]) -> Command {
    let mut command = Command::new(capture_binary());
    inherit_signals(&mut command, ENDING.into_iter().chain(WARNING), ignored);
    command
}

/// Starts a capture that streams.
fn streaming(bench: &Bench, stdout: impl Into<Stdio>) -> Child {
    let mut command = ignoring(&[]);
    command.args(["-F", "-d", "31"]).arg(&bench.vmcore);
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), None, "killed by a signal: {said}");
    (status.code(), said)
}

#[test]
fn a_reader_that_goes_away() {
    let bench = bench();
    for bytes in [0, 1, 5000, 100_000, 2_000_000] {
        let mut child = streaming(&bench, Stdio::piped());
        let mut stream = vec![0; bytes];
        let mut pipe = child.stdout.take().unwrap();
        pipe.read_exact(&mut stream).unwrap();
        drop(pipe);
        let (code, said) = end(child);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("Broken pipe"), "{said}");
        assert!(bytes < 5000 || !flat::rearrange_cut(&stream).unwrap().1);
    }
}

/// A pipe that takes little at a time: its reading end, and its writing end, which does not block.
fn small_pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: a place for two file descriptors, which then are ours alone.
    let (reads, writes) = unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    // SAFETY: open file descriptors, and plain numbers.
    unsafe {
        assert!(libc::fcntl(writes.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) >= 4096);
        assert_eq!(libc::fcntl(writes.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK), 0);
    }
    (reads, writes)
}

#[test]
fn a_slow_reader_of_a_pipe_that_does_not_block() {
    let bench = bench();
    let mut whole = Vec::new();
    let mut child = streaming(&bench, Stdio::piped());
    child.stdout.take().unwrap().read_to_end(&mut whole).unwrap();
    assert_eq!(end(child).0, Some(0));

    let (reads, writes) = small_pipe();
    let child = streaming(&bench, writes);
    let mut reads = fs::File::from(reads);
    let (mut stream, mut piece) = (Vec::new(), [0; 3001]);
    loop {
        match reads.read(&mut piece).unwrap() {
            0 => break,
            n => stream.extend_from_slice(&piece[..n]),
        }
    }
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(stream == whole, "short writes make another stream");
}

/// Waits until something is so, a quarter of a minute at most.
fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(15), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: &Child, number: i32) {
    // SAFETY: our own child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, number) }, 0);
}

/// Bytes that wait in a pipe.
fn waiting(reads: &OwnedFd) -> i32 {
    let mut bytes = 0;
    // SAFETY: an open file descriptor and a place for a number.
    unsafe { libc::ioctl(reads.as_raw_fd(), libc::FIONREAD, &mut bytes) };
    bytes
}

#[test]
fn a_reader_that_does_not_come() {
    // Stuck in the middle of a stream, one signal is enough, whether or not the pipe blocks.
    let bench = bench();
    for blocks in [true, false] {
        for number in ENDING.into_iter().chain(WARNING) {
            let (reads, writes) = small_pipe();
            if blocks {
                // SAFETY: an open file descriptor, and plain numbers.
                unsafe { libc::fcntl(writes.as_raw_fd(), libc::F_SETFL, 0) };
            }
            let child = streaming(&bench, writes);
            wait_for("a full pipe", || waiting(&reads) >= 4096);
            std::thread::sleep(Duration::from_millis(20));
            signal(&child, number);
            if WARNING.contains(&number) {
                // Again, before it was done: timers and limits do not stop at one.
                signal(&child, number);
            }
            let (code, said) = end(child);
            assert_eq!(code, Some(1), "{said}");
        }
    }
}

#[test]
fn a_capture_that_is_told_to_end() {
    let mut machine = Machine::new(KernelStyle::V6_12).meta_at(16 << 20, 32 << 20);
    machine = machine.ram(0x6000..0x1_2000).fill(0x6000..0x1_2000, Content::Text);
    let bench = Bench::new(machine.build());
    let output = bench.file("told");
    let mut ended = 0;
    // Not all of them: each takes a capture.
    let [pwr, xcpu, alrm, ..] = WARNING;
    let numbers = [libc::SIGTERM, pwr, libc::SIGQUIT, xcpu, alrm, libc::SIGUSR1];
    for (n, number) in numbers.into_iter().cycle().enumerate() {
        let mut command = ignoring(&[]);
        command.args(["-f", "-c", "-d", "31"]).args([&bench.vmcore, &output]);
        let _ = fs::remove_file(&output);
        let child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
        let child = child.unwrap();
        let long = |path: &Path| fs::metadata(path).is_ok_and(|m| m.len() > 3 << 20);
        wait_for("a dump of 3 MiB", || long(&output));
        signal(&child, number);
        let (code, said) = end(child);
        // It may have been done before.
        if code == Some(0) {
            assert!(n < 30, "it never is in time");
            continue;
        }
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("the capture was stopped"), "{said}");
        let run = Run {
            code,
            signal: None,
            stdout: Vec::new(),
            stderr: said.into_bytes(),
            args: Vec::new(),
        };
        let dump = Dump::open(&output).unwrap();
        let (pages, kept) = told(&run);
        assert_eq!(saved(&dump, &bench.image), pages);
        // No more is lost than what was being compressed.
        assert!(pages > 500 && pages < kept, "{pages} of {kept}");
        ended += 1;
        if ended == numbers.len() {
            break;
        }
    }
}

/// A pipe that is full already: the first message into it waits, when the outputs are there.
fn full_pipe() -> (OwnedFd, fs::File) {
    let (reads, writes) = small_pipe();
    let mut full = fs::File::from(writes);
    while full.write(&[b'.'; 512]).is_ok() {}
    // SAFETY: an open file descriptor, and plain numbers.
    unsafe { libc::fcntl(full.as_raw_fd(), libc::F_SETFL, 0) };
    (reads, full)
}

/// With the next level, what was written of the last one goes, and not what has its name by then.
#[test]
fn the_next_level_deletes_no_other_file() {
    let bench = bench();
    let (name, moved) = (bench.file("a"), bench.file("moved"));
    let (reads, full) = full_pipe();
    let mut command = ignoring(&[]);
    command.args(["-d", "0,31", "-L", "100K"]).args([&bench.vmcore, &name]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(full);
    let mut child = command.spawn().unwrap();
    drop(command);
    wait_for("an output", || name.exists());
    fs::rename(&name, &moved).unwrap();
    fs::write(&name, "another").unwrap();
    let mut said = String::new();
    fs::File::from(reads).read_to_string(&mut said).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("trying again with dump level 31"), "{said}");
    assert!(said.contains("-f overwrites an existing file"), "{said}");
    assert_eq!(fs::read(&name).unwrap(), b"another");
    assert!(moved.exists());
}

#[test]
fn a_dump_that_is_deleted_meanwhile_is_not_saved() {
    let bench = bench();
    for (options, names, deleted) in [
        (&["-d", "31"][..], &["a"][..], 0),
        (&["-d", "31", "-E"], &["a"], 0),
        (&["-d", "31", "--split"], &["a", "b"], 1),
        (&["-d", "31", "--num-threads", "2", "-c"], &["a"], 0),
    ] {
        let names: Vec<_> = names.iter().map(|name| bench.file(name)).collect();
        let (reads, full) = full_pipe();
        let mut command = ignoring(&[]);
        command.args(options).arg(&bench.vmcore).args(&names);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(full);
        let mut child = command.spawn().unwrap();
        drop(command);
        wait_for("an output", || names.iter().all(|name| name.exists()));
        fs::remove_file(&names[deleted]).unwrap();
        // Another capture takes the name.
        fs::write(&names[deleted], "another").unwrap();
        let mut said = String::new();
        fs::File::from(reads).read_to_string(&mut said).unwrap();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
        assert!(said.contains("was deleted while it was written"), "{said}");
        assert!(!said.contains("saved to"), "{said}");
        assert_eq!(fs::read(&names[deleted]).unwrap(), b"another");
        names.iter().for_each(|name| fs::remove_file(name).unwrap());
    }
}

#[test]
fn signals_that_the_caller_ignores_stay_ignored() {
    let bench = bench();
    let (reads, writes) = small_pipe();
    let mut command = ignoring(&[libc::SIGHUP]);
    command.args(["-F", "-d", "31"]).arg(&bench.vmcore);
    let child = command.stdin(Stdio::null()).stdout(writes).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("a full pipe", || waiting(&reads) >= 4096);
    signal(&child, libc::SIGHUP);
    let mut stream = Vec::new();
    drop(command);
    fs::File::from(reads).read_to_end(&mut stream).unwrap();
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(flat::rearrange(&stream).is_ok());
}
