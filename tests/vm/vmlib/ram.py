"""The dead kernel's memory as the host sees it: the raw vmcore without a copy made in the guest.

The guest's RAM is a file on the host, which outlives the guest. The crash kernel works inside its
reservation only, so the file still holds what /proc/vmcore showed; and inside the reservation lies
the ELF header that the dead kernel left for it (elfcorehdr), which says where notes and memory
are. Put together as fs/proc/vmcore.c does, that is /proc/vmcore. Nothing of it comes from the
program under test.
"""

import mmap
import re
import struct

from .common import VmError
from .dumpread import PAGE, Segment

HEADER = "<16sHHIQQQIHHHHHH"
PROGRAM_HEADER = "<IIQQQQQQ"


class Ram:
    """The guest's memory: files, each from one physical address on."""

    def __init__(self, files):
        """`files` are (physical address, path)."""
        self.parts = []
        for start, path in files:
            with open(path, "rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.parts.append((start, start + len(data), data))

    def read(self, paddr, length):
        """Bytes at a physical address."""
        for start, end, data in self.parts:
            if start <= paddr and paddr + length <= end:
                return data[paddr - start:paddr - start + length]
        raise VmError(f"while reading the guest's memory: {length} bytes at {paddr:#x} are not in it")


def core_header(ram, reserved, machine):
    """Where inside the reservation the ELF header is that the dead kernel left there, and its program headers."""
    magic = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 4, machine, 1)
    found = []
    for first, last in reserved:
        region = ram.read(first, last + 1 - first)
        at = region.find(magic)
        while at >= 0:
            head = struct.unpack_from(HEADER, region, at)
            phoff, phentsize, phnum = head[5], head[9], head[10]
            end = at + phoff + phentsize * phnum
            if at % PAGE == 0 and phentsize == 56 and 2 <= phnum < 4096 and end <= len(region):
                table = region[at + phoff:end]
                segments = [Segment(p[0], p[1], *p[2:])
                            for p in struct.iter_unpack(PROGRAM_HEADER, table)]
                # Where memory and notes are is said by physical address there; kexec-tools has
                # a copy of the first 640 KiB elsewhere.
                if all(s.type in (Segment.LOAD, Segment.NOTE)
                       and (s.offset == s.paddr or s.paddr < 640 << 10) for s in segments):
                    found.append((first + at, segments))
            at = region.find(magic, at + 1)
    if len(found) != 1:
        raise VmError(f"while looking for the dead kernel's ELF header in the memory reserved for "
                      f"the crash kernel: found {len(found)}, expected 1")
    return found[0]


def trimmed_notes(blob):
    """The notes at the start of a segment; an empty one ends them."""
    at = 0
    while at + 12 <= len(blob):
        namesz, descsz, _ = struct.unpack_from("<III", blob, at)
        size = 12 + (namesz + 3) // 4 * 4 + (descsz + 3) // 4 * 4
        if namesz == 0 or at + size > len(blob):
            break
        at += size
    return blob[:at]


def reserved_of(said):
    """The crash kernel's memory as the first init read it in /proc/iomem or in the device tree: [(first, last)]."""
    found = re.findall(r"VM: iomem +([0-9a-f]+)-([0-9a-f]+) : Crash kernel", said)
    tree = re.findall(r"VM: crashkernel ([0-9a-f]+) ([0-9a-f]+)", said)
    if not found and tree:
        return [(int(base, 16), int(base, 16) + int(size, 16) - 1) for base, size in tree]
    if not found:
        raise VmError("while reading the serial log: no `Crash kernel` in it")
    return [(int(first, 16), int(last, 16)) for first, last in found]


def write_vmcore(ram, reserved, path, machine=62):
    """Write what /proc/vmcore was, of a machine by its number in ELF; returns the number of memory segments."""
    _, segments = core_header(ram, reserved, machine)
    notes = b"".join(trimmed_notes(ram.read(s.offset, s.filesz))
                     for s in segments if s.type == Segment.NOTE)
    loads = [s for s in segments if s.type == Segment.LOAD and s.filesz]
    at = PAGE + -(-len(notes) // PAGE) * PAGE
    table = [struct.pack(PROGRAM_HEADER, Segment.NOTE, 0, PAGE, 0, 0, len(notes), len(notes), 0)]
    places = []
    for s in loads:
        at += s.paddr % PAGE
        table.append(struct.pack(PROGRAM_HEADER, Segment.LOAD, s.flags, at, s.vaddr, s.paddr,
                                 s.filesz, s.memsz, s.align))
        places.append(at)
        at = -(-(at + s.filesz) // PAGE) * PAGE
    head = struct.pack(HEADER, b"\x7fELF\x02\x01\x01" + bytes(9), 4, machine, 1, 0, 64, 0, 0, 64, 56,
                       len(table), 0, 0, 0)
    path.unlink(missing_ok=True)
    with open(path, "wb") as out:
        out.write(head + b"".join(table))
        out.seek(PAGE)
        out.write(notes)
        for s, place in zip(loads, places):
            for step in range(0, s.filesz, 1 << 20):
                block = ram.read(s.offset + step, min(1 << 20, s.filesz - step))
                if block.count(0) != len(block):
                    out.seek(place + step)
                    out.write(block)
        out.truncate(at)
    return len(loads)
