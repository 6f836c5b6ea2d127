//! The system: the only calls to the C library, behind safe functions.
//!
//! Errors are those of the system ([`IoError`]), with its error number.

mod crc;
mod dir;
mod file;
mod inherited;
mod lock;
mod pid1;
mod signal;
mod thread;
mod window;

pub use crc::crc_fold;
pub use dir::{
    is_folder, make_folder, make_new_folder, names_in, remove_folder, rename, sync_folder,
};
pub use file::{
    File, FileKind, Identity, WriteError, identity, is_in_memory, is_regular, is_terminal, print,
    unlink, unlink_regular,
};
pub use inherited::settle;
pub use lock::{Monitor, Place, Then};
pub use pid1::{
    Below, become_console, end_machine, is_pid_1, load_module, memory, mount, open_device,
    sync_all, unmount, watchdog_timeout,
};
pub use signal::{
    alarm, ask_to_stop, ignore_write_signals, now, on_trouble, sleep_ms, stop_asked,
    stop_on_signals,
};
pub use thread::{MAX_THREADS, Work, cpus, with_workers};
pub use window::Window;

use core::ffi::{CStr, c_char, c_int};
use core::ptr::null_mut;
use tamis_core::io::{IoError, IoKind};

// Without std nothing else links the C library.
#[cfg(not(test))]
#[link(name = "c")]
unsafe extern "C" {}

/// File descriptor of standard input.
pub const STDIN: c_int = 0;
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

/// The last error of the system.
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

/// What the system says about an error number.
pub fn describe(code: c_int) -> &'static [u8] {
    // SAFETY: strerror returns a NUL-ended string; musl's are constants, and of all threads only the
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

/// Calls `call` with the name as a NUL-ended string.
fn with_name<T>(path: &[u8], call: impl FnOnce(*const c_char) -> T) -> Result<T, IoError> {
    let mut name = [0u8; PATH_MAX];
    let fits = path.len() < PATH_MAX && !path.contains(&0);
    let Some(room) = name.get_mut(..path.len()).filter(|_| fits) else {
        return Err(IoError { kind: IoKind::Other, code: libc::ENAMETOOLONG });
    };
    room.copy_from_slice(path);
    Ok(call(name.as_ptr().cast()))
}

/// The result of a call that returns 0 when it succeeds.
fn done(result: c_int) -> Result<(), IoError> {
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// Bytes of a page of the running kernel.
pub fn page_size() -> u64 {
    // Of what the kernel told this program, as sysconf(3) has a kilobyte of answers to other questions.
    // SAFETY: always allowed.
    match unsafe { libc::getauxval(libc::AT_PAGESZ) } {
        0 => 4096,
        // As wide as a `usize` on each machine.
        bytes => bytes as usize as u64,
    }
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
