//! Reading virtual memory piece by piece.

use super::{Failed, SymbolsError};
use crate::endian::{Endian, Word};
use crate::error::{part, part_mut};
use crate::kernel::memory::{KernelMemory, TranslateError};
use crate::memory::PhysMemory;
#[cfg(feature = "rules")]
use crate::units::PhysAddr;
use crate::units::VirtAddr;

/// Virtual memory of a dead kernel.
pub trait VirtMemory {
    /// Fills `buf` from `at`.
    fn fill(&mut self, at: VirtAddr, buf: &mut [u8]) -> Result<(), TranslateError>;

    /// Where an address is in physical memory, and how many bytes from there on; `None` where it is nowhere.
    #[cfg(feature = "rules")]
    fn place(&mut self, at: VirtAddr) -> Option<(PhysAddr, u64)>;

    /// Byte order of integers.
    fn byte_order(&self) -> Endian;

    /// Size of an `unsigned long` and of a pointer.
    fn long(&self) -> Word;
}

impl<S: PhysMemory> VirtMemory for KernelMemory<'_, '_, S> {
    #[inline]
    fn fill(&mut self, at: VirtAddr, buf: &mut [u8]) -> Result<(), TranslateError> {
        self.read(at, buf)
    }

    #[inline]
    #[cfg(feature = "rules")]
    fn place(&mut self, at: VirtAddr) -> Option<(PhysAddr, u64)> {
        KernelMemory::place(self, at)
    }

    fn byte_order(&self) -> Endian {
        self.endian()
    }

    #[inline]
    fn long(&self) -> Word {
        self.word_size()
    }
}

/// Bytes of a piece: no page is smaller.
const PIECE: usize = 4096;

/// A piece of memory, aligned to its size.
struct Piece {
    at: Option<u64>,
    bytes: [u8; PIECE],
}

/// Reads memory through two pieces of it, which are held: 8 KiB.
///
/// Tables are read in two places in turns, such as names and the addresses that belong to them; the piece that
/// was not used last makes room.
pub struct Reader<'m> {
    memory: &'m mut dyn VirtMemory,
    pieces: [Piece; 2],
    last: usize,
    error: SymbolsError,
    /// Bytes that were asked of the memory.
    pub filled: u64,
}

impl<'m> Reader<'m> {
    /// Over this memory.
    #[inline]
    pub fn new(memory: &'m mut dyn VirtMemory) -> Reader<'m> {
        let piece = || Piece { at: None, bytes: [0; PIECE] };
        let error = SymbolsError::NoImage;
        Reader { memory, pieces: [piece(), piece()], last: 0, error, filled: 0 }
    }

    /// What the last [`Failed`] is about.
    #[inline]
    pub fn error(&self) -> SymbolsError {
        self.error
    }

    /// Notes an error.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, error: SymbolsError) -> Failed {
        self.error = error;
        Failed
    }

    /// Notes that something is not there.
    #[cfg(feature = "rules")]
    #[cold]
    pub(in crate::kernel) fn not_found(&mut self, what: &'static str) -> Failed {
        self.fail(SymbolsError::NotFound(what))
    }

    /// Notes that a part of the tables is not what it must be.
    #[cold]
    #[inline(never)]
    pub(super) fn malformed(&mut self, what: &'static str, at: u64) -> Failed {
        self.fail(SymbolsError::Malformed { what, at: VirtAddr(at) })
    }

    /// Byte order of integers.
    #[inline]
    pub fn endian(&self) -> Endian {
        self.memory.byte_order()
    }

    /// Size of an `unsigned long` and of a pointer.
    #[inline]
    pub fn word_size(&self) -> Word {
        self.memory.long()
    }

    /// The memory.
    #[inline]
    pub fn memory(&mut self) -> &mut dyn VirtMemory {
        self.memory
    }

    /// The bytes from `at` to the end of the piece that they are in: one at least.
    #[inline]
    pub fn piece(&mut self, what: &'static str, at: u64) -> Result<&[u8], Failed> {
        let start = at & !(PIECE as u64 - 1);
        let inside = (at - start) as usize;
        let held = |piece: &Piece| piece.at == Some(start);
        if !self.pieces.get(self.last).is_some_and(held) {
            self.last ^= 1;
            if let Some(piece) = self.pieces.get_mut(self.last)
                && piece.at != Some(start)
            {
                piece.at = None;
                self.filled += PIECE as u64;
                if let Err(why) = self.memory.fill(VirtAddr(start), &mut piece.bytes) {
                    return Err(self.fail(SymbolsError::Read { what, at: VirtAddr(at), why }));
                }
                piece.at = Some(start);
            }
        }
        Ok(self.pieces.get(self.last).map_or(&[][..], |piece| part(&piece.bytes, inside..PIECE)))
    }

    /// Fills `buf` from `at`.
    #[inline]
    pub fn bytes(&mut self, what: &'static str, at: u64, buf: &mut [u8]) -> Result<(), Failed> {
        let mut done = 0;
        while done < buf.len() {
            let from = self.piece(what, at.wrapping_add(done as u64))?;
            let len = from.len().min(buf.len() - done);
            part_mut(buf, done..done + len).copy_from_slice(part(from, 0..len));
            done += len;
        }
        Ok(())
    }

    /// The byte at `at`.
    #[inline]
    pub fn u8(&mut self, what: &'static str, at: u64) -> Result<u8, Failed> {
        Ok(self.piece(what, at)?.first().copied().unwrap_or(0))
    }

    /// The 16-bit integer at `at`, aligned or not.
    #[inline]
    pub fn u16(&mut self, what: &'static str, at: u64) -> Result<u16, Failed> {
        let mut raw = [0; 2];
        self.bytes(what, at, &mut raw)?;
        Ok(self.endian().u16(&raw, 0).unwrap_or(0))
    }

    /// The 32-bit integer at `at`, aligned or not.
    #[inline]
    pub fn u32(&mut self, what: &'static str, at: u64) -> Result<u32, Failed> {
        let mut raw = [0; 4];
        self.bytes(what, at, &mut raw)?;
        Ok(self.endian().u32(&raw, 0).unwrap_or(0))
    }

    /// The `unsigned long` at `at`, aligned or not.
    #[inline]
    pub fn word(&mut self, what: &'static str, at: u64) -> Result<u64, Failed> {
        let (size, mut raw) = (self.word_size(), [0; 8]);
        self.bytes(what, at, part_mut(&mut raw, 0..size.bytes()))?;
        Ok(self.endian().word(size, &raw, 0).unwrap_or(0))
    }
}
