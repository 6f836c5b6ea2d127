//! Command lines, good and bad.
extern crate std;

use std::borrow::ToOwned;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use super::parse::*;
use super::table::*;
use super::*;

/// A command line of words without blanks.
fn line(text: &str) -> Result<Args<'_>, ArgError<'_>> {
    parse(text.split_ascii_whitespace().map(str::as_bytes))
}

/// The same with a vmcore and a dump file behind it.
#[track_caller]
fn capture(options: &'static str) -> Args<'static> {
    let words = options.split_ascii_whitespace().chain(["core", "dump"]);
    let args = parse(words.map(str::as_bytes)).expect(options);
    assert_eq!(args.mode, Mode::Capture);
    assert_eq!(args.vmcore, Some(&b"core"[..]));
    assert_eq!(args.outputs(), [b"dump"]);
    args
}

#[track_caller]
fn fails(text: &str) -> ArgError<'_> {
    line(text).expect_err(text)
}

/// The message, which has to be one bounded line of printable ASCII.
#[track_caller]
fn message(error: ArgError<'_>) -> String {
    let text = error.to_string();
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
    assert!(text.len() < 450, "{} bytes: {text}", text.len());
    assert!(text.ends_with("; see tamis-capture --help"), "{text}");
    text
}

#[track_caller]
fn bad_value(text: &str, option: &str, value: &str) {
    match fails(text) {
        error @ ArgError::BadValue { option: got, value: shown, .. } => {
            assert_eq!((got, shown), (option, value.as_bytes()), "{text}");
            assert!(message(error).contains(&format!("{option} '{value}'")), "{text}");
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn nothing_but_names() {
    let args = capture("");
    assert!(!args.check_params && !args.elf && !args.flattened && !args.force);
    assert!(!args.non_cyclic && !args.split && !args.dry_run && !args.partial_dmesg);
    assert_eq!(args.mapping, Mapping::Auto);
    assert_eq!(args.compress, Compression::None);
    assert_eq!(args.levels(), [0]);
    assert_eq!(args.messages.bits(), 7);
    assert_eq!((args.size_limit, args.memory_limit), (None, None));
    assert_eq!((args.cyclic_buffer_kib, args.splitblock_kib), (None, None));
    assert_eq!((args.vmcoreinfo, args.num_threads), (None, 1));
    assert_eq!(args.notices.lines().count(), 0);
}

#[test]
fn flags() {
    assert!(capture("-E").elf);
    assert!(capture("-f").force);
    assert_eq!(capture("--non-mmap").mapping, Mapping::Never);
    assert_eq!(capture("--mmap").mapping, Mapping::Always);
    assert!(capture("--non-cyclic").non_cyclic);
    assert!(capture("--dry-run").dry_run);
    assert!(capture("--check-params").check_params);
    assert!(line("-F core").unwrap().flattened);
}

#[test]
fn last_compression_wins() {
    assert_eq!(capture("-c").compress, Compression::Zlib);
    assert_eq!(capture("--lz4").compress, Compression::Lz4);
    assert_eq!(capture("-c0").compress, Compression::ZlibFixed);
    assert_eq!(capture("-c1d31").compress, Compression::Zlib);
    assert_eq!(capture("-fc0D").compress, Compression::ZlibFixed);
    assert_eq!(capture("-l").compress, Compression::Lzo);
    assert_eq!(capture("-c -p").compress, Compression::Snappy);
    assert_eq!(capture("-p -z").compress, Compression::Zstd);
    assert_eq!(capture("-z1").compress, Compression::Zstd);
    assert_eq!(capture("-Dz1d31").compress, Compression::Zstd);
    assert_eq!(capture("-z2d31").compress, Compression::ZstdLazy);
    assert!(message(fails("-c7 core dump")).starts_with("-c '7' is not valid"));
    assert!(message(fails("-c10 core dump")).starts_with("-c '10' is not valid"));
    assert!(message(fails("-z0 core dump")).starts_with("-z '0' is not valid"));
    assert!(message(fails("-z3 core dump")).starts_with("-z '3' is not valid"));
    assert!(message(fails("-z19f core dump")).starts_with("-z '19' is not valid"));
    // A word of its own is a name, never a level.
    assert_eq!(line("-c 1 dump").unwrap().vmcore, Some(&b"1"[..]));
    assert_eq!(capture("-c --lz4").compress, Compression::Lz4);
    assert_eq!(capture("--lz4 -d1 -c").compress, Compression::Zlib);
    assert_eq!(fails("-l3 core dump"), ArgError::UnknownShort { letter: b'3', word: b"-l3" });
}

#[test]
fn help_and_version() {
    for text in ["-h", "--help", "--he", "-vh", "-E -c --help", "core -h", "--split -hE"] {
        assert_eq!(line(text).unwrap().mode, Mode::Help, "{text}");
    }
    for text in ["-v", "--version", "--vers", "--dump-dmesg -v", "-cE a b c -v"] {
        assert_eq!(line(text).unwrap().mode, Mode::Version, "{text}");
    }
    // The words themselves still have to be right.
    assert_eq!(fails("--help --bogus"), ArgError::UnknownLong(b"--bogus"));
}

#[test]
fn levels() {
    for text in ["-d31", "-d 31", "-cd31", "-cd 31", "-fcd 031", "-d 1 -d 31"] {
        assert_eq!(capture(text).levels(), [31], "{text}");
    }
    assert_eq!(capture("-d 0,1,2,31").levels(), [0, 1, 2, 31]);
    assert_eq!(capture("-d 1,2,3 -d 4").levels(), [4]);
    bad_value("-d 32 core dump", "-d", "32");
    bad_value("-d 1,32,2 core dump", "-d", "32");
    bad_value("-d31c core dump", "-d", "31c");
    bad_value("-d 0x1f core dump", "-d", "0x1f");
    bad_value("-d -1 core dump", "-d", "-1");
    bad_value("-d +1 core dump", "-d", "+1");
    bad_value("-d 1, core dump", "-d", "1,");
    bad_value("-d ,1 core dump", "-d", ",1");
    bad_value("-d 1,,2 core dump", "-d", "1,,2");
    bad_value("-d , core dump", "-d", ",");
    bad_value("-d /proc/vmcore dump", "-d", "/proc/vmcore");
    bad_value("-d 18446744073709551616 c d", "-d", "18446744073709551616");
    bad_value("-d 256 c d", "-d", "256");
    let empty = parse([&b"-d"[..], b"", b"core", b"dump"].into_iter());
    assert!(matches!(empty, Err(ArgError::BadValue { option: "-d", value: b"", .. })));
}

#[test]
fn at_most_32_levels() {
    let list = |count| vec!["7"; count].join(",");
    let most = format!("-d {} core dump", list(32));
    assert_eq!(line(&most).unwrap().levels(), [7; 32]);
    let list = list(33);
    let text = format!("-d {list} core dump");
    assert!(message(fails(&text)).contains("at most 32 levels"));
}

#[test]
fn sizes() {
    let limit = |text: &str| {
        let owned = format!("-L {text} core dump");
        line(&owned).map(|args| args.size_limit.unwrap()).map_err(|error| error.to_string())
    };
    for (text, bytes) in [
        ("1", 1),
        ("4096", 4096),
        ("0x10", 16),
        ("0X1fK", 31 << 10),
        ("010", 8),
        ("010k", 8 << 10),
        ("3K", 3 << 10),
        ("3m", 3 << 20),
        ("3G", 3 << 30),
        ("3t", 3 << 40),
        ("3P", 3 << 50),
        ("3e", 3 << 60),
        ("0x1E", 0x1e),
        ("0x1G", 1 << 30),
        ("15E", 15 << 60),
        ("18446744073709551615", u64::MAX),
        ("0xffffffffffffffff", u64::MAX),
    ] {
        assert_eq!(limit(text), Ok(bytes), "{text}");
    }
    for text in [
        "0",
        "00",
        "0x0",
        "0K",
        "0x",
        "0xg",
        "08",
        "K",
        "1KB",
        "1KiB",
        "1Kk",
        "1B",
        "1.5G",
        "-1",
        "+1",
        "16E",
        "18446744073709551616",
        "0x10000000000000000",
        "18014398509481984K",
        "1Z",
        "core",
    ] {
        bad_value(&format!("-L {text} core dump"), "-L", text);
        bad_value(&format!("--memory-limit={text} c d"), "--memory-limit", text);
    }
    assert_eq!(capture("-L1M").size_limit, Some(1 << 20));
    assert_eq!(capture("--memory-limit 2M").memory_limit, Some(2 << 20));
    assert_eq!(capture("--memory-limit=2M -L 1").memory_limit, Some(2 << 20));
    assert_eq!(capture("-L 1 -L 2").size_limit, Some(2));
    let empty = parse([&b"-L"[..], b"", b"core", b"dump"].into_iter());
    assert!(matches!(empty, Err(ArgError::BadValue { option: "-L", value: b"", .. })));
}

#[test]
fn kibibytes() {
    assert_eq!(capture("--cyclic-buffer 1024").cyclic_buffer_kib, Some(1024));
    assert_eq!(capture("--cyclic-buffer=0").cyclic_buffer_kib, None);
    assert_eq!(capture("--cyclic-buffer=9 --cyclic-buffer 0").cyclic_buffer_kib, None);
    assert_eq!(capture("--splitblock-size 8").splitblock_kib, Some(8));
    let most = (u64::MAX / 1024).to_string();
    let owned = format!("--cyclic-buffer {most} --splitblock-size {most} c d");
    assert_eq!(line(&owned).unwrap().cyclic_buffer_kib, Some(u64::MAX / 1024));
    assert_eq!(line(&owned).unwrap().splitblock_kib, Some(u64::MAX / 1024));
    bad_value("--splitblock-size 0 c d", "--splitblock-size", "0");
    for option in ["--cyclic-buffer", "--splitblock-size"] {
        for text in ["1K", "x", "-1", "1,", "0x10", "18014398509481984", "99999999999999999999"] {
            bad_value(&format!("{option} {text} c d"), option, text);
        }
        bad_value(&format!("{option}= c d"), option, "");
    }
}

#[test]
fn message_levels() {
    assert_eq!(capture("--message-level 0").messages.bits(), 0);
    assert_eq!(capture("--message-level=31").messages.bits(), 31);
    // The additions count wherever they stand.
    assert_eq!(capture("-D").messages.bits(), 15);
    assert_eq!(capture("-D --message-level 1").messages.bits(), 9);
    assert_eq!(capture("--show-stats --message-level 1").messages.bits(), 17);
    assert_eq!(capture("--message-level 1 -D --show-stats").messages.bits(), 25);
    assert_eq!(capture("--check-params --message-level 31").messages.bits(), 7);
    assert_eq!(capture("-D --show-stats --check-params").messages.bits(), 7);
    for text in ["32", "-1", "x", "7x", "0x7", "300", "99999999999999999999"] {
        bad_value(&format!("--message-level {text} c d"), "--message-level", text);
    }
}

#[test]
fn accepted_without_effect() {
    let args = capture("-b 4 --work-dir /tmp -x vmlinux --xen-syms xen-syms --num-threads 2");
    let all = Notices {
        write_cache: true,
        work_dir: true,
        debug_info: true,
        xen_symbols: true,
        num_threads: true,
    };
    assert_eq!(args.notices, all);
    let lines: Vec<_> = args.notices.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("-b "));
    assert!(lines[1].starts_with("--work-dir "));
    assert!(lines[2].starts_with("-x "));
    assert!(lines[3].starts_with("--xen-syms "));
    assert!(lines[4].starts_with("--num-threads "));
    assert_eq!(capture("-b4").notices.lines().count(), 1);
    bad_value("-b c core dump", "-b", "c");
    // An order is a number: a forgotten one must not swallow the vmcore.
    bad_value("-b core dump", "-b", "core");
}

#[test]
fn thread_numbers() {
    assert_eq!(capture("--num-threads 3").num_threads, 3);
    for text in ["--num-threads 0", "--num-threads -7", "--num-threads=-0"] {
        assert_eq!(capture(text).num_threads, 1, "{text}");
        assert!(!capture(text).notices.num_threads, "{text}");
    }
    let args = capture("--num-threads 4 -E");
    assert!(args.elf && args.notices.num_threads);
    for text in ["x", "2x", "-", "--", "--2", "1.0", "9223372036854775808"] {
        bad_value(&format!("--num-threads {text} c d"), "--num-threads", text);
    }
}

#[test]
fn vmcoreinfo_file() {
    assert_eq!(capture("-i info").vmcoreinfo, Some(&b"info"[..]));
    assert_eq!(capture("-ciinfo").vmcoreinfo, Some(&b"info"[..]));
    assert_eq!(capture("-i a -i b").vmcoreinfo, Some(&b"b"[..]));
    // As with getopt, the next word is the value, whatever it looks like.
    assert_eq!(capture("-i --").vmcoreinfo, Some(&b"--"[..]));
    assert_eq!(capture("-i -f").vmcoreinfo, Some(&b"-f"[..]));
    let empty = parse([&b"-i"[..], b"", b"core", b"dump"].into_iter());
    assert!(matches!(empty, Err(ArgError::BadValue { option: "-i", .. })));
}

#[test]
fn any_order() {
    for text in [
        "-c -d 31 core dump",
        "core -c -d 31 dump",
        "core dump -c -d 31",
        "core -cd31 dump",
        "core dump -cd 31",
        "-d31 core dump -c",
        "-cd31 -- core dump",
        "core -cd31 -- dump",
        "core dump -cd31 --",
    ] {
        let args = line(text).expect(text);
        assert_eq!(args.vmcore, Some(&b"core"[..]), "{text}");
        assert_eq!(args.outputs(), [b"dump"], "{text}");
        assert_eq!(args.compress, Compression::Zlib, "{text}");
        assert_eq!(args.levels(), [31], "{text}");
    }
}

#[test]
fn dashes_as_operands() {
    let args = line("-c -- -x --").unwrap();
    assert_eq!((args.vmcore, args.outputs()), (Some(&b"-x"[..]), &[&b"--"[..]][..]));
    let args = line("- dump").unwrap();
    assert_eq!(args.vmcore, Some(&b"-"[..]));
    let args = line("-- --split -d").unwrap();
    assert_eq!((args.split, args.outputs()), (false, &[&b"-d"[..]][..]));
}

#[test]
fn names_need_not_be_text() {
    let args = parse([&b"\xff\xfe"[..], b"-f", b"a\n\x00"].into_iter()).unwrap();
    assert_eq!(args.vmcore, Some(&b"\xff\xfe"[..]));
    assert_eq!(args.outputs(), [b"a\n\x00"]);
}

#[test]
fn abbreviations() {
    for (short, full) in [
        ("--dry", "--dry-run"),
        ("--sh", "--show-stats"),
        ("--ch", "--check-params"),
        ("--non-m", "--non-mmap"),
        ("--non-c", "--non-cyclic"),
        ("--lz", "--lz4"),
        ("--nu 2", "--num-threads 2"),
        ("--cy=64", "--cyclic-buffer=64"),
        ("--memo 8M", "--memory-limit 8M"),
        ("--mes=3", "--message-level=3"),
        ("--splitb 4", "--splitblock-size 4"),
        ("--w d", "--work-dir d"),
    ] {
        let (short, full) = (capture(short), capture(full));
        assert_eq!(format!("{short:?}"), format!("{full:?}"));
    }
    // A whole name is not ambiguous with a longer one.
    assert!(line("--split core a b").unwrap().split);
    for text in
        ["--s", "--d", "--n", "--non", "--m", "--mem", "--c", "--e", "--v", "--x", "--=", "--=1"]
    {
        let error = fails(text);
        assert!(matches!(error, ArgError::Ambiguous { .. }), "{text}: {error:?}");
        assert!(message(error).contains(text), "{text}");
    }
    assert_eq!(line("--du core log").unwrap().mode, Mode::Dmesg);
    assert!(line("--du --pa core log").unwrap().partial_dmesg);
}

#[test]
fn every_prefix_means_one_thing() {
    let longs: Vec<&str> = ROWS.iter().filter_map(|row| row.name.strip_prefix("--")).collect();
    for long in &longs {
        for end in 0..=long.len() {
            let prefix = &long.as_bytes()[..end];
            let matching =
                longs.iter().filter(|other| other.as_bytes().starts_with(prefix)).count();
            match find_long(b"--word", prefix) {
                Ok(row) => {
                    let found = row.name.as_bytes().strip_prefix(b"--").unwrap();
                    assert!(found == prefix || matching == 1, "{long} {end}");
                    assert!(found.starts_with(prefix), "{long} {end}");
                }
                Err(ArgError::Ambiguous { one, other, .. }) => {
                    assert!(matching > 1 && one != other, "{long} {end}");
                }
                Err(other) => panic!("{long} {end}: {other:?}"),
            }
        }
    }
}

#[test]
fn unknown_options() {
    assert_eq!(fails("-q c d"), ArgError::UnknownShort { letter: b'q', word: b"-q" });
    assert_eq!(fails("-cq c d"), ArgError::UnknownShort { letter: b'q', word: b"-cq" });
    assert_eq!(fails("--bogus=1"), ArgError::UnknownLong(b"--bogus=1"));
    assert_eq!(fails("--splits"), ArgError::UnknownLong(b"--splits"));
    assert_eq!(fails("--Split"), ArgError::UnknownLong(b"--Split"));
    assert_eq!(fails("---"), ArgError::UnknownLong(b"---"));
    assert_eq!(fails("-c-"), ArgError::UnknownShort { letter: b'-', word: b"-c-" });
    assert_eq!(message(fails("-cq c d")), "unknown option -q in '-cq'; see tamis-capture --help");
}

#[test]
fn values_missing_or_too_many() {
    for row in ROWS {
        match row.takes {
            Takes::Value(_) => assert_eq!(fails(row.name), ArgError::MissingValue(row.name)),
            Takes::Nothing(_) if row.name.starts_with("--") => {
                for value in ["", "x"] {
                    let text = format!("{}={value} c d", row.name);
                    let error = fails(&text);
                    let value = value.as_bytes();
                    assert_eq!(error, ArgError::UnexpectedValue { option: row.name, value });
                    message(error);
                }
            }
            _ => {}
        }
    }
    assert_eq!(fails("c d -fd"), ArgError::MissingValue("-d"));
    assert_eq!(
        message(fails("--split=2 c d")),
        "--split takes no value, but got '2'; see tamis-capture --help"
    );
}

#[test]
fn refusals() {
    let names = [
        "-e",
        "-g",
        "-R",
        "--reassemble",
        "--vtop",
        "--xen_phys_start",
        "--config",
        "--eppic",
        "--extension",
        "--diskset",
        "--mem-usage",
    ];
    for name in names {
        let mut texts = vec![name.to_owned(), format!("core dump {name} file")];
        if name.starts_with("--") {
            texts.push(format!("{name}=value core dump"));
        } else {
            texts.push(format!("-cf{} core dump", &name[1..]));
        }
        for text in texts {
            match fails(&text) {
                error @ ArgError::Refused { option, .. } => {
                    assert_eq!(option, name, "{text}");
                    assert!(message(error).starts_with(&format!("{name}: ")), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
    let refused =
        ROWS.iter().filter(|row| matches!(row.takes, Takes::Refused(_))).map(|row| row.name);
    let mut table: Vec<_> = refused.collect();
    let mut names = names.to_vec();
    table.sort_unstable();
    names.sort_unstable();
    assert_eq!(table, names);
    for (name, command) in [
        ("-g", "`tamis vmcoreinfo "),
        ("-R", "`tamis rearrange "),
        ("--reassemble", "`tamis reassemble "),
        ("--vtop", "`tamis vtop "),
        ("--mem-usage", "`tamis estimate`"),
    ] {
        assert!(message(fails(name)).contains(command), "{name}");
    }
}

#[test]
fn conflicts() {
    let mut messages = Vec::new();
    for (text, one, other) in [
        ("-c -E core dump", "-c", "-E"),
        ("-E -l core dump", "-l", "-E"),
        ("-E -p core dump", "-p", "-E"),
        ("-E -z core dump", "-z", "-E"),
        ("-E --lz4 core dump", "--lz4", "-E"),
        ("-F --split core a b", "-F", "--split"),
        ("--partial-dmesg core log", "--partial-dmesg", "--dump-dmesg"),
        ("--dry-run --dump-dmesg core log", "--dry-run", "--dump-dmesg"),
        ("--split -E core a b", "--split", "-E"),
        ("--non-cyclic --cyclic-buffer 64 core dump", "--non-cyclic", "--cyclic-buffer"),
        ("--non-cyclic --cyclic-buffer 0 core dump", "--non-cyclic", "--cyclic-buffer"),
        ("--mmap --non-mmap core dump", "--mmap", "--non-mmap"),
        ("--dump-dmesg --split core a b", "--dump-dmesg", "--split"),
    ] {
        let error = fails(text);
        assert!(matches!(error, ArgError::Conflict(_)), "{text}: {error:?}");
        let text = message(error);
        assert!(text.contains(one) && text.contains(other), "{text}");
        messages.push(text);
    }
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len(), CONFLICTS.len() + 1);
    // A parameter check finds them too.
    assert!(matches!(fails("--check-params -cE core dump"), ArgError::Conflict(_)));
}

#[test]
fn operands() {
    for (text, given) in [
        ("", 0),
        ("core", 1),
        ("core a b", 3),
        ("-F", 0),
        ("-F core dump", 2),
        ("--split core", 1),
        ("--split core a", 2),
        ("--split --dry-run core", 1),
        ("--dump-dmesg", 0),
        ("--dump-dmesg core", 1),
        ("--dump-dmesg core a b", 3),
        ("--dump-dmesg -F core a", 2),
        ("--dry-run", 0),
        ("--dry-run core a b", 3),
        ("--dry-run -F core a", 2),
        ("--check-params", 0),
        ("--check-params core", 1),
    ] {
        match fails(text) {
            error @ ArgError::Operands { given: got, .. } => {
                assert_eq!(got, given, "{text}");
                assert!(message(error).contains(&format!("got {given};")), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(line("-F core").unwrap().outputs().len(), 0);
    assert_eq!(line("-F --dump-dmesg core").unwrap().outputs().len(), 0);
    assert_eq!(line("-F --dry-run core").unwrap().outputs().len(), 0);
    assert_eq!(line("--dry-run core").unwrap().outputs().len(), 0);
    assert_eq!(line("--dry-run core dump").unwrap().outputs().len(), 1);
    assert_eq!(line("--split core a b").unwrap().outputs(), [b"a", b"b"]);
    let args = line("--dump-dmesg --partial-dmesg core log").unwrap();
    assert_eq!((args.mode, args.partial_dmesg), (Mode::Dmesg, true));
    assert_eq!((args.vmcore, args.outputs()), (Some(&b"core"[..]), &[&b"log"[..]][..]));
}

#[test]
fn at_most_1024_outputs() {
    let names = |count: usize| {
        let mut text = String::from("--split core");
        for number in 0..count {
            text.push_str(&format!(" dump{number}"));
        }
        text
    };
    let most = names(1024);
    let args = line(&most).unwrap();
    assert_eq!(args.outputs().len(), 1024);
    assert_eq!(args.outputs()[63], b"dump63");
    let text = names(1025);
    assert_eq!(fails(&text), ArgError::TooManyOutputs);
    assert!(message(fails(&text)).contains("more than 1024 output files"));
}

#[test]
fn the_same_name_twice() {
    assert_eq!(fails("--split core a b a"), ArgError::SameFile(b"a"));
    assert_eq!(fails("--split core a b b"), ArgError::SameFile(b"b"));
    assert_eq!(fails("core core"), ArgError::SameFile(b"core"));
    assert_eq!(fails("--dump-dmesg -f core core"), ArgError::SameFile(b"core"));
    assert_eq!(fails("--split core a core"), ArgError::SameFile(b"core"));
    assert!(message(fails("--split core a a")).starts_with("'a' is named twice"));
}

#[test]
fn what_callers_write() {
    for text in [
        "-c --message-level 7 -d 31 /proc/vmcore /var/crash/vmcore-incomplete",
        "-F -c --message-level 1 -d 31 /proc/vmcore",
        "-F -c -d 31 vmcore",
        "--check-params -c --message-level 7 -d 31 vmcore dumpfile",
        "-c -d 31 /proc/vmcore /var/crash/dump-incomplete",
        "--dump-dmesg /proc/vmcore /var/crash/dmesg",
    ] {
        line(text).expect(text);
    }
}

#[test]
fn messages_quote_hostile_text() {
    let word = [b"--\n\x1b[2J\xff'".as_slice(), &[b'\n'; 10_000]].concat();
    let text = message(parse([word.as_slice()].into_iter()).unwrap_err());
    assert!(text.starts_with(r"unknown option '--\n\x1b[2J\xff\'\n"), "{text}");
    assert!(text.contains("...'"), "{text}");
    assert_eq!(Quoted(&[b'a'; SHOWN]).to_string(), format!("'{}'", "a".repeat(SHOWN)));
    assert_eq!(Quoted(&[b'a'; SHOWN + 1]).to_string(), format!("'{}...'", "a".repeat(SHOWN)));
    let text = message(parse([&b"-\n"[..]].into_iter()).unwrap_err());
    assert_eq!(text, r"unknown option -\n in '-\n'; see tamis-capture --help");
}

#[test]
fn help_names_every_option() {
    for row in ROWS {
        let listed = HELP.lines().filter(|line| {
            line.starts_with("  -") && line.split([' ', ',']).take(6).any(|word| word == row.name)
        });
        let expected = usize::from(!matches!(row.takes, Takes::Refused(_)));
        assert_eq!(listed.count(), expected, "{}", row.name);
    }
    assert!(HELP.lines().all(|line| line.len() <= 80 && line == line.trim_end()));
    assert!(HELP.is_ascii() && HELP.ends_with('\n'));
    // What the examples show has to be accepted.
    for (example, options, names) in [
        ("core_collector tamis-capture ", "-c -d 31", " core dump"),
        ("core_collector tamis-capture ", "-F -c -d 31", " core"),
        ("MAKEDUMP_ARGS=", "\"-c -d 31\"", " core dump"),
    ] {
        let shown = format!("{example}{options}");
        assert!(HELP.lines().any(|line| line.ends_with(&shown)), "{shown}");
        line(&(options.replace('"', "") + names)).expect(&shown);
    }
}

#[test]
fn every_option_has_its_own_bit_and_name() {
    for (at, row) in ROWS.iter().enumerate() {
        assert!(ROWS.iter().skip(at + 1).all(|other| other.name != row.name), "{}", row.name);
        assert!(row.name.starts_with("--") || row.name.len() == 2, "{}", row.name);
    }
    assert_eq!(Opt::all().bits().count_ones() as usize, <Opt as bitflags::Flags>::FLAGS.len());
}

#[test]
fn hostile_words_never_panic() {
    const PIECES: [&[u8]; 36] = [
        b"-",
        b"--",
        b"=",
        b"--=",
        b"",
        b"d",
        b"c",
        b"-d",
        b"-L",
        b"-i",
        b"-b",
        b"0",
        b"31",
        b"32",
        b",",
        b"x",
        b"K",
        b"E",
        b"--split",
        b"--num-threads",
        b"--cyclic-buffer",
        b"--memory-limit",
        b"--message-level",
        b"--dump-dmesg",
        b"--dry-run",
        b"--help",
        b"--s",
        b"\x00",
        b"\n",
        b"\xff",
        b"18446744073709551615",
        b"0x",
        b"F",
        b"core",
        b"dump",
        b"\xe2\x82\xac",
    ];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below).unwrap()
    };
    let (mut good, mut bad) = (0, 0);
    for round in 0..60_000 {
        let most = if round % 100 == 0 { 100 } else { 7 };
        let words: Vec<Vec<u8>> = (0..random(most))
            .map(|_| {
                let mut word = Vec::new();
                for _ in 0..=random(3) {
                    if random(8) == 0 {
                        word.push(u8::try_from(random(256)).unwrap());
                    } else {
                        word.extend_from_slice(PIECES[random(36)]);
                    }
                }
                word
            })
            .collect();
        match parse(words.iter().map(Vec::as_slice)) {
            Ok(args) => {
                good += 1;
                assert!(!args.levels().is_empty());
                assert!(args.levels().iter().all(|&level| level <= 31));
                assert!(args.messages.bits() <= 31);
                if matches!(args.mode, Mode::Capture | Mode::Dmesg) {
                    assert!(args.vmcore.is_some());
                    assert_eq!(args.split, args.outputs().len() > 1);
                }
            }
            Err(error) => {
                bad += 1;
                message(error);
            }
        }
    }
    assert!(good > 100 && bad > 10_000, "{good} {bad}");
}
