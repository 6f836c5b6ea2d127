//! Records as text: stamps, escapes, and the memory that they are read from.

use super::{LogError, LogReport};
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::units::VirtAddr;
use core::fmt;

/// What stands in front of a record's text.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    pub nanoseconds: u64,
    pub caller: Option<u32>,
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
pub(super) const SHORT: usize = 48;

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
pub(super) struct Log<'x, 'a, 'b, S, E> {
    pub memory: &'x mut KernelMemory<'a, 'b, S>,
    pub buf: &'x mut [u8],
    pub used: usize,
    pub out: &'x mut dyn FnMut(&[u8]) -> Result<(), E>,
    pub report: LogReport,
}

impl<S: PhysMemory, E> Log<'_, '_, '_, S, E> {
    pub(super) fn flush(&mut self) -> Result<(), LogError<E>> {
        let text = self.buf.get(..self.used).unwrap_or_default();
        if !text.is_empty() {
            (self.out)(text).map_err(LogError::Write)?;
        }
        self.used = 0;
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> Result<(), LogError<E>> {
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
    pub(super) fn write_escaped(&mut self, text: &[u8], width: usize) -> Result<(), LogError<E>> {
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
    pub(super) fn record(
        &mut self,
        work: &mut [u8],
        at: u64,
        lead: usize,
        len: u64,
        stamp: Stamp,
        is_good: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(), LogError<E>> {
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
