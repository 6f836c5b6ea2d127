//! A dead kernel by its own symbols and types.

pub mod expr;
pub mod lists;
pub mod names;
pub mod stack;
pub mod types;
pub mod value;

use crate::dump::opened::Opened;
use crate::fail::{Fail, Result};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::symbols::{
    Btf, Image, Kallsyms, Member, Members, Reader, SymbolsError, Wanted, Words,
};
use tamis_core::memory::{PhysMemory as _, Ranges as _};
use tamis_core::units::VirtAddr;

/// Types that the index of BTF has room for: all of a kernel's.
const TYPES: usize = 1 << 17;

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
    let name = opened.name();
    let (machine, ram) = (opened.dump.machine(), opened.dump.ranges().to_vec());
    opened.with_memory(|memory: &mut KernelMemory<'_, '_, _>, facts| {
        let image = Image::find(machine, facts, &ram);
        let mut reader = Reader::new(memory);
        let kallsyms = Kallsyms::find(&mut reader, facts, image.as_ref()).map_err(|error| {
            Fail::new(format_args!("{name}: its kernel's symbols cannot be used: {error}"))
        })?;
        act(&mut Kernel { reader, kallsyms, name })
    })?
}

/// Does something with the kernel's symbols and types.
pub fn with_types<T>(
    opened: &mut Opened,
    act: impl FnOnce(&mut Kernel<'_>, &Btf<'_>) -> Result<T>,
) -> Result<T> {
    with_kernel(opened, |kernel| {
        let mut index = Vec::new();
        let btf = kernel.load_types(&mut index)?;
        act(kernel, &btf)
    })
}

impl Kernel<'_> {
    /// The types; `index` becomes as large as they need it.
    pub fn load_types<'i>(&mut self, index: &'i mut Vec<u32>) -> Result<Btf<'i>> {
        let ends = [self.address("__start_BTF")?, self.address("__stop_BTF")?];
        let [Some(start), Some(end)] = ends else {
            return Err(self.fail("its kernel has no types (CONFIG_DEBUG_INFO_BTF)"));
        };
        index.resize(TYPES, 0);
        let btf = Btf::load(&mut self.reader, start, end, index);
        self.table(btf)
    }

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

    /// The symbol that begins at an address.
    pub fn symbol_at(&mut self, address: u64) -> Option<String> {
        let symbol = self.kallsyms.at(&mut self.reader, address).ok()??;
        let name = |_, name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let begins = symbol.offset == 0 && address >> 32 != 0;
        begins.then(|| self.kallsyms.with_name(&mut self.reader, symbol.index, name).ok())?
    }

    /// Fills `buf` with the kernel's memory.
    pub fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<()> {
        let done = self.reader.memory().fill(VirtAddr(at), buf);
        done.map_err(|error| self.fail(format_args!("reading {at:#x}: {error}")))
    }

    /// The number of so many bytes at an address.
    pub fn number(&mut self, at: u64, size: u64) -> Result<u64> {
        let mut raw = [0; 8];
        let raw = &mut raw[..size.clamp(1, 8) as usize];
        self.read(at, raw)?;
        Ok(number(self.reader.endian(), raw))
    }

    /// Where members are, which are named as `task_struct.comm`; `None` for those that this kernel has not.
    pub fn members<const N: usize>(
        &mut self,
        btf: &Btf<'_>,
        paths: [&str; N],
    ) -> Result<[Option<Member>; N]> {
        let mut words = Words::<192>::new();
        paths.iter().for_each(|path| assert!(words.add_path(path), "room for all words"));
        let done = btf.find_words(&mut self.reader, &mut words);
        self.table(done)?;
        let found = Members::<64>::find(&mut self.reader, btf, &words, &mut |_, _, _| ());
        let found = self.table(found)?;
        let mut members = [None; N];
        for (path, member) in paths.iter().zip(&mut members) {
            let (structure, field) = path.split_once('.').unwrap_or((path, ""));
            let place = found.member(&mut self.reader, btf, &words, structure, field);
            *member = self.table(place)?;
        }
        Ok(members)
    }

    /// Bytes of a structure or union; `None` where this kernel has none of the name.
    pub fn size_of(&mut self, btf: &Btf<'_>, name: &str) -> Result<Option<u64>> {
        let mut words = Words::<1>::new();
        assert!(words.add(name), "room for the word");
        let done = btf.find_words(&mut self.reader, &mut words);
        self.table(done)?;
        let found = Members::<4>::find(&mut self.reader, btf, &words, &mut |_, _, _| ());
        let size = self.table(found)?.size(&mut self.reader, btf, &words, name);
        self.table(size)
    }

    /// A member that cannot be done without.
    pub fn need(&self, member: Option<Member>, name: &str) -> Result<Member> {
        member.ok_or_else(|| self.fail(format_args!("its kernel's types have no {name}")))
    }
}

/// Bytes as a number.
pub fn number(endian: tamis_core::endian::Endian, raw: &[u8]) -> u64 {
    let step = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    match endian {
        tamis_core::endian::Endian::Little => raw.iter().rev().fold(0, step),
        tamis_core::endian::Endian::Big => raw.iter().fold(0, step),
    }
}
