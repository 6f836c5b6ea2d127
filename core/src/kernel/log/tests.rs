use super::text::SHORT;
use super::*;
use crate::arch::Arch;
use crate::arch::paging::TableCache;
use crate::endian::{Endian, Word};
use crate::memory::{Machine, ReadError};
use crate::testing;
use crate::units::PhysAddr;
use core::fmt;
use std::{format, string::String, string::ToString, vec, vec::Vec};

/// First virtual address of the mock: pointers fit 32 bits.
const BASE: u64 = 0x4000_0000;
/// Its physical address; page tables are below.
const PHYS: u64 = 0x20_0000;
/// Two 2 MiB pages are mapped.
const SPACE: usize = 0x40_0000;
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// A machine of either byte order and word size with x86_64 page tables.
#[derive(Clone, Copy)]
struct Host(Endian, Word);

const KINDS: [Host; 4] = [
    Host(Endian::Little, Word::Bits64),
    Host(Endian::Big, Word::Bits64),
    Host(Endian::Little, Word::Bits32),
    Host(Endian::Big, Word::Bits32),
];

struct Lab {
    kind: Host,
    memory: testing::Memory,
    next: u64,
    text: String,
}

impl PhysMemory for Lab {
    fn machine(&self) -> Machine {
        Machine { elf_machine: 62, endian: self.kind.0, word: self.kind.1 }
    }
    fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.memory.read(at, buf)
    }
    fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
        self.memory.window(at, len)
    }
    fn window_broke(&mut self) -> bool {
        false
    }
}

impl Lab {
    fn new(kind: Host, release: &str) -> Lab {
        let mut memory = testing::Memory::new(0, PHYS as usize + SPACE);
        memory.put64(0x1000, 0x2003);
        memory.put64(0x2000 + 8, 0x3003);
        memory.put64(0x3000, PHYS | 0xe3);
        memory.put64(0x3008, (PHYS + 0x20_0000) | 0xe3);
        let text = format!(
            "OSRELEASE={release}\nPAGESIZE=4096\nSYMBOL(init_top_pgt)={:x}\n\
             NUMBER(phys_base)=0\n",
            KERNEL_MAP + 0x1000
        );
        Lab { kind, memory, next: BASE + 0x100, text }
    }

    fn word_len(&self) -> u64 {
        self.kind.1.bytes() as u64
    }

    fn alloc(&mut self, len: u64) -> u64 {
        let at = self.next;
        self.next = (at + len + 0xff) & !0xff;
        at
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.memory.put(at - BASE + PHYS, bytes);
    }
    fn put16(&mut self, at: u64, value: u16) {
        self.put(at, &self.kind.0.put16(value));
    }
    fn put32(&mut self, at: u64, value: u32) {
        self.put(at, &self.kind.0.put32(value));
    }
    fn put64(&mut self, at: u64, value: u64) {
        self.put(at, &self.kind.0.put64(value));
    }
    fn put_word(&mut self, at: u64, value: u64) {
        match self.kind.1 {
            Word::Bits32 => self.put32(at, value as u32),
            Word::Bits64 => self.put64(at, value),
        }
    }

    fn key(&mut self, kind: &str, name: &str, value: u64) {
        self.text += &match kind {
            "SYMBOL" => format!("SYMBOL({name})={value:x}\n"),
            _ => format!("{kind}({name})={value}\n"),
        };
    }

    fn variable32(&mut self, name: &str, value: u64) -> u64 {
        let at = self.alloc(8);
        self.put32(at, value as u32);
        self.key("SYMBOL", name, at);
        at
    }

    fn variable_word(&mut self, name: &str, value: u64) -> u64 {
        let at = self.alloc(8);
        self.put_word(at, value);
        self.key("SYMBOL", name, at);
        at
    }

    fn without(&mut self, key: &str) {
        self.text =
            self.text.lines().filter(|l| !l.contains(key)).map(|l| format!("{l}\n")).collect();
    }

    fn run_bytes(
        &mut self,
        since_clear: bool,
    ) -> Result<(Vec<u8>, LogReport), LogError<fmt::Error>> {
        let text = self.text.clone();
        let info = testing::info(&text);
        let arch = Arch::new(self.machine(), &info, &[]).unwrap();
        let mut storage = vec![0; TableCache::STORAGE];
        let mut cache = TableCache::new(&mut storage[..]);
        let mut memory = KernelMemory::new(self, arch, &mut cache);
        let mut scratch = vec![0xa5; SCRATCH_MIN];
        let mut out = Vec::new();
        dump(&info, &mut memory, Options { since_clear, strict: false }, &mut scratch, &mut |b| {
            out.extend_from_slice(b);
            Ok(())
        })
        .map(|report| (out, report))
    }

    fn run(&mut self, since_clear: bool) -> Result<(String, LogReport), LogError<fmt::Error>> {
        let (text, report) = self.run_bytes(since_clear)?;
        Ok((String::from_utf8(text).unwrap(), report))
    }

    fn lines(&mut self, since_clear: bool) -> (Vec<String>, u64, u64) {
        let (text, report) = self.run(since_clear).unwrap();
        (text.lines().map(String::from).collect(), report.records, report.skipped)
    }
}

// ---- A ring of descriptors

const COUNT_BITS: u32 = 4;
const SIZE_BITS: u32 = 10;
const COUNT: u64 = 1 << COUNT_BITS;

/// Writes records as a kernel does.
struct RingLab {
    lab: Lab,
    prb: u64,
    descs: u64,
    infos: u64,
    data: u64,
    count: u64,
    size: u64,
    info_size: u64,
    lpos: u64,
    seq: u64,
    clear: u64,
}

impl RingLab {
    fn new(kind: Host) -> RingLab {
        RingLab::with(kind, COUNT_BITS, SIZE_BITS, 88)
    }

    fn with(kind: Host, count_bits: u32, size_bits: u32, info_size: u64) -> RingLab {
        let mut lab = Lab::new(kind, "6.12.0");
        let w = lab.word_len();
        for (kind, name, value) in [
            ("SIZE", "printk_ringbuffer", 11 * w),
            ("OFFSET", "printk_ringbuffer.desc_ring", 0),
            ("OFFSET", "printk_ringbuffer.text_data_ring", 6 * w),
            ("OFFSET", "prb_desc_ring.count_bits", 0),
            ("OFFSET", "prb_desc_ring.descs", w),
            ("OFFSET", "prb_desc_ring.infos", 2 * w),
            ("OFFSET", "prb_desc_ring.head_id", 3 * w),
            ("OFFSET", "prb_desc_ring.tail_id", 4 * w),
            ("SIZE", "prb_desc", 3 * w),
            ("OFFSET", "prb_desc.state_var", 0),
            ("OFFSET", "prb_desc.text_blk_lpos", w),
            ("OFFSET", "prb_data_blk_lpos.begin", 0),
            ("OFFSET", "prb_data_blk_lpos.next", w),
            ("SIZE", "printk_info", info_size),
            ("OFFSET", "printk_info.seq", 0),
            ("OFFSET", "printk_info.ts_nsec", 8),
            ("OFFSET", "printk_info.text_len", 16),
            ("OFFSET", "printk_info.caller_id", 20),
            ("OFFSET", "prb_data_ring.size_bits", 0),
            ("OFFSET", "prb_data_ring.data", w),
            ("OFFSET", "atomic_long_t.counter", 0),
            ("SIZE", "latched_seq", 24),
            ("OFFSET", "latched_seq.val", 8),
        ] {
            lab.key(kind, name, value);
        }
        let prb = lab.alloc(11 * w);
        let descs = lab.alloc((3 * w) << count_bits);
        let infos = lab.alloc(info_size << count_bits);
        let data = lab.alloc(1 << size_bits);
        let clear = lab.alloc(24);
        lab.variable_word("prb", prb);
        lab.key("SYMBOL", "clear_seq", clear);
        lab.put32(prb, count_bits);
        lab.put_word(prb + w, descs);
        lab.put_word(prb + 2 * w, infos);
        lab.put32(prb + 6 * w, size_bits);
        lab.put_word(prb + 7 * w, data);
        let (count, size) = (1 << count_bits, 1u64 << size_bits);
        let lpos = size.wrapping_neg();
        let mut ring =
            RingLab { lab, prb, descs, infos, data, count, size, info_size, lpos, seq: 0, clear };
        // As at boot: the last descriptor is head and tail, and reusable.
        let last = ring.id_of(0).wrapping_sub(1) & ring.id_mask();
        let at = ring.desc(last);
        ring.lab.put_word(at, last | 3 << ring.state_shift());
        ring.set_ends(last, last);
        ring
    }

    fn state_shift(&self) -> u32 {
        8 * self.lab.word_len() as u32 - 2
    }
    fn id_mask(&self) -> u64 {
        (1 << self.state_shift()) - 1
    }
    fn id_of(&self, seq: u64) -> u64 {
        seq.wrapping_sub(self.count) & self.id_mask()
    }
    fn desc(&self, id: u64) -> u64 {
        self.descs + id % self.count * 3 * self.lab.word_len()
    }
    fn info(&self, id: u64) -> u64 {
        self.infos + id % self.count * self.info_size
    }
    fn set_ends(&mut self, tail: u64, head: u64) {
        let w = self.lab.word_len();
        self.lab.put_word(self.prb + 3 * w, head);
        self.lab.put_word(self.prb + 4 * w, tail);
    }

    /// Adds a record and returns its id. Whoever calls sees to it that texts fit.
    fn add(&mut self, state: u64, text: &[u8]) -> u64 {
        let w = self.lab.word_len();
        let size = self.size;
        let id = self.id_of(self.seq);
        let need = (w + text.len() as u64).next_multiple_of(w);
        let begin = self.lpos;
        let inside = begin & (size - 1);
        let (at, next) = if inside + need <= size {
            (inside, begin.wrapping_add(need))
        } else {
            (0, begin.wrapping_sub(inside).wrapping_add(size).wrapping_add(need))
        };
        self.lpos = next;
        self.lab.put_word(self.data + at, id);
        self.lab.put(self.data + at + w, text);
        self.set(id, state, begin, next, text.len() as u16);
        id
    }

    fn set(&mut self, id: u64, state: u64, begin: u64, next: u64, text_len: u16) {
        let w = self.lab.word_len();
        let (desc, info) = (self.desc(id), self.info(id));
        self.lab.put_word(desc, state << self.state_shift() | id);
        self.lab.put_word(desc + w, begin);
        self.lab.put_word(desc + 2 * w, next);
        self.lab.put64(info, self.seq);
        self.lab.put64(info + 8, self.seq * 1_000_001_000);
        self.lab.put16(info + 16, text_len);
        self.lab.put32(info + 20, 7);
        self.seq += 1;
        let tail = match self.seq.checked_sub(self.count) {
            Some(seq) => self.id_of(seq),
            None => self.id_of(0).wrapping_sub(1) & self.id_mask(),
        };
        self.set_ends(tail, id);
    }

    fn texts(&mut self, since_clear: bool) -> (Vec<String>, u64, u64) {
        let (lines, records, skipped) = self.lab.lines(since_clear);
        (lines.iter().map(|l| l[26..].to_string()).collect(), records, skipped)
    }
}

#[test]
fn prefixes_name_time_and_caller() {
    let mut ring = RingLab::new(KINDS[0]);
    let id = ring.add(2, b"hello");
    let info = ring.info(id);
    assert_eq!(ring.lab.run(false).unwrap().0, "[    0.000000] [      T7] hello\n");
    ring.lab.put64(info + 8, 12_345_678_901_999);
    ring.lab.put32(info + 20, 0x8000_0003);
    assert_eq!(ring.lab.run(false).unwrap().0, "[12345.678901] [      C3] hello\n");
    ring.lab.put64(info + 8, u64::MAX);
    ring.lab.put32(info + 20, u32::MAX);
    let longest = "[18446744073.709551] [C2147483647] hello\n";
    assert_eq!(ring.lab.run(false).unwrap().0, longest);
    assert!(longest.len() < SHORT);
    ring.lab.without("printk_info.caller_id");
    assert_eq!(ring.lab.run(false).unwrap().0, "[18446744073.709551] hello\n");
}

#[test]
fn lines_are_indented_and_bytes_escaped() {
    for kind in KINDS {
        let mut ring = RingLab::new(kind);
        ring.add(2, b"a\n\tb\x0b\x0c\r\n\n\x00\x1b~\x7f\xe9 \xff");
        let indent = " ".repeat(26);
        assert_eq!(
            ring.lab.run(false).unwrap().0,
            format!(
                "[    0.000000] [      T7] a\n{indent}\tb\x0b\x0c\r\n{indent}\n\
                 {indent}\\x00\\x1b~\\x7f\\xe9 \\xff\n"
            )
        );
    }
}

#[test]
fn a_ring_wraps_with_its_ids_and_positions() {
    for kind in KINDS {
        for info_size in [88, 112] {
            let mut ring = RingLab::with(kind, COUNT_BITS, SIZE_BITS, info_size);
            assert_eq!(ring.texts(false), (vec![], 0, 0));
            for n in 0..100u64 {
                ring.add(1 + n % 2, format!("{n:.<0$}", 3 + n as usize % 41).as_bytes());
                let first = (n + 1).saturating_sub(COUNT);
                let want: Vec<_> =
                    (first..=n).map(|n| format!("{n:.<0$}", 3 + n as usize % 41)).collect();
                assert_eq!(ring.texts(false), (want, n - first + 1, 0), "{n}");
            }
        }
    }
}

#[test]
fn a_block_may_end_where_the_ring_ends() {
    let mut ring = RingLab::new(KINDS[0]);
    ring.add(2, &[b'a'; 500]); // 512 bytes with the id and padding
    ring.add(2, &[b'b'; 504]);
    ring.add(2, b"c");
    ring.add(2, &[b'd'; 90]);
    let (texts, records, skipped) = ring.texts(false);
    // The first text gave way to the third; the block of the second one is whole.
    assert_eq!((records, skipped), (3, 1));
    assert_eq!(texts[0], "b".repeat(504));
}

#[test]
fn only_finished_records_with_their_own_text_count() {
    for kind in KINDS {
        let mut ring = RingLab::new(kind);
        let w = ring.lab.word_len();
        ring.add(2, b"first");
        ring.add(0, b"reserved");
        ring.add(3, b"reusable"); // no record, nothing lost
        let at = ring.lpos & ((1 << SIZE_BITS) - 1);
        let id = ring.add(2, b"overwritten");
        ring.lab.put_word(ring.data + at, id + 1);
        let id = ring.id_of(ring.seq);
        ring.set(id, 2, 3, 3, 0); // an empty line
        let id = ring.id_of(ring.seq);
        ring.set(id, 2, 1, 1, 50); // no room for its text
        let id = ring.add(2, b"other id");
        let desc = ring.desc(id);
        ring.lab.put_word(desc, (id + 5) & ring.id_mask() | 2 << ring.state_shift());
        let id = ring.add(2, b"long");
        let info = ring.info(id);
        ring.lab.put16(info + 16, 0xffff); // cut at the block's end
        let id = ring.add(2, b"begin");
        let desc = ring.desc(id);
        ring.lab.put_word(desc + w, 1);
        let id = ring.add(2, b"next");
        let desc = ring.desc(id);
        ring.lab.put_word(desc + 2 * w, ring.lpos.wrapping_add(9 << SIZE_BITS));
        ring.add(1, b"last");
        let (mut texts, records, skipped) = ring.texts(false);
        let long = texts.remove(2);
        assert!(long.starts_with("long"));
        assert_eq!(texts, ["first", "", "last"]);
        assert_eq!((records, skipped), (4, 6));
    }
}

#[test]
fn the_cleared_part_is_left_out_by_number() {
    for kind in KINDS {
        for latched in [true, false] {
            for with_seq in [true, false] {
                let mut ring = RingLab::new(kind);
                if !latched {
                    ring.lab.without("latched_seq");
                }
                if !with_seq {
                    ring.lab.without("printk_info.seq");
                }
                for n in 0..41 {
                    ring.add(2, format!("{n}").as_bytes());
                }
                for (clear, first) in [(0, 25), (24, 25), (25, 25), (26, 26), (40, 40), (41, 41)] {
                    let at = ring.clear;
                    ring.lab.put64(at, clear);
                    if latched {
                        ring.lab.put32(at, 7); // odd: the second value holds
                        ring.lab.put64(at + 8, 33);
                        ring.lab.put64(at + 16, clear);
                    }
                    let want: Vec<_> = (first..41).map(|n| format!("{n}")).collect();
                    assert_eq!(ring.texts(true), (want, 41 - first, 0), "{clear}");
                }
                assert_eq!(ring.texts(false).1, COUNT);
                ring.lab.without("clear_seq");
                assert_eq!(ring.texts(true).1, COUNT);
            }
        }
    }
}

#[test]
fn ruined_ends_and_tables_do_not_end_the_log() {
    for kind in KINDS {
        let mut ring = RingLab::new(kind);
        for n in 0..20 {
            ring.add(2, format!("{n}").as_bytes());
        }
        let head = ring.id_of(19);
        ring.set_ends(0x1234_5678, head);
        assert_eq!(ring.texts(false).1, COUNT);
        ring.set_ends(0, 0x1234_5678);
        assert_eq!(ring.texts(false), (vec![], 0, COUNT));
        ring.set_ends(ring.id_of(4), head);
        // The infos go out of memory in their middle.
        let w = ring.lab.word_len();
        let end = BASE + SPACE as u64;
        ring.lab.put_word(ring.prb + 2 * w, end - 8 * ring.info_size);
        assert_eq!(ring.texts(false).2, 8);
    }
}

#[test]
fn a_long_text_is_written_whole() {
    let mut ring = RingLab::with(KINDS[0], COUNT_BITS, 17, 88);
    let text: String = (0..60_000u32).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    ring.add(2, text.as_bytes());
    assert_eq!(ring.texts(false), (vec![text.clone()], 1, 0));
    // Its second half is gone.
    let w = ring.lab.word_len();
    let data = BASE + SPACE as u64 - 30_000;
    let id = ring.id_of(0);
    ring.lab.put_word(ring.prb + 7 * w, data);
    ring.lab.put_word(data, id);
    ring.lab.put(data + w, &text.as_bytes()[..29_992]);
    let (texts, records, skipped) = ring.texts(false);
    assert!(text.starts_with(&texts[0]) && texts[0].len() > 25_000);
    assert_eq!((records, skipped), (0, 1));
}

#[test]
fn large_tables_are_read_quickly() {
    let mut ring = RingLab::with(KINDS[2], 14, 19, 88);
    for n in 0..40_000 {
        ring.add(2, format!("{n}").as_bytes());
    }
    let start = std::time::Instant::now();
    assert_eq!(ring.texts(false).1, 1 << 14);
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn what_the_ring_hangs_on_has_to_be_there() {
    let missing = |key: &str| {
        let mut ring = RingLab::new(KINDS[0]);
        ring.lab.without(key);
        ring.lab.run(false).unwrap_err().to_string()
    };
    assert_eq!(missing("SYMBOL(prb)"), "SYMBOL(prb) is missing in VMCOREINFO");
    for key in [
        "OFFSET(prb_desc_ring.infos)",
        "SIZE(prb_desc)",
        "OFFSET(printk_info.ts_nsec)",
        "OFFSET(prb_data_ring.data)",
    ] {
        assert_eq!(missing(key), format!("{key} is missing in VMCOREINFO, or invalid"));
    }
    assert_eq!(
        Lab::new(KINDS[0], "5.9.0").run(false).unwrap_err().to_string(),
        "SYMBOL(log_buf) is missing in VMCOREINFO"
    );
    let mut ring = RingLab::new(KINDS[0]);
    ring.lab.put32(ring.prb, 27);
    assert_eq!(
        ring.lab.run(false).unwrap_err(),
        LogError::Implausible { what: "prb_desc_ring.count_bits", value: 27 }
    );
    let mut ring = RingLab::new(KINDS[0]);
    ring.lab.without("SIZE(printk_info)");
    ring.lab.key("SIZE", "printk_info", 20);
    assert_eq!(ring.lab.run(false).unwrap_err().to_string(), "invalid printk_info.caller_id 0x14");
    let mut ring = RingLab::new(KINDS[0]);
    ring.lab.without("SYMBOL(prb)");
    ring.lab.variable_word("prb", 0x5000_0000);
    assert!(matches!(ring.lab.run(false), Err(LogError::Memory { .. })));
}

#[test]
fn a_writer_that_fails_ends_it() {
    let mut ring = RingLab::new(KINDS[0]);
    ring.add(2, b"x");
    let text = ring.lab.text.clone();
    let info = testing::info(&text);
    let arch = Arch::new(ring.lab.machine(), &info, &[]).unwrap();
    let mut storage = vec![0; TableCache::STORAGE];
    let mut cache = TableCache::new(&mut storage[..]);
    let mut memory = KernelMemory::new(&mut ring.lab, arch, &mut cache);
    let mut scratch = vec![0; SCRATCH_MIN];
    let options = Options::default();
    let failed = dump(&info, &mut memory, options, &mut scratch, &mut |_| Err("full"));
    assert_eq!(failed, Err(LogError::Write("full")));
    let small = dump(&info, &mut memory, options, &mut [0; 100], &mut |_| Err("full"));
    assert!(matches!(small, Err(LogError::Implausible { value: 100, .. })));
}

// ---- Records of variable length

const LOG_LEN: u64 = 2048;

struct RecordLab {
    lab: Lab,
    buffer: u64,
    header: u64,
    first: u64,
    next: u64,
    clear: u64,
    at: Vec<u64>,
}

impl RecordLab {
    /// `caller` is 5.1 and later, else 3.5.
    fn new(kind: Host, caller: bool, start: u64) -> RecordLab {
        let mut lab = Lab::new(kind, "4.19.0");
        let name = if caller { "printk_log" } else { "log" };
        let header = if caller { 20 } else { 16 };
        lab.key("SIZE", name, header);
        for (member, at) in [("ts_nsec", 0), ("len", 8), ("text_len", 10)] {
            lab.key("OFFSET", &format!("{name}.{member}"), at);
        }
        if caller {
            lab.key("OFFSET", "printk_log.caller_id", 16);
        }
        let buffer = lab.alloc(LOG_LEN);
        lab.variable_word("log_buf", buffer);
        lab.variable32("log_buf_len", LOG_LEN);
        let first = lab.variable32("log_first_idx", start);
        let next = lab.variable32("log_next_idx", start);
        let clear = lab.variable32("clear_idx", start);
        RecordLab { lab, buffer, header, first, next, clear, at: vec![start] }
    }

    fn add(&mut self, text: &[u8]) {
        let len = (self.header + text.len() as u64 + 9).next_multiple_of(4);
        let mut at = *self.at.last().unwrap();
        if at + len + self.header > LOG_LEN {
            self.lab.put(self.buffer + at, &vec![0; self.header as usize]);
            at = 0;
            *self.at.last_mut().unwrap() = 0;
        }
        let to = self.buffer + at;
        self.lab.put64(to, self.at.len() as u64 * 1_000_000);
        self.lab.put16(to + 8, len as u16);
        self.lab.put16(to + 10, text.len() as u16);
        self.lab.put16(to + 12, 9);
        if self.header == 20 {
            self.lab.put32(to + 16, 1);
        }
        self.lab.put(to + self.header, text);
        self.lab.put(to + self.header + text.len() as u64, b"SUBSYSTEM");
        self.at.push(at + len);
        self.lab.put32(self.next, (at + len) as u32);
    }

    fn filled(kind: Host, caller: bool) -> RecordLab {
        let mut log = RecordLab::new(kind, caller, LOG_LEN - 200);
        for n in 0..30 {
            log.add(format!("record {n}").as_bytes());
        }
        log
    }

    fn texts(&mut self, since_clear: bool) -> (Vec<String>, u64, u64) {
        let prefix = if self.header == 20 { 26 } else { 15 };
        let (lines, records, skipped) = self.lab.lines(since_clear);
        (lines.iter().map(|l| l[prefix..].to_string()).collect(), records, skipped)
    }
}

fn numbered(which: impl Iterator<Item = u32>) -> Vec<String> {
    which.map(|n| format!("record {n}")).collect()
}

#[test]
fn records_wrap_at_an_empty_one() {
    for kind in KINDS {
        for caller in [false, true] {
            let mut log = RecordLab::filled(kind, caller);
            assert_eq!(log.texts(false), (numbered(0..30), 30, 0));
            let line = log.lab.lines(false).0[0].clone();
            let want = if caller {
                "[    0.001000] [      T1] record 0"
            } else {
                "[    0.001000] record 0"
            };
            assert_eq!(line, want);
        }
    }
    assert_eq!(RecordLab::new(KINDS[0], true, 0).texts(false), (vec![], 0, 0));
}

#[test]
fn records_since_the_log_was_cleared() {
    let mut log = RecordLab::filled(KINDS[1], true);
    for n in 1..30 {
        log.lab.put32(log.clear, log.at[n] as u32);
        assert_eq!(log.texts(true).0, numbered(n as u32..30), "{n}");
    }
    log.lab.put32(log.clear, *log.at.last().unwrap() as u32);
    assert_eq!(log.texts(true), (vec![], 0, 0));
    for stale in [log.at[3] as u32 + 4, 0x7fff_ffff, u32::MAX] {
        log.lab.put32(log.clear, stale);
        assert_eq!(log.texts(true).0, numbered(0..30));
    }
    log.lab.without("clear_idx");
    assert_eq!(log.texts(true).1, 30);
}

#[test]
fn the_log_goes_on_behind_a_damaged_record() {
    for kind in KINDS {
        let good = RecordLab::filled(kind, true);
        for len in [0, 1, 4, 19, 24, 48, 52, 2000, 0xffff] {
            for n in [0, 1, 7, 12, 28] {
                let mut log = RecordLab::filled(kind, true);
                log.lab.put16(log.buffer + good.at[n] + 8, len);
                let (texts, records, skipped) = log.texts(false);
                for want in numbered(0..30) {
                    let lost = want == format!("record {n}");
                    assert!(lost || texts.contains(&want), "{want} lost by {len} at {n}");
                }
                assert!(records >= 25 && skipped <= 3, "{len} {n} {records} {skipped}");
            }
        }
        let mut log = RecordLab::filled(kind, true);
        log.lab.put16(log.buffer + good.at[9] + 10, 999); // a text longer than its record
        let want = numbered((0..30).filter(|&n| n != 9));
        assert_eq!(log.texts(false), (want, 29, 1));
        let mut log = RecordLab::filled(kind, true);
        log.lab.put(log.buffer + good.at[9], &[0xff; 70]); // two records
        let want = numbered((0..30).filter(|n| !(9..11).contains(n)));
        assert_eq!(log.texts(false), (want, 28, 1));
    }
}

#[test]
fn records_in_memory_that_is_gone_are_passed_over() {
    let mut log = RecordLab::filled(KINDS[0], false);
    let raw =
        log.lab.memory.bytes[(log.buffer - BASE + PHYS) as usize..][..LOG_LEN as usize].to_vec();
    let buffer = BASE + SPACE as u64 - 1024;
    log.lab.put(buffer, &raw[..1024]);
    log.lab.without("SYMBOL(log_buf)");
    log.lab.variable_word("log_buf", buffer);
    let (texts, _, skipped) = log.texts(false);
    // The log starts in the part that is gone.
    assert_eq!(texts.last().unwrap(), "record 29");
    assert!(skipped >= 1 && texts.len() > 15, "{texts:?}");
}

#[test]
fn indexes_out_of_the_buffer_are_refused() {
    let mut log = RecordLab::filled(KINDS[0], false);
    log.lab.put32(log.next, LOG_LEN as u32 - 15);
    assert_eq!(log.lab.run(false).unwrap_err().to_string(), "invalid log_next_idx 0x7f1");
    log.lab.put32(log.first, u32::MAX);
    assert_eq!(
        log.lab.run(false).unwrap_err(),
        LogError::Implausible { what: "log_first_idx", value: u32::MAX.into() }
    );
    log.lab.without("SYMBOL(log_buf_len)");
    log.lab.variable32("log_buf_len", 0);
    assert_eq!(log.lab.run(false).unwrap_err().to_string(), "invalid log_buf_len 0x0");
}

// ---- A ring of characters

fn char_lab(kind: Host, release: &str, buffer: &[u8], end: u64) -> Lab {
    let mut lab = Lab::new(kind, release);
    let at = lab.alloc(buffer.len() as u64);
    lab.put(at, buffer);
    lab.variable_word("log_buf", at);
    lab.variable32("log_buf_len", buffer.len() as u64);
    match release {
        "2.6.24" => lab.variable_word("log_end", end),
        _ => {
            // What is behind an unsigned int is no part of it.
            let at = lab.variable32("log_end", end);
            lab.put32(at + 4, 0x5555_5555);
            at
        }
    };
    lab
}

#[test]
fn characters_go_out_with_what_lines_begin_with() {
    for kind in KINDS {
        for release in ["2.6.24", "2.6.32", "3.4.0"] {
            let ring = *b"<6>two\n<7>th\xc3\xa9<6>end\n<4>one\n....";
            let mut lab = char_lab(kind, release, &ring, 14);
            assert_eq!(lab.run(false).unwrap().0, "<6>two\n<7>th\\xc3\\xa9");
            let mut lab = char_lab(kind, release, &ring, 64 + 14);
            let (text, report) = lab.run(true).unwrap();
            assert_eq!(text, "<6>end\n<4>one\n....<6>two\n<7>th\\xc3\\xa9");
            assert_eq!(report, LogReport { records: 3, skipped: 0 });
            let mut lab = char_lab(kind, release, &ring, 32);
            assert_eq!(lab.run(false).unwrap().0.len(), ring.len() + 6);
            let mut lab = char_lab(kind, release, &ring, 0);
            assert_eq!(lab.run(false).unwrap().0, "");
        }
    }
    let mut lab = char_lab(KINDS[0], "2.6.32", &[0; 33], 5);
    assert_eq!(lab.run(false).unwrap_err().to_string(), "invalid log_buf_len 0x21");
}

#[test]
fn pages_of_characters_that_are_gone_are_passed_over() {
    let mut lab = char_lab(KINDS[0], "2.6.32", &[b'x'; 1 << 14], 1 << 14);
    lab.without("SYMBOL(log_buf)");
    lab.variable_word("log_buf", BASE + SPACE as u64 - 0x1800);
    let (text, report) = lab.run(false).unwrap();
    // Its memory is zeros: four characters each.
    assert_eq!((text.len(), report.skipped), (4 * 0x1800, 3));
}

// ---- Anything

#[test]
fn ruined_memory_neither_hangs_nor_panics() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for round in 0..1500 {
        let kind = KINDS[round % 4];
        let (mut lab, spots) = match round % 3 {
            0 => {
                let mut ring = RingLab::new(kind);
                for n in 0..30 {
                    ring.add(2, &vec![b'a'; n]);
                }
                let spots = [ring.prb, ring.descs, ring.infos, ring.data, ring.clear];
                (ring.lab, spots)
            }
            1 => {
                let log = RecordLab::filled(kind, true);
                (log.lab, [log.buffer, log.first, log.next, log.clear, log.buffer + 1024])
            }
            _ => {
                let lab = char_lab(kind, "3.4.0", &[b'x'; 4096], 9999);
                (lab, [BASE + 0x100; 5])
            }
        };
        for _ in 0..=random(8) {
            let at = spots[random(5) as usize] + random(96);
            match random(4) {
                0 => lab.put(at, &[random(256) as u8]),
                1 => lab.put32(at & !3, random(1 << 32) as u32),
                2 => lab.put_word(at & !7, BASE + random(SPACE as u64)),
                _ => lab.put32(at & !3, random(40) as u32),
            }
        }
        if random(4) == 0 {
            // VMCOREINFO is ruined too.
            let mut text = lab.text.clone().into_bytes();
            let at = random(text.len() as u64) as usize;
            if text[at].is_ascii_digit() && at > 120 {
                text[at] = b'0' + random(10) as u8;
                lab.text = String::from_utf8(text).unwrap();
            }
        }
        // Whatever it finds is at most what the rings hold, many times over.
        if let Ok((text, report)) = lab.run_bytes(round % 2 == 0) {
            assert!(text.len() < 1 << 26, "{round}: {} bytes, {report:?}", text.len());
        }
    }
}
