//! What a machine's processor, and the kernel of its architecture, have of their own: words, page tables, where memory
//! is mapped, and what VMCOREINFO says of that.

use super::KernelStyle;
use super::style::Facts;
use super::tables::{Entries, High, Tables};
use super::words::Words;

/// Which machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// x86_64.
    X86_64,
    /// arm64.
    Arm64 {
        /// log2 of the bytes of a page: 12, 14 or 16.
        page: u32,
        /// Bits of an address that the kernel is built for.
        built: u32,
        /// Bits that it runs with, which are fewer on a processor that has no more.
        bits: u32,
    },
    /// riscv64.
    Riscv64 {
        /// Bits of an address: Sv39, Sv48 or Sv57.
        bits: u32,
    },
    /// s390x, which is big-endian.
    S390x {
        /// The kernel has addresses of its own (from 6.10 on), and does not run where it lies.
        moved: bool,
    },
    /// ppc64le with pages of 4 KiB.
    Ppc64le {
        /// Radix tables, not hashed ones.
        radix: bool,
    },
    /// loongarch64 with pages of 4 KiB.
    Loongarch64,
    /// i386.
    I386 {
        /// Three levels of tables, addresses of 36 bits.
        pae: bool,
    },
    /// 32-bit ARM.
    Arm {
        /// Long descriptors.
        lpae: bool,
    },
}

/// Start of the kernel text mapping of x86_64 and riscv64.
pub const TEXT_MAP: u64 = 0xffff_ffff_8000_0000;
/// Where the kernel of x86_64 is linked, relative to that.
pub const LINK: u64 = 0x100_0000;
/// Where the image of an arm64 kernel is mapped: so far into the upper half of the least addresses it can do with.
const ARM64_TEXT: u64 = 0x8000_0000;
/// Where that of an s390x kernel is, if it has addresses of its own.
const S390X_TEXT: u64 = 0x3ff_8000_0000;
/// Where physical 0 is then.
const S390X_IDENTITY: u64 = 1 << 40;
/// Code of s390x that lies below 2 GiB.
const S390X_LOW_CODE: (u64, u64) = (0x3000, 0x5000);
/// First kernel of ppc64 that has all its regions behind 0xc.
const PPC_ONE_REGION: KernelStyle = KernelStyle::V5_10;
/// `MMU_PAGE_64K`, of which the pieces of a hashed vmemmap are.
const PPC_CHUNK: u64 = 2;

impl Cpu {
    /// Its words.
    pub fn words(self) -> Words {
        match self {
            Cpu::S390x { .. } => Words { big: true, wide: true },
            Cpu::I386 { .. } | Cpu::Arm { .. } => Words { big: false, wide: false },
            _ => Words::USUAL,
        }
    }

    /// `utsname.machine`.
    pub fn name(self) -> &'static str {
        match self {
            Cpu::X86_64 => "x86_64",
            Cpu::Arm64 { .. } => "aarch64",
            Cpu::Riscv64 { .. } => "riscv64",
            Cpu::S390x { .. } => "s390x",
            Cpu::Ppc64le { .. } => "ppc64le",
            Cpu::Loongarch64 => "loongarch64",
            Cpu::I386 { .. } => "i686",
            Cpu::Arm { .. } => "armv7l",
        }
    }

    /// `e_machine`.
    pub fn elf_machine(self) -> u16 {
        match self {
            Cpu::X86_64 => 62,
            Cpu::Arm64 { .. } => 183,
            Cpu::Riscv64 { .. } => 243,
            Cpu::S390x { .. } => 22,
            Cpu::Ppc64le { .. } => 21,
            Cpu::Loongarch64 => 258,
            Cpu::I386 { .. } => 3,
            Cpu::Arm { .. } => 40,
        }
    }

    /// Bytes of `elf_prstatus`, and where the program counter is in it.
    pub fn prstatus(self) -> (usize, usize) {
        match self {
            Cpu::X86_64 => (336, 112 + 16 * 8),
            Cpu::Arm64 { .. } => (392, 112 + 32 * 8),
            Cpu::Riscv64 { .. } => (376, 112),
            Cpu::S390x { .. } => (336, 112 + 8),
            Cpu::Ppc64le { .. } => (504, 112 + 32 * 8),
            Cpu::Loongarch64 => (480, 112 + 33 * 8),
            Cpu::I386 { .. } => (144, 72 + 12 * 4),
            Cpu::Arm { .. } => (148, 72 + 15 * 4),
        }
    }

    /// Its page tables; levels and bits of encryption are those of x86_64.
    pub fn tables(self, levels: u32, mask: u64) -> Tables {
        let words = self.words();
        match self {
            Cpu::X86_64 => Tables::x86(levels, mask),
            Cpu::Arm64 { page, built, bits } => {
                let shifts: &[u32] = match page {
                    12 => &[12, 21, 30, 39, 48],
                    14 => &[14, 25, 36, 47],
                    _ => &[16, 29, 42],
                };
                // With pages of 64 KiB the top table is the one that the kernel is built for, of which a
                // processor with fewer bits sees the upper end; else a level is left out.
                let (high, bits) = match (page, built, bits) {
                    (16, 52, _) => (High::Lpa, built),
                    (16, ..) => (High::None, built),
                    (_, _, 52) => (High::Lpa2, bits),
                    _ => (High::None, bits),
                };
                Tables::wide(Entries::Arm64 { high }, shifts, bits)
            }
            Cpu::Riscv64 { bits } => Tables::wide(Entries::Riscv64, &[12, 21, 30, 39, 48], bits),
            Cpu::S390x { .. } => {
                Tables { words, ..Tables::wide(Entries::S390x, &[12, 20, 31, 42, 53], 42) }
            }
            // Big-endian on every machine.
            Cpu::Ppc64le { radix } => {
                let (shifts, bits): (&[u32], u32) =
                    if radix { (&[12, 21, 30, 39], 52) } else { (&[12, 21, 28, 37], 46) };
                let words = Words { big: true, wide: true };
                Tables { words, ..Tables::wide(Entries::Ppc64, shifts, bits) }
            }
            Cpu::Loongarch64 => Tables::wide(Entries::Loongarch64, &[12, 21, 30, 39], 48),
            Cpu::I386 { pae: true } => Tables::wide(Entries::X86 { mask: 0 }, &[12, 21, 30], 32),
            Cpu::I386 { pae: false } => {
                Tables { words, ..Tables::wide(Entries::X86Short, &[12, 22], 32) }
            }
            Cpu::Arm { lpae: true } => Tables::wide(Entries::ArmLong, &[12, 21, 30], 32),
            Cpu::Arm { lpae: false } => {
                Tables { words, ..Tables::wide(Entries::ArmShort, &[12, 20], 32) }
            }
        }
    }

    /// log2 of the bytes of a page.
    pub fn page_bits(self) -> u32 {
        match self {
            Cpu::Arm64 { page, .. } => page,
            _ => 12,
        }
    }

    /// Whether page tables have an address that the kernel uses: on some machines the hardware knows it by itself.
    pub fn is_in_tables(self, va: u64) -> bool {
        match self {
            Cpu::Loongarch64 => va >> 62 == 3,
            Cpu::Ppc64le { radix } => radix,
            _ => true,
        }
    }

    /// Where the kernel's image is mapped apart from the direct map, if it is.
    pub fn text(self) -> Option<u64> {
        match self {
            Cpu::X86_64 => Some(TEXT_MAP + LINK),
            Cpu::Arm64 { page, built, .. } => {
                // `VA_BITS_MIN`.
                let least = if page == 14 && built > 48 { 47 } else { built.min(48) };
                Some((1u64 << (least - 1)).wrapping_neg() + ARM64_TEXT)
            }
            Cpu::Riscv64 { .. } => Some(TEXT_MAP),
            Cpu::S390x { moved: true } => Some(S390X_TEXT),
            _ => None,
        }
    }

    /// Where the direct map and vmemmap begin, for frames from 0 on.
    pub fn bases(self, facts: &Facts) -> (u64, u64) {
        match self {
            Cpu::X86_64 => (facts.page_offset, facts.vmemmap),
            Cpu::Arm64 { page, bits, .. } => {
                // A 64th of the linear map, at the upper end of the address space; of larger pages, less, so that the
                // kernel's image is not in it.
                let width = if page == 12 { bits } else { bits.min(48) };
                ((1u64 << bits).wrapping_neg(), (1u64 << (width - 6)).wrapping_neg())
            }
            Cpu::Riscv64 { bits } => {
                let page_offset: u64 = match bits {
                    39 => 0xffff_ffd6_0000_0000,
                    48 => 0xffff_af80_0000_0000,
                    57 => 0xff60_0000_0000_0000,
                    _ => panic!("{bits} bits of address"),
                };
                (page_offset, page_offset - (1 << (bits - 3)))
            }
            Cpu::S390x { moved } => (if moved { S390X_IDENTITY } else { 0 }, 0x372_0000_0000),
            Cpu::Ppc64le { radix } => {
                let one = facts.style as u32 >= PPC_ONE_REGION as u32;
                let vmemmap = match (one, radix) {
                    (true, true) => 0xc00c_0000_0000_0000,
                    (true, false) => 0xc000_3f00_0000_0000,
                    (false, true) => 0xc00a_0000_0000_0000,
                    (false, false) => 0xf000_0000_0000_0000,
                };
                (0xc000_0000_0000_0000, vmemmap)
            }
            Cpu::Loongarch64 => (0x9000_0000_0000_0000, 0xffff_fe80_0000_0000),
            // Neither has a vmemmap.
            Cpu::I386 { .. } | Cpu::Arm { .. } => (0xc000_0000, 0),
        }
    }

    /// Bytes of memory that the direct map has, from where memory begins.
    pub fn direct_len(self) -> u64 {
        match self {
            Cpu::I386 { .. } => 0x3800_0000,
            Cpu::Arm { .. } => 0x3000_0000,
            _ => u64::MAX,
        }
    }

    /// log2 of the bytes of a memory section, and of one past the largest physical address.
    pub fn sizes(self, facts: &Facts) -> (u32, u32) {
        match self {
            Cpu::X86_64 => (27, facts.physmem_bits),
            Cpu::Arm64 { page, built, .. } => {
                (if page == 16 { 29 } else { 27 }, if built == 52 { 52 } else { 48 })
            }
            Cpu::Riscv64 { bits } => (27, if bits == 39 { 40 } else { 56 }),
            Cpu::S390x { .. } => (if facts.style == KernelStyle::V7_1 { 27 } else { 28 }, 46),
            Cpu::Ppc64le { .. } => {
                (24, if facts.style as u32 >= PPC_ONE_REGION as u32 { 51 } else { 47 })
            }
            Cpu::Loongarch64 => (29, 48),
            Cpu::I386 { pae: true } if facts.style == KernelStyle::V2_6_24 => (30, 36),
            Cpu::I386 { pae: true } => (29, 36),
            Cpu::I386 { pae: false } => (26, 32),
            Cpu::Arm { .. } => (28, 36),
        }
    }

    /// Whether memory may begin above 0, with the direct map and a flat array.
    pub fn counts_from_its_memory(self) -> bool {
        matches!(self, Cpu::Arm64 { .. } | Cpu::Riscv64 { .. } | Cpu::Arm { .. })
    }

    /// Offset in the image of the top page table: up to 64 KiB, aligned to that.
    pub fn top_table_at(self) -> u64 {
        match self {
            Cpu::S390x { .. } | Cpu::Ppc64le { .. } | Cpu::Arm { .. } => 0x8_0000,
            Cpu::Arm64 { page: 14 | 16, .. } => 0x8_0000,
            _ => 0x2000,
        }
    }

    /// Whether its lists of pieces have to be written, which vmemmap is made of.
    pub fn has_chunks(self) -> bool {
        self == Cpu::Ppc64le { radix: false }
    }

    /// The number of the page size of these pieces, and log2 of their bytes.
    pub fn chunk(self) -> (u64, u32) {
        (PPC_CHUNK, 16)
    }

    /// The lines of VMCOREINFO by which its addresses are known; none for x86_64, whose are with the other numbers.
    pub fn lines(self, facts: &Facts, at: &Placed) -> Vec<String> {
        let since = |style: KernelStyle| facts.style as u32 >= style as u32;
        let sizes = || {
            vec![
                format!("NUMBER(MAX_PHYSMEM_BITS)={}", at.physmem_bits),
                format!("NUMBER(SECTION_SIZE_BITS)={}", at.section_bits),
            ]
        };
        // Exported where other kernels of the time export them.
        let by_age = || {
            let exported = [facts.exports_physmem, facts.exports_section_bits];
            let lines = sizes().into_iter().zip(exported);
            lines.filter(|(_, exported)| *exported).map(|(line, _)| line).collect::<Vec<_>>()
        };
        let mut lines;
        match self {
            Cpu::X86_64 => lines = Vec::new(),
            Cpu::Arm64 { built, bits, .. } => {
                lines = sizes();
                lines.push(format!("NUMBER(VA_BITS)={built}"));
                lines.push(format!("NUMBER(kimage_voffset)=0x{:x}", at.text.wrapping_sub(at.load)));
                // The linear map begins where it would with all bits, so far below memory.
                let below = (1u64 << built) - (1 << bits);
                lines.push(format!("NUMBER(PHYS_OFFSET)=0x{:x}", at.memory.wrapping_sub(below)));
                lines.push(format!("NUMBER(TCR_EL1_T1SZ)=0x{:x}", 64 - bits));
            }
            Cpu::Riscv64 { bits } => {
                lines = sizes();
                lines.push(format!("NUMBER(VA_BITS)={bits}"));
                lines.push(format!("NUMBER(phys_ram_base)={}", at.memory));
                let base = at.page_offset.wrapping_add(at.memory);
                for (name, value) in [
                    ("PAGE_OFFSET", base),
                    ("VMALLOC_START", base.wrapping_sub(1 << 32)),
                    ("VMALLOC_END", base.wrapping_sub(1)),
                    ("KERNEL_LINK_ADDR", TEXT_MAP),
                    ("va_kernel_pa_offset", at.text.wrapping_sub(at.load)),
                ] {
                    lines.push(format!("NUMBER({name})=0x{value:x}"));
                }
            }
            Cpu::S390x { moved } => {
                lines = by_age();
                let (start, end) = S390X_LOW_CODE;
                lines.push(format!("SAMODE31={start:x}"));
                lines.push(format!("EAMODE31={end:x}"));
                if moved {
                    lines.push(format!("IDENTITYBASE={:x}", at.page_offset));
                    lines.push(format!("KERNELOFFSET={:x}", at.text));
                    lines.push(format!("KERNELOFFPHYS={:x}", at.load));
                }
            }
            Cpu::Ppc64le { radix } => {
                lines = by_age();
                if since(KernelStyle::V6_9) {
                    lines.push(format!("NUMBER(RADIX_MMU)={}", u8::from(radix)));
                    let vmalloc =
                        if radix { 0xc008_0000_0000_0000u64 } else { 0xc000_3d00_0000_0000 };
                    lines.push(format!("NUMBER(VMALLOC_START)=0x{vmalloc:x}"));
                }
                for (name, value) in [
                    ("OFFSET(cpu_spec.mmu_features)", 36),
                    ("SIZE(vmemmap_backing)", 24),
                    ("OFFSET(vmemmap_backing.list)", 0),
                    ("OFFSET(vmemmap_backing.phys)", 8),
                    ("OFFSET(vmemmap_backing.virt_addr)", 16),
                    ("SIZE(mmu_psize_def)", 88),
                    ("OFFSET(mmu_psize_def.shift)", 4),
                ] {
                    lines.push(format!("{name}={value}"));
                }
            }
            Cpu::Loongarch64 => lines = by_age(),
            Cpu::I386 { pae } => {
                lines = by_age();
                if pae {
                    lines.push("CONFIG_X86_PAE=y".into());
                }
            }
            Cpu::Arm { lpae } => {
                lines = Vec::new();
                if lpae {
                    lines.push("CONFIG_ARM_LPAE=y".into());
                }
                if since(KernelStyle::V6_9) {
                    lines.push("NUMBER(VMALLOC_START)=0xf0800000".into());
                }
            }
        }
        lines
    }
}

/// Where things are in a machine that is built.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placed {
    /// Virtual address of the image.
    pub text: u64,
    /// Physical address of it.
    pub load: u64,
    /// Where memory begins.
    pub memory: u64,
    /// What is added to a physical address for one in the direct map.
    pub page_offset: u64,
    /// log2 of the bytes of a section.
    pub section_bits: u32,
    /// log2 of one past the largest physical address.
    pub physmem_bits: u32,
}
