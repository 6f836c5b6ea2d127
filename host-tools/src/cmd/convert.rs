//! `tamis convert`: `tamis refilter` without a level, with a manual of its own.

/// What it does, in a line.
pub const ABOUT: &str = "Write a dump, or a memory image, in another format";

/// How it is called.
pub const USAGE: &str = "tamis convert [OPTIONS] IN... OUT --to FORMAT";

/// The manual.
pub const MANUAL: &str = "\
Write a dump, or a memory image, in another format.

Whatever tamis reads goes in: ELF vmcores, kdump-compressed and flattened dumps, split ones,
sadump, LiME, AVML, VMware's, raw memory. The formats that come out (--to): kdump, what crash and
drgn read fastest; elf, for gdb and others; flat, a kdump dump as a stream; lime, for forensic
tools; raw, each byte at the offset that its physical address is, with gaps where nothing is.

It is `tamis refilter` without a level: the pages stay the same. What is written is verified
while it is written. Registers of CPUs and VMCOREINFO that an image lacks in its headers are in
the notes of the dump; LiME and raw images have no room for notes.

Exit status: 0 done; 2 pages that the input should have are missing; 3 it could not be done, and
there is no output.

Examples:
  $ tamis convert memory.lime vmcore --to kdump
  $ tamis convert -c disk1 disk2 disk3 vmcore
  $ tamis convert vm.vmss vm.vmem vmcore --to elf
  $ tamis convert vmcore memory.lime --to lime";
