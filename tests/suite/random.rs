//! Machines made at random, held against the oracle.

use proptest::prelude::*;
use tamis_tests::synth::{Class, Content, KernelStyle, Leaf, Machine, MemModel, SectionTable, Use};

use crate::common::Bench;

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

#[derive(Clone, Debug)]
struct Plan {
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
    let mut machine = Machine::new(plan.style)
        .ram(RAM)
        .model(plan.model)
        .page_struct(plan.page_struct)
        .section_table(plan.table)
        .kaslr(plan.kaslr.0, plan.kaslr.1)
        .meta_at(16 << 20, 32 << 20);
    if plan.big_leaves {
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
