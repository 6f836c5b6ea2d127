//! What passes over the pages share, whatever the format: windows of pfns, and the bits of those that stay.

use super::classify::Scanner;
use super::pages::{PageFilter, SYNC_EVERY};
#[cfg(feature = "rules")]
use super::rules::View;
#[cfg(feature = "xen")]
use super::xen::Unwanted;
use super::{CaptureError, Notice, Observer, Report};
use crate::bitmap::Bitmap;
use crate::checksum::Crc32;
use crate::endian::Word;
#[cfg(feature = "xen")]
use crate::kernel::xen::Frames;
use crate::level::DumpLevel;
use crate::memory::Dump;
use crate::tally::Tally;
use crate::units::{PageShift, Pfn, PfnSpan, PhysAddr};
use crate::wire::disk_header::UTS;
use page_codec::Encode;

/// What a dump says about the kernel and itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'u> {
    /// Dump level.
    pub(super) level: DumpLevel,
    /// The kernel's six utsname strings.
    pub(super) utsname: &'u [u8; UTS],
    /// Seconds since 1970; 0 where unknown.
    pub(super) crash_time: u64,
    /// Size of a `time_t` in the header, if the usual one of such machines is not wanted.
    pub(super) time: Option<Word>,
    /// Physical base of the kernel image.
    pub(super) phys_base: u64,
    /// CPUs with a register note.
    pub(super) cpus: u32,
    /// Offset in the notes and bytes of the VMCOREINFO text.
    pub(super) vmcoreinfo: Option<(u64, u64)>,
}

/// Memory for a capture; the sizes are those of a [`crate::capture::plan::Plan`].
pub(super) struct Buffers<'m> {
    /// Bits of a window.
    pub(super) bitmap: &'m mut [u8],
    /// Pages read at a time; a page at least.
    pub(super) run: &'m mut [u8],
    /// Page data before it is written; the encoder's bound at least.
    pub(super) data: &'m mut [u8],
    /// Page descriptors before they are written.
    pub(super) descriptors: &'m mut [u8],
}

/// A capture in progress.
pub(super) struct Capture<'m, S> {
    pub(super) source: &'m mut S,
    pub(super) scanner: Option<Scanner<'m>>,
    /// What looks at a Xen hypervisor's table of frames, and what it leaves out.
    #[cfg(feature = "xen")]
    pub(super) frames: Option<(Frames<'m>, Unwanted)>,
    pub(super) buffers: Buffers<'m>,
    pub(super) observer: &'m mut dyn Observer,
    /// Without one, pages are stored as they are.
    pub(super) encoder: Option<&'m mut dyn Encode>,
    pub(super) shift: PageShift,
    /// See [`Capture::first_pfn`].
    pub(super) first_pfn: Pfn,
    pub(super) max_pfn: Pfn,
    pub(super) level: DumpLevel,
    pub(super) sync_every: u64,
    /// What makes checksums, if pages have some.
    pub(super) sums: Option<&'m Crc32>,
    pub(super) filter: Option<&'m dyn PageFilter>,
    #[cfg(feature = "rules")]
    pub(super) rules: Option<View<'m>>,
    /// Pages that are zeros, without a look: apart from each other, in order.
    pub(super) zeros: &'m [PfnSpan],
    pub(super) report: Report,
}

/// The first of `pages` that are known to be zeros; an empty span at their end if none is. The filter sees all pages.
pub(super) fn known_zeros(
    zeros: &[PfnSpan],
    filter: Option<&dyn PageFilter>,
    pages: PfnSpan,
) -> PfnSpan {
    let first = zeros.partition_point(|span| span.end <= pages.start);
    let found = zeros.get(first).filter(|_| filter.is_none()).map(|span| span.intersect(pages));
    found.filter(|span| !span.is_empty()).unwrap_or(PfnSpan::new(pages.end, pages.end))
}

impl<'m, S: Dump> Capture<'m, S> {
    /// `max_pfn` is one past the last pfn to look at. Without a `scanner` no page but zero ones
    /// is dropped.
    #[expect(clippy::too_many_arguments, reason = "the parts of one thing, each needed")]
    pub(super) fn new(
        source: &'m mut S,
        scanner: Option<Scanner<'m>>,
        buffers: Buffers<'m>,
        observer: &'m mut dyn Observer,
        encoder: Option<&'m mut dyn Encode>,
        shift: PageShift,
        max_pfn: Pfn,
        level: DumpLevel,
        filter: Option<&'m dyn PageFilter>,
    ) -> Capture<'m, S> {
        let report = Report { max_pfn, incomplete: source.is_truncated(), ..Report::default() };
        let sync_every = SYNC_EVERY;
        Capture {
            source,
            scanner,
            #[cfg(feature = "xen")]
            frames: None,
            buffers,
            observer,
            encoder,
            shift,
            first_pfn: Pfn(0),
            max_pfn,
            level,
            sync_every,
            sums: None,
            filter,
            #[cfg(feature = "rules")]
            rules: None,
            zeros: &[],
            report,
        }
    }

    /// Pfns of a window.
    pub(super) fn window_len(&self) -> u64 {
        (self.buffers.bitmap.len() as u64).saturating_mul(8).max(8)
    }

    /// The window at `from` or later that has memory in it. Windows begin whole lengths behind the first pfn.
    pub(super) fn next_window(&self, from: Pfn) -> Option<PfnSpan> {
        let from = self.shift.addr(from)?;
        let next = self.shift.pfn(self.source.next_memory(from)?);
        let all = self.all();
        if next >= all.end {
            return None;
        }
        let len = self.window_len();
        let start = all.start.0 + PfnSpan::new(all.start, next).len() / len * len;
        Some(PfnSpan::new(Pfn(start), Pfn(start.saturating_add(len).min(all.end.0))))
    }

    /// The notes from `at` on, as many as fit into the buffer, zeros where they cannot be read.
    #[inline(never)] // called from two places: one copy is enough
    pub(super) fn notes(&mut self, at: u64) -> Result<&[u8], CaptureError> {
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
    pub(super) fn bytes_of(&self, window: PfnSpan) -> (PhysAddr, PhysAddr) {
        let end = self.shift.addr(window.end).unwrap_or(PhysAddr(u64::MAX));
        (self.shift.addr(window.start).unwrap_or(PhysAddr(u64::MAX)), end)
    }

    /// The bits of the pages that exist.
    #[inline(never)] // called from two places: one copy is enough
    pub(super) fn existing(&mut self, window: PfnSpan) -> Bitmap<'_> {
        let (from, until) = self.bytes_of(window);
        let mut map = Bitmap::clear(self.buffers.bitmap, window);
        self.source.ranges_in(from, until, &mut |s| {
            map.set(self.shift.touched(s.phys, s.len));
        });
        self.source.keep_existing(&mut map);
        map
    }

    /// The bits of the pages that `tally` does not drop. `within` are the pfns that count.
    pub(super) fn wanted(
        &mut self,
        window: PfnSpan,
        within: PfnSpan,
        tally: &mut Tally,
    ) -> Bitmap<'_> {
        let (from, until) = self.bytes_of(window);
        let mut map = Bitmap::clear(self.buffers.bitmap, window);
        self.source.ranges_in(from, until, &mut |s| {
            map.set(self.shift.touched(s.phys, s.stored_len).intersect(within));
        });
        #[cfg(feature = "rules")]
        if let Some(rules) = &mut self.rules {
            rules.before(self.scanner.as_mut(), self.source, &mut map, tally);
        }
        #[cfg(feature = "xen")]
        if let Some((frames, unwanted)) = &mut self.frames {
            unwanted.scan(frames, self.source, &mut map, tally, self.observer);
        }
        if let Some(scanner) = &mut self.scanner {
            scanner.scan(self.source, &mut map, tally, self.observer);
        }
        #[cfg(feature = "rules")]
        if let Some(rules) = &mut self.rules {
            rules.after(&mut map);
        }
        // A source that is a dump says page by page what it holds. Not before the scan: the head
        // of a free block may be gone, and the rest of it still be there.
        self.source.keep_held(&mut map);
        map
    }

    /// The pfn that a kdump-compressed dump has its first bit for: 0, but for 32-bit ARM.
    pub(super) fn first_pfn(&self) -> Pfn {
        if cfg!(feature = "arm") { self.first_pfn } else { Pfn(0) }
    }

    /// All pfns.
    pub(super) fn all(&self) -> PfnSpan {
        PfnSpan::new(self.first_pfn(), self.max_pfn)
    }

    /// Begins a pass over the pfns.
    pub(super) fn rewind(&mut self) {
        if let Some(scanner) = &mut self.scanner {
            scanner.rewind();
        }
        #[cfg(feature = "xen")]
        if let Some((frames, _)) = &mut self.frames {
            frames.rewind();
        }
    }
}
