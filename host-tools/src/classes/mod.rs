//! What the dead kernel used each page for, as its mem_map says.

pub mod map;
pub mod pages;
pub mod stats;
pub mod why;

use crate::dump::opened::{Dump, Opened};
use crate::render::console::remark;
use crate::session::{other_sources, session, unclassified};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};
use tamis_core::bitmap::Bitmap;
use tamis_core::capture::session::KernelError;
use tamis_core::capture::{Notice, Observer, Phase, Scanner};
use tamis_core::error::{part, part_mut};
use tamis_core::input::kdump::PageFault;
use tamis_core::kernel::xen::{Frame, Frames, XenError};
use tamis_core::level::DumpLevel;
use tamis_core::memory::{Dump as _, Ranges as _};
use tamis_core::tally::{DropObserver, Reason};
use tamis_core::units::{Pfn, PfnSpan};

/// What a page was used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// There is no memory.
    Hole,
    /// Kernel code and data, and all else that no class is for.
    Kernel,
    /// What may be left out, for this reason; not [`Reason::Zero`], which no `struct page` shows.
    Spare(Reason),
    /// Without a `struct page` that could be read.
    Unknown,
    /// A Xen hypervisor's own.
    Hypervisor,
    /// That of the privileged domain of a Xen host, of whose `struct page`s nothing is known.
    Domain0,
}

impl Class {
    /// All of those that memory can have.
    pub const ALL: [Class; 11] = [
        Class::Hypervisor,
        Class::Domain0,
        Class::Kernel,
        Class::Spare(Reason::Cache),
        Class::Spare(Reason::CachePrivate),
        Class::Spare(Reason::User),
        Class::Spare(Reason::Free),
        Class::Spare(Reason::HwPoison),
        Class::Spare(Reason::Offline),
        Class::Spare(Reason::Guest),
        Class::Unknown,
    ];

    /// One more than the largest index.
    const COUNT: usize = Reason::ALL.len() + 5;

    /// A number for each.
    fn index(self) -> usize {
        match self {
            Class::Hole => 0,
            Class::Kernel => 1,
            Class::Unknown => 2,
            Class::Hypervisor => 3,
            Class::Domain0 => 4,
            Class::Spare(reason) => 5 + reason as usize,
        }
    }

    /// Its name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Class::Hole => "no memory",
            Class::Kernel => "kernel and other",
            Class::Spare(reason) => reason.name(),
            Class::Unknown => "unknown",
            Class::Hypervisor => "hypervisor",
            Class::Domain0 => "domain 0",
        }
    }

    /// The same at the head of a column.
    pub fn short_name(self) -> &'static str {
        match self {
            Class::Kernel => "kernel",
            Class::Spare(Reason::Cache) => "cache",
            Class::Spare(Reason::CachePrivate) => "private",
            Class::Spare(Reason::User) => "user",
            other => other.name(),
        }
    }

    /// For JSON.
    pub fn key(self) -> &'static str {
        match self {
            Class::Hole => "hole",
            Class::Kernel => "kernel",
            Class::Spare(reason) => reason.key(),
            Class::Unknown => "undecided",
            Class::Hypervisor => "hypervisor",
            Class::Domain0 => "domain0",
        }
    }

    /// Whether a dump level leaves it out. Broken and offline pages are left out at every level
    /// for which the mem_map is looked at: at 0 and 1 only if that is so `always`.
    pub fn left_out(self, level: DumpLevel, always: bool) -> bool {
        match self {
            Class::Hole => true,
            Class::Kernel | Class::Unknown | Class::Hypervisor | Class::Domain0 => false,
            Class::Spare(reason) => match reason {
                Reason::Guest => false,
                Reason::Zero => level.contains(DumpLevel::ZERO),
                Reason::Cache => level.intersects(DumpLevel::CACHE | DumpLevel::CACHE_PRIVATE),
                Reason::CachePrivate => level.contains(DumpLevel::CACHE_PRIVATE),
                Reason::User => level.contains(DumpLevel::USER),
                Reason::Free => level.contains(DumpLevel::FREE),
                Reason::Rule => false,
                Reason::HwPoison | Reason::Offline => always || level.needs_mem_map(),
            },
        }
    }
}

/// Something for each class.
#[derive(Clone, Copy, Default)]
pub struct ByClass<T>([T; Class::COUNT]);

impl<T> ByClass<T> {
    /// Of all classes, holes included.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> Index<Class> for ByClass<T> {
    type Output = T;

    fn index(&self, class: Class) -> &T {
        &self.0[class.index()]
    }
}

impl<T> IndexMut<Class> for ByClass<T> {
    fn index_mut(&mut self, class: Class) -> &mut T {
        &mut self.0[class.index()]
    }
}

/// An object with a member for each class that memory can have.
impl<T: Serialize> Serialize for ByClass<T> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_map(Class::ALL.into_iter().map(|class| (class.key(), &self[class])))
    }
}

/// Pages of a window.
const WINDOW: u64 = 1 << 18;
/// Ranges without readable `struct page`s that are listed apart; further ones are joined.
const UNREADABLE_MOST: usize = 1000;

/// Goes over the pages of a dump, window by window. It takes the same memory for every dump.
pub struct Classes {
    scanner: Option<Scanner<'static>>,
    /// Whose the frames of a Xen host are.
    frames: Option<Frames<'static>>,
    /// How many each guest has, by its number in the frame table.
    guests: BTreeMap<u64, u64>,
    at: Pfn,
    window: PfnSpan,
    bits: Vec<u8>,
    classes: Vec<Class>,
    unreadable: Unreadable,
    doubts: Vec<String>,
    /// Finds hwpoison and offline pages first, where those are left out at every level.
    hwpoison: Option<Scanner<'static>>,
}

struct Marks<'a> {
    start: Pfn,
    classes: &'a mut [Class],
}

impl Marks<'_> {
    fn mark(&mut self, span: PfnSpan, class: Class) {
        let end = Pfn(self.start.0 + self.classes.len() as u64);
        let span = span.intersect(PfnSpan::new(self.start, end));
        let range = (span.start.0 - self.start.0) as usize..(span.end.0 - self.start.0) as usize;
        for slot in part_mut(self.classes, range) {
            if *slot == Class::Kernel {
                *slot = class;
            }
        }
    }
}

impl DropObserver for Marks<'_> {
    fn dropped(&mut self, reason: Reason, span: PfnSpan, _: u64) {
        self.mark(span, Class::Spare(reason));
    }

    fn undecided(&mut self, span: PfnSpan, _: u64) {
        self.mark(span, Class::Unknown);
    }
}

/// Ranges without readable `struct page`s.
#[derive(Default)]
struct Unreadable(Vec<PfnSpan>);

impl Observer for Unreadable {
    fn progress(&mut self, _: Phase, _: u64, _: u64) {}

    fn notice(&mut self, notice: Notice) {
        let Notice::MemMapUnreadable(span) = notice else { return };
        let full = self.0.len() >= UNREADABLE_MOST;
        match self.0.last_mut() {
            Some(last) if last.end == span.start || full => last.end = span.end,
            _ => self.0.push(span),
        }
    }
}

impl Classes {
    /// Begins at the first page. An error means that no page can be classified.
    pub fn new(opened: &mut Opened) -> std::result::Result<Classes, KernelError> {
        let all = session(opened, DumpLevel::all(), false, [0, opened.shift.bytes(), 0, 0]);
        let mut classes = Classes::over(None);
        match all.host() {
            Ok(_) => {
                classes.frames = all.into_frames().ok();
                return Ok(classes);
            }
            Err(XenError::NotXen) => {}
            Err(why) => return Err(KernelError::Frames(why)),
        }
        let mut doubts = unclassified(&all);
        classes.scanner = Some(all.into_scanner()?);
        doubts.extend(other_sources(opened));
        classes.doubts = doubts;
        let low = session(opened, DumpLevel::empty(), false, [0; 4]);
        if low.looks_at_pages() {
            classes.hwpoison = Some(low.into_scanner()?);
        }
        Ok(classes)
    }

    /// The same; prints what cannot be classified: those pages are of an unknown class.
    pub fn of_any(opened: &mut Opened) -> Classes {
        let name = opened.name();
        let classes = Classes::new(opened).unwrap_or_else(|why| {
            remark(format_args!("{name}: pages are of unknown classes: {why}"));
            Classes::over(None)
        });
        for doubt in &classes.doubts {
            remark(format_args!("{name}: {doubt}"));
        }
        classes
    }

    /// What one page was used for, if that is known.
    pub fn of_page(opened: &mut Opened, pfn: Pfn) -> Option<Class> {
        let mut classes = Classes::new(opened).ok()?;
        classes.skip_to(pfn);
        classes.next(opened).filter(|window| window.contains(pfn))?;
        classes.pages().find(|(at, _)| *at == pfn).map(|(_, class)| class)
    }

    fn over(scanner: Option<Scanner<'static>>) -> Classes {
        Classes {
            scanner,
            frames: None,
            guests: BTreeMap::new(),
            at: Pfn(0),
            window: PfnSpan::default(),
            bits: vec![0; WINDOW as usize / 8],
            classes: Vec::with_capacity(WINDOW as usize),
            unreadable: Unreadable::default(),
            doubts: Vec::new(),
            hwpoison: None,
        }
    }

    /// Whether hwpoison and offline pages are left out at every level.
    pub fn always(&self) -> bool {
        self.hwpoison.is_some()
    }

    /// Begins at, or before, a pfn.
    pub fn skip_to(&mut self, pfn: Pfn) {
        // Blocks of memory do not begin in one window and end in another.
        self.at = Pfn(pfn.0 / WINDOW * WINDOW);
    }

    /// Goes on to the next pages that exist; returns their pfns.
    pub fn next(&mut self, opened: &mut Opened) -> Option<PfnSpan> {
        let shift = opened.shift;
        let next = shift.pfn(opened.dump.next_memory(shift.addr(self.at)?)?);
        if next >= opened.max_pfn {
            return None;
        }
        let start = Pfn(next.0 / WINDOW * WINDOW);
        let end = Pfn(start.0 + WINDOW).min(opened.max_pfn);
        let window = PfnSpan::new(start, end);
        (self.at, self.window) = (end, window);
        let (from, until) = (shift.addr(start)?, shift.addr(end)?);
        let there = |dump: &mut Dump, bits: &mut [u8]| {
            let mut map = Bitmap::clear(bits, window);
            dump.ranges_in(from, until, &mut |s| map.set(shift.touched(s.phys, s.len)));
            dump.keep_existing(&mut map);
        };
        there(&mut opened.dump, &mut self.bits);
        let map = Bitmap::over(&mut self.bits, window);
        self.classes.clear();
        self.classes.resize(window.len() as usize, Class::Hole);
        let any = if self.scanner.is_some() { Class::Kernel } else { Class::Unknown };
        let mut at = start;
        while let Some(run) = map.next_run(at, u64::MAX) {
            let range = (run.start.0 - start.0) as usize..(run.end.0 - start.0) as usize;
            part_mut(&mut self.classes, range).fill(any);
            at = run.end;
        }
        if let Some(scanner) = &mut self.hwpoison {
            let mut marks = Marks { start, classes: &mut self.classes };
            let mut map = Bitmap::over(&mut self.bits, window);
            scanner.scan(&mut opened.dump, &mut map, &mut marks, &mut Unreadable::default());
            there(&mut opened.dump, &mut self.bits);
        }
        if let Some(frames) = &mut self.frames {
            let map = Bitmap::over(&mut self.bits, window);
            let mut at = start;
            while let Some((span, frame)) = frames.next(&mut opened.dump, &map, at) {
                at = span.end;
                let class = match frame {
                    Frame::Unknown | Frame::Stray(_) => continue,
                    Frame::Hypervisor => Class::Hypervisor,
                    Frame::Domain0 => Class::Domain0,
                    Frame::Free => Class::Spare(Reason::Free),
                    Frame::Broken => Class::Spare(Reason::HwPoison),
                    Frame::Offline => Class::Spare(Reason::Offline),
                    Frame::Guest(owner) => {
                        *self.guests.entry(owner).or_default() += span.len();
                        Class::Spare(Reason::Guest)
                    }
                };
                let range = (span.start.0 - start.0) as usize..(span.end.0 - start.0) as usize;
                part_mut(&mut self.classes, range).fill(class);
            }
        }
        let mut marks = Marks { start, classes: &mut self.classes };
        if let Some(scanner) = &mut self.scanner {
            let mut map = Bitmap::over(&mut self.bits, window);
            scanner.scan(&mut opened.dump, &mut map, &mut marks, &mut self.unreadable);
        }
        Some(window)
    }

    /// The guests of a Xen host, in the order of its list, with so many of the frames that were gone over up to now; those
    /// that the list does not have at the end, without an identifier.
    pub fn guests(&mut self, opened: &mut Opened) -> Vec<(Option<u16>, u64)> {
        let (mut listed, mut found) = (BTreeSet::new(), Vec::new());
        let mut others = self.guests.clone();
        if let Some(frames) = &mut self.frames {
            let _ = frames.domains(&mut opened.dump, &mut |domain| {
                if domain.id > 0 && listed.insert(domain.owner) {
                    found.push((Some(domain.id), others.remove(&domain.owner).unwrap_or(0)));
                }
            });
        }
        found.extend(others.into_values().map(|pages| (None, pages)));
        found
    }

    /// The classes of the pages that [`Classes::next`] went on to.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The class of one of those pages; a hole for others.
    pub fn class(&self, pfn: Pfn) -> Class {
        let index = pfn.0.checked_sub(self.window.start.0);
        index.and_then(|index| self.classes.get(index as usize)).copied().unwrap_or(Class::Hole)
    }

    /// How many of the first of these pages are of the same class.
    pub fn alike(&self, pages: PfnSpan) -> u64 {
        let class = self.class(pages.start);
        let span = pages.intersect(self.window);
        let from = (span.start.0 - self.window.start.0) as usize;
        let pages = part(&self.classes, from..from + span.len() as usize);
        pages.iter().take_while(|other| **other == class).count() as u64
    }

    /// The same with their pfns.
    pub fn pages(&self) -> impl Iterator<Item = (Pfn, Class)> + '_ {
        (self.window.start.0..).map(Pfn).zip(self.classes.iter().copied())
    }

    /// Pages whose `struct page`s could not be read up to now.
    pub fn unreadable(&self) -> &[PfnSpan] {
        &self.unreadable.0
    }
}

/// Why a page is not in the dump, as far as the mem_map shows.
pub fn left_out(opened: &mut Opened, pfn: Pfn) -> String {
    match Classes::of_page(opened, pfn) {
        Some(Class::Hole) => "in no range of memory".into(),
        Some(class) => format!("not in the dump: left out ({})", class.name()),
        None => PageFault::Absent.to_string(),
    }
}
