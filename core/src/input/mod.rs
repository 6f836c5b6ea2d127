//! Reading dumps: what [`crate::capture`] or makedumpfile or QEMU wrote, opened by content, never by
//! name.
//!
//! From the file upwards: a flattened stream becomes the file it stands for ([`flat`]), a file or
//! a set of them becomes memory ([`kdump`]), and an ELF vmcore is one already
//! ([`crate::input::elf`]). What comes out is a [`Dump`], so that everything that works on a
//! vmcore works on a dump. Memory images of other programs become the vmcore that they stand for (`image`, with the
//! feature `alloc`).
//!
//! Input may be hostile: nothing panics, loops without end, or asks for memory by a length that was
//! not held against the file.

pub mod elf;
#[cfg(feature = "decode")]
pub mod flat;
#[cfg(all(feature = "decode", feature = "alloc"))]
pub mod image;
#[cfg(feature = "decode")]
pub mod kdump;
pub mod pieces;

#[cfg(feature = "decode")]
use crate::bitmap::Bitmap;
#[cfg(feature = "decode")]
use crate::io::{IoError, RandomAccess};
#[cfg(feature = "decode")]
use crate::memory::{Dump, Machine, MemoryRange, Notes, Origin, PhysMemory, Ranges, ReadError};
#[cfg(feature = "decode")]
use crate::units::{Pfn, PhysAddr};
use crate::wire::disk_header::Signature;
use crate::wire::flattened;
#[cfg(feature = "decode")]
use elf::ElfVmcore;
#[cfg(feature = "decode")]
use kdump::{Kdump, Unpack};
#[cfg(feature = "decode")]
use page_codec::Codec;

/// What a file begins like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// An ELF file.
    Elf,
    /// A kdump-compressed dump.
    Kdump,
    /// A flattened stream.
    Flattened,
}

/// The form that the first bytes of a file say it has.
pub fn form(head: &[u8]) -> Option<Form> {
    if head.starts_with(b"\x7fELF") {
        Some(Form::Elf)
    } else if Signature::of(head).is_some() {
        Some(Form::Kdump)
    } else if flattened::is_start(head) {
        Some(Form::Flattened)
    } else {
        None
    }
}

#[cfg(feature = "decode")]
/// A file, or what a flattened stream or a memory image stands for.
pub enum MaybeFlattened<'t, F> {
    /// As it is.
    Plain(F),
    /// Through the index of its records.
    Flat(flat::Flat<'t, F>),
    /// Through the layout of an image.
    #[cfg(feature = "alloc")]
    Image(alloc::boxed::Box<image::Image<'t, F>>),
}

#[cfg(feature = "decode")]
impl<'t, F: RandomAccess> MaybeFlattened<'t, F> {
    /// A second reader, for another thread; `again` gives the same file once more.
    pub fn reopen(&self, again: impl Fn(&F) -> F) -> MaybeFlattened<'t, F> {
        match self {
            MaybeFlattened::Plain(file) => MaybeFlattened::Plain(again(file)),
            MaybeFlattened::Flat(flat) => MaybeFlattened::Flat(flat.reopen(again)),
            #[cfg(feature = "alloc")]
            MaybeFlattened::Image(image) => {
                MaybeFlattened::Image(alloc::boxed::Box::new(image.reopen(again)))
            }
        }
    }
}

#[cfg(feature = "decode")]
impl<F: RandomAccess> RandomAccess for MaybeFlattened<'_, F> {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        match self {
            MaybeFlattened::Plain(f) => f.read_at(at, buf),
            MaybeFlattened::Flat(f) => f.read_at(at, buf),
            #[cfg(feature = "alloc")]
            MaybeFlattened::Image(f) => f.read_at(at, buf),
        }
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        match self {
            MaybeFlattened::Plain(f) => f.window(at, len),
            MaybeFlattened::Flat(f) => f.window(at, len),
            #[cfg(feature = "alloc")]
            MaybeFlattened::Image(f) => f.window(at, len),
        }
    }

    fn window_broke(&mut self) -> bool {
        match self {
            MaybeFlattened::Plain(f) => f.window_broke(),
            MaybeFlattened::Flat(f) => f.window_broke(),
            #[cfg(feature = "alloc")]
            MaybeFlattened::Image(f) => f.window_broke(),
        }
    }
}

#[cfg(feature = "decode")]
/// Memory out of a dump of either kind.
#[expect(clippy::large_enum_variant, reason = "one or two of them exist, for a whole run")]
pub enum AnyDump<'t, F, U> {
    /// An ELF vmcore.
    Elf(ElfVmcore<'t, F>),
    /// A kdump-compressed dump.
    Kdump(Kdump<'t, F, U>),
}

#[cfg(feature = "decode")]
/// Calls the same method of whichever dump it is.
macro_rules! with_inner {
    ($any:expr, $dump:ident => $call:expr) => {
        match $any {
            AnyDump::Elf($dump) => $call,
            AnyDump::Kdump($dump) => $call,
        }
    };
}

#[cfg(feature = "decode")]
impl<F: RandomAccess, U: Unpack> PhysMemory for AnyDump<'_, F, U> {
    fn machine(&self) -> Machine {
        with_inner!(self, d => d.machine())
    }

    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        with_inner!(self, d => d.read(at, buf))
    }

    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        with_inner!(self, d => d.window(at, len))
    }

    fn window_broke(&mut self) -> bool {
        with_inner!(self, d => d.window_broke())
    }
}

#[cfg(feature = "decode")]
impl<F, U> Ranges for AnyDump<'_, F, U> {
    fn ranges(&self) -> &[MemoryRange] {
        with_inner!(self, d => d.ranges())
    }

    fn ranges_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&MemoryRange)) {
        with_inner!(self, d => d.ranges_in(from, until, each))
    }

    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
        with_inner!(self, d => d.next_memory(from))
    }
}

#[cfg(feature = "decode")]
impl<F: RandomAccess, U: Unpack> Dump for AnyDump<'_, F, U> {
    fn origin(&self) -> Origin {
        with_inner!(self, d => d.origin())
    }

    fn is_truncated(&self) -> bool {
        with_inner!(self, d => d.is_truncated())
    }

    fn keep_existing(&mut self, map: &mut Bitmap<'_>) {
        with_inner!(self, d => d.keep_existing(map))
    }

    fn keep_held(&mut self, map: &mut Bitmap<'_>) {
        with_inner!(self, d => d.keep_held(map))
    }

    fn says_by_page(&self) -> bool {
        with_inner!(self, d => d.says_by_page())
    }

    fn stored_page(&mut self, pfn: Pfn, codec: Codec, out: &mut [u8]) -> Option<usize> {
        with_inner!(self, d => d.stored_page(pfn, codec, out))
    }

    fn notes(&self) -> Notes {
        with_inner!(self, d => d.notes())
    }

    fn read_notes(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        with_inner!(self, d => d.read_notes(at, buf))
    }
}
