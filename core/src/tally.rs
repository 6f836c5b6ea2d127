//! Why pages are dropped, and how many.

use crate::units::PfnSpan;

/// The reason a page is not in the dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// All bytes are zero (dump level 1).
    Zero,
    /// Page cache without private data (dump level 2).
    Cache,
    /// Page cache with private data (dump level 4).
    CachePrivate,
    /// User pages: anonymous memory and huge pages of processes (dump level 8).
    User,
    /// Free or not yet accepted memory (dump level 16).
    Free,
    /// Memory that the hardware reported as faulty (every level).
    HwPoison,
    /// Memory that the kernel took offline: balloons, virtio-mem (every level).
    Offline,
    /// Memory of a Xen host's guests (where that is asked for).
    Guest,
    /// A rule says so (every level).
    Rule,
}

impl Reason {
    /// All reasons that the kernel or Xen gives, in the order of reports: not [`Reason::Rule`].
    pub const ALL: [Reason; 8] = [
        Reason::Zero,
        Reason::Cache,
        Reason::CachePrivate,
        Reason::User,
        Reason::Free,
        Reason::HwPoison,
        Reason::Offline,
        Reason::Guest,
    ];

    /// What such pages are called.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Zero => "zero",
            Reason::Cache => "page cache",
            Reason::CachePrivate => "private page cache",
            Reason::User => "user pages",
            Reason::Free => "free",
            Reason::HwPoison => "hwpoison",
            Reason::Offline => "offline",
            Reason::Guest => "Xen guests",
            Reason::Rule => "by rule",
        }
    }

    /// The same for programs.
    pub fn key(self) -> &'static str {
        match self {
            Reason::Zero => "zero",
            Reason::Cache => "cache",
            Reason::CachePrivate => "cache_private",
            Reason::User => "user",
            Reason::Free => "free",
            Reason::HwPoison => "hwpoison",
            Reason::Offline => "offline",
            Reason::Guest => "guests",
            Reason::Rule => "rule",
        }
    }
}

/// Pages per reason. Each page counts once: when its bit is cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    dropped: [u64; 9],
    /// Pages that exist (bits of bitmap 1).
    pub exist: u64,
    /// Pages that exist but whose data the input does not hold.
    pub no_data: u64,
    /// Bits of bitmap 2.
    pub kept: u64,
    /// Pages kept because their `struct page` could not be found or read.
    pub undecided: u64,
    /// Pages whose data could not be read: their descriptors are empty.
    pub unreadable: u64,
}

/// Called for each run of pages that the classifier drops or cannot classify.
pub trait DropObserver {
    /// `pages` pages of `span` are dropped for this reason; the rest do not exist or are dropped
    /// already.
    fn dropped(&mut self, reason: Reason, span: PfnSpan, pages: u64);

    /// `pages` pages of `span` are kept because their `struct page`s could not be read.
    fn undecided(&mut self, span: PfnSpan, pages: u64);
}

impl DropObserver for Tally {
    fn dropped(&mut self, reason: Reason, _: PfnSpan, pages: u64) {
        self.add(reason, pages);
    }

    fn undecided(&mut self, _: PfnSpan, pages: u64) {
        self.undecided += pages;
    }
}

impl Tally {
    /// Adds `pages` to a reason.
    pub fn add(&mut self, reason: Reason, pages: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += pages;
        }
    }

    /// Adds the counts of another tally.
    pub fn join(&mut self, other: &Tally) {
        for (count, more) in self.dropped.iter_mut().zip(other.dropped) {
            *count += more;
        }
        self.exist += other.exist;
        self.no_data += other.no_data;
        self.kept += other.kept;
        self.undecided += other.undecided;
        self.unreadable += other.unreadable;
    }

    /// Pages dropped for a reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Pages dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
