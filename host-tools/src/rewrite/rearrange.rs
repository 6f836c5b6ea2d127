//! A dump file out of a flattened stream.

use crate::dump::out::OutFile;
use crate::fail::{Fail, Result};
use crate::render::progress::Progress;
use crate::streams::fill;
use std::io::Read;
use tamis_core::wire::flattened::{Head, RECORD, START, parse};

/// Writes the records of a stream to their places.
pub fn copy(input: &mut dyn Read, name: &str, len: u64, out: &mut OutFile) -> Result<()> {
    let mut at = START as u64;
    let mut buf = vec![0; 1 << 20];
    let mut progress = Progress::new("Rearranging");
    let cut = |at: u64| {
        Fail::new(format_args!("{name}: cut off at offset {at}: the stream has no end"))
            .next("`tamis repair` makes a dump of what is there")
    };
    loop {
        let mut head = [0; RECORD];
        if fill(input, &mut head, name)? < RECORD {
            return Err(cut(at));
        }
        let (mut to, mut left) = match parse(&head) {
            Ok(Head::End) => return Ok(()),
            Ok(Head::Data(to, left)) => (to, left),
            Err((to, left)) => {
                return Err(Fail::new(format_args!(
                    "{name}: invalid record at offset {at}: {left} bytes for offset {to}"
                ))
                .next("the stream is damaged; `tamis repair` makes a dump of what is before it"));
            }
        };
        at += RECORD as u64;
        while left > 0 {
            let part = left.min(buf.len() as u64) as usize;
            let got = fill(input, &mut buf[..part], name)?;
            if got < part {
                return Err(cut(at + got as u64));
            }
            out.put(to, &buf[..part])?;
            (to, left, at) = (to + part as u64, left - part as u64, at + part as u64);
            progress.set(at, len);
        }
    }
}
