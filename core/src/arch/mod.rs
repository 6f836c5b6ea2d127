//! What differs between architectures, one file each, chosen from the ELF machine at run time: one
//! binary reads every architecture it knows.
//!
//! # How to add an architecture
//! 1. Its row in [`wire::machine`](crate::wire::machine::MACHINES): number, word size, byte order, names,
//!    register note. What needs no address works then: `info`, `verify`, dumps with all pages.
//! 2. A file here with a type that holds an [`AddressSpace`], which `new` makes from the [`Facts`]: the form
//!    of the tables and their root, what is a kernel address, the defaults of keys that may be missing.
//! 3. `impl Entry` for it: what one entry of a table says. The walk itself is [`paging::Tables::walk`].
//! 4. `impl Rules` for it: its linear ranges. Then a feature of the crate, and behind it a variant of [`Arch`]
//!    and a line each in `with!` and [`Arch::new`].
//! 5. Tests: unit tests in its file, with tables written by hand; a machine in `tests/src/synth` whose dumps are
//!    held against the oracle.

pub mod aarch64;
#[cfg(feature = "arm")]
pub mod arm;
mod error;
#[cfg(feature = "i386")]
pub mod i386;
pub mod linear;
#[cfg(feature = "loongarch64")]
pub mod loongarch64;
pub mod paging;
#[cfg(feature = "ppc64")]
pub mod ppc64;
#[cfg(feature = "riscv64")]
pub mod riscv64;
#[cfg(feature = "s390x")]
pub mod s390x;
mod space;
pub mod x86_64;
#[cfg(feature = "xen")]
mod xen;

pub use error::ArchError;
pub use space::{AddressSpace, Route, Rules};

#[cfg(any(
    feature = "loongarch64",
    feature = "ppc64",
    feature = "riscv64",
    feature = "s390x"
))]
use crate::endian::Word;
use crate::facts::Facts;
use crate::memory::{Dump, Machine, MemoryRange, PhysMemory};
use crate::units::{PhysAddr, VirtAddr};
#[cfg(feature = "i386")]
use crate::wire::machine::EM_386;
#[cfg(feature = "arm")]
use crate::wire::machine::EM_ARM;
#[cfg(feature = "loongarch64")]
use crate::wire::machine::EM_LOONGARCH;
#[cfg(feature = "ppc64")]
use crate::wire::machine::EM_PPC64;
#[cfg(feature = "riscv64")]
use crate::wire::machine::EM_RISCV;
#[cfg(feature = "s390x")]
use crate::wire::machine::EM_S390;
use crate::wire::machine::{EM_AARCH64, EM_X86_64};
use linear::Linear;
use paging::{Entry, Mapping, TableCache, Walk, WalkError};

/// An architecture, with what it had to know about this kernel.
#[derive(Clone, Copy, Debug)]
pub enum Arch {
    /// x86_64.
    X86_64(x86_64::X86_64),
    /// aarch64.
    Aarch64(aarch64::Aarch64),
    /// 32-bit ARM.
    #[cfg(feature = "arm")]
    Arm(arm::Arm),
    /// i386.
    #[cfg(feature = "i386")]
    I386(i386::I386),
    /// loongarch64.
    #[cfg(feature = "loongarch64")]
    Loongarch64(loongarch64::Loongarch64),
    /// ppc64 and ppc64le.
    #[cfg(feature = "ppc64")]
    Ppc64(ppc64::Ppc64),
    /// riscv64.
    #[cfg(feature = "riscv64")]
    Riscv64(riscv64::Riscv64),
    /// s390x.
    #[cfg(feature = "s390x")]
    S390x(s390x::S390x),
}

/// Calls something of whichever architecture it is.
macro_rules! with {
    ($arch:expr, $a:ident => $call:expr) => {
        match $arch {
            Arch::X86_64($a) => $call,
            Arch::Aarch64($a) => $call,
            #[cfg(feature = "arm")]
            Arch::Arm($a) => $call,
            #[cfg(feature = "i386")]
            Arch::I386($a) => $call,
            #[cfg(feature = "loongarch64")]
            Arch::Loongarch64($a) => $call,
            #[cfg(feature = "ppc64")]
            Arch::Ppc64($a) => $call,
            #[cfg(feature = "riscv64")]
            Arch::Riscv64($a) => $call,
            #[cfg(feature = "s390x")]
            Arch::S390x($a) => $call,
        }
    };
}

impl Entry for Arch {
    fn classify(&self, level: u8, raw: u64) -> Walk {
        with!(self, arch => arch.classify(level, raw))
    }
}

impl Arch {
    /// The architecture of `machine`, from what is known of its kernel and from its memory ranges.
    pub fn new(
        machine: Machine,
        facts: &dyn Facts,
        ram: &[MemoryRange],
    ) -> Result<Arch, ArchError> {
        match machine.elf_machine {
            EM_X86_64 => Ok(Arch::X86_64(x86_64::X86_64::new(facts, ram)?)),
            EM_AARCH64 => Ok(Arch::Aarch64(aarch64::Aarch64::new(facts, machine.endian)?)),
            #[cfg(feature = "arm")]
            EM_ARM => Ok(Arch::Arm(arm::Arm::new(facts, ram, machine.endian)?)),
            #[cfg(feature = "i386")]
            EM_386 => Ok(Arch::I386(i386::I386::new(facts, ram)?)),
            #[cfg(feature = "loongarch64")]
            EM_LOONGARCH if machine.word == Word::Bits64 => {
                Ok(Arch::Loongarch64(loongarch64::Loongarch64::new(facts)?))
            }
            #[cfg(feature = "ppc64")]
            EM_PPC64 if machine.word == Word::Bits64 => {
                Ok(Arch::Ppc64(ppc64::Ppc64::new(facts, machine.endian)?))
            }
            #[cfg(feature = "riscv64")]
            EM_RISCV if machine.word == Word::Bits64 => {
                Ok(Arch::Riscv64(riscv64::Riscv64::new(facts)?))
            }
            #[cfg(feature = "s390x")]
            EM_S390 if machine.word == Word::Bits64 => Ok(Arch::S390x(s390x::S390x::new(facts)?)),
            _ => Err(ArchError::Unknown(machine)),
        }
    }

    /// The architecture of the machine that a dump is of. Under Xen it is that of domain 0's kernel, if its frames
    /// can be found: physical addresses are the machine's then, and not those that the kernel thinks it has.
    pub fn of(dump: &mut impl Dump, facts: &dyn Facts) -> Result<Arch, ArchError> {
        match dump.origin().xen.is_xen() {
            #[cfg(feature = "xen")]
            true => match Arch::new(dump.machine(), facts, &[]) {
                Ok(Arch::X86_64(arch)) => {
                    arch.of_domain0(dump).map(Arch::X86_64).ok_or(ArchError::Xen)
                }
                _ => Err(ArchError::Xen),
            },
            #[cfg(not(feature = "xen"))]
            true => Err(ArchError::Xen),
            false => match Arch::new(dump.machine(), facts, dump.ranges()) {
                #[cfg(feature = "loongarch64")]
                Ok(Arch::Loongarch64(arch)) => Ok(Arch::Loongarch64(arch.settled(dump))),
                #[cfg(feature = "ppc64")]
                Ok(Arch::Ppc64(arch)) => Ok(Arch::Ppc64(arch.settled(facts, dump)?)),
                #[cfg(feature = "s390x")]
                Ok(Arch::S390x(arch)) => Ok(Arch::S390x(arch.settled(dump))),
                other => other,
            },
        }
    }

    /// The kernel's addresses.
    pub fn space(&self) -> &AddressSpace {
        with!(self, arch => arch.space())
    }

    /// See [`AddressSpace::phys_base`].
    pub fn phys_base(&self) -> u64 {
        self.space().phys_base
    }

    /// Largest order (log2 of pages) of a compound page: what the largest huge page has.
    pub fn max_compound_order(&self, page_shift: u32) -> u32 {
        u32::from(self.space().largest_huge_page_bits).saturating_sub(page_shift)
    }

    /// Whether a pointer can be one into the kernel's own address space.
    pub fn is_kernel_address(&self, at: VirtAddr) -> bool {
        self.space().is_kernel_address(at)
    }

    /// See [`Rules::linear`].
    pub fn linear(
        &self,
        facts: &dyn Facts,
        ram: &[MemoryRange],
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Linear {
        with!(self, arch => arch.linear(facts, ram, source, cache))
    }

    /// Translates a kernel virtual address. The leaf found last answers for its neighbours.
    pub fn translate(
        &self,
        at: VirtAddr,
        source: &mut impl PhysMemory,
        cache: &mut TableCache<'_>,
    ) -> Result<Mapping, WalkError> {
        if let Some((start, leaf)) = cache.leaf {
            let inside = at.0.wrapping_sub(start.0);
            if inside < leaf.len {
                let phys = PhysAddr(leaf.phys.0.wrapping_add(inside));
                return Ok(Mapping { phys, len: leaf.len - inside });
            }
        }
        match with!(self, arch => arch.route(at)) {
            Route::Tables => {}
            Route::Window(found) => return Ok(found),
            #[cfg(feature = "ppc64")]
            Route::Chunks => {
                let Arch::Ppc64(arch) = self else { return Err(WalkError::NotCanonical(at)) };
                let found = arch.chunk(at, source, cache)?;
                cache.leaf = Some((at, found));
                return Ok(found);
            }
            Route::Nowhere => return Err(WalkError::NotCanonical(at)),
        }
        let found = self.space().tables.walk(self, at, source, cache)?;
        cache.leaf = Some((at, found));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::paging::{PagingForm, Tables};
    use super::*;
    use crate::endian::{Endian, Word};
    use crate::units::Pfn;
    use std::format;

    fn translated(bits: u8, kernel_start: u64, user_end: u64) -> impl Fn(u64) -> bool {
        const FORM: PagingForm = PagingForm { shifts: &[], entry: Word::Bits64, largest_leaf: 0 };
        let space = AddressSpace {
            tables: Tables { form: &FORM, bits, endian: Endian::Big, root: PhysAddr(0) },
            kernel_start,
            user_end,
            top_byte_ignored: false,
            phys_base: 0,
            first_pfn: Pfn(0),
            section_bits: 0,
            physmem_bits: 0,
            largest_huge_page_bits: 0,
        };
        move |at| space.is_translated(VirtAddr(at))
    }

    #[test]
    fn addresses_beyond_the_tables_are_not_looked_up() {
        let x86 = translated(48, 0xffff_8000_0000_0000, 1 << 47);
        assert!(x86(0) && x86((1 << 47) - 1) && x86(u64::MAX) && x86(0xffff_8000_0000_0000));
        assert!(!x86(1 << 47) && !x86(0xffff_7fff_ffff_ffff) && !x86(1 << 63));
        // i386, s390x with three levels, ppc64.
        let small = translated(32, 0xc000_0000, 0xc000_0000);
        assert!(small(0) && small(0xffff_ffff) && !small(1 << 32) && !small(u64::MAX));
        let low = translated(42, 0, 0);
        assert!(low(0) && low((1 << 42) - 1) && !low(1 << 42) && !low(u64::MAX));
        let region = translated(52, 0xc000_0000_0000_0000, 0);
        assert!(region(0xc00c_0000_0000_0000) && !region(0xd000_0000_0000_0000) && !region(0));
    }

    #[test]
    fn machines_without_page_tables_here_are_named() {
        let machine =
            |elf_machine| Machine { elf_machine, endian: Endian::Big, word: Word::Bits64 };
        let error =
            |number| Arch::new(machine(number), &crate::testing::info(""), &[]).unwrap_err();
        assert_eq!(format!("{}", error(43)), "page tables of sparc64 are not supported");
        assert_eq!(format!("{}", error(4)), "page tables of ELF machine 4 are not supported");
        let missing = "SYMBOL(init_top_pgt) is missing in VMCOREINFO";
        assert_eq!(format!("{}", error(62)), missing);
    }
}
