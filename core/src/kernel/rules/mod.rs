//! Rules: which pages stay and which go, beside their classes, by the kernel's symbols and types.
//!
//! A rule begins at a variable and goes on, step by step, over members, pointers, arrays and lists, to slab caches,
//! files, `struct page`s, or memory. `core/docs/rules.md` has the language.
//!
//! # Bounds
//! A rule looks at a million objects; all together have 160 names of types and members and 40 of variables. A list
//! that does not lead back to its head, a pointer to what is not in the dump, a name that the kernel does not know:
//! a rule that drops pages then drops none, one that keeps pages keeps what it reached until then.

mod pages;
#[cfg(test)]
mod tests;
mod text;
mod walk;

pub use pages::{OWNERS, Of, Owner, PageRules, Runs};
pub use text::{Action, Count, LENGTH, Rule, STEPS, Step, SyntaxError, Value};
pub use walk::{PageArray, RuleError, Why};

use crate::facts::Facts;
use crate::kernel::symbols::{
    Btf, Failed, Image, Kallsyms, Members, Reader, SymbolsError, Wanted, Words,
};
use crate::units::PageShift;
use core::fmt;
use walk::{NAMES, Walker};

/// Variables and functions of all rules together.
const SYMBOLS: usize = 42;

/// A rule, as it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Given<'t> {
    /// Whether its pages stay; else they go.
    pub keep: bool,
    /// What it says.
    pub text: &'t str,
}

impl<'t> Given<'t> {
    /// Reads a line of a file of rules: `keep` or `drop`, and the rule; `None` where it is empty or a remark (`#`).
    ///
    /// # Errors
    /// The first word that is not what belongs there.
    pub fn line(line: &'t str) -> Result<Option<Given<'t>>, SyntaxError<'t>> {
        let words = line.trim_start();
        if words.is_empty() || words.starts_with('#') {
            return Ok(None);
        }
        let (word, text) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
        let keep = match word {
            "keep" => true,
            "drop" => false,
            _ => return Err(SyntaxError { column: 1, word, wants: "keep or drop, and a rule" }),
        };
        let behind = line.len() - text.len();
        let moved = |error: SyntaxError<'t>| SyntaxError { column: error.column + behind, ..error };
        Rule::parse(text).map(|_| Some(Given { keep, text })).map_err(moved)
    }
}

/// Why a rule could not be followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unresolved<'t> {
    /// It cannot be read.
    Syntax(SyntaxError<'t>),
    /// Something on its way is not as it says.
    Rule(RuleError<'t>),
    /// The kernel's symbols or types cannot be used.
    Tables(SymbolsError),
    /// All rules together have too many names.
    Names,
}

impl fmt::Display for Unresolved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unresolved::Syntax(error) => error.fmt(f),
            Unresolved::Rule(error) => error.fmt(f),
            Unresolved::Tables(error) => error.fmt(f),
            Unresolved::Names => {
                f.write_str("there are too many names in all rules: use fewer rules")
            }
        }
    }
}

impl core::error::Error for Unresolved<'_> {}

/// Names that rules do not have to say.
const OWN: [&str; 6] = ["kmem_cache", "address_space", "page", "folio", "slab", "slab_cache"];

/// Follows all rules. `tell` hears of each, by its place among them, how many objects it reached, or why none.
pub fn follow<'t>(
    reader: &mut Reader<'_>,
    facts: &dyn Facts,
    image: Option<&Image>,
    (pages, shift): (Option<PageArray>, PageShift),
    rules: &[Given<'t>],
    found: &mut PageRules<'_>,
    tell: &mut dyn FnMut(usize, Result<u32, Unresolved<'t>>),
) {
    let (mut words, mut room) = (Words::<NAMES>::new(), true);
    let mut symbols = heapless::Vec::<Wanted<'t>, SYMBOLS>::new();
    for name in OWN {
        room &= words.add(name);
    }
    let mut want = |name: &'t str| {
        symbols.iter().any(|wanted| wanted.name == name) || symbols.push(Wanted::new(name)).is_ok()
    };
    room &= want("__start_BTF") && want("__stop_BTF");
    for given in rules {
        // One that cannot be read is told below.
        let Ok(rule) = Rule::parse(given.text) else { continue };
        rule.paths(&mut |path| room &= words.add_path(path));
        rule.symbols(&mut |name| room &= want(name));
    }
    let mut index = [0; 1024];
    let known = if room {
        let known = look_up(reader, facts, image, &mut words, &mut symbols, &mut index);
        known.map_err(|Failed| Unresolved::Tables(reader.error()))
    } else {
        Err(Unresolved::Names)
    };
    let (kallsyms, btf, members) = match known {
        Ok(known) => known,
        Err(error) => return (0..rules.len()).for_each(|index| tell(index, Err(error))),
    };
    for structure in ["slab", "page"] {
        let member = members.member(reader, &btf, &words, structure, "slab_cache").ok().flatten();
        found.slab_cache = found.slab_cache.or(member.map(|member| member.offset));
    }
    let mut walker = Walker {
        reader,
        kallsyms: &kallsyms,
        btf: &btf,
        words: &words,
        members: &members,
        symbols: &symbols,
        pages,
        shift,
        looked_at: 0,
    };
    for (index, given) in rules.iter().enumerate() {
        let done = match Rule::parse(given.text) {
            Ok(rule) => walker.follow(&rule, given.keep, found).map_err(Unresolved::Rule),
            Err(error) => Err(Unresolved::Syntax(error)),
        };
        tell(index, done);
    }
}

fn look_up<'i>(
    reader: &mut Reader<'_>,
    facts: &dyn Facts,
    image: Option<&Image>,
    words: &mut Words<'_, NAMES>,
    symbols: &mut [Wanted<'_>],
    index: &'i mut [u32],
) -> Result<(Kallsyms, Btf<'i>, Members<64>), Failed> {
    let kallsyms = Kallsyms::find(reader, facts, image)?;
    kallsyms.look_up(reader, symbols)?;
    let address = |name| symbols.iter().find(|wanted| wanted.name == name)?.unique();
    let (start, end) = (address("__start_BTF"), address("__stop_BTF"));
    let (start, end) = start.zip(end).ok_or_else(|| reader.not_found("types (BTF)"))?;
    let btf = Btf::load(reader, start, end, index)?;
    btf.find_words(reader, words)?;
    let members = Members::find(reader, &btf, words, &mut |_, _, _| ())?;
    Ok((kallsyms, btf, members))
}
