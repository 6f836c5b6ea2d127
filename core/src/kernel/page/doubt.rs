//! Facts of `struct page`s that contradict each other. One copy for all machines: what is compared reads the same in
//! both byte orders, but for a few bits.

use super::classifier::Classifier;
use super::scan::Block;
use crate::arch::paging::WalkError;
use crate::kernel::memory::{KernelMemory, TranslateError};
use crate::memory::PhysMemory;
use crate::tally::Reason;
use crate::units::VirtAddr;

/// `LIST_POISON1` (Linux `include/linux/poison.h`), in place of the next one: 0x100 and a number that depends on the
/// machine, whose lower bits are all clear.
const OFF_LIST: u64 = 0x100;
const OFF_LIST_BITS: u64 = 0x0fff_ffff;

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

    /// Whether the list that the first page of `block` is on, whose `struct page` lies at `at` and begins `page`, leads
    /// back to it; `None` if nothing tells: pages that were taken off a list have marks in place of the pointers, and
    /// some never were on one; but free ones are.
    pub fn is_listed<S: PhysMemory>(
        &self,
        page: &[u8],
        at: VirtAddr,
        block: Block,
        memory: &mut KernelMemory<'_, '_, S>,
    ) -> Option<bool> {
        let (lru, word, endian) = (self.layout.lru?, self.layout.word, self.layout.endian);
        let next = endian.word(word, page, lru)?;
        let off_list = next == 0 || next & OFF_LIST_BITS == OFF_LIST;
        if off_list && block.reason != Reason::Free {
            return None;
        }
        if !memory.arch().is_kernel_address(VirtAddr(next)) {
            return Some(false);
        }
        let own = at.0.wrapping_add(lru as u64);
        // The next one's pointer to the one before it.
        match memory.word(VirtAddr(next.wrapping_add(word.bytes() as u64))) {
            Ok(before) => Some(before == own),
            // Then the one before it tells, by its pointer to the next one.
            Err(TranslateError::Walk(WalkError::NotMapped { .. })) => {
                let before = endian.word(word, page, lru.checked_add(word.bytes())?)?;
                Some(memory.word(VirtAddr(before)).is_ok_and(|next| next == own))
            }
            // What cannot be read contradicts nothing.
            Err(_) => None,
        }
    }

    fn has_tail_mark(&self, page: &[u8]) -> bool {
        page.get(self.layout.tail_at).is_some_and(|byte| byte & 1 != 0)
    }
}
