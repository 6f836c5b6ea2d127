//! The symbols of a module: an ELF symbol table, which the kernel keeps for each.
//!
//! They lie in memory of their own, page by page, so that nothing of them is found without page tables.
//!
//! # Sources
//! Linux `include/linux/module.h` (`struct mod_kallsyms`), `kernel/module/kallsyms.c`; the ELF specification,
//! "Symbol Table".

use super::{Failed, Member, Reader, limits};
use crate::endian::Word;
use crate::error::part;

const WHAT: &str = "the symbols of a module";

/// The members of `struct module` that say where its symbols are, in the order in which [`ModuleSymbols::of`]
/// wants them.
pub const MODULE_MEMBERS: [&str; 9] = [
    // From 4.5 on: a pointer to the second, but to all symbols while a module is being loaded.
    "module.kallsyms",
    "module.core_kallsyms",
    "mod_kallsyms.symtab",
    "mod_kallsyms.num_symtab",
    "mod_kallsyms.strtab",
    // From 5.2 on: letters, as nm has them.
    "mod_kallsyms.typetab",
    // Before 4.5.
    "module.symtab",
    "module.num_symtab",
    "module.strtab",
];

/// Where the symbols of a module are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleSymbols {
    symbols: u64,
    count: u32,
    strings: u64,
    letters: Option<u64>,
}

/// A symbol of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleSymbol<'n> {
    /// Its name.
    pub name: &'n [u8],
    /// The letter of its type, as nm has it; `?` where the kernel keeps none.
    pub letter: u8,
    /// Its address; of a per-CPU variable, as the module counts it.
    pub address: u64,
}

impl ModuleSymbols {
    /// Of the `struct module` at `module`. `None` where the kernel's types have no such members
    /// ([`MODULE_MEMBERS`]), or where the module has no symbols.
    #[inline]
    pub fn of(
        reader: &mut Reader<'_>,
        members: &[Option<Member>; MODULE_MEMBERS.len()],
        module: u64,
    ) -> Result<Option<ModuleSymbols>, Failed> {
        let [pointer, embedded, table, count, strings, letters, old, old_count, old_strings] =
            *members;
        let embedded = embedded.map(|member| module.wrapping_add(member.offset));
        let at = match pointer {
            Some(pointer) => {
                let to = reader.word(WHAT, module.wrapping_add(pointer.offset))?;
                Some(to).filter(|to| *to != 0).or(embedded)
            }
            None => embedded,
        };
        let (base, [Some(table), Some(count), Some(strings)], letters) = (match at {
            Some(at) => (at, [table, count, strings], letters),
            None => (module, [old, old_count, old_strings], None),
        }) else {
            return Ok(None);
        };
        let mut word = |member: Member| reader.word(WHAT, base.wrapping_add(member.offset));
        let (symbols, strings) = (word(table)?, word(strings)?);
        let letters = letters.map(word).transpose()?.filter(|at| *at != 0);
        let count = reader.u32(WHAT, base.wrapping_add(count.offset))?;
        if count > limits::MODULE_SYMBOLS {
            return Err(reader.malformed(WHAT, base));
        }
        Ok((symbols != 0 && count > 0).then_some(ModuleSymbols {
            symbols,
            count,
            strings,
            letters,
        }))
    }

    /// Number of records: the first is none, and others may be of what other modules have.
    #[inline]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count <= 1
    }

    /// Calls `each` with every symbol that the module itself has, in no order, until it says that it has seen
    /// enough.
    #[inline]
    pub fn each(
        &self,
        reader: &mut Reader<'_>,
        each: &mut dyn FnMut(&ModuleSymbol<'_>) -> bool,
    ) -> Result<(), Failed> {
        let wide = reader.word_size() == Word::Bits64;
        // Of a record: its bytes, and where it has the section and the address.
        let (size, section_at, address_at) = if wide { (24, 6, 8) } else { (16, 14, 4) };
        let mut name = [0; limits::NAME];
        for index in 1..self.count {
            let at = self.symbols.wrapping_add(size as u64 * u64::from(index));
            let mut raw = [0; 24];
            reader.bytes(WHAT, at, raw.get_mut(..size).unwrap_or(&mut []))?;
            let endian = reader.endian();
            let section = endian.u16(&raw, section_at).unwrap_or(0);
            let address = endian.word(reader.word_size(), &raw, address_at).unwrap_or(0);
            let string = endian.u32(&raw, 0).unwrap_or(0);
            if section == 0 {
                continue;
            }
            let len = text(reader, self.strings.wrapping_add(string.into()), &mut name)?;
            let name = part(&name, 0..len);
            if name.is_empty() || is_mark(name) {
                continue;
            }
            let letter = match self.letters {
                Some(letters) => reader.u8(WHAT, letters.wrapping_add(index.into()))?,
                None => b'?',
            };
            if each(&ModuleSymbol { name, letter, address }) {
                break;
            }
        }
        Ok(())
    }
}

/// Marks of an assembler, which name nothing: `$x` and `$d` of ARM, `.L` and `L0` of others.
#[inline]
fn is_mark(name: &[u8]) -> bool {
    matches!(name, [b'$', b'a' | b'd' | b't' | b'x', rest @ ..] if rest.first().is_none_or(|c| *c == b'.'))
        || name.starts_with(b".L")
        || name.starts_with(b"L0")
}

/// Fills `buf` with a text up to its NUL; returns its bytes.
#[inline]
fn text(reader: &mut Reader<'_>, at: u64, buf: &mut [u8]) -> Result<usize, Failed> {
    for (len, slot) in buf.iter_mut().enumerate() {
        match reader.u8(WHAT, at.wrapping_add(len as u64))? {
            0 => return Ok(len),
            byte => *slot = byte,
        }
    }
    Ok(buf.len())
}

#[cfg(test)]
mod tests {
    use super::super::SymbolsError;
    use super::super::testing::Flat;
    use super::*;
    use crate::endian::Endian;
    use std::string::String;
    use std::{vec, vec::Vec};

    const BASE: u64 = 0xffff_ffff_c000_0000;

    /// A module with its table of symbols, of the words and the byte order of a machine.
    fn made(wide: bool, endian: Endian) -> (Flat, u64) {
        let word = if wide { 8 } else { 4 };
        let mut bytes = vec![0u8; 0x1000];
        let mut put = |at: usize, value: u64, len: usize| {
            let raw = value.to_le_bytes();
            for (index, byte) in raw.iter().take(len).enumerate() {
                let place =
                    if endian == Endian::Little { at + index } else { at + len - 1 - index };
                bytes[place] = *byte;
            }
        };
        let base = if wide { BASE } else { BASE & 0xffff_ffff };
        // struct module at 0x100: a pointer at 8 to a table at 0x140 of four words.
        put(0x108, base + 0x140, word);
        for (index, value) in [base + 0x200, 6, base + 0x600, base + 0x500].iter().enumerate() {
            put(0x140 + index * 8, *value, if index == 1 { 4 } else { word });
        }
        let symbols = [
            // Offset of the name, section, address.
            (0, 0, 0),
            (1, 3, base + 0x10),
            // Of another module.
            (7, 0, base + 0x20),
            // A mark.
            (14, 2, base + 0x18),
            (17, 2, base + 0x40),
            (0, 2, base + 0x50),
        ];
        for (index, (name, section, address)) in symbols.iter().enumerate() {
            let at = 0x200 + index * if wide { 24 } else { 16 };
            put(at, *name, 4);
            put(at + if wide { 6 } else { 14 }, *section, 2);
            put(at + if wide { 8 } else { 4 }, *address, word);
        }
        bytes[0x500..0x506].copy_from_slice(b"\0tUdd?");
        let names = b"\0first\0other\0\0$d\0second\0";
        bytes[0x600..0x600 + names.len()].copy_from_slice(names);
        let word = if wide { Word::Bits64 } else { Word::Bits32 };
        (Flat { base, bytes, endian, word }, base + 0x100)
    }

    fn member(offset: u64) -> Option<Member> {
        Some(Member { offset, size: 8, of: 1 })
    }

    fn found(
        memory: &mut Flat,
        module: u64,
        members: &[Option<Member>; 9],
    ) -> Vec<(String, u8, u64)> {
        let mut reader = Reader::new(memory);
        let symbols = ModuleSymbols::of(&mut reader, members, module).unwrap().expect("symbols");
        let mut all = Vec::new();
        let done = symbols.each(&mut reader, &mut |symbol| {
            let name = String::from_utf8(symbol.name.to_vec()).unwrap();
            all.push((name, symbol.letter, symbol.address));
            false
        });
        done.unwrap();
        all
    }

    #[test]
    fn symbols_of_every_layout_word_and_byte_order() {
        for (wide, endian) in [(true, Endian::Little), (true, Endian::Big), (false, Endian::Little)]
        {
            let (mut memory, module) = made(wide, endian);
            let base = memory.base;
            let wanted =
                |t, d| vec![("first".into(), t, base + 0x10), ("second".into(), d, base + 0x40)];
            let inner = [member(0), member(8), member(16), member(24)];
            let [table, count, strings, letters] = inner;
            // By the pointer, in the module itself, without letters, and as before 4.5.
            let by_pointer =
                [member(8), member(0x800), table, count, strings, letters, None, None, None];
            assert_eq!(found(&mut memory, module, &by_pointer), wanted(b't', b'd'));
            let embedded = [None, member(0x40), table, count, strings, letters, None, None, None];
            assert_eq!(found(&mut memory, module, &embedded), wanted(b't', b'd'));
            let bare = [None, member(0x40), table, count, strings, None, None, None, None];
            assert_eq!(found(&mut memory, module, &bare), wanted(b'?', b'?'));
            let mut old = [None; 9];
            old[6..].copy_from_slice(&[member(0x40), member(0x48), member(0x50)]);
            assert_eq!(found(&mut memory, module, &old), wanted(b'?', b'?'));
        }
    }

    #[test]
    fn what_cannot_be_right_is_an_error_and_nothing_more() {
        let by_pointer =
            [member(8), None, member(0), member(8), member(16), member(24), None, None, None];
        // Too many symbols.
        let (mut memory, module) = made(true, Endian::Little);
        memory.bytes[0x148..0x14c].fill(0xff);
        let mut reader = Reader::new(&mut memory);
        assert_eq!(ModuleSymbols::of(&mut reader, &by_pointer, module), Err(Failed));
        assert!(matches!(reader.error(), SymbolsError::Malformed { .. }));
        // No types of modules, and no symbols.
        let (mut memory, module) = made(true, Endian::Little);
        let of = ModuleSymbols::of(&mut Reader::new(&mut memory), &[None; 9], module);
        assert_eq!(of, Ok(None));
        memory.bytes[0x148..0x14c].fill(0);
        let of = ModuleSymbols::of(&mut Reader::new(&mut memory), &by_pointer, module);
        assert_eq!(of, Ok(None));
        // A name that is not in memory; one that has no end.
        for (at, byte) in [(0x150, 0u8), (0x600, b'a')] {
            let (mut memory, module) = made(true, Endian::Little);
            let len = if byte == 0 { 8 } else { 0xa00 };
            memory.bytes[at..at + len].fill(byte);
            let mut reader = Reader::new(&mut memory);
            let symbols = ModuleSymbols::of(&mut reader, &by_pointer, module).unwrap().unwrap();
            let (mut longest, mut seen) = (0, 0);
            let done = symbols.each(&mut reader, &mut |symbol| {
                (longest, seen) = (symbol.name.len().max(longest), seen + 1);
                false
            });
            assert_eq!(done.is_err(), byte == 0);
            assert!(longest <= limits::NAME && seen <= 6);
        }
    }
}
