//! Reports on a dump.

mod bookkeeping;
pub mod compare;
pub mod facts;
pub mod log;
pub mod notes;
pub mod panic;
pub mod verify;
