//! Memory images that are no dumps: what firmware, hypervisors and forensic tools leave behind, each as the ELF vmcore
//! that it stands for.
//!
//! A format is one file here. It turns bytes into a [`Layout`]: where in memory there is something, and where in the
//! files that lies, as it is or compressed; what was in the CPUs; and when that was. [`Image`] makes a file of it whose
//! headers say the same in ELF, so that all that works on a vmcore works on it: [`super::elf`] reads it. Nothing is
//! copied; a read goes to where the bytes are.

mod error;
pub mod lime;
pub mod registers;
pub mod sadump;
mod snappy;
pub mod vmware;

use crate::endian::{Endian, Word};
use crate::error::{part, part_mut};
use crate::io::{IoError, IoKind, RandomAccess};
use crate::memory::Machine;
use crate::storage::Table;
use crate::units::PageShift;
use crate::wire::elf::{self, ProgramHeader};
use crate::wire::machine::EM_X86_64;
use crate::wire::note::{NT_PRSTATUS, VMCOREINFO};
use alloc::vec::Vec;
pub use error::ImageError;
use snappy::{CHUNK_MOST, Chunks};

/// Formats of memory images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// What Fujitsu's firmware writes to partitions of its own.
    Sadump,
    /// A LiME image, or that of AVML, whose ranges may be compressed.
    Lime,
    /// A suspended machine or a snapshot of VMware, with its memory or beside it.
    Vmware,
    /// Memory without a header: somebody says where it begins.
    Raw,
}

impl Kind {
    /// As `tamis info` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Sadump => "sadump",
            Kind::Lime => "lime",
            Kind::Vmware => "vmware",
            Kind::Raw => "raw",
        }
    }
}

/// What images begin like: where, with what bytes, and what it is. This is the only place that recognises them.
pub const STARTS: [(usize, &[u8], Kind); 10] = [
    (0, b"sadump\0\0", Kind::Sadump),
    // Behind the header of a backup medium.
    (4096, b"sadump\0\0", Kind::Sadump),
    (0, b"EMiL", Kind::Lime),
    (0, b"AVML", Kind::Lime),
    (0, b"\xd0\xbe\xd2\xbe", Kind::Vmware),
    (0, b"\xd1\xba\xd1\xba", Kind::Vmware),
    (0, b"\xd2\xbe\xd2\xbe", Kind::Vmware),
    (0, b"\xd2\xba\xd2\xba", Kind::Vmware),
    (0, b"\xd3\xbe\xd3\xbe", Kind::Vmware),
    (0, b"\xd0\xbe\xd0\xbe", Kind::Vmware),
];

/// The kind of image that the first bytes of a file say it is.
pub fn kind(head: &[u8]) -> Option<Kind> {
    let starts = |(at, magic, _): &&(usize, &[u8], Kind)| {
        head.get(*at..).is_some_and(|rest| rest.starts_with(magic))
    };
    STARTS.iter().find(starts).map(|(.., kind)| *kind)
}

/// Where bytes of memory are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a file, as they are.
    At {
        /// Which of the files.
        file: u32,
        /// Where in it.
        offset: u64,
    },
    /// In a file, as one chunk of snappy's framing format.
    Packed {
        /// Which of the files.
        file: u32,
        /// Where in it the chunk's data begins, behind its checksum.
        offset: u64,
        /// Bytes of the data.
        stored: u32,
        /// Checksum of what it decompresses to, as it is stored.
        sum: u32,
    },
    /// Nowhere: the memory exists, and the image leaves it out.
    LeftOut,
}

/// A range of memory, and where its bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Physical address of the first byte.
    pub phys: u64,
    /// Bytes.
    pub len: u64,
    /// Where they are.
    pub place: Place,
}

/// What an image holds.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its format.
    pub kind: Kind,
    /// The format in words, with what distinguishes it from others of its kind.
    pub form: &'static str,
    /// Whose memory it is.
    pub machine: Machine,
    /// The page size, where the image says it.
    pub shift: Option<PageShift>,
    /// Memory, in ascending order of addresses unless the image has it otherwise.
    pub extents: Vec<Extent>,
    /// What was in the CPUs.
    pub cpus: Vec<registers::Cpu>,
    /// When it was made, in seconds since 1970.
    pub time: Option<u64>,
    /// Bytes of memory that should be there, where a file is cut off.
    pub missing: u64,
}

impl Layout {
    /// Of a machine of x86_64, with nothing in it yet.
    fn new(kind: Kind, form: &'static str) -> Layout {
        Layout {
            kind,
            form,
            machine: X86_64,
            shift: None,
            extents: Vec::new(),
            cpus: Vec::new(),
            time: None,
            missing: 0,
        }
    }

    /// Adds a range; one that goes on where the last one ends, in memory and in the file, is a part of it.
    fn push(&mut self, next: Extent) -> Result<(), ImageError> {
        if next.len == 0 {
            return Ok(());
        }
        if let Some(last) = self.extents.last_mut()
            && last.phys.checked_add(last.len) == Some(next.phys)
        {
            let goes_on = match (last.place, next.place) {
                (Place::At { file, offset }, Place::At { file: other, offset: at }) => {
                    file == other && offset.checked_add(last.len) == Some(at)
                }
                (Place::LeftOut, Place::LeftOut) => true,
                _ => false,
            };
            if goes_on && let Some(len) = last.len.checked_add(next.len) {
                last.len = len;
                return Ok(());
            }
        }
        if self.extents.len() == PIECES_MOST {
            return Err(ImageError::Pieces(PIECES_MOST));
        }
        self.extents.push(next);
        Ok(())
    }

    /// Adds `len` bytes at `offset` of a file of `file_len` bytes, as many as there are; the others are missing.
    fn push_at(
        &mut self,
        phys: u64,
        len: u64,
        (file, offset): (u32, u64),
        file_len: u64,
    ) -> Result<(), ImageError> {
        let there = file_len.saturating_sub(offset).min(len);
        self.push(Extent { phys, len: there, place: Place::At { file, offset } })?;
        self.lack(phys.saturating_add(there), len - there)
    }

    /// Adds memory that should be there.
    fn lack(&mut self, phys: u64, len: u64) -> Result<(), ImageError> {
        self.missing = self.missing.saturating_add(len);
        self.push(Extent { phys, len, place: Place::LeftOut })
    }
}

/// The machine that most images are of.
pub const X86_64: Machine =
    Machine { elf_machine: EM_X86_64, endian: Endian::Little, word: Word::Bits64 };

/// Ranges that are kept apart: of chunks of 64 KiB, those of 256 GiB.
pub const PIECES_MOST: usize = 4 << 20;

/// The layout of raw memory: each file is what begins at one address, whole.
pub fn raw(machine: Machine, files: &[(u64, u64)]) -> Result<Layout, ImageError> {
    let mut layout = Layout::new(Kind::Raw, "raw memory");
    layout.machine = machine;
    for (file, (phys, len)) in (0u32..).zip(files) {
        phys.checked_add(*len).ok_or(ImageError::Invalid {
            what: "address of raw memory",
            at: 0,
            value: *phys,
        })?;
        layout.push_at(*phys, *len, (file, 0), *len)?;
    }
    Ok(layout)
}

/// A part of the file that an image stands for.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins in it.
    at: u64,
    /// Where its bytes are.
    place: Place,
}

/// Chunks that a reader keeps decompressed.
const KEPT: usize = 8;

/// The file that an image stands for: an ELF vmcore.
pub struct Image<'t, F> {
    files: Vec<F>,
    /// Headers and notes.
    head: Table<'t, u8>,
    /// What comes behind them, in the order of the file.
    pieces: Table<'t, Piece>,
    len: u64,
    /// Index of the piece that answered last.
    last: usize,
    chunks: Chunks,
}

/// Adds a note, padded as the kernel does.
fn note(machine: Machine, name: &[u8], kind: u32, desc: &[u8], into: &mut Vec<u8>) {
    let endian = machine.endian;
    for word in [name.len() as u32, desc.len() as u32, kind] {
        into.extend_from_slice(&endian.put32(word));
    }
    for bytes in [name, desc] {
        into.extend_from_slice(bytes);
        into.resize(into.len().next_multiple_of(4), 0);
    }
}

/// The notes of an image: a register note for each CPU, and VMCOREINFO if its text is there.
pub fn notes(layout: &Layout, vmcoreinfo: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for cpu in &layout.cpus {
        note(layout.machine, b"CORE\0", NT_PRSTATUS, &cpu.prstatus(), &mut all);
    }
    if !vmcoreinfo.is_empty() {
        note(layout.machine, VMCOREINFO, 0, vmcoreinfo, &mut all);
    }
    all
}

impl<'t, F: RandomAccess> Image<'t, F> {
    /// The file for a layout of these files, with these notes.
    ///
    /// # Errors
    ///
    /// [`ImageError::Empty`] if there is no memory, [`ImageError::Pieces`] if there is more than headers can say.
    pub fn new(files: Vec<F>, layout: &Layout, notes: &[u8]) -> Result<Image<'t, F>, ImageError> {
        // Memory that lies together, and is stored up to some point, is one program header.
        let mut loads: Vec<ProgramHeader> = Vec::new();
        let mut pieces = Vec::with_capacity(layout.extents.len());
        let mut at = 0u64;
        for extent in &layout.extents {
            let stored = extent.place != Place::LeftOut;
            let bytes = if stored { extent.len } else { 0 };
            if stored {
                pieces.push(Piece { at, place: extent.place });
            }
            match loads.last_mut() {
                Some(last)
                    if last.paddr.checked_add(last.memsz) == Some(extent.phys)
                        && (!stored || last.filesz == last.memsz) =>
                {
                    last.memsz = last.memsz.saturating_add(extent.len);
                    last.filesz = last.filesz.saturating_add(bytes);
                }
                _ => loads.push(ProgramHeader {
                    kind: elf::PT_LOAD,
                    flags: 7,
                    offset: at,
                    vaddr: 0,
                    paddr: extent.phys,
                    filesz: bytes,
                    memsz: extent.len,
                    align: 0,
                }),
            }
            at = at.saturating_add(bytes);
        }
        if loads.is_empty() {
            return Err(ImageError::Empty);
        }
        let too_many = ImageError::Pieces(u32::MAX as usize);
        let (word, endian) = (Word::Bits64, layout.machine.endian);
        let count = loads.len() as u64 + 1;
        let phsize = elf::program_header_size(word);
        let table = loads.len().checked_add(1).and_then(|count| count.checked_mul(phsize));
        let notes_at = table.and_then(|table| table.checked_add(elf::header_size(word)));
        // The section header that says how many there are.
        let section = if count >= u64::from(elf::PN_XNUM) { elf::SECTION_HEADER } else { 0 };
        let notes_at = notes_at.and_then(|at| at.checked_add(section)).ok_or(too_many)?;
        // As a vmcore's, its pages lie at multiples of the page size in the file.
        let len = notes_at.checked_add(notes.len()).map(|len| len.next_multiple_of(1 << 16));
        let mut head = alloc::vec![0; len.ok_or(too_many)?];
        let base = head.len() as u64;
        let header = elf::Header {
            word,
            endian,
            machine: layout.machine.elf_machine,
            phoff: elf::header_size(word) as u64,
            shoff: 0,
            flags: elf::Flags::empty(),
            phentsize: phsize as u16,
            phnum: 0,
        };
        header.emit(count, part_mut(&mut head, 0..elf::header_size(word))).ok_or(too_many)?;
        if section > 0 {
            let room = part_mut(&mut head, notes_at - section..notes_at);
            elf::emit_extended_count(endian, count, room).ok_or(too_many)?;
        }
        let note = ProgramHeader {
            kind: elf::PT_NOTE,
            offset: notes_at as u64,
            filesz: notes.len() as u64,
            memsz: notes.len() as u64,
            ..ProgramHeader::default()
        };
        for load in &mut loads {
            load.offset = load.offset.saturating_add(base);
        }
        let all = core::iter::once(&note).chain(&loads);
        let slots = part_mut(&mut head, elf::header_size(word)..notes_at - section);
        for (slot, header) in slots.chunks_exact_mut(phsize).zip(all) {
            header.emit(word, endian, slot).ok_or(too_many)?;
        }
        part_mut(&mut head, notes_at..notes_at + notes.len()).copy_from_slice(notes);
        for piece in &mut pieces {
            piece.at = piece.at.saturating_add(base);
        }
        let len = at.saturating_add(base);
        let (head, pieces) = (head.into(), pieces.into());
        Ok(Image { files, head, pieces, len, last: 0, chunks: Chunks::new(KEPT) })
    }

    /// A second reader with the same layout, for another thread; `again` gives the same file once more.
    pub fn reopen(&self, again: impl FnMut(&F) -> F) -> Image<'t, F> {
        Image {
            files: self.files.iter().map(again).collect(),
            head: self.head.clone(),
            pieces: self.pieces.clone(),
            len: self.len,
            last: 0,
            chunks: Chunks::new(KEPT),
        }
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none, which does not occur.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The files that it is made of.
    pub fn files(&mut self) -> &mut [F] {
        &mut self.files
    }

    /// Gives the files back.
    pub fn into_files(self) -> Vec<F> {
        self.files
    }

    /// The piece that has the byte at `at`, where that byte is in it, and how many of its bytes follow.
    fn piece(&mut self, at: u64) -> Option<(Place, u64, u64)> {
        let end = |index: usize| self.pieces.get(index + 1).map_or(self.len, |next| next.at);
        let holds = |index: usize| {
            let found = self.pieces.get(index).is_some_and(|piece| piece.at <= at);
            found && at < end(index)
        };
        let index = match [self.last, self.last + 1].into_iter().find(|index| holds(*index)) {
            Some(index) => index,
            None => self.pieces.partition_point(|piece| piece.at <= at).checked_sub(1)?,
        };
        let piece = *self.pieces.get(index)?;
        let left = end(index).checked_sub(at).filter(|left| *left > 0)?;
        self.last = index;
        Some((piece.place, at - piece.at, left))
    }
}

const EOF: IoError = IoError { kind: IoKind::Eof, code: 0 };

impl<F: RandomAccess> RandomAccess for Image<'_, F> {
    fn read_at(&mut self, mut at: u64, mut buf: &mut [u8]) -> Result<(), IoError> {
        while !buf.is_empty() {
            let head = usize::try_from(at).ok().and_then(|at| self.head.get(at..));
            let step = match head.filter(|rest| !rest.is_empty()) {
                Some(rest) => {
                    let step = rest.len().min(buf.len());
                    part_mut(buf, 0..step).copy_from_slice(part(rest, 0..step));
                    step
                }
                None => {
                    let (place, inside, left) = self.piece(at).ok_or(EOF)?;
                    let step = left.min(buf.len() as u64) as usize;
                    let bytes = part_mut(buf, 0..step);
                    match place {
                        Place::At { file, offset } => {
                            let file = self.files.get_mut(file as usize).ok_or(EOF)?;
                            file.read_at(offset.checked_add(inside).ok_or(EOF)?, bytes)?;
                        }
                        Place::Packed { file, offset, stored, sum } => {
                            let len = (inside + left).min(CHUNK_MOST as u64) as usize;
                            let file = self.files.get_mut(file as usize).ok_or(EOF)?;
                            let chunk = self.chunks.get(file, (offset, stored, sum), len)?;
                            let from = inside as usize;
                            bytes.copy_from_slice(chunk.get(from..from + step).ok_or(EOF)?);
                        }
                        Place::LeftOut => return Err(EOF),
                    }
                    step
                }
            };
            let all = buf.len();
            buf = part_mut(buf, step..all);
            at = at.checked_add(step as u64).ok_or(EOF)?;
        }
        Ok(())
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        if at < self.head.len() as u64 {
            return self.head.get(at as usize..)?.get(..len);
        }
        let (place, inside, left) = self.piece(at)?;
        if left < len as u64 {
            return None;
        }
        match place {
            Place::At { file, offset } => {
                self.files.get_mut(file as usize)?.window(offset.checked_add(inside)?, len)
            }
            Place::Packed { file, offset, stored, sum } => {
                let all = (inside + left).min(CHUNK_MOST as u64) as usize;
                let file = self.files.get_mut(file as usize)?;
                let chunk = self.chunks.get(file, (offset, stored, sum), all).ok()?;
                chunk.get(inside as usize..)?.get(..len)
            }
            Place::LeftOut => None,
        }
    }

    fn window_broke(&mut self) -> bool {
        // Each is asked, so that none keeps an old answer.
        let mut broke = false;
        for file in &mut self.files {
            broke |= file.window_broke();
        }
        broke
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::elf::{ElfVmcore, Place as Slot, probe};
    use crate::memory::{MemoryRange, PhysMemory, Ranges, ReadError};
    use crate::units::PhysAddr;
    use std::vec;

    #[test]
    fn an_image_reads_as_the_vmcore_that_it_stands_for() {
        let (one, two) = (vec![1u8; 0x3000], vec![2u8; 0x1000]);
        let mut layout = Layout::new(Kind::Raw, "raw memory");
        for (phys, len, place) in [
            (0x1000, 0x2000, Place::At { file: 0, offset: 0x1000 }),
            (0x3000, 0x1000, Place::At { file: 1, offset: 0 }),
            (0x4000, 0x2000, Place::LeftOut),
            (0x6000, 0x1000, Place::At { file: 0, offset: 0 }),
        ] {
            layout.push(Extent { phys, len, place }).unwrap();
        }
        let text = b"OSRELEASE=6.1\nPAGESIZE=4096\n";
        let files = vec![&one[..], &two[..]];
        let mut image = Image::new(files, &layout, &notes(&layout, text)).unwrap();
        let facts = probe(&mut image).unwrap();
        assert_eq!((facts.segments, facts.mem_end, facts.notes_damaged), (2, 0x7000, false));
        let (at, len) = facts.vmcoreinfo.unwrap();
        let mut found = vec![0; len as usize];
        facts.notes.read(&mut image, at, &mut found).unwrap();
        assert_eq!(found, text);
        let (table, places) = (vec![MemoryRange::default(); 2], vec![Slot::default(); 2]);
        let mut core = ElfVmcore::load(image, facts, PageShift::FOUR_KIB, table, places).unwrap();
        let lens: Vec<_> = core.ranges().iter().map(|r| (r.phys.0, r.stored_len, r.len)).collect();
        assert_eq!(lens, [(0x1000, 0x3000, 0x5000), (0x6000, 0x1000, 0x1000)]);
        let mut page = vec![0; 0x3000];
        core.read(PhysAddr(0x1000), &mut page).unwrap();
        assert_eq!((&page[..0x2000], &page[0x2000..]), (&one[..0x2000], &two[..]));
        assert_eq!(core.window(PhysAddr(0x2ff8), 8), Some(&[1; 8][..]));
        assert_eq!(core.window(PhysAddr(0x2ff8), 16), None);
        let left_out = core.read(PhysAddr(0x4000), &mut page[..8]);
        assert_eq!(left_out, Err(ReadError::Absent(PhysAddr(0x4000))));
    }

    #[test]
    fn more_ranges_than_a_header_counts_are_counted_in_a_section() {
        let bytes = vec![7u8; 0x1000];
        let mut layout = Layout::new(Kind::Raw, "raw memory");
        for n in 0..70_000u64 {
            let place = Place::At { file: 0, offset: n % 0x1000 };
            layout.push(Extent { phys: n * 0x2000, len: 1, place }).unwrap();
        }
        let mut image = Image::new(vec![&bytes[..]], &layout, &[]).unwrap();
        assert_eq!(probe(&mut image).unwrap().segments, 70_000);
    }

    #[test]
    fn images_are_known_by_their_first_bytes() {
        let mut medium = vec![0; 4096];
        medium.extend(b"sadump\0\0");
        assert_eq!(kind(&medium), Some(Kind::Sadump));
        assert_eq!(kind(b"EMiL"), Some(Kind::Lime));
        assert_eq!(kind(b"EMi"), None);
        assert_eq!(kind(&[]), None);
    }
}
