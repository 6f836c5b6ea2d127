"""Capture programs of other architectures, out of `cargo xtask dist`, on vmcores of their own machines under qemu-user:
each dump is, byte for byte, the one that `tamis refilter` writes on this machine."""

import filecmp
import functools
import os
import shutil

from . import packages
from .common import REPO, VmError, run, say, state_dir
from .runs import MACHINES

FORMS = (["-c", "-d", "0"], ["-c", "-d", "1"], ["-l", "-d", "17"], ["-z", "-d", "31"], ["-p", "-d", "31", "--cyclic-buffer", "1"],
         ["-c", "-d", "31", "--num-threads", "2"], ["-E", "-d", "31"])
"""Options of the capture program: every codec, several levels, small windows, threads, ELF."""
CAPTURE_ONLY = {"--cyclic-buffer": 2, "--num-threads": 2}
"""Options that change no byte, with the words that they take; the workstation tool has others."""
MUSL = {"s390x": "bookworm", "riscv64": "trixie", "ppc64el": "bookworm", "armhf": "bookworm", "loong64": "sid"}
"""Debian architectures that Rust's libraries may be missing of -> suite whose C library is taken."""


def musl():
    """The folder of C libraries, unpacked from packages."""
    root = state_dir() / "tools" / "musl"
    if not root.exists():
        partial = root.with_name("musl.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for arch, suite in MUSL.items():
            deb = packages.Suite(suite, arch).fetch("musl-dev")
            run(["dpkg", "-x", deb, partial], f"unpacking {deb.name}", timeout=300)
        partial.rename(root)
    return root / "usr" / "lib"


def uname(one):
    """What `uname -m` prints on the machine of a run, which is the name of a folder of programs."""
    return MACHINES[one.arch].uname or one.arch


@functools.cache
def programs(*unames):
    """The folder of capture programs, those of some architectures built now."""
    words = ["cargo", "xtask", "dist", *unames]
    say(f"building capture programs ({' '.join(words)})")
    run(words, "building the capture programs", timeout=3600, cwd=REPO, env=dict(os.environ, TAMIS_MUSL=str(musl())))
    return REPO / "target" / "dist"


def with_note(home, work):
    """A vmcore whose VMCOREINFO is in a note, as it is in /proc/vmcore."""
    path = home / "vmcore"
    with open(path, "rb") as file:
        if file.read(6)[5] != 2:
            return path
    from .foreign import Vmcore
    raw = Vmcore(path)
    if not raw.added:
        return path
    raw.rewrite(work / "vmcore")
    return work / "vmcore"


def check(home, one, program, tamis, report):
    """All of it for a run's folder, with a program or the one among those in a folder."""
    machine, name = MACHINES[one.arch], uname(one)
    if program.is_dir():
        program = program / name / "tamis-capture"
    if not program.exists():
        raise VmError(f"while looking for the capture program of {name}: {program} is not there\n"
                      f"  next: `cargo xtask dist` says what it lacks")
    work = home / "captures"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    vmcore = with_note(home, work)
    print(f"{one.name}: {program.stat().st_size} bytes of program", flush=True)
    for form in FORMS:
        ours, theirs = work / "capture", work / "refilter"
        said = run([*machine.user, program, "-f", *form, vmcore, ours],
                   f"running tamis-capture of {name} {' '.join(form)}", timeout=3600)
        words, skip = [], 0
        for word in form:
            skip = CAPTURE_ONLY.get(word, 0) or skip
            if not skip:
                words += ["--to", "elf"] if word == "-E" else [word]
            skip = max(0, skip - 1)
        run([tamis, "refilter", "-f", *words, vmcore, theirs], f"running tamis refilter {' '.join(words)}", timeout=3600)
        report.check(filecmp.cmp(ours, theirs, shallow=False), " ".join(form),
                     f"{ours.stat().st_size} bytes, refilter's {theirs.stat().st_size}")
        if "kept:" in said.stderr:
            report.note(" ".join(form), said.stderr.strip())
    shutil.rmtree(work)
