//! Dumps as files and on block devices.

use super::LIMIT_REACHED;
use super::direct::DirectFile;
use crate::sys::{self, File, FileKind, Identity, WriteError};
use tamis_core::error::part;
use tamis_core::io::{IoError, Sink, SinkError};

/// Shortest time between two syncs that only time asks for, in nanoseconds.
const SYNC_AFTER: u64 = 1_000_000_000;
/// And at least this many times as long as the last sync took: so they cost 3 % of the time at most.
const SYNC_SHARE: u64 = 32;

/// A dump file.
pub struct DumpFile {
    file: DirectFile,
    /// `-L`.
    limit: u64,
    /// Where the dump begins, on a device that has something in front of it.
    base: u64,
    /// Up to here the file reads as zeros where nothing was written.
    extended: u64,
    /// When the last sync ended, and how long it took.
    synced: u64,
    sync_took: u64,
}

impl DumpFile {
    /// Creates it; see [`File::create`]. The dump begins at `base`.
    pub fn create(
        path: &[u8],
        force: bool,
        limit: Option<u64>,
        base: u64,
    ) -> Result<DumpFile, IoError> {
        Ok(DumpFile {
            file: DirectFile::new(File::create(path, force)?)?,
            limit: limit.unwrap_or(u64::MAX),
            base,
            extended: 0,
            synced: sys::now(),
            sync_took: 0,
        })
    }

    /// Which file it is.
    pub fn identity(&self) -> Option<Identity> {
        self.file.identity()
    }

    /// Whether it has lost its last name.
    pub fn is_deleted(&self) -> bool {
        self.file.is_deleted()
    }

    /// Whether it is a block device, which has no holes.
    pub fn is_block_device(&self) -> bool {
        self.file.kind() == FileKind::Block
    }
}

impl Sink for DumpFile {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), SinkError> {
        // As much as the limit allows.
        let room = self.limit.saturating_sub(at).min(bytes.len() as u64) as usize;
        let fits = part(bytes, 0..room);
        let failed = |WriteError { io, written }| SinkError { io, at, written };
        self.file.write_at(self.base.saturating_add(at), fits).map_err(failed)?;
        if room < bytes.len() {
            return Err(failed(WriteError { io: LIMIT_REACHED, written: room as u64 }));
        }
        Ok(())
    }

    fn can_read_back(&self) -> bool {
        self.file.kind() != FileKind::Other
    }

    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> Result<(), SinkError> {
        let read = self.file.read_at(self.base.saturating_add(at), buf);
        read.map_err(|io| SinkError { io, at, written: 0 })
    }

    fn extend(&mut self, len: u64) -> Result<(), SinkError> {
        let from = self.extended;
        if len <= from {
            return Ok(());
        }
        let failed = |io| SinkError { io, at: len, written: 0 };
        if len > self.limit {
            return Err(failed(LIMIT_REACHED));
        }
        match self.file.kind() {
            FileKind::Regular(_) => self.file.lengthen(len).map_err(failed)?,
            // A device has old bytes where a file has holes.
            FileKind::Block => {
                let zeros = [0; 4096];
                let mut at = from;
                while at < len {
                    let some = part(&zeros, 0..(len - at).min(4096) as usize);
                    self.write_at(at, some)?;
                    if at == 0 {
                        // The header of an older dump goes before anything else of it does.
                        self.sync()?;
                    }
                    at += some.len() as u64;
                }
            }
            FileKind::Other => {}
        }
        self.extended = len;
        Ok(())
    }

    fn reserve(&mut self, from: u64, to: u64) {
        self.file.reserve(from, to);
    }

    fn truncate(&mut self, len: u64) {
        if len >= self.extended {
            self.file.truncate(len);
        }
    }

    fn wants_sync(&self) -> bool {
        let pause = self.sync_took.saturating_mul(SYNC_SHARE).max(SYNC_AFTER);
        sys::now().saturating_sub(self.synced) >= pause
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        let begun = sys::now();
        let synced = self.file.sync();
        self.synced = sys::now();
        self.sync_took = self.synced.saturating_sub(begun);
        synced.map_err(|io| SinkError { io, at: 0, written: 0 })
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sync()
    }

    fn can_rewrite(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use std::os::unix::ffi::OsStrExt;
    use std::vec;

    // Blocks, parts of blocks and rewritten ones, in memory that lies well and memory that does
    // not; whichever way each of them goes, the file has all of them.
    #[test]
    fn bytes_past_the_page_cache_and_through_it_make_one_file() {
        const LEN: usize = 2 << 20;
        const LIMIT: usize = LEN - 5000;
        let memory = Arena::map(LEN + 4096).unwrap().take(LEN + 4096);
        for (n, byte) in memory.iter_mut().enumerate() {
            *byte = (n / 7 % 251) as u8;
        }
        let path = std::env::temp_dir().join(std::format!("tamis-files-{}", std::process::id()));
        let name = path.as_os_str().as_bytes();
        let mut file = DumpFile::create(name, true, Some(LIMIT as u64), 0).unwrap();
        let mut want = vec![0; LEN];
        let mut put = |file: &mut DumpFile, at: usize, from: usize, len: usize| {
            let bytes = &memory[from..from + len];
            let written = match file.write_at(at as u64, bytes) {
                Ok(()) => len,
                Err(error) => {
                    assert_eq!((error.io, error.at), (LIMIT_REACHED, at as u64));
                    error.written as usize
                }
            };
            assert_eq!(written, len.min(LIMIT - at));
            want[at..at + written].copy_from_slice(&bytes[..written]);
            let mut back = vec![1; written];
            file.read_back(at as u64, &mut back).unwrap();
            assert!(back == want[at..at + written], "{at} {from} {len}");
        };
        file.extend(20_000).unwrap();
        for (at, from, len) in [
            (0, 1, 464),
            (20_480, 0, 300_000),       // its end goes through the page cache
            (315_392, 4096, 524_288),   // and is written again, whole, with what follows
            (8192, 5, 12_288),          // descriptors in front
            (839_680, 3, 200_000),      // memory that does not lie well
            (1_039_681, 4096, 262_144), // a place that does not
            (1_310_720, 8192, 131_072), // the least that goes past it
            (1_441_792, 0, 131_071),    // less
            (1_572_864, 4096, LEN - 1_572_864), // more than fits
        ] {
            put(&mut file, at, from, len);
        }
        file.finish().unwrap();
        let there = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(there.len(), LIMIT);
        assert!(there == want[..LIMIT]);
    }

    #[test]
    fn a_refusal_sends_the_bytes_through_the_page_cache() {
        let memory = Arena::map(1 << 20).unwrap().take(1 << 20);
        memory.fill(7);
        let path = std::env::temp_dir().join(std::format!("tamis-refuses-{}", std::process::id()));
        let name = path.as_os_str().as_bytes();
        // A base that is not a multiple of a block: so is no write, whatever the file system allows.
        let mut file = DumpFile::create(name, true, None, 512).unwrap();
        file.write_at(0, memory).unwrap();
        assert!(!file.file.is_direct());
        file.finish().unwrap();
        let there = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(there.len() == 512 + (1 << 20) && there[512..].iter().all(|b| *b == 7));
    }
}
