//! Dumps that are cut off: at every write and inside of it, by a sink that dies, is full or loses what
//! it was given, by a power cut that mixes up what was not synced, and by a capture that is stopped.
//!
//! `TAMIS_CUTS=10 cargo test -p tamis-tests --test suite cut:: -- --nocapture` tries ten times as
//! many places as usual.

use std::fs;
use std::path::Path;

use page_codec::Codec;
use tamis_core::capture::CaptureError;
use tamis_core::input::flat::{Extent, Flat, Scan, Step};
use tamis_core::io::RandomAccess;
use tamis_core::io::{Flattened, Sink};
use tamis_tests::disk::{Disk, Fault, Op, Pipe, power_cut};
use tamis_tests::dumpread::Descriptor;
use tamis_tests::flat;
use tamis_tests::judge::{Has, Look, Whole, WholeElf};
use tamis_tests::rig::{self, CODECS, Outcome, Watch, Wish};
use tamis_tests::run::{TempDir, host_command, run_command};
use tamis_tests::synth::{Content, Cpu, Image, KernelStyle, Machine, Noise};

/// How many times as many places as usual.
fn more() -> u64 {
    std::env::var("TAMIS_CUTS").map_or(1, |n| n.parse().expect("TAMIS_CUTS is a number"))
}

/// A machine with pages of every content, few enough that a dump of it is looked at in no time.
fn machine() -> Image {
    machine_on(Cpu::X86_64)
}

/// The same on another processor.
fn machine_on(cpu: Cpu) -> Image {
    let mut machine =
        Machine::new(KernelStyle::V6_12).on(cpu).ram(0x100..0x1c0).meta_at(16 << 20, 16 << 20);
    for (n, content) in [
        Content::Text,
        Content::Noise,
        Content::Stamp,
        Content::LastByte,
        Content::Text,
        Content::Zero,
        Content::Noise,
    ]
    .into_iter()
    .enumerate()
    {
        let at = 0x100 + 0x18 * n as u64;
        machine = machine.fill(at..at + 0x14, content);
    }
    machine.build()
}

/// What was tried, for those who ask.
#[derive(Default)]
struct Tried {
    cuts: u64,
    opened: u64,
    pages: u64,
    torn: u64,
    repaired: u64,
}

impl Tried {
    fn add(&mut self, has: Has) {
        self.cuts += 1;
        self.opened += u64::from(has.opens);
        self.pages += has.pages;
        self.torn += has.torn;
    }

    fn tell(&self, what: &str) {
        println!(
            "{what}: {} cuts, {} with a header, {} pages right, 0 wrong, {} descriptors half written, \
             {} repaired",
            self.cuts, self.opened, self.pages, self.torn, self.repaired
        );
    }
}

/// A capture that must succeed, into so many files.
fn record(vmcore: &[u8], wish: Wish, parts: usize) -> Vec<Disk> {
    let mut disks: Vec<Disk> = (0..parts).map(|_| Disk::new()).collect();
    let outcome = run(vmcore, wish, &mut disks, &mut Watch::default());
    outcome.result.expect("a capture without faults");
    disks
}

fn run(vmcore: &[u8], wish: Wish, disks: &mut [Disk], watch: &mut Watch) -> Outcome {
    let mut sinks: Vec<&mut dyn Sink> =
        disks.iter_mut().map(|disk| disk as &mut dyn Sink).collect();
    rig::capture(vmcore, wish, &mut sinks, watch)
}

/// Where the header first stands, and where it is written again at the end.
fn headers(ops: &[Op]) -> (usize, usize) {
    let is_header = |op: &Op| matches!(op, Op::Write(0, _));
    let first = ops.iter().position(is_header).expect("a header");
    let last = ops.iter().rposition(is_header).expect("a header");
    assert!(last > first, "the header is written twice");
    (first, last)
}

/// Something that judges cut-off files.
trait Judge {
    fn look(&self, cut: &[u8], look: Look) -> Result<Has, String>;
}

impl Judge for Whole<'_> {
    fn look(&self, cut: &[u8], look: Look) -> Result<Has, String> {
        self.judge(cut, look)
    }
}

impl Judge for WholeElf {
    fn look(&self, cut: &[u8], _: Look) -> Result<Has, String> {
        self.judge(cut)
    }
}

/// Cuts a recorded file at every write, and once inside of each.
fn cut_everywhere(what: &str, ops: &[Op], judge: &dyn Judge, seed: u64) -> Tried {
    let (first, last) = headers(ops);
    let mut chance = Noise::new(seed);
    let mut tried = Tried::default();
    let mut file = Vec::new();
    let mut before = Has::default();
    let look_at = |done: usize, cut: &[u8], tried: &mut Tried| -> Has {
        let look = if tried.cuts.is_multiple_of(16) { Look::Decode } else { Look::Bytes };
        let has = judge.look(cut, look).unwrap_or_else(|e| panic!("{what}, write {done}: {e}"));
        assert_eq!(has.wrong, 0, "{what}, write {done}: {has:?}");
        assert!(has.torn <= 1, "{what}, write {done}: {has:?}");
        assert_eq!(has.opens, done > first, "{what}, write {done}: {has:?}");
        assert!(!has.complete || done > last, "{what}, write {done}: {has:?}");
        tried.add(has);
        has
    };
    for (done, op) in ops.iter().enumerate() {
        let has = look_at(done, &file, &mut tried);
        assert!(has.pages >= before.pages, "{what}, write {done}: fewer pages than before");
        before = has;
        // What is in one sector is there at once.
        if let Op::Write(at, bytes) = op
            && at / 512 != (at + bytes.len() as u64 - 1) / 512
        {
            for _ in 0..more() {
                let mut cut = file.clone();
                op.apply(&mut cut, 1 + (chance.next_u64() >> 20) as usize % (bytes.len() - 1));
                look_at(done, &cut, &mut tried);
            }
        }
        op.apply(&mut file, usize::MAX);
    }
    let end = look_at(ops.len(), &file, &mut tried);
    assert!(end.complete, "{what}: not complete at the end");
    tried
}

/// `tamis verify` and `tamis repair` on some of the cuts.
fn verify_and_repair(what: &str, ops: &[Op], whole: &Whole<'_>, places: u64) -> u64 {
    let dir = TempDir::new();
    let (cut, out) = (dir.file("cut"), dir.file("out"));
    let (first, last) = headers(ops);
    let mut chance = Noise::new(places);
    let mut done = 0;
    for n in 0..places {
        let at = first + 1 + (last - first) * n as usize / places as usize;
        let mut file = Vec::new();
        ops[..at].iter().for_each(|op| op.apply(&mut file, usize::MAX));
        ops[at].apply(&mut file, (chance.next_u64() >> 30) as usize % 4096);
        let before = whole.judge(&file, Look::Decode).unwrap();
        if before.complete {
            continue;
        }
        fs::write(&cut, &file).unwrap();
        let verdict = tamis(&["verify".as_ref(), cut.as_ref()]);
        let expected = if before.torn > 0 { 1 } else { 2 };
        assert_eq!(verdict.0, Some(expected), "{what}, write {at}: {}", verdict.1);
        let mended = tamis(&["repair".as_ref(), "-f".as_ref(), cut.as_ref(), out.as_ref()]);
        assert_eq!(mended.0, Some(2), "{what}, write {at}: {}", mended.1);
        let repaired = fs::read(&out).unwrap();
        let after = whole.judge_repaired(&repaired).unwrap_or_else(|e| panic!("{what}, {at}: {e}"));
        let wanted = Has { torn: 0, ..before };
        assert_eq!(after, wanted, "{what}, write {at}: pages got lost or came up");
        done += 1;
    }
    done
}

fn tamis(args: &[&Path]) -> (Option<i32>, String) {
    let words = args.iter().map(|word| word.as_os_str().to_owned()).collect();
    let run = run_command(host_command().args(args), words);
    (run.code, run.text())
}

#[test]
fn every_write_of_a_file() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    let mut all = 0;
    for (n, codec) in CODECS.into_iter().enumerate() {
        for level in if n == 0 { &[31, 0][..] } else { &[31] } {
            let (what, level) = (format!("{codec} -d {level}"), *level);
            let disk = record(&vmcore, Wish::new(codec, level), 1).remove(0);
            let whole = Whole::new(disk.file.clone(), &image);
            let mut tried = cut_everywhere(&what, &disk.ops, &whole, n as u64);
            tried.repaired = verify_and_repair(&what, &disk.ops, &whole, 12 * more());
            tried.tell(&what);
            all += tried.cuts;
        }
    }
    assert!(all > 2000, "{all} cuts are not many");
}

#[test]
fn every_write_of_a_split_dump() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for (n, codec) in CODECS.into_iter().enumerate() {
        let wish = Wish::new(codec, 31);
        let disks = record(&vmcore, wish, 3);
        let mut tried = Tried::default();
        for (part, disk) in disks.iter().enumerate() {
            let whole = Whole::new(disk.file.clone(), &image);
            let what = format!("--split {codec}, part {part}");
            let part = cut_everywhere(&what, &disk.ops, &whole, n as u64);
            tried.cuts += part.cuts;
            tried.opened += part.opened;
            tried.pages += part.pages;
            tried.torn += part.torn;
        }
        tried.tell(&format!("--split {codec}"));
    }
}

#[test]
fn every_write_of_an_elf_file() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for level in [31, 0] {
        let disk = record(&vmcore, Wish::new("", level).elf(), 1).remove(0);
        let whole = WholeElf::new(disk.file.clone(), &image);
        let tried = cut_everywhere("-E", &disk.ops, &whole, 1);
        tried.tell(&format!("-E -d {level}"));
        // A buffer of data, and the page that did not fit any more, may be missing; not a segment.
        let (_, last) = headers(&disk.ops);
        let mut file = Vec::new();
        disk.ops[..last].iter().for_each(|op| op.apply(&mut file, usize::MAX));
        assert_eq!(whole.judge(&file).unwrap().pages, whole.memory() / 4096);
    }
}

/// Big-endian dumps, and those with headers of 32 bits, are as true.
#[test]
fn every_write_of_dumps_of_other_machines() {
    for cpu in [Cpu::S390x { moved: true }, Cpu::I386 { pae: true }] {
        let (image, name) = (machine_on(cpu), cpu.name());
        let vmcore = rig::vmcore(&image);
        for codec in CODECS {
            let disk = record(&vmcore, Wish::new(codec, 31), 1).remove(0);
            let whole = Whole::new(disk.file.clone(), &image);
            if codec == "-c" {
                let mut tried = cut_everywhere(name, &disk.ops, &whole, 7);
                tried.repaired = verify_and_repair(name, &disk.ops, &whole, 6 * more());
                tried.tell(&format!("{name} {codec}"));
            }
        }
        for (part, disk) in record(&vmcore, Wish::new("", 31), 2).into_iter().enumerate() {
            let whole = Whole::new(disk.file.clone(), &image);
            let what = format!("{name} --split, part {part}");
            cut_everywhere(&what, &disk.ops, &whole, 8).tell(&what);
        }
        let disk = record(&vmcore, Wish::new("", 31).elf(), 1).remove(0);
        let whole = WholeElf::new(disk.file.clone(), &image);
        cut_everywhere("-E", &disk.ops, &whole, 9).tell(&format!("{name} -E"));
    }
}

/// What a stream stands for that was cut off. `None` while it has not all of its bitmaps.
fn unfold(stream: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (file, ends) = flat::rearrange_cut(stream)?;
    // The engine's reader must find the same in it.
    let mut input = stream;
    let mut scan = Scan::new(&mut input, stream.len() as u64).expect("a stream");
    let mut records = Vec::new();
    let theirs = loop {
        match scan.next(&mut input).expect("a record") {
            Step::Record(record) => records.push(record),
            Step::End(_) => break true,
            Step::Cut(rest) => {
                records.extend((rest.len > 0).then_some(rest));
                break false;
            }
        }
    };
    assert_eq!(ends, theirs);
    let extents = vec![Extent::default(); Flat::<&[u8]>::extents_for(records.len())];
    let mut flat = Flat::load(input, &records[..], extents).expect("a stream");
    let mut same = vec![0; flat.len() as usize];
    flat.read_at(0, &mut same).expect("the file of a stream");
    assert!(same == file, "the readers of streams disagree");
    let long_enough = file.get(..460).is_some_and(|head| {
        let blocks =
            |at: usize| u64::from(u32::from_le_bytes(head[at..at + 4].try_into().unwrap()));
        file.len() as u64 >= 4096 * (1 + blocks(432) + blocks(436))
    });
    long_enough.then_some((file, ends))
}

fn stream(vmcore: &[u8], wish: Wish, pipe: &mut Pipe, watch: &mut Watch) -> Outcome {
    rig::capture(vmcore, wish, &mut [&mut Flattened::new(pipe)], watch)
}

#[test]
fn streams_that_end_anywhere() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for (n, codec) in CODECS.into_iter().enumerate() {
        let wish = Wish::new(codec, 31);
        let mut pipe = Pipe { bytes: Vec::new(), most: usize::MAX, known: false };
        stream(&vmcore, wish, &mut pipe, &mut Watch::default()).result.unwrap();
        let bytes = pipe.bytes;
        let (file, ends) = unfold(&bytes).unwrap();
        assert!(ends);
        let whole = Whole::new(file, &image);
        let mut tried = Tried::default();
        let mut chance = Noise::new(n as u64);
        let mut saved = 0;
        for n in 0..300 * more() {
            let most = 4096 + (chance.next_u64() >> 20) as usize % (bytes.len() - 4096);
            // A reader that goes away, and a limit that is known (-L).
            let known = n % 4 == 0;
            let cut = if n % 8 < 2 {
                let mut pipe = Pipe { bytes: Vec::new(), most, known };
                let outcome = stream(&vmcore, wish, &mut pipe, &mut Watch::default());
                assert!(outcome.result.is_err(), "{most} bytes are enough?");
                saved = outcome.report.saved;
                pipe.bytes
            } else {
                bytes[..most].to_vec()
            };
            let Some((file, ends)) = unfold(&cut) else {
                tried.cuts += 1;
                continue;
            };
            assert!(!ends, "{most} of {} bytes have an end", bytes.len());
            let look = if n % 16 == 0 { Look::Decode } else { Look::Bytes };
            let has = whole.judge(&file, look).unwrap_or_else(|e| panic!("-F {codec} {most}: {e}"));
            assert!(has.wrong == 0 && has.torn <= 1, "-F {codec} {most}: {has:?}");
            if known && n % 8 < 2 {
                assert_eq!(has.pages, saved, "-F {codec} -L {most}");
                assert!(cut.len() <= most && has.torn == 0);
            }
            tried.add(has);
        }
        tried.tell(&format!("-F {codec}"));
    }
}

#[test]
fn repair_makes_a_dump_of_a_cut_off_stream() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    let dir = TempDir::new();
    let (cut, out) = (dir.file("cut"), dir.file("out"));
    for codec in CODECS {
        let mut pipe = Pipe { bytes: Vec::new(), most: usize::MAX, known: false };
        stream(&vmcore, Wish::new(codec, 31), &mut pipe, &mut Watch::default()).result.unwrap();
        let whole = Whole::new(unfold(&pipe.bytes).unwrap().0, &image);
        let mut saved = 0;
        for n in 1..12 * more() as usize {
            let most = pipe.bytes.len() * n / (12 * more() as usize);
            let stream = &pipe.bytes[..most];
            fs::write(&cut, stream).unwrap();
            let verdict = tamis(&["verify".as_ref(), cut.as_ref()]);
            let mended = tamis(&["repair".as_ref(), "-f".as_ref(), cut.as_ref(), out.as_ref()]);
            let Some((file, _)) = unfold(stream) else {
                assert_eq!((verdict.0, mended.0), (Some(1), Some(1)), "{}", mended.1);
                continue;
            };
            let before = whole.judge(&file, Look::Decode).unwrap();
            let expected = if before.torn > 0 { 1 } else { 2 };
            assert_eq!(verdict.0, Some(expected), "{codec} {most}: {}", verdict.1);
            assert_eq!(mended.0, Some(2), "{codec} {most}: {}", mended.1);
            let after = whole.judge_repaired(&fs::read(&out).unwrap()).unwrap();
            let wanted = Has { torn: 0, complete: false, ..before };
            assert_eq!(after, wanted, "{codec} {most}");
            saved += after.pages;
        }
        assert!(saved > 0, "{codec}: repair saved nothing");
    }
}

#[test]
fn a_cut_off_stream_lacks_the_descriptors_of_128_pages_at_most() {
    let machine = Machine::new(KernelStyle::V6_12).ram(0x100..0x500).meta_at(16 << 20, 16 << 20);
    let machine = machine.fill(0x100..0x300, Content::Text).fill(0x300..0x500, Content::Noise);
    let image = machine.build();
    let vmcore = rig::vmcore(&image);
    let dir = TempDir::new();
    let (cut, out) = (dir.file("cut"), dir.file("out"));
    for codec in ["", "-c"] {
        // Room for far more descriptors; at level 0 each page has data of its own.
        let sizes = [1024, Codec::Zlib.bound(65_536), 24 * 4096];
        let wish = Wish { sizes, ..Wish::new(codec, 0) };
        let mut pipe = Pipe { bytes: Vec::new(), most: usize::MAX, known: false };
        stream(&vmcore, wish, &mut pipe, &mut Watch::default()).result.unwrap();
        let bytes = pipe.bytes;
        let whole = Whole::new(unfold(&bytes).unwrap().0, &image);
        let mut kept: Vec<_> = whole.descriptors().collect();
        kept.sort_unstable_by_key(|(pfn, _)| *pfn);
        assert!(kept.len() >= 1024);
        let (mut most_behind, mut saved) = (0, 0);
        let step = 16_381;
        for end in (4096..bytes.len() - 16).step_by(step / more() as usize) {
            let Some((file, false)) = unfold(&bytes[..end]) else { continue };
            let has = whole.judge(&file, Look::Bytes).unwrap();
            let is_there = |d: &Descriptor| d.offset + u64::from(d.size) <= file.len() as u64;
            let through = kept.iter().take_while(|(_, d)| is_there(d)).count() as u64;
            most_behind = most_behind.max(through - has.pages);
            assert!(through <= has.pages + 128, "{codec} {end}: {through} came through: {has:?}");
            saved = has.pages;
            if (end / step).is_multiple_of(64) {
                fs::write(&cut, &bytes[..end]).unwrap();
                let mended = tamis(&["repair".as_ref(), "-f".as_ref(), cut.as_ref(), out.as_ref()]);
                assert_eq!(mended.0, Some(2), "{codec} {end}: {}", mended.1);
                let after = whole.judge_repaired(&fs::read(&out).unwrap()).unwrap();
                assert_eq!(after.pages, has.pages, "{codec} {end}");
            }
        }
        assert!(most_behind > 64 && saved > 512, "{codec}: {most_behind} behind, {saved} saved");
    }
}

/// Fails the test if a page is missing whose data is all in the file.
#[track_caller]
fn nothing_was_left_behind(what: &str, whole: &Whole<'_>, file: &[u8], has: Has) {
    let mut kept: Vec<_> = whole.descriptors().collect();
    kept.sort_unstable_by_key(|(pfn, _)| *pfn);
    // Pages are saved in their order; the data of zero pages is always there.
    let zero = kept.iter().map(|(_, d)| d.offset).min();
    let mut rest = kept.iter().skip(has.pages as usize);
    if let Some((pfn, next)) = rest.find(|(_, d)| Some(d.offset) != zero) {
        let end = next.offset + u64::from(next.size);
        assert!(end > file.len() as u64, "{what}: frame {pfn:#x} is there, but not described");
    }
}

#[test]
fn sinks_that_fail() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for (n, codec) in CODECS.into_iter().enumerate() {
        let wish = Wish::new(codec, 31);
        let disk = record(&vmcore, wish, 1).remove(0);
        let written = disk.written;
        let whole = Whole::new(disk.file, &image);
        let mut chance = Noise::new(n as u64 + 77);
        let len = whole.bytes().len() as u64;
        let mut tried = Tried::default();
        for n in 0..60 * more() {
            let at = chance.next_u64() >> 20;
            let fault = match n % 4 {
                0 => Fault::Dies(at % written),
                1 => Fault::Full(at % len),
                2 => Fault::Blocks((at % written / 512) as usize),
                _ => Fault::Hiccup(at % written),
            };
            let mut disk = Disk::failing(fault);
            let outcome =
                run(&vmcore, wish, std::slice::from_mut(&mut disk), &mut Watch::default());
            let what = format!("{codec} {fault:?}");
            assert!(outcome.result.is_err(), "{what}: no error");
            let has =
                whole.judge(&disk.file, Look::Bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(has.wrong == 0 && !has.complete && has.torn <= 1, "{what}: {has:?}");
            match fault {
                Fault::Dies(_) => assert!(has.pages >= outcome.report.saved, "{what}: {has:?}"),
                Fault::Blocks(most) => {
                    assert_eq!(has.pages, outcome.report.saved, "{what}");
                    // Of the room, data has the most.
                    let data = 512 * most as u64 / 2;
                    let enough = whole.descriptors().map(|(_, d)| d.offset).min().unwrap_or(0);
                    assert!(has.pages > 0 || data < enough, "{what}: nothing was saved");
                }
                _ => {
                    assert_eq!((has.pages, has.torn), (outcome.report.saved, 0), "{what}");
                    if has.opens && has.pages > 0 {
                        nothing_was_left_behind(&what, &whole, &disk.file, has);
                    }
                }
            }
            tried.add(has);
        }
        tried.tell(&format!("failing sinks {codec}"));
    }
}

#[test]
fn elf_files_on_sinks_that_fail() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    let wish = Wish::new("", 31).elf();
    let disk = record(&vmcore, wish, 1).remove(0);
    let (written, len) = (disk.written, disk.file.len() as u64);
    let whole = WholeElf::new(disk.file, &image);
    let mut tried = Tried::default();
    let mut saved = 0;
    for n in 0..200 * more() {
        let at = |all: u64| all * n / (200 * more());
        let fault = match n % 3 {
            0 => Fault::Dies(at(written)),
            1 => Fault::Full(at(len)),
            _ => Fault::Hiccup(at(written)),
        };
        let mut disk = Disk::failing(fault);
        let outcome = run(&vmcore, wish, std::slice::from_mut(&mut disk), &mut Watch::default());
        assert!(outcome.result.is_err(), "-E {fault:?}: no error");
        let has = whole.judge(&disk.file).unwrap_or_else(|e| panic!("-E {fault:?}: {e}"));
        assert!(has.wrong == 0 && !has.complete, "-E {fault:?}: {has:?}");
        if !matches!(fault, Fault::Dies(_)) {
            // Holes are in the file as well.
            assert!(has.pages >= outcome.report.saved, "-E {fault:?}: {has:?} {outcome:?}");
        }
        saved += outcome.report.saved;
        tried.add(has);
    }
    assert!(saved > 0, "no page of any was saved");
    tried.tell("failing sinks -E");
}

#[test]
fn media_that_lose_what_was_not_synced() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for (n, codec) in CODECS.into_iter().enumerate() {
        let wish = Wish { sync_every: 64 << 10, ..Wish::new(codec, 31) };
        let disk = record(&vmcore, wish, 1).remove(0);
        let whole = Whole::new(disk.file.clone(), &image);
        let syncs = disk.ops.iter().filter(|op| matches!(op, Op::Sync)).count() as u64;
        assert!(syncs > 4, "{codec}: {syncs} syncs");
        let mut saved = 0;
        for number in 0..syncs {
            let fault = Fault::LosesCache(number);
            let mut disk = Disk::failing(fault);
            let outcome =
                run(&vmcore, wish, std::slice::from_mut(&mut disk), &mut Watch::default());
            assert!(outcome.result.is_err(), "{codec} {fault:?}: no error");
            let has = whole.judge(&disk.file, Look::Decode);
            let has = has.unwrap_or_else(|e| panic!("{codec} {fault:?}: {e}"));
            assert_eq!((has.wrong, has.torn, has.complete), (0, 0, false), "{codec} {fault:?}");
            assert_eq!(has.pages, outcome.report.saved, "{codec} {fault:?}");
            saved += has.pages;
        }
        assert!(saved > 0, "{codec} {n}: nothing was ever saved");
    }
}

#[test]
fn power_cuts() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for (n, codec) in CODECS.into_iter().enumerate() {
        let wish = Wish::new(codec, 31);
        let disk = record(&vmcore, wish, 1).remove(0);
        let whole = Whole::new(disk.file.clone(), &image);
        let (first, _) = headers(&disk.ops);
        let mut chance = Noise::new(n as u64 + 5);
        let mut tried = Tried::default();
        for _ in 0..200 * more() {
            let done = first + (chance.next_u64() >> 20) as usize % (disk.ops.len() - first) + 1;
            let file = power_cut(&disk.ops, done, &mut chance);
            let has = whole.judge(&file, Look::Bytes);
            let has = has.unwrap_or_else(|e| panic!("{codec}, power cut after {done}: {e}"));
            assert_eq!(has.wrong, 0, "{codec}, power cut after {done}: {has:?}");
            if has.complete {
                assert_eq!(has.pages, whole.pages(), "{codec}, power cut after {done}");
            }
            tried.add(has);
        }
        assert!(tried.pages > 0);
        tried.tell(&format!("power cuts {codec}"));
    }
}

/// A sink that wants its syncs by time gets them before descriptors of what was written; without
/// either, a power cut leaves descriptors of data that never came.
#[test]
fn power_cuts_of_a_sink_in_a_hurry() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for hasty in [true, false] {
        let wish = Wish { sync_every: u64::MAX, ..Wish::new("", 31) };
        let mut disk = Disk::new();
        disk.hasty = hasty;
        let mut disks = [disk];
        let outcome = run(&vmcore, wish, &mut disks, &mut Watch::default());
        assert_eq!(outcome.result, Ok(()));
        let [disk] = disks;
        let whole = Whole::new(disk.file.clone(), &image);
        let (first, _) = headers(&disk.ops);
        let mut chance = Noise::new(11);
        let mut wrong = 0;
        for _ in 0..200 {
            let done = first + (chance.next_u64() >> 20) as usize % (disk.ops.len() - first) + 1;
            let file = power_cut(&disk.ops, done, &mut chance);
            wrong += whole.judge(&file, Look::Bytes).map_or(0, |has| has.wrong);
        }
        assert_eq!(wrong == 0, hasty, "{wrong} wrong pages");
    }
}

#[test]
fn threads_leave_what_one_would() {
    // Where the sink fails, and where the capture is stopped.
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for (n, codec) in CODECS.into_iter().enumerate().skip(1) {
        let wish = Wish::new(codec, 31);
        let disk = record(&vmcore, wish, 1).remove(0);
        let written = disk.written;
        let whole = Whole::new(disk.file, &image);
        let mut chance = Noise::new(n as u64 + 9);
        let mut tried = Tried::default();
        for n in 0..40 * more() {
            let at = (chance.next_u64() >> 20) % written;
            let mut watch = Watch::default();
            let mut disk = match n % 4 {
                0 => Disk::failing(Fault::Dies(at)),
                1 => Disk::failing(Fault::Full(at)),
                2 => Disk::failing(Fault::Hiccup(at)),
                _ => {
                    watch.patience = Some(at % whole.pages() / 2);
                    Disk::new()
                }
            };
            let others = vec![&*vmcore; 1 + n as usize % 3];
            let mut sinks: [&mut dyn Sink; 1] = [&mut disk];
            let outcome = rig::capture_with(&*vmcore, others, wish, &mut sinks, &mut watch);
            if outcome.result.is_ok() {
                // The patience of a crew is another one, as it asks less often.
                assert_eq!(n % 4, 3);
                assert!(disk.file == whole.bytes(), "{codec}: other bytes");
                continue;
            }
            let has = whole.judge(&disk.file, Look::Decode).unwrap_or_else(|e| panic!("{e}"));
            assert!(has.wrong == 0 && !has.complete && has.torn <= 1, "{codec} {at}: {has:?}");
            assert!(has.pages >= outcome.report.saved, "{codec} {at}: {has:?}");
            tried.add(has);
        }
        assert!(tried.pages > 0 && tried.cuts > 30 * more(), "{codec}: {} cuts", tried.cuts);
        tried.tell(&format!("threads {codec}"));
    }
}

#[test]
fn captures_that_are_stopped() {
    let image = machine();
    let vmcore = rig::vmcore(&image);
    for codec in CODECS {
        for buffers in [[1024, 8192, 768], [1 << 20, 1 << 19, 96 << 10]] {
            let wish = Wish { sizes: buffers, ..Wish::new(codec, 31) };
            let whole = Whole::new(record(&vmcore, wish, 1).remove(0).file, &image);
            let mut last = 0;
            for patience in (0..whole.pages()).step_by(23) {
                let mut watch = Watch { patience: Some(patience), ..Watch::default() };
                let mut disk = Disk::new();
                let outcome = run(&vmcore, wish, std::slice::from_mut(&mut disk), &mut watch);
                if outcome.result.is_ok() {
                    break;
                }
                assert_eq!(outcome.result, Err(CaptureError::Stopped));
                let has = whole.judge(&disk.file, Look::Decode).unwrap();
                let what = format!("{codec} stopped after {patience}");
                assert_eq!((has.wrong, has.torn, has.complete), (0, 0, false), "{what}");
                assert_eq!(has.pages, outcome.report.saved, "{what}");
                nothing_was_left_behind(&what, &whole, &disk.file, has);
                assert!(has.pages >= last, "{what}");
                last = has.pages;
            }
            assert!(last > 0, "{codec}: never was a page saved");
        }
    }
}
