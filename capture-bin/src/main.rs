//! Entry of the static binary: everything else is in the library of the same name.
#![no_std]
#![no_main]

use core::ffi::{c_char, c_int};
use core::fmt::Write;
use core::panic::PanicInfo;
use tamis_capture::{arena::Heap, console::Line, init, sys};

/// Serves codecs that insist on a heap, out of memory that the plan has counted.
#[global_allocator]
static HEAP: Heap = Heap::new();

/// Called by the C library.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are the arguments of `main`.
    tamis_capture::run(&HEAP, unsafe { sys::arguments(argc, argv) })
}

/// A bug: says where, and ends. What was written up to now is marked incomplete already.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut line = Line::new(sys::STDERR);
    let _ = writeln!(line, "tamis-capture: internal error: {info}");
    line.flush();
    init::end_after_failure();
    sys::exit(1)
}
