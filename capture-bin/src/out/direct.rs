//! What passes through the page cache leaves it again.

use crate::sys::File;
use tamis_core::io::{BLOCK, IoError};

/// Bytes of a dump that are sent to the medium at a time.
const SEND: u64 = 1 << 20;
/// Bytes of a page, or a whole number of them, on every machine that this program runs on.
const PAGE: u64 = BLOCK;

/// Bytes that are written through the page cache one after the other. They are sent to the medium while more come, and
/// leave the page cache once they are there: the memory of a crash kernel must not fill with pages
/// of the dump.
#[derive(Clone, Copy, Default)]
struct Stream {
    /// From here to `sent`: under way.
    from: u64,
    /// From here to `end`: in the page cache only.
    sent: u64,
    end: u64,
}

/// What such writes to a file have in common: data and descriptors are a stream each, with gaps in
/// it where bytes went past the page cache or nothing was written.
#[derive(Default)]
pub(super) struct Streams {
    /// The one that has come less far, and the other.
    streams: [Stream; 2],
    /// An error that came after a write; the next sync is to tell it.
    pub(super) late: Option<IoError>,
}

impl Streams {
    /// Bytes were written.
    pub(super) fn written(&mut self, file: &File, at: u64, len: u64) {
        let [low, high] = &mut self.streams;
        let stream = if at < high.end { &mut *low } else { &mut *high };
        if at < stream.end {
            *stream = Stream { from: at, sent: at, end: at };
        }
        stream.end = at.saturating_add(len);
        if stream.end - stream.sent >= SEND {
            let send = stream.end / PAGE * PAGE;
            let begun = file.begin_write_out(stream.sent, send);
            let ended = file.end_write_out(stream.from, stream.sent);
            (stream.from, stream.sent) = (stream.sent, send);
            self.late = self.late.or(begun.and(ended).err());
        }
        if low.end > high.end {
            core::mem::swap(low, high);
        }
    }
}
