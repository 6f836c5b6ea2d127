//! BTF: the types of the kernel, one record behind the other, and their names.
//!
//! It lies between the symbols `__start_BTF` and `__stop_BTF`, as the file has it. Types have numbers in the order
//! of their records, from 1 on; 0 is `void`. An index of every so many records, as many as there is room for,
//! makes a number a record in a few steps.

use super::words::Hash;
use super::{Failed, Reader, Words, limits};
use crate::endian::Endian;
use crate::error::part;

const WHAT_HEADER: &str = "the header of BTF";
const WHAT_TYPES: &str = "the types of BTF";
const WHAT_STRINGS: &str = "the strings of BTF";

/// First two bytes, as a number in the kernel's byte order.
const MAGIC: u16 = 0xeb9f;
/// Bytes of a record without what belongs to its kind.
const RECORD: u32 = 12;

/// What a type is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// `void`, which has no record.
    Void,
    /// An integer.
    Int,
    /// A pointer.
    Ptr,
    /// An array.
    Array,
    /// A structure.
    Struct,
    /// A union.
    Union,
    /// An enumeration.
    Enum,
    /// A structure or union of which only the name is known.
    Fwd,
    /// Another name of a type.
    Typedef,
    /// A qualifier.
    Volatile,
    /// A qualifier.
    Const,
    /// A qualifier.
    Restrict,
    /// A function.
    Func,
    /// The parameters and the result of a function.
    FuncProto,
    /// A variable.
    Var,
    /// The variables of a section.
    Datasec,
    /// A floating-point number.
    Float,
    /// A tag on a declaration.
    DeclTag,
    /// A tag on a type.
    TypeTag,
    /// An enumeration of 64 bits.
    Enum64,
    /// One that came later: its records can be stepped over where BTF says how long they are.
    Other(u8),
}

/// Kinds in the order of their numbers, the bytes behind a record, and those of each of its elements.
const KINDS: [(Kind, u8, u8); 20] = [
    (Kind::Void, 0, 0),
    (Kind::Int, 4, 0),
    (Kind::Ptr, 0, 0),
    (Kind::Array, 12, 0),
    (Kind::Struct, 0, 12),
    (Kind::Union, 0, 12),
    (Kind::Enum, 0, 8),
    (Kind::Fwd, 0, 0),
    (Kind::Typedef, 0, 0),
    (Kind::Volatile, 0, 0),
    (Kind::Const, 0, 0),
    (Kind::Restrict, 0, 0),
    (Kind::Func, 0, 0),
    (Kind::FuncProto, 0, 8),
    (Kind::Var, 4, 0),
    (Kind::Datasec, 0, 12),
    (Kind::Float, 0, 0),
    (Kind::DeclTag, 4, 0),
    (Kind::TypeTag, 0, 0),
    (Kind::Enum64, 0, 12),
];

impl Kind {
    #[inline]
    fn of(number: u8) -> Kind {
        KINDS.get(usize::from(number)).map_or(Kind::Other(number), |kind| kind.0)
    }

    /// Whether it has members.
    #[inline]
    pub fn has_members(self) -> bool {
        matches!(self, Kind::Struct | Kind::Union)
    }

    /// Whether it is an enumeration.
    #[inline]
    pub fn is_enum(self) -> bool {
        matches!(self, Kind::Enum | Kind::Enum64)
    }

    /// Whether it stands for another type, of the same size and with the same members.
    #[inline]
    pub fn is_alias(self) -> bool {
        matches!(
            self,
            Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag
        )
    }
}

/// A type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its number.
    pub id: u32,
    /// What it is.
    pub kind: Kind,
    /// Where its name is among the strings; 0 for none.
    pub name: u32,
    /// Elements: members, enumerators, parameters.
    pub count: u32,
    /// Structures and unions: whether members may be bit fields. Enumerations: whether they are signed.
    /// [`Kind::Fwd`]: whether it is a union.
    pub flag: bool,
    /// Bytes of the type, or the number of the type that it is made of, by kind.
    pub value: u32,
    /// Offset of the record among the types.
    at: u32,
    /// Bytes of the record.
    len: u32,
}

impl Record {
    const VOID: Record =
        Record { id: 0, kind: Kind::Void, name: 0, count: 0, flag: false, value: 0, at: 0, len: 0 };
}

/// A member of a structure or union.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawMember {
    /// Its name; 0 for none.
    pub name: u32,
    /// The number of its type.
    pub of: u32,
    /// Bits from the start of the structure.
    pub bits: u32,
    /// Bits of a bit field; 0 for other members.
    pub width: u32,
}

/// An array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Array {
    /// The number of its elements' type.
    pub of: u32,
    /// Elements.
    pub count: u32,
}

/// Where the record of every so manyth type is: as many as there is room for.
struct Index<'i> {
    entries: &'i mut [u32],
    used: usize,
    stride: u32,
}

impl Index<'_> {
    /// Notes that the type behind as many others is there.
    #[inline]
    fn note(&mut self, number: u32, at: u32) {
        if !number.is_multiple_of(self.stride) {
            return;
        }
        if self.used == self.entries.len() {
            // Full: every second entry goes.
            for index in 0..self.used.div_ceil(2) {
                let kept = self.entries.get(2 * index).copied().unwrap_or(0);
                if let Some(entry) = self.entries.get_mut(index) {
                    *entry = kept;
                }
            }
            (self.used, self.stride) = (self.used.div_ceil(2), self.stride.saturating_mul(2));
            if !number.is_multiple_of(self.stride) {
                return;
            }
        }
        if let Some(entry) = self.entries.get_mut(self.used) {
            (*entry, self.used) = (at, self.used + 1);
        }
    }

    /// The type of the largest number that is not behind this one, and where it is.
    #[inline]
    fn before(&self, number: u32) -> Option<(u32, u32)> {
        let index = (number / self.stride) as usize;
        let entry = self.entries.get(..self.used)?.get(index)?;
        Some((index as u32 * self.stride, *entry))
    }
}

/// The types of a kernel.
pub struct Btf<'i> {
    types: u64,
    types_len: u32,
    strings: u64,
    strings_len: u32,
    /// Bytes of the records of each kind, where BTF itself says so.
    layout: Option<(u64, u32)>,
    index: Index<'i>,
    count: u32,
    cut: Option<u8>,
}

impl<'i> Btf<'i> {
    /// The BTF between `start` and `end`; `index` is room for as many numbers: 1,024 make every answer fast enough.
    /// Reads all types once.
    #[inline]
    pub fn load(
        reader: &mut Reader<'_>,
        start: u64,
        end: u64,
        index: &'i mut [u32],
    ) -> Result<Btf<'i>, Failed> {
        let size = end.checked_sub(start).and_then(|size| u32::try_from(size).ok()).unwrap_or(0);
        let mut field = |offset| reader.u32(WHAT_HEADER, start.wrapping_add(offset));
        let (header, types, types_len) = (field(4)?, field(8)?, field(12)?);
        let (strings, strings_len) = (field(16)?, field(20)?);
        let layout = if header >= 32 { Some((field(24)?, field(28)?)) } else { None };
        if reader.u16(WHAT_HEADER, start)? != MAGIC
            || reader.u8(WHAT_HEADER, start.wrapping_add(2))? != 1
            || header < 24
            || index.is_empty()
        {
            return Err(reader.malformed(WHAT_HEADER, start));
        }
        // Sections lie inside, each by itself.
        let inside = |offset: u32, len: u32| {
            let end = header.checked_add(offset).and_then(|at| at.checked_add(len));
            len <= limits::SECTION && end.is_some_and(|end| end <= size)
        };
        if !inside(types, types_len) || !inside(strings, strings_len) || strings_len == 0 {
            return Err(reader.malformed(WHAT_HEADER, start));
        }
        let layout = layout.filter(|(at, len)| *len > 0 && inside(*at, *len));
        let body = start.wrapping_add(header.into());
        let at = |offset: u32| body.wrapping_add(offset.into());
        let strings = at(strings);
        let last = strings.wrapping_add(u64::from(strings_len) - 1);
        if reader.u8(WHAT_STRINGS, strings)? != 0 || reader.u8(WHAT_STRINGS, last)? != 0 {
            return Err(reader.malformed(WHAT_STRINGS, strings));
        }
        let mut btf = Btf {
            types: at(types),
            types_len,
            strings,
            strings_len,
            layout: layout.map(|(offset, len)| (at(offset), len)),
            index: Index { entries: index, used: 0, stride: 1 },
            count: 1,
            cut: None,
        };
        btf.index_types(reader)?;
        Ok(btf)
    }

    /// Goes over all types, up to one that cannot be stepped over.
    #[inline]
    fn index_types(&mut self, reader: &mut Reader<'_>) -> Result<(), Failed> {
        let (mut at, mut id) = (0, 1);
        while at < self.types_len && id < limits::TYPES {
            let record = match self.parse(reader, id, at)? {
                Ok(record) => record,
                Err(kind) => {
                    self.cut = Some(kind);
                    break;
                }
            };
            self.index.note(id - 1, at);
            (at, id) = (at + record.len, id + 1);
        }
        self.count = id;
        Ok(())
    }

    /// One more than the largest number of a type.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The kind of the first type that could not be stepped over: those behind it are not known.
    #[inline]
    pub fn cut(&self) -> Option<u8> {
        self.cut
    }

    /// The type whose record is there; the error is the number of a kind that is not known.
    #[inline]
    fn parse(
        &self,
        reader: &mut Reader<'_>,
        id: u32,
        at: u32,
    ) -> Result<Result<Record, u8>, Failed> {
        let virt = self.types.wrapping_add(at.into());
        let mut raw = [0; RECORD as usize];
        reader.bytes(WHAT_TYPES, virt, &mut raw)?;
        let endian = reader.endian();
        let field = |offset| endian.u32(&raw, offset).unwrap_or(0);
        let (name, info, value) = (field(0), field(4), field(8));
        let (number, count) = ((info >> 24 & 0x7f) as u8, info & 0xff_ffff);
        let said = match self.layout {
            Some((at, len)) if u32::from(number) < len / 4 => {
                let at = at.wrapping_add(4 * u64::from(number));
                Some((reader.u8(WHAT_HEADER, at)?, reader.u8(WHAT_HEADER, at.wrapping_add(1))?))
            }
            _ => None,
        };
        let known = KINDS.get(usize::from(number)).filter(|_| number > 0);
        let Some((extra, each)) = known.map(|kind| (kind.1, kind.2)).or(said) else {
            return Ok(Err(number));
        };
        let len = u32::from(each)
            .checked_mul(count)
            .and_then(|elements| elements.checked_add(RECORD + u32::from(extra)))
            .filter(|len| at.checked_add(*len).is_some_and(|end| end <= self.types_len));
        match len {
            Some(len) => {
                let (kind, flag) = (Kind::of(number), info >> 31 != 0);
                Ok(Ok(Record { id, kind, name, count, flag, value, at, len }))
            }
            None => Err(reader.malformed(WHAT_TYPES, virt)),
        }
    }

    /// The type of this number.
    #[inline]
    pub fn record(&self, reader: &mut Reader<'_>, id: u32) -> Result<Record, Failed> {
        let Some(number) = id.checked_sub(1) else { return Ok(Record::VOID) };
        let before = self.index.before(number).filter(|_| id < self.count);
        let Some((first, mut at)) = before else {
            return Err(reader.malformed(WHAT_TYPES, self.types));
        };
        let mut id = first + 1;
        loop {
            let Ok(record) = self.parse(reader, id, at)? else {
                return Err(reader.malformed(WHAT_TYPES, self.types));
            };
            if id == number + 1 {
                return Ok(record);
            }
            (at, id) = (at.saturating_add(record.len), id + 1);
        }
    }

    /// Calls `each` with every type, in the order of their numbers, until it says that it has seen enough.
    #[inline]
    pub fn each(
        &self,
        reader: &mut Reader<'_>,
        each: &mut dyn FnMut(&mut Reader<'_>, &Record) -> Result<bool, Failed>,
    ) -> Result<(), Failed> {
        let mut at = 0;
        for id in 1..self.count {
            let Ok(record) = self.parse(reader, id, at)? else { break };
            if each(reader, &record)? {
                break;
            }
            at = at.saturating_add(record.len);
        }
        Ok(())
    }

    /// Fills `raw` with element `index` of a type.
    #[inline]
    fn element(
        &self,
        reader: &mut Reader<'_>,
        record: &Record,
        offset: u32,
        raw: &mut [u8],
    ) -> Result<Endian, Failed> {
        let at = u64::from(record.at) + u64::from(RECORD) + u64::from(offset);
        reader.bytes(WHAT_TYPES, self.types.wrapping_add(at), raw)?;
        Ok(reader.endian())
    }

    /// A member of a structure or union; `None` behind the last one.
    #[inline]
    pub fn member(
        &self,
        reader: &mut Reader<'_>,
        record: &Record,
        index: u32,
    ) -> Result<Option<RawMember>, Failed> {
        if !record.kind.has_members() || index >= record.count {
            return Ok(None);
        }
        let mut raw = [0; 12];
        let endian = self.element(reader, record, 12 * index, &mut raw)?;
        let field = |offset| endian.u32(&raw, offset).unwrap_or(0);
        let place = field(8);
        let (bits, width) = match record.flag {
            true => (place & 0xff_ffff, place >> 24),
            false => (place, 0),
        };
        Ok(Some(RawMember { name: field(0), of: field(4), bits, width }))
    }

    /// The name of an enumerator and its value, negative ones in two's complement of 64 bits; `None` behind the
    /// last one.
    #[inline]
    pub fn enumerator(
        &self,
        reader: &mut Reader<'_>,
        record: &Record,
        index: u32,
    ) -> Result<Option<(u32, u64)>, Failed> {
        let len = match record.kind {
            Kind::Enum => 8,
            Kind::Enum64 => 12,
            _ => return Ok(None),
        };
        if index >= record.count {
            return Ok(None);
        }
        let mut raw = [0; 12];
        let part_of = raw.get_mut(..len as usize).unwrap_or(&mut []);
        let endian = self.element(reader, record, len * index, part_of)?;
        let field = |offset| endian.u32(&raw, offset).unwrap_or(0);
        let value = match record.kind {
            Kind::Enum64 => u64::from(field(8)) << 32 | u64::from(field(4)),
            // Before 6.0 nothing says whether it is signed, and the top bit means that it is.
            _ => i64::from(field(4) as i32) as u64,
        };
        Ok(Some((field(0), value)))
    }

    /// What an array is of; `None` for other types.
    #[inline]
    pub fn array(&self, reader: &mut Reader<'_>, record: &Record) -> Result<Option<Array>, Failed> {
        if record.kind != Kind::Array {
            return Ok(None);
        }
        let mut raw = [0; 12];
        let endian = self.element(reader, record, 0, &mut raw)?;
        let field = |offset| endian.u32(&raw, offset).unwrap_or(0);
        Ok(Some(Array { of: field(0), count: field(8) }))
    }

    /// Parameter `index` of [`Kind::FuncProto`]: its name and the number of its type.
    #[inline]
    pub fn parameter(
        &self,
        reader: &mut Reader<'_>,
        record: &Record,
        index: u32,
    ) -> Result<Option<(u32, u32)>, Failed> {
        if record.kind != Kind::FuncProto || index >= record.count {
            return Ok(None);
        }
        let mut raw = [0; 8];
        let endian = self.element(reader, record, 8 * index, &mut raw)?;
        let field = |offset| endian.u32(&raw, offset).unwrap_or(0);
        Ok(Some((field(0), field(4))))
    }

    /// What integers are: bit 0 signed, bit 1 characters, bit 2 truth values.
    #[inline]
    pub fn int_encoding(&self, reader: &mut Reader<'_>, record: &Record) -> Result<u8, Failed> {
        if record.kind != Kind::Int {
            return Ok(0);
        }
        let mut raw = [0; 4];
        let endian = self.element(reader, record, 0, &mut raw)?;
        Ok((endian.u32(&raw, 0).unwrap_or(0) >> 24 & 0xf) as u8)
    }

    /// Past typedefs and qualifiers.
    #[inline]
    pub fn strip(&self, reader: &mut Reader<'_>, id: u32) -> Result<Record, Failed> {
        let mut record = self.record(reader, id)?;
        for _ in 0..limits::CHAIN {
            if !record.kind.is_alias() {
                return Ok(record);
            }
            record = self.record(reader, record.value)?;
        }
        Err(reader.malformed("a typedef in BTF", self.types.wrapping_add(record.at.into())))
    }

    /// Bytes of a type: 0 for `void`, functions, and what is not whole.
    #[inline]
    pub fn size_of(&self, reader: &mut Reader<'_>, id: u32) -> Result<u64, Failed> {
        let (mut id, mut times) = (id, 1u64);
        for _ in 0..limits::CHAIN {
            let record = self.strip(reader, id)?;
            let size = match record.kind {
                Kind::Array => {
                    let Some(array) = self.array(reader, &record)? else { return Ok(0) };
                    times = times.saturating_mul(array.count.into());
                    id = array.of;
                    continue;
                }
                Kind::Ptr => reader.word_size().bytes() as u64,
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Float => record.value.into(),
                _ => 0,
            };
            return Ok(times.saturating_mul(size));
        }
        Err(reader.malformed("an array in BTF", self.types))
    }

    /// Looks for names among the strings, in one pass over them.
    #[inline]
    pub fn find_words<const MOST: usize>(
        &self,
        reader: &mut Reader<'_>,
        words: &mut Words<'_, MOST>,
    ) -> Result<(), Failed> {
        let (mut hash, mut start, mut at) = (Hash::NONE, 0u32, 0u32);
        let (mut string, mut len) = ([0u8; limits::WORD], 0usize);
        while at < self.strings_len {
            let piece = reader.piece(WHAT_STRINGS, self.strings.wrapping_add(at.into()))?;
            let most = piece.len().min((self.strings_len - at) as usize);
            for byte in part(piece, 0..most) {
                at += 1;
                if *byte != 0 {
                    hash = hash.with(&[*byte]);
                    if let Some(slot) = string.get_mut(len) {
                        *slot = *byte;
                    }
                    len += 1;
                    continue;
                }
                if let Some(whole) = string.get(..len) {
                    words.found(hash, whole, start);
                }
                (hash, start, len) = (Hash::NONE, at, 0);
            }
        }
        Ok(())
    }

    /// The string there, as much of it as `buf` has room for.
    #[inline]
    pub fn string<'b>(
        &self,
        reader: &mut Reader<'_>,
        offset: u32,
        buf: &'b mut [u8],
    ) -> Result<&'b [u8], Failed> {
        let mut len = 0;
        while offset.saturating_add(len as u32) < self.strings_len {
            let at = self.strings.wrapping_add(u64::from(offset) + len as u64);
            let byte = reader.u8(WHAT_STRINGS, at)?;
            match buf.get_mut(len).filter(|_| byte != 0) {
                Some(slot) => *slot = byte,
                None => break,
            }
            len += 1;
        }
        Ok(part(buf, 0..len))
    }
}
