//! Inputs that are read from their start to their end, and random bytes: what the system gives once.

use crate::fail::{Fail, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// An input.
pub struct Input {
    /// Its bytes.
    pub bytes: Box<dyn Read>,
    /// What messages call it.
    pub name: String,
    /// How many bytes it has; 0 where that is not known.
    pub len: u64,
}

/// Opens an input; `-` is standard input.
pub fn input(path: &Path) -> Result<Input> {
    if path == Path::new("-") {
        let bytes = Box::new(io::stdin().lock());
        return Ok(Input { bytes, name: "standard input".into(), len: 0 });
    }
    let file = File::open(path).map_err(|e| Fail::file(path, e))?;
    let len = file.metadata().map_or(0, |found| found.len());
    Ok(Input { bytes: Box::new(file), name: path.display().to_string(), len })
}

/// Reads until `buf` is full or the input ends.
pub fn fill(input: &mut dyn Read, buf: &mut [u8], name: &str) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match input.read(&mut buf[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Fail::new(format_args!("{name}: reading: {e}"))),
        }
    }
    Ok(done)
}

/// Fills a buffer with random bytes of the system.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes[done..], flags) {
            Ok(len) => done += len,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
