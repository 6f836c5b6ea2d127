"""A Xen host under QEMU, with guests that never run, which crashes into a crash kernel."""

import gzip
import re
import shutil

from . import guest, packages
from .common import VmError, run, say, state_dir
from .packages import Suite

HOSTS = {
    "4.17": ("bookworm", r"linux-image-6\.1\.0-\d+-amd64", "6.1-dom0", True),
    "4.20": ("trixie", r"linux-image-6\.12\.\d+\+deb13-amd64", "6.12-dom0", False),
}
"""Hypervisor -> suite, domain 0's kernel (the cloud kernels cannot be one), its name, and whether the host is
crashed by the hypercall right after a guest was destroyed, before its pages are scrubbed; else domain 0 panics."""

GUESTS = {"GUEST-A": 4096, "GUEST-B": 2048}
GONE = {"GUEST-C": 6144}
"""Marks of the guests, and their pages; of the one that is destroyed."""

MEMORY_MIB = 768

BOTH_INITS = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "VM: init runs"
fail() { echo "VM: failed: $*"; sync; reboot -f; sleep 60; }
for module in $(cat /modules/order); do
    insmod /modules/$module.ko || fail "insmod $module"
done
"""

DOM0_INIT = BOTH_INITS + """
export LD_LIBRARY_PATH=/bin
mkdir -p /proc/xen && mount -t xenfs xenfs /proc/xen || fail "xenfs"
KEXEC -p /boot/vmlinuz --initrd=/boot/crash.cpio --append='LINE' || fail "kexec"
echo "VM: crash kernel loaded"
DOMAINS || fail "domains"
echo "VM: panic now"
echo c > /proc/sysrq-trigger
"""

CRASH_INIT = BOTH_INITS + """
echo "VM: crash kernel runs"
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vdb ] && break; sleep 0.5; done
mkdir -p /out
mount -t ext4 /dev/vdb /out || fail "mount"
echo "vmcore_bytes=$(stat -c %s /proc/vmcore)" > /out/result
if [ -x /bin/tamis-capture ]; then
    tamis-capture OPTIONS /proc/vmcore /out/dump > /out/capture.log 2>&1
    echo "status=$?" >> /out/result
fi
dd if=/proc/vmcore of=/dev/vda bs=1M conv=fsync 2> /out/dd.log || fail "copy"
umount /out
sync
echo "VM: done"
reboot -f
"""


def tools(version):
    """Folder with the hypervisor, kexec and the libraries of a version."""
    suite = Suite(HOSTS[version][0])
    root = state_dir() / "tools" / f"xen-{version}"
    if not root.exists():
        done, wanted = [], [f"xen-hypervisor-{version}-amd64", f"libxenmisc{version}", "libxen-dev", "kexec-tools"]
        left_out = {"debconf", "xen-hypervisor-common", "libxencall1:any"}
        while wanted:
            package = wanted.pop()
            if package in done or package in left_out or suite.version(package) is None:
                continue
            done.append(package)
            if package not in ("libxen-dev", f"xen-hypervisor-{version}-amd64"):
                wanted += suite.depends(package)
        suite.unpack(done, root)
    return root


def programs(version):
    """What domain 0 runs, by name: kexec, what makes domains, and all that these are linked with."""
    root = tools(version)
    [kexec] = [path for path in (root / "sbin/kexec", root / "usr/sbin/kexec") if path.exists()][:1]
    folders = [root / part / "x86_64-linux-gnu" for part in ("lib", "usr/lib")]
    maker = root / "domains"
    run(["gcc", "-O1", "-Werror=implicit-function-declaration", "-o", maker, guest.REPO / "tests/vm/guest/domains.c", f"-I{root}/usr/include",
         *(f"-L{folder}" for folder in folders), f"-l:libxenctrl.so.{version}", "-Wl,--allow-shlib-undefined"],
        "building what makes domains", hint="apt-get install gcc")
    loader = next(path for folder in (*folders, root / "lib64", root / "usr/lib64")
                  if (path := folder / "ld-linux-x86-64.so.2").exists())
    found = {"kexec": kexec, "domains": maker, loader.name: loader}
    path = ":".join(map(str, folders))
    for program in (kexec, maker):
        listed = run([loader, "--library-path", path, "--list", program], f"asking what {program.name} is linked with")
        for library in re.findall(r"=> (/\S+)", listed.stdout):
            found[library.rsplit("/", 1)[1]] = guest.Path(library)
    return found, f"/bin/{loader.name} --library-path /bin"


def crash(version, capture=None, options="-c -X -d 1"):
    """Crashes a host; its folder then holds vmcore, serial.log, and with a `capture` program dump and capture.log."""
    suite, pattern, name, destroyed = HOSTS[version]
    home = state_dir() / f"xen-{version}"
    home.mkdir(parents=True, exist_ok=True)
    kernel = packages.kernel(name, [suite], pattern)
    more, loader = programs(version)
    line = "console=ttyS0 no_timer_check nr_cpus=1 irqpoll reset_devices panic=1 loglevel=4 rdinit=/init"
    inside = {"tamis-capture": capture} if capture else {}
    crash_cpio = guest.initramfs(kernel, CRASH_INIT.replace("OPTIONS", options), inside)
    orders = [f"{mark}:{pages}" for mark, pages in GUESTS.items()]
    if destroyed:
        orders += ["destroy", *(f"{mark}:{pages}" for mark, pages in GONE.items()), "crash"]
    init = DOM0_INIT.replace("KEXEC", f"{loader} /bin/kexec").replace("LINE", line)
    init = init.replace("DOMAINS", f"{loader} /bin/domains {' '.join(orders)}")
    entries = [(folder, 0o40755, b"") for folder in ("bin", "modules", "proc", "sys", "dev", "boot")]
    entries.append(("dev/console", 0o20600, b""))
    entries.append(("bin/busybox", 0o100755, packages.busybox().read_bytes()))
    entries += [(f"bin/{name}", 0o100755, path.read_bytes()) for name, path in more.items()]
    modules = kernel.modules_in_order(["xen_privcmd", "xenfs", "xen_evtchn"])
    entries += [(f"modules/{name}.ko", 0o100644, data) for name, data in modules]
    entries.append(("modules/order", 0o100644, "\n".join(name for name, _ in modules).encode()))
    entries += [("boot/vmlinuz", 0o100644, kernel.image.read_bytes()), ("boot/crash.cpio", 0o100644, crash_cpio),
                ("init", 0o100755, init.encode())]
    (home / "dom0.cpio").write_bytes(guest.cpio(entries))
    [packed] = (tools(version) / "boot").glob("xen-*.gz")
    (home / "xen").write_bytes(gzip.decompress(packed.read_bytes()))
    with open(home / "raw.img", "wb") as raw:
        raw.truncate((MEMORY_MIB + 64) << 20)
    guest.make_disk(home / "out.img", MEMORY_MIB)
    argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max,smap=off,smep=off",
            "-m", f"{MEMORY_MIB}M", "-smp", "2", "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot",
            "-monitor", "none", "-serial", f"file:{home / 'serial.log'}", "-kernel", home / "xen",
            "-append", "console=com1 com1=115200 noreboot crashkernel=192M dom0_mem=400M,max:400M",
            "-initrd", f"{kernel.image} console=hvc0 rdinit=/init loglevel=4,{home / 'dom0.cpio'}"]
    for disk in ("raw.img", "out.img"):
        argv += ["-drive", f"file={home / disk},format=raw,if=virtio,cache=unsafe"]
    say(f"xen-{version}: {kernel.release} as domain 0: booting, crashing")
    for left in (2, 1, 0):
        try:
            guest.boot(argv, home / "serial.log", 900, patience=5)
            break
        except guest.Hung:
            if not left:
                raise
    guest.extract(home / "out.img", "/result", home / "result", "fetching the crash kernel's result")
    result = guest.read_result((home / "result").read_text())
    if capture:
        for name in ("dump", "capture.log"):
            guest.extract(home / "out.img", f"/{name}", home / name, f"fetching {name}")
        if result.get("status") != "0":
            raise VmError(f"the capture ended with {result.get('status')}: {(home / 'capture.log').read_text()}")
    (home / "raw.img").replace(home / "vmcore")
    with open(home / "vmcore", "r+b") as vmcore:
        vmcore.truncate(int(result["vmcore_bytes"]))
    for name in ("out.img", "dom0.cpio", "xen"):
        (home / name).unlink()
    return home


def clean(home):
    """Removes what a run left."""
    shutil.rmtree(home, ignore_errors=True)
