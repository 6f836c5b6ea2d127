//! What the dead kernel used a page for: `classify VMCORE PFN`, the page frame number in decimal.

use std::env::args;
use std::error::Error;
use std::fs::File;
use tamis_core::bitmap::Bitmap;
use tamis_core::tally::{Reason, Tally};
use tamis_core::units::{Pfn, PfnSpan};
use tamis_core::{Headers, Options, Plan, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let (name, pfn) = args().nth(1).zip(args().nth(2)).ok_or("usage: classify VMCORE PFN")?;
    let pfn: u64 = pfn.parse()?;
    let mut vmcore = File::open(name)?;
    let options = Options::default();

    let headers = Headers::read(&mut vmcore)?;
    let storage = Plan::new(&headers, &options)?.allocate(&headers);
    let mut session = Session::load(vmcore, headers, storage, None, &options)?;
    let (mut scanner, dump) = session.scanner()?;
    // A block of free or huge pages begins before the page: 1 GiB of pages is looked at.
    let start = pfn & !0x3_ffff;
    let mut bits = vec![0; 1 << 15];
    let window = PfnSpan::new(Pfn(start), Pfn(start + (1 << 18)));
    let (mut map, mut tally) = (Bitmap::clear(&mut bits, window), Tally::default());
    map.set(PfnSpan::new(Pfn(start), Pfn(pfn + 1)));
    scanner.scan(dump, &mut map, &mut tally, &mut ());
    println!("pfn {pfn} is {}", if map.get(Pfn(pfn)) { "kept" } else { "left out at level 31" });
    for reason in Reason::ALL {
        println!("{:>8} pages up to it: {}", tally.of(reason), reason.name());
    }
    Ok(())
}
