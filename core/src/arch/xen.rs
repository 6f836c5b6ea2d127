//! Frames of the kernel that is Xen's privileged domain: its page tables hold addresses of the machine, but its own
//! numbers of frames are others. A list of lists, which it keeps for those who look at its memory, says which is which
//! (Linux `arch/x86/xen/p2m.c`).

use crate::memory::Dump;
use crate::units::{Pfn, PhysAddr};

/// Entries of a page of the lists.
const ENTRIES: u64 = 512;
/// What is not memory of the domain: devices, and frames that a guest has granted.
const NOT_OWN: u64 = 3 << 62;

/// The frame of the list of lists, where the notes name one.
fn list(dump: &mut impl Dump) -> Option<Pfn> {
    let (at, len) = dump.origin().xen.crash?;
    // The last word, of eight bytes, since 2006.
    let last = len.checked_sub(8).filter(|last| *last >= 64)?;
    let mut word = [0; 8];
    dump.read_notes(at + last, &mut word).ok()?;
    let mfn = dump.machine().endian.u64(&word, 0)?;
    Some(Pfn(mfn)).filter(|mfn| mfn.0 != 0 && mfn.0 < 1 << 40)
}

/// The frame of the machine that this frame of domain 0 is in.
pub(super) fn machine_frame(dump: &mut impl Dump, pfn: Pfn) -> Option<Pfn> {
    let mut frame = list(dump)?;
    for index in [pfn.0 / (ENTRIES * ENTRIES), pfn.0 / ENTRIES % ENTRIES, pfn.0 % ENTRIES] {
        if index >= ENTRIES || frame.0 & NOT_OWN != 0 {
            return None;
        }
        let at = PhysAddr(frame.0.checked_mul(4096)?).checked_add(8 * index)?;
        let mut entry = [0; 8];
        dump.read(at, &mut entry).ok()?;
        frame = Pfn(dump.machine().endian.u64(&entry, 0)?);
    }
    Some(frame).filter(|frame| frame.0 & NOT_OWN == 0)
}
