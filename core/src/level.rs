//! The dump level.

use core::fmt;

bitflags::bitflags! {
    /// Which classes of pages are left out of a dump: the number of `-d`, 0 to 31.
    ///
    /// Broken memory (hwpoison) and offline memory are left out at every level.
    ///
    /// ```
    /// use tamis_core::level::DumpLevel;
    ///
    /// let level = DumpLevel::from_bits(17).expect("17 is a level");
    /// assert_eq!(level, DumpLevel::ZERO | DumpLevel::FREE);
    /// assert_eq!(DumpLevel::from_bits(32), None);
    /// assert_eq!(DumpLevel::all().to_string(), "31");
    /// ```
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct DumpLevel: u8 {
        /// Pages of zeros.
        const ZERO = 1;
        /// Page cache without private data.
        const CACHE = 2;
        /// All page cache.
        const CACHE_PRIVATE = 4;
        /// User pages: anonymous memory and hugetlbfs.
        const USER = 8;
        /// Free pages.
        const FREE = 16;
    }
}

impl DumpLevel {
    /// Whether it names a class that only `struct page`s tell from others: any but
    /// [`DumpLevel::ZERO`].
    #[must_use]
    pub fn needs_mem_map(self) -> bool {
        self.intersects(DumpLevel::ZERO.complement())
    }
}

/// The number.
impl fmt::Display for DumpLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bits().fmt(f)
    }
}
