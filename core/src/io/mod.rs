//! Where a dump goes. A regular file takes writes at offsets; a pipe only appends, and
//! [`Flattened`] makes the first out of the second.
//!
//! Sinks are used as `&mut dyn Sink`: a program has several kinds at once (file, stream, none),
//! each behind the same writers, and a call carries tens of kilobytes, so that one copy of the
//! writers is worth more than an inlined call.

mod discard;
mod flattened;
#[cfg(all(unix, feature = "std"))]
mod std;

pub use discard::Discard;
pub use flattened::Flattened;

use core::fmt;

/// An I/O error reported by the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoError {
    /// What kind, as far as it changes what is done next.
    pub kind: IoKind,
    /// The system's own error number; 0 where it gave none.
    pub code: i32,
}

/// Kinds of I/O failure that are handled differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoKind {
    /// The file ends before the bytes asked for.
    Eof,
    /// No space left, a quota, or a size limit reached.
    NoSpace,
    /// The hardware reports the memory as poisoned.
    Poisoned,
    /// Anything else.
    Other,
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            IoKind::Eof => "unexpected end of file",
            IoKind::NoSpace => "no space left",
            IoKind::Poisoned => "hardware memory error",
            IoKind::Other => "input/output error",
        };
        if self.code == 0 { f.write_str(kind) } else { write!(f, "{kind} (errno {})", self.code) }
    }
}

impl core::error::Error for IoError {}

/// A file that can be read anywhere: what [`crate::input::elf`] stands on.
pub trait RandomAccess {
    /// Fills `buf` from file offset `at`, whole or not at all.
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError>;

    /// See [`crate::memory::PhysMemory::window`].
    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]>;

    /// See [`crate::memory::PhysMemory::window_broke`].
    fn window_broke(&mut self) -> bool;
}

/// Bytes in memory are a file.
impl RandomAccess for &[u8] {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let eof = IoError { kind: IoKind::Eof, code: 0 };
        buf.copy_from_slice(self.window(at, buf.len()).ok_or(eof)?);
        Ok(())
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        self.get(usize::try_from(at).ok()?..)?.get(..len)
    }

    fn window_broke(&mut self) -> bool {
        false
    }
}

/// Data in a dump begins at a multiple of this, and is written in whole multiples at their places as
/// far as that goes: a system can write such blocks to a disk without going through its cache.
pub const BLOCK: u64 = 4096;

/// A failed sink operation.
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

    /// Truncates the output to `len` bytes, so that there is space for something else. Where
    /// that cannot be done nothing happens.
    fn truncate(&mut self, len: u64) {
        let _ = len;
    }

    /// Returns when everything written so far would survive a power cut.
    fn sync(&mut self) -> Result<(), SinkError>;

    /// Whether it is time for a sync before more is written that depends on what was. Sinks
    /// without a clock return `false`; the amount of data alone triggers a sync.
    fn wants_sync(&self) -> bool {
        false
    }

    /// Ends the dump. Nothing is written afterwards.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// Whether a header may be written first as incomplete and again at the end. A stream has it
    /// once; what says incomplete there is the missing end record.
    fn can_rewrite(&self) -> bool;
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

fn failed(at: u64) -> impl Fn(IoError) -> SinkError {
    move |io| SinkError { io, at, written: 0 }
}
