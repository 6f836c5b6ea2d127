//! The kernel's own copy of VMCOREINFO, for vmcores that do not have it in their notes.
//!
//! Kernels keep the text, and since 4.13 the note with it, from their start on: each at the beginning of a page. Before,
//! both are variables of the kernel. A text that is found may be of another kernel all the same: of a guest, of a dump in
//! the page cache, of one that ran before. It counts if the kernel that it describes is there: see [`is_there`].

use super::memory::KernelMemory;
use super::utsname::Utsname;
use crate::arch::Arch;
use crate::arch::paging::TableCache;
use crate::memory::{Dump, PhysMemory};
use crate::units::{PageShift, PhysAddr};
use crate::vmcoreinfo::Info;
use crate::wire::note::{HEADER, VMCOREINFO};

/// How the text begins, in all kernels.
pub const START: &[u8] = b"OSRELEASE=";
/// Bytes of the note's header and its padded name before the text.
pub const BEFORE: usize = HEADER + VMCOREINFO.len().next_multiple_of(4);
/// Room for any text of a kernel, which has a page for it and fills two or three thousand bytes.
pub const ROOM: u64 = 8 << 10;

/// Texts that are tried, at most: a machine may have thousands of old dumps in its page cache.
const TRIED_MOST: u32 = 64;
/// Pages whose beginning is looked at, at most: 256 GiB of 4 KiB each.
const PAGES_MOST: u64 = 1 << 26;
/// Pages of those that cannot be read together with others that are tried alone, at most.
const ALONE_MOST: u64 = 1 << 16;
/// Memory that is looked at word by word, at most, for what is not at the beginning of a page: kernels before 4.13 lie
/// low.
const BYTES_MOST: u64 = 4 << 30;

/// Looks for the text of the kernel whose memory this is: at the beginning of pages, then everywhere below 4 GiB. Fills
/// `text`, and returns the bytes of the text and where it is. `buffer` is for what is read, a multiple of 4 bytes.
pub fn find<D: Dump>(
    dump: &mut D,
    shift: PageShift,
    tables: &mut TableCache<'_>,
    text: &mut [u8],
    buffer: &mut [u8],
) -> Option<(usize, PhysAddr)> {
    let mut tried = 0;
    let mut look = |dump: &mut D, at| {
        let len = text_at(dump, at, shift, text)?;
        tried += 1;
        let text = text.get(..len)?;
        let fits = Info::new(Some(text), None).page_shift() == Some(shift);
        (tried <= TRIED_MOST && fits && is_there(dump, tables, text)).then_some((len, at))
    };
    let page = shift.bytes() as u64;
    let begins = |page: &[u8]| {
        let at = |offset: &usize| page.get(*offset..).is_some_and(|page| page.starts_with(START));
        [0, BEFORE].into_iter().find(at)
    };
    let (mut left, mut alone) = (PAGES_MOST, ALONE_MOST);
    // Whole pages at a time, as many as there is room for.
    let step = (buffer.len() as u64 / page).max(1);
    for index in 0..dump.ranges().len() {
        let Some(range) = dump.ranges().get(index).copied() else { break };
        let end = range.phys.0.saturating_add(range.stored_len);
        let mut at = range.phys.0.checked_next_multiple_of(page).unwrap_or(end);
        while at < end && left > 0 {
            let pages = step.min(left).min((end - at).div_ceil(page));
            let len = pages.saturating_mul(page).min(end - at);
            let piece = usize::try_from(len).ok().and_then(|len| buffer.get_mut(..len));
            let is_read = piece.is_some_and(|piece| dump.read(PhysAddr(at), piece).is_ok());
            for page_at in (at..at.saturating_add(len)).step_by(shift.bytes()) {
                let mut head = [0; BEFORE + START.len()];
                let offset = if is_read {
                    let from = usize::try_from(page_at - at).ok();
                    from.and_then(|from| buffer.get(from..)).and_then(begins)
                } else if alone > 0 {
                    alone -= 1;
                    let head_is_read = dump.read(PhysAddr(page_at), &mut head).is_ok();
                    begins(&head).filter(|_| head_is_read)
                } else {
                    None
                };
                let found = offset.and_then(|offset| look(dump, PhysAddr(page_at + offset as u64)));
                if found.is_some() {
                    return found;
                }
            }
            left -= pages;
            at = at.saturating_add(len.max(1));
        }
    }
    let mut left = BYTES_MOST;
    for index in 0..dump.ranges().len() {
        let Some(range) = dump.ranges().get(index).copied() else { break };
        let end = range.phys.0.saturating_add(range.stored_len).min(BYTES_MOST);
        let mut at = range.phys.0.next_multiple_of(4);
        while at < end && left > 0 {
            let len = buffer.len().min(usize::try_from((end - at).min(left)).unwrap_or(usize::MAX));
            let Some(piece) = buffer.get_mut(..len) else { break };
            left -= len as u64;
            if dump.read(PhysAddr(at), piece).is_ok() {
                // As variables they are aligned to 4 bytes at least.
                let words = piece.chunks_exact(4).enumerate();
                for (word, _) in words.filter(|(_, word)| START.starts_with(word)) {
                    if let Some(found) = look(dump, PhysAddr(at + 4 * word as u64)) {
                        return Some(found);
                    }
                }
            }
            at = at.saturating_add(len.max(1) as u64);
        }
    }
    None
}

/// Fills `room` with the text at an address, whose length the header of its note says, or its end, as far as memory is
/// there. Returns its bytes, if it is one.
pub fn text_at(
    memory: &mut impl PhysMemory,
    at: PhysAddr,
    shift: PageShift,
    room: &mut [u8],
) -> Option<usize> {
    let endian = memory.machine().endian;
    let mut before = [0; BEFORE];
    let note = at.0.checked_sub(BEFORE as u64);
    let is_note = note.is_some_and(|at| memory.read(PhysAddr(at), &mut before).is_ok())
        && endian.u32(&before, 0) == Some(VMCOREINFO.len() as u32)
        && before.get(HEADER..).is_some_and(|name| name.starts_with(VMCOREINFO));
    let len = match endian.u32(&before, 4).filter(|_| is_note) {
        Some(len) => usize::try_from(len).ok()?,
        None => room.len(),
    };
    let room = room.get_mut(..len)?;
    // Up to the end of the memory that is there, page by page.
    let mut done = 0;
    while done < len {
        let from = at.0.checked_add(done as u64)?;
        let rest = shift.bytes() - (from % shift.bytes() as u64) as usize;
        let piece = room.get_mut(done..len.min(done + rest))?;
        if memory.read(PhysAddr(from), piece).is_err() {
            break;
        }
        done += piece.len();
        if piece.contains(&0) {
            break;
        }
    }
    let text = room.get(..done)?;
    let text = text.split(|byte| *byte == 0).next()?;
    let has = |key: &[u8]| text.windows(key.len()).any(|window| window == key);
    let plain = text.iter().all(|byte| byte.is_ascii_graphic() || b" \n".contains(byte));
    (text.starts_with(START) && plain && has(b"\nPAGESIZE=") && has(b"\nSYMBOL("))
        .then_some(text.len())
}

/// Whether the kernel that a text describes is there: its page tables lead to a `utsname` with the release that the text
/// names.
pub fn is_there<D: Dump>(dump: &mut D, tables: &mut TableCache<'_>, text: &[u8]) -> bool {
    let info = Info::new(Some(text), None);
    let Ok(arch) = Arch::of(dump, &info) else { return false };
    let machine = dump.machine();
    let mut memory = KernelMemory::new(dump, arch, tables);
    let uts = Utsname::read(Some(&mut memory), &info, machine);
    uts.read && info.release() == Some(uts.release())
}
