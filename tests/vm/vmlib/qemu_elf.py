"""A dump that QEMU itself makes of a running guest (`dump-guest-memory`), captured on the host.

QEMU puts section headers before the program headers, which makedumpfile does not find then: for it
the file is written anew in the usual order. What tamis-capture makes of QEMU's own file is held
against that, and its pages against the guest's RAM."""

import shutil
import struct
import time

from . import alone, guest, packages
from .common import VmError, replace_file, say, state_dir, tail
from .runs import KERNELS

NAME = "qemu-elf"
KERNEL = "6.1"
MEMORY_MIB = 512

INIT = guest.BOTH_INITS + """
hostname """ + alone.HOST + """
mkdir -p /data /tmp
mount -t ext4 /dev/vda /data || fail "mount of the load's disk"
mount -t tmpfs -o size=80% tmp /tmp || fail "mount of a tmpfs"
mkdir /data/files && mv /data/read.* /data/files/ || fail "the load's files"
vm_guest load 128 /data/files /tmp || fail "load"
sync
echo "VM: dump me"
sleep 600
"""


def dump_guest():
    """Boot a guest, let QEMU dump it; its folder then holds qemu.elf, qemu.kdump (a flattened
    stream with zlib pages) and ram.ram."""
    home = state_dir() / NAME
    home.mkdir(parents=True, exist_ok=True)
    kernel = packages.kernel(KERNEL, *KERNELS[KERNEL])
    seed = home / "seed"
    shutil.rmtree(seed, ignore_errors=True)
    seed.mkdir()
    guest.seeded_files(seed, 16)
    guest.make_disk(home / "load.img", 256, seed)
    shutil.rmtree(seed)
    init = INIT.format(about="PID 1 of the guest that QEMU dumps.").replace("/dev/vdc", "/dev/vda")
    (home / "first.cpio").write_bytes(
        guest.initramfs(kernel, init, {"vm_guest": guest.guest_helper()}, ("qemu_fw_cfg",)))
    elf, memory, serial = home / "qemu.elf", home / "ram.ram", home / "serial.log"
    stream = home / "qemu.kdump"
    for path in (elf, stream, memory):
        path.unlink(missing_ok=True)
    argv = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", f"{MEMORY_MIB}M",
        "-smp", 2, "-M", "pc,memory-backend=ram", "-device", "vmcoreinfo",
        "-object", f"memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path={memory},share=on",
        "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot",
        "-monitor", f"unix:{home / 'monitor'},server=on,wait=off", "-serial", f"file:{serial}",
        "-kernel", kernel.image, "-initrd", home / "first.cpio",
        "-append", "console=ttyS0 panic=5 loglevel=4 rdinit=/init",
        "-drive", f"file={home / 'load.img'},format=raw,if=virtio,cache=unsafe",
    ]

    def dump():
        for command in ("stop", f"dump-guest-memory {elf}"):
            guest.monitor(home / "monitor", command)
        size = -1
        for _ in range(120):
            time.sleep(1)
            now = elf.stat().st_size if elf.exists() else 0
            if now == size and now > MEMORY_MIB << 19:
                break
            size = now
        guest.monitor(home / "monitor", f"dump-guest-memory -z {stream}")
        for _ in range(120):
            time.sleep(1)
            # The record that ends a stream.
            if stream.exists() and stream.read_bytes()[-16:] == b"\xff" * 16:
                break
        guest.monitor(home / "monitor", "quit")

    say(f"{NAME}: booting (at most 200 s)")
    guest.boot(argv, serial, 200, events={"VM: dump me": dump})
    if not elf.exists():
        raise VmError(f"while dumping the guest: QEMU left no {elf}:\n"
                      f"{tail(serial.read_text(errors='replace'), 20)}")
    for used in ("load.img", "first.cpio", "monitor"):
        (home / used).unlink(missing_ok=True)
    replace_file(home / "kernel.json", (kernel.home / "info.json").read_text())
    return home


def check(home, capture, tamis, report, keep):
    """Hold what tamis-capture makes of QEMU's file against the RAM and the reference tool, and what
    tamis makes of QEMU's other file against that."""
    from . import ram
    from .checks import Checker
    from .dumpread import FLAG_ZLIB, PAGE, Kdump, Vmcore
    qemu = Vmcore(home / "qemu.elf")
    head = struct.unpack_from(ram.HEADER, qemu.data, 0)
    report.note("QEMU's file", f"{len(qemu.data)} bytes, {len(qemu.loads)} segments, program "
                f"headers at {head[5]}")
    rewrite(qemu, home / "vmcore")
    one = alone.Alone(NAME, "", reference="bookworm")
    checker = Checker(home, one, [capture], report, keep)
    shutil.rmtree(checker.work, ignore_errors=True)
    checker.work.mkdir()
    for level in (1, 31):
        checker.raw_path = home / "qemu.elf"
        path, _ = checker.make(checker.tamis, ["-c", "-d", str(level)], f"tamis-{level}")
        checker.raw_path = home / "vmcore"
        reference, _ = checker.make(checker.reference, ["-d", str(level)], f"reference-{level}")
        dump = Kdump(path)
        checker.bitmap_check(dump, Kdump(reference), level, f"level {level}")
        checker.headers(dump, Kdump(reference), FLAG_ZLIB, f"level {level}")
        checker.contents(dump, f"level {level}")
        memory = ram.Ram([(0, home / "ram.ram")])
        # Above the BIOS's shadows, where a PC's memory is not what the file has.
        compared = differ = 0
        for pfn, page in dump.pages():
            if pfn >= 256 and (pfn + 1) * PAGE <= MEMORY_MIB << 20:
                compared += 1
                differ += page != memory.read(pfn * PAGE, PAGE)
        report.check(compared > 5000 and differ == 0, f"level {level} against the guest's RAM",
                     f"{compared} pages compared, {differ} differences")
    own_kdump(home, tamis, checker, report)
    if not keep:
        shutil.rmtree(checker.work)
        for name in ("qemu.elf", "qemu.kdump", "vmcore", "ram.ram"):
            (home / name).unlink()


def own_kdump(home, tamis, checker, report):
    """QEMU's kdump-zlib stream, through the workstation tool."""
    import json
    import re
    from .common import run
    from .dumpread import Kdump
    stream, out = home / "qemu.kdump", checker.work / "refiltered"

    def tool(*words, ok=(0,)):
        words = [str(word) for word in words]
        return run([tamis, *words], f"running tamis {' '.join(words)}", ok=ok).stdout

    info = json.loads(tool("info", "--json", stream))["dumps"][0]
    report.check(info["written_by"] == "QEMU" and info["complete"]
                 and info["files"][0]["flattened"] is not None, "QEMU's stream: info",
                 f"written by {info['written_by']}, {info['pages']['stored']} pages, "
                 f"{info['codecs']}")
    found = json.loads(tool("verify", "--json", stream, ok=range(4)))["dumps"][0]
    report.check(found["verdict"] == "sound" and found["pages"]["good"] > 100000,
                 "QEMU's stream: verify", f"{found['verdict']}, {found['pages']}, {found['faults']}")
    diff = json.loads(tool("diff", "--json", home / "qemu.elf", stream, ok=range(4)))
    report.check(diff["pages"]["same"] > 100000 and diff["pages"]["different"] == 0,
                 "QEMU's stream and its ELF file", f"{diff['pages']}, {diff['headers']}")
    tool("refilter", "-f", "-c", "-d", "31", stream, out)
    dump, other = Kdump(out), Kdump(checker.work / "tamis-31")
    size = min(dump.max_mapnr, other.max_mapnr)
    differ = int((dump.bitmap2[:size] != other.bitmap2[:size]).sum())
    pages = sum(a != b for a, b in zip(dump.pages(), other.pages()))
    report.check(differ == pages == 0 and len(dump.pfns) == len(other.pfns) > 5000,
                 "QEMU's stream refiltered, and its ELF file captured",
                 f"{len(dump.pfns)} and {len(other.pfns)} pages, {differ} differences in bitmap 2, "
                 f"{pages} pages")
    base = int(re.search(r"^NUMBER\(phys_base\)=(-?\d+)", tool("vmcoreinfo", out), re.M)[1])
    report.check(dump.sub["phys_base"] == base, "QEMU's stream: phys_base, mended",
                 f"{dump.sub['phys_base']}, VMCOREINFO says {base}")
    checker.through_drgn(dump, "QEMU's stream refiltered")


def rewrite(qemu, path):
    """The same core with its program headers right behind the ELF header."""
    from .dumpread import PAGE, Segment
    from .ram import HEADER, PROGRAM_HEADER
    at = PAGE + -(-len(qemu.notes) // PAGE) * PAGE
    table = [struct.pack(PROGRAM_HEADER, Segment.NOTE, 0, PAGE, 0, 0, len(qemu.notes),
                         len(qemu.notes), 0)]
    places = []
    for s in qemu.loads:
        table.append(struct.pack(PROGRAM_HEADER, Segment.LOAD, s.flags, at, s.vaddr, s.paddr,
                                 s.filesz, s.memsz, s.align))
        places.append(at)
        at += -(-s.filesz // PAGE) * PAGE
    with open(path, "wb") as out:
        out.write(struct.pack(HEADER, b"\x7fELF\x02\x01\x01" + bytes(9), 4, qemu.machine, 1, 0, 64,
                              0, 0, 64, 56, len(table), 0, 0, 0) + b"".join(table))
        out.seek(PAGE)
        out.write(qemu.notes)
        for s, place in zip(qemu.loads, places):
            out.seek(place)
            out.write(qemu.data[s.offset:s.offset + s.filesz])
        out.truncate(at)
