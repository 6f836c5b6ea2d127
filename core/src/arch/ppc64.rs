//! ppc64 and ppc64le (book3s): radix and hashed tables, pages of 4 and 64 KiB (Power ISA, Book III, chapter "Storage
//! Control"; Linux `Documentation/arch/powerpc/vmemmap_dedup.rst`, `arch/powerpc/include/asm/book3s/64/`,
//! `arch/powerpc/kexec/core.c`).

use super::error::ArchError;
use super::linear::Linear;
use super::paging::{Entry, Mapping, PagingForm, TableCache, Tables, Walk, WalkError};
use super::{AddressSpace, Route, Rules};
use crate::endian::{Endian, Word};
use crate::facts::{Facts, KernelVersion, MissingKey};
use crate::memory::{MemoryRange, PhysMemory, ReadError};
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::vmcoreinfo::Kind;

/// `PAGE_OFFSET`. All memory and the kernel image are mapped from here on.
const LINEAR: u64 = 0xc000_0000_0000_0000;
/// Bits of an address of the linear map that are those of a physical one.
const PHYSICAL: u64 = 0x3fff_ffff_ffff_ffff;
/// Bits of an address that say in which region it is: no table translates them.
const REGION: u64 = 0xf000_0000_0000_0000;

/// `_PAGE_PRESENT`, and `_PAGE_PTE` of an entry that maps memory.
const PRESENT: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
/// Bits of an entry that are none of a table's address.
const TABLE_FLAGS: u64 = PRESENT | LEAF | 0xff;
/// Bits of an entry that may be a page's address: what lies above belongs to the hardware, or to Linux.
const PAGE: u64 = (1 << 53) - 1;

/// `MMU_FTR_TYPE_RADIX` in `cpu_spec.mmu_features`.
const FEATURE_RADIX: u32 = 0x40;
/// `MMU_PAGE_COUNT`: page sizes that `mmu_psize_defs` may have.
const PAGE_SIZES: u32 = 64;
/// No kernel's list of chunks is longer: with the smallest ones that is 4 TiB of memory.
const CHUNKS_MOST: u32 = 1 << 20;
/// `SIZE(vmemmap_backing)` is three words.
const ELEMENT_MOST: usize = 64;

/// `SECTION_SIZE_BITS`, and what `MAX_PHYSMEM_BITS` has been.
const SECTION_BITS: u8 = 24;
const PHYSMEM_BITS: [u8; 4] = [44, 46, 47, 51];

const fn form(shifts: &'static [u8]) -> PagingForm {
    PagingForm { shifts, entry: Word::Bits64, largest_leaf: 2 }
}

/// Four levels, of indexes of so many bits.
struct Levels {
    page_bits: u32,
    radix: bool,
    /// The first kernel that has them.
    since: KernelVersion,
    form: PagingForm,
    bits: u8,
}

/// The newest ones first. Entries were others before 4.7.
static LEVELS: [Levels; 6] = [
    Levels { page_bits: 16, radix: true, since: OLDEST, form: form(&[16, 21, 30, 39]), bits: 52 },
    Levels { page_bits: 12, radix: true, since: OLDEST, form: form(&[12, 21, 30, 39]), bits: 52 },
    Levels {
        page_bits: 16,
        radix: false,
        since: KernelVersion(4, 17, 0),
        form: form(&[16, 24, 34, 44]),
        bits: 52,
    },
    Levels {
        page_bits: 16,
        radix: false,
        since: KernelVersion(4, 12, 0),
        form: form(&[16, 24, 34, 41]),
        bits: 49,
    },
    Levels { page_bits: 16, radix: false, since: OLDEST, form: form(&[16, 24, 29, 34]), bits: 46 },
    Levels { page_bits: 12, radix: false, since: OLDEST, form: form(&[12, 21, 28, 37]), bits: 46 },
];
const OLDEST: KernelVersion = KernelVersion(4, 7, 0);
/// Since then all regions begin with 0xc.
const ONE_REGION: KernelVersion = KernelVersion(5, 2, 0);

/// What is mapped behind each other where tables are hashed: `struct page`s, in chunks of one size on a list.
#[derive(Clone, Copy, Debug)]
struct Chunks {
    /// Virtual address that they begin at.
    start: u64,
    /// log2 of their bytes.
    bits: u8,
    /// Physical address of the first element.
    head: u64,
    /// `SIZE(vmemmap_backing)`, and the offsets of `list`, `phys` and `virt_addr` in it.
    element: [usize; 4],
}

/// One kernel of ppc64.
#[derive(Clone, Copy, Debug)]
pub struct Ppc64 {
    space: AddressSpace,
    /// Byte order of the kernel. That of tables is big-endian.
    endian: Endian,
    page_bits: u32,
    /// Where the linear map ends.
    vmalloc: u64,
    chunks: Option<Chunks>,
}

impl Ppc64 {
    /// Keys: `SYMBOL(swapper_pg_dir)`, `OSRELEASE`, `PAGESIZE` (64 KiB where it is missing), `NUMBER(RADIX_MMU)` and
    /// `NUMBER(VMALLOC_START)`, which are exported from 6.9 on. What memory says has to be asked for with
    /// [`Ppc64::settled`].
    pub fn new(facts: &dyn Facts, endian: Endian) -> Result<Ppc64, ArchError> {
        let radix = facts.get(Kind::Number, "RADIX_MMU") != Some(0);
        Ppc64::of_kind(facts, endian, radix)
    }

    fn of_kind(facts: &dyn Facts, endian: Endian, radix: bool) -> Result<Ppc64, ArchError> {
        let root = facts.need(Kind::Symbol, "swapper_pg_dir")?;
        let version = facts.version().ok_or(ArchError::MissingLine("OSRELEASE"))?;
        let page_bits = facts.page_shift().map_or(16, |shift| shift.value.bits());
        let fits = |levels: &&Levels| levels.page_bits == page_bits && levels.radix == radix;
        let mut levels = LEVELS.iter().filter(fits).peekable();
        if levels.peek().is_none() {
            return Err(ArchError::MissingLine("PAGESIZE"));
        }
        let levels =
            levels.find(|levels| version >= levels.since).ok_or(ArchError::OlderThan("4.7"))?;
        let vmalloc = facts.get(Kind::Number, "VMALLOC_START").filter(|start| *start > LINEAR);
        let space = AddressSpace {
            tables: Tables {
                form: &levels.form,
                bits: levels.bits,
                endian: Endian::Big,
                root: PhysAddr(root & PHYSICAL),
            },
            kernel_start: LINEAR,
            user_end: 0,
            top_byte_ignored: false,
            phys_base: 0,
            first_pfn: Pfn(0),
            section_bits: SECTION_BITS,
            physmem_bits: AddressSpace::physmem_by_length(facts, SECTION_BITS, &PHYSMEM_BITS)
                .unwrap_or(51),
            // Huge pages of 16 GiB.
            largest_huge_page_bits: 34,
        };
        let old = match (version >= ONE_REGION, radix, page_bits) {
            (true, false, 12) => 0xc000_3d00_0000_0000,
            (false, false, _) => 0xd000_0000_0000_0000,
            _ => 0xc008_0000_0000_0000,
        };
        Ok(Ppc64 { space, endian, page_bits, vmalloc: vmalloc.unwrap_or(old), chunks: None })
    }

    /// This kernel, after a look at its memory: which tables it has, where no number says that, and where its
    /// `struct page`s are, where tables are hashed. Keys: `SYMBOL(cur_cpu_spec)`, `OFFSET(cpu_spec.mmu_features)`;
    /// `SYMBOL(vmemmap_list)` and the members of `vmemmap_backing`, `SYMBOL(mmu_vmemmap_psize)`,
    /// `SYMBOL(mmu_psize_defs)`, `SIZE(mmu_psize_def)` and `OFFSET(mmu_psize_def.shift)`.
    pub fn settled(
        self,
        facts: &dyn Facts,
        source: &mut impl PhysMemory,
    ) -> Result<Ppc64, ArchError> {
        let radix = match facts.get(Kind::Number, "RADIX_MMU") {
            Some(number) => number != 0,
            None => {
                let no_number = MissingKey(Kind::Number, "RADIX_MMU");
                let features = self.mmu_features(facts, source).ok_or(no_number)?;
                features & FEATURE_RADIX != 0
            }
        };
        let mut settled = Ppc64::of_kind(facts, self.endian, radix)?;
        if !radix && facts.get(Kind::Symbol, "vmemmap_list").is_some() {
            settled.chunks = settled.find_chunks(facts, source)?;
        }
        Ok(settled)
    }

    fn mmu_features(&self, facts: &dyn Facts, source: &mut impl PhysMemory) -> Option<u32> {
        let spec = self.u64(facts.get(Kind::Symbol, "cur_cpu_spec")?, source)?;
        let offset = facts.get(Kind::Offset, "cpu_spec.mmu_features")?;
        self.u32(spec.checked_add(offset)?, source)
    }

    /// None, where the kernel has no list: its `struct page`s are in the linear map.
    fn find_chunks(
        &self,
        facts: &dyn Facts,
        source: &mut impl PhysMemory,
    ) -> Result<Option<Chunks>, MissingKey> {
        let member = |name| {
            let at = facts.need(Kind::Offset, name)?;
            usize::try_from(at).map_err(|_| MissingKey(Kind::Offset, name))
        };
        let bad_size = MissingKey(Kind::Size, "vmemmap_backing");
        let size = facts.need(Kind::Size, "vmemmap_backing")?;
        let size =
            usize::try_from(size).ok().filter(|size| *size <= ELEMENT_MOST).ok_or(bad_size)?;
        let members = ["vmemmap_backing.list", "vmemmap_backing.phys", "vmemmap_backing.virt_addr"];
        let [list, phys, virt] = [member(members[0])?, member(members[1])?, member(members[2])?];
        if [list, phys, virt].iter().any(|at| at.checked_add(8).is_none_or(|end| end > size)) {
            return Err(bad_size);
        }
        let kinds = facts.need(Kind::Symbol, "mmu_psize_defs")?;
        let kind_size = facts.need(Kind::Size, "mmu_psize_def")?;
        let shift_at = facts.need(Kind::Offset, "mmu_psize_def.shift")?;
        let psize_at = facts.need(Kind::Symbol, "mmu_vmemmap_psize")?;
        let psize = self.u32(psize_at, source).filter(|psize| *psize < PAGE_SIZES);
        let shift = psize.and_then(|psize| {
            let inside = kind_size.checked_mul(psize.into())?.checked_add(shift_at)?;
            self.u32(kinds.checked_add(inside)?, source)
        });
        let bits = shift.filter(|bits| (12..=34).contains(bits));
        let bits = bits.ok_or(MissingKey(Kind::Symbol, "mmu_vmemmap_psize"))? as u8;
        let no_list = MissingKey(Kind::Symbol, "vmemmap_list");
        let head = self.u64(facts.need(Kind::Symbol, "vmemmap_list")?, source).ok_or(no_list)?;
        let mut chunks = Chunks { start: u64::MAX, bits, head, element: [size, list, phys, virt] };
        // That it ends is seen once: nobody waits for a list that does not.
        let (mut start, mut count) = (u64::MAX, 0);
        let ends = chunks.each(self.endian, source, &mut |virt, _| {
            start = start.min(virt);
            count += 1;
        });
        if !matches!(ends, Ok(true)) || count > 0 && start < self.vmalloc {
            return Err(no_list);
        }
        chunks.start = start;
        Ok(Some(chunks).filter(|_| count > 0))
    }

    fn u64(&self, at: u64, source: &mut impl PhysMemory) -> Option<u64> {
        let mut raw = [0; 8];
        source.read(PhysAddr(at & PHYSICAL), &mut raw).ok()?;
        self.endian.u64(&raw, 0)
    }

    fn u32(&self, at: u64, source: &mut impl PhysMemory) -> Option<u32> {
        let mut raw = [0; 4];
        source.read(PhysAddr(at & PHYSICAL), &mut raw).ok()?;
        self.endian.u32(&raw, 0)
    }

    /// Where an address of a `struct page` lies, by the list of chunks. Those around it are kept, so that the list
    /// is gone through once for so many of them, whichever order it has.
    pub(super) fn chunk(
        &self,
        at: VirtAddr,
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Result<Mapping, WalkError> {
        let not = WalkError::NotMapped { at, level: "vmemmap_list" };
        let chunks = self.chunks.ok_or(not)?;
        let (held, slots) = cache.spare().ok_or(not)?;
        let count = (slots.len() / 8) as u64;
        let number = at.0 >> chunks.bits;
        let first = number / count * count;
        if *held != Some(PhysAddr(first)) {
            *held = None;
            slots.fill(0xff);
            let found = chunks.each(self.endian, source, &mut |virt, phys| {
                let slot = (virt >> chunks.bits).wrapping_sub(first);
                // A chunk begins at a multiple of its size.
                if slot < count && virt & chunks.inside() == 0 {
                    let start = slot as usize * 8;
                    if let Some(slot) = slots.get_mut(start..start + 8) {
                        slot.copy_from_slice(&phys.to_le_bytes());
                    }
                }
            });
            found.map_err(|fault| WalkError::Table { at, fault })?;
            *held = Some(PhysAddr(first));
        }
        let phys = Endian::Little.u64(slots, ((number - first) * 8) as usize).ok_or(not)?;
        let inside = at.0 & chunks.inside();
        let phys = phys.checked_add(inside).filter(|_| phys != u64::MAX).ok_or(not)?;
        Ok(Mapping { phys: PhysAddr(phys), len: chunks.inside() + 1 - inside })
    }
}

impl Chunks {
    /// Bits of an address within a chunk.
    fn inside(&self) -> u64 {
        (1 << self.bits) - 1
    }

    /// Calls `each` with the virtual and physical addresses of the chunks. Returns whether the list has an end.
    fn each(
        &self,
        endian: Endian,
        source: &mut impl PhysMemory,
        each: &mut dyn FnMut(u64, u64),
    ) -> Result<bool, ReadError> {
        let [size, list, phys, virt] = self.element;
        let mut raw = [0; ELEMENT_MOST];
        let mut next = self.head;
        for _ in 0..CHUNKS_MOST {
            if next == 0 {
                return Ok(true);
            }
            let at = PhysAddr(next & PHYSICAL);
            let element = raw.get_mut(..size).ok_or(ReadError::Absent(at))?;
            source.read(at, element)?;
            let word = |at| endian.u64(element, at).unwrap_or(0);
            each(word(virt), word(phys));
            next = word(list);
        }
        Ok(false)
    }
}

impl Entry for Ppc64 {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        match (raw & PRESENT, raw & LEAF) {
            (0, _) => Walk::None,
            (_, 0) if level == 0 => Walk::Bad,
            (_, 0) => Walk::Table(raw & !TABLE_FLAGS),
            _ => Walk::Leaf(raw & PAGE & !((1 << self.page_bits) - 1)),
        }
    }
}

impl Rules for Ppc64 {
    fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// The linear map needs no tables, and where these are hashed it has none.
    fn route(&self, at: VirtAddr) -> Route {
        let beyond = (at.0 & !REGION).checked_shr(self.space.tables.bits.into()).unwrap_or(0);
        match at.0 {
            ..LINEAR => Route::Nowhere,
            inside if inside < self.vmalloc => {
                let phys = PhysAddr(inside & PHYSICAL);
                Route::Window(Mapping { phys, len: self.vmalloc - inside })
            }
            inside if self.chunks.is_some_and(|chunks| inside >= chunks.start) => Route::Chunks,
            _ if beyond != 0 => Route::Nowhere,
            _ => Route::Tables,
        }
    }

    /// None but the linear map, which is no guess.
    fn linear(
        &self,
        _: &dyn Facts,
        _: &[MemoryRange],
        _: &mut impl PhysMemory,
        _: &mut TableCache<'_>,
    ) -> Linear {
        Linear::default()
    }
}

#[cfg(test)]
mod tests;
