//! What kernels of each generation look like from outside: structure layouts, flag numbers and
//! the VMCOREINFO keys they export.
//!
//! Offsets are those of an x86_64 build of the mainline release named; where a configuration can
//! move a field or a flag, one usual configuration was chosen. Numbers are bytes for offsets and
//! sizes, bit positions for flags, signed 32-bit values for page types.

use super::words::Words;

/// A kernel generation, named after the release whose layout it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, missing_docs)]
pub enum KernelStyle {
    V2_6_24,
    V3_10,
    V3_16,
    V4_4,
    V4_6,
    V4_16,
    V4_18,
    V5_1,
    V5_10,
    V6_3,
    V6_6,
    V6_9,
    V6_10,
    V6_12,
    V7_1,
}

use KernelStyle::*;

impl KernelStyle {
    /// Every style, oldest first.
    pub const ALL: [KernelStyle; 15] = [
        V2_6_24, V3_10, V3_16, V4_4, V4_6, V4_16, V4_18, V5_1, V5_10, V6_3, V6_6, V6_9, V6_10,
        V6_12, V7_1,
    ];

    /// The facts of this generation.
    pub fn facts(self) -> Facts {
        facts(self)
    }
}

/// How a free block's first page is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuddyMark {
    /// A bit of `page.flags`; VMCOREINFO has no key for it.
    Flag(u32),
    /// A value of `page._mapcount`, exported as `PAGE_BUDDY_MAPCOUNT_VALUE`.
    Value(i32),
}

/// How a hugetlb page is told from other compound pages, and where the order of a compound page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugetlbMark {
    /// `page[1].lru.next` holds the address of `free_huge_page`, `.prev` the order.
    Lru {
        /// Whether `SYMBOL(free_huge_page)` is exported.
        exported: bool,
    },
    /// Two u16 in `page[1]`: destructor id and order.
    U16 {
        /// Whether `OFFSET(page.compound_dtor)` and `compound_order` are exported.
        exported: bool,
    },
    /// Two u8 in `page[1]`.
    U8,
    /// Two u8 in `page[1]`, exported as offsets in `struct folio`.
    Folio,
    /// A bit of `page[1].flags`; the order is the low byte of the same word.
    TailFlag(u32),
    /// A page type of the head; the order is the low byte of `page[1].flags`.
    Type(i32),
}

/// Which log buffer the kernel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// A ring of characters (before 3.5).
    Chars,
    /// Variable-length records (3.5 to 5.9), with a caller id from 5.1 on.
    Records {
        /// `"log"` before 3.11, `"printk_log"` after.
        struct_name: &'static str,
        /// Whether `caller_id` exists.
        caller: bool,
    },
    /// The lockless ring (5.10 on).
    Ring {
        /// Whether `clear_seq` is a latched pair (5.13 on).
        latched: bool,
        /// `sizeof(struct printk_info)`.
        info_size: u64,
    },
}

/// Byte offsets in `struct page`.
#[derive(Clone, Copy, Debug)]
pub struct PageLayout {
    /// `sizeof(struct page)`.
    pub size: u64,
    /// `page.flags`, an `unsigned long`.
    pub flags: u64,
    /// `page._count` or `page._refcount`, 4 bytes.
    pub count: u64,
    /// `page.mapping`, a pointer.
    pub mapping: u64,
    /// `page.lru`, a `list_head`.
    pub lru: u64,
    /// `page._mapcount` or `page.page_type`, 4 bytes.
    pub mapcount: u64,
    /// `page.private`, an `unsigned long`.
    pub private: u64,
    /// `page.compound_head` or `page.compound_info`, an `unsigned long`; none before 4.4.
    pub compound_head: Option<u64>,
    /// Destructor id in the first tail page.
    pub compound_dtor: u64,
    /// Order in the first tail page.
    pub compound_order: u64,
}

/// Bit numbers in `page.flags`.
#[derive(Clone, Copy, Debug)]
pub struct PageFlags {
    /// `PG_lru`.
    pub lru: u32,
    /// `PG_waiters`, where it exists.
    pub waiters: Option<u32>,
    /// `PG_private`.
    pub private: u32,
    /// `PG_swapcache`.
    pub swapcache: u32,
    /// `PG_swapbacked`, which marks swap cache pages apart from 4.10 on.
    pub swapbacked: Option<u32>,
    /// `PG_slab`; none once slab is a page type.
    pub slab: Option<u32>,
    /// `PG_head`, or `PG_compound`.
    pub head: u32,
    /// `PG_hwpoison`.
    pub hwpoison: u32,
    /// `PG_reserved`.
    pub reserved: u32,
}

/// Everything the builder and the oracle know of one generation.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The generation.
    pub style: KernelStyle,
    /// Words of the kernel.
    pub words: Words,
    /// `utsname.release` and `OSRELEASE`.
    pub release: &'static str,
    /// `struct page`.
    pub page: PageLayout,
    /// Flag numbers.
    pub flags: PageFlags,
    /// Free blocks.
    pub buddy: BuddyMark,
    /// Compound pages.
    pub hugetlb: HugetlbMark,
    /// Id or flag value of the hugetlb destructor, where ids are used.
    pub hugetlb_dtor: u64,
    /// `PAGE_OFFLINE_MAPCOUNT_VALUE`.
    pub offline: Option<i32>,
    /// `PAGE_SLAB_MAPCOUNT_VALUE`.
    pub slab_type: Option<i32>,
    /// Page type of page tables (never exported).
    pub table_type: i32,
    /// `PAGE_UNACCEPTED_MAPCOUNT_VALUE`.
    pub unaccepted: Option<i32>,
    /// Whether `OFFSET(page._mapcount)`, `OFFSET(page.private)`, `PG_slab` or the slab type, and
    /// the buddy value are exported.
    pub exports_mapcount: bool,
    /// Whether `NUMBER(PG_private)` and `NUMBER(PG_swapcache)` are exported.
    pub exports_private: bool,
    /// Whether `NUMBER(PG_hwpoison)` is exported.
    pub exports_hwpoison: bool,
    /// Whether `NUMBER(PG_head_mask)` is exported.
    pub exports_head_mask: bool,
    /// Name under which the tail mark is exported, if it is.
    pub tail_key: Option<&'static str>,
    /// `LENGTH(zone.free_area)`: the highest order of a free block, plus one.
    pub free_orders: u32,
    /// Symbol of the top page table.
    pub top_table: &'static str,
    /// `NUMBER(phys_base)` and `NUMBER(KERNEL_IMAGE_SIZE)`.
    pub exports_phys_base: bool,
    /// `NUMBER(pgtable_l5_enabled)`.
    pub exports_l5: bool,
    /// `NUMBER(sme_mask)`.
    pub exports_sme: bool,
    /// `NUMBER(MAX_PHYSMEM_BITS)`.
    pub exports_physmem: bool,
    /// `NUMBER(SECTION_SIZE_BITS)`.
    pub exports_section_bits: bool,
    /// Physical address bits with 4 levels of page tables.
    pub physmem_bits: u32,
    /// `sizeof(struct mem_section)`.
    pub mem_section_size: u64,
    /// Whether `mem_section` is a pointer to the root array (4.15 on).
    pub mem_section_pointer: bool,
    /// Flag bits set in the `section_mem_map` of a present, online section.
    pub section_flags: u64,
    /// The online bit, where the kernel has one (4.13 on).
    pub section_online: Option<u64>,
    /// Start of the direct map with 4 levels.
    pub page_offset: u64,
    /// Start of vmemmap with 4 levels.
    pub vmemmap: u64,
    /// Offset of `name` in `init_uts_ns`, and whether the key is exported.
    pub uts_name: (u64, bool),
    /// Log buffer.
    pub log: LogStyle,
    /// Whether CRASHTIME ends with a newline.
    pub crashtime_newline: bool,
}

/// Layout up to 2.6.x: `_count` and `_mapcount` right behind the flags.
const PAGE_OLD: PageLayout = PageLayout {
    size: 56,
    flags: 0,
    count: 8,
    mapcount: 12,
    private: 16,
    mapping: 24,
    lru: 40,
    compound_head: None,
    compound_dtor: 40,
    compound_order: 48,
};

/// Layout of 3.x to 4.17: mapping second.
const PAGE_MID: PageLayout = PageLayout {
    size: 64,
    flags: 0,
    mapping: 8,
    mapcount: 24,
    count: 28,
    lru: 32,
    private: 48,
    compound_head: Some(32),
    compound_dtor: 40,
    compound_order: 42,
};

/// Layout from 4.18 on.
const PAGE_NEW: PageLayout = PageLayout {
    size: 64,
    flags: 0,
    lru: 8,
    mapping: 24,
    private: 40,
    mapcount: 48,
    count: 52,
    compound_head: Some(8),
    compound_dtor: 16,
    compound_order: 17,
};

/// The same three with words of 32 bits. The last has a member of memory control groups, so that structures straddle
/// pages.
const NARROW_OLD: PageLayout = PageLayout {
    size: 32,
    flags: 0,
    count: 4,
    mapcount: 8,
    private: 12,
    mapping: 16,
    lru: 24,
    compound_head: None,
    compound_dtor: 24,
    compound_order: 28,
};

const NARROW_MID: PageLayout = PageLayout {
    size: 32,
    flags: 0,
    mapping: 4,
    mapcount: 12,
    count: 16,
    lru: 20,
    private: 28,
    compound_head: Some(20),
    compound_dtor: 24,
    compound_order: 26,
};

const NARROW_NEW: PageLayout = PageLayout {
    size: 36,
    flags: 0,
    lru: 4,
    mapping: 12,
    private: 20,
    mapcount: 24,
    count: 28,
    compound_head: Some(4),
    compound_dtor: 8,
    compound_order: 9,
};

impl Facts {
    /// The same generation of a kernel of 32 bits.
    pub(super) fn narrow(mut self) -> Facts {
        let wide = self.page;
        let narrow = match wide.size {
            56 => NARROW_OLD,
            _ if wide.lru == PAGE_MID.lru => NARROW_MID,
            _ => NARROW_NEW,
        };
        let order = if self.hugetlb == HugetlbMark::U8 {
            1
        } else {
            narrow.compound_order - narrow.compound_dtor
        };
        self.page = PageLayout {
            compound_head: wide.compound_head.and(narrow.compound_head),
            compound_order: narrow.compound_dtor + order,
            ..narrow
        };
        self.words.wide = false;
        self.mem_section_size /= 2;
        self
    }
}

fn flags(style: KernelStyle) -> PageFlags {
    match style {
        V2_6_24 => PageFlags {
            lru: 5,
            waiters: None,
            private: 11,
            swapcache: 15,
            swapbacked: None,
            slab: Some(7),
            head: 14,
            hwpoison: 30,
            reserved: 10,
        },
        V3_10 | V3_16 | V4_4 | V4_6 => PageFlags {
            lru: 5,
            waiters: None,
            private: 11,
            swapcache: 16,
            swapbacked: Some(19),
            slab: Some(7),
            head: 14,
            hwpoison: 23,
            reserved: 10,
        },
        V4_16 | V4_18 => PageFlags {
            lru: 5,
            waiters: Some(7),
            private: 12,
            swapcache: 9,
            swapbacked: Some(18),
            slab: Some(8),
            head: 15,
            hwpoison: 22,
            reserved: 11,
        },
        V5_1 | V5_10 | V6_3 => PageFlags {
            lru: 4,
            waiters: Some(7),
            private: 13,
            swapcache: 10,
            swapbacked: Some(19),
            slab: Some(9),
            head: 16,
            hwpoison: 23,
            reserved: 12,
        },
        V6_6 | V6_9 => PageFlags {
            lru: 5,
            waiters: Some(7),
            private: 15,
            swapcache: 12,
            swapbacked: Some(19),
            slab: Some(11),
            head: 6,
            hwpoison: 23,
            reserved: 14,
        },
        V6_10 | V6_12 | V7_1 => PageFlags {
            lru: 5,
            waiters: Some(7),
            private: 14,
            swapcache: 10,
            swapbacked: Some(17),
            slab: None,
            head: 6,
            hwpoison: 20,
            reserved: 13,
        },
    }
}

fn facts(style: KernelStyle) -> Facts {
    let at_least = |other: KernelStyle| style as u32 >= other as u32;
    let page = match style {
        V2_6_24 => PAGE_OLD,
        V3_10 | V3_16 => PageLayout { compound_head: None, ..PAGE_MID },
        V4_4 | V4_6 => PAGE_MID,
        V4_16 => PageLayout { compound_order: 41, ..PAGE_MID },
        _ => PAGE_NEW,
    };
    let hugetlb = match style {
        V2_6_24 | V3_10 => HugetlbMark::Lru { exported: false },
        V3_16 => HugetlbMark::Lru { exported: true },
        V4_4 => HugetlbMark::U16 { exported: false },
        V4_6 => HugetlbMark::U16 { exported: true },
        V4_16 | V4_18 | V5_1 | V5_10 => HugetlbMark::U8,
        V6_3 => HugetlbMark::Folio,
        V6_6 => HugetlbMark::TailFlag(8),
        V6_9 => HugetlbMark::Type(-2049),
        V6_10 => HugetlbMark::Type(!0x800),
        V6_12 | V7_1 => HugetlbMark::Type(0xf400_0000u32 as i32),
    };
    let typed = |byte: u32| Some((byte << 24) as i32);
    Facts {
        style,
        words: Words::USUAL,
        release: match style {
            V2_6_24 => "2.6.24.7-synth",
            V3_10 => "3.10.108",
            V3_16 => "3.16.85-synth",
            V4_4 => "4.4.302",
            V4_6 => "4.6.7",
            V4_16 => "4.16.18",
            V4_18 => "4.18.20-synth",
            V5_1 => "5.1.21",
            V5_10 => "5.10.0-28-synth",
            V6_3 => "6.3.13",
            V6_6 => "6.6.30",
            V6_9 => "6.9.12",
            V6_10 => "6.10.14",
            V6_12 => "6.12.9-synth",
            V7_1 => "7.1.0-rc3",
        },
        page,
        flags: flags(style),
        buddy: match style {
            V2_6_24 => BuddyMark::Flag(19),
            V3_10 | V3_16 | V4_4 | V4_6 | V4_16 => BuddyMark::Value(-128),
            V4_18 | V5_1 | V5_10 | V6_3 | V6_6 | V6_9 | V6_10 => BuddyMark::Value(-129),
            V6_12 | V7_1 => BuddyMark::Value(0xf000_0000u32 as i32),
        },
        hugetlb,
        hugetlb_dtor: 2,
        offline: match style {
            V5_1 | V5_10 | V6_3 | V6_6 | V6_9 | V6_10 => Some(-257),
            V6_12 | V7_1 => typed(0xf1),
            _ => None,
        },
        slab_type: match style {
            V6_10 => Some(!0x1000),
            V6_12 | V7_1 => typed(0xf5),
            _ => None,
        },
        table_type: match style {
            V6_12 | V7_1 => 0xf200_0000u32 as i32,
            _ => !0x400,
        },
        unaccepted: match style {
            V7_1 => typed(0xf7),
            _ => None,
        },
        exports_mapcount: at_least(V3_10),
        exports_private: at_least(V3_10),
        exports_hwpoison: at_least(V3_10),
        exports_head_mask: at_least(V3_16),
        tail_key: match style {
            V2_6_24 | V3_10 | V3_16 | V4_4 => None,
            V7_1 => Some("compound_info"),
            _ => Some("compound_head"),
        },
        free_orders: 11,
        top_table: if at_least(V4_16) { "init_top_pgt" } else { "init_level4_pgt" },
        exports_phys_base: at_least(V4_16),
        exports_l5: at_least(V4_18),
        exports_sme: at_least(V5_10),
        exports_physmem: at_least(V5_10),
        exports_section_bits: at_least(V6_3),
        physmem_bits: if style == V2_6_24 { 40 } else { 46 },
        mem_section_size: match style {
            V2_6_24 => 16,
            V3_10 | V3_16 | V4_4 | V4_6 | V4_16 => 32,
            _ => 16,
        },
        mem_section_pointer: at_least(V4_16),
        section_flags: match style {
            V2_6_24 | V3_10 | V3_16 | V4_4 | V4_6 => 3,
            V4_16 | V4_18 | V5_1 => 7,
            V7_1 => 0x2f,
            _ => 0xf,
        },
        section_online: at_least(V4_16).then_some(4),
        page_offset: if style == V2_6_24 {
            0xffff_8100_0000_0000
        } else if at_least(V4_16) {
            0xffff_8880_0000_0000
        } else {
            0xffff_8800_0000_0000
        },
        vmemmap: if style == V2_6_24 { 0xffff_e200_0000_0000 } else { 0xffff_ea00_0000_0000 },
        uts_name: if at_least(V6_3) { (0, true) } else { (4, false) },
        log: match style {
            V2_6_24 => LogStyle::Chars,
            V3_10 => LogStyle::Records { struct_name: "log", caller: false },
            V3_16 | V4_4 | V4_6 | V4_16 | V4_18 => {
                LogStyle::Records { struct_name: "printk_log", caller: false }
            }
            V5_1 => LogStyle::Records { struct_name: "printk_log", caller: true },
            V5_10 => LogStyle::Ring { latched: false, info_size: 88 },
            V7_1 => LogStyle::Ring { latched: true, info_size: 112 },
            _ => LogStyle::Ring { latched: true, info_size: 88 },
        },
        crashtime_newline: at_least(V3_16),
    }
}
