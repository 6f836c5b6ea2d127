//! Outputs as the engine wants them: sinks for dumps.

mod direct;
mod file;
mod pipe;

pub use file::DumpFile;
pub use pipe::Pipe;

use tamis_core::io::{IoError, IoKind};

/// The error of a limit that was set on the command line.
const LIMIT_REACHED: IoError = IoError { kind: IoKind::NoSpace, code: 0 };
