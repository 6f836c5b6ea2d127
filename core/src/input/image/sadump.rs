//! sadump: what the firmware of Fujitsu's servers writes when it is told to, to a partition of its own, to partitions of
//! several disks, or to a backup medium. Machines are of x86_64.
//!
//! Blocks of 4096 bytes, unless the dump header says another size, follow each other:
//!
//! ```text
//! partition:         partition header | dump header | sub-header | RAM | dumped | pages
//! first disk:        partition header | disk set header | dump header | sub-header | RAM | dumped | pages
//! every other disk:  partition header | pages
//! backup medium:     media header | partition header | dump header | sub-header | RAM | dumped | pages
//! ```
//!
//! `RAM` and `dumped` are bitmaps, the most significant bit first: which pages there are, and which of them are stored.
//! Pages are blocks as they are, one for each bit of the second bitmap. The sub-header has what was in each CPU.

use super::registers::Cpu;
use super::{Extent, ImageError, Kind, Layout, Place};
use crate::endian::Endian;
use crate::error::{part, part_mut};
use crate::io::RandomAccess;
use crate::units::PageShift;
use alloc::vec;
use alloc::vec::Vec;

const MAGIC: &[u8] = b"sadump\0\0";
/// Bytes of a partition header.
const PARTITION: usize = 4096;
/// Bytes of a block, of all dumps that are known.
const USUAL_BLOCK: u64 = 4096;
const DUMP_HEADER: usize = 120;
/// Bytes of what a CPU leaves behind, as far as it is looked at.
const STATE: usize = 1024;
/// CPUs that are looked at, at most.
const CPUS_MOST: u32 = 1 << 16;
/// Disks of a set, at most.
const DISKS_MOST: u32 = 16;

/// Which part of a dump a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// All of it, on a partition.
    Partition,
    /// All of it, on a backup medium.
    Medium,
    /// The disk of a set with this number; the first one is 1.
    Disk(u32),
}

/// The first block of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What it is.
    pub role: Role,
    /// System and set that the dump is of.
    pub ids: [u8; 32],
    /// This volume.
    volume: [u8; 16],
    /// Bytes used on the device.
    used: u64,
    /// Seconds since 1970.
    time: Option<u64>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    Endian::Little.u32(bytes, at).unwrap_or_default()
}

fn long(bytes: &[u8], at: usize) -> u64 {
    Endian::Little.u64(bytes, at).unwrap_or_default()
}

fn id<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

fn read_exact(
    file: &mut impl RandomAccess,
    what: &'static str,
    at: u64,
    buf: &mut [u8],
) -> Result<(), ImageError> {
    file.read_at(at, buf).map_err(|io| ImageError::Read { what, at, io })
}

/// Reads the first headers of a file.
pub fn head(file: &mut impl RandomAccess) -> Result<Head, ImageError> {
    let mut first = vec![0; PARTITION];
    read_exact(file, "the partition header", 0, &mut first)?;
    let medium = !first.starts_with(MAGIC);
    let mut ids: [u8; 32] = id(&first, 0);
    let base = if medium { USUAL_BLOCK } else { 0 };
    if medium {
        let number = first.get(48).copied().unwrap_or_default();
        if number != 1 {
            let what = "number of a backup medium (only a dump on one medium can be read)";
            return Err(ImageError::Invalid { what, at: 48, value: number.into() });
        }
        read_exact(file, "the partition header", base, &mut first)?;
    }
    if !first.starts_with(MAGIC) {
        let what = "signature of the partition header";
        return Err(ImageError::Invalid { what, at: base, value: long(&first, 0) });
    }
    let of_partition: [u8; 32] = id(&first, 88);
    if medium && of_partition != ids {
        return Err(ImageError::Mismatch("its media header is of another dump"));
    }
    ids = of_partition;
    let number = word(&first, 152);
    let role = match number {
        _ if medium => Role::Medium,
        0 => Role::Partition,
        1..=DISKS_MOST => Role::Disk(number),
        other => {
            let what = "number of a disk";
            return Err(ImageError::Invalid { what, at: 152, value: other.into() });
        }
    };
    // Each number follows from the one before it. Of the other disks, they are not looked at by other readers either.
    let numbers = || (168..PARTITION).step_by(4);
    let next = |number: u32| number.wrapping_add(7).wrapping_mul(11);
    let broken = numbers().zip(numbers().skip(1));
    let broken = broken.clone().find(|(a, b)| next(word(&first, *a)) != word(&first, *b));
    if let Some((_, at)) =
        broken.filter(|_| matches!(role, Role::Disk(1) | Role::Partition | Role::Medium))
    {
        let what = "check number of the partition header";
        return Err(ImageError::Invalid {
            what,
            at: base + at as u64,
            value: word(&first, at).into(),
        });
    }
    let (volume, used) = (id(&first, 120), long(&first, 160));
    Ok(Head { role, ids, volume, used, time: time(part(&first, 136..152)) })
}

/// Seconds since 1970 of an `EFI_TIME` (UEFI specification, 8.3).
fn time(efi: &[u8]) -> Option<u64> {
    let year = i64::from(Endian::Little.u16(efi, 0)?);
    let field = |at: usize, range: core::ops::RangeInclusive<u8>| {
        efi.get(at).copied().filter(|value| range.contains(value)).map(i64::from)
    };
    let (month, day) = (field(2, 1..=12)?, field(3, 1..=31)?);
    let (hour, minute, second) = (field(4, 0..=23)?, field(5, 0..=59)?, field(6, 0..=59)?);
    if !(1970..=9999).contains(&year) {
        return None;
    }
    // Days since 1970-01-01 (years begin in March, so that the leap day is the last one).
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let zone = i64::from(Endian::Little.u16(efi, 12)?.cast_signed());
    let zone = if (-1440..=1440).contains(&zone) { zone } else { 0 };
    u64::try_from(days * 86_400 + hour * 3600 + (minute + zone) * 60 + second).ok()
}

/// The dump header and where what follows it lies.
struct Dump {
    block: u64,
    sub: u64,
    cpus: u32,
    bitmap: u64,
    dumped: u64,
    pages: u64,
    max: u64,
}

fn dump_header(file: &mut impl RandomAccess, role: Role, block: u64) -> Result<Dump, ImageError> {
    let mut at = block;
    match role {
        Role::Medium => at += block,
        Role::Disk(_) => {
            let mut head = [0; 8];
            read_exact(file, "the disk set header", at, &mut head)?;
            let (blocks, disks) = (word(&head, 0), word(&head, 4));
            if !(1..=1024).contains(&blocks) || !(1..=DISKS_MOST).contains(&disks) {
                let value = long(&head, 0);
                return Err(ImageError::Invalid { what: "the disk set header", at, value });
            }
            at += block * u64::from(blocks);
        }
        Role::Partition => {}
    }
    let mut head = [0; DUMP_HEADER];
    read_exact(file, "the dump header", at, &mut head)?;
    let invalid = |what, field: usize| ImageError::Invalid {
        what,
        at: at + field as u64,
        value: word(&head, field).into(),
    };
    if !head.starts_with(MAGIC) {
        return Err(invalid("signature of the dump header", 0));
    }
    if u64::from(word(&head, 40)) != block {
        return Err(invalid("block size", 40));
    }
    let blocks = |field: usize| u64::from(word(&head, field)) * block;
    let (sub_len, bitmap_len, dumped_len) = (blocks(48), blocks(52), blocks(56));
    if bitmap_len == 0 || dumped_len == 0 {
        return Err(invalid("number of blocks of a bitmap", if bitmap_len == 0 { 52 } else { 56 }));
    }
    // Version 0 has no counters of 64 bits.
    let max = match word(&head, 8) {
        0 => word(&head, 60).into(),
        _ => long(&head, 88),
    };
    if max.div_ceil(8) > bitmap_len.min(dumped_len) {
        return Err(invalid("number of pages, for bitmaps of that size", 60));
    }
    let sub = at + block;
    let bitmap = sub + sub_len;
    let dumped = bitmap + bitmap_len;
    let room = (sub_len / 16).min(CPUS_MOST.into()) as u32;
    let cpus = word(&head, 80).min(room);
    Ok(Dump { block, sub, cpus, bitmap, dumped, pages: dumped + dumped_len, max })
}

/// What was in the CPUs; where that cannot be read, in none.
fn cpus(file: &mut impl RandomAccess, dump: &Dump) -> Vec<Cpu> {
    let mut all = Vec::new();
    let mut size = [0; 4];
    if dump.cpus == 0 || file.read_at(dump.sub, &mut size).is_err() {
        return all;
    }
    let each = u64::from(u32::from_le_bytes(size) / dump.cpus);
    let states = dump.sub + 4 + 16 * u64::from(dump.cpus);
    let end = dump.bitmap;
    for index in 0..u64::from(dump.cpus) {
        let mut state = [0; STATE];
        let at = states + index * each;
        if each < STATE as u64 || at + STATE as u64 > end || file.read_at(at, &mut state).is_err() {
            break;
        }
        all.push(cpu(&state));
    }
    all
}

/// Registers with a low and a high half, by the place of the low one.
const HALVES: [(&str, usize); 16] = [
    ("r15", 796),
    ("r14", 804),
    ("r13", 812),
    ("r12", 820),
    ("r11", 828),
    ("r10", 836),
    ("r9", 844),
    ("r8", 852),
    ("rax", 860),
    ("rcx", 868),
    ("rdx", 876),
    ("rbx", 884),
    ("rsp", 892),
    ("rbp", 900),
    ("rsi", 908),
    ("rdi", 916),
];
const SELECTORS: [(&str, usize); 6] =
    [("es", 936), ("cs", 940), ("ss", 944), ("ds", 948), ("fs", 952), ("gs", 956)];

fn cpu(state: &[u8; STATE]) -> Cpu {
    let mut cpu = Cpu {
        cr3: long(state, 1008),
        cr4: word(state, 576).into(),
        idt: u64::from(word(state, 660)) | u64::from(word(state, 472)) << 32,
        ..Cpu::default()
    };
    HALVES.iter().for_each(|(name, at)| cpu.set(name, long(state, *at)));
    SELECTORS.iter().for_each(|(name, at)| cpu.set(name, word(state, *at).into()));
    cpu.set("orig_rax", u64::MAX);
    cpu.set("rip", long(state, 984));
    cpu.set("eflags", long(state, 1000));
    cpu
}

/// Reads a dump: the file of a partition or of a medium, or the files of a set of disks in their order. `lens` are their
/// lengths.
///
/// # Errors
///
/// What is not as it must be, and where.
pub fn read<F: RandomAccess>(files: &mut [F], lens: &[u64]) -> Result<Layout, ImageError> {
    let mut heads = Vec::new();
    for file in files.iter_mut() {
        heads.push(head(file)?);
    }
    let (Some(first), Some(file)) = (heads.first(), files.first_mut()) else {
        return Err(ImageError::Empty);
    };
    let form = match first.role {
        Role::Partition => "sadump, single partition",
        Role::Medium => "sadump, backup medium",
        Role::Disk(_) => "sadump, disk set",
    };
    let set = matches!(first.role, Role::Disk(_));
    let in_order = (1..).zip(&heads).all(|(number, head)| head.role == Role::Disk(number));
    if set && !in_order {
        return Err(ImageError::Mismatch("disks of the set are missing, or there are two of one"));
    }
    if heads.iter().any(|head| head.ids != first.ids) || (!set && heads.len() > 1) {
        return Err(ImageError::Mismatch("its files are of several dumps"));
    }
    // The size of a block is in the dump header, and says where that is.
    let mut dump = dump_header(file, first.role, USUAL_BLOCK);
    for size in (1..=4).map(|n| USUAL_BLOCK << n) {
        if dump.is_err()
            && let Ok(found) = dump_header(file, first.role, size)
        {
            dump = Ok(found);
        }
    }
    let dump = dump?;
    if set {
        disks(file, dump.block, &heads)?;
    }
    let mut layout = Layout::new(Kind::Sadump, form);
    layout.time = first.time;
    layout.shift = PageShift::of_size(dump.block);
    layout.cpus = cpus(file, &dump);
    // Where the pages begin on each disk, and bytes of them.
    let mut rooms = Vec::new();
    for (index, (head, len)) in (0u32..).zip(heads.iter().zip(lens)) {
        let from = if index == 0 { dump.pages } else { dump.block };
        // All but the last one are full.
        let last = index as usize + 1 == heads.len();
        let until = if last { u64::MAX } else { head.used.max(from) };
        rooms.push(Room { file: index, from, room: until - from, len: *len });
    }
    bitmaps(file, &dump, &rooms, &mut layout)?;
    Ok(layout)
}

/// Holds the disks against the table of the first one.
fn disks(file: &mut impl RandomAccess, block: u64, heads: &[Head]) -> Result<(), ImageError> {
    let mut table = [0; 496];
    read_exact(file, "the disk set header", block, &mut table)?;
    let count = word(&table, 4);
    if count as usize != heads.len() {
        return Err(ImageError::Mismatch(
            "the set has another number of disks; name the files of all",
        ));
    }
    for (index, head) in heads.iter().enumerate().skip(1) {
        if id(&table, 16 + 32 * (index - 1)) != head.volume {
            return Err(ImageError::Mismatch("a disk is not the one that the first one names"));
        }
    }
    Ok(())
}

/// Where pages are on a disk.
struct Room {
    file: u32,
    from: u64,
    room: u64,
    len: u64,
}

/// Bytes of the bitmaps that are read in one go.
const STEP: usize = 32 << 10;

fn bitmaps(
    file: &mut impl RandomAccess,
    dump: &Dump,
    rooms: &[Room],
    layout: &mut Layout,
) -> Result<(), ImageError> {
    let (mut ram, mut dumped) = (vec![0; STEP], vec![0; STEP]);
    let bytes = dump.max.div_ceil(8);
    // Where the next stored page is among all of them, and the run that is gone over.
    let (mut linear, mut from) = (0u64, 0u64);
    let mut state = (false, false);
    let mut at = 0;
    while at < bytes {
        let step = (bytes - at).min(STEP as u64) as usize;
        let (ram, dumped) = (part_mut(&mut ram, 0..step), part_mut(&mut dumped, 0..step));
        read_exact(file, "the bitmap of RAM", dump.bitmap + at, ram)?;
        read_exact(file, "the bitmap of dumped pages", dump.dumped + at, dumped)?;
        for (index, (ram, dumped)) in (at..).zip(ram.iter().zip(dumped.iter())) {
            let same = |bits: u8, is: bool| bits == if is { 0xff } else { 0 };
            if same(*ram, state.0) && same(*dumped, state.1) {
                continue;
            }
            for bit in 0..8 {
                let pfn = 8 * index + bit;
                let here = (ram << bit & 0x80 != 0, dumped << bit & 0x80 != 0);
                if here != state && pfn < dump.max {
                    run(layout, dump.block, (from, pfn), state, &mut linear, rooms)?;
                    (from, state) = (pfn, here);
                }
            }
        }
        at += step as u64;
    }
    run(layout, dump.block, (from, dump.max), state, &mut linear, rooms)
}

/// Adds a run of pages that are in the same state.
fn run(
    layout: &mut Layout,
    block: u64,
    (start, end): (u64, u64),
    (ram, dumped): (bool, bool),
    linear: &mut u64,
    rooms: &[Room],
) -> Result<(), ImageError> {
    let overflow = ImageError::Invalid { what: "number of pages", at: 0, value: end };
    let mut phys = start.checked_mul(block).ok_or(overflow)?;
    let mut len = (end - start).checked_mul(block).ok_or(overflow)?;
    phys.checked_add(len).ok_or(overflow)?;
    if !dumped {
        let place = Place::LeftOut;
        return if ram { layout.push(Extent { phys, len, place }) } else { Ok(()) };
    }
    let mut at = *linear;
    *linear = linear.checked_add(len).ok_or(overflow)?;
    for room in rooms {
        if at >= room.room {
            at -= room.room;
            continue;
        }
        let here = len.min(room.room - at);
        if ram && here > 0 {
            let offset = room.from.checked_add(at).ok_or(overflow)?;
            layout.push_at(phys, here, (room.file, offset), room.len)?;
        }
        (phys, len, at) = (phys + here, len - here, 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let efi = |year: u16, rest: [u8; 5], zone: i16| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&year.to_le_bytes());
            bytes[2..7].copy_from_slice(&rest);
            bytes[12..14].copy_from_slice(&zone.to_le_bytes());
            time(&bytes)
        };
        assert_eq!(efi(1970, [1, 1, 0, 0, 0], 0), Some(0));
        assert_eq!(efi(2000, [2, 29, 12, 34, 56], 2047), Some(951_827_696));
        assert_eq!(efi(2026, [11, 28, 9, 0, 0], -540), Some(1_795_824_000));
        assert_eq!(efi(2026, [13, 28, 9, 0, 0], 0), None);
        assert_eq!(efi(0, [1, 1, 0, 0, 0], 0), None);
    }
}
