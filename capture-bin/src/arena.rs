//! Memory: every byte is mapped once, at a size that the plan names, and handed out piece by piece.

use crate::sys;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tamis_core::io::IoError;

/// A mapping that is given away from front to back.
pub struct Arena {
    rest: &'static mut [u8],
}

impl Arena {
    /// Maps `len` zeroed bytes. They are the process's until it ends.
    pub fn map(len: usize) -> Result<Arena, IoError> {
        if len == 0 {
            return Ok(Arena { rest: &mut [] });
        }
        let at = sys::map_memory(len)?;
        // SAFETY: `map_memory` returns `len` readable and writable bytes, zeroed, at an address that
        // nothing else in the process knows; they are never unmapped, so 'static holds.
        Ok(Arena { rest: unsafe { core::slice::from_raw_parts_mut(at, len) } })
    }

    /// The next `len` bytes; fewer if fewer are left.
    pub fn take(&mut self, len: usize) -> &'static mut [u8] {
        let rest = core::mem::take(&mut self.rest);
        let at = len.min(rest.len());
        let (piece, rest) = rest.split_at_mut(at);
        self.rest = rest;
        piece
    }

    /// Room for `count` values, each `value` at first; for fewer if less is left.
    pub fn take_slice<T: Copy>(&mut self, count: usize, value: T) -> &'static mut [T] {
        self.take_each(count, |_| value)
    }

    /// Room for `count` values, made by `make`; for fewer if less is left. They are never dropped.
    pub fn take_each<T>(
        &mut self,
        count: usize,
        mut make: impl FnMut(&mut Arena) -> T,
    ) -> &'static mut [T] {
        let skip = self.rest.as_ptr().align_offset(align_of::<T>());
        self.take(skip);
        let room = self.take(count.saturating_mul(size_of::<T>()));
        let count = room.len().checked_div(size_of::<T>()).unwrap_or(0);
        let at = room.as_mut_ptr().cast::<T>();
        for index in 0..count {
            let value = make(self);
            // SAFETY: `room` has `count * size_of::<T>()` bytes that only we hold, and `at` is
            // aligned for T because `skip` was cut off in front of it (`align_offset` of a byte
            // pointer is exact; were it not, `take` would have left no room and count be 0).
            unsafe { at.add(index).write(value) };
        }
        // SAFETY: as above, and all `count` values have been written. The bytes are 'static and
        // were taken out of the arena; `room` is not used again.
        unsafe { core::slice::from_raw_parts_mut(at, count) }
    }
}

/// The heap of codecs that insist on one: a region of the plan, given once, used front to back.
///
/// What is freed is not used again: codecs allocate when they are made, and live as long as the
/// process. Allocations before [`Heap::give`] and after [`Heap::seal`] fail.
pub struct Heap {
    next: AtomicUsize,
    end: AtomicUsize,
    used: AtomicUsize,
    sealed: AtomicBool,
}

impl Heap {
    /// A heap without memory.
    pub const fn new() -> Heap {
        Heap {
            next: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            sealed: AtomicBool::new(false),
        }
    }

    /// Sets its memory. To be called once.
    pub fn give(&self, region: &'static mut [u8]) {
        let start = region.as_mut_ptr().expose_provenance();
        self.end.store(start + region.len(), Ordering::Relaxed);
        self.next.store(start, Ordering::Relaxed);
    }

    /// From now on every allocation fails.
    pub fn seal(&self) {
        self.sealed.store(true, Ordering::Relaxed);
    }

    /// Bytes handed out.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Default for Heap {
    fn default() -> Heap {
        Heap::new()
    }
}

// SAFETY: every block lies in the region given to `give`, which nothing else uses; blocks never
// overlap, as `next` only goes up and goes up past each block before it is handed out (one
// compare-and-swap each); each begins at a multiple of its alignment.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.sealed.load(Ordering::Relaxed) {
            return null_mut();
        }
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let Some(start) = next.checked_next_multiple_of(layout.align()) else {
                return null_mut();
            };
            let Some(end) = start.checked_add(layout.size()) else { return null_mut() };
            if next == 0 || end > self.end.load(Ordering::Relaxed) {
                return null_mut();
            }
            let swap = self.next.compare_exchange(next, end, Ordering::Relaxed, Ordering::Relaxed);
            match swap {
                Ok(_) => {
                    self.used.fetch_add(end - next, Ordering::Relaxed);
                    return core::ptr::with_exposed_provenance_mut(start);
                }
                Err(now) => next = now,
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_end_with_the_arena() {
        let mut arena = Arena::map(4096).unwrap();
        let a = arena.take(10);
        let words = arena.take_slice(4, 0x1122_3344_5566_7788u64);
        let rest = arena.take(usize::MAX);
        assert_eq!(words, [0x1122_3344_5566_7788u64; 4]);
        assert_eq!(words.as_ptr().align_offset(8), 0);
        a.fill(1);
        rest.fill(2);
        assert_eq!(words, [0x1122_3344_5566_7788u64; 4]);
        assert_eq!(a.len() + rest.len(), 4096 - 32 - 6);
        assert!(arena.take(1).is_empty() && arena.take_slice(1, 0u64).is_empty());
    }

    #[test]
    fn the_heap_ends_where_its_region_ends_or_when_it_is_sealed() {
        let heap = Heap::new();
        let block = |size, align| {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the layout has a size; the block is not used.
            unsafe { heap.alloc(layout) }
        };
        assert!(block(100, 64).is_null());
        heap.give(Arena::map(4096).unwrap().take(300));
        let (a, b) = (block(100, 64), block(100, 64));
        assert!(!a.is_null() && b as usize >= a as usize + 100 && (b as usize).is_multiple_of(64));
        assert!(block(100, 64).is_null());
        assert!(!block(1, 1).is_null());
        assert_eq!(heap.used(), 229);
        heap.seal();
        assert!(block(1, 1).is_null());
    }
}
