//! What is not a dump is refused in one line that says what it looks like.

use crate::common::Bench;
use tamis_tests::make::{Make, USUAL, flatten};
use tamis_tests::synth::{KernelStyle, Note};
use tamis_tests::zoo::zoo;

#[test]
fn other_files_are_named() {
    let bench = Bench::new();
    let dump = Make::new(USUAL).bytes();
    let zeros = vec![0; 10_000];
    let mut ext4 = zeros.clone();
    ext4[1080..1082].copy_from_slice(b"\x53\xef");
    let mut sadump = zeros.clone();
    sadump[4096..4104].copy_from_slice(b"sadump\0\0");
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(200, 0);
    program[16] = 3;
    let mut module = program.clone();
    module[16] = 1;
    let cases: [(&[u8], &str); 19] = [
        (b"", "an empty file"),
        (b"\x1f\x8b\x08 and more", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd and more", "compressed with zstd"),
        (b"\xfd7zXZ\0 and more", "compressed with xz"),
        (b"LUKS\xba\xbe and more", "a LUKS encrypted volume"),
        (b"DISKDUMP and more", "a dump of diskdump"),
        (b"PAGEDU64 and more", "a Windows crash dump"),
        (b"Hello, world\n", "a text"),
        (
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x09",
            "begins with \"\\x01\\x02\\x03\\x04\\x05\\x06\\x07\\x08\"",
        ),
        (b"KDU", "cut off in its header"),
        (b"\x7fEL", "cut off in its header"),
        (b"makedumpfile\0\0\0\0", "cut off in its header"),
        (&zeros, "begins with zeros"),
        (&ext4, "a file system"),
        (&sadump, "a dump of sadump"),
        (&program, "an ELF executable"),
        (&module, "an ELF object file, perhaps a kernel module"),
        (&dump[..300], "dump header is cut off"),
        (&dump[..9000], "cut off inside its bitmaps"),
    ];
    for (bytes, what) in cases {
        bench.put("file", bytes);
        for command in ["info", "verify", "dmesg", "vmcoreinfo", "notes"] {
            let run = bench.tamis(&format!("{command} file"));
            run.expect(3).says(what);
            assert_eq!(run.text().lines().count(), 1, "{}", run.text());
            assert!(run.text().starts_with("tamis: file: "), "{}", run.text());
        }
    }
    bench.tamis("info nothing").expect(3).says("nothing: No such file");
    bench.tamis("info .").expect(3).says("is a directory");
    bench.tamis("info /dev/null").expect(3).says("standard input");
    bench.tamis("info").expect(64);
    bench.tamis("frobnicate").expect(64);
    bench.tamis("help info").expect(0).says("$ tamis info vmcore");
}

/// The first bytes of what people take for a dump, where they are, and what it is said to be.
const KINDS: [(usize, &[u8], &str); 50] = [
    (0, b"XFSB", "a file system (xfs), not a dump"),
    (65_600, b"_BHRfS_M", "a file system (btrfs), not a dump"),
    (4086, b"SWAPSPACE2", "a swap area, not a dump"),
    (65_526, b"SWAPSPACE2", "a swap area, not a dump"),
    (510, b"\x55\xaa", "a disk with partitions (MBR)"),
    (512, b"EFI PART", "a disk with partitions (GPT)"),
    (0, b"hsqs", "a file system (squashfs)"),
    (32_769, b"CD001", "an ISO image"),
    (0, b"KDMV", "a vmdk disk image"),
    (0, b"# Disk DescriptorFile\nversion=1\n", "the description of a vmdk disk image"),
    (64, b"\x7f\x10\xda\xbe", "a vdi disk image"),
    (0, b"conectix", "a vhd disk image"),
    (79_488, b"conectix", "a vhd disk image"),
    (0, b"vhdxfile", "a vhdx disk image"),
    (0, b"070701", "a cpio archive"),
    (0, b"\xc7\x71", "a cpio archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0", "compressed with lzma"),
    (0, b"\xff\x06\0\0sNaPpY", "a stream of snappy frames"),
    (0, b"\x85\x02\x0c\x03\x11\x22", "encrypted with gpg"),
    (0, b"\x8c\x0d\x04\x09\x03", "encrypted with gpg"),
    (0, b"-----BEGIN PGP MESSAGE-----\n", "encrypted or signed with gpg"),
    (0, b"age-encryption.org/v1\n", "encrypted with age"),
    (0, b"\xed\xab\xee\xdb\x03", "an rpm package"),
    (0, b"!<arch>\ndebian-binary   ", "a deb package"),
    (514, b"HdrS", "a kernel image (bzImage)"),
    (0, b"FreeBSD Kernel Dump", "is a dump of FreeBSD, which tamis does not read yet"),
    (0, b"minidump FreeBSD/amd64", "is a minidump of FreeBSD"),
    (0, b"\x7fELF\x02\x01\x01\x09", "is a dump of FreeBSD"),
    (0, b"\xed\xeb\x0f\xf0", "is a core of a Xen guest"),
    (0, b"\xee\xeb\x0f\xf0", "is a core of a Xen HVM guest"),
    (0, b"LinuxGuestRecord", "is a saved Xen guest"),
    (0, b"Xenlight saved domain record\n", "is a saved Xen guest"),
    (0, b"Xen saved domain, xl format\n \0 \r", "is a saved Xen guest"),
    (0, b"\xd0\xbe\xd0\xbe", "a VMware snapshot: it has no group"),
    (0, b"\xd2\xbe\xd2\xbe", "a VMware snapshot: it has no group"),
    (0, b"\xd3\xbe\xd3\xbe", "a VMware snapshot: it has no group"),
    (0, b"\xd1\xba\xd1\xba", "a VMware snapshot: it has no group"),
    (0, b"\xd2\xba\xd2\xba", "a VMware snapshot: it has no group"),
    (0, b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "is an LKCD dump, which tamis does not read yet"),
    (0, b"\xcd\x23\x8f\x61\x73\x01\x19\xa8", "is an LKCD dump of a live kernel"),
    (0, b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", "is a stand-alone dump of s390"),
    (0, b"\xa8\x19\x01\x73\x61\x8f\x23\xfe", "is an extended stand-alone dump of s390"),
    (0, b"EMiL", "a LiME memory image: LiME version 0 is not known"),
    (0, b"AVML", "a LiME memory image: LiME version 0 is not known"),
    (0, b"sadump\0\0", "a dump of sadump: invalid check number"),
    (4096, b"sadump\0\0", "a dump of sadump: invalid number of a backup medium"),
    (0, b"QEVM", "a saved machine of QEMU"),
    (0, b"LPKSHHRH", "a journal of systemd"),
    (1080, b"\x53\xef", "a file system (ext2, ext3 or ext4)"),
];

#[test]
fn every_kind_of_file_is_called_by_its_name() {
    let bench = Bench::new();
    for (at, magic, what) in KINDS {
        let mut bytes = vec![0; 80_000];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        bench.put("file", &bytes);
        let run = bench.tamis("info file");
        run.expect(3).says(what);
        assert_eq!(run.text().lines().count(), 1, "{}", run.text());
    }
    // An ELF core without segments, whose sections are a Xen guest's.
    let mut xen = b"\x7fELF\x02\x01\x01".to_vec();
    xen.resize(64, 0);
    (xen[16], xen[18], xen[20], xen[52], xen[58], xen[60]) = (4, 62, 1, 64, 64, 3);
    xen[40] = 64;
    xen.extend([0; 3 * 64]);
    xen.extend(b"\0.shstrtab\0.note.Xen\0");
    bench.put("file", &xen);
    bench.tamis("info file").expect(3).says("is a core of a Xen guest (ELF)");
}

/// What the firmware of a ppc64 machine leaves of itself beside a kernel's dump.
#[test]
fn an_opalcore_is_called_by_its_name() {
    let bench = Bench::new();
    for (name, auxv) in [("opal", 9u64), ("kernel", 22)] {
        let mut core = b"\x7fELF\x02\x02\x01".to_vec();
        core.resize(16, 0);
        for half in [4u16, 21] {
            core.extend(half.to_be_bytes());
        }
        core.extend(1u32.to_be_bytes());
        for word in [0u64, 64, 0] {
            core.extend(word.to_be_bytes());
        }
        core.extend(0u32.to_be_bytes());
        for half in [64u16, 56, 2, 0, 0, 0] {
            core.extend(half.to_be_bytes());
        }
        // A CPU's registers, the auxiliary vector: where the firmware begins, and the end of it.
        let mut notes = Vec::new();
        let vector = [auxv, 0x3000_0000, 0].map(u64::to_be_bytes).concat();
        for (kind, desc) in [(1u32, vec![0; 504]), (6, vector)] {
            for word in [5, desc.len() as u32, kind] {
                notes.extend(word.to_be_bytes());
            }
            notes.extend(b"CORE\0\0\0\0");
            notes.extend(desc);
        }
        let len = notes.len() as u64;
        for (kind, [offset, address, size]) in
            [(4u32, [0x1000, 0, len]), (1, [0x10000, 0x3000_0000, 0x10000])]
        {
            core.extend([kind, 7].map(u32::to_be_bytes).concat());
            core.extend([offset, address, address, size, size, 0].map(u64::to_be_bytes).concat());
        }
        core.resize(0x1000, 0);
        core.extend(notes);
        core.resize(0x20000, 0);
        bench.put(name, &core);
    }
    for command in ["info", "stats", "dmesg"] {
        let run = bench.tamis(&format!("{command} opal"));
        run.expect(3).says("the memory of the firmware OPAL (an opalcore), not of a kernel");
        run.says("skiboot.elf");
    }
    bench.tamis("info kernel").expect(0);
}

#[test]
fn the_reason_of_a_refusal_is_true() {
    let bench = Bench::new();
    let make = Make::new(USUAL).with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\n");
    let sound = make.bytes();
    // sub_hdr_size, bitmap_blocks, max_mapnr; then its twin of 64 bits.
    let with = |fields: [u32; 3], wide: u64| {
        let mut bytes = sound.clone();
        for (index, field) in fields.into_iter().enumerate() {
            bytes[432 + 4 * index..436 + 4 * index].copy_from_slice(&field.to_le_bytes());
        }
        bytes[4096 + 96..4096 + 104].copy_from_slice(&wide.to_le_bytes());
        bytes
    };
    for (bytes, why) in [
        (with([1, 0, 0], 0), "it has no pages (max_mapnr 0)"),
        (with([1, 2, 0], 0), "it has no pages (max_mapnr 0)"),
        (with([1, 0, 300], 300), "invalid bitmap_blocks in the dump header: 0x0"),
        (with([0, 2, 300], 300), "invalid sub_hdr_size in the dump header: 0x0"),
        (with([1, 2, 300], 1 << 50), "invalid max_mapnr"),
    ] {
        bench.put("dump", &bytes);
        let run = bench.tamis("info dump");
        run.expect(3).says(why);
        assert!(!run.text().contains("block size"), "{}", run.text());
    }
}

#[test]
fn notes_are_there_where_there_is_no_memory() {
    let bench = Bench::new();
    let mut empty = Make::new(USUAL).with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\n").bytes();
    empty[436..444].fill(0);
    empty[4096 + 96..4096 + 104].fill(0);
    let image = zoo(KernelStyle::V6_12).build();
    image.write(&bench.file("vmcore")).expect("writing the vmcore");
    let mut elf = bench.get("vmcore");
    // Every PT_LOAD becomes nothing.
    let count = usize::from(u16::from_le_bytes([elf[56], elf[57]]));
    for index in 0..count {
        let at = 64 + 56 * index;
        if elf[at] == 1 {
            elf[at] = 0;
        }
    }
    for (name, bytes, why) in [("dump", &empty, "max_mapnr 0"), ("elf", &elf, "no PT_LOAD")] {
        bench.put(name, bytes);
        let next = "`tamis notes` and `tamis vmcoreinfo` show what it has";
        bench.tamis(&format!("info {name}")).expect(3).says(why).says(next);
        bench.tamis(&format!("refilter {name} out")).expect(3).says(why);
        bench.tamis(&format!("notes {name}")).expect(0).says("VMCOREINFO");
        bench.tamis(&format!("vmcoreinfo {name} OSRELEASE")).expect(0).says("6.1");
    }
    bench.put("bare", &Make::new(USUAL).bytes());
    bench.tamis("notes bare").expect(0).says("it has no notes");
}

#[test]
fn dumps_of_devices_are_named_and_come_out() {
    let bench = Bench::of(
        &zoo(KernelStyle::V6_12)
            .front_note(Note::device_dump("cxgb4_0000:05:00.4", b"firmware log"))
            .front_note(Note::device_dump("second", &[7; 5000]))
            .build(),
    );
    bench.capture("-c -d 31", &["dump"]);
    for dump in ["vmcore", "dump"] {
        bench.tamis(&format!("notes {dump}")).expect(0).says("dump of a device cxgb4_0000:05:00.4");
        bench.tamis(&format!("notes --json {dump}")).expect(0).says("\"device\": \"second\"");
        let run = bench.tamis(&format!("notes --device cxgb4_0000:05:00.4 {dump}"));
        assert_eq!(run.expect(0).stdout, b"firmware log");
        bench.tamis(&format!("notes --device second --force -o out {dump}")).expect(0);
        assert!(bench.get("out") == [7; 5000]);
        let run = bench.tamis(&format!("notes --device third {dump}"));
        run.expect(3).says("there are those of cxgb4_0000:05:00.4, second");
    }
}

#[test]
fn the_core_of_a_process_is_none_of_a_kernel() {
    let bench = Bench::new();
    let mut core = b"\x7fELF\x02\x01\x01".to_vec();
    core.resize(64 + 2 * 56, 0);
    core[16] = 4;
    core[18] = 62;
    core[20] = 1;
    core[32] = 64;
    core[54] = 56;
    core[56] = 2;
    let at = core.len() as u64;
    let mut ph = |index: usize, kind: u8, offset: u64, size: u64| {
        let base = 64 + 56 * index;
        core[base] = kind;
        core[base + 8..base + 16].copy_from_slice(&offset.to_le_bytes());
        core[base + 32..base + 40].copy_from_slice(&size.to_le_bytes());
        core[base + 40..base + 48].copy_from_slice(&size.to_le_bytes());
    };
    ph(0, 4, at, 28);
    ph(1, 1, at + 28, 4096);
    // Where its memory began.
    core[64 + 56 + 16 + 2] = 0x40;
    core.extend([5, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0]);
    core.extend(b"CORE\0\0\0\0");
    core.extend([0; 8 + 4096]);
    bench.put("core", &core);
    bench.tamis("info core").expect(3).says("the core file of a process");
}

/// Random numbers below a bound.
fn noise() -> impl FnMut(usize) -> usize {
    let mut x = 0x1234_5678_9abc_def1u64;
    move |below| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x % below as u64) as usize
    }
}

/// Random damage to some places of a file: any answer, but an answer.
fn damage(bench: &Bench, good: &[u8], places: &[usize], rounds: usize, commands: &[&str]) {
    let mut random = noise();
    for round in 0..rounds {
        let mut bad = good.to_vec();
        for _ in 0..1 + random(4) {
            let at = places[random(places.len())];
            bad[at] = [0, 0xff, 0x80, 0x7f, 1][random(5)];
        }
        if random(4) == 0 {
            bad.truncate(random(bad.len()));
        }
        bench.put("dump", &bad);
        let run = bench.tamis(commands[round % commands.len()]);
        assert!(matches!(run.code, Some(0..=3)), "round {round}: {:?} {}", run.code, run.text());
        assert!(!run.text().contains("panicked"), "round {round}: {}", run.text());
    }
}

#[test]
fn damage_to_headers_and_bitmaps_ends_in_an_answer() {
    let bench = Bench::new();
    let make = Make::new(USUAL).with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\n");
    let dump = make.bytes();
    // Headers, notes, both bitmaps, descriptors.
    let places: Vec<usize> = [0..464, 4096..4700, 8192..8240, 12288..12330, 16384..17200]
        .into_iter()
        .flatten()
        .collect();
    let commands = [
        "info dump",
        "verify dump",
        "dmesg dump",
        "notes dump",
        "pages dump",
        "refilter -f -c -d 31 dump out",
        "repair -f dump out",
        "map dump",
    ];
    damage(&bench, &dump, &places, 300, &commands);
}

#[test]
fn damage_to_streams_ends_in_an_answer() {
    let bench = Bench::new();
    let stream = flatten(&Make::new(USUAL).bytes(), 9000);
    let heads: Vec<usize> = (0..7).flat_map(|n| 4096 + n * 9016..4096 + n * 9016 + 16).collect();
    let commands =
        ["info dump", "verify dump", "rearrange -f dump out", "repair -f dump out", "map dump"];
    damage(&bench, &stream, &heads, 120, &commands);
}

#[test]
fn damage_to_vmcores_ends_in_an_answer() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    let vmcore = bench.get("vmcore");
    let places: Vec<usize> = (0..64 + 56 * 5).collect();
    let commands = [
        "info dump",
        "verify dump",
        "dmesg dump",
        "notes dump",
        "map dump",
        "diff dump vmcore",
        "refilter -f -c -d 31 dump out",
        "repair -f dump out",
    ];
    damage(&bench, &vmcore, &places, 160, &commands);
}

#[test]
fn a_small_stream_that_claims_all_memory_there_could_be_is_refused() {
    let bench = Bench::new();
    let mut dump = Make::new(USUAL).bytes();
    // max_mapnr of the sub-header, and as many blocks of bitmaps as that takes.
    dump[4096 + 96..4096 + 104].copy_from_slice(&(1u64 << 43).to_le_bytes());
    dump[436..440].copy_from_slice(&(1u32 << 29).to_le_bytes());
    let mut stream = flatten(&dump, dump.len());
    stream.truncate(stream.len() - 16);
    // A byte behind the bitmaps, which lie in the gap before it.
    stream.extend((1u64 << 42).to_be_bytes());
    stream.extend(1u64.to_be_bytes());
    stream.push(7);
    stream.extend([0xff; 16]);
    bench.put("flat", &stream);
    for command in ["info flat", "verify flat", "refilter -f flat out"] {
        let run = bench.tamis(command);
        run.says("a bitmap of 1099511627776 bytes in a stream of");
    }
}
