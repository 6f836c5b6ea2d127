//! The verdict on one page.

use super::scan::{Any, Fields};
use super::{Classifier, HugetlbBy, OrderAt, SlabBy};
use crate::level::DumpLevel;
use crate::tally::Reason;
use crate::units::Pfn;

/// What becomes of a page, and of those after it that share its fate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// So many pages from this one on go, for this reason.
    Drop(Reason, u64),
}

impl Classifier {
    /// Judges `page`, the `struct page` of `pfn`; `next` is the one after it, where there is one.
    pub fn classify(&self, page: &[u8], next: Option<&[u8]>, pfn: Pfn) -> Verdict {
        self.classify_with(&Any { endian: self.endian, word: self.word }, page, next, pfn)
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
        let flags = read.word(page, self.flags);
        let tail = self.compound_head.is_some_and(|at| read.word(page, at) & 1 != 0);
        if tail {
            // Its head decides for it, unless it is broken itself.
            return match flags & self.hwpoison {
                0 => Verdict::Keep,
                _ => Verdict::Drop(Reason::HwPoison, 1),
            };
        }
        let kind = self.mapcount.map_or(0, |at| read.u32(page, at));
        let slab = match self.slab {
            SlabBy::Type(value) => kind == value,
            SlabBy::Flag(mask) => flags & mask != 0,
            SlabBy::Unknown => false,
        };
        if let Some((value, orders)) = self.buddy
            && kind == value
            && !slab
        {
            let order = self.private.map_or(u64::MAX, |at| read.word(page, at));
            // The buddy allocator only makes naturally aligned blocks below the highest order.
            return match flags & self.hwpoison {
                _ if order < orders && aligned(pfn, order) => {
                    Verdict::Drop(Reason::Free, 1 << order)
                }
                0 => Verdict::Keep,
                _ => Verdict::Drop(Reason::HwPoison, 1),
            };
        }
        if let Some((value, orders)) = self.unaccepted
            && kind == value
        {
            return match (orders - 1, flags & self.hwpoison) {
                (order, _) if aligned(pfn, order) => Verdict::Drop(Reason::Free, 1 << order),
                (_, 0) => Verdict::Keep,
                _ => Verdict::Drop(Reason::HwPoison, 1),
            };
        }
        let odd_mapping = read.word(page, self.mapping) & 1 != 0;
        let cache = flags & self.lru != 0
            || (flags & self.swapcache != 0
                && (self.swapbacked == 0 || flags & self.swapbacked != 0));
        // Where slab pages cannot be recognised, a page that might be anonymous is no cache.
        if cache && self.lru != 0 && (!odd_mapping || slab) {
            let private = self.private_flag.is_none_or(|mask| flags & mask != 0);
            if self.level.contains(DumpLevel::CACHE) && !private {
                return Verdict::Drop(Reason::Cache, self.compound(read, page, flags, next, pfn).0);
            }
            if self.level.contains(DumpLevel::CACHE_PRIVATE) {
                let reason = if private { Reason::CachePrivate } else { Reason::Cache };
                return Verdict::Drop(reason, self.compound(read, page, flags, next, pfn).0);
            }
        }
        if self.level.contains(DumpLevel::USER) && self.tails_known {
            let anon = odd_mapping && !slab && self.slab != SlabBy::Unknown;
            if anon || flags & self.head_mask != 0 {
                let (pages, hugetlb) = self.compound(read, page, flags, next, pfn);
                if anon || hugetlb {
                    return Verdict::Drop(Reason::User, pages);
                }
            }
        }
        if flags & self.hwpoison != 0 {
            let pages = self.compound(read, page, flags, next, pfn).0;
            return Verdict::Drop(Reason::HwPoison, pages);
        }
        if self.offline == Some(kind) && !slab {
            let pages = self.compound(read, page, flags, next, pfn).0;
            return Verdict::Drop(Reason::Offline, pages);
        }
        Verdict::Keep
    }

    /// Number of pages of the compound page whose head this is (1 for others), and whether it is
    /// one of hugetlbfs. An order that cannot be is taken as 0.
    fn compound<R: Fields>(
        &self,
        read: &R,
        page: &[u8],
        flags: u64,
        next: Option<&[u8]>,
        pfn: Pfn,
    ) -> (u64, bool) {
        let (0.., Some(next)) = (flags & self.head_mask, next) else { return (1, false) };
        if flags & self.head_mask == 0 {
            return (1, false);
        }
        let order = match self.order {
            OrderAt::Unknown => 0,
            OrderAt::FlagsByte => read.word(next, self.flags) & 0xff,
            OrderAt::Byte(at) => read.byte(next, at),
            OrderAt::Short(at) => read.short(next, at),
            OrderAt::Word(at) => read.word(next, at),
        };
        let hugetlb = match self.hugetlb {
            HugetlbBy::Unknown => false,
            HugetlbBy::Type(value) => self.mapcount.is_some_and(|at| read.u32(page, at) == value),
            HugetlbBy::TailFlag(mask) => read.word(next, self.flags) & mask != 0,
            HugetlbBy::DtorByte(at, id) => read.byte(next, at) == id,
            HugetlbBy::DtorShort(at, id) => read.short(next, at) == id,
            HugetlbBy::DtorPointer(at, address) => read.word(next, at) == address,
        };
        let plausible = order <= self.max_order && aligned(pfn, order);
        (if plausible { 1 << order } else { 1 }, hugetlb)
    }
}

/// Whether a block of `1 << order` pages can begin at `pfn`.
fn aligned(pfn: Pfn, order: u64) -> bool {
    order < 64 && pfn.0 & ((1 << order) - 1) == 0
}
