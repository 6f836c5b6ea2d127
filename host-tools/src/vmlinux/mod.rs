//! A kernel's uncompressed image with its symbols and types: what VMCOREINFO says, out of the file.

mod dwarf;
mod elf;
mod layout;
mod rows;
mod types;

use crate::fail::{Fail, Result};
use crate::render::text::plain;
use elf::{Elf, Symbol};
use layout::Layouts;
use rows::{From, ROWS, Wanted};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use tamis_core::kernel::symbols::{mark_of_bit, mark_of_byte};

/// What to do where a file lacks something.
const NEXT: &str = "take the vmlinux of the kernel's package with debug information";
/// Bytes of a release at most.
const RELEASE: usize = 64;

/// The text, and what is worth saying of it.
pub struct Written {
    /// The lines of VMCOREINFO.
    pub text: String,
    /// What the file does not say, or says twice.
    pub remarks: Vec<String>,
}

/// What VMCOREINFO would say of the kernel of this file, as far as it is the same each time that it runs: its
/// symbols have the addresses that it was linked for.
///
/// # Errors
///
/// What is no vmlinux, or has no symbols or no types.
pub fn vmcoreinfo(path: &Path) -> Result<Written> {
    let mut elf = Elf::open(path)?;
    let wanted = Wanted::new();
    let symbols = elf.symbols(&wanted.symbols)?;
    let mut sources = Vec::new();
    let mut remarks = Vec::new();
    // The first that knows something counts; where both do, they are held against each other.
    match dwarf::gather(&elf, &wanted) {
        Ok(Some(found)) => sources.push(("DWARF", found)),
        Ok(None) => {}
        Err(error) => {
            remarks.push(Fail::file(path, format_args!("its DWARF: {}", error.line())).line())
        }
    }
    if let (Some(start), Some(end)) = (symbols.get("__start_BTF"), symbols.get("__stop_BTF")) {
        match types::gather(&mut elf, start.address, end.address, &wanted) {
            Ok(found) => sources.push(("BTF", found)),
            Err(error) => remarks.push(Fail::file(path, format_args!("its BTF: {error}")).line()),
        }
    }
    let facts = Facts { elf, symbols, sources };
    if facts.sources.is_empty() {
        let text = match remarks.first() {
            Some(remark) => remark.clone(),
            None => Fail::file(path, "it has no types, neither DWARF nor BTF").line(),
        };
        return Err(Fail::new(text).next(NEXT));
    }
    if facts.symbols.is_empty() {
        return Err(Fail::file(
            path,
            "it has no symbols of a kernel: it is stripped, or no vmlinux",
        )
        .next(NEXT));
    }
    if facts.size("page") == Ok(None) {
        return Err(Fail::file(path, "its types have no struct page: it is no vmlinux").next(NEXT));
    }
    let text = facts.text(path, &mut remarks);
    Ok(Written { text, remarks })
}

/// What is known of a kernel.
struct Facts {
    elf: Elf,
    symbols: HashMap<&'static str, Symbol>,
    sources: Vec<(&'static str, Layouts)>,
}

/// Two sources, or two structures of one name, that differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Differ;

impl Facts {
    /// What the sources say, if they agree.
    fn ask(
        &self,
        ask: impl Fn(&Layouts) -> std::result::Result<Option<u64>, Differ>,
    ) -> std::result::Result<Option<u64>, Differ> {
        let mut found = None;
        for (_, layouts) in &self.sources {
            match (found, ask(layouts)?) {
                (Some(first), Some(second)) if first != second => return Err(Differ),
                (None, some) => found = some,
                _ => {}
            }
        }
        Ok(found)
    }

    fn size(&self, name: &str) -> std::result::Result<Option<u64>, Differ> {
        self.ask(|layouts| layouts.size(name).map_err(|_| Differ))
    }

    fn place(
        &self,
        path: &str,
        of: fn(layout::Place) -> Option<u64>,
    ) -> std::result::Result<Option<u64>, Differ> {
        let (structure, member) = path.split_once('.').unwrap_or((path, ""));
        self.ask(|layouts| {
            let place = layouts.member(structure, member).map_err(|_| Differ)?;
            Ok(place.and_then(of))
        })
    }

    fn enumerator(&self, of: &str, name: &str) -> std::result::Result<Option<u64>, Differ> {
        self.ask(|layouts| layouts.enumerator(of, name).map_err(|_| Differ))
    }

    /// The value of a row, if this kernel has it.
    fn value(&self, name: &str, from: From) -> std::result::Result<Option<u64>, Differ> {
        let symbol = |name: &str| self.symbols.get(name).map(|symbol| symbol.address);
        Ok(match from {
            From::Symbol => symbol(name),
            From::Other(other) => symbol(name).or_else(|| symbol(other)),
            From::Element(array, index, of) => {
                let (index, size) = (self.enumerator(index.0, index.1)?, self.size(of)?);
                let behind = index.zip(size).and_then(|(index, size)| index.checked_mul(size));
                symbol(array).zip(behind).map(|(at, behind)| at.wrapping_add(behind))
            }
            From::Pointers => {
                let size = self.symbols.get(name).map_or(0, |symbol| symbol.size);
                Some(size / self.elf.word()).filter(|count| *count > 0)
            }
            From::Size => self.size(name)?,
            From::Offset => self.place(name, |place| Some(place.offset))?,
            From::Count(path) => self.place(path, |place| place.count)?,
            From::Enumerator(of) => self.enumerator(of, name)?,
            From::Bit(of, bit) => {
                self.enumerator(of, bit)?.filter(|bit| *bit < 64).map(|bit| 1 << bit)
            }
            From::PageType(now, before) => match self.enumerator("pagetype", now)? {
                Some(value) => Some(mark_of_byte(value)),
                None => self.enumerator("pagetype", before)?.map(mark_of_bit),
            },
        })
    }

    /// All lines, in the order of VMCOREINFO.
    fn text(mut self, path: &Path, remarks: &mut Vec<String>) -> String {
        let mut text = String::new();
        match self.release() {
            Some(release) => drop(writeln!(text, "OSRELEASE={release}")),
            None => remarks.push(
                Fail::file(path, "it does not say of which release it is: OSRELEASE is left out")
                    .line(),
            ),
        }
        if let Some(id) = self.elf.build_id() {
            let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "BUILD-ID={hex}");
        }
        if let Some(size) = self.page_size() {
            let _ = writeln!(text, "PAGESIZE={size}");
        }
        for (word, name, from) in &ROWS {
            match self.value(name, *from) {
                Ok(Some(value)) => drop(match *word {
                    "SYMBOL" => writeln!(text, "SYMBOL({name})={value:x}"),
                    "NUMBER" => writeln!(text, "NUMBER({name})={}", value as i64),
                    word => writeln!(text, "{word}({name})={value}"),
                }),
                Ok(None) => {}
                Err(Differ) => {
                    let text = format_args!(
                        "it says different things of {word}({name}), which is left out"
                    );
                    remarks.push(Fail::file(path, text).line());
                }
            }
        }
        text
    }

    /// The release, out of the banner: `Linux version 6.1.0 (...)`.
    fn release(&mut self) -> Option<String> {
        let banner = self.symbols.get("linux_banner")?.address;
        let mut raw = [0; 16 + RELEASE];
        let len = self.elf.read_up_to(banner, &mut raw);
        let text = raw[..len].strip_prefix(b"Linux version ")?;
        let release = text.split(|byte| *byte == b' ').next()?;
        let sound = !release.is_empty()
            && release.len() <= RELEASE
            && release.iter().all(u8::is_ascii_graphic);
        sound.then(|| plain(release))
    }

    /// Bytes of a page: those of the page of zeros.
    fn page_size(&self) -> Option<u64> {
        let size = self.symbols.get("empty_zero_page")?.size;
        (size.is_power_of_two() && (1 << 12..=1 << 18).contains(&size)).then_some(size)
    }
}
