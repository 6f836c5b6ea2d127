//! What a process inherits, made the same for every parent.

use super::STDERR;
use super::file::{File, open};
use core::ptr::null_mut;

/// Closed standard descriptors, blocked signals, umask and soft limits no longer change what the
/// program does. To be called before anything is opened.
pub fn settle() {
    hold_standard_descriptors();
    let none = 0u64;
    // RLIM64_INFINITY of <linux/resource.h>: that of libc has the word's size on some machines of 32 bits.
    let unlimited = u64::MAX;
    // SAFETY: a signal set of the kernel's size, and no place for the one before; umask has no memory.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &none, null_mut::<u64>(), 8);
        libc::umask(0o077);
    }
    for limit in [
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_CPU,
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_DATA,
        libc::RLIMIT_AS,
        libc::RLIMIT_STACK,
    ] {
        // What is meant to bind has a hard limit, which stays. The one of CPU time kills without a warning,
        // which the soft one gives.
        let mut both = [0u64; 2];
        // SAFETY: no new limit, and a place for the two numbers of a `struct rlimit64`; then the other way.
        unsafe {
            let known =
                libc::syscall(libc::SYS_prlimit64, 0, limit, null_mut::<u64>(), both.as_mut_ptr());
            let [soft, hard] = &mut both;
            *soft = *hard;
            if known == 0 && (limit != libc::RLIMIT_CPU || *hard == unlimited) {
                libc::syscall(libc::SYS_prlimit64, 0, limit, both.as_ptr(), null_mut::<u64>());
            }
        }
    }
}

/// A descriptor from 0 to 2 that is closed would be the next file's: messages would go into the dump.
/// What stands there can only be read: a stream that has no output must fail.
fn hold_standard_descriptors() {
    let hold = || open(b"/dev/null", libc::O_RDONLY).or_else(|_| open(b"/", libc::O_RDONLY));
    while let Ok(File { fd: ..=STDERR }) = hold() {}
}
