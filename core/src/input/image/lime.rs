//! LiME images (github.com/504ensicsLabs/LiME, `doc/`), and those of AVML (github.com/microsoft/avml), which are LiME's
//! with a magic and a version of their own, and compressed.
//!
//! Each range of memory has a header of 32 bytes: magic, version, physical address of its first and of its last byte, and
//! 8 bytes of zeros. Version 1 has its bytes behind that; version 2 a stream of snappy frames, and behind it 8 bytes with
//! the length of the stream.

use super::snappy;
use super::{Extent, ImageError, Kind, Layout, Place};
use crate::endian::Endian;
use crate::io::RandomAccess;

const HEADER: usize = 32;
/// Memory of any machine ends below this.
const PHYS_MOST: u64 = 1 << 52;

/// Reads all headers; `len` is the length of the file.
///
/// # Errors
///
/// What is not a header, or not a snappy frame, and where it is. A file that is cut off is none: its memory is missing.
pub fn read(file: &mut impl RandomAccess, len: u64) -> Result<Layout, ImageError> {
    let mut layout = Layout::new(Kind::Lime, "LiME");
    let mut at = 0u64;
    while at < len {
        let mut head = [0; HEADER];
        if len - at < HEADER as u64 {
            // A file that was cut off in a header: what came behind it is not known.
            layout.missing = layout.missing.saturating_add(1);
            break;
        }
        let what = "LiME header";
        file.read_at(at, &mut head).map_err(|io| ImageError::Read { what, at, io })?;
        let invalid = |value| ImageError::Invalid { what, at, value };
        let field = |at| Endian::Little.u64(&head, at).unwrap_or_default();
        let version = Endian::Little.u32(&head, 4).unwrap_or_default();
        let avml = head.starts_with(b"AVML");
        if !avml && !head.starts_with(b"EMiL") {
            return Err(invalid(field(0)));
        }
        let (first, last) = (field(8), field(16));
        if first > last || last >= PHYS_MOST {
            return Err(invalid(last));
        }
        let bytes = last - first + 1;
        at += HEADER as u64;
        match version {
            1 => {
                layout.push_at(first, bytes, (0, at), len)?;
                at = at.saturating_add(bytes);
            }
            2 => {
                layout.form = if avml { "AVML, compressed" } else { "LiME, compressed" };
                at = frames(&mut layout, file, (first, bytes), at, len)?;
            }
            other => return Err(ImageError::Version("LiME version", other.into())),
        }
    }
    Ok(layout)
}

/// The chunks of one range, which has `bytes` from `phys` on; returns where the next header is.
fn frames(
    layout: &mut Layout,
    file: &mut impl RandomAccess,
    (mut phys, mut bytes): (u64, u64),
    at: u64,
    len: u64,
) -> Result<u64, ImageError> {
    let mut next = at;
    while bytes > 0 {
        let here = next;
        let cut = |layout: &mut Layout| layout.lack(phys, bytes).map(|()| len);
        let chunk = match snappy::next(file, &mut next) {
            Ok(chunk) if next <= len => chunk,
            Ok(_) => return cut(layout),
            Err(_) if next >= len || len - here < 8 => return cut(layout),
            Err(error) => return Err(error),
        };
        let chunk_len = u64::from(chunk.len);
        if chunk_len > bytes {
            let what = "length of a snappy chunk";
            return Err(ImageError::Invalid { what, at: here, value: chunk_len });
        }
        let (offset, stored, sum) = (chunk.offset, chunk.stored, chunk.sum);
        let place = match chunk.packed {
            true => Place::Packed { file: 0, offset, stored, sum },
            false => Place::At { file: 0, offset },
        };
        layout.push(Extent { phys, len: chunk_len, place })?;
        phys += chunk_len;
        bytes -= chunk_len;
    }
    // The length of the stream.
    Ok(next.saturating_add(8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    fn header(magic: &[u8], version: u32, first: u64, last: u64) -> Vec<u8> {
        let mut bytes = magic.to_vec();
        bytes.extend(version.to_le_bytes());
        for word in [first, last, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn ranges_follow_each_other() {
        let mut bytes = header(b"EMiL", 1, 0x1000, 0x1fff);
        bytes.extend(vec![1; 0x1000]);
        bytes.extend(header(b"EMiL", 1, 0x5000, 0x6fff));
        bytes.extend(vec![2; 0x1800]);
        let layout = read(&mut &bytes[..], bytes.len() as u64).unwrap();
        let found: Vec<_> = layout.extents.iter().map(|e| (e.phys, e.len, e.place)).collect();
        let at = |offset| Place::At { file: 0, offset };
        let second = 0x1000 + 64;
        let want = [(0x1000, 0x1000, at(32)), (0x5000, 0x1800, at(second))];
        assert_eq!(found[..2], want);
        assert_eq!(found[2], (0x6800, 0x800, Place::LeftOut));
        assert_eq!(layout.missing, 0x800);
    }

    #[test]
    fn what_is_not_a_header_is_refused() {
        for (magic, version, first, last) in [
            (b"EMiL", 3, 0, 0xfff),
            (b"EMiL", 1, 0x1000, 0xfff),
            (b"EMiL", 1, 0, u64::MAX),
            (b"ELiM", 1, 0, 0xfff),
        ] {
            let bytes = header(magic, version, first, last);
            assert!(read(&mut &bytes[..], bytes.len() as u64).is_err(), "{first:x}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_lacks_the_rest() {
        let mut bytes = header(b"AVML", 2, 0x1000, 0x2fff);
        bytes.extend(b"\xff\x06\0\0sNaPpY");
        bytes.extend([1, 4, 16, 0, 0, 0, 0, 0]);
        bytes.extend(vec![3; 0x1000]);
        let whole = bytes.len();
        bytes.extend([1, 4, 16, 0, 0, 0, 0, 0]);
        bytes.extend(vec![3; 0x1000]);
        for len in [whole, whole + 1, whole + 7, whole + 100, bytes.len() - 1] {
            let layout = read(&mut &bytes[..len], len as u64).unwrap();
            assert_eq!(layout.missing, 0x1000, "{len}");
            assert_eq!(layout.extents[0].len, 0x1000);
        }
        let layout = read(&mut &bytes[..], bytes.len() as u64).unwrap();
        assert_eq!((layout.missing, layout.extents.len()), (0, 2));
    }
}
