//! Small pieces of memory for unit tests.

use crate::endian::{Endian, Word};
use crate::memory::{Machine, MemoryRange, PhysMemory, Ranges, ReadError, next_memory, ranges_in};
use crate::units::PhysAddr;
use crate::vmcoreinfo::Info;
use std::{vec, vec::Vec};

/// Physical memory `[start, start + len)`.
pub struct Memory {
    segment: [MemoryRange; 1],
    pub bytes: Vec<u8>,
}

impl Memory {
    pub fn new(start: u64, len: usize) -> Memory {
        let len64 = len as u64;
        let segment = MemoryRange {
            phys: PhysAddr(start),
            stored_len: len64,
            len: len64,
            ..MemoryRange::default()
        };
        Memory { segment: [segment], bytes: vec![0; len] }
    }

    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = (at - self.segment[0].phys.0) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn put64(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

impl PhysMemory for Memory {
    fn machine(&self) -> Machine {
        Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 }
    }
    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        let part = self.window(at, buf.len()).ok_or(ReadError::Absent(at))?;
        buf.copy_from_slice(part);
        Ok(())
    }
    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        let at = at.0.checked_sub(self.segment[0].phys.0)? as usize;
        self.bytes.get(at..)?.get(..len)
    }
    fn window_broke(&mut self) -> bool {
        false
    }
}

impl Ranges for Memory {
    fn ranges(&self) -> &[MemoryRange] {
        &self.segment
    }
    fn ranges_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&MemoryRange)) {
        ranges_in(&self.segment, from, until, each);
    }
    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
        next_memory(&self.segment, from)
    }
}

/// The facts of a VMCOREINFO text.
pub fn info(text: &str) -> Info<'_> {
    Info::new(Some(text.as_bytes()), None)
}
