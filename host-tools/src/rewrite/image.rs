//! Memory images out of dumps: LiME, and memory as it is.

use crate::dump::bits::{Held, spans_from};
use crate::dump::gaps;
use crate::dump::opened::Opened;
use crate::dump::out::OutFile;
use crate::fail::{Fail, Result};
use crate::render::progress::Progress;
use page_codec::is_zero;
use std::path::Path;
use tamis_core::io::Sink;
use tamis_core::memory::PhysMemory as _;
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};

/// Formats of images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// LiME, version 1: each range of memory behind a header.
    Lime,
    /// Each byte at the offset that its physical address is.
    Raw,
}

/// What was written.
#[derive(Clone, Copy, Default, Debug)]
pub struct Written {
    /// Pages in the image.
    pub pages: u64,
    /// Pages that could not be read.
    pub lost: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Pages that are read at a time.
const RUN: u64 = 256;
const LIME_HEADER: u64 = 32;

/// The file, and the range that is being written.
struct Image<'f> {
    file: &'f mut OutFile,
    path: &'f Path,
    format: Format,
    /// Where a LiME range begins in the file, its address, and bytes of it up to now.
    range: Option<(u64, u64, u64)>,
    end: u64,
    back: Vec<u8>,
}

impl Image<'_> {
    /// Writes bytes, and looks at what is there then.
    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.put(at, bytes)?;
        if !self.file.can_look() {
            return Ok(());
        }
        self.back.resize(bytes.len(), 0);
        let read = self.file.read_back(at, &mut self.back);
        match read {
            Ok(()) if self.back == bytes => Ok(()),
            Ok(()) => Err(Fail::file(self.path, format_args!("offset {at} reads as other bytes"))),
            Err(e) => Err(Fail::file(self.path, format_args!("reading offset {at}: {}", e.io))),
        }
    }

    fn page(&mut self, phys: u64, bytes: &[u8]) -> Result<()> {
        if self.format == Format::Raw {
            self.end = phys + bytes.len() as u64;
            return if is_zero(bytes) { Ok(()) } else { self.put(phys, bytes) };
        }
        self.begin(phys)?;
        self.put(self.end, bytes)?;
        self.grow(bytes.len() as u64);
        Ok(())
    }

    /// Pages of zeros from an address on: a hole.
    fn zeros(&mut self, phys: u64, bytes: u64) -> Result<()> {
        if self.format == Format::Raw {
            self.end = phys + bytes;
            return Ok(());
        }
        self.begin(phys)?;
        self.grow(bytes);
        Ok(())
    }

    /// Goes on with the range, or begins another one.
    fn begin(&mut self, phys: u64) -> Result<()> {
        if self.range.is_none_or(|(_, start, len)| start + len != phys) {
            self.close()?;
            self.range = Some((self.end, phys, 0));
            self.end += LIME_HEADER;
        }
        Ok(())
    }

    fn grow(&mut self, bytes: u64) {
        self.end += bytes;
        if let Some((.., len)) = &mut self.range {
            *len += bytes;
        }
    }

    /// Writes the header of the range, whose length is known now.
    fn close(&mut self) -> Result<()> {
        let Some((at, start, len)) = self.range.take() else { return Ok(()) };
        let mut header = b"EMiL\x01\0\0\0".to_vec();
        for word in [start, start + len - 1, 0] {
            header.extend(word.to_le_bytes());
        }
        self.put(at, &header)
    }
}

/// A run of pages in pieces: those that are known to be `zeros` as they are, the others so many at a time.
fn pieces(run: PfnSpan, zeros: &[PfnSpan]) -> impl Iterator<Item = (PfnSpan, bool)> {
    let mut at = run.start;
    std::iter::from_fn(move || {
        let next = spans_from(zeros, at).next().map(|span| span.intersect(run));
        let next = next.filter(|span| !span.is_empty()).unwrap_or(PfnSpan::new(run.end, run.end));
        let is_gap = next.start <= at;
        let end = if is_gap { next.end } else { next.start.min(Pfn(at.0 + RUN)) };
        let piece = PfnSpan::new(at, end);
        at = end;
        (!piece.is_empty()).then_some((piece, is_gap))
    })
}

/// Writes an image of the pages that a dump holds. What was written is read again, and held against what was meant.
pub fn write(
    opened: &mut Opened,
    format: Format,
    file: &mut OutFile,
    path: &Path,
) -> Result<Written> {
    let (shift, max) = (opened.shift, opened.max_pfn);
    let size = shift.bytes() as u64;
    let (held, zeros) = (Held::of(opened), gaps::zeros(opened));
    let mut image = Image { file, path, format, range: None, end: 0, back: Vec::new() };
    let (mut bits, mut run_bytes) = (vec![0; 32 << 10], vec![0; (RUN * size) as usize]);
    let mut written = Written::default();
    let mut progress = Progress::new("Writing memory");
    let mut from = Pfn(0);
    while let Some(start) = held.next(from).filter(|start| *start < max) {
        let window = PfnSpan::new(start, Pfn(start.0 + 8 * bits.len() as u64).min(max));
        from = window.end;
        let map = held.bits(opened, window, &mut bits);
        let mut at = start;
        let mut runs = Vec::new();
        while let Some(run) = map.next_run(at, u64::MAX) {
            at = run.end;
            runs.push(run);
        }
        let runs = runs.into_iter().flat_map(|run| pieces(run, &zeros));
        for (run, is_gap) in runs {
            if is_gap {
                image.zeros(run.start.0 * size, run.len() * size)?;
                written.pages += run.len();
                continue;
            }
            let bytes = &mut run_bytes[..(run.len() * size) as usize];
            let whole = opened.dump.read(PhysAddr(run.start.0 * size), bytes).is_ok();
            for (pfn, page) in (run.start.0..run.end.0).zip(bytes.chunks_exact_mut(size as usize)) {
                let phys = pfn * size;
                if whole || opened.dump.read(PhysAddr(phys), page).is_ok() {
                    image.page(phys, page)?;
                    written.pages += 1;
                } else {
                    written.lost += 1;
                }
            }
        }
        progress.set(window.end.0, max.0);
    }
    image.close()?;
    written.bytes = image.end;
    let end = image.end;
    file.set_len(end)?;
    Ok(written)
}
