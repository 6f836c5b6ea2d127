//! Sinks that fail, and that remember: what a file would be had it been cut off anywhere.

use std::collections::HashSet;

use tamis_core::io::{Append, Sink, SinkError};
use tamis_core::io::{IoError, IoKind};

use crate::synth::Noise;

/// Something done to a file.
#[derive(Clone, Debug)]
pub enum Op {
    /// Bytes at an offset.
    Write(u64, Vec<u8>),
    /// Made so long.
    Extend(u64),
    /// What went before is on the medium.
    Sync,
}

impl Op {
    /// Does it to `file`; of a write, only so many bytes.
    pub fn apply(&self, file: &mut Vec<u8>, most: usize) {
        match self {
            Op::Write(at, bytes) => {
                let (at, bytes) = (*at as usize, &bytes[..bytes.len().min(most)]);
                if file.len() < at + bytes.len() {
                    file.resize(at + bytes.len(), 0);
                }
                file[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Op::Extend(len) if file.len() < *len as usize => file.resize(*len as usize, 0),
            Op::Extend(_) | Op::Sync => {}
        }
    }
}

/// How a [`Disk`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// After so many bytes were written nothing works any more.
    Dies(u64),
    /// The file may become so long: a full disk, a quota, a size limit. What is in the file already
    /// can be written over.
    Full(u64),
    /// There is room for so many blocks of 512 bytes, and none for a block that is written later, if
    /// data took it: a disk that is full, on which nothing can be reserved.
    Blocks(usize),
    /// The sync of this number (from 0), and each one after it, fails, and what was written since the
    /// one before is gone.
    LosesCache(u64),
    /// One write, the first that reaches this byte of all that is written, fails half done; then all
    /// is well.
    Hiccup(u64),
}

/// A file in memory.
#[derive(Default)]
pub struct Disk {
    /// Its bytes.
    pub file: Vec<u8>,
    /// Everything that was done to it, in order.
    pub ops: Vec<Op>,
    /// Bytes written, those twice that were written twice.
    pub written: u64,
    /// Whether it always wants to be synced.
    pub hasty: bool,
    fault: Option<Fault>,
    blocks: HashSet<u64>,
    syncs: u64,
    synced: Vec<u8>,
    dead: bool,
}

fn error(kind: IoKind, at: u64, written: u64) -> SinkError {
    SinkError { io: IoError { kind, code: 0 }, at, written }
}

impl Disk {
    /// One that works.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// One that fails.
    pub fn failing(fault: Fault) -> Disk {
        Disk { fault: Some(fault), ..Disk::default() }
    }

    fn allowed(&mut self, at: u64, len: u64) -> (u64, IoKind) {
        match self.fault {
            Some(Fault::Dies(after)) => {
                let room = after.saturating_sub(self.written).min(len);
                self.dead |= room < len;
                (room, IoKind::Other)
            }
            Some(Fault::Full(size)) => {
                let end = size.max(self.file.len() as u64);
                (end.saturating_sub(at).min(len), IoKind::NoSpace)
            }
            Some(Fault::Blocks(most)) => {
                let mut room = 0;
                while room < len {
                    let block = (at + room) / 512;
                    if !self.blocks.contains(&block) && self.blocks.len() == most {
                        break;
                    }
                    self.blocks.insert(block);
                    room = ((block + 1) * 512 - at).min(len);
                }
                (room, IoKind::NoSpace)
            }
            Some(Fault::Hiccup(byte)) if (self.written..self.written + len).contains(&byte) => {
                self.fault = None;
                (byte - self.written, IoKind::Other)
            }
            _ => (len, IoKind::Other),
        }
    }
}

impl Sink for Disk {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), SinkError> {
        if self.dead {
            return Err(error(IoKind::Other, at, 0));
        }
        let (room, kind) = self.allowed(at, bytes.len() as u64);
        self.written += room;
        if room > 0 {
            let op = Op::Write(at, bytes[..room as usize].to_vec());
            op.apply(&mut self.file, usize::MAX);
            self.ops.push(op);
        }
        if room < bytes.len() as u64 { Err(error(kind, at, room)) } else { Ok(()) }
    }

    fn wants_sync(&self) -> bool {
        self.hasty
    }

    fn can_read_back(&self) -> bool {
        true
    }

    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> Result<(), SinkError> {
        let there = self.file.get(at as usize..at as usize + buf.len());
        buf.copy_from_slice(there.filter(|_| !self.dead).ok_or(error(IoKind::Eof, at, 0))?);
        Ok(())
    }

    fn extend(&mut self, len: u64) -> Result<(), SinkError> {
        if self.dead {
            return Err(error(IoKind::Other, len, 0));
        }
        if let Some(Fault::Full(size)) = self.fault
            && len > size
        {
            return Err(error(IoKind::NoSpace, len, 0));
        }
        let op = Op::Extend(len);
        op.apply(&mut self.file, 0);
        self.ops.push(op);
        Ok(())
    }

    fn truncate(&mut self, len: u64) {
        if !self.dead && len < self.file.len() as u64 {
            self.file.truncate(len as usize);
            self.blocks.retain(|block| block * 512 < len);
        }
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        if self.dead {
            return Err(error(IoKind::Other, 0, 0));
        }
        if let Some(Fault::LosesCache(number)) = self.fault
            && self.syncs >= number
        {
            if self.syncs == number {
                // What the page cache held is lost; the length stays.
                let len = self.file.len();
                self.file.clone_from(&self.synced);
                self.file.resize(len, 0);
            }
            self.syncs += 1;
            return Err(error(IoKind::Other, 0, 0));
        }
        self.syncs += 1;
        if matches!(self.fault, Some(Fault::LosesCache(_))) {
            self.synced.clone_from(&self.file);
        }
        self.ops.push(Op::Sync);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sync()
    }

    fn can_rewrite(&self) -> bool {
        true
    }
}

/// What a power cut after the first `done` of `ops` may leave: all that was synced, and of what came
/// after it any pieces of 512 bytes, each with a chance of one in two; the length is that of the last
/// piece, or of an extension that made it.
pub fn power_cut(ops: &[Op], done: usize, chance: &mut Noise) -> Vec<u8> {
    let ops = &ops[..done];
    let sure = ops.iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or(0);
    let mut file = Vec::new();
    for op in &ops[..sure] {
        op.apply(&mut file, usize::MAX);
    }
    for op in &ops[sure..] {
        let mut lucky = || chance.next_u64() >> 40 & 1 == 1;
        match op {
            Op::Write(at, bytes) => {
                let mut from = 0;
                while from < bytes.len() {
                    let len = (512 - (at + from as u64) % 512).min((bytes.len() - from) as u64);
                    let piece = bytes[from..from + len as usize].to_vec();
                    if lucky() {
                        Op::Write(at + from as u64, piece).apply(&mut file, usize::MAX);
                    }
                    from += len as usize;
                }
            }
            op if lucky() => op.apply(&mut file, 0),
            _ => {}
        }
    }
    file
}

/// A pipe that takes so many bytes; what does not fit is cut off in the middle.
pub struct Pipe {
    /// What came through.
    pub bytes: Vec<u8>,
    /// What may come.
    pub most: usize,
    /// Whether it is a limit that is known ([`Append::room`]), and not a reader that goes away.
    pub known: bool,
}

impl Append for &mut Pipe {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        let room = (self.most - self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        if room < bytes.len() { Err(IoError { kind: IoKind::Other, code: 32 }) } else { Ok(()) }
    }

    fn room(&self) -> u64 {
        if self.known { (self.most - self.bytes.len()) as u64 } else { u64::MAX }
    }
}

/// A file in memory that takes no more than so many bytes, and fails in no other way. Unlike a
/// [`Disk`] it does not remember what was done to it.
pub struct MemoryFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    room: u64,
}

impl MemoryFile {
    /// An empty one.
    pub fn new(room: u64) -> MemoryFile {
        MemoryFile { bytes: Vec::new(), room }
    }
}

impl Sink for MemoryFile {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let end = at.checked_add(bytes.len() as u64).filter(|end| *end <= self.room);
        let end = end.ok_or(error(IoKind::NoSpace, at, 0))? as usize;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn can_read_back(&self) -> bool {
        true
    }

    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> Result<(), SinkError> {
        let there = self.bytes.get(at as usize..at as usize + buf.len());
        buf.copy_from_slice(there.ok_or(error(IoKind::Eof, at, 0))?);
        Ok(())
    }

    fn extend(&mut self, len: u64) -> Result<(), SinkError> {
        if len > self.room {
            return Err(error(IoKind::NoSpace, len, 0));
        }
        self.bytes.resize(self.bytes.len().max(len as usize), 0);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn can_rewrite(&self) -> bool {
        true
    }
}
