"""The smallest `crashkernel=` with which a capture succeeds: of an init that does next to nothing,
of tamis-capture alone, and of makedumpfile with what it needs.

What a kernel takes while it boots is different each time (where it lies, which of its threads run
beside each other), so that a size near the edge works now and then. So each size near the edge is
tried several times, the contenders in turn, and what is printed is how many tries came through."""

import gzip
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import alone, guest, packages
from .common import REPO, VmError, run, say, state_dir
from .runs import KERNELS

LEAST, MOST = 48, 192
ROOMY = 128
"""MiB with which what is in use is looked at."""
MEMORY_MIB = 512

OPTIONS = ("-c -d 31", "-z -d 31")
"""Those of tamis-capture."""

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


@dataclass
class Contender:
    """One way to capture."""

    name: str
    image: bytes
    unpacked: int
    success: str
    """What the console says when it has succeeded."""
    disk: Path = None
    """The disk with its image on it."""
    used: str = "- | -"
    """KiB of the crash kernel's memory in use when init began, and at the worst moment."""
    came: dict[int, list[str]] = field(default_factory=dict)
    """How each try ended, by MiB."""

    def share(self, mib):
        """The share of the tries that came through."""
        tries = self.came[mib]
        return tries.count(CAPTURED) / len(tries)

    def least(self, share):
        """The least size from which on upwards this share of the tries came through."""
        found = None
        for mib in sorted(self.came, reverse=True):
            if self.share(mib) < share:
                break
            found = mib
        return found


CAPTURED = "captured"


def image_of(entries):
    """A gzipped cpio of entries."""
    plain = guest.cpio(entries)
    return gzip.compress(plain, mtime=0), len(plain)


def contenders(name, kernel, tools):
    """The four, with the same modules."""
    home = state_dir() / f"floor-{name}"
    ours = {}
    for options in OPTIONS:
        one = alone.Alone(f"floor-{name}", "the floor", kernel=name, conf=f"args = {options}\n")
        alone.build_initramfs(one, kernel, tools, home / "tamis.img")
        ours[options] = (home / "tamis.img").read_bytes()
    parts = cpio_entries(gzip.decompress(ours[OPTIONS[0]]))
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
        *(Contender(f"tamis-capture alone, `{options}`", image, len(gzip.decompress(image)),
                    "the dump is saved") for options, image in ours.items()),
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
    """One try with so many MiB; says how it ended, and keeps that."""
    serial = home / "serial.log"
    argv = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", f"{MEMORY_MIB}M",
        "-smp", 1, "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot",
        "-monitor", "none", "-serial", f"file:{serial}", "-kernel", kernel.image,
        "-initrd", home / "first.cpio",
        "-append", guest.FIRST_LINE.format(crashkernel=f"{mib}M", more=""),
    ]
    for disk in (contender.disk, home / "target.img"):
        argv += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe,snapshot=on"]
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
    first, _, crashed = said.partition(alone.CRASHED)
    # What the kernel itself says has a time in front, or is the trace of a panic.
    ours = re.search("tamis-capture: |VM: |Attempted to kill init", crashed)
    if contender.success in said and said.count("Kernel panic") == 1:
        how = CAPTURED
    elif not crashed:
        how = "the kernel does not fit"
    elif hung:
        how = "hangs"
    elif "Kernel panic" in crashed or re.search("out of memory|oom-killer", crashed, re.I):
        how = "out of memory " + ("after init began" if ours else "before init began")
    else:
        how = "no capture"
    say(f"{contender.name}: {mib} MiB: {how} ({time.monotonic() - started:.0f} s)")
    contender.came.setdefault(mib, []).append(how)
    return how == CAPTURED


def edge_of(name, kernel, home, contender, step):
    """A size near the edge: it came through once, and one step less did not."""
    mib, down = 68, True
    while LEAST <= mib <= MOST:
        if probe(name, kernel, home, contender, mib):
            if not down:
                return mib
            if mib - step in contender.came:
                return mib
            mib -= step
        else:
            down = False
            mib += step
            if mib in contender.came and contender.share(mib) > 0:
                return mib
    raise VmError(f"while looking for the floor of {name}: {contender.name} does not work with "
                  f"{MOST} MiB either")


def scan(name, kernel, home, group, step, times):
    """Try the sizes near the edge so many times with each contender of a group, in turn."""
    edge = edge_of(name, kernel, home, group[0], 4)
    around = 2 if step < 4 else 1
    sizes = list(range(edge - around * step, edge + (around + 1) * step, step))
    while sizes:
        for _ in range(times):
            for contender in group:
                for mib in sizes:
                    tries = contender.came.get(mib, [])
                    # What never comes through in three tries is not looked at more closely.
                    if len(tries) < times and not (len(tries) >= 3 and CAPTURED not in tries):
                        probe(name, kernel, home, contender, mib)
        # Sizes on the way to the edge were tried with one of them only.
        everywhere = set.intersection(*(set(c.came) for c in group))
        top, low = max(everywhere), min(everywhere)
        sizes = []
        if any(c.share(top) < 1 for c in group) and top < MOST:
            sizes.append(top + step)
        if any(c.share(low) > 0 for c in group) and low > LEAST:
            sizes.append(low - step)


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
    everyone = contenders(name, kernel, tools)
    for number, contender in enumerate(everyone):
        seed = home / "seed"
        shutil.rmtree(seed, ignore_errors=True)
        (seed / "boot").mkdir(parents=True)
        (seed / "boot/crash.cpio").write_bytes(contender.image)
        shutil.copyfile(kernel.image, seed / "boot/vmlinuz")
        contender.disk = home / f"load.{number}.img"
        guest.make_disk(contender.disk, 64, seed)
        shutil.rmtree(seed)
    for contender in everyone[:-1]:
        probe(name, kernel, home, contender, ROOMY)
        said = (home / "serial.log").read_text(errors="replace")
        total, first, least = map(int, re.search(
            r"memory: (\d+) kB in this kernel; free (\d+) kB at first, (\d+) kB at least", said).groups())
        contender.used = f"{total - first} | {total - least}"
        contender.came.clear()
    # What is compared closely is tried in turn; the last is far off.
    scan(name, kernel, home, everyone[:-1], step, times)
    scan(name, kernel, home, everyone[-1:], step, times)
    for contender in everyone:
        tries = ", ".join(f"{mib}M {contender.came[mib].count(CAPTURED)}/{len(contender.came[mib])}"
                          for mib in sorted(contender.came))
        failed = [how for came in contender.came.values() for how in came if how != CAPTURED]
        late = len(failed) - failed.count("out of memory before init began")
        half, all_of = (f"{size}M" if size else "-"
                        for size in (contender.least(0.5), contender.least(1)))
        print(f"| {kernel.release} | {contender.name} | {len(contender.image) / 1024:.0f} | "
              f"{contender.unpacked / 1024:.0f} | {contender.used} | {half} | {all_of} | {tries} | "
              f"{late} of {len(failed)} |", flush=True)
    for used in (*(c.disk for c in everyone), home / "target.img", home / "first.cpio"):
        used.unlink()
