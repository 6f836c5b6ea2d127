"""Memory that a real /proc/vmcore cannot read.

The ELF header that the dead kernel leaves for the crash kernel (elfcorehdr) says of each range of memory
which addresses it has (p_paddr) and where it is to be fetched (p_offset). Before the crash the host, which
has the guest's RAM as a file, cuts chosen frames out of their ranges and has them fetched from where no CPU
can address anything: the crash kernel cannot map that, and read(2) of those pages fails (in
`copy_oldmem_page`, arch/x86/kernel/crash_dump_64.c). Kernels that follow hot-plugged memory
(CONFIG_CRASH_HOTPLUG) leave room behind that header, and leave it out of the checksum that is taken before
the crash kernel is entered. When the machine has ended the header is put back, and what `ram.py` makes of
the RAM is the memory as it was.
"""

import json
import random
import struct
from dataclasses import replace

import numpy as np

from . import ram
from .common import VmError, say
from .dumpread import PAGE, Kdump, Segment, mapped
from .guest import Hung
from .markers import MARK

BEYOND = 1 << 46
"""No CPU that QEMU knows has so many bits of physical address."""

KEPT, FREE = (1, 2, 3, 4, 5), (6, 7)
"""Kinds of marked pages that level 17 keeps, and those it leaves out."""

BUDDY = 0xf0
"""Type of the first page of a free block, in the top byte of `page.page_type`, at 48 (Linux 6.12 to 7.2)."""


def choose(memory):
    """Frames to be made unreadable: {what: [frame...]}, runs of some among them."""
    source = random.Random(7)
    words = np.frombuffer(memory, "<u8").reshape(-1, PAGE // 8)
    # A mark, every 512 bytes, is MARK, the kind in 16 bits, and the frame.
    head, named = words[:, 64], words[:, 65]
    frames = np.arange(len(words), dtype=np.uint64)
    marked = ((head & 0xffff_ffff_ffff) == int.from_bytes(MARK, "little")) & (named == frames)
    kind = (head >> np.uint64(48)).astype(int)
    chosen = {}
    for what, kinds, singles, runs in (("kept", KEPT, 60, 6), ("free", FREE, 20, 2)):
        there = set(np.flatnonzero(marked & np.isin(kind, kinds)).tolist())
        if len(there) < 1000:
            raise VmError(f"while choosing frames: only {len(there)} marked pages that are {what}")
        picked = set(source.sample(sorted(there), singles))
        for start in source.sample(sorted(there), runs):
            picked |= {frame for frame in range(start, start + 40) if frame in there}
        chosen[what] = sorted(picked)
    # Frames of 64 struct pages each, of the same node and zone, with a free block among them that ends there.
    above = words[:, ::8] >> np.uint64(30)
    structs = (above[:, 0] > 0xffff) & (above == above[:, :1]).all(axis=1)
    order = words[:, 5::8]
    heads = (words[:, 6::8] >> np.uint64(24) & np.uint64(0xff) == BUDDY) & (order <= 6)
    there = np.flatnonzero(structs & heads.any(axis=1)).tolist()
    if len(there) < 3:
        raise VmError(f"while choosing frames: only {len(there)} hold struct pages of free blocks")
    chosen["struct pages"] = sorted(source.sample(there, min(6, len(there))))
    return chosen


def pieces(segment, bad):
    """A range without the frames that are bad, and those by themselves."""
    at, end = segment.paddr, segment.paddr + segment.filesz

    def piece(start, stop, where):
        vaddr = segment.vaddr + start - segment.paddr
        return replace(segment, offset=where, vaddr=vaddr, paddr=start, filesz=stop - start, memsz=stop - start)

    for frame in bad:
        start, stop = max(frame * PAGE, at), min((frame + 1) * PAGE, end)
        if start < stop:
            if at < start:
                yield piece(at, start, at)
            yield piece(start, stop, start + BEYOND)
            at = stop
    if at < end:
        yield piece(at, end, at)


def spoil(path, home, said):
    """Make frames unreadable in a running guest; `said` gives what it has said until now. Returns a function
    that puts the header back."""
    memory = mapped(path)
    at, segments = ram.core_header(ram.Ram([(0, path)]), ram.reserved_of(said()), 62)
    chosen = choose(memory)
    bad = sorted(frame for frames in chosen.values() for frame in frames)
    table = []
    for segment in segments:
        table += pieces(segment, bad) if segment.type == Segment.LOAD else [segment]
    head = bytearray(memory[at:at + 64])
    struct.pack_into("<H", head, 56, len(table))
    new = bytes(head) + b"".join(
        struct.pack(ram.PROGRAM_HEADER, s.type, s.flags, s.offset, s.vaddr, s.paddr, s.filesz, s.memsz, s.align)
        for s in table)
    old = memory[at:at + len(new)]
    if any(old[64 + 56 * len(segments):]):
        raise VmError("while making memory unreadable: no room behind the ELF header of the dead kernel")

    def write(data):
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(data)

    write(new)
    if "VM: panic now" in said():
        raise Hung("the guest panicked before its memory was made unreadable")
    (home / "unreadable.json").write_text(json.dumps(chosen))
    say(f"{home.name}: {len(bad)} frames made unreadable, {len(segments)} program headers are {len(table)} now")
    return lambda: write(old)


def check(checker, home, saved, options):
    """Hold what was saved against memory as it was, and against a dump of all of it."""
    report, raw = checker.report, checker.raw
    chosen = json.loads((home / "unreadable.json").read_text())
    bad = {frame for frames in chosen.values() for frame in frames}
    dump = Kdump(saved)
    kept = set(dump.pfns.tolist())
    lost = {pfn for pfn, size in zip(dump.pfns.tolist(), dump.descriptors["size"].tolist()) if size == 0}
    report.check(lost == bad & kept and lost >= set(chosen["kept"] + chosen["struct pages"]), "pages lost",
                 f"{len(lost)}: of {len(bad)} frames that could not be read, {len(bad - kept)} were not wanted")
    wrong = sum(page != raw.page(pfn) for pfn, page in dump.pages() if pfn not in lost)
    report.check(wrong == 0, "pages saved", f"{len(kept - lost)} compared with memory, {wrong} differ")
    path, _ = checker.make(checker.tamis, options, "whole")
    whole = Kdump(path)
    more = kept - set(whole.pfns.tolist())
    at_most = 64 * len(chosen["struct pages"])
    report.check(set(whole.pfns.tolist()) <= kept and 0 < len(more) <= at_most, "pages kept",
                 f"all {len(whole.pfns)} of the dump of the memory as it was, and {len(more)} whose struct page "
                 f"could not be read, of {at_most}")
    report.check((dump.bitmap1 == whole.bitmap1).all(), "pages that exist", f"{int(dump.bitmap1.sum())}")
    path.unlink()
