//! Where a dump goes. A regular file takes writes at offsets; a pipe only appends, and
//! [`Flattened`] makes the first out of the second.
//!
//! Sinks are used as `&mut dyn Sink`: a program has several kinds at once (file, stream, none),
//! each behind the same writers, and a call carries tens of kilobytes, so that one copy of the
//! writers is worth more than an inlined call.

use crate::source::{IoError, IoKind};
use crate::wire::flattened;

/// Data in a dump begins at a multiple of this, and is written in whole multiples at their places as
/// far as that goes: a system can write such blocks to a disk without going through its cache.
pub const BLOCK: u64 = 4096;

/// What a sink could not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SinkError {
    /// The system's answer.
    pub io: IoError,
    /// File offset of the failed operation.
    pub at: u64,
    /// Bytes from `at` on that did get written all the same.
    pub written: u64,
}

/// A dump that is being written.
pub trait Sink {
    /// Writes all of `bytes` at file offset `at`.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), SinkError>;

    /// Whether what was written can be read again with [`Sink::read_back`].
    fn can_read_back(&self) -> bool;

    /// Fills `buf` from file offset `at`; never-written bytes before the end read as zeros.
    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> Result<(), SinkError>;

    /// Makes the file at least `len` bytes long; new bytes read as zeros.
    fn extend(&mut self, len: u64) -> Result<(), SinkError>;

    /// Takes space for the bytes from `from` to `to`, which are to be written later, so that there
    /// is some for them when all the rest is full. Where that cannot be done nothing happens.
    fn reserve(&mut self, from: u64, to: u64) {
        let _ = (from, to);
    }

    /// Gives up what was written from `len` on, so that there is space for something else. Where
    /// that cannot be done nothing happens.
    fn cut(&mut self, len: u64) {
        let _ = len;
    }

    /// Returns when everything written so far would survive a power cut.
    fn sync(&mut self) -> Result<(), SinkError>;

    /// Whether it is time for a sync before more is written that depends on what was. A sink that
    /// knows no time is in no hurry: the amount of data decides then.
    fn wants_sync(&self) -> bool {
        false
    }

    /// Ends the dump. Nothing is written afterwards.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// Whether a header may be written first as incomplete and again at the end. A stream has it
    /// once; what says incomplete there is the missing end record.
    fn rewrites(&self) -> bool;
}

/// Something that takes bytes one after the other.
pub trait Append {
    /// Writes all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError>;

    /// Bytes that may still be written, where that is known.
    fn room(&self) -> u64 {
        u64::MAX
    }
}

/// A dump as a stream of positioned records (makedumpfile's flattened format).
///
/// A record for which there is no room is refused whole; after any other error nothing more is
/// written, as it would become part of a record that was begun.
pub struct Flattened<A> {
    out: A,
    started: bool,
    broken: Option<IoError>,
}

impl<A: Append> Flattened<A> {
    /// A stream into `out`; its start block goes out with the first record.
    pub fn new(out: A) -> Flattened<A> {
        Flattened { out, started: false, broken: None }
    }

    /// A record's head and its bytes; in front of the first one, the start block.
    fn record(&mut self, head: &[u8], bytes: &[u8]) -> Result<(), IoError> {
        if let Some(io) = self.broken {
            return Err(io);
        }
        let start = if self.started { 0 } else { flattened::START };
        if ((start + head.len()) as u64).saturating_add(bytes.len() as u64) > self.out.room() {
            return Err(IoError { kind: IoKind::NoSpace, code: 0 });
        }
        let written = self.start().and_then(|()| self.out.append(head));
        let written = written.and_then(|()| self.out.append(bytes));
        self.broken = written.err();
        written
    }

    fn start(&mut self) -> Result<(), IoError> {
        if self.started {
            return Ok(());
        }
        self.started = true;
        let head = flattened::start();
        self.out.append(&head)?;
        let zeros = [0; 256];
        let mut left = flattened::START - head.len();
        while left > 0 {
            let part = zeros.get(..left).unwrap_or(&zeros);
            self.out.append(part)?;
            left -= part.len();
        }
        Ok(())
    }
}

fn failed(at: u64) -> impl Fn(IoError) -> SinkError {
    move |io| SinkError { io, at, written: 0 }
}

impl<A: Append> Sink for Flattened<A> {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), SinkError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let too_far = IoError { kind: IoKind::Other, code: 0 };
        let head = flattened::record(at, bytes.len() as u64).ok_or(failed(at)(too_far))?;
        self.record(&head, bytes).map_err(failed(at))
    }

    fn can_read_back(&self) -> bool {
        false
    }

    fn read_back(&mut self, at: u64, _: &mut [u8]) -> Result<(), SinkError> {
        Err(failed(at)(IoError { kind: IoKind::Other, code: 0 }))
    }

    fn extend(&mut self, _: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.record(&flattened::END, &[]).map_err(failed(0))
    }

    fn rewrites(&self) -> bool {
        false
    }
}

/// Takes everything and keeps nothing, for a run that only wants to know.
#[derive(Default)]
pub struct Discard;

impl Sink for Discard {
    fn write_at(&mut self, _: u64, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }

    fn can_read_back(&self) -> bool {
        false
    }

    fn read_back(&mut self, at: u64, _: &mut [u8]) -> Result<(), SinkError> {
        Err(failed(at)(IoError { kind: IoKind::Other, code: 0 }))
    }

    fn extend(&mut self, _: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn rewrites(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    impl Append for &mut Vec<u8> {
        fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
            self.extend_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn a_stream_is_a_start_block_records_and_an_end() {
        let mut bytes = Vec::new();
        let mut sink = Flattened::new(&mut bytes);
        sink.write_at(0x1000, b"abc").unwrap();
        sink.write_at(7, b"").unwrap();
        sink.write_at(0, b"h").unwrap();
        sink.finish().unwrap();
        assert_eq!(bytes.len(), 4096 + 16 + 3 + 16 + 1 + 16);
        assert_eq!(bytes[32..4096], [0; 4064]);
        assert_eq!(bytes[4096..4115], *b"\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\x03abc");
        assert_eq!(bytes[4132..], [0xff; 16]);
    }
}
