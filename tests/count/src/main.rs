//! Runs one inner loop of the engine a given number of times, so that `cargo xtask count` can
//! subtract the instructions of few rounds from those of more: what remains is the loop alone,
//! without preparation. The input is computed, so every run does the same.
//!
//! `tamis-count` prints the name and the items per round of each loop, `tamis-count NAME ROUNDS`
//! runs one.

use std::hint::black_box;
use std::process::ExitCode;

use page_codec::{DecodeError, Deflate, Encode, Inflate, Lz4, Lzo, Snappy, Zstd, is_zero};
use tamis_core::arch::Arch;
use tamis_core::bitmap::{Bitmap, count_ones};
use tamis_core::endian::{Endian, Word};
use tamis_core::io::{Append, Flattened, IoError, Sink};
use tamis_core::kernel::page::Classifier;
use tamis_core::level::DumpLevel;
use tamis_core::memory::Machine;
use tamis_core::tally::Tally;
use tamis_core::units::{Pfn, PfnSpan};
use tamis_core::vmcoreinfo::Info;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Pages that a codec gets in each round.
const PAGES: usize = 24;
/// `struct page`s that are classified in each round.
const STRUCTS: usize = 4096;
/// Calls of a cheap loop in each round.
const CALLS: usize = 16;

/// A loop: its name, the items of a round, and what runs so many rounds.
type Loop = (&'static str, usize, fn(usize));

const LOOPS: [Loop; 18] = [
    ("classify-64-little", STRUCTS, |rounds| classify(rounds, 64, Endian::Little)),
    ("classify-80-big", STRUCTS, |rounds| classify(rounds, 80, Endian::Big)),
    ("zero-test", CALLS, zero_test),
    ("encode-zlib", PAGES, |rounds| encode(rounds, Deflate::new())),
    ("encode-zlib-fixed", PAGES, |rounds| encode(rounds, Deflate::fixed())),
    ("encode-lzo", PAGES, |rounds| encode(rounds, Lzo::new())),
    ("encode-snappy", PAGES, |rounds| encode(rounds, Snappy::new())),
    ("encode-zstd", PAGES, |rounds| encode(rounds, Zstd::new())),
    ("encode-zstd-lazy", PAGES, |rounds| encode(rounds, Zstd::lazy())),
    ("encode-lz4", PAGES, |rounds| encode(rounds, Lz4::new())),
    ("decode-zlib", PAGES, |rounds| {
        let mut inflate = Inflate::default();
        decode(rounds, Deflate::new(), |stored, page| inflate.decode(stored, page))
    }),
    ("decode-lzo", PAGES, |rounds| decode(rounds, Lzo::new(), Lzo::decode)),
    ("decode-snappy", PAGES, |rounds| decode(rounds, Snappy::new(), Snappy::decode)),
    ("decode-lz4", PAGES, |rounds| decode(rounds, Lz4::new(), Lz4::decode)),
    ("bitmap-count", CALLS, count_bits),
    ("bitmap-runs", CALLS, runs),
    ("bitmap-clear", CALLS, clear_spans),
    ("flattened-record", CALLS, flattened),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [] => {
            for (name, items, _) in LOOPS {
                println!("{name} {items}");
            }
            ExitCode::SUCCESS
        }
        [name, rounds] => {
            let found = LOOPS.iter().find(|(known, ..)| known == name);
            let (Some((.., run)), Ok(rounds)) = (found, rounds.parse()) else {
                return ExitCode::FAILURE;
            };
            run(rounds);
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

/// A linear congruential generator; the upper half of its state is good enough for test data.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 32) as u32
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}

/// Pages as a kernel has them: text, tables of pointers, structures between zeros, machine code
/// (made up), a few sparse ones, and one that no codec shrinks.
fn pages() -> Vec<[u8; PAGE]> {
    const WORDS: [&[u8]; 8] = [
        b"kernel ",
        b"page ",
        b"inode ",
        b"=0x0000",
        b"the ",
        b"/usr/lib/",
        b"\n\0\0\0",
        b"cache ",
    ];
    let mut chance = Chance(1);
    (0..PAGES)
        .map(|number| {
            let mut page = [0; PAGE];
            let mut at = 0;
            while at < PAGE {
                let mut piece = [0; 16];
                let (len, skip) = match number % 6 {
                    0 => {
                        let word = WORDS[chance.below(WORDS.len())];
                        piece[..word.len()].copy_from_slice(word);
                        (word.len(), 0)
                    }
                    1 => {
                        let pointer = 0xffff_8880_0000_0000 + 64 * chance.below(1 << 20) as u64;
                        piece[..8].copy_from_slice(&pointer.to_le_bytes());
                        (8, 8 * chance.below(3))
                    }
                    2 => {
                        piece[0] = chance.below(16) as u8;
                        piece[4] = chance.below(256) as u8;
                        (8, 8 * chance.below(12))
                    }
                    3 => {
                        piece[0] = [0x48, 0x89, 0xe8, 0x0f][chance.below(4)];
                        piece[1] = chance.below(24) as u8;
                        piece[2] = chance.below(256) as u8;
                        (2 + chance.below(2), 0)
                    }
                    4 => {
                        piece[0] = 1;
                        (1, 200 + chance.below(900))
                    }
                    _ if number == 5 => {
                        piece[..4].copy_from_slice(&chance.next().to_le_bytes());
                        (4, 0)
                    }
                    _ => {
                        // A structure of 64 bytes, nearly the same each time.
                        piece = *b"\x10\0\0\0name\0\0\0\0\x80\x88\xff\xff";
                        piece[10] = chance.below(256) as u8;
                        (16, 48 * usize::from(chance.below(8) != 0))
                    }
                };
                let end = PAGE.min(at + len);
                page[at..end].copy_from_slice(&piece[..end - at]);
                at = end + skip;
            }
            page
        })
        .collect()
}

fn classify(rounds: usize, size: usize, endian: Endian) {
    let text = format!(
        "OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(init_top_pgt)=ffffffff80100000\n\
         NUMBER(phys_base)=0\nSIZE(page)={size}\nOFFSET(page.flags)=0\nOFFSET(page._refcount)=52\n\
         OFFSET(page.mapping)=24\nOFFSET(page.lru)=8\nOFFSET(page._mapcount)=48\n\
         OFFSET(page.private)=40\nOFFSET(page.compound_head)=8\nLENGTH(zone.free_area)=11\n\
         NUMBER(PG_lru)=5\nNUMBER(PG_private)=13\nNUMBER(PG_swapcache)=11\n\
         NUMBER(PG_swapbacked)=17\nNUMBER(PG_head_mask)=64\nNUMBER(PG_hwpoison)=22\n\
         NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456\n\
         NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-184549376\n\
         NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-201326592\n\
         NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-251658240\n"
    );
    let little = Machine { elf_machine: 62, endian: Endian::Little, word: Word::Bits64 };
    let info = Info::new(Some(text.as_bytes()), None);
    let arch = Arch::new(little, &info, &[]).expect("an architecture");
    let level = DumpLevel::all();
    // No architecture of the other byte order is needed: the classifier is asked directly.
    let machine = Machine { endian, ..little };
    let classifier = Classifier::new(&info, &arch, machine, 12, level).expect("a classifier");
    let number = |value: u64| match endian {
        Endian::Little => value.to_le_bytes(),
        Endian::Big => value.to_be_bytes(),
    };
    let half = |value: u32| match endian {
        Endian::Little => value.to_le_bytes(),
        Endian::Big => value.to_be_bytes(),
    };
    // Of 1024, a free block of 256 and a compound page of 16 of a process; page cache, anonymous
    // and kernel pages by runs of 16, slab pages among them.
    let mut slice = vec![0; STRUCTS * size];
    for (pfn, page) in slice.chunks_exact_mut(size).enumerate() {
        page[48..52].copy_from_slice(&half(u32::MAX));
        match (pfn % 1024, pfn / 16 % 3) {
            (0, _) => {
                page[48..52].copy_from_slice(&half(0xf000_0000));
                page[40..48].copy_from_slice(&number(8));
            }
            (512, _) => {
                page[..8].copy_from_slice(&number(64));
                page[24..32].copy_from_slice(&number(1));
            }
            (513, _) => {
                page[..8].copy_from_slice(&number(4));
                page[8..16].copy_from_slice(&number(1));
            }
            (1..256, _) => {}
            (514..528, _) => page[8..16].copy_from_slice(&number(1)),
            (at, 1) if at % 4 == 0 => page[48..52].copy_from_slice(&half(0xf500_0000)),
            (_, 0) => page[..8].copy_from_slice(&number(1 << 5)),
            (_, 1) => {}
            _ => page[24..32].copy_from_slice(&number(1)),
        }
    }
    let (mut bits, span) = (vec![0; STRUCTS / 8], PfnSpan::new(Pfn(0), Pfn(STRUCTS as u64)));
    for _ in 0..rounds {
        let mut tally = Tally::default();
        let mut map = Bitmap::clear(&mut bits, span);
        map.set(span);
        classifier.scan(black_box(&slice), span.start, span.end, &mut map, &mut tally, true);
        black_box(&tally);
    }
}

/// Half of the calls see a page of zeros, half one whose last byte is none.
fn zero_test(rounds: usize) {
    let zeros = [0; PAGE];
    let mut other = zeros;
    other[PAGE - 1] = 1;
    for _ in 0..rounds * CALLS / 2 {
        assert!(is_zero(black_box(&zeros)) && !is_zero(black_box(&other)));
    }
}

/// As the engine does: through the trait.
fn encode(rounds: usize, mut encoder: impl Encode) {
    let (pages, encoder) = (pages(), &mut encoder as &mut dyn Encode);
    let mut out = vec![0; encoder.bound(PAGE)];
    for _ in 0..rounds {
        for page in &pages {
            black_box(encoder.encode(black_box(page), &mut out));
        }
    }
}

/// The page is a slice whose length the compiler does not know, as it is in a dump's reader. Pages that
/// did not shrink would not be decoded: the page before comes in their stead.
fn decode(
    rounds: usize,
    mut encoder: impl Encode,
    mut decode: impl FnMut(&[u8], &mut [u8]) -> Result<(), DecodeError>,
) {
    let mut out = vec![0; encoder.bound(PAGE)];
    let mut all: Vec<Vec<u8>> = Vec::new();
    for page in pages() {
        match encoder.encode(&page, &mut out) {
            Some(len) => all.push(out[..len].to_vec()),
            None => all.push(all.last().expect("a page that shrank").clone()),
        }
    }
    let mut page = [0; PAGE];
    for _ in 0..rounds {
        for stored in &all {
            decode(black_box(stored), black_box(&mut page[..])).expect("a whole page");
            black_box(&page);
        }
    }
}

/// Set bits of 4 KiB, by which the reader finds a page's descriptor.
fn count_bits(rounds: usize) {
    let bits = [0xa5; PAGE];
    for _ in 0..rounds * CALLS {
        assert_eq!(count_ones(black_box(&bits)), 4 * PAGE as u64);
    }
}

/// A map of 32,768 bits with runs of all lengths up to 150.
fn map(bits: &mut [u8; PAGE]) -> Bitmap<'_> {
    let mut map = Bitmap::clear(bits, PfnSpan::new(Pfn(0), Pfn(8 * PAGE as u64)));
    let (mut chance, mut at) = (Chance(2), 0);
    while at < 8 * PAGE {
        let run = 1 + chance.below(150);
        map.set(PfnSpan::new(Pfn(at as u64), Pfn((at + run) as u64)));
        at += run + 1 + chance.below(150);
    }
    map
}

/// All runs of a map.
fn runs(rounds: usize) {
    let mut bits = [0; PAGE];
    let map = map(&mut bits);
    for _ in 0..rounds * CALLS {
        let mut at = Pfn(0);
        while let Some(run) = map.next_run(black_box(at), u64::MAX) {
            at = run.end;
        }
    }
}

/// Spans of 1 to 100 bits cleared, over the whole of a map.
fn clear_spans(rounds: usize) {
    let mut bits = [0xff; PAGE];
    let mut map = map(&mut bits);
    for _ in 0..rounds * CALLS {
        let (mut at, mut len) = (0, 1);
        while at < 8 * PAGE as u64 {
            black_box(map.clear_span(PfnSpan::new(Pfn(at), Pfn(at + len))));
            (at, len) = (at + len, len % 100 + 1);
        }
    }
}

/// A pipe that takes everything.
struct Nowhere;

impl Append for Nowhere {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        black_box(bytes);
        Ok(())
    }
}

/// Records of a page.
fn flattened(rounds: usize) {
    let bytes = [1; PAGE];
    let mut sink = Flattened::new(Nowhere);
    for at in 0..(rounds * CALLS) as u64 {
        sink.write_at(4096 * at, black_box(&bytes)).expect("a pipe that takes everything");
    }
}
