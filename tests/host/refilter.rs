//! Dumps out of dumps.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

use crate::common::{Bench, json};
use tamis_tests::check;
use tamis_tests::dumpread::Dump;
use tamis_tests::elfread::Elf;
use tamis_tests::make::{Make, Page, USUAL};
use tamis_tests::oracle;
use tamis_tests::peak::peak_rss_kib;
use tamis_tests::run::{self, host_binary};
use tamis_tests::synth::{Content, KernelStyle, Load};
use tamis_tests::zoo::zoo;

const STYLES: [KernelStyle; 4] =
    [KernelStyle::V4_18, KernelStyle::V5_10, KernelStyle::V6_12, KernelStyle::V7_1];

/// The levels of a dump and of its refiltering, together, give the dump that the vmcore would have
/// given.
#[test]
fn a_dump_refiltered_is_the_dump_of_both_levels() {
    for style in STYLES {
        let image = zoo(style).build();
        let bench = Bench::of(&image);
        for (old, new) in [(0, 31), (1, 30), (16, 1), (2, 12), (31, 0), (0, 0)] {
            let level = old | new;
            bench.capture(&format!("-f -d {old}"), &["old"]);
            bench.capture(&format!("-f -d {level}"), &["wanted"]);
            bench.tamis(&format!("refilter -f --raw -d {new} old new")).expect(0);
            bench.assert_same("new", "wanted", &format!("{style:?}: {old} then {new}"));
            let dump = Dump::open(&bench.file("new")).unwrap();
            let expected = oracle::expect(&image, level);
            check::assert_dump(&dump, &image, &expected, &format!("{style:?} {old} {new}"));
            bench.tamis("refilter -f --raw new again").expect(0);
            bench.assert_same("again", "new", &format!("{style:?}: {old} then {new}"));
        }
    }
}

/// Both programs take and refuse the same sizes.
#[test]
fn sizes_are_those_of_the_capture() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-d 31", &["dump"]);
    let codes = |size: &str| {
        let words = ["-f", "--dry-run", "--memory-limit", size].map(PathBuf::from);
        let files = ["vmcore", "none"].map(|name| bench.file(name));
        let captured = run::capture(words.into_iter().chain(files)).code;
        let refiltered = bench.tamis(&format!("refilter -f --memory-limit {size} dump new")).code;
        (captured, refiltered)
    };
    for size in ["1T", "0x10000000", "4E", "64m", "0400M", "67108864"] {
        assert_eq!(codes(size), (Some(0), Some(0)), "{size}");
    }
    for size in ["1X", "0", "1.5G", "16E", "-1", "64MiB", "G"] {
        let (captured, refiltered) = codes(size);
        assert_ne!(captured, Some(0), "{size}");
        assert_eq!(refiltered, Some(64), "{size}");
    }
}

/// Memory past the last section, as of a ROM: the kernel knows nothing of it. Every dump has it, and a capture says so.
#[test]
fn pages_past_the_last_section_are_kept() {
    const ROM: u64 = 0xffc0;
    let mut image = zoo(KernelStyle::V6_12).fill(ROM..ROM + 64, Content::Stamp).build();
    image.loads.push(Load::new(0xffff_8880_0ffc_0000, ROM << 12, 64 << 12));
    // A page that two ranges hold is one page.
    image.loads.push(Load::new(0xffff_8880_0ffc_0000, ROM << 12, 8 << 12));
    let bench = Bench::of(&image);
    let exist = |name: &str| json(&bench.tamis(&format!("info --json {name}")), "exist").to_owned();
    let all: u64 = exist("vmcore").parse().unwrap();
    for options in ["-d 0", "-d 31", "-E -d 31"] {
        let files = ["vmcore", "captured"].map(|name| bench.file(name));
        let words = format!("-f {options}");
        let words = words.split_whitespace().map(PathBuf::from);
        let run = run::capture(words.chain(files));
        run.expect(0).says("pfns 0xffc0 to 0xffff: no memory section, pages kept");
        assert_eq!(exist("captured").parse::<u64>().unwrap(), all, "{options}");
    }
    for options in ["", "-d 0", "-d 31", "--to elf", "--to elf -d 31"] {
        bench.tamis(&format!("refilter -f {options} vmcore new")).expect(0);
        assert_eq!(exist("new"), all.to_string(), "{options}");
        for pfn in [ROM, ROM + 63] {
            let page = bench.tamis(&format!("read new --raw --pfn {pfn}"));
            assert!(page.expect(0).stdout == image.page(pfn), "{options}: pfn {pfn:#x}");
        }
        let stats = bench.tamis("stats new").expect(0).text();
        let row = stats.lines().find(|line| line.starts_with("all ")).expect("a sum");
        let pages = row.split_whitespace().nth(1).unwrap().replace(',', "");
        assert_eq!(pages, all.to_string(), "{options}");
    }
}

/// The program header of the notes keeps its flags and its alignment, whichever program makes an ELF dump.
#[test]
fn an_elf_dump_inherits_the_header_of_the_notes() {
    const NOTE: u32 = 4;
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    let mut vmcore = bench.get("vmcore");
    let old = Elf::parse(&vmcore).unwrap();
    let index = old.phdrs.iter().position(|phdr| phdr.kind == NOTE).expect("notes");
    assert_ne!((old.phdrs[index].flags, old.phdrs[index].align), (4, 4));
    let at = old.e_phoff as usize + 56 * index;
    vmcore[at + 4..at + 8].copy_from_slice(&4u32.to_le_bytes());
    vmcore[at + 48..at + 56].copy_from_slice(&4u64.to_le_bytes());
    bench.put("vmcore", &vmcore);
    bench.capture("-E -d 31", &["captured"]);
    bench.tamis("refilter --to elf -d 31 vmcore refiltered").expect(0);
    bench.tamis("refilter --to elf captured again").expect(0);
    for name in ["captured", "refiltered", "again"] {
        let elf = Elf::parse(&bench.get(name)).unwrap();
        let notes: Vec<_> = elf.of_kind(NOTE).map(|phdr| (phdr.flags, phdr.align)).collect();
        assert_eq!(notes, [(4, 4)], "{name}");
    }
    bench.assert_same("captured", "refiltered", "the same dump by either program");
}

#[test]
fn every_codec_and_format_keeps_every_page() {
    let image = zoo(KernelStyle::V6_12).build();
    let bench = Bench::of(&image);
    bench.capture("-c -d 31", &["dump"]);
    bench.tamis("refilter --raw dump wanted").expect(0);
    for options in ["-c", "-l", "-p", "-z", "-z19", "", "--raw"] {
        bench.tamis(&format!("refilter -f {options} dump new")).expect(0);
        bench.tamis("verify new").expect(0);
        bench.tamis("refilter -f --raw new back").expect(0);
        bench.assert_same("back", "wanted", options);
        bench.tamis(&format!("refilter -f {options} new again")).expect(0);
        bench.assert_same("again", "new", options);
    }
    bench.tamis("refilter --to flat -c dump flat").expect(0);
    bench.tamis("rearrange flat rearranged").expect(0);
    bench.tamis("refilter -c dump direct").expect(0);
    bench.assert_same("rearranged", "direct", "");
    let piped = bench.tamis("refilter --to flat -c dump -");
    assert!(piped.expect(0).stdout == bench.get("flat"));
    bench.tamis("refilter --to elf dump elf").expect(0);
    bench.tamis("verify elf").expect(0);
    let pfns = Dump::open(&bench.file("wanted")).unwrap();
    for pfn in (0x100..0x140).filter(|pfn| pfns.bit(2, *pfn)) {
        let of = |name: &str| bench.tamis(&format!("read {name} --raw --pfn {pfn}"));
        let (a, b) = (of("wanted"), of("elf"));
        assert!(a.expect(0).stdout == b.stdout, "pfn {pfn:#x}");
    }
}

#[test]
fn threads_and_memory_make_no_difference() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-l -d 1", &["dump"]);
    bench.capture("-c -d 1 --split --splitblock-size 1024", &["a", "b"]);
    for options in ["-c", "-l -d 31", "-p", "-z -d 16", "-z3", "--raw", "--to flat -c", "--to elf"]
    {
        for input in ["dump", "b a", "vmcore"] {
            let run = |more: &str, out: &str| {
                let words = format!("refilter -f {options} {more} {input} {out}");
                bench.tamis(&words).expect(0);
            };
            run("--threads 1", "one");
            run("--threads 7", "many");
            bench.assert_same("one", "many", &format!("{options} {input}"));
            run("--threads 3 --memory-limit 24M", "little");
            bench.assert_same("one", "little", &format!("{options} {input}"));
        }
    }
}

/// The limit holds for all of the process, and one that cannot hold is refused.
#[test]
fn a_memory_limit_is_kept_or_refused() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 1", &["dump"]);
    let run = bench.tamis("refilter --memory-limit 1M dump new");
    run.expect(3).says("--memory-limit");
    assert!(!bench.file("new").exists());
    let least = run.text().split("--memory-limit ").nth(1).unwrap().to_owned();
    let least: u64 = least.split('M').next().unwrap().parse().expect("a number of MiB");
    let too_little = format!("refilter --memory-limit {}M dump new", least - 1);
    bench.tamis(&too_little).expect(3).says("is not enough");
    for limit in [least, least + 8] {
        let limit = format!("{limit}M");
        let (dump, new) = (bench.file("dump"), bench.file("new"));
        let words = ["refilter", "-f", "-z", "--threads", "8", "--memory-limit", &limit];
        let args = words.iter().map(OsStr::new).chain([dump.as_os_str(), new.as_os_str()]);
        let (code, kib) = peak_rss_kib(host_binary().as_os_str(), args).expect("tracing the run");
        assert_eq!(code, Some(0));
        let most: u64 = limit.trim_end_matches('M').parse().unwrap();
        assert!(kib <= most << 10, "{kib} KiB with a limit of {limit}");
    }
}

#[test]
fn vmcores_and_split_sets_and_streams_are_inputs() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-d 31", &["wanted"]);
    bench.capture("-c -d 1 --split --splitblock-size 1024", &["a", "b", "c"]);
    bench.capture_stream("-c -d 17", "flat");
    for input in ["vmcore", "c a b", "flat"] {
        bench.tamis(&format!("refilter -f --raw -d 31 {input} new")).expect(0);
        bench.assert_same("new", "wanted", input);
    }
    bench.tamis_with("refilter -f --raw -d 31 - new", "flat").expect(0);
    bench.assert_same("new", "wanted", "");
    bench.tamis("refilter a b new2").expect(3).says("name all files of the dump");
}

#[test]
fn what_is_missing_stays_missing() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    make.pages.insert(20, Page::Lost);
    make.status = 9;
    bench.put("dump", &make.bytes());
    bench.tamis("refilter -c dump new").expect(2).says("pfn 0x14 lost");
    bench.tamis("verify new").expect(2).says("33 pages good, 1 missing");
    // Marked, though every page is there.
    make.pages.insert(20, Page::Zero);
    bench.put("dump", &make.bytes());
    bench.tamis("refilter -f -c dump new").expect(2);
    assert_eq!(json(&bench.tamis("info --json new"), "complete"), "false");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let bench = Bench::new();
    bench.put("dump", &Make::new(USUAL).bytes());
    bench.put("other", b"something");
    bench.tamis("refilter dump dump").expect(3).says("the input itself");
    bench.tamis("refilter -f dump ./dump").expect(3).says("the input itself");
    bench.tamis("refilter dump other").expect(3).says("--force overwrites it");
    assert_eq!(bench.get("other"), b"something");
    bench.tamis("refilter -d 32 dump new").expect(64);
    bench.tamis("refilter -c -l dump new").expect(64);
    bench.tamis("refilter -z20 dump new").expect(64);
    bench.tamis("refilter dump").expect(64);
    bench.tamis("refilter dump -").expect(3).says("add --to flat");
    bench.tamis("refilter --to elf -c dump new").expect(3).says("not compressed");
    assert!(!bench.file("new").exists());
}

#[test]
fn memory_is_read_by_every_kind_of_address() {
    let image = zoo(KernelStyle::V6_12).build();
    let bench = Bench::of(&image);
    bench.capture("-c -d 31", &["dump"]);
    let at = bench.tamis("vmcoreinfo dump SYMBOL(init_uts_ns)");
    let at = String::from_utf8(at.stdout).unwrap();
    let virt = bench.tamis(&format!("read dump --raw --len 400 --virt {}", at.trim()));
    let found = tamis_find(&virt.expect(0).stdout, b"Linux\0");
    assert!(found, "{}", virt.text());
    let place = bench.tamis(&format!("vtop --json dump {}", at.trim()));
    let phys = json(place.expect(0), "physical").to_owned();
    let same = bench.tamis(&format!("read dump --raw --len 400 --phys {phys}"));
    assert!(same.expect(0).stdout == virt.stdout);
    let page = bench.tamis("read dump --raw --pfn 0x100");
    assert!(page.expect(0).stdout == image.page(0x100));
    let text = bench.tamis("read dump --pfn 0x100 --len 32");
    assert_eq!(text.expect(0).text().lines().count(), 2);
    bench.tamis("read dump --pfn 0x180").expect(3).says("not in the dump");
    bench.tamis("read dump --pfn 0x100 --phys 0").expect(64);
    bench.tamis("read dump --pfn 100x").expect(64);
    bench.tamis("read dump").expect(64);
    bench.tamis("vtop dump ffff000000000000").expect(1).says("canonical");
}

fn tamis_find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|w| w == what)
}

/// QEMU reads `NUMBER(phys_base)` as hexadecimal, and writes nonsense into the sub-header.
#[test]
fn the_physical_base_is_mended() {
    let bench = Bench::new();
    let make = Make::new(USUAL)
        .with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\nNUMBER(phys_base)=-278921216\n");
    bench.put("dump", &make.bytes());
    bench.tamis("refilter -c dump new").expect(0);
    let base = i64::from_le_bytes(bench.get("new")[4096..4104].try_into().unwrap());
    assert_eq!(base, -278_921_216);
}

/// Pages that are compressed with the codec already, whoever did it, stay as they are.
#[test]
fn pages_of_the_same_codec_are_copied() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    let image = zoo(KernelStyle::V6_12).build();
    let page = image.page(0x100);
    let best = |level| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(&page).unwrap();
        encoder.finish().unwrap()
    };
    let (small, large) = (best(flate2::Compression::best()), best(flate2::Compression::fast()));
    assert!(small.len() < large.len());
    let zeros = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&[0; 4096]).unwrap();
        encoder.finish().unwrap()
    };
    make.pages.insert(20, Page::Stored(small.clone(), 1));
    make.pages.insert(21, Page::Stored(large.clone(), 1));
    make.pages.insert(22, Page::Raw(page.clone()));
    make.pages.insert(23, Page::Stored(zeros.clone(), 1));
    bench.put("dump", &make.bytes());
    let has = |name: &str, bytes: &[u8]| tamis_find(&bench.get(name), bytes);
    bench.tamis("refilter -c dump kept").expect(0);
    assert!(has("kept", &small) && has("kept", &large));
    assert!(!has("kept", &zeros), "a page of zeros of its own, though the level is 1");
    bench.tamis("refilter -c --recompress dump anew").expect(0);
    assert!(!has("anew", &small));
    bench.tamis("refilter -z dump zstd").expect(0);
    assert!(!has("zstd", &small));
    // A second run, and any number of threads.
    for (options, from, wanted) in [
        ("-c", "kept", "kept"),
        ("-c --threads 7", "dump", "kept"),
        ("-c --threads 1", "dump", "kept"),
        ("-c --recompress", "anew", "anew"),
        ("-c --recompress", "kept", "anew"),
        ("", "zstd", "zstd"),
        ("-z1", "zstd", "zstd"),
    ] {
        bench.tamis(&format!("refilter -f {options} {from} new")).expect(0);
        bench.assert_same("new", wanted, options);
    }
    // A level of zstd is a wish for it.
    bench.tamis("refilter -z19 dump archive").expect(0);
    bench.tamis("refilter -f -z1 archive new").expect(0);
    bench.assert_same("new", "zstd", "-z1");
    bench.tamis("refilter -f -z archive new").expect(0);
    bench.assert_same("new", "archive", "-z");
    // The parts of a split dump are compressed alike.
    bench.tamis("split -c dump a b").expect(0);
    assert!(has("a", &small) || has("b", &small));
    bench.tamis("split -f -c --recompress dump a b").expect(0);
    assert!(!has("a", &small) && !has("b", &small));
    for run in [bench.tamis("diff dump kept"), bench.tamis("diff kept archive")] {
        run.expect(0);
    }
}

/// Without an option for the codec, it stays what it is.
#[test]
fn the_codec_of_the_input_is_kept() {
    let image = zoo(KernelStyle::V6_12).build();
    let bench = Bench::of(&image);
    for (option, codec) in [
        ("-c", "zlib"),
        ("-l", "lzo"),
        ("-p", "snappy"),
        ("-z", "zstd"),
        ("", "zstd"),
        ("--lz4", "zstd"),
    ] {
        bench.capture(&format!("-f -d 1 {option}"), &["dump"]);
        let refiltered = bench.tamis("refilter -f -d 31 dump out");
        bench.tamis("split -f dump a b").expect(0);
        let is_said =
            refiltered.expect(0).text().contains("compressed with lz4, those of the output");
        assert_eq!(is_said, option == "--lz4", "{}", refiltered.text());
        for files in ["out", "a b"] {
            let run = bench.tamis(&format!("info --json {files}"));
            assert_eq!(json(run.expect(0), "codec"), codec, "{option}, {files}: {}", run.text());
        }
    }
}

/// Nothing is copied that is no page.
#[test]
fn damaged_pages_of_the_same_codec_are_lost() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    let Some(Page::Zlib(bytes)) = make.pages.get(&19).cloned() else { panic!("not zlib") };
    let mut packed = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let middle = packed.len() / 2;
    packed[middle] ^= 0x10;
    make.pages.insert(19, Page::Stored(packed.clone(), 1));
    // Cut off.
    make.pages.insert(25, Page::Stored(packed[..middle].to_vec(), 1));
    bench.put("dump", &make.bytes());
    for threads in ["1", "3"] {
        let run = bench.tamis(&format!("refilter -f -c --threads {threads} dump new"));
        run.expect(2).says("pfn 0x13 lost").says("pfn 0x19 lost");
        assert!(!tamis_find(&bench.get("new"), &packed));
    }
}
