//! What a dump of a synthetic machine must hold, worked out from its description.
//!
//! Naive on purpose: every page gets its fate by itself, from what the test said the page is. No
//! `struct page` is parsed here. Where tamis differs from the reference tool on purpose (it keeps
//! what it is unsure of), the rule is stated beside the code.

use std::collections::BTreeMap;

use crate::synth::{BuddyMark, Class, Cpu, HugetlbMark, Image, KernelStyle, MemModel, Use};

/// Why a page is left out, with the name of its line in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Reason {
    Cache,
    CachePrivate,
    User,
    Free,
    Hwpoison,
    Offline,
}

impl Reason {
    /// The label in the report of `--show-stats`, without padding.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Cache => "Non-private cache pages",
            Reason::CachePrivate => "Private cache pages",
            Reason::User => "User process data pages",
            Reason::Free => "Free pages",
            Reason::Hwpoison => "Hwpoison pages",
            Reason::Offline => "Offline pages",
        }
    }

    /// All reasons, in the report's order.
    pub const ALL: [Reason; 6] = [
        Reason::Cache,
        Reason::CachePrivate,
        Reason::User,
        Reason::Free,
        Reason::Hwpoison,
        Reason::Offline,
    ];
}

/// What becomes of one page frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No PT_LOAD touches it: in neither bitmap.
    Hole,
    /// PT_LOADs name it, but none stores any of it: in bitmap 1 only.
    NoData,
    /// In both bitmaps.
    Keep,
    /// In bitmap 1 only.
    Drop(Reason),
    /// Left out for a reason, or kept: the description leaves both open.
    Either,
}

/// Everything expected of one dump.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Frames in the dump's bitmaps.
    pub max_mapnr: u64,
    /// Fate of each frame below `max_mapnr`.
    pub fates: Vec<Fate>,
    /// Whether the frame holds zero bytes only, where it is kept.
    pub zero: Vec<bool>,
    /// The dump level.
    pub level: u32,
    /// The frame that pages are counted from: not 0 where 32-bit ARM counts from its memory on.
    pub first: u64,
    /// Pages left out, by reason. Exact only if no fate is [`Fate::Either`].
    pub tally: BTreeMap<Reason, u64>,
    /// Kept pages that are zero, if the level has bit 1.
    pub zero_pages: u64,
}

impl Expected {
    /// Whether every fate is certain.
    pub fn is_exact(&self) -> bool {
        !self.fates.contains(&Fate::Either)
    }

    /// Pages in bitmap 1.
    pub fn present(&self) -> u64 {
        self.fates.iter().filter(|fate| **fate != Fate::Hole).count() as u64
    }
}

/// Works out the dump of `image` at `level`, in the kdump-compressed format.
pub fn expect(image: &Image, level: u32) -> Expected {
    let machine = &image.machine;
    let max_mapnr = max_mapnr(image);
    let mut fates = vec![Fate::Hole; max_mapnr as usize];
    let loads = || image.loads.iter().filter(|load| load.is_physical());
    let mut mark = |frames: std::ops::Range<u64>, fate: Fate| {
        for pfn in frames.start.min(max_mapnr)..frames.end.min(max_mapnr) {
            fates[pfn as usize] = fate;
        }
    };
    loads().filter(|load| load.memsz != 0).for_each(|load| mark(load.frames(), Fate::NoData));
    loads().for_each(|load| mark(load.stored_frames(), Fate::Keep));

    if scans(image, level) {
        let blocks = machine.blocks().iter().copied();
        for block in blocks {
            judge_block(image, level, block.pfn, block.class, &mut fates);
        }
        for &pfn in machine.poisoned() {
            let covered = machine.blocks().iter().any(|block| {
                (block.pfn..block.pfn + block.class.pages(machine.facts())).contains(&pfn)
            });
            if !covered {
                judge_block(image, level, pfn, Class::Poisoned, &mut fates);
            }
        }
        open_faults(image, &mut fates);
    }

    let mut tally = BTreeMap::new();
    for fate in &fates {
        if let Fate::Drop(reason) = fate {
            *tally.entry(*reason).or_default() += 1;
        }
    }
    let zero: Vec<bool> = fates
        .iter()
        .enumerate()
        .map(|(pfn, fate)| *fate == Fate::Keep && image.expects_zero(pfn as u64))
        .collect();
    let zero_pages =
        if level & 1 != 0 { zero.iter().filter(|zero| **zero).count() as u64 } else { 0 };
    // The header does not name what cannot be recognised: 2.6.24 has no mark of free pages.
    let level = if has_mem_map(image) && !knows_free(image) { level & !16 } else { level };
    let first = match machine.cpu() {
        Cpu::Arm { .. } => loads().map(|load| load.frames().start).min().unwrap_or(0),
        _ => 0,
    };
    Expected { max_mapnr, fates, zero, level, first, tally, zero_pages }
}

/// One past the last frame of any PT_LOAD; but no more than the end of the last present section, or of what is stored.
pub fn max_mapnr(image: &Image) -> u64 {
    let loads = || image.loads.iter().filter(|load| load.is_physical());
    let end = loads().map(|load| load.frames().end).max().unwrap_or(0);
    if !has_mem_map(image) || matches!(image.machine.mem_model(), MemModel::Flat | MemModel::Nodes)
    {
        return end;
    }
    let stored = loads().map(|load| load.stored_frames().end).max().unwrap_or(0);
    match image.sections.last() {
        Some(last) => end.min(((last + 1) * image.machine.section_pages()).max(stored)),
        None => end,
    }
}

fn has_mem_map(image: &Image) -> bool {
    image.vmcoreinfo_present()
}

/// Whether structures are looked at: for any level that needs them; and where `PG_hwpoison` is
/// known at every level, 0 and 1 included. Level 16 alone needs a mark of free pages.
fn scans(image: &Image, level: u32) -> bool {
    let machine = &image.machine;
    has_mem_map(image)
        && (level & (2 | 4 | 8) != 0
            || machine.has_key("NUMBER(PG_hwpoison)")
            || (level & 16 != 0 && knows_free(image)))
}

/// By a mark, or by lists where the kernel has zones.
fn knows_free(image: &Image) -> bool {
    image.machine.has_zones() || marks_free(image)
}

fn marks_free(image: &Image) -> bool {
    matches!(image.machine.facts().buddy, BuddyMark::Value(_))
        && image.machine.has_key("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)")
}

/// Whether the structure of this frame is one that tamis looks at: its section is there and online.
fn is_parsed(image: &Image, pfn: u64) -> bool {
    let machine = &image.machine;
    if matches!(machine.mem_model(), MemModel::Flat | MemModel::Nodes) {
        return true;
    }
    let section = pfn / machine.section_pages();
    // Offline says something only where the kernel has the bit at all.
    let offline = machine.facts().section_online.is_some() && machine.is_offline(section);
    image.sections.contains(&section) && !offline
}

fn judge_block(image: &Image, level: u32, pfn: u64, class: Class, fates: &mut [Fate]) {
    let facts = image.machine.facts();
    // A structure whose own page is not in the vmcore need not be looked at.
    let open = fates.get(pfn as usize) != Some(&Fate::Keep);
    let mut drop = |from: u64, count: u64, reason: Reason| {
        for pfn in from..from + count {
            if let Some(fate @ Fate::Keep) = fates.get_mut(pfn as usize) {
                *fate = if open { Fate::Either } else { Fate::Drop(reason) };
            }
        }
    };
    if !is_parsed(image, pfn) {
        return;
    }
    let head_poisoned = class == Class::Poisoned || image.machine.poisoned().contains(&pfn);
    let hwpoison = |poisoned: bool| poisoned && image.machine.has_key("NUMBER(PG_hwpoison)");
    let wanted = reason(image, level, class)
        .or_else(|| hwpoison(head_poisoned).then_some(Reason::Hwpoison))
        .or_else(|| {
            (class == Class::Offline && facts.offline.is_some()).then_some(Reason::Offline)
        });
    let Class::Compound { order, .. } = class else {
        let whole = wanted == Some(Reason::Free);
        if let Some(reason) = wanted {
            drop(pfn, if whole { class.pages(facts) } else { 1 }, reason);
        }
        if !whole {
            // Only the first page of a free block is marked: the others stand for themselves.
            for tail in pfn + 1..pfn + class.pages(facts) {
                if is_parsed(image, tail) && hwpoison(image.machine.poisoned().contains(&tail)) {
                    drop(tail, 1, Reason::Hwpoison);
                }
            }
        }
        return;
    };
    let known = order_known(image) && pfn.is_multiple_of(1 << order);
    let covered = if known { 1u64 << order } else { 1 };
    if let Some(reason) = wanted {
        drop(pfn, covered, reason);
    }
    let first_tail = if wanted.is_some() { covered } else { 1 };
    // A poisoned tail goes alone: reading it may bring the capture kernel down.
    for tail in pfn + first_tail..pfn + (1 << order) {
        if is_parsed(image, tail) && hwpoison(image.machine.poisoned().contains(&tail)) {
            drop(tail, 1, Reason::Hwpoison);
        }
    }
    // Without PG_head_mask the bit is guessed, or the page taken for a single one: both are right.
    if wanted.is_some() && !facts.exports_head_mask {
        for fate in &mut fates[pfn as usize + 1..(pfn as usize + (1 << order))] {
            if *fate != Fate::Hole {
                *fate = Fate::Either;
            }
        }
    }
}

/// Whether the order of a compound page can be read. From 4.4 to 4.5 no key says where it is.
fn order_known(image: &Image) -> bool {
    image.machine.facts().hugetlb != (HugetlbMark::U16 { exported: false })
}

/// Why the level drops a page of this class, if it does.
fn reason(image: &Image, level: u32, class: Class) -> Option<Reason> {
    let facts = image.machine.facts();
    let cache = level & (2 | 4) != 0;
    let private = level & 4 != 0;
    let user = level & 8 != 0;
    let free = level & 16 != 0;
    let when = |yes: bool, reason: Reason| yes.then_some(reason);
    match class {
        Class::Kernel
        | Class::Reserved
        | Class::PageTable
        | Class::Slab
        | Class::SlabOdd
        | Class::CacheOffLru
        | Class::Offline
        | Class::Poisoned => None,
        Class::Free { order } => {
            let known = marks_free(image) || image.machine.lists_free(order);
            when(free && known && order < facts.free_orders, Reason::Free)
        }
        // An order no kernel uses: something is wrong with the structure, so the page is kept.
        Class::FreeAbsurd { .. } => None,
        Class::Unaccepted => when(free && facts.unaccepted.is_some(), Reason::Free),
        Class::Cache | Class::Compound { of: Use::File, .. } => when(cache, Reason::Cache),
        Class::CachePrivate | Class::Compound { of: Use::FilePrivate, .. } => {
            when(private, Reason::CachePrivate)
        }
        Class::SwapCache => when(cache, Reason::Cache),
        // Where PG_swapcache has a bit of its own, the bit alone says swap cache.
        Class::OwnerPrivate => {
            let own_bit = (facts.style as u32) < KernelStyle::V4_16 as u32;
            when(cache && own_bit, Reason::Cache)
        }
        Class::Anon
        | Class::AnonOffLru
        | Class::AnonWaiters
        | Class::AnonSwapCache
        | Class::Ksm
        | Class::Compound { of: Use::Anon, .. } => when(user, Reason::User),
        Class::Compound { of: Use::Hugetlb | Use::HugetlbHvo, .. } => {
            when(user && hugetlb_known(image), Reason::User)
        }
        Class::Compound { of: Use::Kernel, .. } => None,
    }
}

fn hugetlb_known(image: &Image) -> bool {
    match image.machine.facts().hugetlb {
        HugetlbMark::Lru { exported } | HugetlbMark::U16 { exported } => exported,
        _ => true,
    }
}

/// Structures that cannot be read keep their pages, unless a structure before them that can be
/// read speaks for them. What is read together with them (up to 512 structures) may be kept too.
fn open_faults(image: &Image, fates: &mut [Fate]) {
    let machine = &image.machine;
    let faults = machine.unreadable_frames();
    let unreadable = |pfn: u64| faults.iter().any(|frames| frames.contains(&pfn));
    let first_of_block = |pfn: u64| {
        let covers = |first: u64, pages: u64| (first..first + pages).contains(&pfn);
        let mut blocks = machine.blocks().iter();
        let found = blocks.find(|block| covers(block.pfn, block.class.pages(machine.facts())));
        found.map_or(pfn, |block| block.pfn)
    };
    for frames in &faults {
        for pfn in frames.start / 512 * 512..frames.end.next_multiple_of(512) {
            if let Some(fate @ Fate::Drop(_)) = fates.get_mut(pfn as usize) {
                let sure = unreadable(pfn) && unreadable(first_of_block(pfn));
                *fate = if sure { Fate::Keep } else { Fate::Either };
            }
        }
    }
}
