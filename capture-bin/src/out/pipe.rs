//! Streams.

use super::LIMIT_REACHED;
use crate::sys::File;
use tamis_core::io::{Append, IoError};

/// A stream, with a limit on its length.
pub struct Pipe {
    file: File,
    left: u64,
    limit: u64,
}

impl Pipe {
    /// To an open file, up to `limit` bytes.
    pub fn new(file: File, limit: Option<u64>) -> Pipe {
        let limit = limit.unwrap_or(u64::MAX);
        Pipe { file, left: limit, limit }
    }

    /// Whether it is a file that has lost its last name.
    pub fn is_deleted(&self) -> bool {
        self.file.is_deleted()
    }

    /// Whether nothing was written yet.
    pub fn is_untouched(&self) -> bool {
        self.left == self.limit
    }
}

impl Append for Pipe {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(LIMIT_REACHED)?;
        Ok(self.file.write(bytes)?)
    }

    fn room(&self) -> u64 {
        self.left
    }
}
