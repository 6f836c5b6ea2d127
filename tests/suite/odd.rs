//! Systems that answer oddly: calls that are refused, or do less than they were asked to, where others do not.

use std::fs;

use tamis_tests::calls::{Call, Meddle, trace_and};
use tamis_tests::run::capture_binary;
use tamis_tests::synth::{Content, KernelStyle};
use tamis_tests::zoo::zoo;

use crate::common::Bench;

/// A machine whose dump takes several MiB.
fn bench() -> Bench {
    let machine = zoo(KernelStyle::V6_12).ram(0x1000..0x1800).fill(0x1000..0x1800, Content::Noise);
    Bench::new(machine.build())
}

/// Captures with these options while a system meddles, and as usual: it must be the same dump. Returns the
/// calls.
#[track_caller]
fn same_dump(
    bench: &Bench,
    what: &str,
    options: &[&str],
    meddle: &mut dyn FnMut(&Call) -> Meddle,
) -> Vec<Call> {
    let (output, usual) = (bench.file("odd"), bench.file("usual"));
    bench.run(options, &usual).expect(0);
    let mut args: Vec<_> = options.iter().map(std::ffi::OsString::from).collect();
    args.extend([bench.vmcore.clone().into(), output.clone().into()]);
    let (code, calls) = trace_and(capture_binary().as_os_str(), args, meddle).unwrap();
    assert_eq!(code, Some(0), "{what}");
    assert!(fs::read(&output).unwrap() == fs::read(&usual).unwrap(), "{what}: another dump");
    fs::remove_file(&output).unwrap();
    fs::remove_file(&usual).unwrap();
    calls
}

/// Watches whether a file is set to bypass the page cache.
#[derive(Default)]
struct Direct(bool);

impl Direct {
    /// Whether this call is a write past the page cache.
    fn writes(&mut self, call: &Call) -> bool {
        if call.number == libc::SYS_fcntl && call.args[1] == libc::F_SETFL as u64 {
            self.0 = call.args[2] & libc::O_DIRECT as u64 != 0;
        }
        call.number == libc::SYS_pwrite64 && self.0
    }
}

#[test]
fn writes_past_the_page_cache_that_are_refused_in_the_middle() {
    let bench = bench();
    for error in [libc::EINVAL, libc::EOPNOTSUPP] {
        // From the nth on, or only that one; refused, or cut short at a place that is no whole block.
        for (nth, only) in [(0, false), (1, false), (2, true), (2, false)] {
            for cut in [None, Some(0x1_0200), Some(0x1_1000)] {
                let what = format!("{nth} {only} {cut:?} {error}");
                let (mut direct, mut count, mut hits) = (Direct::default(), 0, 0);
                let calls = same_dump(&bench, &what, &["-d", "31"], &mut |call| {
                    if !direct.writes(call) {
                        return Meddle::Leave;
                    }
                    count += 1;
                    if count <= nth || only && count > nth + 1 {
                        return Meddle::Leave;
                    }
                    hits += 1;
                    // A call that is cut short is refused next, for the rest that lies badly.
                    match cut {
                        Some(len) if hits == 1 => Meddle::Argument(2, len),
                        _ => Meddle::Fail(error),
                    }
                });
                assert!(hits > 0, "{what}: no write went past the page cache");
                assert!(calls.iter().any(|call| call.number == libc::SYS_pwrite64), "{what}");
            }
        }
    }
}

#[test]
fn the_page_cache_cannot_be_bypassed() {
    let bench = bench();
    for number in [libc::SYS_fcntl, libc::SYS_statx] {
        same_dump(&bench, "no O_DIRECT", &["-d", "31"], &mut |call| {
            let sets = number != libc::SYS_fcntl || call.args[1] == libc::F_SETFL as u64;
            if call.number == number && sets { Meddle::Fail(libc::EINVAL) } else { Meddle::Leave }
        });
    }
}

#[test]
fn a_file_whose_length_cannot_be_set() {
    let bench = bench();
    let mut refused = 0;
    for error in [libc::EPERM, libc::EINVAL, libc::EOPNOTSUPP, libc::ENOSYS] {
        for options in [&["-d", "31"][..], &["-d", "31", "-E"], &["-d", "0", "-c"]] {
            let calls = same_dump(&bench, "no ftruncate", options, &mut |call| match call.number
                == libc::SYS_ftruncate
            {
                true => Meddle::Fail(error),
                false => Meddle::Leave,
            });
            refused += calls.iter().filter(|call| call.number == libc::SYS_ftruncate).count();
        }
    }
    assert!(refused > 0, "no length was set");
}

#[test]
fn space_and_writing_out_are_optional() {
    let bench = bench();
    for number in [libc::SYS_fallocate, libc::SYS_sync_file_range, libc::SYS_fadvise64] {
        for error in [libc::EOPNOTSUPP, libc::ENOSYS, libc::EINVAL] {
            same_dump(&bench, "an optional call", &["-d", "31"], &mut |call| {
                if call.number == number { Meddle::Fail(error) } else { Meddle::Leave }
            });
        }
    }
}

#[test]
fn a_mapping_that_may_not_be_touched_is_read_instead() {
    let bench = bench();
    for options in
        [&["-d", "31", "--mmap"][..], &["-c", "-d", "31", "--mmap", "--num-threads", "2"]]
    {
        let mut hits = 0;
        let calls = same_dump(&bench, "PROT_NONE", options, &mut |call| {
            // Maps of files: the hypervisor, say, forbids what is behind them.
            if call.number != libc::SYS_mmap || call.args[4] as i32 == -1 {
                return Meddle::Leave;
            }
            hits += 1;
            Meddle::Argument(2, 0)
        });
        assert!(hits > 0);
        // Given up: no second try for each page.
        let maps = calls.iter().filter(|c| c.number == libc::SYS_mmap && c.args[4] as i32 != -1);
        assert!(maps.count() <= 4);
    }
}
