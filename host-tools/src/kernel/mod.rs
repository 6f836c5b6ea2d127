//! A dead kernel by its own symbols and types.

/// Members that are looked for in one go, each under a name of its own.
macro_rules! sought {
    ($(#[$about:meta])* $name:ident { $($(#[$said:meta])* $field:ident: $path:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        struct $name {
            $($(#[$said])* $field: $crate::kernel::Sought,)+
        }

        impl $name {
            fn find(
                kernel: &mut $crate::kernel::Kernel<'_>,
                btf: &tamis_core::kernel::symbols::Btf<'_>,
            ) -> $crate::fail::Result<$name> {
                let [$($field),+] = kernel.members(btf, [$($path),+])?;
                Ok($name { $($field: $crate::kernel::Sought { name: $path, found: $field },)+ })
            }
        }
    };
}

pub mod annotate;
pub mod expr;
pub mod lists;
pub mod names;
pub mod slabs;
pub mod split;
pub mod stack;
pub mod types;
pub mod usage;
pub mod value;

use crate::dump::opened::Opened;
use crate::fail::{Fail, Result};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tamis_core::endian::{Endian, Word};
use tamis_core::kernel::memory::{KernelMemory, TranslateError};
use tamis_core::kernel::symbols::kallsyms::KNOWN;
use tamis_core::kernel::symbols::{
    Btf, Failed, Image, Kallsyms, Member, Members, Place, Reader, VirtMemory, Wanted, Words,
    members,
};
use tamis_core::memory::{PhysMemory as _, Ranges as _};
use tamis_core::units::{PhysAddr, VirtAddr};

/// A member that is looked for.
#[derive(Clone, Copy)]
struct Sought {
    /// Its structure and itself, with a dot between the two.
    name: &'static str,
    /// Where it is, if this kernel has it.
    found: Option<Member>,
}

/// Types that the index of BTF has room for: all of a kernel's.
const TYPES: usize = 1 << 17;

/// Symbols that commands ask for, beside those that prove the others: one pass over all names finds all of them.
const COMMON: [&str; 29] = [
    "__cpu_online_mask",
    "__per_cpu_offset",
    "__start_BTF",
    "__start_orc_unwind",
    "__start_orc_unwind_ip",
    "__stop_BTF",
    "__stop_orc_unwind",
    "__stop_orc_unwind_ip",
    "_totalram_pages",
    "btf_modules",
    "hstates",
    "hugetlb_max_hstate",
    "init_task",
    "modules",
    "nr_cpu_ids",
    "nr_node_ids",
    "nr_vmalloc_pages",
    "panic_cpu",
    "pcpu_nr_populated",
    "pcpu_nr_units",
    "runqueues",
    "saved_command_line",
    "slab_caches",
    "super_blocks",
    "tainted_mask",
    "totalram_pages",
    "vm_node_stat",
    "vm_zone_stat",
    "zone_names",
];

/// CPUs of a machine.
const CPUS: u64 = 1 << 13;

/// Where bytes that are laid over the memory are: where no kernel has anything.
const OVERLAY: u64 = 0x1000_0000;

/// Memory, and bytes that are to be read as if they were in it.
struct Overlaid<'m> {
    memory: &'m mut dyn VirtMemory,
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl VirtMemory for Overlaid<'_> {
    fn fill(&mut self, at: VirtAddr, buf: &mut [u8]) -> std::result::Result<(), TranslateError> {
        let bytes = self.bytes.borrow();
        match at.0.checked_sub(OVERLAY).and_then(|at| bytes.get(usize::try_from(at).ok()?..)) {
            Some(from) if !from.is_empty() => {
                // Pieces that are read go on behind it.
                let len = from.len().min(buf.len());
                buf[..len].copy_from_slice(&from[..len]);
                buf[len..].fill(0);
                Ok(())
            }
            _ => self.memory.fill(at, buf),
        }
    }

    fn place(&mut self, at: VirtAddr) -> Option<(PhysAddr, u64)> {
        self.memory.place(at)
    }

    fn byte_order(&self) -> Endian {
        self.memory.byte_order()
    }

    fn long(&self) -> Word {
        self.memory.long()
    }
}

/// The symbols of a kernel, and its memory.
pub struct Kernel<'m> {
    /// The memory.
    pub reader: Reader<'m>,
    /// The symbols.
    pub kallsyms: Kallsyms,
    /// What was looked for.
    addresses: HashMap<String, Option<u64>>,
    over: Rc<RefCell<Vec<u8>>>,
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
        let over = Rc::<RefCell<Vec<u8>>>::default();
        let mut memory = Overlaid { memory, bytes: Rc::clone(&over) };
        let mut reader = Reader::new(&mut memory);
        let names = KNOWN.iter().chain(&COMMON);
        let mut wanted: Vec<_> = names.map(|name| Wanted::new(name)).collect();
        let found = Kallsyms::find_with(&mut reader, facts, image.as_ref(), &mut wanted);
        let kallsyms = found.map_err(|Failed| {
            let error = reader.error();
            Fail::new(format_args!("{name}: its kernel's symbols cannot be used: {error}"))
        })?;
        // Several of one name may have one address.
        let sure = wanted.iter().filter(|wanted| wanted.count <= 1);
        let addresses = sure.map(|wanted| (wanted.name.to_owned(), wanted.unique())).collect();
        act(&mut Kernel { reader, kallsyms, addresses, over, name })
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
        let [start, end] = self.bounds()?;
        self.load_between(start, end, index)
    }

    /// Where the types begin and end.
    fn bounds(&mut self) -> Result<[u64; 2]> {
        let ends = [self.address("__start_BTF")?, self.address("__stop_BTF")?];
        let [Some(start), Some(end)] = ends else {
            return Err(self.fail("its kernel has no types (CONFIG_DEBUG_INFO_BTF)"));
        };
        Ok([start, end])
    }

    fn load_between<'i>(
        &mut self,
        start: u64,
        end: u64,
        index: &'i mut Vec<u32>,
    ) -> Result<Btf<'i>> {
        index.resize(TYPES, 0);
        let btf = Btf::load(&mut self.reader, start, end, index);
        self.table(btf)
    }

    /// Lets bytes be read from [`OVERLAY`] on.
    fn lay_over(&mut self, bytes: Vec<u8>) {
        self.over.replace(bytes);
    }

    /// Bytes of an `unsigned long` and of a pointer.
    pub fn word(&self) -> u64 {
        self.reader.word_size().bytes() as u64
    }

    /// An error about the dump.
    pub fn fail(&self, text: impl std::fmt::Display) -> Fail {
        Fail::new(format_args!("{}: {text}", self.name))
    }

    /// What went wrong while the kernel's tables were read, as an error about the dump.
    pub fn table<T>(&self, done: std::result::Result<T, Failed>) -> Result<T> {
        done.map_err(|Failed| self.fail(self.reader.error()))
    }

    /// The address of a symbol; `None` if there is none, or if there are several.
    pub fn address(&mut self, name: &str) -> Result<Option<u64>> {
        if let Some(known) = self.addresses.get(name) {
            return Ok(*known);
        }
        let mut wanted = [Wanted::new(name)];
        let done = self.kallsyms.look_up(&mut self.reader, &mut wanted);
        self.table(done)?;
        let address = wanted[0].unique();
        self.addresses.insert(name.to_owned(), address);
        Ok(address)
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

    /// Where members of structures are, bit fields too: a structure and a member; `None` for those that this kernel has
    /// not.
    pub fn places<const N: usize>(
        &mut self,
        btf: &Btf<'_>,
        wanted: [(&str, &str); N],
    ) -> Result<[Option<Place>; N]> {
        let mut words = Words::<32>::new();
        let room =
            wanted.iter().all(|(structure, member)| words.add(structure) && words.add(member));
        assert!(room, "room for all words");
        let done = btf.find_words(&mut self.reader, &mut words);
        self.table(done)?;
        let mut places = [None; N];
        let done = btf.each(&mut self.reader, &mut |reader, record| {
            for ((structure, member), place) in wanted.iter().zip(&mut places) {
                if record.kind.has_members()
                    && words.offset(structure) == Some(record.name)
                    && let Some(member) = words.offset(member)
                    && place.is_none()
                {
                    *place = members::member(reader, btf, record.id, member)?;
                }
            }
            Ok(false)
        });
        self.table(done)?;
        Ok(places)
    }

    /// A bit field, or a member of 8 bytes at most, of the structure at an address.
    pub fn bits(&mut self, at: u64, place: Place) -> Result<u64> {
        let first = at.wrapping_add(place.bits / 8);
        if place.width == 0 {
            return self.number(first, 4);
        }
        let mut raw = [0; 9];
        let (inside, width) = (place.bits % 8, place.width.min(64));
        let len = (inside + u64::from(width)).div_ceil(8) as usize;
        self.read(first, &mut raw[..len])?;
        Ok(bits(self.reader.endian(), &raw[..len], inside, width).unwrap_or(0))
    }

    /// The values of enumerators: an enumeration and a name; `None` for those that this kernel has not.
    pub fn enumerators(
        &mut self,
        btf: &Btf<'_>,
        wanted: &[(&str, &str)],
    ) -> Result<Vec<Option<u64>>> {
        let mut words = Words::<64>::new();
        let room = wanted.iter().all(|(of, name)| words.add(of) && words.add(name));
        assert!(room, "room for all words");
        let done = btf.find_words(&mut self.reader, &mut words);
        self.table(done)?;
        let offsets: Vec<_> =
            wanted.iter().map(|(of, name)| words.offset(of).zip(words.offset(name))).collect();
        let mut values = vec![None; wanted.len()];
        let found = Members::<1>::find(&mut self.reader, btf, &words, &mut |of, name, value| {
            for (offset, found) in offsets.iter().zip(&mut values) {
                if *offset == Some((of, name)) {
                    *found = Some(value);
                }
            }
        });
        self.table(found)?;
        Ok(values)
    }

    /// The variable of so many bytes; `None` where there is none of this name.
    pub fn variable(&mut self, name: &str, size: u64) -> Result<Option<u64>> {
        match self.address(name)? {
            Some(at) => self.number(at, size).map(Some),
            None => Ok(None),
        }
    }

    /// For each CPU that there may be, how far its variables are from where the kernel was linked for them.
    pub fn cpus(&mut self) -> Result<Vec<u64>> {
        let word = self.word();
        // Kernels for one CPU have them where they were linked for.
        let Some(at) = self.address("__per_cpu_offset")? else { return Ok(vec![0]) };
        let cpus = self.variable("nr_cpu_ids", 4)?.unwrap_or(1).min(CPUS);
        (0..cpus).map(|cpu| self.number(at.wrapping_add(cpu * word), word)).collect()
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
    fn need(&self, sought: Sought) -> Result<Member> {
        let Sought { name, found } = sought;
        found.ok_or_else(|| self.fail(format_args!("its kernel's types have no {name}")))
    }
}

/// Bytes as a number.
pub fn number(endian: Endian, raw: &[u8]) -> u64 {
    let step = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    match endian {
        Endian::Little => raw.iter().rev().fold(0, step),
        Endian::Big => raw.iter().fold(0, step),
    }
}

/// The bits of a number: `bit` counts from the start of `bytes`.
pub fn bits(endian: Endian, bytes: &[u8], bit: u64, width: u32) -> Option<u64> {
    let first = usize::try_from(bit / 8).ok()?;
    let end = usize::try_from((bit + u64::from(width)).div_ceil(8)).ok()?;
    let raw = bytes.get(first..end).filter(|raw| raw.len() <= 9)?;
    let inside = (bit % 8) as u32;
    let wide = match endian {
        Endian::Little => raw.iter().rev().fold(0u128, |v, b| v << 8 | u128::from(*b)) >> inside,
        Endian::Big => {
            let all = raw.iter().fold(0u128, |v, b| v << 8 | u128::from(*b));
            all >> (8 * raw.len() as u32 - inside - width)
        }
    };
    Some((wide & ((1 << width) - 1)) as u64)
}
