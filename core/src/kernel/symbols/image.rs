//! Where the kernel's image lies, without page tables.

use super::{Failed, Reader, VirtMemory, limits};
use crate::arch::paging::WalkError;
use crate::endian::{Endian, Word};
use crate::facts::Facts;
use crate::kernel::memory::TranslateError;
use crate::memory::{Machine, MemoryRange, PhysMemory};
use crate::units::{PhysAddr, VirtAddr};
use crate::wire::machine::{EM_AARCH64, EM_X86_64};
use crate::wire::vmcoreinfo::Kind;

/// `__START_KERNEL_map` of x86_64.
const X86_64_MAP: u64 = 0xffff_ffff_8000_0000;
/// The kernel image and its modules on x86_64: 2 GiB less the fixmap, of which the image has 1 GiB at most.
const X86_64_SIZE: u64 = 1 << 30;

/// The addresses of the kernel's image, which lies in one piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image {
    /// The first address that may hold tables.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Physical address of `start`, two's complement, where it is known without page tables.
    pub phys: Option<u64>,
}

impl Image {
    /// From `SYMBOL(_stext)`, from the PT_LOAD that maps the image, or from where kernels of this machine
    /// have it; as far as PT_LOADs go on, or else as far as any image goes.
    #[inline]
    pub fn find(machine: Machine, facts: &dyn Facts, ram: &[MemoryRange]) -> Option<Image> {
        let x86 = machine.elf_machine == EM_X86_64;
        let voffset = match machine.elf_machine {
            EM_X86_64 => {
                // Before 4.10 the PT_LOAD has it alone.
                let by_range = ram.iter().find(|range| range.virt.0 >= X86_64_MAP);
                let known = facts.get(Kind::Number, "phys_base").or_else(|| {
                    by_range.map(|r| r.phys.0.wrapping_sub(r.virt.0.wrapping_sub(X86_64_MAP)))
                });
                known.map(|base| X86_64_MAP.wrapping_sub(base))
            }
            EM_AARCH64 => facts.get(Kind::Number, "kimage_voffset"),
            _ => None,
        };
        let of_image = |range: &&MemoryRange| {
            range.len > 0 && voffset == Some(range.virt.0.wrapping_sub(range.phys.0))
        };
        let start = facts
            .get(Kind::Symbol, "_stext")
            .or_else(|| ram.iter().find(of_image).map(|range| range.virt.0))
            .or_else(|| {
                let moved = facts.kaslr_offset().map_or(0, |offset| offset.value);
                x86.then(|| X86_64_MAP.saturating_add(moved & !0xfff))
            })?;
        // Ranges that begin where one ends go on.
        let mut end = start;
        for _ in 0..ram.len().min(64) {
            let next = ram.iter().find(|r| r.virt.0 <= end && end - r.virt.0 < r.len);
            match next {
                Some(range) => end = range.virt.0.saturating_add(range.len),
                None => break,
            }
        }
        let most = start.saturating_add(limits::SEARCHED);
        let last = if x86 { X86_64_MAP + X86_64_SIZE } else { u64::MAX };
        let end = if end > start { end.min(most) } else { most }.min(last);
        let phys = voffset.map(|offset| start.wrapping_sub(offset));
        Some(Image { start, end, phys }).filter(|image| image.start < image.end)
    }

    /// Calls `each` with the addresses and bytes of all of it that can be read, piece by piece and in order,
    /// until it says that it has found what it wants. It ends behind what is not mapped for long.
    #[inline]
    pub(super) fn search(
        &self,
        reader: &mut Reader<'_>,
        each: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), Failed> {
        let (mut at, mut unmapped) = (self.start, 0);
        while at < self.end {
            match reader.piece("the kernel's image", at) {
                Ok(bytes) => {
                    let len = bytes.len() as u64;
                    if each(at, bytes) {
                        return Ok(());
                    }
                    (at, unmapped) = (at.saturating_add(len), 0);
                }
                Err(Failed) => {
                    let next = (at | 0xfff).saturating_add(1);
                    unmapped += next - at;
                    if unmapped > limits::UNMAPPED || next <= at {
                        break;
                    }
                    at = next;
                }
            }
        }
        // Nothing at all can be read: that is why nothing is found.
        if unmapped > 0 && at.saturating_sub(self.start) <= unmapped { Err(Failed) } else { Ok(()) }
    }
}

/// The memory of the kernel's image alone, by arithmetic.
pub struct ImageMemory<'s, S> {
    source: &'s mut S,
    image: Image,
    phys: u64,
}

impl<'s, S: PhysMemory> ImageMemory<'s, S> {
    /// `None` where the image's physical address is not known.
    #[inline]
    pub fn new(source: &'s mut S, image: Image) -> Option<ImageMemory<'s, S>> {
        Some(ImageMemory { source, image, phys: image.phys? })
    }
}

impl<S: PhysMemory> VirtMemory for ImageMemory<'_, S> {
    #[inline]
    fn fill(&mut self, at: VirtAddr, buf: &mut [u8]) -> Result<(), TranslateError> {
        // A piece begins before the image does.
        let start = self.image.start & !0xfff;
        if at.0 < start || at.0 >= self.image.end {
            return Err(TranslateError::Walk(WalkError::NotCanonical(at)));
        }
        let phys = self.phys.wrapping_add(at.0.wrapping_sub(self.image.start));
        self.source.read(PhysAddr(phys), buf).map_err(TranslateError::Read)
    }

    #[inline]
    #[cfg(feature = "rules")]
    fn place(&mut self, at: VirtAddr) -> Option<(PhysAddr, u64)> {
        let inside = at.0 >= self.image.start && at.0 < self.image.end;
        let phys = self.phys.wrapping_add(at.0.wrapping_sub(self.image.start));
        inside.then(|| (PhysAddr(phys), self.image.end - at.0))
    }

    fn byte_order(&self) -> Endian {
        self.source.machine().endian
    }

    #[inline]
    fn long(&self) -> Word {
        self.source.machine().word
    }
}
