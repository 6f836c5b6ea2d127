//! What was in a CPU, as the register note of a dump has it.

use crate::error::part_mut;
use crate::wire::machine::EM_X86_64;

/// Registers of a CPU of x86_64, in the order of `struct user_regs_struct` (Linux `arch/x86/include/asm/user_64.h`), and
/// what finds the kernel in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cpu {
    /// `r15` to `gs`.
    pub user: [u64; COUNT],
    /// Root of the page tables.
    pub cr3: u64,
    /// Control bits: bit 12 says that tables have five levels.
    pub cr4: u64,
    /// Virtual address of the interrupt descriptor table.
    pub idt: u64,
}

/// Registers in a note.
pub const COUNT: usize = 27;
/// Names of them, in their order.
pub const NAMES: [&str; COUNT] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs",
    "gs",
];

/// Bytes of `struct elf_prstatus`, and where the registers are in it (Linux `include/linux/elfcore.h`).
const PRSTATUS: usize = 336;
const REGISTERS_AT: usize = 112;
const _: () = assert!(REGISTERS_AT + 8 * COUNT + 8 == PRSTATUS && EM_X86_64 == 62);

impl Cpu {
    /// The descriptor of its note. Which process ran on it is not known.
    pub fn prstatus(&self) -> [u8; PRSTATUS] {
        let mut note = [0; PRSTATUS];
        let room = part_mut(&mut note, REGISTERS_AT..REGISTERS_AT + 8 * COUNT);
        for (slot, value) in room.chunks_exact_mut(8).zip(self.user) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        note
    }

    /// Sets a register by its name.
    pub fn set(&mut self, name: &str, value: u64) {
        let slots = self.user.iter_mut().zip(NAMES);
        slots.filter(|(_, known)| *known == name).for_each(|(slot, _)| *slot = value);
    }
}
