//! Vmcores that lack something: the dump has to be made, and nothing extra may be left out.

use std::collections::BTreeSet;

use tamis_tests::dumpread::Dump;
use tamis_tests::oracle::{Fate, expect};
use tamis_tests::synth::{
    Class, Content, Fault, Image, KernelStyle, Machine, MemModel, SECTION_PAGES, Use,
};
use tamis_tests::zoo::{zoo, zoo_at};

use crate::common::{Bench, assert_report};

/// Frames that `dump` leaves out although they are in the vmcore.
fn dropped(dump: &Dump) -> BTreeSet<u64> {
    (0..dump.header.max_mapnr_64).filter(|pfn| dump.bit(1, *pfn) && !dump.bit(2, *pfn)).collect()
}

/// Keys without which nothing, or nearly nothing, can be left out.
const NEEDED: [&str; 6] = [
    "SYMBOL(mem_section)",
    "SIZE(mem_section)",
    "OFFSET(mem_section.section_mem_map)",
    "SIZE(page)",
    "OFFSET(page.flags)",
    "OFFSET(page.mapping)",
];

/// Keys whose lack has to be named wherever pages are kept for it.
const NAMED: [&str; 18] = [
    "SYMBOL(mem_section)",
    "SIZE(mem_section)",
    "OFFSET(mem_section.section_mem_map)",
    "SIZE(page)",
    "OFFSET(page.flags)",
    "OFFSET(page.mapping)",
    "OFFSET(page._mapcount)",
    "OFFSET(page.private)",
    "OFFSET(page.compound_head)",
    "OFFSET(page.compound_info)",
    "NUMBER(PG_lru)",
    "NUMBER(PG_private)",
    "NUMBER(PG_swapcache)",
    "NUMBER(PG_slab)",
    "NUMBER(PG_head_mask)",
    "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)",
    "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)",
    "LENGTH(zone.free_area)",
];

fn keys(image: &Image) -> Vec<String> {
    let lines = image.vmcoreinfo.lines();
    lines.filter_map(|line| line.split_once('=')).map(|(key, _)| key.to_string()).collect()
}

/// Takes each line of VMCOREINFO away, one at a time. All classes are tried without it, and one of them alone: which,
/// goes by `turn`, so that most pairs of line and class come up in one kernel or another.
fn each_key_missing(style: KernelStyle, turn: usize) {
    let whole = Bench::new(zoo(style).build());
    let levels = [2, 4, 8, 16, 31];
    let intact: Vec<BTreeSet<u64>> =
        levels.iter().map(|level| dropped(&whole.dump(&["-d", &level.to_string()]).1)).collect();
    let mut faults = Vec::new();
    for (number, key) in keys(&whole.image).into_iter().enumerate() {
        let bench = Bench::new(zoo(style).without_key(&key).build());
        let mut named = false;
        let alone = (number + turn) % 4;
        let both = [alone, levels.len() - 1].map(|at| (levels[at], &intact[at]));
        for (level, intact) in both {
            let (run, dump) = bench.dump(&["-d", &level.to_string()]);
            let found = dropped(&dump);
            let more = found.difference(intact).count();
            if let Some(first) = found.difference(intact).next() {
                faults.push(format!(
                    "level {level} without {key}: {more} frames left out that the whole \
                     VMCOREINFO keeps, the first {first:#x}"
                ));
            }
            let says = run.text().contains(&key);
            named |= says;
            if found.len() < intact.len() && NAMED.contains(&key.as_str()) && !says {
                faults.push(format!("level {level} without {key}: pages are kept, no word why"));
            }
        }
        if NEEDED.contains(&key.as_str()) && !named {
            faults.push(format!("no run without {key} names it"));
        }
    }
    assert!(faults.is_empty(), "{style:?}:\n{}", faults.join("\n"));
}

#[test]
fn missing_keys_4_6() {
    each_key_missing(KernelStyle::V4_6, 0);
}

#[test]
fn missing_keys_5_10() {
    each_key_missing(KernelStyle::V5_10, 1);
}

#[test]
fn missing_keys_6_6() {
    each_key_missing(KernelStyle::V6_6, 2);
}

#[test]
fn missing_keys_6_12() {
    each_key_missing(KernelStyle::V6_12, 3);
}

#[test]
fn missing_keys_7_1() {
    each_key_missing(KernelStyle::V7_1, 4);
}

#[test]
fn values_that_make_no_sense_count_as_missing() {
    let style = KernelStyle::V6_12;
    let intact = dropped(&Bench::new(zoo(style).build()).dump(&["-d", "31"]).1);
    for (key, value) in [
        ("SIZE(page)", "0"),
        ("SIZE(page)", "-64"),
        ("SIZE(page)", "18446744073709551615"),
        ("SIZE(page)", "sixty-four"),
        ("OFFSET(page.flags)", "4096"),
        ("OFFSET(page.mapping)", "60"),
        ("OFFSET(page._mapcount)", "-1"),
        ("OFFSET(page.compound_head)", "99999999999999999999999"),
        ("NUMBER(PG_lru)", "64"),
        ("NUMBER(PG_lru)", "-5"),
        ("NUMBER(PG_head_mask)", "0"),
        ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", "0x"),
        ("SYMBOL(mem_section)", "0"),
        ("SYMBOL(mem_section)", "ffffffffffffffff"),
        ("SYMBOL(mem_section)", "not hex"),
        ("SYMBOL(init_top_pgt)", "12345"),
        ("SIZE(mem_section)", "0"),
        ("SIZE(mem_section)", "5000"),
        ("LENGTH(mem_section)", "0"),
        ("LENGTH(zone.free_area)", "0"),
        ("LENGTH(zone.free_area)", "200"),
        ("NUMBER(phys_base)", "1"),
        ("NUMBER(phys_base)", "9223372036854775807"),
        ("NUMBER(MAX_PHYSMEM_BITS)", "70"),
        ("NUMBER(MAX_PHYSMEM_BITS)", "0"),
        ("NUMBER(SECTION_SIZE_BITS)", "12"),
        ("NUMBER(SECTION_SIZE_BITS)", "90"),
        ("NUMBER(sme_mask)", "4096"),
        ("NUMBER(pgtable_l5_enabled)", "1"),
        ("OSRELEASE", ""),
        ("CRASHTIME", "yesterday"),
    ] {
        let line = format!("{key}={value}");
        let bench = Bench::new(zoo(style).without_key(key).line(&line).build());
        let (_, dump) = bench.dump(&["-d", "31"]);
        let more: Vec<u64> = dropped(&dump).difference(&intact).copied().collect();
        assert_eq!(more, Vec::<u64>::new(), "{line}: frames left out that should be kept");
    }
}

#[test]
fn unknown_lines_are_passed_over() {
    let machine = zoo(KernelStyle::V6_12)
        .line("SDMA=12")
        .line("NUMBER(PG_lru_gen)=63")
        .line("SIZE(page_something)=1")
        .line("")
        .line("no equals sign")
        .line(&"x".repeat(3000));
    Bench::new(machine.build()).check::<&str>(31, &[]);
}

/// A second zoo in another section.
fn two_sections(style: KernelStyle) -> Machine {
    zoo_at(zoo(style), 2 * SECTION_PAGES)
}

#[test]
fn absent_sections_keep_their_pages() {
    let machine = zoo_at(two_sections(KernelStyle::V6_12), 4 * SECTION_PAGES);
    let bench = Bench::new(machine.absent_section(2).build());
    for level in [0, 31] {
        bench.check::<&str>(level, &[]);
        bench.check(level, &["--cyclic-buffer", "1"]);
    }
}

#[test]
fn memory_past_the_last_section_stays() {
    let bench = Bench::new(two_sections(KernelStyle::V6_12).absent_section(2).build());
    for level in [0, 1, 31] {
        let (_, dump) = bench.check::<&str>(level, &[]);
        assert!(dump.header.max_mapnr_64 > 2 * SECTION_PAGES);
    }
}

#[test]
fn offline_sections_keep_their_pages() {
    for style in [KernelStyle::V4_16, KernelStyle::V5_10, KernelStyle::V6_12, KernelStyle::V7_1] {
        for model in [MemModel::Vmemmap, MemModel::SparseExtreme] {
            let machine = two_sections(style).model(model).offline_section(2);
            let bench = Bench::new(machine.build());
            for level in [0, 31] {
                bench.check::<&str>(level, &[]);
                bench.check(level, &["--cyclic-buffer", "1"]);
            }
        }
    }
}

#[test]
fn kernels_that_know_no_offline_sections() {
    // Before 4.13 the bit means nothing; no section has it.
    let bench = Bench::new(two_sections(KernelStyle::V4_6).build());
    bench.check::<&str>(31, &[]);
}

#[test]
fn structures_that_cannot_be_read_keep_their_pages() {
    for fault in [Fault::Unmapped, Fault::NotInFile] {
        for frames in [0x100..0x140, 0x1c0..0x200, 0x200..0x400, 0x640..0x680, 0..0xe00] {
            let bench = Bench::new(zoo(KernelStyle::V6_12).fault(frames.clone(), fault).build());
            for options in [&[][..], &["--mmap"], &["--cyclic-buffer", "1"]] {
                let (run, _) = bench.check(31, options);
                assert!(
                    run.text().to_lowercase().contains("page"),
                    "{fault:?} {frames:x?}: no word about it:\n{}",
                    run.text()
                );
            }
        }
    }
}

#[test]
fn the_fault_is_said_once_and_the_exit_is_good() {
    let machine = zoo(KernelStyle::V6_12).fault(0x200..0x400, Fault::Unmapped);
    let bench = Bench::new(machine.build());
    let (run, dump) = bench.dump(&["-d", "31", "--show-stats"]);
    let expected = expect(&bench.image, 31);
    for (pfn, fate) in expected.fates.iter().enumerate() {
        if *fate == Fate::Keep {
            assert!(dump.bit(2, pfn as u64), "frame {pfn:#x}");
        }
    }
    assert_report(&run, &expected);
}

#[test]
fn no_page_tables_at_all() {
    // The top table's address leads nowhere: nothing but zero pages can be left out.
    let machine = zoo(KernelStyle::V6_12)
        .without_key("SYMBOL(init_top_pgt)")
        .without_key("SYMBOL(swapper_pg_dir)");
    let bench = Bench::new(machine.build());
    let (run, dump) = bench.dump(&["-d", "31"]);
    run.says("init_top_pgt");
    let present = (0..dump.header.max_mapnr_64).filter(|pfn| dump.bit(1, *pfn)).count();
    let kept = (0..dump.header.max_mapnr_64).filter(|pfn| dump.bit(2, *pfn)).count();
    assert_eq!(present, kept);
}

#[test]
fn without_hwpoison_levels_0_and_1_look_at_no_structure() {
    for style in [KernelStyle::V5_10, KernelStyle::V6_12] {
        let bench = Bench::new(zoo(style).without_key("NUMBER(PG_hwpoison)").build());
        for level in [0, 1, 2, 16, 31] {
            bench.check::<&str>(level, &[]);
        }
    }
}

#[test]
fn a_huge_page_whose_first_page_is_not_stored() {
    let image = {
        let mut image = zoo(KernelStyle::V6_12).build();
        // The first page of the block at 0x400 is in no load.
        let whole = image.loads[1];
        let cut = (0x400 << 12) - whole.paddr;
        let mut rest = whole;
        rest.paddr += cut + 0x1000;
        rest.vaddr += cut + 0x1000;
        rest.filesz -= cut + 0x1000;
        rest.memsz = rest.filesz;
        image.loads[1].filesz = cut;
        image.loads[1].memsz = cut;
        image.loads.insert(2, rest);
        image
    };
    Bench::new(image).check::<&str>(31, &[]);
}

#[test]
fn old_kernels_without_a_mark_of_free_pages_keep_them() {
    let bench = Bench::new(zoo(KernelStyle::V2_6_24).build());
    let (run, _) = bench.check::<&str>(16, &[]);
    run.says("PAGE_BUDDY_MAPCOUNT_VALUE");
}

#[test]
fn a_compound_page_larger_than_memory() {
    // An order no kernel makes: the page is judged alone.
    let machine = Machine::new(KernelStyle::V6_12)
        .ram(0x1000..0x1010)
        .put(0x1000, Class::Compound { order: 3, of: Use::Anon })
        .fill(0x1000..0x1010, Content::Stamp)
        .meta_at(32 << 20, 16 << 20);
    Bench::new(machine.build()).check::<&str>(31, &[]);
}

#[test]
fn broken_pages_whose_mark_of_a_free_block_makes_no_sense() {
    for style in [KernelStyle::V3_10, KernelStyle::V6_12] {
        let machine = zoo(style).poison(0x150).poison(0x152);
        let bench = Bench::new(machine.build());
        for level in [16, 31] {
            bench.check::<&str>(level, &[]);
        }
    }
}

#[test]
fn without_two_flags_a_shared_bit_is_no_mark_of_the_swap_cache() {
    let style = KernelStyle::V6_12;
    let intact = dropped(&Bench::new(zoo(style).build()).dump(&["-d", "31"]).1);
    let machine = zoo(style).without_key("NUMBER(PG_private)").without_key("NUMBER(PG_swapbacked)");
    let found = dropped(&Bench::new(machine.build()).dump(&["-d", "31"]).1);
    let more: Vec<_> = found.difference(&intact).collect();
    assert!(more.is_empty(), "left out for want of two keys: {more:x?}");
}

/// Program header `index` with another value in one field.
fn bend(bench: &Bench, index: u64, field: u64, value: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(&bench.vmcore).expect("the vmcore");
    file.write_all_at(&value.to_le_bytes(), 64 + 56 * index + field).expect("writing a header");
}

#[test]
fn a_range_that_claims_all_memory_there_could_be_ends_an_elf_dump_all_the_same() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    let intact = bench.file("intact");
    bench.run(&["-E", "-d", "31"], &intact).expect(0);
    // p_memsz of the last range.
    bend(&bench, bench.image.loads.len() as u64, 40, 1 << 62);
    let output = bench.file("bent");
    bench.run(&["-E", "-d", "31"], &output).expect(0);
    let size = |path: &std::path::Path| std::fs::metadata(path).expect("a dump").len();
    assert_eq!(size(&output), size(&intact));
}

#[test]
fn notes_that_claim_terabytes_are_taken_as_what_is_there() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    bend(&bench, 0, 32, 1 << 43);
    let output = bench.file("dump");
    let run = bench.run(&["-d", "31"], &output);
    run.says("are damaged");
    let there = std::fs::metadata(&bench.vmcore).expect("the vmcore").len();
    let size = std::fs::metadata(&output).expect("a dump").len();
    assert!(size < 2 * there, "{size} bytes of dump for {there} of vmcore");
}

#[test]
fn a_range_that_claims_more_than_any_file_has_makes_an_incomplete_dump() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    let last = bench.image.loads.len() as u64;
    // p_filesz and p_memsz of the last range.
    bend(&bench, last, 32, 1 << 50);
    bend(&bench, last, 40, 1 << 50);
    for format in ["-c", "-E"] {
        let output = bench.file(format);
        bench
            .run(&[format, "-d", "31"], &output)
            .expect(1)
            .says("long before its memory ranges do");
        let there = std::fs::metadata(&bench.vmcore).expect("the vmcore").len();
        assert!(std::fs::metadata(&output).expect("a dump").len() < there);
    }
    let dump = Dump::open(&bench.file("-c")).expect("a dump");
    assert_ne!(dump.header.status & 8, 0, "it says that it is complete");
}
