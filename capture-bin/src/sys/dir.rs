//! Folders and names.

use super::file::open;
use super::{done, last_error, with_name};
use tamis_core::io::IoError;

/// Makes a folder; one that is there already will do.
pub fn make_folder(path: &[u8]) -> Result<(), IoError> {
    // SAFETY: a NUL-ended name.
    match done(with_name(path, |name| unsafe { libc::mkdir(name, 0o700) })?) {
        Err(IoError { code: libc::EEXIST, .. }) => Ok(()),
        other => other,
    }
}

/// Removes an empty folder.
pub fn remove_folder(path: &[u8]) -> Result<(), IoError> {
    // SAFETY: a NUL-ended name.
    done(with_name(path, |name| unsafe { libc::rmdir(name) })?)
}

/// Gives a file another name in the same file system.
pub fn rename(from: &[u8], to: &[u8]) -> Result<(), IoError> {
    let renamed = with_name(from, |from| {
        // SAFETY: two NUL-ended names.
        with_name(to, |to| unsafe { libc::rename(from, to) })
    });
    done(renamed??)
}

/// Waits until a folder's names are on the medium.
pub fn sync_folder(path: &[u8]) -> Result<(), IoError> {
    let folder = open(path, libc::O_RDONLY | libc::O_DIRECTORY)?;
    // SAFETY: an open file descriptor.
    done(unsafe { libc::fsync(folder.fd) })
}

/// Gives `each` the names in a folder, as they come. `.` and `..` are left out.
pub fn names_in(path: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), IoError> {
    /// `struct linux_dirent64`: inode (8), offset (8), length (2), type (1), name.
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let folder = open(path, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut entries = [0u8; 2048];
    loop {
        // SAFETY: an open file descriptor, and as many bytes as `entries` has.
        let n = unsafe {
            libc::syscall(libc::SYS_getdents64, folder.fd, entries.as_mut_ptr(), entries.len())
        };
        let mut rest = match usize::try_from(n) {
            Ok(0) => return Ok(()),
            Ok(n) => entries.get(..n).unwrap_or_default(),
            Err(_) => return Err(last_error()),
        };
        while let Some(length) = tamis_core::endian::Endian::Little.u16(rest, LENGTH_AT) {
            let entry = rest.get(..length.into()).unwrap_or_default();
            let name = entry.get(NAME_AT..).unwrap_or_default();
            let name = name.split(|&b| b == 0).next().unwrap_or_default();
            if !name.is_empty() && name != b"." && name != b".." {
                each(name);
            }
            rest = match rest.get(length.max(1).into()..) {
                Some(rest) => rest,
                None => break,
            };
        }
    }
}
