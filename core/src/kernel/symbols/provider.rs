//! Facts that the kernel's own tables give: the provider behind VMCOREINFO.

use super::btf::Btf;
use super::free_lists::buddy_mark;
use super::kallsyms::{FoundBy, Kallsyms, Wanted};
use super::{Failed, Image, ImageMemory, Members, Reader, SymbolsError, Words};
use crate::arch::Arch;
use crate::arch::paging::TableCache;
use crate::endian::Word;
use crate::facts::{Chain, Fact, FactSource, Facts, KernelVersion, Member};
use crate::kernel::memory::KernelMemory;
use crate::memory::Dump;
use crate::units::PageShift;
use crate::wire::vmcoreinfo::Kind;
use core::cell::Cell;
use core::fmt;

/// Where a fact comes from, if it has not the name that VMCOREINFO has for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// The symbol, the structure, or the member of this name.
    Same,
    /// What the variable of this name points to, if it is a pointer; else the variable.
    Pointer,
    /// The 32-bit variable [`LEVELS`].
    Levels,
    /// The `unsigned long` [`ENCRYPTION`].
    Encryption,
    /// A page flag of the same name: an enumerator.
    Flag,
    /// A destructor of compound pages of the same name: an enumerator.
    Destructor,
    /// A mask of the page flag [`HEAD`].
    HeadMask,
    /// A type of pages, by its place in [`KINDS`].
    PageType(u8),
}

/// Variables that VMCOREINFO has under other names.
const LEVELS: &str = "__pgtable_l5_enabled";
const ENCRYPTION: &str = "sme_me_mask";
/// Where types begin and end.
const START: &str = "__start_BTF";
const STOP: &str = "__stop_BTF";
/// Enumerations.
const FLAGS: &str = "pageflags";
const DESTRUCTORS: &str = "compound_dtor_id";
const PAGE_TYPES: &str = "pagetype";
/// What the first page of a compound page has.
const HEAD: &str = "PG_head";
/// Types of pages: enumerators that stand in the top byte (6.12 and later), and those of a bit that is cleared
/// (6.11). Before, they are macros, which BTF does not have.
static KINDS: [[&str; 2]; 5] = [
    ["PGTY_buddy", "PG_buddy"],
    ["PGTY_offline", "PG_offline"],
    ["PGTY_hugetlb", "PG_hugetlb"],
    ["PGTY_slab", "PG_slab"],
    ["PGTY_unaccepted", "PG_unaccepted"],
];

type Row = (Kind, &'static str, From);

const fn same(kind: Kind, name: &'static str) -> Row {
    (kind, name, From::Same)
}

const fn symbol(name: &'static str) -> Row {
    same(Kind::Symbol, name)
}

const fn size(name: &'static str) -> Row {
    same(Kind::Size, name)
}

const fn offset(name: &'static str) -> Row {
    same(Kind::Offset, name)
}

const fn flag(name: &'static str) -> Row {
    (Kind::Number, name, From::Flag)
}

const fn page_type(name: &'static str, number: u8) -> Row {
    (Kind::Number, name, From::PageType(number))
}

/// All that is looked for. Of types, only what a kernel with BTF (5.2 and later) can have. The log of a kernel whose
/// VMCOREINFO lacks facts is read out of its dump.
const ROWS: &[Row] = &[
    symbol("_stext"),
    symbol("swapper_pg_dir"),
    symbol("init_top_pgt"),
    symbol("init_uts_ns"),
    (Kind::Symbol, "mem_section", From::Pointer),
    symbol("mem_map"),
    symbol("node_data"),
    symbol("contig_page_data"),
    symbol("node_online_map"),
    #[cfg(feature = "decode")]
    symbol("prb"),
    #[cfg(feature = "decode")]
    symbol("clear_seq"),
    #[cfg(feature = "decode")]
    symbol("log_buf"),
    #[cfg(feature = "decode")]
    symbol("log_buf_len"),
    #[cfg(feature = "decode")]
    symbol("log_first_idx"),
    #[cfg(feature = "decode")]
    symbol("log_next_idx"),
    #[cfg(feature = "decode")]
    symbol("clear_idx"),
    (Kind::Number, "pgtable_l5_enabled", From::Levels),
    (Kind::Number, "sme_mask", From::Encryption),
    size("page"),
    offset("page.flags"),
    offset("page._refcount"),
    offset("page.mapping"),
    offset("page.lru"),
    offset("page._mapcount"),
    offset("page.private"),
    offset("page.compound_head"),
    offset("page.compound_info"),
    offset("page.compound_dtor"),
    offset("page.compound_order"),
    offset("folio._folio_dtor"),
    offset("folio._folio_order"),
    size("mem_section"),
    offset("mem_section.section_mem_map"),
    size("pglist_data"),
    offset("pglist_data.node_zones"),
    offset("pglist_data.nr_zones"),
    offset("pglist_data.node_mem_map"),
    offset("pglist_data.node_start_pfn"),
    offset("pglist_data.node_spanned_pages"),
    size("zone"),
    offset("zone.free_area"),
    offset("zone.spanned_pages"),
    same(Kind::Length, "zone.free_area"),
    size("free_area"),
    offset("free_area.free_list"),
    size("list_head"),
    offset("list_head.next"),
    offset("list_head.prev"),
    offset("uts_namespace.name"),
    #[cfg(feature = "decode")]
    size("printk_ringbuffer"),
    #[cfg(feature = "decode")]
    offset("printk_ringbuffer.desc_ring"),
    #[cfg(feature = "decode")]
    offset("printk_ringbuffer.text_data_ring"),
    #[cfg(feature = "decode")]
    offset("prb_desc_ring.count_bits"),
    #[cfg(feature = "decode")]
    offset("prb_desc_ring.descs"),
    #[cfg(feature = "decode")]
    offset("prb_desc_ring.infos"),
    #[cfg(feature = "decode")]
    offset("prb_desc_ring.head_id"),
    #[cfg(feature = "decode")]
    offset("prb_desc_ring.tail_id"),
    #[cfg(feature = "decode")]
    size("prb_desc"),
    #[cfg(feature = "decode")]
    offset("prb_desc.state_var"),
    #[cfg(feature = "decode")]
    offset("prb_desc.text_blk_lpos"),
    #[cfg(feature = "decode")]
    offset("prb_data_blk_lpos.begin"),
    #[cfg(feature = "decode")]
    offset("prb_data_blk_lpos.next"),
    #[cfg(feature = "decode")]
    offset("prb_data_ring.size_bits"),
    #[cfg(feature = "decode")]
    offset("prb_data_ring.data"),
    #[cfg(feature = "decode")]
    size("printk_info"),
    #[cfg(feature = "decode")]
    offset("printk_info.seq"),
    #[cfg(feature = "decode")]
    offset("printk_info.ts_nsec"),
    #[cfg(feature = "decode")]
    offset("printk_info.text_len"),
    #[cfg(feature = "decode")]
    offset("printk_info.caller_id"),
    #[cfg(feature = "decode")]
    offset("atomic_long_t.counter"),
    #[cfg(feature = "decode")]
    size("latched_seq"),
    #[cfg(feature = "decode")]
    offset("latched_seq.val"),
    flag("PG_lru"),
    flag("PG_private"),
    flag("PG_swapcache"),
    flag("PG_swapbacked"),
    flag("PG_slab"),
    flag("PG_hwpoison"),
    flag("PG_hugetlb"),
    (Kind::Number, "PG_head_mask", From::HeadMask),
    (Kind::Number, "HUGETLB_PAGE_DTOR", From::Destructor),
    page_type(BUDDY, 0),
    page_type("PAGE_OFFLINE_MAPCOUNT_VALUE", 1),
    page_type("PAGE_HUGETLB_MAPCOUNT_VALUE", 2),
    page_type("PAGE_SLAB_MAPCOUNT_VALUE", 3),
    page_type(UNACCEPTED, 4),
];

/// What marks free pages.
const BUDDY: &str = "PAGE_BUDDY_MAPCOUNT_VALUE";
/// Kernels that do not export it (before 6.16) are treated as if they had no such pages.
const UNACCEPTED: &str = "PAGE_UNACCEPTED_MAPCOUNT_VALUE";
const WHAT_VARIABLE: &str = "a variable of the kernel";

/// What the kernel's own tables say: 1.5 KiB.
#[derive(Clone, Debug)]
pub struct KernelFacts {
    values: [Option<u64>; ROWS.len()],
    types: Result<(), SymbolsError>,
    found_by: FoundBy,
    /// The mark of free pages, by the free lists.
    buddy: Option<u64>,
    /// A bit for each row that was given to whoever asked.
    given: Cell<u128>,
}

/// Two providers that do not agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disagreement {
    /// Of which fact.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// What one says.
    pub first: Fact<u64>,
    /// What the other says.
    pub second: Fact<u64>,
}

impl fmt::Display for Disagreement {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disagreement { kind, name, first, second } = self;
        let (one, other) = (first.source, second.source);
        let kind = kind.word();
        write!(f, "{kind}({name}) is {} in {one}, and {} in {other}", first.value, second.value)
    }
}

impl core::error::Error for Disagreement {}

/// Structure and member of a path.
#[inline]
fn split(name: &str) -> Option<(&str, &str)> {
    let dot = name.bytes().position(|b| b == b'.')?;
    Some((name.get(..dot)?, name.get(dot + 1..)?))
}

impl KernelFacts {
    /// Looks for the facts of the kernel in a dump: through its page tables, or, where what is known does not
    /// suffice for these, through its image alone. Takes less than 32 KiB of stack.
    #[inline]
    pub fn of<D: Dump>(
        dump: &mut D,
        facts: &dyn Facts,
        tables: &mut TableCache<'_>,
    ) -> Result<KernelFacts, SymbolsError> {
        let mut found = KernelFacts::look(dump, facts, tables)?;
        // Before 6.10 no type has the mark of free pages.
        let known = Chain(Some(facts), Some(&found));
        if known.number(BUDDY).is_none()
            && let Ok(arch) = Arch::of(dump, &known)
        {
            let mark = buddy_mark(&mut KernelMemory::new(dump, arch, tables), &known);
            found.buddy = mark.map(|mark| i64::from(mark as i32) as u64);
        }
        Ok(found)
    }

    #[inline]
    fn look<D: Dump>(
        dump: &mut D,
        facts: &dyn Facts,
        tables: &mut TableCache<'_>,
    ) -> Result<KernelFacts, SymbolsError> {
        let image = Image::find(dump.machine(), facts, dump.ranges());
        let mut error = SymbolsError::NoImage;
        if let Ok(arch) = Arch::of(dump, facts) {
            let mut memory = KernelMemory::new(dump, arch, tables);
            match KernelFacts::find(&mut Reader::new(&mut memory), facts, image.as_ref()) {
                Ok(found) => return Ok(found),
                Err(other) => error = other,
            }
        }
        match image.and_then(|image| ImageMemory::new(dump, image)) {
            Some(mut memory) => {
                KernelFacts::find(&mut Reader::new(&mut memory), facts, image.as_ref())
                    .map_err(|other| if error == SymbolsError::NoImage { other } else { error })
            }
            None => Err(error),
        }
    }

    /// Looks for the facts. Without types, symbols are facts all the same; see [`KernelFacts::types`].
    #[inline]
    pub fn find(
        reader: &mut Reader<'_>,
        facts: &dyn Facts,
        image: Option<&Image>,
    ) -> Result<KernelFacts, SymbolsError> {
        let found = Kallsyms::find(reader, facts, image);
        let kallsyms = found.map_err(|Failed| reader.error())?;
        let mut wanted = heapless::Vec::<Wanted<'_>, 24>::new();
        let symbols = ROWS.iter().filter(|row| row.0 == Kind::Symbol).map(|row| row.1);
        wanted.extend(symbols.chain([LEVELS, ENCRYPTION, START, STOP]).map(Wanted::new));
        kallsyms.look_up(reader, &mut wanted).map_err(|Failed| reader.error())?;
        let address = |name: &str| wanted.iter().find(|w| w.name == name)?.unique();
        let mut values = [None; ROWS.len()];
        let wide = reader.word_size() == Word::Bits64;
        for ((kind, name, from), value) in ROWS.iter().zip(&mut values) {
            let variable = match (kind, from) {
                (_, From::Levels) => LEVELS,
                (_, From::Encryption) => ENCRYPTION,
                (Kind::Symbol, _) => name,
                _ => continue,
            };
            let Some(at) = address(variable) else { continue };
            *value = match from {
                From::Levels => reader.u32(WHAT_VARIABLE, at).ok().map(u64::from),
                From::Encryption => reader.word(WHAT_VARIABLE, at).ok(),
                From::Pointer => {
                    // An address of the kernel is a pointer to the table; anything else is the table.
                    let to = reader.word(WHAT_VARIABLE, at).ok();
                    to.filter(|to| wide && to >> 63 == 1 && to & 7 == 0).or(Some(at))
                }
                _ => Some(at),
            };
        }
        let types = match (address(START), address(STOP)) {
            (Some(start), Some(end)) => {
                look_at_types(reader, start, end, &mut values).map_err(|Failed| reader.error())
            }
            _ => Err(SymbolsError::NotFound("types (BTF)")),
        };
        // What VMCOREINFO has the members of itself for, is not asked of types: it would come first.
        let in_page = facts.offset("page.compound_order").is_some();
        let before_key = facts.version().is_some_and(|v| v < KernelVersion(6, 16, 0));
        for ((_, name, _), value) in ROWS.iter().zip(&mut values) {
            if in_page && name.starts_with("folio.") || before_key && *name == UNACCEPTED {
                *value = None;
            }
        }
        let given = Cell::new(0);
        Ok(KernelFacts { values, types, found_by: kallsyms.found_by(), buddy: None, given })
    }

    /// Whether the kernel's types were found; without them there are symbols only.
    #[inline]
    pub fn types(&self) -> Result<(), SymbolsError> {
        self.types
    }

    /// How the symbols were found.
    #[inline]
    pub fn found_by(&self) -> FoundBy {
        self.found_by
    }

    /// Calls `each` with the facts that were asked for and given so far, and who knew them: those that no provider in
    /// front of this one had.
    #[inline]
    pub fn given(&self, each: &mut dyn FnMut(Kind, &'static str, FactSource)) {
        let given = self.given.get();
        for (index, (row, value)) in ROWS.iter().zip(&self.values).enumerate() {
            if given >> index & 1 != 0 {
                // The free lists know what the tables do not.
                let known = if value.is_some() { source(row) } else { FactSource::FreeLists };
                each(row.0, row.1, known);
            }
        }
    }

    #[inline]
    fn value(&self, kind: Kind, name: &dyn Fn(&str) -> bool) -> Option<Fact<u64>> {
        let index = ROWS.iter().position(|row| row.0 == kind && name(row.1))?;
        let row = ROWS.get(index)?;
        let value = match self.values.get(index).copied().flatten() {
            Some(value) => Fact { value, source: source(row) },
            None => {
                let value = self.buddy.filter(|_| row.1 == BUDDY)?;
                Fact { value, source: FactSource::FreeLists }
            }
        };
        self.given.set(self.given.get() | 1 << index);
        Some(value)
    }

    /// A member of `struct page`, or its size, of which `other` knows something else.
    #[inline]
    pub fn disagreement(&self, other: &dyn Facts) -> Option<Disagreement> {
        ROWS.iter().find_map(|(kind, name, _)| {
            let first = match kind {
                Kind::Size if *name == "page" => other.size(name),
                Kind::Offset => {
                    let (structure, field) = split(name).filter(|path| path.0 == "page")?;
                    let Fact { value, source } = other.member(structure, field)?;
                    Some(Fact { value: value.offset, source })
                }
                _ => None,
            }?;
            let given = self.given.get();
            let second = self.value(*kind, &|row| row == *name)?;
            // That was only a look.
            self.given.set(given);
            let differ = first.value != second.value;
            differ.then_some(Disagreement { kind: *kind, name, first, second })
        })
    }
}

/// Which of the tables a row comes from.
#[inline]
fn source((kind, _, from): &Row) -> FactSource {
    let variable = matches!(from, From::Pointer | From::Levels | From::Encryption);
    if *kind == Kind::Symbol || variable { FactSource::Kallsyms } else { FactSource::Btf }
}

/// Fills in what types say.
#[inline]
fn look_at_types(
    reader: &mut Reader<'_>,
    start: u64,
    end: u64,
    values: &mut [Option<u64>; ROWS.len()],
) -> Result<(), Failed> {
    let mut index = [0; 1024];
    let btf = Btf::load(reader, start, end, &mut index)?;
    let mut words = Words::<160>::new();
    let mut room = true;
    for (kind, name, from) in ROWS {
        room &= match (kind, from) {
            (Kind::Symbol, _) | (_, From::Levels | From::Encryption) => continue,
            _ => words.add_path(name),
        };
    }
    let others = [FLAGS, DESTRUCTORS, PAGE_TYPES, HEAD];
    for word in others.iter().chain(KINDS.iter().flatten()) {
        room &= words.add(word);
    }
    debug_assert!(room, "more words than there is room for");
    btf.find_words(reader, &mut words)?;
    let mut enumerators = heapless::Vec::<(&str, &str, u64), 32>::new();
    let members = Members::<64>::find(reader, &btf, &words, &mut |of, name, value| {
        if let (Some(of), Some(name)) = (words.at(of), words.at(name)) {
            // Without room for it, it is one that is not there.
            let _ = enumerators.push((of.text, name.text, value));
        }
    })?;
    let enumerator = |of: &str, name: &str| {
        enumerators.iter().find(|e| e.0 == of && e.1 == name).map(|(_, _, value)| *value)
    };
    for ((kind, name, from), value) in ROWS.iter().zip(values) {
        *value = match (kind, from) {
            (_, From::Flag) => enumerator(FLAGS, name),
            (_, From::Destructor) => enumerator(DESTRUCTORS, name),
            (_, From::HeadMask) => {
                enumerator(FLAGS, HEAD).filter(|bit| *bit < 64).map(|bit| 1 << bit)
            }
            (_, From::PageType(number)) => {
                let [now, before] = KINDS.get(usize::from(*number)).copied().unwrap_or_default();
                let of_bit = || enumerator(PAGE_TYPES, before).map(mark_of_bit);
                enumerator(PAGE_TYPES, now).map(mark_of_byte).or_else(of_bit)
            }
            (Kind::Size, _) => members.size(reader, &btf, &words, name)?,
            (Kind::Offset | Kind::Length, _) => {
                let (structure, field) = split(name).unwrap_or_default();
                let member = members.member(reader, &btf, &words, structure, field)?;
                match member {
                    Some(array) if *kind == Kind::Length => {
                        let array = btf.strip(reader, array.of)?;
                        btf.array(reader, &array)?.map(|array| array.count.into())
                    }
                    member => member.map(|member| member.offset),
                }
            }
            _ => continue,
        };
    }
    Ok(())
}

/// The mark of a type of pages as VMCOREINFO has it, a number of 32 bits with a sign, of an enumerator of `pagetype` that
/// stands in its top byte (`PGTY_` of Linux 6.12 and later, `include/linux/page-flags.h`).
pub fn mark_of_byte(value: u64) -> u64 {
    i64::from(((value as u32) << 24) as i32) as u64
}

/// The same of one that is a bit which is cleared (`PG_` of Linux 6.11).
pub fn mark_of_bit(value: u64) -> u64 {
    i64::from(!(value as u32) as i32) as u64
}

impl Facts for KernelFacts {
    #[inline]
    fn symbol(&self, name: &str) -> Option<Fact<u64>> {
        self.value(Kind::Symbol, &|row| row == name)
    }

    #[inline]
    fn size(&self, structure: &str) -> Option<Fact<u64>> {
        self.value(Kind::Size, &|row| row == structure)
    }

    #[inline]
    fn member(&self, structure: &str, field: &str) -> Option<Fact<Member>> {
        let Fact { value: offset, source } =
            self.value(Kind::Offset, &|row| split(row) == Some((structure, field)))?;
        Some(Fact { value: Member { offset, size: None }, source })
    }

    #[inline]
    fn length(&self, array: &str) -> Option<Fact<u64>> {
        self.value(Kind::Length, &|row| row == array)
    }

    #[inline]
    fn number(&self, name: &str) -> Option<Fact<u64>> {
        self.value(Kind::Number, &|row| row == name)
    }

    #[inline]
    fn plain(&self, _: &str) -> Option<Fact<&[u8]>> {
        None
    }

    #[inline]
    fn release(&self) -> Option<Fact<&[u8]>> {
        None
    }

    #[inline]
    fn page_shift(&self) -> Option<Fact<PageShift>> {
        None
    }

    #[inline]
    fn kaslr_offset(&self) -> Option<Fact<u64>> {
        None
    }
}
