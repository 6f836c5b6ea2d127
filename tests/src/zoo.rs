//! A small machine with a page of every kind.

use crate::synth::{Class, Content, KernelStyle, Machine, Use};

/// First frame of the zoo's RAM.
pub const START: u64 = 0x100;
/// One past its last frame.
pub const END: u64 = 0xe00;
/// One past the last frame of the smaller animals.
const SMALL_END: u64 = 0x200;

/// Frames of the single pages, one class each, from [`START`] on, every second frame.
pub const SINGLES: [Class; 18] = [
    Class::Kernel,
    Class::Reserved,
    Class::PageTable,
    Class::Slab,
    Class::SlabOdd,
    Class::FreeAbsurd { order: 11 },
    Class::Cache,
    Class::CachePrivate,
    Class::CacheOffLru,
    Class::SwapCache,
    Class::OwnerPrivate,
    Class::Anon,
    Class::AnonOffLru,
    Class::AnonWaiters,
    Class::AnonSwapCache,
    Class::Ksm,
    Class::Offline,
    Class::Poisoned,
];

/// The machine: every single page, free blocks of several orders, compound pages of every use,
/// poisoned pages in all positions. Most of the large blocks is zero, so that dumps stay small.
pub fn zoo(style: KernelStyle) -> Machine {
    zoo_at(Machine::new(style), 0)
}

/// Puts the same animals into another machine, all frames moved up by `base`, a multiple of 0x400.
pub fn zoo_at(machine: Machine, base: u64) -> Machine {
    assert_eq!(base % 0x400, 0, "the largest blocks would not be aligned");
    let style = machine.facts().style;
    let mut machine = animals(machine.ram(base + START..base + END), base);
    let compound = |order, of| Class::Compound { order, of };
    for (pfn, class) in [
        (0x200, compound(9, Use::Hugetlb)),
        (0x400, compound(9, Use::Anon)),
        (0x600, compound(9, Use::File)),
        (0x800, Class::Unaccepted),
    ] {
        machine = machine.put(base + pfn, class);
    }
    // The structures of hugetlb tails are given back from 5.14 to 7.0; elsewhere kernel memory.
    let hvo = (KernelStyle::V6_3 as u32..=KernelStyle::V6_12 as u32).contains(&(style as u32));
    let last = if hvo { Use::HugetlbHvo } else { Use::Kernel };
    machine = machine.put(base + 0xc00, compound(9, last)).poison(base + 0x3ff);
    for block in (base + 0x200..base + END).step_by(0x200) {
        machine = machine
            .fill(block..block + 8, Content::Stamp)
            .fill(block + 0x80..block + 0x84, Content::Text)
            .fill(block + 0x1fc..block + 0x200, Content::Noise);
    }
    machine
}

/// The smaller animals alone, for machines whose pages are large.
pub fn few_at(machine: Machine, base: u64) -> Machine {
    animals(machine.ram(base + START..base + SMALL_END), base)
}

/// Single pages, and blocks of up to 64 pages.
fn animals(mut machine: Machine, base: u64) -> Machine {
    for (n, class) in SINGLES.into_iter().enumerate() {
        machine = machine.put(base + START + 2 * n as u64, class);
    }
    let compound = |order, of| Class::Compound { order, of };
    for (pfn, class) in [
        (0x140, Class::Free { order: 0 }),
        (0x142, Class::Free { order: 1 }),
        (0x148, Class::Free { order: 3 }),
        (0x150, Class::FreeAbsurd { order: 63 }),
        (0x152, Class::FreeAbsurd { order: 0x1_0000_0001 }),
        (0x180, Class::Free { order: 6 }),
        (0x1c0, compound(3, Use::Kernel)),
        (0x1c8, compound(3, Use::Kernel)),
        (0x1d0, compound(2, Use::File)),
        (0x1d4, compound(2, Use::FilePrivate)),
        (0x1d8, compound(2, Use::Anon)),
        (0x1e0, compound(2, Use::Kernel)),
        (0x1e4, compound(2, Use::Anon)),
        (0x1e9, compound(1, Use::Anon)), // not where an order-1 page can be: its order is no order
        (0x1f0, Class::Anon),
        (0x1f2, Class::Cache),
        (0x1f4, Class::Free { order: 1 }),
        (0x1f8, Class::Free { order: 2 }),
    ] {
        machine = machine.put(base + pfn, class);
    }
    for pfn in [0x1ca, 0x1cf, 0x1da, 0x1e0, 0x1e4, 0x1f0, 0x1f2, 0x1f4, 0x1fa] {
        machine = machine.poison(base + pfn);
    }
    machine = machine.fill(base + START..base + SMALL_END, Content::Stamp);
    for (pfn, content) in [
        (0x104, Content::Noise),
        (0x105, Content::Noise),
        (0x106, Content::Text),
        (0x107, Content::Text),
        (0x108, Content::LastByte),
        (0x109, Content::FirstByte),
        (0x10b, Content::Zero),
    ] {
        machine = machine.fill(base + pfn..base + pfn + 1, content);
    }
    machine
}
