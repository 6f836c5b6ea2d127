//! SPARSEMEM: a table of sections, with roots or plain (Linux `include/linux/mmzone.h`,
//! `mm/sparse.c`).
//!
//! Sections grow with the machine (64 TiB has 524,288 of 128 MiB): they are read one root block at
//! a time and never collected.
//!
//! With a vmemmap, all sections share one array of `struct page`s; without, each has its own. No key of all kernels
//! says which it is: an array of its own lies in the direct map, as the roots do, and a vmemmap does not.

use super::error::MemMapError;
use super::run::{Doubt, Run, State};
use crate::arch::Arch;
use crate::endian::Word;
use crate::facts::{Facts, MissingKey};
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::storage::ManagedSlice;
use crate::units::{PageShift, Pfn, PfnSpan, VirtAddr};
use crate::wire::vmcoreinfo::Kind;
use core::num::NonZeroU64;

bitflags::bitflags! {
    /// Low bits of `section_mem_map`. The pointer above them is aligned to more than these.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct SectionFlags: u64 {
        /// Memory is there.
        const PRESENT = 1 << 0;
        /// It has `struct page`s.
        const HAS_MEM_MAP = 1 << 1;
        /// It is in use; since 4.13.
        const ONLINE = 1 << 2;
        /// Early, ZONE_DEVICE and (since 6.15) VMEMMAP_PREINIT; the configuration numbers them.
        const OTHER = 0b111 << 3;
    }
}

impl SectionFlags {
    /// Whether there are `struct page`s to look at.
    fn has_pages(self) -> bool {
        self.contains(SectionFlags::PRESENT | SectionFlags::HAS_MEM_MAP)
    }
}

/// The sections of a SPARSEMEM kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections {
    /// Array of pointers to roots, or (plain) the sections themselves.
    table: VirtAddr,
    extreme: bool,
    /// Number of sections in a root; of a plain table, number read at a time.
    per_root: NonZeroU64,
    entry: u64,
    word_at: usize,
    /// Number of sections of the whole machine.
    count: u64,
    /// log2 of the pages of a section.
    order: u32,
    /// Bits of a section's number.
    #[cfg(feature = "free-lists")]
    width: u32,
    /// Whether this kernel marks online sections at all.
    marks_online: bool,
    /// Where the array of a vmemmap begins.
    vmemmap: Option<u64>,
    /// One past the last section that is there, or of which nothing is known.
    end: u64,
}

/// The block of sections that was read last.
pub struct RootCache<'b> {
    block: ManagedSlice<'b, u8>,
    held: Option<(u64, SectionRoot)>,
}

/// A block of sections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SectionRoot {
    /// The kernel has none: its pointer is null.
    Absent,
    Unreadable,
    /// It is in the cache; where it lies.
    Held(VirtAddr),
}

/// A pointer to a root that cannot be one: this is not a table of sections.
struct BadRoot;

impl<'b> RootCache<'b> {
    /// An empty cache over `block`, one page of the dead kernel long.
    pub fn new(block: impl Into<ManagedSlice<'b, u8>>) -> RootCache<'b> {
        RootCache { block: block.into(), held: None }
    }
}

impl Sections {
    pub(super) fn find<S: PhysMemory>(
        facts: &dyn Facts,
        memory: &mut KernelMemory<'_, '_, S>,
        cache: &mut RootCache<'_>,
        shift: PageShift,
        symbol: VirtAddr,
        page_struct: u64,
        max_pfn: Pfn,
    ) -> Result<Sections, MemMapError> {
        let space = *memory.arch().space();
        let bits = |name, default: u32| {
            facts
                .get(Kind::Number, name)
                .and_then(|b| u32::try_from(b).ok())
                .filter(|b| (1..64).contains(b))
                .unwrap_or(default)
        };
        let section_bits = bits("SECTION_SIZE_BITS", space.section_bits.into());
        let physmem_bits = bits("MAX_PHYSMEM_BITS", space.physmem_bits.into());
        let bad_bits = MissingKey(Kind::Number, "SECTION_SIZE_BITS");
        let order = section_bits.checked_sub(shift.bits()).ok_or(bad_bits)?;
        let all = 1u64 << physmem_bits.saturating_sub(section_bits).min(40);

        let entry = facts.need(Kind::Size, "mem_section")?;
        let at = facts.need(Kind::Offset, "mem_section.section_mem_map")?;
        let word = memory.word_size().bytes() as u64;
        let bad_entry = MissingKey(Kind::Size, "mem_section");
        if entry == 0 || at.checked_add(word).is_none_or(|end| end > entry) {
            return Err(bad_entry.into());
        }
        let per_root = (cache.block.len() as u64).min(shift.bytes() as u64) / entry;
        let per_root = NonZeroU64::new(per_root).ok_or(bad_entry)?;
        // LENGTH(mem_section) is the number of roots, or (plain) of sections; 4.15 and later have
        // a pointer in place of an array of roots and do not export it.
        let extreme = match facts.get(Kind::Length, "mem_section") {
            Some(length) => length != all || all.div_ceil(per_root.get()) == all,
            None => true,
        };
        let sections = Sections {
            table: symbol,
            extreme,
            per_root,
            entry,
            word_at: at as usize,
            count: (max_pfn.0.div_ceil(1 << order)).min(all),
            order,
            #[cfg(feature = "free-lists")]
            width: physmem_bits.saturating_sub(section_bits),
            marks_online: false,
            vmemmap: None,
            end: 0,
        };
        // VMCOREINFO names the array of roots, a symbol table the pointer to it; versions differ.
        if let Some(found) = sections.checked(page_struct, memory, cache) {
            return Ok(found);
        }
        if extreme {
            let table = memory.word(symbol);
            let table = VirtAddr(table.map_err(|e| MemMapError::unreadable(memory.arch(), e))?);
            if space.is_kernel_address(table) {
                let sections = Sections { table, ..sections };
                if let Some(found) = sections.checked(page_struct, memory, cache) {
                    return Ok(found);
                }
            }
        }
        Err(MemMapError::Implausible(symbol))
    }

    /// Reads all sections once. Returns the sections with `marks_online` and `vmemmap` known; `None` if this is not
    /// the table: fewer sections are whole than damaged.
    fn checked<S: PhysMemory>(
        &self,
        page_struct: u64,
        memory: &mut KernelMemory<'_, '_, S>,
        cache: &mut RootCache<'_>,
    ) -> Option<Sections> {
        cache.held = None;
        let (mut whole, mut damaged, mut online, mut end) = (0u64, 0u64, false, 0);
        // The array that most sections name (Boyer and Moore): by how many it leads, and a section that names it.
        let (mut lead, mut array, mut example) = (0u64, 0, None);
        let mut nr = 0;
        while nr < self.count {
            let next_root = (nr / self.per_root + 1) * self.per_root.get();
            match self.root(nr / self.per_root, memory, cache) {
                Err(BadRoot) => return None,
                Ok(SectionRoot::Absent) => nr = next_root,
                Ok(SectionRoot::Unreadable) => (nr, end) = (next_root, next_root),
                Ok(SectionRoot::Held(root)) => {
                    while nr < next_root.min(self.count) {
                        let word = self.word(nr, memory, cache);
                        match self.map_of(word, nr, page_struct, memory.word_size(), memory.arch())
                        {
                            _ if word == 0 => {}
                            Err(_) => damaged += 1,
                            Ok(map) => {
                                whole += 1;
                                let flags = SectionFlags::from_bits_truncate(word);
                                online |= flags.contains(SectionFlags::ONLINE);
                                let named = word & !SectionFlags::all().bits();
                                if lead == 0 {
                                    (array, example) = (named, Some((root, map)));
                                }
                                lead = if named == array { lead + 1 } else { lead - 1 };
                            }
                        }
                        nr += 1;
                        if word != 0 {
                            end = nr;
                        }
                    }
                }
            }
        }
        cache.held = None;
        let (root, map) = example.filter(|_| damaged < whole)?;
        let distances = memory.distance(root).zip(memory.distance(map));
        let shared = self.extreme && distances.is_some_and(|(root, map)| root != map);
        // Where none leads, any may be the right one: all are in doubt, as no section names an odd address.
        let vmemmap = shared.then_some(if lead > 0 { array } else { 1 });
        Some(Sections { marks_online: online, vmemmap, end, ..*self })
    }

    /// Puts root `index` into the cache.
    fn root<S: PhysMemory>(
        &self,
        index: u64,
        memory: &mut KernelMemory<'_, '_, S>,
        cache: &mut RootCache<'_>,
    ) -> Result<SectionRoot, BadRoot> {
        if let Some((held, state)) = cache.held
            && held == index
        {
            return Ok(state);
        }
        cache.held = None;
        let (len, at) = if self.extreme {
            let word = memory.word_size().bytes() as u64;
            let pointer = index
                .checked_mul(word)
                .and_then(|offset| self.table.checked_add(offset))
                .ok_or(BadRoot)?;
            (self.per_root.get() * self.entry, memory.word(pointer).map(VirtAddr))
        } else {
            // The last block of a plain table ends with the table.
            let left =
                self.count.saturating_sub(index * self.per_root.get()).min(self.per_root.get());
            let offset = index * self.per_root.get() * self.entry;
            (left * self.entry, Ok(self.table.checked_add(offset).ok_or(BadRoot)?))
        };
        let state = match at {
            Err(_) => SectionRoot::Unreadable,
            Ok(VirtAddr(0)) => SectionRoot::Absent,
            Ok(at) if !memory.arch().is_kernel_address(at) => return Err(BadRoot),
            Ok(at) => {
                let block = cache.block.get_mut(..len as usize).ok_or(BadRoot)?;
                if memory.read(at, block).is_ok() {
                    SectionRoot::Held(at)
                } else {
                    SectionRoot::Unreadable
                }
            }
        };
        cache.held = Some((index, state));
        Ok(state)
    }

    /// `section_mem_map` of section `nr`, whose root is in the cache.
    fn word<S: PhysMemory>(
        &self,
        nr: u64,
        memory: &KernelMemory<'_, '_, S>,
        cache: &RootCache<'_>,
    ) -> u64 {
        let at = (nr % self.per_root * self.entry) as usize + self.word_at;
        memory.endian().word(memory.word_size(), &cache.block, at).unwrap_or(0)
    }

    /// Address of the first `struct page` of section `nr`: the word is that less `nr`'s first pfn
    /// times the size of a `struct page`.
    fn map_of(
        &self,
        word: u64,
        nr: u64,
        page_struct: u64,
        size: Word,
        arch: &Arch,
    ) -> Result<VirtAddr, Doubt> {
        let array = word & !SectionFlags::all().bits();
        if self.vmemmap.is_some_and(|vmemmap| vmemmap != array) {
            return Err(Doubt::OtherArray);
        }
        let offset = (nr << self.order).wrapping_mul(page_struct);
        let map = VirtAddr(size.wrap(array.wrapping_add(offset)));
        let whole = SectionFlags::from_bits_truncate(word).has_pages();
        if whole && arch.is_kernel_address(map) { Ok(map) } else { Err(Doubt::HalfWord) }
    }

    /// One past the last pfn of the last section.
    pub(super) fn end(&self) -> Pfn {
        Pfn(self.end << self.order)
    }

    /// The first pfn of the section that the flags of a `struct page` name, if its kernel has no vmemmap.
    #[cfg(feature = "free-lists")]
    pub(super) fn first_pfn(&self, flags: u64, word: Word) -> Pfn {
        let below = (8 * word.bytes() as u32).saturating_sub(self.width);
        let number = flags.checked_shr(below).unwrap_or(0);
        Pfn(number.min(self.count).saturating_mul(1 << self.order))
    }

    pub(super) fn run_at<S: PhysMemory>(
        &self,
        pfn: Pfn,
        page_struct: u64,
        memory: &mut KernelMemory<'_, '_, S>,
        cache: &mut RootCache<'_>,
    ) -> Run {
        let nr = pfn.0 >> self.order;
        let until = |section: u64| {
            let end = section.saturating_mul(1 << self.order);
            PfnSpan::new(pfn, Pfn(end))
        };
        if nr >= self.count {
            return Run { span: until(u64::MAX), state: State::Absent };
        }
        let root = nr / self.per_root;
        let root_end = until(((root + 1) * self.per_root.get()).min(self.count));
        match self.root(root, memory, cache) {
            Ok(SectionRoot::Absent) => Run { span: root_end, state: State::Absent },
            Err(BadRoot) | Ok(SectionRoot::Unreadable) => {
                Run { span: root_end, state: State::Unreadable }
            }
            Ok(SectionRoot::Held(_)) => {
                let word = self.word(nr, memory, cache);
                let span = until(nr + 1);
                let inside = (pfn.0 - (nr << self.order)).saturating_mul(page_struct);
                let flags = SectionFlags::from_bits_truncate(word);
                let state =
                    match self.map_of(word, nr, page_struct, memory.word_size(), memory.arch()) {
                        _ if word == 0 => State::Absent,
                        Err(doubt) => State::Damaged(nr, doubt),
                        Ok(_) if self.marks_online && !flags.contains(SectionFlags::ONLINE) => {
                            State::Offline
                        }
                        Ok(map) => match map.checked_add(inside) {
                            Some(at) if memory.arch().is_kernel_address(at) => State::At(at),
                            _ => State::Unreadable,
                        },
                    };
                Run { span, state }
            }
        }
    }
}

#[cfg(all(test, feature = "i386"))]
mod tests {
    use super::*;
    use crate::arch::i386::I386;
    use crate::testing::info;

    #[test]
    fn the_array_of_a_32_bit_section_is_found_where_its_word_wraps() {
        let text = "SYMBOL(swapper_pg_dir)=41e01000\nSYMBOL(_stext)=41000000\nCONFIG_X86_PAE=y\n";
        let arch = Arch::I386(I386::new(&info(text), &[]).unwrap());
        let sections = Sections {
            table: VirtAddr(0x41f0_0000),
            extreme: false,
            per_root: core::num::NonZero::new(512).unwrap(),
            entry: 8,
            word_at: 0,
            count: 128,
            order: 17,
            #[cfg(feature = "free-lists")]
            width: 7,
            marks_online: false,
            vmemmap: None,
            end: 0,
        };
        // The last section of 64 GiB, by structures of 72 bytes: 1.1 GiB in front of the direct map.
        let (nr, page_struct, map) = (127u64, 72u64, 0x4200_0000u32);
        let word = map.wrapping_sub(((nr << 17) * page_struct) as u32) | 3;
        assert!(word > map, "the subtraction wraps");
        let found = sections.map_of(word.into(), nr, page_struct, Word::Bits32, &arch);
        assert_eq!(found, Ok(VirtAddr(map.into())));
        // A plain sum is no address of that machine.
        let found = sections.map_of(word.into(), nr, page_struct, Word::Bits64, &arch);
        assert_ne!(found, Ok(VirtAddr(map.into())));
    }
}
