//! A flattened stream as the file it stands for: its records are found once, and reads go to where
//! the bytes lie in the stream (`core/docs/format.md`).
//!
//! Records may come in any order and overlap; the later one counts. Gaps read as zeros. Opened in
//! two steps, so that the caller provides the memory: [`Scan`] finds the records one by one,
//! [`Flat::load`] takes them all.

use crate::io::{IoError, IoKind, RandomAccess};
use crate::storage::{ManagedSlice, Table, finish};
use crate::wire::flattened::{Head, RECORD, START, is_start, parse};
use core::fmt;

/// Bytes of the stream that belong somewhere in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Offset in the file that the stream stands for.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// Where they are in the stream.
    pub stream_at: u64,
}

impl Record {
    /// One past the last byte in the file.
    pub fn end(&self) -> u64 {
        self.at.saturating_add(self.len)
    }
}

/// Why a stream cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FlatError {
    /// It does not begin as a stream does, or has a type or version that is not known.
    Start,
    /// A record's header holds what none can.
    Record {
        /// Where in the stream.
        stream_at: u64,
        /// The offset it names.
        at: i64,
        /// The length it names.
        len: i64,
    },
    /// Reading failed.
    Io {
        /// Where in the stream.
        stream_at: u64,
        /// What happened.
        io: IoError,
    },
    /// The storage is too small, or there are more records than can be counted.
    Storage,
}

impl fmt::Display for FlatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlatError::Start => f.write_str("not a flattened stream: bad first block"),
            FlatError::Record { stream_at, at, len } => {
                write!(f, "invalid record at offset {stream_at}: {len} bytes for offset {at}")
            }
            FlatError::Io { stream_at, io } => write!(f, "reading offset {stream_at}: {io}"),
            FlatError::Storage => f.write_str("too many records"),
        }
    }
}

impl core::error::Error for FlatError {}

/// What comes next in a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A record, whole.
    Record(Record),
    /// The end record; the stream offset behind it.
    End(u64),
    /// The stream is cut off: what is there of the last record (perhaps nothing).
    Cut(Record),
}

/// Goes over the records of a stream.
pub struct Scan {
    next: u64,
    len: u64,
}

impl Scan {
    /// Checks the start block. `len` is the length of the stream.
    pub fn new(file: &mut impl RandomAccess, len: u64) -> Result<Scan, FlatError> {
        let mut head = [0; 32];
        file.read_at(0, &mut head).map_err(|io| FlatError::Io { stream_at: 0, io })?;
        if !is_start(&head) {
            return Err(FlatError::Start);
        }
        Ok(Scan { next: START as u64, len })
    }

    /// The next record. After [`Step::End`], [`Step::Cut`] or an error, the same comes again.
    pub fn next(&mut self, file: &mut impl RandomAccess) -> Result<Step, FlatError> {
        let stream_at = self.next;
        let data = stream_at.saturating_add(RECORD as u64);
        if data > self.len {
            return Ok(Step::Cut(Record { at: 0, len: 0, stream_at }));
        }
        let mut raw = [0; RECORD];
        file.read_at(stream_at, &mut raw).map_err(|io| FlatError::Io { stream_at, io })?;
        let (at, len) = match parse(&raw) {
            Ok(Head::Data(at, len)) => (at, len),
            Ok(Head::End) => return Ok(Step::End(data)),
            Err((at, len)) => return Err(FlatError::Record { stream_at, at, len }),
        };
        let record = Record { at, len, stream_at: data };
        let room = self.len - data;
        if record.len > room {
            return Ok(Step::Cut(Record { len: room, ..record }));
        }
        self.next = data + record.len;
        Ok(Step::Record(record))
    }
}

/// A place in the file from which on one record (or none) counts; storage of [`Flat`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    from: u64,
    /// Index of the record, [`NONE`] for a gap.
    record: u32,
    /// While it is being built: an extent at or after this one that has no record yet.
    next: u32,
}

const NONE: u32 = u32::MAX;

/// The file that a stream stands for.
pub struct Flat<'t, F> {
    file: F,
    records: Table<'t, Record>,
    extents: Table<'t, Extent>,
    /// The extent that answered last.
    last: usize,
}

impl<'t, F: RandomAccess> Flat<'t, F> {
    /// Extents of storage that this many records need.
    pub fn extents_for(records: usize) -> usize {
        records.saturating_mul(2)
    }

    /// `records` in the order of the stream; `extents` as many as [`Flat::extents_for`] says.
    pub fn load(
        file: F,
        records: impl Into<Table<'t, Record>>,
        extents: impl Into<ManagedSlice<'t, Extent>>,
    ) -> Result<Flat<'t, F>, FlatError> {
        let (records, mut extents) = (records.into(), extents.into());
        let count = index(&records, &mut extents).ok_or(FlatError::Storage)?;
        let extents = finish(extents, count);
        Ok(Flat { file, records, extents, last: 0 })
    }

    /// A second reader with the same index, for another thread; `again` gives the same stream once
    /// more.
    pub fn reopen(&self, again: impl FnOnce(&F) -> F) -> Flat<'t, F> {
        Flat {
            file: again(&self.file),
            records: self.records.clone(),
            extents: self.extents.clone(),
            last: 0,
        }
    }

    /// Length of the file.
    pub fn len(&self) -> u64 {
        self.extents.last().map_or(0, |e| e.from)
    }

    /// Whether the file has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut F {
        &mut self.file
    }

    /// Where the byte at `at` is in the stream (`None` in a gap), and the end of the bytes for
    /// which that holds. Nothing at the end of the file.
    fn find(&mut self, at: u64) -> Option<(Option<u64>, u64)> {
        let inside = |index: usize| {
            let from = self.extents.get(index)?;
            let end = self.extents.get(index + 1)?.from;
            (from.from <= at && at < end).then_some((*from, end))
        };
        let (extent, end) = match inside(self.last).or_else(|| inside(self.last + 1)) {
            Some(found) => found,
            None => {
                let index = self.extents.partition_point(|e| e.from <= at).checked_sub(1)?;
                self.last = index;
                inside(index)?
            }
        };
        let record = self.records.get(extent.record as usize);
        Some((record.map(|r| r.stream_at + (at - r.at)), end))
    }
}

/// Fills `extents` so that each place has its last record; gives how many there are. The last one
/// is the end of the file.
///
/// Records are laid from the last to the first, each over what is still bare: an extent that has
/// got its record is skipped by all earlier ones (union-find), so that this is as fast as sorting
/// however the records overlap.
fn index(records: &[Record], extents: &mut [Extent]) -> Option<usize> {
    let needed = records.len().checked_mul(2).filter(|n| *n < NONE as usize)?;
    let extents = extents.get_mut(..needed)?;
    for (pair, record) in extents.chunks_exact_mut(2).zip(records) {
        for (slot, from) in pair.iter_mut().zip([record.at, record.end()]) {
            *slot = Extent { from, record: NONE, next: 0 };
        }
    }
    extents.sort_unstable_by_key(|e| e.from);
    let mut count = 0;
    for index in 0..extents.len() {
        let extent = *extents.get(index)?;
        let same = count > 0 && extents.get(count - 1).is_some_and(|e| e.from == extent.from);
        if !same {
            let slot = extents.get_mut(count)?;
            *slot = Extent { next: count as u32, ..extent };
            count += 1;
        }
    }
    // A file that does not begin at 0 begins with a gap: reads find no extent there.
    let extents = extents.get_mut(..count)?;
    for (number, record) in records.iter().enumerate().rev() {
        if record.len == 0 {
            continue;
        }
        let first = extents.partition_point(|e| e.from < record.at);
        let mut at = bare(extents, first)?;
        while extents.get(at)?.from < record.end() {
            let slot = extents.get_mut(at)?;
            slot.record = number as u32;
            slot.next = at as u32 + 1;
            at = bare(extents, at + 1)?;
        }
    }
    Some(count)
}

/// The first extent at `at` or later without a record. Shortens the way for the next one.
fn bare(extents: &mut [Extent], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        let next = extents.get(at)?.next as usize;
        if next == at {
            return Some(at);
        }
        let after = extents.get(next)?.next;
        extents.get_mut(at)?.next = after;
        at = next;
    }
}

impl<F: RandomAccess> RandomAccess for Flat<'_, F> {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        let eof = IoError { kind: IoKind::Eof, code: 0 };
        let end = at.checked_add(buf.len() as u64).ok_or(eof)?;
        if end > self.len() {
            return Err(eof);
        }
        let first = self.extents.first().map_or(0, |e| e.from);
        let (mut at, mut buf) = (at, buf);
        while !buf.is_empty() {
            let (stream_at, until) = match at < first {
                true => (None, first),
                false => self.find(at).ok_or(eof)?,
            };
            let len = (until - at).min(buf.len() as u64) as usize;
            let (part, rest) = buf.split_at_mut(len);
            match stream_at {
                Some(stream_at) => self.file.read_at(stream_at, part)?,
                None => part.fill(0),
            }
            (at, buf) = (until, rest);
        }
        Ok(())
    }

    fn window(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        let (stream_at, until) = self.find(at)?;
        if until - at < len as u64 {
            return None;
        }
        self.file.window(stream_at?, len)
    }

    fn window_broke(&mut self) -> bool {
        self.file.window_broke()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Flattened, Sink};
    use std::{vec, vec::Vec};

    fn stream(records: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut sink = Flattened::new(&mut bytes);
        for (at, data) in records {
            sink.write_at(*at, data).unwrap();
        }
        sink.finish().unwrap();
        bytes
    }

    fn records(stream: &[u8]) -> (Vec<Record>, Step) {
        let mut file = stream;
        let mut scan = Scan::new(&mut file, stream.len() as u64).unwrap();
        let mut found = Vec::new();
        loop {
            match scan.next(&mut file).unwrap() {
                Step::Record(record) => found.push(record),
                end => return (found, end),
            }
        }
    }

    fn whole(stream: &[u8], records: &[Record]) -> Vec<u8> {
        let mut extents = vec![Extent::default(); Flat::<&[u8]>::extents_for(records.len())];
        let mut flat = Flat::load(stream, records, &mut extents[..]).unwrap();
        let mut out = vec![9; flat.len() as usize];
        flat.read_at(0, &mut out).unwrap();
        assert!(flat.read_at(1, &mut out).is_err());
        // Byte by byte, backwards, and lent: the same.
        for at in (0..out.len()).rev() {
            let mut one = [7];
            flat.read_at(at as u64, &mut one).unwrap();
            assert_eq!(one[0], out[at]);
            if let Some(lent) = flat.window(at as u64, 1) {
                assert_eq!(lent[0], out[at]);
            }
        }
        out
    }

    #[test]
    fn records_in_any_order_with_gaps_and_overlaps_make_one_file() {
        let s = stream(&[(6, b"cdef"), (0, b"ab"), (7, b"XY"), (1, b"B")]);
        let (found, end) = records(&s);
        assert_eq!((found.len(), end), (4, Step::End(s.len() as u64)));
        assert_eq!(whole(&s, &found), b"aB\0\0\0\0cXYf");
    }

    #[test]
    fn random_overlaps_agree_with_writing_one_after_the_other() {
        let mut x = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = |below: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x % below
        };
        for round in 0..300 {
            let data: Vec<(u64, Vec<u8>)> = (0..1 + random(30))
                .map(|n| (random(200), vec![n as u8 + 1; 1 + random(40) as usize]))
                .collect();
            let pieces: Vec<(u64, &[u8])> = data.iter().map(|(at, d)| (*at, &d[..])).collect();
            let mut want = Vec::new();
            for (at, d) in &pieces {
                let at = *at as usize;
                want.resize(want.len().max(at + d.len()), 0);
                want[at..at + d.len()].copy_from_slice(d);
            }
            let s = stream(&pieces);
            assert_eq!(whole(&s, &records(&s).0), want, "round {round}");
        }
    }

    #[test]
    fn every_cut_is_noticed_and_what_is_there_counts() {
        let s = stream(&[(0, b"abcd"), (4, b"efgh")]);
        for len in 4096..s.len() {
            let (found, end) = records(&s[..len]);
            let Step::Cut(part) = end else { panic!("{len}: {end:?}") };
            assert!(part.stream_at + part.len <= len as u64);
            assert!(found.len() <= 2);
        }
        let mut short = &s[..20];
        assert!(Scan::new(&mut short, 20).is_err());
    }

    #[test]
    fn records_that_cannot_be_are_refused() {
        let good = stream(&[(5, b"abcd")]);
        for (field, value) in [(0, -2i64), (0, i64::MAX), (8, 0), (8, -1), (8, i64::MIN)] {
            let mut bad = good.clone();
            bad[4096 + field..4096 + field + 8].copy_from_slice(&value.to_be_bytes());
            let mut file = &bad[..];
            let mut scan = Scan::new(&mut file, bad.len() as u64).unwrap();
            let error = scan.next(&mut file).unwrap_err();
            assert!(matches!(error, FlatError::Record { stream_at: 4096, .. }), "{error}");
            assert_eq!(scan.next(&mut file).unwrap_err(), error);
        }
    }
}
