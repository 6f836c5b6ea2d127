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
mod error;
mod layout;
mod prb;
mod records;
mod text;

#[cfg(test)]
mod tests;

pub use error::LogError;
pub use text::LogReport;

use crate::facts::{Facts, KernelVersion, MissingKey};
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::wire::vmcoreinfo::Kind;
use chars::characters;
use prb::ring;
use records::records;
use text::Log;

/// Bytes of scratch memory that [`dump`] needs at least; with more it reads in larger pieces.
pub const SCRATCH_MIN: usize = 4096;

/// Which records to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Only records since the log was last cleared (`dmesg -c`). All of them where it is not known
    /// when that was (without `SYMBOL(clear_seq)` or `SYMBOL(clear_idx)`), or where that record is
    /// overwritten.
    pub since_clear: bool,
    /// Whether to escape the backslash and all control characters but tabs and ends of lines, so that every
    /// text can be distinguished from every other. Otherwise, what moves the cursor is left as it is.
    pub strict: bool,
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
    let mut log = Log {
        memory,
        buf,
        used: 0,
        out,
        failed: None,
        report: LogReport::default(),
        strict: options.strict,
    };
    let has = |name| facts.get(Kind::Symbol, name).is_some();
    if has("prb") || facts.get(Kind::Size, "printk_ringbuffer").is_some() {
        ring(&mut log, facts, options.since_clear, work)?;
    } else if has("log_end") {
        characters(&mut log, facts, work)?;
    } else if has("log_buf") {
        records(&mut log, facts, options.since_clear, work)?;
    } else {
        let old = facts.version().is_some_and(|v| v < KernelVersion(5, 10, 0));
        let missing = MissingKey(Kind::Symbol, if old { "log_buf" } else { "prb" });
        return Err(LogError::Missing(missing));
    }
    log.flush();
    log.failed.map_or(Ok(log.report), |error| Err(LogError::Write(error)))
}
