//! The kernel in a dump: how its addresses are translated, where its mem_map is, and what that says.

use crate::dump::opened::Opened;
use std::fmt;
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::capture::Scanner;
use tamis_core::facts::MissingKey;
use tamis_core::kernel::mem_map::{MemMap, MemMapError, RootCache};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::page::Classifier;
use tamis_core::level::DumpLevel;
use tamis_core::memory::PhysMemory as _;
use tamis_core::memory::Ranges as _;

use tamis_core::wire::vmcoreinfo::Kind;

/// Why nothing can be told about pages.
#[derive(Debug)]
pub enum NoKernel {
    /// There is no VMCOREINFO.
    NoInfo,
    /// Virtual addresses cannot be translated.
    Arch(String),
    /// There is no mem_map.
    NoMemMap(MemMapError),
    /// A key without which no `struct page` means anything is missing.
    Key(MissingKey),
}

impl fmt::Display for NoKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoKernel::NoInfo => f.write_str("there is no VMCOREINFO"),
            NoKernel::Arch(why) => f.write_str(why),
            NoKernel::NoMemMap(why) => why.fmt(f),
            NoKernel::Key(key) => key.fmt(f),
        }
    }
}

/// What it takes to judge pages.
pub struct Kernel {
    /// How addresses are translated.
    pub arch: Arch,
    /// Where the `struct page`s are.
    pub map: MemMap,
    /// What they mean, if that is known.
    pub classifier: std::result::Result<Classifier, MissingKey>,
}

/// `SIZE(page)`, where it is a likely one.
pub fn page_struct(opened: &Opened) -> u64 {
    let said = opened.info().get(Kind::Size, "page");
    said.filter(|s| (8..=4096).contains(s)).unwrap_or(64)
}

impl Kernel {
    /// Looks for the mem_map.
    pub fn find(opened: &mut Opened, level: DumpLevel) -> std::result::Result<Kernel, NoKernel> {
        let info = opened.info();
        if info.is_empty() {
            return Err(NoKernel::NoInfo);
        }
        let machine = opened.dump.machine();
        let arch = Arch::new(machine, &info, opened.dump.ranges())
            .map_err(|e| NoKernel::Arch(e.to_string()))?;
        let (size, shift, end) = (page_struct(opened), opened.shift, opened.max_pfn);
        let mut tables = vec![0; TableCache::STORAGE];
        let mut sections = vec![0; shift.bytes()];
        let mut cache = TableCache::new(&mut tables);
        let mut memory = KernelMemory::new(&mut opened.dump, arch, &mut cache);
        let mut roots = RootCache::new(&mut sections);
        let map = MemMap::find(&info, &mut memory, &mut roots, shift, size, end)
            .map_err(NoKernel::NoMemMap)?;
        let classifier = Classifier::new(&info, &arch, machine, shift.bits(), level);
        Ok(Kernel { arch, map, classifier })
    }

    /// Classes that cannot be told from others, and why.
    pub fn doubts(&self) -> Vec<String> {
        let doubts = self.classifier.iter().flat_map(Classifier::unclassified);
        doubts.map(|d| format!("{} is kept: {}", d.kept, d.key)).collect()
    }

    /// What looks at the `struct page`s, slice by slice. Its memory lives until the program ends.
    pub fn scanner(self, opened: &Opened) -> std::result::Result<Scanner<'static>, NoKernel> {
        let classifier = self.classifier.map_err(NoKernel::Key)?;
        let tables = TableCache::new(vec![0; TableCache::STORAGE].leak());
        let roots = RootCache::new(vec![0; opened.shift.bytes()].leak());
        let slice = vec![0; 1024 * page_struct(opened) as usize].leak();
        Ok(Scanner::new(self.arch, tables, roots, self.map, classifier, slice))
    }
}
