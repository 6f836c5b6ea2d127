//! kallsyms: the kernel's table of its own symbols, with names that are compressed.
//!
//! A name is a length and as many tokens; a token stands for a string. Names stand in the order of addresses,
//! and each address is a 32-bit number, whose meaning changed over the years ([`Rule`]). Linux 6.0 and later
//! say in VMCOREINFO where the tables are; in others they are found by their shape.

use super::find::{self, Parts};
use super::names::{BLOCK, Expanded, Filter, Names};
use super::numbers::{Numbers, Proof, choose, finish};
use super::tokens::Tokens;
use super::{Failed, Image, Reader, SymbolsError};
use crate::facts::{Facts, KernelVersion};
use crate::wire::vmcoreinfo::Kind;

pub use super::limits::NAME;
pub use super::names::Wanted;
pub use super::numbers::{KNOWN, Rule};

/// A symbol at, or in front of, an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// Its number.
    pub index: u32,
    /// Its address.
    pub address: u64,
    /// How far the address that was asked for is behind it.
    pub offset: u64,
    /// Bytes up to the next symbol; `None` for the last one.
    pub size: Option<u64>,
}

/// How the tables were found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundBy {
    /// By their keys in VMCOREINFO.
    Keys,
    /// By their shape, in the kernel's image.
    Shape,
}

/// The symbols of a kernel.
pub struct Kallsyms {
    names: Names,
    numbers: Numbers,
    /// Virtual address of the markers.
    markers: u64,
    found_by: FoundBy,
}

impl Kallsyms {
    /// Finds the tables, by `SYMBOL(kallsyms_names)` and its like, or by their shape in `image`, and holds
    /// them against what else is known. Reads all names once: 1 to 6 MB; the search reads up to 30 MB more.
    #[inline]
    pub fn find(
        reader: &mut Reader<'_>,
        facts: &dyn Facts,
        image: Option<&Image>,
    ) -> Result<Kallsyms, Failed> {
        Kallsyms::find_with(reader, facts, image, &mut KNOWN.map(Wanted::new))
    }

    /// The same; looks for names in the same pass. What of [`KNOWN`] is among them proves what is found. A name that several
    /// symbols have is ambiguous, also where all of them have one address.
    #[inline]
    pub fn find_with(
        reader: &mut Reader<'_>,
        facts: &dyn Facts,
        image: Option<&Image>,
        wanted: &mut [Wanted<'_>],
    ) -> Result<Kallsyms, Failed> {
        let wide = facts.version().map(|version| version >= KernelVersion(6, 1, 0));
        let mut proof = Proof { facts, wanted, banner: None };
        let found = match (Kallsyms::by_keys(reader, &mut proof, wide), image) {
            (Ok(Some(found)), _) => found,
            (_, Some(image)) => {
                let Parts { names, numbers, markers } =
                    find::by_shape(reader, image, &mut proof, wide)?;
                Kallsyms { names, numbers, markers, found_by: FoundBy::Shape }
            }
            (Ok(None), None) => return Err(reader.fail(SymbolsError::NoImage)),
            (Err(Failed), None) => return Err(Failed),
        };
        for wanted in wanted {
            wanted.ambiguous = wanted.count > 1;
            if let Some(index) = wanted.index {
                wanted.address = found.address(reader, index)?;
            }
        }
        Ok(found)
    }

    /// `None` where a key is missing.
    #[inline]
    fn by_keys(
        reader: &mut Reader<'_>,
        proof: &mut Proof<'_, '_>,
        wide: Option<bool>,
    ) -> Result<Option<Kallsyms>, Failed> {
        let facts = proof.facts;
        let key = |name| facts.get(Kind::Symbol, name);
        let keys = (
            key("kallsyms_names"),
            key("kallsyms_num_syms"),
            key("kallsyms_token_table"),
            key("kallsyms_token_index"),
        );
        let (Some(names), Some(count), Some(table), Some(index)) = keys else { return Ok(None) };
        let mut numbers = heapless::Vec::<Numbers, 3>::new();
        if let Some(at) = key("kallsyms_offsets") {
            if let Some(base) = key("kallsyms_relative_base") {
                let base = reader.word("kallsyms_relative_base", base)?;
                numbers.extend([Rule::PerCpu, Rule::Base].map(|rule| Numbers { at, base, rule }));
            }
            numbers.extend([Numbers { at, base: 0, rule: Rule::Place }]);
        }
        if let Some(at) = key("kallsyms_addresses") {
            let rule = Rule::Absolute;
            numbers.clear();
            numbers.extend([Numbers { at, base: 0, rule }]);
        }
        if numbers.is_empty() {
            return Ok(None);
        }
        let count = reader.u32("kallsyms_num_syms", count)?;
        let (tokens, _) = Tokens::find(reader, table, Some(index))?;
        let mut names = Names { at: names, count, tokens, wide: wide.unwrap_or(true) };
        // Without a release, and where a vendor's kernel has what its version has not, lengths are tried both
        // ways: the markers, which follow the names, show which is right.
        let mut found = finish(reader, &names, proof);
        if found.is_err() {
            let error = reader.error();
            names.wide = !names.wide;
            found = finish(reader, &names, proof).map_err(|Failed| reader.fail(error));
        }
        let markers = found?;
        let numbers = choose(reader, &numbers, proof)?;
        Ok(Some(Kallsyms { names, numbers, markers, found_by: FoundBy::Keys }))
    }

    /// Number of symbols.
    #[inline]
    pub fn len(&self) -> u32 {
        self.names.count
    }

    /// Whether there are none: never so.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.names.count == 0
    }

    /// What the numbers of symbols mean.
    #[inline]
    pub fn rule(&self) -> Rule {
        self.numbers.rule
    }

    /// How the tables were found.
    #[inline]
    pub fn found_by(&self) -> FoundBy {
        self.found_by
    }

    /// The address of a symbol.
    #[inline]
    pub fn address(&self, reader: &mut Reader<'_>, index: u32) -> Result<u64, Failed> {
        self.numbers.address(reader, index)
    }

    /// Calls `each` with the number, the letter of the type, and the name of every symbol, in the order of
    /// addresses, until it says that it has seen enough.
    #[inline]
    pub fn each(
        &self,
        reader: &mut Reader<'_>,
        each: &mut dyn FnMut(u32, u8, &[u8]) -> bool,
    ) -> Result<(), Failed> {
        self.names.walk(reader, &mut |index, _, name| each(index, name.letter(), name.name()))?;
        Ok(())
    }

    /// Looks for names, in one pass over all.
    #[inline]
    pub fn look_up(
        &self,
        reader: &mut Reader<'_>,
        wanted: &mut [Wanted<'_>],
    ) -> Result<(), Failed> {
        let mut filter = Filter::new();
        wanted.iter().for_each(|wanted| filter.add(wanted.name.as_bytes()));
        let mut failed = false;
        let (mut offset, mut name) = (0, Expanded::new());
        for index in 0..self.names.count {
            let (next, passes) = self.names.pass(reader, offset, &filter, &mut name)?;
            offset = next;
            if !passes {
                continue;
            }
            for wanted in wanted.iter_mut().filter(|w| w.name.as_bytes() == name.name()) {
                match self.numbers.address(reader, index) {
                    Ok(address) if wanted.count == 0 => {
                        *wanted = Wanted { index: Some(index), count: 1, address, ..*wanted };
                    }
                    Ok(address) => {
                        wanted.count += 1;
                        wanted.ambiguous |= address != wanted.address;
                    }
                    Err(Failed) => failed = true,
                }
            }
        }
        if failed { Err(Failed) } else { Ok(()) }
    }

    /// The symbol that an address is in, or behind; of several with one address, the first. `None` below the
    /// first symbol.
    #[inline]
    pub fn at(&self, reader: &mut Reader<'_>, address: u64) -> Result<Option<Symbol>, Failed> {
        // Per-CPU variables come first, and their addresses are the lowest.
        let (mut low, mut high) = (0, self.names.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.address(reader, middle)? <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(last) = low.checked_sub(1) else { return Ok(None) };
        let start = self.address(reader, last)?;
        let mut index = last;
        while let Some(before) = index.checked_sub(1) {
            if last - before > BLOCK || self.address(reader, before)? != start {
                break;
            }
            index = before;
        }
        let next = if low < self.names.count { Some(self.address(reader, low)?) } else { None };
        let size = next.map(|next| next.wrapping_sub(start));
        Ok(Some(Symbol { index, address: start, offset: address.wrapping_sub(start), size }))
    }

    /// Calls `show` with the letter and the name of a symbol. Reads a marker and 256 names at most.
    #[inline]
    pub fn with_name<T>(
        &self,
        reader: &mut Reader<'_>,
        index: u32,
        show: impl FnOnce(u8, &[u8]) -> T,
    ) -> Result<T, Failed> {
        let marker = self.markers.wrapping_add(4 * u64::from(index / BLOCK));
        let mut offset = u64::from(reader.u32("kallsyms_markers", marker)?);
        for _ in 0..index % BLOCK {
            offset = self.names.skip(reader, offset)?;
        }
        let mut name = Expanded::new();
        self.names.expand(reader, offset, &mut name)?;
        Ok(show(name.letter(), name.name()))
    }
}
