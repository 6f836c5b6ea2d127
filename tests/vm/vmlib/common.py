"""What every part needs: paths, errors, bounded subprocesses, progress lines."""

import os
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
"""The repository: tests/vm/vmlib/common.py is three folders below it."""

START = time.monotonic()


class VmError(Exception):
    """Something went wrong; the text says what was being done and what to do next."""


def state_dir():
    """Where downloads, kernels and runs are kept: $TAMIS_VM_DIR or target/vm."""
    return Path(os.environ.get("TAMIS_VM_DIR") or REPO / "target" / "vm").resolve()


def say(text):
    """Print a progress line with the seconds since the start, to stderr (results go to stdout)."""
    print(f"[{time.monotonic() - START:6.1f}s] {text}", file=sys.stderr, flush=True)


def tail(text, lines):
    """The last `lines` lines of a text, for error messages."""
    return "\n".join(text.splitlines()[-lines:])


def run(argv, doing, timeout=600, hint="", ok=(0,), **kwargs):
    """Run a command with a time limit; a failure raises VmError with the command's own last words.

    `doing` completes the sentence "while ...", `hint` says what the reader may do about it.
    Returns the CompletedProcess with text output captured (unless stdout/stderr are given).
    """
    argv = [str(word) for word in argv]
    kwargs.setdefault("text", True)
    kwargs.setdefault("errors", "replace")
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    hint = f"\n  next: {hint}" if hint else ""
    try:
        done = subprocess.run(argv, timeout=timeout, **kwargs)
    except FileNotFoundError:
        raise VmError(f"while {doing}: {argv[0]} is not there{hint}") from None
    except subprocess.TimeoutExpired:
        raise VmError(f"while {doing}: no end after {timeout} s: {' '.join(argv)}{hint}") from None
    if done.returncode not in ok:
        said = (done.stderr or "") + (done.stdout or "") if kwargs.get("text") else ""
        raise VmError(f"while {doing}: exit status {done.returncode}: {' '.join(argv)}\n"
                      f"{tail(said, 25)}{hint}")
    return done


def replace_file(path, data):
    """Write a file so that it is either the old or the whole new one."""
    partial = path.with_name(path.name + ".partial")
    if isinstance(data, str):
        partial.write_text(data)
    else:
        partial.write_bytes(data)
    partial.replace(path)
