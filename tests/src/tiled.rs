//! A large machine out of the vmcore of a small, real one: the same kernel, its `struct page`s
//! tiled over more memory, in more than a thousand memory ranges. The file is sparse: of the new
//! memory only the mem_map is stored.
//!
//! For x86_64 kernels with SPARSEMEM_VMEMMAP and `struct page`s of 64 bytes, 128 MiB sections and
//! less than 4 GiB of memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Error, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

const GIB: u64 = 1 << 30;
/// Where the new memory begins.
const NEW: u64 = 4 * GIB;
/// Physical memory of a section, and its `struct page`s.
const SECTION: u64 = 128 << 20;
const SECTION_MAP: u64 = 2 << 20;
/// Memory ranges that the new memory is cut into, and the bytes missing between them.
const RANGES: u64 = 1024;
const GAP: u64 = 64 << 10;
/// Bytes that all there was moves back, to make room for the program headers behind the ELF header:
/// makedumpfile looks for them nowhere else.
const ROOM: u64 = 64 << 10;
/// Where the kernel's text is mapped.
const TEXT: u64 = 0xffff_ffff_8000_0000;
const PRESENT: u64 = 1;
const LEAF: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

fn wrong(what: &str) -> Error {
    Error::other(format!("tiling a vmcore: {what}"))
}

#[derive(Clone, Copy)]
struct Range {
    offset: u64,
    vaddr: u64,
    paddr: u64,
    size: u64,
}

struct Core {
    file: File,
    ranges: Vec<Range>,
    info: String,
}

impl Core {
    fn open(path: &Path) -> io::Result<Core> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut head = [0; 64];
        file.read_exact_at(&mut head, 0)?;
        let word =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let count = u16::from_le_bytes([head[56], head[57]]);
        let (mut ranges, mut notes) = (Vec::new(), None);
        for index in 0..u64::from(count) {
            let mut raw = [0; 56];
            file.read_exact_at(&mut raw, word(&head, 32) + 56 * index)?;
            match raw[0] {
                1 => ranges.push(Range {
                    offset: word(&raw, 8),
                    vaddr: word(&raw, 16),
                    paddr: word(&raw, 24),
                    size: word(&raw, 32),
                }),
                4 => notes = Some((word(&raw, 8), word(&raw, 32))),
                _ => {}
            }
        }
        let (at, len) = notes.ok_or_else(|| wrong("no notes"))?;
        let mut text = vec![0; len as usize];
        file.read_exact_at(&mut text, at)?;
        let start = text.windows(10).position(|w| w == b"OSRELEASE=");
        let start = start.ok_or_else(|| wrong("no VMCOREINFO"))?;
        let info = text[start..].split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Core { file, ranges, info: String::from_utf8_lossy(info).into_owned() })
    }

    /// A value of VMCOREINFO.
    fn value(&self, key: &str, radix: u32) -> io::Result<u64> {
        let line = self.info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        // NUMBER(phys_base) may be below zero.
        let signed = |text| i64::from_str_radix(text, radix).map(|number| number as u64);
        let number = line.and_then(|t| u64::from_str_radix(t, radix).or_else(|_| signed(t)).ok());
        number.ok_or_else(|| wrong(&format!("no {key}")))
    }

    /// File offset of a physical address.
    fn place(&self, phys: u64) -> io::Result<u64> {
        let range = self.ranges.iter().find(|r| (r.paddr..r.paddr + r.size).contains(&phys));
        range.map(|r| r.offset + phys - r.paddr).ok_or_else(|| wrong("an address without memory"))
    }

    fn word(&self, phys: u64) -> io::Result<u64> {
        let mut raw = [0; 8];
        self.file.read_exact_at(&mut raw, self.place(phys)?)?;
        Ok(u64::from_le_bytes(raw))
    }

    fn set_word(&self, phys: u64, value: u64) -> io::Result<()> {
        self.file.write_all_at(&value.to_le_bytes(), self.place(phys)?)
    }

    /// Physical address behind a virtual one of the direct mapping.
    fn direct(&self, virt: u64) -> io::Result<u64> {
        let range = self.ranges.iter().find(|r| (r.vaddr..r.vaddr + r.size).contains(&virt));
        range.map(|r| r.paddr + virt - r.vaddr).ok_or_else(|| wrong("not in the direct mapping"))
    }
}

/// Copies a vmcore, with [`ROOM`] behind its program headers.
fn move_back(small: &Path, large: &Path) -> io::Result<()> {
    let from = File::open(small)?;
    let mut head = vec![0; 4096];
    from.read_exact_at(&mut head, 0)?;
    let count = usize::from(u16::from_le_bytes([head[56], head[57]]));
    if head[32..40] != 64u64.to_le_bytes() || 64 + 56 * count > head.len() {
        return Err(wrong("program headers that are not behind the ELF header"));
    }
    for header in head[64..64 + 56 * count].chunks_exact_mut(56) {
        let offset = u64::from_le_bytes(header[8..16].try_into().unwrap()) + ROOM;
        header[8..16].copy_from_slice(&offset.to_le_bytes());
    }
    let mut to = File::create(large)?;
    to.seek(io::SeekFrom::Start(ROOM))?;
    io::copy(&mut { from }, &mut to)?;
    to.write_all_at(&head[..64 + 56 * count], 0)
}

/// Makes the vmcore of a machine whose memory ends at `gib` GiB (8 to 64) out of that of a small
/// one. Gives the number of memory ranges.
pub fn tile(small: &Path, large: &Path, gib: u64) -> io::Result<u64> {
    if !(8..=64).contains(&gib) {
        return Err(wrong("sizes are 8 to 64 GiB"));
    }
    move_back(small, large)?;
    let core = Core::open(large)?;
    if core.value("SIZE(page)", 10)? != 64 || core.value("NUMBER(SECTION_SIZE_BITS)", 10)? != 27 {
        return Err(wrong("another kind of mem_map"));
    }
    let end = gib * GIB;
    let map_at = |section: u64| NEW + section * SECTION_MAP;
    let map_end = map_at(end / SECTION);

    // The section table: its root blocks, an entry of a section that is there.
    let table = core.direct(core.value("SYMBOL(mem_section)", 16)?)?;
    let entry = core.value("SIZE(mem_section)", 10)?;
    let per_root = 4096 / entry;
    let first_root = core.direct(core.word(table)?)?;
    let sections = core.ranges.iter().map(|r| r.paddr + r.size).max().unwrap_or(0) / SECTION;
    let like = (core.word(first_root)?, core.word(first_root + 8)?);
    let vmemmap = like.0 & !0x3f;

    // The table of the vmemmap's first GiB.
    let levels = if core.value("NUMBER(pgtable_l5_enabled)", 10).unwrap_or(0) == 1 { 5 } else { 4 };
    let top = core.value("SYMBOL(init_top_pgt)", 16)? - TEXT;
    let mut at = top.wrapping_add(core.value("NUMBER(phys_base)", 10)?);
    for level in (2..levels).rev() {
        let next = core.word(at + 8 * (vmemmap >> (12 + 9 * level) & 511))?;
        if next & PRESENT == 0 || next & LEAF != 0 {
            return Err(wrong("the mem_map is mapped otherwise"));
        }
        at = next & ADDRESS;
    }
    let leaf = core.word(at + 8 * (vmemmap >> 21 & 511))?;
    if leaf & LEAF == 0 || vmemmap % GIB != 0 {
        return Err(wrong("the mem_map is not in large pages"));
    }

    // A page of zeros in the direct mapping becomes the second root block.
    let (mut spare, mut page) = (0x1000_0000, [0; 4096]);
    loop {
        core.file.read_exact_at(&mut page, core.place(spare)?)?;
        if page.iter().all(|byte| *byte == 0) {
            break;
        }
        spare += 4096;
    }
    let range = core.ranges.iter().rfind(|r| (r.paddr..r.paddr + r.size).contains(&spare));
    let range = range.ok_or_else(|| wrong("no room for a root block"))?;
    core.set_word(table + 8, range.vaddr + spare - range.paddr)?;

    let base = core.file.metadata()?.len().next_multiple_of(4096);
    core.file.set_len(base + end - NEW)?;
    let mut tile = vec![0; SECTION_MAP as usize];
    for section in NEW / SECTION..end / SECTION {
        let root = if section < per_root { first_root } else { spare };
        let slot = root + section % per_root * entry;
        core.set_word(slot, like.0)?;
        core.set_word(slot + 8, like.1)?;
        core.set_word(at + 8 * section, leaf & !ADDRESS | map_at(section))?;
        let from = core.word(at + 8 * (section % (sections - 1)))? & ADDRESS;
        core.file.read_exact_at(&mut tile, core.place(from)?)?;
        core.file.write_all_at(&tile, base + map_at(section) - NEW)?;
    }

    let direct = range.vaddr.wrapping_sub(range.paddr);
    let step = (end - map_end) / RANGES / 4096 * 4096;
    let mut ranges = vec![(NEW, map_end - NEW)];
    ranges.extend((0..RANGES).map(|n| (map_end + n * step, step - GAP)));
    let mut head = [0; 64];
    core.file.read_exact_at(&mut head, 0)?;
    let mut headers = vec![0; 56 * usize::from(head[56])];
    core.file.read_exact_at(&mut headers, 64)?;
    for (paddr, size) in &ranges {
        headers.extend(1u32.to_le_bytes());
        headers.extend(7u32.to_le_bytes());
        let vaddr = direct.wrapping_add(*paddr);
        for word in [base + paddr - NEW, vaddr, *paddr, *size, *size, 0] {
            headers.extend(word.to_le_bytes());
        }
    }
    let total = headers.len() as u64 / 56;
    core.file.write_all_at(&headers, 64)?;
    head[56..58].copy_from_slice(&(total as u16).to_le_bytes());
    core.file.write_all_at(&head, 0)?;
    Ok(total)
}
