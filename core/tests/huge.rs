//! A machine of 64 TiB, captured inside the same few MiB as any other: a source that makes up its
//! page tables, memory sections and `struct page`s as they are read.

use page_codec::Codec;
use tamis_core::bitmap::Bitmap;
use tamis_core::capture::plan::{DEFAULT_LIMIT, Needs};
use tamis_core::capture::{Notice, Observer, Phase};
use tamis_core::endian::{Endian, Word};
use tamis_core::io::IoError;
use tamis_core::io::{Sink, SinkError};
use tamis_core::memory::{
    Dump, Machine, MemoryRange, Notes, Origin, PhysMemory, Ranges, ReadError, next_memory,
    ranges_in,
};
use tamis_core::tally::Reason;
use tamis_core::units::{PageShift, Pfn, PhysAddr};
use tamis_core::{Options, Output, Plan, Session, Storage};

const TIB: u64 = 1 << 40;
const GIB: u64 = 1 << 30;
const MACHINE: Machine = Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 };

/// Everything the kernel has of its own lies in the first GiB: tables from 1 MiB on.
const PGD: u64 = 0x10_0000;
const PUD: u64 = 0x10_1000; // two of them: 1 TiB of struct pages in 1 GiB leaves
const TEXT_PUD: u64 = 0x10_3000;
const ROOTS: u64 = 0x20_0000; // 2048 pointers
const SECTIONS: u64 = 0x100_0000; // 2048 blocks of 256 sections of 16 bytes
/// The struct pages of 64 TiB, 1 TiB of them, lie where no memory range is: made up when read.
const MEM_MAP: u64 = 65 * TIB;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
const TEXT: u64 = 0xffff_ffff_8000_0000;

const INFO: &str = "OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(init_top_pgt)=ffffffff80100000\n\
    NUMBER(phys_base)=0\nNUMBER(MAX_PHYSMEM_BITS)=46\nNUMBER(SECTION_SIZE_BITS)=27\n\
    SYMBOL(mem_section)=ffffffff80200000\nSIZE(mem_section)=16\n\
    OFFSET(mem_section.section_mem_map)=0\nSIZE(page)=64\nOFFSET(page.flags)=0\n\
    OFFSET(page._refcount)=52\nOFFSET(page.mapping)=24\nOFFSET(page.lru)=8\n\
    OFFSET(page._mapcount)=48\nOFFSET(page.private)=40\nOFFSET(page.compound_head)=8\n\
    LENGTH(zone.free_area)=11\nNUMBER(PG_lru)=5\nNUMBER(PG_private)=13\n\
    NUMBER(PG_swapcache)=11\nNUMBER(PG_swapbacked)=17\nNUMBER(PG_head_mask)=64\n\
    NUMBER(PG_hwpoison)=22\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456\n\
    NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-184549376\nNUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-201326592\n\
    NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-251658240\n";

/// Of 1024 pages, 512 are one free block, 256 page cache, one is of the kernel, the rest anonymous. Each that is on a list
/// is alone on it.
fn struct_page(pfn: u64) -> [u8; 64] {
    let mut page = [0; 64];
    if matches!(pfn % 1024, 0 | 512..1023) {
        let list = (VMEMMAP + 64 * pfn + 8).to_le_bytes();
        page[8..16].copy_from_slice(&list);
        page[16..24].copy_from_slice(&list);
    }
    page[48..52].copy_from_slice(&(-1i32).to_le_bytes());
    match pfn % 1024 {
        0 => {
            page[48..52].copy_from_slice(&0xf000_0000u32.to_le_bytes());
            page[40] = 9;
        }
        512..768 => page[0] = 1 << 5,
        768..1023 => page[24] = 1,
        _ => {}
    }
    page
}

struct Huge {
    segments: Vec<MemoryRange>,
}

impl Huge {
    fn byte_source(&self, at: u64, buf: &mut [u8]) -> bool {
        let word = |at: u64| -> u64 {
            match at {
                _ if at == PGD + 8 * ((VMEMMAP >> 39) & 511) => PUD | 3,
                _ if at == PGD + 8 * (((VMEMMAP >> 39) & 511) + 1) => (PUD + 0x1000) | 3,
                _ if at == PGD + 8 * 511 => TEXT_PUD | 3,
                _ if (PUD..PUD + 0x2000).contains(&at) => (MEM_MAP + (at - PUD) / 8 * GIB) | 0x83,
                _ if at == TEXT_PUD + 8 * 510 => 0x83,
                _ if (ROOTS..ROOTS + 2048 * 8).contains(&at) => {
                    TEXT + SECTIONS + (at - ROOTS) / 8 * 4096
                }
                _ if (SECTIONS..SECTIONS + 2048 * 4096).contains(&at) && at.is_multiple_of(16) => {
                    VMEMMAP | 7
                }
                _ if (MEM_MAP..MEM_MAP + TIB).contains(&at) => {
                    let (pfn, within) = ((at - MEM_MAP) / 64, (at % 64) as usize);
                    let page = struct_page(pfn);
                    u64::from_le_bytes(page[within..within + 8].try_into().unwrap())
                }
                _ => 0,
            }
        };
        let (start, end) = (at, at + buf.len() as u64);
        if (MEM_MAP..MEM_MAP + TIB).contains(&start)
            && start.is_multiple_of(64)
            && end.is_multiple_of(64)
        {
            for (i, page) in buf.chunks_exact_mut(64).enumerate() {
                page.copy_from_slice(&struct_page((start - MEM_MAP) / 64 + i as u64));
            }
            return true;
        }
        if !start.is_multiple_of(8) || !end.is_multiple_of(8) {
            return false;
        }
        for (i, to) in buf.chunks_exact_mut(8).enumerate() {
            to.copy_from_slice(&word(start + 8 * i as u64).to_le_bytes());
        }
        true
    }
}

impl PhysMemory for Huge {
    fn machine(&self) -> Machine {
        MACHINE
    }
    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        if self.byte_source(at.0, buf) { Ok(()) } else { Err(ReadError::Absent(at)) }
    }
    fn window(&mut self, _: PhysAddr, _: usize) -> Option<&[u8]> {
        None
    }
    fn window_broke(&mut self) -> bool {
        false
    }
}

impl Ranges for Huge {
    fn ranges(&self) -> &[MemoryRange] {
        &self.segments
    }
    fn ranges_in(&self, from: PhysAddr, until: PhysAddr, each: &mut dyn FnMut(&MemoryRange)) {
        ranges_in(&self.segments, from, until, each);
    }
    fn next_memory(&self, from: PhysAddr) -> Option<PhysAddr> {
        next_memory(&self.segments, from)
    }
}

impl Dump for Huge {
    fn origin(&self) -> Origin {
        Origin::default()
    }
    fn is_truncated(&self) -> bool {
        false
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
        Notes::default()
    }
    fn read_notes(&mut self, _: u64, _: &mut [u8]) -> Result<(), IoError> {
        Ok(())
    }
}

/// Keeps bitmaps and descriptors in a map of written pieces; counts the data.
#[derive(Default)]
struct Sparse {
    pieces: std::collections::BTreeMap<u64, Vec<u8>>,
    end: u64,
}

impl Sink for Sparse {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.end = self.end.max(at + bytes.len() as u64);
        self.pieces.insert(at, bytes.to_vec());
        Ok(())
    }
    fn can_read_back(&self) -> bool {
        true
    }
    fn read_back(&mut self, at: u64, buf: &mut [u8]) -> Result<(), SinkError> {
        // Windows are read back as they were written; one without a bit was not.
        match self.pieces.get(&at) {
            Some(piece) => buf.copy_from_slice(piece),
            None => buf.fill(0),
        }
        Ok(())
    }
    fn extend(&mut self, len: u64) -> Result<(), SinkError> {
        self.end = self.end.max(len);
        Ok(())
    }
    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    fn can_rewrite(&self) -> bool {
        true
    }
}

#[derive(Default)]
struct Watch {
    notices: Vec<Notice>,
    last: Option<(Phase, u64)>,
}

impl Observer for Watch {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        assert!(done <= total);
        if let Some((last, before)) = self.last.filter(|(last, _)| *last == phase) {
            assert!(done >= before, "{last:?} went back from {before} to {done}");
        }
        self.last = Some((phase, done));
    }
    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

#[test]
fn sixty_four_tebibytes_fit_the_default_budget() {
    let max_pfn = 64 * TIB / 4096;
    let needs = Needs {
        page_size: 4096,
        page_struct: 64,
        max_pfn,
        segments: 6,
        vmcoreinfo: INFO.len() as u64,
        info_file: 0,
        rules: 0,
        codec: 0,
        codec_bound: 4096,
        program: 256 << 10,
        bitmap: None,
        whole: false,
        threads: 1,
        thread_stack: 0,
    };
    let plan = Plan::fit(DEFAULT_LIMIT, &needs).unwrap();
    assert!(plan.total() <= DEFAULT_LIMIT);
    assert_eq!(plan.bitmap, 1 << 20);
    assert_eq!(plan.cycles(max_pfn), 2048);

    // A GiB here and there, the last one at the very end; one lies across two windows.
    let window = plan.window() * 4096;
    let ranges = [0, 3 * TIB, 20 * window - GIB / 2, 40 * TIB + GIB, 63 * TIB, 64 * TIB - GIB];
    let segments = ranges.map(|start| MemoryRange {
        phys: PhysAddr(start),
        stored_len: GIB,
        len: GIB,
        ..MemoryRange::default()
    });
    let source = Huge { segments: segments.to_vec() };

    let piece = |len: u64| vec![0u8; len as usize].leak().into();
    let storage = Storage {
        bitmap: piece(plan.bitmap),
        mem_map: piece(plan.mem_map),
        tables: piece(plan.tables),
        sections: piece(plan.sections),
        run: piece(plan.run),
        data: piece(plan.data),
        descriptors: piece(plan.descriptors),
        vmcoreinfo: piece(0),
        ranges: (&mut [][..]).into(),
        places: (&mut [][..]).into(),
    };
    let (text, page) = (INFO.as_bytes().into(), PageShift::FOUR_KIB);
    let (end, options) = (Pfn(max_pfn), Options::default());
    let mut session = Session::over(source, text, None, page, end, storage, &options);
    assert_eq!(session.max_pfn(), end);
    assert_eq!(session.why_only_zeros(), None);
    assert_eq!(session.unclassified().count(), 0);
    let (mut watch, mut sink) = (Watch::default(), Sparse::default());
    let report = session.write(Output::Kdump(&mut sink), None, &mut watch).unwrap();
    assert_eq!(watch.notices, []);

    let pages = 6 * GIB / 4096;
    let blocks = pages / 1024;
    assert_eq!(report.tally.exist, pages);
    assert_eq!(report.tally.of(Reason::Free), 512 * blocks);
    assert_eq!(report.tally.of(Reason::Cache), 256 * blocks);
    assert_eq!(report.tally.of(Reason::User), 255 * blocks);
    assert_eq!(report.tally.kept, blocks);
    assert_eq!(report.holes, max_pfn - pages);
    assert!(!report.incomplete);
    // Header, two bitmaps of 2 GiB, descriptors, data: all but a few pages are of zeros.
    let bits = 2 * (max_pfn / 8);
    assert!(sink.end > bits && sink.end < bits + (1 << 20), "{}", sink.end);
}
