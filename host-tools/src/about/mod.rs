//! Reports on a dump.

mod bookkeeping;
pub mod compare;
mod extents;
pub mod facts;
pub mod findings;
pub mod log;
pub mod notes;
pub mod panic;
mod readers;
pub mod registers;
pub mod system;
pub mod verify;
pub mod xen;
