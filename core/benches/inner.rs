//! The inner loops that are no codec (those have `codec.rs`): bytes or items a second, in cache.
//!
//! `cargo bench -p tamis-core --bench inner`

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use page_codec::is_zero;
use tamis_core::arch::Arch;
use tamis_core::bitmap::{Bitmap, count_ones};
use tamis_core::endian::{Endian, Word};
use tamis_core::io::IoError;
use tamis_core::io::{Append, Flattened, Sink};
use tamis_core::kernel::page::Classifier;
use tamis_core::level::DumpLevel;
use tamis_core::memory::Machine;
use tamis_core::tally::Tally;
use tamis_core::units::{Pfn, PfnSpan};
use tamis_core::vmcoreinfo::Info;

fn main() {
    divan::main();
}

const MACHINE: Machine = Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 };

const INFO: &str = "OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(init_top_pgt)=ffffffff80100000\n\
    NUMBER(phys_base)=0\nSIZE(page)=64\nOFFSET(page.flags)=0\nOFFSET(page._refcount)=52\n\
    OFFSET(page.mapping)=24\nOFFSET(page.lru)=8\nOFFSET(page._mapcount)=48\n\
    OFFSET(page.private)=40\nOFFSET(page.compound_head)=8\nLENGTH(zone.free_area)=11\n\
    NUMBER(PG_lru)=5\nNUMBER(PG_private)=13\nNUMBER(PG_swapcache)=11\n\
    NUMBER(PG_swapbacked)=17\nNUMBER(PG_head_mask)=64\nNUMBER(PG_hwpoison)=22\n\
    NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456\n\
    NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-184549376\n\
    NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-201326592\n\
    NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-251658240\n";

/// Pages of a slice that stays in a cache of the second level.
const PAGES: u64 = 4096;

/// What the pages of a mem_map are.
#[derive(Clone, Copy, Debug)]
enum Memory {
    /// The kernel's: each is looked at and kept.
    Kernel,
    /// Anonymous single pages: each is dropped for itself.
    User,
    /// Of 1024, a free block of 256, and page cache, anonymous and kernel pages by runs of 16.
    Mixed,
}

fn mem_map(memory: Memory) -> Vec<u8> {
    let mut slice = vec![0; PAGES as usize * 64];
    for (pfn, page) in slice.chunks_exact_mut(64).enumerate() {
        page[48..52].copy_from_slice(&(-1i32).to_le_bytes());
        match (memory, pfn % 1024, pfn / 16 % 3) {
            (Memory::Kernel, ..) => {}
            (Memory::Mixed, 0, _) => {
                page[48..52].copy_from_slice(&0xf000_0000u32.to_le_bytes());
                page[40] = 8;
            }
            (Memory::Mixed, _, 0) => page[0] = 1 << 5,
            (Memory::Mixed, _, 1) => {}
            _ => page[24] = 1,
        }
    }
    slice
}

#[divan::bench(args = [Memory::Kernel, Memory::User, Memory::Mixed])]
fn classify(bencher: Bencher<'_, '_>, memory: Memory) {
    let info = Info::new(Some(INFO.as_bytes()), None);
    let arch = Arch::new(MACHINE, &info, &[]).expect("an architecture");
    let level = DumpLevel::all();
    let classifier = Classifier::new(&info, &arch, MACHINE, 12, level).expect("a classifier");
    let slice = mem_map(memory);
    let (mut bits, span) = (vec![0; PAGES as usize / 8], PfnSpan::new(Pfn(0), Pfn(PAGES)));
    bencher.counter(BytesCount::new(slice.len())).bench_local(|| {
        let mut tally = Tally::default();
        let mut map = Bitmap::clear(&mut bits, span);
        map.set(span);
        classifier.scan(black_box(&slice), span.start, span.end, &mut map, &mut tally, true);
        black_box(tally)
    });
}

#[divan::bench]
fn zero_test_of_a_page_of_zeros(bencher: Bencher<'_, '_>) {
    let page = vec![0; 4096];
    bencher.counter(BytesCount::new(page.len())).bench_local(|| is_zero(black_box(&page)));
}

#[divan::bench]
fn zero_test_of_another_page(bencher: Bencher<'_, '_>) {
    let page = vec![1; 4096];
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| is_zero(black_box(&page)));
}

#[divan::bench]
fn rank_of_a_block_of_bits(bencher: Bencher<'_, '_>) {
    let bits = vec![0xa5; 4096];
    bencher.counter(BytesCount::new(bits.len())).bench_local(|| count_ones(black_box(&bits)));
}

#[divan::bench(args = [1, 64, 4096])]
fn runs_of_a_bitmap(bencher: Bencher<'_, '_>, len: u64) {
    let (mut bits, span) = (vec![0; 64 << 10], PfnSpan::new(Pfn(0), Pfn(512 << 10)));
    let mut map = Bitmap::clear(&mut bits, span);
    for start in (0..span.end.0).step_by(2 * len as usize) {
        map.set(PfnSpan::new(Pfn(start), Pfn(start + len)));
    }
    bencher.counter(BytesCount::new(map.bytes().len())).bench_local(|| {
        let (mut at, mut runs) = (Pfn(0), 0);
        while let Some(run) = map.next_run(at, u64::MAX) {
            (at, runs) = (run.end, runs + 1);
        }
        runs
    });
}

/// A pipe that takes everything.
struct Nowhere;

impl Append for Nowhere {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        black_box(bytes);
        Ok(())
    }
}

#[divan::bench(args = [4096, 512 << 10])]
fn flattened_records(bencher: Bencher<'_, '_>, len: usize) {
    let bytes = vec![1; len];
    let mut sink = Flattened::new(Nowhere);
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        sink.write_at(4096, black_box(&bytes)).expect("a pipe that takes everything");
    });
}
