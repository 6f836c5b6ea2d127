//! Dumps as files: opening them, reading and decoding them, and writing files.

pub mod decode;
pub mod file;
pub mod open;
pub mod out;
