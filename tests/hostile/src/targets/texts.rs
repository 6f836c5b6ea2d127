//! Texts and small tables: VMCOREINFO, command lines, orders of PID 1, initramfs archives, file
//! systems and partitions.

use crate::input::Input;
use crate::{Reach, Target};
use std::collections::BTreeMap;
use tamis_boot::orders::{Orders, words};
use tamis_boot::raw_target::RawTarget;
use tamis_boot::volume;
use tamis_capture::cli::{self, Mode};
use tamis_core::arch::Arch;
use tamis_core::endian::{Endian, Word};
use tamis_core::facts::Facts;
use tamis_core::kernel::page::Classifier;
use tamis_core::kernel::rules::{Given, Rule, Step};
use tamis_core::level::DumpLevel;
use tamis_core::memory::{Machine, MemoryRange};
use tamis_core::units::{PageShift, Pfn, PhysAddr, VirtAddr};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::vmcoreinfo::{Kind, VmcoreInfo};
use tamis_host::initramfs::{cpio, gzip};
use tamis_tests::synth::{KernelStyle, Machine as Synth};

pub const RULES: Target = Target {
    name: "rules",
    about: "rules over symbols and types, as they are written",
    goals: &["rule", "refused", "member", "each", "if", "nothing"],
    run: rules,
    seeds: || {
        let rules = [
            "drop slab slab_caches:list_head each kmem_cache.list if .name=\"dentry\"",
            "keep cache super_blocks:list_head each super_block.s_list if .s_id=\"vda\" .s_inodes \
             each inode.i_sb_list if .i_ino!=0x2f .i_data",
            "drop memory vmap_nodes:vmap_node*[nr_vmap_nodes] .busy.head each vmap_area.list .vm if \
             .caller=&load_module .addr[.size]",
            "drop pages a:b .c[] .d[8] .e[f]\n# nothing\n\nkeep pages a:b .c[9",
        ];
        rules.iter().map(|rule| rule.as_bytes().to_vec()).collect()
    },
};

fn rules(data: &[u8], reach: &mut Reach) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for line in text.lines() {
        match Given::line(line) {
            Ok(None) => reach.at("nothing"),
            Err(error) => {
                reach.at("refused");
                assert!(error.column >= 1 && error.column <= line.len() + 1, "{line}: {error}");
                assert!(line.contains(error.word) && error.to_string().contains("column"));
            }
            Ok(Some(given)) => {
                reach.at("rule");
                let rule = Rule::parse(given.text).expect("it was read before");
                for (step, column) in &rule.steps {
                    reach.at(match step {
                        Step::Member { .. } => "member",
                        Step::Each { .. } => "each",
                        Step::If { .. } => "if",
                    });
                    let rest = &given.text[column - 1..];
                    assert!(rest.starts_with(['.', 'e', 'i']), "{line}: {rest}");
                }
                rule.paths(&mut |path| assert!(given.text.contains(path)));
                rule.symbols(&mut |name| assert!(given.text.contains(name)));
            }
        }
    }
}

pub const VMCOREINFO: Target = Target {
    name: "vmcoreinfo",
    about: "VMCOREINFO: keys against a plain reading of the text, architecture, page classes",
    goals: &["value", "number", "symbol", "version", "page size", "arch", "classifier", "verdict"],
    run: vmcoreinfo,
    seeds: || {
        let styles = KernelStyle::ALL.iter();
        styles.map(|style| Synth::new(*style).build().vmcoreinfo.into_bytes()).collect()
    },
};

fn vmcoreinfo(data: &[u8], reach: &mut Reach) {
    let text = VmcoreInfo::new(data);
    // The first line with a key counts.
    let mut first = BTreeMap::new();
    for line in data.split(|b| *b == b'\n' || *b == 0) {
        if let Some(at) = line.iter().position(|b| *b == b'=')
            && let Ok(key) = std::str::from_utf8(&line[..at])
        {
            first.entry(key).or_insert(&line[at + 1..]);
        }
    }
    let kinds = [Kind::Symbol, Kind::Size, Kind::Offset, Kind::Length, Kind::Number];
    for (key, value) in &first {
        if !key.contains('(') {
            assert_eq!(text.value(key), Some(*value), "{key}");
            let number = text.decimal(key);
            let plain = std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok());
            if value.iter().all(u8::is_ascii_digit) {
                assert_eq!(number, plain, "{key}");
            }
            text.hexadecimal(key);
            reach.at("value");
        }
        for kind in kinds {
            let name = key.strip_prefix(kind.word()).and_then(|rest| rest.strip_prefix('('));
            let Some(name) = name.and_then(|rest| rest.strip_suffix(')')) else { continue };
            let found = text.get(kind, name);
            let plain = std::str::from_utf8(value).map(str::trim_ascii).unwrap_or("?");
            let wanted = match kind {
                Kind::Symbol if plain.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    u64::from_str_radix(plain, 16).ok().filter(|v| *v != 0 && *v != u64::MAX)
                }
                Kind::Number
                    if plain.starts_with('-') && plain[1..].bytes().all(|b| b.is_ascii_digit()) =>
                {
                    plain.parse::<i64>().ok().map(|n| n as u64)
                }
                Kind::Size | Kind::Offset | Kind::Length if plain.starts_with('-') => {
                    // -0 is a number.
                    found.filter(|n| *n == 0)
                }
                _ => found,
            };
            assert_eq!(found, wanted, "{key}={plain}");
            if found.is_some() {
                reach.at(if kind == Kind::Symbol { "symbol" } else { "number" });
            }
        }
    }

    let info = Info::new(Some(data), None);
    if info.version().is_some() {
        reach.at("version");
    }
    if info.page_shift().is_some() {
        reach.at("page size");
    }
    let _ = (info.crash_time(), info.release(), info.kaslr_offset());
    let ram = [MemoryRange {
        phys: PhysAddr(0x100_0000),
        virt: VirtAddr(0xffff_ffff_8100_0000),
        stored_len: 0x1000,
        len: 0x1000,
        ..MemoryRange::default()
    }];
    let machine = Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 };
    // The text as a file beside a vmcore gives the same answers, but for moved symbols.
    let beside = Info::new(None, Some(data));
    assert_eq!(beside.page_shift(), info.page_shift());
    let Ok(arch) = Arch::new(machine, &info, &ram) else { return };
    reach.at("arch");
    for level in [0, 1, 2, 4, 8, 16, 31] {
        let level = DumpLevel::from_bits(level).unwrap_or_default();
        let shift = info.page_shift().unwrap_or(PageShift::FOUR_KIB);
        let Ok(classifier) = Classifier::new(&info, &arch, machine, shift.bits(), level) else {
            continue;
        };
        reach.at("classifier");
        for doubt in classifier.unclassified() {
            assert!(!doubt.kept.is_empty() && !doubt.key.to_string().is_empty());
        }
        let size = classifier.page_struct();
        assert!((8..=4096).contains(&size));
        let mut page = vec![0; 2 * size];
        for fill in [0u8, 1, 0x55, 0x80, 0xaa, 0xf7, 0xff] {
            page.fill(fill);
            let (one, next) = page.split_at(size);
            for pfn in [0, 1, 0x200, 1 << 18, u64::MAX >> 12] {
                let verdict = classifier.classify(one, Some(next), Pfn(pfn));
                let _ = classifier.classify(one, None, Pfn(pfn));
                if verdict != tamis_core::kernel::page::Verdict::Keep {
                    reach.at("verdict");
                }
            }
        }
    }
}

pub const ARGS: Target = Target {
    name: "args",
    about: "the command line of tamis-capture: words end at NUL",
    goals: &["capture", "dmesg", "split", "help", "version", "refused", "levels", "limit"],
    run: arguments,
    seeds: || {
        let lines: [&str; 14] = [
            "-d 31 /proc/vmcore dump",
            "-c -d 31,27,0 --message-level 31 /proc/vmcore dump",
            "--split -z --splitblock-size 1024 vmcore a b c",
            "--dump-dmesg --partial-dmesg vmcore log",
            "-F -l -d 17 vmcore",
            "-E --cyclic-buffer=64 --memory-limit 2M -L 3G vmcore dump",
            "--non-cyclic --lz4 -i info -f vmcore dump",
            "-h",
            "--version",
            "-p -D --show-stats --dry-run vmcore dump",
            "--num-threads 4 --work-dir /tmp -b 3 -c0 vmcore dump",
            "-x vmlinux -e -g -R --reassemble a b",
            "-d 32 vmcore dump",
            "--mem 1k -- -d -c",
        ];
        lines.iter().map(|line| line.replace(' ', "\0").into_bytes()).collect()
    },
};

fn arguments(data: &[u8], reach: &mut Reach) {
    let words = || data.split(|b| *b == 0).take(300);
    match cli::parse(words()) {
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains('\n') && !text.contains('\x1b'), "{text:?}");
            reach.at("refused");
        }
        Ok(parsed) => {
            let given = |name: &&[u8]| words().any(|word| word == *name);
            match parsed.mode {
                Mode::Help => reach.at("help"),
                Mode::Version => reach.at("version"),
                Mode::Capture | Mode::Dmesg => {
                    assert!(parsed.vmcore.is_some_and(|name| given(&name)));
                    assert!(parsed.outputs().iter().all(given));
                    assert!(!parsed.levels().is_empty());
                    assert!(parsed.levels().iter().all(|level| *level <= 31));
                    assert!(parsed.memory_limit != Some(0) && parsed.size_limit != Some(0));
                    assert!(parsed.cyclic_buffer_kib.is_none_or(|k| k.checked_mul(1024).is_some()));
                    assert!(parsed.splitblock_kib.is_none_or(|k| k.checked_mul(1024).is_some()));
                    assert_eq!(parsed.split, parsed.split && parsed.outputs().len() > 1);
                    let dmesg = parsed.mode == Mode::Dmesg;
                    reach.at(if dmesg { "dmesg" } else { "capture" });
                    for (yes, goal) in [
                        (parsed.split, "split"),
                        (parsed.levels().len() > 1, "levels"),
                        (parsed.memory_limit.is_some(), "limit"),
                    ] {
                        if yes {
                            reach.at(goal);
                        }
                    }
                }
            }
        }
    }
}

pub const ORDERS: Target = Target {
    name: "orders",
    about: "the orders of PID 1: the file, then the kernel command line behind a NUL",
    goals: &["from the file", "from the line", "not valid", "quotes", "options"],
    run: orders,
    seeds: || {
        let texts: [&[u8]; 4] = [
            b"# comment\ntarget=UUID=12-34\npath = /var\nargs=\"-c -d 31\"\nkeep=3\nretry=2\0tamis.args=\"-l -d 17\" ro quiet tamis.final=halt",
            b"tamis.dmesg=no\nfstype=raw\ntimeout=90\nwait=5\0\"tamis.path=/a b\" tamis.keep=-1 tamis.colour=red",
            b"\0tamis.target=LABEL=dump tamis.timeout=99999999999 tamis.path=/a/../b",
            b"final=poweroff\nnonsense\n=\n\0tamis. tamis.=",
        ];
        texts.map(<[u8]>::to_vec).to_vec()
    },
};

fn orders(data: &[u8], reach: &mut Reach) {
    let at = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    let (file, line) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let mut orders = Orders::default();
    let mut errors = 0;
    orders.file(file, &mut |_| errors += 1);
    if orders != Orders::default() {
        reach.at("from the file");
    }
    let before = orders;
    orders.command_line(line, &mut |_| errors += 1);
    if orders != before {
        reach.at("from the line");
    }
    if errors > 0 {
        reach.at("not valid");
    }
    // A path never leaves its target.
    assert!(!orders.path.split(|b| *b == b'/').any(|part| part == b".."));
    let (mut length, mut last) = (0, 0);
    for word in words(line) {
        assert!(!word.is_empty());
        let start = word.as_ptr() as usize - line.as_ptr() as usize;
        assert!(start >= last, "words overlap");
        last = start + word.len();
        length += word.len();
        if word.contains(&b'"') && word.contains(&b' ') {
            reach.at("quotes");
        }
    }
    assert!(length <= line.len());
    if cli::parse(words(orders.args).chain([&b"vmcore"[..], b"dump"])).is_ok()
        && orders.args != Orders::default().args
    {
        reach.at("options");
    }
}

pub const CPIO: Target = Target {
    name: "cpio",
    about: "initramfs archives, also packed, as `tamis initramfs` reads its own back",
    goals: &["entries", "unpacked", "written again"],
    run: cpio_archive,
    seeds: || {
        let mut archive = cpio::Archive::default();
        archive.folder("etc");
        archive.file("etc/tamis.conf", 0o644, b"target=/dev/vda\n".to_vec());
        archive.file("init", 0o755, b"\x7fELF and more".to_vec());
        let bytes = archive.bytes();
        vec![gzip::pack(&bytes).expect("in memory"), bytes]
    },
};

fn cpio_archive(data: &[u8], reach: &mut Reach) {
    let unpacked = gzip::unpack(data).ok();
    if let Some(unpacked) = &unpacked {
        reach.at("unpacked");
        assert!(gzip::unpack(&gzip::pack(unpacked).expect("in memory")).as_ref() == Ok(unpacked));
    }
    let Ok(entries) = cpio::read(unpacked.as_deref().unwrap_or(data)) else { return };
    if entries.is_empty() {
        return;
    }
    reach.at("entries");
    let mut archive = cpio::Archive::default();
    let mut files = BTreeMap::new();
    for entry in &entries {
        // Names are read leniently; only those that are text can be written again.
        if entry.mode & 0o170_000 == 0o100_000 && !entry.name.contains(['\u{fffd}', '\0']) {
            archive.file(&entry.name, entry.mode & 0o777, entry.data.to_vec());
            files.insert(entry.name.clone(), entry.data);
        }
    }
    let bytes = archive.bytes();
    let again = cpio::read(&bytes).expect("an archive of our own");
    assert_eq!(again.len(), files.len());
    for entry in &again {
        assert_eq!(files.get(&entry.name), Some(&entry.data));
        reach.at("written again");
    }
}

pub const VOLUME: Target = Target {
    name: "volume",
    about: "file systems by their superblocks, partitions by their tables, dumps by the block in front of \
            them; the bytes are a disk",
    goals: &["ext4", "xfs", "vfat", "btrfs", "gpt", "mbr", "raw"],
    run: volumes,
    seeds: disks,
};

/// Bytes in front of the disk: sector size, partition.
const DISK_HEAD: usize = 2;

fn volumes(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let sector = [512, 4096, 0, 1 << 31][input.byte() as usize % 4];
    let number = u32::from(input.byte());
    let disk = input.rest();
    let head = &disk[..disk.len().min(volume::HEAD)];
    for found in [
        volume::identify(head),
        volume::identify_btrfs(disk.get(volume::BTRFS_AT as usize..).unwrap_or_default()),
        volume::identify_btrfs(head),
    ]
    .into_iter()
    .flatten()
    {
        reach.at(found.kind);
        assert!(found.label.len() <= 256 && found.label.last() != Some(&b' '));
        let text = match found.id {
            volume::VolumeId::Uuid(bytes) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
            volume::VolumeId::Serial(n) => format!("{:04X}-{:04X}", n >> 16, n & 0xffff),
        };
        assert!(found.id.is(text.as_bytes()) && !found.id.is(&text.as_bytes()[1..]));
    }
    if let Some(target) = RawTarget::parse(disk) {
        reach.at("raw");
        assert_eq!(RawTarget::parse(&target.block()), Some(target));
    }
    let mut reads = 0;
    let mut has = |text: &[u8]| {
        let mut read = |at: u64, buf: &mut [u8]| {
            reads += 1;
            let bytes = usize::try_from(at).ok().and_then(|at| disk.get(at..)?.get(..buf.len()));
            bytes.map(|bytes| buf.copy_from_slice(bytes)).is_some()
        };
        volume::has_partuuid(&mut read, sector, number, text)
    };
    if has(b"00000201-0403-0605-0708-090a0b0c0d0e") {
        reach.at("gpt");
    }
    if has(format!("78563412-{number:02x}").as_bytes()) {
        reach.at("mbr");
    }
    has(&disk[..disk.len().min(40)]);
    assert!(reads <= 9, "{reads} reads for one partition");
}

fn disks() -> Vec<Vec<u8>> {
    let disk = |number: u8, len: usize, pieces: &[(usize, &[u8])]| {
        let mut bytes = vec![0; DISK_HEAD + len];
        bytes[1] = number;
        for (at, piece) in pieces {
            bytes[DISK_HEAD + at..][..piece.len()].copy_from_slice(piece);
        }
        bytes
    };
    let id = [0x12; 16];
    let guid: Vec<u8> = [1, 2, 0, 0, 3, 4, 5, 6].into_iter().chain(7..15).collect();
    vec![
        disk(0, 120, &[(0, b"XFSB"), (32, &id), (108, b"dump")]),
        disk(0, 0x488, &[(0x438, b"\x53\xef"), (0x468, &id), (0x478, b"crash")]),
        disk(0, 512, &[(510, b"\x55\xaa"), (82, b"FAT32"), (67, b"abcd"), (71, b"LABEL      ")]),
        disk(0, 512, &[(510, b"\x55\xaa"), (54, b"FAT16"), (39, b"abcd")]),
        disk(0, 0x22b, &[(0x40, b"_BHRfS_M"), (0x20, &id), (0x12b, b"label")]),
        disk(0, 24, &[(0, b"TAMISRAW\x01\0\0\0\x02\0\0\0\0\x10")]),
        disk(1, 512, &[(440, b"\x12\x34\x56\x78"), (510, b"\x55\xaa")]),
        disk(
            2,
            1536,
            &[
                (512, b"EFI PART"),
                (512 + 72, &2u64.to_le_bytes()),
                (512 + 80, &4u32.to_le_bytes()),
                (512 + 84, &128u32.to_le_bytes()),
                (1024 + 128 + 16, &guid),
            ],
        ),
    ]
}
