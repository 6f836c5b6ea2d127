//! Facts about the dead kernel: where its variables lie, how its structures are laid out, what its
//! numbers are.
//!
//! Whoever needs a fact asks a [`Facts`]. VMCOREINFO ([`Info`](crate::vmcoreinfo::Info)) is the
//! first provider. Others go behind it with a [`Chain`]: they fill its gaps, and each [`Fact`] says where
//! it comes from. The second one is the kernel's own description of itself in its memory, `KernelFacts`
//! of `kernel::symbols` (feature `symbols`).
//!
//! # How to add a provider
//! 1. A type with `impl Facts`: every method is required, so that none is forgotten. `None` where
//!    it does not know.
//! 2. A [`FactSource`] for it.
//! 3. `Chain(info, provider)` where the kernel's facts are put together.
//!
//! Where it matters to a rule that VMCOREINFO does *not* have a key (older kernels lack what newer
//! ones export), the rule compares versions as well; see [`kernel::page`](crate::kernel::page).

use crate::units::PageShift;
use crate::wire::vmcoreinfo::Kind;
use core::fmt;

/// Who provided a fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FactSource {
    /// The VMCOREINFO note of the vmcore.
    Vmcoreinfo,
    /// A file in the form of VMCOREINFO, given beside the vmcore.
    VmcoreinfoFile,
    /// The kernel's table of its own symbols, in its memory.
    Kallsyms,
    /// The kernel's types, in its memory.
    Btf,
    /// The pages on the kernel's free lists.
    FreeLists,
    /// A provider outside of this crate.
    Other,
}

impl fmt::Display for FactSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FactSource::Vmcoreinfo => "VMCOREINFO",
            FactSource::VmcoreinfoFile => "VMCOREINFO file",
            FactSource::Kallsyms => "kallsyms",
            FactSource::Btf => "BTF",
            FactSource::FreeLists => "the free lists",
            FactSource::Other => "another provider",
        })
    }
}

/// A value and who provided it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fact<T> {
    /// The value.
    pub value: T,
    /// Who provided it.
    pub source: FactSource,
}

/// Answers questions about the dead kernel.
pub trait Facts {
    /// The value of a fact by the name that VMCOREINFO has for it: `OFFSET(page.flags)` is [`Kind::Offset`] and
    /// `page.flags`. The run-time virtual address of a symbol; bytes of a structure; bytes from the start of a structure
    /// to a member, which may be a path (`prb_desc_ring.head_id.counter`); elements of an array; a constant or a variable
    /// as bits, negative numbers in two's complement.
    fn fact(&self, kind: Kind, name: &str) -> Option<Fact<u64>>;

    /// What a line without parentheses says of the kernel: `CONFIG_X86_PAE` is `y` or not there.
    fn plain(&self, key: &str) -> Option<Fact<&[u8]>>;

    /// The kernel release, as `uname -r` prints it.
    fn release(&self) -> Option<Fact<&[u8]>>;

    /// log2 of the page size.
    fn page_shift(&self) -> Option<Fact<PageShift>>;

    /// How many bytes above its link-time address the kernel runs.
    fn kaslr_offset(&self) -> Option<Fact<u64>>;
}

/// What is asked for most.
impl dyn Facts + '_ {
    /// The value of a fact.
    pub fn get(&self, kind: Kind, name: &str) -> Option<u64> {
        self.fact(kind, name).map(|fact| fact.value)
    }

    /// The value of a fact that cannot be done without.
    pub fn need(&self, kind: Kind, name: &'static str) -> Result<u64, MissingKey> {
        self.get(kind, name).ok_or(MissingKey(kind, name))
    }

    /// A member's offset as an index.
    pub fn offset(&self, name: &str) -> Option<usize> {
        usize::try_from(self.get(Kind::Offset, name)?).ok()
    }

    /// Whether the kernel says that it was built with this option.
    pub fn is_configured(&self, option: &str) -> bool {
        self.plain(option).is_some_and(|line| line.value == b"y")
    }

    /// The release, as far as versions are compared.
    pub fn version(&self) -> Option<KernelVersion> {
        KernelVersion::parse(self.release()?.value)
    }
}

/// Two providers: what the first does not know, the second is asked, if there is one.
#[derive(Clone, Copy)]
pub struct Chain<'f>(pub &'f dyn Facts, pub Option<&'f dyn Facts>);

impl Chain<'_> {
    /// The first answer.
    fn ask<'s, T>(&'s self, about: impl Fn(&'s dyn Facts) -> Option<T>) -> Option<T> {
        about(self.0).or_else(|| about(self.1?))
    }
}

impl Facts for Chain<'_> {
    fn fact(&self, kind: Kind, name: &str) -> Option<Fact<u64>> {
        self.ask(|facts| facts.fact(kind, name))
    }

    fn plain(&self, key: &str) -> Option<Fact<&[u8]>> {
        self.ask(|facts| facts.plain(key))
    }

    fn release(&self) -> Option<Fact<&[u8]>> {
        self.ask(|facts| facts.release())
    }

    fn page_shift(&self) -> Option<Fact<PageShift>> {
        self.ask(|facts| facts.page_shift())
    }

    fn kaslr_offset(&self) -> Option<Fact<u64>> {
        self.ask(|facts| facts.kaslr_offset())
    }
}

/// A fact about the kernel that no provider knows, by its key in VMCOREINFO (which lacks it, or has
/// it with a malformed value).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingKey(pub Kind, pub &'static str);

impl fmt::Display for MissingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}) is missing in VMCOREINFO", self.0.word(), self.1)?;
        // Layouts are held against each other.
        match self.0 {
            Kind::Offset | Kind::Size => f.write_str(", or invalid"),
            _ => Ok(()),
        }
    }
}

impl core::error::Error for MissingKey {}

/// A kernel release, as far as releases are compared: 6.1.0-37-cloud is 6, 1, 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KernelVersion(pub u32, pub u32, pub u32);

impl KernelVersion {
    /// Parses the start of a release string; a missing part is 0.
    pub fn parse(release: &[u8]) -> Option<KernelVersion> {
        let mut parts = release.split(|b| !b.is_ascii_digit()).map(|digits| {
            digits.iter().try_fold(0u32, |n, d| {
                n.checked_mul(10)?.checked_add(u32::from(d.wrapping_sub(b'0')))
            })
        });
        let major =
            parts.next().flatten().filter(|_| release.first().is_some_and(u8::is_ascii_digit))?;
        Some(KernelVersion(
            major,
            parts.next().flatten().unwrap_or(0),
            parts.next().flatten().unwrap_or(0),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcoreinfo::Info;

    /// A provider that knows a few things, made by hand.
    struct ByHand;

    fn other<T>(value: T) -> Option<Fact<T>> {
        Some(Fact { value, source: FactSource::Other })
    }

    impl Facts for ByHand {
        fn fact(&self, kind: Kind, name: &str) -> Option<Fact<u64>> {
            let value = match (kind, name) {
                (Kind::Symbol, "prb") => 0xffff_0000_0000_1000,
                (Kind::Size, "page") => 56,
                (Kind::Offset, "page.lru") => 8,
                (Kind::Offset, "prb_desc_ring.head.counter") => 24,
                (Kind::Length, "zone.free_area") => 11,
                (Kind::Number, "PG_lru") => 5,
                _ => return None,
            };
            other(value)
        }
        fn plain(&self, key: &str) -> Option<Fact<&[u8]>> {
            (key == "CONFIG_X86_PAE").then(|| other(&b"y"[..])).flatten()
        }
        fn release(&self) -> Option<Fact<&[u8]>> {
            other(b"6.12.0")
        }
        fn page_shift(&self) -> Option<Fact<PageShift>> {
            other(PageShift::FOUR_KIB)
        }
        fn kaslr_offset(&self) -> Option<Fact<u64>> {
            other(0x1000)
        }
    }

    #[test]
    fn what_the_first_does_not_know_the_second_is_asked() {
        let info = Info::new(Some(b"SIZE(page)=64\nOSRELEASE=6.1.0\nOFFSET(page.lru)=?\n"), None);
        let both = Chain(&info, Some(&ByHand));
        let note = FactSource::Vmcoreinfo;
        assert_eq!(both.fact(Kind::Size, "page"), Some(Fact { value: 64, source: note }));
        assert_eq!(both.release(), Some(Fact { value: &b"6.1.0"[..], source: note }));
        assert_eq!(both.fact(Kind::Symbol, "prb"), other(0xffff_0000_0000_1000));
        assert_eq!(both.fact(Kind::Offset, "page.lru"), other(8));
        assert_eq!(both.fact(Kind::Length, "zone.free_area"), other(11));
        assert_eq!(both.fact(Kind::Number, "PG_lru"), other(5));
        assert_eq!(both.plain("CONFIG_X86_PAE"), other(&b"y"[..]));
        assert_eq!(both.plain("OSRELEASE").unwrap().value, b"6.1.0");
        assert_eq!(both.page_shift(), other(PageShift::FOUR_KIB));
        assert_eq!(both.kaslr_offset(), other(0x1000));
        assert_eq!(both.fact(Kind::Symbol, "log_buf"), None);
        assert_eq!(Chain(&info, None).fact(Kind::Symbol, "prb"), None);
        // A chain is a provider: what neither of these knows, a third may.
        let third = Info::new(None, Some(b"SYMBOL(log_buf)=ff00\nSIZE(page)=1\n"));
        let three = Chain(&both, Some(&third));
        let file = FactSource::VmcoreinfoFile;
        let found = three.fact(Kind::Symbol, "log_buf");
        assert_eq!(found, Some(Fact { value: 0xff00, source: file }));
        assert_eq!(three.fact(Kind::Size, "page"), Some(Fact { value: 64, source: note }));
    }

    #[test]
    fn facts_are_asked_for_by_their_names_in_vmcoreinfo() {
        let facts: &dyn Facts = &ByHand;
        assert_eq!(facts.get(Kind::Symbol, "prb"), Some(0xffff_0000_0000_1000));
        assert_eq!(facts.get(Kind::Size, "page"), Some(56));
        assert_eq!(facts.get(Kind::Length, "zone.free_area"), Some(11));
        assert_eq!(facts.get(Kind::Number, "PG_lru"), Some(5));
        assert_eq!(facts.offset("page.lru"), Some(8));
        assert_eq!(facts.offset("prb_desc_ring.head.counter"), Some(24));
        assert_eq!(facts.offset("page"), None);
        assert_eq!(facts.version(), Some(KernelVersion(6, 12, 0)));
        assert!(facts.is_configured("CONFIG_X86_PAE") && !facts.is_configured("CONFIG_ARM_LPAE"));
        let text = Info::new(Some(b"CONFIG_X86_PAE=n\nCONFIG_ARM_LPAE=y\n"), None);
        let facts: &dyn Facts = &text;
        assert!(!facts.is_configured("CONFIG_X86_PAE") && facts.is_configured("CONFIG_ARM_LPAE"));
        let facts: &dyn Facts = &ByHand;
        let missing = facts.need(Kind::Offset, "page.flags").unwrap_err();
        assert_eq!(missing, MissingKey(Kind::Offset, "page.flags"));
        assert_eq!(
            std::string::ToString::to_string(&missing),
            "OFFSET(page.flags) is missing in VMCOREINFO, or invalid"
        );
    }

    #[test]
    fn releases_compare_by_their_numbers() {
        assert_eq!(KernelVersion::parse(b"6.1.0-37-cloud-amd64"), Some(KernelVersion(6, 1, 0)));
        assert_eq!(KernelVersion::parse(b"7.1-rc3"), Some(KernelVersion(7, 1, 0)));
        assert_eq!(KernelVersion::parse(b"2.6.32-431.el6"), Some(KernelVersion(2, 6, 32)));
        assert_eq!(KernelVersion::parse(b""), None);
        assert_eq!(KernelVersion::parse(b"x.1"), None);
        assert_eq!(KernelVersion::parse(b"99999999999.1"), None);
        assert!(
            KernelVersion(2, 6, 39) < KernelVersion(3, 0, 0)
                && KernelVersion(6, 9, 0) < KernelVersion(6, 10, 0)
        );
    }
}
