/work/wt/codec/target-ns/release/deps/tamis_core-fa4ede8b6e466b49.d: core/src/lib.rs core/src/arch/mod.rs core/src/arch/aarch64.rs core/src/arch/linear.rs core/src/arch/paging.rs core/src/arch/x86_64.rs core/src/bitmap.rs core/src/capture/mod.rs core/src/capture/classify.rs core/src/capture/crew.rs core/src/capture/elf.rs core/src/capture/kdump.rs core/src/capture/pages.rs core/src/capture/plan.rs core/src/codec.rs core/src/endian.rs core/src/error.rs core/src/facts.rs core/src/input/mod.rs core/src/input/elf.rs core/src/input/flat.rs core/src/input/kdump/mod.rs core/src/input/kdump/rank.rs core/src/io/mod.rs core/src/io/discard.rs core/src/io/flattened.rs core/src/kernel/mod.rs core/src/kernel/log/mod.rs core/src/kernel/log/chars.rs core/src/kernel/log/prb.rs core/src/kernel/log/records.rs core/src/kernel/log/text.rs core/src/kernel/mem_map/mod.rs core/src/kernel/mem_map/flat.rs core/src/kernel/mem_map/sparse.rs core/src/kernel/memory.rs core/src/kernel/page/mod.rs core/src/kernel/page/keys.rs core/src/kernel/page/rules.rs core/src/kernel/page/scan.rs core/src/kernel/utsname.rs core/src/level.rs core/src/memory/mod.rs core/src/tally.rs core/src/units.rs core/src/vmcoreinfo.rs core/src/wire/mod.rs core/src/wire/disk_header.rs core/src/wire/elf.rs core/src/wire/flattened.rs core/src/wire/machine.rs core/src/wire/note.rs core/src/wire/page_desc.rs core/src/wire/vmcoreinfo.rs

/work/wt/codec/target-ns/release/deps/libtamis_core-fa4ede8b6e466b49.rlib: core/src/lib.rs core/src/arch/mod.rs core/src/arch/aarch64.rs core/src/arch/linear.rs core/src/arch/paging.rs core/src/arch/x86_64.rs core/src/bitmap.rs core/src/capture/mod.rs core/src/capture/classify.rs core/src/capture/crew.rs core/src/capture/elf.rs core/src/capture/kdump.rs core/src/capture/pages.rs core/src/capture/plan.rs core/src/codec.rs core/src/endian.rs core/src/error.rs core/src/facts.rs core/src/input/mod.rs core/src/input/elf.rs core/src/input/flat.rs core/src/input/kdump/mod.rs core/src/input/kdump/rank.rs core/src/io/mod.rs core/src/io/discard.rs core/src/io/flattened.rs core/src/kernel/mod.rs core/src/kernel/log/mod.rs core/src/kernel/log/chars.rs core/src/kernel/log/prb.rs core/src/kernel/log/records.rs core/src/kernel/log/text.rs core/src/kernel/mem_map/mod.rs core/src/kernel/mem_map/flat.rs core/src/kernel/mem_map/sparse.rs core/src/kernel/memory.rs core/src/kernel/page/mod.rs core/src/kernel/page/keys.rs core/src/kernel/page/rules.rs core/src/kernel/page/scan.rs core/src/kernel/utsname.rs core/src/level.rs core/src/memory/mod.rs core/src/tally.rs core/src/units.rs core/src/vmcoreinfo.rs core/src/wire/mod.rs core/src/wire/disk_header.rs core/src/wire/elf.rs core/src/wire/flattened.rs core/src/wire/machine.rs core/src/wire/note.rs core/src/wire/page_desc.rs core/src/wire/vmcoreinfo.rs

/work/wt/codec/target-ns/release/deps/libtamis_core-fa4ede8b6e466b49.rmeta: core/src/lib.rs core/src/arch/mod.rs core/src/arch/aarch64.rs core/src/arch/linear.rs core/src/arch/paging.rs core/src/arch/x86_64.rs core/src/bitmap.rs core/src/capture/mod.rs core/src/capture/classify.rs core/src/capture/crew.rs core/src/capture/elf.rs core/src/capture/kdump.rs core/src/capture/pages.rs core/src/capture/plan.rs core/src/codec.rs core/src/endian.rs core/src/error.rs core/src/facts.rs core/src/input/mod.rs core/src/input/elf.rs core/src/input/flat.rs core/src/input/kdump/mod.rs core/src/input/kdump/rank.rs core/src/io/mod.rs core/src/io/discard.rs core/src/io/flattened.rs core/src/kernel/mod.rs core/src/kernel/log/mod.rs core/src/kernel/log/chars.rs core/src/kernel/log/prb.rs core/src/kernel/log/records.rs core/src/kernel/log/text.rs core/src/kernel/mem_map/mod.rs core/src/kernel/mem_map/flat.rs core/src/kernel/mem_map/sparse.rs core/src/kernel/memory.rs core/src/kernel/page/mod.rs core/src/kernel/page/keys.rs core/src/kernel/page/rules.rs core/src/kernel/page/scan.rs core/src/kernel/utsname.rs core/src/level.rs core/src/memory/mod.rs core/src/tally.rs core/src/units.rs core/src/vmcoreinfo.rs core/src/wire/mod.rs core/src/wire/disk_header.rs core/src/wire/elf.rs core/src/wire/flattened.rs core/src/wire/machine.rs core/src/wire/note.rs core/src/wire/page_desc.rs core/src/wire/vmcoreinfo.rs

core/src/lib.rs:
core/src/arch/mod.rs:
core/src/arch/aarch64.rs:
core/src/arch/linear.rs:
core/src/arch/paging.rs:
core/src/arch/x86_64.rs:
core/src/bitmap.rs:
core/src/capture/mod.rs:
core/src/capture/classify.rs:
core/src/capture/crew.rs:
core/src/capture/elf.rs:
core/src/capture/kdump.rs:
core/src/capture/pages.rs:
core/src/capture/plan.rs:
core/src/codec.rs:
core/src/endian.rs:
core/src/error.rs:
core/src/facts.rs:
core/src/input/mod.rs:
core/src/input/elf.rs:
core/src/input/flat.rs:
core/src/input/kdump/mod.rs:
core/src/input/kdump/rank.rs:
core/src/io/mod.rs:
core/src/io/discard.rs:
core/src/io/flattened.rs:
core/src/kernel/mod.rs:
core/src/kernel/log/mod.rs:
core/src/kernel/log/chars.rs:
core/src/kernel/log/prb.rs:
core/src/kernel/log/records.rs:
core/src/kernel/log/text.rs:
core/src/kernel/mem_map/mod.rs:
core/src/kernel/mem_map/flat.rs:
core/src/kernel/mem_map/sparse.rs:
core/src/kernel/memory.rs:
core/src/kernel/page/mod.rs:
core/src/kernel/page/keys.rs:
core/src/kernel/page/rules.rs:
core/src/kernel/page/scan.rs:
core/src/kernel/utsname.rs:
core/src/level.rs:
core/src/memory/mod.rs:
core/src/tally.rs:
core/src/units.rs:
core/src/vmcoreinfo.rs:
core/src/wire/mod.rs:
core/src/wire/disk_header.rs:
core/src/wire/elf.rs:
core/src/wire/flattened.rs:
core/src/wire/machine.rs:
core/src/wire/note.rs:
core/src/wire/page_desc.rs:
core/src/wire/vmcoreinfo.rs:
