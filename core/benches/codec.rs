//! Speed and size of the page encoders beside the C libraries and miniz_oxide: the same pages, in
//! interleaved rounds, on one core.
//!
//! `TAMIS_VMCORES=FILE:FILE..` names vmcores (all pages with a bit set) or dumps written without
//! compression (the pages kept); a made-up corpus stands in. `TAMIS_PAGES` is how many pages are
//! taken (8192), evenly spread; `TAMIS_PAGE_SIZE` their size (4096). Words after `--` pick rows.

mod reference;

use miniz_oxide::deflate::core as miniz;
use reference::{Reference, files, generated, pages_of, seconds};
use tamis_core::codec::{Deflate, Encoder, Lz4, Lzo, Snappy, Stored, Zstd};

const ROUNDS: usize = 7;

/// Compresses a page into room for it; gives the length.
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
    mut encoder: impl Encoder + 'static,
) -> Row {
    let run = move |page: &[u8], out: &mut [u8]| match encoder.encode(page, out) {
        Stored::Compressed(len) => len,
        Stored::Raw => page.len(),
    };
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
    let pages: Vec<Vec<u8>> = pages.into_iter().step_by(every).take(wanted).collect();
    let total: usize = pages.len() * size;
    let picks: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut rows = rows();
    rows.retain(|row| {
        picks.is_empty() || picks.iter().any(|pick| row.name.contains(pick.as_str()))
    });
    let mut out = vec![0; 2 * size + 1024];
    let mut times = vec![Vec::new(); rows.len()];
    let mut sizes = vec![0; rows.len()];
    for _ in 0..ROUNDS {
        for (i, row) in rows.iter_mut().enumerate() {
            let begin = seconds();
            sizes[i] = pages.iter().map(|page| (row.run)(page, &mut out)).sum();
            times[i].push(seconds() - begin);
        }
    }
    let mut medians = Vec::new();
    for times in &mut times {
        times.sort_by(f64::total_cmp);
        medians.push(times[ROUNDS / 2]);
    }
    println!("{} pages of {size} bytes, medians of {ROUNDS} rounds", pages.len());
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
