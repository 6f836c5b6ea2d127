//! Kdump-compressed dumps of any form: word size, byte order, header version, packed or padded
//! sub-header, block size. Written from the format's description, with nothing of the tools.

use std::collections::BTreeMap;
use std::io::Write;

/// Which form.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// 64-bit machine.
    pub wide: bool,
    /// Big-endian machine.
    pub big: bool,
    /// The 32-bit sub-header that aligns to 8 bytes.
    pub padded: bool,
    /// Header version.
    pub version: u32,
    /// Page size.
    pub block: usize,
    /// One bitmap for both.
    pub one_bitmap: bool,
    /// A writer of 32 bits with a `time_t` of 64.
    pub time64: bool,
}

/// x86_64 as it is usual.
pub const USUAL: Form = Form {
    wide: true,
    big: false,
    padded: false,
    version: 6,
    block: 4096,
    one_bitmap: false,
    time64: false,
};

/// How a page is in the file.
#[derive(Clone, Debug)]
pub enum Page {
    /// As it is.
    Raw(Vec<u8>),
    /// A zlib stream of it.
    Zlib(Vec<u8>),
    /// These bytes, with these flags.
    Stored(Vec<u8>, u32),
    /// An empty descriptor.
    Lost,
    /// The page of zeros that comes first.
    Zero,
}

/// A dump to be made.
#[derive(Clone, Debug)]
pub struct Make {
    /// Its form.
    pub form: Form,
    /// Physical base of the kernel image.
    pub phys_base: u64,
    /// The pfn that the first bit is of.
    pub first: u64,
    /// One past the last pfn.
    pub max: u64,
    /// Pages, by pfn.
    pub pages: BTreeMap<u64, Page>,
    /// Pfns that exist without being in the dump.
    pub left_out: Vec<u64>,
    /// `utsname.release`.
    pub release: &'static str,
    /// `utsname.machine`.
    pub machine: &'static str,
    /// Notes.
    pub notes: Vec<u8>,
    /// Place and length of VMCOREINFO in the notes; where there are none, the text is there.
    pub vmcoreinfo: Option<(usize, usize)>,
    /// Header status.
    pub status: u32,
    /// Dump level.
    pub level: u32,
    /// The part of a split set.
    pub split: Option<(u64, u64)>,
    /// First eight bytes.
    pub signature: &'static [u8; 8],
}

impl Make {
    /// A dump with pages of every simple kind.
    pub fn new(form: Form) -> Make {
        let mut make = Make {
            form,
            phys_base: if form.wide { 0x10_0000 } else { 0 },
            first: 0,
            max: 300,
            pages: BTreeMap::new(),
            left_out: vec![9, 200, 201],
            release: "6.1.0-made",
            machine: if form.wide { "x86_64" } else { "armv7l" },
            notes: Vec::new(),
            vmcoreinfo: None,
            status: 1,
            level: 1,
            split: None,
            signature: b"KDUMP   ",
        };
        for pfn in (2..8).chain(16..40).chain([77, 255, 256, 299]) {
            let bytes = make.content(pfn);
            let page = match pfn % 3 {
                0 => Page::Raw(bytes),
                1 => Page::Zlib(bytes),
                _ => Page::Zero,
            };
            make.pages.insert(pfn, page);
        }
        make
    }

    /// Contents of a page that is not zero.
    pub fn content(&self, pfn: u64) -> Vec<u8> {
        (0..self.form.block as u64).map(|n| (n / 64 + pfn) as u8 | 1).collect()
    }

    fn int(&self, value: u64, bytes: usize) -> Vec<u8> {
        if self.form.big {
            value.to_be_bytes()[8 - bytes..].to_vec()
        } else {
            value.to_le_bytes()[..bytes].to_vec()
        }
    }

    /// The notes: one of a CPU, then VMCOREINFO with this text.
    pub fn with_info(mut self, text: &str) -> Make {
        let note = |make: &Make, name: &[u8], kind: u64, desc: &[u8]| {
            let mut out = make.int(name.len() as u64, 4);
            out.extend(make.int(desc.len() as u64, 4));
            out.extend(make.int(kind, 4));
            for part in [name, desc] {
                out.extend(part);
                out.resize(out.len().next_multiple_of(4), 0);
            }
            out
        };
        let mut notes = note(&self, b"CORE\0", 1, &[7; 336]);
        let at = notes.len() + 24;
        notes.extend(note(&self, b"VMCOREINFO\0", 0, text.as_bytes()));
        if self.form.version < 4 {
            self.notes = text.as_bytes().to_vec();
            self.vmcoreinfo = Some((0, text.len()));
        } else {
            self.notes = notes;
            self.vmcoreinfo = Some((at, text.len()));
        }
        self
    }

    /// The bytes of the dump.
    pub fn bytes(&self) -> Vec<u8> {
        let Form { wide, padded, version, block, one_bitmap, .. } = self.form;
        let word = if wide { 8 } else { 4 };
        let mut out = vec![0; block];
        let put = |out: &mut Vec<u8>, at: usize, bytes: &[u8]| {
            out.resize(out.len().max(at + bytes.len()), 0);
            out[at..at + bytes.len()].copy_from_slice(bytes);
        };
        let sub_size = if wide {
            104
        } else if padded {
            96
        } else {
            80
        };
        let sub_blocks = (sub_size + self.notes.len()).div_ceil(block);
        let max = self.max - self.first;
        let half = max.div_ceil(8).div_ceil(block as u64) as usize;
        let bitmap_blocks = if one_bitmap { half } else { 2 * half };

        put(&mut out, 0, self.signature);
        put(&mut out, 8, &self.int(version.into(), 4));
        let texts = ["Linux", "host", self.release, "#1", self.machine];
        for (index, text) in texts.iter().enumerate() {
            put(&mut out, 12 + 65 * index, text.as_bytes());
        }
        let (time, rest, seconds) = match (wide, self.form.time64, padded) {
            (true, ..) | (false, true, true) => (408, 424, 8),
            (false, true, false) => (404, 420, 8),
            (false, false, _) => (404, 412, 4),
        };
        put(&mut out, time, &self.int(1_700_000_000, seconds));
        for (index, value) in [
            u64::from(self.status),
            block as u64,
            sub_blocks as u64,
            bitmap_blocks as u64,
            max,
            0,
            0,
            0,
            0,
            1,
        ]
        .into_iter()
        .enumerate()
        {
            put(&mut out, rest + 4 * index, &self.int(value, 4));
        }

        // phys_base level split start end vmcoreinfo(2) notes(2) erased(2) start64 end64 max64
        let at: [usize; 14] = match (wide, padded) {
            (true, _) => [0, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96],
            (false, false) => [0, 4, 8, 12, 16, 20, 28, 32, 40, 44, 52, 56, 64, 72],
            (false, true) => [0, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88],
        };
        let notes_at = block + sub_size;
        let bits = |(start, end)| (start - self.first, end - self.first);
        let (start, end) = self.split.map_or((0, 0), bits);
        let info = self.vmcoreinfo.map_or((0, 0), |(at, len)| (notes_at + at, len));
        let notes = if self.notes.is_empty() { (0, 0) } else { (notes_at, self.notes.len()) };
        let fields: [(u32, u64, usize); 14] = [
            (0, self.phys_base, word),
            (1, self.level.into(), 4),
            (2, self.split.is_some().into(), 4),
            (2, start, word),
            (2, end, word),
            (3, info.0 as u64, 8),
            (3, info.1 as u64, word),
            (4, notes.0 as u64, 8),
            (4, notes.1 as u64, word),
            (5, 0, 8),
            (5, 0, word),
            (6, start, 8),
            (6, end, 8),
            (6, max, 8),
        ];
        put(&mut out, block + sub_size - 1, &[0]);
        for ((since, value, len), at) in fields.into_iter().zip(at) {
            // What an old writer does not know may hold anything.
            let value = if version >= since { value } else { 0x5a5a_5a5a };
            if version >= since || block + at + len <= notes_at {
                put(&mut out, block + at, &self.int(value, len));
            }
        }
        put(&mut out, notes_at, &self.notes);

        let bitmap1 = (1 + sub_blocks) * block;
        let bitmap2 = if one_bitmap { bitmap1 } else { bitmap1 + half * block };
        let descriptors = bitmap1 + bitmap_blocks * block;
        put(&mut out, descriptors - 1, &[0]);
        let mut bit = |base: usize, pfn: u64| {
            let bit = pfn - self.first;
            out[base + bit as usize / 8] |= 1 << (bit % 8);
        };
        for pfn in self.pages.keys().copied() {
            bit(bitmap1, pfn);
            bit(bitmap2, pfn);
        }
        for pfn in self.left_out.iter().copied().filter(|_| !one_bitmap) {
            bit(bitmap1, pfn);
        }

        let data = descriptors + 24 * self.pages.len();
        put(&mut out, data + block - 1, &[0]);
        let range = self.split.unwrap_or((self.first, self.max));
        let own = self.pages.iter().filter(|(pfn, _)| (range.0..range.1).contains(pfn));
        for (index, (_, page)) in own.enumerate() {
            let (bytes, flags) = match page {
                Page::Raw(bytes) => (bytes.clone(), 0),
                Page::Stored(bytes, flags) => (bytes.clone(), *flags),
                Page::Zlib(bytes) => {
                    let level = flate2::Compression::fast();
                    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                    encoder.write_all(bytes).expect("compressing");
                    (encoder.finish().expect("compressing"), 1)
                }
                Page::Lost | Page::Zero => (Vec::new(), 0),
            };
            let (offset, size) = match page {
                Page::Lost => (0, 0),
                Page::Zero => (data, block),
                _ => (out.len(), bytes.len()),
            };
            out.extend(&bytes);
            let mut raw = self.int(offset as u64, 8);
            raw.extend(self.int(size as u64, 4));
            raw.extend(self.int(flags.into(), 4));
            put(&mut out, descriptors + 24 * index, &raw);
        }
        out
    }
}

/// The same bytes as a flattened stream, in records of `step` bytes, the last record first.
pub fn flatten(bytes: &[u8], step: usize) -> Vec<u8> {
    let mut out = b"makedumpfile\0\0\0\0".to_vec();
    out.extend(1u64.to_be_bytes());
    out.extend(1u64.to_be_bytes());
    out.resize(4096, 0);
    let mut pieces: Vec<(usize, &[u8])> =
        bytes.chunks(step).enumerate().map(|(n, piece)| (n * step, piece)).collect();
    pieces.reverse();
    for (at, piece) in pieces {
        out.extend((at as u64).to_be_bytes());
        out.extend((piece.len() as u64).to_be_bytes());
        out.extend(piece);
    }
    out.extend([0xff; 16]);
    out
}
