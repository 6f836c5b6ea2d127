//! Facts of `struct page`s that contradict each other. One copy for all machines: what is compared reads the same in
//! both byte orders, but for a few bits.

use super::classifier::Classifier;
use super::scan::Block;
use crate::tally::Reason;

impl Classifier {
    /// Finds out how many pages of a block, whose `struct page`s begin `held`, are of it.
    #[inline(never)] // called from two places: one copy is enough
    pub(super) fn check(&self, held: &[u8], block: &mut Block) {
        let (size, count) = (self.layout.size, self.layout.count);
        let all = block.reason == Reason::Free;
        // Nobody has a reference to a free block.
        let mut is_part = !all || held.get(count..count + 4) == Some(&[0; 4]);
        while is_part && block.checked < block.span.len() {
            let at = (block.checked as usize).saturating_mul(size);
            let Some(page) = held.get(at..at.saturating_add(size)) else { return };
            is_part = self.is_part(block.reason, held, page);
            // What is taken out of a free block leaves no mark on the page behind it; the end of a compound page that
            // is shorter than its order says is at a power of two, where something else begins.
            block.checked += if all { 1 } else { block.checked };
        }
        if !is_part {
            block.checked = 0;
        }
    }

    /// Whether `page` can be of the block that begins with the first two of `pages`, and is not its first.
    ///
    /// In free blocks, nobody has a reference to such a page, it has no type and is mapped nowhere, and it is no tail
    /// of a compound page. In compound pages, all tails name the head, or all its order; where the memory of their
    /// structures was given back, some look like the head itself.
    pub fn is_part(&self, reason: Reason, pages: &[u8], page: &[u8]) -> bool {
        let at = &self.layout;
        if reason == Reason::Free {
            let is = |at: usize, byte| page.get(at..at + 4).is_none_or(|b| b == [byte; 4]);
            let mapcount = at.mapcount.unwrap_or(at.size);
            return is(at.count, 0) && is(mapcount, 0xff) && !self.has_tail_mark(page);
        }
        let Some(word) = at.compound_head.map(|head| head..head + at.word.bytes()) else {
            return true;
        };
        let first = pages.get(at.size..).unwrap_or(&[]);
        self.has_tail_mark(first)
            && (page.get(word.clone()) == first.get(word) || pages.starts_with(page))
    }

    fn has_tail_mark(&self, page: &[u8]) -> bool {
        page.get(self.layout.tail_at).is_some_and(|byte| byte & 1 != 0)
    }
}
