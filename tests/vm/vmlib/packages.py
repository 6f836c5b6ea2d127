"""Debian packages of other suites, without touching the system's own apt.

Every suite gets a private apt directory (sources, lists, an empty dpkg status) below the state
directory. Packages are downloaded and unpacked there, never installed: kernels, a newer
makedumpfile with the libraries it was linked with, busybox, debug symbols. The archive's address
is the one the system's apt already uses. Only the few SYSTEM_PACKAGES are really installed.
"""

import gzip
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from .common import VmError, replace_file, run, say, state_dir
from .runs import MACHINES

SYSTEM_PACKAGES = {
    "qemu-system-x86": "qemu-system-x86_64",
    "e2fsprogs": "mkfs.ext4",
    "musl-tools": "musl-gcc",
    "kmod": "depmod",
    "fdisk": "sfdisk",
    "xfsprogs": "mkfs.xfs",
    "dosfstools": "mkfs.vfat",
    "btrfs-progs": "mkfs.btrfs",
}
"""Package to install -> the program or file that shows it is there."""

ARCH_PACKAGES = {
    "arm64": {"qemu-system-arm": "qemu-system-aarch64", "qemu-user-static": "qemu-aarch64-static"},
    "armhf": {"qemu-system-arm": "qemu-system-arm", "qemu-user-static": "qemu-arm-static",
              "gcc-arm-linux-gnueabihf": "arm-linux-gnueabihf-gcc",
              "libc6-dev-armhf-cross": "/usr/arm-linux-gnueabihf/lib/crti.o"},
    "i386": {"qemu-user-static": "qemu-i386-static"},
    "loong64": {"qemu-user-static": "qemu-loongarch64-static"},
    "riscv64": {"qemu-user-static": "qemu-riscv64-static"},
    "s390x": {"qemu-user-static": "qemu-s390x-static"},
    "ppc64el": {"qemu-system-ppc": "qemu-system-ppc64", "qemu-user-static": "qemu-ppc64le-static"},
}
"""What guests of an architecture need as well."""

LISTS_MAX_AGE = 7 * 86400
"""Private package lists older than this are fetched again."""

MAKEDUMPFILE_LIBS = {
    "bookworm": ["libc6", "libdw1", "libelf1"],
    "sid": ["libc6", "libdw1t64", "libelf1t64"],
}
XEN_LIBS = ["libxenmisc4.17", "libxencall1", "libxentoollog1", "libxentoolcore1", "libxenforeignmemory1",
            "libxengnttab1", "libxenevtchn1", "libxendevicemodel1", "libxenstore4"]
"""What Debian has linked kexec with where Xen exists: not on i386 and ppc64el."""
COMMON_LIBS = ["liblzo2-2", "libsnappy1v5", "libzstd1", "zlib1g", "libbz2-1.0", "liblzma5",
               "libstdc++6", "libgcc-s1"]


def archive_uris():
    """The addresses of the Debian archive and of its security archive, as the system's apt has them."""
    listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(LABEL)",
                  "Created-By: Packages"], "asking apt for the Debian archive it uses",
                 hint="this needs Debian (apt); run `apt-get update` once").stdout
    by_label = {}
    for line in listed.splitlines():
        uri, _, label = line.partition("|")
        by_label.setdefault(label, uri)
    if "Debian" not in by_label:
        raise VmError("while looking for the Debian archive: apt has no lists labelled Debian\n"
                      "  next: run `apt-get update`, then again")
    main = by_label["Debian"]
    security = by_label.get("Debian-Security", main.rstrip("/") + "-security/")
    return main, security


def own_name(name, arch):
    """A folder's name for things that every architecture has its own of."""
    return name if arch == "amd64" else f"{name}-{arch}"


class Suite:
    """One suite of the archive, seen through a private apt directory."""

    def __init__(self, name, arch="amd64"):
        self.name = name
        self.arch = arch
        self.home = state_dir() / "apt" / own_name(name, arch)
        self.debs = state_dir() / "debs"

    def _options(self):
        home = self.home
        options = {
            "Dir::Etc::sourcelist": home / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
            "Dir::State": home / "state",
            "Dir::State::lists": home / "lists",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "APT::Sandbox::User": "root",
            "APT::Architecture": self.arch,
            "APT::Architectures": self.arch,
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]

    def prepare(self, refresh=False):
        """Write the private sources and fetch the package lists if they are missing or old."""
        stamp = self.home / "updated"
        fresh = stamp.exists() and time.time() - stamp.stat().st_mtime < LISTS_MAX_AGE
        if fresh and not refresh:
            return
        main, security = archive_uris()
        for part in ("state", "lists/partial", "cache/archives/partial"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        (self.home / "status").write_text("")
        source = (security, self.name) if self.name.endswith("-security") else (main, self.name)
        (self.home / "sources.list").write_text(f"deb {source[0]} {source[1]} main\n")
        say(f"fetching the package lists of {self.name}")
        run(["apt-get", *self._options(), "update"], f"fetching the package lists of {self.name}",
            timeout=300, hint="check the network and that the archive still has this suite")
        stamp.touch()

    def names(self, pattern):
        """Names of the packages matching a regular expression."""
        self.prepare()
        found = run(["apt-cache", *self._options(), "pkgnames"],
                    f"listing the packages of {self.name}").stdout.split()
        return sorted(name for name in found if re.fullmatch(pattern, name))

    def version(self, package):
        """The version of a package in this suite, or None."""
        self.prepare()
        shown = run(["apt-cache", *self._options(), "show", "--no-all-versions", package],
                    f"asking for {package} in {self.name}", ok=(0, 100)).stdout
        found = re.search(r"^Version: (.*)$", shown, re.M)
        return found.group(1) if found else None

    def depends(self, package):
        """The packages a package depends on (first alternatives)."""
        shown = run(["apt-cache", *self._options(), "show", "--no-all-versions", package],
                    f"asking for {package} in {self.name}").stdout
        found = re.search(r"^Depends: (.*)$", shown, re.M)
        words = found.group(1).split(",") if found else []
        return [re.split(r"[ (:|]", word.strip())[0] for word in words]

    def fetch(self, package):
        """Download a package of this suite into the cache (once); returns the .deb's path."""
        version = self.version(package)
        if version is None:
            raise VmError(f"while downloading {package}: {self.name} has no such package\n"
                          f"  next: `vm setup --refresh`, or see which are there with a search "
                          f"of the archive")
        self.debs.mkdir(parents=True, exist_ok=True)
        quoted = version.replace(":", "%3a")
        for arch in (self.arch, "all"):
            deb = self.debs / f"{package}_{quoted}_{arch}.deb"
            if deb.exists():
                return deb
        say(f"downloading {package} {version} ({self.name})")
        try:
            run(["apt-get", *self._options(), "download", f"{package}={version}"],
                f"downloading {package} from {self.name}", timeout=1200, cwd=self.debs,
                hint="`vm setup --refresh` fetches the package lists anew")
        except VmError:
            (self.home / "updated").unlink(missing_ok=True)
            raise
        for arch in (self.arch, "all"):
            deb = self.debs / f"{package}_{quoted}_{arch}.deb"
            if deb.exists():
                return deb
        raise VmError(f"while downloading {package}: apt-get left no {package}_{quoted}_*.deb "
                      f"in {self.debs}")

    def unpack(self, packages, root):
        """Unpack packages below `root` (made anew), each once."""
        debs = [self.fetch(package) for package in packages]
        partial = root.with_name(root.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for deb in debs:
            run(["dpkg", "-x", deb, partial], f"unpacking {deb.name}", timeout=900)
        shutil.rmtree(root, ignore_errors=True)
        partial.rename(root)


def install_system_packages(arches=("amd64",)):
    """Install what has to be installed, and only if it is missing."""
    wanted = dict(SYSTEM_PACKAGES)
    for arch in arches:
        wanted.update(ARCH_PACKAGES.get(arch, {}))
    missing = [name for name, program in wanted.items()
               if not (shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
                       or os.path.exists(program))]
    try:
        import ensurepip  # noqa: F401  (Debian splits it off into python3-venv)
    except ImportError:
        missing.append("python3-venv")
    if not missing:
        return
    if os.geteuid() != 0:
        raise VmError(f"while installing {' '.join(missing)}: this needs root\n"
                      f"  next: apt-get install {' '.join(missing)}")
    say(f"installing {' '.join(missing)}")
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "-y", "--no-install-recommends"]
    run(["apt-get", "update"], "updating the package lists", timeout=300)
    simulated = run([*install, "-s", *missing], "trying the installation", ok=(0, 100))
    if simulated.returncode != 0 and "qemu-system-x86" in missing:
        # A qemu-utils of backports bars the stable QEMU: take both from the stable suite.
        missing += ["--allow-downgrades", f"qemu-utils/{host_codename()}"]
    run([*install, *missing], f"installing {' '.join(missing)}", timeout=1200, env=env,
        hint="install these packages by hand, then run setup again")


def host_codename():
    """The code name of the Debian this runs on."""
    with open("/etc/os-release", encoding="utf-8") as release:
        found = re.search(r"^VERSION_CODENAME=(\w+)", release.read(), re.M)
    if not found:
        raise VmError("while looking for the Debian release: /etc/os-release names none")
    return found.group(1)


def busybox(arch="amd64"):
    """The path of a static busybox (unpacked, not installed)."""
    root = state_dir() / "tools" / own_name("busybox", arch)
    if not root.exists():
        Suite(MACHINES[arch].suite, arch).unpack(["busybox-static"], root)
    for path in ("bin/busybox", "usr/bin/busybox"):
        if (root / path).exists():
            return root / path
    raise VmError(f"while looking for busybox: {root} holds none\n  next: remove it, run again")


def unpacked_tool(suite, packages, program, arch="amd64"):
    """Unpack a program with its libraries; returns the argv that runs it with its own loader."""
    machine = MACHINES[arch]
    root = state_dir() / "tools" / own_name(f"{os.path.basename(program)}-{suite}", arch)
    if not root.exists():
        Suite(suite, arch).unpack(packages, root)
    name = os.path.basename(machine.loader)
    loaders = [root / machine.loader, root / "usr" / machine.loader,
               root / "lib" / machine.libraries / name]
    loader = next((path for path in loaders if path.exists()), loaders[-1])
    libraries = ":".join(str(root / part / machine.libraries) for part in ("lib", "usr/lib"))
    return [*machine.user, str(loader), "--library-path", libraries, str(root / program)]


def makedumpfile(suite, arch="amd64"):
    """The argv of the suite's makedumpfile: 1.7.2 of bookworm, 1.7.8 or newer of sid."""
    return unpacked_tool(suite, ["makedumpfile", *MAKEDUMPFILE_LIBS[suite], *COMMON_LIBS],
                         "usr/bin/makedumpfile", arch)


def makedumpfile_version(suite, arch="amd64"):
    """What the suite's makedumpfile says it is."""
    said = run([*makedumpfile(suite, arch), "-v"],
               f"asking the makedumpfile of {suite} its version",
               hint=f"remove {state_dir() / 'tools'} and run setup again")
    found = re.search(r"version (\S+)", said.stdout + said.stderr)
    if not found:
        raise VmError(f"while asking the makedumpfile of {suite} its version: it said\n"
                      f"{said.stdout}{said.stderr}")
    return found.group(1)


def kexec(arch):
    """kexec(8) and what it is linked with, by name, for a guest whose kernel has no
    kexec_file_load(2); and the argv that runs it there, all of them being in /bin."""
    suite = MACHINES[arch].suite
    if suite == "bookworm":
        xen = [] if arch in ("i386", "ppc64el") else XEN_LIBS
        needed, program = ["libc6", "liblzma5", "zlib1g", *xen], "sbin/kexec"
    else:
        needed, program = ["libc6", "liblzma5", "zlib1g", "libzstd1"], "usr/sbin/kexec"
    argv = unpacked_tool(suite, ["kexec-tools", *needed], program, arch)
    listed = run([*argv[:-1], "--list", argv[-1]], "asking what kexec is linked with").stdout
    found = [Path(path) for path in re.findall(r"=> (/\S+)", listed)]
    loader = Path(argv[-4])
    programs = {path.name: path for path in [Path(argv[-1]), loader, *found]}
    return programs, ["/bin/" + loader.name, "--library-path", "/bin", "/bin/kexec"]


def unzstd(data):
    """What zstd packed."""
    return run(["zstd", "-dcq"], "unpacking a kernel image", text=False, errors=None, stdin=None, input=data,
               hint="apt-get install zstd").stdout


def firmware(machine):
    """The arguments that give an emulator its firmware."""
    if not machine.firmware:
        return ()
    suite, package, name = machine.firmware
    root = state_dir() / "tools" / package
    if not root.exists():
        Suite(suite).unpack([package], root)
    if not (root / name).exists():
        raise VmError(f"while looking for the firmware of {machine.debian}: {root} has no {name}\n"
                      f"  next: see where {package} has it now, and say so in vmlib/runs.py")
    return ("-bios", root / name)


def emulator(machine):
    """The argv of a machine's emulator. One that is not installed has its files with it."""
    if not machine.emulator:
        return machine.qemu
    root = state_dir() / "tools" / "qemu-bookworm-backports"
    if not (root / "usr/bin" / machine.qemu[0]).exists():
        parts = sorted({other.emulator for other in MACHINES.values() if other.emulator})
        Suite("bookworm-backports").unpack([*parts, "qemu-system-data", "qemu-system-common"], root)
    folders = (root / "usr/share/qemu", "/usr/share/qemu", "/usr/share/seabios")
    return (root / "usr/bin" / machine.qemu[0], *(word for path in folders for word in ("-L", path)),
            *machine.qemu[1:], *firmware(machine))


class Kernel:
    """An unpacked kernel: its release, image and modules."""

    def __init__(self, home):
        self.home = home
        info = json.loads((home / "info.json").read_text())
        self.suite = info["suite"]
        self.arch = info.get("arch", "amd64")
        self.package = info["package"]
        self.version = info["version"]
        self.release = info["release"]
        self.image = home / info["image"]
        self.modules = home / info["modules"]

    def plain_image(self):
        """The image without what unpacks it where there is EFI: emulators and kexec(8) of some machines take no
        other one."""
        data = self.image.read_bytes()
        if data[4:8] != b"zimg":
            return self.image
        at, size = struct.unpack_from("<2I", data, 8)
        kind = data[24:56].split(b"\0")[0].decode()
        unpackers = {"gzip": gzip.decompress, "xzkern": lzma.decompress, "lzma": lzma.decompress, "zstd22": unzstd,
                     "zstd": unzstd}
        if kind not in unpackers:
            raise VmError(f"while unpacking {self.image}: no decoder for {kind} here")
        path = self.home / "Image"
        replace_file(path, unpackers[kind](data[at:at + size]))
        return path

    def module_bytes(self, path):
        """A module's ELF file, unpacked."""
        data = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(data)
        if path.suffix != ".ko":
            raise VmError(f"while reading {path.name}: no decoder for {path.suffix} modules here")
        return data

    def with_dependencies(self):
        """The modules' folder, with the tables that depmod makes when a kernel is installed."""
        if not (self.modules / "modules.builtin").exists():
            raise VmError(f"while looking for the modules of {self.release}: {self.modules} has no "
                          f"modules.builtin\n  next: `vm setup --refresh {self.home.name}`")
        if not (self.modules / "modules.dep").exists():
            root = self.home / "root"
            if not (root / "lib").exists():
                (root / "lib").symlink_to("usr/lib")
            depmod = shutil.which("depmod") or shutil.which("depmod", path="/usr/sbin:/sbin")
            run([depmod or "depmod", "-b", root, self.release],
                f"making the module dependencies of {self.release}",
                hint="`vm setup` installs kmod, whose depmod does this")
        return self.modules

    def modules_in_order(self, wanted):
        """(name, bytes) of the wanted modules after all they depend on; built-in ones are left out."""
        paths = {path.name.split(".ko")[0].replace("-", "_"): path
                 for path in self.modules.rglob("*.ko*")}
        done, order = set(), []

        def visit(name):
            name = name.replace("-", "_")
            if name in done or name not in paths:
                return
            done.add(name)
            data = self.module_bytes(paths[name])
            found = re.search(rb"\0depends=([^\0]*)\0", data)
            for needed in (found.group(1).decode().split(",") if found else []):
                if needed:
                    visit(needed)
            order.append((name, data))

        for name in wanted:
            visit(name)
        return order


def kernel(name, suites, pattern, arch="amd64", refresh=False):
    """The kernel of a run, downloaded and unpacked if it is not there yet.

    `suites` are tried in order; `pattern` matches the image package's name; the highest version
    of the first suite that has one is taken, or the next one if that cannot be had. A kernel once unpacked stays until `refresh`.
    """
    home = state_dir() / "kernels" / name
    if (home / "info.json").exists() and not refresh:
        return Kernel(home)
    for suite_name in suites:
        suite = Suite(suite_name, arch)
        suite.prepare(refresh)
        found = suite.names(pattern)
        if found:
            break
    else:
        raise VmError(f"while looking for kernel {name}: no package {pattern} in "
                      f"{', '.join(suites)}\n  next: change the pattern in vmlib/runs.py to a "
                      f"kernel the suite has now")
    found.sort(key=lambda text: [int(word) for word in re.findall(r"\d+", text)])
    while True:
        package = found.pop()
        packages = [package]
        # From 7.x on the image package only pulls in the parts.
        parts = [part for part in suite.depends(package) if re.match(r"linux-(base|binary|modules)-\d", part)]
        # linux-base has no more than what the kernel's package says at its installation; old ones go from the archive.
        packages += [part for part in parts if not part.startswith("linux-base-") or suite.version(part)]
        try:
            suite.unpack(packages, home / "root")
            break
        except VmError as error:
            # The newest one may be in the lists before it is in the archive.
            if not found:
                raise
            doing = str(error).partition(":")[0]
            say(f"failed {doing}: taking {found[-1]}")
    images = [path for path in [*(home / "root").glob("boot/vmlinu[xz]-*"),
                                *(home / "root").glob("**/lib/modules/*/vmlinuz")]]
    modules = [path for path in (home / "root").glob("**/lib/modules/*") if (path / "kernel").exists()]
    if len(images) != 1 or len(modules) != 1:
        raise VmError(f"while unpacking {' '.join(packages)}: expected one kernel image and one "
                      f"modules folder below {home / 'root'}, found {len(images)} and "
                      f"{len(modules)}\n  next: look there; the packaging may have changed")
    replace_file(home / "info.json", json.dumps({
        "suite": suite_name, "arch": arch, "package": package, "version": suite.version(package),
        "release": modules[0].name, "image": str(images[0].relative_to(home)),
        "modules": str(modules[0].relative_to(home))}, indent=1) + "\n")
    return Kernel(home)


def debug_packages(one):
    """Names of a kernel's packages with debug information."""
    return Suite(one.suite, one.arch).names(
        rf"linux-(image|binary|modules)-{re.escape(one.release)}(-unsigned)?-dbg")


def has_debug_vmlinux(one):
    """Whether the kernel's debug information is at hand or in the archive."""
    return (one.home / f"vmlinux-{one.release}").exists() or bool(debug_packages(one))


def debug_vmlinux(one):
    """The kernel's vmlinux with debug information, out of its -dbg package (some 300 MB, once)."""
    path = one.home / f"vmlinux-{one.release}"
    if path.exists():
        return path
    suite, names = Suite(one.suite, one.arch), debug_packages(one)
    if not names:
        raise VmError(f"while looking for the debug symbols of {one.release}: {one.suite} has no "
                      f"such -dbg package any more\n  next: `vm setup --refresh {one.home.name}`, "
                      f"then `vm raw` makes a vmcore of the newer kernel")
    for name in names:
        deb = suite.fetch(name)
        say(f"unpacking vmlinux out of {deb.name}")
        partial = path.with_name(path.name + ".partial")
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as unpacker:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
                for member in archive:
                    if member.isfile() and re.fullmatch(r"vmlinux(-.*)?", os.path.basename(member.name)):
                        with open(partial, "wb") as out:
                            shutil.copyfileobj(archive.extractfile(member), out, 1 << 20)
                        partial.rename(path)
                        break
            unpacker.kill()
        if path.exists():
            deb.unlink()
            return path
    raise VmError(f"while unpacking {' '.join(names)}: no vmlinux in there\n"
                  f"  next: look at the package with `dpkg-deb -c`; the packaging may have changed")


def venv_python():
    """The interpreter of the virtual environment with numpy, drgn and lz4."""
    return state_dir() / "venv" / "bin" / "python"


def make_venv():
    """Make the virtual environment (once)."""
    stamp = state_dir() / "venv" / "made"
    if stamp.exists():
        return
    say("making the virtual environment (numpy, drgn, lz4)")
    home = state_dir() / "venv"
    shutil.rmtree(home, ignore_errors=True)
    run([sys.executable, "-m", "venv", home], "making the virtual environment",
        hint="apt-get install python3-venv")
    run([venv_python(), "-m", "pip", "install", "-q", "numpy", "drgn", "lz4"],
        "installing numpy, drgn and lz4 into the virtual environment", timeout=900,
        hint="check that pip reaches its index")
    stamp.touch()
