//! A second look at a vmcore, as plain as can be: where the `struct page` of a pfn lies and which
//! bytes it has. Shares nothing with the engine, follows every pointer anew, and takes the answers
//! of ruined memory as they are.

use crate::overlay::Overlay;
use std::collections::BTreeMap;

/// Bytes of a page. The view is of machines with pages of this size: x86_64, arm64, s390x, ppc64le, loongarch64, i386 and
/// 32-bit ARM.
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
    /// Pointers to so many nodes, each with an array, are at the symbol.
    Nodes { symbol: u64, count: u64 },
}

/// What is known of the file by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The most significant byte comes first.
    pub big: bool,
    /// ELF64.
    pub wide: bool,
}

impl Form {
    /// Offset of the first program header, and the bytes of each.
    pub fn headers(self) -> (u64, u64) {
        if self.wide { (64, 56) } else { (52, 32) }
    }

    /// Offsets of `p_offset` and `p_filesz` in a program header.
    fn place_and_size(self) -> (u64, u64) {
        if self.wide { (8, 32) } else { (4, 16) }
    }

    /// Points a program header at other bytes.
    pub fn move_segment(self, file: &mut Overlay<'_>, header: u64, at: u64, len: u64) {
        let (place, size) = self.place_and_size();
        for (offset, value) in [(place, at), (size, len)] {
            file.write(header + offset, &self.number(value, if self.wide { 8 } else { 4 }));
        }
    }

    /// The bytes of a number.
    pub fn number(self, value: u64, len: usize) -> Vec<u8> {
        match self.big {
            true => value.to_be_bytes()[8 - len..].to_vec(),
            false => value.to_le_bytes()[..len].to_vec(),
        }
    }

    /// The number of so many bytes in a file.
    pub fn read(self, file: &Overlay<'_>, at: u64, len: usize) -> Option<u64> {
        let mut raw = [0; 8];
        file.get(at, &mut raw[..len]).then(|| self.value(&raw[..len]))
    }

    fn value(self, bytes: &[u8]) -> u64 {
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self.big {
            true => bytes.iter().fold(0, add),
            false => bytes.iter().rev().fold(0, add),
        }
    }
}

/// Whose page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cpu {
    /// With so many levels, and these bits in each address.
    X86 {
        levels: u32,
        mask: u64,
    },
    /// With addresses of so many bits.
    Arm64(u32),
    S390x,
    /// Radix.
    Ppc64,
    /// Hashed tables: a list of chunks of this many bytes, whose first element is pointed at from here.
    Ppc64Hash {
        list: u64,
        chunk: u64,
    },
    /// Four levels, and windows.
    Loongarch64,
    I386 {
        pae: bool,
    },
    Arm {
        lpae: bool,
    },
}

/// Where the windows and the linear map of ppc64 and loongarch64 have memory: these bits of an address.
const INSIDE: u64 = (1 << 48) - 1;
/// Where the linear map of ppc64 with hashed tables ends, at the latest.
const PPC_VMALLOC: u64 = 0xc000_3d00_0000_0000;
/// More chunks than any machine here has.
const CHUNKS: usize = 1 << 12;

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
    /// Byte order and class of the file.
    pub form: Form,
    /// Bytes of an `unsigned long` of the kernel.
    pub long: usize,
    root: u64,
    cpu: Cpu,
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

impl View {
    /// Looks at an intact vmcore with VMCOREINFO.
    pub fn new(file: &Overlay<'_>) -> Option<View> {
        let mut ident = [0; 6];
        file.get(0, &mut ident).then_some(())?;
        let form = Form { big: ident[5] == 2, wide: ident[4] == 2 };
        let word = |at, len| form.read(file, at, len);
        let ((_, size), long) = (form.headers(), if form.wide { 8 } else { 4 });
        let (phoff, count) = match form.wide {
            true => (word(32, 8)?, word(56, 2)?),
            false => (word(28, 4)?, word(44, 2)?),
        };
        let (mut loads, mut notes) = (Vec::new(), None);
        for index in 0..count {
            let at = phoff + size * index;
            // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz.
            let field = |number: u64| {
                let (place, _) = form.place_and_size();
                word(at + place + number * long as u64, long)
            };
            match word(at, 4)? {
                1 if field(2)? != u64::MAX => loads.push(Load {
                    at: field(0)?,
                    virt: field(1)?,
                    phys: field(2)?,
                    len: field(3)?,
                    mem: field(4)?,
                }),
                4 => notes = notes.or(Some((field(0)?, field(3)?, at))),
                _ => {}
            }
        }
        let notes = notes?;
        let mut text = None;
        let mut at = notes.0;
        while at + 12 <= notes.0 + notes.1 {
            let (name, desc) = (word(at, 4)?, word(at + 4, 4)?);
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
            form,
            long: 8,
            root: 0,
            cpu: Cpu::S390x,
            model: Model::Flat(0),
        };
        view.page_struct = view.number("SIZE(page)")?;
        let tops = ["init_level4_pgt", "init_top_pgt", "swapper_pg_dir"];
        let top = tops.iter().find_map(|name| view.symbol(name))?;
        (view.cpu, view.root) = match word(18, 2)? {
            183 => {
                let bits = 64 - view.number("NUMBER(TCR_EL1_T1SZ)")? as u32;
                (Cpu::Arm64(bits), top.wrapping_sub(view.number("NUMBER(kimage_voffset)")?))
            }
            22 => {
                let hex = |key: &str| u64::from_str_radix(view.info.get(key)?, 16).ok();
                let image = hex("IDENTITYBASE").and_then(|_| hex("KERNELOFFSET")).unwrap_or(0);
                (Cpu::S390x, top - image + hex("KERNELOFFPHYS").filter(|_| image > 0).unwrap_or(0))
            }
            21 if view.number("NUMBER(RADIX_MMU)") == Some(0) => {
                view.cpu = Cpu::Ppc64Hash { list: 0, chunk: 0 };
                let symbol = |name: &str| view.symbol(name).map(|at| at & INSIDE);
                let u32_at = |at: u64| {
                    let mut raw = [0; 4];
                    view.read_phys(file, at, &mut raw).then(|| u64::from(u32::from_le_bytes(raw)))
                };
                let size = view.number("SIZE(mmu_psize_def)")?;
                let number = u32_at(symbol("mmu_vmemmap_psize")?)?;
                let at = symbol("mmu_psize_defs")? + number * size;
                let bits = u32_at(at + view.number("OFFSET(mmu_psize_def.shift)")?)?;
                (Cpu::Ppc64Hash { list: symbol("vmemmap_list")?, chunk: 1 << bits.min(40) }, 0)
            }
            21 => (Cpu::Ppc64, top & !(0xc << 60)),
            258 => (Cpu::Loongarch64, top & INSIDE),
            40 => {
                let low = view.loads.iter().find(|l| l.virt < u32::MAX.into())?;
                let lpae = view.info.get("CONFIG_ARM_LPAE").is_some_and(|value| value == "y");
                view.long = 4;
                (Cpu::Arm { lpae }, top - (low.virt - low.phys))
            }
            3 => {
                let low = view.loads.iter().find(|l| l.virt < u32::MAX.into())?;
                let pae = view.info.get("CONFIG_X86_PAE").is_some_and(|value| value == "y");
                view.long = 4;
                (Cpu::I386 { pae }, top - (low.virt - low.phys))
            }
            _ => {
                let base = view.number("NUMBER(phys_base)").unwrap_or_else(|| {
                    let text = view.loads.iter().find(|l| l.virt >= KERNEL_MAP);
                    text.map_or(0, |l| l.phys.wrapping_sub(l.virt - KERNEL_MAP))
                });
                let five = view.number("NUMBER(pgtable_l5_enabled)").unwrap_or(0) != 0;
                let mask = view.number("NUMBER(sme_mask)").unwrap_or(0);
                let root = top.wrapping_sub(KERNEL_MAP).wrapping_add(base);
                (Cpu::X86 { levels: if five { 5 } else { 4 }, mask }, root & ADDRESS & !mask)
            }
        };
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
            return self.symbol("mem_map").map(Model::Flat).or_else(|| {
                let count = self.number("LENGTH(node_data)")?;
                Some(Model::Nodes { symbol: self.symbol("node_data")?, count })
            });
        };
        let bits = self.number("NUMBER(MAX_PHYSMEM_BITS)").unwrap_or(match self.cpu {
            Cpu::I386 { pae: false } => 32,
            Cpu::I386 { pae: true } | Cpu::Arm { .. } => 36,
            _ => 46,
        });
        if self.number("LENGTH(mem_section)") == Some(1 << (bits - u64::from(self.section_bits())))
        {
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
        match self.cpu {
            Cpu::X86 { .. } => value >= 0xffff_8000_0000_0000,
            Cpu::Arm64(bits) => value >= (1u64 << bits).wrapping_neg(),
            // Any number may.
            Cpu::S390x => value > 0x10_0000,
            Cpu::Ppc64 | Cpu::Ppc64Hash { .. } => value >= 0xc << 60,
            Cpu::Loongarch64 => value >= 1 << 63,
            Cpu::I386 { .. } | Cpu::Arm { .. } => value >= 0xc000_0000,
        }
    }

    /// Whether an address of the kernel's can have these bits.
    fn is_canonical(&self, virt: u64) -> bool {
        match self.cpu {
            // The hardware ignores the top byte.
            Cpu::Arm64(bits) => {
                virt >> 55 & 1 != 0 && virt | 0xff << 56 >= (1u64 << bits).wrapping_neg()
            }
            Cpu::X86 { levels, .. } => {
                let unused = 64 - (12 + 9 * levels);
                ((virt << unused) as i64 >> unused) as u64 == virt
            }
            // As many bits as there are levels.
            Cpu::S390x => true,
            // The other bits say in which region it is; there is nothing in between.
            Cpu::Ppc64 => virt >> 60 >= 0xc && virt << 4 >> 56 == 0,
            Cpu::Ppc64Hash { .. } => virt >> 60 == 0xc,
            Cpu::Loongarch64 => virt >> 62 == 2 || (virt << 16) as i64 >> 16 == virt as i64,
            Cpu::I386 { .. } | Cpu::Arm { .. } => virt >> 32 == 0,
        }
    }

    /// Where the indexes of the levels begin, from the last level up, and where that of the first ends.
    fn shifts(&self, file: &Overlay<'_>) -> (&'static [u32], u32) {
        match self.cpu {
            Cpu::X86 { levels, .. } => (&[12, 21, 30, 39, 48], 12 + 9 * levels),
            Cpu::Arm64(bits) => (&[12, 21, 30, 39, 48], bits),
            Cpu::S390x => {
                let mut raw = [0; 8];
                let there = self.read_phys(file, self.root, &mut raw);
                let kind = if there { raw[7] >> 2 & 3 } else { 1 };
                (&[12, 20, 31, 42, 53], [31, 42, 53, 64][usize::from(kind)])
            }
            Cpu::Ppc64 => (&[12, 21, 30, 39], 52),
            // There is no tree.
            Cpu::Ppc64Hash { .. } => (&[], 0),
            Cpu::Loongarch64 => (&[12, 21, 30, 39], 48),
            Cpu::I386 { pae: true } | Cpu::Arm { lpae: true } => (&[12, 21, 30], 32),
            Cpu::I386 { pae: false } => (&[12, 22], 32),
            Cpu::Arm { lpae: false } => (&[12, 20], 32),
        }
    }

    /// What an entry of a table says: the address in it, and whether memory is there, not a table.
    fn entry(&self, entry: u64, level: u32) -> Option<(u64, bool)> {
        let leaf = level == 0;
        match self.cpu {
            Cpu::Arm64(bits) if entry & 1 != 0 => {
                let block = entry & 3 == 1;
                let high = if bits == 52 { (entry >> 8 & 3) << 50 | entry & 3 << 48 } else { 0 };
                // A block is never on the last level, a page nowhere else.
                (level > 0 || !block).then_some((entry & 0xffff_ffff_f000 | high, leaf || block))
            }
            Cpu::X86 { mask, .. } if entry & 1 != 0 => {
                let large = level <= 2 && entry & 0x80 != 0;
                Some((entry & ADDRESS & !mask, leaf || large))
            }
            Cpu::S390x if leaf => (entry & 0x400 == 0).then_some((entry, true)),
            Cpu::S390x => {
                let there = entry & 0x20 == 0 && entry >> 2 & 3 == u64::from(level) - 1;
                let large = level <= 2 && entry & 0x400 != 0;
                let table = if level == 1 { entry & !0x7ff } else { entry & !0xfff };
                there.then_some((if large { entry } else { table }, large))
            }
            Cpu::Ppc64 if entry >> 63 != 0 => match entry >> 62 & 1 {
                1 => (level <= 2).then_some((entry & ((1 << 53) - 1), true)),
                _ => (level > 0).then_some((entry & 0x3fff_ffff_ffff_ff00, false)),
            },
            Cpu::I386 { pae: true } if entry & 1 != 0 => {
                Some((entry & ADDRESS, leaf || level == 1 && entry & 0x80 != 0))
            }
            Cpu::I386 { pae: false } if entry & 1 != 0 => match (level, entry & 0x80) {
                (1, 0x80) => Some((entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32, true)),
                _ => Some((entry & 0xffff_f000, leaf)),
            },
            Cpu::Loongarch64 => {
                let (to, there) = (entry & 0xffff_ffff_f000, entry & 0x81 != 0);
                match (leaf, entry & 0x40 != 0) {
                    (false, false) => (to != 0).then_some((to, false)),
                    _ => (there && level <= 2).then_some((to, true)),
                }
            }
            Cpu::Arm { lpae: true } => match (entry & 3, leaf) {
                (3, _) => Some((entry & 0xff_ffff_f000, leaf)),
                (1, false) => Some((entry & 0xff_ffff_f000, true)),
                _ => None,
            },
            Cpu::Arm { lpae: false } => match (entry & 3, leaf) {
                (0, _) => None,
                (_, true) => Some((entry & 0xffff_f000, true)),
                (1, _) => Some((entry & 0xffff_fc00, false)),
                _ if entry & 1 << 18 != 0 => {
                    let high = (entry >> 20 & 0xf) << 32 | (entry >> 5 & 0xf) << 36;
                    Some((entry & 0xff00_0000 | high, true))
                }
                _ => Some((entry & 0xfff0_0000, true)),
            },
            _ => None,
        }
    }

    /// log2 of the bytes that an entry maps, where they are more than its level's: large pages and supersections of ARM.
    fn reach(&self, entry: u64, level: usize, shift: u32) -> u32 {
        match (self.cpu, level, entry & 3) {
            (Cpu::Arm { lpae: false }, 0, 1) => 16,
            (Cpu::Arm { lpae: false }, 1, 2 | 3) if entry & 1 << 18 != 0 => 24,
            _ => shift,
        }
    }

    /// What needs no tree: a window, the linear map, or a chunk on the list.
    fn direct(&self, file: &Overlay<'_>, virt: u64) -> Option<Walk> {
        let inside = virt & INSIDE;
        let window = Walk { phys: inside, left: INSIDE + 1 - inside, entries: Vec::new() };
        let Cpu::Ppc64Hash { list, chunk } = self.cpu else { return Some(window) };
        if virt < PPC_VMALLOC {
            return Some(window);
        }
        let word = |at: u64| {
            let mut raw = [0; 8];
            self.read_phys(file, at, &mut raw).then(|| u64::from_le_bytes(raw))
        };
        let mut entries = vec![list];
        let mut at = word(list)?;
        while at >> 60 == 0xc && entries.len() < CHUNKS {
            let element = at & INSIDE;
            entries.push(element);
            let [next, phys, start] = [word(element)?, word(element + 8)?, word(element + 16)?];
            if virt >= start && virt - start < chunk {
                let inside = virt - start;
                return Some(Walk {
                    phys: phys.wrapping_add(inside),
                    left: chunk - inside,
                    entries,
                });
            }
            at = next;
        }
        None
    }

    /// Follows the page tables.
    pub fn walk(&self, file: &Overlay<'_>, virt: u64) -> Option<Walk> {
        let (shifts, bits) = self.shifts(file);
        if !self.is_canonical(virt) || self.cpu == Cpu::S390x && bits < 64 && virt >> bits != 0 {
            return None;
        }
        if matches!(self.cpu, Cpu::Ppc64Hash { .. })
            || self.cpu == Cpu::Loongarch64 && virt >> 62 == 2
        {
            return self.direct(file, virt);
        }
        // Tables of ppc64 and s390x are big-endian.
        let big = matches!(self.cpu, Cpu::S390x | Cpu::Ppc64);
        let short = [Cpu::I386 { pae: false }, Cpu::Arm { lpae: false }];
        let size = if short.contains(&self.cpu) { 4 } else { 8 };
        let mut table = self.root;
        let mut entries = Vec::new();
        let levels = shifts.iter().filter(|shift| **shift < bits).count();
        for level in (0..levels).rev() {
            let shift = shifts[level];
            let end = if level + 1 == levels { bits } else { shifts[level + 1] };
            let index = virt >> shift & ((1 << (end - shift)) - 1);
            let at = table.checked_add(index * size as u64)?;
            entries.push(at);
            let mut raw = [0; 8];
            if !self.read_phys(file, at, &mut raw[..size]) {
                return None;
            }
            let value = Form { big, wide: true }.value(&raw[..size]);
            let (to, leaf) = self.entry(value, level as u32)?;
            table = to;
            if leaf {
                let shift = self.reach(value, level, shift);
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
            let Some(walk) = self.walk(file, self.wrap(virt.wrapping_add(done as u64))) else {
                return false;
            };
            let len = (buf.len() - done).min(walk.left as usize);
            if !self.read_phys(file, walk.phys, &mut buf[done..done + len]) {
                return false;
            }
            done += len;
        }
        true
    }

    /// An address as the kernel's words have it.
    fn wrap(&self, virt: u64) -> u64 {
        if self.long == 4 { virt & 0xffff_ffff } else { virt }
    }

    /// The `unsigned long` at a virtual address.
    pub fn read_long(&self, file: &Overlay<'_>, virt: u64) -> Option<u64> {
        let mut raw = [0; 8];
        let raw = &mut raw[..self.long];
        self.read(file, virt, raw).then(|| self.form.value(raw))
    }

    /// log2 of the bytes of a section.
    fn section_bits(&self) -> u32 {
        let usual = match self.cpu {
            Cpu::S390x => 28,
            Cpu::Ppc64 | Cpu::Ppc64Hash { .. } => 24,
            Cpu::Arm { .. } => 28,
            Cpu::Loongarch64 | Cpu::I386 { pae: true } => 29,
            Cpu::I386 { pae: false } => 26,
            _ => 27,
        };
        self.number("NUMBER(SECTION_SIZE_BITS)").map_or(usual, |bits| bits as u32)
    }

    /// Virtual address of the word of the section table that a pfn's `struct page` hangs on.
    pub fn section_word(&self, file: &Overlay<'_>, pfn: u64) -> Option<u64> {
        if matches!(self.model, Model::Flat(_) | Model::Nodes { .. }) {
            return None;
        }
        let nr = pfn >> (self.section_bits() - 12);
        let entry = self.number("SIZE(mem_section)")?;
        let offset = self.number("OFFSET(mem_section.section_mem_map)")?;
        let Model::Plain(symbol) = self.model else {
            let per_root = PAGE / entry;
            let root = self.read_long(file, self.root_pointer(file, nr / per_root)?)?;
            return (root != 0).then(|| root.wrapping_add(nr % per_root * entry + offset));
        };
        Some(symbol.wrapping_add(nr * entry + offset))
    }

    /// Virtual address of what leads to the array that a pfn's `struct page` is in: the word of its section, or the pointer
    /// to the only one.
    pub fn array_pointer(&self, file: &Overlay<'_>, pfn: u64) -> Option<u64> {
        match self.model {
            Model::Flat(symbol) => Some(symbol),
            _ => self.section_word(file, pfn),
        }
    }

    /// Virtual address of a pointer to a root.
    pub fn root_pointer(&self, file: &Overlay<'_>, root: u64) -> Option<u64> {
        let Model::Roots { symbol, pointed } = self.model else { return None };
        let table = if pointed { self.read_long(file, symbol)? } else { symbol };
        Some(table.wrapping_add(self.long as u64 * root))
    }

    /// Virtual addresses of the structures of nodes, and of the pointers to them.
    pub fn nodes(&self, file: &Overlay<'_>) -> Vec<u64> {
        let Model::Nodes { symbol, count } = self.model else { return Vec::new() };
        let pointers = (0..count).map(|n| symbol.wrapping_add(n * self.long as u64));
        pointers.flat_map(|at| [Some(at), self.read_long(file, at)]).flatten().collect()
    }

    /// Virtual address of the first structure of the node that a pfn is in, and that pfn; none where it is in no node
    /// or in two, or where one cannot be read, which may have it.
    fn node_of(&self, file: &Overlay<'_>, pfn: u64) -> Option<(u64, u64)> {
        let Model::Nodes { symbol, count } = self.model else { return None };
        let mut found = None;
        for n in 0..count {
            let node = self.read_long(file, symbol.wrapping_add(n * self.long as u64))?;
            if node == 0 {
                continue;
            }
            let member = |name: &str| {
                let at = self.number(&format!("OFFSET(pglist_data.{name})"))?;
                self.read_long(file, node.wrapping_add(at))
            };
            let (start, spanned) = (member("node_start_pfn")?, member("node_spanned_pages")?);
            let map = member("node_mem_map")?;
            if pfn >= start && pfn - start < spanned && found.replace((map, start)).is_some() {
                return None;
            }
        }
        found.filter(|(map, _)| self.is_pointer(*map))
    }

    /// Virtual address of a pfn's `struct page`.
    pub fn struct_at(&self, file: &Overlay<'_>, pfn: u64) -> Option<u64> {
        let at = match self.model {
            Model::Flat(symbol) => {
                self.read_long(file, symbol)?.wrapping_add(pfn * self.page_struct)
            }
            Model::Nodes { .. } => {
                let (map, first) = self.node_of(file, pfn)?;
                map.wrapping_add((pfn - first) * self.page_struct)
            }
            _ => {
                let word = self.read_long(file, self.section_word(file, pfn)?)?;
                let there = word & 3 == 3;
                there.then(|| (word & !0x3f).wrapping_add(pfn.wrapping_mul(self.page_struct)))?
            }
        };
        Some(self.wrap(at))
    }

    /// The bytes of a pfn's `struct page`, if they can be read.
    pub fn struct_page(&self, file: &Overlay<'_>, pfn: u64) -> Option<Vec<u8>> {
        let mut raw = vec![0; self.page_struct as usize];
        self.read(file, self.struct_at(file, pfn)?, &mut raw).then_some(raw)
    }
}
