//! What a capture reports while it runs, and at its end.

use crate::io::IoError;
use crate::kernel::mem_map::Doubt;
#[cfg(feature = "free-lists")]
use crate::kernel::zones::ZonesError;
use crate::memory::ReadError;
use crate::tally::Tally;
use crate::units::{Pfn, PfnSpan};
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
    /// These pages lie in a memory section (its number) that is damaged: they are kept.
    DamagedSection(PfnSpan, u64, Doubt),
    /// The first of these pages says that they are a block, and others that they are not: it is kept, the others are
    /// judged for themselves.
    DoubtfulBlock(PfnSpan),
    /// The lists that the `struct page`s of these pages are on do not lead back to them, so that they are not theirs:
    /// the pages are kept.
    StrayStructs(PfnSpan),
    /// A list of free blocks of this order, in the zone of these pfns, does not lead back to its head or has what is no
    /// free block: its pages are kept.
    #[cfg(feature = "free-lists")]
    DamagedFreeList(PfnSpan, u64),
    /// The zones of the node of these pfns are not known, and with them no lists of free pages: those are kept.
    #[cfg(feature = "free-lists")]
    UnknownZones(PfnSpan),
    /// The kernel's zones could not be found: all free pages are kept.
    #[cfg(feature = "free-lists")]
    NoZones(ZonesError),
    /// Xen's map of the memory does not have these frames, or their entries in its table cannot be read: they are kept.
    #[cfg(feature = "xen")]
    NoFrame(PfnSpan),
    /// The owner of these frames, by its number in Xen's table, is no domain: they are kept.
    #[cfg(feature = "xen")]
    StrayFrames(PfnSpan, u64),
    /// This page could not be read: the dump is incomplete.
    PageLost(Pfn, ReadError),
    /// The notes could not be read from this byte on: they are zeros, the dump is incomplete.
    NotesLost(u64, IoError),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |f: &mut fmt::Formatter<'_>, s: &PfnSpan, why: fmt::Arguments<'_>| {
            write!(f, "pfns {} to {}: {why}, pages kept", s.start, Pfn(s.end.0.saturating_sub(1)))
        };
        match self {
            Notice::MemMapUnreadable(s) => span(f, s, format_args!("struct pages unreadable")),
            Notice::NoSection(s) => span(f, s, format_args!("no memory section")),
            Notice::OfflineSection(s) => span(f, s, format_args!("memory section offline")),
            Notice::DamagedSection(s, number, doubt) => {
                span(f, s, format_args!("memory section {number} is damaged: {doubt}"))
            }
            Notice::DoubtfulBlock(s) => {
                span(f, s, format_args!("a block by its first struct page, not by others"))
            }
            Notice::StrayStructs(s) => {
                span(f, s, format_args!("struct pages that no list leads back to"))
            }
            #[cfg(feature = "free-lists")]
            Notice::DamagedFreeList(s, order) => {
                span(f, s, format_args!("the list of free blocks of order {order} is damaged"))
            }
            #[cfg(feature = "free-lists")]
            Notice::UnknownZones(s) => {
                let last = Pfn(s.end.0.saturating_sub(1));
                write!(f, "pfns {} to {last}: zones not known, free pages kept", s.start)
            }
            #[cfg(feature = "free-lists")]
            Notice::NoZones(why) => write!(f, "free pages kept: {why}"),
            #[cfg(feature = "xen")]
            Notice::NoFrame(s) => span(f, s, format_args!("not in Xen's frame table")),
            #[cfg(feature = "xen")]
            Notice::StrayFrames(s, owner) => span(
                f,
                s,
                format_args!("Xen's frame table has an owner {owner:#x} that is no domain"),
            ),
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
