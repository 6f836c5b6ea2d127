"""The smallest `crashkernel=` with which a capture succeeds, found by bisection: of an init that
does next to nothing, of tamis-capture alone, and of makedumpfile with what it needs.

Where a kernel lies in its memory is different each time, so that a size near the edge works now
and then: one that counts has to work several times in a row."""

import gzip
import re
import shutil
import time

from . import alone, guest, packages
from .common import REPO, VmError, run, say, state_dir
from .runs import KERNELS

LEAST, MOST = 48, 192
MEMORY_MIB = 512

FIRST_INIT = guest.BOTH_INITS + """
hostname floor
mkdir /data
mount -t ext4 -o ro /dev/vda /data || fail "mount of the disk"
vm_guest kexec-load /data/boot/vmlinuz /data/boot/crash.cpio "{crash_line}" || fail "kexec-load"
echo c > /proc/sysrq-trigger
"""

MAKEDUMPFILE_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
exec < /dev/console > /dev/console 2>&1
while read module; do /bin/busybox insmod $module; done < /etc/tamis.modules
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vdb ] && break; /bin/busybox sleep 0.3; done
/bin/busybox mount -t ext4 /dev/vdb /mnt || echo "VM: failed: mount"
/bin/makedumpfile -c -d 31 /proc/vmcore /mnt/vmcore && /bin/busybox sync \\
    && /bin/busybox umount /mnt && echo "VM: captured"
/bin/busybox reboot -f
"""

CRASH_LINE = "console=ttyS0 nr_cpus=1 irqpoll reset_devices panic=1 loglevel=4"

REFERENCE = {"5.10": "bookworm", "6.1": "bookworm"}
"""The suite whose makedumpfile is measured; sid for all others."""


class Contender:
    """One way to capture: its image, and what the console says when it has succeeded."""

    def __init__(self, name, image, unpacked, success):
        self.name = name
        self.image = image
        self.unpacked = unpacked
        self.success = success


def image_of(entries):
    """A gzipped cpio of entries."""
    plain = guest.cpio(entries)
    return gzip.compress(plain, mtime=0), len(plain)


def contenders(name, kernel, tools):
    """The three, with the same modules."""
    home = state_dir() / f"floor-{name}"
    one = alone.Alone(f"floor-{name}", "the floor", kernel=name)
    alone.build_initramfs(one, kernel, tools, home / "tamis.img")
    ours = (home / "tamis.img").read_bytes()
    parts = cpio_entries(gzip.decompress(ours))
    folders = [(folder, 0o40755, b"") for folder in
               ("bin", "etc", "lib", "lib64", "mnt", "modules", "proc", "sys", "dev", "tmp")]
    modules = [entry for entry in parts if entry[0].startswith("modules/")
               or entry[0] == "etc/tamis.modules"]
    idle, idle_size = image_of([*folders, *modules,
                                ("init", 0o100755, idle_init(home))])
    suite = REFERENCE.get(name, "sid")
    files = [("bin/busybox", packages.busybox().read_bytes())]
    for path, data in makedumpfile_files(suite):
        files.append((path, data))
    theirs, their_size = image_of([*folders, *modules,
                                   *((path, 0o100755, data) for path, data in files),
                                   ("init", 0o100755, MAKEDUMPFILE_INIT.encode())])
    version = packages.makedumpfile_version(suite)
    return [
        Contender("an init that does next to nothing", idle, idle_size, "VM: captured"),
        Contender("tamis-capture alone", ours, len(gzip.decompress(ours)), "the dump is saved"),
        Contender(f"makedumpfile {version}, libraries, busybox", theirs, their_size, "VM: captured"),
    ]


def idle_init(home):
    """The init that does next to nothing, built."""
    path = home / "idle"
    run(["musl-gcc", "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror", "-o", path,
         REPO / "tests/vm/idle.c"], "building idle.c", hint="`vm setup` installs musl-tools")
    return path.read_bytes()


def cpio_entries(data):
    """(name, mode, bytes) of a newc archive."""
    at, entries = 0, []
    while True:
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 110 + fields[11] - 1].decode()
        at = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return entries
        entries.append((name, fields[1], data[at:at + fields[6]]))
        at = (at + fields[6] + 3) // 4 * 4


def makedumpfile_files(suite):
    """(path in the image, bytes) of makedumpfile, its loader and the libraries it is linked with."""
    argv = packages.makedumpfile(suite)
    listed = run([*argv[:-1], "--list", argv[-1]], "listing makedumpfile's libraries").stdout
    yield "lib64/ld-linux-x86-64.so.2", open(argv[0], "rb").read()
    yield "bin/makedumpfile", open(argv[-1], "rb").read()
    for name, path in re.findall(r"(\S+) => (\S+)", listed):
        yield f"lib/{name}", open(path, "rb").read()


def probe(name, kernel, home, contender, mib):
    """Whether a capture succeeds with so many MiB; says how the console ended if not."""
    serial = home / "serial.log"
    argv = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", f"{MEMORY_MIB}M",
        "-smp", 1, "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot",
        "-monitor", "none", "-serial", f"file:{serial}", "-kernel", kernel.image,
        "-initrd", home / "first.cpio",
        "-append", guest.FIRST_LINE.format(crashkernel=f"{mib}M", more=""),
    ]
    for disk in ("load.img", "target.img"):
        argv += ["-drive", f"file={home / disk},format=raw,if=virtio,cache=unsafe,snapshot=on"]
    for _ in range(guest.TRIES):
        started = time.monotonic()
        try:
            guest.boot(argv, serial, 150)
            hung = False
        except guest.Hung:
            hung = True
        said = serial.read_text(errors="replace")
        if alone.CRASHED in said or "VM: failed: kexec-load" in said:
            break
    else:
        raise VmError(f"while looking for the floor of {name}: the first kernel did not crash "
                      f"in {guest.TRIES} tries")
    good = contender.success in said and said.count("Kernel panic") == 1
    why = ("captured" if good else "the kernel does not fit" if alone.CRASHED not in said
           else "hangs" if hung else "out of memory" if "Out of memory" in said
           or "out of memory" in said or "OOM" in said or "page allocation failure" in said
           else "panics" if said.count("Kernel panic") > 1 else "no capture")
    say(f"{contender.name}: {mib} MiB: {why} ({time.monotonic() - started:.0f} s)")
    return good


def works(name, kernel, home, contender, mib, times):
    """Whether a size works every time."""
    return all(probe(name, kernel, home, contender, mib) for _ in range(times))


def floor_of(name, kernel, home, contender, step, times):
    """The least size that works, or None. Sizes are multiples of the step."""
    seed = home / "seed"
    shutil.rmtree(seed, ignore_errors=True)
    (seed / "boot").mkdir(parents=True)
    (seed / "boot/crash.cpio").write_bytes(contender.image)
    shutil.copyfile(kernel.image, seed / "boot/vmlinuz")
    guest.make_disk(home / "load.img", 64, seed)
    shutil.rmtree(seed)
    bad, good = LEAST - step, None
    # From a likely size upwards, then between what fails and what works.
    mib = 68
    while good is None and mib <= MOST:
        if works(name, kernel, home, contender, mib, times):
            good = mib
        else:
            bad, mib = mib, mib + 2 * step
    if good is None:
        return None
    while good - bad > step:
        middle = bad + (good - bad) // 2 // step * step
        if works(name, kernel, home, contender, middle, times):
            good = middle
        else:
            bad = middle
    return good


def floor(name, tools, step, times):
    """Print the table of one kernel."""
    home = state_dir() / f"floor-{name}"
    home.mkdir(parents=True, exist_ok=True)
    kernel = packages.kernel(name, *KERNELS[name])
    first = FIRST_INIT.format(about="PID 1 of the kernel that is going to crash.",
                              crash_line=CRASH_LINE)
    first = first.replace("/dev/vdc", "/dev/vdb")
    (home / "first.cpio").write_bytes(
        guest.initramfs(kernel, first, {"vm_guest": guest.guest_helper()}))
    guest.make_disk(home / "target.img", 256)
    for contender in contenders(name, kernel, tools):
        least = floor_of(name, kernel, home, contender, step, times)
        print(f"| {kernel.release} | {contender.name} | {len(contender.image) / 1024:.0f} | "
              f"{contender.unpacked / 1024:.0f} | "
              f"{f'{least}M' if least else f'more than {MOST}M'} |", flush=True)
    for used in ("load.img", "target.img", "first.cpio"):
        (home / used).unlink()
