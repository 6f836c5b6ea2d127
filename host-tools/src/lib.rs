//! What `tamis` is made of: an engineer's view of Linux kernel dumps on a workstation.
//!
//! * [`cli`] is the command line; [`cmd`] has one file per subcommand, whose doc comment is its
//!   manual.
//! * [`dump`] opens dumps by what is in them and writes files; [`classes`] looks at what pages were
//!   used for; [`rewrite`] writes dumps anew.
//! * [`render`] makes text, JSON and pictures.
//!
//! Everything about the formats is `tamis-core`'s; this crate only owns memory and files.
#![forbid(unsafe_code)]

pub mod classes;
pub mod cli;
pub mod cmd;
pub mod crew;
pub mod dump;
pub mod fail;
pub mod pool;
pub mod render;
pub mod rewrite;
