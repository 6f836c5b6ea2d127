//! The dead kernel's log as text, as `dmesg` would have printed it.
//!
//! Three formats, told apart by the symbols that VMCOREINFO has:
//! - `prb` (Linux 5.10): descriptors, infos and texts in three rings
//!   (`kernel/printk/printk_ringbuffer.h`).
//! - `log_buf` without `log_end` (Linux 3.5 to 5.9): records of variable length
//!   (`struct printk_log`, before 3.11 `struct log`, in `kernel/printk.c`).
//! - `log_buf` with `log_end` (before 3.5): a ring of characters.
//!
//! The log of a kernel that crashed matters most where memory is ruined: a record that makes no
//! sense is left out and counted, and the next one is looked for. Every loop is bounded by what the
//! rings can hold, whatever they claim.

use crate::endian::{Endian, Word};
use crate::kernel::memory::{Memory, VirtFault};
use crate::memory::Source;
use crate::units::VirtAddr;
use crate::vmcoreinfo::{Info, MissingKey, Version};
use crate::wire::vmcoreinfo::Kind;
use core::fmt;

/// Bytes of scratch memory that [`dump`] needs at least; with more it reads in larger pieces.
pub const SCRATCH_MIN: usize = 4096;

/// `LOG_BUF_LEN_MAX`: no kernel has a larger log.
const LOG_MAX_BITS: u32 = 31;
/// No kernel has more descriptors: one for every 32 bytes of text (`PRB_AVGBITS`).
const COUNT_MAX_BITS: u32 = LOG_MAX_BITS - 5;
/// So many unreadable descriptors, and the rest is given up.
const FAULTS_MAX: u32 = 1 << 16;
/// So many places are tried, in the whole log, to find the record after a damaged one.
const TRIES_MAX: u32 = 1 << 18;
/// Records have at least this alignment.
const RECORD_ALIGN: u64 = 4;
/// So many records in a row (or the end of the log) make a place the start of a record.
const CHAIN: u32 = 4;
/// Unreadable memory is passed over in steps of this size: the smallest page there is.
const STEP: u64 = 4096;

/// Which records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Only records since the log was last cleared (`dmesg -c`). Where the kernel does not tell
    /// when that was (without `SYMBOL(clear_seq)` or `SYMBOL(clear_idx)`), or that record is
    /// overwritten: all of them.
    pub since_clear: bool,
}

/// Why there is no log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmesgError<E> {
    /// A fact about the kernel is missing.
    Missing(MissingKey),
    /// A variable or structure that everything hangs on could not be read.
    Memory {
        /// Which one.
        what: &'static str,
        /// Where, and what happened.
        fault: VirtFault,
    },
    /// A value that everything hangs on cannot be true.
    Implausible {
        /// Of what.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// The text could not be written.
    Write(E),
}

impl<E: fmt::Display> fmt::Display for DmesgError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DmesgError::Missing(key) => key.fmt(f),
            DmesgError::Memory { what, fault } => write!(f, "reading {what}: {fault}"),
            DmesgError::Implausible { what, value } => {
                write!(f, "{what} cannot be 0x{value:x}")
            }
            DmesgError::Write(e) => e.fmt(f),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> core::error::Error for DmesgError<E> {}

impl<E> From<MissingKey> for DmesgError<E> {
    fn from(key: MissingKey) -> DmesgError<E> {
        DmesgError::Missing(key)
    }
}

fn reading<E>(what: &'static str) -> impl Fn(VirtFault) -> DmesgError<E> {
    move |fault| DmesgError::Memory { what, fault }
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DmesgReport {
    /// Records; of a character ring, lines.
    pub records: u64,
    /// Records that were left out, wholly or in part: damaged, overwritten, or not finished when
    /// the kernel died. Where it is unknown how many there were, a damaged place counts as one.
    pub skipped: u64,
}

/// Writes the log to `out`, in pieces. `scratch` is [`SCRATCH_MIN`] bytes or more.
pub fn dump<S: Source, E>(
    info: &Info<'_>,
    memory: &mut Memory<'_, '_, S>,
    options: Options,
    scratch: &mut [u8],
    out: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<DmesgReport, DmesgError<E>> {
    if scratch.len() < SCRATCH_MIN {
        let value = scratch.len() as u64;
        return Err(DmesgError::Implausible { what: "length of the scratch buffer", value });
    }
    let (buf, work) = scratch.split_at_mut(scratch.len() / 4);
    let mut log = Log { memory, buf, used: 0, out, report: DmesgReport::default() };
    let has = |name| info.get(Kind::Symbol, name).is_some();
    if has("prb") || info.get(Kind::Size, "printk_ringbuffer").is_some() {
        ring(&mut log, info, options, work)?;
    } else if has("log_end") {
        characters(&mut log, info, work)?;
    } else if has("log_buf") {
        records(&mut log, info, options, work)?;
    } else {
        let old = info.version().is_some_and(|v| v < Version(5, 10, 0));
        return Err(MissingKey(Kind::Symbol, if old { "log_buf" } else { "prb" }).into());
    }
    log.flush()?;
    Ok(log.report)
}

/// What stands in front of a record's text.
#[derive(Clone, Copy)]
struct Stamp {
    nanoseconds: u64,
    caller: Option<u32>,
}

impl Stamp {
    /// The prefix of the record's first line.
    fn text(self) -> Short {
        let mut text = Short::new();
        let (s, ns) = (self.nanoseconds / 1_000_000_000, self.nanoseconds % 1_000_000_000);
        text.add(format_args!("[{s:5}.{:06}] ", ns / 1000));
        if let Some(caller) = self.caller {
            let mut who = Short::new();
            let kind = if caller >> 31 == 0 { 'T' } else { 'C' };
            who.add(format_args!("{kind}{}", caller & (u32::MAX >> 1)));
            text.add(format_args!("[{:>8}] ", str::from_utf8(who.bytes()).unwrap_or_default()));
        }
        text
    }
}

/// A short text; what does not fit is cut off.
struct Short {
    raw: [u8; SHORT],
    used: usize,
}

/// Longer than the longest prefix.
const SHORT: usize = 48;

impl Short {
    fn new() -> Short {
        Short { raw: [0; SHORT], used: 0 }
    }

    fn add(&mut self, text: fmt::Arguments<'_>) {
        // Its `write_str` never fails.
        let _ = fmt::write(self, text);
    }

    fn bytes(&self) -> &[u8] {
        self.raw.get(..self.used).unwrap_or_default()
    }
}

impl fmt::Write for Short {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for (to, from) in self.raw.iter_mut().skip(self.used).zip(s.bytes()) {
            *to = from;
            self.used += 1;
        }
        Ok(())
    }
}

/// Whether a byte of a text is written as it is; newlines are not.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | 0x0b | 0x0c | b'\r')
}

/// The memory that is read and the text that is written.
struct Log<'x, 'a, 'b, S, E> {
    memory: &'x mut Memory<'a, 'b, S>,
    buf: &'x mut [u8],
    used: usize,
    out: &'x mut dyn FnMut(&[u8]) -> Result<(), E>,
    report: DmesgReport,
}

impl<S: Source, E> Log<'_, '_, '_, S, E> {
    fn flush(&mut self) -> Result<(), DmesgError<E>> {
        let text = self.buf.get(..self.used).unwrap_or_default();
        if !text.is_empty() {
            (self.out)(text).map_err(DmesgError::Write)?;
        }
        self.used = 0;
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> Result<(), DmesgError<E>> {
        let mut rest = text;
        while !rest.is_empty() {
            let room = self.buf.get_mut(self.used..).unwrap_or_default();
            let len = room.len().min(rest.len());
            let (part, after) = rest.split_at_checked(len).unwrap_or_default();
            room.get_mut(..len).unwrap_or_default().copy_from_slice(part);
            self.used += len;
            rest = after;
            if self.used >= self.buf.len() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes a part of a record's text. Lines after the first are indented by `width`.
    fn write_escaped(&mut self, text: &[u8], width: usize) -> Result<(), DmesgError<E>> {
        for run in text.chunk_by(|&a, &b| is_plain(a) && is_plain(b)) {
            match *run {
                [b'\n'] => {
                    self.write(b"\n")?;
                    self.write([b' '; SHORT].get(..width).unwrap_or_default())?;
                }
                [byte] if !is_plain(byte) => {
                    let mut escape = Short::new();
                    escape.add(format_args!("\\x{byte:02x}"));
                    self.write(escape.bytes())?;
                }
                _ => self.write(run)?,
            }
        }
        Ok(())
    }

    /// Writes a record whose text is the `len` bytes after the `lead` bytes at `at`. It is left
    /// out unless `is_good` says yes to the lead.
    fn record(
        &mut self,
        work: &mut [u8],
        at: u64,
        lead: usize,
        len: u64,
        stamp: Stamp,
        is_good: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(), DmesgError<E>> {
        let piece = |left: u64, room: usize| left.min(room as u64) as usize;
        let mut left = len.saturating_add(lead as u64);
        let first = work.get_mut(..piece(left, work.len())).unwrap_or_default();
        let read = self.memory.read(VirtAddr(at), first).is_ok();
        let (head, text) = first.split_at_checked(lead).unwrap_or_default();
        if !read || !is_good(head) {
            self.report.skipped += 1;
            return Ok(());
        }
        let prefix = stamp.text();
        let width = prefix.bytes().len();
        self.write(prefix.bytes())?;
        self.write_escaped(text, width)?;
        let mut at = at.wrapping_add(first.len() as u64);
        left -= first.len() as u64;
        let mut whole = true;
        while left > 0 && whole {
            let part = work.get_mut(..piece(left, work.len())).unwrap_or_default();
            whole = self.memory.read(VirtAddr(at), part).is_ok();
            if whole {
                self.write_escaped(part, width)?;
                at = at.wrapping_add(part.len() as u64);
                left -= part.len() as u64;
            }
        }
        self.write(b"\n")?;
        if whole {
            self.report.records += 1;
        } else {
            self.report.skipped += 1;
        }
        Ok(())
    }
}

fn offset(info: &Info<'_>, name: &'static str) -> Result<usize, MissingKey> {
    info.offset(name).ok_or(MissingKey(Kind::Offset, name))
}

/// A size that is `1..=most`.
fn size<E>(info: &Info<'_>, name: &'static str, most: usize) -> Result<usize, DmesgError<E>> {
    let value = info.need(Kind::Size, name)?;
    match usize::try_from(value) {
        Ok(size) if (1..=most).contains(&size) => Ok(size),
        _ => Err(DmesgError::Implausible { what: name, value }),
    }
}

/// A member's offset in a structure of `size` bytes, of which the member takes `len`.
fn member<E>(
    at: usize,
    len: usize,
    size: usize,
    what: &'static str,
) -> Result<usize, DmesgError<E>> {
    match at.checked_add(len) {
        Some(end) if end <= size => Ok(at),
        _ => Err(DmesgError::Implausible { what, value: at as u64 }),
    }
}

fn at_most<E>(bits: u32, most: u32, what: &'static str) -> Result<u32, DmesgError<E>> {
    if bits > most {
        return Err(DmesgError::Implausible { what, value: bits.into() });
    }
    Ok(bits)
}

// ---- The ring of descriptors, Linux 5.10 and later -------------------------------------------

/// `begin` and `next` of a record whose text is empty (`EMPTY_LINE_LPOS`).
const EMPTY_LINE: u64 = 3;

/// States of a descriptor: the top two bits of its `state_var`.
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;
const REUSABLE: u64 = 3;

/// The three rings.
struct Ring {
    endian: Endian,
    word: Word,
    /// Number of descriptors and of infos, a power of two.
    count: u64,
    descs: u64,
    desc_size: usize,
    state_var: usize,
    begin: usize,
    next: usize,
    infos: u64,
    info_size: usize,
    seq: Option<usize>,
    ts_nsec: usize,
    text_len: usize,
    caller_id: Option<usize>,
    /// log2 of the bytes of text.
    size_bits: u32,
    data: u64,
    head: u64,
    tail: u64,
}

impl Ring {
    /// Bits of an `unsigned long`.
    fn word_mask(&self) -> u64 {
        u64::MAX >> (64 - 8 * self.word.bytes() as u32)
    }

    /// Bits of a descriptor's id.
    fn id_mask(&self) -> u64 {
        self.word_mask() >> 2
    }

    /// Reads `prb` and what it points to.
    fn read<S: Source, E>(
        info: &Info<'_>,
        memory: &mut Memory<'_, '_, S>,
        work: &mut [u8],
    ) -> Result<Ring, DmesgError<E>> {
        let (endian, word) = (memory.endian(), memory.word_size());
        let prb = VirtAddr(info.need(Kind::Symbol, "prb")?);
        // Two thirds of the scratch memory take descriptors and infos, and some of each.
        let root_size = size(info, "printk_ringbuffer", work.len())?;
        let desc_size = size(info, "prb_desc", work.len() / 3)?;
        let info_size = size(info, "printk_info", work.len() / 3)?;
        let desc_ring = offset(info, "printk_ringbuffer.desc_ring")?;
        let text_ring = offset(info, "printk_ringbuffer.text_data_ring")?;
        // The counter is all that an atomic_long_t has, so it is at 0 unless said otherwise.
        let counter = info.offset("atomic_long_t.counter").unwrap_or(0);

        let root = work.get_mut(..root_size).unwrap_or_default();
        let at = memory.word(prb).map_err(reading("prb"))?;
        memory.read(VirtAddr(at), root).map_err(reading("the printk ring buffer"))?;
        let root = &*root;
        let at = |base: usize, name: &'static str, plus: usize, len: usize| {
            let at = base.saturating_add(offset(info, name)?).saturating_add(plus);
            member(at, len, root_size, name)
        };
        let int = |base, name| {
            Ok::<u32, DmesgError<E>>(endian.u32(root, at(base, name, 0, 4)?).unwrap_or(0))
        };
        let long = |base, name, plus| {
            let at = at(base, name, plus, word.bytes())?;
            Ok::<u64, DmesgError<E>>(endian.word(word, root, at).unwrap_or(0))
        };
        let field = |name, plus: usize, len, size| {
            member(offset(info, name)?.saturating_add(plus), len, size, name)
        };
        let blk = offset(info, "prb_desc.text_blk_lpos")?;
        let optional = |name, len| match info.offset(name) {
            Some(at) => member(at, len, info_size, name).map(Some),
            None => Ok(None),
        };
        let bits = int(desc_ring, "prb_desc_ring.count_bits")?;
        let count = 1u64 << at_most(bits, COUNT_MAX_BITS, "prb_desc_ring.count_bits")?;
        let bits = int(text_ring, "prb_data_ring.size_bits")?;
        let mut ring = Ring {
            endian,
            word,
            count,
            descs: long(desc_ring, "prb_desc_ring.descs", 0)?,
            desc_size,
            state_var: field("prb_desc.state_var", counter, word.bytes(), desc_size)?,
            begin: field("prb_data_blk_lpos.begin", blk, word.bytes(), desc_size)?,
            next: field("prb_data_blk_lpos.next", blk, word.bytes(), desc_size)?,
            infos: long(desc_ring, "prb_desc_ring.infos", 0)?,
            info_size,
            seq: optional("printk_info.seq", 8)?,
            ts_nsec: field("printk_info.ts_nsec", 0, 8, info_size)?,
            text_len: field("printk_info.text_len", 0, 2, info_size)?,
            caller_id: optional("printk_info.caller_id", 4)?,
            size_bits: at_most(bits, LOG_MAX_BITS, "prb_data_ring.size_bits")?,
            data: long(text_ring, "prb_data_ring.data", 0)?,
            head: long(desc_ring, "prb_desc_ring.head_id", counter)?,
            tail: long(desc_ring, "prb_desc_ring.tail_id", counter)?,
        };
        ring.head &= ring.id_mask();
        ring.tail &= ring.id_mask();
        Ok(ring)
    }

    /// Offset in the text ring, and bytes, of the block between two positions; `None` if they are
    /// none of a block.
    ///
    /// Positions grow without end and are taken modulo the ring. A block that does not fit before
    /// the ring's end lies at its start. One that ends where the ring ends lies before the end:
    /// newer kernels have such blocks, older ones never make them.
    fn block(&self, begin: u64, next: u64) -> Option<(u64, u64)> {
        if (begin | next) & (self.word.bytes() as u64 - 1) != 0 {
            return None;
        }
        let inside = (1u64 << self.size_bits) - 1;
        let last = next.wrapping_sub(1) & self.word_mask();
        let (round, last_round) = (begin >> self.size_bits, last >> self.size_bits);
        if round == last_round && begin <= last {
            Some((begin & inside, last - begin + 1))
        } else if last_round == round.wrapping_add(1) & (self.word_mask() >> self.size_bits) {
            Some((0, (last & inside) + 1))
        } else {
            None
        }
    }

    /// First id and number of ids from the tail to the head. Where these cannot both be true, the
    /// head is believed, and all descriptors are looked at.
    fn span(&self) -> (u64, u64) {
        let len = (self.head.wrapping_sub(self.tail) & self.id_mask()) + 1;
        if len <= self.count {
            (self.tail, len)
        } else {
            (self.head.wrapping_sub(self.count - 1) & self.id_mask(), self.count)
        }
    }

    /// How many of the `len` ids from `first` on are older than the record number `clear`, by the
    /// ids alone: record 0 has the id `-count` (`DESC0_ID` + 1), and both count up by one.
    fn older(&self, first: u64, len: u64, clear: u64) -> u64 {
        let older = clear.wrapping_sub(self.count).wrapping_sub(first) & self.id_mask();
        if older <= len { older } else { 0 }
    }
}

/// `clear_seq`: the number of the first record after the log was cleared. From 5.13 on a pair of
/// numbers (`struct latched_seq`), of which a counter in front tells the one that holds.
fn clear_seq<S: Source, E>(
    info: &Info<'_>,
    memory: &mut Memory<'_, '_, S>,
) -> Result<Option<u64>, DmesgError<E>> {
    let Some(at) = info.get(Kind::Symbol, "clear_seq") else {
        return Ok(None);
    };
    let mut value = 0;
    if info.get(Kind::Size, "latched_seq").is_some() {
        let counter = memory.u32(VirtAddr(at)).map_err(reading("clear_seq"))?;
        value =
            info.need(Kind::Offset, "latched_seq.val")?.wrapping_add(8 * u64::from(counter & 1));
    }
    memory.u64(VirtAddr(at.wrapping_add(value))).map(Some).map_err(reading("clear_seq"))
}

fn ring<S: Source, E>(
    log: &mut Log<'_, '_, '_, S, E>,
    info: &Info<'_>,
    options: Options,
    work: &mut [u8],
) -> Result<(), DmesgError<E>> {
    let ring = Ring::read(info, log.memory, work)?;
    let clear = if options.since_clear { clear_seq(info, log.memory)? } else { None };
    let third = work.len() / 3;
    let (descs, work) = work.split_at_mut(third);
    let (infos, text) = work.split_at_mut(third);
    let most = (third / ring.desc_size).min(third / ring.info_size).max(1) as u64;

    let (first, len) = ring.span();
    let mut done = match clear {
        Some(clear) if ring.seq.is_none() => ring.older(first, len, clear),
        _ => 0,
    };
    // Texts do not overlap; what is written for damaged ones is bounded too.
    let mut budget = 4u64 << ring.size_bits;
    let mut one_by_one = 0;
    let mut faults = 0;
    while done < len {
        let id = first.wrapping_add(done) & ring.id_mask();
        let slot = id & (ring.count - 1);
        let most = if done < one_by_one { 1 } else { most };
        let batch = most.min(len - done).min(ring.count - slot);
        let descs = descs.get_mut(..batch as usize * ring.desc_size).unwrap_or_default();
        let infos = infos.get_mut(..batch as usize * ring.info_size).unwrap_or_default();
        let table = |start: u64, size: usize| VirtAddr(start.wrapping_add(slot * size as u64));
        let read = log.memory.read(table(ring.descs, ring.desc_size), descs).is_ok()
            && log.memory.read(table(ring.infos, ring.info_size), infos).is_ok();
        if !read {
            faults += 1;
            if faults > FAULTS_MAX {
                log.report.skipped += len - done;
                break;
            }
            if batch > 1 {
                one_by_one = done + batch;
            } else {
                log.report.skipped += 1;
                done += 1;
            }
            continue;
        }
        let each = descs.chunks_exact(ring.desc_size).zip(infos.chunks_exact(ring.info_size));
        for (i, (desc, info)) in (0..).zip(each) {
            let id = id.wrapping_add(i) & ring.id_mask();
            ring_record(log, &ring, id, desc, info, clear, &mut budget, text)?;
        }
        done += batch;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the inside of a loop")]
fn ring_record<S: Source, E>(
    log: &mut Log<'_, '_, '_, S, E>,
    ring: &Ring,
    id: u64,
    desc: &[u8],
    info: &[u8],
    clear: Option<u64>,
    budget: &mut u64,
    work: &mut [u8],
) -> Result<(), DmesgError<E>> {
    let long = |at| ring.endian.word(ring.word, desc, at).unwrap_or(0);
    let var = long(ring.state_var);
    match (var & ring.id_mask() == id, var >> (8 * ring.word.bytes() as u32 - 2)) {
        (true, COMMITTED | FINALIZED) => {}
        // Given back, or never used: no record any more.
        (true, REUSABLE) => return Ok(()),
        _ => {
            log.report.skipped += 1;
            return Ok(());
        }
    }
    if let (Some(clear), Some(seq)) = (clear, ring.seq)
        && ring.endian.u64(info, seq).is_some_and(|seq| seq < clear)
    {
        return Ok(());
    }
    let stamp = Stamp {
        nanoseconds: ring.endian.u64(info, ring.ts_nsec).unwrap_or(0),
        caller: ring.caller_id.and_then(|at| ring.endian.u32(info, at)),
    };
    let (begin, next) = (long(ring.begin), long(ring.next));
    if begin == next && next == EMPTY_LINE {
        return log.record(work, 0, 0, 0, stamp, |_| true);
    }
    let lead = ring.word.bytes();
    let block = if begin == next { None } else { ring.block(begin, next) };
    let Some((at, room)) = block.filter(|(_, len)| *len >= lead as u64 && *budget > 0) else {
        log.report.skipped += 1;
        return Ok(());
    };
    let len = u64::from(ring.endian.u16(info, ring.text_len).unwrap_or(0));
    let len = len.min(room - lead as u64);
    *budget = budget.saturating_sub(len + lead as u64);
    // The text is this record's only if its id stands in front of it.
    log.record(work, ring.data.wrapping_add(at), lead, len, stamp, |head| {
        ring.endian.word(ring.word, head, 0) == Some(id)
    })
}

// ---- Records of variable length, Linux 3.5 to 5.9 --------------------------------------------

/// The buffer of records.
struct Records {
    endian: Endian,
    buffer: u64,
    buffer_len: u64,
    header_size: usize,
    ts_nsec: usize,
    len: usize,
    text_len: usize,
    caller_id: Option<usize>,
    first: u64,
    next: u64,
}

/// A record's header, as far as it is used.
struct Header {
    /// Bytes of the whole record.
    len: u64,
    text_len: u64,
    stamp: Stamp,
}

/// What a place in the buffer holds.
enum Place {
    Record(Header),
    /// The log goes on at the start of the buffer, so many bytes further on.
    Wrap(u64),
    Nonsense,
    Unreadable,
}

/// The log between two indexes.
#[derive(Clone, Copy)]
struct Stretch {
    from: u64,
    /// Bytes to the end of the log.
    len: u64,
}

impl Records {
    fn read<S: Source, E>(
        info: &Info<'_>,
        memory: &mut Memory<'_, '_, S>,
    ) -> Result<Records, DmesgError<E>> {
        let mut names =
            ["printk_log", "printk_log.ts_nsec", "printk_log.len", "printk_log.text_len"];
        if info.get(Kind::Size, "printk_log").is_none() && info.get(Kind::Size, "log").is_some() {
            names = ["log", "log.ts_nsec", "log.len", "log.text_len"];
        }
        let [struct_name, ts_nsec, len, text_len] = names;
        let header_size = size(info, struct_name, HEADER_MAX)?;
        let field = |name, len| member(offset(info, name)?, len, header_size, name);
        let int = |memory: &mut Memory<'_, '_, S>, name| {
            let at = VirtAddr(info.need(Kind::Symbol, name)?);
            memory.u32(at).map(u64::from).map_err(reading(name))
        };
        let records = Records {
            endian: memory.endian(),
            buffer: log_buf(info, memory)?,
            buffer_len: int(memory, "log_buf_len")?,
            header_size,
            ts_nsec: field(ts_nsec, 8)?,
            len: field(len, 2)?,
            text_len: field(text_len, 2)?,
            caller_id: match info.offset("printk_log.caller_id") {
                Some(_) => Some(field("printk_log.caller_id", 4)?),
                None => None,
            },
            first: int(memory, "log_first_idx")?,
            next: int(memory, "log_next_idx")?,
        };
        let plausible = |what, value, yes| match yes {
            true => Ok(()),
            false => Err(DmesgError::Implausible { what, value }),
        };
        let len = records.buffer_len;
        plausible("log_buf_len", len, len >= header_size as u64 && len <= 1 << LOG_MAX_BITS)?;
        let last = len - header_size as u64;
        plausible("log_first_idx", records.first, records.first <= last)?;
        plausible("log_next_idx", records.next, records.next <= last)?;
        Ok(records)
    }

    fn stretch(&self, from: u64) -> Stretch {
        let len = (self.next + self.buffer_len - from) % self.buffer_len;
        Stretch { from, len }
    }

    /// Index of the byte `done` bytes into a stretch.
    fn index(&self, stretch: Stretch, done: u64) -> u64 {
        (stretch.from + done) % self.buffer_len
    }

    /// Looks at the place `done` bytes into a stretch.
    fn look<S: Source>(
        &self,
        memory: &mut Memory<'_, '_, S>,
        stretch: Stretch,
        done: u64,
    ) -> Place {
        let at = self.index(stretch, done);
        let (room, left) = (self.buffer_len - at, stretch.len - done);
        let mut raw = [0; HEADER_MAX];
        let raw = raw.get_mut(..self.header_size).unwrap_or_default();
        let header = raw.len() as u64;
        if room < header {
            return Place::Nonsense;
        }
        if memory.read(VirtAddr(self.buffer.wrapping_add(at)), raw).is_err() {
            return Place::Unreadable;
        }
        let short = |at| u64::from(self.endian.u16(raw, at).unwrap_or(0));
        let (len, text_len) = (short(self.len), short(self.text_len));
        // All of the header that says "go on at the start" is zeros.
        if at > 0 && room <= left && raw.iter().all(|&b| b == 0) {
            return Place::Wrap(room);
        }
        if len > room.min(left) || len < header || text_len > len - header {
            return Place::Nonsense;
        }
        let stamp = Stamp {
            nanoseconds: self.endian.u64(raw, self.ts_nsec).unwrap_or(0),
            caller: self.caller_id.and_then(|at| self.endian.u32(raw, at)),
        };
        Place::Record(Header { len, text_len, stamp })
    }

    /// Whether records follow each other from the place `done` bytes into a stretch on, where a first
    /// one ends.
    fn is_chain<S: Source>(
        &self,
        memory: &mut Memory<'_, '_, S>,
        stretch: Stretch,
        mut done: u64,
    ) -> bool {
        for _ in 1..CHAIN {
            if done >= stretch.len {
                break;
            }
            match self.look(memory, stretch, done) {
                Place::Record(header) if header.len.is_multiple_of(RECORD_ALIGN) => {
                    done += header.len
                }
                Place::Wrap(room) => done += room,
                _ => return false,
            }
        }
        true
    }

    /// Finds a record from the place `done` bytes into a stretch on.
    fn resume<S: Source>(
        &self,
        memory: &mut Memory<'_, '_, S>,
        stretch: Stretch,
        mut done: u64,
        tries: &mut u32,
    ) -> Option<u64> {
        while done < stretch.len {
            *tries = tries.checked_sub(1)?;
            let at = self.index(stretch, done);
            let step = match self.look(memory, stretch, done) {
                Place::Record(Header { len, .. })
                    if at.is_multiple_of(RECORD_ALIGN)
                        && len.is_multiple_of(RECORD_ALIGN)
                        && self.is_chain(memory, stretch, done + len) =>
                {
                    return Some(done);
                }
                Place::Unreadable => STEP - self.buffer.wrapping_add(at) % STEP,
                _ => RECORD_ALIGN - at % RECORD_ALIGN,
            };
            // The start of the buffer is a record's start whatever is before it.
            done += step.min(self.buffer_len - at);
        }
        None
    }

    /// Goes over the records from index `from` on; `visit` is told each one's index, and says
    /// whether to go on. Returns the number of damaged places.
    fn walk<S: Source, E>(
        &self,
        log: &mut Log<'_, '_, '_, S, E>,
        from: u64,
        mut visit: impl FnMut(&mut Log<'_, '_, '_, S, E>, u64, &Header) -> Result<bool, DmesgError<E>>,
    ) -> Result<u64, DmesgError<E>> {
        let stretch = self.stretch(from);
        let (mut done, mut damaged, mut tries) = (0, 0, TRIES_MAX);
        // Where the text of the record before ends: it may be that one's length that lies. Each
        // record starts behind the text of the one before, so this comes to an end.
        let mut text_end = 0;
        while done < stretch.len {
            match self.look(log.memory, stretch, done) {
                Place::Record(header) => {
                    if !visit(log, self.index(stretch, done), &header)? {
                        break;
                    }
                    text_end = done + (self.header_size as u64 + header.text_len);
                    done += header.len;
                }
                Place::Wrap(room) => done += room,
                Place::Nonsense | Place::Unreadable => {
                    damaged += 1;
                    match self.resume(log.memory, stretch, text_end, &mut tries) {
                        Some(next) => done = next,
                        None => break,
                    }
                }
            }
        }
        Ok(damaged)
    }
}

/// Most bytes of a record's header; there are 16 to 24.
const HEADER_MAX: usize = 64;

/// Where the log buffer is.
fn log_buf<S: Source, E>(
    info: &Info<'_>,
    memory: &mut Memory<'_, '_, S>,
) -> Result<u64, DmesgError<E>> {
    let at = VirtAddr(info.need(Kind::Symbol, "log_buf")?);
    memory.word(at).map_err(reading("log_buf"))
}

fn records<S: Source, E>(
    log: &mut Log<'_, '_, '_, S, E>,
    info: &Info<'_>,
    options: Options,
    work: &mut [u8],
) -> Result<(), DmesgError<E>> {
    let records = Records::read(info, log.memory)?;
    let mut from = records.first;
    if options.since_clear
        && let Some(at) = info.get(Kind::Symbol, "clear_idx")
    {
        let clear = u64::from(log.memory.u32(VirtAddr(at)).map_err(reading("clear_idx"))?);
        // Once its record is overwritten, the index points anywhere: only one that a record has, or
        // the next one will have, counts.
        let mut found = clear == records.next;
        if !found {
            records.walk(log, from, |_, at, _| {
                found = at == clear;
                Ok(!found)
            })?;
        }
        if found {
            from = clear;
        }
    }
    let damaged = records.walk(log, from, |log, at, header| {
        let text = records.buffer.wrapping_add(at).wrapping_add(records.header_size as u64);
        log.record(work, text, 0, header.text_len, header.stamp, |_| true)?;
        Ok(true)
    })?;
    log.report.skipped += damaged;
    Ok(())
}

// ---- The ring of characters, before Linux 3.5 ------------------------------------------------

/// Lines go out with the `<6>` that they begin with; there is no telling where the log was cleared.
fn characters<S: Source, E>(
    log: &mut Log<'_, '_, '_, S, E>,
    info: &Info<'_>,
    work: &mut [u8],
) -> Result<(), DmesgError<E>> {
    let buffer = log_buf(info, log.memory)?;
    let at = VirtAddr(info.need(Kind::Symbol, "log_buf_len")?);
    let len = u64::from(log.memory.u32(at).map_err(reading("log_buf_len"))?);
    if !len.is_power_of_two() || len > 1 << LOG_MAX_BITS {
        return Err(DmesgError::Implausible { what: "log_buf_len", value: len });
    }
    let at = VirtAddr(info.need(Kind::Symbol, "log_end")?);
    // The number of characters ever written: an unsigned long up to 2.6.24, an unsigned int since.
    let end = match info.version() {
        Some(v) if v < Version(2, 6, 25) => log.memory.word(at),
        _ => log.memory.u32(at).map(u64::from),
    };
    let end = end.map_err(reading("log_end"))?;
    let start = if end < len { 0 } else { end & (len - 1) };
    let parts = if end < len { [(0, end), (0, 0)] } else { [(start, len), (0, start)] };
    for (mut at, end) in parts {
        while at < end {
            let from = buffer.wrapping_add(at);
            // Up to the end of the page, so that a page that is gone takes no other with it.
            let page = (STEP - from % STEP).min(end - at);
            let piece = work.len().min(page as usize);
            let piece = work.get_mut(..piece).unwrap_or_default();
            if log.memory.read(VirtAddr(from), piece).is_ok() {
                log.write_escaped(piece, 0)?;
                log.report.records += piece.iter().filter(|&&b| b == b'\n').count() as u64;
                at += piece.len() as u64;
            } else {
                log.report.skipped += 1;
                at += page;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::arch::paging::TableCache;
    use crate::io::IoError;
    use crate::memory::{Machine, ReadFault, Segment};
    use crate::testing;
    use crate::units::{PageShift, PhysAddr};
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

    impl Source for Lab {
        fn machine(&self) -> Machine {
            Machine { elf_machine: 62, endian: self.kind.0, word: self.kind.1 }
        }
        fn segments(&self) -> &[Segment] {
            self.memory.segments()
        }
        fn set_page_shift(&mut self, _: PageShift) {}
        fn read(&mut self, at: PhysAddr, buf: &mut [u8]) -> Result<(), ReadFault> {
            self.memory.read(at, buf)
        }
        fn window(&mut self, at: PhysAddr, len: usize) -> Option<&[u8]> {
            self.memory.window(at, len)
        }
        fn window_broke(&mut self) -> bool {
            false
        }
        fn notes_len(&self) -> u64 {
            0
        }
        fn read_notes(&mut self, _: u64, _: &mut [u8]) -> Result<(), IoError> {
            Ok(())
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
        ) -> Result<(Vec<u8>, DmesgReport), DmesgError<fmt::Error>> {
            let text = self.text.clone();
            let info = testing::info(&text);
            let arch = Arch::new(self.machine(), &info, &[]).unwrap();
            let mut storage = vec![0; TableCache::STORAGE];
            let mut cache = TableCache::new(&mut storage);
            let mut memory = Memory::new(self, arch, &mut cache);
            let mut scratch = vec![0xa5; SCRATCH_MIN];
            let mut out = Vec::new();
            dump(&info, &mut memory, Options { since_clear }, &mut scratch, &mut |b| {
                out.extend_from_slice(b);
                Ok(())
            })
            .map(|report| (out, report))
        }

        fn run(
            &mut self,
            since_clear: bool,
        ) -> Result<(String, DmesgReport), DmesgError<fmt::Error>> {
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
            let mut ring = RingLab {
                lab,
                prb,
                descs,
                infos,
                data,
                count,
                size,
                info_size,
                lpos,
                seq: 0,
                clear,
            };
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
                    for (clear, first) in
                        [(0, 25), (24, 25), (25, 25), (26, 26), (40, 40), (41, 41)]
                    {
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
            assert_eq!(missing(key), format!("{key} is missing in VMCOREINFO"));
        }
        assert_eq!(
            Lab::new(KINDS[0], "5.9.0").run(false).unwrap_err().to_string(),
            "SYMBOL(log_buf) is missing in VMCOREINFO"
        );
        let mut ring = RingLab::new(KINDS[0]);
        ring.lab.put32(ring.prb, 27);
        assert_eq!(
            ring.lab.run(false).unwrap_err(),
            DmesgError::Implausible { what: "prb_desc_ring.count_bits", value: 27 }
        );
        let mut ring = RingLab::new(KINDS[0]);
        ring.lab.without("SIZE(printk_info)");
        ring.lab.key("SIZE", "printk_info", 20);
        assert_eq!(
            ring.lab.run(false).unwrap_err().to_string(),
            "printk_info.caller_id cannot be 0x14"
        );
        let mut ring = RingLab::new(KINDS[0]);
        ring.lab.without("SYMBOL(prb)");
        ring.lab.variable_word("prb", 0x5000_0000);
        assert!(matches!(ring.lab.run(false), Err(DmesgError::Memory { .. })));
    }

    #[test]
    fn a_writer_that_fails_ends_it() {
        let mut ring = RingLab::new(KINDS[0]);
        ring.add(2, b"x");
        let text = ring.lab.text.clone();
        let info = testing::info(&text);
        let arch = Arch::new(ring.lab.machine(), &info, &[]).unwrap();
        let mut storage = vec![0; TableCache::STORAGE];
        let mut cache = TableCache::new(&mut storage);
        let mut memory = Memory::new(&mut ring.lab, arch, &mut cache);
        let mut scratch = vec![0; SCRATCH_MIN];
        let options = Options::default();
        let failed = dump(&info, &mut memory, options, &mut scratch, &mut |_| Err("full"));
        assert_eq!(failed, Err(DmesgError::Write("full")));
        let small = dump(&info, &mut memory, options, &mut [0; 100], &mut |_| Err("full"));
        assert!(matches!(small, Err(DmesgError::Implausible { value: 100, .. })));
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
        let raw = log.lab.memory.bytes[(log.buffer - BASE + PHYS) as usize..][..LOG_LEN as usize]
            .to_vec();
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
        assert_eq!(log.lab.run(false).unwrap_err().to_string(), "log_next_idx cannot be 0x7f1");
        log.lab.put32(log.first, u32::MAX);
        assert_eq!(
            log.lab.run(false).unwrap_err(),
            DmesgError::Implausible { what: "log_first_idx", value: u32::MAX.into() }
        );
        log.lab.without("SYMBOL(log_buf_len)");
        log.lab.variable32("log_buf_len", 0);
        assert_eq!(log.lab.run(false).unwrap_err().to_string(), "log_buf_len cannot be 0x0");
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
                assert_eq!(report, DmesgReport { records: 3, skipped: 0 });
                let mut lab = char_lab(kind, release, &ring, 32);
                assert_eq!(lab.run(false).unwrap().0.len(), ring.len() + 6);
                let mut lab = char_lab(kind, release, &ring, 0);
                assert_eq!(lab.run(false).unwrap().0, "");
            }
        }
        let mut lab = char_lab(KINDS[0], "2.6.32", &[0; 33], 5);
        assert_eq!(lab.run(false).unwrap_err().to_string(), "log_buf_len cannot be 0x21");
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
}
