"""Pages that name themselves (`vm_guest mark`): what a dump leaves out must be nowhere in it.

Each marked page holds, every 512 bytes, a mark, its kind and the number of its own frame. A frame
that a dump leaves out must not be named in the dump, neither in its bytes as they are nor in the
pages that they decode to; one that it keeps must be, and without filtering all must be, or nothing
was looked at."""

import re
import struct
from collections import Counter

import numpy as np

from .dumpread import Kdump, mapped, rearrange

MARK = b"TMSMRK"
KINDS = {1: "small", 2: "huge", 3: "hugetlb", 4: "tmpfs", 5: "disk cache", 6: "freed by a process",
         7: "a deleted file's"}
LEFT_OUT = 0.9
"""The share of each kind that level 31 has to leave out: pages on a CPU's own free list are kept."""

WAYS = (["-d", "31"], ["-c", "-d", "31"], ["--lz4", "-d", "31"], ["-E", "-d", "31"], ["-F", "-c", "-d", "31"])


def marks(data):
    """(kind, frame) of each mark in some bytes."""
    for found in re.finditer(MARK, data):
        if found.end() + 10 <= len(data):
            yield struct.unpack_from("<HQ", data, found.end())


def frames(data):
    """The frames that are named in some bytes."""
    return {frame for _, frame in marks(data)}


def marked_pages(raw):
    """Frame -> kind of the pages that name themselves and are named nowhere else."""
    own, strangers = {}, set()
    for pfn in map(int, np.flatnonzero(raw.covered)):
        for kind, frame in set(marks(raw.page(pfn) or b"")):
            if frame == pfn and kind in KINDS:
                own[pfn] = kind
            else:
                strangers.add(frame)
    return {pfn: kind for pfn, kind in own.items() if pfn not in strangers}


def named(path):
    """The frames that a dump names, in its bytes or in the pages that it decodes to."""
    found = frames(mapped(path))
    with open(path, "rb") as file:
        compressed = file.read(8) in (b"KDUMP   ", b"TAMIS   ")
    if compressed:
        for _, page in Kdump(path).pages():
            found |= frames(page or b"")
    return found


def check(checker, saved):
    """Look for the marks in dumps of level 31, the crash kernel's own first, and of level 0."""
    report, marked = checker.report, marked_pages(checker.raw)
    counts = Counter(marked.values())
    report.check(set(counts) == set(KINDS) and min(counts.values()) > 1000, "marked pages",
                 ", ".join(f"{count} {KINDS[kind]}" for kind, count in sorted(counts.items())))
    kept = set(Kdump(saved).pfns.tolist()) & set(marked)
    out = set(marked) - kept
    share = {kind: sum(marked[pfn] == kind for pfn in out) / count for kind, count in counts.items()}
    least = min(share, key=share.get)
    report.check(share[least] >= LEFT_OUT, "marked pages left out",
                 f"{len(out)} of {len(marked)}; least {share[least]:.3f} ({KINDS[least]})")
    one(report, "the crash kernel's -d 31", named(saved), kept, out)
    for options in WAYS:
        path, _ = checker.make(checker.tamis, options, "marked")
        found = named(path)
        if "-F" in options:
            rearrange(path, path.with_name("rearranged"))
            found |= named(path.with_name("rearranged"))
        one(report, " ".join(options), found, kept, out)
        path.unlink()
    path, _ = checker.make(checker.tamis, ["-d", "0"], "marked")
    one(report, "-d 0, to compare", named(path), set(marked), set())
    path.unlink()


def one(report, name, found, kept, out):
    """What a dump names, held against what it keeps and leaves out."""
    report.check(not found & out and kept <= found, f"marks in {name}",
                 f"{len(found & out)} of {len(out)} pages left out, {len(kept & found)} of {len(kept)} kept")
