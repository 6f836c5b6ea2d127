//! Stand-alone dumps of s390x: what the dump tools write that `zipl -d` puts on a disk, and what the kernel's zcore gave
//! (Linux 4.20 `drivers/s390/char/zcore.c`; `include/dump/s390_dump.h` of s390-tools, which names all fields).
//!
//! All is big-endian. A header of 4 KiB is followed by memory from address 0 on, and by an end marker. The extended form has
//! parts of memory, each behind a header of its own; what is between them was zeros. For each CPU the header has the address
//! of its lowcore, in which the machine has stored its registers.

use super::registers::{PRSTATUS, REGISTERS_AT};
use super::sadump::read_exact;
use super::{Extent, ImageError, Kind, Layout, Place};
use crate::endian::{Endian, Word};
use crate::error::{part, part_mut};
use crate::io::RandomAccess;
use crate::memory::Machine;
use crate::units::PageShift;
use crate::wire::machine::EM_S390;

/// Bytes of the header, and of that of a part.
const HEADER: u64 = 4096;
/// Addresses of lowcores in the header, at most.
const CPUS_MOST: usize = 512;
/// Memory of a machine ends below this.
const PHYS_MOST: u64 = 1 << 53;
/// What a dump ends with, before the time when it was finished.
const END: [u8; 8] = *b"DUMP_END";
/// Bytes of that, with the time.
const END_LEN: u64 = 16;

/// Where a lowcore has registers (Linux `arch/s390/include/asm/lowcore.h`), their bytes, and where a note has them
/// (`s390_regs` in `arch/s390/include/uapi/asm/ptrace.h`).
const SAVED: [(u64, usize, usize); 4] = [
    // The PSW, general registers, access registers; and once more register 2, which a system call had.
    (0x1300, 16, 0),
    (0x1280, 128, 16),
    (0x1340, 64, 144),
    (0x1290, 8, 208),
];

const BIG: Endian = Endian::Big;

fn long(bytes: &[u8], at: usize) -> u64 {
    BIG.u64(bytes, at).unwrap_or_default()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    BIG.u32(bytes, at).unwrap_or_default()
}

/// Reads the headers; `len` is the length of the file.
///
/// # Errors
///
/// What is not as it must be, and where. A file that is cut off is none: its memory is missing.
pub fn read(file: &mut impl RandomAccess, len: u64) -> Result<Layout, ImageError> {
    let mut head = [0; HEADER as usize];
    read_exact(file, "the dump header", 0, &mut head)?;
    let extended = head.starts_with(&super::S390_EXTENDED);
    let invalid = |what, at: usize| ImageError::Invalid {
        what,
        at: at as u64,
        value: word(&head, at).into(),
    };
    if u64::from(word(&head, 0xc)) != HEADER {
        return Err(invalid("size of the header", 0xc));
    }
    if word(&head, 0x14) != 4096 {
        return Err(invalid("page size", 0x14));
    }
    // 1 is a kernel of 31 bits.
    if word(&head, 0x48) != 2 {
        return Err(ImageError::Version("architecture", word(&head, 0x48).into()));
    }
    if head.get(0x5c) != Some(&0) {
        return Err(ImageError::Mismatch("it is one of several volumes: zgetdump joins them"));
    }
    let size = long(&head, 0x18);
    if size == 0 || size > PHYS_MOST || !size.is_multiple_of(4096) {
        return Err(ImageError::Invalid { what: "size of memory", at: 0x18, value: size });
    }
    let form = match extended {
        true => "extended stand-alone dump of s390x",
        false => "stand-alone dump of s390x",
    };
    let mut layout = Layout::new(Kind::S390, form);
    layout.machine = Machine { elf_machine: EM_S390, endian: BIG, word: Word::Bits64 };
    layout.shift = PageShift::of_size(4096);
    layout.time = time(long(&head, 0x38));
    let end = match extended {
        true => parts(file, &mut layout, size, len)?,
        false => {
            layout.push_at(0, size, (0, HEADER), len)?;
            HEADER.saturating_add(size)
        }
    };
    let mut marker = [0; END.len()];
    if layout.missing == 0 && (file.read_at(end, &mut marker).is_err() || marker != END) {
        // The tool did not come to its end.
        layout.missing = END_LEN;
    }
    cpus(file, &head, &mut layout);
    Ok(layout)
}

/// The parts of the extended form; returns where the end marker must be.
fn parts(
    file: &mut impl RandomAccess,
    layout: &mut Layout,
    size: u64,
    len: u64,
) -> Result<u64, ImageError> {
    // Up to where memory is known, and where the next header is.
    let (mut known, mut at) = (0, HEADER);
    loop {
        if len.saturating_sub(at) < HEADER {
            layout.lack(known, size - known)?;
            return Ok(at);
        }
        let mut head = [0; 24];
        read_exact(file, "the header of a part", at, &mut head)?;
        let (start, bytes, last) = (long(&head, 0), long(&head, 8), long(&head, 16));
        let whole = start.is_multiple_of(4096) && bytes.is_multiple_of(4096);
        let end = start.checked_add(bytes).filter(|end| *end <= size && whole && start >= known);
        let what = "address of a part of memory";
        let end = end.ok_or(ImageError::Invalid { what, at, value: start })?;
        at = at.saturating_add(HEADER);
        layout.push(Extent { phys: known, len: start - known, place: Place::Zeros })?;
        layout.push_at(start, bytes, (0, at), len)?;
        (known, at) = (end, at.saturating_add(bytes));
        if last != 0 {
            break;
        }
    }
    layout.push(Extent { phys: known, len: size - known, place: Place::Zeros })?;
    Ok(at)
}

/// What was in the CPUs whose lowcores can be read.
fn cpus(file: &mut impl RandomAccess, head: &[u8], layout: &mut Layout) {
    let count = BIG.u16(head, 0x5d).map_or(0, usize::from).min(CPUS_MOST);
    let lowcores = part(head, 0x800..HEADER as usize).chunks_exact(4).take(count);
    for lowcore in lowcores.map(|bytes| u64::from(word(bytes, 0))) {
        let mut note = [0; PRSTATUS];
        let found = SAVED.into_iter().all(|(at, len, to)| {
            let to = REGISTERS_AT + to;
            let room = part_mut(&mut note, to..to + len);
            let offset = layout.offset(lowcore + at, len as u64);
            offset.is_some_and(|offset| file.read_at(offset, room).is_ok())
        });
        if found {
            layout.states.push(note);
        }
    }
}

/// Seconds since 1970 of a time-of-day clock, whose bit 51 is a microsecond, since 1900 (z/Architecture, Principles of
/// Operation, 4).
fn time(clock: u64) -> Option<u64> {
    (clock >> 12).checked_div(1_000_000)?.checked_sub(2_208_988_800)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_begin_in_1900() {
        // The value for 1970 that the kernel has (`TOD_UNIX_EPOCH`).
        assert_eq!(time(0x7d91_048b_ca00_0000), Some(0));
        assert_eq!(time(0x7d91_048b_ca00_0000 + (86_400_000_000 << 12)), Some(86_400));
        assert_eq!(time(0), None);
    }
}
