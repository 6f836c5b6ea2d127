//! Leaves unwind tables out of the static binary, where the linker takes scripts that add to its own.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=discard.ld");
    let (arch, libc) = (env::var("CARGO_CFG_TARGET_ARCH"), env::var("CARGO_CFG_TARGET_ENV"));
    // Elsewhere rust-lld links, which has none.
    if (arch.as_deref(), libc.as_deref()) == (Ok("x86_64"), Ok("musl")) {
        let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/discard.ld");
        // Data that would reach over the end of a page would begin with the next one, and the file have a gap of up to a
        // page before it: text that is a few bytes longer made the file 2 KiB longer.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,common-page-size=64");
    }
}
