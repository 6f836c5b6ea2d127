//! Entry of the static binary: everything else is in the library of the same name.
//!
//! The standard library stays out of it. Only where it is built for another C library than musl, which
//! is no program for a crash kernel, does that one's allocator and panic handler serve: cargo then
//! builds it together with packages whose features bring the standard library along anyway.
#![cfg_attr(target_env = "musl", no_std)]
#![no_main]

use core::ffi::{c_char, c_int};
use core::fmt::{Display, Write};
use tamis_capture::{arena::Heap, console::Line, exit::Exit, init, sys};

/// Serves codecs that insist on a heap, out of memory that the plan has counted.
#[cfg_attr(target_env = "musl", global_allocator)]
static HEAP: Heap = Heap::new();

/// Called by the C library.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    #[cfg(not(target_env = "musl"))]
    std::panic::set_hook(Box::new(|info| fail(info)));
    // SAFETY: these are the arguments of `main`.
    tamis_capture::run(&HEAP, unsafe { sys::arguments(argc, argv) }).status()
}

/// A bug: says where, and ends. What was written up to now is marked incomplete already.
fn fail(info: &dyn Display) -> ! {
    let mut line = Line::new(sys::STDERR);
    let _ = writeln!(line, "tamis-capture: internal error: {info}");
    line.flush();
    init::end_after_failure();
    sys::exit(Exit::Failed.status())
}

#[cfg(target_env = "musl")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // "duplicate lang item"? Build tamis-capture for musl by itself (`cargo xtask dist` does):
    // with other packages, cargo unifies features, and the standard library comes along.
    fail(info)
}
