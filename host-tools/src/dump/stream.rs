//! Flattened streams: the file that one stands for.

use crate::dump::file::BlockFile;
use crate::dump::input::{Raw, unnamed};
use crate::dump::opened::Input;
use crate::fail::{Fail, Result};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tamis_core::input::MaybeFlattened;
use tamis_core::input::flat::{Extent, Flat, FlatError, Record, Scan, Step};
use tamis_core::io::RandomAccess;

/// Records of a stream that are kept in memory. Of more, as a stream of tiny ones has, a file is made.
const RECORDS_MOST: usize = 1 << 20;

/// The records of a flattened stream.
pub struct Stream {
    /// In the order of the stream; none where there is a file.
    records: Vec<Record>,
    /// Where there are too many of them, the file that the stream stands for.
    file: Option<Spool>,
    /// Number of the records.
    pub count: usize,
    /// Whether the end record is there; without it the writer died.
    pub ends: bool,
}

/// Finds the records of a flattened stream. What is there of a record that is cut off counts.
pub fn scan(raw: &Raw) -> Result<Stream> {
    let (stream, error) = records(raw)?;
    match error {
        None => Ok(stream),
        Some(e) => Err(raw.fail(e).next("`tamis repair` makes a dump of what is before it")),
    }
}

/// Like [`scan`], but a stream that is damaged ends before the damage.
pub fn scan_leniently(raw: &Raw) -> Result<Stream> {
    match records(raw)? {
        (stream, Some(e)) if stream.count == 0 => Err(raw.fail(e)),
        (stream, _) => Ok(stream),
    }
}

fn records(raw: &Raw) -> Result<(Stream, Option<FlatError>)> {
    let mut file = raw.reader();
    let mut stream = Stream { records: Vec::new(), file: None, count: 0, ends: false };
    let mut scan = match Scan::new(&mut file, raw.len) {
        Ok(scan) => scan,
        Err(e) => return Ok((stream, Some(e))),
    };
    let error = loop {
        match scan.next(&mut file) {
            Ok(Step::Record(record)) => stream.push(raw, record)?,
            Ok(Step::End(_)) => {
                stream.ends = true;
                break None;
            }
            Ok(Step::Cut(part)) => {
                if part.len > 0 {
                    stream.push(raw, part)?;
                }
                break None;
            }
            Err(e) => break Some(e),
        }
    };
    if let Some(spool) = &mut stream.file {
        spool.finish().map_err(|e| spool_failed(raw, &e))?;
    }
    Ok((stream, error))
}

fn spool_failed(raw: &Raw, error: &std::io::Error) -> Fail {
    raw.fail(format_args!("a stream of many records: writing a temporary file: {error}"))
        .next("TMPDIR names the directory for it")
}

impl Stream {
    fn push(&mut self, raw: &Raw, record: Record) -> Result<()> {
        self.count += 1;
        if self.file.is_none() && self.records.len() == RECORDS_MOST {
            self.file = Some(Spool::new(raw).map_err(|e| spool_failed(raw, &e))?);
            for record in std::mem::take(&mut self.records) {
                self.put(raw, record)?;
            }
        }
        if self.file.is_some() {
            return self.put(raw, record);
        }
        self.records.push(record);
        Ok(())
    }

    fn put(&mut self, raw: &Raw, record: Record) -> Result<()> {
        let put = self.file.as_mut().map_or(Ok(()), |spool| spool.put(record));
        put.map_err(|e| spool_failed(raw, &e))
    }

    /// The file that it stands for, and its length.
    pub fn layer(self, raw: &Raw) -> Result<(Input, u64)> {
        if let Some(spool) = self.file {
            return Ok((
                MaybeFlattened::Plain(BlockFile::new(Arc::new(spool.file), spool.len)),
                spool.len,
            ));
        }
        let extents = vec![Extent::default(); Flat::<BlockFile>::extents_for(self.records.len())];
        let flat = Flat::load(raw.reader(), self.records, extents).map_err(|e| raw.fail(e))?;
        let len = flat.len();
        Ok((MaybeFlattened::Flat(flat), len))
    }
}

/// Bytes of a block of such a file.
const BLOCK: u64 = 16 << 10;
/// Blocks that are held: tiny records that belong to the same few take no system call each.
const BLOCKS: u64 = 256;

/// A file without a name to which records are copied.
struct Spool {
    from: BlockFile,
    file: File,
    /// That of a number is in the place that the number's remainder says.
    blocks: Vec<Block>,
    len: u64,
    /// Bytes of the file that were written; behind them there is nothing to be read.
    written: u64,
}

/// A block that is held.
#[derive(Clone, Default)]
struct Block {
    number: u64,
    /// All of its bytes; none where nothing is held.
    bytes: Vec<u8>,
    /// Those that the file does not have yet.
    new: Range<usize>,
}

impl Spool {
    fn new(raw: &Raw) -> io::Result<Spool> {
        let blocks = vec![Block::default(); BLOCKS as usize];
        Ok(Spool { from: raw.reader(), file: unnamed()?, blocks, len: 0, written: 0 })
    }

    fn put(&mut self, record: Record) -> io::Result<()> {
        let (mut to, mut from, mut left) = (record.at, record.stream_at, record.len);
        self.len = self.len.max(to.saturating_add(left));
        while left > 0 {
            let start = (to % BLOCK) as usize;
            let step = left.min(BLOCK - start as u64);
            let part = start..start + step as usize;
            self.hold(to / BLOCK, &part)?;
            let Spool { from: stream, blocks, .. } = self;
            let block = &mut blocks[(to / BLOCK % BLOCKS) as usize];
            stream
                .read_at(from, &mut block.bytes[part.clone()])
                .map_err(|e| io::Error::other(e.to_string()))?;
            block.new = match block.new.is_empty() {
                true => part,
                false => block.new.start.min(part.start)..block.new.end.max(part.end),
            };
            (to, from, left) = (to + step, from + step, left - step);
        }
        Ok(())
    }

    /// Holds a block, of which these bytes are to be overwritten.
    fn hold(&mut self, number: u64, part: &Range<usize>) -> io::Result<()> {
        let place = (number % BLOCKS) as usize;
        let held = &self.blocks[place];
        if held.number == number && !held.bytes.is_empty() {
            return Ok(());
        }
        self.write(place)?;
        let block = &mut self.blocks[place];
        block.number = number;
        block.bytes.resize(BLOCK as usize, 0);
        let at = number * BLOCK;
        let there = self.written.saturating_sub(at).min(BLOCK) as usize;
        if *part != (0..BLOCK as usize) {
            let (old, none) = block.bytes.split_at_mut(there);
            self.file.read_exact_at(old, at)?;
            none.fill(0);
        }
        Ok(())
    }

    /// Writes what the file does not have of the block in a place.
    fn write(&mut self, place: usize) -> io::Result<()> {
        let block = &mut self.blocks[place];
        let new = std::mem::take(&mut block.new);
        if !new.is_empty() {
            let at = block.number * BLOCK;
            self.file.write_all_at(&block.bytes[new.clone()], at + new.start as u64)?;
            self.written = self.written.max(at + new.end as u64);
        }
        Ok(())
    }

    /// All of it is in the file, gaps included.
    fn finish(&mut self) -> io::Result<()> {
        for place in 0..self.blocks.len() {
            self.write(place)?;
        }
        self.blocks = Vec::new();
        self.file.set_len(self.len)
    }
}
