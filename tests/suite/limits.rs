//! The budget as the system enforces it: address space, data, and no memory taken on the way.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use tamis_tests::calls::{Call, trace};
use tamis_tests::run::{Run, capture_binary, run_command};
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::{zoo, zoo_at};

use crate::common::Bench;

/// Ways to write a dump; each codec, each format.
const WAYS: [&[&str]; 14] = [
    &[],
    &["-c"],
    &["-c0"],
    &["-z2"],
    &["-l"],
    &["-p"],
    &["-z"],
    &["--lz4"],
    &["-E"],
    &["-c", "--mmap"],
    &["-z", "--cyclic-buffer", "1"],
    &["-c", "--non-cyclic"],
    &["-c", "--num-threads", "2"],
    &["-l", "--num-threads", "4"],
];

fn bench() -> Bench {
    Bench::new(zoo_at(zoo(KernelStyle::V6_12), 0x7c00).build())
}

/// Runs within limits of the system.
fn run_within(bench: &Bench, options: &[&str], limits: &[(i32, u64)]) -> Run {
    let output = bench.file("within");
    let _ = fs::remove_file(&output);
    let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    args.extend([bench.vmcore.as_os_str(), output.as_os_str()]);
    let mut command = Command::new(capture_binary());
    let limits = limits.to_vec();
    // SAFETY: between fork and exec only setrlimit(2) is called, which is a bare system call.
    unsafe {
        command.pre_exec(move || {
            for (which, bytes) in &limits {
                let limit = libc::rlimit { rlim_cur: *bytes, rlim_max: *bytes };
                if libc::setrlimit(*which as _, &limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let words = args.iter().map(|word| (*word).to_owned()).collect();
    run_command(command.args(&args), words)
}

/// A number of the memory plan.
#[track_caller]
fn planned(run: &Run, row: &str) -> u64 {
    let text = run.text();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(row));
    let digits = line.and_then(|rest| rest.split_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no {row} in:\n{text}"))
}

#[test]
fn the_address_space_of_the_plan_is_enough() {
    let bench = bench();
    for options in WAYS {
        for limit in [&[][..], &["--memory-limit", "1M"], &["--memory-limit", "8M"]] {
            let all = [&["-d", "31"], options, limit].concat();
            let plan = run_within(&bench, &[&all[..], &["--dry-run"]].concat(), &[]);
            if plan.code == Some(1) && options.contains(&"--num-threads") {
                // So many threads take more than this limit: refused, with the number.
                plan.says("try --memory-limit");
                continue;
            }
            plan.expect(0);
            let (space, total) = (planned(&plan, "address space"), planned(&plan, "total"));
            let limits = [(libc::RLIMIT_AS as i32, space), (libc::RLIMIT_DATA as i32, total)];
            run_within(&bench, &all, &limits).expect(0);
            // It is not just some large number: with less than the plan itself there is no dump.
            let less = [(libc::RLIMIT_AS as i32, total - (128 << 10))];
            let run = run_within(&bench, &all, &less);
            assert_ne!(run.code, Some(0), "{all:?} runs in less than its plan");
        }
    }
}

/// Whether a call takes memory that the plan would have to name.
fn takes_memory(call: &Call) -> bool {
    const MAP_ANONYMOUS: u64 = libc::MAP_ANONYMOUS as u64;
    match call.number {
        libc::SYS_brk | libc::SYS_mremap => true,
        libc::SYS_mmap => call.args[3] & MAP_ANONYMOUS != 0,
        _ => false,
    }
}

#[test]
fn no_memory_is_taken_after_the_first_write() {
    let bench = bench();
    let output = bench.file("traced");
    for options in WAYS {
        let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        args.extend(["-d".as_ref(), "31".as_ref(), bench.vmcore.as_os_str(), output.as_ref()]);
        let (code, calls) = trace(capture_binary().as_os_str(), &args).expect("tracing the run");
        assert_eq!(code, Some(0), "{options:?}");
        let first = calls.iter().position(|call| call.number == libc::SYS_pwrite64);
        let first = first.expect("a write at an offset");
        assert!(calls[..first].iter().any(takes_memory), "{options:?}: none taken before either");
        let taken = calls[first..].iter().filter(|call| takes_memory(call)).count();
        assert_eq!(taken, 0, "{options:?}");
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn outputs_are_never_open_to_others_nor_through_links() {
    let bench = bench();
    let output = bench.file("traced");
    let create = libc::O_CREAT as u64;
    let careful = (libc::O_EXCL | libc::O_NOFOLLOW) as u64;
    for options in [&["-d", "31"][..], &["-E"], &["--dump-dmesg"], &["-f"], &["-f", "--dump-dmesg"]]
    {
        let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        args.extend([bench.vmcore.as_os_str(), output.as_ref()]);
        let (_, calls) = trace(capture_binary().as_os_str(), &args).expect("tracing the run");
        let opens = calls.iter().filter_map(|call| match call.number {
            libc::SYS_open => Some((call.args[1], call.args[2])),
            libc::SYS_openat => Some((call.args[2], call.args[3])),
            _ => None,
        });
        let made: Vec<_> = opens.filter(|(flags, _)| flags & create != 0).collect();
        assert_eq!(made.len(), 1, "{options:?}: {made:x?}");
        let (flags, mode) = made[0];
        assert_eq!((flags & careful, mode & 0o7777), (careful, 0o600), "{options:?}");
        let _ = fs::remove_file(&output);
    }
}
