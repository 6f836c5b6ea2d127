//! A second look at a vmcore, as plain as can be: where the `struct page` of a pfn lies and which
//! bytes it has. Shares nothing with the engine, follows every pointer anew, and takes the answers
//! of ruined memory as they are.

use crate::overlay::Overlay;
use std::collections::BTreeMap;

/// Bytes of a page. The view is of x86_64 and arm64 with pages of this size.
pub const PAGE: u64 = 4096;
/// Start of the mapping of the kernel image.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// Bits 12 to 51 of a page table entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A range of memory in the file.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Physical address.
    pub phys: u64,
    /// Virtual address.
    pub virt: u64,
    /// Offset in the file.
    pub at: u64,
    /// Bytes in the file.
    pub len: u64,
    /// Bytes in memory.
    pub mem: u64,
}

/// How `struct page`s are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    /// One array.
    Flat(u64),
    /// The sections themselves are at the symbol.
    Plain(u64),
    /// Pointers to roots are at the symbol, or where a pointer there leads.
    Roots { symbol: u64, pointed: bool },
}

/// What is known of the kernel in a vmcore.
#[derive(Clone, Debug)]
pub struct View {
    /// Memory ranges with a physical address, in the order of the file.
    pub loads: Vec<Load>,
    /// File offset and bytes of the notes, and the file offset of their program header.
    pub notes: (u64, u64, u64),
    /// File offset and bytes of the VMCOREINFO text.
    pub text: (u64, u64),
    /// Keys and values; the first of two counts.
    pub info: BTreeMap<String, String>,
    /// `SIZE(page)`.
    pub page_struct: u64,
    root: u64,
    levels: u32,
    mask: u64,
    /// Bits of a virtual address on arm64.
    arm64: Option<u32>,
    model: Model,
}

/// Where a walk of the page tables ended.
pub struct Walk {
    /// The physical address.
    pub phys: u64,
    /// Bytes from there on in the same mapping.
    pub left: u64,
    /// Physical addresses of the entries that led there.
    pub entries: Vec<u64>,
}

fn word(file: &Overlay<'_>, at: u64, len: usize) -> Option<u64> {
    let mut raw = [0; 8];
    file.get(at, &mut raw[..len]).then(|| u64::from_le_bytes(raw))
}

impl View {
    /// Looks at an intact vmcore: 64-bit, little-endian, with VMCOREINFO.
    pub fn new(file: &Overlay<'_>) -> Option<View> {
        let (phoff, count) = (word(file, 32, 8)?, word(file, 56, 2)?);
        let (mut loads, mut notes) = (Vec::new(), None);
        for index in 0..count {
            let at = phoff + 56 * index;
            let field = |offset| word(file, at + offset, 8);
            match word(file, at, 4)? {
                1 if field(24)? != u64::MAX => loads.push(Load {
                    at: field(8)?,
                    virt: field(16)?,
                    phys: field(24)?,
                    len: field(32)?,
                    mem: field(40)?,
                }),
                4 => notes = notes.or(Some((field(8)?, field(32)?, at))),
                _ => {}
            }
        }
        let notes = notes?;
        let mut text = None;
        let mut at = notes.0;
        while at + 12 <= notes.0 + notes.1 {
            let (name, desc) = (word(file, at, 4)?, word(file, at + 4, 4)?);
            let desc_at = at + 12 + name.next_multiple_of(4);
            let mut found = [0; 10];
            if name == 11 && file.get(at + 12, &mut found) && &found == b"VMCOREINFO" {
                text = text.or(Some((desc_at, desc)));
            }
            at = desc_at + desc.next_multiple_of(4);
        }
        let text = text?;
        let mut raw = vec![0; text.1 as usize];
        file.get(text.0, &mut raw).then_some(())?;
        let mut info = BTreeMap::new();
        for line in String::from_utf8_lossy(&raw).lines() {
            if let Some((key, value)) = line.split_once('=') {
                info.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        let mut view = View {
            loads,
            notes,
            text,
            info,
            page_struct: 0,
            root: 0,
            levels: 4,
            mask: 0,
            arm64: None,
            model: Model::Flat(0),
        };
        view.page_struct = view.number("SIZE(page)")?;
        let tops = ["init_level4_pgt", "init_top_pgt", "swapper_pg_dir"];
        let top = tops.iter().find_map(|name| view.symbol(name))?;
        let base = view.number("NUMBER(phys_base)").unwrap_or_else(|| {
            let text = view.loads.iter().find(|l| l.virt >= KERNEL_MAP);
            text.map_or(0, |l| l.phys.wrapping_sub(l.virt - KERNEL_MAP))
        });
        view.root = top.wrapping_sub(KERNEL_MAP).wrapping_add(base);
        view.levels =
            if view.number("NUMBER(pgtable_l5_enabled)").unwrap_or(0) != 0 { 5 } else { 4 };
        view.mask = view.number("NUMBER(sme_mask)").unwrap_or(0);
        if word(file, 18, 2)? == 183 {
            let bits = 64 - view.number("NUMBER(TCR_EL1_T1SZ)")? as u32;
            view.arm64 = Some(bits);
            view.root = top.wrapping_sub(view.number("NUMBER(kimage_voffset)")?);
            view.levels = (bits - 12).div_ceil(9);
        }
        view.model = view.find_model(file)?;
        Some(view)
    }

    /// A number of VMCOREINFO.
    pub fn number(&self, key: &str) -> Option<u64> {
        let text = self.info.get(key)?.trim();
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse::<i64>().ok().map(|n| n as u64),
        }
    }

    /// A symbol of VMCOREINFO.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.info.get(&format!("SYMBOL({name})"))?.trim(), 16).ok()
    }

    fn find_model(&self, file: &Overlay<'_>) -> Option<Model> {
        let Some(symbol) = self.symbol("mem_section") else {
            return Some(Model::Flat(self.symbol("mem_map")?));
        };
        let bits = self.number("NUMBER(MAX_PHYSMEM_BITS)").unwrap_or(46);
        if self.number("LENGTH(mem_section)") == Some(1 << (bits - 27)) {
            return Some(Model::Plain(symbol));
        }
        // The one with which the first page that is stored has a structure.
        let first = self.loads.iter().filter(|l| l.len > 0).map(|l| l.phys / PAGE).min()?;
        [false, true].into_iter().map(|pointed| Model::Roots { symbol, pointed }).find(|model| {
            let view = View { model: *model, ..self.clone() };
            view.struct_page(file, first).is_some()
        })
    }

    /// File offset of a byte of memory, and how many bytes follow it there.
    pub fn offset(&self, phys: u64) -> Option<(u64, u64)> {
        let load = self.loads.iter().find(|l| l.phys <= phys && phys - l.phys < l.len)?;
        let inside = phys - load.phys;
        Some((load.at + inside, load.len - inside))
    }

    /// Reads memory, whole or not at all.
    pub fn read_phys(&self, file: &Overlay<'_>, phys: u64, buf: &mut [u8]) -> bool {
        let mut done = 0;
        while done < buf.len() {
            let Some((at, left)) = self.offset(phys.wrapping_add(done as u64)) else {
                return false;
            };
            let len = (buf.len() - done).min(left as usize);
            if !file.get(at, &mut buf[done..done + len]) {
                return false;
            }
            done += len;
        }
        true
    }

    /// Whether a number may be a pointer of the kernel's.
    pub fn is_pointer(&self, value: u64) -> bool {
        value >= self.arm64.map_or(0xffff_8000_0000_0000, |bits| (1u64 << bits).wrapping_neg())
    }

    /// Whether an address of the kernel's can have these bits.
    fn is_canonical(&self, virt: u64) -> bool {
        match self.arm64 {
            // The hardware ignores the top byte.
            Some(bits) => virt >> 55 & 1 != 0 && virt | 0xff << 56 >= (1u64 << bits).wrapping_neg(),
            None => {
                let unused = 64 - (12 + 9 * self.levels);
                ((virt << unused) as i64 >> unused) as u64 == virt
            }
        }
    }

    /// What an entry of a table says: the address in it, and whether memory is there, not a table.
    fn entry(&self, entry: u64, level: u32) -> Option<(u64, bool)> {
        match (self.arm64, entry & 3) {
            (Some(bits), kind @ (1 | 3)) => {
                // A block is never on the last level, a page nowhere else.
                let leaf = level == 0 || kind == 1;
                let high = if bits == 52 { (entry >> 8 & 3) << 50 | entry & 3 << 48 } else { 0 };
                (level > 0 || kind == 3).then_some((entry & 0xffff_ffff_f000 | high, leaf))
            }
            (None, 1 | 3) => {
                let leaf = level == 0 || (level <= 2 && entry & 0x80 != 0);
                Some((entry & ADDRESS & !self.mask, leaf))
            }
            _ => None,
        }
    }

    /// Follows the page tables.
    pub fn walk(&self, file: &Overlay<'_>, virt: u64) -> Option<Walk> {
        if !self.is_canonical(virt) {
            return None;
        }
        let mut table = match self.arm64 {
            Some(_) => self.root,
            None => self.root & ADDRESS & !self.mask,
        };
        let mut entries = Vec::new();
        for level in (0..self.levels).rev() {
            let shift = 12 + 9 * level;
            let width = self.arm64.map_or(9, |bits| (bits - shift).min(9));
            let at = table.checked_add((virt >> shift & ((1 << width) - 1)) * 8)?;
            entries.push(at);
            let mut raw = [0; 8];
            if !self.read_phys(file, at, &mut raw) {
                return None;
            }
            let (to, leaf) = self.entry(u64::from_le_bytes(raw), level)?;
            table = to;
            if leaf {
                let inside = virt & ((1 << shift) - 1);
                let phys = table >> shift << shift | inside;
                return Some(Walk { phys, left: (1 << shift) - inside, entries });
            }
        }
        None
    }

    /// Reads the kernel's virtual memory, whole or not at all.
    pub fn read(&self, file: &Overlay<'_>, virt: u64, buf: &mut [u8]) -> bool {
        let mut done = 0;
        while done < buf.len() {
            let Some(walk) = self.walk(file, virt.wrapping_add(done as u64)) else { return false };
            let len = (buf.len() - done).min(walk.left as usize);
            if !self.read_phys(file, walk.phys, &mut buf[done..done + len]) {
                return false;
            }
            done += len;
        }
        true
    }

    /// The eight bytes at a virtual address.
    pub fn read_u64(&self, file: &Overlay<'_>, virt: u64) -> Option<u64> {
        let mut raw = [0; 8];
        self.read(file, virt, &mut raw).then(|| u64::from_le_bytes(raw))
    }

    /// Virtual address of the word of the section table that a pfn's `struct page` hangs on.
    pub fn section_word(&self, file: &Overlay<'_>, pfn: u64) -> Option<u64> {
        let bits = self.number("NUMBER(SECTION_SIZE_BITS)").unwrap_or(27) as u32;
        let nr = pfn >> (bits - 12);
        let entry = self.number("SIZE(mem_section)")?;
        let offset = self.number("OFFSET(mem_section.section_mem_map)")?;
        match self.model {
            Model::Flat(_) => None,
            Model::Plain(symbol) => Some(symbol.wrapping_add(nr * entry + offset)),
            Model::Roots { .. } => {
                let per_root = PAGE / entry;
                let root = self.read_u64(file, self.root_pointer(file, nr / per_root)?)?;
                (root != 0).then(|| root.wrapping_add(nr % per_root * entry + offset))
            }
        }
    }

    /// Virtual address of a pointer to a root.
    pub fn root_pointer(&self, file: &Overlay<'_>, root: u64) -> Option<u64> {
        let Model::Roots { symbol, pointed } = self.model else { return None };
        let table = if pointed { self.read_u64(file, symbol)? } else { symbol };
        Some(table.wrapping_add(8 * root))
    }

    /// Virtual address of a pfn's `struct page`.
    pub fn struct_at(&self, file: &Overlay<'_>, pfn: u64) -> Option<u64> {
        if let Model::Flat(symbol) = self.model {
            return Some(self.read_u64(file, symbol)?.wrapping_add(pfn * self.page_struct));
        }
        let word = self.read_u64(file, self.section_word(file, pfn)?)?;
        (word & 3 == 3).then(|| (word & !0x3f).wrapping_add(pfn.wrapping_mul(self.page_struct)))
    }

    /// The bytes of a pfn's `struct page`, if they can be read.
    pub fn struct_page(&self, file: &Overlay<'_>, pfn: u64) -> Option<Vec<u8>> {
        let mut raw = vec![0; self.page_struct as usize];
        self.read(file, self.struct_at(file, pfn)?, &mut raw).then_some(raw)
    }
}
