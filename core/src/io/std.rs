//! A file of the standard library as an input and as an output.

use super::{IoError, IoKind, RandomAccess, Sink, SinkError};
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt;

impl From<&Error> for IoError {
    fn from(error: &Error) -> IoError {
        let kind = match error.kind() {
            ErrorKind::UnexpectedEof => IoKind::Eof,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                IoKind::NoSpace
            }
            _ => IoKind::Other,
        };
        IoError { kind, code: error.raw_os_error().unwrap_or(0) }
    }
}

impl RandomAccess for File {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.read_exact_at(buf, at).map_err(|error| IoError::from(&error))
    }

    fn window(&mut self, _: u64, _: usize) -> Option<&[u8]> {
        None
    }

    fn window_broke(&mut self) -> bool {
        false
    }
}

/// The error of a write of which nothing is known to have reached the file.
fn failed(at: u64) -> impl Fn(Error) -> SinkError {
    move |error| SinkError { io: IoError::from(&error), at, written: 0 }
}

/// The file must be open for reading and writing.
impl Sink for File {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.write_all_at(bytes, at).map_err(failed(at))
    }

    fn can_read_back(&self) -> bool {
        true
    }

    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> Result<(), SinkError> {
        self.read_exact_at(buf, at).map_err(failed(at))
    }

    fn extend(&mut self, len: u64) -> Result<(), SinkError> {
        let now = self.metadata().map_err(failed(len))?.len();
        if now < len { self.set_len(len).map_err(failed(len)) } else { Ok(()) }
    }

    fn truncate(&mut self, len: u64) {
        // There is no more space then.
        let _ = self.set_len(len);
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.sync_data().map_err(failed(0))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sync_all().map_err(failed(0))
    }

    fn can_rewrite(&self) -> bool {
        true
    }
}
