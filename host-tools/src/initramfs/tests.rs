use super::*;
use crate::testing::Folder;
use std::fs;

fn module(name: &str, depends: &str) -> Vec<u8> {
    format!("\x7fELF module {name}\0license=GPL\0depends={depends}\0name={name}\0").into_bytes()
}

/// A static program as far as anybody looks: an ELF header and one PT_LOAD.
fn program(segment: u32) -> Vec<u8> {
    let mut elf = vec![0; 120];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[32] = 64;
    elf[54] = 56;
    elf[56] = 1;
    elf[64..68].copy_from_slice(&segment.to_le_bytes());
    elf
}

/// A modules folder with one module of each way of packing.
fn modules_folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    let mut xz = Vec::new();
    lzma_rs::xz_compress(&mut &module("virtio_blk", "virtio")[..], &mut xz).unwrap();
    folder.put("kernel/virtio_blk.ko.xz", xz);
    folder.put("kernel/virtio.ko", module("virtio", ""));
    folder.put("kernel/fs/ext4.ko.gz", gzip::pack(&module("ext4", "jbd2,mbcache")).unwrap());
    folder.put("kernel/fs/jbd2.ko.zst", zstd::bulk::compress(&module("jbd2", ""), 3).unwrap());
    folder.put("kernel/fs/mbcache.ko", module("mbcache", ""));
    folder.put("kernel/crc32c_generic.ko", module("crc32c_generic", ""));
    folder.put("kernel/crc32c-intel.ko", module("crc32c_intel", ""));
    folder.put(
        "modules.dep",
        "kernel/virtio_blk.ko.xz: kernel/virtio.ko\nkernel/virtio.ko:\n\
         kernel/fs/ext4.ko.gz: kernel/fs/jbd2.ko.zst kernel/fs/mbcache.ko\n\
         kernel/fs/jbd2.ko.zst:\nkernel/fs/mbcache.ko:\nkernel/crc32c_generic.ko:\n\
         kernel/crc32c-intel.ko:\n",
    );
    folder.put("modules.softdep", "# comment\nsoftdep ext4 pre: crc32c gone post: after\n");
    folder.put(
        "modules.alias",
        "# comment\nalias crc32c crc32c_intel\nalias crc32c crc32c_generic\nalias fs-ext4 ext4\n\
         alias virtio:d00000002v* virtio_blk\n",
    );
    folder.put("modules.builtin", "kernel/fs/vfat.ko\nkernel/drivers/ahci.ko\n");
    folder
}

fn resolved(folder: &Folder, names: &[&str]) -> Result<Vec<String>> {
    let mut wanted = Wanted::default();
    names.iter().for_each(|name| wanted.need(name));
    let modules = Modules::open(&folder.0, "6.6").unwrap().resolve(&wanted)?;
    for module in &modules {
        assert!(module.data.starts_with(format!("\x7fELF module {}\0", module.name).as_bytes()));
    }
    Ok(modules.into_iter().map(|module| module.name).collect())
}

#[test]
fn modules_come_after_what_they_need_unpacked_and_once() {
    let folder = modules_folder("order");
    assert_eq!(
        resolved(&folder, &["virtio-blk", "ext4", "virtio"]).unwrap(),
        ["virtio", "virtio_blk", "crc32c_generic", "mbcache", "jbd2", "ext4"]
    );
    assert_eq!(resolved(&folder, &["fs-ext4"]).unwrap().last().unwrap(), "ext4");
    assert_eq!(resolved(&folder, &["vfat", "ahci"]).unwrap(), [""; 0]);
    let error = resolved(&folder, &["zfs"]).unwrap_err().line();
    assert!(error.contains("no module zfs"), "{error}");
    let mut wanted = Wanted::default();
    wanted.maybe("zfs");
    assert!(Modules::open(&folder.0, "6.6").unwrap().resolve(&wanted).unwrap().is_empty());
}

#[test]
fn a_module_from_elsewhere_brings_what_it_needs() {
    let folder = modules_folder("file");
    let other = Folder::new("file-other");
    let path = other.put("my-disk.ko.gz", gzip::pack(&module("my_disk", "virtio,ahci")).unwrap());
    assert_eq!(resolved(&folder, &[path.to_str().unwrap()]).unwrap(), ["virtio", "my_disk"]);
    let lost = other.put("lost.ko", module("lost", "nowhere"));
    assert!(resolved(&folder, &[lost.to_str().unwrap()]).unwrap_err().line().contains("nowhere"));
    let text = other.put("text.ko", "#!/bin/sh\n");
    assert!(
        resolved(&folder, &[text.to_str().unwrap()])
            .unwrap_err()
            .line()
            .contains("not a kernel module")
    );
}

#[test]
fn modules_outside_of_the_folder_are_not_the_kernels() {
    let folder = modules_folder("outside");
    let outside = folder.put("outside.ko", module("outside", ""));
    folder.put("lib/modules.dep", format!("../outside.ko:\n{}:\n", outside.display()));
    let mut wanted = Wanted::default();
    wanted.need("outside");
    let modules = Modules::open(&folder.0.join("lib"), "6.1").unwrap();
    assert!(modules.resolve(&wanted).err().unwrap().line().contains("no module outside"));
    // Nor does an image go without what a module needs from there.
    folder.put("lib/inside.ko", module("inside", "outside"));
    folder.put("lib/modules.dep", "inside.ko: ../outside.ko\n../outside.ko:\n");
    let mut wanted = Wanted::default();
    wanted.need("inside");
    let modules = Modules::open(&folder.0.join("lib"), "6.1").unwrap();
    let error = modules.resolve(&wanted).err().unwrap().line();
    assert!(error.contains("inside needs ../outside.ko, which is not in the folder"), "{error}");
}

#[test]
fn a_chain_of_modules_that_does_not_end_is_refused() {
    let folder = modules_folder("chain");
    let mut dep = String::new();
    for number in 0..40_000 {
        dep += &format!("kernel/m{number}.ko: kernel/m{}.ko\n", number + 1);
    }
    folder.put("modules.dep", dep);
    assert!(resolved(&folder, &["m0"]).err().unwrap().line().contains("in a chain"));
}

#[test]
fn damaged_modules_are_refused() {
    let folder = modules_folder("damage");
    for (name, file) in
        [("virtio_blk", "virtio_blk.ko.xz"), ("ext4", "fs/ext4.ko.gz"), ("jbd2", "fs/jbd2.ko.zst")]
    {
        let path = folder.0.join("kernel").join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert!(resolved(&folder, &[name]).is_err(), "{name}");
        fs::write(&path, &whole).unwrap();
        assert!(resolved(&folder, &[name]).is_ok(), "{name}");
    }
}

#[test]
fn gzip_comes_back_and_has_neither_name_nor_time() {
    let data: Vec<u8> = (0..60_000u32).map(|n| ((n * n) >> 9) as u8).collect();
    let packed = gzip::pack(&data).unwrap();
    assert_eq!(packed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]);
    assert_eq!(gzip::unpack(&packed).unwrap(), data);
    for cut in [0, 5, 17, packed.len() / 2, packed.len() - 1] {
        assert!(gzip::unpack(&packed[..cut]).is_err(), "{cut}");
    }
    let mut named = packed[..3].to_vec();
    named.extend([8 | 16 | 4, 1, 2, 3, 4, 0, 3, 2, 0, 9, 9]);
    named.extend(b"name\0comment\0");
    named.extend(&packed[10..]);
    assert_eq!(gzip::unpack(&named).unwrap(), data);
    let mut changed = packed.clone();
    let checksum = packed.len() - 8;
    changed[checksum] ^= 1;
    assert!(gzip::unpack(&changed).is_err(), "a wrong checksum");
    assert!(gzip::unpack(&[packed, vec![0]].concat()).is_err(), "a byte behind the end");
    assert!(gzip::unpack(&data).is_err(), "not gzip");
}

fn arguments(words: &[&str]) -> Request {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        request: Request,
    }
    <Line as clap::Parser>::try_parse_from([&["initramfs"], words].concat())
        .unwrap_or_else(|e| panic!("{e}"))
        .request
}

#[test]
fn the_same_inputs_make_the_image_of_the_golden_file() {
    let folder = modules_folder("golden");
    let capture = folder.put("tamis-capture", program(1));
    let conf = folder.put("conf", "# mine\ntamis.final = poweroff\nargs = -d 1");
    let make = |output: &Path| {
        let request = arguments(&[
            "--kernel",
            "6.6",
            "--modules-dir",
            folder.0.to_str().unwrap(),
            "--capture",
            capture.to_str().unwrap(),
            "--conf",
            conf.to_str().unwrap(),
            "--module",
            "virtio_blk",
            "--fstype",
            "ext4",
            "--target",
            "LABEL=dumps",
            "--args",
            "-c -d 31",
            "--order",
            "keep=3",
        ]);
        build(&request, output)
    };
    let (one, two) = (folder.0.join("one.img"), folder.0.join("two.img"));
    assert!(make(&one).unwrap().contains("one.img: 9 files, "));
    make(&two).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    assert!(make(&one).is_err(), "an existing file was overwritten");

    let unpacked = gzip::unpack(&fs::read(&one).unwrap()).unwrap();
    let entries = cpio::read(&unpacked).unwrap();
    let names: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.mode, e.data.len())).collect();
    assert_eq!(
        names,
        [
            ("etc", 0o40755, 0),
            ("etc/tamis.conf", 0o100600, 102),
            ("etc/tamis.modules", 0o100600, 123),
            ("init", 0o100755, 120),
            ("modules", 0o40755, 0),
            ("modules/crc32c_generic.ko", 0o100600, 68),
            ("modules/ext4.ko", 0o100600, 60),
            ("modules/jbd2.ko", 0o100600, 48),
            ("modules/mbcache.ko", 0o100600, 54),
            ("modules/virtio.ko", 0o100600, 52),
            ("modules/virtio_blk.ko", 0o100600, 66),
        ]
    );
    let text = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name == name).unwrap();
        String::from_utf8(entry.data.to_vec()).unwrap()
    };
    assert_eq!(
        text("etc/tamis.conf"),
        "# mine\ntamis.final = poweroff\nargs = -d 1\ntarget = LABEL=dumps\nfstype = ext4\n\
         args = -c -d 31\nkeep = 3\n"
    );
    assert_eq!(
        text("etc/tamis.modules"),
        "/modules/virtio.ko\n/modules/virtio_blk.ko\n/modules/crc32c_generic.ko\n\
         /modules/mbcache.ko\n/modules/jbd2.ko\n/modules/ext4.ko\n"
    );
    let mut checksum = flate2::Crc::new();
    checksum.update(&unpacked);
    assert_eq!(checksum.sum(), 1_133_006_092, "the archive itself");
    assert!(list(&one).unwrap().contains("/etc/tamis.conf:\n  # mine\n"));
    for cut in 0..unpacked.len() - 4 {
        assert!(cpio::read(&unpacked[..cut]).is_err() || unpacked.len() - cut < 512, "{cut}");
    }
}

#[test]
fn orders_that_are_not_valid_are_refused() {
    let error = |words: &[&str]| orders(&arguments(words)).unwrap_err().line();
    assert!(
        error(&["--order", "colour=red"])
            .contains("no order tamis.colour; the orders are args, target")
    );
    assert!(error(&["--order", "final"]).contains("NAME=VALUE"));
    let long = format!("path={}", "x".repeat(MOST_TEXT));
    assert!(error(&["--order", &long]).contains("reads 4096"));
    assert!(error(&["--order", "final=explode"]).contains("tamis.final cannot be 'explode'"));
    let target = |conf| text_of(obeyed(conf).unwrap().target);
    assert_eq!(target("keep = 1\ntamis.target = \"/x\"\ntarget=\n# target=/z\n"), None);
    assert_eq!(target("target = /y\ntamis.target = \"/x\"\n"), Some("/x".into()));
    let device = error(&["--target", "vda"]);
    assert!(device.contains("tamis.target cannot be 'vda'; a target is a device"), "{device}");
    assert!(error(&["--order", "timeout=abc"]).contains("tamis.timeout cannot be 'abc'"));
    for (options, why) in [
        ("-c -d 99", "tamis.args: -d '99' is not valid"),
        ("-F", "only VMCORE, with -F"),
        ("-c vmcore", "wrong number of file names"),
        ("-e", "tamis.args: -e: "),
    ] {
        let error = error(&["--target", "/dev/vda", "--args", options]);
        assert!(error.contains(why) && error.contains("without file names"), "{error}");
    }
}

#[test]
fn a_kernel_without_modules_needs_no_tables_of_them() {
    let folder = Folder::new("built-in");
    let capture = folder.put("tamis-capture", program(1));
    let made = |name: &str, words: &[&str]| {
        let usual = ["--kernel", "6.6", "--capture", capture.to_str().unwrap()];
        build(&arguments(&[&usual[..], words].concat()), &folder.0.join(name))
    };
    made("named", &["--target", "/dev/vda", "--fstype", "ext4", "--no-modules"]).unwrap();
    made("nothing", &["--target", "/dev/vda"]).unwrap();
    let missing = ["--target", "/dev/vda", "--fstype", "ext4", "--modules-dir", "/nowhere"];
    let error = made("missing", &missing).unwrap_err().line();
    assert!(error.contains("modules.dep") && error.contains("--no-modules"), "{error}");
}

#[test]
fn only_a_static_program_becomes_init() {
    assert_eq!(is_static(&program(1)), Some(true));
    assert_eq!(is_static(&program(3)), Some(false));
    assert_eq!((is_static(b"#!/bin/sh"), is_static(&program(1)[..66])), (None, None));
}

/// A machine with a virtio disk, an NVMe disk behind a subsystem, and a volume on top.
fn pictured(name: &str) -> Folder {
    let root = Folder::new(name);
    let pci = "sys/devices/pci0000:00";
    let disk = format!("{pci}/0000:00:05.0/virtio2/block/vda/vda2");
    root.put(&format!("{disk}/partition"), "2\n");
    root.link("sys/class/block/vda2", &disk);
    for module in ["virtio_pci", "virtio_blk", "nvme"] {
        root.put(&format!("sys/module/{module}/x"), "");
        root.link(&format!("sys/bus/drivers/{module}/module"), &format!("sys/module/{module}"));
    }
    root.link(&format!("{pci}/0000:00:05.0/driver"), "sys/bus/drivers/virtio_pci");
    root.link(&format!("{pci}/0000:00:05.0/virtio2/driver"), "sys/bus/drivers/virtio_blk");
    let nvme = "sys/devices/virtual/nvme-subsystem/nvme-subsys0";
    root.put(&format!("{nvme}/nvme0n1/size"), "1\n");
    root.link("sys/class/block/nvme0n1", &format!("{nvme}/nvme0n1"));
    root.put(&format!("{pci}/0000:00:06.0/nvme/nvme0/state"), "live\n");
    root.link(&format!("{nvme}/nvme0"), &format!("{pci}/0000:00:06.0/nvme/nvme0"));
    root.link(&format!("{pci}/0000:00:06.0/driver"), "sys/bus/drivers/nvme");
    root.put("sys/devices/virtual/block/dm-0/dm/name", "root\n");
    root.link("sys/class/block/dm-0", "sys/devices/virtual/block/dm-0");
    let mut ext4 = vec![0; 4096];
    ext4[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    ext4[0x468..0x478].fill(0xab);
    ext4[0x478..0x47c].copy_from_slice(b"here");
    root.put("dev/vda2", ext4);
    root.put("dev/nvme0n1", vec![0; 16]);
    root.put("dev/dm-0", "");
    root.link("dev/disk/by-uuid/0A-b", "dev/vda2");
    root.link("dev/disk/by-label/my\\x20dumps", "dev/nvme0n1");
    root.put("proc/mounts", "proc /proc proc rw 0 0\n/dev/nvme0n1 /var xfs rw 0 0\n");
    root.put("proc/filesystems", "nodev\tproc\n\text4\n");
    root.put("proc/sys/kernel/osrelease", "6.6.1-test\n");
    root
}

/// Without udev there are no links: the volumes themselves have their names.
#[test]
fn volumes_are_found_without_udev() {
    let root = pictured("volumes");
    let machine = Machine::pictured(&root.0);
    for target in ["UUID=ABABABAB-abab-abab-abab-abababababab", "LABEL=here"] {
        assert_eq!(machine.block_device(target).unwrap(), "vda2", "{target}");
    }
    for target in ["UUID=ababab", "LABEL=her", "LABEL=", "UUID="] {
        let said = machine.block_device(target).unwrap_err().line();
        assert!(said.contains("is not there on this machine"), "{target}: {said}");
    }
}

#[test]
fn watchdogs_that_run_are_found() {
    let root = pictured("watchdogs");
    let machine = Machine::pictured(&root.0);
    assert_eq!(machine.watchdogs(), [""; 0]);
    let pci = "sys/devices/pci0000:00";
    for (nr, (driver, state)) in
        [("iTCO_wdt", "active\n"), ("wdat_wdt", "inactive\n"), ("softdog", "active\n")]
            .into_iter()
            .enumerate()
    {
        root.put(&format!("sys/module/{driver}/x"), "");
        root.link(&format!("sys/bus/drivers/{driver}/module"), &format!("sys/module/{driver}"));
        let class = format!("sys/class/watchdog/watchdog{nr}");
        root.put(&format!("{class}/state"), state);
        if driver != "softdog" {
            root.put(&format!("{pci}/{driver}.0/x"), "");
            root.link(&format!("{pci}/{driver}.0/driver"), &format!("sys/bus/drivers/{driver}"));
            root.link(&format!("{class}/device"), &format!("{pci}/{driver}.0"));
        }
    }
    assert_eq!(machine.watchdogs(), ["iTCO_wdt"]);
    // A kernel that does not report whether it runs.
    std::fs::remove_file(root.0.join("sys/class/watchdog/watchdog1/state")).unwrap();
    let mut both = machine.watchdogs();
    both.sort();
    assert_eq!(both, ["iTCO_wdt", "wdat_wdt"]);
}

#[test]
fn the_drivers_of_a_target_are_found_from_the_bus_down() {
    let root = pictured("machine");
    let machine = Machine::pictured(&root.0);
    assert_eq!(machine.release().unwrap(), "6.6.1-test");
    assert!(machine.knows("ext4") && machine.knows("proc") && !machine.knows("nodev"));
    for target in ["/dev/vda2", "UUID=0a-B"] {
        let found = machine.needs(target).unwrap();
        assert_eq!(found.drivers, ["virtio_pci", "virtio_blk"]);
        assert_eq!(found.fstype.as_deref(), Some("ext4"));
    }
    let found = machine.needs("LABEL=my dumps").unwrap();
    assert_eq!((found.drivers, found.fstype.as_deref()), (vec!["nvme".to_owned()], Some("xfs")));
    for (target, why) in
        [("/dev/dm-0", "put together"), ("UUID=1", "not there"), ("/dev/sdz", "not there")]
    {
        let error = machine.needs(target).err().unwrap().line();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn rules_are_checked_and_packed() {
    let folder = modules_folder("rules");
    let capture = folder.put("tamis-capture", program(1));
    let older = folder.put("older", [&program(1)[..], super::NO_RULES.as_bytes()].concat());
    let text = "# mine\ndrop slab slab_caches:list_head each kmem_cache.list if .name=\"dentry\"\n";
    let (good, bad) = (folder.put("good", text), folder.put("bad", "drop slab\n\nkeep nothing\n"));
    let make = |rules: &Path, capture: &Path| {
        let output = folder.0.join("rules.img");
        let [rules, capture] = [rules, capture].map(|path| path.to_str().unwrap());
        let words =
            ["--no-modules", "--kernel", "6.6", "--target", "LABEL=dumps", "--capture", capture];
        let more = ["--args", "-l -d 31", "--rules", rules, "--force"];
        build(&arguments(&[&words[..], &more].concat()), &output)?;
        Ok::<_, Fail>(gzip::unpack(&fs::read(output).unwrap()).unwrap())
    };
    let unpacked = make(&good, &capture).unwrap();
    let entries = cpio::read(&unpacked).unwrap();
    let of = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap().data;
    assert_eq!(of("etc/tamis.rules"), text.as_bytes());
    let conf = std::str::from_utf8(of("etc/tamis.conf")).unwrap();
    assert!(conf.ends_with("args = -l -d 31 --rules /etc/tamis.rules\n"), "{conf}");
    let error = format!("{:?}", make(&bad, &capture).unwrap_err());
    assert!(error.contains("line 1"), "{error}");
    let error = format!("{:?}", make(&good, &older).unwrap_err());
    assert!(error.contains("without the feature rules"), "{error}");
}
