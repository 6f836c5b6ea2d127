//! `tamis why`: one page, and what the levels do with it.

use crate::common::{Bench, golden, json};
use tamis_tests::make::{Make, USUAL};
use tamis_tests::oracle::{Fate, expect};
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::{SINGLES, START, zoo};

/// First pages, others, and last ones of what the zoo has in blocks, and what is between.
const OTHERS: [u64; 22] = [
    0x140, 0x143, 0x14f, 0x150, 0x180, 0x1bf, 0x1c0, 0x1c9, 0x1ca, 0x1d3, 0x1d5, 0x1db, 0x1e0,
    0x1e9, 0x1f5, 0x200, 0x3fe, 0x3ff, 0x5ff, 0x601, 0x8ff, 0xdff,
];

#[test]
fn levels_that_leave_a_page_out_are_those_that_do() {
    for style in [KernelStyle::V6_12, KernelStyle::V5_10] {
        let image = zoo(style).build();
        let bench = Bench::of(&image);
        let expected: Vec<_> = (0..32).map(|level| expect(&image, level)).collect();
        let singles = (0..SINGLES.len() as u64).map(|n| START + 2 * n);
        for pfn in singles.chain(OTHERS) {
            let run = bench.tamis(&format!("why --json {pfn} vmcore"));
            let text = String::from_utf8_lossy(&run.expect(0).stdout).into_owned();
            let (_, list) = text.split_once("\"left_out_at\": [").expect("levels");
            let (list, _) = list.split_once(']').expect("the end of the levels");
            let said = list.split(',').map(str::trim).filter(|level| !level.is_empty());
            let said: Vec<usize> = said.map(|level| level.parse().expect("a level")).collect();
            for (level, expected) in expected.iter().enumerate() {
                let zeros = level & 1 != 0 && expected.zero[pfn as usize];
                let goes = match expected.fates[pfn as usize] {
                    Fate::Keep => zeros,
                    Fate::Drop(_) => true,
                    _ => continue,
                };
                assert_eq!(said.contains(&level), goes, "{style:?} {pfn:#x} {level}:\n{text}");
            }
        }
    }
}

#[test]
fn pages_are_named_by_number_and_by_address() {
    let image = zoo(KernelStyle::V6_12).build();
    let bench = Bench::of(&image);
    bench.capture("-c -d 31", &["dump"]);
    golden("why-kept.txt", bench.tamis("why 0x100 dump").expect(0));
    golden("why-free.txt", bench.tamis("why 0x183 dump").expect(0));
    golden("why-tail.txt", bench.tamis("why 0x1c9 vmcore").expect(0));
    let pfn = |words: &str| json(bench.tamis(words).expect(0), "pfn").to_owned();
    assert_eq!(pfn("why --json --phys 142000 dump"), "322");
    assert_eq!(pfn("why --json 322 dump"), "322");
    let uts = bench.tamis("vmcoreinfo vmcore SYMBOL(init_uts_ns)");
    let uts = String::from_utf8_lossy(&uts.stdout).trim().to_owned();
    let walk = bench.tamis(&format!("vtop --json vmcore {uts}"));
    assert_eq!(pfn(&format!("why --json {uts} dump")), json(&walk, "pfn"));
    bench.tamis("why 0xfffff dump").expect(3).says("pfns end at");
    bench.tamis("why nothing dump").expect(3).says("nothing: not a");
    bench.tamis("why ffff800000000000 dump").expect(3).says("not mapped");
    // What is no memory, and what nothing is known of.
    bench.tamis("why --phys 0 dump").expect(0).says("no range of memory has it");
    bench.put("made", &Make::new(USUAL).bytes());
    bench.tamis("why 3 made").expect(0).says("nothing tells what it is");
}
