//! A file read in large blocks, of which the last few are kept.
//!
//! Gaps of a file are zeros without being read.
//!
//! Files are read, not mapped: a file on a share that goes away, or that is truncated meanwhile, is an
//! error message then and not a dead process.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, LazyLock};
use tamis_core::io::{IoError, IoKind, RandomAccess};

/// Bytes of a block.
const BLOCK: u64 = 128 << 10;
/// Blocks that are kept. Reading a dump goes along three places at a time: bitmap, descriptors,
/// data.
const SLOTS: usize = 16;
/// The same of a reader that is one of several.
const REOPENED_SLOTS: usize = 4;

/// An input file.
pub struct BlockFile {
    file: Arc<File>,
    /// Where in the file it begins.
    base: u64,
    len: u64,
    slots: Vec<Slot>,
    most: usize,
    clock: u64,
    /// Whether the file has gaps.
    sparse: bool,
    /// The gap that was found last.
    gap: Range<u64>,
}

/// What a gap reads as, as much as is ever looked at in one go. Never written to, it is one page of zeros of the
/// system's.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; 1 << 20]);

struct Slot {
    block: u64,
    used: u64,
    bytes: Vec<u8>,
}

/// The engine's kinds of error.
pub fn io_error(error: &io::Error) -> IoError {
    let kind = match error.kind() {
        io::ErrorKind::UnexpectedEof => IoKind::Eof,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            IoKind::NoSpace
        }
        _ => IoKind::Other,
    };
    IoError { kind, code: error.raw_os_error().unwrap_or(0) }
}

/// The first place from `at` on that may hold anything but zeros; the last of all, if there is none.
pub fn next_data(file: &File, at: u64) -> u64 {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(found) => found.max(at),
        Err(rustix::io::Errno::NXIO) => u64::MAX,
        // A file system that does not know.
        Err(_) => at,
    }
}

const EOF: IoError = IoError { kind: IoKind::Eof, code: 0 };

impl BlockFile {
    /// Most bytes that a reader keeps.
    pub const MOST: u64 = BLOCK * SLOTS as u64;
    /// Most bytes that a reopened reader keeps.
    pub const REOPENED_MOST: u64 = BLOCK * REOPENED_SLOTS as u64;

    /// Frees the blocks that it keeps.
    pub fn forget(&mut self) {
        self.slots = Vec::new();
    }

    /// Over a file of `len` bytes.
    pub fn new(file: Arc<File>, len: u64) -> BlockFile {
        BlockFile::part(file, 0, len)
    }

    /// Over `len` bytes of a file, from `base` on.
    pub fn part(file: Arc<File>, base: u64, len: u64) -> BlockFile {
        let found = file.metadata().ok().filter(|found| found.is_file());
        let sparse = found.is_some_and(|found| found.blocks().saturating_mul(512) < found.len());
        BlockFile { file, base, len, slots: Vec::new(), most: SLOTS, clock: 0, sparse, gap: 0..0 }
    }

    /// Another reader of the same file.
    pub fn reopen(&self) -> BlockFile {
        let reopened = BlockFile::part(self.file.clone(), self.base, self.len);
        BlockFile { most: REOPENED_SLOTS, ..reopened }
    }

    /// The bytes from `at` on that are in one block.
    fn block(&mut self, at: u64) -> Result<&[u8], IoError> {
        let block = at / BLOCK;
        self.clock += 1;
        if self.is_gap(at, BLOCK - at % BLOCK) {
            return Ok(&ZEROS[..(self.len - at).min(BLOCK - at % BLOCK) as usize]);
        }
        let index = match self.slots.iter().position(|s| s.block == block) {
            Some(index) => index,
            None => self.load(block)?,
        };
        let slot = &mut self.slots[index];
        slot.used = self.clock;
        // Past the end of the file there is nothing.
        Ok(slot.bytes.get((at % BLOCK) as usize..).unwrap_or(&[]))
    }

    /// Whether these bytes, as far as there are any, are in the gap.
    fn is_gap(&self, at: u64, len: u64) -> bool {
        self.gap.start <= at && at < self.gap.end && self.len.min(at + len) <= self.gap.end
    }

    fn load(&mut self, block: u64) -> Result<usize, IoError> {
        let index = if self.slots.len() < self.most {
            self.slots.push(Slot { block, used: 0, bytes: Vec::new() });
            self.slots.len() - 1
        } else {
            let oldest = self.slots.iter().enumerate().min_by_key(|(_, s)| s.used);
            oldest.map_or(0, |(index, _)| index)
        };
        let slot = &mut self.slots[index];
        let at = block * BLOCK;
        let len = self.len.saturating_sub(at).min(BLOCK) as usize;
        // Half a block must not be found under this number.
        slot.block = u64::MAX;
        slot.bytes.resize(len, 0);
        if self.sparse {
            // A file that was cut off meanwhile has no gap behind its end.
            let end = self.file.metadata().map_or(0, |found| found.len());
            let data = next_data(&self.file, self.base + at).min(end).saturating_sub(self.base);
            if data >= at + len as u64 {
                slot.bytes.fill(0);
                self.gap = at..data.min(self.len);
                return Ok(index);
            }
        }
        self.file.read_exact_at(&mut slot.bytes, self.base + at).map_err(|e| io_error(&e))?;
        slot.block = block;
        Ok(index)
    }
}

impl RandomAccess for BlockFile {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let end = at.checked_add(buf.len() as u64).ok_or(EOF)?;
        if end > self.len {
            return Err(EOF);
        }
        if buf.len() as u64 >= BLOCK {
            return self.file.read_exact_at(buf, self.base + at).map_err(|e| io_error(&e));
        }
        let (mut at, mut buf) = (at, buf);
        while !buf.is_empty() {
            let bytes = self.block(at)?;
            let len = bytes.len().min(buf.len());
            if len == 0 {
                return Err(EOF);
            }
            let (part, rest) = buf.split_at_mut(len);
            part.copy_from_slice(&bytes[..len]);
            (at, buf) = (at + len as u64, rest);
        }
        Ok(())
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        // Not worth reading a block that does not have it all.
        let end = at.checked_add(len as u64).filter(|end| *end <= self.len)?;
        if self.gap.start <= at && end <= self.gap.end && len <= ZEROS.len() {
            return Some(&ZEROS[..len]);
        }
        if len as u64 > BLOCK - at % BLOCK {
            return None;
        }
        self.block(at).ok()?.get(..len)
    }

    fn window_broke(&mut self) -> bool {
        false
    }
}
