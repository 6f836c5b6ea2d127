//! `struct new_utsname` of the dead kernel: six strings of 65 bytes.

use super::memory::KernelMemory;
use crate::error::{part, part_mut};
use crate::facts::{Facts, KernelVersion};
use crate::memory::{Machine, PhysMemory};
use crate::units::VirtAddr;
use crate::wire::disk_header::{UTS, UTS_FIELD};
use crate::wire::vmcoreinfo::Kind;
use core::ops::Range;

/// Offset of the `name` member of `struct uts_namespace` where VMCOREINFO lacks it: behind one `int`
/// (Linux before 5.11).
const OLD_NAME_OFFSET: u64 = 4;

/// Index of the system's name.
const SYSNAME: usize = 0;
/// Index of the host's name.
const NODENAME: usize = 1;
/// Index of the release string.
const RELEASE: usize = 2;
/// Index of the kernel's version: which build of the release.
const VERSION: usize = 3;
/// Index of the machine string.
const MACHINE: usize = 4;

/// The six strings: as they are in memory, or in the header of a dump; what is missing there is filled in
/// from elsewhere.
pub struct Utsname {
    /// 6 x 65 bytes.
    pub raw: [u8; UTS],
    /// Whether they were read from the dead kernel's memory.
    pub read: bool,
}

impl Utsname {
    /// Reads `system_utsname`, or `init_uts_ns` and the member in it. Strings without an end are
    /// ended. Without them, the release is `OSRELEASE`. What else readers of the dump ask for is filled in where
    /// it is missing: a machine name is that of `machine`.
    pub fn read<S: PhysMemory>(
        memory: Option<&mut KernelMemory<'_, '_, S>>,
        facts: &dyn Facts,
        machine: Machine,
    ) -> Utsname {
        let at = facts.get(Kind::Symbol, "system_utsname").or_else(|| {
            let offset = facts.get(Kind::Offset, "uts_namespace.name").unwrap_or(OLD_NAME_OFFSET);
            facts.get(Kind::Symbol, "init_uts_ns")?.checked_add(offset)
        });
        let mut raw = [0; UTS];
        let read = match (memory, at) {
            (Some(memory), Some(at)) => memory.read(VirtAddr(at), &mut raw).is_ok(),
            _ => false,
        };
        let mut uts = Utsname { raw, read };
        // Without a valid release, something else was read.
        if KernelVersion::parse(uts.release()).is_none() {
            uts = Utsname { raw: [0; UTS], read: false };
        }
        let release = facts.release().map_or(&[][..], |release| release.value);
        let machine = machine.name().unwrap_or("").as_bytes();
        let others: [&[u8]; 6] = [b"Linux", b"", release, b"unknown", machine, b""];
        for (field, other) in uts.raw.chunks_exact_mut(UTS_FIELD).zip(others) {
            if field.starts_with(&[0]) {
                field.iter_mut().zip(other).for_each(|(to, from)| *to = *from);
            }
            if let Some(last) = field.last_mut() {
                *last = 0;
            }
        }
        uts
    }

    /// The strings of a dump's header. QEMU names a machine `Unknown` where it has no name for it, as it does
    /// for 32-bit ARM: that is no name.
    pub fn of_header(raw: &[u8; UTS]) -> Utsname {
        let mut uts = Utsname { raw: *raw, read: false };
        if uts.string(MACHINE) == b"Unknown" {
            part_mut(&mut uts.raw, field(MACHINE)).fill(0);
        }
        uts
    }

    /// Whether all is there that readers of the dump ask for: all but the names of host and domain.
    pub fn is_complete(&self) -> bool {
        [SYSNAME, RELEASE, VERSION, MACHINE].iter().all(|index| !self.string(*index).is_empty())
    }

    /// Takes the strings that are empty here from `other`.
    pub fn fill_from(&mut self, other: &Utsname) {
        let fields = self.raw.chunks_exact_mut(UTS_FIELD).zip(other.raw.chunks_exact(UTS_FIELD));
        for (mine, theirs) in fields {
            if mine.starts_with(&[0]) {
                mine.copy_from_slice(theirs);
            }
        }
    }

    /// The kernel release, without its NUL.
    pub fn release(&self) -> &[u8] {
        self.string(RELEASE)
    }

    /// The host's name, without its NUL; empty where unknown.
    pub fn nodename(&self) -> &[u8] {
        self.string(NODENAME)
    }

    /// Which build of the release the kernel is, as `uname -v` prints it, without its NUL; empty where unknown.
    pub fn version(&self) -> &[u8] {
        self.string(VERSION)
    }

    fn string(&self, index: usize) -> &[u8] {
        let field = part(&self.raw, field(index));
        let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
        part(field, 0..end)
    }
}

fn field(index: usize) -> Range<usize> {
    index * UTS_FIELD..(index + 1) * UTS_FIELD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::arch::paging::TableCache;
    use crate::endian::{Endian, Word};
    use crate::testing;
    use crate::wire::machine::MACHINES;
    use std::vec;

    #[test]
    fn without_memory_release_and_machine_are_what_is_known() {
        let info = testing::info("OSRELEASE=6.1.0-x\n");
        for known in &MACHINES {
            let machine = Machine {
                elf_machine: known.elf_machine,
                endian: known.endian.unwrap_or(Endian::Big),
                word: known.word,
            };
            let uts = Utsname::read::<testing::Memory>(None, &info, machine);
            assert!(!uts.read && uts.is_complete());
            assert_eq!(uts.release(), b"6.1.0-x");
            assert_eq!(uts.string(MACHINE), known.name.as_bytes());
            assert_eq!(uts.raw[65 * 4 + known.name.len()..65 * 5].iter().max(), Some(&0));
        }
        let other = Machine { elf_machine: 4, endian: Endian::Big, word: Word::Bits32 };
        let uts = Utsname::read::<testing::Memory>(None, &info, other);
        assert_eq!(uts.string(MACHINE), b"");
        assert!(!uts.is_complete());
    }

    #[test]
    fn a_machine_name_that_memory_lacks_is_filled_in() {
        // The image at physical 16 MiB, a table of 2 MiB pages in it.
        let text = "SYMBOL(init_top_pgt)=ffffffff81001000\nNUMBER(phys_base)=0\n\
            SYMBOL(init_uts_ns)=ffffffff81004000\nOFFSET(uts_namespace.name)=0\n";
        let mut source = testing::Memory::new(0x100_0000, 0x5000);
        source.put64(0x100_1000 + 8 * 0x1ff, 0x100_2003);
        source.put64(0x100_2000 + 8 * 0x1fe, 0x100_3003);
        source.put64(0x100_3000 + 8 * 8, 0x100_00e3);
        source.put(0x100_4000, b"Linux");
        source.put(0x100_4000 + 65 * 2, b"6.1.0");
        let info = testing::info(text);
        let machine = source.machine();
        let read = |source: &mut testing::Memory| {
            let arch = Arch::new(machine, &info, &[]).unwrap();
            let mut storage = vec![0; TableCache::STORAGE];
            let mut cache = TableCache::new(&mut storage[..]);
            Utsname::read(Some(&mut KernelMemory::new(source, arch, &mut cache)), &info, machine)
        };
        let uts = read(&mut source);
        assert!(uts.read);
        assert_eq!((uts.string(0), uts.release()), (&b"Linux"[..], &b"6.1.0"[..]));
        assert_eq!(uts.string(MACHINE), b"x86_64");
        // What memory says is left as it is.
        source.put(0x100_4000 + 65 * 4, b"i686");
        assert_eq!(read(&mut source).string(MACHINE), b"i686");
    }

    #[test]
    fn a_header_keeps_its_strings_and_takes_the_missing_ones() {
        let mut raw = [0; UTS];
        raw[65..69].copy_from_slice(b"host");
        raw[65 * 4..65 * 4 + 5].copy_from_slice(b"s390x");
        let mut header = Utsname::of_header(&raw);
        assert!(!header.is_complete());
        raw = [0; UTS];
        raw[..5].copy_from_slice(b"Linux");
        raw[65..70].copy_from_slice(b"other");
        raw[65 * 2..65 * 2 + 5].copy_from_slice(b"6.1.0");
        raw[65 * 3] = b'#';
        raw[65 * 4..65 * 4 + 6].copy_from_slice(b"x86_64");
        header.fill_from(&Utsname::of_header(&raw));
        assert!(header.is_complete());
        let strings: vec::Vec<_> = (0..6).map(|n| header.string(n)).collect();
        assert_eq!(strings, [&b"Linux"[..], b"host", b"6.1.0", b"#", b"s390x", b""]);
        // Readers want each of these.
        assert!(Utsname::of_header(&raw).is_complete());
        for index in [SYSNAME, RELEASE, VERSION, MACHINE] {
            let mut less = raw;
            less[65 * index] = 0;
            assert!(!Utsname::of_header(&less).is_complete(), "{index}");
        }
        raw[65 * 4..65 * 4 + 7].copy_from_slice(b"Unknown");
        let header = Utsname::of_header(&raw);
        assert_eq!((header.string(MACHINE), header.is_complete()), (&b""[..], false));
    }
}
