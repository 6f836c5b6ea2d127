//! The initramfs of the crash kernel, as `tamis initramfs` makes it: its orders, its modules, and the target.

use crate::doctor::check::{Check, Outcome};
use crate::fail::{Fail, Result};
use crate::initramfs::machine::Machine;
use crate::initramfs::modules::name_of;
use crate::initramfs::{Contents, contents, obeyed};
use crate::render::text::size;
use std::path::{Path, PathBuf};
use tamis_boot::orders::RAW;

/// An image, and where it is.
pub struct Image {
    path: PathBuf,
    contents: Contents,
}

impl Image {
    /// The one that was named, or that `tamis-kdump` loads; `None` if there is none, or it is another program's.
    pub fn find(machine: &Machine, named: Option<&Path>) -> Result<Option<Image>> {
        if let Some(path) = named {
            let contents = contents(path)?.ok_or_else(|| {
                Fail::file(path, "was not made by `tamis initramfs`")
                    .next("what is in it cannot be looked at")
            })?;
            return Ok(Some(Image { path: path.to_owned(), contents }));
        }
        let conf = machine.read("etc/tamis-kdump.conf").unwrap_or_default();
        let named = conf.lines().find_map(|line| line.trim().strip_prefix("KDUMP_INITRD="));
        let path = match named {
            Some(name) => name.trim_matches(['"', '\'']).to_owned(),
            None => format!("/boot/tamis-kdump-{}.img", machine.release()?),
        };
        let path = machine.path(&path);
        // What cannot be read is as good as not there.
        let contents = contents(&path).ok().flatten();
        Ok(contents.map(|contents| Image { path, contents }))
    }

    /// Whether it has a module.
    pub fn has(&self, module: &str) -> bool {
        self.contents.modules.iter().any(|path| name_of(path) == name_of(module))
    }
}

/// Looks at the image, the target that it orders, and the room there.
pub fn checks(machine: &Machine, image: Option<&Image>) -> Vec<Check> {
    let Some(image) = image else {
        let found =
            "no image of `tamis initramfs` is known: its orders and modules are not looked at";
        let check = Check::new("image", Outcome::Note, found).next("--image names it");
        return vec![check, room(machine, Path::new("/var/crash"))];
    };
    let shown = image.path.display();
    let check = |outcome, found: String| Check::new("image", outcome, found);
    let orders = match obeyed(&image.contents.orders) {
        Ok(orders) => orders,
        Err(fail) => {
            return vec![
                check(Outcome::Bad, format!("{shown}: {}", fail.line()))
                    .next("make the image anew: tamis initramfs"),
            ];
        }
    };
    let target = String::from_utf8_lossy(orders.target).into_owned();
    if target.is_empty() {
        return vec![
            check(Outcome::Note, format!("{shown} orders no target"))
                .next("tamis.target= has to be on the crash kernel's command line"),
        ];
    }
    let found = match machine.needs(&target) {
        Ok(found) => found,
        Err(fail) => return vec![check(Outcome::Bad, format!("{shown}: {}", fail.line()))],
    };
    let kind = match orders.fstype {
        [] => found.fstype.clone().unwrap_or_default(),
        RAW => String::new(),
        kind => String::from_utf8_lossy(kind).into_owned(),
    };
    let needed = found.drivers.iter().chain([&kind]).filter(|module| !module.is_empty());
    let missing: Vec<&str> = needed
        .filter(|module| !image.has(module) && !machine.is_built_in(module))
        .map(String::as_str)
        .collect();
    let mut checks = Vec::new();
    checks.push(if missing.is_empty() {
        let modules = image.contents.modules.len();
        check(
            Outcome::Good,
            format!("{shown}: its orders are valid, its {modules} modules reach {target}"),
        )
    } else {
        check(Outcome::Bad, format!("{shown} lacks {} for {target}", missing.join(", "))).next(
            format!(
                "make it anew: tamis initramfs --force --from-running --target {target} -o {shown}"
            ),
        )
    });
    if orders.fstype != RAW {
        let folder = String::from_utf8_lossy(orders.path).into_owned();
        match machine.mounted(&target) {
            Some(at) => checks.push(room(machine, &at.join(folder.trim_start_matches('/')))),
            None => checks.push(Check::new(
                "room",
                Outcome::Note,
                format!("{target} is not mounted: how much room it has is not known"),
            )),
        }
    }
    checks
}

/// Whether a dump has room where it goes: against what the kernel itself takes now, which a dump of level 31 holds.
fn room(machine: &Machine, folder: &Path) -> Check {
    let check = |outcome, found: String| Check::new("room", outcome, found);
    let below = machine.path(&folder.to_string_lossy());
    let shown = folder.display();
    let there = below.ancestors().find(|folder| folder.exists()).unwrap_or(&below);
    let Ok(free) = rustix::fs::statvfs(there).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))
    else {
        return check(Outcome::Note, format!("how much room {shown} has is not known"));
    };
    let Some(kept) = kernel_memory(&machine.read("proc/meminfo").unwrap_or_default()) else {
        return check(Outcome::Note, format!("{shown} has {} free", size(free)));
    };
    let found = format!("{shown} has {} free; the kernel takes {} now", size(free), size(kept));
    // Kernel memory compressed with zlib is a quarter or less, of every kernel that was tried.
    if free < kept / 4 {
        check(Outcome::Bad, found)
            .next("make room, or name another target; `tamis estimate` says more of the size")
    } else if free < kept {
        check(Outcome::Note, found).next("compressed it may fit: `tamis estimate` says more")
    } else {
        check(Outcome::Good, found)
    }
}

/// Bytes of memory that are neither free, nor user or page cache, by /proc/meminfo.
pub fn kernel_memory(meminfo: &str) -> Option<u64> {
    let value = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let others =
        value("Active")?.saturating_add(value("Inactive")?).saturating_add(value("MemFree")?);
    Some(value("MemTotal")?.saturating_sub(others))
}
