//! Checksums of pages: who writes, keeps and checks them, and what they find.

use crate::common::{Bench, json};
use tamis_tests::dumpread::Dump;
use tamis_tests::make::{Make, USUAL};
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

const CODECS: [&str; 6] = ["-c", "-l", "-p", "-z", "--lz4", ""];

/// Descriptors as they are in the file.
struct Places {
    /// Offset of the first descriptor.
    descriptors: usize,
    /// Pfn, offset and size of each page.
    pages: Vec<(u64, usize, usize)>,
}

fn places(bytes: &[u8]) -> Places {
    let dump = Dump::new(bytes.to_vec()).unwrap();
    let pages = dump.descriptors().unwrap().into_iter();
    let pages = pages.map(|(pfn, d)| (pfn, d.offset as usize, d.size as usize)).collect();
    Places { descriptors: dump.descriptors_at() as usize, pages }
}

fn random(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*state >> 33) as usize % below
}

/// What the checksum is for: without it, of the bits of raw pages none is found.
#[test]
fn every_flipped_bit_of_a_page_is_found() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    let mut state = 1;
    for codec in CODECS {
        bench.capture(&format!("-f {codec} -d 31"), &["dump"]);
        bench.tamis("verify dump").expect(0).says("; each has a checksum");
        let sound = bench.get("dump");
        let places = places(&sound);
        for round in 0..40 {
            let index = random(&mut state, places.pages.len());
            let (pfn, offset, size) = places.pages[index];
            // Of the data, and of the descriptor.
            let (at, len) =
                if round % 4 > 0 { (offset, size) } else { (places.descriptors + 24 * index, 24) };
            let bit = random(&mut state, 8 * len);
            let mut bad = sound.clone();
            bad[at + bit / 8] ^= 1 << (bit % 8);
            bench.put("bad", &bad);
            let run = bench.tamis("verify bad");
            let what = format!("{codec} pfn {pfn:#x} bit {bit} from {at}: {}", run.text());
            assert!(matches!(run.code, Some(1 | 2)), "{what}");
        }
    }
}

/// One bit of bitmap 2 cleared and another set: as many descriptors as before, all of them whole.
#[test]
fn pages_that_changed_places_are_found() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    let mut state = 7;
    for options in ["-c -d 31", "-d 0"] {
        bench.capture(&format!("-f {options}"), &["dump"]);
        let sound = bench.get("dump");
        let Places { descriptors, pages } = places(&sound);
        let blocks = u32::from_le_bytes(sound[436..440].try_into().unwrap()) as usize;
        let (bitmap1, bitmap2) = (descriptors - blocks * 4096, descriptors - blocks * 2048);
        let free = |pfn: usize| {
            let bit = |base: usize| sound[base + pfn / 8] >> (pfn % 8) & 1 != 0;
            bit(bitmap1) && !bit(bitmap2)
        };
        let free: Vec<usize> =
            (0..pages[pages.len() - 1].0 as usize).filter(|p| free(*p)).collect();
        for _ in 0..20 {
            let mut bad = sound.clone();
            let gone = pages[random(&mut state, pages.len())].0 as usize;
            let came =
                if free.is_empty() { None } else { Some(free[random(&mut state, free.len())]) };
            if let Some(came) = came {
                bad[bitmap2 + gone / 8] ^= 1 << (gone % 8);
                bad[bitmap2 + came / 8] ^= 1 << (came % 8);
                bench.put("bad", &bad);
                let run = bench.tamis("verify bad");
                run.expect(1).says("its checksum is that of other data");
            }
            // Two descriptors of pages of zeros are swapped, too.
            let (a, b) = (random(&mut state, pages.len()), random(&mut state, pages.len()));
            if a == b {
                continue;
            }
            let mut bad = sound.clone();
            let place = |n: usize| descriptors + 24 * n..descriptors + 24 * (n + 1);
            bad[place(a)].copy_from_slice(&sound[place(b)]);
            bad[place(b)].copy_from_slice(&sound[place(a)]);
            bench.put("bad", &bad);
            let run = bench.tamis("verify bad");
            run.expect(1).says("2 damaged");
            for pfn in [pages[a].0, pages[b].0] {
                run.says(&format!("{pfn:#x}"));
            }
        }
    }
}

/// A dump with one flipped bit in a raw page that no other reader would notice.
fn flipped(bench: &Bench, options: &str) -> u64 {
    bench.capture(options, &["bad"]);
    let mut bytes = bench.get("bad");
    let pages = places(&bytes).pages;
    let zero = pages.iter().map(|page| page.1).min();
    let raw = pages.iter().rev().find(|page| page.2 == 4096 && Some(page.1) != zero).unwrap();
    bytes[raw.1 + 1234] ^= 4;
    bench.put("bad", &bytes);
    raw.0
}

#[test]
fn every_command_that_reads_pages_checks_them() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    let pfn = flipped(&bench, "-d 31");
    let why = "damaged: its checksum is that of other data (4096 bytes at offset";
    let named = format!("pfn {pfn:#x}");
    bench.tamis("verify bad").expect(1).says(&format!("{named}: {why}")).says(" 1 damaged");
    let run = bench.tamis(&format!("read --pfn {pfn} bad"));
    run.expect(3).says(&named).says(why).says("`tamis verify`");
    bench.tamis("stats --json bad").expect(0).says("\"unreadable\": 1");
    let run = bench.tamis("refilter bad less");
    run.expect(2).says(&named).says("damaged");
    bench.tamis("verify less").expect(2).says("1 missing; each has a checksum");
    bench.tamis("repair bad mended").expect(2).says("1 damaged");
    bench.tamis("verify mended").expect(2).says("1 missing; each has a checksum");
    let run = bench.tamis("diff bad vmcore");
    assert_ne!(run.code, Some(0), "{}", run.text());
    bench.tamis("split bad p1 p2").expect(2).says(&named);
    // A part of a set.
    bench.capture("--split -d 31", &["part1", "part2"]);
    let mut bytes = bench.get("part1");
    let pages = places(&bytes).pages;
    let zero = pages.iter().map(|page| page.1).min();
    let (pfn, at, _) = *pages.iter().find(|page| Some(page.1) != zero).unwrap();
    bytes[at + 7] ^= 1;
    bench.put("part1", &bytes);
    let run = bench.tamis("reassemble part1 part2 whole");
    run.expect(3).says(&format!("pfn {pfn:#x}")).says(why).says("`tamis verify` lists all damage");
}

#[test]
fn commands_that_copy_pages_keep_their_checksums() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    let each = |name: &str| {
        bench.tamis(&format!("verify {name}")).expect(0).says("; each has a checksum");
    };
    bench.capture("-c -d 31", &["dump"]);
    bench.capture_stream("-c -d 31", "flat");
    bench.tamis("rearrange flat rearranged").expect(0);
    each("flat");
    each("rearranged");
    bench.assert_same("rearranged", "dump", "rearrange");
    bench.tamis("split -c dump p1 p2").expect(0);
    each("p1 p2");
    bench.tamis("reassemble p1 p2 whole").expect(0);
    each("whole");
    bench.assert_same("whole", "dump", "split and reassemble");
    bench.tamis("refilter -c dump again").expect(0);
    bench.assert_same("again", "dump", "refilter");
    bench.tamis("refilter --to flat -l vmcore flat2").expect(0);
    each("flat2");
    // Without: nowhere, and with them again.
    bench.tamis("refilter -c --no-page-checksums dump none").expect(0);
    bench.capture("-c -d 31 --no-page-checksums", &["never"]);
    bench.assert_same("none", "never", "without checksums");
    assert_eq!(json(&bench.tamis("verify --json none"), "checksums"), "0");
    bench.tamis("split -c --no-page-checksums dump n1 n2").expect(0);
    bench.tamis("reassemble n1 n2 none2").expect(0);
    bench.assert_same("none2", "none", "split and reassemble without checksums");
    bench.tamis("refilter -c none with").expect(0);
    bench.assert_same("with", "dump", "checksums come back");
}

/// But for page_flags, a dump has the bytes that it had before there were checksums.
#[test]
fn checksums_change_page_flags_alone() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    for codec in CODECS {
        for more in ["-d 31", "-d 0", "-d 1 --num-threads 3", "-d 31 --cyclic-buffer 1"] {
            let options = format!("-f {codec} {more}");
            bench.capture(&options, &["with"]);
            bench.capture(&format!("{options} --no-page-checksums"), &["without"]);
            let (with, without) = (Dump::new(bench.get("with")), Dump::new(bench.get("without")));
            let (with, without) = (with.unwrap(), without.unwrap());
            assert_eq!(with.sums(), with.frames().count(), "{options}");
            assert_eq!(without.sums(), 0, "{options}");
            assert!(with.without_sums() == without.bytes(), "{options}");
        }
    }
    bench.capture("-E -d 31", &["elf"]);
    bench.capture("-E -d 31 --no-page-checksums", &["elf2"]);
    bench.assert_same("elf", "elf2", "an ELF file has none");
}

#[test]
fn dumps_of_others_need_no_checksums() {
    let bench = Bench::new();
    let mut bytes = Make::new(USUAL).bytes();
    bench.put("dump", &bytes);
    let run = bench.tamis("verify dump");
    assert!(!run.expect(0).text().contains("checksum"), "{}", run.text());
    // Page flags that are something else: read, but not sound.
    bytes[16384 + 24 + 23] = 1;
    bench.put("odd", &bytes);
    bench
        .tamis("verify odd")
        .expect(1)
        .says("pfn 0x3: its page_flags 0x100000000000000 are no checksum");
    bench.tamis("read --pfn 3 odd").expect(0);
}
