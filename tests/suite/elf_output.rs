//! ELF output.

use std::fs;

use tamis_tests::check;
use tamis_tests::elfread::{Elf, Phdr};
use tamis_tests::oracle::{Expected, Fate, Reason, expect};
use tamis_tests::synth::{Class, Content, Image, KernelStyle, Load, Machine};
use tamis_tests::zoo::zoo;

use crate::common::{Bench, foreign_markers};
use crate::formats::crumbs;

/// Runs of excluded pages from this length on start a new segment.
const RUN: u64 = 256;

/// A segment as it should be written: first frame, pages in memory, pages in the file.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    start: u64,
    memory: u64,
    file: u64,
}

fn excluded(expected: &Expected, pfn: u64) -> bool {
    match expected.fates[pfn as usize] {
        Fate::Keep => expected.level & 1 != 0 && expected.zero[pfn as usize],
        Fate::Hole => panic!("frame {pfn:#x} of a load is a hole"),
        Fate::Either => panic!("frame {pfn:#x} has no certain fate"),
        Fate::NoData | Fate::Drop(_) => true,
    }
}

/// Cuts one page-aligned load: a new piece starts with the first page kept after a long run of
/// excluded ones; what is excluded at a piece's end is not in the file.
fn pieces(load: &Load, expected: &Expected) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut piece = Piece { start: load.paddr >> 12, memory: 0, file: 0 };
    let mut run = 0;
    for pfn in load.frames() {
        if excluded(expected, pfn) {
            run += 1;
            continue;
        }
        if run >= RUN {
            let start = pfn;
            piece.memory = start - piece.start;
            out.push(std::mem::replace(&mut piece, Piece { start, memory: 0, file: 0 }));
        }
        run = 0;
        piece.file = pfn + 1 - piece.start;
    }
    piece.memory = load.frames().end - piece.start;
    out.push(piece);
    out
}

/// Everything about the file: headers, notes, data.
fn check_file(image: &Image, level: u32, bytes: &[u8]) {
    let expected = expect(image, level);
    let elf = Elf::parse(bytes).unwrap();
    assert_eq!((elf.e_type, elf.e_machine, elf.e_phoff, elf.e_flags), (4, 62, 64, 0));

    let mut wanted = Vec::new();
    let mut frames = Vec::new();
    let cut: Vec<_> = image.loads.iter().map(|load| (load, pieces(load, &expected))).collect();
    let count = 1 + cut.iter().map(|(_, pieces)| pieces.len()).sum::<usize>() as u64;
    let extended = count >= 0xffff;
    let notes = image.note_bytes();
    let mut next = 64 + 56 * count + if extended { 64 } else { 0 };
    let len = notes.len() as u64;
    wanted.push(Phdr {
        kind: 4,
        flags: 0,
        offset: next,
        vaddr: 0,
        paddr: 0,
        filesz: len,
        memsz: len,
        align: 0,
    });
    let notes_end = next + len;
    // The data begins with a whole page.
    next = notes_end.next_multiple_of(4096);
    for (load, pieces) in &cut {
        for (n, piece) in pieces.iter().enumerate() {
            let empty = piece.file == 0 && n + 1 < pieces.len();
            let paddr = piece.start << 12;
            wanted.push(Phdr {
                kind: 1,
                flags: load.flags,
                offset: if empty { 0 } else { next },
                vaddr: load.vaddr + (paddr - load.paddr),
                paddr,
                filesz: piece.file << 12,
                memsz: piece.memory << 12,
                align: load.align,
            });
            frames.extend(piece.start..piece.start + piece.file);
            next += piece.file << 12;
        }
    }
    assert_eq!(elf.phdrs, wanted, "program headers at level {level}");
    if extended {
        assert_eq!((elf.e_phnum, elf.e_shnum, elf.e_shentsize), (0xffff, 1, 64));
        assert_eq!(elf.e_shoff, 64 + 56 * count);
    } else {
        assert_eq!((elf.e_shoff, elf.e_shnum, elf.e_shentsize, elf.e_shstrndx), (0, 0, 0, 0));
    }
    assert!(elf.segment(bytes, &elf.phdrs[0]).unwrap() == notes, "the notes' copy");
    let end = if frames.is_empty() { notes_end } else { next };
    assert_eq!(bytes.len() as u64, end, "the file ends with its last page");
    let data = &bytes[(end - 4096 * frames.len() as u64) as usize..];
    for (page, pfn) in data.chunks(4096).zip(frames) {
        // A page left out inside a short run is zero: never what was in it.
        let out = excluded(&expected, pfn);
        let wanted = if out { vec![0; 4096] } else { image.expected_page(pfn).unwrap() };
        assert!(page == wanted, "frame {pfn:#x} at level {level}, excluded: {out}");
    }
    let kept = |pfn: u64| expected.fates[pfn as usize] == Fate::Keep;
    assert_eq!(foreign_markers(bytes, kept), Vec::<u64>::new(), "contents of excluded pages");
}

fn elf(bench: &Bench, level: u32, options: &[&str]) -> Vec<u8> {
    let output = bench.file("elf");
    let level = level.to_string();
    let run = bench.run(&[&["-E", "-d", &level, "--show-stats"], options].concat(), &output);
    run.expect(0);
    let bytes = fs::read(&output).unwrap();
    fs::remove_file(output).unwrap();
    let expected = expect(&bench.image, level.parse().unwrap());
    for reason in Reason::ALL {
        let wanted = expected.tally.get(&reason).copied().unwrap_or(0);
        assert_eq!(check::report_number(&run.text(), reason.label()), Some(wanted), "{reason:?}");
    }
    bytes
}

fn check_levels(image: Image, levels: &[u32]) {
    let bench = Bench::new(image);
    for &level in levels {
        let whole = elf(&bench, level, &[]);
        check_file(&bench.image, level, &whole);
        for options in [&["--cyclic-buffer", "1"][..], &["--cyclic-buffer", "3"], &["--mmap"]] {
            assert!(elf(&bench, level, options) == whole, "level {level}: {options:?} differs");
        }
    }
}

#[test]
fn the_zoo() {
    for style in [KernelStyle::V4_6, KernelStyle::V5_10, KernelStyle::V6_12] {
        check_levels(zoo(style).build(), &[0, 1, 2, 8, 16, 30, 31]);
    }
}

/// Free pages in runs of 255, 256 and 257, at the start, in the middle and at the end of loads.
fn runs() -> Image {
    let mut machine = Machine::new(KernelStyle::V6_12).ram(0x1000..0x2000).ram(0x8000..0x8400);
    for (start, len) in [
        (0x1000, 256), // a load that begins with a long run
        (0x1104, 255),
        (0x1207, 256),
        (0x130a, 257),
        (0x1411, 1),
        (0x1f00, 256), // and ends with one
        (0x8000, 255), // begins with a short run
        (0x8301, 255), // and ends with one
    ] {
        for pfn in start..start + len {
            machine = machine.put(pfn, Class::Free { order: 0 });
        }
    }
    machine.fill(0x1000..0x2000, Content::Stamp).fill(0x8000..0x8400, Content::Noise).build()
}

#[test]
fn short_runs_are_stored_as_zeros_and_long_ones_start_a_segment() {
    check_levels(runs(), &[0, 16, 17]);
}

#[test]
fn a_load_left_out_whole() {
    let machine =
        zoo(KernelStyle::V6_12).ram(0x4_0000..0x4_0400).put(0x4_0000, Class::Free { order: 10 });
    check_levels(machine.fill(0x4_0000..0x4_0400, Content::Stamp).build(), &[1, 16]);
}

#[test]
fn memory_that_was_not_stored_before() {
    // As when an ELF dump is filtered once more.
    let mut image = zoo(KernelStyle::V6_12).build();
    let load = &mut image.loads[1];
    load.filesz = 0xb0_0000;
    check_levels(image, &[0, 31]);
}

#[test]
fn more_segments_than_sixteen_bits_count() {
    let bench = Bench::new(crumbs());
    check_file(&bench.image, 1, &elf(&bench, 1, &[]));
    check_file(&bench.image, 0, &elf(&bench, 0, &["--cyclic-buffer", "1"]));
}

#[test]
fn extended_numbering_of_the_input_is_not_inherited() {
    let mut image = zoo(KernelStyle::V6_12).build();
    image.force_xnum = true;
    check_levels(image, &[31]);
}

#[test]
fn loads_that_are_not_page_aligned() {
    // Bytes of the input's loads that are kept stand at their addresses; the rest reads as zero.
    let mut image = zoo(KernelStyle::V6_12).build();
    let load = &mut image.loads[1];
    load.paddr += 0x123;
    load.vaddr += 0x123;
    load.filesz -= 0x123 + 0x777;
    load.memsz = load.filesz;
    let (start, end) = (load.paddr, load.paddr + load.memsz);
    let bench = Bench::new(image);
    for level in [0, 1, 31] {
        let bytes = elf(&bench, level, &[]);
        let elf = Elf::parse(&bytes).unwrap();
        let expected = expect(&bench.image, level);
        let mut next = start;
        let text = &bench.image.loads[0];
        for phdr in elf.of_kind(1).filter(|phdr| {
            (start..end).contains(&phdr.paddr) && phdr.vaddr.wrapping_sub(text.vaddr) >> 31 != 0
        }) {
            assert_eq!(phdr.paddr, next, "level {level}: a gap or overlap");
            let data = elf.segment(&bytes, phdr).unwrap();
            for pfn in next >> 12..(next + phdr.memsz).div_ceil(4096) {
                if excluded(&expected, pfn) {
                    continue;
                }
                let page = bench.image.expected_page(pfn).unwrap();
                let from = (pfn << 12).max(next);
                let to = ((pfn + 1) << 12).min(next + phdr.memsz);
                let found = data.get((from - next) as usize..(to - next) as usize);
                let wanted = &page[(from & 0xfff) as usize..][..(to - from) as usize];
                assert!(found == Some(wanted), "frame {pfn:#x} at level {level}");
            }
            next += phdr.memsz;
        }
        assert_eq!(next, end, "level {level}: the segments cover the load");
    }
}
