//! What is known of machines beside what the engine knows: names of those that it has no page tables of, and
//! their page sizes.

use tamis_core::memory::Machine;
use tamis_core::units::PageShift;

/// Names by `e_machine` (`include/uapi/linux/elf-em.h`) of machines that the engine has no name for.
const OTHERS: [(u16, &str); 16] = [
    (2, "sparc"),
    (4, "m68k"),
    (15, "parisc"),
    (18, "sparc"),
    (42, "sh4"),
    (75, "vax"),
    (76, "cris"),
    (92, "openrisc"),
    (93, "arc"),
    (94, "xtensa"),
    (113, "nios2"),
    (164, "hexagon"),
    (189, "microblaze"),
    (195, "arc"),
    (252, "csky"),
    (0x9026, "alpha"),
];

/// As `uname -m` prints it, or what is known.
pub fn name(machine: Machine) -> String {
    let number = machine.elf_machine;
    let other = || OTHERS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    match (machine.name().or_else(other), number) {
        (Some(name), _) => name.into(),
        (None, 0) => "unknown".into(),
        (None, other) => format!("ELF machine {other}"),
    }
}

/// The usual page size of a machine, and whether it has no other.
pub fn page_size(machine: Machine) -> (PageShift, bool) {
    let usual = match machine.elf_machine {
        // sparc64, alpha.
        43 | 0x9026 => 8192,
        _ => 4096,
    };
    // Kernels of mips, parisc, powerpc, sh, ia64, xtensa, arm64, microblaze, hexagon and loongarch are built for
    // one of several sizes.
    let several =
        matches!(machine.elf_machine, 0 | 8 | 15 | 20 | 21 | 42 | 50 | 94 | 164 | 183 | 189 | 258);
    (PageShift::of_size(usual).unwrap_or(PageShift::FOUR_KIB), !several)
}
