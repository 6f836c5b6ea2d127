//! Page codecs: what any bytes decode to, and that every page comes back.

use crate::input::{Input, Random};
use crate::{Reach, Target};
use std::cell::RefCell;
use tamis_core::codec::{
    Decoders, Deflate, Encoder, Lz4, Lzo, SLACK, Snappy, Stored, Zstd, flag, is_zero,
};

const FLAGS: [u32; 5] = [flag::ZLIB, flag::LZO, flag::SNAPPY, flag::ZSTD, flag::LZ4];
const GOALS: [&str; 5] = ["zlib", "lzo", "snappy", "zstd", "lz4"];
const SIZES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

thread_local! {
    static DECODERS: RefCell<Box<Decoders>> = RefCell::new(Box::new(Decoders::new()));
}

pub const DECODE: Target = Target {
    name: "decode",
    about: "the five decoders: byte 0 chooses codec and page size, the rest is a stored page",
    goals: &GOALS,
    run: decode,
    seeds: decode_seeds,
};

pub const ROUNDTRIP: Target = Target {
    name: "roundtrip",
    about: "encode, then decode, a page that the bytes describe",
    goals: &["zlib", "lzo", "snappy", "zstd", "lz4", "raw", "4 KiB", "16 KiB", "64 KiB", "fixed"],
    run: roundtrip,
    seeds: roundtrip_seeds,
};

fn decode(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let choice = input.byte() as usize;
    let (codec, size) = (choice % 5, SIZES[choice / 5 % 3]);
    let stored = input.rest();
    // A byte of another value at each place: what was not written shows.
    let mut pages = [vec![0x55; size], vec![0xaa; size]];
    let results = pages
        .each_mut()
        .map(|page| DECODERS.with_borrow_mut(|d| d.decode(FLAGS[codec], stored, page)));
    assert_eq!(results[0], results[1], "what was in the page before matters");
    if results[0].is_ok() {
        assert_eq!(pages[0], pages[1], "a part of the page was not written");
        if let Some(theirs) = reference(codec, stored, size) {
            assert_eq!(pages[0], theirs, "the reference decoder reads something else");
        }
        if !is_zero(&pages[0]) && stored.len() > 16 {
            reach.at(GOALS[codec]);
        }
    }
}

/// The page as the C library of zlib reads it. It may refuse what we accept, never read it
/// otherwise.
fn reference(codec: usize, stored: &[u8], size: usize) -> Option<Vec<u8>> {
    if FLAGS[codec] != flag::ZLIB {
        return None;
    }
    let mut page = vec![0; size];
    let mut state = flate2::Decompress::new(true);
    let done = state.decompress(stored, &mut page, flate2::FlushDecompress::Finish).ok()?;
    (done == flate2::Status::StreamEnd && state.total_out() == size as u64).then_some(page)
}

fn encoders() -> [(usize, Box<dyn Encoder>); 6] {
    [
        (0, Box::new(Deflate::new())),
        (1, Box::new(Lzo::new())),
        (2, Box::new(Snappy::new())),
        (3, Box::new(Zstd::new())),
        (4, Box::new(Lz4::new())),
        (0, Box::new(Deflate::fixed())),
    ]
}

thread_local! {
    static ENCODERS: RefCell<[(usize, Box<dyn Encoder>); 6]> = RefCell::new(encoders());
}

/// Pages as programs make them: stretches of bytes, of one byte, of what came before, of noise.
fn page(input: &mut Input<'_>, size: usize) -> Vec<u8> {
    let mut page = Vec::with_capacity(size + 0x1_0000);
    while page.len() < size {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0..=2 => {
                let len = 1 + input.below(64) as usize;
                page.extend(input.take(len));
            }
            3 => {
                let (byte, len) = (input.byte(), 1 + input.u16() as usize);
                page.resize(page.len() + len, byte);
            }
            4 | 5 if !page.is_empty() => {
                let distance = 1 + input.u16() as usize % page.len();
                let most = if input.byte().is_multiple_of(4) { 0x1_0000 } else { 0x60 };
                let len = 1 + input.below(most);
                for _ in 0..len {
                    page.push(page[page.len() - distance]);
                }
            }
            6 => {
                let (seed, len) = (input.u16(), 1 + input.below(0x400) as usize);
                page.extend(Random(seed.into()).bytes(len));
            }
            _ => {
                // A few symbols, as in text or tables.
                let (seed, symbols) = (input.u16(), 2 + input.byte() % 30);
                let mut random = Random(seed.into());
                let len = 1 + input.below(0x400);
                page.extend((0..len).map(|_| b'a' + (random.number() % u64::from(symbols)) as u8));
            }
        }
    }
    page.resize(size, 0);
    page
}

fn roundtrip(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let choice = input.byte() as usize;
    let (which, size) = (choice % 6, SIZES[choice / 6 % 3]);
    let page = page(&mut input, size);
    ENCODERS.with_borrow_mut(|encoders| {
        let (codec, encoder) = &mut encoders[which];
        let mut out = vec![0xee; encoder.bound(size).max(size) + SLACK + 16];
        let room = out.len() - 16;
        let stored = encoder.encode(&page, &mut out[..room]);
        assert_eq!(out[room..], [0xee; 16]);
        let Stored::Compressed(len) = stored else {
            reach.at("raw");
            return;
        };
        assert!(len < size, "{len} bytes of a page of {size}");
        let mut back = vec![0x55; size];
        let read = DECODERS.with_borrow_mut(|d| d.decode(FLAGS[*codec], &out[..len], &mut back));
        assert_eq!(read, Ok(()));
        assert!(page == back, "another page came back");
        if let Some(theirs) = reference(*codec, &out[..len], size) {
            assert!(page == theirs, "the reference decoder reads another page");
        } else {
            assert_ne!(*codec, 0, "the reference decoder refuses the page");
        }
        // The output depends on the page alone.
        let mut again = vec![0x11; out.len()];
        assert_eq!(encoder.encode(&page, &mut again[..room]), Stored::Compressed(len));
        assert!(out[..len] == again[..len], "the same page became other bytes");
        reach.at(if which == 5 { "fixed" } else { GOALS[*codec] });
        reach.at(["4 KiB", "16 KiB", "64 KiB"][choice / 6 % 3]);
    });
}

fn roundtrip_seeds() -> Vec<Vec<u8>> {
    let bodies: [&[u8]; 4] = [
        b"\x00\x1fsome text that comes more than o\x04\x05\x00\x01\x40\x04\x05\x00\x00\x00\x08\x03z\x00\x04",
        b"\x07\x01\x00\x10\xff\x03\x07\x02\x00\x04\xff\x03\x04\x00\x02\x01\x50\x06\x09\x09\x80\x00",
        b"\x06\x01\x00\xff\x03\x06\x02\x00\xff\x03\x06\x03\x00\xff\x03\x06\x04\x00\xff\x03",
        b"\x03\x00\xff\xff\x00\x05abcdef\x05\x01\x00\x00\xff\xff",
    ];
    let mut seeds = Vec::new();
    for choice in 0..18 {
        let body = bodies[choice % 4];
        seeds.push([&[choice as u8][..], body].concat());
        seeds.push([&[choice as u8][..], bodies[2]].concat());
    }
    seeds
}

fn decode_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (nr, seed) in roundtrip_seeds().iter().enumerate() {
        let mut input = Input::new(seed);
        let choice = input.byte() as usize;
        let (which, size) = (choice % 6, choice / 6 % 3);
        // Pages of 64 KiB make large seeds: one of each codec is enough.
        if size == 2 && nr % 2 == 1 {
            continue;
        }
        let page = page(&mut input, SIZES[size]);
        let (codec, encoder) = &mut encoders()[which];
        let mut out = vec![0; page.len() + SLACK];
        if let Stored::Compressed(len) = encoder.encode(&page, &mut out) {
            let head = [(*codec + 5 * size) as u8];
            seeds.push([&head[..], &out[..len]].concat());
        }
    }
    seeds
}
