//! Speed and size of the page encoders beside the C libraries and miniz_oxide, and the speed of the
//! decoders: the same pages, in interleaved rounds, on one core.
//!
//! `TAMIS_VMCORES=FILE:FILE..` names vmcores (all pages with a bit set) or dumps written without
//! compression (the pages kept); a made-up corpus stands in. `TAMIS_PAGES` is how many pages are
//! taken (8192), evenly spread; `TAMIS_PAGE_SIZE` their size (4096). Words after `--` pick rows.

use miniz_oxide::deflate::core as miniz;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use page_codec::{Codec, Decode, Decoders, Deflate, Encode, Lz4, Lzo, Snappy, Zstd};
use tamis_reference::{Reference, files, generated, pages_of, seconds};

const ROUNDS: usize = 7;

/// Compresses a page into room for it; returns the length.
type Run = Box<dyn FnMut(&[u8], &mut [u8]) -> usize>;

/// One contender: bytes stored for a page.
struct Row {
    name: &'static str,
    against: &'static str,
    state: usize,
    run: Run,
}

fn ours(
    name: &'static str,
    against: &'static str,
    state: usize,
    mut encoder: impl Encode + 'static,
) -> Row {
    let run = move |page: &[u8], out: &mut [u8]| encoder.encode(page, out).unwrap_or(page.len());
    Row { name, against, state, run: Box::new(run) }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut zlib = miniz::CompressorOxide::new(miniz::create_comp_flags_from_zip_params(1, 15, 0));
    for mut library in Reference::all() {
        let state = match library {
            Reference::Zlib(..) => 268 << 10,
            Reference::Lzo(_) => 128 << 10,
            Reference::Snappy => 17 << 10,
            Reference::Lz4(_) => 16 << 10,
            Reference::Zstd(..) => 74 << 10,
        };
        let name = library.name();
        let run = move |page: &[u8], out: &mut [u8]| library.encode(page, out).min(page.len());
        rows.push(Row { name, against: name, state, run: Box::new(run) });
    }
    rows.push(Row {
        name: "miniz_oxide 1",
        against: "C zlib 1",
        state: 319 << 10,
        run: Box::new(move |page, out| {
            zlib.reset();
            match miniz::compress(
                &mut zlib,
                page,
                &mut out[..page.len()],
                miniz::TDEFLFlush::Finish,
            ) {
                (miniz::TDEFLStatus::Done, _, len) => len,
                _ => page.len(),
            }
        }),
    });
    rows.push(ours("zlib", "C zlib 1", Deflate::STATE, Deflate::new()));
    rows.push(ours("zlib fixed", "C zlib 1", Deflate::STATE, Deflate::fixed()));
    rows.push(ours("lzo", "C lzo1x_1", Lzo::STATE, Lzo::new()));
    rows.push(ours("snappy", "C snappy", Snappy::STATE, Snappy::new()));
    rows.push(ours("lz4", "C lz4", Lz4::STATE, Lz4::new()));
    rows.push(ours("zstd", "C zstd 1", Zstd::STATE, Zstd::new()));
    rows.push(ours("zstd 2", "C zstd 1", Zstd::STATE, Zstd::lazy()));
    rows
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect(name))
}

fn main() {
    let size = number("TAMIS_PAGE_SIZE", 4096);
    let wanted = number("TAMIS_PAGES", 8192);
    let mut pages = Vec::new();
    for name in files() {
        let file = std::fs::read(&name).expect(&name);
        pages_of(&file, size, &mut |page| pages.push(page.to_vec()));
    }
    if pages.is_empty() {
        pages = generated(size, wanted);
    }
    let every = (pages.len() / wanted).max(1);
    pages = pages.into_iter().step_by(every).take(wanted).collect();
    // As in a capture, each begins at a multiple of 4096 in memory.
    let mut memory = vec![0u8; pages.len() * size + 4096];
    let begin = memory.as_ptr().align_offset(4096);
    let memory = &mut memory[begin..][..pages.len() * size];
    memory.copy_from_slice(&pages.concat());
    let pages: Vec<&[u8]> = memory.chunks_exact(size).collect();
    let picks: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut rows = rows();
    rows.retain(|row| {
        picks.is_empty() || picks.iter().any(|pick| row.name.contains(pick.as_str()))
    });
    println!("{} pages of {size} bytes, medians of {ROUNDS} rounds", pages.len());
    encoders(&mut rows, &pages, size);
    decoders(&pages, size, &picks);
}

/// Medians of the seconds that each contender takes for all pages, in interleaved rounds.
fn medians(contenders: usize, mut run: impl FnMut(usize)) -> Vec<f64> {
    let mut times = vec![Vec::new(); contenders];
    for _ in 0..ROUNDS {
        for (i, times) in times.iter_mut().enumerate() {
            let begin = seconds();
            run(i);
            times.push(seconds() - begin);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    times.into_iter().map(median).collect()
}

fn encoders(rows: &mut [Row], pages: &[&[u8]], size: usize) {
    let total: usize = pages.len() * size;
    let mut out = vec![0; 2 * size + 1024];
    let mut sizes = vec![0; rows.len()];
    let medians = medians(rows.len(), |i| {
        sizes[i] = pages.iter().map(|page| (rows[i].run)(page, &mut out)).sum();
    });
    println!("| encoder | MB/s | speed | against | ratio | size | state KiB |");
    println!("|---|--:|--:|---|--:|--:|--:|");
    for (i, row) in rows.iter().enumerate() {
        let base = rows.iter().position(|other| other.name == row.against).unwrap_or(i);
        println!(
            "| {} | {:.0} | {:.2} x | {} | {:.3} | {:+.2} % | {:.1} |",
            row.name,
            total as f64 / medians[i] / 1e6,
            medians[base] / medians[i],
            row.against,
            total as f64 / sizes[i] as f64,
            (sizes[i] as f64 / sizes[base] as f64 - 1.0) * 100.0,
            row.state as f64 / 1024.0,
        );
    }
}

/// What the C libraries wrote, read by them and by the decoders here.
fn decoders(pages: &[&[u8]], size: usize, picks: &[String]) {
    println!("\n| decoder | MB/s | against | MB/s | speed |\n|---|--:|---|--:|--:|");
    let mut own = Decoders::new();
    let mut page = vec![0; size];
    for mut library in Reference::all() {
        let name = library.name();
        if !picks.is_empty() && !picks.iter().any(|pick| name.contains(pick.as_str())) {
            continue;
        }
        let mut out = vec![0; 2 * size + 1024];
        let shrunk = pages.iter().filter_map(|page| {
            let len = library.encode(page, &mut out);
            (len < size).then(|| out[..len].to_vec())
        });
        let shrunk: Vec<Vec<u8>> = shrunk.collect();
        let codec = library.codec();
        // Beside ours, what else there is for zlib streams: the pure Rust one that most programs
        // have, and the fastest, which takes whole buffers only.
        let mut others: Vec<Other> = Vec::new();
        if codec == Codec::Zlib {
            let (mut miniz, libdeflate) = (Box::new(DecompressorOxide::new()), Libdeflate::new());
            others.push(("miniz_oxide", Box::new(move |s, page| inflate(&mut miniz, s, page))));
            others.push(("libdeflate", Box::new(move |s, page| libdeflate.decode(s, page))));
        }
        let medians = medians(2 + others.len(), |i| {
            for stored in &shrunk {
                let good = match i.checked_sub(2) {
                    None if i == 0 => library.decode(stored, &mut page),
                    None => own.decode(codec, stored, &mut page).is_ok(),
                    Some(other) => (others[other].1)(stored, &mut page),
                };
                assert!(good, "{name}");
            }
        });
        let speed = |i: usize| (shrunk.len() * size) as f64 / medians[i] / 1e6;
        let names = std::iter::once(codec.name()).chain(others.iter().map(|(name, _)| *name));
        for (i, decoder) in names.enumerate() {
            println!(
                "| {decoder} | {:.0} | {name} | {:.0} | {:.2} x |",
                speed(1 + i),
                speed(0),
                speed(1 + i) / speed(0),
            );
        }
    }
}

/// Another decoder: its name, and whether it decodes a stream to exactly a page.
type Other = (&'static str, Box<dyn FnMut(&[u8], &mut [u8]) -> bool>);

fn inflate(state: &mut DecompressorOxide, stored: &[u8], page: &mut [u8]) -> bool {
    const FLAGS: u32 = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
        | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    state.init();
    let done = decompress(state, stored, page, 0, FLAGS);
    done == (TINFLStatus::Done, stored.len(), page.len())
}

struct Libdeflate(*mut libdeflate_sys::libdeflate_decompressor);

impl Libdeflate {
    fn new() -> Libdeflate {
        // SAFETY: takes nothing.
        let state = unsafe { libdeflate_sys::libdeflate_alloc_decompressor() };
        assert!(!state.is_null());
        Libdeflate(state)
    }

    fn decode(&self, stored: &[u8], page: &mut [u8]) -> bool {
        let none = std::ptr::null_mut();
        // SAFETY: the state is a decompressor's, the lengths are those of the slices.
        let code = unsafe {
            libdeflate_sys::libdeflate_zlib_decompress(
                self.0,
                stored.as_ptr().cast(),
                stored.len(),
                page.as_mut_ptr().cast(),
                page.len(),
                none,
            )
        };
        code == libdeflate_sys::libdeflate_result_LIBDEFLATE_SUCCESS
    }
}

impl Drop for Libdeflate {
    fn drop(&mut self) {
        // SAFETY: the state came from `libdeflate_alloc_decompressor`, and goes here only.
        unsafe { libdeflate_sys::libdeflate_free_decompressor(self.0) }
    }
}
