"""The known runs: which kernel, which guest, which reference tool may judge it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """An architecture that guests are made of."""

    debian: str
    """Debian's name for it."""
    target: str | None
    """Rust target of the programs in the guest; without one the guest has a helper in shell, and no capture
    runs in the crash kernel."""
    qemu: tuple[str, ...]
    """The emulator, without the CPU's model."""
    console: str
    """The serial port as the kernel calls it."""
    loader: str
    """Dynamic loader in an unpacked package."""
    libraries: str
    """Folder of libraries in an unpacked package."""
    elf: int
    """Its number in ELF headers."""
    user: tuple[str, ...] = ()
    """What runs a program of this architecture on an x86_64 host."""
    kexec_file_load: bool = True
    """Whether Debian's kernels have this system call."""
    kexec: tuple[str, ...] = ()
    """More arguments for kexec(8)."""
    suite: str = "bookworm"
    """Suite whose busybox and kexec the guest has."""
    emulator: str | None = None
    """Package of bookworm-backports with an emulator that is not installed but unpacked: Debian 12's own does
    not do."""
    patience: int = 1
    """How many times as long as others a guest may take."""
    before_kexec: str = ""
    """What is done before the crash kernel is loaded."""
    firmware: tuple[str, str, str] | None = None
    """Suite, package and file of the firmware, where the emulator has none with it."""
    uname: str = ""
    """Its name as `uname -m` prints it, where that is not Debian's."""
    dumped: bool = False
    """Whether QEMU dumps the guest's memory: its kernels have no crash kernel."""

    def line(self, words):
        """A kernel command line made for amd64, with this machine's console."""
        return words.replace("ttyS0", self.console)


MACHINES = {machine.debian: machine for machine in [
    Machine("amd64", "x86_64-unknown-linux-musl",
            ("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-vga", "none"), "ttyS0",
            "lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu", 62,
            uname="x86_64"),
    Machine("arm64", "aarch64-unknown-linux-musl",
            ("qemu-system-aarch64", "-accel", "tcg,thread=multi", "-M", "virt"), "ttyAMA0",
            "lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu", 183,
            ("qemu-aarch64-static",), kexec_file_load=False, uname="aarch64"),
    Machine("i386", "i686-unknown-linux-musl",
            ("qemu-system-i386", "-accel", "tcg,thread=multi", "-vga", "none"), "ttyS0",
            "lib/ld-linux.so.2", "i386-linux-gnu", 3, ("qemu-i386-static",), kexec_file_load=False,
            uname="i686"),
    # There is no musl target for it here; -M virt: PCI has to lie below 4 GiB.
    Machine("armhf", "armv7-unknown-linux-gnueabihf",
            ("qemu-system-arm", "-accel", "tcg,thread=multi", "-M", "virt,highmem=off"), "ttyAMA0",
            "lib/ld-linux-armhf.so.3", "arm-linux-gnueabihf", 40, ("qemu-arm-static",), kexec_file_load=False,
            # The zImage would be unpacked over the initramfs.
            kexec=("--image-size=0x4000000",), uname="armv7l"),
    # Under QEMU 7.2 its crash kernel hangs. kexec(8) leaves out of the vmcore what /proc/iomem calls reserved in
    # the memory of the machine: page tables and struct pages, too.
    Machine("riscv64", None, ("qemu-system-riscv64", "-accel", "tcg,thread=multi", "-M", "virt"), "ttyS0",
            "lib/ld-linux-riscv64-lp64d.so.1", "riscv64-linux-gnu", 243, ("qemu-riscv64-static",),
            kexec_file_load=False, suite="sid", emulator="qemu-system-riscv", patience=4,
            before_kexec="sed -e '/^ *80000000-/b' -e '/^ .*Reserved/d' /proc/iomem > /tmp/iomem\n"
                         "mount -o bind /tmp/iomem /proc/iomem"),
    # Debian's kernels for it are built without CRASH_DUMP.
    Machine("s390x", None, ("qemu-system-s390x", "-accel", "tcg,thread=multi"), "ttysclp0",
            "lib/ld64.so.1", "s390x-linux-gnu", 22, ("qemu-s390x-static",),
            emulator="qemu-system-s390x", patience=4, dumped=True),
    # Without firmware it finds no disk. Its crash kernel ends the machine before it says a word.
    Machine("loong64", None, ("qemu-system-loongarch64", "-accel", "tcg,thread=multi", "-M", "virt"), "ttyS0",
            "lib64/ld-linux-loongarch-lp64d.so.1", "loongarch64-linux-gnu", 258, ("qemu-loongarch64-static",),
            kexec_file_load=False, suite="sid", emulator="qemu-system-misc", patience=4, dumped=True,
            firmware=("trixie", "qemu-efi-loongarch64", "usr/share/qemu-efi-loongarch64/QEMU_EFI.fd"),
            uname="loongarch64"),
    Machine("ppc64el", None, ("qemu-system-ppc64", "-accel", "tcg,thread=multi", "-vga", "none"), "hvc0",
            "lib64/ld64.so.2", "powerpc64le-linux-gnu", 21, ("qemu-ppc64le-static",),
            kexec_file_load=False, patience=4, uname="ppc64le"),
]}


@dataclass(frozen=True)
class Run:
    """One crash of one kernel."""

    name: str
    kernel: str
    """Key of KERNELS."""
    about: str
    memory_mib: int = 512
    smp: int = 2
    crashkernel: str = "160M"
    load_mib: int = 200
    """How much memory the load takes; below what the guest has left beside the crash kernel."""
    reference: str | None = None
    """Suite whose makedumpfile judges this kernel right, if any does."""
    cpu: str = "max"
    line: str = ""
    """More words for the command line of the kernel that crashes."""
    modules: tuple[str, ...] = ()
    """More modules for the kernel that crashes (never for the crash kernel)."""
    arch: str = "amd64"
    """Key of MACHINES."""
    page_kib: int = 4
    """KiB of a page. Of others than 4 the checks are those of `vm foreign`."""
    options: str = "-c -d 31"
    """What the capture in the crash kernel is told."""
    crash_cpus: int = 1
    """CPUs of the crash kernel."""
    whole_memory: bool = True
    """Whether what a machine does before the crash kernel is loaded is done."""
    live: bool = False
    """The workstation tool looks at the running kernel before it crashes."""
    qemu: tuple[str, ...] = ()
    """More arguments for QEMU; with `-numa` they also say where the memory comes from."""


BACKPORTS = ("6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.3")
"""Series of trixie-backports that no other suite has."""

KERNELS = {
    # The security archive has no more packages with its debug information.
    "5.10": (["bullseye"], r"linux-image-5\.10\.[0-9.+a-z-]*cloud-amd64"),
    "6.1": (["bookworm-security", "bookworm"], r"linux-image-6\.1\.[0-9.+a-z-]*cloud-amd64"),
    "6.12": (["trixie-security", "trixie"], r"linux-image-6\.12\.[0-9.+a-z-]*cloud-amd64"),
    **{series: (["trixie-backports"], rf"linux-image-{re.escape(series)}\.[0-9.+a-z-]*cloud-amd64")
       for series in BACKPORTS},
    "7.2": (["sid"], r"linux-image-7\.2\.[0-9.+a-z-]*cloud-amd64"),
    # With far more options than the cloud's, and more of it in modules.
    "6.1-full": (["bookworm-security", "bookworm"], r"linux-image-6\.1\.[0-9.-]*-amd64"),
    "6.1-rt": (["bookworm-security", "bookworm"], r"linux-image-6\.1\.[0-9.-]*-rt-amd64"),
    "6.12-full": (["trixie-security", "trixie"], r"linux-image-6\.12\.[0-9.+deb]*-amd64"),
    "6.12-rt": (["trixie-security", "trixie"], r"linux-image-6\.12\.[0-9.+deb]*-rt-amd64"),
    "arm64-6.12": (["trixie-security", "trixie"],
                   r"linux-image-6\.12\.[0-9.+a-z-]*cloud-arm64", "arm64"),
    "arm64-7.2": (["sid"], r"linux-image-7\.2\.[0-9.+a-z-]*cloud-arm64", "arm64"),
    "arm64-6.12-16k": (["trixie-security", "trixie"], r"linux-image-6\.12\.[0-9.+deb]*-arm64-16k", "arm64"),
    "i386-6.1-pae": (["bookworm"], r"linux-image-6\.1\.[0-9.+-]*-686-pae", "i386"),
    "i386-6.1": (["bookworm"], r"linux-image-6\.1\.[0-9.+-]*-686", "i386"),
    "armhf-6.12": (["trixie"], r"linux-image-6\.12\.[0-9.+deb]*-armmp", "armhf"),
    "riscv64-6.12": (["trixie"], r"linux-image-6\.12\.[0-9.+deb]*-riscv64", "riscv64"),
    "riscv64-7.2": (["sid"], r"linux-image-7\.2\.[0-9.+deb]*-riscv64", "riscv64"),
    "s390x-6.1": (["bookworm"], r"linux-image-6\.1\.[0-9.+-]*-s390x", "s390x"),
    "s390x-6.12": (["trixie"], r"linux-image-6\.12\.[0-9.+deb]*-s390x", "s390x"),
    "loong64-7.2": (["sid"], r"linux-image-7\.2\.[0-9.+deb]*-loong64", "loong64"),
    "s390x-7.2": (["sid"], r"linux-image-7\.2\.[0-9.+deb]*-s390x", "s390x"),
    "ppc64le-6.12": (["trixie"], r"linux-image-6\.12\.[0-9.+deb]*-powerpc64le", "ppc64el"),
    "ppc64le-6.12-64k": (["trixie"], r"linux-image-6\.12\.[0-9.+deb]*-powerpc64le-64k", "ppc64el"),
}
"""Kernel -> suites to look in, in this order, the image package's name, and the architecture where
it is not amd64."""

RUNS = {run.name: run for run in [
    Run("5.10", "5.10", "5.10 of bullseye: page types as negative map counts", reference="bookworm"),
    Run("6.1", "6.1", "6.1 of bookworm: compound_dtor, no PG_hwpoison", reference="bookworm"),
    Run("6.12", "6.12", "6.12 of trixie: page types in the top byte", reference="sid"),
    # QEMU 7.2 hangs 7.x kernels that have more than one CPU.
    Run("7.2", "7.2", "7.2 of sid: compound_info; no reference tool knows it", smp=1),
    *(Run(series, series, f"{series} of trixie-backports", smp=1 if series >= "7" else 2,
          reference="sid" if series == "6.16" else None) for series in BACKPORTS),
    *(Run(name, name, f"{name.split('-')[0]} of {suite}, {about}", memory_mib=640, crashkernel="224M",
          reference=judge) for name, suite, about, judge in (
        ("6.1-full", "bookworm", "not the cloud's", "bookworm"), ("6.1-rt", "bookworm", "PREEMPT_RT", "bookworm"),
        ("6.12-full", "trixie", "not the cloud's", "sid"), ("6.12-rt", "trixie", "PREEMPT_RT", "sid"))),
    Run("6.1-la48", "6.1", "6.1 with 4-level page tables", cpu="max,la57=off", reference="bookworm"),
    Run("6.12-hvo", "6.12", "6.12 with hugetlb pages that share their struct pages",
        line="hugetlb_free_vmemmap=on", reference="sid"),
    Run("7.2-hvo", "7.2", "7.2 with hugetlb pages that share their struct pages", smp=1,
        line="hugetlb_free_vmemmap=on"),
    Run("6.12-numa", "6.12", "6.12 with two nodes and a hole of 3.5 GB between them",
        memory_mib=1024, reference="sid", qemu=(
            "-M", "pc,max-ram-below-4g=512M",
            "-object", "memory-backend-ram,id=node0,size=512M", "-numa", "node,memdev=node0",
            "-object", "memory-backend-ram,id=node1,size=512M", "-numa", "node,memdev=node1")),
    Run("6.12-offline", "6.12", "6.12 with hot-plugged memory that is partly offline (virtio-mem)",
        memory_mib=512, reference="sid", line="memhp_default_state=online", modules=("virtio_mem",),
        qemu=("-m", "512M,slots=2,maxmem=2G", "-object", "memory-backend-ram,id=plugged,size=512M",
              "-device", "virtio-mem-pci,memdev=plugged,requested-size=72M")),
    Run("6.12-gigantic", "6.12", "6.12 with a hugetlb page of 1 GiB", memory_mib=2304,
        line="hugepagesz=1G hugepages=1 default_hugepagesz=2M", reference="sid"),
    Run("6.1-threads", "6.1", "6.1 whose crash kernel has two CPUs: two threads compress",
        options="-c -d 31 --num-threads 2", crash_cpus=2, reference="bookworm"),
    Run("6.1-ram", "6.1", "6.1 whose RAM is a file: what `ram.py` makes of it is /proc/vmcore",
        reference="bookworm", qemu=(
            "-M", "pc,memory-backend=ram", "-object",
            "memory-backend-file,id=ram,size=512M,mem-path={home}/ram.ram,share=on")),
    # makedumpfile up to 1.7.8 has no 4 KiB pages with 52 bits, which these kernels are built for.
    # Without "impdef" QEMU spends most of its time on pointer authentication.
    Run("arm64-6.12", "arm64-6.12", "6.12 for arm64, 52 bits of address (LPA2)", arch="arm64",
        cpu="max,pauth-impdef=on"),
    Run("arm64-7.2", "arm64-7.2", "7.2 for arm64, 52 bits of address (LPA2)", arch="arm64",
        cpu="max,pauth-impdef=on"),
    Run("arm64-6.12-a72", "arm64-6.12", "6.12 for arm64 on a CPU of 48 bits of address",
        arch="arm64", cpu="cortex-a72"),
    Run("arm64-6.12-16k", "arm64-6.12-16k", "6.12 for arm64, pages of 16 KiB, 52 bits of address (LPA2)", arch="arm64",
        cpu="max,pauth-impdef=on", memory_mib=768, crashkernel="256M", page_kib=16),
    # More memory than the direct map takes.
    Run("i386-6.1-pae", "i386-6.1-pae", "6.1 for i386 with PAE: highmem", arch="i386", memory_mib=1280,
        crashkernel="192M"),
    Run("i386-6.1", "i386-6.1", "6.1 for i386 with page tables of two levels: highmem", arch="i386",
        memory_mib=1280, crashkernel="192M"),
    Run("armhf-6.12", "armhf-6.12", "6.12 for 32-bit ARM: memory from 1 GiB on, highmem", arch="armhf",
        cpu="cortex-a15", memory_mib=1024, crashkernel="192M"),
    # With QEMU's "max" the kernel stops at a CSR that it may not read.
    Run("riscv64-6.12", "riscv64-6.12", "6.12 for riscv64, four levels of page tables", arch="riscv64",
        cpu="rv64,sv57=off", memory_mib=768, crashkernel="320M", load_mib=120, reference="sid"),
    Run("riscv64-7.2", "riscv64-7.2", "7.2 for riscv64, five levels of page tables (Sv57), Svnapot", arch="riscv64",
        cpu="rv64,svnapot=on", memory_mib=768, crashkernel="320M", load_mib=120),
    Run("riscv64-7.2-sv39", "riscv64-7.2", "7.2 for riscv64, three levels of page tables", arch="riscv64",
        cpu="rv64,sv48=off,sv57=off", memory_mib=768, crashkernel="320M", load_mib=120),
    Run("riscv64-7.2-reserved", "riscv64-7.2", "7.2 for riscv64, a vmcore without page tables and struct pages",
        arch="riscv64", cpu="rv64", memory_mib=768, crashkernel="320M", load_mib=120, whole_memory=False),
    # Virtual addresses are physical ones.
    Run("s390x-6.1", "s390x-6.1", "6.1 for s390x: big-endian, dumped by QEMU", arch="s390x", memory_mib=320,
        load_mib=120, reference="bookworm"),
    Run("s390x-6.12", "s390x-6.12", "6.12 for s390x: the kernel image has addresses of its own", arch="s390x",
        memory_mib=320, load_mib=120, reference="sid"),
    Run("s390x-7.2", "s390x-7.2", "7.2 for s390x: sections of 128 MiB", arch="s390x", memory_mib=320, load_mib=120),
    Run("loong64-7.2", "loong64-7.2", "7.2 for loongarch64: pages of 16 KiB, dumped by QEMU", arch="loong64",
        cpu="la464", memory_mib=1024, load_mib=160, page_kib=16),
    # makedumpfile 1.7.8 takes a fifth of all pages for poisoned where they have 4 KiB, of the kernel image, too.
    Run("ppc64le-6.12", "ppc64le-6.12", "6.12 for ppc64le: radix tables, pages of 4 KiB", arch="ppc64el",
        cpu="power9", memory_mib=1024, crashkernel="384M", load_mib=160),
    Run("ppc64le-6.12-64k", "ppc64le-6.12-64k", "6.12 for ppc64le: radix tables, pages of 64 KiB", arch="ppc64el",
        cpu="power9", memory_mib=1024, crashkernel="384M", load_mib=160, reference="sid"),
    # With two CPUs the crash kernel hangs now and then.
    Run("ppc64le-6.12-hash", "ppc64le-6.12-64k", "6.12 for ppc64le: hashed tables, struct pages in chunks of 64 KiB",
        arch="ppc64el", cpu="power8", smp=1, memory_mib=1024, crashkernel="384M", load_mib=160, reference="sid"),
    Run("ppc64le-6.12-hash-16m", "ppc64le-6.12-64k", "6.12 for ppc64le: struct pages in chunks of 16 MiB",
        arch="ppc64el", cpu="power8", smp=1, memory_mib=1024, crashkernel="384M", load_mib=160, reference="sid",
        qemu=("-M", "pseries,cap-hpt-max-page-size=16M")),
    Run("ppc64le-6.12-hash-4k", "ppc64le-6.12", "6.12 for ppc64le: hashed tables, pages of 4 KiB",
        arch="ppc64el", cpu="power8", smp=1, memory_mib=1024, crashkernel="384M", load_mib=160),
    *(Run(f"live-{kernel}", kernel, f"{kernel}, looked at by `tamis estimate` while it runs", live=True,
          smp=1 if kernel == "7.2" else 2) for kernel in ("5.10", "6.1", "6.12", "7.2")),
    Run("6.1-3g", "6.1", "6.1 with 3 GB, for figures of speed", memory_mib=3072,
        crashkernel="192M", load_mib=2200, reference="bookworm"),
]}
