//! What the capture program is built for, and how: with the toolchain's libraries where rustup serves them, else from
//! the source of the standard library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::run::{add_target, build, build_with};

/// A machine that the capture program is built for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The architecture, as `uname -m` prints it.
    pub arch: &'static str,
    /// Rust's name of the target.
    pub triple: &'static str,
    /// Debian's name of the architecture.
    pub debian: &'static str,
    /// Debian's folder of the C library musl, below `/usr/lib`.
    pub musl: &'static str,
}

/// All of them. Rust has no 32-bit powerpc, MIPS or SPARC with musl in its second tier, and `tamis` does not know their
/// page tables either.
pub const TARGETS: [Target; 8] = [
    target("x86_64", "x86_64-unknown-linux-musl", "amd64", "x86_64-linux-musl"),
    target("aarch64", "aarch64-unknown-linux-musl", "arm64", "aarch64-linux-musl"),
    target("i686", "i686-unknown-linux-musl", "i386", "i386-linux-musl"),
    target("armv7l", "armv7-unknown-linux-musleabihf", "armhf", "arm-linux-musleabihf"),
    target("riscv64", "riscv64gc-unknown-linux-musl", "riscv64", "riscv64-linux-musl"),
    target("loongarch64", "loongarch64-unknown-linux-musl", "loong64", "loongarch64-linux-musl"),
    target("ppc64le", "powerpc64le-unknown-linux-musl", "ppc64el", "powerpc64le-linux-musl"),
    target("s390x", "s390x-unknown-linux-musl", "s390x", "s390x-linux-musl"),
];

const fn target(
    arch: &'static str,
    triple: &'static str,
    debian: &'static str,
    musl: &'static str,
) -> Target {
    Target { arch, triple, debian, musl }
}

/// The folder, beside those of the system, in which the C libraries of other architectures are looked for; each in a
/// folder of its own that has Debian's name.
const FOLDER: &str = "TAMIS_MUSL";

/// Where `core` and `alloc` of a target come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Libraries {
    /// The toolchain has them, the C library too.
    Toolchain,
    /// Their source, with the C library in this folder.
    Source(PathBuf),
}

impl Target {
    /// Where its libraries come from: the toolchain, into which rustup adds them if it can.
    ///
    /// # Errors
    /// What is missing and how to come by it.
    pub fn libraries(&self) -> Result<Libraries, String> {
        let Err(why) = add_target(self.triple) else { return Ok(Libraries::Toolchain) };
        let libc = self.libc().ok_or_else(|| format!("{why}\n{}", self.advice()))?;
        let added = Command::new("rustup")
            .env("RUST_BACKTRACE", "0")
            .args(["component", "add", "rust-src"])
            .output()
            .map_err(|e| format!("rustup cannot be run to add the library's source: {e}"))?;
        if !added.status.success() {
            let said = String::from_utf8_lossy(&added.stderr).into_owned();
            return Err(format!("rustup cannot add the library's source:\n{said}"));
        }
        Ok(Libraries::Source(libc))
    }

    /// Builds the capture program, and returns its path.
    ///
    /// # Errors
    /// What the compiler said; more bytes than the limit.
    pub fn build_capture(&self, libraries: &Libraries) -> Result<PathBuf, String> {
        let words = ["build", "--release", "--package", "tamis-capture", "--target", self.triple];
        let program = match libraries {
            Libraries::Toolchain => build(&words, "tamis-capture", Stdio::inherit())?,
            Libraries::Source(libc) => self.build_from_source(&words, libc)?,
        };
        self.small_enough(&program)?;
        Ok(program)
    }

    /// With the same compiler, which lets itself be told that it is a nightly one.
    fn build_from_source(&self, words: &[&str], libc: &Path) -> Result<PathBuf, String> {
        // The package has no objects of a compiler, and crt1.o needs none.
        let libc = libc.display();
        let flags = format!(
            "target.{}.rustflags=['-Clink-self-contained=no','-Lnative={libc}','-Clink-arg={libc}/crt1.o']",
            self.triple
        );
        let more = ["-Zbuild-std=core,alloc", "--config", &flags];
        let words = [words, &more].concat();
        build_with(&words, &[("RUSTC_BOOTSTRAP", "1")], "tamis-capture", Stdio::inherit())
    }

    /// Where its C library is, if it is on this machine.
    fn libc(&self) -> Option<PathBuf> {
        let folders = env::var_os(FOLDER).into_iter().map(PathBuf::from);
        folders
            .chain(["/usr/lib".into()])
            .map(|folder| folder.join(self.musl))
            .find(|folder| folder.join("libc.a").exists() && folder.join("crt1.o").exists())
    }

    fn advice(&self) -> String {
        format!(
            "and {} has no libc.a to build with from source\n  next: unpack Debian's package musl-dev:{} and set {FOLDER} to its folder \
             usr/lib",
            self.musl, self.debian
        )
    }

    /// Fails where the program has more bytes than tests/limits.toml allows.
    ///
    /// # Errors
    /// How many too many.
    pub fn small_enough(&self, program: &Path) -> Result<(), String> {
        let max = limit(self.triple);
        let len = fs::metadata(program).map_err(|e| format!("{}: {e}", program.display()))?.len();
        if len <= max {
            return Ok(());
        }
        Err(format!("tamis-capture for {} has {len} bytes, {} too many", self.triple, len - max))
    }
}

/// How many bytes the capture program may have for a target: a line of tests/limits.toml.
fn limit(triple: &str) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("limits.toml");
    let text = fs::read_to_string(path).expect("limits.toml");
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == triple).then(|| value.trim().parse().ok())?
    });
    value.unwrap_or_else(|| panic!("limits.toml has no {triple}"))
}
