//! Shapes of vmcores that come in, and of kdump-compressed files that go out.

use std::fs;

use tamis_tests::check::{assert_dump, page_faults};
use tamis_tests::dumpread::{Descriptor, Dump, FLAG_LZ4, FLAG_ZLIB, STATUS_INCOMPLETE};
use tamis_tests::oracle::expect;
use tamis_tests::synth::{
    Class, Content, Image, KernelStyle, Load, Machine, NO_PADDR, Note, marker,
};
use tamis_tests::zoo::zoo;

use crate::common::Bench;

/// A few pages of every content, all of the kernel's; nothing that can be left out but zeros.
fn plain(style: KernelStyle) -> Machine {
    Machine::new(style)
        .ram(0x100..0x200)
        .put(0x100, Class::Kernel)
        .fill(0x100..0x120, Content::Stamp)
        .fill(0x120..0x140, Content::Noise)
        .fill(0x140..0x160, Content::Text)
        .fill(0x160..0x161, Content::LastByte)
        .fill(0x161..0x162, Content::FirstByte)
        .fill(0x1f0..0x200, Content::Stamp)
}

fn flags_of(dump: &Dump, pfn: u64) -> u32 {
    let found = dump.descriptors().unwrap().into_iter().find(|(frame, _)| *frame == pfn);
    found.unwrap_or_else(|| panic!("frame {pfn:#x} is not in the dump")).1.flags
}

#[test]
fn pages_are_raw_unless_told_otherwise() {
    let bench = Bench::new(plain(KernelStyle::V6_12).build());
    for level in [0, 1] {
        let (_, dump) = bench.check::<&str>(level, &[]);
        assert_eq!(dump.header.signature, *b"KDUMP   ");
        assert_eq!(dump.header.status & !STATUS_INCOMPLETE, 0, "no compression bit");
        for pfn in [0x100, 0x120, 0x140] {
            assert_eq!(flags_of(&dump, pfn), 0);
        }
    }
}

#[test]
fn zlib_pages() {
    let bench = Bench::new(plain(KernelStyle::V6_12).build());
    for level in [0, 1] {
        let (_, dump) = bench.check(level, &["-c"]);
        assert_eq!(dump.header.signature, *b"KDUMP   ");
        assert_eq!(dump.header.status, FLAG_ZLIB);
        assert_eq!(flags_of(&dump, 0x100), FLAG_ZLIB);
        assert_eq!(flags_of(&dump, 0x140), FLAG_ZLIB);
        assert_eq!(flags_of(&dump, 0x120), 0, "what does not shrink is stored as it is");
    }
}

#[test]
fn lz4_pages_have_a_signature_of_their_own() {
    let bench = Bench::new(plain(KernelStyle::V6_12).build());
    for level in [0, 1] {
        let (_, dump) = bench.check(level, &["--lz4"]);
        assert_eq!(dump.header.signature, *b"TAMIS   ");
        assert_eq!(dump.header.status, FLAG_LZ4);
        assert_eq!(flags_of(&dump, 0x100), FLAG_LZ4);
        assert_eq!(flags_of(&dump, 0x140), FLAG_LZ4);
        assert_eq!(flags_of(&dump, 0x120), 0, "what does not shrink is stored as it is");
    }
}

#[test]
fn zero_pages_share_one_descriptor() {
    let bench = Bench::new(plain(KernelStyle::V6_12).build());
    let (_, dump) = bench.check::<&str>(1, &[]);
    let zero = Descriptor { offset: dump.data_at(), size: 4096, flags: 0 };
    for (pfn, descriptor) in dump.descriptors().unwrap() {
        assert_eq!(descriptor == zero, bench.image.expects_zero(pfn), "frame {pfn:#x}");
    }
}

#[test]
fn header_tells_of_the_dead_kernel() {
    let bench = Bench::new(plain(KernelStyle::V6_12).cpus(5).kaslr(0x200_0000, 0x600_0000).build());
    let (_, dump) = bench.check::<&str>(1, &[]);
    let h = &dump.header;
    assert_eq!(
        h.utsname,
        ["Linux", "synth", "6.12.9-synth", "#1 SMP synthetic", "x86_64", "(none)"]
            .map(String::from)
    );
    assert_eq!(h.nr_cpus, 5);
    assert_eq!(h.phys_base as i64, 0x600_0000 - 0x100_0000 - 0x200_0000);
    assert_eq!((h.start_pfn_64, h.end_pfn_64), (0, 0));
    assert_eq!((h.offset_eraseinfo, h.size_eraseinfo), (0, 0));
}

#[test]
fn last_line_of_vmcoreinfo_with_and_without_newline() {
    for newline in [false, true] {
        let image = zoo(KernelStyle::V6_12).trailing_newline(newline).build();
        assert_eq!(image.vmcoreinfo.ends_with('\n'), newline);
        let bench = Bench::new(image);
        let (_, dump) = bench.check::<&str>(31, &[]);
        assert_eq!(dump.header.tv_sec, 1_700_000_000);
    }
}

#[test]
fn without_a_crash_time() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).without_key("CRASHTIME").build());
    let (_, dump) = bench.check::<&str>(31, &[]);
    assert_eq!(dump.header.tv_sec, 0);
}

#[test]
fn notes_of_all_sorts_are_copied() {
    let machine = zoo(KernelStyle::V6_12)
        .front_note(Note::device_dump("synth0", &[0x5a; 9000]))
        .front_note(Note::device_dump("synth1", &[]))
        .back_note(Note::new("QEMU", 0, [1; 432]))
        .back_note(Note::new("X", 0x1234_5678, [7; 3]))
        .back_note(Note { name: vec![], kind: 9, desc: vec![1, 2, 3, 4] })
        .back_note(Note::new("a name far longer than any that is known", 1, []))
        .cpus(17);
    let bench = Bench::new(machine.build());
    let (_, dump) = bench.check::<&str>(31, &[]);
    assert!(dump.header.sub_hdr_size > 3);
}

#[test]
fn a_note_segment_of_many_megabytes() {
    let dump_note = Note::device_dump("synth0", &vec![0x77; 24 << 20]);
    let bench = Bench::new(zoo(KernelStyle::V6_12).front_note(dump_note).build());
    let (_, dump) = bench.check::<&str>(31, &[]);
    assert!(dump.header.sub_hdr_size > 6144);
}

#[test]
fn the_last_vmcoreinfo_note_wins() {
    let image = zoo(KernelStyle::V6_12).build();
    let decoy = "OSRELEASE=1.2.3\nPAGESIZE=4096\nNUMBER(PG_lru)=1\nCRASHTIME=1\n";
    let mut image = image;
    image.notes.insert(0, Note::new("VMCOREINFO", 0, decoy));
    Bench::new(image).check::<&str>(31, &[]);
}

/// A zoo with its loads changed.
fn with_loads(change: impl FnOnce(&mut Vec<Load>)) -> Image {
    let mut image = zoo(KernelStyle::V6_12).build();
    change(&mut image.loads);
    image
}

fn check_both(image: Image) {
    let bench = Bench::new(image);
    for level in [0, 31] {
        bench.check::<&str>(level, &[]);
        bench.check(level, &["--mmap", "--cyclic-buffer", "1"]);
    }
}

#[test]
fn loads_in_any_order() {
    check_both(with_loads(|loads| loads.reverse()));
}

#[test]
fn loads_cut_in_pieces() {
    check_both(with_loads(|loads| {
        let whole = loads.remove(1);
        for n in (0..4).rev() {
            let part = whole.memsz / 4;
            let (vaddr, paddr) = (whole.vaddr + n * part, whole.paddr + n * part);
            loads.push(Load::new(vaddr, paddr, part));
        }
    }));
}

#[test]
fn loads_that_are_not_page_aligned() {
    // The zoo in three loads whose borders lie inside pages; frame 0x180 is in two of them, and
    // the first bytes of the first frame and the last of the last are in none.
    check_both(with_loads(|loads| {
        let whole = loads.remove(1);
        let (start, end) = (whole.paddr, whole.paddr + whole.memsz);
        let cut = start + 0x8_0000;
        for (from, to) in
            [(start + 0x234, cut + 0x9a1), (cut + 0x9a1, cut + 0x5008), (cut + 0x6ff0, end - 0x10)]
        {
            loads.push(Load::new(whole.vaddr + (from - start), from, to - from));
        }
    }));
}

#[test]
fn overlapping_loads_the_first_wins() {
    check_both(with_loads(|loads| {
        let whole = loads[1];
        let mut other = Load::new(whole.vaddr, whole.paddr + 0x4_0800, 0x2_0000);
        other.fill = Some(0xee);
        loads.insert(1, other); // before the whole one: its bytes count
        let mut hidden = Load::new(whole.vaddr, whole.paddr + 0x8_0000, 0x2_0000);
        hidden.fill = Some(0xdd);
        loads.push(hidden); // behind the whole one: never seen
    }));
}

#[test]
fn memory_that_is_named_but_not_stored() {
    check_both(with_loads(|loads| {
        let whole = loads[1];
        loads[1].filesz = 0x7_0000;
        // Part of what the first does not store is in another, which ends inside a page.
        let at = whole.paddr + 0xa_0000;
        let mut other = Load::new(whole.vaddr + 0xa_0000, at, 0x2_0000);
        other.filesz = 0x1_0123;
        loads.push(other);
        // And a load that stores nothing at all.
        let mut empty = Load::new(0, 0x9000_0000, 0x4000);
        empty.filesz = 0;
        loads.push(empty);
    }));
}

#[test]
fn loads_without_a_physical_address() {
    check_both(with_loads(|loads| {
        let mut none = Load::new(0xffff_ffff_a000_0000, NO_PADDR, 0x10_0000);
        none.offset = Some(0);
        loads.insert(0, none);
        loads.push(Load { vaddr: 0xffff_c900_0000_0000, ..none });
    }));
}

#[test]
fn loads_of_no_bytes() {
    check_both(with_loads(|loads| {
        loads.push(Load::new(0, 0x5000, 0));
        loads.push(Load::new(0, 0x6123, 0));
    }));
}

#[test]
fn program_headers_away_from_the_elf_header() {
    let mut image = zoo(KernelStyle::V6_12).build();
    image.e_phoff = 0x1230;
    Bench::new(image).check::<&str>(31, &[]);
}

#[test]
fn extended_numbering_where_it_is_not_needed() {
    let mut image = zoo(KernelStyle::V6_12).build();
    image.force_xnum = true;
    Bench::new(image).check::<&str>(31, &[]);
}

/// 70,000 loads of one page each, every second frame; three of them not zero.
pub fn crumbs() -> Image {
    let mut machine = Machine::new(KernelStyle::V6_12).without_vmcoreinfo();
    for pfn in [0x2_0000, 0x2_8000, 0x3_0000] {
        machine = machine.fill(pfn..pfn + 1, Content::Stamp);
    }
    let mut image = machine.build();
    image.loads = (0..70_000).map(|n| Load::new(0, (0x2_0000 + 2 * n) << 12, 4096)).collect();
    image
}

#[test]
fn more_loads_than_sixteen_bits_count() {
    let bench = Bench::new(crumbs());
    for options in [&[][..], &["--cyclic-buffer", "1"], &["--mmap"]] {
        bench.check(1, options);
    }
}

#[test]
fn no_vmcoreinfo_leaves_zero_pages_out_only() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).without_vmcoreinfo().build());
    for level in [0, 1] {
        bench.check::<&str>(level, &[]);
    }
    // Higher levels cannot be had, which is no reason to have no dump.
    let (run, dump) = bench.dump(&["-d", "31"]);
    run.says("VMCOREINFO");
    // And the header says so.
    let expected = expect(&bench.image, 1);
    assert_dump(&dump, &bench.image, &expected, "level 31 without VMCOREINFO");
}

/// The note in a page of its own, as kernels since 4.13 keep it; the text alone at some word, as earlier ones; and no text,
/// or one of another kernel.
#[test]
fn the_kernels_own_vmcoreinfo_is_found_in_memory() {
    const PFN: u64 = 0xc00;
    let machine = || zoo(KernelStyle::V6_12).fill(PFN..PFN + 2, Content::Stamp);
    let known = machine().build();
    let text = &known.vmcoreinfo;
    let mut note = vec![11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    note[4..8].copy_from_slice(&(text.len() as u32).to_le_bytes());
    note.extend(b"VMCOREINFO\0\0");
    note.extend(text.as_bytes());
    let at_a_word = [&[0; 0x7fc][..], text.as_bytes(), &[0]].concat();
    let release = text.lines().next().unwrap();
    let other = text.replacen(release, "OSRELEASE=6.99.0", 1);
    let cases: [(&[u8], u32); 4] = [(&note, 31), (&at_a_word, 31), (other.as_bytes(), 1), (&[], 1)];
    for (bytes, level) in cases {
        let bench = Bench::new(machine().without_vmcoreinfo().build());
        let mut file = fs::read(&bench.vmcore).unwrap();
        let marker = marker(PFN);
        let at = file.windows(16).position(|bytes| bytes == marker).unwrap();
        file[at..at + 2 * 4096].fill(0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&bench.vmcore, &file).unwrap();
        for options in [&["-d", "31"][..], &["-d", "31", "--mmap"], &["-d", "31", "-E"]] {
            let run = bench.run(options, &bench.file("dump"));
            run.expect(0);
            let says = run.text().contains("the kernel's own copy in memory is used");
            assert_eq!(says, level == 31, "{}", run.text());
            fs::remove_file(bench.file("dump")).unwrap();
        }
        let (run, dump) = bench.dump(&["-d", "31"]);
        if level == 31 {
            let expected = expect(&known, level);
            assert_dump(&dump, &bench.image, &expected, "a copy of VMCOREINFO in memory");
        } else {
            run.says("there is no VMCOREINFO");
        }
    }
}

#[test]
fn a_vmcore_cut_short() {
    // The last 64 pages of the zoo are past the end of the file.
    let mut image = zoo(KernelStyle::V6_12).fill(0xd00..0xe00, Content::Stamp).build();
    let zoo_load = image.loads.remove(1);
    image.loads.push(zoo_load);
    let bench = Bench::new(image);
    let file = fs::OpenOptions::new().write(true).open(&bench.vmcore).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - 64 * 4096).unwrap();
    let mut dumps = Vec::new();
    for options in [&["-d", "0"][..], &["-d", "0", "--mmap"]] {
        let output = bench.file("cut");
        bench.run(options, &output).expect(1);
        let dump = Dump::open(&output).unwrap();
        assert_ne!(dump.header.status & STATUS_INCOMPLETE, 0, "{options:?}: marked incomplete");
        let mut lost = 0;
        for (pfn, descriptor) in dump.descriptors().unwrap() {
            if !(0xdc0..0xe00).contains(&pfn) {
                let page = dump.decode(descriptor).unwrap();
                assert!(page == bench.image.expected_page(pfn).unwrap(), "frame {pfn:#x}");
            } else if descriptor == (Descriptor { offset: 0, size: 0, flags: 0 }) {
                lost += 1;
            }
        }
        assert_eq!(lost, 64, "{options:?}: pages past the end have empty descriptors");
        dumps.push(dump);
        fs::remove_file(output).unwrap();
    }
    assert!(dumps[0].bytes() == dumps[1].bytes(), "mapped and read input differ");
}

#[test]
fn files_that_are_no_vmcores_are_refused() {
    let bench = Bench::new(zoo(KernelStyle::V6_12).build());
    let good = fs::read(&bench.vmcore).unwrap();
    let mut class32 = good.clone();
    class32[4] = 3;
    let mut executable = good.clone();
    executable[16] = 2;
    let mut no_loads = good.clone();
    no_loads[56..58].copy_from_slice(&1u16.to_le_bytes());
    let mut far = good.clone();
    far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    let cases: [(&str, &[u8]); 8] = [
        ("an empty file", &[]),
        ("text", b"this is not a vmcore, whatever its name says\n"),
        ("a header cut short", &good[..40]),
        ("program headers cut short", &good[..100]),
        ("an unknown class", &class32),
        ("an executable", &executable),
        ("no PT_LOAD", &no_loads),
        ("e_phoff past the end", &far),
    ];
    for (what, bytes) in cases {
        fs::write(&bench.vmcore, bytes).unwrap();
        let output = bench.file("refused");
        let run = bench.run(&["-d", "1"], &output);
        assert_eq!(run.code, Some(1), "{what}: {}", run.text());
        assert!(!output.exists(), "{what}: a file is left");
        assert!(!run.text().trim().is_empty(), "{what}: no word why");
    }
}

#[test]
fn all_that_is_kept_decodes_with_every_codec() {
    // Pages on which match finders stumble: runs, near-runs, short periods.
    let bench = Bench::new(
        plain(KernelStyle::V6_12)
            .ram(0x400..0x800)
            .fill(0x400..0x600, Content::Text)
            .fill(0x600..0x800, Content::Noise)
            .build(),
    );
    for options in [&["-c"][..], &["--lz4"], &[]] {
        let (_, dump) = bench.check(0, options);
        assert!(page_faults(&dump, &bench.image).is_empty());
    }
}
