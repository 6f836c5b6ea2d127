//! The frame table, in the order of frames.

use super::{Domain, Frame, Host};
use crate::arch::paging::{Mapping, TableCache, WalkError};
use crate::bitmap::Bitmap;
use crate::error::part;
use crate::kernel::memory::KernelMemory;
use crate::memory::{Dump, PhysMemory};
use crate::storage::ManagedSlice;
use crate::units::{Pfn, PfnSpan, VirtAddr};

/// Frames that are looked at together.
pub(super) const BATCH: u64 = 512;

/// Frames in a row that are so in Xen's direct map, too.
#[derive(Clone, Copy, Default)]
pub(super) struct Run {
    pub(super) span: PfnSpan,
    /// Index in the frame table of the first.
    pub(super) pdx: u64,
}

/// A walk over the direct map, which has the frames of all memory in ascending order.
#[derive(Clone, Copy, Default)]
pub(super) struct DirectMap {
    /// Bytes of it that were walked over.
    done: u64,
    /// Where the last run ended.
    end: Pfn,
    pub(super) backwards: bool,
    next: Run,
}

impl DirectMap {
    /// The next entry of the page tables.
    fn leaf<D: PhysMemory>(
        &mut self,
        host: &Host,
        dump: &mut D,
        tables: &mut TableCache<'_>,
    ) -> Option<Run> {
        while self.done < host.direct.1 {
            let at = VirtAddr(host.direct.0 + self.done);
            let pdx = self.done >> 12;
            let (bytes, found) = match host.arch.translate(at, dump, tables) {
                Ok(Mapping { phys, len }) => (len, Some(Pfn(phys.0 >> 12))),
                // Four levels: as many bytes as the entry, or table, that is missing stands for.
                Err(WalkError::NotMapped { .. } | WalkError::Table { .. }) => {
                    let met = tables.steps().count().min(4);
                    let size = 1u64 << (48 - 9 * met as u32);
                    (size - (at.0 & (size - 1)), None)
                }
                Err(_) => (4096, None),
            };
            self.done = self.done.saturating_add(bytes.max(4096));
            if let Some(start) = found {
                let span = PfnSpan::new(start, Pfn(start.0.saturating_add(bytes >> 12)));
                return Some(Run { span, pdx });
            }
        }
        None
    }

    /// The next frames in a row, before `end`.
    pub(super) fn run<D: PhysMemory>(
        &mut self,
        host: &Host,
        dump: &mut D,
        tables: &mut TableCache<'_>,
        end: Pfn,
    ) -> Option<Run> {
        let mut run = core::mem::take(&mut self.next);
        if run.span.is_empty() {
            run = self.leaf(host, dump, tables)?;
        }
        if run.span.start < self.end || self.backwards {
            self.backwards = true;
            return None;
        }
        if run.span.start >= end {
            return None;
        }
        while let Some(next) = self.leaf(host, dump, tables) {
            let follows = next.span.start == run.span.end && next.pdx == run.pdx + run.span.len();
            if !follows || run.span.end >= end {
                self.next = next;
                break;
            }
            run.span.end = next.span.end;
        }
        self.end = run.span.end;
        Some(run)
    }
}

/// Looks at frames, window by window in ascending order.
pub struct Frames<'m> {
    host: Host,
    tables: TableCache<'m>,
    /// Entries of the frame table.
    slice: ManagedSlice<'m, u8>,
    end: Pfn,
    map: DirectMap,
    run: Run,
    /// Frames whose entries are at hand.
    held: PfnSpan,
    /// An owner that was looked at, and whether it is a guest.
    owner: Option<(u64, bool)>,
}

impl<'m> Frames<'m> {
    /// `slice` takes entries of the frame table: one at least. `end` is one past the last frame.
    pub fn new(
        host: Host,
        tables: TableCache<'m>,
        slice: impl Into<ManagedSlice<'m, u8>>,
        end: Pfn,
    ) -> Frames<'m> {
        Frames {
            host,
            tables,
            slice: slice.into(),
            end,
            map: DirectMap::default(),
            run: Run::default(),
            held: PfnSpan::default(),
            owner: None,
        }
    }

    /// Begins a new pass.
    pub fn rewind(&mut self) {
        (self.map, self.run) = (DirectMap::default(), Run::default());
    }

    /// The domains of the host: see [`Host::domains`].
    pub fn domains<D: PhysMemory>(
        &mut self,
        dump: &mut D,
        each: &mut dyn FnMut(Domain),
    ) -> Option<()> {
        self.host.domains(dump, &mut self.tables, each)
    }

    /// The first frames at `from` or later that `map` has, all in a row and of one kind.
    pub fn next<D: Dump>(
        &mut self,
        dump: &mut D,
        map: &Bitmap<'_>,
        from: Pfn,
    ) -> Option<(PfnSpan, Frame)> {
        let wanted = map.next_run(from, BATCH)?;
        let start = wanted.start;
        if start < self.run.span.start {
            self.rewind();
        }
        while self.run.span.end <= start {
            let run = self.map.run(&self.host, dump, &mut self.tables, self.end);
            // None has the frames from here on: at the end of all is an empty one.
            self.run =
                run.unwrap_or(Run { span: PfnSpan::new(Pfn(u64::MAX), Pfn(u64::MAX)), pdx: 0 });
            if run.is_none() {
                break;
            }
        }
        if start < self.run.span.start {
            return Some((
                PfnSpan::new(start, wanted.end.min(self.run.span.start)),
                Frame::Unknown,
            ));
        }
        if !self.held.contains(start) && !self.load(dump, start) {
            return Some((PfnSpan::new(start, Pfn(start.0 + 1)), Frame::Unknown));
        }
        let end = wanted.end.min(self.held.end);
        let frame = self.judge(start);
        let mut at = Pfn(start.0 + 1);
        while at < end && self.judge(at) == frame {
            at.0 += 1;
        }
        let frame = match frame {
            Frame::Guest(owner) if !self.is_guest(dump, owner) => Frame::Stray(owner),
            frame => frame,
        };
        Some((PfnSpan::new(start, at), frame))
    }

    /// The frame's entry is at hand.
    fn judge(&self, frame: Pfn) -> Frame {
        let (size, at) = (self.host.entry as usize, (frame.0 - self.held.start.0) as usize);
        self.host.judge(part(&self.slice, at * size..(at + 1) * size))
    }

    /// Reads the entries of frames from `start` on, as many as there is room for; of one alone where not all of them
    /// can be read.
    fn load<D: PhysMemory>(&mut self, dump: &mut D, start: Pfn) -> bool {
        let Host { arch, table, entry, .. } = self.host;
        let inside = start.0 - self.run.span.start.0;
        let room = (self.slice.len() as u64 / entry).min(BATCH);
        let most = room.min(self.run.span.end.0 - start.0);
        let at = (self.run.pdx + inside).checked_mul(entry).and_then(|at| at.checked_add(table));
        let mut memory = KernelMemory::new(dump, arch, &mut self.tables);
        self.held = PfnSpan::default();
        for count in [most, 1] {
            let buffer = self.slice.get_mut(..(count * entry) as usize);
            let (Some(at), Some(buffer)) = (at, buffer) else { return false };
            if memory.read(VirtAddr(at), buffer).is_ok() {
                self.held = PfnSpan::new(start, Pfn(start.0 + count));
                break;
            }
        }
        !self.held.is_empty()
    }

    fn is_guest<D: PhysMemory>(&mut self, dump: &mut D, owner: u64) -> bool {
        if let Some((known, answer)) = self.owner
            && known == owner
        {
            return answer;
        }
        let answer = self.host.is_guest(owner, dump, &mut self.tables);
        self.owner = Some((owner, answer));
        answer
    }
}
