//! gzip (RFC 1952), with neither name nor time, so that the same bytes make the same file.

/// Most that a file may unpack to.
const MOST: usize = 1 << 30;

/// CRC-32 as gzip and zip have it.
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let (mut c, mut bit) = (n as u32, 0);
            while bit < 8 {
                c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
                bit += 1;
            }
            table[n] = c;
            n += 1;
        }
        table
    };
    !bytes
        .iter()
        .fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 255) as usize] ^ (crc >> 8))
}

/// Compresses.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    // Magic, deflate, no flags, no time, slowest compression, Unix.
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3];
    out.extend(miniz_oxide::deflate::compress_to_vec(bytes, 9));
    out.extend(crc32(bytes).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

/// Unpacks a file of one member.
pub fn unpack(stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    const CUT: &str = "gzip data that ends too early";
    let (head, mut rest) = stored.split_at_checked(10).ok_or(CUT)?;
    if head[..3] != [0x1f, 0x8b, 8] {
        return Err("not gzip data");
    }
    let flags = head[3];
    if flags & 4 != 0 {
        let len =
            usize::from(*rest.first().ok_or(CUT)?) + 256 * usize::from(*rest.get(1).ok_or(CUT)?);
        rest = rest.get(2 + len..).ok_or(CUT)?;
    }
    // A name and a comment, each ended by a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(CUT)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        rest = rest.get(2..).ok_or(CUT)?;
    }
    let (data, tail) = rest.split_at_checked(rest.len().saturating_sub(8)).ok_or(CUT)?;
    let out = miniz_oxide::inflate::decompress_to_vec_with_limit(data, MOST)
        .map_err(|_| "damaged gzip data")?;
    if tail.get(..4) != Some(&crc32(&out).to_le_bytes()[..]) {
        return Err("gzip data with a wrong checksum");
    }
    Ok(out)
}
