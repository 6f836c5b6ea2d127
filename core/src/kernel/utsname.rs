//! `struct new_utsname` of the dead kernel: six strings of 65 bytes.

use super::memory::Memory;
use crate::memory::Source;
use crate::units::VirtAddr;
use crate::vmcoreinfo::{Info, Version};
use crate::wire::disk_header::{UTS, UTS_FIELD};
use crate::wire::vmcoreinfo::Kind;

/// Where the `name` member of `struct uts_namespace` is where VMCOREINFO does not say: behind one
/// `int` (Linux before 5.11).
const OLD_NAME_OFFSET: u64 = 4;

/// Index of the host's name.
const NODENAME: usize = 1;
/// Index of the release string.
const RELEASE: usize = 2;
/// Index of the machine string.
const MACHINE: usize = 4;

/// The six strings, as they stand in memory or, where they cannot be read, with what else is known.
pub struct Utsname {
    /// 6 x 65 bytes.
    pub raw: [u8; UTS],
    /// Whether they come out of the dead kernel's memory.
    pub read: bool,
}

impl Utsname {
    /// Reads `system_utsname`, or `init_uts_ns` and the member in it. Strings without an end are
    /// ended. Without them, release and machine are what `OSRELEASE` and the ELF header say.
    pub fn read<S: Source>(
        memory: Option<&mut Memory<'_, '_, S>>,
        info: &Info<'_>,
        machine: Option<&str>,
    ) -> Utsname {
        let at = info.get(Kind::Symbol, "system_utsname").or_else(|| {
            let offset = info.get(Kind::Offset, "uts_namespace.name").unwrap_or(OLD_NAME_OFFSET);
            info.get(Kind::Symbol, "init_uts_ns")?.checked_add(offset)
        });
        let mut raw = [0; UTS];
        let read = match (memory, at) {
            (Some(memory), Some(at)) => memory.read(VirtAddr(at), &mut raw).is_ok(),
            _ => false,
        };
        let mut uts = Utsname { raw, read };
        // A release that is not one means that something else was read.
        if Version::parse(uts.release()).is_none() {
            uts = Utsname { raw: [0; UTS], read: false };
            uts.set(RELEASE, info.release().unwrap_or_default());
            uts.set(MACHINE, machine.unwrap_or_default().as_bytes());
        }
        for field in uts.raw.chunks_exact_mut(UTS_FIELD) {
            if let Some(last) = field.last_mut() {
                *last = 0;
            }
        }
        uts
    }

    fn set(&mut self, index: usize, text: &[u8]) {
        let field = self.raw.chunks_exact_mut(UTS_FIELD).nth(index).unwrap_or_default();
        for (to, from) in field.iter_mut().zip(text) {
            *to = *from;
        }
    }

    /// The kernel release, without its NUL.
    pub fn release(&self) -> &[u8] {
        self.string(RELEASE)
    }

    /// The host's name, without its NUL; empty where unknown.
    pub fn nodename(&self) -> &[u8] {
        self.string(NODENAME)
    }

    fn string(&self, index: usize) -> &[u8] {
        let field = self.raw.chunks_exact(UTS_FIELD).nth(index).unwrap_or_default();
        field.split(|&b| b == 0).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn without_memory_the_known_strings_are_filled_in() {
        let info = testing::info("OSRELEASE=6.1.0-x\n");
        let uts = Utsname::read::<testing::Memory>(None, &info, Some("x86_64"));
        assert!(!uts.read);
        assert_eq!(uts.release(), b"6.1.0-x");
        assert_eq!(&uts.raw[260..267], b"x86_64\0");
    }
}
