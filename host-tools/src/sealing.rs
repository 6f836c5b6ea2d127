//! Sealing of files, and opening of sealed ones, as streams.

use crate::fail::{Fail, Result};
use crate::streams::{fill, random};
use std::fs::read_to_string;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tamis_core::seal::{self, CHUNK, HEADER_MOST, Identity, Opener, Recipient, SEALED_CHUNK, TAG};

/// The lines of a file of keys: `#` begins a comment.
fn lines(path: &Path) -> Result<Vec<(usize, String)>> {
    let text = read_to_string(path).map_err(|e| Fail::file(path, e))?;
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim().to_owned()));
    Ok(lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect())
}

/// Public keys: those that are named, and those of files.
pub fn recipients(named: &[String], files: &[PathBuf]) -> Result<Vec<Recipient>> {
    let mut all = Vec::new();
    for text in named {
        all.push(text.parse().map_err(|why| {
            Fail::new(format_args!("{text} {why}")).next("`tamis keygen` makes a pair of keys")
        })?);
    }
    for path in files {
        for (line, text) in lines(path)? {
            // Of a file with both keys, the public one stands in a comment.
            if text.starts_with("AGE-SECRET-KEY-1") {
                return Err(Fail::file(path, "is a secret key, which has to stay where it is")
                    .next("name the public one, which begins with age1"));
            }
            all.push(
                text.parse().map_err(|why| Fail::file(path, format_args!("line {line} {why}")))?,
            );
        }
    }
    Ok(all)
}

/// Secret keys of files.
pub fn identities(files: &[PathBuf]) -> Result<Vec<Identity>> {
    let mut all = Vec::new();
    for path in files {
        for (line, text) in lines(path)? {
            all.push(
                text.parse().map_err(|why| Fail::file(path, format_args!("line {line} {why}")))?,
            );
        }
        if all.is_empty() {
            return Err(Fail::file(path, "has no key").next("`tamis keygen` makes a pair of keys"));
        }
    }
    Ok(all)
}

/// Seals all of an input.
pub fn seal_all(
    input: &mut dyn Read,
    name: &str,
    to: &[Recipient],
    out: &mut dyn Write,
) -> Result<()> {
    let (header, mut sealer) = seal::seal(to, random).map_err(Fail::new)?;
    out.write_all(&header)?;
    let (mut chunk, mut next) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut len = fill(input, &mut chunk, name)?;
    loop {
        // Only what follows says whether a full chunk is the last one.
        let more = if len == CHUNK { fill(input, &mut next, name)? } else { 0 };
        let body = &mut chunk[..len];
        let tag = sealer
            .seal(body, more == 0)
            .ok_or_else(|| Fail::new(format_args!("{name}: too long")))?;
        out.write_all(body)?;
        out.write_all(&tag)?;
        if more == 0 {
            return Ok(());
        }
        std::mem::swap(&mut chunk, &mut next);
        len = more;
    }
}

/// How the opening of a sealed file ended.
pub enum Opened {
    /// All of it is there.
    Whole,
    /// It goes on, or went on: what came before this chunk is there.
    Cut {
        /// Number of the first chunk that is not.
        chunk: u64,
        /// Bytes that are there.
        bytes: u64,
    },
}

/// Opens all of an input. What is not as it was sealed is not written, and nothing behind it.
pub fn open_all(
    input: &mut dyn Read,
    name: &str,
    with: &[Identity],
    out: &mut dyn Write,
) -> Result<Opened> {
    let mut head = vec![0; HEADER_MOST];
    let len = fill(input, &mut head, name)?;
    head.truncate(len);
    let (mut opener, start) =
        seal::open(&head, with).map_err(|why| Fail::new(format_args!("{name} {why}")))?;
    let mut input = head[start..].chain(input);
    let (mut chunk, mut next) = (vec![0; SEALED_CHUNK], vec![0; SEALED_CHUNK]);
    let mut len = fill(&mut input, &mut chunk, name)?;
    let mut bytes = 0;
    loop {
        let more = if len == SEALED_CHUNK { fill(&mut input, &mut next, name)? } else { 0 };
        let at = opener.next();
        let Some(body) = open_chunk(&mut opener, &mut chunk[..len], more == 0, at) else {
            // Where it was cut between two chunks, the one before is whole, but not the last.
            if more == 0
                && len == SEALED_CHUNK
                && let Some(body) = open_chunk(&mut opener, &mut chunk[..len], false, at)
            {
                out.write_all(body)?;
                return Ok(Opened::Cut { chunk: at + 1, bytes: bytes + body.len() as u64 });
            }
            return Ok(Opened::Cut { chunk: at, bytes });
        };
        out.write_all(body)?;
        bytes += body.len() as u64;
        if more == 0 {
            return Ok(Opened::Whole);
        }
        std::mem::swap(&mut chunk, &mut next);
        len = more;
    }
}

/// Opens a chunk with its tag; `None` if it is not what was sealed there. An empty one may only be the first.
fn open_chunk<'c>(
    opener: &mut Opener,
    chunk: &'c mut [u8],
    last: bool,
    at: u64,
) -> Option<&'c [u8]> {
    let (body, tag) = chunk.split_last_chunk_mut::<TAG>()?;
    if body.is_empty() && at > 0 {
        return None;
    }
    opener.open(body, tag, last).ok()?;
    Some(body)
}
