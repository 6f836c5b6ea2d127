"""Vmcores of other byte orders and page sizes: what `tamis refilter` makes of them, held against the vmcore page
by page, against a makedumpfile of their own architecture (under qemu-user) where one judges the kernel right, and
against drgn. Readers of its own, that take any byte order and page size."""

import filecmp
import json
import mmap
import re
import shutil
import struct
import zlib

import numpy as np

from . import packages
from .checks import Tool, first_few, not_for_drgn
from .common import VmError, run
from .dumpread import FLAG_RAW, FLAG_ZLIB, HEADER_FIELDS, SUB_HEADER_FIELDS, Segment

LEVELS = (0, 1, 2, 4, 8, 16, 31)
S390 = 22
"""The number of s390x in ELF headers."""
NOTE_POINTER = 0xe0c
"""Where kernels of s390x say where the note of VMCOREINFO is."""


def mapped(path):
    """A read-only mapping of a whole file."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class Vmcore:
    """A 64-bit ELF core of any byte order."""

    def __init__(self, path):
        self.data = mapped(path)
        self.order = "<" if self.data[5] == 1 else ">"
        head = struct.unpack_from(self.order + "HHIQQQIHHHHHH", self.data, 16)
        self.machine, phoff, phnum = head[1], head[4], head[9]
        table = self.data[phoff:phoff + 56 * phnum]
        segments = [Segment(p[0], p[1], *p[2:]) for p in struct.iter_unpack(self.order + "IIQQQQQQ", table)]
        self.loads = [s for s in segments if s.type == Segment.LOAD and s.memsz]
        self.notes = b"".join(self.data[s.offset:s.offset + s.filesz] for s in segments if s.type == Segment.NOTE)
        text = re.search(rb"OSRELEASE=.*?(?=\0|\Z)", self.notes, re.S)
        self.added = b"" if text else self.note_in_memory()
        text = text[0] if text else self.added[24:]
        self.info = dict(line.split("=", 1) for line in text.decode(errors="replace").splitlines() if "=" in line)
        self.page_size = int(self.info["PAGESIZE"])

    def read(self, at, size):
        """Bytes at a physical address, which one segment has."""
        for s in self.loads:
            if s.paddr <= at and at + size <= s.paddr + s.filesz:
                return self.data[s.offset + at - s.paddr:s.offset + at - s.paddr + size]
        return None

    def note_in_memory(self):
        """The note of VMCOREINFO that the kernel keeps: at a place that it names, or found by its words."""
        if self.machine != S390:
            found = re.search(rb"....(....)\0\0\0\0VMCOREINFO\0\0OSRELEASE=", self.data, re.S)
            if not found:
                raise VmError("while looking for VMCOREINFO: it is in no note, and nowhere in memory")
            size, = struct.unpack(self.order + "I", found[1])
            return self.data[found.start():found.start() + 24 + size] + bytes(-size % 4)
        at, = struct.unpack(self.order + "Q", self.read(NOTE_POINTER, 8))
        size, = struct.unpack(self.order + "I", self.read(at + 4, 4))
        return self.read(at, 24 + size) + bytes(-size % 4)

    def page(self, pfn):
        """A page, of which segments may each have a part; None where none has any."""
        size = self.page_size
        whole = self.read(pfn * size, size)
        if whole is not None:
            return whole
        page, there = bytearray(size), False
        for s in self.loads:
            start, end = max(s.paddr, pfn * size), min(s.paddr + s.filesz, (pfn + 1) * size)
            if start < end:
                there = True
                at = s.offset + start - s.paddr
                page[start - pfn * size:end - pfn * size] = self.data[at:at + end - start]
        return bytes(page) if there else None

    def covered(self):
        """A bit per pfn: a segment has some of it."""
        size = self.page_size
        bits = np.zeros(max(-(-(s.paddr + s.memsz) // size) for s in self.loads), dtype=bool)
        for s in self.loads:
            bits[s.paddr // size:-(-(s.paddr + s.memsz) // size)] = True
        return bits

    def rewrite(self, path):
        """The same with the program headers right behind the ELF header, and the note of VMCOREINFO: what
        makedumpfile and drgn take."""
        notes, order, block = self.notes + self.added, self.order, 0x10000
        at = block + -(-len(notes) // block) * block
        table = [struct.pack(order + "IIQQQQQQ", Segment.NOTE, 0, block, 0, 0, len(notes), len(notes), 4)]
        for s in self.loads:
            table.append(struct.pack(order + "IIQQQQQQ", 1, s.flags, at, s.vaddr, s.paddr, s.filesz, s.memsz, 0))
            at += -(-s.filesz // block) * block
        with open(path, "wb") as out:
            out.write(self.data[:16] + struct.pack(order + "HHIQQQIHHHHHH", 4, self.machine, 1, 0, 64, 0, 0, 64, 56,
                                                   len(table), 0, 0, 0) + b"".join(table))
            out.seek(block)
            out.write(notes)
            for s in self.loads:
                out.seek(-(-out.tell() // block) * block)
                out.write(self.data[s.offset:s.offset + s.filesz])
            out.truncate(at)


class Kdump:
    """A kdump-compressed file of any byte order and page size, pages plain or zlib's."""

    def __init__(self, path, order):
        self.path, self.data = path, mapped(path)
        self.header = {name: struct.unpack_from(order + form, self.data, at)[0]
                       for name, (at, form) in HEADER_FIELDS.items()}
        if self.header["signature"] != b"KDUMP   ":
            raise VmError(f"while reading {path}: signature {self.header['signature']!r}")
        size = self.page_size = self.header["block_size"]
        self.sub = {name: struct.unpack_from(order + form, self.data, size + at)[0]
                    for name, (at, form) in SUB_HEADER_FIELDS.items()}
        self.max_mapnr = self.sub["max_mapnr_64"]
        half = self.header["bitmap_blocks"] // 2 * size
        at = (1 + self.header["sub_hdr_size"]) * size
        self.bitmap1, self.bitmap2 = (self._bitmap(place, half) for place in (at, at + half))
        self.pfns = np.flatnonzero(self.bitmap2)
        kind = np.dtype([("offset", order + "i8"), ("size", order + "u4"), ("flags", order + "u4"),
                         ("page_flags", order + "u8")])
        self.descriptors = np.frombuffer(self.data, kind, len(self.pfns), at + 2 * half)

    def _bitmap(self, at, length):
        bits = np.unpackbits(np.frombuffer(self.data, np.uint8, length, at), bitorder="little")
        return bits[:self.max_mapnr].astype(bool)

    def pages(self):
        """(pfn, page) for each stored page; one that does not decode is None."""
        for pfn, one in zip(self.pfns.tolist(), self.descriptors):
            stored, page = self.data[one["offset"]:int(one["offset"]) + int(one["size"])], None
            if one["flags"] == FLAG_RAW:
                page = stored
            elif one["flags"] == FLAG_ZLIB:
                try:
                    page = zlib.decompress(stored)
                except zlib.error:
                    page = None
            yield pfn, page if page is not None and len(page) == self.page_size else None


def check(home, one, tamis, report, keep=False):
    """All of it for a run's folder."""
    work = home / "check"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    path, raw = home / "vmcore", Vmcore(home / "vmcore")
    release = json.loads((home / "kernel.json").read_text())["release"]
    judge = None
    if one.reference:
        version = packages.makedumpfile_version(one.reference, one.arch)
        judge = Tool(f"makedumpfile {version}", packages.makedumpfile(one.reference, one.arch))
    usual = path
    if raw.added:
        usual = work / "vmcore"
        raw.rewrite(usual)
    covered = raw.covered()
    print(f"{one.name}: {release}, pages of {raw.page_size} bytes, {int(covered.sum())} of them; "
          f"{judge.name if judge else 'no reference tool knows this kernel'}", flush=True)
    for level in LEVELS:
        name = f"level {level}"
        out = work / f"tamis-{level}"
        said = run([tamis, "refilter", "-f", "-c", "-d", str(level), path, out],
                   f"running tamis refilter -d {level}", timeout=900)
        if "kept:" in said.stderr or "only pages of zeros" in said.stderr:
            report.note(name, said.stderr.strip())
        dump = Kdump(out, raw.order)
        length = min(dump.max_mapnr, len(covered))
        one_differ = int((dump.bitmap1[:length] != covered[:length]).sum())
        differ = undecoded = 0
        for pfn, page in dump.pages():
            undecoded += page is None
            differ += page is not None and page != raw.page(pfn)
        report.check(one_differ == differ == undecoded == 0 and len(dump.pfns) > 0, f"{name} pages",
                     f"{len(dump.pfns)} pages compared with the vmcore, {differ} differences, {undecoded} undecodable, "
                     f"{one_differ} differences in bitmap 1")
        header = {key: value.rstrip(b"\0").decode() if isinstance(value, bytes) else value
                  for key, value in dump.header.items()}
        report.check(header["release"] == release and header["nr_cpus"] > 0, f"{name} header",
                     f"{header['sysname']} {header['release']} {header['machine']}, {header['nr_cpus']} CPUs, "
                     f"phys_base {dump.sub['phys_base']:#x}")
        if judge:
            theirs = work / f"reference-{level}"
            judge.dump(["-d", str(level)], usual, theirs, timeout=1800)
            other = Kdump(theirs, raw.order)
            length = min(dump.max_mapnr, other.max_mapnr)
            wrong = dump.bitmap2[:length] != other.bitmap2[:length]
            more = int((dump.bitmap2[:length] & ~other.bitmap2[:length]).sum())
            fields = [f"{key} {dump.sub[key]} not {other.sub[key]}" for key in ("phys_base", "max_mapnr_64")
                      if dump.sub[key] != other.sub[key]]
            report.check(not wrong.any() and not fields, f"{name} against {judge.name}",
                         f"{length} pfns compared, {int(wrong.sum())} differences in bitmap 2 (ours has {more} that "
                         f"it has not{first_few(wrong)}); {len(other.pfns)} pages kept{''.join('; ' + f for f in fields)}")
            theirs.unlink()
        if level in (1, 31):
            elf = work / f"elf-{level}"
            run([tamis, "refilter", "-f", "--to", "elf", out, elf], "running tamis refilter --to elf", timeout=900)
            through_drgn(out, dump, raw, report, f"{name}, kdump, through drgn")
            # Where no segment has another physical address than 0, drgn takes none of them for one.
            if any(segment.paddr for segment in Vmcore(elf).loads):
                through_drgn(elf, dump, raw, report, f"{name}, ELF, through drgn")
            else:
                report.note(f"{name}, ELF, through drgn", "no physical addresses for it: the only segment begins at 0")
            elf.unlink()
        if not keep:
            out.unlink()
    if not keep:
        shutil.rmtree(work)


def captured(home, one, tamis, report):
    """The dump made in the crash kernel is the one that this machine makes of the vmcore, byte for byte."""
    theirs = home / "dump"
    if not report.check(theirs.exists(), "the dump made in the crash kernel", "is there" if theirs.exists() else "is not there"):
        return
    ours = home / "again"
    run([tamis, "refilter", "-f", *one.options.split(), home / "vmcore", ours], f"running tamis refilter {one.options}",
        timeout=3600)
    report.check(filecmp.cmp(ours, theirs, shallow=False), f"the dump made in the crash kernel ({one.options})",
                 f"{theirs.stat().st_size} bytes, refilter's {ours.stat().st_size}")
    ours.unlink()


def through_drgn(path, dump, raw, report, name):
    """Every page as drgn reads it, from the dump or the ELF file made of it. One of the ELF file may be stored as
    zeros though it is left out."""
    import drgn
    program = drgn.Program()
    size = raw.page_size
    try:
        program.set_core_dump(str(path))
    except Exception as error:  # drgn has none of its own for a dump that it does not open.
        if "vmcoreinfo" not in str(error) or not raw.added:
            raise
        report.note(name, f"libkdumpfile looks for VMCOREINFO in the notes alone: {error}")
        return
    unread = not_for_drgn(program, int(dump.pfns[0]) * size, size)
    if unread:
        report.note(name, unread)
        return
    differ = faults = readable = 0
    for pfn in dump.pfns.tolist():
        try:
            differ += program.read(pfn * size, size, physical=True) != raw.page(pfn)
        except drgn.FaultError:
            faults += 1
    excluded = np.flatnonzero(dump.bitmap1 & ~dump.bitmap2).tolist()
    for pfn in excluded:
        try:
            readable += any(program.read(pfn * size, size, physical=True))
        except drgn.FaultError:
            pass
    report.check(differ == faults == readable == 0, name,
                 f"{len(dump.pfns)} pages compared with the vmcore, {differ} differences, {faults} faults; "
                 f"{len(excluded)} excluded pages, {readable} readable")
