//! The registers of a CPU by name, out of a register note.

use tamis_core::endian::Word;
use tamis_core::memory::Machine;
use tamis_core::wire::machine::{
    EM_386, EM_AARCH64, EM_ARM, EM_LOONGARCH, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64,
};

/// Names of the registers of each machine in the order of `pr_reg` (`elf_gregset_t`, by the kernel's
/// `arch/*/include/uapi/asm/ptrace.h`). Of those of s390x, the access registers are left out.
const NAMES: [(u16, Word, &str); 9] = [
    (
        EM_X86_64,
        Word::Bits64,
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs rflags rsp ss \
         fs_base gs_base ds es fs gs",
    ),
    (
        EM_AARCH64,
        Word::Bits64,
        "x0 x1 x2 x3 x4 x5 x6 x7 x8 x9 x10 x11 x12 x13 x14 x15 x16 x17 x18 x19 x20 x21 x22 x23 x24 \
         x25 x26 x27 x28 x29 x30 sp pc pstate",
    ),
    (EM_386, Word::Bits32, "ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs eflags esp ss"),
    (EM_ARM, Word::Bits32, "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 fp ip sp lr pc cpsr orig_r0"),
    (
        EM_RISCV,
        Word::Bits64,
        "pc ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 \
         t5 t6",
    ),
    (
        EM_RISCV,
        Word::Bits32,
        "pc ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 \
         t5 t6",
    ),
    (
        EM_LOONGARCH,
        Word::Bits64,
        "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 r11 r12 r13 r14 r15 r16 r17 r18 r19 r20 r21 r22 r23 r24 \
         r25 r26 r27 r28 r29 r30 r31 orig_a0 era badv",
    ),
    (
        EM_PPC64,
        Word::Bits64,
        "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 r11 r12 r13 r14 r15 r16 r17 r18 r19 r20 r21 r22 r23 r24 \
         r25 r26 r27 r28 r29 r30 r31 nip msr orig_r3 ctr lr xer ccr softe trap dar dsisr result",
    ),
    (
        EM_S390,
        Word::Bits64,
        "psw_mask psw_addr r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 r11 r12 r13 r14 r15",
    ),
];

/// The registers that the descriptor of an `NT_PRSTATUS` note has, as far as it goes; none of other machines.
pub fn registers(machine: Machine, desc: &[u8]) -> Vec<(&'static str, u64)> {
    let (first, size) = match machine.word {
        Word::Bits32 => (72, 4),
        Word::Bits64 => (112, 8),
    };
    let known = NAMES
        .iter()
        .find(|(number, word, _)| (*number, *word) == (machine.elf_machine, machine.word));
    let names = known.map_or("", |(_, _, names)| names).split_whitespace();
    let value = |(index, name)| {
        let value = machine.endian.word(machine.word, desc, first + index * size)?;
        Some((name, value))
    };
    names.enumerate().map_while(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_core::endian::Endian;

    /// The places of program counter and stack pointer that the engine has, out of its own table, are those of the
    /// registers of these names.
    #[test]
    fn program_counters_and_stack_pointers_are_those_of_the_engine() {
        let names = ["rip rsp", "pc sp", "eip esp", "pc sp", "pc sp", "pc sp", "era r3", "nip r1"];
        let names = names.into_iter().chain(["psw_addr r15"]);
        for ((number, word, _), names) in NAMES.into_iter().zip(names) {
            let endian = Endian::Little;
            let machine = Machine { elf_machine: number, word, endian };
            let desc: Vec<u8> =
                (0..=255).cycle().map(|n: u8| n.wrapping_mul(37)).take(600).collect();
            let Some(state) = machine.known().and_then(|known| known.cpu_state(endian, &desc))
            else {
                continue;
            };
            let all = registers(machine, &desc);
            let of = |name: &str| all.iter().find(|(other, _)| *other == name).map(|(_, v)| *v);
            let (pc, sp) = names.split_once(' ').unwrap();
            assert_eq!((of(pc), of(sp)), (Some(state.pc), Some(state.sp)), "machine {number}");
        }
    }

    #[test]
    fn notes_that_are_cut_off_have_fewer_registers() {
        let machine =
            Machine { elf_machine: EM_X86_64, word: Word::Bits64, endian: Endian::Little };
        assert_eq!(registers(machine, &[0; 112 + 17]), [("r15", 0), ("r14", 0)]);
        assert_eq!(registers(machine, &[]), []);
        let other = Machine { elf_machine: 1, ..machine };
        assert_eq!(registers(other, &[0; 600]), []);
    }
}
