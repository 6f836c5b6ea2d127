//! Facts that the kernel's own tables give: the provider behind VMCOREINFO.

use super::btf::Btf;
use super::free_lists::buddy_mark;
use super::kallsyms::{FoundBy, Kallsyms, Wanted};
use super::words::cut;
use super::{Failed, Image, ImageMemory, Members, Reader, SymbolsError, Words};
use crate::arch::Arch;
use crate::arch::paging::TableCache;
use crate::endian::Word;
use crate::facts::{Chain, Fact, FactSource, Facts, KernelVersion};
use crate::kernel::memory::KernelMemory;
use crate::memory::Dump;
use crate::units::PageShift;
use crate::wire::vmcoreinfo::Kind;
use core::cell::Cell;
use core::fmt;

/// A fact that is looked for: a letter, and its name in VMCOREINFO. The letters are:
///
/// - `s`: a symbol; `p`: what a variable points to, if it is a pointer, else the variable
/// - `v`: a 32-bit variable; `w`: one that is an `unsigned long`; see [`symbol_of`]
/// - `z`: the size of a structure; `o`: a member's offset; `n`: the elements of a member that is an array
/// - `f`: a page flag, which is an enumerator; `h`: a mask of [`HEAD`]; `d`: a destructor of compound pages
/// - `t`: a type of pages, an enumerator; see [`TYPES`]
type Row = (u8, &'static str);

const fn symbol(name: &'static str) -> Row {
    (b's', name)
}

const fn size(name: &'static str) -> Row {
    (b'z', name)
}

const fn offset(name: &'static str) -> Row {
    (b'o', name)
}

const fn flag(name: &'static str) -> Row {
    (b'f', name)
}

/// All that is looked for. Of types, only what a kernel with BTF (5.2 and later) can have. The log of a kernel whose
/// VMCOREINFO lacks facts is read out of its dump.
static ROWS: &[Row] = &ALL;
const ALL: [Row; COUNT] = [
    symbol("_stext"),
    symbol("swapper_pg_dir"),
    symbol("init_top_pgt"),
    symbol("init_uts_ns"),
    (b'p', "mem_section"),
    symbol("mem_map"),
    symbol("node_data"),
    symbol("contig_page_data"),
    symbol("node_online_map"),
    (b'v', "pgtable_l5_enabled"),
    (b'w', "sme_mask"),
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
    (b'n', "zone.free_area"),
    size("free_area"),
    offset("free_area.free_list"),
    size("list_head"),
    offset("list_head.next"),
    offset("list_head.prev"),
    offset("uts_namespace.name"),
    flag("PG_lru"),
    flag("PG_private"),
    flag("PG_swapcache"),
    flag("PG_swapbacked"),
    flag("PG_slab"),
    flag("PG_hwpoison"),
    flag("PG_hugetlb"),
    (b'h', "PG_head_mask"),
    (b'd', "HUGETLB_PAGE_DTOR"),
    (b't', BUDDY),
    (b't', "PAGE_OFFLINE_MAPCOUNT_VALUE"),
    (b't', "PAGE_HUGETLB_MAPCOUNT_VALUE"),
    (b't', "PAGE_SLAB_MAPCOUNT_VALUE"),
    (b't', UNACCEPTED),
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
];
const COUNT: usize = if cfg!(feature = "decode") { 86 } else { 56 };

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
/// (6.11), in the order of the rows. Before, they are macros, which BTF does not have.
static TYPES: [[&str; 2]; 5] = [
    ["PGTY_buddy", "PG_buddy"],
    ["PGTY_offline", "PG_offline"],
    ["PGTY_hugetlb", "PG_hugetlb"],
    ["PGTY_slab", "PG_slab"],
    ["PGTY_unaccepted", "PG_unaccepted"],
];

#[inline]
fn kind(letter: u8) -> Kind {
    match letter {
        b's' | b'p' => Kind::Symbol,
        b'z' => Kind::Size,
        b'o' => Kind::Offset,
        b'n' => Kind::Length,
        _ => Kind::Number,
    }
}

/// What the kernel calls the symbol that says it; `None` where types do.
#[inline]
fn symbol_of(row: &Row) -> Option<&'static str> {
    match row.0 {
        b's' | b'p' => Some(row.1),
        b'v' => Some("__pgtable_l5_enabled"),
        b'w' => Some("sme_me_mask"),
        _ => None,
    }
}

/// What marks free pages.
const BUDDY: &str = "PAGE_BUDDY_MAPCOUNT_VALUE";
/// Kernels that do not export it (before 6.16) are treated as if they had no such pages.
const UNACCEPTED: &str = "PAGE_UNACCEPTED_MAPCOUNT_VALUE";
const WHAT_VARIABLE: &str = "a variable of the kernel";

/// What the kernel's own tables say: 1.5 KiB.
#[derive(Clone, Debug)]
pub struct KernelFacts {
    values: [Option<u64>; COUNT],
    types: Result<(), SymbolsError>,
    found_by: FoundBy,
    /// Whether the free lists showed the mark of free pages.
    by_lists: bool,
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

impl KernelFacts {
    /// Looks for the facts of the kernel in a dump: through its page tables, or, where what is known does not
    /// suffice for these, through its image alone. Takes less than 32 KiB of stack.
    #[inline]
    pub fn of<D: Dump>(
        dump: &mut D,
        facts: &dyn Facts,
        tables: &mut TableCache<'_>,
    ) -> Result<KernelFacts, SymbolsError> {
        let mut found = KernelFacts::none();
        found.look(dump, facts, tables)?;
        // Before 6.10 no type has the mark of free pages.
        let known = Chain(facts, Some(&found));
        let mut mark = None;
        if known.fact(Kind::Number, BUDDY).is_none()
            && let Ok(arch) = Arch::of(dump, &known)
        {
            mark = buddy_mark(&mut KernelMemory::new(dump, arch, tables), &known);
        }
        let buddy = ROWS.iter().position(|row| row.1 == BUDDY).unwrap_or(COUNT);
        if let (Some(mark), Some(value)) = (mark, found.values.get_mut(buddy)) {
            (*value, found.by_lists) = (Some(i64::from(mark as i32) as u64), true);
        }
        Ok(found)
    }

    /// Nothing is known yet.
    #[inline]
    fn none() -> KernelFacts {
        KernelFacts {
            values: [None; COUNT],
            types: Err(SymbolsError::NotFound("types (BTF)")),
            found_by: FoundBy::Keys,
            by_lists: false,
            given: Cell::new(0),
        }
    }

    #[inline]
    fn look<D: Dump>(
        &mut self,
        dump: &mut D,
        facts: &dyn Facts,
        tables: &mut TableCache<'_>,
    ) -> Result<(), SymbolsError> {
        let image = Image::find(dump.machine(), facts, dump.ranges());
        let mut error = SymbolsError::NoImage;
        if let Ok(arch) = Arch::of(dump, facts) {
            let mut memory = KernelMemory::new(dump, arch, tables);
            match self.fill(&mut Reader::new(&mut memory), facts, image.as_ref()) {
                Ok(()) => return Ok(()),
                Err(other) => error = other,
            }
        }
        let Some(mut memory) = image.and_then(|image| ImageMemory::new(dump, image)) else {
            return Err(error);
        };
        let done = self.fill(&mut Reader::new(&mut memory), facts, image.as_ref());
        done.map_err(|other| if matches!(error, SymbolsError::NoImage) { other } else { error })
    }

    /// Looks for the facts. Without types, symbols are facts all the same; see [`KernelFacts::types`].
    #[inline]
    pub fn find(
        reader: &mut Reader<'_>,
        facts: &dyn Facts,
        image: Option<&Image>,
    ) -> Result<KernelFacts, SymbolsError> {
        let mut found = KernelFacts::none();
        found.fill(reader, facts, image)?;
        Ok(found)
    }

    /// The same, of one that knows nothing.
    #[inline]
    fn fill(
        &mut self,
        reader: &mut Reader<'_>,
        facts: &dyn Facts,
        image: Option<&Image>,
    ) -> Result<(), SymbolsError> {
        let mut wanted = heapless::Vec::<Wanted<'_>, 24>::new();
        let mut want = |name| {
            let room = wanted.push(Wanted::new(name)).is_ok();
            debug_assert!(room, "more symbols than there is room for");
        };
        ROWS.iter().filter_map(symbol_of).for_each(&mut want);
        [START, STOP].into_iter().for_each(want);
        let found = Kallsyms::find_with(reader, facts, image, &mut wanted);
        self.found_by = found.map_err(|Failed| reader.error())?.found_by();
        let address = |name: &str| wanted.iter().find(|w| w.name == name)?.unique();
        let values = &mut self.values;
        let wide = reader.word_size() == Word::Bits64;
        for (row, value) in ROWS.iter().zip(values.iter_mut()) {
            let Some(at) = symbol_of(row).and_then(address) else { continue };
            *value = match row.0 {
                b'v' => reader.u32(WHAT_VARIABLE, at).ok().map(u64::from),
                b'w' => reader.word(WHAT_VARIABLE, at).ok(),
                b'p' => {
                    // An address of the kernel is a pointer to the table; anything else is the table.
                    let to = reader.word(WHAT_VARIABLE, at).ok();
                    to.filter(|to| wide && to >> 63 == 1 && to & 7 == 0).or(Some(at))
                }
                _ => Some(at),
            };
        }
        if let (Some(start), Some(end)) = (address(START), address(STOP)) {
            let done = look_at_types(reader, start, end, values);
            self.types = done.map_err(|Failed| reader.error());
        }
        // What VMCOREINFO has the members of itself for, is not asked of types: it would come first.
        let in_page = facts.offset("page.compound_order").is_some();
        let before_key = facts.version().is_some_and(|v| v < KernelVersion(6, 16, 0));
        for ((_, name), value) in ROWS.iter().zip(values) {
            if in_page && name.starts_with("folio.") || before_key && *name == UNACCEPTED {
                *value = None;
            }
        }
        Ok(())
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
        for (index, row) in ROWS.iter().enumerate() {
            if self.given.get() >> index & 1 != 0 {
                each(kind(row.0), row.1, self.source(row));
            }
        }
    }

    /// Which of the tables a row comes from.
    #[inline]
    fn source(&self, row: &Row) -> FactSource {
        match symbol_of(row) {
            Some(_) => FactSource::Kallsyms,
            None if self.by_lists && row.1 == BUDDY => FactSource::FreeLists,
            None => FactSource::Btf,
        }
    }

    /// The fact of this name, and its place.
    #[inline]
    fn find_row(&self, of: Kind, name: &str) -> Option<(usize, Fact<u64>)> {
        let index = ROWS.iter().position(|row| kind(row.0) == of && row.1 == name)?;
        let (row, value) = (ROWS.get(index)?, (*self.values.get(index)?)?);
        Some((index, Fact { value, source: self.source(row) }))
    }

    /// A member of `struct page`, or its size, of which `other` knows something else.
    #[inline]
    pub fn disagreement(&self, other: &dyn Facts) -> Option<Disagreement> {
        for (letter, name) in ROWS {
            let of_page = match letter {
                b'z' => *name == "page",
                b'o' => name.starts_with("page."),
                _ => false,
            };
            let kind = kind(*letter);
            let both = other.fact(kind, name).filter(|_| of_page).zip(self.find_row(kind, name));
            if let Some((first, (_, second))) =
                both.filter(|(one, (_, two))| one.value != two.value)
            {
                return Some(Disagreement { kind, name, first, second });
            }
        }
        None
    }
}

/// Fills in what types say.
#[inline]
fn look_at_types(
    reader: &mut Reader<'_>,
    start: u64,
    end: u64,
    values: &mut [Option<u64>; COUNT],
) -> Result<(), Failed> {
    let mut index = [0; 1024];
    let btf = Btf::load(reader, start, end, &mut index)?;
    let mut words = Words::<160>::new();
    let mut room = true;
    for (_, name) in ROWS.iter().filter(|row| symbol_of(row).is_none()) {
        room &= words.add_path(name);
    }
    for word in [FLAGS, DESTRUCTORS, PAGE_TYPES, HEAD].iter().chain(TYPES.iter().flatten()) {
        room &= words.add(word);
    }
    debug_assert!(room, "more words than there is room for");
    btf.find_words(reader, &mut words)?;
    let mut enumerators = heapless::Vec::<(u32, u32, u64), 32>::new();
    let members = Members::<64>::find(reader, &btf, &words, &mut |of, name, value| {
        if words.at(name).is_some() {
            // Without room for it, it is one that is not there.
            let _ = enumerators.push((of, name, value));
        }
    })?;
    let enumerator = |of: &str, name: &str| {
        let (of, name) = (words.offset(of)?, words.offset(name)?);
        enumerators.iter().find(|e| e.0 == of && e.1 == name).map(|(_, _, value)| *value)
    };
    let mut types = TYPES.iter();
    for ((letter, name), value) in ROWS.iter().zip(values) {
        *value = match letter {
            b'f' => enumerator(FLAGS, name),
            b'd' => enumerator(DESTRUCTORS, name),
            b'h' => enumerator(FLAGS, HEAD).filter(|bit| *bit < 64).map(|bit| 1 << bit),
            b't' => {
                let [now, before] = types.next().copied().unwrap_or_default();
                let of_bit = || enumerator(PAGE_TYPES, before).map(mark_of_bit);
                enumerator(PAGE_TYPES, now).map(mark_of_byte).or_else(of_bit)
            }
            b'z' => members.size(reader, &btf, &words, name)?,
            b'o' | b'n' => {
                let (structure, field) = cut(name);
                let member = members.member(reader, &btf, &words, structure, field)?;
                match member {
                    Some(array) if *letter == b'n' => {
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
    fn fact(&self, kind: Kind, name: &str) -> Option<Fact<u64>> {
        let (index, fact) = self.find_row(kind, name)?;
        self.given.set(self.given.get() | 1 << index);
        Some(fact)
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
