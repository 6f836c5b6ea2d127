//! What a file is that is no dump.

use crate::dump::input::Raw;
use crate::fail::Fail;

/// Says what a file that is no dump looks like.
pub fn refuse(raw: &Raw, head: &[u8]) -> Fail {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|h| h.starts_with(magic));
    let magics: [(&[u8], &str, &str); 24] = [
        (b"\x1f\x8b", "compressed with gzip", "gunzip it first"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unzstd it first"),
        (b"\xfd7zXZ\0", "compressed with xz", "unxz it first"),
        (b"BZh", "compressed with bzip2", "bunzip2 it first"),
        (b"\x04\x22\x4d\x18", "compressed with lz4", "unlz4 it first"),
        (b"\x02\x21\x4c\x18", "compressed with lz4", "unlz4 it first"),
        (b"LUKS\xba\xbe", "a LUKS encrypted volume", "unlock it first"),
        (b"PK\x03\x04", "a zip archive", "unpack it first"),
        (b"sadump\0\0", "a dump of sadump", "makedumpfile converts it"),
        (b"sadu", "a dump of sadump", "makedumpfile converts it"),
        (b"DISKDUMP", "a dump of diskdump", "crash reads it"),
        (b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "a dump of LKCD", "crash of old reads it"),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xed", "a dump of LKCD", "crash of old reads it"),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", "a stand-alone dump of s390", "zgetdump converts it"),
        (b"EMiL", "a LiME memory image", "it has no dump header"),
        (b"QEVM", "a saved machine of QEMU", "make a dump of it with dump-guest-memory"),
        (b"QFI\xfb", "a qcow2 disk image", "the dump is a file in it"),
        (b"PAGEDU", "a Windows crash dump", "tamis is for Linux"),
        (b"MDMP", "a minidump", "tamis is for kernel dumps"),
        (b"\xd0\xbe\xd2\xbe", "a VMware snapshot", "vmss2core converts it"),
        (b"\xd2\xbe\xd2\xbe", "a VMware snapshot", "vmss2core converts it"),
        (b"LibvirtQemudSave", "a saved machine of libvirt", "make a dump with virsh dump"),
        (b"LibvirtQemudPart", "an unfinished save of libvirt", "make a dump with virsh dump"),
        (b"OSRELEASE=", "a VMCOREINFO text", "name the dump that it belongs to"),
    ];
    let refused = |what: &str, next: &str| raw.fail(format_args!("{what}, not a dump")).next(next);
    if head.is_empty() {
        return raw.fail("an empty file").next("the capture failed before it began");
    }
    if let Some((_, what, next)) = magics.iter().find(|(magic, ..)| at(0, magic)) {
        return refused(what, next);
    }
    if at(4096, b"sadump\0\0") || at(4096, b"sadu") {
        return refused("a dump of sadump", "makedumpfile converts it");
    }
    if at(257, b"ustar") {
        return refused("a tar archive", "unpack it first");
    }
    if at(1080, b"\x53\xef") {
        return refused("a file system (ext2, ext3 or ext4)", "the dump is a file in it");
    }
    let starts: [&[u8]; 4] = [b"KDUMP   ", b"TAMIS   ", b"\x7fELF", b"makedumpfile\0\0\0\0"];
    if starts.iter().any(|s| s.starts_with(head)) || at(0, b"makedumpfile\0\0\0\0") {
        return raw
            .fail(format_args!("a dump cut off in its header: {} bytes are there", raw.len))
            .next("there is no page to be had from it");
    }
    if head.iter().all(|b| *b == 0) {
        let text = "begins with zeros: a dump whose header was never written, or none at all";
        return raw.fail(text).next("check that the capture ended");
    }
    if head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        return refused("a text", "name a dump");
    }
    let begins = head.get(..8).unwrap_or(head).escape_ascii().to_string();
    raw.fail(format_args!("not a dump: it begins with \"{begins}\""))
        .next("a dump is an ELF core, a kdump file or a flattened stream")
}

/// An ELF file that is no dump.
pub enum Header {
    /// A program, a library, or vmlinux.
    Executable,
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
            _ => Header::Other,
        }
    }
}
