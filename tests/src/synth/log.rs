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
    kit.variable("log_buf", &at.to_le_bytes());
    kit.variable("log_buf_len", &(CHARS as u32).to_le_bytes());
    kit.variable("log_end", &(text.len() as u64).to_le_bytes());
}

fn records(kit: &mut Kit, lines: &[LogLine], clear_from: usize, caller: bool) {
    let header = record_header(caller) as usize;
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
        record[..8].copy_from_slice(&line.ts_nsec.to_le_bytes());
        record[8..10].copy_from_slice(&(len as u16).to_le_bytes());
        record[10..12].copy_from_slice(&(line.text.len() as u16).to_le_bytes());
        record[12..14].copy_from_slice(&(dict.len() as u16).to_le_bytes());
        if caller {
            record[16..20].copy_from_slice(&line.caller.to_le_bytes());
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
    kit.variable("log_buf", &va.to_le_bytes());
    kit.variable("log_buf_len", &(RECORDS as u32).to_le_bytes());
    kit.variable("log_first_idx", &(first as u32).to_le_bytes());
    kit.variable("log_next_idx", &(at as u32).to_le_bytes());
    kit.variable("clear_idx", &(clear as u32).to_le_bytes());
}

fn ring(kit: &mut Kit, lines: &[LogLine], clear_from: u64, latched: bool, info_size: u64) {
    const IDS: u64 = 1 << 62;
    let count = 1u64 << COUNT_BITS;
    let size = 1u64 << SIZE_BITS;
    assert!((lines.len() as u64) < count, "too many lines for the ring");
    // As in the kernel, ids start shortly before they wrap to 0, at a multiple of the count.
    let first_id = IDS - count;
    let mut descs = vec![0u8; 24 * count as usize];
    let mut infos = vec![0u8; (info_size * count) as usize];
    let mut data = vec![0u8; size as usize];
    // Positions grow without end; the first wrap of the text comes soon.
    let mut lpos = size - 256;
    let mut stale = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let id = (first_id + i as u64) % IDS;
        let slot = (id % count) as usize;
        let state: u64 = match line.state {
            LogState::Reserved => 0,
            LogState::Committed => 1,
            _ => 2,
        };
        let (begin, next) = if line.state == LogState::NoText || line.text.is_empty() {
            (1, 1)
        } else {
            let need = (8 + line.text.len() as u64).next_multiple_of(8);
            let begin = lpos;
            let mut start = begin % size;
            let mut end = begin + need;
            if end / size != begin / size {
                // Does not end before the buffer does: the whole block lies at its start.
                data[start as usize..start as usize + 8].copy_from_slice(&id.to_le_bytes());
                start = 0;
                end = (begin / size + 1) * size + need;
            }
            assert!(end - (size - 256) < size, "too much text for the ring");
            let start = start as usize;
            data[start..start + 8].copy_from_slice(&id.to_le_bytes());
            data[start + 8..start + 8 + line.text.len()].copy_from_slice(&line.text);
            if line.state == LogState::Stale {
                stale.push((start, id));
            }
            lpos = end;
            (begin, end)
        };
        let desc = &mut descs[slot * 24..slot * 24 + 24];
        desc[..8].copy_from_slice(&(state << 62 | id).to_le_bytes());
        desc[8..16].copy_from_slice(&begin.to_le_bytes());
        desc[16..24].copy_from_slice(&next.to_le_bytes());
        let info = &mut infos[slot * info_size as usize..][..info_size as usize];
        info[..8].copy_from_slice(&(i as u64).to_le_bytes());
        info[8..16].copy_from_slice(&line.ts_nsec.to_le_bytes());
        info[16..18].copy_from_slice(&(line.text.len() as u16).to_le_bytes());
        info[20..24].copy_from_slice(&line.caller.to_le_bytes());
    }
    for (start, id) in stale {
        data[start..start + 8].copy_from_slice(&((id + 5) % IDS).to_le_bytes());
    }
    let descs_at = put(kit, &descs);
    let infos_at = put(kit, &infos);
    let data_at = put(kit, &data);
    let head_id = (first_id + lines.len() as u64 - 1) % IDS;
    let mut prb = [0u8; 88];
    prb[..4].copy_from_slice(&COUNT_BITS.to_le_bytes());
    prb[8..16].copy_from_slice(&descs_at.to_le_bytes());
    prb[16..24].copy_from_slice(&infos_at.to_le_bytes());
    prb[24..32].copy_from_slice(&head_id.to_le_bytes());
    prb[32..40].copy_from_slice(&first_id.to_le_bytes());
    prb[40..48].copy_from_slice(&head_id.to_le_bytes());
    prb[48..52].copy_from_slice(&SIZE_BITS.to_le_bytes());
    prb[56..64].copy_from_slice(&data_at.to_le_bytes());
    prb[64..72].copy_from_slice(&lpos.to_le_bytes());
    prb[72..80].copy_from_slice(&(size - 256).to_le_bytes());
    let prb_at = put(kit, &prb);
    kit.variable("prb", &prb_at.to_le_bytes());
    if latched {
        // Counter odd: the second value counts; the first one is wrong on purpose.
        let mut value = [0u8; 24];
        value[..4].copy_from_slice(&7u32.to_le_bytes());
        value[8..16].copy_from_slice(&0xdead_beefu64.to_le_bytes());
        value[16..24].copy_from_slice(&clear_from.to_le_bytes());
        kit.variable("clear_seq", &value);
    } else {
        kit.variable("clear_seq", &clear_from.to_le_bytes());
    }
}

fn put(kit: &mut Kit, bytes: &[u8]) -> u64 {
    let at = kit.alloc_va(bytes.len() as u64);
    kit.memory.write(at, bytes);
    at
}
