//! What became of each page.

use crate::classes::left_out;
use crate::dump::opened::{Dump, Opened};
use tamis_core::input::kdump::PageFault;
use tamis_core::memory::{PhysMemory as _, ReadError};
use tamis_core::units::{Pfn, PhysAddr};
use tamis_core::wire::page_desc::PageDesc;

/// What became of a page, and its bytes in the file.
pub fn state(
    opened: &mut Opened,
    zeros: &[Option<PageDesc>],
    pfn: Pfn,
    stored: bool,
) -> (&'static str, u64) {
    let page = opened.shift.bytes() as u64;
    let kdump = match &mut opened.dump {
        _ if !stored => return ("left out", 0),
        Dump::Elf(_) => return ("raw", page),
        Dump::Kdump(kdump) => kdump,
    };
    match kdump.descriptor(pfn) {
        Ok((desc, part)) => match kdump.check(desc, part) {
            Ok(_) if zeros.get(part) == Some(&Some(desc)) => ("zero", 0),
            Ok(codec) => (codec.map_or("raw", |c| c.name()), u64::from(desc.size)),
            Err(PageFault::CutOff(_)) => ("lost", 0),
            Err(_) => ("damaged", 0),
        },
        Err(PageFault::Absent) => ("left out", 0),
        Err(PageFault::MissingPart) => ("in another file", 0),
        Err(PageFault::Lost) => ("lost", 0),
        Err(_) => ("damaged", 0),
    }
}

/// Whether the page is there.
pub fn presence(opened: &mut Opened, at: PhysAddr, pfn: Pfn) -> String {
    let fault = match &mut opened.dump {
        Dump::Kdump(kdump) => match kdump.page(pfn) {
            Ok(_) => None,
            Err(PageFault::Absent) => Some(left_out(opened, pfn)),
            Err(fault) => Some(fault.to_string()),
        },
        Dump::Elf(elf) => match elf.read(at, &mut [0]) {
            Ok(()) => None,
            Err(ReadError::Absent(_)) => Some(left_out(opened, pfn)),
            Err(fault) => Some(fault.to_string()),
        },
    };
    fault.unwrap_or_else(|| "in the dump".into())
}
