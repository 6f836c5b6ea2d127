//! Structures and enumerations by their names, from whatever source.

use std::collections::HashMap;

/// A member of a structure or union.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Bytes from the start of the structure.
    pub offset: u64,
    /// Elements, if it is an array.
    pub count: Option<u64>,
}

/// A structure or union; members of members without a name are its own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Structure {
    /// Its bytes.
    pub size: u64,
    /// Those members that are asked for.
    pub members: HashMap<String, Place>,
}

/// Several that are called the same, and are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ambiguous;

/// What one source says.
#[derive(Default, Debug)]
pub(super) struct Layouts {
    structures: HashMap<String, Vec<Structure>>,
    enumerators: HashMap<(String, String), Vec<u64>>,
}

/// Different structures of a name that are held.
const MOST: usize = 16;

impl Layouts {
    /// Adds a structure, unless it is there already.
    pub(super) fn add(&mut self, name: &str, structure: Structure) {
        let known = self.structures.entry(name.to_owned()).or_default();
        if known.len() < MOST && !known.contains(&structure) {
            known.push(structure);
        }
    }

    /// Adds an enumerator of an enumeration.
    pub(super) fn add_enumerator(&mut self, of: &str, name: &str, value: u64) {
        let known = self.enumerators.entry((of.to_owned(), name.to_owned())).or_default();
        if known.len() < MOST && !known.contains(&value) {
            known.push(value);
        }
    }

    /// Bytes of a structure. Of several, the one that has members which are asked for counts.
    pub(super) fn size(&self, name: &str) -> Result<Option<u64>, Ambiguous> {
        let all = self.structures.get(name).map_or(&[][..], Vec::as_slice);
        let with = all.iter().map(|structure| structure.members.len()).max().unwrap_or(0);
        one(all.iter().filter(|of| of.members.len() == with).map(|structure| structure.size))
    }

    /// A member. Of several structures of the name, those that have it count.
    pub(super) fn member(&self, structure: &str, name: &str) -> Result<Option<Place>, Ambiguous> {
        let all = self.structures.get(structure).map_or(&[][..], Vec::as_slice);
        one(all.iter().filter_map(|structure| structure.members.get(name).copied()))
    }

    /// The value of an enumerator, negative ones in two's complement.
    pub(super) fn enumerator(&self, of: &str, name: &str) -> Result<Option<u64>, Ambiguous> {
        let key = (of.to_owned(), name.to_owned());
        one(self.enumerators.get(&key).map_or(&[][..], Vec::as_slice).iter().copied())
    }
}

/// What all of them are.
fn one<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Result<Option<T>, Ambiguous> {
    let Some(first) = all.next() else { return Ok(None) };
    if all.all(|other| other == first) { Ok(Some(first)) } else { Err(Ambiguous) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(size: u64, members: &[(&str, u64)]) -> Structure {
        let place = |(name, offset): &(&str, u64)| {
            ((*name).to_owned(), Place { offset: *offset, count: None })
        };
        Structure { size, members: members.iter().map(place).collect() }
    }

    #[test]
    fn of_structures_of_one_name_those_with_the_member_count() {
        let mut layouts = Layouts::default();
        layouts.add("node", structure(24, &[]));
        layouts.add("node", structure(64, &[("zones", 8), ("id", 16)]));
        layouts.add("node", structure(64, &[("zones", 8), ("id", 16)]));
        assert_eq!(layouts.size("node"), Ok(Some(64)));
        assert_eq!(layouts.member("node", "id"), Ok(Some(Place { offset: 16, count: None })));
        assert_eq!(layouts.member("node", "none"), Ok(None));
        layouts.add("node", structure(72, &[("zones", 8), ("id", 20)]));
        assert_eq!(layouts.size("node"), Err(Ambiguous));
        assert_eq!(layouts.member("node", "zones"), Ok(Some(Place { offset: 8, count: None })));
        assert_eq!(layouts.member("node", "id"), Err(Ambiguous));
        assert_eq!(layouts.size("zone"), Ok(None));
    }

    #[test]
    fn an_enumerator_with_two_values_has_none() {
        let mut layouts = Layouts::default();
        layouts.add_enumerator("flags", "A", 1);
        layouts.add_enumerator("flags", "A", 1);
        assert_eq!(layouts.enumerator("flags", "A"), Ok(Some(1)));
        layouts.add_enumerator("flags", "A", 2);
        assert_eq!(layouts.enumerator("flags", "A"), Err(Ambiguous));
        assert_eq!(layouts.enumerator("other", "A"), Ok(None));
    }
}
