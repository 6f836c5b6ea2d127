//! Initramfs images for crash kernels.

pub mod cpio;
pub mod gzip;
pub mod machine;
pub mod modules;

use crate::dump::out;
use crate::fail::{Fail, Result};
use crate::render::console::remark;
use crate::render::text::{number, plain, size};
use cpio::Archive;
use machine::Machine;
use modules::{Modules, Wanted};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tamis_boot::cli::{NO_RULES, parse_ordered};
use tamis_boot::orders::{self, Order, OrderError, Orders};
use tamis_boot::paths::{self, MOST_TEXT, RULES_MOST, RULES_TEXT};
use tamis_core::kernel::rules::Given;

/// What goes into an image.
#[derive(clap::Args)]
pub struct Request {
    /// The static tamis-capture [default: the one beside tamis, or in the usual folders]
    #[arg(long, value_name = "PATH")]
    capture: Option<PathBuf>,
    /// A module to load, with all it depends on; may be given more than once
    #[arg(long = "module", value_name = "NAME|PATH")]
    modules: Vec<String>,
    /// Load no modules: all that the target needs is built into the kernel
    #[arg(long, conflicts_with_all = ["modules", "from_running", "modules_dir"])]
    no_modules: bool,
    /// The crash kernel's version [default: the running kernel's]
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Where that kernel's modules are [default: /lib/modules/VERSION]
    #[arg(long, value_name = "DIR")]
    modules_dir: Option<PathBuf>,
    /// Where the dump goes: /dev/..., UUID=..., LABEL=... or PARTUUID=...
    #[arg(long)]
    target: Option<String>,
    /// File system of the target, or raw; its modules come along
    #[arg(long, value_name = "TYPE")]
    fstype: Option<String>,
    /// Options of the capture, as on its command line
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    args: Option<String>,
    /// Rules by which pages stay or go, one a line, keep or drop in front (core/docs/rules.md); needs a tamis-capture
    /// that is built with the feature rules
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Any other order, such as final=poweroff; may be given more than once
    #[arg(long = "order", value_name = "NAME=VALUE")]
    orders: Vec<String>,
    /// Orders as a file; those of the command line win
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Find the modules that the target needs on this machine
    #[arg(long)]
    from_running: bool,
    /// Overwrite an existing image
    #[arg(short, long)]
    force: bool,
}

/// What vfat wants beside itself, by default settings of kernels; it asks for them by name.
const VFAT_NLS: [&str; 4] = ["nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"];

/// Makes an image; returns a report on it.
pub fn build(request: &Request, output: &Path) -> Result<String> {
    let machine = Machine::running();
    let version = match &request.kernel {
        Some(version) => version.clone(),
        None => machine.release()?,
    };
    let folder =
        request.modules_dir.clone().unwrap_or_else(|| Path::new("/lib/modules").join(&version));
    let (capture_path, capture) = find_capture(request.capture.as_deref())?;
    let rules = request.rules.as_deref().map(rules).transpose()?;
    if rules.is_some() && memchr::memmem::find(&capture, NO_RULES.as_bytes()).is_some() {
        return Err(Fail::file(&capture_path, "it is built without the feature rules").next(
            "cargo build --release -p tamis-capture --features rules --target x86_64-unknown-linux-musl",
        ));
    }
    let conf = orders(request)?;
    let ordered = obeyed(&conf)?;

    let mut wanted = Wanted::default();
    let mut fstype = request.fstype.clone();
    if request.from_running {
        let Some(target) = text_of(ordered.target) else {
            return Err(Fail::new("--from-running needs a target")
                .next("name it with --target, as tamis-capture is to find it"));
        };
        let found = machine.needs(&target)?;
        fstype = fstype.or(found.fstype);
        // A driver that is neither a module nor listed as built in cannot be helped from here.
        found.drivers.iter().chain(&machine.watchdogs()).for_each(|name| wanted.maybe(name));
    }
    request.modules.iter().for_each(|name| wanted.need(name));
    let kind =
        fstype.or_else(|| text_of(ordered.fstype)).filter(|kind| kind.as_bytes() != orders::RAW);
    if let Some(kind) = &kind {
        if kind == "vfat" {
            VFAT_NLS.iter().for_each(|name| wanted.maybe(name));
        }
        wanted.need(kind);
    }
    let all_built_in = request.from_running
        && request.modules.is_empty()
        && !folder.exists()
        && kind.is_none_or(|kind| machine.knows(&kind));
    let modules = if request.no_modules || wanted.is_empty() {
        Vec::new()
    } else if all_built_in {
        remark(format_args!("{} is not there: all is taken to be built in", folder.display()));
        Vec::new()
    } else {
        Modules::open(&folder, &version)?.resolve(&wanted)?
    };

    let mut archive = Archive::default();
    archive.folder("etc");
    archive.file("init", 0o755, capture);
    archive.file(inside(paths::ORDERS), 0o600, conf.into_bytes());
    if let Some(rules) = rules {
        archive.file(inside(paths::RULES), 0o600, rules.into_bytes());
    }
    let mut list = String::new();
    if !modules.is_empty() {
        archive.folder("modules");
    }
    let mut table = String::new();
    for module in modules {
        let _ = writeln!(list, "/modules/{}.ko", module.name);
        let _ = writeln!(table, "  {:<28}{:>12}", module.name, number(module.data.len() as u64));
        archive.file(&format!("modules/{}.ko", module.name), 0o600, module.data);
    }
    if list.len() > MOST_TEXT {
        return Err(Fail::new(format_args!(
            "the list of modules is {} bytes long; tamis-capture reads {MOST_TEXT}",
            list.len()
        ))
        .next("name fewer modules"));
    }
    archive.file(inside(paths::MODULES), 0o600, list.into_bytes());

    let unpacked = archive.bytes();
    let packed = gzip::pack(&unpacked).map_err(|e| Fail::file(output, e))?;
    let inputs: Vec<PathBuf> =
        [Some(capture_path.clone()), request.conf.clone()].into_iter().flatten().collect();
    let mut file = out::create(output, request.force, &inputs)?;
    file.put(0, &packed)?;
    file.done()?;

    let mut text = format!(
        "{}: {} files, {} compressed, {} unpacked\n  {:<28}{:>12} bytes\n{table}",
        output.display(),
        archive.files(),
        size(packed.len() as u64),
        size(unpacked.len() as u64),
        "init",
        number(archive.size_of("init")),
    );
    let _ = write!(
        text,
        "load it:\n  kexec -p /boot/vmlinuz-{version} --initrd={} \\\n    --append=\"nr_cpus=1 irqpoll \
         reset_devices panic=1\"\nreserve for it, on the command line of the kernel that may crash:\n  \
         crashkernel={}M\n",
        output.display(),
        reserve(unpacked.len() as u64, packed.len() as u64),
    );
    Ok(text)
}

/// MiB to reserve: what a small kernel needs with room to spare, and the image, which is there
/// twice for a moment; in steps of 32.
fn reserve(unpacked: u64, packed: u64) -> u64 {
    let image = (unpacked + packed).div_ceil(1 << 20);
    (96 + image).next_multiple_of(32)
}

/// A file of rules, which are all as a capture reads them.
fn rules(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|e| Fail::file(path, e))?;
    let mut count = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let rule =
            Given::line(line).map_err(|e| Fail::file(path, format_args!("line {number}, {e}")))?;
        count += usize::from(rule.is_some());
    }
    if count > RULES_MOST || text.len() as u64 > RULES_TEXT {
        let most = format_args!("more than {RULES_MOST} rules, or than {RULES_TEXT} bytes of them");
        return Err(Fail::file(path, most).next("name what matters most"));
    }
    Ok(text)
}

/// The orders as tamis-capture reads them: the file's, then those of the command line, which win.
fn orders(request: &Request) -> Result<String> {
    let mut text = String::new();
    if let Some(path) = &request.conf {
        text = std::fs::read_to_string(path).map_err(|e| Fail::file(path, e))?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    }
    let named = [("target", &request.target), ("fstype", &request.fstype), ("args", &request.args)];
    for (name, value) in named {
        if let Some(value) = value {
            let _ = writeln!(text, "{}", Order { name, value });
        }
    }
    for order in &request.orders {
        let Some((name, value)) = order.split_once('=') else {
            return Err(Fail::new(format_args!("--order {order}: no NAME=VALUE"))
                .next("as in --order final=poweroff"));
        };
        let _ = writeln!(text, "{}", Order { name: name.trim(), value: value.trim() });
    }
    if request.rules.is_some() {
        let args = text_of(obeyed(&text)?.args).unwrap_or_default();
        let value = &format!("{args} --rules {}", paths::RULES);
        let _ = writeln!(text, "{}", Order { name: "args", value });
    }
    if text.len() > MOST_TEXT {
        return Err(Fail::new(format_args!(
            "the orders are {} bytes long; tamis-capture reads {MOST_TEXT}",
            text.len()
        ))
        .next("leave comments out"));
    }
    if obeyed(&text)?.target.is_empty() {
        remark(format_args!(
            "no target is ordered: it has to come as tamis.target= on the crash kernel's command line"
        ));
    }
    Ok(text)
}

/// What tamis-capture makes of these orders, if they are all valid.
pub fn obeyed(conf: &str) -> Result<Orders<'_>> {
    let (mut orders, mut first) = (Orders::default(), None);
    orders.file(conf.as_bytes(), &mut |error| {
        first.get_or_insert(error);
    });
    if let (None, Err(error)) = (first, parse_ordered(orders.args)) {
        return Err(
            Fail::new(error).next("--args takes the options of a capture, without file names")
        );
    }
    match first {
        None => Ok(orders),
        Some(error @ OrderError::Value { name: b"target", .. }) => Err(Fail::new(error).next(
            "a target is a device such as /dev/vda2, or UUID=, LABEL= or PARTUUID= and what it has",
        )),
        Some(error @ OrderError::Unknown(_)) => {
            let known: Vec<_> = orders::names().collect();
            Err(Fail::new(error).next(format_args!("the orders are {}", known.join(", "))))
        }
        Some(error) => Err(Fail::new(error).next("capture-bin/docs/init.md says what it can be")),
    }
}

/// The text of an order, unless it is empty.
fn text_of(value: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(value).into_owned()).filter(|value| !value.is_empty())
}

/// A path of the crash kernel as the archive names it.
fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// The program that becomes /init: it must run with nothing beside it.
fn find_capture(given: Option<&Path>) -> Result<(PathBuf, Vec<u8>)> {
    const NAME: &str = "tamis-capture";
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    let usual = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let path = match given {
        Some(path) => path.to_owned(),
        None => beside
            .into_iter()
            .chain(usual.map(|folder| Path::new(folder).join(NAME)))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                Fail::new(format_args!("there is no {NAME} beside tamis or in {}", usual.join(" ")))
                    .next("--capture says where it is")
            })?,
    };
    let data = std::fs::read(&path).map_err(|e| Fail::file(&path, e))?;
    match is_static(&data) {
        Some(true) => Ok((path, data)),
        Some(false) => {
            Err(Fail::file(&path, "needs shared libraries, which the image will not have")
                .next("build it for a musl target"))
        }
        None => Err(Fail::file(&path, "is not a program for 64-bit Linux")
            .next("--capture names the static tamis-capture")),
    }
}

/// Whether an ELF file asks for no interpreter; `None` if it is no 64-bit ELF program.
fn is_static(elf: &[u8]) -> Option<bool> {
    const INTERPRETER: u32 = 3;
    let endian = match elf.get(..6)? {
        b"\x7fELF\x02\x01" => tamis_core::endian::Endian::Little,
        b"\x7fELF\x02\x02" => tamis_core::endian::Endian::Big,
        _ => return None,
    };
    let table = usize::try_from(endian.u64(elf, 32)?).ok()?;
    let (step, count) = (usize::from(endian.u16(elf, 54)?), endian.u16(elf, 56)?);
    let mut alone = count > 0;
    for index in 0..usize::from(count) {
        let at = table.checked_add(index.checked_mul(step)?)?;
        alone &= endian.u32(elf, at)? != INTERPRETER;
    }
    Some(alone)
}

/// The image at a path, unpacked.
fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let stored = std::fs::read(path).map_err(|e| Fail::file(path, e))?;
    if stored.starts_with(&[0x1f, 0x8b]) {
        gzip::unpack(&stored).map_err(|why| Fail::file(path, why))
    } else {
        Ok(stored)
    }
}

/// What an image tells its kernel to do.
pub struct Contents {
    /// The orders, as their file has them.
    pub orders: String,
    /// Paths of the modules that are loaded, in order.
    pub modules: Vec<String>,
}

/// Orders and modules of an image; `None` if it is of another program.
pub fn contents(path: &Path) -> Result<Option<Contents>> {
    let unpacked = unpacked(path)?;
    let Ok(entries) = cpio::read(&unpacked) else { return Ok(None) };
    let text = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name == inside(name))?;
        Some(String::from_utf8_lossy(entry.data).into_owned())
    };
    let Some(orders) = text(paths::ORDERS) else { return Ok(None) };
    let modules = text(paths::MODULES).unwrap_or_default();
    let modules =
        modules.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(Some(Contents { orders, modules: modules.map(str::to_owned).collect() }))
}

/// Reports what is in an image.
pub fn list(path: &Path) -> Result<String> {
    let unpacked = unpacked(path)?;
    let entries = cpio::read(&unpacked).map_err(|why| Fail::file(path, why))?;
    let mut text = String::new();
    for entry in &entries {
        let kind = if entry.mode & 0o170_000 == 0o040_000 { 'd' } else { '-' };
        let _ = writeln!(
            text,
            "{kind}{:03o}{:>14}  {}",
            entry.mode & 0o777,
            number(entry.data.len() as u64),
            plain(entry.name.as_bytes())
        );
    }
    for name in [paths::ORDERS, paths::MODULES].map(inside) {
        if let Some(entry) = entries.iter().find(|entry| entry.name == name) {
            let _ = write!(text, "\n/{name}:\n");
            for line in entry.data.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                let _ = writeln!(text, "  {}", plain(line));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
