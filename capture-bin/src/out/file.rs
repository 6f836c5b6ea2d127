//! Dumps as files and on block devices.
//!
//! What is large and lies in whole blocks goes past the page cache (O_DIRECT): it costs no copy, and
//! leaves nothing in the memory of a crash kernel. The rest goes through it, and never into the same
//! pages at the same time: the kernel writes out and drops what it has of a block before one is
//! written past it, and nothing here is done by two threads.

use super::LIMIT_REACHED;
use super::direct::Streams;
use crate::sys::{self, File, FileKind};
use tamis_core::io::{BLOCK, IoError, Sink, SinkError};

/// Fewest bytes that are written past the page cache: the program waits for each such write.
const DIRECT_LEAST: usize = 128 << 10;

/// Nanoseconds without a sync after which there is one, before the next descriptors.
const SYNC_AFTER: u64 = 1_000_000_000;
/// Times as long as a sync took before the next one for the sake of time: it costs 3 % at most.
const SYNC_SHARE: u64 = 32;

/// A dump file.
pub struct DumpFile {
    file: File,
    kind: FileKind,
    /// `-L`.
    limit: u64,
    /// Where the dump begins, on a device that has something in front of it.
    base: u64,
    /// End of what was made sure to read as zeros where nothing is written.
    extended: u64,
    streams: Streams,
    /// Whether bytes may go past the page cache, and whether the file is set to that now.
    direct: bool,
    direct_now: bool,
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
        let file = File::create(path, force)?;
        let kind = file.kind()?;
        let direct = kind != FileKind::Other && file.direct_alignment() <= BLOCK;
        Ok(DumpFile {
            file,
            kind,
            limit: limit.unwrap_or(u64::MAX),
            base,
            extended: 0,
            streams: Streams::default(),
            direct,
            direct_now: false,
            synced: sys::now(),
            sync_took: 0,
        })
    }

    /// Has the file written past the page cache, or not. Whether it is so now.
    fn set_direct(&mut self, on: bool) -> bool {
        if self.direct_now != on {
            match self.file.set_direct(on) {
                Ok(()) => self.direct_now = on,
                Err(_) => self.direct = false,
            }
        }
        self.direct_now == on
    }

    /// Writes whole blocks past the page cache, if they lie and go where that can be done. Gives
    /// the bytes that were written.
    fn write_blocks(&mut self, at: u64, bytes: &[u8]) -> Result<usize, (IoError, u64)> {
        let len = bytes.len() / BLOCK as usize * BLOCK as usize;
        let fits = at.is_multiple_of(BLOCK) && bytes.as_ptr().align_offset(BLOCK as usize) == 0;
        if !self.direct || !fits || len < DIRECT_LEAST || !self.set_direct(true) {
            return Ok(0);
        }
        match self.file.write_at(at, bytes.get(..len).unwrap_or_default()) {
            Ok(()) => Ok(len),
            // It can not be done after all, or not with the rest of a write that was cut short.
            Err((IoError { code: libc::EINVAL, .. }, done)) => {
                self.direct = done > 0;
                Ok(done as usize)
            }
            Err(error) => Err(error),
        }
    }

    fn write_bytes(&mut self, at: u64, bytes: &[u8]) -> Result<(), (IoError, u64)> {
        let done = self.write_blocks(at, bytes)?;
        let (at, rest) = (at + done as u64, bytes.get(done..).unwrap_or_default());
        if rest.is_empty() {
            return Ok(());
        }
        self.set_direct(false);
        self.file.write_at(at, rest).map_err(|(io, more)| (io, done as u64 + more))?;
        if self.kind != FileKind::Other {
            self.streams.written(&self.file, at, rest.len() as u64);
        }
        Ok(())
    }

    /// Whether it is a block device, which has no holes.
    pub fn is_block_device(&self) -> bool {
        self.kind == FileKind::Block
    }
}

impl Sink for DumpFile {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), SinkError> {
        // Something written before is lost: a device that is gone would take the rest as well, into
        // memory that it never leaves. What is lost the next sync tells.
        if let Some(io) = self.streams.late {
            return Err(SinkError { io, at, written: 0 });
        }
        // As much as the limit allows.
        let room = self.limit.saturating_sub(at).min(bytes.len() as u64) as usize;
        let fits = bytes.get(..room).unwrap_or_default();
        let failed = |(io, written)| SinkError { io, at, written };
        let place = self.base.saturating_add(at);
        self.write_bytes(place, fits).map_err(failed)?;
        if fits.len() < bytes.len() {
            return Err(failed((LIMIT_REACHED, fits.len() as u64)));
        }
        Ok(())
    }

    fn can_read_back(&self) -> bool {
        self.kind != FileKind::Other
    }

    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> Result<(), SinkError> {
        self.set_direct(false);
        self.file.read_at(self.base.saturating_add(at), buf).map_err(|io| SinkError {
            io,
            at,
            written: 0,
        })
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
        match self.kind {
            FileKind::Regular(_) => {
                // A file that is longer already must not be cut.
                match self.file.kind().map_err(failed)? {
                    FileKind::Regular(now) if now >= len => {}
                    _ => self.file.set_len(len).map_err(failed)?,
                }
            }
            // A device has old bytes where a file has holes.
            FileKind::Block => {
                let zeros = [0; 4096];
                let mut at = from;
                while at < len {
                    let part = zeros.get(..(len - at).min(4096) as usize).unwrap_or(&zeros);
                    self.write_at(at, part)?;
                    if at == 0 {
                        // The header of an older dump goes before anything else of it does.
                        self.sync()?;
                    }
                    at += part.len() as u64;
                }
            }
            FileKind::Other => {}
        }
        self.extended = len;
        Ok(())
    }

    fn reserve(&mut self, from: u64, to: u64) {
        if let FileKind::Regular(_) = self.kind {
            self.file.reserve(from, to);
        }
    }

    fn cut(&mut self, len: u64) {
        if let FileKind::Regular(_) = self.kind
            && len >= self.extended
        {
            let _ = self.file.set_len(len);
        }
    }

    fn wants_sync(&self) -> bool {
        let pause = self.sync_took.saturating_mul(SYNC_SHARE).max(SYNC_AFTER);
        sys::now().saturating_sub(self.synced) >= pause
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        let begun = sys::now();
        let synced = self.file.sync_data();
        self.synced = sys::now();
        self.sync_took = self.synced.saturating_sub(begun);
        let synced = self.streams.late.take().map_or(synced, Err);
        synced.map_err(|io| SinkError { io, at: 0, written: 0 })
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sync()
    }

    fn rewrites(&self) -> bool {
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
        // A base that is no whole block: no write is at one, whatever the file system allows.
        let mut file = DumpFile::create(name, true, None, 512).unwrap();
        file.write_at(0, memory).unwrap();
        assert!(!file.direct_now);
        file.finish().unwrap();
        let there = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(there.len() == 512 + (1 << 20) && there[512..].iter().all(|b| *b == 7));
    }
}
