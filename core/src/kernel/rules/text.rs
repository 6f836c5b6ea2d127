//! A rule as it is written: words, and what they mean.

use core::fmt;
use heapless::Vec;

/// Steps of a rule at most.
pub const STEPS: usize = 16;
/// Bytes of a rule at most.
pub const LENGTH: usize = 512;

/// What becomes of what a rule reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Pages of these slab caches (`struct kmem_cache`).
    Slab,
    /// Pages of the page cache that belong to these (`struct address_space`).
    Cache,
    /// The pages of these `struct page`s.
    Pages,
    /// The pages in which this virtual memory is.
    Memory,
}

/// How many elements an array has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count<'t> {
    /// As its type says.
    OfType,
    /// So many.
    Number(u64),
    /// As many as this member says, of the structure that the path in front begins in.
    Member(&'t str),
    /// As many as this variable, of 32 bits, says.
    Symbol(&'t str),
}

/// What a member is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'t> {
    /// A number.
    Number(u64),
    /// A text.
    Text(&'t str),
    /// An address in the function or variable of this name.
    In(&'t str),
}

/// A step from one object to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'t> {
    /// To a member, and on to the elements of it where it is an array that has a count.
    Member {
        /// Its name, or a path of names.
        path: &'t str,
        /// Elements.
        count: Option<Count<'t>>,
    },
    /// From the head of a list to what is in it: structures of this name, by the member that links them.
    Each {
        /// The structure.
        of: &'t str,
        /// The member.
        link: &'t str,
    },
    /// Goes on where a member has a value, or where it has not.
    If {
        /// The member.
        path: &'t str,
        /// Whether it must be equal.
        equal: bool,
        /// The value.
        value: Value<'t>,
    },
}

/// A rule: from a variable on, step by step, to pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule<'t> {
    /// What is reached.
    pub action: Action,
    /// Where the variable stands, counted from 1.
    pub column: usize,
    /// The variable.
    pub symbol: &'t str,
    /// Its type.
    pub of: &'t str,
    /// Whether it is a pointer to that.
    pub pointer: bool,
    /// Its elements, where it has a count.
    pub count: Option<Count<'t>>,
    /// The steps, and the column of each.
    pub steps: Vec<(Step<'t>, usize), STEPS>,
}

/// Why a rule cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyntaxError<'t> {
    /// Where, counted from 1.
    pub column: usize,
    /// The word there.
    pub word: &'t str,
    /// What belongs there.
    pub wants: &'static str,
}

impl fmt::Display for SyntaxError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SyntaxError { column, word, wants } = self;
        match word.is_empty() {
            true => write!(f, "column {column}: it ends here, and wants {wants}"),
            false => write!(f, "column {column}: '{word}' is not {wants}"),
        }
    }
}

impl core::error::Error for SyntaxError<'_> {}

const WANTS_ACTION: &str = "one of slab, cache, pages, memory";
const WANTS_START: &str = "a variable and its type, as slab_caches:list_head";
const WANTS_STEP: &str = "a step: .member, each STRUCT.member, or if .member=VALUE";
const WANTS_EACH: &str = "a structure and the member that links it, as kmem_cache.list";
const WANTS_IF: &str = "a comparison, as .name=\"dentry\", .nr!=0 or .caller=&vmalloc_user";
const WANTS_COUNT: &str = "a count: [], [8], [.member] or [variable], and nothing behind it";
const WANTS_SHORT: &str = "a rule of 512 bytes and 16 steps at most: make two of it";
const WANTS_NAMES: &str = "names with a dot between two";

fn is_name(text: &str) -> bool {
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    rest && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

fn is_path(text: &str) -> bool {
    text.split('.').all(is_name)
}

/// A decimal number, or a hexadecimal one with 0x in front.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16));
    let step = |value: u64, byte: u8| {
        let digit = char::from(byte).to_digit(radix)?;
        value.checked_mul(radix.into())?.checked_add(digit.into())
    };
    digits.bytes().try_fold(0, step).filter(|_| !digits.is_empty())
}

/// The words of a rule, one after the other.
struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    /// The next word and its column; an empty one behind the last.
    fn next(&mut self) -> (&'t str, usize) {
        let rest = self.text.get(self.at..).unwrap_or("");
        let start = rest.len() - rest.trim_start().len();
        let rest = rest.get(start..).unwrap_or("");
        let (mut end, mut quoted) = (rest.len(), false);
        for (at, byte) in rest.bytes().enumerate() {
            quoted ^= byte == b'"';
            if byte.is_ascii_whitespace() && !quoted {
                end = at;
                break;
            }
        }
        let column = self.at + start + 1;
        self.at += start + end;
        (rest.get(..end).unwrap_or(""), column)
    }
}

/// Cuts the count off a word: `pages[.nr_pages]`.
fn counted<'t>(
    word: &'t str,
    column: usize,
) -> Result<(&'t str, Option<Count<'t>>), SyntaxError<'t>> {
    let Some(open) = word.bytes().position(|b| b == b'[') else { return Ok((word, None)) };
    let (path, rest) = word.split_at_checked(open).unwrap_or((word, ""));
    let inner = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let member = inner.and_then(|inner| inner.strip_prefix('.')).filter(|path| is_path(path));
    let count = match inner {
        Some("") => Some(Count::OfType),
        Some(name) if is_name(name) => Some(Count::Symbol(name)),
        Some(digits) => number(digits).map(Count::Number).or(member.map(Count::Member)),
        None => None,
    };
    let wrong = SyntaxError { column: column + open, word: rest, wants: WANTS_COUNT };
    count.map(|count| (path, Some(count))).ok_or(wrong)
}

impl<'t> Rule<'t> {
    /// Reads a rule.
    ///
    /// # Errors
    /// The first word that is not what belongs there.
    pub fn parse(text: &'t str) -> Result<Rule<'t>, SyntaxError<'t>> {
        let mut words = Words { text, at: 0 };
        let wrong = |(word, column): (&'t str, usize), wants| SyntaxError { column, word, wants };
        if text.len() > LENGTH {
            return Err(wrong(words.next(), WANTS_SHORT));
        }
        let first = words.next();
        let action = match first.0 {
            "slab" => Action::Slab,
            "cache" => Action::Cache,
            "pages" => Action::Pages,
            "memory" => Action::Memory,
            _ => return Err(wrong(first, WANTS_ACTION)),
        };
        let start = words.next();
        let (variable, count) = counted(start.0, start.1)?;
        let (symbol, of) = variable.split_once(':').ok_or(wrong(start, WANTS_START))?;
        let (of, pointer) = of.strip_suffix('*').map_or((of, false), |of| (of, true));
        if !is_name(symbol) || !is_name(of) {
            return Err(wrong(start, WANTS_START));
        }
        let column = start.1;
        let mut rule = Rule { action, column, symbol, of, pointer, count, steps: Vec::new() };
        loop {
            let at = words.next();
            let step = match at.0 {
                "" => return Ok(rule),
                "each" => {
                    let place = words.next();
                    let named = place.0.split_once('.').filter(|n| is_name(n.0) && is_path(n.1));
                    let (of, link) = named.ok_or(wrong(place, WANTS_EACH))?;
                    Step::Each { of, link }
                }
                "if" => {
                    let place = words.next();
                    comparison(place.0).ok_or(wrong(place, WANTS_IF))?
                }
                word => {
                    let path = word.strip_prefix('.').ok_or(wrong(at, WANTS_STEP))?;
                    let (path, count) = counted(path, at.1 + 1)?;
                    if !is_path(path) {
                        return Err(wrong(at, WANTS_NAMES));
                    }
                    Step::Member { path, count }
                }
            };
            rule.steps.push((step, at.1)).map_err(|_| wrong(at, WANTS_SHORT))?;
        }
    }

    /// Calls `each` with every name of a type or member, or a path of such.
    pub fn paths(&self, each: &mut dyn FnMut(&'t str)) {
        each(self.of);
        let member = |count: Option<Count<'t>>| match count {
            Some(Count::Member(path)) => path,
            _ => self.of,
        };
        for (step, _) in &self.steps {
            match *step {
                Step::Member { path, count } => {
                    each(path);
                    each(member(count));
                }
                Step::Each { of, link } => {
                    each(of);
                    each(link);
                }
                Step::If { path, .. } => each(path),
            }
        }
    }

    /// Calls `each` with the name of every variable and function.
    pub fn symbols(&self, each: &mut dyn FnMut(&'t str)) {
        each(self.symbol);
        let counts = self.steps.iter().map(|(step, _)| match *step {
            Step::Member { count, .. } => count,
            Step::If { value: Value::In(name), .. } => Some(Count::Symbol(name)),
            _ => None,
        });
        for count in counts.chain([self.count]) {
            if let Some(Count::Symbol(name)) = count {
                each(name);
            }
        }
    }
}

/// `.member=VALUE` or `.member!=VALUE`.
fn comparison(word: &str) -> Option<Step<'_>> {
    let (left, right) = word.split_once('=')?;
    let (left, equal) = left.strip_suffix('!').map_or((left, true), |left| (left, false));
    let path = left.strip_prefix('.').filter(|path| is_path(path))?;
    let text = right.strip_prefix('"').and_then(|right| right.strip_suffix('"'));
    let value = match (text, right.strip_prefix('&').filter(|name| is_name(name))) {
        (Some(text), _) => Value::Text(text),
        (None, Some(name)) => Value::In(name),
        (None, None) => Value::Number(number(right)?),
    };
    Some(Step::If { path, equal, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_part_of_a_rule_is_read() {
        let rule = Rule::parse(
            "memory vmap_nodes:vmap_node*[nr_vmap_nodes]  .busy.head each vmap_area.list .vm \
             if .caller=&bpf_jit_alloc if .flags!=0x20 if .name=\"a b\" .addr[.size]",
        )
        .unwrap();
        assert_eq!(
            (rule.action, rule.symbol, rule.of),
            (Action::Memory, "vmap_nodes", "vmap_node")
        );
        assert_eq!((rule.pointer, rule.count), (true, Some(Count::Symbol("nr_vmap_nodes"))));
        let steps: std::vec::Vec<_> = rule.steps.iter().map(|(step, _)| *step).collect();
        assert_eq!(
            steps,
            [
                Step::Member { path: "busy.head", count: None },
                Step::Each { of: "vmap_area", link: "list" },
                Step::Member { path: "vm", count: None },
                Step::If { path: "caller", equal: true, value: Value::In("bpf_jit_alloc") },
                Step::If { path: "flags", equal: false, value: Value::Number(0x20) },
                Step::If { path: "name", equal: true, value: Value::Text("a b") },
                Step::Member { path: "addr", count: Some(Count::Member("size")) },
            ]
        );
        assert_eq!(rule.steps[0].1, 46);
        let (mut paths, mut symbols) = (std::vec::Vec::new(), std::vec::Vec::new());
        rule.paths(&mut |path| paths.push(path));
        rule.symbols(&mut |name| symbols.push(name));
        assert!(["vmap_area", "busy.head", "size"].iter().all(|path| paths.contains(path)));
        assert_eq!(symbols, ["vmap_nodes", "bpf_jit_alloc", "nr_vmap_nodes"]);
    }

    #[test]
    fn every_error_has_its_column_and_says_what_belongs_there() {
        for (text, column, wants) in [
            ("", 1, WANTS_ACTION),
            ("  drop x:y", 3, WANTS_ACTION),
            ("slab", 5, WANTS_START),
            ("slab dentry", 6, WANTS_START),
            ("slab a:b.c", 6, WANTS_START),
            ("slab 1a:b", 6, WANTS_START),
            ("pages a:b[", 10, WANTS_COUNT),
            ("pages a:b[-1]", 10, WANTS_COUNT),
            ("pages a:b .c[.d]x", 13, WANTS_COUNT),
            ("pages a:b c", 11, WANTS_STEP),
            ("pages a:b .c..d", 11, WANTS_NAMES),
            ("pages a:b each", 15, WANTS_EACH),
            ("pages a:b each c", 16, WANTS_EACH),
            ("pages a:b if .c", 14, WANTS_IF),
            ("pages a:b if .c=\"x", 14, WANTS_IF),
            ("pages a:b if .c=99999999999999999999", 14, WANTS_IF),
            ("pages a:b if .c=&1", 14, WANTS_IF),
        ] {
            let error = Rule::parse(text).unwrap_err();
            assert_eq!((error.column, error.wants), (column, wants), "{text}");
            assert!(error.to_string().contains(wants));
        }
        let long = std::string::String::from("pages a:b") + &" .c".repeat(STEPS + 1);
        assert_eq!(Rule::parse(&long).unwrap_err().wants, WANTS_SHORT);
        let long = std::string::String::from("pages a:b .") + &"c".repeat(LENGTH);
        assert_eq!(Rule::parse(&long).unwrap_err().wants, WANTS_SHORT);
    }
}
