use super::*;
use crate::initramfs::cpio::Archive;
use crate::testing::Folder;

/// A machine on which everything is as it should be: a virtio disk with ext4, a watchdog that runs, an image for it.
fn sound(name: &str) -> Folder {
    let root = Folder::new(name);
    root.put("sys/kernel/kexec_crash_size", "134217728\n");
    root.put("sys/kernel/kexec_crash_loaded", "1\n");
    root.put("proc/sys/kernel/osrelease", "6.6.1-test\n");
    root.put("proc/sys/kernel/panic", "10\n");
    root.put("proc/sys/kernel/panic_on_oops", "1\n");
    root.put("proc/cmdline", "ro quiet\n");
    root.put("proc/meminfo", meminfo(1 << 20));
    root.put("proc/self/mountinfo", "20 1 254:2 / / rw - ext4 /dev/vda2 rw\n");
    root.put("proc/mounts", "/dev/vda2 / ext4 rw 0 0\n");
    let options: String =
        OPTIONS.iter().map(|(any, _)| format!("CONFIG_{}=y\n", any[any.len() - 1])).collect();
    root.put("boot/config-6.6.1-test", options);
    root.put("sys/module/virtio_blk/x", "");
    let disk = "sys/devices/pci0000:00/virtio0";
    root.put(&format!("{disk}/block/vda/vda2/dev"), "254:2\n");
    root.link(&format!("{disk}/driver/module"), "sys/module/virtio_blk");
    root.link("sys/class/block/vda2", &format!("{disk}/block/vda/vda2"));
    root.put("dev/vda2", vec![0; 16]);
    root.link("dev/disk/by-uuid/0a-0b", "dev/vda2");
    let dog = "sys/devices/platform/dog";
    root.put("sys/module/iTCO_wdt/x", "");
    root.put(&format!("{dog}/watchdog/watchdog0/state"), "active\n");
    root.link(&format!("{dog}/driver/module"), "sys/module/iTCO_wdt");
    root.link(&format!("{dog}/watchdog/watchdog0/device"), dog);
    root.link("sys/class/watchdog/watchdog0", &format!("{dog}/watchdog/watchdog0"));
    root.put("lib/modules/6.6.1-test/modules.builtin", "kernel/fs/ext4/ext4.ko\n");
    pack(&root, "target = UUID=0a-0b\nkeep = 3\n", &["virtio_blk", "iTCO-wdt"]);
    root
}

fn meminfo(kernel_kib: u64) -> String {
    let total = 8_000_000 + kernel_kib;
    format!("MemTotal: {total} kB\nMemFree: 3000000 kB\nActive: 2000000 kB\nInactive: 3000000 kB\n")
}

fn pack(root: &Folder, orders: &str, modules: &[&str]) {
    let mut archive = Archive::default();
    archive.file("init", 0o755, b"\x7fELF".to_vec());
    archive.file("etc/tamis.conf", 0o644, orders.as_bytes().to_vec());
    let list: String = modules.iter().map(|name| format!("/lib/{name}.ko\n")).collect();
    archive.file("etc/tamis.modules", 0o644, list.into_bytes());
    root.put("boot/tamis-kdump-6.6.1-test.img", gzip::pack(&archive.bytes()).unwrap());
}

/// What `name` came out as, with what was found and what is next.
fn check(root: &Folder, name: &str) -> (Outcome, String) {
    let found = Doctor::pictured(&root.0).examine().unwrap();
    let check =
        found.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}"));
    (check.outcome, format!("{}; {}", check.found, check.next.as_deref().unwrap_or("")))
}

/// After a change of one file the check comes out like this, and says so.
fn becomes(name: &str, change: impl FnOnce(&Folder), outcome: Outcome, words: &[&str]) {
    let root = sound(&format!("doctor-{name}-{}", words[0].replace(['/', ' '], "-")));
    assert_eq!(check(&root, name).0, Outcome::Good, "{:?}", check(&root, name));
    change(&root);
    let (found, text) = check(&root, name);
    assert_eq!(found, outcome, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word}: {text}"));
}

#[test]
fn a_sound_machine_is_good_in_everything() {
    let root = sound("doctor-sound");
    let found = Doctor::pictured(&root.0).examine().unwrap();
    assert!(found.checks.iter().all(|check| check.outcome == Outcome::Good), "{}", found.text());
    assert!(found.is_good() && found.text().contains("tamis doctor --try"));
    assert_eq!(found.checks.len(), 7);
}

#[test]
fn memory_that_is_reserved() {
    let size = |bytes: &'static str| {
        move |root: &Folder| drop(root.put("sys/kernel/kexec_crash_size", bytes))
    };
    becomes("memory", size("0\n"), Outcome::Bad, &["no memory is reserved", "crashkernel=128M"]);
    becomes("memory", size("67108864\n"), Outcome::Note, &["64.0 MiB"]);
    becomes("memory", size("many\n"), Outcome::Note, &["no number"]);
    let given = |root: &Folder| {
        root.put("sys/kernel/kexec_crash_size", "0");
        root.put("proc/cmdline", "ro crashkernel=64G\n");
    };
    becomes("memory", given, Outcome::Bad, &["although", "dmesg"]);
    let none = |root: &Folder| fs::remove_file(root.0.join("sys/kernel/kexec_crash_size")).unwrap();
    becomes("memory", none, Outcome::Bad, &["cannot load", "CONFIG_CRASH_DUMP"]);
}

#[test]
fn a_crash_kernel_that_is_loaded() {
    let unload = |root: &Folder| drop(root.put("sys/kernel/kexec_crash_loaded", "0\n"));
    becomes("loaded", unload, Outcome::Bad, &["no crash kernel", "kexec -p"]);
    let never = |root: &Folder| {
        unload(root);
        root.put("proc/sys/kernel/kexec_load_disabled", "1\n");
    };
    becomes("loaded", never, Outcome::Bad, &["disabled until the next boot"]);
    let root = sound("doctor-lockdown");
    root.put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    assert_eq!(check(&root, "lockdown").0, Outcome::Note);
}

#[test]
fn options_of_the_kernel() {
    let config = "boot/config-6.6.1-test";
    let without = |root: &Folder| {
        let text = fs::read_to_string(root.0.join(config)).unwrap();
        root.put(config, text.replace("CONFIG_PROC_VMCORE=y", "# CONFIG_PROC_VMCORE is not set"));
    };
    becomes(
        "kernel",
        without,
        Outcome::Bad,
        &["CONFIG_PROC_VMCORE (shows the dead kernel's memory"],
    );
    let packed = |root: &Folder| {
        without(root);
        let text = fs::read(root.0.join(config)).unwrap();
        fs::remove_file(root.0.join(config)).unwrap();
        root.put("proc/config.gz", gzip::pack(&text).unwrap());
    };
    becomes("kernel", packed, Outcome::Bad, &["lacks CONFIG_PROC_VMCORE"]);
    let unknown = |root: &Folder| fs::remove_file(root.0.join(config)).unwrap();
    becomes("kernel", unknown, Outcome::Note, &["not known", "/boot/config-6.6.1-test"]);
}

#[test]
fn an_image_that_does_what_it_is_for() {
    let orders =
        |orders: &'static str| move |root: &Folder| pack(root, orders, &["virtio_blk", "iTCO_wdt"]);
    becomes("image", orders("final = explode\n"), Outcome::Bad, &["explode", "anew"]);
    becomes("image", orders("target = UUID=0a-0b\nargs = -F\n"), Outcome::Bad, &["-F"]);
    becomes("image", orders("target = UUID=ff\n"), Outcome::Bad, &["UUID=ff is not there"]);
    becomes("image", orders("keep = 3\n"), Outcome::Note, &["no target", "tamis.target="]);
    let poor = |root: &Folder| pack(root, "target = UUID=0a-0b\n", &["iTCO_wdt"]);
    becomes("image", poor, Outcome::Bad, &["lacks virtio_blk for UUID=0a-0b", "--from-running"]);
    let xfs = |root: &Folder| pack(root, "target = UUID=0a-0b\nfstype = xfs\n", &["virtio_blk"]);
    becomes("image", xfs, Outcome::Bad, &["lacks xfs"]);
    let gone =
        |root: &Folder| fs::remove_file(root.0.join("boot/tamis-kdump-6.6.1-test.img")).unwrap();
    becomes("image", gone, Outcome::Note, &["no image", "--image"]);
    let other =
        |root: &Folder| drop(root.put("boot/tamis-kdump-6.6.1-test.img", "an initramfs of dracut"));
    becomes("image", other, Outcome::Note, &["is known"]);
    let elsewhere = |root: &Folder| {
        let (old, new) = ("boot/tamis-kdump-6.6.1-test.img", "boot/other.img");
        fs::rename(root.0.join(old), root.0.join(new)).unwrap();
        root.put("etc/tamis-kdump.conf", "# a comment\nKDUMP_INITRD=\"/boot/other.img\"\n");
        pack(root, "target = UUID=ff\n", &[]);
        fs::rename(root.0.join(old), root.0.join(new)).unwrap();
    };
    becomes("image", elsewhere, Outcome::Bad, &["boot/other.img", "UUID=ff"]);
}

#[test]
fn an_image_that_was_named_and_is_none_is_an_error() {
    let root = sound("doctor-named");
    let mut doctor = Doctor::pictured(&root.0);
    doctor.image = Some(root.put("image", "an initramfs of dracut"));
    let Err(fail) = doctor.examine() else { panic!("it was taken") };
    assert!(fail.line().contains("was not made by `tamis initramfs`"), "{}", fail.line());
}

#[test]
fn room_where_the_dump_goes() {
    let kernel = |kib: u64| move |root: &Folder| drop(root.put("proc/meminfo", meminfo(kib)));
    becomes("room", kernel(1 << 50), Outcome::Bad, &["/var/crash", "make room"]);
    let none = |root: &Folder| drop(root.put("proc/meminfo", "MemTotal: x\n"));
    becomes("room", none, Outcome::Note, &["free"]);
    let away = |root: &Folder| {
        drop(root.put("proc/self/mountinfo", "20 1 254:9 / / rw - ext4 /dev/vda9 rw\n"))
    };
    becomes("room", away, Outcome::Note, &["UUID=0a-0b is not mounted"]);
    assert_eq!(image::kernel_memory(&meminfo(4)), Some(4096));
    assert_eq!(image::kernel_memory("MemTotal: 1 kB\n"), None);
}

#[test]
fn a_watchdog_and_its_driver() {
    let poor = |root: &Folder| pack(root, "target = UUID=0a-0b\n", &["virtio_blk"]);
    becomes("watchdog", poor, Outcome::Bad, &["iTCO_wdt", "resets the machine"]);
    let asleep = |root: &Folder| {
        drop(root.put("sys/devices/platform/dog/watchdog/watchdog0/state", "inactive\n"));
    };
    becomes("watchdog", asleep, Outcome::Note, &["no watchdog runs"]);
    let unknown =
        |root: &Folder| fs::remove_file(root.0.join("boot/tamis-kdump-6.6.1-test.img")).unwrap();
    becomes("watchdog", unknown, Outcome::Note, &["has to feed it"]);
}

#[test]
fn what_happens_at_a_panic() {
    let set = |name: &'static str, value: &'static str| {
        move |root: &Folder| drop(root.put(&format!("proc/sys/kernel/{name}"), value))
    };
    becomes(
        "panic",
        set("panic_on_oops", "0\n"),
        Outcome::Note,
        &["sysctl kernel.panic_on_oops=1"],
    );
    becomes("panic", set("panic", "0\n"), Outcome::Note, &["sysctl kernel.panic=10"]);
    let first = |root: &Folder| {
        drop(root.put("sys/module/kernel/parameters/crash_kexec_post_notifiers", "Y\n"));
    };
    becomes("panic", first, Outcome::Note, &["crash_kexec_post_notifiers"]);
}
