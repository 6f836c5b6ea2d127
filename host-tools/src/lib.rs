//! What `tamis` is made of: an engineer's view of Linux kernel dumps on a workstation.
//!
//! * [`cli`] is the command line; [`cmd`] has one file per subcommand, whose doc comment is its
//!   manual. A command opens dumps, calls what is below, and prints. [`args`] are the arguments that
//!   several of them have.
//! * [`about`] has the reports on a dump; [`rewrite`] writes dumps anew; [`classes`] looks
//!   at what pages were used for, through the kernel that [`session`] finds.
//! * [`kernel`] reads a dead kernel by its own symbols and types, [`vmlinux`] those of a file.
//! * [`dump`] opens dumps by what is in them, reads and decodes them, and writes files.
//! * [`render`] makes text, JSON and pictures, [`report`] a page of what all of these say of a dump.
//!
//! Everything about the formats is `tamis-core`'s; this crate only owns memory and files.
#![forbid(unsafe_code)]

pub mod about;
pub mod args;
pub mod classes;
pub mod cli;
pub mod cmd;
pub mod crew;
pub mod doctor;
pub mod dump;
pub mod fail;
pub mod initramfs;
pub mod kernel;
pub mod makedumpfile;
pub mod pool;
pub mod render;
pub mod report;
pub mod rewrite;
pub mod sealing;
pub mod session;
pub mod streams;
pub mod vmlinux;

#[cfg(test)]
mod shapes;
#[cfg(test)]
mod testing;
