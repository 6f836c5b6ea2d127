//! `cargo xtask dist`: everything that is installed, in one folder. `cargo xtask packages`: the same as Debian packages.

use super::{output, root};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tamis_tests::run::build;
use tamis_tests::targets::TARGETS;

pub const USAGE: &str = "\
cargo xtask dist [ARCH ...]

Adds the targets that the toolchain lacks, builds tamis-capture for each architecture, or these ones and that of
this machine, and tamis for this machine, and puts them into target/dist with their manual pages and completions:
  bin/tamis, ARCH/tamis-capture, share/man/man1, share/bash-completion, share/zsh, share/fish, SHA256SUMS
ARCH: x86_64, aarch64, i686, armv7l, riscv64, loongarch64, ppc64le, s390x. Rust has no libraries of s390x with musl to
download, and a mirror may lack others: these are built from the source of Rust's library where TAMIS_MUSL names the
folder usr/lib of Debian's unpacked packages musl-dev:ARCH; else the end says what is missing.";

pub const USAGE_OF_PACKAGES: &str = "\
cargo xtask packages

Does what `cargo xtask dist` does for this machine alone, and makes Debian packages of it: target/dist/*.deb. It needs
cargo-deb (cargo install cargo-deb), and dpkg-dev, which knows the libraries that tamis needs.";

/// Where a shell looks for completions of `tamis`, below a prefix such as /usr/local.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/tamis"),
    ("zsh", "share/zsh/site-functions/_tamis"),
    ("fish", "share/fish/vendor_completions.d/tamis.fish"),
];

/// Runs it.
pub fn run(words: impl Iterator<Item = std::ffi::OsString>) -> Result<(), String> {
    let only: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    if only.iter().any(|word| TARGETS.iter().all(|target| target.arch != word)) {
        return Err(USAGE.into());
    }
    let dist = build_all(&only)?;
    sums(&dist)?;
    println!("{}", dist.display());
    Ok(())
}

/// Runs `cargo xtask packages`.
pub fn packages(words: impl Iterator<Item = std::ffi::OsString>) -> Result<(), String> {
    if words.count() > 0 {
        return Err(USAGE_OF_PACKAGES.into());
    }
    let here = std::env::consts::ARCH;
    let dist = build_all(&[here.to_owned()])?;
    let target = TARGETS.iter().find(|target| target.arch == here);
    let triple = target.map(|target| target.triple).ok_or(USAGE_OF_PACKAGES)?;
    for words in [&["--package", "tamis"][..], &["--package", "tamis-capture", "--target", triple]]
    {
        let mut deb = Command::new("cargo");
        deb.current_dir(root()).args(["deb", "--no-build", "--no-strip", "--output"]).arg(&dist);
        let made = output(deb.args(words));
        print!("{}", made.map_err(|why| format!("{why}\n{USAGE_OF_PACKAGES}"))?);
    }
    sums(&dist)
}

/// A list of all files in a folder with their SHA-256, as sha256sum checks it.
fn sums(dist: &Path) -> Result<(), String> {
    let list = "find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum";
    let text = output(Command::new("sh").current_dir(dist).args(["-c", list]))?;
    write(&dist.join("SHA256SUMS"), &text.replace("  ./", "  "))
}

/// Builds everything, for these architectures and this machine's, or all; returns the folder.
fn build_all(only: &[String]) -> Result<PathBuf, String> {
    let here = std::env::consts::ARCH;
    let dist = root().join("target/dist");
    if dist.exists() {
        fs::remove_dir_all(&dist).map_err(|e| format!("{}: {e}", dist.display()))?;
    }
    let mut without = Vec::new();
    let wanted =
        |arch: &str| only.is_empty() || arch == here || only.iter().any(|word| word == arch);
    for target in TARGETS.into_iter().filter(|target| wanted(target.arch)) {
        match target.libraries() {
            Ok(libraries) => {
                let program = target.build_capture(&libraries)?;
                copy(&program, &dist.join(target.arch).join("tamis-capture"))?;
            }
            // That of this machine is needed below.
            Err(why) if target.arch == here => return Err(why),
            Err(why) => without.push((target.arch, why)),
        }
    }
    let host = build(&["build", "--release", "--package", "tamis"], "tamis", Stdio::inherit())?;
    copy(&host, &dist.join("bin/tamis"))?;

    let pages = dist.join("share/man/man1");
    fs::create_dir_all(&pages).map_err(|e| format!("{}: {e}", pages.display()))?;
    output(Command::new(&host).arg("man").arg(&pages))?;
    // That of this machine: others do not run here.
    let capture = dist.join(here).join("tamis-capture");
    let help = output(Command::new(&capture).arg("--help"))?;
    write(&pages.join("tamis-capture.1"), &page(&help))?;
    for (shell, place) in SHELLS {
        write(&dist.join(place), &output(Command::new(&host).args(["completions", shell]))?)?;
    }
    for (arch, why) in without {
        println!("no tamis-capture for {arch}: {why}");
    }
    Ok(dist)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    folder_of(to)?;
    fs::copy(from, to).map(drop).map_err(|e| format!("{}: {e}", to.display()))
}

fn write(to: &Path, text: &str) -> Result<(), String> {
    folder_of(to)?;
    fs::write(to, text).map_err(|e| format!("{}: {e}", to.display()))
}

fn folder_of(file: &Path) -> Result<(), String> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

/// The manual page of the capture binary: the text of its `--help`, whose headings are lines that
/// end in a colon.
fn page(help: &str) -> String {
    let mut page = String::from(
        ".TH tamis-capture 1\n.SH NAME\ntamis\\-capture \\- capture a Linux kernel dump within a memory limit\n",
    );
    let mut is_open = false;
    for line in help.lines() {
        let text = line.replace('\\', "\\e").replace('-', "\\-");
        let usage = line.strip_prefix("Usage: ");
        let heading = line.strip_suffix(':').filter(|_| !line.starts_with(' '));
        if let Some(heading) = heading.or(usage.map(|_| "Synopsis")) {
            let end = if is_open { ".fi\n" } else { "" };
            let _ = write!(page, "{end}.SH {}\n.nf\n", heading.to_uppercase());
            is_open = true;
        }
        match usage {
            Some(_) => page += &text.replacen("Usage:", "      ", 1),
            None if heading.is_some() => continue,
            // A line that begins with one of these would be a request to the formatter.
            None if line.starts_with(['.', '\'']) => page += &format!("\\&{text}"),
            None => page += &text,
        }
        page.push('\n');
    }
    page + ".fi\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_has_all_of_the_help() {
        let help = "Usage: x-y [OPTIONS] A\n       x-y -F A\n\nWrites it.\n\nHow:\n  -a  one \\\n\n.b:\n'c\n";
        let expected = ".SH SYNOPSIS\n.nf\n       x\\-y [OPTIONS] A\n       x\\-y \\-F A\n\nWrites it.\n\n.fi\n\
                        .SH HOW\n.nf\n  \\-a  one \\e\n\n.fi\n.SH .B\n.nf\n\\&'c\n.fi\n";
        assert!(page(help).ends_with(expected), "{}", page(help));
    }
}
