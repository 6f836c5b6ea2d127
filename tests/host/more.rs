//! Repairing, comparing, counting, splitting.

use crate::common::{Bench, golden, golden_text, json};
use tamis_tests::make::{Make, Page, USUAL, flatten};
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

#[test]
fn repaired_dumps_say_what_they_lack() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 31", &["dump"]);
    bench.capture_stream("-c -d 31", "flat");
    let bytes = bench.get("dump");
    bench.tamis("repair dump same").expect(0).says("pages are good");
    bench.assert_same("dump", "same", "nothing to repair");
    bench.put("cut", &bytes[..bytes.len() * 2 / 3]);
    bench.tamis("repair cut mended").expect(2).says("marked incomplete");
    bench.tamis("verify mended").expect(2).says("its header says that it ended early");
    // As many pages are good as before.
    let good = json(&bench.tamis("verify --json cut"), "good").to_owned();
    assert_eq!(json(&bench.tamis("verify --json mended"), "good"), good);

    let stream = bench.get("flat");
    bench.put("cut", &stream[..stream.len() * 2 / 3]);
    bench.tamis("repair -f cut mended").expect(2);
    bench.tamis("verify mended").expect(2);
    bench.put("cut", &stream[..stream.len() - 16]);
    bench.tamis_with("repair -f - mended", "cut").expect(2);
    let run = bench.tamis("diff dump mended");
    run.expect(0);

    let elf = bench.get("vmcore");
    bench.put("cut", &elf[..elf.len() - 9000]);
    bench.tamis("repair -f cut mended").expect(2).says("9000 bytes of memory are missing");
    bench.tamis("verify mended").expect(2);
    bench.tamis("diff vmcore mended").expect(1).says("only in the first");
    bench.put("cut", &bytes[..9000]);
    bench.tamis("repair cut nothing").expect(3).says("cut off inside its bitmaps");
    assert!(!bench.file("nothing").exists());
}

#[test]
fn damaged_pages_become_lost_ones() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    make.pages.insert(17, Page::Stored(vec![1, 2, 3], 1));
    bench.put("dump", &make.bytes());
    bench.tamis("verify dump").expect(1);
    bench.tamis("repair dump mended").expect(2).says("33 pages are good, 0 missing, 1 damaged");
    bench.tamis("verify mended").expect(2).says("pfn 0x11: lost");
}

#[test]
fn pages_of_every_state_are_listed() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    make.pages.insert(21, Page::Lost);
    make.pages.insert(22, Page::Stored(vec![1; 5000], 1));
    bench.put("dump", &make.bytes());
    golden("pages.txt", bench.tamis("pages dump").expect(0));
    golden("map.txt", bench.tamis("map dump").expect(0));
    golden("map.json", bench.tamis("map --json dump").expect(0));
    golden("pages-some.txt", bench.tamis("pages dump --pfn 0x10-19").expect(0));
    golden("pages.json", bench.tamis("pages --json dump --pfn 0x14-0x18").expect(0));
    bench.tamis("pages dump --pfn 5-4").expect(64);
}

#[test]
fn what_differs_is_found() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    bench.put("a", &make.bytes());
    bench.put("flat", &flatten(&make.bytes(), 5000));
    bench.tamis("diff a flat").expect(0).says("the same: 34 pages alike");
    make.pages.insert(18, Page::Raw(make.content(19)));
    make.pages.remove(&20);
    make.pages.insert(120, Page::Zero);
    make.pages.insert(121, Page::Zero);
    bench.put("b", &make.bytes());
    golden("diff.txt", bench.tamis("diff a b").expect(1));
    golden("diff.json", bench.tamis("diff --json a b").expect(1));
    // Over many pieces, and the same in any number of threads.
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 31", &["dump"]);
    let run =
        |threads: u32| bench.tamis(&format!("diff --runs 1000 --threads {threads} vmcore dump"));
    let one = run(1);
    one.expect(1).says("only in the first");
    for threads in [2, 7] {
        assert!(run(threads).expect(1).stdout == one.stdout, "{threads} threads");
    }
}

/// What the table says a level leaves is what a dump of that level has.
#[test]
fn pages_are_counted_by_use() {
    for style in [KernelStyle::V4_18, KernelStyle::V5_10, KernelStyle::V6_12, KernelStyle::V7_1] {
        let image = zoo(style).build();
        let bench = Bench::of(&image);
        let run = bench.tamis("stats --json vmcore");
        let text = String::from_utf8(run.expect(0).stdout.clone()).unwrap();
        assert!(bench.tamis("stats --json --threads 3 vmcore").stdout == run.stdout);
        for level in [0, 1, 2, 4, 8, 16, 31] {
            bench.capture(&format!("-f -d {level}"), &["dump"]);
            let row = text.split(&format!("\"level\": {level},")).nth(1).expect("a row");
            let pages = row.split("\"pages\": ").nth(1).unwrap().split(',').next().unwrap();
            let stored = bench.tamis("info --json dump");
            assert_eq!(pages, json(stored.expect(0), "stored"), "{style:?}, level {level}");
        }
    }
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    golden("stats.txt", bench.tamis("stats vmcore").expect(0));
    golden("stats.json", bench.tamis("stats --json vmcore").expect(0));
    golden("pages-vmcore.txt", bench.tamis("pages vmcore").expect(0));
}

#[test]
fn memory_is_drawn() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 16", &["dump"]);
    bench.tamis("map -o map.svg dump").expect(0).says("17.2 MiB of memory");
    let svg = String::from_utf8(bench.get("map.svg")).unwrap();
    // Neighbours are one rectangle, ten times as wide as they are many: a cell for each page, and the legend.
    let cells = |height: &str| -> u32 {
        let width = |part: &str| part.strip_suffix(height)?.parse::<u32>().ok();
        svg.split('h').filter_map(width).sum::<u32>() / 10
    };
    assert_eq!((cells("v9"), cells("v10")), (4402, 7));
    assert!(svg.matches("<path ").count() < 20, "one for each colour: {svg}");
    bench.put("made", &Make::new(USUAL).bytes());
    bench.tamis("map -o made.svg made").expect(0);
    golden_text("map.svg", &String::from_utf8(bench.get("made.svg")).unwrap());
    bench.tamis("map -o map.png dump").expect(0);
    assert!(bench.get("map.png").starts_with(b"\x89PNG\r\n\x1a\n"));
    bench.tamis("map -o map.png dump").expect(3).says("--force overwrites it");
    bench.tamis("map -f -o dump dump").expect(3).says("end the name in .svg or .png");
    golden("map-classes.json", bench.tamis("map --json dump").expect(0));
    // Not a terminal: no colours, and plain ranges.
    let run = bench.tamis("map dump");
    assert!(!run.expect(0).stdout.contains(&0x1b), "{}", run.text());
}

#[test]
fn what_is_not_there_is_told_with_its_class() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 31", &["dump"]);
    bench.capture("-E -d 31", &["elf"]);
    let run = bench.tamis("read dump --pfn 0x180");
    run.expect(3).says("pfn 0x180 (physical 0x180000) is not in the dump: left out (free)");
    for dump in ["dump", "elf"] {
        bench.tamis(&format!("read {dump} --pfn 1")).expect(3).says("in no range of memory");
    }
    let at = bench.tamis("vmcoreinfo dump SYMBOL(init_uts_ns)");
    let at = String::from_utf8(at.stdout).unwrap();
    let at = at.trim();
    golden("read.txt", bench.tamis(&format!("read dump --virt {at} --len 80")).expect(0));
    golden("vtop.txt", bench.tamis(&format!("vtop dump {at}")).expect(0));
    golden("vtop.json", bench.tamis(&format!("vtop --json dump {at}")).expect(0));
    golden("vtop-none.json", bench.tamis("vtop --json dump ffffc00000000000").expect(1));
}

#[test]
fn sizes_are_estimated() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    let sizes = bench.tamis("estimate --exact --raw --json -d 31 vmcore");
    bench.capture("-d 31", &["dump"]);
    let tells: u64 = json(sizes.expect(0), "bytes").parse().unwrap();
    let real = bench.get("dump").len() as u64;
    // The estimate has no padding between the parts of the file.
    assert!(tells <= real && tells + 4 * 4096 >= real, "{tells} of {real}");
    // All pages of so small a machine are looked at: only the zeros are guessed.
    let run = bench.tamis("estimate --json -d 31 vmcore");
    for (codec, option) in [("raw", ""), ("zlib", "-c"), ("lzo", "-l"), ("lz4", "--lz4")] {
        bench.capture(&format!("-f -d 31 {option}"), &["dump"]);
        let survey = bench.tamis("info --json dump");
        let data: u64 = json(survey.expect(0), "page_data").parse().unwrap();
        let pages: u64 = json(&survey, "stored").parse().unwrap();
        assert_eq!(json(run.expect(0), codec), (data + 24 * pages).to_string(), "{codec}");
    }
    assert!(run.text().contains("least_memory_limit"));
    bench.tamis("estimate -c vmcore").expect(3).says("--exact takes one");
}

#[test]
fn dumps_are_split_as_a_capture_splits() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-d 31", &["dump"]);
    bench.capture("-d 31 --split --splitblock-size 1024", &["a", "b", "c"]);
    bench.tamis("split --raw dump x y z").expect(0);
    for (ours, theirs) in [("x", "a"), ("y", "b"), ("z", "c")] {
        bench.assert_same(ours, theirs, "split");
    }
    bench.tamis("reassemble z y x whole").expect(0);
    bench.assert_same("whole", "dump", "split and made whole");
    bench.tamis("split dump q x").expect(3).says("--force overwrites it");
    assert!(!bench.file("q").exists());
}

#[test]
fn manuals_and_completions_are_there() {
    let bench = Bench::new();
    bench.tamis("completions bash").expect(0).says("_tamis");
    bench.tamis("man").expect(0).says(".TH tamis");
    bench.tamis("man .").expect(0);
    assert!(String::from_utf8(bench.get("tamis-refilter.1")).unwrap().contains("never written to"));
    golden("help-refilter.txt", bench.tamis("help refilter").expect(0));
}

#[test]
fn readers_that_go_away_are_no_errors() {
    use std::io::Read;
    use std::process::Stdio;
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    let mut child = tamis_tests::run::host_command()
        .args(["read", "vmcore", "--phys", "100000", "--len", "10000000"])
        .current_dir(bench.file("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running tamis");
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
    assert_eq!(child.wait().expect("waiting").code(), Some(141));
    assert_eq!(said, "");
}
