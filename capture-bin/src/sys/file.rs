//! Files.

use super::signal::stop_asked;
use super::{STDERR, STDOUT, done, error_of, last_error, with_name};
use core::ffi::c_int;
use tamis_core::error::{part, part_mut};
use tamis_core::io::{IoError, IoKind};

/// What `statfs` calls procfs, and file systems in memory (Linux `include/uapi/linux/magic.h`).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

const EOF: IoError = IoError { kind: IoKind::Eof, code: 0 };
const TOO_FAR: IoError = IoError { kind: IoKind::NoSpace, code: libc::EFBIG };

/// An open file. Closed when it is dropped.
#[derive(Debug)]
pub struct File {
    pub(super) fd: c_int,
}

/// A write that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteError {
    /// Why.
    pub io: IoError,
    /// Bytes that were written before.
    pub written: u64,
}

impl From<WriteError> for IoError {
    fn from(error: WriteError) -> IoError {
        error.io
    }
}

/// What kind of thing a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A regular file, and its size in bytes.
    Regular(u64),
    /// A block device.
    Block,
    /// A pipe, a terminal, `/dev/null`, ...
    Other,
}

/// What a file is, whatever it is called: device and inode, or the number of a block device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity(u64, u64);

/// What would be lost if an output took this name: the file behind it, or the block device behind a link.
/// A link itself can be replaced.
pub fn identity(path: &[u8]) -> Option<Identity> {
    let follow = open(path, libc::O_PATH).ok()?;
    if follow.kind() == Ok(FileKind::Block) {
        return follow.identity();
    }
    open(path, libc::O_PATH | libc::O_NOFOLLOW).ok()?.identity()
}

/// Whether a folder is in memory, as those of an initramfs are.
pub fn is_in_memory(path: &[u8]) -> bool {
    let kind = open(path, libc::O_PATH).map(|folder| folder.file_system());
    matches!(kind, Ok(TMPFS_MAGIC | RAMFS_MAGIC))
}

/// Whether a name is that of a regular file, and of no link to one.
pub fn is_regular(path: &[u8]) -> bool {
    let kind = open(path, libc::O_PATH | libc::O_NOFOLLOW).and_then(|file| file.kind());
    matches!(kind, Ok(FileKind::Regular(_)))
}

/// Opens a file.
pub(super) fn open(path: &[u8], flags: c_int) -> Result<File, IoError> {
    // SAFETY: a NUL-ended name.
    let fd = with_name(path, |name| unsafe { libc::open(name, flags | libc::O_CLOEXEC, 0o600) })?;
    if fd < 0 { Err(last_error()) } else { Ok(File { fd }) }
}

/// Deletes a regular file; devices and others stay.
pub fn unlink_regular(path: &[u8]) -> Result<(), IoError> {
    if is_regular(path) { unlink(path) } else { Ok(()) }
}

/// Deletes a file.
pub fn unlink(path: &[u8]) -> Result<(), IoError> {
    // SAFETY: a NUL-ended name.
    done(with_name(path, |name| unsafe { libc::unlink(name) })?)
}

impl File {
    /// Opens a file to read it.
    pub fn open(path: &[u8]) -> Result<File, IoError> {
        open(path, libc::O_RDONLY)
    }

    /// Creates a file that only its owner can read. An existing one, or a symbolic link, is
    /// refused, unless `force`.
    ///
    /// Then a device or pipe is written to, through a link as well. Anything else that has the name
    /// is replaced, not written over: it may be a link that another user made to a file that is
    /// not ours, or be open for reading already.
    pub fn create(path: &[u8], force: bool) -> Result<File, IoError> {
        const NEW: c_int = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        if force {
            match open(path, libc::O_PATH).and_then(|file| file.kind()) {
                Ok(FileKind::Block | FileKind::Other) => return open(path, libc::O_RDWR),
                Ok(FileKind::Regular(_))
                | Err(IoError { code: libc::ENOENT | libc::ELOOP, .. }) => match unlink(path) {
                    Ok(()) | Err(IoError { code: libc::ENOENT, .. }) => {}
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        let file = open(path, NEW)?;
        // SAFETY: an open file descriptor. Whatever the umask is.
        if unsafe { libc::fchmod(file.fd, 0o600) } != 0 {
            // A file system that has no modes (vfat) takes none.
            let error = last_error();
            if error.code != libc::EPERM && error.code != libc::EOPNOTSUPP {
                return Err(error);
            }
        }
        Ok(file)
    }

    /// Standard output.
    pub fn stdout() -> File {
        File::standard(STDOUT)
    }

    /// Standard input, output or error.
    pub fn standard(fd: c_int) -> File {
        File { fd }
    }

    /// Another descriptor of the same open file.
    pub fn duplicate(&self) -> Result<File, IoError> {
        // SAFETY: an open file descriptor.
        let fd = unsafe { libc::dup(self.fd) };
        if fd < 0 { Err(last_error()) } else { Ok(File { fd }) }
    }

    pub(super) fn stat(&self) -> Result<libc::stat, IoError> {
        // SAFETY: `stat` is plain numbers, for which zeros are a value.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: an open file descriptor and a place of the right type.
        done(unsafe { libc::fstat(self.fd, &mut stat) })?;
        Ok(stat)
    }

    /// What it is.
    pub fn kind(&self) -> Result<FileKind, IoError> {
        let stat = self.stat()?;
        Ok(match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::Regular(u64::try_from(stat.st_size).unwrap_or(0)),
            libc::S_IFBLK => FileKind::Block,
            _ => FileKind::Other,
        })
    }

    /// Whether it has lost its last name: it is gone once it is closed.
    pub fn is_deleted(&self) -> bool {
        self.stat()
            .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_nlink == 0)
    }

    /// Which file it is; none for what has nothing that could be lost (a pipe, a terminal).
    pub fn identity(&self) -> Option<Identity> {
        let stat = self.stat().ok()?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => Some(Identity(stat.st_dev, stat.st_ino)),
            // No device has this inode.
            libc::S_IFBLK => Some(Identity(stat.st_rdev, u64::MAX)),
            _ => None,
        }
    }

    /// The kind of its file system; 0 where unknown.
    fn file_system(&self) -> u64 {
        // SAFETY: `statfs` is plain numbers, for which zeros are a value.
        let mut stat: libc::statfs = unsafe { core::mem::zeroed() };
        // SAFETY: an open file descriptor and a place of the right type.
        match unsafe { libc::fstatfs(self.fd, &mut stat) } {
            // A signed number of 32 bits on some machines, which RAMFS_MAGIC makes negative.
            0 => stat.f_type as u32 as u64,
            _ => 0,
        }
    }

    /// Whether it is one of the files of /proc, such as /proc/vmcore.
    pub fn is_in_proc(&self) -> bool {
        self.file_system() == PROC_SUPER_MAGIC
    }

    /// Fills `buf` from `at`, whole or not at all.
    pub fn read_at(&self, mut at: u64, mut buf: &mut [u8]) -> Result<(), IoError> {
        while !buf.is_empty() {
            match self.read_some(at, buf)? {
                0 => return Err(EOF),
                n => {
                    let len = buf.len();
                    buf = part_mut(buf, n..len);
                    at = at.saturating_add(n as u64);
                }
            }
        }
        Ok(())
    }

    /// Reads what there is from `at` on, up to the length of `buf`; 0 at the end.
    pub fn read_some(&self, at: u64, buf: &mut [u8]) -> Result<usize, IoError> {
        let at = libc::off_t::try_from(at).map_err(|_| EOF)?;
        loop {
            // SAFETY: an open file descriptor, and as many bytes as `buf` has.
            let n = unsafe { libc::pread(self.fd, buf.as_mut_ptr().cast(), buf.len(), at) };
            match usize::try_from(n) {
                Ok(n) => return Ok(n),
                Err(_) => match last_error() {
                    IoError { code: libc::EINTR, .. } => {}
                    error => return Err(error),
                },
            }
        }
    }

    /// Writes all of `buf` at `at`.
    pub fn write_at(&self, at: u64, buf: &[u8]) -> Result<(), WriteError> {
        self.write_all(buf, |done, rest| {
            let at = at.checked_add(done).and_then(|at| libc::off_t::try_from(at).ok());
            let at = at.ok_or(TOO_FAR)?;
            // SAFETY: an open file descriptor, and as many bytes as `rest` has.
            Ok(unsafe { libc::pwrite(self.fd, rest.as_ptr().cast(), rest.len(), at) })
        })
    }

    /// Writes all of `buf` at the end of a stream.
    pub fn write(&self, buf: &[u8]) -> Result<(), WriteError> {
        self.write_all(buf, |_, rest| {
            // SAFETY: an open file descriptor, and as many bytes as `rest` has.
            Ok(unsafe { libc::write(self.fd, rest.as_ptr().cast(), rest.len()) })
        })
    }

    fn write_all(
        &self,
        buf: &[u8],
        mut write: impl FnMut(u64, &[u8]) -> Result<isize, IoError>,
    ) -> Result<(), WriteError> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            let failed = |io| WriteError { io, written: done as u64 };
            let n = write(done as u64, rest).map_err(failed)?;
            match usize::try_from(n) {
                // A device that writes nothing and reports no error has no room.
                Ok(0) => return Err(failed(error_of(libc::ENOSPC))),
                Ok(n) => done += n,
                Err(_) => match last_error() {
                    // A reader that does not come must not keep a program that is to stop.
                    IoError { code: libc::EINTR, .. } if !stop_asked() => {}
                    IoError { code: libc::EAGAIN, .. } if self.wait_for_room() => {}
                    error => return Err(failed(error)),
                },
            }
        }
        Ok(())
    }

    /// Whether reads and writes bypass the page cache (O_DIRECT) from now on. Memory, offset and length of each
    /// write and read must be aligned then ([`File::direct_alignment`]).
    pub fn set_direct(&self, on: bool) -> Result<(), IoError> {
        let flags = if on { libc::O_DIRECT } else { 0 };
        // SAFETY: an open file descriptor; of its flags this program sets no other.
        done(unsafe { libc::fcntl(self.fd, libc::F_SETFL, flags) })
    }

    /// What memory and offsets must be multiples of to be written past the page cache, as far as
    /// the system reports it: 0 where it does not (before Linux 6.1), `u64::MAX` where it cannot be
    /// done.
    pub fn direct_alignment(&self) -> u64 {
        /// `struct statx`: `stx_mask` and, where that has `STATX_DIOALIGN`, `stx_dio_mem_align` and
        /// `stx_dio_offset_align` (Linux `include/uapi/linux/stat.h`).
        const DIOALIGN: u32 = 0x2000;
        let mut raw = [0u32; 64];
        // SAFETY: an open file descriptor, an empty name that ends as C wants it, and the 256 bytes
        // of a `struct statx`.
        let result = unsafe {
            libc::syscall(
                libc::SYS_statx,
                self.fd,
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                DIOALIGN,
                raw.as_mut_ptr(),
            )
        };
        let [mask, ..] = raw;
        let (memory, offset) = (raw[38], raw[39]);
        match (result, mask & DIOALIGN) {
            (0, DIOALIGN) if memory == 0 || offset == 0 => u64::MAX,
            (0, DIOALIGN) => memory.max(offset).into(),
            _ => 0,
        }
    }

    /// Waits until a file that does not block takes more. Returns whether to go on.
    fn wait_for_room(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.fd, events: libc::POLLOUT, revents: 0 };
        // SAFETY: one entry, as the count says.
        unsafe { libc::poll(&mut poll, 1, -1) };
        !stop_asked()
    }

    /// Takes space for the bytes from `from` to `to`, where the file system can.
    pub fn reserve(&self, from: u64, to: u64) {
        let (Ok(at), Ok(len)) = (from.try_into(), to.saturating_sub(from).try_into()) else {
            return;
        };
        // SAFETY: an open file descriptor. It is an optimisation: an error does not matter.
        unsafe { libc::fallocate(self.fd, 0, at, len) };
    }

    /// Starts writing bytes from the page cache to the medium.
    pub fn begin_write_out(&self, from: u64, to: u64) -> Result<(), IoError> {
        self.write_out(from, to, libc::SYNC_FILE_RANGE_WRITE)
    }

    /// Waits until bytes are on the medium, and drops their pages from the page cache. The system
    /// reports an error only once: [`File::sync_data`] will not report it again.
    pub fn end_write_out(&self, from: u64, to: u64) -> Result<(), IoError> {
        let whole = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        self.write_out(from, to, whole)?;
        if let (Ok(at), Ok(len)) = (from.try_into(), to.saturating_sub(from).try_into()) {
            // SAFETY: an open file descriptor. It is advice.
            unsafe { libc::posix_fadvise(self.fd, at, len, libc::POSIX_FADV_DONTNEED) };
        }
        Ok(())
    }

    fn write_out(&self, from: u64, to: u64, how: libc::c_uint) -> Result<(), IoError> {
        let (Ok(at), Ok(len)) = (from.try_into(), to.saturating_sub(from).try_into()) else {
            return Err(TOO_FAR);
        };
        // SAFETY: an open file descriptor.
        match done(unsafe { libc::sync_file_range(self.fd, at, len, how) }) {
            // Files that do not support it are written when they are synced.
            Err(IoError { code: libc::EINVAL | libc::ESPIPE | libc::ENOSYS, .. }) => Ok(()),
            other => other,
        }
    }

    /// Makes the file `len` bytes long.
    pub fn set_len(&self, len: u64) -> Result<(), IoError> {
        let len = libc::off_t::try_from(len).map_err(|_| TOO_FAR)?;
        // SAFETY: an open file descriptor.
        match unsafe { libc::ftruncate(self.fd, len) } {
            0 => Ok(()),
            _ => Err(last_error()),
        }
    }

    /// Waits until the data written is on the medium. What cannot be synced (a pipe, `/dev/null`)
    /// needs no wait.
    pub fn sync_data(&self) -> Result<(), IoError> {
        // SAFETY: an open file descriptor.
        match unsafe { libc::fdatasync(self.fd) } {
            0 => Ok(()),
            _ => match last_error() {
                IoError { code: libc::EINVAL | libc::EROFS, .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        // SAFETY: any number may be asked about.
        unsafe { libc::isatty(self.fd) == 1 }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.fd > STDERR {
            // SAFETY: ours, and not used afterwards.
            unsafe { libc::close(self.fd) };
        }
    }
}

/// Writes to a terminal or log. Errors do not matter there; one that is full is not waited for.
pub fn print(fd: c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: any number may be tried, and there are as many bytes as `bytes` has.
        let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(n) {
            Ok(n @ 1..) => bytes = part(bytes, n..bytes.len()),
            Ok(0) => return,
            Err(_) if last_error().code == libc::EINTR => {}
            Err(_) => return,
        }
    }
}

/// Whether a file descriptor is a terminal.
pub fn is_terminal(fd: c_int) -> bool {
    core::mem::ManuallyDrop::new(File { fd }).is_terminal()
}
