//! What a Xen hypervisor says about itself, and what one frame's entry means (Xen `asm-x86/config.h`,
//! `asm-x86/mm.h`, `xen/sched.h`).

use crate::arch::Arch;
use crate::arch::paging::TableCache;
use crate::endian::Endian;
use crate::kernel::memory::KernelMemory;
use crate::memory::PhysMemory;
use crate::units::VirtAddr;

/// `SIZE(page_info)` from which it is one of those.
pub(super) const BIG: u64 = 48;
/// Domains at most: identifiers have 15 bits, and some are taken.
const DOMAINS_MOST: u32 = 32_752;
/// `DOMID_FIRST_RESERVED`: identifiers from here on are none of domains that run.
const RESERVED: u16 = 0x7ff0;
/// `DOMID_COW`: what owns pages that guests share.
const SHARED: u16 = 0x7ff3;

const ALLOCATED: u64 = 1 << 63;
const HEAP: u64 = 1 << 62;

/// Where in `count_info` the state of a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Xen 4.0 to 4.12, and up to 4.16 without the fix of XSA-402: state in bits 56:55, broken 57.
    Early,
    /// With that fix: state in bits 59:58, broken 60.
    Late,
}

impl Layout {
    /// Both.
    pub(super) const ALL: [Layout; 2] = [Layout::Early, Layout::Late];

    fn state(self, count: u64) -> u64 {
        count >> self.shift() & 3
    }

    fn shift(self) -> u32 {
        if self == Layout::Early { 55 } else { 58 }
    }

    /// Whether this is the `count_info` of a free frame: its state, perhaps that it is to be scrubbed (bit 63, since
    /// 4.22 bit 57), and nothing else.
    pub(super) fn is_free(self, count: u64) -> bool {
        count & !(1 << 63 | 1 << 57) == 3 << self.shift()
    }

    fn is_broken(self, count: u64) -> bool {
        count >> (self.shift() + 2) & 1 != 0
    }
}

/// Who has a frame, and what for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Xen's map of the memory does not have it, or its entry cannot be read: kept.
    Unknown,
    /// The hypervisor's own, or shared by it with a domain.
    Hypervisor,
    /// Nobody's.
    Free,
    /// The hardware reported it as faulty.
    Broken,
    /// Taken out of use.
    Offline,
    /// The privileged domain's.
    Domain0,
    /// A guest's: that of the domain with this number in the frame table ([`Domain::owner`]).
    Guest(u64),
    /// Of an owner with this number that is no domain: kept.
    Stray(u64),
}

/// A domain on Xen's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Domain {
    /// Its identifier; 0 is the privileged one.
    pub id: u16,
    /// The number by which the frame table knows it.
    pub owner: u64,
}

/// A Xen hypervisor.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Major and minor version.
    pub version: (u64, u64),
    /// Where in `count_info` the state of frames is, if that could be told: if not, no frame is free, broken or offline.
    pub layout: Option<Layout>,
    pub(super) arch: Arch,
    pub(super) table: u64,
    pub(super) entry: u64,
    pub(super) direct: (u64, u64),
    pub(super) count_at: usize,
    pub(super) owner_at: usize,
    pub(super) first: u64,
    pub(super) id_at: u64,
    pub(super) next_at: u64,
    pub(super) domain0: u64,
    pub(super) special: [u64; 2],
}

impl Host {
    /// Hands the domains on Xen's list to `each`, in its order: domain 0 first. `None` where the list ends in
    /// something that is no domain.
    pub fn domains<D: PhysMemory>(
        &self,
        dump: &mut D,
        tables: &mut TableCache<'_>,
        each: &mut dyn FnMut(Domain),
    ) -> Option<()> {
        let mut memory = KernelMemory::new(dump, self.arch, tables);
        let mut at = self.first;
        for _ in 0..DOMAINS_MOST {
            if at == 0 {
                return Some(());
            }
            let inside = at.checked_sub(self.direct.0).filter(|inside| *inside < self.direct.1)?;
            let id = memory.u32(VirtAddr(at.checked_add(self.id_at)?)).ok()? as u16;
            each(Domain { id, owner: inside >> 12 });
            at = memory.u64(VirtAddr(at.checked_add(self.next_at)?)).ok()?;
        }
        None
    }

    /// Whether the owner with this number is a guest: its structure lies in a frame of Xen's heap, and has the identifier
    /// of a guest, or of the owner of pages that guests share.
    pub(super) fn is_guest<D: PhysMemory>(
        &self,
        owner: u64,
        dump: &mut D,
        tables: &mut TableCache<'_>,
    ) -> bool {
        let mut memory = KernelMemory::new(dump, self.arch, tables);
        let at = (owner < self.direct.1 >> 12).then(|| self.direct.0 + (owner << 12));
        let read = |at: u64| -> Option<bool> {
            let entry = self.table.checked_add(owner.checked_mul(self.entry)?)?;
            let count = memory.u64(VirtAddr(entry.checked_add(self.count_at as u64)?)).ok()?;
            let id = memory.u32(VirtAddr(at.checked_add(self.id_at)?)).ok()? as u16;
            Some(count & HEAP != 0 && ((1..RESERVED).contains(&id) || id == SHARED))
        };
        at.and_then(read).unwrap_or(false)
    }

    /// The `count_info` of an entry of the frame table.
    pub(super) fn count_info(&self, entry: &[u8]) -> u64 {
        Endian::Little.u64(entry, self.count_at).unwrap_or(0)
    }

    /// What an entry of the frame table says of its frame. An owner that is not known is a guest's: see
    /// [`Host::is_guest`].
    pub(super) fn judge(&self, entry: &[u8]) -> Frame {
        let count = self.count_info(entry);
        if count & HEAP != 0 {
            return Frame::Hypervisor;
        }
        match self.layout {
            Some(layout) if layout.is_broken(count) => return Frame::Broken,
            Some(layout) if layout.is_free(count) => return Frame::Free,
            Some(layout) if layout.state(count) == 2 => return Frame::Offline,
            // Free, and something more: nothing is known of such.
            Some(layout) if layout.state(count) == 3 => return Frame::Unknown,
            _ => {}
        }
        if count & ALLOCATED == 0 {
            return Frame::Hypervisor;
        }
        let owner = match self.entry >= BIG {
            true => Endian::Little.u64(entry, self.owner_at),
            false => Endian::Little.u32(entry, self.owner_at).map(u64::from),
        };
        match owner.unwrap_or(0) {
            owner if owner == self.domain0 => Frame::Domain0,
            owner if owner == 0 || self.special.contains(&owner) => Frame::Hypervisor,
            owner => Frame::Guest(owner),
        }
    }
}
