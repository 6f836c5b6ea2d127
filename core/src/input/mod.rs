//! Reading dumps: what [`crate::capture`] or makedumpfile or QEMU wrote, opened by content, never by
//! name.
//!
//! From the file upwards: a flattened stream becomes the file it stands for ([`flat`]), a file or
//! a set of them becomes memory ([`kdump`]), and an ELF vmcore is one already
//! ([`crate::input::elf`]). What comes out is a [`Source`], so that everything that works on a
//! vmcore works on a dump.
//!
//! Input may be hostile: nothing panics, loops without end, or asks for memory by a length that was
//! not held against the file.

pub mod elf;
pub mod flat;
pub mod kdump;

use crate::bitmap::Bitmap;
use crate::input::elf::ElfVmcore;
use crate::io::{IoError, RandomAccess};
use crate::memory::{Machine, ReadFault, Segment, Source};
use crate::units::{PageShift, Pfn, PhysAddr};
use crate::wire::disk_header::Signature;
use crate::wire::flattened;
use kdump::{Kdump, Unpack};

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

/// A file, or what a flattened stream stands for.
pub enum Layer<'t, F> {
    /// As it is.
    Plain(F),
    /// Through the index of its records.
    Flat(flat::Flat<'t, F>),
}

impl<'t, F: RandomAccess> Layer<'t, F> {
    /// A second reader, for another thread; `again` gives the same file once more.
    pub fn twin(&self, again: impl FnOnce(&F) -> F) -> Layer<'t, F> {
        match self {
            Layer::Plain(file) => Layer::Plain(again(file)),
            Layer::Flat(flat) => Layer::Flat(flat.twin(again)),
        }
    }
}

impl<F: RandomAccess> RandomAccess for Layer<'_, F> {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        match self {
            Layer::Plain(f) => f.read_at(at, buf),
            Layer::Flat(f) => f.read_at(at, buf),
        }
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        match self {
            Layer::Plain(f) => f.window(at, len),
            Layer::Flat(f) => f.window(at, len),
        }
    }

    fn window_broke(&mut self) -> bool {
        match self {
            Layer::Plain(f) => f.window_broke(),
            Layer::Flat(f) => f.window_broke(),
        }
    }
}

/// Memory out of a dump of either kind.
#[expect(clippy::large_enum_variant, reason = "one or two of them exist, for a whole run")]
pub enum Dump<'t, F, U> {
    /// An ELF vmcore.
    Elf(ElfVmcore<'t, F>),
    /// A kdump-compressed dump.
    Kdump(Kdump<'t, F, U>),
}

impl<F: RandomAccess, U: Unpack> Source for Dump<'_, F, U> {
    fn machine(&self) -> Machine {
        match self {
            Dump::Elf(d) => d.machine(),
            Dump::Kdump(d) => d.machine(),
        }
    }

    fn segments(&self) -> &[Segment] {
        match self {
            Dump::Elf(d) => d.segments(),
            Dump::Kdump(d) => d.segments(),
        }
    }

    fn segments_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&Segment)) {
        match self {
            Dump::Elf(d) => d.segments_in(from, until, each),
            Dump::Kdump(d) => d.segments_in(from, until, each),
        }
    }

    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
        match self {
            Dump::Elf(d) => d.next_memory(from),
            Dump::Kdump(d) => d.next_memory(from),
        }
    }

    fn is_cut(&self) -> bool {
        match self {
            Dump::Elf(d) => d.is_cut(),
            Dump::Kdump(d) => d.is_cut(),
        }
    }

    fn set_page_shift(&mut self, shift: PageShift) {
        match self {
            Dump::Elf(d) => d.set_page_shift(shift),
            Dump::Kdump(d) => d.set_page_shift(shift),
        }
    }

    fn clip(&mut self, map: &mut Bitmap<'_>, stored: bool) {
        match self {
            Dump::Elf(d) => d.clip(map, stored),
            Dump::Kdump(d) => d.clip(map, stored),
        }
    }

    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadFault> {
        match self {
            Dump::Elf(d) => d.read(at, buf),
            Dump::Kdump(d) => d.read(at, buf),
        }
    }

    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        match self {
            Dump::Elf(d) => d.window(at, len),
            Dump::Kdump(d) => d.window(at, len),
        }
    }

    fn window_broke(&mut self) -> bool {
        match self {
            Dump::Elf(d) => d.window_broke(),
            Dump::Kdump(d) => d.window_broke(),
        }
    }

    fn stored(&mut self, pfn: Pfn, flag: u32, out: &mut [u8]) -> Option<usize> {
        match self {
            Dump::Elf(_) => None,
            Dump::Kdump(d) => d.stored(pfn, flag, out),
        }
    }

    fn notes_len(&self) -> u64 {
        match self {
            Dump::Elf(d) => d.notes_len(),
            Dump::Kdump(d) => d.notes_len(),
        }
    }

    fn read_notes(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        match self {
            Dump::Elf(d) => d.read_notes(at, buf),
            Dump::Kdump(d) => d.read_notes(at, buf),
        }
    }
}
