//! What `tamis-capture` as PID 1 of a crash kernel, and the tools that prepare it and read what it
//! leaves, agree on.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::todo
    )
)]

#[cfg(test)]
extern crate std;

pub mod orders;
pub mod paths;
pub mod raw_target;
pub mod volume;
