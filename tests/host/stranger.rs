//! A stranger's file neither writes to the terminal what it likes, nor makes the tool work for hours.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::common::{Bench, system_counts};
use tamis_tests::make::{Make, USUAL};
use tamis_tests::peak::peak_rss_kib;
use tamis_tests::run::{Run, host_binary};
use tamis_tests::synth::{KernelStyle, LogLine};
use tamis_tests::zoo::zoo;

/// ESC, BEL, CR, a C1 control, a change of direction, a byte that is no text.
const TEXT: &str = "6.1\u{1b}[31m\u{7}\r\u{9b}2J\u{202e}\\x1b";

#[track_caller]
fn harmless(run: &Run) {
    for bytes in [&run.stdout, &run.stderr] {
        let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{}", run.text()));
        let bad = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{202e}';
        let found = text.chars().find(bad);
        assert_eq!(found, None, "{:?}: {}", run.args, run.text().escape_debug());
    }
}

#[test]
fn texts_of_dumps_are_escaped_so_that_they_can_be_told() {
    let bench = Bench::new();
    let info = format!("OSRELEASE={TEXT}\nPAGESIZE=4096\nKEY{TEXT}=1\n");
    let mut make = Make::new(USUAL).with_info(&info);
    make.release = TEXT;
    let mut bytes = make.bytes();
    // A machine that nobody has: its name is a text of the dump, too.
    bytes[12 + 4 * 65..][..4].copy_from_slice(b"\x1b[1m");
    bench.put("dump", &bytes);
    let escaped = r"6.1\x1b[31m\x07\x0d\xc2\x9b2J\xe2\x80\xae\\x1b";
    for command in [
        "info dump",
        "info --json dump",
        "verify dump",
        "verify --json dump",
        "dmesg dump",
        "vmcoreinfo dump",
        "vmcoreinfo --json dump",
        "vmcoreinfo dump OSRELEASE",
        "notes dump",
        "notes --json dump",
        "stats dump",
        "pages dump",
        "map dump",
        "map -f -o map.svg dump",
        "diff dump dump",
        "refilter -f -d 31 dump out",
        "repair -f dump out",
        "vtop dump ffffffff81000000",
    ] {
        harmless(&bench.tamis(command));
    }
    bench.tamis("info dump").says(escaped);
    bench.tamis("vmcoreinfo dump").says(escaped);
    bench.tamis("vmcoreinfo --json dump").says(&escaped.replace('\\', "\\\\"));
    // The name of a file that is refused.
    let name = "a\u{1b}[31mb";
    bench.put(name, b"");
    harmless(&bench.run(&["info", name], None));
}

#[test]
fn lines_of_the_log_are_escaped() {
    let lines = [LogLine::new(1_000_000_000, 0, "a\\x1b b\rc\u{1b}[31m\u{b}\u{9b}2J\u{202e}")];
    let bench = Bench::of(&zoo(KernelStyle::V6_12).log(&lines, 0).build());
    let run = bench.tamis("dmesg vmcore");
    harmless(run.expect(0));
    run.says(r"a\x5cx1b b\x0dc\x1b[31m\x0b\xc2\x9b2J\xe2\x80\xae");
    harmless(bench.tamis("dmesg --json vmcore").expect(0));
}

/// An ELF core of one page, with notes at 0x5000 of as many bytes as are said; its memory claims
/// others.
fn core(bench: &Bench, notes: (&[u8], u64), claims: (u64, u64), len: u64) {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    for half in [4u16, 62] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for long in [0u64, 64, 0] {
        out.extend(long.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 2, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    let segments = [
        (4u32, [0x5000, 0, 0, notes.1, notes.1, 0]),
        (1, [0x3000, 0xffff_8880_0010_0000, 0x10_0000, claims.0, claims.1, 0]),
    ];
    for (kind, longs) in segments {
        out.extend(kind.to_le_bytes());
        out.extend(7u32.to_le_bytes());
        longs.iter().for_each(|long| out.extend(long.to_le_bytes()));
    }
    bench.put("core", &out);
    let file = OpenOptions::new().write(true).open(bench.file("core")).expect("opening");
    file.write_all_at(&[7; 4096], 0x3000).expect("writing a page");
    file.write_all_at(notes.0, 0x5000).expect("writing notes");
    file.set_len(len).expect("a length");
}

fn note(name: &[u8], kind: u32, desc: &[u8], claimed: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [name.len() as u32, claimed, kind] {
        out.extend(word.to_le_bytes());
    }
    for part in [name, desc] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// Every command on `core` ends in a moment.
#[track_caller]
fn ends(bench: &Bench, what: &str) {
    for command in [
        "info core",
        "verify core",
        "notes core",
        "stats core",
        "pages core",
        "map core",
        "refilter -f -d 31 core out",
        "refilter -f --to elf core out",
        "repair -f core out",
    ] {
        let began = Instant::now();
        let run = bench.tamis(command);
        assert!(matches!(run.code, Some(0..=3)), "{what}: {command}: {}", run.text());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "{what}: {command} took {took:?}");
    }
}

#[test]
fn claims_that_no_file_can_hold_are_not_gone_through() {
    let bench = Bench::new();
    let info = b"OSRELEASE=6.1\nPAGESIZE=4096\n";
    let sound = note(b"VMCOREINFO\0", 0, info, info.len() as u32);
    let len = sound.len() as u64;
    let mut large = sound.clone();
    large.extend(note(b"CORE\0", 1, &[1; 336], 0xffff_fff0));
    let page = (4096, 4096);
    core(&bench, (&sound, 1 << 40), page, (1 << 40) + 0x1_0000);
    ends(&bench, "notes of 1 TiB");
    core(&bench, (&large, 1 << 40), page, (1 << 40) + 0x1_0000);
    ends(&bench, "a note of 4 GiB");
    core(&bench, (&sound, len), (1 << 48, 1 << 48), 0x6000);
    ends(&bench, "256 TiB in a file of 24 KiB");
    core(&bench, (&sound, len), (4096, 1 << 50), 0x6000);
    ends(&bench, "1 PiB that is left out");
    // A dump whose bitmaps are gaps.
    let (pages, mut bytes) = (1u64 << 38, Make::new(USUAL).bytes());
    let blocks = 2 * (pages / 8 / 4096);
    bytes.truncate(8192);
    bytes[436..440].copy_from_slice(&(blocks as u32).to_le_bytes());
    bytes[440..444].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[4096 + 96..4096 + 104].copy_from_slice(&pages.to_le_bytes());
    bench.put("core", &bytes);
    let file = OpenOptions::new().write(true).open(bench.file("core")).expect("opening");
    file.set_len((2 + blocks) * 4096 + 4096).expect("a length");
    ends(&bench, "2^38 pages");
    bench.tamis("info core").expect(3).says("it claims 274,877,906,944 pages");
}

#[test]
fn millions_of_tiny_records_take_little_memory() {
    let bench = Bench::new();
    let dump = Make::new(USUAL).bytes();
    bench.put("dump", &dump);
    let mut stream = b"makedumpfile\0\0\0\0".to_vec();
    stream.extend([1u64.to_be_bytes(), 1u64.to_be_bytes()].concat());
    stream.resize(4096, 0);
    let mut record = |at: usize| {
        stream.extend((at as u64).to_be_bytes());
        stream.extend(1u64.to_be_bytes());
        stream.push(dump[at]);
    };
    (0..dump.len()).for_each(&mut record);
    // The same bytes again, here and there.
    (0..2_000_000).for_each(|n| record(n * 7919 % 3000));
    stream.extend([0xff; 16]);
    bench.put("flat", &stream);
    let words = ["info".into(), bench.file("flat").into_os_string()];
    let (code, kib) = peak_rss_kib(host_binary().as_os_str(), words).expect("tracing the run");
    assert_eq!(code, Some(0));
    assert!(kib < 64 << 10, "{kib} KiB");
    for kind in ["syscr", "syscw"] {
        let calls = system_counts(&bench, "info flat", kind);
        assert!(calls < 10_000, "{kind}: {calls} system calls for two million records");
    }
    bench.tamis("diff dump flat").expect(0);
    bench.tamis("repair flat out").expect(0);
    bench.assert_same("dump", "out", "repaired");
}
