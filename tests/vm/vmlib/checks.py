"""The host checks: what a capture wrote, held against the raw vmcore, against a reference tool
that judges this kernel right, and against drgn. Runs in the virtual environment (numpy)."""

import dataclasses
import json
import re
import shutil
import time

import numpy as np

from . import packages, ram
from .common import VmError, run, tail
from .dumpread import (FLAG_LZ4, FLAG_RAW, FLAG_ZLIB, PAGE, STATUS_INCOMPLETE, ZERO_PAGE, BadDump,
                       Kdump, Segment, Vmcore, rearrange)

LEVELS = (0, 1, 2, 4, 8, 16, 31)
# Options of codecs that are read through drgn only.
CODECS = ("-c0", "-l", "-p", "-z", "-z2")
ELF_LEVELS = (1, 31)
SHORT_RUN = 256
"""An ELF dump stores a run of excluded pages shorter than this (as zeros) instead of starting a
new segment."""


class Report:
    """Prints one line per check, and remembers whether any differed."""

    def __init__(self):
        self.checks = 0
        self.failed = 0

    def check(self, good, name, counts):
        """One check: a name, and the counts that show what was compared."""
        self.checks += 1
        self.failed += not good
        print(f"  {'ok  ' if good else 'FAIL'} {name}: {counts}", flush=True)
        return good

    def note(self, name, text):
        """A figure that is not a check."""
        print(f"       {name}: {text}", flush=True)


class Tool:
    """A program that makes dumps: tamis-capture or a makedumpfile."""

    def __init__(self, name, argv):
        self.name = name
        self.argv = [str(word) for word in argv]

    def dump(self, options, vmcore, out, more=(), timeout=300):
        """Run it; returns the seconds it took. With -F its standard output goes to `out`; `more`
        are the further parts of --split."""
        for path in (out, *more):
            path.unlink(missing_ok=True)
        stream = "-F" in options
        argv = [*self.argv, *options, str(vmcore)]
        if not stream:
            argv += [str(path) for path in (out, *more)]
        started = time.monotonic()
        doing = f"running {self.name} {' '.join(options)} on the host"
        hint = f"try it by hand: {' '.join(argv)}"
        if stream:
            with open(out, "wb") as file:
                run(argv, doing, timeout=timeout, hint=hint, stdout=file)
        else:
            run(argv, doing, timeout=timeout, hint=hint)
        if not out.exists():
            raise VmError(f"while {doing}: exit status 0, but no {out}\n  next: {hint}")
        return time.monotonic() - started


class Checker:
    """All checks of one run's folder."""

    def __init__(self, home, one, capture, report, keep=False):
        self.home = home
        self.run = one
        self.tamis = Tool("tamis-capture", capture)
        self.reference = None
        if one.reference:
            version = packages.makedumpfile_version(one.reference, one.arch)
            self.reference = Tool(f"makedumpfile {version}",
                                  packages.makedumpfile(one.reference, one.arch))
        self.report = report
        self.keep = keep
        self.work = home / "check"
        self.raw_path = home / "vmcore"
        if not self.raw_path.exists():
            raise VmError(f"while checking {home}: it holds no vmcore\n"
                          f"  next: `vm raw {one.name}` makes one")
        self.raw = Vmcore(self.raw_path)
        self.zero = self.raw.zero_pages()
        self.bitmaps = {}
        """level -> bitmap 2 that dumps of this level must have"""

    def all(self, captured=True):
        """Run every check; unless `captured`, the crash kernel need not have run the capture."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        kernel = json.loads((self.home / "kernel.json").read_text())
        judge = self.reference.name if self.reference else "no reference tool knows this kernel"
        print(f"{self.run.name}: {kernel['release']}, {self.raw_path.stat().st_size} bytes, "
              f"{int(self.raw.covered.sum())} pages, {int(self.zero.sum())} of them zeros; {judge}",
              flush=True)
        if (self.home / "ram.ram").exists():
            self.guarded("the guest's RAM", self.from_ram)
        for level in LEVELS:
            self.guarded(f"level {level}", self.level, level)
        for level in ELF_LEVELS:
            self.guarded(f"ELF level {level}", self.elf, level)
        self.guarded("-F -c -d 31", self.flattened, ["-c", "-d", "31"])
        self.guarded("-F -E -d 31", self.flattened, ["-E", "-d", "31"])
        self.guarded("--lz4 -d 31", self.lz4)
        for option in CODECS:
            self.guarded(f"{option} -d 31", self.codec, option)
        self.guarded("small windows", self.small_windows)
        self.guarded("threads", self.threads)
        self.guarded("--split", self.split)
        if self.reference:
            self.guarded("kernel log", self.kernel_log)
        if captured or (self.home / "capture.log").exists():
            self.guarded("in the crash kernel", self.in_guest)
        else:
            self.report.note("in the crash kernel", "not checked: this folder is of `vm raw`")
        if not self.keep:
            shutil.rmtree(self.work)

    def guarded(self, name, check, *args):
        """A check that cannot be carried out is a failed check; the others go on."""
        try:
            check(*args)
        except (VmError, BadDump) as error:
            self.report.check(False, name, str(error))

    def make(self, tool, options, name):
        """Make a dump in the work folder."""
        path = self.work / name
        seconds = tool.dump(options, self.raw_path, path)
        return path, seconds

    def drop(self, *paths):
        """Forget dumps that have been checked."""
        if not self.keep:
            for path in paths:
                path.unlink(missing_ok=True)

    def from_ram(self):
        """Control of the runs of the program alone: /proc/vmcore as put together on the host."""
        memory = ram.Ram([(0, self.home / "ram.ram")])
        path = self.work / "from-ram"
        ram.write_vmcore(memory, [(1 << 20, self.run.memory_mib * (1 << 20) - 1)], path)
        self.same_bytes(path, self.raw_path, "the vmcore as copied in the guest",
                        "the one out of its RAM's")
        self.drop(path)

    # ----- kdump-compressed files

    def level(self, level):
        """A dump level, plain and compressed, against the reference tool and the raw vmcore."""
        reference = None
        if self.reference:
            path, _ = self.make(self.reference, ["-d", str(level)], f"reference-{level}")
            reference = Kdump(path)
            # Control: our reader reads the reference's dumps, and they hold the vmcore's pages.
            self.contents(reference, f"level {level} {self.reference.name}, control", checksums=False)
        for options, flag in (([], FLAG_RAW), (["-c"], FLAG_ZLIB)):
            words = [*options, "-d", str(level)]
            name = f"level {level} {' '.join(options) or 'none'}"
            path, seconds = self.make(self.tamis, words, f"tamis-{level}{''.join(options)}")
            dump = Kdump(path)
            self.bitmap_check(dump, reference, level, name)
            self.headers(dump, reference, flag, name)
            self.contents(dump, name, allowed={FLAG_RAW, flag})
            self.report.note(name, f"{path.stat().st_size} bytes in {seconds:.2f} s")
            if level == 31 and options == ["-c"]:
                self.through_drgn(dump, name)
            self.drop(path)
        if reference:
            self.drop(reference.path)

    def bitmap_check(self, dump, reference, level, name):
        """Both bitmaps: against the reference, or else against the raw vmcore and each other."""
        size = dump.max_mapnr
        if reference:
            if size != reference.max_mapnr:
                self.report.check(False, f"{name} bitmaps",
                                  f"max_mapnr {size}, the reference has {reference.max_mapnr}")
                return
            one = int((dump.bitmap1 != reference.bitmap1).sum())
            two = int((dump.bitmap2 != reference.bitmap2).sum())
            self.report.check(one == two == 0, f"{name} bitmaps",
                              f"{size} pfns compared with the reference, {one} differences in "
                              f"bitmap 1, {two} in bitmap 2; {len(dump.pfns)} pages kept"
                              + first_few(dump.bitmap2 != reference.bitmap2))
            self.bitmaps[level] = reference.bitmap2
            return
        covered = np.zeros(size, dtype=bool)
        length = min(size, self.raw.max_mapnr)
        covered[:length] = self.raw.covered[:length]
        one = int((dump.bitmap1 != covered).sum())
        outside = int((dump.bitmap2 & ~covered).sum())
        good = one == outside == 0
        against = ""
        if level in self.bitmaps:
            two = int((dump.bitmap2 != self.bitmaps[level]).sum())
            good = good and two == 0
            against = f", {two} differences in bitmap 2 from the first dump of this level"
        else:
            self.bitmaps[level] = dump.bitmap2
        if level != 0 and 0 in self.bitmaps:
            more = int((dump.bitmap2 & ~self.bitmaps[0]).sum())
            good = good and more == 0
            against += f", {more} pages that level 0 does not have"
        self.report.check(good, f"{name} bitmaps",
                          f"{size} pfns compared with the raw vmcore, {one} differences in bitmap "
                          f"1, {outside} pages kept that are not there{against}; "
                          f"{len(dump.pfns)} pages kept")

    def headers(self, dump, reference, flag, name):
        """Header, sub-header and notes."""
        wrong = []
        compared = 0
        if reference:
            expected = dict(reference.header, status=reference.header["status"] | flag)
            for got, want in ((dump.header, expected), (dump.sub, reference.sub)):
                compared += len(want)
                wrong += [f"{key} {got[key]!r} not {want[key]!r}" for key in want if got[key] != want[key]]
        else:
            expected = {"header_version": 6, "block_size": PAGE, "status": flag,
                        "release": json.loads((self.home / "kernel.json").read_text())["release"]}
            compared += len(expected)
            for key, want in expected.items():
                got = dump.header[key]
                got = got.rstrip(b"\0").decode(errors="replace") if isinstance(got, bytes) else got
                if got != want:
                    wrong.append(f"{key} {got!r} not {want!r}")
        compared += 1
        if dump.notes != self.raw.notes:
            wrong.append(f"notes ({len(dump.notes)} bytes, the vmcore has {len(self.raw.notes)})")
        if dump.header["status"] & STATUS_INCOMPLETE:
            wrong.append("the dump says that it is incomplete")
        self.report.check(not wrong, f"{name} headers",
                          f"{compared} fields compared, {len(wrong)} differences"
                          + "".join(f"; {text}" for text in wrong[:6]))

    def contents(self, dump, name, allowed=None, may_be_empty=False, checksums=True):
        """Every stored page, decoded, against the raw vmcore; every descriptor within bounds."""
        differ, undecoded, unknown = [], 0, 0
        zero_shared = dump.stored_zero()
        wrong_zero = 0
        for index, (pfn, page) in enumerate(dump.pages()):
            raw = self.raw.page(pfn)
            if page is None:
                undecoded += 1
            elif raw is None:
                unknown += 1
            elif page != raw:
                differ.append(pfn)
            if bool(zero_shared[index]) != bool(dump.sub["dump_level"] & 1 and self.zero[pfn]):
                wrong_zero += 1
        flags = set(np.unique(dump.descriptors["flags"]).tolist())
        bad_flags = flags - allowed if allowed is not None else set()
        wrong_sums = dump.wrong_checksums(checksums)
        end = dump.data_at
        if len(dump.pfns):
            end = int((dump.descriptors["offset"] + dump.descriptors["size"]).max())
        if dump.sub["dump_level"] & 1:
            # The zero page comes first, at a whole page; a part of a set may have no other.
            end = max(end, -(-dump.data_at // PAGE) * PAGE + PAGE)
        excess = len(dump.data) - end
        good = not (differ or undecoded or unknown or bad_flags or wrong_sums or wrong_zero or excess)
        good = good and (len(dump.pfns) > 0 or may_be_empty)
        self.report.check(
            good, f"{name} contents",
            f"{len(dump.pfns)} pages compared with the raw vmcore, {len(differ)} differences, "
            f"{undecoded} undecodable, {unknown} not in the vmcore; {int(zero_shared.sum())} share "
            f"the zero page, {wrong_zero} wrongly or not; {excess} bytes past the last page"
            + (f"; page flags {sorted(bad_flags)}" if bad_flags else "")
            + (f"; {wrong_sums} checksums that are not there or not right" if wrong_sums else "")
            + (f"; first {differ[:5]}" if differ else ""))

    def lz4(self):
        """The LZ4 variant: same pages, other signature."""
        path, seconds = self.make(self.tamis, ["--lz4", "-d", "31"], "tamis-lz4")
        dump = Kdump(path)
        self.report.check(dump.has_lz4 and dump.header["status"] == FLAG_LZ4, "--lz4 -d 31 signature",
                          f"{dump.data[:8]!r}, status {dump.header['status']:#x}")
        self.same_bitmap2(dump, 31, "--lz4 -d 31")
        self.contents(dump, "--lz4 -d 31", allowed={FLAG_RAW, FLAG_LZ4})
        self.report.note("--lz4 -d 31", f"{path.stat().st_size} bytes in {seconds:.2f} s")
        self.drop(path)

    def codec(self, option):
        """A codec that our own reader leaves to drgn: same pages, each as drgn decodes it."""
        name = f"{option} -d 31"
        path, seconds = self.make(self.tamis, [option, "-d", "31"], f"tamis{option}")
        dump = Kdump(path)
        self.same_bitmap2(dump, 31, name)
        self.through_drgn(dump, name)
        self.report.note(name, f"{path.stat().st_size} bytes in {seconds:.2f} s")
        self.drop(path)

    def same_bitmap2(self, dump, level, name):
        """Bitmap 2 against the one that dumps of this level must have."""
        want = self.bitmaps.get(level)
        if want is None or len(want) != len(dump.bitmap2):
            self.report.check(False, f"{name} bitmap 2", f"{len(dump.bitmap2)} pfns, but no bitmap "
                              f"of this size to compare with")
            return
        differ = int((dump.bitmap2 != want).sum())
        self.report.check(differ == 0, f"{name} bitmap 2",
                          f"{len(want)} pfns compared, {differ} differences")

    def small_windows(self):
        """Many small bitmap windows make the same file as one large one."""
        one, _ = self.make(self.tamis, ["-c", "-d", "31"], "tamis-one-window")
        many, _ = self.make(self.tamis, ["-c", "-d", "31", "--cyclic-buffer", "1"], "tamis-windows")
        self.same_bytes(one, many, "--cyclic-buffer 1", "the default's")
        self.drop(one, many)

    def threads(self):
        """Several threads make the same file, and the same stream, as one."""
        for options in (["-c", "-d", "31"], ["-l", "-d", "1"], ["-F", "-z", "-d", "31"]):
            one, _ = self.make(self.tamis, options, "tamis-one-thread")
            for count in ("2", "3", "8"):
                words = [*options, "--num-threads", count]
                many, _ = self.make(self.tamis, words, "tamis-threads")
                self.same_bytes(one, many, " ".join(words), "one thread's")
                self.drop(many)
            self.drop(one)

    def same_bytes(self, one, other, name, whose):
        """Two files, byte for byte."""
        first, second = (np.memmap(path, np.uint8, "r") for path in (one, other))
        length = min(len(first), len(second))
        differ = int((first[:length] != second[:length]).sum())
        self.report.check(differ == 0 and len(first) == len(second), name,
                          f"{len(second)} bytes compared with {whose} {len(first)}, "
                          f"{differ} differences")

    def split(self):
        """Three parts: each with both bitmaps whole, together all pages, no page twice."""
        options = ["--split", "--splitblock-size", "16384", "-c", "-d", "31"]
        name = " ".join(options)
        paths = [self.work / f"tamis-part-{part}" for part in range(3)]
        self.tamis.dump(options, self.raw_path, paths[0], more=paths[1:])
        parts = [Kdump(path) for path in paths]
        edges = [(part.sub["start_pfn_64"], part.sub["end_pfn_64"]) for part in parts]
        joined = (edges[0][0] == 0 and edges[-1][1] == parts[0].max_mapnr
                  and all(a[1] == b[0] for a, b in zip(edges, edges[1:])))
        ranges = ""
        if self.reference:
            theirs = [self.work / f"reference-part-{part}" for part in range(3)]
            self.reference.dump(options, self.raw_path, theirs[0], more=theirs[1:])
            want = [(part.sub["start_pfn_64"], part.sub["end_pfn_64"]) for part in map(Kdump, theirs)]
            # Where to cut is each tool's own choice.
            ranges = f", the reference's {'the same' if want == edges else want}"
            self.drop(*theirs)
        heads = {bytes(part.data[:PAGE]) for part in parts}
        self.report.check(joined and len(heads) == 1 and all(part.sub["split"] == 1 for part in parts),
                          f"{name} ranges", f"{len(parts)} parts {edges}{ranges}; "
                          f"{len(heads)} different headers")
        for number, part in enumerate(parts):
            self.same_bitmap2(part, 31, f"{name} part {number}")
            self.contents(part, f"{name} part {number}", allowed={FLAG_RAW, FLAG_ZLIB}, may_be_empty=True)
        self.drop(*paths)

    def kernel_log(self):
        """The kernel log as text, against the reference tool's; 1.7.8 adds who wrote a line (and
        indents what follows by as much), 1.7.2 does not, so that this is left out."""
        want, _ = self.make(self.reference, ["--dump-dmesg"], "reference-log")
        got, _ = self.make(self.tamis, ["--dump-dmesg"], "tamis-log")
        caller = re.compile(rb"^(?:(\[ *\d+\.\d+\] )\[ *[TC]\d+\] | {15,})")
        want_lines, got_lines = ([caller.sub(rb"\1", line) for line in path.read_bytes().split(b"\n")]
                                 for path in (want, got))
        differ = sum(a != b for a, b in zip(want_lines, got_lines)) + abs(len(want_lines) - len(got_lines))
        self.report.check(differ == 0 and len(want_lines) > 50, "--dump-dmesg",
                          f"{len(want_lines)} lines compared with the reference, {differ} differences")
        self.drop(want, got)

    # ----- ELF files and streams

    def elf(self, level):
        """An ELF dump: headers by the rule and as the reference's; pages as the vmcore's or zeros."""
        name = f"-E level {level}"
        kept = self.kept_in_elf(level)
        path, seconds = self.make(self.tamis, ["-E", "-d", str(level)], f"tamis-elf-{level}")
        dump = Vmcore(path)
        want = expected_segments(self.raw, kept)
        got = [(s.vaddr, s.paddr, s.filesz, s.memsz, s.flags, s.align) for s in dump.loads]
        differ = sum(a != b for a, b in zip(want, got)) + abs(len(want) - len(got))
        self.report.check(differ == 0 and len(want) > 0, f"{name} program headers",
                          f"{len(want)} segments compared with the rule, {differ} differences")
        if self.reference:
            reference_path, _ = self.make(self.reference, ["-E", "-d", str(level)], f"reference-elf-{level}")
            reference = Vmcore(reference_path)
            # Its data begins right behind the notes, ours with the next page.
            notes_end = max(s.offset + s.filesz for s in reference.segments if s.type == Segment.NOTE)
            moved = [dataclasses.replace(s, offset=s.offset + -notes_end % PAGE)
                     if s.type != Segment.NOTE and s.offset else s for s in reference.segments]
            pairs = list(zip(moved, dump.segments))
            differ = (sum(a != b for a, b in pairs)
                      + abs(len(reference.segments) - len(dump.segments)))
            self.report.check(differ == 0, f"{name} against the reference",
                              f"{len(reference.segments)} program headers compared in all fields (data on a page), "
                              f"{differ} differences"
                              + next((f"; first {b} not {a}" for a, b in pairs if a != b), ""))
            self.drop(reference_path)
        had, has = ([(s.flags, s.vaddr, s.paddr, s.filesz, s.memsz, s.align)
                     for s in core.segments if s.type == Segment.NOTE] for core in (self.raw, dump))
        differ = sum(a != b for a, b in zip(had[0], has[0]))
        self.report.check(dump.notes == self.raw.notes and differ == 0, f"{name} notes",
                          f"{len(self.raw.notes)} bytes compared, {len(dump.notes)} there; "
                          f"{len(had[0])} fields of their program header compared, {differ} "
                          f"differences" + (f": {has[0]} not {had[0]}" if differ else ""))
        self.elf_contents(dump, kept, name)
        self.report.note(name, f"{path.stat().st_size} bytes in {seconds:.2f} s")
        self.drop(path)

    def kept_in_elf(self, level):
        """Pages an ELF dump of this level holds: those of the kdump file, less the zero pages."""
        if level not in self.bitmaps:
            raise VmError(f"the kdump check of level {level} has to go before that of its ELF file")
        kept = np.zeros(self.raw.max_mapnr, dtype=bool)
        bitmap = self.bitmaps[level]
        length = min(len(kept), len(bitmap))
        kept[:length] = bitmap[:length]
        return kept & ~self.zero if level & 1 else kept

    def elf_contents(self, dump, kept, name):
        """Every byte of every segment: kept pages as in the vmcore, the others zeros or not stored."""
        compared = differ = leaked = missing = stored_excluded = 0
        for segment in dump.loads:
            first, end = segment.paddr // PAGE, -(-(segment.paddr + segment.memsz) // PAGE)
            for pfn in range(first, end):
                start = max(pfn * PAGE, segment.paddr)
                stop = min((pfn + 1) * PAGE, segment.paddr + segment.memsz)
                stored_stop = min(stop, segment.paddr + segment.filesz)
                at = segment.offset + start - segment.paddr
                got = dump.data[at:at + stored_stop - start] if stored_stop > start else b""
                if kept[pfn]:
                    compared += 1
                    page = self.raw.page(pfn)
                    if len(got) != stop - start:
                        missing += 1
                    elif page is None or page[start - pfn * PAGE:stop - pfn * PAGE] != got:
                        differ += 1
                elif got:
                    stored_excluded += 1
                    leaked += got != ZERO_PAGE[:len(got)]
        self.report.check(
            compared > 0 and not (differ or leaked or missing), f"{name} contents",
            f"{compared} kept pages compared, {differ} differences, {missing} not stored; "
            f"{stored_excluded} excluded pages stored, {leaked} of them not zeros")

    def flattened(self, options):
        """A stream, rearranged, is the direct file byte for byte."""
        name = f"-F {' '.join(options)}"
        direct, _ = self.make(self.tamis, options, "tamis-direct")
        stream, seconds = self.make(self.tamis, ["-F", *options], "tamis-stream")
        rearranged = self.work / "tamis-rearranged"
        records, overlaps = rearrange(stream, rearranged)
        self.report.check(overlaps == 0, f"{name} records",
                          f"{records} records, {overlaps} overlap another")
        self.same_bytes(direct, rearranged, f"{name} rearranged", "the direct file's")
        self.report.note(name, f"{stream.stat().st_size} bytes in {seconds:.2f} s")
        self.drop(direct, stream, rearranged)

    # ----- the dump made in the crash kernel, and drgn

    def in_guest(self):
        """The dump made in the crash kernel is the one made on the host of the raw copy."""
        result_path = self.home / "result"
        result = dict(line.split("=", 1) for line in result_path.read_text().splitlines() if "=" in line)
        if "exit_status" not in result:
            self.report.check(False, "in the crash kernel", "the capture was not run there")
            return
        log = self.home / "capture.log"
        good = self.report.check(
            result["exit_status"] == "0", "in the crash kernel",
            f"exit status {result['exit_status']}, signal {result['signal']}, {result['seconds']} s, "
            f"peak memory {result['peak_rss_kb']} kB; MemTotal {result['memtotal_kb']} kB; MemFree "
            f"{result['memfree_before_kb']} kB before, {result['memfree_lowest_kb']} lowest, "
            f"{result['memfree_after_kb']} after")
        said = log.read_text(errors="replace")
        if not good:
            print(tail(said, 20))
            return
        mapped = "The memory of the kernel is mapped." in said
        self.report.check(mapped, "in the crash kernel", "/proc/vmcore is mapped, not read")
        options = result["options"].split()
        if "--num-threads" in options:
            threads = "threads' stacks" in said
            self.report.check(threads, "in the crash kernel", "the memory plan has threads in it")
        path, _ = self.make(self.tamis, options, "tamis-host")
        host, guest = Kdump(path), Kdump(self.home / "dump")
        name = f"in the crash kernel {' '.join(options)}"
        if host.max_mapnr != guest.max_mapnr:
            self.report.check(False, name, f"max_mapnr {guest.max_mapnr}, on the host {host.max_mapnr}")
            return
        one = int((host.bitmap1 != guest.bitmap1).sum())
        two = int((host.bitmap2 != guest.bitmap2).sum())
        pages = differ = 0
        for (pfn_a, page_a), (pfn_b, page_b) in zip(host.pages(), guest.pages()):
            pages += 1
            differ += pfn_a != pfn_b or page_a is None or page_a != page_b
        same = bytes(host.data) == bytes(guest.data)
        self.report.check(one == two == differ == 0 and pages > 0, name,
                          f"{pages} pages compared with the host's dump, {differ} differences; {one} "
                          f"in bitmap 1, {two} in bitmap 2; byte for byte: {'yes' if same else 'no'}")
        self.contents(guest, name)
        self.through_drgn(guest, name)
        self.drop(path)

    def through_drgn(self, dump, name):
        """Every page as drgn reads it; excluded pages have to fault."""
        import drgn
        program = drgn.Program()
        program.set_core_dump(str(dump.path))
        unread = not_for_drgn(program, int(dump.pfns[0]) * PAGE, PAGE)
        if unread:
            self.report.note(f"{name} through drgn", unread)
            return
        differ = faults = 0
        for pfn in dump.pfns.tolist():
            try:
                differ += program.read(pfn * PAGE, PAGE, physical=True) != self.raw.page(pfn)
            except drgn.FaultError:
                faults += 1
        excluded = np.flatnonzero(dump.bitmap1 & ~dump.bitmap2).tolist()
        readable = 0
        for pfn in excluded:
            try:
                program.read(pfn * PAGE, PAGE, physical=True)
                readable += 1
            except drgn.FaultError:
                pass
        self.report.check(differ == faults == readable == 0 and len(dump.pfns) > 0,
                          f"{name} through drgn",
                          f"{len(dump.pfns)} pages compared with the raw vmcore, {differ} "
                          f"differences, {faults} faults; {len(excluded)} excluded pages, "
                          f"{readable} readable")


def not_for_drgn(program, address, size):
    """Why no page of this machine's dumps can be read through drgn, if it is so: ppc64le with pages of 4 KiB, for one."""
    import drgn
    try:
        program.read(address, size, physical=True)
    except drgn.FaultError as error:
        if "Unsupported page shift" in str(error):
            return f"libkdumpfile does not read such dumps: {error}"
    return None


def first_few(differences):
    """The first few pfns that differ, for the eye."""
    found = np.flatnonzero(differences)
    return f"; first {found[:5].tolist()}" if len(found) else ""


def expected_segments(raw, kept):
    """The program headers of an ELF dump, by the rule: a run of SHORT_RUN or more excluded pages
    ends a segment (and lies in its memory size); shorter runs inside are stored; what is excluded
    at the end of a segment is not."""
    segments = []
    for load in raw.loads:
        at, end = load.paddr, load.paddr + load.memsz
        start, filesz, memsz, run_pages, run_bytes = at, 0, 0, 0, 0
        while at < end:
            stop = min(end, (at // PAGE + 1) * PAGE)
            size = stop - at
            if kept[at // PAGE]:
                if run_pages >= SHORT_RUN:
                    segments.append((load.vaddr + start - load.paddr, start, filesz, memsz, load.flags, load.align))
                    start, filesz, memsz = at, 0, 0
                else:
                    filesz += run_bytes
                filesz += size
                run_pages = run_bytes = 0
            else:
                run_pages += 1
                run_bytes += size
            memsz += size
            at = stop
        segments.append((load.vaddr + start - load.paddr, start, filesz, memsz, load.flags, load.align))
    return segments

