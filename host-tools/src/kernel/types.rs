//! Types by their names, and their names in C.

use super::Kernel;
use crate::fail::Result;
use crate::render::text::plain;
use tamis_core::kernel::symbols::btf::{Kind, Record};
use tamis_core::kernel::symbols::{Btf, Words, members};

/// Types in one another that are named.
const DEEPEST: u32 = 32;
/// Bytes of a name.
const NAME: usize = 512;

/// The types of a kernel, and its memory.
pub struct Types<'k, 'm, 'b> {
    /// The kernel.
    pub kernel: &'k mut Kernel<'m>,
    /// Its types.
    pub btf: &'k Btf<'b>,
}

impl Types<'_, '_, '_> {
    /// The type of this number.
    pub fn record(&mut self, id: u32) -> Result<Record> {
        let record = self.btf.record(&mut self.kernel.reader, id);
        self.kernel.table(record)
    }

    /// Past typedefs and qualifiers.
    pub fn strip(&mut self, id: u32) -> Result<Record> {
        let record = self.btf.strip(&mut self.kernel.reader, id);
        self.kernel.table(record)
    }

    /// Bytes of a type.
    pub fn size(&mut self, id: u32) -> Result<u64> {
        let size = self.btf.size_of(&mut self.kernel.reader, id);
        self.kernel.table(size)
    }

    /// A string; empty for none.
    pub fn string(&mut self, offset: u32) -> Result<String> {
        let mut buf = [0; NAME];
        let string = self.btf.string(&mut self.kernel.reader, offset, &mut buf).map(plain);
        self.kernel.table(string)
    }

    /// Where a word is among the strings.
    fn offset(&mut self, word: &str) -> Result<Option<u32>> {
        let mut words = Words::<1>::new();
        words.add(word);
        let done = self.btf.find_words(&mut self.kernel.reader, &mut words);
        self.kernel.table(done)?;
        Ok(words.offset(word))
    }

    /// The type of this name, the first one that is whole; `wanted` says which kinds do.
    pub fn named(&mut self, name: &str, wanted: impl Fn(Kind) -> bool) -> Result<Option<u32>> {
        let Some(offset) = self.offset(name)? else { return Ok(None) };
        let mut found = None;
        let done = self.btf.each(&mut self.kernel.reader, &mut |_, record| {
            if record.name == offset && wanted(record.kind) {
                found = Some(record.id);
            }
            Ok(found.is_some())
        });
        self.kernel.table(done)?;
        Ok(found)
    }

    /// Where a member is in a structure: its bits, the width of a bit field, its type.
    pub fn member(&mut self, id: u32, name: &str) -> Result<Option<members::Place>> {
        let Some(offset) = self.offset(name)? else { return Ok(None) };
        let place = members::member(&mut self.kernel.reader, self.btf, id, offset);
        self.kernel.table(place)
    }

    /// The type as C has it: `struct page *`.
    pub fn text(&mut self, id: u32) -> Result<String> {
        self.declaration(id, String::new(), 0)
    }

    fn declaration(&mut self, id: u32, inner: String, depth: u32) -> Result<String> {
        if depth > DEEPEST {
            return Ok(format!("... {inner}"));
        }
        let record = self.record(id)?;
        let depth = depth + 1;
        let word = match record.kind {
            Kind::Ptr => {
                let to = self.strip(record.value)?.kind;
                let inner = match to {
                    Kind::Array | Kind::FuncProto => format!("(*{inner})"),
                    _ => format!("*{inner}"),
                };
                return self.declaration(record.value, inner, depth);
            }
            Kind::Array => {
                let array = self.btf.array(&mut self.kernel.reader, &record);
                let Some(array) = self.kernel.table(array)? else { return Ok(inner) };
                let inner = format!("{inner}[{}]", array.count);
                return self.declaration(array.of, inner, depth);
            }
            Kind::FuncProto => {
                let mut parameters = Vec::new();
                for index in 0..record.count.min(64) {
                    let parameter = self.btf.parameter(&mut self.kernel.reader, &record, index);
                    match self.kernel.table(parameter)? {
                        // The last one may be any number of them.
                        Some((_, 0)) => parameters.push("...".into()),
                        Some((_, of)) => {
                            parameters.push(self.declaration(of, String::new(), depth)?);
                        }
                        None => break,
                    }
                }
                let parameters = match parameters.is_empty() {
                    true => "void".into(),
                    false => parameters.join(", "),
                };
                return self.declaration(record.value, format!("{inner}({parameters})"), depth);
            }
            Kind::Const | Kind::Volatile | Kind::Restrict => {
                let word = match record.kind {
                    Kind::Const => "const",
                    Kind::Volatile => "volatile",
                    _ => "restrict",
                };
                if self.record(record.value)?.kind == Kind::Ptr {
                    let inner = format!(" {word} {inner}");
                    return self.declaration(record.value, inner.trim_end().into(), depth);
                }
                let rest = self.declaration(record.value, inner, depth)?;
                return Ok(format!("{word} {rest}"));
            }
            Kind::TypeTag => return self.declaration(record.value, inner, depth),
            Kind::Void => "void ",
            Kind::Struct => "struct ",
            Kind::Union => "union ",
            Kind::Fwd if record.flag => "union ",
            Kind::Fwd => "struct ",
            Kind::Enum | Kind::Enum64 => "enum ",
            _ => "",
        };
        let name = match record.name {
            0 if record.kind == Kind::Void => String::new(),
            0 => "<anonymous>".into(),
            name => self.string(name)?,
        };
        let base = format!("{word}{name}");
        Ok(format!("{} {inner}", base.trim_end()).trim_end().to_owned())
    }
}
