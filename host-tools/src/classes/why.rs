//! What is known of one page, and what follows from it.

use crate::classes::pages::state;
use crate::classes::stats::zones_of;
use crate::classes::{Class, Classes};
use crate::dump::bits::Held;
use crate::dump::opened::{Dump, Opened};
use crate::dump::survey::zero_pages;
use crate::fail::Result;
use crate::kernel::types::Types;
use crate::kernel::with_types;
use crate::render::json::{Document, Hex};
use crate::render::text::{Table, number};
use page_codec::is_zero;
use serde::Serialize;
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::bitmap::Bitmap;
use tamis_core::kernel::mem_map::{MemMap, RootCache, State};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::page::{About, Classifier, Verdict};
use tamis_core::level::DumpLevel;
use tamis_core::memory::{Dump as _, PhysMemory as _};
use tamis_core::tally::Reason;
use tamis_core::units::{Pfn, PfnSpan, PhysAddr, VirtAddr};

/// log2 of the pages of the largest block.
const LARGEST: u32 = 20;

/// All of a page.
#[derive(Serialize)]
pub struct Why {
    /// Its number.
    pub pfn: u64,
    /// Its address.
    pub physical: Hex,
    /// Number of its node, and of the zone in it.
    pub node: Option<u64>,
    /// See `node`.
    pub zone: Option<u64>,
    /// See [`Class::key`].
    pub class: &'static str,
    /// By which rule it is of that class, in words.
    pub reason: String,
    /// Its `struct page`; null where there is none that can be read.
    pub struct_page: Option<StructPage>,
    /// The block that it is of: a free one, or a compound page.
    pub block: Option<Block>,
    /// Whether it is zeros; null where it is not in the dump.
    pub zeros: Option<bool>,
    /// The dump levels that leave it out.
    pub left_out_at: Vec<u8>,
    /// What became of it in this dump, as `tamis pages` has it.
    pub state: &'static str,
    /// Its bytes in the file, where they are of its own.
    pub bytes: u64,
    /// The file, and where in it they are.
    pub file: Option<String>,
    /// See `file`.
    pub offset: Option<u64>,
}

impl Document for Why {
    const SCHEMA: &'static str = "tamis.why/1";
}

/// What is in a `struct page`.
#[derive(Serialize)]
pub struct StructPage {
    /// Its address.
    pub address: Hex,
    /// The flags, with zone and node in the upper bits.
    pub flags: Hex,
    /// Names of those that are set.
    pub flag_names: Vec<String>,
    /// References.
    pub references: i32,
    /// How often the page is mapped.
    pub mapped: Option<i32>,
    /// Its type, where it is not mapped.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `mapping`.
    pub mapping: Hex,
    /// `private`.
    pub private: Option<Hex>,
    /// Next and previous of the list that it is on.
    pub list: Option<[Hex; 2]>,
    /// Whether it is a tail of a compound page.
    pub tail: bool,
}

/// Pages that are one.
#[derive(Clone, Copy, Serialize)]
pub struct Block {
    /// The first one.
    pub start_pfn: u64,
    /// How many there are.
    pub pages: u64,
}

/// What was read.
struct Seen {
    at: VirtAddr,
    about: About,
    block: Option<(Block, About)>,
    known: Vec<(&'static str, u64)>,
}

/// Reads the `struct page` of `pfn`, and finds the block that it is of; an error is why there is none.
fn see(opened: &mut Opened, pfn: Pfn) -> std::result::Result<Seen, String> {
    let (shift, end) = (opened.shift, opened.max_pfn);
    opened.with_facts(|dump, facts| {
        if dump.origin().xen.is_xen() {
            return Err("domain 0 has other numbers for its pages".into());
        }
        let arch = Arch::of(dump, facts).map_err(|e| e.to_string())?;
        let machine = dump.machine();
        let classifier = Classifier::new(facts, &arch, machine, shift.bits(), DumpLevel::all());
        let classifier = classifier.map_err(|e| e.to_string())?;
        let (mut tables, mut block) = (vec![0; TableCache::STORAGE], vec![0; shift.bytes()]);
        let mut cache = TableCache::new(&mut tables[..]);
        let mut memory = KernelMemory::new(dump, arch, &mut cache);
        let mut roots = RootCache::new(&mut block[..]);
        let size = classifier.page_struct();
        let map = MemMap::find(facts, &mut memory, &mut roots, shift, size as u64, end);
        let map = map.map_err(|e| e.to_string())?;
        // Those of a page and of the one behind it, if there is one.
        let mut read = |pfn: Pfn| {
            let run = map.run_at(pfn, &mut memory, &mut roots);
            let at = match run.state {
                State::At(at) => at.0.wrapping_add((pfn.0 - run.span.start.0) * size as u64),
                State::Absent => return Err("the kernel has none".to_owned()),
                State::Offline => return Err("its memory section is offline".into()),
                State::Unreadable => return Err("its memory section cannot be read".into()),
                State::Damaged(number, doubt) => {
                    return Err(format!("memory section {number} is damaged: {doubt}"));
                }
            };
            let mut two = vec![0; 2 * size];
            let whole = memory.read(VirtAddr(at), &mut two).is_ok();
            if !whole {
                two.truncate(size);
                memory.read(VirtAddr(at), &mut two).map_err(|e| e.to_string())?;
            }
            Ok((VirtAddr(at), two))
        };
        let judge = |pfn: Pfn, two: &[u8]| {
            let (page, next) = two.split_at(size);
            let next = (next.len() == size).then_some(next);
            let about = classifier.about(page, next, pfn);
            let pages = match classifier.classify(page, next, pfn) {
                Verdict::Drop(_, pages) => pages.max(about.pages),
                Verdict::Keep => about.pages,
            };
            (about, pages)
        };
        let (at, two) = read(pfn)?;
        let (about, _) = judge(pfn, &two);
        let mut block = None;
        for order in 0..=LARGEST {
            let head = Pfn(pfn.0 >> order << order);
            if order > 0 && head.0 == pfn.0 >> (order - 1) << (order - 1) {
                continue;
            }
            let Ok((_, two)) = read(head) else { continue };
            let (of_head, pages) = judge(head, &two);
            if pages > 1 && pages > pfn.0 - head.0 {
                block = Some((Block { start_pfn: head.0, pages }, of_head));
                break;
            }
        }
        Ok(Seen { at, about, block, known: classifier.known_flags().collect() })
    })
}

/// Names of page flags and types, by the kernel's own enumerations.
#[derive(Default)]
struct Names {
    flags: Vec<(String, u64)>,
    kinds: Vec<(String, u64)>,
}

impl Names {
    /// Empty where the kernel has no types.
    fn of(opened: &mut Opened) -> Names {
        let found = with_types(opened, |kernel, btf| {
            let mut types = Types { kernel, btf };
            let flags = enumerators(&mut types, "pageflags", "PG_")?;
            Ok(Names { flags, kinds: enumerators(&mut types, "pagetype", "PGTY_")? })
        });
        found.unwrap_or_default()
    }
}

/// The enumerators with this prefix, without it, up to one that has another: what follows are other names for the same
/// bits.
fn enumerators(
    types: &mut Types<'_, '_, '_>,
    name: &str,
    prefix: &str,
) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let Some(id) = types.named(name, |kind| kind.is_enum())? else { return Ok(found) };
    let record = types.record(id)?;
    for index in 0..record.count {
        let next = types.btf.enumerator(&mut types.kernel.reader, &record, index);
        let Some((name, value)) = types.kernel.table(next)? else { break };
        let name = types.string(name)?;
        let Some(name) = name.strip_prefix(prefix) else { break };
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

impl StructPage {
    fn new(seen: &Seen, names: &Names) -> StructPage {
        let about = &seen.about;
        let by_types =
            names.flags.iter().filter(|(_, bit)| *bit < 64 && about.flags >> bit & 1 != 0);
        let mut flag_names: Vec<String> = by_types.map(|(name, _)| name.clone()).collect();
        if names.flags.is_empty() {
            let known = seen.known.iter().filter(|(_, mask)| about.flags & mask != 0);
            flag_names = known.map(|(name, _)| (*name).to_owned()).collect();
        }
        // Types are negative numbers, but for -1.
        let count = about.mapcount.map(|count| count as i32);
        let kind = count.filter(|count| *count < -1).map(|count| {
            let byte = u64::from(count as u32 >> 24);
            let by_types = names.kinds.iter().find(|(_, kind)| *kind == byte);
            let name = about.kind.or(by_types.map(|(name, _)| name.as_str()));
            name.map_or_else(|| format!("{:#010x}", count as u32), str::to_owned)
        });
        StructPage {
            address: Hex(seen.at.0),
            flags: Hex(about.flags),
            flag_names,
            references: about.references as i32,
            mapped: count.filter(|count| *count >= -1).map(|count| count.saturating_add(1)),
            kind,
            mapping: Hex(about.mapping),
            private: about.private.map(Hex),
            list: about.list.filter(|_| !about.is_tail).map(|list| list.map(Hex)),
            tail: about.is_tail,
        }
    }
}

/// What the frame table of a Xen host says of a frame of this class.
fn by_xen(class: Class) -> Option<&'static str> {
    match class {
        Class::Hypervisor => Some("Xen's table of frames gives it to nobody"),
        Class::Domain0 => Some("Xen's table of frames gives it to domain 0"),
        Class::Spare(Reason::Guest) => Some("Xen's table of frames gives it to a guest"),
        Class::Spare(Reason::Free) => Some("Xen's table of frames says that it is free"),
        Class::Spare(Reason::HwPoison) => Some("Xen's table of frames says that it is broken"),
        Class::Spare(Reason::Offline) => Some("Xen's table of frames says that it is out of use"),
        _ => None,
    }
}

/// By which rule a page is of its class.
fn reason(class: Class, seen: &std::result::Result<Seen, String>) -> String {
    let seen = match seen {
        _ if class == Class::Hole => return "no range of memory has it".into(),
        Err(why) => return format!("nothing tells what it is: its struct page: {why}"),
        Ok(seen) => seen,
    };
    let (about, block) = match &seen.block {
        Some((block, head)) => (head, Some(block)),
        None => (&seen.about, None),
    };
    let mut text = match class {
        Class::Hole
        | Class::Unknown
        | Class::Hypervisor
        | Class::Domain0
        | Class::Spare(Reason::Guest) => "its struct page is not trusted".to_owned(),
        Class::Spare(Reason::Free) if about.kind == Some("unaccepted") => {
            "the guest has not accepted it".into()
        }
        Class::Spare(Reason::Free) => "its type says that it is free".into(),
        Class::Spare(Reason::User) if about.is_hugetlb => "a huge page of hugetlbfs".into(),
        Class::Spare(Reason::User) => "mapping is odd: memory of a process".into(),
        Class::Spare(Reason::Cache) => "flag lru, or swapcache, and no private data".into(),
        Class::Spare(Reason::CachePrivate) => "flag lru, or swapcache, with private data".into(),
        Class::Spare(Reason::HwPoison) => "flag hwpoison".into(),
        Class::Spare(Reason::Offline) => "its type says that it is offline".into(),
        Class::Spare(Reason::Zero) => "it is zeros".into(),
        Class::Spare(Reason::Rule) => "a rule says so".into(),
        Class::Kernel => match about.kind {
            Some(kind) => format!("its type is {kind}, which no level leaves out"),
            None => "nothing says that it may go".into(),
        },
    };
    if let Some(block) = block {
        let (pages, start) = (number(block.pages), block.start_pfn);
        text += &format!("; one of {pages} pages from pfn {start:#x} on");
    }
    text
}

impl Why {
    /// Of a page.
    pub fn of(opened: &mut Opened, pfn: Pfn) -> Why {
        let size = opened.shift.bytes();
        let physical = PhysAddr(pfn.0 << opened.shift.bits());
        // What VMCOREINFO lacks is looked for where pages are classified.
        let mut classes = Classes::of_any(opened);
        classes.skip_to(pfn);
        let window = classes.next(opened).filter(|window| window.contains(pfn));
        let class = window.map_or(Class::Hole, |_| classes.class(pfn));
        let seen = match class {
            Class::Hole => Err("it is no memory".to_owned()),
            _ => see(opened, pfn),
        };
        let by_xen = if opened.dump.origin().xen.is_xen() { by_xen(class) } else { None };
        let names = Names::of(opened);
        let zone = zones_of(opened).into_iter().find(|zone| zone.span.contains(pfn));
        let mut page = vec![0; size];
        let zeros = opened.dump.read(physical, &mut page).is_ok().then(|| is_zero(&page));
        let left_out = |level: &DumpLevel| {
            class.left_out(*level, classes.always())
                || (zeros == Some(true) && level.contains(DumpLevel::ZERO))
        };
        let levels = (0..=DumpLevel::all().bits()).filter_map(DumpLevel::from_bits);
        let left_out_at = match class {
            Class::Hole => Vec::new(),
            _ => levels.filter(left_out).map(|level| level.bits()).collect(),
        };
        let (state, bytes, place) = place(opened, pfn, class);
        Why {
            pfn: pfn.0,
            physical: Hex(physical.0),
            node: zone.map(|zone| zone.node),
            zone: zone.and_then(|zone| zone.zone),
            class: class.key(),
            reason: by_xen.map_or_else(|| reason(class, &seen), str::to_owned),
            struct_page: seen.as_ref().ok().map(|seen| StructPage::new(seen, &names)),
            block: seen.ok().and_then(|seen| seen.block).map(|(block, _)| block),
            zeros,
            left_out_at,
            state,
            bytes,
            file: place.as_ref().map(|(file, _)| file.clone()),
            offset: place.map(|(_, at)| at),
        }
    }

    /// Line by line.
    pub fn text(&self) -> Table {
        let mut table = Table::default();
        let class = Class::ALL.into_iter().find(|class| class.key() == self.class);
        table.row("pfn", format!("{:#x}, physical {}", self.pfn, self.physical));
        match (self.node, self.zone) {
            (Some(node), Some(zone)) => table.row("node", format!("{node}, zone {zone}")),
            (Some(node), None) => table.row("node", node.to_string()),
            _ => {}
        }
        if let Some(page) = &self.struct_page {
            table.row("struct page", page.address.to_string());
            let names = page.flag_names.join(" ");
            table.row("flags", format!("{}  {names}", page.flags).trim_end());
            table.row("references", page.references.to_string());
            match (&page.kind, page.mapped) {
                (Some(kind), _) => table.row("type", kind.clone()),
                (None, Some(times)) => table.row("mapped", format!("{times} times")),
                (None, None) => {}
            }
            table.row("mapping", page.mapping.to_string());
            if let Some(private) = page.private {
                table.row("private", private.to_string());
            }
            if let Some([next, before]) = page.list {
                table.row("list", format!("next {next}, previous {before}"));
            }
            if page.tail {
                table.row("compound", "a tail: its head speaks for it");
            }
        }
        table.row("class", class.unwrap_or(Class::Hole).name());
        table.row("because", self.reason.clone());
        if self.zeros == Some(true) {
            table.row("content", "zeros");
        }
        table.row("left out at", levels(&self.left_out_at));
        let place = match (&self.file, self.offset) {
            (Some(file), Some(at)) => {
                format!("{}, {} bytes at offset {at} of {file}", self.state, number(self.bytes))
            }
            _ => self.state.to_owned(),
        };
        table.row("in this dump", place);
        table
    }
}

/// Levels as people read them: `8 to 15, 24 to 31`.
fn levels(of: &[u8]) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for level in of {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *level => *last = *level,
            _ => runs.push((*level, *level)),
        }
    }
    let text = |(first, last): &(u8, u8)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    };
    match runs.is_empty() {
        true => "no level".into(),
        false if runs.len() == 16 => "all odd levels".into(),
        false => format!("levels {}", runs.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}

/// What became of a page, its bytes in a file, which file that is, and where they are.
fn place(
    opened: &mut Opened,
    pfn: Pfn,
    class: Class,
) -> (&'static str, u64, Option<(String, u64)>) {
    if class == Class::Hole {
        return ("no memory", 0, None);
    }
    let zeros = opened.kdump().map(zero_pages).unwrap_or_default();
    let held = Held::of(opened);
    let start = Pfn(pfn.0 & !7);
    let window = PfnSpan::new(start, Pfn(start.0 + 8));
    let mut bits = vec![0; 1];
    held.bits(opened, window, &mut bits);
    let stored = Bitmap::over(&mut bits, window).get(pfn);
    let (state, bytes) = state(opened, &zeros, pfn, stored);
    let found = match &mut opened.dump {
        Dump::Kdump(kdump) if bytes > 0 => {
            kdump.descriptor(pfn).ok().map(|(desc, part)| (part, desc.offset))
        }
        _ => None,
    };
    let name = |part: usize| opened.files.get(part).map(|file| file.raw.name());
    let found = found.and_then(|(part, at)| Some((name(part)?, at)));
    (state, bytes, found)
}

#[cfg(test)]
mod tests {
    use super::levels;

    #[test]
    fn levels_are_said_in_runs() {
        assert_eq!(levels(&[]), "no level");
        let odd: Vec<u8> = (0..16).map(|n| 2 * n + 1).collect();
        assert_eq!(levels(&odd), "all odd levels");
        assert_eq!(levels(&[1, 3, 4, 8, 9, 10, 31]), "levels 1, 3, 4, 8 to 10, 31");
    }
}
