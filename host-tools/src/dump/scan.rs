//! VMCOREINFO of dumps that do not have it in their notes: the kernel's own copy, looked for in memory.
//!
//! What counts as such a text is what `tamis_core::kernel::own_copy` says; here, all memory is looked at, byte by byte,
//! and a crash kernel's text counts only where there is no other.

use crate::about::log::log;
use crate::dump::bits::Held;
use crate::dump::gaps::extents;
use crate::dump::opened::{Dump, Opened};
use crate::render::progress::Progress;
use crate::session::frames;
use memchr::memmem::Finder;
use std::io;
use tamis_core::arch::paging::TableCache;
use tamis_core::bitmap::Bitmap;
use tamis_core::kernel::log::Options;
use tamis_core::kernel::own_copy::{self, START};
use tamis_core::kernel::xen::{Frame, Frames};
use tamis_core::memory::PhysMemory as _;
use tamis_core::units::{Pfn, PfnSpan, PhysAddr};
use tamis_core::vmcoreinfo::Info;

/// The longest text: the kernel has a page for it, of 64 KiB at most.
const TEXT_MOST: usize = 64 << 10;
/// Bytes that are read at a time.
const STEP: u64 = 1 << 20;
/// Texts that are tried, at most: a machine may have thousands of old dumps in its page cache.
const TRIED_MOST: usize = 64;

/// What a text turned out to be of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Not of a kernel that is there.
    Nothing,
    /// Of a crash kernel.
    CrashKernel,
    /// Of the kernel.
    Kernel,
}

/// Looks for the text of the kernel whose memory this is.
pub fn vmcoreinfo(opened: &mut Opened) -> Option<Vec<u8>> {
    // Without page tables nothing can be held against memory.
    opened.dump.machine().known()?;
    // Of a Xen host, what lies in frames of domain 0 counts: guests have such texts, too.
    let frames = frames(opened).ok();
    let mut search = Search { tried: Vec::new(), second_best: None, frames };
    let held = Held::of(opened);
    let by_page = matches!(opened.dump, Dump::Kdump(_));
    let spans = extents(opened);
    let total: u64 = spans.iter().map(|span| span.len).sum();
    let mut progress = Progress::new("Looking for VMCOREINFO");
    let (mut bits, mut done) = (vec![0; 32 << 10], 0);
    let page = opened.shift.bytes() as u64;
    for span in spans {
        let (mut at, end) = (span.phys.0, span.phys.0.saturating_add(span.len));
        if !by_page {
            if let Some(text) = search.over(opened, (at, end), |step| {
                done += step;
                progress.set(done, total);
            }) {
                return Some(text);
            }
            continue;
        }
        // Of a dump that says by page what it holds, runs of pages.
        while at < end {
            let pages = 8 * bits.len() as u64;
            let until = end.min(at.saturating_add(pages * page));
            let window = opened.shift.touched(PhysAddr(at), until - at);
            let map = held.bits(opened, window, &mut bits);
            let mut runs = Vec::new();
            let mut from = window.start;
            while let Some(run) = map.next_run(from, u64::MAX) {
                from = run.end;
                runs.push((run.start.0 * page, run.end.0 * page));
            }
            for run in runs {
                if let Some(text) = search.over(opened, run, |_| {}) {
                    return Some(text);
                }
            }
            done += until - at;
            progress.set(done, total);
            at = until;
        }
    }
    search.second_best
}

struct Search {
    /// Texts that are of nothing here.
    tried: Vec<Vec<u8>>,
    /// That of a crash kernel.
    second_best: Option<Vec<u8>>,
    /// Whose the frames of a Xen host are.
    frames: Option<Frames<'static>>,
}

impl Search {
    /// Goes over memory that is there; returns the text that counts.
    fn over(
        &mut self,
        opened: &mut Opened,
        (from, end): (u64, u64),
        mut step: impl FnMut(u64),
    ) -> Option<Vec<u8>> {
        let finder = Finder::new(START);
        let mut buf = vec![0; STEP as usize + START.len()];
        let mut at = from;
        while at < end {
            // A little more, so that what lies across a border is found.
            let len = (end - at).min(buf.len() as u64) as usize;
            let bytes = &mut buf[..len];
            let found = match opened.dump.read(PhysAddr(at), bytes) {
                Ok(()) => self.within(opened, at, bytes, &finder),
                Err(_) => self.by_page(opened, at, len, &finder),
            };
            if found.is_some() {
                return found;
            }
            let forward = (end - at).min(STEP);
            step(forward);
            at += forward;
        }
        None
    }

    /// Goes over bytes that were read at an address.
    fn within(
        &mut self,
        opened: &mut Opened,
        at: u64,
        bytes: &[u8],
        finder: &Finder<'_>,
    ) -> Option<Vec<u8>> {
        finder.find_iter(bytes).find_map(|hit| self.look(opened, at + hit as u64))
    }

    /// Goes over memory of which some cannot be read.
    fn by_page(
        &mut self,
        opened: &mut Opened,
        at: u64,
        len: usize,
        finder: &Finder<'_>,
    ) -> Option<Vec<u8>> {
        let size = opened.shift.bytes();
        let mut page = vec![0; size];
        (at..at.saturating_add(len as u64)).step_by(size).find_map(|from| {
            opened.dump.read(PhysAddr(from), &mut page).ok()?;
            self.within(opened, from, &page, finder)
        })
    }

    /// Whether a text at an address may be of the kernel whose memory this is.
    fn may_be(&mut self, opened: &mut Opened, at: u64) -> bool {
        let Some(frames) = &mut self.frames else { return true };
        let frame = opened.shift.pfn(PhysAddr(at));
        let mut bit = [1];
        let map = Bitmap::over(&mut bit, PfnSpan::new(frame, Pfn(frame.0 + 1)));
        let found = frames.next(&mut opened.dump, &map, frame);
        found.is_some_and(|(_, owner)| owner == Frame::Domain0)
    }

    /// Looks at what begins like a text.
    fn look(&mut self, opened: &mut Opened, at: u64) -> Option<Vec<u8>> {
        if self.tried.len() >= TRIED_MOST {
            return None;
        }
        if !self.may_be(opened, at) {
            return None;
        }
        let text = text(opened, at)?;
        if self.tried.contains(&text) {
            return None;
        }
        let found = judge(opened, &text);
        self.tried.push(text.clone());
        match found {
            Found::Kernel => return Some(text),
            Found::CrashKernel => self.second_best = Some(text),
            Found::Nothing => {}
        }
        None
    }
}

/// The text at an address, whose length the header of its note says, or its end.
fn text(opened: &mut Opened, at: u64) -> Option<Vec<u8>> {
    let mut text = vec![0; TEXT_MOST];
    let len = own_copy::text_at(&mut opened.dump, PhysAddr(at), opened.shift, &mut text)?;
    text.truncate(len);
    Some(text)
}

/// Whether the kernel that a text describes is there.
fn judge(opened: &mut Opened, text: &[u8]) -> Found {
    let mut tables = vec![0; TableCache::STORAGE];
    let mut cache = TableCache::new(&mut tables[..]);
    if !own_copy::is_there(&mut opened.dump, &mut cache, text) {
        return Found::Nothing;
    }
    // A kernel that died says when; one that was started to dump another has that on its command line.
    let info = Info::new(Some(text), None);
    if info.crash_time().is_some() || !is_crash_kernel(opened, text) {
        return Found::Kernel;
    }
    Found::CrashKernel
}

/// Lines of a log among which the command line is.
const LINES: usize = 64 << 10;

fn is_crash_kernel(opened: &mut Opened, text: &[u8]) -> bool {
    let before = std::mem::replace(&mut opened.text, text.to_vec().into());
    let mut lines = Vec::new();
    let options = Options { since_clear: false, strict: false };
    let _ = log(opened, options, &mut |text| {
        lines.extend_from_slice(&text[..text.len().min(LINES - lines.len().min(LINES))]);
        if lines.len() < LINES { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
    });
    opened.text = before;
    opened.forget_kernel();
    memchr::memmem::find(&lines, b" elfcorehdr=").is_some()
}
