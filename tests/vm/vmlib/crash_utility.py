"""`vm crash`: the crash utility opens a dump and finds in it what there is to find."""

import json
import re
import shutil

import numpy as np

from . import packages
from .checks import Tool
from .classify import kernel_of
from .common import VmError, run, say, tail
from .dumpread import PAGE, Kdump, Vmcore

COMMANDS = ["sys", "bt", "ps -S", "kmem -i", "log"]
OPTIONS = ["-c", "-l", "-p", "-z", "-E"]
MARK = "=== vm: {} ==="
PACKAGES = ["crash", "libc6", "libgcc-s1", "libgmp10", "liblzo2-2", "libmpfr6", "libncursesw6",
            "libsnappy1v5", "libstdc++6", "libtinfo6", "libzstd1", "zlib1g", "libbz2-1.0",
            "liblzma5"]


def open_with_crash(home, one, capture, tamis, report, keep=False):
    """Make level 31 dumps, of every codec that crash reads and ELF, and ask crash about them."""
    kernel = kernel_of(home, one)
    vmlinux = packages.debug_vmlinux(kernel)
    # The one of bookworm, 8.0.2, knows no kernel behind 6.1, and finds 3 tasks even in the raw vmcore of late ones.
    version = [int(number) for number in re.findall(r"\d+", kernel.release)[:2]]
    suites = ["sid", "bookworm"] if version <= [6, 1] else ["sid"]
    crashes = {suite: packages.unpacked_tool(suite, PACKAGES, "usr/bin/crash") for suite in suites}
    maker = Tool("tamis-capture", [capture])
    work = home / "crash"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    script = work / "commands"
    lines = []
    for command in COMMANDS:
        lines += [f"!echo '{MARK.format(command)}'", command]
    script.write_text("\n".join([*lines, "quit"]) + "\n")
    print(f"{one.name}: {kernel.release}", flush=True)
    raw = Vmcore(home / "vmcore")
    controls = {suite: ask(crash, script, vmlinux, home / "vmcore")
                for suite, crash in crashes.items()}
    for options in ([option, "-d", "31"] for option in OPTIONS):
        dump = work / "dump"
        dump.unlink(missing_ok=True)
        maker.dump(options, home / "vmcore", dump)
        if "-E" not in options:
            written = Kdump(dump)
            wrong = written.wrong_checksums()
            report.check(wrong == 0, f"{' '.join(options)}: page checksums",
                         f"{len(written.pfns)} pages, {wrong} without a right one")
        for suite, crash in crashes.items():
            name = f"crash of {suite}, {' '.join(options)}"
            say(f"{one.name}: opening the dump ({' '.join(options)}) with the crash of {suite}")
            done = ask(crash, script, vmlinux, dump)
            control = controls[suite]
            if done.returncode != 0 and control.returncode != 0:
                raise VmError(f"while opening a dump of {one.name} with crash: this crash cannot "
                              f"open the raw vmcore of {kernel.release} either:\n"
                              f"{tail(control.stderr, 5)}\n  next: nothing is known of the dump; "
                              f"a newer crash is needed for this kernel")
            judge(done.stdout, control.stdout, kernel.release, name, report)
            same_task(done.stdout, tamis, dump, name, report)
            if done.returncode != 0 or done.stderr.strip():
                report.check(done.returncode == 0, f"{name} exit status",
                             f"{done.returncode}; it said: {tail(done.stderr, 5).strip()}")
            if "-E" not in options:
                every_page(crash, vmlinux, dump, raw, work, f"{name}: pages", report)
    if not keep:
        shutil.rmtree(work)


def same_task(text, tamis, dump, name, report):
    """Hold the panic task that `tamis info` tells against the one that crash starts with."""
    first = re.search(r'^PID: (\d+) +TASK: \S+ +CPU: (\d+) +COMMAND: "(.*)"', text, re.M)
    told = run([tamis, "info", "--json", dump], f"running tamis info {dump}").stdout
    task = json.loads(told)["dumps"][0]["kernel"]["panic_task"] or {}
    ours = (task.get("pid"), task.get("cpu"), task.get("name"))
    theirs = first and (int(first[1]), int(first[2]), first[3])
    report.check(ours == theirs, f"{name}: panic task", f"tamis {ours}, crash {theirs}")


def every_page(crash, vmlinux, dump, raw, work, name, report):
    """Have crash write every page of the dump to files; hold them against the raw vmcore."""
    pfns = Kdump(dump).pfns
    first = np.flatnonzero(np.diff(pfns, prepend=-2) != 1)
    counts = np.diff(first, append=len(pfns))
    out = work / "pages"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    runs = list(zip(pfns[first].tolist(), counts.tolist()))
    script = work / "pages.commands"
    script.write_text("".join(f"rd -p -r {out / str(pfn)} {pfn * PAGE:#x} {count * PAGE}\n"
                              for pfn, count in runs) + "quit\n")
    done = ask(crash, script, vmlinux, dump)
    differ = missing = 0
    for pfn, count in runs:
        path = out / str(pfn)
        got = path.read_bytes() if path.exists() else b""
        missing += count - len(got) // PAGE
        differ += sum(got[at * PAGE:(at + 1) * PAGE] != raw.page(pfn + at)
                      for at in range(len(got) // PAGE))
    report.check(done.returncode == 0 and len(pfns) > 0 and not (differ or missing), name,
                 f"{len(pfns)} pages compared with the raw vmcore, {differ} differences, {missing} "
                 f"not read" + (f"; {tail(done.stderr, 3)}" if done.stderr.strip() else ""))
    shutil.rmtree(out)


def ask(crash, script, vmlinux, dump):
    """Run crash with the script; its exit status is for the caller to judge."""
    return run([*crash, "-s", "-i", script, vmlinux, dump], f"opening {dump} with crash",
               timeout=300, ok=range(256))


def by_command(text):
    """What crash printed, by command."""
    parts = {}
    for part in text.split("=== vm: ")[1:]:
        command, _, said = part.partition(" ===\n")
        parts[command] = said
    return parts


def judge(text, control, release, name, report):
    """Look for the expected facts in what crash printed; `control` is what it printed of the raw vmcore."""
    parts = by_command(text)
    sys_text = parts.get("sys", "")
    field = dict(re.findall(r"^\s*([A-Z ]+): (.*)$", sys_text, re.M))
    report.check(field.get("RELEASE") == release and "sysrq" in field.get("PANIC", "").lower(),
                 f"{name}: sys", f"{len(field)} fields; RELEASE {field.get('RELEASE')}, PANIC "
                 f"{field.get('PANIC')}")
    frames = re.findall(r"^ *#\d+ \[[0-9a-f]+\] (\S+) at", parts.get("bt", ""), re.M)
    report.check("sysrq_handle_crash" in frames, f"{name}: bt",
                 f"{len(frames)} frames: {' '.join(frames[:12])}")
    states, all_states = (re.findall(r"^\s+\w\w: (\d+)", part.get("ps -S", ""), re.M)
                          for part in (parts, by_command(control)))
    report.check(states and states == all_states, f"{name}: ps -S",
                 f"{sum(map(int, states))} tasks in {len(states)} states, "
                 f"{sum(map(int, all_states))} in {len(all_states)} of the raw vmcore")
    memory = re.findall(r"^\s*(TOTAL MEM|FREE|CACHED|SLAB)\s+(\d+)", parts.get("kmem -i", ""), re.M)
    report.check(len(memory) == 4 and all(int(pages) for _, pages in memory), f"{name}: kmem -i",
                 ", ".join(f"{key} {pages}" for key, pages in memory) or "nothing understood")
    log = parts.get("log", "").splitlines()
    trigger = [line.strip() for line in log[-60:] if "Trigger a crash" in line]
    report.check(len(trigger) == 1 and "Linux version" in log[0], f"{name}: log",
                 f"{len(log)} lines; among the last 60: {trigger}")
    if not parts:
        print(tail(json.dumps(text), 20))
