//! A vmcore in ELF form: `/proc/vmcore`, a copy of it, or what a hypervisor wrote.
//!
//! Opened in two steps, so that memory can be planned in between: [`probe`] reads only headers and
//! says how much there is; [`ElfVmcore::load`] takes the storage for it.

use super::pieces::Pieces;
use crate::bitmap::Bitmap;
use crate::endian::Word;
use crate::error::part_mut;
use crate::io::{IoError, IoKind, RandomAccess};
use crate::memory::{Dump, Machine, MemoryRange, Notes, Origin, PhysMemory, Ranges, ReadError};
use crate::storage::{ManagedSlice, Table, finish};
use crate::units::{PageShift, Pfn, PhysAddr, VirtAddr};
use crate::wire::{WireError, elf, note};
use core::fmt;
use page_codec::Codec;

/// Why a file cannot be used as a vmcore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// A header could not be read.
    Read {
        /// Which header.
        what: &'static str,
        /// Its file offset.
        at: u64,
        /// The system's answer.
        io: IoError,
    },
    /// A header is not what it must be.
    Wire(WireError),
    /// It has no memory range.
    NoLoad,
    /// The storage given is smaller than [`Facts`] asked for.
    Storage,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Read { what, at, io } => write!(f, "reading {what} at offset {at}: {io}"),
            OpenError::Wire(e) => e.fmt(f),
            OpenError::NoLoad => f.write_str("it has no PT_LOAD with a physical address"),
            OpenError::Storage => f.write_str("the file changed while it was being read"),
        }
    }
}

impl core::error::Error for OpenError {}

/// What the headers say.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Whose memory.
    pub machine: Machine,
    /// Memory ranges with a physical address: length of the table that [`ElfVmcore::load`] needs.
    pub segments: usize,
    /// One past the last byte of memory.
    pub mem_end: u64,
    /// The bytes of all PT_NOTEs, in their order.
    pub notes: Pieces,
    /// `p_flags` and `p_align` of the first PT_NOTE that is not empty.
    pub notes_flags_and_align: (u32, u64),
    /// Offset in the notes and bytes of the VMCOREINFO text, if there is one.
    pub vmcoreinfo: Option<(u64, u64)>,
    /// Number of CPUs with a register note.
    pub cpus: u32,
    /// Where the notes of a Xen hypervisor are, offsets in the notes.
    pub xen: note::XenNotes,
    /// Whether the notes end in something that is not a note; those before it count.
    pub notes_damaged: bool,
    /// When it was made, where something beside the file says so.
    pub time: Option<u64>,
    header: elf::Header,
    program_headers: u32,
}

/// Reads the ELF header and counts program headers and notes, without storage.
pub fn probe(file: &mut impl RandomAccess) -> Result<Facts, OpenError> {
    let facts = probe_notes(file)?;
    if facts.segments == 0 {
        return Err(OpenError::NoLoad);
    }
    Ok(facts)
}

/// As [`probe`], of a file that need not have any memory: its notes can be read still.
pub fn probe_notes(file: &mut impl RandomAccess) -> Result<Facts, OpenError> {
    let read =
        |file: &mut dyn FnMut(&mut [u8]) -> Result<(), IoError>,
         what: &'static str,
         at: u64,
         buf: &mut [u8]| { file(buf).map_err(|io| OpenError::Read { what, at, io }) };
    // The 32-bit header is shorter: a file may end before 64 bytes.
    let mut raw = [0; elf::HEADER_MAX];
    let (short, _) = raw.split_at_mut(elf::header_size(Word::Bits32));
    read(&mut |b| file.read_at(0, b), "the ELF header", 0, short)?;
    let _ = file.read_at(0, &mut raw);
    let header = elf::Header::parse(&raw).map_err(OpenError::Wire)?;

    let program_headers = if header.phnum == elf::PN_XNUM && header.word == Word::Bits64 {
        let mut raw = [0; elf::SECTION_HEADER];
        let at = header.shoff;
        read(&mut |b| file.read_at(at, b), "the first section header", at, &mut raw)?;
        elf::extended_count(header.endian, &raw).map_err(OpenError::Wire)?
    } else {
        header.phnum.into()
    };

    let mut facts = Facts {
        machine: Machine::in_file(header.machine, header.endian, header.word),
        segments: 0,
        mem_end: 0,
        notes: Pieces::default(),
        notes_flags_and_align: (0, 0),
        vmcoreinfo: None,
        cpus: 0,
        xen: note::XenNotes::default(),
        notes_damaged: false,
        time: None,
        header,
        program_headers,
    };
    // Those that lie side by side are one: there may be one for each of thousands of CPUs.
    let mut claimed = Pieces::default();
    for index in 0..program_headers {
        let ph = facts.program_header(file, index)?;
        if ph.kind == elf::PT_LOAD && ph.has_paddr() && ph.memsz.max(ph.filesz) > 0 {
            facts.segments += 1;
            let end = ph.paddr.saturating_add(ph.memsz.max(ph.filesz));
            facts.mem_end = facts.mem_end.max(end);
        } else if ph.kind == elf::PT_NOTE && ph.filesz > 0 {
            if facts.notes_flags_and_align == (0, 0) {
                facts.notes_flags_and_align = (ph.flags, ph.align);
            }
            let taken = claimed.push(ph.offset, ph.filesz.min(FILE_MOST));
            facts.notes_damaged |= taken.is_none() || ph.filesz > FILE_MOST;
        }
    }
    let mut places = claimed.places().peekable();
    while let Some((offset, len)) = places.next() {
        facts.take_notes(file, offset, len, places.peek().is_none())?;
    }
    Ok(facts)
}

/// How many of `len` bytes at `start` lie before the end of the file.
fn in_file(file: &mut impl RandomAccess, start: u64, len: u64) -> u64 {
    let mut past = |bytes: u64| {
        let last = start.checked_add(bytes).and_then(|end| end.checked_sub(1));
        let eof = |at| matches!(file.read_at(at, &mut [0]), Err(io) if io.kind == IoKind::Eof);
        bytes > 0 && last.is_none_or(eof)
    };
    if !past(len) {
        return len;
    }
    // There are at least `low` bytes, and fewer than `high`.
    let (mut low, mut high) = (0, len);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if past(middle) { high = middle } else { low = middle }
    }
    low
}

impl Facts {
    /// Word size of the file's headers.
    pub fn class(&self) -> Word {
        self.header.word
    }

    fn program_header(
        &self,
        file: &mut impl RandomAccess,
        index: u32,
    ) -> Result<elf::ProgramHeader, OpenError> {
        let mut raw = [0; elf::PROGRAM_HEADER_MAX];
        let size = elf::program_header_size(self.header.word);
        let raw = part_mut(&mut raw, 0..size);
        let step = u64::from(self.header.phentsize);
        let at = self.header.phoff.saturating_add(u64::from(index) * step);
        file.read_at(at, raw).map_err(|io| OpenError::Read { what: "a program header", at, io })?;
        elf::ProgramHeader::parse(self.header.word, self.header.endian, raw)
            .map_err(OpenError::Wire)
    }

    /// How many of `claimed` bytes of notes at `start` are there: notes that run over the end of the file, or
    /// into a memory range that lies behind them, end there. No program shall copy terabytes because of a header,
    /// nor pages that the dump level leaves out. Returns as well whether they start inside a memory range.
    fn clip_notes(
        &self,
        file: &mut impl RandomAccess,
        start: u64,
        claimed: u64,
    ) -> Result<(u64, bool), OpenError> {
        let (mut len, mut inside) = (claimed, false);
        for index in 0..self.program_headers {
            let ph = self.program_header(file, index)?;
            if ph.kind != elf::PT_LOAD {
                continue;
            }
            if ph.offset > start && ph.filesz > 0 {
                len = len.min(ph.offset - start);
            }
            inside |= ph.offset <= start && start - ph.offset < ph.filesz;
        }
        Ok((in_file(file, start, len), inside))
    }

    /// Walks the note headers of `claimed` bytes at `start`, and adds them to the notes. What comes behind
    /// something that is not a note is kept in the last place, for somebody to look at, unless there is too
    /// much of it, or it is memory; in another one it would end the notes for their readers.
    fn take_notes(
        &mut self,
        file: &mut impl RandomAccess,
        start: u64,
        claimed: u64,
        is_last: bool,
    ) -> Result<(), OpenError> {
        let (there, in_memory) = self.clip_notes(file, start, claimed)?;
        let walk = note::walk(self.header.endian, there, |at, buf| {
            file.read_at(start.saturating_add(at), buf)
        });
        self.notes_damaged |= there < claimed || walk.end != note::End::Whole;
        let len = if in_memory || !is_last { walk.sound } else { walk.kept(there) };
        let at = self.notes.push(start, len);
        self.notes_damaged |= at.is_none();
        let text = walk.vmcoreinfo.zip(at).map(|((inside, len), at)| (at + inside, len));
        self.vmcoreinfo = text.or(self.vmcoreinfo);
        self.cpus = self.cpus.saturating_add(walk.cpus);
        self.xen.add(walk.xen, at);
        Ok(())
    }
}

/// No file is longer: what a PT_NOTE claims beyond it needs no sum that could overflow.
const FILE_MOST: u64 = 1 << 59;
/// A vmcore that was cut off lacks no more than this: each of those pages is looked for, and named.
/// Headers that claim more are damaged, or most of the file is gone: what is not there is taken as not
/// stored, as going over it could take hours.
const CUT_MOST: u64 = 16 << 30;

/// One entry of the memory ranges in the order of their addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Index in the table of memory ranges.
    index: u32,
    /// Largest end of memory of this and those before it, of as many as the lowest set bit of its number says, counted
    /// from 1 (a Fenwick tree).
    reach: u64,
    /// Offset in the file of the range's first byte.
    file_at: u64,
}

fn lowest_bit(number: usize) -> usize {
    1 << number.trailing_zeros()
}

/// Memory ranges in the order of their addresses: what covers an address is found in a few steps,
/// however many there are.
#[derive(Clone)]
struct Index<'t> {
    ranges: Table<'t, MemoryRange>,
    places: Table<'t, Place>,
}

impl<'t> Index<'t> {
    /// Sorts the table: by heap, in place, with the same few steps for every order of input.
    fn new(
        ranges: ManagedSlice<'t, MemoryRange>,
        mut sorted: ManagedSlice<'t, Place>,
    ) -> Option<Index<'t>> {
        let places = &mut *sorted;
        for (index, place) in (0u32..).zip(places.iter_mut()) {
            place.index = index;
        }
        let len = places.len();
        if u32::try_from(len).is_err() || len != ranges.len() {
            return None;
        }
        let key = |p: &Place| ranges.get(p.index as usize).map(|s| (s.phys, p.index));
        let sift = |places: &mut [Place], mut root: usize, end: usize| {
            while let Some(left) = places.get(2 * root + 1).filter(|_| 2 * root + 1 < end) {
                let mut child = 2 * root + 1;
                if let Some(right) = places.get(child + 1).filter(|_| child + 1 < end)
                    && key(right) > key(left)
                {
                    child += 1;
                }
                if places.get(root).map(key) >= places.get(child).map(key) {
                    return;
                }
                places.swap(root, child);
                root = child;
            }
        };
        if !places.is_sorted_by_key(key) {
            for root in (0..len / 2).rev() {
                sift(places, root, len);
            }
            for end in (1..len).rev() {
                places.swap(0, end);
                sift(places, 0, end);
            }
        }
        for place in places.iter_mut() {
            place.reach = ranges.get(place.index as usize)?.end();
        }
        for number in 1..=len {
            let reach = places.get(number - 1)?.reach;
            if let Some(parent) = places.get_mut(number + lowest_bit(number) - 1) {
                parent.reach = parent.reach.max(reach);
            }
        }
        let ranges = finish(ranges, len);
        Some(Index { ranges, places: finish(sorted, len) })
    }

    /// The ranges that have a byte at `from` or later, in the order of their addresses.
    fn from(&self, from: u64) -> impl Iterator<Item = (&Place, &MemoryRange)> {
        let mut at = 0;
        core::iter::from_fn(move || {
            let place = self.next(&mut at, from)?;
            Some((place, self.ranges.get(place.index as usize)?))
        })
    }

    /// The first of the places at `at` or later whose range has a byte at `from` or later; `at` goes behind it. Places
    /// whose ranges end before are passed over together.
    #[inline(never)] // called from several places: one copy is enough
    fn next(&self, at: &mut usize, from: u64) -> Option<&Place> {
        // With none passed over, any number of them may be.
        let mut pass =
            if *at > 0 { lowest_bit(*at) } else { self.places.len().next_power_of_two() };
        loop {
            #[cfg(test)]
            tests::STEPS.set(tests::STEPS.get() + 1);
            let last = self.places.get(*at + pass - 1);
            if last.is_some_and(|last| last.reach <= from) {
                *at += pass;
                pass = lowest_bit(*at);
            } else if pass > 1 {
                pass /= 2;
            } else {
                *at += 1;
                let range = self.ranges.get(last?.index as usize)?;
                if range.end() > from {
                    return last;
                }
                pass = lowest_bit(*at);
            }
        }
    }
}

/// Bytes of memory that lie side by side in the file.
#[derive(Clone, Copy)]
struct Stored {
    /// Physical address of the first byte.
    from: u64,
    /// One past the last.
    until: u64,
    /// Offset in the file of the first byte of the range they are of, and its physical address.
    range: (u64, u64),
}

impl Stored {
    /// Offset in the file of the byte at `at`.
    fn offset(&self, at: u64) -> u64 {
        self.range.0.saturating_add(at - self.range.1)
    }
}

/// An open vmcore: a [`Dump`].
pub struct ElfVmcore<'t, F> {
    file: F,
    facts: Facts,
    index: Index<'t>,
    cut: bool,
    /// The answer that was found last.
    last: Option<Stored>,
    shift: PageShift,
}

impl<'t, F: RandomAccess> ElfVmcore<'t, F> {
    /// Reads the memory ranges into `table`, whose length is `facts.segments`, as is that of
    /// `places`, which gets their order. `shift` is the machine's page size.
    pub fn load(
        mut file: F,
        facts: Facts,
        shift: PageShift,
        table: impl Into<ManagedSlice<'t, MemoryRange>>,
        places: impl Into<ManagedSlice<'t, Place>>,
    ) -> Result<ElfVmcore<'t, F>, OpenError> {
        let (mut table, mut places) = (table.into(), places.into());
        let mut slots = table.iter_mut().zip(places.iter_mut());
        let mut cut = false;
        // Bytes that the ranges claim, and those of them that are known to be missing.
        let (mut claimed, mut missing) = (0u64, 0u64);
        for index in 0..facts.program_headers {
            let ph = facts.program_header(&mut file, index)?;
            if ph.kind != elf::PT_LOAD || !ph.has_paddr() || ph.memsz.max(ph.filesz) == 0 {
                continue;
            }
            // QEMU gives a range outside its dump filter the offset -1: nothing is stored.
            let mut stored = ph.offset.checked_add(ph.filesz).map_or(0, |_| ph.filesz);
            claimed = claimed.saturating_add(stored);
            if claimed > CUT_MOST {
                let there = in_file(&mut file, ph.offset, stored);
                missing = missing.saturating_add(stored - there);
                if missing > CUT_MOST {
                    cut |= there < stored;
                    stored = there;
                }
            }
            // Addresses end at 2^64; a range that runs over is cut there.
            let room = u64::MAX - ph.paddr;
            let (range, place) = slots.next().ok_or(OpenError::Storage)?;
            place.file_at = ph.offset;
            *range = MemoryRange {
                phys: PhysAddr(ph.paddr),
                virt: VirtAddr(ph.vaddr),
                stored_len: stored.min(ph.memsz.max(ph.filesz)).min(room),
                len: ph.memsz.max(ph.filesz).min(room),
                flags: ph.flags,
                align: ph.align,
            };
        }
        if slots.next().is_some() {
            return Err(OpenError::Storage);
        }
        let index = Index::new(table, places).ok_or(OpenError::Storage)?;
        Ok(ElfVmcore { file, facts, index, cut, last: None, shift })
    }

    /// Takes the machine's page size to be this.
    pub fn set_page_shift(&mut self, shift: PageShift) {
        self.shift = shift;
    }

    /// Another way to the same memory, for another thread. `file` is the same file.
    pub fn reopen(&self, file: F) -> ElfVmcore<'t, F> {
        ElfVmcore {
            file,
            facts: self.facts,
            index: self.index.clone(),
            cut: self.cut,
            last: None,
            shift: self.shift,
        }
    }

    /// Index in [`Ranges::ranges`] of each memory range, and the offset in the file of its first byte; in the
    /// order of their addresses.
    pub fn file_offsets(&self) -> impl Iterator<Item = (usize, u64)> {
        self.index.places.iter().map(|place| (place.index as usize, place.file_at))
    }

    /// The file below.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// What the headers said.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Where the byte at `at` is in the file: in the first range of the file that stores it. The answer that
    /// was found last is kept.
    fn stored(&mut self, at: u64) -> Option<Stored> {
        if let Some(last) = self.last
            && (last.from..last.until).contains(&at)
        {
            return Some(last);
        }
        // Of those that hold it, the first in the file; and the next place where that may change.
        let mut found: Option<(&Place, &MemoryRange)> = None;
        let mut until = u64::MAX;
        for (place, range) in self.index.from(at) {
            if range.phys.0 > at {
                until = until.min(range.phys.0);
                break;
            }
            if at < range.stored_end() && found.is_none_or(|(first, _)| place.index < first.index) {
                found = Some((place, range));
            }
        }
        let (place, range) = found?;
        until = until.min(range.stored_end());
        let stored = Stored { from: at, until, range: (place.file_at, range.phys.0) };
        self.last = Some(stored);
        Some(stored)
    }

    /// How many bytes from `at` on no range stores, up to the end of the page; `None` if the
    /// page has no stored byte at all.
    fn gap(&self, at: u64) -> Option<u64> {
        let size = self.shift.bytes() as u64;
        let page = at & !(size - 1);
        let end = page.saturating_add(size);
        let mut next = end;
        let mut any = false;
        for (_, s) in self.index.from(page).take_while(|(_, s)| s.phys.0 < end) {
            any |= s.stored_len > 0 && s.stored_end() > page;
            if s.phys.0 > at {
                next = next.min(s.phys.0);
            }
        }
        // Nothing is left at the last byte of all: it is in no segment.
        (any && next > at).then(|| next - at)
    }
}

impl<F: RandomAccess> PhysMemory for ElfVmcore<'_, F> {
    fn machine(&self) -> Machine {
        self.facts.machine
    }

    fn read(&mut self, at: PhysAddr, mut buf: &mut [u8]) -> Result<(), ReadError> {
        let mut at = at.0;
        while !buf.is_empty() {
            let len = match self.stored(at) {
                Some(stored) => {
                    let len = (stored.until - at).min(buf.len() as u64) as usize;
                    let bytes = part_mut(buf, 0..len);
                    self.file.read_at(stored.offset(at), bytes).map_err(|io| match io.kind {
                        IoKind::Poisoned => ReadError::Poisoned(PhysAddr(at)),
                        _ => ReadError::Io(PhysAddr(at), io),
                    })?;
                    len
                }
                None => {
                    let gap = self.gap(at).ok_or(ReadError::Absent(PhysAddr(at)))?;
                    let len = gap.min(buf.len() as u64) as usize;
                    part_mut(buf, 0..len).fill(0);
                    len
                }
            };
            let all = buf.len();
            buf = part_mut(buf, len..all);
            at = at.saturating_add(len as u64);
        }
        Ok(())
    }

    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        let stored = self.stored(at.0)?;
        if stored.until - at.0 < len as u64 {
            return None;
        }
        self.file.window(stored.range.0.checked_add(at.0 - stored.range.1)?, len)
    }

    fn window_broke(&mut self) -> bool {
        self.file.window_broke()
    }
}

impl<F> Ranges for ElfVmcore<'_, F> {
    fn ranges(&self) -> &[MemoryRange] {
        &self.index.ranges
    }

    #[inline(never)] // called from several places: one copy is enough
    fn ranges_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&MemoryRange)) {
        self.index.from(from.0).take_while(|(_, s)| s.phys < until).for_each(|(_, s)| each(s));
    }

    #[inline(never)] // called from several places: one copy is enough
    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
        self.index.from(from.0).next().map(|(_, s)| s.phys.max(from))
    }
}

impl<F: RandomAccess> Dump for ElfVmcore<'_, F> {
    fn origin(&self) -> Origin {
        let Facts { cpus, vmcoreinfo, xen, time, .. } = self.facts;
        Origin { cpus, vmcoreinfo, xen, crash_time: time, ..Origin::default() }
    }

    fn is_truncated(&self) -> bool {
        self.cut
    }

    fn keep_existing(&mut self, _: &mut Bitmap<'_>) {}

    fn keep_held(&mut self, _: &mut Bitmap<'_>) {}

    fn says_by_page(&self) -> bool {
        false
    }

    fn stored_page(&mut self, _: Pfn, _: Codec, _: &mut [u8]) -> Option<usize> {
        None
    }

    fn notes(&self) -> Notes {
        let (flags, align) = self.facts.notes_flags_and_align;
        Notes { len: self.facts.notes.bytes(), flags, align }
    }

    fn read_notes(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.facts.notes.read(&mut self.file, at, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endian::Endian;
    use crate::io::IoKind;
    use crate::wire::machine::EM_X86_64;
    use std::{cell::Cell, vec, vec::Vec};

    std::thread_local! {
        /// Places that were looked at.
        pub(super) static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    /// A 64-bit little-endian core: header, program headers, then `tail` at its offset.
    fn file(segments: &[elf::ProgramHeader], tail: &[(usize, &[u8])]) -> Vec<u8> {
        let header = elf::Header {
            word: Word::Bits64,
            endian: Endian::Little,
            machine: EM_X86_64,
            phoff: 64,
            shoff: 0,
            flags: elf::Flags::empty(),
            phentsize: 56,
            phnum: 0,
        };
        let mut bytes = vec![0; 64 + 56 * segments.len()];
        header.emit(segments.len() as u64, &mut bytes[..64]).unwrap();
        for (i, s) in segments.iter().enumerate() {
            let at = 64 + 56 * i;
            s.emit(Word::Bits64, Endian::Little, &mut bytes[at..at + 56]).unwrap();
        }
        for (at, data) in tail {
            bytes.resize(bytes.len().max(at + data.len()), 0);
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
        bytes
    }

    fn load(paddr: u64, offset: u64, filesz: u64, memsz: u64) -> elf::ProgramHeader {
        elf::ProgramHeader {
            kind: elf::PT_LOAD,
            offset,
            paddr,
            filesz,
            memsz,
            ..Default::default()
        }
    }

    #[test]
    fn notes_without_end_end() {
        /// A file of zeros behind its headers, as long as anybody asks.
        struct Endless(Vec<u8>, usize);
        impl RandomAccess for Endless {
            fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
                self.1 += 1;
                for (at, to) in (at..).zip(buf) {
                    *to = self.0.get(at as usize).copied().unwrap_or_default();
                }
                Ok(())
            }
            fn window(&mut self, _: u64, _: usize) -> Option<&[u8]> {
                None
            }
            fn window_broke(&mut self) -> bool {
                false
            }
        }
        let notes = elf::ProgramHeader {
            kind: elf::PT_NOTE,
            offset: 8192,
            filesz: 1 << 40,
            ..Default::default()
        };
        let mut file = Endless(file(&[notes, load(0, 4096, 4096, 4096)], &[]), 0);
        let facts = probe(&mut file).unwrap();
        assert!(facts.notes_damaged && facts.vmcoreinfo.is_none());
        assert_eq!(place(&facts), (8192, 0), "zeros are no notes");
        assert!(file.1 < 2 * note::EMPTY_MOST, "{} reads", file.1);
    }

    type Tables = (Vec<MemoryRange>, Vec<Place>);

    fn open<'t>(bytes: &'t [u8], tables: &'t mut Tables) -> ElfVmcore<'t, &'t [u8]> {
        let facts = probe(&mut &*bytes).unwrap();
        tables.0.resize(facts.segments, MemoryRange::default());
        tables.1.resize(facts.segments, Place::default());
        let shift = PageShift::FOUR_KIB;
        ElfVmcore::load(bytes, facts, shift, &mut tables.0[..], &mut tables.1[..]).unwrap()
    }

    #[test]
    fn the_index_finds_what_a_search_of_all_finds() {
        let mut x = 7u64;
        let mut random = |below: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) % below
        };
        for count in [1, 2, 3, 10, 60] {
            let ranges: Vec<_> = (0..count)
                .map(|i| {
                    let memsz = 1 + random(0x3000);
                    load(random(0x2_0000), 0x1_0000 * i, random(memsz + 1), memsz)
                })
                .collect();
            let bytes = file(&ranges, &[]);
            let mut tables = Tables::default();
            let mut core = open(&bytes, &mut tables);
            for at in (0..0x2_4000).step_by(0x123) {
                let holds = |s: &&MemoryRange| s.phys.0 <= at && at < s.stored_end();
                // The offsets in the file are multiples of this, in the order of the table.
                let first = core.ranges().iter().position(|s| holds(&s));
                let want = first.map(|n| 0x1_0000 * n as u64);
                assert_eq!(core.stored(at).map(|s| s.range.0), want, "{at:x} of {count}");
                let next = core.ranges().iter().filter(|s| at < s.end());
                let next = next.map(|s| s.phys.0.max(at)).min();
                assert_eq!(core.next_memory(PhysAddr(at)).map(|p| p.0), next);
                let (mut met, mut all) = (Vec::new(), Vec::new());
                let until = PhysAddr(at + random(0x2000));
                core.ranges_in(PhysAddr(at), until, &mut |s| {
                    met.push((s.phys, s.len, s.stored_len))
                });
                for s in core.ranges() {
                    if s.phys < until && at < s.end() {
                        all.push((s.phys, s.len, s.stored_len));
                    }
                }
                met.sort_unstable();
                all.sort_unstable();
                assert_eq!(met, all);
            }
        }
    }

    #[test]
    fn small_ranges_in_a_large_one_are_passed_over() {
        // The first of them has all memory, the others a page each: what covers an address is one of two.
        let (count, page) = (1 << 10, 4096);
        let small = (0..count).map(|n| load(page * n, page * n, page, page));
        let all = load(0, 0, page * count, page * count);
        let segments: Vec<_> = [all].into_iter().chain(small).collect();
        let bytes = file(&segments, &[((page * count) as usize - 1, &[0])]);
        let mut tables = Tables::default();
        let mut core = open(&bytes, &mut tables);
        let before = STEPS.get();
        for n in (0..count).rev() {
            let at = PhysAddr(page * n);
            core.read(at, &mut [0; 8]).unwrap();
            let mut found = 0;
            core.ranges_in(at, PhysAddr(at.0 + 1), &mut |_| found += 1);
            assert_eq!((found, core.next_memory(at)), (2, Some(at)));
        }
        let steps = (STEPS.get() - before) / count;
        assert!(steps < 200, "{steps} steps for each address");
    }

    #[test]
    fn reads_are_put_together_from_overlapping_and_partial_segments() {
        let (a, b) = ([1u8; 0x1000], [2u8; 0x800]);
        let bytes = file(
            &[load(0x1000, 0x2000, 0x1000, 0x1000), load(0x1c00, 0x4000, 0x800, 0x2000)],
            &[(0x2000, &a), (0x4000, &b)],
        );
        let mut table = Tables::default();
        let mut core = open(&bytes, &mut table);
        let mut buf = [9; 0x2000];
        core.read(PhysAddr(0x1000), &mut buf).unwrap();
        assert_eq!(buf[..0x1000], [1; 0x1000]);
        assert_eq!(buf[0x1000..0x1400], [2; 0x400]);
        assert_eq!(buf[0x1400..], [0; 0xc00]); // memsz only: zeros
        assert_eq!(
            core.read(PhysAddr(0x3000), &mut buf[..1]),
            Err(ReadError::Absent(PhysAddr(0x3000)))
        );
        assert_eq!(
            core.read(PhysAddr(0xfff), &mut buf[..2]),
            Err(ReadError::Absent(PhysAddr(0xfff)))
        );
        assert_eq!(core.window(PhysAddr(0x1ffe), 2), Some(&[1, 1][..]));
        assert_eq!(core.window(PhysAddr(0x1ffe), 3), None);
        assert_eq!(core.window(PhysAddr(0x23ff), 1), Some(&[2][..]));
    }

    #[test]
    fn holes_of_a_page_read_as_zeros() {
        let bytes = file(
            &[load(0x1100, 0x1000, 0x10, 0x10), load(0x1200, 0x1010, 0x10, 0x10)],
            &[(0x1000, &[7; 0x20])],
        );
        let mut table = Tables::default();
        let mut buf = [9; 0x1000];
        open(&bytes, &mut table).read(PhysAddr(0x1000), &mut buf).unwrap();
        for (i, byte) in buf.iter().enumerate() {
            let stored = (0x100..0x110).contains(&i) || (0x200..0x210).contains(&i);
            assert_eq!(*byte, if stored { 7 } else { 0 }, "{i:x}");
        }
    }

    #[test]
    fn the_last_byte_of_all_addresses_is_no_endless_gap() {
        let bytes =
            file(&[load(u64::MAX - 0x2000, 0x1000, 0x2000, 0x2000)], &[(0x1000, &[1; 0x2000])]);
        let mut table = Tables::default();
        let mut core = open(&bytes, &mut table);
        let mut buf = [0; 0x100];
        let end = PhysAddr(u64::MAX);
        assert_eq!(core.read(PhysAddr(u64::MAX - 0x80), &mut buf), Err(ReadError::Absent(end)));
    }

    #[test]
    fn a_cut_file_names_the_address_it_cannot_read() {
        let bytes = file(&[load(0x1000, 0x1000, 0x3000, 0x3000)], &[(0x1000, &[1; 0x1800])]);
        let mut table = Tables::default();
        let mut core = open(&bytes, &mut table);
        let mut buf = [0; 0x1000];
        core.read(PhysAddr(0x1000), &mut buf).unwrap();
        let eof = IoError { kind: IoKind::Eof, code: 0 };
        assert_eq!(
            core.read(PhysAddr(0x2000), &mut buf),
            Err(ReadError::Io(PhysAddr(0x2000), eof))
        );
    }

    fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for n in [name.len() as u32, desc.len() as u32, kind] {
            bytes.extend(n.to_le_bytes());
        }
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(desc);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn notes_core(notes: &[u8], filesz: u64) -> Vec<u8> {
        let ph =
            elf::ProgramHeader { kind: elf::PT_NOTE, offset: 0x1000, filesz, ..Default::default() };
        file(&[ph, load(0, 0xc0, 0x40, 0x40)], &[(0x1000, notes)])
    }

    #[test]
    fn notes_are_walked_to_vmcoreinfo() {
        let mut notes = note(b"LINUX\0\0\0", 0x700, &[5; 100]);
        notes.extend(note(b"CORE\0", 1, &[0; 336]));
        notes.extend(note(b"CORE\0", 1, &[0; 336]));
        let at = notes.len() as u64 + 24;
        notes.extend(note(b"VMCOREINFO\0", 0, b"PAGESIZE=4096\n"));
        let bytes = notes_core(&notes, notes.len() as u64);
        let facts = probe(&mut &bytes[..]).unwrap();
        assert_eq!(facts.cpus, 2);
        assert_eq!(facts.vmcoreinfo, Some((at, 14)));
        assert!(!facts.notes_damaged);
    }

    #[test]
    fn lying_note_sizes_end_the_walk() {
        let mut notes = note(b"CORE\0", 1, &[0; 8]);
        let mut bad = note(b"VMCOREINFO\0", 0, b"PAGESIZE=4096\n");
        bad[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        notes.extend(bad);
        let bytes = notes_core(&notes, notes.len() as u64);
        let facts = probe(&mut &bytes[..]).unwrap();
        assert_eq!((facts.cpus, facts.vmcoreinfo, facts.notes_damaged), (1, None, true));
    }

    #[test]
    fn notes_end_where_the_file_ends() {
        let notes = note(b"VMCOREINFO\0", 0, b"PAGESIZE=4096\n");
        for claimed in [notes.len() as u64 + 1, 1 << 43, u64::MAX - 0x1000, u64::MAX] {
            let bytes = notes_core(&notes, claimed);
            let facts = probe(&mut &bytes[..]).unwrap();
            assert_eq!(facts.notes.bytes(), bytes.len() as u64 - 0x1000, "{claimed:x}");
            assert_eq!((facts.vmcoreinfo, facts.notes_damaged), (Some((24, 14)), true));
        }
    }

    fn place(facts: &Facts) -> (u64, u64) {
        (facts.notes.start(), facts.notes.bytes())
    }

    #[test]
    fn all_program_headers_with_notes_count_in_their_order() {
        let cpu = note(b"CORE\0", 1, &[0; 336]);
        let info = note(b"VMCOREINFO\0", 0, b"PAGESIZE=4096\n");
        let ph = |offset, filesz| elf::ProgramHeader {
            kind: elf::PT_NOTE,
            offset,
            filesz,
            ..Default::default()
        };
        let len = cpu.len() as u64;
        // The first one's end is no note; the last one lies before it in the file.
        let headers = [
            ph(0x3000, 0),
            ph(0x2000, len + 16),
            load(0, 0xc0, 0x40, 0x40),
            ph(0x1800, len),
            ph(0x1000, info.len() as u64),
        ];
        let broken = [&cpu[..], &[9; 16]].concat();
        let bytes = file(&headers, &[(0x2000, &broken), (0x1800, &cpu), (0x1000, &info)]);
        let facts = probe(&mut &bytes[..]).unwrap();
        assert_eq!((facts.cpus, facts.notes_damaged), (2, true));
        assert_eq!(facts.vmcoreinfo, Some((2 * len + 24, 14)));
        let mut all = vec![0; facts.notes.bytes() as usize];
        facts.notes.read(&mut &bytes[..], 0, &mut all).unwrap();
        assert_eq!(all, [&cpu[..], &cpu, &info].concat());
    }

    #[test]
    fn notes_behind_unpadded_ones_are_found() {
        let mut cpu = note(b"CORE\0", 1, &[7; 5]);
        cpu.truncate(12 + 8 + 5);
        let info = note(b"VMCOREINFO\0", 0, b"PAGESIZE=4096\n");
        let ph = |offset, filesz| elf::ProgramHeader {
            kind: elf::PT_NOTE,
            offset,
            filesz,
            ..Default::default()
        };
        let behind = 0x1000 + cpu.len() as u64;
        let headers = [ph(0x1000, cpu.len() as u64), ph(behind, info.len() as u64)];
        let bytes = file(&headers, &[(0x1000, &cpu), (behind as usize, &info)]);
        let facts = probe_notes(&mut &bytes[..]).unwrap();
        assert_eq!((facts.cpus, facts.vmcoreinfo, facts.notes_damaged), (1, Some((52, 14)), false));
    }

    /// The kernel's own note, then memory of ones and twos from 0x2000 on, of which the last kibibyte is
    /// no memory range.
    fn notes_and_memory(offset: u64, filesz: u64) -> (Facts, u64) {
        let sound = note(b"VMCOREINFO\0", 0, b"PAGESIZE=4096\n");
        let ph = elf::ProgramHeader { kind: elf::PT_NOTE, offset, filesz, ..Default::default() };
        let loads = [load(0, 0x2000, 0x1000, 0x1000), load(0x8000, 0x3000, 0x800, 0x800)];
        let memory = [vec![1; 0x1000], vec![2; 0xc00]].concat();
        // Where the second range holds what looks like a note.
        let (at, within) = ((0x1000, &sound[..]), (0x3100, &sound[..]));
        let bytes = file(&[loads[0], ph, loads[1]], &[at, (0x2000, &memory), within]);
        (probe(&mut &bytes[..]).unwrap(), sound.len() as u64)
    }

    #[test]
    fn notes_end_where_memory_begins() {
        for claimed in [0x1001, 0x2100, 0x2400, 1 << 40] {
            let (facts, _) = notes_and_memory(0x1000, claimed);
            assert_eq!((place(&facts), facts.notes_damaged), ((0x1000, 0x1000), true));
            assert_eq!(facts.vmcoreinfo, Some((24, 14)));
        }
        let (facts, len) = notes_and_memory(0x1000, 40);
        assert_eq!((place(&facts), facts.notes_damaged), ((0x1000, len), false));
    }

    #[test]
    fn of_memory_only_what_is_a_note_is_one() {
        let (facts, len) = notes_and_memory(0x3100, 0x500);
        assert_eq!((place(&facts), facts.notes_damaged), ((0x3100, len), true));
        let (facts, _) = notes_and_memory(0x2800, 0x500);
        assert_eq!((place(&facts), facts.notes_damaged), ((0x2800, 0), true));
        // Behind all memory, where nobody says what it is.
        let (facts, _) = notes_and_memory(0x3800, 1 << 30);
        assert_eq!((place(&facts), facts.notes_damaged), ((0x3800, 0x400), true));
    }

    #[test]
    fn a_few_empty_notes_are_passed_over() {
        let sound = note(b"VMCOREINFO\0", 0, b"PAGESIZE=4096\n");
        for (empty, found) in
            [(1, true), (note::EMPTY_MOST - 1, true), (note::EMPTY_MOST, false), (5000, false)]
        {
            let first = note(b"CORE\0", 1, &[3; 8]);
            let zeros = vec![0; empty * note::HEADER];
            let bytes = [&first[..], &zeros, &sound].concat();
            let facts = probe(&mut &notes_core(&bytes, bytes.len() as u64)[..]).unwrap();
            assert_eq!((facts.vmcoreinfo.is_some(), !facts.notes_damaged), (found, found));
            let len = if found { bytes.len() } else { first.len() };
            assert_eq!((facts.cpus, facts.notes.bytes()), (1, len as u64), "{empty} empty ones");
        }
    }

    #[test]
    fn a_range_that_claims_exbibytes_is_taken_as_what_is_there() {
        for len in [CUT_MOST + 0x2001, 1 << 62] {
            let bytes = file(&[load(0x1000, 0x1000, len, len)], &[(0x1000, &[1; 0x2000])]);
            let mut table = Tables::default();
            let core = open(&bytes, &mut table);
            assert_eq!((core.ranges()[0].stored_len, core.is_truncated()), (0x2000, true));
            assert_eq!(core.ranges()[0].len, len);
        }
        let len = CUT_MOST + 0x2000;
        let bytes = file(&[load(0x1000, 0x1000, len, len)], &[(0x1000, &[1; 0x2000])]);
        let mut table = Tables::default();
        let core = open(&bytes, &mut table);
        assert_eq!((core.ranges()[0].stored_len, core.is_truncated()), (len, false));
    }

    #[test]
    fn ranges_that_claim_too_much_together_are_taken_as_what_is_there() {
        let loads: Vec<_> =
            (0..6).map(|n| load(n << 40, 0x1000, CUT_MOST / 2, CUT_MOST / 2)).collect();
        let bytes = file(&loads, &[(0x1000, &[1; 0x2000])]);
        let mut table = Tables::default();
        let core = open(&bytes, &mut table);
        assert!(core.is_truncated());
        // Two may lack anything, as they are not checked; the next two not more than one is allowed.
        let lens: Vec<_> = core.ranges().iter().map(|s| s.stored_len).collect();
        let all = CUT_MOST / 2;
        assert_eq!(lens, [all, all, all, all, 0x2000, 0x2000]);
        assert!(core.ranges().iter().all(|s| s.len == all));
    }

    #[test]
    fn files_without_memory_are_refused() {
        let bytes = file(&[load(u64::MAX, 0, 0x1000, 0x1000)], &[]);
        assert_eq!(probe(&mut &bytes[..]).unwrap_err(), OpenError::NoLoad);
        assert!(matches!(probe(&mut &b"KDUMP"[..]), Err(OpenError::Read { .. })));
    }
}
