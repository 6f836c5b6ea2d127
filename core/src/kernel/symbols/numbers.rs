//! What the numbers of symbols mean, and what proves it.

use super::names::Filter;
use super::{Failed, Reader, SymbolsError};
use crate::facts::Facts;
use crate::wire::vmcoreinfo::Kind;

/// What the number of a symbol means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// It is the address (kernels without `CONFIG_KALLSYMS_BASE_RELATIVE`, up to 6.10).
    Absolute,
    /// From 0 on it is the address, of a per-CPU variable; below, it counts from the base, and has one added
    /// (x86_64 up to 6.14, `CONFIG_KALLSYMS_ABSOLUTE_PERCPU`).
    PerCpu,
    /// It is added to the base (other machines up to 6.19, and x86_64 from 6.15 on).
    Base,
    /// It is added to the address where it stands (7.0 and later).
    Place,
}

/// Where numbers are, and what they mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Numbers {
    /// Virtual address of the first.
    pub(super) at: u64,
    /// `kallsyms_relative_base`.
    pub(super) base: u64,
    pub(super) rule: Rule,
}

impl Numbers {
    /// The address of symbol `index`.
    #[inline]
    pub(super) fn address(&self, reader: &mut Reader<'_>, index: u32) -> Result<u64, Failed> {
        const WHAT: &str = "kallsyms_offsets";
        if self.rule == Rule::Absolute {
            let size = reader.word_size().bytes() as u64;
            return reader.word(WHAT, self.at.wrapping_add(size * u64::from(index)));
        }
        let at = self.at.wrapping_add(4 * u64::from(index));
        let raw = reader.u32(WHAT, at)?;
        let signed = i64::from(raw as i32);
        Ok(match self.rule {
            Rule::PerCpu if signed >= 0 => signed as u64,
            Rule::PerCpu => self.base.wrapping_sub(1).wrapping_sub(signed as u64),
            Rule::Base => self.base.wrapping_add(raw.into()),
            Rule::Place | Rule::Absolute => at.wrapping_add(signed as u64),
        })
    }
}

/// A symbol that is known from elsewhere, by which the numbers are understood.
#[derive(Clone, Copy)]
pub(super) struct Known {
    name: &'static str,
    address: u64,
    index: Option<u32>,
}

/// Symbols that kallsyms and VMCOREINFO have under the same name. Not `mem_section` and `vmemmap`: for
/// those VMCOREINFO has what the variable holds.
const KNOWN: [&str; 10] = [
    "_stext",
    "swapper_pg_dir",
    "init_top_pgt",
    "init_level4_pgt",
    "init_uts_ns",
    "node_online_map",
    "node_data",
    "prb",
    "clear_seq",
    "log_buf",
];

/// What the kernel says of itself when it boots: proves symbols where VMCOREINFO has none.
const BANNER: &str = "linux_banner";
/// What that begins with; then comes the release.
const BANNER_TEXT: &[u8] = b"Linux version ";

/// All that is known from elsewhere.
pub(super) struct Proof {
    known: heapless::Vec<Known, { KNOWN.len() }>,
    banner: Option<u32>,
    /// The release, without what may follow it.
    release: heapless::Vec<u8, 64>,
}

impl Proof {
    #[inline]
    pub(super) fn new(facts: &dyn Facts) -> Proof {
        let known = KNOWN.iter().filter_map(|name| {
            let address = facts.get(Kind::Symbol, name)?;
            Some(Known { name, address, index: None })
        });
        let release = facts.release().map_or(&[][..], |release| release.value);
        let release = release.iter().copied().take(64).collect();
        Proof { known: known.collect(), banner: None, release }
    }

    /// Lets the names pass that are looked for.
    #[inline]
    pub(super) fn filter(&self) -> Filter {
        let mut filter = Filter::new();
        let known = self.known.iter().map(|known| known.name);
        known.chain([BANNER]).for_each(|name| filter.add(name.as_bytes()));
        filter
    }

    /// Notes the number of a symbol.
    #[inline]
    pub(super) fn see(&mut self, index: u32, name: &[u8]) {
        for known in &mut self.known {
            if known.index.is_none() && known.name.as_bytes() == name {
                known.index = Some(index);
            }
        }
        if self.banner.is_none() && name == BANNER.as_bytes() {
            self.banner = Some(index);
        }
    }

    /// Whether numbers that are understood so are right: all known symbols agree, or, where none is known, the
    /// banner is where it shall be. The error has how many agree, and names one that does not.
    #[inline]
    pub(super) fn check(
        &self,
        reader: &mut Reader<'_>,
        numbers: &Numbers,
    ) -> Result<(), (u32, &'static str)> {
        let (mut agreed, mut wrong) = (0, None);
        for known in &self.known {
            if let Some(index) = known.index {
                match numbers.address(reader, index) {
                    Ok(address) if address == known.address => agreed += 1,
                    _ => wrong = wrong.or(Some(known.name)),
                }
            }
        }
        // Where one alone is known, the banner must agree as well; tables of functions alone (without
        // `CONFIG_KALLSYMS_ALL`) have none.
        let enough = agreed >= 2 || agreed == 1 && self.banner.is_none();
        match wrong {
            None if enough || self.is_banner(reader, numbers) => Ok(()),
            wrong => Err((agreed, wrong.unwrap_or(BANNER))),
        }
    }

    /// Whether the banner is where these numbers have it, and names the release.
    #[inline]
    fn is_banner(&self, reader: &mut Reader<'_>, numbers: &Numbers) -> bool {
        let mut text = [0; BANNER_TEXT.len() + 64];
        let len = BANNER_TEXT.len() + self.release.len();
        let (Some(index), Some(text)) = (self.banner, text.get_mut(..len)) else { return false };
        let Ok(at) = numbers.address(reader, index) else { return false };
        reader.bytes(BANNER, at, text).is_ok()
            && text.strip_prefix(BANNER_TEXT) == Some(&self.release[..])
    }
}

/// The one way to understand the numbers that agrees with what is known.
#[inline]
pub(super) fn choose(
    reader: &mut Reader<'_>,
    numbers: &[Numbers],
    proof: &Proof,
) -> Result<Numbers, Failed> {
    let mut nearest = (0, BANNER);
    for numbers in numbers {
        match proof.check(reader, numbers) {
            Ok(()) => return Ok(*numbers),
            Err(other) if other.0 >= nearest.0 => nearest = other,
            Err(_) => {}
        }
    }
    Err(reader.fail(SymbolsError::Unproven(nearest.1)))
}
