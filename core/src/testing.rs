//! Small pieces of memory for unit tests.

use crate::endian::{Endian, Word};
use crate::io::IoError;
use crate::memory::{Machine, ReadFault, Segment, Source};
use crate::units::{PageShift, PhysAddr};
use crate::vmcoreinfo::Info;
use std::{vec, vec::Vec};

/// Physical memory `[start, start + len)`.
pub struct Memory {
    segment: [Segment; 1],
    pub bytes: Vec<u8>,
}

impl Memory {
    pub fn new(start: u64, len: usize) -> Memory {
        let len64 = len as u64;
        let segment = Segment {
            phys: PhysAddr(start),
            file_len: len64,
            mem_len: len64,
            ..Segment::default()
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

impl Source for Memory {
    fn machine(&self) -> Machine {
        Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 }
    }
    fn segments(&self) -> &[Segment] {
        &self.segment
    }
    fn set_page_shift(&mut self, _: PageShift) {}
    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadFault> {
        let part = self.window(at, buf.len()).ok_or(ReadFault::Absent(at))?;
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
    fn notes_len(&self) -> u64 {
        0
    }
    fn read_notes(&mut self, _: u64, _: &mut [u8]) -> Result<(), IoError> {
        Ok(())
    }
}

/// The facts of a VMCOREINFO text.
pub fn info(text: &str) -> Info<'_> {
    Info::new(Some(text.as_bytes()), None)
}
