//! What a caller hands down: closed descriptors, blocked signals, umask, limits, a working folder. Not one
//! of them changes the dump.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tamis_tests::flat;
use tamis_tests::run::{Run, capture_binary, run_command};
use tamis_tests::synth::{Content, KernelStyle};
use tamis_tests::zoo::zoo;

use crate::common::Bench;

fn bench() -> Bench {
    let machine = zoo(KernelStyle::V6_12).ram(0x1000..0x1400).fill(0x1000..0x1400, Content::Noise);
    Bench::new(machine.build())
}

/// Runs after `settle`, which may only make system calls.
fn run_after(words: &[OsString], settle: fn() -> bool) -> Run {
    let mut command = Command::new(capture_binary());
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || match settle() {
            true => Ok(()),
            false => Err(std::io::Error::last_os_error()),
        });
    }
    run_command(command.args(words), words.to_vec())
}

fn close<const FIRST: i32, const LAST: i32>() -> bool {
    // SAFETY: these descriptors are the standard ones of a process that is about to become another.
    (FIRST..=LAST).all(|fd| unsafe { libc::close(fd) } == 0)
}

/// Lowers a soft limit.
fn soft(which: libc::__rlimit_resource_t, most: libc::rlim_t) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for both numbers of a limit.
    unsafe {
        libc::getrlimit(which, &mut limit);
        limit.rlim_cur = most;
        libc::setrlimit(which, &limit) == 0
    }
}

fn all_signals(how: i32) -> bool {
    // SAFETY: a set of signals that is filled before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::sigprocmask(how, &set, std::ptr::null_mut()) == 0
    }
}

fn umask<const MASK: u32>() -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::umask(MASK) };
    true
}

#[test]
fn whatever_is_handed_down_the_dump_is_the_same() {
    let bench = bench();
    let output = bench.file("inherited");
    let words = ["-c", "-d", "31", "-D"].map(OsString::from);
    let words = [&words[..], &[bench.vmcore.clone().into(), output.clone().into()]].concat();
    type Way = fn() -> bool;
    let ways: [(&str, Way); 11] = [
        ("nothing", || true),
        ("0 to 2 closed", close::<0, 2>),
        ("1 and 2 closed", close::<1, 2>),
        ("0 and 1 closed", close::<0, 1>),
        ("2 closed", close::<2, 2>),
        ("all signals blocked", || all_signals(libc::SIG_BLOCK)),
        ("umask 0", umask::<0>),
        ("umask 0777", umask::<0o777>),
        ("64 KiB a file", || soft(libc::RLIMIT_FSIZE, 64 << 10)),
        ("4 descriptors", || soft(libc::RLIMIT_NOFILE, 4)),
        ("a stack of 64 KiB", || soft(libc::RLIMIT_STACK, 64 << 10)),
    ];
    let mut whole = Vec::new();
    for (what, way) in ways {
        let run = run_after(&words, way);
        assert_eq!(run.code, Some(0), "{what}: {}", run.text());
        let dump = fs::read(&output).unwrap();
        if whole.is_empty() {
            whole.clone_from(&dump);
        }
        assert!(dump == whole, "{what}: another dump");
        let mode = fs::metadata(&output).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{what}");
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn a_stream_without_an_output_fails() {
    let bench = bench();
    let words = ["-F", "-d", "31"].map(OsString::from);
    let words = [&words[..], &[bench.vmcore.clone().into()]].concat();
    let run = run_after(&words, close::<1, 1>);
    run.expect(1).says("writing").says("Bad file descriptor");
    // Nor does it go where the messages go.
    assert_eq!(flat::rearrange_cut(&run.stderr), None);
    assert_eq!(run_after(&words, close::<0, 2>).code, Some(1));
}

#[test]
fn a_working_folder_that_is_gone() {
    let bench = bench();
    let (folder, output) = (bench.file("gone"), bench.file("dump"));
    fs::create_dir(&folder).unwrap();
    let mut command = Command::new(capture_binary());
    command.current_dir(&folder).args(["-d", "31"]).args([&bench.vmcore, &output]);
    let gone = folder.clone();
    // SAFETY: between fork and exec only a folder is removed.
    unsafe { command.pre_exec(move || fs::remove_dir(&gone)) };
    run_command(&mut command, vec![]).expect(0);
    assert!(output.exists());
}

#[test]
fn a_signal_that_was_blocked_ends_a_capture() {
    let bench = bench();
    let mut command = Command::new(capture_binary());
    command.args(["-F", "-d", "0"]).arg(&bench.vmcore).stdin(Stdio::null());
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGTERM, libc::SIG_DFL);
            all_signals(libc::SIG_BLOCK);
            Ok(())
        });
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut [0; 4096]).unwrap();
    // SAFETY: our own child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    pipe.read_to_end(&mut Vec::new()).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
}
