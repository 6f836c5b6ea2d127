//! The kernel log out of dumps that are cut off or whose page tables are ruined.

use crate::common::Bench;
use tamis_tests::run::Run;
use tamis_tests::synth::{Image, KernelStyle, LogLine, expected_text};
use tamis_tests::zoo::zoo;

/// What is said where page tables had to be done without.
const REMARK: &str = "page tables are missing or damaged";

fn lines() -> Vec<LogLine> {
    (0..60).map(|n| LogLine::new(n * 1_000_000, 7, &format!("line {n} of the log"))).collect()
}

/// The page with the root of the kernel's page tables.
fn root(image: &Image) -> Vec<u8> {
    let value = |key: &str| {
        let line = image.vmcoreinfo.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let root = u64::from_str_radix(&value("SYMBOL(init_top_pgt)="), 16).unwrap();
    let base: i64 = value("NUMBER(phys_base)=").parse().unwrap();
    let phys = root.wrapping_sub(0xffff_ffff_8000_0000).wrapping_add(base as u64);
    image.page(phys / 4096)
}

/// Replaces a page wherever it is in a file.
fn replace(bytes: &mut [u8], page: &[u8], with: &[u8]) {
    let mut found = false;
    for at in (0..=bytes.len() - page.len()).step_by(8) {
        if bytes[at..].starts_with(page) {
            bytes[at..at + page.len()].copy_from_slice(with);
            found = true;
        }
    }
    assert!(found, "the page is not in the file");
}

#[test]
fn without_a_root_of_the_page_tables() {
    let junk: Vec<u8> = (0..4096u32).map(|n| ((n * 7) ^ 0x5a) as u8).collect();
    for style in [KernelStyle::V5_10, KernelStyle::V6_12] {
        for five_level in [false, true] {
            let machine = zoo(style).log(&lines(), 0);
            let machine = if five_level { machine.five_level() } else { machine };
            let image = machine.build();
            let wanted = expected_text(style.facts().log, &lines());
            for with in [&[0; 4096][..], &junk] {
                let bench = Bench::of(&image);
                let mut bytes = bench.get("vmcore");
                replace(&mut bytes, &root(&image), with);
                bench.put("vmcore", &bytes);
                bench.tamis("refilter --raw vmcore dump").expect(0);
                for dump in ["vmcore", "dump"] {
                    let run = bench.tamis(&format!("dmesg {dump}"));
                    assert_eq!(run.expect(0).says(REMARK).stdout, wanted, "{style:?} {dump}");
                }
            }
        }
    }
}

/// Cut off anywhere, a dump gives its log, or the records that are there, or says what is missing.
#[test]
fn cut_off_anywhere() {
    const CUTS: usize = 32;
    for style in [KernelStyle::V4_18, KernelStyle::V5_10, KernelStyle::V6_12] {
        let image = zoo(style).log(&lines(), 0).build();
        let wanted = String::from_utf8(expected_text(style.facts().log, &lines())).unwrap();
        let bench = Bench::of(&image);
        bench.capture("-c -d 31", &["kdump"]);
        bench.capture("-E -d 31", &["elf"]);
        bench.capture_stream("-l -d 31", "flat");
        for dump in ["kdump", "elf", "flat"] {
            let whole = bench.get(dump);
            let (mut logs, mut parts, mut computed, mut most) = (0, 0, 0, 0);
            // All over, and once more where the kernel's own memory is: near the end.
            let all = (1..CUTS).map(|n| whole.len() * n / CUTS);
            let end = (1..=CUTS).map(|n| whole.len() - whole.len() * (CUTS - n) / (CUTS * CUTS));
            for cut in all.chain(end) {
                bench.put("cut", &whole[..cut]);
                let run = bench.tamis("dmesg cut");
                let what = format!("{style:?} {dump} {cut} of {}: {}", whole.len(), run.text());
                let found = std::str::from_utf8(&run.stdout).unwrap();
                assert!(found.lines().all(|line| wanted.lines().any(|w| w == line)), "{what}");
                let count = found.lines().count();
                assert!(count >= most, "less of the log though more of the dump: {what}");
                most = count;
                computed += usize::from(run.text().contains(REMARK));
                match run.code {
                    Some(0) => {
                        assert_eq!(found, wanted, "{what}");
                        logs += 1;
                    }
                    Some(1) => {
                        said(&run, &["records are missing, damaged or unfinished"]);
                        parts += 1;
                    }
                    Some(3) => said(
                        &run,
                        &[
                            "the kernel log: reading ",
                            "no page can be read from it",
                            "has no VMCOREINFO",
                            "an ELF file, but no vmcore: ",
                        ],
                    ),
                    _ => panic!("{what}"),
                }
            }
            let what = format!("{style:?} {dump}: {logs} logs, {parts} parts, {computed} computed");
            println!("{what}");
            assert!(logs > 0 && computed > 0, "{what}");
        }
    }
}

#[track_caller]
fn said(run: &Run, any: &[&str]) {
    let text = run.text();
    assert!(any.iter().any(|words| text.contains(words)), "none of {any:?}: {text}");
}
