"""What `tamis estimate` says of a kernel that runs, held against what it left behind: a little later the
kernel crashes, and the dumps that are made of its memory have the pages and the sizes that were told."""

import json
import re

from .checks import Tool
from .common import run

PAGES_OFF, BYTES_OFF = 0.05, 0.15
"""By how much an estimate may be wrong: the kernel runs on, and of its pages some thousands are looked at."""

LEAST = 300
"""Pages that a machine's own doings (the estimate's own memory, too) may change."""

CODECS = {"raw": [], "zlib": ["-c"], "lzo": ["-l"], "zstd": ["-z"]}


def said(serial, what):
    """The lines that the guest said under this name."""
    return [line.split(f"VM: {what} ", 1)[1] for line in serial.splitlines() if f"VM: {what} " in line]


def check(home, capture, tamis, report):
    """Hold the estimate against dumps of the vmcore."""
    serial = (home / "serial.log").read_text(errors="replace").replace("\r", "")
    refused = "\n".join(said(serial, "nobody"))
    report.check(re.search("/proc/kcore.*(Permission denied|not permitted)", refused), "without rights", repr(refused))
    live = json.loads("\n".join(said(serial, "json")))
    measured = dict(line.split("=", 1) for line in said(serial, "measured"))
    report.check(measured["exit_status"] == "0" and int(measured["peak_rss_kb"]) < 16384, "it runs",
                 f"exit status {measured['exit_status']}, {measured['seconds']} s, {measured['peak_rss_kb']} kB")
    after = json.loads(run([tamis, "estimate", "--json", home / "vmcore"], "estimating the vmcore").stdout)
    told, least = live["least_memory_limit"], after["least_memory_limit"]
    report.check(all(0 <= told[codec] - least[codec] < 1024 for codec in least), "the least memory limit",
                 f"{told}, of the vmcore {least}")
    tool, out = Tool("tamis-capture", [capture]), home / "dump"
    for row in live["levels"]:
        level = row["level"]
        for codec, options in CODECS.items():
            tool.dump([*options, "-d", str(level)], home / "vmcore", out)
            pages = stored_pages(tamis, out)
            if codec == "raw":
                report.check(abs(row["pages"] - pages) <= PAGES_OFF * pages + LEAST, f"level {level}: pages",
                             f"{row['pages']} told, {pages} in a dump of the vmcore")
            told, real = row["bytes"][codec], out.stat().st_size
            report.check(abs(told - real) <= BYTES_OFF * real + LEAST * 4096, f"level {level}, {codec}: bytes",
                         f"{told} told, {real} in a dump of the vmcore, {told / real - 1:+.1%}")
            out.unlink()


def stored_pages(tamis, path):
    """How many pages a dump has."""
    return json.loads(run([tamis, "info", "--json", path], "counting pages").stdout)["dumps"][0]["pages"]["stored"]
