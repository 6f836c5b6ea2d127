#!/usr/bin/env python3
"""Say what each page of a crashed kernel is, from its debug information alone.

    classify_oracle.py VMCORE VMLINUX        prints the number of pages of each class

This is the oracle for kernels that no makedumpfile judges right (`vm classify`). It shares nothing
with the programs under test: offsets come from DWARF instead of VMCOREINFO, struct page is read
through drgn's page table walk, and a page of a compound page is judged by the head that its own
tail mark names, instead of by a range counted from the head. Kernels since 6.12, x86_64.

Runs in the virtual environment that `vm setup` makes (drgn, numpy).
"""

import sys

import drgn
import numpy as np
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mmzone import for_each_online_pgdat

PAGE_SHIFT = 12
SECTION_PAGES = 1 << (27 - PAGE_SHIFT)
"""x86_64 keeps memory in sections of 128 MiB."""

KEPT, CACHE, CACHE_PRIVATE, ANONYMOUS, HUGETLB, FREE, UNACCEPTED, OFFLINE = range(8)
NAMES = ["kept", "cache", "cache-private", "anonymous", "hugetlb", "free", "unaccepted", "offline"]
DROPPED_BY = {CACHE: 2 | 4, CACHE_PRIVATE: 4, ANONYMOUS: 8, HUGETLB: 8, FREE: 16, UNACCEPTED: 16}
"""Class -> dump level bits any of which drop it. Offline and poisoned pages go at every level."""


class OracleError(Exception):
    """The kernel is not as this oracle understands it."""


class Oracle:
    """The classes of all pages of one vmcore.

    `there`: the pfn has a struct page; `kind`: one of the classes; `poisoned`: PG_hwpoison;
    `unreadable`: sections whose struct pages could not be read.
    """

    def __init__(self, vmcore, vmlinux, max_mapnr):
        self.program = drgn.Program()
        self.program.set_core_dump(str(vmcore))
        self.program.load_debug_info([str(vmlinux)])
        self.max_mapnr = max_mapnr
        self._constants()
        self._read_struct_pages()
        self._classify()

    def _constants(self):
        program = self.program
        self.page = program.type("struct page")
        self.flag = {e.name: e.value for e in program.type("enum pageflags").enumerators}
        types = {e.name: e.value for e in program.type("enum pagetype").enumerators}
        if types.get("PGTY_buddy", 0) < 0xf0:
            raise OracleError("this kernel has no page types in the top byte (before 6.12): "
                              "use makedumpfile as the reference there")
        self.type = {name: value for name, value in types.items() if name.startswith("PGTY_")}
        names = [member.name for member in _all_members(self.page)]
        self.tail_member = "compound_info" if "compound_info" in names else "compound_head"

    def _read_struct_pages(self):
        """All struct pages of all present sections, in bulk."""
        size = self.page.size
        fields = {
            "flags": ("<u8", "flags"), "mapping": ("<u8", "mapping"), "private": ("<u8", "private"),
            "type": ("<u4", "page_type"), "tail": ("<u8", self.tail_member),
        }
        layout = np.dtype({
            "names": list(fields), "formats": [form for form, _ in fields.values()],
            "offsets": [drgn.offsetof(self.page, member) for _, member in fields.values()],
            "itemsize": size,
        })
        vmemmap = self.program["vmemmap"].value_()
        self.vmemmap = vmemmap
        count = self.max_mapnr
        self.struct = np.zeros(count, dtype=layout)
        self.there = np.zeros(count, dtype=bool)
        self.unreadable = 0
        for section in range(-(-count // SECTION_PAGES)):
            if not self._section_present(section):
                continue
            first = section * SECTION_PAGES
            end = min(first + SECTION_PAGES, count)
            try:
                block = self.program.read(vmemmap + first * size, (end - first) * size)
            except drgn.FaultError:
                self.unreadable += 1
                continue
            self.struct[first:end] = np.frombuffer(block, dtype=layout)
            self.there[first:end] = True

    def _section_present(self, section):
        """Whether the section has a mem_map, by the kernel's own table."""
        roots = self.program["mem_section"]
        per_root = (1 << PAGE_SHIFT) // self.program.type("struct mem_section").size
        root = roots[section // per_root]
        return bool(root) and bool(root[section % per_root].section_mem_map.value_() & 1)

    def _heads(self):
        """The pfn of the head of each page's compound page; its own pfn if it is no tail."""
        size = np.uint64(self.page.size)
        pfns = np.arange(self.max_mapnr, dtype=np.uint64)
        tail = self.struct["tail"]
        word = tail & ~np.uint64(1)
        # Since 7.1 the word may be a mask that leaves the head's address of the tail's own.
        holes = ~word
        is_mask = (holes & (holes + np.uint64(1))) == 0
        address = np.uint64(self.vmemmap) + pfns * size
        head_address = np.where(is_mask, address & word, word)
        head = ((head_address - np.uint64(self.vmemmap)) // size).astype(np.int64)
        is_tail = (tail & np.uint64(1)).astype(bool) & self.there
        heads = np.where(is_tail, head, pfns.astype(np.int64))
        # Huge pages whose struct pages share memory show copies of their head: the page behind
        # such a copy names the real head.
        has_head_flag = self.flag_set("PG_head")
        per_page = (1 << PAGE_SHIFT) // self.page.size
        fakes = np.flatnonzero(has_head_flag & ~is_tail & (pfns % np.uint64(per_page) == 0))
        fakes = fakes[(fakes + 1 < self.max_mapnr)]
        heads[fakes] = np.where(is_tail[fakes + 1], heads[fakes + 1], heads[fakes])
        self.strays = int((is_tail & ((heads < 0) | (heads >= self.max_mapnr))).sum())
        return np.clip(heads, 0, self.max_mapnr - 1), is_tail

    def flag_set(self, name):
        """A bit per page: the flag is set in its own struct page."""
        bit = np.uint64(self.flag[name])
        return ((self.struct["flags"] >> bit) & np.uint64(1)).astype(bool) & self.there

    def type_is(self, name):
        """A bit per page: its own struct page has this page type."""
        if name not in self.type:
            return np.zeros(self.max_mapnr, dtype=bool)
        return (self.struct["type"] >> np.uint32(24) == self.type[name]) & self.there

    def _classify(self):
        heads, self.is_tail = self._heads()
        typed = ((self.struct["type"] >> np.uint32(24) >= 0xf0)
                 & (self.struct["type"] >> np.uint32(24) < 0xff))
        mapping_anon = (self.struct["mapping"] & np.uint64(1)).astype(bool)
        # One struct page judged by itself, as the head of its folio.
        anonymous = mapping_anon & ~typed & self.there
        swapped = self.flag_set("PG_swapcache") & self.flag_set("PG_swapbacked")
        cache = (self.flag_set("PG_lru") | swapped) & ~mapping_anon & ~typed
        kind = np.zeros(self.max_mapnr, dtype=np.uint8)
        kind[cache] = CACHE
        kind[cache & self.flag_set("PG_private")] = CACHE_PRIVATE
        kind[anonymous] = ANONYMOUS
        kind[self.type_is("PGTY_hugetlb")] = HUGETLB
        kind[self.type_is("PGTY_offline")] = OFFLINE
        self.free_blocks = np.flatnonzero(self.type_is("PGTY_buddy") & ~self.is_tail)
        # Tails are what their head is.
        kind = kind[heads]
        for pfn in self.free_blocks.tolist():
            kind[pfn:pfn + (1 << int(self.struct["private"][pfn]))] = FREE
        largest = self.program.type("struct zone").member("free_area").type.length - 1
        for pfn in np.flatnonzero(self.type_is("PGTY_unaccepted")).tolist():
            kind[pfn:pfn + (1 << largest)] = UNACCEPTED
        kind[~self.there] = KEPT
        self.kind = kind
        self.poisoned = self.flag_set("PG_hwpoison")

    def free_lists(self):
        """(blocks, pages, blocks that struct page does not mark) of the zones' free lists."""
        marked = set(self.free_blocks.tolist())
        blocks = pages = unmarked = 0
        page_size = self.page.size
        for node in for_each_online_pgdat(self.program):
            for zone in node.node_zones:
                if zone.spanned_pages.value_() == 0:
                    continue  # its lists were never made
                for order, area in enumerate(zone.free_area):
                    for head in area.free_list:
                        for page in list_for_each_entry("struct page", head.address_of_(), "buddy_list"):
                            pfn = (page.value_() - self.vmemmap) // page_size
                            blocks += 1
                            pages += 1 << order
                            unmarked += (pfn not in marked
                                         or int(self.struct["private"][pfn]) != order)
        return blocks, pages, unmarked

    def dropped(self, level):
        """A bit per pfn: a dump of this level leaves the page out."""
        result = self.poisoned | (self.kind == OFFLINE)
        for kind, bits in DROPPED_BY.items():
            if level & bits:
                result = result | (self.kind == kind)
        return result & self.there

    def counts(self, among):
        """Pages of each class among the given pfns, and the poisoned ones."""
        found = np.bincount(self.kind[among[:self.max_mapnr]], minlength=len(NAMES))
        counts = {name: int(found[index]) for index, name in enumerate(NAMES)}
        counts["poisoned"] = int((self.poisoned & among[:self.max_mapnr]).sum())
        return counts


def _all_members(kind):
    """The members of a structure, those of anonymous ones inside it too."""
    for member in kind.members:
        if member.name is None:
            yield from _all_members(member.type)
        else:
            yield member


def main():
    """Print the counts of a vmcore."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    from vmlib.dumpread import Vmcore
    raw = Vmcore(sys.argv[1])
    oracle = Oracle(sys.argv[1], sys.argv[2], raw.max_mapnr)
    for name, count in oracle.counts(raw.covered).items():
        print(f"{name:14} {count}")
    blocks, pages, unmarked = oracle.free_lists()
    print(f"free lists: {blocks} blocks, {pages} pages, {unmarked} not marked as such; "
          f"{oracle.unreadable} sections unreadable, {oracle.strays} tails without a head")


if __name__ == "__main__":
    main()
