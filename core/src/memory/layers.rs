//! Wrappers around a memory that are one themselves: [`Counting`] counts what is asked of it, [`Faulty`] fails
//! where it is asked to.

use super::{Dump, Machine, MemoryRange, Notes, Origin, PhysMemory, Ranges, ReadError};
use crate::bitmap::Bitmap;
use crate::io::IoError;
use crate::units::{Pfn, PhysAddr};
use page_codec::Codec;

/// Counts reads. What is lent counts as read.
#[derive(Debug, Default)]
pub struct Counting<M> {
    /// The memory below.
    pub inner: M,
    /// Calls of [`PhysMemory::read`].
    pub reads: u64,
    /// Calls of [`PhysMemory::window`] that lent something.
    pub windows: u64,
    /// Bytes of both.
    pub bytes: u64,
}

impl<M> Counting<M> {
    /// Counts from 0 on.
    pub fn new(inner: M) -> Counting<M> {
        Counting { inner, reads: 0, windows: 0, bytes: 0 }
    }
}

impl<M: PhysMemory> PhysMemory for Counting<M> {
    fn machine(&self) -> Machine {
        self.inner.machine()
    }

    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.reads += 1;
        self.bytes += buf.len() as u64;
        self.inner.read(at, buf)
    }

    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        let lent = self.inner.window(at, len);
        if let Some(lent) = lent {
            self.windows += 1;
            self.bytes += lent.len() as u64;
        }
        lent
    }

    fn window_broke(&mut self) -> bool {
        self.inner.window_broke()
    }
}

/// Fails where a function says so.
///
/// The function gets the address and length of each read, and returns the error that the read shall end with.
/// Windows over such bytes are not lent, so that whoever wants them reads them.
#[derive(Debug)]
pub struct Faulty<M, F> {
    /// The memory below.
    pub inner: M,
    fault: F,
}

impl<M, F: FnMut(PhysAddr, usize) -> Option<ReadError>> Faulty<M, F> {
    /// Fails where `fault` returns an error.
    pub fn new(inner: M, fault: F) -> Faulty<M, F> {
        Faulty { inner, fault }
    }
}

impl<M: PhysMemory, F: FnMut(PhysAddr, usize) -> Option<ReadError>> PhysMemory for Faulty<M, F> {
    fn machine(&self) -> Machine {
        self.inner.machine()
    }

    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        match (self.fault)(at, buf.len()) {
            Some(error) => Err(error),
            None => self.inner.read(at, buf),
        }
    }

    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        match (self.fault)(at, len) {
            Some(_) => None,
            None => self.inner.window(at, len),
        }
    }

    fn window_broke(&mut self) -> bool {
        self.inner.window_broke()
    }
}

/// What the layers leave as it is.
macro_rules! forward {
    ($layer:ident<$memory:ident $(, $more:ident)?>) => {
        impl<$memory: Ranges $(, $more)?> Ranges for $layer<$memory $(, $more)?> {
            fn ranges(&self) -> &[MemoryRange] {
                self.inner.ranges()
            }

            fn ranges_in(
                &self,
                from: PhysAddr,
                until: PhysAddr,
                each: &mut dyn FnMut(&MemoryRange),
            ) {
                self.inner.ranges_in(from, until, each);
            }

            fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
                self.inner.next_memory(from)
            }
        }

        impl<$memory: Dump $(, $more)?> Dump for $layer<$memory $(, $more)?>
        where
            Self: PhysMemory,
        {
            fn origin(&self) -> Origin {
                self.inner.origin()
            }

            fn is_truncated(&self) -> bool {
                self.inner.is_truncated()
            }

            fn keep_existing(&mut self, map: &mut Bitmap<'_>) {
                self.inner.keep_existing(map);
            }

            fn keep_held(&mut self, map: &mut Bitmap<'_>) {
                self.inner.keep_held(map);
            }

            fn says_by_page(&self) -> bool {
                self.inner.says_by_page()
            }

            fn stored_page(&mut self, pfn: Pfn, codec: Codec, out: &mut [u8]) -> Option<usize> {
                self.inner.stored_page(pfn, codec, out)
            }

            fn notes(&self) -> Notes {
                self.inner.notes()
            }

            fn read_notes(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
                self.inner.read_notes(at, buf)
            }
        }
    };
}

forward!(Counting<M>);
forward!(Faulty<M, F>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Memory;

    #[test]
    fn what_is_read_and_lent_is_counted() {
        let mut memory = Counting::new(Memory::new(0x1000, 0x1000));
        memory.read(PhysAddr(0x1000), &mut [0; 100]).unwrap();
        assert_eq!(memory.window(PhysAddr(0x1800), 28).map(<[u8]>::len), Some(28));
        assert!(memory.window(PhysAddr(0x8000), 1).is_none());
        assert_eq!((memory.reads, memory.windows, memory.bytes), (1, 1, 128));
    }

    #[test]
    fn reads_fail_where_they_shall() {
        let broken = |at: PhysAddr, len| {
            (at.0 <= 0x1800 && 0x1800 < at.0 + len as u64).then_some(ReadError::Poisoned(at))
        };
        let mut memory = Faulty::new(Memory::new(0x1000, 0x1000), broken);
        assert_eq!(memory.read(PhysAddr(0x1000), &mut [0; 0x800]), Ok(()));
        let error = Err(ReadError::Poisoned(PhysAddr(0x1000)));
        assert_eq!(memory.read(PhysAddr(0x1000), &mut [0; 0x801]), error);
        assert!(memory.window(PhysAddr(0x1800), 1).is_none());
        assert!(memory.window(PhysAddr(0x1801), 1).is_some());
    }
}
