//! Records as text: stamps, escapes, and the memory that they are read from.

use crate::error::{part, part_mut};
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::units::VirtAddr;
use core::fmt::Write as _;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogReport {
    /// Records; of a character ring, lines.
    pub records: u64,
    /// Records that were left out, wholly or in part: damaged, overwritten, or not finished when
    /// the kernel died. Where it is unknown how many there were, a damaged place counts as one.
    pub skipped: u64,
}

/// Time and caller of a record.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    pub nanoseconds: u64,
    pub caller: Option<u32>,
}

/// A text shorter than a line; longer than the longest prefix.
pub(super) type Short = heapless::String<SHORT>;
pub(super) const SHORT: usize = 48;

impl Stamp {
    /// The prefix of the record's first line.
    fn text(self) -> Short {
        let mut text = Short::new();
        let (s, ns) = (self.nanoseconds / 1_000_000_000, self.nanoseconds % 1_000_000_000);
        // All of these fit; a text that did not would be left out.
        let _ = write!(text, "[{s:5}.{:06}] ", ns / 1000);
        if let Some(caller) = self.caller {
            let mut who = Short::new();
            let kind = if caller >> 31 == 0 { 'T' } else { 'C' };
            let _ = write!(who, "{kind}{}", caller & (u32::MAX >> 1));
            let _ = write!(text, "[{who:>8}] ");
        }
        text
    }
}

/// Whether a byte of a text is written unescaped; newlines have their own rule.
fn is_plain(byte: u8, strict: bool) -> bool {
    match byte {
        b'\\' | 0x0b | 0x0c | b'\r' => !strict,
        byte => matches!(byte, b' '..=b'~' | b'\t'),
    }
}

/// The memory that is read and the text that is written.
pub(super) struct Log<'x, 'a, 'b, S, E> {
    pub memory: &'x mut KernelMemory<'a, 'b, S>,
    pub buf: &'x mut [u8],
    pub used: usize,
    pub out: &'x mut dyn FnMut(&[u8]) -> Result<(), E>,
    /// Why writing failed. Nothing is written from then on, and loops over records end.
    pub failed: Option<E>,
    pub report: LogReport,
    pub strict: bool,
}

impl<S: PhysMemory, E> Log<'_, '_, '_, S, E> {
    pub(super) fn flush(&mut self) {
        let text = part(self.buf, 0..self.used);
        if !text.is_empty() && self.failed.is_none() {
            self.failed = (self.out)(text).err();
        }
        self.used = 0;
    }

    fn write(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            let end = self.buf.len();
            let room = part_mut(self.buf, self.used..end);
            let len = room.len().min(rest.len());
            part_mut(room, 0..len).copy_from_slice(part(rest, 0..len));
            self.used += len;
            rest = part(rest, len..rest.len());
            if self.used >= self.buf.len() {
                self.flush();
            }
        }
    }

    /// Writes a part of a record's text. Lines after the first are indented by `width`.
    pub(super) fn write_escaped(&mut self, text: &[u8], width: usize) {
        let strict = self.strict;
        let is_plain = |byte| is_plain(byte, strict);
        for run in text.chunk_by(|&a, &b| is_plain(a) && is_plain(b)) {
            match *run {
                [b'\n'] => {
                    self.write(b"\n");
                    self.write(part(&[b' '; SHORT], 0..width));
                }
                [byte] if !is_plain(byte) => {
                    let mut escape = Short::new();
                    let _ = write!(escape, "\\x{byte:02x}");
                    self.write(escape.as_bytes());
                }
                _ => self.write(run),
            }
        }
    }

    /// Writes a record whose text is the `len` bytes after the `lead` bytes at `at`, unless `is_good`
    /// rejects the lead.
    pub(super) fn record(
        &mut self,
        work: &mut [u8],
        at: u64,
        lead: usize,
        len: u64,
        stamp: Stamp,
        is_good: impl FnOnce(&[u8]) -> bool,
    ) {
        let piece = |left: u64, room: usize| left.min(room as u64) as usize;
        let mut left = len.saturating_add(lead as u64);
        let end = piece(left, work.len());
        let first = part_mut(work, 0..end);
        let read = self.memory.read(VirtAddr(at), first).is_ok();
        let (head, text) = (part(first, 0..lead), part(first, lead..first.len()));
        if !read || !is_good(head) {
            self.report.skipped += 1;
            return;
        }
        let prefix = stamp.text();
        let width = prefix.len();
        self.write(prefix.as_bytes());
        self.write_escaped(text, width);
        let mut at = at.wrapping_add(first.len() as u64);
        left -= first.len() as u64;
        let mut whole = true;
        while left > 0 && whole {
            let end = piece(left, work.len());
            let more = part_mut(work, 0..end);
            whole = self.memory.read(VirtAddr(at), more).is_ok();
            if whole {
                self.write_escaped(more, width);
                at = at.wrapping_add(more.len() as u64);
                left -= more.len() as u64;
            }
        }
        self.write(b"\n");
        if whole {
            self.report.records += 1;
        } else {
            self.report.skipped += 1;
        }
    }
}
