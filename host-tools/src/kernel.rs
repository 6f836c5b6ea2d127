//! A dead kernel by its own symbols and types.

use crate::dump::opened::Opened;
use crate::fail::{Fail, Result};
use tamis_core::arch::paging::TableCache;
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::symbols::{Image, Kallsyms, Reader, SymbolsError, Wanted};
use tamis_core::memory::{PhysMemory as _, Ranges as _};

/// The symbols of a kernel, and its memory.
pub struct Kernel<'m> {
    /// The memory.
    pub reader: Reader<'m>,
    /// The symbols.
    pub kallsyms: Kallsyms,
    name: String,
}

/// Does something with the kernel's symbols.
pub fn with_kernel<T>(
    opened: &mut Opened,
    act: impl FnOnce(&mut Kernel<'_>) -> Result<T>,
) -> Result<T> {
    let arch = opened.arch()?;
    let name = opened.name();
    let mut tables = vec![0; TableCache::STORAGE];
    let mut cache = TableCache::new(&mut tables[..]);
    let text = opened.text.clone();
    let info = tamis_core::vmcoreinfo::Info::new(Some(&text), None);
    let image = Image::find(opened.dump.machine(), &info, opened.dump.ranges());
    let mut memory = KernelMemory::new(&mut opened.dump, arch, &mut cache);
    let mut reader = Reader::new(&mut memory);
    let kallsyms = Kallsyms::find(&mut reader, &info, image.as_ref()).map_err(|error| {
        Fail::new(format_args!("{name}: its kernel's symbols cannot be used: {error}"))
    })?;
    act(&mut Kernel { reader, kallsyms, name })
}

impl Kernel<'_> {
    /// An error about the dump.
    pub fn fail(&self, text: impl std::fmt::Display) -> Fail {
        Fail::new(format_args!("{}: {text}", self.name))
    }

    /// What went wrong while the kernel's tables were read, as an error about the dump.
    pub fn table<T>(&self, done: std::result::Result<T, SymbolsError>) -> Result<T> {
        done.map_err(|error| self.fail(error))
    }

    /// The address of a symbol; `None` if there is none, or if there are several.
    pub fn address(&mut self, name: &str) -> Result<Option<u64>> {
        let mut wanted = [Wanted::new(name)];
        let done = self.kallsyms.look_up(&mut self.reader, &mut wanted);
        self.table(done)?;
        Ok(wanted[0].unique())
    }
}
