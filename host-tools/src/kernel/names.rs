//! Names of addresses: the symbols of the kernel and of its modules.

use super::Kernel;
use super::lists::{Loaded, loaded};
use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::text::plain;
use tamis_core::kernel::symbols::Symbol;

/// A symbol, and how far behind it an address is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The module that it is of; `None` for the kernel's own.
    pub module: Option<String>,
    /// The letter of its type, as nm has it; kernels are not strict about it.
    pub letter: char,
    /// Its address.
    pub address: u64,
    /// How far the address that was asked for is behind it.
    pub offset: u64,
    /// Bytes up to the next symbol, or to the end of the module's memory; `None` for the kernel's last one.
    pub size: Option<u64>,
}

impl Named {
    /// As the kernel prints it: `name+0x10 [module]`.
    pub fn text(&self) -> String {
        let mut text = self.name.clone();
        if self.offset > 0 {
            text += &format!("+{:#x}", self.offset);
        }
        if let Some(module) = &self.module {
            text += &format!(" [{module}]");
        }
        text
    }
}

/// A symbol of a module.
struct Own {
    address: u64,
    letter: char,
    name: String,
}

/// A module, and its symbols once they are asked for.
pub struct Module {
    loaded: Loaded,
    /// In the order of their addresses.
    symbols: Option<Vec<Own>>,
}

impl Module {
    fn has(&self, address: u64) -> Option<(u64, u64)> {
        let inside = |(base, size): &&(u64, u64)| address.wrapping_sub(*base) < *size;
        self.loaded.areas.iter().find(inside).map(|(base, size)| (*base, base.wrapping_add(*size)))
    }

    /// The symbols; none where they cannot be read.
    fn symbols(&mut self, kernel: &mut Kernel<'_>) -> &[Own] {
        let table = self.loaded.symbols;
        self.symbols.get_or_insert_with(|| {
            let mut all = Vec::new();
            let Some(table) = table else { return all };
            // Those in front of what cannot be read are there all the same.
            let _ = table.each(&mut kernel.reader, &mut |symbol| {
                let (name, letter) = (plain(symbol.name), char::from(symbol.letter));
                all.push(Own { address: symbol.address, letter, name });
                false
            });
            // Of several at one address, the first is the one that is shown.
            all.sort_by_key(|symbol| symbol.address);
            all
        })
    }

    /// Symbol `index`, `offset` behind it.
    fn named(&self, index: usize, offset: u64) -> Option<Named> {
        let all = self.symbols.as_deref().unwrap_or_default();
        let symbol = all.get(index)?;
        let address = symbol.address;
        let next = all[index..].iter().map(|other| other.address).find(|other| *other > address);
        let size = self.has(address).map(|(_, end)| end.min(next.unwrap_or(end)) - address);
        let (name, letter) = (symbol.name.clone(), symbol.letter);
        let module = Some(self.loaded.name.clone());
        Some(Named { name, module, letter, address, offset, size })
    }

    /// The symbol that an address of the module is in.
    fn at(&mut self, kernel: &mut Kernel<'_>, address: u64) -> Option<Named> {
        let (start, _) = self.has(address)?;
        let all = self.symbols(kernel);
        let behind = all.partition_point(|symbol| symbol.address <= address);
        let at = all.get(behind.checked_sub(1)?)?.address;
        // One of another piece of its memory says nothing of this one.
        let first = all.partition_point(|symbol| symbol.address < at);
        self.named(first, address - at).filter(|_| at >= start)
    }
}

/// The names of a kernel's addresses.
#[derive(Default)]
pub struct Names {
    /// The modules, once they are asked for.
    modules: Option<Vec<Module>>,
}

impl Names {
    /// The modules; without types there are none.
    fn modules(&mut self, kernel: &mut Kernel<'_>) -> &mut [Module] {
        self.modules.get_or_insert_with(|| {
            let mut index = Vec::new();
            let found = kernel.load_types(&mut index).and_then(|btf| loaded(kernel, &btf));
            let all = found.map(|(all, _)| all).unwrap_or_default();
            all.into_iter().map(|loaded| Module { loaded, symbols: None }).collect()
        })
    }

    /// The symbol that an address is in; `None` where there is none.
    pub fn at(&mut self, kernel: &mut Kernel<'_>, address: u64) -> Option<Named> {
        by_kernel(kernel, address).or_else(|| {
            self.modules(kernel).iter_mut().find_map(|module| module.at(kernel, address))
        })
    }

    /// All symbols of a name, the kernel's first.
    pub fn of_name(&mut self, kernel: &mut Kernel<'_>, name: &str) -> Result<Vec<Named>> {
        let mut found = Vec::new();
        let done = kernel.kallsyms.each(&mut kernel.reader, &mut |index, letter, symbol| {
            if symbol == name.as_bytes() {
                found.push((index, char::from(letter)));
            }
            false
        });
        kernel.table(done)?;
        let mut all = Vec::new();
        for (index, letter) in found {
            let address = kernel.kallsyms.address(&mut kernel.reader, index);
            let address = kernel.table(address)?;
            let at = kernel.kallsyms.at(&mut kernel.reader, address);
            let size = kernel.table(at)?.and_then(|at| at.size);
            let name = plain(name.as_bytes());
            all.push(Named { name, module: None, letter, address, offset: 0, size });
        }
        let name = plain(name.as_bytes());
        for module in self.modules(kernel) {
            let symbols = module.symbols(kernel).iter().enumerate();
            let own: Vec<usize> =
                symbols.filter(|(_, own)| own.name == name).map(|(index, _)| index).collect();
            all.extend(own.into_iter().filter_map(|index| module.named(index, 0)));
        }
        Ok(all)
    }
}

/// The symbol of the kernel itself that an address is in.
fn by_kernel(kernel: &mut Kernel<'_>, address: u64) -> Option<Named> {
    let Symbol { index, address: start, offset, size } =
        kernel.kallsyms.at(&mut kernel.reader, address).ok()??;
    // Behind the last symbol, and between per-CPU variables and the kernel, there is something else.
    if size.is_none() && offset > 0 || (address ^ start) >> 63 != 0 {
        return None;
    }
    let show = |letter, name: &[u8]| (plain(name), char::from(letter));
    let (name, letter) = kernel.kallsyms.with_name(&mut kernel.reader, index, show).ok()?;
    Some(Named { name, module: None, letter, address: start, offset, size })
}

/// Names of addresses; `None` for each where the dump has no symbols.
pub fn names(opened: &mut Opened, addresses: &[u64]) -> Vec<Option<String>> {
    let found = super::with_kernel(opened, |kernel| {
        let mut names = Names::default();
        let name = |address: &u64| names.at(kernel, *address).map(|named| named.text());
        Ok(addresses.iter().map(name).collect())
    });
    found.unwrap_or_else(|_| vec![None; addresses.len()])
}
