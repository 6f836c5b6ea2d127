//! Files in and out.

pub mod file;
pub mod open;
pub mod out;
pub mod unpack;
