//! The ring of descriptors, Linux 5.10 and later.

use super::error::Lack;
use super::layout::{Asked, LOG_MAX_BITS};
use super::text::{Log, Stamp};
use crate::endian::{Endian, Word};
use crate::error::part_mut;
use crate::facts::Facts;
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::units::VirtAddr;
use crate::wire::vmcoreinfo::Kind;

/// log2 of the largest number of descriptors: one for every 32 bytes of text (`PRB_AVGBITS`).
const COUNT_MAX_BITS: u32 = LOG_MAX_BITS - 5;
/// Stop after this many unreadable descriptors.
const FAULTS_MAX: u32 = 1 << 16;

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
    /// log2 of the bytes of the text ring.
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
    fn read<S: PhysMemory>(
        facts: &dyn Facts,
        memory: &mut KernelMemory<'_, '_, S>,
        work: &mut [u8],
    ) -> Result<Ring, Lack> {
        let (endian, word) = (memory.endian(), memory.word_size());
        let mut asked = Asked::new(facts);
        let prb = asked.long(memory, "prb");
        // Descriptors and infos take a third of the scratch memory each, which must hold one at least.
        let root_size = asked.size("printk_ringbuffer", work.len());
        let desc_size = asked.size("prb_desc", work.len() / 3);
        let info_size = asked.size("printk_info", work.len() / 3);
        let desc_ring = asked.offset("printk_ringbuffer.desc_ring");
        let text_ring = asked.offset("printk_ringbuffer.text_data_ring");
        // An atomic_long_t has no other member, so this one is at 0 where its offset is not known.
        let counter = facts.offset("atomic_long_t.counter").unwrap_or(0);
        let blk = asked.offset("prb_desc.text_blk_lpos");

        let root = part_mut(work, 0..root_size);
        asked.read("the printk ring buffer", memory.read(VirtAddr(prb), root));
        let root = &*root;
        let bits = |asked: &mut Asked<'_>, base, name, most: u32| {
            let at = asked.member(name, base, 4, root_size);
            let bits = endian.u32(root, at).unwrap_or(0);
            asked.plausible(name, bits.into(), bits <= most) as u32
        };
        let long = |asked: &mut Asked<'_>, base: usize, name, plus| {
            let at = asked.member(name, base.saturating_add(plus), word.bytes(), root_size);
            endian.word(word, root, at).unwrap_or(0)
        };
        let count_bits = bits(&mut asked, desc_ring, "prb_desc_ring.count_bits", COUNT_MAX_BITS);
        let size_bits = bits(&mut asked, text_ring, "prb_data_ring.size_bits", LOG_MAX_BITS);
        let mut ring = Ring {
            endian,
            word,
            count: 1 << count_bits,
            descs: long(&mut asked, desc_ring, "prb_desc_ring.descs", 0),
            desc_size,
            state_var: asked.member("prb_desc.state_var", counter, word.bytes(), desc_size),
            begin: asked.member("prb_data_blk_lpos.begin", blk, word.bytes(), desc_size),
            next: asked.member("prb_data_blk_lpos.next", blk, word.bytes(), desc_size),
            infos: long(&mut asked, desc_ring, "prb_desc_ring.infos", 0),
            info_size,
            seq: asked.optional("printk_info.seq", 8, info_size),
            ts_nsec: asked.member("printk_info.ts_nsec", 0, 8, info_size),
            text_len: asked.member("printk_info.text_len", 0, 2, info_size),
            caller_id: asked.optional("printk_info.caller_id", 4, info_size),
            size_bits,
            data: long(&mut asked, text_ring, "prb_data_ring.data", 0),
            head: long(&mut asked, desc_ring, "prb_desc_ring.head_id", counter),
            tail: long(&mut asked, desc_ring, "prb_desc_ring.tail_id", counter),
        };
        asked.all()?;
        ring.head &= ring.id_mask();
        ring.tail &= ring.id_mask();
        Ok(ring)
    }

    /// Offset in the text ring, and bytes, of the block between two positions; `None` if no block lies
    /// between them.
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

    /// First id and number of ids from the tail to the head. Where tail and head contradict each
    /// other, the head is taken as right, and all descriptors are looked at.
    fn span(&self) -> (u64, u64) {
        let len = (self.head.wrapping_sub(self.tail) & self.id_mask()) + 1;
        if len <= self.count {
            (self.tail, len)
        } else {
            (self.head.wrapping_sub(self.count - 1) & self.id_mask(), self.count)
        }
    }

    /// Number of the `len` ids from `first` on that are older than the record number `clear`, by the
    /// ids alone: record 0 has the id `-count` (`DESC0_ID` + 1), and both count up by one.
    fn older(&self, first: u64, len: u64, clear: u64) -> u64 {
        let older = clear.wrapping_sub(self.count).wrapping_sub(first) & self.id_mask();
        if older <= len { older } else { 0 }
    }
}

/// `clear_seq`: the number of the first record after the log was cleared. From 5.13 on a pair of
/// numbers (`struct latched_seq`), of which a counter in front selects the valid one.
fn clear_seq<S: PhysMemory>(
    facts: &dyn Facts,
    memory: &mut KernelMemory<'_, '_, S>,
) -> Result<Option<u64>, Lack> {
    let Some(at) = facts.get(Kind::Symbol, "clear_seq") else {
        return Ok(None);
    };
    let mut asked = Asked::new(facts);
    let mut value = 0;
    if facts.get(Kind::Size, "latched_seq").is_some() {
        let counter = asked.int(memory, "clear_seq");
        value = asked.get(Kind::Offset, "latched_seq.val").wrapping_add(8 * (counter & 1));
    }
    let seq = memory.u64(VirtAddr(at.wrapping_add(value)));
    let seq = asked.read("clear_seq", seq);
    asked.all().map(|()| Some(seq))
}

pub(super) fn ring<S: PhysMemory, E>(
    log: &mut Log<'_, '_, '_, S, E>,
    facts: &dyn Facts,
    since_clear: bool,
    work: &mut [u8],
) -> Result<(), Lack> {
    let ring = Ring::read(facts, log.memory, work)?;
    let clear = if since_clear { clear_seq(facts, log.memory)? } else { None };
    let third = work.len() / 3;
    let (descs, work) = work.split_at_mut(third);
    let (infos, text) = work.split_at_mut(third);
    let most = third.checked_div(ring.desc_size.max(ring.info_size)).unwrap_or(0).max(1) as u64;

    let (first, len) = ring.span();
    let mut done = match clear {
        Some(clear) if ring.seq.is_none() => ring.older(first, len, clear),
        _ => 0,
    };
    // Texts of a sound log do not overlap; the budget bounds what is written for a damaged one.
    let mut budget = 4u64 << ring.size_bits;
    let mut one_by_one = 0;
    let mut faults = 0;
    while done < len && log.failed.is_none() {
        let id = first.wrapping_add(done) & ring.id_mask();
        let slot = id & (ring.count - 1);
        let most = if done < one_by_one { 1 } else { most };
        let batch = most.min(len - done).min(ring.count - slot);
        let descs = part_mut(descs, 0..batch as usize * ring.desc_size);
        let infos = part_mut(infos, 0..batch as usize * ring.info_size);
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
            ring_record(log, &ring, id, desc, info, clear, &mut budget, text);
        }
        done += batch;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the inside of a loop")]
fn ring_record<S: PhysMemory, E>(
    log: &mut Log<'_, '_, '_, S, E>,
    ring: &Ring,
    id: u64,
    desc: &[u8],
    info: &[u8],
    clear: Option<u64>,
    budget: &mut u64,
    work: &mut [u8],
) {
    let long = |at| ring.endian.word(ring.word, desc, at).unwrap_or(0);
    let var = long(ring.state_var);
    match (var & ring.id_mask() == id, var >> (8 * ring.word.bytes() as u32 - 2)) {
        (true, COMMITTED | FINALIZED) => {}
        // Freed, or never used: it holds no record.
        (true, REUSABLE) => return,
        _ => {
            log.report.skipped += 1;
            return;
        }
    }
    if let (Some(clear), Some(seq)) = (clear, ring.seq)
        && ring.endian.u64(info, seq).is_some_and(|seq| seq < clear)
    {
        return;
    }
    let stamp = Stamp {
        nanoseconds: ring.endian.u64(info, ring.ts_nsec).unwrap_or(0),
        caller: ring.caller_id.and_then(|at| ring.endian.u32(info, at)),
    };
    let (begin, next) = (long(ring.begin), long(ring.next));
    if begin == next && next == EMPTY_LINE {
        log.record(work, 0, 0, 0, stamp, |_| true);
        return;
    }
    let lead = ring.word.bytes();
    let block = if begin == next { None } else { ring.block(begin, next) };
    let Some((at, room)) = block.filter(|(_, len)| *len >= lead as u64 && *budget > 0) else {
        log.report.skipped += 1;
        return;
    };
    let len = u64::from(ring.endian.u16(info, ring.text_len).unwrap_or(0));
    let len = len.min(room - lead as u64);
    *budget = budget.saturating_sub(len + lead as u64);
    // The text belongs to this record only if the record's id stands in front of it.
    log.record(work, ring.data.wrapping_add(at), lead, len, stamp, |head| {
        ring.endian.word(ring.word, head, 0) == Some(id)
    });
}
