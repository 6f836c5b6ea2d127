"""`vm host`: the tool `tamis` on dumps of a real vmcore, held against makedumpfile and drgn.

Dumps go both ways: what each program makes of the other's files. Refiltering has to leave the same
pages, rearranging and reassembling the same bytes; drgn has to read every page of what `tamis`
writes."""

import json
import shutil

from .checks import Checker, Tool, first_few
from .common import run
from .dumpread import Kdump, Vmcore, PAGE

LEVEL = "31"


class HostChecker(Checker):
    """The checks of one run's folder."""

    def __init__(self, home, one, capture, tamis, report, keep=False):
        super().__init__(home, one, capture, report, keep)
        self.host = str(tamis)
        self.work = home / "host"

    def tool(self, *words, ok=(0,)):
        """Run `tamis`; returns what it printed."""
        words = [str(word) for word in words]
        return run([self.host, *words], f"running tamis {' '.join(words)}", ok=ok,
                   hint=f"the files are in {self.work}")

    def refer(self, *words, stdin=None):
        """Run makedumpfile."""
        words = [str(word) for word in words]
        with open(stdin or "/dev/null", "rb") as file:
            run([*self.reference.argv, *words], f"running {self.reference.name} {' '.join(words)}",
                stdin=file, hint=f"the files are in {self.work}")

    def all(self):
        """Run every check."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        print(f"{self.run.name}: {self.reference.name if self.reference else 'no reference'}",
              flush=True)
        self.makers = [("tamis-capture", self.tamis)]
        if self.reference:
            self.makers.append((self.reference.name, self.reference))
        for who, maker in self.makers:
            self.guarded(f"dump of {who}", self.dump_of, who, maker)
        self.guarded("damage", self.damage)
        if not self.keep:
            shutil.rmtree(self.work)

    def dump_of(self, who, maker):
        """All that is done with a level 1 dump of one of the programs."""
        path, _ = self.make(maker, ["-c", "-d", "1"], "one")
        self.told(path, who)
        self.refilter(path, who)
        self.rearrange(maker, who)
        self.reassemble(maker, who)
        if maker is self.tamis:
            self.codecs(path, who)
        self.drop(path)

    def told(self, path, who):
        """`verify` finds nothing, `info` counts what our own reader counts, `stats` agrees."""
        dump = Kdump(path)
        name = f"{who}: "
        verdict = json.loads(self.tool("verify", "--json", path).stdout)["dumps"][0]
        good = verdict["verdict"] == "sound" and verdict["pages"]["good"] == len(dump.pfns)
        self.report.check(good, f"{name}verify", f"{verdict['verdict']}, {verdict['pages']}")
        info = json.loads(self.tool("info", "--json", path).stdout)["dumps"][0]
        zero = int(dump.stored_zero().sum())
        counts = (info["pages"]["exist"], info["pages"]["stored"], info["pages"]["zero"])
        self.report.check(counts == (int(dump.bitmap1.sum()), len(dump.pfns), zero)
                          and "sysrq" in info["kernel"]["panic"], f"{name}info",
                          f"{counts} pages exist, are stored, are zeros; {info['kernel']['panic']!r}")
        stats = json.loads(self.tool("stats", "--json", path).stdout)
        self.left = {row["level"]: row["pages"] for row in stats["levels"]}
        total = sum(c["pages"] for c in stats["classes"].values())
        zoned = sum(sum(zone["pages"].values()) for zone in stats["zones"])
        self.report.check(total == zoned == int(dump.bitmap1.sum()), f"{name}stats",
                          f"{total} pages in classes, {zoned} in {len(stats['zones'])} zones; level "
                          f"31 leaves {self.left[31]}")

    def refilter(self, path, who):
        """Level 31 out of level 1: by tamis and by makedumpfile; and the same bytes again."""
        ours = self.work / "ours"
        self.tool("refilter", "-f", "-c", "-d", LEVEL, path, ours)
        dump = Kdump(ours)
        name = f"{who}: refilter"
        self.report.check(len(dump.pfns) == self.left[31], f"{name} and stats",
                          f"{len(dump.pfns)} pages, stats said {self.left[31]}")
        self.contents(dump, name)
        if self.reference:
            theirs = self.work / "theirs"
            self.refer("-f", "-c", "-d", LEVEL, path, theirs)
            other = Kdump(theirs)
            one = int((dump.bitmap1 != other.bitmap1).sum())
            two = int((dump.bitmap2 != other.bitmap2).sum())
            pages = sum(a != b for a, b in zip(dump.pages(), other.pages()))
            self.report.check(one == two == pages == 0 and len(dump.pfns) > 0,
                              f"{name} as {self.reference.name} does",
                              f"{len(dump.pfns)} pages; {one} differences in bitmap 1, {two} in "
                              f"bitmap 2, {pages} pages" + first_few(dump.bitmap2 != other.bitmap2))
            self.drop(theirs)
        again = self.work / "again"
        self.tool("refilter", "-f", "-c", "-d", LEVEL, "--threads", 1, ours, again)
        self.same_bytes(again, ours, f"{name} once more, with one thread", "the first time's")
        self.drop(ours, again)

    def rearrange(self, maker, who):
        """A flattened stream as a file."""
        stream, ours = self.work / "stream", self.work / "ours"
        maker.dump(["-F", "-c", "-d", LEVEL], self.raw_path, stream)
        self.tool("rearrange", "-f", stream, ours)
        name = f"{who}: rearrange"
        if self.reference:
            theirs = self.work / "theirs"
            theirs.unlink(missing_ok=True)
            self.refer("-R", theirs, stdin=stream)
            self.same_bytes(ours, theirs, name, f"those of {self.reference.name} -R")
            self.drop(theirs)
        self.tool("verify", ours)
        self.tool("diff", stream, ours)
        self.drop(stream, ours)

    def reassemble(self, maker, who):
        """A split set, in the wrong order, as one file."""
        parts = [self.work / f"part{n}" for n in range(3)]
        options = ["-c", "-d", LEVEL, "--split"]
        if maker is self.tamis:
            options += ["--splitblock-size", "4096"]
        maker.dump(options, self.raw_path, parts[0], parts[1:])
        ours = self.work / "ours"
        self.tool("verify", *reversed(parts))
        self.tool("reassemble", "-f", *reversed(parts), ours)
        name = f"{who}: reassemble"
        if self.reference:
            theirs = self.work / "theirs"
            self.refer("-f", "--reassemble", *parts, theirs)
            if maker is self.tamis:
                # Its data begins with a page, which the reference leaves out.
                a, b = Kdump(ours), Kdump(theirs)
                differ = sum(x != y for x, y in zip(a.pages(), b.pages()))
                gap = len(a.data) - len(b.data)
                same = len(a.pfns) == len(b.pfns) and differ == 0 and 0 <= gap < PAGE
                self.report.check(same, name, f"{len(a.pfns)} pages compared with those of "
                                  f"{self.reference.name} --reassemble, {differ} differences; "
                                  f"{gap} bytes more")
            else:
                self.same_bytes(ours, theirs, name, f"those of {self.reference.name} --reassemble")
            self.drop(theirs)
        if maker is self.tamis:
            whole, _ = self.make(maker, ["-c", "-d", LEVEL], "whole")
            self.same_bytes(ours, whole, name, "the dump's that was never split")
            self.drop(whole)
        self.tool("verify", ours)
        self.drop(ours, *parts)

    def codecs(self, path, who):
        """Every codec and format: drgn reads each page; and the pages come back."""
        raw = self.work / "raw"
        self.tool("refilter", "-f", "--raw", "-d", LEVEL, path, raw)
        for options in (["-c"], ["-l"], ["-p"], ["-z"], ["-z3"], ["--raw"]):
            new, back = self.work / "new", self.work / "back"
            name = f"{who}: refilter {' '.join(options)}"
            self.tool("refilter", "-f", *options, "-d", LEVEL, path, new)
            self.through_drgn(Kdump(new), name)
            self.tool("refilter", "-f", "--raw", new, back)
            self.same_bytes(back, raw, f"{name} and back", "the pages as they were")
        elf, flat, back = self.work / "elf", self.work / "flat", self.work / "back"
        self.tool("refilter", "-f", "--to", "elf", "-d", LEVEL, path, elf)
        self.elf_through_drgn(elf, Kdump(raw), f"{who}: refilter --to elf")
        self.tool("refilter", "-f", "--to", "flat", "-c", raw, flat)
        self.tool("refilter", "-f", "--raw", flat, back)
        self.same_bytes(back, raw, f"{who}: to a stream and back", "the pages as they were")
        self.drop(raw, self.work / "new", back, elf, flat)

    def elf_through_drgn(self, path, dump, name):
        """Every kept page of an ELF dump as drgn reads it."""
        import drgn
        program = drgn.Program()
        program.set_core_dump(str(path))
        differ = sum(program.read(pfn * PAGE, PAGE, physical=True) != self.raw.page(pfn)
                     for pfn in dump.pfns.tolist())
        loads = len(Vmcore(path).loads)
        self.report.check(differ == 0 and len(dump.pfns) > 0, f"{name} through drgn",
                          f"{len(dump.pfns)} pages in {loads} segments, {differ} differences")

    def damage(self):
        """One byte turned: it is found. The end cut off: it is told; the rest is saved."""
        path, _ = self.make(self.tamis, ["-c", "-d", LEVEL], "sound")
        dump = Kdump(path)
        bad, mended = self.work / "bad", self.work / "mended"
        compressed = [n for n, flags in enumerate(dump.descriptors["flags"]) if flags]
        hit = compressed[len(compressed) // 2]
        data = bytearray(path.read_bytes())
        data[int(dump.descriptors["offset"][hit]) + 20] ^= 0x10
        bad.write_bytes(data)
        found = json.loads(self.tool("verify", "--json", bad, ok=(1,)).stdout)["dumps"][0]
        where = [fault["start_pfn"] for fault in found["faults"] if fault["kind"] == "damage"]
        want = int(dump.pfns[hit])
        self.report.check(found["pages"]["damaged"] == 1 and want in where, "a turned bit",
                          f"{found['pages']}, found at {where}, is at {want}")
        bad.write_bytes(path.read_bytes()[:dump.data_at + (len(dump.data) - dump.data_at) // 2])
        found = json.loads(self.tool("verify", "--json", bad, ok=(2,)).stdout)["dumps"][0]
        self.tool("repair", bad, mended, ok=(2,))
        again = json.loads(self.tool("verify", "--json", mended, ok=(2,)).stdout)["dumps"][0]
        counts = (found["pages"], again["pages"])
        self.report.check(found["pages"]["good"] == again["pages"]["good"] > 0
                          and found["pages"]["damaged"] == 0, "a dump cut in half",
                          f"before and after repair: {counts}")
        log = self.tool("dmesg", mended, ok=(0, 1, 3))
        self.report.note("its log", f"{len(log.stdout.splitlines())} lines of it; {log.stderr.strip()}")
        self.drop(path, bad, mended)


def check_host(home, one, capture, tamis, report, keep=False):
    """All of it for a run's folder."""
    HostChecker(home, one, [capture], tamis, report, keep).all()
