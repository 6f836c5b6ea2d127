//! Every form of dump opens, is told right, and is sound.

use crate::common::{Bench, golden, json};
use tamis_tests::make::{Form, Make, Page, USUAL, flatten};

const INFO: &str = "OSRELEASE=6.1.0-made\nPAGESIZE=4096\nCRASHTIME=1700000000\n";

fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for version in 0..=6 {
        for block in [4096, 16384, 65536] {
            for big in [false, true] {
                let form = Form { big, version, block, ..USUAL };
                forms.push(form);
                forms.push(Form { wide: false, ..form });
                forms.push(Form { wide: false, padded: true, ..form });
            }
        }
    }
    forms.push(Form { one_bitmap: true, ..USUAL });
    for big in [false, true] {
        for padded in [false, true] {
            forms.push(Form { wide: false, big, padded, time64: true, ..USUAL });
        }
    }
    forms
}

#[test]
fn all_versions_words_orders_and_block_sizes() {
    let bench = Bench::new();
    for form in forms() {
        // Only notes tell a packed from a padded sub-header before version 6.
        let make = Make::new(form).with_info(INFO);
        bench.put("dump", &make.bytes());
        let run = bench.tamis("info --json dump");
        run.expect(0);
        let exist = make.pages.len() + if form.one_bitmap { 0 } else { 3 };
        for (key, want) in [
            ("header_version", form.version.to_string()),
            ("word_bits", if form.wide { "64" } else { "32" }.to_string()),
            ("big_endian", form.big.to_string()),
            ("page_size", form.block.to_string()),
            ("exist", exist.to_string()),
            ("stored", make.pages.len().to_string()),
            ("release", "6.1.0-made".to_string()),
            ("complete", "true".to_string()),
            ("vmcoreinfo_keys", if form.version >= 3 { "3" } else { "0" }.to_string()),
            ("dump_level", if form.version >= 1 { "1" } else { "null" }.to_string()),
        ] {
            assert_eq!(json(&run, key), want, "{key} of {form:?}");
        }
        bench.tamis("verify dump").expect(0).says("34 pages good");
        if form.version >= 3 {
            let text = bench.tamis("vmcoreinfo dump");
            assert_eq!(text.expect(0).stdout, INFO.as_bytes(), "{form:?}");
        }
    }
}

#[test]
fn told_in_words_and_in_json() {
    let bench = Bench::new();
    let make = Make::new(USUAL).with_info(INFO);
    bench.put("dump", &make.bytes());
    golden("info.txt", bench.tamis("info dump").expect(0));
    golden("info.json", bench.tamis("info --json dump").expect(0));
    golden("notes.txt", bench.tamis("notes dump").expect(0));
    golden("notes.json", bench.tamis("notes --json dump").expect(0));
    let mut broken = make;
    broken.pages.insert(20, Page::Lost);
    broken.pages.insert(21, Page::Lost);
    broken.pages.insert(30, Page::Stored(vec![1, 2, 3], 1));
    broken.status |= 8;
    bench.put("broken", &broken.bytes());
    golden("verify.txt", bench.tamis("verify broken dump").expect(1));
    golden("verify.json", bench.tamis("verify --json broken dump").expect(1));
    golden("info-broken.txt", bench.tamis("info broken").expect(0));
}

/// A block device that tamis-capture wrote as PID 1: a header, the dump, and what was there before.
#[test]
fn a_raw_device_has_its_dump_behind_a_header() {
    let bench = Bench::new();
    let bytes = Make::new(USUAL).with_info(INFO).bytes();
    let device = |version: u32, base: u64| {
        let mut device = b"TAMISRAW".to_vec();
        device.extend(version.to_le_bytes());
        device.extend(2u32.to_le_bytes());
        device.extend(base.to_le_bytes());
        device.resize(4096, 0);
        device.extend(&bytes);
        device.extend([0xa5; 100_000]);
        device
    };
    bench.put("device", &device(1, 4096));
    assert_eq!(json(bench.tamis("info --json device").expect(0), "stored"), "34");
    bench.tamis("verify device").expect(0).says("34 pages good");
    for (version, base) in [(2, 4096), (1, 0), (1, 1 << 40), (1, 512)] {
        bench.put("device", &device(version, base));
        bench.tamis("info device").expect(3);
    }
}

#[test]
fn flattened_streams_are_dumps_from_files_and_standard_input() {
    let bench = Bench::new();
    let bytes = Make::new(USUAL).with_info(INFO).bytes();
    bench.put("dump", &bytes);
    for step in [7919, 65536] {
        bench.put("flat", &flatten(&bytes, step));
        bench.tamis("verify flat").expect(0);
        bench.tamis_with("verify -", "flat").expect(0);
        let run = bench.tamis_with("info --json -", "flat");
        assert_eq!(json(run.expect(0), "stored"), "34");
        bench.tamis("rearrange flat out -f").expect(0);
        assert_eq!(bench.get("out"), bytes);
        bench.tamis_with("rearrange - --force out", "flat").expect(0);
        assert_eq!(bench.get("out"), bytes);
    }
    bench.tamis("rearrange flat out").expect(3).says("--force overwrites it");
    bench.tamis("rearrange --force flat flat").expect(3).says("the input itself");
    bench.tamis("rearrange dump new").expect(3).says("not a flattened stream");
    assert!(!bench.file("new").exists());
}

#[test]
fn streams_without_an_end_are_incomplete() {
    let bench = Bench::new();
    // In the order of a writer: headers first.
    let bytes = Make::new(USUAL).with_info(INFO).bytes();
    let whole = flatten(&bytes, bytes.len());
    bench.put("flat", &whole[..whole.len() - 16]);
    bench.tamis("verify flat").expect(2).says("the stream has no end");
    bench.tamis("info flat").expect(0).says("no: flat: the stream has no end");
    bench.put("flat", &whole[..whole.len() - 3000]);
    bench.tamis("verify flat").expect(2).says("past the end of the file");
    bench.tamis("rearrange flat out").expect(3).says("tamis repair");
    assert!(!bench.file("out").exists());
}

#[test]
fn lz4_only_behind_its_own_signature() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    let page = make.content(2);
    make.pages.insert(2, Page::Stored(lz4_flex::block::compress(&page), 0x40));
    make.signature = b"TAMIS   ";
    bench.put("dump", &make.bytes());
    bench.tamis("verify dump").expect(0);
    assert_eq!(json(&bench.tamis("info --json dump"), "written_by"), "tamis-capture");
    make.signature = b"KDUMP   ";
    bench.put("dump", &make.bytes());
    bench.tamis("verify dump").expect(1).says("pfn 0x2: unknown page flags");
}

/// A dump of header version 0 has no pages of zeros in it: those that are not there are zeros, and not left out.
#[test]
fn pages_of_zeros_that_version_0_has_none_of_are_there() {
    let bench = Bench::new();
    for (version, state, zeros) in [(0, "zero", 3), (1, "left out", 0)] {
        let mut make = Make::new(Form { version, ..USUAL });
        make.pages.retain(|_, page| !matches!(page, Page::Zero));
        let stored = make.pages.len();
        bench.put("dump", &make.bytes());
        for pfn in [9, 200] {
            let run = bench.tamis(&format!("pages --pfn {pfn} dump"));
            run.expect(0).says(state);
        }
        let run = bench.tamis("stats --json dump");
        let number = |key: &str| json(run.expect(0), key).to_owned();
        let text = run.text();
        let (_, all) = text.split_once("\"undecided\"").expect("pages of no class");
        assert!(all.contains(&format!("\"zero\": {zeros}")), "{version}: {text}");
        assert!(all.contains(&format!("\"stored\": {}", stored + zeros)), "{version}: {text}");
        assert_eq!(number("page_size"), "4096");
        for to in ["kdump", "elf"] {
            bench.tamis(&format!("refilter -f --to {to} dump out")).expect(0);
            bench.tamis("diff dump out").expect(0).says("the same");
            bench.tamis("read --pfn 200 --len 16 out").expect(if zeros > 0 { 0 } else { 3 });
        }
    }
}
