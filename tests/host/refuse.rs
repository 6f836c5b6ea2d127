//! What is not a dump is refused in one line that says what it looks like.

use crate::common::Bench;
use tamis_tests::make::{Make, USUAL, flatten};
use tamis_tests::synth::KernelStyle;
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
    let cases: [(&[u8], &str); 18] = [
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
