//! gzip, with neither name nor time, so that the same bytes make the same file.

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use std::io::{Cursor, ErrorKind, Read, Write};

/// Upper bound of a decompressed file.
const MOST: u64 = 1 << 30;

/// Operating system in the header of gzip (RFC 1952): Unix.
const UNIX: u8 = 3;

/// Compresses.
pub fn pack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let header = GzBuilder::new().operating_system(UNIX);
    let mut gzip = header.write(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    gzip.finish()
}

/// Unpacks a file of one member.
pub fn unpack(stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut gzip = GzDecoder::new(Cursor::new(stored));
    let mut out = Vec::new();
    let len = gzip.by_ref().take(MOST + 1).read_to_end(&mut out).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => "gzip data that ends too early",
        _ => "damaged gzip data",
    })?;
    if len as u64 > MOST {
        return Err("gzip data of more than 1 GiB");
    }
    if gzip.into_inner().position() < stored.len() as u64 {
        return Err("something behind the end of gzip data");
    }
    Ok(out)
}
