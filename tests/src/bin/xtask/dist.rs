//! `cargo xtask dist`: everything that is installed, in one folder.

use super::{output, root};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tamis_tests::run::build;
use tamis_tests::targets::TARGETS;

pub const USAGE: &str = "\
cargo xtask dist

Adds the targets that the toolchain lacks, builds tamis-capture for each architecture and tamis for this
machine, and puts them into target/dist with their manual pages and completions:
  bin/tamis, ARCH/tamis-capture, share/man/man1, share/bash-completion, share/zsh, share/fish
ARCH: x86_64, aarch64, i686, armv7l, riscv64, loongarch64, ppc64le, s390x. Rust has no libraries of s390x with musl to
download, and a mirror may lack others: these are built from the source of Rust's library where TAMIS_MUSL names the
folder usr/lib of Debian's unpacked packages musl-dev:ARCH; else the end says what is missing.";

/// Where a shell looks for completions of `tamis`, below a prefix such as /usr/local.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/tamis"),
    ("zsh", "share/zsh/site-functions/_tamis"),
    ("fish", "share/fish/vendor_completions.d/tamis.fish"),
];

/// Runs it.
pub fn run(words: impl Iterator<Item = std::ffi::OsString>) -> Result<(), String> {
    if words.count() > 0 {
        return Err(USAGE.into());
    }
    let dist = root().join("target/dist");
    if dist.exists() {
        fs::remove_dir_all(&dist).map_err(|e| format!("{}: {e}", dist.display()))?;
    }
    let mut without = Vec::new();
    for target in TARGETS {
        match target.libraries() {
            Ok(libraries) => {
                let program = target.build_capture(&libraries)?;
                copy(&program, &dist.join(target.arch).join("tamis-capture"))?;
            }
            // That of this machine is needed below.
            Err(why) if target.arch == std::env::consts::ARCH => return Err(why),
            Err(why) => without.push((target.arch, why)),
        }
    }
    let host = build(&["build", "--release", "--package", "tamis"], "tamis", Stdio::inherit())?;
    copy(&host, &dist.join("bin/tamis"))?;

    let pages = dist.join("share/man/man1");
    fs::create_dir_all(&pages).map_err(|e| format!("{}: {e}", pages.display()))?;
    output(Command::new(&host).arg("man").arg(&pages))?;
    // That of this machine: others do not run here.
    let capture = dist.join(std::env::consts::ARCH).join("tamis-capture");
    let help = output(Command::new(&capture).arg("--help"))?;
    write(&pages.join("tamis-capture.1"), &page(&help))?;
    for (shell, place) in SHELLS {
        write(&dist.join(place), &output(Command::new(&host).args(["completions", shell]))?)?;
    }
    for (arch, why) in without {
        println!("no tamis-capture for {arch}: {why}");
    }
    println!("{}", dist.display());
    Ok(())
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
