//! ELF vmcores whose headers were read: their tables, and the text of VMCOREINFO.

use crate::dump::input::FileInfo;
use crate::dump::machines;
use crate::dump::opened::{Dump, Input, Opened, finish};
use crate::fail::Result;
use crate::render::text::size;
use tamis_core::arch::s390x;
use tamis_core::endian::Endian;
use tamis_core::endian::Word;
use tamis_core::input::elf;
use tamis_core::input::elf::ElfVmcore;
use tamis_core::io::IoError;
use tamis_core::memory::{MemoryRange, PhysMemory, Ranges as _};
use tamis_core::units::{Pfn, PhysAddr};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::elf as elf_wire;
use tamis_core::wire::machine::{EM_PPC64, EM_S390};
use tamis_core::wire::note;

/// Physical memory of any machine ends below this.
const MEMORY_MOST: u64 = 1 << 53;
/// No machine has more memory than this: 128 TiB. To go over more pages than that would take hours.
const TOTAL_MOST: u64 = 1 << 47;
/// VMCOREINFO is about one page; anything longer than this is rejected.
const INFO_MOST: u64 = 1 << 20;

/// Opens a vmcore whose headers were read.
pub fn elf(
    files: Vec<FileInfo>,
    facts: elf::Facts,
    header: elf_wire::Header,
    mut input: Input,
) -> Result<Opened> {
    if facts.mem_end > MEMORY_MOST {
        return Err(files[0]
            .raw
            .fail(format_args!("its memory ends at {:#x}: no machine has that much", facts.mem_end))
            .next("its program headers are damaged"));
    }
    // As many program headers as the file has room for, at most.
    let table = vec![MemoryRange::default(); facts.segments];
    let places = vec![elf::Place::default(); facts.segments];
    let text = text(facts.vmcoreinfo, |at, buf| facts.notes.read(&mut input, at, buf));
    if text.is_empty() && is_opal(&facts, &mut input) {
        let text = "the memory of the firmware OPAL (an opalcore), not of a kernel";
        let next = "gdb reads it, with skiboot.elf; the kernel's memory is in /proc/vmcore";
        return Err(files[0].raw.fail(text).next(next));
    }
    let info = Info::new(Some(&text), None);
    let (usual, only) = machines::page_size(facts.machine);
    let (shift, assumed) = match info.page_shift() {
        Some(shift) => (shift, false),
        None => (usual, !only),
    };
    let mut vmcore =
        ElfVmcore::load(input, facts, shift, table, places).map_err(|e| files[0].raw.fail(e))?;
    let total = vmcore.ranges().iter().fold(0u64, |sum, range| sum.saturating_add(range.len));
    if total > TOTAL_MOST {
        let text = format_args!("it claims {} of memory: no machine has that much", size(total));
        return Err(files[0].raw.fail(text).next("its program headers are damaged"));
    }
    if is_process(&vmcore) {
        let text = "the core file of a process, not of a kernel";
        return Err(files[0].raw.fail(text).next("try gdb"));
    }
    let max_pfn = Pfn(facts.mem_end.div_ceil(shift.bytes() as u64));
    let text = or_in_memory(text, &mut vmcore);
    let (dump, elf) = (Dump::Elf(vmcore), Some((facts, header)));
    let mut opened = finish(files, dump, elf, shift, max_pfn, text, facts.vmcoreinfo);
    opened.page_size_assumed = assumed;
    Ok(opened)
}

/// Whether it is the memory of a process: its ranges have no physical addresses, which is to say that all
/// of them are 0. Where there is one range only, a kernel's may begin there, but not at an address of a
/// process. Notes do not show it: netdump wrote those of a process, too.
fn is_process(vmcore: &ElfVmcore<'_, Input>) -> bool {
    let wide = vmcore.machine().word == Word::Bits64;
    let first_of_kernel = if wide { 1 << 63 } else { 0xc000_0000 };
    let none = vmcore.ranges().iter().all(|range| range.phys == PhysAddr(0));
    match vmcore.ranges() {
        _ if vmcore.facts().vmcoreinfo.is_some() => false,
        [one] => none && (1..first_of_kernel).contains(&one.virt.0),
        ranges => none && !ranges.is_empty(),
    }
}

/// Whether it is what OPAL, the firmware of ppc64 machines without a hypervisor, leaves of itself beside a kernel's dump
/// (Linux `arch/powerpc/platforms/powernv/opal-core.c`): a big-endian core without VMCOREINFO, and with the note of a
/// program's auxiliary vector, which says where the firmware begins.
fn is_opal(facts: &elf::Facts, input: &mut Input) -> bool {
    const NT_AUXV: u32 = 6;
    const AT_ENTRY: u64 = 9;
    let (machine, len) = (facts.machine, facts.notes.bytes());
    if (machine.elf_machine, machine.endian, machine.word) != (EM_PPC64, Endian::Big, Word::Bits64)
    {
        return false;
    }
    let mut at = 0;
    // One of registers for each CPU before it.
    for _ in 0..note::MOST {
        let mut raw = [0; note::HEADER];
        if len - at < note::HEADER as u64 || facts.notes.read(input, at, &mut raw).is_err() {
            return false;
        }
        let Ok(found) = note::NoteHeader::parse(machine.endian, &raw) else { return false };
        if found.is_empty() || found.padded_len() > len - at {
            return false;
        }
        let mut first = [0; 8];
        if found.kind == NT_AUXV
            && found.desc_len >= 8
            && facts.notes.read(input, at + found.desc_at(), &mut first).is_ok()
        {
            return u64::from_be_bytes(first) == AT_ENTRY;
        }
        at += found.padded_len();
    }
    false
}

/// The text of VMCOREINFO; one that cannot be read, or that is too long, is one that is missing.
pub fn text(
    at: Option<(u64, u64)>,
    read: impl FnOnce(u64, &mut [u8]) -> std::result::Result<(), IoError>,
) -> Vec<u8> {
    let Some((at, len)) = at.filter(|(_, len)| (1..=INFO_MOST).contains(len)) else {
        return Vec::new();
    };
    let mut text = vec![0; len as usize];
    if read(at, &mut text).is_err() {
        text.clear();
    }
    text
}

/// The text, or where the file has none, the one that the kernel of an s390x machine has left in memory.
pub fn or_in_memory(mut text: Vec<u8>, memory: &mut impl PhysMemory) -> Vec<u8> {
    let machine = memory.machine();
    if text.is_empty() && (machine.elf_machine, machine.word) == (EM_S390, Word::Bits64) {
        let found = s390x::vmcoreinfo(memory).filter(|(_, len)| *len <= INFO_MOST);
        if let Some((at, len)) = found {
            text.resize(len as usize, 0);
            if memory.read(at, &mut text).is_err() {
                text.clear();
            }
        }
    }
    text
}
