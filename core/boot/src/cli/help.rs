//! The text of `--help`.

/// The text of `--help`.
pub const HELP: &str = "\
Usage: tamis-capture [OPTIONS] VMCORE DUMPFILE
       tamis-capture [OPTIONS] -F VMCORE > DUMPFILE.flat
       tamis-capture [OPTIONS] --split VMCORE DUMPFILE1 DUMPFILE2 [...]
       tamis-capture [OPTIONS] --dump-dmesg [--partial-dmesg] VMCORE LOGFILE
       tamis-capture [OPTIONS] --dump-dmesg -F VMCORE > LOGFILE

Writes the memory of a crashed Linux kernel, without pages that are not needed,
into a dump file. VMCORE is /proc/vmcore or a copy of it.

What to write:
  -d LEVEL[,LEVEL...]     dump level, 0 to 31 (default 0); the next one in the
                          list is tried when the target has no space left
  -c, -c0                 compress each page with zlib; 0: faster, larger
  -l                      compress each page with lzo
  -p                      compress each page with snappy
  -z, -z2                 compress each page with zstd; 2: slower, smaller
  --lz4                   compress each page with LZ4 (needs tamis to read)
  -E                      write an ELF file (never compressed)
  -F                      write to standard output: a flattened stream, or a log
  -f                      overwrite existing files
  -L SIZE                 stop at SIZE bytes of output (suffix K M G T P E)
  -i FILE                 read VMCOREINFO from FILE instead of from VMCORE
  --rules FILE            keep or drop pages by rules about the kernel's lists
                          (in programs built with the feature rules)
  -X                      of a Xen host, leave out the memory of guests
  --xen-vmcoreinfo FILE   read VMCOREINFO_XEN from FILE, for what VMCORE lacks
  --split                 spread the dump over two or more files
  --splitblock-size KIB   with --split, cut at multiples of KIB kibibytes
  --dump-dmesg            write only the kernel log, as text
  --partial-dmesg         with --dump-dmesg, only since the log was last cleared
  --no-page-checksums     leave out the checksum that each page has
  --dry-run               do everything but write (DUMPFILE may be left out)

How to work:
  --memory-limit SIZE     use no more memory than this (default 4M)
  --cyclic-buffer KIB     bitmap buffer in kibibytes (0: automatic)
  --non-cyclic            one buffer for all of memory, if it fits the limit
  --non-mmap              read VMCORE with read(), never map it
  --mmap                  map VMCORE, also where it is not in /proc
  --num-threads N         threads that compress (default 1)
  -b ORDER                accepted, without effect
  --work-dir DIR          accepted, without effect
  -x FILE, --xen-syms FILE
                          accepted, without effect

What to say:
  --message-level N       sum of 1 progress, 2 common, 4 error, 8 debug,
                          16 report (default 7)
  -D                      add debug messages
  --show-stats            add the report on pages
  --check-params          only check this command line
  -h, --help              print this text
  -v, --version           print the version

Dump level: the sum of what to leave out.
   1  pages filled with zeros
   2  page cache, without private pages
   4  page cache, with private pages
   8  user pages
  16  free pages
  31  all of these

Exit status:
   0  success
   1  failure; also a dump that is incomplete
   2  the file given with -i belongs to another kernel release

Examples:
  /etc/kdump.conf:           core_collector tamis-capture -c -d 31
    to ssh or a raw device:  core_collector tamis-capture -F -c -d 31
  /etc/default/kdump-tools, tamis-capture installed under the name makedumpfile:
                             MAKEDUMP_ARGS=\"-c -d 31\"
";
