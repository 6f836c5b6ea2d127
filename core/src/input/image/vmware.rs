//! VMware: a suspended machine (`.vmss`) or a snapshot (`.vmsn`), with the memory in it, or beside it in a file without a
//! header (`.vmem`).
//!
//! The file begins with a magic, a version and a number of groups, 4 bytes each, then 80 bytes for each group: a name of
//! 64, where its tags are, and how many bytes of them. A tag is a byte of flags, the length of a name, the name, as many
//! indices of 4 bytes as the upper two bits of the flags say, and its value: as many bytes as the lower six say, or, where
//! these are 62 or 63, a block: its length in the file and in memory, 8 bytes each, 2 bytes with the length of a padding,
//! the padding, and the bytes. The group `memory` has the memory, and the regions it is split into around the hole for
//! devices below 4 GiB: `regionPPN` is where one is in memory, `regionPageNum` where it is in the file, `regionSize` how
//! long it is, all in pages of 4 KiB.

use super::{ImageError, Kind, Layout};
use crate::endian::Endian;
use crate::error::part_mut;
use crate::io::RandomAccess;
use alloc::vec::Vec;

const HEADER: u64 = 12;
const GROUP: usize = 80;
/// Groups and tags that are gone over, at most.
const GROUPS_MOST: u32 = 4096;
const TAGS_MOST: usize = 1 << 20;
/// Regions of memory, at most: there are two or three.
const REGIONS_MOST: usize = 64;
const PAGE: u64 = 4096;
/// What says that a value is a block.
const BLOCKS: [u8; 2] = [62, 63];

/// Where memory is.
#[derive(Clone, Copy, Default)]
struct Region {
    ppn: u64,
    page: u64,
    pages: u64,
}

/// Takes a number for one of its fields.
type SetField = fn(&mut Region, u64);

/// What the group of memory says.
#[derive(Default)]
struct Memory {
    regions: Vec<Region>,
    count: u64,
    /// Offset and bytes of the memory in the file itself.
    inside: Option<(u64, u64)>,
}

fn read_exact(file: &mut impl RandomAccess, at: u64, buf: &mut [u8]) -> Result<(), ImageError> {
    file.read_at(at, buf).map_err(|io| ImageError::Read { what: "the VMware state", at, io })
}

fn group(file: &mut impl RandomAccess, len: u64) -> Result<(u64, u64), ImageError> {
    let mut head = [0; HEADER as usize];
    read_exact(file, 0, &mut head)?;
    let groups = Endian::Little.u32(&head, 8).unwrap_or_default().min(GROUPS_MOST);
    for index in 0..u64::from(groups) {
        let mut raw = [0; GROUP];
        read_exact(file, HEADER + GROUP as u64 * index, &mut raw)?;
        let at = Endian::Little.u64(&raw, 64).unwrap_or_default();
        let size = Endian::Little.u64(&raw, 72).unwrap_or_default();
        if raw.starts_with(b"memory\0") {
            return Ok((at, at.saturating_add(size).min(len)));
        }
    }
    Err(ImageError::Mismatch("it has no group with the machine's memory"))
}

fn memory(file: &mut impl RandomAccess, len: u64) -> Result<Memory, ImageError> {
    let (mut at, end) = group(file, len)?;
    let mut memory = Memory::default();
    for _ in 0..TAGS_MOST {
        let mut head = [0; 2];
        if at.saturating_add(2) > end {
            break;
        }
        read_exact(file, at, &mut head)?;
        let [flags, name_len] = head;
        if head == [0; 2] {
            break;
        }
        let mut name = [0; 255];
        let name = part_mut(&mut name, 0..name_len.into());
        read_exact(file, at + 2, name)?;
        let indices = u64::from(flags >> 6);
        let mut index = [0; 4];
        let index_at = at + 2 + u64::from(name_len);
        if indices > 0 {
            read_exact(file, index_at, &mut index)?;
        }
        let index = u32::from_le_bytes(index) as usize;
        let value_at = index_at + 4 * indices;
        let size = flags & 0x3f;
        if BLOCKS.contains(&size) {
            let mut block = [0; 18];
            read_exact(file, value_at, &mut block)?;
            let in_file = Endian::Little.u64(&block, 0).unwrap_or_default();
            let in_memory = Endian::Little.u64(&block, 8).unwrap_or_default();
            let padding = Endian::Little.u16(&block, 16).unwrap_or_default();
            let from = value_at + 18 + u64::from(padding);
            if name == b"Memory" {
                if in_file != in_memory {
                    let what = "length of memory (it is compressed, which VMware did long ago)";
                    return Err(ImageError::Invalid { what, at: value_at, value: in_file });
                }
                memory.inside = Some((from, in_file));
            }
            at = from.saturating_add(in_file);
            continue;
        }
        let mut value = [0; 8];
        if size <= 8 {
            read_exact(file, value_at, part_mut(&mut value, 0..size.into()))?;
        }
        let value = u64::from_le_bytes(value);
        if name == b"regionsCount" {
            memory.count = value;
        }
        let named: [(&[u8], SetField); 3] = [
            (b"regionPPN", |region, value| region.ppn = value),
            (b"regionPageNum", |region, value| region.page = value),
            (b"regionSize", |region, value| region.pages = value),
        ];
        if let Some((_, set)) = named.iter().find(|(known, _)| *known == name)
            && index < REGIONS_MOST
        {
            let regions = &mut memory.regions;
            regions.resize(regions.len().max(index + 1), Region::default());
            regions.get_mut(index).into_iter().for_each(|region| set(region, value));
        }
        at = value_at + u64::from(size);
    }
    Ok(memory)
}

/// Reads the state of a machine; where its memory is not in there, it is the second file.
///
/// # Errors
///
/// What is not as it must be, and where; [`ImageError::Mismatch`] where the memory is in a file that was not named.
pub fn read<F: RandomAccess>(files: &mut [F], lens: &[u64]) -> Result<Layout, ImageError> {
    let (Some(state), Some(len)) = (files.first_mut(), lens.first()) else {
        return Err(ImageError::Empty);
    };
    let memory = memory(state, *len)?;
    let mut layout = Layout::new(Kind::Vmware, "VMware, memory in the same file");
    let (file, base, bytes) = match (memory.inside, lens.get(1)) {
        (Some((at, bytes)), _) => (0, at, bytes),
        (None, Some(bytes)) => {
            layout.form = "VMware, memory in a second file";
            (1, 0, *bytes)
        }
        (None, None) => {
            return Err(ImageError::Mismatch(
                "its memory is in another file; name that one (.vmem) behind it",
            ));
        }
    };
    let file_len = lens.get(file as usize).copied().unwrap_or_default();
    let mut regions = memory.regions;
    regions.truncate(memory.count.min(REGIONS_MOST as u64) as usize);
    if regions.is_empty() {
        regions.push(Region { ppn: 0, page: 0, pages: bytes / PAGE });
    }
    regions.sort_unstable_by_key(|region| region.ppn);
    for Region { ppn, page, pages } in regions {
        let [phys, at, len] = [ppn, page, pages].map(|number| number.checked_mul(PAGE));
        let place = phys.zip(at).zip(len).and_then(|((phys, at), len)| {
            phys.checked_add(len)?;
            Some((phys, base.checked_add(at)?, len))
        });
        let what = "place of a memory region";
        let (phys, at, len) = place.ok_or(ImageError::Invalid { what, at: 0, value: ppn })?;
        layout.push_at(phys, len, (file, at), file_len)?;
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::image::{Extent, Place};
    use std::vec;

    fn tag(name: &str, index: Option<u32>, value: u32) -> Vec<u8> {
        let mut bytes = vec![4 | u8::from(index.is_some()) << 6, name.len() as u8];
        bytes.extend(name.bytes());
        bytes.extend(index.into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(value.to_le_bytes());
        bytes
    }

    fn state(tags: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"\xd2\xbe\xd2\xbe".to_vec();
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(2u32.to_le_bytes());
        let all: Vec<u8> = tags.concat();
        for (name, len) in [("Checkpoint", 0), ("memory", all.len())] {
            let mut group = name.as_bytes().to_vec();
            group.resize(64, 0);
            group.extend(172u64.to_le_bytes());
            group.extend((len as u64).to_le_bytes());
            bytes.extend(group);
        }
        bytes.extend(all);
        bytes
    }

    fn regions() -> Vec<Vec<u8>> {
        let mut tags = vec![tag("regionsCount", None, 2)];
        for (index, (ppn, page, size)) in (0..).zip([(0, 0, 3), (0x10_0000, 3, 2)]) {
            tags.push(tag("regionPageNum", Some(index), page));
            tags.push(tag("regionPPN", Some(index), ppn));
            tags.push(tag("regionSize", Some(index), size));
        }
        tags
    }

    #[test]
    fn regions_lie_in_the_second_file() {
        let (state, memory) = (state(&regions()), vec![0; 5 * 4096]);
        let lens = [state.len() as u64, memory.len() as u64];
        let layout = read(&mut [&state[..], &memory[..]], &lens).unwrap();
        let at = |offset| Place::At { file: 1, offset };
        assert_eq!(
            layout.extents,
            [
                Extent { phys: 0, len: 0x3000, place: at(0) },
                Extent { phys: 1 << 32, len: 0x2000, place: at(0x3000) }
            ]
        );
        assert!(matches!(read(&mut [&state[..]], &lens[..1]), Err(ImageError::Mismatch(_))));
        let layout = read(&mut [&state[..], &memory[..0x4000]], &[lens[0], 0x4000]).unwrap();
        assert_eq!(layout.missing, 0x1000);
    }

    #[test]
    fn memory_may_be_in_the_file_itself() {
        let mut tags = regions();
        let mut block = vec![63, 6];
        block.extend(b"Memory");
        for len in [5 * 4096u64, 5 * 4096] {
            block.extend(len.to_le_bytes());
        }
        block.extend(3u16.to_le_bytes());
        block.extend([9; 3]);
        let before: usize = tags.iter().map(Vec::len).sum();
        let start = 172 + before as u64 + block.len() as u64;
        block.extend(vec![5; 5 * 4096]);
        tags.push(block);
        let state = state(&tags);
        let layout = read(&mut [&state[..]], &[state.len() as u64]).unwrap();
        assert_eq!(layout.extents[0].place, Place::At { file: 0, offset: start });
        assert_eq!((layout.extents.len(), layout.missing), (2, 0));
    }
}
