//! What a Xen hypervisor's notes say of it, held against its memory.

use super::XenError;
use super::frames::{BATCH, DirectMap};
use super::host::{BIG, Frame, Host, Layout};
use crate::arch::Arch;
use crate::arch::paging::TableCache;
use crate::arch::x86_64::X86_64;
use crate::endian::Endian;
use crate::facts::MissingKey;
use crate::kernel::memory::KernelMemory;
use crate::memory::Dump;
use crate::units::{Pfn, PhysAddr, VirtAddr};
use crate::wire::machine::EM_X86_64;
use crate::wire::vmcoreinfo::{Kind, VmcoreInfo};

/// Bytes of VMCOREINFO_XEN that are looked at: Xen has a page for it.
const TEXT_MOST: usize = 4096;
/// Xen's own image has 1 GiB of addresses.
const IMAGE: u64 = 1 << 30;
/// `DIRECTMAP_VIRT_START` and the bytes from there to its end.
const DIRECT: (u64, u64) = (0xffff_8300_0000_0000, 5 << 40);
/// The same of a Xen built for more than 16 TiB (`CONFIG_BIGMEM`), whose frames have longer entries.
const DIRECT_BIG: (u64, u64) = (0xffff_8480_0000_0000, 3 << 40 | 1 << 39);
/// Free frames, and frames of domain 0, that are proof enough.
const ENOUGH: u32 = 64;
/// Frames that are looked at for proofs: those of 256 GiB.
const LOOKED_AT: u64 = 1 << 26;

/// Finds out about the hypervisor of a dump. `buffer` has a page or more, `end` is one past the last frame, and
/// `text` is VMCOREINFO_XEN beside the dump, for what its notes lack.
pub fn find<D: Dump>(
    dump: &mut D,
    tables: &mut TableCache<'_>,
    buffer: &mut [u8],
    end: Pfn,
    text: Option<&[u8]>,
) -> Result<Host, XenError> {
    let notes = dump.origin().xen;
    let (crash_at, crash_len) = notes.crash.ok_or(XenError::NotXen)?;
    let machine = dump.machine();
    if machine.elf_machine != EM_X86_64 || machine.endian != Endian::Little {
        return Err(XenError::Machine);
    }
    // Words of 8 bytes: version, texts, and since 2008 the address of the image and the p2m list.
    let mut crash = [0; 80];
    if crash_len < 80 {
        return Err(if crash_len == 72 { XenError::NoAddress } else { XenError::CrashNote });
    }
    dump.read_notes(crash_at, &mut crash).map_err(|_| XenError::CrashNote)?;
    let word = |at: usize| machine.endian.u64(&crash, 8 * at).unwrap_or(0);
    let (version, start) = ((word(0), word(1)), word(8));
    if version.0 < 4 {
        return Err(XenError::Older(version.0, version.1));
    }
    let (at, len) = notes.text.unwrap_or((0, 0));
    let len = usize::try_from(len).unwrap_or(TEXT_MOST).min(TEXT_MOST).min(buffer.len());
    let own = buffer.get_mut(..len).unwrap_or(&mut []);
    let own: &[u8] = if dump.read_notes(at, own).is_ok() { own } else { &[] };
    let known = Known { own: VmcoreInfo::new(own), file: VmcoreInfo::new(text.unwrap_or(&[])) };
    if own.is_empty() && text.is_none() {
        return Err(XenError::NoText);
    }
    let entry = known.size("page_info", 16..=256)?;
    let big = entry >= BIG;
    let count_at = known.offset("page_info.count_info", entry - 8)? as usize;
    let owner_at = known.offset("page_info._domain", entry - if big { 8 } else { 4 })? as usize;
    let id_at = known.offset("domain.domain_id", 1 << 16)?;
    let next_at = known.offset("domain.next_in_list", 1 << 16)?;
    let list = known.symbol("domain_list")?;
    let image = list & !(IMAGE - 1);
    let root_at = known.symbol("pgd_l4")?;
    let inside = root_at.wrapping_sub(image);
    let root = PhysAddr(start.wrapping_add(inside));
    if inside >= IMAGE || !root.0.is_multiple_of(4096) {
        return Err(XenError::Tables);
    }
    let [table, dom_xen, dom_io] =
        ["frame_table", "dom_xen", "dom_io"].map(|name| known.symbol(name));
    let arch = Arch::X86_64(X86_64::of_xen(root));
    let mut memory = KernelMemory::new(dump, arch, tables);
    if memory.physical(VirtAddr(root_at)) != Ok(root) {
        return Err(XenError::Tables);
    }
    let mut pointer =
        |what, at| memory.u64(VirtAddr(at)).map_err(|_| XenError::Unreadable(what, VirtAddr(at)));
    let mut host = Host {
        version,
        layout: None,
        arch,
        table: pointer("frame_table", table?)?,
        entry,
        direct: if big { DIRECT_BIG } else { DIRECT },
        count_at,
        owner_at,
        first: pointer("domain_list", list)?,
        id_at,
        next_at,
        domain0: 0,
        special: [0; 2],
    };
    for (special, at) in host.special.iter_mut().zip([dom_xen, dom_io]) {
        // Both are the hypervisor's own: without them, what they own is a stray.
        let at = at.ok().and_then(|at| pointer("a domain of Xen's own", at).ok());
        *special = at.map_or(0, |at| at.wrapping_sub(host.direct.0) >> 12);
    }
    let mut domain0 = None;
    let _ = host.domains(dump, tables, &mut |domain| {
        domain0 = domain0.or(Some(domain).filter(|domain| domain.id == 0));
    });
    host.domain0 = domain0.ok_or(XenError::NoDomain0)?.owner;
    survey(&mut host, dump, tables, buffer, end)?;
    Ok(host)
}

/// Tells where the state of frames is, and that what is known of the table is right: domain 0 owns some, and the
/// direct map goes upwards.
fn survey<D: Dump>(
    host: &mut Host,
    dump: &mut D,
    tables: &mut TableCache<'_>,
    buffer: &mut [u8],
    end: Pfn,
) -> Result<(), XenError> {
    let (mut found, mut owned, mut looked) = ([0; 2], 0, 0);
    let mut map = DirectMap::default();
    let (entry, room) = (host.entry, (buffer.len() as u64 / host.entry).min(BATCH));
    while let Some(run) = map.run(host, dump, tables, end) {
        let mut at = 0;
        while at < run.span.len() && looked < LOOKED_AT {
            if owned >= ENOUGH && found.iter().any(|found| *found >= ENOUGH) {
                break;
            }
            let count = room.min(run.span.len() - at).max(1);
            let from = (run.pdx + at).checked_mul(entry);
            let from = from.and_then(|from| from.checked_add(host.table));
            (at, looked) = (at + count, looked + count);
            let part = buffer.get_mut(..(count * entry) as usize).unwrap_or(&mut []);
            let mut memory = KernelMemory::new(dump, host.arch, tables);
            if from.is_none_or(|from| memory.read(VirtAddr(from), part).is_err()) {
                continue;
            }
            for bytes in part.chunks_exact(entry as usize) {
                let count_info = host.count_info(bytes);
                for (found, layout) in found.iter_mut().zip(Layout::ALL) {
                    *found += u32::from(layout.is_free(count_info));
                }
                owned += u32::from(host.judge(bytes) == Frame::Domain0);
            }
        }
    }
    if map.backwards {
        return Err(XenError::Backwards);
    }
    if owned == 0 {
        return Err(XenError::NothingOwned);
    }
    host.layout = match found {
        [early, late] if early > late => Some(Layout::Early),
        [early, late] if late > early => Some(Layout::Late),
        // None is free: what the release had without updates.
        [0, 0] if host.version >= (4, 17) => Some(Layout::Late),
        [0, 0] if host.version <= (4, 12) => Some(Layout::Early),
        _ => None,
    };
    Ok(())
}

/// The two texts of VMCOREINFO_XEN.
struct Known<'t> {
    own: VmcoreInfo<'t>,
    file: VmcoreInfo<'t>,
}

impl Known<'_> {
    #[inline(never)]
    fn get(&self, kind: Kind, name: &'static str) -> Result<u64, XenError> {
        let found = self.own.get(kind, name).or_else(|| self.file.get(kind, name));
        found.ok_or(XenError::Key(MissingKey(kind, name)))
    }

    fn symbol(&self, name: &'static str) -> Result<u64, XenError> {
        self.get(Kind::Symbol, name)
    }

    fn size(
        &self,
        name: &'static str,
        range: core::ops::RangeInclusive<u64>,
    ) -> Result<u64, XenError> {
        let size = self.get(Kind::Size, name)?;
        let wrong = XenError::Key(MissingKey(Kind::Size, name));
        Some(size).filter(|size| range.contains(size)).ok_or(wrong)
    }

    fn offset(&self, name: &'static str, most: u64) -> Result<u64, XenError> {
        let offset = self.get(Kind::Offset, name)?;
        let wrong = XenError::Key(MissingKey(Kind::Offset, name));
        Some(offset).filter(|offset| *offset <= most).ok_or(wrong)
    }
}
