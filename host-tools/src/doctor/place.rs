//! The machine that is looked at, or a picture of one.

use crate::initramfs::machine::Machine;
use std::fs;
use std::path::PathBuf;

/// The machine, or a picture of one.
pub struct Place {
    /// The folder that its root is, `/` of this one.
    pub root: PathBuf,
    /// What its disks need.
    pub machine: Machine,
}

impl Place {
    /// This machine.
    pub fn running() -> Place {
        Place { root: "/".into(), machine: Machine::running() }
    }

    /// A picture of one, below a folder.
    #[cfg(test)]
    pub fn pictured(root: &std::path::Path) -> Place {
        Place { root: root.to_owned(), machine: Machine::pictured(root) }
    }

    /// The text of a file without white space around it, if it can be read.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    /// Whether a module is built into the kernel.
    pub fn is_built_in(&self, module: &str) -> bool {
        let Ok(release) = self.machine.release() else { return false };
        let list = self.read(&format!("lib/modules/{release}/modules.builtin")).unwrap_or_default();
        list.lines().any(|line| same_module(line, module))
    }

    /// Where a target is mounted now.
    pub fn mounted(&self, target: &str) -> Option<PathBuf> {
        let name = self.machine.block_device(target).ok()?;
        let number = self.read(&format!("sys/class/block/{name}/dev"))?;
        let mounts = self.read("proc/self/mountinfo")?;
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime ... - ext4 /dev/root rw: number of the device, root in it, mount point.
        let mut fields = mounts.lines().map(|line| line.split(' ').skip(2));
        fields.find_map(|mut fields| {
            let whole = fields.next() == Some(&number) && fields.next() == Some("/");
            fields.next().filter(|_| whole).map(|at| self.root.join(at.trim_start_matches('/')))
        })
    }
}

/// Whether a path or name is that of a module: `-` and `_` are the same.
pub fn same_module(path: &str, module: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split('.').next().unwrap_or(file);
    name.replace('-', "_") == module.replace('-', "_")
}
