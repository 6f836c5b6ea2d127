//! What each codec makes of the pages of a file: `ratio FILE`.

use page_codec::{Codec, Deflate, Encode, Lz4, Lzo, Snappy, Zstd};
use std::error::Error;

const PAGE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::fs::read(std::env::args().nth(1).ok_or("usage: ratio FILE")?)?;
    let (pages, _) = file.as_chunks::<PAGE>();
    let mut encoders: [Box<dyn Encode>; 5] = [
        Box::new(Deflate::new()),
        Box::new(Lzo::new()),
        Box::new(Snappy::new()),
        Box::new(Zstd::new()),
        Box::new(Lz4::new()),
    ];
    println!("{} pages of {PAGE} bytes", pages.len());
    for encoder in &mut encoders {
        let mut out = vec![0; encoder.bound(PAGE)];
        let sizes = pages.iter().map(|page| encoder.encode(page, &mut out).unwrap_or(PAGE));
        let bytes: usize = sizes.sum();
        println!("{:<8}{bytes:>12} bytes", encoder.codec().name());
    }
    assert_eq!(encoders.len(), Codec::ALL.len());
    Ok(())
}
