//! The page codecs against the C libraries.

#[path = "../benches/reference/mod.rs"]
mod reference;

use reference::{Reference, files, generated, pages_of};
use tamis_core::codec::{Deflate, Encoder, Lz4, Lzo, Snappy, Stored, Zstd};

/// Encodes into a buffer of the bound, with bytes behind it that must stay.
fn encode(encoder: &mut dyn Encoder, page: &[u8]) -> Option<Vec<u8>> {
    let bound = encoder.bound(page.len());
    let mut out = vec![0xa5; bound + 64];
    let stored = encoder.encode(page, &mut out);
    assert!(out[bound..].iter().all(|byte| *byte == 0xa5), "wrote past the bound");
    match stored {
        Stored::Compressed(len) => {
            assert!(len < page.len());
            out.truncate(len);
            Some(out)
        }
        Stored::Raw => None,
    }
}

fn encoders() -> Vec<Box<dyn Encoder>> {
    vec![
        Box::new(Deflate::new()),
        Box::new(Deflate::fixed()),
        Box::new(Lz4::new()),
        Box::new(Lzo::new()),
        Box::new(Snappy::new()), Box::new(Zstd::new()),
    ]
}

struct Bench {
    encoders: Vec<Box<dyn Encoder>>,
    references: [Reference; 5],
    back: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        Bench { encoders: encoders(), references: Reference::all(), back: Vec::new() }
    }

    /// Every encoder on one page; the C library reads back what it wrote.
    fn check(&mut self, page: &[u8]) {
        self.back.resize(page.len(), 0);
        for encoder in &mut self.encoders {
            let flag = encoder.flag();
            let Some(stored) = encode(&mut **encoder, page) else { continue };
            let reference = self.references.iter_mut().find(|r| r.flag() == flag).unwrap();
            self.back.fill(0x5a);
            assert!(reference.decode(&stored, &mut self.back), "{} refuses", reference.name());
            assert!(self.back == page, "{} reads other bytes", reference.name());
        }
    }
}

#[test]
fn the_c_libraries_read_generated_pages_of_every_size() {
    let mut bench = Bench::new();
    for size in [4096, 16_384, 65_536] {
        for page in generated(size, 160) {
            bench.check(&page);
        }
        bench.check(&vec![0; size]);
        bench.check(&vec![0xff; size]);
    }
}

/// The VM runs name real vmcores; without them this looks at nothing.
#[test]
fn the_c_libraries_read_every_page_of_the_vmcores() {
    let mut bench = Bench::new();
    for name in files() {
        let file = std::fs::read(&name).unwrap();
        for size in [4096, 65_536] {
            pages_of(&file, size, &mut |page| bench.check(page));
        }
    }
}
