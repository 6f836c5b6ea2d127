//! Why a dump is not whole.

use crate::io::SinkError;
use core::fmt;

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
    InputChanged,
    /// [`Observer::stopped`](super::observer::Observer::stopped) said so.
    Stopped,
    /// A bug of this crate: what could not be.
    Internal(&'static str),
}

impl CaptureError {
    /// A range that must lie in its buffer does not.
    pub(super) const OUTSIDE: CaptureError =
        CaptureError::Internal("a range outside of its buffer");

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
            CaptureError::InputChanged => {
                f.write_str("the input changed while it was read: the dump is incomplete")
            }
            CaptureError::Stopped => f.write_str("the capture was stopped"),
            CaptureError::Internal(what) => write!(f, "{what}: a bug of tamis, please report it"),
        }
    }
}

impl core::error::Error for CaptureError {}
