//! Layouts out of BTF.

use super::elf::Elf;
use super::layout::{Layouts, Place, Structure};
use super::rows::Wanted;
use std::collections::{HashMap, HashSet};
use tamis_core::kernel::symbols::btf::{Kind, Record};
use tamis_core::kernel::symbols::{Btf, Failed, Reader, SymbolsError, Words};

/// Types that the index has room for: all of a kernel's.
const TYPES: usize = 1 << 17;
/// Structures without a name in one another.
const DEEPEST: u32 = 16;
/// Members that are looked at in one structure.
const MOST: u32 = 1 << 16;

type Names = HashMap<u32, &'static str>;

/// The layouts of the types between two addresses.
pub(super) fn gather(
    elf: &mut Elf,
    start: u64,
    end: u64,
    wanted: &Wanted,
) -> Result<Layouts, SymbolsError> {
    let mut reader = Reader::new(elf);
    gather_from(&mut reader, start, end, wanted).map_err(|Failed| reader.error())
}

fn gather_from(
    reader: &mut Reader<'_>,
    start: u64,
    end: u64,
    wanted: &Wanted,
) -> Result<Layouts, Failed> {
    let mut index = vec![0; TYPES];
    let btf = Btf::load(reader, start, end, &mut index)?;
    let mut words = Words::<512>::new();
    let mut names: HashSet<&'static str> = HashSet::new();
    for (name, members) in wanted.structures.iter().chain(&wanted.enumerations) {
        names.insert(name);
        names.extend(members);
    }
    assert!(names.iter().all(|name| words.add(name)), "room for all words");
    btf.find_words(reader, &mut words)?;
    let names: Names = names.iter().filter_map(|name| Some((words.offset(name)?, *name))).collect();
    let mut layouts = Layouts::default();
    btf.each(reader, &mut |reader, record| {
        let Some(name) = names.get(&record.name).copied() else { return Ok(false) };
        if let Some(wanted) = wanted.structures.get(name)
            && (record.kind.has_members() || record.kind == Kind::Typedef)
        {
            let structure = match record.kind {
                Kind::Typedef => btf.strip(reader, record.id)?,
                _ => *record,
            };
            // A structure has its own name, too: a typedef of it would only say the same.
            if structure.kind.has_members() {
                let mut walk =
                    Walk { btf: &btf, names: &names, wanted, left: MOST, into: HashMap::new() };
                walk.members(reader, &structure, 0, 0)?;
                let members = walk.into;
                layouts.add(name, Structure { size: structure.value.into(), members });
            }
        }
        if let Some(wanted) = wanted.enumerations.get(name).filter(|_| record.kind.is_enum()) {
            for index in 0..record.count {
                let Some((of, value)) = btf.enumerator(reader, record, index)? else { break };
                if let Some(of) = names.get(&of).filter(|of| wanted.contains(**of)) {
                    layouts.add_enumerator(name, of, value);
                }
            }
        }
        Ok(false)
    })?;
    Ok(layouts)
}

/// Goes over the members of a structure.
struct Walk<'w, 'b> {
    btf: &'w Btf<'b>,
    names: &'w Names,
    wanted: &'w HashSet<&'static str>,
    left: u32,
    into: HashMap<String, Place>,
}

impl Walk<'_, '_> {
    /// The members of a structure `bits` behind the start of the outermost one.
    fn members(
        &mut self,
        reader: &mut Reader<'_>,
        of: &Record,
        bits: u64,
        depth: u32,
    ) -> Result<(), Failed> {
        for index in 0..of.count {
            let Some(left) = self.left.checked_sub(1) else { break };
            self.left = left;
            let Some(member) = self.btf.member(reader, of, index)? else { break };
            let bits = bits + u64::from(member.bits);
            if member.name == 0 {
                let inner = self.btf.strip(reader, member.of)?;
                if inner.kind.has_members() && depth < DEEPEST {
                    self.members(reader, &inner, bits, depth + 1)?;
                }
            } else if let Some(name) =
                self.names.get(&member.name).filter(|n| self.wanted.contains(**n))
            {
                let array = self.btf.strip(reader, member.of)?;
                let count = self.btf.array(reader, &array)?.map(|array| array.count.into());
                let place = Place { offset: bits / 8, count };
                self.into.entry((*name).to_owned()).or_insert(place);
            }
        }
        Ok(())
    }
}
