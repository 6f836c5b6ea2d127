//! Memory images: each is a dump like any other, with VMCOREINFO out of its memory.

use crate::common::{Bench, json};
use crate::every::{Kind, session};
use tamis_tests::images::{Memory, Registers, SADUMP_TIME, Sadump, avml, lime, vmware};
use tamis_tests::synth::{Image, KernelStyle, LogLine, PAGE};
use tamis_tests::zoo::{self, zoo};

/// A frame of the zoo that is free and of zeros, with another one behind it.
const NOTE_AT: u64 = 0xc00;

const CPUS: [Registers<'static>; 2] = [
    &[("rip", 0xffff_ffff_8100_1234), ("rsp", 0xffff_c900_0000_5678), ("cs", 0x10), ("r15", 15)],
    &[("rip", 0xffff_ffff_8100_4321), ("rdi", 0x7777_7777_0000_0001), ("cr3", 0x10_0000)],
];

fn machine() -> Image {
    let line = |n: u64| LogLine::new(n * 1_000_000, 7, &format!("line {n} of it"));
    zoo(KernelStyle::V6_12).log(&(0..20).map(line).collect::<Vec<_>>(), 18).build()
}

/// Every page of an image is what the vmcore has, at level 31 too.
#[track_caller]
fn assert_same_pages(bench: &Bench, files: &str) {
    bench.tamis("refilter -f --raw vmcore want").expect(0);
    bench.tamis(&format!("refilter -f --raw {files} got")).expect(0);
    let run = bench.tamis("diff --json want got");
    // The note itself, and what the headers say.
    let text = run.text();
    let runs: Vec<_> = text.split("\"start_pfn\": ").skip(1).collect();
    let notes = [NOTE_AT, NOTE_AT + 1].map(|pfn| format!("{pfn},"));
    assert!(runs.iter().all(|run| notes.iter().any(|note| run.starts_with(note))), "{text}");
    bench.tamis("refilter -f -d 31 --raw vmcore want").expect(0);
    bench.tamis(&format!("refilter -f -d 31 --raw {files} got")).expect(0);
    let kept = |name: &str| json(&bench.tamis(&format!("info --json {name}")), "stored").to_owned();
    assert_eq!(kept("want"), kept("got"), "{files}");
}

#[test]
fn every_command_takes_images() {
    let image = machine();
    let memory = Memory::of(&image, NOTE_AT);
    let bench = Bench::of(&image);
    let sadump = Sadump { memory: &memory, cpus: CPUS.to_vec(), block: 4096 };
    bench.put("sadump", &sadump.partition());
    bench.put("medium", &sadump.medium());
    for (number, disk) in (1..).zip(sadump.disks(&[1000, 77])) {
        bench.put(&format!("disk{number}"), &disk);
    }
    bench.put("lime", &lime(&memory));
    bench.put("avml", &avml(&memory, 0x801));
    let regions = [0..0x1000, 0x1000..0x10000];
    let end = image.ram.iter().map(|range| range.end).max().unwrap();
    let regions = regions.map(|region| region.start..region.end.min(end));
    let (state, vmem) = vmware(&memory, &regions);
    bench.put("vmss", &state);
    bench.put("vmem", &vmem);
    let at = bench.tamis("vmcoreinfo vmcore SYMBOL(init_uts_ns)");
    let virt = String::from_utf8(at.stdout).unwrap().trim().to_owned();
    for (name, files) in [
        ("sadump", "sadump"),
        ("sadump-disks", "disk2 disk3 disk1"),
        ("avml", "avml"),
        ("vmware", "vmem vmss"),
    ] {
        session(&bench, &Kind { name, files, virt: virt.clone(), pfn: 0x100 });
    }
    for files in ["sadump", "medium", "disk1 disk2 disk3", "lime", "avml"] {
        assert_same_pages(&bench, files);
    }
    bench.tamis("info vmss").expect(3).says("name that one (.vmem) behind it");
    bench.tamis("info vmem vmcore").expect(3);
    bench.tamis("info disk1 disk3").expect(3).says("disks of the set are missing");
    bench.tamis("info disk1 disk2").expect(3).says("another number of disks");
    bench.tamis("info disk1 disk2 disk2").expect(3).says("there are two of one");
}

#[test]
fn registers_of_sadump_become_notes() {
    let image = machine();
    let mut memory = Memory::of(&image, NOTE_AT);
    memory.left_out = vec![0x700..0x780, 0x790..0x791];
    let lines = image.vmcoreinfo.lines().filter(|line| !line.starts_with("CRASHTIME="));
    memory.put_note(NOTE_AT, &lines.map(|line| format!("{line}\n")).collect::<String>());
    let sadump = Sadump { memory: &memory, cpus: CPUS.to_vec(), block: 4096 };
    let bench = Bench::of(&image);
    bench.put("sadump", &sadump.partition());
    let info = bench.tamis("info --json sadump");
    assert_eq!(json(&info, "format"), "sadump");
    assert_eq!(json(&info, "crash_time"), SADUMP_TIME.to_string());
    assert_eq!(json(&info, "left_out"), "129");
    assert_eq!(json(&info, "pc"), "0xffffffff81001234");
    assert_eq!(json(&info, "sp"), "0xffffc90000005678");
    bench.tamis("verify sadump").expect(0);
    bench.tamis("refilter -c sadump kdump").expect(0);
    let info = bench.tamis("info --json kdump");
    assert_eq!((json(&info, "cpus"), json(&info, "left_out")), ("2", "129"));
    assert_eq!(json(&info, "crash_time"), SADUMP_TIME.to_string());
    bench.tamis("diff sadump kdump").expect(0);
    bench.tamis("refilter --to elf sadump elf").expect(0);
    let notes = bench.tamis("notes --json elf");
    assert_eq!(notes.text().matches("\"CORE\"").count(), 2);
    assert_eq!(notes.text().matches("\"VMCOREINFO\"").count(), 1);
}

#[test]
fn larger_blocks_of_sadump_are_its_pages() {
    let memory = Memory::new(std::iter::once(1..9).collect(), |pfn| vec![pfn as u8; 8192]);
    let sadump = Sadump { memory: &memory, cpus: Vec::new(), block: 8192 };
    let bench = Bench::new();
    bench.put("sadump", &sadump.partition());
    let run = bench.tamis("read --len 4 --phys 0x6000 sadump");
    run.expect(0).says("03 03 03 03");
}

#[test]
fn images_that_are_cut_off_lack_what_is_behind() {
    let image = machine();
    let memory = Memory::of(&image, NOTE_AT);
    let bench = Bench::of(&image);
    let sadump = Sadump { memory: &memory, cpus: CPUS.to_vec(), block: 4096 };
    for (name, whole) in
        [("sadump", sadump.partition()), ("lime", lime(&memory)), ("avml", avml(&memory, 0x801))]
    {
        let len = whole.len() - 5 * PAGE / if name == "avml" { 50 } else { 1 };
        bench.put(name, &whole[..len]);
        bench.tamis(&format!("verify {name}")).expect(2).says("which is cut off");
        bench.tamis(&format!("info {name}")).expect(0).says("which is cut off");
        bench.tamis(&format!("refilter -f {name} out")).expect(2).says("incomplete");
        bench.tamis("verify out").expect(2);
    }
}

#[test]
fn damaged_frames_are_found() {
    let image = machine();
    let memory = Memory::of(&image, NOTE_AT);
    let bench = Bench::of(&image);
    let mut bytes = avml(&memory, 0x801);
    bench.put("avml", &bytes);
    bench.tamis("verify avml").expect(0);
    // A byte of a literal, in the middle.
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    bench.put("avml", &bytes);
    let run = bench.tamis("verify avml");
    assert!(run.code == Some(1) || run.code == Some(3), "{}", run.text());
}

#[test]
fn raw_memory_is_where_the_command_line_says() {
    let image = machine();
    let memory = Memory::of(&image, NOTE_AT);
    let bench = Bench::of(&image);
    let bytes =
        |from: u64, to: u64| (from..to).flat_map(|pfn| memory.page(pfn)).collect::<Vec<_>>();
    let end = image.ram.iter().map(|range| range.end).max().unwrap();
    bench.put("all", &bytes(0, end));
    bench.put("high", &bytes(0x800, end));
    bench.put("low", &bytes(zoo::START, 0x800));
    let all = bench.tamis("dmesg --raw-memory all");
    all.expect(0).says("line 19 of it");
    let two = bench.tamis("dmesg --raw-memory high low --at 0x800000,0x100000");
    assert_eq!(two.stdout, all.stdout);
    let info = bench.tamis("info --json --raw-memory high low --at 800000 --at 100000");
    assert_eq!(json(&info, "format"), "raw");
    bench.tamis("info --raw-memory high low").expect(3).says("name an address for each");
    bench.tamis("info --at 0 all").expect(3).says("--raw-memory");
    bench.tamis("info --raw-memory --machine vax all").expect(3).says("x86_64");
    bench.tamis("info --raw-memory --machine aarch64 all").expect(0).says("aarch64");
    bench.tamis("info all").expect(3);
}

#[test]
fn vmcoreinfo_is_found_in_dumps_that_lack_it() {
    let image = machine();
    let memory = Memory::of(&image, NOTE_AT);
    let without = zoo(KernelStyle::V6_12).without_vmcoreinfo().build();
    let bench = Bench::of(&without);
    bench.tamis("vmcoreinfo vmcore").expect(3);
    bench.put("lime", &lime(&memory));
    bench.tamis("refilter --to elf lime elf").expect(0);
    // The same without its notes: an ELF file, and a kdump one.
    let mut elf = bench.get("elf");
    let at = elf.windows(11).position(|bytes| bytes == b"VMCOREINFO\0").unwrap();
    elf[at..at + 10].copy_from_slice(b"VMCOREINF0");
    bench.put("elf", &elf);
    bench.tamis("info elf").expect(0).says("found in memory");
    bench.tamis("refilter -c elf kdump").expect(0);
    bench.tamis("info kdump").expect(0).says("keys");
    let text = bench.tamis("vmcoreinfo elf");
    assert_eq!(text.stdout, bench.tamis("vmcoreinfo lime").stdout);
    assert_eq!(text.stdout, bench.tamis("vmcoreinfo kdump").stdout);
}

#[test]
fn every_format_becomes_every_other() {
    let image = machine();
    let memory = Memory::of(&image, NOTE_AT);
    let bench = Bench::new();
    bench.put("lime", &lime(&memory));
    bench.tamis("convert lime kdump").expect(0);
    bench.tamis("convert --to elf kdump elf").expect(0);
    bench.tamis("convert --to flat -c elf flat").expect(0);
    bench.tamis("convert --to lime flat again").expect(0).says("are not in the image");
    bench.assert_same("lime", "again", "there and back");
    bench.tamis("convert --to raw kdump raw").expect(0);
    bench.tamis("convert --to lime --raw-memory raw third").expect(0);
    let same = bench.tamis("vmcoreinfo third");
    assert_eq!(same.stdout, bench.tamis("vmcoreinfo lime").stdout);
    let raw = bench.get("raw");
    let pfn = NOTE_AT as usize;
    assert_eq!(raw[pfn * PAGE..][..PAGE], memory.page(NOTE_AT));
    bench.tamis("convert --to lime -c lime out").expect(3).says("not compressed");
    bench.tamis("refilter --to raw -d 31 lime out").expect(3).says("convert that");
    bench.tamis("convert --to lime lime -").expect(3).says("only a stream");
}

/// A text that describes a kernel which is not there is none, and that of a crash kernel gives way.
#[test]
fn other_kernels_texts_do_not_count() {
    let image = machine();
    let bench = Bench::of(&image);
    let mut memory = Memory::of(&image, NOTE_AT);
    let other = image.vmcoreinfo.replace("OSRELEASE=", "OSRELEASE=9");
    memory.put_note(zoo::START, &other);
    memory.put_note(0xc40, "OSRELEASE=1\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000000\n");
    bench.put("lime", &lime(&memory));
    let found = bench.tamis("vmcoreinfo lime");
    assert_eq!(found.stdout, bench.tamis("vmcoreinfo vmcore").stdout);
    memory.put_note(NOTE_AT, &other);
    bench.put("lime", &lime(&memory));
    bench.tamis("vmcoreinfo lime").expect(3);
}
