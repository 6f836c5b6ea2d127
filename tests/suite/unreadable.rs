//! Memory that cannot be read: I/O errors, hwpoison, mappings that fault.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::process::{Command, Stdio};

use tamis_core::capture::{Notice, Report};
use tamis_core::io::Sink;
use tamis_tests::broken::{Broken, Way};
use tamis_tests::disk::Disk;
use tamis_tests::dumpread::{Dump, STATUS_INCOMPLETE};
use tamis_tests::elfread::Elf;
use tamis_tests::flat;
use tamis_tests::judge::Own;
use tamis_tests::oracle::{Fate, expect};
use tamis_tests::rig::{self, CODECS, Watch, Wish};
use tamis_tests::run::{Run, capture_binary};
use tamis_tests::synth::{Content, Image, KernelStyle, Machine, Noise};
use tamis_tests::zoo::zoo;

use tamis_core::input::kdump::{Unpack, codec_of};
use tamis_core::wire::disk_header::Signature;
use tamis_core::wire::page_desc::CodecFlags;

use crate::common::Bench;

const WAYS: [Way; 3] = [Way::Error, Way::Poisoned, Way::Fault];

fn machine() -> Image {
    zoo(KernelStyle::V6_12).fill(0x200..0x240, Content::Text).build()
}

/// File offsets of frames in a machine's vmcore.
fn offsets(image: &Image, vmcore: &[u8], pfns: Range<u64>) -> Vec<Range<u64>> {
    let elf = Elf::parse(vmcore).unwrap();
    let loads =
        elf.of_kind(1).filter(|load| image.ram.iter().any(|r| r.contains(&(load.paddr / 4096))));
    let parts = loads.filter_map(|load| {
        let start = (pfns.start * 4096).max(load.paddr);
        let end = (pfns.end * 4096).min(load.paddr + load.filesz);
        (start < end).then(|| load.offset + start - load.paddr..load.offset + end - load.paddr)
    });
    parts.collect()
}

fn capture(vmcore: &mut Broken<'_>, wish: Wish, disk: &mut Disk, watch: &mut Watch) -> Report {
    let mut sinks: [&mut dyn Sink; 1] = [disk];
    let outcome = rig::capture(vmcore, wish, &mut sinks, watch);
    outcome.result.expect("unreadable memory ends no capture");
    outcome.report
}

/// Decodes a page with the engine's decoders; what the independent reader cannot is checked too.
fn page(dump: &Dump, descriptor: tamis_tests::dumpread::Descriptor) -> Vec<u8> {
    let at = descriptor.offset as usize..descriptor.offset as usize + descriptor.size as usize;
    let stored = &dump.bytes()[at];
    match codec_of(CodecFlags::from_bits_retain(descriptor.flags), Signature::Tamis) {
        None => stored.to_vec(),
        Some(codec) => {
            let mut page = vec![0; 4096];
            Own::default().unpack(codec, stored, &mut page).expect("a sound page");
            page
        }
    }
}

#[test]
fn pages_that_cannot_be_read_keep_their_bits() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    let mut chance = Noise::new(3);
    let mut all = 0;
    for level in [31, 1, 0] {
        let expected = expect(&image, level);
        let kept: Vec<u64> = (0..expected.fates.len() as u64)
            .filter(|pfn| expected.fates[*pfn as usize] == Fate::Keep && *pfn < 0xe00)
            .collect();
        for codec in CODECS {
            for way in WAYS {
                // Some alone, some in a row.
                let mut lost = BTreeSet::new();
                for n in 0..6 {
                    let at = (chance.next_u64() >> 20) as usize % kept.len();
                    lost.extend(kept[at..].iter().take(1 + n * n));
                }
                let parts = lost.iter().flat_map(|pfn| offsets(&image, &vmcore, *pfn..pfn + 1));
                let mut source = Broken::new(&vmcore, parts.collect(), way);
                let (mut disk, mut watch) = (Disk::new(), Watch::default());
                let wish = Wish::new(codec, level as u8);
                let report = capture(&mut source, wish, &mut disk, &mut watch);
                let what = format!("{codec} -d {level} {way:?}");
                let dump = Dump::new(disk.file).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_ne!(dump.header.status & STATUS_INCOMPLETE, 0, "{what}: not marked");
                assert!(report.incomplete, "{what}");
                assert_eq!(report.tally.unreadable, lost.len() as u64, "{what}");
                assert_eq!(report.saved + report.tally.unreadable, report.tally.kept, "{what}");
                let told: BTreeSet<u64> = watch
                    .notices
                    .iter()
                    .filter_map(
                        |n| if let Notice::PageLost(pfn, _) = n { Some(pfn.0) } else { None },
                    )
                    .collect();
                assert_eq!(told, lost, "{what}: other pages are named");
                for (pfn, descriptor) in dump.descriptors().unwrap() {
                    if lost.contains(&pfn) {
                        assert_eq!(descriptor.size, 0, "{what}: frame {pfn:#x}");
                    } else {
                        let wanted = image.expected_page(pfn).unwrap();
                        assert!(page(&dump, descriptor) == wanted, "{what}: frame {pfn:#x}");
                    }
                }
                for pfn in &lost {
                    assert!(dump.bit(2, *pfn), "{what}: frame {pfn:#x} has no bit");
                }
                all += lost.len();
            }
        }
    }
    assert!(all > 500, "only {all} pages");
}

#[test]
fn mappings_that_fault_where_reads_work_lose_nothing() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for codec in CODECS {
        for elf in [false, true] {
            let wish = Wish { elf, ..Wish::new(codec, 31) };
            if elf && !codec.is_empty() {
                continue;
            }
            let mut whole = Disk::new();
            capture(
                &mut Broken::new(&vmcore, vec![], Way::Error),
                wish,
                &mut whole,
                &mut Watch::default(),
            );
            let parts = offsets(&image, &vmcore, 0x110..0x113).into_iter().chain(offsets(
                &image,
                &vmcore,
                0x203..0x230,
            ));
            let mut source = Broken::new(&vmcore, parts.collect(), Way::FaultOnly);
            let mut disk = Disk::new();
            let report = capture(&mut source, wish, &mut disk, &mut Watch::default());
            assert!(!report.incomplete, "{codec}");
            assert!(disk.file == whole.file, "{codec} {elf}: another dump");
        }
    }
}

#[test]
fn an_elf_file_without_some_pages_has_zeros_and_says_so() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    let expected = expect(&image, 0);
    for way in WAYS {
        let parts = offsets(&image, &vmcore, 0x202..0x206);
        let mut source = Broken::new(&vmcore, parts, way);
        let (mut disk, mut watch) = (Disk::new(), Watch::default());
        let report = capture(&mut source, Wish::new("", 0).elf(), &mut disk, &mut watch);
        assert_eq!((report.tally.unreadable, report.incomplete), (4, true), "{way:?}");
        let elf = Elf::parse(&disk.file).unwrap();
        assert_eq!(elf.e_flags & 1, 1, "{way:?}");
        for load in elf.of_kind(1).filter(|load| load.paddr < 0xe00 << 12) {
            for (n, page) in elf.segment(&disk.file, load).unwrap().chunks(4096).enumerate() {
                let pfn = load.paddr / 4096 + n as u64;
                let gone =
                    (0x202..0x206).contains(&pfn) || expected.fates[pfn as usize] != Fate::Keep;
                let wanted = if gone { vec![0; 4096] } else { image.expected_page(pfn).unwrap() };
                assert!(page == wanted, "{way:?}: frame {pfn:#x}");
            }
        }
    }
}

#[test]
fn a_mem_map_that_cannot_be_read_keeps_its_pages() {
    // Frames of the builder's own region: its structures are among them.
    let image = machine();
    let vmcore = rig::vmcore(&image);
    let expected = expect(&image, 31);
    let meta = image.ram.iter().map(|range| range.end).max().unwrap();
    let first = (48 << 20 >> 12) + (4 << 20 >> 12);
    let mut undecided = 0;
    for way in WAYS {
        for pfn in first..meta {
            let parts = offsets(&image, &vmcore, pfn..pfn + 1);
            let mut source = Broken::new(&vmcore, parts, way);
            let (mut disk, mut watch) = (Disk::new(), Watch::default());
            let report = capture(&mut source, Wish::new("", 31), &mut disk, &mut watch);
            let dump = Dump::new(disk.file).unwrap_or_else(|e| panic!("{pfn:#x} {way:?}: {e}"));
            for (frame, fate) in expected.fates.iter().enumerate() {
                let kept = dump.bit(2, frame as u64);
                assert!(kept || *fate != Fate::Keep, "{pfn:#x} {way:?}: frame {frame:#x} dropped");
            }
            undecided += report.tally.undecided;
        }
    }
    assert!(undecided > 1000, "{undecided} pages: no slice of the mem_map was hit");
}

/// A vmcore that is cut off while it is read: its end is no longer there when it is looked at.
fn cut_while_read(bench: &Bench, mapped: bool, bytes: u64) -> (Run, Vec<u8>) {
    let mut command = Command::new(capture_binary());
    command.args(["-F", "-d", "0"]).args(mapped.then_some("--mmap")).arg(&bench.vmcore);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stream = vec![0; 4096];
    let mut pipe = child.stdout.take().unwrap();
    // It has begun, and does not come far: nobody reads on.
    pipe.read_exact(&mut stream).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&bench.vmcore).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - bytes).unwrap();
    pipe.read_to_end(&mut stream).unwrap();
    let mut stderr = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    use std::os::unix::process::ExitStatusExt;
    let (code, signal) = (status.code(), status.signal());
    (Run { code, signal, stdout: Vec::new(), stderr, args: Vec::new() }, stream)
}

#[test]
fn a_vmcore_that_loses_its_end_while_it_is_read() {
    // Whole pages, and half of one more: that is lost as a whole, however it is looked at.
    for (mapped, half) in [(true, 0), (false, 0), (true, 2048), (false, 2048), (true, 1)] {
        // The last 64 pages of the zoo are the end of the file.
        let mut image = zoo(KernelStyle::V6_12).fill(0x200..0xe00, Content::Noise).build();
        let zoo_load = image.loads.remove(1);
        image.loads.push(zoo_load);
        let bench = Bench::new(image);
        let (run, stream) = cut_while_read(&bench, mapped, 64 * 4096 + half);
        let first = if half > 0 { 0xdbf } else { 0xdc0 };
        run.expect(1).says(&format!("pfn {first:#x} lost"));
        run.says(&format!("in all, {} pages could not be read", 0xe00 - first));
        let text = run.text();
        assert!(text.matches(" lost: ").count() <= 8, "a line for every page:\n{text}");
        let (file, ends) = flat::rearrange_cut(&stream).unwrap();
        assert!(!ends, "a stream without some pages has an end");
        let dump = Dump::new(file).unwrap();
        let mut lost = 0;
        for (pfn, descriptor) in dump.descriptors().unwrap() {
            if descriptor.size == 0 {
                lost += 1;
                assert!((first..0xe00).contains(&pfn), "frame {pfn:#x} is lost");
            } else {
                let right =
                    dump.decode(descriptor).unwrap() == bench.image.expected_page(pfn).unwrap();
                assert!(right, "frame {pfn:#x}");
            }
        }
        assert_eq!(lost, 0xe00 - first, "mapped: {mapped}, {half} bytes more");
    }
}

#[test]
fn many_lost_pages_are_few_lines() {
    let mut image = Machine::new(KernelStyle::V6_12)
        .ram(0x100..0x900)
        .fill(0x100..0x900, Content::Stamp)
        .build();
    let load = image.loads.remove(1);
    image.loads.push(load);
    let bench = Bench::new(image);
    let file = fs::OpenOptions::new().write(true).open(&bench.vmcore).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - 1024 * 4096).unwrap();
    for options in [&["-d", "31"][..], &["-d", "31", "-c", "--mmap"], &["-d", "31", "-E"]] {
        let output = bench.file("few");
        let run = bench.run(&[options, &["--show-stats"]].concat(), &output);
        run.expect(1).says("in all, 1024 pages could not be read");
        run.says("Unreadable pages");
        assert!(run.stderr.len() < 4096, "{} bytes of messages:\n{}", run.stderr.len(), run.text());
        fs::remove_file(&output).unwrap();
    }
}
