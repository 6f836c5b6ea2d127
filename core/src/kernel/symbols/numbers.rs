//! What the numbers of symbols mean, and what proves it.

use super::names::{BLOCK, Expanded, Filter, Names, Wanted};
use super::{Failed, Reader, SymbolsError, limits};
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

/// Symbols that kallsyms and VMCOREINFO have under the same name. Not `mem_section` and `vmemmap`: for
/// those VMCOREINFO has what the variable holds.
pub static KNOWN: [&str; 10] = [
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

/// Symbols that are looked for. Those that are known from elsewhere show what the numbers mean.
pub(super) struct Proof<'w, 'n> {
    pub(super) facts: &'w dyn Facts,
    pub(super) wanted: &'w mut [Wanted<'n>],
    pub(super) banner: Option<u32>,
}

impl Proof<'_, '_> {
    /// Forgets what was seen, and lets the names pass that are looked for.
    #[inline]
    pub(super) fn begin(&mut self) -> Filter {
        let mut filter = Filter::new();
        self.banner = None;
        filter.add(BANNER.as_bytes());
        for wanted in &mut *self.wanted {
            *wanted = Wanted::new(wanted.name);
            filter.add(wanted.name.as_bytes());
        }
        filter
    }

    /// Notes the number of a symbol.
    #[inline]
    pub(super) fn see(&mut self, index: u32, name: &[u8]) {
        for wanted in self.wanted.iter_mut().filter(|wanted| wanted.name.as_bytes() == name) {
            wanted.index = wanted.index.or(Some(index));
            wanted.count += 1;
        }
        if name == BANNER.as_bytes() {
            self.banner = self.banner.or(Some(index));
        }
    }

    /// Whether numbers that are understood so are right: all known symbols agree, or, where none is known, the
    /// banner is where it shall be: `None`. Else how many agree, and one that does not.
    #[inline]
    pub(super) fn check(
        &self,
        reader: &mut Reader<'_>,
        numbers: &Numbers,
    ) -> Option<(u32, &'static str)> {
        let (mut agreed, mut wrong) = (0, None);
        for name in &KNOWN {
            // One of several of a name may be another.
            let mut alone =
                self.wanted.iter().filter(|wanted| wanted.name == *name && wanted.count == 1);
            if let Some(index) = alone.next().and_then(|wanted| wanted.index)
                && let Some(known) = self.facts.get(Kind::Symbol, name)
            {
                match numbers.address(reader, index) {
                    Ok(address) if address == known => agreed += 1,
                    _ => wrong = Some(*name),
                }
            }
        }
        // Where one alone is known, the banner must agree as well; tables of functions alone (without
        // `CONFIG_KALLSYMS_ALL`) have none.
        let enough = agreed >= 2 || agreed == 1 && self.banner.is_none();
        if wrong.is_none() && (enough || self.is_banner(reader, numbers)) {
            return None;
        }
        Some((agreed, wrong.unwrap_or(BANNER)))
    }

    /// Whether the banner is where these numbers have it, and names the release.
    #[inline]
    fn is_banner(&self, reader: &mut Reader<'_>, numbers: &Numbers) -> bool {
        let release = self.facts.release().map_or(&[][..], |release| release.value);
        let mut text = [0; BANNER_TEXT.len() + 64];
        let len = BANNER_TEXT.len() + release.len();
        let (Some(index), Some(text)) = (self.banner, text.get_mut(..len)) else { return false };
        let Ok(at) = numbers.address(reader, index) else { return false };
        reader.bytes(BANNER, at, text).is_ok() && text.strip_prefix(BANNER_TEXT) == Some(release)
    }
}

/// The one way to understand the numbers that agrees with what is known.
#[inline]
pub(super) fn choose(
    reader: &mut Reader<'_>,
    numbers: &[Numbers],
    proof: &Proof<'_, '_>,
) -> Result<Numbers, Failed> {
    let mut nearest = (0, BANNER);
    for numbers in numbers {
        let Some(other) = proof.check(reader, numbers) else { return Ok(*numbers) };
        if other.0 >= nearest.0 {
            nearest = other;
        }
    }
    Err(reader.fail(SymbolsError::Unproven(nearest.1)))
}

/// Reads all names, shows the proof those that it looks for, looks for the markers behind them, and holds the two
/// against each other. Returns where the markers are.
#[inline]
pub(super) fn finish(
    reader: &mut Reader<'_>,
    names: &Names,
    proof: &mut Proof<'_, '_>,
) -> Result<u64, Failed> {
    if names.count == 0 || names.count > limits::SYMBOLS {
        return Err(reader.malformed("kallsyms_num_syms", names.at));
    }
    let filter = proof.begin();
    let (mut second, mut last) = (None, 0);
    let (mut end, mut name) = (0, Expanded::new());
    for index in 0..names.count {
        if index == BLOCK {
            second = Some(end);
        }
        if index % BLOCK == 0 {
            last = end;
        }
        let (next, passes) = names.pass(reader, end, &filter, &mut name)?;
        if passes {
            proof.see(index, name.name());
        }
        end = next;
    }
    let end = names.at.wrapping_add(end);
    let blocks = u64::from(names.count.div_ceil(BLOCK));
    for align in [4, 8] {
        let at = end.wrapping_add(align - 1) & !(align - 1);
        let marker = |reader: &mut Reader<'_>, index: u64| {
            reader.u32("kallsyms_markers", at.wrapping_add(4 * index)).map(u64::from)
        };
        if marker(reader, 0)? == 0
            && second.map_or(Ok(true), |offset| Ok(marker(reader, 1)? == offset))?
            && marker(reader, blocks - 1)? == last
        {
            return Ok(at);
        }
    }
    Err(reader.malformed("kallsyms_markers", end))
}
