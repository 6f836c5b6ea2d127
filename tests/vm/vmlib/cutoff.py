"""Dumps that end early: what they have, and what libkdumpfile and drgn make of them. Runs in the
virtual environment (numpy, drgn)."""

import ctypes
import os
import pathlib
import signal
import struct

SAMPLE = 1000
LAST = 100
SECONDS = 300
"""How long a reader may take."""


def in_child(check):
    """Runs `check` in a process of its own; gives what it returns. A reader may crash or hang."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reads)
            signal.alarm(SECONDS)
            os.write(writes, check().encode())
            status = 0
        except BaseException as error:  # the parent tells
            os.write(writes, f"{type(error).__name__}: {error}".encode()[:4000])
        finally:
            os._exit(status)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise Wrong(f"the reader died of signal {os.WTERMSIG(status)}")
    if os.WEXITSTATUS(status) != 0:
        raise Wrong(said)
    return said


class Wrong(Exception):
    """Something that no cut may do."""


class Cut:
    """A kdump-compressed file that may end anywhere."""

    def __init__(self, path):
        import numpy as np
        from vmlib import dumpread
        self.path = path
        data = path.read_bytes()
        self.opens = data[:8] in (b"KDUMP   ", b"TAMIS   ")
        self.saved = self.empty = ()
        if not self.opens:
            return
        self.complete = struct.unpack_from("<I", data, 424)[0] & 8 == 0
        sub_blocks, blocks = struct.unpack_from("<II", data, 432)
        split, = struct.unpack_from("<i", data, 4096 + 12)
        start, end, max_pfn = struct.unpack_from("<QQQ", data, 4096 + 80)
        at = (1 + sub_blocks + blocks // 2) * 4096
        bits = np.unpackbits(np.frombuffer(data, np.uint8, blocks // 2 * 4096, at), bitorder="little")
        pfns = np.flatnonzero(bits[:max_pfn])
        if split:
            pfns = pfns[(pfns >= start) & (pfns < end)]
        at = (1 + sub_blocks + blocks) * 4096
        there = max(0, min(len(pfns), (len(data) - at) // 24))
        table = np.frombuffer(data, dumpread.DESCRIPTOR, there, at)
        good = table["size"] > 0
        self.saved = pfns[:there][good]
        self.empty = np.concatenate([pfns[:there][~good], pfns[there:]])


def sample(chance, pfns):
    """Some of the pages, the last ones always."""
    last = list(pfns[-LAST:])
    rest = list(pfns[:-LAST])
    return [int(pfn) for pfn in last + chance.sample(rest, min(len(rest), SAMPLE - LAST))]


class Library:
    """libkdumpfile itself, the one in drgn. drgn asks it to translate addresses even for physical
    memory, for which the page tables must have been saved."""

    MACHINE_PHYSICAL = 1

    def __init__(self):
        import drgn
        libs = pathlib.Path(drgn.__file__).resolve().parents[1] / "drgn.libs"
        self.lib = ctypes.CDLL(next(libs.glob("libkdumpfile-*.so*")))
        self.lib.kdump_new.restype = ctypes.c_void_p
        self.lib.kdump_get_err.restype = ctypes.c_char_p
        self.lib.kdump_get_err.argtypes = [ctypes.c_void_p]
        self.lib.kdump_open_fdset.argtypes = [ctypes.c_void_p, ctypes.c_uint,
                                              ctypes.POINTER(ctypes.c_int)]
        self.lib.kdump_read.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64,
                                        ctypes.c_char_p, ctypes.POINTER(ctypes.c_size_t)]

    def open(self, *paths):
        """Opens a dump, or the files of a split one; None if it is refused."""
        self.handle = self.lib.kdump_new()
        files = [os.open(path, os.O_RDONLY) for path in paths]
        return self.lib.kdump_open_fdset(self.handle, len(files),
                                         (ctypes.c_int * len(files))(*files)) == 0

    def error(self):
        return self.lib.kdump_get_err(self.handle).decode(errors="replace")

    def page(self, pfn):
        """A page, or None with a reason to be asked for."""
        buffer, size = ctypes.create_string_buffer(4096), ctypes.c_size_t(4096)
        status = self.lib.kdump_read(self.handle, self.MACHINE_PHYSICAL, pfn * 4096, buffer, size)
        return buffer.raw if status == 0 else None


def through_libkdumpfile(paths, raw, saved, empty):
    """Opens a dump in libkdumpfile and compares pages; `empty` ones must be errors."""
    def check():
        library = Library()
        if not library.open(*paths):
            raise Wrong(f"libkdumpfile does not open it: {library.error()}")
        for pfn in saved:
            page = library.page(pfn)
            if page is None:
                raise Wrong(f"pfn {pfn:#x} in libkdumpfile: {library.error()}")
            if page != raw.page(pfn):
                raise Wrong(f"pfn {pfn:#x} is another page in libkdumpfile")
        for pfn in empty:
            if library.page(pfn) is not None:
                raise Wrong(f"pfn {pfn:#x} has no descriptor, but libkdumpfile reads it")
        return "good"
    in_child(check)


def through_drgn(path, raw, saved):
    """Opens a dump in drgn and compares pages. Gives whether it could read them: before the page
    tables were saved it reports an error for each."""
    def check():
        import drgn
        program = drgn.Program()
        program.set_core_dump(path)
        for pfn in saved:
            try:
                page = program.read(pfn * 4096, 4096, physical=True)
            except drgn.FaultError:
                return "no page tables"
            if page != raw.page(pfn):
                raise Wrong(f"pfn {pfn:#x} is another page in drgn")
        return "good"
    return in_child(check) == "good"


def refused(path):
    """libkdumpfile and drgn must refuse a file without a header."""
    def check():
        import drgn
        if Library().open(path):
            raise Wrong("libkdumpfile opens it, without a header")
        try:
            drgn.Program().set_core_dump(path)
        except Exception as error:  # any kind of refusal
            return str(error)
        raise Wrong("drgn opens it, without a header")
    in_child(check)
