//! Address translation, memory models and places where the kernel and its structures may lie.

use tamis_tests::check;
use tamis_tests::disk::Disk;
use tamis_tests::dumpread::Dump;
use tamis_tests::oracle;
use tamis_tests::rig::{self, Watch, Wish};
use tamis_tests::synth::{KernelStyle, Leaf, Machine, MemModel, SectionTable};
use tamis_tests::zoo::{zoo, zoo_at};

use crate::common::Bench;

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
        let mut disk = Disk::new();
        let mut wish = Wish::new("-c", level);
        wish.sizes = [1 << 20, 1 << 20, 1 << 16];
        let outcome = rig::capture(&vmcore[..], wish, &mut [&mut disk], &mut Watch::default());
        outcome.result.expect("a capture without faults");
        let dump = Dump::new(disk.file).expect("a dump");
        let expected = oracle::expect(&image, level.into());
        check::assert_dump(&dump, &image, &expected, &format!("-d {level}"));
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
fn structures_of_odd_sizes() {
    for bytes in [56, 72, 80, 96] {
        for model in [MemModel::Vmemmap, MemModel::SparseExtreme, MemModel::Flat] {
            check(zoo(KernelStyle::V6_12).page_struct(bytes).model(model));
        }
    }
    check(zoo(KernelStyle::V4_18).page_struct(56));
}
