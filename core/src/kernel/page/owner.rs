//! What a page belongs to.

use super::classifier::{Classifier, SlabBy};
use super::fields::{Any, Fields};
use crate::units::Pfn;

/// What a page and those behind it belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Belongs {
    /// Whether it is a slab page, of the `struct kmem_cache` at `at`; else it is page cache, of the
    /// `struct address_space` there.
    pub slab: bool,
    /// Address of what it belongs to.
    pub at: u64,
    /// Pages of the block that it is the first of.
    pub pages: u64,
}

impl Classifier {
    /// What `page`, the `struct page` of `pfn`, belongs to; `next` is the one after it, where there is one, and
    /// `slab_cache` where slab pages have their cache. `None` for pages that are no page's first, and for those that
    /// cannot be distinguished from others.
    pub fn belongs(
        &self,
        page: &[u8],
        next: Option<&[u8]>,
        pfn: Pfn,
        slab_cache: Option<usize>,
    ) -> Option<Belongs> {
        let at = &self.layout;
        let read = &Any { endian: at.endian, word: at.word };
        let flags = read.word(page, at.flags);
        if at.compound_head.is_some_and(|at| read.word(page, at) & 1 != 0) {
            return None;
        }
        let slab = match self.slab {
            SlabBy::Type(value) => at.mapcount.map_or(0, |at| read.u32(page, at)) == value,
            SlabBy::Flag(mask) => flags & mask != 0,
            SlabBy::Unknown => return None,
        };
        let place = if slab { slab_cache? } else { at.mapping };
        let inside = place.checked_add(8).is_some_and(|end| end <= at.size);
        let owner = if inside { read.word(page, place) } else { 0 };
        let pages = self.compound(read, page, flags, next, pfn).0;
        (owner != 0).then_some(Belongs { slab, at: owner, pages })
    }
}
