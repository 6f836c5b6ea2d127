//! What the layers do about things that must not happen.
//!
//! # The rule for errors
//! Every public function that can fail returns an enum named `XxxError`: `#[non_exhaustive]`, with a
//! `Display` in lower case and without a final period, and `core::error::Error` whose `source()` is the error
//! of the layer below. A range that does not lie in its buffer is a bug of this crate: where a function returns
//! a `Result` it becomes an error, so that the dump ends marked incomplete; where it cannot, [`part`] and
//! [`part_mut`] stop tests and fuzzers, which are built with debug assertions.

use core::ops::Range;

/// The items of `range`; an empty slice, and a failed debug assertion, if `items` ends before it does.
#[must_use]
pub fn part<T>(items: &[T], range: Range<usize>) -> &[T] {
    debug_assert!(
        range.start <= range.end && range.end <= items.len(),
        "a range outside of its buffer"
    );
    items.get(range).unwrap_or(&[])
}

/// As [`part`], to be written to.
#[must_use]
pub fn part_mut<T>(items: &mut [T], range: Range<usize>) -> &mut [T] {
    debug_assert!(
        range.start <= range.end && range.end <= items.len(),
        "a range outside of its buffer"
    );
    items.get_mut(range).unwrap_or(&mut [])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_items_of_its_range() {
        let mut items = [1, 2, 3];
        assert_eq!(part(&items, 1..3), [2, 3]);
        assert_eq!(part(&items, 3..3), []);
        part_mut(&mut items, 0..1).fill(9);
        assert_eq!(items, [9, 2, 3]);
    }

    #[test]
    #[should_panic = "a range outside of its buffer"]
    fn a_range_outside_of_its_buffer_stops_a_test() {
        let _ = part(&[1, 2, 3], 2..4);
    }
}
