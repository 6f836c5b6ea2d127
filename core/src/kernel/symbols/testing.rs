//! Tables of a made-up kernel, written by hand as `scripts/kallsyms.c` and pahole lay them out.

use super::VirtMemory;
use crate::arch::paging::WalkError;
use crate::endian::{Endian, Word};
use crate::kernel::memory::TranslateError;
#[cfg(feature = "rules")]
use crate::units::PhysAddr;
use crate::units::VirtAddr;
use std::string::String;
use std::{vec, vec::Vec};

/// Memory that is mapped as one piece.
pub struct Flat {
    pub base: u64,
    pub bytes: Vec<u8>,
    pub endian: Endian,
    pub word: Word,
}

impl VirtMemory for Flat {
    fn fill(&mut self, at: VirtAddr, buf: &mut [u8]) -> Result<(), TranslateError> {
        let part = at.0.checked_sub(self.base).and_then(|at| {
            let from = self.bytes.get(usize::try_from(at).ok()?..)?;
            from.get(..buf.len())
        });
        match part {
            Some(part) => buf.copy_from_slice(part),
            None => return Err(TranslateError::Walk(WalkError::NotCanonical(at))),
        }
        Ok(())
    }

    #[cfg(feature = "rules")]
    fn place(&mut self, at: VirtAddr) -> Option<(PhysAddr, u64)> {
        let end = self.base + self.bytes.len() as u64;
        let inside = at.0 >= self.base && at.0 < end;
        inside.then(|| (PhysAddr(at.0 - self.base), end - at.0))
    }

    fn byte_order(&self) -> Endian {
        self.endian
    }

    fn long(&self) -> Word {
        self.word
    }
}

/// A random number generator for mutants: xorshift.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// In which order the tables stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Up to 6.3.
    NumbersFirst,
    /// 6.4 to 6.19.
    NumbersLast,
    /// From 7.0 on.
    Close,
}

/// What numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbered {
    Absolute,
    PerCpu,
    Base,
    Place,
}

/// A kernel with symbols.
pub struct Made {
    pub memory: Flat,
    /// Addresses by the names of the tables.
    pub tables: Vec<(&'static str, u64)>,
    /// Address, letter and name of every symbol, in order.
    pub symbols: Vec<(u64, u8, String)>,
}

impl Made {
    pub fn table(&self, name: &str) -> u64 {
        self.tables.iter().find(|(n, _)| *n == name).unwrap().1
    }

    pub fn address(&self, name: &str) -> u64 {
        self.symbols.iter().find(|(_, _, n)| n == name).unwrap().0
    }
}

/// Where the image of made-up kernels begins.
pub const IMAGE: u64 = 0xffff_ffff_8100_0000;
/// Where they have BTF.
const TYPES: u64 = IMAGE + 0x20_017c;
/// Bytes in front of the tables: for the banner.
const FRONT: usize = 0x3000;

fn tokens() -> Vec<Vec<u8>> {
    let mut tokens = vec![Vec::new(); 256];
    for byte in b'!'..=b'~' {
        tokens[usize::from(byte)] = vec![byte];
    }
    for (at, text) in [(1, "Tsym"), (2, "__"), (3, "init_"), (0xf0, "00"), (0xff, "linux_")] {
        tokens[at] = text.into();
    }
    tokens
}

/// Token numbers of a text, the longest first.
fn compress(text: &[u8], tokens: &[Vec<u8>]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let fits = (0..256).filter(|n| !tokens[*n].is_empty() && rest.starts_with(&tokens[*n]));
        let best = fits.max_by_key(|n| tokens[*n].len()).unwrap();
        out.push(best as u8);
        rest = &rest[tokens[best].len()..];
    }
    out
}

/// Makes a kernel with as many symbols, and a few that are known.
pub fn kernel(order: Order, numbered: Numbered, endian: Endian, wide: bool, count: u32) -> Made {
    with_types(order, numbered, endian, wide, count, &[])
}

/// The same, with BTF.
pub fn with_types(
    order: Order,
    numbered: Numbered,
    endian: Endian,
    wide: bool,
    count: u32,
    types: &[u8],
) -> Made {
    let mut symbols: Vec<(u64, u8, String)> = Vec::new();
    if numbered == Numbered::PerCpu {
        symbols.push((0, b'A', "fixed_percpu_data".into()));
        symbols.push((0x1000, b'A', "current_task".into()));
    }
    let at = |index: u32| IMAGE + 0x1000 + 64 * u64::from(index);
    symbols.push((IMAGE, b'T', "_stext".into()));
    symbols.push((IMAGE, b'T', "startup".into()));
    symbols.push((IMAGE + 0x2000, b'D', "linux_banner".into()));
    // As long as a name could be before 6.1: its length has the top bit.
    symbols.push((IMAGE + 0x2040, b't', "Q".repeat(127)));
    for index in 0x80..count {
        let name = match index {
            0x90 => "init_uts_ns".into(),
            0x91 => "prb".into(),
            0x100 | 0x200 => "twice".into(),
            _ => std::format!("sym{index:06}"),
        };
        symbols.push((at(index), b'T', name));
    }
    if !types.is_empty() {
        symbols.push((TYPES, b'R', "__start_BTF".into()));
        symbols.push((TYPES + types.len() as u64, b'R', "__stop_BTF".into()));
    }
    let place = |bytes: &mut Vec<u8>, align: usize| {
        while !bytes.len().is_multiple_of(align) {
            bytes.push(0);
        }
        IMAGE + bytes.len() as u64
    };
    let align = if order == Order::Close { 4 } else { 8 };
    let all = tokens();
    let (mut names, mut markers) = (Vec::new(), Vec::new());
    for (index, (_, letter, name)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.push(names.len() as u32);
        }
        let mut text = vec![*letter];
        text.extend(name.as_bytes());
        let numbers = compress(&text, &all);
        let len = numbers.len();
        if len >= 0x80 && wide {
            names.extend([len as u8 & 0x7f | 0x80, (len >> 7) as u8]);
        } else {
            names.push(u8::try_from(len).unwrap());
        }
        names.extend(numbers);
    }
    let mut bytes = vec![0xa5; FRONT];
    bytes[0x2000..0x2040].fill(0);
    bytes[0x2000..0x2023].copy_from_slice(b"Linux version 6.6.0-made (x@y) (gcc");
    let mut tables = Vec::new();
    let base = IMAGE - 0x40_0000;
    let write_numbers = |bytes: &mut Vec<u8>, tables: &mut Vec<(&'static str, u64)>| {
        if numbered == Numbered::Absolute {
            tables.push(("kallsyms_addresses", place(bytes, 8)));
            symbols.iter().for_each(|s| bytes.extend(endian.put64(s.0)));
            return;
        }
        tables.push(("kallsyms_offsets", place(bytes, align)));
        for (address, ..) in &symbols {
            let here = IMAGE + bytes.len() as u64;
            let value = match numbered {
                Numbered::PerCpu if *address < 1 << 31 => *address,
                Numbered::PerCpu => base.wrapping_sub(1).wrapping_sub(*address),
                Numbered::Base => address.wrapping_sub(base),
                _ => address.wrapping_sub(here),
            };
            bytes.extend(endian.put32(value as u32));
        }
        if numbered != Numbered::Place {
            tables.push(("kallsyms_relative_base", place(bytes, 8)));
            bytes.extend(endian.put64(base));
        }
    };
    if order == Order::NumbersFirst {
        write_numbers(&mut bytes, &mut tables);
    }
    tables.push(("kallsyms_num_syms", place(&mut bytes, align)));
    bytes.extend(endian.put32(symbols.len() as u32));
    tables.push(("kallsyms_names", place(&mut bytes, align)));
    bytes.extend(&names);
    place(&mut bytes, align);
    markers.iter().for_each(|marker| bytes.extend(endian.put32(*marker)));
    if order == Order::NumbersFirst {
        // `kallsyms_seqs_of_names` of 6.2 and 6.3, which does not end in a zero.
        place(&mut bytes, align);
        bytes.extend((0..symbols.len() * 3).map(|at| (at % 251) as u8 | 1));
    }
    tables.push(("kallsyms_token_table", place(&mut bytes, align)));
    let mut starts = Vec::new();
    let start = bytes.len();
    for token in &all {
        starts.push((bytes.len() - start) as u16);
        bytes.extend(token);
        bytes.push(0);
    }
    tables.push(("kallsyms_token_index", place(&mut bytes, align)));
    starts.iter().for_each(|start| bytes.extend(endian.put16(*start)));
    if order != Order::NumbersFirst {
        write_numbers(&mut bytes, &mut tables);
    }
    bytes.resize(bytes.len().next_multiple_of(4096) + 4096, 0);
    if !types.is_empty() {
        bytes.resize((TYPES - IMAGE) as usize, 0);
        bytes.extend(types);
        bytes.resize(bytes.len().next_multiple_of(4096) + 4096, 0);
    }
    let memory = Flat { base: IMAGE, bytes, endian, word: Word::Bits64 };
    Made { memory, tables, symbols }
}

/// BTF as it is written.
pub struct MakeBtf {
    endian: Endian,
    pub types: Vec<u8>,
    pub strings: Vec<u8>,
    pub count: u32,
}

/// Numbers of kinds.
pub mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

impl MakeBtf {
    pub fn new(endian: Endian) -> MakeBtf {
        MakeBtf { endian, types: Vec::new(), strings: vec![0], count: 0 }
    }

    pub fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let mut whole = vec![0];
        whole.extend(name.as_bytes());
        whole.push(0);
        if let Some(at) = self.strings.windows(whole.len()).position(|w| w == whole) {
            return at as u32 + 1;
        }
        self.strings.extend(&whole[1..]);
        (self.strings.len() - whole.len() + 1) as u32
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend(self.endian.put32(*word));
        }
    }

    /// A type with what belongs to its kind; returns its number.
    pub fn add(
        &mut self,
        kind: u32,
        flag: bool,
        name: &str,
        value: u32,
        more: &[u32],
        n: u32,
    ) -> u32 {
        let name = self.name(name);
        self.words(&[name, u32::from(flag) << 31 | kind << 24 | n, value]);
        self.words(more);
        self.count += 1;
        self.count
    }

    pub fn int(&mut self, name: &str, size: u32) -> u32 {
        self.add(kind::INT, false, name, size, &[(1 << 24) | (size * 8)], 0)
    }

    /// Members are name, type and bits, and with `flag` the width of a bit field.
    pub fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32, u32)]) -> u32 {
        let flag = members.iter().any(|member| member.3 > 0);
        let mut more = Vec::new();
        for (name, of, bits, width) in members {
            more.extend([self.name(name), *of, bits | width << 24]);
        }
        self.add(kind::STRUCT, flag, name, size, &more, members.len() as u32)
    }

    /// The whole.
    pub fn bytes(&self, layout: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = if layout.is_some() { 32 } else { 24 };
        bytes.extend(self.endian.put16(0xeb9f));
        bytes.extend([1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [header, 0, types, types, strings] {
            bytes.extend(self.endian.put32(word));
        }
        if let Some(layout) = layout {
            bytes.extend(self.endian.put32(types + strings));
            bytes.extend(self.endian.put32(layout.len() as u32));
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes.extend(layout.unwrap_or(&[]));
        bytes
    }

    /// The whole, at an odd address as before 6.16; returns where it is.
    pub fn memory(&self, layout: Option<&[u8]>) -> (Flat, u64, u64) {
        let mut bytes = vec![0x5a; 0x17c];
        bytes.extend(self.bytes(layout));
        let end = IMAGE + bytes.len() as u64;
        bytes.resize(bytes.len().next_multiple_of(4096) + 4096, 0);
        let flat = Flat { base: IMAGE, bytes, endian: self.endian, word: Word::Bits64 };
        (flat, IMAGE + 0x17c, end)
    }
}
