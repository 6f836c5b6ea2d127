//! Page tables of each machine: how many levels, how large, and what their entries look like. From the manuals of the
//! processors.

use super::words::Words;

/// Size of the mapping made by one page table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// An entry of the last level: 4 KiB; on arm64 also 16 or 64.
    Page,
    /// One of the level above: 2 MiB; of s390x and 32-bit ARM 1 MiB, of i386 without PAE 4 MiB, of arm64 with larger pages
    /// 32 or 512 MiB.
    Block,
    /// One of the level above that: 1 GiB; of s390x 2 GiB. arm64 with larger pages has none.
    Giant,
    /// 64 KiB: sixteen entries of the last level that are alike, of riscv64 (Svnapot) or 32-bit ARM (large pages). With
    /// the hashed tables of ppc64, an element of the list of pieces that vmemmap is made of.
    Run,
}

/// What the entries of page tables look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// x86_64, and i386 with PAE, with these bits set in every address (memory encryption).
    X86 {
        /// The bits.
        mask: u64,
    },
    /// i386 without PAE: entries of 32 bits.
    X86Short,
    /// arm64.
    Arm64 {
        /// Where the upper bits of an address are.
        high: High,
    },
    /// riscv64.
    Riscv64,
    /// s390x: empty entries are not zero.
    S390x,
    /// ppc64, radix tables or what of hashed ones is a tree.
    Ppc64,
    /// 32-bit ARM with short descriptors.
    ArmShort,
    /// 32-bit ARM with long ones (LPAE).
    ArmLong,
    /// loongarch64, whose empty entries point at tables of empty entries.
    Loongarch64,
}

/// Where an entry of arm64 has bits 51:48 of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum High {
    /// It has none.
    None,
    /// In bits 15:12, where pages of 64 KiB have no address.
    Lpa,
    /// The upper two in bits 9:8, the others in their place (LPA2).
    Lpa2,
}

/// The page tables of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Their entries.
    pub entries: Entries,
    /// log2 of the bytes that an entry stands for, from the last level up.
    pub shifts: &'static [u32],
    /// Bits of an address that they translate.
    pub bits: u32,
    /// Byte order and width of an entry.
    pub words: Words,
}

/// Where a table may be, and how much it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub len: u64,
    /// What its address is a multiple of.
    pub align: u64,
}

/// Present, writable, accessed, dirty.
const X86_PRESENT: u64 = 0x63;
const X86_HUGE: u64 = 0x80;
const X86_GLOBAL_NX: u64 = 1 << 63 | 0x100;
/// Not executable, contiguous hint unset; accessed.
const ARM64_PAGE: u64 = 0x0068_0000_0000_0400;
/// Inner shareable; with addresses of 52 bits these are two bits of the address.
const ARM64_SHAREABLE: u64 = 0x300;
/// Valid, readable, writable, global, accessed, dirty.
const RISCV_PAGE: u64 = 0xe7;
const RISCV_NAPOT: u64 = 1 << 63;
/// Invalid entries of s390x: of page tables, and of the others.
const S390_NO_PAGE: u64 = 0x400;
const S390_NO_TABLE: u64 = 0x20;
/// Format control, no-execute, and bits that Linux keeps for itself: dirty, young, readable, writable.
const S390_LARGE: u64 = 0xf500;
/// Present, and mapping memory.
const PPC_PRESENT: u64 = 1 << 63;
const PPC_LEAF: u64 = 1 << 62;
/// Readable, writable, dirty, accessed, and a bit of software above the address.
const PPC_PAGE: u64 = 1 << 56 | 0x186;
/// Valid, dirty, cached, global (of huge entries: huge), present, writable.
const LOONG_PAGE: u64 = 0x1d3;
const LOONG_HUGE: u64 = 0x40;
/// In huge entries the global bit is this one.
const LOONG_HUGE_GLOBAL: u64 = 1 << 12;

impl High {
    /// An address as it is in an entry.
    fn put(self, at: u64) -> u64 {
        let high = at >> 48;
        match self {
            High::None => at,
            High::Lpa => at & 0xffff_ffff_ffff | high << 12,
            High::Lpa2 => at & 0x3_ffff_ffff_ffff | high >> 2 << 8,
        }
    }
}

impl Tables {
    /// x86_64 with so many levels.
    pub fn x86(levels: u32, mask: u64) -> Tables {
        Tables::wide(Entries::X86 { mask }, &[12, 21, 30, 39, 48], 12 + 9 * levels)
    }

    /// Tables with little-endian entries of 64 bits.
    pub fn wide(entries: Entries, shifts: &'static [u32], bits: u32) -> Tables {
        Tables { entries, shifts, bits, words: Words::USUAL }
    }

    /// The number of levels.
    pub fn levels(&self) -> usize {
        self.shifts.iter().filter(|shift| **shift < self.bits).count()
    }

    /// Bytes mapped by one entry (or by sixteen).
    pub fn bytes(&self, leaf: Leaf) -> u64 {
        match leaf {
            Leaf::Page => 1 << self.shifts[0],
            Leaf::Run => 16 << self.shifts[0],
            Leaf::Block => 1 << self.shifts[1],
            Leaf::Giant => 1 << self.shifts[2],
        }
    }

    /// The level of the table that holds the entry, 0 for the last one.
    pub fn level(&self, leaf: Leaf) -> usize {
        match leaf {
            Leaf::Page | Leaf::Run => 0,
            Leaf::Block => 1,
            Leaf::Giant => 2,
        }
    }

    /// Entries of a table of a level.
    pub fn count(&self, level: usize) -> u64 {
        let above = self.shifts.get(level + 1).copied().unwrap_or(64).min(self.bits);
        1 << (above - self.shifts[level])
    }

    /// Bytes of a table of a level.
    pub fn room(&self, level: usize) -> Room {
        let len = self.count(level) * self.words.bytes();
        let align = match self.entries {
            Entries::S390x if level > 0 => 4096,
            // Tables of a quarter or half of a page are given out as such.
            _ => len.min(1 << self.shifts[0]),
        };
        Room { len, align }
    }

    /// Which entry of a table of a level an address has.
    pub fn index(&self, level: usize, va: u64) -> u64 {
        va >> self.shifts[level] & (self.count(level) - 1)
    }

    /// The entry that maps memory at `pa`.
    pub fn leaf(&self, pa: u64, leaf: Leaf) -> u64 {
        let last = self.level(leaf) == 0;
        match self.entries {
            Entries::X86 { mask } => {
                let huge = if last { 0 } else { X86_HUGE };
                pa | mask | X86_PRESENT | huge | X86_GLOBAL_NX
            }
            Entries::X86Short => {
                let huge = if last { 0 } else { X86_HUGE };
                // Of 4 MiB, what lies above 4 GiB stands in the lower bits.
                pa & 0xffff_ffff | pa >> 32 << 13 | X86_PRESENT | 0x100 | huge
            }
            Entries::Arm64 { high } => {
                let kind = if last { 3 } else { 1 };
                let share = if high == High::Lpa2 { 0 } else { ARM64_SHAREABLE };
                high.put(pa) | ARM64_PAGE | share | kind
            }
            // A block of 64 KiB says so by the lowest bits of its first page number.
            Entries::Riscv64 if leaf == Leaf::Run => (pa | 0x8000) >> 2 | RISCV_PAGE | RISCV_NAPOT,
            Entries::Riscv64 => pa >> 2 | RISCV_PAGE,
            Entries::S390x => match leaf {
                Leaf::Block => pa | S390_LARGE | 1,
                Leaf::Giant => pa | S390_LARGE | 0x7,
                _ => pa | 0x137,
            },
            Entries::Ppc64 => pa | PPC_PRESENT | PPC_LEAF | PPC_PAGE,
            Entries::ArmShort => match leaf {
                Leaf::Block => pa | 0x1_140e,
                Leaf::Run => pa | 0x45d,
                _ => pa | 0x45e,
            },
            Entries::ArmLong => pa | 0x0060_0000_0000_0f1c | if last { 3 } else { 1 },
            Entries::Loongarch64 if last => pa | LOONG_PAGE,
            Entries::Loongarch64 => pa | LOONG_PAGE | LOONG_HUGE_GLOBAL,
        }
    }

    /// The entry of a table of this level that points at the next one.
    pub fn table(&self, at: u64, level: usize) -> u64 {
        match self.entries {
            Entries::X86 { mask } if self.bits > 32 => at | mask | X86_PRESENT,
            // The four entries of the first table of PAE have no rights.
            Entries::X86 { .. } if level == 2 => at | 1,
            Entries::X86 { .. } | Entries::X86Short => at | X86_PRESENT,
            Entries::Arm64 { high } => high.put(at) | 3,
            Entries::ArmLong => at | 3,
            Entries::Riscv64 => at >> 2 | 1,
            // Of a region's entry, its type and length; of a segment's, what 6.x calls "present".
            Entries::S390x if level == 1 => at | 1,
            Entries::S390x => at | 3 | (level as u64 - 1) << 2,
            Entries::Ppc64 => at | PPC_PRESENT,
            Entries::ArmShort => at | 1,
            // Linux has addresses of its cached window there.
            Entries::Loongarch64 => at | 0x9000 << 48,
        }
    }

    /// An empty entry of a table of this level; `lower` is where an empty table of the level below is.
    pub fn empty(&self, level: usize, lower: u64) -> u64 {
        match self.entries {
            Entries::S390x if level == 0 => S390_NO_PAGE,
            Entries::S390x => S390_NO_TABLE | (level as u64 - 1) << 2,
            // Global, not valid.
            Entries::Loongarch64 if level == 0 => 0x40,
            Entries::Loongarch64 => self.table(lower, level),
            _ => 0,
        }
    }

    /// Whether an entry above the last level maps memory itself.
    pub fn is_block(&self, entry: u64) -> bool {
        match self.entries {
            Entries::X86 { .. } | Entries::X86Short => entry & X86_HUGE != 0,
            Entries::Arm64 { .. } | Entries::ArmLong => entry & 3 == 1,
            Entries::Riscv64 => entry & 0xe != 0,
            Entries::S390x => entry & (0x400 | S390_NO_TABLE) == 0x400,
            Entries::Ppc64 => entry & PPC_LEAF != 0,
            Entries::ArmShort => entry & 3 == 2,
            Entries::Loongarch64 => entry & LOONG_HUGE != 0,
        }
    }

    /// The address in an entry that points at a table.
    pub fn address(&self, entry: u64) -> u64 {
        match self.entries {
            Entries::X86 { mask } => entry & 0x000f_ffff_ffff_f000 & !mask,
            Entries::X86Short => entry & 0xffff_f000,
            Entries::Arm64 { .. } => entry & 0x0000_ffff_ffff_f000 & (!0 << self.shifts[0]),
            Entries::Riscv64 => entry << 2 & 0x00ff_ffff_ffff_f000,
            // Tables of the last level have 2 KiB; what is lower in the others says something else.
            Entries::S390x if entry & 0xc == 0 => entry & !0x7ff,
            Entries::S390x => entry & !0xfff,
            Entries::Ppc64 => entry & 0x3fff_ffff_ffff_ff00,
            Entries::ArmShort => entry & 0xffff_fc00,
            Entries::ArmLong => entry & 0xff_ffff_f000,
            Entries::Loongarch64 => entry & 0xffff_ffff_f000,
        }
    }
}
