//! The capture: which pages, in which order, into which file.
//!
//! Pfns are gone over in windows, as many as the bitmap buffer holds bits. Pass A classifies each
//! `struct page` once and puts the bits where the dump has its bitmap 2; pass B reads them back and
//! saves the pages. Only an output that cannot be read back (a pipe), with more than one window,
//! makes pass A run twice.
//!
//! Nothing about the result depends on the size of a window or of any buffer.

mod classify;
pub mod crew;
mod elf;
mod kdump;
mod pages;
pub mod plan;
pub mod session;
#[cfg(feature = "std")]
pub mod threads;

pub use classify::Scanner;
pub use kdump::MAX_PARTS;
pub use pages::PageFilter;

use crate::bitmap::Bitmap;
use crate::codec::Encoder;
use crate::io::IoError;
use crate::io::{Sink, SinkError};
use crate::level::DumpLevel;
use crate::memory::{Dump, ReadError};
use crate::tally::Tally;
use crate::units::{PageShift, Pfn, PfnSpan, PhysAddr};
use crate::wire::disk_header::UTS;
use core::fmt;

/// What is being done, for progress reports. Percentages only go up, over all windows together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Looking at `struct page`s.
    Classify,
    /// Reading, compressing and writing pages.
    Copy,
}

/// Something that people should know about the dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The `struct page`s of these pages could not be read: they are kept.
    MemMapUnreadable(PfnSpan),
    /// The kernel has no `struct page`s for these pages: they are kept.
    NoSection(PfnSpan),
    /// The kernel took these pages offline as a whole: they are kept, their `struct page`s mean
    /// nothing.
    OfflineSection(PfnSpan),
    /// This page could not be read: the dump is incomplete.
    PageLost(Pfn, ReadError),
    /// The notes could not be read from this byte on: they are zeros, the dump is incomplete.
    NotesLost(u64, IoError),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |f: &mut fmt::Formatter<'_>, s: &PfnSpan, why: &str| {
            write!(f, "pfns {} to {}: {why}, pages kept", s.start, Pfn(s.end.0.saturating_sub(1)))
        };
        match self {
            Notice::MemMapUnreadable(s) => span(f, s, "struct pages unreadable"),
            Notice::NoSection(s) => span(f, s, "no memory section"),
            Notice::OfflineSection(s) => span(f, s, "memory section offline"),
            Notice::PageLost(pfn, fault) => write!(f, "pfn {pfn} lost: {fault}"),
            Notice::NotesLost(at, io) => write!(f, "notes lost from byte {at} on: {io}"),
        }
    }
}

/// Hears what happens.
pub trait Observer {
    /// `done` of `total` pages of a phase.
    fn progress(&mut self, phase: Phase, done: u64, total: u64);
    /// See [`Notice`].
    fn notice(&mut self, notice: Notice);
    /// Whether to end now, with what there is: the time is up, or somebody said so. Asked for
    /// every page.
    fn stopped(&mut self) -> bool {
        false
    }
}

/// Why a dump ended early, or was not begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CaptureError {
    /// The output failed.
    Sink {
        /// What was being written.
        step: &'static str,
        /// Which of the outputs.
        part: usize,
        /// What happened.
        error: SinkError,
    },
    /// The machine's addresses are too large for the format: one past the last pfn.
    TooLarge(u64),
    /// Classifying twice gave different pages: the input changed.
    Unsteady,
    /// [`Observer::stopped`] said so.
    Stopped,
    /// A bug of this crate: what could not be.
    Internal(&'static str),
}

impl CaptureError {
    /// A range that must lie in its buffer does not.
    const OUTSIDE: CaptureError = CaptureError::Internal("a range outside of its buffer");

    /// Whether the output ran out of space (or of the size it may have).
    pub fn is_no_space(&self) -> bool {
        use crate::io::IoKind::NoSpace;
        matches!(self, CaptureError::Sink { error, .. } if error.io.kind == NoSpace)
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::Sink { step, error, .. } => {
                write!(f, "writing {step} at offset {}: {}", error.at, error.io)
            }
            CaptureError::TooLarge(pfn) => {
                write!(f, "the machine's memory ends at pfn 0x{pfn:x}: too large for the format")
            }
            CaptureError::Unsteady => {
                f.write_str("the input changed while it was read: the dump is incomplete")
            }
            CaptureError::Stopped => f.write_str("the capture was stopped"),
            CaptureError::Internal(what) => write!(f, "{what}: a bug of tamis, please report it"),
        }
    }
}

impl core::error::Error for CaptureError {}

/// What a dump says about the kernel and itself.
#[derive(Clone, Copy, Debug)]
struct About<'u> {
    /// Dump level.
    level: DumpLevel,
    /// The kernel's six utsname strings.
    utsname: &'u [u8; UTS],
    /// Seconds since 1970; 0 where unknown.
    crash_time: u64,
    /// Physical base of the kernel image.
    phys_base: u64,
    /// CPUs with a register note.
    cpus: u32,
    /// Offset in the notes and bytes of the VMCOREINFO text.
    vmcoreinfo: Option<(u64, u64)>,
}

/// Memory for a capture; the sizes are those of a [`crate::capture::plan::Plan`].
struct Buffers<'m> {
    /// Bits of a window.
    bitmap: &'m mut [u8],
    /// Pages read at a time; a page at least.
    run: &'m mut [u8],
    /// Page data before it is written; the encoder's bound at least.
    data: &'m mut [u8],
    /// Page descriptors before they are written.
    descriptors: &'m mut [u8],
}

/// What a finished run has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Pages by what became of them.
    pub tally: Tally,
    /// One past the last pfn.
    pub max_pfn: Pfn,
    /// Pages that exist in no memory range.
    pub holes: u64,
    /// Pages that the dump has: fewer than the tally's `kept` if it ended early.
    pub saved: u64,
    /// Bytes written, headers included.
    pub bytes: u64,
    /// Whether pages are missing that should be there: the dump is marked incomplete.
    pub incomplete: bool,
}

/// A capture in progress.
struct Capture<'m, S> {
    source: &'m mut S,
    scanner: Option<Scanner<'m>>,
    buffers: Buffers<'m>,
    observer: &'m mut dyn Observer,
    encoder: &'m mut dyn Encoder,
    shift: PageShift,
    max_pfn: Pfn,
    level: DumpLevel,
    sync_every: u64,
    filter: Option<&'m dyn PageFilter>,
    report: Report,
}

impl<'m, S: Dump> Capture<'m, S> {
    /// `max_pfn` is one past the last pfn to look at. Without a `scanner` no page but zero ones
    /// is dropped.
    #[expect(clippy::too_many_arguments, reason = "the parts of one thing, each needed")]
    fn new(
        source: &'m mut S,
        scanner: Option<Scanner<'m>>,
        buffers: Buffers<'m>,
        observer: &'m mut dyn Observer,
        encoder: &'m mut dyn Encoder,
        shift: PageShift,
        max_pfn: Pfn,
        level: DumpLevel,
        filter: Option<&'m dyn PageFilter>,
    ) -> Capture<'m, S> {
        let report = Report { max_pfn, incomplete: source.is_truncated(), ..Report::default() };
        let sync_every = pages::SYNC_EVERY;
        Capture {
            source,
            scanner,
            buffers,
            observer,
            encoder,
            shift,
            max_pfn,
            level,
            sync_every,
            filter,
            report,
        }
    }

    /// Bytes of page data that may be written between two syncs.
    fn set_sync_every(&mut self, bytes: u64) {
        self.sync_every = bytes;
    }

    /// What was done up to now; also after an error.
    fn report(&self) -> Report {
        self.report
    }

    /// Writes a kdump-compressed dump. With more than one sink it is split into one part each, in
    /// blocks of `split_block` pages; such sinks must be ones that can be read back.
    #[inline(never)] // called from two places: one copy is enough
    fn kdump(
        &mut self,
        about: &About<'_>,
        sinks: &mut [&mut dyn Sink],
        split_block: u64,
        crew: Option<&dyn crew::Crew<'_>>,
    ) -> Result<Report, CaptureError> {
        kdump::write(self, about, sinks, split_block, crew)?;
        Ok(self.report)
    }

    /// Writes an ELF dump. The encoders of a crew, and this capture's, must be
    /// [`crate::codec::NoCodec`] or the like.
    fn elf(
        &mut self,
        sink: &mut dyn Sink,
        crew: Option<&dyn crew::Crew<'_>>,
    ) -> Result<Report, CaptureError> {
        elf::write(self, sink, crew)?;
        Ok(self.report)
    }

    /// Pfns of a window.
    fn window_len(&self) -> u64 {
        (self.buffers.bitmap.len() as u64).saturating_mul(8).max(8)
    }

    /// The window at `from` or later, within `all`, that has memory in it. Windows begin at
    /// multiples of their length (or at the start of `all`, rounded down to a byte of bits).
    fn next_window(&self, from: Pfn, all: PfnSpan) -> Option<PfnSpan> {
        let from = self.shift.addr(from)?;
        let start = self.shift.pfn(self.source.next_memory(from)?);
        if start >= all.end {
            return None;
        }
        let len = self.window_len();
        let first = (start.0 / len * len).max(all.start.0 & !7);
        let end = first.saturating_add(len) / len * len;
        Some(PfnSpan::new(Pfn(first), Pfn(end.min(all.end.0))))
    }

    /// The notes from `at` on, as many as fit into the buffer, zeros where they cannot be read.
    #[inline(never)] // called from two places: one copy is enough
    fn notes(&mut self, at: u64) -> Result<&[u8], CaptureError> {
        let left = self.source.notes().len.saturating_sub(at);
        let len = left.min(self.buffers.run.len() as u64) as usize;
        let chunk = self.buffers.run.get_mut(..len).filter(|chunk| !chunk.is_empty());
        let chunk = chunk.ok_or(CaptureError::OUTSIDE)?;
        if let Err(io) = self.source.read_notes(at, chunk) {
            chunk.fill(0);
            self.report.incomplete = true;
            self.observer.notice(Notice::NotesLost(at, io));
        }
        Ok(chunk)
    }

    /// First byte of a window, and one past its last.
    fn bytes_of(&self, window: PfnSpan) -> (PhysAddr, PhysAddr) {
        let end = self.shift.addr(window.end).unwrap_or(PhysAddr(u64::MAX));
        (self.shift.addr(window.start).unwrap_or(PhysAddr(u64::MAX)), end)
    }

    /// The bits of the pages that exist.
    fn existing(&mut self, window: PfnSpan) -> Bitmap<'_> {
        let (from, until) = self.bytes_of(window);
        let mut map = Bitmap::clear(self.buffers.bitmap, window);
        self.source.ranges_in(from, until, &mut |s| {
            map.set(self.shift.touched(s.phys, s.len));
        });
        self.source.keep_existing(&mut map);
        map
    }

    /// The bits of the pages that `tally` does not drop. `within` are the pfns that count.
    fn wanted(&mut self, window: PfnSpan, within: PfnSpan, tally: &mut Tally) -> Bitmap<'_> {
        let (from, until) = self.bytes_of(window);
        let mut map = Bitmap::clear(self.buffers.bitmap, window);
        self.source.ranges_in(from, until, &mut |s| {
            map.set(self.shift.touched(s.phys, s.stored_len).clip(within));
        });
        if let Some(scanner) = &mut self.scanner {
            scanner.scan(self.source, &mut map, tally, self.observer);
        }
        // A source that is a dump says page by page what it holds. Not before the scan: the head
        // of a free block may be gone, and the rest of it still be there.
        self.source.keep_held(&mut map);
        map
    }

    /// All pfns.
    fn all(&self) -> PfnSpan {
        PfnSpan::new(Pfn(0), self.max_pfn)
    }

    /// Begins a pass over the pfns.
    fn rewind(&mut self) {
        if let Some(scanner) = &mut self.scanner {
            scanner.rewind();
        }
    }
}
