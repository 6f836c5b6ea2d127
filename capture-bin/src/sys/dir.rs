//! Folders and names.

use super::file::{File, open};
use super::{done, last_error, with_name};
use tamis_core::error::part;
use tamis_core::io::IoError;

/// Creates a folder that is not there yet.
pub fn make_new_folder(path: &[u8]) -> Result<(), IoError> {
    // SAFETY: a NUL-ended name.
    done(with_name(path, |name| unsafe { libc::mkdir(name, 0o700) })?)
}

/// Creates a folder, unless it exists.
pub fn make_folder(path: &[u8]) -> Result<(), IoError> {
    match make_new_folder(path) {
        Err(IoError { code: libc::EEXIST, .. }) => Ok(()),
        other => other,
    }
}

/// Removes an empty folder.
pub fn remove_folder(path: &[u8]) -> Result<(), IoError> {
    // SAFETY: a NUL-ended name.
    done(with_name(path, |name| unsafe { libc::rmdir(name) })?)
}

/// Renames a file within its file system.
pub fn rename(from: &[u8], to: &[u8]) -> Result<(), IoError> {
    let renamed = with_name(from, |from| {
        // SAFETY: two NUL-ended names.
        with_name(to, |to| unsafe { libc::rename(from, to) })
    });
    done(renamed??)
}

/// Waits until a folder's names are on the medium.
pub fn sync_folder(path: &[u8]) -> Result<(), IoError> {
    let folder = open_folder(path, false)?;
    // SAFETY: an open file descriptor.
    done(unsafe { libc::fsync(folder.fd) })
}

/// Opens a folder; with `itself`, not one that a link leads to.
pub(super) fn open_folder(path: &[u8], itself: bool) -> Result<File, IoError> {
    let follow = if itself { libc::O_NOFOLLOW } else { 0 };
    open(path, libc::O_RDONLY | libc::O_DIRECTORY | follow)
}

/// Whether this is a folder itself, and not a link to one.
pub fn is_folder(path: &[u8]) -> bool {
    open_folder(path, true).is_ok()
}

/// Calls `each` with every name in a folder, in the order of the file system, without `.` and `..`. With
/// `itself`, links to folders are refused.
pub fn names_in(path: &[u8], itself: bool, each: &mut dyn FnMut(&[u8])) -> Result<(), IoError> {
    /// `struct linux_dirent64`: inode (8 bytes), offset (8), length (2), type (1), name.
    const NAME_AT: usize = 19;
    let folder = open_folder(path, itself)?;
    let mut entries = [0u8; 2048];
    loop {
        // SAFETY: an open file descriptor, and as many bytes as `entries` has.
        let n = unsafe {
            libc::syscall(libc::SYS_getdents64, folder.fd, entries.as_mut_ptr(), entries.len())
        };
        let mut rest = match usize::try_from(n) {
            Ok(0) => return Ok(()),
            Ok(n) => part(&entries, 0..n),
            Err(_) => return Err(last_error()),
        };
        while let Some((head, _)) = rest.split_first_chunk::<NAME_AT>() {
            let [.., low, high, _] = *head;
            let length = u16::from_ne_bytes([low, high]).max(NAME_AT as u16);
            let Some((entry, after)) = rest.split_at_checked(length.into()) else { break };
            let name = part(entry, NAME_AT..entry.len());
            let name = name.split(|&b| b == 0).next().unwrap_or(name);
            if !name.is_empty() && name != b"." && name != b".." {
                each(name);
            }
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::{format, vec::Vec};

    #[test]
    fn every_name_in_a_folder_is_found_once() {
        let path = std::env::temp_dir().join(format!("tamis-names-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        // More than one buffer of entries, of every length that a name may have.
        let mut names: Vec<_> = (1..=255).map(|len| "n".repeat(len).into_bytes()).collect();
        for name in &names {
            std::fs::write(path.join(std::ffi::OsStr::from_bytes(name)), b"").unwrap();
        }
        let mut found = Vec::new();
        names_in(path.as_os_str().as_bytes(), true, &mut |name| found.push(name.to_vec())).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        names.sort();
        found.sort();
        assert!(found == names, "{} names", found.len());
        assert!(names_in(b"/nowhere", true, &mut |_| {}).is_err());
        assert!(is_folder(b"/proc") && !is_folder(b"/proc/self"));
        assert!(names_in(b"/proc/self", false, &mut |_| {}).is_ok());
        assert!(names_in(b"/proc/self", true, &mut |_| {}).is_err());
    }
}
