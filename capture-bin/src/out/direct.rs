//! Files whose contents do not stay in the page cache.
//!
//! Large writes of whole blocks bypass it (O_DIRECT): that saves a copy, and leaves nothing in the
//! memory of a crash kernel. The other writes go through the page cache and leave it as they reach the
//! medium. The two never meet in one page: the kernel writes out and drops what it has of a block
//! before a write bypasses it, and all writes are by one thread.

use crate::sys::{File, FileKind, Identity, WriteError};
use tamis_core::error::part;
use tamis_core::io::{BLOCK, IoError, IoKind};

/// Fewest bytes of a write that bypasses the page cache: the program waits for each of them.
const DIRECT_LEAST: usize = 128 << 10;
/// Bytes of a dump that are sent to the medium at a time.
const SEND: u64 = 1 << 20;
/// Bytes of a page, or a whole number of them, on every machine that this program runs on.
const PAGE: u64 = BLOCK;

/// A file, block device or pipe that is written this way.
pub(super) struct DirectFile {
    file: File,
    kind: FileKind,
    identity: Option<Identity>,
    /// Whether writes may bypass the page cache.
    may_bypass: bool,
    /// Whether the file is set to do so now.
    bypasses: bool,
    streams: Streams,
}

impl DirectFile {
    pub(super) fn new(file: File) -> Result<DirectFile, IoError> {
        let kind = file.kind()?;
        let may_bypass = kind != FileKind::Other && file.direct_alignment() <= BLOCK;
        let identity = file.identity();
        let streams = Streams::default();
        Ok(DirectFile { file, kind, identity, may_bypass, bypasses: false, streams })
    }

    /// What it was when it was opened.
    pub(super) fn kind(&self) -> FileKind {
        self.kind
    }

    /// Which file it is.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Whether it has lost its last name.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.is_deleted()
    }

    /// Sets the file to bypass the page cache, or not. Returns whether it is set so now.
    fn bypass(&mut self, on: bool) -> bool {
        if self.bypasses != on {
            match self.file.set_direct(on) {
                Ok(()) => self.bypasses = on,
                Err(_) => self.may_bypass = false,
            }
        }
        self.bypasses == on
    }

    /// Whether the last write bypassed the page cache.
    #[cfg(test)]
    pub(super) fn is_direct(&self) -> bool {
        self.bypasses
    }

    /// Writes whole blocks past the page cache, if place, memory and length allow it. Returns the
    /// bytes that were written.
    fn write_blocks(&mut self, at: u64, bytes: &[u8]) -> Result<usize, WriteError> {
        let len = bytes.len() / BLOCK as usize * BLOCK as usize;
        let fits = at.is_multiple_of(BLOCK) && bytes.as_ptr().align_offset(BLOCK as usize) == 0;
        if !self.may_bypass || !fits || len < DIRECT_LEAST || !self.bypass(true) {
            return Ok(0);
        }
        match self.file.write_at(at, part(bytes, 0..len)) {
            Ok(()) => Ok(len),
            // Refused after all, or for the rest of a write that was cut short.
            Err(WriteError {
                io: IoError { code: libc::EINVAL | libc::EOPNOTSUPP, .. },
                written,
            }) => {
                self.may_bypass = written > 0;
                Ok(written as usize)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes all of `bytes` at `at`.
    pub(super) fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), WriteError> {
        // Bytes written before are lost: a device that is gone would take the rest as well, into
        // memory that it never leaves. The next sync reports the loss.
        if let Some(io) = self.streams.late {
            return Err(WriteError { io, written: 0 });
        }
        let done = self.write_blocks(at, bytes)?;
        let (at, rest) = (at + done as u64, part(bytes, done..bytes.len()));
        if rest.is_empty() {
            return Ok(());
        }
        self.bypass(false);
        let failed = |e: WriteError| WriteError { written: done as u64 + e.written, ..e };
        self.file.write_at(at, rest).map_err(failed)?;
        if self.kind != FileKind::Other {
            self.streams.written(&self.file, at, rest.len() as u64);
        }
        Ok(())
    }

    /// Fills `buf` from `at`, whole or not at all.
    pub(super) fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.bypass(false);
        self.file.read_at(at, buf)
    }

    /// Makes a regular file at least `len` bytes long.
    pub(super) fn lengthen(&mut self, len: u64) -> Result<(), IoError> {
        match self.file.kind()? {
            FileKind::Regular(now) if now >= len => Ok(()),
            _ => match self.file.set_len(len) {
                // Some file systems lengthen a file only by writing to it.
                Err(IoError { kind: IoKind::Other, .. }) => {
                    self.bypass(false);
                    Ok(self.file.write_at(len.saturating_sub(1), &[0])?)
                }
                done => done,
            },
        }
    }

    /// Truncates a regular file to `len` bytes, as far as the system allows.
    pub(super) fn truncate(&mut self, len: u64) {
        if let FileKind::Regular(_) = self.kind {
            let _ = self.file.set_len(len);
        }
    }

    /// Reserves space for the bytes from `from` to `to` of a regular file.
    pub(super) fn reserve(&mut self, from: u64, to: u64) {
        if let FileKind::Regular(_) = self.kind {
            self.file.reserve(from, to);
        }
    }

    /// Waits until everything written is on the medium. Reports what was lost since the last call.
    pub(super) fn sync(&mut self) -> Result<(), IoError> {
        let synced = self.file.sync_data();
        self.streams.late.take().map_or(synced, Err)
    }
}

/// Bytes written through the page cache, one after the other. They are sent to the medium while more
/// come, and leave the page cache once they are there.
#[derive(Clone, Copy, Default)]
struct Stream {
    /// From here to `sent`: being written to the medium.
    from: u64,
    /// From here to `end`: in the page cache only.
    sent: u64,
    end: u64,
}

/// What such writes to a file have in common: data and descriptors are a stream each, with gaps
/// where writes bypassed the page cache or nothing was written.
#[derive(Default)]
struct Streams {
    /// The one that has come less far, and the other.
    streams: [Stream; 2],
    /// An error that came after a write; the next sync reports it.
    late: Option<IoError>,
}

impl Streams {
    /// Notes that bytes were written, and sends some of them to the medium.
    fn written(&mut self, file: &File, at: u64, len: u64) {
        let [low, high] = &mut self.streams;
        let stream = if at < high.end { &mut *low } else { &mut *high };
        if at < stream.end {
            *stream = Stream { from: at, sent: at, end: at };
        }
        stream.end = at.saturating_add(len);
        if stream.end - stream.sent >= SEND {
            let send = stream.end / PAGE * PAGE;
            let begun = file.begin_write_out(stream.sent, send);
            let ended = file.end_write_out(stream.from, stream.sent);
            (stream.from, stream.sent) = (stream.sent, send);
            self.late = self.late.or(begun.and(ended).err());
        }
        if low.end > high.end {
            core::mem::swap(low, high);
        }
    }
}
