//! The front door: from an open file to a dump, in four steps of which each takes what the one before found out.
//!
//! 1. [`Headers::read`] looks at an ELF vmcore. Nothing is stored.
//! 2. [`Plan::new`] gives every byte that the capture takes an owner, for these [`Options`].
//! 3. [`Storage`] is that memory: carved out of one piece ([`Plan::carve`]), or allocated
//!    ([`Plan::allocate`], feature `alloc`).
//! 4. [`Session::load`] finds out about the kernel, [`Session::write`] writes the dump, as often as it takes.
//!
//! No fact is handed over twice: the level that drops pages is the one that the header names, and the codec that
//! the header names is the encoder's own. What would write a dump at a level of its own choice is out of reach:
//!
//! ```compile_fail
//! use tamis_core::capture::{About, Capture};
//! ```

use super::classify::Scanner;
#[cfg(feature = "write")]
use super::crew::Crew;
#[cfg(feature = "write")]
use super::pages::{PageFilter, SYNC_EVERY};
#[cfg(feature = "write")]
use super::pass::{About, Buffers, Capture};
use super::plan::{DEFAULT_LIMIT, Needs, OverBudget, Plan};
#[cfg(all(feature = "rules", feature = "write"))]
use super::rules::View;
#[cfg(all(feature = "xen", feature = "write"))]
use super::xen::Unwanted;
use super::{CaptureError, Notice, Observer, Phase};
#[cfg(feature = "write")]
use super::{Report, elf as elf_form, kdump};
use crate::arch::paging::TableCache;
use crate::arch::{Arch, ArchError};
#[cfg(feature = "write")]
use crate::checksum::Crc32;
use crate::checksum::Fold;
#[cfg(feature = "write")]
use crate::endian::Word;
#[cfg(feature = "symbols")]
use crate::facts::Chain;
#[cfg(feature = "symbols")]
use crate::facts::FactSource;
use crate::facts::{Facts, MissingKey};
use crate::input::elf::{self, ElfVmcore, OpenError, Place};
use crate::io::RandomAccess;
#[cfg(feature = "write")]
use crate::io::Sink;
#[cfg(all(feature = "rules", feature = "write"))]
use crate::kernel::mem_map::State;
use crate::kernel::mem_map::{MemMap, MemMapError, RootCache};
use crate::kernel::memory::KernelMemory;
#[cfg(feature = "symbols")]
use crate::kernel::own_copy;
use crate::kernel::page::{Classifier, Unclassified};
#[cfg(all(feature = "rules", feature = "write"))]
use crate::kernel::rules::{self, Given, PageArray, PageRules, Unresolved};
#[cfg(feature = "symbols")]
use crate::kernel::symbols::{Disagreement, KernelFacts, SymbolsError};
#[cfg(all(feature = "rules", feature = "write"))]
use crate::kernel::symbols::{Image, Reader};
use crate::kernel::utsname::Utsname;
#[cfg(feature = "xen")]
use crate::kernel::xen::{self, Frames, Host, XenError};
use crate::level::DumpLevel;
use crate::memory::{Dump, MemoryRange};
use crate::storage::{ManagedSlice, Table, finish};
use crate::units::{PageShift, Pfn};
#[cfg(feature = "write")]
use crate::units::{PfnSpan, PhysAddr};
use crate::vmcoreinfo::{Info, is_page_struct};
use crate::wire::disk_header::UTS;
#[cfg(feature = "write")]
use crate::wire::machine::EM_ARM;
use crate::wire::vmcoreinfo::{Kind, VmcoreInfo};
use core::fmt;
#[cfg(feature = "write")]
use page_codec::Encode;
use page_codec::{Codec, Effort};

/// VMCOREINFO is about one page; anything longer than this, in bytes, is not used.
pub const VMCOREINFO_MAX: u64 = 1 << 20;

/// Bytes that a program takes whatever it does, its stack and its static data, where nothing else is said.
pub const PROGRAM: u64 = 128 << 10;

/// What a look at an ELF vmcore finds, without storage.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    elf: elf::Facts,
    page_shift: Option<PageShift>,
    page_struct: Option<u64>,
    /// File offset and bytes of the VMCOREINFO text; (0, 0) without one.
    text: (u64, u64),
}

impl Headers {
    /// Reads the ELF header, the program headers, the notes, and of VMCOREINFO the sizes of pages and of
    /// `struct page`.
    pub fn read(file: &mut impl RandomAccess) -> Result<Headers, OpenError> {
        let elf = elf::probe(file)?;
        let at = elf.vmcoreinfo.filter(|(_, len)| *len <= VMCOREINFO_MAX);
        let text = at.map_or((0, 0), |(at, len)| (elf.notes.offset(at), len));
        let mut headers = Headers { elf, page_shift: None, page_struct: None, text };
        headers.look_at_text(file);
        Ok(headers)
    }

    /// Looks through VMCOREINFO piece by piece. A text that cannot be read says nothing.
    fn look_at_text(&mut self, file: &mut impl RandomAccess) {
        let mut buffer = [0; 2048];
        let (mut at, mut left) = self.text;
        // Bytes of a line that began in the piece before.
        let mut begun = 0;
        let (mut page, mut page_struct) = (None, None);
        while left > 0 {
            let len = (buffer.len() - begun).min(usize::try_from(left).unwrap_or(usize::MAX));
            let Some(piece) = buffer.get_mut(begun..begun + len) else { break };
            if file.read_at(at, piece).is_err() {
                return;
            }
            (at, left) = (at.saturating_add(len as u64), left - len as u64);
            let end = begun + len;
            let Some(held) = buffer.get(..end) else { break };
            let is_end = |b: &u8| *b == b'\n' || *b == 0;
            // A line that is longer than the buffer is not one of those looked for.
            let whole = match held.iter().rposition(is_end) {
                Some(last) if left > 0 => last + 1,
                _ => end,
            };
            let text = VmcoreInfo::new(held.get(..whole).unwrap_or(held));
            page = page.or_else(|| text.value("PAGESIZE").map(|_| text.decimal("PAGESIZE")));
            page_struct = page_struct.or_else(|| text.get(Kind::Size, "page"));
            buffer.copy_within(whole..end, 0);
            begun = end - whole;
        }
        self.page_shift = page.flatten().and_then(PageShift::of_size);
        self.page_struct = page_struct.filter(is_page_struct);
    }

    /// Takes what the text of a file beside the vmcore knows and the vmcore's own does not.
    #[must_use]
    pub fn with_file(self, text: &[u8]) -> Headers {
        let info = Info::new(None, Some(text));
        Headers {
            page_shift: self.page_shift.or_else(|| info.page_shift()),
            page_struct: self.page_struct.or_else(|| info.page_struct()),
            ..self
        }
    }

    /// What the ELF headers say.
    #[must_use]
    pub fn elf(&self) -> &elf::Facts {
        &self.elf
    }

    /// The page size, where VMCOREINFO says it.
    #[must_use]
    pub fn page_shift(&self) -> Option<PageShift> {
        self.page_shift
    }

    /// Bytes of VMCOREINFO that are used: 0 if there is none, or too much of it.
    #[must_use]
    pub fn vmcoreinfo_len(&self) -> u64 {
        self.text.1
    }
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which pages are left out; default all that can be.
    pub level: DumpLevel,
    /// How pages are compressed; default `None`, for pages that are stored as they are. The plan has room for an
    /// encoder of this codec; which one a dump has is what the encoder says.
    pub codec: Option<Codec>,
    /// How much time the encoder may take.
    pub effort: Effort,
    /// Whether the kernel's `struct page`s are not looked for: no page is left out by its class, as where only the
    /// log is wanted; default no.
    pub skip_classes: bool,
    /// Whether the memory of a Xen host's guests is left out, and what belongs to nobody there; default no.
    #[cfg(feature = "xen")]
    pub exclude_guests: bool,
    /// Bytes of memory that the capture may take; default 4 MiB.
    pub limit: u64,
    /// Bytes of the bitmap buffer; default as many as are of use and fit.
    pub bitmap: Option<u64>,
    /// Whether the bits of all pages must be in memory at once; default no.
    pub whole_bitmap: bool,
    /// Threads that compress; default 1. From two on, the one that captures is not among them.
    pub threads: u64,
    /// Bytes of stack for each of them.
    pub thread_stack: u64,
    /// Bytes that the program has whatever it does; default [`PROGRAM`].
    pub program: u64,
    /// Bytes of a VMCOREINFO text given beside the vmcore; default 0.
    pub info_file: u64,
    /// Bytes that rules take, beside a bit of each page of a window: their text, and room for what they reach; default
    /// 0: there are no rules.
    pub rules: u64,
    /// Page size where VMCOREINFO says none; default 4 KiB.
    pub page_shift: PageShift,
    /// Whether each page of a kdump-compressed dump has a checksum; default yes.
    pub page_checksums: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            level: DumpLevel::all(),
            skip_classes: false,
            #[cfg(feature = "xen")]
            exclude_guests: false,
            codec: None,
            effort: Effort::Normal,
            limit: DEFAULT_LIMIT,
            bitmap: None,
            whole_bitmap: false,
            threads: 1,
            thread_stack: 0,
            program: PROGRAM,
            info_file: 0,
            rules: 0,
            page_shift: PageShift::FOUR_KIB,
            page_checksums: true,
        }
    }
}

/// Where the pieces of a plan come from.
pub trait Carve<'m> {
    /// As many bytes, all zero.
    fn bytes(&mut self, len: usize) -> ManagedSlice<'m, u8>;
    /// As many memory ranges.
    fn ranges(&mut self, len: usize) -> ManagedSlice<'m, MemoryRange>;
    /// As many places.
    fn places(&mut self, len: usize) -> ManagedSlice<'m, Place>;
}

impl Needs {
    /// What a run with these options needs, but for what its input does.
    #[must_use]
    pub fn of(options: &Options, page: PageShift) -> Needs {
        let (codec, page) = (options.codec, page.bytes());
        #[cfg(feature = "write")]
        let state = codec.map_or(0, |codec| codec.encoder_state(options.effort));
        #[cfg(not(feature = "write"))]
        let state = 0usize;
        // As much as the largest wants, so that the pieces in which a file is written do not depend on the codec.
        let bound = codec.unwrap_or(Codec::Zlib).bound(page);
        Needs {
            page_size: page as u64,
            page_struct: 0,
            max_pfn: 0,
            segments: 0,
            vmcoreinfo: 0,
            info_file: options.info_file,
            rules: options.rules,
            codec: state as u64,
            codec_bound: bound as u64,
            program: options.program,
            bitmap: options.bitmap,
            whole: options.whole_bitmap,
            threads: options.threads,
            thread_stack: options.thread_stack,
        }
    }
}

impl Plan {
    /// The best plan for a vmcore within `options.limit` bytes; see [`Plan::fit`].
    pub fn new(headers: &Headers, options: &Options) -> Result<Plan, OverBudget> {
        let page = headers.page_shift.unwrap_or(options.page_shift);
        let needs = Needs {
            page_struct: headers.page_struct.unwrap_or(0),
            max_pfn: headers.elf.mem_end.div_ceil(page.bytes() as u64),
            segments: headers.elf.segments as u64,
            vmcoreinfo: headers.text.1,
            ..Needs::of(options, page)
        };
        // Room for the kernel's own copy, if there is some.
        #[cfg(feature = "symbols")]
        if needs.vmcoreinfo == 0
            && needs.info_file == 0
            && let Ok(plan) =
                Plan::fit(options.limit, &Needs { vmcoreinfo: own_copy::ROOM, ..needs })
        {
            return Ok(plan);
        }
        Plan::fit(options.limit, &needs)
    }

    /// Takes the memory of the one thread that captures; not that of the program, of codecs and of a
    /// VMCOREINFO file, which the program has for itself.
    pub fn carve<'m>(&self, headers: &Headers, from: &mut impl Carve<'m>) -> Storage<'m> {
        let mut bytes = |len: u64| from.bytes(usize::try_from(len).unwrap_or(usize::MAX));
        Storage {
            // First, where it is aligned for anything: page data, in whole blocks.
            data: bytes(self.data),
            bitmap: bytes(self.bitmap),
            mem_map: bytes(self.mem_map),
            tables: bytes(self.tables),
            sections: bytes(self.sections),
            run: bytes(self.run),
            descriptors: bytes(self.descriptors),
            vmcoreinfo: bytes(self.vmcoreinfo),
            ranges: from.ranges(headers.elf.segments),
            places: from.places(headers.elf.segments),
        }
    }

    /// As [`Plan::carve`], from the allocator.
    #[cfg(feature = "alloc")]
    pub fn allocate(&self, headers: &Headers) -> Storage<'static> {
        struct Allocator;
        impl Carve<'static> for Allocator {
            fn bytes(&mut self, len: usize) -> ManagedSlice<'static, u8> {
                alloc::vec![0; len].into()
            }
            fn ranges(&mut self, len: usize) -> ManagedSlice<'static, MemoryRange> {
                alloc::vec![MemoryRange::default(); len].into()
            }
            fn places(&mut self, len: usize) -> ManagedSlice<'static, Place> {
                alloc::vec![Place::default(); len].into()
            }
        }
        self.carve(headers, &mut Allocator)
    }
}

/// The memory of a capture, each piece as large as the [`Plan`]'s row of that name says.
pub struct Storage<'m> {
    /// Bits of a window.
    pub bitmap: ManagedSlice<'m, u8>,
    /// `struct page`s at a time: 16 at least.
    pub mem_map: ManagedSlice<'m, u8>,
    /// Page tables: [`TableCache::STORAGE`].
    pub tables: ManagedSlice<'m, u8>,
    /// A block of memory sections: a page.
    pub sections: ManagedSlice<'m, u8>,
    /// Pages read at a time; a page at least.
    pub run: ManagedSlice<'m, u8>,
    /// Page data before it is written; the encoder's bound at least.
    pub data: ManagedSlice<'m, u8>,
    /// Page descriptors before they are written.
    pub descriptors: ManagedSlice<'m, u8>,
    /// The VMCOREINFO text.
    pub vmcoreinfo: ManagedSlice<'m, u8>,
    /// Memory ranges of the input.
    pub ranges: ManagedSlice<'m, MemoryRange>,
    /// Their order.
    pub places: ManagedSlice<'m, Place>,
}

/// Why nothing but pages of zeros can be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KernelError {
    /// There is no VMCOREINFO.
    NoInfo,
    /// Classes were not asked for: see [`Options::skip_classes`].
    NotClassified,
    /// Virtual addresses cannot be translated.
    Arch(ArchError),
    /// There is no array of `struct page`s to be found.
    MemMap(MemMapError),
    /// Without this key no page can be classified.
    Key(MissingKey),
    /// What is known of `struct page` contradicts itself.
    #[cfg(feature = "symbols")]
    Disagreement(Disagreement),
    /// Nothing is known of a Xen hypervisor's frames.
    #[cfg(feature = "xen")]
    Frames(XenError),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::NoInfo => f.write_str("there is no VMCOREINFO"),
            KernelError::NotClassified => f.write_str("classes were not asked for"),
            KernelError::Arch(error) => error.fmt(f),
            KernelError::MemMap(error) => error.fmt(f),
            KernelError::Key(key) => key.fmt(f),
            #[cfg(feature = "symbols")]
            KernelError::Disagreement(both) => both.fmt(f),
            #[cfg(feature = "xen")]
            KernelError::Frames(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for KernelError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            KernelError::NoInfo | KernelError::NotClassified => None,
            KernelError::Arch(error) => Some(error),
            KernelError::MemMap(error) => Some(error),
            KernelError::Key(key) => Some(key),
            #[cfg(feature = "symbols")]
            KernelError::Disagreement(both) => Some(both),
            #[cfg(feature = "xen")]
            KernelError::Frames(why) => Some(why),
        }
    }
}

/// Why there is no session, no plan, or no whole dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be used as a vmcore.
    Open(OpenError),
    /// The memory limit is too small.
    Budget(OverBudget),
    /// The dump ended early, or was not begun.
    Capture(CaptureError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Open(error) => error.fmt(f),
            Error::Budget(error) => error.fmt(f),
            Error::Capture(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Error::Open(error) => Some(error),
            Error::Budget(error) => Some(error),
            Error::Capture(error) => Some(error),
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Error {
        Error::Open(error)
    }
}

impl From<OverBudget> for Error {
    fn from(error: OverBudget) -> Error {
        Error::Budget(error)
    }
}

impl From<CaptureError> for Error {
    fn from(error: CaptureError) -> Error {
        Error::Capture(error)
    }
}

/// Where a dump goes, and in which form.
#[cfg(feature = "write")]
pub enum Output<'a, 's> {
    /// A kdump-compressed file or stream.
    Kdump(&'a mut dyn Sink),
    /// Kdump-compressed parts.
    Split {
        /// Where each goes; they must be ones that can be read back.
        sinks: &'a mut [&'s mut dyn Sink],
        /// Room for the pages of each: as many as there are sinks. What it holds does not matter.
        ranges: &'a mut [PfnSpan],
        /// Pages of a block: each part has whole blocks.
        block: u64,
    },
    /// An ELF file or stream.
    Elf(&'a mut dyn Sink),
}

/// No observer.
impl Observer for () {
    fn progress(&mut self, _: Phase, _: u64, _: u64) {}
    fn notice(&mut self, _: Notice) {}
}

/// A dead kernel's memory, what is known of the kernel, and the memory that it takes to save it.
pub struct Session<'m, D> {
    dump: D,
    text: Table<'m, u8>,
    file_text: Option<&'m [u8]>,
    tables: Tables,
    storage: Storage<'m>,
    shift: PageShift,
    arch: Result<Arch, ArchError>,
    mem_map: Result<MemMap, KernelError>,
    classifier: Result<Classifier, KernelError>,
    utsname: Utsname,
    /// One past the last pfn that the input may have.
    end: Pfn,
    #[cfg(feature = "xen")]
    host: Result<Host, XenError>,
    #[cfg(all(feature = "xen", feature = "write"))]
    exclude_guests: bool,
    max_pfn: Pfn,
    skip_classes: bool,
    level: DumpLevel,
    input_level: DumpLevel,
    #[cfg(feature = "write")]
    sync_every: u64,
    page_checksums: bool,
    crc_fold: Option<Fold>,
    #[cfg(feature = "write")]
    time: Option<Word>,
    #[cfg(feature = "write")]
    filter: Option<&'m dyn PageFilter>,
    #[cfg(all(feature = "rules", feature = "write"))]
    rules: Option<PageRules<'m>>,
    #[cfg(feature = "write")]
    zeros: &'m [PfnSpan],
    #[cfg(feature = "write")]
    report: Report,
}

impl<'m, F: RandomAccess> Session<'m, ElfVmcore<'m, F>> {
    /// Opens a vmcore of which `headers` are known. `file_text` is VMCOREINFO beside it. With the feature `symbols`, and
    /// neither, the kernel's own copy is looked for in its memory, unless it is a Xen host's; see [`own_copy`].
    pub fn load(
        mut file: F,
        headers: Headers,
        mut storage: Storage<'m>,
        file_text: Option<&'m [u8]>,
        options: &Options,
    ) -> Result<Session<'m, ElfVmcore<'m, F>>, OpenError> {
        let none = || ManagedSlice::Borrowed(&mut [][..]);
        let (at, len) = headers.text;
        let mut text = core::mem::replace(&mut storage.vmcoreinfo, none());
        let mut used = usize::try_from(len).unwrap_or(usize::MAX).min(text.len());
        // A text that cannot be read is one that is missing.
        if file.read_at(at, text.get_mut(..used).ok_or(OpenError::Storage)?).is_err() {
            used = 0;
        }
        let ranges = core::mem::replace(&mut storage.ranges, ManagedSlice::Borrowed(&mut []));
        let places = core::mem::replace(&mut storage.places, ManagedSlice::Borrowed(&mut []));
        let shift = headers.page_shift.unwrap_or(options.page_shift);
        #[cfg_attr(not(feature = "symbols"), expect(unused_mut, reason = "it is not searched"))]
        let mut vmcore = ElfVmcore::load(file, headers.elf, shift, ranges, places)?;
        #[cfg(feature = "symbols")]
        // A Xen host has such texts of guests, too; which of them is domain 0's takes all of the host's tables to say.
        if used == 0 && file_text.is_none() && !headers.elf.xen.is_xen() {
            let mut tables = TableCache::new(&mut storage.tables[..]);
            let (text, buffer) = (&mut text[..], &mut storage.run[..]);
            let found = own_copy::find(&mut vmcore, shift, &mut tables, text, buffer);
            used = found.map_or(0, |(len, _)| len);
        }
        let end = Pfn(headers.elf.mem_end.div_ceil(shift.bytes() as u64));
        let text = finish(text, used);
        Ok(Session::over(vmcore, text, file_text, shift, end, storage, options))
    }
}

/// What the kernel's own tables say, where they were looked at.
#[cfg(feature = "symbols")]
type Tables = Option<KernelFacts>;
/// Nothing: this program does not look at the kernel's own tables.
#[cfg(not(feature = "symbols"))]
#[derive(Clone, Copy, Default)]
struct Tables;

/// All that is known of the kernel: VMCOREINFO first.
#[cfg(feature = "symbols")]
fn known<'t>(info: &'t Info<'t>, tables: &'t Tables) -> Chain<'t> {
    Chain(info, tables.as_ref().map(|tables| tables as &dyn Facts))
}

/// All that is known of the kernel.
#[cfg(not(feature = "symbols"))]
fn known<'t>(info: &Info<'t>, _: &Tables) -> Info<'t> {
    *info
}

/// Why what is known of `struct page` is not to be believed.
#[cfg(feature = "symbols")]
fn doubt(info: &Info<'_>, tables: &Tables) -> Option<KernelError> {
    tables.as_ref()?.disagreement(info).map(KernelError::Disagreement)
}

/// The two texts of VMCOREINFO.
fn info<'t>(text: &'t [u8], file_text: Option<&'t [u8]>) -> Info<'t> {
    Info::new(Some(text).filter(|text| !text.is_empty()), file_text)
}

impl<'m, D: Dump> Session<'m, D> {
    /// Over a dump that is open already. `text` is its VMCOREINFO, which may be empty, `shift` its page size, and
    /// `end` is one past its last pfn. Of `storage`, the pieces for the headers of a vmcore are not used; of
    /// `options`, only the level, whether pages are classified at all, and whether they get checksums.
    pub fn over(
        dump: D,
        text: Table<'m, u8>,
        file_text: Option<&'m [u8]>,
        shift: PageShift,
        end: Pfn,
        storage: Storage<'m>,
        options: &Options,
    ) -> Session<'m, D> {
        let about = (shift, end);
        Session::knowing(dump, text, file_text, about, storage, options, Default::default())
    }

    /// As [`Session::over`], and asks what the kernel's own tables say for what VMCOREINFO lacks.
    #[cfg(feature = "symbols")]
    pub fn over_with_tables(
        dump: D,
        text: Table<'m, u8>,
        (shift, end): (PageShift, Pfn),
        storage: Storage<'m>,
        options: &Options,
        kernel: Option<KernelFacts>,
    ) -> Session<'m, D> {
        Session::knowing(dump, text, None, (shift, end), storage, options, kernel)
    }

    fn knowing(
        dump: D,
        text: Table<'m, u8>,
        file_text: Option<&'m [u8]>,
        (shift, end): (PageShift, Pfn),
        storage: Storage<'m>,
        options: &Options,
        tables: Tables,
    ) -> Session<'m, D> {
        let arch = Err(ArchError::Unknown(dump.machine()));
        let mut session = Session {
            dump,
            text,
            file_text,
            tables,
            storage,
            shift,
            arch,
            mem_map: Err(KernelError::NoInfo),
            classifier: Err(KernelError::NoInfo),
            utsname: Utsname { raw: [0; UTS], read: false },
            #[cfg(feature = "xen")]
            host: Err(XenError::NotXen),
            #[cfg(all(feature = "xen", feature = "write"))]
            exclude_guests: options.exclude_guests,
            end,
            max_pfn: end,
            skip_classes: options.skip_classes,
            level: options.level,
            input_level: DumpLevel::empty(),
            #[cfg(feature = "write")]
            sync_every: SYNC_EVERY,
            page_checksums: options.page_checksums,
            crc_fold: None,
            #[cfg(feature = "write")]
            time: None,
            #[cfg(feature = "write")]
            filter: None,
            #[cfg(feature = "write")]
            zeros: &[],
            #[cfg(all(feature = "rules", feature = "write"))]
            rules: None,
            #[cfg(feature = "write")]
            report: Report::default(),
        };
        session.find_kernel();
        #[cfg(feature = "xen")]
        if !options.skip_classes || options.exclude_guests {
            session.find_host(None);
            session.set_level(options.level);
        }
        session
    }

    /// Finds out about the kernel what the facts let it find out.
    fn find_kernel(&mut self) {
        let info = info(&self.text, self.file_text);
        let facts = known(&info, &self.tables);
        let (dump, storage, shift) = (&mut self.dump, &mut self.storage, self.shift);
        let machine = dump.machine();
        // Pages are frames of the machine: the kernel's array has other numbers for them.
        let is_xen = dump.origin().xen.is_xen();
        let arch = Arch::of(dump, &facts);
        let named = dump.origin().utsname;
        let mut tables = TableCache::new(&mut storage.tables[..]);
        let mut memory = arch.as_ref().ok().map(|arch| KernelMemory::new(dump, *arch, &mut tables));
        // What the dump says, or else what the kernel's memory does.
        let header = named.map(|raw| Utsname::of_header(&raw));
        let utsname = match header {
            Some(complete) if complete.is_complete() => complete,
            header => {
                let mut read = Utsname::read(memory.as_mut(), &facts, machine);
                if let Some(mut header) = header {
                    header.fill_from(&read);
                    read = header;
                }
                read
            }
        };
        let mem_map = match (&arch, &mut memory) {
            _ if is_xen => Err(KernelError::Arch(ArchError::Xen)),
            _ if info.is_empty() => Err(KernelError::NoInfo),
            _ if self.skip_classes => Err(KernelError::NotClassified),
            (Err(error), _) => Err(KernelError::Arch(*error)),
            (Ok(_), None) => Err(KernelError::NoInfo),
            (Ok(_), Some(memory)) => {
                let mut roots = RootCache::new(&mut storage.sections[..]);
                let facts: &dyn Facts = &facts;
                let size = facts.get(Kind::Size, "page").filter(is_page_struct).unwrap_or(0);
                MemMap::find(facts, memory, &mut roots, shift, size, self.end)
                    .map_err(KernelError::MemMap)
            }
        };
        #[cfg(feature = "symbols")]
        let mem_map = match doubt(&info, &self.tables) {
            Some(doubt) if mem_map.is_ok() => Err(doubt),
            _ => mem_map,
        };
        // What the kernel does not know of exists as far as it is stored: ranges may claim anything.
        let mut stored = 0;
        for range in dump.ranges().iter().filter(|range| range.stored_len > 0) {
            stored = range.phys.0.saturating_add(range.stored_len).max(stored);
        }
        let stored = Pfn(stored.div_ceil(shift.bytes() as u64));
        self.max_pfn = mem_map.as_ref().map_or(self.end, |map| self.end.min(stored.max(map.end())));
        (self.arch, self.mem_map, self.utsname) = (arch, mem_map, utsname);
        self.set_level(self.level);
    }

    /// Whether a fact is missing by which pages of this level are recognised, so that the kernel's own tables are
    /// worth a look.
    #[cfg(feature = "symbols")]
    pub fn lacks_facts(&self) -> bool {
        match &self.classifier {
            Ok(classifier) => classifier.lacks_facts(),
            Err(KernelError::Arch(ArchError::Missing(_))) => true,
            Err(KernelError::MemMap(_) | KernelError::Key(_)) => true,
            Err(_) => false,
        }
    }

    /// Looks at the kernel's own tables for what VMCOREINFO lacks, and finds out about the kernel once more. Takes
    /// 32 KiB of stack. The error is that there are no symbols, or, with the facts of symbols alone, no types.
    #[cfg(feature = "symbols")]
    pub fn ask_tables(&mut self) -> Result<(), SymbolsError> {
        let info = info(&self.text, self.file_text);
        let mut tables = TableCache::new(&mut self.storage.tables[..]);
        let found = KernelFacts::of(&mut self.dump, &info, &mut tables)?;
        let types = found.types();
        self.tables = Some(found);
        self.find_kernel();
        types
    }

    /// Calls `each` with the facts that the kernel's own tables gave so far, as VMCOREINFO lacks them.
    #[cfg(feature = "symbols")]
    pub fn facts_of_tables(&self, each: &mut dyn FnMut(Kind, &'static str, FactSource)) {
        if let Some(tables) = &self.tables {
            tables.given(each);
        }
    }

    /// Finds out about a Xen hypervisor. `text` is VMCOREINFO_XEN beside the dump, for what its notes lack.
    #[cfg(feature = "xen")]
    pub fn find_host(&mut self, text: Option<&[u8]>) {
        let mut tables = TableCache::new(&mut self.storage.tables[..]);
        let buffer = &mut self.storage.run[..];
        self.host = xen::find(&mut self.dump, &mut tables, buffer, self.max_pfn, text);
    }

    /// The Xen hypervisor whose memory it is, or why nothing is known of its frames.
    #[cfg(feature = "xen")]
    pub fn host(&self) -> Result<&Host, XenError> {
        self.host.as_ref().map_err(|why| *why)
    }

    /// What looks at a Xen hypervisor's table of frames, with the memory that it takes.
    #[cfg(feature = "xen")]
    pub fn into_frames(self) -> Result<Frames<'m>, XenError> {
        let tables = TableCache::new(self.storage.tables);
        Ok(Frames::new(self.host?, tables, self.storage.mem_map, self.max_pfn))
    }

    /// Which pages are left out from now on.
    pub fn set_level(&mut self, level: DumpLevel) {
        let info = info(&self.text, self.file_text);
        let facts = known(&info, &self.tables);
        self.level = level;
        self.classifier = match (self.mem_map, self.arch) {
            (Err(error), _) => Err(error),
            (Ok(_), Err(error)) => Err(KernelError::Arch(error)),
            (Ok(_), Ok(arch)) => {
                let (machine, bits) = (self.dump.machine(), self.shift.bits());
                Classifier::new(&facts, &arch, machine, bits, level).map_err(KernelError::Key)
            }
        };
        #[cfg(feature = "free-lists")]
        if let (Ok(classifier), Ok(arch)) = (&mut self.classifier, self.arch)
            && let Some(lists) = classifier.free_lists()
        {
            let mut tables = TableCache::new(&mut self.storage.tables[..]);
            let mut memory = KernelMemory::new(&mut self.dump, arch, &mut tables);
            classifier.set_lists_known(lists.are_known(&mut memory));
        }
    }

    /// Says what the input lacks already: the level of the dump that it is.
    pub fn set_input_level(&mut self, level: DumpLevel) {
        self.input_level = level;
    }

    /// Which pages are left out of what is written: those of the level that can be recognised, and those that the
    /// input does not have. It is the level that the header names.
    pub fn level_in_effect(&self) -> DumpLevel {
        let level = match &self.classifier {
            Ok(classifier) => classifier.level_in_effect(),
            #[cfg(feature = "xen")]
            Err(_) if self.host.as_ref().is_ok_and(|host| host.layout.is_some()) => {
                self.level & (DumpLevel::ZERO | DumpLevel::FREE)
            }
            Err(_) => self.level & DumpLevel::ZERO,
        };
        level | self.input_level
    }

    /// Looks at the pfns up to `end`, where else those past the last section and the last stored page would not be.
    pub fn set_end(&mut self, end: Pfn) {
        self.max_pfn = end;
    }

    /// How many bits a time has in the header of a kdump-compressed dump of a 32-bit machine, whose readers know
    /// one form only: that of their own `time_t`. `None` is what systems of such machines have now.
    #[cfg(feature = "write")]
    pub fn set_header_time(&mut self, time: Option<Word>) {
        self.time = time.filter(|_| self.dump.machine().word == Word::Bits32);
    }

    /// Bytes of page data that may be written between two syncs.
    #[cfg(feature = "write")]
    pub fn set_sync_every(&mut self, bytes: u64) {
        self.sync_every = bytes;
    }

    /// Whether pages of the dumps that follow have checksums.
    pub fn set_page_checksums(&mut self, page_checksums: bool) {
        self.page_checksums = page_checksums;
    }

    /// Makes checksums with what the processor has for it; of no use with the feature `std`, which finds out itself.
    pub fn set_crc_fold(&mut self, fold: Option<Fold>) {
        self.crc_fold = fold;
    }

    /// Lets every page of the dumps that follow pass this filter. A crew must have the same one
    /// ([`super::crew::Queue::set_filter`]).
    #[cfg(feature = "write")]
    pub fn set_filter(&mut self, filter: Option<&'m dyn PageFilter>) {
        self.filter = filter;
    }

    /// Follows rules, by which pages stay or go beside their classes in the dumps that come; those of earlier calls are
    /// forgotten. `tell` hears of each rule, by its place, how many objects it reached, or why it was not followed.
    /// Takes 40 KiB of stack.
    #[cfg(all(feature = "rules", feature = "write"))]
    pub fn follow_rules<'t>(
        &mut self,
        given: &[Given<'t>],
        mut found: PageRules<'m>,
        tell: &mut dyn FnMut(usize, Result<u32, Unresolved<'t>>),
    ) {
        let info = info(&self.text, self.file_text);
        let facts = known(&info, &self.tables);
        let image = Image::find(self.dump.machine(), &facts, self.dump.ranges());
        let memory_at = self.dump.next_memory(PhysAddr(0)).map(|at| self.shift.pfn(at));
        let Ok(arch) = self.arch else {
            let none = Unresolved::Tables(SymbolsError::NoImage);
            return (0..given.len()).for_each(|index| tell(index, Err(none)));
        };
        let mut tables = TableCache::new(&mut self.storage.tables[..]);
        let mut memory = KernelMemory::new(&mut self.dump, arch, &mut tables);
        let mut pages = None;
        if let (Ok(map), Some(pfn)) = (self.mem_map, memory_at) {
            let mut roots = RootCache::new(&mut self.storage.sections[..]);
            let facts: &dyn Facts = &facts;
            let size = facts.get(Kind::Size, "page").filter(is_page_struct).unwrap_or(1);
            let mut base = |pfn: Pfn| {
                let run = map.run_at(pfn, &mut memory, &mut roots);
                let first = run.span.start.0.wrapping_mul(size);
                if let State::At(at) = run.state { Some(at.0.wrapping_sub(first)) } else { None }
            };
            // One array, if it goes on to the last page.
            let end = map.end();
            let both = (base(pfn), base(Pfn(end.0.saturating_sub(1))));
            if let (Some(base), true) = (both.0, both.0 == both.1) {
                pages = Some(PageArray { base, size, end });
            }
        }
        let (mut reader, shift) = (Reader::new(&mut memory), self.shift);
        let about = (pages, shift);
        rules::follow(&mut reader, &facts, image.as_ref(), about, given, &mut found, tell);
        self.rules = Some(found).filter(|found| !found.is_empty());
    }

    /// Says which pages of the input are zeros, as those that lie in the gaps of a file: apart from each other, in order.
    /// They are not read, and in an ELF file they are holes.
    #[cfg(feature = "write")]
    pub fn set_zeros(&mut self, zeros: &'m [PfnSpan]) {
        self.zeros = zeros;
    }

    /// The input.
    pub fn dump(&self) -> &D {
        &self.dump
    }

    /// The input, to be read.
    pub fn dump_mut(&mut self) -> &mut D {
        &mut self.dump
    }

    /// Whether the vmcore's own VMCOREINFO is missing, and the kernel's own copy of it, too.
    pub fn note_is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// What VMCOREINFO says.
    pub fn info(&self) -> Info<'_> {
        info(&self.text, self.file_text)
    }

    /// Page size.
    pub fn page_shift(&self) -> PageShift {
        self.shift
    }

    /// One past the last pfn that is looked at.
    pub fn max_pfn(&self) -> Pfn {
        self.max_pfn
    }

    /// Who the kernel was.
    pub fn utsname(&self) -> &Utsname {
        &self.utsname
    }

    /// When the kernel died, in seconds since 1970; 0 where unknown.
    pub fn crash_time(&self) -> u64 {
        self.dump.origin().crash_time.or(self.info().crash_time()).unwrap_or(0)
    }

    /// How addresses are translated.
    pub fn arch(&self) -> Result<Arch, ArchError> {
        self.arch
    }

    /// Why nothing but pages of zeros can be dropped, if so.
    pub fn why_only_zeros(&self) -> Option<KernelError> {
        self.classifier.as_ref().err().copied()
    }

    /// Classes of pages that this kernel's facts do not let us recognise at this level: such pages are kept.
    pub fn unclassified(&self) -> impl Iterator<Item = Unclassified> + '_ {
        self.classifier.iter().flat_map(Classifier::unclassified)
    }

    /// Whether `struct page`s are looked at, at this level.
    pub fn looks_at_pages(&self) -> bool {
        self.classifier.as_ref().is_ok_and(Classifier::is_needed)
    }

    /// What looks at the `struct page`s, and the dump that they are in.
    pub fn scanner(&mut self) -> Result<(Scanner<'_>, &mut D), KernelError> {
        let storage = &mut self.storage;
        let (map, arch) = (self.mem_map?, self.arch.map_err(KernelError::Arch)?);
        let tables = TableCache::new(&mut storage.tables[..]);
        let roots = RootCache::new(&mut storage.sections[..]);
        let scanner =
            Scanner::new(arch, tables, roots, map, self.classifier?, &mut storage.mem_map[..]);
        Ok((scanner, &mut self.dump))
    }

    /// What looks at the `struct page`s, with the memory that it takes.
    pub fn into_scanner(self) -> Result<Scanner<'m>, KernelError> {
        let storage = self.storage;
        let (map, arch) = (self.mem_map?, self.arch.map_err(KernelError::Arch)?);
        let tables = TableCache::new(storage.tables);
        let roots = RootCache::new(storage.sections);
        Ok(Scanner::new(arch, tables, roots, map, self.classifier?, storage.mem_map))
    }

    /// Calls `act` with the kernel's virtual memory, its facts, and a buffer of a page or more.
    pub fn with_memory<T>(
        &mut self,
        act: impl FnOnce(&mut KernelMemory<'_, '_, D>, &dyn Facts, &mut [u8]) -> T,
    ) -> Result<T, ArchError> {
        let arch = self.arch?;
        let info = info(&self.text, self.file_text);
        let facts = known(&info, &self.tables);
        let mut tables = TableCache::new(&mut self.storage.tables[..]);
        let mut memory = KernelMemory::new(&mut self.dump, arch, &mut tables);
        Ok(act(&mut memory, &facts, &mut self.storage.run))
    }

    /// Where the memory of a 32-bit ARM machine begins: makedumpfile and crash count its pages from there. `None`
    /// where a header has no room for the address.
    #[cfg(feature = "write")]
    fn arm_base(&self) -> Option<PhysAddr> {
        if !cfg!(feature = "arm") || self.dump.machine().elf_machine != EM_ARM {
            return None;
        }
        let ranges = self.dump.ranges().iter().filter(|range| range.len > 0);
        ranges.map(|range| range.phys).min().filter(|base| base.0 <= u32::MAX.into())
    }

    /// Physical base of the kernel image; 0 where unknown.
    #[cfg(feature = "write")]
    fn phys_base(&self) -> u64 {
        if let Some(base) = self.arm_base() {
            return base.0;
        }
        let known = self.info().get(Kind::Number, "phys_base").or(self.dump.origin().phys_base);
        known.or_else(|| Some(self.arch.ok()?.phys_base())).unwrap_or(0)
    }

    /// Writes the dump. `encoder` compresses pages; `None` stores them as they are, as an ELF file always does.
    #[cfg(feature = "write")]
    pub fn write(
        &mut self,
        output: Output<'_, '_>,
        encoder: Option<&mut dyn Encode>,
        observer: &mut dyn Observer,
    ) -> Result<Report, CaptureError> {
        self.write_with(output, encoder, observer, None)
    }

    /// As [`Session::write`], with a crew that helps to compress. Its encoders are of the same kind as this one.
    ///
    /// An ELF file is not compressed: the crew is not asked for it. [`Session::write_elf_with`] asks.
    #[cfg(feature = "write")]
    pub fn write_with(
        &mut self,
        output: Output<'_, '_>,
        encoder: Option<&mut dyn Encode>,
        observer: &mut dyn Observer,
        crew: Option<&dyn Crew<'_>>,
    ) -> Result<Report, CaptureError> {
        let encoder = encoder.filter(|_| !matches!(output, Output::Elf(_)));
        self.with_capture(encoder, observer, |capture, about| match output {
            Output::Kdump(sink) => {
                let ranges = &mut [PfnSpan::default()];
                kdump::write(capture, about, &mut [sink], ranges, 0, crew)
            }
            Output::Split { sinks, ranges, block } => {
                kdump::write(capture, about, sinks, ranges, block, crew)
            }
            Output::Elf(sink) => elf_form::write(capture, sink, None),
        })
    }

    /// Writes an ELF file, with a crew that helps to read pages and to tell which are zero. It has no encoders.
    #[cfg(feature = "write")]
    pub fn write_elf_with(
        &mut self,
        sink: &mut dyn Sink,
        observer: &mut dyn Observer,
        crew: Option<&dyn Crew<'_>>,
    ) -> Result<Report, CaptureError> {
        self.with_capture(None, observer, |capture, _| elf_form::write(capture, sink, crew))
    }

    #[cfg(feature = "write")]
    fn with_capture(
        &mut self,
        encoder: Option<&mut dyn Encode>,
        observer: &mut dyn Observer,
        write: impl FnOnce(&mut Capture<'_, D>, &About<'_>) -> Result<(), CaptureError>,
    ) -> Result<Report, CaptureError> {
        let origin = self.dump.origin();
        let utsname = self.utsname.raw;
        let about = About {
            level: self.level_in_effect(),
            utsname: &utsname,
            crash_time: self.crash_time(),
            time: self.time,
            phys_base: self.phys_base(),
            cpus: origin.cpus,
            vmcoreinfo: origin.vmcoreinfo,
        };
        let sums = self.page_checksums.then(|| Crc32::folding(self.crc_fold));
        let first_pfn = self.arm_base().map_or(Pfn(0), |base| self.shift.pfn(base));
        let storage = &mut self.storage;
        let mut capture = Capture::new(
            &mut self.dump,
            None,
            Buffers {
                bitmap: &mut storage.bitmap,
                run: &mut storage.run,
                data: &mut storage.data,
                descriptors: &mut storage.descriptors,
            },
            observer,
            encoder.map(|encoder| -> &mut dyn Encode { encoder }),
            self.shift,
            self.max_pfn,
            self.level,
            self.filter,
        );
        capture.sync_every = self.sync_every;
        capture.sums = sums.as_ref();
        let tables = TableCache::new(&mut storage.tables[..]);
        let slice = &mut storage.mem_map[..];
        match (self.mem_map, self.arch, &self.classifier) {
            #[cfg(feature = "xen")]
            _ if self.host.is_ok() => {
                let free = self.level.contains(DumpLevel::FREE);
                let unwanted = Unwanted { guests: self.exclude_guests, free };
                let frames = |host: &Host| Frames::new(*host, tables, slice, self.max_pfn);
                capture.frames = self.host.as_ref().ok().map(|host| (frames(host), unwanted));
            }
            (Ok(map), Ok(arch), Ok(classifier)) => {
                let roots = RootCache::new(&mut storage.sections[..]);
                capture.scanner = Some(Scanner::new(arch, tables, roots, map, *classifier, slice));
            }
            _ => {}
        }
        capture.first_pfn = first_pfn;
        #[cfg(feature = "rules")]
        {
            capture.rules = self.rules.as_mut().map(View::of);
        }
        capture.zeros = self.zeros;
        let done = write(&mut capture, &about);
        self.report = capture.report;
        done.map(|()| self.report)
    }

    /// What the last dump got done; also after an error.
    #[cfg(feature = "write")]
    pub fn report(&self) -> Report {
        self.report
    }
}
