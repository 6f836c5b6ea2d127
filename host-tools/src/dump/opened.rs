//! An open dump, and the files that it is in.

use crate::dump::decode::Unpackers;
use crate::dump::file::BlockFile;
use crate::dump::input::FileInfo;
use crate::dump::machines;
use crate::fail::{Fail, Result};
use tamis_core::arch::paging::TableCache;
use tamis_core::arch::{Arch, ArchError};
use tamis_core::facts::{Chain, Facts};
use tamis_core::input::image::{Extent, Kind};
use tamis_core::input::kdump::Kdump;
use tamis_core::input::{MaybeFlattened, elf};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::symbols::{KernelFacts, SymbolsError};
use tamis_core::level::DumpLevel;
use tamis_core::memory::MemoryRange;
use tamis_core::memory::{Dump as _, Ranges as _};
use tamis_core::storage::Table;
use tamis_core::units::{PageShift, Pfn};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::elf as elf_wire;

/// A file, or the one that a flattened stream stands for.
pub type Input = MaybeFlattened<'static, BlockFile>;
/// An open dump.
pub type Dump = tamis_core::input::AnyDump<'static, Input, Unpackers>;

/// What an image is, beside the vmcore that it stands for.
#[derive(Clone, Copy)]
pub struct About {
    /// Its format.
    pub kind: Kind,
    /// The format in words.
    pub form: &'static str,
    /// Bytes of memory that its files should have and do not.
    pub missing: u64,
    /// Ranges that are kept apart.
    pub pieces: usize,
}

/// An open dump and all that belongs to it.
pub struct Opened {
    /// The memory.
    pub dump: Dump,
    /// The files, in the order they were given.
    pub files: Vec<FileInfo>,
    /// Header facts of an ELF vmcore.
    pub elf: Option<(elf::Facts, elf_wire::Header)>,
    /// What it is, if it is a memory image; the vmcore that it stands for has the headers of one.
    pub image: Option<About>,
    /// Where the memory of an image lies, if its files have gaps.
    pub pieces: Vec<Extent>,
    /// Offsets in the file of an ELF vmcore's memory ranges, in their order.
    pub offsets: Vec<u64>,
    /// Page size.
    pub shift: PageShift,
    /// Whether nothing says that page size, and the machine has others.
    pub page_size_assumed: bool,
    /// One past the last pfn.
    pub max_pfn: Pfn,
    /// The VMCOREINFO text; empty if there is none.
    pub text: Table<'static, u8>,
    /// Whether the text was found in memory, and is in no note of the input.
    pub text_found: bool,
    /// Offset in the notes and bytes of the text.
    pub text_at: Option<(u64, u64)>,
    tables: Vec<u8>,
    /// What the kernel's own tables say: looked for once, where it is asked for.
    kernel: Option<std::result::Result<KernelFacts, SymbolsError>>,
    /// Readers for other threads that are not in use now.
    twins: Vec<Dump>,
}

impl Opened {
    /// `count` more readers of the dump, for other threads; to be returned with
    /// [`Opened::put_back`], as their tables live on.
    pub fn twins(&mut self, count: usize) -> Result<Vec<Dump>> {
        let mut twins = std::mem::take(&mut self.twins);
        self.twins = twins.split_off(count.min(twins.len()));
        while twins.len() < count {
            let file = |input: &Input| input.reopen(BlockFile::reopen);
            twins.push(match &self.dump {
                Dump::Elf(elf) => Dump::Elf(elf.reopen(file(elf.file()))),
                Dump::Kdump(kdump) => {
                    let parts: Vec<_> = kdump.parts().iter().map(|p| p.reopen(file)).collect();
                    let page = self.shift.bytes();
                    let storage = || vec![0; page];
                    let reopened = kdump.reopen(parts, storage(), storage(), Unpackers::default());
                    Dump::Kdump(reopened.map_err(|e| self.fail(e))?)
                }
            });
        }
        Ok(twins)
    }

    /// Takes readers back.
    pub fn put_back(&mut self, twins: Vec<Dump>) {
        self.twins.extend(twins);
    }

    /// VMCOREINFO: what the kernel exports about itself.
    pub fn info(&self) -> Info<'_> {
        info(&self.text)
    }

    /// When the kernel died, in seconds since 1970, where that is known.
    pub fn crash_time(&self) -> Option<u64> {
        self.info().crash_time().or(self.dump.origin().crash_time)
    }

    /// Takes a text of VMCOREINFO that was found in memory.
    pub fn take_text(&mut self, text: Vec<u8>) {
        let shift = Info::new(Some(&text), None).page_shift();
        self.text = text.into();
        self.text_found = true;
        self.kernel = None;
        if let Some(shift) = shift.filter(|_| self.page_size_assumed) {
            self.assume(shift);
            self.page_size_assumed = false;
        }
    }

    /// Forgets what the kernel's own tables said.
    pub fn forget_kernel(&mut self) {
        self.kernel = None;
    }

    /// Takes another page size than the one that was assumed.
    pub fn assume(&mut self, shift: PageShift) {
        if let Dump::Elf(vmcore) = &mut self.dump {
            vmcore.set_page_shift(shift);
            self.max_pfn = Pfn(vmcore.facts().mem_end.div_ceil(shift.bytes() as u64));
            self.shift = shift;
            self.twins.clear();
        }
    }

    /// The kdump reader, if it is such a dump.
    pub fn kdump(&mut self) -> Option<&mut Kdump<'static, Input, Unpackers>> {
        match &mut self.dump {
            Dump::Kdump(k) => Some(k),
            Dump::Elf(_) => None,
        }
    }

    /// Memory ranges, and for each the bytes that the file has of it: a file that is cut off has fewer than it
    /// says.
    pub fn held(&self) -> impl Iterator<Item = (&MemoryRange, u64)> {
        let len = self.files.first().map_or(0, |f| f.len);
        let room = self.offsets.iter().map(move |at| len.saturating_sub(*at));
        let room = room.chain(std::iter::repeat(u64::MAX));
        self.dump.ranges().iter().zip(room).map(|(range, room)| (range, range.stored_len.min(room)))
    }

    /// Names of the files, for messages.
    pub fn name(&self) -> String {
        self.files.iter().map(|f| f.raw.name()).collect::<Vec<_>>().join(", ")
    }

    /// An error about it.
    pub fn fail(&self, text: impl std::fmt::Display) -> Fail {
        Fail::new(format_args!("{}: {text}", self.name()))
    }

    /// What the kernel's own symbols and types say; `None` where they cannot be used.
    pub fn kernel_facts(&mut self) -> std::result::Result<KernelFacts, SymbolsError> {
        if let Some(found) = &self.kernel {
            return found.clone();
        }
        let info = info(&self.text);
        let found = match self.text.is_empty() {
            true => Err(SymbolsError::NoImage),
            false => {
                let mut cache = TableCache::new(&mut self.tables[..]);
                KernelFacts::of(&mut self.dump, &info, &mut cache)
            }
        };
        self.kernel.insert(found).clone()
    }

    /// The dump, and all that is known of its kernel as far as it was looked for.
    pub fn with_facts<T>(&mut self, act: impl FnOnce(&mut Dump, &dyn Facts) -> T) -> T {
        let info = info(&self.text);
        let known = Chain(&info, found(&self.kernel));
        act(&mut self.dump, &known)
    }

    /// How its addresses are translated. Where VMCOREINFO does not say enough, the kernel's own tables are asked.
    pub fn arch(&mut self) -> Result<Arch> {
        if let Err(ArchError::Missing(_)) = Arch::of(&mut self.dump, &info(&self.text)) {
            // What is not found is missing; the error is that of VMCOREINFO.
            let _ = self.kernel_facts();
        }
        let info = info(&self.text);
        let known = Chain(&info, found(&self.kernel));
        let fail = match Arch::of(&mut self.dump, &known) {
            Err(ArchError::Xen) => self.fail(ArchError::Xen),
            _ if self.text.is_empty() => {
                self.fail("it has no VMCOREINFO, so that its kernel's addresses mean nothing")
            }
            Ok(arch) => return Ok(arch),
            Err(ArchError::Unknown(machine)) => match machines::name(machine).as_str() {
                "unknown" => self.fail("nothing says which machine it is of"),
                name => self.fail(format_args!("page tables of {name} are not supported")),
            },
            Err(other) => self.fail(other),
        };
        Err(fail.next("only physical addresses can be read"))
    }

    /// Does something with the kernel's virtual memory.
    pub fn with_memory<T>(
        &mut self,
        act: impl FnOnce(&mut KernelMemory<'_, '_, Dump>, &dyn Facts) -> T,
    ) -> Result<T> {
        let arch = self.arch()?;
        let info = info(&self.text);
        let known = Chain(&info, found(&self.kernel));
        let mut cache = TableCache::new(&mut self.tables[..]);
        let mut memory = KernelMemory::new(&mut self.dump, arch, &mut cache);
        Ok(act(&mut memory, &known))
    }

    /// Whether the notes end in something that is not a note, as far as headers show.
    pub fn notes_damaged(&self) -> bool {
        match &self.dump {
            Dump::Elf(_) => self.elf.is_some_and(|(facts, _)| facts.notes_damaged),
            Dump::Kdump(kdump) => kdump.facts().notes_damaged,
        }
    }

    /// Calls `each` with the bytes of the notes from `at` on, piece by piece.
    pub fn copy_notes(
        &mut self,
        at: u64,
        len: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = vec![0; len.min(1 << 20) as usize];
        let mut done = 0;
        while done < len {
            let step = (len - done).min(bytes.len() as u64);
            let part = &mut bytes[..step as usize];
            self.dump
                .read_notes(at + done, part)
                .map_err(|e| self.fail(format_args!("reading the notes: {e}")))?;
            each(done, part)?;
            done += step;
        }
        Ok(())
    }
}

/// Bytes of decoded pages that are kept.
pub const PAGES_KEPT: usize = 1 << 20;

/// Refuses a set that lacks files: its pages would count as lost.
pub fn whole(opened: &mut Opened) -> Result<()> {
    let Some(span) = opened.kdump().and_then(|k| k.missing_part()) else { return Ok(()) };
    Err(opened
        .fail(format_args!("no file for pfns {} to {:#x}", span.start, span.end.0 - 1))
        .next("name all files of the dump"))
}

/// Whether the input says, or shows, that pages are missing.
pub fn is_incomplete(opened: &Opened) -> bool {
    let marked = match &opened.dump {
        Dump::Kdump(kdump) => kdump.incomplete(),
        Dump::Elf(_) => opened
            .elf
            .as_ref()
            .is_some_and(|(_, h)| h.flags.contains(tamis_core::wire::elf::Flags::INCOMPLETE)),
    };
    let cut = opened.image.is_some_and(|image| image.missing > 0);
    marked || cut || opened.files.iter().any(|f| f.stream.is_some_and(|(_, ends)| !ends))
}

/// The level of a dump; vmcores and the oldest dumps have none left out.
pub fn level_of(opened: &Opened) -> DumpLevel {
    let level = match &opened.dump {
        Dump::Kdump(kdump) => kdump.facts().sub.dump_level,
        Dump::Elf(_) => 0,
    };
    u8::try_from(level).ok().and_then(DumpLevel::from_bits).unwrap_or_default()
}

/// A dump whose tables are loaded, and its VMCOREINFO.
pub fn finish(
    files: Vec<FileInfo>,
    dump: Dump,
    elf: Option<(elf::Facts, elf_wire::Header)>,
    shift: PageShift,
    max_pfn: Pfn,
    text: Vec<u8>,
    text_at: Option<(u64, u64)>,
) -> Opened {
    let text_at = text_at.filter(|_| !text.is_empty());
    let (tables, twins) = (vec![0; TableCache::STORAGE], Vec::new());
    let mut offsets = Vec::new();
    if let Dump::Elf(vmcore) = &dump {
        offsets.resize(vmcore.ranges().len(), 0);
        vmcore.file_offsets().for_each(|(index, at)| offsets[index] = at);
    }
    let (text, page_size_assumed) = (text.into(), false);
    Opened {
        dump,
        files,
        elf,
        image: None,
        pieces: Vec::new(),
        offsets,
        shift,
        page_size_assumed,
        max_pfn,
        text,
        text_found: false,
        text_at,
        tables,
        kernel: None,
        twins,
    }
}

/// The kdump reader over files.
pub type KdumpFile = Kdump<'static, Input, Unpackers>;

/// What the kernel's own tables say, if they were looked for, and found.
fn found(kernel: &Option<std::result::Result<KernelFacts, SymbolsError>>) -> Option<&dyn Facts> {
    kernel.as_ref()?.as_ref().ok().map(|facts| facts as &dyn Facts)
}

fn info(text: &[u8]) -> Info<'_> {
    Info::new((!text.is_empty()).then_some(text), None)
}
