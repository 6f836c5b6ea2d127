//! Following a rule through the kernel's memory.

use super::pages::{Of, Owner, PageRules};
use super::text::{Action, Count, Rule, Step, Value};
use crate::kernel::symbols::btf::{Kind, Record};
use crate::kernel::symbols::{Btf, Failed, Kallsyms, Members, Reader, Wanted, Words, members};
use crate::units::{PageShift, Pfn, PfnSpan, VirtAddr};
use core::fmt;

/// Names of types and members of all rules together.
pub const NAMES: usize = 160;
/// Objects that a rule looks at.
const OBJECTS: u32 = 1 << 20;
/// Bytes of memory that one object may have.
const BYTES: u64 = 1 << 40;
const WHAT: &str = "what a rule reaches";

/// Why a rule reaches nothing, or not all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Why<'t> {
    /// No variable or function has this name, or several have.
    Symbol(&'t str),
    /// No structure has this name, or several have.
    Type(&'t str),
    /// A structure has no such member, or one that a rule cannot look at.
    Member(&'t str),
    /// The number of elements is not known.
    Count,
    /// Memory on the way is not in the dump.
    Unreadable,
    /// A list does not lead back to its head, or there is more of it than is looked at.
    Endless,
    /// What is reached is not what the rule says.
    Reached(&'static str),
    /// There are more slab caches and files than there is room for.
    Room,
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Symbol(name) => {
                write!(f, "the kernel has no variable or function {name}, or several")
            }
            Why::Type(name) => write!(f, "the kernel's types have no structure {name}"),
            Why::Member(path) => {
                write!(f, "the structure there has no member {path} that can be read")
            }
            Why::Count => f.write_str("the number of elements there cannot be read"),
            Why::Unreadable => f.write_str("memory there is not in the dump"),
            Why::Endless => f.write_str("the list there does not end"),
            Why::Reached(what) => write!(f, "it does not lead to {what}"),
            Why::Room => f.write_str("there are more than 16 slab caches and files in all rules"),
        }
    }
}

/// Why a rule was not followed: where in its text, and what there is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleError<'t> {
    /// Where, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub why: Why<'t>,
}

impl fmt::Display for RuleError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.why)
    }
}

impl core::error::Error for RuleError<'_> {}

/// An object in memory.
#[derive(Clone, Copy)]
struct Object {
    at: u64,
    /// The number of its type.
    of: u32,
    /// Its bytes, where they are not those of its type.
    len: Option<u64>,
}

/// The array of `struct page`s, which has those of all pages one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct PageArray {
    /// Where the one of pfn 0 is, or would be.
    pub base: u64,
    /// Bytes of each.
    pub size: u64,
    /// One past the last pfn.
    pub end: Pfn,
}

/// A kernel's symbols and types, and the names that rules have, looked up.
pub struct Walker<'w, 'm, 'i, 't> {
    /// The kernel's memory.
    pub reader: &'w mut Reader<'m>,
    /// Its symbols.
    pub kallsyms: &'w Kallsyms,
    /// Its types.
    pub btf: &'w Btf<'i>,
    /// Names of types and members.
    pub words: &'w Words<'t, NAMES>,
    /// Structures of these names.
    pub members: &'w Members<64>,
    /// Variables and functions.
    pub symbols: &'w [Wanted<'t>],
    /// `struct page`s.
    pub pages: Option<PageArray>,
    /// The size of a page.
    pub shift: PageShift,
    /// Objects that the rule in hand looked at.
    pub looked_at: u32,
}

/// What is done with an object that is reached.
type Reached<'r, 't> = &'r mut dyn FnMut(&mut Reader<'_>, PfnSpan, u64) -> Result<(), Why<'t>>;

impl<'t> Walker<'_, '_, '_, 't> {
    /// Follows a rule, and notes the pages that it reaches. Returns how many objects it reached. Of a rule that drops
    /// pages nothing is noted if anything on its way is wrong; of one that keeps pages, what it reached until then.
    pub fn follow(
        &mut self,
        rule: &Rule<'t>,
        keep: bool,
        found: &mut PageRules<'_>,
    ) -> Result<u32, RuleError<'t>> {
        let mut count = 0;
        if !keep {
            // Once to see that all of it is there.
            self.walk(rule, &mut |_, _, _| Ok(()))?;
        }
        self.walk(rule, &mut |_, pages, at| {
            count += 1;
            let of = match rule.action {
                Action::Slab => Of::Slab,
                Action::Cache => Of::Cache,
                _ if keep => {
                    found.keep.add(pages, true);
                    return Ok(());
                }
                _ => {
                    found.drop.add(pages, false);
                    return Ok(());
                }
            };
            found.owners.push(Owner { of, at, keep }).map_err(|_| Why::Room)
        })?;
        Ok(count)
    }

    fn walk(&mut self, rule: &Rule<'t>, reached: Reached<'_, 't>) -> Result<(), RuleError<'t>> {
        self.looked_at = 0;
        let start = |why| RuleError { column: rule.column, why };
        let at = self.symbol(rule.symbol).map_err(start)?;
        let of = self.structure(rule.of).map_err(start)?;
        let mut object = Object { at, of, len: None };
        if rule.pointer {
            object.at = self.word(at).map_err(start)?;
        }
        let Some(count) = rule.count else { return self.step(rule, 0, object, reached) };
        let count = self.count(count, object, object).map_err(start)?;
        self.elements(rule, 0, object, count, rule.column, reached)
    }

    /// The steps from `index` on.
    fn step(
        &mut self,
        rule: &Rule<'t>,
        index: usize,
        from: Object,
        reached: Reached<'_, 't>,
    ) -> Result<(), RuleError<'t>> {
        let Some((step, column)) = rule.steps.get(index) else {
            let column = rule.steps.last().map_or(rule.column, |step| step.1);
            return self.end(rule.action, from, reached).map_err(|why| RuleError { column, why });
        };
        let failed = |why| RuleError { column: *column, why };
        self.looked_at += 1;
        if self.looked_at > OBJECTS {
            return Err(failed(Why::Endless));
        }
        match *step {
            Step::Member { path, count } => {
                let Some(object) = self.member(from, path).map_err(failed)? else { return Ok(()) };
                let Some(count) = count else { return self.step(rule, index + 1, object, reached) };
                let count = self.count(count, from, object).map_err(failed)?;
                let Some(first) = self.first(object).map_err(failed)? else { return Ok(()) };
                // Memory that goes on: bytes, or elements.
                if rule.action == Action::Memory && index + 1 == rule.steps.len() {
                    let size = self.size(first.of).map_err(failed)?.max(1);
                    let len = Some(size.saturating_mul(count));
                    return self.step(rule, index + 1, Object { len, ..first }, reached);
                }
                self.elements(rule, index + 1, first, count, *column, reached)
            }
            Step::Each { of, link } => {
                let Some(head) = self.pointed(from).map_err(failed)? else { return Ok(()) };
                let id = self.structure(of).map_err(failed)?;
                let member = self.members.member(self.reader, self.btf, self.words, of, link);
                let member = member.ok().flatten().ok_or(failed(Why::Member(link)))?;
                let mut next = self.word(head.at).map_err(failed)?;
                while next != head.at {
                    self.looked_at += 1;
                    if next == 0 || self.looked_at > OBJECTS {
                        return Err(failed(Why::Endless));
                    }
                    let at = next.wrapping_sub(member.offset);
                    self.step(rule, index + 1, Object { at, of: id, len: None }, reached)?;
                    next = self.word(next).map_err(failed)?;
                }
                Ok(())
            }
            Step::If { path, equal, value } => {
                let Some(object) = self.member(from, path).map_err(failed)? else { return Ok(()) };
                if self.has(object, value).map_err(failed)? == equal {
                    return self.step(rule, index + 1, from, reached);
                }
                Ok(())
            }
        }
    }

    /// So many elements, from the first on.
    fn elements(
        &mut self,
        rule: &Rule<'t>,
        index: usize,
        first: Object,
        count: u64,
        column: usize,
        reached: Reached<'_, 't>,
    ) -> Result<(), RuleError<'t>> {
        let size =
            self.size(first.of).and_then(|size| if size > 0 { Ok(size) } else { Err(Why::Count) });
        let size = size.map_err(|why| RuleError { column, why })?;
        for number in 0..count {
            self.looked_at += 1;
            if self.looked_at > OBJECTS {
                return Err(RuleError { column, why: Why::Endless });
            }
            let at = first.at.wrapping_add(size.wrapping_mul(number));
            self.step(rule, index, Object { at, ..first }, reached)?;
        }
        Ok(())
    }

    /// What is done at the end.
    fn end(
        &mut self,
        action: Action,
        last: Object,
        reached: Reached<'_, 't>,
    ) -> Result<(), Why<'t>> {
        let none = PfnSpan::default();
        let Some(object) = self.pointed(last)? else { return Ok(()) };
        match action {
            Action::Slab | Action::Cache => {
                let (name, what) = match action {
                    Action::Slab => ("kmem_cache", "a struct kmem_cache"),
                    _ => ("address_space", "a struct address_space"),
                };
                if self.structure(name).is_ok_and(|id| id == object.of) {
                    return reached(self.reader, none, object.at);
                }
                Err(Why::Reached(what))
            }
            Action::Pages => {
                let page = ["page", "folio"].map(|name| self.structure(name).ok());
                let array = self
                    .pages
                    .ok_or(Why::Reached("pages: this kernel has no one array of them"))?;
                let place = object.at.wrapping_sub(array.base);
                let pfn = Pfn(place.checked_div(array.size).unwrap_or(u64::MAX));
                let whole = place.checked_rem(array.size) == Some(0) && pfn < array.end;
                if !page.contains(&Some(object.of)) || !whole {
                    return Err(Why::Reached("a struct page"));
                }
                reached(self.reader, PfnSpan { start: pfn, end: Pfn(pfn.0 + 1) }, object.at)
            }
            Action::Memory => {
                let len = match object.len {
                    Some(0) => return Ok(()),
                    Some(len) => len,
                    None => self.size(object.of)?,
                };
                if len == 0 || len > BYTES {
                    return Err(Why::Reached("memory whose size is known"));
                }
                let mut at = object.at;
                let end = at.checked_add(len).ok_or(Why::Unreadable)?;
                while at < end {
                    self.looked_at += 1;
                    if self.looked_at > OBJECTS {
                        return Err(Why::Endless);
                    }
                    let place = self.reader.memory().place(VirtAddr(at));
                    let page = self.shift.bytes() as u64;
                    // A guard page is not mapped.
                    let Some((phys, mapped)) = place else {
                        at = (at | (page - 1)).checked_add(1).ok_or(Why::Unreadable)?;
                        continue;
                    };
                    let some = mapped.min(end - at).max(1);
                    let mut pages = self.shift.touched(phys, some);
                    // A page of which a part belongs to others stays.
                    if phys.0 & (page - 1) != 0 {
                        pages.start.0 += 1;
                    }
                    if (phys.0.wrapping_add(some)) & (page - 1) != 0 {
                        pages.end.0 -= 1;
                    }
                    if pages.start < pages.end {
                        reached(self.reader, pages, at)?;
                    }
                    at += some;
                }
                Ok(())
            }
        }
    }

    /// Whether an object has this value.
    fn has(&mut self, object: Object, value: Value<'t>) -> Result<bool, Why<'t>> {
        let record = self.record(object.of)?;
        let at = match (value, record.kind) {
            // A text is in the array, or where the pointer says.
            (Value::Text(_), Kind::Array) => object.at,
            (Value::Text(_), _) => self.word(object.at)?,
            _ => object.at,
        };
        match value {
            Value::Text(text) => {
                // With its NUL.
                for (place, byte) in (at..).zip(text.bytes().chain([0])) {
                    let there = self.reader.u8(WHAT, place).map_err(|Failed| Why::Unreadable)?;
                    if there != byte {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Value::Number(number) => Ok(self.number(object)? == number),
            Value::In(name) => {
                let start = self.symbol(name)?;
                let address = self.number(object)?;
                let symbol = self.kallsyms.at(self.reader, address);
                let symbol = symbol.map_err(|Failed| Why::Unreadable)?;
                Ok(symbol.is_some_and(|symbol| symbol.address == start))
            }
        }
    }

    fn count(&mut self, count: Count<'t>, from: Object, array: Object) -> Result<u64, Why<'t>> {
        match count {
            Count::Number(number) => Ok(number),
            Count::OfType => {
                let record = self.record(array.of)?;
                let array = self.btf.array(self.reader, &record).ok().flatten();
                array.map(|array| array.count.into()).filter(|count| *count > 0).ok_or(Why::Count)
            }
            Count::Member(path) => match self.member(from, path)? {
                Some(object) => self.number(object),
                None => Err(Why::Count),
            },
            Count::Symbol(name) => {
                let at = self.symbol(name)?;
                self.reader.u32(WHAT, at).map(u64::from).map_err(|Failed| Why::Unreadable)
            }
        }
    }

    /// The first element of an array, or of what a pointer points to; `None` where it points nowhere.
    fn first(&mut self, array: Object) -> Result<Option<Object>, Why<'t>> {
        let record = self.record(array.of)?;
        match self.btf.array(self.reader, &record).map_err(|Failed| Why::Count)? {
            Some(of) => Ok(Some(Object { at: array.at, of: of.of, len: None })),
            None if record.kind == Kind::Ptr => {
                let at = self.word(array.at)?;
                Ok((at != 0).then_some(Object { at, of: record.value, len: None }))
            }
            None => Err(Why::Count),
        }
    }

    /// The object itself, or what it points to; `None` where it points nowhere. Its type is that without qualifiers.
    fn pointed(&mut self, mut object: Object) -> Result<Option<Object>, Why<'t>> {
        let mut record = self.record(object.of)?;
        if record.kind == Kind::Ptr && object.len.is_none() {
            object.at = self.word(object.at)?;
            if object.at == 0 {
                return Ok(None);
            }
            record = self.record(record.value)?;
        }
        object.of = record.id;
        Ok(Some(object))
    }

    /// A member, by a path on which pointers are followed; `None` where one points nowhere.
    fn member(&mut self, from: Object, path: &'t str) -> Result<Option<Object>, Why<'t>> {
        let mut object = from;
        for name in path.split('.') {
            let Some(structure) = self.pointed(object)? else { return Ok(None) };
            let word = self.words.offset(name).ok_or(Why::Member(name))?;
            let place = members::member(self.reader, self.btf, structure.of, word);
            let place = place.ok().flatten().filter(|place| place.width == 0);
            let place = place.ok_or(Why::Member(name))?;
            object =
                Object { at: structure.at.wrapping_add(place.bits / 8), of: place.of, len: None };
        }
        Ok(Some(object))
    }

    fn record(&mut self, id: u32) -> Result<Record, Why<'t>> {
        self.btf.strip(self.reader, id).map_err(|Failed| Why::Reached("a type that is known"))
    }

    fn size(&mut self, id: u32) -> Result<u64, Why<'t>> {
        self.btf.size_of(self.reader, id).map_err(|Failed| Why::Count)
    }

    /// A number of up to 8 bytes.
    fn number(&mut self, object: Object) -> Result<u64, Why<'t>> {
        let size = self.size(object.of)?;
        let mut raw = [0; 8];
        let some = raw.get_mut(..size as usize).filter(|some| !some.is_empty());
        let some = some.ok_or(Why::Count)?;
        self.reader.bytes(WHAT, object.at, some).map_err(|Failed| Why::Unreadable)?;
        let endian = self.reader.endian();
        let number = match size {
            1 => raw.first().copied().map(u64::from),
            2 => endian.u16(&raw, 0).map(u64::from),
            4 => endian.u32(&raw, 0).map(u64::from),
            8 => endian.u64(&raw, 0),
            _ => None,
        };
        number.ok_or(Why::Count)
    }

    fn word(&mut self, at: u64) -> Result<u64, Why<'t>> {
        self.reader.word(WHAT, at).map_err(|Failed| Why::Unreadable)
    }

    fn symbol(&self, name: &'t str) -> Result<u64, Why<'t>> {
        let symbol = self.symbols.iter().find(|wanted| wanted.name == name);
        symbol.and_then(Wanted::unique).ok_or(Why::Symbol(name))
    }

    /// The one structure of this name.
    fn structure<'n>(&self, name: &'n str) -> Result<u32, Why<'n>> {
        self.members.one(self.words, name).ok_or(Why::Type(name))
    }
}
