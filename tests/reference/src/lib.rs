//! The C libraries that set the measure, and the pages to measure on. Shared by tests, benches and fuzz
//! targets.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use page_codec::Codec;
use std::ffi::{CStr, c_char, c_int, c_uchar, c_ulong, c_void};
use std::sync::OnceLock;

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn LZ4_compress_fast_extState(
        state: *mut c_void,
        src: *const c_char,
        out: *mut c_char,
        len: c_int,
        room: c_int,
        acceleration: c_int,
    ) -> c_int;
    fn LZ4_sizeofState() -> c_int;
    fn clock_gettime(clock: c_int, time: *mut [i64; 2]) -> c_int;
}

/// Seconds that this thread has run: what others do with the core does not count.
pub fn seconds() -> f64 {
    const CLOCK_THREAD_CPUTIME_ID: c_int = 3;
    let mut time = [0i64; 2];
    // SAFETY: `timespec` is two 64-bit integers on 64-bit Linux, which is all this runs on.
    assert_eq!(unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    time[0] as f64 + time[1] as f64 * 1e-9
}

/// A function of the LZO library: input and its length, output and its length, work memory.
type LzoFunction =
    unsafe extern "C" fn(*const c_uchar, c_ulong, *mut c_uchar, *mut c_ulong, *mut c_void) -> c_int;

/// `lzo1x_1_compress` and `lzo1x_decompress_safe` of the LZO library of the system. It is under the
/// GPL, so it is run here, and nothing is linked with it.
fn lzo() -> (LzoFunction, LzoFunction) {
    const RTLD_NOW: c_int = 2;
    static FUNCTIONS: OnceLock<(LzoFunction, LzoFunction)> = OnceLock::new();
    *FUNCTIONS.get_or_init(|| {
        // SAFETY: the name ends with a zero; the library has no code that runs when it is loaded.
        let library = unsafe { dlopen(c"liblzo2.so.2".as_ptr(), RTLD_NOW) };
        assert!(!library.is_null(), "no liblzo2.so.2: install the LZO library (liblzo2-2, lzo)");
        let function = |name: &CStr| {
            // SAFETY: the library is loaded, and stays so; the name ends with a zero.
            let function = unsafe { dlsym(library, name.as_ptr()) };
            assert!(!function.is_null(), "liblzo2.so.2 has no {name:?}");
            // SAFETY: a function, which `lzo/lzo1x.h` declares so; `lzo_uint` is `unsigned long` on
            // 64-bit Linux.
            unsafe { std::mem::transmute::<*mut c_void, LzoFunction>(function) }
        };
        (function(c"lzo1x_1_compress"), function(c"lzo1x_decompress_safe"))
    })
}

/// A C library as the reference of one codec.
pub enum Reference {
    /// zlib: both of its states.
    Zlib(Compress, Decompress),
    /// LZO1X: the work memory of `lzo1x_1_compress`.
    Lzo(Vec<u64>),
    /// Snappy: its C interface makes its state anew for each page.
    Snappy,
    /// LZ4: the state of `LZ4_compress_fast_extState`.
    Lz4(Vec<u64>),
    /// zstd: both of its contexts, and the level.
    Zstd(Box<zstd_safe::CCtx<'static>>, Box<zstd_safe::DCtx<'static>>, i32),
}

impl Reference {
    /// One of each, at the level that a crash kernel would choose.
    pub fn all() -> [Reference; 5] {
        // SAFETY: takes and gives plain integers.
        let lz4 = unsafe { LZ4_sizeofState() } as usize;
        [
            Reference::Zlib(Compress::new(Compression::new(1), true), Decompress::new(true)),
            Reference::Lzo(vec![0; 131_072 / 8]),
            Reference::Snappy,
            Reference::Lz4(vec![0; lz4.div_ceil(8)]),
            Reference::Zstd(
                Box::new(zstd_safe::CCtx::create()),
                Box::new(zstd_safe::DCtx::create()),
                1,
            ),
        ]
    }

    /// What it compresses to.
    pub fn codec(&self) -> Codec {
        match self {
            Reference::Zlib(..) => Codec::Zlib,
            Reference::Lzo(_) => Codec::Lzo,
            Reference::Snappy => Codec::Snappy,
            Reference::Zstd(..) => Codec::Zstd,
            Reference::Lz4(_) => Codec::Lz4,
        }
    }

    /// Name and level, for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Reference::Zlib(..) => "C zlib 1",
            Reference::Lzo(_) => "C lzo1x_1",
            Reference::Snappy => "C snappy",
            Reference::Zstd(..) => "C zstd 1",
            Reference::Lz4(_) => "C lz4",
        }
    }

    /// Levels that [`Reference::set_level`] knows.
    pub fn levels(&self) -> &'static [i32] {
        match self {
            Reference::Zlib(..) => &[1, 6, 9],
            Reference::Zstd(..) => &[-5, 1, 3, 9, 19],
            _ => &[1],
        }
    }

    /// What [`Reference::encode`] uses from now on.
    pub fn set_level(&mut self, level: i32) {
        match self {
            Reference::Zlib(state, _) => {
                *state = Compress::new(Compression::new(level as u32), true)
            }
            Reference::Zstd(state, _, current) => {
                **state = zstd_safe::CCtx::create();
                *current = level;
            }
            _ => {}
        }
    }

    /// Bytes of the compressed page, also where they are more than the page has.
    pub fn encode(&mut self, page: &[u8], out: &mut [u8]) -> usize {
        assert!(out.len() >= page.len() * 2, "room for the worst case of every library");
        let (src, to) = (page.as_ptr(), out.as_mut_ptr());
        match self {
            Reference::Zlib(state, _) => {
                state.reset();
                let status = state.compress(page, out, FlushCompress::Finish).unwrap();
                assert_eq!(status, Status::StreamEnd);
                state.total_out() as usize
            }
            Reference::Lzo(work) => {
                let mut len = 0;
                let work = work.as_mut_ptr().cast();
                // SAFETY: the lengths are those of the slices, `out` has room for the worst case
                // (asserted), and the work memory has the 131,072 bytes that the library asks for.
                let code = unsafe { (lzo().0)(src, page.len() as c_ulong, to, &mut len, work) };
                assert_eq!(code, 0);
                len as usize
            }
            Reference::Snappy => {
                let mut len = out.len();
                // SAFETY: the lengths are those of the slices.
                let code = unsafe {
                    snappy_src::snappy_compress(src.cast(), page.len(), to.cast(), &mut len)
                };
                assert_eq!(code, 0);
                len
            }
            Reference::Lz4(state) => {
                let state = state.as_mut_ptr().cast();
                let (len, room) = (page.len() as c_int, out.len() as c_int);
                // SAFETY: the lengths are those of the slices, the state has the size asked for and
                // the alignment of 8.
                let len = unsafe {
                    LZ4_compress_fast_extState(state, src.cast(), to.cast(), len, room, 1)
                };
                assert!(len > 0);
                len as usize
            }
            Reference::Zstd(state, _, level) => state.compress(out, page, *level).unwrap(),
        }
    }

    /// Whether `stored` decodes to exactly `page.len()` bytes.
    pub fn decode(&mut self, stored: &[u8], page: &mut [u8]) -> bool {
        let (src, to, room) = (stored.as_ptr(), page.as_mut_ptr(), page.len());
        match self {
            Reference::Zlib(_, state) => {
                state.reset(true);
                let status = state.decompress(stored, page, FlushDecompress::Finish);
                matches!(status, Ok(Status::StreamEnd))
                    && state.total_out() as usize == room
                    && state.total_in() as usize == stored.len()
            }
            Reference::Lzo(_) => {
                let mut len = room as c_ulong;
                // SAFETY: the lengths are those of the slices; this function uses no work memory.
                let code = unsafe {
                    let none = std::ptr::null_mut();
                    (lzo().1)(src, stored.len() as c_ulong, to, &mut len, none)
                };
                code == 0 && len as usize == room
            }
            Reference::Snappy => {
                let mut len = room;
                // SAFETY: the lengths are those of the slices.
                let code = unsafe {
                    snappy_src::snappy_uncompress(src.cast(), stored.len(), to.cast(), &mut len)
                };
                code == 0 && len == room
            }
            Reference::Lz4(_) => {
                // SAFETY: the lengths are those of the slices.
                let len = unsafe {
                    let (len, room) = (stored.len() as c_int, room as c_int);
                    lz4_sys::LZ4_decompress_safe(src.cast(), to.cast(), len, room)
                };
                len == room as c_int
            }
            Reference::Zstd(_, state, _) => state.decompress(page, stored) == Ok(room),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()).into()
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// Hands every page that has a bit set to `take`: those of the `PT_LOAD` parts of a little-endian
/// ELF64 vmcore, or those kept in a dump that was written without compression, in pieces of `size`.
pub fn pages_of(file: &[u8], size: usize, take: &mut dyn FnMut(&[u8])) {
    let parts: Vec<(usize, usize)> = match file.get(..4) {
        Some(b"\x7fELF") => {
            let (at, entry, count) = (u64_at(file, 32), u16_at(file, 54), u16_at(file, 56));
            (0..count)
                .map(|i| at + i * entry)
                .filter(|at| u32_at(file, *at) == 1)
                .map(|at| (u64_at(file, at + 8), u64_at(file, at + 32)))
                .collect()
        }
        // One run: headers, bitmaps and descriptors end where the first page begins.
        Some(b"KDUM") => {
            let block = u32_at(file, 428);
            let descriptors = (1 + u32_at(file, 432) + u32_at(file, 436)) * block;
            let first = (descriptors..).step_by(24).map(|at| u64_at(file, at)).find(|at| *at > 0);
            first.map(|first| (first, file.len() - first)).into_iter().collect()
        }
        _ => panic!("neither a vmcore nor a dump"),
    };
    for (at, len) in parts {
        for page in file[at..at + len].chunks_exact(size) {
            if page.iter().any(|byte| *byte != 0) {
                take(page);
            }
        }
    }
}

/// Files named in `TAMIS_VMCORES`, separated by colons.
pub fn files() -> Vec<String> {
    let list = std::env::var("TAMIS_VMCORES").unwrap_or_default();
    list.split(':').filter(|name| !name.is_empty()).map(String::from).collect()
}

/// xorshift64*.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }
}

/// Pages like those of a kernel, made up: arrays of structures with pointers, text, code-like
/// bytes, runs, noise, and mixtures.
pub fn generated(size: usize, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    (0..count).map(|i| page(&mut random, size, i)).collect()
}

fn page(random: &mut Random, size: usize, kind: usize) -> Vec<u8> {
    let mut page = Vec::with_capacity(size + 512);
    let words =
        ["struct", "kernel", "page", "0x", "ffff", " = ", "\n", "node", "lock", "/usr/lib/"];
    let base = 0xffff_8880_0000_0000 | (random.number() & 0x3fff_f000);
    while page.len() < size {
        match if kind % 8 == 7 { random.below(7) as usize } else { kind % 8 } {
            // An array of structures.
            0 => {
                for _ in 0..1 + random.below(8) {
                    page.extend((base + random.below(64) * 64).to_le_bytes());
                    page.extend((random.below(4) as u32).to_le_bytes());
                    page.extend([0; 20]);
                    page.extend((base + page.len() as u64).to_le_bytes());
                }
            }
            1 => page.extend(words[random.below(10) as usize].bytes()),
            // Opcodes: a skewed distribution, few repeats.
            2 => page.extend(
                (0..32).map(|_| (random.number() & random.number() & random.number()) as u8),
            ),
            3 => page.extend((0..64).map(|_| random.number() as u8)),
            4 => {
                let byte = random.number() as u8;
                page.extend(vec![byte; 1 + random.below(700) as usize]);
            }
            // A sparse page.
            5 => {
                page.extend(vec![0; random.below(300) as usize]);
                page.extend(random.number().to_le_bytes());
            }
            // Far copies with a changed byte.
            _ => {
                let from =
                    if page.is_empty() { 0 } else { random.below(page.len() as u64) as usize };
                let to = page.len().min(from + 4 + random.below(60) as usize);
                page.extend_from_within(from..to);
                page.push(random.number() as u8);
            }
        }
    }
    page.truncate(size);
    page
}
