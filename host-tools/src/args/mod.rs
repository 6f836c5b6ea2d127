//! Arguments that several commands have.

pub mod address;
pub mod codec;
pub mod level;
pub mod raw;
pub mod size;
pub mod threads;
