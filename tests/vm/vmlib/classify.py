"""`vm classify`: the capture's choice of pages against the oracle's, level by level."""

import json
import shutil

import numpy as np

from . import packages
from .checks import LEVELS, Tool
from .common import VmError, say
from .dumpread import BadDump, Kdump, Vmcore
from .runs import KERNELS


def kernel_of(home, one):
    """The unpacked kernel that this vmcore is of."""
    kernel = packages.kernel(one.kernel, *KERNELS[one.kernel])
    release = json.loads((home / "kernel.json").read_text())["release"]
    if release != kernel.release:
        raise VmError(f"while looking for the kernel of {home}: its vmcore is of {release}, but "
                      f"{kernel.release} is unpacked\n  next: `vm raw {one.name}`")
    return kernel


def classify(home, one, capture, report, keep=False):
    """Compare bitmap 2 of every level with what the oracle makes of the same vmcore."""
    from classify_oracle import NAMES, Oracle, OracleError
    vmlinux = packages.debug_vmlinux(kernel_of(home, one))
    vmcore = home / "vmcore"
    raw = Vmcore(vmcore)
    say(f"{one.name}: reading every struct page through the debug information")
    try:
        oracle = Oracle(vmcore, vmlinux, raw.max_mapnr)
    except OracleError as error:
        raise VmError(f"while classifying {one.name}: {error}") from None
    counts = oracle.counts(raw.covered)
    print(f"{one.name}: {int(raw.covered.sum())} pages: "
          + ", ".join(f"{name} {count}" for name, count in counts.items()), flush=True)
    blocks, pages, unmarked = oracle.free_lists()
    marked = int((oracle.kind == NAMES.index("free")).sum())
    report.check(unmarked == 0 and pages == marked and oracle.unreadable == 0 and oracle.strays == 0,
                 "the oracle itself",
                 f"{blocks} blocks of {pages} pages on the free lists, {unmarked} not marked free, "
                 f"{marked} pages marked; {oracle.unreadable} sections unreadable, {oracle.strays} "
                 f"tails without a head")
    tamis = Tool("tamis-capture", [capture])
    work = home / "classify"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for level in LEVELS:
        path = work / f"level-{level}"
        try:
            tamis.dump(["-d", str(level)], vmcore, path)
            compare(Kdump(path), oracle, raw, level, report, NAMES)
        except (VmError, BadDump) as error:
            report.check(False, f"level {level}", str(error))
        if not keep:
            path.unlink(missing_ok=True)
    if not keep:
        shutil.rmtree(work)


def classes_of(home, one, capture):
    """(class -> pages, class -> pages that are wrongly dropped or kept at some level) of one vmcore."""
    from classify_oracle import NAMES, Oracle, OracleError
    vmlinux = packages.debug_vmlinux(kernel_of(home, one))
    vmcore = home / "vmcore"
    raw = Vmcore(vmcore)
    say(f"{one.name}: reading every struct page through the debug information")
    try:
        oracle = Oracle(vmcore, vmlinux, raw.max_mapnr)
    # drgn has errors of its own for what a kernel's debug information lacks.
    except (OracleError, LookupError, ValueError) as error:
        raise VmError(f"while classifying {one.name}: {error}") from None
    wrong = np.zeros(raw.max_mapnr, dtype=bool)
    path = home / "level"
    for level in LEVELS:
        Tool("tamis-capture", [capture]).dump(["-d", str(level)], vmcore, path)
        try:
            dump = Kdump(path)
        except BadDump as error:
            raise VmError(f"while reading the dump of {one.name} at level {level}: {error}") from None
        size = min(dump.max_mapnr, raw.max_mapnr)
        expected = raw.covered & ~oracle.dropped(level)
        # Pages past the dump's end are wrong where they have a struct page.
        wrong[size:] |= (raw.covered & oracle.there)[size:]
        wrong[:size] |= expected[:size] != dump.bitmap2[:size]
    path.unlink()
    kinds = oracle.kind[:raw.max_mapnr][wrong]
    by_class = {name: int((kinds == kind).sum()) for kind, name in enumerate(NAMES)}
    by_class["poisoned"] = int((wrong & oracle.poisoned[:raw.max_mapnr]).sum())
    return oracle.counts(raw.covered), by_class


def compare(dump, oracle, raw, level, report, names):
    """One level: which pages the dump drops, and of which class those are that differ."""
    size = min(dump.max_mapnr, raw.max_mapnr)
    expected = raw.covered[:size] & ~oracle.dropped(level)[:size]
    beyond = int((raw.covered[size:] & oracle.there[size:raw.max_mapnr]).sum())
    got = dump.bitmap2[:size]
    lost, extra = expected & ~got, got & ~expected

    def by_class(pfns):
        found = np.bincount(oracle.kind[:size][pfns], minlength=len(names))
        text = ", ".join(f"{names[kind]} {count}" for kind, count in enumerate(found) if count)
        return f" ({text}; first {np.flatnonzero(pfns)[:5].tolist()})" if text else ""

    report.check(not (lost.any() or extra.any() or beyond), f"level {level} against the oracle",
                 f"{size} pfns compared, {int(expected.sum())} to keep; {int(lost.sum())} of them "
                 f"dropped{by_class(lost)}; {int(extra.sum())} others kept{by_class(extra)}; "
                 f"{beyond} pages past the dump's end")
