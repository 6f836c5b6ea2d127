//! A session of the engine over a dump that is open, and which facts its classes of pages rest on.

use crate::dump::opened::{Dump, Opened, level_of};
use std::cell::RefCell;
use std::collections::BTreeMap;
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::facts::{Fact, FactSource, Facts};
use tamis_core::kernel::mem_map::{MemMap, RootCache};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::page::Classifier;
use tamis_core::kernel::xen::{Frames, XenError};
use tamis_core::memory::{Dump as _, PhysMemory as _};
use tamis_core::units::PageShift;
use tamis_core::wire::vmcoreinfo::Kind;
use tamis_core::{DumpLevel, Options, Session, Storage};

/// A session, which looks at pages slice by slice; with `skip_classes`, at none.
///
/// `sizes` are the bytes of the bits of a window, of pages read at a time, of page data and of descriptors.
pub fn session(
    opened: &mut Opened,
    level: DumpLevel,
    skip_classes: bool,
    sizes: [usize; 4],
) -> Session<'static, &mut Dump> {
    let options = Options { level, skip_classes, ..Options::default() };
    session_for(opened, &options, sizes)
}

/// As [`session`], for these options.
pub fn session_for<'d>(
    opened: &'d mut Opened,
    options: &Options,
    sizes: [usize; 4],
) -> Session<'static, &'d mut Dump> {
    let skip_classes = options.skip_classes;
    let kernel = if skip_classes { None } else { opened.kernel_facts().ok() };
    let by_types = || {
        kernel
            .as_ref()?
            .fact(Kind::Size, "page")
            .map(|size| size.value)
            .filter(|size| *size <= 4096)
    };
    let said = opened.info().page_struct().or_else(by_types);
    let bytes = |len: usize| vec![0; len].into();
    let [bitmap, run, data, descriptors] = sizes.map(bytes);
    let storage = Storage {
        bitmap,
        run,
        data,
        descriptors,
        mem_map: bytes(1024 * said.unwrap_or(64) as usize),
        tables: bytes(TableCache::STORAGE),
        sections: bytes(opened.shift.bytes()),
        vmcoreinfo: Vec::new().into(),
        ranges: Vec::new().into(),
        places: Vec::new().into(),
    };
    let (text, shift, end) = (opened.text.clone(), opened.shift, opened.max_pfn);
    let input = level_of(opened);
    let mut session =
        Session::over_with_tables(&mut opened.dump, text, (shift, end), storage, options, kernel);
    session.set_input_level(input);
    // Whatever the kernel knew of: a dump that is made of another has what that has.
    session.set_end(end);
    session
}

/// Whose the frames of a Xen host are.
pub fn frames(opened: &mut Opened) -> Result<Frames<'static>, XenError> {
    // The kernel is not looked for in dumps that have no Xen.
    if !opened.dump.origin().xen.is_xen() {
        return Err(XenError::NotXen);
    }
    session(opened, DumpLevel::empty(), false, [0, opened.shift.bytes(), 0, 0]).into_frames()
}

/// Notes which facts are asked for that are not VMCOREINFO's.
struct Asked<'f> {
    facts: &'f dyn Facts,
    others: RefCell<BTreeMap<String, Vec<String>>>,
}

impl Asked<'_> {
    fn note(&self, kind: Kind, name: &str, source: FactSource) {
        let of_vmcoreinfo = [FactSource::Vmcoreinfo, FactSource::VmcoreinfoFile].contains(&source);
        if of_vmcoreinfo || source == FactSource::Other {
            return;
        }
        let key = format!("{}({name})", kind.word());
        let mut others = self.others.borrow_mut();
        let keys = others.entry(source.to_string()).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
}

impl Facts for Asked<'_> {
    fn fact(&self, kind: Kind, name: &str) -> Option<Fact<u64>> {
        let fact = self.facts.fact(kind, name)?;
        self.note(kind, name, fact.source);
        Some(fact)
    }

    fn plain(&self, key: &str) -> Option<Fact<&[u8]>> {
        self.facts.plain(key)
    }

    fn release(&self) -> Option<Fact<&[u8]>> {
        self.facts.release()
    }

    fn page_shift(&self) -> Option<Fact<PageShift>> {
        self.facts.page_shift()
    }

    fn kaslr_offset(&self) -> Option<Fact<u64>> {
        self.facts.kaslr_offset()
    }
}

/// What pages are classified by that VMCOREINFO lacks, by who knows it: a line for each.
pub fn other_sources(opened: &mut Opened) -> Vec<String> {
    const SHOWN: usize = 6;
    if opened.kernel_facts().is_err() {
        return Vec::new();
    }
    let (shift, end) = (opened.shift, opened.max_pfn);
    let others = opened.with_facts(|dump, facts| {
        let asked = Asked { facts, others: RefCell::default() };
        if let Ok(arch) = Arch::of(dump, &asked) {
            let machine = dump.machine();
            let _ = Classifier::new(&asked, &arch, machine, shift.bits(), DumpLevel::all());
            let (mut tables, mut block) = (vec![0; TableCache::STORAGE], vec![0; shift.bytes()]);
            let mut cache = TableCache::new(&mut tables[..]);
            let mut memory = KernelMemory::new(dump, arch, &mut cache);
            let mut roots = RootCache::new(&mut block[..]);
            let size = asked.fact(Kind::Size, "page").map_or(0, |size| size.value);
            let _ = MemMap::find(&asked, &mut memory, &mut roots, shift, size, end);
        }
        asked.others.into_inner()
    });
    let line = |(source, keys): (String, Vec<String>)| {
        let more = match keys.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let keys: Vec<_> = keys.into_iter().take(SHOWN).collect();
        format!("from {source}, as VMCOREINFO lacks it: {}{more}", keys.join(", "))
    };
    others.into_iter().map(line).collect()
}

/// Classes that cannot be recognised, and why.
pub fn unclassified(session: &Session<'_, &mut Dump>) -> Vec<String> {
    session.unclassified().map(|d| format!("{} is kept: {}", d.kept, d.key)).collect()
}
