//! Captures a vmcore: the pages that level 31 keeps, compressed with zstd, within 4 MiB.
//! `capture VMCORE DUMP`

use std::env::args;
use std::error::Error;
use std::fs::File;
use tamis_core::{Codec, Headers, Options, Output, Plan, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let (from, to) = args().nth(1).zip(args().nth(2)).ok_or("usage: capture VMCORE DUMP")?;
    let mut vmcore = File::open(from)?;
    let mut dump = File::options().read(true).write(true).create_new(true).open(to)?;
    let options = Options { codec: Some(Codec::Zstd), ..Options::default() };

    let headers = Headers::read(&mut vmcore)?;
    let plan = Plan::new(&headers, &options)?;
    for (owner, bytes) in plan.rows() {
        println!("{owner:<24}{bytes:>10} bytes");
    }
    let mut session = Session::load(vmcore, headers, plan.allocate(&headers), None, &options)?;
    for class in session.unclassified() {
        eprintln!("{}: kept, as {}", class.kept, class.key);
    }
    let mut encoder = Codec::Zstd.encoder(options.effort);
    let report = session.write(Output::Kdump(&mut dump), Some(&mut encoder), &mut ())?;
    println!("{} pages saved, {} left out", report.saved, report.tally.dropped());
    Ok(())
}
