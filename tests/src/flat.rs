//! An independent reader of the flattened stream.

/// One record: where its data goes, and the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the target file.
    pub offset: u64,
    /// Bytes of data.
    pub len: u64,
}

/// A stream put in order.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The target file.
    pub file: Vec<u8>,
    /// Records in the order of the stream.
    pub records: Vec<Record>,
}

/// What a stream stands for that may be cut off anywhere behind its start block, and whether it has
/// its end.
pub fn rearrange_cut(stream: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut rest = stream.get(4096..)?;
    let mut file = Vec::new();
    while let Some((head, data)) = rest.split_at_checked(16) {
        let (offset, size) = (&head[..8], &head[8..]);
        if head == [0xff; 16] {
            return Some((file, true));
        }
        let number = |raw: &[u8]| u64::from_be_bytes(raw.try_into().unwrap()) as usize;
        let (offset, size) = (number(offset), number(size));
        let there = size.min(data.len());
        if there > 0 {
            file.resize(file.len().max(offset + there), 0);
            file[offset..offset + there].copy_from_slice(&data[..there]);
        }
        rest = &data[there..];
    }
    Some((file, false))
}

/// Reads a stream to its end record; everything about it must be right, and records may not
/// overlap.
pub fn rearrange(stream: &[u8]) -> Result<Stream, String> {
    let start = stream.get(..4096).ok_or("no start block")?;
    let be = |at: usize| u64::from_be_bytes(start[at..at + 8].try_into().unwrap());
    if &start[..16] != b"makedumpfile\0\0\0\0" || be(16) != 1 || be(24) != 1 {
        return Err("the start block is not that of a flattened dump".into());
    }
    if start[32..].iter().any(|&b| b != 0) {
        return Err("the start block has bytes behind its fields".into());
    }
    let mut file = Vec::new();
    let mut records = Vec::new();
    let mut at = 4096;
    loop {
        let Some(head) = stream.get(at..at + 16) else {
            return Err(format!("the stream ends at {at} without an end record"));
        };
        let offset = i64::from_be_bytes(head[..8].try_into().unwrap());
        let size = i64::from_be_bytes(head[8..].try_into().unwrap());
        at += 16;
        if (offset, size) == (-1, -1) {
            break;
        }
        if offset < 0 || size <= 0 {
            return Err(format!("a record of {size} bytes at {offset}"));
        }
        let (offset, size) = (offset as usize, size as usize);
        let Some(data) = stream.get(at..at + size) else {
            return Err(format!("the stream ends inside the record of {size} bytes at {offset}"));
        };
        at += size;
        if file.len() < offset + size {
            file.resize(offset + size, 0);
        }
        file[offset..offset + size].copy_from_slice(data);
        records.push(Record { offset: offset as u64, len: size as u64 });
    }
    if at != stream.len() {
        return Err(format!("{} bytes behind the end record", stream.len() - at));
    }
    let mut sorted: Vec<_> = records.iter().map(|r| (r.offset, r.offset + r.len)).collect();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        if pair[0].1 > pair[1].0 {
            return Err(format!("records {:?} and {:?} overlap", pair[0], pair[1]));
        }
    }
    Ok(Stream { file, records })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(records: &[(i64, &[u8])]) -> Vec<u8> {
        let mut out = b"makedumpfile\0\0\0\0".to_vec();
        out.extend(1u64.to_be_bytes());
        out.extend(1u64.to_be_bytes());
        out.resize(4096, 0);
        for (offset, data) in records {
            out.extend(offset.to_be_bytes());
            out.extend((data.len() as i64).to_be_bytes());
            out.extend(*data);
        }
        out
    }

    #[test]
    fn records_go_to_their_places() {
        let mut good = stream(&[(6, b"cd"), (0, b"ab")]);
        good.extend([0xff; 16]);
        let read = rearrange(&good).unwrap();
        assert_eq!(read.file, b"ab\0\0\0\0cd");
        assert_eq!(read.records.len(), 2);
    }

    #[test]
    fn faulty_streams_are_refused() {
        let cut = stream(&[(0, b"ab")]);
        assert!(rearrange(&cut).unwrap_err().contains("without an end record"));
        let mut overlap = stream(&[(0, b"abc"), (2, b"x")]);
        overlap.extend([0xff; 16]);
        assert!(rearrange(&overlap).unwrap_err().contains("overlap"));
        let mut behind = stream(&[(0, b"abc")]);
        behind.extend([0xff; 17]);
        assert!(rearrange(&behind).unwrap_err().contains("behind"));
    }
}
