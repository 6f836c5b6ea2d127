//! Page codecs: what any bytes decode to, and that every page comes back.

use crate::input::{Input, Random};
use crate::{Reach, Target};
use page_codec::{
    Codec, Decode, DecodeError, Decoders, Deflate, Encode, Lz4, Lzo, Snappy, Zstd, is_zero,
};
use std::cell::RefCell;
use tamis_reference::Reference;

const SIZES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

thread_local! {
    static DECODERS: RefCell<Box<Decoders>> = RefCell::new(Box::new(Decoders::new()));
}

/// The target of a decoder.
const fn decoder(
    name: &'static str,
    about: &'static str,
    goals: &'static [&'static str],
    run: fn(&[u8], &mut Reach),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target { name, about, goals, run, seeds }
}

pub const ZLIB: Target = decoder(
    "zlib",
    "zlib streams: byte 0 chooses the page size, and whether the checksum is set right",
    &[
        "4 KiB",
        "16 KiB",
        "64 KiB",
        "stored",
        "fixed",
        "dynamic",
        "too long",
        "too short",
        "corrupt",
    ],
    |data, reach| decode(Codec::Zlib, data, reach),
    || decode_seeds(Codec::Zlib),
);

pub const LZO: Target = decoder(
    "lzo",
    "LZO1X streams: byte 0 chooses the page size",
    &["4 KiB", "16 KiB", "64 KiB", "too long", "too short", "corrupt"],
    |data, reach| decode(Codec::Lzo, data, reach),
    || decode_seeds(Codec::Lzo),
);

pub const SNAPPY: Target = decoder(
    "snappy",
    "snappy blocks: byte 0 chooses the page size",
    &["4 KiB", "16 KiB", "64 KiB", "too long", "too short", "corrupt"],
    |data, reach| decode(Codec::Snappy, data, reach),
    || decode_seeds(Codec::Snappy),
);

pub const ZSTD: Target = decoder(
    "zstd",
    "zstd frames: byte 0 chooses the page size",
    &["4 KiB", "16 KiB", "64 KiB", "too long", "too short", "corrupt", "checksum", "many blocks"],
    |data, reach| decode(Codec::Zstd, data, reach),
    || decode_seeds(Codec::Zstd),
);

pub const LZ4: Target = decoder(
    "lz4",
    "LZ4 blocks: byte 0 chooses the page size",
    &["4 KiB", "16 KiB", "64 KiB", "too long", "too short", "corrupt"],
    |data, reach| decode(Codec::Lz4, data, reach),
    || decode_seeds(Codec::Lz4),
);

pub const ROUNDTRIP: Target = Target {
    name: "roundtrip",
    about: "encode, then decode, a page that the bytes describe",
    goals: &["zlib", "lzo", "snappy", "zstd", "lz4", "raw", "4 KiB", "16 KiB", "64 KiB", "fixed"],
    run: roundtrip,
    seeds: roundtrip_seeds,
};

/// A decoder on any bytes: it says the same whatever was in the page, and so does the C library.
fn decode(codec: Codec, data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let choice = input.byte() as usize;
    let size = SIZES[choice % 3];
    let mut stored = input.rest().to_vec();
    if codec == Codec::Zlib && choice / 3 % 2 == 1 {
        mend(&mut stored, size);
    }
    // A byte of another value at each place: what was not written shows.
    let mut pages = [vec![0x55; size], vec![0xaa; size]];
    let results =
        pages.each_mut().map(|page| DECODERS.with_borrow_mut(|d| d.decode(codec, &stored, page)));
    assert_eq!(results[0], results[1], "what was in the page before matters");
    let theirs = reference(codec, &stored, size);
    match results[0] {
        Ok(()) => {
            assert_eq!(pages[0], pages[1], "a part of the page was not written");
            let theirs = theirs.expect("the reference decoder refuses this");
            assert!(pages[0] == theirs, "the reference decoder reads another page");
            if !is_zero(&pages[0]) && stored.len() > 16 {
                reach.at(["4 KiB", "16 KiB", "64 KiB"][choice % 3]);
                depth(codec, &stored, reach);
            }
        }
        Err(error) => {
            if theirs.is_some() {
                assert!(stricter(codec, &stored), "only we refuse this: {error}");
            }
            match error {
                DecodeError::TooLong => reach.at("too long"),
                DecodeError::TooShort => reach.at("too short"),
                _ => reach.at("corrupt"),
            }
        }
    }
}

/// Cuts a zlib stream off behind its last block and sets its checksum, so that what came out of the
/// blocks counts.
fn mend(stored: &mut Vec<u8>, size: usize) {
    let mut page = vec![0; size];
    let mut state = flate2::Decompress::new(false);
    let blocks = stored.get(2..).unwrap_or_default();
    let done = state.decompress(blocks, &mut page, flate2::FlushDecompress::Finish);
    if matches!(done, Ok(flate2::Status::StreamEnd)) && state.total_out() == size as u64 {
        stored.truncate(2 + state.total_in() as usize);
        let (mut low, mut high) = (1u32, 0u32);
        for byte in page {
            low = (low + u32::from(byte)) % 65_521;
            high = (high + low) % 65_521;
        }
        stored.extend((high << 16 | low).to_be_bytes());
    }
}

/// Kinds of streams that were read.
fn depth(codec: Codec, stored: &[u8], reach: &mut Reach) {
    match codec {
        Codec::Zlib => reach.at(["stored", "fixed", "dynamic"][usize::from(stored[2] >> 1 & 3)]),
        Codec::Zstd => {
            if stored[4] & 4 != 0 {
                reach.at("checksum");
            }
            let size = [0, 2, 4, 8][usize::from(stored[4] >> 6)];
            // The last-block bit of the first block; a size of 0 is one byte in a single segment.
            let header = if stored[4] & 0x20 != 0 { 5 + size.max(1) } else { 6 + size };
            if stored[4] & 3 == 0 && stored[header] & 1 == 0 {
                reach.at("many blocks");
            }
        }
        _ => {}
    }
}

/// Whether the C library is known to read streams such as this one, which we refuse.
fn stricter(codec: Codec, stored: &[u8]) -> bool {
    match codec {
        // The length in the mark of the end, or bits that say nothing there.
        Codec::Lzo => stored.strip_suffix(&[0x11, 0, 0]).is_none_or(|rest| {
            // These three bytes may also be the last of a length that is too long for its tag.
            let zeros = rest.iter().rev().take_while(|b| **b == 0).count();
            rest.get(..rest.len() - zeros).is_some_and(|rest| rest.ends_with(&[0x10]))
        }),
        Codec::Lz4 => lz4_copies_from_nowhere(stored),
        // The ends of four streams of literals are not looked at where there is a lot of them.
        Codec::Zstd => zstd_is_odd(stored),
        _ => false,
    }
}

/// Whether a match of an LZ4 block has a distance of 0.
fn lz4_copies_from_nowhere(stored: &[u8]) -> bool {
    let mut input = Input::new(stored);
    let length = |input: &mut Input<'_>, nibble: u8| {
        let mut len = usize::from(nibble);
        while nibble == 15 && !input.is_empty() {
            let byte = input.byte();
            len += usize::from(byte);
            if byte < 255 {
                break;
            }
        }
        len
    };
    while !input.is_empty() {
        let token = input.byte();
        let literals = length(&mut input, token >> 4);
        input.take(literals);
        if input.is_empty() {
            return false;
        }
        if input.u16() == 0 {
            return true;
        }
        length(&mut input, token & 15);
    }
    false
}

/// Whether there is more than a zstd frame, or a frame has literals in four streams, or a block without
/// compression that is larger than its window.
fn zstd_is_odd(stored: &[u8]) -> bool {
    let mut input = Input::new(stored);
    if input.u32() != 0xfd2f_b528 {
        return true;
    }
    let head = input.byte();
    let size = match (head >> 6, head & 0x20) {
        (0, _) => 1,
        (log, 0) => 1 + (1 << log),
        (log, _) => 1 << log,
    };
    let rest = input.take(size + (1 << (head & 3) >> 1));
    let window = match rest.first() {
        Some(&log) if head & 0x20 == 0 => (8 + u64::from(log & 7)) << (7 + (log >> 3)),
        _ => u64::MAX,
    };
    loop {
        let header = u32::from(input.u16()) | u32::from(input.byte()) << 16;
        let (kind, size) = (header >> 1 & 3, header as usize >> 3);
        if kind < 2 && size as u64 > window {
            return true;
        }
        let size = if kind == 1 { 1 } else { size };
        let block = input.take(size);
        let literals = block.first().copied().unwrap_or(0);
        if kind == 2 && literals & 2 != 0 && literals & 12 != 0 {
            return true;
        }
        if header & 1 != 0 {
            input.take(usize::from(head & 4));
            return !input.is_empty();
        }
        if input.is_empty() {
            return false;
        }
    }
}

thread_local! {
    static REFERENCES: RefCell<[Reference; 5]> = RefCell::new(Reference::all());
}

/// The page as the C library reads it.
fn reference(codec: Codec, stored: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut page = vec![0; size];
    REFERENCES.with_borrow_mut(|references| {
        let reference = references.iter_mut().find(|r| r.codec() == codec);
        reference.expect("a reference of each").decode(stored, &mut page).then_some(page)
    })
}

fn encoders() -> [Box<dyn Encode>; 7] {
    [
        Box::new(Deflate::new()),
        Box::new(Lzo::new()),
        Box::new(Snappy::new()),
        Box::new(Zstd::new()),
        Box::new(Lz4::new()),
        Box::new(Deflate::fixed()),
        Box::new(Zstd::lazy()),
    ]
}

thread_local! {
    static ENCODERS: RefCell<[Box<dyn Encode>; 7]> = RefCell::new(encoders());
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
    let (which, size) = (choice % 7, SIZES[choice / 7 % 3]);
    let page = page(&mut input, size);
    ENCODERS.with_borrow_mut(|encoders| {
        let encoder = &mut encoders[which];
        let codec = encoder.codec();
        let mut out = vec![0xee; encoder.bound(size) + 80];
        let room = out.len() - 16;
        let stored = encoder.encode(&page, &mut out[..room]);
        assert_eq!(out[room..], [0xee; 16]);
        let Some(len) = stored else {
            reach.at("raw");
            return;
        };
        assert!(len < size, "{len} bytes of a page of {size}");
        let mut back = vec![0x55; size];
        let read = DECODERS.with_borrow_mut(|d| d.decode(codec, &out[..len], &mut back));
        assert_eq!(read, Ok(()));
        assert!(page == back, "another page came back");
        let theirs = reference(codec, &out[..len], size).expect("C refuses the page");
        assert!(page == theirs, "the reference decoder reads another page");
        // The output depends on the page alone.
        let mut again = vec![0x11; out.len()];
        assert_eq!(encoder.encode(&page, &mut again[..room]), Some(len));
        assert!(out[..len] == again[..len], "the same page became other bytes");
        reach.at(if which == 5 { "fixed" } else { codec.name() });
        reach.at(["4 KiB", "16 KiB", "64 KiB"][choice / 7 % 3]);
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
    for choice in 0..21 {
        let body = bodies[choice % 4];
        seeds.push([&[choice as u8][..], body].concat());
        seeds.push([&[choice as u8][..], bodies[2]].concat());
    }
    seeds
}

/// What we and the C library, at its levels, make of a few pages; byte 0 says the size.
fn decode_seeds(codec: Codec) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut references = Reference::all();
    let reference = references.iter_mut().find(|r| r.codec() == codec).expect("of each");
    for (nr, seed) in roundtrip_seeds().iter().enumerate().step_by(3) {
        let mut input = Input::new(seed);
        input.byte();
        let size = nr / 3 % 3;
        let page = page(&mut input, SIZES[size]);
        let mut out = vec![0; 2 * page.len() + 1024];
        for encoder in encoders().iter_mut().filter(|encoder| encoder.codec() == codec) {
            if let Some(len) = encoder.encode(&page, &mut out) {
                seeds.push((size, out[..len].to_vec()));
            }
        }
        let levels = if codec == Codec::Zlib { &[0, 1, 9] } else { reference.levels() };
        for level in levels {
            reference.set_level(*level);
            let len = reference.encode(&page, &mut out);
            if len <= 8 << 10 {
                seeds.push((size, out[..len].to_vec()));
            }
        }
        if codec == Codec::Zstd {
            // Blocks of 1 KiB, which may use the tables of those before them; a checksum, no size.
            let mut encoder = zstd_safe::CCtx::create();
            for parameter in [
                zstd_safe::CParameter::WindowLog(10),
                zstd_safe::CParameter::ChecksumFlag(true),
                zstd_safe::CParameter::ContentSizeFlag(false),
            ] {
                encoder.set_parameter(parameter).expect("a parameter of zstd");
            }
            let len = encoder.compress2(&mut out[..], &page).expect("a frame");
            seeds.push((size, out[..len].to_vec()));
        }
    }
    seeds.sort();
    seeds.dedup();
    // Too short, too long, and nothing.
    let others =
        [seeds.first(), seeds.last()].map(Option::unwrap).map(|(_, stored)| stored.clone());
    seeds.extend([2, 0].into_iter().zip(others));
    seeds.push((0, Vec::new()));
    // The checksum is that of what was read, or the stream's own.
    let heads = if codec == Codec::Zlib { 2 } else { 1 };
    let with = |head: usize| {
        move |(size, stored): &(usize, Vec<u8>)| [&[(size + 3 * head) as u8][..], stored].concat()
    };
    (0..heads).flat_map(|head| seeds.iter().map(with(head)).collect::<Vec<_>>()).collect()
}
