//! The system: the only calls to the C library. Everything here gives a safe interface.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use tamis_core::capture::crew::{Crew, Next, Queue, Side};
use tamis_core::io::{IoError, IoKind};

// Without std nothing else links the C library.
#[cfg(not(test))]
#[link(name = "c")]
unsafe extern "C" {}

/// File descriptor of standard output.
pub const STDOUT: c_int = 1;
/// File descriptor of standard error.
pub const STDERR: c_int = 2;

/// Longest file name, its NUL included.
const PATH_MAX: usize = 4096;

/// The words of the command line.
///
/// # Safety
/// `argc` and `argv` must be those of `main`: an array of `argc` pointers to NUL-ended strings that
/// live as long as the process.
pub unsafe fn arguments(
    argc: c_int,
    argv: *const *const c_char,
) -> impl Iterator<Item = &'static [u8]> {
    (0..usize::try_from(argc).unwrap_or(0)).map_while(move |index| {
        // SAFETY: the caller's promise; `index` is below `argc`.
        unsafe {
            let word = *argv.add(index);
            (!word.is_null()).then(|| CStr::from_ptr(word).to_bytes())
        }
    })
}

/// The last error of the system, as the engine sees it.
fn last_error() -> IoError {
    // SAFETY: the C library's own variable, always there.
    error_of(unsafe { *libc::__errno_location() })
}

fn error_of(code: c_int) -> IoError {
    let kind = match code {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => IoKind::NoSpace,
        libc::EHWPOISON => IoKind::Poisoned,
        _ => IoKind::Other,
    };
    IoError { kind, code }
}

/// What `statfs` calls procfs (Linux `include/uapi/linux/magic.h`).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

const EOF: IoError = IoError { kind: IoKind::Eof, code: 0 };
const TOO_FAR: IoError = IoError { kind: IoKind::NoSpace, code: libc::EFBIG };

/// What the system says about an error number.
pub fn describe(code: c_int) -> &'static [u8] {
    // SAFETY: strerror gives a NUL-ended string; musl's are constants, and of all threads only the
    // first one calls it.
    unsafe {
        let text = libc::strerror(code);
        if text.is_null() { b"" } else { CStr::from_ptr(text).to_bytes() }
    }
}

/// Ends the process.
pub fn exit(status: c_int) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(status) }
}

/// An open file. Closed when it is dropped.
#[derive(Debug)]
pub struct File {
    fd: c_int,
}

/// What kind of thing a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A regular file of so many bytes.
    Regular(u64),
    /// A block device.
    Block,
    /// A pipe, a terminal, `/dev/null`, ...
    Other,
}

/// Calls `call` with a name that ends as C wants it.
fn with_name<T>(path: &[u8], call: impl FnOnce(*const c_char) -> T) -> Result<T, IoError> {
    let mut name = [0u8; PATH_MAX];
    let fits = path.len() < PATH_MAX && !path.contains(&0);
    let Some(room) = name.get_mut(..path.len()).filter(|_| fits) else {
        return Err(IoError { kind: IoKind::Other, code: libc::ENAMETOOLONG });
    };
    room.copy_from_slice(path);
    Ok(call(name.as_ptr().cast()))
}

fn done(result: c_int) -> Result<(), IoError> {
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// Opens a file.
fn open(path: &[u8], flags: c_int) -> Result<File, IoError> {
    // SAFETY: a NUL-ended name.
    let fd = with_name(path, |name| unsafe { libc::open(name, flags | libc::O_CLOEXEC, 0o600) })?;
    if fd < 0 { Err(last_error()) } else { Ok(File { fd }) }
}

/// Deletes a regular file; devices and others stay.
pub fn unlink_regular(path: &[u8]) -> Result<(), IoError> {
    match open(path, libc::O_PATH | libc::O_NOFOLLOW)?.kind()? {
        FileKind::Regular(_) => unlink(path),
        _ => Ok(()),
    }
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
    /// is replaced, not written over: it may be a link of somebody else's making to a file that is
    /// none of ours, or be open for reading already.
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
        File { fd: STDOUT }
    }

    /// The same open file again.
    pub fn another(&self) -> Result<File, IoError> {
        // SAFETY: an open file descriptor.
        let fd = unsafe { libc::dup(self.fd) };
        if fd < 0 { Err(last_error()) } else { Ok(File { fd }) }
    }

    /// What it is.
    pub fn kind(&self) -> Result<FileKind, IoError> {
        // SAFETY: `stat` is plain numbers, for which zeros are a value.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: an open file descriptor and a place of the right type.
        if unsafe { libc::fstat(self.fd, &mut stat) } != 0 {
            return Err(last_error());
        }
        Ok(match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::Regular(u64::try_from(stat.st_size).unwrap_or(0)),
            libc::S_IFBLK => FileKind::Block,
            _ => FileKind::Other,
        })
    }

    /// Whether it is one of the files of /proc, such as /proc/vmcore.
    pub fn is_in_proc(&self) -> bool {
        // SAFETY: `statfs` is plain numbers, for which zeros are a value.
        let mut stat: libc::statfs = unsafe { core::mem::zeroed() };
        // SAFETY: an open file descriptor and a place of the right type.
        let told = unsafe { libc::fstatfs(self.fd, &mut stat) } == 0;
        told && stat.f_type as u64 == PROC_SUPER_MAGIC
    }

    /// Fills `buf` from `at`, whole or not at all.
    pub fn read_at(&self, mut at: u64, mut buf: &mut [u8]) -> Result<(), IoError> {
        while !buf.is_empty() {
            match self.read_some(at, buf)? {
                0 => return Err(EOF),
                n => {
                    buf = buf.get_mut(n..).unwrap_or_default();
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

    /// Writes all of `buf` at `at`. An error comes with the number of bytes that were written.
    pub fn write_at(&self, at: u64, buf: &[u8]) -> Result<(), (IoError, u64)> {
        self.write_all(buf, |done, rest| {
            let at = at.checked_add(done).and_then(|at| libc::off_t::try_from(at).ok());
            let at = at.ok_or(TOO_FAR)?;
            // SAFETY: an open file descriptor, and as many bytes as `rest` has.
            Ok(unsafe { libc::pwrite(self.fd, rest.as_ptr().cast(), rest.len(), at) })
        })
    }

    /// Writes all of `buf` at the end of a stream. An error comes with the number of bytes that
    /// were written.
    pub fn write(&self, buf: &[u8]) -> Result<(), (IoError, u64)> {
        self.write_all(buf, |_, rest| {
            // SAFETY: an open file descriptor, and as many bytes as `rest` has.
            Ok(unsafe { libc::write(self.fd, rest.as_ptr().cast(), rest.len()) })
        })
    }

    fn write_all(
        &self,
        buf: &[u8],
        mut write: impl FnMut(u64, &[u8]) -> Result<isize, IoError>,
    ) -> Result<(), (IoError, u64)> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            let n = write(done as u64, rest).map_err(|e| (e, done as u64))?;
            match usize::try_from(n) {
                // A device that takes nothing and does not say why has no room.
                Ok(0) => return Err((error_of(libc::ENOSPC), done as u64)),
                Ok(n) => done += n,
                Err(_) => match last_error() {
                    // A reader that does not come must not keep a program that is to stop.
                    IoError { code: libc::EINTR, .. } if !stop_asked() => {}
                    IoError { code: libc::EAGAIN, .. } if self.wait_for_room() => {}
                    error => return Err((error, done as u64)),
                },
            }
        }
        Ok(())
    }

    /// Has what is written go past the page cache, or no longer. Memory, offset and length of each
    /// write and read must be aligned then ([`File::direct_alignment`]).
    pub fn set_direct(&self, on: bool) -> Result<(), IoError> {
        let flags = if on { libc::O_DIRECT } else { 0 };
        // SAFETY: an open file descriptor; of its flags this program sets no other.
        done(unsafe { libc::fcntl(self.fd, libc::F_SETFL, flags) })
    }

    /// What memory and offsets must be multiples of to be written past the page cache, as far as
    /// the system tells: 0 where it does not (before Linux 6.1), `u64::MAX` where it cannot be
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

    /// Waits until something that does not block by itself takes more. Whether to go on.
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
        // SAFETY: an open file descriptor. Nobody depends on it: an error is no error.
        unsafe { libc::fallocate(self.fd, 0, at, len) };
    }

    /// Begins to bring bytes to the medium that are in the page cache only.
    pub fn begin_write_out(&self, from: u64, to: u64) -> Result<(), IoError> {
        self.write_out(from, to, libc::SYNC_FILE_RANGE_WRITE)
    }

    /// Waits until bytes are on the medium, and gives up their pages in the page cache. An error is
    /// not told a second time, by [`File::sync_data`] for one.
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
            // What cannot do it does it later, when it is synced.
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

/// Writes to a terminal or log; errors do not matter there, and one that is full is not waited for.
pub fn print(fd: c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: any number may be tried, and there are as many bytes as `bytes` has.
        let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(n) {
            Ok(n @ 1..) => bytes = bytes.get(n..).unwrap_or_default(),
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

/// Nanoseconds since some moment.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a clock that is always there, and a place of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Bytes of a page of the running kernel.
pub fn page_size() -> u64 {
    // SAFETY: always allowed.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

unsafe extern "C" {
    // Set by the linker: the first byte of the program in memory, and one past the last.
    static __ehdr_start: u8;
    static _end: u8;
}

/// Bytes of address space that the program's own text and static data take.
pub fn image_size() -> u64 {
    // Only their addresses are taken.
    let (start, end) = (&raw const __ehdr_start, &raw const _end);
    (end as u64).saturating_sub(start as u64).next_multiple_of(page_size())
}

/// Maps zeroed memory that only this process has. Never unmapped.
pub fn map_memory(len: usize) -> Result<*mut u8, IoError> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: no address is asked for, so nothing that exists is touched.
    let at = unsafe { libc::mmap(null_mut(), len, prot, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(last_error()) } else { Ok(at.cast()) }
}

/// Where the mapped windows of file are; looked at by the signal handler.
static WINDOWS: [WindowPlace; MAX_THREADS + 1] = [const { WindowPlace::new() }; MAX_THREADS + 1];

struct WindowPlace {
    used: AtomicBool,
    at: AtomicUsize,
    len: AtomicUsize,
    /// Whether bytes of it were replaced by zeros.
    broke: AtomicBool,
}

impl WindowPlace {
    const fn new() -> WindowPlace {
        WindowPlace {
            used: AtomicBool::new(false),
            at: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            broke: AtomicBool::new(false),
        }
    }
}

/// On SIGBUS inside a window: puts a page of zeros over the fault and says so. Anywhere else the
/// signal is a bug, and kills.
///
/// It runs in the thread that looks at the window, which is the one that writes its place: relaxed
/// loads see what that wrote.
extern "C" fn on_sigbus(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel gives a valid siginfo, whose si_addr is set for SIGBUS.
    let fault = unsafe { (*info).si_addr() } as usize;
    let page = page_size() as usize;
    for place in &WINDOWS {
        let at = place.at.load(Ordering::Relaxed);
        if fault.wrapping_sub(at) >= place.len.load(Ordering::Relaxed) {
            continue;
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let start = (fault & !(page - 1)) as *mut c_void;
        // SAFETY: the page lies in the window's own mapping (whose start and length are whole
        // pages), which is only read, and by this thread alone; mmap is a plain system call,
        // allowed in a handler.
        let zeros = unsafe { libc::mmap(start, page, libc::PROT_READ, flags, -1, 0) };
        if zeros != libc::MAP_FAILED {
            place.broke.store(true, Ordering::Relaxed);
            return;
        }
    }
    // SAFETY: restoring the default action, so that the fault, coming again, ends the process.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

/// A window into a file, mapped for reading; used by one thread at a time. There are up to
/// [`MAX_THREADS`] and one in the process.
pub struct Window {
    place: &'static WindowPlace,
    at: *mut c_void,
    len: usize,
    offset: u64,
    /// The window that could not be mapped last: not to be tried again for each page of it.
    refused: Option<u64>,
    handles: bool,
    page: u64,
}

impl Window {
    /// Bytes of a window.
    pub const LEN: u64 = 4 << 20;

    /// Nothing is mapped yet. `None` if there are too many.
    pub fn new() -> Option<Window> {
        let place = WINDOWS.iter().find(|p| !p.used.swap(true, Ordering::Relaxed))?;
        Some(Window {
            place,
            at: null_mut(),
            len: 0,
            offset: 0,
            refused: None,
            handles: false,
            page: page_size(),
        })
    }

    /// The bytes `[at, at + len)` of `file`, which has `size` bytes; `None` where they cannot be
    /// mapped.
    pub fn bytes(&mut self, file: &File, size: u64, at: u64, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len as u64).filter(|&end| end <= size)?;
        if at < self.offset || end > self.offset + self.len as u64 {
            self.move_to(file, size, at, end)?;
        }
        let inside = usize::try_from(at - self.offset).ok()?;
        if inside.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: the mapping has `self.len` readable bytes, of which these are a part. It stays
        // until `move_to` or `drop`, which need `&mut self`, while the slice borrows `self`. The
        // file is the memory of a dead kernel (or a copy), which does not change; a page of it
        // that cannot be read becomes zeros before the read that faults returns.
        Some(unsafe { core::slice::from_raw_parts(self.at.cast::<u8>().add(inside), len) })
    }

    /// Whether bytes were replaced by zeros since the last call. The mapping is given up then.
    pub fn broke(&mut self) -> bool {
        if !self.place.broke.swap(false, Ordering::Relaxed) {
            return false;
        }
        self.unmap();
        true
    }

    fn unmap(&mut self) {
        if self.len > 0 {
            self.place.len.store(0, Ordering::Relaxed);
            // SAFETY: our own mapping, to which no slice is left (they borrow `self`).
            unsafe { libc::munmap(self.at, self.len) };
        }
        (self.at, self.len, self.offset) = (null_mut(), 0, 0);
    }

    fn move_to(&mut self, file: &File, size: u64, at: u64, end: u64) -> Option<()> {
        let offset = at / self.page * self.page;
        if self.refused == Some(offset) {
            return None;
        }
        let most = size - offset;
        let len = (end - offset).max(Window::LEN).min(most).next_multiple_of(self.page);
        self.install_handler();
        self.unmap();
        let (len, off) = (usize::try_from(len).ok()?, libc::off_t::try_from(offset).ok()?);
        // SAFETY: no address is asked for, so nothing that exists is touched.
        let at = unsafe {
            libc::mmap(null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, file.fd, off)
        };
        if at == libc::MAP_FAILED {
            self.refused = Some(offset);
            return None;
        }
        (self.at, self.len, self.offset) = (at, len, offset);
        self.place.at.store(at as usize, Ordering::Relaxed);
        self.place.len.store(len, Ordering::Relaxed);
        Some(())
    }

    fn install_handler(&mut self) {
        if self.handles {
            return;
        }
        self.handles = true;
        // SAFETY: `sigaction` is plain numbers, for which zeros are a value; the handler has the
        // type that SA_SIGINFO asks for and touches only atomics and its own mapping.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGBUS, &action, null_mut());
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.unmap();
        self.place.used.store(false, Ordering::Relaxed);
    }
}

// SAFETY: the pointer is to a mapping that only this window knows, readable from every thread; its
// place is made of atomics.
unsafe impl Send for Window {}

/// Most threads beside the first.
pub const MAX_THREADS: usize = 32;

/// CPUs that this process may run on.
pub fn cpus() -> usize {
    let mut set = [0u64; 128];
    // SAFETY: a place of the size given.
    let size = unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&set), set.as_mut_ptr())
    };
    let count: u32 = set.iter().map(|word| word.count_ones()).sum();
    if size > 0 { (count as usize).max(1) } else { 1 }
}

/// A value behind a lock, with a place to wait at for each [`Side`].
///
/// Waiting threads sleep in the kernel (futex(2)); nobody spins.
pub struct Monitor<T> {
    lock: AtomicU32,
    /// The capturing thread's side, and that of the workers.
    sides: [Waiting; 2],
    value: UnsafeCell<T>,
}

/// The threads of a side that wait.
struct Waiting {
    /// How many there are. It changes while the lock is held.
    count: AtomicU32,
    /// Calls made to them.
    calls: AtomicU32,
}

impl Waiting {
    const fn none() -> Waiting {
        Waiting { count: AtomicU32::new(0), calls: AtomicU32::new(0) }
    }
}

// SAFETY: the value is only reached with the lock held (`wait`), and may go from thread to thread.
unsafe impl<T: Send> Sync for Monitor<T> {}

/// Nobody holds the lock; one thread does; one does and others may sleep.
const FREE: u32 = 0;
const HELD: u32 = 1;
const WANTED: u32 = 2;

/// Sleeps while `word` is `value`, or not at all, or until woken.
fn futex_wait(word: &AtomicU32, value: u32) {
    let how = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let none = null_mut::<libc::timespec>();
    // SAFETY: the address of a live word, and no time limit.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), how, value, none) };
}

/// Wakes one that sleeps at `word`.
fn futex_wake(word: &AtomicU32) {
    let how = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the address of a live word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), how, 1) };
}

impl<T> Monitor<T> {
    /// Nobody holds it.
    pub const fn new(value: T) -> Monitor<T> {
        let sides = [Waiting::none(), Waiting::none()];
        Monitor { lock: AtomicU32::new(FREE), sides, value: UnsafeCell::new(value) }
    }

    fn lock(&self) {
        let free = self.lock.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        if free.is_err() {
            while self.lock.swap(WANTED, Ordering::Acquire) != FREE {
                futex_wait(&self.lock, WANTED);
            }
        }
    }

    fn unlock(&self) {
        if self.lock.swap(FREE, Ordering::Release) == WANTED {
            futex_wake(&self.lock);
        }
    }

    /// See [`Crew::wait`].
    pub fn wait(&self, side: Side, look: &mut dyn FnMut(&mut T) -> Next) {
        let [capture, worker] = &self.sides;
        let (own, other) = match side {
            Side::Capture => (capture, worker),
            Side::Worker => (worker, capture),
        };
        self.lock();
        // SAFETY: the lock is held from `lock` to `unlock`, so that no other thread has a reference
        // to the value; this one has none while it sleeps.
        let mut next = look(unsafe { &mut *self.value.get() });
        while next == Next::Wait {
            // A call made after this load changes the word, and the kernel does not put the thread
            // to sleep.
            let calls = own.calls.load(Ordering::Relaxed);
            own.count.fetch_add(1, Ordering::Relaxed);
            self.unlock();
            futex_wait(&own.calls, calls);
            self.lock();
            own.count.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: as above.
            next = look(unsafe { &mut *self.value.get() });
        }
        // Nobody else begins to wait while the lock is held: who does not now will look first.
        let wake = next == Next::GoAndWake && other.count.load(Ordering::Relaxed) > 0;
        if wake {
            other.calls.fetch_add(1, Ordering::Relaxed);
        }
        self.unlock();
        if wake {
            futex_wake(&other.calls);
        }
    }
}

impl<'m> Crew<'m> for Monitor<Queue<'m>> {
    fn wait(&self, side: Side, look: &mut dyn FnMut(&mut Queue<'m>) -> Next) {
        Monitor::wait(self, side, look);
    }
}

/// What a thread does.
pub trait Work: Send {
    /// Does it.
    fn work(&mut self);
}

extern "C" fn start<W: Work>(worker: *mut c_void) -> *mut c_void {
    // SAFETY: `with_workers` gives each thread a worker of its own of this type, which it does not
    // touch before the thread has ended.
    unsafe { (*worker.cast::<W>()).work() };
    null_mut()
}

/// Runs `main` here and each of the `workers` in a thread of its own, on its piece of `stacks`;
/// comes back when all have ended. Workers for whom there is no thread to be had are left out.
pub fn with_workers<W: Work, R>(
    workers: &mut [W],
    stacks: &mut [u8],
    main: impl FnOnce() -> R,
) -> R {
    /// Joins, also if `main` unwinds.
    struct Threads(heapless::Vec<libc::pthread_t, MAX_THREADS>);
    impl Drop for Threads {
        fn drop(&mut self) {
            for thread in &self.0 {
                // SAFETY: a thread of ours that nobody else joins.
                unsafe { libc::pthread_join(*thread, null_mut()) };
            }
        }
    }
    let mut threads = Threads(heapless::Vec::new());
    let stack = stacks.len().checked_div(workers.len()).unwrap_or(0) & !15;
    for (worker, stack) in workers.iter_mut().zip(stacks.chunks_exact_mut(stack.max(1))) {
        if threads.0.is_full() {
            break;
        }
        // SAFETY: plain numbers, for which zeros are a value until they are initialised.
        let mut attributes: libc::pthread_attr_t = unsafe { core::mem::zeroed() };
        let mut thread: core::mem::MaybeUninit<libc::pthread_t> = core::mem::MaybeUninit::uninit();
        let arg: *mut W = worker;
        // SAFETY: the stack and the worker are borrowed until `threads` is dropped, at the end of
        // this function at the latest, when the thread has ended; nobody else touches them.
        // `Work: Send`, so that the worker may be used in another thread.
        let started = unsafe {
            let (at, len) = (stack.as_mut_ptr().cast(), stack.len());
            libc::pthread_attr_init(&mut attributes) == 0
                && libc::pthread_attr_setstack(&mut attributes, at, len) == 0
                && libc::pthread_create(thread.as_mut_ptr(), &attributes, start::<W>, arg.cast())
                    == 0
        };
        if started {
            // SAFETY: `pthread_create` has filled it in.
            let _ = threads.0.push(unsafe { thread.assume_init() });
        }
    }
    main()
}

/// Writes to a pipe whose reader has gone, and past the largest size that a file may have, give an
/// error instead of killing the process.
pub fn ignore_write_signals() {
    // SAFETY: setting signals to be ignored.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Whether a signal said that the program is to end.
static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the program is to end, saving what it has.
pub fn stop_asked() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Says that the program is to end.
pub fn ask_to_stop() {
    STOP.store(true, Ordering::Relaxed);
}

extern "C" fn on_stop(_: c_int) {
    ask_to_stop();
}

/// From now on the first signal of those that ask a program to end is taken as that; the second one
/// ends it as ever. What the caller ignores (as `nohup` does) stays ignored.
pub fn stop_on_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: `sigaction` is plain numbers, for which zeros are a value; the handler has the
        // plain type, and only sets an atomic.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            libc::sigaction(signal, core::ptr::null(), &mut action);
            if action.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            action = core::mem::zeroed();
            action.sa_sigaction = on_stop as *const () as usize;
            action.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, &action, null_mut());
        }
    }
}

// What only PID 1 needs.

/// Whether this is the first process.
pub fn is_pid_1() -> bool {
    // SAFETY: always allowed.
    unsafe { libc::getpid() == 1 }
}

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

/// Unmounts what is on `at`, when nobody uses it any more.
pub fn unmount(at: &[u8]) -> Result<(), IoError> {
    // SAFETY: a NUL-ended name.
    done(with_name(at, |name| unsafe { libc::umount2(name, 0) })?)
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
    // SAFETY: an open file descriptor, and a place for the int that the call gives.
    done(unsafe { libc::ioctl(watchdog.fd, GET_TIMEOUT, &raw mut seconds) })?;
    Ok(u32::try_from(seconds).unwrap_or(0))
}

/// Waits until a folder's names are on the medium.
pub fn sync_folder(path: &[u8]) -> Result<(), IoError> {
    let folder = open(path, libc::O_RDONLY | libc::O_DIRECTORY)?;
    // SAFETY: an open file descriptor.
    done(unsafe { libc::fsync(folder.fd) })
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
    let unit = u64::from(info.mem_unit);
    (info.totalram.saturating_mul(unit), info.freeram.saturating_mul(unit))
}

/// Does nothing for a while.
pub fn sleep_ms(ms: u64) {
    let time = libc::timespec { tv_sec: (ms / 1000) as _, tv_nsec: (ms % 1000 * 1_000_000) as _ };
    // SAFETY: a time, and no place for what is left of it.
    unsafe { libc::nanosleep(&time, null_mut()) };
}

/// Reboots, switches off or halts the machine. Comes back only if that is not allowed.
pub fn end_machine(how: c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::reboot(how) };
}

/// Calls `then` after so many seconds (0: never), and on signals that say that the program is
/// broken. It must only make system calls and set atomics, and not come back from the latter.
pub fn on_trouble(seconds: u32, then: extern "C" fn(c_int)) {
    for signal in [libc::SIGALRM, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
        // SAFETY: `sigaction` is plain numbers, for which zeros are a value; the handler has the
        // plain type, and only makes system calls (its caller's promise).
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = then as *const () as usize;
            libc::sigaction(signal, &action, null_mut());
        }
    }
    alarm(seconds);
}

/// Has SIGALRM sent after so many seconds. 0: never.
pub fn alarm(seconds: u32) {
    // SAFETY: no memory is involved.
    unsafe { libc::alarm(seconds) };
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
