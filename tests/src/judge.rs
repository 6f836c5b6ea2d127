//! What must hold of a dump that was cut off: it opens as soon as its header stands, says that it is
//! not whole, and no page of it is another one than it should be.

use std::collections::HashMap;

use page_codec::{Decode, Decoders};
use tamis_core::input::elf::{self, ElfVmcore, Place};
use tamis_core::input::kdump::{self, Codec, Kdump, PageFault, Part, Storage, Unpack};
use tamis_core::memory::MemoryRange;
use tamis_core::units::Pfn;

use crate::dumpread::{Descriptor, Dump, STATUS_INCOMPLETE};
use crate::elfread::{Elf, Phdr};
use crate::synth::Image;

/// Bytes of the main header, for 64-bit machines.
const HEADER: usize = 464;

/// The decoders of the engine.
#[derive(Default)]
pub struct Own(Decoders);

impl Unpack for Own {
    fn unpack(&mut self, codec: Codec, stored: &[u8], page: &mut [u8]) -> Result<(), &'static str> {
        self.0.decode(codec, stored, page).map_err(|_| "damaged")
    }
}

/// What a cut-off dump has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Has {
    /// Whether it has a header: before, nothing opens it.
    pub opens: bool,
    /// Whether it calls itself complete.
    pub complete: bool,
    /// Pages that are right.
    pub pages: u64,
    /// Pages that are wrong.
    pub wrong: u64,
    /// Descriptors that are half there: readers report them.
    pub torn: u64,
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Stored bytes are held against the whole dump's.
    Bytes,
    /// Each page is decoded as well.
    Decode,
}

/// A kdump-compressed file that was not cut off.
pub struct Whole<'i> {
    image: &'i Image,
    bytes: Vec<u8>,
    descriptors: HashMap<u64, Descriptor>,
}

const EMPTY: Descriptor = Descriptor { offset: 0, size: 0, flags: 0 };

impl<'i> Whole<'i> {
    /// Checks every page of it.
    pub fn new(bytes: Vec<u8>, image: &'i Image) -> Whole<'i> {
        let dump = Dump::new(bytes.clone()).expect("a whole dump");
        let descriptors = dump.descriptors().expect("descriptors").into_iter().collect();
        let whole = Whole { image, bytes, descriptors };
        let has = whole.judge(&whole.bytes, Look::Decode).expect("a whole dump");
        let pages = whole.descriptors.len() as u64;
        assert_eq!(has, Has { opens: true, complete: true, pages, ..Has::default() });
        whole
    }

    /// Pages that it has.
    pub fn pages(&self) -> u64 {
        self.descriptors.len() as u64
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Frames and their descriptors.
    pub fn descriptors(&self) -> impl Iterator<Item = (u64, Descriptor)> {
        self.descriptors.iter().map(|(pfn, descriptor)| (*pfn, *descriptor))
    }

    /// Looks at what is left of it. An error is what no cut may do.
    pub fn judge(&self, cut: &[u8], look: Look) -> Result<Has, String> {
        self.judge_as(cut, look, false)
    }

    /// Whether the header is one of which only the first bytes were written: a size limit or a fault
    /// may lie in it.
    fn header_is_half(&self, cut: &[u8]) -> bool {
        let zeros = std::iter::repeat(&0);
        let pairs = self.bytes.iter().zip(cut.iter().chain(zeros)).take(HEADER);
        // Whole ones may be marked.
        let mut rest =
            pairs.skip_while(|(a, b)| (*a ^ *b) & !(STATUS_INCOMPLETE as u8) == 0).peekable();
        rest.peek().is_some() && rest.all(|(_, b)| *b == 0)
    }

    /// Like [`Whole::judge`], of what repair made of it: data may lie elsewhere.
    pub fn judge_repaired(&self, repaired: &[u8]) -> Result<Has, String> {
        self.judge_as(repaired, Look::Decode, true)
    }

    fn judge_as(&self, cut: &[u8], look: Look, repaired: bool) -> Result<Has, String> {
        let mut has = Has::default();
        let mut file = cut;
        let probed = kdump::probe(&mut file, cut.len() as u64);
        if !(cut.starts_with(b"KDUMP   ") || cut.starts_with(b"TAMIS   ")) {
            return match probed {
                Ok(_) => Err("opens without a header".into()),
                Err(_) => Ok(has),
            };
        }
        if self.header_is_half(cut) {
            return Ok(has);
        }
        let facts = probed.map_err(|e| format!("the header stands, but: {e}"))?;
        let dump = Dump::new(cut.to_vec()).map_err(|e| format!("the independent reader: {e}"))?;
        has.opens = true;
        has.complete = dump.header.status & STATUS_INCOMPLETE == 0;

        let rank = vec![0; facts.rank_storage()];
        let ranges = kdump::count_ranges(&mut file, &facts).map_err(|e| format!("ranges: {e}"))?;
        let segments = vec![MemoryRange::default(); ranges];
        let (pages, stored) = (vec![0; 4096], vec![0; 4096]);
        let storage = Storage {
            rank: rank.into(),
            ranges: segments.into(),
            pages: pages.into(),
            stored: stored.into(),
        };
        let parts = vec![Part::new(cut, facts)];
        let mut own = Kdump::load(parts, storage, Own::default())
            .map_err(|e| format!("the header stands, but: {e}"))?;
        let mut page = [0; 4096];
        for (n, pfn) in dump.frames().enumerate() {
            let ours = own.descriptor(Pfn(pfn));
            // Past the end of the file there are none.
            let desc = dump.descriptor(n as u64).unwrap_or(EMPTY);
            if desc.size == 0 {
                if ours != Err(PageFault::Lost) {
                    return Err(format!("frame {pfn:#x}: empty, but tamis says {ours:?}"));
                }
                continue;
            }
            let (ours, part) = ours.map_err(|e| format!("frame {pfn:#x}: {e}"))?;
            let wanted = self.descriptors.get(&pfn);
            let Some(wanted) = wanted else { return Err(format!("frame {pfn:#x} came up")) };
            let end = (desc.offset + u64::from(desc.size)) as usize;
            let there = desc.offset as usize..end;
            let same = |at: std::ops::Range<usize>| cut.get(at.clone()) == self.bytes.get(at);
            let right_place = repaired || desc == *wanted;
            if right_place && look == Look::Bytes && end <= cut.len() && same(there.clone()) {
                has.pages += 1;
                continue;
            }
            // Decoded by both readers where both can.
            let theirs = dump.checked(n as u64).and_then(|desc| dump.decode(desc));
            let decoded = own.decode(Pfn(pfn), ours, part, &mut page);
            let independent = [0, 1, 0x40].contains(&desc.flags);
            if independent && theirs.is_ok() != decoded.is_ok() {
                return Err(format!("frame {pfn:#x}: {:?}, but tamis: {decoded:?}", theirs.err()));
            }
            match decoded {
                Err(_) if !right_place => has.torn += 1,
                Err(_) => has.wrong += 1,
                Ok(()) => {
                    let right = self.image.expected_page(pfn).as_deref() == Some(&page[..]);
                    if theirs.is_ok_and(|theirs| theirs != page) {
                        return Err(format!("frame {pfn:#x}: the readers disagree"));
                    }
                    if right {
                        has.pages += 1;
                    } else {
                        has.wrong += 1;
                    }
                }
            }
        }
        Ok(has)
    }
}

/// An ELF file that was not cut off.
pub struct WholeElf {
    bytes: Vec<u8>,
    loads: Vec<Phdr>,
}

impl WholeElf {
    /// Checks that each page of it is the machine's, or zeros.
    pub fn new(bytes: Vec<u8>, image: &Image) -> WholeElf {
        let elf = Elf::parse(&bytes).expect("an ELF file");
        let loads: Vec<Phdr> = elf.of_kind(1).copied().collect();
        for load in &loads {
            let stored = elf.segment(&bytes, load).expect("a segment");
            for (n, page) in stored.chunks(4096).enumerate() {
                let pfn = load.paddr / 4096 + n as u64;
                let wanted = image.expected_page(pfn).expect("a page that exists");
                assert!(page == wanted || page.iter().all(|b| *b == 0), "frame {pfn:#x}");
            }
        }
        WholeElf { bytes, loads }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that it has.
    pub fn memory(&self) -> u64 {
        self.loads.iter().map(|load| load.filesz).sum()
    }

    /// Looks at what is left of it; `pages` are whole pages of memory.
    pub fn judge(&self, cut: &[u8]) -> Result<Has, String> {
        let mut has = Has::default();
        let mut file = cut;
        let probed = elf::probe(&mut file);
        if !cut.starts_with(b"\x7fELF") {
            return if probed.is_ok() { Err("opens without a header".into()) } else { Ok(has) };
        }
        let elf = Elf::parse(cut).map_err(|e| format!("the independent reader: {e}"))?;
        has.opens = true;
        has.complete = elf.e_flags & 1 == 0;
        let mut memory = 0;
        for load in elf.of_kind(1).filter(|load| load.filesz > 0) {
            let wanted = self.loads.iter().find(|wanted| {
                (wanted.vaddr, wanted.paddr) == (load.vaddr, load.paddr)
                    && wanted.offset == load.offset
                    && load.filesz <= wanted.filesz
                    && load.memsz <= wanted.memsz
            });
            if wanted.is_none() {
                return Err(format!("{load:x?} is none of the whole file"));
            }
            let at = load.offset as usize..(load.offset + load.filesz) as usize;
            let (found, wanted) = (cut.get(at.clone()), self.bytes.get(at));
            let found = found.ok_or(format!("{load:x?} is past the end"))?;
            let pairs = found.chunks(4096).zip(wanted.unwrap_or_default().chunks(4096));
            let right = pairs.filter(|(a, b)| a == b).count() as u64;
            has.pages += right;
            has.wrong += load.filesz.div_ceil(4096) - right;
            memory += load.memsz;
        }
        // A file of no memory at all is none for tamis.
        if memory > 0 {
            let facts = probed.map_err(|e| format!("the header stands, but: {e}"))?;
            let table = vec![MemoryRange::default(); facts.segments];
            let places = vec![Place::default(); facts.segments];
            ElfVmcore::load(cut, facts, tamis_core::units::PageShift::FOUR_KIB, table, places)
                .map_err(|e| format!("the header stands, but: {e}"))?;
        }
        Ok(has)
    }
}
