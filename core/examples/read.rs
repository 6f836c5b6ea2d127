//! Bytes of the dead kernel's virtual memory: `read VMCORE ADDRESS` prints 64 from a hexadecimal address on.

use std::env::args;
use std::error::Error;
use std::fs::File;
use tamis_core::units::VirtAddr;
use tamis_core::{Headers, Options, Plan, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let (name, address) = args().nth(1).zip(args().nth(2)).ok_or("usage: read VMCORE ADDRESS")?;
    let address = u64::from_str_radix(address.trim_start_matches("0x"), 16)?;
    let mut vmcore = File::open(name)?;
    let options = Options { skip_classes: true, ..Options::default() };

    let headers = Headers::read(&mut vmcore)?;
    let storage = Plan::new(&headers, &options)?.allocate(&headers);
    let mut session = Session::load(vmcore, headers, storage, None, &options)?;
    let mut bytes = [0; 64];
    session.with_memory(|memory, _, _| memory.read(VirtAddr(address), &mut bytes))??;
    for (line, bytes) in bytes.chunks(16).enumerate() {
        println!("{:016x}  {bytes:02x?}", address + 16 * line as u64);
    }
    Ok(())
}
