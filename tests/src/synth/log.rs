//! Kernel log buffers of the three kinds, and the text they stand for.

use super::machine::{Kit, Machine};
use super::style::LogStyle;

/// Something that happened to a record of the lockless ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogState {
    /// Complete.
    #[default]
    Finalized,
    /// Complete, but may still be extended.
    Committed,
    /// Being written: not to be printed.
    Reserved,
    /// No text could be allocated: nothing to print.
    NoText,
    /// Its text was overwritten: the id in front of the text is another one.
    Stale,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LogLine {
    /// Nanoseconds since boot.
    pub ts_nsec: u64,
    /// Thread id, or CPU number with bit 31 set.
    pub caller: u32,
    /// The text, without prefix or final newline; may hold newlines and bytes of any value.
    pub text: Vec<u8>,
    /// Used by the lockless ring only.
    pub state: LogState,
}

impl LogLine {
    /// A complete line.
    pub fn new(ts_nsec: u64, caller: u32, text: &str) -> Self {
        LogLine { ts_nsec, caller, text: text.into(), ..Default::default() }
    }

    /// The same line in another state.
    pub fn in_state(self, state: LogState) -> Self {
        LogLine { state, ..self }
    }
}

/// Bytes of the character ring.
const CHARS: u64 = 1 << 12;
/// Bytes of the record buffer.
const RECORDS: u64 = 1 << 14;
/// Descriptors of the lockless ring, as a power of two.
const COUNT_BITS: u32 = 7;
/// Bytes of its text, as a power of two.
const SIZE_BITS: u32 = 14;

/// Size of the record header; with a caller id it is not a multiple of eight.
pub(super) fn record_header(caller: bool) -> u64 {
    if caller { 20 } else { 16 }
}

/// The text `--dump-dmesg` has to give for these lines in a kernel with this log.
pub fn expected_text(style: LogStyle, lines: &[LogLine]) -> Vec<u8> {
    let caller = match style {
        LogStyle::Chars => {
            let all = char_text(lines);
            return all[all.len().saturating_sub(CHARS as usize)..].to_vec();
        }
        LogStyle::Records { caller, .. } => caller,
        LogStyle::Ring { .. } => true,
    };
    let mut out = Vec::new();
    for line in lines {
        if matches!(line.state, LogState::Reserved | LogState::NoText | LogState::Stale) {
            continue;
        }
        let mut prefix =
            format!("[{:5}.{:06}] ", line.ts_nsec / 1_000_000_000, line.ts_nsec / 1000 % 1_000_000);
        if caller {
            let kind = if line.caller >> 31 != 0 { 'C' } else { 'T' };
            let who = format!("{kind}{}", line.caller & 0x7fff_ffff);
            prefix += &format!("[{who:>8}] ");
        }
        out.extend(prefix.as_bytes());
        for &byte in &line.text {
            match byte {
                b'\n' => {
                    out.push(b'\n');
                    out.extend(std::iter::repeat_n(b' ', prefix.len()));
                }
                b' '..=b'~' | b'\t' | 0x0b | 0x0c | b'\r' => out.push(byte),
                _ => out.extend(format!("\\x{byte:02x}").as_bytes()),
            }
        }
        out.push(b'\n');
    }
    out
}

fn char_text(lines: &[LogLine]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        let (s, us) = (line.ts_nsec / 1_000_000_000, line.ts_nsec / 1000 % 1_000_000);
        out.extend(format!("<6>[{s:5}.{us:06}] ").as_bytes());
        out.extend(&line.text);
        out.push(b'\n');
    }
    out
}

/// Writes the log buffer and its variables.
pub(super) fn write(machine: &Machine, kit: &mut Kit, lines: &[LogLine], clear_from: usize) {
    match machine.facts.log {
        LogStyle::Chars => chars(kit, lines),
        LogStyle::Records { caller, .. } => records(kit, lines, clear_from, caller),
        LogStyle::Ring { latched, info_size } => {
            ring(kit, lines, clear_from as u64, latched, info_size);
        }
    }
}

fn chars(kit: &mut Kit, lines: &[LogLine]) {
    let text = char_text(lines);
    let mut buffer = vec![0; CHARS as usize];
    for (i, &byte) in text.iter().enumerate() {
        buffer[i % CHARS as usize] = byte;
    }
    let at = kit.alloc_va(CHARS);
    kit.memory.write(at, &buffer);
    let words = kit.words;
    kit.variable("log_buf", &words.long(at));
    kit.variable("log_buf_len", &words.u32(CHARS as u32));
    kit.variable("log_end", &words.long(text.len() as u64));
}

fn records(kit: &mut Kit, lines: &[LogLine], clear_from: usize, caller: bool) {
    let (header, words) = (record_header(caller) as usize, kit.words);
    let mut buffer = vec![0u8; RECORDS as usize];
    // The first record starts where only a few more fit, so that the buffer wraps.
    let first = RECORDS as usize - 256;
    let (mut at, mut clear) = (first, first);
    for (i, line) in lines.iter().enumerate() {
        let dict = b"SUBSYSTEM=synth";
        let len = (header + line.text.len() + dict.len()).next_multiple_of(8);
        // Room is kept for the header that says "go on at the start".
        if at + len + header > RECORDS as usize {
            buffer[at..at + header].fill(0);
            at = 0;
        }
        assert!(i == 0 || at >= first || at + len < first, "too many lines for the log buffer");
        if i == clear_from {
            clear = at;
        }
        let record = &mut buffer[at..at + len];
        record[..8].copy_from_slice(&words.u64(line.ts_nsec));
        record[8..10].copy_from_slice(&words.u16(len as u16));
        record[10..12].copy_from_slice(&words.u16(line.text.len() as u16));
        record[12..14].copy_from_slice(&words.u16(dict.len() as u16));
        if caller {
            record[16..20].copy_from_slice(&words.u32(line.caller));
        }
        record[header..header + line.text.len()].copy_from_slice(&line.text);
        record[header + line.text.len()..][..dict.len()].copy_from_slice(dict);
        at += len;
    }
    if clear_from >= lines.len() {
        clear = at;
    }
    let va = kit.alloc_va(RECORDS);
    kit.memory.write(va, &buffer);
    kit.variable("log_buf", &words.long(va));
    kit.variable("log_buf_len", &words.u32(RECORDS as u32));
    kit.variable("log_first_idx", &words.u32(first as u32));
    kit.variable("log_next_idx", &words.u32(at as u32));
    kit.variable("clear_idx", &words.u32(clear as u32));
}

fn ring(kit: &mut Kit, lines: &[LogLine], clear_from: u64, latched: bool, info_size: u64) {
    let words = kit.words;
    let long = words.bytes();
    // The two upper bits of a word are its state.
    let ids = 1u64 << (8 * long - 2);
    let count = 1u64 << COUNT_BITS;
    let size = 1u64 << SIZE_BITS;
    assert!((lines.len() as u64) < count, "too many lines for the ring");
    // As in the kernel, ids start shortly before they wrap to 0, at a multiple of the count.
    let first_id = ids - count;
    let desc_size = 3 * long as usize;
    let mut descs = vec![0u8; desc_size * count as usize];
    let mut infos = vec![0u8; (info_size * count) as usize];
    let mut data = vec![0u8; size as usize];
    let put_at = |bytes: &mut [u8], at: u64, value: &[u8]| {
        bytes[at as usize..at as usize + value.len()].copy_from_slice(value);
    };
    // Positions grow without end; the first wrap of the text comes soon.
    let mut lpos = size - 256;
    let mut stale = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let id = (first_id + i as u64) % ids;
        let slot = (id % count) as usize;
        let state: u64 = match line.state {
            LogState::Reserved => 0,
            LogState::Committed => 1,
            _ => 2,
        };
        let (begin, next) = if line.state == LogState::NoText || line.text.is_empty() {
            (1, 1)
        } else {
            let need = (long + line.text.len() as u64).next_multiple_of(long);
            let begin = lpos;
            let mut start = begin % size;
            let mut end = begin + need;
            if end / size != begin / size {
                // Does not end before the buffer does: the whole block lies at its start.
                put_at(&mut data, start, &words.long(id));
                start = 0;
                end = (begin / size + 1) * size + need;
            }
            assert!(end - (size - 256) < size, "too much text for the ring");
            put_at(&mut data, start, &words.long(id));
            put_at(&mut data, start + long, &line.text);
            if line.state == LogState::Stale {
                stale.push((start, id));
            }
            lpos = end;
            (begin, end)
        };
        let desc = &mut descs[slot * desc_size..(slot + 1) * desc_size];
        put_at(desc, 0, &words.long((state * ids) | id));
        put_at(desc, long, &words.long(begin));
        put_at(desc, 2 * long, &words.long(next));
        let info = &mut infos[slot * info_size as usize..][..info_size as usize];
        info[..8].copy_from_slice(&words.u64(i as u64));
        info[8..16].copy_from_slice(&words.u64(line.ts_nsec));
        info[16..18].copy_from_slice(&words.u16(line.text.len() as u16));
        info[20..24].copy_from_slice(&words.u32(line.caller));
    }
    for (start, id) in stale {
        put_at(&mut data, start, &words.long((id + 5) % ids));
    }
    let descs_at = put(kit, &descs);
    let infos_at = put(kit, &infos);
    let data_at = put(kit, &data);
    let head_id = (first_id + lines.len() as u64 - 1) % ids;
    let mut prb = vec![0u8; 11 * long as usize];
    put_at(&mut prb, 0, &words.u32(COUNT_BITS));
    put_at(&mut prb, 6 * long, &words.u32(SIZE_BITS));
    for (word, value) in [
        (1, descs_at),
        (2, infos_at),
        (3, head_id),
        (4, first_id),
        (5, head_id),
        (7, data_at),
        (8, lpos),
        (9, size - 256),
    ] {
        put_at(&mut prb, word * long, &words.long(value));
    }
    let prb_at = put(kit, &prb);
    kit.variable("prb", &words.long(prb_at));
    if latched {
        // Counter odd: the second value counts; the first one is wrong on purpose.
        let mut value = [0u8; 24];
        value[..4].copy_from_slice(&words.u32(7));
        value[8..16].copy_from_slice(&words.u64(0xdead_beef));
        value[16..24].copy_from_slice(&words.u64(clear_from));
        kit.variable("clear_seq", &value);
    } else {
        kit.variable("clear_seq", &words.u64(clear_from));
    }
}

fn put(kit: &mut Kit, bytes: &[u8]) -> u64 {
    let at = kit.alloc_va(bytes.len() as u64);
    kit.memory.write(at, bytes);
    at
}
