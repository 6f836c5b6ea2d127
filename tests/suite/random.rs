//! Machines made at random, held against the oracle.

use proptest::prelude::*;
use tamis_tests::rig::{self, Wish};
use tamis_tests::synth::{
    Class, Content, Cpu, KernelStyle, Leaf, Machine, MemModel, SectionTable, Use,
};

use crate::common::{Bench, check_inside};

/// Frames of RAM given out to blocks.
const RAM: std::ops::Range<u64> = 0x100..0x900;

fn class() -> impl Strategy<Value = Class> {
    let uses = prop_oneof![
        Just(Use::Kernel),
        Just(Use::File),
        Just(Use::FilePrivate),
        Just(Use::Anon),
        Just(Use::Hugetlb),
    ];
    prop_oneof![
        6 => prop::sample::select(&tamis_tests::zoo::SINGLES[..]),
        2 => (0u32..8).prop_map(|order| Class::Free { order }),
        3 => (1u32..8, uses).prop_map(|(order, of)| Class::Compound { order, of }),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Zero),
        Just(Content::Stamp),
        Just(Content::Text),
        Just(Content::Noise),
        Just(Content::LastByte),
        Just(Content::FirstByte),
    ]
}

fn model() -> impl Strategy<Value = MemModel> {
    prop_oneof![Just(MemModel::Vmemmap), Just(MemModel::SparseExtreme), Just(MemModel::Flat)]
}

/// A machine, the generations of kernels that it has had, and memory models.
fn cpu() -> impl Strategy<Value = (Cpu, KernelStyle, MemModel)> {
    use KernelStyle::*;
    let all = &KernelStyle::ALL[1..];
    let from = |style: KernelStyle| &KernelStyle::ALL[style as usize..];
    let wide = &[MemModel::Vmemmap, MemModel::SparseExtreme, MemModel::Flat, MemModel::Nodes];
    let narrow = &[MemModel::Flat, MemModel::SparsePlain, MemModel::Nodes];
    let sparse = &wide[..2];
    prop_oneof![
        kinds(&[Cpu::X86_64], all, wide),
        kinds(&[Cpu::S390x { moved: false }], &KernelStyle::ALL[1..V6_10 as usize], sparse),
        kinds(&[Cpu::S390x { moved: true }], from(V6_12), sparse),
        kinds(&[Cpu::Ppc64le { radix: true }, Cpu::Ppc64le { radix: false }], from(V4_16), sparse),
        kinds(&[Cpu::Loongarch64, Cpu::Riscv64 { bits: 48 }], from(V5_10), &wide[..3]),
        kinds(&[Cpu::I386 { pae: true }, Cpu::I386 { pae: false }], all, narrow),
        kinds(&[Cpu::Arm { lpae: true }, Cpu::Arm { lpae: false }], all, &narrow[..2]),
    ]
}

fn kinds(
    cpus: &[Cpu],
    styles: &[KernelStyle],
    models: &[MemModel],
) -> impl Strategy<Value = (Cpu, KernelStyle, MemModel)> + use<> {
    let select = (cpus.to_vec(), styles.to_vec(), models.to_vec());
    (prop::sample::select(select.0), prop::sample::select(select.1), prop::sample::select(select.2))
}

#[derive(Clone, Debug)]
struct Plan {
    cpu: Cpu,
    style: KernelStyle,
    model: MemModel,
    page_struct: u64,
    table: SectionTable,
    big_leaves: bool,
    kaslr: (u64, u64),
    blocks: Vec<(u64, Class, Content)>,
    poisoned: Vec<u64>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        prop::sample::select(&KernelStyle::ALL[1..]),
        model(),
        prop::sample::select(&[64u64, 64, 72, 80][..]),
        prop::sample::select(
            &[SectionTable::Array, SectionTable::PointedTo, SectionTable::Variable][..],
        ),
        any::<bool>(),
        (0u64..64, 0u64..16),
        prop::collection::vec((0u64..6, class(), content()), 1..60),
        prop::collection::vec(RAM, 0..12),
    )
        .prop_map(|(style, model, page_struct, table, big_leaves, kaslr, blocks, poisoned)| {
            Plan {
                cpu: Cpu::X86_64,
                style,
                model,
                page_struct,
                table,
                big_leaves,
                kaslr: (kaslr.0 << 21, (64 << 20) + (kaslr.1 << 21)),
                blocks,
                poisoned,
            }
        })
}

fn machine(plan: &Plan) -> Machine {
    let words = plan.cpu.words();
    let page_struct = if words.wide { plan.page_struct } else { plan.page_struct / 2 + 8 };
    // So many sections may there be that the image has no room for an array of their roots.
    let many = matches!(plan.cpu, Cpu::Ppc64le { .. } | Cpu::Riscv64 { .. });
    let table = if many { SectionTable::PointedTo } else { plan.table };
    let mut machine = Machine::new(plan.style)
        .ram(RAM)
        .model(plan.model)
        .on(plan.cpu)
        .page_struct(page_struct)
        .section_table(table)
        .kaslr(plan.kaslr.0, plan.kaslr.1)
        // Between two nodes is a hole, from half of where this is on.
        .meta_at(if plan.model == MemModel::Nodes { 32 << 20 } else { 16 << 20 }, 32 << 20);
    if plan.big_leaves && plan.cpu == Cpu::X86_64 {
        machine = machine.leaves(Leaf::Giant, Leaf::Block, Leaf::Block);
    }
    let mut next = RAM.start;
    for (gap, class, content) in &plan.blocks {
        let pages = class.pages(machine.facts());
        let at = (next + gap).next_multiple_of(pages);
        if at + pages > RAM.end {
            break;
        }
        machine = machine.put(at, *class).fill(at..at + pages, *content);
        next = at + pages;
    }
    for pfn in &plan.poisoned {
        machine = machine.poison(*pfn);
    }
    machine
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_machine_at_any_level(
        plan in plan(),
        level in 0u32..32,
        options in prop::sample::subsequence(vec!["-c", "--mmap", "--cyclic-buffer=1"], 0..=3),
    ) {
        let bench = Bench::new(machine(&plan).build());
        bench.check(level, &options);
    }
}

proptest! {
    // Each is a small part of what the first ones take, and there are more kinds.
    #![proptest_config(ProptestConfig {
        cases: 40,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_machine_of_any_architecture(
        plan in plan(),
        (cpu, style, model) in cpu(),
        level in 0u8..32,
        codec in prop::sample::select(&["", "-c", "--lz4"][..]),
    ) {
        let image = machine(&Plan { cpu, style, model, ..plan }).build();
        check_inside(&image, &rig::vmcore(&image), Wish::new(codec, level));
    }
}
