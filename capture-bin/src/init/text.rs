//! Small files and paths.

use crate::sys::File;
use tamis_core::error::part;

/// Longest path that is put together here.
pub(super) type Path = heapless::Vec<u8, 512>;

/// What a small file holds, as far as it fits.
pub(super) fn read_text<'b>(path: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let Ok(file) = File::open(path) else { return &[] };
    let mut len = 0;
    while let Some(room) = buffer.get_mut(len..).filter(|room| !room.is_empty()) {
        match file.read_some(len as u64, room) {
            Ok(0) | Err(_) => break,
            Ok(n) => len += n,
        }
    }
    part(buffer, 0..len)
}
