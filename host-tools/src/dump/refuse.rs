//! What a file is that is not a dump.

use crate::dump::input::Raw;
use crate::fail::Fail;
use tamis_core::io::RandomAccess;

/// What a file is that begins in some way: where, with what bytes, what it is, and what to do about it.
type Kind = (usize, &'static [u8], &'static str, &'static str);

const UNPACK: &str = "unpack it first";
const IN_IT: &str = "the dump is a file in it";
const PARTITION: &str = "the dump is a file on a partition of it";
const SAVED: &str = "make a dump of the machine with its hypervisor's command for that";

/// Other things than dumps.
const OTHERS: [Kind; 58] = [
    (0, b"\x1f\x8b", "compressed with gzip", "gunzip it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", "unzstd it first"),
    (0, b"\xfd7zXZ\0", "compressed with xz", "unxz it first"),
    (0, b"BZh", "compressed with bzip2", "bunzip2 it first"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4", "unlz4 it first"),
    (0, b"\x02\x21\x4c\x18", "compressed with lz4", "unlz4 it first"),
    (0, b"\x89LZO\0\r\n\x1a\n", "compressed with lzop", "lzop -d unpacks it"),
    (0, b"LZIP", "compressed with lzip", "lzip -d unpacks it"),
    (0, b"\xff\x06\0\0sNaPpY", "a stream of snappy frames", UNPACK),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"070701", "a cpio archive", UNPACK),
    (0, b"070702", "a cpio archive", UNPACK),
    (0, b"070707", "a cpio archive", UNPACK),
    (0, b"\xc7\x71", "a cpio archive", UNPACK),
    (0, b"\x71\xc7", "a cpio archive", UNPACK),
    (0, b"\xed\xab\xee\xdb", "an rpm package", UNPACK),
    (0, b"!<arch>\ndebian-binary", "a deb package", UNPACK),
    (0, b"!<arch>\n", "an ar archive", UNPACK),
    (0, b"LUKS\xba\xbe", "a LUKS encrypted volume", "unlock it first"),
    (0, b"-----BEGIN PGP", "encrypted or signed with gpg", "gpg -d decrypts it"),
    (0, b"age-encryption.org/", "encrypted with age", "age -d decrypts it"),
    (0, b"-----BEGIN AGE", "encrypted with age", "age -d decrypts it"),
    (0, b"Salted__", "encrypted with openssl", "decrypt it first"),
    (1080, b"\x53\xef", "a file system (ext2, ext3 or ext4)", IN_IT),
    (0, b"XFSB", "a file system (xfs)", IN_IT),
    (65_600, b"_BHRfS_M", "a file system (btrfs)", IN_IT),
    (0, b"hsqs", "a file system (squashfs)", IN_IT),
    (1024, b"\xe2\xe1\xf5\xe0", "a file system (erofs)", IN_IT),
    (1024, b"\x10\x20\xf5\xf2", "a file system (f2fs)", IN_IT),
    (3, b"NTFS    ", "a file system (ntfs)", IN_IT),
    (54, b"FAT", "a file system (vfat)", IN_IT),
    (82, b"FAT32", "a file system (vfat)", IN_IT),
    (32_769, b"CD001", "an ISO image", IN_IT),
    (512, b"LABELONE", "a physical volume of LVM", "the dump is a file on a volume of it"),
    (0, b"QFI\xfb", "a qcow2 disk image", IN_IT),
    (0, b"KDMV", "a vmdk disk image", IN_IT),
    (0, b"COWD", "a vmdk disk image", IN_IT),
    (0, b"# Disk DescriptorFile", "the description of a vmdk disk image", IN_IT),
    (64, b"\x7f\x10\xda\xbe", "a vdi disk image", IN_IT),
    (0, b"conectix", "a vhd disk image", IN_IT),
    (0, b"vhdxfile", "a vhdx disk image", IN_IT),
    (512, b"EFI PART", "a disk with partitions (GPT)", PARTITION),
    (4096, b"EFI PART", "a disk with partitions (GPT)", PARTITION),
    (514, b"HdrS", "a kernel image (bzImage)", "name the vmcore"),
    (56, b"ARM\x64", "a kernel image of arm64", "name the vmcore"),
    (56, b"RSC\x05", "a kernel image of riscv", "name the vmcore"),
    (4, b"zimg", "a kernel image that EFI unpacks", "name the vmcore"),
    (0, b"\x27\x05\x19\x56", "an image of U-Boot", "name the vmcore"),
    (0, b"QEVM", "a saved machine of QEMU", "make a dump of it with dump-guest-memory"),
    (0, b"LibvirtQemudSave", "a saved machine of libvirt", "make a dump with virsh dump"),
    (0, b"LibvirtQemudPart", "an unfinished save of libvirt", "make a dump with virsh dump"),
    (0, b"PAGEDU", "a Windows crash dump", "tamis is for Linux"),
    (0, b"MDMP", "a minidump", "tamis is for kernel dumps"),
    (0, b"LPKSHHRH", "a journal of systemd", "name the dump"),
    (0, b"OSRELEASE=", "a VMCOREINFO text", "name the dump that it belongs to"),
];

/// Dumps of formats that are not read.
const FOREIGN: [Kind; 16] = [
    (0, b"DISKDUMP", "a dump of diskdump", "crash reads it"),
    (0, b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "an LKCD dump", "crash reads it"),
    (0, b"\xa8\x19\x01\x73\x61\x8f\x23\xed", "an LKCD dump", "crash reads it"),
    (0, b"\xcd\x23\x8f\x61\x73\x01\x19\xa8", "an LKCD dump of a live kernel", "crash reads it"),
    (0, b"\xa8\x19\x01\x73\x61\x8f\x23\xcd", "an LKCD dump of a live kernel", "crash reads it"),
    (0, b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", "a stand-alone dump of s390", "zgetdump converts it"),
    (
        0,
        b"\xa8\x19\x01\x73\x61\x8f\x23\xfe",
        "an extended stand-alone dump of s390",
        "zgetdump converts it",
    ),
    (0, b"\xed\xeb\x0f\xf0", "a core of a Xen guest", SAVED),
    (0, b"\xee\xeb\x0f\xf0", "a core of a Xen HVM guest", SAVED),
    (0, b"LinuxGuestRecord", "a saved Xen guest", SAVED),
    (0, b"Xenlight saved domain", "a saved Xen guest", SAVED),
    (0, b"Xen saved domain", "a saved Xen guest", SAVED),
    (0, b"\xff\xff\xff\xff\xff\xff\xff\xffXENF", "a saved Xen guest", SAVED),
    (0, b"FreeBSD Kernel Dump", "a dump of FreeBSD", "tamis is for Linux"),
    (0, b"Compressed Dump", "a dump of FreeBSD", "tamis is for Linux"),
    (0, b"minidump FreeBSD/", "a minidump of FreeBSD", "tamis is for Linux"),
];

/// Places at the end of a first page, where swap areas say what they are.
const SWAP: [usize; 4] = [4096 - 10, 8192 - 10, 16_384 - 10, 65_536 - 10];

fn at(head: &[u8], offset: usize, magic: &[u8]) -> bool {
    head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

/// What a file that is not a dump looks like.
pub fn refuse(raw: &Raw, head: &[u8]) -> Fail {
    let refused = |what: &str, next: &str| raw.fail(format_args!("{what}, not a dump")).next(next);
    if head.is_empty() {
        return raw.fail("an empty file").next("the capture failed before it began");
    }
    let found = |kinds: &'static [Kind]| kinds.iter().find(|(to, magic, ..)| at(head, *to, magic));
    if let Some((_, _, what, next)) = found(&FOREIGN) {
        return foreign(raw, what, next);
    }
    if let Some((_, _, what, next)) = found(&OTHERS) {
        return refused(what, next);
    }
    if SWAP.iter().any(|to| at(head, *to, b"SWAPSPACE2") || at(head, *to, b"SWAP-SPACE")) {
        return refused("a swap area", "a dump written to it has been written over");
    }
    if SWAP.iter().any(|to| at(head, *to, b"S1SUSPEND") || at(head, *to, b"ULSUSPEND")) {
        return refused("a swap area with a hibernated system", "nothing of a crash is in it");
    }
    if is_gpg(head) {
        return refused("encrypted with gpg", "gpg -d decrypts it");
    }
    if is_lzma(head) {
        return refused("compressed with lzma", "unlzma it first");
    }
    if at(head, 510, b"\x55\xaa") {
        return refused("a disk with partitions (MBR), or a boot sector", PARTITION);
    }
    if is_fixed_vhd(raw) {
        return refused("a vhd disk image", IN_IT);
    }
    let starts: [&[u8]; 4] = [b"KDUMP   ", b"TAMIS   ", b"\x7fELF", b"makedumpfile\0\0\0\0"];
    if starts.iter().any(|s| s.starts_with(head)) || at(head, 0, b"makedumpfile\0\0\0\0") {
        return raw
            .fail(format_args!("a dump cut off in its header: {} bytes are there", raw.len))
            .next("no page can be read from it");
    }
    if head.iter().all(|b| *b == 0) {
        let text = "begins with zeros: a dump whose header was never written, or not a dump";
        return raw.fail(text).next("check that the capture ended");
    }
    if head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        return refused("a text", "name a dump");
    }
    let begins = head.get(..8).unwrap_or(head).escape_ascii().to_string();
    raw.fail(format_args!("not a dump: it begins with \"{begins}\"")).next(
        "a dump is an ELF core, a kdump file, a flattened stream or a memory image (tamis --help)",
    )
}

/// A dump of a format that is not read.
pub fn foreign(raw: &Raw, what: &str, next: &str) -> Fail {
    raw.fail(format_args!("is {what}, which tamis does not read yet")).next(next)
}

/// The first packet of a message that is encrypted for a key, or with a passphrase (RFC 9580, version 3 or 4
/// of either).
fn is_gpg(head: &[u8]) -> bool {
    let of_key = matches!(head, [0x84 | 0xc1, _, 3, ..] | [0x85, _, _, 3, ..]);
    of_key || matches!(head, [0x8c | 0xc3, 4..=64, 4, ..])
}

/// Properties of the usual encoder, a dictionary of a usual size, and the length of what is in it.
fn is_lzma(head: &[u8]) -> bool {
    let Some([0x5d, a, b, c, d, size @ ..]) = head.first_chunk::<13>() else { return false };
    let dictionary = u32::from_le_bytes([*a, *b, *c, *d]);
    let size = u64::from_le_bytes(*size);
    dictionary.count_ones() <= 2 && dictionary >= 1 << 12 && (size == u64::MAX || size < 1 << 48)
}

/// A disk image as it is, with what it is at its end.
fn is_fixed_vhd(raw: &Raw) -> bool {
    let mut end = [0; 8];
    let at = raw.len.checked_sub(512);
    at.is_some_and(|at| raw.reader().read_at(at, &mut end).is_ok()) && end == *b"conectix"
}

/// What an ELF file is that is the dump of something else.
pub fn foreign_elf(raw: &Raw, head: &[u8]) -> Option<Fail> {
    const FREEBSD: u8 = 9;
    if head.get(7) == Some(&FREEBSD) {
        return Some(foreign(raw, "a dump of FreeBSD", "tamis is for Linux"));
    }
    // No segments, but sections; the table of their names is behind all else.
    let (none, some) = (head.get(56..58) == Some(&[0, 0]), head.get(60..62) != Some(&[0, 0]));
    if !(none && some && head.get(4) == Some(&2)) {
        return None;
    }
    let mut end = vec![0; raw.len.min(64 << 10) as usize];
    raw.reader().read_at(raw.len - end.len() as u64, &mut end).ok()?;
    let is_xen = |bytes: &[u8]| bytes.windows(9).any(|name| name == b".note.Xen");
    (is_xen(head) || is_xen(&end)).then(|| foreign(raw, "a core of a Xen guest (ELF)", SAVED))
}

/// An ELF file that is not a dump.
pub enum Header {
    /// A program, a library, or vmlinux.
    Executable,
    /// An object file.
    Object,
    /// Anything else.
    Other,
}

impl Header {
    /// By the type in the header.
    pub fn of(head: &[u8]) -> Header {
        let big = head.get(5) == Some(&2);
        match head.get(16..18) {
            Some([2 | 3, 0]) if !big => Header::Executable,
            Some([0, 2 | 3]) if big => Header::Executable,
            Some([1, 0] | [0, 1]) => Header::Object,
            _ => Header::Other,
        }
    }
}
