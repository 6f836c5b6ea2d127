//! Files: ELF vmcores, kdump-compressed dumps of every form, streams, split sets.

use crate::input::Input;
use crate::{Reach, Target};
use page_codec::{Decode, Decoders, Effort};
use tamis_core::bitmap::Bitmap;
use tamis_core::input::elf::{self, ElfVmcore, Place};
use tamis_core::input::flat::{Extent, Flat, Scan, Step};
use tamis_core::input::kdump::{self, Codec, Kdump, PageFault, Part, Storage, Unpack};
use tamis_core::input::{Form as Begins, MaybeFlattened, form};
use tamis_core::io::RandomAccess;
use tamis_core::memory::{Dump as _, MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::units::{PageShift, Pfn, PfnSpan, PhysAddr};
use tamis_core::wire::page_desc::CodecFlags;
use tamis_tests::make::{self, Form, Make, Page, USUAL};

/// Pages that are looked at in one dump.
const PAGES_MOST: usize = 600;

struct Unpacker(Box<Decoders>);

impl Unpack for Unpacker {
    fn unpack(&mut self, codec: Codec, stored: &[u8], page: &mut [u8]) -> Result<(), &'static str> {
        self.0.decode(codec, stored, page).map_err(|_| "damaged")
    }
}

fn unpacker() -> Unpacker {
    Unpacker(Box::new(Decoders::new()))
}

pub const ELF: Target = Target {
    name: "elf",
    about: "an ELF vmcore: headers, memory ranges, reads of their edges",
    goals: &["ELF64", "ELF32", "big-endian", "loaded", "read", "lent", "extended count", "overlap"],
    run: elf,
    seeds: elf_seeds,
};

fn elf(data: &[u8], reach: &mut Reach) {
    let mut file = data;
    let Ok(facts) = elf::probe(&mut file) else { return };
    reach.at(if facts.class().bytes() == 8 { "ELF64" } else { "ELF32" });
    if facts.machine.endian == tamis_core::endian::Endian::Big {
        reach.at("big-endian");
    }
    // Each has its header in the file, one after the other.
    assert!(facts.segments <= data.len() / 32 + 1, "more ranges than headers");
    let mut segments = vec![MemoryRange::default(); facts.segments];
    let mut places = vec![Place::default(); facts.segments];
    let shift = PageShift::FOUR_KIB;
    ElfVmcore::load(data, facts, shift, &mut segments[..], &mut places[..])
        .expect("the file is the same");
    reach.at("loaded");
    if data.get(56..58) == Some(&[0xff, 0xff]) || data.get(56..58) == Some(&[0, 0, 0xff, 0xff][2..])
    {
        reach.at("extended count");
    }
    let mut last_end = 0;
    for shift in [12, 16] {
        let shift = PageShift::of_size(1 << shift).expect("a page size");
        let (table, order) = (segments.clone(), places.clone());
        let mut vmcore =
            ElfVmcore::load(data, facts, shift, table, order).expect("the file is the same");
        for s in segments.iter().take(40) {
            assert!(s.stored_len <= s.len);
            assert!(s.phys.0.checked_add(s.len).is_some());
            if s.phys.0 < last_end {
                reach.at("overlap");
            }
            last_end = s.end();
            let (start, end) = (s.phys.0, s.stored_end());
            for at in
                [start, start.wrapping_sub(3), end.wrapping_sub(5), end, start + s.stored_len / 2]
            {
                let mut buf = [0x5a; 600];
                let read = vmcore.read(PhysAddr(at), &mut buf);
                if read.is_ok() {
                    reach.at("read");
                }
                for len in [1, 8, 600] {
                    let Some(lent) = vmcore.window(PhysAddr(at), len).map(<[u8]>::to_vec) else {
                        continue;
                    };
                    reach.at("lent");
                    let mut buf = vec![0; len];
                    vmcore.read(PhysAddr(at), &mut buf).expect("what is lent can be read");
                    assert_eq!(lent, buf);
                }
                let next = vmcore.next_memory(PhysAddr(at));
                assert!(next.is_none_or(|next| next.0 >= at));
                let mut met = 0;
                let until = PhysAddr(at.saturating_add(0x3000));
                vmcore.ranges_in(PhysAddr(at), until, &mut |s| {
                    assert!(s.phys < until && s.end() > at);
                    met += 1;
                });
                assert!(met <= segments.len());
            }
        }
    }
    let shift = PageShift::FOUR_KIB;
    let mut vmcore = ElfVmcore::load(data, facts, shift, &mut segments[..], &mut places[..])
        .expect("the file is the same");
    let mut notes = vec![0; vmcore.notes().len.min(data.len() as u64) as usize];
    let _ = vmcore.read_notes(0, &mut notes);
    if let Some((at, len)) = facts.vmcoreinfo {
        assert!(at + len <= vmcore.notes().len, "the text is longer than its note");
    }
}

/// An ELF core file: word size, byte order, ranges (physical, bytes in file, in memory), notes.
fn core_file(
    wide: bool,
    big: bool,
    ranges: &[(u64, u64, u64)],
    notes: &[u8],
    xnum: bool,
) -> Vec<u8> {
    let int = |value: u64, len: usize| {
        if big {
            value.to_be_bytes()[8 - len..].to_vec()
        } else {
            value.to_le_bytes()[..len].to_vec()
        }
    };
    let word = if wide { 8 } else { 4 };
    let (ehsize, phsize) = if wide { (64, 56) } else { (52, 32) };
    let count = ranges.len() as u64 + 1;
    let mut out = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1 + u8::from(big), 1];
    out.resize(16, 0);
    out.extend(int(4, 2));
    out.extend(int(if wide { 62 } else { 3 }, 2));
    out.extend(int(1, 4));
    out.extend(int(0, word));
    out.extend(int(ehsize, word));
    out.extend(int(if xnum { ehsize + phsize * count } else { 0 }, word));
    out.extend(int(0, 4));
    out.extend(int(ehsize, 2));
    out.extend(int(phsize, 2));
    out.extend(int(if xnum { 0xffff } else { count }, 2));
    out.resize(ehsize as usize, 0);
    let mut at = ehsize + phsize * count + 64;
    let mut data: Vec<u8> = Vec::new();
    let mut header = |kind: u64, phys: u64, bytes: &[u8], mem: u64, out: &mut Vec<u8>| {
        let fields = [at, phys, phys, bytes.len() as u64, mem];
        out.extend(int(kind, 4));
        if wide {
            out.extend(int(7, 4));
        }
        fields.iter().for_each(|f| out.extend(int(*f, word)));
        if !wide {
            out.extend(int(7, 4));
        }
        out.extend(int(0, word));
        at += bytes.len() as u64;
        data.extend(bytes);
    };
    header(4, 0, notes, notes.len() as u64, &mut out);
    for (n, (phys, file, mem)) in ranges.iter().enumerate() {
        header(1, *phys, &vec![n as u8 + 1; *file as usize], *mem, &mut out);
    }
    let mut section = vec![0; 44];
    section.extend(int(count, 4));
    section.resize(64, 0);
    out.extend(section);
    out.extend(data);
    out
}

/// One note.
fn note(big: bool, name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let int = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut out = Vec::new();
    for n in [name.len() as u32, desc.len() as u32, kind] {
        out.extend(int(n));
    }
    for part in [name, desc] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn some_notes(big: bool) -> Vec<u8> {
    [
        note(big, b"LINUX\0\0\0", 0x700, &[5; 20]),
        note(big, b"CORE\0", 1, &[1; 40]),
        note(big, b"VMCOREINFO\0", 0, b"OSRELEASE=6.1.0\nPAGESIZE=4096\n"),
    ]
    .concat()
}

fn elf_seeds() -> Vec<Vec<u8>> {
    let plain = [(0x1000, 0x1800, 0x2000), (0x10_0000, 0x40, 0x1000)];
    let odd = [(0x1100, 0x900, 0x900), (0x1600, 0x1000, 0x1000), (0x8000, 0, 0x1000)];
    vec![
        core_file(true, false, &plain, &some_notes(false), false),
        core_file(true, true, &odd, &some_notes(true), false),
        core_file(false, false, &odd, &some_notes(false), false),
        core_file(false, true, &plain, &some_notes(true), false),
        core_file(true, false, &odd, &[], true),
    ]
}

pub const NOTES: Target = Target {
    name: "notes",
    about: "notes, once in an ELF vmcore and once in a kdump dump; byte 0 is the byte order",
    goals: &["VMCOREINFO", "CPUs", "damaged", "both agree"],
    run: notes,
    seeds: || {
        let with = |big: bool, bytes: &[u8]| [&[u8::from(big)][..], bytes].concat();
        let good = some_notes(false);
        vec![
            with(false, &good),
            with(true, &some_notes(true)),
            with(false, &good[..good.len() - 9]),
        ]
    },
};

fn notes(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let big = input.byte() & 1 != 0;
    let bytes = input.rest();
    let elf = core_file(true, big, &[(0, 1, 1)], bytes, false);
    let first = elf::probe(&mut &elf[..]).expect("headers of our own");
    if first.cpus > 0 {
        reach.at("CPUs");
    }
    if first.notes_damaged {
        reach.at("damaged");
    }
    if let Some((at, len)) = first.vmcoreinfo {
        reach.at("VMCOREINFO");
        assert!(at + len <= bytes.len() as u64);
    }
    if bytes.is_empty() || bytes.len() > 0x1_0000 {
        return;
    }
    let form = Form { big, ..USUAL };
    let dump = Make { notes: bytes.to_vec(), vmcoreinfo: None, ..Make::new(form) }.bytes();
    let second = kdump::probe(&mut &dump[..], dump.len() as u64).expect("headers of our own");
    assert_eq!((first.cpus, first.vmcoreinfo), (second.cpus, second.vmcoreinfo));
    reach.at("both agree");
}

pub const KDUMP: Target = Target {
    name: "kdump",
    about: "a whole kdump-compressed dump (or what begins like one), every page of it",
    goals: &[
        "opened",
        "version 0",
        "version 1",
        "version 2",
        "version 3",
        "version 4",
        "version 5",
        "version 6",
        "32-bit",
        "big-endian",
        "16 KiB",
        "64 KiB",
        "TAMIS",
        "text",
        "page",
        "lost",
        "zlib",
        "lzo",
        "snappy",
        "zstd",
        "lz4",
    ],
    run: |data, reach| {
        let mut reached = |goal: &str| reach.at(goal);
        dump(data, data.len() as u64, &mut reached);
    },
    seeds: kdump_seeds,
};

/// Opens what may be a dump and looks at everything in it.
fn dump<F: RandomAccess>(mut file: F, len: u64, reached: &mut dyn FnMut(&str)) {
    let found = kdump::probe(&mut file, len).ok();
    // Those of a stream may be larger than the stream, up to a limit that is too much for here.
    if let Some(facts) = found.filter(|facts| facts.max_pfn.0 <= 1 << 20) {
        look(&mut [Part::new(file, facts)], reached);
    }
}

fn look<F: RandomAccess>(parts: &mut [Part<F>], reached: &mut dyn FnMut(&str)) {
    let Some(facts) = parts.first().map(|p| p.facts) else { return };
    let block = facts.main.shift.bytes();
    assert!(facts.len >= facts.bitmap2, "the bitmaps lie in the file");
    assert!(facts.rank_storage() <= 4 << 20);
    let rank = vec![0; facts.rank_storage()];
    let file = parts.first_mut().map(|part| &mut part.file);
    let Some(Ok(ranges)) = file.map(|file| kdump::count_ranges(file, &facts)) else { return };
    let segments = vec![MemoryRange::default(); ranges];
    let (pages, stored) = (vec![0; 4 * block], vec![0; block]);
    let storage = Storage {
        rank: rank.into(),
        ranges: segments.into(),
        pages: pages.into(),
        stored: stored.into(),
    };
    let Ok(mut kdump) = Kdump::load(parts, storage, unpacker()) else { return };
    reached("opened");
    if let 0..=6 = facts.main.version {
        reached(&format!("version {}", facts.main.version));
    }
    for (yes, goal) in [
        (facts.sub.word().bytes() == 4, "32-bit"),
        (facts.main.endian == tamis_core::endian::Endian::Big, "big-endian"),
        (block == 16 << 10, "16 KiB"),
        (block == 64 << 10, "64 KiB"),
        (facts.main.signature == tamis_core::wire::disk_header::Signature::Tamis, "TAMIS"),
    ] {
        if yes {
            reached(goal);
        }
    }
    let (exist, kept) = kdump.counts();
    assert!(exist <= facts.max_pfn.0 && kept <= facts.max_pfn.0);
    let ranges: Vec<MemoryRange> = kdump.ranges().to_vec();
    let mut end = 0;
    for range in &ranges {
        assert!(range.phys.0 >= end && range.len > 0, "ranges overlap");
        end = range.end();
    }
    if let Some(span) = kdump.missing_part() {
        assert!(span.start < span.end && span.end <= facts.max_pfn);
    }
    // Bitmap 2, window by window, agrees with what is answered for each pfn.
    let mut looked = 0;
    let mut at = 0;
    while at < facts.max_pfn.0 && looked < PAGES_MOST {
        let mut bits = [0; 512];
        kdump.bits(true, Pfn(at), &mut bits).expect("the bitmap lies in the file");
        let window = PfnSpan::new(Pfn(at), Pfn(at + 4096));
        let map = Bitmap::over(&mut bits, window);
        let mut from = Pfn(at);
        while let Some(run) = map.next_run(from, 16) {
            for pfn in run.start.0..run.end.0 {
                page(&mut kdump, Pfn(pfn), block, reached);
                looked += 1;
            }
            from = run.end;
            if looked >= PAGES_MOST {
                break;
            }
        }
        at += 4096;
    }
    for pfn in [0, 1, facts.max_pfn.0 - 1, facts.max_pfn.0, u64::MAX >> 12] {
        let there = kdump.descriptor(Pfn(pfn));
        assert!(pfn < facts.max_pfn.0 || there == Err(PageFault::Absent));
        let _ = kdump.page(Pfn(pfn)).map(<[u8]>::len);
    }
    let mut buf = vec![0; 3 * block / 2];
    for range in ranges.iter().take(20) {
        let _ = kdump.read(PhysAddr(range.phys.0 + 7), &mut buf);
        let _ = kdump.window(PhysAddr(range.phys.0 + 7), 64).map(<[u8]>::len);
    }
    let mut bits = vec![0xff; 1024];
    kdump.keep_held(&mut Bitmap::over(&mut bits, PfnSpan::new(Pfn(0), Pfn(8192))));
    let len = kdump.notes().len.min(1 << 16) as usize;
    let mut notes = vec![0; len];
    if kdump.read_notes(0, &mut notes).is_ok()
        && let Some((at, size)) = facts.vmcoreinfo
    {
        assert!(at + size <= kdump.notes().len);
        reached("text");
    }
    assert!(kdump.read_notes(u64::MAX - 3, &mut [0; 8]).is_err());
}

fn page<F: RandomAccess>(
    kdump: &mut Kdump<'_, F, Unpacker>,
    pfn: Pfn,
    block: usize,
    reached: &mut dyn FnMut(&str),
) {
    let (desc, part) = match kdump.descriptor(pfn) {
        Ok(found) => found,
        Err(PageFault::Lost) => return reached("lost"),
        Err(fault) => {
            assert_ne!(fault, PageFault::Absent, "pfn {pfn} has its bit");
            return assert!(!fault.to_string().is_empty());
        }
    };
    let mut bytes = vec![0x5a; block];
    let codec = kdump.check(desc, part);
    let decoded = kdump.decode(pfn, desc, part, &mut bytes);
    assert!(codec.is_ok() || decoded.is_err());
    match kdump.page(pfn) {
        Ok(page) => {
            assert_eq!(decoded, Ok(()));
            assert!(page == bytes, "pfn {pfn} has two contents");
            reached("page");
            if let Ok(Some(codec)) = codec {
                reached(codec.name());
            }
        }
        Err(fault) => assert_eq!(decoded, Err(fault)),
    }
}

/// Pages of each codec.
fn compressed(block: usize) -> [(Vec<u8>, u32); 5] {
    let page: Vec<u8> = (0..block).map(|n| (n / 97 + n % 13) as u8 | 1).collect();
    [Codec::Zlib, Codec::Lzo, Codec::Snappy, Codec::Zstd, Codec::Lz4].map(|codec| {
        let mut out = vec![0; codec.bound(block)];
        match codec.encoder(Effort::Normal).encode(&page, &mut out) {
            Some(len) => (out[..len].to_vec(), CodecFlags::from(codec).bits()),
            None => (page.clone(), 0),
        }
    })
}

/// A dump with few pages: of each codec, raw, zero, lost.
fn small(form: Form) -> Make {
    let mut make = Make::new(form);
    make.pages.clear();
    make.left_out.truncate(1);
    make.max = 40;
    for (n, (bytes, flags)) in compressed(form.block).into_iter().enumerate() {
        if flags != CodecFlags::LZ4.bits() {
            make.pages.insert(2 + n as u64, Page::Stored(bytes, flags));
        }
    }
    make.pages.insert(20, Page::Zero);
    make.pages.insert(21, Page::Lost);
    make.with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\nCRASHTIME=1700000000\n")
}

fn kdump_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for version in 0..=6 {
        seeds.push(small(Form { version, ..USUAL }).bytes());
    }
    for (wide, big, padded) in [(true, true, false), (false, false, false), (false, true, true)] {
        seeds.push(small(Form { wide, big, padded, ..USUAL }).bytes());
    }
    seeds.push(small(Form { one_bitmap: true, version: 1, ..USUAL }).bytes());
    for block in [16 << 10, 64 << 10] {
        let mut make = small(Form { block, ..USUAL });
        make.pages.retain(|pfn, _| *pfn == 2 || *pfn == 4);
        seeds.push(make.bytes());
    }
    let mut lz4 = small(USUAL);
    lz4.signature = b"TAMIS   ";
    let [.., (bytes, flags)] = compressed(4096);
    lz4.pages.insert(30, Page::Stored(bytes, flags));
    seeds.push(lz4.bytes());
    seeds
}

pub const PAGES: Target = Target {
    name: "pages",
    about: "descriptors and page data of a dump whose headers are sound",
    goals: &[
        "opened",
        "page",
        "lost",
        "zlib",
        "lzo",
        "snappy",
        "zstd",
        "lz4",
        "32-bit",
        "big-endian",
    ],
    run: pages,
    seeds: || {
        let mut seeds = Vec::new();
        for choice in 0..6 {
            let data = compressed(4096);
            let mut bytes = vec![choice];
            for (index, (_, flags)) in data.iter().enumerate() {
                bytes.extend([index as u8, *flags as u8, 0, 0]);
            }
            bytes.extend([0, 0, 2, 1, 0, 0, 1, 0]);
            bytes.push(0xff);
            for (piece, _) in &data {
                bytes.extend((piece.len() as u16).to_le_bytes());
                bytes.extend(piece);
            }
            seeds.push(bytes);
        }
        seeds
    },
};

/// Byte 0: form and signature. Then descriptors of four bytes: which piece of data, flags, how the
/// size is bent, how the offset is; 0xff ends them. Then the pieces, each behind its length.
fn pages(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let (wide, big) = (choice & 1 == 0, choice & 2 != 0);
    let mut descriptors = Vec::new();
    while descriptors.len() < 100 && !input.is_empty() {
        let index = input.byte();
        if index == 0xff {
            break;
        }
        descriptors.push((index, input.byte(), input.byte(), input.byte()));
    }
    let mut pieces = Vec::new();
    while !input.is_empty() && pieces.len() < 32 {
        let len = input.u16() as usize;
        pieces.push(input.take(len));
    }
    let form = Form { wide, big, ..USUAL };
    let mut make = Make::new(form);
    make.pages.clear();
    make.signature = if choice & 4 != 0 { b"TAMIS   " } else { b"KDUMP   " };
    for pfn in 0..descriptors.len() as u64 {
        make.pages.insert(pfn, Page::Lost);
    }
    let mut bytes = make.bytes();
    let facts = kdump::probe(&mut &bytes[..], bytes.len() as u64).expect("headers of our own");
    let starts: Vec<usize> = pieces
        .iter()
        .map(|piece| {
            let at = bytes.len();
            bytes.extend(*piece);
            at
        })
        .collect();
    for (n, (index, flags, bend, shift)) in descriptors.iter().enumerate() {
        let index = usize::from(*index) % pieces.len().max(1);
        let len = pieces.get(index).map_or(0, |p| p.len()) as u32;
        let offset = starts.get(index).copied().unwrap_or(0) as u64;
        let size = match bend {
            0 => len,
            1 => 4096,
            2 => 0,
            3 => u32::MAX,
            bend => len.wrapping_add(u32::from(*bend)).wrapping_sub(128),
        };
        let offset = match shift {
            0 => offset,
            1 => 0,
            2 => u64::MAX - 7,
            3 => bytes.len() as u64 - 1,
            shift => offset.wrapping_add((*shift).into()).wrapping_sub(128),
        };
        let mut raw = Vec::new();
        let int = |value: u64, len: usize| {
            if big {
                value.to_be_bytes()[8 - len..].to_vec()
            } else {
                value.to_le_bytes()[..len].to_vec()
            }
        };
        raw.extend(int(offset, 8));
        raw.extend(int(size.into(), 4));
        raw.extend(int((*flags).into(), 4));
        let at = facts.descriptors as usize + 24 * n;
        bytes[at..at + 16].copy_from_slice(&raw);
    }
    let len = bytes.len() as u64;
    let goals = PAGES.goals;
    dump(&bytes[..], len, &mut |goal| {
        if goals.contains(&goal) {
            reach.at(goal);
        }
    });
}

pub const FLATTENED: Target = Target {
    name: "flattened",
    about: "a stream of records, against writing them one after the other; then the dump in it",
    goals: &["scanned", "whole", "cut", "overlap", "gap", "kdump", "elf", "page"],
    run: flattened,
    seeds: || {
        let dump = small(USUAL).bytes();
        let mut seeds = vec![make::flatten(&dump, 700), make::flatten(&dump, 5000)];
        let elf = core_file(true, false, &[(0x1000, 0x100, 0x1000)], &some_notes(false), false);
        seeds.push(make::flatten(&elf, 200));
        // Overlaps, a gap, a second record for the same place, no end.
        let mut odd = make::flatten(&[7; 40], 16);
        odd.truncate(odd.len() - 16);
        for (at, len, byte) in [(10u64, 20u64, 1u8), (100, 8, 2), (12, 4, 3)] {
            odd.extend(at.to_be_bytes());
            odd.extend(len.to_be_bytes());
            odd.extend(vec![byte; len as usize]);
        }
        seeds.push(odd.clone());
        odd.extend([0xff; 16]);
        seeds.push(odd);
        seeds
    },
};

fn flattened(data: &[u8], reach: &mut Reach) {
    let mut file = data;
    let Ok(mut scan) = Scan::new(&mut file, data.len() as u64) else { return };
    reach.at("scanned");
    let mut records = Vec::new();
    let mut behind = 0;
    loop {
        match scan.next(&mut file) {
            Ok(Step::Record(record)) => {
                assert!(record.stream_at > behind, "a record comes twice");
                behind = record.stream_at;
                records.push(record);
            }
            Ok(Step::End(end)) => {
                assert!(end <= data.len() as u64);
                reach.at("whole");
                break;
            }
            Ok(Step::Cut(record)) => {
                reach.at("cut");
                if record.len > 0 {
                    records.push(record);
                }
                break;
            }
            Err(_) => return,
        }
    }
    let extents = vec![Extent::default(); Flat::<&[u8]>::extents_for(records.len())];
    let mut flat = Flat::load(data, &records[..], extents).expect("storage for all of them");
    let len = flat.len();
    assert_eq!(len, records.iter().map(|r| r.end()).max().unwrap_or(0));
    if len <= 1 << 20 {
        let mut whole = vec![0; len as usize];
        let mut done = vec![false; len as usize];
        for r in &records {
            let bytes = &data[r.stream_at as usize..][..r.len as usize];
            let to = r.at as usize..r.end() as usize;
            whole[to.clone()].copy_from_slice(bytes);
            if done[to.clone()].contains(&true) {
                reach.at("overlap");
            }
            done[to].fill(true);
        }
        if done.contains(&false) {
            reach.at("gap");
        }
        let mut read = vec![0x5a; len as usize];
        flat.read_at(0, &mut read).expect("all of it can be read");
        assert!(whole == read, "the stream reads as another file");
    }
    let mut head = vec![0; len.min(8192) as usize];
    if flat.read_at(0, &mut head).is_err() {
        return;
    }
    match form(&head) {
        Some(Begins::Kdump) => {
            dump(MaybeFlattened::Flat(flat), len, &mut |goal| match goal {
                "opened" => reach.at("kdump"),
                "page" => reach.at("page"),
                _ => {}
            });
        }
        Some(Begins::Elf) => {
            let mut layer = MaybeFlattened::Flat(flat);
            if elf::probe(&mut layer).is_ok() {
                reach.at("elf");
            }
        }
        _ => {}
    }
}

pub const SPLIT: Target = Target {
    name: "split",
    about: "up to four files of a split dump, their headers bent, in any order",
    goals: &["opened", "foreign", "missing part", "page", "lost"],
    run: split,
    seeds: || {
        vec![
            vec![2, 0, 1, 20, 0, 20, 20, 0],
            vec![3, 0x12, 0, 10, 0, 10, 10, 0, 20, 20, 0],
            vec![2, 1, 0, 20, 0, 25, 15, 0],
            vec![2, 0, 0, 20, 0, 20, 20, 1, 0x98, 1, 7],
            vec![1, 0, 5, 10, 0],
        ]
    },
};

/// Number of files, form and order; for each file start, length, changes (offset, byte).
fn split(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let count = 1 + usize::from(input.byte()) % 4;
    let how = input.byte();
    let form = Form { wide: how & 1 == 0, big: how & 2 != 0, ..USUAL };
    let mut files = Vec::new();
    for _ in 0..count {
        let start = u64::from(input.byte()) % 41;
        let end = start + u64::from(input.byte());
        let mut make = small(form);
        make.split = Some((start, end));
        let mut bytes = make.bytes();
        for _ in 0..input.byte() % 8 {
            // Mostly in the headers: main, sub-header, bitmaps.
            let at = input.u16() as usize % bytes.len();
            bytes[at] = input.byte();
        }
        files.push(bytes);
    }
    if how & 0x10 != 0 {
        files.rotate_left(1);
    }
    if how & 0x20 != 0 {
        files.reverse();
    }
    let mut parts = Vec::new();
    for bytes in &files {
        if let Ok(facts) = kdump::probe(&mut &bytes[..], bytes.len() as u64) {
            parts.push(Part::new(&bytes[..], facts));
        }
    }
    let block = parts.first().map_or(4096, |p| p.facts.main.shift.bytes());
    let Some(facts) = parts.first().map(|p| p.facts) else { return };
    let rank = vec![0; facts.rank_storage()];
    let segments = vec![MemoryRange::default(); 64];
    let (pages, stored) = (vec![0; 2 * block], vec![0; block]);
    let storage = Storage {
        rank: rank.into(),
        ranges: segments.into(),
        pages: pages.into(),
        stored: stored.into(),
    };
    let copy: Vec<Part<&[u8]>> = parts.iter().map(|p| Part::new(p.file, p.facts)).collect();
    match Kdump::load(copy, storage, unpacker()) {
        Err(kdump::DumpError::Foreign(index, _)) => {
            assert!(index < parts.len());
            reach.at("foreign");
        }
        Err(_) => {}
        Ok(kdump) if kdump.missing_part().is_some() => reach.at("missing part"),
        Ok(_) => {}
    }
    look(&mut parts, &mut |goal| {
        if SPLIT.goals.contains(&goal) {
            reach.at(goal);
        }
    });
}
