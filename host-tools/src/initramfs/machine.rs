//! What this machine needs to reach a disk, as sysfs reports it.

use super::modules::name_of;
use crate::fail::{Fail, Result};
use std::fs;
use std::path::{Path, PathBuf};
use tamis_boot::volume::{self, Volume};

/// The running machine, or a picture of one.
pub struct Machine {
    root: PathBuf,
}

/// What a target needs.
pub struct Found {
    /// Names of drivers, from the bus down to the disk.
    pub drivers: Vec<String>,
    /// The file system on it, if one is known.
    pub fstype: Option<String>,
}

impl Machine {
    /// This one.
    pub fn running() -> Machine {
        Machine { root: PathBuf::from("/") }
    }

    #[cfg(test)]
    /// A picture of one, below a folder.
    pub fn pictured(root: &Path) -> Machine {
        Machine { root: root.to_owned() }
    }

    /// The path of a file of this machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file without white space around it, if it can be read.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    /// The kernel's version.
    pub fn release(&self) -> Result<String> {
        let path = self.root.join("proc/sys/kernel/osrelease");
        let text = fs::read_to_string(&path).map_err(|e| {
            Fail::file(&path, e).next("--kernel says which kernel's modules are to be taken")
        })?;
        Ok(text.trim().to_owned())
    }

    /// Whether this kernel can mount a kind of file system now.
    pub fn knows(&self, kind: &str) -> bool {
        let known = fs::read_to_string(self.root.join("proc/filesystems")).unwrap_or_default();
        known.lines().any(|line| line.split_whitespace().next_back() == Some(kind))
    }

    /// The drivers and the file system of a target.
    pub fn needs(&self, target: &str) -> Result<Found> {
        let device = self.device(target)?;
        let name = self.block_device(target)?;
        let class = self.root.join("sys/class/block").join(&name);
        let place = fs::canonicalize(&class).map_err(|e| {
            Fail::file(&class, e)
                .next(format_args!("{target} is not a block device of this machine"))
        })?;
        if ["dm", "md", "bcache", "loop/backing_file"].iter().any(|kind| place.join(kind).exists())
        {
            return Err(Fail::new(format_args!(
                "{target} is {name}, which is put together out of other devices"
            ))
            .next("tamis-capture alone cannot do that: choose a plain disk or partition, or an initramfs of the distribution"));
        }
        let mut drivers = Vec::new();
        self.drivers_above(&place, &mut drivers);
        // With NVMe multipath a disk hangs below its subsystem, which names the controllers.
        if let Some(subsystem) =
            place.ancestors().find(|p| p.parent().is_some_and(|p| p.ends_with("nvme-subsystem")))
        {
            for entry in fs::read_dir(subsystem).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_symlink())
                    && entry.file_name().to_string_lossy().starts_with("nvme")
                    && let Ok(controller) = fs::canonicalize(entry.path())
                {
                    self.drivers_above(&controller, &mut drivers);
                }
            }
        }
        Ok(Found { drivers, fstype: self.file_system(&device) })
    }

    /// The drivers of watchdogs that run on this machine: they go on when its kernel is dead, and
    /// some program has to feed them. One that is made of the kernel's own timers dies with it.
    pub fn watchdogs(&self) -> Vec<String> {
        let mut drivers = Vec::new();
        let class = self.root.join("sys/class/watchdog");
        for entry in fs::read_dir(class).into_iter().flatten().flatten() {
            // Not every kernel reports its state.
            let state = fs::read_to_string(entry.path().join("state"));
            if state.is_ok_and(|state| state.trim() == "inactive") {
                continue;
            }
            if let Ok(device) = fs::canonicalize(entry.path().join("device")) {
                self.drivers_above(&device, &mut drivers);
            }
        }
        drivers
    }

    /// Whether a module is built into the kernel.
    pub fn is_built_in(&self, module: &str) -> bool {
        let Ok(release) = self.release() else { return false };
        let list = self.read(&format!("lib/modules/{release}/modules.builtin")).unwrap_or_default();
        list.lines().any(|line| name_of(line) == name_of(module))
    }

    /// Where a target is mounted now.
    pub fn mounted(&self, target: &str) -> Option<PathBuf> {
        let name = self.block_device(target).ok()?;
        let number = self.read(&format!("sys/class/block/{name}/dev"))?;
        let mounts = self.read("proc/self/mountinfo")?;
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime ... - ext4 /dev/root rw: number of the device, root in it, mount point.
        let mut fields = mounts.lines().map(|line| line.split(' ').skip(2));
        fields.find_map(|mut fields| {
            let whole = fields.next() == Some(&number) && fields.next() == Some("/");
            fields.next().filter(|_| whole).map(PathBuf::from)
        })
    }

    /// The kernel's name of the block device that a target names.
    pub fn block_device(&self, target: &str) -> Result<String> {
        let device = self.device(target)?;
        Ok(device.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    /// The device file that a target names.
    fn device(&self, target: &str) -> Result<PathBuf> {
        let link = match target.split_once('=') {
            Some(("UUID", id)) => self
                .find_link("by-uuid", id)
                .or_else(|| self.find_volume(|volume| volume.id.is(id.as_bytes()))),
            Some(("LABEL", label)) => self.find_link("by-label", label).or_else(|| {
                let same = |volume: &Volume<'_>| volume.label == label.as_bytes();
                self.find_volume(|volume| !label.is_empty() && same(volume))
            }),
            Some(("PARTUUID", id)) => self.find_link("by-partuuid", id),
            _ => Some(self.path(target)),
        };
        link.and_then(|link| fs::canonicalize(link).ok()).ok_or_else(|| {
            Fail::new(format_args!("{target} is not there on this machine"))
                .next("`lsblk -f` names what is; without --from-running no target is needed")
        })
    }

    fn find_link(&self, kind: &str, wanted: &str) -> Option<PathBuf> {
        let folder = self.root.join("dev/disk").join(kind);
        let entries = fs::read_dir(folder).ok()?.flatten();
        // udev writes odd bytes as \xHH.
        let plain = |name: &str| {
            let mut bytes = Vec::new();
            let mut rest = name.as_bytes();
            while let Some((first, after)) = rest.split_first() {
                let code = rest
                    .strip_prefix(b"\\x")
                    .and_then(|hex| hex.get(..2))
                    .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
                bytes.push(code.unwrap_or(*first));
                rest = if code.is_some() { &rest[4..] } else { after };
            }
            String::from_utf8_lossy(&bytes).into_owned()
        };
        entries
            .filter(|entry| {
                let name = plain(&entry.file_name().to_string_lossy());
                if kind == "by-label" { name == wanted } else { name.eq_ignore_ascii_case(wanted) }
            })
            .map(|entry| entry.path())
            .next()
    }

    /// The device file with the volume that is wanted, where there is no udev to have made links: by the first bytes of
    /// every device.
    fn find_volume(&self, wanted: impl Fn(&Volume<'_>) -> bool) -> Option<PathBuf> {
        let entries = fs::read_dir(self.root.join("sys/class/block")).ok()?.flatten();
        let devices = entries.map(|entry| self.root.join("dev").join(entry.file_name()));
        let mut devices: Vec<PathBuf> = devices.collect();
        devices.sort();
        devices.into_iter().find(|device| with_volume(device, &wanted) == Some(true))
    }

    /// The modules of the drivers on the way from a device up to the root, outermost first.
    fn drivers_above(&self, place: &Path, drivers: &mut Vec<String>) {
        let mut found = Vec::new();
        for folder in place.ancestors().take_while(|p| p.starts_with(self.root.join("sys/devices")))
        {
            for link in ["driver/module", "device/driver/module"] {
                if let Ok(module) = fs::canonicalize(folder.join(link))
                    && let Some(name) = module.file_name()
                {
                    found.push(name.to_string_lossy().into_owned());
                }
            }
        }
        for name in found.into_iter().rev() {
            if !drivers.contains(&name) {
                drivers.push(name);
            }
        }
    }

    /// What is on a device: by its first bytes, or by what is mounted where they cannot be read.
    fn file_system(&self, device: &Path) -> Option<String> {
        if let Some(kind) = with_volume(device, |volume| volume.kind.to_owned()) {
            return Some(kind);
        }
        let mounts = fs::read_to_string(self.root.join("proc/mounts")).ok()?;
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let source = fields.next()?;
            let source = fs::canonicalize(self.root.join(source.trim_start_matches('/'))).ok()?;
            (source == device).then(|| fields.nth(1).map(str::to_owned))?
        })
    }
}

/// Asks something of the volume on a device; `None` where there is none that is known, or it cannot be read.
fn with_volume<T>(device: &Path, ask: impl FnOnce(&Volume<'_>) -> T) -> Option<T> {
    use std::os::unix::fs::FileExt;
    let file = fs::File::open(device).ok()?;
    let mut head = vec![0; volume::HEAD];
    file.read_exact_at(&mut head, 0).ok()?;
    if let Some(found) = volume::identify(&head) {
        return Some(ask(&found));
    }
    file.read_exact_at(&mut head, volume::BTRFS_AT).ok()?;
    volume::identify_btrfs(&head).map(|found| ask(&found))
}
