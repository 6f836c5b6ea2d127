//! Memory images out of dumps: LiME, and memory as it is.

use crate::dump::bits::Held;
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
        let goes_on = self.range.is_some_and(|(_, start, len)| start + len == phys);
        if !goes_on {
            self.close()?;
            self.range = Some((self.end, phys, 0));
            self.end += LIME_HEADER;
        }
        self.put(self.end, bytes)?;
        self.end += bytes.len() as u64;
        if let Some((.., len)) = &mut self.range {
            *len += bytes.len() as u64;
        }
        Ok(())
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

/// Writes an image of the pages that a dump holds. What was written is read again, and held against what was meant.
pub fn write(
    opened: &mut Opened,
    format: Format,
    file: &mut OutFile,
    path: &Path,
) -> Result<Written> {
    let (shift, max) = (opened.shift, opened.max_pfn);
    let size = shift.bytes() as u64;
    let held = Held::of(opened);
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
        while let Some(run) = map.next_run(at, RUN) {
            at = run.end;
            runs.push(run);
        }
        for run in runs {
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
