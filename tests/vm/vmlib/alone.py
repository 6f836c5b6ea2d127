"""Runs in which the crash kernel has nothing but tamis-capture: it is PID 1 of an initramfs that
holds the program, its orders and modules. What it left on the target is held against the dead
kernel's memory, which the host has as a file (`ram.py`)."""

import os
import re
import shutil
import struct
import subprocess
import tarfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from . import guest, packages
from .common import VmError, replace_file, run, say, state_dir, tail
from .runs import KERNELS, MACHINES

HOST = "crash-host"
UUID = "6c1f5f0e-3c0a-4b5e-9d43-2f8f0f3a7b11"
PART_GUID = "0e9d7a52-81c4-4d1a-b5a0-5f7d3c2b1a09"
LABEL = "CRASHDUMPS"
FAT_SERIAL = "1A2B3C4D"
DISK_SIGNATURE = "1f2e3d4c"

MODULES = {
    "ext4": ["ext4"],
    "xfs": ["xfs"],
    "vfat": ["vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"],
    "btrfs": ["btrfs"],
    "raw": [],
}
"""What the target needs beside the disk's driver, where `fstype` does not say it already."""


@dataclass(frozen=True)
class Tools:
    """The programs under test."""

    capture: Path
    tamis: Path

FIRST_INIT = guest.BOTH_INITS + """
hostname """ + HOST + """
mkdir -p /data /tmp
mount -t ext4 /dev/vda /data || fail "mount of the load's disk"
mount -t tmpfs -o size=80% tmp /tmp || fail "mount of a tmpfs"
{before_kexec}
{kexec_load} || fail "kexec-load"
echo "VM: crash kernel loaded"
sed -n '/System RAM\\|Crash kernel/s/^/VM: iomem /p' /proc/iomem
# Where /proc/iomem does not say it: ppc64.
tree=/proc/device-tree/chosen/linux,crashkernel
[ -e $tree-base ] && echo "VM: crashkernel $(od -An -tx1 $tree-base | tr -d ' ') $(od -An -tx1 $tree-size | tr -d ' ')"
mkdir /data/files && mv /data/read.* /data/files/ || fail "the load's files"
vm_guest load {load_mib} /data/files /tmp || fail "load"
{more}
sync
echo "VM: panic now"
echo c > /proc/sysrq-trigger
"""

INFLATE = """
before=$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)
echo "VM: inflate"
for try in $(seq 1 150); do
    after=$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)
    [ $((before - after)) -ge 90000 ] && break
    sleep 0.2
done
echo "VM: balloon took $((before - after)) kB"
[ $((before - after)) -ge 90000 ] || fail "the balloon has not grown"
"""

MARK = """
# Free pages on a CPU's own list look like the kernel's and are kept: let those lists be short.
echo 1000 > /proc/sys/vm/percpu_pagelist_high_fraction || fail "percpu_pagelist_high_fraction"
vm_guest mark 112 /data /tmp || fail "mark"
"""

READY = """
echo "VM: ready"
sleep 10
"""

FETCH_INIT = """#!/bin/busybox sh
# Made by tests/vm. Hands the files of a disk to the host as a tar archive.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "VM: init runs"
fail() {{ echo "VM: failed: $*"; reboot -f; sleep 60; }}
for module in $(cat /modules/order); do insmod /modules/$module.ko || fail "insmod $module"; done
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vdb ] && break; sleep 0.3; done
mkdir /disk
mount -t {kind} -o ro {device} /disk || fail "mount of the target"
tar -c -C /disk -f /dev/vdb . || fail "tar"
sync
echo "VM: fetched"
reboot -f
"""

STAGE_INIT = guest.BOTH_INITS.replace("/dev/vdc", "/dev/vdb") + """
{stage}
exec /bin/tamis-capture
"""

HALF_BROKEN = """
sectors=$(cat /sys/class/block/vdb/size)
vm_guest dm broken "0 $((sectors / 2)) linear /dev/vdb 0" "$((sectors / 2)) $((sectors - sectors / 2)) error" \\
    || fail "device-mapper"
"""

SIGNALS = """
written() { while [ -z "$(find /mnt -name vmcore.incomplete -size +$1k)" ]; do sleep 0.1; done; }
(written 12000; kill -TERM 1; kill -INT 1; kill -HUP 1; kill -USR1 1; written 40000; echo "VM: still there"; kill -SEGV 1) &
"""

FLAKEY = """
vm_guest dm flakey "0 $(cat /sys/class/block/vdb/size) flakey /dev/vdb 0 5 1000 1 error_writes" || fail "device-mapper"
"""

COPYING = r"Copying data +: \[ *[3-9]\d\."
"""What the program says when a third of the pages is written, after some seconds."""

CRASHED = "Kernel panic - not syncing: sysrq triggered crash"
"""What a kernel says when it is crashed on purpose."""

CRASH_LINE = "console=ttyS0 nr_cpus=1 irqpoll reset_devices panic=1 loglevel=4 rdinit=/init"


@dataclass(frozen=True)
class Alone:
    """One crash that tamis-capture alone has to save."""

    name: str
    about: str
    kernel: str = "6.1"
    disk: str = "ext4"
    """What the target disk holds: a key of MODULES."""
    table: str = ""
    """gpt or mbr: the target is the second partition of the disk."""
    size_mib: int = 160
    target: str = "/dev/vdb"
    conf: str = ""
    """More lines for /etc/tamis.conf."""
    line: str = ""
    """More words for the crash kernel's command line."""
    options: str = "-c -d 31"
    """Options of the capture that have to be in force."""
    ends: str = "reboot"
    """reboot, poweroff, halt, or reset: by somebody else, without a word."""
    halts: int = 2
    """Seconds after which a machine that halts must still be there."""
    expect: str = "dump"
    """dump, incomplete (one that says so), or nothing."""
    path: str = "var/crash"
    says: tuple[str, ...] = ()
    """What the console must say, as regular expressions."""
    old: tuple[str, ...] = ()
    """Folders of older dumps, of 8 MiB each, that are on the target already."""
    stays: tuple[str, ...] = ()
    """Those of them that must still be there; the others must not."""
    links: tuple[tuple[str, str], ...] = ()
    """(name, where it leads): symbolic links that are on the target already."""
    panics: int = 0
    """The program is built to panic itself once it has copied so many pages. 0: it is as it is shipped."""
    may_be_empty: bool = False
    """An incomplete dump need not have any page yet: how far it came is the machine's luck."""
    marked: bool = False
    """The guest has pages that name themselves (`vm_guest mark`): none that was left out may be in a dump."""
    unreadable: bool = False
    """Some of the memory cannot be read in the crash kernel (`unreadable.py`); the guest has marked pages."""
    events: tuple[tuple[str, str], ...] = ()
    """(what the crash kernel says, a regular expression; what QEMU's monitor is told then)."""
    stage: str = ""
    """Commands of a shell that is the crash kernel's init before the program, which it then becomes."""
    stage_modules: tuple[str, ...] = ()
    """Modules that the stage loads."""
    waits: int = 0
    """Seconds that the watchdog waits: the work has to take twice as long. 0: there is none."""
    ends_within: int = 0
    """Seconds in which the machine has to end after the last event. 0: any."""
    most_mib: int = 0
    """Memory that the crash kernel may have in use at the worst moment; 0: any."""
    most_seconds: int = 0
    """The crash kernel's end must come so soon after its first word; 0: any time."""
    memory_mib: int = 512
    smp: int = 2
    load_mib: int = 64
    cpu: str = "max"
    crashkernel: str = "160M"
    first_line: str = ""
    more: str = ""
    """More for the first init to do."""
    modules: tuple[str, ...] = ()
    """More modules for the first kernel."""
    crash_modules: tuple[str, ...] = ()
    """More modules for the crash kernel."""
    backends: tuple[tuple[str, int, int], ...] = (("ram", 0, 512),)
    """(id, physical address, MiB) of the memory; with `qemu` for how it is put together."""
    qemu: tuple[str, ...] = ("-M", "pc,memory-backend=ram")
    arch: str = "amd64"
    reference: str | None = None


ALONE = {one.name: one for one in [
    Alone("5.10-init", "5.10, alone, onto ext4", kernel="5.10", reference="bookworm"),
    Alone("6.1-init", "6.1, alone, onto ext4", load_mib=200, reference="bookworm"),
    Alone("6.12-init", "6.12, alone, onto ext4", kernel="6.12", reference="sid"),
    Alone("7.2-init", "7.2, alone, onto ext4 by UUID", kernel="7.2", smp=1, target=f"UUID={UUID}"),
    Alone("arm64-6.12-init", "6.12 for arm64, alone, onto ext4", kernel="arm64-6.12", arch="arm64",
          cpu="max,pauth-impdef=on", backends=(("ram", 1 << 30, 512),), qemu=("-M", "virt,memory-backend=ram")),
    # Their programs are those of `cargo xtask dist`.
    Alone("riscv64-6.12-init", "6.12 for riscv64, alone, onto ext4", kernel="riscv64-6.12", arch="riscv64",
          cpu="rv64,sv57=off", memory_mib=768, crashkernel="320M", backends=(("ram", 2 << 30, 768),),
          qemu=("-M", "virt,memory-backend=ram")),
    Alone("ppc64le-6.12-init", "6.12 for ppc64le, alone, onto ext4", kernel="ppc64le-6.12", arch="ppc64el",
          cpu="power9", memory_mib=1024, crashkernel="384M", backends=(("ram", 0, 1024),),
          qemu=("-M", "pseries,memory-backend=ram")),
    Alone("init-xfs", "xfs by LABEL", disk="xfs", target=f"LABEL={LABEL}", size_mib=400,
          conf="fstype = xfs\nfinal = poweroff\n", ends="poweroff"),
    Alone("init-vfat", "vfat by its serial number; halt", disk="vfat",
          target=f"UUID={FAT_SERIAL[:4]}-{FAT_SERIAL[4:]}", conf="final = halt\n", ends="halt"),
    Alone("init-btrfs", "btrfs by UUID", disk="btrfs", target=f"UUID={UUID}", size_mib=256,
          crashkernel="192M"),
    Alone("init-raw", "straight onto a block device", disk="raw", conf="fstype = raw\n"),
    Alone("init-gpt", "the second partition of a GPT disk, by PARTUUID", table="gpt",
          target=f"PARTUUID={PART_GUID.upper()}"),
    Alone("init-mbr", "the second partition of an MBR disk, by PARTUUID", table="mbr",
          target=f"PARTUUID={DISK_SIGNATURE}-02"),
    Alone("init-label", "a partition of a GPT disk, by LABEL of its ext4", table="gpt",
          target=f"LABEL={LABEL}", conf="dmesg = no\npath = deep/er\n", path="deep/er"),
    Alone("init-full", "a disk that is too small, nothing to delete", size_mib=12, expect="incomplete",
          says=("No space left|ENOSPC|no space", "there is no complete dump")),
    Alone("init-keep", "a full disk, whose oldest dump may go", size_mib=43,
          old=("2019-12-31-23-59-59-old", "2020-01-01-00-00-00-old", "2020-01-02-00-00-00-old",
               "not-a-dump"),
          conf="keep = 1\n", stays=("2020-01-02-00-00-00-old", "not-a-dump"),
          says=("no space: deleting the oldest dump, 2019-12-31-23-59-59-old",)),
    Alone("init-link", "a folder that is a link: absolute, and climbing out of the target", path="srv/crash",
          links=(("var/crash", "/../../srv/crash"),)),
    Alone("init-absent", "a target that never appears", target="UUID=00000000-0000-0000-0000-000000000001",
          conf="wait = 4\nretry = 1\nfinal = poweroff\n", ends="poweroff", expect="nothing",
          says=("did not appear in 4 s", "trying again \\(1 of 1\\)", "there is no complete dump"),
          most_seconds=40),
    Alone("init-no-target", "no target ordered at all", target="", expect="nothing",
          says=("no target",), most_seconds=40),
    Alone("init-timeout", "a time limit that is too short", size_mib=420,
          conf="args = -c -d 0\ntimeout = 3\nfinal = poweroff\n", load_mib=200, ends="poweroff", expect="incomplete", says=("the time is up", "what was saved stays"),
          may_be_empty=True, most_seconds=25),
    Alone("init-line", "orders on the command line win", target="/dev/nonsense",
          conf="args = -d 1\nfinal = halt\npath = /elsewhere\n",
          line='tamis.target=/dev/vdb tamis.args="--lz4 -d 17" tamis.final=poweroff tamis.path=/by/line',
          options="--lz4 -d 17", ends="poweroff", path="by/line"),
    Alone("init-nonsense", "orders that make no sense",
          conf="args = --frobnicate -d 99\nfinal = explode\nkeep = -3\n", line="tamis.colour=blue",
          says=("no order tamis.colour", "tamis.final cannot be 'explode'",
                "tamis.keep cannot be '-3'", "tamis.args: ", "taking '-c -d 31' instead")),
    Alone("init-elf", "an ELF dump", conf="args = -E -d 31\n", options="-E -d 31"),
    Alone("init-flat", "a dump of all memory, larger than the crash kernel's: its free memory stays flat",
          size_mib=420, conf="args = -d 0\n", options="-d 0", most_mib=48),
    Alone("init-la48", "4-level page tables", cpu="max,la57=off", reference="bookworm"),
    Alone("init-zstd", "7.2, compressed with zstd", kernel="7.2", smp=1, conf="args = -z -d 31\n",
          options="-z -d 31"),
    Alone("init-numa", "two nodes, one of them above 4 GiB", kernel="6.12", memory_mib=1024,
          reference="sid", backends=(("node0", 0, 512), ("node1", 4 << 30, 512)),
          qemu=("-M", "pc,max-ram-below-4g=512M", "-numa", "node,memdev=node0",
                "-numa", "node,memdev=node1")),
    Alone("init-virtio-mem", "hot-plugged memory that is partly offline (virtio-mem)", kernel="6.12",
          reference="sid", first_line="memhp_default_state=online", modules=("virtio_mem",),
          backends=(("ram", 0, 512), ("plugged", 4 << 30, 512)),
          qemu=("-M", "pc,memory-backend=ram", "-m", "512M,slots=2,maxmem=2G",
                "-device", "virtio-mem-pci,memdev=plugged,requested-size=72M")),
    Alone("init-plain", "pages as they are, without a codec: free memory stays flat", size_mib=300, load_mib=200,
          conf="args = -d 31\n", options="-d 31", most_mib=48, reference="bookworm"),
    Alone("init-marked", "pages that name themselves: what is left out is nowhere in the dump", size_mib=300,
          conf="args = -d 31\n", options="-d 31", more=MARK, marked=True),
    Alone("init-watchdog", "a watchdog that waits for less time than the work takes", kernel="6.12",
          reference="sid", size_mib=420, conf="args = -c -d 0\n", options="-c -d 0", waits=2,
          crash_modules=("i6300esb",), line="i6300esb.heartbeat=2 loglevel=7", says=("a watchdog that waits 2 s",),
          qemu=("-M", "pc,memory-backend=ram", "-device", "i6300esb", "-action", "watchdog=reset")),
    Alone("init-watchdog-hang", "the same, and the disk does not answer any more: the watchdog bites", kernel="6.12",
          size_mib=420, conf="args = -c -d 0\n", ends="reset", expect="incomplete",
          crash_modules=("i6300esb",), line="i6300esb.heartbeat=2 loglevel=7", says=("a watchdog that waits 2 s",),
          events=((COPYING, "block_set_io_throttle target 0 0 1 0 0 0"),), ends_within=15,
          qemu=("-M", "pc,memory-backend=ram", "-device", "i6300esb", "-action", "watchdog=reset")),
    Alone("init-softdog", "the kernel's own watchdog, and a machine that is to halt", size_mib=420, waits=2,
          conf="args = -c -d 0\nfinal = halt\n", options="-c -d 0", ends="halt", halts=10,
          crash_modules=("softdog",), line="softdog.soft_margin=2 loglevel=7", says=("a watchdog that waits 2 s",)),
    Alone("init-unplugged", "the disk is pulled out in the middle", size_mib=420, conf="args = -c -d 0\n",
          expect="incomplete", events=((COPYING, "device_del target"),),
          says=("there is no complete dump",), most_seconds=120),
    Alone("init-broken", "a disk whose second half fails, raw pages onto ext4", size_mib=300, target="/dev/dm-0",
          conf="args = -d 0\nretry = 0\n", expect="incomplete", stage=HALF_BROKEN, stage_modules=("dm-mod",),
          says=("Input/output error|I/O error", "the dump is incomplete: \\d+ of \\d+ pages are saved",
                "there is no complete dump")),
    Alone("init-broken-raw", "the same, straight onto the device, compressed", size_mib=100, disk="raw",
          target="/dev/dm-0", conf="args = -c -d 0\nretry = 0\nfstype = raw\n", expect="incomplete",
          stage=HALF_BROKEN, stage_modules=("dm-mod",),
          says=("Input/output error|I/O error", "the dump is incomplete: \\d+ of \\d+ pages are saved",
                "there is no complete dump")),
    Alone("init-signals", "stray signals, and then the one of a broken program", size_mib=420,
          conf="args = -c -d 0\nfinal = poweroff\n", ends="poweroff", expect="incomplete", may_be_empty=True,
          stage=SIGNALS, says=("VM: still there", "internal error, signal", "giving up; what was saved stays")),
    Alone("init-panic", "the program itself panics in the middle", size_mib=420, panics=8192,
          conf="args = -c -d 0\nfinal = poweroff\n", ends="poweroff", expect="incomplete",
          says=(r"tamis-capture: internal error: panicked at capture-bin/src/console\.rs:\d+:\d+",
                "TAMIS_PANIC_AT", "giving up; what was saved stays")),
    Alone("init-unreadable", "memory that /proc/vmcore fails to read", kernel="7.2", smp=1, size_mib=420,
          conf="args = -c -d 17 --non-mmap\nretry = 0\n", options="-c -d 17", more=MARK + READY, unreadable=True,
          expect="incomplete", says=("struct pages unreadable, pages kept", r"pfn 0x\w+ lost: reading physical address",
                                      r"the dump is incomplete: \d+ of \d+ pages could not be read",
                                      "there is no complete dump")),
    Alone("init-flakey", "a disk that takes no more writes after some seconds", size_mib=420, target="/dev/dm-0",
          conf="args = -c -d 0\nretry = 0\n", expect="incomplete", stage=FLAKEY, stage_modules=("dm-flakey",), may_be_empty=True,
          says=("Input/output error|I/O error", "there is no complete dump")),
    Alone("init-balloon", "memory taken by a balloon", more=INFLATE, modules=("virtio_balloon",),
          qemu=("-M", "pc,memory-backend=ram", "-device", "virtio-balloon-pci,id=balloon0"),
          reference="bookworm"),
]}
"""Runs by name."""

ALONE.update({f"{name}-plain": replace(ALONE[name], name=f"{name}-plain", about=f"{ALONE[name].about}; no codec",
                                       conf=f"{ALONE[name].conf}args = -d 31\n", options="-d 31", most_mib=48)
              for name in ("init-xfs", "init-vfat", "init-btrfs", "init-raw", "init-full")})


# ----- the target disk

def mkfs(one, path, content):
    """Make the file system of a run on an image; `content` is a folder to fill it from."""
    sbin = guest.find_sbin
    argv = {
        "ext4": lambda: ["mkfs.ext4", "-q", "-F", "-m", "0", "-U", UUID, "-L", LABEL,
                         *(["-d", content] if content else [])],
        "xfs": lambda: ["mkfs.xfs", "-q", "-f", "-m", f"uuid={UUID}", "-L", LABEL],
        "vfat": lambda: ["mkfs.vfat", "-F", "32", "-i", FAT_SERIAL, "-n", LABEL],
        "btrfs": lambda: ["mkfs.btrfs", "-q", "-f", "-U", UUID, "-L", LABEL],
    }[one.disk]()
    run([sbin(argv[0]), *argv[1:], path], f"making a {one.disk} on {path.name}", timeout=300,
        hint="`vm setup` installs what makes file systems")


def make_target(one, home):
    """The target disk's image: a file system, alone or in a partition; noise for a raw one.

    Returns the offset of the file system in the image.
    """
    path = home / "target.img"
    path.unlink(missing_ok=True)
    size = one.size_mib << 20
    content = None
    if one.old or one.links:
        content = home / "old"
        shutil.rmtree(content, ignore_errors=True)
        (content / one.path).mkdir(parents=True)
        for name, target in one.links:
            (content / name).parent.mkdir(parents=True, exist_ok=True)
            (content / name).symlink_to(target)
        for name in one.old:
            folder = content / one.path / name
            folder.mkdir(parents=True)
            (folder / "vmcore").write_bytes(os.urandom(8 << 20))
            (folder / "vmcore-dmesg.txt").write_text("an older crash\n")
    if one.disk == "raw":
        with open(path, "wb") as disk:
            for _ in range(one.size_mib):
                disk.write(os.urandom(1 << 20))
        return 0
    with open(path, "wb") as disk:
        disk.truncate(size)
    if not one.table:
        mkfs(one, path, content)
        return 0
    # The first partition is a decoy of 8 MiB.
    first, start = 2048, 2048 + (8 << 11)
    script = {
        "gpt": f"label: gpt\nstart={first}, size={8 << 11}\n"
               f"start={start}, size={(one.size_mib - 16) << 11}, uuid={PART_GUID}\n",
        "mbr": f"label: dos\nlabel-id: 0x{DISK_SIGNATURE}\nstart={first}, size={8 << 11}, type=83\n"
               f"start={start}, size={(one.size_mib - 16) << 11}, type=83\n",
    }[one.table]
    run([guest.find_sbin("sfdisk"), "-q", path], "partitioning the target disk", input=script,
        stdin=None, hint="`vm setup` installs fdisk")
    inner = home / "partition.img"
    inner.unlink(missing_ok=True)
    with open(inner, "wb") as part:
        part.truncate((one.size_mib - 16) << 20)
    mkfs(one, inner, content)
    with open(inner, "rb") as part, open(path, "r+b") as disk:
        disk.seek(start * 512)
        shutil.copyfileobj(part, disk, 1 << 20)
    inner.unlink()
    return start * 512


def fetch(one, home, offset):
    """Copy all files of the target disk into home/fetched."""
    out = home / "fetched"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    image = home / "target.img"
    if one.disk == "ext4":
        if one.expect == "incomplete":
            # What ended early may still be in the journal only.
            run([guest.find_sbin("e2fsck"), "-fy", image], "repairing the target disk", ok=(0, 1))
        if offset:
            inner = home / "partition.img"
            with open(image, "rb") as disk, open(inner, "wb") as part:
                disk.seek(offset)
                shutil.copyfileobj(disk, part, 1 << 20)
            image = inner
        run([guest.find_sbin("debugfs"), "-R", f"rdump / {out}", image],
            "reading the target disk", timeout=300)
        (home / "partition.img").unlink(missing_ok=True)
        return out
    if one.disk == "raw":
        with open(image, "rb") as disk:
            (out / "head").write_bytes(disk.read(4096))
            with open(out / "vmcore", "wb") as dump:
                shutil.copyfileobj(disk, dump, 1 << 20)
        return out
    fetch_by_guest(one, home, out)
    return out


def fetch_by_guest(one, home, out):
    """As `fetch`, for file systems that only a kernel can read: a guest packs them into a tar."""
    kernel = packages.kernel(one.kernel, *KERNELS[one.kernel])
    init = FETCH_INIT.format(kind=one.disk, device="/dev/vda")
    wanted = list(guest.MODULES) + MODULES[one.disk]
    (home / "fetch.cpio").write_bytes(guest.initramfs(kernel, init, {}, wanted))
    archive = home / "fetched.tar"
    archive.unlink(missing_ok=True)
    with open(archive, "wb") as disk:
        disk.truncate((one.size_mib + 16) << 20)
    argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "384M", "-smp", "1",
            "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot", "-monitor", "none",
            "-serial", f"file:{home / 'fetch.log'}", "-kernel", kernel.image,
            "-initrd", home / "fetch.cpio", "-append", "console=ttyS0 panic=5 loglevel=4 rdinit=/init"]
    for path in (home / "target.img", archive):
        argv += ["-drive", f"file={path},format=raw,if=virtio,cache=unsafe"]
    for _ in range(guest.TRIES):
        guest.boot(argv, home / "fetch.log", 180)
        said = (home / "fetch.log").read_text(errors="replace")
        # On a busy machine an emulated timer now and then does not come, and the kernel gives up.
        if "VM: fetched" in said or "timer doesn't work" not in said:
            break
    if "VM: fetched" not in said:
        raise VmError(f"while reading the target disk in a guest:\n{tail(said, 20)}")
    with tarfile.open(archive) as tar:
        # The modes of folders count, too.
        tar.extractall(out, filter="tar")
    archive.unlink()
    (home / "fetch.cpio").unlink()


# ----- the initramfs

def orders(one):
    """The text of /etc/tamis.conf."""
    target = f"target = {one.target}\n" if one.target else ""
    return f"# Made by tests/vm.\n{target}{one.conf}"


def build_initramfs(one, kernel, tools, path):
    """The crash kernel's initramfs, made as a user would: by `tamis initramfs`."""
    conf = path.with_name("tamis.conf")
    conf.write_text(orders(one))
    modules = ["virtio_pci", "virtio_blk"]
    if "fstype" not in one.conf and one.target:
        modules += MODULES[one.disk]
    modules += one.crash_modules
    path.unlink(missing_ok=True)
    told = {"TAMIS_PANIC_AT": str(one.panics)} if one.panics else None
    capture = tools.capture if one.arch == "amd64" and not told else guest.capture_binary(one.arch, told)
    said = run([tools.tamis, "initramfs", "-o", path, "--capture", capture, "--conf", conf,
                "--kernel", kernel.release, "--modules-dir", kernel.with_dependencies(),
                *(word for name in modules for word in ("--module", name))],
               "making the initramfs").stdout
    say(f"{one.name}: initramfs of {path.stat().st_size} bytes: "
        + said.splitlines()[0].rpartition(": ")[2])
    conf.unlink()
    if one.stage:
        # A second archive behind the first: what it has wins.
        init = STAGE_INIT.format(about="The stage before PID 1 proper.", stage=one.stage)
        programs = {"vm_guest": guest.guest_helper(one.arch), "tamis-capture": capture}
        with open(path, "ab") as image:
            image.write(bytes(-image.tell() % 4))
            image.write(guest.initramfs(kernel, init, programs, one.stage_modules, one.arch))


# ----- the crash

def crash(one, tools):
    """Crash the guest of a run; afterwards its folder holds target.img, the RAM files, serial.log.

    Returns (home, offset of the target's file system). A guest that hangs gets another try.
    """
    for left in range(guest.TRIES - 1, -1, -1):
        try:
            return crash_once(one, tools)
        except guest.Hung as error:
            if not left:
                raise
            say(f"{str(error).splitlines()[0]}: trying again")
    raise AssertionError("TRIES is not positive")


def ram_files(one, home):
    """(physical address, path) of the guest's memory."""
    return [(start, home / f"{name}.ram") for name, start, _ in one.backends]


def crash_once(one, tools):
    """One try of `crash`."""
    home = state_dir() / one.name
    home.mkdir(parents=True, exist_ok=True)
    for old in ("vmcore", "serial.log", "target.img"):
        (home / old).unlink(missing_ok=True)
    kernel = packages.kernel(one.kernel, *KERNELS[one.kernel])
    machine = MACHINES[one.arch]
    helper = guest.guest_helper(one.arch)
    say(f"{one.name}: making the guest of {kernel.release}")
    offset = make_target(one, home)
    seed = home / "seed"
    shutil.rmtree(seed, ignore_errors=True)
    (seed / "boot").mkdir(parents=True)
    build_initramfs(one, kernel, tools, seed / "boot/crash.cpio")
    image = kernel.image if machine.kexec_file_load else kernel.plain_image()
    shutil.copyfile(image, seed / "boot/vmlinuz")
    guest.seeded_files(seed, max(8, one.load_mib // 12))
    guest.make_disk(home / "load.img", 128 + one.load_mib, seed)
    line, first_programs = machine.line(f"{CRASH_LINE} {one.line}".strip()), {"vm_guest": helper}
    kexec_load = guest.KEXEC_FILE_LOAD.format(line=line)
    if not machine.kexec_file_load:
        tool, argv = packages.kexec(one.arch)
        first_programs.update(tool)
        kexec_load = guest.KEXEC_LOAD.format(kexec=" ".join(argv), more=" ".join(machine.kexec), line=line)
    first = FIRST_INIT.replace("{kexec_load}", kexec_load).replace("{before_kexec}", machine.before_kexec) \
        .replace("{load_mib}", str(one.load_mib)).replace("{more}", one.more) \
        .replace("{about}", "PID 1 of the kernel that is going to crash.") \
        .replace("{{", "{").replace("}}", "}").replace("/dev/vdc", "/dev/vdb")
    (home / "first.cpio").write_bytes(guest.initramfs(kernel, first, first_programs, one.modules, one.arch))
    argv = [
        *packages.emulator(machine), "-cpu", one.cpu, "-m", f"{one.memory_mib}M", "-smp", one.smp,
        "-display", "none", "-nic", "none", "-no-reboot",
        "-monitor", f"unix:{home / 'monitor'},server=on,wait=off",
        "-qmp", f"unix:{home / 'qmp'},server=on,wait=off",
        "-serial", f"file:{home / 'serial.log'}",
        "-kernel", image, "-initrd", home / "first.cpio",
        "-append", machine.line(guest.FIRST_LINE.format(crashkernel=one.crashkernel, more=one.first_line)),
    ]
    for (name, _, mib), (_, path) in zip(one.backends, ram_files(one, home)):
        path.unlink(missing_ok=True)
        argv += ["-object", f"memory-backend-file,id={name},size={mib}M,mem-path={path},share=on"]
    argv += one.qemu
    for name in ("load", "target"):
        argv += ["-drive", f"file={home / name}.img,format=raw,if=none,id={name},cache=unsafe",
                 "-device", f"virtio-blk-pci,id={name},drive={name}"]
    patience = machine.patience * guest.busy()
    say(f"{one.name}: booting, crashing (at most {240 * patience} s)")
    serial = home / "serial.log"
    started = time.monotonic()
    last_event, heard = [started], []

    put_back = []

    def spoil():
        """Take memory from the crash kernel."""
        from . import unreadable
        (_, path), = ram_files(one, home)
        put_back.append(unreadable.spoil(path, home, lambda: serial.read_text(errors="replace")))

    def tell(command):
        """A function that tells QEMU's monitor something."""
        def told():
            if one.ends == "reset":
                heard.append(guest.listen(home / "qmp"))
            guest.monitor(home / "monitor", command)
            last_event[0] = time.monotonic()
        return told

    try:
        events = {"VM: inflate": tell(f"balloon {one.memory_mib - 100}"),
                  **({"VM: ready": spoil} if one.unreadable else {}),
                  **{text: tell(command) for text, command in one.events}}
        guest.boot(argv, serial, 240 * patience, events=events, halts=one.halts if one.ends == "halt" else 0,
                   patience=patience)
        for put in put_back:
            put()
        said = serial.read_text(errors="replace")
        if CRASHED not in said:
            raise VmError("the first kernel did not come to its crash")
    except VmError as error:
        said = serial.read_text(errors="replace") if serial.exists() else ""
        raise type(error)(f"while crashing the guest of {one.name}: {error}\n"
                          f"--- the end of {serial} ---\n{tail(said, 40)}\n---") from None
    replace_file(home / "ended", f"{time.monotonic() - last_event[0]:.1f}\n")
    say(f"{one.name}: the machine ended after {time.monotonic() - started:.1f} s")
    shutil.rmtree(seed)
    for line in heard:
        replace_file(home / "qmp.log", line.makefile("rb").read())
        line.close()
    for used in ("load.img", "first.cpio", "monitor", "qmp"):
        (home / used).unlink(missing_ok=True)
    replace_file(home / "kernel.json", (kernel.home / "info.json").read_text())
    return home, offset


# ----- the checks

def stamped(text):
    """Seconds in the kernel's time stamps of a text."""
    return [float(found) for found in re.findall(r"^\[ *(\d+\.\d+)\]", text, re.M)]


def check(one, home, offset, capture, report, keep):
    """Everything about one crash; afterwards only the logs are left, unless told to `keep`."""
    try:
        inspect(one, home, offset, capture, report, keep)
    finally:
        if not keep:
            for name in ("check", "fetched", "old"):
                shutil.rmtree(home / name, ignore_errors=True)
            for path in [home / "vmcore", home / "target.img", *(p for _, p in ram_files(one, home))]:
                path.unlink(missing_ok=True)


def inspect(one, home, offset, capture, report, keep):
    """The checks of `check`."""
    # numpy is in the virtual environment only.
    from . import markers, ram, unreadable
    from .checks import Checker
    from .dumpread import (FLAG_LZ4, FLAG_RAW, FLAG_ZLIB, FLAG_ZSTD, STATUS_INCOMPLETE, Kdump, Vmcore,
                           vmcoreinfo_of)
    flags = {"-c": FLAG_ZLIB, "-z": FLAG_ZSTD, "--lz4": FLAG_LZ4}
    said = (home / "serial.log").read_text(errors="replace").replace("\r", "")
    crashed = said.split(CRASHED, 1)[1]
    words = {"reboot": "reboot: Restarting system", "poweroff": "reboot: Power down",
             "halt": "reboot: System halted"}
    others = [word for end, word in words.items() if end != one.ends and word in crashed]
    own = words.get(one.ends, "")
    report.check(own in crashed and not others and said.count("Kernel panic") == 1,
                 f"ends with {one.ends}",
                 f"{crashed.count(own) if own else 0} times `{own}`, {len(others)} other "
                 f"endings, {said.count('Kernel panic') - 1} panics of the crash kernel")
    for text, command in one.events:
        report.check(re.search(text, crashed) is not None, "event", f"{text!r}: {command}")
    if one.ends == "reset":
        heard = (home / "qmp.log").read_text()
        report.check('"event": "WATCHDOG"' in heard, "the watchdog bites", heard.strip().splitlines()[:1])
    if one.ends_within:
        seconds = float((home / "ended").read_text())
        report.check(seconds <= one.ends_within, "ends soon",
                     f"{seconds} s after the last event, at most {one.ends_within}")
    if one.waits:
        seconds = [float(re.search(rf"^\[ *(\d+\.\d+)\] EXT4-fs \(\w+\): {word}", crashed, re.M)[1])
                   for word in ("mounted", "unmounting")]
        took = seconds[1] - seconds[0]
        report.check(took > 2 * one.waits, "watchdog", f"{took:.1f} s between mount and unmount of the target, for a "
                     f"watchdog that waits {one.waits} s; {crashed.count('did not stop')} times let go of, armed")
    for text in one.says:
        report.check(re.search(text, crashed) is not None, "says", repr(text))
    if one.most_seconds:
        ended = stamped(crashed)[-1] if stamped(crashed) else 1e9
        report.check(ended <= one.most_seconds, "in time",
                     f"the crash kernel was up for {ended:.1f} s, at most {one.most_seconds}")
    if one.most_mib:
        found = re.search(r"memory: (\d+) kB in this kernel; free \d+ kB at first, (\d+) kB at least", crashed)
        used = (int(found[1]) - int(found[2])) / 1024 if found else 1e9
        report.check(used <= one.most_mib, "memory in use", f"{used:.1f} MiB of the crash kernel's at the worst "
                     f"moment, at most {one.most_mib}")
    files = fetch(one, home, offset)
    parent = files if one.disk == "raw" else files / one.path
    folders = sorted(path.name for path in parent.iterdir()) if parent.is_dir() else []
    old = [name for name in folders if name in one.old]
    new = [name for name in folders if name not in one.old]
    if one.old:
        report.check(old == sorted(one.stays), "older dumps", f"{len(one.old)} before, {old} left")
    if one.expect == "nothing":
        report.check(new == [], "nothing is saved", f"{new} on the target")
        return
    started = time.monotonic()
    segments = ram.write_vmcore(ram.Ram(ram_files(one, home)), ram.reserved_of(said), home / "vmcore",
                                MACHINES[one.arch].elf)
    # This machine's program reads the vmcores of few others.
    machine = MACHINES[one.arch]
    program = [capture] if machine.target else [*machine.user, guest.capture_binary(one.arch)]
    checker = Checker(home, one, program, report, keep)
    shutil.rmtree(checker.work, ignore_errors=True)
    checker.work.mkdir()
    report.note("the guest's memory", f"{segments} segments, {int(checker.raw.covered.sum())} pages, "
                f"{time.monotonic() - started:.1f} s")

    if one.disk == "raw":
        head = (files / "head").read_bytes()
        fields = struct.unpack_from("<8sIIQ", head)
        status = 1 if one.expect == "incomplete" else 2
        report.check(fields == (b"TAMISRAW", 1, status, 4096) and not any(head[24:]), "raw header",
                     f"{fields}, {sum(map(bool, head[24:]))} other bytes set")
        saved = files / "vmcore"
    else:
        text = vmcoreinfo_of(checker.raw.notes)
        moment = int(re.search(r"^CRASHTIME=(\d+)", text, re.M).group(1))
        name = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(moment)) + "-" + HOST
        if not report.check(new == [name], "the crash's folder", f"{new}, expected {name}"):
            return
        there = sorted(path.name for path in (parent / name).iterdir())
        expected = ["vmcore" if one.expect == "dump" else "vmcore.incomplete"]
        expected += [] if "dmesg = no" in one.conf else ["vmcore-dmesg.txt"]
        report.check(there == sorted(expected), "its files", f"{there}")
        if one.disk != "vfat":
            modes = {path.name: path.stat().st_mode & 0o7777 for path in (parent / name).iterdir()}
            folder = (parent / name).stat().st_mode & 0o7777
            report.check(folder == 0o700 and set(modes.values()) == {0o600}, "secrets",
                         f"folder {folder:o}, " + ", ".join(f"{n} {mode:o}" for n, mode in sorted(modes.items())))
        saved = parent / name / expected[0]
        if "vmcore-dmesg.txt" in there:
            log = (parent / name / "vmcore-dmesg.txt").read_bytes()
            checker.tamis.dump(["--dump-dmesg"], home / "vmcore", checker.work / "log")
            want = (checker.work / "log").read_bytes()
            report.check(log == want and b"sysrq: Trigger a crash" in log and log.count(b"\n") > 100,
                         "kernel log", f"{len(log)} bytes, {len(log.splitlines())} lines compared with "
                         f"the host's {len(want)} bytes; the cause of the crash is in it "
                         f"{log.count(b'sysrq: Trigger a crash')} times")
        if not saved.exists():
            return
    if one.expect == "incomplete":
        dump = Kdump(saved)
        good = bad = 0
        for pfn, page in dump.pages():
            if page is not None and page == checker.raw.page(pfn):
                good += 1
            elif page is not None:
                bad += 1
        report.check(bool(dump.header["status"] & STATUS_INCOMPLETE) and bad == 0
                     and (good > 0 or one.may_be_empty),
                     "incomplete dump", f"status {dump.header['status']:#x}; {good} of "
                     f"{len(dump.pfns)} pages there and as in memory, {bad} other")
        if one.unreadable:
            unreadable.check(checker, home, saved, one.options.split())
    else:
        again, _ = checker.make(checker.tamis, one.options.split(), "again")
        if one.disk == "raw":
            os.truncate(saved, again.stat().st_size)
        checker.same_bytes(again, saved, f"the dump ({one.options})", "the host's of the guest's memory")
        if "-E" not in one.options:
            dump = Kdump(saved)
            reference = None
            level = int(one.options.split("-d ")[1])
            if checker.reference:
                path, _ = checker.make(checker.reference, ["-d", str(level)], "reference")
                reference = Kdump(path)
            flag = flags.get(one.options.split()[0], FLAG_RAW)
            checker.bitmap_check(dump, reference, level, "the dump's")
            checker.headers(dump, reference, flag, "the dump's")
            if flag != FLAG_ZSTD:
                checker.contents(dump, "the dump's")
            if one.name.endswith("-init") or flag == FLAG_ZSTD:
                checker.through_drgn(dump, "the dump")
        else:
            report.note("the dump", f"{len(Vmcore(saved).loads)} segments")
        if one.marked:
            markers.check(checker, saved)
    report.note("the dump", f"{saved.stat().st_size} bytes; " + "; ".join(
        re.findall(r"tamis-capture: (memory: .*)", crashed)))
