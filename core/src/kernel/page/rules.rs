//! The verdict on one page.

use super::classifier::{Cache, Classifier, HugetlbBy, OrderAt, SlabBy};
use super::fields::{Any, Fields};
use crate::level::DumpLevel;
use crate::tally::Reason;
use crate::units::Pfn;

/// The verdict on a page and on the following pages of the same block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Keep this page.
    Keep,
    /// Drop this many pages, starting here.
    Drop(Reason, u64),
}

impl Classifier {
    /// The verdict on `page`, the `struct page` of `pfn`; `next` is the one after it, where there
    /// is one.
    pub fn classify(&self, page: &[u8], next: Option<&[u8]>, pfn: Pfn) -> Verdict {
        let (endian, word) = (self.layout.endian, self.layout.word);
        self.classify_with(&Any { endian, word }, page, next, pfn)
    }

    /// The rules, in order; the first that matches decides.
    #[inline]
    pub(super) fn classify_with<R: Fields>(
        &self,
        read: &R,
        page: &[u8],
        next: Option<&[u8]>,
        pfn: Pfn,
    ) -> Verdict {
        let at = &self.layout;
        let flags = read.word(page, at.flags);
        let tail = at.compound_head.is_some_and(|at| read.word(page, at) & 1 != 0);
        if tail {
            // Its head decides for it, unless it has hwpoison itself.
            return self.alone(flags);
        }
        let kind = at.mapcount.map_or(0, |at| read.u32(page, at));
        let slab = match self.slab {
            SlabBy::Type(value) => kind == value,
            SlabBy::Flag(mask) => flags & mask != 0,
            SlabBy::Unknown => false,
        };
        if let Some(buddy) = self.buddy
            && kind == buddy.kind
            && !slab
        {
            let order = at.private.map_or(u64::MAX, |at| read.word(page, at));
            // The buddy allocator only makes naturally aligned blocks below the highest order.
            if order < buddy.orders && aligned(pfn, order) {
                return Verdict::Drop(Reason::Free, 1 << order);
            }
            return self.alone(flags);
        }
        if let Some(unaccepted) = self.unaccepted
            && kind == unaccepted.kind
        {
            let order = unaccepted.orders - 1;
            if aligned(pfn, order) {
                return Verdict::Drop(Reason::Free, 1 << order);
            }
            return self.alone(flags);
        }
        let compound = || self.compound(read, page, flags, next, pfn);
        let odd_mapping = read.word(page, at.mapping) & 1 != 0;
        // Where slab pages cannot be recognised, a page that might be anonymous is not page cache.
        if self.cache.has(flags) && (!odd_mapping || slab) {
            let private = self.cache.private.is_none_or(|mask| flags & mask != 0);
            if self.level.contains(DumpLevel::CACHE) && !private {
                return Verdict::Drop(Reason::Cache, compound().0);
            }
            if self.level.contains(DumpLevel::CACHE_PRIVATE) {
                let reason = if private { Reason::CachePrivate } else { Reason::Cache };
                return Verdict::Drop(reason, compound().0);
            }
        }
        if self.user {
            let anon = odd_mapping && !slab && self.slab != SlabBy::Unknown;
            if anon || flags & self.compound.head_mask != 0 {
                let (pages, hugetlb) = compound();
                if anon || hugetlb {
                    return Verdict::Drop(Reason::User, pages);
                }
            }
        }
        if flags & self.hwpoison != 0 {
            return Verdict::Drop(Reason::HwPoison, compound().0);
        }
        if self.offline == Some(kind) && !slab {
            return Verdict::Drop(Reason::Offline, compound().0);
        }
        Verdict::Keep
    }

    /// The verdict on a page that no other rule may look at.
    #[inline(always)]
    fn alone(&self, flags: u64) -> Verdict {
        match flags & self.hwpoison {
            0 => Verdict::Keep,
            _ => Verdict::Drop(Reason::HwPoison, 1),
        }
    }

    /// Number of pages of the compound page whose head this is (1 for others), and whether it is
    /// one of hugetlbfs. An impossible order is taken as 0.
    pub(super) fn compound<R: Fields>(
        &self,
        read: &R,
        page: &[u8],
        flags: u64,
        next: Option<&[u8]>,
        pfn: Pfn,
    ) -> (u64, bool) {
        let at = &self.layout;
        let head = flags & self.compound.head_mask != 0;
        let Some(next) = next.filter(|_| head) else { return (1, false) };
        let order = match self.compound.order {
            OrderAt::Unknown => 0,
            OrderAt::FlagsByte => read.word(next, at.flags) & 0xff,
            OrderAt::Byte(at) => read.byte(next, at),
            OrderAt::Short(at) => read.short(next, at),
            OrderAt::Word(at) => read.word(next, at),
        };
        let hugetlb = match self.compound.hugetlb {
            HugetlbBy::Unknown => false,
            HugetlbBy::Type(value) => at.mapcount.is_some_and(|at| read.u32(page, at) == value),
            HugetlbBy::TailFlag(mask) => read.word(next, at.flags) & mask != 0,
            HugetlbBy::DtorByte(at, id) => read.byte(next, at) == id,
            HugetlbBy::DtorShort(at, id) => read.short(next, at) == id,
            HugetlbBy::DtorPointer(at, address) => read.word(next, at) == address,
        };
        let plausible = order <= self.compound.max_order && aligned(pfn, order);
        (if plausible { 1 << order } else { 1 }, hugetlb)
    }
}

impl Cache {
    /// Whether a page with these flags is in the page cache or the swap cache.
    #[inline(always)]
    fn has(&self, flags: u64) -> bool {
        flags & self.lru != 0
            || (flags & self.swapcache != 0
                && (self.swapbacked == 0 || flags & self.swapbacked != 0))
    }
}

/// Whether a block of `1 << order` pages can begin at `pfn`.
fn aligned(pfn: Pfn, order: u64) -> bool {
    order < 64 && pfn.0 & ((1 << order) - 1) == 0
}
