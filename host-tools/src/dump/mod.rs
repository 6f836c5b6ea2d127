//! Dumps as files: opening them, reading and decoding them, and writing files.

pub mod bits;
pub mod decode;
pub mod file;
pub mod gaps;
pub mod image;
pub mod input;
pub mod machines;
pub mod open;
pub mod opened;
pub mod out;
mod pending;
pub mod refuse;
pub mod scan;
pub mod stream;
pub mod survey;
pub mod vmcore;
