//! Dumps of 32-bit machines: how ARM's count pages, and the forms of headers.

use crate::common::{Bench, json};
use crate::every::elf;
use tamis_tests::dumpread::Dump;
use tamis_tests::make::{Form, Make, Page, USUAL};

const INFO: &str = "OSRELEASE=6.1.0-made\nPAGESIZE=4096\nCRASHTIME=1700000000\n";
const ARM: Form = Form { wide: false, padded: true, ..USUAL };

/// A dump of 32-bit ARM whose memory begins at `phys_base`; its bits count from there on (makedumpfile), or
/// from 0 (QEMU).
fn arm(phys_base: u64, relative: bool) -> Make {
    let base = phys_base / 4096;
    let mut make = Make::new(ARM).with_info(INFO);
    let pages = std::mem::take(&mut make.pages);
    for pfn in pages.into_keys().chain([0]).map(|pfn| base + pfn) {
        make.pages
            .insert(pfn, if pfn % 5 == 4 { Page::Zero } else { Page::Zlib(make.content(pfn)) });
    }
    make.left_out.iter_mut().for_each(|pfn| *pfn += base);
    Make { phys_base, first: if relative { base } else { 0 }, max: base + 300, ..make }
}

fn content(make: &Make, pfn: u64) -> Vec<u8> {
    match &make.pages[&pfn] {
        Page::Zero => vec![0; 4096],
        _ => make.content(pfn),
    }
}

#[test]
fn pages_of_arm_are_found_whatever_they_are_counted_from() {
    let bench = Bench::new();
    // The last two begin at another bit of a byte, and inside of a page.
    for phys_base in [0x8_0000, 0x4000_0000, 0x8030_3000, 0x4000_5800] {
        for relative in [true, false] {
            let what = format!("{phys_base:#x}, relative: {relative}");
            let (make, base) = (arm(phys_base, relative), phys_base / 4096);
            bench.put("dump", &make.bytes());
            let info = bench.tamis("info --json dump");
            let last = (base + 300).to_string();
            assert_eq!(json(&info, "max_pfn"), last, "{what}");
            assert_eq!(json(&info, "exist"), "38", "{what}");
            bench.tamis("verify dump").expect(0).says("35 pages good");
            bench.tamis("refilter -f --raw dump new").expect(0);
            bench.tamis("verify new").expect(0).says("35 pages good");
            bench.tamis("diff dump new").expect(0);

            // What is written counts from the first page on.
            let new = Dump::new(bench.get("new")).expect(&what);
            assert_eq!((new.first, new.header.phys_base), (base, base * 4096), "{what}");
            assert_eq!(new.header.max_mapnr_64, 300, "{what}");
            let frames: Vec<u64> = new.frames().collect();
            assert_eq!(frames, make.pages.keys().copied().collect::<Vec<_>>(), "{what}");
            assert!(make.left_out.iter().all(|pfn| new.bit(1, *pfn)), "{what}");
            for pfn in frames {
                assert_eq!(
                    new.page(pfn).expect(&what),
                    Some(content(&make, pfn)),
                    "{what}, {pfn:#x}"
                );
            }
            for name in ["dump", "new"] {
                for pfn in [base, base + 39, base + 299] {
                    let page = content(&make, pfn);
                    let run = bench.tamis(&format!("read {name} --raw --pfn {pfn}"));
                    assert!(run.expect(0).stdout == page, "{what}, {name}, pfn {pfn:#x}");
                    let at = pfn * 4096 + 0x123;
                    let run = bench.tamis(&format!("read {name} --raw --phys {at:x} --len 64"));
                    assert!(run.expect(0).stdout == page[0x123..][..64], "{what}, {name}, {at:#x}");
                }
                bench.tamis(&format!("read {name} --pfn 39")).expect(3);
                bench.tamis(&format!("read {name} --pfn {}", base + 300)).expect(3);
            }
            // Once more, it is the same.
            bench.tamis("refilter -f --raw new again").expect(0);
            bench.assert_same("new", "again", &what);
            bench.tamis("refilter -f --to elf dump core").expect(0);
            bench.tamis("refilter -f --raw core again").expect(0);
            let again = Dump::new(bench.get("again")).expect(&what);
            assert_eq!((again.first, again.header.max_mapnr_64), (base, 300), "{what}");
        }
    }
}

#[test]
fn parts_of_an_arm_dump_count_as_the_whole_does() {
    let bench = Bench::new();
    for phys_base in [0x4000_0000, 0x4000_3000] {
        let (make, base) = (arm(phys_base, true), phys_base / 4096);
        bench.put("dump", &make.bytes());
        bench.tamis("refilter -f --raw dump whole").expect(0);
        bench.tamis("split -f --raw dump a b c").expect(0);
        let mut next = 0;
        for name in ["a", "b", "c"] {
            let part = Dump::new(bench.get(name)).expect(name);
            assert_eq!((part.first, part.header.start_pfn_64), (base, next), "{name}");
            next = part.header.end_pfn_64;
        }
        assert_eq!(next, 300);
        bench.tamis("verify c a b").expect(0).says("35 pages good");
        let run = bench.tamis(&format!("read b a c --raw --pfn {}", base + 256));
        assert!(run.expect(0).stdout == content(&make, base + 256));
        bench.tamis("reassemble -f c a b again").expect(0);
        bench.assert_same("whole", "again", &format!("{phys_base:#x}"));
        // As makedumpfile wrote them.
        for (name, split) in [("a", (base, base + 64)), ("b", (base + 64, base + 300))] {
            bench.put(name, &Make { split: Some(split), ..make.clone() }.bytes());
        }
        bench.tamis("verify b a").expect(0).says("35 pages good");
        bench.tamis("verify b").expect(2).says("no file for pfns");
        bench.tamis("refilter -f --raw b a again").expect(0);
        bench.assert_same("whole", "again", &format!("{phys_base:#x}, parts"));
    }
}

/// Offset of the status in the header that `refilter` writes of `dump`.
fn status_at(bench: &Bench, options: &str) -> usize {
    bench.tamis(&format!("refilter -f --raw {options} dump new")).expect(0);
    bench.tamis("verify new").expect(0);
    Dump::new(bench.get("new")).expect("a sound dump").forms.status
}

#[test]
fn headers_keep_the_bits_that_a_time_has_or_get_those_that_are_asked_for() {
    let bench = Bench::new();
    let packed = Form { padded: false, ..ARM };
    for (machine, form, kept, asked_64) in [
        ("armv7l", ARM, 412, 424),
        ("armv7l", Form { time64: true, ..ARM }, 424, 424),
        // QEMU packs sub-headers of all machines: that is no form of ARM.
        ("armv7l", packed, 424, 424),
        ("i686", packed, 412, 420),
        ("i686", Form { time64: true, ..packed }, 420, 420),
    ] {
        let make = Make { machine, ..Make::new(form) }.with_info(INFO);
        bench.put("dump", &make.bytes());
        let what = format!("{machine} {form:?}");
        assert_eq!(status_at(&bench, ""), kept, "{what}");
        assert_eq!(status_at(&bench, "--time-bits 64"), asked_64, "{what}");
        assert_eq!(status_at(&bench, "--time-bits 32"), 412, "{what}");
        let new = Dump::new(bench.get("new")).unwrap();
        assert_eq!(new.header.tv_sec, 1_700_000_000, "{what}");
    }
    // Of an ELF vmcore, what systems of such machines have now.
    let mut core = elf(false, false);
    for (machine, usual, asked_64) in [(40, 424, 424), (3, 412, 420)] {
        core[18] = machine;
        bench.put("dump", &core);
        assert_eq!(status_at(&bench, ""), usual);
        assert_eq!(status_at(&bench, "--time-bits 64"), asked_64);
        assert_eq!(status_at(&bench, "--time-bits 32"), 412);
    }
    bench.tamis("refilter --time-bits 16 dump out").expect(64).says("32 or 64");
    bench.put("dump", &Make::new(USUAL).with_info(INFO).bytes());
    let text = "--time-bits is for kdump dumps of 32-bit machines";
    bench.tamis("refilter --time-bits 32 dump out").expect(3).says(text);
    bench.tamis("refilter --time-bits 64 --to elf dump out").expect(3).says(text);
    assert!(!bench.file("out").exists());
    assert_eq!(status_at(&bench, "--time-bits 64"), 424);
}
