"""Independent readers of what a capture reads and writes: ELF64 vmcores, kdump-compressed files
(and the LZ4 variant of them), flattened streams. 64-bit little-endian dumps with 4 KiB pages,
which is what the guests are.

Nothing here comes from the programs under test: the layouts are written down a second time.
"""

import mmap
import struct
import zlib
from dataclasses import dataclass

import numpy as np

PAGE = 4096
ZERO_PAGE = bytes(PAGE)

FLAG_RAW = 0
FLAG_ZLIB = 0x1
FLAG_LZO = 0x2
FLAG_SNAPPY = 0x4
FLAG_ZSTD = 0x20
FLAG_LZ4 = 0x40

STATUS_INCOMPLETE = 0x8

FLAT_SIGNATURE = b"makedumpfile\0\0\0\0"


class BadDump(Exception):
    """A file is not what it claims to be; the text names place and value."""


def mapped(path):
    """A read-only mapping of a whole file."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@dataclass(frozen=True)
class Segment:
    """One program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int

    LOAD = 1
    NOTE = 4


def notes(blob):
    """(name, type, descriptor, position of the descriptor) of each ELF note in a blob."""
    at = 0
    while at + 12 <= len(blob):
        namesz, descsz, kind = struct.unpack_from("<III", blob, at)
        name_at = at + 12
        desc_at = name_at + (namesz + 3) // 4 * 4
        end = desc_at + (descsz + 3) // 4 * 4
        if desc_at + descsz > len(blob):
            raise BadDump(f"note at {at}: descriptor of {descsz} bytes passes the end")
        yield blob[name_at:name_at + namesz].rstrip(b"\0"), kind, blob[desc_at:desc_at + descsz], desc_at
        at = end


def vmcoreinfo_of(blob):
    """The text of the VMCOREINFO note among the notes."""
    for name, _, text, _ in notes(blob):
        if name == b"VMCOREINFO":
            return text.decode()
    raise BadDump("no VMCOREINFO note")


class Vmcore:
    """An ELF64 core of a kernel: /proc/vmcore, a copy of it, or an ELF dump."""

    def __init__(self, path):
        self.path = path
        self.data = mapped(path)
        head = struct.unpack_from("<16sHHIQQQIHHHHHH", self.data, 0)
        ident, e_type, machine, _, _, phoff, shoff, self.flags, _, phentsize, phnum = head[:11]
        if ident[:7] != b"\x7fELF\x02\x01\x01" or e_type != 4:
            raise BadDump(f"{path}: not a 64-bit little-endian ELF core")
        if phentsize != 56:
            raise BadDump(f"{path}: program headers of {phentsize} bytes")
        self.machine = machine
        if phnum == 0xffff:
            phnum = struct.unpack_from("<I", self.data, shoff + 44)[0]
        self.segments = [Segment(p[0], p[1], *p[2:]) for p in
                         struct.iter_unpack("<IIQQQQQQ", self.data[phoff:phoff + 56 * phnum])]
        self.loads = [s for s in self.segments if s.type == Segment.LOAD]
        note_segments = [s for s in self.segments if s.type == Segment.NOTE]
        if len(note_segments) != 1:
            raise BadDump(f"{path}: {len(note_segments)} note segments, expected 1")
        note = note_segments[0]
        self.notes = self.data[note.offset:note.offset + note.filesz]
        self.max_mapnr = max(-(-(s.paddr + s.memsz) // PAGE) for s in self.loads)
        self._index_pages()

    def _index_pages(self):
        """For each pfn the file offset of its whole page in the first segment that has it, else -1;
        pages no single segment has whole go to `self.pieced`."""
        self.offset = np.full(self.max_mapnr, -1, dtype=np.int64)
        self.covered = np.zeros(self.max_mapnr, dtype=bool)
        ragged = set()
        for s in reversed(self.loads):
            first, end = -(-s.paddr // PAGE), (s.paddr + s.filesz) // PAGE
            if first < end:
                self.offset[first:end] = s.offset - s.paddr + np.arange(first, end, dtype=np.int64) * PAGE
            self.covered[s.paddr // PAGE:-(-(s.paddr + s.memsz) // PAGE)] = True
            for edge in (s.paddr, s.paddr + s.filesz):
                if edge % PAGE:
                    ragged.add(edge // PAGE)
        self.pieced = {pfn: self._piece_together(pfn) for pfn in ragged}

    def _piece_together(self, pfn):
        """A page of which segments hold parts: bytes no segment stores are zeros."""
        page = bytearray(PAGE)
        for s in reversed(self.loads):
            start = max(s.paddr, pfn * PAGE)
            end = min(s.paddr + s.filesz, (pfn + 1) * PAGE)
            if start < end:
                at = s.offset + start - s.paddr
                page[start - pfn * PAGE:end - pfn * PAGE] = self.data[at:at + end - start]
        return bytes(page)

    def page(self, pfn):
        """The bytes of a page, or None if the file does not hold it."""
        if pfn in self.pieced:
            return self.pieced[pfn]
        if pfn >= self.max_mapnr:
            return None
        at = self.offset[pfn]
        return self.data[at:at + PAGE] if at >= 0 else None

    def zero_pages(self):
        """A bit per pfn: the page is there and all zeros."""
        zero = np.zeros(self.max_mapnr, dtype=bool)
        for pfn in np.flatnonzero(self.covered):
            zero[pfn] = self.page(int(pfn)) == ZERO_PAGE
        return zero


HEADER_FIELDS = {
    "signature": (0, "8s"), "header_version": (8, "i"), "sysname": (12, "65s"),
    "nodename": (77, "65s"), "release": (142, "65s"), "version": (207, "65s"),
    "machine": (272, "65s"), "domainname": (337, "65s"), "tv_sec": (408, "q"),
    "tv_usec": (416, "q"), "status": (424, "I"), "block_size": (428, "i"),
    "sub_hdr_size": (432, "i"), "bitmap_blocks": (436, "I"), "max_mapnr": (440, "I"),
    "total_ram_blocks": (444, "I"), "device_blocks": (448, "I"), "written_blocks": (452, "I"),
    "current_cpu": (456, "I"), "nr_cpus": (460, "i"),
}
SUB_HEADER_FIELDS = {
    "phys_base": (0, "q"), "dump_level": (8, "i"), "split": (12, "i"), "start_pfn": (16, "Q"),
    "end_pfn": (24, "Q"), "offset_vmcoreinfo": (32, "Q"), "size_vmcoreinfo": (40, "Q"),
    "offset_note": (48, "Q"), "size_note": (56, "Q"), "offset_eraseinfo": (64, "Q"),
    "size_eraseinfo": (72, "Q"), "start_pfn_64": (80, "Q"), "end_pfn_64": (88, "Q"),
    "max_mapnr_64": (96, "Q"),
}
# "TCRC" in the upper half of page_flags: the lower half is a checksum.
CHECKSUM_MARK = 0x5443_5243 << 32
DESCRIPTOR = np.dtype([("offset", "<i8"), ("size", "<u4"), ("flags", "<u4"), ("page_flags", "<u8")])


class Kdump:
    """A kdump-compressed file, or tamis's LZ4 variant of it (another signature)."""

    def __init__(self, path):
        self.path = path
        self.data = mapped(path)
        data = self.data
        signature = data[:8]
        if signature not in (b"KDUMP   ", b"TAMIS   "):
            raise BadDump(f"{path}: signature {signature!r}")
        self.has_lz4 = signature == b"TAMIS   "
        self.header = {name: struct.unpack_from("<" + form, data, at)[0]
                       for name, (at, form) in HEADER_FIELDS.items()}
        if self.header["block_size"] != PAGE:
            raise BadDump(f"{path}: block size {self.header['block_size']}")
        self.sub = {name: struct.unpack_from("<" + form, data, PAGE + at)[0]
                    for name, (at, form) in SUB_HEADER_FIELDS.items()}
        self.max_mapnr = self.sub["max_mapnr_64"]
        half = self.header["bitmap_blocks"] // 2 * PAGE
        expected = -(-(-(-self.max_mapnr // 8)) // PAGE) * PAGE
        if half != expected:
            raise BadDump(f"{path}: {half} bytes of bitmap for {self.max_mapnr} pages")
        at = (1 + self.header["sub_hdr_size"]) * PAGE
        self.bitmap1 = self._bitmap(at, half)
        self.bitmap2 = self._bitmap(at + half, half)
        self.pfns = np.flatnonzero(self.bitmap2)
        self.descriptors_at = at + 2 * half
        # Every part of a split dump leaves room for the descriptors of all, and has its own first.
        end = self.descriptors_at + DESCRIPTOR.itemsize * len(self.pfns)
        if self.sub["split"]:
            first, last = self.sub["start_pfn_64"], self.sub["end_pfn_64"]
            self.pfns = self.pfns[(self.pfns >= first) & (self.pfns < last)]
        if end > len(data):
            raise BadDump(f"{path}: ends inside the page descriptors")
        self.descriptors = np.frombuffer(data, DESCRIPTOR, len(self.pfns), self.descriptors_at)
        self.data_at = end
        note = self.sub["offset_note"]
        self.notes = data[note:note + self.sub["size_note"]]

    def _bitmap(self, at, length):
        bits = np.unpackbits(np.frombuffer(self.data, np.uint8, length, at), bitorder="little")
        if bits[self.max_mapnr:].any():
            raise BadDump(f"{self.path}: bits set past max_mapnr in the bitmap at {at}")
        return bits[:self.max_mapnr].astype(bool)

    def stored_zero(self):
        """A bit per stored page: it shares the one zero page at the start of the data."""
        return ((self.descriptors["offset"] == self.data_at) & (self.descriptors["flags"] == 0)
                & (self.sub["dump_level"] & 1 == 1))

    def wrong_checksums(self, wanted=True):
        """How many pages have no checksum or a wrong one: CRC-32 of the stored bytes, pfn and flags, and a mark.

        Of a writer that has none, how many page_flags are not 0.
        """
        if not wanted:
            return int((self.descriptors["page_flags"] != 0).sum())
        wrong = 0
        for pfn, (offset, size, flags, page_flags) in zip(self.pfns.tolist(), self.descriptors.tolist()):
            crc = zlib.crc32(self.data[offset:offset + size])
            wrong += page_flags != zlib.crc32(struct.pack("<QI", pfn, flags), crc) | CHECKSUM_MARK
        return wrong

    def pages(self):
        """(pfn, page) for each stored page, decoded; a page that does not decode is None."""
        data = self.data
        if self.has_lz4:
            import lz4.block
        for pfn, offset, size, flags in zip(self.pfns.tolist(),
                                            self.descriptors["offset"].tolist(),
                                            self.descriptors["size"].tolist(),
                                            self.descriptors["flags"].tolist()):
            stored = data[offset:offset + size]
            page = None
            try:
                if flags == FLAG_RAW:
                    page = stored
                elif flags == FLAG_ZLIB:
                    page = zlib.decompress(stored, bufsize=PAGE)
                elif flags == FLAG_LZ4 and self.has_lz4:
                    page = lz4.block.decompress(stored, uncompressed_size=PAGE)
            except (zlib.error, RuntimeError, ValueError):
                page = None
            yield pfn, page if page is not None and len(page) == PAGE else None


def rearrange(stream_path, out_path):
    """Turn a flattened stream into the file it describes.

    Returns (records, overlapping records). Readers look chunks up by offset, so overlaps are
    worth knowing.
    """
    with open(stream_path, "rb") as stream, open(out_path, "wb") as out:
        start = stream.read(4096)
        kind, version = struct.unpack_from(">qq", start, 16) if len(start) == 4096 else (0, 0)
        if start[:16] != FLAT_SIGNATURE or (kind, version) != (1, 1):
            raise BadDump(f"{stream_path}: not a flattened stream of type 1, version 1")
        spans = []
        while True:
            header = stream.read(16)
            if len(header) != 16:
                raise BadDump(f"{stream_path}: ends without an end record after {len(spans)} records")
            offset, size = struct.unpack(">qq", header)
            if (offset, size) == (-1, -1):
                break
            if offset < 0 or size <= 0:
                raise BadDump(f"{stream_path}: record {len(spans)} has offset {offset}, size {size}")
            block = stream.read(size)
            if len(block) != size:
                raise BadDump(f"{stream_path}: ends inside record {len(spans)}")
            out.seek(offset)
            out.write(block)
            spans.append((offset, offset + size))
        if stream.read(1):
            raise BadDump(f"{stream_path}: bytes after the end record")
    spans.sort()
    overlaps = sum(a[1] > b[0] for a, b in zip(spans, spans[1:]))
    return len(spans), overlaps
