//! Records of variable length, Linux 3.5 to 5.9.

use super::error::Lack;
use super::layout::{Asked, LOG_MAX_BITS, STEP};
use super::text::{Log, Stamp};
use crate::endian::Endian;
use crate::error::part_mut;
use crate::facts::Facts;
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::units::VirtAddr;
use crate::wire::vmcoreinfo::Kind;

/// Most places of the whole log that are tried to find the record after a damaged one.
const TRIES_MAX: u32 = 1 << 18;
/// Alignment of records, at least.
const RECORD_ALIGN: u64 = 4;
/// A place is the start of a record if this many records follow each other from it on (or fewer, up
/// to the end of the log).
const CHAIN: u32 = 4;
/// Most bytes of a record's header; kernels have 16 to 24.
const HEADER_MAX: usize = 64;

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
    /// The log goes on at the start of the buffer, this many bytes further on.
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
    fn read<S: PhysMemory>(
        facts: &dyn Facts,
        memory: &mut KernelMemory<'_, '_, S>,
    ) -> Result<Records, Lack> {
        let mut names =
            ["printk_log", "printk_log.ts_nsec", "printk_log.len", "printk_log.text_len"];
        if facts.get(Kind::Size, "printk_log").is_none() && facts.get(Kind::Size, "log").is_some() {
            names = ["log", "log.ts_nsec", "log.len", "log.text_len"];
        }
        let [struct_name, ts_nsec, len, text_len] = names;
        let mut asked = Asked::new(facts);
        let header_size = asked.size(struct_name, HEADER_MAX);
        let records = Records {
            endian: memory.endian(),
            buffer: asked.long(memory, "log_buf"),
            buffer_len: asked.int(memory, "log_buf_len"),
            header_size,
            ts_nsec: asked.member(ts_nsec, 0, 8, header_size),
            len: asked.member(len, 0, 2, header_size),
            text_len: asked.member(text_len, 0, 2, header_size),
            caller_id: asked.optional("printk_log.caller_id", 4, header_size),
            first: asked.int(memory, "log_first_idx"),
            next: asked.int(memory, "log_next_idx"),
        };
        let len = records.buffer_len;
        let possible = (header_size as u64..=1 << LOG_MAX_BITS).contains(&len);
        asked.plausible("log_buf_len", len, possible);
        let last = len.saturating_sub(header_size as u64);
        asked.plausible("log_first_idx", records.first, records.first <= last);
        asked.plausible("log_next_idx", records.next, records.next <= last);
        asked.all()?;
        Ok(records)
    }

    /// The index of what is that far behind the buffer's beginning, going around.
    fn around(&self, far: u64) -> u64 {
        far.checked_rem(self.buffer_len).unwrap_or(0)
    }

    fn stretch(&self, from: u64) -> Stretch {
        let len = self.around(self.next + self.buffer_len - from);
        Stretch { from, len }
    }

    /// Index of the byte `done` bytes into a stretch.
    fn index(&self, stretch: Stretch, done: u64) -> u64 {
        self.around(stretch.from + done)
    }

    /// Looks at the place `done` bytes into a stretch.
    fn look<S: PhysMemory>(
        &self,
        memory: &mut KernelMemory<'_, '_, S>,
        stretch: Stretch,
        done: u64,
    ) -> Place {
        let at = self.index(stretch, done);
        let (room, left) = (self.buffer_len - at, stretch.len - done);
        let mut raw = [0; HEADER_MAX];
        let raw = part_mut(&mut raw, 0..self.header_size);
        let header = raw.len() as u64;
        if room < header {
            return Place::Nonsense;
        }
        if memory.read(VirtAddr(self.buffer.wrapping_add(at)), raw).is_err() {
            return Place::Unreadable;
        }
        let short = |at| u64::from(self.endian.u16(raw, at).unwrap_or(0));
        let (len, text_len) = (short(self.len), short(self.text_len));
        // The header that says "go on at the start" is all zeros.
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

    /// Whether records follow each other from the place `done` bytes into a stretch on, where the
    /// first of the chain ends.
    fn is_chain<S: PhysMemory>(
        &self,
        memory: &mut KernelMemory<'_, '_, S>,
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
    fn resume<S: PhysMemory>(
        &self,
        memory: &mut KernelMemory<'_, '_, S>,
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

    /// Calls `visit` with the index of each record from index `from` on, until it returns `false`.
    /// Returns the number of damaged places.
    fn walk<S: PhysMemory, E>(
        &self,
        log: &mut Log<'_, '_, '_, S, E>,
        from: u64,
        mut visit: impl FnMut(&mut Log<'_, '_, '_, S, E>, u64, &Header) -> bool,
    ) -> u64 {
        let stretch = self.stretch(from);
        let (mut done, mut damaged, mut tries) = (0, 0, TRIES_MAX);
        // Where the text of the record before ends: that record's length may be the wrong one. Each
        // record starts behind the text of the one before, so the loop ends.
        let mut text_end = 0;
        while done < stretch.len {
            match self.look(log.memory, stretch, done) {
                Place::Record(header) => {
                    if !visit(log, self.index(stretch, done), &header) {
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
        damaged
    }
}

pub(super) fn records<S: PhysMemory, E>(
    log: &mut Log<'_, '_, '_, S, E>,
    facts: &dyn Facts,
    since_clear: bool,
    work: &mut [u8],
) -> Result<(), Lack> {
    let records = Records::read(facts, log.memory)?;
    let mut from = records.first;
    if since_clear && let Some(at) = facts.get(Kind::Symbol, "clear_idx") {
        let clear = log.memory.u32(VirtAddr(at));
        let clear = clear.map_err(|fault| Lack::Memory { what: "clear_idx", fault })?.into();
        // Once its record is overwritten, the index points anywhere. It is valid only if it is that of
        // a record or of the next one to come.
        let mut found = clear == records.next;
        if !found {
            records.walk(log, from, |_, at, _| {
                found = at == clear;
                !found
            });
        }
        if found {
            from = clear;
        }
    }
    let damaged = records.walk(log, from, |log, at, header| {
        let text = records.buffer.wrapping_add(at).wrapping_add(records.header_size as u64);
        log.record(work, text, 0, header.text_len, header.stamp, |_| true);
        log.failed.is_none()
    });
    log.report.skipped += damaged;
    Ok(())
}
