"""Crash kernels whose initramfs a distribution's own tool makes, with tamis-capture in it as
capture-bin/integrations says: the files there are installed into a Debian system (made with
debootstrap, once), the tool is run in it, and a guest with that system as its disk crashes.

What is on the disk afterwards is held against the dead kernel's memory, as in `alone.py`."""

import os
import re
import shutil
import time
from dataclasses import dataclass

from . import alone, guest, packages
from .common import REPO, VmError, replace_file, run, say, state_dir, tail
from .runs import KERNELS

KERNEL = "6.1"
SUITE = "bookworm"
PACKAGES = ("systemd-sysv", "udev", "kmod", "dracut-core", "initramfs-tools", "kdump-tools", "makedumpfile",
            "kexec-tools", "busybox", "zstd")
MEMORY_MIB = 768
CRASHKERNEL = "320M"
SECONDS = 400
"""For a whole system with systemd, twice emulated, on a busy machine."""

INTEGRATIONS = REPO / "capture-bin/integrations"
APPEND = "root=/dev/vda console=ttyS0 nr_cpus=1 irqpoll reset_devices panic=1 loglevel=4"


IN_FOLDER = rf"var/crash/\d{{4}}-\d\d-\d\d-\d\d-\d\d-\d\d-{alone.HOST}"
"""Where tamis-capture puts a dump by itself."""


@dataclass(frozen=True)
class Distro:
    """One crash that a distribution's initramfs has to save."""

    name: str
    about: str
    files: tuple[tuple[str, str], ...]
    """(file or folder below integrations, folder of the system that it goes into)."""
    build: str
    """Shell commands in the system that make the image, the kernel's release in $V."""
    load: str
    """Shell commands in the running system that load the crash kernel."""
    line: str = ""
    """More words for the first kernel's command line."""
    dump: str = IN_FOLDER + "/vmcore"
    """Where the dump has to be, as a regular expression."""
    log: str = IN_FOLDER + r"/vmcore-dmesg\.txt"
    options: str = "-c -d 31"
    """Options with which the host makes the same dump."""
    var: bool = False
    """Whether /var is a file system of its own, on a second disk."""


MODULES = r"""
sed -i 's/^MODULES=.*/MODULES=list/' /etc/initramfs-tools/initramfs.conf
printf '%s\n' virtio_pci virtio_blk ext4 > /etc/initramfs-tools/modules
"""

DRACUT = {
    "files": (("dracut/99tamis", "usr/lib/dracut/modules.d"),),
    "build": 'dracut --add tamis --force --no-hostonly --drivers "virtio_pci virtio_blk ext4" '
             '/boot/initramfs-tamis.img "$V"',
    "load": 'kexec -p -s "/boot/vmlinuz-$(uname -r)" --initrd=/boot/initramfs-tamis.img '
            f'--append="{APPEND}"',
}
INITRAMFS_TOOLS = {
    "files": (("initramfs-tools/hooks/tamis", "etc/initramfs-tools/hooks"),
              ("initramfs-tools/scripts/local-bottom/tamis", "etc/initramfs-tools/scripts/local-bottom")),
    "build": MODULES + 'mkinitramfs -o /boot/initrd-tamis.img "$V"',
    "load": 'kexec -p -s "/boot/vmlinuz-$(uname -r)" --initrd=/boot/initrd-tamis.img '
            f'--append="{APPEND}"',
}

DISTROS = {one.name: one for one in [
    Distro("dracut", "the dracut module", **DRACUT),
    Distro("dracut-var", "the dracut module, /var on a disk of its own", var=True, **DRACUT),
    Distro("initramfs-tools", "the hook and the script of initramfs-tools", **INITRAMFS_TOOLS),
    Distro("initramfs-tools-var", "the same, /var on a disk of its own", var=True, **INITRAMFS_TOOLS),
    Distro("kdump-tools", "kdump-tools with tamis-capture in makedumpfile's place", (),
           build=MODULES + r"""
dpkg-divert --local --rename --add /usr/bin/makedumpfile
ln -sf /usr/sbin/tamis-capture /usr/bin/makedumpfile
[ -e /etc/default/kdump-tools.orig ] || cp /etc/default/kdump-tools /etc/default/kdump-tools.orig
cat /etc/default/kdump-tools.orig /tmp/kdump-tools.conf > /etc/default/kdump-tools
/etc/kernel/postinst.d/kdump-tools "$V"
cp /etc/kdump/sysctl.conf "/var/lib/kdump/latest_sysctls-$V"
""",
           load="kdump-config load", line="root=/dev/vda", dump=r"var/crash/\d{12}/dump\.\d{12}",
           log=r"var/crash/\d{12}/dmesg\.\d{12}", options="-c -d 31 -F"),
    Distro("tamis-kdump", "what the systemd unit calls, in the guest that then crashes; tamis doctor before and after",
           (("systemd/tamis-kdump", "usr/sbin"),), build="",
           load='export KDUMP_APPEND="console=ttyS0 nr_cpus=1 irqpoll reset_devices panic=1"; '
                "if tamis doctor; then exit 1; fi; "
                "for what in load unload load; do tamis-kdump $what; done; tamis doctor"),
    Distro("from-running", "tamis initramfs --from-running, in the guest that then crashes", (), build="",
           load='tamis initramfs -o /tmp/kdump.img --from-running --target /dev/vda --args "-z -d 31" && '
                'tamis initramfs --list /tmp/kdump.img && '
                'kexec -p -s "/boot/vmlinuz-$(uname -r)" --initrd=/tmp/kdump.img '
                '--append="console=ttyS0 nr_cpus=1 irqpoll reset_devices panic=1 loglevel=4"',
           options="-z -d 31"),
]}
"""Runs by name."""

FIRST_INIT = guest.BOTH_INITS + """
hostname """ + alone.HOST + """
mkdir -p /data /tmp
mount -t ext4 /dev/vda /data || fail "mount of the system's disk"
mount -t tmpfs -o size=50% tmp /tmp || fail "mount of a tmpfs"
for folder in proc sys dev; do mount --bind /$folder /data/$folder || fail "binding $folder"; done
sed -n '/System RAM\\|Crash kernel/s/^/VM: iomem /p' /proc/iomem
chroot /data /bin/sh -ec 'PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH; {load}' || fail "loading the crash kernel"
[ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ] || fail "no crash kernel is loaded"
echo "VM: crash kernel loaded"
mkdir /data/files && mv /data/srv/read.* /data/files/ || fail "the load's files"
vm_guest load 64 /data/files /tmp || fail "load"
sync
echo "VM: panic now"
echo c > /proc/sysrq-trigger
"""


def system(kernel):
    """The folder with the Debian system, made once; the kernel and its modules are in it."""
    root = state_dir() / "debian" / "root"
    if (root / "made").exists():
        return root
    if os.geteuid() != 0:
        raise VmError("while making a Debian system: this needs root\n  next: run as root")
    debootstrap = shutil.which("debootstrap") or shutil.which("debootstrap", path="/usr/sbin:/sbin")
    if not debootstrap:
        say("installing debootstrap")
        run(["apt-get", "install", "-y", "--no-install-recommends", "debootstrap"], "installing debootstrap",
            timeout=600, env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
        debootstrap = "/usr/sbin/debootstrap"
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    say(f"making a Debian system ({SUITE}, some minutes)")
    run([debootstrap, "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root,
         packages.archive_uris()[0]], "making a Debian system", timeout=1800,
        hint=f"read {root}/debootstrap/debootstrap.log")
    shutil.copytree(kernel.home / "root/boot", root / "boot", dirs_exist_ok=True)
    shutil.copytree(kernel.modules, root / "lib/modules" / kernel.release, dirs_exist_ok=True)
    (root / "etc/hostname").write_text(alone.HOST + "\n")
    within(root, f"depmod {kernel.release}; systemd-machine-id-setup", "preparing the Debian system")
    (root / "made").touch()
    return root


def within(root, commands, doing):
    """Run shell commands in the system. Nothing of it stays mounted."""
    mounted = []
    try:
        for kind, name in (("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev")):
            run(["mount", "-t", kind, kind, root / name], f"mounting {name} in the Debian system")
            mounted.append(root / name)
        return run(["chroot", root, "/bin/sh", "-ec", commands], doing, timeout=900,
                   env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
                   hint=f"try it by hand in {root}").stdout
    finally:
        for path in reversed(mounted):
            run(["umount", path], f"unmounting {path}")


def make_disk(path, root):
    """The disk of the system. It has a journal: nobody unmounts it before the crash."""
    path.unlink(missing_ok=True)
    with open(path, "wb") as disk:
        disk.truncate(1536 << 20)
    run([guest.find_sbin("mkfs.ext4"), "-q", "-F", "-O", "^metadata_csum", "-d", root, path],
        "making the system's disk", timeout=300)


def crash(one, tools):
    """Crash the guest; afterwards its folder holds root.img, the RAM file and serial.log."""
    home = state_dir() / one.name
    home.mkdir(parents=True, exist_ok=True)
    kernel = packages.kernel(KERNEL, *KERNELS[KERNEL])
    root = system(kernel)
    say(f"{one.name}: making the image with the distribution's tool")
    for program, name in ((tools.capture, "tamis-capture"), (tools.tamis, "tamis")):
        shutil.copyfile(program, root / "usr/sbin" / name)
        (root / "usr/sbin" / name).chmod(0o755)
    for source, folder in one.files:
        run(["cp", "-r", INTEGRATIONS / source, root / folder], f"installing {source}")
    shutil.copyfile(INTEGRATIONS / "kdump-tools/kdump-tools.conf", root / "tmp/kdump-tools.conf")
    try:
        within(root, f"V={kernel.release}\n{one.build}", f"making the image of {one.name}")
        guest.seeded_files(root / "srv", 8)
        var = "/dev/vdb /var ext4 defaults 0 2\n" if one.var else ""
        (root / "etc/fstab").write_text("# what is mounted where\n" + var + "/dev/vda / ext4 defaults 0 0\n")
        make_disk(home / "root.img", root)
        if one.var:
            (home / "var").mkdir(exist_ok=True)
            make_disk(home / "var.img", home / "var")
    finally:
        # The next run's images are not to have them.
        for source, folder in one.files:
            path = root / folder / source.rpartition("/")[2]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    first = FIRST_INIT.format(about="PID 1 of the kernel that is going to crash.", load=one.load)
    first = first.replace("/dev/vdc", "/dev/vda")
    (home / "first.cpio").write_bytes(guest.initramfs(kernel, first, {"vm_guest": guest.guest_helper()}))
    memory, serial = home / "ram.ram", home / "serial.log"
    argv = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", f"{MEMORY_MIB}M", "-smp", 1,
        "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot", "-monitor", "none",
        "-serial", f"file:{serial}", "-kernel", kernel.image, "-initrd", home / "first.cpio",
        "-M", "pc,memory-backend=ram",
        "-object", f"memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path={memory},share=on",
        "-append", guest.FIRST_LINE.format(crashkernel=CRASHKERNEL, more=one.line),
        "-drive", f"file={home / 'root.img'},format=raw,if=virtio,cache=unsafe",
    ]
    if one.var:
        argv += ["-drive", f"file={home / 'var.img'},format=raw,if=virtio,cache=unsafe"]
    say(f"{one.name}: booting, crashing (at most {SECONDS} s)")
    started = time.monotonic()
    for left in range(guest.TRIES - 1, -1, -1):
        memory.unlink(missing_ok=True)
        try:
            guest.boot(argv, serial, SECONDS)
            if alone.CRASHED not in serial.read_text(errors="replace"):
                raise VmError("the first kernel did not come to its crash")
            break
        except VmError as error:
            said = serial.read_text(errors="replace") if serial.exists() else ""
            # Once it has crashed the disk is no longer what it was.
            if left and isinstance(error, guest.Hung) and alone.CRASHED not in said:
                continue
            raise type(error)(f"while crashing the guest of {one.name}: {error}\n"
                              f"--- the end of {serial} ---\n{tail(said, 40)}\n---") from None
    say(f"{one.name}: the machine ended after {time.monotonic() - started:.1f} s")
    (home / "first.cpio").unlink()
    replace_file(home / "kernel.json", (kernel.home / "info.json").read_text())
    return home


def check(one, home, capture, report, keep):
    """Hold what is on the disk against the guest's memory."""
    from . import ram
    from .checks import Checker
    said = (home / "serial.log").read_text(errors="replace").replace("\r", "")
    crashed = said.partition(alone.CRASHED)[2]
    report.check("reboot: Restarting system" in crashed and said.count("Kernel panic") == 1, "ends with reboot",
                 f"{crashed.count('reboot: Restarting system')} times `reboot: Restarting system`, "
                 f"{said.count('Kernel panic') - 1} panics of the crash kernel")
    out = home / "fetched"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    folder, disk = ("/crash", "var.img") if one.var else ("/var/crash", "root.img")
    run([guest.find_sbin("debugfs"), "-R", f"rdump {folder} {out}", home / disk], "reading the disk")
    files = sorted(f"var/{path.relative_to(out)}" for path in out.rglob("*") if path.is_file())
    dumps = [name for name in files if re.fullmatch(one.dump, name)]
    logs = [name for name in files if re.fullmatch(one.log, name)]
    if not report.check(len(dumps) == 1 and len(logs) == 1, "its files", f"{files}"):
        return
    saved, log = (out / name.removeprefix("var/") for name in (dumps[0], logs[0]))
    ram.write_vmcore(ram.Ram([(0, home / "ram.ram")]), ram.reserved_of(said), home / "vmcore")
    checker = Checker(home, alone.Alone(one.name, "", reference="bookworm"), [capture], report, keep)
    shutil.rmtree(checker.work, ignore_errors=True)
    checker.work.mkdir()
    again, _ = checker.make(checker.tamis, one.options.split(), "again")
    checker.same_bytes(again, saved, f"the dump ({one.options})", "the host's of the guest's memory")
    checker.tamis.dump(["--dump-dmesg"], home / "vmcore", checker.work / "log")
    text, want = log.read_bytes(), (checker.work / "log").read_bytes()
    report.check(text == want and b"sysrq: Trigger a crash" in text, "kernel log",
                 f"{len(text)} bytes, {len(text.splitlines())} lines compared with the host's {len(want)} bytes")
    if not keep:
        for folder in (checker.work, out):
            shutil.rmtree(folder)
        for name in ("vmcore", "ram.ram", "root.img", "var.img"):
            (home / name).unlink(missing_ok=True)
