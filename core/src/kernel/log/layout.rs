//! What all forms of the log ask: sizes and members, checked, and where the buffer is.

use super::error::{LogError, reading};
use crate::facts::{Facts, MissingKey};
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::units::VirtAddr;
use crate::wire::vmcoreinfo::Kind;

/// log2 of `LOG_BUF_LEN_MAX`: no kernel has a larger log.
pub(super) const LOG_MAX_BITS: u32 = 31;
/// Unreadable memory is skipped in steps of the smallest page there is.
pub(super) const STEP: u64 = 4096;

pub(super) fn offset(facts: &dyn Facts, name: &'static str) -> Result<usize, MissingKey> {
    facts.offset(name).ok_or(MissingKey(Kind::Offset, name))
}

/// The size of a structure: 1 to `most` bytes.
pub(super) fn size<E>(
    facts: &dyn Facts,
    name: &'static str,
    most: usize,
) -> Result<usize, LogError<E>> {
    let value = facts.need(Kind::Size, name)?;
    match usize::try_from(value) {
        Ok(size) if (1..=most).contains(&size) => Ok(size),
        _ => Err(LogError::Implausible { what: name, value }),
    }
}

/// The offset `at` of a member of `len` bytes, if it lies in its structure of `size` bytes.
pub(super) fn member<E>(
    at: usize,
    len: usize,
    size: usize,
    what: &'static str,
) -> Result<usize, LogError<E>> {
    match at.checked_add(len) {
        Some(end) if end <= size => Ok(at),
        _ => Err(LogError::Implausible { what, value: at as u64 }),
    }
}

pub(super) fn at_most<E>(bits: u32, most: u32, what: &'static str) -> Result<u32, LogError<E>> {
    if bits > most {
        return Err(LogError::Implausible { what, value: bits.into() });
    }
    Ok(bits)
}

/// Address of the log buffer.
pub(super) fn log_buf<S: PhysMemory, E>(
    facts: &dyn Facts,
    memory: &mut KernelMemory<'_, '_, S>,
) -> Result<u64, LogError<E>> {
    let at = VirtAddr(facts.need(Kind::Symbol, "log_buf")?);
    memory.word(at).map_err(reading("log_buf"))
}
