//! The capture: which pages, in which order, into which file.
//!
//! Pfns are gone over in windows, as many as the bitmap buffer holds bits. Pass A classifies each
//! `struct page` once and puts the bits where the dump has its bitmap 2; pass B reads them back and
//! saves the pages. Only an output that cannot be read back (a pipe), with more than one window,
//! makes pass A run twice.
//!
//! Nothing about the result depends on the size of a window or of any buffer.

mod classify;
#[cfg(feature = "write")]
pub mod crew;
#[cfg(feature = "write")]
mod elf;
mod error;
#[cfg(feature = "write")]
mod kdump;
mod observer;
#[cfg(feature = "write")]
mod pages;
#[cfg(feature = "write")]
mod pass;
pub mod plan;
#[cfg(all(feature = "rules", feature = "write"))]
mod rules;
pub mod session;
#[cfg(all(feature = "std", feature = "write"))]
pub mod threads;
#[cfg(all(feature = "xen", feature = "write"))]
mod xen;

pub use classify::Scanner;
pub use error::{Bug, CaptureError, FailedWrite, Step};
pub use observer::{Notice, Observer, Phase, Report};
#[cfg(feature = "write")]
pub use pages::PageFilter;
