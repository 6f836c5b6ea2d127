"""Boot a guest, crash it, and bring home what its crash kernel wrote."""

import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from . import captures, packages
from .common import REPO, VmError, replace_file, run, say, state_dir, tail
from .runs import KERNELS, MACHINES

MODULES = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"]
"""What the guests need where it is not built in. No virtio_balloon: in the crash kernel it would
hand that kernel's little memory to the host."""

FIRST_LINE = "console=ttyS0 panic=5 loglevel=4 rdinit=/init crashkernel={crashkernel} {more}"
CRASH_LINE = "console=ttyS0 nr_cpus={cpus} irqpoll reset_devices panic=1 loglevel=4 rdinit=/init"

BOOT_SECONDS = 90
"""By then the first init has said something: 10 is usual, on a busy machine 30."""

TRIES = 3

LIVE = """
mkdir -p /etc && echo nobody:x:65534:65534::/:/bin/sh > /etc/passwd
cp /bin/tamis /tmp/tamis && chmod 755 /tmp/tamis
start-stop-daemon -S -c nobody -x /tmp/tamis -- estimate 2>&1 | sed 's/^/VM: nobody /'
vm_guest measure /tmp/measured /bin/tamis estimate --json > /tmp/estimate 2>&1 || fail "estimate"
sed 's/^/VM: json /' /tmp/estimate
sed 's/^/VM: measured /' /tmp/measured
"""

ONE_CPU_LEFT = """
for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
    echo 0 > $cpu || fail "$cpu"
done
"""
"""The CPU that the machine began with cannot be started by a crash kernel, so it has to be the one that
panics."""

KEXEC_FILE_LOAD = "vm_guest kexec-load /data/boot/vmlinuz /data/boot/crash.cpio '{line}'"
KEXEC_LOAD = "{kexec} -p {more} /data/boot/vmlinuz --initrd=/data/boot/crash.cpio --append='{line}'"

BOTH_INITS = """#!/bin/busybox sh
# Made by tests/vm. {about}
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "VM: init runs"
fail() {{ echo "VM: failed: $*"; sync; reboot -f; sleep 60; }}
for module in $(cat /modules/order); do
    insmod /modules/$module.ko || fail "insmod $module"
done
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vdc ] && break; sleep 0.3; done
[ -b /dev/vdc ] || fail "the disks have not come up"
"""

FIRST_INIT = BOTH_INITS + """
mkdir -p /data /tmp
mount -t ext4 /dev/vda /data || fail "mount of the load's disk"
mount -t tmpfs -o size=80% tmp /tmp || fail "mount of a tmpfs"
if [ -e /sys/kernel/mm/transparent_hugepage/shmem_enabled ]; then
    mkdir /tmp/huge
    mount -t tmpfs -o size=20%,huge=always tmp /tmp/huge || fail "mount of a tmpfs of huge pages"
fi
{before_kexec}
{kexec_load}
mkdir /data/files && mv /data/read.* /data/files/ || fail "the load's files"
vm_guest load {load_mib} /data/files /tmp || fail "load"
sync
grep -E 'MemTotal|MemFree|Cached|AnonPages|AnonHuge|ShmemHuge|HugePages_(Total|Free)|Hugetlb|HardwareCorrupted|Slab' /proc/meminfo | sed 's/^/VM: /'
{live}
{before_panic}
{end}
"""

LOADED = """{command} || fail "kexec-load"
echo "VM: crash kernel loaded"
"""
PANIC = """echo "VM: panic now"
echo c > /proc/sysrq-trigger
"""
DUMPED = """echo "VM: dump me"
sleep 10000
"""

CRASH_INIT = BOTH_INITS + """
echo "VM: crash kernel runs"
[ -s /proc/vmcore ] || fail "/proc/vmcore is not there"
mkdir -p /out
mount -t ext4 /dev/vdb /out || fail "mount of the output disk"
{{
    echo "vmcore_bytes=$(stat -c %s /proc/vmcore)"
    echo "memtotal_kb=$(awk '/^MemTotal/ {{ print $2 }}' /proc/meminfo)"
}} > /out/result
{capture}
{raw}
echo "complete=yes" >> /out/result
umount /out || fail "unmount"
sync
echo "VM: done"
reboot -f
"""

CAPTURE_PART = """
vm_guest measure /out/measured {command} > /out/capture.log 2>&1 || fail "measure"
cat /out/measured >> /out/result
echo "options={options}" >> /out/result
echo "VM: captured"
"""

RAW_PART = """
dd if=/proc/vmcore of=/dev/vdc bs=1M conv=fsync 2>/out/dd.log || fail "copy of /proc/vmcore"
"""


def busy():
    """How many times as long as usual guests may take here, as $TAMIS_VM_PATIENCE says."""
    return int(os.environ.get("TAMIS_VM_PATIENCE") or 1)


def host_tool():
    """The program `tamis`, for this machine."""
    say("building tamis")
    run(["cargo", "build", "--release", "-p", "tamis"], "building tamis", timeout=1800, cwd=REPO,
        env=dict(os.environ, CARGO_TERM_COLOR="never"), hint="try the command yourself")
    return REPO / (os.environ.get("CARGO_TARGET_DIR") or "target") / "release" / "tamis"


def cargo_build(package, program, arch="amd64", told=None):
    """Build one static binary; returns its path. With more variables `told` to the compiler it is
    another program, and has a folder of its own."""
    target = MACHINES[arch].target
    target_dir = Path(os.environ.get("CARGO_TARGET_DIR") or "target", "told" if told else "")
    say(f"building {package}{''.join(f', {name}={value}' for name, value in (told or {}).items())}")
    run(["cargo", "build", "--release", "-p", package, "--target", target],
        f"building {package}", timeout=1200, cwd=REPO,
        env=dict(os.environ, CARGO_TERM_COLOR="never", CARGO_TARGET_DIR=str(target_dir), **(told or {})),
        hint=f"try the command yourself; a missing target comes with `rustup target add {target}`")
    path = REPO / target_dir / target / "release" / program
    if not path.exists():
        raise VmError(f"while building {package}: cargo succeeded but {path} is not there")
    return path


def guest_helper(arch="amd64"):
    """The static helper that runs inside the guests."""
    if not MACHINES[arch].target:
        return REPO / "tests/vm/guest/helper.sh"
    return cargo_build("vm-guest", "vm_guest", arch)


def capture_binary(arch="amd64", told=None):
    """The program under test. Where the toolchain has no libraries for a machine, the one of `cargo xtask dist`."""
    if not MACHINES[arch].target:
        uname = MACHINES[arch].uname or arch
        path = captures.programs(uname) / uname / "tamis-capture"
        if not path.exists():
            raise VmError(f"while looking for the capture program of {arch}: {path} is not there\n"
                          f"  next: `cargo xtask dist` says what it lacks")
        return path
    return cargo_build("tamis-capture", "tamis-capture", arch, told)


def cpio(entries):
    """A newc archive of (name, mode, bytes); folders are mode 0o40755 with no bytes."""
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        encoded = name.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields)
        out += encoded
        out += b"\0" * (-len(out) % 4)
        out += data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def initramfs(kernel, init, programs, more_modules=(), arch="amd64"):
    """An initramfs with busybox, the modules in loading order, and the given programs in /bin."""
    entries = [(folder, 0o40755, b"") for folder in ("bin", "modules", "proc", "sys", "dev")]
    entries.append(("dev/console", 0o20600, b""))
    entries.append(("bin/busybox", 0o100755, packages.busybox(arch).read_bytes()))
    for name, path in programs.items():
        entries.append((f"bin/{name}", 0o100755, path.read_bytes()))
    modules = kernel.modules_in_order([*MODULES, *more_modules])
    for name, data in modules:
        entries.append((f"modules/{name}.ko", 0o100644, data))
    entries.append(("modules/order", 0o100644, "\n".join(name for name, _ in modules).encode()))
    entries.append(("init", 0o100755, init.encode()))
    return cpio(entries)


def seeded_files(folder, mib):
    """Files for the guest to read: they become clean page cache. The same bytes every time."""
    source = random.Random(20260)
    text = "".join(f"{number} the quick brown fox {source.random()}\n" for number in range(9000))
    for part in range(4):
        chunks = []
        for _ in range(mib * 16 // 4):
            kind = source.randrange(4)
            if kind == 0:
                chunks.append(source.randbytes(65536))
            elif kind == 1:
                chunks.append(bytes(65536))
            elif kind == 2:
                pairs = (0xffff888000000000 | source.getrandbits(28) & ~63 for _ in range(8192))
                chunks.append(struct.pack("<8192Q", *pairs))
            else:
                start = source.randrange(len(text) - 65536)
                chunks.append(text[start:start + 65536].encode())
        (folder / f"read.{part}").write_bytes(b"".join(chunks))


def make_disk(path, mib, content=None):
    """An ext4 image, filled from a folder; no mount needed."""
    path.unlink(missing_ok=True)
    with open(path, "wb") as disk:
        disk.truncate(mib << 20)
    argv = [find_sbin("mkfs.ext4"), "-q", "-F", "-O", "^metadata_csum,^has_journal", "-m", "0"]
    if content:
        argv += ["-d", content]
    run([*argv, path], f"making the disk {path.name}", timeout=300)


def find_sbin(program):
    """The path of a program that may be in /usr/sbin only."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not found:
        raise VmError(f"while looking for {program}: not installed\n  next: run `vm setup`")
    return found


def extract(disk, name, path, doing):
    """Copy a file out of an ext4 image."""
    path.unlink(missing_ok=True)
    run([find_sbin("debugfs"), "-R", f"dump {name} {path}", disk], doing, timeout=300)
    if not path.exists():
        raise VmError(f"while {doing}: {disk} holds no {name}")


def read_result(text):
    """key=value lines as a dict."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


class Hung(VmError):
    """The guest hangs; worth another try."""


def monitor(path, command):
    """Give QEMU's monitor one command."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(path))
        line.recv(4096)
        line.sendall(command.encode() + b"\n")
        time.sleep(0.5)
        line.recv(4096)


def dump_memory(path, elf):
    """Have QEMU stop the guest, dump its memory as ELF, and end."""
    for command in ("stop", f"dump-guest-memory {elf}"):
        monitor(path, command)
    size = -1
    for _ in range(300):
        time.sleep(2)
        now = elf.stat().st_size if elf.exists() else 0
        if now == size and now > 0:
            break
        size = now
    monitor(path, "quit")


def listen(path):
    """A connection to QEMU's machine protocol; what it says afterwards can still be read when it has ended."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(10)
    line.connect(str(path))
    line.recv(4096)
    line.sendall(b'{"execute": "qmp_capabilities"}')
    line.recv(4096)
    return line


HALTED = "reboot: System halted"


def boot(argv, serial, timeout, events=None, halts=0, patience=1):
    """Run QEMU until the guest ends.

    It is killed after `timeout` seconds, and as soon as it hangs: emulated guests with two CPUs do
    so now and then, mostly before the first line of our init. `events` are functions to call once
    the guest has said something (a regular expression). A guest that `halts` has to say so, and then still be there after
    so many seconds.
    """
    events = dict(events or {})
    serial.unlink(missing_ok=True)
    started = time.monotonic()
    with open(serial.with_name("qemu.log"), "wb") as log:
        process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, start_new_session=True)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                said = serial.read_text(errors="replace") if serial.exists() else ""
                seconds = time.monotonic() - started
                for text in [text for text in events if re.search(text, said)]:
                    events.pop(text)()
                if halts and HALTED in said:
                    time.sleep(halts)
                    if process.poll() is not None:
                        raise VmError("the guest said that it halts, but QEMU ended")
                    return
                if "soft lockup" in said:
                    raise Hung("a CPU of the guest hangs")
                if "VM: " not in said and seconds > BOOT_SECONDS * patience:
                    raise Hung(f"init has not begun after {BOOT_SECONDS * patience} s")
                if seconds > timeout:
                    raise Hung(f"no end after {timeout} s")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode != 0:
        said = serial.with_name("qemu.log").read_text(errors="replace")
        raise VmError(f"QEMU ended with status {process.returncode}: {tail(said, 10)}")


def crash(one, capture=None):
    """Crash the guest of a run; afterwards its folder holds vmcore, result, serial.log.

    With a `capture` binary the crash kernel also runs it, and dump and capture.log are there.
    A guest that hangs gets another try.
    """
    for left in range(TRIES - 1, -1, -1):
        try:
            return crash_once(one, capture)
        except Hung as error:
            if not left:
                raise
            say(f"{str(error).splitlines()[0]}: trying again")
    raise AssertionError("TRIES is not positive")


def crash_once(one, capture):
    """One try of `crash`."""
    home = state_dir() / one.name
    home.mkdir(parents=True, exist_ok=True)
    for old in ("vmcore", "dump", "result", "capture.log", "serial.log", "ram.ram"):
        (home / old).unlink(missing_ok=True)
    kernel = packages.kernel(one.kernel, *KERNELS[one.kernel])
    machine = MACHINES[one.arch]
    helper = guest_helper(one.arch)
    say(f"{one.name}: making the guest of {kernel.release}")

    programs = {"vm_guest": helper}
    capture_part = ""
    if capture:
        programs["tamis-capture"] = capture
        command = f"/bin/tamis-capture -D {one.options} /proc/vmcore /out/dump"
        capture_part = CAPTURE_PART.format(command=command, options=one.options)
    crash_init = CRASH_INIT.format(about="PID 1 of the crash kernel.", capture=capture_part,
                                   raw=RAW_PART)
    first_programs, line = {"vm_guest": helper}, machine.line(CRASH_LINE.format(cpus=one.crash_cpus))
    if one.live:
        first_programs["tamis"] = cargo_build("tamis", "tamis", one.arch)
    if machine.dumped:
        kexec_load = ""
    elif machine.kexec_file_load:
        kexec_load = LOADED.format(command=KEXEC_FILE_LOAD.format(line=line))
    else:
        tool, argv = packages.kexec(one.arch)
        first_programs.update(tool)
        command = KEXEC_LOAD.format(kexec=" ".join(argv), more=" ".join(machine.kexec), line=line)
        kexec_load = LOADED.format(command=command)
    first_init = FIRST_INIT.format(about="PID 1 of the kernel that is going to crash.",
                                   before_kexec=machine.before_kexec if one.whole_memory else "",
                                   kexec_load=kexec_load, load_mib=one.load_mib,
                                   live=LIVE if one.live else "",
                                   before_panic=ONE_CPU_LEFT if one.crash_cpus > 1 else "",
                                   end=DUMPED if machine.dumped else PANIC)
    disks = ("load.img", "out.img", "raw.img")
    if machine.dumped:
        first_init, disks = first_init.replace("/dev/vdc", "/dev/vda"), disks[:1]
    (home / "first.cpio").write_bytes(
        initramfs(kernel, first_init, first_programs, one.modules, one.arch))
    seed = home / "seed"
    shutil.rmtree(seed, ignore_errors=True)
    (seed / "boot").mkdir(parents=True)
    (seed / "boot/crash.cpio").write_bytes(initramfs(kernel, crash_init, programs, (), one.arch))
    image = kernel.image if machine.kexec_file_load else kernel.plain_image()
    shutil.copyfile(image, seed / "boot/vmlinuz")
    seeded_files(seed, max(8, one.load_mib // 12))
    make_disk(home / "load.img", 128 + one.load_mib, seed)
    make_disk(home / "out.img", 128 + one.memory_mib)
    with open(home / "raw.img", "wb") as raw:
        raw.truncate((one.memory_mib + 1024) << 20)

    argv = [
        *packages.emulator(machine), "-cpu", one.cpu, "-m", f"{one.memory_mib}M", "-smp", one.smp,
        "-display", "none", "-nic", "none", "-no-reboot", "-monitor", f"unix:{home / 'monitor'},server=on,wait=off",
        "-serial", f"file:{home / 'serial.log'}",
        "-kernel", image, "-initrd", home / "first.cpio",
        "-append", machine.line(FIRST_LINE.format(crashkernel=one.crashkernel, more=one.line)),
        *(word.replace("{home}", str(home)) for word in one.qemu),
    ]
    for name in disks:
        argv += ["-drive", f"file={home / name},format=raw,if=virtio,cache=unsafe"]
    patience = machine.patience * busy()
    timeout = (150 + one.memory_mib // 8) * patience
    say(f"{one.name}: booting, crashing (at most {timeout} s)")
    started = time.monotonic()
    serial = home / "serial.log"
    try:
        if machine.dumped:
            events = {"VM: dump me": lambda: dump_memory(home / "monitor", home / "vmcore")}
            boot(argv, serial, timeout, events, patience=patience)
            if not (home / "vmcore").exists():
                raise VmError("QEMU has dumped nothing")
            (home / "result").write_text(f"vmcore_bytes={(home / 'vmcore').stat().st_size}\ncomplete=yes\n")
        else:
            boot(argv, serial, timeout, patience=patience)
            extract(home / "out.img", "/result", home / "result", "fetching the crash kernel's result")
        result = read_result((home / "result").read_text(errors="replace"))
        if result.get("complete") != "yes":
            raise VmError("the crash kernel did not come to its end")
    except VmError as error:
        said = serial.read_text(errors="replace") if serial.exists() else ""
        raise type(error)(
            f"while crashing the guest of {one.name}: {error}\n"
            f"--- the end of {serial} ---\n{tail(said, 40)}\n---\n"
            f"  next: read the whole serial log; `vm raw {one.name}` repeats it without the "
            f"capture") from None
    if capture:
        extract(home / "out.img", "/capture.log", home / "capture.log", "fetching the capture's log")
        if result.get("exit_status") == "0":
            extract(home / "out.img", "/dump", home / "dump", "fetching the dump")
    size = int(result["vmcore_bytes"])
    if not machine.dumped:
        os.truncate(home / "raw.img", size)
        (home / "raw.img").rename(home / "vmcore")
    shutil.rmtree(seed)
    for used in ("load.img", "out.img", "raw.img", "first.cpio", "monitor"):
        (home / used).unlink(missing_ok=True)
    replace_file(home / "kernel.json", (kernel.home / "info.json").read_text())
    say(f"{one.name}: vmcore of {size} bytes after {time.monotonic() - started:.1f} s in the guest")
    return home
