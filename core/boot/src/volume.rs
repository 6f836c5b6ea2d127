//! What file system a block device holds, and its names: enough to find the target of a dump by
//! UUID or label without a library (ext2/3/4: Linux `Documentation/filesystems/ext4/super.rst`; xfs:
//! `fs/xfs/libxfs/xfs_format.h`; btrfs: `include/uapi/linux/btrfs_tree.h`; vfat: Microsoft's FAT
//! specification; GPT: UEFI specification chapter 5; MBR).

/// Bytes from the start of a device that [`identify`] looks at.
pub const HEAD: usize = 4096;
/// Where btrfs has its superblock: its first 4096 bytes are for [`identify_btrfs`].
pub const BTRFS_AT: u64 = 0x1_0000;

/// A file system's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Volume<'b> {
    /// Type as `mount` takes it.
    pub kind: &'static str,
    /// UUID, or the serial number of a FAT file system.
    pub id: VolumeId,
    /// Label, without padding.
    pub label: &'b [u8],
}

/// What distinguishes a file system from others of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VolumeId {
    /// 16 bytes, in the order in which they are written down.
    Uuid([u8; 16]),
    /// A FAT serial number, written `XXXX-XXXX`.
    Serial(u32),
}

impl VolumeId {
    /// Whether `text` is this id, in any case of letters.
    pub fn is(&self, text: &[u8]) -> bool {
        let mut digits = text.iter().filter(|b| **b != b'-').copied();
        let mut same = true;
        let mut byte = |want: u8| {
            for nibble in [want >> 4, want & 15] {
                let found = digits.next().and_then(|d| char::from(d).to_digit(16));
                same &= found == Some(nibble.into());
            }
        };
        match self {
            VolumeId::Uuid(bytes) => bytes.iter().for_each(|b| byte(*b)),
            VolumeId::Serial(n) => n.to_be_bytes().iter().for_each(|b| byte(*b)),
        }
        same && digits.next().is_none()
    }
}

/// The `N` bytes at `at`; `None` past the end.
fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

fn u16_at(from: &[u8], at: usize) -> Option<u16> {
    bytes(from, at).map(u16::from_le_bytes)
}

fn u32_at(from: &[u8], at: usize) -> Option<u32> {
    bytes(from, at).map(u32::from_le_bytes)
}

fn u64_at(from: &[u8], at: usize) -> Option<u64> {
    bytes(from, at).map(u64::from_le_bytes)
}

/// A field's text; a head that ends before the field does shows none.
fn label(field: Option<&[u8]>) -> &[u8] {
    let field = field.unwrap_or(&[]);
    field.split(|b| *b == 0).next().unwrap_or(field).trim_ascii_end()
}

fn uuid(head: &[u8], at: usize) -> Option<VolumeId> {
    bytes(head, at).map(VolumeId::Uuid)
}

/// The file system that begins with `head` (up to [`HEAD`] bytes; fewer find fewer kinds).
pub fn identify(head: &[u8]) -> Option<Volume<'_>> {
    if head.get(..4) == Some(b"XFSB") {
        return Some(Volume { kind: "xfs", id: uuid(head, 32)?, label: label(head.get(108..120)) });
    }
    if u16_at(head, 0x438) == Some(0xef53) {
        let text = label(head.get(0x478..0x488));
        return Some(Volume { kind: "ext4", id: uuid(head, 0x468)?, label: text });
    }
    if u16_at(head, 510) == Some(0xaa55) {
        let (serial, name) = if head.get(82..87) == Some(b"FAT32") {
            (67, 71..82)
        } else if head.get(54..57) == Some(b"FAT") {
            (39, 43..54)
        } else {
            return None;
        };
        let id = VolumeId::Serial(u32_at(head, serial)?);
        return Some(Volume { kind: "vfat", id, label: label(head.get(name)) });
    }
    None
}

/// The btrfs whose superblock this is.
pub fn identify_btrfs(superblock: &[u8]) -> Option<Volume<'_>> {
    if superblock.get(0x40..0x48) != Some(b"_BHRfS_M") {
        return None;
    }
    let text = label(superblock.get(0x12b..0x22b));
    Some(Volume { kind: "btrfs", id: uuid(superblock, 0x20)?, label: text })
}

/// Whether partition `number` (from 1) of the disk that `read` reads has this PARTUUID: a GPT
/// unique partition GUID, or `SSSSSSSS-PP` for a partition of an MBR disk with signature S.
///
/// `read` fills a buffer from a byte offset, whole or not at all. `sector` is the disk's logical
/// sector size.
pub fn has_partuuid(
    read: &mut dyn FnMut(u64, &mut [u8]) -> bool,
    sector: u64,
    number: u32,
    text: &[u8],
) -> bool {
    let mut head = [0; 512];
    if number == 0 || !read(0, &mut head) {
        return false;
    }
    let mut gpt = [0; 92];
    if read(sector, &mut gpt) && gpt.first_chunk::<8>() == Some(b"EFI PART") {
        let fields = (u64_at(&gpt, 72), u32_at(&gpt, 80), u32_at(&gpt, 84));
        let (Some(entries), Some(count), Some(size)) = fields else { return false };
        let at = entries
            .checked_mul(sector)
            .and_then(|at| at.checked_add(u64::from(number - 1).checked_mul(size.into())?));
        let mut entry = [0; 32];
        return match at {
            Some(at) if number <= count && size >= 128 && read(at, &mut entry) => {
                guid(&entry).is_some_and(|id| id.is(text))
            }
            _ => false,
        };
    }
    match (u32_at(&head, 440), text.split_at_checked(8)) {
        (Some(signature @ 1..), Some((disk, [b'-', part @ ..]))) => {
            let number_of = |digits: &[u8]| {
                core::str::from_utf8(digits).ok().and_then(|d| u32::from_str_radix(d, 16).ok())
            };
            VolumeId::Serial(signature).is(disk) && number_of(part) == Some(number)
        }
        _ => false,
    }
}

/// The unique GUID of a GPT entry, in the order in which it is written down: its first three fields
/// are little-endian on disk.
fn guid(entry: &[u8; 32]) -> Option<VolumeId> {
    let [.., a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7] = *entry;
    Some(VolumeId::Uuid([a3, a2, a1, a0, b1, b0, c1, c0, d0, d1, d2, d3, d4, d5, d6, d7]))
        .filter(|id| *id != VolumeId::Uuid([0; 16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const UUID: [u8; 16] = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8];
    const TEXT: &[u8] = b"12345678-9ABC-def0-0102-030405060708";

    #[test]
    fn file_systems_are_known_by_their_magic() {
        let mut ext = vec![0; 2048];
        ext[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
        ext[0x468..0x478].copy_from_slice(&UUID);
        ext[0x478..0x47d].copy_from_slice(b"crash");
        let mut xfs = vec![0; 512];
        xfs[..4].copy_from_slice(b"XFSB");
        xfs[32..48].copy_from_slice(&UUID);
        xfs[108..120].copy_from_slice(b"crash12chars");
        let mut btrfs = vec![0; 4096];
        btrfs[0x40..0x48].copy_from_slice(b"_BHRfS_M");
        btrfs[0x20..0x30].copy_from_slice(&UUID);
        for (found, kind, label) in [
            (identify(&ext), "ext4", &b"crash"[..]),
            (identify(&xfs), "xfs", b"crash12chars"),
            (identify_btrfs(&btrfs), "btrfs", b""),
        ] {
            let found = found.unwrap();
            assert_eq!((found.kind, found.label), (kind, label));
            assert!(found.id.is(TEXT));
            assert!(!found.id.is(&TEXT[1..]) && !found.id.is(b"") && !found.id.is(b"123g"));
        }
        let mut fat = vec![0; 512];
        fat[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(identify(&fat), None);
        fat[82..87].copy_from_slice(b"FAT32");
        fat[67..71].copy_from_slice(&0xabcd_0123u32.to_le_bytes());
        fat[71..82].copy_from_slice(b"CRASH      ");
        let found = identify(&fat).unwrap();
        assert_eq!((found.kind, found.label), ("vfat", &b"CRASH"[..]));
        assert!(found.id.is(b"ABCD-0123"));
    }

    #[test]
    fn short_heads_are_not_volumes() {
        let mut head = vec![0xff; HEAD];
        head[..4].copy_from_slice(b"XFSB");
        for len in 0..48 {
            assert_eq!(identify(&head[..len]), None, "{len}");
        }
    }

    #[test]
    fn partitions_are_found_by_guid_or_disk_signature() {
        let mut disk = vec![0u8; 8192];
        let ask = |disk: &[u8], n: u32, text: &[u8]| {
            let mut read = |at: u64, buf: &mut [u8]| {
                let at = at as usize;
                disk.get(at..at + buf.len()).map(|b| buf.copy_from_slice(b)).is_some()
            };
            has_partuuid(&mut read, 512, n, text)
        };
        disk[440..444].copy_from_slice(&0x1234_abcdu32.to_le_bytes());
        assert!(ask(&disk, 2, b"1234abcd-02") && !ask(&disk, 1, b"1234abcd-02"));
        assert!(!ask(&disk, 2, b"1234abcd") && !ask(&disk, 2, b"1234abcd-xx"));
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72] = 2;
        disk[512 + 80] = 4;
        disk[512 + 84] = 128;
        let entry = 1024 + 128 + 16;
        disk[entry..entry + 16].copy_from_slice(&[
            0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 1, 2, 3, 4, 5, 6, 7, 8,
        ]);
        assert!(ask(&disk, 2, TEXT));
        assert!(!ask(&disk, 1, TEXT) && !ask(&disk, 5, TEXT) && !ask(&disk, 0, TEXT));
        assert!(!ask(&disk, 2, b"1234abcd-02"));
    }
}
