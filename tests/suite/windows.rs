//! Bounded windows: whatever their number, the dump is the same.

use tamis_tests::oracle::expect;
use tamis_tests::synth::{Class, Content, Image, KernelStyle, Machine, Use};
use tamis_tests::zoo::{zoo, zoo_at};

use crate::common::{Bench, assert_report};

/// Windows of 8 Ki, 16 Ki, 24 Ki, 56 Ki and 512 Ki frames.
const BUFFERS: [&str; 5] = ["1", "2", "3", "7", "64"];

/// Checks one level; then that other buffers and ways to read give the same file, byte for byte,
/// and the same report.
fn same_everywhere(bench: &Bench, level: u32, options: &[&str]) {
    let (_, whole) = bench.check(level, options);
    let expected = expect(&bench.image, level);
    let level = level.to_string();
    let common = [&["--show-stats", "-d", &level], options].concat();
    let mut ways: Vec<Vec<&str>> = BUFFERS.map(|kib| vec!["--cyclic-buffer", kib]).to_vec();
    ways.push(vec!["--mmap"]);
    ways.push(vec!["--non-mmap"]);
    ways.push(vec!["--non-cyclic"]);
    for way in ways {
        let (run, dump) = bench.dump(&[common.as_slice(), &way].concat());
        assert!(dump.bytes() == whole.bytes(), "level {level}: {way:?} gives another file");
        assert_report(&run, &expected);
    }
}

/// Four zoos, so that windows and sections have something on both sides.
fn scattered(style: KernelStyle) -> Image {
    let mut machine = zoo(style);
    for base in [0x1800, 0x7c00, 0x2_7800] {
        machine = zoo_at(machine, base);
    }
    machine.meta_at(0x1_0000 << 12, 32 << 20).build()
}

#[test]
fn the_same_dump_at_every_buffer_size() {
    for style in [KernelStyle::V5_10, KernelStyle::V6_12] {
        let bench = Bench::new(scattered(style));
        for level in [0, 1, 16, 31] {
            same_everywhere(&bench, level, &[]);
        }
    }
}

#[test]
fn the_same_compressed_dump_at_every_buffer_size() {
    let bench = Bench::new(scattered(KernelStyle::V6_12));
    same_everywhere(&bench, 31, &["-c"]);
    same_everywhere(&bench, 1, &["--lz4"]);
}

/// Blocks of `order` that span windows and sections: one of user memory, one of the kernel's
/// (whose tails have to be kept in every window), a free one, with small pages around them.
fn giants(order: u32, style: KernelStyle) -> Machine {
    let size = 1u64 << order;
    let base = size.max(0x1_0000);
    let user = base;
    let kernel = base + size;
    let free = base + 2 * size;
    let end = base + 3 * size;
    Machine::new(style)
        .free_orders(order + 1)
        .meta_at(16 << 20, 200 << 20)
        .ram(base - 0x10..end + 0x10)
        .put(base - 1, Class::Anon)
        .put(user, Class::Compound { order, of: Use::Hugetlb })
        .put(kernel, Class::Compound { order, of: Use::Kernel })
        .poison(kernel + size - 3)
        .put(free, Class::Free { order })
        .put(end, Class::Cache)
        .put(end + 1, Class::Kernel)
        .fill(user..user + 4, Content::Stamp)
        .fill(user + size / 2..user + size / 2 + 4, Content::Noise)
        .fill(kernel - 4..kernel + 4, Content::Stamp)
        .fill(free - 4..free + 4, Content::Text)
        .fill(end - 4..end + 0x10, Content::Stamp)
}

#[test]
fn blocks_larger_than_windows() {
    for style in [KernelStyle::V6_3, KernelStyle::V6_12] {
        let bench = Bench::new(giants(15, style).build());
        for level in [1, 9, 17, 31] {
            same_everywhere(&bench, level, &[]);
        }
    }
}

#[test]
fn pages_of_a_gibibyte() {
    let bench = Bench::new(giants(18, KernelStyle::V6_12).build());
    for level in [9, 31] {
        same_everywhere(&bench, level, &[]);
    }
}

#[test]
fn a_block_that_ends_with_memory() {
    // The block's last pages have no memory behind them, and the next window has other pages.
    let machine = Machine::new(KernelStyle::V6_12)
        .free_orders(16)
        .ram(0x8000..0xb800)
        .ram(0x1_8000..0x1_8020)
        .put(0x8000, Class::Free { order: 15 })
        .put(0x1_8000, Class::Anon)
        .put(0x1_8001, Class::Kernel)
        .fill(0x8000..0x8010, Content::Stamp)
        .fill(0xb7f0..0xb800, Content::Stamp)
        .fill(0x1_8000..0x1_8020, Content::Stamp)
        .meta_at(16 << 20, 32 << 20);
    let bench = Bench::new(machine.build());
    for level in [17, 31] {
        same_everywhere(&bench, level, &[]);
    }
}
