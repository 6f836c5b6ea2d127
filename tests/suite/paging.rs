//! Address translation, memory models and places where the kernel and its structures may lie.

use tamis_tests::rig::{self, Wish};
use tamis_tests::synth::{Cpu, KernelStyle, Leaf, Machine, MemModel, SectionTable};
use tamis_tests::zoo::{few_at, zoo, zoo_at};

use crate::common::{self, Bench};

/// Levels 31 and 1: everything that can be left out, and nothing that need not.
fn check(machine: Machine) {
    let bench = Bench::new(machine.build());
    for level in [31, 1] {
        bench.check::<&str>(level, &[]);
    }
}

/// The same by the engine alone: the capture program knows the page tables of its own machine and of few others.
fn check_inside(machine: Machine) {
    let image = machine.build();
    let vmcore = rig::vmcore(&image);
    for level in [31, 1] {
        common::check_inside(&image, &vmcore, Wish::new("", level));
    }
}

#[test]
fn four_levels_with_kernel_moved() {
    // The physical base is negative for the first, positive for the second.
    check(zoo(KernelStyle::V6_12).kaslr(0x1a00_0000, 0x600_0000));
    check(zoo(KernelStyle::V6_12).kaslr(0, 0x1_2000_0000));
}

#[test]
fn four_levels_with_everything_moved() {
    check(
        zoo(KernelStyle::V6_12)
            .kaslr(0x0ee0_0000, 0x0a40_0000)
            .bases(0xffff_9a41_0000_0000, 0xffff_fc12_4000_0000),
    );
}

#[test]
fn physical_base_from_the_text_segment() {
    // Before 4.10 no number says it; the segment of the kernel text does.
    for style in [KernelStyle::V3_10, KernelStyle::V4_6] {
        check(zoo(style).kaslr(0x0200_0000, 0x0c00_0000));
    }
}

#[test]
fn five_levels() {
    for style in [KernelStyle::V4_18, KernelStyle::V5_10, KernelStyle::V6_12, KernelStyle::V7_1] {
        check(zoo(style).five_level());
    }
}

#[test]
fn five_levels_with_everything_moved() {
    check(
        zoo(KernelStyle::V7_1)
            .five_level()
            .kaslr(0x3000_0000, 0x0600_0000)
            .bases(0xff2d_8c40_0000_0000, 0xffd7_1240_0000_0000),
    );
}

#[test]
fn memory_encryption_bit() {
    for bit in [47, 51] {
        check(zoo(KernelStyle::V6_12).sme_mask(1 << bit));
    }
    check(zoo(KernelStyle::V6_6).five_level().sme_mask(1 << 51));
}

#[test]
fn leaves_of_every_size() {
    for direct in [Leaf::Page, Leaf::Block, Leaf::Giant] {
        for vmemmap in [Leaf::Page, Leaf::Block] {
            for text in [Leaf::Page, Leaf::Block] {
                let machine = Machine::new(KernelStyle::V6_12).leaves(direct, vmemmap, text);
                check(zoo_at(machine, 0));
            }
        }
    }
}

#[test]
fn structures_under_a_leaf_of_a_gibibyte() {
    for five in [false, true] {
        let mut machine = Machine::new(KernelStyle::V6_10)
            .leaves(Leaf::Giant, Leaf::Giant, Leaf::Block)
            .meta_at(96 << 20, 24 << 20);
        if five {
            machine = machine.five_level();
        }
        check(zoo_at(machine, 0x4000));
    }
}

#[test]
fn above_four_gibibytes() {
    let mut machine = zoo(KernelStyle::V6_12);
    for base in [0x10_0000, 0x12_0000, 0x1f_f000] {
        machine = zoo_at(machine, base);
    }
    check(machine);
}

#[test]
fn section_tables_of_every_kind() {
    for style in [KernelStyle::V3_10, KernelStyle::V4_16, KernelStyle::V6_12] {
        for table in [SectionTable::Array, SectionTable::PointedTo, SectionTable::Variable] {
            check(zoo(style).section_table(table));
        }
    }
    check(zoo(KernelStyle::V6_12).five_level().section_table(SectionTable::Variable));
}

#[test]
fn memory_models_of_every_kind() {
    for style in [KernelStyle::V3_16, KernelStyle::V5_10, KernelStyle::V7_1] {
        for model in [MemModel::Vmemmap, MemModel::SparseExtreme, MemModel::Flat] {
            check(zoo(style).model(model));
        }
    }
    for style in [KernelStyle::V5_10, KernelStyle::V7_1] {
        check(zoo(style).model(MemModel::SparsePlain));
        let machine = Machine::new(style).model(MemModel::SparsePlain);
        check(zoo_at(machine, 0x10_0000));
    }
}

#[test]
fn nodes_with_arrays_of_their_own() {
    for style in [KernelStyle::V3_10, KernelStyle::V3_16, KernelStyle::V5_10] {
        check_inside(zoo(style).model(MemModel::Nodes));
        check_inside(zoo_at(Machine::new(style).model(MemModel::Nodes), 0x8000));
    }
}

#[test]
fn memory_of_arm64_that_does_not_begin_at_zero() {
    for style in [KernelStyle::V5_10, KernelStyle::V6_12] {
        for bits in [48, 52] {
            for model in [MemModel::Vmemmap, MemModel::SparseExtreme, MemModel::Flat] {
                let machine = Machine::new(style).model(model).arm64(bits);
                check(zoo_at(machine, 0));
                let machine = Machine::new(style).model(model).arm64(bits);
                check(zoo_at(machine.memory_from(0x4_0000), 0x4_0000));
            }
        }
    }
}

/// Pages of 16 and 64 KiB, with every number of levels that kernels are built for; also where the processor has fewer bits
/// than the kernel could use.
#[test]
fn arm64_with_larger_pages() {
    use MemModel::*;
    for (n, (page, built, bits)) in
        [(12, 52, 48), (14, 47, 47), (14, 48, 48), (14, 52, 47), (14, 52, 52), (16, 42, 42)]
            .into_iter()
            .chain([(16, 48, 48), (16, 52, 48), (16, 52, 52)])
            .enumerate()
    {
        let style = [KernelStyle::V5_10, KernelStyle::V6_12, KernelStyle::V7_1][n % 3];
        let model = [Vmemmap, SparseExtreme][n / 2 % 2];
        let machine = || Machine::new(style).model(model).arm64_paged(page, built, bits);
        // Some have both, the others one or the other: each takes a second.
        if !matches!(n, 0 | 4 | 7) {
            check_inside(few_at(machine(), 0));
        }
        if n % 3 == 2 {
            continue;
        }
        // A block of 32 MiB has room for many structures, one of 512 MiB would be most of the machine.
        let vmemmap = if page < 16 { Leaf::Block } else { Leaf::Page };
        let leaves =
            machine().leaves(Leaf::Page, vmemmap, Leaf::Page).meta_at(256 << 20, 128 << 20);
        check_inside(few_at(leaves.memory_from(0x4_0000), 0x4_0000));
    }
}

#[test]
fn riscv64_with_every_number_of_levels() {
    for style in [KernelStyle::V5_10, KernelStyle::V6_12, KernelStyle::V7_1] {
        for bits in [39, 48, 57] {
            for model in [MemModel::Vmemmap, MemModel::SparseExtreme, MemModel::Flat] {
                let machine = || Machine::new(style).model(model).riscv64(bits);
                check_inside(zoo_at(machine(), 0));
                // Where QEMU's and many a board's memory begins.
                check_inside(zoo_at(machine().memory_from(0x8_0000), 0x8_0000));
            }
        }
    }
}

#[test]
fn riscv64_with_leaves_of_every_size_and_the_kernel_moved() {
    for direct in [Leaf::Page, Leaf::Run, Leaf::Block, Leaf::Giant] {
        for vmemmap in [Leaf::Page, Leaf::Block] {
            for text in [Leaf::Page, Leaf::Run, Leaf::Block] {
                let machine = Machine::new(KernelStyle::V6_12).leaves(direct, vmemmap, text);
                let machine = machine.riscv64(48).kaslr(0x1460_0000, 0xc60_0000);
                check_inside(zoo_at(machine, 0));
            }
        }
    }
}

#[test]
fn s390x_where_it_lies_and_with_addresses_of_its_own() {
    use KernelStyle::*;
    for (style, moved) in
        [(V3_10, false), (V4_16, false), (V5_10, false), (V6_6, false), (V6_12, true), (V7_1, true)]
    {
        for model in [MemModel::Vmemmap, MemModel::SparseExtreme] {
            let machine = || Machine::new(style).model(model).on(Cpu::S390x { moved });
            check_inside(zoo_at(machine(), 0));
            let leaves = machine().leaves(Leaf::Giant, Leaf::Block, Leaf::Page);
            check_inside(zoo_at(leaves.kaslr(0x300_0000, 0x1_2000_0000), 0x10_0000));
        }
    }
    let variable = Machine::new(V5_10).section_table(SectionTable::Variable);
    check_inside(zoo_at(variable.on(Cpu::S390x { moved: false }), 0));
}

#[test]
fn ppc64le_with_trees_and_with_hashed_tables() {
    use KernelStyle::*;
    for radix in [false, true] {
        for style in [V4_16, V5_10, V6_6, V7_1] {
            let machine = Machine::new(style).on(Cpu::Ppc64le { radix });
            check_inside(zoo_at(machine, 0));
        }
        let far = Machine::new(V6_12).on(Cpu::Ppc64le { radix }).kaslr(0, 0x1_2000_0000);
        check_inside(zoo_at(far, 0x10_0000));
        let sparse = Machine::new(V6_12).model(MemModel::SparseExtreme);
        check_inside(zoo_at(sparse.on(Cpu::Ppc64le { radix }), 0));
    }
    let leaves = Machine::new(V6_12).on(Cpu::Ppc64le { radix: true });
    check_inside(zoo_at(leaves.leaves(Leaf::Giant, Leaf::Block, Leaf::Page), 0));
}

#[test]
fn loongarch64_with_windows() {
    for style in [KernelStyle::V6_6, KernelStyle::V7_1] {
        for model in [MemModel::Vmemmap, MemModel::SparseExtreme, MemModel::Flat] {
            let machine = Machine::new(style).model(model).on(Cpu::Loongarch64);
            check_inside(zoo_at(machine, 0));
        }
        let machine = Machine::new(style).on(Cpu::Loongarch64).page_struct(80);
        check_inside(zoo_at(machine.leaves(Leaf::Block, Leaf::Block, Leaf::Page), 0));
    }
}

#[test]
fn i386_with_two_and_three_levels() {
    use KernelStyle::*;
    const MODELS: [MemModel; 3] = [MemModel::Flat, MemModel::SparsePlain, MemModel::Nodes];
    for (n, style) in [V2_6_24, V3_10, V4_4, V4_16, V5_10, V6_3, V6_12].into_iter().enumerate() {
        for pae in [false, true] {
            let model = |n: usize| MODELS[(n + usize::from(pae)) % 3];
            let machine = |n| {
                let machine = Machine::new(style).model(model(n)).on(Cpu::I386 { pae });
                // Nodes of a kernel that does not mark its free pages have zones with lists of them.
                if style == V2_6_24 && model(n) == MemModel::Nodes {
                    machine.zones()
                } else {
                    machine
                }
            };
            check_inside(zoo_at(machine(n), 0));
            // Above the direct map.
            check_inside(zoo_at(machine(n + 1), 0x3_8000));
        }
    }
    for pae in [false, true] {
        let machine = Machine::new(V5_10).on(Cpu::I386 { pae }).page_struct(40);
        let leaves = machine.leaves(Leaf::Page, Leaf::Page, Leaf::Page);
        check_inside(zoo_at(leaves.kaslr(0, 0x500_0000), 0x400));
    }
}

#[test]
fn arm_with_short_and_long_descriptors() {
    use KernelStyle::*;
    for (n, style) in [V2_6_24, V3_10, V4_16, V5_10, V6_12].into_iter().enumerate() {
        for lpae in [false, true] {
            let model = [MemModel::Flat, MemModel::SparsePlain][(n + usize::from(lpae)) % 2];
            let machine = || Machine::new(style).model(model).on(Cpu::Arm { lpae });
            check_inside(zoo_at(machine(), 0));
            check_inside(zoo_at(machine().memory_from(0x4_0000), 0x4_0000));
        }
    }
    let machine = Machine::new(V6_6).on(Cpu::Arm { lpae: false });
    check_inside(zoo_at(machine.leaves(Leaf::Run, Leaf::Page, Leaf::Page), 0));
}

#[test]
fn structures_of_odd_sizes() {
    for bytes in [56, 72, 80, 96] {
        for model in [MemModel::Vmemmap, MemModel::SparseExtreme, MemModel::Flat] {
            check(zoo(KernelStyle::V6_12).page_struct(bytes).model(model));
        }
    }
    check(zoo(KernelStyle::V4_18).page_struct(56));
}

/// The capture program of another machine, as an emulator of programs runs it: `TAMIS_FOREIGN=loongarch64
/// TAMIS_CAPTURE=SCRIPT`, where the script calls the emulator with the program of `cargo xtask dist`.
#[test]
fn the_capture_program_of_another_machine() {
    let Ok(name) = std::env::var("TAMIS_FOREIGN") else { return };
    let (style, mut machines) = (KernelStyle::V6_12, 0);
    for cpu in [
        Cpu::X86_64,
        Cpu::Arm64 { page: 12, built: 48, bits: 48 },
        Cpu::Arm64 { page: 16, built: 52, bits: 48 },
        Cpu::Riscv64 { bits: 48 },
        Cpu::S390x { moved: true },
        Cpu::Ppc64le { radix: true },
        Cpu::Ppc64le { radix: false },
        Cpu::Loongarch64,
        Cpu::I386 { pae: true },
        Cpu::Arm { lpae: false },
    ] {
        if cpu.name() != name {
            continue;
        }
        let bench = Bench::new(few_at(Machine::new(style).on(cpu), 0).build());
        for (level, options) in [
            (31, &["-c"][..]),
            (1, &["-c", "--num-threads=2"]),
            (31, &["--lz4", "--cyclic-buffer=1"]),
            (0, &[]),
        ] {
            bench.check(level, options);
        }
        machines += 1;
    }
    assert!(machines > 0, "no machine is called {name}");
}
