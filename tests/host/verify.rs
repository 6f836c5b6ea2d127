//! Damage is found where it is.

use crate::common::Bench;
use tamis_tests::make::{Form, Make, Page, USUAL};
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

#[test]
fn flipped_bytes_of_compressed_pages_are_found() {
    let bench = Bench::new();
    let make = Make::new(USUAL);
    let sound = make.bytes();
    bench.put("dump", &sound);
    bench.tamis("verify dump").expect(0);
    let mut one = make.clone();
    for pfn in [4, 19, 256] {
        let mut bad = sound.clone();
        // The last byte of the page's data: its checksum.
        one.pages.retain(|p, _| *p <= pfn);
        let index = make.pages.keys().position(|p| *p == pfn).unwrap();
        let at = 16384 + 24 * index;
        let offset = u64::from_le_bytes(bad[at..at + 8].try_into().unwrap()) as usize;
        let size = u32::from_le_bytes(bad[at + 8..at + 12].try_into().unwrap()) as usize;
        bad[offset + size - 1] ^= 0x40;
        bench.put("bad", &bad);
        let run = bench.tamis("verify bad");
        run.expect(1).says(&format!("pfn {pfn:#x}: damaged zlib data"));
        run.says("33 pages good, 1 damaged");
    }
}

#[test]
fn impossible_descriptors_are_found() {
    let bench = Bench::new();
    let page = vec![1; 4096];
    for (stored, what) in [
        (Page::Stored(page.clone(), 0x80), "unknown page flags"),
        (Page::Stored(page.clone(), 3), "unknown page flags"),
        (Page::Stored(vec![1; 5000], 1), "impossible size"),
        (Page::Stored(vec![1; 100], 0), "impossible size"),
        (Page::Stored(vec![0xa7; 100], 2), "damaged LZO data"),
        (Page::Stored(vec![0xa7; 100], 4), "damaged Snappy data"),
        (Page::Stored(vec![0xa7; 100], 0x20), "damaged zstd data"),
    ] {
        let mut make = Make::new(USUAL);
        make.pages.insert(17, stored);
        bench.put("dump", &make.bytes());
        bench.tamis("verify dump").expect(1).says(&format!("pfn 0x11: {what}"));
    }
}

/// LZ4 has no checksum: found is what cannot be a page.
#[test]
fn damaged_lz4_pages_are_found() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL);
    make.signature = b"TAMIS   ";
    let half = lz4_flex::block::compress(&make.content(2)[..2048]);
    let two = lz4_flex::block::compress(&make.content(2).repeat(2));
    for (stored, what) in [
        // A match that begins before the page.
        (vec![0x10, 1, 9, 0, 0], "damaged LZ4 data"),
        (vec![0xf0, 255], "damaged LZ4 data"),
        (half, "data of another length than a page"),
        (two, "data of another length than a page"),
    ] {
        make.pages.insert(17, Page::Stored(stored, 0x40));
        bench.put("dump", &make.bytes());
        let run = bench.tamis("verify dump");
        run.expect(1).says(&format!("pfn 0x11: {what}")).says("33 pages good, 1 damaged");
    }
}

#[test]
fn dumps_that_are_cut_off_are_sound_as_far_as_they_go() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 31", &["dump"]);
    bench.capture("-E -d 31", &["elf"]);
    bench.tamis("verify dump elf vmcore").expect(0);
    for name in ["dump", "elf", "vmcore"] {
        let bytes = bench.get(name);
        bench.put("cut", &bytes[..bytes.len() - 5000]);
        bench.tamis("verify cut").expect(2).says("past the end of the file");
        bench.tamis("info cut").expect(0).says("complete");
    }
    // Into the descriptors.
    let bytes = Make::new(USUAL).bytes();
    bench.put("cut", &bytes[..16384 + 24 * 10 + 5]);
    bench.tamis("verify cut").expect(2).says("missing");
}

#[test]
fn pages_that_exist_in_one_bitmap_only_are_found() {
    let bench = Bench::new();
    let mut bytes = Make::new(USUAL).bytes();
    bytes[8192] &= !0x10;
    bench.put("dump", &bytes);
    bench.tamis("verify dump").expect(1).says("pfn 0x4: is stored, but bitmap 1");
}

#[test]
fn notes_that_claim_to_go_on_are_damaged() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 31", &["dump"]);
    // p_filesz of the first program header, and size_note of the sub-header.
    for (name, at) in [("vmcore", 64 + 32), ("dump", 4096 + 56)] {
        let mut bytes = bench.get(name);
        let field: &mut [u8; 8] = (&mut bytes[at..at + 8]).try_into().unwrap();
        let sound = u64::from_le_bytes(*field);
        *field = (sound + 0x10_0000).to_le_bytes();
        bench.put("lie", &bytes);
        let what = "something that is not a note";
        bench.tamis("info lie").expect(0).says(what);
        bench.tamis("verify lie").expect(1).says(what);
        bench.tamis("notes lie").expect(1).says(what).says("VMCOREINFO");
        bench.tamis(&format!("refilter -f -l -d 31 {name} right")).expect(0);
        bench.tamis("refilter -f -l -d 31 lie sound").expect(0);
        bench.tamis("verify sound").expect(0);
        let [right, sound] = ["right", "sound"].map(|file| bench.get(file).len());
        assert!(sound < right + (64 << 10), "{name}: {sound} bytes, not {right}");
    }
}

/// Faults are told in the order of their pfns, and a run of them once, whoever found it.
#[test]
fn threads_find_the_same() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-l -d 1", &["dump"]);
    let mut bytes = bench.get("dump");
    bench.put("cut", &bytes[..bytes.len() - 5000]);
    // Every hundredth byte of the data, whatever page it belongs to.
    let from = bytes.len() / 2;
    bytes[from..].iter_mut().step_by(100).for_each(|byte| *byte ^= 0x55);
    bench.put("bad", &bytes);
    for (dump, code) in [("cut", 2), ("bad", 1)] {
        for faults in ["", "--faults 100000", "--json"] {
            let one = bench.tamis(&format!("verify --threads 1 {faults} {dump}"));
            let many = bench.tamis(&format!("verify --threads 5 {faults} {dump}"));
            assert_eq!(one.expect(code).text(), many.expect(code).text(), "{dump} {faults}");
        }
    }
    let few = bench.tamis("verify --faults 3 bad");
    few.says("more; --faults NUMBER lists more of them");
}

/// Bits of bitmap 2: where it begins, and the pfns that have one.
fn bitmap2(dump: &[u8]) -> (usize, Vec<usize>) {
    let u32_at = |at: usize| u32::from_le_bytes(dump[at..at + 4].try_into().unwrap()) as usize;
    let (sub, blocks, max) = (u32_at(432), u32_at(436), u32_at(440));
    let at = (1 + sub) * 4096 + blocks / 2 * 4096;
    (at, (0..max).filter(|pfn| dump[at + pfn / 8] >> (pfn % 8) & 1 != 0).collect())
}

/// With one bit of bitmap 2 less, every later page is its neighbour's, and each of them is good.
#[test]
fn every_bit_that_bitmap_2_lacks_is_found() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.put("made", &Make::new(USUAL).bytes());
    for (options, name) in [("-c -d 31", "dump"), ("-d 0", "raw"), ("-z -d 1", "zeros")] {
        bench.capture(options, &[name]);
    }
    bench.tamis("split -l dump part1 part2").expect(0);
    bench.tamis("verify made dump raw zeros part1 part2").expect(0);
    let mut random = 1u64;
    for (set, rounds) in [
        (&["made"][..], 100),
        (&["dump"], 120),
        (&["raw"], 30),
        (&["zeros"], 60),
        (&["part1", "part2"], 90),
    ] {
        let files: Vec<Vec<u8>> = set.iter().map(|name| bench.get(name)).collect();
        let (at, pfns) = bitmap2(&files[0]);
        for round in 0..rounds {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pfn = pfns[(random >> 33) as usize % pfns.len()];
            let mut names = String::new();
            for (index, file) in files.iter().enumerate() {
                let mut bad = file.clone();
                // Of a split dump, in one file, in the other, in both.
                if set.len() == 1 || round % 3 == 2 || round % 3 == index {
                    bad[at + pfn / 8] &= !(1 << (pfn % 8));
                }
                bench.put(&format!("bad{index}"), &bad);
                names += &format!(" bad{index}");
            }
            let run = bench.tamis(&format!("verify{names}"));
            assert_eq!(run.code, Some(1), "{set:?} without pfn {pfn:#x}: {}", run.text());
        }
    }
}

#[test]
fn one_bit_too_many_in_bitmap_2_is_found() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 31", &["dump"]);
    let dump = bench.get("dump");
    let (at, pfns) = bitmap2(&dump);
    for pfn in (pfns[0]..pfns[pfns.len() - 1]).filter(|pfn| !pfns.contains(pfn)).step_by(97) {
        let mut bad = dump.clone();
        bad[at + pfn / 8] |= 1 << (pfn % 8);
        bench.put("bad", &bad);
        let run = bench.tamis("verify bad");
        assert!(matches!(run.code, Some(1 | 2)), "with pfn {pfn:#x}: {}", run.text());
    }
}

#[test]
fn numbers_of_the_header_agree() {
    let bench = Bench::new();
    let make = Make::new(USUAL).with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\n");
    let sound = make.bytes();
    for (at, value, what) in [
        (440, 0x12d, "max_mapnr is 0x12d, but max_mapnr_64 0x12c"),
        (4096 + 96, 0x12e, "max_mapnr is 0x12c, but max_mapnr_64 0x12e"),
        (436, 4, "bitmap_blocks is 4, but max_mapnr 0x12c takes 2"),
        (8, 5, "its header says version 5, but has what only version 6 has"),
        (8, 2, "its header says version 2, but has what only version 6 has"),
    ] {
        let mut bad = sound.clone();
        bad[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        bench.put("bad", &bad);
        bench.tamis("verify bad").expect(1).says(what);
    }
    let mut bad = sound.clone();
    bad[12288 + 300 / 8] |= 0x80;
    bench.put("bad", &bad);
    bench.tamis("verify bad").expect(1).says("bitmap 2 has bits past the end of memory");
}

#[test]
fn data_of_two_pages_is_found() {
    let bench = Bench::new();
    let sound = Make::new(USUAL).bytes();
    // The descriptor of one page is that of the one before it, or in the midst of it.
    for (index, shift) in [(3, 0u64), (12, 0), (30, 8)] {
        let at = 16384 + 24 * index;
        let mut bad = sound.clone();
        let offset = u64::from_le_bytes(bad[at..at + 8].try_into().unwrap()) + shift;
        bad[at + 24..at + 32].copy_from_slice(&offset.to_le_bytes());
        bench.put("bad", &bad);
        bench.tamis("verify bad").expect(1);
    }
}

#[test]
fn what_makes_other_readers_refuse_a_dump_is_said() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL).with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\n");
    make.machine = "";
    bench.put("dump", &make.bytes());
    bench.tamis("verify dump").expect(0).says("the header names no machine");
    bench.tamis("refilter dump named").expect(0);
    let run = bench.tamis("verify named");
    assert!(!run.expect(0).text().contains("machine"), "{}", run.text());
    assert!(run.text().contains("sound: 34 pages good"), "{}", run.text());

    // As QEMU has it of 32-bit ARM.
    make.machine = "Unknown";
    make.form = Form { wide: false, ..USUAL };
    make.notes = note(b"CORE\0", 1, &[0; 148]);
    make.notes.extend(note(b"VMCOREINFO\0", 0, b"OSRELEASE=6.1.0\n"));
    make.vmcoreinfo = Some((make.notes.len() - 16, 16));
    bench.put("unknown", &make.bytes());
    bench.tamis("verify unknown").expect(0).says("the header names no machine");
    bench.tamis("refilter unknown known").expect(0);
    assert_eq!(&bench.get("known")[272..279], b"armv7l\0");

    make = Make::new(USUAL);
    make.release = "";
    bench.put("bare", &make.bytes());
    let run = bench.tamis("verify bare");
    run.expect(0).says("it has no VMCOREINFO").says("utsname lacks release");
    assert!(run.text().contains("-device vmcoreinfo"), "{}", run.text());

    make = Make::new(USUAL).with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\n");
    bench.put("zlib", &make.bytes());
    for (codec, name) in [("-l", "lzo"), ("-z", "zstd")] {
        bench.tamis(&format!("refilter {codec} zlib {name}")).expect(0);
    }
    make.signature = b"TAMIS   ";
    bench.put("lz4", &make.bytes());
    bench.tamis("verify zstd").expect(0).says("zstd: old readers").says("tamis refilter -c");
    bench.tamis("verify lz4").expect(0).says("LZ4: crash, drgn").says("tamis refilter -c");
    for sound in ["zlib", "lzo"] {
        let run = bench.tamis(&format!("verify --json {sound}"));
        assert!(run.expect(0).text().contains(r#""warnings": []"#), "{}", run.text());
    }
}

/// A note, little-endian.
fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [name.len() as u32, desc.len() as u32, kind] {
        out.extend(word.to_le_bytes());
    }
    for part in [name, desc] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}
