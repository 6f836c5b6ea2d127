//! The ring of characters, before Linux 3.5.

use super::error::Lack;
use super::layout::{Asked, LOG_MAX_BITS, STEP};
use super::text::Log;
use crate::error::part_mut;
use crate::facts::{Facts, KernelVersion};
use crate::memory::PhysMemory;
use crate::units::VirtAddr;

/// Writes the characters as they are, with the `<6>` that lines begin with. It is not known where the
/// log was cleared.
pub(super) fn characters<S: PhysMemory, E>(
    log: &mut Log<'_, '_, '_, S, E>,
    facts: &dyn Facts,
    work: &mut [u8],
) -> Result<(), Lack> {
    let mut asked = Asked::new(facts);
    let buffer = asked.long(log.memory, "log_buf");
    let len = asked.int(log.memory, "log_buf_len");
    let possible = len.is_power_of_two() && len <= 1 << LOG_MAX_BITS;
    asked.plausible("log_buf_len", len, possible);
    // The number of characters ever written: an unsigned long up to 2.6.24, an unsigned int since.
    let end = match facts.version() {
        Some(v) if v < KernelVersion(2, 6, 25) => asked.long(log.memory, "log_end"),
        _ => asked.int(log.memory, "log_end"),
    };
    asked.all()?;
    let start = if end < len { 0 } else { end & (len - 1) };
    let parts = if end < len { [(0, end), (0, 0)] } else { [(start, len), (0, start)] };
    for (mut at, end) in parts {
        while at < end && log.failed.is_none() {
            let from = buffer.wrapping_add(at);
            // Up to the end of the page: an unreadable page must not hide the next one.
            let page = (STEP - from % STEP).min(end - at);
            let piece = work.len().min(page as usize);
            let piece = part_mut(work, 0..piece);
            if log.memory.read(VirtAddr(from), piece).is_ok() {
                log.write_escaped(piece, 0);
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
