//! The dead kernel's log as text, as `dmesg` would have printed it.
//!
//! Three formats, told apart by the symbols that VMCOREINFO has:
//! - `prb` (Linux 5.10): descriptors, infos and texts in three rings
//!   (`kernel/printk/printk_ringbuffer.h`).
//! - `log_buf` without `log_end` (Linux 3.5 to 5.9): records of variable length
//!   (`struct printk_log`, before 3.11 `struct log`, in `kernel/printk.c`).
//! - `log_buf` with `log_end` (before 3.5): a ring of characters.
//!
//! The log of a kernel that crashed matters most where memory is ruined: a damaged record is left
//! out and counted, and the search goes on for the next one. Every loop is bounded by what the rings
//! can hold, whatever they claim.

mod chars;
mod prb;
mod records;
mod text;

#[cfg(test)]
mod tests;

use crate::facts::{Facts, KernelVersion, MissingKey};
use crate::kernel::memory::{KernelMemory, TranslateError};
use crate::memory::PhysMemory;
use crate::units::VirtAddr;
use crate::wire::vmcoreinfo::Kind;
use chars::characters;
use core::fmt;
use prb::ring;
use records::records;
use text::Log;

/// Bytes of scratch memory that [`dump`] needs at least; with more it reads in larger pieces.
pub const SCRATCH_MIN: usize = 4096;

/// log2 of `LOG_BUF_LEN_MAX`: no kernel has a larger log.
const LOG_MAX_BITS: u32 = 31;
/// Unreadable memory is skipped in steps of the smallest page there is.
const STEP: u64 = 4096;

/// Which records to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Only records since the log was last cleared (`dmesg -c`). All of them where it is not known
    /// when that was (without `SYMBOL(clear_seq)` or `SYMBOL(clear_idx)`), or where that record is
    /// overwritten.
    pub since_clear: bool,
}

/// Why the log could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LogError<E> {
    /// A fact about the kernel is missing.
    Missing(MissingKey),
    /// A variable or structure without which no record is found could not be read.
    Memory {
        /// Its name.
        what: &'static str,
        /// Where, and what happened.
        fault: TranslateError,
    },
    /// A value without which no record is found is impossible.
    Implausible {
        /// Its name.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// The text could not be written.
    Write(E),
}

impl<E: fmt::Display> fmt::Display for LogError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Missing(key) => key.fmt(f),
            LogError::Memory { what, fault } => write!(f, "reading {what}: {fault}"),
            LogError::Implausible { what, value } => {
                write!(f, "invalid {what} 0x{value:x}")
            }
            LogError::Write(e) => e.fmt(f),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for LogError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            LogError::Missing(key) => Some(key),
            LogError::Memory { fault, .. } => Some(fault),
            LogError::Implausible { .. } => None,
            LogError::Write(e) => Some(e),
        }
    }
}

impl<E> From<MissingKey> for LogError<E> {
    fn from(key: MissingKey) -> LogError<E> {
        LogError::Missing(key)
    }
}

fn reading<E>(what: &'static str) -> impl Fn(TranslateError) -> LogError<E> {
    move |fault| LogError::Memory { what, fault }
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogReport {
    /// Records; of a character ring, lines.
    pub records: u64,
    /// Records that were left out, wholly or in part: damaged, overwritten, or not finished when
    /// the kernel died. Where it is unknown how many there were, a damaged place counts as one.
    pub skipped: u64,
}

/// Writes the log to `out`, in pieces. `scratch` is [`SCRATCH_MIN`] bytes or more.
pub fn dump<S: PhysMemory, E>(
    facts: &dyn Facts,
    memory: &mut KernelMemory<'_, '_, S>,
    options: Options,
    scratch: &mut [u8],
    out: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<LogReport, LogError<E>> {
    if scratch.len() < SCRATCH_MIN {
        let value = scratch.len() as u64;
        return Err(LogError::Implausible { what: "length of the scratch buffer", value });
    }
    let (buf, work) = scratch.split_at_mut(scratch.len() / 4);
    let mut log = Log { memory, buf, used: 0, out, report: LogReport::default() };
    let has = |name| facts.get(Kind::Symbol, name).is_some();
    if has("prb") || facts.get(Kind::Size, "printk_ringbuffer").is_some() {
        ring(&mut log, facts, options, work)?;
    } else if has("log_end") {
        characters(&mut log, facts, work)?;
    } else if has("log_buf") {
        records(&mut log, facts, options, work)?;
    } else {
        let old = facts.version().is_some_and(|v| v < KernelVersion(5, 10, 0));
        return Err(MissingKey(Kind::Symbol, if old { "log_buf" } else { "prb" }).into());
    }
    log.flush()?;
    Ok(log.report)
}

fn offset(facts: &dyn Facts, name: &'static str) -> Result<usize, MissingKey> {
    facts.offset(name).ok_or(MissingKey(Kind::Offset, name))
}

/// The size of a structure: 1 to `most` bytes.
fn size<E>(facts: &dyn Facts, name: &'static str, most: usize) -> Result<usize, LogError<E>> {
    let value = facts.need(Kind::Size, name)?;
    match usize::try_from(value) {
        Ok(size) if (1..=most).contains(&size) => Ok(size),
        _ => Err(LogError::Implausible { what: name, value }),
    }
}

/// The offset `at` of a member of `len` bytes, if it lies in its structure of `size` bytes.
fn member<E>(at: usize, len: usize, size: usize, what: &'static str) -> Result<usize, LogError<E>> {
    match at.checked_add(len) {
        Some(end) if end <= size => Ok(at),
        _ => Err(LogError::Implausible { what, value: at as u64 }),
    }
}

fn at_most<E>(bits: u32, most: u32, what: &'static str) -> Result<u32, LogError<E>> {
    if bits > most {
        return Err(LogError::Implausible { what, value: bits.into() });
    }
    Ok(bits)
}

/// Address of the log buffer.
fn log_buf<S: PhysMemory, E>(
    facts: &dyn Facts,
    memory: &mut KernelMemory<'_, '_, S>,
) -> Result<u64, LogError<E>> {
    let at = VirtAddr(facts.need(Kind::Symbol, "log_buf")?);
    memory.word(at).map_err(reading("log_buf"))
}
