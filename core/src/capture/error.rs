//! Why a dump is not whole.

use crate::io::{IoError, IoKind, SinkError};
use core::fmt;

/// Why a dump ended early, or was not begun. 16 bytes, which a function returns in registers: every write
/// passes it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CaptureError {
    /// The output failed.
    Sink(FailedWrite),
    /// The machine's addresses are too large for the format: one past the last pfn.
    TooLarge(u64),
    /// Classifying twice gave different pages: the input changed.
    InputChanged,
    /// [`Observer::stopped`](super::observer::Observer::stopped) said so.
    Stopped,
    /// A bug of this crate: what could not be.
    Internal(Bug),
}

const _: () = assert!(size_of::<Result<(), CaptureError>>() == 16);

impl CaptureError {
    /// A range that must lie in its buffer does not.
    pub(super) const OUTSIDE: CaptureError = CaptureError::Internal(Bug::Outside);

    /// Whether the output ran out of space (or of the size it may have).
    pub fn is_no_space(&self) -> bool {
        matches!(self, CaptureError::Sink(failed) if failed.kind == IoKind::NoSpace)
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::Sink(failed) => {
                write!(f, "writing {} at offset {}: {}", failed.step, failed.at, failed.io())
            }
            CaptureError::TooLarge(pfn) => {
                write!(f, "the machine's memory ends at pfn 0x{pfn:x}: too large for the format")
            }
            CaptureError::InputChanged => {
                f.write_str("the input changed while it was read: the dump is incomplete")
            }
            CaptureError::Stopped => f.write_str("the capture was stopped"),
            CaptureError::Internal(bug) => write!(f, "{bug}: a bug of tamis, please report it"),
        }
    }
}

impl core::error::Error for CaptureError {}

/// A write that failed, or a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailedWrite {
    /// File offset of the operation.
    pub at: u64,
    /// What was being written.
    pub step: Step,
    kind: IoKind,
    part: u16,
    code: i16,
}

impl FailedWrite {
    pub(super) fn new(step: Step, part: usize, error: SinkError) -> FailedWrite {
        FailedWrite {
            at: error.at,
            step,
            kind: error.io.kind,
            part: u16::try_from(part).unwrap_or(u16::MAX),
            code: i16::try_from(error.io.code).unwrap_or(0),
        }
    }

    /// Which of the outputs: an index.
    #[must_use]
    pub fn part(&self) -> usize {
        self.part.into()
    }

    /// What happened. The system's error number is 0 where it does not fit into 16 bits.
    #[must_use]
    pub fn io(&self) -> IoError {
        IoError { kind: self.kind, code: self.code.into() }
    }
}

/// What of a dump was being written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// All in front of the data.
    Head,
    /// The first header.
    Header,
    /// The first header of an ELF file.
    ElfHeader,
    /// The sub-header of a kdump-compressed file.
    SubHeader,
    /// One of the headers of an ELF file.
    ProgramHeader,
    /// The header of an ELF file with the number of program headers.
    SectionHeader,
    /// The notes.
    Notes,
    /// The pages that there are.
    Bitmap1,
    /// The pages that the dump has.
    Bitmap2,
    /// Bitmap 2, read back.
    ReadBack,
    /// Both bitmaps.
    Bitmaps,
    /// The page descriptors.
    Descriptors,
    /// The pages.
    Data,
    /// What ends a stream.
    End,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Head => "the file's head",
            Step::Header => "the header",
            Step::ElfHeader => "the ELF header",
            Step::SubHeader => "the sub-header",
            Step::ProgramHeader => "a program header",
            Step::SectionHeader => "the section header",
            Step::Notes => "the notes",
            Step::Bitmap1 => "bitmap 1",
            Step::Bitmap2 => "bitmap 2",
            Step::ReadBack => "bitmap 2 (reading back)",
            Step::Bitmaps => "the bitmaps",
            Step::Descriptors => "page descriptors",
            Step::Data => "page data",
            Step::End => "the end of the stream",
        })
    }
}

/// What could not be, if this crate and who calls it had no bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Bug {
    /// A range that must lie in its buffer does not.
    Outside,
    /// A crew that does not show pages to the filter that the capture has.
    CrewWithoutFilter,
    /// A page of zeros, where none was written for all of them.
    NoZeroPage,
    /// A dump without an output.
    NoOutput,
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bug::Outside => "a range outside of its buffer",
            Bug::CrewWithoutFilter => "a crew without the capture's filter",
            Bug::NoZeroPage => "no page of zeros",
            Bug::NoOutput => "a dump without an output",
        })
    }
}
