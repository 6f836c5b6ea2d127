//! What a page frame is used for, and the `struct page` bytes that say so.

use super::style::{BuddyMark, Facts, HugetlbMark};

/// What the pages of a compound page hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Kernel memory (`alloc_pages` with `__GFP_COMP`).
    Kernel,
    /// Page cache on the LRU.
    File,
    /// Page cache on the LRU with `PG_private`.
    FilePrivate,
    /// Anonymous memory on the LRU.
    Anon,
    /// A hugetlb page, mapped shared (its `mapping` is even).
    Hugetlb,
    /// A hugetlb page whose tail structures were given back (5.14 to 7.0): every page of tail
    /// structures but the first reads as a copy of the first ("fake heads").
    HugetlbHvo,
}

/// What one page frame, or the block that starts at it, is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Kernel data; flags clear.
    Kernel,
    /// `PG_reserved`.
    Reserved,
    /// A page table; has a page type from 4.18 on.
    PageTable,
    /// Slab, by flag or by page type.
    Slab,
    /// Slab whose `mapping` word is odd, as when slab reuses it.
    SlabOdd,
    /// A free block of `1 << order` pages, marked on its first page only.
    Free {
        /// Order of the block.
        order: u32,
    },
    /// A page marked free whose order is impossible.
    FreeAbsurd {
        /// Order it claims.
        order: u64,
    },
    /// Page cache.
    Cache,
    /// Page cache with `PG_private` (buffers).
    CachePrivate,
    /// A file page taken off the LRU for a moment: no mark that says cache.
    CacheOffLru,
    /// Swap cache of shared memory: not anonymous, not on the LRU.
    SwapCache,
    /// The bit of `PG_swapcache` without `PG_swapbacked`: another owner's private bit.
    OwnerPrivate,
    /// Anonymous, on the LRU.
    Anon,
    /// Anonymous, off the LRU.
    AnonOffLru,
    /// Anonymous with `PG_waiters` set, which takes the place that `PG_slab` once had.
    AnonWaiters,
    /// Anonymous and in the swap cache.
    AnonSwapCache,
    /// Anonymous, shared by KSM (the low two bits of `mapping`).
    Ksm,
    /// A compound page of `1 << order` pages.
    Compound {
        /// Order of the page.
        order: u32,
        /// What it holds.
        of: Use,
    },
    /// Logically offline (inflated balloon, unplugged virtio-mem block).
    Offline,
    /// `PG_hwpoison` on a page in no other use.
    Poisoned,
    /// Memory not yet accepted by a confidential guest, in blocks of the highest order.
    Unaccepted,
}

impl Class {
    /// Pages that the block covers.
    pub fn pages(self, facts: &Facts) -> u64 {
        match self {
            Class::Free { order } | Class::Compound { order, .. } => 1 << order,
            Class::Unaccepted => 1 << (facts.free_orders - 1),
            _ => 1,
        }
    }

    /// Whether its first page is on a list by `page.lru`: those of the LRU, of free blocks, of huge pages.
    pub fn is_listed(self, facts: &Facts) -> bool {
        match self {
            Class::Cache | Class::CachePrivate | Class::Anon | Class::AnonWaiters | Class::Ksm => {
                true
            }
            Class::Free { .. } | Class::FreeAbsurd { .. } => true,
            Class::Unaccepted => facts.unaccepted.is_some(),
            Class::Compound { of, .. } => of != Use::Kernel,
            _ => false,
        }
    }
}

/// One `struct page`, as a builder of its bytes.
#[derive(Clone, Debug)]
pub struct PageStruct<'a> {
    facts: &'a Facts,
    bytes: Vec<u8>,
}

impl<'a> PageStruct<'a> {
    /// A page in use by the kernel: flags clear, one reference, `_mapcount` or `page_type` −1.
    pub fn new(facts: &'a Facts, size: u64) -> Self {
        let mut page = PageStruct { facts, bytes: vec![0; size as usize] };
        page.u32(facts.page.mapcount, u32::MAX);
        page.u32(facts.page.count, 1);
        page
    }

    /// The structure's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn long(&mut self, at: u64, value: u64) {
        self.put(at, &self.facts.words.long(value));
    }

    fn u32(&mut self, at: u64, value: u32) {
        self.put(at, &self.facts.words.u32(value));
    }

    /// Sets one bit of `flags`.
    pub fn flag(&mut self, bit: u32) {
        let at = self.facts.page.flags;
        let (words, start) = (self.facts.words, at as usize);
        let flags = words.number(&self.bytes[start..start + words.bytes() as usize]);
        self.long(at, flags | 1 << bit);
    }

    /// Sets bits as those of node and zone numbers are: the top ones, which must disturb nobody.
    fn zone(&mut self) {
        let top = if self.facts.words.wide { [61, 55] } else { [31, 27] };
        top.into_iter().for_each(|bit| self.flag(bit));
    }

    /// Puts the number of the page's section into the upper bits of the flags.
    pub fn section(&mut self, number: u64, width: u32) {
        let (words, at) = (self.facts.words, self.facts.page.flags as usize);
        let bits = 8 * words.bytes() as u32;
        let flags = words.number(&self.bytes[at..at + words.bytes() as usize]);
        let below = (1 << (bits - width)) - 1;
        self.long(at as u64, flags & below | number << (bits - width));
    }

    fn mapping(&mut self, value: u64) {
        self.long(self.facts.page.mapping, value);
    }

    fn kind(&mut self, value: i32) {
        self.u32(self.facts.page.mapcount, value as u32);
    }
}

/// An `address_space` pointer, even.
const FILE_MAPPING: u64 = 0xffff_8880_0123_4560;
/// An `anon_vma` pointer with the ANON bit.
const ANON_MAPPING: u64 = 0xffff_8880_0765_4321;
/// What the kernel leaves in `mapping` of tail pages.
const TAIL_MAPPING: u64 = 0xdead_0000_0000_0400;

/// The structure of a single page, or of the first page of a block.
pub fn head<'a>(facts: &'a Facts, size: u64, class: Class) -> PageStruct<'a> {
    let mut page = PageStruct::new(facts, size);
    let bits = facts.flags;
    page.zone();
    match class {
        Class::Kernel => {}
        Class::Reserved => page.flag(bits.reserved),
        Class::PageTable => {
            if facts.style as u32 >= super::KernelStyle::V4_18 as u32 {
                page.kind(facts.table_type);
            }
            page.mapping(FILE_MAPPING);
        }
        Class::Slab | Class::SlabOdd => {
            match (facts.slab_type, bits.slab) {
                (Some(kind), _) => page.kind(kind),
                (None, Some(bit)) => page.flag(bit),
                (None, None) => unreachable!("a kernel marks slab somehow"),
            }
            page.mapping(if class == Class::SlabOdd { ANON_MAPPING } else { FILE_MAPPING });
        }
        Class::Free { order } => free(&mut page, order.into()),
        Class::FreeAbsurd { order } => free(&mut page, order),
        Class::Cache | Class::CachePrivate | Class::CacheOffLru => {
            page.mapping(FILE_MAPPING);
            if class != Class::CacheOffLru {
                page.flag(bits.lru);
            }
            if class == Class::CachePrivate {
                page.flag(bits.private);
                page.long(facts.page.private, 0xffff_8880_0abc_de00);
            }
        }
        Class::SwapCache | Class::AnonSwapCache => {
            page.flag(bits.swapcache);
            if let Some(bit) = bits.swapbacked {
                page.flag(bit);
            }
            page.long(facts.page.private, 0x1234);
            page.mapping(if class == Class::SwapCache { FILE_MAPPING } else { ANON_MAPPING });
        }
        Class::OwnerPrivate => {
            page.flag(bits.swapcache);
            page.mapping(FILE_MAPPING);
        }
        Class::Anon | Class::AnonOffLru | Class::AnonWaiters | Class::Ksm => {
            page.mapping(if class == Class::Ksm { ANON_MAPPING | 3 } else { ANON_MAPPING });
            page.kind(0); // mapped once
            if class != Class::AnonOffLru {
                page.flag(bits.lru);
            }
            if class == Class::AnonWaiters
                && let Some(bit) = bits.waiters
            {
                page.flag(bit);
            }
        }
        Class::Compound { of, .. } => {
            page.flag(bits.head);
            match of {
                Use::Kernel => {}
                Use::File => {
                    page.flag(bits.lru);
                    page.mapping(FILE_MAPPING);
                }
                Use::FilePrivate => {
                    page.flag(bits.lru);
                    page.flag(bits.private);
                    page.mapping(FILE_MAPPING);
                }
                Use::Anon => {
                    page.flag(bits.lru);
                    page.mapping(ANON_MAPPING);
                }
                Use::Hugetlb | Use::HugetlbHvo => {
                    page.mapping(FILE_MAPPING);
                    if let HugetlbMark::Type(kind) = facts.hugetlb {
                        page.kind(kind);
                    }
                }
            }
        }
        Class::Offline => page.kind(facts.offline.unwrap_or(-256)),
        Class::Poisoned => page.flag(bits.hwpoison),
        Class::Unaccepted => {
            page.kind(facts.unaccepted.unwrap_or(-1));
            page.u32(facts.page.count, u32::from(facts.unaccepted.is_none()));
        }
    }
    page
}

/// The structure of any page of a free block but the first: no reference, no type, no flag.
pub fn free_tail<'a>(facts: &'a Facts, size: u64) -> PageStruct<'a> {
    let mut page = PageStruct::new(facts, size);
    page.zone();
    page.u32(facts.page.count, 0);
    page
}

fn free(page: &mut PageStruct<'_>, order: u64) {
    match page.facts.buddy {
        BuddyMark::Flag(bit) => page.flag(bit),
        BuddyMark::Value(value) => page.kind(value),
    }
    page.u32(page.facts.page.count, 0);
    page.long(page.facts.page.private, order);
}

/// The structure of tail `index` (from 1) of a compound page. `head_va` is the virtual address of
/// the head's structure, `free_huge_page` that of the function.
pub fn tail<'a>(
    facts: &'a Facts,
    size: u64,
    order: u32,
    of: Use,
    index: u64,
    head_va: u64,
    free_huge_page: u64,
) -> PageStruct<'a> {
    let mut page = PageStruct::new(facts, size);
    let layout = facts.page;
    page.u32(layout.count, 0);
    if facts.style == super::KernelStyle::V2_6_24 {
        // Tails carry PG_compound as well, and the head's address in `private`.
        page.flag(facts.flags.head);
        page.long(layout.private, head_va);
    } else {
        page.mapping(TAIL_MAPPING);
    }
    if index == 1 {
        let is_hugetlb = matches!(of, Use::Hugetlb | Use::HugetlbHvo);
        let dtor = if is_hugetlb { facts.hugetlb_dtor } else { 1 };
        match facts.hugetlb {
            HugetlbMark::Lru { .. } => {
                page.long(
                    layout.lru,
                    if is_hugetlb { free_huge_page } else { free_huge_page + 64 },
                );
                page.long(layout.lru + facts.words.bytes(), order.into());
            }
            HugetlbMark::U16 { .. } => {
                page.put(layout.compound_dtor, &facts.words.u16(dtor as u16));
                page.put(layout.compound_order, &facts.words.u16(order as u16));
            }
            HugetlbMark::U8 | HugetlbMark::Folio => {
                page.put(layout.compound_dtor, &[dtor as u8, order as u8]);
            }
            HugetlbMark::TailFlag(bit) => {
                page.long(layout.flags, order.into());
                if is_hugetlb {
                    page.flag(bit);
                }
            }
            HugetlbMark::Type(_) => page.long(layout.flags, order.into()),
        }
        // From 4.6 on the first tail's words hold counters, which may look like anything.
        if facts.tail_key.is_some() {
            page.mapping(0x0000_0001_0000_0003);
        }
    }
    if let Some(at) = layout.compound_head {
        let word = if facts.tail_key == Some("compound_info") {
            !0u64 << (order + 6) | 1
        } else {
            head_va | 1
        };
        page.long(at, word);
    }
    page
}
