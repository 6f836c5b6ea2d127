//! Memory images: which files are one, and the vmcore that they stand for.

use crate::dump::input::{FileInfo, Raw};
use crate::dump::opened::{About, Input, Opened};
use crate::dump::scan;
use crate::dump::vmcore::elf;
use crate::fail::{Fail, Result};
use std::sync::OnceLock;
use tamis_core::input::MaybeFlattened;
use tamis_core::input::elf::{OpenError, probe_notes};
use tamis_core::input::image::{
    Image, ImageError, Kind, Layout, kind, lime, notes, raw, sadump, vmware,
};
use tamis_core::io::RandomAccess;
use tamis_core::memory::Machine;
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::elf as elf_wire;

/// What the head of an image's file says.
pub enum Source {
    /// sadump.
    Sadump(sadump::Head),
    /// LiME or AVML.
    Lime,
    /// The state of a machine of VMware.
    Vmware,
    /// Memory without a header.
    Raw,
}

impl Source {
    /// Of a file that begins like this; `None` if it is no image.
    pub fn of(file: &Raw, head: &[u8]) -> Result<Option<Source>> {
        Ok(Some(match kind(head) {
            Some(Kind::Sadump) => {
                let head = sadump::head(&mut file.reader());
                let head = head.map_err(|e| refused(file, Kind::Sadump, e))?;
                Source::Sadump(head)
            }
            Some(Kind::Lime) => Source::Lime,
            Some(Kind::Vmware) => Source::Vmware,
            Some(Kind::Raw) | None => return Ok(None),
        }))
    }

    /// Whether two files are disks of one set.
    pub fn belongs(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Sadump(a), Source::Sadump(b)) => {
                let of_set = |head: &sadump::Head| matches!(head.role, sadump::Role::Disk(_));
                of_set(a) && of_set(b) && a.ids == b.ids
            }
            _ => false,
        }
    }

    /// Whether its memory may be in another file.
    pub fn takes_memory(&self) -> bool {
        matches!(self, Source::Vmware)
    }
}

fn refused(file: &Raw, kind: Kind, error: ImageError) -> Fail {
    let what = match kind {
        Kind::Sadump => "a dump of sadump",
        Kind::Lime => "a LiME memory image",
        Kind::Vmware => "a VMware snapshot",
        Kind::Raw => "raw memory",
    };
    let fail = file.fail(format_args!("{what}: {error}"));
    match error {
        ImageError::Pieces(_) => {
            fail.next("convert it where it was made, to an uncompressed image")
        }
        ImageError::Mismatch(_) => fail,
        _ => fail.next("no page can be read from it"),
    }
}

/// What the command line says of files without a header.
pub struct RawMemory {
    /// Whose memory it is.
    pub machine: Machine,
    /// Physical address of the first byte of each file.
    pub at: Vec<u64>,
}

/// What it says, if it does.
pub static RAW_MEMORY: OnceLock<RawMemory> = OnceLock::new();

/// Whether the command line says that files, so many of them, are raw memory.
pub fn are_raw(count: usize) -> Result<bool> {
    let Some(said) = RAW_MEMORY.get() else { return Ok(false) };
    if said.at.len() > 1 && said.at.len() != count {
        let text = format_args!("{} addresses (--at) for {count} files", said.at.len());
        return Err(Fail::new(text).next("name one for each, in their order"));
    }
    if said.at.is_empty() && count > 1 {
        let text = "several files of raw memory, and nothing says where each begins";
        return Err(Fail::new(text).next("name an address for each (--at), in their order"));
    }
    Ok(true)
}

/// Opens the files of an image.
pub fn open(mut files: Vec<(FileInfo, Source)>) -> Result<Opened> {
    files.sort_by_key(|(_, source)| match source {
        Source::Sadump(head) => match head.role {
            sadump::Role::Disk(number) => number,
            _ => 0,
        },
        _ => 0,
    });
    let Some((first, source)) = files.first() else { return Err(Fail::new("no dump was named")) };
    let mut readers: Vec<_> = files.iter().map(|(file, _)| file.raw.reader()).collect();
    let lens: Vec<_> = files.iter().map(|(file, _)| file.raw.len).collect();
    let layout = match source {
        Source::Sadump(_) => sadump::read(&mut readers, &lens),
        Source::Lime => lime::read(&mut readers[0], lens[0]),
        Source::Vmware => vmware::read(&mut readers, &lens),
        Source::Raw => {
            let said = RAW_MEMORY.get();
            let machine = said.map_or(tamis_core::input::image::X86_64, |said| said.machine);
            let at = said.into_iter().flat_map(|said| said.at.iter().copied());
            let all: Vec<_> = at.chain(std::iter::repeat(0)).zip(lens).collect();
            raw(machine, &all)
        }
    };
    let kind = match source {
        Source::Sadump(_) => Kind::Sadump,
        Source::Lime => Kind::Lime,
        Source::Vmware => Kind::Vmware,
        Source::Raw => Kind::Raw,
    };
    let layout = layout.map_err(|e| refused(&first.raw, kind, e))?;
    let files = files.into_iter().map(|(file, _)| file).collect();
    let mut opened = with_text(files, &layout, &[])?;
    match scan::vmcoreinfo(&mut opened) {
        Some(text) => {
            let mut opened = with_text(opened.files, &layout, &text)?;
            opened.text_found = true;
            Ok(opened)
        }
        None => Ok(opened),
    }
}

/// The vmcore that an image stands for, with this text of VMCOREINFO in its notes.
fn with_text(mut files: Vec<FileInfo>, layout: &Layout, text: &[u8]) -> Result<Opened> {
    let readers = files.iter().map(|file| file.raw.reader()).collect();
    let made = Image::new(readers, layout, &notes(layout, text));
    let image = made.map_err(|e| refused(&files[0].raw, layout.kind, e))?;
    files[0].len = image.len();
    let mut input: Input = MaybeFlattened::Image(Box::new(image));
    let mut head = [0; elf_wire::HEADER_MAX];
    let failed = |file: &FileInfo, e: OpenError| file.raw.fail(e);
    input.read_at(0, &mut head).map_err(|e| files[0].raw.fail(e))?;
    let header = elf_wire::Header::parse(&head).map_err(OpenError::Wire);
    let header = header.map_err(|e| failed(&files[0], e))?;
    let mut facts = probe_notes(&mut input).map_err(|e| failed(&files[0], e))?;
    // The kernel's own word for when it died is better.
    let crash_time = Info::new(Some(text), None).crash_time();
    facts.time = layout.time.filter(|_| crash_time.is_none());
    let mut opened = elf(files, facts, header, input)?;
    opened.image = Some(About {
        kind: layout.kind,
        form: layout.form,
        missing: layout.missing,
        pieces: layout.extents.len(),
    });
    if opened.files.iter().any(|file| file.raw.stored() < file.raw.len) {
        opened.pieces = layout.extents.clone();
    }
    Ok(opened)
}
