//! Dumps in another format: nothing is lost, nothing comes back, and zeros cost nothing.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::common::{Bench, json, system_counts};
use tamis_tests::elfread::Elf;
use tamis_tests::make::{Form, Make, Page, USUAL};
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

const INFO: &str = "OSRELEASE=6.1.0-made\nPAGESIZE=4096\n";
const LOAD: u32 = 1;

/// Pages of an ELF file of whole pages, by pfn: their bytes, or nothing for one that is left out.
fn elf_pages(bytes: &[u8]) -> BTreeMap<u64, Option<&[u8]>> {
    let elf = Elf::parse(bytes).expect("an ELF file");
    let mut pages = BTreeMap::new();
    for load in elf.of_kind(LOAD) {
        assert_eq!((load.paddr % 4096, load.filesz % 4096, load.memsz % 4096), (0, 0, 0));
        let stored = elf.segment(bytes, load).expect("a segment");
        for index in 0..load.memsz / 4096 {
            let page = stored.get(index as usize * 4096..).and_then(|rest| rest.get(..4096));
            let twice = pages.insert(load.paddr / 4096 + index, page);
            assert_eq!(twice, None, "a page is in one segment");
        }
    }
    pages
}

/// What they should be.
fn made_pages(make: &Make) -> BTreeMap<u64, Option<Vec<u8>>> {
    let bytes = |page: &Page| match page {
        Page::Raw(bytes) | Page::Zlib(bytes) => bytes.clone(),
        _ => vec![0; 4096],
    };
    let stored = make.pages.iter().map(|(pfn, page)| (*pfn, Some(bytes(page))));
    stored.chain(make.left_out.iter().map(|pfn| (*pfn, None))).collect()
}

/// A dump with pages of zeros, and with runs of pages that are left out of the middle of others.
fn patchy() -> Make {
    let mut make = Make::new(USUAL).with_info(INFO);
    for pfn in [3, 5, 20, 21, 22, 38] {
        make.pages.remove(&pfn);
        make.left_out.push(pfn);
    }
    make
}

#[test]
fn an_elf_file_made_of_a_dump_has_the_same_pages() {
    let bench = Bench::new();
    let make = patchy();
    bench.put("dump", &make.bytes());
    let expected = made_pages(&make);
    for options in ["", "-d 1", "-d 31", "--threads 1", "--threads 4"] {
        bench.tamis(&format!("refilter -f {options} --to elf dump elf")).expect(0);
        let elf = bench.get("elf");
        let found = elf_pages(&elf);
        let pfns = |pages: &mut dyn Iterator<Item = (u64, bool)>| pages.collect::<Vec<_>>();
        assert_eq!(
            pfns(&mut found.iter().map(|(pfn, page)| (*pfn, page.is_some()))),
            pfns(&mut expected.iter().map(|(pfn, page)| (*pfn, page.is_some()))),
            "{options}"
        );
        for (pfn, page) in &found {
            assert!(*page == expected[pfn].as_deref(), "{options}: pfn {pfn:#x}");
        }
        bench.tamis("diff dump elf").expect(0).says("the same");
        bench.tamis("verify elf").expect(0);
        let info = bench.tamis("info --json elf");
        assert_eq!(json(&info, "stored"), make.pages.len().to_string());
        assert_eq!(json(&info, "exist"), expected.len().to_string());
        // And back.
        bench.tamis("refilter -f elf again").expect(0);
        bench.tamis("diff dump again").expect(0).says("the same");
    }
}

#[test]
fn pages_of_zeros_are_holes_that_cost_no_disk() {
    let bench = Bench::new();
    let mut make = Make::new(Form { version: 6, ..USUAL }).with_info(INFO);
    (make.max, make.left_out) = (20_000, Vec::new());
    make.pages = (0..make.max).map(|pfn| (pfn, Page::Zero)).collect();
    make.pages.insert(7000, Page::Raw(make.content(7000)));
    bench.put("dump", &make.bytes());
    bench.tamis("refilter --to elf dump elf").expect(0);
    let found = std::fs::metadata(bench.file("elf")).expect("the file");
    assert!(found.len() > make.max * 4096, "{} bytes", found.len());
    assert!(found.blocks() * 512 < 1 << 20, "{} bytes on disk", found.blocks() * 512);
    bench.tamis("diff dump elf").expect(0).says("20,000 pages alike");
}

/// A dump from which a level would leave out more: as if its writer had not recognised those pages.
#[test]
fn without_a_level_nothing_is_left_out() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-d 0", &["dump"]);
    let mut dump = bench.get("dump");
    dump[4096 + 8..4096 + 12].copy_from_slice(&31u32.to_le_bytes());
    bench.put("dump", &dump);
    bench.tamis("refilter dump out").expect(0);
    bench.tamis("diff dump out").expect(0).says("the same");
    assert_eq!(json(&bench.tamis("info --json out"), "dump_level"), "31");
    bench.tamis("refilter --to elf dump elf").expect(0);
    bench.tamis("diff dump elf").expect(0).says("the same");
    bench.tamis("split dump a b").expect(0);
    bench.tamis("reassemble a b whole").expect(0);
    bench.tamis("diff dump whole").expect(0).says("the same");
    // With one, they are.
    bench.tamis("refilter -d 31 dump less").expect(0);
    bench.tamis("diff dump less").expect(1).says("only in the first");
    // The vmcore has pages that a capture leaves out at every level.
    bench.tamis("refilter vmcore copy").expect(0);
    bench.tamis("diff vmcore copy").expect(0).says("the same");
}

/// A core file of whole pages: their pfns, and what is in each of them. Pages with the same bytes share
/// them in the file.
pub fn core(pages: impl Iterator<Item = (u64, u8)>) -> Vec<u8> {
    let pages: Vec<_> = pages.collect();
    let phnum = pages.len() as u32 + 1;
    let extended = phnum >= 0xffff;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    let table_end = 64 + 56 * u64::from(phnum);
    let (section, count) = if extended { (table_end, 0xffff) } else { (0, phnum as u16) };
    for half in [4u16, 62] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for long in [0u64, 64, section] {
        out.extend(long.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [64u16, 56, count, 64, u16::from(extended), 0] {
        out.extend(half.to_le_bytes());
    }
    let mut notes: Vec<u8> =
        [11, INFO.len() as u32, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    notes.extend(b"VMCOREINFO\0\0");
    notes.extend(INFO.as_bytes());
    notes.resize(notes.len().next_multiple_of(4), 0);
    let (notes_at, len) = (table_end + 64, notes.len() as u64);
    let data = (notes_at + len).next_multiple_of(4096);
    let mut header = |kind: u32, longs: [u64; 6]| {
        out.extend([kind, 7].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(longs.iter().flat_map(|n| n.to_le_bytes()));
    };
    header(4, [notes_at, 0, 0, len, len, 0]);
    for (pfn, byte) in pages {
        header(LOAD, [data + 4096 * u64::from(byte), 0, pfn * 4096, 4096, 4096, 0]);
    }
    let mut null = vec![0; 64];
    if extended {
        null[32..40].copy_from_slice(&1u64.to_le_bytes());
        null[44..48].copy_from_slice(&phnum.to_le_bytes());
    }
    out.extend(null);
    out.extend(notes);
    out.resize(data as usize, 0);
    (0..=255u8).for_each(|byte| out.extend([byte; 4096]));
    out
}

#[test]
fn an_elf_file_in_which_nothing_is_left_is_whole() {
    let bench = Bench::new();
    bench.put("core", &core([(1, 0), (2, 0), (9, 0)].into_iter()));
    bench.tamis("refilter -d 1 --to elf core out").expect(0);
    let bytes = bench.get("out");
    let elf = Elf::parse(&bytes).expect("an ELF file");
    let loads: Vec<_> =
        elf.of_kind(LOAD).map(|load| (load.paddr, load.filesz, load.memsz)).collect();
    assert_eq!(loads, [(0x1000, 0, 4096), (0x2000, 0, 4096), (0x9000, 0, 4096)]);
    let info = bench.tamis("info --json out");
    assert_eq!(json(info.expect(0), "complete"), "true", "{}", info.text());
    bench.tamis("verify out").expect(0);
}

/// Each page in a range of its own: more of them than any table once had room for.
#[test]
fn seventy_thousand_ranges_stay_apart() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL).with_info(INFO);
    (make.max, make.left_out) = (140_000, Vec::new());
    make.pages = (0..make.max).step_by(2).map(|pfn| (pfn, Page::Zero)).collect();
    for pfn in (0..make.max).step_by(500) {
        make.pages.insert(pfn, Page::Zlib(make.content(pfn)));
    }
    bench.put("dump", &make.bytes());
    let expected = made_pages(&make);
    bench.tamis("refilter --to elf dump elf").expect(0);
    let elf = bench.get("elf");
    let found = elf_pages(&elf);
    assert_eq!(found.len(), 70_000);
    assert!(found.iter().all(|(pfn, page)| *page == expected[pfn].as_deref()));
    bench.tamis("diff dump elf").expect(0).says("70,000 pages alike");
    bench.tamis("verify elf").expect(0).says("70,000 pages good");
    bench.tamis("refilter elf again").expect(0);
    bench.tamis("diff elf again").expect(0).says("70,000 pages alike");
    assert_eq!(json(&bench.tamis("info --json again"), "exist"), "70000");
}

/// So many ranges that no program ends that looks at all of them for each.
#[test]
fn hundreds_of_thousands_of_ranges_take_moments() {
    let bench = Bench::new();
    const RANGES: u64 = 300_000;
    let byte = |n: u64| if n.is_multiple_of(5000) { n as u8 | 1 } else { 0 };
    bench.put("vmcore", &core((0..RANGES).map(|n| (256 + 2 * n, byte(n)))));
    bench.capture("-E -d 1 --memory-limit 128M", &["captured"]);
    bench.tamis("refilter -d 1 --to elf vmcore refiltered").expect(0);
    bench.assert_same("captured", "refiltered", "by either program");
    let bytes = bench.get("captured");
    let found = elf_pages(&bytes);
    assert_eq!(found.len() as u64, RANGES);
    for (pfn, page) in found {
        let byte = byte((pfn - 256) / 2);
        assert_eq!(page.map(|page| page.to_vec()), (byte != 0).then(|| vec![byte; 4096]));
    }
    bench.tamis("diff captured refiltered").expect(0).says("60 pages alike");
    bench.tamis("verify captured").expect(0).says("60 pages good");
}

/// A vmcore with so much memory, of which the file has a few pages; the last one is of this byte.
fn sparse(bench: &Bench, name: &str, memory: u64, last: u8) {
    let mut bytes = core([(1, 7), (512, 2)].into_iter());
    let elf = Elf::parse(&bytes).expect("an ELF file");
    let offset = elf.phdrs[2].offset;
    let at = elf.e_phoff as usize + 2 * 56 + 32;
    for field in [at, at + 8] {
        bytes[field..field + 8].copy_from_slice(&memory.to_le_bytes());
    }
    bench.put(name, &bytes);
    let file = OpenOptions::new().write(true).open(bench.file(name)).expect("opening");
    file.write_all_at(&[last; 4096], offset + memory - 4096).expect("writing the last page");
}

#[test]
fn gaps_of_terabytes_are_not_gone_through() {
    let bench = Bench::new();
    for (name, last) in [("a", 1), ("b", 1), ("c", 2)] {
        sparse(&bench, name, 2 << 40, last);
    }
    let pages = "536,870,913";
    bench.tamis("verify a").expect(0).says(&format!("{pages} pages good"));
    bench.tamis("diff a b").expect(0).says(&format!("{pages} pages alike"));
    bench.tamis("diff a c").expect(1).says("pfn 0x200001ff: different");
    // What has no descriptor for each page is not gone through page by page, either.
    for (words, kept) in [
        ("refilter --to elf a elf", pages),
        ("refilter --to elf -d 1 a small", "256"),
        ("convert --to lime a lime", pages),
        ("convert --to raw a raw", pages),
    ] {
        bench.tamis(words).expect(0).says(&format!("{kept} pages kept"));
    }
    bench.tamis("diff a elf").expect(0).says(&format!("{pages} pages alike"));
    // An image has no notes.
    bench.tamis("diff a lime").expect(1).says(&format!("{pages} pages alike"));
    for name in ["elf", "small", "lime", "raw"] {
        let stored = bench.file(name).metadata().expect("an output").blocks() * 512;
        assert!(stored < 2 << 20, "{name}: {stored} bytes on the disk");
    }
}

#[test]
fn gaps_are_not_read() {
    let bench = Bench::new();
    let memory = 1 << 30;
    sparse(&bench, "a", memory, 1);
    for words in [
        "stats a",
        "pages a",
        "refilter -d 1 a kd",
        "refilter -c -d 1 a kd.zlib",
        "refilter --to elf a elf",
        "refilter --to elf -d 1 a elf1",
        "map a",
    ] {
        let read = system_counts(&bench, words, "rchar");
        assert!(read < memory / 32, "{words}: {read} bytes read");
    }
    // Without a level, pages of gaps share one too: beside it and the descriptors there is little.
    for words in ["refilter a kept", "split a part1 part2"] {
        let written = system_counts(&bench, words, "wchar");
        let descriptors = 24 * (memory / 4096);
        assert!(written < descriptors + (1 << 20), "{words}: {written} bytes written");
    }
    bench.tamis("reassemble part1 part2 joined").expect(0);
    for words in ["diff a kept", "diff a joined"] {
        bench.tamis(words).expect(0).says("262,145 pages alike");
    }
    assert_eq!(json(&bench.tamis("info --json kept"), "dump_level"), "1");
    bench.tamis("diff a kd").expect(0);
    bench.tamis("diff a elf").expect(0);
    // What was read was there.
    assert!(system_counts(&bench, "verify kd", "rchar") > 6 << 20);
    // A file that is shorter than its headers say has no gap behind its end.
    let file = OpenOptions::new().write(true).open(bench.file("a")).expect("opening");
    file.set_len(memory / 2).expect("a length");
    let run = bench.tamis("refilter -f -d 1 a kd");
    assert_ne!(run.code, Some(0));
    run.says("unexpected end of file");
}
