//! The lines of VMCOREINFO that a file can have, in the kernel's order (`kernel/vmcore_info.c`, before 6.17
//! `kernel/crash_core.c`, and `kernel/printk/printk.c`), with those that readers of older kernels ask for.

use std::collections::{HashMap, HashSet};

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum From {
    /// The symbol of this name.
    Symbol,
    /// The same, or a symbol of another name.
    Other(&'static str),
    /// An element of an array: its symbol, the enumeration and the enumerator of the index, and the type.
    Element(&'static str, (&'static str, &'static str), &'static str),
    /// The elements of a variable that is an array of pointers.
    Pointers,
    /// The structure of this name.
    Size,
    /// The member of this name.
    Offset,
    /// The elements of a member that is an array.
    Count(&'static str),
    /// An enumerator of the same name, of this enumeration.
    Enumerator(&'static str),
    /// A mask of the bit that is an enumerator of this enumeration and name.
    Bit(&'static str, &'static str),
    /// A type of pages: an enumerator that stands in the top byte (6.12 and later), or a bit that is cleared
    /// (6.11). Before, it is a macro, which no source has.
    PageType(&'static str, &'static str),
}

type Row = (&'static str, &'static str, From);

const fn symbol(name: &'static str) -> Row {
    ("SYMBOL", name, From::Symbol)
}

const fn size(name: &'static str) -> Row {
    ("SIZE", name, From::Size)
}

const fn offset(name: &'static str) -> Row {
    ("OFFSET", name, From::Offset)
}

const fn length(name: &'static str) -> Row {
    ("LENGTH", name, From::Count(name))
}

const fn flag(name: &'static str) -> Row {
    ("NUMBER", name, From::Enumerator("pageflags"))
}

const fn page_type(name: &'static str, now: &'static str, before: &'static str) -> Row {
    ("NUMBER", name, From::PageType(now, before))
}

/// All of them. No type of unaccepted pages: kernels that do not export it (before 6.16) are treated as if they had no
/// such pages.
pub(super) static ROWS: [Row; 148] = [
    symbol("init_uts_ns"),
    offset("uts_namespace.name"),
    (
        "SYMBOL",
        "node_online_map",
        From::Element("node_states", ("node_states", "N_ONLINE"), "nodemask_t"),
    ),
    ("SYMBOL", "swapper_pg_dir", From::Other("init_top_pgt")),
    symbol("init_top_pgt"),
    symbol("init_level4_pgt"),
    symbol("level4_kernel_pgt"),
    symbol("_stext"),
    symbol("vmlist"),
    symbol("vmap_area_list"),
    symbol("mem_map"),
    symbol("contig_page_data"),
    symbol("pgdat_list"),
    symbol("mem_section"),
    size("mem_section"),
    offset("mem_section.section_mem_map"),
    symbol("node_data"),
    symbol("node_states"),
    ("LENGTH", "node_data", From::Pointers),
    symbol("max_pfn"),
    symbol("high_memory"),
    size("page"),
    size("pglist_data"),
    size("zone"),
    size("free_area"),
    size("list_head"),
    size("nodemask_t"),
    offset("page.flags"),
    offset("page._refcount"),
    offset("page._count"),
    offset("page.mapping"),
    offset("page.lru"),
    offset("page._mapcount"),
    offset("page.private"),
    offset("page.compound_dtor"),
    offset("page.compound_order"),
    offset("page.compound_head"),
    offset("page.compound_info"),
    offset("folio._folio_dtor"),
    offset("folio._folio_order"),
    offset("pglist_data.node_zones"),
    offset("pglist_data.nr_zones"),
    offset("pglist_data.node_mem_map"),
    offset("pglist_data.node_start_pfn"),
    offset("pglist_data.node_spanned_pages"),
    offset("pglist_data.node_id"),
    offset("zone.free_area"),
    offset("zone.vm_stat"),
    offset("zone.spanned_pages"),
    offset("free_area.free_list"),
    offset("list_head.next"),
    offset("list_head.prev"),
    offset("vm_struct.addr"),
    offset("vmap_area.va_start"),
    offset("vmap_area.list"),
    length("zone.free_area"),
    symbol("log_buf"),
    symbol("log_buf_len"),
    symbol("log_end"),
    symbol("logged_chars"),
    symbol("log_first_idx"),
    symbol("log_next_idx"),
    symbol("clear_idx"),
    size("log"),
    offset("log.ts_nsec"),
    offset("log.len"),
    offset("log.text_len"),
    offset("log.dict_len"),
    size("printk_log"),
    offset("printk_log.ts_nsec"),
    offset("printk_log.len"),
    offset("printk_log.text_len"),
    offset("printk_log.dict_len"),
    offset("printk_log.caller_id"),
    symbol("prb"),
    symbol("printk_rb_static"),
    symbol("clear_seq"),
    size("printk_ringbuffer"),
    offset("printk_ringbuffer.desc_ring"),
    offset("printk_ringbuffer.text_data_ring"),
    offset("printk_ringbuffer.fail"),
    size("prb_desc_ring"),
    offset("prb_desc_ring.count_bits"),
    offset("prb_desc_ring.descs"),
    offset("prb_desc_ring.infos"),
    offset("prb_desc_ring.head_id"),
    offset("prb_desc_ring.tail_id"),
    size("prb_desc"),
    offset("prb_desc.state_var"),
    offset("prb_desc.text_blk_lpos"),
    size("prb_data_blk_lpos"),
    offset("prb_data_blk_lpos.begin"),
    offset("prb_data_blk_lpos.next"),
    size("printk_info"),
    offset("printk_info.seq"),
    offset("printk_info.ts_nsec"),
    offset("printk_info.text_len"),
    offset("printk_info.caller_id"),
    offset("printk_info.dev_info"),
    size("dev_printk_info"),
    offset("dev_printk_info.subsystem"),
    ("LENGTH", "printk_info_subsystem", From::Count("dev_printk_info.subsystem")),
    offset("dev_printk_info.device"),
    ("LENGTH", "printk_info_device", From::Count("dev_printk_info.device")),
    size("prb_data_ring"),
    offset("prb_data_ring.size_bits"),
    offset("prb_data_ring.data"),
    offset("prb_data_ring.head_lpos"),
    offset("prb_data_ring.tail_lpos"),
    size("atomic_long_t"),
    offset("atomic_long_t.counter"),
    size("latched_seq"),
    offset("latched_seq.val"),
    length("free_area.free_list"),
    ("NUMBER", "NR_FREE_PAGES", From::Enumerator("zone_stat_item")),
    ("NUMBER", "N_ONLINE", From::Enumerator("node_states")),
    flag("PG_lru"),
    flag("PG_private"),
    flag("PG_swapcache"),
    flag("PG_swapbacked"),
    flag("PG_slab"),
    flag("PG_hwpoison"),
    flag("PG_hugetlb"),
    ("NUMBER", "PG_head_mask", From::Bit("pageflags", "PG_head")),
    ("NUMBER", "HUGETLB_PAGE_DTOR", From::Enumerator("compound_dtor_id")),
    page_type("PAGE_BUDDY_MAPCOUNT_VALUE", "PGTY_buddy", "PG_buddy"),
    page_type("PAGE_OFFLINE_MAPCOUNT_VALUE", "PGTY_offline", "PG_offline"),
    page_type("PAGE_HUGETLB_MAPCOUNT_VALUE", "PGTY_hugetlb", "PG_hugetlb"),
    page_type("PAGE_SLAB_MAPCOUNT_VALUE", "PGTY_slab", "PG_slab"),
    symbol("free_huge_page"),
    symbol("free_huge_folio"),
    symbol("kallsyms_names"),
    symbol("kallsyms_num_syms"),
    symbol("kallsyms_token_table"),
    symbol("kallsyms_token_index"),
    symbol("kallsyms_offsets"),
    symbol("kallsyms_relative_base"),
    symbol("vmemmap_list"),
    symbol("mmu_vmemmap_psize"),
    symbol("mmu_psize_defs"),
    symbol("cur_cpu_spec"),
    size("vmemmap_backing"),
    offset("vmemmap_backing.phys"),
    offset("vmemmap_backing.virt_addr"),
    offset("vmemmap_backing.list"),
    size("mmu_psize_def"),
    offset("mmu_psize_def.shift"),
    offset("cpu_spec.mmu_features"),
];

/// Symbols that have no line of their own.
const OTHERS: [&str; 4] = ["linux_banner", "empty_zero_page", "__start_BTF", "__stop_BTF"];

/// The names that are looked for.
pub(super) struct Wanted {
    /// Symbols.
    pub symbols: HashSet<&'static str>,
    /// Structures, unions and typedefs, and the members of each that are asked for.
    pub structures: HashMap<&'static str, HashSet<&'static str>>,
    /// Enumerations, and their enumerators that are asked for.
    pub enumerations: HashMap<&'static str, HashSet<&'static str>>,
}

impl Wanted {
    /// The names of all rows.
    pub(super) fn new() -> Wanted {
        let mut wanted = Wanted {
            symbols: OTHERS.into_iter().collect(),
            structures: HashMap::new(),
            enumerations: HashMap::new(),
        };
        for (_, name, from) in ROWS {
            match from {
                From::Symbol | From::Pointers => drop(wanted.symbols.insert(name)),
                From::Other(other) => wanted.symbols.extend([name, other]),
                From::Element(array, (enumeration, index), of) => {
                    wanted.symbols.insert(array);
                    wanted.enumerator(enumeration, index);
                    wanted.structures.entry(of).or_default();
                }
                From::Size => drop(wanted.structures.entry(name).or_default()),
                From::Offset => wanted.member(name),
                From::Count(path) => wanted.member(path),
                From::Enumerator(of) => wanted.enumerator(of, name),
                From::Bit(of, bit) => wanted.enumerator(of, bit),
                From::PageType(now, before) => {
                    wanted.enumerator("pagetype", now);
                    wanted.enumerator("pagetype", before);
                }
            }
        }
        wanted
    }

    fn member(&mut self, path: &'static str) {
        if let Some((structure, member)) = path.split_once('.') {
            self.structures.entry(structure).or_default().insert(member);
        }
    }

    fn enumerator(&mut self, of: &'static str, name: &'static str) {
        self.enumerations.entry(of).or_default().insert(name);
    }
}
