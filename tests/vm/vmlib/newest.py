"""`vm newest`: the newest kernel of each series that Debian's suites serve, and which classes of pages are right on it."""

import json
import re
import time

from . import guest, packages
from .checks import Tool
from .classify import classes_of
from .common import VmError, replace_file, say, state_dir
from .dumpread import Kdump
from .runs import KERNELS, RUNS, Run

SUITES = ("trixie-security", "trixie", "trixie-backports", "forky", "sid", "experimental")
"""Where to look."""
OLDEST = (6, 12)
"""The debug information of older kernels is not enough for the oracle: it has no page types in the top byte."""
BY_LEVEL = {2: "cache", 4: "cache, private too", 8: "user", 16: "free"}
"""Dump level -> what it leaves out, beside what all levels do."""
REFERENCE = "sid"
"""Suite of the makedumpfile that judges kernels whose debug information the archive has not. It knows those before 7.1."""
PACKAGE = r"linux-image-(\d+)\.(\d+)\.[0-9.+a-z~]*-cloud-amd64"


def numbers(text):
    """A version, to be compared."""
    return [int(word) for word in re.findall(r"\d+", text)]


def served():
    """Series -> (suite, package) of its newest kernel."""
    newest = {}
    for suite in SUITES:
        try:
            names = packages.Suite(suite).names(PACKAGE)
        except VmError as error:
            say(str(error).splitlines()[0])
            continue
        for name in names:
            series = tuple(int(word) for word in re.fullmatch(PACKAGE, name).groups())
            if series >= OLDEST and numbers(name) > numbers(newest.get(series, ("", ""))[1]):
                newest[series] = (suite, name)
    return dict(sorted(newest.items()))


def results_file():
    """What was found, by package."""
    return state_dir() / "newest.json"


def results():
    """All that was found up to now."""
    path = results_file()
    return json.loads(path.read_text()) if path.exists() else {}


def run_for(series, suite, package):
    """The run of a kernel; one that no table has yet is made up. The kernel is unpacked if it is another one."""
    name = ".".join(map(str, series))
    KERNELS[name] = ([suite], rf"linux-image-{re.escape(name)}\.[0-9.+a-z~]*-cloud-amd64")
    # QEMU 7.2 hangs 7.x kernels that have more than one CPU.
    one = RUNS.setdefault(name, Run(name, name, f"{name} of {suite}", smp=1 if series >= (7, 0) else 2))
    info = state_dir() / "kernels" / name / "info.json"
    other = info.exists() and json.loads(info.read_text())["package"] != package
    # An older one, where parts of the newest are not in the archive.
    return one, packages.kernel(name, *KERNELS[name], refresh=other)


def judge(one, kernel, capture):
    """Crashes it unless its vmcore is there; returns by what it is judged, and class -> [pages, pages that some level
    has wrong]."""
    home = state_dir() / one.name
    known = home / "kernel.json"
    if not ((home / "vmcore").exists() and known.exists()
            and json.loads(known.read_text())["release"] == kernel.release):
        home = guest.crash(one)
    if packages.has_debug_vmlinux(kernel):
        counts, wrong = classes_of(home, one, capture)
        return "debug information", {name: [int(counts[name]), wrong[name]] for name in counts}
    version = packages.makedumpfile_version(REFERENCE)
    return f"makedumpfile {version}", by_reference(home, capture, Tool("makedumpfile", packages.makedumpfile(REFERENCE)))


def by_reference(home, capture, reference):
    """The same by what each level leaves out, against makedumpfile, where there is no debug information any more."""
    tamis, found, dumps = Tool("tamis-capture", [capture]), {}, {}
    path = home / "level"
    for level in (0, *BY_LEVEL):
        for tool in (tamis, reference):
            tool.dump(["-d", str(level)], home / "vmcore", path)
            dumps[tool.name] = Kdump(path).bitmap2
        ours, theirs = dumps[tamis.name], dumps[reference.name]
        size = min(len(ours), len(theirs))
        if not level:
            everything = ours[:size].copy()
        dropped, wrong = int((everything & ~ours[:size]).sum()), int((ours[:size] != theirs[:size]).sum())
        if level:
            found[BY_LEVEL[level]] = [dropped, wrong]
    path.unlink()
    return found


def try_all(capture, series=(), again=False):
    """Runs what has no result; prints all results as a table. Returns whether none is wrong."""
    for one_series, (suite, package) in served().items():
        name = ".".join(map(str, one_series))
        known = results().get(package, {})
        if series and name not in series or known and "failed" not in known and not again:
            continue
        say(f"{name}: {package} of {suite}")
        row = {"series": name, "suite": suite, "day": time.strftime("%Y-%m-%d")}
        try:
            one, kernel = run_for(one_series, suite, package)
            row["release"] = kernel.release
            row["judge"], row["classes"] = judge(one, kernel, capture)
        except VmError as error:
            row["failed"] = str(error).splitlines()[0]
            say(str(error))
        replace_file(results_file(), json.dumps({**results(), package: row}, indent=1, sort_keys=True) + "\n")
    return table(results())


def table(found):
    """Prints them, a kernel a line. Returns whether none is wrong."""
    good = True
    print("| kernel | suite | day | by | right: pages of each class | wrong |\n|---|---|---|---|---|---|")
    for package, row in sorted(found.items(), key=lambda item: numbers(item[0])):
        classes = row.get("classes", {})
        right = [f"{name} {pages}" for name, (pages, wrong) in classes.items() if pages and not wrong]
        wrong = [f"{name} {wrong} of {pages}" for name, (pages, wrong) in classes.items() if wrong]
        if "failed" in row:
            wrong.append(f"not tried: {row['failed']}")
        good &= not wrong
        release = row.get("release", package.removeprefix("linux-image-")).removesuffix("-cloud-amd64")
        print(f"| {release} | {row['suite']} | {row['day']} | {row.get('judge', '')} | {', '.join(right)} | {', '.join(wrong) or 'none'} |")
    return good
