"""`vm symbols`: a kernel by its own symbols and types, against drgn with debug information.

The tool has no debug information: symbols, tasks, modules, structures, slab caches and who uses the memory are
held against what drgn reads of the same vmcore. VMCOREINFO made out of the vmlinux is held against the kernel's own. Then the keys of VMCOREINFO go, one by one and all together: the classes of
pages must stay what they are.
"""

import hashlib
import json
import random
import re
import shutil
import subprocess

from . import packages
from .classify import kernel_of
from .common import VmError, run, say

# What nothing in the kernel's tables says: where its image lies, and how wide arm64's addresses are.
STAYS = re.compile(rb"OSRELEASE|KERNELOFFSET|PAGESIZE|CRASHTIME|BUILD-ID|"
                   rb"NUMBER\((phys_base|VA_BITS|TCR_EL1_T1SZ|kimage_voffset|PHYS_OFFSET)\)")


def tamis_json(tamis, *words):
    """What the tool prints as JSON."""
    done = subprocess.run([tamis, *map(str, words)], capture_output=True, timeout=600)
    if not done.stdout:
        raise VmError(f"while running {' '.join(map(str, words))}: {done.stderr.decode()}")
    return json.loads(done.stdout)


def hold_against_drgn(vmcore, vmlinux, tamis, report):
    """Symbols, tasks, modules, members of structures."""
    import drgn
    from drgn.helpers.linux import for_each_task, list_for_each_entry, task_state_to_char
    prog = drgn.Program()
    prog.set_core_dump(vmcore)
    prog.load_debug_info([vmlinux])

    tasks = {task.value_(): (task.pid.value_(), task.tgid.value_(), task.comm.string_().decode(),
                             task_state_to_char(task), not task.mm)
             for task in for_each_task(prog)}
    found = {int(task["task"], 16): (task["pid"], task["tgid"], task["name"], task["state"],
                                     task["kernel"])
             for task in tamis_json(tamis, "tasks", "--json", vmcore)["tasks"]}
    # drgn leaves out the idle task.
    idle = found.pop(prog["init_task"].address_of_().value_(), None)
    report.check(found == tasks and idle is not None, "tasks", f"{len(tasks)} of drgn, "
                 f"{len(set(found.items()) & set(tasks.items()))} the same")

    modules = [(module.name.string_().decode(), module.value_()) for module in list_for_each_entry(
        "struct module", prog["modules"].address_of_(), "list")]
    found = [(module["name"], int(module["module"], 16))
             for module in tamis_json(tamis, "modules", "--json", vmcore)["modules"]]
    report.check(found == modules, "modules", f"{len(modules)} of drgn, {len(found)} found")

    names = {}
    for symbol in prog.symbols():
        names.setdefault(symbol.name, set()).add(symbol.address)
    random.seed(1)
    unique = sorted(name for name, at in names.items() if len(at) == 1 and name.isidentifier())
    same = asked = 0
    for name in random.sample(unique, 100):
        done = subprocess.run([tamis, "sym", "--json", vmcore, name], capture_output=True)
        symbols = json.loads(done.stdout)["symbols"]
        # Not all symbols of the file are in the table.
        if symbols:
            asked += 1
            same += {int(symbol["address"], 16) for symbol in symbols} == names[name]
    report.check(same == asked > 50, "symbols", f"{asked} looked up, {same} the same")

    stacks(prog, drgn, vmcore, tamis, report)
    slab_caches(prog, vmcore, tamis, report)
    usage(prog, vmcore, tamis, report)

    same, different = 0, []
    for task in random.sample(sorted(tasks), 10):
        object_ = drgn.Object(prog, "struct task_struct", address=task)
        value = tamis_json(tamis, "print", "--json", vmcore,
                           f"*(struct task_struct *){task:#x}")["value"]
        for path, wanted in numbers(object_, drgn):
            got = value
            for word in path:
                got = got.get(word) if isinstance(got, dict) else None
            got = int(got, 0) if isinstance(got, str) and got[:2] in ("0x", "-0") else got
            if got == wanted:
                same += 1
            else:
                different.append((".".join(path), wanted, got))
    report.check(same > 1000 and not different, "members of struct task_struct",
                 f"{same} numbers and pointers the same, {len(different)} different {different[:3]}")


def stacks(prog, drgn, vmcore, tamis, report):
    """Stacks of all tasks, frame by frame; what was inlined is no frame of its own."""
    found = tamis_json(tamis, "bt", "--all", "--json", vmcore)["stacks"]
    same = marked = frames = 0
    different, unmarked = [], []
    for stack in found:
        name = f"{stack['name']} ({stack['pid']})"
        try:
            task = drgn.Object(prog, "struct task_struct *", int(stack["task"], 16))
            wanted = [frame.pc for frame in prog.stack_trace(task)
                      if not frame.is_inline and frame.pc >> 63]
        except (ValueError, LookupError) as error:
            wanted = [str(error)]
        got = [int(frame["address"], 16) for frame in stack["frames"]]
        frames += len(got)
        guessed = stack["error"] or any(frame["guessed"] for frame in stack["frames"])
        marked += bool(guessed)
        same += got == wanted
        if got != wanted:
            different.append(name)
            if not guessed:
                unmarked.append(name)
    report.check(same >= 0.95 * len(found) > 10 and not unmarked, "stacks",
                 f"{len(found)} stacks, {frames} frames, {same} stacks the same, {marked} with "
                 f"guessed frames, different: {different[:5]}, of these not marked: {unmarked[:5]}")


def slab_caches(prog, vmcore, tamis, report):
    """Slab caches: slabs, objects, and those in use."""
    from drgn.helpers.linux import (for_each_online_cpu, for_each_possible_cpu, for_each_slab_cache,
                                    slab_cache_for_each_allocated_object, slab_cache_usage)
    wanted = {}
    for cache in for_each_slab_cache(prog):
        use = slab_cache_usage(cache)
        wanted[cache.value_()] = (cache.name.string_().decode(), use.num_slabs, use.num_objs)
    found = {int(cache["cache"], 16): cache
             for cache in tamis_json(tamis, "slabs", "--json", vmcore)["caches"]}
    got = {at: (cache["name"], cache["slabs"], cache["objects"]) for at, cache in found.items()}
    different = [(wanted.get(at), got.get(at)) for at in {*wanted, *got}
                 if wanted.get(at) != got.get(at)]
    report.check(len(wanted) > 50 and not different, "slab caches",
                 f"{len(wanted)} of drgn, {len(different)} different {different[:3]}")
    if [*for_each_online_cpu(prog)] != [*for_each_possible_cpu(prog)]:
        # What a CPU that was stopped by the panic holds ready is in use to drgn.
        return
    # Object by object: what drgn itself sums up leaves out some that a CPU holds ready.
    caches = [cache for cache in for_each_slab_cache(prog)
              if 0 < wanted[cache.value_()][2] < 2000]
    random.seed(2)
    different = []
    for cache in random.sample(caches, min(30, len(caches))):
        used = sum(1 for _ in slab_cache_for_each_allocated_object(cache, "char"))
        if used != found.get(cache.value_(), {}).get("in_use"):
            different.append((wanted[cache.value_()], used, found.get(cache.value_())))
    report.check(not different, "objects in use",
                 f"of {min(30, len(caches))} caches, {len(different)} different {different[:3]}")


def resident(task):
    """Pages of a process: of files, anonymous, shared, swapped out."""
    import drgn
    from drgn.helpers.linux import for_each_possible_cpu, per_cpu_ptr, task_rss
    stat = task.mm.rss_stat
    if stat.type_.kind != drgn.TypeKind.ARRAY:
        rss = task_rss(task)
        return rss.file, rss.anon, rss.shmem, rss.swap
    # drgn leaves out CPUs that were stopped by the panic.
    cpus = list(for_each_possible_cpu(task.prog_))
    file, anon, swap, shmem = (
        counter.count.value_() + sum(per_cpu_ptr(counter.counters, cpu)[0].value_() for cpu in cpus)
        for counter in stat)
    return file, anon, shmem, swap


def usage(prog, vmcore, tamis, report):
    """Memory of processes, and files in the page cache."""
    from drgn.helpers.linux import for_each_task, inode_path, list_for_each_entry
    found = tamis_json(tamis, "top", "-n", "1000000", "--json", vmcore)
    page = prog["PAGE_SIZE"].value_()
    wanted = {}
    for task in for_each_task(prog):
        if task.mm and task.pid == task.tgid:
            wanted[task.pid.value_()] = tuple(page * pages for pages in resident(task))
    got = {one["pid"]: (one["file"], one["anonymous"], one["shared"], one["swapped"])
           for one in found["processes"]}
    different = [(pid, wanted.get(pid), got.get(pid)) for pid in {*wanted, *got}
                 if wanted.get(pid) != got.get(pid)]
    report.check(wanted and not different, "memory of processes",
                 f"{len(wanted)} of drgn, {len(different)} different {different[:3]}")
    wanted = []
    for block in list_for_each_entry("struct super_block", prog["super_blocks"].address_of_(),
                                     "s_list"):
        for inode in list_for_each_entry("struct inode", block.s_inodes.address_of_(),
                                         "i_sb_list"):
            pages = inode.i_mapping.nrpages.value_() if inode.i_mapping else 0
            if pages:
                path = inode_path(inode)
                wanted.append((page * pages, block.s_type.name.string_().decode(),
                               block.s_id.string_().decode(), inode.i_ino.value_(),
                               path and path.decode() or None))
    # drgn leaves the first slash out.
    got = [(one["bytes"], one["file_system"], one["device"], one["inode"],
            one["path"] and one["path"].removeprefix("/")) for one in found["files"]]
    different = sorted({*wanted} ^ {*got}, key=str)
    report.check(len(wanted) > 5 and not different, "files in the page cache",
                 f"{len(wanted)} of drgn, {len(different)} different {different[:4]}")
    by_name = {one["what"]: one["bytes"] for one in found["memory"]}
    counted = {"free": "NR_FREE_PAGES", "page cache": "NR_FILE_PAGES",
               "anonymous memory": "NR_ANON_MAPPED", "page tables": "NR_PAGETABLE"}
    different = []
    for what, item in counted.items():
        try:
            item = prog.constant(item)
            # Before 5.11, page tables are counted by zones.
            array = "vm_zone_stat" if item.type_.tag == "zone_stat_item" else "vm_node_stat"
            value = page * prog[array][item].counter.value_()
        except LookupError:
            continue
        if by_name.get(what) != value:
            different.append((what, value, by_name.get(what)))
    report.check(not different, "what the kernel counts", f"{different}")


def numbers(object_, drgn, path=()):
    """All numbers and pointers of a structure, not those in arrays."""
    kind = object_.type_
    while kind.kind == drgn.TypeKind.TYPEDEF:
        kind = kind.type
    if kind.kind in (drgn.TypeKind.STRUCT, drgn.TypeKind.UNION):
        for member in kind.members or ():
            if member.name is None:
                at = object_.address_ + member.bit_offset // 8
                yield from numbers(drgn.Object(object_.prog_, member.type, address=at), drgn, path)
            else:
                yield from numbers(object_.member_(member.name), drgn, (*path, member.name))
    elif kind.kind in (drgn.TypeKind.INT, drgn.TypeKind.POINTER):
        yield path, object_.value_()


def keys_of(text):
    """Keys of VMCOREINFO, and their values."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def out_of_vmlinux(vmcore, vmlinux, work, tamis, capture, report):
    """VMCOREINFO made out of the vmlinux, against the kernel's own; captures with it alone."""
    file = work / "vmcoreinfo"
    run([tamis, "vmcoreinfo", "-f", "-x", vmlinux, "-o", file], "making VMCOREINFO out of a vmlinux")
    made = keys_of(file.read_text())
    own = keys_of(run([tamis, "vmcoreinfo", vmcore], "reading VMCOREINFO").stdout)
    moved = int(own.get("KERNELOFFSET", "0"), 16)
    same, different = 0, []
    for key in {*made} & {*own}:
        value = made[key]
        if key.startswith("SYMBOL("):
            value = f"{(int(value, 16) + moved) % 2**64:x}"
        # The kernel has what this pointer points to, the file the pointer itself.
        if key != "SYMBOL(mem_section)":
            same += value == own[key]
            different += [(key, value, own[key])] if value != own[key] else []
    report.check(same > 60 and not different, "VMCOREINFO out of the vmlinux",
                 f"{same} keys the same, {len(different)} different {different[:3]}")
    copy, whole, alone = work / "vmcore", work / "whole", work / "alone"
    shutil.copyfile(vmcore, copy)
    with open(copy, "r+b") as bare:
        head = bare.read(1 << 20)
        start = head.index(b"OSRELEASE=")
        text = head[start:head.index(b"\0", start)]
        bare.seek(start)
        # All that the file has goes; what the kernel knows only when it runs stays.
        bare.write(b"\n".join(
            b"#" * len(line) if line.split(b"=")[0].decode() in made and not STAYS.match(line) else line
            for line in text.split(b"\n")))
    run([capture, "-f", "-l", "-d", "31", vmcore, whole], "capturing")
    run([capture, "-f", "-l", "-d", "31", "-i", file, copy, alone], "capturing with -i")
    # Their VMCOREINFO differs.
    pages = json.loads(run([tamis, "diff", "--json", whole, alone], "comparing", ok=(1,)).stdout)["pages"]
    same = pages.pop("same")
    report.check(same > 1000 and not any(pages.values()), "a capture by the file alone",
                 f"{same} pages the same, others: {pages}")
    for name in (copy, whole, alone):
        name.unlink()


def without_keys(vmcore, work, tamis, report):
    """The classes of all pages, without each key of VMCOREINFO and without all of them."""
    copy = work / "vmcore"
    shutil.copyfile(vmcore, copy)

    def classes():
        done = subprocess.run([tamis, "pages", "--json", copy], capture_output=True, timeout=600)
        return done.returncode, hashlib.sha256(done.stdout).hexdigest(), done.stderr.decode()

    whole = classes()
    with open(copy, "r+b") as file:
        head = file.read(1 << 20)
        start = head.index(b"OSRELEASE=")
        text = head[start:head.index(b"\0", start)]
        at, tried, different = start, 0, []

        def put(place, what):
            file.seek(place)
            file.write(what)
            file.flush()

        for line in text.split(b"\n"):
            if line and not STAYS.match(line):
                put(at, b"#")
                tried += 1
                if classes()[:2] != whole[:2]:
                    different.append(line.decode())
                put(at, line[:1])
            at += len(line) + 1
        report.check(not different, "classes without one key",
                     f"{tried} keys tried, {len(different)} change the classes {different[:3]}")
        lines = [line if not line or STAYS.match(line) else b"#" + line[1:]
                 for line in text.split(b"\n")]
        put(start, b"\n".join(lines))
        bare = classes()
    report.check(bare[:2] == whole[:2], "classes without all of them", " ".join(bare[2].split()))
    copy.unlink()


def check(home, one, tamis, capture, report):
    """All of it, of one vmcore."""
    vmlinux = packages.debug_vmlinux(kernel_of(home, one))
    vmcore = home / "vmcore"
    work = home / "symbols"
    work.mkdir(exist_ok=True)
    say(f"{one.name}: by the kernel's own symbols and types")
    hold_against_drgn(vmcore, vmlinux, tamis, report)
    out_of_vmlinux(vmcore, vmlinux, work, tamis, capture, report)
    without_keys(vmcore, work, tamis, report)
    shutil.rmtree(work)
