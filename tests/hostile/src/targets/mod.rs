//! One function for each parser.

mod codecs;
mod dumps;
mod images;
mod kernel;
mod memory;
mod stacks;
mod symbols;
mod texts;
mod xen;

use crate::Target;

/// Every parser that reads what tamis did not write itself.
pub static TARGETS: &[Target] = &[
    dumps::ELF,
    dumps::NOTES,
    dumps::KDUMP,
    dumps::PAGES,
    dumps::FLATTENED,
    dumps::SPLIT,
    images::IMAGES,
    codecs::ZLIB,
    codecs::LZO,
    codecs::SNAPPY,
    codecs::ZSTD,
    codecs::LZ4,
    codecs::ROUNDTRIP,
    texts::VMCOREINFO,
    texts::ARGS,
    texts::ORDERS,
    texts::CPIO,
    texts::VOLUME,
    texts::RULES,
    memory::WALK,
    memory::DMESG,
    memory::CAPTURE,
    symbols::SYMBOLS,
    kernel::KERNEL,
    stacks::STACKS,
    xen::XEN,
];
