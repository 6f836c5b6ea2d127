//! What only PID 1 needs.

use super::dir::open_folder;
use super::file::{File, open};
use super::{STDERR, done, with_name};
use core::ffi::c_int;
use tamis_core::io::IoError;

/// Whether this process is PID 1.
pub fn is_pid_1() -> bool {
    // SAFETY: always allowed.
    unsafe { libc::getpid() == 1 }
}

/// Mounts `source` on `at`.
pub fn mount(source: &[u8], at: &[u8], kind: &[u8]) -> Result<(), IoError> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let flags = if kind == b"devtmpfs" { libc::MS_NOSUID } else { flags };
    let mounted = with_name(source, |source| {
        with_name(at, |at| {
            with_name(kind, |kind| {
                // SAFETY: three NUL-ended names, and no data.
                unsafe { libc::mount(source, at, kind, flags, core::ptr::null()) }
            })
        })
    });
    done(mounted???)
}

/// Unmounts what is on `at`; an error while it is in use.
pub fn unmount(at: &[u8]) -> Result<(), IoError> {
    // SAFETY: a NUL-ended name.
    done(with_name(at, |name| unsafe { libc::umount2(name, 0) })?)
}

/// While it lives, a folder is the root of all names: no link leads out of it.
pub struct Below {
    root: File,
}

impl Below {
    /// Enters the folder.
    pub fn enter(folder: &[u8]) -> Result<Below, IoError> {
        let root = open(b"/", libc::O_PATH | libc::O_DIRECTORY)?;
        // SAFETY: NUL-ended names.
        done(with_name(folder, |name| unsafe { libc::chroot(name) })?)?;
        let below = Below { root };
        // SAFETY: a NUL-ended name.
        done(unsafe { libc::chdir(c"/".as_ptr()) })?;
        Ok(below)
    }

    /// Whether this is a folder, no link to one, and on another device than what was the root before. (Not
    /// "on that of the folder entered": each subvolume of btrfs has a number of its own.)
    pub fn is_elsewhere(&self, folder: &[u8]) -> bool {
        let device = |file: &File| file.stat().ok().map(|stat| stat.st_dev);
        open_folder(folder, true).is_ok_and(|folder| device(&folder) != device(&self.root))
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        // SAFETY: an open file descriptor, and a NUL-ended name.
        unsafe {
            libc::fchdir(self.root.fd);
            libc::chroot(c".".as_ptr());
        }
    }
}

/// Loads a kernel module with these parameters, which are words. A module that is compressed is
/// unpacked by the kernel, if it can.
pub fn load_module(path: &[u8], parameters: &[u8]) -> Result<(), IoError> {
    /// `MODULE_INIT_COMPRESSED_FILE` (Linux `include/uapi/linux/module.h`, since 5.17).
    const COMPRESSED: c_int = 4;
    let file = File::open(path)?;
    let flags = if path.ends_with(b".ko") { 0 } else { COMPRESSED };
    let result = with_name(parameters, |parameters| {
        // SAFETY: an open file descriptor, a NUL-ended text, flags.
        unsafe { libc::syscall(libc::SYS_finit_module, file.fd, parameters, flags) }
    });
    match done(result? as c_int) {
        Err(IoError { code: libc::EEXIST, .. }) => Ok(()),
        other => other,
    }
}

/// Makes an open file standard input, output and error.
pub fn become_console(file: File) {
    for fd in 0..=STDERR {
        // SAFETY: an open file descriptor; what was at `fd` is closed.
        unsafe { libc::dup2(file.fd, fd) };
    }
}

/// Opens a device to write to it.
pub fn open_device(path: &[u8]) -> Result<File, IoError> {
    open(path, libc::O_RDWR)
}

/// Seconds that a watchdog waits for a write before it bites.
pub fn watchdog_timeout(watchdog: &File) -> Result<u32, IoError> {
    /// `WDIOC_GETTIMEOUT` (Linux `include/uapi/linux/watchdog.h`): `_IOR('W', 7, int)`.
    const GET_TIMEOUT: libc::Ioctl = 0x8004_5707_u32 as libc::Ioctl;
    let mut seconds: c_int = 0;
    // SAFETY: an open file descriptor, and a place for the int that the call writes.
    done(unsafe { libc::ioctl(watchdog.fd, GET_TIMEOUT, &raw mut seconds) })?;
    Ok(u32::try_from(seconds).unwrap_or(0))
}

/// Writes everything that is not written yet, everywhere.
pub fn sync_all() {
    // SAFETY: always allowed.
    unsafe { libc::sync() };
}

/// Bytes of memory in this kernel, and those of them that are free.
pub fn memory() -> (u64, u64) {
    // SAFETY: `sysinfo` is plain numbers, for which zeros are a value, and a place of its type.
    let info = unsafe {
        let mut info: libc::sysinfo = core::mem::zeroed();
        libc::sysinfo(&mut info);
        info
    };
    // As wide as a `usize` on each machine.
    let bytes = |units: libc::c_ulong| (units as usize as u64).saturating_mul(info.mem_unit.into());
    (bytes(info.totalram), bytes(info.freeram))
}

/// Reboots, switches off or halts the machine. Comes back only if that is not allowed.
pub fn end_machine(how: c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::reboot(how) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;

    // A process of its own, as all threads of one have the same root. Only root may do it; an entry that is
    // refused must leave everything as it was.
    #[test]
    fn links_stay_below_the_folder() {
        let top = std::env::temp_dir().join(std::format!("tamis-below-{}", std::process::id()));
        std::fs::create_dir_all(top.join("srv/crash")).unwrap();
        std::os::unix::fs::symlink("/srv/crash", top.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../srv/crash", top.join("climbing")).unwrap();
        let name = top.as_os_str().as_bytes().to_vec();
        let device = |path: &std::path::Path| std::fs::metadata(path).unwrap().dev();
        let apart = device(&top) != device(std::path::Path::new("/"));
        let mut command = std::process::Command::new("/bin/true");
        // SAFETY: only system calls are made, and a path put together on the stack.
        unsafe {
            command.pre_exec(move || {
                let fault = |io: IoError| std::io::Error::from_raw_os_error(io.code);
                match Below::enter(&name) {
                    Ok(below) => {
                        for made in [&b"/absolute/one"[..], b"/climbing/two"] {
                            super::super::make_new_folder(made).map_err(fault)?;
                        }
                        // The folder entered is where the root is, or not.
                        let elsewhere = below.is_elsewhere(b"/srv");
                        let links = below.is_elsewhere(b"/absolute");
                        drop(below);
                        let proc = Below::enter(b"/proc").map_err(fault)?;
                        if links || elsewhere != apart || !proc.is_elsewhere(b"/sys") {
                            return Err(std::io::Error::from_raw_os_error(libc::EXDEV));
                        }
                    }
                    Err(io) if io.code == libc::EPERM => {}
                    Err(io) => return Err(fault(io)),
                }
                // Back where all names are as before.
                if super::super::is_folder(&name) {
                    Ok(())
                } else {
                    Err(fault(IoError { kind: tamis_core::io::IoKind::Other, code: libc::ENOENT }))
                }
            });
        }
        assert!(command.status().unwrap().success());
        let made = |name: &str| top.join("srv/crash").join(name).is_dir();
        // SAFETY: always allowed.
        let root = unsafe { libc::geteuid() } == 0;
        assert_eq!((made("one"), made("two")), (root, root));
        std::fs::remove_dir_all(&top).unwrap();
    }
}
