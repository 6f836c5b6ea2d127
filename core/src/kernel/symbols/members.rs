//! Where members of structures are, by their names.

use super::btf::{Btf, Kind, Record};
use super::words::cut;
use super::{Failed, Reader, Words, limits};

/// Structures of one name: the kernel has up to three.
const SAME_NAME: usize = 4;

/// Where a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Bits from the start of the structure.
    pub bits: u64,
    /// Bits of a bit field; 0 for others.
    pub width: u32,
    /// The number of its type.
    pub of: u32,
}

/// A member, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Bytes from the start of the structure.
    pub offset: u64,
    /// Its own bytes.
    pub size: u64,
    /// The number of its type.
    pub of: u32,
}

/// The types whose names are looked for.
#[derive(Debug)]
pub struct Members<const MOST: usize = 192> {
    /// Offset of the name, number of the type.
    types: heapless::Vec<(u32, u32), MOST>,
}

impl<const MOST: usize> Members<MOST> {
    /// Notes all structures, unions and typedefs of these names, in one pass over the types. `enumerator` is called with
    /// the names of such enumerations and of all their enumerators, and with the values of these.
    #[inline]
    pub fn find<const WORDS: usize>(
        reader: &mut Reader<'_>,
        btf: &Btf<'_>,
        words: &Words<'_, WORDS>,
        enumerator: &mut dyn FnMut(u32, u32, u64),
    ) -> Result<Members<MOST>, Failed> {
        let mut types = heapless::Vec::new();
        btf.each(reader, &mut |reader, record| {
            // What has no name is in another.
            if record.name == 0 || words.at(record.name).is_none() {
                return Ok(false);
            }
            if record.kind.has_members() || record.kind == Kind::Typedef {
                // Without room for it, it is one that is not there.
                let _ = types.push((record.name, record.id));
            } else if record.kind.is_enum() {
                let mut index = 0;
                while let Some((name, value)) = btf.enumerator(reader, record, index)? {
                    enumerator(record.name, name, value);
                    index += 1;
                }
            }
            Ok(false)
        })?;
        Ok(Members { types })
    }

    /// The structures of this name.
    #[inline]
    fn named(&self, name: u32) -> heapless::Vec<u32, SAME_NAME> {
        self.types.iter().filter(|(n, _)| *n == name).map(|(_, id)| *id).take(SAME_NAME).collect()
    }

    /// The number of the one structure of this name; `None` where there is none, or where there are several.
    #[inline]
    pub fn one<const WORDS: usize>(&self, words: &Words<'_, WORDS>, name: &str) -> Option<u32> {
        match self.named(words.offset(name)?)[..] {
            [id] => Some(id),
            _ => None,
        }
    }

    /// Bytes of a structure; `None` where there is none of this name, or several of different sizes.
    #[inline]
    pub fn size<const WORDS: usize>(
        &self,
        reader: &mut Reader<'_>,
        btf: &Btf<'_>,
        words: &Words<'_, WORDS>,
        structure: &str,
    ) -> Result<Option<u64>, Failed> {
        let Some(name) = words.offset(structure) else { return Ok(None) };
        let mut found = None;
        for id in self.named(name) {
            let size = btf.size_of(reader, id)?;
            if found.is_some_and(|other| other != size) {
                return Ok(None);
            }
            found = Some(size);
        }
        Ok(found)
    }

    /// Where a member is whose name is `field`, which may be a path (`desc_ring.head`). `None` where there is
    /// none, where two structures of the name have it in different places, and for bit fields.
    #[inline]
    pub fn member<const WORDS: usize>(
        &self,
        reader: &mut Reader<'_>,
        btf: &Btf<'_>,
        words: &Words<'_, WORDS>,
        structure: &str,
        field: &str,
    ) -> Result<Option<Member>, Failed> {
        let Some(name) = words.offset(structure) else { return Ok(None) };
        let mut found: Option<Member> = None;
        for id in self.named(name) {
            let Some(place) = path(reader, btf, id, field, &|word| words.offset(word))? else {
                continue;
            };
            let (offset, size) = (place.bits / 8, btf.size_of(reader, place.of)?);
            let inside = offset
                .checked_add(size)
                .is_some_and(|end| btf.size_of(reader, id).is_ok_and(|structure| end <= structure));
            let here = Member { offset, size, of: place.of };
            let other = found.is_some_and(|other| (other.offset, other.size) != (offset, size));
            if other || place.width > 0 || !inside {
                return Ok(None);
            }
            found = Some(here);
        }
        Ok(found)
    }
}

/// Follows a path of members from a structure on; `offset` says where a word is among the strings.
#[inline]
pub fn path(
    reader: &mut Reader<'_>,
    btf: &Btf<'_>,
    id: u32,
    field: &str,
    offset: &dyn Fn(&str) -> Option<u32>,
) -> Result<Option<Place>, Failed> {
    let mut place = Place { bits: 0, width: 0, of: id };
    let mut rest = field;
    if rest.is_empty() {
        return Ok(None);
    }
    while !rest.is_empty() {
        let word;
        (word, rest) = cut(rest);
        let Some(name) = offset(word) else { return Ok(None) };
        let Some(next) = member(reader, btf, place.of, name)? else { return Ok(None) };
        place = Place { bits: place.bits.saturating_add(next.bits), ..next };
    }
    Ok(Some(place))
}

/// Where the member of this name is, in the structure itself or in its members without a name.
#[inline]
pub fn member(
    reader: &mut Reader<'_>,
    btf: &Btf<'_>,
    id: u32,
    name: u32,
) -> Result<Option<Place>, Failed> {
    if name == 0 {
        return Ok(None);
    }
    // Structures that are gone into: the next of their members, and where they are.
    let mut open = heapless::Vec::<(Record, u32, u64), { limits::NESTED as usize }>::new();
    const WHAT: &str = "a structure in BTF";
    let record = btf.strip(reader, id)?;
    open.push((record, 0, 0)).map_err(|_| Failed)?;
    for _ in 0..limits::MEMBERS {
        let Some((record, next, bits)) = open.last_mut() else { return Ok(None) };
        let (record, index, start) = (*record, *next, *bits);
        *next += 1;
        let Some(member) = btf.member(reader, &record, index)? else {
            open.pop();
            continue;
        };
        let at = start.saturating_add(member.bits.into());
        if member.name == name {
            return Ok(Some(Place { bits: at, width: member.width, of: member.of }));
        }
        if member.name == 0 {
            let inner = btf.strip(reader, member.of)?;
            if matches!(inner.kind, Kind::Struct | Kind::Union) {
                open.push((inner, 0, at)).map_err(|_| reader.malformed(WHAT, id.into()))?;
            }
        }
    }
    Err(reader.malformed(WHAT, id.into()))
}
