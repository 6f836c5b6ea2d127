//! The sink of a run that only wants to know.

use super::{IoError, IoKind, Sink, SinkError, failed};

/// Discards everything: the sink of `--dry-run`.
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

    fn can_rewrite(&self) -> bool {
        false
    }
}
