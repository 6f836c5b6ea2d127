//! Every command on every kind of dump: transcripts of sessions, as golden files.

use std::fmt::Write;

use crate::common::{Bench, golden_text};
use tamis_tests::make::{Form, Make, Page, USUAL, flatten};
use tamis_tests::synth::{KernelStyle, LogLine};
use tamis_tests::zoo::zoo;

/// Lines of an output that are shown; of the others, their number and a hash.
const SHOWN: usize = 12;

/// What is done with every dump. `D` stands for its files, `V` for a virtual address, `P` for a pfn.
const COMMANDS: [&str; 37] = [
    "info D",
    "info --json D",
    "verify D",
    "verify --json D",
    "dmesg D",
    "dmesg --json --since-clear D",
    "vmcoreinfo D",
    "vmcoreinfo --json D",
    "vmcoreinfo --json D OSRELEASE NOTHING",
    "notes D",
    "notes --json D",
    "stats D",
    "stats --json D",
    "pages D",
    "pages --json D",
    "map D",
    "map --json D",
    "read --len 40 D --pfn P",
    "read --json --len 40 D --pfn P",
    "read --json --len 40 D --virt V",
    "read --json D --pfn 1",
    "vtop D V",
    "vtop --json D V",
    "sym D init_task",
    "sym --json D V",
    "print D init_task.comm",
    "tasks --json D",
    "modules D",
    "bt D",
    "estimate --exact --raw -d 31 D",
    "estimate --exact --json -c D",
    "refilter -f -c -d 31 --json D out",
    "diff D out",
    "refilter -f --to elf D out",
    "diff --json D out",
    "refilter -f --to flat -l D out",
    "verify out",
];

/// What takes only one file.
const SINGLE: [&str; 4] = [
    "repair -f --json D out",
    "rearrange -f D out",
    "split -f --raw D out1 out2",
    "verify out2 out1",
];

/// Commands that take a dump of one file.
const ONE_DUMP: [&str; 4] = ["vmcoreinfo", "notes", "estimate", "diff"];

/// A dump that a session is held over.
pub struct Kind {
    /// Of the golden file.
    pub name: &'static str,
    /// Its files.
    pub files: &'static str,
    /// A virtual address.
    pub virt: String,
    /// A pfn.
    pub pfn: u64,
}

fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A line without what depends on how well the encoders compress: sizes, with `N` in their place.
fn masked(line: &str) -> String {
    if line.starts_with("file size") {
        return "file size N".into();
    }
    let number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let mask = |word: &str| {
        let digits = |c: char| c.is_ascii_digit() || ".,".contains(c);
        let behind = word.trim_start_matches(digits);
        format!("N{}", if behind.is_empty() && word.ends_with(',') { "," } else { behind })
    };
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    // `tamis pages`: first and last pfn, pages, bytes.
    let full: Vec<usize> = (0..words.len()).filter(|at| !words[*at].is_empty()).collect();
    let is_run = full.len() > 4 && full[..2].iter().all(|at| words[*at].starts_with("0x"));
    if let Some(at) = full.get(3).filter(|_| is_run && line.contains("  0x")) {
        words[*at] = "N".into();
    }
    for at in 0..words.len() {
        const KEYS: [&str; 4] = ["\"bytes\":", "\"size\":", "\"files\":", "\"page_data\":"];
        const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
        let behind =
            words.get(at + 1).map_or("", |word| word.trim_end_matches([',', ')', ':', ';']));
        let key = at > 0 && KEYS.contains(&words[at - 1].as_str());
        let size = UNITS.contains(&behind);
        let open = words[at].strip_prefix('(').unwrap_or(&words[at]);
        if number(open) && (key || size) {
            words[at] = words[at].replace(open, &mask(open));
        }
    }
    // Columns are as wide as what is in them, rules as long.
    let indent = &line[..line.len() - line.trim_start().len()];
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    format!("{}{}", if is_run { "" } else { indent }, words.join(" "))
}

fn show(out: &mut String, prefix: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(|line| masked(line) + "\n");
    let text: String = lines.collect();
    let bytes = text.as_bytes();
    for line in text.lines().take(SHOWN) {
        writeln!(out, "{prefix}{line}").unwrap();
    }
    if text.lines().count() > SHOWN {
        let more = text.lines().count() - SHOWN;
        writeln!(out, "{prefix}... and {more} lines more, {:016x} in all", hash(bytes)).unwrap();
    }
}

/// Runs every command on a dump, and compares the transcript.
pub fn session(bench: &Bench, kind: &Kind) {
    let mut out = String::new();
    let one = !kind.files.contains(' ');
    for command in COMMANDS.iter().chain(SINGLE.iter().filter(|_| one)) {
        let name = command.split(' ').next().unwrap();
        if !one && ONE_DUMP.contains(&name) {
            continue;
        }
        let words: Vec<String> = command
            .split(' ')
            .map(|word| match word {
                "D" => kind.files.to_owned(),
                "V" => kind.virt.clone(),
                "P" => format!("{:#x}", kind.pfn),
                other => other.to_owned(),
            })
            .collect();
        let words = words.join(" ");
        let run = bench.tamis(&words);
        if command.contains("--json") && !run.stdout.is_empty() {
            let text = std::str::from_utf8(&run.stdout).expect("UTF-8");
            assert!(text.starts_with("{\n  \"schema\": \"tamis."), "{words}: {text}");
            assert_eq!(value(text.trim_start()).map(str::trim), Some(""), "{words}: {text}");
        }
        writeln!(out, "$ tamis {words}").unwrap();
        show(&mut out, "", &run.stdout);
        show(&mut out, "! ", &run.stderr);
        writeln!(out, "= {}\n", run.code.expect("an exit status")).unwrap();
    }
    golden_text(&format!("every-{}.txt", kind.name), &out);
}

/// What follows a JSON value that a text begins with; `None` if it does not.
fn value(text: &str) -> Option<&str> {
    let rest = match text.chars().next()? {
        '{' | '[' => {
            let close = if text.starts_with('{') { '}' } else { ']' };
            let mut rest = text[1..].trim_start();
            while !rest.starts_with(close) {
                if close == '}' {
                    rest = string(rest)?.trim_start().strip_prefix(':')?.trim_start();
                }
                rest = value(rest)?.trim_start();
                match rest.strip_prefix(',') {
                    Some(more) if !more.trim_start().starts_with(close) => rest = more.trim_start(),
                    Some(_) => return None,
                    None => break,
                }
            }
            rest.strip_prefix(close)?
        }
        '"' => string(text)?,
        _ => {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
            let (word, rest) = text.split_at(end.unwrap_or(text.len()));
            let known = ["null", "true", "false"].contains(&word) || word.parse::<f64>().is_ok();
            known.then_some(rest)?
        }
    };
    Some(rest)
}

fn string(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('"')?;
    loop {
        let at = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
        let (special, after) = rest.split_at(at).1.split_at(1);
        rest = match special {
            "\"" => return Some(after),
            "\\" if after.starts_with('u') => {
                u32::from_str_radix(after.get(1..5)?, 16).ok()?;
                &after[5..]
            }
            "\\" if after.starts_with(['"', '\\', '/', 'b', 'f', 'n', 'r', 't']) => &after[1..],
            _ => return None,
        };
    }
}

/// A machine's memory, in every form that a capture gives it.
#[test]
fn captures_of_every_kind() {
    let mut lines: Vec<LogLine> =
        (0..20).map(|n| LogLine::new(n * 1_000_000, 7, &format!("line {n} \x1b of it"))).collect();
    lines.push(LogLine::new(99_000_000, 7, "Kernel panic - not syncing: of no consequence"));
    let image = zoo(KernelStyle::V6_12).log(&lines, 18).build();
    let bench = Bench::of(&image);
    for (codec, name) in [("", "raw"), ("-c", "zlib"), ("-l", "lzo"), ("-p", "snappy")] {
        bench.capture(&format!("{codec} -d 31"), &[name]);
    }
    bench.capture("-z -d 31", &["zstd"]);
    bench.capture("--lz4 -d 31", &["lz4"]);
    bench.capture("-E -d 31", &["elf"]);
    bench.capture("-c -d 1 --split --splitblock-size 1024", &["a", "b"]);
    bench.capture_stream("-c -d 31", "flat");
    // The last pages of all, whatever is before them.
    let whole = bench.get("raw");
    bench.put("cut", &whole[..whole.len() - 20 * 4096 - 100]);
    bench.tamis("repair cut incomplete").expect(2);
    let at = bench.tamis("vmcoreinfo vmcore SYMBOL(init_uts_ns)");
    let virt = String::from_utf8(at.stdout).unwrap().trim().to_owned();
    let kinds = ["vmcore", "raw", "zlib", "lzo", "snappy", "zstd", "lz4", "elf", "flat"];
    for (name, files) in kinds.map(|name| (name, name)).into_iter().chain([
        ("split", "b a"),
        ("cut", "cut"),
        ("incomplete", "incomplete"),
    ]) {
        session(&bench, &Kind { name, files, virt: virt.clone(), pfn: 0x100 });
    }
}

const INFO: &str = "OSRELEASE=6.1.0-made\nPAGESIZE=4096\nCRASHTIME=1700000000\n";

/// Dumps of other machines, and QEMU's.
#[test]
fn dumps_of_other_machines() {
    let bench = Bench::new();
    let forms = [
        ("64-bit", USUAL),
        ("64-bit-big-64K", Form { big: true, block: 65536, ..USUAL }),
        ("64-bit-16K", Form { block: 16384, ..USUAL }),
        ("32-bit", Form { wide: false, ..USUAL }),
        ("32-bit-padded", Form { wide: false, padded: true, ..USUAL }),
        ("32-bit-big-v1", Form { wide: false, big: true, version: 1, ..USUAL }),
        ("64-bit-v3", Form { version: 3, ..USUAL }),
    ];
    let kind = |name, files| Kind { name, files, virt: "ffffffff81000000".into(), pfn: 18 };
    for (name, form) in forms {
        let info = INFO.replace("4096", &form.block.to_string());
        bench.put("dump", &Make::new(form).with_info(&info).bytes());
        session(&bench, &kind(name, "dump"));
    }
    // QEMU: flattened, no dump level, phys_base as it understands it.
    let mut make = Make::new(USUAL).with_info(&format!("{INFO}NUMBER(phys_base)=-278921216\n"));
    make.level = 0;
    make.pages.retain(|_, page| !matches!(page, Page::Zero));
    bench.put("qemu", &flatten(&make.bytes(), 65_536));
    session(&bench, &kind("qemu", "qemu"));
    for (name, wide, big) in [
        ("elf64", true, false),
        ("elf64-big", true, true),
        ("elf32", false, false),
        ("elf32-big", false, true),
    ] {
        bench.put("core", &elf(wide, big));
        session(&bench, &Kind { name, files: "core", virt: "c0000000".into(), pfn: 16 });
    }
}

/// The six strings of a dump's first header.
fn utsname(header: &[u8]) -> Vec<&str> {
    let strings = header[12..12 + 390].chunks(65).map(|field| field.split(|b| *b == 0).next());
    strings.map(|s| std::str::from_utf8(s.unwrap()).unwrap()).collect()
}

/// Other readers refuse a dump that does not name its machine: `drgn`, libkdumpfile.
#[test]
fn every_machine_has_its_name_in_the_dump() {
    let bench = Bench::new();
    for (wide, big, name) in [
        (true, false, "aarch64"),
        (true, true, "s390x"),
        (false, false, "armv7l"),
        (false, true, "ppc"),
    ] {
        bench.put("vmcore", &elf(wide, big));
        let strings = ["Linux", "", "6.1.0-made", "unknown", name, ""];
        bench.tamis("refilter -f --raw vmcore new").expect(0);
        assert_eq!(utsname(&bench.get("new")), strings);
        bench.capture("-f -d 1", &["captured"]);
        assert_eq!(utsname(&bench.get("captured")), strings);
    }
}

/// A dump without a name of its machine, or without a release, as QEMU writes it, keeps the rest.
#[test]
fn a_header_with_gaps_is_completed() {
    let bench = Bench::new();
    for (release, machine) in [("6.1.0-made", ""), ("", "x86_64"), ("", "")] {
        let mut make = Make::new(USUAL).with_info(INFO);
        (make.release, make.machine) = (release, machine);
        bench.put("dump", &make.bytes());
        bench.tamis("refilter -f --raw dump new").expect(0);
        assert_eq!(utsname(&bench.get("new")), ["Linux", "host", "6.1.0-made", "#1", "x86_64", ""]);
        // libkdumpfile asks for these, too.
        let mut bytes = make.bytes();
        bytes[12..17].fill(0);
        bytes[12 + 3 * 65..][..2].fill(0);
        bench.put("dump", &bytes);
        bench.tamis("refilter -f --raw dump new").expect(0);
        let filled = ["Linux", "host", "6.1.0-made", "unknown", "x86_64", ""];
        assert_eq!(utsname(&bench.get("new")), filled);
    }
}

/// An ELF vmcore of 24 pages in two ranges.
pub fn elf(wide: bool, big: bool) -> Vec<u8> {
    let int = |value: u64, bytes: usize| {
        if big {
            value.to_be_bytes()[8 - bytes..].to_vec()
        } else {
            value.to_le_bytes()[..bytes].to_vec()
        }
    };
    let word = if wide { 8 } else { 4 };
    let note = |name: &[u8], kind: u64, desc: &[u8]| {
        let mut out = int(name.len() as u64, 4);
        out.extend(int(desc.len() as u64, 4));
        out.extend(int(kind, 4));
        for part in [name, desc] {
            out.extend(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    };
    let mut notes = note(b"CORE\0", 1, &[3; 148]);
    notes.extend(note(b"VMCOREINFO\0", 0, INFO.as_bytes()));
    let machine = match (wide, big) {
        (true, false) => 183,
        (true, true) => 22,
        (false, false) => 40,
        (false, true) => 20,
    };
    let (header, entry) = if wide { (64, 56) } else { (52, 32) };
    let mut out = b"\x7fELF".to_vec();
    out.extend([1 + u8::from(wide), 1 + u8::from(big), 1]);
    out.resize(16, 0);
    for (value, bytes) in [
        (4, 2),
        (machine, 2),
        (1, 4),
        (0, word),
        (header, word),
        (0, word),
        (0, 4),
        (header, 2),
        (entry, 2),
        (3, 2),
        (0, 2),
        (0, 2),
        (0, 2),
    ] {
        out.extend(int(value, bytes));
    }
    let start = (header + 3 * entry).next_multiple_of(4096);
    let data = start + 4096;
    let pages = [(4, start, 0, 0, notes.len() as u64), (1, data, 0xc001_0000, 0x1_0000, 16 << 12)];
    for (kind, offset, virt, phys, len) in
        pages.into_iter().chain([(1, data + (16 << 12), 0xc010_0000, 0x10_0000, 8 << 12)])
    {
        let fields = if wide {
            vec![(kind, 4), (7, 4), (offset, 8), (virt, 8), (phys, 8), (len, 8), (len, 8), (0, 8)]
        } else {
            vec![(kind, 4), (offset, 4), (virt, 4), (phys, 4), (len, 4), (len, 4), (7, 4), (0, 4)]
        };
        for (value, bytes) in fields {
            out.extend(int(value, bytes));
        }
    }
    out.resize(start as usize, 0);
    out.extend(notes);
    out.resize(data as usize, 0);
    for page in 0..24u32 {
        out.extend((0..4096).map(|n| if page % 5 == 4 { 0 } else { (n / 64 + page) as u8 }));
    }
    out
}
