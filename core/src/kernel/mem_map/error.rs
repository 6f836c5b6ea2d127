//! Why no mem_map was found.

use crate::arch::Arch;
#[cfg(feature = "riscv64")]
use crate::arch::paging::WalkError;
use crate::facts::MissingKey;
use crate::kernel::memory::TranslateError;
#[cfg(feature = "riscv64")]
use crate::memory::ReadError;
use crate::units::VirtAddr;
use core::fmt;

/// Why no mem_map was found. All pages that are not zero are kept then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MemMapError {
    /// A key is missing.
    Missing(MissingKey),
    /// A memory model that this program does not know.
    #[cfg(not(feature = "discontig"))]
    Model(&'static str),
    /// The table could not be read.
    Unreadable(TranslateError),
    /// The table could not be read, because kexec(8) has left it, or page tables, out of a riscv64 vmcore.
    #[cfg(feature = "riscv64")]
    LeftOut(TranslateError),
    /// What lies at the address named by VMCOREINFO is not such a table.
    Implausible(VirtAddr),
}

impl fmt::Display for MemMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemMapError::Missing(key) => key.fmt(f),
            #[cfg(not(feature = "discontig"))]
            MemMapError::Model(name) => write!(f, "the {name} memory model is not supported"),
            MemMapError::Unreadable(fault) => write!(f, "looking for the mem_map: {fault}"),
            #[cfg(feature = "riscv64")]
            MemMapError::LeftOut(fault) => write!(
                f,
                "looking for the mem_map: {fault}: kexec leaves out what /proc/iomem calls reserved; load the crash \
                 kernel with kexec -s, or hide these lines from kexec"
            ),
            MemMapError::Implausible(at) => write!(f, "no mem_section table at {at}"),
        }
    }
}

impl core::error::Error for MemMapError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            MemMapError::Missing(key) => Some(key),
            MemMapError::Unreadable(fault) => Some(fault),
            #[cfg(feature = "riscv64")]
            MemMapError::LeftOut(fault) => Some(fault),
            #[cfg(not(feature = "discontig"))]
            MemMapError::Model(_) => None,
            MemMapError::Implausible(_) => None,
        }
    }
}

impl MemMapError {
    /// What to say of a table that could not be read on this architecture.
    pub(super) fn unreadable(arch: &Arch, fault: TranslateError) -> MemMapError {
        match (arch, fault) {
            #[cfg(feature = "riscv64")]
            (
                Arch::Riscv64(_),
                TranslateError::Walk(WalkError::Table { fault: ReadError::Absent(_), .. })
                | TranslateError::Read(ReadError::Absent(_)),
            ) => MemMapError::LeftOut(fault),
            _ => MemMapError::Unreadable(fault),
        }
    }
}

impl From<MissingKey> for MemMapError {
    fn from(key: MissingKey) -> MemMapError {
        MemMapError::Missing(key)
    }
}

#[cfg(all(test, feature = "riscv64"))]
mod tests {
    use super::*;
    use crate::arch::riscv64::Riscv64;
    use crate::arch::x86_64::X86_64;
    use crate::testing::info;
    use crate::units::PhysAddr;
    use std::format;

    #[test]
    fn what_kexec_leaves_out_on_riscv64_is_said_with_what_to_do() {
        let text = "SYMBOL(swapper_pg_dir)=ffffffff82307000\nNUMBER(VA_BITS)=57\nNUMBER(phys_ram_base)=2147483648\n\
            NUMBER(PAGE_OFFSET)=0xff60000000000000\nNUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\n\
            NUMBER(va_kernel_pa_offset)=0xfffffffeffe00000\n";
        let riscv = Arch::Riscv64(Riscv64::new(&info(text)).unwrap());
        let x86 = Arch::X86_64(X86_64::new(&info(text), &[]).unwrap());
        let at = VirtAddr(0xff60_0000_25c0_0000);
        let absent = ReadError::Absent(PhysAddr(0xafff_f000));
        let table = TranslateError::Walk(WalkError::Table { at, fault: absent });
        let unmapped = TranslateError::Walk(WalkError::NotMapped { at, level: "PGD" });
        let said = |arch, fault| format!("{}", MemMapError::unreadable(arch, fault));
        for fault in [table, TranslateError::Read(absent)] {
            assert_eq!(
                said(&riscv, fault),
                format!(
                    "looking for the mem_map: {fault}: kexec leaves out what /proc/iomem calls reserved; load the \
                     crash kernel with kexec -s, or hide these lines from kexec"
                )
            );
            assert_eq!(said(&x86, fault), format!("looking for the mem_map: {fault}"));
        }
        assert_eq!(said(&riscv, unmapped), format!("looking for the mem_map: {unmapped}"));
    }
}
