//! The machines that a dump can be of: the only table of ELF machine numbers, byte orders, word sizes,
//! names and register notes (System V ABI, `e_machine`; Linux `include/uapi/linux/elf-em.h`, `UTS_MACHINE`
//! in `arch/*/Makefile`, `include/linux/elfcore.h`).

use crate::endian::{Endian, Word};

/// `e_machine` of x86_64.
pub const EM_X86_64: u16 = 62;
/// `e_machine` of aarch64.
pub const EM_AARCH64: u16 = 183;
/// `e_machine` of i386.
pub const EM_386: u16 = 3;
/// `e_machine` of 32-bit ARM.
pub const EM_ARM: u16 = 40;
/// `e_machine` of riscv64 and riscv32.
pub const EM_RISCV: u16 = 243;
/// `e_machine` of loongarch64.
pub const EM_LOONGARCH: u16 = 258;
/// `e_machine` of ppc64, of either byte order.
pub const EM_PPC64: u16 = 21;
/// `e_machine` of s390x and of 31-bit s390.
pub const EM_S390: u16 = 22;

const EM_MIPS: u16 = 8;
const EM_PPC: u16 = 20;
const EM_SPARCV9: u16 = 43;
const EM_IA_64: u16 = 50;

/// What is known about a kind of machine, whichever kernel ran on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownMachine {
    /// ELF `e_machine`.
    pub elf_machine: u16,
    /// Size of an `unsigned long`, whatever the ELF class of the file is.
    pub word: Word,
    /// Byte order; `None` where both occur under this name.
    pub endian: Option<Endian>,
    /// What `uname -m` prints.
    pub name: &'static str,
    /// Bytes of the name that other names of such machines begin with, too: `armv7l` and `armv6l` are the
    /// same here.
    pub stem: u8,
    /// The registers in its `NT_PRSTATUS` notes; `None` where that has not been looked up.
    pub registers: Option<Registers>,
}

/// Where the registers are in a `struct elf_prstatus`. The members before them depend on the size of an
/// `unsigned long` only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// `ELF_NGREG`: `unsigned long`s in `pr_reg`.
    count: u8,
    /// Which of them is the program counter.
    pc: u8,
    /// Which of them is the stack pointer.
    sp: u8,
}

/// The registers that matter most of a register note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuState {
    /// Process that ran on the CPU.
    pub pid: u32,
    /// Program counter.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
}

const fn known(
    elf_machine: u16,
    word: Word,
    endian: Option<Endian>,
    name: &'static str,
    stem: &'static str,
    registers: Option<(u8, u8, u8)>,
) -> KnownMachine {
    let registers = match registers {
        Some((count, pc, sp)) => Some(Registers { count, pc, sp }),
        None => None,
    };
    KnownMachine { elf_machine, word, endian, name, stem: stem.len() as u8, registers }
}

const LITTLE: Option<Endian> = Some(Endian::Little);
const BIG: Option<Endian> = Some(Endian::Big);
use Word::{Bits32, Bits64};

/// Every machine with a name. A name that begins as another one does stands before it; so does what
/// [`find`] prefers where word size and byte order do not decide.
///
/// The layout of MIPS' register note is left out on purpose: with 64 bits it has as many bytes as that
/// of loongarch64, and a dump without a machine name is known by these bytes alone.
pub const MACHINES: [KnownMachine; 18] = [
    known(EM_X86_64, Bits64, LITTLE, "x86_64", "x86_64", Some((27, 16, 19))),
    known(EM_AARCH64, Bits64, BIG, "aarch64_be", "aarch64_be", Some((34, 32, 31))),
    known(EM_AARCH64, Bits64, LITTLE, "aarch64", "aarch64", Some((34, 32, 31))),
    known(EM_PPC64, Bits64, LITTLE, "ppc64le", "ppc64le", Some((48, 32, 1))),
    known(EM_PPC64, Bits64, BIG, "ppc64", "ppc64", Some((48, 32, 1))),
    known(EM_PPC, Bits32, None, "ppc", "ppc", None),
    // The PSW (mask, address), 16 general registers, 16 access registers of 4 bytes, orig_gpr2.
    known(EM_S390, Bits64, BIG, "s390x", "s390x", Some((27, 1, 17))),
    known(EM_S390, Bits32, BIG, "s390", "s390", None),
    known(EM_RISCV, Bits32, LITTLE, "riscv32", "riscv32", None),
    known(EM_RISCV, Bits64, LITTLE, "riscv64", "riscv", Some((32, 0, 2))),
    known(EM_LOONGARCH, Bits64, LITTLE, "loongarch64", "loongarch", Some((45, 33, 3))),
    known(EM_386, Bits32, LITTLE, "i686", "i", Some((17, 12, 15))),
    known(EM_ARM, Bits32, BIG, "armv7b", "armv7b", Some((18, 15, 13))),
    known(EM_ARM, Bits32, LITTLE, "armv7l", "arm", Some((18, 15, 13))),
    known(EM_MIPS, Bits64, None, "mips64", "mips64", None),
    known(EM_MIPS, Bits32, None, "mips", "mips", None),
    known(EM_SPARCV9, Bits64, BIG, "sparc64", "sparc64", None),
    known(EM_IA_64, Bits64, LITTLE, "ia64", "ia64", None),
];

/// The machine that an ELF header speaks of. The number decides; where machines share it, byte order
/// and word size do. An ELF file of 64 bits may well be of a machine of 32.
pub fn find(elf_machine: u16, word: Word, endian: Endian) -> Option<&'static KnownMachine> {
    let fits = |m: &KnownMachine| (m.is(endian), m.word == word);
    let mut best = None;
    for m in &MACHINES {
        if m.elf_machine == elf_machine && best.is_none_or(|best| fits(m) > fits(best)) {
            best = Some(m);
        }
    }
    best
}

/// The machine that `utsname.machine` names.
pub fn by_name(name: &[u8]) -> Option<&'static KnownMachine> {
    MACHINES.iter().find(|m| {
        let stem = m.name.as_bytes().get(..m.stem.into()).unwrap_or(&[]);
        let rest = name.strip_prefix(stem);
        // i386 to i686; all else that begins with an i is ia64.
        rest.is_some_and(|rest| m.elf_machine != EM_386 || rest.get(1..) == Some(b"86"))
    })
}

/// The machine whose register notes have descriptors of `len` bytes; the only trace of it in a dump
/// that does not name it.
pub fn by_registers(word: Word, endian: Endian, len: u32) -> Option<&'static KnownMachine> {
    MACHINES.iter().find(|m| {
        m.word == word && m.is(endian) && m.registers.is_some_and(|r| r.note_len(word) == len)
    })
}

impl KnownMachine {
    /// Whether its C compilers align 64-bit integers in structures to 4 bytes only.
    pub fn is_packed(&self) -> bool {
        self.elf_machine == EM_386
    }

    fn is(&self, endian: Endian) -> bool {
        self.endian.is_none_or(|e| e == endian)
    }

    /// What the descriptor of an `NT_PRSTATUS` note holds; `None` if it is too short, or the layout is
    /// not known.
    pub fn cpu_state(&self, endian: Endian, desc: &[u8]) -> Option<CpuState> {
        let registers = self.registers?;
        let register = |index: u8| {
            let at = registers_at(self.word) + usize::from(index) * self.word.bytes();
            endian.word(self.word, desc, at)
        };
        Some(CpuState {
            // `pr_pid`, the first of four process numbers and four times of two `long`s.
            pid: endian.u32(desc, registers_at(self.word) - 4 * 4 - 8 * self.word.bytes())?,
            pc: register(registers.pc)?,
            sp: register(registers.sp)?,
        })
    }
}

/// Offset of `pr_reg` in a `struct elf_prstatus`: `pr_info` and `pr_cursig` of 16 bytes with their
/// padding, two signal sets, four process numbers, four times.
const fn registers_at(word: Word) -> usize {
    match word {
        Bits32 => 72,
        Bits64 => 112,
    }
}

impl Registers {
    /// Bytes of the whole `struct elf_prstatus`: `pr_fpvalid`, an `int`, is padded to an
    /// `unsigned long`.
    fn note_len(self, word: Word) -> u32 {
        (registers_at(word) + (usize::from(self.count) + 1) * word.bytes()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Endian::{Big, Little};
    use std::vec::Vec;

    #[test]
    fn numbers_have_the_names_of_uname() {
        let name = |number, word, endian| find(number, word, endian).map(|m| m.name);
        for (number, word, endian, expected) in [
            (62, Bits64, Little, "x86_64"),
            (62, Bits32, Little, "x86_64"), // ELF32 headers of an x86_64 kernel
            (183, Bits64, Little, "aarch64"),
            (183, Bits64, Big, "aarch64_be"),
            (21, Bits64, Little, "ppc64le"),
            (21, Bits64, Big, "ppc64"),
            (20, Bits32, Big, "ppc"),
            (22, Bits64, Big, "s390x"),
            (22, Bits32, Big, "s390"),
            (243, Bits64, Little, "riscv64"),
            (243, Bits32, Little, "riscv32"),
            (258, Bits64, Little, "loongarch64"),
            (3, Bits32, Little, "i686"),
            (3, Bits64, Little, "i686"), // PAE, more than 4 GiB
            (40, Bits32, Little, "armv7l"),
            (40, Bits64, Little, "armv7l"),
            (40, Bits32, Big, "armv7b"),
            (8, Bits64, Big, "mips64"),
            (8, Bits64, Little, "mips64"),
            (8, Bits32, Big, "mips"),
            (43, Bits64, Big, "sparc64"),
            (50, Bits64, Little, "ia64"),
        ] {
            assert_eq!(name(number, word, endian), Some(expected));
        }
        assert_eq!(name(0, Bits64, Little), None);
        assert_eq!(name(4, Bits32, Big), None);
    }

    #[test]
    fn names_lead_back_to_their_machine() {
        for m in &MACHINES {
            assert_eq!(by_name(m.name.as_bytes()), Some(m));
        }
        let number = |name: &str| by_name(name.as_bytes()).map_or(0, |m| m.elf_machine);
        for (name, expected) in [
            ("i386", 3),
            ("i586", 3),
            ("armv5tel", 40),
            ("armv8l", 40),
            ("ppc64", 21),
            ("ppc", 20),
            ("s390", 22),
            ("riscv", 243),
            ("loongarch", 258),
            ("mips", 8),
            ("", 0),
            ("x86", 0),
            ("vax", 0),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
    }

    #[test]
    fn notes_of_registers_have_the_sizes_of_real_dumps() {
        let number = |word, endian, len| by_registers(word, endian, len).map(|m| m.elf_machine);
        for (word, endian, len, expected) in [
            (Bits64, Little, 336, 62),
            (Bits64, Little, 392, 183),
            (Bits64, Little, 376, 243),
            (Bits64, Little, 480, 258),
            (Bits64, Little, 504, 21),
            (Bits64, Big, 504, 21),
            (Bits64, Big, 336, 22),
            (Bits32, Little, 144, 3),
            (Bits32, Little, 148, 40),
        ] {
            assert_eq!(number(word, endian, len), Some(expected), "{len} bytes");
        }
        assert_eq!(number(Bits64, Little, 144), None);
        assert_eq!(number(Bits64, Little, 0), None);
    }

    #[test]
    fn registers_are_read_by_machine_and_not_by_class() {
        let mut desc = [0; 144];
        desc[24..28].copy_from_slice(&7u32.to_le_bytes());
        desc[72 + 12 * 4..][..4].copy_from_slice(&0xc123_4567u32.to_le_bytes());
        desc[72 + 15 * 4..][..4].copy_from_slice(&0xc7ff_e000u32.to_le_bytes());
        let state = |desc: &[u8]| find(3, Bits64, Little).unwrap().cpu_state(Little, desc);
        let expected = CpuState { pid: 7, pc: 0xc123_4567, sp: 0xc7ff_e000 };
        assert_eq!(state(&desc), Some(expected));
        assert_eq!(state(&desc[..100]), None);

        let mut desc: Vec<u8> = [0; 336].into();
        desc[32..36].copy_from_slice(&8u32.to_be_bytes());
        desc[112 + 8..][..8].copy_from_slice(&0x10_2030_4050u64.to_be_bytes());
        desc[112 + 16 + 15 * 8..][..8].copy_from_slice(&0x380_0000_1000u64.to_be_bytes());
        let state = find(22, Bits64, Big).unwrap().cpu_state(Big, &desc);
        assert_eq!(state, Some(CpuState { pid: 8, pc: 0x10_2030_4050, sp: 0x380_0000_1000 }));
    }
}
