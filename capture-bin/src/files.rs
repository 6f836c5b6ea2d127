//! Files as the engine wants them: a source that can be read anywhere, sinks for dumps.

use crate::sys::{File, FileKind, Window};
use tamis_core::sink::{Append, Sink, SinkError};
use tamis_core::source::{IoError, IoKind, RandomAccess};

/// An input file: mapped where it can be, read elsewhere.
pub struct Input {
    file: File,
    size: u64,
    window: Option<Window>,
}

impl Input {
    /// Opens a vmcore. Without `map` it is only read.
    pub fn open(path: &[u8], map: bool) -> Result<Input, IoError> {
        let file = File::open(path)?;
        // /proc/vmcore is a regular file, and its size is what can be read.
        let size = match file.kind()? {
            FileKind::Regular(size) => size,
            FileKind::Block | FileKind::Other => 0,
        };
        let window = if map && size > 0 { Window::new() } else { None };
        Ok(Input { file, size, window })
    }

    /// The same file, with a window of its own.
    pub fn another(&self) -> Result<Input, IoError> {
        let window = if self.window.is_some() { Window::new() } else { None };
        Ok(Input { file: self.file.another()?, size: self.size, window })
    }
}

impl RandomAccess for Input {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.file.read_at(at, buf)
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        self.window.as_mut()?.bytes(&self.file, self.size, at, len)
    }

    fn window_broke(&mut self) -> bool {
        self.window.as_mut().is_some_and(Window::broke)
    }
}

/// The error of a limit that was set on the command line.
const LIMIT_REACHED: IoError = IoError { kind: IoKind::NoSpace, code: 0 };

/// Bytes of a dump that are sent to the medium at a time.
const SEND: u64 = 1 << 20;
/// Bytes of a page, or a whole number of them, on every machine that this program runs on.
const PAGE: u64 = 4096;

/// Bytes that are written one after the other. They are sent to the medium while more come, and
/// leave the page cache once they are there: the memory of a crash kernel must not fill with pages
/// of the dump.
#[derive(Clone, Copy, Default)]
struct Stream {
    /// From here to `sent`: under way.
    from: u64,
    /// From here to `end`: in the page cache only.
    sent: u64,
    end: u64,
}

/// What writes to a file have in common: data and descriptors are a stream each.
#[derive(Default)]
struct Streams {
    /// The one that was used last comes first.
    streams: [Stream; 2],
    /// An error that came after a write; the next sync is to tell it.
    late: Option<IoError>,
}

impl Streams {
    /// Bytes were written.
    fn written(&mut self, file: &File, at: u64, len: u64) {
        let [last, other] = &mut self.streams;
        if last.end != at {
            core::mem::swap(last, other);
        }
        if last.end != at {
            *last = Stream { from: at, sent: at, end: at };
        }
        last.end = at.saturating_add(len);
        if last.end - last.sent < SEND {
            return;
        }
        let send = last.end / PAGE * PAGE;
        let begun = file.begin_write_out(last.sent, send);
        let ended = file.end_write_out(last.from, last.sent);
        (last.from, last.sent) = (last.sent, send);
        self.late = self.late.or(begun.and(ended).err());
    }
}

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
        Ok(DumpFile {
            file,
            kind,
            limit: limit.unwrap_or(u64::MAX),
            base,
            extended: 0,
            streams: Streams::default(),
        })
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
        self.file.write_at(place, fits).map_err(failed)?;
        if self.kind != FileKind::Other {
            self.streams.written(&self.file, place, room as u64);
        }
        if fits.len() < bytes.len() {
            return Err(failed((LIMIT_REACHED, fits.len() as u64)));
        }
        Ok(())
    }

    fn can_read_back(&self) -> bool {
        self.kind != FileKind::Other
    }

    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> Result<(), SinkError> {
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

    fn sync(&mut self) -> Result<(), SinkError> {
        let synced = self.file.sync_data();
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

/// A stream, with a limit on its length.
pub struct Pipe {
    file: File,
    left: u64,
    limit: u64,
}

impl Pipe {
    /// Over an open file.
    pub fn new(file: File, limit: Option<u64>) -> Pipe {
        let limit = limit.unwrap_or(u64::MAX);
        Pipe { file, left: limit, limit }
    }

    /// Whether nothing was written to it.
    pub fn is_untouched(&self) -> bool {
        self.left == self.limit
    }
}

impl Append for Pipe {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(LIMIT_REACHED)?;
        self.file.write(bytes).map_err(|(io, _)| io)
    }

    fn room(&self) -> u64 {
        self.left
    }
}
