//! A file with changes: nothing of the original is copied, however large it is.

use std::collections::HashMap;
use tamis_core::io::{IoError, IoKind, RandomAccess};

/// Bytes that are changed together.
const PIECE: u64 = 4096;

/// What a reader asked for.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Reads, and pieces lent.
    pub calls: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// A file as it was, changed pieces, and what was put behind its end.
#[derive(Clone)]
pub struct Overlay<'f> {
    base: &'f [u8],
    changed: HashMap<u64, Box<[u8; PIECE as usize]>>,
    tail: Vec<u8>,
    len: u64,
    /// Whether pieces are lent (as a mapped file does), or only read.
    pub lends: bool,
    /// What was asked for until now.
    pub steps: Steps,
}

impl<'f> Overlay<'f> {
    /// No changes yet.
    pub fn new(base: &'f [u8]) -> Overlay<'f> {
        Overlay {
            base,
            changed: HashMap::new(),
            tail: Vec::new(),
            len: base.len() as u64,
            lends: true,
            steps: Steps::default(),
        }
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cuts the file off.
    pub fn truncate(&mut self, len: u64) {
        self.len = self.len.min(len);
    }

    /// Puts bytes behind the end; gives their offset.
    pub fn append(&mut self, bytes: &[u8]) -> u64 {
        let at = self.base.len() as u64 + self.tail.len() as u64;
        self.tail.extend(bytes);
        self.len = at + bytes.len() as u64;
        at
    }

    /// The bytes of the original at `at`, zeros behind its end.
    fn original(&self, at: u64, buf: &mut [u8]) {
        for (index, byte) in buf.iter_mut().enumerate() {
            let at = at as usize + index;
            let tail = || self.tail.get(at - self.base.len());
            *byte = self.base.get(at).or_else(tail).copied().unwrap_or(0);
        }
    }

    /// Changes bytes; those behind the end are left.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let at = at.saturating_add(index as u64);
            if at >= self.len {
                return;
            }
            if !self.changed.contains_key(&(at / PIECE)) {
                let mut piece = Box::new([0; PIECE as usize]);
                self.original(at / PIECE * PIECE, &mut piece[..]);
                self.changed.insert(at / PIECE, piece);
            }
            let piece = self.changed.get_mut(&(at / PIECE)).expect("was put there");
            piece[(at % PIECE) as usize] = *byte;
        }
    }

    /// Reads bytes, whole or not at all.
    pub fn get(&self, at: u64, buf: &mut [u8]) -> bool {
        if at.checked_add(buf.len() as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        let (mut at, mut rest) = (at, buf);
        while !rest.is_empty() {
            let inside = (at % PIECE) as usize;
            let len = rest.len().min(PIECE as usize - inside);
            let (part, after) = rest.split_at_mut(len);
            match self.changed.get(&(at / PIECE)) {
                Some(piece) => part.copy_from_slice(&piece[inside..inside + len]),
                None => match self.base.get(at as usize..at as usize + len) {
                    Some(bytes) => part.copy_from_slice(bytes),
                    None => self.original(at, part),
                },
            }
            at += len as u64;
            rest = after;
        }
        true
    }

    /// The eight bytes at `at` as a little-endian number.
    pub fn u64(&self, at: u64) -> Option<u64> {
        let mut raw = [0; 8];
        self.get(at, &mut raw).then(|| u64::from_le_bytes(raw))
    }

    /// First byte and one past the last of each changed piece.
    pub fn changes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.changed.keys().map(|piece| (piece * PIECE, (piece + 1) * PIECE))
    }
}

impl RandomAccess for &mut Overlay<'_> {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.steps.calls += 1;
        self.steps.bytes += buf.len() as u64;
        if self.get(at, buf) { Ok(()) } else { Err(IoError { kind: IoKind::Eof, code: 0 }) }
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len as u64)?;
        if !self.lends || len == 0 || end > self.len.min(self.base.len() as u64) {
            return None;
        }
        if (at / PIECE..=(end - 1) / PIECE).any(|piece| self.changed.contains_key(&piece)) {
            return None;
        }
        self.steps.calls += 1;
        self.steps.bytes += len as u64;
        self.base.get(at as usize..end as usize)
    }

    fn window_broke(&mut self) -> bool {
        false
    }
}
