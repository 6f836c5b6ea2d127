//! Files that are not whole yet: they have names of their own, which cannot be guessed, beside the file
//! that they become.
//!
//! All of them are in one list. Removing or naming one takes the list's lock, so that a signal
//! finds each of them either unfinished, and removes it, or whole under its name. A file is removed only
//! if the name still leads to what is open: it may have been moved, and the name be another file's.

use crate::fail::{Fail, Result};
use crate::render::console::remark;
use crate::streams;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

/// A file under a name of its own. Dropped, it is removed.
pub struct Pending(Arc<Entry>);

struct Entry {
    folder: OwnedFd,
    /// Device and inode of the folder.
    folder_id: (u64, u64),
    /// Its name now, and the one that it is to have.
    name: OsString,
    wanted: OsString,
    /// Device and inode of the file.
    id: (u64, u64),
    /// The path of the output as it was given.
    path: PathBuf,
    /// Whether it takes the place of another file.
    force: bool,
}

/// All that are not whole.
static ALL: Mutex<Vec<Arc<Entry>>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<Arc<Entry>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most bytes of a name, on all file systems that matter.
const NAME_MOST: usize = 255;

/// A name that is not there yet: that of the output with something behind it that cannot be guessed.
pub fn name_for(wanted: &[u8]) -> io::Result<OsString> {
    let mut random = [0; 8];
    streams::random(&mut random)?;
    let end = format!(".{:016x}.unfinished", u64::from_ne_bytes(random));
    let room = NAME_MOST - 1 - end.len();
    let mut name = b".".to_vec();
    name.extend(wanted.iter().take(room));
    name.extend(end.bytes());
    Ok(OsString::from_vec(name))
}

/// The device and the inode of a file.
fn id(stat: &rustix::fs::Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Pending {
    /// Creates a file that will be `path`.
    pub fn create(path: &Path, force: bool, mode: u32) -> Result<(Pending, File)> {
        let failed = |e: io::Error| Fail::file(path, format_args!("creating: {e}"));
        let Some(wanted) = path.file_name() else {
            return Err(Fail::file(path, "not a name").next("name a file for the output"));
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |kind| rustix::fs::open(folder, kind | flags, Mode::empty());
        // A folder that is not readable may still be writable.
        let folder = open(OFlags::RDONLY).or_else(|_| open(OFlags::PATH));
        let folder = folder.map_err(|e| failed(e.into()))?;
        watch();
        // A signal finds it in the list, or not there yet.
        let mut list = all();
        let folder_id = id(&rustix::fs::fstat(&folder).map_err(|e| failed(e.into()))?);
        if list.iter().any(|other| other.folder_id == folder_id && other.wanted == wanted) {
            return Err(Fail::file(path, "is another output of this run")
                .next("each takes a file of its own"));
        }
        let name = name_for(wanted.as_bytes()).map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let file = rustix::fs::openat(&folder, &name, flags, mode).map_err(|e| failed(e.into()))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?;
        let (wanted, path) = (wanted.to_owned(), path.to_owned());
        let id = id(&stat);
        let entry = Arc::new(Entry { folder, folder_id, name, wanted, id, path, force });
        list.push(entry.clone());
        Ok((Pending(entry), File::from(file)))
    }

    /// Removes it without a word.
    pub fn discard(self) {
        let mut list = all();
        list.retain(|other| !Arc::ptr_eq(other, &self.0));
        self.0.remove();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut list = all();
        let before = list.len();
        list.retain(|other| !Arc::ptr_eq(other, &self.0));
        if list.len() < before && self.0.remove() {
            remark(format_args!("{}: unfinished, and removed", self.0.path.display()));
        }
    }
}

/// Moves files to their names, which are on the disk then. The files themselves have to be there already.
/// If one cannot have its name, none of those that come after it has, and those before it are removed.
pub fn name_all(files: Vec<Pending>) -> Result<()> {
    let mut list = all();
    for (index, Pending(entry)) in files.iter().enumerate() {
        if let Err(fail) = entry.take_name() {
            for Pending(other) in files.iter().take(index) {
                other.remove_as(&other.wanted);
            }
            // Those that are left are in the list still, and go when they are dropped.
            drop(list);
            return Err(fail);
        }
        list.retain(|other| !Arc::ptr_eq(other, entry));
    }
    drop(list);
    files.iter().try_for_each(|Pending(entry)| entry.sync_folder())
}

impl Entry {
    /// Removes it; returns whether there was anything in it.
    fn remove(&self) -> bool {
        self.remove_as(&self.name)
    }

    fn remove_as(&self, name: &OsString) -> bool {
        let found = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let Some(stat) = found.ok().filter(|stat| id(stat) == self.id) else { return false };
        rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()).is_ok() && stat.st_size > 0
    }

    fn take_name(&self) -> Result<()> {
        let failed = |e: Errno| match e {
            Errno::EXIST => Fail::file(&self.path, "it is there by now, and was not before")
                .next("--force overwrites it"),
            e => Fail::file(&self.path, format_args!("naming it: {}", io::Error::from(e))),
        };
        let (folder, name, wanted) = (&self.folder, &self.name, &self.wanted);
        if self.force {
            return rustix::fs::renameat(folder, name, folder, wanted).map_err(failed);
        }
        match rustix::fs::renameat_with(folder, name, folder, wanted, RenameFlags::NOREPLACE) {
            // Not of this file system, or not of this kernel.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return done.map_err(failed),
        }
        match rustix::fs::linkat(folder, name, folder, wanted, AtFlags::empty()) {
            Ok(()) => {
                let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
                return Ok(());
            }
            Err(Errno::EXIST) => return Err(failed(Errno::EXIST)),
            // Nor has it links: what is left is to look, and to rename.
            Err(_) => {}
        }
        match rustix::fs::statat(folder, wanted, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(failed(Errno::EXIST)),
            Err(_) => rustix::fs::renameat(folder, name, folder, wanted).map_err(failed),
        }
    }

    /// Returns when the name would survive a power cut.
    fn sync_folder(&self) -> Result<()> {
        match rustix::fs::fsync(&self.folder) {
            // A folder that may not be read, or a file system that has no such thing.
            Ok(()) | Err(Errno::BADF | Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(e) => {
                let e = io::Error::from(e);
                Err(Fail::file(&self.path, format_args!("its folder: writing to disk: {e}"))
                    .next("it is whole, but its name may not survive a power cut"))
            }
        }
    }
}

/// Sees to it, once, that a signal that ends the program takes unfinished files with it, and that a
/// limit of file size is an error of the write that meets it.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Its flag is not looked at: the write fails.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
        // What the caller has ignored stays ignored: nohup.
        let ignored = ignored();
        let ends = [SIGINT, SIGTERM, SIGHUP];
        let ends = ends.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let Ok(mut signals) = Signals::new(ends) else { return };
        let wait = move || {
            for signal in signals.forever() {
                end(signal);
            }
        };
        // Without it, signals end the program and leave unfinished files under their own names.
        let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
    });
}

/// Signals that are ignored, a bit each, from 1 on.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// Removes what is unfinished, and ends the program as the signal would have.
fn end(signal: i32) {
    static ENDING: AtomicBool = AtomicBool::new(false);
    // Held until the program is gone: nothing is named any more.
    let list = all();
    if !ENDING.swap(true, Ordering::Relaxed) {
        let names: Vec<String> =
            list.iter().filter(|e| e.remove()).map(|e| e.path.display().to_string()).collect();
        if !names.is_empty() {
            remark(format_args!("interrupted: {}: unfinished, and removed", names.join(", ")));
        }
    }
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_enough_and_differ() {
        let long = [b'x'; 255];
        let names = [name_for(b"a").unwrap(), name_for(b"a").unwrap(), name_for(&long).unwrap()];
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() <= NAME_MOST), "{names:?}");
        assert!(names[0].as_bytes().starts_with(b".a."), "{names:?}");
    }
}
