//! What is concluded of a dump: whose it is, who wrote it, how large its pages are, and how many.

use crate::common::{Bench, json};
use tamis_tests::make::{Make, USUAL, flatten};
use tamis_tests::synth::{KernelStyle, Note};
use tamis_tests::zoo::zoo;

/// An ELF core file of a little-endian machine of 64 bits.
#[derive(Clone)]
struct Elf {
    machine: u16,
    /// Name with its NUL, type and contents.
    notes: Vec<(&'static [u8], u32, Vec<u8>)>,
    /// Virtual and physical address, and bytes.
    loads: Vec<(u64, u64, Vec<u8>)>,
    /// What the header says is its size, and where sections are.
    header: (u16, u64),
}

impl Elf {
    fn new(machine: u16) -> Elf {
        let page = |byte: u8| vec![byte; 4096];
        let loads = vec![(0xffff_8880_0010_0000, 0x10_0000, page(1))];
        Elf { machine, notes: Vec::new(), loads, header: (64, 0) }
    }

    fn note(mut self, name: &'static [u8], kind: u32, desc: &[u8]) -> Elf {
        self.notes.push((name, kind, desc.to_vec()));
        self
    }

    fn load(mut self, virt: u64, phys: u64, bytes: Vec<u8>) -> Elf {
        self.loads.push((virt, phys, bytes));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut notes = Vec::new();
        for (name, kind, desc) in &self.notes {
            for word in [name.len() as u32, desc.len() as u32, *kind] {
                notes.extend(word.to_le_bytes());
            }
            for part in [&name[..], desc] {
                notes.extend(part);
                notes.resize(notes.len().next_multiple_of(4), 0);
            }
        }
        let first = if self.header.1 == 0 { 64 } else { 128 };
        let count = 1 + self.loads.len();
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend(4u16.to_le_bytes());
        out.extend(self.machine.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend((first as u64).to_le_bytes());
        out.extend(self.header.1.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        for half in [self.header.0, 56, count as u16, 64, u16::from(self.header.1 != 0), 0] {
            out.extend(half.to_le_bytes());
        }
        out.resize(first, 0);
        let mut at = (first + 56 * count) as u64;
        let mut segment = |kind: u32, virt: u64, phys: u64, len: u64| {
            for word in [kind, 7] {
                out.extend(word.to_le_bytes());
            }
            for long in [at, virt, phys, len, len, 0] {
                out.extend(long.to_le_bytes());
            }
            at += len;
        };
        segment(4, 0, 0, notes.len() as u64);
        for (virt, phys, bytes) in &self.loads {
            segment(1, *virt, *phys, bytes.len() as u64);
        }
        out.extend(notes);
        for (_, _, bytes) in &self.loads {
            out.extend(bytes);
        }
        out
    }
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;
const INFO: &[u8] = b"OSRELEASE=6.1.0-made\nPAGESIZE=4096\n";

#[test]
fn under_xen_no_page_is_dropped_by_class_and_no_address_followed() {
    let mut machine = zoo(KernelStyle::V6_12);
    machine = machine.back_note(Note::new("Xen", 0x100_0001, vec![1; 80]));
    let bench = Bench::of(&machine.build());
    bench.tamis("info vmcore").expect(0).says("hypervisor    Xen").says("cannot be told");
    assert_eq!(json(&bench.tamis("info --json vmcore"), "xen"), "true");
    bench.tamis("stats vmcore").expect(0).says("VMCOREINFO_XEN");
    assert_eq!(json(&bench.tamis("stats --json vmcore"), "xen"), "true");
    let run = bench.tamis("refilter -d 31 vmcore all");
    run.expect(0).says("only pages of zeros can be dropped: it is a Xen host's");
    bench.tamis("refilter -d 1 vmcore zeros").expect(0);
    let [all, zeros] = ["all", "zeros"].map(|name| bench.tamis(&format!("info --json {name}")));
    assert_eq!(json(&all, "stored"), json(&zeros, "stored"));
    assert_eq!(json(&all, "xen"), "true");
    bench.tamis("dmesg vmcore").expect(3).says("Xen");
    bench.tamis("vtop vmcore ffffffff81000000").expect(3).says("Xen");
    // And so in a capture.
    let [input, output] = ["vmcore", "captured"].map(|name| bench.file(name).into_os_string());
    let run = tamis_tests::run::capture(["-d".into(), "31".into(), "-c".into(), input, output]);
    run.expect(0).says("only pages of zeros are dropped: it is a Xen host's");
    let captured = bench.tamis("info --json captured");
    assert_eq!(json(&captured, "stored"), json(&zeros, "stored"));
}

#[test]
fn the_core_of_a_process_has_no_physical_addresses() {
    let bench = Bench::new();
    let page = || vec![7; 4096];
    let process = |virt| {
        let mut elf = Elf::new(X86_64).note(b"CORE\0", 1, &[0; 336]);
        elf.loads = vec![(virt, 0, page())];
        elf
    };
    let refused = "the core file of a process";
    bench.put("core", &process(0x40_0000).bytes());
    bench.tamis("info core").expect(3).says(refused);
    bench.put("core", &process(0x40_0000).load(0x7fff_0000_0000, 0, page()).bytes());
    bench.tamis("info core").expect(3).says(refused);
    // As netdump and crash write them: the notes of a process, and memory with its addresses.
    let netdump = Elf::new(X86_64).note(b"CORE\0", 1, &[0; 336]).note(b"CORE\0", 3, &[0; 136]);
    bench.put("netdump", &netdump.bytes());
    bench.tamis("info netdump").expect(0).says("1 pages");
    let mut from_zero = netdump.clone();
    from_zero.loads = vec![(0xffff_8880_0000_0000, 0, page())];
    bench.put("netdump", &from_zero.bytes());
    bench.tamis("info netdump").expect(0).says("1 pages");
}

#[test]
fn an_assumed_page_size_is_said_to_be_assumed() {
    let bench = Bench::new();
    let assumed = |bench: &Bench, name: &str| {
        let run = bench.tamis(&format!("info --json {name}"));
        json(run.expect(0), "page_size_assumed") == "true"
    };
    let arm = Elf::new(AARCH64);
    let mut large = arm.clone().note(b"VMCOREINFO\0", 0, b"OSRELEASE=6.1\nPAGESIZE=65536\n");
    large.loads = vec![(0, 0x10_0000, vec![3; 65536])];
    let mut same = arm.clone();
    same.loads.clone_from(&large.loads);
    for (name, elf, is_assumed) in [
        ("arm", &arm, true),
        ("told", &arm.clone().note(b"VMCOREINFO\0", 0, INFO), false),
        ("x86", &Elf::new(X86_64), false),
        ("large", &large, false),
        ("same", &same, true),
    ] {
        bench.put(name, &elf.bytes());
        assert_eq!(assumed(&bench, name), is_assumed, "{name}");
    }
    bench.tamis("info arm").says("pages of 4.00 KiB (assumed");
    // What one dump assumes, the other knows.
    bench.tamis("refilter --raw large dump").expect(0);
    bench.tamis("diff same dump").expect(1).says("1 pages alike");
    bench.tamis("diff dump same").expect(1).says("1 pages alike");
}

#[test]
fn writers_are_known_or_not() {
    let bench = Bench::new();
    let writer = |name: &str, bytes: &[u8]| {
        bench.put(name, bytes);
        json(bench.tamis(&format!("info --json {name}")).expect(0), "written_by").to_owned()
    };
    let mut qemu = Elf::new(AARCH64);
    assert_eq!(writer("plain", &qemu.bytes()), "unknown");
    qemu.header = (8, 0);
    assert_eq!(writer("size", &qemu.bytes()), "QEMU");
    qemu.header = (64, 64);
    assert_eq!(writer("sections", &qemu.bytes()), "QEMU");
    let noted = Elf::new(X86_64).note(b"QEMU\0", 0, &[0; 40]);
    assert_eq!(writer("note", &noted.bytes()), "QEMU");
    let kernel = Elf::new(AARCH64).note(b"VMCOREINFO\0", 0, INFO);
    assert!(writer("kernel", &kernel.bytes()).starts_with("a kernel"));
    // A dump without a name for anything but the machine, as a stream.
    let mut dump = Make::new(USUAL).bytes();
    for field in [0, 1, 2, 3] {
        dump[12 + 65 * field..12 + 65 * (field + 1)].fill(0);
    }
    dump[408..424].fill(0);
    assert_eq!(writer("stream", &flatten(&dump, 9000)), "QEMU");
    assert_ne!(writer("file", &dump), "QEMU");
}

#[test]
fn a_page_is_one_page_however_many_ranges_have_it() {
    let bench = Bench::new();
    let text: Vec<u8> = (0..8192u32).map(|n| (n / 7) as u8 | 1).collect();
    let mut elf = Elf::new(X86_64).note(b"VMCOREINFO\0", 0, INFO);
    elf.loads = vec![(0xffff_ffff_8100_0000, 0x10_0000, text[4096..].to_vec())];
    let bytes = elf.load(0xffff_8880_000f_f000, 0xf_f000, text).bytes();
    bench.put("twice", &bytes);
    bench.tamis("verify twice").expect(0).says("2 pages good");
    bench.tamis("info twice").says("in the dump   2 pages");
    bench.tamis("refilter -d 1 twice dump").expect(0).says("2 pages kept");
    bench.tamis("refilter --to elf twice elf").expect(0).says("2 pages kept");
    bench.tamis("verify elf").expect(0).says("2 pages good");
    bench.tamis("diff twice dump").says("2 pages alike");
    // Where one of the ranges is cut off, the other has the page still.
    bench.put("cut", &bytes[..bytes.len() - 5000]);
    bench.tamis("verify cut").expect(2).says("1 pages good, 1 missing");
}

#[test]
fn the_level_of_a_header_is_the_one_in_effect() {
    let bench = Bench::new();
    let level = |name: &str| {
        let run = bench.tamis(&format!("info --json {name}"));
        json(run.expect(0), "dump_level").to_owned()
    };
    // No page tables are known of the one, no VMCOREINFO of the other.
    bench.put("vax", &Elf::new(75).note(b"VMCOREINFO\0", 0, INFO).bytes());
    bench.put("mute", &Elf::new(X86_64).bytes());
    for input in ["vax", "mute"] {
        for (asked, wanted) in [(31, "1"), (1, "1"), (16, "0"), (0, "0")] {
            let run = bench.tamis(&format!("refilter --json -f -d {asked} {input} dump"));
            assert_eq!(json(run.expect(0), "level"), wanted, "{input} -d {asked}");
            assert_eq!(level("dump"), wanted, "{input} -d {asked}");
        }
        let [from, to] = [input, "captured"].map(|name| bench.file(name).into_os_string());
        tamis_tests::run::capture(["-c".into(), "-d".into(), "31".into(), from, to]).expect(0);
        assert_eq!(level("captured"), "1", "{input}");
        std::fs::remove_file(bench.file("captured")).expect("removing");
    }
    // What the input lacks already stays said.
    let mut make = Make::new(USUAL);
    make.level = 30;
    bench.put("made", &make.bytes());
    bench.tamis("refilter -f -d 31 made dump").expect(0);
    assert_eq!(level("dump"), "31");
    bench.tamis("refilter -f -c made dump").expect(0);
    assert_eq!(level("dump"), "30");
}
