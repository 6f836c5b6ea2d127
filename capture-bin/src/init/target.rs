//! Finding the target.

use super::text::{Path, read_text};
use crate::sys::File;
use tamis_boot::paths::MOST_TEXT;
use tamis_boot::volume;
use tamis_core::error::part;

/// A block device, and the file system on it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) device: Path,
    pub(super) kind: &'static str,
}

impl Found {
    fn is(&mut self, device: &[u8], kind: &'static str) -> bool {
        self.device.clear();
        self.kind = kind;
        self.device.extend_from_slice(device).is_ok()
    }
}

/// Looks for the target among the block devices that there are now.
pub(super) fn find_target(target: &[u8], found: &mut Found) -> bool {
    if target.starts_with(b"/") {
        return look_at(target, |_, _| true, found);
    }
    let mut matched = false;
    // /proc/partitions: major minor #blocks name.
    let mut text = [0; MOST_TEXT];
    let table = read_text(b"/proc/partitions", &mut text);
    for line in table.split(|&b| b == b'\n').skip(2) {
        let mut fields = line.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
        let Some(name) = fields.nth(3).filter(|_| !matched) else { continue };
        let mut device = Path::new();
        if device.extend_from_slice(b"/dev/").and_then(|()| device.extend_from_slice(name)).is_err()
        {
            continue;
        }
        matched = match target {
            [b'U', b'U', b'I', b'D', b'=', id @ ..] => {
                look_at(&device, |v, _| v.is_some_and(|v| v.id.is(id)), found)
            }
            [b'L', b'A', b'B', b'E', b'L', b'=', label @ ..] => {
                look_at(&device, |v, _| v.is_some_and(|v| v.label == label), found)
            }
            [b'P', b'A', b'R', b'T', b'U', b'U', b'I', b'D', b'=', id @ ..] => {
                is_partition(name, id) && look_at(&device, |_, _| true, found)
            }
            _ => false,
        };
    }
    matched
}

/// Reads the head of a device that can be opened; `wanted` decides by what is on it.
fn look_at(
    device: &[u8],
    wanted: impl Fn(Option<&volume::Volume<'_>>, &File) -> bool,
    found: &mut Found,
) -> bool {
    let Ok(file) = File::open(device) else { return false };
    // The first block has the marks of all but btrfs, whose superblock is at 64 KiB: its page is
    // put where it would be in a short head.
    let mut head = [0; 4096];
    let mut len = 0;
    while let Some(room) = head.get_mut(len..).filter(|room| !room.is_empty()) {
        match file.read_some(len as u64, room) {
            Ok(0) | Err(_) => break,
            Ok(n) => len += n,
        }
    }
    let mut volume = volume::identify(part(&head, 0..len));
    let mut btrfs = [0; 4096];
    if volume.is_none() && file.read_at(volume::BTRFS_AT, &mut btrfs).is_ok() {
        volume = volume::identify_btrfs(&btrfs);
    }
    wanted(volume.as_ref(), &file) && found.is(device, volume.map_or("", |v| v.kind))
}

/// Whether the partition `name` has this PARTUUID: its disk's table is read.
fn is_partition(name: &[u8], id: &[u8]) -> bool {
    let mut path = Path::new();
    let mut put = |parts: &[&[u8]]| -> Path {
        path.clear();
        for part in parts {
            let _ = path.extend_from_slice(part);
        }
        path.clone()
    };
    let mut digits = [0; 16];
    let number = read_text(&put(&[b"/sys/class/block/", name, b"/partition"]), &mut digits);
    let number = core::str::from_utf8(number.trim_ascii()).ok().and_then(|n| n.parse().ok());
    let Some(number) = number else { return false };
    // Disks whose names end in a digit have a `p` before the partition's number.
    let letters = name.len() - name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let disk = part(name, 0..letters);
    let disk = match disk {
        [head @ .., b'p'] if head.last().is_some_and(u8::is_ascii_digit) => head,
        _ => disk,
    };
    let mut size = [0; 16];
    let sector =
        read_text(&put(&[b"/sys/class/block/", disk, b"/queue/logical_block_size"]), &mut size);
    let sector = core::str::from_utf8(sector.trim_ascii()).ok().and_then(|n| n.parse().ok());
    let Ok(file) = File::open(&put(&[b"/dev/", disk])) else { return false };
    let mut read = |at: u64, buf: &mut [u8]| file.read_at(at, buf).is_ok();
    volume::has_partuuid(&mut read, sector.unwrap_or(512), number, id)
}
