//! Loads and stores at a position, and what page encoders share.
//!
//! Positions are `u32` so that position plus width cannot wrap in `usize`: one comparison per load
//! remains.

use crate::codec::SLACK;
use core::slice::SliceIndex;

/// The items of `range`, which must lie in `items`: where it does not, tests stop, as they have
/// debug assertions.
#[inline(always)]
pub(crate) fn part<T, R: SliceIndex<[T], Output = [T]>>(items: &[T], range: R) -> &[T] {
    let found = items.get(range);
    debug_assert!(found.is_some(), "a range outside of its buffer");
    found.unwrap_or(&[])
}

/// As [`part`], to be written to.
#[inline(always)]
pub(crate) fn part_mut<T, R: SliceIndex<[T], Output = [T]>>(items: &mut [T], range: R) -> &mut [T] {
    let found = items.get_mut(range);
    debug_assert!(found.is_some(), "a range outside of its buffer");
    found.unwrap_or(&mut [])
}

/// The `N` bytes at `at`, if there are as many.
#[inline(always)]
pub(crate) fn try_load<const N: usize>(bytes: &[u8], at: u32) -> Option<[u8; N]> {
    let at = at as usize;
    bytes.get(at..at + N).and_then(<[u8]>::first_chunk).copied()
}

/// The `N` bytes at `at`; zeros where there are fewer.
#[inline(always)]
pub(crate) fn load<const N: usize>(bytes: &[u8], at: u32) -> [u8; N] {
    let at = at as usize;
    match bytes.get(at..at + N).and_then(<[u8]>::first_chunk) {
        Some(chunk) => *chunk,
        None => [0; N],
    }
}

/// Room of `N` bytes at `at`.
#[inline(always)]
pub(crate) fn room<const N: usize>(out: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    out.get_mut(at..at.wrapping_add(N)).and_then(<[u8]>::first_chunk_mut)
}

/// Output that notes when something did not fit, instead of failing at each byte.
pub(crate) struct Out<'o> {
    pub(crate) bytes: &'o mut [u8],
    pub(crate) at: usize,
}

impl<'o> Out<'o> {
    /// At most the room that a page of `page` bytes may take: what comes out must not depend on
    /// how much more there is.
    #[inline]
    pub(crate) fn new(out: &'o mut [u8], page: usize) -> Out<'o> {
        let room = out.len().min(page + SLACK);
        Out { bytes: part_mut(out, ..room), at: 0 }
    }

    /// Appends bytes. Where they do not fit, [`Out::fits`] is false from then on.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(to) = room::<N>(self.bytes, self.at) {
            *to = bytes;
        }
        self.at += N;
    }

    /// Appends a run of bytes.
    #[inline]
    pub(crate) fn copy(&mut self, from: &[u8]) {
        if let Some(to) = self.bytes.get_mut(self.at..self.at + from.len()) {
            to.copy_from_slice(from);
        }
        self.at += from.len();
    }

    /// How many bytes there are, if that is everything and less than the page has.
    pub(crate) fn smaller_than(&self, page: &[u8]) -> Option<usize> {
        (self.fits() && self.at < page.len()).then_some(self.at)
    }

    /// Whether everything so far fitted.
    #[inline(always)]
    pub(crate) fn fits(&self) -> bool {
        self.at <= self.bytes.len()
    }
}
