//! Layouts out of DWARF, unit by unit: one unit of the file is in memory at a time.

use super::elf::Elf;
use super::layout::{Layouts, Place, Structure};
use super::rows::Wanted;
use crate::fail::{Fail, Result};
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugInfo, DebugLineStr, DebugStr, DebugStrOffsets,
    DebugStrOffsetsBase, DebuggingInformationEntry, DwTag, EndianSlice, RunTimeEndian, UnitHeader,
    UnitOffset, constants as dw,
};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use tamis_core::endian::Endian;
use tamis_core::kernel::symbols::VirtMemory as _;

/// Bytes of a unit.
const UNIT: u64 = 256 << 20;
/// Structures without a name in one another.
const DEEPEST: u32 = 16;
/// Types that stand for one another.
const ALIASES: u32 = 32;
/// Members and types that are looked at in one structure.
const MOST: u32 = 1 << 16;
/// The same, in a file: a thousand times as many as a kernel has.
const ALL: u64 = 1 << 32;

type Bytes<'b> = EndianSlice<'b, RunTimeEndian>;

/// The layouts of all units; `None` if the file has no DWARF.
///
/// # Errors
///
/// Damage, and where it is. What stands in front of it is not used, as something behind it might differ.
pub(super) fn gather(elf: &Elf, wanted: &Wanted) -> Result<Option<Layouts>> {
    let Some((mut info, size)) = elf.section(".debug_info")? else { return Ok(None) };
    let order = match elf.byte_order() {
        Endian::Little => RunTimeEndian::Little,
        Endian::Big => RunTimeEndian::Big,
    };
    let held = |name| elf.bytes(name);
    let (abbrev, str) = (held(".debug_abbrev")?, held(".debug_str")?);
    let (line_str, offsets) = (held(".debug_line_str")?, held(".debug_str_offsets")?);
    let abbrev = DebugAbbrev::new(&abbrev, order);
    let strings = Strings {
        str: DebugStr::new(&str, order),
        line_str: DebugLineStr::new(&line_str, order),
        offsets: EndianSlice::new(&offsets, order).into(),
    };
    let mut gather = Gather { wanted, layouts: Layouts::default(), left: ALL };
    let (mut at, mut unit) = (0, Vec::new());
    while at < size {
        let damaged =
            |what: &dyn std::fmt::Display| Fail::new(format_args!("the unit at {at:#x}: {what}"));
        let len = next(&mut info, elf.byte_order(), size - at, &mut unit)
            .map_err(|error| damaged(&error))?;
        gather
            .unit(DebugInfo::new(&unit, order), &abbrev, &strings)
            .map_err(|error| damaged(&error))?;
        at += len;
    }
    Ok(Some(gather.layouts))
}

/// Reads the next unit; returns its bytes, of which there are `left` at most.
fn next(
    info: &mut dyn Read,
    endian: Endian,
    left: u64,
    unit: &mut Vec<u8>,
) -> std::io::Result<u64> {
    let invalid = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    let mut head = [0; 12];
    info.read_exact(&mut head[..4])?;
    let mut used = 4;
    let mut len = u64::from(endian.u32(&head, 0).unwrap_or(0));
    if len == 0xffff_ffff {
        info.read_exact(&mut head[4..])?;
        used = 12;
        len = endian.u64(&head, 4).unwrap_or(0);
    }
    if len == 0 || len > UNIT || used as u64 + len > left {
        return Err(invalid(format!("it claims to have {len} bytes")));
    }
    unit.clear();
    unit.extend_from_slice(&head[..used]);
    let read = info.take(len).read_to_end(unit)? as u64;
    if read < len {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(used as u64 + len)
}

/// Gathers layouts.
struct Gather<'w> {
    wanted: &'w Wanted,
    layouts: Layouts,
    left: u64,
}

/// The sections that names are in.
struct Strings<'b> {
    str: DebugStr<Bytes<'b>>,
    line_str: DebugLineStr<Bytes<'b>>,
    offsets: DebugStrOffsets<Bytes<'b>>,
}

/// A unit that is in memory.
struct Here<'h, 'b> {
    header: &'h UnitHeader<Bytes<'b>>,
    abbreviations: &'h Abbreviations,
    strings: &'h Strings<'b>,
    /// Where the unit's names are, in those of all.
    names: DebugStrOffsetsBase,
    /// Entries that may still be looked at for one structure.
    left: u32,
}

type Entry<'h, 'b> = DebuggingInformationEntry<'h, 'h, Bytes<'b>>;

impl Gather<'_> {
    fn unit<'b>(
        &mut self,
        info: DebugInfo<Bytes<'b>>,
        abbrev: &DebugAbbrev<Bytes<'b>>,
        strings: &Strings<'b>,
    ) -> gimli::Result<()> {
        let Some(header) = info.units().next()? else { return Ok(()) };
        let abbreviations = &header.abbreviations(abbrev)?;
        let file = gimli::DwarfFileType::Main;
        let names = DebugStrOffsetsBase::default_for_encoding_and_file(header.encoding(), file);
        let mut here = Here { header: &header, abbreviations, strings, names, left: 0 };
        let mut entries = header.entries(abbreviations);
        // The unit itself, and the first entry in it.
        let Some((_, root)) = entries.next_dfs()? else { return Ok(()) };
        if let Some(AttributeValue::DebugStrOffsetsBase(base)) =
            root.attr_value(dw::DW_AT_str_offsets_base)?
        {
            here.names = base;
        }
        if entries.next_dfs()?.is_none_or(|(depth, _)| depth != 1) {
            return Ok(());
        }
        while let Some(entry) = entries.current() {
            let tag = entry.tag();
            if is_structure(tag) || tag == dw::DW_TAG_typedef || tag == dw::DW_TAG_enumeration_type
            {
                self.entry(&mut here, entry)?;
            }
            if entries.next_sibling()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn entry<'b>(&mut self, here: &mut Here<'_, 'b>, entry: &Entry<'_, 'b>) -> gimli::Result<()> {
        let Some(name) = here.name(entry)? else { return Ok(()) };
        let Ok(name) = std::str::from_utf8(name) else { return Ok(()) };
        here.left = MOST;
        if entry.tag() == dw::DW_TAG_enumeration_type {
            if let Some(wanted) = self.wanted.enumerations.get(name) {
                here.enumerators(entry, &mut |of, value| {
                    if wanted.contains(of) {
                        self.layouts.add_enumerator(name, of, value);
                    }
                })?;
            }
        } else if let Some(wanted) = self.wanted.structures.get(name) {
            // A typedef stands for a structure with its members.
            let offset = match entry.tag() {
                dw::DW_TAG_typedef => here.strip(entry.offset())?,
                _ => Some(entry.offset()),
            };
            let Some(offset) = offset else { return Ok(()) };
            let structure = here.header.entry(here.abbreviations, offset)?;
            let size =
                structure.attr_value(dw::DW_AT_byte_size)?.and_then(|size| size.udata_value());
            let declared = structure.attr(dw::DW_AT_declaration)?.is_some();
            if let Some(size) = size.filter(|_| is_structure(structure.tag()) && !declared) {
                let mut members = HashMap::new();
                here.members(offset, 0, 0, wanted, &mut members)?;
                self.layouts.add(name, Structure { size, members });
            }
        }
        // What a file has to look at is bounded, whatever is in it.
        self.left = self
            .left
            .checked_sub(u64::from(MOST - here.left))
            .ok_or(gimli::Error::OffsetOutOfBounds)?;
        Ok(())
    }
}

fn is_structure(tag: DwTag) -> bool {
    matches!(tag, dw::DW_TAG_structure_type | dw::DW_TAG_union_type | dw::DW_TAG_class_type)
}

impl<'b> Here<'_, 'b> {
    fn name(&self, entry: &Entry<'_, 'b>) -> gimli::Result<Option<&'b [u8]>> {
        let name = match entry.attr_value(dw::DW_AT_name)? {
            None => return Ok(None),
            Some(AttributeValue::String(name)) => name,
            Some(AttributeValue::DebugStrRef(at)) => self.strings.str.get_str(at)?,
            Some(AttributeValue::DebugLineStrRef(at)) => self.strings.line_str.get_str(at)?,
            Some(AttributeValue::DebugStrOffsetsIndex(index)) => {
                let at =
                    self.strings.offsets.get_str_offset(self.header.format(), self.names, index)?;
                self.strings.str.get_str(at)?
            }
            Some(_) => return Err(gimli::Error::ExpectedStringAttributeValue),
        };
        Ok(Some(name.slice()))
    }

    /// Counts an entry; `false` if there were too many.
    fn step(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// The type of an entry, if it is in this unit.
    fn type_of(&self, entry: &Entry<'_, 'b>) -> gimli::Result<Option<UnitOffset>> {
        Ok(match entry.attr_value(dw::DW_AT_type)? {
            Some(AttributeValue::UnitRef(offset)) => Some(offset),
            _ => None,
        })
    }

    /// Past typedefs and qualifiers.
    fn strip(&mut self, mut offset: UnitOffset) -> gimli::Result<Option<UnitOffset>> {
        for _ in 0..ALIASES {
            if !self.step() {
                break;
            }
            let entry = self.header.entry(self.abbreviations, offset)?;
            match entry.tag() {
                dw::DW_TAG_typedef
                | dw::DW_TAG_const_type
                | dw::DW_TAG_volatile_type
                | dw::DW_TAG_restrict_type
                | dw::DW_TAG_atomic_type => match self.type_of(&entry)? {
                    Some(of) => offset = of,
                    None => return Ok(None),
                },
                _ => return Ok(Some(offset)),
            }
        }
        Ok(None)
    }

    /// The members that are wanted of a structure that is `base` bytes behind the start of the outermost one.
    fn members(
        &mut self,
        structure: UnitOffset,
        base: u64,
        depth: u32,
        wanted: &HashSet<&'static str>,
        into: &mut HashMap<String, Place>,
    ) -> gimli::Result<()> {
        let (header, abbreviations) = (self.header, self.abbreviations);
        let mut tree = header.entries_tree(abbreviations, Some(structure))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            if !self.step() {
                break;
            }
            let entry = child.entry();
            if entry.tag() != dw::DW_TAG_member {
                continue;
            }
            let Some(place) = place(entry)? else { continue };
            let offset = base.wrapping_add(place);
            match self.name(entry)? {
                None => {
                    let Some(of) = self.type_of(entry)? else { continue };
                    let Some(of) = self.strip(of)? else { continue };
                    if depth < DEEPEST && is_structure(header.entry(abbreviations, of)?.tag()) {
                        self.members(of, offset, depth + 1, wanted, into)?;
                    }
                }
                Some(name) => {
                    let Some(name) =
                        std::str::from_utf8(name).ok().and_then(|name| wanted.get(name))
                    else {
                        continue;
                    };
                    let count = self.elements(entry)?;
                    into.entry((*name).to_owned()).or_insert(Place { offset, count });
                }
            }
        }
        Ok(())
    }

    /// Elements of a member, if it is an array.
    fn elements(&mut self, member: &Entry<'_, 'b>) -> gimli::Result<Option<u64>> {
        let Some(of) = self.type_of(member)? else { return Ok(None) };
        let Some(of) = self.strip(of)? else { return Ok(None) };
        let (header, abbreviations) = (self.header, self.abbreviations);
        if header.entry(abbreviations, of)?.tag() != dw::DW_TAG_array_type {
            return Ok(None);
        }
        let mut tree = header.entries_tree(abbreviations, Some(of))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            if !self.step() {
                break;
            }
            let entry = child.entry();
            if entry.tag() == dw::DW_TAG_subrange_type {
                let number = |of| {
                    entry.attr_value(of).map(|value| value.and_then(|value| value.udata_value()))
                };
                let count: Option<u64> = number(dw::DW_AT_count)?;
                let last: Option<u64> = number(dw::DW_AT_upper_bound)?;
                return Ok(Some(count.or(last.map(|last| last.wrapping_add(1))).unwrap_or(0)));
            }
        }
        Ok(None)
    }

    /// The enumerators of an enumeration.
    fn enumerators(
        &mut self,
        of: &Entry<'_, 'b>,
        each: &mut dyn FnMut(&str, u64),
    ) -> gimli::Result<()> {
        let (header, abbreviations) = (self.header, self.abbreviations);
        let mut tree = header.entries_tree(abbreviations, Some(of.offset()))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            if !self.step() {
                break;
            }
            let entry = child.entry();
            let Some(value) = entry.attr_value(dw::DW_AT_const_value)? else { continue };
            let value = match value {
                // A form of a few bytes has no sign.
                AttributeValue::Data1(_) | AttributeValue::Data2(_) | AttributeValue::Data4(_) => {
                    value.udata_value()
                }
                value => value.sdata_value().map(|value| value as u64).or(value.udata_value()),
            };
            let name = self.name(entry)?.and_then(|name| std::str::from_utf8(name).ok());
            if let (Some(name), Some(value)) = (name, value) {
                each(name, value);
            }
        }
        Ok(())
    }
}

/// Where a member is in its structure; `None` where DWARF says it in a way that no kernel's has.
fn place(member: &Entry<'_, '_>) -> gimli::Result<Option<u64>> {
    if let Some(bits) = member.attr_value(dw::DW_AT_data_bit_offset)? {
        return Ok(bits.udata_value().map(|bits| bits / 8));
    }
    Ok(match member.attr_value(dw::DW_AT_data_member_location)? {
        // A member of a union.
        None => Some(0),
        // DWARF 2: DW_OP_plus_uconst.
        Some(AttributeValue::Exprloc(expression)) => {
            let mut bytes = expression.0;
            match gimli::Reader::read_u8(&mut bytes)? {
                0x23 => Some(gimli::Reader::read_uleb128(&mut bytes)?),
                _ => None,
            }
        }
        Some(value) => value.udata_value(),
    })
}
