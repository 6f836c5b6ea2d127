//! Pass A over the memory of a Xen host: the frame table of a window.

use super::{Notice, Observer};
use crate::bitmap::Bitmap;
use crate::kernel::xen::{Frame, Frames};
use crate::memory::Dump;
use crate::tally::{DropObserver, Reason};

/// Which frames are left out, beside broken ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Unwanted {
    /// The memory of guests, and all that is nobody's.
    pub(super) guests: bool,
    /// Free frames, and those that were taken out of use.
    pub(super) free: bool,
}

impl Unwanted {
    /// Why a frame is left out, if it is.
    fn reason(self, frame: Frame) -> Option<Reason> {
        match frame {
            Frame::Broken => Some(Reason::HwPoison),
            Frame::Free if self.free || self.guests => Some(Reason::Free),
            Frame::Offline if self.free || self.guests => Some(Reason::Offline),
            Frame::Guest(_) if self.guests => Some(Reason::Guest),
            _ => None,
        }
    }

    /// Clears the bits of frames that are left out.
    pub(super) fn scan<D: Dump>(
        self,
        frames: &mut Frames<'_>,
        dump: &mut D,
        map: &mut Bitmap<'_>,
        tally: &mut impl DropObserver,
        observer: &mut dyn Observer,
    ) {
        let mut at = map.span().start;
        while let Some((span, frame)) = frames.next(dump, map, at) {
            at = span.end;
            if let Some(reason) = self.reason(frame) {
                tally.dropped(reason, span, map.clear_span(span));
                continue;
            }
            let notice = match frame {
                Frame::Unknown => Notice::NoFrame(span),
                Frame::Stray(owner) => Notice::StrayFrames(span, owner),
                _ => continue,
            };
            tally.undecided(span, map.count_span(span));
            observer.notice(notice);
        }
    }
}
