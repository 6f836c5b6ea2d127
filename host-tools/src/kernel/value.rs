//! Values of the kernel's memory, by their types.

use super::types::Types;
use super::{bits, number};
use crate::fail::Result;
use crate::render::json::{Hex, Members};
use crate::render::text::plain;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use tamis_core::endian::Endian;
use tamis_core::kernel::symbols::btf::{Kind, Record};

/// Bytes of a value.
const BYTES: u64 = 1 << 20;
/// Values in one another.
const DEEPEST: u32 = 24;
/// Values in all.
const VALUES: u32 = 1 << 17;

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// An integer.
    Number(i128),
    /// A pointer, and the symbol that it points to.
    Pointer(u64, Option<String>),
    /// A truth value.
    Truth(bool),
    /// Characters.
    Text(String),
    /// An enumerator.
    Name(String),
    /// A structure or union; members of members without a name are its own.
    Members(Vec<(String, Value)>),
    /// An array.
    List(Vec<Value>),
    /// What has no size, or is of a kind that is not known.
    Nothing,
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, json: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            // Readers of JSON have 53 bits.
            Value::Number(number) => match i64::try_from(*number) {
                Ok(small) if small.unsigned_abs() < 1 << 53 => json.serialize_i64(small),
                _ if *number < 0 => json.collect_str(number),
                _ => Hex(*number as u64).serialize(json),
            },
            Value::Pointer(at, _) => Hex(*at).serialize(json),
            Value::Truth(truth) => json.serialize_bool(*truth),
            Value::Text(text) | Value::Name(text) => json.serialize_str(text),
            Value::Members(members) => {
                Members(members.iter().map(|(name, value)| (name, value)).collect()).serialize(json)
            }
            Value::List(list) => json.collect_seq(list),
            Value::Nothing => json.serialize_none(),
        }
    }
}

impl Value {
    /// As C has it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.put(&mut out, 0);
        out
    }

    fn put(&self, out: &mut String, depth: usize) {
        let _ = match self {
            Value::Number(number) => write!(out, "{number}"),
            Value::Pointer(at, Some(symbol)) => write!(out, "{at:#x} <{symbol}>"),
            Value::Pointer(at, None) => write!(out, "{at:#x}"),
            Value::Truth(truth) => write!(out, "{truth}"),
            Value::Text(text) => write!(out, "\"{text}\""),
            Value::Name(name) => write!(out, "{name}"),
            Value::Nothing => write!(out, "{{}}"),
            Value::Members(members) => {
                out.push_str("{\n");
                for (name, value) in members {
                    let _ = write!(out, "{:1$}.{name} = ", "", 2 * depth + 2);
                    value.put(out, depth + 1);
                    out.push_str(",\n");
                }
                write!(out, "{:1$}}}", "", 2 * depth)
            }
            Value::List(list) => {
                self.put_list(list, out, depth);
                Ok(())
            }
        };
    }

    /// Runs of the same are one, as GNU C has it.
    fn put_list(&self, list: &[Value], out: &mut String, depth: usize) {
        let nested = list.iter().any(|value| matches!(value, Value::Members(_) | Value::List(_)));
        out.push_str("{ ");
        let mut at = 0;
        while let Some(value) = list.get(at) {
            let run = list[at..].iter().take_while(|other| *other == value).count();
            if nested {
                let _ = write!(out, "\n{:1$}", "", 2 * depth + 2);
            }
            let shown = if run > 3 { run } else { 1 };
            if shown > 1 {
                let _ = write!(out, "[{at} ... {}] = ", at + run - 1);
            }
            value.put(out, depth + 1);
            at += shown;
            out.push_str(if at < list.len() { ", " } else { " " });
        }
        if nested {
            let _ = write!(out, "\n{:1$}", "", 2 * depth);
        }
        out.push('}');
    }
}

/// Reads values out of the bytes of an object.
struct Object<'o, 't, 'k, 'm, 'b> {
    types: &'o mut Types<'k, 'm, 'b>,
    bytes: &'t [u8],
    left: u32,
}

/// The value of this type at an address; `bit` and `width` are those of a bit field.
pub fn read(
    types: &mut Types<'_, '_, '_>,
    id: u32,
    at: u64,
    bit: u64,
    width: u32,
) -> Result<Value> {
    let size = match width {
        0 => types.size(id)?,
        width => (bit + u64::from(width)).div_ceil(8),
    };
    if size > BYTES {
        let text = format_args!("a value of {size:#x} bytes is too large; name a part of it");
        return Err(types.kernel.fail(text));
    }
    let mut bytes = vec![0; size as usize];
    types.kernel.read(at, &mut bytes)?;
    let mut object = Object { types, bytes: &bytes, left: VALUES };
    object.value(id, bit, width, 0)
}

impl Object<'_, '_, '_, '_, '_> {
    fn value(&mut self, id: u32, bit: u64, width: u32, depth: u32) -> Result<Value> {
        let Some(left) = self.left.checked_sub(1).filter(|_| depth <= DEEPEST) else {
            return Err(self.types.kernel.fail("a value has too many parts; name one of them"));
        };
        self.left = left;
        let record = self.types.strip(id)?;
        match record.kind {
            Kind::Struct | Kind::Union => {
                let mut members = Vec::new();
                self.members(&record, bit, depth, &mut members)?;
                return Ok(Value::Members(members));
            }
            Kind::Array => return self.array(&record, bit, depth),
            Kind::Int | Kind::Ptr | Kind::Enum | Kind::Enum64 => {}
            _ => return Ok(Value::Nothing),
        }
        let size = self.types.size(record.id)?;
        let wide = if width > 0 { width } else { 8 * size.min(16) as u32 };
        let endian = self.types.kernel.reader.endian();
        if wide > 64 {
            // 128 bits, of which there are registers.
            let (first, bytes) = ((bit / 8) as usize, wide as usize / 8);
            let raw = self.bytes.get(first..first + bytes).unwrap_or(&[]);
            let (low, high) = raw.split_at(raw.len() / 2);
            let (low, high) = (number(endian, low), number(endian, high));
            let (low, high) = if endian == Endian::Little { (low, high) } else { (high, low) };
            return Ok(Value::Number((u128::from(high) << 64 | u128::from(low)) as i128));
        }
        let Some(raw) = bits(endian, self.bytes, bit, wide) else { return Ok(Value::Nothing) };
        let signed = |raw: u64| i128::from(((raw << (64 - wide)) as i64) >> (64 - wide));
        Ok(match record.kind {
            Kind::Ptr => Value::Pointer(raw, self.types.kernel.symbol_at(raw)),
            Kind::Int => {
                let encoding = self.types.btf.int_encoding(&mut self.types.kernel.reader, &record);
                match self.types.kernel.table(encoding)? {
                    encoding if encoding & 4 != 0 => Value::Truth(raw != 0),
                    encoding if encoding & 1 != 0 && wide > 0 => Value::Number(signed(raw)),
                    _ => Value::Number(raw.into()),
                }
            }
            _ => match self.enumerator(&record, raw, wide)? {
                Some(name) => Value::Name(name),
                None if record.flag => Value::Number(signed(raw)),
                None => Value::Number(raw.into()),
            },
        })
    }

    /// The enumerator of this value.
    fn enumerator(&mut self, record: &Record, raw: u64, wide: u32) -> Result<Option<String>> {
        let mask = u64::MAX >> (64 - wide.clamp(1, 64));
        for index in 0..record.count {
            let found = self.types.btf.enumerator(&mut self.types.kernel.reader, record, index);
            match self.types.kernel.table(found)? {
                Some((name, value)) if value & mask == raw => {
                    return self.types.string(name).map(Some);
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }

    fn members(
        &mut self,
        record: &Record,
        bit: u64,
        depth: u32,
        into: &mut Vec<(String, Value)>,
    ) -> Result<()> {
        for index in 0..record.count {
            let member = self.types.btf.member(&mut self.types.kernel.reader, record, index);
            let Some(member) = self.types.kernel.table(member)? else { break };
            let at = bit.saturating_add(member.bits.into());
            let inner = self.types.strip(member.of)?;
            if member.name == 0 && inner.kind.has_members() {
                if depth > DEEPEST || self.left == 0 {
                    return Err(self.types.kernel.fail("a value has too many parts"));
                }
                self.left -= 1;
                self.members(&inner, at, depth + 1, into)?;
            } else if member.name != 0 {
                let name = self.types.string(member.name)?;
                into.push((name, self.value(member.of, at, member.width, depth + 1)?));
            }
        }
        Ok(())
    }

    fn array(&mut self, record: &Record, bit: u64, depth: u32) -> Result<Value> {
        let array = self.types.btf.array(&mut self.types.kernel.reader, record);
        let Some(array) = self.types.kernel.table(array)? else { return Ok(Value::Nothing) };
        let size = self.types.size(array.of)?;
        let of = self.types.strip(array.of)?;
        if of.kind == Kind::Int && size == 1 {
            let name = self.types.string(of.name)?;
            if name == "char" {
                let first = (bit / 8) as usize;
                let raw = self.bytes.get(first..first + array.count as usize).unwrap_or(&[]);
                let text = raw.split(|byte| *byte == 0).next().unwrap_or_default();
                return Ok(Value::Text(plain(text)));
            }
        }
        let count = if size == 0 { 0 } else { array.count };
        let mut list = Vec::new();
        for index in 0..u64::from(count) {
            let at = bit.saturating_add(8 * size * index);
            if at / 8 >= self.bytes.len() as u64 {
                break;
            }
            list.push(self.value(array.of, at, 0, depth + 1)?);
        }
        Ok(Value::List(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_fields_are_cut_out_in_either_byte_order() {
        let bytes = [0b1010_0110, 0b0101_1100, 0xff];
        assert_eq!(bits(Endian::Little, &bytes, 1, 3), Some(0b011));
        assert_eq!(bits(Endian::Little, &bytes, 6, 4), Some(0b0010));
        assert_eq!(bits(Endian::Big, &bytes, 1, 3), Some(0b010));
        assert_eq!(bits(Endian::Big, &bytes, 6, 4), Some(0b1001));
        assert_eq!(
            bits(Endian::Little, &[1, 2, 3, 4, 5, 6, 7, 8], 0, 64),
            Some(0x0807_0605_0403_0201)
        );
        assert_eq!(bits(Endian::Big, &bytes, 20, 8), None);
    }

    #[test]
    fn values_are_shown_as_c_has_them() {
        let list = Value::List(vec![Value::Number(0); 9]);
        let value = Value::Members(vec![
            ("a".into(), Value::Number(-1)),
            ("list".into(), list),
            ("some".into(), Value::List(vec![Value::Number(1), Value::Number(2)])),
            ("name".into(), Value::Text("init".into())),
            ("p".into(), Value::Pointer(0x10, Some("sym".into()))),
        ]);
        assert_eq!(
            value.text(),
            "{\n  .a = -1,\n  .list = { [0 ... 8] = 0 },\n  .some = { 1, 2 },\n  .name = \"init\",\n  \
             .p = 0x10 <sym>,\n}"
        );
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(
            json,
            r#"{"a":-1,"list":[0,0,0,0,0,0,0,0,0],"some":[1,2],"name":"init","p":"0x10"}"#
        );
        assert_eq!(
            serde_json::to_string(&Value::Number(1 << 60)).unwrap(),
            "\"0x1000000000000000\""
        );
    }
}
