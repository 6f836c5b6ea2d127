//! Memory images.

use crate::{Reach, Target};
use tamis_core::input::elf::{ElfVmcore, Place as Slot, probe};
use tamis_core::input::image::{
    Image, ImageError, Kind, Layout, Place, kind, lime, notes, sadump, vmware,
};
use tamis_core::io::RandomAccess as _;
use tamis_core::memory::{MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::units::{PageShift, PhysAddr};
use tamis_tests::images::{Memory, Sadump};
use tamis_tests::{images, synth::PAGE};

pub const IMAGES: Target = Target {
    name: "images",
    about: "memory images of one file or several, and the vmcore that they stand for",
    goals: &[
        "partition",
        "medium",
        "disks",
        "cpu",
        "lime",
        "packed",
        "vmware",
        "regions",
        "cut",
        "opened",
        "page",
        "refused",
    ],
    run: images,
    seeds: || {
        let mut memory = Memory::new(vec![1..4, 6..9], |pfn| vec![pfn as u8; PAGE]);
        memory.left_out.push(2..3);
        let cpus: Vec<images::Registers<'static>> = vec![&[("rip", 0xffff_ffff_8100_0000)]; 2];
        let sadump = Sadump { memory: &memory, cpus, block: PAGE };
        let (state, vmem) = images::vmware(&memory, &[0..3, 6..9]);
        let lime = images::lime(&memory);
        let cut = lime[..lime.len() - 100].to_vec();
        let disks = sadump.disks(&[2, 1]);
        let one = [sadump.partition(), sadump.medium(), lime, cut, images::avml(&memory, 2)];
        let mut seeds: Vec<Vec<u8>> = one.into_iter().map(|file| set(&[file])).collect();
        seeds.push(set(&disks));
        seeds.push(set(&disks[..2]));
        seeds.push(set(&[state, vmem]));
        seeds
    },
};

/// Files as one input: their number, the length of each, their bytes.
fn set(files: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![files.len() as u8];
    files.iter().for_each(|file| bytes.extend((file.len() as u32).to_le_bytes()));
    files.iter().for_each(|file| bytes.extend(file));
    bytes
}

fn files(data: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = data.split_first()?;
    let count = usize::from(count % 5);
    let mut lens = Vec::new();
    for _ in 0..count {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        lens.push(u32::from_le_bytes(*len) as usize);
        rest = behind;
    }
    let mut files = Vec::new();
    for len in lens {
        let (file, behind) = rest.split_at(len.min(rest.len()));
        files.push(file);
        rest = behind;
    }
    Some(files)
}

fn layout(files: &mut [&[u8]], reach: &mut Reach) -> Option<Result<Layout, ImageError>> {
    let lens: Vec<u64> = files.iter().map(|file| file.len() as u64).collect();
    let found = match kind(files.first()?)? {
        Kind::Sadump => sadump::read(files, &lens),
        Kind::Lime => lime::read(&mut files[0], lens[0]),
        Kind::Vmware => vmware::read(files, &lens),
        Kind::Raw => unreachable!("nothing begins like that"),
    };
    if found.is_err() {
        reach.at("refused");
    }
    Some(found)
}

fn images(data: &[u8], reach: &mut Reach) {
    let Some(mut files) = files(data) else { return };
    let Some(Ok(layout)) = layout(&mut files, reach) else { return };
    reach.at(match layout.form {
        "sadump, single partition" => "partition",
        "sadump, backup medium" => "medium",
        "sadump, disk set" => "disks",
        "VMware, memory in a second file" => "regions",
        _ if layout.kind == Kind::Vmware => "vmware",
        _ => "lime",
    });
    if layout.kind == Kind::Vmware {
        reach.at("vmware");
    }
    if !layout.cpus.is_empty() {
        reach.at("cpu");
    }
    if layout.missing > 0 {
        reach.at("cut");
    }
    let all: usize = files.iter().map(|file| file.len()).sum();
    assert!(layout.extents.len() <= 8 * all + 64, "more ranges than bits");
    for extent in &layout.extents {
        match extent.place {
            Place::At { file, offset } => {
                let file = files[file as usize];
                assert!(offset + extent.len <= file.len() as u64, "{extent:?} is not in its file");
            }
            Place::Packed { file, offset, stored, .. } => {
                reach.at("packed");
                let file = files[file as usize];
                assert!(offset + u64::from(stored) <= file.len() as u64, "{extent:?}");
                assert!(extent.len <= 1 << 16);
            }
            Place::LeftOut => {}
        }
    }
    let text = b"OSRELEASE=6.1\nPAGESIZE=4096\n";
    let Ok(mut image) = Image::new(files.clone(), &layout, &notes(&layout, text)) else { return };
    let facts = probe(&mut image).expect("headers of our own");
    let (at, len) = facts.vmcoreinfo.expect("a note of our own");
    let mut found = vec![0; len as usize];
    facts.notes.read(&mut image, at, &mut found).expect("notes of our own");
    assert_eq!(found, text);
    assert_eq!(facts.cpus as usize, layout.cpus.len());
    assert!(image.read_at(image.len(), &mut [0]).is_err());
    let tables =
        (vec![MemoryRange::default(); facts.segments], vec![Slot::default(); facts.segments]);
    let core = ElfVmcore::load(image, facts, PageShift::FOUR_KIB, tables.0, tables.1);
    let mut core = core.expect("headers of our own");
    reach.at("opened");
    assert!(!core.ranges().is_empty());
    for extent in layout.extents.iter().take(64) {
        let len = extent.len.min(8192) as usize;
        let mut bytes = vec![0; len];
        let read = core.read(PhysAddr(extent.phys), &mut bytes);
        let lent = core.window(PhysAddr(extent.phys), len).map(<[u8]>::to_vec);
        if read.is_ok() {
            reach.at("page");
            assert!(lent.is_none_or(|lent| lent == bytes), "{extent:?} is lent as other bytes");
        }
    }
}
