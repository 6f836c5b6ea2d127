//! The flattened stream: positioned writes in a pipe. All integers are big-endian and signed,
//! whatever the machine (`core/docs/format.md`).

use crate::endian::Endian;

/// Bytes of the block that starts a stream.
pub const START: usize = 4096;
/// Bytes of the header of a record, and of the end record.
pub const RECORD: usize = 16;

const SIGNATURE: &[u8] = b"makedumpfile\0\0\0\0";

/// The head of the start block; zeros follow up to [`START`].
pub fn start() -> [u8; 32] {
    let mut head = [0; 32];
    for (to, from) in
        head.iter_mut().zip(SIGNATURE.iter().chain(&1u64.to_be_bytes()).chain(&1u64.to_be_bytes()))
    {
        *to = *from;
    }
    head
}

/// Whether a file that begins with these bytes is a stream of the known type and version.
pub fn is_start(head: &[u8]) -> bool {
    head.starts_with(&start())
}

/// The header of a record of `len` bytes for file offset `at`; `None` where either does not fit
/// the format's signed 64 bits.
pub fn record(at: u64, len: u64) -> Option<[u8; RECORD]> {
    let (at, len) = (i64::try_from(at).ok()?, i64::try_from(len).ok()?);
    let mut head = [0; RECORD];
    for (to, from) in head.iter_mut().zip(at.to_be_bytes().iter().chain(&len.to_be_bytes())) {
        *to = *from;
    }
    Some(head)
}

/// What the header of a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// This many bytes follow (the second number), for this file offset.
    Data(u64, u64),
    /// The stream ends.
    End,
}

/// Reads the header of a record; offset and length as they stand where they cannot be.
pub fn parse(raw: &[u8; RECORD]) -> Result<Head, (i64, i64)> {
    if *raw == END {
        return Ok(Head::End);
    }
    let field = |at| Endian::Big.u64(raw, at).unwrap_or(0) as i64;
    let (at, len) = (field(0), field(8));
    if at < 0 || len <= 0 || at.checked_add(len).is_none() {
        return Err((at, len));
    }
    Ok(Head::Data(at as u64, len as u64))
}

/// The record that ends a stream.
pub const END: [u8; RECORD] = [0xff; RECORD];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_block_has_signature_type_and_version() {
        let head = start();
        assert_eq!(&head[..16], b"makedumpfile\0\0\0\0");
        assert_eq!(head[16..24], [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(head[24..32], [0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn record_headers_are_big_endian_and_bounded() {
        assert_eq!(record(0x102, 3).unwrap(), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(record(1 << 63, 1), None);
        assert_eq!(record(0, u64::MAX), None);
    }
}
