//! The flattened stream as a sink.

use super::{Append, IoError, IoKind, Sink, SinkError, failed};
use crate::wire::flattened;

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

    fn can_rewrite(&self) -> bool {
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
