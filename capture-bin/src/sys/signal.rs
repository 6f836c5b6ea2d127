//! Signals and clocks.

use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

/// The monotonic clock in nanoseconds.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a clock that is always there, and a place of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Sleeps for this many milliseconds; a signal ends the sleep early.
pub fn sleep_ms(ms: u64) {
    let time = libc::timespec { tv_sec: (ms / 1000) as _, tv_nsec: (ms % 1000 * 1_000_000) as _ };
    // SAFETY: a time, and no place for what is left of it.
    unsafe { libc::nanosleep(&time, null_mut()) };
}

/// Lets writes to a pipe without a reader, and past the largest size that a file may have, return an
/// error instead of killing the process.
pub fn ignore_write_signals() {
    // SAFETY: setting signals to be ignored.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Whether the program was asked to end.
static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the program is to end, saving what it has.
pub fn stop_asked() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Asks the program to end.
pub fn ask_to_stop() {
    STOP.store(true, Ordering::Relaxed);
}

extern "C" fn on_stop(_: c_int) {
    ask_to_stop();
}

/// Signals by which people, or a system that goes down, ask a program to end. A second one kills.
const ASKING: [c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
/// Signals that kill a program by default: power fails, time is up, a timer goes off. They may come
/// again at any time, and change nothing then.
const WARNING: [c_int; 8] = [
    libc::SIGPWR,
    libc::SIGXCPU,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGIO,
];

/// From now on the signals that end a program ask it to end, with what it has; the second SIGTERM, SIGINT,
/// SIGHUP or SIGQUIT kills it. What the caller ignores (as `nohup` does) stays ignored.
pub fn stop_on_signals() {
    for (signals, flags) in [(&ASKING[..], libc::SA_RESETHAND), (&WARNING, 0)] {
        for &signal in signals {
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
                action.sa_flags = flags;
                libc::sigaction(signal, &action, null_mut());
            }
        }
    }
}

/// Calls `then` after this many seconds (0: never), and on the signals of a program that is broken.
/// `then` may only make system calls and set atomics, and must not return from the latter.
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

/// Has SIGALRM sent after this many seconds. 0: never.
pub fn alarm(seconds: u32) {
    // SAFETY: no memory is involved.
    unsafe { libc::alarm(seconds) };
}
