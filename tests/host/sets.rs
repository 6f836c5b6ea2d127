//! Split dumps, in any order, and made whole again.

use crate::common::{Bench, json};
use tamis_tests::make::{Make, USUAL};
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

#[test]
fn split_sets_become_the_dump_they_would_have_been() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    for options in ["-d 31", "-c -d 31", "-c -d 0", "-d 1 --lz4"] {
        bench.capture(&format!("-f {options}"), &["whole"]);
        let split = format!("-f {options} --split --splitblock-size 1024");
        bench.capture(&split, &["a", "b", "c"]);
        for order in ["a b c", "c a b"] {
            bench.tamis(&format!("verify {order}")).expect(0);
            bench.tamis(&format!("reassemble --force {order} out")).expect(0);
            bench.assert_same("out", "whole", &format!("{options}, {order}"));
        }
        let one = bench.tamis("info --json whole");
        let set = bench.tamis("info --json b c a");
        for key in ["stored", "zero"] {
            assert_eq!(json(one.expect(0), key), json(set.expect(0), key), "{options}: {key}");
        }
    }
}

#[test]
fn sets_that_lack_a_file_are_incomplete() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 31 --split --splitblock-size 1024", &["a", "b", "c"]);
    bench.tamis("verify a c").expect(2).says("no file for pfns");
    bench.tamis("info b").expect(0).says("name the other files too");
    bench.tamis("reassemble a c out").expect(3).says("name all files of the dump");
    assert!(!bench.file("out").exists());
    bench.capture("-c -d 31", &["whole"]);
    bench.tamis("reassemble whole out").expect(3).says("whole already");
    bench.tamis("dmesg a whole").expect(3).says("not of the same split dump");
}

#[test]
fn every_file_of_a_set_says_whether_it_is_complete() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 31 --split --splitblock-size 1024", &["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        let sound = bench.get(name);
        let mut bytes = sound.clone();
        bytes[424] |= 8;
        bench.put(name, &bytes);
        bench.tamis("verify a b c").expect(2).says("ended early");
        bench.tamis("info a b c").says("ended early");
        bench.put(name, &sound);
    }
    bench.tamis("verify a b c").expect(0);
}

#[test]
fn lost_pages_stay_lost() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    make.pages.insert(20, tamis_tests::make::Page::Lost);
    for (name, range) in [("a", (0, 24)), ("b", (24, 300))] {
        make.split = Some(range);
        bench.put(name, &make.bytes());
    }
    bench.tamis("reassemble b a out").expect(2);
    let run = bench.tamis("verify out");
    run.expect(2).says("pfn 0x14: lost").says("33 pages good, 1 missing");
    assert_eq!(json(&bench.tamis("info --json out"), "lost"), "1");
}
