//! The page codecs against the C libraries, in both directions, and against damaged input.
//!
//! `TAMIS_VMCORES=FILE:FILE..` names real vmcores, whose pages are then all tried. `TAMIS_ROUNDS` is
//! how often each stream is damaged.

use page_codec::{
    Codec, Decode, DecodeError, Decoders, Deflate, Effort, Encode, Lz4, Lzo, Snappy, Zstd,
};
use proptest::prelude::*;
use tamis_reference::{Random, Reference, files, generated, pages_of};

/// Encodes into a buffer of the bound, with bytes behind it that must stay.
fn encode(encoder: &mut dyn Encode, page: &[u8]) -> Option<Vec<u8>> {
    let bound = encoder.bound(page.len());
    let mut out = vec![0xa5; bound + 64];
    // More room than the bound must not change what comes out.
    let stored = encoder.encode(page, &mut out);
    assert!(out[bound..].iter().all(|byte| *byte == 0xa5), "wrote past the bound");
    let len = stored?;
    assert!(len < page.len());
    let mut exact = vec![0x5a; bound];
    assert_eq!(encoder.encode(page, &mut exact), stored, "depends on the room");
    assert_eq!(exact[..len], out[..len], "depends on the page before");
    out.truncate(len);
    Some(out)
}

fn encoders() -> Vec<Box<dyn Encode>> {
    vec![
        Box::new(Deflate::new()),
        Box::new(Deflate::fixed()),
        Box::new(Lzo::new()),
        Box::new(Snappy::new()),
        Box::new(Zstd::new()),
        Box::new(Zstd::lazy()),
        Box::new(Lz4::new()),
    ]
}

struct Rig {
    encoders: Vec<Box<dyn Encode>>,
    references: [Reference; 5],
    decoders: Decoders,
}

impl Rig {
    fn new() -> Rig {
        Rig { encoders: encoders(), references: Reference::all(), decoders: Decoders::new() }
    }

    fn reference(&mut self, codec: Codec) -> &mut Reference {
        self.references.iter_mut().find(|reference| reference.codec() == codec).unwrap()
    }

    /// What the encoders and the C libraries make of a page, by codec.
    fn stored(&mut self, page: &[u8]) -> Vec<(Codec, Vec<u8>)> {
        let ours = self.encoders.iter_mut().filter_map(|encoder| {
            let stored = encode(&mut **encoder, page)?;
            Some((encoder.codec(), stored))
        });
        let mut all: Vec<_> = ours.collect();
        for reference in &mut self.references {
            let mut out = vec![0; page.len() * 2 + 1024];
            let len = reference.encode(page, &mut out);
            out.truncate(len);
            all.push((reference.codec(), out));
        }
        all
    }

    /// Both sides read what either side wrote.
    fn check(&mut self, page: &[u8]) {
        let mut back = vec![0; page.len()];
        for (codec, stored) in self.stored(page) {
            back.fill(0x5a);
            assert!(self.reference(codec).decode(&stored, &mut back), "{codec}: C refuses");
            assert!(back == page, "{codec}: C reads other bytes");
            back.fill(0x5a);
            assert_eq!(self.decoders.decode(codec, &stored, &mut back), Ok(()), "{codec}");
            assert!(back == page, "{codec}: other bytes");
        }
    }

    /// Damaged input: any answer will do, but where the decoder takes it, so does the C library,
    /// and reads the same.
    fn poke(&mut self, codec: Codec, stored: &[u8], size: usize) -> bool {
        let (mut ours, mut theirs) = (vec![0; size], vec![0; size]);
        let good = self.decoders.decode(codec, stored, &mut ours).is_ok();
        if good {
            let both = self.reference(codec).decode(stored, &mut theirs);
            assert!(both, "{codec}: only C refuses {stored:02x?}");
            assert!(ours == theirs, "{codec}: C reads other bytes");
        }
        good
    }
}

#[test]
fn generated_pages_of_every_size_read_back() {
    let mut rig = Rig::new();
    for size in [4096, 16_384, 65_536] {
        for page in generated(size, 160) {
            rig.check(&page);
        }
        rig.check(&vec![0; size]);
        rig.check(&vec![0xff; size]);
    }
}

#[test]
fn every_byte_of_a_run_may_be_the_odd_one() {
    let mut rig = Rig::new();
    let mut page = vec![7; 4096];
    for at in (0..64).chain((64..4032).step_by(61)).chain(4032..4096) {
        page[at] = 8;
        rig.check(&page);
        page[at] = 7;
    }
}

#[test]
fn distances_at_the_edges_of_the_formats_read_back() {
    let mut rig = Rig::new();
    let mut random = Random(77);
    let mut page: Vec<u8> = (0..65_536).map(|_| random.number() as u8 & 1).collect();
    let edges = [
        2047, 2048, 2049, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769, 49_150, 49_151, 49_152,
        65_480,
    ];
    for distance in edges {
        for len in [4, 8, 9, 33, 34, 64, 65, 66, 67, 68, 258, 259, 260, 261, 262, 264] {
            let mut page = page.clone();
            // A string that is nowhere else, twice.
            let end = 65_536 - 20 - (len * 7) % 13;
            let Some(from) = usize::checked_sub(end - len, distance) else { continue };
            let mark: Vec<u8> = (0..len).map(|_| random.number() as u8).collect();
            page[from..from + len].copy_from_slice(&mark);
            page[end - len..end].copy_from_slice(&mark);
            rig.check(&page);
        }
    }
    // Two values in random order: many literals, many short matches.
    page.truncate(4096);
    rig.check(&page);
}

#[test]
fn states_are_as_small_as_the_budget_counts_on() {
    assert_eq!([Lzo::STATE, Snappy::STATE, Lz4::STATE], [8 << 10; 3]);
    // With the 8 KiB of stack that they take, 32 KiB at most.
    for state in [Deflate::STATE, Zstd::STATE, Decoders::STATE] {
        assert!(state <= 24 << 10, "{state}");
    }
}

#[test]
fn an_encoder_is_of_its_codec_and_as_large_as_announced() {
    for codec in Codec::ALL {
        for effort in [Effort::Low, Effort::Normal, Effort::High] {
            let encoder = codec.encoder(effort);
            assert_eq!(encoder.codec(), *codec);
            assert_eq!(size_of_val(&*encoder), codec.encoder_state(effort), "{codec} {effort:?}");
            assert_eq!(encoder.bound(4096), codec.bound(4096));
        }
    }
    // The efforts that make a difference are those that the command lines offer.
    let page = &generated(4096, 7)[1];
    let len =
        |codec: Codec, effort| encode(&mut *codec.encoder(effort), page).map(|stored| stored.len());
    assert_eq!(
        len(Codec::Zlib, Effort::Normal),
        encode(&mut Deflate::new(), page).map(|s| s.len())
    );
    assert_eq!(len(Codec::Zlib, Effort::Low), encode(&mut Deflate::fixed(), page).map(|s| s.len()));
    assert_eq!(len(Codec::Zstd, Effort::Normal), encode(&mut Zstd::new(), page).map(|s| s.len()));
    assert_eq!(len(Codec::Zstd, Effort::High), encode(&mut Zstd::lazy(), page).map(|s| s.len()));
    assert_ne!(len(Codec::Zlib, Effort::Normal), len(Codec::Zlib, Effort::Low));
    assert_ne!(len(Codec::Zstd, Effort::Normal), len(Codec::Zstd, Effort::High));
}

#[test]
fn noise_is_kept_raw() {
    let mut random = Random(5);
    for size in [4096, 16_384, 65_536] {
        for mut encoder in encoders() {
            let page: Vec<u8> = (0..size).map(|_| random.number() as u8).collect();
            assert_eq!(encode(&mut *encoder, &page), None);
        }
    }
}

#[test]
fn other_sizes_are_no_danger() {
    let mut rig = Rig::new();
    for size in (0..300).chain([4095, 4097, 65_535]) {
        let page: Vec<u8> = (0..size).map(|i| (i / 3 % 7) as u8).collect();
        for encoder in &mut rig.encoders {
            if let Some(stored) = encode(&mut **encoder, &page) {
                let mut back = vec![0; size];
                assert_eq!(rig.decoders.decode(encoder.codec(), &stored, &mut back), Ok(()));
                assert_eq!(back, page);
            }
        }
    }
    for encoder in &mut rig.encoders {
        let page = vec![0; 65_537];
        assert_eq!(encoder.encode(&page, &mut vec![0; 70_000]), None);
        // Too little room is no reason to write elsewhere.
        for room in 0..80 {
            let _ = encoder.encode(&[1; 4096], &mut vec![0; room]);
        }
    }
}

#[test]
fn streams_of_every_level_of_the_c_libraries_are_read() {
    let mut rig = Rig::new();
    for size in [4096, 65_536] {
        for page in generated(size, 48) {
            for i in 0..rig.references.len() {
                for level in rig.references[i].levels() {
                    let reference = &mut rig.references[i];
                    reference.set_level(*level);
                    let mut out = vec![0; size * 2 + 1024];
                    let len = reference.encode(&page, &mut out);
                    let mut back = vec![0; size];
                    let codec = reference.codec();
                    assert_eq!(rig.decoders.decode(codec, &out[..len], &mut back), Ok(()));
                    assert!(back == page, "{codec} level {level}");
                }
            }
        }
    }
}

#[test]
fn checksums_of_zstd_frames_are_looked_at() {
    let mut rig = Rig::new();
    let mut encoder = zstd_safe::CCtx::create();
    encoder.set_parameter(zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
    // Every number of bytes that the hash has left over.
    for size in (0..70).chain(4096 - 32..=4096) {
        let page = &generated(4096, 1)[0][..size];
        let mut frame = vec![0; 2 * size + 64];
        let len = encoder.compress2(&mut frame[..], page).unwrap();
        frame.truncate(len);
        let mut back = vec![0; size];
        assert_eq!(rig.decoders.decode(Codec::Zstd, &frame, &mut back), Ok(()));
        assert_eq!(back, page);
        for at in frame.len() - 4..frame.len() {
            frame[at] ^= 1;
            let refused = Err(DecodeError::Corrupt);
            assert_eq!(rig.decoders.decode(Codec::Zstd, &frame, &mut back), refused);
            frame[at] ^= 1;
        }
    }
}

#[test]
fn a_page_of_another_size_is_refused() {
    let mut rig = Rig::new();
    for page in generated(4096, 16) {
        for (codec, stored) in rig.stored(&page) {
            for (size, error) in [(4095, DecodeError::TooLong), (4097, DecodeError::TooShort)] {
                let found = rig.decoders.decode(codec, &stored, &mut vec![0; size]).unwrap_err();
                // What is odd is seen first in some formats.
                assert!(found == error || found == DecodeError::Corrupt, "{codec}: {found}");
            }
        }
    }
}

#[test]
fn cut_and_damaged_streams_are_harmless() {
    let mut rig = Rig::new();
    let mut random = Random(11);
    let rounds = std::env::var("TAMIS_ROUNDS").map(|rounds| rounds.parse().unwrap());
    let rounds = rounds.unwrap_or(if cfg!(debug_assertions) { 20 } else { 400 });
    let mut taken = 0;
    for page in generated(4096, 24) {
        for (codec, stored) in rig.stored(&page) {
            for cut in (0..stored.len()).step_by(1 + stored.len() / 64) {
                rig.poke(codec, &stored[..cut], 4096);
            }
            for _ in 0..rounds {
                let mut stored = stored.clone();
                for _ in 0..1 + random.below(3) {
                    // Headers are short: half of the damage goes there.
                    let end =
                        if random.below(2) == 0 { 32.min(stored.len()) } else { stored.len() };
                    let at = random.below(end as u64) as usize;
                    stored[at] = match random.below(3) {
                        0 => stored[at] ^ 1 << random.below(8),
                        1 => random.number() as u8,
                        _ => [0, 0xff, 0x80][random.below(3) as usize],
                    };
                }
                taken += usize::from(rig.poke(codec, &stored, 4096));
            }
        }
    }
    assert!(taken > 0, "no damage was ever survived: was there any decoding?");
}

fn a_codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL)
}

proptest! {
    #[test]
    fn random_input_is_harmless(codec in a_codec(), mut stored in prop::collection::vec(any::<u8>(), 0..600), size in 0usize..9000, head: bool) {
        if head {
            // As far as a header, so that what is behind it is reached.
            let start: &[u8] = match codec {
                Codec::Zlib => &[0x78, 0x01],
                Codec::Zstd => &[0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0x0f],
                Codec::Snappy => &[0x80, 0x20],
                _ => &[],
            };
            stored.splice(0..0, start.iter().copied());
        }
        Rig::new().poke(codec, &stored, if head { 4096 } else { size });
    }

    #[test]
    fn pages_made_of_pieces_read_back(
        pieces in prop::collection::vec((any::<u8>(), 0usize..400, 1usize..5000, 0u8..4), 1..80),
        size in prop::sample::select(vec![4096usize, 16_384, 65_536]),
    ) {
        let mut page = Vec::new();
        let mut random = Random(1);
        for (byte, len, distance, kind) in pieces.into_iter().cycle() {
            match kind {
                0 => page.extend(std::iter::repeat_n(byte, len)),
                1 => page.extend((0..len).map(|_| random.number() as u8)),
                2 => page.extend((0..len).map(|_| (random.number() & random.number()) as u8 & byte)),
                _ => for _ in 0..len {
                    page.push(page.len().checked_sub(distance).map_or(byte, |at| page[at]));
                },
            }
            page.push(byte);
            if page.len() >= size {
                break;
            }
        }
        page.truncate(size);
        Rig::new().check(&page);
    }
}

/// The VM runs name real vmcores; without them this looks at nothing.
#[test]
fn every_page_of_the_vmcores_reads_back() {
    let mut rig = Rig::new();
    for name in files() {
        let file = std::fs::read(&name).unwrap();
        for size in [4096, 65_536] {
            pages_of(&file, size, &mut |page| rig.check(page));
        }
    }
}
