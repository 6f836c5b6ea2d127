"""The known runs: which kernel, which guest, which reference tool may judge it."""

from dataclasses import dataclass


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


KERNELS = {
    "5.10": (["bullseye-security", "bullseye"], r"linux-image-5\.10\.[0-9.+a-z-]*cloud-amd64"),
    "6.1": (["bookworm-security", "bookworm"], r"linux-image-6\.1\.[0-9.+a-z-]*cloud-amd64"),
    "6.12": (["trixie-security", "trixie"], r"linux-image-6\.12\.[0-9.+a-z-]*cloud-amd64"),
    "7.2": (["sid"], r"linux-image-7\.2\.[0-9.+a-z-]*cloud-amd64"),
}
"""Kernel -> suites to look in, in this order, and the image package's name."""

RUNS = {run.name: run for run in [
    Run("5.10", "5.10", "5.10 of bullseye: page types as negative map counts", reference="bookworm"),
    Run("6.1", "6.1", "6.1 of bookworm: compound_dtor, no PG_hwpoison", reference="bookworm"),
    Run("6.12", "6.12", "6.12 of trixie: page types in the top byte", reference="sid"),
    # QEMU 7.2 hangs 7.x kernels that have more than one CPU.
    Run("7.2", "7.2", "7.2 of sid: compound_info; no reference tool knows it", smp=1),
    Run("6.1-3g", "6.1", "6.1 with 3 GB, for figures of speed", memory_mib=3072,
        crashkernel="192M", load_mib=2200, reference="bookworm"),
]}
